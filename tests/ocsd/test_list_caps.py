"""Attempt caps over the journal: whose calls count, and that no order of events on two daemons breaks one."""

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocsd.config.objects import AttemptCap
from ocsd.lists.memory import MemoryListStore
from ocsd.lists.postgres import open_store
from ocsd.lists.store import ClaimLost
from ocsd.model.enums import RecordStatus
from ocsd.model.records import AttemptTimes, NewAttempt
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, MemoryWorld, PostgresWorld, attempt_for, result_of
from tests.ocsd.result_worlds import (
    CAMPAIGN,
    FOREIGN_CAMPAIGN,
    OTHER_LIST,
    PLAIN_LIST,
    SECOND_CAMPAIGN,
    World,
    result_configuration,
)

HANG_LIMIT_S = 60.0
PHONE, OTHER_PHONE = "+12125557777", "+12125558888"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def cap(max_attempts: int = 1, period_h: float = 24, **changes: Any) -> AttemptCap:
    return AttemptCap(
        **({"dbid": 601, "name": f"cap{max_attempts}", "max_attempts": max_attempts, "period_h": period_h} | changes)
    )


@pytest.fixture(params=["memory", "postgres"])
def make_world(request):
    made: list[World] = []

    def make(*caps: AttemptCap) -> World:
        config = result_configuration(caps)
        if request.param == "memory":
            made.append(MemoryWorld(config))
        else:
            made.append(PostgresWorld(request.getfixturevalue("database"), config))
        return made[-1]

    yield make
    for world in made:
        if isinstance(world, PostgresWorld):
            world.conn.close()


@pytest.fixture(autouse=True)
async def hang_limit():
    with trio.fail_after(HANG_LIMIT_S):
        yield


async def attempts_on(store, world, *rows: dict[str, Any], to: int = LIST) -> list[NewAttempt]:
    """New rows, claimed, and an attempt on each; keys of NewAttempt among the columns override its values."""
    found = []
    for row in rows:
        own = {name: row[name] for name in NewAttempt.__dataclass_fields__ if name in row}
        columns = {name: value for name, value in row.items() if name not in own}
        world.add(to=to, contact_info=own.get("phone", PHONE), **columns)
        (chain,) = await store.claim_chains(to, GROUP, 1, NOON_UTC)
        (attempt_id,) = await store.next_attempt_ids(1)
        found.append(replace(attempt_for(chain, attempt_id), **own))
    return found


async def call(store, world, *, to: int = LIST, finish: dict[str, Any] | None = None, **row: Any) -> bool:
    """One call; True when it was allowed. ``finish``: how it ended; None: it is under way."""
    (attempt,) = await attempts_on(store, world, row, to=to)
    refused = await store.begin_attempts([attempt])
    if not refused and finish is not None:
        await store.finish_attempt(result_of(attempt, **finish))
    return not refused


@pytest.mark.parametrize(
    ("rule", "first", "second", "allowed"),
    [
        ({}, {}, {}, False),
        ({}, {}, {"phone": OTHER_PHONE}, True),
        ({}, {"finish": {}}, {}, False),
        ({}, {"finish": {"count_attempt": False}}, {}, True),
        ({}, {}, {"campaign_dbid": SECOND_CAMPAIGN}, False),
        ({}, {}, {"campaign_dbid": FOREIGN_CAMPAIGN}, True),
        ({}, {"campaign_dbid": 999}, {}, False),  # a campaign that is no longer configured
        ({}, {"to": OTHER_LIST}, {}, False),
        ({}, {}, {"started_at": NOON_UTC + DAY - timedelta(seconds=1)}, False),
        ({}, {}, {"started_at": NOON_UTC + DAY}, True),
        ({}, {}, {"started_at": NOON_UTC - HOUR}, False),  # a clock that is behind
        ({"max_attempts": 2}, {}, {}, True),
        ({"subject": "campaign"}, {}, {"campaign_dbid": SECOND_CAMPAIGN}, True),
        ({"subject": "campaign"}, {}, {}, False),
        ({"subject": "calling_list"}, {"to": OTHER_LIST}, {}, True),
        ({"subject": "calling_list"}, {}, {}, False),
        ({"subject": "subject_field"}, {"subject": "A"}, {"subject": "B"}, True),
        ({"subject": "subject_field"}, {"subject": "A"}, {"subject": "A"}, False),
        ({"subject": "subject_field"}, {"subject": "A"}, {}, False),  # it may be about anything
        ({"per": "customer_id"}, {"customer_id": "1"}, {"customer_id": "2"}, True),
        ({"per": "customer_id"}, {"customer_id": "1"}, {"customer_id": "1", "phone": OTHER_PHONE}, False),
        ({"per": "customer_id"}, {"customer_id": "1"}, {}, False),  # nobody says who it is: the number counts
        ({"after_conversation": True}, {"finish": {}}, {}, True),
    ],
)
async def test_given_a_call_when_another_comes_then_the_cap_says_whether_it_counts(
    make_world, rule, first, second, allowed
):
    world = make_world(cap(**rule))
    async with world.store() as store:
        assert await call(store, world, **first) is True
        assert await call(store, world, **second) is allowed


