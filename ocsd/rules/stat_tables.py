"""Statistical tables: which days are holidays, which are workdays, and when business hours are.

A day is looked for in the holiday table first, then in the weekday table. In a table the more precise entry goes first:
a date of one year, a date of every year, a public holiday of the table's country, a day of the week. Several entries
of the same kind for a day join their business hours.

| found in | day range |
|---|---|
| holiday table | BH inside the day's business hours, else HDAY |
| the public holidays of either table's country | HDAY |
| weekday table | BBH before the first business hours of the day, BH inside, else ABH |
| neither | WEND |

Source: Outbound Contact 8.1 Reference Manual, daytime_code of ocs.daytime_change (the five values); Deployment Guide,
configuration of holiday and weekday tables. That a day in the holiday table may have business hours of its own, and
that both tables are read in the record's zone, is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ocsd.config.objects import CallingList, Configuration, StatDay, StatTable
from ocsd.model.enums import DayRange
from ocsd.rules.holidays import is_public_holiday
from ocsd.rules.windows import Span, merged_spans


@dataclass(frozen=True, slots=True)
class DayPlan:
    """
    What the tables say about one local date.

    Attributes:
        business: business hours, in seconds since midnight.
        before: day range before the first of them.
        after: day range between and after them, and all day when there are none.
    """

    business: tuple[Span, ...]
    before: DayRange
    after: DayRange

    def range_at(self, local_s: int) -> DayRange:
        if any(from_s <= local_s < till_s for from_s, till_s in self.business):
            return DayRange.BH
        return self.before if self.business and local_s < self.business[0][0] else self.after


_WEEKEND = DayPlan((), DayRange.WEND, DayRange.WEND)


@dataclass(frozen=True, slots=True)
class _Table:
    """One statistical table. ``before``, ``after``: outside business hours on the days that it lists itself."""

    days: tuple[StatDay, ...]
    country: str
    before: DayRange
    after: DayRange

    def plan(self, day: date) -> DayPlan | None:
        for name in (day.isoformat(), day.strftime("%m-%d")):
            if (dated := [stat_day for stat_day in self.days if stat_day.date == name]) != []:
                return self._listed(dated)
        if self.country and is_public_holiday(self.country, day):
            return DayPlan((), DayRange.HDAY, DayRange.HDAY)
        weekly = [stat_day for stat_day in self.days if stat_day.date is None and stat_day.weekday == day.weekday()]
        return self._listed(weekly) if weekly else None

    def _listed(self, stat_days: Sequence[StatDay]) -> DayPlan:
        return DayPlan(merged_spans(span for one in stat_days for span in business_hours(one)), self.before, self.after)


def business_hours(stat_day: StatDay) -> tuple[Span, ...]:
    """Seconds since midnight; none when the day starts and ends at the same minute."""
    span = (stat_day.start_min * 60, stat_day.end_min * 60)
    return (span,) if span[0] < span[1] else ()


class StatTables:
    """The holiday table and the weekday table of one calling list; at least one of them."""

    def __init__(self, holiday: StatTable | None, weekday: StatTable | None, stat_days: Sequence[StatDay]) -> None:
        by_name = {stat_day.name: stat_day for stat_day in stat_days}
        self._tables = [
            _Table(tuple(by_name[name] for name in table.days), table.country, before, after)
            for table, before, after in (
                (holiday, DayRange.HDAY, DayRange.HDAY),
                (weekday, DayRange.BBH, DayRange.ABH),
            )
            if table is not None
        ]
        self._plans: dict[date, DayPlan] = {}

    def plan(self, day: date) -> DayPlan:
        """What the tables say about a local date."""
        if (found := self._plans.get(day)) is None:
            if len(self._plans) > 1000:  # more than the days that anybody looks ahead
                self._plans.clear()
            plans = (table.plan(day) for table in self._tables)
            found = self._plans[day] = next((plan for plan in plans if plan is not None), _WEEKEND)
        return found

    def spans_on(self, day: date) -> tuple[Span, ...]:
        """The business hours of a local date."""
        return self.plan(day).business


def stat_tables_of(config: Configuration, calling_list: CallingList) -> StatTables | None:
    """The list's tables, None when it has none."""
    tables = {table.name: table for table in config.stat_tables}
    holiday = tables[calling_list.holiday_table] if calling_list.holiday_table else None
    weekday = tables[calling_list.weekday_table] if calling_list.weekday_table else None
    return None if holiday is None and weekday is None else StatTables(holiday, weekday, config.stat_days)
