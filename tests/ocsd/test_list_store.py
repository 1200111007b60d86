"""The contract of ListStore: every test runs on the memory store and on PostgreSQL."""

from dataclasses import replace
from datetime import timedelta

import pytest
import trio

from ocsd.lists.store import ClaimLost
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import AttemptTimes
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


@pytest.fixture(params=["memory", "postgres"])
def world(request):
    if request.param == "memory":
        yield MemoryWorld()
        return
    world = PostgresWorld(request.getfixturevalue("database"))
    yield world
    world.conn.close()


@pytest.fixture(autouse=True)
async def hang_limit():
    with trio.fail_after(HANG_LIMIT_S):
        yield


async def claimed(store, limit=10, now=NOON_UTC):
    return await store.claim_chains(LIST, GROUP, limit, now)


def ids(chains):
    return [[record.record_id for record in chain.records] for chain in chains]


async def test_given_ready_rows_when_claimed_then_they_are_retrieved_with_all_their_fields(world: World):
    record_id = world.add(customer_name="Ada", balance=12.5, contact_info="+12125550123", contact_info_type=4)
    async with world.store() as store:
        (chain,) = await claimed(store)
        (record,) = chain.records
        assert (chain.list_dbid, chain.chain_id) == (LIST, record.chain_id)
        assert (record.list_dbid, record.record_id, record.contact_info) == (LIST, record_id, "+12125550123")
        assert (record.contact_info_type, record.record_type, record.call_result) == (4, RecordType.GENERAL, 28)
        assert (record.attempt, record.dial_sched_time, record.call_time, record.chain_n) == (0, None, None, 0)
        assert (record.daily_from_s, record.daily_till_s, record.tz_dbid) == (9 * 3600, 18 * 3600, 11)
        assert (record.agent_id, record.treatments) == (None, None)
        assert record.user_fields == {"customer_name": "Ada", "balance": 12.5, "score": None}
        assert world.row(record_id)["record_status"] == RecordStatus.RETRIEVED
        assert world.claims() == {chain.chain_id: store.owner}


async def test_given_claimed_chains_when_claimed_again_then_each_chain_came_once(world: World):
    all_ids = [world.add() for _ in range(7)]
    async with world.store("a") as first, world.store("b") as second:
        got = ids(await claimed(first, 3)) + ids(await claimed(second, 3)) + ids(await claimed(first, 3))
        assert got == [[record_id] for record_id in all_ids]
        assert await claimed(second) == []


async def test_given_concurrent_claimers_when_all_claim_then_no_chain_is_handed_out_twice(world: World):
    for chain_id in range(1, 121):
        for chain_n in range(1 + chain_id % 3):
            world.add(chain_id=chain_id, chain_n=chain_n)
    got: list[int] = []

    async def claim_all(store) -> None:
        while chains := await claimed(store, 5):
            got.extend(chain.chain_id for chain in chains)

    async with world.store("a") as first, world.store("b") as second:
        async with trio.open_nursery() as nursery:
            for store in (first, second, first, second):
                nursery.start_soon(claim_all, store)
        got.extend(chain.chain_id for chain in await claimed(first, 200))  # what a lost race left behind
    assert sorted(got) == list(range(1, 121))


async def test_given_types_and_schedules_when_claimed_then_callbacks_come_first_and_the_oldest_schedule_wins(
    world: World,
):
    now_s = int(NOON_UTC.timestamp())
    general = world.add()
    late = world.add(record_type=RecordType.CAMPAIGN_RESCHEDULED, dial_sched_time=now_s - 10)
    early = world.add(record_type=RecordType.CAMPAIGN_RESCHEDULED, dial_sched_time=now_s - 1000)
    callback = world.add(record_type=RecordType.CAMPAIGN_CALLBACK, dial_sched_time=now_s)
    other_zone = world.add(record_type=RecordType.CAMPAIGN_RESCHEDULED, dial_sched_time=now_s - 500, tz_dbid=12)
    async with world.store() as store:
        assert ids(await claimed(store)) == [[callback], [early], [other_zone], [late], [general]]


