"""What a claim takes of chains, types and treatment states: every test runs on the memory store and on PostgreSQL."""

from datetime import timedelta

import pytest
import trio

from ocsd.lists import counting
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.records import Portion
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, MemoryWorld, PostgresWorld, configuration

HANG_LIMIT_S = 60.0
NOW_S = int(NOON_UTC.timestamp())
EVERYBODY = tuple(Portion(record_type) for record_type in RecordType)
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


async def claimed(store, portions=EVERYBODY, limit=10, now=NOON_UTC):
    return await store.claim_chains(LIST, GROUP, limit, now, portions)


def told(chains):
    return [([record.record_id for record in chain.records], chain.record.record_id) for chain in chains]


def alone(*record_ids):
    return [([record_id], record_id) for record_id in record_ids]


async def test_given_portions_when_claimed_then_each_gives_its_limit_in_the_given_order(world: World):
    general = [world.add() for _ in range(4)]
    callbacks = [world.add(record_type=RecordType.CAMPAIGN_CALLBACK, dial_sched_time=NOW_S - 9 + n) for n in range(3)]
    later = [world.add(record_type=RecordType.CAMPAIGN_RESCHEDULED, dial_sched_time=NOW_S - n) for n in range(3)]
    portions = (
        Portion(RecordType.GENERAL, limit=2),
        Portion(RecordType.CAMPAIGN_CALLBACK, limit=1),
        Portion(RecordType.CAMPAIGN_RESCHEDULED),
    )
    async with world.store() as store:
        assert told(await claimed(store, portions, limit=5)) == alone(
            general[0], general[1], callbacks[0], later[2], later[1]
        )
        assert told(await claimed(store, portions)) == alone(general[2], general[3], callbacks[1], later[0])
        assert told(await claimed(store, portions)) == alone(callbacks[2])
        assert await claimed(store, portions) == []


async def test_given_personal_records_when_claimed_for_agents_then_only_theirs_come(world: World):
    mine, yours, nobodys = (
        world.add(record_type=RecordType.PERSONAL_CALLBACK, dial_sched_time=NOW_S - 5, agent_id=agent)
        for agent in ("5001", "5002", None)
    )
    rescheduled = world.add(record_type=RecordType.PERSONAL_RESCHEDULED, agent_id="5001")

    def portions(*agents):
        return [
            Portion(record_type, agents=frozenset(agents))
            for record_type in (RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED)
        ]

    async with world.store() as store:
        assert await claimed(store, portions()) == []
        assert told(await claimed(store, portions("5001", "5009"))) == alone(mine, rescheduled)
        assert told(await claimed(store, portions("5001", "5002"))) == alone(yours)
        assert told(await claimed(store, [Portion(RecordType.PERSONAL_CALLBACK)])) == alone(nobodys)


@pytest.mark.parametrize("record_type", [RecordType.NO_CALL, RecordType.UNKNOWN, RecordType.NO_RECORD_TYPE])
async def test_given_a_type_that_is_never_dialed_when_asked_for_then_nothing_comes(world: World, record_type):
    record_id = world.add(chain_id=1, record_type=record_type)
    sibling = world.add(chain_id=1, chain_n=1)
    async with world.store() as store:
        assert await claimed(store, [Portion(record_type)]) == []
        assert told(await claimed(store)) == alone(sibling)
        assert world.row(record_id)["record_status"] == RecordStatus.READY


async def test_given_a_state_when_claimed_then_the_chain_is_on_the_record_that_it_names(world: World):
    first, second, third = (
        world.add(chain_id=4, chain_n=n, record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments="7@2@1@1")
        for n in range(3)
    )
    async with world.store() as store:
        assert told(await claimed(store)) == [([first, second, third], second)]


async def test_given_a_state_when_the_named_record_is_closed_then_the_chain_waits_for_it(world: World):
    rows = [
        world.add(
            chain_id=4,
            chain_n=n,
            record_type=RecordType.CAMPAIGN_CALLBACK,
            treatments="0@0@1@1",
            daily_from=(9 if n == 0 else 13) * 3600,
        )
        for n in range(2)
    ]
    async with world.store() as store:
        assert await claimed(store) == []
        assert told(await claimed(store, now=NOON_UTC + timedelta(hours=1))) == [(rows, rows[1])]


@pytest.mark.parametrize(
    "named",
    [
        {"record_status": RecordStatus.CANCELED},
        {"record_status": RecordStatus.UPDATED, "record_type": RecordType.NO_CALL},
        {"record_type": RecordType.NO_CALL},
        {"chain_n": 5},  # deleted: nobody has the place that is named
    ],
)
async def test_given_a_state_when_the_named_record_is_gone_then_any_other_may_be_dialed(world: World, named):
    scheduled = {"record_type": RecordType.CAMPAIGN_RESCHEDULED, "treatments": "7@1@2@1"}
    first, second = (world.add(chain_id=4, chain_n=n, **scheduled) for n in range(2))
    gone = world.add(chain_id=4, **(scheduled | {"chain_n": 2} | named))
    async with world.store() as store:
        (chain,) = await claimed(store)
        assert chain.record.record_id == first
        members = [first, second, gone] if "chain_n" in named else [first, second]
        assert [record.record_id for record in chain.records] == members


