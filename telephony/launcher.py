"""Start and stop the telephony plane where no service manager does: the demo, tests, a developer's machine.

The processes are detached (a session of their own, logs in the run folder), so that they outlive whoever started
them, as they do under systemd. `ensure_running` finds those that already listen; `stop` ends those that were started
here, told apart by pid and start time, and nobody else's.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from telephony.procs import LockFile, ProcessIdentity, is_listening

START_LIMIT_S: Final = 30.0
STOP_LIMIT_S: Final = 12.0
POLL_S: Final = 0.02
MEDIA_NICENESS: Final = -10
"""As in its systemd unit: every 20 ms of work that comes late is heard. Only root may; others go without."""
MEDIA_CAPACITY: Final = 500
"""Channels of one media server, see `ensure_running`."""
POOL: Final = "telephony"
"""Name of the part that is the parent of the SIP workers."""


def media_part(number: int) -> str:
    """Name of the part that is the ``number``-th media server, from 0."""
    return f"media-{number}"


def parts_of(media_servers: int) -> tuple[str, ...]:
    """Names of everything that `ensure_running` starts: the pool of SIP workers, and the media servers."""
    return (POOL, *(media_part(number) for number in range(media_servers)))


class StartFailed(Exception):
    """A process ended or did not listen in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class _Part:
    """
    ``served``: some process has taken the job, ready or not; ``ready``: it does it. ``niceness``: see `prefer`; 0: as
    we run.
    """

    name: str
    command: tuple[str, ...]
    niceness: int
    served: Callable[[], bool]
    ready: Callable[[], bool]


def ensure_running(
    run_dir: Path,
    legs: int,
    sip_host: str = "127.0.0.1",
    media_host: str = "127.0.0.1",
    rtp_ports: tuple[int, int] = (20000, 23999),
    start_limit_s: float = START_LIMIT_S,
    prompt_dir: Path | None = None,
    media_servers: int = 1,
    media_capacity: int = MEDIA_CAPACITY,
    recording_dir: Path | None = None,
    idle_noise_dbfs: float = 0.0,
) -> None:
    """Return when SIP workers for ``legs`` calls and the media servers listen in ``run_dir``; starts what does not.

    Args:
        rtp_ports: first and last UDP port of the media servers, each of which gets an equal portion.
        media_capacity: most channels of each media server, as far as its ports suffice.
        prompt_dir: folder of the operator's announcements; None: only the built-in ones exist.
        recording_dir: folder of recordings, made when it is not there; None: nothing can be recorded.
        idle_noise_dbfs: comfort noise for who hears nobody, -90..-30; 0: silence.

    Raises:
        StartFailed: after ``start_limit_s`` at the latest; what was started by this call is stopped again.
    """
    run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    folder = ("--run-dir", str(run_dir))
    media_host_and_ports = ("--host", media_host, "--rtp-ports", f"{rtp_ports[0]}-{rtp_ports[1]}")
    prompts = ("--prompt-dir", str(prompt_dir)) if prompt_dir is not None else ()
    recordings = ("--recording-dir", str(recording_dir)) if recording_dir is not None else ()
    noise = (f"--idle-noise-dbfs={idle_noise_dbfs}",) if idle_noise_dbfs else ()  # "=": a value that begins with a dash
    if recording_dir is not None:
        recording_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    parts = [
        _Part(
            POOL,
            ("telephony.worker.pool", *folder, "--legs", str(legs), "--sip-host", sip_host),
            0,
            lambda: LockFile(run_dir / "telephony.lock").held,
            lambda: _names_a_living_process(run_dir / "telephony.ready"),
        )
    ]
    for number in range(media_servers):
        listens = partial(is_listening, run_dir / f"{media_part(number)}.sock")
        place = ("--part", f"{number}/{media_servers}", "--capacity", str(media_capacity))
        command = ("telephony.media.server", *folder, *media_host_and_ports, *place, *prompts, *recordings, *noise)
        parts.append(_Part(media_part(number), command, MEDIA_NICENESS, listens, listens))
    started: list[_Part] = []
    try:
        for part in parts:
            if not part.served():
                _start(run_dir, part)
                started.append(part)
        until_s = time.monotonic() + start_limit_s
        for part in parts:
            _wait_for(run_dir, part, until_s, ours=part in started)
    except BaseException:
        for part in started:
            _stop_one(_pid_file(run_dir, part.name))
        raise


def stop(run_dir: Path) -> None:
    """End what `ensure_running` started for this folder, in this or another process; calls in progress are hung up."""
    for path in _pid_files(run_dir):
        _stop_one(path)


def server_pids(run_dir: Path) -> dict[str, int]:
    """Process ids of the living servers started here, by part: see `parts_of`."""
    return {name: identity.pid for name, identity in server_processes(run_dir).items()}


def server_processes(run_dir: Path) -> dict[str, ProcessIdentity]:
    """The living servers started here, by part: see `parts_of`."""
    found = {path.stem: ProcessIdentity.read(path) for path in _pid_files(run_dir)}
    return {name: identity for name, identity in found.items() if identity is not None and identity.alive}


def _start(run_dir: Path, part: _Part) -> None:
    if (dead := ProcessIdentity.read(_pid_file(run_dir, part.name))) is not None:
        _reap(dead.pid)  # started by us and killed meanwhile: it would stay a zombie
    # posix_spawn, not Popen: nobody has to hold an object for a process that is to outlive us.
    log = os.fspath(run_dir / f"{part.name}.log")
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", *part.command],
        os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    if part.niceness:
        prefer(pid, part.niceness)
    identity = ProcessIdentity.of(pid)
    if identity is not None:
        _pid_file(run_dir, part.name).write_text(identity.text)


def prefer(pid: int, niceness: int) -> None:
    """
    Let a process that leads a session of its own run before others, as far as the system allows us.

    Where the kernel shares the processor out by sessions first (sched_autogroup_enabled), the niceness of a process
    counts only within its session; the session then has one of its own (sched(7)).
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")


def _wait_for(run_dir: Path, part: _Part, until_s: float, ours: bool) -> None:
    while not part.ready():
        gone = ours and not _names_a_living_process(_pid_file(run_dir, part.name))
        if gone or time.monotonic() > until_s:
            log_file = run_dir / f"{part.name}.log"
            log = log_file.read_text(errors="replace")[-1000:] if log_file.exists() else ""
            raise StartFailed(f"{part.name} {'ended' if gone else 'does not get ready'}: {log}")
        time.sleep(POLL_S)


def _names_a_living_process(path: Path) -> bool:
    identity = ProcessIdentity.read(path)
    return identity is not None and identity.alive


def _pid_file(run_dir: Path, name: str) -> Path:
    return run_dir / f"{name}.pid"


def _pid_files(run_dir: Path) -> list[Path]:
    """Of every part that was ever started here, also by a configuration with more media servers than now."""
    return [_pid_file(run_dir, POOL), *sorted(run_dir.glob("media-*.pid"))]


def _stop_one(pid_file: Path) -> None:
    identity = ProcessIdentity.read(pid_file)
    if identity is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        until_s = time.monotonic() + STOP_LIMIT_S
        if identity.send_signal(number):
            while identity.alive and time.monotonic() < until_s:
                time.sleep(POLL_S)
    _reap(identity.pid)
    pid_file.unlink(missing_ok=True)


def _reap(pid: int) -> None:
    """Our own child would stay a zombie; another process's child is its parent's."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
