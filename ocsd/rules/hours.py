"""When the records of one calling list may be dialed: everything that the clock and the calendar have a say in.

Four things must be open at once:
- the record's own daily window, on the clocks of its zone (its time zone object, else the list's);
- with `strictest_zone`, the same window on the clocks of every zone that its number may lie in;
- each preset of legal calling hours that the list names, in the same zones;
- business hours, when the list has a holiday or weekday table, in the record's zone.

`closed` is asked for every record when it is buffered and again before the INVITE. Records of a list share few windows
and zones, and an answer holds for hours; so the spell around the last question is kept for each combination, and most
questions cost one look-up and two comparisons.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from ocsd.config.objects import CallingList, Configuration
from ocsd.config.options import did_you_mean
from ocsd.model.enums import DayRange
from ocsd.model.errors import ConfigError, InvariantError
from ocsd.model.records import CallingRecord, Refusal
from ocsd.rules.numbers import number_zones
from ocsd.rules.presets import CallingHours, all_calling_hours
from ocsd.rules.stat_tables import stat_tables_of
from ocsd.rules.windows import (
    DAY_S,
    Gate,
    Span,
    common_spell,
    daily_gate,
    daily_spans,
    next_common_opening,
    spans_in_words,
    utc,
    whole_second_after,
    whole_second_before,
)

KEPT_SPELLS: Final = 8192
"""Combinations of window and zones whose spell is kept; past it all are dropped and found again (some 20 us each)."""


class _Key(NamedTuple):
    """All that the answer depends on, besides the list."""

    tz_dbid: int
    from_s: int
    till_s: int
    number_zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """From ``since_s`` up to ``until_s`` (Unix time) the answer is the same."""

    since_s: int
    until_s: int
    is_open: bool
    opening_s: int | None
    """Next opening of a closed spell; None: none within `HORIZON_S`."""


class ConditionKind(Enum):
    WINDOW = "window"
    """The record's own daily window."""
    LEGAL_HOURS = "legal_hours"
    BUSINESS_HOURS = "business_hours"


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """
    One of the conditions that must be met at once, at one instant.

    Attributes:
        preset: id of the legal hours; empty for the other kinds.
        by_number: the zone is one in which the number may lie, not the record's own.
        local: the instant on the clocks of ``zone``.
        hours: when it is met on that local day, ``08:00-21:00``.
        opening: when it is met next, for itself (aware UTC); None: it is met now, or not within 400 days.
    """

    kind: ConditionKind
    preset: str
    zone: str
    by_number: bool
    local: datetime
    hours: str
    is_open: bool
    why: str
    opening: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Condition:
    """A gate, and what is said of it."""

    kind: ConditionKind
    gate: Gate
    why: Callable[[datetime, str], str]
    """From the local time (in the gate's zone) and "inside" or "outside" to a sentence."""
    preset: str = ""
    by_number: bool = False


class ListHours:
    """
    `ocsd.rules.contract.Hours` of one calling list. Pure but for its memory of answers; may be shared by threads.

    Args:
        config: as the loader has checked it.

    Raises:
        ConfigError: the list names calling hours that no preset has (the loader does not know them).
    """

    def __init__(self, config: Configuration, calling_list: CallingList) -> None:
        if problems := hours_problems(calling_list):
            raise ConfigError(problems)
        self._zones = {zone.dbid: ZoneInfo(zone.zone) for zone in config.time_zones}
        self._fallback = next((ZoneInfo(o.zone) for o in config.time_zones if o.name == calling_list.time_zone), None)
        self._presets = [all_calling_hours()[name] for name in dict.fromkeys(calling_list.calling_hours)]
        self._tables = stat_tables_of(config, calling_list)
        self._strictest = calling_list.strictest_zone
        self._known: dict[_Key, _Known] = {}

    def zone_of(self, record: CallingRecord) -> ZoneInfo | None:
        """The record's own zone, else the list's; None: neither is known, and the record is never dialed."""
        return self._zones.get(record.tz_dbid, self._fallback)

    def closed(self, record: CallingRecord, at: datetime) -> Refusal | None:
        """None: the record may be dialed at ``at`` (aware). Else why not, and its next opening."""
        if self.zone_of(record) is None:
            return Refusal(f"time zone {record.tz_dbid} is unknown and the list has none")
        at_s = _unix(at, whole_second_before)
        known = self._around(record, at_s)
        if known.is_open:
            return None
        why = next(
            condition.why(datetime.fromtimestamp(at_s, condition.gate.zone), "outside")
            for condition in self._conditions(self._key(record))
            if not condition.gate.spell(at_s).is_open
        )
        if known.opening_s is None:
            return Refusal(f"{why}; it does not open within 400 days")
        return Refusal(why, utc(known.opening_s))

    def opening(self, record: CallingRecord, after: datetime) -> datetime | None:
        """The earliest open instant (aware UTC, whole seconds) at or after ``after``; None: none in 400 days."""
        if self.zone_of(record) is None:
            return None
        after_s = _unix(after, whole_second_after)
        known = self._around(record, after_s)
        if known.is_open:
            return utc(after_s)
        return None if known.opening_s is None else utc(known.opening_s)

    def conditions(self, record: CallingRecord, at: datetime) -> tuple[ConditionVerdict, ...]:
        """Every condition at ``at`` (aware), in the order in which `closed` names them; none without a zone."""
        if self.zone_of(record) is None:
            return ()
        at_s = _unix(at, whole_second_before)
        return tuple(_judged(condition, at_s) for condition in self._conditions(self._key(record)))

    def shut_zones(self, at: datetime) -> frozenset[int]:
        """
        DBIDs of the time zone objects in which the list's own hours (legal, business) are closed at ``at``, whatever
        the window of a record: nothing there need be looked at.
        """
        at_s = _unix(at, whole_second_before)
        whole_days = (_Key(dbid, 0, DAY_S, ()) for dbid in self._zones)
        return frozenset(key.tz_dbid for key in whole_days if not self._spell_of(key, at_s).is_open)

    def day_range(self, record: CallingRecord, at: datetime) -> DayRange | None:
        """Where ``at`` lies in the list's statistical tables, in the record's zone; None: no tables, or no zone."""
        zone = self.zone_of(record)
        if self._tables is None or zone is None:
            return None
        local = datetime.fromtimestamp(_unix(at, whole_second_before), zone)
        return self._tables.plan(local.date()).range_at(_second_of_day(local))

    def _key(self, record: CallingRecord) -> _Key:
        zones = number_zones(record.contact_info) if self._strictest else ()
        return _Key(record.tz_dbid, record.daily_from_s, record.daily_till_s, zones)

    def _around(self, record: CallingRecord, at_s: int) -> _Known:
        return self._spell_of(self._key(record), at_s)

    def _spell_of(self, key: _Key, at_s: int) -> _Known:
        known = self._known.get(key)
        if known is None or not known.since_s <= at_s < known.until_s:
            known = _ask([condition.gate for condition in self._conditions(key)], at_s)
            if len(self._known) >= KEPT_SPELLS:
                self._known.clear()
            self._known[key] = known
        return known

    def _conditions(self, key: _Key) -> list[_Condition]:
        own = self._zones.get(key.tz_dbid, self._fallback)
        if own is None:
            raise InvariantError(f"no zone for {key}")
        places = [(own, False)]
        places += [(ZoneInfo(zone), True) for zone in key.number_zones if zone != own.key]
        conditions = [_window(zone, by_number, key) for zone, by_number in places]
        conditions += [_legal(zone, by_number, preset) for preset in self._presets for zone, by_number in places]
        if self._tables is not None:
            conditions.append(self._business(own))
        return conditions

    def _business(self, zone: ZoneInfo) -> _Condition:
        tables = self._tables
        assert tables is not None

        def why(local: datetime, side: str) -> str:
            plan = tables.plan(local.date())
            range_ = plan.range_at(_second_of_day(local)).name
            return f"{_clock(local)} is {side} the list's business hours, {_words(plan.business)} ({range_})"

        return _Condition(ConditionKind.BUSINESS_HOURS, Gate(zone, tables.spans_on), why)


