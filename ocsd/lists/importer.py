"""`ocsd list import`: a CSV file of any size into a calling list, by COPY, in one transaction with flat memory.

Good rows are kept, bad ones go to ``<file>.rejected.csv`` with line number and reason. Nothing is imported unless
everything was read: killed midway, the transaction never happened.

Rows without ``record_id`` and ``chain_id`` (each becomes a chain of its own) go straight into the table, as their
numbers come from its sequences and cannot collide. Rows that bring their own numbers pass through a temporary table,
in which those that collide with each other or with the table are found and rejected.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.counting import stats
from ocsd.lists.csv_source import CsvSource
from ocsd.lists.exporter import export_csv
from ocsd.lists.rows import RowBuilder, RowRefused, map_header
from ocsd.lists.tables import table_differences, table_of
from ocsd.model.errors import ConfigError, StoreUnavailable

Connection = psycopg.Connection[Any]
Progress = Callable[[int, int], None]
"""Called with rows and bytes read so far."""

BLOCK_ROWS: Final = 1000
"""Rows per write to the connection and per progress call."""

STAGE: Final = "ocsd_import_stage"


@dataclass(frozen=True, slots=True)
class ImportResult:
    """``rejected_path`` is None when no row was rejected."""

    rows: int
    imported: int
    rejected: int
    rejected_path: Path | None


class Rejections:
    """The report of rejected rows; the file appears with the first one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._header: list[str] = []
        self._file: IO[str] | None = None
        self._writer: Any = None

    def start(self, header: list[str]) -> None:
        self._header = header
        self.path.unlink(missing_ok=True)  # the report of an earlier import would mislead

    def add(self, line: int, reason: str, row: list[str]) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", errors="replace", newline="")
            self._writer = csv.writer(self._file)
            self._writer.writerow(["line", "reason", *self._header])
        self._writer.writerow([line, reason, *row])
        self.count += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def import_csv(
    conn: Connection,
    config: Configuration,
    calling_list: CallingList,
    path: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> ImportResult:
    """
    Import ``path`` into the list's table.

    Args:
        conn: not inside a transaction; a running daemon is not needed and not disturbed.
        mapping: CSV column -> table column, for headers that do not say it themselves; ``-`` leaves a column out.
        progress: see Progress; called about every 1000 rows and at the end.
        now: decides which time zones have the same rules from here on; default: the clock.

    Raises ConfigError for what concerns the whole file (missing table, unknown columns, not a text file), OSError when
    it cannot be read, StoreUnavailable when the database went away. Then nothing has been imported.
    """
    try:
        with path.open("rb") as file:
            return _import(conn, config, calling_list, file, path, mapping or {}, progress, now or datetime.now(UTC))
    except psycopg.errors.UniqueViolation as error:
        # Rows put in by hand, past the sequences, or another session at this moment.
        raise ConfigError(
            [f"import of {path.name} given up, nothing was imported: {error.diag.message_detail}"]
        ) from error
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"import of {path.name} given up, nothing was imported: {error}") from error


