"""Mutated RTP, RTCP and control frames against a real media server, while calls run through it.

    python -m tests.telephony.media_fuzz --frames 100000 [--seed 1]

Two calls are up the whole time. The first is the one that must not notice anything: strangers send it mutated packets
that know its SSRC, sequence and timestamp. Its far ends are a process of their own, so that they keep time while this
one attacks, and it is listened to twice, first without an attack: what is missing then is the machine's fault. The
second call has a far end that itself sends mutated packets between its good ones. Meanwhile mutated control frames come
on connections of their own and on the daemon's. Everything is drawn from one seed.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from telephony import contract as wire
from telephony.media import rtcp
from telephony.media.g711 import linear_to_ulaw
from tests.telephony.media_peer import Daemon, Phone, Server, free_port_range

FRAMES_A_TICK = 100
CHANNELS = 12
LIVE = ("live-3b1f77aa-left", "live-3b1f77aa-right")
"""Names that no mutation of another name can hit."""
BAD = ("bad-left", "bad-right")
ATTACK = bytes(range(0x10, 0x10 + 160))
"""What the far end would hear if an attack came through."""


@dataclass
class Phase:
    """What the right end of the live call heard in one phase."""

    seconds: float
    heard: int
    """Frames of the left end, bit by bit."""
    other: int
    """Frames between these that were concealed, or blended in after a hole."""
    injected: int
    """Frames that are the attacker's."""


@dataclass
class Result:
    """What the run did and what became of the server. ``live_*`` is the call that strangers attacked."""

    frames: Counter[str] = field(default_factory=Counter)
    live_quiet: Phase | None = None
    live_attacked: Phase | None = None
    live_gaps: int = 0
    live_mos: float = 0.0
    live_dropped: dict[str, int] = field(default_factory=dict)
    bad_gaps: int = 0
    bad_dropped: dict[str, int] = field(default_factory=dict)
    daemon_reconnects: int = 0
    rss_before_mb: float = 0.0
    rss_after_mb: float = 0.0
    descriptors_before: int = 0
    descriptors_after: int = 0
    exit_code: int | None = None


class LiveCall:
    """
    The two far ends of the live call, on their own clock in a process of their own.

    ``start_s``: when packet 0 went out; packet n follows after n x 20 ms.
    """

    def __init__(self, left: Phone, right: Phone, seed: int) -> None:
        self.left, self.right = left, right
        rng = np.random.default_rng(seed)
        # Loud noise: each frame is told from every other, and none of it is quiet enough to be cut.
        frames = linear_to_ulaw((rng.normal(0, 4000, (500, 160))).astype(np.int16))
        frames[frames == 0x7F] = 0xFF  # the negative zero comes out as the positive one
        self.frames = [frame.tobytes() for frame in frames]
        self.start_s = time.monotonic() + 0.1
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=self._run, args=(theirs,), daemon=True)
        self._process.start()

    def phase(self) -> Phase:
        """End the phase that runs, and begin the next."""
        self._pipe.send("phase")
        found: Phase = self._pipe.recv()
        return found

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send("stop")
        self._process.join(20.0)
        self._process.kill()

    def _run(self, pipe: Connection) -> None:
        with contextlib.suppress(PermissionError):
            os.nice(-10)  # a far end keeps time whatever this machine does
        known = set(self.frames)
        for phone in (self.left, self.right):
            phone.sock.setblocking(False)
        heard: list[bytes] = []
        sent, began_s = 0, time.monotonic()
        while True:
            due_s = self.start_s + sent * 0.02
            time.sleep(max(0.0, due_s - time.monotonic()))
            self.left.send_raw(self.left.packet(self.frames[sent % len(self.frames)]))
            self.right.send_raw(self.right.packet(bytes([0xFF]) * 160))
            sent += 1
            for phone in (self.left, self.right):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        packet = phone.sock.recv(2048)
                        if phone is self.right and packet[1] & 0x7F == 0:
                            heard.append(packet[12:])
            if pipe.poll():
                if pipe.recv() == "stop":
                    return
                first = next((i for i, payload in enumerate(heard) if payload in known), len(heard))
                spoken = heard[first:]
                said = sum(payload in known for payload in spoken)
                injected = spoken.count(ATTACK)
                now_s = time.monotonic()
                pipe.send(Phase(round(now_s - began_s, 1), said, len(spoken) - said - injected, injected))
                heard, began_s = [], now_s