async def test_given_a_conversation_when_it_counts_then_from_its_own_time(make_world):
    world = make_world(cap(after_conversation=True))
    async with world.store() as store:
        (attempt,) = await attempts_on(store, world, {})
        await store.begin_attempts([attempt])
        await store.mark_connected(attempt.attempt_id, NOON_UTC + timedelta(seconds=30), "5001")
        await store.finish_attempt(result_of(attempt))
        assert await call(store, world, started_at=NOON_UTC + DAY + timedelta(seconds=29)) is False
        assert await call(store, world, started_at=NOON_UTC + DAY + timedelta(seconds=30)) is True


async def test_given_a_batch_on_one_number_when_it_begins_then_only_as_many_as_allowed_are_written(make_world):
    world = make_world(cap(2))
    async with world.store() as store:
        attempts = await attempts_on(store, world, {}, {}, {}, {"phone": OTHER_PHONE})
        refused = await store.begin_attempts(attempts)
        assert list(refused) == [attempts[2].attempt_id]
        refusal = refused[attempts[2].attempt_id]
        assert refusal.until == NOON_UTC + DAY
        assert "cap2" in refusal.why
        assert [opened.attempt_id for opened in await store.open_attempts()] == [
            attempts[0].attempt_id,
            attempts[1].attempt_id,
            attempts[3].attempt_id,
        ]
        # The very same call again (its answer was lost): what is written is not counted against itself.
        assert await store.begin_attempts(attempts) == refused
        assert len(await store.open_attempts()) == 3


async def test_given_a_lost_claim_when_a_capped_batch_begins_then_nothing_of_it_is_written(make_world):
    world = make_world(cap(1))
    async with world.store() as store:
        attempts = await attempts_on(store, world, {}, {"phone": OTHER_PHONE})
        await store.release_group(GROUP)
        with pytest.raises(ClaimLost):
            await store.begin_attempts(attempts)
        assert await store.open_attempts() == []


async def test_given_records_when_asked_about_then_those_that_a_cap_holds_back_are_named(make_world):
    world = make_world(cap(1), cap(5, 48, dbid=602))
    async with world.store() as store:
        await call(store, world, customer_id="C1")
        world.add(contact_info=PHONE, customer_no="C2")
        world.add(contact_info=OTHER_PHONE, customer_no="C1")
        chains = await store.claim_chains(LIST, GROUP, 9, NOON_UTC)
        records = [chain.record for chain in chains]
        refused = await store.refused_by_caps(LIST, CAMPAIGN, records, NOON_UTC + HOUR)
        assert {key: refusal.until for key, refusal in refused.items()} == {records[0].record_id: NOON_UTC + DAY}
        assert await store.refused_by_caps(LIST, FOREIGN_CAMPAIGN, records, NOON_UTC + HOUR) == {}
        assert await store.refused_by_caps(LIST, CAMPAIGN, records, NOON_UTC + DAY) == {}
        assert await store.refused_by_caps(LIST, CAMPAIGN, [], NOON_UTC) == {}


async def test_given_a_call_that_is_redirected_when_that_number_is_asked_about_then_it_counts_for_both(make_world):
    world = make_world(cap(1))
    async with world.store() as store:
        (attempt,) = await attempts_on(store, world, {})
        assert await store.begin_attempts([attempt]) == {}
        world.add(contact_info=OTHER_PHONE)
        (other,) = [chain.record for chain in await store.claim_chains(LIST, GROUP, 9, NOON_UTC)]
        assert await store.redirect_attempt(attempt.attempt_id, other, CAMPAIGN, NOON_UTC) is None
        for record in (other, replace(other, contact_info=attempt.phone)):
            refused = await store.refused_by_caps(LIST, CAMPAIGN, [record], NOON_UTC + HOUR)
            assert refused[other.record_id].until == NOON_UTC + DAY


async def test_given_a_number_that_a_cap_holds_back_when_a_call_is_redirected_to_it_then_that_is_refused(make_world):
    world = make_world(cap(1))
    async with world.store() as store:
        assert await call(store, world)
        (attempt,) = await attempts_on(store, world, {"phone": OTHER_PHONE})
        assert await store.begin_attempts([attempt]) == {}
        world.add(contact_info=PHONE)
        (record,) = [chain.record for chain in await store.claim_chains(LIST, GROUP, 9, NOON_UTC)]
        refused = await store.redirect_attempt(attempt.attempt_id, record, CAMPAIGN, NOON_UTC + HOUR)
        assert refused is not None
        assert refused.until == NOON_UTC + DAY


