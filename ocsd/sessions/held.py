"""Records in somebody's hands: found by handle, closed when what becomes of them is on disk."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import structlog
import trio

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import CallingRecord, Chain, ChainChange, ChainSettlement
from ocsd.sessions.attempt_events import AttemptState, PendingCallback
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.session import Session

log = structlog.get_logger()

T = TypeVar("T")
OnDisk: TypeAlias = Callable[[], Awaitable[T]]
"""Await it for the moment at which the request is on disk."""


async def at_once() -> None:
    """Nothing to wait for."""
    await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True)
class Held:
    """A record in somebody's hands: exactly one of ``task`` and ``desk``."""

    session: Session
    handle: int
    task: AttemptTask | None = None
    desk: DeskRecord | None = None

    @property
    def chain(self) -> Chain:
        if self.task is not None:
            return self.task.context.chain
        assert self.desk is not None
        return self.desk.chain

    @property
    def record(self) -> CallingRecord:
        if self.task is not None:
            return self.task.context.record
        assert self.desk is not None
        return self.desk.record

    @property
    def agent_id(self) -> str | None:
        """Whose desktop it is on; None: nobody's yet."""
        if self.task is not None:
            return self.task.machine.agent_id
        assert self.desk is not None
        return self.desk.agent_id

    @property
    def updates(self) -> dict[str, object]:
        if self.task is not None:
            return self.task.context.updates
        assert self.desk is not None
        return self.desk.updates

    @property
    def callback(self) -> PendingCallback | None:
        if self.task is not None:
            return self.task.context.callback
        assert self.desk is not None
        return self.desk.callback

    @property
    def on_desktop(self) -> bool:
        """An agent sees the record: on a desk, in a call made from there, or in a conversation and after it."""
        return self.desk is not None or self.agent_id is not None

    @property
    def as_corrected(self) -> CallingRecord:
        """The record with the window and number that its desktop has set."""
        names = {"daily_from": "daily_from_s", "daily_till": "daily_till_s", "contact_info": "contact_info"}
        changed = {names[column]: value for column, value in self.updates.items() if column in names}
        return replace(self.record, **changed)  # type: ignore[arg-type]


class RecordsInHand:
    """All records that have a handle."""

    def __init__(self, campaigns: Campaigns) -> None:
        self._campaigns = campaigns
        self._finishing: set[int] = set()
        """Handles of attempts whose last request has been accepted: their machines have yet to hear of it."""

    def finishing(self, handle: int) -> None:
        """No further request finds this attempt's record."""
        self._finishing &= {known for session in self._campaigns.running for known in session.attempts}
        self._finishing.add(handle)

    def _open(self, handle: int, task: AttemptTask) -> bool:
        closed = task.machine.record_closed or task.machine.processed or task.context.withdrawn
        return not closed and handle not in self._finishing

    def _may_still_connect(self, task: AttemptTask) -> bool:
        """A request not to be called still matters to it."""
        before = task.machine.state not in (AttemptState.TALKING, AttemptState.WRAP_UP)
        return before and not task.machine.record_closed and not task.context.withdrawn

    def find(self, handle: int, *, agent_id: str | None = None) -> Held:
        """
        The record with this handle; DesktopRequestError 112 when it is unknown or has been processed.

        ``agent_id``: only on this agent's desktop, or in its call; elsewhere it is 112 too.
        """
        for session in self._campaigns.running:
            held: Held | None = None
            if (task := session.attempts.get(handle)) is not None and self._open(handle, task):
                held = Held(session, handle, task=task)
            elif (desk := session.on_desk.get(handle)) is not None and not desk.closing:
                held = Held(session, handle, desk=desk)
            if held is not None and agent_id in (None, held.agent_id):
                return held
        raise DesktopRequestError(GswError.NO_CALL_FOUND, f"record handle {handle} is unknown or already processed")

    def all(self) -> list[Held]:
        """All records in attempts and on desks; also processed ones whose call is no conversation yet."""
        found: list[Held] = []
        for session in self._campaigns.running:
            found += [
                Held(session, handle, task=task)
                for handle, task in session.attempts.items()
                if self._open(handle, task) or self._may_still_connect(task)
            ]
            found += [Held(session, handle, desk=desk) for handle, desk in session.on_desk.items() if not desk.closing]
        return found

    def settlement(
        self,
        desk: DeskRecord,
        change: ChainChange,
        because: str,
        call_result: int | None = None,
        agent_id: str | None = None,
    ) -> ChainSettlement:
        return ChainSettlement(
            list_dbid=desk.chain.list_dbid,
            chain_id=desk.chain.chain_id,
            record_id=desk.record.record_id,
            change=change,
            because=because,
            call_result=call_result,
            agent_id=agent_id,
            updates=dict(desk.updates),
            evidence=dict(desk.evidence),
        )

    def settle(self, session: Session, desk: DeskRecord, settlement: ChainSettlement) -> OnDisk[None]:
        """From now on nobody finds the record; it leaves the desk when it is on disk."""
        desk.closing = True

        async def written() -> None:
            try:
                if not await session.settle_chain(settlement):
                    log.warning("record.claim_lost", record_handle=desk.handle, record_id=settlement.record_id)
            finally:
                session.on_desk.pop(desk.handle, None)
                session.wake()

        return written

    def in_background(self, on_disk: OnDisk[T], then: Callable[[T], None] = lambda outcome: None) -> None:
        """Await it in a task beside the sessions. A bug ends the smallest thing: this one request."""

        async def carried_out() -> None:
            try:
                then(await on_disk())
            except Exception:
                log.exception("record.request_failed")

        self._campaigns.start_soon(carried_out)
