"""Operators' SQL statements in the result's transaction: run once, and never able to harm the result."""

from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from ocsd.lists import statements
from ocsd.lists.journal import Decided, write_results
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import ChainChange
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, PostgresWorld, result_of
from tests.ocsd.result_worlds import dialed, result_configuration, settlement_of, statement

HANG_LIMIT_S = 60.0


@pytest.fixture
def world(database):
    world = PostgresWorld(database, result_configuration())
    world.conn.execute("CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, text text, number int)")
    yield world
    world.conn.close()


@pytest.fixture(autouse=True)
async def hang_limit():
    with trio.fail_after(HANG_LIMIT_S):
        yield


def notes(world) -> list[tuple[object, ...]]:
    return [(row["text"], row["number"]) for row in world.conn.execute("SELECT * FROM notes ORDER BY id")]


async def finished_with(world, *wanted, logs=None):
    """One call whose result brings the statements; returns the record's id after checking that the result is there."""
    record_id = world.add()
    async with world.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
        attempt = await dialed(store, chain)
        with capture_logs() as captured:
            assert await store.finish_attempt(result_of(attempt, statements=tuple(wanted)))
        assert world.row(record_id)["record_status"] == RecordStatus.UPDATED
        assert world.claims() == {}
        assert await store.open_attempts() == []
        # The session that ran it serves the next ones as before.
        world.add()
        (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
        assert await store.finish_attempt(result_of(await dialed(store, chain)))
    if logs is not None:
        logs += [entry for entry in captured if entry["event"] == "treatment.sql_failed"]
    return record_id


async def test_given_a_statement_when_the_result_is_written_then_it_sees_both_the_record_and_the_result(world):
    text = "INSERT INTO notes (text, number) SELECT %(contact_info)s || ' 100%%', call_result FROM customers"
    text += " WHERE record_id = %(record_id)s"
    logs: list[object] = []
    await finished_with(
        world, statement(text, contact_info="+1212", record_id=1, call_result=CallResult.BUSY), logs=logs
    )
    assert (notes(world), logs) == ([("+1212 100%", int(CallResult.ANSWER))], [])


async def test_given_enums_and_nulls_when_bound_then_they_are_numbers_and_nulls(world):
    await finished_with(
        world,
        statement("INSERT INTO notes (number, text) VALUES (%(n)s, %(t)s)", n=RecordType.GENERAL, t=None),
        statement("SELECT 1"),
    )
    assert notes(world) == [(None, 2)]


@pytest.mark.parametrize(
    "text",
    [
        "COMMIT",
        "ROLLBACK",
        "/* innocent */ commit",
        "-- innocent\n  END",
        'ROLLBACK TO SAVEPOINT "_pg3_1"',
        "RELEASE _pg3_1",
        "PREPARE TRANSACTION 'x'",
        "SET statement_timeout = 0",
        "INSERT INTO notes (text) VALUES ('two'); COMMIT",
        "INSERT INTO notes (text) VALUES ('two'); INSERT INTO notes (text) VALUES ('three')",
        "CALL ends()",
        "SELECT * FROM nowhere",
        "SELECT 1/0",
        "SELECT %(missing)s",
        "INSERT INTO notes (text) VALUES (%(nul)s)",
        "",
    ],
)
async def test_given_a_statement_that_is_wrong_or_would_end_our_transaction_when_run_then_only_it_fails(world, text):
    world.conn.execute("CREATE PROCEDURE ends() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$")
    logs: list[dict[str, object]] = []
    good = statement("INSERT INTO notes (text) VALUES ('good')", treatment_dbid=8)
    await finished_with(world, good, statement(text, nul="\0"), good, logs=logs)
    assert notes(world) == [("good", None), ("good", None)]
    assert [entry["treatment_dbid"] for entry in logs] == [7]


@pytest.mark.parametrize("text", ["COMMIT", "INSERT INTO notes (text) VALUES ('x'); COMMIT", "CALL ends()"])
async def test_given_no_check_of_the_text_when_it_would_end_the_transaction_then_it_is_found_out(
    world, monkeypatch, text
):
    """What stands behind the check: several statements are refused by the protocol, an end of ours is seen."""
    world.conn.execute("CREATE PROCEDURE ends() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$")
    monkeypatch.setattr(statements, "statement_problem", lambda text: None)
    with psycopg.connect(world.conn.info.dsn, autocommit=True) as conn, capture_logs() as logs:
        if text == "COMMIT":
            with pytest.raises((psycopg.Error, statements.InvariantError)), conn.transaction():
                statements.run_statements(conn, [statement(text)])
        else:
            with conn.transaction():
                statements.run_statements(conn, [statement(text)])
            assert [entry["event"] for entry in logs] == ["treatment.sql_failed"]
    assert notes(world) == []


async def test_given_a_statement_that_lasts_when_its_limit_is_reached_then_the_result_is_written_without_it(
    world, monkeypatch
):
    monkeypatch.setattr(statements, "STATEMENT_LIMIT_S", 0.05)
    logs: list[dict[str, object]] = []
    good = statement("INSERT INTO notes (text) VALUES ('good')", treatment_dbid=8)
    await finished_with(world, statement("SELECT pg_sleep(30)"), good, logs=logs)
    assert notes(world) == [("good", None)]
    assert "timeout" in str(logs[0]["reason"])


async def test_given_rows_that_somebody_holds_when_the_lock_limit_is_reached_then_the_result_is_written_without_it(
    world, database, monkeypatch
):
    monkeypatch.setattr(statements, "LOCK_LIMIT_S", 0.05)
    world.conn.execute("INSERT INTO notes (text) VALUES ('held')")
    logs: list[dict[str, object]] = []
    with psycopg.connect(database) as holder:
        holder.execute("UPDATE notes SET number = 1")
        await finished_with(world, statement("UPDATE notes SET number = 2"), logs=logs)
    assert "lock timeout" in str(logs[0]["reason"])


async def test_given_a_batch_of_slow_statements_when_their_time_is_up_then_the_rest_is_not_run(world, monkeypatch):
    monkeypatch.setattr(statements, "BATCH_LIMIT_S", -1.0)
    logs: list[dict[str, object]] = []
    await finished_with(world, statement("INSERT INTO notes (text) VALUES ('late')"), logs=logs)
    assert (notes(world), len(logs)) == ([], 1)


async def test_given_statements_when_they_are_done_then_the_transaction_has_its_own_limits_again(world):
    with psycopg.connect(world.conn.info.dsn, autocommit=True) as conn, conn.transaction():
        conn.execute("SET LOCAL statement_timeout = '7s'")
        statements.run_statements(conn, [statement("SELECT 1"), statement("SELECT 1/0")])
        limits = conn.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')").fetchone()
        assert limits == ("7s", "0")


async def test_given_a_result_or_decision_that_comes_again_when_written_then_its_statement_runs_once(world):
    world.add()
    world.add()
    once = (statement("INSERT INTO notes (text) VALUES ('once')"),)
    async with world.store() as store:
        first, second = await store.claim_chains(LIST, GROUP, 2, NOON_UTC)
        result = result_of(await dialed(store, first), statements=once)
        assert [await store.finish_attempt(result) for _ in range(3)] == [True, False, False]
        change = ChainChange(RecordStatus.UPDATED, RecordType.GENERAL)
        settlement = settlement_of(second, change, statements=once)
        assert [await store.settle_chain(settlement) for _ in range(2)] == [True, False]
    assert notes(world) == [("once", None), ("once", None)]


async def test_given_a_kept_chain_whose_decision_was_in_doubt_when_written_again_then_nothing_is_done_twice(world):
    """The writer tries again when a commit got no answer; the decision's key tells that it has been made."""
    world.add()
    async with world.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
        change = ChainChange(RecordStatus.READY, RecordType.GENERAL, keep_claim=True)
        settlement = settlement_of(chain, change, statements=(statement("INSERT INTO notes (text) VALUES ('once')"),))
        decided = Decided(uuid4(), "customers", settlement, datetime.now(UTC))
        with psycopg.connect(world.conn.info.dsn) as conn:
            for _ in range(2):
                assert write_results(conn, store.owner, [decided]) == [True]
                conn.commit()
        assert world.claims() == {chain.chain_id: store.owner}
    assert notes(world) == [("once", None)]
