"""What has become forbidden without a request of this daemon: another daemon's, the command line's, an import's.

The gates know it as soon as the service does. This is for those who have to act on it: rows that stay in lists, chains
that wait in memory, calls that ring, records on desktops.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import structlog
import trio

from ocsd.dnc.contract import DncEntry

log = structlog.get_logger(__name__)

MAX_SINGLE: Final = 10_000
"""Single requests that are kept until somebody takes them. Of more nobody is told one by one: they are in force, what
is in memory is looked through for them, and their rows leave the lists when they are claimed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A single request of somebody else. ``request_id``: of ``ocsd.dnc_request``."""

    request_id: UUID
    entry: DncEntry


class DncNews(Protocol):
    """The side of Do-Not-Call that tells; `service` and `memory` have it."""

    async def news(self) -> tuple[Heard, ...]:
        """
        Wait until something may have become forbidden that `add` was not called for, here.

        Returns the single requests among it, oldest first; none when the table or a registry has been read again: then
        anything that the daemon holds may be forbidden. Nothing is told twice. One task may wait at a time.
        """
        ...

    async def note_applied(self, request_ids: Sequence[UUID], applied_at: datetime, rows: int) -> None:
        """As `DoNotCall.note_effect`, for requests of others."""
        ...


class NewsBox:
    """Keeps what is new until it is taken; `tell` never waits."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []
        self._there = trio.Event()

    def tell(self, heard: Sequence[Heard] = ()) -> None:
        """Something has become forbidden; ``heard``: the single requests among it."""
        kept = heard[: MAX_SINGLE - len(self._heard)]
        self._heard += kept
        if len(kept) < len(heard):
            log.warning("dnc.news_shortened", requests=len(heard) - len(kept))
        self._there.set()

    async def take(self) -> tuple[Heard, ...]:
        """See `DncNews.news`."""
        await self._there.wait()
        self._there = trio.Event()
        heard, self._heard = tuple(self._heard), []
        return heard
