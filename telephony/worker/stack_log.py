"""What the SIP stack says of itself, on its way into the log: bounded and masked.

Whoever can send a datagram decides what stands in some of these lines, and how many there are: pjsip tells of each
message that it cannot parse, of some with the message itself. So of each entry only the first line is kept, numbers are
masked as everywhere in ocsd (the first three and the last two digits stay), and beyond `MAX_LINES` a minute they are
only counted. The same holds for exceptions in callbacks, which the far end may have caused.
"""

import re
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final

MAX_LINES: Final = 20
"""A minute, each worker."""
MINUTE_S: Final = 60.0
MAX_CHARS: Final = 300
"""Of one line."""
_NUMBER: Final = re.compile(r"(\+?\d{3})(?:[-()]?\d){3,}(\d{2})")
_UNPRINTABLE: Final = re.compile(r"[^ -~\u00a0-\ud7ff\ue000-\U0010ffff]")


def fit_for_log(text: str) -> str:
    """The first line of a text that a stranger may have written: masked, printable, of bounded length."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    masked = _NUMBER.sub(r"\1***\2", line[: 4 * MAX_CHARS])
    return _UNPRINTABLE.sub("?", masked)[:MAX_CHARS]


class StackLog:
    """Writes what may be written. ``now_s`` is a monotonic clock; ``write`` takes whole lines."""

    def __init__(self, write: Callable[[str], object], now_s: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._now_s = now_s
        self._minute_s = -MINUTE_S
        self._lines = 0
        self._left_out = 0

    def say(self, text: str) -> None:
        """One entry of the stack."""
        if line := fit_for_log(text):
            self._put(f"{line}\n")

    def exception(self, where: str) -> None:
        """The exception that is being handled: its kind and where it came from, not all that it may quote."""
        _, error, frames = sys.exc_info()
        places = [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(frames)[-5:]]
        quoted = fit_for_log(f"{type(error).__name__}: {error}")
        self._put(f"Traceback in a {where}: {quoted}, at {' < '.join(reversed(places))}\n")

    def settle(self) -> None:
        """Say how much was left out, once its minute is over."""
        if self._left_out and self._now_s() >= self._minute_s + MINUTE_S:
            left_out, self._left_out = self._left_out, 0
            self._write(f"of the SIP stack {left_out} more lines were left out within a minute\n")

    def _put(self, line: str) -> None:
        self.settle()
        now_s = self._now_s()
        if now_s >= self._minute_s + MINUTE_S:
            self._minute_s, self._lines = now_s, 0
        if self._lines >= MAX_LINES:
            self._left_out += 1
            return
        self._lines += 1
        self._write(line)


def _to_stderr(line: str) -> None:
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # a log that cannot be written must not end a call


LOG: Final = StackLog(_to_stderr)
"""Of this process: what the stack says."""
FAULTS: Final = StackLog(_to_stderr)
"""Exceptions in callbacks, which a flood of the other kind must not hide."""
