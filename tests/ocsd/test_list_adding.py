"""AddRecord in the lists: new chains, existing ones, claimed ones; many at once. Memory store and PostgreSQL."""

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
import trio

from ocsd.lists.adding import BUSY_LIMIT_S, KEPT_STATEMENTS, Busy, Joined, Member, _insertion, join, until_taken
from ocsd.lists.store import AddRefused, ChainMissing, RecordExists
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import AddedRecord, ChainSettlement, NewRecord, Portion, Selector, Withdrawal
from tests.ocsd.list_worlds import (
    GROUP,
    LIST,
    NOON_UTC,
    MemoryWorld,
    PostgresWorld,
    attempt_for,
    result_of,
)

HANG_LIMIT_S = 60.0
World = MemoryWorld | PostgresWorld
NOW_S = int(NOON_UTC.timestamp())
TOMORROW_S = NOW_S + 86_400
READY, RETRIEVED, UPDATED = (int(RecordStatus.READY), int(RecordStatus.RETRIEVED), int(RecordStatus.UPDATED))


@pytest.fixture(params=["memory", "postgres"])
def world(request):
    if request.param == "memory":
        yield MemoryWorld()
        return
    world = PostgresWorld(request.getfixturevalue("database"))
    yield world
    world.conn.close()


@pytest.fixture
def postgres(request):
    world = PostgresWorld(request.getfixturevalue("database"))
    yield world
    world.conn.close()


@pytest.fixture(autouse=True)
async def hang_limit():
    with trio.fail_after(HANG_LIMIT_S):
        yield


def new(**changes) -> NewRecord:
    values = {
        "list_dbid": LIST,
        "contact_info": "+12125550142",
        "contact_info_type": 2,
        "record_type": RecordType.GENERAL,
        "record_status": RecordStatus.READY,
        "daily_from_s": 9 * 3600,
        "daily_till_s": 18 * 3600,
        "tz_dbid": 11,
    }
    return NewRecord(**(values | changes))


async def claimed(store, limit=10, now=NOON_UTC):
    return await store.claim_chains(LIST, GROUP, limit, now)


def ids(chains):
    return [[record.record_id for record in chain.records] for chain in chains]


def outcome(chain, **changes) -> ChainSettlement:
    attempt = result_of(attempt_for(chain, 1), **changes)
    return ChainSettlement(*chain.key, chain.record.record_id, attempt.change, "decided")


def callback(**changes):
    return {
        "record_status": RecordStatus.READY,
        "record_type": RecordType.CAMPAIGN_CALLBACK,
        "sibling_status": RecordStatus.READY,
        "sibling_type": RecordType.CAMPAIGN_CALLBACK,
        "dial_sched_time": TOMORROW_S,
        "treatments": "0@0@0@1",
    } | changes


# --- new chains -------------------------------------------------------------------------------------------------------


async def test_given_a_new_record_when_added_then_it_is_a_chain_of_its_own_with_all_its_values(world: World):
    first = world.add()
    async with world.store() as store:
        record = new(
            call_result=33, attempt=2, call_time=NOW_S - 60, dial_sched_time=NOW_S - 5, agent_id="ada",
            contact_info_type=4, user_fields={"customer_name": "Ada", "balance": 1.5, "score": -3},
        )  # fmt: skip
        added = await store.add_record(record)
        assert added.record_id != first
        (found,) = (await store.records(LIST, [added.record_id])).values()
        assert (found.chain_id, found.chain_n) == (added.chain_id, added.chain_n) == (added.chain_id, 0)
        assert (found.contact_info, found.contact_info_type) == ("+12125550142", 4)
        assert (found.call_result, found.attempt, found.call_time) == (33, 2, NOW_S - 60)
        assert (found.dial_sched_time, found.agent_id, found.treatments) == (NOW_S - 5, "ada", None)
        assert found.user_fields == {"customer_name": "Ada", "balance": 1.5, "score": -3}
        assert world.row(added.record_id)["record_status"] == READY
        other = await store.add_record(new())
        assert len({added.chain_id, other.chain_id}) == 2
        assert {tuple(chain) for chain in ids(await claimed(store))} == {
            (first,), (added.record_id,), (other.record_id,)
        }  # fmt: skip


