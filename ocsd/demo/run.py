"""Runs the demo: brings a site up, lets a campaign dial, shows it, takes it down, and reports."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.live import Live

from ocsd.client import ControlClient, ControlError, ControlUnavailable
from ocsd.config.loader import load_configuration
from ocsd.config.objects import Configuration
from ocsd.demo import report as reporting
from ocsd.demo import view
from ocsd.demo.options import DemoOptions
from ocsd.demo.processes import (
    DemoFailed,
    Interrupted,
    child,
    cpu_seconds,
    end,
    ignore_interrupts,
    interruptible,
    json_file,
    process_tree,
    tail_of,
    wait_for,
)
from ocsd.demo.rehearsed import rehearse_demo, told_of_rehearsal
from ocsd.demo.verdicts import analysis_report
from ocsd.demo.world import (
    CALLING_LIST,
    CAMPAIGN_GROUP_DBID,
    RING_SCALE,
    TALK_CV,
    TALK_MEAN_S,
    WRAP_MEAN_S,
    free_port,
    rtp_ports_for,
    write_configuration,
    write_customers,
)
from ocsd.lists.embedded import EmbeddedPostgres, data_folder
from ocsd.lists.importer import import_csv
from ocsd.lists.migrate import migrate
from ocsd.lists.tables import create_table, table_of
from ocsd.model.enums import DialMode, GroupCampStatus, OptimizeBy
from telephony import launcher
from telephony.ports import PortsExhausted, leased

DRAIN_LIMIT_S = 90.0
"""Longest wait for the last conversations after dialing has stopped."""

IDLE_S = 20.0
"""A campaign that neither dials nor talks for so long has nobody left to call."""

REFRESH_S = 0.5
PICTURE_AT = 0.8
"""Share of the dialing time after which the picture is taken: everything is in its stride then."""


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def prepare_list(config: Configuration, dsn: str, customers: Path) -> int:
    """Create the demo's calling list and import its customers; returns the rows in the table."""
    calling_list = config.calling_list(CALLING_LIST)
    with psycopg.connect(dsn, autocommit=True) as conn:
        migrate(conn)
        create_table(conn, config, calling_list)
        outcome = import_csv(conn, config, calling_list, customers)
    if outcome.rejected:
        raise DemoFailed(f"{outcome.rejected} of the demo's own rows were rejected, see {outcome.rejected_path}")
    return outcome.imported


def attempts_and_statuses(
    config: Configuration, dsn: str
) -> tuple[list[reporting.AttemptRow], dict[int, int], dict[int, int]]:
    """The journal, the rows of the list by status, and the dialed rows by call result."""
    table = psycopg.sql.Identifier("public", table_of(config, config.calling_list(CALLING_LIST)))
    with psycopg.connect(dsn, autocommit=True) as conn:
        rows = conn.execute(
            "SELECT attempt_id, phone, call_result, connected_at IS NOT NULL, finished_at IS NOT NULL, agent_id,"
            " extract(epoch FROM cpd_completed_at)::float8, lost_waiting_for, evidence #> '{cpa,verdicts}'"
            " FROM ocsd.attempt ORDER BY attempt_id"
        )
        attempts = [reporting.AttemptRow(*row) for row in rows]
        by_status = psycopg.sql.SQL("SELECT record_status, count(*) FROM {} GROUP BY 1").format(table)
        statuses = {int(status): int(count) for status, count in conn.execute(by_status)}
        by_result = psycopg.sql.SQL("SELECT call_result, count(*) FROM {} WHERE attempt > 0 GROUP BY 1").format(table)
        results = {int(result): int(count) for result, count in conn.execute(by_result)}
    return attempts, statuses, results


@dataclass(frozen=True, slots=True)
class Between:
    """
    What stands between the site and its outside world, a proxy say, whoever runs the demo has started.

    Attributes:
        world_options: options of the simulated carrier and phones that lead them there.
        edit: makes of the configuration's text one that leads there too.
    """

    world_options: tuple[str, ...] = ()
    edit: Callable[[str], str] = lambda text: text


NOTHING = Between()


