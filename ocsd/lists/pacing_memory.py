"""What the pacing of each campaign group has learnt, kept in the database across restarts of the daemon."""

from ocsd.lists.pool import Connection, Database


async def save_learnt(database: Database, campaign_group_dbid: int, state: str) -> None:
    """Raises StoreUnavailable."""
    await database.execute(
        "INSERT INTO ocsd.pacing_memory (campaign_group_dbid, state) VALUES (%s, %s)"
        " ON CONFLICT (campaign_group_dbid) DO UPDATE SET state = excluded.state, saved_at = now()",
        (campaign_group_dbid, state),
    )


async def load_learnt(database: Database, campaign_group_dbid: int) -> tuple[str, float] | None:
    """State and its age in seconds, by the clock of the database; None: there is none. Raises StoreUnavailable."""

    def read(conn: Connection) -> tuple[str, float] | None:
        row = conn.execute(
            "SELECT state, extract(epoch FROM now() - saved_at)::float8 FROM ocsd.pacing_memory"
            " WHERE campaign_group_dbid = %s",
            (campaign_group_dbid,),
        ).fetchone()
        return None if row is None else (row[0], row[1])

    return await database.transaction(read, read_only=True)
