"""
Do-Not-Call for the daemon: the table and the registry files in memory, requests in force at once and then on disk.

    request -> overlay (in force) -> queue -> one transaction with others (durable) -> acknowledged
                     |
    table  ------> sets, read in one snapshot ---+--> view of a tenant --> check
    registries --> files mapped into memory -----+

A re-read prepares new sets beside the old ones and puts them into their place in one step; requests that the snapshot
may not contain stay in the overlay. Other daemons' requests are found every `POLL_S` by the snapshot difference; other
changes (imports, removals, hand edits) are told by the version in ``ocsd.dnc_version``. Either way `news` tells who has
to act on it.

While the database is away nothing that is forbidden becomes allowed: the sets stay as they are, and requests stay in
the overlay and in the queue until they are written.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import structlog
import trio

from ocsd.config.objects import Configuration
from ocsd.config.options import lookup
from ocsd.dnc import table
from ocsd.dnc.contract import DncEntry
from ocsd.dnc.index import NEVER_ENDS, plain
from ocsd.dnc.lookup import plans_of
from ocsd.dnc.mapped import Registry, map_registries
from ocsd.dnc.news import Heard, NewsBox
from ocsd.dnc.overlay import Overlay
from ocsd.dnc.schedule import is_due, times_of_day
from ocsd.dnc.table import Effect, Request, TableSet, request_of
from ocsd.dnc.view import Source, View
from ocsd.model.errors import ConfigError, StoreUnavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")

POLL_S: Final = 2.0
"""How soon this daemon knows what another one, or the command line, has written."""

RETRY_FIRST_S: Final = 0.1
RETRY_LAST_S: Final = 5.0
"""Pauses while the database is away, doubling; a new request tries at once."""

MAX_BATCH: Final = 500
"""Requests in one transaction."""

MAX_UNWRITTEN: Final = 100_000
"""Requests that may wait for the database. One more is still in force in this process, but its sender has to repeat
it: an error is logged."""

OVERLAY_LIMIT: Final = 200_000
"""With more requests than this the table is read again: arrays need a twentieth of a dictionary's memory."""

FINAL_WRITE_LIMIT_S: Final = 5.0
"""At the end: for requests that are not written yet."""


class Database(Protocol):
    """What is needed of `ocsd.lists.pool.Database`."""

    async def transaction(self, fn: Callable[[table.Connection], T], *, read_only: bool = False) -> T: ...


class _Waiting:
    """Something to be written, and who waits for it."""

    __slots__ = ("error", "told", "work")

    def __init__(self, work: Request | Effect) -> None:
        self.work = work
        self.told = trio.Event()
        self.error: Exception | None = None

    def tell(self, error: Exception | None) -> None:
        if not self.told.is_set():
            self.error = error
            self.told.set()


