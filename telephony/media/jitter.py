"""Jitter buffers of all channels: reordering, loss concealment, drift; arrays over channels.

Audio lies in a ring of 20 ms slots addressed by RTP timestamp, so lost, late, doubled and reordered packets need no
bookkeeping of their own, and packets of 10, 30 or 60 ms fit as well. Playout starts when the wanted delay is
buffered. A missing slot with later ones behind it is a loss: the last frame is repeated once (quieter), then silence.
When nothing at all is buffered the read position waits, so a late burst is still played; delay that stays too long
is cut by one frame a second.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

FRAME_SAMPLES: Final = 160
SLOTS: Final = 16  # 320 ms
DELAY_FRAMES: Final = 2
"""Playout begins when this much is there: 40 ms ride over the jitter of a wide-area path and of our own tick."""

TRIM_FRAMES: Final = 100  # every 2 s
SPARE_FRAMES: Final = 3  # as much always buffered over that time is delay nobody needs
LATE_LIMIT: Final = 8
"""So many late packets in a row mean that the sender moved its clock back, not that packets are late."""

CONCEAL_GAIN: Final = 0.7

Samples = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
_WRAP: Final = 1 << 32


class JitterBuffers:
    """Buffers of ``n`` channels. `put` a batch with at most one packet per channel, `take` once per 20 ms."""

    def __init__(self, n: int) -> None:
        self._ring = np.zeros((n, SLOTS, FRAME_SAMPLES), dtype=np.int16)
        self._filled = np.zeros((n, SLOTS), dtype=np.bool_)
        self._synced = np.zeros(n, dtype=np.bool_)
        self._playing = np.zeros(n, dtype=np.bool_)
        self._base = np.zeros(n, dtype=np.int64)  # RTP timestamp of position 0
        self._ssrc = np.full(n, -1, dtype=np.int64)
        self._read = np.zeros(n, dtype=np.int64)  # next slot to play
        self._write_end = np.zeros(n, dtype=np.int64)  # one past the newest slot
        self._late_run = np.zeros(n, dtype=np.int32)
        self._spare = np.full(n, SLOTS, dtype=np.int64)
        self._ticks = 0
        self._last = np.zeros((n, FRAME_SAMPLES), dtype=np.int16)
        self._concealed = np.zeros(n, dtype=np.int32)
        self.lost = np.zeros(n, dtype=np.int64)
        self.late = np.zeros(n, dtype=np.int64)

    def reset(self, channel: int) -> None:
        """Forget everything, counters too: the channel is a new one."""
        self._unsync(np.array([channel]))
        self._ssrc[channel] = -1
        self._last[channel] = 0
        self.lost[channel] = 0
        self.late[channel] = 0

    def resync(self, channel: int) -> None:
        """The next packet starts a new stream (another source or another negotiated address)."""
        self._unsync(np.array([channel]))
        self._ssrc[channel] = -1

    def _unsync(self, rows: Indices) -> None:
        self._synced[rows] = False
        self._playing[rows] = False
        self._filled[rows] = False
        self._late_run[rows] = 0
        self._concealed[rows] = 0
        self._spare[rows] = SLOTS

    def put(self, rows: Indices, timestamp: Ints, ssrc: Ints, audio: Samples) -> None:
        """
        Store one 20 ms packet for each channel in ``rows`` (no channel twice).

        ``audio`` is (k, 160) int16; ``timestamp`` and ``ssrc`` are the RTP fields.
        """
        self._align(rows, timestamp, ssrc, FRAME_SAMPLES)
        position = self._position(rows, timestamp)
        slot, rest = np.divmod(position, FRAME_SAMPLES)
        plain = (rest == 0) & self._admit(rows, slot)
        where = rows[plain]
        self._ring[where, slot[plain] % SLOTS] = audio[plain]
        self._filled[where, slot[plain] % SLOTS] = True
        self._write_end[where] = np.maximum(self._write_end[where], slot[plain] + 1)
        for i in np.nonzero(rest != 0)[0].tolist():
            self._put_pieces(int(rows[i]), int(position[i]), audio[i])

    def put_odd(self, channel: int, timestamp: int, ssrc: int, audio: Samples) -> None:
        """Store one packet of any length (1..960 samples)."""
        row = np.array([channel])
        stamp = np.array([timestamp], dtype=np.int64)
        self._align(row, stamp, np.array([ssrc], dtype=np.int64), len(audio))
        self._put_pieces(channel, int(self._position(row, stamp)[0]), audio)

    def _position(self, rows: Indices, timestamp: Ints) -> Ints:
        """Samples since the base, the 32-bit wrap undone."""
        forward = (timestamp - self._base[rows]) % _WRAP
        expected = self._read[rows] * FRAME_SAMPLES
        # Nearest to the read position among all values that are equal modulo 2**32.
        return np.asarray(forward + np.round((expected - forward) / _WRAP).astype(np.int64) * _WRAP)

    def _align(self, rows: Indices, timestamp: Ints, ssrc: Ints, samples: int) -> None:
        """Start a stream afresh where it is new, changed its SSRC, or jumped out of the ring."""
        ahead = self._position(rows, timestamp) // FRAME_SAMPLES - self._read[rows]
        span = -(-samples // FRAME_SAMPLES)
        jumped = (ahead + span > SLOTS) | (ahead < -50) | (self._late_run[rows] >= LATE_LIMIT)
        fresh = ~self._synced[rows] | (ssrc != self._ssrc[rows]) | jumped
        if fresh.any():
            where = rows[fresh]
            self._unsync(where)
            self._synced[where] = True
            self._ssrc[where] = ssrc[fresh]
            # Some slots of room below the first packet: the one before it may have been overtaken.
            self._base[where] = timestamp[fresh]
            self._read[where] = 0
            self._write_end[where] = 0

    def _admit(self, rows: Indices, slot: Ints) -> Mask:
        """False (and counted) for packets whose time has passed. Before playout begins an overtaken packet may lead."""
        early = ~self._playing[rows] & (slot < self._read[rows]) & (self._write_end[rows] - slot <= SLOTS)
        self._read[rows[early]] = slot[early]
        late = slot < self._read[rows]
        self.late[rows[late]] += 1
        self._late_run[rows] = np.where(late, self._late_run[rows] + 1, 0)
        return np.asarray(~late)

    def _put_pieces(self, channel: int, position: int, audio: Samples) -> None:
        row = np.array([channel])
        offset = 0
        while offset < len(audio):
            slot, begin = divmod(position + offset, FRAME_SAMPLES)
            size = min(FRAME_SAMPLES - begin, len(audio) - offset)
            if self._admit(row, np.array([slot]))[0]:
                ring_slot = slot % SLOTS
                if not self._filled[channel, ring_slot]:
                    self._ring[channel, ring_slot] = 0
                self._ring[channel, ring_slot, begin : begin + size] = audio[offset : offset + size]
                self._filled[channel, ring_slot] = True
                self._write_end[channel] = max(self._write_end[channel], slot + 1)
            offset += size

    def take(self, rows: Indices) -> tuple[Samples, Mask]:
        """
        Play 20 ms from each channel in ``rows``.

        Returns ((k, 160) int16, (k,) bool): audio, concealed or silent where nothing is there, and whether the row is
        real audio.
        """
        self._ticks += 1
        buffered = self._write_end[rows] - self._read[rows]
        starts = self._synced[rows] & ~self._playing[rows] & (buffered >= DELAY_FRAMES)
        self._playing[rows[starts]] = True
        playing = self._playing[rows]

        slot = self._read[rows] % SLOTS
        real = playing & (buffered > 0) & self._filled[rows, slot]
        missing = playing & (buffered > 0) & ~real
        self._filled[rows[real], slot[real]] = False
        self._read[rows[real | missing]] += 1
        self.lost[rows[missing]] += 1

        audio = np.where(real[:, None], self._ring[rows, slot], 0)
        repeat = ~real & (self._concealed[rows] == 0) & playing
        if repeat.any():
            audio[repeat] = (self._last[rows[repeat]] * CONCEAL_GAIN).astype(np.int16)
        self._last[rows[real]] = audio[real]
        self._concealed[rows] = np.where(real, 0, self._concealed[rows] + 1)
        self._trim(rows, np.where(playing, buffered, 0))
        return audio, real

    def _trim(self, rows: Indices, buffered: Ints) -> None:
        self._spare[rows] = np.minimum(self._spare[rows], buffered)
        if self._ticks % TRIM_FRAMES:
            return
        slow = rows[self._spare[rows] > SPARE_FRAMES]
        self._filled[slow, self._read[slow] % SLOTS] = False
        self._read[slow] += 1
        self._spare[rows] = SLOTS
