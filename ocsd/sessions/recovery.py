"""
Start-up: every attempt that a dead daemon left open is adopted with its live legs, or settled; none is dialed again.

    what is found                                            what becomes of it
    both legs up and bridged                                 TALKING: the agent logs in again and finds the call
    on hold, in a consultation or a conference               the same, see `call_recovery`
    a voice application has it                               see `voice_recovery`
    connected, and a part of the conversation is gone        WRAP_UP when the desktop has to process the record, else
                                                             settled as Answer; what is left of the legs is hung up
    answered, with a verdict reached after the answer        the verdict is acted on now
    answered, under analysis                                 ANALYSING: the media server has gone on listening
    answered, and nothing or only early media is analysed    ANALYSING, begun now
    ringing                                                  ALERTING, with what its early media said
    an engaging call, or a nailed-up phone, without a        held again; hung up if its agent's desktop stays away
    customer
    ended while no daemon listened                           settled with the result of that ending; the record is
                                                             Ready again where its trunk failed before anything rang
    unknown to every worker                                  settled as Stale: it may have rung, so it must not ring
                                                             again without somebody's decision
    any of them, its record cancelled or put on              a conversation goes on, and its record ends with it; the
    Do-Not-Call meanwhile                                    rest is hung up

Marks in the journal are written a moment after the fact, so a kill may fall between a bridge and its mark; what the
workers and the media server say counts as well, and the agent's name is part of the agent leg's id.
"""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ocsd.model.enums import CallResult, ContactInfoType, RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import AttemptTimes, CallingRecord, Chain, ChainChange, FinishedAttempt, OpenAttempt
from ocsd.sessions.agent_legs import AGENT_EVENTS
from ocsd.sessions.analysis_recording import attempt_of, noted
from ocsd.sessions.attempt import SAFETY_MARGIN_S, Answered, AttemptMachine, AttemptState, Do, Heard
from ocsd.sessions.attempt_context import last_try
from ocsd.sessions.attempt_events import Cancelled, PendingCallback, Withdrawn
from ocsd.sessions.attempt_task import AttemptContext, AttemptTask
from ocsd.sessions.call_recovery import FoundLegs, adopt_call, find_call, third_noted
from ocsd.sessions.caller_ids import DAY_S
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.people import person_left
from ocsd.sessions.planner import Planner
from ocsd.sessions.recordless import RecordlessCall, calls_without_record
from ocsd.sessions.remains import (
    Remains,
    not_reached,
    remains_of,
    remains_without_group,
    result_of_conversation,
    settled,
    shown_after_connect,
    with_agent,
)
from ocsd.sessions.session import Session
from ocsd.sessions.settling import Ending, settle
from ocsd.sessions.voice_recovery import adopt_application
from ocsd.treatments.callback import reject_change
from ocsd.treatments.contract import Decision
from telephony.api import Media, Telephony
from telephony.contract import LegState, Verdict

log = structlog.get_logger()

UNLESS_ANSWERED: Final = "unless_answered"
"""See OpenAttempt.desktop_asks."""


@dataclass(frozen=True, slots=True)
class Recovered:
    adopted: int
    settled: int
    claims_returned: int


