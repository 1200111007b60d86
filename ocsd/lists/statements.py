"""Operators' SQL statements (treatment "Execute SQL statement"), inside the transaction that writes a result.

A statement shares the fate of its result, so it is run once for it; but it must not endanger the result. It runs under
a savepoint with time limits of its own. What could end our transaction, or change the session for those after us, is
refused before: a statement begins with one of `sqltext.STATEMENTS`, and the extended protocol takes only one. Whatever
a procedure tries, PostgreSQL refuses transaction control below a transaction block; that is checked all the same.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import structlog
from psycopg import sql
from psycopg.pq import TransactionStatus

from ocsd.config.sqltext import statement_problem
from ocsd.model.errors import InvariantError
from ocsd.model.records import Statement

log = structlog.get_logger(__name__)

Connection = psycopg.Connection[Any]

STATEMENT_LIMIT_S: Final = 2.0
"""One statement. Results of all campaigns wait for it, so it is meant for a row or two, not for reports."""

LOCK_LIMIT_S: Final = 1.0
"""Waiting for rows that somebody else has locked."""

BATCH_LIMIT_S: Final = 10.0
"""All statements of one transaction; past it the rest is not run, else a slow one would hold back every result."""


def run_statements(conn: Connection, statements: Sequence[Statement]) -> None:
    """Run them in order. An error is logged as ``treatment.sql_failed`` and undoes only its own statement."""
    if not statements:
        return
    before = _set_limits(conn, f"{round(STATEMENT_LIMIT_S * 1000)}ms", f"{round(LOCK_LIMIT_S * 1000)}ms")
    started = time.monotonic()
    for statement in statements:
        if time.monotonic() - started > BATCH_LIMIT_S:
            _failed(statement, f"not run: the statements of one batch have taken {BATCH_LIMIT_S:g} s")
        elif (problem := statement_problem(statement.text)) is not None:
            _failed(statement, f"the statement {problem}")
        else:
            _run(conn, statement)
    _set_limits(conn, *before)


def _run(conn: Connection, statement: Statement) -> None:
    # Never a number of a plan, never several statements: what has parameters is sent by the extended protocol, and a
    # binary result forces that where there are none.
    parameters = {name: _plain(value) for name, value in statement.parameters.items()}
    try:
        with conn.transaction():
            conn.execute(sql.SQL(statement.text), parameters, prepare=False, binary=True)
            if conn.info.transaction_status is not TransactionStatus.INTRANS:
                raise InvariantError(f"the statement of treatment {statement.treatment_dbid} ended our transaction")
    except psycopg.Error as error:
        if conn.closed or conn.broken:
            raise  # the server is away: the whole batch comes again
        _failed(statement, " ".join(str(error).split()))


def _set_limits(conn: Connection, statement_timeout: str, lock_timeout: str) -> tuple[str, str]:
    """Until the end of the transaction; returns the ones before."""
    row = conn.execute(
        "WITH before AS MATERIALIZED ("
        " SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock)"
        " SELECT statement, lock, set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"
        " FROM before",
        (statement_timeout, lock_timeout),
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _failed(statement: Statement, reason: str) -> None:
    log.error("treatment.sql_failed", treatment_dbid=statement.treatment_dbid, reason=reason)


def _plain(value: object) -> object:
    """Enums of the manual as plain integers; psycopg would send their names."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
