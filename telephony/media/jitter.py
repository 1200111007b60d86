"""Jitter buffers of all channels: reordering, adaptive delay, concealment, clock drift; arrays over channels.

Audio lies in a ring of 20 ms slots addressed by RTP timestamp, so lost, late, doubled and reordered packets need no
bookkeeping of their own, and packets of 10, 30 or 60 ms fit as well.

**Delay.** How much is wanted `playout_delay` learns from when packets come. Playing follows it where it is quiet: a
frame is folded into the next one, or one more is put in. The same rule follows the far end's clock, whose drift makes
the delay grow or shrink.

**Holes.** A slot with later ones behind it, or nothing at all while the far end talks, is concealed (`concealment`).
When nothing at all is buffered the read position waits, so a late burst is still played; when the next packet comes it
tells which: it goes on where we waited (late), or the slots between are lost, or the far end was silent on purpose
(DTX: fewer sequence numbers are missing than frames), which is no loss.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.media import concealment
from telephony.media.playout_delay import FRAME_S, PlayoutDelay

FRAME_SAMPLES: Final = 160
SLOTS: Final = 32  # 640 ms
CLOCK_HZ: Final = 8000

SPARE_S: Final = 0.025
"""More delay than wanted by so much may go; ticks are 20 ms apart, so up to that is always left over."""

SPARE_TICKS: Final = 25
QUIET_RATIO: Final = 0.1  # of the loudest of late
QUIET_PEAK: Final = 64  # -54 dBFS: nothing to be heard
PEAK_FALL: Final = 0.98  # per look, each 8 ticks: half in 5.5 s
FORCED_SPARE_S: Final = 0.06
FORCED_TICKS: Final = 100
LATE_LIMIT: Final = 8
"""So many late packets in a row mean that the sender moved its clock back, not that packets are late."""

FURTHEST_BACK: Final = 50
UNKNOWN: Final = 1 << 20  # frames lost, when nothing numbers them
HALF_SAMPLES: Final = FRAME_SAMPLES // 2
"""What packets are usually a multiple of: those of 10 to 60 ms are stored for all channels at once."""

FIRST_HALF: Final = 1
SECOND_HALF: Final = 2
WHOLE: Final = FIRST_HALF | SECOND_HALF
PIECES: Final = 4
_NEVER: Final = 99  # frames concealed when there is nothing to conceal from

Samples = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
_WRAP: Final = 1 << 32


class JitterBuffers:
    """
    Buffers of ``n`` channels. `put` a batch with at most one packet per channel, `take` once per 20 ms.

    Counters: ``lost`` frames that were not there in time, ``gaps`` frames that had to be concealed, ``late`` packets
    that came too late, ``holes`` runs of lost frames, ``cut`` frames folded away to shorten the delay, ``stretched``
    frames added to lengthen it.
    """

    def __init__(self, n: int) -> None:
        self._ring = np.zeros((n, SLOTS, FRAME_SAMPLES), dtype=np.int16)
        self._there = np.zeros((n, SLOTS), dtype=np.uint8)  # FIRST_HALF, SECOND_HALF, or PIECES
        self._partial: dict[tuple[int, int], Mask] = {}  # (channel, ring slot) with PIECES: samples that are there
        self._synced = np.zeros(n, dtype=np.bool_)
        self._playing = np.zeros(n, dtype=np.bool_)
        self._base = np.zeros(n, dtype=np.int64)  # RTP timestamp of position 0
        self._ssrc = np.full(n, -1, dtype=np.int64)
        self._seq = np.full(n, -1, dtype=np.int64)
        self._read = np.zeros(n, dtype=np.int64)  # next slot to play
        self._write_end = np.zeros(n, dtype=np.int64)  # one past the newest slot
        self._late_run = np.zeros(n, dtype=np.int32)
        self._late_now = np.zeros(n, dtype=np.bool_)
        self._waited = np.zeros(n, dtype=np.int64)  # ticks with nothing to play since it ran dry
        self._waiting_gaps = np.zeros(n, dtype=np.int64)  # of these, concealed ones
        self._pause = np.full((n, 2), -1, dtype=np.int64)  # slots that the far end left out on purpose

        self._ticks = 0
        self._delay = PlayoutDelay(n)
        self.target_s = self._delay.target_s
        self._spare_ticks = np.zeros(n, dtype=np.int32)
        self._peak = np.zeros(n, dtype=np.float32)

        self._past = np.zeros((n, 3, FRAME_SAMPLES), dtype=np.int16)  # frame of tick t at t % 3
        self._before_hole = np.zeros((n, concealment.HISTORY_SAMPLES), dtype=np.int16)
        self._period = np.full(n, concealment.SHORTEST_PERIOD, dtype=np.int64)
        self._concealed = np.full(n, _NEVER, dtype=np.int64)
        self.lost = np.zeros(n, dtype=np.int64)
        self.gaps = np.zeros(n, dtype=np.int64)
        self.late = np.zeros(n, dtype=np.int64)
        self.holes = np.zeros(n, dtype=np.int64)
        self.cut = np.zeros(n, dtype=np.int64)
        self.stretched = np.zeros(n, dtype=np.int64)

    # --- channels -----------------------------------------------------------------------------------------------

    def reset(self, channel: int) -> None:
        """Forget everything, counters too: the channel is a new one."""
        self.resync(channel)
        self._past[channel] = 0
        self._delay.reset(channel)
        self._peak[channel] = 0.0
        for counter in (self.lost, self.gaps, self.late, self.holes, self.cut, self.stretched):
            counter[channel] = 0

    def resync(self, channel: int) -> None:
        """The next packet starts a new stream (another source or another negotiated address)."""
        self._unsync(np.array([channel]))
        self._ssrc[channel] = -1

    def _unsync(self, rows: Indices) -> None:
        self._synced[rows] = False
        self._playing[rows] = False
        self._there[rows] = 0
        self._late_run[rows] = 0
        self._late_now[rows] = False
        self._waited[rows] = 0
        self._waiting_gaps[rows] = 0
        self._pause[rows] = -1
        self._concealed[rows] = _NEVER
        self._spare_ticks[rows] = 0
        self._delay.begin_streams(rows)
        self._seq[rows] = -1
        if self._partial:
            gone = set(rows.tolist())
            self._partial = {key: there for key, there in self._partial.items() if key[0] not in gone}

    def delay_s(self, channel: int) -> float:
        """How long after its earliest possible time the last frame of a channel was played; 0.0 while nothing is."""
        if not self._playing[channel]:
            return 0.0
        return float(self._delays(np.array([channel]))[0]) + FRAME_S

    def set_clock(self, now_s: float) -> None:
        """Tell the monotonic time of the `take` that follows. Without it, takes are 20 ms apart."""
        self._delay.set_clock(now_s)

    # --- in -----------------------------------------------------------------------------------------------------

    def put(
        self,
        rows: Indices,
        timestamp: Ints,
        ssrc: Ints,
        audio: Samples,
        seq: Ints | None = None,
        arrival_s: Floats | None = None,
    ) -> None:
        """
        Store one packet for each channel in ``rows`` (no channel twice), all of the same length.

        ``audio`` is (k, samples) int16, a multiple of 80 samples (10 ms) up to 960; ``timestamp``, ``ssrc``, ``seq``
        are the RTP fields; ``arrival_s`` monotonic, by default now. Without ``seq`` every hole counts as a loss.
        """
        size = audio.shape[1]
        slot, rest = self._place(rows, timestamp, ssrc, size, seq, arrival_s)
        if size == FRAME_SAMPLES:
            plain = (rest == 0) & self._admit(rows, slot)
            where, ring_slot = rows[plain], slot[plain] % SLOTS
            self._ring[where, ring_slot] = audio[plain]
            self._there[where, ring_slot] = WHOLE
            self._write_end[where] = np.maximum(self._write_end[where], slot[plain] + 1)
            others = rest != 0
        else:
            others = np.ones(len(rows), dtype=np.bool_)
        halves = others & (rest % HALF_SAMPLES == 0)
        if halves.any():
            self._put_halves(rows[halves], slot[halves] * 2 + rest[halves] // HALF_SAMPLES, audio[halves])
        for i in np.nonzero(others & ~halves)[0].tolist():
            self._put_pieces(int(rows[i]), int(slot[i]) * FRAME_SAMPLES + int(rest[i]), audio[i])

    def put_odd(
        self, channel: int, timestamp: int, ssrc: int, audio: Samples, seq: int = -1, arrival_s: float | None = None
    ) -> None:
        """Store one packet of any length (1..960 samples)."""
        row = np.array([channel])
        stamp, source = np.array([timestamp], dtype=np.int64), np.array([ssrc], dtype=np.int64)
        number = np.array([seq], dtype=np.int64) if seq >= 0 else None
        at_s = np.array([arrival_s]) if arrival_s is not None else None
        slot, rest = self._place(row, stamp, source, len(audio), number, at_s)
        self._put_pieces(channel, int(slot[0]) * FRAME_SAMPLES + int(rest[0]), audio)

    def note_other(self, channel: int, seq: int) -> None:
        """A packet without audio (an event, comfort noise) took this sequence number: no hole in the audio."""
        if (seq - int(self._seq[channel])) & 0xFFFF == 1:
            self._seq[channel] = seq

    def _position(self, rows: Indices, timestamp: Ints) -> Ints:
        """Samples since the base, the 32-bit wrap undone."""
        forward = (timestamp - self._base[rows]) % _WRAP
        expected = self._read[rows] * FRAME_SAMPLES
        # Nearest to the read position among all values that are equal modulo 2**32.
        return np.asarray(forward + np.round((expected - forward) / _WRAP).astype(np.int64) * _WRAP)

    def _place(
        self, rows: Indices, timestamp: Ints, ssrc: Ints, samples: int, seq: Ints | None, arrival_s: Floats | None
    ) -> tuple[Ints, Ints]:
        """Slot and offset within it of each packet, streams begun or resumed where needed."""
        at_s = arrival_s if arrival_s is not None else np.full(len(rows), self._delay.clock_s)
        lost = self._frames_lost(rows, samples, seq)
        dry = self._waited[rows] > 0
        if dry.any():
            self._resume(rows[dry], timestamp[dry], lost[dry], int(samples % FRAME_SAMPLES != 0))
        self._align(rows, timestamp, ssrc, samples)
        if seq is not None:
            ahead = (seq - self._seq[rows]) & 0xFFFF
            newer = (self._seq[rows] < 0) | (ahead < 0x8000)
            self._seq[rows[newer]] = seq[newer]
        slot, rest = np.divmod(self._position(rows, timestamp), FRAME_SAMPLES)
        begins = self._write_end[rows] + lost + int(samples % FRAME_SAMPLES != 0)
        paused = self._playing[rows] & (slot > begins)
        if paused.any():
            self._pause[rows[paused], 0] = begins[paused]
            self._pause[rows[paused], 1] = slot[paused]
        self._delay.measure(rows, slot, at_s)
        return slot, rest

    def _frames_lost(self, rows: Indices, samples: int, seq: Ints | None) -> Ints:
        """Frames between the newest packets and these that the far end sent, by the sequence numbers."""
        if seq is None:
            return np.full(len(rows), UNKNOWN)
        packets = (seq - self._seq[rows] - 1) & 0xFFFF
        known = (self._seq[rows] >= 0) & (packets < 0x8000)
        return np.where(known, -(-packets * samples // FRAME_SAMPLES), UNKNOWN)

    def _resume(self, rows: Indices, timestamp: Ints, lost: Ints, slack: int) -> None:
        """Packets of streams that had run dry: was it the network or a pause? See the module's head."""
        position = self._position(rows, timestamp)
        gap = position // FRAME_SAMPLES - self._read[rows]
        sane = (gap >= 0) & (gap < 1 << 24)
        paused = (gap > lost + slack) | ~sane
        where = rows[~paused]
        skipped = np.minimum(self._waited[where], gap[~paused])
        self.gaps[where] += self._waiting_gaps[where]
        self.lost[where] += skipped
        self.holes[where] += skipped > 0
        self._read[where] += skipped
        self._playing[where] = True  # it is late already
        self._write_end[where] = np.maximum(self._write_end[where], self._read[where])
        # A new talk spurt begins where its packet says, on the grid of its own timestamps.
        where = rows[paused & sane]
        known = np.minimum(lost[paused & sane], self._waited[where])
        self.gaps[where] += np.minimum(self._waiting_gaps[where], known)
        self.lost[where] += known
        self.holes[where] += known > 0
        rest = position[paused & sane] % FRAME_SAMPLES
        self._base[where] = (self._base[where] + rest) % _WRAP
        self._delay.move_streams(where, rest / CLOCK_HZ)
        self._read[where] += gap[paused & sane]
        self._write_end[where] = self._read[where]
        self._there[where] = 0
        self._pause[rows] = -1
        self._waited[rows] = 0
        self._waiting_gaps[rows] = 0

    def _align(self, rows: Indices, timestamp: Ints, ssrc: Ints, samples: int) -> None:
        """Start a stream afresh where it is new, changed its SSRC, or jumped out of the ring."""
        ahead = self._position(rows, timestamp) // FRAME_SAMPLES - self._read[rows]
        span = -(-samples // FRAME_SAMPLES)
        jumped = (ahead + span > SLOTS) | (ahead < -FURTHEST_BACK) | (self._late_run[rows] >= LATE_LIMIT)
        fresh = ~self._synced[rows] | (ssrc != self._ssrc[rows]) | jumped
        if fresh.any():
            where = rows[fresh]
            self._unsync(where)
            self._synced[where] = True
            self._ssrc[where] = ssrc[fresh]
            self._base[where] = timestamp[fresh]
            self._read[where] = 0
            self._write_end[where] = 0

    def _admit(self, rows: Indices, slot: Ints) -> Mask:
        """False (and counted) for packets whose time has passed. Before playout begins an overtaken packet may lead."""
        early = ~self._playing[rows] & (slot < self._read[rows]) & (self._write_end[rows] - slot <= SLOTS)
        early &= self._concealed[rows] == _NEVER
        self._read[rows[early]] = slot[early]
        late = slot < self._read[rows]
        self.late[rows[late]] += 1
        self._late_now[rows[late]] = True
        self._late_run[rows] = np.where(late, self._late_run[rows] + 1, 0)
        return np.asarray(~late)

    def _put_halves(self, rows: Indices, half: Ints, audio: Samples) -> None:
        """Store packets that begin at 10 ms step ``half`` of their streams."""
        admitted = self._admit(rows, (half + audio.shape[1] // HALF_SAMPLES - 1) // 2)
        rows, half, audio = rows[admitted], half[admitted], audio[admitted]
        for k in range(audio.shape[1] // HALF_SAMPLES):
            slot, second = np.divmod(half + k, 2)
            piece = audio[:, k * HALF_SAMPLES : (k + 1) * HALF_SAMPLES]
            in_time = slot >= self._read[rows]
            mixed = in_time & (self._there[rows, slot % SLOTS] == PIECES)
            for i in np.nonzero(mixed)[0].tolist():
                self._put_piece(int(rows[i]), int(slot[i]), int(second[i]) * HALF_SAMPLES, piece[i])
            plain = in_time & ~mixed
            where, at = rows[plain], slot[plain]
            self._ring.reshape(-1, SLOTS, 2, HALF_SAMPLES)[where, at % SLOTS, second[plain]] = piece[plain]
            self._there[where, at % SLOTS] |= np.where(second[plain] == 0, FIRST_HALF, SECOND_HALF).astype(np.uint8)
            self._write_end[where] = np.maximum(self._write_end[where], at + 1)

    def _put_pieces(self, channel: int, position: int, audio: Samples) -> None:
        row = np.array([channel])
        offset = 0
        while offset < len(audio):
            slot, begin = divmod(position + offset, FRAME_SAMPLES)
            size = min(FRAME_SAMPLES - begin, len(audio) - offset)
            if self._admit(row, np.array([slot]))[0]:
                self._put_piece(channel, slot, begin, audio[offset : offset + size])
            offset += size

    def _put_piece(self, channel: int, slot: int, begin: int, piece: Samples) -> None:
        ring_slot, end = slot % SLOTS, begin + len(piece)
        key = (channel, ring_slot)
        known = int(self._there[channel, ring_slot])
        if known != PIECES:
            self._partial[key] = np.zeros(FRAME_SAMPLES, dtype=np.bool_)
            self._partial[key][:HALF_SAMPLES] = known & FIRST_HALF
            self._partial[key][HALF_SAMPLES:] = known & SECOND_HALF
            self._there[channel, ring_slot] = PIECES
        there = self._partial[key]
        self._ring[channel, ring_slot, begin:end] = piece
        self._write_end[channel] = max(self._write_end[channel], slot + 1)
        there[begin:end] = True
        if there.all():
            self._there[channel, ring_slot] = WHOLE
            del self._partial[key]

    # --- out ----------------------------------------------------------------------------------------------------

    def _delays(self, rows: Indices) -> Floats:
        return self._delay.of(rows, self._read[rows])

    def take(self, rows: Indices) -> tuple[Samples, Mask]:
        """
        Play 20 ms from each channel in ``rows``.

        Returns ((k, 160) int16, (k,) bool): audio, concealed or silent where nothing is there, and whether the row is
        real audio.
        """
        self._ticks += 1
        self._delay.tick()
        buffered = self._write_end[rows] - self._read[rows]
        delay = self._delays(rows)
        starts = self._synced[rows] & ~self._playing[rows] & (buffered > 0) & (delay >= self.target_s[rows] - 1e-6)
        self._playing[rows[starts]] = True
        playing = self._playing[rows]

        slot = self._read[rows] % SLOTS
        stretch = self._stretches(rows, delay, playing & (buffered > 0))
        real = playing & (buffered > 0) & (self._there[rows, slot] > 0) & ~stretch
        missing = playing & (buffered > 0) & ~real & ~stretch
        on_purpose = missing & (self._pause[rows, 0] <= self._read[rows]) & (self._read[rows] < self._pause[rows, 1])
        dry = playing & (buffered <= 0)

        audio: Samples = np.where(real[:, None], self._ring[rows, slot], 0).astype(np.int16)
        for i in np.nonzero(real & (self._there[rows, slot] != WHOLE))[0].tolist():
            self._complete(int(rows[i]), int(slot[i]), audio[i])
        moves = real | missing
        self._there[rows[real], slot[real]] = 0
        self._read[rows[moves]] += 1
        self._playing[rows[dry]] = False
        self._waited[rows] += dry | (~playing & (self._waited[rows] > 0))
        hole = missing & ~on_purpose
        self.lost[rows[hole]] += 1
        self.gaps[rows[hole]] += 1
        self.holes[rows[hole & (self._concealed[rows] == 0)]] += 1
        self.stretched[rows[stretch]] += 1
        self._conceal(rows, audio, real, ~real & ~on_purpose)
        self._shorten(rows, audio, real, delay)
        self._look_at_levels(rows, audio)
        self._past[rows, self._ticks % 3] = audio
        self._delay.update(rows, self._ticks)
        return audio, real

    def _stretches(self, rows: Indices, delay: Floats, playing: Mask) -> Mask:
        """Where one more frame is put in before the next: a packet has just been late, or it is quiet anyway."""
        late = self._late_now[rows]
        self._late_now[rows] = False
        short = playing & (delay < self.target_s[rows] - 1e-6)
        if not short.any():
            return short
        at = np.nonzero(short)[0]
        where = rows[at]
        quiet = self._is_quiet(where, self._ring[where, self._read[where] % SLOTS])
        short[at] = late[at] | (quiet & (delay[at] < self.target_s[where] - FRAME_S / 2))
        return short

    def _is_quiet(self, rows: Indices, frames: Samples) -> Mask:
        loudest = np.abs(frames.astype(np.int32)).max(axis=1)
        return np.asarray(loudest <= np.maximum(QUIET_PEAK, QUIET_RATIO * self._peak[rows]))

    def _look_at_levels(self, rows: Indices, audio: Samples) -> None:
        at = np.nonzero(rows % 8 == self._ticks % 8)[0]
        where = rows[at]
        self._peak[where] = np.maximum(PEAK_FALL * self._peak[where], np.abs(audio[at].astype(np.int32)).max(axis=1))

    def _conceal(self, rows: Indices, audio: Samples, real: Mask, hole: Mask) -> None:
        filled = self._concealed[rows]
        going = hole & (filled < concealment.LONGEST_FRAMES)
        after = real & (filled > 0) & (filled <= concealment.LONGEST_FRAMES)
        at = np.nonzero(going | after)[0]
        if len(at):
            where = rows[at]
            new = where[filled[at] == 0]
            if len(new):
                order = [(self._ticks + k) % 3 for k in range(3)]  # oldest first
                self._before_hole[new] = self._past[new][:, order].reshape(len(new), -1)
                self._period[new] = concealment.find_periods(self._before_hole[new])
            sound = concealment.fill(self._before_hole[where], self._period[where], filled[at])
            goes = going[at]
            audio[at[goes]] = np.rint(sound[goes]).astype(np.int16)
            audio[at[~goes]] = concealment.blend_in(audio[at[~goes]], sound[~goes])
        self._waiting_gaps[rows] += (self._waited[rows] > 0) & hole
        self._concealed[rows] = np.where(real, 0, np.minimum(filled + 1, _NEVER))

    def _complete(self, channel: int, ring_slot: int, frame: Samples) -> None:
        """Fill what is missing within a frame of which some samples came: packets of 10 or 30 ms, one of them lost."""
        there = self._partial.pop((channel, ring_slot), None)
        if there is None or self._there[channel, ring_slot] != PIECES:  # then it is of a frame that lay here before
            there = np.zeros(FRAME_SAMPLES, dtype=np.bool_)
            there[:HALF_SAMPLES] = self._there[channel, ring_slot] & FIRST_HALF
            there[HALF_SAMPLES:] = self._there[channel, ring_slot] & SECOND_HALF
        first = int(there.argmin())
        order = [(self._ticks + k) % 3 for k in range(3)]
        before = np.concatenate([*self._past[channel][order], frame[:first]])[-concealment.HISTORY_SAMPLES :]
        history = before[None, :]
        sound = concealment.fill(history, concealment.find_periods(history), np.zeros(1, dtype=np.int64))[0]
        missing = np.nonzero(~there)[0]
        frame[missing] = np.rint(sound[missing - first]).astype(np.int16)

    def _shorten(self, rows: Indices, audio: Samples, real: Mask, delay: Floats) -> None:
        """Fold the next frame into this one where there is more delay than wanted for a while, and it is quiet."""
        spare = delay - self.target_s[rows]
        long = real & (spare > SPARE_S)
        self._spare_ticks[rows] = np.where(long, self._spare_ticks[rows] + 1, 0)
        at = np.nonzero(long & (self._spare_ticks[rows] >= SPARE_TICKS))[0]
        if not len(at):
            return
        where = rows[at]
        slot = self._read[where] % SLOTS
        there = (self._read[where] < self._write_end[where]) & (self._there[where, slot] == WHOLE)
        forced = (spare[at] > FORCED_SPARE_S) & (self._spare_ticks[where] >= FORCED_TICKS)
        following = self._ring[where, slot]
        quiet = self._is_quiet(where, audio[at]) & self._is_quiet(where, following)
        folds = there & (quiet | forced)
        chosen, where, slot = at[folds], where[folds], slot[folds]
        ramp = np.linspace(0.0, 1.0, FRAME_SAMPLES, dtype=np.float32)
        audio[chosen] = np.rint((1 - ramp) * audio[chosen] + ramp * following[folds]).astype(np.int16)
        self._there[where, slot] = 0
        self._read[where] += 1
        self.cut[where] += 1
        # The next one waits a little; a large surplus goes faster.
        self._spare_ticks[where] = np.where(spare[chosen] > FORCED_SPARE_S, SPARE_TICKS - 5, 0)
