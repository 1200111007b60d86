"""What results and decisions do to chains: every test runs on the memory store and on PostgreSQL."""

from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ocsd.lists.memory import MemoryListStore
from ocsd.lists.postgres import open_store
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import Chain, ChainChange, HttpRequest, Selector, Withdrawal
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, MemoryWorld, PostgresWorld, attempt_for, result_of
from tests.ocsd.result_worlds import (
    World,
    chain_of,
    dialed,
    goes_on,
    result_configuration,
    settlement_of,
    statement,
)

HANG_LIMIT_S = 60.0
NOON_S = int(NOON_UTC.timestamp())
PHONE = "+12125557777"
READY, RETRIEVED, UPDATED, CANCELED = (
    RecordStatus.READY,
    RecordStatus.RETRIEVED,
    RecordStatus.UPDATED,
    RecordStatus.CANCELED,
)
GENERAL, RESCHEDULED, NO_CALL = RecordType.GENERAL, RecordType.CAMPAIGN_RESCHEDULED, RecordType.NO_CALL
PERSONAL = RecordType.PERSONAL_CALLBACK


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


def add_chain(world: World, rows: int = 3, chain_id: int = 5, **columns: object) -> list[int]:
    return [world.add(chain_id=chain_id, chain_n=chain_n, **columns) for chain_n in range(rows)]


def state(world: World, record_id: int) -> tuple[object, ...]:
    row = world.row(record_id)
    names = "record_status", "record_type", "call_result", "dial_sched_time", "treatments"
    return tuple(row[name] for name in names)


# -- columns at their ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_result", [32_768, 2**31 - 1])
async def test_given_a_result_of_a_sites_own_when_finished_or_settled_then_it_is_on_disk(world: World, call_result):
    first, second = world.add(chain_id=5), world.add(chain_id=6)
    async with world.store() as store:
        chains = {chain.chain_id: chain for chain in await store.claim_chains(LIST, GROUP, 9, NOON_UTC)}
        attempt = await dialed(store, chains[5])
        assert await store.finish_attempt(result_of(attempt, call_result=call_result))
        decided = settlement_of(chains[6], ChainChange(UPDATED, GENERAL), call_result=call_result)
        assert await store.settle_chain(decided)
        assert world.row(first)["call_result"] == world.row(second)["call_result"] == call_result
        assert world.claims() == {}


async def test_given_a_row_with_the_most_attempts_a_column_can_hold_when_dialed_then_its_result_is_on_disk(database):
    world = PostgresWorld(database, result_configuration())
    record_id = world.add(attempt=2**31 - 1, record_type=RecordType.CAMPAIGN_CALLBACK, dial_sched_time=NOON_S - 60)
    async with world.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 9, NOON_UTC)
        attempt = await dialed(store, chain)
        assert await store.finish_attempt(result_of(attempt, call_result=int(CallResult.BUSY)))
        assert (world.row(record_id)["attempt"], world.row(record_id)["call_result"]) == (2**31 - 1, 6)
    world.conn.close()


async def test_given_a_constraint_when_a_field_breaks_it_then_the_log_does_not_quote_the_row(database):
    world = PostgresWorld(database, result_configuration())
    record_id = world.add(contact_info=PHONE)
    world.conn.execute("ALTER TABLE customers ADD CHECK (score < 5)")
    async with world.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 9, NOON_UTC)
        attempt = await dialed(store, chain)
        with capture_logs() as logs:
            assert await store.finish_attempt(result_of(attempt, call_result=6, updates={"score": 9}))
    (refused,) = [entry for entry in logs if entry["event"] == "record.update_refused"]
    assert "violates check constraint" in refused["reason"]
    assert PHONE not in str(logs)
    assert world.row(record_id)["call_result"] == 6
    world.conn.close()


