"""Where speech is: level against an adaptive noise floor and the speaker's own peak, with hysteresis and hangover.

State is arrays over channels. A talk spurt begins after two active frames in a row (a click is one) and ends after
four quiet ones (stops in the middle of words last up to 80 ms); its times are those of the first and last active
frame.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FULL_SCALE: Final = 32768.0
QUIET_DBFS: Final = -80.0
START_FLOOR_DBFS: Final = (-70.0, -32.0)  # the first frame may be speech already, so it is not believed above this
MUTED_FLOOR_DBFS: Final = -45.0  # the same after half a second of digital silence: what then begins is rarely noise
MUTED_FRAMES: Final = 25
DIGITAL_SILENCE_DBFS: Final = -79.0
"""Lost packets and lines without comfort noise are digitally silent; that says nothing about the noise floor."""

FLOOR_FALL_RATIO: Final = 0.35
FLOOR_RISE_DB: Final = 0.06  # per frame, 3 dB/s: a vowel cannot lift it, a ventilator that starts does
PEAK_FALL_DB: Final = 0.03  # per frame
START_PEAK_DBFS: Final = -34.0
ABOVE_FLOOR_DB: Final = 9.0
BELOW_PEAK_DB: Final = 17.0
LOWEST_SPEECH_DBFS: Final = -46.0
HYSTERESIS_DB: Final = 3.0
ONSET_FRAMES: Final = 2
HANGOVER_FRAMES: Final = 4

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


def level_dbfs(frames: Floats) -> Floats:
    """RMS of each row of (n, samples) float32, its mean removed, in dB below a full-scale square wave."""
    power = np.maximum(np.einsum("ij,ij->i", frames, frames) / frames.shape[1] - np.square(frames.mean(axis=1)), 1e-2)
    level: Floats = np.maximum(10 * np.log10(power / FULL_SCALE**2), QUIET_DBFS).astype(np.float32)
    return level


@dataclass(frozen=True, slots=True)
class Spurt:
    """One talk spurt, in frames since the start of analysis; ``end`` is exclusive."""

    start: int
    end: int


class SpeechTracker:
    """Talk spurts of ``n`` channels."""

    def __init__(self, n: int) -> None:
        self.floor_dbfs = np.full(n, np.nan, dtype=np.float32)
        self.peak_dbfs = np.full(n, START_PEAK_DBFS, dtype=np.float32)
        self._muted = np.zeros(n, dtype=np.int32)
        self._talking = np.zeros(n, dtype=np.bool_)
        self._run = np.zeros(n, dtype=np.int32)
        self._quiet = np.zeros(n, dtype=np.int32)
        self._start = np.zeros(n, dtype=np.int32)
        self._previous = np.full(n, QUIET_DBFS, dtype=np.float32)

    def reset(self, channel: int) -> None:
        self.floor_dbfs[channel] = np.nan
        self._muted[channel] = 0
        self.peak_dbfs[channel] = START_PEAK_DBFS
        self._previous[channel] = QUIET_DBFS
        self.silence(channel)

    def floor(self, channel: int) -> float:
        """Noise floor in dBFS; QUIET_DBFS while nothing but digital silence was heard."""
        return float(np.nan_to_num(self.floor_dbfs[channel], nan=QUIET_DBFS))

    def silence(self, channel: int) -> None:
        """Forget the spurt under way: it was the beginning of a tone."""
        self._talking[channel] = False
        self._run[channel] = 0
        self._quiet[channel] = 0

    def start_of_spurt(self, channel: int) -> int | None:
        """First frame of the spurt under way, None when nobody talks."""
        return int(self._start[channel]) if self._talking[channel] else None

    def step(
        self, rows: Indices, frame: Frames, level: Floats, in_tone: Mask
    ) -> tuple[list[int], list[tuple[int, Spurt]]]:
        """
        Take one frame's levels (dBFS) of the channels ``rows``; rows ``in_tone`` are neither speech nor noise.

        Returns (channels that began to talk, (channel, spurt) of those that stopped).
        """
        floor = self.floor_dbfs[rows]
        muted = level < DIGITAL_SILENCE_DBFS
        highest = np.where(self._muted[rows] >= MUTED_FRAMES, MUTED_FLOOR_DBFS, START_FLOOR_DBFS[1])
        floor = np.where(np.isnan(floor) & ~muted, np.minimum(level, highest), floor)
        self._muted[rows] += muted
        fall = floor + FLOOR_FALL_RATIO * (level - floor)
        floor = np.where(in_tone | muted, floor, np.where(level < floor, fall, floor + FLOOR_RISE_DB))
        floor = np.maximum(floor, START_FLOOR_DBFS[0])  # NaN until the first sound
        self.floor_dbfs[rows] = floor

        steady = np.minimum(level, self._previous[rows])  # a click of one frame is no peak
        self._previous[rows] = level
        peak = np.maximum(self.peak_dbfs[rows] - PEAK_FALL_DB, START_PEAK_DBFS)
        peak = np.where(in_tone, peak, np.maximum(peak, steady))
        self.peak_dbfs[rows] = peak

        talking = self._talking[rows]
        threshold = np.maximum(
            np.maximum(np.nan_to_num(floor, nan=QUIET_DBFS) + ABOVE_FLOOR_DB, peak - BELOW_PEAK_DB), LOWEST_SPEECH_DBFS
        )
        active = (level > threshold - HYSTERESIS_DB * talking) & ~in_tone

        run = np.where(active, self._run[rows] + 1, 0)
        quiet = np.where(active, 0, self._quiet[rows] + 1)
        self._run[rows], self._quiet[rows] = run, quiet
        begins = ~talking & (run >= ONSET_FRAMES)
        stops = talking & (quiet >= HANGOVER_FRAMES)
        begun = rows[begins]
        self._start[begun] = frame[begins] - ONSET_FRAMES + 1
        stopped = rows[stops]
        ends = frame[stops] - HANGOVER_FRAMES + 1
        self._talking[begun] = True
        self._talking[stopped] = False
        spurts = [(int(c), Spurt(int(s), int(e))) for c, s, e in zip(stopped, self._start[stopped], ends, strict=True)]
        return [int(c) for c in begun], spurts
