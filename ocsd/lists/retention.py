"""Old attempts, decisions and withdrawals are deleted, in portions that hold nobody up.

The tables grow by the order of their ids, which is nearly that of time, so they are walked from the lowest id: a
portion without an old row ends the walk, and what is kept is not read. Open attempts stay, however old they are.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import Configuration
from ocsd.config.options import HISTORY_RETENTION, lookup
from ocsd.lists.caps import LONGEST_RING
from ocsd.lists.pool import Database
from ocsd.rules.caps import rules_of

Connection = psycopg.Connection[Any]

CLOCKS_APART: Final = timedelta(days=1)
"""Kept beyond the longest attempt cap: daemons' clocks differ, and a day is not worth a call too many."""


@dataclass(frozen=True, slots=True)
class Kind:
    """
    ``at``: column that tells a row's age; ``ended``: condition on a row ``t`` that may go; ``part``: a table whose rows
    with the same key go with it.
    """

    table: str
    key: str
    at: str
    ended: str = "true"
    part: str = ""


KINDS: Final = (
    Kind("attempt", "attempt_id", "started_at", "t.finished_at IS NOT NULL", part="stream"),
    Kind("decision", "decision_id", "decided_at"),
    Kind("withdrawal", "withdrawal_id", "withdrawn_at"),
)


@dataclass(frozen=True, slots=True)
class Portion:
    """
    Attributes:
        last: id to go on behind.
        deleted: rows that went.
        more: whether older rows may follow.
    """

    last: int
    deleted: int
    more: bool


def kept_for(config: Configuration) -> timedelta | None:
    """
    How long history is kept; None: for ever.

    Attempt caps count by it, so it is never shorter than the longest period of the caps in use.
    """
    days = lookup(config, HISTORY_RETENTION)
    if days == 0:
        return None
    longest_s = max((rule.period_s for entry in config.calling_lists for rule in rules_of(config, entry)), default=0)
    return max(timedelta(days=days), timedelta(seconds=longest_s) + LONGEST_RING + CLOCKS_APART)


class Journal:
    """The history in a database, shared by its daemons."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, kind: Kind, before: datetime, after: int, limit: int) -> Portion:
        """Delete what is older than ``before`` (aware) of the next ``limit`` rows; may raise StoreUnavailable."""
        return await self._database.transaction(partial(forget, kind=kind, before=before, after=after, limit=limit))


def forget(conn: Connection, kind: Kind, before: datetime, after: int, limit: int) -> Portion:
    """See `Journal.forget`."""
    row = conn.execute(
        sql.SQL(
            """
            WITH seen AS MATERIALIZED (
              SELECT t.{key} AS id, t.{at} < %(before)s AS old FROM ocsd.{table} AS t
              WHERE t.{key} > %(after)s ORDER BY t.{key} LIMIT %(limit)s
            ), chosen AS (
              -- Another daemon's upkeep has the rows that are locked.
              SELECT t.{key} AS id FROM seen AS s JOIN ocsd.{table} AS t ON t.{key} = s.id
              WHERE s.old AND {ended} FOR UPDATE OF t SKIP LOCKED
            ), gone AS (
              DELETE FROM ocsd.{table} AS t USING chosen AS c WHERE t.{key} = c.id RETURNING 1
            ){parts}
            SELECT max(s.id), (SELECT count(*) FROM gone), count(*) = %(limit)s AND bool_or(s.old) FROM seen AS s
            """
        ).format(
            table=sql.Identifier(kind.table),
            key=sql.Identifier(kind.key),
            at=sql.Identifier(kind.at),
            ended=sql.SQL(kind.ended),
            parts=sql.SQL(", parts AS (DELETE FROM ocsd.{} AS p USING chosen AS c WHERE p.{} = c.id)").format(
                sql.Identifier(kind.part), sql.Identifier(kind.key)
            )
            if kind.part
            else sql.SQL(""),
        ),
        {"before": before, "after": after, "limit": limit},
    ).fetchone()
    assert row is not None
    last, deleted, more = row
    return Portion(after if last is None else last, deleted, bool(more))
