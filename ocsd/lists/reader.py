"""The role under which statements with text of an operator (dialing filters) run: it can read calling lists, no more.

Such statements run in READ ONLY transactions; the role keeps them from reading anything else, and from functions that
only a superuser may call. Where the server does not let us create or use the role, READ ONLY alone holds, and the log
says so once. A filter that reads another table needs ``GRANT SELECT ON that_table TO ocsd_reader``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import structlog
from psycopg import sql

log = structlog.get_logger(__name__)

READER: Final = "ocsd_reader"

CONFLICT_TRIES: Final = 5
"""Several daemons may create the role at once; more conflicts in a row point to something else."""

_warned: set[str] = set()


def create_role(conn: psycopg.Connection[Any]) -> bool:
    """Create the role if it is missing, let it read claims and let us become it; False: the server refuses."""
    for tries_left in reversed(range(CONFLICT_TRIES)):
        try:
            with conn.transaction():
                _create_role(conn)
            return True
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation, psycopg.InternalError):
            # Another daemon did the same at this moment ("tuple concurrently updated").
            if not tries_left:
                raise
        except psycopg.errors.InsufficientPrivilege as error:
            _warn("role", error)
            return False
    raise AssertionError("unreachable")


def _create_role(conn: psycopg.Connection[Any]) -> None:
    if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (READER,)).fetchone() is None:
        conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(READER)))
    if conn.execute("SELECT pg_has_role(%s, 'MEMBER')", (READER,)).fetchone() != (True,):
        conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(READER)))
    row = conn.execute(
        "SELECT has_schema_privilege(%(role)s, 'ocsd', 'USAGE')"
        " AND has_table_privilege(%(role)s, 'ocsd.claim', 'SELECT')",
        {"role": READER},
    ).fetchone()
    if row != (True,):
        conn.execute(sql.SQL("GRANT USAGE ON SCHEMA ocsd TO {}").format(sql.Identifier(READER)))
        conn.execute(sql.SQL("GRANT SELECT ON ocsd.claim TO {}").format(sql.Identifier(READER)))


def let_read(conn: psycopg.Connection[Any], table: str) -> bool:
    """Let the role read the calling list's table, if that is ours to give; False: it cannot be used for this table."""
    if can_read(conn, table):
        return True
    try:
        with conn.transaction():
            conn.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(table), sql.Identifier(READER)))
    except psycopg.InternalError:  # another daemon did the same at this moment ("tuple concurrently updated")
        return can_read(conn, table)
    except psycopg.ProgrammingError as error:  # no role, no table, not ours
        _warn(table, error)
        return False
    return can_read(conn, table)


def can_read(conn: psycopg.Connection[Any], table: str) -> bool:
    """Whether the role exists, we may become it, and it may read the table and what searches need besides."""
    row = conn.execute(
        "SELECT bool_and(pg_has_role(r.oid, 'MEMBER') AND has_schema_privilege(r.oid, 'ocsd', 'USAGE')"
        " AND has_table_privilege(r.oid, 'ocsd.claim', 'SELECT')"
        " AND has_table_privilege(r.oid, to_regclass(%(table)s)::oid, 'SELECT')"
        " AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE'))"
        " FROM pg_roles AS r, pg_class AS c WHERE r.rolname = %(role)s AND c.oid = to_regclass(%(table)s)",
        {"role": READER, "table": f'"{table}"'},
    ).fetchone()
    return row == (True,)


def become_reader(conn: psycopg.Connection[Any]) -> None:
    """For the rest of the transaction."""
    conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(READER)))


@contextmanager
def reading(conn: psycopg.Connection[Any], table: str) -> Iterator[None]:
    """A transaction in which operator text about ``table`` may run: READ ONLY, and as the role where that works."""
    with conn.transaction():
        conn.execute("SET TRANSACTION READ ONLY")
        if can_read(conn, table):
            become_reader(conn)
        yield


def _warn(what: str, error: psycopg.Error) -> None:
    if what not in _warned:
        _warned.add(what)
        log.warning("filters.read_only_without_role", what=what, role=READER, reason=" ".join(str(error).split()))
