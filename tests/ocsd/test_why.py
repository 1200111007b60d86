"""``ocsd why``: one record of each kind of refusal; what is printed is what docs/why.md shows."""

import json
import os
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ocsd.cli import app, why
from ocsd.config.loader import load_configuration
from ocsd.lists.tables import create_table
from tests.ocsd.why_world import was_called

DOCS = Path(__file__).parents[2] / "docs" / "why.md"
NOBODY = "http://127.0.0.1:1"
AT = "2026-03-03T12:00"
"""Tuesday noon in New York."""
NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
S = int(NOON.timestamp())

SITE = """
tenants = [{ dbid = 1, name = "Example Ltd" }]
trunks = [{ dbid = 101, name = "carrier", tenant = "Example Ltd", host = "127.0.0.1" }]
time_zones = [
    { dbid = 1, name = "Eastern", zone = "America/New_York" },
    { dbid = 2, name = "Pacific", zone = "America/Los_Angeles" },
]
agents = [{ dbid = 1, login_id = "ada", dn = "sip:1001@127.0.0.1:5090" }]
agent_groups = [{ dbid = 1, name = "Agents", agents = ["ada"] }]
formats = [{ dbid = 1, name = "Customers", fields = [
    { name = "customer", length = 20 },
    { name = "segment", length = 10 },
] }]
table_accesses = [{ dbid = 1, name = "customers", table = "customers", format = "Customers" }]
filters = [
    { dbid = 1, name = "overdue", criteria = "segment = 'overdue'" },
    { dbid = 2, name = "broken", criteria = "balance > 0" },
    { dbid = 3, name = "abroad", criteria = "segment = 'abroad'" },
]
stat_days = [{ dbid = 1, name = "Tuesday", weekday = 1, start_min = 480, end_min = 1200 }]
stat_tables = [{ dbid = 1, name = "Business days", days = ["Tuesday"] }]
attempt_caps = [{ dbid = 1, name = "two a day", max_attempts = 2, period_h = 24 }]

[database]
dsn = "DSN"

[[calling_lists]]
dbid = 1
name = "Overdue"
table_access = "customers"
filter = "overdue"
time_zone = "Eastern"
max_attempts = 6
customer_id_field = "customer"
calling_hours = ["us-federal"]
attempt_caps = ["two a day"]
strictest_zone = true
weekday_table = "Business days"

[[calling_lists]]
dbid = 2
name = "Abroad"
table_access = "customers"
filter = "abroad"

[[calling_lists]]
dbid = 3
name = "Broken"
table_access = "customers"
filter = "broken"

[[campaigns]]
dbid = 1
name = "Reminders"
tenant = "Example Ltd"
lists = [{ calling_list = "Overdue", share = 7 }, { calling_list = "Abroad", share = 3 }]

[[campaign_groups]]
dbid = 1
name = "Reminders@Agents"
campaign = "Reminders"
group = "Agents"
trunks = ["carrier"]
"""

