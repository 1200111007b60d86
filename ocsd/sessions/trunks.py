"""
The trunks as all campaign groups share them: which one a call takes. Pure: time is passed in.

A call takes a trunk of the lowest ``priority`` that works, has a port, and may start a call now; among several, by
``weight``. ``max_calls`` and ``calls_per_second`` are promises to the carrier, so they hold over all groups that dial
through a trunk, and for calls that come from another trunk that failed.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from ocsd.config.objects import Trunk
from ocsd.sessions.caller_ids import CallerIds
from ocsd.sessions.sharing import FairPlaces, FairStarts
from ocsd.sessions.trunk_health import Blame, Breaker, Change, Circuit, blame, why_failed
from telephony.contract import LegEnded

log = structlog.get_logger()

NO_LIMIT: Final = 1_000_000
REFUSED_KEPT: Final = 10_000
"""Records that a trunk has failed: the oldest are forgotten."""
REFUSED_TIMES: Final = 3
REFUSED_REST_S: Final = 30.0
"""Wait before a number that all trunks have refused is dialed again: by then others have told."""


@dataclass(frozen=True, slots=True)
class TrunkState:
    """
    One trunk for people and programs.

    Attributes:
        takes_calls: it may be given calls now, as far as its health goes.
        why: what keeps calls off, or did last; empty while nothing does.
        again_in_s: when an open circuit is tried again.
        registered: None: it needs no registration.
        failed: calls that failed by its fault, since the start.
        moved: calls that another trunk has taken over from it.
        rtt_s: of the last answered OPTIONS; None: none yet.
    """

    dbid: int
    name: str
    priority: int
    weight: int
    calls: int
    max_calls: int
    circuit: Circuit
    takes_calls: bool
    why: str
    again_in_s: float
    registered: bool | None
    started: int
    failed: int
    moved: int
    rtt_s: float | None

    def shown(self) -> dict[str, object]:
        """For programs: JSON-safe."""
        return asdict(self) | {"circuit": self.circuit.value}


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


class _Line:
    """What is counted for one trunk."""

    def __init__(self, now_s: float) -> None:
        self.bucket = StartBucket(now_s)
        self.places = FairPlaces()
        self.starts = FairStarts()
        self.breaker = Breaker()
        self.credit = 0.0
        """Of the smooth weighted round robin: whoever has most is next."""
        self.registered: bool | None = None
        self.registration = ""
        self.rtt_s: float | None = None
        self.worked_s = -math.inf
        """When a call last got through."""
        self.started = self.failed = self.moved = 0
        self.ahead = 0
        """Calls that wait for a port or a start, and go before the pacing's."""


