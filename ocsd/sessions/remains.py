"""What a dead daemon has left of an attempt in the telephony plane, and what that says of how it ended. Pure."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from ocsd.model.enums import CallResult
from ocsd.model.records import OpenAttempt
from ocsd.sessions.attempt_context import AttemptContext, last_try, later_leg_id
from ocsd.sessions.call_recovery import FoundLeg
from ocsd.sessions.outcome import PEOPLE, result_of_failure, result_of_verdict
from ocsd.sessions.standing_legs import leg_of
from ocsd.sessions.trunk_health import UNREACHED, blame
from telephony.contract import ChannelSnapshot, LegEnded, LegSnapshot, LegState, VerdictKind


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of one attempt in the telephony plane; None: nothing."""

    leg: LegSnapshot | None = None
    channel: ChannelSnapshot | None = None
    agent_leg: LegSnapshot | None = None
    agent_channel: ChannelSnapshot | None = None
    agent_id: str | None = None
    """Who was bridged, by the agent leg's id."""

    @property
    def answered(self) -> bool:
        """The customer's phone was answered, and is still up."""
        return self.leg is not None and self.leg.state is LegState.ANSWERED

    @property
    def talking(self) -> bool:
        """Both sides of a conversation are up and hear each other."""
        return (
            self.leg is not None
            and self.leg.state is LegState.ANSWERED
            and self.agent_leg is not None
            and self.agent_leg.state is LegState.ANSWERED
            and self.agent_channel is not None
        )

    @property
    def verdict(self) -> VerdictKind | None:
        """The verdict reached after the answer, and before the end: what is heard of a dead line says nothing."""
        if self.leg is None or self.channel is None or self.leg.answered_at_s is None:
            return None
        ended_s = self.leg.ended_at_s if self.leg.ended_at_s is not None else math.inf
        return self.channel.verdict if self.leg.answered_at_s <= self.channel.verdict_at_s <= ended_s else None

    @property
    def early_verdict(self) -> VerdictKind | None:
        """What early media said, of a leg that was not answered."""
        answered = self.leg is not None and self.leg.answered_at_s is not None
        return self.channel.verdict if self.channel is not None and not answered else None


def remains_of(context: AttemptContext, legs: dict[str, LegSnapshot], channels: dict[str, ChannelSnapshot]) -> Remains:
    """Collect the parts of one attempt."""
    channel = channels.get(f"{context.leg_id}-rtp")
    agent_channel = channels.get(channel.bridged_to) if channel is not None and channel.bridged_to else None
    agent_leg_id = leg_of(agent_channel.channel_id) if agent_channel is not None else ""
    leg = legs.get(context.leg_id)
    # A designated agent hears the customer's network before the answer: no conversation yet.
    answered = leg is None or leg.answered_at_s is not None
    return Remains(
        leg=leg,
        channel=channel,
        agent_leg=legs.get(agent_leg_id),
        agent_channel=agent_channel,
        agent_id=context.agent_of(agent_leg_id) if answered else None,
    )


def remains_without_group(
    attempt: OpenAttempt,
    legs: dict[str, LegSnapshot],
    channels: dict[str, ChannelSnapshot],
    switch_dbids: Collection[int],
) -> Remains:
    """
    The same of an attempt whose campaign group is not loaded: the customer's leg, whichever try it is.

    ``switch_dbids``: of all trunks.
    """
    tries, dbid = last_try(attempt.leg_id, legs, switch_dbids)
    leg_id = attempt.leg_id if dbid is None else later_leg_id(attempt.leg_id, tries, dbid)
    return Remains(legs.get(leg_id), channels.get(f"{leg_id}-rtp"))


def with_agent(remains: Remains, agent: FoundLeg, context: AttemptContext) -> Remains:
    """The same with the agent found, whom the customer need not hear now: on hold, or amid a consultation."""
    agent_id = context.agent_of(agent.leg.leg_id)
    return replace(remains, agent_leg=agent.leg, agent_channel=agent.channel, agent_id=agent_id)


def settled(connected: bool, remains: Remains) -> tuple[CallResult, bool]:
    """
    Result of an attempt that cannot be adopted, and whether it was interrupted (its true end is unknown).

    Who had been connected was reached, whatever happened to the end of the conversation.
    """
    leg = remains.leg
    if connected:
        return result_of_conversation(remains), False
    if leg is None or leg.state is not LegState.ENDED:
        return CallResult.STALE, True
    if leg.answered_at_s is None:
        early = remains.early_verdict
        heard = result_of_verdict(early) if early is not None else None
        # What a person says before the answer, or silence, is no result of the call (see AttemptMachine).
        if heard in (CallResult.ANSWER, CallResult.SILENCE):
            early = None
        return result_of_failure(leg.sip_status, leg.q850_cause, early, no_answer=leg.no_answer), False
    result = result_of_verdict(remains.verdict) if remains.verdict is not None else None
    if result is not None and result is not CallResult.ANSWER:
        return result, False
    if result is CallResult.ANSWER or leg.ended_by == "local":
        # Answered, nobody there to talk to, and the worker or the caller gave up: the dialer dropped the call. When
        # nobody can tell who had answered, it counts against us.
        return CallResult.DROPPED, False
    return CallResult.REMOTE_RELEASE, False


def not_reached(remains: Remains) -> bool:
    """The attempt's trunk has failed before any phone rang: nobody was called, and the record is as it was."""
    leg = remains.leg
    if leg is None or leg.state is not LegState.ENDED or leg.ended_at_s is None or leg.rang:
        return False
    ended = LegEnded(
        leg.leg_id,
        leg.ended_at_s,
        leg.sip_status,
        leg.ended_by,
        was_answered=leg.answered_at_s is not None,
        no_answer=leg.no_answer,
        q850_cause=leg.q850_cause,
        responded=leg.responded,
    )
    return blame(ended, leg.ended_at_s - leg.placed_at_s) in UNREACHED


def shown_after_connect(remains: Remains, connected_s: float) -> bool:
    """What an agent talks with has turned out to be no person since ``connected_s`` (monotonic)."""
    shown = remains.channel is not None and remains.channel.verdict_at_s > connected_s
    return shown and remains.verdict is not None and remains.verdict not in PEOPLE


def result_of_conversation(remains: Remains) -> CallResult:
    """Answer, unless a call action has connected what analysis took for a machine: that it stays."""
    found = result_of_verdict(remains.verdict) if remains.verdict is not None else None
    return found if found is not None else CallResult.ANSWER
