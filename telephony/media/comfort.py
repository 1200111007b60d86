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

RISE_PER_FRAME: Final = 10 ** (1.0 / 10 / 50)
"""1 dB a second: the estimate climbs over a noise that grew, and hardly during a sentence."""

FALL_SHARE: Final = 0.25
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
        self._known = np.zeros(capacity, dtype=np.bool_)
        self._told = np.zeros(capacity, dtype=np.bool_)
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
        self._known[row] = self._told[row] = False
        self._shape.pop(row, None)

    def observe(self, rows: Indices, frames: Samples) -> None:
        """Real audio of these rows, (k, 160) int16: follow the floor."""
        voice = frames.astype(np.float32)
        power = np.einsum("ij,ij->i", voice, voice, dtype=np.float64) / FRAME_SAMPLES
        floor = np.where(self._known[rows], self.floor[rows] * RISE_PER_FRAME, power)
        floor = np.where(power < floor, floor + FALL_SHARE * (power - floor), floor)
        # Below the first step of the codecs there is nothing left to be heard.
        self.floor[rows] = np.where(power < 1.0, 0.0, np.minimum(np.maximum(floor, 1.0), LOUDEST_POWER))
        self._known[rows] = True
        if self._shape or self._told.any():
            self._told[rows] = False
            for row in [row for row in self._shape if row in rows]:
                del self._shape[row]

    def told(self, row: int, payload: bytes) -> None:
        """A comfort-noise packet of this row's far end."""
        description = parse_noise(payload)
        if description is None:
            return
        self.floor[row] = min(power_of_dbov(description.level_db), LOUDEST_POWER)
        self._known[row] = self._told[row] = True
        if description.reflection:
            self._shape[row] = prediction_filter(description.reflection), np.zeros(len(description.reflection))
        else:
            self._shape.pop(row, None)

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
