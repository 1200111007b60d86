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


SPREAD_HZ: Final = 6.0
CALM_SPREAD_HZ: Final = 2.5
CLEAN_PURITY: Final = 0.95
FILL_RATIO: Final = 0.6
"""A burst is announced when its frequency is calm, or scatters a little more but is very pure (a lost packet shifts two
windows), and when so many of its frames are tonal. Vowels and nasals glide and flicker; a tone stands within 1 Hz."""

Indices = npt.NDArray[np.intp]
Frames = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Burst:
    """
    One tone burst. ``code`` as in `spectrum`; frames count from the start of analysis; ``end`` is exclusive.

    ``purity`` (mean), ``spread_hz`` (standard deviation) and ``fill`` (share of pure frames) tell how tone-like it is.
    """

    code: int
    hz: float
    start: int
    end: int
    purity: float = 1.0
    spread_hz: float = 0.0
    fill: float = 1.0

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
        self._announced = np.zeros(n, dtype=np.bool_)
        self._count = np.zeros(n, dtype=np.int32)
        self._start = np.zeros(n, dtype=np.int32)
        self._last = np.zeros(n, dtype=np.int32)
        # Of the frames after the first, which is half filled and therefore off by some Hz.
        self._measured = np.zeros(n, dtype=np.int32)
        self._sum_hz = np.zeros(n)
        self._sum_hz2 = np.zeros(n)
        self._sum_purity = np.zeros(n)
        self._rival_frame = np.full(n, -9, dtype=np.int32)
        self._rival_hz = np.zeros(n, dtype=np.float32)

    def reset(self, channel: int) -> None:
        self._clear(np.array([channel]))
        self._rival_frame[channel] = -9

    def _clear(self, rows: Indices) -> None:
        self.code[rows] = 0
        self._count[rows] = 0
        self._announced[rows] = False

    def current(self, channel: int) -> Burst | None:
        """The announced burst that still sounds."""
        return self._burst(channel) if self._announced[channel] else None

    def _burst(self, channel: int) -> Burst:
        measured = max(int(self._measured[channel]), 1)
        mean_hz = float(self._sum_hz[channel]) / measured
        start, end = int(self._start[channel]), int(self._last[channel]) + 1
        return Burst(
            int(self.code[channel]),
            mean_hz,
            start,
            end,
            float(self._sum_purity[channel]) / measured,
            max(0.0, float(self._sum_hz2[channel]) / measured - mean_hz**2) ** 0.5,
            int(self._count[channel]) / (end - start),
        )

    def _worth_announcing(self, rows: Indices, frame: Frames) -> Mask:
        measured = np.maximum(self._measured[rows], 1)
        variance = self._sum_hz2[rows] / measured - np.square(self._sum_hz[rows] / measured)
        full = self._count[rows] >= FILL_RATIO * (frame - self._start[rows] + 1)
        ready = (self._count[rows] >= MIN_BURST_FRAMES) & ~self._announced[rows]
        pure = self._sum_purity[rows] / measured > CLEAN_PURITY
        calm = (variance < CALM_SPREAD_HZ**2) | (pure & (variance < SPREAD_HZ**2))
        return np.asarray(ready & full & calm)

    def step(
        self, rows: Indices, frame: Frames, measure: ToneMeasure
    ) -> tuple[list[tuple[int, Burst]], list[tuple[int, Burst]], Mask]:
        """
        Take one frame of the channels ``rows`` (their frame numbers in ``frame``).

        Returns (ended, begun, sounding): (channel, burst) of each announced burst that ended, of each that has just
        shown itself to be one, and per row whether an announced burst sounds now.
        """
        code, held = measure.code, self.code[rows]
        mean = self._sum_hz[rows] / np.maximum(self._measured[rows], 1)
        same = (code > 0) & (code == held) & ((code != SINGLE_TONE) | _steady(measure.hz, mean))
        other = (code > 0) & ~same
        # An announced burst gives way to another tone only at its second frame: a lost packet makes odd single ones.
        again = other & (self._rival_frame[rows] == frame - 1) & _steady(measure.hz, self._rival_hz[rows])
        self._rival_frame[rows[other]] = frame[other]
        self._rival_hz[rows[other]] = measure.hz[other]
        announced = self._announced[rows]
        fresh = other & (again | ~announced)
        over = (held > 0) & ~same & (fresh | (frame - self._last[rows] > GAP_FRAMES))

        ended = [(int(c), self._burst(int(c))) for c in rows[over & announced]]
        self._clear(rows[over])

        new, known = rows[fresh], 1 + again[fresh]
        self.code[new] = code[fresh]
        self._count[new] = known
        self._start[new] = frame[fresh] - known + 1
        self._last[new] = frame[fresh]
        self._measured[new] = 0
        self._measure(new, measure, fresh)

        going = rows[same]
        self._measured[going[self._count[going] == 1]] = 0
        self._count[going] += 1
        self._last[going] = frame[same]
        self._measure(going, measure, same)
        begun_rows = going[self._worth_announcing(going, frame[same])]
        self._announced[begun_rows] = True
        return ended, [(int(c), self._burst(int(c))) for c in begun_rows], self._announced[rows]

    def _measure(self, rows: Indices, measure: ToneMeasure, which: Mask) -> None:
        hz, purity = measure.hz[which].astype(np.float64), measure.purity[which].astype(np.float64)
        first = self._measured[rows] == 0
        self._sum_hz[rows] = np.where(first, 0.0, self._sum_hz[rows]) + hz
        self._sum_hz2[rows] = np.where(first, 0.0, self._sum_hz2[rows]) + hz**2
        self._sum_purity[rows] = np.where(first, 0.0, self._sum_purity[rows]) + purity
        self._measured[rows] += 1


def _steady(hz: npt.NDArray[np.float32], mean_hz: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(hz - mean_hz) < STEADY_HZ + STEADY_RATIO * mean_hz)
