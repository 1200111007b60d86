"""The control port of the real daemon: idle, while it dials, and with a thousand connections of all kinds beside that.

    python -m bench.http_records             # four minutes
    python -m bench.http_records --quick     # three quarters of a minute
    python -m bench.http_records --probe     # also: which steps of the daemon's event loop kept requests waiting

idle      the daemon on a core of its own, asked by a client on the others as fast as it answers (closed loop)
dialing   20 call starts/s and 500 requests/s by schedule (open loop): latency counts from the instant at which a
          request was to leave, so that a server that stands still is charged for all that was to be asked meanwhile
crowd     the same with 1000 persistent connections: 800 that ask every ten seconds, 100 that send a byte a second,
          50 whose host is gone, 50 that ask on and never read

PostgreSQL runs with fsync, and an answer to a write is sent when it is on disk; such requests are also told apart.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import psycopg

from bench import probe
from bench.http_client import Crowd, Guests, closed_loop, mixed, open_loop, request
from bench.rig import GROUP, Load, Rig, rig
from ocsd.client import ControlError
from ocsd.demo.processes import cpu_seconds
from ocsd.demo.world import CALLING_LIST
from telephony.simworld.numbers import AREAS, LINES, number_for

CALLS_PER_S: Final = 20.0
REQUESTS_PER_S: Final = 500.0
CONNECTIONS: Final = 32
OPEN_CONNECTIONS: Final = 100
"""By schedule: so many that a request hardly ever waits for a free one while others wait for the disk."""
LIVE_ASKED_EVERY_S: Final = 0.25

SIMULATED_NUMBERS: Final = LINES * len(AREAS)

GET_GROUP: Final = request("GET", f"/campaigngroups/{GROUP}")
IDLE_MIX: Final = {"get_group": 0.5, "unknown_handle": 0.3, "do_not_call": 0.2}
DIALING_MIX: Final = {
    "get_group": 0.35,
    "statistics": 0.05,
    "update_live": 0.25,
    "processed_live": 0.01,
    "unknown_handle": 0.05,
    "do_not_call": 0.17,
    "add_record": 0.12,
}


class LiveHandles:
    """Handles of records that are being dialed or talked to, asked of the database by a thread now and then."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._handles: list[int] = [1]
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(self._dsn, autocommit=True) as conn:
            while True:
                rows = conn.execute("SELECT attempt_id FROM ocsd.attempt WHERE finished_at IS NULL").fetchall()
                self._handles = [int(row[0]) for row in rows] or self._handles
                time.sleep(LIVE_ASKED_EVERY_S)

    def one(self, drawn: random.Random) -> int:
        return drawn.choice(self._handles)


def sources(dsn: str, first_added: int, offset: int) -> dict[str, Iterator[bytes]]:
    """
    Endless requests of each kind.

    Args:
        first_added: index (`number_for`) of the first number that AddRecord adds; the simulated carrier knows it.
        offset: of numbers and handles that no other phase of the measurement uses.
    """
    drawn, live = random.Random(offset), LiveHandles(dsn)

    def post(target: str, **pairs: object) -> bytes:
        return request("POST", target, json.dumps(pairs).encode())

    def each(make: Callable[[int], bytes]) -> Iterator[bytes]:
        return map(make, itertools.count())

    return {
        "get_group": itertools.repeat(GET_GROUP),
        "statistics": itertools.repeat(request("GET", f"/campaigngroups/{GROUP}?req=statistics")),
        "unknown_handle": each(lambda n: post(f"/records/{2_000_000_000 + n}?req=RecordProcessed")),
        "update_live": each(
            lambda n: post(f"/records/{live.one(drawn)}?req=UpdateCallCompletionStats", customer_name=f"Customer {n}")
        ),
        "processed_live": each(lambda _: post(f"/records/{live.one(drawn)}?req=RecordProcessed")),
        "do_not_call": each(lambda n: post(f"/phones/+1617{2_000_000 + offset + n}?req=DoNotCall", GSW_TENANT_DBID=1)),
        "add_record": each(
            lambda n: post(
                f"/lists/{CALLING_LIST.replace(' ', '%20')}?req=AddRecord",
                GSW_CAMPAIGN_NAME="Demo",
                GSW_PHONE=number_for((first_added + n) % SIMULATED_NUMBERS),
                GSW_TZ_NAME="EST",
            )
        ),
    }


# --- clients, each in a process of its own ---------------------------------------------------------------------------


