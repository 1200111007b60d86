"""Running figures of one dialing session, for status answers and the live view. Pure: time is passed in."""

from collections import Counter, deque
from dataclasses import dataclass, field

from ocsd.sessions.roster import AgentState, Roster

RATE_WINDOW_S = 10.0


@dataclass(slots=True)
class Tally:
    """
    Counts since dialing was started.

    ``people``: calls on which a person was found. ``abandoned``: people who got no agent (results Abandoned and
    Dropped): the overdial rate is abandoned / people (manual: OverdialRate). ``let_go``: calls that the pacing gave up
    while they rang.
    """

    attempts: int = 0
    answered: int = 0
    people: int = 0
    connected: int = 0
    abandoned: int = 0
    let_go: int = 0
    wait_total_s: float = 0.0
    results: Counter[int] = field(default_factory=Counter)
    started_s: float | None = None
    _starts: deque[float] = field(default_factory=deque)
    _agent_base: dict[str, dict[AgentState, float]] = field(default_factory=dict)

    def dialing_started(self, roster: Roster, now_s: float) -> None:
        """Begin (or go on with) measuring agents' time."""
        if self.started_s is None:
            self.started_s = now_s
            self._agent_base = {
                seat.agent_id: {state: seat.time_spent_s(state, now_s) for state in AgentState}
                for seat in roster.seats.values()
            }

    def launched(self, count: int, now_s: float) -> None:
        self.attempts += count
        self._starts.extend([now_s] * count)
        while self._starts and self._starts[0] < now_s - RATE_WINDOW_S:
            self._starts.popleft()

    def ended(self, result: int) -> None:
        self.results[result] += 1

    def starts_per_s(self, now_s: float) -> float:
        recent = sum(1 for at_s in self._starts if at_s >= now_s - RATE_WINDOW_S)
        if self.started_s is None:
            return 0.0
        return recent / max(1.0, min(RATE_WINDOW_S, now_s - self.started_s))

    @property
    def overdial_ratio(self) -> float:
        return self.abandoned / self.people if self.people else 0.0

    def connect(self, wait_s: float) -> None:
        self.connected += 1
        self.wait_total_s += wait_s

    def take_back(self, wait_s: float) -> None:
        """What was counted as a person with an agent was none."""
        self.people -= 1
        self.connected -= 1
        self.wait_total_s -= wait_s

    @property
    def mean_wait_s(self) -> float:
        """Mean wait of connected people, from the end of their greeting to the agent's voice."""
        return self.wait_total_s / self.connected if self.connected else 0.0

    def busy_ratio(self, roster: Roster, now_s: float) -> float:
        """Share of the agents' working time (ready, reserved, talking, wrap-up) spent talking or in wrap-up."""
        busy = working = 0.0
        for seat in roster.seats.values():
            base = self._agent_base.get(seat.agent_id, {})
            spent = {state: seat.time_spent_s(state, now_s) - base.get(state, 0.0) for state in AgentState}
            busy += spent[AgentState.TALKING] + spent[AgentState.WRAP_UP]
            working += (
                spent[AgentState.TALKING]
                + spent[AgentState.WRAP_UP]
                + spent[AgentState.READY]
                + spent[AgentState.RESERVED]
            )
        return busy / working if working > 0.0 else 0.0
