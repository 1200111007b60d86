"""Preflight against what a claim and the sift behind it then do, row by row, on both stores."""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
import structlog
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ocsd.config.objects import AgentGroup, AttemptCap, Database, Filter, TableAccess
from ocsd.dnc.contract import DncEntry
from ocsd.dnc.mapped import registry_path, write_registry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.dnc.snapshot import read_snapshot
from ocsd.explain import readiness as names
from ocsd.explain.listed import ListedChain, snapshot
from ocsd.explain.preflight import campaign_of, forbidden_records, preflight
from ocsd.explain.readiness import Readiness, hourly
from ocsd.lists import counting
from ocsd.lists.gates import DIALED_TYPES
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.lists.memory_results import refused_by_caps
from ocsd.lists.postgres import open_store
from ocsd.lists.tables import create_table
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import ConfigError
from ocsd.model.records import CallingRecord, Chain
from tests.ocsd.record_run import RecordRun, VirtualClock
from tests.ocsd.weeks_world import CAPPED_LIST, FIRST_ZONE_DBID, SHARES, STRICT_LIST, TABLED_LIST, configuration

NOW = datetime(2026, 3, 7, 15, 20, tzinfo=UTC)
"""A Saturday: 10:20 in New York, 07:20 in Los Angeles, where legal hours have not begun."""
T = RecordType
EVERY_AGENT = 20_000
UNKNOWN_ZONE = 99


def config_for(dsn: str = "", **changes):
    """The lists of the virtual weeks, one with legal hours, one without a zone of its own; a cap that bites."""
    config = configuration(dsn, predictive_callback=True)
    more = {
        STRICT_LIST: {"calling_hours": ("us-federal",)},
        CAPPED_LIST: {"attempt_caps": ("number",)},
        TABLED_LIST: {"time_zone": ""},
    }
    lists = tuple(entry.model_copy(update=more[entry.dbid]) for entry in config.calling_lists)
    caps = (AttemptCap(dbid=71, name="number", max_attempts=1, period_h=3),)
    return config.model_copy(update={"calling_lists": lists, "attempt_caps": caps} | changes)


# --- lists ------------------------------------------------------------------------------------------------------------

PHONES = {
    "New York": "+12125550101", "Los Angeles": "+12135550102", "Hawaii": "+18085550103", "toll-free": "+18005550104",
    "London": "+442072220105", "not E.164": "2125550106", "another": "+13125550107", "one more": "+16025550108",
}  # fmt: skip
WINDOWS = ((28_800, 64_800), (0, 86_400), (32_400, 75_600), (79_200, 7_200), (37_200, 37_200))


@st.composite
def chains(draw):
    """Rows of one chain: columns by name. Most share type, schedule and state, as a chain does; a few do not."""
    kind = draw(st.sampled_from((T.GENERAL,) * 4 + (T.CAMPAIGN_RESCHEDULED,) * 3 + (T.CAMPAIGN_CALLBACK,) + PERSONAL))
    due = draw(st.sampled_from((None, None, -600, 0, 1, 5400, 30 * 3600)))
    size = draw(st.integers(1, 3))
    state = draw(st.sampled_from((None, "0@0@0@1", "5@1@1@1", "5@2@2@1", "not one")))
    agent = draw(st.sampled_from(("ada", "", None)))
    rows = []
    for chain_n in range(size):
        odd = draw(st.integers(0, 11)) == 0
        rows.append(
            {
                "chain_n": chain_n,
                "contact_info": draw(st.sampled_from(tuple(PHONES.values()))),
                "tz_dbid": draw(st.sampled_from((*range(FIRST_ZONE_DBID, FIRST_ZONE_DBID + 12), UNKNOWN_ZONE))),
                "window": draw(st.sampled_from(WINDOWS)),
                "record_type": draw(st.sampled_from(tuple(T))) if odd else kind,
                "record_status": draw(st.sampled_from((1, 1, 1, 1, 1, 1, 2, 3, 5))) if size > 1 or odd else 1,
                "attempt": draw(st.sampled_from((0, 0, 0, 3, 6))),
                "dial_sched_time": None if due is None else int(NOW.timestamp()) + due,
                "treatments": state,
                "agent_id": agent if kind in PERSONAL else None,
                "customer": draw(st.sampled_from((None, "C1", "C2", "C3"))),
            }
        )
    return rows


