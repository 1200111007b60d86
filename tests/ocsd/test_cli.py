"""The command line: help with examples, exit codes, JSON, and what reaches the control port."""

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import typer
from structlog.testing import capture_logs
from typer.main import get_command
from typer.testing import CliRunner, Result

from ocsd.cli import app
from ocsd.config.objects import Application, HttpListener
from ocsd.http.server import serve_http
from ocsd.model.enums import CmError, DialMode, OptimizeBy
from ocsd.model.errors import ConfigError, InvariantError, StoreUnavailable
from ocsd.model.services import CampaignRequest, DialParameters
from telephony.api import TelephonyError
from tests.ocsd.http_fakes import FakeCampaigns, services

EXAMPLE = Path(__file__).parents[2] / "deploy" / "example.toml"
HANG_LIMIT_S = 20.0


def invoke(*arguments: str | int | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "100", **environment})


GROUP_ARGUMENTS = {"HANDLE|URI": "15", "NUMBER": "+12125550123", "ID": "C-17", "NAME": '"Example List"'}


def _commands(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", {})
    yield path
    # `ocsd ctl record 15 processed`: what a group is about stands before its commands.
    arguments = [param for param in getattr(command, "params", ()) if param.param_type_name == "argument"]
    about = [GROUP_ARGUMENTS[argument.metavar] for argument in arguments if children]
    for name, child in children.items():
        yield from _commands(child, (*path, *about, name))


COMMANDS = list(_commands(get_command(app)))


def test_given_the_application_when_listed_then_every_documented_command_is_there():
    documented = ["demo", "run", "check", "ctl", "list"]
    lists = ["create", "import", "export", "stats", "preflight", "history", "release"]
    documented += ["history", *(f"list {name}" for name in lists)]
    documented += ["rules", *(f"rules {name}" for name in ["list", "show", "when"])]
    dnc = ["import", "export", "check", "add", "remove", "list", "reread"]
    documented += ["dnc", *(f"dnc {name}" for name in dnc)]
    controls = [
        "load",
        "start",
        "mode",
        "stop",
        "unload",
        "force-unload",
        "launch",
        "stage",
        "complete",
        "status",
        "pacing",
        "trunks",
        "calls",
    ]
    documented += [f"ctl {name}" for name in controls]
    records = ["processed", "update", "reject", "reschedule", "move-callback", "cancel", "do-not-call", "add"]
    documented += ["ctl record", *(f"ctl record 15 {name}" for name in records)]
    for about in ("phone +12125550123", "customer C-17"):
        documented += [f"ctl {about.split()[0]}", *(f"ctl {about} {name}" for name in ["cancel", "do-not-call"])]
    documented += ["why", "guard", "guard presets", "rehearse"]
    documented += ["pacing", *(f"pacing {name}" for name in ["show", "replay", "calibration"])]
    documented += ["cpa", *(f"cpa {name}" for name in ["analyze", "score", "examples", "feedback", "export"])]
    documented += ["ctl list", *(f'ctl list "Example List" {name}' for name in ["add", "preflight", "why"])]

    assert {" ".join(path) for path in COMMANDS} == {"", *documented}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_given_any_command_when_asked_for_help_then_it_shows_an_example_and_the_exit_codes(path):
    result = invoke(*path, "--help")

    assert result.exit_code == 0
    example = " ".join(("ocsd", *path))
    assert "Example:" in result.output
    assert any(line.strip().startswith(example) for line in result.output.splitlines())
    assert "Exit codes: 0 done; 1 refused" in result.output


def test_given_no_arguments_or_an_unknown_command_when_run_then_it_is_wrong_usage():
    assert invoke().exit_code == 2
    assert invoke("dial").exit_code == 2
    assert invoke("check").exit_code == 2
    assert invoke("demo", "--mode", "preview").exit_code == 2


# --- check --------------------------------------------------------------------------------------------------------


def test_given_the_example_configuration_when_checked_then_it_is_in_order():
    result = invoke("check", EXAMPLE)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "is in order" in result.stdout


def test_given_a_faulty_configuration_when_checked_then_every_problem_is_a_line_and_the_exit_code_is_1(tmp_path):
    file = tmp_path / "ocsd.toml"
    file.write_text('[http]\nport = "x"\n[[tenants]]\nname = "T"\n')

    plain, as_json = invoke("check", file), invoke("check", file, "--json")

    assert plain.exit_code == as_json.exit_code == 1
    assert plain.stdout == ""
    problems = plain.stderr.splitlines()
    assert problems[-1] == f"2 problems in {file}."
    assert json.loads(as_json.stdout) == {"ok": False, "problems": problems[:-1]}


def test_given_a_configuration_when_checked_in_detail_then_what_follows_each_result_is_shown():
    lines = invoke("check", EXAMPLE, "--verbose").stdout.splitlines()

    assert "Example List: treatments, at most 5 attempts a record" in lines
    assert "  Busy (6)" in lines
    assert len([line for line in lines if "busy 1: redial" in line]) == 1
    assert "Gold List: treatments, at most 3 attempts a record" in lines


def test_given_a_preset_that_there_is_not_when_checked_then_it_is_a_problem(tmp_path):
    file = tmp_path / "ocsd.toml"
    file.write_text(Path(EXAMPLE).read_text().replace('["us-federal"]', '["us-fedral"]', 1))

    result = invoke("check", file)

    assert result.exit_code == 1
    problem, count = result.stderr.splitlines()
    assert "us-fedral" in problem
    assert count == f"1 problem in {file}."


def test_given_a_configuration_when_checked_for_a_program_then_json_counts_its_objects():
    result = invoke("check", EXAMPLE, "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["objects"]["calling_lists"] == 2


# --- run, demo ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError(["a is wrong", "b is wrong"]), 1, "ocsd: a is wrong\nocsd: b is wrong\n"),
        (StoreUnavailable("the database is away"), 3, "ocsd: the database is away\n"),
        (OSError(98, "Address already in use"), 1, "ocsd: [Errno 98] Address already in use\n"),
        (TelephonyError("no worker answers"), 1, "ocsd: no worker answers\n"),
        (ExceptionGroup("", [ExceptionGroup("", [StoreUnavailable("away")])]), 3, "ocsd: away\n"),
        (ExceptionGroup("", [StoreUnavailable("away"), ConfigError(["wrong"])]), 1, "ocsd: away\nocsd: wrong\n"),
    ],
)
def test_given_a_daemon_that_cannot_start_when_run_then_the_cause_is_told_without_a_traceback(
    monkeypatch, error, code, message
):
    from ocsd import daemon

    def fail(_config: Path, _log_level: str) -> None:
        raise error

    monkeypatch.setattr(daemon, "run", fail)

    result = invoke("run", "--config", EXAMPLE)

    assert (result.exit_code, result.stderr) == (code, message)


