"""What is received of each far end's stream, after RFC 3550 appendix A: sequence, loss, duplicates, jitter.

Arrays over channels. `admit` decides which packets may be played: a packet of another SSRC, or one whose sequence
number or timestamp jumps, is believed only when the next one continues it (RFC 3550 A.1), so that a single damaged or
forged packet can neither cut off the stream nor drag its clock away.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.media.rtcp import Reception as Block

CLOCK_HZ: Final = 8000.0

LARGEST_STEP: Final = 50
"""Packets that may be missing at once without a second one to prove it: 1 s. RFC 3550 allows 3000, which lets one
damaged sequence number count as so many losses."""

LARGEST_MISORDER: Final = 100  # MAX_MISORDER of RFC 3550 A.1
LARGEST_DROPOUT: Final = 3000  # MAX_DROPOUT
LARGEST_JUMP_S: Final = 0.6
"""Change of transit time between two packets that is taken for the network's doing; more is another clock."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
_WRAP: Final = 1 << 32


class Reception:
    """Streams of ``n`` channels. Counters are of the whole channel, across changes of SSRC."""

    def __init__(self, n: int) -> None:
        self.ssrc = np.full(n, -1, dtype=np.int64)
        self.received = np.zeros(n, dtype=np.int64)
        self.duplicates = np.zeros(n, dtype=np.int64)
        self.jumps = np.zeros(n, dtype=np.int64)
        self.jitter_s = np.zeros(n, dtype=np.float64)
        self._expected_before = np.zeros(n, dtype=np.int64)  # of earlier streams of the channel
        self._received_before = np.zeros(n, dtype=np.int64)
        self._first = np.zeros(n, dtype=np.int64)
        self._highest = np.zeros(n, dtype=np.int64)  # extended by cycles
        self._seen = np.zeros(n, dtype=np.uint64)  # bit k: highest - k was received
        self._timestamp = np.zeros(n, dtype=np.int64)  # of the last audio packet
        self._arrived_s = np.full(n, np.nan, dtype=np.float64)
        self._doubt = np.full((n, 4), -1.0, dtype=np.float64)  # ssrc, seq, timestamp, arrival of one that jumped
        self._reported = np.zeros((n, 2), dtype=np.int64)  # expected and received at the last report

    def reset(self, row: int) -> None:
        """The channel is a new one."""
        self.resync(row)
        for counter in (self.received, self.duplicates, self.jumps, self._expected_before, self._received_before):
            counter[row] = 0
        self.jitter_s[row] = 0.0
        self._reported[row] = 0

    def resync(self, row: int) -> None:
        """The next packet begins a stream and is believed: another source, or another negotiated address."""
        self._end_stream(row)
        self.ssrc[row] = -1
        self._arrived_s[row] = np.nan
        self._doubt[row] = -1.0

    def _end_stream(self, row: int) -> None:
        if self.ssrc[row] >= 0:
            self._expected_before[row] += self._highest[row] - self._first[row] + 1
            self._received_before[row] = self.received[row]
            self._first[row], self._highest[row] = 0, -1

    def admit(self, rows: Indices, seq: Ints, timestamp: Ints, ssrc: Ints, audio: Mask, at_s: Floats) -> Mask:
        """
        Count packets, at most one for each channel in ``rows``, and tell which are to be played.

        ``audio``: its timestamp runs with the 8 kHz clock (a telephone event keeps the time it began). ``at_s``: when
        it arrived, monotonic seconds.
        """
        step = (seq - self._highest[rows]) & 0xFFFF
        timed = audio & ~np.isnan(self._arrived_s[rows])
        drift_s = self._drift_s(timestamp, self._timestamp[rows], at_s, self._arrived_s[rows])
        steady = ~timed | (np.abs(drift_s) < LARGEST_JUMP_S)
        forward = (step >= 1) & (step <= LARGEST_STEP)
        behind = (0x10000 - step) & 0xFFFF
        backward = behind <= LARGEST_MISORDER
        good = (ssrc == self.ssrc[rows]) & steady & (forward | backward)

        taken = good.copy()
        for i in np.nonzero(~good)[0].tolist():
            row = int(rows[i])
            believed = self._doubted(row, int(seq[i]), int(timestamp[i]), int(ssrc[i]), bool(audio[i]), float(at_s[i]))
            taken[i] = believed
            if not believed:
                self.jumps[row] += 1
        older = good & backward
        if older.any():
            # The bits tell doubled packets from overtaken ones; beyond 64 packets the jitter buffer finds them late.
            known = older & (behind < 64)
            bit = np.left_shift(np.uint64(1), np.where(known, behind, 0).astype(np.uint64))
            doubled = known & ((self._seen[rows] & bit) != 0)
            self.duplicates[rows[doubled]] += 1
            taken &= ~doubled
            self._seen[rows[known]] |= bit[known]
        ahead = good & forward
        where, by = rows[ahead], step[ahead]
        self._seen[where] = np.where(by < 64, np.left_shift(self._seen[where], np.minimum(by, 63).astype(np.uint64)), 0)
        self._seen[where] |= np.uint64(1)
        self._highest[where] += by
        self.received[rows[taken]] += 1

        clocked = taken & audio
        smooth = clocked & timed & good
        where = rows[smooth]
        self.jitter_s[where] += (np.abs(drift_s[smooth]) - self.jitter_s[where]) / 16
        where = rows[clocked]
        self._timestamp[where] = timestamp[clocked]
        self._arrived_s[where] = at_s[clocked]
        return np.asarray(taken)

    @staticmethod
    def _drift_s(timestamp: Ints, earlier: Ints, at_s: Floats, earlier_s: Floats) -> Floats:
        """How much longer the later packet was on its way (RFC 3550 6.4.1, D)."""
        samples = (timestamp - earlier) % _WRAP
        samples = np.where(samples >= _WRAP // 2, samples - _WRAP, samples)
        return np.asarray(at_s - earlier_s - samples / CLOCK_HZ)

    def _doubted(self, row: int, seq: int, timestamp: int, ssrc: int, audio: bool, at_s: float) -> bool:
        """Judge one packet that does not continue the stream; True when it begins or proves a new one."""
        if self.ssrc[row] < 0:
            self._begin(row, seq, ssrc)
            return True
        doubted_ssrc, doubted_seq, doubted_timestamp, doubted_at_s = self._doubt[row].tolist()
        self._doubt[row] = ssrc, seq, timestamp if audio else -1, at_s
        if doubted_ssrc != ssrc or (seq - int(doubted_seq)) & 0xFFFF != 1:
            return False
        if audio and doubted_timestamp >= 0:
            now, before = np.array([timestamp]), np.array([int(doubted_timestamp)])
            drift_s = self._drift_s(now, before, np.array([at_s]), np.array([doubted_at_s]))[0]
            if abs(drift_s) > LARGEST_JUMP_S:
                return False
        step = (seq - int(self._highest[row])) & 0xFFFF
        self._doubt[row] = -1.0
        if ssrc == self.ssrc[row] and 1 <= step <= LARGEST_DROPOUT:
            self._highest[row] += step  # a long outage: what was lost in it is lost
            self._seen[row] = 1
        elif ssrc == self.ssrc[row] and (0x10000 - step) & 0xFFFF <= LARGEST_MISORDER:
            pass  # the sequence goes on, only the sender's clock was set
        else:
            self._end_stream(row)
            self._begin(row, seq, ssrc)
        return True

    def _begin(self, row: int, seq: int, ssrc: int) -> None:
        self.ssrc[row] = ssrc
        self._first[row] = self._highest[row] = seq
        self._seen[row] = 1

    def ended(self, row: int, ssrc: int) -> None:
        """The far end said goodbye: another stream of it is believed at once."""
        if self.ssrc[row] == ssrc:
            self.resync(row)

    def expected(self, row: int) -> int:
        """Packets that the far end sent, as far as the sequence numbers tell."""
        now = self._highest[row] - self._first[row] + 1 if self.ssrc[row] >= 0 else 0
        return int(self._expected_before[row] + now)

    def loss_ratio(self, row: int) -> float:
        """Share of the packets that never came, 0..1."""
        expected = self.expected(row)
        return max(0.0, 1.0 - int(self.received[row]) / expected) if expected else 0.0

    def report(self, row: int, last_sr: int, since_last_sr_s: float) -> Block | None:
        """The reception report block of a channel (RFC 3550 6.4.1), and the beginning of its next interval."""
        if self.ssrc[row] < 0:
            return None
        expected, received = self.expected(row), int(self.received[row])
        expected_now, received_now = expected - int(self._reported[row, 0]), received - int(self._reported[row, 1])
        self._reported[row] = expected, received
        fraction = (expected_now - received_now) / expected_now if expected_now > 0 else 0.0
        # A report speaks of one SSRC (RFC 3550 6.4.1): what was lost of an earlier one is none of its sender's.
        lost_before = int(self._expected_before[row]) - int(self._received_before[row])
        return Block(
            int(self.ssrc[row]),
            max(0.0, fraction),
            expected - received - lost_before,
            int(self._highest[row]),
            int(self.jitter_s[row] * CLOCK_HZ),
            last_sr,
            since_last_sr_s,
        )
