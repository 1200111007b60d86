"""The ledger of people and abandoned people: written with the results, once, on the memory store and on PostgreSQL."""

import os
import signal
import sys
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocsd.lists.abandonment import add, counts, node_of
from ocsd.lists.migrate import migrate
from ocsd.model.records import AbandonmentBucket, AbandonmentCounts, PersonFound
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, MemoryWorld, PostgresWorld, attempt_for, result_of

HANG_LIMIT_S = 60.0
CAMPAIGN = 401
"""Of `attempt_for`."""
NOON_S = int(NOON_UTC.timestamp())
LONG_AGO = NOON_UTC - timedelta(days=40)


@pytest.fixture(params=["memory", "postgres"])
def world(request):
    if request.param == "memory":
        yield MemoryWorld()
        return
    world = PostgresWorld(request.getfixturevalue("database"))
    yield world
    world.conn.close()


@pytest.fixture
def postgres(database):
    world = PostgresWorld(database)
    yield world
    world.conn.close()


@pytest.fixture
async def hang_limit():
    with trio.fail_after(HANG_LIMIT_S):
        yield


def person(wait_s: float | None, minutes: float = 0.0) -> PersonFound:
    return PersonFound(NOON_UTC + timedelta(minutes=minutes), wait_s)


@pytest.mark.usefixtures("hang_limit")
async def test_given_results_with_people_when_written_then_each_is_counted_by_quarter_of_an_hour(world):
    people = [person(0.3), person(2.4), person(None), None, person(1.0, 16), person(None, 16)]
    for _ in people:
        world.add()
    async with world.store() as store:
        assert await store.abandonment(CAMPAIGN, LONG_AGO) == AbandonmentCounts(None, (), 0)
        chains = await store.claim_chains(LIST, GROUP, len(people), NOON_UTC)
        attempts = [attempt_for(chain, number) for number, chain in enumerate(chains, start=1)]
        await store.begin_attempts(attempts)
        async with trio.open_nursery() as nursery:  # in as few batches as there may be
            for attempt, found in zip(attempts, people, strict=True):
                nursery.start_soon(store.finish_attempt, result_of(attempt, person=found))
        expected = AbandonmentCounts(
            NOON_S, (AbandonmentBucket(NOON_S, 3, 1, 1), AbandonmentBucket(NOON_S + 900, 2, 1, 0)), 0
        )
        assert await store.abandonment(CAMPAIGN, LONG_AGO) == expected
        assert await store.abandonment(CAMPAIGN + 1, LONG_AGO) == AbandonmentCounts(None, (), 0)
        later = await store.abandonment(CAMPAIGN, NOON_UTC + timedelta(minutes=1))
        assert (later.started_s, [bucket.start_s for bucket in later.buckets]) == (NOON_S, [NOON_S + 900])


@pytest.mark.usefixtures("hang_limit")
async def test_given_a_result_that_is_written_again_when_counted_then_its_person_counts_once(world):
    world.add()
    async with world.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
        attempt = attempt_for(chain, 1)
        await store.begin_attempts([attempt])
        result = result_of(attempt, person=person(None))
        assert [await store.finish_attempt(result) for _ in range(3)] == [True, False, False]
        assert (await store.abandonment(CAMPAIGN, LONG_AGO)).buckets == (AbandonmentBucket(NOON_S, 1, 1, 0),)


@pytest.mark.usefixtures("hang_limit")
async def test_given_two_nodes_when_each_counts_then_both_read_the_sum_and_see_who_else_dials(world):
    for _ in range(4):
        world.add()
    async with world.store("a") as one, world.store("b") as other:
        for number, store in enumerate((one, other)):
            first, second = await store.claim_chains(LIST, GROUP, 2, NOON_UTC)
            attempt = attempt_for(first, 10 + number)
            await store.begin_attempts([attempt])
            assert await store.finish_attempt(result_of(attempt, person=person(None if number else 0.1)))
            assert second.chain_id in world.claims()
        for store in (one, other):
            assert await store.abandonment(CAMPAIGN, LONG_AGO, [GROUP]) == AbandonmentCounts(
                NOON_S, (AbandonmentBucket(NOON_S, 2, 1, 0),), 1
            )
            assert (await store.abandonment(CAMPAIGN, LONG_AGO, [GROUP + 1])).others == 0


# --- kill -9 around the write -----------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys, trio
from ocsd.lists import abandonment, journal
from ocsd.lists.postgres import open_store
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, attempt_for, configuration, result_of
from tests.ocsd.test_abandonment import person

