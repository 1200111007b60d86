"""May this record be dialed now? Pure: asked when chains are claimed and again right before the INVITE.

`selection` says the same in SQL; the tests compare the two.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.store import DEFAULT_PORTIONS
from ocsd.lists.tables import STATE, time_zone_dbid
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.records import CallingRecord, Refusal
from ocsd.rules.contract import Hours
from ocsd.rules.hours import ListHours

SCHEDULED_TYPES: Final = frozenset(
    {
        RecordType.CAMPAIGN_RESCHEDULED,
        RecordType.PERSONAL_RESCHEDULED,
        RecordType.PERSONAL_CALLBACK,
        RecordType.CAMPAIGN_CALLBACK,
    }
)
"""Types whose treatment state is read back (docs/adr/0008)."""

CALLBACKS: Final = frozenset({RecordType.PERSONAL_CALLBACK, RecordType.CAMPAIGN_CALLBACK})

DIALED_TYPES: Final = SCHEDULED_TYPES | {RecordType.GENERAL}

TYPE_ORDER: Final = tuple(portion.record_type for portion in DEFAULT_PORTIONS)
"""Types that any agent may take, the most urgent first."""

STATUS_TYPES: Final[Mapping[int, frozenset[int]]] = {
    RecordStatus.READY: DIALED_TYPES,
    RecordStatus.RETRIEVED: DIALED_TYPES,
    RecordStatus.UPDATED: DIALED_TYPES | {RecordType.NO_CALL},
    RecordStatus.STALE: DIALED_TYPES,
    RecordStatus.CANCELED: DIALED_TYPES,
    RecordStatus.AGENT_ERROR: DIALED_TYPES,
    RecordStatus.MISSED_CALLBACK: DIALED_TYPES - {RecordType.GENERAL, RecordType.CAMPAIGN_RESCHEDULED},
}
"""Manual, "Record Status and Record Type Combinations". Rows outside it are left alone."""


SHUT: Final = -1
"""Instead of a second of the day: the list's legal or business hours are closed in that zone."""

_zone: Final = cache(ZoneInfo)
"""zoneinfo itself keeps eight of them and reads the others from their files at each use."""


def second_of_day(now: datetime, zone: ZoneInfo) -> int:
    """Seconds since midnight on the clocks of ``zone`` (0..86399); ``now`` is aware."""
    local = now.astimezone(zone)
    return local.hour * 3600 + local.minute * 60 + local.second


def window_open(local_s: int, daily_from_s: int, daily_till_s: int) -> bool:
    """
    Whether ``local_s`` lies in [from, till); from > till is a window that passes midnight, from == till never opens,
    and nothing is open where the list's own hours are closed (`SHUT`).
    """
    if local_s == SHUT:
        return False
    if daily_from_s <= daily_till_s:
        return daily_from_s <= local_s < daily_till_s
    return local_s >= daily_from_s or local_s < daily_till_s


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """
    The second of the day in every configured zone at one instant; `SHUT` where legal or business hours are closed.

    Attributes:
        by_tz_dbid: for each time zone object.
        fallback_s: for records of an unknown zone: that of the list; None when the list has none either, and then
            such a record is never dialed.
    """

    by_tz_dbid: Mapping[int, int]
    fallback_s: int | None

    def of(self, tz_dbid: int) -> int | None:
        return self.by_tz_dbid.get(tz_dbid, self.fallback_s)


def local_times(config: Configuration, calling_list: CallingList, now: datetime) -> LocalTimes:
    by_tz_dbid = {zone.dbid: second_of_day(now, _zone(zone.zone)) for zone in config.time_zones}
    if calling_list.calling_hours or calling_list.holiday_table or calling_list.weekday_table:
        # Else every record of a zone would be claimed, refused and put off, one by one, all night.
        by_tz_dbid |= dict.fromkeys(ListHours(config, calling_list).shut_zones(now), SHUT)
    return LocalTimes(by_tz_dbid, by_tz_dbid.get(time_zone_dbid(config, calling_list)))


def named_chain_n(record: CallingRecord) -> int | None:
    """The place in the chain that the record's treatment state names; None: any record of the chain may be dialed."""
    if record.treatments is None or record.record_type not in SCHEDULED_TYPES:
        return None
    match = STATE.fullmatch(record.treatments)
    return int(match[1]) if match is not None else None


def used_up(record_type: RecordType, attempt: int, max_attempts: int) -> bool:
    """A callback is kept however often the record was dialed: the customer has asked for it."""
    return attempt >= max_attempts and record_type not in CALLBACKS


def why_not_dialable(
    record: CallingRecord,
    max_attempts: int,
    times: LocalTimes,
    now: datetime,
    *,
    types: Collection[RecordType] = DIALED_TYPES,
    agents: Collection[str] | None = None,
    chain: Sequence[CallingRecord] = (),
) -> str | None:
    """
    The first gate that holds a Ready or claimed record back; None: it may be dialed.

    Args:
        types, agents: as in Portion.
        chain: the records of its chain that are Ready or claimed with it, itself among them or not.
    """
    if record.record_type not in types:
        return f"record type {record.record_type.name} is not dialed here"
    if agents is not None and record.agent_id not in agents:
        return f"it belongs to agent {record.agent_id!r}" if record.agent_id else "it belongs to no agent"
    if used_up(record.record_type, record.attempt, max_attempts):
        return f"attempt {record.attempt} of at most {max_attempts} used up"
    if (record.dial_sched_time or 0) > now.timestamp():
        return f"scheduled for {record.dial_sched_time} (UTC seconds)"
    local_s = times.of(record.tz_dbid)
    if local_s is None:
        return f"time zone {record.tz_dbid} is unknown and the list has none"
    if local_s == SHUT:
        return "outside the legal or business hours of its list"
    if not window_open(local_s, record.daily_from_s, record.daily_till_s):
        return f"local second {local_s} is outside the window {record.daily_from_s}-{record.daily_till_s}"
    named = named_chain_n(record)
    if named is not None and named != record.chain_n:
        for other in chain:
            if other.chain_n == named and other.record_type in DIALED_TYPES:
                return f"the chain goes on with its record {named}"
    return None


def refusal(record: CallingRecord, max_attempts: int, hours: Hours, now: datetime) -> Refusal | None:
    """The first gate of attempts, schedule and hours that holds a claimed record back at ``now``; None: dial it."""
    if used_up(RecordType(record.record_type), record.attempt, max_attempts):
        return Refusal(f"attempts: {record.attempt} of at most {max_attempts} used up")
    if (record.dial_sched_time or 0) > now.timestamp():
        due = datetime.fromtimestamp(record.dial_sched_time or 0, UTC)
        return Refusal(f"schedule: not before {due.isoformat()}", due)
    return hours.closed(record, now)


def dialable_position(
    chain_rows: Sequence[CallingRecord],
    max_attempts: int,
    times: LocalTimes,
    now: datetime,
    types: Collection[RecordType] = DIALED_TYPES,
    agents: Collection[str] | None = None,
) -> int | None:
    """
    Index of the first record that may be dialed; None: none may be now.

    Args:
        chain_rows: the chain's rows that are Ready (or claimed with it) and admitted by the list's filter, in order.
        types, agents: as in Portion.
    """
    for position, record in enumerate(chain_rows):
        if why_not_dialable(record, max_attempts, times, now, types=types, agents=agents, chain=chain_rows) is None:
            return position
    return None
