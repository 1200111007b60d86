"""What is exported comes back: the same table, column by column, whatever stands in it."""

import math
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ocsd.config.objects import CallingList, Format, FormatField, TableAccess
from ocsd.lists.gates import STATUS_TYPES
from ocsd.lists.importer import ImportOptions, export_csv, import_csv
from ocsd.lists.tables import columns_of, create_table
from tests.ocsd.list_worlds import NOON_UTC, configuration

FIELDS = (
    FormatField(name="name", length=40),
    FormatField(name="phone", type="char", length=6),
    FormatField(name="balance", type="float"),
    FormatField(name="score", type="int"),
    FormatField(name="since", type="datetime"),
)
EXACT = ImportOptions(exact=True)

# Every character that CSV, COPY or the reading of lines could trip over, besides any other.
TEXT = st.one_of(
    st.sampled_from(
        ["", " ", '"', '""', ",", '","', '"",""', "\\N", "\\.", "\n", "\r\n", "\r", "\t", "NULL", "é", "\\"]
    ),
    st.text(st.sampled_from(list(" ,;|\t\n\r\"\\N.a'\u2028\x85\ufeff\x1f😀é")), max_size=6),
    st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=6),
)
INTEGER = st.integers(-(2**31), 2**31 - 1)
NUMBER = st.integers(1, 2**31 - 2)
FIRST_MOMENT = datetime(1, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
FLOAT = st.one_of(st.floats(), st.sampled_from([-0.0, math.inf, -math.inf, math.nan, 5e-324, 1e23, 0.1 + 0.2]))
MOMENT = st.integers(0, (LAST_MOMENT - FIRST_MOMENT) // timedelta(microseconds=1)).map(
    lambda us: FIRST_MOMENT + timedelta(microseconds=us)
)


def optional(values):
    return st.none() | values


ANY_ROW = st.fixed_dictionaries(
    {
        "contact_info": TEXT,
        **dict.fromkeys(("contact_info_type", "record_type", "call_result", "attempt", "tz_dbid"), INTEGER),
        "record_status": INTEGER.filter(lambda status: status != 2),
        **dict.fromkeys(("daily_from", "daily_till", "chain_n"), INTEGER),
        **dict.fromkeys(("dial_sched_time", "call_time", "campaign_id", "group_id", "app_id"), optional(INTEGER)),
        **dict.fromkeys(("media_ref", "email_template_id", "switch_id", "score"), optional(INTEGER)),
        **dict.fromkeys(("agent_id", "treatments", "email_subject", "name", "phone"), optional(TEXT)),
        "balance": optional(FLOAT),
        "since": optional(MOMENT),
    }
)
STATUSES = [(int(status), int(kind)) for status, kinds in STATUS_TYPES.items() for kind in kinds if status != 2]
USUAL_ROW = st.builds(
    lambda row, number, status, window, **own: (
        row
        | own
        | {"contact_info": f"+1212555{number:04d}", "record_status": status[0], "record_type": status[1]}
        | {"daily_from": window[0], "daily_till": window[1]}
    ),
    ANY_ROW,
    st.integers(0, 9999),
    st.sampled_from(STATUSES),
    st.tuples(st.integers(0, 86400), st.integers(0, 86400)).filter(lambda window: window[0] != window[1]),
    contact_info_type=st.integers(0, 11),
    call_result=st.integers(0, 53),
    attempt=st.integers(0, 2**31 - 1),
    tz_dbid=st.sampled_from([11, 12, 13, 14]),
    chain_n=st.integers(0, 2**31 - 1),
    dial_sched_time=optional(st.integers(0, 2**31 - 1)),
    call_time=optional(st.integers(0, 2**31 - 1)),
    treatments=st.sampled_from([None, "", "7@2@1@0", "no state"]),
    balance=optional(st.floats(allow_nan=False, allow_infinity=False)),
)


@pytest.fixture
def lists(database):
    """(connection, configuration, list, empty list of the same format)"""
    base = configuration()
    config = configuration(
        formats=(Format(dbid=201, name="All", fields=FIELDS),),
        table_accesses=tuple(
            TableAccess(dbid=dbid, name=name, table=name, format="All")
            for dbid, name in ((211, "source"), (212, "copy"))
        ),
        filters=(),
        calling_lists=tuple(
            base.calling_lists[0].model_copy(update={"dbid": dbid, "name": name, "table_access": name})
            for dbid, name in ((301, "source"), (302, "copy"))
        ),
    )
    with psycopg.connect(database, autocommit=True) as conn:
        # The file must not depend on how the operator likes to see values.
        conn.execute("SET timezone = 'Asia/Kolkata'; SET datestyle = 'German'; SET extra_float_digits = -5")
        for calling_list in config.calling_lists:
            create_table(conn, config, calling_list)
        yield conn, config, *config.calling_lists


def insert(conn, config, calling_list: CallingList, rows):
    names = [column.name for column in columns_of(config, calling_list)]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(calling_list.name),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join([sql.Placeholder()] * len(names)),
    )
    with conn.cursor() as cursor:
        cursor.executemany(statement, [[row[name] for name in names] for row in rows])


