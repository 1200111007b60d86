"""
The trunks as all campaign groups share them: calls in progress and call starts per second. Pure: time is passed in.

A trunk's ``max_calls`` is a promise to the carrier, so it holds over all groups that dial through it.
"""

import math
from collections import Counter
from collections.abc import Iterable

from ocsd.config.objects import Trunk

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
    """Who uses which trunk. `take` and `release` come in pairs."""

    def __init__(self, trunks: Iterable[Trunk], now_s: float) -> None:
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._calls: Counter[str] = Counter()
        self._buckets = {name: StartBucket(now_s) for name in self._trunks}
        self._turn = 0

    def reconfigure(self, trunks: Iterable[Trunk]) -> None:
        """The same trunks with other limits."""
        self._trunks = {trunk.name: trunk for trunk in trunks}

    def free_ports(self, names: Iterable[str]) -> int:
        return sum(max(0, self._free(name)) for name in names)

    def starts_allowed(self, names: Iterable[str], now_s: float) -> int:
        """Calls that may start now on these trunks together."""
        allowed = (self._buckets[name].allowed(self._trunks[name].calls_per_second, now_s) for name in names)
        return min(NO_LIMIT, sum(allowed))

    def take(self, names: tuple[str, ...], now_s: float) -> Trunk:
        """Choose a trunk for one call and count it: one that may start it, with the most free ports; ties by turn."""
        self._turn += 1
        shift = self._turn % len(names)
        order = names[shift:] + names[:shift]

        def rank(name: str) -> tuple[bool, int]:
            may_start = self._buckets[name].allowed(self._trunks[name].calls_per_second, now_s) > 0
            return may_start, self._free(name)

        best = max(order, key=rank)
        self._calls[best] += 1
        self._buckets[best].take()
        return self._trunks[best]

    def release(self, name: str) -> None:
        self._calls[name] -= 1

    def calls(self, name: str) -> int:
        """Calls in progress."""
        return self._calls[name]

    def _free(self, name: str) -> int:
        return self._trunks[name].max_calls - self._calls[name]
