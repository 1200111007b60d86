"""
Daily upkeep of what the daemon keeps for itself: delivered HTTP requests of treatments go after a week.

Requests that were given up stay until the operator deletes them. Attempts and decisions (``ocsd.attempt``,
``ocsd.decision``) are never deleted here: attempt caps count them, audits read them, and how long they must be kept is
for the law and the operator to say.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
import trio

from ocsd.model.errors import StoreUnavailable

log = structlog.get_logger(__name__)

KEPT: Final = timedelta(days=7)
"""How long a delivered request can still be looked up: a week covers a long weekend."""

PERIOD_S: Final = 86_400.0
RETRY_S: Final = 600.0
"""While the database is away."""

AT_ONCE: Final = 10_000
"""Rows in one transaction: far below any statement time limit, and no long lock."""

REST_S: Final = 0.1
"""Between two transactions: the results of calls go first."""


class Forgetting(Protocol):
    """What is needed of `outbox.Outbox`."""

    async def forget(self, before: datetime, limit: int) -> int: ...


async def keep_tidy(outbox: Forgetting, utc: Callable[[], datetime]) -> None:
    """Forget delivered requests at the start and once a day, for ever."""
    while True:
        pause_s = PERIOD_S
        try:
            forgotten = await _forget(outbox, utc() - KEPT)
        except StoreUnavailable as error:
            log.warning("outbox.upkeep_waits", error=str(error))
            pause_s = RETRY_S
        else:
            if forgotten:
                log.info("outbox.forgotten", requests=forgotten)
        await trio.sleep(pause_s)


async def _forget(outbox: Forgetting, before: datetime) -> int:
    total = 0
    while (forgotten := await outbox.forget(before, AT_ONCE)) == AT_ONCE:
        total += forgotten
        await trio.sleep(REST_S)
    return total + forgotten