async def test_given_a_trigger_with_an_error_of_its_own_when_a_field_is_written_then_the_result_is_kept(database):
    world = PostgresWorld(database, result_configuration())
    record_id = world.add()
    world.conn.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'never' USING ERRCODE = 'U0001'; END$$;"
        "CREATE TRIGGER no BEFORE UPDATE OF customer_name ON customers FOR EACH ROW EXECUTE FUNCTION no()"
    )
    async with world.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 9, NOON_UTC)
        attempt = await dialed(store, chain)
        assert await store.finish_attempt(result_of(attempt, call_result=6, updates={"customer_name": "x"}))
        assert world.row(record_id)["call_result"] == 6
    world.conn.close()


# -- the chain goes on -----------------------------------------------------------------------------------------------


async def test_given_a_chain_that_goes_on_when_finished_then_all_live_rows_share_type_schedule_and_state(world: World):
    first, second, third = add_chain(world)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        assert await store.finish_attempt(result_of(attempt, call_result=int(CallResult.BUSY), **goes_on()))
        assert state(world, first) == (READY, RESCHEDULED, 6, NOON_S + 600, "9@1@0@1")
        assert state(world, second) == state(world, third) == (READY, RESCHEDULED, 28, NOON_S + 600, "9@1@0@1")
        assert [world.row(record_id)["attempt"] for record_id in (first, second, third)] == [1, 0, 0]
        assert world.claims() == {}
        assert await store.claim_chains(LIST, GROUP, 9, NOON_UTC) == []
        (again,) = await store.claim_chains(LIST, GROUP, 9, NOON_UTC + timedelta(seconds=600))
        assert again.record.record_id == first


async def test_given_no_sibling_type_or_state_when_the_chain_goes_on_then_types_stay_and_the_state_is_cleared(
    world: World,
):
    first = world.add(chain_id=5, chain_n=0, treatments="old")
    second = world.add(chain_id=5, chain_n=1, treatments="old", record_type=RecordType.CAMPAIGN_CALLBACK)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        change = goes_on(sibling_type=None, treatments=None, dial_sched_time=None, record_type=GENERAL)
        await store.finish_attempt(result_of(attempt, **change))
        assert state(world, first) == (READY, GENERAL, 33, None, None)
        assert state(world, second) == (READY, RecordType.CAMPAIGN_CALLBACK, 28, None, None)


async def test_given_a_kept_claim_when_the_daemon_ends_then_the_rows_are_ready_with_their_schedule(world: World):
    first, second = add_chain(world, 2)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        await store.finish_attempt(result_of(attempt, **goes_on(keep_claim=True)))
        assert state(world, first) == (RETRIEVED, RESCHEDULED, 33, NOON_S + 600, "9@1@0@1")
        assert world.claims() == {5: store.owner}
        live = await store.chain(LIST, 5)
        assert [record.record_id for record in live] == [first, second]
        assert {(record.dial_sched_time, record.treatments) for record in live} == {(NOON_S + 600, "9@1@0@1")}
        async with world.store() as reborn:
            assert await reborn.recover_claims() == 1
            assert world.claims() == {}
            for record_id in (first, second):
                assert state(world, record_id)[0] == READY
                assert state(world, record_id)[3:] == (NOON_S + 600, "9@1@0@1")


@pytest.mark.parametrize("way", ["give_back", "release_group"])
async def test_given_a_kept_claim_when_given_back_then_the_rows_are_ready_with_their_schedule(world: World, way):
    first, _ = add_chain(world, 2)
    async with world.store() as store:
        chain = await chain_of(store, 5)
        attempt = await dialed(store, chain)
        await store.finish_attempt(result_of(attempt, **goes_on(keep_claim=True)))
        if way == "give_back":
            await store.give_back([chain])
        else:
            assert await store.release_group(GROUP + 1) == 0
            assert await store.release_group(GROUP) == 1
        assert (state(world, first)[0], state(world, first)[3]) == (READY, NOON_S + 600)
        assert world.claims() == {}


