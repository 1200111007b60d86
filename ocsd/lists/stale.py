"""Stale records become Ready again, when an operator has decided so.

A record is Stale when nobody said what became of it: the desktop never finished it, or the daemon died during its call.
It may have been talked to, so nothing dials it by itself. Each release is written down as a decision, and every gate is
asked again before the record is dialed.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.claiming import preflight, refused
from ocsd.lists.reader import let_read, reading
from ocsd.lists.selection import criteria_of, selection_of
from ocsd.lists.tables import table_differences, table_of
from ocsd.model.enums import RecordStatus
from ocsd.model.errors import ConfigError, StoreUnavailable

Connection = psycopg.Connection[Any]

AT_ONCE: Final = 5000
"""Records in one transaction."""

OWNER: Final = "ocsd list release"

_FREE: Final = sql.SQL(
    """
t.record_id = ANY(%(records)s) AND t.record_status = 4 AND t.record_type BETWEEN 2 AND 6
AND NOT EXISTS (SELECT FROM ocsd.claim AS k WHERE k.table_name = %(table)s AND k.chain_id = t.chain_id)
AND NOT EXISTS (SELECT FROM ocsd.attempt AS a
  WHERE a.table_name = %(table)s AND a.chain_id = t.chain_id AND a.finished_at IS NULL)
AND (%(before)s::timestamptz IS NULL OR (
  coalesce(t.call_time, 0) < extract(epoch FROM %(before)s::timestamptz)
  AND NOT EXISTS (SELECT FROM ocsd.attempt AS a
    WHERE a.table_name = %(table)s AND a.record_id = t.record_id AND a.finished_at >= %(before)s)
  AND NOT EXISTS (SELECT FROM ocsd.decision AS d
    WHERE d.table_name = %(table)s AND d.record_id = t.record_id AND d.decided_at >= %(before)s)))
"""
)


def count_stale(
    conn: Connection, config: Configuration, calling_list: CallingList, before: datetime | None = None
) -> int:
    """How many records `release_stale` would make Ready."""
    table = table_of(config, calling_list)
    statement = sql.SQL("SELECT count(*) FROM {} AS t WHERE {}").format(sql.Identifier(table), _FREE)
    total = 0
    try:
        for record_ids in _portions(conn, config, calling_list):
            row = conn.execute(statement, {"records": record_ids, "table": table, "before": before}).fetchone()
            assert row is not None
            total += row[0]
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"counting given up: {error}") from error
    return total


def release_stale(
    conn: Connection,
    config: Configuration,
    calling_list: CallingList,
    before: datetime | None = None,
    progress: Callable[[int], None] = lambda _records: None,
) -> int:
    """
    Make the list's Stale records Ready, in small transactions; returns how many.

    Left alone are records whose chain a daemon holds, those of type NoCall, and those that somebody has locked.

    Args:
        before: aware; only records of which nothing was heard since then; None: all.
        progress: called with the number so far.

    Raises ConfigError when table or filter do not work, StoreUnavailable (what was released stays so).
    """
    table = table_of(config, calling_list)
    statement = sql.SQL(
        "WITH locked AS (SELECT t.record_id FROM {table} AS t WHERE {free} FOR UPDATE OF t SKIP LOCKED),"
        " released AS (UPDATE {table} AS t SET record_status = 1 FROM locked WHERE t.record_id = locked.record_id"
        " RETURNING t.record_id, t.chain_id, t.record_type, t.dial_sched_time, t.treatments)"
        " INSERT INTO ocsd.decision (key, owner, table_name, list_dbid, record_id, chain_id, decided_at, record_status,"
        " record_type, dial_sched_time, treatments, because) SELECT gen_random_uuid(), %(owner)s, %(table)s, %(list)s,"
        " record_id, chain_id, now(), 1, record_type, dial_sched_time, treatments,"
        " 'an operator has released the record, which was Stale' FROM released"
    ).format(table=sql.Identifier(table), free=_FREE)
    total = 0
    try:
        for record_ids in _portions(conn, config, calling_list):
            total += conn.execute(
                statement,
                {
                    "records": record_ids,
                    "table": table,
                    "list": calling_list.dbid,
                    "before": before,
                    "owner": OWNER,
                },
            ).rowcount
            progress(total)
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"release given up after {total} records: {error}") from error
    return total


def _portions(conn: Connection, config: Configuration, calling_list: CallingList) -> Iterator[list[int]]:
    """Ids of the list's Stale records, in order; the filter's text runs as the reader."""
    if problems := table_differences(conn, config, calling_list):
        raise ConfigError(problems)
    table = table_of(config, calling_list)
    let_read(conn, table)
    dialing_filter = config.filter(calling_list.filter) if calling_list.filter else None
    statement = sql.SQL(
        "SELECT t.record_id FROM {} AS t WHERE t.record_status = %(status)s AND t.record_id > %(after)s AND {}"
        " ORDER BY t.record_id LIMIT %(limit)s"
    ).format(sql.Identifier(table), criteria_of(dialing_filter))
    after = -(2**31)
    while True:
        try:
            with reading(conn, table):
                preflight(conn, selection_of(config, calling_list), calling_list)
                figures = {"status": int(RecordStatus.STALE), "after": after, "limit": AT_ONCE}
                found = [row[0] for row in conn.execute(statement, figures)]
        except (psycopg.ProgrammingError, psycopg.DataError) as error:
            raise refused(calling_list, "searched", error) from error
        if found:
            yield found
        if len(found) < AT_ONCE:
            return
        after = found[-1]
