"""
The oracle of the virtual weeks: every row as it must be, and when it may be dialed, by plain means of its own.

Windows are looked up on clocks read at every quarter of an hour (all edges and changes of this world lie on one), caps
by counting calls in a sliding window, treatments by `treatment_oracle`. Nothing here imports what it checks.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from math import ceil
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers.timezone import time_zones_for_number

from tests.ocsd import weeks_world as world
from tests.ocsd.treatment_oracle import Next, oracle_next

QUARTER_S = 900
DAY_S = 86_400
HORIZON_S = 400 * DAY_S
"""What does not open within it counts as never open (documented at ocsd.rules.windows)."""
NEVER_S = DAY_S
"""What never opens is looked at again a day later (documented at the supply)."""

LIVE, UPDATED, STALE, CANCELED = 1, 3, 4, 5
GENERAL, CAMPAIGN_RESCHEDULED, PERSONAL_RESCHEDULED, PERSONAL_CALLBACK, CAMPAIGN_CALLBACK, NO_CALL = 2, 3, 4, 5, 6, 7
PRIORITY = {CAMPAIGN_CALLBACK: 3, CAMPAIGN_RESCHEDULED: 2, GENERAL: 1}
CANCELLED_RESULT, DO_NOT_CALL_RESULT = 52, 51


@dataclass(slots=True, eq=False)
class Row:
    """Field names as in CallingRecord, so that `treatment_oracle` can read it. ``status`` LIVE: Ready or Retrieved."""

    list_dbid: int
    record_id: int
    contact_info: str
    customer: str | None
    chain_n: int
    tz_dbid: int
    daily_from_s: int
    daily_till_s: int
    chain: "ChainModel"
    hours: int
    own_hours: int
    """Numbers that `Clocks` gives: of all that decides about its hours, of what its own zone decides alone."""
    status: int = LIVE
    record_type: int = GENERAL
    call_result: int = 28
    attempt: int = 0
    dial_sched_time: int | None = None
    treatments: str | None = None
    agent_id: str | None = None

    def values(self) -> tuple:
        """All that calls change, in the order of `weeks_stores.COLUMNS`."""
        status = self.status
        if status == LIVE and self.chain.claimed:
            status = 2
        return (
            status, self.record_type, self.call_result, self.attempt, self.dial_sched_time, self.treatments,
            self.agent_id,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class ChainModel:
    """
    Attributes:
        named: record_id of the one that must be dialed next; None: any that is open, in order (General).
        claimed: its live rows are Retrieved.
        calling: record_id on the line.
        since_s: when it was last decided when the chain goes on.
        place: (number of its claim, place in it); None: something has moved it since.
    """

    list_dbid: int
    chain_id: int
    rows: list[Row] = field(default_factory=list)
    named: int | None = None
    claimed: bool = False
    calling: int | None = None
    since_s: float = 0.0
    place: tuple[int, int] | None = None

    @property
    def live(self) -> list[Row]:
        return [row for row in self.rows if row.status == LIVE]

    @property
    def waits_for_nobody(self) -> bool:
        """The record that must be dialed next has left the chain."""
        return self.named is not None and all(row.record_id != self.named for row in self.live)

    def candidates(self) -> list[Row]:
        """The rows that may be dialed next, in order: the one that is named, as long as it is there."""
        live = self.live
        return [row for row in live if row.record_id == self.named] or live


class Clocks:
    """When the windows of each kind of row are open."""

    def __init__(self, start: datetime) -> None:
        self._base_s = int(start.timestamp()) // DAY_S * DAY_S - 2 * DAY_S
        self._numbers: dict[tuple, int] = {}
        self._kinds: list[tuple] = []  # zones, whether there are business hours, window
        self._edges: list[list[int]] = []
        self._known_until_s: list[int] = []
        self._moments: dict[float, dict[int, bool]] = {}

    def hours_of(self, new: world.NewRow) -> tuple[int, int]:
        """``hours`` and ``own_hours`` of a row."""
        own = world.ZONES[new.tz_dbid - world.FIRST_ZONE_DBID]
        zones = zones_of_number(new.contact_info) if new.list_dbid == world.STRICT_LIST else ()
        rest = new.list_dbid == world.TABLED_LIST, new.daily_from, new.daily_till
        return self._number(((own, *zones), *rest)), self._number(((own,), *rest))

    def _number(self, kind: tuple) -> int:
        if kind not in self._numbers:
            self._numbers[kind] = len(self._kinds)
            self._kinds.append(kind)
            self._edges.append([])
            self._known_until_s.append(self._base_s)
        return self._numbers[kind]

    def open_at(self, row: Row, at_s: float) -> bool:
        """Read from the clocks, nothing kept."""
        return _open(*self._kinds[row.hours], at_s)

    def was_open(self, hours: int, at_s: float) -> bool:
        """The same, kept for questions about many rows."""
        if (moment := self._moments.get(at_s)) is None:
            if len(self._moments) > 3:
                self._moments.clear()
            moment = self._moments[at_s] = {}
        if (found := moment.get(hours)) is None:
            found = moment[hours] = bisect_right(self._until(hours, at_s), at_s) % 2 == 1
        return found

    def opens_s(self, row: Row, at_s: int) -> int | None:
        """The first open second at or after; None: none within 400 days."""
        looked_s = at_s
        while True:
            edges = self._until(row.hours, looked_s)
            place = bisect_right(edges, at_s)
            if place % 2 == 1:
                return at_s
            if place < len(edges):
                return edges[place]
            if self._known_until_s[row.hours] > at_s + HORIZON_S:
                return None
            looked_s = self._known_until_s[row.hours]

    def _until(self, hours: int, at_s: float) -> list[int]:
        """Edges (opens, closes, opens...) up to a day after ``at_s`` at least."""
        edges, known_s = self._edges[hours], self._known_until_s[hours]
        if known_s <= at_s:
            kind = self._kinds[hours]
            end_s = int(at_s) // DAY_S * DAY_S + 2 * DAY_S
            for quarter_s in range(known_s, end_s, QUARTER_S):
                if _open(*kind, quarter_s) != (len(edges) % 2 == 1):
                    edges.append(quarter_s)
            self._known_until_s[hours] = end_s
        return edges


@cache
def zones_of_number(contact_info: str) -> tuple[str, ...]:
    """Documented at ocsd.rules.numbers: all zones of an area; of numbers without an area only when they are few."""
    number = phonenumbers.parse(contact_info)
    zones = time_zones_for_number(number)
    return () if len(zones) > 3 and not phonenumbers.is_number_geographical(number) else tuple(zones)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _open(zones: Iterable[str], tabled: bool, from_s: int, till_s: int, at_s: float) -> bool:
    """``zones``: in all of them, the row's own first; business hours, where there are some, in that one."""
    for place, name in enumerate(zones):
        local = datetime.fromtimestamp(at_s, _zone(name))
        second = local.hour * 3600 + local.minute * 60 + local.second
        if not (from_s <= second < till_s if from_s <= till_s else second >= from_s or second < till_s):
            return False
        if tabled and place == 0:
            begins, ends = _business_hours(local.date())
            if not begins * 3600 <= second < ends * 3600:
                return False
    return True


