"""A session's pacer with all that surrounds it: its recorder, its journal on disk, its live figures, its memory."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import structlog
import trio

from ocsd.config.objects import CampaignGroup, Configuration
from ocsd.config.options import PACING_JOURNAL, PACING_JOURNAL_SIZE, lookup
from ocsd.model.errors import StoreUnavailable
from ocsd.sessions.clock import Clock
from ocsd.sessions.pacing_files import JournalFiles
from ocsd.sessions.pacing_watch import PacingWatch
from pacing import PacingTarget
from pacing.journal import Recorded, Recorder
from pacing.memory import aged

log = structlog.get_logger()

SAVE_EVERY_S: Final = 60.0
LAST_SAVE_LIMIT_S: Final = 3.0
JOURNAL_FOLDER: Final = "pacing"
"""In the data folder; below it a folder for each campaign group, by DBID."""


class PacingMemory(Protocol):
    """Where what was learnt survives the daemon."""

    async def save(self, dbid: int, state: str) -> None:
        """Raises StoreUnavailable."""
        ...

    async def load(self, dbid: int) -> tuple[str, float] | None:
        """State and its age in seconds. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class PacingKeeping:
    """``folder``: for the journals of all groups; None: there are none, whatever the options say."""

    memory: PacingMemory | None = None
    folder: Path | None = None

    async def recall(self, dbid: int) -> tuple[str, float] | None:
        """What the group had learnt, and how many seconds ago; None when nobody can tell: a group always starts."""
        if self.memory is None:
            return None
        try:
            return await self.memory.load(dbid)
        except StoreUnavailable as error:
            log.warning("pacing.memory_unread", dbid=dbid, error=str(error))
            return None


class PacingBook:
    """The one place where a session's pacer is; `recorder` has its methods."""

    def __init__(
        self,
        config: Configuration,
        group: CampaignGroup,
        target: PacingTarget,
        max_wait_s: float,
        *,
        clock: Clock,
        keeping: PacingKeeping,
        learnt: tuple[str, float] | None = None,
    ) -> None:
        self._group, self._clock, self._keeping = group, clock, keeping
        self._saved = 0
        self.watch = PacingWatch()
        self.files: JournalFiles | None = None
        self.recorder = self._recorder(target, max_wait_s, learnt)
        if keeping.folder is not None and lookup(config, PACING_JOURNAL, group=group):
            self.files = JournalFiles(
                keeping.folder / str(group.dbid),
                lookup(config, PACING_JOURNAL_SIZE, group=group) * 1_000_000,
                {"campaign_group": group.name, "dbid": group.dbid},
                utc=clock.utc,
                now_s=clock.now_s,
                mend=self.recorder.want_checkpoint,
            )

    def _recorder(self, target: PacingTarget, max_wait_s: float, learnt: tuple[str, float] | None) -> Recorder:
        if learnt is not None:
            text, age_s = learnt
            try:
                known = aged(text, age_s, target)
                recorder = Recorder(target, max_wait_s, learnt=known, sink=self._take)
            except ValueError as error:
                log.warning("pacing.memory_dropped", campaign_group=self._group.name, error=str(error))
            else:
                parts = "nothing" if known is None else "all" if known == text else "durations"
                log.info("pacing.memory_recalled", campaign_group=self._group.name, age_s=round(age_s), parts=parts)
                return recorder
        return Recorder(target, max_wait_s, sink=self._take)

    def _take(self, entry: Recorded) -> None:
        self.watch.take(entry)
        if self.files is not None:
            self.files.take(entry)

    async def run(self) -> None:
        """Write the journal and keep what was learnt, for ever; when it is cancelled, once more."""
        async with trio.open_nursery() as nursery:
            if self.files is not None:
                nursery.start_soon(self.files.run)
            if self._keeping.memory is not None:
                nursery.start_soon(partial(self._keep_learnt, self._keeping.memory))

    async def _keep_learnt(self, memory: PacingMemory) -> None:
        try:
            while True:
                await trio.sleep(SAVE_EVERY_S)
                await self._save(memory)
        finally:
            with trio.move_on_after(LAST_SAVE_LIMIT_S, shield=True):
                await self._save(memory)

    async def _save(self, memory: PacingMemory) -> None:
        if self.recorder.decisions == self._saved:
            return  # nothing was learnt that is worth a younger date
        decisions = self.recorder.decisions
        try:
            await memory.save(self._group.dbid, self.recorder.state_text())
            self._saved = decisions
        except StoreUnavailable as error:
            log.warning("pacing.memory_unsaved", error=str(error))

    def shown(self) -> dict[str, object]:
        """Live figures for GET ?req=pacing."""
        figures = self.watch.shown(self.recorder.target, self._clock.now_s(), self._clock.utc())
        journal = None
        if self.files is not None:
            journal = {"file": self.files.file, "entries_lost": self.files.entries_lost}
        return figures | {"journal": journal}