@pytest.mark.parametrize("error", [InvariantError("our bug"), ExceptionGroup("", [OSError(1, "x"), KeyError("bug")])])
def test_given_a_bug_in_the_daemon_when_run_then_it_is_not_made_to_look_like_the_operators_fault(monkeypatch, error):
    from ocsd import daemon

    def fail(_config: Path, _log_level: str) -> None:
        raise error

    monkeypatch.setattr(daemon, "run", fail)

    assert invoke("run", "--config", EXAMPLE).exception is error


def test_given_run_with_options_when_run_then_the_daemon_gets_them(monkeypatch):
    from ocsd import daemon

    calls = []
    monkeypatch.setattr(daemon, "run", lambda *arguments: calls.append(arguments))

    assert invoke("run", "-c", EXAMPLE, "--log-level", "debug").exit_code == 0
    assert invoke("run", OCSD_CONFIG=str(EXAMPLE)).exit_code == 0
    assert calls == [(EXAMPLE, "debug"), (EXAMPLE, "info")]


def test_given_demo_options_when_run_then_the_demo_gets_them_and_its_code_is_the_exit_code(monkeypatch, tmp_path):
    from ocsd import demo

    seen = []

    def run(options: demo.DemoOptions) -> int:
        seen.append(options)
        return 1

    monkeypatch.setattr(demo, "run", run)
    report = tmp_path / "demo.json"

    result = invoke(
        "demo", "--seconds", 5, "--agents", 2, "--records", 30, "--seed", 7, "--http-port", 0, "--report", report,
        "--mode", "progressive", "--data-dir", tmp_path,
    )  # fmt: skip

    assert result.exit_code == 1
    assert seen == [demo.DemoOptions(5, 2, 30, 7, 0, report, "progressive", tmp_path)]