def ask_closed(
    reply: Connection, port: int, dsn: str, first_added: int, offset: int, mix: Mapping[str, float], seconds: float
) -> None:
    kinds = mixed(mix, sources(dsn, first_added, offset), offset)
    closed_loop(port, kinds, CONNECTIONS, min(0.3, seconds))  # warm-up
    reply.send("warm")
    reply.send(closed_loop(port, kinds, CONNECTIONS, seconds))


def ask_open(reply: Connection, port: int, dsn: str, first_added: int, offset: int, seconds: float) -> None:
    kinds = mixed(DIALING_MIX, sources(dsn, first_added, offset), offset)
    time.sleep(2 * LIVE_ASKED_EVERY_S)  # until the live handles are known
    reply.send("ready")
    reply.send(open_loop(port, kinds, REQUESTS_PER_S, OPEN_CONNECTIONS, seconds, offset))


def hold(reply: Connection, port: int, guests: Guests) -> None:
    """Hold a crowd until told to stop; tells when it is complete, and its figures in the end."""
    crowd = Crowd(port, guests, GET_GROUP)
    reply.send("complete")
    crowd.run(3600.0, reply)
    reply.send(crowd.figures())
    crowd.close()


@contextmanager
def client(function: Callable[..., None], *arguments: Any, cores: set[int] | None = None) -> Iterator[Connection]:
    """A client process with a pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=function, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    assert process.pid is not None
    if cores:
        os.sched_setaffinity(process.pid, cores)
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def answer_of(connection: Connection, limit_s: float) -> Any:
    if not connection.poll(limit_s):
        raise TimeoutError("the client process does not answer")
    return connection.recv()


# --- the daemon, from outside ----------------------------------------------------------------------------------------


def pin(pids: list[int], cores: set[int]) -> None:
    """Let all threads of the processes run on these cores only."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


def resident_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


class Bench:
    """One site, measured phase by phase."""

    def __init__(self, site: Rig, port: int) -> None:
        self.site = site
        self.port = port
        self._added = itertools.count(site.load.records + 10_000, 20_000)
        self._offset = itertools.count(0, 200_000)

    def _cores(self) -> dict[str, float]:
        pids = self.site.pids()
        return cpu_seconds({part: pids[part] for part in ("daemon", "postgres")})

    def closed(self, mix: Mapping[str, float], seconds: float, cores: set[int] | None) -> dict[str, Any]:
        arguments = (self.port, self.site.dsn, next(self._added), next(self._offset), mix, seconds)
        with client(ask_closed, *arguments, cores=cores) as reply:
            answer_of(reply, 60.0)
            before, began_s = self._cores(), time.monotonic()
            found: dict[str, Any] = answer_of(reply, seconds + 60.0)
            took_s = time.monotonic() - began_s
        spent = {part: after - before[part] for part, after in self._cores().items()}
        return found | {
            "requests_per_daemon_cpu_s": round(found["asked"] / max(0.01, spent["daemon"])),
            "cpu_cores": {part: round(cpu_s / took_s, 2) for part, cpu_s in spent.items()},
        }

    def idle(self, seconds: float) -> dict[str, Any]:
        """Requests as fast as they are answered, the daemon on one core; AddRecord needs a loaded campaign."""
        mine, others = alone()
        pids = self.site.pids()
        if mine:
            pin(pids.pop("daemon"), mine)
            pin([pid for group in pids.values() for pid in group], others)
        figures: dict[str, Any] = {
            kind: self.closed({kind: 1.0}, seconds, others) for kind in ("get_group", "unknown_handle", "do_not_call")
        }
        figures["mix"] = self.closed(IDLE_MIX, seconds, others)
        figures["memory_kb_per_connection"] = self.memory_per_connection()
        self.site.load_group()
        figures["add_record"] = self.closed({"add_record": 1.0}, seconds, others)
        if mine:
            for group in self.site.pids().values():
                pin(group, mine | others)
        return figures

    def memory_per_connection(self) -> float:
        """Growth of the daemon with a thousand good connections that have asked once."""
        pid, guests = self.site.daemon.pid, Guests(good=1000, slow=0, dead=0, deaf=0, asks_every_s=1.0)
        before_kb = resident_kb(pid)
        with client(hold, self.port, guests) as reply:
            answer_of(reply, 60.0)
            time.sleep(2.0)  # everyone has asked
            after_kb = resident_kb(pid)
        return round((after_kb - before_kb) / guests.total, 1)

    def dialing(self, seconds: float) -> dict[str, Any]:
        """500 requests/s by schedule; ``window_s`` on the monotonic clock."""
        arguments = (self.port, self.site.dsn, next(self._added), next(self._offset), seconds)
        with client(ask_open, *arguments) as reply:
            answer_of(reply, 60.0)
            before, began_s = self._cores(), time.monotonic()
            found: dict[str, Any] = answer_of(reply, seconds + 90.0)
            ended_s = time.monotonic()
        spent = {part: after - before[part] for part, after in self._cores().items()}
        return found | {
            "window_s": (began_s, ended_s),
            "cpu_cores": {part: round(cpu_s / (ended_s - began_s), 2) for part, cpu_s in spent.items()},
            "load_average_1min": round(os.getloadavg()[0], 2),
        }

    def crowd(self, seconds: float) -> dict[str, Any]:
        """As `dialing`, with the crowd."""
        pid = self.site.daemon.pid
        before_kb = resident_kb(pid)
        with client(hold, self.port, Guests()) as reply:
            answer_of(reply, 60.0)
            figures = self.dialing(seconds)
            after_kb = resident_kb(pid)
            reply.send("stop")
            held: dict[str, Any] = answer_of(reply, 60.0)
        return figures | {"crowd": held, "memory_grown_mb": round((after_kb - before_kb) / 1024, 1)}


