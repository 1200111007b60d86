"""HTTP requests that treatments ask for, between the transaction that writes a result and their delivery.

A request is inserted with the result, so it exists exactly when the result does. Whoever delivers takes it under a
lease: a daemon that dies with it leaves it to the next `Outbox.take` after the lease. So a request may arrive more than
once, always with the same key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol
from uuid import UUID

import psycopg

from ocsd.lists.jsontext import json_text
from ocsd.lists.pool import Database
from ocsd.model.records import HttpRequest

Connection = psycopg.Connection[Any]

LEASE_S: Final = 120.0
"""How long an item that was taken stays with its taker: several times the longest HTTP time limit."""


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """
    Attributes:
        key: the same at every try (``Idempotency-Key``).
        tries: how often it was taken, this time included.
        created_at: when the result was written (aware UTC).
    """

    item_id: int
    key: UUID
    treatment_dbid: int
    url: str
    body: dict[str, Any]
    created_at: datetime
    tries: int


@dataclass(frozen=True, slots=True)
class Posted:
    """A request with its origin: the attempt, or the decision."""

    request: HttpRequest
    attempt_id: int | None = None
    decision_key: UUID | None = None


class RequestQueue(Protocol):
    """What delivery needs; `Outbox` and `memory_journal.MemoryOutbox` keep it."""

    async def take(self, limit: int) -> list[OutboxItem]: ...

    async def delivered(self, item_id: int) -> None: ...

    async def failed(self, item_id: int, error: str, retry_at: datetime | None) -> None: ...


class Outbox:
    """The outbox of a database, shared by its daemons. Every method may raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, limit: int) -> list[OutboxItem]:
        """Up to ``limit`` items that are due, the longest due first; nobody else gets them for `LEASE_S`."""
        return await self._database.transaction(partial(due, limit=limit))

    async def delivered(self, item_id: int) -> None:
        """The receiver has it."""
        await self._database.execute(
            "UPDATE ocsd.outbox SET done_at = now(), last_error = NULL WHERE item_id = %s", (item_id,)
        )

    async def failed(self, item_id: int, error: str, retry_at: datetime | None) -> None:
        """``retry_at`` (aware): when to try again; None: never (the item stays for the operator, `given_up_at`)."""
        await self._database.execute(
            "UPDATE ocsd.outbox SET last_error = %s, next_try_at = coalesce(%s::timestamptz, next_try_at),"
            " given_up_at = CASE WHEN %s::timestamptz IS NULL THEN now() END WHERE item_id = %s AND done_at IS NULL",
            (error, retry_at, retry_at, item_id),
        )

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` items that were delivered before ``before`` (aware); returns how many it were."""

        def run(conn: Connection) -> int:
            return conn.execute(
                "DELETE FROM ocsd.outbox WHERE item_id IN (SELECT item_id FROM ocsd.outbox WHERE done_at < %s"
                " ORDER BY done_at LIMIT %s FOR UPDATE SKIP LOCKED)",  # another daemon's upkeep has the others
                (before, limit),
            ).rowcount

        return await self._database.transaction(run)


def due(conn: Connection, limit: int, lease_s: float = LEASE_S) -> list[OutboxItem]:
    """Take items: see `Outbox.take`."""
    rows = conn.execute(
        """
        WITH taken AS (
          SELECT item_id FROM ocsd.outbox
          WHERE done_at IS NULL AND given_up_at IS NULL AND next_try_at <= now()
          ORDER BY next_try_at, item_id LIMIT %s FOR UPDATE SKIP LOCKED
        )
        UPDATE ocsd.outbox AS o SET tries = o.tries + 1, next_try_at = now() + make_interval(secs => %s)
        FROM taken WHERE o.item_id = taken.item_id
        RETURNING o.item_id, o.key, o.treatment_dbid, o.url, o.body, o.created_at, o.tries
        """,
        (limit, lease_s),
    ).fetchall()
    return sorted((OutboxItem(*row) for row in rows), key=lambda item: item.item_id)


def insert(conn: Connection, posted: Sequence[Posted]) -> None:
    """Store requests in the transaction of their results."""
    if posted:
        conn.execute(
            "INSERT INTO ocsd.outbox (attempt_id, decision_key, treatment_dbid, url, body)"
            " SELECT attempt_id, decision_key, treatment_dbid, url, body::jsonb"
            " FROM unnest(%s::bigint[], %s::uuid[], %s::int[], %s::text[], %s::text[]) WITH ORDINALITY"
            " AS p (attempt_id, decision_key, treatment_dbid, url, body, place) ORDER BY place",
            (
                [p.attempt_id for p in posted],
                [p.decision_key for p in posted],
                [p.request.treatment_dbid for p in posted],
                [p.request.url for p in posted],
                [json_text(p.request.body) for p in posted],
            ),
        )