async def test_given_a_kept_claim_when_dialed_again_then_the_same_claim_serves_until_the_end(world: World):
    first, second = add_chain(world, 2)
    async with world.store() as store:
        chain = await chain_of(store, 5)
        busy = await dialed(store, chain)
        await store.finish_attempt(result_of(busy, call_result=6, **goes_on(keep_claim=True)))
        answered = await dialed(store, chain, place=1)
        await store.finish_attempt(result_of(answered))
        assert (state(world, first)[:3], state(world, second)[:3]) == (
            (UPDATED, RESCHEDULED, 6),
            (UPDATED, GENERAL, 33),
        )
        assert world.claims() == {}


async def test_given_results_of_one_chain_in_one_batch_when_written_then_each_finds_what_the_one_before_left(
    world: World,
):
    first, second = add_chain(world, 2)
    async with world.store() as store:
        chain = await chain_of(store, 5)
        one, two = await dialed(store, chain), await dialed(store, chain, place=1)
        answers: dict[str, bool] = {}

        async def write(name, what) -> None:
            answers[name] = await what

        change = ChainChange(UPDATED, RESCHEDULED)
        writes = {
            "first": store.finish_attempt(result_of(one, call_result=6, **goes_on(keep_claim=True))),
            "second": store.finish_attempt(result_of(two, call_result=7, **goes_on(keep_claim=True))),
            "third": store.settle_chain(settlement_of(chain, change)),
            "late": store.settle_chain(settlement_of(chain, change)),
        }
        async with trio.open_nursery() as nursery:  # handed in one after the other; PostgreSQL writes them in batches
            for name, what in writes.items():
                nursery.start_soon(write, name, what)
                await trio.testing.wait_all_tasks_blocked()
        assert answers == {"first": True, "second": True, "third": True, "late": False}
        assert [state(world, record_id)[:3] for record_id in (first, second)] == [
            (UPDATED, RESCHEDULED, 6),
            (UPDATED, RESCHEDULED, 7),
        ]
        assert [world.row(record_id)["attempt"] for record_id in (first, second)] == [1, 1]


async def test_given_a_claim_taken_over_when_the_slow_daemon_keeps_it_then_nobody_is_left_with_it(world: World):
    (record_id,) = add_chain(world, 1)
    async with world.store("n") as slow, world.store("n") as reborn:
        attempt = await dialed(slow, await chain_of(slow, 5))
        await reborn.recover_claims()
        assert world.claims() == {5: reborn.owner}
        assert await slow.finish_attempt(result_of(attempt, **goes_on(keep_claim=True)))
        assert (state(world, record_id)[0], world.claims()) == (READY, {})


async def test_given_a_personal_callback_when_the_chain_goes_on_then_every_live_row_is_the_agents(world: World):
    first, second = add_chain(world, 2)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        await store.finish_attempt(
            result_of(attempt, agent_id="5001", **goes_on(record_type=PERSONAL, sibling_type=PERSONAL))
        )
        assert [world.row(record_id)["agent_id"] for record_id in (first, second)] == ["5001", "5001"]
        assert [world.row(record_id)["record_type"] for record_id in (first, second)] == [PERSONAL, PERSONAL]


# -- the chain ends --------------------------------------------------------------------------------------------------


async def test_given_a_chain_that_ends_when_finished_then_siblings_follow_and_schedules_stay(world: World):
    first, second, third = add_chain(world, dial_sched_time=NOON_S - 5, treatments="3@1@0@1")
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        await store.finish_attempt(
            result_of(
                attempt,
                record_status=RecordStatus.MISSED_CALLBACK,
                record_type=RecordType.CAMPAIGN_CALLBACK,
                sibling_status=RecordStatus.STALE,
                sibling_type=RESCHEDULED,
                sibling_result=48,
                dial_sched_time=NOON_S + 999,
                treatments="9@9@9@9",
                keep_claim=True,  # means nothing: the chain has ended
            )
        )
        assert state(world, first) == (8, RecordType.CAMPAIGN_CALLBACK, 33, NOON_S - 5, "3@1@0@1")
        assert state(world, second) == state(world, third) == (4, RESCHEDULED, 48, NOON_S - 5, "3@1@0@1")
        assert world.claims() == {}


