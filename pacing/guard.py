"""The guard over a legal abandonment window: how many people may still be abandoned, with stated confidence.

Theory of operation
-------------------
A rule says: of the people who answer within a window, at most the share L may be abandoned. The ledger counts people
and abandoned people by quarter of an hour. From both and the time follows the *room*: how many more people could be
abandoned this instant without the window's ratio passing L.

* Windows with a fixed end (successive periods from the campaign's start, calendar days): room = L N - A over the period
  so far. Nobody knows whether the campaign goes on, so nothing is borrowed from people who may answer later: a person
  is abandoned only when the ledger can bear it, and a campaign that ends at any instant ends within its limit.
* Rolling windows: good days fall out of the window and must not leave it above the limit, so every suffix of the window
  counts: in the people from s to now, for every s, at most L max(n, M) may be abandoned. M (`Rule.min_people`) is what
  makes a ratio: without it the abandoned person himself is a window of 1 of 1. What holds for every suffix holds for
  every window that will ever begin inside it, without looking into the future. The window as a whole is not given M.

From the room goes a *reserve*: one call per agent can lose people too (agents leave while it rings). One-to-one
operation wins L of room with each person and loses bursts of people now and then: a risk process, and by Lundberg's
inequality a reserve of ln(1 / (1 - confidence)) / theta is used up at any later time with at most the remaining
probability, where theta solves (rate / burst) (exp(burst theta) - 1) = L theta. Rate and burst are what one-to-one
operation has shown, with a prior. The reserve is no smaller than half as much again as the largest excess a - L n of
any hour on record: such an hour may come again, and the ledger still knows it after a restart. To it comes the upper
quantile, beyond the mean, of what is lost of the calls under way (Poisson). What is left is shared by those who spend
it.

The pace is the largest share p of the people expected in the rest of the window (F; M of a rolling one) at which even
the upper quantile of what is lost fits the budget: p F + z sqrt(p F) <= L F + room - reserve. It is never above L.

Sources: docs/guard.md. Cramer-Lundberg: Asmussen and Albrecher, "Ruin Probabilities", 2nd edition, chapter IV.
"""

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from functools import lru_cache
from statistics import NormalDist
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pacing.rules import BUCKET_S, DAY_S, PRESETS, Rule, WindowKind, with_changes
from pacing.types import LegalRoom

FloatArray: TypeAlias = NDArray[np.float64]

RATE_MEMORY_S: Final = 7 * DAY_S
"""The people to expect follow the last week, so that a weekend is in it."""
LEAST_EXPECTED: Final = 1_000
"""People whom the pace always looks ahead to: near a window's end the room, not the pace, is what binds."""
PRIOR_PEOPLE: Final = 200.0
PRIOR_ABANDONED: Final = 0.2
"""One-to-one operation before anything is known of it: one person in a thousand, one at a time."""
BURST_S: Final = 30.0
"""Abandoned people no further apart than this belong together: a crowd of agents that left."""
LARGEST_RESERVE: Final = 1_000.0
EXCESS_BUCKETS: Final = 4
"""The worst hour on record, or part of an hour, is what may come again ..."""
EXCESS_TIMES: Final = 1.5
"""... and a worse one: so many times of it is kept."""
EXCESS_SHARE: Final = 0.25
"""Of the whole window's budget, at most so much is kept for an hour like the worst: one bad day, an outage perhaps,
must not keep the guard closed for weeks."""
HARD_STOP_PEOPLE: Final = 1_000
"""A hard stop ends the dialing of the whole window, and in few people one is over the limit by chance."""


def bucket_of(at_s: float) -> int:
    """UTC second at which the quarter of an hour begins that ``at_s`` is in."""
    return int(at_s // BUCKET_S) * BUCKET_S


@dataclass(frozen=True, slots=True)
class Count:
    """People who answered, and those of them who count as abandoned."""

    people: int = 0
    abandoned: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.people + other.people, self.abandoned + other.abandoned)

    @property
    def ratio(self) -> float:
        return self.abandoned / self.people if self.people else 0.0


