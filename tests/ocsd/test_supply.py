"""The supply of one campaign group, on the memory store in virtual time."""

from datetime import UTC, datetime, timedelta

import pytest

from ocsd.dnc.contract import DncEntry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.model.enums import RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import Refusal, Selector, Withdrawal
from tests.ocsd.record_run import RecordRun, VirtualClock
from tests.ocsd.weeks_world import AGENTS, CAPPED_LIST, FIRST_ZONE_DBID, STRICT_LIST, configuration

BEFORE_NINE_IN_NEW_YORK = datetime(2026, 3, 3, 13, 57, tzinfo=UTC)
CHICAGO = "+13122012345"
CALLBACK = {
    "contact_info": CHICAGO,
    "tz_dbid": FIRST_ZONE_DBID,
    "record_type": RecordType.PERSONAL_CALLBACK,
    "dial_sched_time": int(BEFORE_NINE_IN_NEW_YORK.timestamp()) - 60,
    "treatments": "0@0@0@1",
    "agent_id": "ada",
}


class FailsOnce(MemoryListStore):
    failed = False

    async def refused_by_caps(self, *arguments):
        if not self.failed:
            self.failed = True
            raise StoreUnavailable("away for a moment")
        return await super().refused_by_caps(*arguments)


def world(kind: type[MemoryListStore] = MemoryListStore) -> tuple[RecordRun, MemoryDatabase]:
    config, clock = configuration(), VirtualClock(BEFORE_NINE_IN_NEW_YORK)
    database = MemoryDatabase(config, now=clock.utc)
    return RecordRun(config, config.campaign_groups[0], kind(database), MemoryDoNotCall(), clock), database


async def test_given_a_callback_that_must_wait_a_moment_when_the_moment_has_passed_then_it_is_delivered_not_dialed():
    run, database = world()
    database.add_record(STRICT_LIST, daily_from=8 * 3600, daily_till=18 * 3600, **CALLBACK)
    assert await run.supply.callbacks() == []  # three minutes to eight in Chicago, where the number belongs

    run.clock.pass_s(240)
    await run.refill(AGENTS)
    assert await run.dial(1) == []
    assert [chain.record.contact_info for chain in await run.supply.callbacks()] == [CHICAGO]


async def test_given_the_database_goes_away_while_callbacks_are_claimed_when_it_is_back_then_they_are_not_dialed():
    run, database = world(FailsOnce)
    database.add_record(CAPPED_LIST, daily_from=0, daily_till=86_400, **CALLBACK)
    with pytest.raises(StoreUnavailable):
        await run.supply.callbacks()

    await run.refill(AGENTS)
    assert await run.dial(1) == []
    assert [chain.record.contact_info for chain in await run.supply.callbacks()] == [CHICAGO]


async def test_given_a_record_added_while_a_claim_is_under_way_when_refilled_again_then_it_is_found_at_once():
    added: list[int] = []

    class AddedMeanwhile(MemoryListStore):
        async def claim_chains(self, list_dbid, *arguments):
            chains = await super().claim_chains(list_dbid, *arguments)
            if list_dbid == CAPPED_LIST and not added:
                added.append(database.add_record(CAPPED_LIST, contact_info=CHICAGO, daily_from=0, daily_till=86_400))
                run.supply.look_again(CAPPED_LIST)
            return chains

    run, database = world(AddedMeanwhile)
    assert await run.refill(AGENTS) == 0
    assert added
    assert await run.refill(AGENTS) == 1
    assert await run.refill(AGENTS) == 0
    assert run.supply.all_exhausted() is False  # it is in the buffer


# --- chains of mixed types --------------------------------------------------------------------------------------------

BOSTON = "+16175550142"
NEW_YORK = {"tz_dbid": FIRST_ZONE_DBID, "daily_from": 0, "daily_till": 86_400}


def mixed(database: MemoryDatabase, **of_general: object) -> None:
    """A General record, and behind it one that is due for an agent."""
    general = {"chain_id": 7, "chain_n": 0, "contact_info": BOSTON, "record_type": RecordType.GENERAL}
    database.add_record(CAPPED_LIST, **(NEW_YORK | general | of_general))
    personal = {"chain_id": 7, "chain_n": 1, "treatments": None, "contact_info": "+16175550143"}
    database.add_record(CAPPED_LIST, **(CALLBACK | NEW_YORK | personal))


async def test_given_a_chain_of_mixed_types_when_claimed_then_each_claim_takes_its_own_kind():
    run, database = world()
    mixed(database)
    await run.refill(AGENTS)
    assert [chain.record.contact_info for chain in run.supply.waiting()] == [BOSTON]
    await run.store.give_back(run.supply.empty())

    (chain,) = await run.supply.callbacks()
    assert (chain.record.record_type, chain.record.agent_id) == (RecordType.PERSONAL_CALLBACK, "ada")


async def test_given_a_forbidden_record_when_an_agents_is_left_of_its_chain_then_that_one_is_delivered_not_dialed():
    run, database = world()
    mixed(database)
    run.dnc.hear([DncEntry(None, BOSTON, None, run.clock.utc())])

    await run.refill(AGENTS)
    assert await run.dial(1) == []
    assert [chain.record.contact_info for chain in await run.supply.callbacks()] == ["+16175550143"]


async def test_given_a_buffered_chain_when_its_record_is_forbidden_then_the_agents_one_is_not_dialed_instead():
    run, database = world()
    mixed(database)
    await run.refill(AGENTS)
    selector = Selector(phone=BOSTON, all_chain=False)
    gone = await run.store.withdraw([CAPPED_LIST], selector, Withdrawal.DO_NOT_CALL)
    assert [row.record_id for row in gone] == [1]
    assert run.supply.forget(gone) == []

    assert await run.dial(1) == []
    assert run.supply.held == run.supply.buffered == 0
    assert [chain.record.contact_info for chain in await run.supply.callbacks()] == ["+16175550143"]


async def test_given_a_dialed_record_that_must_wait_when_an_agents_follows_in_its_chain_then_that_is_not_dialed():
    run, database = world(NobodyNow)
    mixed(database)
    await run.refill(AGENTS)
    assert await run.dial(1) == []
    assert run.supply.buffered == 0
    assert {row.record.dial_sched_time for row in database.rows(CAPPED_LIST).values()} != {None}


class NobodyNow(MemoryListStore):
    """A cap holds every General record back."""

    async def refused_by_caps(self, list_dbid, campaign_dbid, records, now):
        await super().refused_by_caps(list_dbid, campaign_dbid, records, now)
        until = now + timedelta(days=1)
        return {r.record_id: Refusal("cap", until) for r in records if r.record_type is RecordType.GENERAL}