PERSONAL = (T.PERSONAL_CALLBACK, T.PERSONAL_RESCHEDULED)
LISTS = st.fixed_dictionaries({dbid: st.lists(chains(), max_size=9) for dbid in SHARES})
FORBIDDEN = st.sets(st.sampled_from((*PHONES.values(), "C1", "C2")), max_size=3)


NEW_YORK, LOS_ANGELES = FIRST_ZONE_DBID, FIRST_ZONE_DBID + 3


def row(**changes):
    return {
        "chain_n": 0, "contact_info": PHONES["New York"], "tz_dbid": NEW_YORK, "window": (0, 86_400),
        "record_type": T.GENERAL, "record_status": 1, "attempt": 0, "dial_sched_time": None, "treatments": None,
        "agent_id": None, "customer": None,
    } | changes  # fmt: skip


def reschedule(**changes):
    return row(record_type=T.CAMPAIGN_RESCHEDULED, **changes)


ONE_OF_EACH = {
    STRICT_LIST: [
        *([row()] for _ in range(6)),  # to be dialed before, and claimed
        [row(contact_info=PHONES["one more"])],
        [row(contact_info=PHONES["another"], customer="C1")],
        [row(tz_dbid=LOS_ANGELES, contact_info=PHONES["toll-free"])],
        [row(contact_info=PHONES["Los Angeles"], window=(28_800, 64_800))],
        [row(window=(79_200, 7_200))],
        [row(attempt=4)],
        [row(dial_sched_time=int(NOW.timestamp()) + 60)],
        [row(record_type=T.PERSONAL_CALLBACK)],
        *([reschedule(treatments="5@1@1@1"), reschedule(chain_n=1, treatments="5@1@1@1")] for _ in range(6)),
    ],
    # One number in two chains: the first to be called uses up what the cap allows the other.
    CAPPED_LIST: [[row()], [row(dial_sched_time=1)], [row(contact_info=PHONES["another"])]],
    TABLED_LIST: [[row(tz_dbid=LOS_ANGELES)], [row(tz_dbid=UNKNOWN_ZONE)]],
}


@dataclass
class Seen:
    """What preflight said before, and the two daemons of its world."""

    held_back: dict[int, Counter] = field(default_factory=dict)
    reasons: dict[tuple[int, int], str | None] = field(default_factory=dict)
    ready: dict[int, int] = field(default_factory=dict)
    for_agents: dict[int, int] = field(default_factory=dict)