ROWS = [
    # What holds it back, and the row.
    ("Nothing", {}),
    ("Finished", {"record_status": 3, "call_result": 33, "attempt": 1}),
    ("Status and type that do not go together", {"record_status": 8}),
    ("NoCall", {"record_status": 3, "record_type": 7, "call_result": 51}),
    ("Stale", {"record_status": 4, "call_result": 46}),
    ("Retrieved by nobody", {"record_status": 2}),
    ("Claimed by a daemon", {"record_status": 2}),
    ("Claimed by a daemon that is gone", {"record_status": 2}),
    ("An attempt without a result", {"record_status": 2}),
    ("Excluded by the filter", {"segment": "new"}),
    ("A filter that does not work", {"list": "Broken"}),
    ("Attempts used up", {"attempt": 6, "call_result": 7}),
    ("Scheduled for later", {"record_type": 3, "dial_sched_time": S + 5400, "treatments": "1@1@0@1"}),
    ("Time zone unknown", {"list": "Abroad", "segment": "abroad", "tz_dbid": 99}),
    ("Its own window", {"daily_from": 46_800}),
    ("The zone of its number", {"daily_from": 36_000, "contact_info": "+12135550116"}),
    ("Legal hours", {"daily_from": 0, "at": "2026-03-03T07:30"}),
    ("Business hours", {"at": "2026-03-04T12:00"}),
    ("Do-Not-Call, by number", {"contact_info": "+12125550119"}),
    ("Do-Not-Call, by customer", {"customer": "C-20"}),
    ("Do-Not-Call until a date", {"contact_info": "+12125550121"}),
    ("An attempt cap", {"contact_info": "+12125550122", "attempt": 2, "call_result": 6}),
    ("Another record of its chain first", {"chain_id": 1, "chain_n": 1}),
    ("Waits for another record of its chain", {"chain_id": 900, "chain_n": 0, "record_type": 3,
                                               "dial_sched_time": S - 60, "treatments": "1@1@1@1"}),
    ("The record that it waits for", {"chain_id": 900, "chain_n": 1, "record_type": 3, "dial_sched_time": S + 600,
                                      "treatments": "1@1@1@1"}),
    ("A personal callback", {"record_type": 5, "agent_id": "ada", "dial_sched_time": S + 3600}),
]  # fmt: skip
NUMBER = {title: place for place, (title, _) in enumerate(ROWS, 1)}
OPEN = {"Nothing", "Claimed by a daemon"}
"""Of the second only its daemon knows more."""


class Site:
    def __init__(self, folder, database):
        self.config = folder / "ocsd.toml"
        self.config.write_text(SITE.replace("DSN", database))
        loaded = load_configuration(self.config)
        self.conn = psycopg.connect(database, autocommit=True)
        create_table(self.conn, loaded, loaded.calling_lists[0])

    def fill(self):
        for record_id, (_, columns) in enumerate(ROWS, 1):
            values = {
                "record_id": record_id, "chain_id": record_id, "contact_info": f"+121255501{record_id:02}",
                "tz_dbid": 1, "daily_from": 28_800, "daily_till": 75_600, "customer": f"C-{record_id}",
                "segment": "overdue",
            } | {name: value for name, value in columns.items() if name not in ("list", "at")}  # fmt: skip
            names, holders = sql.SQL(", ").join(map(sql.Identifier, values)), [sql.Placeholder()] * len(values)
            self.conn.execute(
                sql.SQL("INSERT INTO customers ({}) VALUES ({})").format(names, sql.SQL(", ").join(holders)),
                list(values.values()),
            )
        later = datetime(2030, 1, 1, tzinfo=UTC)
        self.claim("Claimed by a daemon", later)
        self.claim("Claimed by a daemon that is gone", NOON - timedelta(minutes=5))
        self.claim("An attempt without a result", later)
        record_id = NUMBER["An attempt without a result"]
        was_called(self.conn, 1, NOON, list_dbid=1, record_id=record_id, chain_id=record_id, phone="+12125550109",
                   guid="6f9c1e0a", finished_at=None, call_result=None, campaign_dbid=1)  # fmt: skip
        record_id = NUMBER["An attempt cap"]
        for place, hours in enumerate((5, 2), 2):
            was_called(self.conn, place, NOON - timedelta(hours=hours), list_dbid=1, record_id=record_id,
                       campaign_dbid=1, chain_id=record_id, phone="+12125550122", call_result=6,
                       because="again in 3 h")  # fmt: skip
        self.conn.execute(
            "INSERT INTO gsw_donotcall_list (phone, customer_id, dnc_message, tenant_dbid, time_stamp, expires_at)"
            " VALUES ('+12125550119', NULL, 'asked by letter', 1, %(since)s, NULL),"
            " (NULL, 'C-20', NULL, NULL, %(since)s, NULL), ('+12125550121', NULL, NULL, 1, %(since)s, %(until)s)",
            {"since": S - 86_400, "until": S + 7 * 86_400},
        )

    def claim(self, title, lease_until):
        self.conn.execute("INSERT INTO ocsd.instance VALUES ('node1/5d2f', 'node1') ON CONFLICT DO NOTHING")
        self.conn.execute(
            "INSERT INTO ocsd.claim VALUES ('customers', %s, 1, 1, 'node1/5d2f', %s, %s, %s)",
            (NUMBER[title], uuid.uuid4(), NOON - timedelta(minutes=6), lease_until),
        )

    def command(self, title):
        _, columns = ROWS[NUMBER[title] - 1]
        at, name = columns.get("at", AT), columns.get("list", "Overdue")
        return ["why", "--list", name, "--record", str(NUMBER[title]), "--at", at]

    def run(self, *arguments):
        with capture_logs():
            return CliRunner().invoke(app, list(arguments), env={"OCSD_CONFIG": str(self.config), "OCSD_URL": NOBODY})


