"""Requests of treatments between the result's transaction and their delivery, on both stores."""

from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest
import trio

from ocsd.lists import outbox
from ocsd.lists.memory_results import MemoryOutbox
from ocsd.lists.outbox import LEASE_S, Outbox
from ocsd.lists.pool import open_database
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import ChainChange, HttpRequest
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, MemoryWorld, PostgresWorld, result_of
from tests.ocsd.result_worlds import dialed, result_configuration, settlement_of

HANG_LIMIT_S = 60.0


class MemoryPost:
    """A memory world with its clock and outbox."""

    def __init__(self) -> None:
        self.world = MemoryWorld(result_configuration())
        self.now = NOON_UTC
        self.world.database.now = lambda: self.now

    @asynccontextmanager
    async def outbox(self):
        yield MemoryOutbox(self.world.database)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def later(self, seconds: float):
        return self.now + timedelta(seconds=seconds)

    def kept(self):
        return [
            (kept.last_error, kept.done_at is not None, kept.given_up_at is not None)
            for kept in self.world.database.journal.outbox.values()
        ]


class PostgresPost:
    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.world = PostgresWorld(dsn, result_configuration())

    @asynccontextmanager
    async def outbox(self):
        async with open_database(lambda: self.dsn, size=2, statement_timeout_s=20.0) as database:
            yield Outbox(database)

    def pass_time(self, seconds: float) -> None:
        # The server's clock cannot be moved; what is due moves towards it instead.
        self.world.conn.execute(
            "UPDATE ocsd.outbox SET next_try_at = next_try_at - make_interval(secs => %s)", (seconds,)
        )

    def later(self, seconds: float):
        row = self.world.conn.execute("SELECT now() + make_interval(secs => %s) AS at", (seconds,)).fetchone()
        return row["at"]

    def kept(self):
        rows = self.world.conn.execute("SELECT * FROM ocsd.outbox ORDER BY item_id").fetchall()
        return [(row["last_error"], row["done_at"] is not None, row["given_up_at"] is not None) for row in rows]


@pytest.fixture(params=["memory", "postgres"])
def post(request):
    if request.param == "memory":
        yield MemoryPost()
        return
    post = PostgresPost(request.getfixturevalue("database"))
    yield post
    post.world.conn.close()


@pytest.fixture(autouse=True)
async def hang_limit():
    with trio.fail_after(HANG_LIMIT_S):
        yield


