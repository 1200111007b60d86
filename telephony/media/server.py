"""The media server process: ``ocsd-media`` or ``python -m telephony.media.server``.

One thread, absolute ticks of 20 ms; between them it sleeps on the daemon's socket. Channels live on without a daemon.
SIGUSR1 drains it: it announces that it takes no new calls, and ends when the last channel is closed. SIGTERM ends it.
"""

import argparse
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, TextIO, cast

import msgspec
import numpy as np
import structlog

from telephony import contract as wire
from telephony.media.channels import PortPool
from telephony.media.control import ControlSocket
from telephony.media.log_stream import LogStream
from telephony.media.plane import TICK_S, MediaPlane
from telephony.media.prompts import PromptLibrary
from telephony.media.sources import Learn
from telephony.notify import service_notifier
from telephony.ports import client_ports
from telephony.procs import LockFile, is_listening, listen_unix

log = structlog.get_logger(__name__)

STATS_TICKS: Final = 1000
MAX_CATCH_UP_TICKS: Final = 5
"""After a longer stall (a suspended machine) the missed ticks are given up: nobody wants to hear them."""

ORPHAN_CHECK_TICKS: Final = 5
ALIVE_TICKS: Final = 50
"""How often a service manager is shown that the loop turns: every second."""


class Pacer:
    """Absolute tick times and how well they are kept. Pure: time is passed in."""

    def __init__(self, now_s: float) -> None:
        self.next_s = now_s + TICK_S
        self.skipped = 0
        self._late_s = np.zeros(STATS_TICKS)
        self._work_s = np.zeros(STATS_TICKS)
        self._count = 0

    def due(self, now_s: float) -> bool:
        """Whether a tick is due; gives up missed ticks beyond the catch-up limit."""
        behind = int((now_s - self.next_s) / TICK_S)
        if behind > MAX_CATCH_UP_TICKS:
            self.skipped += behind
            self.next_s += behind * TICK_S
        return now_s >= self.next_s

    def done(self, began_s: float, ended_s: float) -> None:
        """A tick that began and ended at these times."""
        slot = self._count % STATS_TICKS
        self._late_s[slot] = began_s - self.next_s
        self._work_s[slot] = ended_s - began_s
        self._count += 1
        self.next_s += TICK_S

    def percentiles_ms(self) -> tuple[float, float, float, float]:
        """Lateness p50, p99 and work p50, p99 over the last 1000 ticks."""
        count = min(self._count, STATS_TICKS)
        if not count:
            return 0.0, 0.0, 0.0, 0.0
        late = np.percentile(self._late_s[:count] * 1000, (50, 99))
        work = np.percentile(self._work_s[:count] * 1000, (50, 99))
        return float(late[0]), float(late[1]), float(work[0]), float(work[1])