@cache
def _business_hours(day: date) -> tuple[int, int]:
    for name in (day.isoformat(), day.strftime("%m-%d")):
        if name in world.HOLIDAY_HOURS:
            return world.HOLIDAY_HOURS[name]
    if _is_holiday(day):
        return (0, 0)
    return world.WEEKDAY_HOURS.get(day.weekday(), (0, 0))


def _is_holiday(day: date) -> bool:
    from holidays import country_holidays

    return day in country_holidays("US", years=day.year)


def _used_up(row: Row) -> bool:
    """Callbacks are kept however often the record was dialed."""
    return row.attempt >= world.MAX_ATTEMPTS[row.list_dbid] and row.record_type not in (
        PERSONAL_CALLBACK, CAMPAIGN_CALLBACK,
    )  # fmt: skip


class Calls:
    """Who was called when: the caps of the list that has some."""

    def __init__(self) -> None:
        self._phone: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self._customer: dict[str, list[tuple[float, int]]] = defaultdict(list)

    def began(self, row: Row, at_s: float, attempt_id: int) -> None:
        insort(self._phone[row.contact_info], (at_s, attempt_id))
        if row.customer is not None:
            insort(self._customer[row.customer], (at_s, attempt_id))

    def never_left(self, row: Row, at_s: float, attempt_id: int) -> None:
        self._phone[row.contact_info].remove((at_s, attempt_id))
        if row.customer is not None:
            self._customer[row.customer].remove((at_s, attempt_id))

    def refused_until_s(self, row: Row, at_s: float) -> int | None:
        """None: one more call at ``at_s`` keeps both caps."""
        if row.list_dbid != world.CAPPED_LIST:
            return None
        to_phone = self._phone[row.contact_info]
        to_person = to_phone if row.customer is None else self._customer[row.customer]
        until = None
        for (most, period_s), calls in ((world.PHONE_CAP, to_phone), (world.CUSTOMER_CAP, to_person)):
            counted = [call_s for call_s, _ in calls if call_s > at_s - period_s]
            if len(counted) >= most:
                until = max(until or 0, ceil(counted[-most] + period_s))
        return until


