"""Daily windows on the clocks of a time zone: is one open, and when does it open next.

A window is [from, till) by the wall clock, in seconds since midnight. What the clock never shows (the hour skipped in
spring) is never open; what it shows twice (the hour repeated in autumn) is open both times. So a window that begins
inside the skipped hour opens at its end, if it reaches that far.

The exact way to look ahead: between two changes of a zone's offset from UTC its clock runs evenly, so the next edge of
a window is plain arithmetic, valid until the offset changes; from there the question is asked anew. `Gate.spell` is
that one step. Everything else walks along spells: a gate that is closed until some instant keeps every intersection
with it closed until then.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

Span: TypeAlias = tuple[int, int]
"""[from, till) in seconds since midnight, 0 <= from < till <= 86400."""

DAY_S: Final = 86_400
HORIZON_S: Final = 400 * DAY_S
"""How far ahead an opening is looked for: past every yearly holiday, short of forever."""


def daily_spans(from_s: int, till_s: int) -> tuple[Span, ...]:
    """A daily window as spans of one day; from > till passes midnight, from == till never opens."""
    if from_s < till_s:
        return ((from_s, till_s),)
    if from_s == till_s:
        return ()
    return tuple(span for span in ((0, till_s), (from_s, DAY_S)) if span[0] < span[1])


def merged_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same seconds as sorted spans that neither overlap nor touch."""
    merged: list[Span] = []
    for from_s, till_s in sorted(spans):
        if merged and from_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], till_s))
        else:
            merged.append((from_s, till_s))
    return tuple(merged)


def spans_in_words(spans: Sequence[Span]) -> str:
    """``10:00-13:00 and 14:00-20:00``."""
    return " and ".join(f"{_clock(from_s)}-{_clock(till_s)}" for from_s, till_s in spans)


def _clock(second: int) -> str:
    minutes, seconds = divmod(second, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")


@dataclass(frozen=True, slots=True)
class Spell:
    """A gate is open, or closed, from the instant asked about up to (without) ``until_s``, Unix time."""

    is_open: bool
    until_s: int


@dataclass(frozen=True, slots=True)
class Gate:
    """
    Spans that may differ from day to day, on the clocks of one zone.

    Attributes:
        spans_on: the spans of a local date, sorted and apart.
    """

    zone: ZoneInfo
    spans_on: Callable[[date], Sequence[Span]]

    def spell(self, at_s: int) -> Spell:
        """The spell around ``at_s`` (Unix time); the true spell may go on after ``until_s``, never end before."""
        local = datetime.fromtimestamp(at_s, self.zone)
        local_s = local.hour * 3600 + local.minute * 60 + local.second
        is_open, edge_s = False, DAY_S
        for from_s, till_s in self.spans_on(local.date()):
            if local_s < from_s:
                edge_s = from_s
                break
            if local_s < till_s:
                is_open, edge_s = True, till_s
                break
        until_s = at_s + edge_s - local_s
        if local.utcoffset() != datetime.fromtimestamp(until_s, self.zone).utcoffset():
            until_s = _offset_change(self.zone, at_s, until_s)
        return Spell(is_open, until_s)


def _offset_change(zone: ZoneInfo, low_s: int, high_s: int) -> int:
    """The first instant in (low, high] with another offset than ``low``; there is one change (they are days apart)."""
    offset = datetime.fromtimestamp(low_s, zone).utcoffset()
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        if datetime.fromtimestamp(middle_s, zone).utcoffset() == offset:
            low_s = middle_s
        else:
            high_s = middle_s
    return high_s


def daily_gate(zone: ZoneInfo, from_s: int, till_s: int) -> Gate:
    """A gate with the same window every day."""
    spans = daily_spans(from_s, till_s)
    return Gate(zone, lambda _day: spans)


def common_spell(gates: Sequence[Gate], at_s: int) -> Spell:
    """The spell of all gates together: open while every one is. No gates: open."""
    open_until_s, closed_until_s = at_s + HORIZON_S, at_s
    for gate in gates:
        spell = gate.spell(at_s)
        if spell.is_open:
            open_until_s = min(open_until_s, spell.until_s)
        else:
            closed_until_s = max(closed_until_s, spell.until_s)
    return Spell(False, closed_until_s) if closed_until_s > at_s else Spell(True, open_until_s)


def next_common_opening(gates: Sequence[Gate], after_s: int) -> int | None:
    """The earliest Unix time >= ``after_s`` at which all gates are open; None: none before `HORIZON_S`."""
    at_s = after_s
    while at_s < after_s + HORIZON_S:
        spell = common_spell(gates, at_s)
        if spell.is_open:
            return at_s
        at_s = spell.until_s
    return None


def is_open(at: datetime, zone: ZoneInfo, from_s: int, till_s: int) -> bool:
    """Whether the daily window is open at ``at`` (aware) on the clocks of ``zone``."""
    local = at.astimezone(zone)
    local_s = local.hour * 3600 + local.minute * 60 + local.second
    return any(start_s <= local_s < end_s for start_s, end_s in daily_spans(from_s, till_s))


def next_opening(after: datetime, zone: ZoneInfo, from_s: int, till_s: int) -> datetime | None:
    """The earliest whole second (aware UTC) at or after ``after`` at which the daily window is open; None: never."""
    opening_s = next_common_opening((daily_gate(zone, from_s, till_s),), whole_second_after(after))
    return None if opening_s is None else utc(opening_s)


def whole_second_before(at: datetime) -> int:
    """Unix time of ``at`` (aware), rounded down. Windows begin and end at whole seconds."""
    return int(at.timestamp() // 1)


def whole_second_after(at: datetime) -> int:
    """Unix time of ``at`` (aware), rounded up."""
    return -int(-at.timestamp() // 1)


def utc(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
