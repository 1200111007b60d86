"""
What systemd does with a service of ours, as far as the services can tell: command line, environment, readiness, signs
of life, restarts. For machines on which no systemd runs; the command lines are the units' own.

Sources: systemd.service(5) (Type=notify, Restart=, WatchdogSec=, KillMode=), systemd.exec(5) (RUNTIME_DIRECTORY,
STATE_DIRECTORY), sd_notify(3), sd_watchdog_enabled(3).
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path

from tests.units import PROGRAMS, ROOT, UNITS, command_of, lines_of, seconds_of

LIMIT_S = 60.0
END = b"end of the listener"
_CREDENTIALS = struct.Struct("3i")
SCRIPTS: Mapping[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


class Service:
    """One unit. Paths of the system are those of ``folder``; ``environment`` is what its EnvironmentFile would hold."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str], instance: str = "") -> None:
        self.unit = next(unit for unit in UNITS if unit.name == name)
        self.folder = folder
        self.watchdog_s = seconds_of(lines_of(self.unit, "WatchdogSec")[0])
        self.restart_s = seconds_of(lines_of(self.unit, "RestartSec")[0])
        self.said: list[str] = []
        """All notifications of the main process since its start; of others systemd takes none (NotifyAccess=main)."""
        self.process: subprocess.Popen[bytes] | None = None
        self.heard_s = 0.0
        self._path = folder / f"notify-{instance}{self.unit.stem.rstrip('@')}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        # Always: a service that systemd does not listen to waits for it in the end.
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        command = command_of(self.unit, instance, environment)
        program = command[0].removeprefix(PROGRAMS)
        module, _, function = SCRIPTS[program].partition(":")
        # The script that pip makes of the entry point.
        script = f"import sys; from {module} import {function}; sys.argv[0] = {program!r}; sys.exit({function}())"
        self.command = [sys.executable, "-c", script, *(self._here(word) for word in command[1:])]
        self.environment = {
            **os.environ,
            **{key: value for line in lines_of(self.unit, "Environment") for key, _, value in self._pairs(line)},
            **environment,
            "NOTIFY_SOCKET": str(self._path),
            "WATCHDOG_USEC": str(round(1e6 * self.watchdog_s)),
            "RUNTIME_DIRECTORY": self._here("/run/ocsd"),
            "STATE_DIRECTORY": self._here("/var/lib/ocsd"),
        }

    @staticmethod
    def _pairs(line: str) -> list[tuple[str, str, str]]:
        return [word.partition("=") for word in line.split() if "=" in word]

    def _here(self, word: str) -> str:
        for place in ("/run/ocsd", "/var/lib/ocsd", "/etc/ocsd"):
            word = word.replace(place, f"{self.folder}{place}")
        return word

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        path = self.folder / f"{self._path.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Returns when it has said that it is ready, as `systemctl start` does."""
        self.said = []
        with (self.folder / f"{self._path.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        self.until(lambda: "READY=1" in self.said)

    def until(self, done) -> None:  # type: ignore[no-untyped-def]
        """Listen to it until something is so."""
        limit_s = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < limit_s, f"{self.unit.name} said {self.said}: {self.log[-4000:]}"
            assert self.process is None or self.process.poll() is None, self.log[-4000:]
            time.sleep(0.02)

    def _listen(self) -> None:
        while (received := self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size)))[0] != END:
            self._take(*received[:2])

    def _take(self, data: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        sender = next(
            (_CREDENTIALS.unpack(value)[0] for _, kind, value in ancillary if kind == socket.SCM_CREDENTIALS), 0
        )
        if self.process is not None and sender == self.pid:
            self.said += data.decode().splitlines()
            self.heard_s = time.monotonic()

    def watch(self) -> float:
        """
        Until its watchdog has run out, then end it as systemd does: SIGABRT, and SIGKILL for one that does not obey
        (the time between is shortened). Returns for how long it had been silent.
        """
        limit_s = time.monotonic() + LIMIT_S
        while (silent_s := time.monotonic() - self.heard_s) < self.watchdog_s:
            assert time.monotonic() < limit_s, "it lives"
            time.sleep(0.02)
        self.kill(signal.SIGABRT, then=signal.SIGKILL)
        return silent_s

    def kill(self, number: signal.Signals, then: signal.Signals | None = None) -> int:
        """Signal the main process alone (KillMode=process) and wait for its end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        if then is not None:
            try:
                return self.process.wait(2.0)
            except subprocess.TimeoutExpired:
                self.process.send_signal(then)
        return self.process.wait(LIMIT_S)

    def restart(self) -> None:
        """As Restart=always has it, for a process that has ended."""
        assert self.process is not None
        assert self.process.poll() is not None
        time.sleep(self.restart_s)
        self.start()

    def reload(self) -> None:
        """ExecReload: `kill` with the signal that the unit names."""
        found = lines_of(self.unit, "ExecReload")[0].split()
        assert (found[0], found[2]) == ("/bin/kill", "$MAINPID")
        os.kill(self.pid, signal.Signals[f"SIG{found[1].removeprefix('-')}"])

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill(signal.SIGTERM, then=signal.SIGKILL)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.sendto(END, str(self._path))
        self._listener.join(LIMIT_S)
        self._socket.close()
