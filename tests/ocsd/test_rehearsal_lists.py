"""Rehearsals from a database: the lists as they are, the mix of their own calls, and ``ocsd rehearse``."""

import json
import random
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import structlog
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.config.objects import AttemptCap, Filter
from ocsd.dnc.snapshot import read_snapshot
from ocsd.lists.tables import create_table
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import ConfigError
from ocsd.rehearsal.history import observed_mix, party_of
from ocsd.rehearsal.run import rehearse
from ocsd.rehearsal.staging import made_up_lists, next_morning, read_lists, scene_of, settings_of
from ocsd.rehearsal.world import REFERENCE, Party
from tests.ocsd.rehearsal_worlds import EASTERN, GROUP, LIST, NOON, PACIFIC, configuration, variant
from tests.ocsd.test_rehearsal import Watched, busy


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture
def conn(database):
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def fill(conn, config, rows):
    """``rows``: dictionaries of columns."""
    create_table(conn, config, config.calling_lists[0])
    for columns in rows:
        names = ", ".join(columns)
        places = ", ".join(["%s"] * len(columns))
        conn.execute(f"INSERT INTO people ({names}) VALUES ({places})", list(columns.values()))


def plain(count, **columns):
    return [
        {"contact_info": f"+999{n:09d}", "daily_from": 0, "daily_till": 86400, "tz_dbid": EASTERN} | columns
        for n in range(1, count + 1)
    ]


def read(conn, config, tmp_path, **more):
    dnc = read_snapshot(conn, config, tmp_path)
    return read_lists(conn, config, config.campaign_groups[0], dnc, NOON, **({"sample": 10_000, "seed": 1} | more))


def scene_in(config, lists, forbidden, world, minutes=10.0):
    from dataclasses import replace

    scene = scene_of(config, config.campaign_groups[0], lists, REFERENCE, NOON, 60.0 * minutes, forbidden=forbidden)
    return replace(scene, world=lambda _seed: world)


def attempt(conn, attempt_id, at, result, **columns):
    values = {
        "attempt_id": attempt_id, "guid": "g", "owner": "o", "table_name": "people", "list_dbid": LIST,
        "record_id": 1 + attempt_id % 100, "chain_id": 1 + attempt_id % 100, "campaign_dbid": 139,
        "campaign_group_dbid": GROUP, "phone": "+99900000001", "leg_id": "l", "started_at": at, "dialing_at": at,
        "finished_at": at + timedelta(seconds=30), "released_at": at + timedelta(seconds=20), "call_result": result,
    } | columns  # fmt: skip
    conn.execute(
        f"INSERT INTO ocsd.attempt ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
        list(values.values()),
    )


# --- lists ------------------------------------------------------------------------------------------------------------


def test_given_a_list_when_copied_then_what_can_be_dialed_is_there_and_nothing_else(conn, tmp_path):
    config = configuration()
    rows = plain(20)
    rows[3] |= {"record_status": int(RecordStatus.UPDATED)}
    rows[4] |= {"record_type": int(RecordType.NO_CALL), "record_status": int(RecordStatus.UPDATED)}
    rows[5] |= {"attempt": 2, "record_type": int(RecordType.CAMPAIGN_RESCHEDULED),
                "dial_sched_time": int(NOON.timestamp()) + 300}  # fmt: skip
    fill(conn, config, rows)
    conn.execute("INSERT INTO gsw_donotcall_list (phone, tenant_dbid) VALUES (%s, 1)", (rows[6]["contact_info"],))

    lists, forbidden = read(conn, config, tmp_path)
    world = Watched(busy)
    rehearse(scene_in(config, lists, forbidden, world), variant(), 1)

    assert lists.chains == 18
    assert lists.part == 1.0
    assert {record_id for _, record_id, _ in world.calls} == set(range(1, 21)) - {4, 5, 7}
    (rescheduled,) = [(at_s, attempts) for at_s, record_id, attempts in world.calls if record_id == 6]
    assert rescheduled[0] >= NOON.timestamp() + 300
    assert rescheduled[1] == 2
    assert conn.execute("SELECT count(*) FROM people WHERE record_status = 2").fetchone() == (0,)
    assert conn.execute("SELECT count(*) FROM ocsd.attempt").fetchone() == (0,)


