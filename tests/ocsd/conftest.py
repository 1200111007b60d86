"""A real PostgreSQL for the tests: one embedded server per session, a fresh database per test from a template."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ocsd.lists.embedded import EmbeddedPostgres
from ocsd.lists.migrate import migrate

TEMPLATE = "ocsd_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """A folder that the server's account may enter (pytest's own temporary folders are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="ocsd-test-"))
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_dsn(postgres_folder: Path) -> Iterator[str]:
    """DSN of the session's server (its maintenance database)."""
    server = EmbeddedPostgres(postgres_folder / "postgres")
    dsn = server.start()
    try:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET autovacuum = off")  # the same plans in every run
            conn.execute("ALTER SYSTEM SET fsync = off")  # the tests that kill a server have one of their own
            conn.execute("SELECT pg_reload_conf()")
            conn.execute(f"CREATE DATABASE {TEMPLATE}")
        with psycopg.connect(make_conninfo(dsn, dbname=TEMPLATE), autocommit=True) as conn:
            migrate(conn)
        yield dsn
    finally:
        server.stop()


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[str]:
    """DSN of a fresh, migrated database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    yield make_conninfo(postgres_dsn, dbname=name)
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
