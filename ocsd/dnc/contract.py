"""What the sessions ask of Do-Not-Call. `service` keeps it on PostgreSQL and registry files, `memory` in tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DncEntry:
    """
    A request not to be called, as it goes into ``gsw_donotcall_list``.

    Attributes:
        tenant_dbid: None: every tenant.
        phone, customer_id: at least one. ``phone`` is E.164 as in ``contact_info``.
        message: GSW_MESSAGE.
        campaign_dbid, list_dbid: where the request came from; they do not narrow it.
        expires_at: aware UTC; None: never.
        requested_at: when the request reached us, for the record of how long it took to take effect.
    """

    tenant_dbid: int | None
    phone: str | None
    customer_id: str | None
    requested_at: datetime
    message: str = ""
    campaign_dbid: int | None = None
    list_dbid: int | None = None
    expires_at: datetime | None = None


class DoNotCall(Protocol):
    def forbidden(self, tenant_dbid: int, phones: Sequence[str], now: datetime) -> list[bool]:
        """Which of the numbers must not be called at ``now``; a batch costs microseconds a number."""
        ...

    def customers_forbidden(self, tenant_dbid: int, customer_ids: Sequence[str], now: datetime) -> list[bool]: ...

    async def add(self, entries: Sequence[DncEntry]) -> None:
        """
        In force in memory when the call begins, on disk when it returns.

        Raises StoreUnavailable when the database is away: the entries stay in force in memory meanwhile.
        """
        ...

    async def note_effect(self, entries: Sequence[DncEntry], applied_at: datetime, rows: int) -> None:
        """Record that buffered chains, desktops and lists know of the entries: the time from request to effect."""
        ...