class MemorySide:
    def __init__(self):
        self.clock = VirtualClock(NOW)
        self.config = config_for()
        self.database = MemoryDatabase(self.config, now=self.clock.utc)

    def load(self, lists):
        for list_dbid, found in lists.items():
            for chain_id, rows in enumerate(found, 1):
                for row in rows:
                    columns = dict(row)
                    columns["daily_from"], columns["daily_till"] = columns.pop("window")
                    self.database.add_record(list_dbid, chain_id=chain_id, **columns)

    def join(self, list_dbid, chain_id):
        """Somebody adds a row to a chain that is claimed."""
        self.database.add_record(list_dbid, chain_id=chain_id, chain_n=9, contact_info=PHONES["London"])

    @asynccontextmanager
    async def stores(self):
        yield MemoryListStore(self.database, node="a"), MemoryListStore(self.database, node="b")

    def look(self, dnc, seen: Seen):
        for calling_list in self.config.calling_lists:
            name = self.database.table_name(calling_list.dbid)
            found: dict[int, list[CallingRecord]] = {}
            for row in self.database.rows(calling_list.dbid).values():
                if row.record_status is RecordStatus.READY and row.record.record_type in DIALED_TYPES:
                    found.setdefault(row.record.chain_id, []).append(row.record)
            campaign = campaign_of(self.config, calling_list)
            readiness = Readiness(
                self.config, calling_list, hourly(NOW),
                forbidden=partial(forbidden_records, self.config, calling_list, campaign, dnc, NOW),
                capped=lambda records, dbid=calling_list.dbid: refused_by_caps(self.database, dbid, 401, records, NOW),
                note=partial(note, seen, calling_list.dbid),
            )  # fmt: skip
            readiness.add(
                ListedChain(
                    Chain(calling_list.dbid, chain_id, tuple(sorted(rows, key=lambda r: r.chain_n))),
                    (name, chain_id) in self.database.claims,
                )
                for chain_id, rows in found.items()
            )
            seen.ready[calling_list.dbid] = readiness.found.ready_at(0)
            seen.for_agents[calling_list.dbid] = readiness.found.for_agents_at(0)
            seen.held_back[calling_list.dbid] = readiness.found.held_back

    def statuses(self):
        return {
            (dbid, record_id): (int(row.record_status), int(row.record.record_type))
            for dbid in SHARES
            for record_id, row in self.database.rows(dbid).items()
        }


def note(seen: Seen, list_dbid: int, record: CallingRecord, reason: str | None):
    assert (list_dbid, record.record_id) not in seen.reasons
    seen.reasons[list_dbid, record.record_id] = reason


class PostgresSide:
    def __init__(self, dsn: str):
        self.clock = VirtualClock(NOW)
        self.config = config_for(dsn)
        self.conn = psycopg.connect(dsn, autocommit=True)
        for calling_list in self.config.calling_lists:
            create_table(self.conn, self.config, calling_list)

    def load(self, lists):
        self.conn.execute("TRUNCATE ocsd.claim, ocsd.attempt CASCADE")
        for list_dbid, found in lists.items():
            self.conn.execute(f"TRUNCATE list_{list_dbid} RESTART IDENTITY")
            for chain_id, rows in enumerate(found, 1):
                for row in rows:
                    columns = dict(row) | {"chain_id": chain_id}
                    columns["daily_from"], columns["daily_till"] = columns.pop("window")
                    self.conn.execute(
                        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                            sql.Identifier(f"list_{list_dbid}"),
                            sql.SQL(", ").join(map(sql.Identifier, columns)),
                            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
                        ),
                        [int(value) if isinstance(value, int) else value for value in columns.values()],
                    )

    def join(self, list_dbid, chain_id):
        self.conn.execute(
            f"INSERT INTO list_{list_dbid} (contact_info, chain_id, chain_n) VALUES (%s, %s, 9)",
            (PHONES["London"], chain_id),
        )

    @asynccontextmanager
    async def stores(self):
        async with open_store(self.config, node="a") as one, open_store(self.config, node="b") as other:
            yield one, other

    def look(self, dnc, seen: Seen):
        for calling_list in self.config.calling_lists:
            found = preflight(self.conn, self.config, calling_list, NOW, dnc)
            assert found.rows == found.ready_rows + sum(found.held_back.values())
            assert found.ready_by_hour[0].chains == found.ready_now
            seen.ready[calling_list.dbid] = found.ready_now
            seen.for_agents[calling_list.dbid] = found.for_agents
            with snapshot(self.conn, self.config, calling_list) as reader:
                campaign = campaign_of(self.config, calling_list)
                from ocsd.explain.preflight import _capped

                again = Readiness(
                    self.config, calling_list, hourly(NOW),
                    forbidden=partial(forbidden_records, self.config, calling_list, campaign, dnc, NOW),
                    capped=_capped(reader, campaign, NOW),
                    note=partial(note, seen, calling_list.dbid),
                )  # fmt: skip
                for block in reader.blocks():
                    again.add(block)
            assert again.found.ready_rows == found.ready_rows
            seen.held_back[calling_list.dbid] = again.found.held_back

    def statuses(self):
        return {
            (dbid, row[0]): row[1:]
            for dbid in SHARES
            for row in self.conn.execute(f"SELECT record_id, record_status, record_type FROM list_{dbid}").fetchall()
        }


