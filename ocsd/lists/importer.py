"""`ocsd list import`: a CSV file of any size into a calling list, by COPY, in one transaction with flat memory.

Good rows are kept, bad ones go to ``<file>.rejected.csv`` with line number and reason. Nothing is imported unless
everything was read: killed midway, the transaction never happened.

Rows without ``record_id`` and ``chain_id`` (each becomes a chain of its own) go straight into the table, as their
numbers come from its sequences and cannot collide. Rows that bring their own numbers, and all rows when duplicates are
looked for (`duplicates`) or nothing is to be kept (a dry run), pass through a temporary table. There those that collide
with each other or with the table are found and rejected, and duplicates go to ``<file>.duplicates.csv``.

A value that is missing is NULL, a quoted empty one (``""``) is empty text: COPY's convention, which exports follow.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.counting import stats
from ocsd.lists.csv_source import EMPTY_TEXT, CsvSource, Record
from ocsd.lists.duplicates import NOT_DUPLICATE, STAGE, DuplicateRule, Finder, finder_of
from ocsd.lists.exporter import export_csv
from ocsd.lists.keys import Action, Key
from ocsd.lists.reports import Report, report, write_lines
from ocsd.lists.rows import RowBuilder, RowRefused, map_header
from ocsd.lists.staging import create_stage, insert_staged, reject_collisions, reserve_numbers
from ocsd.lists.tables import table_differences, table_of
from ocsd.model.errors import ConfigError, StoreUnavailable

Connection = psycopg.Connection[Any]
Progress = Callable[[int, int], None]
"""Called with rows and bytes read so far."""

BLOCK_ROWS: Final = 1000
"""Rows per write to the connection and per progress call."""

WORK_MEMORY: Final = "64MB"
"""The server's, for each sort or hash of one import; what needs more goes to its disk."""

