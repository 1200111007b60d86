"""Calls held and call starts per second of the telephony plane: SIP workers, media servers and the simulated carrier.

Calls start at a given rate, are analysed from the answer to the verdict, and are then held, with sound both ways, until
their time is over; rate times hold is how many are up at once. There is no daemon and no database in it (those are in
`bench.dialing`): the driver here speaks to workers and media servers as the daemon does.

    python -m bench.calls --rate 50 --hold 20 --seconds 600        # 1,000 held for ten minutes
    python -m bench.calls --rates 10 25 50 --hold 20 --seconds 60  # how far this machine goes, then --long at the best
    python -m bench.calls --calls 50000 --rate 100 --hold 0.2      # what 50,000 calls leave behind
    python -m bench.calls --rate 25 --hold 20 --seconds 60 --profile  # where carrier and media server spend their time

A rate is held when every call was answered and ended as it should, at most 0.5 % excepted, and the media servers' ticks
came in time. It ends with 3 when one is not: of `--rates` the first, of all else any. All traffic is on 127.0.0.1.
"""

import argparse
import json
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import trio

from bench.media import prefer, raise_descriptors
from ocsd.demo.processes import cpu_seconds, end, json_file, process_tree, wait_for
from telephony.api import LegLost, TelephonyError
from telephony.client import TelephonyClient, open_telephony
from telephony.contract import ChannelClosed, LegAnswered, LegEnded, MediaStats, PlaceCall, Verdict
from telephony.launcher import MEDIA_NICENESS
from telephony.launcher import prefer as run_before
from telephony.media_pool import MediaPool, open_media_servers
from telephony.ports import leased
from telephony.procs import is_listening
from telephony.simworld.numbers import number_for

RING_S = 0.5
"""Mean, about: the simulated people ring long; scaled so that a call is held, not rung."""
SPARE = 1.25
"""Slots and channels per call held: calls overlap a little more while a machine is late."""
MEDIA_HELD = 1100
"""
Of one media server, about. A tick takes 2 ms with a handful of calls already, so few servers are better: with 1,000
calls on two processors one server and the carrier have one each, and with a third such process somebody waits.
"""
PREFERRED = -5
"""Niceness of it all, where the system allows: others may use the machine as well."""
IN_TIME = PREFERRED + MEDIA_NICENESS
"""Of media servers, as the daemon and systemd run them, and of the carrier, who has a machine of his own elsewhere."""
LATE_P99_MS = 20.0
"""A tick that comes later than the next one was due."""
FAILED_SHARE = 0.005
AFTER_THE_ANSWER = ("cut", "lost")
"""How the reasons of failures begin that befall calls which had been answered."""
DRAIN_LIMIT_S = 60.0
START_LIMIT_S = 120.0
PROFILE_ROWS = 12
NOT_HELD = 3
"""Exit code; the figures are written all the same."""
MEMORY_EVERY = 10_000
"""Calls: memory is read after so many started, so that what grows is seen growing."""


@dataclass
class Figures:
    """One run. Memory is what a part holds for itself, in MB; processor time in shares of one core."""

    rate_per_s: float
    hold_s: float
    seconds: float = 0.0
    started: int = 0
    answered: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    starts_per_s: float = 0.0
    held_most: int = 0
    held_mean: float = 0.0
    placing_p50_ms: float = 0.0
    placing_p99_ms: float = 0.0
    late_p50_ms: float = 0.0
    late_p99_ms: float = 0.0
    """Of the media servers' ticks: the worst seen of any server."""
    mos_p5: float = 0.0
    gaps_per_call: float = 0.0
    driver_behind_s: float = 0.0
    cpu_cores: dict[str, float] = field(default_factory=dict)
    cpu_ms_per_call: dict[str, float] = field(default_factory=dict)
    """User and system time of each part while calls started, over the calls started."""
    memory_idle_mb: dict[str, float] = field(default_factory=dict)
    memory_held_mb: dict[str, float] = field(default_factory=dict)
    memory_quarter_mb: dict[str, float] = field(default_factory=dict)
    """After a quarter of the calls: from there on nothing should grow."""
    memory_by_calls_mb: dict[int, dict[str, float]] = field(default_factory=dict)
    """By the number of calls started, every `MEMORY_EVERY`."""
    memory_after_mb: dict[str, float] = field(default_factory=dict)
    memory_per_call_kb: dict[str, float] = field(default_factory=dict)
    descriptors_before: dict[str, int] = field(default_factory=dict)
    descriptors_after: dict[str, int] = field(default_factory=dict)
    legs_left: int = 0
    channels_left: int = 0
    carrier: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, list[str]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Did the plane do what was asked of it?"""
        ended_otherwise = sum(count for why, count in self.failed.items() if why.startswith(AFTER_THE_ANSWER))
        done = self.answered - ended_otherwise >= (1.0 - FAILED_SHARE) * self.started > 0
        left = self.legs_left or self.channels_left
        return done and not left and self.late_p99_ms < LATE_P99_MS and self.starts_per_s > 0.98 * self.rate_per_s


def memory_mb(pids: Sequence[int]) -> float:
    """Private memory of these processes (proc(5), smaps_rollup); workers share most of theirs with their parent."""
    total_kb = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total_kb += sum(int(kb) for kb in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))
    return round(total_kb / 1024.0, 1)


def descriptors(pids: Sequence[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids if Path(f"/proc/{pid}").exists())


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextmanager
def child(command: Sequence[str], log: Path, niceness: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """``niceness``: who runs before the others; 0: as we do."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip
    run_before(process.pid, niceness or PREFERRED)
    try:
        yield process
    finally:
        end(process)


