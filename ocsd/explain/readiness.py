"""
Which chains of a list could be dialed, now and at later instants, if nothing were dialed meanwhile. Pure.

What a claim and the sift behind it would do with each chain (`gates.why_not_dialable`, `RecordSupply`) is done here for
many instants at once: a row's answer at all of them is one integer, a bit for each instant, found from few distinct
pieces (window and zone, schedule, cap). The rules themselves are asked, never repeated: `ListHours`, `local_times`,
`used_up`, `named_chain_n`, `turn`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from ocsd.config.objects import CallingList, Configuration
from ocsd.dnc.index import number_of
from ocsd.explain.listed import ListedChain
from ocsd.lists import counting
from ocsd.lists.gates import DIALED_TYPES, TYPE_ORDER, local_times, named_chain_n, used_up, window_open
from ocsd.model.enums import RecordType
from ocsd.model.records import CallingRecord, Chain, Refusal
from ocsd.rules.hours import ListHours
from ocsd.rules.numbers import number_zones
from ocsd.treatments.state import turn

LEGAL_HOURS: Final = "outside the legal hours"
BUSINESS_HOURS: Final = "outside business hours"
FORBIDDEN_NUMBER: Final = "number on Do-Not-Call"
FORBIDDEN_CUSTOMER: Final = "customer on Do-Not-Call"
NUMBER_ZONES: Final = "closed where the number belongs"
CAPPED: Final = "attempt cap"

PERSONAL: Final = (RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED)

KEPT_SKIES: Final = 65_536
"""Combinations of window and zones whose hours are kept; past it all are dropped and found again."""

Capped = Callable[[Sequence[CallingRecord]], Mapping[int, Refusal]]
"""Which records a cap holds back at the first instant, by record_id."""

Forbidden = Callable[[Sequence[CallingRecord]], Mapping[int, str]]
"""Which records are on Do-Not-Call, by record_id: `FORBIDDEN_NUMBER` or `FORBIDDEN_CUSTOMER`."""


@dataclass(slots=True)
class ZoneCount:
    """
    Rows by the time zone that they are judged in.

    Attributes:
        rows: that wait to be dialed.
        ready: of them, those that may be dialed now.
        closed: those that only the hours hold back.
        opens_at: the earliest opening among these.
    """

    rows: int = 0
    ready: int = 0
    closed: int = 0
    opens_at: datetime | None = None


@dataclass(slots=True)
class Readings:
    """What `Readiness` has counted; ``ready_at`` and ``for_agents_at`` are chains by instant."""

    rows: int = 0
    chains: int = 0
    ready_rows: int = 0
    held_back: Counter[str] = field(default_factory=Counter)
    zones: dict[str, ZoneCount] = field(default_factory=dict)
    on_do_not_call: int = 0
    unreadable: int = 0
    _masks: Counter[int] = field(default_factory=Counter)
    _agents: Counter[int] = field(default_factory=Counter)

    def ready_at(self, place: int) -> int:
        """Chains that any agent may take at the ``place``-th instant."""
        return sum(count for mask, count in self._masks.items() if mask >> place & 1)

    def for_agents_at(self, place: int) -> int:
        """Chains that wait for one agent and may go to the desktop then."""
        return sum(count for mask, count in self._agents.items() if mask >> place & 1)


@dataclass(frozen=True, slots=True)
class _Sky:
    """
    A window in its zones.

    Attributes:
        claimed: bit by instant: a claim would take it.
        open: all hours are open, those of the number's zones too.
        reason: what is closed at the first instant; None: nothing.
        opens_at: next opening; None: none is known.
    """

    claimed: int
    open: int
    reason: str | None
    opens_at: datetime | None
    zone: str


@dataclass(slots=True)
class _Judged:
    """``waits``: for which instants the claim would take it, its own gates alone; ``open``: the sift lets it pass."""

    record: CallingRecord
    sky: _Sky
    reason: str | None
    waits: int
    open: int
    forbidden: str | None = None


class Readiness:
    """
    Counts the chains that are given to `add`, block by block.

    Args:
        instants: aware, ascending; the first is now.
        note: called with each row and what holds it back now.
    """

    def __init__(
        self,
        config: Configuration,
        calling_list: CallingList,
        instants: Sequence[datetime],
        *,
        forbidden: Forbidden,
        capped: Capped,
        note: Callable[[CallingRecord, str | None], object] | None = None,
    ) -> None:
        self.found = Readings()
        self._note = note
        self._list = calling_list
        self._instants = instants
        self._stamps = [at.timestamp() for at in instants]
        self._everything = (1 << len(instants)) - 1
        self._times = [local_times(config, calling_list, at) for at in instants]
        self._hours = ListHours(config, calling_list)
        # One rule at a time, to tell which of them it is; in the order in which `ocsd list stats` names them.
        plain = calling_list.model_copy(
            update={"calling_hours": (), "holiday_table": "", "weekday_table": "", "strictest_zone": False}
        )
        tables = {"holiday_table": calling_list.holiday_table, "weekday_table": calling_list.weekday_table}
        legal = plain.model_copy(update={"calling_hours": calling_list.calling_hours})
        self._layers = (
            (LEGAL_HOURS, ListHours(config, legal), True),
            (BUSINESS_HOURS, ListHours(config, plain.model_copy(update=tables)), True),
            (counting.CLOSED, ListHours(config, plain), False),
        )
        self._forbidden, self._capped = forbidden, capped
        self._skies: dict[tuple[int, int, int, tuple[str, ...]], _Sky] = {}

    def add(self, block: Iterable[ListedChain]) -> None:
        """Judge whole chains."""
        chains = [(listed, [self._judge(record) for record in listed.chain.records]) for listed in block]
        records = [record for listed, _ in chains for record in listed.chain.records]
        forbidden = self._forbidden(records)
        self.found.on_do_not_call += len(forbidden)
        self.found.unreadable += sum(not number_of(record.contact_info) for record in records)
        asked: list[_Judged] = []
        for listed, rows in chains:
            for row in rows:
                row.forbidden = forbidden.get(row.record.record_id)
                if row.open and row.forbidden is None and not listed.claimed:
                    asked.append(row)
        capped = self._capped([row.record for row in asked]) if asked else {}
        for row in asked:
            if (refusal := capped.get(row.record.record_id)) is not None:
                row.open &= self._from(refusal.until.timestamp() if refusal.until is not None else float("inf"))
        for listed, rows in chains:
            self._count(listed, rows, capped.keys())

    def _judge(self, record: CallingRecord) -> _Judged:
        sky = self._sky(record)
        due_s = record.dial_sched_time or 0
        due = self._everything if due_s <= self._stamps[0] else self._from(due_s)
        reason, mine = None, True
        if record.record_type in PERSONAL and not record.agent_id:
            # Nobody would get its chain; one that is claimed for another agent's row may be delivered for it.
            reason, mine = counting.NO_AGENT, False
        elif used_up(record.record_type, record.attempt, self._list.max_attempts):
            reason, due = counting.USED_UP, 0
        elif not due & 1:
            reason = counting.LATER
        elif sky.reason is not None and sky.reason != NUMBER_ZONES:
            reason = sky.reason
        return _Judged(record, sky, reason, sky.claimed & due if mine else 0, sky.open & due)

    def _from(self, at_s: float) -> int:
        """The bits of the instants at or after ``at_s``."""
        return self._everything >> (place := bisect_left(self._stamps, at_s)) << place

    # --- chains ---------------------------------------------------------------------------------------------------

    def _count(self, listed: ListedChain, rows: list[_Judged], capped: Collection[int]) -> None:
        found = self.found
        found.chains += 1
        next_ones: Collection[int] | None = None
        taken = False
        if not listed.claimed and len(rows) == 1:
            self._count_single(rows[0])
        elif not listed.claimed:
            next_ones, taken = self._count_chain(listed.chain, rows)
        for place, row in enumerate(rows):
            found.rows += 1
            zone = found.zones.get(row.sky.zone)
            if zone is None:
                zone = found.zones[row.sky.zone] = ZoneCount()
            zone.rows += 1
            if listed.claimed:
                reason: str | None = counting.CLAIMED
            elif taken and next_ones is not None and place in next_ones and row.forbidden is None and row.open & 1:
                reason = None
            elif row.reason is not None:
                reason = row.reason
            elif next_ones is not None and place not in next_ones:
                reason = counting.WAITING
            elif row.forbidden is not None:
                reason = row.forbidden
            elif row.sky.reason is not None:
                reason = row.sky.reason
            elif row.record.record_id in capped:
                reason = CAPPED
            else:
                reason = None
            if self._note is not None:
                self._note(row.record, reason)
            if reason is None:
                found.ready_rows += 1
                zone.ready += 1
            else:
                found.held_back[reason] += 1
                if reason == row.sky.reason:
                    zone.closed += 1
                    opens = row.sky.opens_at
                    if opens is not None and (zone.opens_at is None or opens < zone.opens_at):
                        zone.opens_at = opens

    def _count_single(self, row: _Judged) -> None:
        """A chain of one row waits for nobody."""
        if ready := 0 if row.forbidden is not None else row.waits & row.open:
            (self.found._agents if row.record.record_type in PERSONAL else self.found._masks)[ready] += 1

    def _count_chain(self, chain: Chain, rows: list[_Judged]) -> tuple[Collection[int], bool]:
        """Places of the rows whose turn it is at the first instant, and whether a claim takes the chain then."""
        held = self._held(rows)
        waits = [0 if place in held else row.waits for place, row in enumerate(rows)]
        left = tuple(row.record for row in rows if row.forbidden is None)
        returned = 0  # instants at which a claim finds none of its kind, and leaves the chain to the other
        live = [place for place, row in enumerate(rows) if row.forbidden is None]
        still_held = {live[at] for at in self._held([rows[place] for place in live])}
        place_of = {row.record.record_id: place for place, row in enumerate(rows)}
        turn_now: Collection[int] = [place for place in range(len(rows)) if place not in held]
        taken, open_places = False, self._everything
        for kinds, masks in ((TYPE_ORDER, self.found._masks), (PERSONAL, self.found._agents)):
            ready = 0
            for kind in kinds:
                for place, row in enumerate(rows):
                    if row.record.record_type is not kind or not (new := waits[place] & open_places):
                        continue
                    open_places &= ~new
                    of_row = replace(chain, position=place)
                    places = [place_of[left[at].record_id] for at in turn(of_row, left, kinds)]
                    if not places:
                        returned |= new
                        continue
                    if new & 1:
                        taken = True
                        turn_now = places + [at for at, other in enumerate(rows) if other.forbidden is not None]
                    passed = 0
                    for at in places:
                        passed |= rows[at].open
                    ready |= new & passed
            if ready:
                masks[ready] += 1
            open_places |= returned
            for place, row in enumerate(rows):
                if row.forbidden is not None:
                    waits[place] &= ~returned
                elif place not in still_held:
                    waits[place] |= row.waits & returned
        return turn_now, taken

    @staticmethod
    def _held(rows: list[_Judged]) -> set[int]:
        """Rows whose treatment state names another row that is there."""
        held = set()
        for place, row in enumerate(rows):
            named = named_chain_n(row.record)
            if named is None or named == row.record.chain_n:
                continue
            if any(other.record.chain_n == named and other.record.record_type in DIALED_TYPES for other in rows):
                held.add(place)
        return held

    # --- hours ----------------------------------------------------------------------------------------------------

    def _sky(self, record: CallingRecord) -> _Sky:
        zones = number_zones(record.contact_info) if self._list.strictest_zone else ()
        key = (record.tz_dbid, record.daily_from_s, record.daily_till_s, zones)
        sky = self._skies.get(key)
        if sky is None:
            if len(self._skies) >= KEPT_SKIES:
                self._skies.clear()
            sky = self._skies[key] = self._look_up(record)
        return sky

    def _look_up(self, record: CallingRecord) -> _Sky:
        zone = self._hours.zone_of(record)
        if zone is None:
            return _Sky(0, 0, counting.NO_ZONE, None, f"unknown ({record.tz_dbid})")
        claimed = opened = 0
        for place, (at, times) in enumerate(zip(self._instants, self._times, strict=True)):
            local_s = times.of(record.tz_dbid)
            if local_s is not None and window_open(local_s, record.daily_from_s, record.daily_till_s):
                claimed |= 1 << place
            if self._hours.closed(record, at) is None:
                opened |= 1 << place
        now = self._instants[0]
        if opened & 1:
            return _Sky(claimed, opened, None, None, zone.key)
        all_day = replace(record, daily_from_s=0, daily_till_s=86_400)
        reason = next(
            (
                name
                for name, hours, whole_day in self._layers
                if hours.closed(all_day if whole_day else record, now) is not None
            ),
            NUMBER_ZONES,
        )
        return _Sky(claimed, opened, reason, self._hours.opening(record, now), zone.key)


def hourly(now: datetime, hours: int = 24) -> list[datetime]:
    """``now``, and every full hour of the next ``hours``."""
    first_s = (int(now.timestamp()) // 3600 + 1) * 3600
    return [now, *(datetime.fromtimestamp(first_s + 3600 * hour, now.tzinfo) for hour in range(hours))]
