"""
What campaign groups share while they dial: agents who are in several agent groups, and the places of a trunk.

Max-min fairness by weight: everybody gets what it needs as long as that is no more than its part; what it does not
need is the others'. Sources: Bertsekas and Gallager, "Data Networks", section 6.5.2; design of weighted max-min
"water filling".

**Agents.** Two pacers that count the same agents would both call for them. So each agent at work belongs to exactly one
of the groups that may use it: the pacer of that group counts it as ready or as coming free, the others do not see it.
A part does not shrink below the people whom the group's calls under way may bring. Whoever of a group waits for an
agent gets one of its own part; one of another part only while more are ready there than calls are under way for them
(`roster.WaitingLine`). So nobody is abandoned because another group has dialed, and what each pacer keeps, all of them
together keep.

Pure: time is passed in.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K", bound=int)

WANT_LIFETIME_S = 1.0
"""A group that could not start a call for want of a place claims its part for so long; it asks several times a
second."""
BISECTIONS = 60
"""Halvings of the water level: to the last digit of a float."""
STARTS_MEMORY_S = 5.0
"""Starts of calls are compared over about so long."""


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What one group may ask for.

    Attributes:
        weight: > 0, relative to the others'.
        need: the most it can use; infinite for one that could always use more.
        least: what it has promised to somebody, and gets before anybody's part is measured.
    """

    weight: float
    need: float = math.inf
    least: float = 0.0


def fair_shares(total: float, claims: Mapping[K, Claim]) -> dict[K, float]:
    """
    Divide ``total``: nobody gets more than it needs, nor less than its weighted part if it needs that.

    Promises come first, and are cut alike when there is not even enough for them.
    """
    promised = sum(claim.least for claim in claims.values())
    if promised >= total:
        return {who: claim.least * total / promised if promised else 0.0 for who, claim in claims.items()}

    def at(level: float) -> dict[K, float]:
        return {who: max(c.least, min(c.need, level * c.weight)) for who, c in claims.items()}

    low, high = 0.0, total / min((claim.weight for claim in claims.values()), default=1.0)
    if sum(at(high).values()) <= total:
        return at(high)
    for _ in range(BISECTIONS):
        level = (low + high) / 2.0
        low, high = (level, high) if sum(at(level).values()) <= total else (low, level)
    return at(low)


def whole_shares(total: int, claims: Mapping[K, Claim]) -> dict[K, int]:
    """The same in whole pieces (largest remainders), all of which are given away: what nobody needs goes by weight."""
    shares = fair_shares(total, claims)
    spare = total - sum(shares.values())
    weights = sum(claim.weight for claim in claims.values())
    exact = {who: shares[who] + spare * claims[who].weight / weights for who in claims}
    whole = {who: math.floor(share + 1e-9) for who, share in exact.items()}
    missing = total - sum(whole.values())
    for who in sorted(claims, key=lambda each: (whole[each] - exact[each], each))[:missing]:
        whole[who] += 1
    return whole


