"""Statistical days and tables, attempt caps, and what lists say of them.

Names of presets (calling hours, attempt caps) are not known here: they belong to `ocsd.rules`, which checks them.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final

from ocsd.config import objects as o
from ocsd.config.located import Located, Objects, reference, repeated, valid

ISO_PART_LENGTH: Final = 3
"""Of the second part of an ISO 3166-2 code, at most."""
LEAP_YEAR: Final = "2000"
"""For dates of every year: the 29th of February is one."""


def problems(objects: Objects) -> Iterable[str]:
    """Every problem of days, tables, caps and the lists' references to them."""
    for located, day in valid(objects, "stat_days", o.StatDay):
        yield from _day(located, day)
    for located, table in valid(objects, "stat_tables", o.StatTable):
        yield from _table(located, table, objects)
    for located, calling_list in valid(objects, "calling_lists", o.CallingList):
        yield from _list(located, calling_list, objects)


def _day(located: Located, day: o.StatDay) -> Iterable[str]:
    if day.weekday is None and day.date is None:
        yield located.problem("weekday", "is required (0 Monday to 6 Sunday), unless a date is given")
    if day.weekday is not None and day.date is not None:
        yield located.problem("date", "may not stand beside weekday; make it a day of its own")
    if day.date is not None and not _is_date(day.date):
        yield located.problem("date", f"there is no such day, got {day.date!r}")
    if day.start_min > day.end_min:
        yield located.problem("end_min", f"must not be before start_min ({day.start_min}), got {day.end_min}")


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text if len(text) == len("2026-12-25") else f"{LEAP_YEAR}-{text}")
    except ValueError:
        return False
    return True


def _table(located: Located, table: o.StatTable, objects: Objects) -> Iterable[str]:
    for index, name in enumerate(table.days):
        yield from reference(located, f"days[{index}]", name, "stat_days", objects)
    yield from repeated(located, "days", table.days)
    if not table.days and not table.country:
        yield located.problem("days", "is required, unless a country is given")
    if table.country:
        yield from _country(located, table.country)


def _country(located: Located, text: str) -> Iterable[str]:
    import holidays  # only where a table asks: it takes longer than all other checks

    country, _, part = text.partition("-")
    known = holidays.list_supported_countries(include_aliases=False)
    if country not in known:
        yield located.problem("country", f"the public holidays of {country} are not known")
    elif part and part not in known[country]:
        codes = [name for name in known[country] if len(name) <= ISO_PART_LENGTH]  # others are names of towns, regions
        parts = ", ".join(f"{country}-{name}" for name in codes) or "none"
        yield located.problem("country", f"the public holidays of {text} are not known; parts of {country}: {parts}")


def _list(located: Located, calling_list: o.CallingList, objects: Objects) -> Iterable[str]:
    for key in ("holiday_table", "weekday_table"):
        name = getattr(calling_list, key)
        if name:
            yield from reference(located, key, name, "stat_tables", objects)
    if _never_open(calling_list, objects):
        yield located.problem(
            "weekday_table", "is required: no day has business hours, and with a table only those are dialed in"
        )
    yield from repeated(located, "calling_hours", calling_list.calling_hours)
    yield from repeated(located, "attempt_caps", calling_list.attempt_caps)
    caps = {cap.name: cap for _, cap in valid(objects, "attempt_caps", o.AttemptCap)}
    for name in dict.fromkeys(calling_list.attempt_caps):
        cap = caps.get(name)  # None: a preset, or a fault that is reported elsewhere
        if cap is not None and cap.per == "customer_id" and not calling_list.customer_id_field:
            yield located.problem("customer_id_field", f'is required: attempt cap "{name}" counts per customer_id')
        if cap is not None and cap.subject == "subject_field" and not calling_list.subject_field:
            yield located.problem("subject_field", f'is required: attempt cap "{name}" counts per subject_field')


def _never_open(calling_list: o.CallingList, objects: Objects) -> bool:
    """Whether the list's statistical tables, all of them known, leave no minute of any day."""
    names = {name for name in (calling_list.holiday_table, calling_list.weekday_table) if name}
    tables = [table for _, table in valid(objects, "stat_tables", o.StatTable) if table.name in names]
    days = {day.name: day for _, day in valid(objects, "stat_days", o.StatDay)}
    listed = [days.get(name) for table in tables for name in table.days]
    if not names or len(tables) < len(names) or None in listed:
        return False
    return not any(day is not None and day.start_min < day.end_min for day in listed)
