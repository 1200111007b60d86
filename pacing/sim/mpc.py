"""Model-predictive launch control with one-step risk: the floor that the engine has to beat.

An independent implementation of the published outline, kept as it is while the engine moves on:

1. Hit ratio by launch cohort (:class:`pacing.sim.baselines.HitRatioByCohort`), forgetting histograms of the ages of
   answers and of other ends, the last 600 pairs of talk and wrap-up as residual-life tables by age.
2. For horizons u = 0..28 s, D(u) = agents free by u + patience minus people answering by u: a Poisson-binomial over
   single agents and single calls; exact up to 24 of them, otherwise normal with continuity correction and the variance
   that the uncertain hit ratio adds.
3. One more call starts while its risk, the sum over t of P(it answers at t | it answers) times the largest
   P(D(u) <= 0) over u >= t, is at or under theta; after every answered person
   log theta += 0.3 x (2.9 % - abandoned).
4. One to one until 30 outcomes of cohorts are in.

It knows nothing of analysis beyond the share of people, of hints, of inbound calls, of agents about to leave.
"""

from collections import deque

import numpy as np
from scipy.special import ndtr

from pacing.pacer import Outcome
from pacing.sim.baselines import Learner
from pacing.sim.spread import Floats
from pacing.types import GroupSnapshot

HORIZON = 28
AGE_BINS = 60
EXACT_TERMS = 24
PAIRS_KEPT = 600
KNOTS = 96
SET_POINT = 0.029
GAIN = 0.3
LOG_THETA_MIN, LOG_THETA_MAX = float(np.log(1e-4)), float(np.log(0.5))
_REBUILD_S = 20.0
_KEEP = 1.0 - 1.0 / 1500.0
_HORIZONS = np.arange(HORIZON + 1)


class ModelPredictive(Learner):
    """The floor; ``max_wait_s``: how long a person may wait, rounded to whole seconds."""

    def __init__(self, max_wait_s: float) -> None:
        super().__init__()
        self._patience = round(max_wait_s)
        self._answer_mass = _prior(8.0, 6.0)
        self._end_mass = _prior(3.0, 2.0) + _prior(28.0, 6.0)
        self._pairs: deque[tuple[float, float]] = deque(maxlen=PAIRS_KEPT)
        self._log_theta = float(np.log(SET_POINT))
        self._built_s = -np.inf
        self._known = 0
        self._talk = _Residual(np.zeros(0), np.zeros(0), self._patience)
        self._wrap = _Residual(np.zeros(0), np.zeros(0), self._patience)

    def answered(self, age_s: float) -> None:
        super().answered(age_s)
        _add(self._answer_mass, age_s)

    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None:
        super().ended(age_s, outcome, after_answer_s)
        if after_answer_s is None:
            _add(self._end_mass, age_s)

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        super().handled(talk_s, wrap_up_s)
        self._pairs.append((talk_s, wrap_up_s))
        self._known += 1

    def bridged(self, wait_s: float) -> None:
        self._learn(0.0)

    def abandoned(self) -> None:
        self._learn(1.0)

    def _learn(self, gone: float) -> None:
        theta = self._log_theta + GAIN * (SET_POINT - gone)
        self._log_theta = min(max(theta, LOG_THETA_MIN), LOG_THETA_MAX)

    def informed(self, snapshot: GroupSnapshot) -> float:
        self._rebuild(snapshot.now_s)
        answer = self._answer_mass / self._answer_mass.sum()
        cumulative = np.concatenate(([0.0], np.cumsum(answer)))
        calls, analysed = self._calls(snapshot, answer, cumulative)
        fresh = self.hits.ratio * self.person_ratio * cumulative[: HORIZON + 1]
        arrival = np.diff(cumulative[: HORIZON + 1], prepend=0.0)
        arrival /= max(float(arrival.sum()), 1e-9)
        agents = np.concatenate(
            (
                self._talk.rows(np.array(snapshot.agents_talking_s)),
                self._wrap.rows(np.array([wrapped_s for _, wrapped_s in snapshot.agents_wrapping_s])),
            )
        )
        spare = len(snapshot.agents_idle_s) - snapshot.people_waiting
        needs = np.concatenate((calls, np.full((analysed, HORIZON + 1), self.person_ratio)))
        shortage: _Exact | _Normal
        if len(agents) + len(needs) <= EXACT_TERMS:
            shortage = _Exact(spare, agents, needs, fresh)
        else:
            shortage = _Normal(
                spare, agents, needs, fresh, self.hits.relative_error * calls.sum(axis=0), self.hits.relative_error
            )
        theta = float(np.exp(self._log_theta))
        block, launched = 4, 0
        while True:
            short = shortage.after(launched, block)
            worst_later = np.maximum.accumulate(short[:, ::-1], axis=1)[:, ::-1]
            over = np.nonzero(worst_later @ arrival > theta)[0]
            if len(over):
                return launched + int(over[0])
            launched += block
            if launched >= min(snapshot.ports_free, snapshot.records_ready, snapshot.starts_allowed):
                return launched
            block *= 2

    def _calls(self, snapshot: GroupSnapshot, answer: Floats, cumulative: Floats) -> tuple[Floats, int]:
        """P(each ringing call has brought a person by u), float64 (n, HORIZON + 1), and the calls under analysis."""
        if not snapshot.attempts_age_s:
            return np.zeros((0, HORIZON + 1)), len(snapshot.analysing_age_s)
        ends = self._end_mass / self._end_mass.sum()
        age = np.minimum(np.array(snapshot.attempts_age_s).astype(np.int64), AGE_BINS - 1)
        hit = self.hits.ratio
        pending = hit * np.cumsum(answer[::-1])[::-1][age] + (1.0 - hit) * np.cumsum(ends[::-1])[::-1][age]
        by = np.minimum(age[:, None] + _HORIZONS, AGE_BINS)
        coming = cumulative[by] - cumulative[age][:, None]
        return np.minimum(hit * self.person_ratio * coming / np.maximum(pending, 1e-9)[:, None], 1.0), len(
            snapshot.analysing_age_s
        )

    def _rebuild(self, now_s: float) -> None:
        if self._known and now_s - self._built_s >= _REBUILD_S:
            self._built_s, self._known = now_s, 0
            pairs = np.array(self._pairs)
            self._talk = _Residual(pairs[:, 0], pairs[:, 1], self._patience)
            self._wrap = _Residual(pairs[:, 1], np.zeros(len(pairs)), self._patience)