@pytest.mark.parametrize("text", ["7@1@1", "7@1@1@1@1", "treated", "", " 7@1@1@1", "7@1@x@1", "7@1@1@1\n"])
async def test_given_a_state_that_cannot_be_read_when_claimed_then_it_counts_as_none(world: World, text):
    rows = [
        world.add(chain_id=4, chain_n=n, record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments=text) for n in range(2)
    ]
    async with world.store() as store:
        assert told(await claimed(store)) == [(rows, rows[0])]


async def test_given_a_state_when_the_record_is_general_then_it_is_not_read(world: World):
    rows = [world.add(chain_id=4, chain_n=n, treatments="7@1@1@1") for n in range(2)]
    async with world.store() as store:
        assert told(await claimed(store)) == [(rows, rows[0])]


async def test_given_a_mixed_chain_when_claimed_by_a_portion_then_it_is_on_a_record_of_that_type(world: World):
    general = world.add(chain_id=4, chain_n=0)
    callback = world.add(chain_id=4, chain_n=1, record_type=RecordType.CAMPAIGN_CALLBACK)
    async with world.store() as store:
        (chain,) = await claimed(store, [Portion(RecordType.CAMPAIGN_CALLBACK), Portion(RecordType.GENERAL)])
        assert chain.record.record_id == callback
        await store.give_back([chain])
        (chain,) = await claimed(store, [Portion(RecordType.GENERAL), Portion(RecordType.CAMPAIGN_CALLBACK)])
        assert chain.record.record_id == general


async def test_given_rows_that_are_held_back_when_counted_then_each_has_its_reason(world: World):
    world.add()
    for columns in (
        {"attempt": 3},
        {"dial_sched_time": NOW_S + 1},
        {"tz_dbid": 14},
        {"record_type": RecordType.PERSONAL_CALLBACK, "dial_sched_time": NOW_S - 1},
        {"record_type": RecordType.PERSONAL_CALLBACK, "dial_sched_time": NOW_S - 1, "agent_id": "5001"},
        {"record_type": RecordType.NO_CALL},
        {"record_type": RecordType.NO_CALL, "record_status": RecordStatus.UPDATED},
        {"record_type": RecordType.GENERAL, "record_status": RecordStatus.MISSED_CALLBACK},
        {"record_status": RecordStatus.NO_RECORD_STATUS},
        {"record_status": RecordStatus.UPDATED},
    ):
        world.add(**columns)
    for n in range(3):
        world.add(chain_id=90, chain_n=n, record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments="7@1@2@1")
    async with world.store() as store:
        figures = await store.counts(LIST, NOON_UTC)
        assert dict(figures.held_back) == {
            counting.USED_UP: 1,
            counting.LATER: 1,
            counting.CLOSED: 1,
            counting.NO_AGENT: 1,
            counting.NO_CALL: 1,
            counting.WRONG_COMBINATION: 3,
            counting.WAITING: 2,
        }
        assert (figures.ready_chains, figures.ready_in_window) == (5, 2)

        (chain,) = await claimed(store, [Portion(RecordType.CAMPAIGN_RESCHEDULED)])
        added = world.add(chain_id=chain.chain_id, chain_n=9)
        figures = await store.counts(LIST, NOON_UTC)
        assert figures.held_back[counting.RETRIEVED] == 3
        assert figures.held_back[counting.CLAIMED] == 1
        assert await claimed(store, [Portion(RecordType.GENERAL, limit=1)], limit=1) != []
        assert world.row(added)["record_status"] == RecordStatus.READY


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_given_legal_hours_when_a_zone_is_outside_them_then_nothing_of_it_is_claimed_and_all_counts_as_outside(
    kind, request
):
    plain = configuration()
    lists = tuple(
        entry.model_copy(update={"calling_hours": ("us-federal",)}) if entry.dbid == LIST else entry
        for entry in plain.calling_lists
    )
    config = plain.model_copy(update={"calling_lists": lists})
    world = MemoryWorld(config) if kind == "memory" else PostgresWorld(request.getfixturevalue("database"), config)
    all_day = {"daily_from": 0, "daily_till": 86_400}
    new_york = world.add(tz_dbid=11, **all_day)
    world.add(tz_dbid=14, **all_day)  # 22:30 in Kolkata
    unknown = world.add(tz_dbid=999, **all_day)  # of the list's own zone
    async with world.store() as store:
        assert (await store.counts(LIST, NOON_UTC)).held_back == {counting.SHUT_HOURS: 1}
        assert told(await claimed(store)) == alone(new_york, unknown)
        night = NOON_UTC + timedelta(hours=12)  # midnight in New York, 10:30 in Kolkata
        assert [chain.record.tz_dbid for chain in await claimed(store, now=night)] == [14]
    if isinstance(world, PostgresWorld):
        world.conn.close()
