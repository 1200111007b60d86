"""The whole product on this machine under load: daemon, SIP workers, media server, PostgreSQL and the simulated world.

`rig` brings everything up in a folder of its own and takes everything down again; `Rig.measure` dials at a given rate
and returns what was seen in the steady window. All traffic is on 127.0.0.1.
"""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from ocsd.client import ControlClient, ControlUnavailable
from ocsd.config.loader import load_configuration
from ocsd.config.objects import Configuration
from ocsd.demo.options import DemoOptions
from ocsd.demo.processes import child, cpu_seconds, end, process_tree, wait_for
from ocsd.demo.run import prepare_list
from ocsd.demo.world import CAMPAIGN_GROUP_DBID, free_port, write_configuration, write_customers
from ocsd.lists.embedded import EmbeddedPostgres, data_folder
from ocsd.model.enums import DialMode, GroupCampStatus, OptimizeBy
from telephony import launcher

GROUP = CAMPAIGN_GROUP_DBID
DRAIN_LIMIT_S = 40.0


@dataclass(frozen=True, slots=True)
class Load:
    """
    What is asked of the site.

    ``rate_per_s`` is held by dialing_rate_limit; agents and lines per agent are so many that pacing never bounds it.
    With short ringing and talking a call lasts about 7 s, so that 20 starts a second keep well over 100 channels busy.
    """

    rate_per_s: float
    warm_up_s: float = 25.0
    steady_s: float = 60.0
    mix: str = "demo"
    seed: int = 1
    talk_mean_s: float = 3.0
    wrap_mean_s: float = 1.0
    ring_scale: float = 0.1

    @property
    def agents(self) -> int:
        return max(10, round(3.0 * self.rate_per_s))

    @property
    def records(self) -> int:
        return int(self.rate_per_s * (self.warm_up_s + self.steady_s + 10.0)) + 20 * self.agents

    @property
    def customer_ports(self) -> int:
        """A share of the calls rings unanswered for 15 s: twelve seconds a call leave room."""
        return int(12.0 * self.rate_per_s) + 20


@dataclass(frozen=True, slots=True)
class Observed:
    """Raw material of one run. All times are CLOCK_MONOTONIC seconds; ``attempts`` are rows of the journal."""

    load: Load
    began_s: float
    ended_s: float
    attempts: list[dict[str, Any]]
    truths: list[dict[str, Any]]
    phone_truths: list[dict[str, Any]]
    load_lines: list[dict[str, Any]]
    cpu_s: dict[str, float]
    others_cpu_s: float
    world: dict[str, Any]


