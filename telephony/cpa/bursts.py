"""Frames become bursts: a tone that holds its frequency for some frames, with a beginning and an end.

State is arrays over channels; Python runs per channel only where a burst begins or ends.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.cpa.spectrum import SINGLE_TONE, ToneMeasure

FRAME_S: Final = 0.02
MIN_BURST_FRAMES: Final = 5
"""A burst is announced at its fifth frame: vowels are pure for three or four now and then; no tone is that short."""

GAP_FRAMES: Final = 5
"""A shorter hole does not end a burst: a lost packet spoils two or three windows; cadences pause 165 ms or more."""

STEADY_HZ: Final = 22.0
STEADY_RATIO: Final = 0.012
"""A single tone stays within this of its own mean; the first two SIT tones and the gliding voice do not."""

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Burst:
    """One tone burst. ``code`` as in `spectrum`; frames count from the start of analysis; ``end`` is exclusive."""

    code: int
    hz: float
    start: int
    end: int

    @property
    def duration_s(self) -> float:
        return (self.end - self.start) * FRAME_S


def is_resumed(before: Burst, burst: Burst) -> bool:
    """Whether two bursts are one tone that a lost packet, repeated out of phase, cut in two."""
    near = abs(before.hz - burst.hz) < STEADY_HZ
    return before.code == burst.code and near and burst.start - before.end <= GAP_FRAMES


class BurstTracker:
    """Burst state of ``n`` channels."""

    def __init__(self, n: int) -> None:
        self.code = np.zeros(n, dtype=np.int8)
        self._sum_hz = np.zeros(n, dtype=np.float32)
        self._count = np.zeros(n, dtype=np.int32)
        self._start = np.zeros(n, dtype=np.int32)
        self._last = np.zeros(n, dtype=np.int32)
        self._rival_frame = np.full(n, -9, dtype=np.int32)
        self._rival_hz = np.zeros(n, dtype=np.float32)

    def reset(self, channel: int) -> None:
        self.code[channel] = 0
        self._count[channel] = 0
        self._rival_frame[channel] = -9

    def current(self, channel: int) -> Burst | None:
        """The announced burst that still sounds."""
        if self.code[channel] == 0 or self._count[channel] < MIN_BURST_FRAMES:
            return None
        return self._burst(channel)

    def _burst(self, channel: int) -> Burst:
        count = max(int(self._count[channel]), 1)
        return Burst(
            int(self.code[channel]),
            float(self._sum_hz[channel]) / count,
            int(self._start[channel]),
            int(self._last[channel]) + 1,
        )

    def step(
        self, rows: Indices, frame: npt.NDArray[np.int32], measure: ToneMeasure
    ) -> tuple[list[tuple[int, Burst]], list[tuple[int, Burst]], npt.NDArray[np.bool_]]:
        """
        Take one frame of the channels ``rows`` (their frame numbers in ``frame``).

        Returns (ended, begun, sounding): (channel, burst) of each announced burst that ended, of each that reached
        its fifth frame, and per row whether an announced burst sounds now.
        """
        code, held = measure.code, self.code[rows]
        count = self._count[rows]
        mean = self._sum_hz[rows] / np.maximum(count, 1)
        same = (code > 0) & (code == held) & ((code != SINGLE_TONE) | _steady(measure.hz, mean))
        other = (code > 0) & ~same
        # An announced burst gives way to another tone only at its second frame: a lost packet makes odd single ones.
        again = other & (self._rival_frame[rows] == frame - 1) & _steady(measure.hz, self._rival_hz[rows])
        self._rival_frame[rows[other]] = frame[other]
        self._rival_hz[rows[other]] = measure.hz[other]
        fresh = other & (again | (held == 0) | (count < MIN_BURST_FRAMES))
        over = (held > 0) & ~same & (fresh | (frame - self._last[rows] > GAP_FRAMES))

        ended = [(int(c), self._burst(int(c))) for c in rows[over & (count >= MIN_BURST_FRAMES)]]
        cleared = rows[over & ~fresh]
        self.code[cleared] = 0
        self._count[cleared] = 0

        new, known = rows[fresh], 1 + again[fresh]
        self.code[new] = code[fresh]
        self._sum_hz[new] = measure.hz[fresh] * known
        self._count[new] = known
        self._start[new] = frame[fresh] - known + 1
        self._last[new] = frame[fresh]

        going = rows[same]
        self._sum_hz[going] += measure.hz[same]
        self._count[going] += 1
        self._last[going] = frame[same]
        begun = [(int(c), self._burst(int(c))) for c in going[self._count[going] == MIN_BURST_FRAMES]]
        sounding = (self.code[rows] > 0) & (self._count[rows] >= MIN_BURST_FRAMES)
        return ended, begun, sounding


def _steady(hz: npt.NDArray[np.float32], mean_hz: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(hz - mean_hz) < STEADY_HZ + STEADY_RATIO * mean_hz)
