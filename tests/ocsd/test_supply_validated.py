"""What the supply hands out of a validated list, step by step in virtual time; and that an outage loses no chain."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from ocsd.config.objects import Configuration
from ocsd.dnc.contract import DncEntry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.model.enums import CallResult
from ocsd.model.enums import RecordType as T
from ocsd.model.errors import ConfigError, StoreUnavailable
from ocsd.sessions.planner import Planner
from ocsd.validation import Answer, Question
from tests.ocsd.record_run import RecordRun, VirtualClock
from tests.ocsd.test_records_machine import VALIDATED, configuration

PLAIN = 301
NEW_YORK = 30
BEFORE_SIX = datetime(2026, 3, 3, 22, 59, 50, tzinfo=UTC)
"""Ten seconds to 18:00 in New York."""


class Content:
    """Clears everybody."""

    pool_size = 20

    def __init__(self) -> None:
        self.phones: list[str] = []

    def away(self, uri: str) -> bool:
        return False

    def may_ask(self, uri: str) -> bool:
        return True

    async def ask(self, question: Question) -> Answer:
        self.phones.append(str(question.properties["GSW_PHONE"]))
        return Answer(200)


def world(config: Configuration | None = None) -> tuple[RecordRun, MemoryDatabase, Content]:
    config, clock, validator = config or configuration(), VirtualClock(BEFORE_SIX), Content()
    database = MemoryDatabase(config, now=clock.utc)
    store = MemoryListStore(database)
    run = RecordRun(config, config.campaign_groups[0], store, MemoryDoNotCall(), clock, validator=validator)
    return run, database, validator


def add(database: MemoryDatabase, phone: str, list_dbid: int = VALIDATED, **columns) -> None:
    window = {"daily_from": 0, "daily_till": 86_400, "tz_dbid": NEW_YORK}
    database.add_record(list_dbid, contact_info=phone, **(window | columns))


async def test_given_no_answer_yet_when_taken_then_the_chain_waits_in_the_buffer():
    run, database, validator = world()
    add(database, "+12125550001")
    await run.refill(1)

    assert await run.supply.take(1) == []
    await run.validate()
    assert [chain.record.contact_info for chain in await run.supply.take(1)] == validator.phones


async def test_given_lists_with_and_without_validation_when_taken_then_only_the_validated_one_waits():
    run, database, _ = world()
    add(database, "+12125550001")
    add(database, "+12125550002", PLAIN)
    await run.refill(1)

    assert [chain.list_dbid for chain in await run.supply.take(2)] == [PLAIN]
    assert run.supply.buffered == 1


async def test_given_an_answer_when_its_lifetime_is_over_then_the_chain_is_not_taken():
    run, database, validator = world()
    add(database, "+12125550001")
    await run.refill(1)
    await run.validate()
    run.clock.pass_s(30)

    assert await run.supply.take(1) == []
    await run.validate()
    assert len(await run.supply.take(1)) == 1
    assert len(validator.phones) == 2


async def test_given_a_window_that_closes_after_the_answer_when_taken_then_the_next_record_is_asked_about():
    run, database, validator = world()
    add(database, "+12125550001", chain_id=5, chain_n=0, daily_till=18 * 3600)
    add(database, "+12125550002", chain_id=5, chain_n=1)
    await run.refill(1)
    await run.validate()
    run.clock.pass_s(15)

    assert await run.supply.take(1) == []
    assert run.supply.buffered == 1
    await run.validate()
    assert [chain.record.contact_info for chain in await run.supply.take(1)] == ["+12125550002"]
    assert validator.phones == ["+12125550001", "+12125550002"]


async def test_given_a_record_that_was_dialed_when_it_is_due_again_then_the_old_answer_does_not_count():
    config = configuration()
    lists = tuple(
        one.model_copy(update={"options": dict(one.options) | {"validation-answer-lifetime": 3600}})
        for one in config.calling_lists
    )
    run, database, validator = world(config.model_copy(update={"calling_lists": lists}))
    add(database, "+12125550001")
    await run.refill(1)
    await run.validate()
    (dial,) = await run.dial(1)
    await run.end(dial, CallResult.BUSY)  # treated: again in a minute, held in memory
    run.clock.pass_s(61)

    assert await run.supply.take(1) == []
    assert run.supply.buffered == 1
    await run.validate()
    assert len(await run.supply.take(1)) == 1
    assert len(validator.phones) == 2


async def test_given_the_database_goes_away_while_chains_are_taken_when_some_were_chosen_already_then_they_are_kept():
    run, database, _ = world()
    opens_soon = {"daily_from": 18 * 3600 + 60, "daily_till": 17 * 3600 + 59 * 60 + 55}  # closed for about a minute
    add(database, "+12125550001", PLAIN)
    add(database, "+12125550002", PLAIN, **opens_soon)
    add(database, "+12125550003", PLAIN)
    await run.refill(1)
    assert run.supply.buffered == 3
    await run.dnc.add([DncEntry(1, "+12125550003", None, run.clock.utc())])
    run.clock.pass_s(10)
    database.available = False

    with pytest.raises(StoreUnavailable):
        await run.supply.take(2)  # the first is chosen, the second held, and the third has to be withdrawn

    assert {chain.record.contact_info for chain in run.supply.in_memory()} == {
        "+12125550001",
        "+12125550002",
        "+12125550003",
    }
    database.available = True
    await run.refill(1)
    assert [chain.record.contact_info for chain in await run.supply.take(2)] == ["+12125550001"]


async def test_given_another_filter_and_the_database_away_when_replanned_then_no_chain_is_in_nobodys_hands():
    config = configuration()
    run, database, _ = world(config)
    add(database, "+12125550001", PLAIN)
    add(database, "+12125550002", PLAIN)
    await run.refill(1)
    _, second = run.supply.waiting()
    run.supply.hold(*run.supply.let_go(second), run.clock.utc() + timedelta(minutes=1))
    campaign = config.campaigns[0]
    others = tuple(entry for entry in campaign.lists if config.calling_list(entry.calling_list).dbid != PLAIN)
    without = config.model_copy(update={"campaigns": (campaign.model_copy(update={"lists": others}),)})
    planner = Planner(without, run.group)
    database.available = False
    with pytest.raises(StoreUnavailable):
        await run.supply.reconfigure(planner)

    assert run.supply.held == 2
    assert await run.supply.take(2) == []  # they are in none of the group's lists any more
    database.available = True
    await run.supply.reconfigure(planner)
    assert (run.supply.held, database.claims) == (0, {})


@pytest.mark.parametrize("asked_again", [True, False])
async def test_given_a_number_corrected_to_a_forbidden_one_when_its_chain_would_be_kept_then_it_is_not_dialed(
    asked_again,
):
    config = configuration()
    options = dict(config.application.options) | {"check_dnc_list": asked_again}
    run, database, _ = world(
        config.model_copy(update={"application": config.application.model_copy(update={"options": options})})
    )
    add(database, "+12125550001")
    await run.dnc.add([DncEntry(1, "+12125550009", None, run.clock.utc())])
    await run.refill(1)
    await run.validate()
    (dial,) = await run.dial(1)
    decision = await run.end(dial, CallResult.BUSY, updates={"contact_info": "+12125550009"})
    assert decision.change.keep_claim  # again in a minute
    run.clock.pass_s(61)

    await run.refill(1)
    await run.validate()
    assert await run.dial(1) == []


async def test_given_an_outage_between_two_lists_when_callbacks_are_claimed_then_those_of_the_first_are_not_lost(
    monkeypatch,
):
    run, database, _ = world()
    first, *_, last = run.planner.shares()
    assert first != last
    due = {"record_type": T.PERSONAL_CALLBACK, "agent_id": "ada", "dial_sched_time": int(BEFORE_SIX.timestamp()) - 60}
    add(database, "+12125550001", first, treatments="0@0@0@1", **due)
    claim = MemoryListStore.claim_chains

    async def away(self: MemoryListStore, list_dbid: int, *arguments):
        if list_dbid == last:
            raise StoreUnavailable("away for a moment")
        return await claim(self, list_dbid, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryListStore, "claim_chains", away)
        with pytest.raises(StoreUnavailable):
            await run.supply.callbacks()
    await run.refill(1)
    assert [chain.record.contact_info for chain in await run.supply.callbacks()] == ["+12125550001"]


@pytest.mark.parametrize("broken", [PLAIN, VALIDATED])
async def test_given_a_list_whose_filter_does_not_work_when_refilled_then_the_others_are_dialed_and_it_is_told_once(
    monkeypatch, broken
):
    run, database, _ = world()
    add(database, "+12125550001", PLAIN)
    add(database, "+12125550002", VALIDATED)
    claim = MemoryListStore.claim_chains

    async def refuses(self: MemoryListStore, list_dbid: int, *arguments):
        if list_dbid == broken:
            raise ConfigError(["its filter does not work"])
        return await claim(self, list_dbid, *arguments)

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(MemoryListStore, "claim_chains", refuses)
        for _ in range(3):
            await run.refill(1)
            run.clock.pass_s(10)
        assert [chain.list_dbid for chain in run.supply.waiting()] == [PLAIN + VALIDATED - broken]
    assert [entry["problems"] for entry in logs if entry["event"] == "list.refused"] == [["its filter does not work"]]
    await run.refill(1)
    assert run.supply.buffered == 2


async def test_given_a_refusal_that_cannot_be_written_when_settled_then_its_chain_is_still_held():
    run, database, _ = world()
    add(database, "+12125550001", PLAIN)
    await run.refill(1)
    (chain,) = run.supply.waiting()
    removed = run.supply.remove(chain)
    assert removed is not None

    async def fails() -> bool:
        raise ValueError("no column takes it")

    with pytest.raises(ValueError, match="no column"):
        await run.supply.settle(removed, run.treat(removed, removed.record, 52), fails)
    assert [held.key for held in run.supply.in_memory()] == [chain.key]
    await run.unload()
    assert database.claims == {}
