"""
Kamailio as the proxy between a site and its outside world, with the configuration that ``deploy`` offers.

    python -m tests.e2e.kamailio --attempts 200 --json FILE

runs the demo's own campaign twice over the same world: with the proxy between the daemon and all others (every INVITE
is asked for digest credentials, to the carrier as to the agents' phones, which are registered there), and without it.
Fails unless both tell the truth about every number, and every INVITE came by the proxy.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from ocsd.demo.options import DemoOptions
from ocsd.demo.run import NOTHING, Between
from ocsd.demo.run import run as run_demo
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


def behind(proxy: Proxy, agents: int) -> Callable[[str], str]:
    """The site's configuration with its trunk leading to the proxy, with credentials, and every phone behind it."""

    def edit(text: str) -> str:
        credentials = f'username = "{proxy.trunk_user}"\npassword = "{proxy.trunk_password}"'
        text, trunks = re.subn(r'(host = "127.0.0.1"\nport = )\d+', rf"\g<1>{proxy.port}\n{credentials}", text)
        phone = f'phone = {{ username = "{proxy.trunk_user}", password = "{proxy.trunk_password}" }}'
        text, phones = re.subn(r'(dn = "sip:\d+@127.0.0.1:)\d+"', rf'\g<1>{proxy.port}"\n{phone}', text)
        assert (trunks, phones) == (1, agents)
        return text

    return edit


def registered_at(proxy: Proxy) -> tuple[str, ...]:
    """Options of the simulated world: its phones register at the proxy."""
    return (f"--registrar=127.0.0.1:{proxy.port}", f"--phone-password={proxy.phone_password}")


@dataclass(frozen=True, slots=True)
class Way:
    """What carrier and phones saw of the way that INVITEs took."""

    invites: int
    past_the_proxy: int
    with_credentials: int
    """Of the proxy's, which must go no further."""


def way_of(wire_log: Path, proxy_port: int) -> Way:
    """Read from what the simulated world has received and sent."""
    invites = [line for line in wire_log.read_text().splitlines() if '"sip": "INVITE' in line]
    return Way(
        invites=len(invites),
        past_the_proxy=sum(json.loads(line)["peer_port"] != proxy_port for line in invites),
        with_credentials=sum("proxy-authorization" in line.lower() for line in invites),
    )


def campaign_through(options: DemoOptions) -> tuple[dict[str, Any], Way]:
    """The demo with the proxy in between: its report, and the way its calls took."""
    with TemporaryDirectory(prefix="ocsd-kamailio-") as place:
        folder, carrier_port = Path(place), free_port()
        wire_log = folder / "wire.jsonl"
        with kamailio(carrier_port, folder) as proxy:
            world = (f"--carrier-port={carrier_port}", f"--wire-log={wire_log}", *registered_at(proxy))
            report = _demo(options, folder, Between(world, behind(proxy, options.agents)))
        return report, way_of(wire_log, proxy.port)


def _demo(options: DemoOptions, folder: Path, between: Between) -> dict[str, Any]:
    path = folder / "report.json"
    code = run_demo(replace(options, report=path), between)
    if code:
        raise SystemExit(code)
    report: dict[str, Any] = json.loads(path.read_text())
    return report


FIGURES = (
    "attempts", "answered", "connected", "abandoned", "overdial_rate", "busy_factor", "mean_wait_s",
    "call_starts_per_s", "double_dialed", "lost", "audio_ok",
)  # fmt: skip


def side_by_side(through: Mapping[str, Any], direct: Mapping[str, Any]) -> Table:
    """Both reports, for people."""
    table = Table(title="The demo's campaign")
    for heading in ("figure", "through Kamailio", "direct"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for key in FIGURES:
        table.add_row(key.replace("_", " "), *(str(report[key]) for report in (through, direct)))
    for key in ("judged", "signalling", "cpa"):
        table.add_row(f"truth match, {key}", *(str(report["truth_match"][key]) for report in (through, direct)))
    for name in sorted({*through["results"], *direct["results"]}):
        table.add_row(f"  {name}", *(str(report["results"].get(name, 0)) for report in (through, direct)))
    return table


def faults_of(through: Mapping[str, Any], direct: Mapping[str, Any], way: Way) -> list[str]:
    """What would be worse for the proxy, or is wrong at all; empty: nothing."""
    faults = []
    for name, report in (("through Kamailio", through), ("direct", direct)):
        truth = report["truth_match"]
        if truth["signalling"] < 1.0:
            faults.append(f"{name}: not what the signalling said: {truth['misses']}")
        faults += [f"{name}: {key} {report[key]}" for key in ("double_dialed", "lost") if report[key]]
        if report["audio_ok"] < 1.0:
            faults.append(f"{name}: {report['audio']['failures']}")
    if not way.invites or way.past_the_proxy or way.with_credentials:
        faults.append(f"not by the proxy alone: {way}")
    return faults


def main() -> int:
    """1 when a result is wrong, a call was lost or made twice, or one went past the proxy."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e.kamailio", description=(__doc__ or "").split("\n\n")[0].strip()
    )
    parser.add_argument("--attempts", type=int, default=200, help="calls of each run (default %(default)s)")
    parser.add_argument("--agents", type=int, default=20, help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which world (default %(default)s)")
    parser.add_argument("--mix", default="demo", help='"all": numbers of all kinds (default %(default)s)')
    parser.add_argument("--seconds", type=int, default=900, help="each run ends then (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="both reports")
    asked = parser.parse_args()
    options = DemoOptions(
        attempts=asked.attempts, agents=asked.agents, seed=asked.seed, mix=asked.mix, seconds=asked.seconds, http_port=0
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything started is ended
    through, way = campaign_through(options)
    with TemporaryDirectory(prefix="ocsd-direct-") as place:
        direct = _demo(options, Path(place), NOTHING)
    faults = faults_of(through, direct, way)
    Console().print(side_by_side(through, direct), way)
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    if asked.json is not None:
        found = {"through": through, "direct": direct, "way": asdict(way), "faults": faults}
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
