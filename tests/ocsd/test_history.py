"""What happened to a number: every source, in order of time, found however the number is written."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.config.objects import Campaign, CampaignList, Format, FormatField, Tenant
from ocsd.dnc import table as dnc_table
from ocsd.dnc.contract import DncEntry
from ocsd.explain.facts import gather
from ocsd.explain.history import ATTEMPT_COLUMNS, COLUMNS, Wanted, attempts_of_list, history, phone_forms, told
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import ChainChange, ChainSettlement, HttpRequest, Selector, Withdrawal
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, PostgresWorld, attempt_for, configuration, result_of

ADA = "+12125550177"
BOB = "+12125550188"


def minutes(count):
    return timedelta(minutes=count)


@pytest.fixture
def config(database):
    base = configuration()
    fields = (*base.formats[0].fields, FormatField(name="customer_no", length=20))
    return configuration(
        dsn=database,
        formats=(Format(dbid=201, name="Customers", fields=fields),),
        tenants=(Tenant(dbid=1, name="Example Ltd"),),
        campaigns=(
            Campaign(dbid=401, name="Spring", tenant="Example Ltd", lists=(CampaignList(calling_list="Customers"),)),
        ),
        calling_lists=(
            base.calling_lists[0].model_copy(update={"customer_id_field": "customer_no"}),
            base.calling_lists[1],
        ),
    )


@pytest.fixture
def world(database, config):
    made = PostgresWorld(database, config)
    yield made
    made.conn.close()


@pytest.fixture
def conn(database):
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def find(conn, config, *phones, now=NOON_UTC, **more):
    return history(conn, config, Wanted(phones=phones, **more), now)


def kinds(events):
    return [event["event"] for event in events]


async def dial(store, world, **result):
    """One finished attempt on the first chain; returns its id."""
    (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
    (attempt_id,) = await store.next_attempt_ids(1)
    attempt = attempt_for(chain, attempt_id)
    await store.begin_attempts([attempt])
    await store.finish_attempt(result_of(attempt, **result))
    return attempt_id


async def test_given_a_finished_attempt_when_asked_then_everything_about_it_is_told(world, config, conn):
    record_id = world.add(contact_info=ADA, customer_no="C-17")
    world.add(contact_info=BOB)
    async with world.store() as store:
        attempt_id = await dial(
            store, world, call_result=int(CallResult.BUSY), sip_status=486, q850_cause=17, cpa_verdict="busy",
            evidence={"cpa": {"tone_hz": [480, 620]}}, agent_id="agent1", because="busy 1: redial in 10 minutes",
            record_status=RecordStatus.READY, record_type=RecordType.CAMPAIGN_RESCHEDULED,
            dial_sched_time=int((NOON_UTC + minutes(10)).timestamp()),
        )  # fmt: skip

    attempt, record = find(conn, config, ADA)

    expected = {
        "event": "attempt", "at": NOON_UTC, "calling_list": "Customers", "campaign": "Spring", "record_id": record_id,
        "phone": ADA, "agent_id": "agent1", "call_result": 6, "result": "Busy", "sip_status": 486, "q850_cause": 17,
        "cpa_verdict": "busy", "evidence": {"cpa": {"tone_hz": [480, 620]}}, "record_status": "ready",
        "record_type": "campaign_rescheduled", "because": "busy 1: redial in 10 minutes", "attempt_id": attempt_id,
        "dialing_at": NOON_UTC + timedelta(seconds=1), "answered_at": NOON_UTC + timedelta(seconds=9),
        "finished_at": NOON_UTC + timedelta(seconds=90), "counted": True,
    }  # fmt: skip
    assert {name: attempt[name] for name in expected} == expected
    assert (record["event"], record["customer_id"], record["scheduled_for"]) == (
        "record", "C-17", NOON_UTC + minutes(10),
    )  # fmt: skip
    assert record["because"] == "as it is now, after 1 attempt"
    line = told(attempt)
    for words in ("Busy", "SIP 486", "Q.850 17", "CPA busy", "agent agent1", "because busy 1: redial", "answered 2026"):
        assert words in line


async def test_given_attempts_that_counted_and_that_did_not_when_asked_then_both_are_found_by_phone_and_customer(
    world, config, conn
):
    world.add(contact_info=ADA, customer_no="C-17")
    async with world.store() as store:
        for counted in (True, False):
            await dial(store, world, count_attempt=counted, record_status=RecordStatus.READY)
    conn.execute("UPDATE ocsd.attempt SET customer_id = 'C-17'")

    assert kinds(find(conn, config, ADA)) == ["attempt", "attempt", "record"]
    assert kinds(find(conn, config, customer_ids=("C-17",))) == ["attempt", "attempt", "record"]
    assert kinds(find(conn, config, ADA, customer_ids=("C-17",))) == ["attempt", "attempt", "record"]
    assert find(conn, config, BOB, customer_ids=("C-18",)) == []


async def test_given_decisions_and_their_requests_when_asked_then_they_are_found_by_record_even_after_a_new_number(
    world, config, conn
):
    record_id = world.add(contact_info=ADA)
    async with world.store() as store:
        await dial(store, world, record_status=RecordStatus.READY)
        (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
        await store.settle_chain(
            ChainSettlement(
                list_dbid=LIST,
                record_id=record_id,
                chain_id=chain.chain_id,
                change=ChainChange(
                    record_status=RecordStatus.READY, record_type=RecordType.GENERAL, dial_sched_time=1_900_000_000
                ),
                because="outside the legal hours of New York",
                requests=(HttpRequest(treatment_dbid=9, url="https://crm.example.net/x", body={}),),
            )
        )
    world.change(record_id, contact_info=BOB)

    events = find(conn, config, ADA)
    decision = next(event for event in events if event["event"] == "decision")
    assert decision["because"] == "outside the legal hours of New York"
    assert decision["scheduled_for"] == datetime.fromtimestamp(1_900_000_000, UTC)
    posted = next(event for event in events if event["event"] == "http_request")
    assert (posted["url"], posted["because"], posted["record_id"]) == (
        "https://crm.example.net/x", "on its way", record_id,
    )  # fmt: skip
    assert sorted(kinds(events)) == ["attempt", "decision", "http_request"]  # the record has another number now


async def test_given_a_refused_validation_when_asked_then_history_and_why_tell_its_rule(world, config, conn):
    record_id = world.add(contact_info=ADA)
    rule = {"validator": "https://rules.example.net", "GSW_BLOCKING_RULE": "FL state", "GSW_BLOCKING_RULE_TYPE": 2}
    change = ChainChange(record_status=RecordStatus.READY, record_type=RecordType.GENERAL)
    async with world.store() as store:
        for because, evidence in (("pre-dial validation refused it", rule), ("callback missed", {})):
            (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
            assert await store.settle_chain(
                ChainSettlement(
                    list_dbid=LIST, record_id=record_id, chain_id=chain.chain_id, change=change, because=because,
                    evidence=evidence,
                )
            )  # fmt: skip

    first, second = (event for event in find(conn, config, ADA, now=datetime.now(UTC)) if event["event"] == "decision")

    assert (first["evidence"], second["evidence"]) == (rule, None)
    assert 'rule "FL state" (type 2); because' in told(first).replace("record ready, general; ", "")
    assert "rule" not in told(second)
    facts = gather(conn, config, config.calling_list_by_dbid(LIST), record_id, NOON_UTC)
    assert (facts.decision.because, facts.decision.evidence) == ("callback missed", None)
    assert (facts.refused.because, facts.refused.evidence) == ("pre-dial validation refused it", rule)


async def test_given_rows_taken_out_of_a_list_when_asked_then_it_says_when_and_by_what_kind_of_request(
    world, config, conn
):
    first, second = world.add(contact_info=ADA), world.add(contact_info=BOB)
    async with world.store() as store:
        await store.withdraw([LIST], Selector(phone=ADA, all_chain=False), Withdrawal.CANCEL)
        await store.withdraw([LIST], Selector(record=(LIST, second), all_chain=True), Withdrawal.DO_NOT_CALL)

    withdrawal, record = find(conn, config, ADA, now=datetime.now(UTC) + minutes(1))
    assert (withdrawal["event"], withdrawal["record_id"], withdrawal["result"]) == (
        "withdrawal", first, "Cancel Record",
    )  # fmt: skip
    assert withdrawal["because"] == "a request named its phone"
    assert (withdrawal["record_status"], record["record_status"]) == ("canceled", "canceled")
    withdrawal, record = find(conn, config, BOB, now=datetime.now(UTC) + minutes(1))
    assert withdrawal["because"] == "a request named its record and meant the whole chain"
    assert (withdrawal["result"], withdrawal["record_type"]) == ("Do Not Call", "no_call")


async def test_given_a_do_not_call_request_when_asked_then_its_message_and_time_to_effect_are_told(config, conn):
    entry = DncEntry(
        phone=ADA, customer_id=None, tenant_dbid=1, requested_at=NOON_UTC, message="asked agent1 to stop",
        campaign_dbid=401, list_dbid=LIST,
    )  # fmt: skip
    request = dnc_table.request_of(entry, NOON_UTC + timedelta(seconds=0.001))
    with conn.transaction():
        dnc_table.write(conn, [request])
        conn.execute(
            "UPDATE ocsd.dnc_request SET applied_at = requested_at + interval '250 ms', rows = 2,"
            " durable_at = requested_at + interval '9 ms'"
        )

    by_request, by_table = find(conn, config, ADA)

    assert (by_request["event"], by_table["event"]) == ("do_not_call_request", "do_not_call_entry")
    assert (by_request["effect_s"], by_request["rows"], by_request["tenant"]) == (0.25, 2, "Example Ltd")
    assert (by_request["message"], by_request["campaign"]) == ("asked agent1 to stop", "Spring")
    assert by_table["because"] == "stands in the Do-Not-Call table"
    assert "in effect after 0.250 s" in told(by_request)


def test_given_an_entry_of_another_system_when_asked_then_its_way_of_writing_numbers_does_not_hide_it(config, conn):
    conn.execute(
        "INSERT INTO gsw_donotcall_list (phone, dnc_message, time_stamp, expires_at) VALUES (%s, 'fax', 1000, 2000)",
        (ADA,),
    )
    (event,) = find(conn, config, ADA)
    assert event["because"] == "stands in the Do-Not-Call table, but has expired"
    assert event["tenant"] == "every tenant"


async def test_given_a_list_and_a_time_when_asked_then_only_they_count(world, config, conn):
    world.add(contact_info=ADA)
    async with world.store() as store:
        await dial(store, world, record_status=RecordStatus.READY)
    conn.execute(
        "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid,"
        " campaign_group_dbid, phone, leg_id, started_at) SELECT attempt_id + n, guid, owner, table_name,"
        " list_dbid + n, record_id, chain_id, 999, campaign_group_dbid, phone, leg_id, started_at + n * interval '1 h'"
        " FROM ocsd.attempt, generate_series(1, 3) AS n"
    )
    assert kinds(find(conn, config, ADA)) == [*["attempt"] * 4, "record"]
    assert find(conn, config, ADA)[1]["campaign"] == "999"
    own = config.calling_lists[0]
    assert kinds(find(conn, config, ADA, calling_list=own)) == ["attempt", "record"]
    later = find(conn, config, ADA, since=NOON_UTC + minutes(60), until=NOON_UTC + minutes(180))
    assert [event["at"] for event in later[:-1]] == [NOON_UTC + minutes(60), NOON_UTC + minutes(120)]


@pytest.mark.parametrize("text", [ADA, "(212) 555-0177", "212-555-0177", "1 212 555 0177", " +1 212 5550177"])
def test_given_a_number_as_people_write_it_when_normalised_then_it_is_the_lists_number(config, text):
    assert phone_forms(config, None, text)[0] == ADA


def test_given_no_number_at_all_when_normalised_then_the_text_itself_is_looked_for(config):
    assert phone_forms(config, config.calling_lists[0], "ext. 7") == ("ext. 7",)


def test_given_a_number_when_looked_up_then_no_table_of_the_journal_is_read_as_a_whole(config, conn):
    conn.execute(
        "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid,"
        " campaign_group_dbid, phone, leg_id, started_at, counted) SELECT n, '', '', 'customers', 301, n, n, 1, 1,"
        " '+1212' || n, '', now(), n % 5 > 0 FROM generate_series(1, 20000) AS n;"
        " INSERT INTO ocsd.decision (key, owner, table_name, list_dbid, record_id, chain_id, decided_at, record_status,"
        " record_type, because) SELECT gen_random_uuid(), '', 'customers', 301, n, n, now(), 1, 2, ''"
        " FROM generate_series(1, 20000) AS n;"
        " INSERT INTO ocsd.withdrawal (table_name, list_dbid, record_id, chain_id, phone, named_by, all_chain, claimed,"
        " record_status, record_type) SELECT 'customers', 301, n, n, '+1212' || n, 'phone', false, false, 5, 2"
        " FROM generate_series(1, 20000) AS n;"
        " ANALYZE ocsd.attempt; ANALYZE ocsd.decision; ANALYZE ocsd.withdrawal"
    )
    for number in (5000, 5001):
        assert kinds(find(conn, config, f"+1212{number}", now=datetime.now(UTC) + minutes(1))) == [
            "attempt", "decision", "withdrawal",
        ]  # fmt: skip
    conn.execute("SELECT pg_stat_force_next_flush()")
    scans = conn.execute(
        "SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = 'ocsd'"
        " AND relname IN ('attempt', 'decision', 'withdrawal') AND seq_tup_read > 0"
    ).fetchall()
    assert scans == []


def test_given_a_list_when_its_attempts_are_streamed_then_they_come_in_order_and_range(config, conn):
    conn.execute(
        "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid,"
        " campaign_group_dbid, phone, leg_id, started_at) SELECT n, '', '', 'customers', 300 + n %% 2, n, n, 401, 1,"
        " '+1212' || n, '', %s::timestamptz - n * interval '1 min' FROM generate_series(1, 5000) AS n",
        (NOON_UTC,),
    )
    own = config.calling_lists[0]
    found = list(attempts_of_list(conn, config, own, NOON_UTC - minutes(4000), NOON_UTC - minutes(10)))
    assert [event["attempt_id"] for event in found] == list(range(3999, 10, -2))
    assert {event["calling_list"] for event in found} == {"Customers"}


# -- the commands ----------------------------------------------------------------------------------------------------


CONFIG = """
[database]
dsn = "{dsn}"

