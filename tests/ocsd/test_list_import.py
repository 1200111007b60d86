"""Import and export of calling lists on a real database."""

import csv
import os
import signal
import subprocess
import sys
import threading

import psycopg
import pytest

from ocsd.config.objects import TimeZoneObject
from ocsd.lists import importer, staging
from ocsd.lists.importer import ImportOptions, export_csv, import_csv, stats
from ocsd.lists.staging import insert_staged
from ocsd.lists.tables import create_table, drop_table, table_differences
from ocsd.model.errors import ConfigError, StoreUnavailable
from tests.ocsd.list_worlds import NOON_UTC, configuration


@pytest.fixture
def conn(database):
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


@pytest.fixture
def config():
    return configuration()


@pytest.fixture
def customers(conn, config):
    """The calling list, its table created."""
    create_table(conn, config, config.calling_lists[0])
    return config.calling_lists[0]


@pytest.fixture
def run(conn, config, customers, tmp_path):
    """Import a text; returns the result."""

    def run(text, **options):
        path = tmp_path / "list.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return import_csv(conn, config, customers, path, now=NOON_UTC, **options)

    return run


def rejected(result):
    with result.rejected_path.open(newline="", encoding="utf-8") as file:
        return [(int(row["line"]), row["reason"]) for row in csv.DictReader(file)]


def rows(conn, columns):
    return conn.execute(f"SELECT {columns} FROM customers ORDER BY record_id").fetchall()


def test_given_only_phones_when_imported_then_defaults_and_zones_of_the_numbers_are_filled_in(conn, run):
    result = run("Phone\n(212) 555-0123\n+1 415 555 0123\n+442079460018\n+919810012345\n")
    assert (result.rows, result.imported, result.rejected, result.rejected_path) == (4, 4, 0, None)
    assert rows(conn, "contact_info, tz_dbid, daily_from, daily_till, record_type, record_status, call_result") == [
        ("+12125550123", 11, 32400, 64800, 2, 1, 28),
        ("+14155550123", 12, 32400, 64800, 2, 1, 28),
        ("+442079460018", 13, 32400, 64800, 2, 1, 28),
        ("+919810012345", 14, 32400, 64800, 2, 1, 28),
    ]
    assert rows(conn, "attempt, chain_n, contact_info_type")[0] == (0, 0, 0)
    assert len({row[0] for row in rows(conn, "chain_id")}) == 4


def test_given_mixed_rows_when_imported_then_bad_ones_are_reported_and_good_ones_kept(conn, run):
    result = run(
        b"contact_info,contact_info_type,daily_from,daily_till,tz_dbid,customer_name,balance,score,dial_sched_time\n"
        b"2125550100,4,36000,72000,PST,Ada,1.5,7,\n"  # 2
        b"555,4,,,,,,,\n"  # 3
        b"2125550101,12,,,,,,,\n"  # 4
        b"2125550102,x,,,,,,,\n"  # 5
        b"2125550103,4,100,100,,,,,\n"  # 6
        b"2125550104,4,0,86401,,,,,\n"  # 7
        b"2125550105,4,,,77,,,,\n"  # 8
        b"2125550106,4,,,,12345678901234567890123456789012345678901,,,\n"  # 9
        b"2125550107,4,,,,,nan,,\n"  # 10
        b"2125550108,4,,,,,,99999999999,\n"  # 11
        b"2125550109,4,,,,,,,-1\n"  # 12
        b"2125550110,4\n"  # 13
        b"2125550111,4,,,,\xff,,,\n"  # 14
        b"2125550112,4,,,,a\0b,,,\n"  # 15
        b'2125550113,4,72000,36000,America/Los_Angeles,"tab\there\\ ""q""",-2,,\n'  # 16
        b'"2125550114,4,,,,,,,\n'  # 17
        b"2125550115,4,,,12,,,,5\n"  # 18
    )
    assert (result.rows, result.imported, result.rejected) == (17, 3, 14)
    reasons = dict(rejected(result))
    assert sorted(reasons) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17]
    for line, words in {
        3: "no valid number", 4: "contact_info_type 12 is outside", 5: "no integer", 6: "never opens",
        7: "daily_till 86401", 8: "no configured time zone", 9: "41 characters, at most 40", 10: "balance",
        11: "no integer", 12: "dial_sched_time -1", 13: "2 columns, expected 9", 14: "UTF-8", 15: "NUL",
        17: "malformed",
    }.items():  # fmt: skip
        assert words in reasons[line], line
    assert rows(
        conn, "contact_info, daily_from, daily_till, tz_dbid, customer_name, balance, score, dial_sched_time"
    ) == [
        ("+12125550100", 36000, 72000, 12, "Ada", 1.5, 7, None),
        ("+12125550113", 72000, 36000, 12, 'tab\there\\ "q"', -2.0, None, None),
        ("+12125550115", 32400, 64800, 12, None, None, None, 5),
    ]


