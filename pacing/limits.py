"""The bounds on every decision, applied last: ports, call starts, records, and the abandonment guard.

The guard is a hard rule beside the controller's soft one. People abandoned so far over people answered so far may not
pass the limit: as soon as it would, counting what the calls under way are expected to add, calls start one to one
until enough answered people have earned new room. In a short run the first abandoned person closes the guard until
about 1 / limit people are in, which is why the controller spends risk only as it is earned.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from pacing.types import GroupSnapshot

SHORT_WINDOW_PEOPLE = 100
"""Span of the short-window cap, in answered people; in people, not minutes, because a ratio needs a denominator."""
SHORT_WINDOW_FACTOR = 3.0
"""A short window may hold this many times the limit: three times 3 % of 100 is the worst quarter of an hour."""

BURST_RISK = 0.0003
"""Per prediction, of which a run of two minutes has some twenty independent ones: a few runs in a hundred exceed."""
BURST_PEOPLE = 200


@dataclass(frozen=True, slots=True)
class AbandonmentCount:
    """People who answered over the run, and those of them who got no agent in time; the same for the last few."""

    people: int
    abandoned: int
    recent_people: int
    recent_abandoned: int


class AbandonmentLedger:
    """Counts people over the whole run (which a restart continues) and over the last SHORT_WINDOW_PEOPLE."""

    def __init__(self, people: int = 0, abandoned: int = 0) -> None:
        self._people, self._abandoned = people, abandoned
        self._recent: deque[bool] = deque(maxlen=SHORT_WINDOW_PEOPLE)

    def add(self, *, abandoned: bool) -> None:
        self._people += 1
        self._abandoned += abandoned
        self._recent.append(abandoned)

    def count(self) -> AbandonmentCount:
        return AbandonmentCount(self._people, self._abandoned, len(self._recent), sum(self._recent))

    def state(self) -> dict[str, Any]:
        return {"people": self._people, "abandoned": self._abandoned, "recent": [int(x) for x in self._recent]}

    def load(self, state: dict[str, Any]) -> None:
        self._people, self._abandoned = int(state["people"]), int(state["abandoned"])
        self._recent = deque((bool(x) for x in state["recent"]), maxlen=SHORT_WINDOW_PEOPLE)


def slack(count: AbandonmentCount, limit_ratio: float, expected_abandoned: float = 0.0) -> float:
    """How many more people could be abandoned within the limit as of now; negative: over it."""
    return limit_ratio * count.people - count.abandoned - expected_abandoned


def burst_risk(people: int) -> float:
    """Accepted probability that the people lost at one go outnumber those still allowed, after ``people`` answered.

    Early such a burst spoils the rate of the whole run; later it is a ripple.
    """
    return min(1.0, BURST_RISK * max(1.0, people / BURST_PEOPLE) ** 2)


def guard_reason(
    count: AbandonmentCount, limit_ratio: float, expected_people: float, expected_abandoned: float
) -> str | None:
    """Why calls must start one to one, or None.

    ``expected_*``: what the calls under way will add within the horizon.
    """
    if count.abandoned == 0 and limit_ratio > 0.0:
        return None
    allowed = limit_ratio * (count.people + expected_people)
    if count.abandoned + expected_abandoned > allowed:
        return "overdial_guard"
    if count.recent_abandoned + 1 > max(1.0, SHORT_WINDOW_FACTOR * limit_ratio * SHORT_WINDOW_PEOPLE):
        return "short_window_guard"
    return None


def bounded(wanted: int, snapshot: GroupSnapshot) -> tuple[int, str | None]:
    """``wanted`` cut to what ports, records and the start rate allow, and the name of the bound that cut it."""
    launch, reason = max(wanted, 0), None
    for room, name in (
        (snapshot.ports_free, "ports"),
        (snapshot.records_ready, "records"),
        (snapshot.starts_allowed, "start_rate"),
    ):
        if launch > max(room, 0):
            launch, reason = max(room, 0), name
    return launch, reason
