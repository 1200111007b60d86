"""A whole site for end-to-end tests: real daemon, SIP workers, media server and PostgreSQL in a folder of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ocsd.client import ControlClient, ControlUnavailable
from ocsd.config.loader import load_configuration
from ocsd.config.objects import Configuration
from ocsd.demo.options import DemoOptions
from ocsd.demo.processes import child, end, json_file, process_tree, wait_for
from ocsd.demo.world import CALLING_LIST, CAMPAIGN_GROUP_DBID, write_configuration
from ocsd.lists.embedded import EmbeddedPostgres, data_folder
from ocsd.lists.importer import import_csv
from ocsd.lists.migrate import migrate
from ocsd.lists.tables import create_table, table_of
from telephony import launcher
from tests.ports import free_port, free_ports

GROUP = CAMPAIGN_GROUP_DBID
PATIENCE_S = 60.0
"""Only catches hangs; nothing is asserted about how long anything takes."""
LOG_CHARACTERS = 20_000
RTP_PORTS = 300
"""Of a site: more than any test needs, with one media server or two."""


def eventually(what: str, check: Callable[[], Any], limit_s: float = PATIENCE_S) -> Any:
    """Poll until ``check`` returns something true."""
    until = time.monotonic() + limit_s
    while not (value := check()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.05)
    return value


def processes_in(folder: Path) -> list[str]:
    """Command lines of all processes that mention the folder or work in it: what a run has left behind."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            # Backends of PostgreSQL rename themselves; where they work cannot be renamed.
            place = os.readlink(entry / "cwd")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # gone meanwhile, or a zombie
        if str(folder) in command or Path(place).is_relative_to(folder):
            found.append(f"{entry.name} {command}")
    return found


@contextmanager
def outside_world(arguments: list[str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """
    A process that stands for machines of other people; ended with the block.

    What is late there must not look like lateness of ours: a greeting that comes in pieces sounds like another one.
    """
    with child(arguments, log_path) as process:
        launcher.prefer(process.pid, launcher.MEDIA_NICENESS)
        yield process


@dataclass
class Site:
    """``start_daemon`` and ``kill_daemon`` as often as a test likes; everything is gone after the block."""

    folder: Path
    config_path: Path
    config: Configuration
    postgres: EmbeddedPostgres
    dsn: str
    http_port: int
    desktop_port: int
    phones_port: int
    stack: ExitStack
    daemon: subprocess.Popen[bytes] | None = None
    clients: list[ControlClient] = field(default_factory=list)

    @property
    def client(self) -> ControlClient:
        if not self.clients:
            self.clients.append(self.stack.enter_context(ControlClient(self.url)))
        return self.clients[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def desktop_url(self) -> str:
        return f"ws://127.0.0.1:{self.desktop_port}/desktop"

    def start_agents(self, count: int, *options: str) -> subprocess.Popen[bytes]:
        """Simulated phones and desktops of agent1, agent2, ...; ``options`` go to the simulated world."""
        ready, log_path = self.folder / "agents.json", self.folder / "agents.log"
        arguments = ["telephony.simworld.main", "--no-carrier", f"--agents={count}", f"--ready-file={ready}"]
        arguments += [f"--phones-port={self.phones_port}", f"--desktop-url={self.desktop_url}", *options]
        world = self.stack.enter_context(outside_world(arguments, log_path))
        wait_for("the simulated agents", lambda: json_file(ready), world, log_path)
        return world

    def start_daemon(self) -> None:
        """Returns when both of its ports are open."""
        log_path = self.folder / "daemon.log"
        before = self._times_ready()
        self.daemon = self.stack.enter_context(child(["ocsd.cli", "run", "--config", str(self.config_path)], log_path))

        def answers() -> bool | None:
            try:
                self.client.health()
            except ControlUnavailable:
                return None
            return True if self._times_ready() > before else None

        wait_for("ocsd", answers, self.daemon, log_path)

    def _times_ready(self) -> int:
        return self.log_text().count('"daemon.ready"')

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def stop_daemon(self) -> int:
        assert self.daemon is not None
        end(self.daemon)
        assert self.daemon.returncode is not None
        return self.daemon.returncode

    def query(self, text: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement; ``{list}`` in it is the calling list's table."""
        table = sql.Identifier("public", table_of(self.config, self.config.calling_list(CALLING_LIST)))
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            return conn.execute(sql.SQL(text).format(list=table), params).fetchall()

    def add_records(self, rows: list[tuple[str, str]]) -> None:
        """Import (number, customer name) rows through the product's own importer."""
        path = self.folder / f"customers-{time.monotonic_ns()}.csv"
        path.write_text("phone,customer_name\n" + "".join(f"{number},{name}\n" for number, name in rows))
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            outcome = import_csv(conn, self.config, self.config.calling_list(CALLING_LIST), path)
        assert outcome.imported == len(rows), outcome

    def statistics(self) -> dict[str, Any]:
        return dict(self.client.statistics(GROUP))

    def worker_pids(self) -> list[int]:
        return process_tree(launcher.server_pids(self.folder / "run")["telephony"])[1:]

    def media_pid(self) -> int:
        return launcher.server_pids(self.folder / "run")["media-0"]

    def log_text(self) -> str:
        """Everything that its daemons have logged."""
        log_path = self.folder / "daemon.log"
        return log_path.read_text(errors="replace") if log_path.exists() else ""


@contextmanager
def site(
    carrier_port: int, phones_port: int | None = None, agents: int = 1, edit: Callable[[str], str] = lambda text: text
) -> Iterator[Site]:
    """
    A site whose trunk leads to ``carrier_port`` and whose agents' phones are at ``phones_port`` (default: a free port);
    nothing runs yet but PostgreSQL. ``edit`` may change the configuration's text.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="ocsd-e2e-"))
        folder.chmod(0o755)  # PostgreSQL runs as an unprivileged user
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        http_port, desktop_port = free_port(), free_port()
        phones_port = free_port() if phones_port is None else phones_port
        config_path = folder / "ocsd.toml"
        write_configuration(
            config_path,
            DemoOptions(agents=agents),
            data_dir=folder,
            http_port=http_port,
            desktop_port=desktop_port,
            carrier_port=carrier_port,
            phones_port=phones_port,
            rtp_ports=free_ports(RTP_PORTS),
            legal_window=False,  # calls ahead from the first person on
        )
        config_path.write_text(edit(config_path.read_text()))
        config = load_configuration(config_path)
        postgres = EmbeddedPostgres(data_folder(config.data_dir) / "postgres")
        dsn = postgres.start()
        stack.callback(postgres.stop)
        with psycopg.connect(dsn, autocommit=True) as conn:
            migrate(conn)
            create_table(conn, config, config.calling_list(CALLING_LIST))
        stack.callback(launcher.stop, folder / "run")
        try:
            yield Site(folder, config_path, config, postgres, dsn, http_port, desktop_port, phones_port, stack)
        except BaseException:
            # The folder is about to be removed; what its logs say belongs to the report of the failed test.
            for log in (folder / "daemon.log", *sorted((folder / "run").glob("*.log"))):
                if log.exists():
                    print(f"--- {log.name}", log.read_text(errors="replace")[-LOG_CHARACTERS:], sep="\n")
            raise
