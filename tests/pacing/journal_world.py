"""A small group of agents in virtual time, with a recorder as its pacer: what a session does, in forty lines."""

import heapq
import random

from pacing import GroupSnapshot, Mode, Outcome, PacingTarget
from pacing.journal import Recorder

PERIOD_S = 0.2
PATIENCE_S = 2.0
DEFAULT_TARGET = PacingTarget(Mode.PREDICTIVE)


class Group:
    """``start_s`` is what the clock shows at first; ages are differences of instants, as in a session."""

    def __init__(self, recorder: Recorder, agents: int, seed: int, start_s: float = 54_321.0) -> None:
        self.recorder, self.random, self.now_s = recorder, random.Random(seed), start_s
        self.idle = dict.fromkeys(range(agents), start_s)
        self.talking: dict[int, float] = {}
        self.wrapping: dict[int, tuple[float, float]] = {}
        self.ringing: dict[int, float] = {}
        self.analysing: dict[int, float] = {}
        self.waiting: dict[int, float] = {}
        self.to_come: list[tuple[float, int, str, int]] = []
        self.calls = self.people = self.abandoned = 0

    def run(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += PERIOD_S * self.random.uniform(0.9, 1.1)
            while self.to_come and self.to_come[0][0] <= self.now_s:
                at_s, _, what, who = heapq.heappop(self.to_come)
                getattr(self, what)(at_s, who)
            self.connect()
            decision = self.recorder.decide(self.snapshot())
            for _ in range(decision.launch):
                self.launch()

    def later(self, at_s: float, what: str, who: int) -> None:
        heapq.heappush(self.to_come, (at_s, len(self.to_come), what, who))

    def launch(self) -> None:
        self.calls += 1
        self.ringing[self.calls] = self.now_s
        if self.random.random() < 0.3:
            self.later(self.now_s + self.random.lognormvariate(2.2, 0.4), "answer", self.calls)
        else:
            self.later(self.now_s + self.random.uniform(4.0, 28.0), "fail", self.calls)

    def answer(self, at_s: float, call: int) -> None:
        self.recorder.answered(at_s - self.ringing.pop(call))
        self.analysing[call] = at_s
        self.later(at_s + self.random.uniform(0.5, 1.5), "verdict", call)

    def fail(self, at_s: float, call: int) -> None:
        self.recorder.ended(at_s - self.ringing.pop(call), Outcome.NO_ANSWER)

    def verdict(self, at_s: float, call: int) -> None:
        self.recorder.person(at_s - self.analysing.pop(call))
        self.people += 1
        self.waiting[call] = at_s
        self.later(at_s + PATIENCE_S, "give_up", call)

    def give_up(self, at_s: float, call: int) -> None:
        if self.waiting.pop(call, None) is not None:
            self.recorder.abandoned()
            self.abandoned += 1

    def connect(self) -> None:
        while self.waiting and self.idle:
            call, agent = next(iter(self.waiting)), next(iter(self.idle))
            del self.idle[agent]
            self.recorder.bridged(self.now_s - self.waiting.pop(call))
            self.talking[agent] = self.now_s
            self.later(self.now_s + self.random.lognormvariate(3.8, 0.6), "release", agent)

    def release(self, at_s: float, agent: int) -> None:
        self.wrapping[agent] = (at_s - self.talking.pop(agent), at_s)
        self.later(at_s + self.random.uniform(5.0, 20.0), "ready", agent)

    def ready(self, at_s: float, agent: int) -> None:
        talked_s, since_s = self.wrapping.pop(agent)
        self.recorder.handled(talked_s, at_s - since_s)
        self.idle[agent] = at_s

    def snapshot(self) -> GroupSnapshot:
        now_s = self.now_s
        return GroupSnapshot(
            now_s=now_s,
            agents_idle_s=tuple(now_s - since_s for since_s in self.idle.values()),
            agents_talking_s=tuple(now_s - since_s for since_s in self.talking.values()),
            agents_wrapping_s=tuple((talked_s, now_s - since_s) for talked_s, since_s in self.wrapping.values()),
            attempts_age_s=tuple(now_s - since_s for since_s in self.ringing.values()),
            analysing_age_s=tuple(now_s - since_s for since_s in self.analysing.values()),
            people_waiting=len(self.waiting),
            ports_free=10_000,
            records_ready=10_000,
        )


def recorded(agents: int, seconds: float, seed: int = 1, target: PacingTarget | None = None, **recording):
    """Entries of a run, and the group as it ended."""
    entries = []
    recorder = Recorder(target or DEFAULT_TARGET, sink=entries.append, **recording)
    group = Group(recorder, agents, seed)
    group.run(seconds)
    return entries, group