def test_given_a_filter_with_an_order_when_copied_then_it_chooses_and_orders_the_calls(conn, tmp_path):
    config = configuration(filter="best")
    config = config.model_copy(
        update={"filters": (Filter(dbid=5, name="best", criteria="record_id > 10", order_by="contact_info DESC"),)}
    )
    fill(conn, config, plain(40))

    lists, forbidden = read(conn, config, tmp_path)
    called = []
    rehearse(
        scene_in(config, lists, forbidden, Watched(lambda record, *_: called.append(record.contact_info) or busy())),
        variant(2),
        1,
    )

    assert called == sorted((entry["contact_info"] for entry in plain(40)[10:]), reverse=True)


def test_given_a_large_list_when_copied_then_a_part_has_its_zones(conn, tmp_path):
    config = configuration()
    rows = plain(600)
    for number, columns in enumerate(rows):
        columns["tz_dbid"] = PACIFIC if number % 4 == 0 else EASTERN
    fill(conn, config, rows)

    lists, _ = read(conn, config, tmp_path, sample=200)

    assert lists.chains == 600
    assert lists.part == pytest.approx(1 / 3, abs=0.02)
    zones = [record.tz_dbid for record in lists.lists[0].rows]
    assert zones.count(PACIFIC) / len(zones) == pytest.approx(0.25, abs=0.02)


def test_given_calls_of_the_last_hours_when_a_cap_counts_them_then_a_rehearsal_does_too(conn, tmp_path):
    config = configuration(caps=(AttemptCap(dbid=9, name="one a day", max_attempts=1, period_h=24),))
    fill(conn, config, plain(10))
    attempt(conn, 1, NOON - timedelta(hours=2), int(CallResult.BUSY), phone=plain(10)[2]["contact_info"])

    lists, forbidden = read(conn, config, tmp_path)
    world = Watched(busy)
    rehearse(scene_in(config, lists, forbidden, world), variant(), 1)

    assert len(lists.past) == 1
    assert set(world.dialed) == set(range(1, 11)) - {3}


def test_given_people_lost_before_when_copied_then_the_legal_window_begins_with_them(conn, tmp_path):
    config = configuration()
    fill(conn, config, plain(10))
    conn.execute(
        "INSERT INTO ocsd.abandonment (campaign_dbid, bucket_at, node, people, abandoned, late)"
        " VALUES (139, %s, 'n', 500, 40, 0), (140, %s, 'n', 7, 7, 0)",
        (NOON - timedelta(hours=1), NOON - timedelta(hours=1)),
    )

    lists, forbidden = read(conn, config, tmp_path)
    run = rehearse(scene_in(config, lists, forbidden, Watched(busy)), variant(), 1)

    assert (run.window.people, run.window.abandoned) == (500, 40)


# --- the mix of a list's own calls ------------------------------------------------------------------------------------


def test_given_few_calls_when_looked_at_then_nothing_is_learnt(conn):
    config = configuration()
    fill(conn, config, plain(10))
    for number in range(1, 40):
        attempt(conn, number, NOON - timedelta(hours=1), int(CallResult.BUSY))

    assert observed_mix(conn, config, [LIST], NOON, REFERENCE) is REFERENCE


