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
approximation with continuity and skewness correction (Hong, Computational Statistics and Data Analysis 59, 2013),
from the first three moments. These are sums over single agents and calls, so agents and calls of one age bin are
counted together, and a decision costs the same for ten agents and for ten thousand. In both, not knowing the hit ratio
widens the distribution: early decisions are careful by themselves.

That one threshold on the risk of a single call is all the control there is has a reason: for exponential times the
best policy of the Markov decision process and the best threshold of this kind differ by 0.02 points of busy factor
(docs/pacing.md).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pacing.estimators import HORIZON_STEPS, STEP_S, Floats, ResidualLife
from pacing.exact import ExactShortage
from pacing.types import GroupSnapshot

EXACT_TERMS = 24
EXACT_SPARE = 8
"""With more agents free than this, launches are many and the normal law is enough."""
_SKEW_SCALE = 1.0 / (6.0 * (2.0 * np.pi) ** 0.5)
_DENSITY_SCALE = 1.0 / math.sqrt(2.0 * math.pi)
_ROOT_HALF = math.sqrt(0.5)
WALKED_ABOVE = 0.1
"""Expected people lost below which one estimate of them is as good as another."""
_HORIZONS = HORIZON_STEPS + 1

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CallTables:
    """What the estimates say about single calls; rows are age bins, columns horizons 0..HORIZON_STEPS.

    ``need`` (ages, horizons): P(a person answered and needs an agent at the horizon | a person answers), joint with
    not having answered before the age; ``coming`` (ages,): joint with answering and being found within the horizon.
    ``person_ahead``, ``other_ahead``, ``ending_ahead`` (ages,): P(age at the answer of a person, at that of a machine,
    at another ending is at least that). ``analysis_*``: the same from the answer on.
    ``arrival`` (horizons,): when a fresh call brings its person, given that it does within the horizon.
    """

    need: Floats
    coming: Floats
    person_ahead: Floats
    other_ahead: Floats
    ending_ahead: Floats
    analysis_need: Floats
    person_pending: Floats
    other_pending: Floats
    arrival: Floats


@dataclass(frozen=True, slots=True)
class ReleaseTables:
    """Residual lives with the moments of their Bernoulli variables, (knots, 3 x horizons), ``patience`` steps ahead."""

    life: ResidualLife
    patience: int
    moments: Floats


@dataclass(frozen=True, slots=True)
class HitEstimate:
    """``ratio``: share of launched calls that are answered; ``person_ratio``: share of people among the answers.

    ``relative_error``: standard error of their product over the product.
    """

    ratio: float
    person_ratio: float
    relative_error: float