def _import(
    conn: Connection,
    config: Configuration,
    calling_list: CallingList,
    file: Any,
    path: Path,
    mapping: Mapping[str, str],
    progress: Progress | None,
    now: datetime,
) -> ImportResult:
    if problems := table_differences(conn, config, calling_list):
        raise ConfigError(problems)
    source = CsvSource(file)
    records = iter(source)
    _, header, fault = next(records, (1, [], "the file is empty"))
    if fault is not None:
        raise ConfigError([f"{path.name}: header: {fault}"])
    builder = RowBuilder(config, calling_list, map_header(config, calling_list, header, mapping), len(header), now)
    table = table_of(config, calling_list)
    rejections = Rejections(path.with_name(path.name + ".rejected.csv"))
    rejections.start(header)
    staged = bool({"record_id", "chain_id"} & set(builder.columns))
    try:
        with conn.transaction():
            conn.execute("SET LOCAL statement_timeout = 0")  # one COPY lasts as long as the file
            # One import at a time per table: chain numbers given by a file and by the sequence must not meet.
            conn.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (0x6F637364, table))
            if staged:
                _create_stage(conn, table, builder.columns)
            rows = 0
            with _copy_into(conn, STAGE if staged else table, builder.columns, staged) as write:
                block: list[str] = []
                for line, row, fault in records:
                    rows += 1
                    try:
                        if fault is not None:
                            raise RowRefused(fault)
                        block.append(f"{line}\t{builder.build(row)}" if staged else builder.build(row))
                    except RowRefused as refusal:
                        rejections.add(line, str(refusal), row)
                    if rows % BLOCK_ROWS == 0:
                        write("".join(block))
                        block.clear()
                        if progress is not None:
                            progress(rows, source.bytes_read)
                write("".join(block))
            if staged:
                _reject_collisions(conn, table, builder.columns, rejections, path)
                _unstage(conn, table, builder.columns)
            if progress is not None:
                progress(rows, source.bytes_read)
        conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    finally:
        rejections.close()
    return ImportResult(rows, rows - rejections.count, rejections.count, rejections.path if rejections.count else None)


@contextmanager
def _copy_into(conn: Connection, table: str, columns: tuple[str, ...], staged: bool) -> Iterator[Callable[[str], None]]:
    names = ("line_number", *columns) if staged else columns
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        yield copy.write


def _create_stage(conn: Connection, table: str, columns: tuple[str, ...]) -> None:
    conn.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT 0::bigint AS line_number, {} FROM {} LIMIT 0"
        ).format(sql.Identifier(STAGE), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table))
    )


def _reject_collisions(
    conn: Connection, table: str, columns: tuple[str, ...], rejections: Rejections, path: Path
) -> None:
    """Remove staged rows whose numbers are taken and say by whom; of several in the file the first one stays."""
    checks: list[tuple[tuple[sql.Composable, ...], tuple[str, ...]]] = []
    if "chain_id" in columns:
        # A file without chain_n has one row per chain; the table's default is 0.
        place = sql.Identifier("chain_n") if "chain_n" in columns else sql.SQL("0")
        checks.append(((sql.Identifier("chain_id"), place), ("chain_id", "chain_n")))
    if "record_id" in columns:
        checks.append(((sql.Identifier("record_id"),), ("record_id",)))
    conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(STAGE)))
    conn.execute("CREATE TEMPORARY TABLE ocsd_import_taken (line_number bigint, reason text) ON COMMIT DROP")
    for own, names in checks:
        conn.execute(
            sql.SQL(
                """
                WITH staged (line_number, {keys}) AS (SELECT line_number, {own} FROM {stage}),
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
                own=sql.SQL(", ").join(own),
                keys=sql.SQL(", ").join(map(sql.Identifier, names)),
                told=sql.SQL(", ").join(
                    sql.SQL("{} || s.{}").format(sql.Literal(f"{name} "), sql.Identifier(name)) for name in names
                ),
                table=sql.Identifier(table),
            )
        )
    _report_taken(conn, rejections, path)


def _report_taken(conn: Connection, rejections: Rejections, path: Path) -> None:
    """Write the rows of the taken lines by reading the file once more beside the sorted line numbers: flat memory."""
    with conn.cursor("ocsd_import_taken_lines") as taken:
        taken.execute("SELECT line_number, reason FROM ocsd_import_taken ORDER BY line_number")
        wanted = next(taken, None)
        if wanted is None:
            return
        with path.open("rb") as file:
            for line, row, _ in CsvSource(file):
                if line == wanted[0]:
                    rejections.add(line, wanted[1], row)
                    wanted = next(taken, None)
                    if wanted is None:
                        return


def _unstage(conn: Connection, table: str, columns: tuple[str, ...]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    conn.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY line_number").format(
            sql.Identifier(table), names, names, sql.Identifier(STAGE)
        )
    )
    for column in ("record_id", "chain_id"):
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


__all__ = ["ImportResult", "export_csv", "import_csv", "stats"]
