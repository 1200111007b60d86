"""The recording of one call's analysis (cpd-recording): begins with it, ends before anybody talks, is noted on disk."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.model.records import CpdRecording
from ocsd.sessions.attempt_events import AttemptRules
from ocsd.sessions.clock import Clock, utc_of
from telephony.api import Channel
from telephony.contract import Layout, RecordingFinished

if TYPE_CHECKING:
    from ocsd.sessions.attempt_context import AttemptContext

log = structlog.get_logger()

FOLDER: Final = "cpd"
"""Below the media server's recording folder; retention deletes from here and from nowhere else."""

AFTER_LIMITS_S: Final = 60.0
"""A recording ends by itself so long after the limits for ringing and analysis: the wait for a recording tone is 20 s,
that for an agent a few."""

WAIT_LIMIT_S: Final = 4.0
"""How long a call that is over waits for the media server to finish its file."""


def path_of(day: str, attempt_id: int, guid: str) -> str:
    """``day``: YYYY-MM-DD, UTC. The name holds the attempt, so that no recording is without an owner."""
    return f"{FOLDER}/{day}/{attempt_id}-{guid[:8]}.wav"


def attempt_of(path: str) -> int | None:
    """Whose recording a path of `path_of` is; None: it is none."""
    parts = path.split("/")
    number = parts[2].partition("-")[0] if len(parts) == 3 and parts[0] == FOLDER else ""
    return int(number) if number.isascii() and number.isdigit() else None


def noted(event: RecordingFinished, attempt_id: int, clock: Clock) -> CpdRecording:
    """What the database keeps of a finished recording."""
    began_at = utc_of(clock, event.began_at_s) if event.began_at_s > 0.0 else None
    return CpdRecording(
        attempt_id=attempt_id,
        path=event.path,
        began_at=began_at if began_at is not None else clock.utc(),
        duration_s=event.duration_s,
        size_bytes=event.size_bytes,
        sha256=event.sha256,
        gaps=event.gaps,
        error=event.error,
    )


class AnalysisRecording:
    """
    Records nothing unless the call was chosen for it.

    Args:
        keep: awaited with what is known when the file is on disk, or when it is known that there will be none.
        adopted: a daemon before us may have begun it.
    """

    def __init__(
        self,
        context: "AttemptContext",
        rules: AttemptRules,
        clock: Clock,
        keep: Callable[[CpdRecording], Awaitable[None]],
        *,
        adopted: bool = False,
    ) -> None:
        self._context = context
        self._max_s = rules.no_answer_s + rules.timeguard_s + rules.max_wait_s + AFTER_LIMITS_S
        self._clock = clock
        self._keep = keep
        self._path = ""
        self._goes_on = adopted and context.recorded
        self._noted = True
        self._to_keep: list[CpdRecording] = []
        """Told by the media server, and not kept yet: the call may end while the database is slow."""

    async def begin(self, channel: Channel) -> None:
        """With the analysis; asked again at the answer, the recording of the early media goes on."""
        if self._path or not self._context.recorded:
            return
        day = f"{self._clock.utc():%Y-%m-%d}"
        self._path = path_of(day, self._context.attempt_id, self._context.guid)
        self._goes_on, self._noted = True, False
        await channel.start_recording(self._path, Layout.MONO, max_s=self._max_s)

    async def end(self, channel: Channel) -> None:
        """Before an agent, a prompt or a destination is heard."""
        if self._goes_on:
            self._goes_on = False
            # All of the channel's: after a restart, the media server's or ours, it may go on under a name that we have
            # not heard of yet, and nothing of a conversation is to be on it.
            await channel.stop_recording()

    async def finished(self, event: RecordingFinished) -> None:
        """The media server has written the file, or says why not."""
        if attempt_of(event.path) != self._context.attempt_id:
            return
        if event.continued_in and event.path == self._path:
            self._path = event.continued_in  # the media server was restarted: what it had is lost, the rest is not
        else:
            self._noted = True
        if event.error:
            log.warning("recording.failed", path=event.path, why=event.error)
        self._to_keep.append(noted(event, self._context.attempt_id, self._clock))
        await self._keep_all()

    async def _keep_all(self) -> None:
        """Cancelled, `wait` does the rest; what is kept twice is kept once."""
        while self._to_keep:
            await self._keep(self._to_keep[0])
            del self._to_keep[0]

    async def wait(self, channel: Channel) -> None:
        """The channel is closed: its last events are still to come, the end of the recording among them."""
        with trio.move_on_after(WAIT_LIMIT_S):
            await self._keep_all()
            if self._noted and not self._goes_on:
                return
            async for event in channel.events:
                if isinstance(event, RecordingFinished):
                    await self.finished(event)
