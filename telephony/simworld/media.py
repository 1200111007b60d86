"""RTP with real G.711 for hundreds of calls in one thread, all legs together in numpy at every 20 ms tick.

Each leg has its own socket pair, as real far ends do. A tick reads what has come (one `epoll` call finds the sockets
that hold packets), decodes it as one matrix, and notes per leg how loud it was; once a second of audio is in, the
identifying tone in it is decoded (`idtone`). Then it mixes each leg's sound, tone and line noise as one matrix,
encodes it and sends it. Plain socket calls are enough: 120 legs with speech, tone and noise both ways cost 11 % of a
core, so recvmmsg through ctypes (which pays where one socket holds many packets) would buy nothing here.
"""

import errno
import math
import select
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from telephony.simworld import g711, idtone
from telephony.simworld.g711 import FRAME_SAMPLES, I16, PCMA, PCMU
from telephony.simworld.sipmsg import Address
from telephony.simworld.sound import Sound

TICK_S: Final = 0.02
HEADER_BYTES: Final = 12
PACKET_BYTES: Final = HEADER_BYTES + FRAME_SAMPLES
ROW_BYTES: Final = 512
"""Room for one received packet; longer ones are counted as dropped."""

LOUD_DBFS: Final = -45.0
"""A frame above this is sound, not line noise: speech and tones here leave at -12 to -24 dBFS, noise below -55."""
ONSET_FRAMES: Final = 5
"""100 ms of sound without a gap begin an utterance; clicks are shorter."""
WINDOW_FRAMES: Final = idtone.WINDOW_SAMPLES // FRAME_SAMPLES
MIN_TAIL_FRAMES: Final = 20
"""At the end of a call a last window of at least 0.4 s is decoded too."""

LOSS_BURST: Final = 1.6
"""Mean length of a run of lost packets: losses of real networks come in small bursts."""

MAX_CATCH_UP_TICKS: Final = 5
"""After a stall of the process at most this many ticks are sent at once; older ones are skipped, as a gap."""

MOST_PAUSES: Final = 100
"""Noted of a leg. Who hears a tone all the time has none; speech pauses between its words."""

_PORT_TRIES: Final = 200
_SILENT_FRAME: Final = np.zeros(FRAME_SAMPLES, np.int16)


class MediaError(Exception):
    """No port or no room for another leg."""


@dataclass(slots=True, eq=False)
class MediaLeg:
    """One RTP stream each way. Made by `MediaEngine.open_leg`; ``slot`` is its row in the engine's arrays."""

    slot: int
    port: int
    rtp: socket.socket = field(repr=False)
    rtcp: socket.socket = field(repr=False)
    remote: Address | None = None
    payload_type: int = PCMU
    sending: bool = False
    code: int | None = None
    """The identifying tone that it hums; None for none."""
    sound: Sound | None = None
    position: int = 0
    heard_codes: Counter[int] = field(default_factory=Counter)
    """Windows of a second (the last may be shorter) in which each code was heard."""
    pauses: list[tuple[float, int]] = field(default_factory=list)
    """Sound that came back: when, and after how many frames that were quiet or lost; the first `MOST_PAUSES`."""
    packets_out: int = 0
    packets_lost: int = 0
    """Never sent, see `MediaEngine.open_leg`."""
    held: bytes = field(default=b"", repr=False)
    """A packet that is late."""
    send_errors: int = 0

    def play(self, sound: Sound | None) -> None:
        """Start a sound from its beginning; None for silence."""
        self.sound, self.position = sound, 0

    @property
    def playing(self) -> bool:
        """False once the sound has ended (one that repeats never does)."""
        return self.sound is not None

    def next_frame(self) -> I16:
        """The next 20 ms of the sound; (160,) int16."""
        if self.sound is None:
            return _SILENT_FRAME
        if self.position >= len(self.sound.frames):
            if self.sound.loop_from is None or not len(self.sound.frames):
                self.sound = None
                return _SILENT_FRAME
            self.position = self.sound.loop_from
        frame: I16 = self.sound.frames[self.position]
        self.position += 1
        return frame


