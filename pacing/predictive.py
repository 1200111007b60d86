"""Model-predictive launch control: how many calls can start now at a bounded risk for each person who answers.

For every horizon u the number of agents to spare is D(u) = agents free by u + patience, minus people who will have
answered and still hold or need an agent by u. It is a sum of independent single agents and single calls
(Poisson-binomial), each with the hazard of its own age: talks and wrap-ups by their residual life, calls by ring age,
answered calls under analysis by analysis age. One more call is launched while its own risk,

    risk = sum over t of P(it brings a person at t | it brings one) x max over u >= t of P(D(u) <= 0),

stays at or under theta: the latest answer it can harm counts, not only its own. A later person's own handling is
part of the call's term, so a call that is over by u no longer counts: with short talks an agent serves twice within
the horizon.

P(D(u) <= 0) is exact (convolution) for up to :data:`EXACT_TERMS` agents and calls, and otherwise the normal
approximation with continuity and skewness correction (Hong, Computational Statistics and Data Analysis 59, 2013).
In both, not knowing the hit ratio widens the distribution: early decisions are careful by themselves.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from pacing.estimators import HORIZON_STEPS, STEP_S, Floats, ResidualLife
from pacing.types import GroupSnapshot

EXACT_TERMS = 24
_QUADRATURE = ((-(3.0**0.5), 1.0 / 6.0), (0.0, 2.0 / 3.0), (3.0**0.5, 1.0 / 6.0))
"""Gauss-Hermite nodes (standard errors of the hit ratio) and weights: exact for moments up to the fifth."""
_BLOCK = 4
"""Launches whose risk is computed at once; a decision rarely launches more."""
_FAR = 32
"""Launches further ahead than this are no step of a plan but one per idle agent; the normal law is enough for them."""
DEEPEST = 8
"""Shortages of 0..DEEPEST people are told apart; a deeper one is nothing that any bound would allow."""


@dataclass(frozen=True, slots=True)
class CallTables:
    """What the estimates say about single calls; rows are age bins, columns horizons 0..HORIZON_STEPS.

    ``need`` (ages, horizons): P(a person answered and needs an agent at the horizon | the call gets answered), joint
    with not having been answered before the age, for a person ratio of 1; ``not_answered``/``not_ended`` (ages,):
    P(age at answer/other ending is at least that | that kind). ``analysis_*``: the same from the answer on.
    ``arrival`` (horizons,): when a fresh call brings its person, given that it does within the horizon.
    """

    need: Floats
    not_answered: Floats
    not_ended: Floats
    analysis_need: Floats
    person_pending: Floats
    other_pending: Floats
    arrival: Floats


def call_tables(
    answer: Floats, ending: Floats, person_delay: Floats, other_delay: Floats, released_fresh: Floats, patience: int
) -> CallTables:
    """Tables from densities per bin; ``released_fresh``: P(handling over by h) of a talk that begins at h = 0.

    ``patience``: steps that an answered person waits for an agent, so that an agent free by then serves as well.
    """
    steps = HORIZON_STEPS
    holds = 1.0 - released_fresh[: steps + patience + 1]
    # Needing an agent at u means: holding one at u + patience, where it was taken at the earliest moment.
    holds = holds[patience : patience + steps + 1]
    after_answer = np.convolve(person_delay, holds)[: steps + 1]
    arrived = np.cumsum(np.pad(person_delay, (0, max(0, steps + 1 - len(person_delay)))))[: steps + 1]
    coming = _by_age(answer, arrived)[0]
    increments = np.diff(coming, prepend=0.0)
    return CallTables(
        need=_by_age(answer, after_answer),
        not_answered=_at_least(answer),
        not_ended=_at_least(ending),
        analysis_need=_by_age(person_delay, holds),
        person_pending=_at_least(person_delay),
        other_pending=_at_least(other_delay),
        arrival=increments / max(float(increments.sum()), 1e-9),
    )


def _by_age(density: Floats, effect: Floats) -> Floats:
    """Sum over bins j >= i of density[j] x effect (u - (j - i) bins after i), mid-bin, for all i and u = 0.. steps."""
    steps = HORIZON_STEPS
    mid = (effect[:-1] + effect[1:]) / 2.0  # an event in the middle of its bin
    kernel = np.zeros((steps, steps + 1))
    for first in range(steps):
        kernel[first, first + 1 :] = mid[: steps - first]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(density, (0, steps)), steps)
    table: Floats = windows @ kernel
    return table


def _at_least(density: Floats) -> Floats:
    survival: Floats = np.append(np.cumsum(density[::-1])[::-1], 0.0)
    return np.minimum(survival, 1.0)


def _rows(table: Floats, ages_s: tuple[float, ...]) -> Floats:
    """Rows (or entries) of ``table`` at ages, linear between bins."""
    position = np.minimum(np.asarray(ages_s) / STEP_S, len(table) - 1.0)
    low = np.maximum(position.astype(np.int64), 0)
    high = np.minimum(low + 1, len(table) - 1)
    share = np.clip(position - low, 0.0, 1.0)
    if table.ndim == 2:
        share = share[:, None]
    rows: Floats = table[low] * (1.0 - share) + table[high] * share
    return rows


def pending_answer_ratio(tables: CallTables, ages_s: tuple[float, ...], hit_ratio: float) -> Floats:
    """P(a call that rings since each age will be answered), float64 (n,): the cure-model posterior."""
    answered = hit_ratio * _rows(tables.not_answered, ages_s)
    ended = (1.0 - hit_ratio) * _rows(tables.not_ended, ages_s)
    ratio: Floats = answered / np.maximum(answered + ended, 1e-9)
    return ratio


def needs_of_calls(tables: CallTables, ages_s: tuple[float, ...], hit_ratio: float, person_ratio: float) -> Floats:
    """P(each ringing call needs an agent at each horizon), float64 (n, HORIZON_STEPS + 1)."""
    if not ages_s:
        return np.zeros((0, HORIZON_STEPS + 1))
    pending = hit_ratio * _rows(tables.not_answered, ages_s) + (1.0 - hit_ratio) * _rows(tables.not_ended, ages_s)
    need = hit_ratio * person_ratio * _rows(tables.need, ages_s) / np.maximum(pending, 1e-9)[:, None]
    return np.minimum(need, 1.0)


def needs_of_analysed(tables: CallTables, ages_s: tuple[float, ...], person_ratio: float) -> Floats:
    """P(each answered call under analysis needs an agent at each horizon), float64 (n, HORIZON_STEPS + 1)."""
    if not ages_s:
        return np.zeros((0, HORIZON_STEPS + 1))
    person = person_ratio * _rows(tables.person_pending, ages_s)
    other = (1.0 - person_ratio) * _rows(tables.other_pending, ages_s)
    need = person_ratio * _rows(tables.analysis_need, ages_s) / np.maximum(person + other, 1e-9)[:, None]
    # Older than any analysis seen: a verdict must be near; count it as a person at any moment.
    need[person + other < 1e-6] = person_ratio
    return np.minimum(need, 1.0)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything about the group that the prediction needs; rows of ``released`` and ``needs`` are agents and calls.

    ``ringing_rows`` of ``needs`` come first; they and fresh calls share the uncertain hit ratio.
    """

    spare_now: int
    released: Floats
    needs: Floats
    ringing_rows: int
    fresh: Floats
    arrival: Floats
    hit_relative_error: float


