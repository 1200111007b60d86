"""What `why` says of a row is what claim and sift do with it: any table, any instant, on PostgreSQL."""

from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocsd.dnc.contract import DncEntry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.dnc.table import request_of, write
from ocsd.explain.contract import Reach
from ocsd.explain.facts import gather, with_ahead
from ocsd.explain.why import explain
from ocsd.sessions.planner import Planner
from ocsd.sessions.supply import RecordSupply
from tests.ocsd.list_worlds import PostgresWorld, asked_from_outside
from tests.ocsd.why_world import (
    HOUR,
    LIST,
    LOS_ANGELES,
    NEW_YORK,
    NOON,
    PLAIN_LIST,
    TENANT,
    configuration,
    was_called,
)

S = int(NOON.timestamp())
PHONES = ("+12125550101", "+12135550102", "+442071838750", "+18005550103")
CUSTOMERS = ("C-1", "C-2", None)
STATES = (None, "0@0@0@1", "7@1@1@1", "7@2@2@1", "7@1@0@0", " 7@1@1@1", "x", "7@1@9@1")
OWNER = "other/1"

rows = st.fixed_dictionaries(
    {
        "chain_id": st.integers(1, 5),
        "chain_n": st.integers(0, 2),
        "contact_info": st.sampled_from(PHONES),
        "record_status": st.sampled_from([1, 1, 1, 1, 1, 1, 1, 2, 3]),
        "record_type": st.sampled_from([2, 2, 2, 3, 4, 5, 6, 7, 0]),
        "attempt": st.sampled_from([0, 0, 0, 0, 1, 2, 11]),
        "dial_sched_time": st.sampled_from([None, None, None, S - 900, S, S + 1, S + 5 * HOUR]),
        "daily_from": st.sampled_from([0, 8 * HOUR, 8 * HOUR, 8 * HOUR, 20 * HOUR]),
        "daily_till": st.sampled_from([86_400, 21 * HOUR, 21 * HOUR, 21 * HOUR, 12 * HOUR + 1]),
        "tz_dbid": st.sampled_from([NEW_YORK, NEW_YORK, LOS_ANGELES, 99]),
        "agent_id": st.sampled_from([None, "ada"]),
        "treatments": st.sampled_from(STATES),
        "customer": st.sampled_from(CUSTOMERS),
        "segment": st.sampled_from(["overdue", "overdue", "overdue", "new", None]),
    }
)
tables = st.lists(rows, min_size=4, max_size=12, unique_by=lambda row: (row["chain_id"], row["chain_n"]))
instants = st.sampled_from([0, 0, 0, 1, -3 * HOUR, 3 * HOUR, 3 * HOUR, 8 * HOUR, 86_400, 4 * 86_400]).map(
    lambda s: NOON + timedelta(seconds=s)
)
calls = st.lists(
    st.tuples(st.sampled_from(PHONES), st.sampled_from(CUSTOMERS), st.sampled_from([60, 1800, 3599, 3600, 40_000])),
    max_size=5,
)
forbidden = st.lists(
    st.tuples(
        st.sampled_from([(PHONES[0], None), (PHONES[2], None), (None, "C-1"), (PHONES[1], "C-2")]),
        st.sampled_from([None, None, -60, 60]),
        st.sampled_from([None, TENANT, TENANT + 1]),
    ),
    max_size=2,
)


@pytest.fixture
def world(database):
    world = PostgresWorld(database, configuration(database))
    world.conn.execute("INSERT INTO ocsd.instance (owner, node) VALUES (%s, 'other')", (OWNER,))
    yield world
    world.conn.close()


@pytest.fixture
def ask(world):
    with asked_from_outside(world) as ask:
        yield ask


@pytest.fixture
def conn(database):
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def planned(config, list_dbid, dials_callbacks):
    """The campaign dials this list only."""
    name = config.calling_list_by_dbid(list_dbid).name
    campaign = config.campaigns[0]
    lists = tuple(entry for entry in campaign.lists if entry.calling_list == name)
    group = config.campaign_groups[0].model_copy(update={"options": {"predictive_callback": dials_callbacks}})
    return config.model_copy(
        update={"campaigns": (campaign.model_copy(update={"lists": lists}),), "campaign_groups": (group,)}
    )


