"""The temporary table of an import, between the file and the calling list: see `importer`."""

from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.lists.duplicates import HOLDERS, STAGE

Connection = psycopg.Connection[Any]

LOCK_LIMIT: Final = "2s"
LOCK_TRIES: Final = 30
"""While the lock is waited for, those who come after wait behind it: so not for long, but again and again."""


def create_stage(conn: Connection, table: str, columns: tuple[str, ...]) -> None:
    conn.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT 0::bigint AS line_number, {} FROM {} LIMIT 0"
        ).format(sql.Identifier(STAGE), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table))
    )


def reserve_numbers(conn: Connection, table: str, columns: tuple[str, ...]) -> None:
    """
    Make the table's sequences go on behind the numbers that the file gives, before anybody's rows are compared.

    Nobody may take a number meanwhile: whoever inserts holds a lock on the table from before the number is taken to the
    end of the transaction. So a lock that waits for these, and keeps others out for the moment of `setval` (which no
    rollback undoes), leaves nobody with a number of the file whose row cannot be seen. No sequence ever goes back.
    """
    numbers = [name for name in ("record_id", "chain_id") if name in columns]
    for left in reversed(range(LOCK_TRIES)):
        try:
            with conn.transaction() as moment:
                conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_LIMIT)))
                conn.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.Identifier(table)))
                for name in numbers:
                    _go_on_behind(conn, table, name)
                raise psycopg.Rollback(moment)  # which lets go of the lock
        except psycopg.errors.LockNotAvailable:
            if not left:
                raise
        else:
            return


def _go_on_behind(conn: Connection, table: str, column: str) -> None:
    conn.execute(
        sql.SQL(
            "SELECT setval(s.name, h.highest) FROM (SELECT pg_get_serial_sequence({quoted}, {column})) AS s (name),"
            " (SELECT greatest((SELECT max({field}) FROM {table}), (SELECT max({field}) FROM {stage})))"
            " AS h (highest)"
            " WHERE s.name IS NOT NULL AND h.highest > coalesce(pg_sequence_last_value(s.name::regclass), 0)"
        ).format(
            quoted=sql.Literal(f'"{table}"'),
            column=sql.Literal(column),
            field=sql.Identifier(column),
            table=sql.Identifier(table),
            stage=sql.Identifier(STAGE),
        )
    )


def reject_collisions(conn: Connection, table: str, columns: tuple[str, ...], *, but_duplicates: bool) -> sql.SQL:
    """
    Remove staged rows whose numbers are taken; of several in the file the first one stays.

    ``but_duplicates``: rows that `duplicates` has found in a list may have its numbers, they are not inserted. Returns
    a query of the removed lines and of who has their numbers, in the order of the file.
    """
    checks: list[tuple[tuple[sql.Composable, ...], tuple[str, ...]]] = []
    if "chain_id" in columns:
        # A file without chain_n has one row per chain; the table's default is 0.
        place = sql.Identifier("chain_n") if "chain_n" in columns else sql.SQL("0")
        checks.append(((sql.Identifier("chain_id"), place), ("chain_id", "chain_n")))
    if "record_id" in columns:
        checks.append(((sql.Identifier("record_id"),), ("record_id",)))
    conn.execute("CREATE TEMPORARY TABLE ocsd_import_taken (line_number bigint, reason text) ON COMMIT DROP")
    new: sql.Composable = sql.SQL("")
    if but_duplicates:
        new = sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS h WHERE h.line_number = s.line_number)").format(
            sql.Identifier(HOLDERS)
        )
    for own, names in checks:
        conn.execute(
            sql.SQL(
                """
                WITH staged (line_number, {keys}) AS (SELECT line_number, {own} FROM {stage} AS s{new}),
                numbered AS (
                  SELECT s.*, min(line_number) OVER (PARTITION BY {keys}) AS first FROM staged AS s
                ), collision AS (
                  SELECT line_number, 'line ' || first || ' of the file' AS holder FROM numbered
                    WHERE line_number > first
                  UNION ALL
                  SELECT n.line_number, 'record_id ' || t.record_id || ' of the calling list' FROM numbered AS n
                    JOIN {table} AS t USING ({keys}) WHERE n.line_number = n.first
                ), taken AS (
                  DELETE FROM {stage} WHERE line_number IN (SELECT line_number FROM collision)
                )
                INSERT INTO ocsd_import_taken
                SELECT c.line_number, concat_ws(', ', {told}) || ' is taken by ' || c.holder
                FROM collision AS c JOIN staged AS s USING (line_number)
                """
            ).format(
                stage=sql.Identifier(STAGE),
                new=new,
                own=sql.SQL(", ").join(own),
                keys=sql.SQL(", ").join(map(sql.Identifier, names)),
                told=sql.SQL(", ").join(
                    sql.SQL("{} || s.{}").format(sql.Literal(f"{name} "), sql.Identifier(name)) for name in names
                ),
                table=sql.Identifier(table),
            )
        )
    return sql.SQL("SELECT line_number, reason FROM ocsd_import_taken ORDER BY line_number")


def insert_staged(conn: Connection, table: str, columns: tuple[str, ...], condition: sql.Composable) -> None:
    """``condition``: an AND clause on the staged row ``s``."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    conn.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} AS s WHERE true{} ORDER BY line_number").format(
            sql.Identifier(table), names, names, sql.Identifier(STAGE), condition
        )
    )
