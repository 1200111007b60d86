"""Records taken out of the lists: cancel and Do-Not-Call, on both stores, and against claims and results under way."""

from dataclasses import replace

import psycopg
import pytest
import trio

from ocsd.lists import claiming, withdrawing
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.records import ChainChange, Selector, Withdrawal
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, MemoryWorld, PostgresWorld, attempt_for, result_of
from tests.ocsd.result_worlds import (
    OTHER_LIST,
    PLAIN_LIST,
    World,
    chain_of,
    dialed,
    result_configuration,
    settlement_of,
)

HANG_LIMIT_S = 60.0
ALL_LISTS = (LIST, OTHER_LIST, PLAIN_LIST)
CANCEL, DO_NOT_CALL = Withdrawal.CANCEL, Withdrawal.DO_NOT_CALL
CANCELED, NO_CALL = (5, 2, 52), (3, 7, 51)
READY, RETRIEVED, UPDATED = (1, 2, 28), (2, 2, 28), (3, 2, 28)
PHONE = "+12125557777"


@pytest.fixture(params=["memory", "postgres"])
def world(request):
    if request.param == "memory":
        yield MemoryWorld(result_configuration())
        return
    world = PostgresWorld(request.getfixturevalue("database"), result_configuration())
    yield world
    world.conn.close()


@pytest.fixture(autouse=True)
async def hang_limit():
    with trio.fail_after(HANG_LIMIT_S):
        yield


def states(world: World, *record_ids: int, of: int = LIST) -> list[tuple[int, ...]]:
    rows = [world.row(record_id, of) for record_id in record_ids]
    return [tuple(int(row[name]) for name in ("record_status", "record_type", "call_result")) for row in rows]


@pytest.mark.parametrize(
    ("withdrawal", "all_chain", "expected"),
    [
        (CANCEL, True, [CANCELED, CANCELED, CANCELED]),
        (CANCEL, False, [UPDATED, CANCELED, UPDATED]),
        (DO_NOT_CALL, True, [NO_CALL, NO_CALL, NO_CALL]),
        (DO_NOT_CALL, False, [READY, NO_CALL, READY]),
    ],
)
@pytest.mark.parametrize("way", ["record", "phone", "customer"])
async def test_given_a_chain_when_withdrawn_then_it_becomes_what_the_manual_says(
    world: World, withdrawal, all_chain, expected, way
):
    columns = [{}, {"contact_info": PHONE, "customer_no": "C7"}, {}]
    ids = [world.add(chain_id=5, chain_n=chain_n, **given) for chain_n, given in enumerate(columns)]
    done = world.add(chain_id=5, chain_n=9, record_status=RecordStatus.UPDATED, call_result=6)
    stranger = world.add(chain_id=6, customer_no="C70")
    selector = {
        "record": Selector(record=(LIST, ids[1]), all_chain=all_chain),
        "phone": Selector(phone=PHONE, all_chain=all_chain),
        "customer": Selector(customer_id="C7", all_chain=all_chain),
    }[way]
    async with world.store() as store:
        found = await store.withdraw(ALL_LISTS, selector, withdrawal)
        assert states(world, *ids) == expected
        assert states(world, done, stranger) == [(3, 2, 6), READY]
        changed = [record_id for record_id, state in zip(ids, expected, strict=True) if state != READY]
        assert [(entry.list_dbid, entry.record_id, entry.chain_id) for entry in found] == [
            (LIST, record_id, 5) for record_id in changed
        ]
        assert not any(entry.claimed for entry in found)
        assert {entry.phone for entry in found if entry.record_id == ids[1]} == {PHONE}
        assert await store.withdraw(ALL_LISTS, selector, withdrawal) == []


@pytest.mark.parametrize("selector", [Selector(phone=PHONE), Selector(customer_id="42")])
async def test_given_several_lists_when_withdrawn_by_phone_or_customer_then_all_tables_are_searched_once(
    world: World, selector
):
    first = world.add(contact_info=PHONE, customer_no="42")
    second = world.add(to=OTHER_LIST, contact_info=PHONE, customer_no=42)
    async with world.store() as store:
        assert await store.withdraw([], selector, CANCEL) == []
        found = await store.withdraw(ALL_LISTS, selector, CANCEL)
        assert {(entry.list_dbid, entry.record_id) for entry in found} == {(LIST, first), (OTHER_LIST, second)}
        assert states(world, first) + states(world, second, of=OTHER_LIST) == [CANCELED, CANCELED]


async def test_given_a_customer_that_a_table_cannot_hold_when_withdrawn_then_only_the_others_are_searched(world: World):
    first = world.add(customer_no="x'); DROP TABLE x--")
    world.add(to=OTHER_LIST, customer_no=42)
    async with world.store() as store:
        selector = Selector(customer_id="x'); DROP TABLE x--")
        assert [entry.record_id for entry in await store.withdraw(ALL_LISTS, selector, CANCEL)] == [first]
        assert await store.withdraw(ALL_LISTS, Selector(customer_id="9" * 30), CANCEL) == []