class Plane:
    """The processes of one run, by part."""

    def __init__(self, folder: Path, held: int, profile: bool, stack: ExitStack) -> None:
        self.folder = folder
        self.legs = int(held * SPARE) + 8
        servers = -(-held // MEDIA_HELD)
        capacity = -(-self.legs // servers) + 50
        ports = stack.enter_context(leased(2 * int(1.2 * self.legs) + 100 * servers))

        def python(module: str, *arguments: str) -> list[str]:
            profiled = ["-m", "cProfile", "-o", str(folder / f"{module}.prof")] if profile else []
            return [sys.executable, *profiled, "-m", module, *arguments]

        # The pool forks its workers itself and leaves with os._exit: cProfile would see nothing of it.
        pool = [sys.executable, "-m", "telephony.worker.pool", "--run-dir", str(folder), "--legs", str(self.legs)]
        self.pool = stack.enter_context(child(pool, folder / "pool.log"))
        self.media = [
            stack.enter_context(
                child(
                    python(
                        "telephony.media.server", "--run-dir", str(folder), "--part", f"{number}/{servers}",
                        "--capacity", str(capacity),
                        "--rtp-ports", f"{ports.start + ports.start % 2}-{ports.stop - 2 - ports.stop % 2}",
                    ),
                    folder / f"media-{number}.log",
                    IN_TIME,
                )
            )
            for number in range(servers)
        ]  # fmt: skip
        ready, mix = folder / "ready.json", folder / "mix.json"
        mix.write_text(json.dumps({"mix": {"human": 1.0}}), encoding="utf-8")
        arguments = [f"--ready-file={ready}", f"--mix={mix}", f"--max-calls={2 * self.legs}", "--patience-s=99999"]
        arguments += [f"--ring-scale={RING_S / 10.0}", "--talk-mean-s=99999", "--customer-ends-share=0"]
        log = folder / "carrier.log"
        self.carrier = stack.enter_context(child(python("telephony.simworld.main", *arguments), log, IN_TIME))
        self.carrier_port = int(wait_for("the carrier", lambda: json_file(ready), self.carrier, log)["carrier_port"])
        sockets = [folder / f"media-{number}.sock" for number in range(servers)]
        until_s = time.monotonic() + START_LIMIT_S
        while not all(is_listening(path) for path in sockets):
            if time.monotonic() > until_s:
                raise RuntimeError("the media servers did not start")
            time.sleep(0.1)

    def pids(self) -> dict[str, list[int]]:
        return {
            "sip_workers": process_tree(self.pool.pid),
            "media": [process.pid for process in self.media],
            "carrier": [self.carrier.pid],
            "driver": [os.getpid()],
        }

    def memory(self) -> dict[str, float]:
        return {part: memory_mb(pids) for part, pids in self.pids().items()}


class Driver:
    """Starts and ends the calls of one run."""

    def __init__(self, plane: Plane, figures: Figures, calls: int) -> None:
        self.plane = plane
        self.figures = figures
        self.calls = calls
        self.live = 0
        self.placing_ms: list[float] = []
        self.gaps: list[int] = []
        self.held_seconds = 0.0

    async def run(self) -> None:
        figures, plane = self.figures, self.plane
        async with open_telephony(plane.folder) as telephony, open_media_servers(plane.folder) as media:
            with trio.fail_after(START_LIMIT_S):
                while telephony.capacity < plane.legs or not await self._ready(media):  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.2)
            figures.memory_idle_mb = plane.memory()
            figures.descriptors_before = {part: descriptors(pids) for part, pids in plane.pids().items()}
            cpu_before = cpu_seconds(plane.pids())
            began_s = time.monotonic()
            async with trio.open_nursery() as nursery:
                watch = trio.CancelScope()
                nursery.start_soon(self._watch, media, watch)
                async with trio.open_nursery() as calls:
                    await self._start_all(telephony, media, calls)
                    figures.seconds = round(time.monotonic() - began_s, 1)
                    figures.memory_held_mb = plane.memory()
                    cpu_after = cpu_seconds(plane.pids())
                    calls.cancel_scope.deadline = trio.current_time() + figures.hold_s + DRAIN_LIMIT_S
                watch.cancel()
            figures.cpu_cores = {
                part: round((spent - cpu_before[part]) / figures.seconds, 3) for part, spent in cpu_after.items()
            }
            await trio.sleep(5.0)
            figures.legs_left, figures.channels_left = telephony.in_use, (await media.stats()).channels
            figures.memory_after_mb = plane.memory()
            figures.descriptors_after = {part: descriptors(pids) for part, pids in plane.pids().items()}
        self._sum_up()

    @staticmethod
    async def _ready(media: MediaPool) -> bool:
        try:
            await media.stats()
        except TelephonyError:
            return False
        return True

    async def _start_all(self, telephony: TelephonyClient, media: MediaPool, nursery: trio.Nursery) -> None:
        """At even distances; a late one is not made up for by a burst of more than a second's worth."""
        figures = self.figures
        next_s = time.monotonic()
        for index in range(self.calls):
            now_s = time.monotonic()
            if now_s - next_s > 1.0:
                figures.driver_behind_s += now_s - next_s - 1.0
                next_s = now_s - 1.0
            await trio.sleep(max(0.0, next_s - now_s))
            next_s += 1.0 / figures.rate_per_s
            nursery.start_soon(self._call, telephony, media, index)
            if index == self.calls // 4:
                figures.memory_quarter_mb = self.plane.memory()
            if (index + 1) % MEMORY_EVERY == 0:
                figures.memory_by_calls_mb[index + 1] = self.plane.memory()

    async def _watch(self, media: MediaPool, scope: trio.CancelScope) -> None:
        """How punctual the media servers are, and how many calls are up."""
        figures, began_s, seen_s = self.figures, time.monotonic(), time.monotonic()
        with scope:
            while True:
                await trio.sleep(1.0)
                now_s = time.monotonic()
                self.held_seconds += self.live * (now_s - seen_s)
                seen_s = now_s
                figures.held_most = max(figures.held_most, self.live)
                figures.held_mean = round(self.held_seconds / (now_s - began_s), 1)
                stats: dict[int, MediaStats] = await media.stats_by_server()
                for one in stats.values():
                    figures.late_p50_ms = max(figures.late_p50_ms, round(one.tick_late_p50_ms, 2))
                    figures.late_p99_ms = max(figures.late_p99_ms, round(one.tick_late_p99_ms, 2))
                    if one.mos_p5:
                        figures.mos_p5 = round(min(figures.mos_p5 or 5.0, one.mos_p5), 2)

    async def _call(self, telephony: TelephonyClient, media: MediaPool, index: int) -> None:
        figures = self.figures
        figures.started += 1
        name = f"bench-{os.getpid()}-{time.monotonic_ns():x}-{index}"
        try:
            channel = await media.open_channel(name)
        except TelephonyError as error:
            figures.failed[f"channel: {type(error).__name__}"] += 1
            return
        try:
            number = number_for(index % 5000).lstrip("+")
            command = PlaceCall(
                name, f"sip:{number}@127.0.0.1:{self.plane.carrier_port}", "sip:+12025550100@127.0.0.1", channel.host,
                channel.port, 60.0,
            )  # fmt: skip
            asked_s = time.monotonic()
            leg = await telephony.place_call(command)
            self.placing_ms.append(1000.0 * (time.monotonic() - asked_s))
            await self._hold(leg, channel)
        except TelephonyError as error:
            figures.failed[f"leg: {type(error).__name__}"] += 1
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(5.0):
                await channel.close()
                async for event in channel.events:
                    if isinstance(event, ChannelClosed):
                        self.gaps.append(event.gaps)

    async def _hold(self, leg: Any, channel: Any) -> None:
        figures = self.figures
        answered = False
        async for event in leg.events:
            if isinstance(event, LegAnswered):
                answered = True
                break
            if isinstance(event, (LegEnded, LegLost)):
                figures.failed[f"not answered: {getattr(event, 'sip_status', 'lost')}"] += 1
                return
        if not answered:
            figures.failed["not answered"] += 1
            return
        figures.answered += 1
        self.live += 1
        try:
            await channel.set_remote(event.remote_rtp_host, event.remote_rtp_port, event.payload_type)
            await channel.start_analysis(connected=True)
            until_s = trio.current_time() + figures.hold_s
            with trio.CancelScope(deadline=until_s):
                async for heard in channel.events:
                    if isinstance(heard, Verdict):
                        figures.verdicts[heard.kind.value] += 1
                        break
            await channel.stop_analysis()
            with trio.CancelScope(deadline=until_s):
                async for report in leg.events:
                    if isinstance(report, (LegEnded, LegLost)):
                        figures.failed[f"cut: {type(report).__name__}"] += 1
                        return
            await leg.hang_up()
            async for report in leg.events:
                if isinstance(report, LegLost):
                    figures.failed["lost at the end"] += 1
        finally:
            self.live -= 1

    def _sum_up(self) -> None:
        figures = self.figures
        figures.starts_per_s = round(figures.started / figures.seconds, 2)
        figures.cpu_ms_per_call = {
            part: round(1000.0 * cores * figures.seconds / max(1, figures.started), 2)
            for part, cores in figures.cpu_cores.items()
        }
        figures.placing_p50_ms = round(percentile(self.placing_ms, 0.5), 2)
        figures.placing_p99_ms = round(percentile(self.placing_ms, 0.99), 2)
        figures.gaps_per_call = round(sum(self.gaps) / max(1, len(self.gaps)), 3)
        figures.driver_behind_s = round(figures.driver_behind_s, 1)
        if figures.held_mean and figures.hold_s > 1.0:  # of shorter calls it is their memory in the stack's timers
            figures.memory_per_call_kb = {
                part: round(1024.0 * (held - figures.memory_idle_mb[part]) / max(1, self.live_at_most), 1)
                for part, held in figures.memory_held_mb.items()
            }

    @property
    def live_at_most(self) -> int:
        return self.figures.held_most


def profile_of(file: Path) -> list[str]:
    """The functions with most time of their own, as shares of all of it but waiting."""
    if not file.exists():
        return []
    all_stats = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    stats = {place: times for place, times in all_stats.items() if "select." not in place[2]}
    whole_s = sum(own_s for _, _, own_s, _, _ in stats.values())
    rows = sorted(((own_s, place) for place, (_, _, own_s, _, _) in stats.items()), reverse=True)[:PROFILE_ROWS]
    return [f"{100.0 * own_s / whole_s:.1f} % {Path(name).name}:{line} {what}" for own_s, (name, line, what) in rows]


def measure(rate_per_s: float, hold_s: float, calls: int, profile: bool) -> Figures:
    """One run, on a plane of its own."""
    figures = Figures(rate_per_s, hold_s)
    with tempfile.TemporaryDirectory(prefix="ocsd-bench-calls-") as name:
        folder = Path(name)
        with ExitStack() as stack:
            plane = Plane(folder, max(8, round(rate_per_s * (hold_s + 2 * RING_S))), profile, stack)
            trio.run(Driver(plane, figures, calls).run)
        last = (folder / "carrier.log").read_text(errors="replace").strip().splitlines()[-1:]
        figures.carrier = json.loads(last[0]) if last and last[0].startswith("{") else {"said": last}
        for module in ("telephony.media.server", "telephony.simworld.main"):
            if rows := profile_of(folder / f"{module}.prof"):
                figures.profile[module] = rows
    return figures


def told(figures: Figures) -> dict[str, Any]:
    found = asdict(figures)
    found["verdicts"], found["failed"] = dict(figures.verdicts), dict(figures.failed)
    found["holds"] = figures.holds
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[], help="one after the other, up to the first too many"
    )
    parser.add_argument("--hold", type=float, default=20.0, help="seconds that a call is up (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of call starts (default: %(default)s)")
    parser.add_argument("--long", type=float, default=0.0, help="seconds at the best of --rates")
    parser.add_argument("--calls", type=int, default=0, help="so many calls instead of --seconds")
    parser.add_argument("--soak", type=int, default=0, help="short calls in the end, to see what they leave behind")
    parser.add_argument("--profile", action="store_true", help="carrier and media server under cProfile (both slower)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    raise_descriptors()
    prefer(PREFERRED)
    found: list[dict[str, Any]] = []

    def run(rate: float, hold_s: float, calls: int) -> Figures:
        figures = measure(rate, hold_s, calls, options.profile)
        found.append(told(figures))
        for name, value in found[-1].items():
            print(f"{name:22s} {value}")
        print(flush=True)
        return figures

    best = 0.0
    for rate in options.rates:
        if not run(rate, options.hold, round(rate * options.seconds)).holds:
            break
        best = rate
    held = [best > 0.0] if options.rates else []
    if options.long and best:
        held.append(run(best, options.hold, round(best * options.long)).holds)
    if options.rate:
        calls = options.calls or round(options.rate * options.seconds)
        held.append(run(options.rate, options.hold, calls).holds)
    if options.soak:
        held.append(run(max(best, 10.0) * 2.0, 0.2, options.soak).holds)
    if options.json is not None:
        options.json.write_text(json.dumps(found), encoding="utf-8")
    return 0 if all(held) else NOT_HELD


if __name__ == "__main__":
    sys.exit(main())