def test_given_many_calls_when_looked_at_then_shares_times_hours_and_zones_are_theirs(conn):
    config = configuration()
    rows = plain(100)
    for number, columns in enumerate(rows):
        columns["tz_dbid"] = PACIFIC if number % 2 == 0 else EASTERN
    fill(conn, config, rows)
    rng = random.Random(1)
    nine = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)  # 9:00 in New York
    people = {9: 0, 15: 0}
    for number in range(1, 1201):
        local, share = (9, 0.1) if number % 2 else (15, 0.4)
        at = nine + timedelta(hours=local - 9, minutes=rng.random() * 50)
        record_id = 2 * rng.randint(1, 50)  # in New York
        if rng.random() < share:
            people[local] += 1
            talk_s = rng.choice((30.0, 90.0))
            attempt(
                conn, number, at, int(CallResult.ANSWER), record_id=record_id, cpa_verdict="human",
                answered_at=at + timedelta(seconds=8), cpd_completed_at=at + timedelta(seconds=10),
                connected_at=at + timedelta(seconds=10), agent_answered_at=at + timedelta(seconds=10),
                agent_released_at=at + timedelta(seconds=10 + talk_s),
                acw_completed_at=at + timedelta(seconds=20 + talk_s),
            )  # fmt: skip
        else:
            attempt(conn, number, at, int(CallResult.NO_ANSWER), record_id=record_id)

    mix = observed_mix(conn, config, [LIST], NOON, REFERENCE)

    hits = sum(people.values())
    assert mix.shares == {Party.PERSON: hits, Party.NO_ANSWER: 1200 - hits}
    assert mix.talk.mean_s == pytest.approx(60.0, rel=0.1)
    assert mix.talk.cv == pytest.approx(0.5, abs=0.05)
    assert mix.wrap_up.mean_s == pytest.approx(10.0)
    assert mix.person_ring.mean_s == pytest.approx(6.0)  # 8 s from the INVITE, of which 2 are set-up
    assert mix.greeting.mean_s == pytest.approx(1.3)
    assert mix.machine_ring == REFERENCE.machine_ring  # of which nothing is known
    assert mix.by_hour[9] < 0.7 < 1.3 < mix.by_hour[15]
    assert mix.by_hour[3] == 1.0
    assert mix.by_zone == {"America/New_York": pytest.approx(1.0)}
    assert set(mix.sources) == {"shares", "talk", "wrap_up", "person_ring", "greeting", "by_hour", "by_zone"}
    assert "1200 calls" in mix.sources["shares"]


def test_given_calls_that_were_not_made_or_are_too_old_when_looked_at_then_they_do_not_count(conn):
    config = configuration()
    fill(conn, config, plain(10))
    for number in range(1, 601):
        columns = ({"counted": False}, {"interrupted": True}, {"finished_at": None}, {"list_dbid": 999})[number % 4]
        attempt(conn, number, NOON - timedelta(hours=1), int(CallResult.BUSY), **columns)
    for number in range(601, 1201):
        attempt(conn, number, NOON - timedelta(days=40), int(CallResult.BUSY))

    assert observed_mix(conn, config, [LIST], NOON, REFERENCE) is REFERENCE


def test_given_results_when_sorted_then_whoever_talked_with_an_agent_was_a_person():
    assert party_of(int(CallResult.WRONG_NUMBER), connected=True) is Party.PERSON
    assert party_of(int(CallResult.DROPPED), connected=False) is Party.PERSON
    assert party_of(int(CallResult.SIT_VACANT_CODE), connected=False) is Party.SIT
    assert party_of(4711, connected=False) is Party.FAILED


# --- what is gathered -------------------------------------------------------------------------------------------------


def test_given_a_campaign_without_lists_when_rehearsed_then_it_is_refused():
    config = configuration()
    empty = config.campaigns[0].model_copy(update={"lists": ()})
    config = config.model_copy(update={"campaigns": (empty,)})

    with pytest.raises(ConfigError, match="no active calling list"):
        made_up_lists(config, config.campaign_groups[0], None, 1)


def test_given_a_weekend_when_the_next_morning_is_sought_then_it_is_mondays_nine():
    config = configuration()
    saturday = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)

    monday = next_morning(config, config.campaign_groups[0], saturday)

    assert monday == datetime(2026, 3, 9, 13, 0, tzinfo=UTC)  # summer time has begun in New York
    assert settings_of(config, config.campaign_groups[0]).optimize_goal == 3