class Ledger:
    """
    People and abandoned people by quarter of an hour (UTC seconds), of one campaign.

    ``started_s``: the campaign's first bucket, also when the buckets given begin later.
    """

    def __init__(self, buckets: Iterable[tuple[int, int, int]] = (), started_s: int | None = None) -> None:
        self._counts: dict[int, Count] = {}
        self._starts: list[int] = []
        self.started_s = started_s
        self._of_period: tuple[int, int, Count] | None = None
        self._worst: tuple[int, float, float] | None = None
        self._older_changes = 0
        self._series: tuple[tuple[int, int, int], FloatArray, FloatArray] | None = None
        for start_s, people, abandoned in buckets:
            self.add(start_s, people, abandoned)

    def add(self, at_s: float, people: int, abandoned: int) -> None:
        """Count at a time; negative numbers take back."""
        start_s = bucket_of(at_s)
        more = Count(people, abandoned)
        before = self._counts.get(start_s)
        if before is None:
            self._starts.insert(bisect_left(self._starts, start_s), start_s)
            before = Count()
        self._counts[start_s] = before + more
        self._older_changes += start_s != self._starts[-1]
        if self.started_s is None or start_s < self.started_s:
            self.started_s = start_s
        if self._of_period is not None:
            first_s, end_s, total = self._of_period
            if first_s <= start_s < end_s:
                self._of_period = first_s, end_s, total + more

    def between(self, first_s: int, end_s: int) -> Count:
        """The sum over the buckets that begin in [first_s, end_s)."""
        if self._of_period is None or self._of_period[:2] != (first_s, end_s):
            chosen = self._starts[bisect_left(self._starts, first_s) : bisect_left(self._starts, end_s)]
            counts = [self._counts[start_s] for start_s in chosen]
            total = Count(sum(count.people for count in counts), sum(count.abandoned for count in counts))
            self._of_period = first_s, end_s, total
        return self._of_period[2]

    def buckets(self, first_s: float = -math.inf) -> list[tuple[int, int, int]]:
        """(start, people, abandoned) from the bucket that ``first_s`` is in, in order."""
        low = 0 if first_s == -math.inf else bisect_left(self._starts, bucket_of(first_s))
        return [(s, self._counts[s].people, self._counts[s].abandoned) for s in self._starts[low:]]

    def series(self, first_s: int) -> tuple[FloatArray, FloatArray]:
        """
        People and abandoned people of the buckets from ``first_s`` on, newest first, (n_buckets,) float64.

        To be read only, and only until the next call: just the newest bucket changes all the time.
        """
        if not self._starts or self._starts[-1] < first_s:
            return np.zeros(0), np.zeros(0)
        newest_s = self._starts[-1]
        key = first_s, newest_s, self._older_changes
        if self._series is None or self._series[0] != key:
            counts = [self._counts[s] for s in reversed(self._starts[bisect_left(self._starts, first_s) :])]
            self._series = (
                key,
                np.array([count.people for count in counts], dtype=np.float64),
                np.array([count.abandoned for count in counts], dtype=np.float64),
            )
        _, people, abandoned = self._series
        people[0], abandoned[0] = self._counts[newest_s].people, self._counts[newest_s].abandoned
        return people, abandoned

    def largest_excess(self, limit_ratio: float, now_s: float) -> float:
        """The largest a - L n of up to an hour on end, over all that the ledger holds; 0 when none was above L."""
        current_s = bucket_of(now_s)
        if self._worst is None or self._worst[:2] != (current_s, limit_ratio):
            ends = (end_s for end_s in self._counts if end_s != current_s)
            worst = max((self._excess_until(end_s, limit_ratio) for end_s in ends), default=0.0)
            self._worst = current_s, limit_ratio, worst
        return max(self._worst[2], self._excess_until(current_s, limit_ratio))

    def _excess_until(self, end_s: int, limit_ratio: float) -> float:
        worst = total = 0.0
        for start_s in range(end_s, end_s - EXCESS_BUCKETS * BUCKET_S, -BUCKET_S):
            if (count := self._counts.get(start_s)) is not None:
                total += count.abandoned - limit_ratio * count.people
                worst = max(worst, total)
        return worst

    def people_since(self, first_s: float) -> int:
        low = bisect_right(self._starts, first_s)
        return sum(self._counts[start_s].people for start_s in self._starts[low:])


