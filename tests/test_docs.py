"""What the documentation shows must be so: its configuration is in order, what it names exists, its ladder is real."""

import re
import shlex
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
import typer.main
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.config import objects
from ocsd.config.loader import load_configuration
from ocsd.config.options import OPTIONS
from ocsd.model.columns import MANDATORY_NAMES
from ocsd.model.enums import CallAction, CallResult, RecordAction, RecordType
from ocsd.model.records import CallingRecord
from ocsd.model.services import CampaignRequest
from ocsd.protocols.http_records import REQUESTS
from ocsd.rules.caps import refusal, rules_of
from ocsd.rules.hours import ListHours
from ocsd.treatments.contract import Situation
from ocsd.treatments.engine import decide
from tests.ocsd.served_port import HANG_LIMIT_S, served_port
from tests.ocsd.test_validation_records import CASES

ROOT = Path(__file__).parents[1]
RECORDS = (ROOT / "docs" / "records.md").read_text()
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted([ROOT / "README.md", ROOT / "deploy" / "README.md", *(ROOT / "docs").glob("*.md")])
}

REST = """
[[tenants]]
dbid = 1
name = "Example Ltd"

[[trunks]]
dbid = 101
name = "carrier"
tenant = "Example Ltd"
host = "127.0.0.1"
port = 5080

[[agents]]
dbid = 1
login_id = "agent1"
dn = "sip:1001@127.0.0.1:5090"

[[agents]]
dbid = 2
login_id = "agent2"
dn = "sip:1002@127.0.0.1:5090"

[[agent_groups]]
dbid = 1
name = "Example Agents"
agents = ["agent1", "agent2"]
"""
"""What the page leaves out: "together with a trunk, agents and a tenant ... it runs"."""


@pytest.fixture
def reminders(tmp_path):
    """The configuration of docs/records.md, a file for each block."""
    folder = tmp_path / "reminders"
    folder.mkdir()
    blocks = re.findall(r"^```toml\n(.*?)^```$", RECORDS, re.MULTILINE | re.DOTALL)
    assert len(blocks) == RECORDS.count("```toml")
    for place, block in enumerate([REST, *blocks]):
        (folder / f"{place}.toml").write_text(block)
    return folder


def test_given_the_examples_of_the_page_when_checked_then_they_are_in_order_and_print_what_the_page_shows(reminders):
    found = CliRunner().invoke(app, ["check", "--verbose", str(reminders)])

    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.replace(str(reminders), "reminders") in RECORDS


def _known_words():
    """Options, keys and columns, actions, names that the examples give, tables of ours."""
    kinds = [kind for kind in vars(objects).values() if hasattr(kind, "model_fields")]
    migrations = resources.files("ocsd.lists.migrations")
    return (
        {option.name for option in OPTIONS.values()}
        | {name for kind in kinds for name in kind.model_fields}
        | set(MANDATORY_NAMES)
        | {member.name.lower() for kind in (RecordAction, CallAction) for member in kind}
        | {"interval", "drop", "tone"}  # another way to write interval_min; the built-in prompts
        | {word for file in migrations.iterdir() if file.name.endswith(".sql")
           for word in re.findall(r"(?:TABLE|EXISTS) ((?:ocsd|public)\.\w+)", file.read_text())}
        | {"gsw_donotcall_list"}
        | {f"record.{what}" for what in ("held_back", "forbidden")}
    )  # fmt: skip


def test_given_a_name_on_the_page_when_looked_up_then_it_exists():
    text = re.sub(r"^```.*?^```$", "", RECORDS, flags=re.MULTILINE | re.DOTALL)
    names = set(re.findall(r"`([a-z][\w-]*(?:\.\w+)?)`", text))

    assert {"check_dnc_list", "dnc_reread_at", "holiday_table", "chain_n", "ocsd.decision", "redial"} <= names
    assert names - _known_words() == set()


def test_given_an_option_that_is_named_as_such_when_looked_up_then_ocsd_check_accepts_it():
    known = {option.name for option in OPTIONS.values()}
    named = {name for name in re.findall(r"`([a-z_-]+)`", RECORDS) if name in known}

    assert len(named) >= 12
    assert named <= set(re.findall(r"^### (\S+)$", (ROOT / "docs" / "options.md").read_text(), re.MULTILINE))


