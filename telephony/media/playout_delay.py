"""How long each channel's audio waits before it is played: learnt from when packets come (arrays over channels).

The fastest packet of the last seconds defines when a slot could have been played at the earliest; how much later than
that other packets come is their excess. The wanted delay is the 98th percentile of the excess (a histogram that forgets
within about ten seconds), 20..200 ms. It grows at once when a packet comes later than it allows, and shrinks slowly.

A far end that stood still for a moment, or a path that has become longer, makes everything later from then on. That is
no jitter: waiting longer gains nothing. So the excess of packets is counted anew from the fastest one of the new path
as soon as it is known, and not remembered as if packets still came so late.

Times are those of this class's own clock, in seconds; a slot is 20 ms of a stream, counted from its beginning.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

FRAME_S: Final = 0.02

START_TARGET_S: Final = 0.03
"""Before anything is known of the path; played at ticks of 20 ms this is 30..50 ms."""

LEAST_TARGET_S: Final = 0.02
MOST_TARGET_S: Final = 0.2
EXCESS_BIN_S: Final = 0.01
EXCESS_BINS: Final = 24
EXCESS_FORGET: Final = 1 / 400  # per packet: half of what is known is of the last 5.5 s
EXCESS_SHARE: Final = 0.98
TARGET_FALL_S: Final = 0.002  # per update, each 16 ticks: 6 ms/s
TARGET_TICKS: Final = 16
LONGER_PATH_S: Final = 0.5
"""Packets that all come later than may ever be waited for, over so long a time, come by a longer path. A burst that the
network has held back comes within less."""

MOST_BIN: Final = int(MOST_TARGET_S / EXCESS_BIN_S)
WINDOW_TICKS: Final = 200
"""The fastest packet is that of the last 4..8 s: a clock that runs slow by 100 ppm is off by 0.8 ms in that time."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


class PlayoutDelay:
    """
    Of ``n`` channels.

    Attributes:
        clock_s: now; `tick` moves it on.
        target_s: (n,) float64, the delay wanted for each channel.
    """

    def __init__(self, n: int) -> None:
        self.clock_s = 0.0
        self.target_s = np.full(n, START_TARGET_S, dtype=np.float64)
        self._fastest = np.full((n, 2), np.inf, dtype=np.float64)  # this window, the last one
        self._excess = np.zeros((n, EXCESS_BINS), dtype=np.float32)
        self._beyond_since_s = np.full(n, np.inf, dtype=np.float64)  # all packets since came later than is waited for

    def reset(self, channel: int) -> None:
        """Forget the path too: the channel is a new one."""
        self._excess[channel] = 0.0
        self.target_s[channel] = START_TARGET_S

    def begin_streams(self, rows: Indices) -> None:
        """The next packets of these channels are the first of their streams."""
        self._fastest[rows] = np.inf
        self._beyond_since_s[rows] = np.inf

    def move_streams(self, rows: Indices, by_s: Floats) -> None:
        """Position 0 of these streams now lies ``by_s`` seconds later in them."""
        self._fastest[rows] += by_s[:, None]

    def set_clock(self, now_s: float) -> None:
        """Tell the monotonic time of the `tick` that follows. Without it, ticks are 20 ms apart."""
        ahead_s = now_s - self.clock_s - FRAME_S
        # Ticks come late now and then and the next is in time again: that is no delay of the path.
        self.clock_s += ahead_s if abs(ahead_s) > 0.1 else 0.05 * ahead_s

    def tick(self) -> None:
        """20 ms have passed."""
        self.clock_s += FRAME_S

    def measure(self, rows: Indices, slot: Ints, at_s: Floats) -> None:
        """How much later than the fastest did these come? Raises the wanted delay at once where it was too small."""
        transit = at_s - slot * FRAME_S
        self._fastest[rows, 0] = np.minimum(self._fastest[rows, 0], transit)
        excess = transit - self._fastest[rows].min(axis=1)
        since_s = np.where(excess > MOST_TARGET_S, np.minimum(self._beyond_since_s[rows], at_s), np.inf)
        self._beyond_since_s[rows] = since_s
        longer = at_s - since_s >= LONGER_PATH_S
        if longer.any():
            self._take_longer_path(rows[longer], transit[longer])
            excess[longer] = 0.0
        bins = np.minimum(excess / EXCESS_BIN_S, EXCESS_BINS - 1).astype(np.intp)
        self._excess[rows] *= 1 - EXCESS_FORGET
        self._excess[rows, bins] += EXCESS_FORGET
        needed = np.minimum(excess, MOST_TARGET_S)
        self.target_s[rows] = np.maximum(self.target_s[rows], needed)

    def _take_longer_path(self, rows: Indices, transit: Floats) -> None:
        """These streams' packets have become later for good; what was known of their jitter still holds."""
        self._fastest[rows] = transit[:, None]
        self._beyond_since_s[rows] = np.inf
        self._excess[rows, MOST_BIN:] = 0.0
        self.target_s[rows] = self._wanted_s(rows)

    def _forget_path(self, rows: Indices) -> None:
        """A window ends: where its fastest packet was slower than those before, all the excesses were smaller."""
        new, old = self._fastest[rows, 0], self._fastest[rows].min(axis=1)
        bins = np.zeros(len(rows), dtype=np.intp)
        known = np.isfinite(new)
        bins[known] = np.minimum((new[known] - old[known]) / EXCESS_BIN_S, EXCESS_BINS - 1)
        for by in np.unique(bins[bins > 0]).tolist():
            where = rows[bins == by]
            before = self._excess[where]
            after = np.zeros_like(before)
            after[:, : EXCESS_BINS - by] = before[:, by:]
            after[:, 0] += before[:, :by].sum(axis=1)
            self._excess[where] = after
            self.target_s[where] = np.maximum(self.target_s[where] - by * EXCESS_BIN_S, LEAST_TARGET_S)
        self._fastest[rows, 1] = new
        self._fastest[rows, 0] = np.inf

    def _wanted_s(self, rows: Indices) -> Floats:
        """The delay that what is known of these channels' packets asks for."""
        excess = self._excess[rows]
        known = excess.sum(axis=1)
        enough = np.cumsum(excess, axis=1) >= EXCESS_SHARE * known[:, None]
        wanted = np.clip((enough.argmax(axis=1) + 1) * EXCESS_BIN_S, LEAST_TARGET_S, MOST_TARGET_S)
        return np.asarray(np.where(known > 0, wanted, START_TARGET_S))

    def of(self, rows: Indices, slot: Ints) -> Floats:
        """How long after its earliest possible time each slot is, if it is played now."""
        return np.asarray(self.clock_s - self._fastest[rows].min(axis=1) - slot * FRAME_S)

    def update(self, rows: Indices, ticks: int) -> None:
        """Once per tick: let the wanted delays of a part of these channels follow what was measured."""
        if ticks % WINDOW_TICKS == 0:
            self._forget_path(rows)
        where = rows[rows % TARGET_TICKS == ticks % TARGET_TICKS]
        if len(where):
            wanted = self._wanted_s(where)
            self.target_s[where] = np.maximum(wanted, self.target_s[where] - TARGET_FALL_S)