class DncService:
    """See `open_dnc`. Belongs to one trio run; the checks never wait and may be called at any time."""

    def __init__(
        self, config: Configuration, database: Database, folder: Path, utc_now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._folder = folder
        self._utc_now = utc_now
        self._plans = plans_of(config)
        self._times = times_of_day(lookup(config, "dnc_reread_at"))
        self._overlay = Overlay(self._plans)
        self._loaded: table.Loaded | None = None
        self._registries: tuple[Registry, ...] = ()
        self._snapshot = ""
        self._views: dict[int, View] = {}
        self._reading = trio.Lock()
        self._looked_at = utc_now()
        self._reread_due = False
        self._news = NewsBox()
        self._queue: deque[_Waiting] = deque()
        self._work = trio.Event()

    # -- checks ------------------------------------------------------------------------------------------------------

    def forbidden(self, tenant_dbid: int, phones: Sequence[str], now: datetime) -> list[bool]:
        """Which of the numbers must not be called at ``now`` (aware)."""
        return self._view(tenant_dbid).forbidden(phones, now.timestamp())

    def customers_forbidden(self, tenant_dbid: int, customer_ids: Sequence[str], now: datetime) -> list[bool]:
        """Which of the customers must not be called at ``now`` (aware)."""
        return self._view(tenant_dbid).customers_forbidden(customer_ids, now.timestamp())

    @property
    def registries(self) -> tuple[Registry, ...]:
        """Those in force, as they are mapped."""
        return self._registries

    def _view(self, tenant_dbid: int) -> View:
        view = self._views.get(tenant_dbid)
        if view is None:
            assert self._loaded is not None
            tenants = (tenant_dbid, None)
            sets = [found for tenant in tenants if (found := self._loaded.sets.get(tenant)) is not None]
            registries = [registry for registry in self._registries if registry.tenant_dbid in tenants]
            view = self._views[tenant_dbid] = View(
                fresh=tuple(self._overlay.fresh(tenant) for tenant in tenants),
                numbers=tuple(
                    Source(index, until)
                    for index, until in (
                        *((found.numbers, NEVER_ENDS) for found in sets),
                        *((registry.index, registry.until) for registry in registries),
                    )
                    if len(index)
                ),
                texts=_sources(sets, lambda found: found.texts),
                customers=_sources(sets, lambda found: found.customers),
                plans=self._plans,
            )
        return view

    # -- requests ----------------------------------------------------------------------------------------------------

    @property
    def unwritten(self) -> int:
        """Requests and effects that are not on disk yet."""
        return len(self._queue)

    async def add(self, entries: Sequence[DncEntry]) -> None:
        """
        Forbid at once, and return when it is on disk.

        Raises StoreUnavailable when the database is away: the entries stay in force and are written when it is back.
        A cancel ends only the waiting. ValueError: an entry has neither phone nor customer id.
        """
        for entry in entries:
            if not plain(entry.phone) and not plain(entry.customer_id):
                raise ValueError("a Do-Not-Call entry needs a phone or a customer id")
        in_force_at = self._utc_now()
        requests = [request_of(entry, in_force_at) for entry in entries]
        for request in requests:
            self._overlay.put(request, durable=False)
        if len(self._queue) + len(requests) > MAX_UNWRITTEN:
            log.error("dnc.request_unqueued", requests=len(requests), unwritten=len(self._queue))
            full = "too many Do-Not-Call requests wait for the database; repeat this one later"
            raise StoreUnavailable(full, said=full)
        await self._wait_for([self._enqueue(request) for request in requests])

    async def note_effect(self, entries: Sequence[DncEntry], applied_at: datetime, rows: int) -> None:
        """Write into ``ocsd.dnc_request`` when the entries had taken effect, soon; nobody need wait for a figure."""
        self._note([request_of(entry, applied_at).request_id for entry in entries], applied_at, rows)
        await trio.lowlevel.checkpoint()

    async def note_applied(self, request_ids: Sequence[UUID], applied_at: datetime, rows: int) -> None:
        """The same for requests of others, by the ids that `news` has told."""
        if (item := self._note(request_ids, applied_at, rows)) is None:
            return
        try:
            await self._wait_for([item])
        except StoreUnavailable:
            log.debug("dnc.effect_waits")

    def _note(self, request_ids: Sequence[UUID], applied_at: datetime, rows: int) -> "_Waiting | None":
        if not request_ids:
            return None
        if len(self._queue) >= MAX_UNWRITTEN:
            log.error("dnc.effect_unqueued", unwritten=len(self._queue))
            return None
        return self._enqueue(Effect(tuple(request_ids), applied_at, rows))

    def _enqueue(self, work: Request | Effect) -> _Waiting:
        item = _Waiting(work)
        self._queue.append(item)
        self._work.set()
        return item

    async def _wait_for(self, items: list[_Waiting]) -> None:
        for item in items:
            await item.told.wait()
        for item in items:
            if item.error is not None:
                # One object per waiter: raising one object in several tasks would mix their tracebacks.
                raise type(item.error)(*item.error.args) from item.error

    async def _write_queue(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            self._work = trio.Event()
            if not self._queue:
                await self._work.wait()
            elif await self._write_some():
                pause_s = RETRY_FIRST_S
            else:
                with trio.move_on_after(pause_s):
                    await self._work.wait()
                pause_s = min(pause_s * 2, RETRY_LAST_S)

    async def _write_some(self) -> bool:
        """Write the oldest of the queue in one transaction; False when the database is away."""
        batch = list(islice(self._queue, MAX_BATCH))
        try:
            try:
                await self._write(batch)
            except StoreUnavailable:
                raise
            except Exception:
                if len(batch) == 1:
                    raise
                # One that cannot be written must not keep the others from the disk.
                batch = batch[:1]
                await self._write(batch)
        except StoreUnavailable as error:
            for item in self._queue:
                item.tell(error)  # they stay in the queue
            return False
        except Exception as error:
            batch = batch[:1]
            heard = not batch[0].told.is_set()
            log.error("dnc.request_unwritable", error=str(error), told=heard)
            batch[0].tell(error)
        else:
            for item in batch:
                item.tell(None)
        for _ in batch:
            self._queue.popleft()
        return True

    async def _write(self, batch: list[_Waiting]) -> None:
        requests = [item.work for item in batch if isinstance(item.work, Request)]
        effects = [item.work for item in batch if isinstance(item.work, Effect)]
        await self._database.transaction(partial(table.write, requests=requests, effects=effects))
        self._overlay.durable(request.request_id for request in requests)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def reread(self) -> None:
        """
        Read the table and the registries again; what was in force stays so until the new is complete.

        Raises StoreUnavailable, and ConfigError for a table or, at the first reading, a file that cannot be used. A
        damaged file that was in force before stays in force. A cancel leaves everything as it was.
        """
        async with self._reading:
            await self._read_all()

    async def news(self) -> tuple[Heard, ...]:
        """See `ocsd.dnc.news.DncNews`."""
        return await self._news.take()

    async def poll(self) -> None:
        """Take over what others have written since the last look; StoreUnavailable when the database is away."""
        async with self._reading:
            snapshot, version, requests = await self._database.transaction(
                partial(table.news, snapshot=self._snapshot), read_only=True
            )
            heard = [request for request in requests if self._overlay.put(request, durable=True)]
            self._snapshot = snapshot
            self._tell(heard)
            assert self._loaded is not None
            if version != self._loaded.version or self._overlay.durable_ones > OVERLAY_LIMIT:
                await self._read_all()

    async def _read_all(self) -> None:
        began_s = time.monotonic()
        contained = self._overlay.all_durable()  # before the snapshot, so the table as read has them
        before = self._snapshot
        loaded, requests = await self._database.transaction(
            partial(table.load_and_news, plans=self._plans, snapshot=before), read_only=True
        )
        read_s = time.monotonic() - began_s
        registries, problems = await trio.to_thread.run_sync(map_registries, self._folder, self._registries)
        if problems and self._loaded is None:
            raise ConfigError(problems)
        for problem in problems:
            log.error("dnc.registry_refused", problem=problem)
        for gone in {registry.path for registry in self._registries} - {registry.path for registry in registries}:
            log.warning("dnc.registry_gone", path=str(gone))
        heard = [request for request in requests if request.request_id not in self._overlay]
        # No checkpoint from here on: a check sees all of the old or all of the new.
        self._overlay.drop(contained)
        self._loaded, self._registries, self._snapshot = loaded, registries, loaded.snapshot
        self._views.clear()
        log.info(
            "dnc.read",
            rows=loaded.rows,
            rows_per_s=round(loaded.rows / max(read_s, 1e-9)),
            registries={str(registry.path): len(registry.index) for registry in registries},
            overlay=len(self._overlay),
            version=loaded.version,
            took_s=round(time.monotonic() - began_s, 3),
        )
        if before:
            self._tell(heard)
            self._news.tell()  # what else the table or a registry forbids now is known to nobody

    def _tell(self, heard: Sequence[Request]) -> None:
        if heard:
            log.info("dnc.heard", requests=len(heard))
            self._news.tell([Heard(request.request_id, request.entry) for request in heard])

    async def look(self) -> None:
        """`poll`, and `reread` when a time of day of ``dnc_reread_at`` has come; StoreUnavailable passes."""
        now = self._utc_now()
        self._reread_due |= is_due(self._times, self._looked_at, now)
        self._looked_at = now
        if self._reread_due:
            await self.reread()
            self._reread_due = False
        else:
            await self.poll()

    async def _watch(self) -> None:
        away = False
        while True:
            await trio.sleep(POLL_S)
            try:
                await self.look()
            except StoreUnavailable as error:
                if not away:
                    log.warning("dnc.not_looked", reason=str(error))
                away = True
            except ConfigError as error:
                log.error("dnc.not_read", problems=error.problems)
            else:
                away = False

    def reconfigure(self, config: Configuration) -> None:
        """
        Obey ``dnc_reread_at`` of a changed configuration; ConfigError (nothing changed) when it is no time.

        Phones without a country code are read in the trunks' countries; when those change, the next look reads again.
        """
        self._times = times_of_day(lookup(config, "dnc_reread_at"))
        if (plans := plans_of(config)) != self._plans:
            self._plans = plans
            self._overlay.use(plans)
            self._views.clear()
            self._reread_due = True

    async def _write_rest(self) -> None:
        """The last try, when the tasks have ended."""
        with trio.move_on_after(FINAL_WRITE_LIMIT_S, shield=True):
            while self._queue and await self._write_some():
                pass
        if self._queue:
            log.error("dnc.requests_lost", unwritten=len(self._queue))


def _sources(sets: list[TableSet], index: Callable[[TableSet], Any]) -> tuple[Source, ...]:
    return tuple(Source(index(found), NEVER_ENDS) for found in sets if len(index(found)))


def utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_dnc(
    config: Configuration, database: Database, folder: Path, *, utc_now: Callable[[], datetime] = utc_now
) -> AsyncIterator[DncService]:
    """
    Do-Not-Call, read and in force; its tasks end with the block, after a last try to write what waits.

    Args:
        database: migrated.
        folder: the daemon's data folder; registries are in ``dnc`` below it.
        utc_now: for the times of requests and re-reads.

    Raises StoreUnavailable, or ConfigError when the table or a registry file cannot be used: a daemon that does not
    know whom it must not call does not start.
    """
    service = DncService(config, database, folder, utc_now)
    await service.reread()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service._write_queue)
            nursery.start_soon(service._watch)
            yield service
            nursery.cancel_scope.cancel()
    finally:
        await service._write_rest()