# --- the command ------------------------------------------------------------------------------------------------------

CONFIG = """
data_dir = "{folder}/data"
[database]
dsn = "{dsn}"
[telephony]
max_legs = 500
[[tenants]]
dbid = 1
name = "Environment"
[[trunks]]
dbid = 105
name = "Carrier"
tenant = "Environment"
host = "127.0.0.1"
max_calls = 60
[[time_zones]]
dbid = 120
name = "EST"
zone = "America/New_York"
[[agents]]
dbid = 1001
login_id = "agent1"
dn = "sip:1001@127.0.0.1"
[[agent_groups]]
dbid = 234
name = "Agents"
agents = ["agent1"]
[[formats]]
dbid = 140
name = "Format"
[[table_accesses]]
dbid = 141
name = "Table"
table = "people"
format = "Format"
[[calling_lists]]
dbid = 142
name = "People"
table_access = "Table"
time_zone = "EST"
daily_from = 0
daily_till = 86400
[[campaigns]]
dbid = 139
name = "Calls"
tenant = "Environment"
lists = [{{ calling_list = "People" }}]
[[campaign_groups]]
dbid = 106
name = "Calls@Agents"
campaign = "Calls"
group = "Agents"
trunks = ["Carrier"]
num_of_channels = 60
"""


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "ocsd.toml"
    path.write_text(CONFIG.format(folder=tmp_path, dsn=""))
    return path


def run(config, *more):
    with capture_logs():
        return CliRunner().invoke(
            app, ["rehearse", "--config", str(config), "--group", "Calls@Agents", *map(str, more)],
            env={"COLUMNS": "200"},
        )  # fmt: skip


SMALL = ("--made-up", 400, "--hours", 0.06, "--talk-s", 20, "--wrap-up-s", 5, "--start", "2026-03-03T17:00")


def test_given_no_database_when_rehearsed_then_it_says_how_to_do_without(site):
    result = run(site, "--hours", 1)

    assert result.exit_code == 3
    assert "--made-up" in result.stderr
    assert not (site.parent / "data").exists()  # nobody wants a server for a rehearsal


def test_given_made_up_records_when_rehearsed_then_figures_and_inputs_are_told_for_programs(site):
    result = run(site, *SMALL, "--goal", "overdial=3", "--goal", "progressive", "--agents", 5, "--agents", 10, "--json")

    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["start"] == "2026-03-03T17:00:00+00:00"
    assert [each["name"] for each in told["variants"]] == [
        "overdial=3, 5 agents", "overdial=3, 10 agents", "progressive, 5 agents", "progressive, 10 agents",
    ]  # fmt: skip
    figures = told["variants"][3]["figures"]
    assert figures["abandoned"]["mean"] == 0.0
    assert figures["attempts"]["mean"] > 15
    assert sum(told["variants"][3]["calls_by_result"].values()) == figures["attempts"]["mean"]
    assert told["inputs"]["mix"]["talk"] == {"value": {"mean_s": 20.0, "cv": 0.8}, "source": "--talk-s"}
    assert told["inputs"]["mix"]["person_ring"]["source"] == "assumed"
    assert told["inputs"]["lists"]["chains"] == 400
    assert all(each["legal_window"]["rule"] for each in told["variants"])


def test_given_the_same_seed_when_rehearsed_twice_then_the_same_is_told(site):
    first, second = (json.loads(run(site, *SMALL, "--agents", 5, "--json").stdout) for _ in range(2))

    for told in (first, second):
        for each in told["variants"]:
            del each["cpu_s"], each["times_faster_than_real"]
    assert first == second