async def test_given_finished_and_unclaimed_rows_in_the_chain_when_finished_then_they_stay_as_they_are(world: World):
    dialed_id = world.add(chain_id=5, chain_n=0)
    done = world.add(chain_id=5, chain_n=1, record_status=UPDATED, call_result=6)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        late = world.add(chain_id=5, chain_n=2)  # imported during the call
        await store.finish_attempt(result_of(attempt, **goes_on()))
        assert state(world, dialed_id)[0] == READY
        assert state(world, done) == (UPDATED, GENERAL, 6, None, None)
        assert state(world, late) == (READY, GENERAL, 28, None, None)


@pytest.mark.parametrize(
    ("outside", "kept"),
    [
        ({"record_status": CANCELED, "call_result": 52}, (CANCELED, GENERAL, 52, None, None)),
        ({"record_status": UPDATED, "record_type": NO_CALL, "call_result": 51}, (UPDATED, NO_CALL, 51, None, None)),
        # Half a NoCall, by somebody's own SQL: it must neither be dialed nor stay Retrieved.
        ({"record_type": NO_CALL}, (UPDATED, NO_CALL, 28, None, None)),
    ],
)
@pytest.mark.parametrize("keep_claim", [False, True])
async def test_given_a_record_withdrawn_during_the_call_when_finished_then_it_keeps_that_and_the_call_counts(
    world: World, outside, kept, keep_claim
):
    first, second = add_chain(world, 2)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        world.change(first, **outside)
        await store.finish_attempt(result_of(attempt, agent_id="5001", **goes_on(keep_claim=keep_claim)))
        assert state(world, first) == kept
        row = world.row(first)
        assert (row["attempt"], row["call_time"], row["agent_id"]) == (1, NOON_S + 1, "5001")
        assert state(world, second)[0] == (RETRIEVED if keep_claim else READY)
        assert world.claims() == ({5: store.owner} if keep_claim else {})


async def test_given_a_chain_withdrawn_as_a_whole_when_it_would_go_on_then_the_claim_goes(world: World):
    add_chain(world, 2)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        found = await store.withdraw([LIST], Selector(record=(LIST, attempt.record_id)), Withdrawal.CANCEL)
        assert [entry.claimed for entry in found] == [True, True]
        assert await store.finish_attempt(result_of(attempt, **goes_on(keep_claim=True)))
        assert world.claims() == {}
        assert await store.chain(LIST, 5) == ()


async def test_given_nocall_when_a_desktop_writes_another_type_then_it_stays_nocall(world: World):
    (record_id,) = add_chain(world, 1)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        updates = {"record_type": int(GENERAL), "score": 3}
        await store.finish_attempt(result_of(attempt, record_type=NO_CALL, call_result=51, updates=updates))
        assert (state(world, record_id)[:3], world.row(record_id)["score"]) == ((UPDATED, NO_CALL, 51), 3)


# -- decisions without a call ----------------------------------------------------------------------------------------


async def test_given_a_settlement_when_made_then_the_chain_follows_it_and_the_decision_is_kept(world: World):
    first, second = add_chain(world, 2)
    async with world.store() as store:
        chain = await chain_of(store, 5)
        change = ChainChange(**goes_on(record_type=GENERAL, sibling_type=None))
        settlement = settlement_of(
            chain,
            change,
            call_result=48,
            agent_id="5002",
            updates={"score": 4},
            because="closed on holidays",
            evidence={"GSW_BLOCKING_RULE": "holidays", "GSW_BLOCKING_RULE_TYPE": 2},
        )
        assert await store.settle_chain(settlement) is True
        assert await store.settle_chain(settlement) is False
        assert state(world, first) == (READY, GENERAL, 48, NOON_S + 600, "9@1@0@1")
        assert state(world, second) == (READY, GENERAL, 28, NOON_S + 600, "9@1@0@1")
        row = world.row(first)
        assert (row["attempt"], row["call_time"], row["agent_id"], row["score"]) == (0, None, "5002", 4)
        assert world.claims() == {}
    if isinstance(world, MemoryWorld):
        (decision,) = world.database.journal.decisions
        assert (decision.owner, decision.settlement) == (store.owner, settlement)
    else:
        (row,) = world.conn.execute("SELECT * FROM ocsd.decision").fetchall()
        assert (row["owner"], row["table_name"], row["list_dbid"]) == (store.owner, "customers", LIST)
        assert (row["record_id"], row["chain_id"], row["call_result"]) == (first, 5, 48)
        assert (row["because"], row["treatments"], row["agent_id"]) == ("closed on holidays", "9@1@0@1", "5002")
        assert row["evidence"] == {"GSW_BLOCKING_RULE": "holidays", "GSW_BLOCKING_RULE_TYPE": 2}


