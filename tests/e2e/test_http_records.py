"""Every example of the manual's HTTP chapter about records, phones and lists, and the forms that orchestration sends.

Byte by byte against the running daemon, each with its effect in the table. The first attempt has the handle 15, as in
the manual; the site has its tenant, campaign and list.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

import ocsd
from ocsd.demo.processes import json_file, wait_for
from ocsd.model.enums import CallResult, DialMode, RecordStatus, RecordType
from telephony.simworld.numbers import number_for
from tests.e2e.campaign import json_lines
from tests.e2e.site import Site, eventually, outside_world, site
from tests.e2e.wire import RawHttp, Reply

pytestmark = pytest.mark.e2e

GROUP = 150
R, S, T = CallResult, RecordStatus, RecordType
IN_LIST = (S.READY, S.RETRIEVED)
"""A record that was added may be in the buffer before anybody looks."""
SERVER = ("Server", f"OCS/{ocsd.__version__}")
OK = ("HTTP/1.1 200 OK", (SERVER, ("Content-length", "0")), b"")
GONE = b"<HTML><body>410 Gone : 0 No call found for the record handle</body></HTML>"

TALKER = number_for(0, ("303",))
RINGING = [number_for(index, ("303",)) for index in range(1, 7)]
TO_CANCEL, TO_RESCHEDULE, TO_UPDATE, TO_FORBID, TO_CHAIN, TO_PROCESS = RINGING
TO_REJECT = number_for(7, ("303",))
"""Another one who talks: only what an agent has can be rejected."""

ALPHA = """
[[tenants]]
dbid = 9
name = "Alpha Tenant"

[[formats]]
dbid = 160
name = "Alpha Format"
fields = [
  { name = "customer_code", type = "int", send_attribute = "CUSTOMER_CODE" },
  { name = "date_last_served", type = "varchar", length = 20, send_attribute = "DATE_LAST_SERVED" },
  { name = "status_code", type = "varchar", length = 20, send_attribute = "STATUS_CODE" },
  { name = "customer_status", type = "int", send_attribute = "CUSTOMER_STATUS" },
]

[[table_accesses]]
dbid = 161
name = "Alpha Table"
table = "alpha_list"
format = "Alpha Format"

[[calling_lists]]
dbid = 162
name = "Alpha List"
table_access = "Alpha Table"
time_zone = "EST"
daily_from = 0
daily_till = 86400
max_attempts = 3

[[trunks]]
dbid = 163
name = "Alpha Carrier"
tenant = "Alpha Tenant"
host = "127.0.0.1"
port = {port}
max_calls = 30

[[campaigns]]
dbid = 164
name = "Alpha Campaign"
tenant = "Alpha Tenant"
lists = [{ calling_list = "Alpha List" }]

[[campaign_groups]]
dbid = 150
name = "Alpha Campaign@Demo Agents"
campaign = "Alpha Campaign"
group = "Demo Agents"
trunks = ["Alpha Carrier"]
num_of_channels = 20
min_rec_buff_size = 8
opt_rec_buff_size = 12
"""


@dataclass
class Here:
    site: Site
    http: RawHttp
    truth: Any

    def ask(self, target: str, agent: str, body: str | None, host: str = "ocs.us.int.genesyslab.com:8080") -> Reply:
        """A POST with the headers of the manual's examples, in their order."""
        lines = [f"POST {target} HTTP/1.1", f"Host: {host}", f"User-Agent: {agent}"]
        if body is not None:
            lines.append("Content-type: application/json")
        lines.append(f"Content-length: {len(body or '')}")
        return self.http.ask("\r\n".join(lines) + "\r\n\r\n" + (body or ""))

    def rows(self, phone: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.site.dsn, autocommit=True) as conn:
            cursor = conn.execute("SELECT * FROM public.alpha_list WHERE contact_info = %s ORDER BY record_id", [phone])
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def row(self, phone: str) -> dict[str, Any]:
        (found,) = self.rows(phone)
        return found

    def state(self, phone: str) -> tuple[int, int, int]:
        row = self.row(phone)
        return row["record_type"], row["record_status"], row["call_result"]

    def await_state(self, phone: str, *state: int) -> None:
        eventually(f"the row of {phone} is {state}", lambda: self.state(phone) == state)

    def handle(self, phone: str) -> int:
        query = "SELECT attempt_id FROM ocsd.attempt WHERE phone = %s ORDER BY attempt_id"
        return int(eventually(f"a call to {phone}", lambda: self.site.query(query, phone))[0][0])

    def forbidden(self) -> list[tuple[Any, ...]]:
        return self.site.query("SELECT phone, customer_id, tenant_dbid FROM public.gsw_donotcall_list ORDER BY phone")


