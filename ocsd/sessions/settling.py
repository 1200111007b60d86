"""
What becomes of a chain when an attempt on it ends: treated, closed, called back, or put back as it was. Pure.

    how it ended                                              what follows
    no INVITE left, or a fault of ours before anybody talked  back to the list as it was
    nobody knows (worker lost, ForceUnload, no RecordProcessed)   Stale, the whole chain: it may have rung
    rejected, cancelled, Do-Not-Call by a desktop             what that means for the chain
    cancelled or Do-Not-Call meanwhile                        it has been written already; what is left of the chain
                                                              goes back to the list
    the desktop asked for a callback                          the callback
    an agent had it, and RecordProcessed asks for treatment   the treatment of the result, for everybody or that agent
    an agent had it, and it was a person                      Updated
    otherwise                                                 the treatment of the result

Source: Reference Manual, "Updating Call Results and Custom Fields", "Record Statuses" (Stale); docs/adr/0008.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import CallingRecord, Chain, ChainChange
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.planner import Planner
from ocsd.treatments.callback import callback_change
from ocsd.treatments.contract import Decision, Situation
from ocsd.treatments.engine import decide


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How an attempt ended.

    Attributes:
        record_status: Ready: no INVITE left, or our plane failed before anybody talked; Stale: interrupted; Updated: it
            has a result.
        handled: an agent had the record, by a conversation or on the desktop; or somebody has sent RecordProcessed.
        agent_id: whose the chain becomes, if it becomes an agent's.
        treatment: GSW_TREATMENT of RecordProcessed: ``campaign``, ``personal`` or None.
        callback: type and time asked for by RecordReschedule.
        closing: what a desktop has decided already.
        counted: an INVITE left.
        passed_outside: an agent has transferred the call outside before anybody said a result.
    """

    call_result: int
    record_status: RecordStatus
    handled: bool = False
    agent_id: str | None = None
    treatment: str | None = None
    callback: tuple[RecordType, datetime] | None = None
    closing: ChainChange | None = None
    withdrawn: bool = False
    counted: bool = True
    result_for_all: bool = False
    passed_outside: bool = False


def ending_of(task: AttemptTask) -> Ending:
    machine, context = task.machine, task.context
    # An agent had it on the line, saw that it was a machine, and nobody said a word about the record.
    unasked = machine.unmasked and machine.said is None
    return Ending(
        call_result=int(machine.result if machine.result is not None else CallResult.STALE),
        record_status=machine.record_status,
        handled=(machine.bridged and not unasked) or machine.processed or machine.designated_agent is not None,
        agent_id=context.owner or machine.agent_id,
        treatment=context.treatment,
        callback=(context.callback.callback_type, context.callback.due) if context.callback is not None else None,
        closing=None if context.closing_unless_answered and "answered" in machine.marks else context.closing,
        withdrawn=context.withdrawn,
        counted=machine.count_attempt,
        result_for_all=context.result_for_all,
        passed_outside=machine.bridged and "transferred" in machine.marks,
    )


def as_it_was(record: CallingRecord) -> ChainChange:
    """Back to the list, as if nothing had happened."""
    return ChainChange(
        record_status=RecordStatus.READY,
        record_type=RecordType(record.record_type),
        sibling_status=RecordStatus.READY,
        dial_sched_time=record.dial_sched_time,
        treatments=record.treatments,
    )


def settle(
    planner: Planner, chain: Chain, record: CallingRecord, ending: Ending, updates: Mapping[str, object], now: datetime
) -> Decision:
    """``chain``: its live rows as far as we know them; ``record``: the one dialed, as it was before the attempt."""
    record_type = RecordType(record.record_type)
    if ending.closing is not None:
        return Decision(ending.closing, 0, None, "rejected, cancelled or put on Do-Not-Call by an agent")
    if ending.withdrawn or record.record_id not in {row.record_id for row in chain.records}:
        # Its row says already what it is; where only this record was meant, the others may be dialed (manual, "Canceled
        # and DoNotCall Chained Records").
        return Decision(as_it_was(record), 0, None, "cancelled or put on Do-Not-Call meanwhile")
    if ending.record_status is RecordStatus.READY:
        fault = ending.call_result == CallResult.SYSTEM_ERROR
        because = "a fault of ours: back to the list" if fault else "not dialed: back to the list"
        return Decision(as_it_was(record), 0, record.record_id, because)
    if ending.record_status is RecordStatus.STALE:
        change = ChainChange(RecordStatus.STALE, record_type, sibling_status=RecordStatus.STALE)
        if ending.passed_outside:
            return Decision(change, 0, None, "transferred outside by its agent, who had said no result")
        return Decision(change, 0, None, "interrupted: it may have rung, so it waits for somebody's decision")
    final = ChainChange(
        RecordStatus.UPDATED,
        record_type,
        sibling_result=ending.call_result if ending.result_for_all else None,
    )
    dialed = replace(record, attempt=record.attempt + int(ending.counted))
    records = tuple(dialed if row.record_id == record.record_id else row for row in chain.records)
    if ending.callback is not None:
        kind, due = ending.callback
        change = callback_change(dialed, records, kind, due, planner.hours(chain.list_dbid).opening)
        return Decision(change, 0, record.record_id, f"{kind.name.replace('_', ' ').capitalize()} asked for")
    if ending.handled and ending.treatment is None:
        return Decision(final, 0, None, "finished by the agent")
    situation = Situation(
        call_result=ending.call_result,
        record=dialed,
        chain=records,
        now=now,
        disposition=planner.disposition(record, updates) if ending.handled else "",
        agent_id=ending.agent_id if ending.treatment == "personal" else None,
        by_agent=ending.treatment is not None,
        facts={"campaign_id": planner.campaign.dbid},
    )
    return treat(planner, situation, result_for_all=ending.result_for_all)


def treat(planner: Planner, situation: Situation, *, result_for_all: bool = False) -> Decision:
    """The treatment of a result, by the list's treatments as they are configured now."""
    list_dbid = situation.record.list_dbid
    return decide(
        situation,
        planner.treatments(list_dbid),
        max_attempts=planner.max_attempts(list_dbid),
        opening=planner.hours(list_dbid).opening,
        timezone_of=planner.zone,
        result_for_all=result_for_all,
    )


def kept_in_memory(planner: Planner, decision: Decision, list_dbid: int, now: datetime) -> Decision:
    """The same decision, with the claim kept when the next dial is nearer than treatment_sched_threshold."""
    change = decision.change
    if not change.goes_on or decision.treatment_dbid == 0 or planner.is_delivered(change.record_type):
        return decision
    soon = (change.dial_sched_time or 0) - now.timestamp() <= planner.threshold_s(list_dbid)
    return replace(decision, change=replace(change, keep_claim=soon)) if soon else decision
