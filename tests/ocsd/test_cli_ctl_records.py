"""``ocsd ctl record | phone | customer | list``: what reaches the control port, what is printed, exit codes."""

import json
import shlex
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.explain.contract import Explanation, Preflight
from ocsd.model.enums import ChainAttr, GswError, RecordStatus, RecordType
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.desktop_records import (
    CallbackType,
    DoNotCall,
    RecordProcessed,
    RecordReject,
    RecordReschedule,
    RecordTreatment,
    RequestRecordCancel,
    ScheduledRecordReschedule,
    UpdateCallCompletionStats,
)
from ocsd.protocols.http_records import HttpRecordRequest, Resource, TenantName
from tests.ocsd.served_port import APPLICATION_DBID as OURS
from tests.ocsd.served_port import served_port

LATER = datetime(2031, 12, 1, 13, 0)  # noqa: DTZ001 - times of records have no zone
AT = datetime(2031, 3, 4, 5, 6, tzinfo=UTC)
NUMBER = "+12125550123"
NEW = ("--phone", NUMBER, "--zone", "EST")


@pytest.fixture
def port():
    with served_port() as port:
        yield port


def ctl(*arguments, url="", **environment):
    environment = {"COLUMNS": "100", **({"OCSD_URL": url} if url else {}), **environment}
    return CliRunner().invoke(app, ["ctl", *map(str, arguments)], env=environment)


def record(request):
    return HttpRecordRequest(Resource.RECORDS, request)


