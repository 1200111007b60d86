"""Reads registries and other files of phone numbers, one number a line, at the speed of numpy.

The files are as in `ocsd.dnc.forms`; ``.gz`` too. `one_number` says what a line means. Lines of the usual shapes are
turned into numbers many at a time, in `parse_block`, with the same result (the tests compare both); whatever is not
plainly of a usual shape goes through `one_number`, line by line. Lines that are refused are counted and written to a
file with their line number and the reason; empty lines are skipped.
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from ocsd.dnc.forms import IGNORED, MIN_DIGITS, NumberRefused, Plan, one_number
from ocsd.dnc.index import MAX_DIGITS, U64

BLOCK_BYTES: Final = 1 << 22
"""Text worked on at a time; about ten times as much memory is used meanwhile."""

MAX_LINE_BYTES: Final = 4096
"""A longer line is no number, and a file without line ends must not fill the memory."""

MAX_REJECTS_WRITTEN: Final = 1_000_000
"""More refused lines are only counted: the file was something else altogether."""

GROWTH: Final = 1 << 24
"""Numbers by which the array grows (128 MiB): the kernel moves pages, so nothing is copied."""

_DIGIT, _NEWLINE, _PLUS, _COMMA, _RETURN, _IGNORED, _OTHER = range(7)
_CLASS: Final = np.full(256, _OTHER, np.uint8)
_CLASS[48:58] = _DIGIT
_CLASS[10], _CLASS[43], _CLASS[44], _CLASS[13] = _NEWLINE, _PLUS, _COMMA, _RETURN
for _character in IGNORED:
    _CLASS[ord(_character)] = _IGNORED

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reject:
    """A refused line: ``text`` is its beginning, ``line`` counts from 1."""

    file: str
    line: int
    text: str
    reason: str


@dataclass(slots=True)
class Counts:
    """Lines seen (without empty ones) and refused."""

    lines: int = 0
    rejected: int = 0


class RejectsFile:
    """Writes refused lines as CSV; the file appears with the first one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self._left_out = 0
        self._file: IO[str] | None = None
        self._writer: Any = None

    def __enter__(self) -> "RejectsFile":
        # What an earlier import refused is not what this one refuses.
        self.path.unlink(missing_ok=True)
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        if self._file is not None:
            if self._left_out:
                self._writer.writerow(["", "", "", f"{self._left_out} more lines were refused"])
            self._file.close()

    def write(self, reject: Reject) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
            self._writer = csv.writer(self._file)
            self._writer.writerow(["file", "line", "text", "reason"])
        if self.written >= MAX_REJECTS_WRITTEN:
            self._left_out += 1
            return
        self.written += 1
        self._writer.writerow([reject.file, reject.line, reject.text, reject.reason])


class _Numbers:
    """An array that grows without ever being there twice."""

    def __init__(self) -> None:
        self._array: U64 = np.empty(0, np.uint64)
        self._length = 0

    def extend(self, numbers: U64) -> None:
        end = self._length + len(numbers)
        if end > len(self._array):
            # realloc() of a large block moves its pages (mremap); nobody else holds a view of it.
            self._array.resize(end + GROWTH, refcheck=False)
        self._array[self._length : end] = numbers
        self._length = end

    def done(self) -> U64:
        self._array.resize(self._length, refcheck=False)
        return self._array