class Mutator:
    """Damages byte strings in the ways that break parsers."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def mutate(self, data: bytes, other: bytes) -> bytes:
        rng, out = self.random, bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
            at = rng.randrange(len(out)) if out else 0
            kind = rng.randrange(8)
            if not out or kind == 0:
                out += rng.randbytes(rng.randrange(1, 40))
            elif kind == 1:
                out[at] ^= 1 << rng.randrange(8)
            elif kind == 2:
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
            elif kind == 3:
                del out[at:]
            elif kind == 4:
                out[at:at] = out[at : at + rng.randrange(1, 64)]
            elif kind == 5:
                out[at:] = other[rng.randrange(len(other)) :]
            elif kind == 6:
                out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"))
            else:
                out += bytes(rng.choice((1, 160, 1400, 3000)))
        return bytes(out[:9000])


def rtp_frames(seq: int, timestamp: int, ssrc: int) -> list[bytes]:
    """Proper packets of every kind, as the live far end might send them next."""
    head = struct.pack("!HII", seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    voice = ATTACK
    extension = b"\xbe\xde\x00\x02" + bytes(8)
    return [
        b"\x80\x00" + head + voice,
        b"\x80\x88" + head + voice,
        b"\x80\x00" + head + voice * 3,
        b"\x80\x65" + head + b"\x05\x0a\x00\xa0",
        b"\x80\x0d" + head + b"\x40\x01\x02",
        b"\x90\x00" + head + extension + voice,
        b"\x83\x00" + head + bytes(12) + voice,
        b"\xa0\x00" + head + voice + bytes(3) + b"\x04",
        b"\xb2\x80" + head + bytes(8) + extension + voice + bytes(7) + b"\x08",
    ]


def rtcp_frames(theirs: int, ours: int) -> list[bytes]:
    """Proper compound packets that speak of both streams of the live call."""
    heard = rtcp.Reception(ours, 0.5, 100, 70000, 800, 1, 0.1)
    return [
        rtcp.build_report(theirs, 1, 160, 0, 1.7e9, "far", heard, goodbye)
        + (struct.pack("!BBHII", 0x81, 205, 2, theirs, ours) if goodbye else b"")
        for goodbye in (False, True)
    ]


def control_frames() -> list[bytes]:
    """Every kind of command, about channels that may or may not be there."""
    analysis = wire.AnalysisSettings(tone_plan="DE")
    ids = ("bad-left", "fuzz-1", "fuzz-2", "")
    made = [
        wire.Hello(role="daemon"),
        wire.Ping(1),
        wire.Pong(1),
        wire.GetStats(1),
        *(wire.OpenChannel(one) for one in ids),
        wire.OpenChannel("fuzz-3", 2),
        wire.CloseChannel("fuzz-1"),
        wire.CloseChannel("fuzz-2"),
        wire.SetRemote("fuzz-1", "127.0.0.1", 9, 8),
        wire.SetRemote("fuzz-2", "10.0.0.1", 65535, 0),
        wire.StartAnalysis("fuzz-1", True, analysis),
        wire.StopAnalysis("fuzz-1"),
        wire.Bridge("fuzz-1", "fuzz-2"),
        wire.Unbridge("fuzz-1"),
        wire.Play("fuzz-1", "drop"),
        wire.Play("fuzz-2", "../x.wav"),
        wire.StopPlaying("fuzz-1"),
    ]
    return [wire.encode_frame(one) for one in made]


class Fuzz:
    """One run against a server in ``folder``."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.result = Result()
        self.mutator = Mutator(seed)
        self.random = self.mutator.random
        self.server = Server(folder, free_port_range(CHANNELS), "--capacity", str(CHANNELS))
        self.daemon = Daemon(self.server.path)
        self.phones: dict[str, Phone] = {}
        for name in (*LIVE, *BAD):
            phone = self.phones[name] = Phone(self.daemon.open(name))
            phone.ssrc = self.random.getrandbits(32)
            self.daemon.send(wire.SetRemote(name, "127.0.0.1", phone.port))
        for pair in (LIVE, BAD):
            self.daemon.send(wire.Bridge(*pair))
        self.strangers = []
        for host in ("127.0.0.1", "127.0.0.1", "127.0.0.7"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((host, 0))
            self.strangers.append(sock)
        self.controls = control_frames()
        self.live = LiveCall(*(self.phones[name] for name in LIVE), seed)
        self.stream_ids = dict.fromkeys((LIVE[0], BAD[0]), 0)

    def close(self) -> None:
        self.live.stop()
        for phone in self.phones.values():
            phone.close()
        for sock in self.strangers:
            sock.close()
        self.daemon.close()
        self.server.kill()

    def run(self, frames: int, quiet_s: float) -> Result:
        self.rest(3.0)
        self.live.phase()
        self.rest(quiet_s)
        self.result.live_quiet = self.live.phase()
        self.result.rss_before_mb, self.result.descriptors_before = self.footprint()
        next_s, ticks = time.monotonic(), 0
        while (left := frames - self.result.frames.total()) > 0:
            self.speak()
            for _ in range(min(FRAMES_A_TICK, left)):
                self.attack()
            ticks += 1
            if ticks % 50 == 0:
                self.reconnect()
            next_s = max(next_s + 0.02, time.monotonic() - 1.0)
            time.sleep(max(0.0, next_s - time.monotonic()))
        self.result.live_attacked = self.live.phase()
        self.rest(0.5)
        self.finish()
        return self.result

    def rest(self, seconds: float) -> None:
        """Only the good packets of the second call, and pings answered."""
        for _ in range(round(seconds / 0.5)):
            for _ in range(25):
                self.speak()
                time.sleep(0.02)
            self.daemon.barrier()

    def speak(self) -> None:
        """A packet of each end of the second call, and what they hear thrown away, but for our SSRC in it."""
        for name, octet in zip(BAD, (b"\x90", b"\x91"), strict=True):
            phone = self.phones[name]
            phone.send_raw(phone.packet(octet * 160))
            phone.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = phone.sock.recv(2048)
                    self.stream_ids[name] = int.from_bytes(packet[8:12], "big")
            phone.sock.setblocking(True)

    def attack(self) -> None:
        rng = self.random
        kind = rng.choices(("rtp", "rtp_own", "rtcp", "control"), (40, 30, 20, 10))[0]
        self.result.frames[kind] += 1
        if kind == "control":
            self.attack_control()
            return
        name = BAD[0] if kind == "rtp_own" else LIVE[0]
        phone = self.phones[name]
        ours = self.stream_ids[name] or 1
        seq, timestamp = phone.seq, phone.timestamp
        if name in LIVE:  # the other process counts; so many went out by now
            behind = int((time.monotonic() - self.live.start_s) / 0.02) + 1
            seq, timestamp = seq + behind, timestamp + 160 * behind
        if kind == "rtcp":
            known = rtcp_frames(phone.ssrc, ours)
        else:
            ahead = rng.randrange(3)
            known = rtp_frames(seq + ahead, timestamp + 160 * ahead, phone.ssrc)
        data = self.mutator.mutate(rng.choice(known), rng.choice(known))
        host, port = phone._target
        target = (host, port + 1) if kind == "rtcp" and rng.random() < 0.8 else (host, port)
        source = phone.sock if kind == "rtp_own" else rng.choice(self.strangers)
        try:
            source.sendto(data, target)
        except ConnectionRefusedError:  # the kernel's answer to an earlier one: the channel is fenced
            source.sendto(data, target)

    def attack_control(self) -> None:
        rng = self.random
        data = self.mutator.mutate(rng.choice(self.controls), rng.choice(self.controls))
        if rng.random() < 0.3:
            try:
                self.daemon.send_raw(data)
            except OSError:
                self.reconnect()
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(self.server.path))
            sock.settimeout(20.0)
            hello = wire.encode_frame(wire.Hello(role="worker")) if rng.random() < 0.3 else b""
            with contextlib.suppress(OSError):  # refused already
                sock.sendall(hello + data)

    def reconnect(self) -> None:
        """
        As a daemon that was dropped for what it said: everything must be in place. Often, as half a mutated frame on
        its connection swallows what is sent behind it.
        """
        self.result.daemon_reconnects += 1
        self.daemon.close()
        self.daemon = Daemon(self.server.path)
        assert self.daemon.snapshot is not None
        there = {channel.channel_id: channel for channel in self.daemon.snapshot.channels}
        for one, other in (LIVE, LIVE[::-1]):
            assert there[one].bridged_to == other, f"the live call is no more: {sorted(there)}"
        for name in BAD:
            if name not in there:  # a mutated command may well have closed it: it is named in them
                self.daemon.open(name, self.phones[name]._target[1])
                self.daemon.send(wire.SetRemote(name, "127.0.0.1", self.phones[name].port))
        for name in set(there) - set(LIVE) - set(BAD):
            self.daemon.send(wire.CloseChannel(name))

    def footprint(self) -> tuple[float, int]:
        """Resident memory in MB and open descriptors of the server, the daemon's connection included."""
        self.daemon.barrier()
        process = Path("/proc") / str(self.server.process.pid)
        pages = int((process / "statm").read_text().split()[1])
        return round(pages * 4096 / 2**20, 1), len(list((process / "fd").iterdir()))

    def finish(self) -> None:
        result = self.result
        self.reconnect()
        self.daemon.barrier()
        result.rss_after_mb, result.descriptors_after = self.footprint()
        for name in (LIVE[0], BAD[0]):
            self.daemon.send(wire.CloseChannel(name))
            closed = self.daemon.expect(wire.ChannelClosed, channel_id=name)
            if name == LIVE[0]:
                result.live_gaps, result.live_mos = closed.gaps, round(closed.mos, 2)
                result.live_dropped = closed.dropped
            else:
                result.bad_gaps, result.bad_dropped = closed.gaps, closed.dropped
        result.exit_code = self.server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quiet", type=float, default=10.0, help="seconds before the attack, to compare with")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), options.seed)
        try:
            found = asdict(fuzz.run(options.frames, options.quiet))
            found["frames"] = dict(fuzz.result.frames)
        finally:
            fuzz.close()
    for name, value in found.items():
        print(f"{name:18s} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(found), encoding="utf-8")
    sound = found["exit_code"] == 0 and found["live_attacked"]["injected"] == 0
    return 0 if sound and found["descriptors_after"] <= found["descriptors_before"] else 1


if __name__ == "__main__":
    sys.exit(main())