def _transmit(leg: MediaLeg, packet: bytes | memoryview) -> None:
    assert leg.remote is not None
    try:
        leg.rtp.sendto(packet, leg.remote)
    except OSError as error:
        # The far end has closed its port (an ICMP error of an earlier packet), or a full buffer: lost as on any
        # network. Anything else would be a bug of ours and must show.
        if error.errno not in (errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS, errno.ENETUNREACH):
            raise
        leg.send_errors += 1
    leg.packets_out += 1


@dataclass(frozen=True, slots=True)
class Heard:
    """
    What a leg has received so far. Times are the engine's clock, None: not yet. ``loud_s`` in seconds; ``pauses``: see
    `MediaLeg`.
    """

    packets: int
    lost: int
    last_packet_s: float | None
    first_loud_s: float | None
    last_loud_s: float | None
    loud_s: float
    pauses: tuple[tuple[float, int], ...] = ()


class MediaEngine:
    """
    All legs of this process. `tick` does the work of one 20 ms step; the caller keeps the pace.

    ``host`` is a local IPv4 address. Not thread-safe: one task owns it.
    """

    def __init__(self, host: str, max_legs: int = 1024, seed: int = 1) -> None:
        self.host = host
        self.max_legs = max_legs
        self.dropped: Counter[str] = Counter()
        self.ticks = 0
        self._epoll = select.epoll()
        self._legs: dict[int, MediaLeg] = {}
        self._by_fd: dict[int, MediaLeg] = {}
        self._free = list(range(max_legs - 1, -1, -1))
        rng = np.random.default_rng(seed)
        self._noise = rng.standard_normal((256, FRAME_SAMPLES)).astype(np.float32)
        self._noise_gain = np.zeros(max_legs, np.float32)
        self._rng = rng
        self._gain = np.ones(max_legs, np.float32)
        self._loss_begins = np.zeros(max_legs)
        self._losing = np.zeros(max_legs, bool)
        self._late = np.zeros(max_legs)
        self._seq = rng.integers(0, 65536, max_legs, dtype=np.int64)
        self._timestamp = rng.integers(0, 2**32, max_legs, dtype=np.int64)
        self._ssrc = rng.integers(1, 2**32, max_legs, dtype=np.int64)
        self._marker = np.zeros(max_legs, bool)
        self._packets = np.zeros(max_legs, np.int64)
        self._lost = np.zeros(max_legs, np.int64)
        self._last_seq = np.full(max_legs, -1, np.int64)
        self._last_packet_s = np.full(max_legs, math.nan)
        self._first_loud_s = np.full(max_legs, math.nan)
        self._last_loud_s = np.full(max_legs, math.nan)
        self._loud_run = np.zeros(max_legs, np.int64)
        self._loud_frames = np.zeros(max_legs, np.int64)
        self._quiet_run = np.zeros(max_legs, np.int64)
        self._window = np.zeros((max_legs, WINDOW_FRAMES, FRAME_SAMPLES), np.int16)
        self._window_fill = np.zeros(max_legs, np.int64)
        self._window_loud = np.zeros(max_legs, np.int64)
        self._rows = np.zeros((max_legs, ROW_BYTES), np.uint8)
        self._row_views = [memoryview(self._rows[i]) for i in range(max_legs)]
        self._tones: dict[int, I16] = {}

    # --- legs ------------------------------------------------------------------------------------------------

    @property
    def legs(self) -> int:
        return len(self._legs)

    def open_leg(
        self, noise_dbfs: float = -65.0, level_db: float = 0.0, loss_ratio: float = 0.0, late_ratio: float = 0.0
    ) -> MediaLeg:
        """
        Bind an RTP and RTCP socket pair on an even port of the system's choice. Raises MediaError.

        ``level_db`` is added to whatever the leg plays (not to the identifying tone, by which its audio is proved);
        ``loss_ratio`` of its packets are never sent, `LOSS_BURST` in a row on average; ``late_ratio`` go out 20 ms
        late, together with the next.
        """
        if not self._free:
            raise MediaError(f"all {self.max_legs} legs are in use")
        rtp, rtcp = self._bind_pair()
        slot = self._free.pop()
        leg = MediaLeg(slot, rtp.getsockname()[1], rtp, rtcp)
        self._legs[slot] = leg
        self._by_fd[rtp.fileno()] = leg
        self._epoll.register(rtp.fileno(), select.EPOLLIN)
        self._noise_gain[slot] = 10 ** (noise_dbfs / 20) * 32767 / math.sqrt(2)
        self._gain[slot] = 10 ** (level_db / 20)
        self._loss_begins[slot] = loss_ratio / (LOSS_BURST * max(1e-9, 1.0 - loss_ratio))
        self._losing[slot] = False
        self._late[slot] = late_ratio
        self._marker[slot] = True
        self._packets[slot] = self._lost[slot] = self._loud_frames[slot] = self._loud_run[slot] = 0
        self._window_fill[slot] = self._window_loud[slot] = self._quiet_run[slot] = 0
        self._last_seq[slot] = -1
        self._last_packet_s[slot] = self._first_loud_s[slot] = self._last_loud_s[slot] = math.nan
        self._ssrc[slot] = (self._ssrc[slot] + 1) % 2**32
        return leg

    def close_leg(self, leg: MediaLeg) -> None:
        """Decode what is left of the last window, then close; harmless when closed already."""
        if self._legs.get(leg.slot) is not leg:
            return
        if self._window_fill[leg.slot] >= MIN_TAIL_FRAMES:
            self._decode_window(leg)
        del self._legs[leg.slot], self._by_fd[leg.rtp.fileno()]
        self._epoll.unregister(leg.rtp.fileno())
        leg.rtp.close()
        leg.rtcp.close()
        leg.sending = False
        self._free.insert(0, leg.slot)  # the slot freed longest ago is used next

    def close(self) -> None:
        for leg in list(self._legs.values()):
            self.close_leg(leg)
        self._epoll.close()

    def heard(self, leg: MediaLeg) -> Heard:
        """What this leg has received; valid until it is closed and for as long as its slot is not used again."""
        i = leg.slot
        times = (self._last_packet_s[i], self._first_loud_s[i], self._last_loud_s[i])
        last_packet_s, first_loud_s, last_loud_s = (None if math.isnan(t) else float(t) for t in times)
        loud_s = int(self._loud_frames[i]) * TICK_S
        packets, lost, pauses = int(self._packets[i]), int(self._lost[i]), tuple(leg.pauses)
        return Heard(packets, lost, last_packet_s, first_loud_s, last_loud_s, loud_s, pauses)

    def loud_s(self) -> tuple[list[float], list[float]]:
        """``first_loud_s`` and ``last_loud_s`` of `heard`, of all legs by ``slot``; not a number: not yet."""
        return self._first_loud_s.tolist(), self._last_loud_s.tolist()

    def listen_anew(self, leg: MediaLeg) -> None:
        """Forget what was loud so far: ``first_loud_s`` is then the first sound after this moment."""
        i = leg.slot
        self._first_loud_s[i] = self._last_loud_s[i] = math.nan
        self._loud_frames[i] = self._loud_run[i] = self._quiet_run[i] = 0
        leg.pauses.clear()

    def _bind_pair(self) -> tuple[socket.socket, socket.socket]:
        for _ in range(_PORT_TRIES):
            rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                rtp.bind((self.host, 0))
                port = rtp.getsockname()[1]
                if port % 2 == 0:
                    rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                    try:
                        # Nobody reads it: bound so that the peer's RTCP is not answered with ICMP errors.
                        rtcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                        rtcp.bind((self.host, port + 1))
                    except OSError:
                        rtcp.close()
                    else:
                        return rtp, rtcp
            except OSError as error:
                rtp.close()
                raise MediaError(f"no RTP port on {self.host}: {error}") from error
            rtp.close()
        raise MediaError(f"no even port with a free odd neighbour on {self.host}")

    # --- the tick --------------------------------------------------------------------------------------------

    def receive(self, now_s: float) -> None:
        """Read and digest everything that has arrived."""
        if not self._by_fd:
            return
        # Sockets with several packets come back in the next round; the bound keeps a flood from holding the tick.
        for _ in range(8):
            ready = self._epoll.poll(0, self.max_legs)
            if not ready:
                return
            self._digest(*self._read([self._by_fd[fd] for fd, _ in ready]), now_s)

    def _read(self, legs: list[MediaLeg]) -> tuple[list[MediaLeg], list[int]]:
        """One packet from each leg into consecutive rows; the legs and lengths of those that are RTP by size."""
        kept: list[MediaLeg] = []
        lengths: list[int] = []
        row = 0
        for leg in legs:
            try:
                length = leg.rtp.recv_into(self._row_views[row])
            except OSError:
                self.dropped["receive_error"] += 1  # an ICMP error of an earlier send, mostly
                continue
            if length < HEADER_BYTES or length == ROW_BYTES:
                self.dropped["bad_length"] += 1
                continue
            kept.append(leg)
            lengths.append(length)
            row += 1
        return kept, lengths

    def _digest(self, legs: list[MediaLeg], lengths: list[int], now_s: float) -> None:
        if not legs:
            return
        rows = self._rows[: len(legs)]
        slots = np.array([leg.slot for leg in legs], np.int64)
        payload_types = rows[:, 1] & 0x7F
        version_good = rows[:, 0] >> 6 == 2
        audio = (payload_types == PCMU) | (payload_types == PCMA)
        # Padding, extension, CSRCs or another packet time never come from our own media server.
        plain = (rows[:, 0] & 0x3F == 0) & (np.array(lengths) == PACKET_BYTES)
        good = version_good & audio & plain
        if not good.all():
            self.dropped["bad_version"] += int((~version_good).sum())
            self.dropped["unknown_payload"] += int((version_good & ~audio).sum())
            self.dropped["not_20_ms"] += int((version_good & audio & ~plain).sum())
            if not good.any():
                return
            rows, slots, payload_types = rows[good], slots[good], payload_types[good]
            legs = [leg for leg, ok in zip(legs, good, strict=True) if ok]
        codes = rows[:, HEADER_BYTES:PACKET_BYTES]
        samples = g711.ULAW_TO_LINEAR[codes]
        if (alaw := payload_types == PCMA).any():
            samples[alaw] = g711.ALAW_TO_LINEAR[codes[alaw]]
        self._count_lost(slots, rows[:, 2].astype(np.int64) << 8 | rows[:, 3])
        self._packets[slots] += 1
        self._last_packet_s[slots] = now_s
        self._note_loudness(legs, slots, samples, now_s)
        self._window[slots, self._window_fill[slots]] = samples
        self._window_fill[slots] += 1
        for i in np.flatnonzero(self._window_fill[slots] == WINDOW_FRAMES):
            self._decode_window(legs[i])

    def _count_lost(self, slots: np.ndarray, seq: np.ndarray) -> None:
        gap = (seq - self._last_seq[slots]) & 0xFFFF
        # A jump of a thousand is a new stream (another bridge peer), not loss.
        counted = (self._last_seq[slots] >= 0) & (gap > 1) & (gap < 1000)
        lost = np.where(counted, gap - 1, 0)
        self._lost[slots] += lost
        self._quiet_run[slots] += lost
        self._last_seq[slots] = seq

    def _note_loudness(self, legs: list[MediaLeg], slots: np.ndarray, samples: I16, now_s: float) -> None:
        power = np.square(samples.astype(np.float32)).mean(axis=1)
        loud = power > 32767.0**2 / 2 * 10 ** (LOUD_DBFS / 10)
        run = np.where(loud, self._loud_run[slots] + 1, 0)
        self._loud_run[slots] = run
        self._loud_frames[slots] += loud
        self._window_loud[slots] += loud
        for i in np.flatnonzero(loud & (self._quiet_run[slots] > 0) & ~np.isnan(self._first_loud_s[slots])):
            if len(legs[i].pauses) < MOST_PAUSES:
                legs[i].pauses.append((now_s, int(self._quiet_run[slots[i]])))
        self._quiet_run[slots] = np.where(loud, 0, self._quiet_run[slots] + 1)
        onset = (run >= ONSET_FRAMES) & np.isnan(self._first_loud_s[slots])
        self._first_loud_s[slots[onset]] = now_s - (ONSET_FRAMES - 1) * TICK_S
        self._last_loud_s[slots[run >= ONSET_FRAMES]] = now_s

    def _decode_window(self, leg: MediaLeg) -> None:
        fill = int(self._window_fill[leg.slot])
        if self._window_loud[leg.slot] * 2 >= fill:  # a tone sounds in every frame
            code = idtone.decode_code(self._window[leg.slot, :fill].reshape(-1))
            if code is not None:
                leg.heard_codes[code] += 1
        self._window_fill[leg.slot] = self._window_loud[leg.slot] = 0

    def send(self) -> None:
        """Send the next 20 ms of every leg that is sending and knows its remote address."""
        self.ticks += 1
        legs = [leg for leg in self._legs.values() if leg.sending and leg.remote is not None]
        if not legs:
            return
        n = len(legs)
        slots = np.array([leg.slot for leg in legs], np.int64)
        frames = [_SILENT_FRAME if leg.sound is None else leg.next_frame() for leg in legs]
        mixed = np.concatenate(frames).reshape(n, FRAME_SAMPLES).astype(np.float32)
        mixed *= self._gain[slots, None]
        mixed += self._noise[(slots * 31 + self.ticks * 7) % len(self._noise)] * self._noise_gain[slots, None]
        for i, leg in enumerate(legs):
            if leg.code is not None:
                mixed[i] += self._tone(leg.code)[self.ticks % 50]
        np.clip(mixed, -32768, 32767, out=mixed)
        samples = mixed.astype(np.int16)
        packets = np.empty((n, PACKET_BYTES), np.uint8)
        packets[:, HEADER_BYTES:] = g711.encode(samples)
        payload_types = np.array([leg.payload_type for leg in legs], np.uint8)
        if (alaw := payload_types == PCMA).any():
            packets[alaw, HEADER_BYTES:] = g711.encode(samples[alaw], PCMA)
        packets[:, 0] = 0x80
        packets[:, 1] = payload_types | (self._marker[slots].astype(np.uint8) << 7)
        packets[:, 2:4] = self._seq[slots, None] >> np.array([8, 0]) & 0xFF
        shifts = np.array([24, 16, 8, 0])
        packets[:, 4:8] = self._timestamp[slots, None] >> shifts & 0xFF
        packets[:, 8:12] = self._ssrc[slots, None] >> shifts & 0xFF
        self._marker[slots] = False
        self._seq[slots] = (self._seq[slots] + 1) & 0xFFFF
        self._timestamp[slots] = (self._timestamp[slots] + FRAME_SAMPLES) & 0xFFFFFFFF
        flat = memoryview(packets.data).cast("B")
        # A line that is losing stays so with the probability that gives the mean burst, a whole one begins to.
        chance = self._rng.random(n)
        losing = np.where(self._losing[slots], chance < 1.0 - 1.0 / LOSS_BURST, chance < self._loss_begins[slots])
        self._losing[slots] = losing
        late = self._rng.random(n) < self._late[slots]
        at = 0
        for leg, loses, is_late in zip(legs, losing.tolist(), late.tolist(), strict=True):
            if leg.held:
                _transmit(leg, leg.held)
                leg.held = b""
            packet = flat[at : at + PACKET_BYTES]
            at += PACKET_BYTES
            if loses:
                leg.packets_lost += 1
            elif is_late:
                leg.held = bytes(packet)
            else:
                _transmit(leg, packet)

    def skip(self, ticks: int) -> None:
        """Let time pass without sending, after a stall: timestamps go on, so the peer sees a gap and no burst."""
        self.ticks += ticks
        self._timestamp = (self._timestamp + ticks * FRAME_SAMPLES) & 0xFFFFFFFF
        self._marker[:] = True

    def _tone(self, code: int) -> I16:
        if code not in self._tones:
            self._tones[code] = idtone.tone_frames(code)
        return self._tones[code]
