"""Online estimates of what happens to calls and agents, each with a prior so that the first decision is sound.

All ages and durations are seconds. Distributions live on one grid of :data:`STEP_S`; the prediction looks
:data:`HORIZON_STEPS` steps ahead. Objects here are mutable and belong to one :class:`pacing.pacer.Pacer`.

Three effects would bias naive counts, and each has its remedy:

* Quick outcomes come in first after a change of volume, so an outcome enters the hit ratio only a fixed lag after
  its *launch* (:class:`HitRatio`), and calls older than the lag that still ring count by their posterior.
* Hit ratios drift; averages over few and many calls are weighted by how well they foretell.
* Short talks end first, so the earliest durations are weighted by Kaplan and Meier's estimator with the talks still
  under way as censored observations (JASA 53, 1958) until enough talks have ended.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

STEP_S = 0.5
"""Width of one bin of age or horizon: a quarter of the usual two seconds a person may be kept waiting."""
AGE_BINS = 120
"""Ages at answer or failure up to 60 s; nobody lets a campaign call ring longer. Later ones count in the last bin."""
HORIZON_STEPS = 56
"""The prediction covers 28 s: longer than nearly all rings, and what happens later can still be decided later."""
SLOW_CALLS = 1500
"""Calls over which ages at answer and at other endings are remembered."""
HIT_MEMORIES = (100.0, 400.0, 1600.0)
HIT_PRIOR_WEIGHTS = (0.02, 0.13, 0.85)
HIT_CREDIT_CALLS = 150.0
"""What an average foretold so many calls ago counts a third of what it foretold now."""
VOLUME_MEMORY_S, VOLUME_CALLS = 60.0, 250.0
"""Beyond so many calls a minute memories grow with the volume."""
VERDICT_LAST_S = 60.0
"""An answer whose verdict is not told by then will not have one."""
EVEN_TURN = (5.0**0.5 - 1.0) / 2.0
"""Steps of the golden section fall evenly over an interval, however many there are."""
HIT_SWITCH_SHARE = 0.2
"""Weight that no credit can take away: the next records of a list may be of another kind than the last hundred."""
HANDLED_KEPT = 600
"""Pairs of talk and wrap-up time kept: about an hour of thirty agents, so shifts of the day are followed."""
RESIDUAL_KNOTS = 48
"""Ages in a residual-life table by quantile, and as many evenly spaced."""
CENSORED_UNTIL, CENSORED_TALKS = 150, 3
"""Handled calls, in all and for each agent, after which the short ones that end first no longer distort the residual
times noticeably. (In a crowd that began together, half the first talks end before the longer half has been seen.)"""
TALKS_MOST = 1000
"""Agents that count for this; it bounds the pairs kept, and the time to make a table of them."""


class HitRatio:
    """Share of launched calls that are answered, counted by launch cohort.

    Averages over the last 100, 400 and 1,600 calls or so each foretell every outcome; they are weighted by how well
    they did of late. In a steady world the long one wins because it wavers least; when the ratio has moved, the short
    one takes over within some thirty calls (a mixture of experts with discounted likelihoods: Herbster and Warmuth,
    Machine Learning 32, 1998).

    ``prior_ratio`` counts as ``prior_calls`` calls. A high prior is the careful one: it launches less.
    """

    def __init__(self, prior_ratio: float = 0.5, prior_calls: float = 4.0) -> None:
        self.total = 0
        self._prior_calls = prior_calls
        self._means = [prior_ratio] * len(HIT_MEMORIES)
        self._credit = [0.0] * len(HIT_MEMORIES)
        """Logarithm of the discounted likelihood of the outcomes, by memory."""
        self._immature: list[tuple[float, float]] = []
        self._known: tuple[float, float] | None = None
        self._volume = 0.0
        """Outcomes of the last minute or so ..."""
        self._volume_until_s = 0.0
        self._scale = 1.0
        """... and by how much the memories are longer for it: in a large group a hundred calls are a moment's."""

    def observe(self, hit: float, launched_s: float) -> None:
        """Note the outcome of a call launched at ``launched_s`` (in the pacer's running seconds).

        ``hit``: 1 for an answered call, 0 for another; between them for one of which nobody will know, its chance.
        """
        heapq.heappush(self._immature, (launched_s, float(hit)))

    @property
    def waiting(self) -> int:
        """Outcomes that do not count yet."""
        return len(self._immature)

    def advance(self, launched_until_s: float) -> None:
        """Count every outcome of calls launched until then.

        Those of one cohort are counted hits and misses evenly mixed: whichever came last would seem the latest news.
        """
        mature = []
        while self._immature and self._immature[0][0] <= launched_until_s:
            mature.append(heapq.heappop(self._immature)[1])
        kept = math.exp(-max(0.0, launched_until_s - self._volume_until_s) / VOLUME_MEMORY_S)
        self._volume, self._volume_until_s = self._volume * kept + len(mature), launched_until_s
        scale = max(1.0, self._volume / VOLUME_CALLS)
        if scale != self._scale:
            self._scale, self._known = scale, None
        mature.sort()
        for place in sorted(range(len(mature)), key=lambda place: place * EVEN_TURN % 1.0):
            self._count(mature[place])

    def _count(self, hit: float) -> None:
        self.total += 1
        self._known = None
        kept = 1.0 - 1.0 / (HIT_CREDIT_CALLS * self._scale)
        for place, mean in enumerate(self._means):
            # What nobody will know tells nothing about who foretells well.
            foretold = max(mean if hit else 1.0 - mean, 1e-3) if hit in (0.0, 1.0) else 1.0
            self._credit[place] = kept * self._credit[place] + math.log(foretold)
            self._means[place] = mean + (hit - mean) / self._calls(place)

    def _calls(self, place: int) -> float:
        """How many calls an average stands for."""
        return min(self.total + self._prior_calls, HIT_MEMORIES[place] * self._scale)

    def _mixture(self) -> tuple[float, float]:
        """Mean and variance over the averages, weighted by their credit."""
        if self._known is None:
            most = max(self._credit)
            shares = [
                prior * math.exp(credit - most) for prior, credit in zip(HIT_PRIOR_WEIGHTS, self._credit, strict=True)
            ]
            whole = sum(shares) / (1.0 - HIT_SWITCH_SHARE)
            weights = [
                share / whole + HIT_SWITCH_SHARE * prior for prior, share in zip(HIT_PRIOR_WEIGHTS, shares, strict=True)
            ]
            ratio = sum(weight * mean for weight, mean in zip(weights, self._means, strict=True)) / sum(weights)
            spread = sum(
                weight * (max(mean * (1.0 - mean), 1e-3) / self._calls(place) + (mean - ratio) ** 2)
                for place, (weight, mean) in enumerate(zip(weights, self._means, strict=True))
            )
            self._known = ratio, spread / sum(weights)
        return self._known

    def estimate(self, overdue: int = 0, overdue_hits: float = 0.0) -> tuple[float, float]:
        """Mean and standard error of the hit ratio.

        ``overdue`` calls are past the lag without an outcome; ``overdue_hits`` of them are expected to be answered.
        Their weight fades, because in the long run each of them has been counted when it ended.
        """
        counted = self.total + self._prior_calls
        ratio, variance = self._mixture()
        ratio = (ratio * counted + overdue_hits) / (counted + overdue)
        # Never none at all, however many fail: whatever is estimated in proportion to it stays defined.
        return min(max(ratio, 1e-3), 1.0), math.sqrt(variance)

    def state(self, now_s: float) -> dict[str, Any]:
        return {
            "total": self.total,
            "means": list(self._means),
            "credit": list(self._credit),
            "volume": self._volume,
            "volume_until_s": self._volume_until_s - now_s,
            "scale": self._scale,
            "immature": [[launched_s - now_s, hit] for launched_s, hit in sorted(self._immature)],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over a :meth:`state`; running seconds start again at 0."""
        self.total = int(state["total"])
        means, credit = [float(x) for x in state["means"]], [float(x) for x in state["credit"]]
        if len(means) != len(HIT_MEMORIES) or len(credit) != len(HIT_MEMORIES):
            raise ValueError(f"hit ratio has {len(means)} averages, expected {len(HIT_MEMORIES)}")
        self._means, self._credit, self._known = means, credit, None
        self._volume, self._volume_until_s = float(state["volume"]), float(state["volume_until_s"])
        self._scale = float(state["scale"])
        self._immature = [(float(launched_s), float(hit)) for launched_s, hit in state["immature"]]
        heapq.heapify(self._immature)


class AgeHistogram:
    """Distribution of an age with exponential forgetting; starts from ``prior``, a mass per bin."""

    def __init__(self, prior: Floats, memory: float = SLOW_CALLS) -> None:
        self._mass: Floats = prior.astype(np.float64)
        self._keep = 1.0 - 1.0 / memory
        self.count = 0

    def add(self, age_s: float) -> None:
        self._mass *= self._keep
        self._mass[self._bin(age_s)] += 1.0
        self.count += 1

    def ahead(self, age_s: float) -> float:
        """P(at this age or later)."""
        return float(self._mass[self._bin(age_s) :].sum() / self._mass.sum())

    def add_censored(self, age_s: float, weight: float) -> None:
        """``weight`` of an observation of which is known only that it would have come at ``age_s`` or later.

        It is spread over those ages as they are known by now, which is what the self-consistent estimate does with
        censored observations (Efron, Fifth Berkeley Symposium, 1967).
        """
        first = self._bin(age_s)
        later = self._mass[first:] / max(float(self._mass[first:].sum()), 1e-300)
        self._mass *= self._keep**weight
        self._mass[first:] += weight * later

    def _bin(self, age_s: float) -> int:
        return min(max(int(age_s / STEP_S), 0), len(self._mass) - 1)

    def density(self) -> Floats:
        """Probability per bin, float64 (bins,), sums to 1."""
        density: Floats = self._mass / self._mass.sum()
        return density

    def quantile_s(self, ratio: float) -> float:
        """Upper edge of the bin in which the cumulative probability reaches ``ratio``."""
        return float(STEP_S * (1 + np.searchsorted(np.cumsum(self.density()), ratio - 1e-12)))

    def state(self) -> dict[str, Any]:
        return {"mass": self._mass.tolist(), "count": self.count}

    def load(self, state: dict[str, Any]) -> None:
        mass = np.asarray(state["mass"], dtype=np.float64)
        if mass.shape != self._mass.shape:
            raise ValueError(f"histogram has {mass.size} bins, expected {self._mass.size}")
        self._mass, self.count = mass, int(state["count"])


def lognormal_mass(mean_s: float, cv: float, weight: float, bins: int = AGE_BINS) -> Floats:
    """Mass ``weight`` spread like a lognormal of that mean and coefficient of variation over the grid, (bins,)."""
    variance = np.log1p(cv * cv)
    edges = np.log(np.maximum(np.arange(bins + 1) * STEP_S, 1e-9))
    cumulative = ndtr((edges - np.log(mean_s) + variance / 2.0) / variance**0.5)
    cumulative[-1] = 1.0
    mass: Floats = weight * np.diff(cumulative)
    return mass


def answer_prior(weight: float = 4.0) -> Floats:
    """Ages at answer before any call: broad around 8 s, what set-up and two rings take."""
    return lognormal_mass(8.0, 0.6, weight)


def ending_prior(weight: float = 4.0) -> Floats:
    """Ages of other endings before any call: half fail within seconds, half ring until somebody gives up."""
    return lognormal_mass(3.0, 0.6, weight / 2) + lognormal_mass(26.0, 0.3, weight / 2)


class AnswerAnalysis:
    """What analysis makes of answered calls: share of people, and seconds until the verdict for either kind.

    People answer sooner than machines, so the share is counted by launch cohort like the hit ratio. Which answer a
    verdict belongs to is found by its instant.
    """

    DELAY_BINS = 40  # 20 s, beyond any analysis

    def __init__(self) -> None:
        # Four in five answers people, as careful as plausible: a high share launches less.
        self._people = HitRatio(0.8, 5.0)
        self._answers: list[tuple[float, float]] = []
        """Answers without a verdict: when, and of calls launched when (running seconds)."""
        self.person_delay = AgeHistogram(lognormal_mass(1.5, 0.5, 2.0, self.DELAY_BINS))
        self.other_delay = AgeHistogram(lognormal_mass(3.0, 0.5, 2.0, self.DELAY_BINS))

    def answered(self, at_s: float, launched_s: float) -> None:
        """A call launched at ``launched_s`` was answered at ``at_s`` running seconds."""
        self._answers.append((at_s, launched_s))

    def person(self, delay_s: float, now_s: float) -> None:
        self.person_delay.add(delay_s)
        at_s = now_s - delay_s
        if self._answers:
            self._verdict(1.0, min(self._answers, key=lambda answer: (abs(answer[0] - at_s), answer[1])))

    def other(self, delay_s: float, now_s: float, launched_s: float) -> None:
        self.other_delay.add(delay_s)
        at_s = now_s - delay_s
        if self._answers:
            self._verdict(
                0.0, min(self._answers, key=lambda answer: abs(answer[1] - launched_s) + abs(answer[0] - at_s))
            )

    def _verdict(self, person: float, answer: tuple[float, float]) -> None:
        self._answers.remove(answer)
        self._people.observe(person, answer[1])

    def advance(self, now_s: float, lag_s: float) -> None:
        """Count the verdicts of all calls launched at least ``lag_s`` and an analysis ago."""
        delay_s = max(self.person_delay.quantile_s(0.97), self.other_delay.quantile_s(0.97))
        self._people.advance(now_s - lag_s - delay_s)
        while self._answers and self._answers[0][0] < now_s - VERDICT_LAST_S:
            self._answers.pop(0)

    def person_share(self) -> tuple[float, float]:
        """Share of people among answered calls, and its standard error."""
        return self._people.estimate()

    @property
    def count(self) -> int:
        return self.person_delay.count + self.other_delay.count

    def state(self, now_s: float) -> dict[str, Any]:
        return {
            "people": self._people.state(now_s),
            "answers": [[at_s - now_s, launched_s - now_s] for at_s, launched_s in self._answers],
            "person_delay": self.person_delay.state(),
            "other_delay": self.other_delay.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self._people.load(state["people"])
        self._answers = [(float(at_s), float(launched_s)) for at_s, launched_s in state["answers"]]
        self.person_delay.load(state["person_delay"])
        self.other_delay.load(state["other_delay"])


class ResidualLife:
    """P(stage and rest are over within h | the stage has lasted a), from weighted pairs; no rest: the stage alone.

    An exponential remainder of ``prior_mean_s`` weighs ``prior_weight`` at every age; it is all there is at ages that
    nobody has reached yet. ``tail_weight`` more stages are known only to outlast the longest one seen, and follow the
    same law from there on.
    """

    def __init__(
        self,
        stage_s: Floats,
        rest_s: Floats | None,
        weights: Floats,
        prior_mean_s: float,
        prior_weight: float,
        steps: int,
        tail_weight: float = 0.0,
    ) -> None:
        horizons_s = np.arange(steps + 1) * STEP_S
        if stage_s.size:
            # Where stages end, and where they do not: between two knots rows are interpolated.
            ordered = np.sort(stage_s)
            picks = np.linspace(0, stage_s.size - 1, min(stage_s.size, RESIDUAL_KNOTS)).astype(np.int64)
            even = np.linspace(0.0, ordered[-1], RESIDUAL_KNOTS)
            knots = np.unique(np.concatenate([even, ordered[picks]]))
            knots = knots[np.append(True, np.diff(knots) > 1e-6)]  # apart enough to divide by the gaps
        else:
            knots = np.zeros(1)
        prior = prior_weight * -np.expm1(-horizons_s / prior_mean_s)
        if tail_weight > 0.0:
            since_s = np.maximum(horizons_s[None, :] - (knots[-1] - knots)[:, None], 0.0)
            prior = prior + tail_weight * -np.expm1(-since_s / prior_mean_s)
        by_stage = np.argsort(stage_s, kind="stable")
        stage, mass = stage_s[by_stage], np.concatenate([[0.0], np.cumsum(weights[by_stage])])
        first_alive = np.searchsorted(stage, knots - 1e-9, side="right")
        at_risk = (mass[-1] - mass[first_alive])[:, None]
        if rest_s is None:
            over = np.searchsorted(stage, (knots[:, None] + horizons_s[None, :]).ravel() + 1e-9, side="right")
            released = mass[over].reshape(len(knots), steps + 1) - mass[first_alive][:, None]
            released = np.maximum(released, 0.0)
        else:
            # Only what ends within the horizon is sorted into bins; that is a small part of all pairs at all ages.
            left_s = (stage + rest_s[by_stage])[None, :] - knots[:, None]
            soon = left_s <= horizons_s[-1]
            soon &= np.arange(len(stage))[None, :] >= first_alive[:, None]
            row, pair = np.nonzero(soon)
            bins = np.maximum(np.ceil(left_s[row, pair] / STEP_S - 1e-9), 0.0).astype(np.int64)
            counted = np.bincount(row * (steps + 1) + bins, weights[by_stage][pair], len(knots) * (steps + 1))
            released = np.cumsum(counted.reshape(len(knots), steps + 1), axis=1)
        self._knots_s = knots
        self._slopes = np.append(1.0 / np.diff(knots), 0.0)
        self.table: Floats = np.minimum((released + prior) / (at_risk + prior_weight + tail_weight), 1.0)
        """P(over within h), float64 (knots, steps + 1)."""

    def _between(self, ages_s: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        ages = np.asarray(ages_s, dtype=np.float64)
        last = len(self._knots_s) - 1
        low = np.maximum(np.searchsorted(self._knots_s, ages, side="right") - 1, 0)
        share = np.minimum(np.maximum((ages - self._knots_s[low]) * self._slopes[low], 0.0), 1.0)
        return low, np.minimum(low + 1, last), share

    def released(self, ages_s: Sequence[float]) -> Floats:
        """Probabilities by horizon 0, STEP_S, ... for each age: float64 (n_ages, steps + 1)."""
        low, high, share = self._between(ages_s)
        rows: Floats = self.table[low] * (1.0 - share)[:, None] + self.table[high] * share[:, None]
        return rows

    def counts(self, ages_s: Sequence[float]) -> Floats:
        """How many of the ages are at each row of `table`, float64 (knots,), each split between two neighbours."""
        low, high, share = self._between(ages_s)
        size = len(self._knots_s)
        both = np.bincount(np.concatenate([low, high]), np.concatenate([1.0 - share, share]), size)
        return both.astype(np.float64, copy=False)  # without any age numpy counts in integers


class HandlingTimes:
    """The last pairs of talk and wrap-up seconds, and residual-life tables made from them."""

    PRIOR_WEIGHT = 1.0
    PRIOR_TALK_S = 120.0
    PRIOR_WRAP_S = 20.0

    def __init__(self) -> None:
        self._pairs: deque[tuple[float, float]] = deque()
        self._most_talking = 0
        self._means_s: tuple[float, float] | None = None
        self.count = 0

    def add(self, talk_s: float, wrap_up_s: float) -> None:
        self._means_s = None
        self._pairs.append((max(talk_s, 0.0), max(wrap_up_s, 0.0)))
        self.count += 1
        if len(self._pairs) > max(HANDLED_KEPT, CENSORED_TALKS * self._most_talking):
            self._pairs.popleft()

    @property
    def censored(self) -> bool:
        """Whether too few talks have ended for those under way to be left out of account."""
        return self.count < max(CENSORED_UNTIL, CENSORED_TALKS * self._most_talking)

    @property
    def relative_error(self) -> float:
        """Standard error of the number of talks that end within a while, over that number: Poisson's."""
        return float((len(self._pairs) + self.PRIOR_WEIGHT) ** -0.5)

    def mean_s(self) -> tuple[float, float]:
        """Mean talk and wrap-up seconds, priors included."""
        if self._means_s is None:
            n = len(self._pairs) + self.PRIOR_WEIGHT
            talk = sum(pair[0] for pair in self._pairs) + self.PRIOR_WEIGHT * self.PRIOR_TALK_S
            wrap = sum(pair[1] for pair in self._pairs) + self.PRIOR_WEIGHT * self.PRIOR_WRAP_S
            self._means_s = talk / n, wrap / n
        return self._means_s

    def tables(self, talking_s: Iterable[float], steps: int) -> tuple[ResidualLife, ResidualLife]:
        """Residual tables (talk then wrap-up, wrap-up alone) over ``steps``; ``talking_s``: talks under way."""
        pairs = np.asarray(self._pairs, dtype=np.float64).reshape(-1, 2)
        talk_s, wrap_s = pairs[:, 0], pairs[:, 1]
        talk_mean_s, wrap_mean_s = self.mean_s()
        weights, tail_weight = np.ones(len(pairs)), 0.0
        under_way_s = np.asarray(tuple(talking_s), dtype=np.float64)
        self._most_talking = min(max(self._most_talking, len(under_way_s)), TALKS_MOST)
        if self.censored:
            weights, tail_weight = kaplan_meier_weights(talk_s, under_way_s)
            # The time spent so far belongs to the mean as well (maximum likelihood of a censored exponential).
            talk_mean_s += float(under_way_s.sum()) / (len(pairs) + self.PRIOR_WEIGHT)
        mean_s = talk_mean_s + wrap_mean_s
        talk = ResidualLife(talk_s, wrap_s, weights, mean_s, self.PRIOR_WEIGHT, steps, tail_weight)
        wrap = ResidualLife(wrap_s, None, np.ones(len(pairs)), wrap_mean_s, self.PRIOR_WEIGHT, steps)
        return talk, wrap

    def state(self) -> dict[str, Any]:
        return {
            "pairs": [list(pair) for pair in self._pairs],
            "most_talking": self._most_talking,
            "count": self.count,
        }

    def load(self, state: dict[str, Any]) -> None:
        self._pairs = deque((float(t), float(w)) for t, w in state["pairs"])
        self._most_talking = int(state["most_talking"])
        self._means_s = None
        self.count = int(state["count"])


def kaplan_meier_weights(ended_s: Floats, under_way_s: Floats) -> tuple[Floats, float]:
    """Weight of each ended duration, float64 (n_ended,), and of those known only to outlast the longest one ended.

    They sum to the number of all durations: each one under way hands its weight to the longer ones (Efron's
    redistribution to the right). With none under way every ended one weighs 1 and the tail 0.
    """
    if not ended_s.size:
        return np.zeros(0), float(under_way_s.size)
    order = np.argsort(ended_s, kind="stable")
    ended = ended_s[order]
    later_ended = np.arange(len(ended), 0, -1, dtype=np.float64)
    later_under_way = len(under_way_s) - np.searchsorted(np.sort(under_way_s), ended, side="left")
    at_risk = later_ended + later_under_way
    surviving = np.cumprod(1.0 - 1.0 / at_risk)
    total = len(ended_s) + len(under_way_s)
    weights = np.empty(len(ended))
    weights[order] = total * np.concatenate([[1.0], surviving[:-1]]) / at_risk
    return weights, float(total * surviving[-1])
