"""Recordings, as the media server sees them: frames are collected here and handed to the writer process.

Nothing here waits. Each tick copies 20 ms of every recorded channel into its block; ten times fewer times a block goes
into the pipe, as far as the pipe takes it, the rest waits in memory; what does not fit there is dropped and counted
(the writer puts silence in its place). So a disk that stalls costs the recording, never the conversation.
"""

import fcntl
import json
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from telephony.contract import Layout, RecordingFinished, RecordingSnapshot, StartRecording
from telephony.contract_audio import continued_path
from telephony.media import recording_wire as wire

BLOCK_FRAMES: Final = 10
"""200 ms: what a crash of this process may cost, and few enough writes for a thousand recordings."""

PIPE_BYTES: Final = 1 << 20
MAX_BACKLOG_BYTES: Final = 64 << 20
"""A stall of 4 s with 500 stereo recordings, of minutes with few."""

CHUNK_BYTES: Final = 1 << 16
MAX_BYTES_PER_TICK: Final = 1 << 20
MAX_RECORDING_S: Final = 86400.0
RESPAWN_S: Final = 1.0
LONGEST_RESPAWN_S: Final = 30.0
END_LIMIT_S: Final = 5.0
"""How long the end of the server waits for the writer, which goes on by itself if that is not enough."""

Samples = npt.NDArray[np.int16]
Indices = npt.NDArray[np.intp]


class RecordingError(Exception):
    """The recording cannot begin; the text says why."""


class WriterProcess:
    """The child process and our ends of its pipes. Raises OSError when it cannot be started."""

    def __init__(self, folder: Path) -> None:
        commands, self.commands_fd = os.pipe2(os.O_CLOEXEC)
        try:
            self.replies_fd, replies = os.pipe2(os.O_CLOEXEC)
        except OSError:  # no descriptors left; it is tried again, and must not take more of them each time
            os.close(commands)
            os.close(self.commands_fd)
            raise
        for fd in (self.commands_fd, self.replies_fd):
            os.set_blocking(fd, False)
        with suppress(OSError):  # the usual 64 KiB do as well; more waits in memory
            fcntl.fcntl(self.commands_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            # All our descriptors are closed by exec; standard error is shared, so that a traceback is seen.
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "telephony.media.recording_writer", os.fspath(folder)],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, commands, 0), (os.POSIX_SPAWN_DUP2, replies, 1)],
            )
        except OSError:
            os.close(self.commands_fd)
            os.close(self.replies_fd)
            raise
        finally:
            os.close(commands)
            os.close(replies)

    def send(self, data: memoryview) -> int:
        """As much as the pipe takes now. Raises OSError when the writer is gone."""
        try:
            return os.write(self.commands_fd, data)
        except BlockingIOError:
            return 0

    def receive(self) -> bytes | None:
        """What has come; b"" for nothing, None when the writer is gone."""
        try:
            return os.read(self.replies_fd, 65536) or None
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Let it end by itself; it is reaped if it has."""
        for fd in (self.commands_fd, self.replies_fd):
            os.close(fd)
        reap(self.pid)


def reap(pid: int) -> bool:
    """Whether a child has ended; then it is no zombie any more."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


@dataclass(slots=True)
class _Running:
    number: int
    slot: int
    row: int
    command: StartRecording
    began_at_s: float
    channel_id: str
    frames: int = 0
    gaps: int = 0


@dataclass(slots=True)
class _Ended:
    """Sent to the writer, which has not answered yet."""

    channel_id: str
    path: str
    began_at_s: float