@pytest.fixture
def site(tmp_path, database):
    site = Site(tmp_path, database)
    yield site
    site.conn.close()


def console(command, *lines):
    words = " ".join(f'"{word}"' if " " in word and word[0] != "|" else word for word in command)
    return "\n".join(["```console", f"$ ocsd {words}", *lines, "```"])


def test_given_a_record_of_each_kind_of_refusal_when_asked_why_then_the_page_shows_what_is_printed(site):
    site.fill()
    shown = []
    for title, _ in ROWS:
        command = site.command(title)
        result = site.run(*command)
        assert result.exit_code == (title not in OPEN), (title, result.output)
        lines = result.stdout.splitlines()
        cells = [line.split("\t") for line in lines[3:]]
        closed = [cell for cell in cells if cell[0] == "closed"]
        assert bool(closed) == (title not in OPEN)
        if title == "Nothing":
            shown.append(
                console([*command, "| cut -f1-3"], *lines[:2], *("\t".join(line.split("\t")[:3]) for line in lines[2:]))
            )
        shown.append(f"### {title}\n\n{console([*command, '| sed -n 2p'], lines[1])}")
        if closed and closed[0][3] != "-":
            shown[-1] += f"\n\nThat gate opens {max(cell[3] for cell in closed)}."
    whole, *parts = shown
    made = f"{whole}\n\n## Each kind of refusal\n\n" + "\n\n".join(parts) + "\n"

    begin, end = "<!-- made by tests/ocsd/test_why.py -->\n\n", "\n<!-- end -->\n"
    page = DOCS.read_text()
    head, rest = page.split(begin)
    stands, tail = rest.split(end)
    if os.environ.get("OCSD_WRITE_DOCS"):
        DOCS.write_text(head + begin + made + end + tail)
        stands = made
    assert stands == made


def test_given_a_record_when_asked_for_json_then_gates_and_inputs_are_there_for_programs(site):
    site.fill()

    result = site.run(*site.command("An attempt cap"), "--json")

    answer = json.loads(result.stdout)
    cap = next(gate for gate in answer["gates"] if gate["gate"] == "attempt_cap")
    assert (cap["inputs"]["count"], cap["inputs"]["max_attempts"]) == (2, 2)
    assert cap["opens_at"] == "2026-03-04T12:00:00Z"
    # Then it is Wednesday, which has no business hours: the next Tuesday is the first instant at which all are open.
    assert answer["next_at"] == "2026-03-10T12:00:00Z"
    assert answer["dialed_now"] is False
    attempts = next(gate for gate in answer["gates"] if gate["gate"] == "attempts")
    assert [made["because"] for made in attempts["inputs"]["last_attempts"]] == ["again in 3 h", "again in 3 h"]


def test_given_chains_that_go_first_when_asked_then_about_how_many_is_told(site):
    site.fill()
    site.conn.execute("UPDATE customers SET dial_sched_time = %s WHERE record_id = 1", (S - 1,))
    site.conn.execute("DELETE FROM customers WHERE chain_id = 1 AND record_id <> 1")
    site.conn.execute("SELECT setval(pg_get_serial_sequence('customers', 'record_id'), 1000)")
    site.conn.execute(
        "INSERT INTO customers (contact_info, chain_id, tz_dbid, daily_from, daily_till, customer, segment)"
        " SELECT '+1212555' || n, n, 1, 28800, 75600, 'x' || n, 'overdue' FROM generate_series(2000, 2009) AS n"
    )
    site.conn.execute(
        "INSERT INTO customers (contact_info, chain_id, tz_dbid, daily_from, daily_till, customer, segment,"
        " record_type, dial_sched_time, treatments)"
        " VALUES ('+12125553000', 3000, 1, 28800, 75600, 'y', 'overdue', 3, %s, '0@0@0@1')",
        (S - 5,),
    )

    answer = json.loads(site.run(*site.command("Nothing"), "--json").stdout)

    # Ten new ones, the rescheduled one, and what only the gates behind the claim hold back.
    behind = {"The zone of its number", "Legal hours", "Business hours", "An attempt cap", "Do-Not-Call, by number",
              "Do-Not-Call, by customer", "Do-Not-Call until a date", "A filter that does not work"}  # fmt: skip
    assert answer["ahead"] == 10 + 1 + len(behind)


