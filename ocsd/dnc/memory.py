"""Do-Not-Call without a database, for tests of what stands above it. The rules of matching are the service's own."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ocsd.dnc.contract import DncEntry
from ocsd.dnc.forms import Plan
from ocsd.dnc.index import plain
from ocsd.dnc.news import Heard, NewsBox
from ocsd.dnc.overlay import Overlay
from ocsd.dnc.table import request_of
from ocsd.dnc.view import View
from ocsd.model.errors import StoreUnavailable


class MemoryDoNotCall:
    """
    Attributes:
        away: True: the database is away, so `add` puts entries in force and raises StoreUnavailable.
        entries: all that were added, oldest first.
        written: those of ``entries`` that are "on disk"; the rest follows with `come_back`.
        effects: what was noted: (entries, applied_at, rows).
        applied: the same for requests of others: (ids, applied_at, rows).
    """

    def __init__(self, plans: tuple[Plan, ...] = ()) -> None:
        self.away = False
        self.entries: list[DncEntry] = []
        self.written: list[DncEntry] = []
        self.effects: list[tuple[tuple[DncEntry, ...], datetime, int]] = []
        self.applied: list[tuple[tuple[UUID, ...], datetime, int]] = []
        self._plans = plans
        self._overlay = Overlay(plans)
        self._news = NewsBox()

    def forbidden(self, tenant_dbid: int, phones: Sequence[str], now: datetime) -> list[bool]:
        return self._view(tenant_dbid).forbidden(phones, now.timestamp())

    def customers_forbidden(self, tenant_dbid: int, customer_ids: Sequence[str], now: datetime) -> list[bool]:
        return self._view(tenant_dbid).customers_forbidden(customer_ids, now.timestamp())

    async def add(self, entries: Sequence[DncEntry]) -> None:
        for entry in entries:
            if not plain(entry.phone) and not plain(entry.customer_id):
                raise ValueError("a Do-Not-Call entry needs a phone or a customer id")
        for entry in entries:
            self._overlay.put(request_of(entry, entry.requested_at), durable=not self.away)
            self.entries.append(entry)
        if self.away:
            raise StoreUnavailable("away")
        self.written.extend(entries)

    async def note_effect(self, entries: Sequence[DncEntry], applied_at: datetime, rows: int) -> None:
        self.effects.append((tuple(entries), applied_at, rows))

    async def note_applied(self, request_ids: Sequence[UUID], applied_at: datetime, rows: int) -> None:
        self.applied.append((tuple(request_ids), applied_at, rows))

    async def news(self) -> tuple[Heard, ...]:
        return await self._news.take()

    def hear(self, entries: Sequence[DncEntry], *, one_by_one: bool = True) -> list[UUID]:
        """Others have forbidden this; not ``one_by_one``: by an import, so nobody is told of its entries."""
        requests = [request_of(entry, entry.requested_at) for entry in entries]
        for request in requests:
            self._overlay.put(request, durable=True)
        self.entries += entries
        self.written += entries
        self._news.tell([Heard(request.request_id, request.entry) for request in requests] if one_by_one else ())
        return [request.request_id for request in requests]

    def come_back(self) -> None:
        """The database is there again, and what waited is written."""
        self.away = False
        self.written = list(self.entries)

    def restart(self) -> None:
        """What a new process knows: only what was written."""
        self.entries = list(self.written)
        self._overlay = Overlay(self._plans)
        for entry in self.written:
            self._overlay.put(request_of(entry, entry.requested_at), durable=True)

    def _view(self, tenant_dbid: int) -> View:
        fresh = (self._overlay.fresh(tenant_dbid), self._overlay.fresh(None))
        return View(fresh=fresh, numbers=(), texts=(), customers=(), plans=self._plans)