async def test_given_no_result_of_its_own_when_settled_then_the_record_keeps_its_result(world: World):
    (record_id,) = add_chain(world, 1, call_result=6)
    async with world.store() as store:
        chain = await chain_of(store, 5)
        assert await store.settle_chain(settlement_of(chain, ChainChange(UPDATED, GENERAL)))
        assert state(world, record_id)[:3] == (UPDATED, GENERAL, 6)


async def test_given_a_chain_that_is_not_ours_or_is_dialed_when_settled_then_false_and_nothing_changes(world: World):
    (record_id,) = add_chain(world, 1)
    change = ChainChange(UPDATED, GENERAL)
    async with world.store("a") as first, world.store("b") as second:
        chain = await chain_of(first, 5)
        assert await second.settle_chain(settlement_of(chain, change)) is False
        attempt = await dialed(first, chain)
        assert await first.settle_chain(settlement_of(chain, change)) is False
        assert (state(world, record_id)[0], world.claims()) == (RETRIEVED, {5: first.owner})
        await first.finish_attempt(result_of(attempt))
        assert await first.settle_chain(settlement_of(chain, change)) is False


# -- dialing a row that is gone --------------------------------------------------------------------------------------


async def test_given_a_withdrawn_row_when_an_attempt_begins_then_it_is_refused_and_others_are_written(world: World):
    first, second = add_chain(world, 1, chain_id=1) + add_chain(world, 1, chain_id=2)
    async with world.store() as store:
        one, two = await store.claim_chains(LIST, GROUP, 9, NOON_UTC)
        await store.withdraw([LIST], Selector(record=(LIST, first)), Withdrawal.DO_NOT_CALL)
        ids = await store.next_attempt_ids(2)
        attempts = [
            replace(attempt_for(chain, 0), attempt_id=attempt_id)
            for chain, attempt_id in zip((one, two), ids, strict=True)
        ]
        refused = await store.begin_attempts(attempts)
        assert {key: refusal.until for key, refusal in refused.items()} == {ids[0]: None}
        assert "withdrawn" in refused[ids[0]].why
        assert [opened.record_id for opened in await store.open_attempts()] == [second]


# -- what goes with a result -----------------------------------------------------------------------------------------


async def test_given_requests_and_statements_when_finished_twice_then_they_are_kept_once(world: World):
    (record_id,) = add_chain(world, 1)
    async with world.store() as store:
        attempt = await dialed(store, await chain_of(store, 5))
        body = {"record": record_id, "odd": "\0\ud800", "n": float("nan")}
        finished = result_of(
            attempt,
            treatment_dbid=12,
            because="Redial 1 of 3",
            statements=(statement("UPDATE customers SET score = coalesce(score, 0) + 1"),),
            requests=(HttpRequest(13, "http://127.0.0.1/x", body),),
        )
        assert await store.finish_attempt(finished) is True
        assert await store.finish_attempt(finished) is False
    if isinstance(world, MemoryWorld):
        assert len(world.database.journal.statements) == len(world.database.journal.outbox) == 1
        return
    assert world.row(record_id)["score"] == 1
    (item,) = world.conn.execute("SELECT * FROM ocsd.outbox").fetchall()
    assert (item["attempt_id"], item["treatment_dbid"], item["url"]) == (attempt.attempt_id, 13, "http://127.0.0.1/x")
    assert item["body"] == {"record": record_id, "odd": "?", "n": None}
    (kept,) = world.conn.execute("SELECT treatment_dbid, because FROM ocsd.attempt").fetchall()
    assert kept == {"treatment_dbid": 12, "because": "Redial 1 of 3"}


