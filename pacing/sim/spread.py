"""Distributions of durations. Seconds."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Shape(Enum):
    """Family of a :class:`Spread`."""

    LOGNORMAL = "lognormal"
    PARETO = "pareto"
    GAMMA = "gamma"
    UNIFORM = "uniform"


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of seconds by mean and coefficient of variation (cv, standard deviation over mean).

    A Pareto law of cv c has the tail index 1 + sqrt(1 + 1 / c^2), just above 2 when c is large. A uniform one has a
    cv of at most 0.577, where it begins at 0.
    """

    mean_s: float
    cv: float
    shape: Shape = Shape.LOGNORMAL

    def draw(self, random: np.random.Generator, n: int) -> Floats:
        """``n`` independent durations, float64 (n,)."""
        if self.cv <= 0.0:
            return np.full(n, self.mean_s)
        if self.shape is Shape.PARETO:
            index = 1.0 + (1.0 + self.cv**-2) ** 0.5
            pareto: Floats = self.mean_s * (index - 1.0) / index * (1.0 + random.pareto(index, n))
            return pareto
        if self.shape is Shape.GAMMA:
            return random.gamma(self.cv**-2, self.mean_s * self.cv**2, n)
        if self.shape is Shape.UNIFORM:
            half_s = min(3.0**0.5 * self.cv, 1.0) * self.mean_s
            return random.uniform(self.mean_s - half_s, self.mean_s + half_s, n)
        variance = float(np.log1p(self.cv**2))
        return random.lognormal(np.log(self.mean_s) - variance / 2.0, variance**0.5, n)