async def test_given_many_callers_when_all_add_then_each_has_its_own_chain(world: World):
    added: list[AddedRecord] = []

    async def add(place: int) -> None:
        one = await store.add_record(new(user_fields={"score": place} if place % 2 else {}))
        added.append(one)
        row = world.row(one.record_id)
        assert row["score"] == (place if place % 2 else None)

    async with world.store() as store, trio.open_nursery() as nursery:
        for place in range(300):
            nursery.start_soon(add, place)
    assert len({one.record_id for one in added}) == len({one.chain_id for one in added}) == 300


# --- existing chains --------------------------------------------------------------------------------------------------


async def test_given_a_waiting_callback_when_a_record_joins_then_it_is_what_the_chain_is(world: World):
    columns = {"record_type": RecordType.PERSONAL_CALLBACK, "dial_sched_time": TOMORROW_S, "agent_id": "ada"}
    first = world.add(chain_id=7, treatments="0@0@0@1", **columns)
    world.add(chain_id=7, chain_n=4, record_status=RecordStatus.UPDATED)
    async with world.store() as store:
        added = await store.add_record(new(chain_id=7, agent_id="bob", dial_sched_time=NOW_S))
        assert (added.chain_id, added.chain_n) == (7, 5)
        row, model = world.row(added.record_id), world.row(first)
        for name in ("record_status", "record_type", "dial_sched_time", "agent_id", "treatments"):
            assert row[name] == model[name], name
        assert await claimed(store) == []
        (chain,) = await claimed_callbacks(store)
        assert ids([chain]) == [[first, added.record_id]]
        assert chain.record.record_id == first


async def claimed_callbacks(store):
    portions = (Portion(RecordType.PERSONAL_CALLBACK),)
    return await store.claim_chains(LIST, GROUP, 10, NOON_UTC + timedelta(days=1), portions)


async def test_given_a_finished_chain_when_a_record_joins_then_it_is_dialed_as_it_was_asked_for(world: World):
    world.add(chain_id=7, record_status=RecordStatus.UPDATED, record_type=RecordType.CAMPAIGN_CALLBACK)
    async with world.store() as store:
        added = await store.add_record(new(chain_id=7))
        assert ids(await claimed(store)) == [[added.record_id]]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"chain_id": 8}, ChainMissing),
        ({"chain_id": 7, "chain_n": 3}, RecordExists),
        ({"chain_id": 9}, AddRefused),
    ],
)
async def test_given_a_record_that_cannot_be_when_added_then_it_says_why_and_nothing_is_written(
    world: World, changes, error
):
    world.add(chain_id=7, chain_n=3)
    world.add(chain_id=9, chain_n=2**31 - 1)
    async with world.store() as store:
        with pytest.raises(error):
            await store.add_record(new(**changes))
        assert sum(map(len, ids(await claimed(store)))) == 2


async def test_given_a_free_place_when_named_then_the_record_gets_it(world: World):
    world.add(chain_id=7, chain_n=3)
    async with world.store() as store:
        assert (await store.add_record(new(chain_id=7, chain_n=1))).chain_n == 1
        assert (await store.add_record(new(chain_id=7))).chain_n == 4


async def test_given_many_callers_when_all_add_to_few_chains_then_no_two_have_the_same_place(world: World):
    for chain_id in range(1, 6):
        world.add(chain_id=chain_id)
    added: list[AddedRecord] = []
    refused: list[int] = []

    async def add(store, place: int) -> None:
        try:
            added.append(await store.add_record(new(chain_id=1 + place % 5, chain_n=99 if place % 10 == 0 else None)))
        except RecordExists:
            refused.append(place)

    async with world.store("a") as first, world.store("b") as second, trio.open_nursery() as nursery:
        for place in range(100):
            nursery.start_soon(add, (first, second)[place % 2], place)
    assert len({(one.chain_id, one.chain_n) for one in added}) == len(added)
    assert (len(added), len(refused)) == (91, 9)  # of the ten that ask for place 99 in chain 1 one gets it


