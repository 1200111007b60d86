"""The process that puts recordings on disk: started by the media server, fed through a pipe, answering by another.

It alone touches the disk, so that a disk that stalls delays nobody's audio. A recording is written to
``<path>.part``; its header is made good every few seconds. When it ends it is flushed to the disk, ``<path>.json`` is
put beside it, and only then does it get its name: a file with its final name is whole. When the media server dies, the
end of the pipe ends all recordings in the same way; when both die, the next start repairs what lies there.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from telephony.media import recording_wire as wire

PART: Final = ".part"
FRESH: Final = ".new"
STALE_S: Final = 3600.0
SIDECAR: Final = ".json"
ANSWERED: Final = frozenset(
    {
        "file", "sample_rate_hz", "duration_s", "sha256", "size_bytes", "gaps", "error", "gap_ranges_s", "interrupted",
        "complete",
    }
)  # fmt: skip
"""What a sidecar says that only the end of the recording can tell."""

HEADER_EVERY_BYTES: Final = 32000 * 5
MIN_FREE_BYTES: Final = 64 << 20
"""With less room no recording begins: the rest belongs to those that run and to the system."""
MAX_GAP_RANGES: Final = 200
FINISHERS: Final = 4
"""Recordings brought to the disk at the same time: when a campaign stops, hundreds end together."""

WITHOUT_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems answer that know no hard links (link(2))."""

NICENESS: Final = 5
_CHUNK_BYTES: Final = 1 << 18
_SILENCE: Final = bytes(32000)
FILE_MODE: Final = 0o640
FOLDER_MODE: Final = 0o750

Reply = Callable[[int, Mapping[str, Any]], None]
Write = Callable[[int, bytes], int]


@dataclass(slots=True)
class Recording:
    """A recording that is being written. ``frames``: 20 ms frames on disk, gaps included."""

    number: int
    about: Mapping[str, Any]
    final: Path
    fd: int
    channels: int
    frames: int = 0
    gaps: int = 0
    gap_ranges: list[tuple[float, float]] = field(default_factory=list)
    since_header: int = 0
    error: str = ""
    """Why it stopped to grow before it was ended."""

    @property
    def part(self) -> Path:
        return _part_of(self.final)

    @property
    def frame_bytes(self) -> int:
        return wire.FRAME_SAMPLES * wire.SAMPLE_BYTES * self.channels