COMMANDS = [
    (["record", 15, "processed"], record(RecordProcessed(OURS, 15, None, None))),
    (
        ["record", 15, "processed", "--treatment", "personal", "--call-result", "answering-machine", "--phone", "+1212",
         "--phone-type", "mobile", "--from", "09:30", "--until", "24:00", "--field", "CODE=22", "--field", "NOTE=a=b c",
         "--campaign", "Alpha", "--group", "Alpha@Agents", "--list", "Alpha List", "--reference", 7],
        record(
            RecordProcessed(
                OURS, 15, "Alpha", "Alpha List", "Alpha@Agents",
                {"call_result": 9, "contact_info_type": 4, "daily_from": 34_200, "daily_till": 86_400,
                 "contact_info": "+1212"},
                {"CODE": "22", "NOTE": "a=b c"}, 7, RecordTreatment.PERSONAL,
            )
        ),
    ),
    (
        ["record", 15, "update", "--call-result", 1001, "--from", "1:00:01"],
        record(UpdateCallCompletionStats(OURS, 15, None, changes={"call_result": 1001, "daily_from": 3601})),
    ),
    (["record", 15, "reject", "--campaign", "Alpha"], record(RecordReject(OURS, 15, "Alpha", None))),
    (
        ["record", 15, "reject", "--tenant", "Alpha Ltd", "--application", OURS],
        HttpRecordRequest(Resource.RECORDS, RecordReject(OURS, 15, None, None), TenantName(None, "Alpha Ltd")),
    ),
    (
        ["record", 15, "update", "--tenant", 7],
        HttpRecordRequest(Resource.RECORDS, UpdateCallCompletionStats(OURS, 15, None), TenantName(7)),
    ),
    (
        ["record", 15, "reschedule", "--at", "2031-12-01 13:00", "--callback", "personal", "--agent", "ada"],
        HttpRecordRequest(
            Resource.RECORDS, RecordReschedule(OURS, 15, None, CallbackType.PERSONAL, LATER), None, "ada"
        ),
    ),
    (
        ["record", 15, "reschedule", "--at", "2031-12-01 13:00"],
        record(RecordReschedule(OURS, 15, None, CallbackType.CAMPAIGN, LATER)),
    ),
    (
        ["record", 15, "reschedule", "--at", "2031-12-01T13:00", "--callback", "personal"],
        record(RecordReschedule(OURS, 15, None, CallbackType.PERSONAL, LATER)),
    ),
    (
        ["record", 15, "move-callback", "--at", "2031-12-01 13:00", "--phone", NUMBER, "--callback", "campaign"],
        record(ScheduledRecordReschedule(OURS, 15, None, CallbackType.CAMPAIGN, LATER, NUMBER)),
    ),
    (
        ["record", 15, "cancel", "--chain-attr", "record-only"],
        record(RequestRecordCancel(OURS, 15, chain_attr=ChainAttr.RECORD_ONLY)),
    ),
    (
        ["record", 15, "do-not-call", "--message", "asked", "--duration", 60],
        record(DoNotCall(OURS, 15, message="asked", duration_s=60)),
    ),
    (
        ["record", 15, "add", *NEW, "--chain", 7],
        record(AddRecord(OURS, NUMBER, "EST", record_handle=15, chain_id=7)),
    ),
    (
        ["phone", NUMBER, "cancel", "--tenant", "Alpha Tenant", "--campaign", "Alpha", "--chain-attr", "all-chain"],
        HttpRecordRequest(
            Resource.PHONES,
            RequestRecordCancel(OURS, phone=NUMBER, campaign_name="Alpha"),
            TenantName(name="Alpha Tenant"),
        ),
    ),
    (
        ["phone", NUMBER, "do-not-call", "--tenant", 3, "--message", "by letter"],
        HttpRecordRequest(Resource.PHONES, DoNotCall(OURS, phone=NUMBER, message="by letter"), TenantName(3)),
    ),
    (
        ["customer", "C/17 %", "cancel", "--tenant", 3],
        HttpRecordRequest(Resource.CUSTOMER_IDS, RequestRecordCancel(OURS, customer_id="C/17 %"), TenantName(3)),
    ),
    (
        ["customer", "C-17", "do-not-call", "--tenant", "3 Tenants", "--duration", 86400],
        HttpRecordRequest(
            Resource.CUSTOMER_IDS, DoNotCall(OURS, customer_id="C-17", duration_s=86_400), TenantName(name="3 Tenants")
        ),
    ),
    (
        ["list", "Alpha List", "add", *NEW, "--campaign", "Alpha"],
        HttpRecordRequest(Resource.LISTS, AddRecord(OURS, NUMBER, "EST", "Alpha List", "Alpha")),
    ),
    (
        ["list", "Alpha List", "add", *NEW, "--campaign", "Alpha", "--group", "Alpha@Agents", "--chain", 7, "--chain-n",
         2, "--type", "personal-callback", "--status", "ready", "--phone-type", 6, "--at", "2031-12-01 13:00", "--from",
         "1:00", "--until", "2:00", "--call-result", "busy", "--attempts", 3, "--call-time", 1_900_000_000, "--agent",
         "agent1", "--field", "CODE=22", "--reference", 5],
        HttpRecordRequest(
            Resource.LISTS,
            AddRecord(
                OURS, NUMBER, "EST", "Alpha List", "Alpha", "Alpha@Agents", None, 7, 2, RecordType.PERSONAL_CALLBACK,
                RecordStatus.READY, 6, 3600, 7200, 6, 3, 1_900_000_000, LATER, "agent1", {"CODE": "22"}, 5,
            ),
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"), COMMANDS, ids=[" ".join(map(str, each[0]))[:60] for each in COMMANDS]
)
def test_given_a_command_when_run_then_the_control_port_gets_the_request(port, arguments, expected):
    result = ctl(*arguments, url=port.url)

    assert (result.exit_code, result.stderr) == (0, "")
    assert port.asked() == expected
    request = type(expected.request).__name__
    assert result.stdout == f"{arguments[0]} {arguments[1]}: {request} done\n"


def test_given_json_when_done_then_it_says_what_was_done(port):
    result = ctl("phone", NUMBER, "do-not-call", "--tenant", 1, "--json", url=port.url)

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"ok": True, "request": "DoNotCall", "target": f"phone {NUMBER}"}


def test_given_a_refusal_when_asked_then_number_and_words_are_told_and_the_exit_code_is_1(port):
    port.records.fail = DesktopRequestError(GswError.RECORD_ALREADY_EXISTS, "chain 7 has a record 2")

    result = ctl("list", "L", "add", *NEW, "--campaign", "A", url=port.url)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "ocsd: Record Already Exists: chain 7 has a record 2 (error 115)\n"


def test_given_a_refusal_when_json_is_wanted_then_it_is_an_answer_too(port):
    port.records.fail = DesktopRequestError(GswError.NO_CALL_FOUND)

    result = ctl("record", 15, "reject", "--json", url=port.url)

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "ok": False,
        "request": "RecordReject",
        "target": "record 15",
        "status": 410,
        "warning": 112,
        "error": "No call found for the record handle",
        "message": "No call found for the record handle",
    }
    assert result.stderr == "ocsd: No call found for the record handle (error 112)\n"


def test_given_a_record_uri_when_run_then_its_server_is_asked_whatever_the_environment_says(port):
    result = ctl("record", f"{port.url}/records/15", "reject", url="http://127.0.0.1:1")

    assert (result.exit_code, result.stdout) == (0, "record 15: RecordReject done\n")
    assert port.asked() == record(RecordReject(OURS, 15, None, None))


def test_given_a_record_uri_and_an_address_when_run_then_the_address_is_asked(port):
    result = ctl("record", "http://127.0.0.1:1/records/15", "reject", "--url", port.url)

    assert result.exit_code == 0
    assert len(port.records.requests) == 1