[[time_zones]]
dbid = 1
name = "Eastern"
zone = "America/New_York"

[[formats]]
dbid = 1
name = "Customers"
fields = [{{ name = "customer_no", type = "varchar", length = 20 }}]

[[table_accesses]]
dbid = 1
name = "customers"
table = "customers"
format = "Customers"

[[calling_lists]]
dbid = 301
name = "Customers"
table_access = "customers"
time_zone = "Eastern"
customer_id_field = "customer_no"
"""


@pytest.fixture
def run(tmp_path, database, conn):
    """A site with one attempt on ADA; run a command there."""
    path = tmp_path / "ocsd.toml"
    path.write_text(CONFIG.format(dsn=database))
    conn.execute(
        "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid,"
        " campaign_group_dbid, phone, leg_id, started_at, call_result, record_status, record_type, because, evidence,"
        " counted) VALUES (7, 'g-7', 'me', 'customers', 301, 5, 5, 401, 501, %s, 'l', %s, 9, 3, 2, %s, %s, true)",
        (ADA, NOON_UTC, 'no "treatment"\nfollows', Jsonb({"score": 0.9})),
    )

    def run(*arguments):
        with capture_logs():
            return CliRunner().invoke(app, [*map(str, arguments)], env={"OCSD_CONFIG": str(path)})

    return run


def test_given_a_number_when_history_is_asked_for_then_people_programs_and_files_get_it(run, tmp_path):
    plain = run("history", "--phone", "(212) 555-0177")
    assert plain.exit_code == 0, plain.stderr
    assert "2026-03-03 17:00:00Z\tattempt\tCustomers\t5\t+12125550177\tAnswering Machine Detected" in plain.stdout

    (event,) = json.loads(run("history", "--phone", "212 555 0177", "--list", "Customers", "--json").stdout)
    assert (event["result"], event["evidence"], event["at"]) == (
        "Answering Machine Detected", {"score": 0.9}, "2026-03-03T17:00:00+00:00",
    )  # fmt: skip
    assert set(event) <= set(COLUMNS)

    file = tmp_path / "history.csv"
    assert run("history", "--phone", ADA, "--csv", file).stdout == f"1 events written to {file}\n"
    with file.open(newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened)
        (row,) = reader
    assert tuple(reader.fieldnames) == COLUMNS
    assert (row["because"], row["evidence"], row["counted"]) == ('no "treatment"\nfollows', '{"score": 0.9}', "true")


def test_given_a_time_range_when_history_is_asked_for_then_it_is_obeyed(run):
    assert json.loads(run("history", "--phone", ADA, "--since", "2026-03-03T17:00:01", "--json").stdout) == []
    assert len(json.loads(run("history", "--phone", ADA, "--until", "2026-03-04", "--json").stdout)) == 1


def test_given_a_list_when_its_history_is_written_then_all_attempts_are_in_the_file(run, tmp_path):
    file = tmp_path / "attempts.csv"
    done = run("list", "history", "Customers", file, "--since", "2026-03-01", "--until", "2026-04-01", "--json")
    assert json.loads(done.stdout) == {"calling_list": "Customers", "attempts": 1, "file": str(file)}
    with file.open(newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened)
        assert [(row["attempt_id"], row["result"]) for row in reader] == [("7", "Answering Machine Detected")]
    assert tuple(reader.fieldnames) == ATTEMPT_COLUMNS
    assert list(tmp_path.glob("*.unfinished")) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["history"], 2),
        (["history", "--phone", ADA, "--csv", "x.csv", "--json"], 2),
        (["history", "--phone", ADA, "--list", "Nobody"], 1),
        (["history", "--phone", ADA, "--since", "yesterday"], 2),
        (["list", "history", "Nobody", "x.csv"], 1),
    ],
)
def test_given_wrong_arguments_when_asked_then_the_exit_code_says_so(run, arguments, code):
    assert run(*arguments).exit_code == code


def test_given_the_manual_page_when_compared_then_it_names_every_column():
    page = (Path(__file__).parents[2] / "docs" / "history.md").read_text(encoding="utf-8")
    missing = [name for name in COLUMNS if f"`{name}`" not in page]
    assert missing == []