async def compared(side, lists, forbidden) -> Seen:
    """
    Dial a little, let another daemon hold a few chains, forbid; look; then claim and sift everything, and compare.
    """
    side.load(lists)
    dnc, seen = MemoryDoNotCall(), Seen()
    group = side.config.campaign_groups[0]
    async with side.stores() as (store, other):
        side.clock.now = NOW - timedelta(hours=1)
        early = RecordRun(side.config, group, store, dnc, side.clock)
        await early.refill(1)
        for dial in await early.dial(3):
            side.clock.pass_s(40)
            await early.end(dial, int(CallResult.NO_ANSWER))
        await early.unload()
        side.clock.now = NOW
        await dnc.add([DncEntry(1, *((key, None) if key[0] != "C" else (None, key)), NOW) for key in sorted(forbidden)])
        claimed = [await other.claim_chains(dbid, group.dbid, 1, NOW) for dbid in SHARES]

        for chain in (chain for found in claimed for chain in found):
            side.join(chain.list_dbid, chain.chain_id)
        side.look(dnc, seen)
        before = side.statuses()
        run = RecordRun(side.config, group, store, dnc, side.clock)
        await run.refill(EVERY_AGENT)
        dialed = {(chain.list_dbid, chain.chain_id): chain for chain in run.supply.waiting()}
        withdrawn = {key for key, now in side.statuses().items() if now[1] == T.NO_CALL != before[key][1]}
        delivered = [chain for chain in await run.supply.callbacks() if chain.record.agent_id]
        await run.unload()
        for chains in claimed:
            await other.give_back(chains)

    assert seen.ready == {dbid: sum(key[0] == dbid for key in dialed) for dbid in SHARES}
    assert seen.for_agents == {dbid: sum(chain.list_dbid == dbid for chain in delivered) for dbid in SHARES}
    for key, chain in dialed.items():
        passing = [r for r in chain.records if seen.reasons[key[0], r.record_id] is None]
        assert passing, (
            f"{chain} is dialed, and preflight says {[seen.reasons[key[0], r.record_id] for r in chain.records]}"
        )
        assert chain.record in passing
    chain_of = {(c.list_dbid, r.record_id) for c in (*dialed.values(), *delivered) for r in c.records}
    for key, reason in seen.reasons.items():
        assert reason is not None or key in chain_of, f"{key} was said to be ready"
        if key in withdrawn:
            assert reason is not None
    refusing = {
        counting.USED_UP,
        counting.LATER,
        counting.NO_ZONE,
        counting.CLOSED,
        names.LEGAL_HOURS,
        names.BUSINESS_HOURS,
    }
    for chain in dialed.values():
        for record in chain.records:
            reason = seen.reasons[chain.list_dbid, record.record_id]
            refusal = run.planner.refusal(record, NOW)
            if reason is None or reason in (names.CAPPED, names.FORBIDDEN_NUMBER, names.FORBIDDEN_CUSTOMER):
                assert refusal is None
            if reason in refusing | {names.NUMBER_ZONES}:
                assert refusal is not None
    return seen


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


TOGETHER: Counter = Counter()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(LISTS, FORBIDDEN)
def test_given_any_list_in_memory_when_looked_at_then_claim_and_sift_take_exactly_what_was_said(lists, forbidden):
    for found in trio.run(compared, MemorySide(), lists, forbidden).held_back.values():
        TOGETHER.update(found)


