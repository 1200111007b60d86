"""What gates, treatments and sessions ask of the rules of time. `hours` keeps it."""

from datetime import datetime
from typing import Protocol

from ocsd.model.enums import DayRange
from ocsd.model.records import CallingRecord, Refusal


class Hours(Protocol):
    """When the records of one calling list may be dialed: window, zones, legal hours, statistical tables together."""

    def closed(self, record: CallingRecord, at: datetime) -> Refusal | None:
        """None: the record may be dialed at ``at`` (aware). Else why not, and its next opening."""
        ...

    def opening(self, record: CallingRecord, after: datetime) -> datetime | None:
        """The earliest open instant (aware UTC, whole seconds) at or after ``after``; None: none in 400 days."""
        ...

    def day_range(self, record: CallingRecord, at: datetime) -> DayRange | None:
        """Where ``at`` lies in the list's statistical tables, in the record's zone; None: no tables."""
        ...