class _Residual:
    """P(stage and rest are over by u + patience | the stage has lasted a) by knots of a, from pairs.

    One more pair with an exponential remainder stands for what nobody has seen yet.
    """

    def __init__(self, stage_s: Floats, rest_s: Floats, patience: int) -> None:
        horizons = np.arange(HORIZON + 1) + patience
        mean_s = float((stage_s + rest_s).sum() + 180.0) / (len(stage_s) + 1)
        prior = -np.expm1(-horizons / mean_s)
        if not len(stage_s):
            self._knots, self._table = np.zeros(1), prior[None, :]
            return
        picks = np.linspace(0, len(stage_s) - 1, min(KNOTS, len(stage_s))).astype(np.int64)
        self._knots = np.unique(np.concatenate(([0.0], np.sort(stage_s)[picks])))
        left_s = (stage_s + rest_s)[None, :] - self._knots[:, None]
        alive = stage_s[None, :] > self._knots[:, None]
        row, pair = np.nonzero(alive & (left_s <= horizons[-1]))
        bins = np.ceil(left_s[row, pair]).astype(np.int64)
        size = horizons[-1] + 1
        counted = np.bincount(row * size + bins, minlength=len(self._knots) * size).reshape(-1, size)
        over = np.cumsum(counted, axis=1)[:, patience:]
        self._table = (over + prior) / (alive.sum(axis=1)[:, None] + 1.0)

    def rows(self, ages_s: Floats) -> Floats:
        found: Floats = self._table[np.maximum(np.searchsorted(self._knots, ages_s, side="right") - 1, 0)]
        return found


class _Normal:
    """P(D(u) <= 0) after so many launches, by the normal law."""

    def __init__(
        self, spare: int, agents: Floats, needs: Floats, fresh: Floats, ringing: Floats, hit_error: float
    ) -> None:
        self._fresh, self._ringing, self._hit_error = fresh, ringing, hit_error
        self._mean = spare + agents.sum(axis=0) - needs.sum(axis=0)
        self._variance = (agents - agents * agents).sum(axis=0) + (needs - needs * needs).sum(axis=0)

    def after(self, launched: int, block: int) -> Floats:
        n = np.arange(launched, launched + block, dtype=np.float64)[:, None]
        variance = self._variance + n * (self._fresh - self._fresh**2)
        variance = variance + (self._hit_error * (self._ringing + n * self._fresh)) ** 2
        short: Floats = ndtr((0.5 - self._mean + n * self._fresh) / np.sqrt(variance + 1e-9))
        return short


class _Exact:
    """The same exactly: the distribution of a sum of independent events, by its discrete Fourier transform."""

    def __init__(self, spare: int, agents: Floats, needs: Floats, fresh: Floats) -> None:
        # S counts agents freed and calls that bring nobody; D <= 0 when S <= calls - spare.
        self._terms = np.concatenate((agents, 1.0 - needs))
        self._threshold = len(needs) - spare
        self._fresh = 1.0 - fresh

    def after(self, launched: int, block: int) -> Floats:
        size = len(self._terms) + launched + block + 1
        roots = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size) - 1.0
        product = np.prod(1.0 + self._terms[:, :, None] * roots, axis=0)
        fresh = 1.0 + self._fresh[:, None] * roots
        rows = []
        product = product * fresh**launched
        for number in range(launched, launched + block):
            upto = self._threshold + number
            if upto < 0:
                rows.append(np.zeros(HORIZON + 1))
            else:
                rows.append(np.fft.irfft(product, size, axis=1)[:, : upto + 1].sum(axis=1))
            product = product * fresh
        return np.clip(np.stack(rows), 0.0, 1.0)


def _prior(mean_s: float, spread_s: float) -> Floats:
    """Two calls' mass around a mean, float64 (AGE_BINS,)."""
    middle = np.arange(AGE_BINS) + 0.5
    mass = np.exp(-0.5 * ((middle - mean_s) / spread_s) ** 2)
    prior: Floats = 2.0 * mass / mass.sum()
    return prior


def _add(mass: Floats, age_s: float) -> None:
    mass *= _KEEP
    mass[min(int(age_s), AGE_BINS - 1)] += 1.0