async def test_given_a_callback_on_the_second_phone_when_claimed_then_its_chain_comes_first(world: World):
    general = world.add(chain_id=1)
    first = world.add(chain_id=2, chain_n=0)
    second = world.add(chain_id=2, chain_n=1, record_type=RecordType.CAMPAIGN_CALLBACK, tz_dbid=12)
    async with world.store() as store:
        assert ids(await claimed(store, 1)) == [[first, second]]
        assert ids(await claimed(store, 1)) == [[general]]


async def test_given_long_chains_when_claimed_then_as_many_chains_come_as_were_asked_for(world: World):
    for chain_id in range(1, 11):
        for chain_n in range(9):
            world.add(chain_id=chain_id, chain_n=chain_n)
    async with world.store() as store:
        chains = await claimed(store, 8)
        assert [chain.chain_id for chain in chains] == list(range(1, 9))
        assert {len(chain.records) for chain in chains} == {9}


@pytest.mark.parametrize(
    "columns",
    [
        {"record_status": RecordStatus.UPDATED},
        {"record_status": RecordStatus.RETRIEVED},
        {"record_type": RecordType.PERSONAL_CALLBACK},
        {"record_type": RecordType.PERSONAL_RESCHEDULED},
        {"record_type": RecordType.NO_CALL},
        {"attempt": 3},
        {"dial_sched_time": int(NOON_UTC.timestamp()) + 1, "record_type": RecordType.CAMPAIGN_CALLBACK},
        {"daily_from": 12 * 3600 + 1, "daily_till": 18 * 3600},
        {"daily_from": 9 * 3600, "daily_till": 12 * 3600},
        {"daily_from": 20 * 3600, "daily_till": 8 * 3600},
        {"daily_from": 12 * 3600, "daily_till": 12 * 3600},
        {"tz_dbid": 14},
    ],
)
async def test_given_a_row_that_a_gate_holds_back_when_claimed_then_it_stays_as_it_is(world: World, columns):
    record_id = world.add(**columns)
    dialable = world.add()
    before = world.row(record_id)
    async with world.store() as store:
        assert ids(await claimed(store)) == [[dialable]]
        assert world.row(record_id) == before


@pytest.mark.parametrize(
    "columns",
    [
        {"daily_from": 12 * 3600, "daily_till": 12 * 3600 + 1},
        {"daily_from": 20 * 3600, "daily_till": 12 * 3600 + 1},
        {"daily_from": 12 * 3600, "daily_till": 8 * 3600},
        {"daily_from": 22 * 3600, "daily_till": 2 * 3600, "tz_dbid": 14},
        {"daily_from": 0, "daily_till": 86400, "tz_dbid": 0},
        {"tz_dbid": 999},  # unknown zone: that of the list
        {"attempt": 2},
        {"dial_sched_time": 0},
    ],
)
async def test_given_a_row_just_inside_its_gates_when_claimed_then_it_is_taken(world: World, columns):
    record_id = world.add(**columns)
    async with world.store() as store:
        assert ids(await claimed(store)) == [[record_id]]


async def test_given_a_chain_with_closed_members_when_claimed_then_it_comes_whole_on_its_first_dialable_record(
    world: World,
):
    closed = world.add(chain_id=5, chain_n=0, daily_from=20 * 3600, daily_till=21 * 3600)
    third = world.add(chain_id=5, chain_n=3)
    second = world.add(chain_id=5, chain_n=1)
    personal = world.add(chain_id=5, chain_n=4, record_type=RecordType.PERSONAL_CALLBACK)
    done = world.add(chain_id=5, chain_n=2, record_status=RecordStatus.UPDATED)
    forbidden = world.add(chain_id=5, chain_n=6, record_type=RecordType.NO_CALL)
    rows = (closed, second, third, personal, done, forbidden)
    async with world.store() as store:
        (chain,) = await claimed(store)
        assert ids([chain]) == [[closed, second, third, personal]]
        assert (chain.position, chain.record.record_id) == (1, second)
        assert [world.row(record_id)["record_status"] for record_id in rows] == [2, 2, 2, 2, 3, 1]

        await store.give_back([chain])
        assert [world.row(record_id)["record_status"] for record_id in rows] == [1, 1, 1, 1, 3, 1]
        assert world.claims() == {}