@dataclass(slots=True)
class RecordingTick:
    """What a tick brought: ``finished`` to report, ``log`` lines, ``beeps``: rows that hear the consent tone now."""

    finished: list[RecordingFinished] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    beeps: list[int] = field(default_factory=list)


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Recorder:
    """
    All recordings of a media server.

    ``folder``: where they go; None refuses every one. ``slots``: most at once. ``wall``: the time of day, ISO 8601.
    """

    def __init__(self, folder: Path | None, slots: int, wall: Callable[[], str] = _utc_now) -> None:
        self._folder = folder
        self._wall = wall
        self._block = np.zeros((slots, BLOCK_FRAMES, wire.FRAME_SAMPLES, 2), dtype=np.int16)
        self._free = list(range(slots - 1, -1, -1))
        self._fill = np.zeros(slots, dtype=np.intp)
        self._rows = np.zeros(slots, dtype=np.intp)
        self._active: Indices | None = None
        """Slots in use, ascending; None: to be listed anew, once for all that begin or end in a tick."""
        self._by_slot: dict[int, _Running] = {}
        self._waiting: dict[int, _Ended] = {}
        self._number = 0
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._sent_of_first = 0
        self._writer: WriterProcess | None = None
        self._old_pids: list[int] = []
        self._frames = wire.FrameBuffer()
        self._respawn_at_s = 0.0
        self._wait_s = 0.0
        """Until the next try; above 0 while writers die as soon as they start."""
        self._heard = False
        """The writer that runs now has said something: it works."""
        self._due: RecordingTick = RecordingTick()
        self.gaps = 0
        """Frames lost since the start."""
        if folder is not None:
            self._writer = WriterProcess(folder)

    @property
    def count(self) -> int:
        """Recordings that go on."""
        return len(self._by_slot)

    @property
    def writer_pid(self) -> int:
        """Process id of the writer; 0 for none."""
        return self._writer.pid if self._writer is not None else 0

    # --- begin and end ------------------------------------------------------------------------------------------

    def start(self, row: int, command: StartRecording, now_s: float) -> None:
        """Record a row from the next tick on. Raises RecordingError."""
        if self._folder is None:
            raise RecordingError("this media server has no recording folder")
        if self._writer is None and self._wait_s:
            raise RecordingError("the recording writer does not start; the log says more")
        if problem := wire.path_problem(command.path):
            raise RecordingError(problem)
        if not 0.0 < command.max_s <= MAX_RECORDING_S:
            raise RecordingError(f"max_s must be in (0, {MAX_RECORDING_S:.0f}], got {command.max_s}")
        if command.consent_tone_s and not 1.0 <= command.consent_tone_s <= 3600.0:
            raise RecordingError(f"consent_tone_s must be 0 or in 1..3600, got {command.consent_tone_s}")
        for one in self._by_slot.values():
            if one.command.path == command.path:
                if one.channel_id == command.channel_id:
                    return
                raise RecordingError("another channel is being recorded under this name")
        self._begin(row, command, now_s)

    def _begin(self, row: int, command: StartRecording, now_s: float) -> None:
        if not self._free:
            raise RecordingError(f"{len(self._by_slot)} recordings are being made already")
        self._number += 1
        slot = self._free.pop()
        self._by_slot[slot] = _Running(self._number, slot, row, command, now_s, command.channel_id)
        self._rows[slot], self._fill[slot] = row, 0
        self._active = None
        about = {
            "number": self._number,
            "path": command.path,
            "channels": 2 if command.layout is Layout.STEREO else 1,
            "channel_id": command.channel_id,
            "layout": command.layout.value,
            "consent_tone_s": command.consent_tone_s,
            "began": self._wall(),
        }
        self._queue(wire.pack(wire.START, about))

    def stop(self, channel_id: str, path: str = "") -> None:
        """End one recording of a channel or all; a later tick reports each."""
        for one in list(self._by_slot.values()):
            if one.channel_id == channel_id and path in ("", one.command.path):
                self._end(one)

    def _end(self, one: _Running) -> None:
        self._flush(one)
        self._queue(wire.pack(wire.STOP, {"number": one.number, "frames": one.frames}))
        self._waiting[one.number] = _Ended(one.channel_id, one.command.path, one.began_at_s)
        self._forget(one)

    def _forget(self, one: _Running) -> None:
        del self._by_slot[one.slot]
        self._free.append(one.slot)
        self._active = None

    def pending(self, channel_id: str) -> bool:
        """Whether a recording of the channel is still to be reported."""
        return any(one.channel_id == channel_id for one in self._waiting.values())

    def give_up(self, channel_id: str) -> list[RecordingFinished]:
        """Wait no longer for the writer; what it says about these later is told nobody."""
        late = [number for number, one in self._waiting.items() if one.channel_id == channel_id]
        ended = [self._waiting.pop(number) for number in late]
        why = "the disk has not taken it yet; the file appears when it has"
        return [RecordingFinished(one.channel_id, one.path, began_at_s=one.began_at_s, error=why) for one in ended]

    def snapshots(self, channel_id: str) -> tuple[RecordingSnapshot, ...]:
        """The recordings of a channel that go on."""
        return tuple(
            RecordingSnapshot(
                one.command.path, one.command.layout, one.command.consent_tone_s, one.command.max_s, one.began_at_s
            )
            for one in self._by_slot.values()
            if one.channel_id == channel_id
        )

    def close(self) -> None:
        """End all recordings, and wait a while until they are on disk."""
        for one in list(self._by_slot.values()):
            self._end(one)
        writer = self._writer
        if writer is None:
            return
        self._writer = None
        until_s = time.monotonic() + END_LIMIT_S
        with suppress(OSError):
            while self._backlog and (left_s := until_s - time.monotonic()) > 0:
                select.select([], [writer.commands_fd], [], left_s)
                self._send(writer)
        writer.close()
        while not reap(writer.pid) and time.monotonic() < until_s:
            time.sleep(0.01)

    # --- ticks --------------------------------------------------------------------------------------------------

    def tick(self, frames: Samples, sent_rows: Indices, sent: Samples, now_s: float) -> RecordingTick:
        """
        Take 20 ms of every recorded row: ``frames[row]`` is what its far end said, ``sent`` what those in
        ``sent_rows`` (ascending) were sent.
        """
        if self._folder is None:
            return self._due
        if self._by_slot:
            self._capture(frames, sent_rows, sent)
        self._pump(now_s)
        due, self._due = self._due, RecordingTick()
        return due

    def _capture(self, frames: Samples, sent_rows: Indices, sent: Samples) -> None:
        if self._active is None:
            self._active = np.array(sorted(self._by_slot), dtype=np.intp)
        slots = self._active
        rows, at = self._rows[slots], self._fill[slots]
        self._block[slots, at, :, 0] = frames[rows]
        self._block[slots, at, :, 1] = sent[np.searchsorted(sent_rows, rows)]
        self._fill[slots] += 1
        for slot in slots.tolist():
            one = self._by_slot[slot]
            one.frames += 1
            # Numbers are spread over the ticks, so that not all blocks become full at once.
            if (one.frames + one.number) % BLOCK_FRAMES == 0:
                self._flush(one)
            if one.frames >= one.command.max_s * 50:
                self._end(one)
            elif one.command.consent_tone_s and (one.frames - 1) % round(one.command.consent_tone_s * 50) == 0:
                self._due.beeps.append(one.row)

    def _flush(self, one: _Running) -> None:
        count = int(self._fill[one.slot])
        self._fill[one.slot] = 0
        if not count:
            return
        block = self._block[one.slot, :count]
        if one.command.layout is Layout.MONO:
            block = np.clip(block.sum(axis=2, dtype=np.int32), -32768, 32767).astype(np.int16)
        if self._backlog_bytes > MAX_BACKLOG_BYTES:
            self.gaps += count
            return
        self._queue(wire.pack_audio(one.number, one.frames - count, block.astype("<i2", copy=False).tobytes()))

    def _queue(self, frame: bytes) -> None:
        self._backlog.append(frame)
        self._backlog_bytes += len(frame)

    def _pump(self, now_s: float) -> None:
        writer = self._writer
        if writer is None:
            if now_s >= self._respawn_at_s:
                self._respawn(now_s)
            return
        try:
            self._send(writer)
            while data := writer.receive():
                for kind, body in self._frames.feed(data):
                    self._reply(kind, json.loads(body))
            gone = data is None
        except (OSError, ValueError, LookupError):  # the last two: a reply that is none
            gone = True
        if gone:
            self._lost(writer, now_s)
        self._old_pids = [pid for pid in self._old_pids if not reap(pid)]

    def _send(self, writer: WriterProcess) -> None:
        left = MAX_BYTES_PER_TICK
        while self._backlog and left > 0:
            # Several frames a call: a system call costs more than the copy. Not many: what the pipe does not take was
            # copied for nothing.
            chunk = bytearray(memoryview(self._backlog[0])[self._sent_of_first :])
            taken = 1
            while taken < len(self._backlog) and len(chunk) < CHUNK_BYTES:
                chunk += self._backlog[taken]
                taken += 1
            sent = writer.send(memoryview(chunk))
            full = sent < len(chunk)
            self._backlog_bytes -= sent
            left -= sent
            sent += self._sent_of_first
            while self._backlog and sent >= len(self._backlog[0]):
                sent -= len(self._backlog.popleft())
            self._sent_of_first = sent
            if full:
                return

    def _reply(self, kind: int, told: Mapping[str, Any]) -> None:
        self._heard = True
        if kind == wire.REPAIRED:
            self._due.log.append(f"{told['path']} {told['what']}")
        if kind != wire.FINISHED:
            return
        number = told["number"]
        ended = self._waiting.pop(number, None)
        if ended is None:
            # It failed in the middle: the disk is full, or the path led outside.
            failed = next((one for one in self._by_slot.values() if one.number == number), None)
            if failed is None:
                return
            ended = _Ended(failed.channel_id, failed.command.path, failed.began_at_s)
            self._forget(failed)
        self._due.finished.append(
            RecordingFinished(
                ended.channel_id,
                ended.path,
                told.get("duration_s", 0.0),
                told.get("sha256", ""),
                told.get("size_bytes", 0),
                told.get("gaps", 0),
                ended.began_at_s,
                told.get("error", ""),
            )
        )

    # --- a writer that died -------------------------------------------------------------------------------------

    def _lost(self, writer: WriterProcess, now_s: float) -> None:
        """The next writer repairs the files; what goes on goes on in others."""
        writer.close()
        self._old_pids.append(writer.pid)
        self._writer = None
        self._frames = wire.FrameBuffer()
        self._backlog.clear()
        self._backlog_bytes = self._sent_of_first = 0
        # One that dies at once will do so again: then recordings end, instead of leaving a file behind every second.
        lasts = self._heard
        self._heard = False
        self._wait_s = 0.0 if lasts else min(LONGEST_RESPAWN_S, max(RESPAWN_S, 2 * self._wait_s))
        self._respawn_at_s = now_s + self._wait_s
        goes_on = "go on in new ones" if lasts else "end"
        self._due.log.append(f"the recording writer died; its files will be repaired, recordings {goes_on}")
        why = "the recording writer died"
        for ended in self._waiting.values():
            self._due.finished.append(
                RecordingFinished(ended.channel_id, ended.path, began_at_s=ended.began_at_s, error=why)
            )
        self._waiting.clear()
        for one in list(self._by_slot.values()):
            path = continued_path(one.command.path) if lasts else ""
            self._forget(one)
            self._due.finished.append(
                RecordingFinished(
                    one.channel_id, one.command.path, began_at_s=one.began_at_s, error=why, continued_in=path
                )
            )
            if not lasts:
                continue
            left_s = max(0.02, one.command.max_s - one.frames / 50)
            again = StartRecording(one.channel_id, path, one.command.layout, one.command.consent_tone_s, left_s)
            self._begin(one.row, again, now_s)

    def _respawn(self, now_s: float) -> None:
        assert self._folder is not None
        self._respawn_at_s = now_s + RESPAWN_S
        try:
            self._writer = WriterProcess(self._folder)
        except OSError as error:
            self._due.log.append(f"the recording writer cannot be started: {error}")
