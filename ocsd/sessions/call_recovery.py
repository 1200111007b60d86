"""
Call control after a restart: who of an attempt's legs talks with whom, found from the telephony plane alone.

    customer with agent and third party     CONFERENCE
    customer with agent, third party alone  ALTERNATED
    agent with third party                  CONSULTING, the customer on hold
    customer and agent, each alone          HELD: also where a third party was still being called, which is given up
    customer with agent                     TALKING

Legs say whose they are by their ids; only those of a conversation (protected) count. Supervisors are found by the
channel that theirs has joined. The leg of a nailed-up phone says only whose phone it is: that its agent is a third
party is noted with the open attempt (`third_noted`), and so is the number of somebody outside.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocsd.sessions.attempt_context import AttemptContext
from ocsd.sessions.call_talk import Talk
from ocsd.sessions.second_leg import AdoptedLeg
from ocsd.sessions.standing_legs import agent_of as standing_agent
from ocsd.sessions.standing_legs import leg_of
from telephony.contract import ChannelSnapshot, LegSnapshot, LegState, Role
from telephony.media_channel import groups, peer_found

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from telephony.api import Media, Telephony


@dataclass(frozen=True, slots=True)
class ThirdNoted:
    """The third party as the journal knows it; ``agent_id`` None: outside, where ``dn`` is the number."""

    number: int
    agent_id: str | None
    dn: str


def third_noted(asks: Mapping[str, object]) -> ThirdNoted | None:
    """What `CallControlTask` has noted with the attempt (OpenAttempt.desktop_asks); None: there is no third party."""
    match asks.get("third_party"):
        case {"number": int(number), "agent_id": str() | None as agent_id, "dn": str(dn)}:
            return ThirdNoted(number, agent_id, dn)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class FoundLeg:
    """A leg that is up, with its channel."""

    leg: LegSnapshot
    channel: ChannelSnapshot


@dataclass(frozen=True, slots=True)
class FoundCall:
    """
    A conversation as it was left.

    Attributes:
        third: the third party, with its leg; dn "": outside, and nobody remembers the number.
        monitors: supervisors by login ID, with leg and role.
    """

    state: Talk
    agent: FoundLeg
    third: tuple[ThirdNoted, FoundLeg] | None = None
    monitors: Mapping[str, tuple[FoundLeg, Role]] | None = None

    @property
    def is_plain(self) -> bool:
        """Two who talk, and nothing that call control would have to know."""
        return self.state is Talk.TALKING and not self.monitors and not self.agent.channel.muted


class FoundLegs:
    """The legs of conversations, by whose they are: made once for all attempts, of which there may be hundreds."""

    def __init__(self, legs: Mapping[str, LegSnapshot], channels: Mapping[str, ChannelSnapshot]) -> None:
        channel_of_leg = {leg_of(channel_id): channel for channel_id, channel in channels.items()}
        self.up = {
            leg_id: FoundLeg(leg, channel_of_leg[leg_id])
            for leg_id, leg in legs.items()
            if leg.state is LegState.ANSWERED and leg.protected and leg_id in channel_of_leg
        }
        self.together = groups({channel_id: peer_found(channel) for channel_id, channel in channels.items()})
        self.listening: dict[str, list[str]] = {}
        """Supervisors' legs, by the channel that they listen to."""
        self.of_attempt: dict[str, list[str]] = {}
        """By number and identity of the attempt, without supervisors."""
        self._standing: dict[str, list[str]] = {}
        for leg_id, found in self.up.items():
            if found.channel.role is not Role.MEMBER and found.channel.joined_to:
                self.listening.setdefault(found.channel.joined_to, []).append(leg_id)
                continue
            standing = standing_agent(leg_id)
            if standing is not None:
                self._standing.setdefault(standing[0], []).append(leg_id)
            else:
                self.of_attempt.setdefault(_prefix(leg_id), []).append(leg_id)

    def of(self, context: AttemptContext, agent_ids: Iterable[str | None]) -> dict[str, FoundLeg]:
        """Legs that may be part of the attempt's conversation: its own, its agents', and whoever hears its customer."""
        names = list(self.of_attempt.get(_prefix(context.leg_id), ()))
        for agent_id in agent_ids:
            names += self._standing.get(agent_id or "", ())
        if (customer := self.up.get(context.leg_id)) is not None:
            names += map(leg_of, self.together.get(customer.channel.channel_id, ()))
        return {name: self.up[name] for name in names if name in self.up}


def _prefix(leg_id: str) -> str:
    """What all legs of an attempt begin with (`AttemptContext`): number and identity."""
    return "-".join(leg_id.split("-", 2)[:2])