@pytest.mark.parametrize(
    ("given", "seconds", "records", "attempts"),
    [
        ([], 90, 2000, None),
        (["--attempts", 300], 3600, 300, 300),
        (["--attempts", 300, "--records", 400, "--seconds", 60], 60, 400, 300),
    ],
)
def test_given_a_number_of_attempts_when_run_then_time_and_list_follow_unless_they_are_given(
    monkeypatch, given, seconds, records, attempts
):
    from ocsd import demo

    seen = []
    monkeypatch.setattr(demo, "run", lambda options: seen.append(options) or 0)

    assert invoke("demo", *given, "--mix", "all", "--media-servers", 2).exit_code == 0

    (options,) = seen
    assert (options.seconds, options.records, options.attempts) == (seconds, records, attempts)
    assert (options.mix, options.media_servers, options.of_all_kinds) == ("all", 2, True)


@pytest.mark.parametrize("given", [["--mix", "all"], ["--attempts", 10]])
def test_given_what_the_rehearsal_does_not_know_when_both_are_wanted_then_it_is_refused(given):
    result = invoke("demo", "--rehearse", *given)

    assert result.exit_code == 2
    assert "rehearsal knows" in result.output


# --- ctl ----------------------------------------------------------------------------------------------------------


@dataclass
class ControlPort:
    url: str
    campaigns: FakeCampaigns

    def ctl(self, *arguments: str | int | Path) -> Result:
        return invoke("ctl", *arguments, OCSD_URL=self.url)


@pytest.fixture
def port() -> Iterator[ControlPort]:
    """The real control port with campaign groups in memory, in a thread of its own: the command line is synchronous."""
    campaigns = FakeCampaigns()
    started: queue.Queue[tuple[int, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.Queue()

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            ports = await nursery.start(serve_http, HttpListener(port=0), Application(), services(campaigns))
            started.put((ports[0], trio.lowlevel.current_trio_token(), nursery.cancel_scope))

    thread = threading.Thread(target=trio.run, args=(serve,))
    with capture_logs():  # the server's: in one process they would stand among what the command prints
        thread.start()
        number, token, scope = started.get(timeout=HANG_LIMIT_S)
        try:
            yield ControlPort(f"http://127.0.0.1:{number}", campaigns)
        finally:
            token.run_sync_soon(scope.cancel)
            thread.join(HANG_LIMIT_S)
    assert not thread.is_alive()


NONE = DialParameters()
PREDICTIVE = DialParameters(DialMode.PREDICTIVE, OptimizeBy.BUSY_FACTOR, 85)


@pytest.mark.parametrize(
    ("arguments", "request_", "parameters"),
    [
        (["load", 106], CampaignRequest.LOAD, NONE),
        (["stage", 106], CampaignRequest.STAGE, NONE),
        (["launch", 106, "--mode", "progressive"], CampaignRequest.LAUNCH, DialParameters(DialMode.PROGRESSIVE)),
        (
            ["launch", 106, "--mode", "predictive", "--by", "busy-factor", "--goal", 85],
            CampaignRequest.LAUNCH,
            PREDICTIVE,
        ),
        (["stop", 115], CampaignRequest.STOP_DIALING, NONE),
        (["unload", 115], CampaignRequest.UNLOAD, NONE),
        (["force-unload", 115], CampaignRequest.FORCE_UNLOAD, NONE),
        (["complete", 115], CampaignRequest.COMPLETE, NONE),
        (["mode", 115, "progressive"], CampaignRequest.SET_DIALING_MODE, DialParameters(DialMode.PROGRESSIVE)),
        (
            ["mode", 115, "predictive", "--by", "busy-factor", "--goal", 85],
            CampaignRequest.SET_DIALING_MODE,
            PREDICTIVE,
        ),
        (
            ["start", 115, "--mode", "predictive", "--optimize-by", "busy_factor", "--goal", 85, "--auto-complete"],
            CampaignRequest.START_DIALING,
            DialParameters(DialMode.PREDICTIVE, OptimizeBy.BUSY_FACTOR, 85, True),
        ),
    ],
)
def test_given_a_ctl_command_when_run_then_the_control_port_gets_the_request(port, arguments, request_, parameters):
    port.ctl(*arguments)

    assert port.campaigns.requests == [(arguments[1], request_, parameters)]


def test_given_a_loaded_group_when_started_without_a_mode_then_it_keeps_what_it_was_loaded_with(port):
    assert port.ctl("load", 106).exit_code == 0
    result = port.ctl("start", 106)

    assert (result.exit_code, result.stdout) == (0, "106: dialing in Progressive mode\n")
    assert port.campaigns.requests[-1] == (106, CampaignRequest.START_DIALING, DialParameters(DialMode.PROGRESSIVE))


def test_given_a_predictive_group_when_started_without_a_mode_then_its_goal_is_kept(port):
    port.campaigns.refuse = CmError.CAMPAIGN_ALREADY_STARTED

    result = port.ctl("start", 115)

    assert result.exit_code == 1
    sent = DialParameters(DialMode.PREDICTIVE, OptimizeBy.BUSY_FACTOR, 80)
    assert port.campaigns.requests == [(115, CampaignRequest.START_DIALING, sent)]


def test_given_a_refusal_when_asked_then_the_manuals_number_is_told_and_the_exit_code_is_1(port):
    result = port.ctl("load", 115)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "the campaign group is already loaded (error 5)" in result.stderr


def test_given_a_group_that_is_not_loaded_when_started_then_error_4_is_told(port):
    result = port.ctl("start", 106)

    assert result.exit_code == 1
    assert "(error 4)" in result.stderr


def test_given_nobody_at_the_address_when_asked_then_the_exit_code_is_3(unused_port):
    result = invoke("ctl", "status", "--url", f"http://127.0.0.1:{unused_port}")

    assert result.exit_code == 3
    assert "cannot be reached" in result.stderr


@pytest.fixture
def unused_port() -> Iterator[int]:
    import socket

    with socket.socket() as taken:  # bound, not listening: connections are refused, and nobody else gets it
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["mode", 115, "predictive"],
        ["mode", 115, "predictive", "--by", "busy-factor"],
        ["mode", 115, "progressive", "--goal", 3],
        ["mode", 115, "preview"],
        ["mode", 115, "predictive", "--by", "luck", "--goal", 3],
        ["launch", 106],
        ["start", 106, "--goal", 3],
        ["start", 106, "--mode", "predictive", "--goal", 0],
        ["load"],
        ["load", 106, "--url", "ftp://x"],
    ],
)
def test_given_wrong_parameters_when_asked_then_nothing_is_sent_and_the_exit_code_is_2(port, arguments):
    assert port.ctl(*arguments).exit_code == 2
    assert port.campaigns.requests == []