def hours_problems(calling_list: CallingList) -> list[str]:
    """What keeps `ListHours` from being made for the list, one sentence each."""
    known = all_calling_hours()
    return [
        f'calling_hours of calling list "{calling_list.name}": there is no preset called "{name}"'
        f"{did_you_mean(name, tuple(known)) or '; `ocsd rules list` shows all.'}"
        for name in calling_list.calling_hours
        if name not in known
    ]


def _ask(gates: list[Gate], at_s: int) -> _Known:
    spell = common_spell(gates, at_s)
    if spell.is_open:
        return _Known(at_s, spell.until_s, True, at_s)
    opening_s = next_common_opening(gates, spell.until_s)
    # "Never" is asked again after a day: the horizon moves on, and tables may open beyond it.
    return _Known(at_s, at_s + DAY_S if opening_s is None else opening_s, False, opening_s)


def _judged(condition: _Condition, at_s: int) -> ConditionVerdict:
    gate = condition.gate
    local = datetime.fromtimestamp(at_s, gate.zone)
    is_open = gate.spell(at_s).is_open
    opening_s = None if is_open else next_common_opening((gate,), at_s)
    return ConditionVerdict(
        kind=condition.kind,
        preset=condition.preset,
        zone=gate.zone.key,
        by_number=condition.by_number,
        local=local,
        hours=_words(tuple(gate.spans_on(local.date()))),
        is_open=is_open,
        why=condition.why(local, "inside" if is_open else "outside"),
        opening=None if opening_s is None else utc(opening_s),
    )


def _where(by_number: bool) -> str:
    return ", where the number belongs," if by_number else ""


def _window(zone: ZoneInfo, by_number: bool, key: _Key) -> _Condition:
    def why(local: datetime, side: str) -> str:
        words = _words(daily_spans(key.from_s, key.till_s))
        return f"{_clock(local)}{_where(by_number)} is {side} the record's window, {words}"

    return _Condition(ConditionKind.WINDOW, daily_gate(zone, key.from_s, key.till_s), why, by_number=by_number)


def _legal(zone: ZoneInfo, by_number: bool, preset: CallingHours) -> _Condition:
    def why(local: datetime, side: str) -> str:
        hours = _words(preset.spans_on(local.date()))
        said = f"{_clock(local)}{_where(by_number)} is {side} the legal hours {preset.id}"
        return f"{said}, {hours} that day ({preset.source})"

    return _Condition(ConditionKind.LEGAL_HOURS, Gate(zone, preset.spans_on), why, preset.id, by_number)


def _unix(at: datetime, rounded: Callable[[datetime], int]) -> int:
    if at.tzinfo is None:
        raise InvariantError(f"{at!r} has no time zone")
    return rounded(at)


def _second_of_day(local: datetime) -> int:
    return local.hour * 3600 + local.minute * 60 + local.second


def _clock(local: datetime) -> str:
    return f"{local:%A %H:%M} in {local.tzinfo}"


def _words(spans: tuple[Span, ...]) -> str:
    return spans_in_words(spans) if spans else "no time at all"