def is_open(conn, config, list_dbid, record_id, at):
    """Every gate of the record is open, as `why` has it."""
    facts = gather(conn, config, config.calling_list_by_dbid(list_dbid), record_id, at)
    return all(gate.passed is True for gate in explain(facts, None).gates if gate.reach is Reach.RECORD)


@given(tables, instants, calls, forbidden, st.sets(st.integers(1, 5), max_size=1), st.booleans(), st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_given_any_table_and_instant_when_asked_why_then_a_row_is_open_exactly_if_claim_and_sift_take_it(
    world, ask, conn, table, at, made, dnc, claimed, of_plain_list, dials_callbacks
):
    list_dbid = PLAIN_LIST if of_plain_list else LIST
    config = planned(world.config, list_dbid, dials_callbacks)
    requests = MemoryDoNotCall()
    conn.execute("TRUNCATE customers, ocsd.claim, ocsd.attempt, ocsd.decision, gsw_donotcall_list, ocsd.dnc_request")
    entries = [
        DncEntry(tenant, phone, customer, NOON, "", expires_at=None if ends is None else at + timedelta(seconds=ends))
        for (phone, customer), ends, tenant in dnc
    ]
    requests.hear(entries)
    with conn.transaction():
        for record_id, row in enumerate(table, start=1):
            world.add(record_id=record_id, **row)
        # A Retrieved row that nobody has claimed becomes Ready when its chain is claimed and given back: not between
        # our two looks, please.
        conn.execute(
            "UPDATE customers AS c SET record_status = 3 WHERE record_status = 2 AND NOT chain_id = ANY(%s)"
            " AND EXISTS (SELECT FROM customers AS o WHERE o.chain_id = c.chain_id AND o.record_id <> c.record_id)",
            (list(claimed),),
        )
        for attempt_id, (phone, customer, ago) in enumerate(made, start=1):
            was_called(conn, attempt_id, at - timedelta(seconds=ago), phone=phone, customer_id=customer, chain_id=-1)
        write(conn, [request_of(entry, NOON) for entry in entries])
        for chain_id in claimed:
            conn.execute(
                "INSERT INTO ocsd.claim VALUES ('customers', %s, %s, 501, %s, gen_random_uuid(), now(), now() + '1h')",
                (chain_id, list_dbid, OWNER),
            )

    told = {record_id for record_id in range(1, len(table) + 1) if is_open(conn, config, list_dbid, record_id, at)}

    async def taken(store):
        supply = RecordSupply(Planner(config, config.campaign_groups[0]), store=store, dnc=requests, utc=lambda: at)
        await supply.refill(1)
        found = {chain.record.record_id for chain in supply.waiting()}
        found |= {chain.record.record_id for chain in await supply.callbacks()}
        await store.give_back(supply.empty())
        return found

    assert told == ask(taken)


def test_given_a_connection_of_the_daemon_when_asked_why_then_it_is_given_back_as_it_was(world, ask):
    for record_id, chain_id in ((1, 1), (2, 2)):
        world.add(record_id=record_id, chain_id=chain_id, contact_info=PHONES[0], tz_dbid=NEW_YORK, customer="C",
                  segment="overdue", daily_from=8 * HOUR, daily_till=21 * HOUR)  # fmt: skip
    calling_list = world.config.calling_list_by_dbid(LIST)

    def look(conn):
        facts = gather(conn, world.config, calling_list, 2, NOON)
        return with_ahead(conn, facts, facts.priorities())

    def role(conn):
        return conn.execute("SELECT current_user, current_setting('transaction_read_only')").fetchone()

    async def asked(store):
        before = await store.database.transaction(role)
        facts = [await store.database.transaction(look, read_only=True) for _ in range(8)]
        return before, facts, [await store.database.transaction(role) for _ in range(8)]

    before, facts, after = ask(asked)

    assert {(found.ahead, found.row.admitted) for found in facts} == {(1, True)}
    assert set(after) == {before} == {(before[0], "off")}
