"""GSW_DATE_TIME: times of scheduled calls as desktops write them, on the clocks of the record's zone."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError

_MANUAL_DATE: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?: (\d{1,2}):(\d{2}))?", re.ASCII)


def manual_date_time(written: str) -> datetime | None:
    """``MM/DD/YY(YYYY)`` with or without `` HH:MM``, naive; None for another form, ValueError for 25/45/00."""
    found = _MANUAL_DATE.fullmatch(written)
    if found is None:
        return None
    month, day, year, hour, minute = (int(part or 0) for part in found.groups())
    return datetime(year + 2000 if year < 100 else year, month, day, hour, minute)  # noqa: DTZ001 - a local time


def scheduled_instant(local_time: datetime, zone: tzinfo, now: datetime | None) -> datetime:
    """
    Return when clocks in ``zone`` show ``local_time`` (naive), as aware UTC.

    ``now``: None: the time may have passed.

    Clocks put forward skip some times and clocks put back show some twice. As RFC 5545 3.3.5 has it, a skipped time is
    read with the offset before the gap (02:30 becomes 03:30), of a repeated one the first is meant.

    Raises DesktopRequestError 110 when that is not after ``now``, or is a time that no calendar has.
    """
    try:
        instant = local_time.replace(tzinfo=zone, fold=0).astimezone(UTC)
    except OverflowError:
        instant = None
    if instant is None or (now is not None and instant <= now):
        raise DesktopRequestError(
            GswError.INVALID_TIME,
            f"GSW_DATE_TIME {written_time(local_time)} "
            + ("is in no calendar" if now is None else "has passed where the customer is"),
        )
    return instant


def written_time(local_time: datetime) -> str:
    """GSW_DATE_TIME: ``MM/DD/YYYY HH:MM``."""
    return f"{local_time.month:02}/{local_time.day:02}/{local_time.year:04} {local_time.hour:02}:{local_time.minute:02}"


def local_text(instant: datetime, zone: tzinfo) -> str:
    """GSW_DATE_TIME of an instant in the record's zone; seconds are rounded up, so that it never reads as earlier."""
    local_time = instant.astimezone(zone)
    if local_time.second or local_time.microsecond:
        local_time = (instant + timedelta(minutes=1)).astimezone(zone)
    return written_time(local_time)