async def recover(campaigns: Campaigns, telephony: Telephony, media: Media) -> Recovered:
    """
    Adopt or settle; to be called once, after sessions were resumed and before anything is dialed.

    Raises StoreUnavailable when the database goes away meanwhile: start anew then, nothing was lost.
    """
    store = campaigns.store
    attempts = await store.open_attempts()
    records: dict[tuple[int, int], CallingRecord] = {}
    chains: dict[int, tuple[Chain, bool]] = {}
    for list_dbid in {attempt.list_dbid for attempt in attempts} & campaigns.list_dbids:
        wanted = [attempt.record_id for attempt in attempts if attempt.list_dbid == list_dbid]
        found = await store.records(list_dbid, wanted)
        records |= {(list_dbid, record_id): record for record_id, record in found.items()}
    for attempt in attempts:
        record = records.get((attempt.list_dbid, attempt.record_id), _bare_record(attempt))
        known = attempt.list_dbid in campaigns.list_dbids
        rows = await store.chain(attempt.list_dbid, attempt.chain_id) if known else ()
        chains[attempt.attempt_id] = found_chain(record, rows)
    await recall_caller_ids(campaigns)
    adopted = given_up = 0
    # The plane is asked last: from here to the adoption nothing is awaited that could make its answer old.
    legs = {leg.leg_id: leg for leg in telephony.live_legs()}
    channels = {channel.channel_id: channel for channel in media.live_channels()}
    talking = FoundLegs(legs, channels)
    switch_dbids = [trunk.dbid for trunk in campaigns.config.trunks]
    open_ends: list[tuple[OpenAttempt, Remains, Chain, bool, bool]] = []
    for attempt in attempts:
        chain, withdrawn = chains[attempt.attempt_id]
        session = campaigns.sessions.get(attempt.campaign_group_dbid)
        task, verified = None, False
        remains = remains_without_group(attempt, legs, channels, switch_dbids)
        if session is not None:
            context = session.context_of(attempt, chain, legs)
            context.withdrawn = withdrawn
            remains = remains_of(context, legs, channels)
            third = third_noted(attempt.desktop_asks)
            call = find_call(context, attempt.agent_id, talking, third) if remains.answered else None
            if call is not None:
                remains = with_agent(remains, call.agent, context)
            verified = context.verified and remains.verdict is not None
            task = _adopt(attempt, remains, context, session, telephony, media)
            if call is not None and task is not None and task.machine.state is AttemptState.TALKING:
                adopt_call(task, call, telephony, media)
            if task is None:
                session.trunk_use.leave(context.attempt_id)
        if task is not None and session is not None:
            session.adopt(task)
            adopted += 1
            log.info("attempt.adopted", attempt_id=attempt.attempt_id, state=task.machine.state.name)
        else:
            open_ends.append((attempt, remains, chain, withdrawn, verified))
    for attempt, remains, chain, withdrawn, verified in open_ends:
        try:
            await _settle(campaigns, attempt, remains, chain, withdrawn, verified=verified)
        except StoreUnavailable:
            raise
        except Exception:
            # One row that cannot be written (a trigger of its table) must not keep the daemon down. It stays open, and
            # so nobody dials it; the next start tries again.
            log.exception("attempt.not_settled", attempt_id=attempt.attempt_id)
        else:
            given_up += 1
    for legs_found in calls_without_record(telephony, media):
        campaigns.start_soon(RecordlessCall(campaigns, legs_found, telephony, media).see_through)
    campaigns.standing.adopt_held(telephony.live_legs(), campaigns.hold_of)
    await telephony.hang_up_unclaimed()
    await media.close_unclaimed()
    for event in media.take_recorded():  # finished while no daemon was there to hear of it
        if (attempt_id := attempt_of(event.path)) is not None:
            await store.note_recording(noted(event, attempt_id, campaigns.clock))
    returned = await store.recover_claims()
    return Recovered(adopted, given_up, returned)


async def recall_caller_ids(campaigns: Campaigns) -> None:
    """What the numbers of caller ID sets have been used for within a day, by earlier daemons and by others."""
    sets = campaigns.config.caller_id_sets
    if not sets:
        return
    now, now_s = campaigns.clock.utc(), campaigns.clock.now_s()
    most = max(1, *(max(one.calls_per_hour, one.calls_per_day) for one in sets))
    used = await campaigns.store.caller_ids_used(now - timedelta(seconds=DAY_S), most)
    campaigns.trunk_board.caller_ids.remember(
        {number: [now_s - (now - at).total_seconds() for at in began] for number, began in used.items()}
    )


async def _settle(
    campaigns: Campaigns, attempt: OpenAttempt, remains: Remains, chain: Chain, withdrawn: bool, *, verified: bool
) -> None:
    connected = attempt.connected_at is not None or remains.agent_id is not None
    result: int
    result, interrupted = settled(connected, remains)
    unreached = not connected and attempt.campaign_group_dbid in campaigns.groups and not_reached(remains)
    status = RecordStatus.STALE if interrupted else RecordStatus.UPDATED
    if unreached:
        result, status = CallResult.ALL_TRUNKS_BUSY, RecordStatus.READY
    found = result
    if attempt.desktop_result is not None:
        result = attempt.desktop_result
    callback, treatment, owner = _asked(attempt)
    ending = Ending(
        call_result=int(result),
        record_status=status,
        counted=not unreached,
        handled=connected,
        agent_id=owner or attempt.agent_id,
        withdrawn=withdrawn,
        callback=(callback.callback_type, callback.due) if callback is not None else None,
        treatment=treatment,
        closing=_rejected(attempt, unanswered=not (connected or interrupted or attempt.answered_at is not None)),
    )
    decision = _decision(campaigns, attempt, chain, ending)
    leg, verdict = remains.leg, remains.verdict or remains.early_verdict
    leg_ids, trunks = (leg.leg_id,) if leg is not None else (), [trunk.dbid for trunk in campaigns.config.trunks]
    _, switch_dbid = last_try(attempt.leg_id, leg_ids, trunks)
    await campaigns.store.finish_attempt(
        FinishedAttempt(
            attempt_id=attempt.attempt_id,
            list_dbid=attempt.list_dbid,
            record_id=attempt.record_id,
            chain_id=attempt.chain_id,
            call_result=int(result),
            change=decision.change,
            finished_at=campaigns.clock.utc(),
            times=AttemptTimes(dialing_at=attempt.started_at, answered_at=attempt.answered_at),
            sip_status=leg.sip_status or None if leg is not None else None,
            q850_cause=leg.q850_cause if leg is not None else None,
            switch_dbid=switch_dbid or attempt.switch_dbid,
            cpa_verdict=str(verdict) if verdict is not None else None,
            agent_id=attempt.agent_id or remains.agent_id,
            owner=owner,
            interrupted=interrupted,
            count_attempt=not unreached,
            verified=verified,
            agent_result=attempt.desktop_result,
            updates=attempt.desktop_updates,
            treatment_dbid=decision.treatment_dbid or None,
            because=decision.because,
            statements=decision.statements,
            requests=decision.requests,
            person=person_left(
                found,
                connected=connected,
                answered=attempt.answered_at is not None or (leg is not None and leg.answered_at_s is not None),
                at=attempt.answered_at or campaigns.clock.utc(),
            ),
        )
    )
    log.warning("attempt.settled", attempt_id=attempt.attempt_id, result=int(result), interrupted=interrupted)


