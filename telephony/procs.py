"""Processes told apart for certain, locks that die with their holder, and sockets that somebody listens on.

A pid alone is reused by the kernel; a pid with its start time is not. So a pid file holds both, and a signal goes
through a pidfd taken before the start time was compared.
"""

import contextlib
import fcntl
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

MAX_SOCKET_PATH_BYTES = 107
"""sun_path of AF_UNIX on Linux holds 108 bytes with the closing zero."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """``start_ticks``: start time in clock ticks since boot (proc(5), stat field 22)."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The identity of a running process; None when there is none, or only its zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()  # the command name before it may hold blanks and parentheses
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def read(cls, path: Path) -> "ProcessIdentity | None":
        """What `text` wrote into a file; None when the file is missing or something else."""
        try:
            pid, start_ticks = path.read_text(encoding="ascii").split()
            return cls(int(pid), int(start_ticks))
        except (OSError, ValueError):
            return None

    @property
    def text(self) -> str:
        return f"{self.pid} {self.start_ticks}\n"

    @property
    def alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def catches(self, number: signal.Signals) -> bool:
        """Has it a handler for the signal? Of most others it would die."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        return bool(int(caught, 16) >> (number - 1) & 1)

    def send_signal(self, number: signal.Signals) -> bool:
        """Signal this very process; False when it is gone (and never a stranger with the same pid)."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(pidfd, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)


class SignOfLife:
    """A file whose time is the monotonic one at which its owner last said that it lives; any process can read it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def give(self, now_s: float) -> None:
        """Makes the file when it is not there."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.utime(fd, ns=(int(now_s * 1e9), int(now_s * 1e9)))
        finally:
            os.close(fd)

    def silent_s(self, now_s: float) -> float:
        """For how long there was no sign; 0 when there never is one (the owner is of an older release)."""
        try:
            given_s = self._path.stat().st_mtime_ns / 1e9
        except FileNotFoundError:
            return 0.0
        return max(0.0, now_s - given_s)  # the calendar's time of an ordinary write lies far ahead


class LockFile:
    """An exclusive lock that the kernel drops with its holder; the file names the holder (`ProcessIdentity.text`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> bool:
        """Take the lock for this process without waiting; False when another one holds it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        me = ProcessIdentity.of(os.getpid())
        assert me is not None
        os.ftruncate(fd, 0)
        os.pwrite(fd, me.text.encode(), 0)
        self._fd = fd
        self.beat(time.monotonic())
        return True

    def beat(self, now_s: float) -> None:
        """The holder's sign of life: its monotonic time becomes the file's time, which any process can read."""
        if self._fd >= 0:
            os.utime(self._fd, ns=(int(now_s * 1e9), int(now_s * 1e9)))

    def silent_s(self, now_s: float) -> float:
        """For how long the holder has given no sign of life; 0 when it never gives any (it is of an older release)."""
        return SignOfLife(self._path).silent_s(now_s)

    def leave_to_parent(self) -> None:
        """In a forked child: close the inherited descriptor, which would keep the parent's lock beyond its death."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def held(self) -> bool:
        """Does any process hold it? Asked without disturbing the holder."""
        if self._fd >= 0:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


def is_listening(path: Path) -> bool:
    """Does a process listen on this Unix socket? A dead one's file stays, but refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True  # full backlog: somebody owns it
        except OSError:
            return False
        return True


def listen_unix(path: Path, backlog: int = 8) -> socket.socket:
    """A non-blocking listener at ``path``, readable and writable by owner and group; replaces a stale file.

    The caller holds the lock that makes it the only process that may listen there.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"socket path longer than {MAX_SOCKET_PATH_BYTES} bytes: {path}")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(os.fspath(path))
    path.chmod(0o660)
    listener.listen(backlog)
    return listener
