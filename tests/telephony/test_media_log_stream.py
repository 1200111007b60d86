"""A log that nobody reads delays nothing."""

import os
from contextlib import ExitStack

import pytest

from telephony.media.log_stream import LONGEST_LINE_BYTES, LogStream


@pytest.fixture
def pipe():
    with ExitStack() as stack:
        reader, writer = (
            stack.enter_context(os.fdopen(descriptor, mode, buffering=0))
            for descriptor, mode in zip(os.pipe(), ("rb", "wb"), strict=True)
        )
        yield reader, writer


def test_given_a_reader_when_lines_come_then_they_arrive_as_written(pipe):
    reader, writer = pipe
    log = LogStream(writer.fileno())
    log.write("one\n")
    log.write("two\n")
    log.flush()

    assert reader.read(1000) == b"one\ntwo\n"
    assert log.dropped == 0


def test_given_nobody_who_reads_when_the_pipe_is_full_then_lines_are_dropped_and_told_later(pipe):
    reader, writer = pipe
    log = LogStream(writer.fileno())
    for i in range(20_000):
        log.write(f"line {i} {'x' * 90}\n")  # 2 MB into a pipe of 64 KB; a blocking write would hang here
    dropped = log.dropped
    arrived = reader.read(1 << 20)
    log.write("again\n")

    assert dropped > 10_000
    assert arrived.count(b"\n") + dropped == 20_000
    assert reader.read(1000).decode() == f"level=warning event=log.dropped lines={dropped}\nagain\n"
    assert log.dropped == 0


def test_given_a_line_longer_than_a_pipe_takes_at_once_when_written_then_cut(pipe):
    reader, writer = pipe
    LogStream(writer.fileno()).write("y" * 100_000 + "\n")

    arrived = reader.read(1 << 20)

    assert len(arrived) == LONGEST_LINE_BYTES
    assert arrived.endswith(b"y\n")


def test_given_a_reader_that_went_away_when_written_then_no_error(pipe):
    reader, writer = pipe
    log = LogStream(writer.fileno())
    reader.close()

    log.write("gone\n")

    assert log.dropped == 1