def test_given_the_lists_of_the_test_before_when_counted_then_every_gate_has_held_something_back():
    found = trio.run(compared, MemorySide(), ONE_OF_EACH, {PHONES["one more"], "C1"})
    TOGETHER.update(sum(found.held_back.values(), Counter()))
    wanted = {
        counting.CLAIMED, counting.NO_AGENT, counting.USED_UP, counting.LATER, counting.NO_ZONE, counting.CLOSED,
        counting.WAITING, names.LEGAL_HOURS, names.BUSINESS_HOURS, names.FORBIDDEN_NUMBER, names.FORBIDDEN_CUSTOMER,
        names.NUMBER_ZONES, names.CAPPED,
    }  # fmt: skip
    assert wanted <= TOGETHER.keys(), wanted - TOGETHER.keys()


def test_given_any_list_on_postgresql_when_looked_at_then_claim_and_sift_take_exactly_what_was_said(database):
    side = PostgresSide(database)

    @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(LISTS, FORBIDDEN)
    def check(lists, forbidden):
        found = trio.run(compared, side, lists, forbidden)
        assert found == trio.run(compared, MemorySide(), lists, forbidden)

    check()
    side.conn.close()


# --- what an operator is told -----------------------------------------------------------------------------------------


class Operator:
    """One list on PostgreSQL that is in order: a campaign with agents and a trunk, statistics, all day open."""

    def __init__(self, dsn, folder, **changes):
        config = config_for(dsn)
        config = config.model_copy(
            update={"agent_groups": (AgentGroup(dbid=51, name="G", agents=("ada",)),), "data_dir": str(folder)}
            | changes
        )
        self.config = config
        self.conn = psycopg.connect(dsn, autocommit=True)
        create_table(self.conn, config, self.calling_list)
        self.add(1)
        self.conn.execute("ANALYZE list_302")

    @property
    def calling_list(self):
        return self.config.calling_list_by_dbid(CAPPED_LIST)

    def add(self, count, **columns):
        row = {
            "contact_info": "+12125550101",
            "tz_dbid": FIRST_ZONE_DBID,
            "daily_from": 0,
            "daily_till": 86_400,
        } | columns
        for _ in range(count):
            self.conn.execute(
                sql.SQL("INSERT INTO list_302 ({}) VALUES ({})").format(
                    sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join([sql.Placeholder()] * len(row))
                ),
                [int(value) if isinstance(value, int) else value for value in row.values()],
            )

    def change(self, **changes):
        """Of the calling list."""
        lists = (self.calling_list.model_copy(update=changes),)
        self.config = self.config.model_copy(update={"calling_lists": lists})

    def look(self):
        return preflight(self.conn, self.config, self.calling_list, NOW, MemoryDoNotCall())

    def warnings(self):
        return self.look().warnings


@pytest.fixture
def operator(database, tmp_path):
    made = Operator(database, tmp_path)
    # Its treatments plan more calls than the tight cap of the other tests allows.
    made.change(attempt_caps=())
    yield made
    made.conn.close()


def test_given_a_list_in_order_when_looked_at_then_there_is_nothing_to_warn_of(operator):
    assert operator.warnings() == ()


def told(operator, *words):
    found = [warning for warning in operator.warnings() if all(word in warning for word in words)]
    assert len(found) == 1, operator.warnings()
    return found[0]


def test_given_rows_nobody_can_dial_when_looked_at_then_each_kind_is_told(operator):
    operator.add(2, contact_info="2125550101")
    operator.add(3, tz_dbid=UNKNOWN_ZONE)
    operator.add(4, record_type=int(T.PERSONAL_CALLBACK))
    assert told(operator, "2 rows", "E.164")
    assert told(operator, "4 personal", "no agent")
    operator.change(time_zone="")
    assert told(operator, "3 rows", "time zone")


def test_given_no_window_within_a_day_when_looked_at_then_the_first_opening_is_told(operator):
    operator.conn.execute("UPDATE list_302 SET daily_from = 10, daily_till = 10")
    assert told(operator, "No chain can be dialed within a day", "none is known to open")
    days = ("weekday 0",)  # Mondays
    tables = tuple(table.model_copy(update={"days": days, "country": ""}) for table in operator.config.stat_tables)
    operator.config = operator.config.model_copy(update={"stat_tables": tables})
    operator.change(weekday_table="weekdays")
    operator.conn.execute("UPDATE list_302 SET daily_from = 36000, daily_till = 64800")
    assert told(operator, "No chain can be dialed within a day", "2026-03-09 14:00")  # 10:00, daylight saving time
    operator.conn.execute("DELETE FROM list_302")
    assert told(operator, "Nothing waits to be dialed")


