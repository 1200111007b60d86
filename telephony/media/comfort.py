"""Comfort noise: what a listener hears while nobody sends (RFC 3389), so that the line does not seem dead.

The level is the far end's own: told by its comfort-noise packets, else estimated from the quietest parts of what it
sent. A far end whose pauses are digital silence gets digital silence back.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from telephony.media.jitter import FRAME_SAMPLES

Samples = npt.NDArray[np.int16]
Indices = npt.NDArray[np.intp]
Power = npt.NDArray[np.float64]

LOUDEST_POWER: Final = (32768 * 10 ** (-40 / 20)) ** 2
"""-40 dBov. What is louder is no noise floor but somebody who talks without a pause, or a broken line."""

WINDOW_FRAMES: Final = 75
"""The floor is the quietest frame of the last one to two windows of 1.5 s: there is a pause in any such time of speech,
and a noise that grew is followed soon enough (minimum statistics: R. Martin, EUSIPCO 1994)."""

BIAS: Final = 1.3
"""The quietest of 75 frames of a steady noise lies about so much below its mean power."""

_TABLE: Final = 1 << 16
MAX_ORDER: Final = 12
"""Reflection coefficients used of one packet; more do not make noise sound any better."""


def power_of_dbov(level_db: float) -> float:
    """Mean square of int16 samples at ``level_db`` relative to a full-scale square wave (RFC 3389 section 3)."""
    return float((32768 * 10 ** (level_db / 20)) ** 2)


def power_of_dbfs(level_db: float) -> float:
    """Mean square of int16 samples at ``level_db`` relative to a full-scale sine."""
    return power_of_dbov(level_db) / 2


@dataclass(frozen=True, slots=True)
class NoiseDescription:
    """One comfort-noise payload. ``level_db`` (-127..0 dBov); ``reflection``: coefficients in (-1, 1), may be empty."""

    level_db: float
    reflection: tuple[float, ...]


def parse_noise(payload: bytes) -> NoiseDescription | None:
    """RFC 3389 section 3: level, then quantised reflection coefficients. None for an empty payload."""
    if not payload:
        return None
    # A code of 255 is reserved, and 0 would be -1.0, an unstable filter: both are kept inside the unit circle.
    reflection = tuple(max(-0.99, min(0.99, (code - 127) / 128)) for code in payload[1 : 1 + MAX_ORDER])
    return NoiseDescription(-float(payload[0] & 0x7F), reflection)


def prediction_filter(reflection: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """The all-pole filter's denominator of reflection coefficients (Levinson's step-up; stable while all are < 1)."""
    filt = np.array([1.0])
    for k in reflection:
        grown = np.append(filt, 0.0)
        filt = grown + k * grown[::-1]
    return filt


class ComfortNoise:
    """Noise floors of ``capacity`` far ends, and noise at such a level."""

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self.floor = np.zeros(capacity)
        """Mean square of what the far end sends in its pauses; 0: not known, or silent."""
        self._lowest = np.full((2, capacity), np.inf)  # of the window before, and of this one
        self._age = np.zeros(capacity, dtype=np.int64)
        self._shape: dict[int, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}
        white = np.clip(rng.standard_normal(_TABLE + FRAME_SAMPLES), -3.0, 3.0)
        # A room's noise falls towards high frequencies; white noise of the same power hisses.
        shaped = lfilter([1.0], [1.0, -0.5], white)
        self._table = np.asarray(shaped / np.sqrt(np.mean(shaped**2)), dtype=np.float32)
        self._white = np.asarray(white, dtype=np.float32)
        self._at = rng.integers(0, _TABLE, capacity)

    def reset(self, row: int) -> None:
        """The row is another channel now."""
        self.floor[row] = 0.0
        self._forget(row)

    def _forget(self, row: int) -> None:
        self._lowest[:, row] = np.inf
        self._age[row] = 0
        self._shape.pop(row, None)

    def observe(self, rows: Indices, frames: Samples) -> None:
        """Real audio of these rows, (k, 160) int16: follow the floor."""
        voice = frames.astype(np.float32)
        power = np.einsum("ij,ij->i", voice, voice, dtype=np.float64) / FRAME_SAMPLES
        before, now = self._lowest[:, rows]
        now = np.minimum(now, power)
        floor = np.minimum(np.minimum(before, now) * BIAS, LOUDEST_POWER)
        # Below the first step of the codecs there is nothing left to be heard.
        self.floor[rows] = np.where(floor < 1.0, 0.0, floor)
        self._age[rows] += 1
        full = self._age[rows] % WINDOW_FRAMES == 0
        self._lowest[:, rows] = np.where(full, now, before), np.where(full, np.inf, now)
        if self._shape:
            for row in [row for row in self._shape if row in rows]:
                del self._shape[row]

    def told(self, row: int, payload: bytes) -> None:
        """A comfort-noise packet of this row's far end."""
        description = parse_noise(payload)
        if description is None:
            return
        self._forget(row)
        self.floor[row] = min(power_of_dbov(description.level_db), LOUDEST_POWER)
        if description.reflection:
            self._shape[row] = prediction_filter(description.reflection), np.zeros(len(description.reflection))

    def of_far_end(self, rows: Indices) -> Samples:
        """20 ms of what these far ends' lines sound like while they send nothing, (k, 160) int16."""
        noise = self.at_power(rows, self.floor[rows])
        if self._shape:
            for i, row in enumerate(rows.tolist()):
                if row in self._shape:
                    noise[i] = self._shaped(row)
        return noise

    def at_power(self, rows: Indices, power: Power) -> Samples:
        """20 ms of noise with the mean square ``power`` for each of ``rows``, which keep their places in the table."""
        if not power.any():
            return np.zeros((len(rows), FRAME_SAMPLES), dtype=np.int16)
        return np.asarray(self._next(self._table, rows) * np.sqrt(power)[:, None]).astype(np.int16)

    def _next(self, table: npt.NDArray[np.float32], rows: Indices) -> npt.NDArray[np.float32]:
        at = self._at[rows]
        self._at[rows] = (at + FRAME_SAMPLES) % _TABLE
        return np.asarray(table[at[:, None] + np.arange(FRAME_SAMPLES)])

    def _shaped(self, row: int) -> Samples:
        filt, state = self._shape[row]
        noise, state = lfilter([1.0], filt, self._next(self._white, np.array([row], dtype=np.intp))[0], zi=state)
        self._shape[row] = filt, state
        # The filter's power gain follows from its reflection coefficients; scaling what came out needs no theory.
        rms = float(np.sqrt(np.mean(noise**2))) or 1.0
        return np.asarray(np.clip(noise * (np.sqrt(self.floor[row]) / rms), -32768, 32767)).astype(np.int16)
