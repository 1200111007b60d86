"""The processes of a demo: started in sessions of their own, waited for, ended, and what they cost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_LIMIT_S = 60.0
STOP_LIMIT_S = 40.0
"""Longest wait for a process that was asked to end."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: end early, but cleanly, and report what there is."""


class DemoFailed(Exception):
    """A part of the site did not come up; the message says which and where its log is."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into Interrupted; later ones are ignored while the demo cleans up."""

    def interrupt(_number: int, _frame: object) -> None:
        ignore_interrupts()
        raise Interrupted

    before = {name: signal.signal(name, interrupt) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def ignore_interrupts() -> None:
    """From here to the end of `interruptible`: nothing is left that could be cut short."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)


@contextmanager
def child(arguments: list[str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, in a session of its own so that Ctrl-C reaches only us; ended with the block."""
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for a process that does not obey."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(what: str, ready: Any, process: subprocess.Popen[bytes], log_path: Path) -> Any:
    """Poll ``ready()`` until it returns something; DemoFailed when the process died or time is up."""
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        if (value := ready()) is not None:
            return value
        if process.poll() is not None:
            raise DemoFailed(f"{what} ended with code {process.returncode}; its log: {tail_of(log_path)}")
        time.sleep(0.05)
    raise DemoFailed(f"{what} was not ready within {START_LIMIT_S:.0f} s; its log: {tail_of(log_path)}")


def tail_of(path: Path, lines: int = 15) -> str:
    """The name of a log, and how it ends."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return "\n".join([str(path), *text.splitlines()[-lines:]])


def json_file(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None while there is none, or only a part of one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content


def cpu_seconds(pids: Mapping[str, list[int]]) -> dict[str, float]:
    """User plus system seconds of each part, its living children included (proc(5), fields 14 and 15)."""
    ticks = os.sysconf("SC_CLK_TCK")
    spent: dict[str, float] = {}
    for part, members in pids.items():
        total = 0
        for pid in members:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += int(fields[11]) + int(fields[12])
        spent[part] = round(total / ticks, 2)
    return spent


def process_tree(root: int) -> list[int]:
    """A process and its descendants."""
    found, frontier = [root], [root]
    while frontier:
        pid = frontier.pop()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                children = [int(child) for child in task.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += children
            frontier += children
    return found
