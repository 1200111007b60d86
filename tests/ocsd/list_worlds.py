"""What the list tests share: a configuration, values, and one harness per kind of store."""

import queue
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import trio
from psycopg import sql
from psycopg.rows import dict_row

from ocsd.config.objects import (
    CallingList,
    Configuration,
    Database,
    Filter,
    Format,
    FormatField,
    TableAccess,
    TimeZoneObject,
)
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.lists.postgres import open_store
from ocsd.lists.store import ListStore
from ocsd.lists.tables import create_table, table_of
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import AttemptTimes, Chain, ChainChange, FinishedAttempt, NewAttempt

HANG_LIMIT_S = 60.0
"""Only catches hangs."""

LIST = 301
FILTERED_LIST = 302
GROUP = 501
NOON_UTC = datetime(2026, 3, 3, 17, 0, 0, tzinfo=UTC)
"""12:00 in New York, 09:00 in Los Angeles, 17:00 in London, 22:30 in Kolkata."""


def configuration(dsn: str = "", **changes: Any) -> Configuration:
    settings: dict[str, Any] = {
        "database": Database(dsn=dsn),
        "time_zones": (
            TimeZoneObject(dbid=11, name="EST", zone="America/New_York"),
            TimeZoneObject(dbid=12, name="PST", zone="America/Los_Angeles"),
            TimeZoneObject(dbid=13, name="GMT", zone="Europe/London"),
            TimeZoneObject(dbid=14, name="IST", zone="Asia/Kolkata"),
        ),
        "formats": (
            Format(
                dbid=201,
                name="Customers",
                fields=(
                    FormatField(name="customer_name", length=40),
                    FormatField(name="balance", type="float"),
                    FormatField(name="score", type="int"),
                ),
            ),
        ),
        "table_accesses": (TableAccess(dbid=211, name="Customers", table="customers", format="Customers"),),
        "filters": (
            Filter(
                dbid=221,
                name="Rich",
                criteria="balance > 1000 AND customer_name LIKE 'A%' -- percent and comment",
                order_by="balance DESC",
            ),
        ),
        "calling_lists": (
            CallingList(
                dbid=LIST,
                name="Customers",
                table_access="Customers",
                time_zone="EST",
                daily_from=9 * 3600,
                daily_till=18 * 3600,
                max_attempts=3,
            ),
            CallingList(
                dbid=FILTERED_LIST, name="RichCustomers", table_access="Customers", filter="Rich", time_zone="EST"
            ),
        ),
    }
    return Configuration(**(settings | changes))


def attempt_for(chain: Chain, attempt_id: int, place: int = 0) -> NewAttempt:
    record = chain.records[place]
    return NewAttempt(
        attempt_id=attempt_id,
        guid=f"guid-{attempt_id}",
        list_dbid=chain.list_dbid,
        record_id=record.record_id,
        chain_id=chain.chain_id,
        campaign_dbid=401,
        campaign_group_dbid=GROUP,
        phone=record.contact_info,
        leg_id=f"leg-{attempt_id}",
        started_at=NOON_UTC,
    )


def result_of(attempt: NewAttempt, **changes: Any) -> FinishedAttempt:
    change: dict[str, Any] = {"record_status": RecordStatus.UPDATED, "record_type": RecordType.GENERAL}
    names = ChainChange.__dataclass_fields__
    change |= {name: changes.pop(name) for name in list(changes) if name in names}
    values: dict[str, Any] = {
        "attempt_id": attempt.attempt_id,
        "list_dbid": attempt.list_dbid,
        "record_id": attempt.record_id,
        "chain_id": attempt.chain_id,
        "call_result": int(CallResult.ANSWER),
        "change": ChainChange(**change),
        "finished_at": NOON_UTC + timedelta(seconds=90),
        "times": AttemptTimes(dialing_at=NOON_UTC + timedelta(seconds=1), answered_at=NOON_UTC + timedelta(seconds=9)),
    }
    return FinishedAttempt(**(values | changes))