def _asked(attempt: OpenAttempt) -> tuple[PendingCallback | None, str | None, str | None]:
    """What had been asked for: a callback, a treatment, and whose the record becomes."""
    asks = attempt.desktop_asks
    kind, due = asks.get("callback_type"), asks.get("callback_due")
    treatment = asks.get("treatment")
    callback = None
    if isinstance(kind, int) and isinstance(due, int):
        callback = PendingCallback(RecordType(kind), datetime.fromtimestamp(due, UTC))
    owner = asks.get("agent_id")
    return callback, treatment if isinstance(treatment, str) else None, owner if isinstance(owner, str) else None


def _rejected(attempt: OpenAttempt, *, unanswered: bool) -> ChainChange | None:
    """The change of a RecordReject that was acknowledged; None: there was none, or the call may have been answered."""
    rejected = attempt.desktop_asks.get("rejected")
    return None if rejected is None or (rejected == UNLESS_ANSWERED and not unanswered) else reject_change()


def found_chain(record: CallingRecord, rows: tuple[CallingRecord, ...]) -> tuple[Chain, bool]:
    """
    The claimed chain as far as it is still there, and whether the dialed record has been withdrawn meanwhile.

    The dialed record is always in it. ``rows``: the live ones.
    """
    place = next((i for i, row in enumerate(rows) if row.record_id == record.record_id), None)
    if place is None:
        return Chain(record.list_dbid, record.chain_id, (record, *rows)), True
    return Chain(record.list_dbid, record.chain_id, rows, place), False


def _decision(campaigns: Campaigns, attempt: OpenAttempt, chain: Chain, ending: Ending) -> Decision:
    """What follows from a result found at start-up: the same as if the daemon had been there."""
    group = campaigns.groups.get(attempt.campaign_group_dbid)
    if group is None or attempt.list_dbid not in campaigns.list_dbids:
        # Its group or list is not configured any more: nobody knows its treatments.
        status = ending.record_status
        change = ChainChange(status, RecordType(chain.record.record_type), sibling_status=status)
        return Decision(change, 0, None, "its campaign group is not configured any more")
    planner = Planner(campaigns.config, group)
    ending = replace(ending, result_for_all=planner.result_for_all(attempt.list_dbid))
    return settle(planner, chain, chain.record, ending, attempt.desktop_updates, campaigns.clock.utc())


def _bare_record(attempt: OpenAttempt) -> CallingRecord:
    """Stands for a row that somebody has deleted meanwhile."""
    return CallingRecord(
        list_dbid=attempt.list_dbid,
        record_id=attempt.record_id,
        contact_info=attempt.phone,
        contact_info_type=int(ContactInfoType.NO_CONTACT_TYPE),
        record_type=RecordType.GENERAL,
        call_result=int(CallResult.UNKNOWN),
        attempt=0,
        dial_sched_time=None,
        call_time=None,
        daily_from_s=0,
        daily_till_s=86400,
        tz_dbid=0,
        chain_id=attempt.chain_id,
        chain_n=0,
    )


