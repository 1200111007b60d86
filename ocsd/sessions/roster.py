"""
The agents of one agent group: who is ready, for how long, who waits for whom. Pure: time is passed in.

States follow the T-Library (logged out, not ready, ready, after-call work) plus two of ours: reserved (the phone rings)
and talking. The agent ready longest gets the person waiting longest, over all agent groups that an agent is in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from ocsd.model.errors import InvariantError
from ocsd.sessions.inbound import InboundCalls
from ocsd.sessions.phones import PLAIN_PHONE, PhonePlan


class AgentState(Enum):
    LOGGED_OUT = "logged_out"
    NOT_READY = "not_ready"
    READY = "ready"
    RESERVED = "reserved"
    TALKING = "talking"
    WRAP_UP = "wrap_up"


ON_A_CALL = frozenset({AgentState.RESERVED, AgentState.TALKING})
NO_FURTHER_CALL = frozenset({AgentState.NOT_READY, AgentState.LOGGED_OUT})
AT_WORK = frozenset({AgentState.READY, AgentState.RESERVED, AgentState.TALKING, AgentState.WRAP_UP})

UNREACHED_REST_S = 1.0
"""Wait before an agent whose phone our own plane could not reach is given a call again: who cannot be reached now is
not reached in the next instant either, and somebody else may take the person who waits."""

READY_TIME_GRACE_S = 10.0
"""An announced instant (ReadyTime) that has passed by more than this is no longer believed: the agent counts by its
state again. Nearly all conversations that outlast an announcement end within so long, or take a turn nobody announced.
"""


@dataclass(slots=True)
class AgentSeat:
    """
    One agent. ``since_s`` is when the state began; ``talked_s`` the length of the last conversation.

    ``wants`` is the state to take once the call is over, when the agent asked for it during the call.
    ``ready_at_s`` is the instant at which the agent has announced to be ready; it goes with the work it was said of.
    ``engaged_s`` is since when the phone is up (an engaging call, or nailed up), None when it is not; ``phone_rings``:
    it is being called for that.
    """

    agent_id: str
    dn: str
    state: AgentState = AgentState.LOGGED_OUT
    since_s: float = 0.0
    attempt_id: int | None = None
    talked_s: float = 0.0
    wants: AgentState | None = None
    ready_at_s: float | None = None
    time_in: dict[AgentState, float] = field(default_factory=dict)
    phone: PhonePlan = PLAIN_PHONE
    engaged_s: float | None = None
    phone_rings: bool = False
    rests_until_s: float = -math.inf
    """Our plane could not reach the phone: no call is given to the agent before that."""
    is_port: bool = False
    """A port of an IVR, which is ready whenever no call is on it."""

    def can_take(self, seizes: bool) -> bool:
        """
        Whether somebody can be connected at once, or by calling the phone now.

        ``seizes``: for a group in a seizing mode, where nobody waits for a phone that rings. A phone that rings
        already, and one that ought to be up all the time, cannot be called either.
        """
        return self.engaged_s is not None or not (seizes or self.phone_rings or self.phone.nailed_up)

    def needs_leg(self) -> bool:
        """Whether a leg has to be kept for the agent: at work, and not on the phone."""
        state = self.state
        off_phone = state is not AgentState.TALKING and state is not AgentState.RESERVED
        return off_phone and state is not AgentState.LOGGED_OUT and self.engaged_s is None and not self.phone_rings

    def free_since_s(self) -> float:
        """Since when the agent has waited for a call, able to take it at once."""
        return self.since_s if self.engaged_s is None else max(self.since_s, self.engaged_s)

    def enter(self, state: AgentState, now_s: float) -> None:
        self.time_in[self.state] = self.time_in.get(self.state, 0.0) + max(0.0, now_s - self.since_s)
        if (self.state, state) != (AgentState.TALKING, AgentState.WRAP_UP):
            self.ready_at_s = None
        self.state, self.since_s = state, now_s

    def log_in(self, now_s: float) -> None:
        """Log in as not ready; an agent on a call (adopted after a restart) stays on it."""
        if self.state is AgentState.LOGGED_OUT:
            self.enter(AgentState.NOT_READY, now_s)
        elif self.wants is AgentState.LOGGED_OUT:
            self.wants = None

    def ask_for(self, state: AgentState, now_s: float) -> None:
        """
        Become ready, not ready or logged out: now, or when the call is over.

        Who says ready while the phone is called is so already, and has yet to hear of the call (one before it came to
        nothing, say). That is no word on the time after the conversation: its wrap-up is not to be left out.
        """
        if self.state is AgentState.RESERVED and state is AgentState.READY:
            self.wants, self.ready_at_s = None, None
        elif self.state in ON_A_CALL:
            self.wants, self.ready_at_s = state, None
        elif self.state is not state:
            self.enter(state, now_s)

    def announce(self, ready_in_s: float, now_s: float) -> None:
        """ReadyTime: the agent will be ready so much later; means nothing of one who is, or is not logged in."""
        if self.state not in (AgentState.READY, AgentState.LOGGED_OUT):
            self.ready_at_s = now_s + ready_in_s

    def ready_in_s(self, now_s: float) -> float | None:
        """Seconds until the announced instant, 0 when it has just passed; None: nothing to go by."""
        if self.ready_at_s is None or now_s - self.ready_at_s > READY_TIME_GRACE_S:
            return None
        return max(0.0, self.ready_at_s - now_s)

    def time_spent_s(self, state: AgentState, now_s: float) -> float:
        running = now_s - self.since_s if self.state is state else 0.0
        return self.time_in.get(state, 0.0) + running


Ranks: TypeAlias = Callable[[str], int | None]


class WaitingLine:
    """
    People who wait for an agent, of all agent groups, longest first: an agent of two groups serves one line.

    Attributes:
        ranks: for a person of a campaign group (DBID): how gladly an agent (login ID) is given to it now, lowest
            first; None: not at all.
        seizing: campaign groups (DBIDs) whose people are only given to agents whose phone is up.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Roster, int]] = {}
        self.seats: dict[str, AgentSeat] = {}
        """Of all agent groups: somebody may wait for an agent of another one than the campaign group's."""
        self.ranks: Callable[[int], Ranks] = lambda group: lambda agent_id: 0
        self.seizing: set[int] = set()

    def __contains__(self, attempt_id: int) -> bool:
        return attempt_id in self._waiting

    def join(self, attempt_id: int, roster: "Roster", group: int) -> None:
        self._waiting[attempt_id] = roster, group

    def leave(self, attempt_id: int) -> None:
        self._waiting.pop(attempt_id, None)

    def count(self, roster: "Roster") -> int:
        return sum(of is roster for of, _ in self._waiting.values())

    def match(self, now_s: float) -> list[tuple[int, AgentSeat]]:
        """Pair people with agents of their group, longest waiting with longest ready; the agents become reserved."""
        pairs: list[tuple[int, AgentSeat]] = []
        nobody: set[tuple[int, int]] = set()
        for attempt_id, (roster, group) in list(self._waiting.items()):
            if (id(roster), group) in nobody:
                continue
            rank_of, seizes = self.ranks(group), group in self.seizing
            ranked = [
                (agent_id in roster.leaving, rank, seat.free_since_s(), agent_id)
                for agent_id, seat in roster.ready()
                if seat.can_take(seizes) and now_s >= seat.rests_until_s and (rank := rank_of(agent_id)) is not None
            ]
            if not ranked:
                nobody.add((id(roster), group))
                continue
            # One who wants to go serves only whom nobody else can.
            seat = roster.seats[min(ranked)[3]]
            del self._waiting[attempt_id]
            seat.enter(AgentState.RESERVED, now_s)
            seat.attempt_id = attempt_id
            seat.wants = None
            pairs.append((attempt_id, seat))
        return pairs