# --- claimed chains ---------------------------------------------------------------------------------------------------


async def test_given_a_claimed_chain_when_a_record_joins_then_it_is_dialed_once_the_claim_has_ended(world: World):
    first = world.add(chain_id=7)
    async with world.store("a") as store, world.store("b") as other:
        (chain,) = await claimed(store)
        added = await store.add_record(new(chain_id=7))
        assert world.row(added.record_id)["record_status"] == READY
        assert await claimed(store) == await claimed(other) == []
        attempt = attempt_for(chain, 1)
        await store.begin_attempts([attempt])
        assert await claimed(other) == []
        await store.finish_attempt(result_of(attempt))
        assert world.row(first)["record_status"] == UPDATED
        assert ids(await claimed(other)) == [[added.record_id]]
        assert ids(await claimed(store)) == []


async def test_given_a_claimed_chain_when_given_back_then_both_rows_are_claimed_together(world: World):
    first = world.add(chain_id=7)
    async with world.store() as store:
        chains = await claimed(store)
        added = await store.add_record(new(chain_id=7))
        await store.give_back(chains)
        assert world.claims() == {}
        assert ids(await claimed(store)) == [[first, added.record_id]]


async def test_given_a_record_that_joined_when_a_callback_was_agreed_then_it_waits_with_the_chain(world: World):
    first = world.add(chain_id=7)
    left_out = world.add(chain_id=7, chain_n=1)
    async with world.store() as store:
        world.change(left_out, record_status=RecordStatus.CANCELED)
        (chain,) = await claimed(store)
        world.change(left_out, record_status=RecordStatus.READY)  # as a filter leaves a row out
        added = await store.add_record(new(chain_id=7))
        assert await store.settle_chain(outcome(chain, **callback()))
        row = world.row(added.record_id)
        assert (row["record_status"], row["record_type"]) == (READY, RecordType.CAMPAIGN_CALLBACK)
        assert (row["dial_sched_time"], row["treatments"]) == (TOMORROW_S, "0@0@0@1")
        assert world.row(left_out)["record_type"] == RecordType.GENERAL  # "a broken chain goes on without those rows"
        assert world.row(first)["record_type"] == RecordType.CAMPAIGN_CALLBACK
        assert world.claims() == {}


async def test_given_a_record_that_joined_when_the_claim_is_kept_then_it_waits_with_it_and_is_dialed_in_the_end(
    world: World,
):
    world.add(chain_id=7)
    async with world.store() as store:
        (chain,) = await claimed(store)
        added = await store.add_record(new(chain_id=7))
        attempt = attempt_for(chain, 1)
        await store.begin_attempts([attempt])
        again = callback(record_type=RecordType.CAMPAIGN_RESCHEDULED, sibling_type=RecordType.CAMPAIGN_RESCHEDULED)
        again["dial_sched_time"] = NOW_S
        await store.finish_attempt(result_of(attempt, **again, keep_claim=True))
        assert [record.record_id for record in await store.chain(LIST, 7)] == [chain.record.record_id]
        row = world.row(added.record_id)
        assert (row["record_status"], row["record_type"]) == (READY, RecordType.CAMPAIGN_RESCHEDULED)
        assert await claimed(store) == []
        attempt = attempt_for(chain, 2)
        await store.begin_attempts([attempt])
        await store.finish_attempt(result_of(attempt))
        found = []
        for _ in range(3):  # a row that waits for another one is looked for piece by piece
            found += ids(await claimed(store))
        assert found == [[added.record_id]]


async def test_given_a_record_that_joined_when_its_chain_is_cancelled_by_handle_then_it_goes_too(world: World):
    first = world.add(chain_id=7)
    left_out = world.add(chain_id=7, chain_n=1, record_status=RecordStatus.CANCELED)
    async with world.store() as store:
        await claimed(store)
        world.change(left_out, record_status=RecordStatus.READY)
        added = await store.add_record(new(chain_id=7, contact_info="+12125550143"))
        rows = await store.withdraw([LIST], Selector(record=(LIST, first), all_chain=True), Withdrawal.CANCEL)
        assert {row.record_id for row in rows} == {first, added.record_id}
        assert world.row(left_out)["record_status"] == READY


