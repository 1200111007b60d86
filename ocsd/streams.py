"""The figures of every call's audio on disk: what media servers told at the end of channels, once a second."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import psycopg
import structlog
import trio

from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import KeptStream, StreamTotals
from ocsd.sessions.clock import Clock
from ocsd.sessions.streams import BadStreams, totals_of
from telephony.contract import ChannelClosed

log = structlog.get_logger()

PERIOD_S: Final = 1.0
"""Rows of all calls that ended in it are one transaction."""

MOST_WAITING: Final = 50_000
"""Kept through an outage of the database: a quarter of an hour of 30 calls a second. The oldest go first."""

MOST_AT_ONCE: Final = 2000
LAST_LIMIT_S: Final = 5.0
LAST_TOLD_S: Final = 0.2
"""At the end: so long a media server may take to tell of the channels that were closed last."""


class Media(Protocol):
    """What is needed of `telephony.api.Media`."""

    def take_closed(self) -> list[ChannelClosed]: ...


class Rows(Protocol):
    """What is needed of `lists.streams.StreamRows`."""

    async def note(self, streams: Sequence[StreamTotals]) -> list[KeptStream]: ...


class StreamKeeping:
    """``heard`` is told of each stream that is on disk, once."""

    def __init__(self, media: Media, rows: Rows, clock: Clock, heard: Callable[[KeptStream], None]) -> None:
        self._media = media
        self._rows = rows
        self._clock = clock
        self._heard = heard
        self._waiting: list[StreamTotals] = []
        self._bad = BadStreams()

    async def run(self) -> None:
        """Until cancelled; then what has been told is still written."""
        try:
            while True:
                await trio.sleep(PERIOD_S)
                await self.keep()
        finally:
            with trio.move_on_after(LAST_LIMIT_S, shield=True):
                await trio.sleep(LAST_TOLD_S)
                await self.keep()

    async def keep(self) -> None:
        """Write what has been told since the last time; what cannot be written waits for the next."""
        for closed in self._media.take_closed():
            if (totals := totals_of(closed, self._clock)) is not None:
                self._waiting.append(totals)
        if (too_many := len(self._waiting) - MOST_WAITING) > 0:
            del self._waiting[:too_many]
            log.warning("streams.not_kept", streams=too_many, why="the database is away for too long")
        while batch := self._waiting[:MOST_AT_ONCE]:
            try:
                kept = await self._rows.note(batch)
            except StoreUnavailable:
                break  # its own log line tells
            except psycopg.Error as error:
                # No single row's fault, and not to be mended by waiting: calls matter more than their figures.
                why = " ".join(str(error).split())
                log.error("streams.not_kept", streams=len(batch), first=batch[0].channel_id, why=why)
                kept = []
            del self._waiting[: len(batch)]
            for one in kept:
                self._heard(one)
            self._warn(kept)
        self._warn(())

    def _warn(self, kept: Sequence[KeptStream]) -> None:
        if (what := self._bad.note(kept, self._clock.now_s())) is not None:
            log.warning("streams.bad", **what)