async def test_given_a_chain_of_another_owner_when_given_back_then_nothing_changes(world: World):
    world.add()
    async with world.store("a") as first, world.store("b") as second:
        chains = await claimed(first)
        await second.give_back(chains)
        assert world.claims() == {chains[0].chain_id: first.owner}


async def test_given_an_attempt_when_finished_then_record_siblings_claim_and_attempt_are_settled(world: World):
    dialed = world.add(chain_id=9, chain_n=0)
    sibling = world.add(chain_id=9, chain_n=1)
    async with world.store() as store:
        (chain,) = await claimed(store)
        (attempt_id,) = await store.next_attempt_ids(1)
        attempt = attempt_for(chain, attempt_id)
        await store.begin_attempts([attempt])
        assert [opened.attempt_id for opened in await store.open_attempts()] == [attempt_id]

        finished = result_of(
            attempt,
            agent_id="5001",
            switch_dbid=101,
            sibling_result=int(CallResult.OK),
            updates={"customer_name": "Grace", "daily_from": 3600},
            evidence={"level_dbfs": -20.5, "bad": float("nan")},
            sip_status=200,
            q850_cause=16,
        )
        assert await store.finish_attempt(finished) is True

        row = world.row(dialed)
        assert (row["record_status"], row["call_result"], row["attempt"]) == (3, 33, 1)
        assert row["call_time"] == int(NOON_UTC.timestamp()) + 1
        assert (row["campaign_id"], row["agent_id"], row["switch_id"]) == (401, "5001", 101)
        assert (row["customer_name"], row["daily_from"]) == ("Grace", 3600)
        other = world.row(sibling)
        assert (other["record_status"], other["call_result"], other["attempt"]) == (3, 0, 0)
        assert world.claims() == {}
        assert await store.open_attempts() == []


async def test_given_a_finished_attempt_when_finished_again_then_false_and_nothing_changes(world: World):
    record_id = world.add()
    async with world.store() as store:
        (chain,) = await claimed(store)
        attempt = attempt_for(chain, 77)
        await store.begin_attempts([attempt])
        await store.begin_attempts([attempt])  # a repeated call is harmless
        assert await store.finish_attempt(result_of(attempt))
        before = world.row(record_id)
        again = result_of(attempt, call_result=int(CallResult.BUSY), record_status=RecordStatus.READY)
        assert await store.finish_attempt(again) is False
        assert await store.finish_attempt(result_of(attempt_for(chain, 9999))) is False
        assert world.row(record_id) == before


async def test_given_no_invite_left_when_finished_then_the_attempt_does_not_count(world: World):
    record_id = world.add()
    async with world.store() as store:
        (chain,) = await claimed(store)
        attempt = attempt_for(chain, 1)
        await store.begin_attempts([attempt])
        await store.finish_attempt(
            result_of(
                attempt,
                count_attempt=False,
                record_status=RecordStatus.READY,
                call_result=int(CallResult.NO_PORT_AVAILABLE),
                times=AttemptTimes(),
            )
        )
        row = world.row(record_id)
        assert (row["attempt"], row["call_time"], row["record_status"], row["call_result"]) == (0, None, 1, 44)
        assert ids(await claimed(store)) == [[record_id]]


