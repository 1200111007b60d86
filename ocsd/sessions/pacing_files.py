"""The pacing journal of one campaign group on disk: a queue, a task that writes it, files that are bounded together.

Dialing never waits for the disk. The recorder appends to a list; about once a second a thread makes a block of it. When
the list is full, or a block cannot be written, those entries are dropped, the file says how many, and the recording
begins anew with a whole checkpoint. A block is one write of one gzip member, so a daemon killed in the middle of it
leaves everything before readable, and a restarted one begins a new file.
"""

import platform
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import scipy
import structlog
import trio

import ocsd
from pacing.journal import Checkpoint, Header, Lost, Recorded
from pacing.journal_codec import Encoder, block

log = structlog.get_logger()

WRITE_EVERY_S: Final = 2.0
"""A killed daemon loses so much; shorter blocks compress worse."""
MOST_PENDING: Final = 5_000
"""Entries, while the disk hangs: two minutes of 300 agents, ten of 50, and some 20 MB of snapshots."""
LAST_WRITE_LIMIT_S: Final = 3.0
FILES_KEPT: Final = 12
"""The size limit is shared by about so many files: the oldest goes when a new one begins."""
SUFFIX: Final = ".jsonl.gz"


class JournalFiles:
    """
    Args:
        folder: of this campaign group; created when the first block is written.
        limit_bytes: of all files in it together, about.
        about: put into the header of every file.
        mend: called when entries were dropped: the recording must begin anew with a whole checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        about: dict[str, str | int | float],
        *,
        utc: Callable[[], datetime],
        now_s: Callable[[], float],
        mend: Callable[[], None],
        most_pending: int = MOST_PENDING,
    ) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self._about = about
        self._utc, self._now_s, self._mend = utc, now_s, mend
        self._most_pending = most_pending
        self._pending: list[Recorded] = []
        self._lost = 0
        self._encoder = Encoder()
        self._path: Path | None = None
        self._bytes = 0
        self._gap = 0
        """Entries missing between what is in the file and the whole checkpoint that is awaited."""
        self.entries_lost = 0
        """Since the group was loaded."""

    @property
    def file(self) -> str | None:
        """Name of the file that is written now; None: nothing is in it yet."""
        return self._path.name if self._path is not None and self._bytes else None

    def take(self, entry: Recorded) -> None:
        """Queue one entry; never waits."""
        if len(self._pending) >= self._most_pending:
            log.warning("pacing.journal_overflowed", entries=len(self._pending))
            self._drop(len(self._pending))
            self._pending = []
        self._pending.append(entry)

    async def run(self) -> None:
        """Write what is queued, for ever; when it is cancelled, once more."""
        try:
            while True:
                await trio.sleep(WRITE_EVERY_S)
                await self._write()
        finally:
            with trio.move_on_after(LAST_WRITE_LIMIT_S, shield=True):
                await self._write()

    async def _write(self) -> None:
        entries, self._pending = self._pending, []
        lost, self._lost = self._lost, 0
        if not entries:
            self._lost = lost
            return
        try:
            await trio.to_thread.run_sync(partial(self._write_block, entries, lost, self._utc(), self._now_s()))
        except trio.Cancelled:
            self._pending[:0], self._lost = entries, self._lost + lost  # a thread that has begun is waited for
            raise
        except OSError as error:
            log.warning("pacing.journal_unwritten", entries=len(entries), error=str(error))
            self._lost += lost
            self._drop(len(entries))
            self._path = None  # the file may end in a torn block: nothing may follow it

    def _drop(self, entries: int) -> None:
        self._lost += entries
        self.entries_lost += entries
        self._mend()

    def _write_block(self, entries: list[Recorded], lost: int, utc: datetime, now_s: float) -> None:
        """In a thread, one at a time. ``lost``: entries dropped before these. When it fails, nothing is counted."""
        lines: list[str] = []
        gap, passed_over = self._gap + lost, 0
        for entry in entries:
            if isinstance(entry, Checkpoint) and entry.text is not None:
                if self._path is None or self._bytes >= self.limit_bytes // FILES_KEPT:
                    self._append(lines)
                    lines = [self._encoder.line(Header(self._begin_file(utc, now_s)))]
                if gap:
                    lines.append(self._encoder.line(Lost(gap)))
                    gap = 0
            if gap:
                gap += 1  # without what was dropped before it nobody could read it
                passed_over += 1
            else:
                lines.append(self._encoder.line(entry))
        self._append(lines)
        self._gap = gap
        self.entries_lost += passed_over

    def _append(self, lines: list[str]) -> None:
        if not lines or self._path is None:
            return
        content = block(lines)
        with self._path.open("ab") as file:
            file.write(content)
        self._bytes += len(content)

    def _begin_file(self, utc: datetime, now_s: float) -> dict[str, str | int | float]:
        self.folder.mkdir(parents=True, exist_ok=True)
        files = sorted(self.folder.glob(f"*{SUFFIX}"))
        kept = sum(path.stat().st_size for path in files)
        while files and kept > self.limit_bytes - self.limit_bytes // FILES_KEPT:
            oldest = files.pop(0)
            kept -= oldest.stat().st_size
            oldest.unlink()
        stem = utc.strftime("%Y%m%dT%H%M%S")
        same = [path.name for path in files if path.name.startswith(stem)]
        number = 1 + int(same[-1].removesuffix(SUFFIX).rpartition("-")[2]) if same else 1
        self._path = self.folder / f"{stem}-{number:03}{SUFFIX}"
        self._bytes = 0
        return {
            **self._about,
            "utc": utc.isoformat(),
            "now_s": now_s,
            "ocsd": ocsd.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "machine": platform.machine(),
        }