def json_lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{")]


def with_settings(text: str, load: Load) -> str:
    """The demo's configuration with ports, pacing and limits for this load."""
    ports, legs = load.customer_ports, load.customer_ports + load.agents + 8
    options = (
        f"options = {{ record_processed = true, stale_clean_timeout = 5, dialing_rate_limit = {load.rate_per_s}, "
        "progressive_dial_factor = 10.0, call_wait_connected_timeout = 15 }"
    )
    for pattern, line in (
        (r"^options = .*$", options),
        (r"^\[http\]$", "[http]\nmax_connections = 4096"),
        (r"^max_legs = .*$", f"max_legs = {legs}"),
        (r"^media_servers = .*$", f"media_servers = {-(-legs // 450)}"),  # of 500 channels, a tenth in reserve
        (r"^max_calls = .*$", f"max_calls = {ports}"),
        (r"^num_of_channels = .*$", f"num_of_channels = {ports}"),
    ):
        text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
        if count != 1:
            raise RuntimeError(f"{pattern} stands {count} times in the demo's configuration")
    return text


def machine_busy_s() -> float:
    """CPU seconds that all processes of the machine have used, stolen time included (proc(5), /proc/stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting = fields[3], fields[4]
    return (sum(fields) - idle - waiting) / 100.0


class Rig:
    """A running site; see `rig`."""

    def __init__(
        self,
        load: Load,
        folder: Path,
        config: Configuration,
        dsn: str,
        client: ControlClient,
        daemon: subprocess.Popen[bytes],
        world: subprocess.Popen[bytes],
        postgres: EmbeddedPostgres,
    ) -> None:
        self.load = load
        self.folder = folder
        self.config = config
        self.dsn = dsn
        self.client = client
        self.daemon = daemon
        self.world = world
        self.postgres = postgres

    def pids(self) -> dict[str, list[int]]:
        """Process ids by part of the product."""
        servers = launcher.server_pids(self.folder / "run")
        server_pid = self.postgres.server_pid()
        return {
            "daemon": [self.daemon.pid],
            "sip_workers": process_tree(servers["telephony"]) if "telephony" in servers else [],
            "media": [pid for part, pid in servers.items() if part.startswith("media-")],
            "postgres": process_tree(server_pid) if server_pid is not None else [],
            "simulated_world": process_tree(self.world.pid),
        }

    def _cpu(self) -> tuple[dict[str, dict[str, float]], float]:
        return {part: cpu_seconds({str(pid): [pid] for pid in pids}) for part, pids in self.pids().items()}, (
            machine_busy_s()
        )

    def load_group(self) -> None:
        """Load the campaign group and wait for its agents."""
        log = self.folder / "daemon.log"
        self.client.load(GROUP)
        wait_for(
            "the agents",
            lambda: self.client.statistics(GROUP).get("agents_ready") == self.load.agents or None,
            self.daemon,
            log,
        )

    def dial(self) -> None:
        """Start dialing and let it get into its stride."""
        self.client.start(GROUP, DialMode.PROGRESSIVE, OptimizeBy.OVERDIAL_RATE, 3)
        self.wait(self.load.warm_up_s)

    def measure(self) -> Observed:
        """Load, dial, take the figures of the steady window, unload, and collect what everybody wrote."""
        load, log = self.load, self.folder / "daemon.log"
        self.load_group()
        self.dial()
        before, busy_before_s = self._cpu()
        began_s = time.monotonic()
        self.wait(load.steady_s)
        after, busy_after_s = self._cpu()
        ended_s = time.monotonic()
        cpu_s = {
            part: round(sum(spent - before[part].get(pid, 0.0) for pid, spent in pids.items()), 2)
            for part, pids in after.items()
        }
        self._unload()
        end(self.world)  # completes the truth logs
        attempts = self._journal()
        end(self.daemon)
        lines = [line for line in json_lines(log) if line.get("event") == "daemon.load"]
        return Observed(
            load=load,
            began_s=began_s,
            ended_s=ended_s,
            attempts=attempts,
            truths=json_lines(self.folder / "carrier-truth.jsonl"),
            phone_truths=json_lines(self.folder / "phones-truth.jsonl"),
            load_lines=lines[-max(1, int(load.steady_s // 10)) :],
            cpu_s=cpu_s,
            others_cpu_s=round(max(0.0, busy_after_s - busy_before_s - sum(cpu_s.values())), 2),
            world=(json_lines(self.folder / "world.log") or [{}])[-1],
        )

    def wait(self, seconds: float) -> None:
        """Asks for the live figures now and then, as an operator's screen would."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            if self.daemon.poll() is not None:
                raise RuntimeError(f"ocsd ended with code {self.daemon.returncode}")
            self.client.statistics(GROUP)
            time.sleep(max(0.0, min(1.0, until_s - time.monotonic())))

    def _unload(self) -> None:
        self.client.complete(GROUP)
        until_s = time.monotonic() + DRAIN_LIMIT_S
        while self.client.status(GROUP)["GSW_CM_AttrGroupCampStatus"] != GroupCampStatus.NOT_LOADED:
            if time.monotonic() > until_s:
                self.client.force_unload(GROUP)
                until_s = float("inf")
            time.sleep(0.2)

    def _journal(self) -> list[dict[str, Any]]:
        """All attempts, their times on the monotonic clock."""
        times = ("dialing_at", "answered_at", "cpd_completed_at", "agent_answered_at", "released_at")
        plain = ("attempt_id", "phone", "call_result", "cpa_verdict", "agent_id", "evidence")
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            rows = conn.execute(
                f"SELECT {', '.join(plain)}, connected_at IS NOT NULL, finished_at IS NOT NULL,"  # noqa: S608
                f" {', '.join(f'extract(epoch FROM {name})::float8' for name in times)} FROM ocsd.attempt"
            ).fetchall()
        names = (*plain, "connected", "finished", *(name.removesuffix("_at") + "_at_s" for name in times))
        # Same host, and the offset of the two clocks moves by less than a millisecond in a run.
        offset_s = time.time() - time.monotonic()
        attempts = [dict(zip(names, row, strict=True)) for row in rows]
        for attempt in attempts:
            for name in names[-len(times) :]:
                attempt[name] = attempt[name] - offset_s if attempt[name] is not None else None
        return attempts


@contextmanager
def rig(load: Load, daemon_module: str = "ocsd.cli") -> Iterator[Rig]:
    """A site that is ready to dial; every process is ended and the folder removed with the block."""
    with ExitStack() as stack:
        # PostgreSQL runs as an unprivileged user when we are root, and must be able to enter.
        folder = Path(tempfile.mkdtemp(prefix="ocsd-bench-"))
        folder.chmod(0o755)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        desktop_port, http_port = free_port(), free_port()
        ready, world_log = folder / "world.json", folder / "world.log"
        world = stack.enter_context(
            child(
                [
                    "telephony.simworld.main",
                    f"--agents={load.agents}",
                    f"--desktop-url=ws://127.0.0.1:{desktop_port}/desktop",
                    f"--seed={load.seed}",
                    f"--truth={folder / 'carrier-truth.jsonl'}",
                    f"--phones-truth={folder / 'phones-truth.jsonl'}",
                    f"--ready-file={ready}",
                    f"--talk-mean-s={load.talk_mean_s}",
                    f"--wrap-mean-s={load.wrap_mean_s}",
                    f"--ring-scale={load.ring_scale}",
                    f"--mix={load.mix}",
                    f"--max-calls={load.customer_ports + 50}",
                ],
                world_log,
            )
        )
        # It stands for machines of other people: what is late there must not look like lateness of ours.
        launcher.prefer(world.pid, launcher.MEDIA_NICENESS)
        ports = wait_for(
            "the simulated world", lambda: json.loads(ready.read_text()) if ready.exists() else None, world, world_log
        )
        config_path = folder / "ocsd.toml"
        write_configuration(
            config_path,
            DemoOptions(agents=load.agents, mode="progressive"),
            data_dir=folder,
            http_port=http_port,
            desktop_port=desktop_port,
            carrier_port=ports["carrier_port"],
            phones_port=ports["phones_port"],
            legal_window=False,  # calls ahead from the first person on
        )
        config_path.write_text(with_settings(config_path.read_text(), load))
        config = load_configuration(config_path)
        postgres = EmbeddedPostgres(data_folder(config.data_dir) / "postgres")
        dsn = postgres.start()
        stack.callback(postgres.stop)
        customers = folder / "customers.csv"
        write_customers(customers, load.records)
        prepare_list(config, dsn, customers)
        stack.callback(launcher.stop, folder / "run")
        log = folder / "daemon.log"
        daemon = stack.enter_context(child([daemon_module, "run", "--config", str(config_path)], log))
        client = stack.enter_context(ControlClient(f"http://127.0.0.1:{http_port}"))

        def answers() -> bool | None:
            try:
                client.health()
            except ControlUnavailable:
                return None
            return True

        wait_for("ocsd", answers, daemon, log)
        yield Rig(load, folder, config, dsn, client, daemon, world, postgres)