dsn, step = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

add = abandonment.add

def counted_then_killed(*given):
    add(*given)
    die()

if step == "before the ledger":
    abandonment.add = die
elif step == "before the commit":
    abandonment.add = counted_then_killed

async def main():
    async with open_store(configuration(dsn), node="n") as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
        attempt = attempt_for(chain, 1)
        await store.begin_attempts([attempt])
        await store.finish_attempt(result_of(attempt, person=person(None)))
        die()

trio.run(main)
"""


@pytest.mark.usefixtures("hang_limit")
@pytest.mark.parametrize("step", ["before the ledger", "before the commit", "after the commit"])
async def test_given_a_daemon_killed_between_result_and_ledger_when_settled_then_the_person_is_counted_once(
    postgres, database, step
):
    postgres.add()
    child = await trio.run_process([sys.executable, "-c", CHILD, database, step], check=False, cwd=os.getcwd())
    assert child.returncode == -signal.SIGKILL
    async with postgres.store("n") as store:
        left = await store.open_attempts()
        counted = (await store.abandonment(CAMPAIGN, LONG_AGO)).buckets
        # Result and person are on disk together, or neither is.
        assert (len(left), counted) == (
            (0, (AbandonmentBucket(NOON_S, 1, 1, 0),)) if step == "after the commit" else (1, ())
        )
        for attempt in left:
            again = result_of(attempt, person=person(None))  # OpenAttempt names the record as NewAttempt does
            assert await store.finish_attempt(again)
        assert (await store.abandonment(CAMPAIGN, LONG_AGO)).buckets == (AbandonmentBucket(NOON_S, 1, 1, 0),)


# --- SQL --------------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a/1", "a/2", "b/1"]),
            st.integers(1, 3),
            st.one_of(st.none(), st.floats(0.0, 4.0)),
            st.floats(-100.0, 100.0),
        ),
        max_size=12,
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_given_people_of_several_runs_and_campaigns_when_counted_then_sums_are_right(database, entries):
    with psycopg.connect(database) as conn:
        for owner, campaign, wait_s, minutes in entries:
            add(conn, owner, [(campaign, person(wait_s, minutes))])
        for campaign in (1, 2, 3):
            found = [person(wait_s, minutes) for _, dbid, wait_s, minutes in entries if dbid == campaign]
            told = counts(conn, campaign, LONG_AGO)
            assert sum(bucket.people for bucket in told.buckets) == len(found)
            assert sum(bucket.abandoned for bucket in told.buckets) == sum(one.abandoned for one in found)
            assert sum(bucket.late for bucket in told.buckets) == sum(one.late for one in found)
            assert [bucket.start_s for bucket in told.buckets] == sorted(
                {int(one.at.timestamp()) // 900 * 900 for one in found}
            )
        conn.rollback()


def test_given_the_name_of_a_run_when_asked_then_its_node_is_told():
    assert [node_of(owner) for owner in ("host/0123", "a/b/0123", "host")] == ["host", "a/b", "host"]


def test_given_attempts_of_an_earlier_version_when_migrated_then_the_window_does_not_begin_anew(postgres_dsn):
    name = f"old_{os.getpid()}"
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    try:
        with psycopg.connect(postgres_dsn, dbname=name, autocommit=True) as conn:
            migrate(conn)
            conn.execute("DROP TABLE ocsd.abandonment")
            conn.execute("DELETE FROM ocsd.migration WHERE version = 50")
            conn.execute("INSERT INTO ocsd.instance (owner, node) VALUES ('n/1', 'n')")
            at = datetime(2026, 3, 3, 17, 1, tzinfo=UTC)
            for number, (agent_at, gone_at, finished_at) in enumerate(
                [(at, None, at), (at, None, at), (None, at, at), (None, None, at), (at, None, None)], start=1
            ):
                conn.execute(
                    "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id,"
                    " campaign_dbid, campaign_group_dbid, phone, leg_id, started_at, agent_answered_at, abandoned_at,"
                    " finished_at) VALUES (%s, '', 'n/1', 't', 1, 1, 1, 401, 501, '1', '', %s, %s, %s, %s)",
                    (number, at, agent_at, gone_at, finished_at),
                )
            migrate(conn)
            assert counts(conn, CAMPAIGN, LONG_AGO).buckets == (AbandonmentBucket(NOON_S, 3, 1, 0),)
    finally:
        with psycopg.connect(postgres_dsn, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
