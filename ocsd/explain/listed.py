"""The rows of a calling list that wait to be dialed, chain by chain: a pass over all of them in flat memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.claiming import chains_of, preflight, refused
from ocsd.lists.reader import READER, can_read, let_read
from ocsd.lists.selection import RECORD_COLUMNS, criteria_of, order_of, ready_to_dial, selection_of
from ocsd.lists.tables import table_of
from ocsd.model.records import Chain

Connection = psycopg.Connection[Any]

BLOCK_ROWS: Final = 20_000
"""Rows read at a time; some 20 MB as records."""

_LISTED: Final[LiteralString] = """
SELECT {columns},
  t.chain_id IN (SELECT k.chain_id FROM ocsd.claim AS k WHERE k.table_name = %(table)s) AS claimed, {rank} AS rank
FROM {table} AS t
WHERE {ready} AND {criteria}
ORDER BY t.chain_id, {order} t.chain_n
"""
"""Claims are no part of FROM: a filter's bare column names must mean the list's, which may be called as theirs."""


@dataclass(frozen=True, slots=True)
class ListedChain:
    """
    The rows of a chain that a claim would take: Ready, of a type that is dialed, admitted by the list's filter.

    Attributes:
        claimed: somebody holds the chain.
        rank: place of its first row in the order of the list's filter; its lowest record_id when the list has none.
    """

    chain: Chain
    claimed: bool = False
    rank: int = 0


@dataclass(slots=True)
class ListReader:
    """
    One snapshot of a calling list.

    Every statement with the filter's text runs under the role that can only read; between them the connection is its
    own again, for tables that the role may not see.
    """

    conn: Connection
    config: Configuration
    calling_list: CallingList
    as_reader: bool

    @property
    def table(self) -> str:
        return table_of(self.config, self.calling_list)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Here the filter's text may run; ConfigError when it does not work."""
        if self.as_reader:
            self.conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(READER)))
        try:
            yield
        except (psycopg.ProgrammingError, psycopg.DataError, psycopg.errors.ReadOnlySqlTransaction) as error:
            raise refused(self.calling_list, "counted", error) from error
        if self.as_reader:
            self.conn.execute("RESET ROLE")

    def blocks(self) -> Iterator[list[ListedChain]]:
        """All chains with a row that waits to be dialed, by chain_id, whole, in blocks of about `BLOCK_ROWS` rows."""
        fields = user_columns(self.calling_list)
        dialing_filter = self.config.filter(self.calling_list.filter) if self.calling_list.filter else None
        order = order_of(dialing_filter)
        query = sql.SQL(_LISTED).format(
            columns=sql.SQL(", ").join(sql.Identifier("t", name) for name in (*RECORD_COLUMNS, *fields)),
            rank=sql.SQL("t.record_id")
            if order is None
            else sql.SQL("row_number() OVER (ORDER BY {} t.record_id)").format(order),
            table=sql.Identifier(self.table),
            ready=ready_to_dial("t"),
            criteria=criteria_of(dialing_filter),
            order=order or sql.SQL(""),
        )
        rest: list[tuple[Any, ...]] = []
        with self.conn.cursor(name="ocsd_listed") as cursor:
            with self.reading():
                self.conn.execute("SET LOCAL jit = off")
                cursor.execute(query, {"table": self.table})
            while True:
                with self.reading():
                    rows = cursor.fetchmany(BLOCK_ROWS)
                if not rows:
                    break
                rows = rest + rows
                last = rows[-1][_CHAIN_PLACE]
                cut = len(rows)
                while cut and rows[cut - 1][_CHAIN_PLACE] == last:
                    cut -= 1
                rows, rest = rows[:cut], rows[cut:]
                if rows:
                    yield self._chains(rows, fields)
        if rest:
            yield self._chains(rest, fields)

    def chains(self) -> int:
        """How many chains `blocks` will give."""
        dialing_filter = self.config.filter(self.calling_list.filter) if self.calling_list.filter else None
        query = sql.SQL("SELECT count(*) FROM (SELECT DISTINCT t.chain_id FROM {} AS t WHERE {} AND {}) AS c").format(
            sql.Identifier(self.table), ready_to_dial("t"), criteria_of(dialing_filter)
        )
        with self.reading():
            row = self.conn.execute(query, {}).fetchone()
        return int(row[0]) if row is not None else 0

    def _chains(self, rows: list[tuple[Any, ...]], fields: tuple[str, ...]) -> list[ListedChain]:
        claimed = {row[_CHAIN_PLACE] for row in rows if row[-2]}
        ranks: dict[int, int] = {}
        for row in rows:
            ranks[row[_CHAIN_PLACE]] = min(row[-1], ranks.get(row[_CHAIN_PLACE], row[-1]))
        return [
            ListedChain(chain, chain.chain_id in claimed, ranks[chain.chain_id])
            for chain in chains_of(self.calling_list.dbid, rows, fields)
        ]


_CHAIN_PLACE: Final = RECORD_COLUMNS.index("chain_id")


def user_columns(calling_list: CallingList) -> tuple[str, ...]:
    """The columns of the operator's that gates look at."""
    return tuple(dict.fromkeys(name for name in (calling_list.customer_id_field, calling_list.subject_field) if name))


@contextmanager
def snapshot(conn: Connection, config: Configuration, calling_list: CallingList) -> Iterator[ListReader]:
    """
    A read-only transaction that shows the list as it is at one instant. ``conn``: idle, or in a transaction that has
    read nothing yet.

    Raises ConfigError when the list's filter does not work.
    """
    table = table_of(config, calling_list)
    own = conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    if own:
        let_read(conn, table)
        conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    else:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        reader = ListReader(conn, config, calling_list, can_read(conn, table))
        with reader.reading():
            preflight(conn, selection_of(config, calling_list), calling_list)
        yield reader
    finally:
        if own and not conn.closed:
            conn.execute("ROLLBACK")
