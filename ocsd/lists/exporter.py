"""`ocsd list export`: a calling list as CSV, streamed by COPY; what is written can be imported again.

NULL is an empty value, empty text a quoted one. Times are UTC, and numbers have all of their digits.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.claiming import preflight
from ocsd.lists.reader import let_read, reading
from ocsd.lists.selection import criteria_of, selection_of
from ocsd.lists.tables import columns_of, table_differences, table_of
from ocsd.model.errors import ConfigError, StoreUnavailable

PLAIN_FORM: Final = (
    "SET LOCAL statement_timeout = 0; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO';"
    " SET LOCAL extra_float_digits = 1; SET LOCAL client_encoding = 'UTF8'"
)
"""The same file whatever the server's and the operator's settings are."""


def export_csv(
    conn: psycopg.Connection[Any],
    config: Configuration,
    calling_list: CallingList,
    path: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> int:
    """
    Write all rows that the list's filter admits to ``path``, by record_id, with a header; returns how many.

    The file appears when it is complete. ``progress`` is called with the bytes written so far. Raises ConfigError when
    the table or filter does not work, OSError, StoreUnavailable.
    """
    if problems := table_differences(conn, config, calling_list):
        raise ConfigError(problems)
    table = table_of(config, calling_list)
    dialing_filter = config.filter(calling_list.filter) if calling_list.filter else None
    statement = sql.SQL(
        "COPY (SELECT {} FROM {} AS t WHERE {} ORDER BY record_id) TO STDOUT (FORMAT csv, HEADER)"
    ).format(
        sql.SQL(", ").join(sql.Identifier("t", column.name) for column in columns_of(config, calling_list)),
        sql.Identifier(table),
        criteria_of(dialing_filter, with_parameters=False),
    )
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        let_read(conn, table)
        with reading(conn, table), conn.cursor() as cursor, unfinished.open("wb") as file:
            # COPY takes no parameters, and without any the text would be free to end it and begin another statement.
            preflight(conn, selection_of(config, calling_list), calling_list)
            cursor.execute(PLAIN_FORM)
            written = 0
            with cursor.copy(statement) as copy:
                for block in copy:
                    written += file.write(block)
                    if progress is not None:
                        progress(written)
            rows = cursor.rowcount
        unfinished.replace(path)
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"export to {path.name} given up: {error}") from error
    except psycopg.ProgrammingError as error:
        raise ConfigError([f"calling list {calling_list.name!r} cannot be exported: {error}"]) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return rows