def call_tables(
    person: Floats,
    other: Floats,
    ending: Floats,
    person_delay: Floats,
    other_delay: Floats,
    released_fresh: Floats,
    patience: int,
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
    coming = _by_age(person, arrived)
    increments = np.diff(coming[0], prepend=0.0)
    return CallTables(
        need=_by_age(person, after_answer),
        coming=coming[:, -1],
        person_ahead=_at_least(person),
        other_ahead=_at_least(other),
        ending_ahead=_at_least(ending),
        analysis_need=_by_age(person_delay, holds),
        person_pending=_at_least(person_delay),
        other_pending=_at_least(other_delay),
        arrival=increments / max(float(increments.sum()), 1e-9),
    )


def release_tables(life: ResidualLife, patience: int) -> ReleaseTables:
    """Tables of agents who are free ``patience`` steps after each horizon."""
    return ReleaseTables(life, patience, _moments(life.table[:, patience : patience + _HORIZONS]))


def _moments(chances: Floats) -> Floats:
    """Mean, variance and third central moment of Bernoulli variables, side by side: (rows, 3 x columns)."""
    spread = chances * (1.0 - chances)
    moments: Floats = np.concatenate([chances, spread, spread * (1.0 - 2.0 * chances)], axis=1)
    return moments


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


def _bins(ages_s: tuple[float, ...], last: int) -> tuple[Ints, Floats]:
    """For each age the bin at or below it and the share of the next one."""
    position = np.minimum(np.maximum(np.asarray(ages_s, dtype=np.float64) / STEP_S, 0.0), float(last))
    low = np.minimum(position.astype(np.int64), last - 1)
    return low, position - low


def _counts(low: Ints, share: Floats, size: int) -> Floats:
    """Ages as masses on the grid, each split between two neighbours, float64 (size,)."""
    both = np.bincount(np.concatenate([low, low + 1]), np.concatenate([1.0 - share, share]), size)
    return both.astype(np.float64, copy=False)  # without any age numpy counts in integers


def _rows(table: Floats, low: Ints, share: Floats) -> Floats:
    if table.ndim == 2:
        share = share[:, None]
    rows: Floats = table[low] * (1.0 - share) + table[low + 1] * share
    return rows


def _ringing_chances(tables: CallTables, hit: HitEstimate) -> tuple[Floats, Floats]:
    """By age of a ringing call: P(it needs an agent at each horizon), P(it brings a person within the horizon)."""
    people = hit.ratio * hit.person_ratio
    pending = (
        people * tables.person_ahead
        + (hit.ratio - people) * tables.other_ahead
        + (1.0 - hit.ratio) * tables.ending_ahead
    )
    factor = people / np.maximum(pending, 1e-9)
    return np.minimum(tables.need * factor[:, None], 1.0), np.minimum(tables.coming * factor, 1.0)


def single_calls(tables: CallTables, hit: HitEstimate, ages_s: tuple[float, ...]) -> tuple[Floats, Floats]:
    """For each ringing call of that age: P(it needs an agent) at each horizon, P(it brings a person within it)."""
    chances, coming = _ringing_chances(tables, hit)
    low, share = _bins(ages_s, len(chances) - 1)
    return _rows(chances, low, share), _rows(coming, low, share)


def _analysed_chances(tables: CallTables, person_ratio: float) -> Floats:
    """By seconds since the answer: P(a call under analysis needs an agent at each horizon)."""
    person = person_ratio * tables.person_pending
    pending = person + (1.0 - person_ratio) * tables.other_pending
    need = tables.analysis_need * (person_ratio / np.maximum(pending, 1e-9))[:, None]
    # Older than any analysis seen: a verdict must be near; count it as a person at any moment.
    need[pending < 1e-6] = person_ratio
    return np.minimum(need, 1.0)


def pending_answer_ratio(tables: CallTables, ages_s: tuple[float, ...], hit: HitEstimate) -> Floats:
    """P(a call that rings since each age will be answered), float64 (n,): the cure-model posterior."""
    answered, ended = ahead_by_age(tables, ages_s, hit.person_ratio)
    ratio: Floats = hit.ratio * answered / np.maximum(hit.ratio * answered + (1.0 - hit.ratio) * ended, 1e-9)
    return ratio


def ahead_by_age(tables: CallTables, ages_s: tuple[float, ...], person_ratio: float) -> tuple[Floats, Floats]:
    """For each age P(an answer comes that late | answered) and P(another ending comes that late | not answered)."""
    low, share = _bins(ages_s, len(tables.person_ahead) - 1)
    ahead = person_ratio * tables.person_ahead + (1.0 - person_ratio) * tables.other_ahead
    return _rows(ahead, low, share), _rows(tables.ending_ahead, low, share)


def announced(ready_in_s: tuple[float, ...], patience: int) -> Floats:
    """P(an agent who announced to be ready in so many seconds is free by each horizon), (n, horizons).

    People guess roughly: from four fifths of the announced time, to a fifth and two seconds more, at even chances.
    """
    if not ready_in_s:
        return np.zeros((0, _HORIZONS))
    horizons_s = (np.arange(_HORIZONS) + patience) * STEP_S
    after_s = np.asarray(ready_in_s, dtype=np.float64)[:, None]
    chances: Floats = np.clip((horizons_s[None, :] - 0.8 * after_s) / (0.4 * after_s + 2.0), 0.0, 1.0)
    return chances


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything about the group that the prediction needs.

    ``mean``, ``variance``, ``third`` (horizons,): moments of D(u) without further launches. ``ringing`` (horizons,):
    expected needs of calls that ring; they and fresh calls, each needing an agent with probability ``fresh``
    (horizons,), share the uncertain hit ratio. ``released`` and ``needs`` (n, horizons) are the single agents and calls
    when they are few, else None; of ``needs`` the first ``ringing_rows`` ring. ``free_by`` (horizons,): expected number
    of busy agents who come free by each horizon, patience included; ``freed``: by the last one, without.
    """

    spare_now: int
    mean: Floats
    variance: Floats
    third: Floats
    ringing: Floats
    fresh: Floats
    arrival: Floats
    free_by: Floats
    hit_relative_error: float
    fresh_people: float
    people: float
    freed: float
    released: Floats | None = None
    needs: Floats | None = None
    ringing_rows: int = 0


def outlook(
    snapshot: GroupSnapshot,
    tables: CallTables,
    talk: ReleaseTables,
    wrap_up: ReleaseTables,
    hit: HitEstimate,
    spare_now: int,
    *,
    exact: bool = True,
    hints: bool = True,
    release_relative_error: float = 0.0,
) -> Outlook:
    """Prediction inputs for ``snapshot`` with ``spare_now`` agents counted as free beyond the people who wait.

    ``exact``: whether single agents and calls are kept apart when they are few; ``hints``: whether announced times
    are believed (else those agents count as at the beginning of their wrap-up). ``release_relative_error``: of the
    expected number of agents who come free, from not knowing how long calls are handled.
    """
    n, patience = _HORIZONS, talk.patience
    ringing_chances, coming = _ringing_chances(tables, hit)
    wrapped_s = tuple(wrapped for _, wrapped in snapshot.agents_wrapping_s)
    hinted = snapshot.agents_ready_in_s
    if not hints:
        wrapped_s, hinted = (*wrapped_s, *(0.0 for _ in hinted)), ()
    agents = len(snapshot.agents_talking_s) + len(wrapped_s) + len(hinted)
    calls = len(snapshot.attempts_age_s) + len(snapshot.analysing_age_s)
    ring_low, ring_share = _bins(snapshot.attempts_age_s, len(ringing_chances) - 1)
    ring_counts = _counts(ring_low, ring_share, len(ringing_chances))
    analysed_chances = _analysed_chances(tables, hit.person_ratio) if snapshot.analysing_age_s else None
    if analysed_chances is not None:
        low, share = _bins(snapshot.analysing_age_s, len(analysed_chances) - 1)
        analysed_counts = _counts(low, share, len(analysed_chances))
        analysed_people = float(analysed_counts @ analysed_chances.max(axis=1))
    else:
        analysed_people = 0.0
    people = float(ring_counts @ coming) + analysed_people
    if exact and agents + calls <= EXACT_TERMS and spare_now <= EXACT_SPARE:
        released = np.concatenate(
            [
                talk.life.released(snapshot.agents_talking_s)[:, patience : patience + n],
                wrap_up.life.released(wrapped_s)[:, patience : patience + n],
                announced(hinted, patience),
            ]
        )
        needs = _rows(ringing_chances, ring_low, ring_share)
        if analysed_chances is not None:
            needs = np.concatenate([needs, _rows(analysed_chances, low, share)])
        of_released, of_needs = _moments(released).sum(axis=0), _moments(needs).sum(axis=0)
        of_ringing = needs[: len(ring_low)].sum(axis=0)
        rows: tuple[Floats | None, Floats | None] = (released, needs)
    else:
        of_released = talk.life.counts(snapshot.agents_talking_s) @ talk.moments
        of_released = of_released + wrap_up.life.counts(wrapped_s) @ wrap_up.moments
        if hinted:
            of_released = of_released + _moments(announced(hinted, patience)).sum(axis=0)
        of_needs = ring_counts @ _moments(ringing_chances)
        of_ringing = of_needs[:n]
        if analysed_chances is not None:
            of_needs = of_needs + analysed_counts @ _moments(analysed_chances)
        rows = (None, None)
    unsure = release_relative_error * of_released[:n]
    return Outlook(
        spare_now=spare_now,
        mean=spare_now + of_released[:n] - of_needs[:n],
        variance=of_released[n : 2 * n] + of_needs[n : 2 * n] + unsure * unsure,
        third=of_released[2 * n :] - of_needs[2 * n :],
        ringing=of_ringing,
        fresh=ringing_chances[0],
        arrival=tables.arrival,
        free_by=of_released[:n],
        hit_relative_error=hit.relative_error,
        fresh_people=float(coming[0]),
        people=people,
        freed=float(of_released[n - 1 - patience]) if n > patience else 0.0,
        released=rows[0],
        needs=rows[1],
        ringing_rows=len(ring_low),
    )


class Prediction:
    """The distribution of D(u) for one :class:`Outlook` and any number of launches, computed as far as asked."""

    def __init__(self, view: Outlook) -> None:
        self._view = view
        self._exact: ExactShortage | None = None
        if view.released is not None and view.needs is not None:
            self._exact = ExactShortage(
                view.spare_now, view.released, view.needs, view.ringing_rows, view.fresh, view.hit_relative_error
            )
        self._fresh_spread = view.fresh * (1.0 - view.fresh)
        self._fresh_third = self._fresh_spread * (1.0 - 2.0 * view.fresh)
        self._risks: dict[int, float] = {}

    def short(self, launched: int, depth: int = 0) -> Floats:
        """P(D(u) <= -depth) after so many launches, float64 (horizons,).

        Depth 0 is what one more person at u would meet; depth n is a shortage that leaves n people without an agent.
        """
        if self._exact is not None and launched <= ExactShortage.MOST:
            return self._exact.short(launched, depth)
        row: Floats = self._normal(np.array([float(launched)]), float(depth))[0]
        return row

    def risk(self, launched: int) -> float:
        """Risk of one more call after so many launches."""
        if (known := self._risks.get(launched)) is None:
            known = self._risks[launched] = float(_harm(self.short(launched)) @ self._view.arrival)
        return known

    def shortfall(self, launched: int, more_than: int) -> float:
        """P(more than so many people will be left without an agent at some horizon), the worst one counting."""
        return float(self.short(launched, more_than + 1).max())

    def expected(self, launched: int) -> tuple[float, float]:
        """People whom all calls then under way will bring within the horizon, and how many find nobody.

        People are lost at an instant by as much as the shortage E[(-D)+] grows, and by those to whom, in a shortage, an
        agent who comes free goes too late: one shortage after the other counts, not only the worst one. Where a crowd
        is short for long that is too many, because whoever is lost no longer needs an agent; see :meth:`_walked`.
        """
        view, n = self._view, float(launched)
        people, waiting = view.people + n * view.fresh_people, max(-view.spare_now, 0)
        short = self.short(launched, 1)
        too_late = np.diff(view.free_by) * (short[1:] + short[:-1]) / 2.0
        exact = self._exact is not None and launched <= ExactShortage.MOST
        if exact and self._exact is not None:
            missing = self._exact.missing(launched)
        else:
            mean, deviation, _ = (row[0] for row in self._law(np.array([n])))
            z = mean / deviation
            missing = np.maximum(deviation * (_DENSITY_SCALE * np.exp(-0.5 * z * z) - z * ndtr(-z)), 0.0)
        lost = float(missing[0] + np.maximum(np.diff(missing) + too_late, 0.0).sum())
        if not exact and lost > WALKED_ABOVE:
            lost = min(lost, self._walked(mean, deviation))
        return people, min(lost, people + waiting)

    def _walked(self, mean: Floats, deviation: Floats) -> float:
        """People lost when the agents to spare walk from horizon to horizon by independent normal steps.

        Below zero the walk is set back to zero, which is somebody lost; what is left is taken as normal again.
        """
        steps = np.diff(mean, prepend=0.0).tolist()
        squares = deviation * deviation
        spreads = np.maximum(np.diff(squares, prepend=0.0), 0.0).tolist()
        spare = spread = lost = 0.0
        sqrt, exp, erfc = math.sqrt, math.exp, math.erfc
        for step, more in zip(steps, spreads, strict=True):
            spare, spread = spare + step, spread + more
            if spare > 0.0 and spare * spare > 16.0 * spread:
                continue  # four standard deviations off
            root = sqrt(spread) + 1e-9
            z = spare / root
            density = root * exp(-0.5 * z * z) * _DENSITY_SCALE
            above = 0.5 * erfc(-z * _ROOT_HALF)
            missing = density - spare * (1.0 - above)
            left = spare + missing
            spread = max((spare * spare + spread) * above + spare * density - left * left, 0.0)
            spare, lost = left, lost + missing
        return lost

    def launches(self, theta: float, most: int) -> int:
        """Largest number of launches up to ``most`` whose every single risk is at or under ``theta``."""
        if most <= 0:
            return 0
        launched = 0
        if self._exact is not None:
            upto = min(most, ExactShortage.MOST)
            while launched < upto and self.risk(launched) <= theta:
                launched += 1
            if launched < upto or launched == most:
                return launched
        width, within = 4, launched
        while launched < most:  # in strides that grow: so does the risk with each launch
            ask = list(range(launched, min(launched + width, most), max(1, width // 16)))
            above = self._first_above(ask, theta)
            if above is not None:
                within = ask[above - 1] + 1 if above else within
                return self._first_between(within, ask[above], theta)
            within, launched = ask[-1] + 1, min(launched + width, most)
            width *= 4
        return self._first_between(within, most, theta)

    def _first_between(self, within: int, above: int, theta: float) -> int:
        """The first number of launches from ``within`` on after which one more has a risk above theta, or ``above``."""
        place = self._first_above(list(range(within, above)), theta) if above > within else None
        return above if place is None else within + place

    def _first_above(self, launched: list[int], theta: float) -> int | None:
        """Place of the first of these numbers of launches after which one more has a risk above theta."""
        risks = _harm(self._normal(np.array(launched, dtype=np.float64), 0.0)) @ self._view.arrival
        self._risks.update(zip(launched, risks.tolist(), strict=True))
        above = risks > theta
        return int(above.argmax()) if above.any() else None

    def _law(self, launched: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean, deviation and skewness of D(u) after each number of launches, (n, horizons) each."""
        view, count = self._view, launched[:, None]
        mean = view.mean - count * view.fresh
        from_hits = view.hit_relative_error * (view.ringing + count * view.fresh)
        variance = view.variance + count * self._fresh_spread + from_hits * from_hits + 1e-6
        deviation = np.sqrt(variance)
        return mean, deviation, (view.third - count * self._fresh_third) / (deviation * variance)

    def _normal(self, launched: Floats, depth: float) -> Floats:
        mean, deviation, skewness = self._law(launched)
        x = (0.5 - depth - mean) / deviation
        squared = x * x
        correction = skewness * (1.0 - squared) * np.exp(-0.5 * squared) * _SKEW_SCALE
        # Bounded because the correction overshoots where hardly anything is random any more.
        short: Floats = ndtr(x) + np.minimum(np.maximum(correction, -0.1), 0.1)
        return np.minimum(np.maximum(short, 0.0), 1.0)


def _harm(short: Floats) -> Floats:
    """The worst from each horizon on, along the last axis."""
    worst: Floats = np.maximum.accumulate(short[..., ::-1], axis=-1)[..., ::-1]
    return worst