class OneToOneRecord:
    """What calls that were started one for each agent have shown: people, lost ones, and how many are lost at a go."""

    def __init__(self) -> None:
        self.people = 0
        self.abandoned = 0
        self._bursts: deque[list[float]] = deque(maxlen=200)  # [last at_s, size]

    def add(self, at_s: float, *, abandoned: bool) -> None:
        self.people += 1
        if not abandoned:
            return
        self.abandoned += 1
        if self._bursts and at_s - self._bursts[-1][0] <= BURST_S:
            self._bursts[-1][0] = at_s
            self._bursts[-1][1] += 1.0
        else:
            self._bursts.append([at_s, 1.0])

    @property
    def loss_ratio(self) -> float:
        return (self.abandoned + PRIOR_ABANDONED) / (self.people + PRIOR_PEOPLE)

    @property
    def burst(self) -> float:
        """Mean size of the burst a lost person belongs to (size-biased: large ones are what empties a reserve)."""
        sizes = [size for _, size in self._bursts]
        return (1.0 + sum(size * size for size in sizes)) / (1.0 + sum(sizes))


def lundberg_reserve(loss_ratio: float, burst: float, limit_ratio: float, confidence: float) -> float:
    """
    Room that one-to-one operation uses up, at any later time, with at most the probability 1 - ``confidence``.

    Infinite when it loses as much as the limit allows or more: then no reserve lasts.
    """
    return _lundberg(round(loss_ratio, 5), round(burst, 2), limit_ratio, confidence)


@lru_cache(maxsize=1024)
def _lundberg(loss_ratio: float, burst: float, limit_ratio: float, confidence: float) -> float:
    if loss_ratio <= 0.0:
        return 0.0
    if loss_ratio >= limit_ratio:
        return math.inf
    low, high = 0.0, 1.0
    while _excess(high, loss_ratio, burst, limit_ratio) < 0.0:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        if _excess(middle, loss_ratio, burst, limit_ratio) < 0.0:
            low = middle
        else:
            high = middle
    return math.log(1.0 / (1.0 - confidence)) / high


def _excess(theta: float, loss_ratio: float, burst: float, limit_ratio: float) -> float:
    return loss_ratio / burst * math.expm1(min(burst * theta, 700.0)) - limit_ratio * theta


def beyond_mean(mean: float, confidence: float) -> float:
    """The Poisson quantile of ``confidence`` less the mean: what calls under way may cost beyond what is expected."""
    if mean <= 0.0:
        return 0.0
    if mean > 100.0:
        return NormalDist().inv_cdf(confidence) * math.sqrt(mean)
    term = total = math.exp(-mean)
    quantile = 0
    while total < confidence:
        quantile += 1
        term *= mean / quantile
        total += term
    return max(0.0, quantile - mean)


def pace(limit_ratio: float, left: float, expected_people: float, confidence: float) -> float:
    """
    The share of ``expected_people`` that fits the budget even in its upper quantile, in 0..limit_ratio.

    ``left``: what the people so far have left of their budget, or have overdrawn.
    """
    budget = limit_ratio * expected_people + left
    if budget <= 0.0 or expected_people <= 0.0:
        return 0.0
    z = NormalDist().inv_cdf(confidence)
    # p F + z sqrt(p F) = budget, solved for sqrt(p F).
    root = 0.5 * (math.sqrt(z * z + 4.0 * budget) - z)
    return min(limit_ratio, root * root / expected_people)


