"""Requests not to be called that come from elsewhere, carried out as a desktop's DoNotCall is."""

from collections import defaultdict
from typing import Protocol
from uuid import UUID

import structlog

from ocsd.dnc.contract import DncEntry
from ocsd.dnc.news import DncNews
from ocsd.model.errors import StoreUnavailable
from ocsd.sessions.clock import Clock

log = structlog.get_logger()


class Records(Protocol):
    """What is needed of `RecordService`."""

    async def forbidden_elsewhere(self, entries: list[DncEntry]) -> list[int]: ...


async def obey_news(dnc: DncNews, records: Records, clock: Clock) -> None:
    """
    Act on what others have forbidden, for ever; the time at which it had taken effect is written down.

    A bug ends the smallest thing: what was told then stays in force at the gates, and the next news is acted on.
    """
    while True:
        heard = await dnc.news()
        try:
            rows = await records.forbidden_elsewhere([one.entry for one in heard])
            by_rows: dict[int, list[UUID]] = defaultdict(list)
            for one, count in zip(heard, rows, strict=True):
                by_rows[count].append(one.request_id)
            applied_at = clock.utc()
            for count, request_ids in by_rows.items():
                await dnc.note_applied(request_ids, applied_at, count)
            if heard:
                log.info("dnc.obeyed", requests=len(heard), rows=sum(rows))
        except StoreUnavailable as error:  # a figure for reports; what it measures is done
            log.warning("dnc.effect_unnoted", error=str(error))
        except Exception:
            log.exception("dnc.news_failed")
