"""When would every gate of a record be open together? Pure.

Each gate says until when it is closed for certain; so the walk leaps from refusal to refusal and ends at the first
instant at which none is left. Which gates there are, and in which order they are asked, is `choice`'s business.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from ocsd.explain.choice import capped, choice, claimable, forbidden_until
from ocsd.explain.facts import RecordFacts
from ocsd.lists.gates import refusal
from ocsd.model.records import Refusal
from ocsd.rules.windows import DAY_S, utc, whole_second_after

MOST_LEAPS: Final = 500
"""Openings and caps alternate a few times at most; a day without an opening costs one leap inside `ListHours`."""

HORIZON: Final = timedelta(seconds=400 * DAY_S)


def refusals(facts: RecordFacts, at: datetime) -> Iterator[Refusal]:
    """What time alone may change: attempts, schedule, hours; caps; Do-Not-Call."""
    for found in (
        refusal(facts.record, facts.calling_list.max_attempts, facts.hours, at),
        capped(facts, facts.record, at),
        forbidden_until(facts.row, at),
    ):
        if found is not None:
            yield found


def next_opening(facts: RecordFacts) -> datetime | None:
    """
    The earliest instant (aware UTC) at or after ``facts.at`` at which the record would be taken; None: never as things
    stand, and also when another record of its chain would be dialed at that instant: what follows its result is not
    known.
    """
    if facts.claim is None and not claimable(facts.row):
        return None
    at = facts.at
    for _ in range(MOST_LEAPS):
        closed = list(refusals(facts, at))
        if not closed:
            return at if choice(facts, at).chosen == facts.record.record_id else None
        if any(found.until is None for found in closed):
            return None
        later = max(found.until for found in closed if found.until is not None)
        at = utc(whole_second_after(later))
        if at > facts.at + HORIZON:
            return None
    return None
