"""Pacing as others do it, each behind the methods of :class:`pacing.Pacer`, to measure ours against.

Those with a knob are tuned per scenario to stay within the limit (:mod:`pacing.sim.experiment`), which no real campaign
could do: it would have to know its day in advance.
"""

import heapq
import math
from collections import deque

from pacing.pacer import Outcome
from pacing.types import DialDecision, GroupSnapshot

SLOW_CALLS, FAST_CALLS = 1500.0, 120.0
"""Memory of the two averages of the hit ratio, in calls."""
JUMP_STANDARD_ERRORS = 4.0
COHORT_LAG_S = 32.0
"""An outcome counts so long after its launch: the longest ring and the set-up."""
FIRST_OUTCOMES = 30
"""Until so many outcomes are in, calls start one to one."""


class Baseline:
    """Takes every event and learns nothing; the base of the others."""

    def answered(self, age_s: float) -> None:
        """See :meth:`pacing.Pacer.answered`, as for the others below."""

    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None:
        pass

    def person(self, delay_s: float) -> None:
        pass

    def bridged(self, wait_s: float) -> None:
        pass

    def abandoned(self) -> None:
        pass

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        pass

    def launches(self, snapshot: GroupSnapshot) -> float:
        """Calls wanted now, before the hard limits; fractions are rounded down."""
        raise NotImplementedError

    def decide(self, snapshot: GroupSnapshot) -> DialDecision:
        room = min(snapshot.ports_free, snapshot.records_ready, snapshot.starts_allowed)
        return DialDecision(max(0, min(math.floor(self.launches(snapshot) + 1e-9), room)), type(self).__name__, 0.0)


def one_to_one_launches(snapshot: GroupSnapshot) -> int:
    """One call per ready agent, by the formula that vendors publish; it knows of no inbound calls and no leave."""
    dialed = len(snapshot.attempts_age_s) + len(snapshot.analysing_age_s)
    return max(0, len(snapshot.agents_idle_s) - snapshot.people_waiting - dialed)


class Progressive(Baseline):
    """One call per ready agent."""

    def launches(self, snapshot: GroupSnapshot) -> float:
        return one_to_one_launches(snapshot)


class FixedRatio(Baseline):
    """So many calls per ready agent; the knob."""

    def __init__(self, calls_per_agent: float) -> None:
        self._ratio = calls_per_agent

    def launches(self, snapshot: GroupSnapshot) -> float:
        return calls_missing(snapshot, self._ratio)


def calls_missing(snapshot: GroupSnapshot, calls_per_agent: float) -> float:
    """Calls to start so that so many are under way per ready agent for whom nobody waits."""
    ready = len(snapshot.agents_idle_s) - snapshot.people_waiting
    return calls_per_agent * ready - len(snapshot.attempts_age_s) - len(snapshot.analysing_age_s)


class AdaptiveLevel(Baseline):
    """The adaptive dial level as VICIdial documents it, in its tapered manner.

    Every 15 s the level is multiplied by 1 + (mean of ready agents minus waiting calls over the last 15 one-second
    samples, plus the target) / agents. While the share of dropped calls of the day is over the limit, it is besides
    multiplied by the hours left of the shift over 10. Lines are counted per ready agent ("available only tally"), which
    serves it better than lines per agent. Source: the descriptions of the adaptive dial methods, and of
    the difference target, in its manual and its adaptive script.

    Args:
        difference_target_ratio: agents to be kept waiting, as a share of all and negative; the knob.
        shift_s: seconds of the shift.
    """

    INTERVAL_S = 15.0
    MOST = 100.0
    DROP_LIMIT_RATIO = 0.05
    """Over the legal limit on purpose: the knob, tuned with hindsight, keeps to that one, and busier."""
    FEWEST_CALLS = 50

    def __init__(self, difference_target_ratio: float, shift_s: float) -> None:
        self._target_ratio, self._shift_s = difference_target_ratio, shift_s
        self._level = 1.0
        self._samples: deque[float] = deque(maxlen=15)
        self._sampled_s = self._adapted_s = 0.0
        self._people = self._gone = 0

    def bridged(self, wait_s: float) -> None:
        self._people += 1

    def abandoned(self) -> None:
        self._people += 1
        self._gone += 1

    def launches(self, snapshot: GroupSnapshot) -> float:
        if snapshot.now_s - self._sampled_s >= 1.0 - 1e-9:
            self._sampled_s = snapshot.now_s
            self._samples.append(len(snapshot.agents_idle_s) - snapshot.people_waiting)
        if snapshot.now_s - self._adapted_s >= self.INTERVAL_S - 1e-9 and self._samples:
            self._adapted_s = snapshot.now_s
            self._adapt(snapshot)
        return calls_missing(snapshot, self._level)

    def _adapt(self, snapshot: GroupSnapshot) -> None:
        agents = len(snapshot.agents_idle_s) + len(snapshot.agents_talking_s) + len(snapshot.agents_wrapping_s)
        difference = sum(self._samples) / len(self._samples) / max(agents, 1) + self._target_ratio
        level = min(max(self._level * (1.0 + difference), 1.0), self.MOST)
        if self._people > self.FEWEST_CALLS and self._gone > self.DROP_LIMIT_RATIO * self._people:
            level *= min(max(self._shift_s - snapshot.now_s, 0.0) / 3600.0 / 10.0, 1.0)
        self._level = max(level, 1.0)