async def test_given_the_next_in_chain_when_the_first_ends_then_the_chain_stays_claimed(world: World):
    first = world.add(chain_id=3, chain_n=0)
    second = world.add(chain_id=3, chain_n=1)
    now_s = int(NOON_UTC.timestamp())
    async with world.store() as store:
        (chain,) = await claimed(store)
        busy = attempt_for(chain, 1)
        await store.begin_attempts([busy])
        assert await store.finish_attempt(
            result_of(
                busy,
                call_result=int(CallResult.BUSY),
                record_status=RecordStatus.READY,
                record_type=RecordType.CAMPAIGN_RESCHEDULED,
                dial_sched_time=now_s + 600,
                keep_claim=True,
            )
        )
        assert await claimed(store) == []
        assert world.claims() == {3: store.owner}
        answered = attempt_for(chain, 2, place=1)
        await store.begin_attempts([answered])
        await store.finish_attempt(result_of(answered))
        assert world.claims() == {}
        # The chain ends as a whole; the schedule stays as the first result has left it.
        assert (world.row(first)["record_status"], world.row(first)["dial_sched_time"]) == (3, now_s + 600)
        assert (world.row(second)["record_status"], world.row(second)["dial_sched_time"]) == (3, now_s + 600)
        assert await claimed(store, now=NOON_UTC + timedelta(seconds=600)) == []


async def test_given_marks_when_a_restart_reads_open_attempts_then_they_are_there(world: World):
    world.add()
    async with world.store() as store:
        (chain,) = await claimed(store)
        attempt = attempt_for(chain, 5)
        await store.begin_attempts([attempt])
        await store.mark_answered(5, NOON_UTC + timedelta(seconds=4))
        await store.mark_connected(5, NOON_UTC + timedelta(seconds=6), "5002")
        # The queue keeps its order: a result that is written has the marks before it.
        assert await store.finish_attempt(result_of(attempt_for(chain, 12345))) is False
        (opened,) = await store.open_attempts()
    assert (opened.guid, opened.list_dbid, opened.record_id) == ("guid-5", LIST, attempt.record_id)
    assert (opened.phone, opened.leg_id, opened.started_at) == (attempt.phone, "leg-5", NOON_UTC)
    assert opened.answered_at == NOON_UTC + timedelta(seconds=4)
    assert (opened.connected_at, opened.agent_id) == (NOON_UTC + timedelta(seconds=6), "5002")


async def test_given_calls_that_showed_caller_ids_when_a_restart_asks_then_their_last_starts_are_known(world: World):
    shown = {1: "+1", 2: "+1", 3: "+2", 4: None, 5: "+1", 6: "+1"}
    for _ in shown:
        world.add()
    async with world.store() as store:
        chains = await claimed(store)
        attempts = [
            replace(
                attempt_for(chain, n), caller_id=shown[n], switch_dbid=7, started_at=NOON_UTC + timedelta(minutes=n)
            )
            for n, chain in zip(shown, chains, strict=True)
        ]
        await store.begin_attempts(attempts)
        await store.finish_attempt(result_of(attempts[4]))
        used = await store.caller_ids_used(NOON_UTC + timedelta(minutes=1), 2)
        opened = (await store.open_attempts())[0]
    assert used == {"+1": [NOON_UTC + timedelta(minutes=n) for n in (5, 6)], "+2": [NOON_UTC + timedelta(minutes=3)]}
    assert (opened.switch_dbid, opened.caller_id) == (7, "+1")


async def test_given_a_claim_that_was_lost_when_an_attempt_begins_then_it_is_refused(world: World):
    kept_id, lost_id = world.add(), world.add()
    async with world.store() as store:
        kept, lost = await claimed(store)
        await store.give_back([lost])
        with pytest.raises(ClaimLost):
            await store.begin_attempts([attempt_for(kept, 1), attempt_for(lost, 2)])
        assert await store.open_attempts() == []
        await store.begin_attempts([attempt_for(kept, 1)])
        assert [opened.record_id for opened in await store.open_attempts()] == [kept_id]
        assert world.row(lost_id)["record_status"] == 1