class Model:
    """Every chain of one week as it must be."""

    def __init__(self, start: datetime, treatments: dict, *, predictive_callback: bool) -> None:
        self.clocks = Clocks(start)
        self.calls = Calls()
        self.chains: dict[tuple[int, int], ChainModel] = {}
        self.rows: dict[tuple[int, int], Row] = {}
        """By (list DBID, record_id)."""
        self.by_phone: dict[str, list[Row]] = defaultdict(list)
        self.by_customer: dict[str, list[Row]] = defaultdict(list)
        self.forbidden: set[str] = set()
        """Numbers and customers on Do-Not-Call."""
        self.delivered = {PERSONAL_CALLBACK, PERSONAL_RESCHEDULED}
        if not predictive_callback:
            self.delivered.add(CAMPAIGN_CALLBACK)
        self._treatments = treatments
        self._alive: list[ChainModel] | None = None

    def add(self, new: world.NewRow) -> None:
        key = (new.list_dbid, new.chain_id)
        if (chain := self.chains.get(key)) is None:
            chain = self.chains[key] = ChainModel(*key)
        row = Row(
            new.list_dbid, new.record_id, new.contact_info, new.customer, new.chain_n, new.tz_dbid, new.daily_from,
            new.daily_till, chain, *self.clocks.hours_of(new), dial_sched_time=new.dial_sched_time,
            attempt=new.attempt,
        )  # fmt: skip
        chain.rows.append(row)
        self.rows[new.list_dbid, new.record_id] = row
        self.by_phone[new.contact_info].append(row)
        if new.customer is not None:
            self.by_customer[new.customer].append(row)

    def _going_on(self) -> list[ChainModel]:
        """The chains that have a live row: none comes back to life."""
        if self._alive is None:
            self._alive = list(self.chains.values())
        self._alive = [chain for chain in self._alive if any(row.status == LIVE for row in chain.rows)]
        return self._alive

    # --- may it be dialed -----------------------------------------------------------------------------------------

    def is_forbidden(self, row: Row) -> bool:
        return row.contact_info in self.forbidden or row.customer in self.forbidden

    def why_not(self, row: Row, at_s: float, *, with_caps: bool = True) -> tuple[str, int | None] | None:
        """The first thing that forbids dialing, and until when (None: for ever); None: nothing does."""
        if row.status != LIVE:
            return "not live", None
        if self.is_forbidden(row):
            return "Do-Not-Call", None
        if _used_up(row):
            return "attempts", None
        if (row.dial_sched_time or 0) > at_s:
            return "schedule", row.dial_sched_time
        if not self.clocks.open_at(row, at_s):
            return "window", self.clocks.opens_s(row, ceil(at_s))
        if with_caps and (until_s := self.calls.refused_until_s(row, at_s)) is not None:
            return "cap", until_s
        return None

    def claimable(self, row: Row, at_s: float) -> bool:
        """By the gates of a claim: attempts, schedule, and the hours of its own zone; the others follow later."""
        return not _used_up(row) and (row.dial_sched_time or 0) <= at_s and self.clocks.was_open(row.own_hours, at_s)

    def best_claims(self, list_dbid: int, types: Sequence[int], at_s: float) -> list[ChainModel]:
        """Every chain that a claim could bring, in order: by type, by the schedule and id of the best row."""
        found: list[tuple[int, int, int, ChainModel]] = []
        for chain in self._going_on():
            if chain.list_dbid != list_dbid or chain.claimed:
                continue
            ranks = [
                (row.dial_sched_time or 0, row.record_id) for row in chain.candidates() if self.claimable(row, at_s)
            ]
            if ranks and (kind := chain.live[0].record_type) in types:
                found.append((types.index(kind), *min(ranks), chain))
        return [entry[-1] for entry in sorted(found, key=lambda entry: entry[:3])]

    def forgotten(self, at_s: float, free_since_s: float, patience_s: float) -> Iterator[tuple[Row, str]]:
        """
        Rows that could have been dialed (or delivered) all through the last ``patience_s`` and were not.

        Dialed types count only when capacity was free all that time.
        """
        since_s = at_s - patience_s
        for chain in self._going_on():
            if chain.calling is not None or chain.since_s > since_s:
                continue
            for row in chain.candidates():
                if (row.dial_sched_time or 0) > since_s or self.is_forbidden(row) or _used_up(row):
                    continue
                if row.record_type not in self.delivered and free_since_s > since_s:
                    continue
                moments = (since_s, since_s + patience_s / 2, at_s)
                if all(self.clocks.was_open(row.hours, s) for s in moments) and not any(
                    self.calls.refused_until_s(row, s) for s in moments
                ):
                    yield row, f"could be dialed since {datetime.fromtimestamp(since_s, UTC)}"

    # --- what happens to it ---------------------------------------------------------------------------------------

    def treat(self, row: Row, result: int, now_s: float, **how) -> Next:
        """What `treatment_oracle` says; the row counts this attempt already. Applied to the rows."""
        chain = row.chain
        live = chain.live
        told = oracle_next(
            self._treatments[row.list_dbid], live, live.index(row), result, now_s,
            max_attempts=world.MAX_ATTEMPTS[row.list_dbid], opens_s=self.clocks.opens_s,
            zone_of=lambda r: _zone(world.ZONES[r.tz_dbid - world.FIRST_ZONE_DBID]), **how,
        )  # fmt: skip
        row.call_result = result
        if told.place is None:
            self.end(row, told.status, result if told.result_for_chain else None)
        else:
            for each in live:
                if told.result_for_chain:
                    each.call_result = result
            self.go_on(chain, told.record_type, told.at_s, told.state, live[told.place].record_id, now_s)
        return told

    def end(self, row: Row, status: int, result_for_all: int | None = None, rest: int = UPDATED) -> None:
        """The chain ends; ``status`` is that of ``row``."""
        for each in row.chain.live:
            if each is not row and result_for_all is not None:
                each.call_result = result_for_all
            each.status = status if each is row else rest
        row.chain.claimed = False

    def go_on(self, chain: ChainModel, record_type: int, at_s: int | None, state: str | None, named, now_s) -> None:
        for each in chain.live:
            each.record_type, each.dial_sched_time, each.treatments = record_type, at_s, state
        chain.named, chain.since_s, chain.claimed = named, now_s, False

    def withdraw(
        self, meant: Iterable[Row], *, by_handle: bool, cancel: bool, all_chain: bool, now_s: float
    ) -> set[tuple[int, int]]:
        """
        Requests not to be called, and cancellations; returns (list, record_id) of every row that changes.

        A handle means its chain even when the row itself has ended; a number or customer means rows that have not.
        """
        changed: set[tuple[int, int]] = set()
        by_chain: dict[tuple[int, int], list[Row]] = defaultdict(list)
        for row in meant:
            if row.status == LIVE or (by_handle and all_chain):
                by_chain[row.list_dbid, row.chain.chain_id].append(row)
        for key, seeds in by_chain.items():
            chain = self.chains[key]
            for row in chain.live:
                if all_chain or row in seeds:
                    row.status = CANCELED if cancel else UPDATED
                    row.record_type = row.record_type if cancel else NO_CALL
                    row.call_result = CANCELLED_RESULT if cancel else DO_NOT_CALL_RESULT
                elif cancel:
                    row.status = UPDATED
                else:
                    continue
                changed.add((row.list_dbid, row.record_id))
            chain.since_s = now_s
        return changed


def utc(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
