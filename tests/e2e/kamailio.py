"""Kamailio as the proxy between a site and its outside world, with the configuration that ``deploy`` offers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "kamailio" / "kamailio.cfg"
START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
UNPACKED = Path(sys.prefix) / "kamailio"
"""Where ``.ci/prepare`` unpacks the Debian package, so that no service of the machine's is started."""


@dataclass(frozen=True, slots=True)
class Proxy:
    port: int
    trunk_user: str
    trunk_password: str
    phone_password: str
    log: Path


def program() -> tuple[list[str], dict[str, str]]:
    """Command and environment; from the machine, or as `.ci/prepare` has unpacked it."""
    if found := shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return [found], {}
    libraries = next(UNPACKED.glob("usr/lib/*/kamailio"), None)
    assert libraries is not None, "Kamailio is missing: run `make setup`, or install the Debian package kamailio"
    command = [str(UNPACKED / "usr/sbin/kamailio"), "-L", str(libraries / "modules")]
    return command, {"LD_LIBRARY_PATH": str(libraries)}


@contextmanager
def kamailio(carrier_port: int, folder: Path) -> Iterator[Proxy]:
    """A running proxy; all of its processes are gone after the block."""
    proxy = Proxy(free_port(), "ocsd-trunk", "only this test's", "a phone's", folder / "kamailio.log")
    command, environment = program()
    command += ["-DD", "-E", "-f", str(CONFIGURATION), "-l", f"udp:127.0.0.1:{proxy.port}", "-Y", str(folder)]
    command += ["-m", "32", "-M", "4"]
    for name, value in (
        ("CARRIER", f"sip:127.0.0.1:{carrier_port}"),
        ("TRUNK_USER", proxy.trunk_user),
        ("TRUNK_PASSWORD", proxy.trunk_password),
        ("PHONE_PASSWORD", proxy.phone_password),
    ):
        command += ["-A", f'{name}="{value}"']
    with proxy.log.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
    try:
        _wait_bound(proxy, process)
        yield proxy
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_bound(proxy: Proxy, process: subprocess.Popen[bytes]) -> None:
    needle = f"0100007F:{proxy.port:04X}"
    limit_s = time.monotonic() + START_LIMIT_S
    while needle not in Path("/proc/net/udp").read_text():
        if process.poll() is not None or time.monotonic() > limit_s:
            raise RuntimeError(f"Kamailio did not start: {proxy.log.read_text(errors='replace')}")
        time.sleep(0.02)
