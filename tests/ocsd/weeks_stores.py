"""The two stores under the virtual weeks, each with a way to load rows and to read them back past the store."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql

from ocsd.config.objects import Configuration
from ocsd.lists.embedded import EmbeddedPostgres
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.lists.postgres import open_store
from ocsd.lists.store import ListStore
from ocsd.lists.tables import create_table
from tests.ocsd.weeks_world import SHARES, NewRow

COLUMNS = ("record_status", "record_type", "call_result", "attempt", "dial_sched_time", "treatments", "agent_id")
"""What calls change in a row."""


class Tables(Protocol):
    store: ListStore
    finds_all_waiting: bool
    """A claim finds every chain that waits for a record which is gone; else it looks for some of them at a time."""

    def load(self, rows: Iterable[NewRow]) -> None: ...

    def chain(self, list_dbid: int, chain_id: int) -> dict[int, tuple]:
        """Values of `COLUMNS` by record_id, as the table has them now."""
        ...

    def all(self, list_dbid: int) -> dict[int, tuple]: ...

    def claims(self) -> int: ...


class MemoryTables:
    finds_all_waiting = True

    def __init__(self, config: Configuration, utc: Callable[[], datetime]) -> None:
        self.database = MemoryDatabase(config, now=utc)
        self.store: ListStore = MemoryListStore(self.database)
        self._names = {dbid: self.database.table_name(dbid) for dbid in SHARES}

    def load(self, rows: Iterable[NewRow]) -> None:
        for row in rows:
            self.database.add_record(
                row.list_dbid, record_id=row.record_id, contact_info=row.contact_info, chain_id=row.chain_id,
                chain_n=row.chain_n, tz_dbid=row.tz_dbid, daily_from=row.daily_from, daily_till=row.daily_till,
                customer=row.customer, dial_sched_time=row.dial_sched_time,
                attempt=row.attempt,
            )  # fmt: skip

    def chain(self, list_dbid: int, chain_id: int) -> dict[int, tuple]:
        rows = self.database.rows_of_chain(self._names[list_dbid], chain_id)
        return {row.record.record_id: _values(row) for row in rows}

    def all(self, list_dbid: int) -> dict[int, tuple]:
        return {record_id: _values(row) for record_id, row in self.database.rows(list_dbid).items()}

    def claims(self) -> int:
        return len(self.database.claims)


def _values(row) -> tuple:
    r = row.record
    return (
        row.record_status, r.record_type, r.call_result, r.attempt, r.dial_sched_time, r.treatments, r.agent_id,
    )  # fmt: skip


class PostgresTables:
    finds_all_waiting = False

    def __init__(self, config: Configuration, store: ListStore, conn: psycopg.Connection) -> None:
        self.store, self._conn, self._config = store, conn, config

    def load(self, rows: Iterable[NewRow]) -> None:
        names = tuple(NewRow.__dataclass_fields__)[1:]  # all but the list
        rows = list(rows)
        for list_dbid in SHARES:
            create_table(self._conn, self._config, self._config.calling_list_by_dbid(list_dbid))
            copy = sql.SQL("COPY {} ({}) FROM STDIN").format(
                _table(list_dbid), sql.SQL(", ").join(map(sql.Identifier, names))
            )
            with self._conn.cursor().copy(copy) as out:
                for row in rows:
                    if row.list_dbid == list_dbid:
                        out.write_row([getattr(row, name) for name in names])
            self._conn.execute(sql.SQL("ANALYZE {}").format(_table(list_dbid)))

    def chain(self, list_dbid: int, chain_id: int) -> dict[int, tuple]:
        return self._read(list_dbid, sql.SQL("WHERE chain_id = {}").format(sql.Literal(chain_id)))

    def all(self, list_dbid: int) -> dict[int, tuple]:
        return self._read(list_dbid, sql.SQL(""))

    def claims(self) -> int:
        return self._conn.execute("SELECT count(*) FROM ocsd.claim").fetchone()[0]

    def _read(self, list_dbid: int, where: sql.Composable) -> dict[int, tuple]:
        query = sql.SQL("SELECT record_id, {} FROM {} {}").format(
            sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), _table(list_dbid), where
        )
        return {row[0]: row[1:] for row in self._conn.execute(query)}


def _table(list_dbid: int) -> sql.Identifier:
    return sql.Identifier(f"list_{list_dbid}")


@asynccontextmanager
async def postgres_tables(config: Configuration) -> AsyncIterator[PostgresTables]:
    """On the (empty) database of ``config.database.dsn``."""
    async with open_store(config, node="weeks") as store:
        with psycopg.connect(config.database.dsn, autocommit=True) as conn:
            yield PostgresTables(config, store, conn)


class TemporaryServer:
    """An embedded PostgreSQL in a folder that goes with it; a database of its own for each week."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ocsd-weeks-"))
        os.chmod(self._folder, 0o755)  # the server's account must be able to enter
        self._server = EmbeddedPostgres(self._folder / "postgres")
        self._count = 0

    def __enter__(self) -> "TemporaryServer":
        self._dsn = self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self) -> str:
        """DSN of a fresh database."""
        self._count += 1
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"week_{self._count}")))
        return psycopg.conninfo.make_conninfo(self._dsn, dbname=f"week_{self._count}")
