"""Virtual time, and coroutines that never wait."""

from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from ocsd.model.errors import InvariantError

T = TypeVar("T")


class VirtualClock:
    """Both clocks of the sessions. ``seconds``: since the start of the rehearsal; whoever runs it moves it on."""

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.start_utc_s = start.timestamp()
        self.seconds = 0.0
        self._utc = start
        self._utc_of_s = 0.0

    def now_s(self) -> float:
        return self.seconds

    def utc(self) -> datetime:
        if self._utc_of_s != self.seconds:
            self._utc = self.utc_at(self.seconds)
            self._utc_of_s = self.seconds
        return self._utc

    def utc_at(self, at_s: float) -> datetime:
        """The calendar time of a virtual instant."""
        return self.start + timedelta(seconds=at_s)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Run what is asynchronous only because a database is, and here is none: it must not wait for anything.

    Raises InvariantError when it does.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    coroutine.close()
    raise InvariantError("something waits in a rehearsal, where nothing but virtual time passes")
