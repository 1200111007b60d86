"""``ocsd demo`` as a user runs it: to its end, and interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ocsd.client import ControlClient
from ocsd.config.loader import load_configuration
from ocsd.demo.run import attempts_and_statuses
from ocsd.lists.embedded import EmbeddedPostgres
from ocsd.model.enums import RecordStatus
from telephony.simworld.plan import NumberClass
from tests.e2e.site import GROUP, eventually, processes_in

pytestmark = pytest.mark.e2e

RECORDS = 120
SEED = 37
"""A world whose first numbers are people: the shortest runs make no more than half a dozen calls."""
RUN_LIMIT_S = 300.0
"""Only catches hangs."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that the account of PostgreSQL may enter: pytest closes its own to others, at every start anew."""
    with TemporaryDirectory(prefix="ocsd-e2e-demo-") as place:
        Path(place).chmod(0o755)
        yield Path(place) / "site"


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A demo in a process group of its own, as a shell would start it."""
    command = [sys.executable, "-m", "ocsd.cli", "demo", "--agents=4", f"--records={RECORDS}", f"--seed={SEED}"]
    command += ["--http-port=0", f"--data-dir={folder}", f"--report={report_of(folder)}", *options]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:  # only after a failed assertion
                process.terminate()


def report_of(folder: Path) -> Path:
    return folder.with_suffix(".json")


def said_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read what the demo says up to a line that holds ``pattern``."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if (match := re.search(pattern, line)) is not None:
            return match
    raise AssertionError(f"the demo ended without {pattern!r}: {''.join(said)}")


def ctrl_c(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def table_of(folder: Path) -> tuple[list[Any], dict[int, int]]:
    """Attempts and rows by status, from the database that the demo left in its folder."""
    postgres = EmbeddedPostgres(folder / "postgres")
    dsn = postgres.start()
    try:
        attempts, statuses, _ = attempts_and_statuses(load_configuration(folder / "ocsd.toml"), dsn)
    finally:
        postgres.stop()
    return attempts, statuses


def test_given_a_demo_when_it_runs_to_its_end_then_the_report_holds_and_nothing_is_left(folder):
    with demo(folder, "--seconds=15") as process:
        said, _ = process.communicate(timeout=RUN_LIMIT_S)

    assert process.returncode == 0, said
    report = json.loads(report_of(folder).read_text())
    assert report["double_dialed"] == 0
    assert report["lost"] == 0
    assert report["truth_match"]["judged"] > 0
    assert report["truth_match"]["signalling"] == 1.0, report["truth_match"]["misses"]
    assert report["audio"]["judged"] > 0
    assert report["audio_ok"] == 1.0, report["audio"]["failures"]
    assert report["connected"] > 0
    assert report["answered"] == report["connected"] + report["abandoned"]
    assert report["records"] == RECORDS == sum(report["records_by_status"].values())
    assert "Retrieved" not in report["records_by_status"]
    assert report["attempts"] == sum(report["results"].values())
    assert "Demo summary" in said
    assert processes_in(folder) == []


def test_given_a_demo_of_all_kinds_when_it_has_made_its_attempts_then_it_ends_and_tells_what_the_analysis_made(folder):
    with demo(folder, "--agents=8", "--attempts=16", "--mix=all", "--media-servers=2", "--seconds=200") as process:
        said, _ = process.communicate(timeout=RUN_LIMIT_S)

    assert process.returncode == 0, said
    report = json.loads(report_of(folder).read_text())
    assert (report["double_dialed"], report["lost"]) == (0, 0)
    assert 16 <= report["attempts"] < RECORDS
    assert report["truth_match"]["signalling"] == 1.0, report["truth_match"]["misses"]
    analysis = report["analysis"]
    assert set(analysis["confusion"]) <= set(NumberClass)
    assert sum(row["calls"] for row in analysis["confusion"].values()) == report["truth_match"]["judged"] > 0
    assert len(analysis["confusion"]) >= 5
    assert analysis["latency"], "some verdict was reached"
    assert analysis["lost"]["abandoned"] == report["abandoned"]
    assert "What numbers were" in said
    assert (folder / "run" / "media-1.log").exists(), "the second media server ran"
    assert processes_in(folder) == []


def test_given_a_demo_in_mid_campaign_when_it_is_interrupted_then_it_sums_up_and_leaves_nothing(folder):
    with demo(folder, "--seconds=600") as process:
        url = said_until(process, r"Control port: (http://[^/]+)/")[1]
        with ControlClient(url) as client:
            eventually(
                "a conversation", lambda: (client.statistics(GROUP).get("agents_talking") or 0) >= 1, RUN_LIMIT_S
            )
        ctrl_c(process)
        said, _ = process.communicate(timeout=RUN_LIMIT_S)

    assert process.returncode == 0, said
    check_interrupted(folder, said)


def test_given_a_demo_that_waits_for_the_last_calls_when_it_is_interrupted_twice_then_it_still_sums_up(folder):
    with demo(folder, "--seconds=6") as process:
        said_until(process, r"Dialing has stopped")
        ctrl_c(process)
        said_until(process, r"Interrupted")
        ctrl_c(process)
        said, _ = process.communicate(timeout=RUN_LIMIT_S)

    assert process.returncode == 0, said
    check_interrupted(folder, said)


def check_interrupted(folder: Path, said: str) -> None:
    assert "Demo summary" in said
    assert "Traceback" not in said
    assert str(report_of(folder)) in said.replace("\n", "")
    report = json.loads(report_of(folder).read_text())
    assert (report["double_dialed"], report["lost"]) == (0, 0)
    assert report["attempts"] > 0
    assert processes_in(folder) == []
    attempts, statuses = table_of(folder)
    assert len(attempts) == report["attempts"]
    assert all(attempt.finished for attempt in attempts)
    assert sum(statuses.values()) == RECORDS
    assert RecordStatus.RETRIEVED not in statuses
    assert processes_in(folder) == []
