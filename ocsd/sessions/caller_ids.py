"""
Which caller ID a call shows: pools of numbers that take turns, rest, or look local. Pure: time is passed in.

A number that calls too often in a day is labelled as spam by the carriers' analytics, so each number of a set has at
most ``calls_per_hour`` and ``calls_per_day``, counted over all campaign groups, and rests then. After a restart
the journal of attempts tells what had been counted (`CallerIds.remember`).

``match_prefix`` chooses, among the numbers that do not rest, those that share the longest beginning with the called
number, if that is more than its country code: a call from the same area.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import phonenumbers

from ocsd.config.objects import CallerIdSet

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class CallerId:
    """``digits``: the number; ``of_set``: name of the caller ID set it is from, empty for another source."""

    digits: str
    of_set: str = ""


NO_CALLER_ID: Final = CallerId("")
"""The trunk's own number."""


@dataclass(slots=True)
class _Use:
    """Starts of calls that showed one number, within a day."""

    at_s: deque[float] = field(default_factory=deque)
    turn: int = 0
    most: int = 1
    """Of the limits that its sets have set it: older starts than so many do not matter."""

    def shown(self, at_s: float) -> None:
        self.at_s.append(at_s)
        while len(self.at_s) > self.most:
            self.at_s.popleft()

    def rests(self, of_set: CallerIdSet, now_s: float) -> bool:
        self.most = max(self.most, of_set.calls_per_day, of_set.calls_per_hour)
        while self.at_s and self.at_s[0] <= now_s - DAY_S:
            self.at_s.popleft()
        if of_set.calls_per_day and len(self.at_s) >= of_set.calls_per_day:
            return True
        # The nth last call decides: within the hour or not.
        most = of_set.calls_per_hour
        return bool(most) and len(self.at_s) >= most and self.at_s[-most] > now_s - HOUR_S


class CallerIds:
    """What each number of all sets has been used for."""

    def __init__(self) -> None:
        self._used: dict[str, _Use] = {}
        self._turn = 0
        self.exhausted = 0
        """Calls for which every number of the sets rested."""

    def choose(
        self, sets: Sequence[CallerIdSet], rotation: str, called: str, key: str, now_s: float
    ) -> CallerId | None:
        """
        The number for one call, and count it; None: all of them rest.

        Args:
            rotation: a value of caller-id-rotation. random goes by ``key``; per-callee shows a called number the same
                caller ID each time, also after a restart, as long as that one does not rest.
            called: the called number, with or without a leading ``+``.
            key: identity of the attempt.
        """
        free = [
            CallerId(number, one.name)
            for one in sets
            for number in one.numbers
            if not self._use(number).rests(one, now_s)
        ]
        if not free:
            self.exhausted += 1
            return None
        near = self._near(free, called, {one.name: one for one in sets})
        match rotation:
            case "random":
                chosen = max(near, key=lambda each: _weight(key, each.digits))
            case "per-callee":
                # Rendezvous hashing: when one number rests, only the callees that had it get another.
                chosen = max(near, key=lambda each: _weight(_bare(called), each.digits))
            case "least-recently-used":
                chosen = min(near, key=lambda each: self._last(each.digits))
            case _:
                chosen = min(near, key=lambda each: self._use(each.digits).turn)
        self._turn += 1
        use = self._use(chosen.digits)
        use.turn = self._turn
        use.shown(now_s)
        return chosen

    def remember(self, used: Mapping[str, Sequence[float]]) -> None:
        """When calls began that showed each number, oldest first (monotonic): what an earlier daemon had counted."""
        for number in sorted(used, key=lambda number: used[number][-1]):
            use = self._use(number)
            self._turn += 1
            use.turn = self._turn
            use.at_s = deque(used[number])

    def resting(self, one: CallerIdSet, now_s: float) -> int:
        """Numbers of a set that rest now."""
        return sum(self._use(number).rests(one, now_s) for number in one.numbers)

    def _near(self, free: list[CallerId], called: str, sets: dict[str, CallerIdSet]) -> list[CallerId]:
        local = [each for each in free if sets[each.of_set].match_prefix]
        if not local:
            return free
        shared = {each.digits: common_prefix(each.digits, called) for each in local}
        longest = max(shared.values())
        if longest <= country_digits(called):
            return free
        return [each for each in local if shared[each.digits] == longest]

    def _use(self, number: str) -> _Use:
        return self._used.setdefault(_bare(number), _Use())

    def _last(self, number: str) -> float:
        use = self._use(number)
        return use.at_s[-1] if use.at_s else float("-inf")


def common_prefix(one: str, other: str) -> int:
    """Digits that two numbers begin with alike."""
    count = 0
    for left, right in zip(_bare(one), _bare(other), strict=False):
        if left != right:
            break
        count += 1
    return count


def country_digits(number: str) -> int:
    """Length of the number's country code; 0 where it has none that is known."""
    try:
        return len(str(phonenumbers.parse(f"+{_bare(number)}", None).country_code))
    except phonenumbers.NumberParseException:
        return 0


def sets_named(text: str, known: Iterable[CallerIdSet]) -> tuple[CallerIdSet, ...]:
    """The sets that the option ``caller-id-sets`` names, in its order; unknown names are left out."""
    by_name = {one.name: one for one in known}
    return tuple(by_name[name] for name in names_in(text) if name in by_name)


def names_in(text: str) -> list[str]:
    """The names that a value of the option ``caller-id-sets`` holds."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _bare(number: str) -> str:
    return number.removeprefix("+")


def _weight(key: str, number: str) -> bytes:
    return hashlib.sha256(f"{key}/{_bare(number)}".encode()).digest()