async def test_given_claims_results_and_adds_at_once_when_all_is_over_then_every_row_was_dialed_once(world: World):
    chains = 12
    for chain_id in range(1, chains + 1):
        world.add(chain_id=chain_id)
    added: list[int] = []
    dialed: list[int] = []
    adding_ended = trio.Event()

    async def add(store) -> None:
        for place in range(60):
            one = await store.add_record(new(chain_id=1 + place % chains))
            added.append(one.record_id)

    async def dial(store) -> None:
        idle = 0
        while idle < 3:
            over = adding_ended.is_set()
            taken = await claimed(store, 4)
            idle = idle + 1 if over and not taken else 0
            for chain in taken:
                (attempt_id,) = await store.next_attempt_ids(1)
                attempt = replace(attempt_for(chain, attempt_id))
                await store.begin_attempts([attempt])
                dialed.extend(record.record_id for record in chain.records)
                await store.finish_attempt(result_of(attempt))

    async with world.store("a") as first, world.store("b") as second, trio.open_nursery() as nursery:
        nursery.start_soon(dial, first)
        nursery.start_soon(dial, second)
        async with trio.open_nursery() as adders:
            for store in (first, second, first):
                adders.start_soon(add, store)
        adding_ended.set()
    assert len(dialed) == len(set(dialed)) == chains + 180
    assert set(added) <= set(dialed)
    assert world.claims() == {}


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


async def test_given_bad_rows_among_good_ones_when_added_together_then_only_the_bad_ones_are_refused(
    postgres: PostgresWorld,
):
    postgres.conn.execute(
        "ALTER TABLE customers ADD CHECK (score <> 13), ADD UNIQUE (contact_info) DEFERRABLE INITIALLY DEFERRED"
    )
    postgres.conn.execute(
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.score = 14 THEN RETURN NULL; END IF;"
        " IF NEW.score = 15 THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$"
    )
    postgres.conn.execute(
        "CREATE TRIGGER leave_out BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION leave_out()"
    )
    bad = {
        13: {"user_fields": {"score": 13}},
        14: {"user_fields": {"score": 14}},
        15: {"user_fields": {"score": 15}},
        16: {"user_fields": {"customer_name": "x" * 41}},
        17: {"user_fields": {"customer_name": "a\0b"}},
        18: {"contact_info": "+12125559001"},
        19: {"agent_id": "x" * 33},
        20: {"attempt": 2**40},
        21: {"user_fields": {"customer_name": "\ud800"}},
    }
    outcomes: dict[int, str] = {}

    async def add(place: int) -> None:
        record = new(**({"contact_info": f"+1212555{9000 + place}"} | bad.get(place, {})))
        try:
            await store.add_record(record)
            outcomes[place] = "added"
        except AddRefused as error:
            outcomes[place] = str(error)

    async with postgres.store() as store:
        await add(1)
        async with trio.open_nursery() as nursery:
            for place in range(2, 60):
                nursery.start_soon(add, place)
    assert {place for place, what in outcomes.items() if what != "added"} == set(bad)
    assert "not this one" in outcomes[15]
    count = postgres.conn.execute("SELECT count(*) FROM customers").fetchone()
    assert count is not None
    assert count["count"] == 59 - len(bad)


async def test_given_a_row_in_somebodys_hands_when_a_record_joins_its_chain_then_it_waits_and_others_do_not(
    postgres: PostgresWorld, database
):
    busy = postgres.add(chain_id=7)
    postgres.add(chain_id=8)
    joined: list[int] = []

    async def add(chain_id: int) -> None:
        joined.append((await store.add_record(new(chain_id=chain_id))).chain_id)

    async with postgres.store() as store:
        with psycopg.connect(database) as conn:
            conn.execute("SELECT FROM customers WHERE record_id = %s FOR UPDATE", (busy,))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(add, 7)
                nursery.start_soon(add, 8)
                async with trio.open_nursery() as waiting:
                    waiting.start_soon(until, lambda: joined == [8])
                conn.commit()
        assert joined == [8, 7]


