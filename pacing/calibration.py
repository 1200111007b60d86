"""Predicted against actual: does what a decision expected within its horizon then happen?

A predictive decision expects, of all calls then under way, so many people, so many of them who find nobody, and so many
busy agents who come free (``expected_people``, ``expected_abandoned``, ``expected_freed`` within ``horizon_s``). The
events that follow say how many there were. Calls launched later count for later decisions: a call is known by its age
when it is answered, and a person by the delay of the verdict.

Decisions are looked at a horizon apart, so that no person counts twice. Events are dated by the decision before them,
which is a fraction of a second early.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.special import pdtr

from pacing.journal import Checkpoint, Decided, Entry, Header, Lost, Told
from pacing.types import DialDecision, GroupSnapshot

QUANTITIES: Final = ("people", "abandoned", "freed")
DEFAULT_HORIZON_S: Final = 28.0
SETTLE_S: Final = 5.0
"""After the horizon, until everybody found within it has an agent or is gone: two seconds, and late news of them."""
LAUNCH_DELAY_S: Final = 0.02
"""A call may begin a little after the decision that launches it."""
MATCH_S: Final = 120.0
"""Answers without a verdict, and people without an end, are given up after this: their events were not told."""
COVERAGE_RATIO: Final = 0.90
NORMAL_95: Final = 1.96


@dataclass(slots=True)
class Sample:
    """One decision at ``at_s``: what it expected within ``horizon_s``, and what came, by quantity."""

    at_s: float
    horizon_s: float
    expected: dict[str, float]
    actual: dict[str, int] = field(default_factory=lambda: dict.fromkeys(QUANTITIES, 0))

    @property
    def end_s(self) -> float:
        return self.at_s + self.horizon_s


@dataclass(frozen=True, slots=True)
class _Person:
    found_s: float
    launched_s: float


class Calibrator:
    """
    Collects samples from entries as they come.

    Args:
        keep: only so many of the last samples are kept; None: all.
    """

    def __init__(self, keep: int | None = None) -> None:
        self.samples: deque[Sample] = deque(maxlen=keep)
        """The finished ones, oldest first."""
        self._open: list[Sample] = []
        self._start_over()

    def _start_over(self) -> None:
        self._open.clear()
        self._now_s: float | None = None
        self._answers: list[tuple[float, float]] = []
        self._waiting: list[_Person] = []
        self._verdicts = False

    def take(self, entry: Entry) -> None:
        match entry:
            case Decided(_, snapshot, decision):
                self._decided(snapshot, decision if isinstance(decision, DialDecision) else None)
            case Told(method, arguments) if self._now_s is not None:
                self._told(self._now_s, method, tuple(a for a in arguments if isinstance(a, int | float)))
            case Lost() | Header():
                self._start_over()
            case Checkpoint() | Told():
                pass

    def _decided(self, snapshot: GroupSnapshot, decision: DialDecision | None) -> None:
        now_s = self._now_s = snapshot.now_s
        while self._open and now_s > self._open[0].end_s + SETTLE_S:
            self.samples.append(self._open.pop(0))
        self._answers = [each for each in self._answers if each[0] > now_s - MATCH_S]
        self._waiting = [each for each in self._waiting if each.found_s > now_s - MATCH_S]
        if decision is None or (self._open and now_s < self._open[-1].end_s):
            return
        expected = {name: decision.inputs.get(f"expected_{name}") for name in QUANTITIES}
        known = {name: value for name, value in expected.items() if value is not None}
        if known:
            self._open.append(Sample(now_s, decision.inputs.get("horizon_s", DEFAULT_HORIZON_S), known))

    def _told(self, now_s: float, method: str, arguments: Sequence[float]) -> None:
        match method:
            case "answered":
                self._answers.append((now_s, now_s - arguments[0]))
            case "ended" if len(arguments) == 2:  # after an answer: age, and seconds since the answer
                self._answered_at(now_s - arguments[1])
            case "person":
                self._verdicts = True
                self._found(now_s, self._answered_at(now_s - arguments[0]))
            case "bridged":
                if not self._verdicts:
                    self._found(now_s - arguments[0], self._answered_at(now_s - arguments[0]))
                self._leaves(now_s - arguments[0])
            case "abandoned":
                if not self._verdicts:
                    self._found(now_s, self._answered_at(-np.inf))
                self._abandoned(self._leaves(-np.inf))
            case "handled":
                began_s = now_s - arguments[0] - arguments[1]
                for sample in self._open:
                    if began_s <= sample.at_s < now_s <= sample.end_s:
                        sample.actual["freed"] += 1

    def _answered_at(self, at_s: float) -> float | None:
        """When the call that was answered at about ``at_s`` had been launched; it has no more to tell."""
        if not self._answers:
            return None  # before the recording began
        nearest = min(range(len(self._answers)), key=lambda i: abs(self._answers[i][0] - max(at_s, -1e300)))
        return self._answers.pop(nearest)[1]

    def _found(self, now_s: float, launched_s: float | None) -> None:
        person = _Person(now_s, launched_s if launched_s is not None else -np.inf)
        self._waiting.append(person)
        for sample in self._open:
            if sample.at_s < now_s <= sample.end_s and person.launched_s <= sample.at_s + LAUNCH_DELAY_S:
                sample.actual["people"] += 1

    def _leaves(self, found_s: float) -> _Person | None:
        """Whoever was found at about ``found_s`` no longer waits."""
        if not self._waiting:
            return None
        nearest = min(range(len(self._waiting)), key=lambda i: abs(self._waiting[i].found_s - max(found_s, -1e300)))
        return self._waiting.pop(nearest)

    def _abandoned(self, person: _Person | None) -> None:
        if person is None:
            return
        for sample in self._open:
            if person.found_s <= sample.end_s and person.launched_s <= sample.at_s + LAUNCH_DELAY_S:
                sample.actual["abandoned"] += 1


def samples(entries: Iterable[Entry]) -> list[Sample]:
    """All samples of a recording whose horizon has passed in it."""
    calibrator = Calibrator()
    for entry in entries:
        calibrator.take(entry)
    return list(calibrator.samples)


# What they say ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """Mean expected and mean actual of ``samples`` samples that expected about the same; ``half_width``: of the 95 %
    confidence band of ``actual``."""

    expected: float
    actual: float
    half_width: float
    samples: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """
    One quantity over all samples.

    Attributes:
        expected, actual: totals.
        ratio: actual over expected; 1: no bias. ``ratio_error``: its standard error. None without anything expected.
        covered_ratio: share of samples whose actual count lies within the central 90 % of a Poisson distribution with
            the expected mean. Counts of single calls vary less than that, so well over 0.9 is right.
        points: the reliability curve, by rising expectation.
    """

    quantity: str
    samples: int
    expected: float
    actual: int
    ratio: float | None
    ratio_error: float | None
    covered_ratio: float | None
    points: tuple[Point, ...]


def calibration(found: Sequence[Sample], quantity: str, bins: int = 8) -> Calibration:
    """``quantity``: one of QUANTITIES. Bins hold equal numbers of samples."""
    pairs = [(each.expected[quantity], each.actual[quantity]) for each in found if quantity in each.expected]
    expected = np.array([pair[0] for pair in pairs])
    actual = np.array([pair[1] for pair in pairs], dtype=np.float64)
    total, ratio, error, covered = float(expected.sum()), None, None, None
    if pairs:
        inside = (pdtr(actual, expected) >= (1.0 - COVERAGE_RATIO) / 2.0) & (
            (actual == 0) | (pdtr(np.maximum(actual - 1.0, 0.0), expected) <= (1.0 + COVERAGE_RATIO) / 2.0)
        )
        covered = float(inside.mean())
    if total > 0.0:
        ratio = float(actual.sum()) / total
        if len(pairs) > 1:
            error = float(np.std(actual - ratio * expected, ddof=1)) * len(pairs) ** 0.5 / total
    return Calibration(
        quantity, len(pairs), total, int(actual.sum()), ratio, error, covered, _points(expected, actual, bins)
    )


def _points(expected: np.ndarray, actual: np.ndarray, bins: int) -> tuple[Point, ...]:
    order = np.argsort(expected, kind="stable")
    points = []
    for part in np.array_split(order, max(1, min(bins, expected.size // 4))):
        if part.size:
            spread = float(np.std(actual[part] - expected[part], ddof=1)) if part.size > 1 else float("nan")
            half = NORMAL_95 * spread / part.size**0.5
            points.append(Point(float(expected[part].mean()), float(actual[part].mean()), half, int(part.size)))
    return tuple(points)