class TrunkBoard:
    """
    Who uses which trunk, and which ones work. `take` and `release` come in pairs.

    ``group``: DBID of the campaign group that asks; places and starts for which several wait are divided by weight.
    ``on_change`` hears of each circuit and registration that changes, with the trunk's name.
    """

    def __init__(self, trunks: Iterable[Trunk], now_s: float) -> None:
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._lines = {name: _Line(now_s) for name in self._trunks}
        self.caller_ids = CallerIds()
        self._refused: OrderedDict[tuple[int, int], tuple[float, int]] = OrderedDict()
        self.on_change: Callable[[str], None] = lambda _name: None

    def reconfigure(self, trunks: Iterable[Trunk]) -> None:
        """The same trunks with other limits."""
        self._trunks = {trunk.name: trunk for trunk in trunks}

    @property
    def trunks(self) -> tuple[Trunk, ...]:
        return tuple(self._trunks.values())

    # --- what there is room for -------------------------------------------------------------------------------------

    def ports_left(self, names: Iterable[str], now_s: float | None = None) -> int:
        """Calls that may be added on these trunks, whoever wants them; without ``now_s`` whether they work or not."""
        return sum(
            max(0, self._trunks[name].max_calls - self._lines[name].places.used)
            for name in names
            if now_s is None or self.takes_calls(name, now_s)
        )

    def free_ports(self, names: Iterable[str], group: int = 0, weight: float = 1.0, now_s: float = 0.0) -> int:
        """Calls that the group may add on these trunks for its pacing."""
        return sum(
            max(0, min(self._free(name, group, weight, now_s), self._healthy(name, now_s)) - self._lines[name].ahead)
            for name in names
        )

    def starts_allowed(self, names: Iterable[str], now_s: float, group: int = 0, weight: float = 1.0) -> int:
        """Calls that may start now on these trunks together."""
        allowed = (
            max(0, min(self._allowed(name, now_s), self._healthy(name, now_s)) - self._lines[name].ahead)
            for name in names
            if self._lines[name].starts.may_start(group, weight, now_s)
        )
        return min(NO_LIMIT, sum(allowed))

    def want_ports(self, names: Iterable[str], group: int, weight: float, now_s: float) -> None:
        """The group could have started more calls, had these trunks had ports for it."""
        for name in names:
            self._lines[name].places.want(group, weight, now_s)

    def want_starts(self, names: Iterable[str], group: int, weight: float, now_s: float) -> None:
        """The group could have started more calls, had these trunks admitted them."""
        for name in names:
            self._lines[name].starts.want(group, weight, now_s)

    # --- calls ------------------------------------------------------------------------------------------------------

    def take(self, names: tuple[str, ...], now_s: float, group: int = 0, weight: float = 1.0) -> Trunk:
        """Choose a trunk for one call that starts now, and count it."""
        return self._count(self.choose(names, now_s, group, weight).name, now_s, group)

    def choose(self, names: tuple[str, ...], now_s: float, group: int = 0, weight: float = 1.0) -> Trunk:
        """A trunk for one call; where none can take it, the one that is nearest to it. Nothing is counted."""

        def rank(name: str) -> tuple[bool, bool, bool]:
            has_port = self._free(name, group, weight, now_s) > 0
            return self._healthy(name, now_s) > 0, has_port, self._allowed(name, now_s) > 0

        ranks = {name: rank(name) for name in names}
        best = max(ranks.values())
        return self._trunks[self._by_weight([name for name in names if ranks[name] == best])]

    def take_other(self, names: Iterable[str], without: Collection[str], now_s: float, group: int = 0) -> Trunk | None:
        """
        A trunk for a call that another one has failed, and count it; None: there is none now.

        It does not queue for the group's part: the port it leaves is one that the group had.
        """
        able = self._able(names, without, now_s)
        return self._count(self._by_weight(able), now_s, group) if able else None

    def take_start(self, chosen: str, names: Iterable[str], now_s: float, group: int = 0) -> Trunk | None:
        """
        The trunk of a call that starts now and goes before the pacing's, counted; None: there is none now.

        That is the one which was ``chosen`` for it, or another one when that takes no call.
        """
        able = self._able(names, (), now_s)
        if not able:
            return None
        return self._count(chosen if chosen in able else self._by_weight(able), now_s, group)

    @contextmanager
    def going_first(self, names: Iterable[str]) -> Iterator[None]:
        """Within it, each of these trunks keeps a port and a call start from the pacing, for `take_start`."""
        lines = [self._lines[name] for name in names]
        for line in lines:
            line.ahead += 1
        try:
            yield
        finally:
            for line in lines:
                line.ahead -= 1

    def _able(self, names: Iterable[str], without: Collection[str], now_s: float) -> list[str]:
        """Trunks that can take a call at this instant, whose ever turn it is."""
        return [
            name
            for name in names
            if name not in without
            and self._healthy(name, now_s) > 0
            and self._trunks[name].max_calls > self._lines[name].places.used
            and self._allowed(name, now_s) > 0
        ]

    def adopt(self, dbid: int | None, otherwise: str, group: int = 0) -> Trunk:
        """
        Count a call of an earlier daemon where it is: it has a port, and no start of now.

        ``dbid`` of its trunk; None, or unknown by now: the one named ``otherwise``.
        """
        found = next((trunk for trunk in self._trunks.values() if trunk.dbid == dbid), self._trunks[otherwise])
        self._lines[found.name].places.take(group)
        return found

    def take_port(self, name: str, group: int = 0) -> None:
        """A further call of a conversation: it has a port, and starts when it is admitted (`placed_again`)."""
        self._lines[name].places.take(group)

    def admits(self, name: str, now_s: float) -> bool:
        """Whether a call that has a port of the trunk may start now, as far as its calls per second go."""
        return self._allowed(name, now_s) > 0

    def placed_again(self, name: str) -> None:
        """A call that has the trunk's port sends an INVITE (after a redirect, say): a call start like any other."""
        line = self._lines[name]
        line.bucket.take()
        line.started += 1

    def may_yet_take(self, names: Iterable[str], without: Collection[str], now_s: float) -> bool:
        """Whether a trunk that works and has a port is held up by its calls per second only: waiting helps."""
        return any(
            self._healthy(name, now_s) > 0 and self._trunks[name].max_calls > self._lines[name].places.used
            for name in names
            if name not in without
        )

    def release(self, name: str, group: int = 0) -> None:
        self._lines[name].places.release(group)

    def calls(self, name: str) -> int:
        """Calls in progress."""
        return self._lines[name].places.used

    def _by_weight(self, names: list[str]) -> str:
        """Smooth weighted round robin among those of the lowest priority number."""
        first = min(self._trunks[name].priority for name in names)
        among = [name for name in names if self._trunks[name].priority == first]
        for name in among:
            self._lines[name].credit += self._trunks[name].weight
        best = max(among, key=lambda name: self._lines[name].credit)
        self._lines[best].credit -= sum(self._trunks[name].weight for name in among)
        return best

    def _count(self, name: str, now_s: float, group: int) -> Trunk:
        line = self._lines[name]
        line.places.take(group)
        line.starts.take(group, now_s)
        line.bucket.take()
        line.breaker.started(now_s)
        line.started += 1
        return self._trunks[name]

    def _free(self, name: str, group: int, weight: float, now_s: float) -> int:
        return max(0, self._lines[name].places.free(group, weight, self._trunks[name].max_calls, now_s))

    def _allowed(self, name: str, now_s: float) -> int:
        return self._lines[name].bucket.allowed(self._trunks[name].calls_per_second, now_s)

    # --- health -----------------------------------------------------------------------------------------------------

    def takes_calls(self, name: str, now_s: float) -> bool:
        """Whether the trunk may be given calls now, as far as its health goes."""
        return self._healthy(name, now_s) > 0

    def may_place(self, name: str, now_s: float) -> bool:
        """Whether a call that has taken the trunk may leave now; the one trial of a half-open circuit has, and may."""
        line = self._lines[name]
        self._told(name, line.breaker.look(now_s))
        return line.registered is not False and line.breaker.circuit is not Circuit.OPEN

    def closed(self, name: str) -> bool:
        """Nothing is known against the trunk."""
        return self._lines[name].breaker.circuit is Circuit.CLOSED and self._lines[name].registered is not False

    def is_silent(self, name: str) -> bool:
        """Nothing comes back from the trunk, to calls nor to probes."""
        breaker = self._lines[name].breaker
        return breaker.circuit is Circuit.OPEN and breaker.silent

    def has_worked_since(self, name: str, at_s: float) -> bool:
        """Whether a call has got through the trunk since then."""
        return self._lines[name].worked_s >= at_s

    def why(self, name: str) -> str:
        """What keeps calls off the trunk; empty: nothing does."""
        line = self._lines[name]
        return f"is not registered: {line.registration}" if line.registered is False else line.breaker.why

    def refuses_only(self, record: tuple[int, int], name: str, found: Blame, now_s: float) -> bool:
        """
        Note that a trunk has failed a record (list, id); whether that is the number's trouble, not the trunk's.

        It is when a trunk has failed it before, and this one has worked for others since. Where there are no others, or
        too few to tell, a number that is refused for the REFUSED_TIMESth time has had its chances.
        """
        before_s, times = self._refused.pop(record, (now_s, 0))
        times += found is Blame.UNCLEAR and self.closed(name)
        if self._lines[name].worked_s > before_s or times >= REFUSED_TIMES:
            return True
        self._refused[record] = before_s, times
        while len(self._refused) > REFUSED_KEPT:
            self._refused.popitem(last=False)
        return False

    def _healthy(self, name: str, now_s: float) -> int:
        line = self._lines[name]
        if line.registered is False:
            return 0
        self._told(name, line.breaker.look(now_s))
        return min(NO_LIMIT, int(min(line.breaker.allowed(now_s), NO_LIMIT)))

    def progressed(self, name: str, now_s: float) -> None:
        """A call rings, or has been answered: once for each call."""
        self._lines[name].worked_s = now_s
        self._told(name, self._lines[name].breaker.worked(now_s))

    def ended(
        self, name: str, ended: LegEnded, age_s: float, now_s: float, record: tuple[int, int], *, gone: bool = False
    ) -> Blame:
        """
        A call to a record (list, id) has ended that neither rang nor was answered; whose fault that was.

        ``gone``: it was given up because the trunk is.
        """
        found, line = Blame.TRUNK if gone else blame(ended, age_s), self._lines[name]
        if found is Blame.CALLEE:
            line.worked_s = now_s
            self._told(name, line.breaker.worked(now_s))
        elif found is Blame.UNCLEAR:
            line.failed += 1
            why = why_failed(ended)
            log.info("trunk.call_refused", trunk=name, why=why, in_state=line.breaker.circuit.value)
            known = record in self._refused and line.worked_s > self._refused[record][0]
            self._told(name, line.breaker.refused(now_s, f"{record}", why, known=known))
        elif found is Blame.TRUNK:
            line.failed += 1
            why, silent = why_failed(ended), not ended.responded
            log.warning("trunk.call_failed", trunk=name, why=why, in_state=line.breaker.circuit.value)
            self._told(name, line.breaker.failed(now_s, why, ended.retry_after_s, silent=silent))
        return found

    def moved(self, name: str) -> None:
        """A call that this trunk failed has been given to another one."""
        self._lines[name].moved += 1

    def probed(self, name: str, now_s: float, rtt_s: float) -> None:
        """OPTIONS was answered."""
        self._lines[name].rtt_s = rtt_s
        self._told(name, self._lines[name].breaker.probed(now_s))

    def unanswered(self, name: str, now_s: float, why: str) -> bool:
        """
        A probe was not answered; whether that says that the trunk is gone.

        Some carriers ignore OPTIONS: of one that never answered any, but calls, silence means nothing.
        """
        breaker = self._lines[name].breaker
        if breaker.heard and not breaker.answers_options:
            return False
        self._told(name, breaker.gone(now_s, why))
        return True

    def registration(self, name: str, good: bool | None, why: str = "") -> None:
        """What the registrar says; None: none is needed. Without a registration the trunk gets no calls."""
        line = self._lines[name]
        if (line.registered, line.registration) == (good, why):
            return
        line.registered, line.registration = good, why
        tell = log.info if good is not False else log.warning
        tell("trunk.registration", trunk=name, registered=good, why=why)
        self.on_change(name)

    def states(self, now_s: float) -> list[TrunkState]:
        """All trunks, as they are now."""
        return [self.state(name, now_s) for name in self._trunks]

    def state(self, name: str, now_s: float) -> TrunkState:
        trunk, line = self._trunks[name], self._lines[name]
        takes, breaker = self.takes_calls(name, now_s), line.breaker
        opened = breaker.circuit is Circuit.OPEN
        return TrunkState(
            dbid=trunk.dbid,
            name=name,
            priority=trunk.priority,
            weight=trunk.weight,
            calls=line.places.used,
            max_calls=trunk.max_calls,
            circuit=breaker.circuit,
            takes_calls=takes,
            why=self.why(name),
            again_in_s=max(0.0, breaker.until_s - now_s) if opened else 0.0,
            registered=line.registered,
            started=line.started,
            failed=line.failed,
            moved=line.moved,
            rtt_s=line.rtt_s,
        )

    def _told(self, name: str, change: Change | None) -> None:
        if change is None:
            return
        tell = log.info if change.circuit is Circuit.CLOSED else log.warning
        tell("trunk.circuit", trunk=name, circuit=change.circuit.value, why=change.why)
        self.on_change(name)
