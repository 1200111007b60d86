"""
Requests about records, carried out: the one place for desktops and HTTP alike.

A record in somebody's hands has a handle. It is *in an attempt* (`Session.attempts`) or *on a desk*
(`Session.on_desk`); which of the two makes no difference to who asks. Every method

- raises DesktopRequestError with the manual's number, and has changed nothing then;
- else has taken effect in memory when it returns, so that later requests of the same desktop find it so, and returns
  what to await for the moment at which it is on disk: answers are sent after that. Outages of the database are waited
  through; a daemon that dies meanwhile has answered nothing, and the desktop asks again.

Do-Not-Call goes further: the number is in force before anything else is tried (docs/adr/0010).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Final

import structlog

from ocsd.dnc.contract import DncEntry
from ocsd.model.enums import CallResult, ChainAttr, GswError, RecordStatus, RecordType
from ocsd.model.errors import DesktopRequestError, StoreUnavailable
from ocsd.model.records import ChainChange, ChainSettlement
from ocsd.sessions import attempt_events as events
from ocsd.sessions.appointments import appointment
from ocsd.sessions.attempt_events import AttemptState, PendingCallback
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.held import Held, OnDisk, RecordsInHand, at_once
from ocsd.sessions.session import Session
from ocsd.sessions.withdrawals import Cancelled, Target, Withdrawals
from ocsd.treatments.callback import callback_change, reject_change

log = structlog.get_logger()

PERSONAL_TYPES: Final = frozenset({RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED})
SCHEDULED_TYPES: Final = PERSONAL_TYPES | {RecordType.CAMPAIGN_CALLBACK, RecordType.CAMPAIGN_RESCHEDULED}


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """When a callback will be: the time asked for, moved into the record's window; and where the customer is."""

    callback_type: RecordType
    due: datetime
    zone: tzinfo


def scheduled_type(held: Held) -> RecordType:
    """How the record is scheduled; DesktopRequestError 117 when it is not."""
    if held.callback is not None:
        return held.callback.callback_type
    kind = RecordType(held.record.record_type)
    if kind not in SCHEDULED_TYPES:
        raise DesktopRequestError(
            GswError.SCHEDULED_RECORD_NOT_FOUND, "the record is not scheduled: GSW_CALLBACK_TYPE must say how"
        )
    return kind