def read_numbers(
    files: Sequence[Path],
    plan: Plan | None,
    reject: Callable[[Reject], object],
    progress: Callable[[int, int], object] = lambda _bytes, _numbers: None,
) -> tuple[U64, Counts]:
    """
    The numbers of files, in their order, with repetitions; peak memory is 8 bytes a number and some 200 MB.

    Args:
        plan: how numbers without a country code are read; None: they are refused.
        reject: called with every refused line.
        progress: called with the bytes of the files read so far (compressed ones as they lie on disk) and the numbers.
    """
    numbers = _Numbers()
    counts = Counts()
    read_before = found = 0
    for path in files:
        line = 1
        with _opened(path) as (stream, position):
            for block in _blocks(stream):
                values, refused, lines = parse_block(block, plan)
                for at, text, reason in refused:
                    reject(Reject(path.name, line + at, text, reason))
                numbers.extend(values)
                found += len(values)
                counts.lines += len(values) + len(refused)
                counts.rejected += len(refused)
                line += lines
                progress(read_before + position(), found)
        read_before += path.stat().st_size
    return numbers.done(), counts


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        stream: IO[bytes] = raw
        if path.suffix == ".gz":
            stream = stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=raw), BLOCK_BYTES))
        yield stream, raw.tell


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines, each ended by a newline; a line that is too long is cut and refused in pieces."""
    rest = b""
    first = True
    while data := stream.read(BLOCK_BYTES):
        if first:
            data, first = data.removeprefix(b"\xef\xbb\xbf"), False  # what Windows puts before UTF-8
        data = rest + data
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > MAX_LINE_BYTES:
            yield data[:MAX_LINE_BYTES] + b"\n"
            # The rest of the line is not read as a number: the remainder begins with something that is none.
            rest = b"?" + data[-1:]
            continue
        if cut:
            yield data[:cut]
        rest = data[cut:]
    if rest:
        yield rest + b"\n"


def parse_block(block: bytes, plan: Plan | None) -> tuple[U64, list[tuple[int, str, str]], int]:
    """
    The numbers of whole lines; refused lines as (index of the line, its text, reason); how many lines there are.

    The order of the numbers is not that of the lines.
    """
    data = np.frombuffer(block, np.uint8)
    kinds = _CLASS[data]
    at = np.flatnonzero(kinds)  # everything that is not a digit
    kind = kinds[at]
    newline = kind == _NEWLINE
    ends = at[newline]
    n_lines = len(ends)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    # Non-digits between the line ends tell the shape of each line. Files of bare digits have none.
    plus = np.zeros(n_lines, np.bool_)
    comma = np.zeros(n_lines, np.bool_)
    odd = np.zeros(n_lines, np.bool_)
    n_digits = ends - starts
    if len(at) > n_lines:
        line = np.cumsum(newline) - newline
        other = ~newline
        n_digits = n_digits - np.bincount(line[other], minlength=n_lines)
        _look(kind, at, line, starts, ends, plus, comma, odd)
    digits = data[kinds == _DIGIT] - 48
    digit_starts = np.cumsum(n_digits) - n_digits
    groups: list[U64] = []
    slow = odd | ((n_digits == 0) & (starts < ends))
    todo = ~slow & (n_digits > 0)
    for length in np.unique(n_digits[todo]):
        length = int(length)
        members = np.flatnonzero(todo & (n_digits == length))
        if not MIN_DIGITS - 3 <= length <= MAX_DIGITS + 3:
            slow[members] = True  # refused, with the reason in words
            continue
        values = _values(digits, digit_starts[members], length)
        for shape, meaning in (
            ((~plus & ~comma)[members], _domestic),
            (comma[members], _with_comma),
            ((plus & ~comma)[members], _international),
        ):
            if shape.any():
                known, numbers = meaning(values[shape], length, plan)
                groups.append(numbers[known])
                slow[members[shape][~known]] = True
    refused = []
    for index in np.flatnonzero(slow):
        text = block[starts[index] : ends[index]].decode("utf-8", "replace").strip()
        if not text:
            continue
        try:
            groups.append(np.array([one_number(text, plan)], np.uint64))
        except NumberRefused as error:
            refused.append((int(index), text[:80], str(error)))
    return np.concatenate(groups) if groups else np.empty(0, np.uint64), refused, n_lines


def _look(
    kind: NDArray[np.uint8],
    at: I64,
    line: I64,
    starts: I64,
    ends: I64,
    plus: NDArray[np.bool_],
    comma: NDArray[np.bool_],
    odd: NDArray[np.bool_],
) -> None:
    """Marks lines with a plus first, with three digits and a comma first, and those of no usual shape."""
    is_plus, is_comma = kind == _PLUS, kind == _COMMA
    first_plus = is_plus & (at == starts[line])
    first_comma = is_comma & (at == starts[line] + 3)
    last_return = (kind == _RETURN) & (at == ends[line] - 1)
    strange = (kind == _OTHER) | (is_plus & ~first_plus) | (is_comma & ~first_comma)
    strange |= (kind == _RETURN) & ~last_return
    plus[line[first_plus]] = True
    comma[line[first_comma]] = True
    odd[line[strange]] = True
    # In "1 2,..." something else than three digits comes before the comma.
    early = (kind == _IGNORED) & comma[line] & (at < starts[line] + 3)
    odd[line[early]] = True
    odd |= plus & comma


def _values(digits: NDArray[np.uint8], starts: I64, length: int) -> U64:
    """The numbers of ``length`` digits that begin at ``starts``."""
    values = np.zeros(len(starts), np.uint64)
    if len(starts) * length == len(digits):
        table = digits.reshape(-1, length)
        for place in range(length):
            values *= np.uint64(10)
            values += table[:, place]
    else:
        for place in range(length):
            values *= np.uint64(10)
            values += digits[starts + place]
    return values


# Each of these returns which values it can tell for sure, and the numbers for all (meaningless where it cannot). They
# are `forms` for many numbers of one length: what is left to it here need not be decided twice.


def _domestic(values: U64, length: int, plan: Plan | None) -> tuple[NDArray[np.bool_], U64]:
    known = np.zeros(len(values), np.bool_)
    numbers = values.copy()
    if plan is None or length > MAX_DIGITS:
        return known, numbers
    code, prefix = plan.calling_code, plan.trunk_prefix
    # A national number that could not be anything else.
    if length in plan.lengths and len(code) + length <= MAX_DIGITS:
        sure = ~_begins(values, length, code) & ~_begins(values, length, "0")
        if prefix:
            sure &= ~_begins(values, length, prefix)
        numbers[sure] += np.uint64(int(code) * 10**length)
        known |= sure
    # The same with the trunk prefix, which in North America is the country code as well.
    rest = length - len(prefix)
    if prefix and rest in plan.lengths and len(code) + rest <= MAX_DIGITS and length not in plan.lengths:
        national = values % np.uint64(10**rest)
        sure = _begins(values, length, prefix) & ~_begins(national, rest, "0") & ~_begins(national, rest, prefix)
        if prefix != code:
            sure &= ~_begins(values, length, code)
        numbers[sure] = national[sure] + np.uint64(int(code) * 10**rest)
        known |= sure
    return known, numbers


def _with_comma(values: U64, length: int, plan: Plan | None) -> tuple[NDArray[np.bool_], U64]:
    if plan is None or not plan.north_american or length != 10:
        return np.zeros(len(values), np.bool_), values
    return _domestic(values, length, plan)


def _international(values: U64, length: int, plan: Plan | None) -> tuple[NDArray[np.bool_], U64]:
    if not MIN_DIGITS <= length <= MAX_DIGITS:
        return np.zeros(len(values), np.bool_), values
    known = ~_begins(values, length, "0")
    if plan is not None:
        ours = _begins(values, length, plan.calling_code)
        rest = length - len(plan.calling_code)
        national = values % np.uint64(10**rest)
        fits = np.full(len(values), rest in plan.lengths)
        if plan.north_american or plan.trunk_prefix == "0":
            fits &= ~_begins(national, rest, "0")
        if plan.north_american:
            fits &= ~_begins(national, rest, "1")
        known &= ~ours | fits
    return known, values


def _begins(values: U64, length: int, prefix: str) -> NDArray[np.bool_]:
    """Which numbers of ``length`` digits (leading zeros count) begin with ``prefix``."""
    if len(prefix) > length:
        return np.zeros(len(values), np.bool_)
    same: NDArray[np.bool_] = values // np.uint64(10 ** (length - len(prefix))) == np.uint64(int(prefix))
    return same
