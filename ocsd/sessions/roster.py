"""
The agents of one agent group: who is ready, for how long, who waits for whom. Pure: time is passed in.

States follow the T-Library (logged out, not ready, ready, after-call work) plus two of ours: reserved (the phone rings)
and talking. The agent ready longest gets the person waiting longest.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from ocsd.model.errors import InvariantError


class AgentState(Enum):
    LOGGED_OUT = "logged_out"
    NOT_READY = "not_ready"
    READY = "ready"
    RESERVED = "reserved"
    TALKING = "talking"
    WRAP_UP = "wrap_up"


ON_A_CALL = frozenset({AgentState.RESERVED, AgentState.TALKING})


@dataclass(slots=True)
class AgentSeat:
    """
    One agent. ``since_s`` is when the state began; ``talked_s`` the length of the last conversation.

    ``wants`` is the state to take once the call is over, when the agent asked for it during the call.
    """

    agent_id: str
    dn: str
    state: AgentState = AgentState.LOGGED_OUT
    since_s: float = 0.0
    attempt_id: int | None = None
    talked_s: float = 0.0
    wants: AgentState | None = None
    time_in: dict[AgentState, float] = field(default_factory=dict)

    def enter(self, state: AgentState, now_s: float) -> None:
        self.time_in[self.state] = self.time_in.get(self.state, 0.0) + max(0.0, now_s - self.since_s)
        self.state, self.since_s = state, now_s

    def log_in(self, now_s: float) -> None:
        """Log in as not ready; an agent on a call (adopted after a restart) stays on it."""
        if self.state is AgentState.LOGGED_OUT:
            self.enter(AgentState.NOT_READY, now_s)
        elif self.wants is AgentState.LOGGED_OUT:
            self.wants = None

    def ask_for(self, state: AgentState, now_s: float) -> None:
        """Become ready, not ready or logged out: now, or when the call is over."""
        if self.state in ON_A_CALL:
            self.wants = state
        elif self.state is not state:
            self.enter(state, now_s)

    def time_spent_s(self, state: AgentState, now_s: float) -> float:
        running = now_s - self.since_s if self.state is state else 0.0
        return self.time_in.get(state, 0.0) + running


class Roster:
    """Seats of one agent group and the queue of attempts whose person waits for an agent."""

    def __init__(self, seats: list[AgentSeat]) -> None:
        self.seats: dict[str, AgentSeat] = {seat.agent_id: seat for seat in seats}
        self._waiting: deque[int] = deque()

    # --- matching -----------------------------------------------------------------------------------------------

    def seek(self, attempt_id: int) -> None:
        """Queue a person. The same attempt is never queued twice."""
        if attempt_id in self._waiting:
            raise InvariantError(f"attempt {attempt_id} already waits for an agent")
        self._waiting.append(attempt_id)

    def stop_seeking(self, attempt_id: int) -> None:
        if attempt_id in self._waiting:
            self._waiting.remove(attempt_id)

    def match(self, now_s: float) -> list[tuple[int, AgentSeat]]:
        """Pair people with agents, longest waiting with longest ready; the agents become reserved."""
        pairs: list[tuple[int, AgentSeat]] = []
        while self._waiting:
            ready = [seat for seat in self.seats.values() if seat.state is AgentState.READY]
            if not ready:
                break
            seat = min(ready, key=lambda s: (s.since_s, s.agent_id))
            attempt_id = self._waiting.popleft()
            seat.enter(AgentState.RESERVED, now_s)
            seat.attempt_id = attempt_id
            seat.wants = None
            pairs.append((attempt_id, seat))
        return pairs

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
        self.seats[agent_id].enter(AgentState.TALKING, now_s)

    def adopt(self, agent_id: str, attempt_id: int, talking_since_s: float) -> None:
        """
        An agent found in a conversation at start-up, before its desktop logs in again.

        One whose desktop does not come back is logged out when the call is over, and gets no other.
        """
        seat = self.seats[agent_id]
        seat.enter(AgentState.TALKING, talking_since_s)
        seat.attempt_id = attempt_id
        seat.wants = AgentState.LOGGED_OUT

    def wrap_up(self, agent_id: str, now_s: float) -> float:
        """The call is over; returns seconds talked. A state asked for during the call takes effect now."""
        seat = self.seats[agent_id]
        seat.talked_s = now_s - seat.since_s
        seat.attempt_id = None
        seat.enter(seat.wants if seat.wants is not None else AgentState.WRAP_UP, now_s)
        seat.wants = None
        return seat.talked_s

    def back_to_ready(self, agent_id: str, now_s: float) -> None:
        """Reserved in vain: the agent keeps its right to the next call from now on."""
        seat = self.seats[agent_id]
        seat.attempt_id = None
        seat.enter(seat.wants if seat.wants is not None else AgentState.READY, now_s)
        seat.wants = None

    def phone_failed(self, agent_id: str, now_s: float) -> None:
        """The phone did not answer: not ready until the agent says otherwise."""
        seat = self.seats[agent_id]
        seat.attempt_id = None
        seat.enter(AgentState.LOGGED_OUT if seat.wants is AgentState.LOGGED_OUT else AgentState.NOT_READY, now_s)
        seat.wants = None

    # --- figures --------------------------------------------------------------------------------------------------

    def in_state(self, state: AgentState) -> list[AgentSeat]:
        return [seat for seat in self.seats.values() if seat.state is state]

    @property
    def people_waiting(self) -> int:
        return len(self._waiting)