def test_given_chains_when_imported_then_taken_places_are_rejected_and_the_sequence_goes_on_behind(conn, run):
    result = run("phone,chain_id,chain_n\n2125550100,7,0\n2125550101,7,1\n2125550102,7,0\n2125550103,,0\n")
    assert rejected(result) == [
        (5, "record_id or chain_id is empty"),
        (4, "chain_id 7, chain_n 0 is taken by line 2 of the file"),
    ]
    holder = rows(conn, "record_id")[1][0]
    again = run("phone,chain_id,chain_n\n2125550104,7,1\n2125550105,7,2\n2125550104,7,1\n")
    assert rejected(again) == [
        (2, f"chain_id 7, chain_n 1 is taken by record_id {holder} of the calling list"),
        (4, "chain_id 7, chain_n 1 is taken by line 2 of the file"),
    ]
    run("phone\n2125550106\n")
    assert rows(conn, "contact_info, chain_id, chain_n") == [
        ("+12125550100", 7, 0),
        ("+12125550101", 7, 1),
        ("+12125550105", 7, 2),
        ("+12125550106", rows(conn, "chain_id")[-1][0], 0),
    ]
    assert rows(conn, "chain_id")[-1][0] > 7


def test_given_record_ids_when_imported_twice_then_all_are_rejected_the_second_time(run):
    text = "record_id,phone\n" + "".join(f"{number},2125550{number}\n" for number in range(100, 200))
    assert run(text).imported == 100
    again = run(text)
    assert (again.imported, again.rejected) == (0, 100)
    assert rejected(again) == [
        (number - 98, f"record_id {number} is taken by record_id {number} of the calling list")
        for number in range(100, 200)
    ]


def test_given_statuses_and_types_when_imported_then_only_combinations_of_the_manual_pass(conn, run):
    result = run(
        "phone,record_status,record_type\n2125550100,3,7\n2125550101,1,7\n2125550102,2,2\n2125550103,8,2\n2125550104,,\n"
    )
    assert [line for line, _ in rejected(result)] == [3, 4, 5]
    assert rows(conn, "record_status, record_type") == [(3, 7), (1, 2)]


def test_given_a_header_that_leads_nowhere_when_imported_then_one_error_lists_it_all(conn, run):
    with pytest.raises(ConfigError) as caught:
        run("nickname,phone,PHONE\nx,1,2\n", mapping={"ghost": "score", "phone": "nowhere"})
    text = str(caught.value)
    for words in ("'nickname' is no column", "'ghost' is not in the file", "'nowhere'"):
        assert words in text
    assert rows(conn, "1") == []


def test_given_a_mapping_when_imported_then_columns_go_where_it_says(conn, run):
    run(
        "Mobile,Kunde,Note\n2125550100,Ada,x\n",
        mapping={"mobile": "contact_info", "kunde": "customer_name", "note": "-"},
    )
    assert rows(conn, "contact_info, customer_name") == [("+12125550100", "Ada")]


@pytest.mark.parametrize("text", ["", "\n\n", "phone\n"])
def test_given_an_empty_file_when_imported_then_it_is_an_error_or_no_rows(run, text):
    if text.strip():
        assert run(text).rows == 0
    else:
        with pytest.raises(ConfigError, match="empty"):
            run(text)


