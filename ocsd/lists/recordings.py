"""What the database knows of recordings of call progress analysis. Functions run in one transaction of their caller."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import psycopg

from ocsd.lists.one_by_one import write_each
from ocsd.lists.pool import Database
from ocsd.model.records import CpdRecording

Connection = psycopg.Connection[Any]

GONE: Final = "the file is gone"
"""``error`` of a recording that was whole, and whose file nobody finds any more."""


def note(conn: Connection, recording: CpdRecording) -> None:
    """Insert it, unless its path is known; a note of why there is no file gives way to the file."""
    conn.execute(
        "INSERT INTO ocsd.cpd_recording (path, attempt_id, began_at, duration_s, size_bytes, sha256, gaps, error)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (path) DO UPDATE SET duration_s = excluded.duration_s, size_bytes = excluded.size_bytes,"
        " sha256 = excluded.sha256, gaps = excluded.gaps, error = excluded.error"
        " WHERE cpd_recording.sha256 = '' AND excluded.sha256 <> ''",
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
    """The rows of all recordings, for whoever compares them with the files. All methods may raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def missing(self, paths: Sequence[str]) -> set[str]:
        """Which of these files no row speaks of as being there."""

        def find(conn: Connection) -> set[str]:
            rows = conn.execute(
                "SELECT path FROM ocsd.cpd_recording WHERE path = ANY(%s::text[]) AND sha256 <> '' AND error <> %s",
                (list(paths), GONE),
            )
            return set(paths) - {path for (path,) in rows}

        return await self._database.transaction(find, read_only=True)

    async def whole(self, node: str, after: str, limit: int) -> list[str]:
        """Paths behind ``after``, in their order, of files that should be there, of calls that this node made."""

        def find(conn: Connection) -> list[str]:
            return [
                path
                for (path,) in conn.execute(
                    "SELECT r.path FROM ocsd.cpd_recording AS r JOIN ocsd.attempt AS a USING (attempt_id)"
                    " WHERE r.path > %s AND r.sha256 <> '' AND r.error <> %s AND starts_with(a.owner, %s)"
                    " ORDER BY r.path LIMIT %s",
                    (after, GONE, f"{node}/", limit),
                )
            ]

        return await self._database.transaction(find, read_only=True)

    async def found(self, recordings: Sequence[CpdRecording]) -> int:
        """Note files that were found; one that was taken for gone is there again. How many the database has taken."""

        def write(conn: Connection, some: Sequence[CpdRecording]) -> list[str]:
            for recording in some:
                note(conn, recording)
                conn.execute(
                    "UPDATE ocsd.cpd_recording SET error = %s, sha256 = %s, size_bytes = %s, duration_s = %s"
                    " WHERE path = %s AND error = %s",
                    (
                        recording.error,
                        recording.sha256,
                        recording.size_bytes,
                        recording.duration_s,
                        recording.path,
                        GONE,
                    ),
                )
            return [recording.path for recording in some]

        return len(await write_each(self._database, write, recordings, lambda recording: recording.path))

    async def gone(self, paths: Sequence[str]) -> int:
        """Say of these that their file is gone; how many."""

        def write(conn: Connection) -> int:
            return conn.execute(
                "UPDATE ocsd.cpd_recording SET error = %s WHERE path = ANY(%s::text[])", (GONE, list(paths))
            ).rowcount

        return await self._database.transaction(write)

    async def forget(self, before: datetime, paths: Sequence[str]) -> int:
        """Delete the rows of these paths, and all that began before; how many. May raise StoreUnavailable."""

        def delete(conn: Connection) -> int:
            return conn.execute(
                "DELETE FROM ocsd.cpd_recording WHERE began_at < %s OR path = ANY(%s::text[])", (before, list(paths))
            ).rowcount

        return await self._database.transaction(delete)
