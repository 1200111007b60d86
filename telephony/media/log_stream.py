"""A stream for log lines that never waits: whoever reads the log may stall, audio may not."""

import os
import select
from typing import Final

LONGEST_LINE_BYTES: Final = select.PIPE_BUF
"""What a pipe that is ready takes without blocking (pipe(7))."""


class LogStream:
    """
    Text for a file descriptor; what it does not take at once is dropped.

    The descriptor stays blocking, as it is shared with others: `poll` tells beforehand whether a write would wait.
    ``dropped`` counts lines, and is told in the log when it can be written again.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.dropped = 0

    def write(self, text: str) -> int:
        """Write text, usually a line, or drop it."""
        data = text.encode(errors="replace")
        if len(data) > LONGEST_LINE_BYTES:
            data = data[: LONGEST_LINE_BYTES - 1] + b"\n"
        ready = self._poll.poll(0)
        if not ready or not ready[0][1] & select.POLLOUT:
            self.dropped += 1
            return len(text)
        told = f"level=warning event=log.dropped lines={self.dropped}\n".encode() if self.dropped else b""
        if len(told) + len(data) <= LONGEST_LINE_BYTES:
            data, self.dropped = told + data, 0
        try:
            os.write(self._descriptor, data)
        except OSError:  # the reader is gone
            self.dropped += 1
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""
