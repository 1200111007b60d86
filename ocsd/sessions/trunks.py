"""
The trunks as all campaign groups share them: calls in progress and call starts per second. Pure: time is passed in.

A trunk's ``max_calls`` is a promise to the carrier, so it holds over all groups that dial through it.
"""

import math
from collections.abc import Iterable

from ocsd.config.objects import Trunk
from ocsd.sessions.sharing import FairPlaces, FairStarts

NO_LIMIT = 1_000_000


class StartBucket:
    """Token bucket of call starts, one second deep, so that a pause is not made up for by a burst."""

    def __init__(self, now_s: float) -> None:
        self._tokens = 1.0
        self._at_s = now_s

    def allowed(self, rate_per_s: float, now_s: float) -> int:
        """Calls that may start now; without limit for a rate of 0."""
        if rate_per_s <= 0.0:
            return NO_LIMIT
        self._tokens = min(max(1.0, rate_per_s), self._tokens + rate_per_s * (now_s - self._at_s))
        self._at_s = now_s
        return max(0, math.floor(self._tokens))

    def take(self, count: int = 1) -> None:
        self._tokens -= count


class TrunkBoard:
    """
    Who uses which trunk. `take` and `release` come in pairs.

    ``group``: DBID of the campaign group that asks; places and starts for which several wait are divided by weight.
    """

    def __init__(self, trunks: Iterable[Trunk], now_s: float) -> None:
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._buckets = {name: StartBucket(now_s) for name in self._trunks}
        self._places = {name: FairPlaces() for name in self._trunks}
        self._starts = {name: FairStarts() for name in self._trunks}
        self._turn = 0

    def reconfigure(self, trunks: Iterable[Trunk]) -> None:
        """The same trunks with other limits."""
        self._trunks = {trunk.name: trunk for trunk in trunks}

    def ports_left(self, names: Iterable[str]) -> int:
        """Calls that may be added on these trunks, whoever wants them."""
        return sum(max(0, self._trunks[name].max_calls - self._places[name].used) for name in names)

    def free_ports(self, names: Iterable[str], group: int = 0, weight: float = 1.0, now_s: float = 0.0) -> int:
        """Calls that the group may add on these trunks for its pacing."""
        return sum(
            max(0, self._places[name].free(group, weight, self._trunks[name].max_calls, now_s)) for name in names
        )

    def starts_allowed(self, names: Iterable[str], now_s: float, group: int = 0, weight: float = 1.0) -> int:
        """Calls that may start now on these trunks together."""
        allowed = (
            self._allowed(name, now_s) if self._starts[name].may_start(group, weight, now_s) else 0 for name in names
        )
        return min(NO_LIMIT, sum(allowed))

    def want_ports(self, names: Iterable[str], group: int, weight: float, now_s: float) -> None:
        """The group could have started more calls, had these trunks had ports for it."""
        for name in names:
            self._places[name].want(group, weight, now_s)

    def want_starts(self, names: Iterable[str], group: int, weight: float, now_s: float) -> None:
        """The group could have started more calls, had these trunks admitted them."""
        for name in names:
            self._starts[name].want(group, weight, now_s)

    def take(self, names: tuple[str, ...], now_s: float, group: int = 0, weight: float = 1.0) -> Trunk:
        """Choose a trunk for one call and count it: one that may start it, with the most free ports; ties by turn."""
        self._turn += 1
        shift = self._turn % len(names)
        order = names[shift:] + names[:shift]

        def rank(name: str) -> tuple[bool, int, int]:
            free = self._places[name].free(group, weight, self._trunks[name].max_calls, now_s)
            return self._allowed(name, now_s) > 0, free, self._trunks[name].max_calls - self._places[name].used

        best = max(order, key=rank)
        self._places[best].take(group)
        self._starts[best].take(group, now_s)
        self._buckets[best].take()
        return self._trunks[best]

    def release(self, name: str, group: int = 0) -> None:
        self._places[name].release(group)

    def calls(self, name: str) -> int:
        """Calls in progress."""
        return self._places[name].used

    def _allowed(self, name: str, now_s: float) -> int:
        return self._buckets[name].allowed(self._trunks[name].calls_per_second, now_s)