async def test_given_a_dead_run_of_this_node_when_recovered_then_undialed_chains_are_ready_and_dialed_ones_adopted(
    world: World,
):
    undialed, dialed = world.add(), world.add()
    async with world.store("node") as dead, world.store("other") as alive:
        first, second = await claimed(dead)
        await dead.begin_attempts([attempt_for(second, 8)])
        assert await alive.recover_claims() == 0  # another node, and the lease holds
        async with world.store("node") as reborn:
            assert await reborn.recover_claims() == 1
            assert await reborn.recover_claims() == 0
            assert world.row(undialed)["record_status"] == RecordStatus.READY
            assert world.row(dialed)["record_status"] == RecordStatus.RETRIEVED
            assert world.claims() == {second.chain_id: reborn.owner}
            with pytest.raises(ClaimLost):  # the dead one was only slow
                await dead.begin_attempts([attempt_for(first, 9)])
            (opened,) = await reborn.open_attempts()
            assert opened.attempt_id == 8
            assert await reborn.finish_attempt(result_of(attempt_for(second, 8), interrupted=True))
            assert world.claims() == {}


async def test_given_an_expired_lease_when_another_node_recovers_then_it_takes_only_chains_without_attempt(
    world: World,
):
    undialed, dialed = world.add(), world.add()
    async with world.store("gone") as gone, world.store("here") as here:
        _, second = await claimed(gone)
        await gone.begin_attempts([attempt_for(second, 8)])
        world.expire_leases()
        assert await here.recover_claims() == 1
        assert ids(await claimed(here)) == [[undialed]]
        assert world.row(dialed)["record_status"] == RecordStatus.RETRIEVED


async def test_given_rows_of_all_kinds_when_counted_then_figures_add_up(world: World):
    world.add(chain_id=1, chain_n=0)
    world.add(chain_id=1, chain_n=1)
    world.add(chain_id=2, tz_dbid=14)
    world.add(chain_id=3, record_status=RecordStatus.UPDATED, call_result=CallResult.BUSY)
    async with world.store() as store:
        counts = await store.counts(LIST, NOON_UTC)
    assert dict(counts.by_status_and_type) == {(1, 2): 3, (3, 2): 1}
    assert dict(counts.by_call_result) == {28: 3, 6: 1}
    assert (counts.ready_chains, counts.ready_in_window) == (2, 1)


async def test_given_many_requests_when_ids_are_reserved_then_they_are_unique(world: World):
    async with world.store("a") as first, world.store("b") as second:
        got = [*await first.next_attempt_ids(700), *await second.next_attempt_ids(3), *await first.next_attempt_ids(2)]
    assert len(set(got)) == 705


async def test_given_records_when_read_by_id_then_they_come_with_their_user_fields(world: World):
    first = world.add(customer_name="Ada", record_type=RecordType.CAMPAIGN_RESCHEDULED)
    world.add()
    async with world.store() as store:
        found = await store.records(LIST, [first, 999])
    assert list(found) == [first]
    assert found[first].record_type is RecordType.CAMPAIGN_RESCHEDULED
    assert found[first].user_fields["customer_name"] == "Ada"
    assert found[first].list_dbid == LIST


async def test_given_corrections_of_an_open_record_when_read_after_a_crash_then_the_last_of_each_counts(world: World):
    world.add()
    async with world.store() as store:
        (chain,) = await claimed(store)
        await store.begin_attempts([attempt_for(chain, 5)])
        await store.note_correction(5, 53, {"customer_name": "Ada", "score": 1})
        await store.note_correction(5, None, {"score": 2}, {"treatment": "campaign"})
        await store.note_correction(99, 1, {})  # unknown: nothing happens
        on_disk = await store.note_correction(5, None, {}, {"callback_type": 6, "callback_due": 1_800_000_000})
        await on_disk()
        (opened,) = await store.open_attempts()
        assert opened.desktop_result == 53
        assert opened.desktop_updates == {"customer_name": "Ada", "score": 2}
        asked = {"treatment": "campaign", "callback_type": 6, "callback_due": 1_800_000_000}
        assert opened.desktop_asks == asked
        await store.finish_attempt(result_of(attempt_for(chain, 5), updates=opened.desktop_updates))
        assert world.row(chain.records[0].record_id)["score"] == 2