def table(conn, config, calling_list):
    """Every value as PostgreSQL shows it, so that -0, NaN, '' and NULL are what they are."""
    with conn.transaction():
        conn.execute("SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL extra_float_digits = 1")
        return conn.execute(
            sql.SQL("SELECT {} FROM {} ORDER BY record_id").format(
                sql.SQL(", ").join(
                    sql.SQL("{}::text").format(sql.Identifier(column.name))
                    for column in columns_of(config, calling_list)
                ),
                sql.Identifier(calling_list.name),
            )
        ).fetchall()


def numbered(rows):
    """Distinct record numbers, and distinct places in the chains."""
    return st.lists(
        st.builds(
            lambda row, record_id, chain_id: row | {"record_id": record_id, "chain_id": chain_id}, rows, NUMBER, NUMBER
        ),
        max_size=6,
        unique_by=(lambda row: row["record_id"], lambda row: (row["chain_id"], row["chain_n"])),
    )


SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def check(lists, tmp_path, rows, options):
    conn, config, source, copy = lists
    conn.execute("TRUNCATE source, copy RESTART IDENTITY")
    insert(conn, config, source, rows)
    path = tmp_path / "list.csv"

    assert export_csv(conn, config, source, path) == len(rows)
    result = import_csv(conn, config, copy, path, options=options, now=NOON_UTC)

    why = result.rejected_path.read_text() if result.rejected_path else ""
    assert (result.imported, why) == (len(rows), "")
    assert table(conn, config, copy) == table(conn, config, source)
    if rows:
        # The sequences go on behind; nothing that is added later collides.
        conn.execute("INSERT INTO copy (contact_info) VALUES ('+12125550100')")


@SETTINGS
@given(rows=numbered(ANY_ROW))
def test_given_any_table_when_its_export_is_imported_exactly_then_it_is_the_same_table(lists, tmp_path, rows):
    check(lists, tmp_path, rows, EXACT)


@SETTINGS
@given(rows=numbered(USUAL_ROW))
def test_given_a_table_that_can_be_dialed_when_its_export_is_imported_then_it_is_the_same_table(lists, tmp_path, rows):
    check(lists, tmp_path, rows, ImportOptions())


def row(**changes):
    names = (
        "dial_sched_time", "call_time", "campaign_id", "agent_id", "group_id", "app_id", "treatments", "media_ref",
        "email_subject", "email_template_id", "switch_id", "name", "phone", "balance", "score", "since",
    )  # fmt: skip
    usual = {
        "record_id": 1, "contact_info": "+12125550100", "contact_info_type": 0, "record_type": 2, "record_status": 1,
        "call_result": 28, "attempt": 0, "daily_from": 0, "daily_till": 86400, "tz_dbid": 11, "chain_id": 1,
        "chain_n": 0,
    }  # fmt: skip
    return dict.fromkeys(names) | usual | changes


def test_given_null_and_empty_text_when_exported_then_the_file_tells_them_apart(lists, tmp_path):
    conn, config, source, copy = lists
    insert(conn, config, source, [row(name="", agent_id=None), row(record_id=2, chain_n=1, name=None, agent_id="")])
    export_csv(conn, config, source, tmp_path / "list.csv")

    assert '"",' in (tmp_path / "list.csv").read_text().splitlines()[1]
    import_csv(conn, config, copy, tmp_path / "list.csv", now=NOON_UTC)
    assert conn.execute("SELECT name, agent_id FROM copy ORDER BY record_id").fetchall() == [("", None), (None, "")]