@pytest.fixture
def story_world(database):
    world = PostgresWorld(database, result_configuration())
    yield world
    world.conn.close()


# -- both stores say the same ----------------------------------------------------------------------------------------

statuses = st.sampled_from([READY, UPDATED, RecordStatus.STALE, CANCELED, RecordStatus.AGENT_ERROR])
types = st.sampled_from([GENERAL, RESCHEDULED, RecordType.PERSONAL_RESCHEDULED, NO_CALL])
changes = st.builds(
    ChainChange,
    record_status=statuses,
    record_type=types,
    sibling_status=st.sampled_from([UPDATED, READY, RecordStatus.STALE]),
    sibling_type=st.none() | types,
    sibling_result=st.none() | st.sampled_from([6, 33]),
    dial_sched_time=st.none() | st.just(NOON_S - 60),
    treatments=st.none() | st.sampled_from(["9@1@0@1", "9@1@1@1"]),
    keep_claim=st.booleans(),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("finish"), st.integers(0, 2), changes),
        st.tuples(st.just("settle"), st.integers(0, 2), changes),
        st.tuples(
            st.just("outside"),
            st.integers(0, 2),
            st.fixed_dictionaries({}, optional={"record_status": statuses, "record_type": types}),
        ),
        st.tuples(st.just("withdraw"), st.integers(0, 2), st.tuples(st.sampled_from(Withdrawal), st.booleans())),
    ),
    min_size=1,
    max_size=6,
)


async def walk(world, store, script) -> list[object]:
    """Play a script on one chain and tell what can be seen after each step."""
    seen: list[object] = []
    ids = count(1)
    records = add_chain(world, 3)
    for kind, place, argument in script:
        if not world.claims():
            await store.claim_chains(LIST, GROUP, 9, NOON_UTC)
        live = await store.chain(LIST, 5)
        place = place % max(1, len(live))
        if kind == "finish" and live and world.claims():
            chain = chain_from(live, place)
            attempt = replace(attempt_for(chain, 0), attempt_id=next(ids))
            refused = await store.begin_attempts([attempt])
            seen.append(("refused", len(refused)))
            if not refused:
                seen.append(await store.finish_attempt(replace(result_of(attempt), change=argument)))
        elif kind == "settle" and live:
            seen.append(await store.settle_chain(settlement_of(chain_from(live, place), argument, call_result=10)))
        elif kind == "outside" and argument:
            world.change(records[place], **argument)
        elif kind == "withdraw":
            withdrawal, all_chain = argument
            selector = Selector(record=(LIST, records[place]), all_chain=all_chain)
            found = await store.withdraw([LIST], selector, withdrawal)
            seen.append([(records.index(entry.record_id), entry.claimed) for entry in found])
        rows = [world.row(record_id) for record_id in records]
        seen.append([state(world, record_id) for record_id in records])
        seen.append([(row["agent_id"], row["attempt"], row["call_time"]) for row in rows])
        seen.append(sorted(world.claims()))
        live_rows = [row for row in rows if row["record_status"] == RETRIEVED]
        assert not live_rows or world.claims() or kind == "outside", "Retrieved without a claim"
    return seen


def chain_from(live, place):
    record = live[place]
    return Chain(LIST, record.chain_id, (record,))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(script=steps)
async def test_given_any_story_of_a_chain_when_played_on_both_stores_then_they_agree(story_world, script):
    memory = MemoryWorld(result_configuration())
    expected = await walk(memory, MemoryListStore(memory.database), script)
    story_world.conn.execute(
        "TRUNCATE customers RESTART IDENTITY; TRUNCATE ocsd.attempt, ocsd.decision, ocsd.claim, ocsd.outbox"
    )
    async with open_store(story_world.config, node="n") as store:
        assert await walk(story_world, store, script) == expected