def test_given_a_daemon_that_does_not_answer_when_asked_then_the_database_is_asked_and_that_is_said(site):
    site.fill()
    by_hand = site.run("why", "--list", "Overdue", "--record", "2")
    group = site.run("why", "--group", "Reminders@Agents")

    assert by_hand.exit_code == 1
    assert "the database is asked" in by_hand.stderr
    assert "it is finished" in by_hand.stdout
    assert group.exit_code == 0
    assert "only a running daemon knows" in group.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--list", "Nobody", "--record", "1", "--at", AT], 1, 'no calling list is called "Nobody"'),
        (["--list", "Overdue", "--record", "999", "--at", AT], 1, "has no record 999"),
        (["--group", "Nobody"], 1, 'no campaign group is called "Nobody"'),
        (["--list", "Overdue"], 2, "give --list and --record, or --group"),
        (["--list", "Overdue", "--record", "1", "--group", "x"], 2, "give --list and --record, or --group"),
        (["--group", "x", "--at", AT], 2, "only about now"),
        (["--list", "Overdue", "--record", "1", "--at", "noon"], 2, "must be like"),
        (["--list", "Overdue", "--record", "1", "--url", "ftp://x"], 2, "must begin with"),
    ],
)
def test_given_a_wrong_question_when_asked_then_it_is_refused(site, arguments, code, said):
    result = site.run("why", *arguments)

    assert (result.exit_code, said in re.sub(r"[\s│]+", " ", result.output)) == (code, True), result.output


def test_given_neither_daemon_nor_configuration_when_asked_then_the_exit_code_says_unreachable():
    result = CliRunner().invoke(app, ["why", "--list", "x", "--record", "1", "--url", NOBODY], env={"OCSD_CONFIG": ""})

    assert result.exit_code == 3


def test_given_a_terminal_when_asked_then_verdicts_stand_in_a_table_with_colours(capsys, monkeypatch):
    gate = {"gate": "window", "why": "closed at noon [sic]", "opens_at": "2026-03-03T18:00:00Z", "remedy": ""}
    document = {"calling_list": "L", "record_id": 1, "chain_id": 2, "at": "2026-03-03T17:00:00Z", "summary": "later"}
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")

    why._print(document | {"gates": [gate | {"passed": passed} for passed in (True, False, None)]})

    printed = capsys.readouterr().out
    for colour, word in ((32, "open"), (31, "closed"), (33, "?")):
        assert re.search(rf"\x1b\[(1;)?{colour}m{re.escape(word)}", printed)
    assert printed.count("closed at noon [sic]") == 3
    assert "2026-03-03 18:00:00 UTC" in printed


def test_given_calls_that_nobody_answered_when_the_group_is_asked_without_a_daemon_then_its_trunk_is_told(site):
    now = datetime.now(UTC)
    for attempt_id in range(701, 705):
        was_called(site.conn, attempt_id, now - timedelta(seconds=90), switch_dbid=101, sip_status=503)
    result = site.run("why", "--group", "Reminders@Agents", "--json", "--url", NOBODY)
    site.conn.execute("DELETE FROM ocsd.attempt WHERE attempt_id BETWEEN 701 AND 704")

    gate = next(gate for gate in json.loads(result.stdout)["gates"] if gate["gate"] == "trunks")
    assert (result.exit_code, gate["passed"]) == (1, False)
    said = "carrier: no call over it has been answered by the network for 1 minute (last SIP statuses 4 x 503)"
    assert said in gate["why"]