class HitRatioByCohort:
    """Share of launched calls that get answered, an outcome counting a fixed lag after its launch.

    Counted on completion it would be biased low after every rise of volume, since answers come before the other ends
    only in part. A fast average takes over from the slow one when they differ beyond chance.
    """

    def __init__(self) -> None:
        self.total = 0
        self._slow = self._fast = 0.5
        self._slow_n = 4.0
        self._due: list[tuple[float, int]] = []

    def add(self, hit: bool, now_s: float, age_s: float) -> None:
        """An outcome at ``now_s`` of a call launched ``age_s`` before."""
        heapq.heappush(self._due, (now_s - age_s + COHORT_LAG_S, int(hit)))

    def advance(self, now_s: float) -> None:
        while self._due and self._due[0][0] <= now_s:
            self._count(heapq.heappop(self._due)[1])

    def _count(self, hit: int) -> None:
        self.total += 1
        self._slow_n = min(self._slow_n + 1.0, SLOW_CALLS)
        self._slow += (hit - self._slow) / self._slow_n
        self._fast += (hit - self._fast) / min(self.total + 4.0, FAST_CALLS)
        if self.total > FAST_CALLS:
            spread = max(self._slow * (1.0 - self._slow), 1e-4)
            if abs(self._fast - self._slow) > JUMP_STANDARD_ERRORS * (spread / FAST_CALLS) ** 0.5:
                self._slow, self._slow_n = self._fast, FAST_CALLS

    @property
    def ratio(self) -> float:
        return min(max(self._slow, 1e-3), 1.0)

    @property
    def relative_error(self) -> float:
        """Standard error over the ratio."""
        return float((max(self.ratio * (1.0 - self.ratio), 1e-3) / self._slow_n) ** 0.5 / self.ratio)


class Learner(Baseline):
    """Knows the running means of hit ratio, answer age, people among answers, and handling time."""

    MEMORY = 500.0

    def __init__(self) -> None:
        self.now_s = 0.0
        self.hits = HitRatioByCohort()
        self.answer_age_s, self._answers = 10.0, 1.0
        self._people, self._others = 4.0, 1.0
        self._analysed = False
        self.handling_s, self._handled = 120.0, 1.0

    def answered(self, age_s: float) -> None:
        self._answers = min(self._answers + 1.0, self.MEMORY)
        self.answer_age_s += (age_s - self.answer_age_s) / self._answers
        self.hits.add(True, self.now_s, age_s)

    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None:
        if after_answer_s is None:
            self.hits.add(False, self.now_s, age_s)
        else:
            self._verdict(0.0, 1.0)

    def person(self, delay_s: float) -> None:
        self._verdict(1.0, 0.0)

    def _verdict(self, people: float, others: float) -> None:
        self._analysed = True
        keep = 1.0 - 1.0 / self.MEMORY
        self._people, self._others = keep * self._people + people, keep * self._others + others

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        self._handled = min(self._handled + 1.0, self.MEMORY)
        self.handling_s += (talk_s + wrap_up_s - self.handling_s) / self._handled

    @property
    def person_ratio(self) -> float:
        """People among the answers."""
        return self._people / (self._people + self._others) if self._analysed else 1.0

    def informed(self, snapshot: GroupSnapshot) -> float:
        """Calls wanted once something is known."""
        raise NotImplementedError

    def launches(self, snapshot: GroupSnapshot) -> float:
        self.now_s = snapshot.now_s
        self.hits.advance(snapshot.now_s)
        if self.hits.total < FIRST_OUTCOMES:
            return one_to_one_launches(snapshot)
        return self.informed(snapshot)


