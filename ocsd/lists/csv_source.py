"""CSV files as a stream of records with line numbers; what is malformed becomes a fault of its line, never a crash.

Memory stays flat: the file is read in chunks, and neither a line nor an open quote can grow without bound.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, Final

from ocsd.model.errors import ConfigError

CHUNK_BYTES: Final = 1 << 18
LINE_LIMIT_BYTES: Final = 1 << 20
"""A longer line is no record of a calling list; it is skipped up to its end."""

DELIMITERS: Final = ",;\t|"

EMPTY_TEXT: Final = "\0"
"""Stands for a quoted empty value (``""``) where the reader asks for it; no file and no database holds it as text."""

Record = tuple[int, list[str], str | None]
"""Number of the first line (from 1), fields, fault (None: none; else the fields are only for the report)."""


class CsvSource:
    """
    Iterates over the records of a UTF-8 file, the header included; empty lines are left out.

    ``bytes_read`` tells how far the reading has come. With ``mark_empty`` a quoted empty value is `EMPTY_TEXT`: COPY
    and others write empty text so, and nothing at all for NULL; the csv module makes no difference.
    """

    def __init__(self, file: BinaryIO, *, mark_empty: bool = False) -> None:
        self._file = file
        self._rest = b""
        self._line = 0
        self.bytes_read = 0
        first = self._read()
        if first.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ConfigError(["the file is UTF-16; save it as UTF-8"])
        self._rest = first.removeprefix(b"\xef\xbb\xbf")
        header = self._rest.split(b"\n", 1)[0].decode("utf-8", "replace")
        self.delimiter = max(DELIMITERS, key=header.count)
        field = rf'"[^"]*(?:""[^"]*)*"|[^{re.escape(self.delimiter)}\n]+'
        self._field = re.compile(field) if mark_empty else None
        """A whole value: what is quoted inside of one is passed over."""

    def __iter__(self) -> Iterator[Record]:
        while True:
            block, overlong = self._take()
            if overlong:
                self._line += 1
                yield self._line, [], f"line longer than {LINE_LIMIT_BYTES} bytes"
            elif not block:
                return
            elif (text := _text_of(block)) is None:
                yield from self._careful(block)
            elif '"' not in text:
                yield from self._plain(text)
            elif (records := self._quoted(text)) is not None:
                yield from records
            else:
                yield from self._careful(block)

    def _read(self) -> bytes:
        data = self._file.read(CHUNK_BYTES)
        self.bytes_read += len(data)
        return data

    def _take(self) -> tuple[bytes, bool]:
        """The next whole lines; the flag says that a line without end was skipped instead."""
        data = self._rest
        while (cut := data.rfind(b"\n") + 1) == 0:
            if len(data) > LINE_LIMIT_BYTES:
                self._skip_line()
                return b"", True
            more = self._read()
            if not more:
                self._rest = b""
                return data, False
            data += more
        self._rest = data[cut:]
        return data[:cut], False

    def _skip_line(self) -> None:
        while more := self._read():
            if (cut := more.find(b"\n") + 1) > 0:
                self._rest = more[cut:]
                return
        self._rest = b""

    def _plain(self, text: str) -> Iterator[Record]:
        """No quotes: every line is a record, and the csv module runs over them without coming back to Python."""
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        base = self._line
        self._line += len(lines)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            try:
                for row in reader:
                    if row:
                        yield base + reader.line_num, row, None
                return
            except csv.Error as error:
                number = reader.line_num
                yield base + number, [lines[number - 1]], f"malformed line: {error}"

    def _quoted(self, text: str) -> list[Record] | None:
        """The block's records, when all of its quotes are well-formed and closed inside it."""
        lines = [line + "\n" for line in self._marked(text).split("\n")]
        if lines[-1] == "\n":
            lines.pop()
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        records: list[Record] = []
        first = self._line + 1
        try:
            for row in reader:
                if row:
                    records.append((first, row, None))
                first = self._line + reader.line_num + 1
        except csv.Error:
            return None
        self._line += len(lines)
        return records

    def _marked(self, text: str) -> str:
        """Whole records, with `EMPTY_TEXT` in place of ``""`` if that is asked for."""
        if self._field is None or '""' not in text:
            return text
        ends = ("", self.delimiter, "\n", "\r")

        def mark(field: re.Match[str]) -> str:
            return EMPTY_TEXT if field[0] == '""' and text[field.end() : field.end() + 1] in ends else field[0]

        return self._field.sub(mark, text)

    def _careful(self, block: bytes) -> Iterator[Record]:
        """Quotes, or bytes that are not text: line by line, so that a malformed record costs only its first line."""
        waiting = deque(_split(block))
        taken: list[bytes] = []
        faults: list[str] = []

        def feed() -> Iterator[str]:
            while True:
                if not waiting:
                    # An open quote runs on into the next block.
                    more, overlong = self._take()
                    if overlong or not more:
                        return
                    waiting.extend(_split(more))
                raw = waiting.popleft()
                taken.append(raw)
                if b"\0" in raw:
                    faults.append("NUL byte in the line")
                try:
                    yield raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    faults.append(f"not UTF-8: byte 0x{raw[error.start]:02x} at place {error.start + 1} of the line")
                    yield raw.decode("utf-8", "replace")

        while waiting:
            taken.clear()
            faults.clear()
            first = self._line + 1
            reader = csv.reader(feed(), delimiter=self.delimiter, strict=True)
            try:
                row = next(reader, [])
            except csv.Error as error:
                # Only the first line is given up; those swallowed by an open quote are read again.
                waiting.extendleft(reversed(taken[1:]))
                self._line += 1
                text = taken[0].decode("utf-8", "replace").rstrip("\r\n")
                yield first, [text.replace("\0", "\\0")], f"malformed line: {error}"
                continue
            self._line += len(taken)
            if self._field is not None and not faults:
                whole = _split_text(self._marked(b"".join(taken).decode("utf-8")))
                row = next(csv.reader(whole, delimiter=self.delimiter, strict=True), [])
            if faults:
                yield first, [value.replace("\0", "\\0") for value in row], faults[0]
            elif row:
                yield first, row, None


def _text_of(block: bytes) -> str | None:
    """The block as text; None when a line of it is not text."""
    if b"\0" in block:
        return None
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _split_text(text: str) -> list[str]:
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _split(block: bytes) -> list[bytes]:
    """Lines with their ends; unlike splitlines it splits at newlines only."""
    lines = [line + b"\n" for line in block.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines
