"""Files of recordings and their rows: they agree in the end, whatever was killed between the two."""

import errno
import hashlib
import json
import os
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from ocsd.lists.recordings import GONE, RecordingRows
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import CpdRecording
from ocsd.recording_check import ABANDONED_S, FULL_EVERY, PERIOD_S, SETTLED_S, Checked, check, describe, keep_agreeing
from ocsd.recordings import delete_before
from ocsd.sessions.analysis_recording import path_of
from telephony.contract import Layout, StartRecording
from telephony.media.recording import Recorder
from telephony.media.recording_wire import wav_header
from tests.ocsd.list_worlds import NOON_UTC, PostgresWorld
from tests.ocsd.result_worlds import result_configuration
from tests.ocsd.test_streams import insert_attempt

LIMIT_S = 60.0
NODE = "here"
DAY = "2026-03-06"
PATH = path_of(DAY, 7, "0123456789ab")
LATER_S = time.time() + 10 * ABANDONED_S
TODAY = f"{datetime.fromtimestamp(LATER_S, UTC):%Y-%m-%d}"
FRAMES = np.arange(10 * 160, dtype=np.int16).reshape(10, 160)


@asynccontextmanager
async def rows_of(database):
    """Rows, and what stands in them by path. Attempt 7 is this node's, 8 is another's."""
    lists = PostgresWorld(database, result_configuration())
    for attempt_id, owner in ((7, f"{NODE}/0"), (8, f"{NODE}2/0")):
        insert_attempt(lists.conn, attempt_id)
        lists.conn.execute("UPDATE ocsd.attempt SET owner = %s WHERE attempt_id = %s", (owner, attempt_id))

    def found():
        return {row["path"]: row for row in lists.conn.execute("SELECT * FROM ocsd.cpd_recording").fetchall()}

    async with lists.store() as store:
        yield RecordingRows(store.database), found
    lists.conn.close()


def record(folder, path=PATH, frames=50, kill=0):
    """Record with a real writer; ``kill``: the writer's end after so many frames, and nobody repairs."""
    recorder = Recorder(folder, 1, wall=lambda: "2026-03-06T11:59:00.000+00:00")
    recorder.start(0, StartRecording("c", path, Layout.MONO), 1.0)
    rows, sent = np.array([0], dtype=np.intp), np.zeros((1, 160), dtype=np.int16)
    for number in range(kill or frames):
        recorder.tick(FRAMES[number % 10 : number % 10 + 1], rows, sent, 1.0 + number / 50)
    if kill:
        part = folder / f"{path}.part"
        deadline = time.monotonic() + LIMIT_S
        while not (part.exists() and part.stat().st_size > 44 + 20 * 320):
            assert time.monotonic() < deadline, "the writer wrote nothing"
            recorder.tick(FRAMES[:1], rows, sent, 2.0)
        os.kill(recorder.writer_pid, signal.SIGKILL)
        os.waitpid(recorder.writer_pid, 0)
        return recorder
    recorder.close()
    return recorder


def wav(folder, path=PATH, samples=b"\1\0" * 800, **sidecar):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(wav_header(len(samples), 1) + samples)
    if sidecar:
        file.with_name(file.name + ".json").write_text(json.dumps(sidecar))
    return file


# --- killed in between ----------------------------------------------------------------------------------------------


async def test_given_a_daemon_killed_before_the_row_when_checked_then_the_file_has_its_row_and_only_once(
    database, tmp_path
):
    record(tmp_path)
    octets = (tmp_path / PATH).read_bytes()
    async with rows_of(database) as (rows, found):
        assert await check(tmp_path, rows, NODE, LATER_S) == Checked(noted=1)
        assert await check(tmp_path, rows, NODE, LATER_S) == Checked()

        row = found()[PATH]
    assert (row["attempt_id"], row["sha256"]) == (7, hashlib.sha256(octets).hexdigest())
    assert (row["duration_s"], row["size_bytes"], row["gaps"], row["error"]) == (1.0, len(octets), 0, "")
    assert row["began_at"] == datetime(2026, 3, 6, 11, 59, tzinfo=UTC)


async def test_given_a_killed_writer_and_no_server_when_checked_then_the_part_is_whole_and_has_its_row(
    database, tmp_path
):
    record(tmp_path, kill=50)
    part = tmp_path / f"{PATH}.part"
    size = part.stat().st_size
    async with rows_of(database) as (rows, found):
        assert await check(tmp_path, rows, NODE, time.time()) == Checked()  # another server may be about to repair it
        assert part.exists()
        with capture_logs() as logs:
            mended = await check(tmp_path, rows, NODE, LATER_S)
        row = found()[PATH]

    assert mended == Checked(repaired=1, noted=1)
    assert [line["what"] for line in logs] == [f"repaired as {PATH}"]
    assert not part.exists()
    octets = (tmp_path / PATH).read_bytes()
    assert octets[:44] == wav_header(len(octets) - 44, 1)
    assert size - 320 < len(octets) <= size
    assert (row["sha256"], row["error"]) == (hashlib.sha256(octets).hexdigest(), "")


