"""What survives: kills after each durable step, a killed database server, concurrent claimers, overload."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psycopg
import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs

from ocsd.config.objects import Database
from ocsd.lists import embedded
from ocsd.lists.batcher import Batcher
from ocsd.lists.embedded import Account, EmbeddedPostgres, first_closed_folder
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.lists.migrate import Migration, migrate, migrations
from ocsd.lists.pool import connection_string, open_database
from ocsd.lists.postgres import open_store
from ocsd.lists.store import ClaimLost
from ocsd.lists.tables import create_table
from ocsd.model.enums import RecordStatus
from ocsd.model.errors import ConfigError, StoreUnavailable
from ocsd.model.records import FinishedAttempt, NewAttempt
from tests.ocsd.list_worlds import (
    FILTERED_LIST,
    GROUP,
    LIST,
    NOON_UTC,
    PostgresWorld,
    attempt_for,
    configuration,
    result_of,
)

HANG_LIMIT_S = 90.0


@pytest.fixture
def world(database):
    world = PostgresWorld(database)
    yield world
    world.conn.close()


@pytest.fixture(scope="module")
def killable_folder():
    folder = Path(tempfile.mkdtemp(prefix="ocsd-test-"))
    os.chmod(folder, 0o755)
    yield folder / "postgres"
    shutil.rmtree(folder)


@pytest.fixture
def server(killable_folder):
    """An embedded server that the test may kill, its database empty."""
    server = EmbeddedPostgres(killable_folder)
    with psycopg.connect(server.start(), autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS ocsd CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    yield server
    server.stop()


# -- kill -9 of the daemon after each durable step -------------------------------------------------------------------

CHILD = """
import os, signal, sys, trio
from ocsd.lists.postgres import open_store
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, attempt_for, configuration, result_of

async def main(dsn, step):
    def die_after(name):
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)
    async with open_store(configuration(dsn), node="n") as store:
        first, second = await store.claim_chains(LIST, GROUP, 2, NOON_UTC)
        die_after("claim")
        await store.begin_attempts([attempt_for(first, 1)])
        die_after("begin")
        await store.mark_connected(1, NOON_UTC, "5001")
        await store.finish_attempt(result_of(attempt_for(second, 999)))  # unknown: only waits for the mark
        die_after("mark")
        await store.finish_attempt(result_of(attempt_for(first, 1)))
        die_after("finish")

