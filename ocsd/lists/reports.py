"""Reports of an import: rows of the file with line number and reason, as CSV that can be corrected and imported."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql

from ocsd.lists.csv_source import EMPTY_TEXT, CsvSource

Connection = psycopg.Connection[Any]


class Report:
    """One report; its file appears with the first row, and one of an earlier import goes at the start."""

    def __init__(self, path: Path, header: list[str]) -> None:
        self.path = path
        self.count = 0
        self._header = header
        self._file: IO[str] | None = None
        path.unlink(missing_ok=True)  # it would mislead

    def add(self, line: int, reason: str, row: list[str]) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", errors="replace", newline="")
            self._write(["line", "reason", *self._header])
        self._write([str(line), reason, *row])
        self.count += 1

    def _write(self, row: list[str]) -> None:
        assert self._file is not None
        self._file.write(",".join(map(_written, row)) + "\r\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@contextmanager
def report(path: Path, header: list[str]) -> Iterator[Report]:
    opened = Report(path, header)
    try:
        yield opened
    finally:
        opened.close()


def _written(value: str) -> str:
    """Empty text stays quoted, so that a corrected report imports as the file would have."""
    if value == EMPTY_TEXT:
        return '""'
    if any(character in value for character in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


def write_lines(conn: Connection, lines: sql.SQL | sql.Composed, to: Report, path: Path) -> None:
    """
    Write the rows that the query ``lines`` of (line_number, reason), in order, names.

    The file is read once more beside them: flat memory.
    """
    with conn.cursor("ocsd_import_lines") as found:
        found.execute(lines)
        wanted = next(found, None)
        if wanted is None:
            return
        with path.open("rb") as file:
            for line, row, _ in CsvSource(file, mark_empty=True):
                if line == wanted[0]:
                    to.add(line, wanted[1], row)
                    wanted = next(found, None)
                    if wanted is None:
                        return