class Phase(Enum):
    OPEN = "open"
    ONE_TO_ONE = "one_to_one"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class GuardState:
    """
    What the guard says at one instant, with the figures that led there.

    Attributes:
        begins_s, ends_s: the window, UTC seconds; a rolling one ends now.
        count: people and abandoned people in the window.
        slack: L N - A of the tightest part of the window, before any reserve.
        reserve: what is kept of it for losses of one-to-one operation and of calls under way.
        expected_people: in the rest of the window, or in the next one of a rolling one.
        changes_s: when time alone changes it next (the window ends, or its oldest bucket falls out); None: never.
    """

    rule: Rule
    room: LegalRoom
    phase: Phase
    begins_s: int
    ends_s: int
    count: Count
    slack: float
    reserve: float
    expected_people: float
    changes_s: int | None


@dataclass(frozen=True, slots=True)
class Guard:
    """
    A rule in force for a campaign.

    Attributes:
        confidence: that what the guard leaves is not overrun, 0.5..1 exclusive.
        hard_stop: no call at all once another abandoned person would pass the limit.
    """

    rule: Rule
    confidence: float = 0.99
    hard_stop: bool = False

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1.0:
            raise ValueError(f"confidence must be in [0.5, 1), is {self.confidence}")

    def state(
        self,
        ledger: Ledger,
        now_s: float,
        one_to_one: OneToOneRecord | None = None,
        *,
        abandoned_under_way: float = 0.0,
        sharers: int = 1,
    ) -> GuardState:
        """
        What is left at ``now_s`` (UTC seconds).

        Args:
            abandoned_under_way: people whom the calls under way of the whole campaign are expected to abandon. Only
                what may come beyond that is kept here; who asks takes off the expectation for its own calls.
            sharers: campaign groups, of all nodes, that spend the room at the same time.
        """
        rule, record = self.rule, one_to_one or OneToOneRecord()
        begins_s, ends_s = self.window(ledger, now_s)
        rolling = rule.window is WindowKind.ROLLING
        count = ledger.between(begins_s, bucket_of(now_s) + BUCKET_S if rolling else ends_s)
        slack = rule.limit_ratio * count.people - count.abandoned
        if rolling:
            slack = min(slack, rolling_slack(ledger, begins_s, rule))
        expected = self._expected(ledger, now_s, rule.window_s if rolling else ends_s - now_s)
        held = lundberg_reserve(record.loss_ratio, record.burst, rule.limit_ratio, self.confidence)
        excess = ledger.largest_excess(rule.limit_ratio, now_s)
        budget = rule.limit_ratio * (rule.min_people if rolling else count.people + expected)
        reserve = max(min(held, LARGEST_RESERVE), min(EXCESS_TIMES * excess, EXCESS_SHARE * budget))
        reserve += beyond_mean(abandoned_under_way, self.confidence)
        # A rolling window gives back what is lost now only as a whole, so it looks no further than its shortest part.
        ahead = min(expected, float(rule.min_people)) if rolling else expected
        pace_ratio = pace(rule.limit_ratio, slack - reserve, ahead, self.confidence)
        allowed = (slack - reserve) / max(1, sharers)
        phase = self._phase(count, slack, allowed, abandoned_under_way)
        because = "" if phase is Phase.OPEN else self._because(phase, count, slack, reserve, held)
        room = LegalRoom(pace_ratio, allowed, phase is Phase.STOPPED, because)
        changes_s = begins_s + BUCKET_S + rule.window_s if rolling and count.people else None
        return GuardState(
            rule, room, phase, begins_s, ends_s, count, slack, reserve, expected, changes_s if rolling else ends_s
        )

    def _phase(self, count: Count, slack: float, allowed: float, under_way: float) -> Phase:
        if self.rule.no_allowance:
            return Phase.STOPPED if self.hard_stop and count.abandoned else Phase.ONE_TO_ONE
        lost = under_way + beyond_mean(under_way, self.confidence)
        if self.hard_stop and count.people >= HARD_STOP_PEOPLE and slack - lost < 1.0:
            return Phase.STOPPED
        return Phase.OPEN if allowed >= 1.0 else Phase.ONE_TO_ONE

    def _because(self, phase: Phase, count: Count, slack: float, reserve: float, held: float) -> str:
        rule = self.rule
        ratio = (
            f"{count.abandoned} of {count.people} people abandoned ({count.ratio:.2%}), limit {rule.limit_ratio:.2%}"
        )
        if rule.no_allowance:
            return f"{rule.name}: nobody may be abandoned; {ratio}"
        if math.isinf(held):
            return f"{rule.name}: {ratio}; even one call for each agent loses as many as the limit allows"
        kept = f"room for {slack:.1f} more, {reserve:.1f} kept in reserve"
        if phase is Phase.STOPPED:
            return f"{rule.name}: {ratio}; {kept}: hard stop"
        return f"{rule.name}: {ratio}; {kept}"

    def window(self, ledger: Ledger, now_s: float) -> tuple[int, int]:
        """Begin (inclusive) and end (exclusive) of the window that ``now_s`` is in, UTC seconds."""
        rule, now = self.rule, bucket_of(now_s)
        if rule.window is WindowKind.ROLLING:
            return bucket_of(now_s - rule.window_s), now + BUCKET_S
        if rule.window is WindowKind.CALENDAR:
            return calendar_window(now_s, rule.window_s // DAY_S, rule.zone)
        started_s = now if ledger.started_s is None else ledger.started_s
        begins_s = started_s + (now - started_s) // rule.window_s * rule.window_s
        return begins_s, begins_s + rule.window_s

    def _expected(self, ledger: Ledger, now_s: float, rest_s: float) -> float:
        if ledger.started_s is None:
            return LEAST_EXPECTED
        first_s = max(now_s - RATE_MEMORY_S, float(ledger.started_s - 1))
        per_s = ledger.people_since(first_s) / max(now_s - first_s, DAY_S)
        return max(LEAST_EXPECTED, per_s * rest_s)


def calendar_window(now_s: float, days: int, zone: str) -> tuple[int, int]:
    """The period of ``days`` whole days, counted from a Monday, from midnight in ``zone`` (a day may have 23 hours)."""
    tz = ZoneInfo(zone)
    today = datetime.fromtimestamp(now_s, UTC).astimezone(tz).date()
    first = date.fromordinal((today.toordinal() - 1) // days * days + 1)
    return _midnight_s(first, tz), _midnight_s(first + timedelta(days=days), tz)


def _midnight_s(day: date, tz: ZoneInfo) -> int:
    return bucket_of(datetime.combine(day, time(), tz).timestamp())


def rolling_slack(ledger: Ledger, begins_s: int, rule: Rule) -> float:
    """
    The least L max(n, M) - a over every suffix of the window that begins in the bucket ``begins_s``.

    A suffix may begin inside a bucket: all that were abandoned in that bucket count, and none of its people.
    """
    people, abandoned = ledger.series(begins_s)
    if not people.size:
        return rule.limit_ratio * rule.min_people
    behind = np.cumsum(people) - people
    return float(np.min(rule.limit_ratio * np.maximum(behind, rule.min_people) - np.cumsum(abandoned)))


@dataclass(slots=True)
class PhaseWatch:
    """Tells when the guard has begun to bind, and when it has let go: with a margin, or it would tell all the time."""

    phase: Phase = Phase.OPEN
    _told: bool = field(default=False, init=False)

    def change(self, state: GuardState) -> Phase | None:
        """The new phase when it is one that should be told; None: nothing new."""
        if state.phase is self.phase or (
            self.phase is Phase.ONE_TO_ONE and state.phase is Phase.OPEN and state.room.abandoned_allowed < 2.0
        ):
            return None
        self.phase = state.phase
        return self.phase


__all__ = [
    "BUCKET_S",
    "DAY_S",
    "PRESETS",
    "Count",
    "Guard",
    "GuardState",
    "Ledger",
    "OneToOneRecord",
    "Phase",
    "PhaseWatch",
    "Rule",
    "WindowKind",
    "beyond_mean",
    "bucket_of",
    "calendar_window",
    "lundberg_reserve",
    "pace",
    "rolling_slack",
    "with_changes",
]
