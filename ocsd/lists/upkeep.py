"""
Daily upkeep of what the daemon keeps for itself: delivered HTTP requests of treatments go after a week, the history of
attempts, decisions and withdrawals when the option ``history-retention`` says so.

HTTP requests that were given up and Do-Not-Call requests stay until the operator deletes them.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
import trio

from ocsd.lists.retention import KINDS, Kind, Portion
from ocsd.model.errors import StoreUnavailable

log = structlog.get_logger(__name__)

KEPT: Final = timedelta(days=7)
"""How long a delivered request can still be looked up: a week covers a long weekend."""

PERIOD_S: Final = 86_400.0
RETRY_S: Final = 600.0
"""While the database is away."""

AT_ONCE: Final = 10_000
"""Delivered requests in one transaction: far below any statement time limit, and no long lock."""

PORTION_ROWS: Final = 2_000
"""Rows of the history in one transaction; they are wide and have several indexes."""

REST_S: Final = 0.1
"""Between two transactions: the results of calls go first."""


class Forgetting(Protocol):
    """What is needed of `outbox.Outbox`."""

    async def forget(self, before: datetime, limit: int) -> int: ...


class History(Protocol):
    """What is needed of `retention.Journal`."""

    async def forget(self, kind: Kind, before: datetime, after: int, limit: int) -> Portion: ...


async def keep_tidy(
    outbox: Forgetting, history: History, utc: Callable[[], datetime], kept: Callable[[], timedelta | None]
) -> None:
    """
    Forget what is old at the start and once a day, for ever.

    ``kept``: asked each day how long history is kept; None: for ever.
    """
    while True:
        pause_s = PERIOD_S
        try:
            if forgotten := await _forget(outbox, utc() - KEPT):
                log.info("outbox.forgotten", requests=forgotten)
            if (age := kept()) is not None:
                await _forget_history(history, utc() - age)
        except StoreUnavailable as error:
            log.warning("upkeep.waits", error=str(error))
            pause_s = RETRY_S
        await trio.sleep(pause_s)


async def _forget(outbox: Forgetting, before: datetime) -> int:
    total = 0
    while (forgotten := await outbox.forget(before, AT_ONCE)) == AT_ONCE:
        total += forgotten
        await trio.sleep(REST_S)
    return total + forgotten


async def _forget_history(history: History, before: datetime) -> None:
    for kind in KINDS:
        deleted, portion = 0, Portion(0, 0, more=True)
        while portion.more:
            portion = await history.forget(kind, before, portion.last, PORTION_ROWS)
            deleted += portion.deleted
            if portion.more:
                await trio.sleep(REST_S)
        if deleted:
            log.info("history.forgotten", what=kind.table, rows=deleted, before=before.isoformat())
