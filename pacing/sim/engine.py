"""The event loop: a heap of things to come, the group's state, and a pacer asked at a fixed interval.

Virtual time only, one seeded generator: the same arguments give the same run to the last digit.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from pacing.pacer import Outcome, Pacer
from pacing.sim.scenarios import Scenario, Spread
from pacing.types import GroupSnapshot, PacingTarget

DRAIN_S = 90.0
"""After dialing stops the calls under way are followed to their end; none rings and is analysed longer than this."""
WORST_WINDOW_S = 900.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """Figures of one run. ``busy_ratio``: talk, wrap-up and connecting over staffed agent time while dialing.

    ``worst_window_ratio``: highest share abandoned within any quarter of an hour that starts on the minute.
    ``wait_s``: mean seconds from being found to being connected; ``agent_wait_s``: idle seconds per connected call.
    """

    attempts: int
    people: int
    abandoned: int
    busy_ratio: float
    worst_window_ratio: float
    wait_s: float
    agent_wait_s: float
    decisions: int

    @property
    def abandoned_ratio(self) -> float:
        return self.abandoned / self.people if self.people else 0.0


class _Event(Enum):
    DECIDE = auto()
    ANSWER = auto()
    FAIL = auto()
    VERDICT = auto()
    GIVE_UP = auto()
    TALK_BEGINS = auto()
    TALK_ENDS = auto()
    WRAP_ENDS = auto()
    BREAK = auto()
    BACK = auto()
    HALF_TIME = auto()


@dataclass(slots=True)
class _Agent:
    since_s: float = 0.0
    talk_s: float = 0.0
    wrap_s: float = 0.0
    wants_break: bool = False
    leaves: bool = False


@dataclass(frozen=True, slots=True)
class _Call:
    launched_s: float
    answered_s: float
    person: bool


class _World:
    def __init__(self, scenario: Scenario, pacer: Pacer, seed: int) -> None:
        self.scenario, self.pacer = scenario, pacer
        self.random = np.random.default_rng(seed)
        self.now_s = 0.0
        self.heap: list[tuple[float, int, _Event, int]] = []
        self.sequence = 0
        self.agents = [_Agent() for _ in range(scenario.agents)]
        self.idle: deque[int] = deque(range(scenario.agents))
        self.talking: dict[int, None] = {}
        self.wrapping: dict[int, None] = {}
        self.away: set[int] = set()
        self.calls: dict[int, _Call] = {}
        self.ringing: dict[int, None] = {}
        self.analysing: dict[int, None] = {}
        self.waiting: dict[int, float] = {}
        self.attempts = 0
        self.decisions = 0
        self.settled: list[tuple[float, bool]] = []
        self.waits_s: list[float] = []
        self.busy_agent_s = 0.0
        self.staffed_agent_s = 0.0

    def draw(self, spread: Spread) -> float:
        variance = np.log1p(spread.cv**2)
        return float(self.random.lognormal(np.log(spread.mean_s) - variance / 2.0, variance**0.5))

    def at(self, delay_s: float, event: _Event, subject: int = 0) -> None:
        self.sequence += 1
        heapq.heappush(self.heap, (self.now_s + delay_s, self.sequence, event, subject))

    def run(self) -> RunResult:
        scenario = self.scenario
        self.at(0.0, _Event.DECIDE)
        if scenario.leaving_ratio:
            self.at(scenario.duration_s / 2.0, _Event.HALF_TIME)
        if scenario.break_every_s:
            for agent in range(scenario.agents):
                self.at(float(self.random.exponential(scenario.break_every_s)), _Event.BREAK, agent)
        while self.heap and self.heap[0][0] <= scenario.duration_s + DRAIN_S:
            next_s, _, event, subject = heapq.heappop(self.heap)
            self._account(next_s)
            self.now_s = next_s
            self._happen(event, subject)
        connected = len(self.waits_s)
        return RunResult(
            attempts=self.attempts,
            people=len(self.settled),
            abandoned=sum(abandoned for _, abandoned in self.settled),
            busy_ratio=self.busy_agent_s / self.staffed_agent_s,
            worst_window_ratio=self._worst_window(),
            wait_s=sum(self.waits_s) / max(connected, 1),
            agent_wait_s=(self.staffed_agent_s - self.busy_agent_s) / max(connected, 1),
            decisions=self.decisions,
        )

    def _account(self, next_s: float) -> None:
        seconds = max(0.0, min(next_s, self.scenario.duration_s) - self.now_s)
        busy = len(self.talking) + len(self.wrapping)
        self.busy_agent_s += seconds * busy
        self.staffed_agent_s += seconds * (busy + len(self.idle))

    def _worst_window(self) -> float:
        worst = 0.0
        for start_s in np.arange(0.0, max(self.scenario.duration_s - WORST_WINDOW_S, 0.0) + 1.0, 60.0):
            inside = [gone for at_s, gone in self.settled if start_s <= at_s < start_s + WORST_WINDOW_S]
            worst = max(worst, sum(inside) / max(len(inside), 1))
        return worst

    def _happen(self, event: _Event, subject: int) -> None:
        match event:
            case _Event.DECIDE:
                self._decide()
            case _Event.ANSWER:
                self._answer(subject)
            case _Event.FAIL:
                self._fail(subject)
            case _Event.VERDICT:
                self._verdict(subject)
            case _Event.GIVE_UP:
                if self.waiting.pop(subject, None) is not None:
                    self._settle(abandoned=True)
            case _Event.TALK_BEGINS:
                self.agents[subject].since_s = self.now_s
                self.at(self.agents[subject].talk_s, _Event.TALK_ENDS, subject)
            case _Event.TALK_ENDS:
                del self.talking[subject]
                self.wrapping[subject] = None
                self.agents[subject].since_s = self.now_s
                self.at(self.agents[subject].wrap_s, _Event.WRAP_ENDS, subject)
            case _Event.WRAP_ENDS:
                del self.wrapping[subject]
                self.pacer.handled(self.agents[subject].talk_s, self.agents[subject].wrap_s)
                self._free(subject)
            case _Event.BREAK:
                self._begin_break(subject)
            case _Event.BACK:
                self.away.discard(subject)
                self._free(subject)
                self.at(float(self.random.exponential(self.scenario.break_every_s)), _Event.BREAK, subject)
            case _Event.HALF_TIME:
                for agent in range(int(self.scenario.agents * self.scenario.leaving_ratio)):
                    self.agents[agent].leaves = True
                    if agent in self.idle:
                        self.idle.remove(agent)
                        self.away.add(agent)

    def _decide(self) -> None:
        if self.now_s >= self.scenario.duration_s:
            return
        for _ in range(self.pacer.decide(self._snapshot()).launch):
            self._launch()
        self.decisions += 1
        self.at(self.scenario.decide_every_s, _Event.DECIDE)

    def _snapshot(self) -> GroupSnapshot:
        now_s, agents, calls = self.now_s, self.agents, self.calls
        lines = len(self.ringing) + len(self.analysing) + len(self.talking) + len(self.waiting)
        return GroupSnapshot(
            now_s=now_s,
            agents_idle_s=tuple(now_s - agents[agent].since_s for agent in self.idle),
            agents_talking_s=tuple(max(0.0, now_s - agents[agent].since_s) for agent in self.talking),
            agents_wrapping_s=tuple((agents[agent].talk_s, now_s - agents[agent].since_s) for agent in self.wrapping),
            attempts_age_s=tuple(now_s - calls[call].launched_s for call in self.ringing),
            analysing_age_s=tuple(now_s - calls[call].answered_s for call in self.analysing),
            people_waiting=len(self.waiting),
            ports_free=max(0, self.scenario.ports - lines),
            records_ready=1_000_000,
        )

    def _launch(self) -> None:
        scenario, call = self.scenario, self.attempts
        self.attempts += 1
        late = self.now_s >= scenario.duration_s / 2.0 and scenario.hit_ratio_later is not None
        hit_ratio = scenario.hit_ratio_later if late and scenario.hit_ratio_later is not None else scenario.hit_ratio
        setup_s = float(self.random.uniform(*scenario.setup_s))
        person = bool(self.random.random() < hit_ratio)
        kind = float(self.random.random())
        self.ringing[call] = None
        machine = not person and kind < scenario.machine_ratio
        ring_s = self.draw(scenario.ring if person else scenario.machine_ring)
        self.calls[call] = _Call(self.now_s, self.now_s + setup_s + ring_s, person)
        if person or (machine and scenario.analysed):
            self.at(setup_s + ring_s, _Event.ANSWER, call)
        elif machine:
            self.at(setup_s + ring_s, _Event.FAIL, call)
        elif kind < scenario.machine_ratio + scenario.no_answer_ratio:
            self.at(scenario.no_answer_s, _Event.FAIL, call)
        else:
            self.at(setup_s, _Event.FAIL, call)

    def _fail(self, call: int) -> None:
        del self.ringing[call]
        self.pacer.ended(self.now_s - self.calls.pop(call).launched_s, Outcome.FAILED)

    def _answer(self, call: int) -> None:
        del self.ringing[call]
        known = self.calls[call]
        self.pacer.answered(self.now_s - known.launched_s)
        if not self.scenario.analysed:
            self._person(call)
            return
        self.analysing[call] = None
        self.at(
            self.draw(self.scenario.person_delay if known.person else self.scenario.machine_delay),
            _Event.VERDICT,
            call,
        )

    def _verdict(self, call: int) -> None:
        del self.analysing[call]
        known = self.calls[call]
        if known.person:
            self.pacer.person(self.now_s - known.answered_s)
            self._person(call)
        else:
            del self.calls[call]
            self.pacer.ended(self.now_s - known.launched_s, Outcome.MACHINE, self.now_s - known.answered_s)

    def _person(self, call: int) -> None:
        del self.calls[call]
        if self.idle:
            self._connect(self.idle.popleft(), 0.0)
            return
        self.waiting[call] = self.now_s
        self.at(self.scenario.max_wait_s - self.scenario.connect_s, _Event.GIVE_UP, call)

    def _connect(self, agent: int, waited_s: float) -> None:
        scenario, busy = self.scenario, self.agents[agent]
        busy.talk_s, busy.wrap_s = self.draw(scenario.talk), self.draw(scenario.wrap_up)
        busy.since_s = self.now_s + scenario.connect_s
        self.talking[agent] = None
        self.at(scenario.connect_s, _Event.TALK_BEGINS, agent)
        self.waits_s.append(waited_s + scenario.connect_s)
        self.pacer.bridged(self.waits_s[-1])
        self.settled.append((self.now_s, False))

    def _settle(self, *, abandoned: bool) -> None:
        self.pacer.abandoned()
        self.settled.append((self.now_s, abandoned))

    def _free(self, agent: int) -> None:
        free = self.agents[agent]
        free.since_s = self.now_s
        if free.leaves:
            self.away.add(agent)
        elif free.wants_break:
            self._begin_break(agent)
        elif self.waiting:
            call = next(iter(self.waiting))
            self._connect(agent, self.now_s - self.waiting.pop(call))
        else:
            self.idle.append(agent)

    def _begin_break(self, agent: int) -> None:
        if agent in self.talking or agent in self.wrapping:
            self.agents[agent].wants_break = True
            return
        if agent in self.idle:
            self.idle.remove(agent)
        if not self.agents[agent].leaves:
            self.agents[agent].wants_break = False
            self.away.add(agent)
            self.at(self.scenario.break_s, _Event.BACK, agent)


def simulate(scenario: Scenario, target: PacingTarget, seed: int) -> RunResult:
    """One run from a cold start with a new pacer."""
    pacer = Pacer(target, max_wait_s=scenario.max_wait_s - scenario.connect_s)
    return _World(scenario, pacer, seed).run()