def run(options: DemoOptions, between: Between = NOTHING) -> int:
    """Run the demo to its summary; 0 when it ran, 1 when a part did not come up."""
    console = Console()
    try:
        with ExitStack() as stack:
            stack.enter_context(interruptible())
            if options.data_dir is None:
                # PostgreSQL runs as an unprivileged user when we are root, and must be able to enter.
                folder = Path(tempfile.mkdtemp(prefix="ocsd-demo-"))
                folder.chmod(0o755)
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            else:
                folder = options.data_dir.absolute()
                folder.mkdir(parents=True, exist_ok=True)
            Demo(options, folder, console, stack, between).run()
    except (DemoFailed, PortsExhausted) as error:
        Console(stderr=True).print(f"[red]demo:[/red] {error}")
        return 1
    except Interrupted:
        Console(stderr=True).print("demo: interrupted before the campaign began")
        return 130
    return 0


class Ended:
    """
    Whether a campaign has dialed enough: its time is over, it has made the attempts asked for, or it has called
    everybody whom it may and for `IDLE_S` nothing has happened.
    """

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._last = (-1, 0.0)
        """Attempts, and when they became so many."""

    def __call__(self, figures: Mapping[str, Any], elapsed_s: float) -> bool:
        """``figures``: those of the group, as it tells them now; empty before the first."""
        options = self._options
        if elapsed_s >= options.seconds:
            return True
        if options.attempts is None:
            return False
        attempts = int(figures.get("attempts") or 0)
        under_way = sum(int(figures.get(key) or 0) for key in ("calls_dialing", "calls_analysing", "agents_talking"))
        if attempts != self._last[0] or under_way:
            self._last = (attempts, elapsed_s)
        return attempts >= options.attempts or elapsed_s - self._last[1] > IDLE_S