async def test_given_a_part_that_is_being_written_when_checked_then_it_is_left_alone(database, tmp_path):
    recorder = Recorder(tmp_path, 1)
    recorder.start(0, StartRecording("c", PATH, Layout.MONO), 1.0)
    rows_, sent = np.array([0], dtype=np.intp), np.zeros((1, 160), dtype=np.int16)
    part = tmp_path / f"{PATH}.part"
    deadline = time.monotonic() + LIMIT_S
    while not part.exists():
        assert time.monotonic() < deadline
        recorder.tick(FRAMES[:1], rows_, sent, 1.0)
    async with rows_of(database) as (rows, found):
        assert await check(tmp_path, rows, NODE, LATER_S) == Checked()
        assert found() == {}
    assert part.exists()
    recorder.close()


async def test_given_a_note_that_there_is_no_file_when_it_appears_then_the_note_gives_way(database, tmp_path):
    async with rows_of(database) as (rows, found):
        await rows.found([CpdRecording(7, PATH, NOON_UTC, 0.0, 0, "", error="the recording writer died")])
        record(tmp_path)

        assert await check(tmp_path, rows, NODE, LATER_S) == Checked(noted=1)
        row = found()[PATH]
        assert (row["error"], row["duration_s"], row["began_at"]) == ("", 1.0, NOON_UTC)


# --- deleted, damaged, strange --------------------------------------------------------------------------------------


async def test_given_a_row_whose_file_is_gone_when_checked_then_it_says_so_until_the_file_is_back(database, tmp_path):
    file = wav(tmp_path)
    async with rows_of(database) as (rows, found):
        await check(tmp_path, rows, NODE, LATER_S)
        whole = found()[PATH]
        file.rename(tmp_path / "away.wav")

        assert await check(tmp_path, rows, NODE, LATER_S, everything=False) == Checked()
        assert await check(tmp_path, rows, NODE, LATER_S) == Checked(gone=1)
        assert found()[PATH] == whole | {"error": GONE}
        assert await check(tmp_path, rows, NODE, LATER_S) == Checked()
        (tmp_path / "away.wav").rename(file)
        assert await check(tmp_path, rows, NODE, LATER_S) == Checked(noted=1)
        assert found()[PATH] == whole


async def test_given_rows_of_another_node_or_without_a_file_from_the_beginning_when_checked_then_they_stay(
    database, tmp_path
):
    (tmp_path / "cpd").mkdir()
    theirs, failed = path_of(DAY, 8, "0123456789ab"), path_of(DAY, 7, "fedcba987654")
    async with rows_of(database) as (rows, found):
        await rows.found(
            [
                CpdRecording(8, theirs, NOON_UTC, 1.0, 9, "ab"),
                CpdRecording(7, failed, NOON_UTC, 0.0, 0, "", error="No space left on device"),
            ]
        )

        assert await check(tmp_path, rows, NODE, LATER_S) == Checked()
        assert {path: row["error"] for path, row in found().items()} == {theirs: "", failed: "No space left on device"}


async def test_given_no_folder_at_all_when_checked_then_no_row_is_taken_for_gone(database, tmp_path):
    async with rows_of(database) as (rows, found):
        await rows.found([CpdRecording(7, PATH, NOON_UTC, 1.0, 9, "ab")])

        assert await check(tmp_path / "not mounted", rows, NODE, LATER_S) == Checked()
        assert found()[PATH]["error"] == ""


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "cut off"),
        (lambda file: file.write_bytes(b"no sound at all" * 9), "no WAV header"),
        (lambda file: file.write_bytes(b""), "no WAV header"),
        (lambda file: file.write_bytes(wav_header(1600, 1) + b"\2\0" * 800), "SHA-256"),
    ],
)
def test_given_a_file_that_is_not_as_it_was_written_when_described_then_that_is_said(tmp_path, damage, said):
    file = wav(tmp_path)
    wav(tmp_path, sha256=hashlib.sha256(file.read_bytes()).hexdigest(), gaps=3, began="2026-03-06T11:59:00+00:00")
    assert describe(tmp_path, PATH).error == ""
    assert describe(tmp_path, PATH).gaps == 3

    damage(file)

    found = describe(tmp_path, PATH)
    assert said in found.error
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("sidecar", [b"", b"[]", b"{", b'{"began": 3, "gaps": "x", "error": 5}', b'{"began": "today"}'])
def test_given_a_sidecar_that_says_nothing_useful_when_described_then_the_file_speaks(tmp_path, sidecar):
    file = wav(tmp_path)
    file.with_name(file.name + ".json").write_bytes(sidecar)

    found = describe(tmp_path, PATH)

    assert replace(found, began_at=NOON_UTC) == CpdRecording(
        7, PATH, NOON_UTC, 0.1, 1644, hashlib.sha256(file.read_bytes()).hexdigest()
    )


