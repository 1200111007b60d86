"""How long each channel's audio waits before it is played: learnt from when packets come (arrays over channels).

The fastest packet of the last seconds defines when a slot could have been played at the earliest; how much later than
that other packets come is their excess. The wanted delay is the 98th percentile of the excess (a histogram that forgets
within about ten seconds), 20..200 ms. It grows at once when a packet comes later than it allows, and shrinks slowly.
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

    def reset(self, channel: int) -> None:
        """Forget the path too: the channel is a new one."""
        self._excess[channel] = 0.0
        self.target_s[channel] = START_TARGET_S

    def begin_streams(self, rows: Indices) -> None:
        """The next packets of these channels are the first of their streams."""
        self._fastest[rows] = np.inf

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
        bins = np.minimum(excess / EXCESS_BIN_S, EXCESS_BINS - 1).astype(np.intp)
        self._excess[rows] *= 1 - EXCESS_FORGET
        self._excess[rows, bins] += EXCESS_FORGET
        needed = np.minimum(excess, MOST_TARGET_S)
        self.target_s[rows] = np.maximum(self.target_s[rows], needed)

    def of(self, rows: Indices, slot: Ints) -> Floats:
        """How long after its earliest possible time each slot is, if it is played now."""
        return np.asarray(self.clock_s - self._fastest[rows].min(axis=1) - slot * FRAME_S)

    def update(self, rows: Indices, ticks: int) -> None:
        """Once per tick: let the wanted delays of a part of these channels follow what was measured."""
        if ticks % WINDOW_TICKS == 0:
            self._fastest[rows, 1] = self._fastest[rows, 0]
            self._fastest[rows, 0] = np.inf
        where = rows[rows % TARGET_TICKS == ticks % TARGET_TICKS]
        if not len(where):
            return
        excess = self._excess[where]
        known = excess.sum(axis=1)
        enough = np.cumsum(excess, axis=1) >= EXCESS_SHARE * known[:, None]
        wanted = np.clip((enough.argmax(axis=1) + 1) * EXCESS_BIN_S, LEAST_TARGET_S, MOST_TARGET_S)
        falling = np.maximum(wanted, self.target_s[where] - TARGET_FALL_S)
        self.target_s[where] = np.where(
            known > 0, np.where(wanted > self.target_s[where], wanted, falling), START_TARGET_S
        )