def test_given_a_number_of_several_zones_when_imported_then_the_lists_zone_counts_or_it_is_rejected(
    conn, config, tmp_path
):
    path = tmp_path / "x.csv"
    path.write_text("phone\n+18005550123\n+33142685300\n", encoding="utf-8")
    with_zone = config.calling_lists[0]
    create_table(conn, config, with_zone)
    assert import_csv(conn, config, with_zone, path, now=NOON_UTC).imported == 2
    assert {row[0] for row in rows(conn, "tz_dbid")} == {11}
    without = with_zone.model_copy(update={"time_zone": ""})
    result = import_csv(conn, config.model_copy(update={"calling_lists": (without,)}), without, path, now=NOON_UTC)
    assert (result.imported, result.rejected) == (0, 2)
    # France has no object of its own name, but Madrid keeps the same clocks.
    zones = (*config.time_zones, TimeZoneObject(dbid=15, name="CET", zone="Europe/Madrid"))
    changed = config.model_copy(update={"calling_lists": (without,), "time_zones": zones})
    result = import_csv(conn, changed, without, path, now=NOON_UTC)
    assert (result.imported, result.rejected) == (1, 1)
    assert rows(conn, "contact_info, tz_dbid")[-1] == ("+33142685300", 15)


def test_given_progress_when_imported_then_rows_and_bytes_grow_to_the_end(run):
    calls = []
    text = "phone\n" + "2125550100\n" * 2500
    run(text, progress=lambda done, size: calls.append((done, size)))
    assert [done for done, _ in calls] == [1000, 2000, 2500]
    assert calls[-1][1] == len(text)


def test_given_an_export_when_imported_elsewhere_then_the_rows_are_equal(conn, config, run, customers, tmp_path):
    run('phone,customer_name,chain_id,chain_n,balance\n2125550100,"A, ""B""\nC",3,0,1.25\n2125550101,,3,1,\n')
    path = tmp_path / "out.csv"
    sizes = []
    assert export_csv(conn, config, customers, path, progress=sizes.append) == 2
    assert sizes[-1] == path.stat().st_size
    before = rows(conn, "*")
    drop_table(conn, config, customers)
    create_table(conn, config, customers)
    assert import_csv(conn, config, customers, path, now=NOON_UTC).imported == 2
    assert rows(conn, "*") == before
    counts = stats(conn, config, customers, NOON_UTC)
    assert (dict(counts.by_status_and_type), counts.ready_chains, counts.ready_in_window) == ({(1, 2): 2}, 1, 1)


def test_given_a_filter_when_exported_and_counted_then_only_its_rows_are_there(conn, config, run, tmp_path):
    run("phone,customer_name,balance\n2125550100,Ada,2000\n2125550101,Bob,3000\n2125550102,Al,10\n")
    rich = config.calling_lists[1]
    assert export_csv(conn, config, rich, tmp_path / "out.csv") == 1
    assert dict(stats(conn, config, rich, NOON_UTC).by_status_and_type) == {(1, 2): 1}


def test_given_a_table_that_does_not_fit_when_checked_then_every_difference_is_named(conn, config, customers):
    assert table_differences(conn, config, customers) == []
    conn.execute("ALTER TABLE customers DROP COLUMN score, ALTER COLUMN balance TYPE integer")
    conn.execute("ALTER TABLE customers ALTER COLUMN tz_dbid DROP NOT NULL")
    conn.execute("DROP INDEX customers_ready")
    text = "\n".join(table_differences(conn, config, customers))
    for words in ("lacks column score", "balance is integer, expected double", "tz_dbid may be NULL", "index of Ready"):
        assert words in text
    with pytest.raises(ConfigError, match="exists already"):
        create_table(conn, config, customers)
    drop_table(conn, config, customers)
    assert "does not exist" in table_differences(conn, config, customers)[0]
    with pytest.raises(ConfigError, match="does not exist"):
        drop_table(conn, config, customers)


CHILD = """
import sys, os, signal, psycopg
from pathlib import Path
from ocsd.lists.duplicates import DuplicateRule
from ocsd.lists.importer import ImportOptions, import_csv
from ocsd.lists.keys import Action
from tests.ocsd.list_worlds import configuration
config = configuration()
def progress(rows, size):
    if rows >= 5000:
        os.kill(os.getpid(), signal.SIGKILL)
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    options = ImportOptions(duplicates=DuplicateRule(Action(sys.argv[3])))
    import_csv(conn, config, config.calling_lists[0], Path(sys.argv[2]), options=options, progress=progress)
"""