def outlook(
    snapshot: GroupSnapshot,
    tables: CallTables,
    talk: ResidualLife,
    wrap_up: ResidualLife,
    hit: tuple[float, float],
    person_ratio: float,
    patience: int,
    idle: int,
) -> Outlook:
    """Prediction inputs for ``snapshot`` with ``idle`` agents counted as free (fewer than are, under some goals)."""
    released = np.concatenate(
        [
            talk.released(snapshot.agents_talking_s),
            wrap_up.released(wrapped for _, wrapped in snapshot.agents_wrapping_s),
        ]
    )[:, patience : patience + HORIZON_STEPS + 1]
    ringing = needs_of_calls(tables, snapshot.attempts_age_s, hit[0], person_ratio)
    analysed = needs_of_analysed(tables, snapshot.analysing_age_s, person_ratio)
    return Outlook(
        spare_now=idle - snapshot.people_waiting,
        released=released,
        needs=np.concatenate([ringing, analysed]),
        ringing_rows=len(ringing),
        fresh=needs_of_calls(tables, (0.0,), hit[0], person_ratio)[0],
        arrival=tables.arrival,
        hit_relative_error=hit[1] / hit[0],
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """``launch`` calls keep to the risk; ``risk``: of the last one launched (0 if none), ``next_risk``: of one more.

    ``expected_people``/``expected_abandoned``: from all calls then under way, within the horizon.
    """

    launch: int
    risk: float
    next_risk: float
    expected_people: float
    expected_abandoned: float


class Prediction:
    """The distribution of D(u) for one :class:`Outlook` and any number of launches, computed as far as asked."""

    def __init__(self, view: Outlook) -> None:
        self._view = view
        exact = len(view.released) + len(view.needs) <= EXACT_TERMS
        self._shortage: _ExactShortage | _NormalShortage = _ExactShortage(view) if exact else _NormalShortage(view)
        self._block = 1 if exact else _BLOCK
        self._short: list[Floats] = []

    def short(self, launched: int) -> Floats:
        """P(D(u) <= -depth) after so many launches, float64 (DEEPEST + 1, HORIZON_STEPS + 1).

        Row 0 is what one more person at u would meet; row n is a shortage that leaves n people without an agent.
        """
        if launched > len(self._short) + _FAR:
            far: Floats = _NormalShortage(self._view).after(launched, 1)[0]
            return far
        while len(self._short) <= launched:
            self._short.extend(self._shortage.after(len(self._short), self._block))
        return self._short[launched]

    def risk(self, launched: int) -> float:
        """Risk of one more call after so many launches."""
        worst_later = np.maximum.accumulate(self.short(launched)[0, ::-1])[::-1]
        return float(worst_later @ self._view.arrival)

    def burst(self, launched: int, allowed: int) -> float:
        """P(more than ``allowed`` people will be left without an agent at some horizon); 0 beyond DEEPEST."""
        return float(self.short(launched)[allowed + 1].max()) if allowed < DEEPEST else 0.0

    def expected(self, launched: int) -> tuple[float, float]:
        """People whom all calls then under way will bring within the horizon, and how many of them find nobody."""
        needs = self._view.needs.sum(axis=0) + launched * self._view.fresh
        people = float(np.maximum(np.diff(needs, prepend=0.0), 0.0).sum())
        # The mean of a count is the sum of the probabilities of its being at least 1, 2, ...; the worst horizon
        # counts, because a shortage that has passed by then has already lost its people.
        abandoned = float(self.short(launched)[1:].sum(axis=0).max())
        return people, min(abandoned, people)

    def plan(self, theta: float, most: int, burst: float = 1.0, allowed: int = 0) -> Plan:
        """Largest number of launches up to ``most`` whose every single risk is at or under ``theta``.

        Moreover P(more than ``allowed`` people left without an agent) after each stays at or under ``burst``.
        """
        launched, risk, next_risk = 0, 0.0, self.risk(0)
        while launched < most and next_risk <= theta and self.burst(launched + 1, allowed) <= burst:
            launched, risk = launched + 1, next_risk
            next_risk = self.risk(launched)
        return Plan(launched, risk, next_risk, *self.expected(launched))


class _NormalShortage:
    """P(D(u) <= -depth) by the refined normal approximation."""

    _SKEW_SCALE = 1.0 / (6.0 * (2.0 * np.pi) ** 0.5)
    _depths = np.arange(DEEPEST + 1, dtype=np.float64)[None, :, None]

    def __init__(self, view: Outlook) -> None:
        released, needs, fresh = view.released, view.needs, view.fresh
        self._fresh = fresh
        self._mean = view.spare_now + released.sum(axis=0) - needs.sum(axis=0)
        released_spread = released * (1.0 - released)
        needs_spread = needs * (1.0 - needs)
        self._variance = released_spread.sum(axis=0) + needs_spread.sum(axis=0)
        self._third = (released_spread * (1.0 - 2.0 * released)).sum(axis=0) - (needs_spread * (1.0 - 2.0 * needs)).sum(
            axis=0
        )
        self._fresh_spread = fresh * (1.0 - fresh)
        self._fresh_third = self._fresh_spread * (1.0 - 2.0 * fresh)
        self._hit_error = view.hit_relative_error
        self._ringing = needs[: view.ringing_rows].sum(axis=0)

    def after(self, launched: int, block: int) -> Floats:
        """P(D(u) <= -depth), float64 (block, DEEPEST + 1, horizons), for ``launched`` and more launches."""
        count = np.arange(launched, launched + block, dtype=np.float64)[:, None]
        mean = self._mean - count * self._fresh
        from_hits = self._hit_error * (self._ringing + count * self._fresh)
        variance = self._variance + count * self._fresh_spread + from_hits**2 + 1e-6
        deviation = np.sqrt(variance)
        skewness = (self._third - count * self._fresh_third) / (deviation * variance)
        x = (0.5 - self._depths - mean[:, None, :]) / deviation[:, None, :]
        correction = skewness[:, None, :] * (1.0 - x * x) * np.exp(-0.5 * x * x) * self._SKEW_SCALE
        # Clipped because the correction overshoots where hardly anything is random any more.
        short: Floats = np.clip(ndtr(x) + np.clip(correction, -0.1, 0.1), 0.0, 1.0)
        return short


class _ExactShortage:
    """P(D(u) <= -depth) by convolution, mixed over three values of the hit ratio when it is still uncertain."""

    def __init__(self, view: Outlook) -> None:
        nodes = _QUADRATURE if view.hit_relative_error > 0.02 else ((0.0, 1.0),)
        scale = np.array([max(1.0 + node * view.hit_relative_error, 0.05) for node, _ in nodes])[:, None]
        self._weights = np.array([weight for _, weight in nodes])[:, None]
        self._fresh = np.minimum(view.fresh[None, :] * scale, 1.0)
        self._threshold = -view.spare_now
        pmf = np.ones((len(nodes), HORIZON_STEPS + 1, 1))
        for row in view.released:
            pmf = _with_term(pmf, np.broadcast_to(row, self._fresh.shape))
        for index, row in enumerate(view.needs):
            scaled = np.minimum(row * (scale if index < view.ringing_rows else np.ones_like(scale)), 1.0)
            pmf = _without_term(pmf, scaled)
            self._threshold += 1
        self._pmf = pmf
        self._launched = 0

    def after(self, launched: int, block: int) -> Floats:
        # D = spare_now - calls + X, with X counting released agents and calls that need none: D <= -depth is
        # X <= threshold - depth.
        rows = []
        for _ in range(block):
            padded = np.zeros((*self._pmf.shape[:2], self._pmf.shape[2] + 1))
            np.cumsum(self._pmf, axis=2, out=padded[:, :, 1:])
            upto = np.clip(self._threshold + 1 - np.arange(DEEPEST + 1), 0, self._pmf.shape[2])
            rows.append((padded[:, :, upto] * self._weights[:, :, None]).sum(axis=0).T)
            self._pmf = _without_term(self._pmf, self._fresh)
            self._threshold += 1
        self._launched += block
        short: Floats = np.clip(np.stack(rows), 0.0, 1.0)
        return short


def _with_term(pmf: Floats, success: Floats) -> Floats:
    """Distribution of the sum after one more Bernoulli term; pmf (nodes, horizons, k), success (nodes, horizons)."""
    grown = np.zeros((*pmf.shape[:2], pmf.shape[2] + 1))
    grown[:, :, :-1] = pmf * (1.0 - success)[:, :, None]
    grown[:, :, 1:] += pmf * success[:, :, None]
    return grown


def _without_term(pmf: Floats, failure: Floats) -> Floats:
    return _with_term(pmf, 1.0 - failure)


def poisson_binomial(probabilities: Floats) -> Floats:
    """Distribution of the number of successes of independent trials, float64 (n + 1,), by convolution."""
    pmf = np.ones((1, 1, 1))
    for probability in probabilities:
        pmf = _with_term(pmf, np.array([[float(probability)]]))
    distribution: Floats = pmf[0, 0]
    return distribution
