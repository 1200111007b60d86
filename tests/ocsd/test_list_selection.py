"""What a claim takes: SQL and its Python twin agree on any table; filters, roles and figures on PostgreSQL."""

from datetime import timedelta

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ocsd.config.objects import CallingList, Filter
from ocsd.lists import claiming, counting, reader, selection
from ocsd.lists.claiming import WAITING_ROWS
from ocsd.lists.gates import LocalTimes, dialable_position, named_chain_n, why_not_dialable
from ocsd.lists.memory_database import MemoryTable
from ocsd.lists.tables import held_expression, ready_index_name, waiting_index_name
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.errors import ConfigError
from ocsd.model.records import CallingRecord, Portion
from tests.ocsd.list_worlds import (
    FILTERED_LIST,
    GROUP,
    LIST,
    NOON_UTC,
    MemoryWorld,
    PostgresWorld,
    asked_from_outside,
    configuration,
)

HANG_LIMIT_S = 60.0
NOW_S = int(NOON_UTC.timestamp())
STATES = (
    None, "", "0@0@0@1", "7@1@1@1", "7@2@2@1", "7@1@9@1", "7@1@-1@1", "7@1@9999999999@1", "7@1@01@1", "7@1@1", "x",
    "7@1@1@1@1", " 7@1@1@1", "7@1@1@1\n", "7@1@x@1", "99999999999@1@1@1", "7@1@1.0@1", "٧@1@1@1",
)  # fmt: skip

rows = st.fixed_dictionaries(
    {
        "chain_id": st.integers(1, 6),
        "chain_n": st.integers(0, 3),
        "record_status": st.sampled_from([1, 1, 1, 1, 1, 0, 2, 3, 5, 8]),
        "record_type": st.sampled_from([2, 2, 3, 3, 4, 5, 6, 6, 7, 0, 1]),
        "attempt": st.sampled_from([0, 0, 0, 1, 2, 3, 4, 11]),
        "dial_sched_time": st.sampled_from([None, 0, NOW_S - 900, NOW_S - 5, NOW_S, NOW_S + 1, NOW_S + 900]),
        "daily_from": st.sampled_from([0, 9 * 3600, 12 * 3600, 13 * 3600, 20 * 3600]),
        "daily_till": st.sampled_from([86400, 18 * 3600, 12 * 3600, 12 * 3600 + 1, 8 * 3600]),
        "tz_dbid": st.sampled_from([11, 11, 12, 13, 14, 0, 999]),
        "agent_id": st.sampled_from([None, "", "5001", "5002"]),
        "treatments": st.sampled_from(STATES),
        "customer_name": st.sampled_from([None, "Ada", "Bob"]),
        "balance": st.sampled_from([None, 10.0, 1500.0, 2500.0]),
    }
)
tables = st.lists(rows, max_size=20, unique_by=lambda row: (row["chain_id"], row["chain_n"]))
portions = st.lists(
    st.builds(
        Portion,
        record_type=st.sampled_from(list(RecordType)),
        limit=st.sampled_from([None, None, 1, 2]),
        agents=st.sampled_from([None, None, frozenset(), frozenset({"5001"}), frozenset({"5001", "5002"})]),
    ),
    min_size=1,
    max_size=5,
)


def rich(record: CallingRecord) -> bool:
    balance, name = record.user_fields["balance"], record.user_fields["customer_name"]
    return isinstance(balance, float) and balance > 1000 and isinstance(name, str) and name.startswith("A")


def richest_first(record: CallingRecord) -> float:
    balance = record.user_fields["balance"]
    assert isinstance(balance, float)
    return -balance


def told(chains):
    return [(chain.chain_id, chain.position, [record.record_id for record in chain.records]) for chain in chains]


@pytest.fixture
def world(database):
    world = PostgresWorld(database)
    yield world
    world.conn.close()


@pytest.fixture
def ask(world):
    with asked_from_outside(world) as ask:
        yield ask


