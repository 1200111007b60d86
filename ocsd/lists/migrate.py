"""Brings schema ``ocsd`` of a database up to this version: forward only, one daemon at a time, safe to repeat.

Migrations are the files ``migrations/NNNN_name.sql``, applied in order, all in one transaction. They add first and
remove a release later, so an older daemon keeps working while a newer one migrates (rolling restart); a database that
is ahead of us is therefore accepted.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import psycopg
import structlog
from psycopg import sql

from ocsd.lists.reader import create_role
from ocsd.model.errors import ConfigError

log = structlog.get_logger(__name__)

MIGRATION_LOCK: Final = 0x6F637364  # "ocsd"; key of the advisory lock
FILE_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """The migrations shipped with this version, in order."""
    found = [
        Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8"))
        for entry in resources.files("ocsd.lists.migrations").iterdir()
        if (match := FILE_NAME.fullmatch(entry.name))
    ]
    return sorted(found, key=lambda migration: migration.version)


def migrate(conn: psycopg.Connection[Any]) -> list[int]:
    """
    Apply what is missing and return the versions applied; everything or nothing.

    Raises ConfigError when a migration already applied differs from ours: the database belongs to another product
    version than its number says, or when the database cannot hold every text.
    """
    applied: list[int] = []
    _check_encoding(conn)
    with conn.transaction():
        conn.execute("SET LOCAL statement_timeout = 0")  # of a large journal a change may take minutes, once
        # Until the end of the transaction; a second daemon waits here and then finds nothing to do.
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        conn.execute("CREATE SCHEMA IF NOT EXISTS ocsd")
        _keep_lists_in_public(conn)
        conn.execute(
            "CREATE TABLE IF NOT EXISTS ocsd.migration ("
            " version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        present = {row[0]: row[1] for row in conn.execute("SELECT version, checksum FROM ocsd.migration")}
        for migration in migrations():
            if (checksum := present.get(migration.version)) is None:
                conn.execute(sql.SQL(migration.text))  # our own file
                conn.execute(
                    "INSERT INTO ocsd.migration (version, name, checksum) VALUES (%s, %s, %s)",
                    (migration.version, migration.name, migration.checksum),
                )
                applied.append(migration.version)
            elif checksum != migration.checksum:
                raise ConfigError(
                    [f"database migration {migration.version:04d} differs from this version's file {migration.name}"]
                )
        create_role(conn)
    if applied:
        log.info("database.migrated", versions=applied)
    return applied


def _check_encoding(conn: psycopg.Connection[Any]) -> None:
    """In another encoding a name or a reason with a foreign letter would keep the result of a call from the disk."""
    row = conn.execute("SHOW server_encoding").fetchone()
    assert row is not None
    if row[0] != "UTF8":
        raise ConfigError([f"the database's encoding is {row[0]}: create it with ENCODING 'UTF8'"])


def _keep_lists_in_public(conn: psycopg.Connection[Any]) -> None:
    """A role called like our schema would find that schema first in the default path, and put calling lists there."""
    row = conn.execute("SELECT current_user").fetchone()
    assert row is not None
    if row[0] == "ocsd":
        conn.execute("ALTER ROLE ocsd SET search_path = public")
        conn.execute("SET search_path = public")
