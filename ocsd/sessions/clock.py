"""The two clocks of the sessions: monotonic for durations and deadlines, UTC for calendars. They never mix."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now_s(self) -> float:
        """Monotonic seconds, the clock of the telephony contract."""
        ...

    def utc(self) -> datetime: ...


class SystemClock:
    def now_s(self) -> float:
        return time.monotonic()

    def utc(self) -> datetime:
        return datetime.now(UTC)


def utc_of(clock: Clock, at_s: float | None) -> datetime | None:
    """The calendar time of a monotonic instant of the recent past."""
    if at_s is None:
        return None
    return clock.utc() - timedelta(seconds=clock.now_s() - at_s)