def add(here: Site, *numbers: str) -> None:
    with psycopg.connect(here.dsn) as conn:
        for number in numbers:
            conn.execute("INSERT INTO public.alpha_list (contact_info, record_type) VALUES (%s, 2)", [number])


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("world")
    plans = [
        *({"digits": number, "class": "human", "post_dial_s": 0.1, "early": "", "ring_s": 0.5,
           "answer": "silence:300 clip:human_05", "greeting_end_s": 2.11, "talk_s": 20.0, "patience_s": 12.0}
          for number in (TALKER, TO_REJECT)),
        *({"digits": number, "class": "no_answer", "post_dial_s": 0.1, "early": ""} for number in RINGING),
    ]  # fmt: skip
    (folder / "script.json").write_text(json.dumps({"numbers": plans}))
    ready, truth = folder / "carrier.json", folder / "carrier.jsonl"
    with ExitStack() as stack:
        carrier = stack.enter_context(
            outside_world(
                ["telephony.simworld.main", f"--script={folder / 'script.json'}", f"--truth={truth}",
                 f"--ready-file={ready}", "--mix=signalling"],
                folder / "carrier.log",
            )
        )  # fmt: skip
        port = wait_for("the carrier", lambda: json_file(ready), carrier, folder / "carrier.log")["carrier_port"]

        def edit(text: str) -> str:
            options = "record_processed = true, stale_clean_timeout = 5"
            assert options in text
            more = f"{options}, call_wait_connected_timeout = 60, progressive_dial_factor = 10"
            return text.replace(options, more) + ALPHA.replace("{port}", str(port))

        place = stack.enter_context(site(port, agents=1, edit=edit))
        with psycopg.connect(place.dsn, autocommit=True) as conn:
            conn.execute("ALTER SEQUENCE ocsd.attempt_id RESTART WITH 15")
        place.start_agents(1)
        place.start_daemon()
        add(place, TALKER)
        yield Here(place, stack.enter_context(RawHttp(place.http_port)), truth)


def as_said(reply: Reply) -> tuple[str, tuple[tuple[str, str], ...], bytes]:
    return reply.status_line, reply.headers, reply.body


PROCESSED_15 = '{\n    "CUSTOMER_CODE": 22, "GSW_CALL_RESULT":33,\n    "DATE_LAST_SERVED": "10/30/2008"\n}'