def test_given_a_long_text_over_the_end_of_a_block_when_imported_then_its_empty_neighbours_stay_what_they_are(
    lists, tmp_path, monkeypatch
):
    monkeypatch.setattr("ocsd.lists.csv_source.CHUNK_BYTES", 64)
    check(
        lists,
        tmp_path,
        [
            row(record_id=number, chain_n=number, name='x,"",\n' * 6, email_subject="", agent_id=None, treatments='""')
            for number in range(1, 40)
        ],
        ImportOptions(),
    )


def test_given_rows_of_a_running_daemon_when_imported_then_they_are_rejected_or_made_ready_as_asked(lists, tmp_path):
    conn, config, source, copy = lists
    retrieved = [row(record_id=number, chain_n=number, record_status=2) for number in (1, 2)]
    insert(conn, config, source, [*retrieved, row(record_id=3, chain_n=3, record_status=4)])
    path = tmp_path / "list.csv"
    export_csv(conn, config, source, path)

    for exact in (False, True):
        refused = import_csv(conn, config, copy, path, options=ImportOptions(exact=exact), now=NOON_UTC)
        assert (refused.imported, refused.rejected) == (1, 2)
        assert "belongs to a running daemon" in refused.rejected_path.read_text()
        conn.execute("TRUNCATE copy")
        import_csv(conn, config, copy, path, options=ImportOptions(exact=exact, retrieved_as_ready=True), now=NOON_UTC)
        assert conn.execute("SELECT record_status FROM copy ORDER BY record_id").fetchall() == [(1,), (1,), (4,)]
        conn.execute("TRUNCATE copy")


def test_given_a_row_of_nobody_to_be_called_when_a_daemon_held_it_then_it_does_not_become_ready(lists, tmp_path):
    conn, config, source, copy = lists
    insert(conn, config, source, [row(record_status=2, record_type=7)])
    export_csv(conn, config, source, tmp_path / "list.csv")
    import_csv(conn, config, copy, tmp_path / "list.csv", options=ImportOptions(retrieved_as_ready=True), now=NOON_UTC)
    assert conn.execute("SELECT record_status, record_type FROM copy").fetchall() == [(3, 7)]


def test_given_numbers_that_json_cannot_hold_when_imported_then_only_an_exact_import_takes_them(lists, tmp_path):
    conn, config, source, copy = lists
    insert(conn, config, source, [row(balance=math.nan), row(record_id=2, chain_n=1, balance=-0.0)])
    export_csv(conn, config, source, tmp_path / "list.csv")

    result = import_csv(conn, config, copy, tmp_path / "list.csv", now=NOON_UTC)

    assert (result.imported, result.rejected) == (1, 1)
    assert math.copysign(1, conn.execute("SELECT balance FROM copy").fetchone()[0]) == -1


def test_given_a_corrected_report_when_it_is_imported_then_null_and_empty_text_are_as_in_the_file(lists, tmp_path):
    conn, config, _, copy = lists
    path = tmp_path / "list.csv"
    path.write_text('phone,contact_info,name,agent_id\nabc,123,"",\n', newline="")
    rejected = import_csv(conn, config, copy, path, now=NOON_UTC).rejected_path
    rejected.write_text(rejected.read_text().replace("abc,123", "abc,2125550100"))

    leave_out = {"line": "-", "reason": "-"}
    assert import_csv(conn, config, copy, rejected, mapping=leave_out, now=NOON_UTC).imported == 1
    assert conn.execute("SELECT name, agent_id, phone FROM copy").fetchone() == ("", None, "abc   ")


def test_given_times_at_the_ends_of_the_calendar_when_imported_then_what_utc_cannot_hold_is_rejected(lists, tmp_path):
    conn, config, _, copy = lists
    path = tmp_path / "list.csv"
    path.write_text(
        "contact_info,since\n2125550100,0001-01-01T00:00:00+05:00\n2125550101,9999-12-31T23:59:59Z\n"
        "2125550102,infinity\n"
    )
    result = import_csv(conn, config, copy, path, now=NOON_UTC)
    assert (result.imported, result.rejected) == (1, 2)
    assert conn.execute("SELECT extract(epoch FROM since)::bigint FROM copy").fetchone() == (253402300799,)
