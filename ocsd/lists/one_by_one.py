"""Rows that are written together, of which one may be such that the database refuses it: the others are kept."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import psycopg
import structlog

from ocsd.lists.pool import Database

log = structlog.get_logger(__name__)

Row = TypeVar("Row")
Kept = TypeVar("Kept")
Connection = psycopg.Connection[Any]

REFUSALS: Final = (psycopg.DataError, psycopg.IntegrityError)
"""What may be one row's fault: a value out of range, a character that no text may hold, a violated constraint."""


async def write_each(
    database: Database,
    write: Callable[[Connection, Sequence[Row]], list[Kept]],
    rows: Sequence[Row],
    key: Callable[[Row], str],
) -> list[Kept]:
    """
    ``write`` the rows in one transaction, or in several where the database refuses one of them.

    A refused row is logged with its ``key`` and left out: whoever tried it again would never get past it. Returns what
    ``write`` returned. Raises StoreUnavailable; then it is unknown which rows are committed.
    """
    if not rows:
        return []
    try:
        return await database.transaction(lambda conn: write(conn, rows))
    except REFUSALS as error:
        if len(rows) == 1:
            log.error("row.refused", row=key(rows[0]), error=" ".join(str(error).split()))
            return []
    half = len(rows) // 2
    return [
        *await write_each(database, write, rows[:half], key),
        *await write_each(database, write, rows[half:], key),
    ]
