"""
Start-up: every attempt that a dead daemon left open is adopted with its live legs, or settled; none is dialed again.

A leg that still rings or is under analysis goes on where it was; a conversation goes on with its agent, who logs in
again meanwhile. An attempt whose leg ended while nobody watched gets the result of that ending. One whose leg nobody
knows any more becomes Stale: it may have rung, so it must not ring again without somebody's decision.
"""

from dataclasses import dataclass

import structlog

from ocsd.model.enums import CallResult, ContactInfoType, RecordStatus, RecordType
from ocsd.model.records import AttemptTimes, CallingRecord, Chain, FinishedAttempt, OpenAttempt
from ocsd.sessions.attempt import AttemptMachine, AttemptState, Heard
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.outcome import result_of_failure, result_of_verdict
from ocsd.sessions.session import Session
from telephony.api import Media, Telephony
from telephony.contract import ChannelSnapshot, LegSnapshot, LegState

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Recovered:
    adopted: int
    settled: int
    claims_returned: int


def settled(attempt: OpenAttempt, leg: LegSnapshot | None, verdict_result: CallResult | None) -> tuple[int, bool]:
    """
    Result of an attempt that cannot be adopted, and whether it was interrupted (its true end is unknown).

    A person who had been connected was reached, whatever happened to the end of the conversation.
    """
    if attempt.connected_at is not None:
        return CallResult.ANSWER, False
    if leg is not None and leg.state is LegState.ENDED:
        if leg.answered_at_s is None:
            return result_of_failure(leg.sip_status, leg.q850_cause, None, no_answer=leg.sip_status == 487), False
        if verdict_result is not None and verdict_result is not CallResult.ANSWER:
            return verdict_result, False
        # A person answered and nobody was there to connect: the dialer dropped the call.
        return (CallResult.DROPPED if verdict_result is CallResult.ANSWER else CallResult.REMOTE_RELEASE), False
    return CallResult.STALE, True


async def recover(campaigns: Campaigns, telephony: Telephony, media: Media) -> Recovered:
    """
    Adopt or settle; to be called once, after sessions were resumed and before anything is dialed.

    Raises StoreUnavailable when the database goes away meanwhile: start anew then, nothing was lost.
    """
    store = campaigns.store
    legs = {leg.leg_id: leg for leg in telephony.live_legs()}
    channels = {channel.channel_id: channel for channel in media.live_channels()}
    adopted = given_up = 0
    for attempt in await store.open_attempts():
        leg = legs.get(attempt.leg_id)
        channel = channels.get(f"{attempt.leg_id}-rtp")
        session = campaigns.sessions.get(attempt.campaign_group_dbid)
        if (
            leg is not None
            and leg.state is not LegState.ENDED
            and session is not None
            and (task := await _adopt(attempt, leg, channel, channels, legs, session, telephony, media)) is not None
        ):
            session.adopt(task)
            adopted += 1
            log.info("attempt.adopted", attempt_id=attempt.attempt_id, state=task.machine.state.name)
            continue
        verdict = channel.verdict if channel is not None else None
        result, interrupted = settled(attempt, leg, result_of_verdict(verdict) if verdict is not None else None)
        await store.finish_attempt(
            FinishedAttempt(
                attempt_id=attempt.attempt_id,
                list_dbid=attempt.list_dbid,
                record_id=attempt.record_id,
                chain_id=attempt.chain_id,
                call_result=int(result),
                record_status=RecordStatus.STALE if interrupted else RecordStatus.UPDATED,
                record_type=RecordType.GENERAL,
                finished_at=campaigns.clock.utc(),
                times=AttemptTimes(dialing_at=attempt.started_at, answered_at=attempt.answered_at),
                sip_status=leg.sip_status or None if leg is not None else None,
                q850_cause=leg.q850_cause if leg is not None else None,
                cpa_verdict=str(verdict) if verdict is not None else None,
                agent_id=attempt.agent_id,
                interrupted=interrupted,
            )
        )
        given_up += 1
        log.warning("attempt.settled", attempt_id=attempt.attempt_id, result=int(result), interrupted=interrupted)
    await telephony.hang_up_unclaimed()
    await media.close_unclaimed()
    returned = await store.recover_claims()
    return Recovered(adopted, given_up, returned)


async def _adopt(
    attempt: OpenAttempt,
    leg: LegSnapshot,
    channel: ChannelSnapshot | None,
    channels: dict[str, ChannelSnapshot],
    legs: dict[str, LegSnapshot],
    session: Session,
    telephony: Telephony,
    media: Media,
) -> AttemptTask | None:
    """Rebuild the attempt in the state its legs are in; None when a part of it is missing."""
    record = CallingRecord(
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
    context = session.context_of(attempt, Chain(attempt.list_dbid, attempt.chain_id, (record,)))
    machine = AttemptMachine(session.planner.rules(attempt.list_dbid), leg.placed_at_s)
    task = AttemptTask(session, context, machine)
    if channel is None:
        return None  # its media server died too: nothing to talk through
    now_s = session.clock.now_s()
    if leg.state is LegState.ANSWERED:
        answered_at_s = leg.answered_at_s if leg.answered_at_s is not None else now_s
        machine.marks["answered"] = answered_at_s
        machine.sip_status = 200
        machine.state = AttemptState.ANALYSING
        machine.deadline_s = now_s + machine.rules.timeguard_s
        agent_channel = channels.get(channel.bridged_to) if channel.bridged_to else None
        if agent_channel is not None and attempt.agent_id in session.roster.seats:
            agent_leg_id = agent_channel.channel_id.removesuffix("-rtp")
            if agent_leg_id not in legs or legs[agent_leg_id].state is not LegState.ANSWERED:
                return None
            task.agent_leg = telephony.adopt(agent_leg_id)
            task.agent_channel = media.adopt(agent_channel.channel_id)
            machine.state = AttemptState.TALKING
            machine.deadline_s = float("inf")
            machine.agent_id = attempt.agent_id
            machine.result = CallResult.ANSWER
            machine.person_at_s = answered_at_s
            since = attempt.connected_at
            age_s = (session.clock.utc() - since).total_seconds() if since is not None else 0.0
            machine.marks["agent_answered"] = now_s - max(0.0, age_s)
    elif leg.state is LegState.EARLY:
        machine.state = AttemptState.ALERTING
    task.leg = telephony.adopt(attempt.leg_id)
    task.channel = media.adopt(channel.channel_id)
    if task.leg is None or task.channel is None:
        return None
    if machine.state is AttemptState.ANALYSING and channel.verdict is not None:
        # Said while nobody listened.
        task.post(Heard(channel.verdict, connected=True, speech_end_s=channel.verdict_at_s))
    return task