@given(tables, portions, st.integers(1, 6), st.sampled_from([LIST, LIST, FILTERED_LIST]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_given_any_table_when_claimed_then_sql_and_python_take_the_same(world, ask, table, portions, limit, list_dbid):
    memory = MemoryWorld()
    memory.database.filters["Rich"] = (rich, richest_first)
    world.conn.execute("DELETE FROM customers; DELETE FROM ocsd.claim")
    with world.conn.transaction():
        for record_id, row in enumerate(table, start=1):
            assert world.add(record_id=record_id, **row) == memory.add(**row)

    async def claim_all(store):
        with trio.fail_after(HANG_LIMIT_S):
            chains = await store.claim_chains(list_dbid, GROUP, limit, NOON_UTC, portions)
            figures = await store.counts(list_dbid, NOON_UTC)
            rest = await store.claim_chains(list_dbid, GROUP, 50, NOON_UTC, portions)
            return told(chains), figures, sorted(told(rest))

    async def in_memory():
        async with memory.store() as twin:
            return await claim_all(twin)

    expected = trio.run(in_memory)

    assert ask(claim_all) == expected
    for record_id in range(1, len(table) + 1):
        assert world.row(record_id)["record_status"] == memory.row(record_id)["record_status"]


@given(table=tables)
@settings(max_examples=100, deadline=None)
def test_given_any_changes_when_rows_move_then_the_memory_index_is_what_a_new_one_would_be(table):
    memory = MemoryWorld()
    for place, row in enumerate(table, start=1):
        memory.add(**row)
        if place % 3 == 0:
            memory.database.set_status("customers", place, RecordStatus.READY)
            memory.database.update_row("customers", place, attempt=1, treatments="7@1@2@1", record_type=3)
        if place % 5 == 0:
            memory.database.delete_row("customers", place - 1)
    fresh = MemoryTable()
    for row in memory.database.table("customers").rows.values():
        fresh.insert(row)

    assert memory.database.table("customers").ready == fresh.ready


def record(**changes):
    values = {
        "list_dbid": LIST, "record_id": 1, "contact_info": "+12125550100", "contact_info_type": 0,
        "record_type": RecordType.CAMPAIGN_RESCHEDULED, "call_result": 28, "attempt": 0, "dial_sched_time": None,
        "call_time": None, "daily_from_s": 0, "daily_till_s": 86400, "tz_dbid": 11, "chain_id": 1, "chain_n": 0,
    }  # fmt: skip
    return CallingRecord(**(values | changes))


TIMES = LocalTimes({11: 12 * 3600}, None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"record_type": RecordType.NO_CALL}, "record type NO_CALL is not dialed here"),
        ({"agent_id": "5002"}, "it belongs to agent '5002'"),
        ({"agent_id": None}, "it belongs to no agent"),
        ({"attempt": 3}, "attempt 3 of at most 3 used up"),
        ({"dial_sched_time": NOW_S + 1}, f"scheduled for {NOW_S + 1} (UTC seconds)"),
        ({"tz_dbid": 12}, "time zone 12 is unknown and the list has none"),
        ({"daily_from_s": 43201}, "local second 43200 is outside the window 43201-86400"),
        ({"treatments": "7@1@1@1"}, "the chain goes on with its record 1"),
        ({"treatments": "7@1@2@1"}, None),
        ({"treatments": "7@1@1@1", "record_type": RecordType.GENERAL}, None),
    ],
)
def test_given_a_record_when_asked_why_not_then_the_first_gate_is_named(changes, why):
    asked = record(**({"agent_id": "5001"} | changes))
    sibling = record(record_id=2, chain_n=1)

    told_why = why_not_dialable(asked, 3, TIMES, NOON_UTC, agents={"5001"}, chain=[asked, sibling])

    assert told_why == why


def test_given_a_chain_when_its_state_names_a_record_then_only_that_one_may_be_dialed_as_long_as_it_is_there():
    chain = [record(record_id=n, chain_n=n, treatments="7@1@2@1") for n in range(3)]

    assert dialable_position(chain, 3, TIMES, NOON_UTC) == 2
    assert dialable_position(chain[:2], 3, TIMES, NOON_UTC) == 0
    assert dialable_position([record(chain_n=0, treatments="7@1@2@1", attempt=3)], 3, TIMES, NOON_UTC) is None
    closed = record(chain_n=2, treatments="7@1@2@1", daily_from_s=13 * 3600)
    assert dialable_position([*chain[:2], closed], 3, TIMES, NOON_UTC) is None


def test_given_any_state_text_when_read_then_sql_and_python_read_the_same(world):
    query = sql.SQL(
        "SELECT {} AS held FROM (SELECT 3 AS record_type, 1 AS chain_n, %s::text AS treatments) AS t"
    ).format(held_expression("t"))
    for state in STATES:
        named = named_chain_n(record(treatments=state))
        expected = 1 if named is not None and named != 1 else 0
        found = world.conn.execute(query, (state,)).fetchone()

        assert found == {"held": expected}, state


async def test_given_many_waiting_rows_when_the_named_one_is_gone_then_its_chain_is_found_in_the_end(world):
    for chain_id in range(1, WAITING_ROWS + 51):
        for chain_n in range(2):
            world.add(
                chain_id=chain_id,
                chain_n=chain_n,
                record_type=RecordType.CAMPAIGN_RESCHEDULED,
                treatments="7@1@1@1",
                # The named one's window is closed.
                daily_from=0 if chain_n == 0 else 20 * 3600,
                daily_till=86400,
            )
    gone = WAITING_ROWS + 40
    world.conn.execute("UPDATE customers SET record_status = 5 WHERE chain_id = %s AND chain_n = 1", (gone,))
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            looks = [told(await store.claim_chains(LIST, GROUP, 10, NOON_UTC)) for _ in range(3)]

    assert [look for look in looks if look] == [[(gone, 0, [2 * gone - 1])]]


