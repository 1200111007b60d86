"""CSV as a stream: what is malformed costs its own line only."""

import csv
import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsd.lists import csv_source
from ocsd.lists.csv_source import CsvSource
from ocsd.model.errors import ConfigError


def records(data: bytes):
    return list(CsvSource(io.BytesIO(data)))


def good(data: bytes):
    return [(line, row) for line, row, fault in records(data) if fault is None]


def faults(data: bytes):
    return [(line, fault) for line, _, fault in records(data) if fault is not None]


def test_given_plain_lines_when_read_then_rows_come_with_line_numbers():
    data = b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4"
    assert records(data) == [(1, ["a", "b"], None), (2, ["1", "2"], None), (4, ["3", "4"], None)]


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_given_a_delimiter_when_read_then_it_is_found_by_the_header(delimiter):
    assert good(f"a{delimiter}b\n1{delimiter}2\n".encode())[1] == (2, ["1", "2"])


def test_given_quotes_with_newlines_when_read_then_the_record_has_its_first_line():
    data = b'a,b\n"x\ny","say ""hi"""\n5,6\n'
    assert good(data) == [(1, ["a", "b"]), (2, ["x\ny", 'say "hi"']), (4, ["5", "6"])]


def test_given_an_unterminated_quote_when_read_then_only_its_line_is_lost():
    data = b'a,b\n1,2\n"open,3\n4,5\n6,7\n'
    assert good(data) == [(1, ["a", "b"]), (2, ["1", "2"]), (4, ["4", "5"]), (5, ["6", "7"])]
    ((line, fault),) = faults(data)
    assert line == 3
    assert "malformed" in fault


def test_given_an_open_quote_before_a_long_file_when_read_then_the_rest_is_kept():
    lines = [f"{number},x" for number in range(40_000)]
    data = ("a,b\n" + '"open,3\n' + "\n".join(lines) + "\n").encode()
    assert len(good(data)) == 40_001
    assert [line for line, _ in faults(data)] == [2]
    assert good(data)[-1] == (40_002, ["39999", "x"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"x\0y,2", "NUL"),
        (b"\xff\xfe,2", "UTF-8: byte 0xff"),
        (b'"a"b,2', "malformed"),
        (b"1,2\r3,4", "malformed"),
    ],
)
def test_given_a_bad_line_when_read_then_the_others_are_kept(bad, reason):
    data = b"a,b\n1,2\n" + bad + b"\n5,6\n"
    assert good(data) == [(1, ["a", "b"]), (2, ["1", "2"]), (4, ["5", "6"])]
    ((line, fault),) = faults(data)
    assert line == 3
    assert reason in fault


def test_given_a_line_without_end_when_read_then_it_is_skipped_with_flat_memory():
    class Endless(io.RawIOBase):
        def __init__(self):
            self.parts = [b"a,b\n1,2\n", *[b"x" * (1 << 18)] * 64, b"\n5,6\n"]

        def read(self, size=-1):
            return self.parts.pop(0) if self.parts else b""

    tracemalloc.start()
    found = list(CsvSource(Endless()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0][1:] == (["a", "b"], None)
    assert [(line, row) for line, row, fault in found if fault is None][-1] == (4, ["5", "6"])
    assert "longer than" in found[2][2]
    assert peak < 8 * csv_source.LINE_LIMIT_BYTES


def test_given_utf_16_when_opened_then_the_error_says_so():
    with pytest.raises(ConfigError, match="UTF-16"):
        records("a,b\n".encode("utf-16"))


@settings(deadline=None)
@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8),
            min_size=2,
            max_size=2,
        ),
        max_size=20,
    ),
    st.integers(4, 64),
)
def test_given_rows_written_by_the_csv_module_when_read_in_any_chunks_then_they_are_equal(rows, chunk):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["a", "b"], *rows])
    size, csv_source.CHUNK_BYTES = csv_source.CHUNK_BYTES, chunk
    try:
        assert [row for _, row in good(text.getvalue().encode())] == [["a", "b"], *rows]
    finally:
        csv_source.CHUNK_BYTES = size


@given(st.binary(max_size=200))
def test_given_any_bytes_when_read_then_nothing_crashes_and_lines_ascend(data):
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    lines = [line for line, _, _ in records(data)]
    assert lines == sorted(set(lines))