def test_given_the_manuals_examples_when_they_are_sent_then_each_is_answered_and_done_as_it_says(here: Here):
    place = here.site
    place.client.load(GROUP)
    eventually("the agent is ready", lambda: place.client.statistics(GROUP)["agents_ready"] == 1)
    place.client.start(GROUP, DialMode.PROGRESSIVE)
    eventually("a conversation", lambda: place.client.statistics(GROUP)["agents_talking"] == 1)
    place.client.stop(GROUP)
    assert here.handle(TALKER) == 15

    # A Successful RecordProcessed Request.
    target = "http://ocs.us.int.genesyslab.com:8080/records/15?req=RecordProcessed"
    reply = here.ask(target, "GVP/8.1 Banking self-service #2", PROCESSED_15)
    assert as_said(reply) == OK

    # An Unsuccessful RecordProcessed Request.
    reply = here.ask(target, "GVP/8.1 Banking self-service 2", PROCESSED_15)
    assert as_said(reply) == (
        "HTTP/1.1 410 Gone",
        (SERVER, ("Warning", "112"), ("Content-type", "text/html"), ("Content-length", str(len(GONE)))),
        GONE,
    )

    # A Successful DoNotCall Request for a Specific Phone Number.
    add(place, "+14155555555")
    target = "http://ocs.us.int.genesyslab.com:8080/phones/4155555555?req=DoNotCall"
    reply = here.ask(target, "ORS Server strategy #2", '{\n    "GSW_TENANT_NAME": "Alpha Tenant"\n}')
    assert as_said(reply) == OK
    assert here.forbidden() == [("+14155555555", None, 9)]
    assert here.state("+14155555555") == (T.NO_CALL, S.UPDATED, R.DO_NOT_CALL)

    # Successful AddRecord Request of the General Type.
    target = "http://ocs.genesyslab.com:8080/lists/Alpha%20List?req=AddRecord"
    body = '{\n   "GSW_CAMPAIGN_NAME":"Alpha Campaign",\n   "GSW_PHONE":"4155670000",\n   "GSW_TZ_NAME":"PST"\n}'
    reply = here.ask(target, "Genesys Orchestration/8.0.000.15 ORS Strategy #1", body, "ocs.genesyslab.com")
    assert as_said(reply) == OK
    general = here.row("+14155670000")
    assert here.state("+14155670000") in [(T.GENERAL, status, R.UNKNOWN) for status in IN_LIST]
    assert (general["daily_from"], general["daily_till"], general["tz_dbid"]) == (28_800, 64_800, 124)
    assert (general["contact_info_type"], general["chain_n"], general["attempt"]) == (2, 0, 0)

    # Successful AddRecord Request of the Campaign Rescheduled Type; its type is the manual's own, twice given.
    body = (
        '{\n    "GSW_CAMPAIGN_NAME":"Alpha Campaign",\n    "GSW_PHONE":"4155670000",\n    "GSW_PHONE_TYPE":4,\n'
        '    "GSW_PHONE_TYPE":4,\n    "GSW_TZ_NAME":"PST",\n    "GSW_RECORD_TYPE":6,\n'
        '    "GSW_DATE_TIME":"12/12/2009 13:00",\n    "CUSTOMER_CODE":22,\n    "DATE_LAST_SERVED":"10/30/2008"\n}'
    )
    reply = here.ask(target, "Genesys Orchestration/8.0.000.15 ORS Strategy #2", body, "ocs.genesyslab.com")
    assert as_said(reply) == OK
    _, added = here.rows("+14155670000")
    due = datetime(2009, 12, 12, 13, 0, tzinfo=ZoneInfo("America/Los_Angeles"))
    assert added["record_type"] == 6
    assert added["record_status"] in IN_LIST
    assert (added["contact_info_type"], added["dial_sched_time"]) == (4, due.timestamp())
    assert (added["customer_code"], added["date_last_served"]) == (22, "10/30/2008")
    assert added["chain_id"] != general["chain_id"]

    # And away with both, by their number.
    target = "http://ocs.genesyslab.com:8080/phones/4155670000?req=RequestRecordCancel"
    reply = here.ask(target, "ORS Server strategy #2", '{"GSW_TENANT_DBID": 9}')
    assert as_said(reply) == OK
    assert [(row["record_status"], row["call_result"]) for row in here.rows("+14155670000")] == [
        (S.CANCELED, R.CANCEL_RECORD)
    ] * 2

    # What the first one has become, once the call is over.
    eventually("the record is closed", lambda: here.row(TALKER)["record_status"] == S.UPDATED, 120.0)
    closed = here.row(TALKER)
    assert (closed["call_result"], closed["customer_code"], closed["date_last_served"]) == (R.ANSWER, 22, "10/30/2008")


