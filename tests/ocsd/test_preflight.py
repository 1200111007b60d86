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


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(LISTS, FORBIDDEN)
def test_given_any_list_in_memory_when_looked_at_then_claim_and_sift_take_exactly_what_was_said(lists, forbidden):
    for found in trio.run(compared, MemorySide(), lists, forbidden).held_back.values():
        TOGETHER.update(found)


def test_given_any_list_on_postgresql_when_looked_at_then_claim_and_sift_take_exactly_what_was_said(database):
    side = PostgresSide(database)

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(LISTS, FORBIDDEN)
    def check(lists, forbidden):
        found = trio.run(compared, side, lists, forbidden)
        assert found == trio.run(compared, MemorySide(), lists, forbidden)

    check()
    side.conn.close()
