"""When records may be dialed: windows, zones, legal hours and statistical tables together."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.objects import CallingList, Configuration, StatDay, StatTable, TimeZoneObject
from ocsd.model.enums import DayRange, RecordType
from ocsd.model.errors import ConfigError, InvariantError
from ocsd.model.records import CallingRecord
from ocsd.rules.hours import KEPT_SPELLS, ListHours
from ocsd.rules.numbers import number_zones
from ocsd.rules.presets import all_calling_hours
from ocsd.rules.windows import is_open

ZONES = (
    TimeZoneObject(dbid=1, name="EST", zone="America/New_York"),
    TimeZoneObject(dbid=2, name="PST", zone="America/Los_Angeles"),
    TimeZoneObject(dbid=3, name="CET", zone="Europe/Paris"),
    TimeZoneObject(dbid=4, name="LHST", zone="Australia/Lord_Howe"),
    TimeZoneObject(dbid=5, name="NPT", zone="Asia/Kathmandu"),
)
EST, PST, CET, LORD_HOWE, KATHMANDU = (zone.dbid for zone in ZONES)
IANA = {zone.dbid: zone.zone for zone in ZONES}

MIAMI = "+13055550100"
LOS_ANGELES = "+12135550100"
TOLL_FREE = "+18005550100"
HOURS = 3600

STAT_DAYS = (
    *(
        StatDay(dbid=day + 1, name=name, weekday=day, start_min=9 * 60, end_min=17 * 60)
        for day, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri"))
    ),
    StatDay(dbid=6, name="Sat", weekday=5, start_min=10 * 60, end_min=12 * 60),
    StatDay(dbid=7, name="Christmas", date="12-25"),
    StatDay(dbid=8, name="Christmas Eve", date="12-24", start_min=9 * 60, end_min=12 * 60),
    StatDay(dbid=9, name="Stocktaking", date="2026-06-02"),
    StatDay(dbid=10, name="Mon evening", weekday=0, start_min=19 * 60, end_min=20 * 60),
    StatDay(dbid=11, name="Sun", weekday=6),
)
STAT_TABLES = (
    StatTable(dbid=1, name="weekdays", days=("Mon", "Tue", "Wed", "Thu", "Fri")),
    StatTable(dbid=2, name="weekdays and Saturdays", days=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat")),
    StatTable(dbid=3, name="holidays", days=("Christmas", "Christmas Eve", "Stocktaking")),
    StatTable(dbid=4, name="US", country="US"),
    StatTable(dbid=5, name="split Monday", days=("Mon", "Mon evening")),
    StatTable(dbid=6, name="all days", days=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), country="US-FL"),
)


def hours(**settings: Any) -> ListHours:
    calling_list = CallingList(dbid=1, name="List", table_access="t", **({"time_zone": "EST"} | settings))
    configuration = Configuration(
        time_zones=ZONES, stat_days=STAT_DAYS, stat_tables=STAT_TABLES, calling_lists=(calling_list,)
    )
    return ListHours(configuration, calling_list)


def record(
    tz_dbid: int = EST, from_s: int = 8 * HOURS, till_s: int = 21 * HOURS, phone: str = MIAMI, **changes: Any
) -> CallingRecord:
    values: dict[str, Any] = {
        "list_dbid": 1,
        "record_id": 1,
        "contact_info": phone,
        "contact_info_type": 0,
        "record_type": RecordType.GENERAL,
        "call_result": 0,
        "attempt": 0,
        "dial_sched_time": None,
        "call_time": None,
        "daily_from_s": from_s,
        "daily_till_s": till_s,
        "tz_dbid": tz_dbid,
        "chain_id": 1,
        "chain_n": 0,
    }
    return CallingRecord(**values | changes)


def local(text: str, zone: str = "America/New_York") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def test_given_an_open_window_when_asked_then_nothing_is_refused_and_the_opening_is_now():
    now = local("2026-06-01 12:00")

    assert hours().closed(record(), now) is None
    assert hours().opening(record(), now) == now


def test_given_a_closed_window_when_asked_then_the_sentence_names_window_zone_and_local_time():
    refusal = hours().closed(record(), local("2026-06-01 22:05"))

    assert refusal is not None
    assert refusal.why == "Monday 22:05 in America/New_York is outside the record's window, 08:00-21:00"
    assert refusal.until == local("2026-06-02 08:00")


def test_given_records_of_other_zones_when_asked_then_each_is_judged_by_its_own_clock():
    at = local("2026-06-01 10:30")  # 7:30 in Los Angeles, 16:30 in Paris
    asked = hours()

    assert [asked.closed(record(zone), at) is None for zone in (EST, PST, CET)] == [True, False, True]


def test_given_an_unknown_zone_when_the_list_has_one_then_that_counts():
    assert hours(time_zone="PST").opening(record(99), local("2026-06-01 10:30")) == local("2026-06-01 11:00")


def test_given_an_unknown_zone_when_the_list_has_none_either_then_it_is_refused_for_ever():
    asked, now = hours(time_zone="", weekday_table="weekdays"), local("2026-06-01 12:00")

    refusal = asked.closed(record(99), now)

    assert refusal is not None
    assert (refusal.why, refusal.until) == ("time zone 99 is unknown and the list has none", None)
    assert asked.opening(record(99), now) is None
    assert asked.day_range(record(99), now) is None


def test_given_a_window_that_never_opens_when_asked_then_there_is_no_until():
    refusal = hours().closed(record(from_s=3600, till_s=3600), local("2026-06-01 12:00"))

    assert refusal is not None
    assert refusal.until is None
    assert refusal.why.endswith("the record's window, no time at all; it does not open within 400 days")


def test_given_a_window_in_the_skipped_hour_when_the_clock_changes_then_it_opens_the_day_after():
    night = record(from_s=2 * HOURS, till_s=3 * HOURS)

    refusal = hours().closed(night, local("2026-03-08 01:30"))

    assert refusal is not None
    assert refusal.until == local("2026-03-09 02:00")


def test_given_a_time_without_zone_when_asked_then_it_is_a_bug():
    with pytest.raises(InvariantError, match="no time zone"):
        hours().closed(record(), datetime(2026, 6, 1, 12))  # noqa: DTZ001


# --- the strictest of the number's zones --------------------------------------------------------------------------


def test_given_the_strictest_zone_when_the_number_belongs_elsewhere_then_both_clocks_must_agree():
    asked = hours(strictest_zone=True)
    californian = record(EST, phone=LOS_ANGELES)

    early, late = local("2026-06-01 10:59"), local("2026-06-01 20:59")

    refusal = asked.closed(californian, early)
    assert refusal is not None
    assert refusal.why == (
        "Monday 07:59 in America/Los_Angeles, where the number belongs, is outside the record's window, 08:00-21:00"
    )
    assert refusal.until == local("2026-06-01 11:00")
    assert asked.closed(californian, late) is None
    assert asked.opening(californian, late + timedelta(minutes=1)) == local("2026-06-02 11:00")
    assert hours().closed(californian, early) is None


def test_given_the_strictest_zone_when_the_number_is_toll_free_then_only_the_records_zone_counts():
    assert number_zones(TOLL_FREE) == ()
    assert hours(strictest_zone=True).closed(record(EST, phone=TOLL_FREE), local("2026-06-01 08:00")) is None


@pytest.mark.parametrize(
    ("phone", "zones"),
    [
        (MIAMI, ("America/New_York",)),
        ("+442079460000", ("Europe/London",)),
        ("+33612345678", ("Europe/Paris",)),  # a mobile bound to no area, in a country with one zone
        ("+61412345678", ()),  # could be anywhere in Australia
        ("+79161234567", ()),
        ("+447700900123", ()),  # of unknown zone
        ("2125550100", ()),  # not E.164
        ("", ()),
    ],
)
def test_given_a_number_when_its_zones_are_asked_then_they_are_those_where_it_must_be_a_fit_time(phone, zones):
    assert number_zones(phone) == zones


def test_given_a_number_of_many_zones_when_it_belongs_to_an_area_then_all_of_them_count(monkeypatch):
    zones = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")
    monkeypatch.setattr("ocsd.rules.numbers.time_zones_for_number", lambda _number: zones)

    # Numbers that no other test asks for, because answers are kept.
    assert number_zones("+13055550199") == zones
    assert number_zones("+18005550199") == ()


def test_given_a_moment_between_two_seconds_when_open_then_the_opening_is_the_next_whole_second():
    assert hours().opening(record(), local("2026-06-01 12:00:00.25")) == local("2026-06-01 12:00:01")
    assert hours().opening(record(), local("2026-06-01 20:59:59.25")) == local("2026-06-02 08:00")
    assert hours().closed(record(), local("2026-06-01 20:59:59.25")) is None


def test_given_legal_hours_when_the_strictest_zone_counts_then_they_hold_there_as_well():
    asked = hours(strictest_zone=True, calling_hours=("us-fl",))
    retired = record(PST, from_s=0, till_s=24 * HOURS, phone=MIAMI)

    refusal = asked.closed(retired, local("2026-06-01 20:00"))

    assert refusal is not None
    assert "Monday 20:00 in America/New_York, where the number belongs, is outside the legal hours us-fl" in refusal.why
    assert refusal.until == local("2026-06-02 11:00")  # 8:00 in Los Angeles


# --- legal hours --------------------------------------------------------------------------------------------------


def test_given_legal_hours_when_they_are_narrower_than_the_window_then_the_refusal_names_the_law():
    refusal = hours(calling_hours=("us-federal", "us-fl")).closed(record(till_s=22 * HOURS), local("2026-06-01 20:00"))

    assert refusal is not None
    assert refusal.why == (
        "Monday 20:00 in America/New_York is outside the legal hours us-fl, 08:00-20:00 that day "
        "(Fla. Stat. 501.616(6)(a))"
    )
    assert refusal.until == local("2026-06-02 08:00")


def test_given_two_windows_a_day_when_it_is_noon_then_the_second_is_next():
    asked = hours(calling_hours=("fr-demarchage",))
    paris = record(CET, from_s=0, till_s=24 * HOURS)

    def opening(text: str) -> str:
        found = asked.opening(paris, local(text, "Europe/Paris"))
        assert found is not None
        return f"{found.astimezone(ZoneInfo('Europe/Paris')):%Y-%m-%d %H:%M}"

    assert opening("2026-06-01 13:00") == "2026-06-01 14:00"
    assert opening("2026-06-01 12:59") == "2026-06-01 12:59"
    assert opening("2026-06-05 20:00") == "2026-06-08 10:00"  # over the weekend
    assert opening("2026-07-13 20:00") == "2026-07-15 10:00"  # over the 14th of July
    assert opening("2026-10-23 20:00") == "2026-10-26 10:00"  # over the clock change of the 25th


def test_given_days_before_holidays_when_the_rule_shortens_them_then_only_those_are_short():
    preset = all_calling_hours()["it-codice"]
    friday_before_liberation_day, eve_of_republic_day, holiday = date(2026, 4, 24), date(2026, 6, 1), date(2026, 6, 2)
    ordinary = date(2026, 6, 3)

    short, normal = ((10 * HOURS, 19 * HOURS),), ((9 * HOURS, 20 * HOURS),)
    assert preset.spans_on(friday_before_liberation_day) == short
    assert preset.spans_on(eve_of_republic_day) == short
    assert preset.spans_on(holiday) == ()
    assert preset.spans_on(ordinary) == normal


def test_given_legal_hours_that_never_meet_the_window_when_asked_then_it_is_said_and_there_is_no_until():
    refusal = hours(calling_hours=("us-fl",)).closed(
        record(from_s=22 * HOURS, till_s=23 * HOURS), local("2026-06-01 22:30")
    )

    assert refusal is not None
    assert refusal.until is None
    assert "legal hours us-fl" in refusal.why
    assert refusal.why.endswith("it does not open within 400 days")


# --- statistical tables -------------------------------------------------------------------------------------------

DAY_RANGES = [
    # holiday table, weekday table, local time, day range
    ("", "", "2026-06-01 12:00", None),
    ("", "weekdays", "2026-06-01 08:59", DayRange.BBH),
    ("", "weekdays", "2026-06-01 09:00", DayRange.BH),
    ("", "weekdays", "2026-06-01 16:59", DayRange.BH),
    ("", "weekdays", "2026-06-01 17:00", DayRange.ABH),
    ("", "weekdays", "2026-06-06 12:00", DayRange.WEND),  # Saturday, in neither table
    ("", "weekdays and Saturdays", "2026-06-06 11:00", DayRange.BH),
    ("", "weekdays and Saturdays", "2026-06-06 13:00", DayRange.ABH),
    ("", "weekdays and Saturdays", "2026-06-07 11:00", DayRange.WEND),
    ("holidays", "", "2026-06-01 12:00", DayRange.WEND),  # one table, and the day is not in it
    ("holidays", "weekdays", "2026-12-25 12:00", DayRange.HDAY),  # a Friday
    ("holidays", "weekdays", "2027-12-25 12:00", DayRange.HDAY),
    ("holidays", "weekdays", "2026-12-24 08:00", DayRange.HDAY),  # a holiday with hours of its own
    ("holidays", "weekdays", "2026-12-24 11:00", DayRange.BH),
    ("holidays", "weekdays", "2026-12-24 12:00", DayRange.HDAY),
    ("holidays", "weekdays", "2026-06-02 12:00", DayRange.HDAY),
    ("holidays", "weekdays", "2027-06-02 12:00", DayRange.BH),  # a date of one year only
    ("US", "weekdays", "2026-07-03 12:00", DayRange.HDAY),  # the 4th is a Saturday: observed on Friday
    ("US", "weekdays", "2026-11-26 12:00", DayRange.HDAY),  # Thanksgiving
    ("US", "weekdays", "2026-11-25 12:00", DayRange.BH),
    ("", "split Monday", "2026-06-01 18:00", DayRange.ABH),
    ("", "split Monday", "2026-06-01 19:30", DayRange.BH),
    ("", "all days", "2026-06-07 12:00", DayRange.ABH),  # Sunday is listed, without business hours
    ("", "all days", "2026-09-07 12:00", DayRange.HDAY),  # Labor Day, by the weekday table's country
]


@pytest.mark.parametrize(("holiday", "weekday", "text", "expected"), DAY_RANGES)
def test_given_statistical_tables_when_a_time_is_placed_then_it_is_in_the_documented_range(
    holiday, weekday, text, expected
):
    asked = hours(holiday_table=holiday, weekday_table=weekday)

    assert asked.day_range(record(), local(text)) is expected
    open_then = asked.closed(record(from_s=0, till_s=24 * HOURS), local(text)) is None
    assert open_then is (expected in (None, DayRange.BH))


def test_given_statistical_tables_when_records_have_other_zones_then_the_day_is_that_of_the_record():
    asked, at = hours(weekday_table="weekdays"), local("2026-06-05 18:00")  # Friday in New York, Saturday in Kathmandu

    ranges = [asked.day_range(record(zone), at) for zone in (EST, PST, KATHMANDU)]

    assert ranges == [DayRange.ABH, DayRange.BH, DayRange.WEND]


def test_given_business_hours_when_closed_then_the_refusal_says_so_and_skips_weekend_and_holiday():
    asked = hours(holiday_table="US", weekday_table="weekdays")

    refusal = asked.closed(record(), local("2026-09-04 17:00"))  # Friday before Labor Day

    assert refusal is not None
    assert refusal.why == ("Friday 17:00 in America/New_York is outside the list's business hours, 09:00-17:00 (ABH)")
    assert refusal.until == local("2026-09-08 09:00")


def test_given_calling_hours_that_no_preset_has_when_the_hours_are_made_then_the_problem_is_a_sentence():
    with pytest.raises(ConfigError) as raised:
        hours(calling_hours=("us-f",))

    assert raised.value.problems == [
        'calling_hours of calling list "List": there is no preset called "us-f"; did you mean us-fl?'
    ]


# --- all together, against an oracle ------------------------------------------------------------------------------


def test_given_more_windows_than_are_kept_when_asked_twice_then_answers_stay_the_same_and_memory_bounded():
    asked, at = hours(), local("2026-06-01 12:00")
    records = [record(from_s=second, till_s=86400 - second) for second in range(KEPT_SPELLS + 100)]

    first = [asked.closed(one, at) for one in records]

    assert [asked.closed(one, at) for one in records] == first
    assert len(asked._known) <= KEPT_SPELLS


MINUTES = st.integers(0, 1440).map(lambda minute: minute * 60)
LISTS = [
    {},
    {"calling_hours": ("us-federal",)},
    {"calling_hours": ("fr-demarchage",)},
    {"calling_hours": ("us-ut", "us-fl"), "strictest_zone": True},
    {"weekday_table": "weekdays and Saturdays", "holiday_table": "holidays"},
    {"weekday_table": "split Monday", "strictest_zone": True, "calling_hours": ("us-tx",)},
]
STARTS = ["2026-03-06 20:00", "2026-03-27 20:00", "2026-10-30 20:00", "2026-12-23 20:00", "2026-10-02 20:00"]


def oracle_open(settings: dict[str, Any], asked: ListHours, one: CallingRecord, at: datetime) -> bool:
    """The same rules said once more, instant by instant."""
    zones = {IANA[one.tz_dbid]} | (set(number_zones(one.contact_info)) if settings.get("strictest_zone") else set())
    for zone in map(ZoneInfo, zones):
        if not is_open(at, zone, one.daily_from_s, one.daily_till_s):
            return False
        wall = at.astimezone(zone)
        second = wall.hour * 3600 + wall.minute * 60 + wall.second
        for name in settings.get("calling_hours", ()):
            spans = all_calling_hours()[name].spans_on(wall.date())
            if not any(from_s <= second < till_s for from_s, till_s in spans):
                return False
    return asked.day_range(one, at) in (None, DayRange.BH)


@given(
    settings=st.sampled_from(LISTS),
    start=st.sampled_from(STARTS),
    minutes=st.lists(st.integers(0, 72 * 60), min_size=1, max_size=4),
    tz_dbid=st.sampled_from([EST, PST, CET, LORD_HOWE, KATHMANDU]),
    from_s=MINUTES,
    till_s=MINUTES,
    phone=st.sampled_from([MIAMI, LOS_ANGELES, TOLL_FREE, "+33142345678"]),
)
def test_given_any_list_and_record_when_asked_in_any_order_then_answers_agree_with_a_scan(
    settings, start, minutes, tz_dbid, from_s, till_s, phone
):
    asked, one = hours(**settings), record(tz_dbid, from_s, till_s, phone)
    for minute in minutes:  # forwards and backwards: what is remembered must not be stretched
        at = local(start, "UTC") + timedelta(minutes=minute)
        refusal, opening = asked.closed(one, at), asked.opening(one, at)
        assert (refusal is None) is oracle_open(settings, asked, one, at)
        if refusal is None:
            assert opening == at
            continue
        assert refusal.until == opening
        if opening is not None:
            assert opening.tzinfo is UTC
            assert opening > at
            assert asked.closed(one, opening) is None
            assert asked.opening(one, opening) == opening
        scanned, end = at, at + timedelta(hours=30) if opening is None else min(opening, at + timedelta(hours=30))
        while scanned < end:
            assert not oracle_open(settings, asked, one, scanned)
            scanned += timedelta(minutes=15)