def find_call(
    context: AttemptContext, agent_id: str | None, legs: FoundLegs, noted: ThirdNoted | None = None
) -> FoundCall | None:
    """
    The conversation that the attempt's customer is part of; None: there is none.

    ``agent_id``: who had the record when the journal was last written; ``noted``: the third party then.
    """
    up, together = legs.of(context, (agent_id, noted.agent_id if noted is not None else None)), legs.together
    customer = up.pop(context.leg_id, None)
    if customer is None:
        return None
    company = together.get(customer.channel.channel_id, frozenset())
    agents = {leg_id: found for leg_id, found in up.items() if context.agent_of(leg_id) is not None}
    with_customer = {leg_id: found for leg_id, found in agents.items() if found.channel.channel_id in company}
    own = [leg_id for leg_id in with_customer or agents if context.agent_of(leg_id) == agent_id]
    others = [leg_id for leg_id in with_customer or agents if _is_ours(context, leg_id)]
    first = next(iter([*own, *sorted(others, key=lambda leg_id: context.third_of(leg_id) is not None)]), None)
    if first is None:
        return None
    agent = agents[first]
    heard = company | together.get(agent.channel.channel_id, frozenset())
    thirds = [
        (who, found)
        for leg_id, found in up.items()
        if leg_id != first and (who := _third(context, leg_id, found.channel.channel_id in heard, noted)) is not None
    ]
    third = next(iter(thirds), None)
    state = _state(customer, agent, third[1] if third is not None else None, together)
    keeps = state in (Talk.CONFERENCE, Talk.CONSULTING, Talk.ALTERNATED)
    monitors = {
        supervisor: (legs.up[leg_id], legs.up[leg_id].channel.role)
        for leg_id in legs.listening.get(agent.channel.channel_id, ())
        if (supervisor := _supervisor(context, leg_id)) is not None
    }
    return FoundCall(state, agent, third if keeps else None, monitors)


def _third(context: AttemptContext, leg_id: str, is_heard: bool, noted: ThirdNoted | None) -> ThirdNoted | None:
    """The third party whose leg this is; ``is_heard``: by the customer or by the agent."""
    if (named := context.third_of(leg_id)) is not None:
        number, agent_id = named
        dn = noted.dn if noted is not None and noted.number == number else ""
        return ThirdNoted(number, agent_id, dn)
    if (standing := standing_agent(leg_id)) is None:
        return None
    if noted is not None and noted.agent_id == standing[0]:
        return noted
    return ThirdNoted(1, standing[0], "") if is_heard else None  # killed before it was noted


def _supervisor(context: AttemptContext, leg_id: str) -> str | None:
    standing = standing_agent(leg_id)
    return standing[0] if standing is not None else context.monitor_of(leg_id)


def _is_ours(context: AttemptContext, leg_id: str) -> bool:
    """Made by this attempt: a standing leg of somebody else's agent is not."""
    return leg_id.startswith(f"{context.agent_leg_id}-") or context.third_of(leg_id) is not None


def _state(customer: FoundLeg, agent: FoundLeg, third: FoundLeg | None, together: Mapping[str, frozenset[str]]) -> Talk:
    with_customer = together.get(customer.channel.channel_id, frozenset())
    if agent.channel.channel_id in with_customer:
        if third is None:
            return Talk.TALKING
        return Talk.CONFERENCE if third.channel.channel_id in with_customer else Talk.ALTERNATED
    with_agent = together.get(agent.channel.channel_id, frozenset())
    return Talk.CONSULTING if third is not None and third.channel.channel_id in with_agent else Talk.HELD


def adopt_call(task: "AttemptTask", found: FoundCall, telephony: "Telephony", media: "Media") -> None:
    """Take over what `find_call` has found beside customer and agent, whose legs the attempt has already."""
    if found.is_plain:
        return
    if found.third is not None:
        noted, third = found.third
        legs = _adopted(task, third, telephony, media)
        task.control.adopt_third(noted.number, noted.agent_id, noted.dn, legs, found.state)
    else:
        task.control.adopt_state(found.state)
    if found.agent.channel.muted:
        task.control.adopt_muted()
    for supervisor_id, (leg, role) in (found.monitors or {}).items():
        if (taken := _adopted(task, leg, telephony, media)) is not None:
            task.control.monitors.adopt(supervisor_id, taken, role)


def _adopted(task: "AttemptTask", found: FoundLeg, telephony: "Telephony", media: "Media") -> AdoptedLeg | None:
    """The leg, with its channel, in this daemon's hands; None: it has gone meanwhile, or somebody else has it."""
    standing = task.host.session.seizing.adopt_taken(found.leg, found.channel.channel_id)
    if standing is not None:
        return standing
    leg, channel = telephony.adopt(found.leg.leg_id), media.adopt(found.channel.channel_id)
    return (leg, channel) if leg is not None and channel is not None else None