async def test_given_customers_and_subjects_in_the_rows_when_asked_about_then_they_count(make_world):
    world = make_world(cap(1, per="customer_id", subject="subject_field"))
    async with world.store() as store:
        await call(store, world, customer_id="C1", subject="D1")
        for debt, customer in (("D1", "C1"), ("D2", "C1"), ("D1", "C2")):
            world.add(contact_info=OTHER_PHONE, customer_no=customer, debt=debt)
        records = [chain.record for chain in await store.claim_chains(LIST, GROUP, 9, NOON_UTC)]
        assert list(await store.refused_by_caps(LIST, CAMPAIGN, records, NOON_UTC)) == [records[0].record_id]


async def test_given_several_caps_when_refused_then_the_longest_wait_is_told(make_world):
    world = make_world(cap(1, 1), cap(2, 24, dbid=602))
    async with world.store() as store:
        assert await call(store, world)
        (attempt,) = await attempts_on(store, world, {})
        refused = await store.begin_attempts([attempt])
        assert refused[attempt.attempt_id].until == NOON_UTC + HOUR
        assert await call(store, world, started_at=NOON_UTC + HOUR)
        (attempt,) = await attempts_on(store, world, {"started_at": NOON_UTC + HOUR})
        refused = await store.begin_attempts([attempt])
        assert refused[attempt.attempt_id].until == NOON_UTC + DAY


async def test_given_a_list_without_caps_when_dialed_then_its_calls_count_for_others_only(make_world):
    world = make_world(cap(1))
    plain = next(entry for entry in result_configuration().calling_lists if entry.dbid == PLAIN_LIST)
    config = result_configuration([cap(1)])
    lists = tuple(plain if entry.dbid == PLAIN_LIST else entry for entry in config.calling_lists)
    config = config.model_copy(update={"calling_lists": lists})
    if isinstance(world, MemoryWorld):
        world.database.config = config
    else:
        world.config = config.model_copy(update={"database": world.config.database})
    async with world.store() as store:
        assert await call(store, world, to=PLAIN_LIST)
        assert await call(store, world, to=PLAIN_LIST)
        assert await call(store, world) is False


# -- any order of events ---------------------------------------------------------------------------------------------

CAPS = (cap(2, 24), cap(3, 72, dbid=602, per="customer_id", name="customer"))
PHONES, CUSTOMERS = (PHONE, OTHER_PHONE), ("C1", "C2")

asked = st.tuples(
    st.integers(0, 1),  # the daemon
    st.integers(0, 1),  # the number
    st.integers(0, 1),  # the customer
    st.integers(0, 4 * 24 * 3600),  # when
    st.sampled_from(["open", "counted", "counted", "not dialed"]),
)
rounds = st.lists(st.lists(asked, min_size=1, max_size=6), min_size=1, max_size=6)


async def play(world: World, stores, script) -> None:
    """Each round is dialed by two daemons at once."""
    made: list[NewAttempt] = []

    async def dial(wanted) -> None:
        place, phone, customer, offset_s, ending = wanted
        store = stores[place]
        world.add(contact_info=PHONES[phone], customer_no=CUSTOMERS[customer])
        for chain in await store.claim_chains(LIST, GROUP, 1, NOON_UTC):
            (attempt_id,) = await store.next_attempt_ids(1)
            attempt = replace(
                attempt_for(chain, attempt_id),
                phone=PHONES[phone],
                customer_id=CUSTOMERS[customer],
                started_at=NOON_UTC + timedelta(seconds=offset_s),
            )
            if await store.begin_attempts([attempt]):
                continue
            if ending != "open":
                counted = ending == "counted"
                status = RecordStatus.UPDATED
                await store.finish_attempt(
                    result_of(attempt, count_attempt=counted, record_status=status, times=AttemptTimes())
                )
            if ending != "not dialed":
                made.append(attempt)

    for wanted in script:
        async with trio.open_nursery() as nursery:
            for entry in wanted:
                nursery.start_soon(dial, entry)
    for count, period, key in ((2, DAY, "phone"), (3, 3 * DAY, "customer_id")):
        times = defaultdict(list)
        for attempt in made:
            times[getattr(attempt, key)].append(attempt.started_at)
        for person in times.values():
            person.sort()
            for early, late in zip(person, person[count:], strict=False):
                assert late - early >= period, f"{count + 1} calls within {period} by {key}"


@pytest.fixture
def capped_world(database):
    world = PostgresWorld(database, result_configuration(CAPS))
    yield world
    world.conn.close()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(script=rounds)
async def test_given_two_daemons_when_they_dial_in_any_order_then_no_window_holds_more_calls_than_the_cap(
    capped_world, script
):
    capped_world.conn.execute("TRUNCATE ocsd.attempt, ocsd.claim; TRUNCATE customers RESTART IDENTITY")
    config = capped_world.config
    async with open_store(config, node="a") as first, open_store(config, node="b") as second:
        await play(capped_world, (first, second), script)


@settings(max_examples=150, deadline=None)
@given(script=rounds)
async def test_given_two_daemons_in_memory_when_they_dial_in_any_order_then_no_cap_is_broken(script):
    world = MemoryWorld(result_configuration(CAPS))
    await play(world, [MemoryListStore(world.database, node=name) for name in "ab"], script)