def test_given_all_groups_when_status_is_asked_then_words_stand_for_numbers(port):
    plain, as_json = port.ctl("status"), port.ctl("status", "--json")

    assert plain.stdout.splitlines() == [
        "campaign group\tstate\tmode\toptimize by\tgoal",
        "Campaign_Group_1@Agent_Group_1\tnot_loaded\t-\t-\t-",
        "Campaign_Group_2@Agent_Group_2\trunning\tpredictive\tbusy_factor\t80",
        "Campaign_Group_3@Agent_Group_3\tnot_loaded\t-\t-\t-",
    ]
    assert json.loads(as_json.stdout)["campaign_groups"]["Campaign_Group_2@Agent_Group_2"] == {
        "state": "running", "mode": "predictive", "optimize_by": "busy_factor", "goal": 80,
    }  # fmt: skip


def test_given_one_group_when_status_is_asked_then_its_live_figures_are_shown(port):
    plain, as_json = port.ctl("status", 115), port.ctl("status", 115, "--json")

    assert "state\trunning" in plain.stdout
    assert "busy factor\t0.81" in plain.stdout
    assert "overdial rate\t-" in plain.stdout
    assert json.loads(as_json.stdout)["statistics"]["agents_ready"] == 3


def test_given_a_name_when_asked_then_the_daemon_tells_the_dbid(port):
    name = port.campaigns.groups[106].name
    result = port.ctl("load", name)

    assert (result.exit_code, result.stdout) == (0, f"{name}: loaded\n")
    assert port.campaigns.requests == [(106, CampaignRequest.LOAD, NONE)]


def test_given_an_unknown_name_when_asked_then_the_known_ones_are_told(port):
    result = port.ctl("load", "nobody")

    assert result.exit_code == 1
    assert 'no campaign group is called "nobody"; configured are: "' in result.stderr
    assert port.campaigns.requests == []


def test_given_the_command_objects_when_made_then_typer_shows_no_pretty_tracebacks_with_secrets():
    assert isinstance(app, typer.Typer)
    assert app.pretty_exceptions_enable is False
