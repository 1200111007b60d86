"""
How a calling list will go: its chains dialed in virtual time at a given pace. The event loop and its figures; pure.

What may be dialed when, and what follows a result, is asked of `Rules`: the production rules keep it
(`ocsd.sessions.forecasting`), so nothing about records is decided here. The loop knows three heaps: chains that may be
dialed (the best first), chains that wait (for the one that comes first), calls that end. At each turn of the pace the
best chain is dialed; when there is none, capacity idles until the next event, and the chain that comes up next says
what it waits for.

A large list is forecast on a sample of its chains, with the pace in the same proportion (`Sampler`).
"""

import hashlib
import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

from ocsd.explain.listed import ListedChain

HOUR_S: Final = 3600
MOST_SAMPLED: Final = 1.3
"""Part of the chains kept beyond the sample's size while the list is read: each stratum is cut to its share then."""

IDLE_STEP_S: Final = 900.0
"""While capacity is free, so often is looked whether windows have closed meanwhile."""

MOST_LOOKS: Final = 100_000
"""Gates asked at one instant: more would be a chain whose gate answers with the past."""

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)


class Waits(Enum):
    """What a chain waits for, and what capacity idles for."""

    HOURS = "windows are shut"
    CAPS = "attempt caps hold"
    SCHEDULE = "not due yet"
    CALLS = "the last calls"


class Fate(Enum):
    """What has become of a chain, or what is left of it in the end."""

    REACHED = "an agent had it"
    DONE = "finished by its result"
    USED_UP = "attempts used up"
    FORBIDDEN = "on Do-Not-Call"
    NEVER_OPENS = "never opens"
    FOR_AGENTS = "goes to a desktop"
    CAPPED = "left: attempt caps hold"
    WAITING = "left: not due yet, or closed"
    UNREACHED = "left: not dialed once"


LEFT: Final = (Fate.CAPPED, Fate.WAITING, Fate.UNREACHED)


@dataclass(frozen=True, slots=True)
class Until:
    """A chain waits until ``at_s`` (Unix seconds); ``at_s`` None: for good, and ``fate`` says why."""

    at_s: float | None
    waits: Waits = Waits.HOURS
    fate: Fate = Fate.NEVER_OPENS


class Rules(Protocol[C_contra]):
    """What the loop asks about a chain."""

    def gate(self, chain: C_contra, at_s: float) -> Until | None:
        """None: it may be dialed at ``at_s``, and the chain knows with which record."""
        ...

    def order(self, chain: C_contra) -> tuple[float, ...]:
        """Of the chains that may be dialed the lowest goes first."""
        ...

    def dial(self, chain: C_contra, at_s: float) -> float:
        """Dial; when the call will have ended."""
        ...

    def ended(self, chain: C_contra, at_s: float) -> Until | Fate:
        """The call has ended: when the chain goes on, or what has become of it."""
        ...

    def shut_until(self, chain: C_contra, at_s: float) -> float:
        """Until when (Unix seconds) its hours are shut at ``at_s``; ``at_s`` itself: they are open."""
        ...

    def zone(self, chain: C_contra) -> str: ...

    def dialed(self, chain: C_contra) -> bool:
        """Whether this run has dialed it."""
        ...


@dataclass(slots=True)
class Course:
    """
    One run.

    Attributes:
        finished_s: when chains were finished after a call (Unix seconds, ascending).
        dials_by_hour: by hour since the start.
        idle_s: seconds in which capacity was free, by what it waited for; only while chains were left.
        fates: chains by zone and fate.
    """

    start_s: float
    finished_s: list[float] = field(default_factory=list)
    dials_by_hour: Counter[int] = field(default_factory=Counter)
    idle_s: dict[Waits, float] = field(default_factory=lambda: dict.fromkeys(Waits, 0.0))
    fates: Counter[tuple[str, Fate]] = field(default_factory=Counter)

    @property
    def dials(self) -> int:
        return self.dials_by_hour.total()

    @property
    def left(self) -> int:
        return sum(count for (_, fate), count in self.fates.items() if fate in LEFT)

    @property
    def end_s(self) -> float | None:
        """When the last chain was finished; None: some are left."""
        if self.left:
            return None
        return self.finished_s[-1] if self.finished_s else self.start_s

    def share_s(self, share: float) -> float | None:
        """When this share of the chains that are dialed at all was finished; None: not before the run's end."""
        wanted = math.ceil(share * (len(self.finished_s) + self.left))
        if wanted > len(self.finished_s):
            return None
        return self.finished_s[wanted - 1] if wanted else self.start_s