def _commands(text):
    """Every ``ocsd ...`` command line of a page, without what it is piped into."""
    for line in re.findall(r"(?:^ {4}|^\$ |`)((?:sudo (?:-u ocsd )?)?ocsd [^`\n]+)", text, re.MULTILINE):
        for command in line.split(" && "):
            command = command.partition(" | ")[0]
            words = shlex.split(re.sub(r"^sudo (-u ocsd )?", "", command), comments=True)
            assert words[0] == "ocsd"
            yield words[1:]


def test_given_the_pages_when_searched_then_those_that_show_commands_are_found_to():
    counts = {page: len(list(_commands(text))) for page, text in PAGES.items()}

    assert counts["README.md"] >= 18
    assert min(counts[f"docs/{name}.md"] for name in ("client", "history", "http", "preflight", "records", "why")) >= 2


@pytest.mark.parametrize("page", PAGES)
def test_given_a_command_on_a_page_when_parsed_then_command_and_options_exist(page):
    for words in _commands(PAGES[page]):
        command, arguments = typer.main.get_command(app), list(words)
        # `ocsd list` in a sentence means all of its commands; `ocsd guard --json` is a command besides.
        while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
            # A group may take an argument itself: `ocsd ctl record 15 processed`.
            del arguments[: sum(each.param_type_name == "argument" for each in command.params)]
            if not arguments:
                break
            name = arguments.pop(0)
            assert name in command.commands, f"ocsd {' '.join(words)}: there is no {name}"
            command = command.commands[name]
        if hasattr(command, "commands") and not arguments:
            continue
        # Only what the parser finds (no such option...): examples may leave out what the environment gives.
        command.make_parser(command.context_class(command)).parse_args(arguments)


# --- links, requests, tables ------------------------------------------------------------------------------------------