@pytest.mark.parametrize("rule", ["keep", "update"])
def test_given_a_kill_midway_when_looked_at_then_nothing_was_imported(conn, customers, database, tmp_path, rule):
    path = tmp_path / "big.csv"
    path.write_text("phone,balance\n" + "2125550100,1\n" * 20_000, encoding="utf-8")
    command = [sys.executable, "-c", CHILD, database, str(path), rule]
    child = subprocess.run(command, cwd=os.getcwd(), timeout=60, check=False)
    assert child.returncode == -signal.SIGKILL
    # Waits for the dead session's end: its lock on the table goes with its transaction.
    conn.execute("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE; COMMIT")
    assert rows(conn, "1") == []


TRIGGER = """
CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not on a Sunday'; END$$;
CREATE TRIGGER no BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION no()
"""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("ALTER TABLE customers ALTER customer_name SET NOT NULL", 'null value in column "customer_name"'),
        ("ALTER TABLE customers ADD CHECK (score > 5)", "violates check constraint"),
        (TRIGGER, "not on a Sunday"),
    ],
)
def test_given_a_table_that_asks_for_more_when_imported_then_it_says_so_and_imports_nothing(conn, run, change, why):
    conn.execute(change)
    with pytest.raises(ConfigError, match="nothing was imported") as given_up:
        run("contact_info,score\n2125550100,1\n")
    assert why in str(given_up.value)
    assert rows(conn, "record_id") == []


# --- numbers of the file against numbers that others take meanwhile ---------------------------------------------------

OWN = "record_id,chain_id,phone\n" + "".join(f"{n},{n},21255501{n:02}\n" for n in range(1, 6))
ADD = "INSERT INTO customers (contact_info) VALUES (%s) RETURNING record_id, chain_id"


def test_given_a_record_added_before_an_import_reads_the_list_when_it_is_committed_then_its_number_is_seen_as_taken(
    conn, run, database
):
    """It has taken number 1 from the sequence, and nobody sees its row yet."""
    with psycopg.connect(database) as other:
        assert other.execute(ADD, ("+12125550999",)).fetchone() == (1, 1)

        def commit_when_waited_for():
            with psycopg.connect(database, autocommit=True) as watcher:
                while not watcher.execute("SELECT 1 FROM pg_locks WHERE mode = 'ShareLock' AND NOT granted").fetchall():
                    pass
            other.commit()

        committer = threading.Thread(target=commit_when_waited_for)
        committer.start()
        result = run(OWN)
        committer.join()

    taken = "chain_id 1, chain_n 0 is taken by record_id 1 of the calling list"
    assert (result.imported, rejected(result)) == (4, [(2, taken)])
    assert conn.execute(ADD, ("+12125550998",)).fetchone() == (6, 6)


def test_given_an_import_that_has_read_the_list_when_a_record_is_added_then_it_gets_a_number_behind_the_files(
    conn, run, database, monkeypatch
):
    added = []

    def insert_after_another(*arguments):
        with psycopg.connect(database, autocommit=True) as other:
            added.append(other.execute(ADD, ("+12125550999",)).fetchone())
        insert_staged(*arguments)

    monkeypatch.setattr(importer, "insert_staged", insert_after_another)

    result = run(OWN)

    assert (result.imported, result.rejected, added) == (5, 0, [(6, 6)])
    assert conn.execute(ADD, ("+12125550998",)).fetchone() == (7, 7)


def test_given_numbers_below_the_sequences_when_imported_then_those_do_not_go_back(conn, run):
    conn.execute("SELECT setval(pg_get_serial_sequence('customers', 'record_id'), 1000)")
    assert run(OWN).imported == 5
    assert conn.execute(ADD, ("+12125550998",)).fetchone() == (1001, 6)


def test_given_a_dry_run_when_it_is_over_then_no_number_has_been_used_up(conn, run):
    assert run(OWN.replace("5,5,", "2000000000,5,"), options=ImportOptions(dry_run=True)).imported == 5
    assert conn.execute(ADD, ("+12125550998",)).fetchone() == (1, 1)


def test_given_a_table_locked_by_hand_when_imported_then_it_is_given_up_and_nothing_is_imported(
    conn, run, database, monkeypatch
):
    monkeypatch.setattr(staging, "LOCK_LIMIT", "20ms")
    monkeypatch.setattr(staging, "LOCK_TRIES", 3)
    with psycopg.connect(database) as other:
        other.execute(ADD, ("+12125550999",))
        with pytest.raises(StoreUnavailable, match="given up"):
            run(OWN)
        other.rollback()
    assert rows(conn, "record_id") == []