class Demo:
    """One run; ``stack`` owns every process, so that whatever happens nothing stays behind."""

    def __init__(
        self, options: DemoOptions, folder: Path, console: Console, stack: ExitStack, between: Between = NOTHING
    ) -> None:
        self.options = options
        self.between = between
        self.folder = folder
        self.console = console
        self.stack = stack
        self.truth = folder / "carrier-truth.jsonl"
        self.phones_truth = folder / "phones-truth.jsonl"
        self.config_path = folder / "ocsd.toml"

    def run(self) -> None:
        options = self.options
        desktop_port = free_port()
        self.console.print("Starting the simulated carrier and agents ...")
        world, ports = self._start_world(desktop_port)
        http_port = options.http_port or free_port()
        # Of its own: several demos, or one beside a site in service, must not find each other on their ports.
        rtp_ports = self.stack.enter_context(leased(rtp_ports_for(options)))
        write_configuration(
            self.config_path,
            options,
            data_dir=self.folder,
            http_port=http_port,
            desktop_port=desktop_port,
            carrier_port=ports["carrier_port"],
            phones_port=ports["phones_port"],
            rtp_ports=(rtp_ports[0], rtp_ports[-1]),
            legal_window=False,
        )
        self.config_path.write_text(self.between.edit(self.config_path.read_text(encoding="utf-8")), encoding="utf-8")
        config = load_configuration(self.config_path)
        self.console.print("Starting PostgreSQL, importing the calling list ...")
        postgres = EmbeddedPostgres(data_folder(config.data_dir) / "postgres")
        dsn = postgres.start()
        self.stack.callback(postgres.stop)
        customers = self.folder / "customers.csv"
        write_customers(customers, options.records, of_all_kinds=options.of_all_kinds)
        records = prepare_list(config, dsn, customers)
        # Runs before postgres.stop: whatever the daemon left is ended first.
        self.stack.callback(launcher.stop, self.folder / "run")
        self.console.print("Starting ocsd ...")
        daemon_log = self.folder / "daemon.log"
        daemon = self.stack.enter_context(child(["ocsd.cli", "run", "--config", str(self.config_path)], daemon_log))
        client = self.stack.enter_context(ControlClient(f"http://127.0.0.1:{http_port}"))

        def answers() -> bool | None:
            try:
                client.health()
            except ControlUnavailable:
                return None
            return True

        wait_for("ocsd", answers, daemon, daemon_log)
        self.console.print(f"Control port: http://127.0.0.1:{http_port}/campaigngroups/{CAMPAIGN_GROUP_DBID}")
        figures: dict[str, Any] = {}
        began_s = time.monotonic()
        dialed_s = 0.0
        try:
            figures = self._campaign(client, daemon, daemon_log)
            dialed_s = time.monotonic() - began_s
            figures = self._unload(client) or figures
        except Interrupted:
            self.console.print("Interrupted: taking everything down ...")
            dialed_s = dialed_s or time.monotonic() - began_s
            figures = self._unload(client, by_force=True) or figures
        ignore_interrupts()  # what follows takes seconds and ends with what the user wants to see
        cpu = cpu_seconds(self._parts(daemon, world, postgres))
        end(world)  # flushes the carrier's truth
        end(daemon)  # writes what a forced unload has left to be written
        attempts, statuses, results = attempts_and_statuses(config, dsn)
        report = self._report(records, attempts, statuses, results, figures, dialed_s, cpu)
        if options.rehearse:
            report["rehearsed"] = told_of_rehearsal(rehearse_demo(options))
        if options.report is not None:
            options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        self.console.print(view.summary(report))
        if options.attempts is not None or options.of_all_kinds:
            self.console.print(view.analysis(report["analysis"]))
        if options.rehearse:
            self.console.print(view.side_by_side(report, report["rehearsed"]))
        if options.report is not None:
            self.console.print(f"Report: {options.report}")

    def _start_world(self, desktop_port: int) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        options = self.options
        ready, log_path = self.folder / "world.json", self.folder / "world.log"
        ready.unlink(missing_ok=True)
        world = self.stack.enter_context(
            child(
                [
                    "telephony.simworld.main",
                    f"--agents={options.agents}",
                    f"--desktop-url=ws://127.0.0.1:{desktop_port}/desktop",
                    f"--seed={options.seed}",
                    f"--truth={self.truth}",
                    f"--phones-truth={self.phones_truth}",
                    f"--ready-file={ready}",
                    f"--talk-mean-s={TALK_MEAN_S}",
                    f"--talk-cv={TALK_CV}",
                    f"--wrap-mean-s={WRAP_MEAN_S}",
                    f"--ring-scale={RING_SCALE}",
                    f"--mix={options.mix}",
                    *(["--impaired"] if options.of_all_kinds else []),
                    *self.between.world_options,
                ],
                log_path,
            )
        )
        # It stands for machines of other people: what is late there must not look like lateness of ours.
        launcher.prefer(world.pid, launcher.MEDIA_NICENESS)
        ports: dict[str, Any] = wait_for("the simulated world", lambda: json_file(ready), world, log_path)
        return world, ports

    def _campaign(self, client: ControlClient, daemon: subprocess.Popen[bytes], log_path: Path) -> dict[str, Any]:
        options = self.options
        client.load(CAMPAIGN_GROUP_DBID)
        self._await_agents(client, daemon, log_path)
        mode = DialMode.PREDICTIVE if options.mode == "predictive" else DialMode.PROGRESSIVE
        client.start(CAMPAIGN_GROUP_DBID, mode, OptimizeBy.OVERDIAL_RATE, 3)
        return self._watch(client, daemon, log_path)

    def _await_agents(self, client: ControlClient, daemon: subprocess.Popen[bytes], log_path: Path) -> None:
        def all_ready() -> bool | None:
            return client.statistics(CAMPAIGN_GROUP_DBID).get("agents_ready") == self.options.agents or None

        wait_for("the agents", all_ready, daemon, log_path)

    def _watch(self, client: ControlClient, daemon: subprocess.Popen[bytes], log_path: Path) -> dict[str, Any]:
        options = self.options
        title = f"ocsd demo: {options.mode}, {options.agents} agents, seed {options.seed}"
        figures: dict[str, Any] = {}
        began_s = time.monotonic()
        last_line_s = -10.0
        pictured = False
        with ExitStack() as stack:
            live = stack.enter_context(Live(console=self.console, auto_refresh=False)) if self._is_live else None
            ended = Ended(options)
            while not ended(figures, elapsed_s := time.monotonic() - began_s):
                if daemon.poll() is not None:
                    raise DemoFailed(f"ocsd ended with code {daemon.returncode}; its log: {tail_of(log_path)}")
                figures = dict(client.statistics(CAMPAIGN_GROUP_DBID))
                if live is not None:
                    live.update(view.render(figures, title=title, done=self._done(figures, elapsed_s)), refresh=True)
                elif elapsed_s - last_line_s >= 5.0:
                    last_line_s = elapsed_s
                    print(view.plain_line(figures, elapsed_s), flush=True)  # noqa: T201
                if options.screenshot is not None and not pictured and self._done(figures, elapsed_s) > PICTURE_AT:
                    pictured = True
                    frame = view.render(figures, title=title, done=self._done(figures, elapsed_s))
                    view.save_picture(frame, options.screenshot)
                time.sleep(REFRESH_S)
        return figures

    def _done(self, figures: Mapping[str, Any], elapsed_s: float) -> float:
        """Share of the campaign that is over, 0..1."""
        if self.options.attempts is None:
            return min(1.0, elapsed_s / self.options.seconds)
        return min(1.0, int(figures.get("attempts") or 0) / self.options.attempts)

    @property
    def _is_live(self) -> bool:
        return self.console.is_terminal

    def _unload(self, client: ControlClient, *, by_force: bool = False) -> dict[str, Any]:
        """Stop, let conversations end (or force the unload), and return the last figures of the session."""
        figures: dict[str, Any] = {}
        try:
            figures = dict(client.statistics(CAMPAIGN_GROUP_DBID))
            if by_force:
                client.force_unload(CAMPAIGN_GROUP_DBID)
            else:
                client.complete(CAMPAIGN_GROUP_DBID)
                self.console.print("Dialing has stopped; the last calls and conversations end ...")
            self._await_unloaded(client, 10.0 if by_force else DRAIN_LIMIT_S)
        except (ControlError, ControlUnavailable) as error:
            self.console.print(f"Could not unload: {error}")
        return figures

    def _await_unloaded(self, client: ControlClient, limit_s: float) -> None:
        until = time.monotonic() + limit_s
        while client.status(CAMPAIGN_GROUP_DBID)["GSW_CM_AttrGroupCampStatus"] != GroupCampStatus.NOT_LOADED:
            if time.monotonic() > until:
                client.force_unload(CAMPAIGN_GROUP_DBID)
                until = float("inf")
            time.sleep(0.2)

    def _parts(
        self, daemon: subprocess.Popen[bytes], world: subprocess.Popen[bytes], postgres: EmbeddedPostgres
    ) -> dict[str, list[int]]:
        servers = launcher.server_pids(self.folder / "run")
        server_pid = postgres.server_pid()
        return {
            "daemon": [daemon.pid],
            "sip_workers": process_tree(servers["telephony"]) if "telephony" in servers else [],
            "media": [pid for part, pid in servers.items() if part.startswith("media-")],
            "postgres": process_tree(server_pid) if server_pid is not None else [],
            "simulated_world": process_tree(world.pid),
            "demo": [os.getpid()],
        }

    def _report(
        self,
        records: int,
        attempts: list[reporting.AttemptRow],
        statuses: dict[int, int],
        results: dict[int, int],
        figures: Mapping[str, Any],
        dialed_s: float,
        cpu: dict[str, float],
    ) -> dict[str, Any]:
        truths = _json_lines(self.truth)
        audio = reporting.audio_verdicts(attempts, truths, _json_lines(self.phones_truth))
        abandoned = sum(attempt.call_result in reporting.PEOPLE_WITHOUT_AGENT for attempt in attempts)
        connected = sum(attempt.connected for attempt in attempts)
        people = connected + abandoned
        return {
            "mode": self.options.mode,
            "seconds": self.options.seconds,
            "agents": self.options.agents,
            "records": records,
            "seed": self.options.seed,
            "mix": self.options.mix,
            "media_servers": self.options.media_servers,
            "attempts": len(attempts),
            "answered": people,
            "connected": connected,
            "abandoned": abandoned,
            "overdial_rate": round(abandoned / people, 5) if people else 0.0,
            "busy_factor": round(float(figures.get("busy_factor") or 0.0), 4),
            "mean_wait_s": round(float(figures.get("mean_wait_s") or 0.0), 3),
            "call_starts_per_s": round(len(attempts) / dialed_s, 3) if dialed_s else 0.0,
            "results": {reporting.title_of(code): count for code, count in sorted(results.items())},
            "records_by_status": reporting.by_status_name(statuses),
            "double_dialed": reporting.double_dialed(truths),
            "lost": reporting.lost(records, statuses, attempts, truths),
            "truth_match": reporting.match_truth(attempts, truths),
            "analysis": analysis_report(attempts, truths),
            "audio_ok": audio["ok"],
            "audio": audio,
            "cpu_s": cpu,
        }