def _anchors(text):
    """Headings as the usual renderers turn them into anchors."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_given_a_link_on_a_page_when_followed_then_file_and_heading_are_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in _anchors(path.read_text()), target


def test_given_a_page_or_a_decision_when_looked_for_then_the_index_leads_to_it():
    index = PAGES["docs/README.md"]

    assert "(docs/README.md)" in PAGES["README.md"]
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in index, path.name


def _requests(text):
    """(method, URL, JSON body or None) of every curl command line."""
    for line in re.findall(r"(?:^ {4}|^\$ |`)(curl [^`\n]+)", text, re.MULTILINE):
        words = shlex.split(line)[1:]
        body = words[words.index("--json") + 1] if "--json" in words else None
        method = words[words.index("-X") + 1] if "-X" in words else "GET" if body is None else "POST"
        (url,) = (word for word in words if word.startswith("http://"))
        yield method, url, body


@pytest.mark.parametrize(("page", "at_least"), [("README.md", 3), ("docs/http.md", 8), ("docs/agents.md", 1)])
def test_given_a_request_on_a_page_when_sent_then_the_port_understands_it(page, at_least):
    requests = list(_requests(PAGES[page]))
    assert len(requests) >= at_least

    with served_port() as port, httpx.Client(timeout=HANG_LIMIT_S, trust_env=False) as client:
        for method, url, body in requests:
            headers = {"Content-type": "application/json"} if body is not None else {}
            answer = client.request(
                method, url.replace("http://127.0.0.1:8080", port.url), content=body, headers=headers
            )
            assert answer.status_code == 200, (url, answer.text)


def test_given_the_program_of_the_readme_when_run_then_the_record_arrives():
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGES["README.md"], re.MULTILINE | re.DOTALL)

    with served_port() as port:
        exec(compile(program.replace("http://127.0.0.1:8080", port.url), "README.md", "exec"), {})
        asked = port.asked()

    assert (asked.request.calling_list, asked.request.campaign_name) == ("Example List", "Example")
    assert asked.request.phone == "+12125550124"


def test_given_the_resources_of_the_page_when_compared_then_they_are_those_of_the_port():
    rows = re.findall(r"^\| `/(\w+)/\w+` \| POST \| ([^`|]+) \|$", PAGES["docs/http.md"], re.MULTILINE)
    shown = {resource: set(names.split(", ")) for resource, names in rows}

    assert shown == {
        "campaigngroups": {request.value for request in CampaignRequest},
        "agentgroups": {"InboundCalls"},
        **{resource.value: set(names) for resource, names in REQUESTS.items()},
    }


@pytest.mark.parametrize("page", ["docs/http.md", "docs/validation.md"])
def test_given_a_name_of_the_port_when_looked_up_then_the_program_has_it(page):
    program = "\n".join(path.read_text() for path in (ROOT / "ocsd").rglob("*.py"))
    prose = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    names = set(re.findall(r"`((?:GSW_|[a-z]+[-_.])[\w.-]*\w)`", prose))
    names = {name for name in names if not name.endswith((".md", ".json"))}

    assert len(names) >= 12
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", program)} == set()


def test_given_the_limits_of_the_page_when_compared_then_they_are_the_defaults():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGES["docs/http.md"], re.MULTILINE)
    fields = objects.HttpListener.model_fields

    assert len(rows) == 5
    assert {name: int(value) for name, value in rows} == {name: fields[name].default for name, _ in rows}


def test_given_the_configuration_of_validation_when_checked_with_the_example_then_it_is_in_order(tmp_path):
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGES["docs/validation.md"], re.MULTILINE | re.DOTALL)
    example = (ROOT / "deploy" / "example.toml").read_text()
    (line,) = re.findall(r"^\[application\]\n(?:.*\n)*?(options = .*\n)", example, re.MULTILINE)
    config = tmp_path / "ocsd.toml"
    config.write_text(f"{example.replace(line, '', 1)}\n{block}")

    found = CliRunner().invoke(app, ["check", str(config)])

    assert (found.exit_code, found.stderr) == (0, "")


def test_given_the_table_of_answers_when_compared_then_it_has_what_the_test_with_a_real_server_demands():
    rows = re.findall(r"^\| (.+?) \| (yes|no) \| (\d+) .+? \| (\w+) \|$", PAGES["docs/validation.md"], re.MULTILINE)
    shown = {what: (dialed == "yes", int(result), status.upper()) for what, dialed, result, status in rows}
    demanded = {case.what: (case.dialed, int(case.call_result), case.status.name) for case in CASES}

    del demanded["200 at last"]  # as the first
    assert shown == demanded


# --- the worked example -----------------------------------------------------------------------------------------------

LOCAL = ZoneInfo("America/New_York")
RESULTS = {"busy": CallResult.BUSY, "no answer": CallResult.NO_ANSWER}
BEGIN = datetime(2026, 11, 20, 8, 26, tzinfo=LOCAL)


def _shown():
    """(time, number, result, decision) of each row of the ladder."""
    rows = re.findall(r"^\| (\w+ \d\d:\d\d) \| (first|second) \| ([a-z ]+) \| (.*) \|$", RECORDS, re.MULTILINE)
    assert len(rows) == 7
    return rows


def _row(record_id):
    values = dict.fromkeys(field.name for field in fields(CallingRecord)) | {
        "list_dbid": 1, "record_id": record_id, "contact_info": f"+1212555200{record_id}", "contact_info_type": 0,
        "record_type": RecordType.GENERAL, "call_result": 28, "attempt": 0, "daily_from_s": 28800,
        "daily_till_s": 72000, "tz_dbid": 1, "chain_id": 1, "chain_n": record_id - 1, "user_fields": {},
    }  # fmt: skip
    return CallingRecord(**values)


def test_given_the_worked_example_when_the_engine_walks_its_ladder_then_it_is_as_the_page_says(reminders):
    config = load_configuration(reminders)
    overdue = config.calling_list("Overdue")
    chain, now, place, calls = [_row(1), _row(2)], BEGIN.astimezone(UTC), 0, []
    told = []
    for _, _, result, _ in _shown():
        calls.append(now)
        dialed = replace(chain[place], attempt=chain[place].attempt + 1, call_result=RESULTS[result])
        chain[place] = dialed
        decision = decide(
            Situation(call_result=RESULTS[result], record=dialed, chain=tuple(chain), now=now),
            config.treatments_of(overdue),
            max_attempts=overdue.max_attempts,
            opening=ListHours(config, overdue).opening,
            timezone_of=lambda record: LOCAL,
        )
        told.append((f"{now.astimezone(LOCAL):%A %H:%M}", ("first", "second")[place], result, decision.because))
        change = decision.change
        chain = [
            replace(
                row,
                record_type=change.record_type,
                treatments=change.treatments,
                dial_sched_time=change.dial_sched_time,
            )
            for row in chain
        ]
        place = next(place for place, row in enumerate(chain) if row.record_id == decision.next_record_id)
        now = datetime.fromtimestamp(change.dial_sched_time, UTC)

    assert told == _shown()
    # "The next call would be the eighth": which cap holds it back, and until when.
    (cap, *_) = [rule for rule in rules_of(config, overdue) if rule.name == "us-reg-f"]
    held_back = refusal(cap, calls, now)
    assert "us-reg-f" in held_back.why
    assert f"{held_back.until.astimezone(LOCAL):%A %H:%M}" == "Friday 09:26"
    assert "until\nFriday 09:26" in RECORDS