class Writer:
    """
    All recordings of one folder.

    ``reply`` sends a frame to the media server, from any thread; ``write`` is `os.write`, replaceable for tests of
    full and broken disks.
    """

    def __init__(self, folder: Path, reply: Reply, write: Write = os.write) -> None:
        self._folder = folder.resolve()
        self._reply = reply
        self._write = write
        self._running: dict[int, Recording] = {}
        self._finishing = ThreadPoolExecutor(FINISHERS, thread_name_prefix="finish")

    def frame(self, kind: int, body: bytes) -> None:
        """Obey one frame."""
        if kind == wire.AUDIO:
            number, first = wire.AUDIO_HEAD.unpack_from(body)
            recording = self._running.get(number)
            if recording is not None:
                self._append(recording, first, body[wire.AUDIO_HEAD.size :])
            return
        told = json.loads(body)
        if kind == wire.START:
            self._start(told)
        elif kind == wire.STOP:
            recording = self._running.pop(told["number"], None)
            if recording is not None:
                self._pad(recording, told["frames"])
                if not recording.error:  # then it is being finished already
                    self._finishing.submit(self._finish, recording, False)

    def close(self) -> None:
        """The media server is gone: end everything, and wait for the disk."""
        for recording in self._running.values():
            self._finishing.submit(self._finish, recording, True)
        self._running.clear()
        self._finishing.shutdown(wait=True)

    # --- begin --------------------------------------------------------------------------------------------------

    def _start(self, about: Mapping[str, Any]) -> None:
        number = about["number"]
        try:
            self._running[number] = self._open(number, about)
        except (OSError, ValueError) as error:
            self._reply(wire.FINISHED, {"number": number, "error": _words(error)})

    def _open(self, number: int, about: Mapping[str, Any]) -> Recording:
        problem = wire.path_problem(about["path"])
        if problem:
            raise ValueError(problem)
        final = self._folder / about["path"]
        if not final.parent.resolve().is_relative_to(self._folder):
            raise ValueError("the path leads outside the recording folder")
        final.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        room = os.statvfs(final.parent)
        if room.f_bavail * room.f_frsize < MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, "the disk is (nearly) full")
        recording = Recording(number, about, final, -1, int(about["channels"]))
        if os.path.lexists(final) or os.path.lexists(recording.part):
            raise FileExistsError(errno.EEXIST, "there is a recording of this name already")
        # Another media server may share the folder, and start now: a part must not be seen before it is locked.
        fresh = final.with_name(f".{final.name}.{os.getpid()}.{number}{FRESH}")
        recording.fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            # Held until it is finished, so that no other writer repairs it meanwhile.
            fcntl.flock(recording.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write_all(recording, wire.wav_header(0, recording.channels))
            name_it(fresh, recording.part)
        except OSError:
            os.close(recording.fd)
            fresh.unlink(missing_ok=True)
            raise
        try:
            # Not flushed: it only tells a repair what this is.
            write_sidecar(final, {"file": final.name, **_description(about), "complete": False}, flush=False)
        except OSError:
            recording.part.unlink(missing_ok=True)
            os.close(recording.fd)
            raise
        return recording

    # --- grow ---------------------------------------------------------------------------------------------------

    def _append(self, recording: Recording, first: int, samples: bytes) -> None:
        if recording.error:
            return
        self._pad(recording, first)
        try:
            self._write_all(recording, samples)
            recording.frames += len(samples) // recording.frame_bytes
            recording.since_header += len(samples)
            if recording.since_header >= HEADER_EVERY_BYTES:
                recording.since_header = 0
                os.pwrite(
                    recording.fd, wire.wav_header(recording.frames * recording.frame_bytes, recording.channels), 0
                )
        except OSError as error:
            self._fail(recording, error)

    def _pad(self, recording: Recording, frames: int) -> None:
        """Silence for frames that never came, so that both sides and the clock stay in step."""
        missing = frames - recording.frames
        if missing <= 0 or recording.error:
            return
        began = recording.frames
        try:
            left = missing * recording.frame_bytes
            while left:
                left -= self._write_all(recording, _SILENCE[: min(left, len(_SILENCE))])
        except OSError as error:
            self._fail(recording, error)
            return
        recording.frames = frames
        recording.gaps += missing
        if len(recording.gap_ranges) < MAX_GAP_RANGES:
            recording.gap_ranges.append((round(began * 0.02, 2), round(missing * 0.02, 2)))

    def _write_all(self, recording: Recording, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[self._write(recording.fd, bytes(view)) :]
        return len(data)

    def _fail(self, recording: Recording, error: OSError) -> None:
        """What is on disk stays, the rest is given up; the media server learns it at once, and sends no more."""
        recording.error = _words(error)
        self._running.pop(recording.number, None)
        self._finishing.submit(self._finish, recording, False)

    # --- end ----------------------------------------------------------------------------------------------------

    def _finish(self, recording: Recording, interrupted: bool) -> None:
        try:
            answer = complete(recording, interrupted)
        except OSError as error:
            answer = {"error": recording.error or _words(error)}
        finally:
            os.close(recording.fd)
        self._reply(wire.FINISHED, {"number": recording.number, **answer})

    def repair(self) -> None:
        """Make whole what an earlier writer left behind, in the background."""
        self._finishing.submit(self._repair)

    def _repair(self) -> None:
        for fresh in self._folder.rglob(".*.wav.*" + FRESH):
            with contextlib.suppress(OSError):
                if time.time() - fresh.stat().st_mtime > STALE_S:
                    fresh.unlink()
        for part in sorted(self._folder.rglob("*.wav" + PART)):
            with contextlib.suppress(OSError):
                self._reply(
                    wire.REPAIRED, {"path": str(part.relative_to(self._folder)), "what": repair(part, self._folder)}
                )


def complete(recording: Recording, interrupted: bool) -> dict[str, Any]:
    """Header, flush, sidecar, final name. Raises OSError; the part file then stays for a repair."""
    data_bytes = recording.frames * recording.frame_bytes
    os.ftruncate(recording.fd, wire.WAV_HEADER_BYTES + data_bytes)  # a frame may be half on a disk that became full
    os.pwrite(recording.fd, wire.wav_header(data_bytes, recording.channels), 0)
    os.fsync(recording.fd)
    checksum = sha256(recording.fd)
    duration_s = round(recording.frames * wire.FRAME_SAMPLES / wire.SAMPLE_RATE_HZ, 2)
    answer = {
        "duration_s": duration_s,
        "sha256": checksum,
        "size_bytes": wire.WAV_HEADER_BYTES + data_bytes,
        "gaps": recording.gaps,
        "error": recording.error,
    }
    if os.path.lexists(recording.final):
        raise FileExistsError(errno.EEXIST, "a file of its name appeared meanwhile")
    write_sidecar(
        recording.final,
        {
            "file": recording.final.name,
            "sample_rate_hz": wire.SAMPLE_RATE_HZ,
            **_description(recording.about),
            **answer,
            "gap_ranges_s": recording.gap_ranges,
            "interrupted": interrupted,
            "complete": True,
        },
    )
    name_it(recording.part, recording.final)
    _sync_folder(recording.final.parent)
    return answer


def repair(part: Path, folder: Path) -> str:
    """Turn the ``.part`` of a writer that died into a recording; returns what was done with it. Raises OSError."""
    fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "is being written"
        head = os.pread(fd, wire.WAV_HEADER_BYTES, 0)
        channels = int.from_bytes(head[22:24], "little")
        if len(head) < wire.WAV_HEADER_BYTES or head[:4] != b"RIFF" or channels not in (1, 2):
            part.unlink()
            return "was empty"
        final = part.with_name(part.name.removesuffix(PART))
        if final.is_file() and not final.is_symlink() and final.samefile(part):
            part.unlink()  # killed between getting its name and losing the other one
            return "had its name already"
        described = _described(part, final)
        while os.path.lexists(final) or (_part_of(final) != part and os.path.lexists(_part_of(final))):
            final = final.with_name(final.stem + "~repaired.wav")
        recording = Recording(0, described | {"channels": channels}, final, fd, channels)
        recording.frames = (os.fstat(fd).st_size - wire.WAV_HEADER_BYTES) // recording.frame_bytes
        part.rename(recording.part)
        complete(recording, interrupted=True)
    finally:
        os.close(fd)
    return f"repaired as {final.relative_to(folder)}"


def _part_of(final: Path) -> Path:
    return final.with_name(final.name + PART)


def name_it(path: Path, name: Path) -> None:
    """
    Rename a file, and never over another one: `os.rename` would, whatever was looked up before.

    Raises OSError.
    """
    try:
        os.link(path, name)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        os.rename(path, name)
    else:
        os.unlink(path)


def _description(about: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in ("number", "path")}


def _described(part: Path, final: Path) -> dict[str, Any]:
    """
    What the sidecar says of the recording itself; nothing when there is none.

    Usually a draft. It is complete when the writer died between it and the name; with a file of that name, it is that
    file's.
    """
    try:
        found = json.loads(part.with_name(part.name.removesuffix(PART) + SIDECAR).read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or (found.get("complete") is not False and os.path.lexists(final)):
        return {}
    return {key: value for key, value in found.items() if key not in ANSWERED}


def write_sidecar(final: Path, content: Mapping[str, Any], *, flush: bool = True) -> None:
    """``<final>.json``, whole or not at all. Raises OSError."""
    path = final.with_name(final.name + SIDECAR)
    temporary = path.with_name(path.name + PART)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(fd, "w") as out:
        json.dump(content, out, indent=1)
        out.write("\n")
        if flush:
            out.flush()
            os.fsync(fd)
    os.rename(temporary, path)


def sha256(fd: int) -> str:
    """Of the whole file, header included."""
    digest = hashlib.sha256()
    at = 0
    while block := os.pread(fd, _CHUNK_BYTES, at):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def serve(commands_fd: int, replies_fd: int, folder: Path) -> None:
    """Write until the media server closes its end."""
    lock = threading.Lock()

    def reply(kind: int, body: Mapping[str, Any]) -> None:
        with lock, contextlib.suppress(OSError):  # nobody left to be told; the sidecar says the same
            os.write(replies_fd, wire.pack(kind, body))

    writer = Writer(folder, reply)
    writer.repair()
    reply(wire.READY, {"pid": os.getpid()})
    frames = wire.FrameBuffer()
    try:
        while data := os.read(commands_fd, _CHUNK_BYTES):
            for kind, body in frames.feed(data):
                writer.frame(kind, body)
    finally:
        writer.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the child process: commands come on standard input, replies go to standard output."""
    parser = argparse.ArgumentParser(prog="ocsd-media-recorder", description="Writes the recordings of a media server.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    # It ends when the pipe does, and not before the last recording is whole: not by a signal to the whole group.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)  # the media server's own may be far below zero
    serve(0, 1, options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
