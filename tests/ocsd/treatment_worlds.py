"""What the treatment tests share: short records and treatments, and an opening built by hand on zoneinfo."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from ocsd.config.objects import Treatment
from ocsd.model.enums import CallResult, RecordAction, RecordType
from ocsd.model.records import CallingRecord
from ocsd.treatments.contract import Situation
from ocsd.treatments.engine import decide

ZONES = {
    1: ZoneInfo("America/New_York"),
    2: ZoneInfo("Europe/Berlin"),
    3: ZoneInfo("Australia/Lord_Howe"),
    4: ZoneInfo("UTC"),
    5: ZoneInfo("America/Santiago"),  # its clocks change at midnight
}
NOON = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)
QUARTER_S = 900


def zone_of(record):
    return ZONES[record.tz_dbid]


@cache
def _opens(zone, from_s, till_s, at_s):
    """Windows and zone changes in these tests lie on quarters of an hour."""
    for tried_s in (at_s, *(at_s - at_s % QUARTER_S + n * QUARTER_S for n in range(1, 9 * 96))):
        local = datetime.fromtimestamp(tried_s, zone)
        second = local.hour * 3600 + local.minute * 60 + local.second
        inside = from_s <= second < till_s if from_s <= till_s else second >= from_s or second < till_s
        if inside:
            return tried_s
    return None


def opens_s(record, at_s):
    return _opens(zone_of(record), record.daily_from_s, record.daily_till_s, at_s)


def opening(record, after):
    assert after.microsecond == 0
    found = opens_s(record, int(after.timestamp()))
    return None if found is None else datetime.fromtimestamp(found, UTC)


def row(record_id=1, chain_n=0, *, record_type=RecordType.GENERAL, attempt=0, treatments=None, window=(0, 86_400),
        tz_dbid=4, **more):  # fmt: skip
    return CallingRecord(
        9, record_id, f"+1202555{record_id:04}", 1, record_type, 28, attempt, None, None, *window, tz_dbid, 70, chain_n,
        treatments=treatments, **more,
    )  # fmt: skip


def treatment(dbid, action, number=None, *, result=CallResult.BUSY, **more):
    return Treatment(
        dbid=dbid,
        name=f"T{dbid}",
        call_result=result,
        number=number or dbid,
        record_action=RecordAction[action],
        **more,
    )


def decided(
    treatments, record, chain=None, result=CallResult.BUSY, now=NOON, *, max_attempts=10, for_all=False, **more
):
    """The decision, with the defaults of these tests."""
    situation = Situation(result, record, tuple(chain or (record,)), now, **more)
    return decide(
        situation,
        treatments,
        max_attempts=max_attempts,
        opening=opening,
        timezone_of=zone_of,
        result_for_all=for_all,
    )


def written(chain, record, decision, result):
    """The live rows as the store writes them when the chain goes on."""
    change = decision.change
    assert change.goes_on
    return tuple(
        replace(
            r,
            record_type=change.record_type if r.record_id == record.record_id else change.sibling_type or r.record_type,
            call_result=result if r.record_id == record.record_id else change.sibling_result or r.call_result,
            dial_sched_time=change.dial_sched_time,
            treatments=change.treatments,
        )
        for r in chain
    )


def dialed(chain, record_id):
    """The chain and its record after one more attempt on it."""
    rows = tuple(replace(r, attempt=r.attempt + 1) if r.record_id == record_id else r for r in chain)
    return rows, next(r for r in rows if r.record_id == record_id)


def minutes_from(start, decision):
    return (decision.change.dial_sched_time - int(start.timestamp())) / 60


def later(minutes):
    return NOON + timedelta(minutes=minutes)