async def test_given_a_list_without_customers_when_withdrawn_by_customer_then_it_is_left_out(world: World):
    world.add(to=OTHER_LIST, customer_no=42)
    async with world.store() as store:
        assert await store.withdraw([PLAIN_LIST], Selector(customer_id="42"), CANCEL) == []
        assert len(await store.withdraw([PLAIN_LIST, OTHER_LIST], Selector(customer_id="42"), CANCEL)) == 1


async def test_given_a_record_of_another_list_when_withdrawn_then_nothing_happens(world: World):
    record_id = world.add()
    async with world.store() as store:
        assert await store.withdraw([OTHER_LIST], Selector(record=(LIST, record_id)), CANCEL) == []
        assert states(world, record_id) == [READY]


async def test_given_a_claimed_chain_when_withdrawn_then_the_holder_is_named_and_the_claim_stays(world: World):
    ids = [world.add(chain_id=5, chain_n=chain_n) for chain_n in range(2)]
    async with world.store() as store:
        chain = await chain_of(store, 5)
        found = await store.withdraw(ALL_LISTS, Selector(record=(LIST, ids[0])), DO_NOT_CALL)
        assert [(entry.record_id, entry.claimed) for entry in found] == [(ids[0], True), (ids[1], True)]
        assert states(world, *ids) == [NO_CALL, NO_CALL]
        assert world.claims() == {5: store.owner}
        await store.give_back([chain])
        assert states(world, *ids) == [NO_CALL, NO_CALL]
        assert world.claims() == {}


async def test_given_claims_are_spared_when_withdrawn_then_claimed_chains_are_only_reported(world: World):
    held = world.add(contact_info=PHONE)
    async with world.store() as store:
        await chain_of(store, 1)
        free = world.add(contact_info=PHONE)
        found = await store.withdraw(ALL_LISTS, Selector(phone=PHONE), CANCEL, spare_claimed=True)
        assert [(entry.record_id, entry.claimed) for entry in found] == [(held, True), (free, False)]
        assert states(world, held, free) == [RETRIEVED, CANCELED]


async def test_given_a_broken_chain_when_withdrawn_by_handle_then_only_what_was_loaded_goes(world: World):
    loaded = [world.add(chain_id=5, chain_n=chain_n) for chain_n in range(2)]
    async with world.store() as store:
        chain = await chain_of(store, 5)
        left_out = world.add(chain_id=5, chain_n=2, contact_info=PHONE)  # as a row that the filter does not admit
        await store.withdraw(ALL_LISTS, Selector(record=(LIST, loaded[0])), CANCEL)
        assert states(world, *loaded, left_out) == [CANCELED, CANCELED, READY]
        # By number it is not a matter of what was loaded.
        await store.withdraw(ALL_LISTS, Selector(phone=PHONE), CANCEL)
        assert states(world, left_out) == [CANCELED]
        assert await store.settle_chain(settlement_of(chain, ChainChange(RecordStatus.READY, RecordType.GENERAL)))
        assert (states(world, *loaded), world.claims()) == ([CANCELED, CANCELED], {})


async def test_given_a_record_that_has_ended_when_withdrawn_by_handle_then_its_chain_goes(world: World):
    ended = world.add(chain_id=5, chain_n=0, record_status=RecordStatus.UPDATED, call_result=33)
    waiting = world.add(chain_id=5, chain_n=1, contact_info=PHONE)
    async with world.store() as store:
        found = await store.withdraw(ALL_LISTS, Selector(record=(LIST, ended)), DO_NOT_CALL)
        assert [entry.record_id for entry in found] == [waiting]
        assert states(world, ended, waiting) == [(3, 2, 33), NO_CALL]


# -- against others, on PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture
def real(database):
    world = PostgresWorld(database, result_configuration())
    yield world
    world.conn.close()


async def test_given_claims_results_and_withdrawals_at_once_when_all_are_done_then_nothing_withdrawn_is_dialed(real):
    chains, phones = 60, {}
    for chain_id in range(1, chains + 1):
        for chain_n in range(3):
            record_id = real.add(chain_id=chain_id, chain_n=chain_n)
            phones[record_id] = f"+1{2125550100 + (chain_id - 1) * 3 + chain_n}"
    dialed_after: list[int] = []
    gone: set[int] = set()

    async def dial(store) -> None:
        while taken := await store.claim_chains(LIST, GROUP, 4, NOON_UTC):
            for chain in taken:
                forbidden = {record.record_id for record in chain.records} & gone
                (attempt_id,) = await store.next_attempt_ids(1)
                attempt = attempt_for(chain, attempt_id)
                if await store.begin_attempts([attempt]):
                    await store.settle_chain(
                        settlement_of(chain, ChainChange(RecordStatus.UPDATED, RecordType.GENERAL))
                    )
                    continue
                dialed_after.extend(forbidden & {attempt.record_id})
                await store.finish_attempt(result_of(attempt))

    async def withdraw(store, numbers) -> None:
        for number in numbers:
            found = await store.withdraw(ALL_LISTS, Selector(phone=number), DO_NOT_CALL)
            gone.update(entry.record_id for entry in found)

    everybody = sorted(phones.values())
    async with real.store("a") as first, real.store("b") as second:
        async with trio.open_nursery() as nursery:
            for store in (first, second):
                nursery.start_soon(dial, store)
                nursery.start_soon(withdraw, store, everybody[::4])
                nursery.start_soon(withdraw, store, everybody[1::4])
    assert dialed_after == []
    assert gone
    assert real.claims() == {}
    rows = real.conn.execute("SELECT record_id, record_status, record_type FROM customers").fetchall()
    assert {row["record_status"] for row in rows} <= {3}
    assert {row["record_id"] for row in rows if row["record_type"] == RecordType.NO_CALL} == gone
    deadlocks = real.conn.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks.fetchone() == {"deadlocks": 0}


