"""What the database knows of recordings of call progress analysis. Functions run in one transaction of their caller."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

from ocsd.lists.pool import Database
from ocsd.model.records import CpdRecording

Connection = psycopg.Connection[Any]


def note(conn: Connection, recording: CpdRecording) -> None:
    """Insert it, unless its path is known."""
    conn.execute(
        "INSERT INTO ocsd.cpd_recording (path, attempt_id, began_at, duration_s, size_bytes, sha256, gaps, error)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (path) DO NOTHING",
        (
            recording.path,
            recording.attempt_id,
            recording.began_at,
            recording.duration_s,
            recording.size_bytes,
            recording.sha256,
            recording.gaps,
            recording.error,
        ),
    )


class RecordingRows:
    """The rows of all recordings, for whoever deletes old ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, before: datetime, paths: Sequence[str]) -> int:
        """Delete the rows of these paths, and all that began before; how many. May raise StoreUnavailable."""

        def delete(conn: Connection) -> int:
            return conn.execute(
                "DELETE FROM ocsd.cpd_recording WHERE began_at < %s OR path = ANY(%s::text[])", (before, list(paths))
            ).rowcount

        return await self._database.transaction(delete)