class MemoryWorld:
    """A memory database and the stores on it."""

    def __init__(self, config: Configuration | None = None) -> None:
        self.database = MemoryDatabase(config or configuration())
        self._phones = count(2125550100)

    def add(self, *, to: int = LIST, **columns: Any) -> int:
        return self.database.add_record(to, **({"contact_info": f"+1{next(self._phones)}"} | columns))

    def change(self, record_id: int, **columns: Any) -> None:
        """As somebody else would, past the store."""
        self.database.update_row("customers", record_id, **columns)

    def row(self, record_id: int, of: int = LIST) -> Mapping[str, Any]:
        row = self.database.rows(of)[record_id]
        record = row.record
        return {
            "record_status": int(row.record_status),
            "record_type": int(record.record_type),
            "campaign_id": row.campaign_id,
            "switch_id": row.switch_id,
            "daily_from": record.daily_from_s,
            **{
                name: getattr(record, name)
                for name in ("call_result", "attempt", "dial_sched_time", "call_time", "agent_id", "treatments")
            },
            **record.user_fields,
        }

    def claims(self) -> dict[int, str]:
        return {chain_id: claim.owner for (_, chain_id), claim in self.database.claims.items()}

    def expire_leases(self) -> None:
        for claim in self.database.claims.values():
            claim.lease_until = datetime(2000, 1, 1, tzinfo=UTC)

    @asynccontextmanager
    async def store(self, node: str = "node") -> AsyncIterator[ListStore]:
        yield MemoryListStore(self.database, node=node)


class PostgresWorld:
    """A real database and the stores on it."""

    def __init__(self, dsn: str, config: Configuration | None = None) -> None:
        self.config = (config or configuration()).model_copy(update={"database": Database(dsn=dsn)})
        self.conn = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        first_of_table = {entry.table_access: entry for entry in reversed(self.config.calling_lists)}
        for calling_list in first_of_table.values():
            create_table(self.conn, self.config, calling_list)
        self._phones = count(2125550100)

    def add(self, *, to: int = LIST, **columns: Any) -> int:
        given = {"contact_info": f"+1{next(self._phones)}"} | columns
        row = self.conn.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING record_id").format(
                self._table(to),
                sql.SQL(", ").join(map(sql.Identifier, given)),
                sql.SQL(", ").join([sql.Placeholder()] * len(given)),
            ),
            [int(value) if isinstance(value, int) else value for value in given.values()],
        ).fetchone()
        assert row is not None
        return int(row["record_id"])

    def change(self, record_id: int, **columns: Any) -> None:
        """As somebody else would, past the store."""
        self.conn.execute(
            sql.SQL("UPDATE customers SET {} WHERE record_id = %s").format(
                sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns)
            ),
            [*(int(value) if isinstance(value, int) else value for value in columns.values()), record_id],
        )

    def row(self, record_id: int, of: int = LIST) -> Mapping[str, Any]:
        query = sql.SQL("SELECT * FROM {} WHERE record_id = %s").format(self._table(of))
        row = self.conn.execute(query, (record_id,)).fetchone()
        assert row is not None
        return row

    def _table(self, list_dbid: int) -> sql.Identifier:
        return sql.Identifier(table_of(self.config, self.config.calling_list_by_dbid(list_dbid)))

    def claims(self) -> dict[int, str]:
        return {row["chain_id"]: row["owner"] for row in self.conn.execute("SELECT chain_id, owner FROM ocsd.claim")}

    def expire_leases(self) -> None:
        self.conn.execute("UPDATE ocsd.claim SET lease_until = '2000-01-01'")

    @asynccontextmanager
    async def store(self, node: str = "node") -> AsyncIterator[ListStore]:
        async with open_store(self.config, node=node) as store:
            yield store


@contextmanager
def asked_from_outside(world: Any) -> Iterator[Any]:
    """Runs ``await fn(store)`` on one open store, which lives in a thread of its own for all hypothesis examples."""
    ready: queue.Queue[Any] = queue.Queue()

    async def serve() -> None:
        async with world.store() as store:
            done = trio.Event()
            ready.put((store, trio.lowlevel.current_trio_token(), done))
            await done.wait()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    first = ready.get(timeout=HANG_LIMIT_S)
    assert not isinstance(first, BaseException), first
    store, token, done = first
    yield lambda fn: trio.from_thread.run(fn, store, trio_token=token)
    trio.from_thread.run_sync(done.set, trio_token=token)
    thread.join(HANG_LIMIT_S)