def _adopt(
    attempt: OpenAttempt,
    remains: Remains,
    context: AttemptContext,
    session: Session,
    telephony: Telephony,
    media: Media,
) -> AttemptTask | None:
    """Rebuild the attempt in the state its legs are in; None: settle it."""
    rules = session.planner.rules(attempt.list_dbid, context.trunk)
    clock, leg, channel = session.clock, remains.leg, remains.channel
    now_s = clock.now_s()

    def monotonic(at: datetime | None) -> float:
        return now_s - max(0.0, (clock.utc() - at).total_seconds()) if at is not None else now_s

    machine = AttemptMachine(rules, leg.placed_at_s if leg is not None else monotonic(attempt.started_at))
    machine.adopted = True
    task = AttemptTask(session, context, machine, adopted=True)
    if context.withdrawn:
        # The last daemon may have died before it could hang up; and no desktop finds this record any more to finish it.
        task.post(Withdrawn() if context.record.record_type == RecordType.NO_CALL else Cancelled())
    if leg is not None:
        task.gateway.response(leg.headers)
    context.updates |= attempt.desktop_updates
    # Also what was asked for over HTTP before any agent had the record: it was answered, so it holds.
    context.callback, context.treatment, context.owner = _asked(attempt)
    machine.processed = attempt.desktop_asks.get("processed") is True
    if (rejected := attempt.desktop_asks.get("rejected")) is not None:
        context.closing, context.closing_unless_answered = reject_change(), rejected == UNLESS_ANSWERED
    machine.said = attempt.desktop_result
    if channel is not None and channel.verdict is not None:
        # Its figures went with the daemon that heard them.
        connected_by_then = remains.verdict is not None
        context.heard.note(
            Verdict(channel.channel_id, channel.verdict, "told at a restart", channel.verdict_at_s, connected_by_then)
        )
    agent_id = remains.agent_id or attempt.agent_id
    connected = attempt.connected_at is not None or remains.agent_id is not None
    answered_at_s = leg.answered_at_s if leg is not None else None
    if answered_at_s is None and attempt.answered_at is not None:
        answered_at_s = monotonic(attempt.answered_at)
    if adopt_application(task, attempt, remains, session, telephony, media, monotonic(attempt.connected_at)):
        return task
    if connected and agent_id in session.roster.line.seats:
        machine.sip_status = 200
        machine.agent_id = agent_id
        machine.verdict = remains.verdict
        machine.result = (
            attempt.desktop_result if attempt.desktop_result is not None else result_of_conversation(remains)
        )
        machine.marks["answered"] = machine.person_at_s = answered_at_s if answered_at_s is not None else now_s
        machine.marks["agent_answered"] = monotonic(attempt.connected_at)
        machine.unmasked = shown_after_connect(remains, machine.marks["agent_answered"])
        if remains.talking:
            assert channel is not None
            assert remains.agent_leg is not None
            assert remains.agent_channel is not None
            machine.state, machine.deadline_s = AttemptState.TALKING, math.inf
            if attempt.connected_at is None:
                task.first = (Do.MARK_CONNECTED,)
            standing = session.seizing.adopt_taken(remains.agent_leg, remains.agent_channel.channel_id)
            if standing is not None:
                task.second.adopt(standing, AGENT_EVENTS)
            else:
                task.agent_leg = telephony.adopt(remains.agent_leg.leg_id)
                task.agent_channel = media.adopt(remains.agent_channel.channel_id)
            task.leg = telephony.adopt(context.leg_id)
            task.channel = media.adopt(channel.channel_id)
            if channel.standing_by:
                task.direct.adopt()
            return task
        if not rules.record_processed or machine.processed:
            return None
        machine.state, machine.deadline_s = AttemptState.WRAP_UP, now_s + rules.stale_s
        machine.marks["released"] = machine.marks["agent_released"] = (
            leg.ended_at_s if leg is not None and leg.ended_at_s is not None else now_s
        )
        return task
    if connected or leg is None or leg.state is LegState.ENDED or channel is None:
        return None
    if answered_at_s is not None and not rules.analysis:
        machine.state = AttemptState.ALERTING
        task.post(Answered(answered_at_s))  # nobody listens: who answered waits since then
    elif answered_at_s is not None:
        machine.marks["answered"] = answered_at_s
        machine.sip_status = 200
        machine.state = AttemptState.ANALYSING
        machine.deadline_s = now_s + rules.timeguard_s + SAFETY_MARGIN_S
        if remains.verdict is not None:
            # Reached while nobody listened. Act on it first, before anything else is heard.
            task.post(Heard(remains.verdict, connected=True, speech_end_s=channel.verdict_at_s))
        elif not channel.analysing_connected:
            # Answered while no daemon listened, or the last one died between the answer and this.
            task.first = (Do.START_ANALYSIS,)
    elif leg.state is LegState.EARLY:
        machine.state = AttemptState.ALERTING
        if remains.early_verdict is not None:
            task.post(Heard(remains.early_verdict, connected=False))
    task.leg = telephony.adopt(context.leg_id)
    task.channel = media.adopt(channel.channel_id)
    return task