def test_given_the_forms_of_orchestration_when_they_are_sent_then_each_has_its_effect(here: Here):
    """Wrapped bodies, other names, another case, a missing id, no body at all; records that are being called."""
    place, agent = here.site, "Genesys Orchestration/8.0.000.15"
    add(place, *RINGING, TO_REJECT)
    eventually("the agent is ready", lambda: place.client.statistics(GROUP)["agents_ready"] == 1)
    place.client.start(GROUP, DialMode.PROGRESSIVE)
    handles = {number: here.handle(number) for number in (*RINGING, TO_REJECT)}
    eventually("a conversation", lambda: place.client.statistics(GROUP)["agents_talking"] == 1)
    place.client.stop(GROUP)

    def told(number: str, req: str, record: dict[str, Any] | None = None) -> None:
        body = json.dumps({"record": record}) if record is not None else None
        target = f"http://server1.genesyslab.com:8080/records/{handles[number]}?req={req}"
        reply = here.ask(target, agent, body)
        assert as_said(reply) == OK, reply.body

    # Adding a New Record: no id, no list.
    record = {
        "GSW_PHONE": "2025550123", "GSW_TZ_NAME": "' PST", "GSW_CALL_RESULT": 28, "STATUS_CODE": "New",
        "CUSTOMER_STATUS": 5, "GSW_CAMPAIGN": "Alpha Campaign",
    }  # fmt: skip
    target = "http://server1.genesyslab.com:8080/records/?req=AddRecord"
    assert as_said(here.ask(target, agent, json.dumps({"record": record}))) == OK
    row = here.row("+12025550123")
    assert (row["status_code"], row["customer_status"], row["tz_dbid"]) == ("New", 5, 124)

    told(TO_UPDATE, "UpdateCallCompletionStats", {"GSW_CAMPAIGN": "Alpha Campaign", "CUSTOMER_STATUS": 7})
    told(TO_RESCHEDULE, "RecordReschedule", {"GSW_DATE_TIME": "10/12/2036", "GSW_CAMPAIGN": "Alpha Campaign"})
    told(TO_REJECT, "RecordReject", {"GSW_CALLING_LIST": "Alpha List", "GSW_CAMPAIGN": "Alpha Campaign"})
    told(TO_PROCESS, "recordprocessed", {"GSW_CALL_RESULT": 40})
    told(TO_CANCEL, "RequestRecordCancel")
    told(TO_FORBID, "DoNotcall")
    told(
        TO_CHAIN,
        "AddRecord",
        {"GSW_PHONE": "2025550124", "GSW_TZ_NAME": "PST", "GSW_CHAIN_ID": here.row(TO_CHAIN)["chain_id"]},
    )

    assert (TO_FORBID, None, 9) in here.forbidden()
    assert here.state(TO_CANCEL)[1:] == (S.CANCELED, R.CANCEL_RECORD)
    assert here.state(TO_FORBID) == (T.NO_CALL, S.UPDATED, R.DO_NOT_CALL)
    sibling = here.row("+12025550124")
    assert (sibling["chain_id"], sibling["chain_n"]) == (here.row(TO_CHAIN)["chain_id"], 1)

    place.client.complete(GROUP)
    here.await_state(TO_REJECT, T.GENERAL, S.READY, R.ANSWER)
    eventually("the updated one is closed", lambda: here.row(TO_UPDATE)["record_status"] == S.UPDATED)
    assert here.row(TO_UPDATE)["customer_status"] == 7
    eventually("it is closed", lambda: here.row(TO_PROCESS)["record_status"] != S.RETRIEVED)
    assert here.state(TO_PROCESS) == (T.GENERAL, S.UPDATED, R.WRONG_PARTY)
    rescheduled = here.row(TO_RESCHEDULE)
    due = datetime(2036, 10, 12, tzinfo=ZoneInfo("America/New_York"))
    assert (rescheduled["record_type"], rescheduled["record_status"]) == (T.CAMPAIGN_CALLBACK, S.READY)
    assert rescheduled["dial_sched_time"] == due.timestamp()
    for number in (TO_CANCEL, TO_FORBID, TO_REJECT):
        assert len([truth for truth in json_lines(here.truth) if truth["number"] == number]) <= 1