async def test_given_a_chain_that_stays_busy_when_a_record_joins_then_it_is_given_up_without_being_written(
    autojump_clock,
):
    asked: list[float] = []

    async def busy() -> Busy:
        asked.append(trio.current_time())
        return Busy()

    with pytest.raises(StoreUnavailable):
        await until_taken(busy)
    assert asked[1] - asked[0] < 0.05
    assert BUSY_LIMIT_S <= asked[-1] - asked[0] < BUSY_LIMIT_S + 1.0


async def until(check) -> None:
    while not check():  # noqa: ASYNC110 - another connection's doing
        await trio.sleep(0.01)


async def test_given_an_answer_lost_after_the_commit_when_the_server_is_back_then_the_record_is_there_once(
    postgres: PostgresWorld, monkeypatch
):
    async with postgres.store() as store:
        real, lost = store.database.transaction, []

        async def lossy(fn, *, read_only=False):
            result = await real(fn, read_only=read_only)
            if not lost and not read_only:
                lost.append(fn)
                raise StoreUnavailable("the answer is lost")
            return result

        monkeypatch.setattr(store.database, "transaction", lossy)
        added = await store.add_record(new())
        assert lost
        assert ids(await claimed(store)) == [[added.record_id]]


async def test_given_no_answer_and_no_commit_when_the_server_is_back_then_the_caller_hears_that_nothing_is_there(
    postgres: PostgresWorld, monkeypatch
):
    async with postgres.store() as store:
        real = store.database.transaction

        async def broken(fn, *, read_only=False):
            if read_only:
                return await real(fn, read_only=True)

            def run(conn):
                with conn.transaction(force_rollback=True):
                    fn(conn)
                conn.execute("SELECT 1/0")

            try:
                return await real(run)
            except psycopg.errors.DivisionByZero:
                raise StoreUnavailable("the answer is lost") from None

        with monkeypatch.context() as patch:
            patch.setattr(store.database, "transaction", broken)
            with pytest.raises(StoreUnavailable):
                await store.add_record(new())
        assert await claimed(store) == []


async def test_given_a_lost_server_when_it_is_back_then_the_store_knows_without_being_asked(postgres: PostgresWorld):
    async with postgres.store() as store:
        assert store.available
        with pytest.raises(StoreUnavailable):
            await store.database.transaction(lambda conn: conn.execute("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert not store.available
        await until(lambda: store.available)


async def test_given_joining_rows_when_their_chain_is_mixed_then_what_a_daemon_holds_decides():
    held = Member(1, 2, RETRIEVED, RecordType.CAMPAIGN_RESCHEDULED, 5, None, "1@1@2@1")
    left_out = Member(2, 0, READY, RecordType.GENERAL, None, "ada", None)
    no_call = Member(3, 1, UPDATED, RecordType.NO_CALL, None, None, None)
    taken = replace(new(chain_id=7), record_type=RecordType.CAMPAIGN_RESCHEDULED, dial_sched_time=5)
    assert join(new(chain_id=7), [left_out, no_call, held]) == Joined(taken, 3, "1@1@2@1")
    final = new(chain_id=7, record_status=RecordStatus.UPDATED, agent_id="bob")
    assert join(final, [left_out, held]) == Joined(final, 3)


async def test_given_a_row_that_a_constraint_refuses_when_added_then_the_row_as_the_table_has_it_is_not_told(postgres):
    postgres.conn.execute("ALTER TABLE customers ADD COLUMN secret text DEFAULT 'hush', ADD CHECK (score < 5)")
    async with postgres.store() as store:
        with pytest.raises(AddRefused, match="violates check constraint") as refused:
            await store.add_record(new(user_fields={"score": 9}))
        assert "hush" not in str(refused.value)
        assert "555" not in str(refused.value)


async def test_given_peers_that_name_ever_other_fields_when_added_then_memory_stays_bounded():
    for place in range(2 * KEPT_STATEMENTS):
        _insertion("customers", False, ((f"field_{place}", "text"),))
    assert _insertion.cache_info().currsize == KEPT_STATEMENTS