async def written(post, count: int = 1) -> None:
    """As many requests as asked for, by results and a decision."""
    async with post.world.store() as store:
        for number in range(count):
            post.world.add()
            (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
            request = HttpRequest(12 + number, f"http://127.0.0.1/{number}", {"number": number})
            if number % 2:
                change = ChainChange(RecordStatus.UPDATED, RecordType.GENERAL)
                await store.settle_chain(settlement_of(chain, change, requests=(request,)))
            else:
                await store.finish_attempt(result_of(await dialed(store, chain), requests=(request,)))


async def test_given_written_requests_when_taken_then_each_comes_once_with_its_content(post):
    await written(post, 3)
    async with post.outbox() as queue:
        first = await queue.take(2)
        second = await queue.take(2)
        assert await queue.take(2) == []
    items = first + second
    assert [(item.treatment_dbid, item.url, item.body, item.tries) for item in items] == [
        (12 + number, f"http://127.0.0.1/{number}", {"number": number}, 1) for number in range(3)
    ]
    assert len({item.key for item in items}) == 3


async def test_given_a_taker_that_died_when_its_lease_ends_then_the_item_comes_again_with_the_same_key(post):
    await written(post)
    async with post.outbox() as queue:
        (item,) = await queue.take(9)
        post.pass_time(LEASE_S - 20)
        assert await queue.take(9) == []
        post.pass_time(40)
        (again,) = await queue.take(9)
        assert (again.item_id, again.key, again.tries) == (item.item_id, item.key, 2)


async def test_given_a_delivered_item_when_time_passes_then_it_never_comes_again(post):
    await written(post)
    async with post.outbox() as queue:
        (item,) = await queue.take(9)
        await queue.delivered(item.item_id)
        await queue.failed(item.item_id, "too late", post.later(0))
        post.pass_time(10 * LEASE_S)
        assert await queue.take(9) == []
    assert post.kept() == [(None, True, False)]


async def test_given_a_failed_item_when_it_is_due_again_then_it_comes_then_and_not_before(post):
    await written(post)
    async with post.outbox() as queue:
        (item,) = await queue.take(9)
        await queue.failed(item.item_id, "503 Service Unavailable", post.later(1000))
        post.pass_time(900)
        assert await queue.take(9) == []
        assert post.kept() == [("503 Service Unavailable", False, False)]
        post.pass_time(200)
        assert [again.tries for again in await queue.take(9)] == [2]


async def test_given_an_item_that_is_given_up_when_time_passes_then_it_stays_for_the_operator(post):
    await written(post)
    async with post.outbox() as queue:
        (item,) = await queue.take(9)
        await queue.failed(item.item_id, "410 Gone", None)
        post.pass_time(10 * LEASE_S)
        assert await queue.take(9) == []
    assert post.kept() == [("410 Gone", False, True)]


async def test_given_no_database_when_asked_then_the_outbox_is_unavailable(post):
    async with post.outbox() as queue:
        if isinstance(post, MemoryPost):
            post.world.database.available = False
        else:
            post.dsn = post.dsn.replace("dbname=", "dbname=missing_")
        with pytest.raises(StoreUnavailable):
            await queue.take(1)


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(database):
    post = PostgresPost(database)
    yield post
    post.world.conn.close()


async def test_given_two_takers_at_once_when_one_has_locked_items_then_the_other_passes_them(real, database):
    await written(real, 3)
    with psycopg.connect(database) as first, psycopg.connect(database) as second:
        mine = outbox.due(first, 2)
        others = outbox.due(second, 2)  # does not wait for the first one's commit
        assert [len(mine), len(others)] == [2, 1]
        assert {item.item_id for item in mine}.isdisjoint(item.item_id for item in others)


async def test_given_delivered_items_when_forgotten_then_only_those_go(real):
    await written(real, 3)
    async with real.outbox() as queue:
        items = await queue.take(9)
        await queue.delivered(items[0].item_id)
        await queue.failed(items[1].item_id, "410 Gone", None)
        assert await queue.forget(real.later(-1000), 9) == 0
        assert await queue.forget(real.later(1000), 9) == 1
    assert real.kept() == [("410 Gone", False, True), (None, False, False)]


async def test_given_more_delivered_items_than_asked_for_when_forgotten_then_the_oldest_go_and_locked_ones_stay(
    real, database
):
    await written(real, 4)
    async with real.outbox() as queue:
        items = await queue.take(9)
        for item in reversed(items):
            await queue.delivered(item.item_id)
        with psycopg.connect(database) as other:
            other.execute("SELECT FROM ocsd.outbox WHERE item_id = %s FOR UPDATE", (items[3].item_id,))
            assert await queue.forget(real.later(1000), 2) == 2
            kept = real.world.conn.execute("SELECT item_id FROM ocsd.outbox ORDER BY item_id").fetchall()
            assert [row["item_id"] for row in kept] == [items[0].item_id, items[3].item_id]
            assert await queue.forget(real.later(1000), 2) == 1
        assert await queue.forget(real.later(1000), 2) == 1
        assert await queue.forget(real.later(1000), 2) == 0


async def test_given_a_result_that_cannot_be_written_when_its_transaction_fails_then_no_request_exists(real):
    real.world.add()
    async with real.world.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 1, NOON_UTC)
        attempt = await dialed(store, chain)
        request = HttpRequest(12, "http://127.0.0.1/", {})
        with pytest.raises(psycopg.errors.NumericValueOutOfRange):
            await store.finish_attempt(result_of(attempt, sip_status=99_999, requests=(request,)))
        assert real.kept() == []
        assert await store.finish_attempt(result_of(attempt, requests=(request,)))
    assert real.kept() == [(None, False, False)]
