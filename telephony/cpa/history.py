"""The last second of audio of every channel, for the exact look at a burst that frame by frame cannot be had."""

from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.cpa.spectrum import FRAME_SAMPLES

HISTORY_FRAMES: Final = 48
"""0.96 s: long enough for two phase reversals of a modem's answer tone."""

Samples = npt.NDArray[np.float64]


class History:
    """A ring of frames per channel. Frames count from the start of the channel's analysis."""

    def __init__(self, n: int) -> None:
        self._ring = np.zeros((n, HISTORY_FRAMES, FRAME_SAMPLES), dtype=np.int16)
        self._end = np.zeros(n, dtype=np.int32)

    def reset(self, channel: int) -> None:
        self._ring[channel] = 0
        self._end[channel] = 0

    def append(self, rows: npt.NDArray[np.intp], frame: npt.NDArray[np.int32], pcm: npt.NDArray[np.generic]) -> None:
        """Frame number ``frame`` of each of ``rows``: (len(rows), 160) samples, full scale 32768."""
        if pcm.dtype != np.int16:
            pcm = np.clip(np.asarray(pcm, dtype=np.float32), -32768, 32767).astype(np.int16)
        self._ring[rows, frame % HISTORY_FRAMES] = pcm
        self._end[rows] = frame + 1

    def frames(self, channel: int, start: int, end: int) -> tuple[int, Samples]:
        """
        The audio of frames ``start`` (inclusive) to ``end`` (exclusive), as far as it is kept.

        Returns the first frame that there is, and its samples with those of the following frames (float64).
        """
        last = int(self._end[channel])
        start, end = max(start, last - HISTORY_FRAMES, 0), min(end, last)
        if end <= start:
            return start, np.zeros(0)
        kept = self._ring[channel, np.arange(start, end) % HISTORY_FRAMES]
        return start, kept.reshape(-1).astype(np.float64)
