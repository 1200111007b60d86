"""SIPp as the called party, for tests: `sipp_uas` runs one scenario file on a free port of 127.0.0.1."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

SCENARIOS = Path(__file__).parent / "sipp"
START_LIMIT_S = 10.0
GUARD_S = 60
"""SIPp ends itself then, so that an aborted test leaves nothing behind."""


@dataclass(frozen=True, slots=True)
class SippPeer:
    """A running SIPp. ``port`` is its SIP port; `messages` and `finish` tell what it saw."""

    scenario: str
    port: int
    process: subprocess.Popen[bytes]
    message_file: Path
    error_file: Path

    def uri(self, number: str = "+15550100") -> str:
        return f"sip:{number}@127.0.0.1:{self.port}"

    def finish(self, limit_s: float = 20.0) -> int:
        """Wait until every call of the scenario is over; 0 when all went as the scenario says."""
        return self.process.wait(limit_s)

    @property
    def trace(self) -> str:
        """All messages sent and received so far."""
        return self.message_file.read_text(errors="replace") if self.message_file.exists() else ""

    @property
    def received(self) -> list[str]:
        """Start lines of received messages, in order."""
        return re.findall(r"UDP message received \[\d+\] bytes :\s+(\S[^\r\n]*)", self.trace)

    @property
    def errors(self) -> str:
        return self.error_file.read_text(errors="replace") if self.error_file.exists() else ""


@contextmanager
def sipp_uas(
    scenario: str | Path, folder: Path, calls: int = 1, guard_s: int = GUARD_S, options: tuple[str, ...] = ()
) -> Iterator[SippPeer]:
    """
    Run ``sipp/<scenario>.xml`` (or a scenario file of the test's own) for so many calls; logs go to ``folder``. The
    process is gone afterwards.
    """
    file = scenario if isinstance(scenario, Path) else SCENARIOS / f"{scenario}.xml"
    scenario = file.stem
    port = free_port()
    messages, errors = folder / f"{scenario}-{port}.messages", folder / f"{scenario}-{port}.errors"
    command = ["sipp", "-sf", str(file), "-i", "127.0.0.1", "-p", str(port)]
    command += ["-m", str(calls), "-nostdin", "-timeout", f"{guard_s}s", "-timeout_error", *options]
    command += ["-trace_msg", "-message_file", str(messages), "-trace_err", "-error_file", str(errors)]
    output = (folder / f"{scenario}-{port}.output").open("wb")
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True
    )
    try:
        _wait_bound(port, process, Path(output.name))
        yield SippPeer(scenario, port, process, messages, errors)
    finally:
        process.kill()
        process.wait()
        output.close()


def _wait_bound(port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    """SIPp says nothing when it is ready; the kernel's table of UDP sockets does."""
    needle = f"0100007F:{port:04X}"
    limit_s = time.monotonic() + START_LIMIT_S
    while needle not in Path("/proc/net/udp").read_text():
        if process.poll() is not None or time.monotonic() > limit_s:
            raise RuntimeError(f"sipp did not start (exit status {process.poll()}): {said.read_text(errors='replace')}")
        time.sleep(0.01)