class AgentParts:
    """Which group's pacing each shared agent counts for. Agents change hands only when a part grows or shrinks."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    def of(self, agent_id: str) -> int | None:
        """Whose part the agent was in at the last division; None: it was not shared, or not at work."""
        return self._of.get(agent_id)

    def divide(self, agents: Mapping[str, Set[int]], claims: Mapping[int, Claim]) -> Mapping[str, int]:
        """
        Return the group of each agent.

        Args:
            agents: for each shared agent at work the groups that may use it, at least one; all are in ``claims``.
        """
        by_groups: defaultdict[frozenset[int], list[str]] = defaultdict(list)
        for agent_id in sorted(agents):
            by_groups[frozenset(agents[agent_id])].append(agent_id)
        of: dict[str, int] = {}
        for groups in sorted(by_groups, key=sorted):
            members = by_groups[groups]
            room = whole_shares(len(members), {group: claims[group] for group in sorted(groups)})
            moving: list[str] = []
            for agent_id in members:
                group = self._of.get(agent_id)
                if group is not None and room.get(group, 0) > 0:
                    of[agent_id] = group
                    room[group] -= 1
                else:
                    moving.append(agent_id)
            for group, places in room.items():
                for _ in range(places):
                    of[moving.pop()] = group
        self._of = of
        return of


class FairPlaces:
    """The places of one resource (calls of a trunk, legs), taken by groups and divided when there are too few."""

    def __init__(self) -> None:
        self._used: Counter[int] = Counter()
        self._wanted: dict[int, tuple[float, float]] = {}
        """Groups that could not start a call for want of a place: weight, and when that was."""

    @property
    def used(self) -> int:
        return sum(self._used.values())

    def of(self, group: int) -> int:
        """Places that the group has."""
        return self._used[group]

    def take(self, group: int) -> None:
        self._used[group] += 1

    def release(self, group: int) -> None:
        self._used[group] -= 1
        if not self._used[group]:
            del self._used[group]

    def want(self, group: int, weight: float, now_s: float) -> None:
        """The group could have started more calls, had there been places."""
        self._wanted[group] = (weight, now_s)

    def free(self, group: int, weight: float, places: int, now_s: float) -> int:
        """Places that the group may take now, of ``places`` in all; all that are free unless others want some."""
        free = places - self.used
        wanting = self._wanting(now_s)
        wanting.pop(group, None)
        if free <= 0 or not wanting:
            return free
        claims = {who: Claim(1.0, float(used)) for who, used in self._used.items()}
        claims |= {who: Claim(heavy) for who, heavy in wanting.items()}
        claims[group] = Claim(weight)
        # Rounded up: an odd place is nobody's part, and better used by whoever comes first than by nobody.
        part = math.ceil(fair_shares(places, claims)[group] - 1e-9)
        return max(0, min(free, part - self._used[group]))

    def _wanting(self, now_s: float) -> dict[int, float]:
        return {who: weight for who, (weight, at_s) in self._wanted.items() if now_s - at_s <= WANT_LIFETIME_S}


class FairStarts:
    """Call starts per second that groups share: while several wait for one, it goes to who has had fewest."""

    def __init__(self) -> None:
        self._recent: dict[int, tuple[float, float]] = {}
        """Starts, fading over STARTS_MEMORY_S, and when they were counted."""
        self._wanted: dict[int, tuple[float, float]] = {}

    def take(self, group: int, now_s: float) -> None:
        self._recent[group] = (self._fading(group, now_s) + 1.0, now_s)

    def want(self, group: int, weight: float, now_s: float) -> None:
        self._wanted[group] = (weight, now_s)

    def may_start(self, group: int, weight: float, now_s: float) -> bool:
        """Whether it is the group's turn."""
        mine = self._fading(group, now_s) / weight
        return all(
            mine <= self._fading(who, now_s) / heavy
            for who, (heavy, at_s) in self._wanted.items()
            if who != group and now_s - at_s <= WANT_LIFETIME_S
        )

    def _fading(self, group: int, now_s: float) -> float:
        starts, at_s = self._recent.get(group, (0.0, now_s))
        return starts * math.exp(-(now_s - at_s) / STARTS_MEMORY_S)


def overlapping(groups: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """For each agent group those that are tied to it by common members, directly or through others, and itself."""
    of_agent: defaultdict[str, set[str]] = defaultdict(set)
    for name, members in groups.items():
        for agent_id in members:
            of_agent[agent_id].add(name)
    found: dict[str, frozenset[str]] = {}
    for name in groups:
        if name in found:
            continue
        tied, new = {name}, {name}
        while new:
            new = {other for each in new for agent_id in groups[each] for other in of_agent[agent_id]} - tied
            tied |= new
        found |= dict.fromkeys(tied, frozenset(tied))
    return found
