"""Keys heard as tones (ITU-T Q.23, limits of Q.24), for far ends that negotiated no telephone events.

Windows of 25 ms every 10 ms, all channels in one matrix product. A window counts when one low and one high tone stand
out of their groups, neither much louder than the other, and together hold nearly all of its energy: speech is never
that pure for as long as a key (talk-off), and a key is never less so.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.media.dtmf import HIGH_HZ, KEYPAD, LOW_HZ, Key

HOP: Final = 80
WINDOW: Final = 200  # 25 ms: resolves 70 Hz, the smallest distance of two tones, and fits twice into 50 ms
LEAST_DBFS: Final = -36.0
"""Each tone; receivers must accept -25 dBm0 and need not below -29 (Q.24 annex A)."""

LOW_OVER_HIGH: Final = 10 ** (8 / 10)  # twist: lines weaken high tones
HIGH_OVER_LOW: Final = 10 ** (6 / 10)  # and telephones send them louder
PEAK_OVER_NEXT: Final = 10 ** (6 / 10)
TONE_SHARE: Final = 0.55
"""Of the window's energy in the two tones: G.711 noise takes under 1 %, a window at 20 dB SNR 2 %."""

MIN_HITS: Final = 3
"""40 ms of tone fill four windows by more than half, 23 ms at most two (Q.24: accept, reject)."""

MAX_MISSES: Final = 2
"""A break of up to 20 ms is none."""

DIGIT_OF: Final = np.array([list(keys) for keys in KEYPAD])

Samples = npt.NDArray[np.int16]
Indices = npt.NDArray[np.intp]


def _bank() -> npt.NDArray[np.float32]:
    t = np.arange(WINDOW) / 8000.0
    # A light taper: rectangular windows leak a loud low tone into the high group.
    taper = 0.7 - 0.3 * np.cos(2 * np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)
    angle = 2 * np.pi * np.outer(t, np.array(LOW_HZ + HIGH_HZ))
    return np.asarray(np.hstack([np.cos(angle), np.sin(angle)]) * taper[:, None], dtype=np.float32)


class InbandDetector:
    """
    Tone keys of ``capacity`` rows; `enable` those to listen to, then `step` with the frames of each tick.

    Memory of a row begins empty with `enable`.
    """

    def __init__(self, capacity: int) -> None:
        self._bank = _bank()
        taper_gain = float((self._bank[:, 0] ** 2 + self._bank[:, 8] ** 2).sum())  # sum of the taper's squares
        taper_sum = float(np.hypot(self._bank[:, 0], self._bank[:, 8]).sum())
        self._taper = np.hypot(self._bank[:, 0], self._bank[:, 8]).astype(np.float32)
        # |X|^2 of a sine of amplitude A is (A * sum(taper) / 2)^2, its windowed energy A^2 / 2 * sum(taper^2).
        self._to_share = 2 * taper_gain / taper_sum**2
        self._least = (32767 * 10 ** (LEAST_DBFS / 20) * taper_sum / 2) ** 2
        self._rows: Indices = np.empty(0, dtype=np.intp)
        self._past = np.zeros((capacity, WINDOW - HOP), dtype=np.float32)
        self._digit = np.full(capacity, -1, dtype=np.int8)
        self._hits = np.zeros(capacity, dtype=np.int32)
        self._misses = np.zeros(capacity, dtype=np.int32)

    @property
    def active(self) -> bool:
        """Whether any row listens."""
        return bool(len(self._rows))

    def enable(self, row: int, listening: bool) -> None:
        """Begin or stop to listen to a row."""
        rows = set(self._rows.tolist()) - {row}
        if listening:
            rows.add(row)
        self._rows = np.array(sorted(rows), dtype=np.intp)
        self._past[row] = 0
        self._digit[row], self._hits[row], self._misses[row] = -1, 0, 0

    def step(self, frames: Samples, now_s: float) -> list[tuple[int, Key]]:
        """``frames`` (capacity, 160) int16, heard in the 20 ms before ``now_s``. Returns (row, key let go)."""
        rows = self._rows
        if not len(rows):
            return []
        line = np.hstack([self._past[rows], frames[rows].astype(np.float32)])
        self._past[rows] = line[:, -(WINDOW - HOP) :]
        ended: list[tuple[int, Key]] = []
        for first, behind_s in ((0, 0.01), (HOP, 0.0)):
            ended += self._advance(rows, self._classify(line[:, first : first + WINDOW]), now_s - behind_s)
        return ended

    def _classify(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
        """Index into the keypad (row * 4 + column) of each window, -1 for none."""
        spectrum = windows @ self._bank
        power = spectrum[:, :8] ** 2 + spectrum[:, 8:] ** 2
        low, high = power[:, :4], power[:, 4:]
        each = np.arange(len(windows))
        low_at, high_at = low.argmax(axis=1), high.argmax(axis=1)
        low_peak, high_peak = low[each, low_at], high[each, high_at]
        low_next, high_next = np.partition(low, 2, axis=1)[:, 2], np.partition(high, 2, axis=1)[:, 2]
        tapered = windows * self._taper
        energy = np.einsum("ij,ij->i", tapered, tapered)
        good = (
            (np.minimum(low_peak, high_peak) > self._least)
            & (low_peak < high_peak * LOW_OVER_HIGH)
            & (high_peak < low_peak * HIGH_OVER_LOW)
            & (low_peak > low_next * PEAK_OVER_NEXT)
            & (high_peak > high_next * PEAK_OVER_NEXT)
            & ((low_peak + high_peak) * self._to_share > TONE_SHARE * energy)
        )
        return np.where(good, low_at * 4 + high_at, -1).astype(np.int8)

    def _advance(self, rows: Indices, heard: npt.NDArray[np.int8], now_s: float) -> list[tuple[int, Key]]:
        same = (heard >= 0) & (heard == self._digit[rows])
        self._hits[rows[same]] += 1 + self._misses[rows[same]]
        self._misses[rows[same]] = 0
        ended: list[tuple[int, Key]] = []
        for i in np.nonzero(~same & ((heard >= 0) | (self._digit[rows] >= 0)))[0].tolist():
            row = int(rows[i])
            self._misses[row] += 1
            if heard[i] < 0 and self._misses[row] <= MAX_MISSES:
                continue
            if self._hits[row] >= MIN_HITS:
                ended.append((row, self._key(row, now_s)))
            self._digit[row], self._hits[row], self._misses[row] = heard[i], int(heard[i] >= 0), 0
        return ended

    def _key(self, row: int, now_s: float) -> Key:
        digit = DIGIT_OF[self._digit[row] // 4, self._digit[row] % 4]
        # The first and the last window that count are about two thirds inside the tone.
        length_s = (int(self._hits[row]) * HOP + 0.3 * WINDOW) / 8000.0
        return Key(str(digit), round(1000 * length_s), now_s - (int(self._misses[row]) * HOP) / 8000.0 - length_s)