class ExpectedValue(Learner):
    """As many calls as bring, on average, a share of the people for whom agents are or will be free.

    Free within the mean age at answer: those who wait, and that part of the busy ones which an exponential handling
    time would free.

    Args:
        share: of the agents expected to be free; the knob.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def informed(self, snapshot: GroupSnapshot) -> float:
        busy = len(snapshot.agents_talking_s) + len(snapshot.agents_wrapping_s)
        free = len(snapshot.agents_idle_s) + busy * -math.expm1(-self.answer_age_s / max(self.handling_s, 1.0))
        people = self.hits.ratio * self.person_ratio
        coming = people * len(snapshot.attempts_age_s) + self.person_ratio * len(snapshot.analysing_age_s)
        return (self._share * free - snapshot.people_waiting - coming) / people


class Erlang(Learner):
    """Calls at the rate that, by Erlang's delay formula, leaves a share of the people waiting longer than they may.

    It knows the number of agents, the means and the limit, but does not look at who is free.

    Args:
        late_ratio: share of people who wait longer than ``max_wait_s`` in a queue without giving up; the knob.
    """

    def __init__(self, late_ratio: float, max_wait_s: float) -> None:
        super().__init__()
        self._late, self._max_wait_s = late_ratio, max_wait_s
        self._credit, self._credited_s = 0.0, 0.0
        self._rate_of: tuple[int, float, float] = (0, 0.0, 0.0)

    def informed(self, snapshot: GroupSnapshot) -> float:
        agents = len(snapshot.agents_idle_s) + len(snapshot.agents_talking_s) + len(snapshot.agents_wrapping_s)
        handling_s = max(self.handling_s, 1.0)
        if agents != self._rate_of[0] or abs(handling_s / self._rate_of[1] - 1.0) > 0.01:
            self._rate_of = agents, handling_s, self._people_per_s(agents, handling_s)
        per_s = self._rate_of[2] / (self.hits.ratio * self.person_ratio)
        self._credit = min(self._credit + per_s * (snapshot.now_s - self._credited_s), 2.0 * agents + 10.0)
        self._credited_s = snapshot.now_s
        whole = math.floor(self._credit)
        self._credit -= whole
        return whole

    def launches(self, snapshot: GroupSnapshot) -> float:
        wanted = super().launches(snapshot)
        self._credited_s = snapshot.now_s
        return wanted

    def _people_per_s(self, agents: int, handling_s: float) -> float:
        low, high = 0.0, agents / handling_s
        for _ in range(30):
            rate = (low + high) / 2.0
            slack = (agents / handling_s - rate) * self._max_wait_s
            late = erlang_c(agents, rate * handling_s) * math.exp(-slack)
            low, high = (rate, high) if late <= self._late else (low, rate)
        return low


def erlang_c(servers: int, load: float) -> float:
    """Share of arrivals that wait, for a ``load`` in erlangs below ``servers``; 1 at or above (Erlang, 1917)."""
    if load >= servers:
        return 1.0
    inverse_b = 1.0  # of Erlang B, by its recursion
    for server in range(1, servers + 1):
        inverse_b = 1.0 + inverse_b * server / load if load > 0.0 else math.inf
        if inverse_b > 1e300:
            return 0.0
    blocked = 1.0 / inverse_b
    return blocked / (1.0 - load / servers * (1.0 - blocked))
