"""What a release is made of besides code: lock files, units, install script."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
UNITS = sorted((ROOT / "systemd").glob("*.service"))
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


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("fault", ["", "NoSuchSetting=yes"])
def test_given_the_units_when_systemd_reads_them_then_only_a_fault_is_complained_about(tmp_path, fault):
    for unit in UNITS:
        # The program is not installed here; everything else is judged as it is.
        text = re.sub(r"/opt/ocsd/venv/bin/[a-z-]+", "/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text.replace("[Service]\n", f"[Service]\n{fault}\n"))

    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS)],
        capture_output=True, text=True, check=False, timeout=HANG_LIMIT_S,
    )  # fmt: skip

    complaints = [line for line in found.stderr.splitlines() if str(tmp_path) in line]
    if fault:
        # A template is read twice: as it is, and as the instance that another unit wants.
        named = {line.split(":")[0] for line in complaints if fault.split("=")[0] in line}
        assert named == {str(tmp_path / unit.name) for unit in UNITS}
    else:
        assert (found.returncode, complaints) == (0, [])


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
