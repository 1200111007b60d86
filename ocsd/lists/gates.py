"""May this record be dialed now? Pure: asked when chains are claimed and again right before the INVITE.

`selection` says the same in SQL; the tests compare the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.tables import time_zone_dbid
from ocsd.model.enums import RecordType
from ocsd.model.records import CallingRecord

TYPE_ORDER: Final = (RecordType.CAMPAIGN_CALLBACK, RecordType.CAMPAIGN_RESCHEDULED, RecordType.GENERAL)
"""Types that any agent may take, the most urgent first. The personal types need their agent and are left alone."""


def second_of_day(now: datetime, zone: ZoneInfo) -> int:
    """Seconds since midnight on the clocks of ``zone`` (0..86399); ``now`` is aware."""
    local = now.astimezone(zone)
    return local.hour * 3600 + local.minute * 60 + local.second


def window_open(local_s: int, daily_from_s: int, daily_till_s: int) -> bool:
    """
    Whether ``local_s`` lies in [from, till); from > till is a window that passes midnight, from == till never opens.
    """
    if daily_from_s <= daily_till_s:
        return daily_from_s <= local_s < daily_till_s
    return local_s >= daily_from_s or local_s < daily_till_s


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """
    The second of the day in every configured zone at one instant.

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
    by_tz_dbid = {zone.dbid: second_of_day(now, ZoneInfo(zone.zone)) for zone in config.time_zones}
    return LocalTimes(by_tz_dbid, by_tz_dbid.get(time_zone_dbid(config, calling_list)))


def why_not_dialable(record: CallingRecord, max_attempts: int, times: LocalTimes, now: datetime) -> str | None:
    """The first gate (of type, attempts, schedule, window) that holds a Ready or claimed record back; None: dial it."""
    if record.record_type not in TYPE_ORDER:
        return f"record type {record.record_type.name} is not dialed for any agent"
    if record.attempt >= max_attempts:
        return f"attempt {record.attempt} of at most {max_attempts} used up"
    if (record.dial_sched_time or 0) > now.timestamp():
        return f"scheduled for {record.dial_sched_time} (UTC seconds)"
    local_s = times.of(record.tz_dbid)
    if local_s is None:
        return f"time zone {record.tz_dbid} is unknown and the list has none"
    if not window_open(local_s, record.daily_from_s, record.daily_till_s):
        return f"local second {local_s} is outside the window {record.daily_from_s}-{record.daily_till_s}"
    return None
