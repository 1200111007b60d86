"""Media server load: channels against work per 20 ms tick, CPU share and lateness, on loopback.

Starts a real server, opens N channels under analysis or bridged in pairs, and talks to each from one generator process
(`bench.media_traffic`), kept on another core where there is one. Analysis ends when channels are bridged, so both are
measured apart: "analysed" has call progress analysis running on all channels, "bridged" relays all of them in pairs.
Beside it the same work is done by one process per call (`bench.media_script`).

"late" is how long after its 20 ms schedule a packet left, as its receiver's kernel saw it; "transit" is from far end to
far end, jitter buffer included.

    python -m bench.media [--channels 100 500 1000] [--seconds 20] [--parts]
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from bench import media_traffic
from telephony import contract as wire

T = TypeVar("T")
ANALYSIS = wire.AnalysisSettings(timeguard_ms=3_600_000, initial_silence_ms=3_600_000)
SCRIPTS = 6
"""Processes of one call each that run at once: enough to see what one costs."""


def raise_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def prefer(nice: int) -> None:
    """Run before the rest of a shared machine: the process, and its session where sessions share the processor."""
    os.nice(nice)
    autogroup = Path("/proc/self/autogroup")  # sched(7): nice counts within a session only
    if autogroup.exists():
        autogroup.write_text(str(nice), encoding="ascii")


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
        first = 24000
        command = [sys.executable, "-m", "telephony.media.server", "--run-dir", folder, "--capacity", str(channels)]
        command += ["--rtp-ports", f"{first}-{first + 2 * channels + 999}"]
        server = subprocess.Popen(
            command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        )
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(server.pid, {allowed[0]})
        ours, theirs = multiprocessing.Pipe()
        traffic = None
        try:
            while b"media.started" not in server.stderr.readline():
                if server.poll() is not None:
                    raise RuntimeError("the server did not start")
            link = Link(Path(folder) / "media-0.sock")
            ids = [f"c{i}" for i in range(channels)]
            for channel_id in ids:
                link.send(wire.OpenChannel(channel_id))
            ports = [link.expect(wire.ChannelOpened).port for _ in ids]
            traffic = multiprocessing.Process(target=media_traffic.run, args=(ports, theirs, 1))
            traffic.start()
            for channel_id, port in zip(ids, ours.recv(), strict=True):
                link.send(wire.SetRemote(channel_id, "127.0.0.1", port))
                link.send(wire.StartAnalysis(channel_id, True, ANALYSIS))
            link.stats(2.0)
            for name in ("analysed", "bridged"):
                if name == "bridged":
                    for one, other in zip(ids[::2], ids[1::2], strict=True):
                        link.send(wire.Bridge(one, other))
                elif link.stats(0.0).analysing < channels:
                    raise RuntimeError("not all channels are analysed")
                before = link.stats(1.0)
                began_s = time.monotonic()
                ours.send("measure")
                after = link.stats(seconds)
                share = (after.cpu_s - before.cpu_s) / (time.monotonic() - began_s)
                ours.send("tell")
                while not ours.poll():
                    link.stats(0.2)  # answers pings
                heard: media_traffic.Heard = ours.recv()
                found.append(
                    {
                        "channels": channels,
                        "case": name,
                        "tick_work_p50_ms": round(after.tick_work_p50_ms, 2),
                        "tick_work_p99_ms": round(after.tick_work_p99_ms, 2),
                        "tick_late_p50_ms": round(after.tick_late_p50_ms, 2),
                        "tick_late_p99_ms": round(after.tick_late_p99_ms, 2),
                        "cpu_cores": round(share, 3),
                        **dataclasses.asdict(heard),
                    }
                )
                print(
                    f"{channels:8d} {name:9s} {after.analysing:9d} {after.bridged:8d} {after.tick_work_p50_ms:9.2f} "
                    f"{after.tick_work_p99_ms:9.2f} {heard.late_p99_ms:9.2f} {heard.late_p999_ms:10.2f} "
                    f"{heard.missing:8d} {heard.transit_p50_ms:12.1f} {heard.transit_p999_ms:8.1f} {100 * share:7.1f}",
                    flush=True,
                )
        finally:
            if traffic is not None:
                ours.send("stop")
                traffic.join()
            server.terminate()
            _, log = server.communicate()
            if server.returncode != 0 or sys.exc_info()[0] is not None:
                print(log.decode(), file=sys.stderr)
    return found


def measure_scripts(seconds: float) -> dict[str, float | str]:
    """One process per call: CPU cores and memory that one of them needs."""
    command = [sys.executable, "-m", "bench.media_script", str(seconds)]
    root = Path(__file__).parent.parent
    scripts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(SCRIPTS)]
    ours, theirs = multiprocessing.Pipe()
    ports = [int(script.stdout.readline()) for script in scripts]
    traffic = multiprocessing.Process(target=media_traffic.run, args=(ports, theirs, 1))
    traffic.start()
    try:
        ours.recv()
        told = [script.communicate(timeout=seconds + 60)[0].split() for script in scripts]
    finally:
        ours.send("stop")
        traffic.join()
        for script in scripts:
            script.kill()
            script.wait()
    cores = sum(float(one[0]) for one in told) / SCRIPTS
    peak_mb = max(float(one[2]) for one in told)
    print(f"one process per call: {100 * cores:.2f} % of a core and {peak_mb} MB each, {1 / cores:.0f} on one core")
    return {"case": "process per call", "cpu_cores": round(cores, 4), "peak_mb": peak_mb, "per_core": round(1 / cores)}


def measure_parts(channels: int, ticks: int = 250) -> dict[str, float | str]:
    """Where a tick's CPU time goes, in this process: milliseconds of each step."""
    from telephony.media.channels import PortPool
    from telephony.media.plane import MediaPlane
    from telephony.media.prompts import PromptLibrary

    plane = MediaPlane("127.0.0.1", PortPool(24000, 24000 + 2 * channels + 999), channels, PromptLibrary(None))
    spent: dict[str, float] = {}

    def timed(owner: object, method: str, name: str) -> None:
        inner = getattr(owner, method)

        def outer(*arguments: object, **named: object) -> object:
            began_s = time.process_time()
            try:
                return inner(*arguments, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - began_s

        setattr(owner, method, outer)

    network, mixer = plane._network, plane._mixer
    timed(network, "receive", "receive")
    timed(mixer, "accept", "  accept")
    timed(network.reception, "admit", "  admit")
    timed(mixer.jitter, "put", "    jitter put")
    timed(mixer, "tick", "mix")
    timed(mixer.jitter, "take", "  jitter take")
    timed(plane._analyser, "step", "analyse")
    timed(network, "send", "send")
    timed(network, "report", "report")
    timed(plane, "tick", "all")
    now_s = time.monotonic()
    opened = [plane.command(wire.OpenChannel(f"c{i}"), now_s)[0] for i in range(channels)]
    ours, theirs = multiprocessing.Pipe()
    traffic = multiprocessing.Process(target=media_traffic.run, args=([one.port for one in opened], theirs, 1))
    traffic.start()
    try:
        for one, port in zip(opened, ours.recv(), strict=True):
            plane.command(wire.SetRemote(one.channel_id, "127.0.0.1", port), now_s)
            plane.command(wire.StartAnalysis(one.channel_id, True, ANALYSIS), now_s)
        next_s = time.monotonic()
        for tick in range(ticks + 50):
            if tick == 50:
                spent.clear()
            plane.tick(time.monotonic())
            next_s += 0.02
            time.sleep(max(0.0, next_s - time.monotonic()))
    finally:
        ours.send("stop")
        traffic.join()
        plane.close()
    for name, total_s in spent.items():
        print(f"{name:16s} {1000 * total_s / ticks:7.2f} ms a tick")
    return {"channels": channels, "case": "parts", **{k.strip(): round(1000 * v / ticks, 3) for k, v in spent.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[100, 500, 1000])
    parser.add_argument("--seconds", type=float, default=20.0, help="a case; the server's times cover its last 20 s")
    parser.add_argument("--nice", type=int, default=0, help="priority, -10 on a machine that does more (as root)")
    parser.add_argument("--parts", action="store_true", help="also where the time of a tick goes, at the most channels")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    raise_descriptors()
    if options.nice:
        prefer(options.nice)
    print(
        "channels case      analysing  bridged  work p50  work p99  late p99  late p99.9  missing  transit p50  p99.9"
        "   CPU %   (times in ms)"
    )
    found = [case for channels in options.channels for case in measure(channels, options.seconds)]
    found.append(measure_scripts(min(options.seconds, 10.0)))
    if options.parts:
        found.append(measure_parts(max(options.channels)))
    if options.json is not None:
        options.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
