"""Recordings of call progress analysis go after cpd-recording-retention days: files first, then what is known of them.

Only the folder of these recordings is looked into (`FOLDER` below the media server's recording folder); a file is as
old as its last change. A recording whose note was lost (the database was away, the daemon was killed) goes by the same
rule.
"""

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import structlog
import trio

from ocsd.model.errors import StoreUnavailable
from ocsd.sessions.analysis_recording import FOLDER

log = structlog.get_logger()

PERIOD_S: Final = 3600.0
RETRY_S: Final = 600.0
"""While the database or the folder is away."""

MOST_AT_ONCE: Final = 20_000
"""Files deleted before their rows are; a thread works on them for about a second."""


class Rows(Protocol):
    """What is needed of `lists.recordings.RecordingRows`."""

    async def forget(self, before: datetime, paths: Sequence[str]) -> int: ...


async def keep_retention(folder: Path, rows: Rows, utc: Callable[[], datetime], kept: Callable[[], timedelta]) -> None:
    """
    Delete what is too old, at the start and once an hour, for ever.

    Args:
        folder: the media server's recording folder.
        kept: asked each time how long recordings are kept.
    """
    while True:
        before, pause_s = utc() - kept(), PERIOD_S
        try:
            gone = await trio.to_thread.run_sync(partial(delete_before, folder, before))
            forgotten = await rows.forget(before, gone)
            if gone or forgotten:
                log.info("recordings.deleted", files=len(gone), rows=forgotten, before=before.isoformat())
            if len(gone) >= MOST_AT_ONCE:
                pause_s = 0.0
        except (StoreUnavailable, OSError) as error:
            log.warning("recordings.not_deleted", error=str(error))
            pause_s = RETRY_S
        await trio.sleep(pause_s)


def delete_before(folder: Path, before: datetime) -> list[str]:
    """
    Delete recordings, with what lies beside them, that were last changed before an aware time; at most MOST_AT_ONCE.

    Returns their paths below ``folder``. Folders of days that are empty then go too. A file that cannot be deleted is
    logged and keeps no other from being deleted; OSError for folders that cannot be read.
    """
    limit_s = before.timestamp()
    gone: list[str] = []
    refused: list[str] = []
    top = folder / FOLDER
    if not top.is_dir():
        return gone
    for day in sorted(path for path in top.iterdir() if path.is_dir() and not path.is_symlink()):
        left = False
        with os.scandir(day) as found:
            for entry in found:
                try:
                    old = entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < limit_s
                    if not old or len(gone) >= MOST_AT_ONCE:
                        left = True
                        continue
                    os.unlink(entry.path)
                except OSError as error:
                    refused.append(f"{entry.path}: {error.strerror}")
                    left = True
                    continue
                if entry.name.endswith(".wav"):
                    gone.append(f"{FOLDER}/{day.name}/{entry.name}")
        if not left and day.stat().st_mtime < limit_s + 86_400.0:
            _remove_if_empty(day)
    if refused:
        log.warning("recordings.files_not_deleted", files=len(refused), first=refused[0])
    return gone


def _remove_if_empty(day: Path) -> None:
    # A media server may just be about to write into it.
    try:
        day.rmdir()
    except OSError:
        return