async def test_given_a_row_that_came_and_went_during_a_search_when_claimed_then_no_claim_is_left_without_rows(
    real, monkeypatch
):
    real.add(chain_id=5)
    search = claiming.search
    # Between the statements of a search another daemon held the chain: its rows are not among the members.
    monkeypatch.setattr(claiming, "search", lambda *args, **kwargs: replace(search(*args, **kwargs), member_ids=()))
    async with real.store() as store:
        assert await store.claim_chains(LIST, GROUP, 1, NOON_UTC) == []
        assert real.claims() == {}


async def test_given_a_row_that_somebody_holds_when_withdrawn_then_no_other_row_is_held_meanwhile(real, database):
    first, second = real.add(chain_id=5, chain_n=0), real.add(chain_id=5, chain_n=1)
    with psycopg.connect(database) as holder:
        holder.execute("SELECT FROM customers WHERE record_id = %s FOR UPDATE", (second,))
        async with real.store() as store, trio.open_nursery() as nursery:
            nursery.start_soon(store.withdraw, ALL_LISTS, Selector(record=(LIST, first)), CANCEL)
            waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while real.conn.execute(waiting).fetchone()["n"] != 1:
                await trio.lowlevel.checkpoint()
            # With anything held this would wait for the withdrawal, and the withdrawal for it.
            holder.execute("SELECT FROM customers WHERE record_id = %s FOR UPDATE NOWAIT", (first,))
            holder.rollback()
        assert states(real, first, second) == [CANCELED, CANCELED]


async def test_given_a_result_under_way_when_withdrawn_then_the_withdrawal_comes_after_it(real, database):
    first, second = real.add(chain_id=5, chain_n=0), real.add(chain_id=5, chain_n=1)
    async with real.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        await store.finish_attempt(result_of(attempt, record_status=RecordStatus.READY))
        found = await store.withdraw(ALL_LISTS, Selector(record=(LIST, second)), DO_NOT_CALL)
        assert [(entry.record_id, entry.claimed) for entry in found] == [(first, False), (second, False)]
        assert states(real, first, second) == [(3, 7, 51), (3, 7, 51)]


async def test_given_many_rows_when_withdrawn_then_every_look_up_uses_an_index(real):
    with psycopg.connect(real.conn.info.dsn, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO customers (contact_info, customer_no)"
            " SELECT '+1212555' || n, 'C' || n FROM generate_series(1000, 20999) AS n"
        )
        conn.execute("ANALYZE customers")
        for selector in (Selector(phone="+12125551234"), Selector(customer_id="C1234"), Selector(record=(LIST, 235))):
            with conn.transaction(force_rollback=True):
                before = _scans(conn)
                assert len(withdrawing.withdraw(conn, real.config, ALL_LISTS, selector, CANCEL)) == 1
                conn.execute("SELECT pg_stat_force_next_flush()")
            assert _scans(conn) == before


def _scans(conn) -> int:
    return conn.execute("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'customers'").fetchone()[0]


@pytest.mark.parametrize("customer_id", ["--5", "-", "5-", "+5", "\u0665", "0" * 300 + "5", ""])
async def test_given_a_customer_that_is_nearly_a_number_when_withdrawn_then_nobody_is_found_and_nothing_fails(
    world: World, customer_id
):
    world.add(to=OTHER_LIST, customer_no=7)
    async with world.store() as store:
        assert await store.withdraw([OTHER_LIST], Selector(customer_id=customer_id), DO_NOT_CALL) == []


async def test_given_results_past_the_manuals_when_a_number_is_forbidden_then_its_rows_leave_all_the_same(world: World):
    chain = [
        world.add(chain_id=5, chain_n=0, contact_info=PHONE, call_result=2**31 - 1),
        world.add(chain_id=5, chain_n=1, call_result=2**31 - 1),
    ]
    async with world.store() as store:
        assert len(await store.withdraw([LIST], Selector(phone=PHONE, all_chain=False), CANCEL)) == 2
        assert states(world, *chain) == [CANCELED, (3, 2, 2**31 - 1)]
