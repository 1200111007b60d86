"""What the database keeps of the audio of calls: a row of ``ocsd.stream`` per channel of the media server."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.lists.arrays import array
from ocsd.lists.one_by_one import write_each
from ocsd.lists.pool import Database
from ocsd.model.records import KeptStream, StreamTotals

Connection = psycopg.Connection[Any]

_TYPES: Final = {
    "attempt_id": "bigint", "channel_id": "text", "leg": "text", "ended_at": "timestamptz", "codec": "text",
    "packets_in": "int", "packets_out": "int", "lost": "int", "late": "int", "concealed": "int",
}  # fmt: skip
_COLUMNS: Final = tuple((field.name, _TYPES.get(field.name, "real")) for field in fields(StreamTotals))
"""All fields in their order; what is not named above is a figure."""

_NOTE: Final = sql.SQL(
    """
    WITH told AS (SELECT * FROM unnest({arrays}) AS t ({names})), noted AS (
      INSERT INTO ocsd.stream ({names}) SELECT t.* FROM told AS t JOIN ocsd.attempt AS a USING (attempt_id)
      ON CONFLICT DO NOTHING RETURNING attempt_id, channel_id
    )
    SELECT n.channel_id, a.campaign_group_dbid, a.answered_at IS NOT NULL
    FROM noted AS n JOIN ocsd.attempt AS a USING (attempt_id)
    """
).format(
    arrays=sql.SQL(", ").join(sql.SQL(f"%s::{kind}[]") for _, kind in _COLUMNS),
    names=sql.SQL(", ").join(sql.Identifier(name) for name, _ in _COLUMNS),
)

STREAMS_OF_ATTEMPT: Final = sql.SQL(
    "(SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(s) - 'attempt_id') ORDER BY s.ended_at, s.channel_id)"
    " FROM ocsd.stream AS s WHERE s.attempt_id = a.attempt_id)"
)
"""A JSON array of the streams of the attempt ``a``; null when it has none."""

EVIDENCE_WITH_STREAMS: Final = sql.SQL(
    "CASE WHEN EXISTS (SELECT FROM ocsd.stream AS s WHERE s.attempt_id = a.attempt_id)"
    " THEN coalesce(a.evidence, '{{}}') || jsonb_build_object('streams', {}) ELSE a.evidence END"
).format(STREAMS_OF_ATTEMPT)
"""The evidence of the attempt ``a``, what is known of its audio included."""


def note(conn: Connection, streams: Sequence[StreamTotals]) -> list[KeptStream]:
    """Insert those whose attempt is known and that were not there; returns these. One transaction of the caller."""
    if not streams:
        return []
    arrays = [array(getattr(stream, name) for stream in streams) for name, _ in _COLUMNS]
    by_id = {stream.channel_id: stream for stream in streams}
    return [
        KeptStream(by_id[channel_id], group_dbid, answered)
        for channel_id, group_dbid, answered in conn.execute(_NOTE, arrays)
    ]


class StreamRows:
    """The rows of all streams."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, streams: Sequence[StreamTotals]) -> list[KeptStream]:
        """
        Commit; those that were there already stay, and are not returned, nor are those that the database refuses
        (`write_each`). May raise StoreUnavailable.
        """
        return await write_each(self._database, note, streams, lambda stream: stream.channel_id)