@pytest.mark.parametrize("arguments", [["record", "http://127.0.0.1:1/records/15", "reject"], ["record", 15, "reject"]])
def test_given_nobody_at_the_address_when_run_then_the_exit_code_is_3(arguments):
    result = ctl(*arguments, url="http://127.0.0.1:1")

    assert result.exit_code == 3
    assert "http://127.0.0.1:1 cannot be reached" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["record", "fifteen", "reject"], "HANDLE|URI"),
        (["record", 0, "reject"], "HANDLE|URI"),
        (["record", 15, "reschedule"], "--at"),
        (["record", 15, "reschedule", "--at", "tomorrow"], "--at"),
        (["record", 15, "processed", "--treatment", "none"], "--treatment"),
        (["record", 15, "processed", "--call-result", "gone"], "answering-machine"),
        (["record", 15, "processed", "--phone-type", "99"], "mobile"),
        (["record", 15, "processed", "--from", "9"], "no time like"),
        (["record", 15, "processed", "--from", "24:01"], "time of a day"),
        (["record", 15, "processed", "--from", "9:60"], "time of a day"),
        (["record", 15, "processed", "--field", "CODE"], "NAME=VALUE"),
        (["record", 15, "processed", "--field", "A=1", "--field", "A=2"], "given twice"),
        (["record", 15, "processed", "--field", "GSW_PHONE=1"], "no custom field"),
        (["phone", NUMBER, "cancel"], "--tenant"),
        (["phone", "", "cancel", "--tenant", 1], "must not be empty"),
        (["customer", "C-17", "do-not-call", "--tenant", 1, "--duration", 0], "--duration"),
        (["list", "L", "add", "--phone", NUMBER], "--zone"),
        (["list", "L", "add", *NEW, "--type", "no-call"], "campaign-callback"),
        (["list", "L", "add", *NEW, "--status", "stale"], "ready"),
        (["list", "L", "add", *NEW, "--url", "http://user:secret@"], "http://127.0.0.1:8080"),
        (["list", "L", "why", 0], "RECORD_ID"),
    ],
)
def test_given_wrong_usage_when_run_then_it_is_told_and_nothing_is_sent(port, arguments, said):
    result = ctl(*arguments, url=port.url)

    assert result.exit_code == 2
    assert said in result.stderr
    assert "secret" not in result.stderr
    assert port.records.requests == []


def test_given_a_list_when_asked_about_then_the_servers_answer_is_printed(port):
    port.explainer.explanations["Alpha List", 7] = Explanation("Alpha List", 7, 3, AT, False, "closed", ())
    port.explainer.preflights["Alpha List"] = Preflight("Alpha List", AT, 9, 8, 7, {"window": 2})

    why, preflight = (
        ctl("list", "Alpha List", "why", 7, url=port.url),
        ctl("list", "Alpha List", "preflight", url=port.url),
    )
    unknown = ctl("list", "Beta List", "why", 7, url=port.url)

    assert (why.exit_code, json.loads(why.stdout)["summary"]) == (0, "closed")
    assert (preflight.exit_code, json.loads(preflight.stdout)["held_back"]) == (0, {"window": 2})
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "(error 109)" in unknown.stderr


HELPS = [
    *(("record", "15", name) for name in ("processed", "update", "reject", "reschedule", "move-callback", "cancel",
                                          "do-not-call", "add")),
    *((about, "x", name) for about in ("phone", "customer") for name in ("cancel", "do-not-call")),
    *(("list", "x", name) for name in ("add", "preflight", "why")),
    *((about,) for about in ("record", "phone", "customer", "list")),
]  # fmt: skip


@pytest.mark.parametrize("path", HELPS, ids=" ".join)
def test_given_the_examples_of_a_help_page_when_run_then_they_work(port, path):
    at = datetime(2031, 3, 4, tzinfo=UTC)
    port.explainer.explanations["Example List", 4711] = Explanation("Example List", 4711, 3, at, False, "closed", ())
    port.explainer.preflights["Example List"] = Preflight("Example List", at, 9, 8, 7, {})
    page = ctl(*path, "--help").stdout
    lines = page.partition("Example:")[2].replace("\\\n", " ").splitlines()
    examples = [line.strip().removeprefix("ocsd ctl ") for line in lines if line.strip().startswith("ocsd ctl ")]

    results = [ctl(*shlex.split(each.replace("http://127.0.0.1:8080", port.url)), url=port.url) for each in examples]

    assert examples
    assert [(result.exit_code, result.stderr) for result in results] == [(0, "")] * len(examples)