async def test_given_files_that_are_fresh_strange_or_links_when_checked_then_they_are_left_alone(database, tmp_path):
    fresh = wav(tmp_path)
    wav(tmp_path, "cpd/2026-03-06/holiday.wav")
    wav(tmp_path, "cpd/2026-03-06/.7-hidden.wav")
    wav(tmp_path, "conversations/7-0123abcd.wav")
    (tmp_path / "cpd/2026-03-06/8-link.wav").symlink_to(fresh)
    async with rows_of(database) as (rows, found):
        assert await check(tmp_path, rows, NODE, fresh.stat().st_mtime + SETTLED_S - 1) == Checked()
        assert await check(tmp_path, rows, NODE, LATER_S) == Checked(noted=1)
        assert list(found()) == [PATH]


async def test_given_many_days_when_only_the_last_are_checked_then_older_ones_wait_for_the_hour(database, tmp_path):
    recent = path_of(TODAY, 7, "0123456789ab")
    for path in (PATH, recent):
        wav(tmp_path, path)
    async with rows_of(database) as (rows, found):
        assert await check(tmp_path, rows, NODE, LATER_S, everything=False) == Checked(noted=1)
        assert list(found()) == [recent]
        assert await check(tmp_path, rows, NODE, LATER_S) == Checked(noted=1)


async def test_given_old_recordings_when_deleted_by_retention_then_no_row_is_taken_for_gone(database, tmp_path):
    file = wav(tmp_path)
    async with rows_of(database) as (rows, found):
        await check(tmp_path, rows, NODE, LATER_S)
        os.utime(file, (1.0, 1.0))
        before = datetime.now(UTC) - timedelta(days=1)
        await rows.forget(before, delete_before(tmp_path, before))

        assert await check(tmp_path, rows, NODE, LATER_S) == Checked()
        assert found() == {}


@pytest.mark.parametrize("gaps", [2**40, 10**30])
async def test_given_a_file_whose_row_the_database_refuses_when_checked_then_it_is_logged_and_the_others_have_theirs(
    database, tmp_path, gaps
):
    paths = [path_of(DAY, 7, f"{number}1234567") for number in range(5)]
    for path in paths:
        wav(tmp_path, path, gaps=gaps if path == paths[3] else 0)
    async with rows_of(database) as (rows, found):
        with capture_logs() as logs:
            assert await check(tmp_path, rows, NODE, LATER_S) == Checked(noted=4)
        assert sorted(found()) == [*paths[:3], paths[4]]

    assert [(line["event"], line["log_level"], line["row"]) for line in logs] == [("row.refused", "error", paths[3])]


# --- again and again ------------------------------------------------------------------------------------------------


class FailingRows:
    def __init__(self):
        self.asked = []
        self.failing = None

    async def missing(self, paths):
        await trio.lowlevel.checkpoint()
        self.asked.append("files")
        if self.failing is not None:
            raise self.failing
        return set()

    async def whole(self, node, after, limit):
        await trio.lowlevel.checkpoint()
        self.asked.append("rows")
        return []


@pytest.mark.parametrize(
    ("failure", "level"),
    [
        (OSError(errno.EIO, "broken disk"), "warning"),
        (StoreUnavailable("away"), "warning"),
        (psycopg.errors.UndefinedTable("nobody has migrated"), "error"),
    ],
)
async def test_given_hours_when_checked_then_everything_once_an_hour_and_a_failure_is_tried_again(
    autojump_clock, tmp_path, monkeypatch, failure, level
):
    async def here(function, *args, **_):
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", here)  # the clock would jump while a thread works
    wav(tmp_path, path_of(TODAY, 7, "0123456789ab"))
    rows = FailingRows()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_agreeing, tmp_path, rows, NODE, lambda: LATER_S)
            await trio.sleep(FULL_EVERY * PERIOD_S - 1)
            assert rows.asked == ["files", "rows", *["files"] * (FULL_EVERY - 1)]
            rows.failing = failure
            await trio.sleep(PERIOD_S)
            rows.failing = None
            await trio.sleep(PERIOD_S)
            assert rows.asked[FULL_EVERY + 1 :] == ["files", "files", "rows"]
            nursery.cancel_scope.cancel()

    assert [(line["event"], line["log_level"]) for line in logs] == [("recordings.not_checked", level)]