async def test_given_used_up_rows_at_the_head_when_claimed_then_they_are_not_read(world):
    world.conn.execute(
        "INSERT INTO customers (contact_info, attempt) SELECT '+12125550100', 3 FROM generate_series(1, 20000)"
    )
    fresh = world.add()
    world.conn.execute("ANALYZE customers")
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            await store.claim_chains(LIST, GROUP, 1, NOON_UTC, [Portion(RecordType.CAMPAIGN_CALLBACK)])  # connects
            world.conn.execute("SELECT pg_stat_reset()")
            chains = await store.claim_chains(LIST, GROUP, 10, NOON_UTC)
    read = 20_001
    for _ in range(100):
        world.conn.execute("SELECT pg_stat_clear_snapshot()")
        found = world.conn.execute(
            "SELECT idx_tup_read AS rows FROM pg_stat_user_indexes WHERE indexrelname = %s",
            (ready_index_name("customers"),),
        ).fetchone()
        if found is not None and found["rows"] > 0:
            read = found["rows"]
            break
        await trio.sleep(0.02)  # the server reports at the end of a session

    assert told(chains)[0][2] == [fresh]
    assert read < 200


FILTERS = {
    "criteria": [
        ("pg_read_file('PG_VERSION') <> ''", "permission denied for function pg_read_file"),
        ("record_id IN (SELECT attempt_id FROM ocsd.attempt)", "permission denied for table attempt"),
        ("nextval('ocsd.attempt_id') > 0", "permission denied for sequence attempt_id"),
        ("nosuch > 1", 'column "nosuch" does not exist'),
        ("true) OR (true", "WORKS"),
        ("true) TO STDOUT; DROP TABLE customers; --", "syntax error"),
    ]
}


@pytest.mark.parametrize(("criteria", "answer"), FILTERS["criteria"])
async def test_given_a_filter_when_it_reaches_for_more_than_the_list_then_the_server_refuses(world, criteria, answer):
    record_id = world.add()
    world.config = configuration(
        world.config.database.dsn,
        filters=(Filter(dbid=221, name="Rich", criteria=criteria),),
    )
    rich_list = world.config.calling_list_by_dbid(FILTERED_LIST)
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            if answer == "WORKS":
                chains = await store.claim_chains(FILTERED_LIST, GROUP, 10, NOON_UTC)
                assert told(chains) == [(1, 0, [record_id])]
                return
            with pytest.raises(ConfigError, match=answer) as refusal:
                await store.claim_chains(FILTERED_LIST, GROUP, 10, NOON_UTC)
            assert "filter 'Rich'" in str(refusal.value)
            with pytest.raises(ConfigError, match=answer):
                await store.counts(FILTERED_LIST, NOON_UTC)
    with (
        psycopg.connect(world.config.database.dsn, autocommit=True) as conn,
        pytest.raises(ConfigError, match=answer),
    ):
        counting.stats(conn, world.config, rich_list, NOON_UTC)
    assert world.row(record_id)["record_status"] == RecordStatus.READY


async def test_given_a_server_that_refuses_the_role_when_claimed_then_read_only_alone_holds(world, database):
    record_id = world.add()
    with psycopg.connect(database, autocommit=True) as conn:
        name = f"plain_{conn.info.backend_pid}"
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        try:
            for statement in (
                "GRANT ALL ON SCHEMA public, ocsd TO {}",
                "GRANT ALL ON ALL TABLES IN SCHEMA public, ocsd TO {}",
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA public, ocsd TO {}",
                "REVOKE SELECT ON customers FROM ocsd_reader",
            ):
                conn.execute(sql.SQL(statement.replace("ocsd_reader", reader.READER)).format(sql.Identifier(name)))
            conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))
            assert reader.let_read(conn, "customers") is False
            with reader.reading(conn, "customers"):
                assert conn.execute("SELECT current_user").fetchone() == (name,)
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    conn.execute("UPDATE customers SET attempt = 1")
        finally:
            conn.execute("RESET ROLE")
            conn.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))
    assert world.row(record_id)["attempt"] == 0


async def test_given_a_table_when_read_then_it_is_the_reader_who_reads(world):
    with psycopg.connect(world.config.database.dsn, autocommit=True) as conn, reader.reading(conn, "customers"):
        assert conn.execute("SELECT current_user").fetchone() == (reader.READER,)
        assert conn.execute("SELECT count(*) FROM customers").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT count(*) FROM ocsd.attempt")


