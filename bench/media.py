"""Media server load: channels against work per 20 ms tick and CPU share, on loopback.

Starts a real server, opens N channels bridged in pairs or under analysis, and feeds each from one sender process that
sends speech frames every 20 ms. Analysis ends when channels are bridged, so both are measured apart: "analysed" has
call progress analysis running on all channels, "bridged" relays all of them in pairs.

    python -m bench.media [--channels 100 200 500] [--seconds 20]
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from telephony import contract as wire
from telephony.media.g711 import linear_to_ulaw

T = TypeVar("T")
ANALYSIS = wire.AnalysisSettings(timeguard_ms=3_600_000, initial_silence_ms=3_600_000)


def raise_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def far_ends(ports: list[int], ready: "multiprocessing.connection.Connection") -> None:
    """One socket per channel; sends 50 packets a second from each, reads and forgets what comes."""
    raise_descriptors()
    socks = []
    poll = select.epoll()
    by_fd = {}
    for _ in ports:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.bind(("127.0.0.1", 0))
        socks.append(sock)
        poll.register(sock, select.EPOLLIN)
        by_fd[sock.fileno()] = sock
    ready.send([sock.getsockname()[1] for sock in socks])
    rng = np.random.default_rng(1)
    # Syllables of 200 ms every 300 ms: as many level changes as real speech, the dearest case for the analyser.
    t = np.arange(8000 * 3) / 8000
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12)) * (t % 0.3 < 0.2) * 1500
    octets = linear_to_ulaw((voice + rng.normal(0, 20, len(t))).astype(np.int16)).reshape(-1, 160)
    phase = [random.randrange(len(octets)) for _ in ports]
    targets = [("127.0.0.1", port) for port in ports]
    next_s, seq = time.monotonic(), 0
    while not ready.poll():
        seq += 1
        for i, sock in enumerate(socks):
            head = struct.pack("!BBHII", 0x80, 0, seq & 0xFFFF, seq * 160, i + 1)
            sock.sendto(head + octets[(seq + phase[i]) % len(octets)].tobytes(), targets[i])
        for fd, _ in poll.poll(0, 4096):
            by_fd[fd].recv(2048)
        next_s += 0.02
        time.sleep(max(0.0, next_s - time.monotonic()))


class Link:
    """The daemon's end, blocking."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(path))
        self.decoder = wire.FrameDecoder(wire.MediaEvent)
        self.waiting: list = []
        self.send(wire.Hello(role="daemon"))

    def send(self, message: msgspec.Struct) -> None:
        self.sock.sendall(wire.encode_frame(message))

    def expect(self, kind: type[T]) -> T:
        while True:
            while not self.waiting:
                self.waiting += self.decoder.feed(self.sock.recv(65536))
            message = self.waiting.pop(0)
            if isinstance(message, wire.Ping):
                self.send(wire.Pong(message.seq))
            elif isinstance(message, kind):
                return message
            elif isinstance(message, wire.ChannelFailed):
                raise RuntimeError(message.why)

    def stats(self, after_s: float) -> wire.MediaStats:
        until_s = time.monotonic() + after_s
        while (left_s := until_s - time.monotonic()) > 0:  # answer pings while waiting
            if select.select([self.sock], [], [], left_s)[0]:
                self.waiting += self.decoder.feed(self.sock.recv(65536))
                self.waiting = [m for m in self.waiting if isinstance(m, wire.Ping)]
                for ping in self.waiting:
                    self.send(wire.Pong(ping.seq))
                self.waiting.clear()
        self.send(wire.GetStats(1))
        return self.expect(wire.MediaStats)


def measure(channels: int, seconds: float) -> list[dict[str, float | str]]:
    found: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder:
        first = 20000
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "telephony.media.server",
                "--run-dir",
                folder,
                "--capacity",
                str(channels),
                "--rtp-ports",
                f"{first}-{first + 2 * channels + 199}",
            ],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        ours, theirs = multiprocessing.Pipe()
        sender = None
        try:
            while b"media.started" not in server.stderr.readline():
                if server.poll() is not None:
                    raise RuntimeError("the server did not start")
            link = Link(Path(folder) / "media-0.sock")
            ids = [f"c{i}" for i in range(channels)]
            ports = []
            for channel_id in ids:
                link.send(wire.OpenChannel(channel_id))
                ports.append(link.expect(wire.ChannelOpened).port)
            sender = multiprocessing.Process(target=far_ends, args=(ports, theirs))
            sender.start()
            for channel_id, port in zip(ids, ours.recv(), strict=True):
                link.send(wire.SetRemote(channel_id, "127.0.0.1", port))
                link.send(wire.StartAnalysis(channel_id, False, ANALYSIS))
                link.send(wire.StartAnalysis(channel_id, True, ANALYSIS))
            link.stats(1.0)
            for name in ("analysed", "bridged"):
                if name == "bridged":
                    for one, other in zip(ids[::2], ids[1::2], strict=True):
                        link.send(wire.Bridge(one, other))
                before = link.stats(0.5)
                began_s = time.monotonic()
                after = link.stats(seconds)
                share = (after.cpu_s - before.cpu_s) / (time.monotonic() - began_s)
                found.append(
                    {
                        "channels": channels,
                        "case": name,
                        "tick_work_p50_ms": round(after.tick_work_p50_ms, 2),
                        "tick_work_p99_ms": round(after.tick_work_p99_ms, 2),
                        "tick_late_p50_ms": round(after.tick_late_p50_ms, 2),
                        "tick_late_p99_ms": round(after.tick_late_p99_ms, 2),
                        "cpu_cores": round(share, 3),
                    }
                )
                print(
                    f"{channels:8d} {name:9s} {after.analysing:9d} {after.bridged:8d} {after.tick_work_p50_ms:9.2f} "
                    f"{after.tick_work_p99_ms:9.2f} {after.tick_late_p50_ms:9.2f} {after.tick_late_p99_ms:9.2f} "
                    f"{100 * share:7.1f}",
                    flush=True,
                )
        finally:
            if sender is not None:
                ours.send("stop")
                sender.join()
            server.terminate()
            server.communicate()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[100, 200, 500])
    parser.add_argument("--seconds", type=float, default=20.0, help="a case; the server's times cover its last 20 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    raise_descriptors()
    print("channels case      analysing  bridged  work p50  work p99  late p50  late p99  CPU %   (times in ms)")
    found = [case for channels in options.channels for case in measure(channels, options.seconds)]
    if options.json is not None:
        options.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