def alone() -> tuple[set[int], set[int]]:
    """A core for the daemon and those for everybody else; both empty when there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return ({cores[0]}, set(cores[1:])) if len(cores) > 1 else (set(), set())


def measure(*, quick: bool, watched: bool) -> dict[str, Any]:
    idle_s, dialing_s, crowd_s, warm_up_s = (1.0, 5.0, 10.0, 8.0) if quick else (10.0, 60.0, 60.0, 25.0)
    load = Load(CALLS_PER_S, warm_up_s=warm_up_s, steady_s=dialing_s + crowd_s + 30.0)
    with tempfile.TemporaryDirectory(prefix="ocsd-bench-") as folder:
        found = Path(folder) / "probe.json"
        os.environ[probe.ASKED_BY] = str(found)
        with rig(load, "bench.probe" if watched else "ocsd.cli") as site:
            bench = Bench(site, site.config.http.port)
            figures: dict[str, Any] = {"idle": bench.idle(idle_s)}
            show_idle(figures["idle"])
            site.dial()
            figures["dialing"] = bench.dialing(dialing_s)
            show_busy("dialing", figures["dialing"])
            figures["crowd"] = bench.crowd(crowd_s)
            show_busy("crowd", figures["crowd"])
            figures["dialed"] = site.client.statistics(GROUP)
            with suppress(ControlError):
                site.client.force_unload(GROUP)
        for phase in ("dialing", "crowd"):
            window = figures[phase].pop("window_s")
            if watched:
                loop = probe.summary(json.loads(found.read_text(encoding="utf-8")), *window)
                show_event_loop(phase, loop)
                figures[phase]["event_loop"] = loop
    return figures | {"cores": os.cpu_count()}


def show_idle(figures: Mapping[str, Any]) -> None:
    for kind, case in figures.items():
        if isinstance(case, Mapping):
            times = case["all_ms"]
            print(
                f"idle, {kind}: {case['requests_per_s']} requests/s ({case['requests_per_daemon_cpu_s']} per CPU "
                f"second of the daemon), p50 {times['p50']} p99 {times['p99']} max "
                f"{times['max']} ms, CPU {case['cpu_cores']}, {case['statuses']}"
            )
    print(f"memory per connection {figures['memory_kb_per_connection']} kB", flush=True)


def show_busy(phase: str, case: Mapping[str, Any]) -> None:
    print(f"{phase}: {case['requests_per_s']} requests/s, {case['all_ms']}, CPU {case['cpu_cores']}")
    for kind, times in case["by_kind_ms"].items():
        print(f"  {kind}: {times} {case['statuses'].get(kind)}")
    print(f"  requests left late {case['left_late_ms']}; load {case['load_average_1min']}", flush=True)
    if "crowd" in case:
        print(f"  {case['crowd']}, memory grown {case['memory_grown_mb']} MB", flush=True)


def show_event_loop(phase: str, found: Mapping[str, Any]) -> None:
    print(f"event loop, {phase}: " + ", ".join(f"{name} {found[name]}" for name in found if "steps" not in name))
    for place, step in found["long_steps"].items():
        print(f"  {place}: {step}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--probe", action="store_true", help="a stopwatch in the daemon's event loop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the site is taken down then, too
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    began_s = time.monotonic()
    figures = measure(quick=options.quick, watched=options.probe)
    print(f"took {time.monotonic() - began_s:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