class RecordService:
    """
    Attributes:
        on_scheduled: told of each scheduled call that has come to a desktop.
    """

    def __init__(self, campaigns: Campaigns) -> None:
        self._campaigns = campaigns
        self.in_hand = RecordsInHand(campaigns)
        self._withdrawals = Withdrawals(campaigns, self.in_hand)
        self.on_scheduled: Callable[[Session, DeskRecord], None] = lambda session, desk: None

    @property
    def on_cancelled(self) -> Callable[[Held, ChainAttr], None]:
        """Told of each record that somebody else withdraws while it is on a desktop: its agent gets RecordCancel."""
        return self._withdrawals.on_cancelled

    @on_cancelled.setter
    def on_cancelled(self, told: Callable[[Held, ChainAttr], None]) -> None:
        self._withdrawals.on_cancelled = told

    def find(self, handle: int) -> Held:
        """The record with this handle; DesktopRequestError 112 when it is unknown or has been processed."""
        return self.in_hand.find(handle)

    # --- corrections --------------------------------------------------------------------------------------------

    async def update(self, handle: int, call_result: int | None, updates: dict[str, object]) -> OnDisk[None]:
        """UpdateCallCompletionStats. ``updates``: columns and values, already checked against the list's format."""
        held = self.find(handle)
        self._correct(held, call_result, updates)
        if held.task is not None:
            held.task.post(events.RecordUpdated(call_result))
            return await self._note(held, call_result, updates, {})
        return at_once  # in memory until the record leaves the desk: so says the desktop protocol

    def _correct(self, held: Held, call_result: int | None, updates: dict[str, object]) -> None:
        held.updates.update(updates)
        if held.desk is not None:
            held.desk.call_result = call_result if call_result is not None else held.desk.call_result

    async def _note(
        self, held: Held, call_result: int | None, updates: dict[str, object], asks: Mapping[str, object]
    ) -> OnDisk[None]:
        """The record may stay open for long: a restart must not forget what the agent has typed and asked for."""
        if call_result is None and not updates and not asks:
            return at_once
        try:
            return await self._campaigns.store.note_correction(held.handle, call_result, updates, asks)
        except StoreUnavailable as error:
            log.warning("record.correction_unsaved", attempt_id=held.handle, error=str(error))
            return at_once

    async def processed(
        self,
        handle: int,
        call_result: int | None,
        updates: dict[str, object],
        treatment: str | None,
        agent_id: str | None,
    ) -> OnDisk[None]:
        """
        RecordProcessed. ``treatment``: ``campaign``, ``personal`` or None (GSW_TREATMENT); ``agent_id``: whose the
        record is, or becomes when it is to be somebody's.

        A record whose call still goes on is closed with the call, and that it is to be so is noted with its open
        attempt: a daemon started meanwhile closes it with the call, too.
        """
        return await self._processed(self.find(handle), call_result, updates, treatment, agent_id, {})

    async def _processed(
        self,
        held: Held,
        call_result: int | None,
        updates: dict[str, object],
        treatment: str | None,
        agent_id: str | None,
        asks: Mapping[str, object],
    ) -> OnDisk[None]:
        # Nothing is awaited before nobody finds the record any more: two requests for one handle are never both taken.
        self._correct(held, call_result, updates)
        if held.task is not None:
            task = held.task
            task.context.treatment = treatment
            callback = task.context.callback
            if agent_id is not None and (
                treatment == "personal" or (callback is not None and callback.callback_type in PERSONAL_TYPES)
            ):
                task.context.owner = agent_id
                asks = {**asks, "agent_id": agent_id}
            in_wrap_up = task.machine.state is AttemptState.WRAP_UP
            task.post(events.RecordProcessed(call_result, treatment))
            self.in_hand.finishing(held.handle)
            if in_wrap_up:
                return task.closed.wait
            asked = {**asks, **({"treatment": treatment} if treatment is not None else {}), "processed": True}
            return await self._note(held, call_result, updates, asked)
        assert held.desk is not None
        return self.in_hand.settle(
            held.session, held.desk, self._finished(held.session, held.desk, treatment, agent_id)
        )

    def _finished(
        self, session: Session, desk: DeskRecord, treatment: str | None, agent_id: str | None
    ) -> ChainSettlement:
        """A record that no call was made for: its callback, the treatment asked for, or as it is."""
        chain, record = desk.chain, desk.record
        result = desk.call_result if desk.call_result is not None else record.call_result
        owner = agent_id or desk.agent_id
        if desk.callback is not None:
            opening = session.hours(chain.list_dbid).opening
            change = callback_change(record, chain.records, desk.callback.callback_type, desk.callback.due, opening)
            return self.in_hand.settlement(desk, change, "callback asked for", desk.call_result, agent_id=owner)
        if treatment is not None:
            decision = session.treat(
                chain,
                record,
                result,
                disposition=session.planner.disposition(record, desk.updates),
                agent_id=owner if treatment == "personal" else None,
                by_agent=True,
            )
            settlement = self.in_hand.settlement(
                desk, decision.change, decision.because, desk.call_result, agent_id=owner
            )
            return replace(settlement, statements=decision.statements, requests=decision.requests)
        for_all = result if session.planner.result_for_all(chain.list_dbid) else None
        change = ChainChange(RecordStatus.UPDATED, RecordType(record.record_type), sibling_result=for_all)
        return self.in_hand.settlement(desk, change, "finished by the agent", desk.call_result, agent_id=owner)

    # --- giving up records ----------------------------------------------------------------------------------------

    async def reject(self, handle: int, agent_id: str | None) -> OnDisk[None]:
        """
        RecordReject: the chain is General and Ready again, for another agent.

        One that has been dialed is dialed again as soon as its turn comes (manual: "the record can still be canceled or
        rejected before the final RecordProcessed"). Rejected while it is being dialed, before any agent has it, it is
        so only when nobody answers: a call that was answered has its result, and is not made again at once.

        ``agent_id``: None: nobody's desktop asks.
        """
        held = self.find(handle)
        if held.task is not None:
            task = held.task
            in_wrap_up = task.machine.state is AttemptState.WRAP_UP
            task.context.closing = reject_change()
            task.context.closing_unless_answered = not held.on_desktop
            task.post(events.RecordProcessed(None))
            self.in_hand.finishing(handle)
            if in_wrap_up:
                return task.closed.wait
            rejected = "unless_answered" if task.context.closing_unless_answered else "always"
            return await self._note(held, None, {}, {"rejected": rejected, "processed": True})
        assert held.desk is not None
        settlement = self.in_hand.settlement(held.desk, reject_change(), f"rejected by {agent_id}", agent_id=agent_id)
        return self.in_hand.settle(held.session, held.desk, replace(settlement, updates={}))

    def logged_out(self, agent_id: str) -> None:
        """
        The records that an agent leaves on the desktop are returned "with status updated" (manual, "Agent Logout"),
        with the result that agent_logout_preview_call_result names, else with their own.
        """
        for held in self.in_hand.all():
            if held.desk is None or held.desk.agent_id != agent_id:
                continue
            option = int(held.session.planner.option("agent_logout_preview_call_result"))
            result = held.desk.call_result if option < 0 else option
            change = ChainChange(RecordStatus.UPDATED, RecordType(held.record.record_type))
            settlement = self.in_hand.settlement(held.desk, change, f"left on the desktop by {agent_id}", result)
            self.in_hand.in_background(self.in_hand.settle(held.session, held.desk, settlement))

    def forced(self, session: Session) -> None:
        """ForceUnload: what is still on desks becomes Stale."""
        for desk in list(session.on_desk.values()):
            if not desk.closing:
                self.in_hand.in_background(self.stale(session, desk, "unloaded by force"))

    def stale(self, session: Session, desk: DeskRecord, because: str) -> OnDisk[None]:
        """A record that its desktop never mentioned again: Stale, its chain with it."""
        change = ChainChange(RecordStatus.STALE, RecordType(desk.record.record_type), sibling_status=RecordStatus.STALE)
        return self.in_hand.settle(session, desk, self.in_hand.settlement(desk, change, because, int(CallResult.STALE)))

    # --- callbacks ----------------------------------------------------------------------------------------------

    async def reschedule(
        self, handle: int, callback_type: RecordType | None, local_time: datetime, phone: str | None = None
    ) -> tuple[Rescheduled, OnDisk[None]]:
        """
        RecordReschedule, ScheduledRecordReschedule. Final at RecordProcessed: until then nothing is written, and a
        later one takes the place of this one.

        Args:
            callback_type: Personal or Campaign CallBack; None: as it is (error 117 when it was never scheduled).
            local_time: naive, in the record's zone; error 110 when it has passed or the record is never open after it.
            phone: another number to call, E.164.
        """
        held = self.find(handle)
        agreed, updates, asks = self._agree(held, callback_type, local_time, phone)
        return agreed, await self._note(held, None, updates, asks) if held.task is not None else at_once

    async def reschedule_finally(
        self,
        handle: int,
        callback_type: RecordType | None,
        local_time: datetime,
        phone: str | None = None,
        agent_id: str | None = None,
    ) -> OnDisk[None]:
        """As `reschedule`, with RecordProcessed: final at once, as over HTTP."""
        held = self.find(handle)
        _, updates, asks = self._agree(held, callback_type, local_time, phone)
        return await self._processed(held, None, updates, None, agent_id, asks)

    def _agree(
        self, held: Held, callback_type: RecordType | None, local_time: datetime, phone: str | None
    ) -> tuple[Rescheduled, dict[str, object], dict[str, object]]:
        """What was agreed, the columns that it sets, and what a restart has to know; in force in memory."""
        kind = callback_type if callback_type is not None else scheduled_type(held)
        updates: dict[str, object] = {"contact_info": phone} if phone is not None else {}
        record = replace(held.as_corrected, contact_info=phone) if phone is not None else held.as_corrected
        zone, hours = held.session.planner.zone(record), held.session.hours(record.list_dbid)
        due = appointment(record, local_time, zone, hours, self._campaigns.clock.utc())
        held.updates.update(updates)
        if held.task is not None:
            held.task.context.callback = PendingCallback(kind, due)
        else:
            assert held.desk is not None
            held.desk.callback = PendingCallback(kind, due)
        log.info("record.callback_asked", record_handle=held.handle, type=kind.name, due=due.isoformat())
        asks: dict[str, object] = {"callback_type": int(kind), "callback_due": int(due.timestamp())}
        return Rescheduled(kind, due, zone), updates, asks

    # --- withdrawing --------------------------------------------------------------------------------------------

    def cancel(
        self,
        target: Target,
        chain_attr: ChainAttr,
        *,
        sessions: Sequence[Session] | None = None,
        lists: Collection[int] | None = None,
    ) -> OnDisk[Cancelled]:
        """RequestRecordCancel; see `Withdrawals.cancel`."""
        return self._withdrawals.cancel(target, chain_attr, sessions=sessions, lists=lists)

    def do_not_call(
        self,
        target: Target,
        chain_attr: ChainAttr,
        *,
        message: str = "",
        duration_s: int | None = None,
        tenant_dbid: int | None = None,
    ) -> OnDisk[int]:
        """DoNotCall; see `Withdrawals.do_not_call`."""
        return self._withdrawals.do_not_call(
            target, chain_attr, message=message, duration_s=duration_s, tenant_dbid=tenant_dbid
        )

    async def forbidden_elsewhere(self, entries: Sequence[DncEntry]) -> list[int]:
        """Requests not to be called that did not come to this daemon; see `Withdrawals.forbidden_elsewhere`."""
        return await self._withdrawals.forbidden_elsewhere(entries)
