"""The temporary table of an import, between the file and the calling list: see `importer`."""

from typing import Any

import psycopg
from psycopg import sql

from ocsd.lists.duplicates import HOLDERS, STAGE

Connection = psycopg.Connection[Any]


def create_stage(conn: Connection, table: str, columns: tuple[str, ...]) -> None:
    conn.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT 0::bigint AS line_number, {} FROM {} LIMIT 0"
        ).format(sql.Identifier(STAGE), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table))
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
    for column in {"record_id", "chain_id"} & set(columns):
        # The sequences go on behind the highest number given.
        conn.execute(
            sql.SQL(
                "SELECT setval(pg_get_serial_sequence({quoted}, {column}), greatest("
                "(SELECT max({name}) FROM {table}), nextval(pg_get_serial_sequence({quoted}, {column}))))"
                " WHERE EXISTS (SELECT FROM {table}) AND pg_get_serial_sequence({quoted}, {column}) IS NOT NULL"
            ).format(
                quoted=sql.Literal(f'"{table}"'),
                column=sql.Literal(column),
                name=sql.Identifier(column),
                table=sql.Identifier(table),
            )
        )
