"""The pacing journal on disk: rotation, limits, a disk that fails, a daemon that is killed in mid-write."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import trio
from structlog.testing import capture_logs

from ocsd.explain.pacing_recording import open_recording
from ocsd.model.errors import OcsdError
from ocsd.sessions import pacing_files
from ocsd.sessions.pacing_files import FILES_KEPT, SUFFIX, JournalFiles
from pacing.journal import Checkpoint, Decided, Header, Lost, Recorder
from pacing.journal_codec import read
from pacing.replay import replay
from tests.pacing.journal_world import DEFAULT_TARGET, Group

HANG_LIMIT_S = 20.0
NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)


class Site:
    """A recorder whose journal is written when `written` is awaited."""

    def __init__(self, folder, limit_bytes=100_000_000, agents=5, every_s=600.0, **limits):
        self.folder = folder
        self.recorder = Recorder(DEFAULT_TARGET, sink=self.take, checkpoint_every_s=every_s)
        self.group = Group(self.recorder, agents, seed=1)
        self.files = JournalFiles(
            folder, limit_bytes, {"campaign_group": "Demo", "dbid": 7}, utc=lambda: NOON,
            now_s=lambda: self.group.now_s, mend=self.recorder.want_checkpoint, **limits,
        )  # fmt: skip
        self.taken = 0

    def take(self, entry):
        self.taken += 1
        self.files.take(entry)

    async def run(self, seconds):
        """Dial for so long; then everything that is queued is written."""
        self.group.run(seconds)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.files.run)
            await trio.sleep(0.0)
            nursery.cancel_scope.cancel()

    def paths(self):
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def entries(self):
        return [entry for path in self.paths() for entry in read(path.read_bytes())]


def decisions(entries):
    return [entry.number for entry in entries if isinstance(entry, Decided)]


async def test_given_a_session_when_it_records_then_the_file_repeats_every_decision(tmp_path):
    site = Site(tmp_path / "pacing" / "7")
    for _ in range(4):
        await site.run(5.0)

    (path,) = site.paths()
    entries = site.entries()
    assert path.name == "20260303T170000-001.jsonl.gz" == site.files.file
    assert isinstance(entries[0], Header)
    assert entries[0].about["campaign_group"] == "Demo"
    assert {"utc", "now_s", "ocsd", "python", "numpy", "scipy", "machine"} < set(entries[0].about)
    assert decisions(entries) == list(range(1, site.recorder.decisions + 1))
    repeated = list(replay(entries))
    assert len(repeated) >= site.recorder.decisions
    assert not any(each.differences for each in repeated)
    assert site.files.entries_lost == 0


async def test_given_a_running_task_when_time_passes_then_blocks_appear_without_a_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(pacing_files, "WRITE_EVERY_S", 0.01)
    site = Site(tmp_path)

    async def all_written():
        while not site.paths() or decisions(site.entries())[-1:] != [site.recorder.decisions]:  # noqa: ASYNC110
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.files.run)
        site.group.run(3.0)
        with trio.fail_after(HANG_LIMIT_S):
            await all_written()
            site.group.run(3.0)
            await all_written()
        nursery.cancel_scope.cancel()

    assert not any(each.differences for each in replay(site.entries()))


async def test_given_a_size_limit_when_much_is_recorded_then_the_oldest_files_go_and_all_others_read(tmp_path):
    limit = 150_000
    site = Site(tmp_path, limit, every_s=10.0)
    for _ in range(40):
        await site.run(10.0)

    paths = site.paths()
    assert 3 < len(paths) <= FILES_KEPT + 1
    sizes = [path.stat().st_size for path in paths]
    assert sum(sizes) <= limit + max(sizes)  # the newest may still grow
    assert decisions(site.entries())[-1] == site.recorder.decisions
    assert decisions(site.entries())[0] > 1
    for path in paths:
        entries = list(read(path.read_bytes()))
        assert isinstance(entries[1], Checkpoint)
        assert not any(each.differences for each in replay(entries))


async def test_given_a_full_queue_when_it_overflows_then_entries_are_dropped_and_the_next_checkpoint_mends_it(tmp_path):
    site = Site(tmp_path, most_pending=100)
    with capture_logs() as logs:
        await site.run(5.0)
        recorded = decisions(site.entries())
        await site.run(60.0)
        await site.run(5.0)

    entries = site.entries()
    assert {log["event"] for log in logs} == {"pacing.journal_overflowed"}
    assert sum(entry.entries for entry in entries if isinstance(entry, Lost)) == site.files.entries_lost > 0
    found = decisions(entries)
    assert found[: len(recorded)] == recorded
    passed_over = site.taken - sum(not isinstance(entry, Header | Lost) for entry in entries)
    assert passed_over == site.files.entries_lost
    assert found[-1] == site.recorder.decisions > len(found)
    assert not any(each.differences for each in replay(entries))


async def test_given_a_disk_that_fails_when_it_works_again_then_a_new_file_begins(tmp_path, monkeypatch):
    site = Site(tmp_path)
    await site.run(5.0)

    def full(lines):
        raise OSError(28, "No space left on device")

    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(pacing_files, "block", full)
        await site.run(5.0)
    assert [log["event"] for log in logs] == ["pacing.journal_unwritten"]
    lost = site.files.entries_lost
    assert lost > 20
    await site.run(5.0)

    assert [path.name for path in site.paths()] == ["20260303T170000-001.jsonl.gz", "20260303T170000-002.jsonl.gz"]
    assert decisions(site.entries())[-1] == site.recorder.decisions
    assert not any(each.differences for each in replay(site.entries()))
    assert site.files.entries_lost == lost
    assert sum(entry.entries for entry in site.entries() if isinstance(entry, Lost)) == lost


async def test_given_a_disk_that_fails_again_and_again_when_it_works_then_the_file_counts_each_entry_once(
    tmp_path, monkeypatch
):
    site = Site(tmp_path)

    def full(lines):
        raise OSError(28, "No space left on device")

    with capture_logs(), monkeypatch.context() as patch:
        patch.setattr(pacing_files, "block", full)
        for _ in range(4):
            await site.run(5.0)
    await site.run(5.0)

    entries = site.entries()
    written = sum(not isinstance(entry, Header | Lost) for entry in entries)
    (lost,) = (entry.entries for entry in entries if isinstance(entry, Lost))
    assert lost == site.files.entries_lost == site.taken - written > 0


async def test_given_no_free_thread_when_the_session_ends_then_the_entries_are_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(pacing_files, "WRITE_EVERY_S", 0.0)
    site = Site(tmp_path)
    site.group.run(5.0)
    limiter = trio.to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 1
    try:
        async with trio.open_nursery() as nursery:
            await limiter.acquire()
            nursery.start_soon(site.files.run)
            with trio.fail_after(HANG_LIMIT_S):
                while not limiter.statistics().tasks_waiting:  # noqa: ASYNC110
                    await trio.sleep(0.0)
            nursery.cancel_scope.cancel()
            limiter.release()
    finally:
        limiter.total_tokens = before

    assert decisions(site.entries()) == list(range(1, site.recorder.decisions + 1))
    assert site.files.entries_lost == 0


KILLED = """
import sys, trio
from pathlib import Path
from tests.ocsd.test_pacing_files import Site

async def main():
    site = Site(Path(sys.argv[1]))
    for _ in range(3):
        await site.run(4.0)
    written = site.recorder.decisions
    site.group.run(20.0)
    path = site.paths()[0]
    whole = path.read_bytes()
    await site.run(0.0)
    block = path.read_bytes()[len(whole):]
    path.write_bytes(whole + block[: len(block) // 2])
    print(written, flush=True)
    sys.stdin.read()

trio.run(main)
"""


def test_given_a_daemon_killed_in_mid_write_when_its_file_is_read_then_it_goes_up_to_the_last_whole_block(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        written = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    (path,) = tmp_path.glob(f"*{SUFFIX}")

    recording = open_recording(path)

    assert recording.torn_bytes > 100
    entries = list(recording.entries())
    assert decisions(entries) == list(range(1, written + 1))
    assert not any(each.differences for each in recording.replayed())


@pytest.mark.parametrize("cut", [0, 1, 20])
async def test_given_any_file_that_has_no_whole_block_when_opened_then_it_is_refused(tmp_path, cut):
    site = Site(tmp_path)
    await site.run(1.0)
    (path,) = site.paths()
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(OcsdError, match="no whole block"):
        open_recording(path)
