"""What a release is made of besides code: lock files, units, install script."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import units

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
UNITS = units.UNITS
HANG_LIMIT_S = 60.0


def test_given_the_repository_when_listed_then_the_lock_files_and_units_are_there():
    assert [lock.name for lock in LOCKS] == ["requirements-build.lock", "requirements-dev.lock", "requirements.lock"]
    assert [unit.name for unit in UNITS] == ["ocsd-media@.service", "ocsd-telephony.service", "ocsd.service"]


def test_given_units_with_children_that_outlive_them_when_read_then_only_the_parent_is_signalled():
    """SIP workers carry on their calls, the recording writer makes its files whole; a restart waits for neither."""
    kill_mode = {unit.name: re.findall(r"^KillMode=(.*)$", unit.read_text(), re.MULTILINE) for unit in UNITS}
    assert kill_mode == {
        "ocsd-media@.service": ["process"],
        "ocsd-telephony.service": ["process"],
        "ocsd.service": ["mixed"],
    }


def test_given_the_services_of_the_plane_when_read_then_each_is_watched_and_exchanged_under_calls_by_a_reload():
    for unit in UNITS:
        settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] != "#")
        assert int(settings["WatchdogSec"]) >= 5
        # The signal that each of them answers by finishing its calls; the daemon reads its configuration again.
        signal_name = "HUP" if unit.name == "ocsd.service" else "USR1"
        assert settings["ExecReload"] == f"/bin/kill -{signal_name} $MAINPID"


def test_given_the_order_of_start_when_turned_round_then_the_daemon_stops_first_and_the_audio_last():
    before = {unit.name: re.findall(r"^Before=(.*)$", unit.read_text(), re.MULTILINE) for unit in UNITS}
    assert before == {
        "ocsd-media@.service": ["ocsd-telephony.service ocsd.service"],
        "ocsd-telephony.service": ["ocsd.service"],
        "ocsd.service": [],
    }


def test_given_the_folder_of_sockets_when_the_system_tidies_up_then_it_is_left_alone():
    lines = [line for line in (ROOT / "systemd/tmpfiles.d/ocsd.conf").read_text().splitlines() if line[:1] != "#"]
    assert lines == ["d /run/ocsd 0750 ocsd ocsd -", "x /run/ocsd"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_given_a_lock_file_when_read_then_all_is_pinned_and_hashed_and_no_registry_is_named(lock):
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE)

    for requirement in text.replace("\\\n", " ").splitlines():
        if requirement.strip():
            assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==\S+( ;.*)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", requirement)


def _names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def test_given_pyproject_when_a_dependency_is_added_then_the_lock_files_must_be_renewed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        "requirements-build.lock": project["build-system"]["requires"],
        "requirements.lock": project["project"]["dependencies"],
        "requirements-dev.lock": project["dependency-groups"]["dev"],
    }
    for lock, requirements in wanted.items():
        missing = _names(requirements) - _names((ROOT / lock).read_text().splitlines())
        assert not missing, f"{lock} lacks {', '.join(sorted(missing))}: run `make lock`"


@pytest.mark.skipif(not units.version(), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("fault", ["", "NoSuchSetting=yes"])
def test_given_the_units_when_systemd_reads_them_then_only_a_fault_is_complained_about(tmp_path, fault):
    changed = []
    for unit in UNITS:
        changed.append(tmp_path / unit.name)
        changed[-1].write_text(unit.read_text().replace("[Service]\n", f"[Service]\n{fault}\n"))

    complaints = units.complaints(changed)

    if fault:
        # A template is read twice: as it is, and as the instance that another unit wants.
        assert {line.split(":")[0] for line in complaints if "NoSuchSetting" in line} == {unit.name for unit in UNITS}
    else:
        assert complaints == []


@pytest.mark.skipif(not units.version(), reason="systemd-analyze is not installed")
def test_given_the_page_of_units_when_made_anew_then_it_says_the_same():
    written = (ROOT / "docs/units.md").read_text()
    if units.version() not in written:
        pytest.skip("another systemd judges otherwise")

    assert units.page() == written


def test_given_a_command_line_when_expanded_then_it_is_as_systemd_would_run_it():
    media = next(unit for unit in UNITS if unit.name == "ocsd-media@.service")
    environment = {"OCSD_MEDIA_OPTIONS": "--prompt-dir /etc/ocsd/prompts", "OCSD_MEDIA_SERVERS": "2"}

    command = units.command_of(media, "1", environment)

    assert command[0] == "/opt/ocsd/venv/bin/ocsd-media"
    assert command[command.index("--part") + 1] == "1/2"
    assert command[-2:] == ["--prompt-dir", "/etc/ocsd/prompts"], "two words of one variable"
    assert units.command_of(media, "0")[-1] == "/var/lib/ocsd/recordings", "an empty variable is no word"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_given_a_unit_when_read_then_it_notifies_runs_unprivileged_and_is_not_bound_to_another(unit):
    lines = unit.read_text().splitlines()

    assert {"Type=notify", "User=ocsd", "NoNewPrivileges=yes", "ProtectSystem=strict"} <= set(lines)
    # Telephony and media outlive the daemon; the daemon waits for them only at start.
    assert not [line for line in lines if line.startswith(("BindsTo=", "PartOf=", "Requires=", "Requisite="))]
    # It would remove the shared memory of the embedded PostgreSQL, which runs as the same user.
    assert not [line for line in lines if line.startswith("RemoveIPC=")]


def _install(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ROOT / "deploy" / "install.sh"), *arguments],
        capture_output=True, text=True, check=False, timeout=HANG_LIMIT_S,
    )  # fmt: skip


def test_given_a_dry_run_when_installed_then_every_step_is_told_and_nothing_is_written(tmp_path):
    target = tmp_path / "root"

    found = _install("--dry-run", "--destdir", str(target), "--python", sys.executable)

    assert (found.returncode, found.stderr) == (0, "")
    assert not target.exists()
    for step in (
        "requirements.lock",
        "etc/ocsd/ocsd.toml",
        "ocsd-media@.service",
        "tmpfiles.d/ocsd.conf",
        "usr/local/bin/ocsd",
    ):
        assert re.search(rf"^would (run|write): .*{re.escape(step)}", found.stdout, re.MULTILINE), step


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--prefix"], ["--prefix", "relative"]])
def test_given_wrong_arguments_when_installed_then_it_is_refused(arguments):
    found = _install(*arguments)

    assert found.returncode == 2
    assert found.stderr.startswith("install: ")