def test_given_nobody_who_could_dial_when_looked_at_then_what_is_missing_is_told(operator):
    config = operator.config
    group = config.campaign_groups[0]
    operator.config = config.model_copy(update={"campaign_groups": (group.model_copy(update={"trunks": ()}),)})
    assert told(operator, "has no trunk")
    operator.config = config.model_copy(update={"campaign_groups": (group.model_copy(update={"trunks": ("gone",)}),)})
    assert told(operator, "'gone' is not configured")
    operator.config = config.model_copy(update={"agent_groups": (AgentGroup(dbid=51, name="G"),)})
    assert told(operator, "has no agents")
    operator.config = config.model_copy(update={"campaign_groups": ()})
    assert told(operator, "has no campaign group")
    campaign = config.campaigns[0]
    resting = tuple(entry.model_copy(update={"active": False}) for entry in campaign.lists)
    operator.config = config.model_copy(update={"campaigns": (campaign.model_copy(update={"lists": resting}),)})
    assert told(operator, "active in no campaign", "not active, in 'C'")


def test_given_caps_lower_than_the_treatments_when_looked_at_then_both_numbers_are_told(operator):
    operator.change(attempt_caps=("number",))
    # No answer: again after 30 and after 60 minutes; one call in three hours is allowed.
    warning = told(operator, "up to 3 attempts", "'No Answer'")
    assert "at most 1 call to a number in 3 h" in warning
    caps = (operator.config.attempt_caps[0].model_copy(update={"max_attempts": 3}),)
    operator.config = operator.config.model_copy(update={"attempt_caps": caps})
    assert operator.warnings() == ()


def test_given_registries_that_have_ended_or_are_damaged_when_looked_at_then_they_are_told(operator, tmp_path):
    import numpy as np

    numbers = np.array([12125550101, 12125550102], np.uint64)
    write_registry(registry_path(tmp_path, None, "old"), numbers, until=int(NOW.timestamp()) - 86_400)
    write_registry(registry_path(tmp_path, 1, "new"), numbers, until=int(NOW.timestamp()) + 86_400)
    registry_path(tmp_path, 1, "broken").write_bytes(b"nothing")

    assert told(operator, "'old' (2 numbers) ended at 2026-03-06 15:20 UTC")
    assert told(operator, "'broken' cannot be used")
    assert not any("'new'" in warning for warning in operator.warnings())


def test_given_a_table_without_statistics_or_indexes_when_looked_at_then_what_to_do_is_told(operator):
    operator.conn.execute("CREATE TABLE other (LIKE list_302 INCLUDING ALL)")
    accesses = (TableAccess(dbid=402, name="Table 302", table="other", format="F"),)
    operator.config = operator.config.model_copy(update={"table_accesses": accesses})
    assert told(operator, 'ANALYZE "other"')
    operator.conn.execute("DROP INDEX other_contact_info_idx")
    assert told(operator, "lacks an index on (contact_info)", "CREATE INDEX")


def test_given_an_order_without_an_index_when_looked_at_then_it_is_told_until_there_is_one(operator):
    operator.conn.execute(
        "INSERT INTO list_302 (contact_info, customer) SELECT '+1' || (2125550000 + n), 'C' || n % 977"
        " FROM generate_series(1, 12000) AS n"
    )
    operator.conn.execute("ANALYZE list_302")
    filters = (Filter(dbid=9, name="oldest first", criteria="customer IS NOT NULL", order_by="call_time DESC"),)
    operator.config = operator.config.model_copy(update={"filters": filters})
    operator.change(filter="oldest first")
    assert told(operator, "'oldest first' has no index that begins with it", "rows are sorted")
    operator.conn.execute("CREATE INDEX ON list_302 (call_time DESC, record_id) WHERE record_status = 1")
    assert operator.warnings() == ()
    assert operator.look().held_back[counting.EXCLUDED] == 1


