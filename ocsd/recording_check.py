"""Recordings of call progress analysis and their rows agree in the end, whatever was killed between the two.

A file is whole when it has its name; its row is written when the media server's report has come. A daemon or a media
server that dies in between leaves a file without a row. A writer that dies leaves a part, which the next one repairs.
And somebody may delete a file. So files and rows are compared: at the start and once an hour all of them, every few
minutes those of today and yesterday.

A file without a row gets one, from its sidecar and by its own SHA-256. A row whose file is gone says so, until the file
is back. What neither writer nor repair would have left (a header that does not fit, another checksum) is said in the
row. Parts that nobody writes, because no media server has come back to repair them, are repaired here.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg
import structlog
import trio

from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import CpdRecording
from ocsd.sessions.analysis_recording import FOLDER, attempt_of
from telephony.media.recording_wire import SAMPLE_RATE_HZ, WAV_HEADER_BYTES
from telephony.media.recording_writer import PART, SIDECAR, repair

log = structlog.get_logger()

PERIOD_S: Final = 300.0
FULL_EVERY: Final = 12
"""Of these periods: once an hour."""

SETTLED_S: Final = 60.0
"""A file so young is still being reported, or written through a short outage of the database."""

ABANDONED_S: Final = 120.0
"""A part without change for so long has no writer: one writes at least every few hundred milliseconds."""

BATCH: Final = 500
"""Files described, or paths asked about, at a time."""

RECENT_DAYS: Final = 2
_CHUNK_BYTES: Final = 1 << 18


class Rows(Protocol):
    """What is needed of `lists.recordings.RecordingRows`."""

    async def missing(self, paths: Sequence[str]) -> set[str]: ...

    async def whole(self, node: str, after: str, limit: int) -> list[str]: ...

    async def found(self, recordings: Sequence[CpdRecording]) -> int: ...

    async def gone(self, paths: Sequence[str]) -> int: ...


@dataclass(frozen=True, slots=True)
class Checked:
    """
    Attributes:
        repaired: parts of dead writers that were made recordings.
        noted: files that have got their row.
        gone: rows whose file is not there.
    """

    repaired: int = 0
    noted: int = 0
    gone: int = 0


async def keep_agreeing(folder: Path, rows: Rows, node: str, wall_s: Callable[[], float] = time.time) -> None:
    """
    Compare files and rows at the start and every PERIOD_S, for ever.

    Args:
        folder: the media server's recording folder.
        node: whose calls these are; other nodes' files may be elsewhere.
    """
    turn = 0
    while True:
        try:
            checked = await check(folder, rows, node, wall_s(), everything=turn % FULL_EVERY == 0)
            if checked != Checked():
                log.warning("recordings.mended", repaired=checked.repaired, noted=checked.noted, gone=checked.gone)
            turn += 1
        except (StoreUnavailable, OSError) as error:
            log.warning("recordings.not_checked", error=str(error))  # the same again next time
        except psycopg.Error as error:
            log.error("recordings.not_checked", error=" ".join(str(error).split()))  # ours to mend; calls go on
        await trio.sleep(PERIOD_S)


async def check(folder: Path, rows: Rows, node: str, now_s: float, *, everything: bool = True) -> Checked:
    """
    Compare once. ``everything`` False: only files of the last days, and no rows.

    Raises StoreUnavailable, or OSError for folders that cannot be read.
    """
    top = folder / FOLDER
    if not top.is_dir():
        return Checked()
    repaired = await trio.to_thread.run_sync(partial(_repair, folder, now_s, everything))
    noted = 0
    settled = await trio.to_thread.run_sync(partial(_settled, folder, now_s, everything))
    for batch in _batches(settled):
        missing = sorted(await rows.missing(batch))
        if missing:
            described = await trio.to_thread.run_sync(partial(_describe_all, folder, missing))
            noted += await rows.found(described)
    gone = await _gone(folder, rows, node) if everything else 0
    return Checked(repaired, noted, gone)


async def _gone(folder: Path, rows: Rows, node: str) -> int:
    count, after = 0, ""
    while paths := await rows.whole(node, after, BATCH):
        after = paths[-1]
        absent = await trio.to_thread.run_sync(lambda: [path for path in paths if not (folder / path).is_file()])
        if absent:
            count += await rows.gone(absent)
    return count


def _batches(paths: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(paths), BATCH):
        yield paths[first : first + BATCH]


def _days(folder: Path, now_s: float, everything: bool) -> list[Path]:
    days = sorted(path for path in (folder / FOLDER).iterdir() if path.is_dir() and not path.is_symlink())
    since = f"{datetime.fromtimestamp(now_s - (RECENT_DAYS - 1) * 86_400.0, UTC):%Y-%m-%d}"
    return days if everything else [day for day in days if day.name >= since]


def _files(folder: Path, ending: str, now_s: float, age_s: float, everything: bool) -> list[str]:
    """Paths below ``folder`` of plain files whose last change was ``age_s`` ago or longer."""
    found: list[str] = []
    for day in _days(folder, now_s, everything):
        with os.scandir(day) as entries:
            for entry in entries:
                path = f"{FOLDER}/{day.name}/{entry.name}"
                if not entry.name.endswith(ending) or entry.name.startswith(".") or attempt_of(path) is None:
                    continue
                try:
                    old = entry.stat(follow_symlinks=False).st_mtime <= now_s - age_s
                    if old and entry.is_file(follow_symlinks=False):
                        found.append(path)
                except FileNotFoundError:
                    continue  # it has got its name, or was deleted
    return sorted(found)


def _settled(folder: Path, now_s: float, everything: bool) -> list[str]:
    return _files(folder, ".wav", now_s, SETTLED_S, everything)


def _repair(folder: Path, now_s: float, everything: bool) -> int:
    count = 0
    for path in _files(folder, ".wav" + PART, now_s, ABANDONED_S, everything):
        try:
            what = repair(folder / path, folder)
        except FileNotFoundError:
            continue  # another one was faster
        except OSError as error:
            log.warning("recordings.not_repaired", path=path, error=error.strerror or str(error))
            continue
        if what != "is being written":
            log.info("recordings.repaired", path=path, what=what)
            count += 1
    return count


def _describe_all(folder: Path, paths: Sequence[str]) -> list[CpdRecording]:
    found: list[CpdRecording] = []
    for path in paths:
        try:
            found.append(describe(folder, path))
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("recordings.not_read", path=path, error=error.strerror or str(error))
    return found


def describe(folder: Path, path: str) -> CpdRecording:
    """What the database is to know of a file, by its content, and by its sidecar where that speaks of this content."""
    attempt_id = attempt_of(path)
    if attempt_id is None:
        raise ValueError(f"{path!r} is no recording of the analysis")
    file = folder / path
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        head = opened.read(WAV_HEADER_BYTES)
        digest.update(head)
        size += len(head)
        while block := opened.read(_CHUNK_BYTES):
            digest.update(block)
            size += len(block)
        changed_at = datetime.fromtimestamp(os.fstat(opened.fileno()).st_mtime, UTC)
    about = _sidecar(file)
    return CpdRecording(
        attempt_id=attempt_id,
        path=path,
        began_at=_time(about.get("began")) or changed_at,
        duration_s=_duration_s(head, size),
        size_bytes=size,
        sha256=digest.hexdigest(),
        gaps=gaps if isinstance(gaps := about.get("gaps"), int) else 0,
        error=_fault(head, size, digest.hexdigest(), about),
    )


def _duration_s(head: bytes, size: int) -> float:
    channels = int.from_bytes(head[22:24], "little")
    return round((size - WAV_HEADER_BYTES) / (2 * channels * SAMPLE_RATE_HZ), 2) if channels in (1, 2) else 0.0


def _fault(head: bytes, size: int, sha256: str, about: dict[str, Any]) -> str:
    if len(head) < WAV_HEADER_BYTES or head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return "the file is no recording: it has no WAV header"
    said = int.from_bytes(head[40:44], "little")
    if said != size - WAV_HEADER_BYTES:
        return f"file or header is cut off: it says {said} bytes of sound, there are {size - WAV_HEADER_BYTES}"
    if about.get("sha256", sha256) != sha256:
        return "the file is not as it was recorded: its SHA-256 is not that of its sidecar"
    error = about.get("error")
    return error if isinstance(error, str) else ""


def _sidecar(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.with_name(file.name + SIDECAR).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
