"""What must happen sooner or later is tried again until the database is back."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
import trio

from ocsd.model.errors import StoreUnavailable

log = structlog.get_logger()

T = TypeVar("T")

DATABASE_RETRY_S: Final = 1.0


async def through_outages(waiting: str, call: Callable[[], Awaitable[T]], **facts: object) -> T:
    """
    Await ``call()`` until it does not raise StoreUnavailable; everything else passes.

    Args:
        waiting: name of the log event of each failure, with ``facts``.
    """
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            log.warning(waiting, error=str(error), **facts)
            await trio.sleep(DATABASE_RETRY_S)