NO_RULE: Final = DuplicateRule()


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """
    Attributes:
        mapping: CSV column -> table column, for headers that do not say it themselves; ``-`` leaves a column out.
        duplicates: what is a duplicate, and what becomes of it.
        exact, retrieved_as_ready: see RowBuilder.
        dry_run: read, check and report everything, and keep nothing.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    duplicates: DuplicateRule = NO_RULE
    exact: bool = False
    retrieved_as_ready: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ImportResult:
    """
    Counts of rows of the file: ``rows`` = ``imported`` + ``rejected`` + ``duplicates``.

    Attributes:
        imported: 0 when duplicates are refused and there are some; of a dry run, what would be imported.
        updated: those of the duplicates that changed a row of the list.
        refused: nothing was imported because of duplicates.
        rejected_path, duplicates_path: None when there is no such row.
    """

    rows: int
    imported: int
    rejected: int
    rejected_path: Path | None
    duplicates: int = 0
    updated: int = 0
    refused: bool = False
    duplicates_path: Path | None = None


def import_csv(
    conn: Connection,
    config: Configuration,
    calling_list: CallingList,
    path: Path,
    *,
    options: ImportOptions | None = None,
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> ImportResult:
    """
    Import ``path`` into the list's table.

    Args:
        conn: not inside a transaction; a running daemon is not needed and not disturbed.
        mapping: as in ImportOptions, which it goes before.
        progress: see Progress; called about every 1000 rows and at the end.
        now: decides which time zones have the same rules from here on; default: the clock.

    Raises ConfigError for what concerns the whole file (missing table, unknown columns, not a text file), OSError when
    it cannot be read, StoreUnavailable when the database went away. Then nothing has been imported.
    """
    asked = options or ImportOptions()
    try:
        with path.open("rb") as file:
            source = CsvSource(file, mark_empty=True)
            records = iter(source)
            _, header, fault = next(records, (1, [], "the file is empty"))
            if fault is not None:
                raise ConfigError([f"{path.name}: header: {fault}"])
            header = ["" if name == EMPTY_TEXT else name for name in header]
            if problems := table_differences(conn, config, calling_list):
                raise ConfigError(problems)
            places = map_header(config, calling_list, header, asked.mapping if mapping is None else mapping)
            builder = RowBuilder(
                config, calling_list, places, len(header), now or datetime.now(UTC),
                exact=asked.exact, retrieved_as_ready=asked.retrieved_as_ready,
            )  # fmt: skip
            finder = (
                finder_of(conn, config, calling_list, asked.duplicates, tuple(places), builder.columns)
                if asked.duplicates
                else None
            )
            with (
                report(path.with_name(path.name + ".rejected.csv"), header) as rejected,
                report(path.with_name(path.name + ".duplicates.csv"), header) as duplicates,
            ):
                run = _Import(conn, table_of(config, calling_list), path, builder, finder, rejected, duplicates)
                return run.run(source, records, progress, dry_run=asked.dry_run)
    except psycopg.errors.UniqueViolation as error:
        # Rows put in by hand, past the sequences, or another session at this moment.
        raise ConfigError(
            [f"import of {path.name} given up, nothing was imported: {error.diag.message_detail}"]
        ) from error
    except psycopg.errors.SequenceGeneratorLimitExceeded as error:
        raise ConfigError(
            [f"import of {path.name} given up, nothing was imported: the table has used up its numbers ({error})"]
        ) from error
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.RaiseException) as error:
        # What the table asks for besides the format: a column that must not be empty, a constraint, a trigger.
        said = "; ".join(filter(None, (error.diag.message_primary, error.diag.message_detail, error.diag.context)))
        raise ConfigError(
            [f"import of {path.name} given up, nothing was imported: {' '.join((said or str(error)).split())}"]
        ) from error
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"import of {path.name} given up, nothing was imported: {error}") from error


@dataclass(slots=True)
class _Import:
    conn: Connection
    table: str
    path: Path
    builder: RowBuilder
    finder: Finder | None
    rejected: Report
    duplicates: Report

    def run(
        self, source: CsvSource, records: Iterator[Record], progress: Progress | None, *, dry_run: bool
    ) -> ImportResult:
        conn, columns = self.conn, self.builder.columns
        staged = dry_run or self.finder is not None or bool({"record_id", "chain_id"} & set(columns))
        updated = 0
        refused = False
        with conn.transaction() as transaction:
            conn.execute("SET LOCAL statement_timeout = 0")  # one COPY lasts as long as the file
            # One import at a time per table: chain numbers given by a file and by the sequence must not meet.
            conn.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (0x6F637364, self.table))
            if staged:
                conn.execute(sql.SQL("SET LOCAL work_mem = {}").format(sql.Literal(WORK_MEMORY)))
                create_stage(conn, self.table, columns)
            rows = self._copy(source, records, progress, staged=staged)
            if staged:
                conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(STAGE)))
                if self.finder is not None:
                    self.finder.find(conn)
                if not dry_run:
                    reserve_numbers(conn, self.table, columns)
                taken = reject_collisions(conn, self.table, columns, but_duplicates=self.finder is not None)
                write_lines(conn, taken, self.rejected, self.path)
                if self.finder is not None:
                    self.finder.find_repeated(conn)
                    refused = self.finder.rule.action is Action.REFUSE and self.finder.count(conn) > 0
                if not (dry_run or refused):
                    insert_staged(conn, self.table, columns, NOT_DUPLICATE if self.finder is not None else sql.SQL(""))
                if self.finder is not None:
                    updated = self._duplicates(self.finder, dry_run=dry_run)
                if dry_run or refused:
                    raise psycopg.Rollback(transaction)
        if not (dry_run or refused):
            conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self.table)))
        if progress is not None:
            progress(rows, source.bytes_read)
        left = rows - self.rejected.count - self.duplicates.count
        return ImportResult(
            rows=rows,
            imported=0 if refused else left,
            rejected=self.rejected.count,
            rejected_path=self.rejected.path if self.rejected.count else None,
            duplicates=self.duplicates.count,
            updated=updated,
            refused=refused,
            duplicates_path=self.duplicates.path if self.duplicates.count else None,
        )

    def _copy(self, source: CsvSource, records: Iterator[Record], progress: Progress | None, *, staged: bool) -> int:
        """All rows of the file into the table, or into the temporary one; returns how many."""
        rows = 0
        build = self.builder.build
        with _copy_into(self.conn, STAGE if staged else self.table, self.builder.columns, staged) as write:
            block: list[str] = []
            for line, row, fault in records:
                rows += 1
                try:
                    if fault is not None:
                        raise RowRefused(fault)
                    block.append(f"{line}\t{build(row)}" if staged else build(row))
                except RowRefused as refusal:
                    self.rejected.add(line, str(refusal), row)
                if rows % BLOCK_ROWS == 0:
                    write("".join(block))
                    block.clear()
                    if progress is not None:
                        progress(rows, source.bytes_read)
            write("".join(block))
        return rows

    def _duplicates(self, finder: Finder, *, dry_run: bool) -> int:
        """
        Update rows of the list, if that is the rule, and report; returns how many rows of the file change some.

        Last of all, so that rows of the list are locked for as short a time as can be.
        """
        updated = finder.lock_updates(self.conn) if finder.rule.action is Action.UPDATE else 0
        if updated and not dry_run:
            finder.apply_updates(self.conn)
        write_lines(self.conn, finder.report(), self.duplicates, self.path)
        return updated


@contextmanager
def _copy_into(conn: Connection, table: str, columns: tuple[str, ...], staged: bool) -> Iterator[Callable[[str], None]]:
    names = ("line_number", *columns) if staged else columns
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        yield copy.write


__all__ = [
    "Action",
    "DuplicateRule",
    "ImportOptions",
    "ImportResult",
    "Key",
    "export_csv",
    "import_csv",
    "stats",
]