def test_given_seeds_when_rehearsed_then_figures_have_confidence_intervals(site):
    result = run(site, *SMALL, "--agents", 5, "--seeds", 3)

    assert result.exit_code == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("busy factor"))
    assert " ± " in line
    assert "times as fast as real" in result.stderr


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_given_a_plot_when_asked_for_then_it_is_drawn(site, ending):
    path = site.parent / f"day.{ending}"

    result = run(site, *SMALL, "--agents", 5, "--plot", path)

    assert result.exit_code == 0, result.stderr
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG") if ending == "png" else b"busy factor" in content
    if ending == "svg":
        again = site.parent / "again.svg"
        run(site, *SMALL, "--agents", 5, "--plot", again)
        assert again.read_bytes() == content


def test_given_a_mix_file_when_rehearsed_then_its_list_is_made_up_and_its_calls_are_made(site):
    mix = site.parent / "mix.toml"
    mix.write_text("[parties]\nbusy = 1\n[list]\nrecords = 50\nzones = { EST = 1 }\n")

    result = run(site, "--mix", mix, "--hours", 0.1, "--start", "2026-03-03T17:00", "--json")

    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)["variants"][0]
    assert told["calls_by_result"] == {"Busy": 50.0}
    assert told["lists_exhausted_after_s"]["mean"] < 360


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--goal", "faster=3"), 2, "is no goal"),
        (("--shift", "3"), 2, "is no shift"),
        (("--shift", "9-10=3"), 2, "after the rehearsal ends"),
        (("--shift", "0-1=3", "--agents", 3), 2, "not both"),
        (("--breaks", "10"), 2, "is no pair"),
        (("--plot", "day.bmp"), 1, ".svg"),
    ],
)
def test_given_wrong_options_when_rehearsed_then_each_is_told(site, arguments, code, words):
    result = run(site, *SMALL, *arguments)

    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())


def test_given_an_unknown_group_or_a_wrong_mix_when_rehearsed_then_it_is_told(site):
    mix = site.parent / "mix.toml"
    mix.write_text("[parties]\nhuman = 1\n")

    assert "'Calls@Agents'" in CliRunner().invoke(
        app, ["rehearse", "--config", str(site), "--group", "nobody", "--made-up", "9"]
    ).stderr  # fmt: skip
    result = run(site, "--mix", mix, "--made-up", 9)
    assert result.exit_code == 1
    assert "mix.toml: [parties] human" in result.stderr


def test_given_a_time_at_which_nothing_may_be_dialed_when_rehearsed_then_the_exit_code_says_so(site):
    site.write_text(site.read_text().replace("daily_till = 86400", "daily_till = 3600"))

    result = run(site, *SMALL)

    assert result.exit_code == 1
    assert "nothing could be dialed" in result.stdout


def test_given_a_database_when_rehearsed_then_its_list_is_used_and_left_alone(tmp_path, database, conn):
    path = tmp_path / "ocsd.toml"
    path.write_text(CONFIG.format(folder=tmp_path, dsn=database))
    from ocsd.config.loader import load_configuration

    fill(conn, load_configuration(path), plain(300))
    before = conn.execute("SELECT * FROM people ORDER BY record_id").fetchall()

    result = run(path, "--hours", 0.1, "--agents", 5, "--talk-s", 20, "--json")

    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["inputs"]["lists"] == {
        "source": "the lists as they are in the database", "chains": 300, "part_rehearsed": 1.0,
    }  # fmt: skip
    assert told["variants"][0]["figures"]["attempts"]["mean"] > 10
    assert conn.execute("SELECT * FROM people ORDER BY record_id").fetchall() == before
    assert conn.execute("SELECT count(*) FROM ocsd.attempt").fetchone() == (0,)


def test_given_shifts_and_breaks_when_rehearsed_then_agents_come_and_go(site):
    result = run(
        site, "--made-up", 900, "--hours", 0.2, "--talk-s", 20, "--wrap-up-s", 5, "--start", "2026-03-03T17:00",
        "--shift", "0-0.1=6", "--shift", "0.1-0.2=3", "--breaks", "0.5/2.5", "--json",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)["variants"][0]
    assert told["agents"] == 9  # for a moment both shifts are there
    assert 3.0 < told["by_hour"][0]["agents"] < 4.6
