"""The wanted state of each campaign group, kept in the database across restarts of the daemon."""

import json
from dataclasses import dataclass, replace

from ocsd.lists.pool import Connection, Database


@dataclass(frozen=True, slots=True)
class SessionRow:
    """Numbers are those of the manual's enumerations."""

    campaign_group_dbid: int
    status: int
    dial_mode: int
    optimize_by: int
    optimize_goal: int
    auto_completion: bool
    dialing_priority: tuple[tuple[int, int, int], ...] = ()
    """(record type, priority, n_records) as requests have set them."""


async def save_session(database: Database, row: SessionRow) -> None:
    """Raises StoreUnavailable."""
    await database.execute(
        "INSERT INTO ocsd.dialing_session"
        " (campaign_group_dbid, status, dial_mode, optimize_by, optimize_goal, auto_completion, dialing_priority)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (campaign_group_dbid) DO UPDATE SET status = excluded.status, dial_mode = excluded.dial_mode,"
        " optimize_by = excluded.optimize_by, optimize_goal = excluded.optimize_goal,"
        " auto_completion = excluded.auto_completion, dialing_priority = excluded.dialing_priority,"
        " updated_at = now()",
        (
            row.campaign_group_dbid,
            row.status,
            row.dial_mode,
            row.optimize_by,
            row.optimize_goal,
            row.auto_completion,
            json.dumps(row.dialing_priority),
        ),
    )


async def load_sessions(database: Database) -> list[SessionRow]:
    """Raises StoreUnavailable."""

    def read(conn: Connection) -> list[SessionRow]:
        found = conn.execute(
            "SELECT campaign_group_dbid, status, dial_mode, optimize_by, optimize_goal, auto_completion,"
            " coalesce(dialing_priority, '[]')"
            " FROM ocsd.dialing_session ORDER BY campaign_group_dbid"
        )
        return [
            replace(SessionRow(*row[:-1]), dialing_priority=tuple((kind, first, most) for kind, first, most in row[-1]))
            for row in found
        ]

    return await database.transaction(read, read_only=True)