class MediaServer:
    """Plane, daemon connection and clock in one loop. ``alive`` is called every `ALIVE_TICKS`, with what goes on."""

    def __init__(
        self, plane: MediaPlane, control: ControlSocket, alive: Callable[[str], None] = lambda _status: None
    ) -> None:
        self._alive = alive
        self._plane = plane
        self._control = control
        self.stopping = False
        self.draining = False
        self._told = False

    def run(self) -> None:
        """
        Serve until `stopping` is set (by a signal handler or by the daemon's Shutdown), or until no channel is left
        after `draining` was.
        """
        pacer = Pacer(time.monotonic())
        ticks = 0
        while not self.stopping:
            now_s = time.monotonic()
            for message in self._control.poll(pacer.next_s - now_s, now_s):
                self._obey(message, pacer)
            # One tick a turn: where ticks take longer than they last, commands must still be heard between them.
            if pacer.due(began_s := time.monotonic()):
                events = self._plane.tick(began_s)
                self._tell(events, began_s)
                pacer.done(began_s, time.monotonic())
                ticks += 1
                if ticks % ALIVE_TICKS == 0:
                    channels, analysing, bridged = self._plane.counts()
                    state = "draining, " if self.draining else ""
                    self._alive(f"{state}{channels} channels, {bridged} bridged, {analysing} under analysis")
                if ticks % ORPHAN_CHECK_TICKS == 0:
                    self._control.beat(began_s)
                    if not self._control.is_connected:
                        for channel_id in self._plane.look_after_orphans(began_s, self._control.orphaned_since_s):
                            log.warning("channel.orphan_closed", channel_id=channel_id)
            if self.draining:
                self._drain()
            for name, what in self._plane.audio.log:
                log.warning(name, what=what)
            self._plane.audio.log.clear()
            for change in self._control.changes:
                log.info("daemon.changed", what=change, channels=self._plane.counts()[0])
            self._control.changes.clear()

    def _drain(self) -> None:
        if not self._told:
            self._told = True
            log.info("media.draining", channels=self._plane.counts()[0])
            if self._control.is_connected:
                self._control.send([self._snapshot()])
        # Second legs of calls that are still here are let in, so that nobody who waits is left without an agent.
        # The end of the last one is told only when its recordings are on disk.
        if self._plane.counts()[0] == 0 and not self._plane.audio.finishing:
            self.stopping = True

    def _snapshot(self) -> wire.MediaSnapshot:
        snapshot = self._plane.snapshot()
        return msgspec.structs.replace(snapshot, capacity=0) if self.draining else snapshot

    def _obey(self, message: msgspec.Struct, pacer: Pacer) -> None:
        match message:
            case wire.Hello():
                recorded, closed = self._plane.endings.lately(time.monotonic())
                self._control.send([msgspec.structs.replace(self._snapshot(), recorded=recorded, closed=closed)])
            case wire.GetStats(seq):
                late_p50, late_p99, work_p50, work_p99 = pacer.percentiles_ms()
                channels, analysing, bridged = self._plane.counts()
                recorder = self._plane.recorder
                cpu_s = time.process_time()
                self._control.send(
                    [
                        wire.MediaStats(
                            seq,
                            channels,
                            analysing,
                            bridged,
                            late_p50,
                            late_p99,
                            work_p50,
                            work_p99,
                            cpu_s,
                            recorder.count,
                            recorder.gaps,
                            *self._plane.mos_percentiles(),
                        )
                    ]
                )
            case wire.Shutdown():
                self.stopping = True
            case _:
                now_s = time.monotonic()
                self._tell(self._plane.command(message, now_s), now_s)

    def _tell(self, events: list[msgspec.Struct], now_s: float) -> None:
        self._plane.endings.note(events, now_s, told=self._control.is_connected)
        self._control.send(events)


def portion(first: int, last: int, part: int, parts: int) -> tuple[int, int]:
    """
    The ``part``-th (from 0) of ``parts`` equal portions of a range of RTP ports; what cannot be divided is left out.

    Each begins with an even port. ValueError when there is less than a pair for each.
    """
    evens = range(first + first % 2, last + 1, 2)
    each = len(evens) // parts
    if not each:
        raise ValueError(f"ports {first}-{last} are too few for {parts} media servers")
    mine = evens[part * each : (part + 1) * each]
    return mine[0], mine[-1]


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"expected NUMBER/COUNT with NUMBER from 0, for example 0/2, not {text!r}")
    return int(part), int(parts)