class Loop(Generic[C]):
    """One run of the chains; ``dials_per_hour`` may be a fraction."""

    def __init__(
        self, chains: Iterable[C], rules: Rules[C], *, dials_per_hour: float, start_s: float, until_s: float
    ) -> None:
        if dials_per_hour <= 0:
            raise ValueError(f"dials_per_hour must be above 0, got {dials_per_hour}")
        self._rules = rules
        self._gap_s = HOUR_S / dials_per_hour
        self._until_s = until_s
        self._number = 0
        self._ready: list[tuple[tuple[float, ...], int, C]] = []
        self._waiting: list[tuple[float, int, C, Waits]] = []
        self._calls: list[tuple[float, int, C]] = []
        self.course = Course(start_s)
        for chain in chains:
            self._place(chain, start_s)

    def run(self) -> Course:
        at_s = self.course.start_s
        while at_s < self._until_s:
            self._come_up(at_s)
            chain = self._best(at_s)
            if chain is not None:
                heapq.heappush(self._calls, (self._rules.dial(chain, at_s), self._next(), chain))
                self.course.dials_by_hour[int(at_s - self.course.start_s) // HOUR_S] += 1
                at_s += self._gap_s
                continue
            next_s = min((heap[0][0] for heap in (self._calls, self._waiting) if heap), default=math.inf)
            if next_s == math.inf:
                break
            next_s = min(max(next_s, at_s), self._until_s)
            self._idle(at_s, next_s)
            at_s = next_s
        self._finish()
        return self.course

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _place(self, chain: C, at_s: float) -> None:
        """Into the heap that it belongs in."""
        until = self._rules.gate(chain, at_s)
        if until is None:
            heapq.heappush(self._ready, (self._rules.order(chain), self._next(), chain))
        else:
            self._wait(chain, until)

    def _wait(self, chain: C, until: Until) -> None:
        if until.at_s is None:
            self._count(chain, until.fate)
        else:
            heapq.heappush(self._waiting, (until.at_s, self._next(), chain, until.waits))

    def _come_up(self, at_s: float) -> None:
        while self._calls and self._calls[0][0] <= at_s:
            self._end(*heapq.heappop(self._calls))
        while self._waiting and self._waiting[0][0] <= at_s:
            self._place(heapq.heappop(self._waiting)[2], at_s)

    def _end(self, end_s: float, _number: int, chain: C) -> None:
        after = self._rules.ended(chain, end_s)
        if isinstance(after, Fate):
            self.course.finished_s.append(end_s)
            self._count(chain, after)
        else:
            self._wait(chain, after)

    def _best(self, at_s: float) -> C | None:
        """The best chain that may still be dialed: windows have closed and caps were reached meanwhile."""
        looks = 0
        while self._ready:
            chain = heapq.heappop(self._ready)[2]
            until = self._rules.gate(chain, at_s)
            if until is None:
                return chain
            if until.at_s is not None and until.at_s <= at_s and (looks := looks + 1) > MOST_LOOKS:
                raise ValueError(f"{chain!r} waits for the past, at {at_s}: {until}")
            self._wait(chain, until)
        return None

    def _idle(self, at_s: float, next_s: float) -> None:
        if not self._waiting:
            self.course.idle_s[Waits.CALLS] += next_s - at_s
            return
        _, _, chain, waits = self._waiting[0]
        while at_s < next_s:
            if (shut_s := min(self._rules.shut_until(chain, at_s), next_s)) > at_s:
                self.course.idle_s[Waits.HOURS] += shut_s - at_s
                at_s = shut_s
            else:
                open_s = min(at_s + IDLE_STEP_S, next_s)
                self.course.idle_s[Waits.SCHEDULE if waits is Waits.HOURS else waits] += open_s - at_s
                at_s = open_s

    def _count(self, chain: C, fate: Fate) -> None:
        self.course.fates[self._rules.zone(chain), fate] += 1

    def _finish(self) -> None:
        """Calls under way end; whatever else is there is left."""
        while self._calls:
            self._end(*heapq.heappop(self._calls))
        for _, _, chain in self._ready:
            self._count(chain, Fate.WAITING if self._rules.dialed(chain) else Fate.UNREACHED)
        for _, _, chain, waits in self._waiting:
            fate = Fate.CAPPED if waits is Waits.CAPS else Fate.WAITING
            self._count(chain, fate if self._rules.dialed(chain) or waits is Waits.CAPS else Fate.UNREACHED)
        self.course.finished_s.sort()


# --- samples ----------------------------------------------------------------------------------------------------------

Stratum = tuple[int, int, int, int]
"""Zone, window and type of a chain's first row."""


@dataclass(frozen=True, slots=True)
class Sample:
    """``part``: of the list's chains, in (0, 1]."""

    chains: tuple[ListedChain, ...]
    part: float


class Sampler:
    """
    Keeps a stratified random sample of the chains that are given to `add`, in flat memory.

    A chain is kept when the hash of its key is low enough, so chains with the same key (a customer's, where caps count
    by customer) are kept together; `sample` cuts each stratum to its share of the list.

    Args:
        size: chains wanted.
        total: about how many chains there are.
    """

    def __init__(self, size: int, total: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._key = str(seed).encode()[:64]
        self._bound = 1.0 if total <= size else min(1.0, MOST_SAMPLED * size / total)
        self._kept: dict[Stratum, list[tuple[float, int, ListedChain]]] = defaultdict(list)
        self._seen: Counter[Stratum] = Counter()

    def add(self, listed: ListedChain, key: str) -> None:
        first = listed.chain.records[0]
        stratum = (first.tz_dbid, first.daily_from_s, first.daily_till_s, int(first.record_type))
        self._seen[stratum] += 1
        # No checksum: those of neighbouring numbers lie in a pattern, and a seed only shifts it.
        digest = hashlib.blake2b(key.encode(), digest_size=8, key=self._key).digest()
        place = int.from_bytes(digest, "big") / 2**64
        if place < self._bound:
            self._kept[stratum].append((place, listed.chain.chain_id, listed))

    def sample(self) -> Sample:
        total = self._seen.total()
        if total <= self._size:
            wanted = dict(self._seen)
        else:
            # Whole chains: small strata are rounded at random, so that they are neither always in nor always out.
            pick = random.Random(self._seed)
            shares = {stratum: self._size * count / total for stratum, count in self._seen.items()}
            wanted = {stratum: math.floor(share + pick.random()) for stratum, share in sorted(shares.items())}
        chosen = [
            listed
            for stratum, kept in sorted(self._kept.items())
            for _, _, listed in sorted(kept, key=lambda entry: entry[:2])[: wanted[stratum]]
        ]
        return Sample(tuple(chosen), len(chosen) / total if total else 1.0)


# --- several runs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """Over the runs; ``middle`` is the median."""

    low: float
    middle: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    ranked = sorted(values)
    return Spread(ranked[0], ranked[len(ranked) // 2], ranked[-1])


@dataclass(frozen=True, slots=True)
class Forecast:
    """
    What several runs say about the whole list.

    Attributes:
        start_s, until_s: Unix seconds; nothing is looked at behind ``until_s``.
        chains: of the list, forbidden ones and those for desktops too.
        part: the sample's part of them.
        end_s: when the last chain is finished (Unix seconds); None: in some run chains are left at ``until_s``.
        milestones: when a share of the chains that are dialed is finished, by share; None: not before ``until_s``.
        idle_h: hours in which capacity was free, by what it waited for.
        fates: chains by zone and fate.
        finished_by_hour: chains finished by the end of each hour since the start, of each run.
        assumptions: in words.
    """

    calling_list: str
    start_s: float
    until_s: float
    dials_per_hour: float
    chains: int
    part: float
    end_s: Spread | None
    milestones: dict[float, Spread | None]
    dials: Spread
    dials_by_hour: tuple[float, ...]
    idle_h: dict[Waits, float]
    fates: dict[tuple[str, Fate], float]
    finished_by_hour: tuple[tuple[float, ...], ...]
    assumptions: tuple[str, ...]

    def total(self, fate: Fate) -> float:
        return sum(count for (_, each), count in self.fates.items() if each is fate)

    @property
    def zones(self) -> list[str]:
        """Most chains first."""
        sizes: dict[str, float] = defaultdict(float)
        for (zone, _), count in self.fates.items():
            sizes[zone] += count
        return sorted(sizes, key=lambda zone: (-sizes[zone], zone))


MILESTONES: Final = (0.5, 0.9, 0.95, 0.99)


def summary(
    calling_list: str,
    courses: Sequence[Course],
    *,
    chains: int,
    part: float,
    until_s: float,
    dials_per_hour: float,
    assumptions: Sequence[str],
) -> Forecast:
    """``courses``: at least one, of samples with the same ``part``."""
    start_s = courses[0].start_s
    ends = [course.end_s for course in courses]
    scale = 1.0 / part
    hours = max((1 + max(course.dials_by_hour, default=0) for course in courses), default=1)
    last_h = max((math.ceil((c.finished_s[-1] - start_s) / HOUR_S) for c in courses if c.finished_s), default=0)
    fates: Counter[tuple[str, Fate]] = sum((course.fates for course in courses), Counter())
    return Forecast(
        calling_list=calling_list,
        start_s=start_s,
        until_s=until_s,
        dials_per_hour=dials_per_hour,
        chains=chains,
        part=part,
        end_s=_end(courses, ends, chains) if part < 1.0 else _spread_of(ends),
        milestones={share: _spread_of([course.share_s(share) for course in courses]) for share in MILESTONES},
        dials=spread([course.dials * scale for course in courses]),
        dials_by_hour=tuple(
            scale * sum(course.dials_by_hour[hour] for course in courses) / len(courses) for hour in range(hours)
        ),
        idle_h={waits: sum(c.idle_s[waits] for c in courses) / HOUR_S / len(courses) for waits in Waits},
        fates={key: scale * count / len(courses) for key, count in fates.items()},
        finished_by_hour=tuple(_finished(course, max(hours, last_h), scale) for course in courses),
        assumptions=tuple(assumptions),
    )


def _spread_of(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) else None


def _end(courses: Sequence[Course], ends: Sequence[float | None], chains: int) -> Spread | None:
    """
    When the last of ``chains`` is finished, from samples of them: the last of a sample is too early.

    The last of N like chains is with probability p before the moment that all but the fraction -ln(p) / N of chains
    have passed, and what the runs have seen together tells when that is: p is 5 %, 50 % and 95 %. Where they have seen
    too few for it, it is the last that they have seen.
    """
    if any(end is None for end in ends):
        return None
    pooled = sorted(at_s for course in courses for at_s in course.finished_s)
    if not pooled:
        return _spread_of(ends)
    like = chains * len(pooled) / max(1, sum(course.fates.total() for course in courses))

    def passed(probability: float) -> float:
        return pooled[-1 - min(len(pooled) - 1, int(-math.log(probability) * len(pooled) / like))]

    return Spread(passed(0.05), passed(0.5), passed(0.95))


def _finished(course: Course, hours: int, scale: float) -> tuple[float, ...]:
    counts = [0] * max(1, hours)
    for at_s in course.finished_s:
        counts[min(len(counts) - 1, int(at_s - course.start_s) // HOUR_S)] += 1
    total, found = 0.0, []
    for count in counts:
        total += count * scale
        found.append(total)
    return tuple(found)