# --- reading ----------------------------------------------------------------------------------------------------------


def test_given_a_filter_that_does_not_work_when_looked_at_then_it_is_told_and_the_connection_is_as_before(operator):
    operator.config = operator.config.model_copy(
        update={"filters": (Filter(dbid=9, name="bad", criteria="no_column = 1"),)}
    )
    operator.change(filter="bad")
    with pytest.raises(ConfigError, match="filter 'bad'"):
        operator.look()
    assert operator.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_given_a_filter_that_writes_or_reads_elsewhere_when_looked_at_then_it_is_refused(operator):
    for criteria in (
        "(SELECT count(*) FROM ocsd.attempt) = 0",
        "pg_sleep(0) IS NULL OR setval('ocsd.attempt_id', 1) > 0",
    ):
        filters = (Filter(dbid=9, name="sly", criteria=criteria),)
        operator.config = operator.config.model_copy(update={"filters": filters})
        operator.change(filter="sly")
        with pytest.raises(ConfigError):
            operator.look()


def test_given_a_transaction_of_the_daemons_when_looked_at_in_it_then_it_works_and_its_role_is_its_own(operator):
    who = operator.conn.execute("SELECT current_user").fetchone()
    with operator.conn.transaction():
        found = operator.look()
        assert operator.conn.execute("SELECT current_user").fetchone() == who
    assert found.ready_now == 1


def test_given_more_rows_than_a_block_when_read_then_every_chain_is_whole_and_progress_is_told(operator, monkeypatch):
    monkeypatch.setattr("ocsd.explain.listed.BLOCK_ROWS", 7)
    operator.conn.execute(
        "INSERT INTO list_302 (contact_info, chain_id, chain_n) SELECT '+1' || (2125550000 + 3 * c + n), 1000 + c, n"
        " FROM generate_series(1, 20) AS c, generate_series(0, c % 4) AS n"
    )
    seen = []
    with snapshot(operator.conn, operator.config, operator.calling_list) as reader:
        sizes = Counter(
            len(listed.chain.records) for block in reader.blocks() for listed in block if listed.chain.chain_id > 1000
        )
        assert reader.chains() == 21
    preflight(
        operator.conn, operator.config, operator.calling_list, NOW, MemoryDoNotCall(),
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip

    assert sizes == {1: 5, 2: 5, 3: 5, 4: 5}
    assert seen[-1] == (51, 51)
    assert len(seen) > 5


async def test_given_the_table_and_a_registry_when_read_once_then_both_forbid_to_whom_they_hold(database, tmp_path):
    import numpy as np

    write_registry(registry_path(tmp_path, None, "us"), np.array([12125550101], np.uint64))
    config = config_for(database).model_copy(update={"database": Database(dsn=database)})
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO gsw_donotcall_list (phone, customer_id, tenant_dbid) VALUES ('+12125550102', NULL, 1),"
            " (NULL, 'C7', 1), ('+12125550103', NULL, 2)"
        )
        dnc = read_snapshot(conn, config, tmp_path)

    phones = [f"+1212555010{n}" for n in range(1, 5)]
    assert dnc.forbidden(1, phones, NOW) == [True, True, False, False]
    assert dnc.forbidden(2, phones, NOW) == [True, False, True, False]
    assert dnc.forbidden(0, phones, NOW) == [True, False, False, False]
    assert dnc.customers_forbidden(1, ["C7", "C8"], NOW) == [True, False]
    registry_path(tmp_path, None, "broken").write_bytes(b"nothing")
    with psycopg.connect(database, autocommit=True) as conn, pytest.raises(ConfigError, match="broken"):
        read_snapshot(conn, config, tmp_path)