class Roster:
    """
    Seats of one agent group and the attempts whose person waits for one of them.

    Attributes:
        leaving: agents on their way out (Smart Logout), with the instant at which each asked: no call is started for
            them, a call under way may still be theirs.
        left: agents who have gone that way: they get no call of this agent group until they are ready again.
        inbound: calls that others will bring to the same agents.
    """

    def __init__(self, seats: list[AgentSeat], line: WaitingLine | None = None, name: str = "") -> None:
        """``line``: that of the other agent groups; None: a line of its own."""
        self.seats: dict[str, AgentSeat] = {seat.agent_id: seat for seat in seats}
        self.line = line if line is not None else WaitingLine()
        self.line.seats |= self.seats
        self.leaving: dict[str, float] = {}
        self.left: set[str] = set()
        self.inbound = InboundCalls(name)

    # --- matching -----------------------------------------------------------------------------------------------

    def seek(self, attempt_id: int, group: int = 0) -> None:
        """Queue a person of a campaign group (DBID). The same attempt is never queued twice."""
        if attempt_id in self.line:
            raise InvariantError(f"attempt {attempt_id} already waits for an agent")
        self.line.join(attempt_id, self, group)

    def stop_seeking(self, attempt_id: int) -> str | None:
        """The agent who has been reserved for this attempt already, as long as it does not know; None: nobody."""
        self.line.leave(attempt_id)
        return next((agent_id for agent_id in self.line.seats if self.is_reserved(agent_id, attempt_id)), None)

    def seat(self, agent_id: str) -> AgentSeat:
        """The agent's, of whichever agent group."""
        return self.line.seats[agent_id]

    def is_reserved(self, agent_id: str, attempt_id: int) -> bool:
        """Whether the agent is kept for this attempt."""
        seat = self.line.seats.get(agent_id)
        return seat is not None and seat.state is AgentState.RESERVED and seat.attempt_id == attempt_id

    def match(self, now_s: float) -> list[tuple[int, AgentSeat]]:
        """Pair people with agents, also those of other agent groups that share the line."""
        return self.line.match(now_s)

    def reserve(self, agent_id: str, attempt_id: int, now_s: float) -> None:
        """An agent who makes a call from the desktop; in vain, it returns to the state it is in now."""
        seat = self.seats[agent_id]
        if seat.state in ON_A_CALL or seat.state is AgentState.LOGGED_OUT:
            raise InvariantError(f"agent {agent_id} is {seat.state.value}")
        seat.wants = None if seat.state is AgentState.READY else AgentState.NOT_READY
        seat.enter(AgentState.RESERVED, now_s)
        seat.attempt_id = attempt_id

    # --- what becomes of a reserved agent -------------------------------------------------------------------------

    def bridged(self, agent_id: str, now_s: float) -> None:
        self.line.seats[agent_id].enter(AgentState.TALKING, now_s)

    def adopt(self, agent_id: str, attempt_id: int, talking_since_s: float) -> None:
        """
        An agent found in a conversation at start-up, before its desktop logs in again.

        One whose desktop does not come back is logged out when the call is over, and gets no other.
        """
        seat = self.line.seats[agent_id]
        seat.enter(AgentState.TALKING, talking_since_s)
        seat.attempt_id = attempt_id
        seat.wants = None if seat.is_port else AgentState.LOGGED_OUT

    def wrap_up(self, agent_id: str, now_s: float) -> float:
        """The call is over; returns seconds talked. A state asked for during the call takes effect now."""
        seat = self.line.seats[agent_id]
        seat.talked_s = now_s - seat.since_s
        seat.attempt_id = None
        after = AgentState.READY if seat.is_port else AgentState.WRAP_UP
        seat.enter(seat.wants if seat.wants is not None else after, now_s)
        seat.wants = None
        return seat.talked_s

    def free_of_wrap_up(self, agent_id: str) -> None:
        """The call under way leaves nothing to do: the agent is ready after it, unless it asked for something else."""
        seat = self.line.seats[agent_id]
        if seat.wants is None:
            seat.wants = AgentState.READY

    def back_to_ready(self, agent_id: str, now_s: float) -> None:
        """Reserved in vain: the agent keeps its right to the next call from now on."""
        seat = self.line.seats[agent_id]
        seat.attempt_id = None
        seat.enter(seat.wants if seat.wants is not None else AgentState.READY, now_s)
        seat.wants = None

    def not_reached(self, agent_id: str, now_s: float) -> None:
        """Our plane could not reach the phone: as `back_to_ready`, after a rest."""
        self.line.seats[agent_id].rests_until_s = now_s + UNREACHED_REST_S
        self.back_to_ready(agent_id, now_s)

    def phone_failed(self, agent_id: str, now_s: float) -> None:
        """The phone did not answer: not ready until the agent says otherwise."""
        seat = self.line.seats[agent_id]
        seat.attempt_id = None
        seat.enter(AgentState.LOGGED_OUT if seat.wants is AgentState.LOGGED_OUT else AgentState.NOT_READY, now_s)
        seat.wants = None

    # --- figures --------------------------------------------------------------------------------------------------

    def in_state(self, state: AgentState) -> list[AgentSeat]:
        return [seat for seat in self.seats.values() if seat.state is state]

    def ready(self) -> list[tuple[str, AgentSeat]]:
        """Agents who are ready, without those who have gone."""
        return [
            (agent_id, seat)
            for agent_id, seat in self.seats.items()
            if seat.state is AgentState.READY and agent_id not in self.left
        ]

    def free(self, group: int) -> list[str]:
        """Agents who are ready, stay, and are given to calls of this campaign group (DBID) now."""
        rank_of, seizes = self.line.ranks(group), group in self.line.seizing
        return [
            agent_id
            for agent_id, seat in self.ready()
            if agent_id not in self.leaving and seat.can_take(seizes) and rank_of(agent_id) is not None
        ]

    @property
    def people_waiting(self) -> int:
        return self.line.count(self)

    # --- Smart Logout ---------------------------------------------------------------------------------------------

    def leave_soon(self, agent_id: str, now_s: float) -> None:
        """No call is started for the agent any more."""
        self.leaving.setdefault(agent_id, now_s)

    def leave(self, agent_id: str) -> None:
        """The agent gets no call of this group any more."""
        self.leaving.pop(agent_id, None)
        self.left.add(agent_id)

    def stay(self, agent_id: str) -> None:
        """The agent has logged out for good, or is back: nothing of the way out is left."""
        self.leaving.pop(agent_id, None)
        self.left.discard(agent_id)
