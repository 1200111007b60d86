"""The distribution of the agents to spare in a small group, exactly: single agents and calls convolved one by one.

D(u) = agents to spare at horizon u (see :mod:`pacing.predictive`) is a Poisson-binomial variable: a sum of independent
Bernoulli variables of which each has a chance of its own.
"""

import numpy as np

from pacing.estimators import Floats

_QUADRATURE = ((-(3.0**0.5), 1.0 / 6.0), (0.0, 2.0 / 3.0), (3.0**0.5, 1.0 / 6.0))
"""Gauss-Hermite nodes (standard errors of the hit ratio) and weights: exact for moments up to the fifth."""
CERTAIN_ERROR = 0.06
"""Relative error of the hit ratio under which the exact distribution is not mixed over it."""


class ExactShortage:
    """P(D(u) <= -depth) by convolution, mixed over three values of the hit ratio when it is still uncertain.

    Args:
        spare_now: agents free now beyond the people who wait; below 0 when more people wait.
        released: P(free by each horizon) of each busy agent, float64 (agents, horizons).
        needs: P(needs an agent at each horizon) of each call, float64 (calls, horizons).
        ringing_rows: so many of the first calls ring; the others are under analysis.
        fresh: the same of a call launched now, float64 (horizons,).
        relative_error: standard error of the hit ratio, which ringing and fresh calls share, over the ratio.
    """

    MOST = 40
    """Launches that are followed one by one."""

    def __init__(
        self, spare_now: int, released: Floats, needs: Floats, ringing_rows: int, fresh: Floats, relative_error: float
    ) -> None:
        nodes = _QUADRATURE if relative_error > CERTAIN_ERROR else ((0.0, 1.0),)
        scale = np.array([max(1.0 + node * relative_error, 0.05) for node, _ in nodes])[:, None]
        self._weights = np.array([weight for _, weight in nodes])
        self._spared = 1.0 - np.minimum(fresh[None, :] * scale, 1.0)
        # X counts released agents and calls that need none: D = spare_now - calls + X.
        self._threshold = len(needs) - spare_now
        ones = np.ones_like(scale)
        terms = [np.broadcast_to(row, self._spared.shape) for row in released]
        for index, row in enumerate(needs):
            terms.append(1.0 - np.minimum(row * (scale if index < ringing_rows else ones), 1.0))
        pmf = np.zeros((len(terms) + 1, len(nodes), len(self._spared[0])))
        pmf[0] = 1.0
        for size, success in enumerate(terms, 1):
            _convolve(pmf, size, success)
        self._cumulative = [_cumulative(pmf, self._weights)]
        self._pmf = pmf

    def _upto(self, launched: int) -> Floats:
        """P(X <= x) with so many launches, (terms + 1, horizons)."""
        while len(self._cumulative) <= launched:
            grown = np.concatenate([self._pmf, np.zeros((1, *self._pmf.shape[1:]))])
            _convolve(grown, len(grown) - 1, self._spared)
            self._pmf = grown
            self._cumulative.append(_cumulative(grown, self._weights))
        return self._cumulative[launched]

    def short(self, launched: int, depth: int) -> Floats:
        upto = self._upto(launched)
        most = self._threshold + launched - depth  # D <= -depth is X <= most
        if most < 0:
            return np.zeros(len(self._spared[0]))
        row: Floats = upto[min(most, len(upto) - 1)]
        return row

    def missing(self, launched: int) -> Floats:
        """Expected people without an agent at each horizon: the mean of a count sums P(at least 1, 2, ...)."""
        upto = self._upto(launched)
        most = min(self._threshold + launched, len(upto))
        missing: Floats = upto[: max(most, 0)].sum(axis=0)
        if self._threshold + launched > len(upto):
            missing = missing + (self._threshold + launched - len(upto))
        return missing


def _convolve(pmf: Floats, size: int, success: Floats) -> None:
    """One more Bernoulli term, in place; pmf (values, nodes, horizons) is filled up to ``size`` - 1."""
    moved = pmf[:size] * success
    pmf[:size] -= moved
    pmf[1 : size + 1] += moved


def _cumulative(pmf: Floats, weights: Floats) -> Floats:
    mixed = np.tensordot(pmf, weights, axes=(1, 0)) if len(weights) > 1 else pmf[:, 0, :]
    cumulative: Floats = np.minimum(np.cumsum(mixed, axis=0), 1.0)
    return cumulative


def poisson_binomial(probabilities: Floats) -> Floats:
    """Distribution of the number of successes of independent trials, float64 (n + 1,), by convolution."""
    pmf = np.zeros((len(probabilities) + 1, 1, 1))
    pmf[0] = 1.0
    for size, probability in enumerate(probabilities, 1):
        _convolve(pmf, size, np.array([[float(probability)]]))
    distribution: Floats = pmf[:, 0, 0]
    return distribution