def _port_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    try:
        PortPool(int(first), int(last))
        return int(first), int(last)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} (expected FIRST-LAST, for example 20000-23998)") from None


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ocsd-media",
        description="Media server: RTP, bridging, prompts and call progress analysis.",
        epilog="example: ocsd-media --run-dir /run/ocsd --host 192.0.2.10 --rtp-ports 20000-23998",
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="folder of the Unix socket <name>.sock")
    parser.add_argument("--host", default="127.0.0.1", help="IPv4 address put into SDP (default: %(default)s)")
    parser.add_argument("--bind", default="", help="IPv4 address to bind RTP ports to (default: that of --host)")
    parser.add_argument(
        "--rtp-ports", type=_port_range, default="20000-23998", metavar="FIRST-LAST", help="default: %(default)s"
    )
    parser.add_argument("--capacity", type=int, default=500, help="most channels at once (default: %(default)s)")
    parser.add_argument(
        "--part",
        type=_part,
        default="0/1",
        metavar="NUMBER/COUNT",
        help="which of several media servers on this host this is: it takes its part of --rtp-ports (default: 0/1)",
    )
    parser.add_argument(
        "--learn",
        type=Learn,
        choices=list(Learn),
        default=Learn.HOST,
        help="hosts that RTP sources are learned from: only that of the SDP, or any while it names a private address "
        "(far ends behind translators; default: %(default)s)",
    )
    parser.add_argument("--name", default="", help="name of socket and lock file (default: media-NUMBER of --part)")
    parser.add_argument(
        "--prompt-dir",
        type=Path,
        default=None,
        help="folder of announcements (.wav, .ulaw, .alaw), in it folders per language",
    )
    parser.add_argument("--recording-dir", type=Path, default=None, help="folder of recordings (default: none)")
    parser.add_argument(
        "--idle-noise-dbfs",
        type=float,
        default=0.0,
        metavar="DBFS",
        help="comfort noise for who hears nobody, -90..-30; 0: digital silence (default: %(default)s)",
    )
    found = parser.parse_args(arguments)
    if found.capacity < 1:
        parser.error("--capacity must be at least 1")
    found.name = found.name or f"media-{found.part[0]}"
    try:
        found.rtp_ports = portion(*found.rtp_ports, *found.part)
    except ValueError as error:
        parser.error(f"--part: {error}")
    if "/" in found.name:
        parser.error("--name must be a plain file name")
    for folder in (found.run_dir, found.prompt_dir, found.recording_dir):
        if folder is not None and not folder.is_dir():
            parser.error(f"{folder} is not a folder")
    return found


def _allow_descriptors(wanted: int) -> bool:
    """Raise the limit of open files as far as allowed; False when that is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft >= wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 stopped as asked, 1 cannot start."""
    options = _arguments(arguments)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, LogStream(sys.stderr.fileno()))),
    )
    notifier = service_notifier(wait_s=0.0)  # a tick waits for nobody
    path = options.run_dir / f"{options.name}.sock"
    lock = LockFile(options.run_dir / f"{options.name}.lock")
    if not lock.acquire() or is_listening(path):
        log.error("media.not_started", why="another server has this name", socket=str(path))
        return 1
    prompts = PromptLibrary(options.prompt_dir)
    for problem in prompts.problems():
        log.error("media.prompt_unusable", why=problem)  # the rest of the folder serves
    try:
        plane = MediaPlane(
            options.host,
            PortPool(*options.rtp_ports),
            options.capacity,
            prompts,
            options.bind or None,
            learn=options.learn,
            recording_folder=options.recording_dir,
            idle_dbfs=options.idle_noise_dbfs,
        )
    except (OSError, ValueError) as error:
        log.error("media.not_started", why=str(error), socket=str(path))
        return 1
    if not _allow_descriptors(2 * plane.capacity + 64):
        log.warning("media.descriptors_short", channels=plane.capacity, fix="raise LimitNOFILE or ulimit -n")
    theirs, (first, last) = client_ports(), options.rtp_ports  # the last one is that of a pair
    if first < theirs.stop and last + 1 >= theirs.start:
        # A server that comes back needs the very ports of its conversations.
        log.warning(
            "media.ports_of_clients",
            rtp_ports=f"{first}-{last + 1}",
            system=f"{theirs[0]}-{theirs[-1]}",
            fix="RTP ports outside net.ipv4.ip_local_port_range, or in net.ipv4.ip_local_reserved_ports",
        )
    try:
        listener = listen_unix(path)
    except (OSError, ValueError) as error:
        log.error("media.not_started", why=str(error), socket=str(path))
        return 1
    control = ControlSocket(listener, options.name, time.monotonic())
    server = MediaServer(plane, control, lambda status: notifier.notify(f"WATCHDOG=1\nSTATUS={status}"))

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stopping = True

    def drain(_number: int, _frame: FrameType | None) -> None:
        server.draining = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGUSR1, drain)
    gc.collect()
    gc.freeze()  # a full collection over everything imported would take several ticks
    log.info("media.started", socket=str(path), host=options.host, capacity=plane.capacity, pid=os.getpid())
    notifier.notify("READY=1")
    try:
        server.run()
    finally:
        notifier.notify("STOPPING=1")
        control.close()
        plane.close()
        path.unlink(missing_ok=True)
        log.info("media.stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
