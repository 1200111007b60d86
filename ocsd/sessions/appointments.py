"""When a promised call will be: the time asked for, moved into the record's window."""

from datetime import UTC, datetime, tzinfo
from typing import Final

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import CallingRecord
from ocsd.protocols.desktop_times import scheduled_instant
from ocsd.rules.contract import Hours

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC)
"""dial_sched_time is a 32-bit integer in the manual's default format."""


def appointment(
    record: CallingRecord,
    local_time: datetime,
    zone: tzinfo,
    hours: Hours,
    now: datetime,
    *,
    may_have_passed: bool = False,
) -> datetime:
    """
    Aware UTC of GSW_DATE_TIME.

    Args:
        local_time: naive, on the clocks of ``zone``, the record's.
        may_have_passed: then the record is due already, and the time stays as it is: records of another system bring
            such times along (and so does the manual's example of AddRecord).

    Raises DesktopRequestError 110 when it has passed, or when the record is never open after it.
    """
    asked = scheduled_instant(local_time, zone, None if may_have_passed else now)
    due = asked if EARLIEST <= asked <= now else hours.opening(record, asked)
    if due is None or due > LATEST:
        raise DesktopRequestError(GswError.INVALID_TIME, "the record may not be called at that time or later")
    return due