trio.run(main, sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("step", ["claim", "begin", "mark", "finish"])
async def test_given_a_daemon_killed_after_a_step_when_restarted_then_nothing_is_lost_or_dialed_twice(
    world, database, step
):
    first, second = world.add(), world.add()
    run = [sys.executable, "-c", CHILD, database, step]
    child = await trio.run_process(run, check=False, cwd=os.getcwd())
    assert child.returncode == -signal.SIGKILL
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store("n") as store:
            released = await store.recover_claims()
            open_attempts = await store.open_attempts()
            chains = await store.claim_chains(LIST, GROUP, 10, NOON_UTC)
            undialed = [chain.records[0].record_id for chain in chains]
            if step == "claim":
                assert (released, open_attempts, undialed) == (2, [], [first, second])
            elif step in ("begin", "mark"):
                assert (released, undialed) == (1, [second])
                (attempt,) = open_attempts
                assert (attempt.attempt_id, attempt.agent_id) == (1, "5001" if step == "mark" else None)
                settled = FinishedAttempt(
                    **{
                        name: getattr(result_of(attempt), name)  # OpenAttempt names the record as NewAttempt does
                        for name in FinishedAttempt.__dataclass_fields__
                    }
                    | {"interrupted": True}
                )
                assert await store.finish_attempt(settled)
                assert world.row(first)["record_status"] == RecordStatus.UPDATED
            else:
                assert (released, open_attempts, undialed) == (1, [], [second])
                assert world.row(first)["record_status"] == RecordStatus.UPDATED
                assert await store.finish_attempt(result_of(attempt_for(chains[0], 1))) is False
            assert set(world.claims().values()) == {store.owner}


# -- kill -9 of the database server ----------------------------------------------------------------------------------


async def asked_again(ask):
    """The answer of a server that may be on its way back."""
    while True:
        try:
            return await ask()
        except StoreUnavailable:
            await trio.sleep(0.05)


async def test_given_a_server_killed_during_writes_when_it_is_back_then_every_result_is_written_once(server):
    config = configuration(server.dsn)
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        migrate(conn)
        create_table(conn, config, config.calling_lists[0])
        conn.execute("INSERT INTO customers (contact_info) SELECT '+1212555' || n FROM generate_series(1000, 1399) n")
    written: list[int] = []
    config = config.model_copy(update={"database": Database()})
    with trio.fail_after(HANG_LIMIT_S), capture_logs() as logs:
        async with open_store(config, server, node="n") as store:
            chains = await store.claim_chains(LIST, GROUP, 400, NOON_UTC)
            assert len(chains) == 400
            attempts = [attempt_for(chain, number) for number, chain in enumerate(chains, start=1)]
            await store.begin_attempts(attempts)

            async def finish(attempt: NewAttempt) -> None:
                assert await store.finish_attempt(result_of(attempt))
                written.append(attempt.attempt_id)

            for kill_at, wave in ((50, attempts[:150]), (0, attempts[150:300]), (99, attempts[300:])):
                async with trio.open_nursery() as nursery:
                    for place, attempt in enumerate(wave):
                        nursery.start_soon(finish, attempt)
                        if place == kill_at:
                            await trio.lowlevel.checkpoint()  # the writer has the first results in hand
                            while (pid := server.server_pid()) is None:  # noqa: ASYNC110 - a process, no event
                                await trio.sleep(0.01)  # it is being started again since the wave before
                            os.kill(pid, signal.SIGKILL)
            assert sorted(written) == list(range(1, 401))
            assert store.unwritten_results == 0
            assert not await store.finish_attempt(result_of(attempts[0]))
            # A server process may outlive its postmaster for a moment, long enough to write the last results; then it
            # is this question that meets the loss of its connection.
            assert await asked_again(store.open_attempts) == []
    assert "postgres.restarted" in {entry["event"] for entry in logs}
    with psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT count(*), max(attempt), min(attempt) FROM customers").fetchone() == (400, 1, 1)
        assert conn.execute("SELECT count(*) FROM customers WHERE record_status = 3").fetchone() == (400,)
        assert conn.execute("SELECT count(*) FROM ocsd.claim").fetchone() == (0,)


async def test_given_no_database_when_an_attempt_begins_then_it_is_refused_and_results_wait_until_it_is_back(server):
    config = configuration(server.dsn)  # as an external server: nobody restarts it for us
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        migrate(conn)
        create_table(conn, config, config.calling_lists[0])
        conn.execute("INSERT INTO customers (contact_info) VALUES ('+12125550100'), ('+12125550101')")
    with trio.fail_after(HANG_LIMIT_S):
        async with open_store(config, node="n") as store:
            first, second = await store.claim_chains(LIST, GROUP, 2, NOON_UTC)
            await store.begin_attempts([attempt_for(first, 1)])
            await trio.to_thread.run_sync(server.stop)
            for call in (
                lambda: store.begin_attempts([attempt_for(second, 2)]),
                lambda: store.claim_chains(LIST, GROUP, 1, NOON_UTC),
                lambda: store.give_back([second]),
                lambda: store.open_attempts(),
                lambda: store.recover_claims(),
                lambda: store.counts(LIST, NOON_UTC),
            ):
                with pytest.raises(StoreUnavailable):
                    await call()
            results: list[bool] = []

            async def finish() -> None:
                results.append(await store.finish_attempt(result_of(attempt_for(first, 1))))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(finish)
                await trio.testing.wait_all_tasks_blocked()
                assert store.unwritten_results == 1
                await trio.to_thread.run_sync(server.start)
            assert results == [True]
            assert [attempt.attempt_id for attempt in await store.open_attempts()] == []


async def test_given_a_store_that_is_cancelled_when_it_closes_then_queued_results_are_written(world):
    world.add()
    with trio.fail_after(HANG_LIMIT_S):
        with trio.CancelScope() as scope:
            async with world.store() as store:
                (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
                await store.begin_attempts([attempt_for(chain, 1)])
                scope.cancel()
                await store.finish_attempt(result_of(attempt_for(chain, 1)))  # queued or refused by the cancel
        async with world.store() as store:
            if await store.open_attempts():  # the cancel came before the queue took it: start-up settles it
                await store.recover_claims()
                await store.finish_attempt(result_of(attempt_for(chain, 1)))
            assert world.claims() == {}


async def test_given_a_claim_that_is_cancelled_when_the_store_goes_on_then_no_chain_is_stuck(world):
    for _ in range(20):
        world.add()
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            async with trio.open_nursery() as nursery:
                for _ in range(6):
                    nursery.start_soon(store.claim_chains, LIST, GROUP, 2, NOON_UTC)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            assert len(await store.claim_chains(LIST, GROUP, 50, NOON_UTC)) == 20


async def test_given_a_long_statement_when_its_caller_is_cancelled_then_the_server_ends_it(database):
    with trio.fail_after(HANG_LIMIT_S):
        async with open_database(lambda: database, size=2, statement_timeout_s=60.0) as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.execute, "SELECT pg_sleep(50)")
                running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
                running += " AND state = 'active' AND datname = current_database()"
                while await pool.transaction(lambda conn: conn.execute(running).fetchone()) != (1,):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert await pool.transaction(lambda conn: conn.execute(running).fetchone()) == (0,)


def backend(conn):
    return conn.execute("SELECT pg_backend_pid()").fetchone()


async def test_given_a_session_whose_statement_was_cancelled_when_the_pool_goes_on_then_it_is_not_used_again(database):
    with trio.fail_after(HANG_LIMIT_S):
        async with open_database(lambda: database, size=1, statement_timeout_s=60.0) as pool:
            first = await pool.transaction(backend)
            assert await pool.transaction(backend) == first
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(pool.execute, "SELECT pg_sleep(50)")
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            # A cancel request may arrive late: it must find nobody.
            assert await pool.transaction(backend) != first


async def test_given_several_idle_sessions_when_used_in_turn_then_it_is_always_the_last_one_used(database):
    with trio.fail_after(HANG_LIMIT_S):
        async with open_database(lambda: database, size=3, statement_timeout_s=60.0) as pool:
            found = set()

            barrier = threading.Barrier(3, timeout=HANG_LIMIT_S)

            def together(conn):
                barrier.wait()
                return backend(conn)

            async def use() -> None:
                found.add(await pool.transaction(together))

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(use)
            assert len(found) == 3
            last = await pool.transaction(backend)
            assert {await pool.transaction(backend) for _ in range(5)} == {last}


async def test_given_reads_and_writes_on_one_session_when_run_in_turn_then_only_the_reads_cannot_write(database):
    write = "CREATE TABLE IF NOT EXISTS written ()"
    with trio.fail_after(HANG_LIMIT_S):
        async with open_database(lambda: database, size=1, statement_timeout_s=60.0) as pool:
            await pool.execute(write)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                await pool.transaction(lambda conn: conn.execute(write), read_only=True)
            await pool.execute("DROP TABLE written")


async def test_given_a_statement_past_its_limit_when_run_then_the_store_is_unavailable_and_goes_on(database):
    with trio.fail_after(HANG_LIMIT_S):
        async with open_database(lambda: database, size=1, statement_timeout_s=0.05) as pool:
            with pytest.raises(StoreUnavailable, match="statement timeout"):
                await pool.execute("SELECT pg_sleep(50)")
            await pool.execute("SELECT 1")
            with pytest.raises(psycopg.errors.UndefinedTable):  # our bug stays what it is
                await pool.execute("SELECT * FROM nowhere")


async def test_given_a_broken_result_when_written_with_good_ones_then_only_its_caller_hears_of_it(world):
    world.add()
    world.add()
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            first, second = await store.claim_chains(LIST, GROUP, 2, NOON_UTC)
            await store.begin_attempts([attempt_for(first, 1), attempt_for(second, 2)])
            outcomes: dict[str, object] = {}

            async def finish(name: str, finished: FinishedAttempt) -> None:
                try:
                    outcomes[name] = await store.finish_attempt(finished)
                except psycopg.Error as error:
                    outcomes[name] = type(error)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(finish, "bad", result_of(attempt_for(first, 1), sip_status=99_999))
                nursery.start_soon(finish, "good", result_of(attempt_for(second, 2)))
            assert outcomes["good"] is True
            assert outcomes["bad"] is psycopg.errors.NumericValueOutOfRange
            with capture_logs() as logs:  # a desktop field that does not fit keeps no result from the disk
                assert await store.finish_attempt(result_of(attempt_for(first, 1), updates={"customer_name": "x" * 99}))
            assert [entry["event"] for entry in logs] == ["record.update_refused"]
            assert world.row(first.records[0].record_id)["record_status"] == RecordStatus.UPDATED


# -- filters ---------------------------------------------------------------------------------------------------------


async def test_given_a_filter_when_claimed_then_its_rows_come_in_its_order(world):
    rows = {"Ada": 2000, "Al": 500, "Bob": 9000, "Ann": 3000}
    ids = {name: world.add(customer_name=name, balance=balance) for name, balance in rows.items()}
    with trio.fail_after(HANG_LIMIT_S):
        async with world.store() as store:
            chains = await store.claim_chains(FILTERED_LIST, GROUP, 10, NOON_UTC)
            assert [chain.records[0].record_id for chain in chains] == [ids["Ann"], ids["Ada"]]
            rest = await store.claim_chains(LIST, GROUP, 10, NOON_UTC)
            assert [chain.records[0].record_id for chain in rest] == [ids["Al"], ids["Bob"]]


@pytest.mark.parametrize(
    "criteria",
    [
        "nonsense >",
        "no_such_column = 1",
        "balance > 0 AND set_config('a.b', 'c', false) = nextval('ocsd.attempt_id')::text",
    ],
)
async def test_given_a_filter_that_is_wrong_or_writes_when_claimed_then_the_operator_is_told(database, criteria):
    base = configuration(database)
    broken = base.filters[0].model_copy(update={"criteria": criteria})
    config = base.model_copy(update={"filters": (broken,)})
    with psycopg.connect(database, autocommit=True) as conn:
        create_table(conn, config, config.calling_lists[0])
        conn.execute("INSERT INTO customers (contact_info, balance) VALUES ('+12125550100', 5)")
    with trio.fail_after(HANG_LIMIT_S):
        async with open_store(config, node="n") as store:
            try:
                with pytest.raises(ConfigError, match="Rich"):
                    await store.claim_chains(FILTERED_LIST, GROUP, 1, NOON_UTC)
            finally:
                assert len(await store.claim_chains(LIST, GROUP, 1, NOON_UTC)) == 1


# -- migrations ------------------------------------------------------------------------------------------------------


def test_given_two_daemons_when_both_migrate_an_empty_database_then_each_migration_runs_once(postgres_dsn):
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE twice")
    dsn = psycopg.conninfo.make_conninfo(postgres_dsn, dbname="twice")
    applied: list[list[int]] = []

    def run() -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            applied.append(migrate(conn))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(itertools.chain(*applied)) == [migration.version for migration in migrations()]
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("UPDATE ocsd.migration SET checksum = 'x' WHERE version = 1")
        with pytest.raises(ConfigError, match="0001"):
            migrate(conn)
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE twice WITH (FORCE)")


def test_given_a_migration_that_takes_longer_than_a_statement_may_when_migrated_then_it_is_applied(
    database, monkeypatch
):
    slow = Migration(9999, "slow", "SELECT pg_sleep(0.3)")
    monkeypatch.setattr("ocsd.lists.migrate.migrations", lambda: [slow])
    with psycopg.connect(connection_string(database, statement_timeout_s=0.1), autocommit=True) as conn:
        assert migrate(conn) == [9999]
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute(slow.text)


def test_given_a_database_that_cannot_hold_every_text_when_migrated_then_the_operator_is_told(postgres_dsn):
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    dsn = psycopg.conninfo.make_conninfo(postgres_dsn, dbname="latin")
    with psycopg.connect(dsn, autocommit=True) as conn, pytest.raises(ConfigError, match="LATIN1"):
        migrate(conn)
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE latin WITH (FORCE)")


def test_given_an_environment_of_another_encoding_when_connected_then_texts_are_utf_8(database, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with psycopg.connect(connection_string(database, statement_timeout_s=1)) as conn:
        assert conn.execute("SELECT %s", ("Łódź",)).fetchone() == ("Łódź",)


# -- the embedded server ---------------------------------------------------------------------------------------------


def test_given_two_users_of_a_server_when_one_stops_then_the_other_keeps_it(server):
    second = EmbeddedPostgres(server.folder)
    assert second.start() == server.dsn
    assert second.stop() is False
    assert server.server_pid() is not None
    assert server.stop() is True
    assert server.server_pid() is None
    assert server.stop() is False


def test_given_a_killed_server_when_ensured_then_it_runs_again_with_its_data(server):
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 1 AS one")
    assert server.ensure_running() is False
    os.kill(server.server_pid(), signal.SIGKILL)
    while server.server_pid() is not None:
        pass
    assert server.ensure_running() is True
    with psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT one FROM kept").fetchone() == (1,)


def test_given_a_pid_file_of_a_stranger_when_started_then_the_server_starts(server):
    server.stop()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (server.folder / "data" / "postmaster.pid").write_text(f"{child.pid}\n{server.folder}/data\n1\n5432\n\n\n")
        server.start()
        assert server.server_pid() not in (None, child.pid)
    finally:
        child.communicate()


def test_given_a_long_folder_when_started_then_the_socket_moves_to_a_short_private_one():
    folder = Path(tempfile.mkdtemp(prefix="ocsd-test-"))
    os.chmod(folder, 0o755)
    server = EmbeddedPostgres(folder / ("x" * 120))
    try:
        host = Path(psycopg.conninfo.conninfo_to_dict(server.start())["host"])
        assert folder not in host.parents
        assert host.stat().st_mode & 0o077 == 0
        with psycopg.connect(server.dsn) as conn:
            assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
    finally:
        server.stop()
        shutil.rmtree(folder)
    assert not host.exists()


def test_given_a_closed_parent_when_checked_then_the_folder_in_the_way_is_named(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    tmp_path.chmod(0o755)
    (tmp_path / "a").chmod(0o700)
    stranger = Account("stranger", 54321, 54321)
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & 0o001:
            assert first_closed_folder(inner, stranger) is not None
            return
    assert first_closed_folder(inner, stranger) == tmp_path / "a"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
def test_given_root_and_a_closed_parent_when_started_then_the_error_says_what_to_do(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="may not enter"):
        EmbeddedPostgres(closed / "postgres").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
def test_given_binaries_in_a_closed_folder_when_started_then_a_copy_of_them_serves(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    real = embedded.binary_folder()
    package = real.parent.parent
    for name in (package.name, f"{package.name}.libs"):
        (closed / name).symlink_to(package.with_name(name))
    inside = closed / package.name / real.parent.name / "bin"
    monkeypatch.setattr(embedded, "binary_folder", lambda: inside)
    folder = Path(tempfile.mkdtemp(prefix="ocsd-test-"))
    os.chmod(folder, 0o755)
    server = EmbeddedPostgres(folder / "postgres")
    try:
        server.start()
        assert Path(f"/proc/{server.server_pid()}/exe").resolve().is_relative_to(folder)
    finally:
        server.stop()
        shutil.rmtree(folder)


# -- the batcher -----------------------------------------------------------------------------------------------------


async def test_given_a_full_queue_when_more_comes_then_callers_wait_and_all_is_written_in_order(autojump_clock):
    written: list[int] = []

    async def write(batch):
        await trio.sleep(1.0)
        written.extend(batch)
        return [True] * len(batch)

    batcher = Batcher(write, keep_when_unavailable=False, max_batch=3, max_waiting=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        for number in range(10):
            await batcher.post(number)
        await batcher.drain()
    assert written == list(range(10))


async def test_given_cancelled_callers_when_waiting_or_being_written_then_their_fate_is_known(autojump_clock):
    written: list[str] = []

    async def write(batch):
        await trio.sleep(1.0)
        written.extend(batch)
        return [True] * len(batch)

    batcher = Batcher(write, keep_when_unavailable=False, max_batch=1, max_waiting=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as callers:
                for name in ("being written", "waiting"):
                    callers.start_soon(lambda name=name: batcher.submit(name, withdraw_on_cancel=True))
                    await trio.testing.wait_all_tasks_blocked()
        assert written == ["being written"]
        with trio.move_on_after(0.5):
            await batcher.submit("result", withdraw_on_cancel=False)
        await batcher.drain()
    assert written == ["being written", "result"]


# -- any order of claims, dials, results, crashes --------------------------------------------------------------------


class ListMachine(RuleBasedStateMachine):
    """Random daemons on one memory database: no chain in two hands, every claim ends."""

    def __init__(self) -> None:
        super().__init__()
        self.database = MemoryDatabase(configuration())
        for chain_id in range(1, 6):
            for chain_n in range(1 + chain_id % 2):
                self.database.add_record(LIST, contact_info="+12125550100", chain_id=chain_id, chain_n=chain_n)
        self.stores = [MemoryListStore(self.database, node=f"n{place}") for place in range(2)]
        self.held: dict[int, tuple[int, object]] = {}  # chain id -> (store, chain)
        self.dialing: dict[int, NewAttempt] = {}  # chain id -> open attempt
        self.dials: dict[int, int] = {}

    def call(self, function, *args):
        return trio.run(function, *args)

    @rule(place=st.integers(0, 1), limit=st.integers(1, 3))
    def claim(self, place, limit):
        for chain in self.call(self.stores[place].claim_chains, LIST, GROUP, limit, NOON_UTC):
            assert chain.chain_id not in self.held, "handed out twice"
            assert chain.chain_id not in self.dialing, "claimed while being dialed"
            self.held[chain.chain_id] = (place, chain)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data):
        chain_id = data.draw(st.sampled_from(sorted(self.held)))
        if chain_id not in self.dialing:
            place, chain = self.held.pop(chain_id)
            self.call(self.stores[place].give_back, [chain])

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def dial(self, data):
        chain_id = data.draw(st.sampled_from(sorted(self.held)))
        if chain_id in self.dialing:
            return
        place, chain = self.held[chain_id]
        (attempt_id,) = self.call(self.stores[place].next_attempt_ids, 1)
        attempt = attempt_for(chain, attempt_id)
        self.call(self.stores[place].begin_attempts, [attempt])
        self.dialing[chain_id] = attempt

    @precondition(lambda self: self.dialing)
    @rule(data=st.data(), status=st.sampled_from([RecordStatus.UPDATED, RecordStatus.READY]))
    def finish(self, data, status):
        chain_id = data.draw(st.sampled_from(sorted(self.dialing)))
        attempt = self.dialing.pop(chain_id)
        place = self.held.pop(chain_id, (0, None))[0]
        finished = result_of(attempt, record_status=status, sibling_status=status)
        assert self.call(self.stores[place].finish_attempt, finished) is True
        assert self.call(self.stores[place].finish_attempt, finished) is False
        self.dials[attempt.record_id] = self.dials.get(attempt.record_id, 0) + 1

    @rule(place=st.integers(0, 1))
    def crash_and_restart(self, place):
        old = self.stores[place]
        self.stores[place] = MemoryListStore(self.database, node=f"n{place}")
        lost = {chain_id for chain_id, (owner, _) in self.held.items() if owner == place}
        self.call(self.stores[place].recover_claims)
        for chain_id in lost:
            _, chain = self.held[chain_id]
            if chain_id not in self.dialing:
                del self.held[chain_id]
            with pytest.raises(ClaimLost):
                self.call(old.begin_attempts, [attempt_for(chain, 10**9)])

    @invariant()
    def claims_and_rows_agree(self):
        retrieved = {
            row.record.chain_id
            for row in self.database.rows(LIST).values()
            if row.record_status is RecordStatus.RETRIEVED
        }
        claimed = {chain_id for _, chain_id in self.database.claims}
        assert retrieved == claimed == set(self.held)
        for row in self.database.rows(LIST).values():
            assert row.record.attempt == self.dials.get(row.record.record_id, 0)
            assert row.record.attempt <= 3

    def teardown(self):
        for chain_id in list(self.dialing):
            self.call(self.stores[0].finish_attempt, result_of(self.dialing.pop(chain_id)))
        for place in range(2):
            self.crash_and_restart(place)
        assert self.database.claims == {}


ListMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestListMachine = ListMachine.TestCase