async def test_given_two_lists_on_one_table_when_their_filters_share_a_chain_then_it_is_claimed_once(world):
    poor, shared, wealthy = (
        world.add(chain_id=7, chain_n=n, balance=balance, daily_from=0) for n, balance in enumerate((10, 100, 1000))
    )
    lists = tuple(
        CallingList(dbid=dbid, name=name, table_access="Customers", filter=name, time_zone="EST")
        for dbid, name in ((LIST, "Poor"), (FILTERED_LIST, "Wealthy"))
    )
    world.config = configuration(
        world.config.database.dsn,
        calling_lists=lists,
        filters=(
            Filter(dbid=1, name="Poor", criteria="balance <= 100"),
            Filter(dbid=2, name="Wealthy", criteria="balance >= 100"),
        ),
    )
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            first = await store.claim_chains(FILTERED_LIST, GROUP, 10, NOON_UTC)
            assert told(first) == [(7, 0, [shared, wealthy])]
            assert await store.claim_chains(LIST, GROUP, 10, NOON_UTC) == []
            assert world.row(poor)["record_status"] == RecordStatus.READY
            await store.give_back(first)
            assert told(await store.claim_chains(LIST, GROUP, 10, NOON_UTC)) == [(7, 0, [poor, shared])]
            assert world.row(wealthy)["record_status"] == RecordStatus.READY


async def test_given_an_order_when_claimed_then_it_holds_over_all_zones_and_inside_each_chain(world):
    world.config = configuration(
        world.config.database.dsn, filters=(Filter(dbid=221, name="Rich", order_by="balance DESC NULLS LAST"),)
    )
    middle = world.add(chain_id=1, balance=50, tz_dbid=12, daily_from=0)
    low, high = (world.add(chain_id=2, chain_n=n, balance=b, daily_from=0) for n, b in ((0, 10), (1, 90)))
    due = world.add(
        chain_id=3, balance=1, record_type=RecordType.CAMPAIGN_RESCHEDULED, dial_sched_time=NOW_S - 1, daily_from=0
    )
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            chains = await store.claim_chains(FILTERED_LIST, GROUP, 10, NOON_UTC)

    assert told(chains) == [(3, 0, [due]), (2, 0, [high, low]), (1, 0, [middle])]


async def test_given_rows_cut_in_a_zone_when_the_others_are_behind_them_then_the_order_still_holds(world):
    """All first records lie in one zone, so that its first piece is too small."""
    ids = [world.add(tz_dbid=12 if place >= 40 else 11, daily_from=0) for place in range(80)]
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            chains = await store.claim_chains(LIST, GROUP, 60, NOON_UTC)

    assert [chain.record.record_id for chain in chains] == ids[:60]


async def test_given_indexes_that_are_missing_when_checked_then_the_statement_that_makes_them_is_told(world):
    from ocsd.lists.tables import table_differences

    world.conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(waiting_index_name("customers"))))
    world.conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(ready_index_name("customers"))))
    with psycopg.connect(world.config.database.dsn, autocommit=True) as conn:
        problems = table_differences(conn, world.config, world.config.calling_lists[0])
        assert len(problems) == 2
        for problem in problems:
            conn.execute(problem.split("create it with: ")[1])
        assert table_differences(conn, world.config, world.config.calling_lists[0]) == []


async def test_given_a_later_hour_when_claimed_then_scheduled_general_records_come_behind_the_others(world):
    later = world.add(dial_sched_time=NOW_S + 60)
    plain = world.add()
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            assert told(await store.claim_chains(LIST, GROUP, 10, NOON_UTC)) == [(2, 0, [plain])]
            soon = NOON_UTC + timedelta(seconds=60)
            assert told(await store.claim_chains(LIST, GROUP, 10, soon)) == [(1, 0, [later])]


def test_given_an_empty_table_when_a_search_is_planned_then_the_plan_serves_a_large_one_too(world):
    calling_list = world.config.calling_list_by_dbid(LIST)
    chosen = selection.selection_of(world.config, calling_list)
    figures = selection.parameters(world.config, calling_list, NOON_UTC) | {
        "type": 2, "agents": None, "skip": "{}", "wanted": 10, "piece": 4, "size": 10, "bound_due": 9, "bound_id": 9,
        **dict.fromkeys(("b_zone", "b_from", "b_till", "b_attempt", "b_due", "b_record"), "{1}"),
    }  # fmt: skip
    with world.conn.transaction():
        world.conn.execute(claiming.BY_INDEX, prepare=False)
        for statement in (chosen.search, chosen.search_on):
            rows = world.conn.execute(b"EXPLAIN " + statement, figures).fetchall()
            plan = [line for row in rows for line in row.values()]
            scans = [line.strip(" ->") for line in plan if " Scan " in line and " on customers" in line]
            assert scans
            assert all(scan.startswith(f"Index Scan using {ready_index_name('customers')} ") for scan in scans), plan
            assert not any("Seq Scan" in line for line in plan), plan
