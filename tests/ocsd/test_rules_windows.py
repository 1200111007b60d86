"""Windows on the clocks of a zone, compared with tables worked out by hand and with a scan minute by minute."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.rules.windows import Gate, common_spell, daily_gate, is_open, next_common_opening, next_opening, utc

NEW_YORK = "America/New_York"
LONDON = "Europe/London"
LORD_HOWE = "Australia/Lord_Howe"
SAO_PAULO = "America/Sao_Paulo"
KATHMANDU = "Asia/Kathmandu"
CHATHAM = "Pacific/Chatham"

# 2026: New York 8 March, 02:00 EST -> 03:00 EDT at 07:00Z, and 1 November, 02:00 EDT -> 01:00 EST at 06:00Z. London
# 29 March, 01:00 GMT -> 02:00 BST at 01:00Z, and 25 October, 02:00 BST -> 01:00 GMT at 01:00Z. Lord Howe 5 April, 02:00
# (+11) -> 01:30 (+10:30) at 15:00Z of the 4th, and 4 October, 02:00 (+10:30) -> 02:30 (+11) at 15:30Z of the 3rd.
# Chatham 5 April, +13:45 -> +12:45, and 27 September, back, both at 14:00Z of the day before. Sao Paulo has had no
# summer time since 2019; Kathmandu is +05:45 all year.
HAND_COMPUTED = [
    # zone, window, after (UTC), opening (UTC)
    (NEW_YORK, "08:00-21:00", "2026-03-08 06:00", "2026-03-08 12:00"),  # 8:00 EDT, an hour earlier than the day before
    (NEW_YORK, "08:00-21:00", "2026-03-07 06:00", "2026-03-07 13:00"),
    (NEW_YORK, "02:30-04:00", "2026-03-08 06:59", "2026-03-08 07:00"),  # begins in the gap: opens at its end, 03:00 EDT
    (NEW_YORK, "02:15-02:45", "2026-03-08 06:00", "2026-03-09 06:15"),  # wholly in the gap: not that day
    (NEW_YORK, "01:30-03:00", "2026-03-08 07:00", "2026-03-09 05:30"),  # the clock jumps from 02:00 past its end
    (NEW_YORK, "08:00-21:00", "2026-11-01 05:00", "2026-11-01 13:00"),  # 8:00 EST
    (NEW_YORK, "01:15-01:45", "2026-11-01 05:00", "2026-11-01 05:15"),  # 01:15 EDT, the first time
    (NEW_YORK, "01:15-01:45", "2026-11-01 05:45", "2026-11-01 06:15"),  # and again, 01:15 EST
    (NEW_YORK, "01:15-01:45", "2026-11-01 06:45", "2026-11-02 06:15"),
    (NEW_YORK, "01:30-03:00", "2026-11-01 05:59", "2026-11-01 05:59"),  # open: 01:59 EDT
    (NEW_YORK, "01:30-03:00", "2026-11-01 06:00", "2026-11-01 06:30"),  # the clock goes back to 01:00: closed again
    (LONDON, "09:00-17:00", "2026-03-29 00:00", "2026-03-29 08:00"),
    (LONDON, "01:30-02:30", "2026-03-29 00:59", "2026-03-29 01:00"),
    (LONDON, "01:00-02:00", "2026-03-28 23:00", "2026-03-30 00:00"),  # the whole window is skipped
    (LONDON, "09:00-17:00", "2026-10-25 00:00", "2026-10-25 09:00"),
    (LONDON, "01:00-01:30", "2026-10-25 00:30", "2026-10-25 01:00"),
    (LORD_HOWE, "09:00-20:00", "2026-04-04 14:00", "2026-04-04 22:30"),  # 09:00 +10:30
    (LORD_HOWE, "01:40-01:50", "2026-04-04 14:50", "2026-04-04 15:10"),  # 01:40 comes again half an hour later
    (LORD_HOWE, "02:10-02:40", "2026-10-03 15:29", "2026-10-03 15:30"),  # a gap of half an hour
    (LORD_HOWE, "02:00-02:30", "2026-10-03 15:00", "2026-10-04 15:00"),
    (SAO_PAULO, "09:00-21:00", "2026-10-18 03:00", "2026-10-18 12:00"),
    (SAO_PAULO, "00:30-02:00", "2018-11-04 02:59", "2018-11-04 03:00"),  # 2018 still had it: from midnight to 01:00
    (SAO_PAULO, "00:00-01:00", "2018-11-04 02:59", "2018-11-05 02:00"),
    (KATHMANDU, "10:00-19:00", "2026-06-01 00:00", "2026-06-01 04:15"),
    (KATHMANDU, "10:00-19:00", "2026-06-01 13:15", "2026-06-02 04:15"),
    (CHATHAM, "08:00-21:00", "2026-04-04 13:00", "2026-04-04 19:15"),  # +12:45 since 14:00Z
    (CHATHAM, "03:00-03:30", "2026-09-26 13:59", "2026-09-27 13:15"),  # 02:45 -> 03:45 at 14:00Z
]


def seconds(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(("zone", "window", "after", "opening"), HAND_COMPUTED)
def test_given_a_clock_change_when_the_next_opening_is_asked_then_it_is_the_one_worked_out_by_hand(
    zone, window, after, opening
):
    from_s, till_s = map(seconds, window.split("-"))

    assert next_opening(instant(after), ZoneInfo(zone), from_s, till_s) == instant(opening)


@pytest.mark.parametrize(
    ("local", "from_s", "till_s", "expected"),
    [
        ("08:59", 9 * 3600, 18 * 3600, False),
        ("09:00", 9 * 3600, 18 * 3600, True),
        ("17:59", 9 * 3600, 18 * 3600, True),
        ("18:00", 9 * 3600, 18 * 3600, False),
        ("23:00", 22 * 3600, 2 * 3600, True),  # passes midnight
        ("01:59", 22 * 3600, 2 * 3600, True),
        ("02:00", 22 * 3600, 2 * 3600, False),
        ("12:00", 0, 86400, True),
        ("09:00", 9 * 3600, 9 * 3600, False),  # from == till never opens
        ("00:00", 0, 0, False),
        ("23:00", 22 * 3600, 0, True),
        ("00:00", 22 * 3600, 0, False),
        ("00:00", 86400, 3600, True),  # from midnight to midnight's hour
        ("23:59", 86400, 3600, False),
    ],
)
def test_given_a_window_when_asked_at_its_edges_then_from_is_in_and_till_is_out(local, from_s, till_s, expected):
    at = datetime.fromisoformat(f"2026-06-01 {local}").replace(tzinfo=ZoneInfo(NEW_YORK))

    assert is_open(at, ZoneInfo(NEW_YORK), from_s, till_s) is expected


def test_given_a_window_that_never_opens_when_asked_then_there_is_no_opening():
    assert next_opening(instant("2026-06-01 00:00"), ZoneInfo(NEW_YORK), 3600, 3600) is None


def test_given_a_moment_between_two_seconds_when_asked_then_the_opening_is_the_next_whole_second():
    zone, after = ZoneInfo("UTC"), instant("2026-06-01 12:00") + timedelta(microseconds=1)

    assert next_opening(after, zone, 0, 86400) == instant("2026-06-01 12:00") + timedelta(seconds=1)
    assert next_opening(instant("2026-06-01 12:59") + timedelta(seconds=59.5), zone, 43200, 46800) == instant(
        "2026-06-02 12:00"
    )


CHANGE_DAYS = [
    (NEW_YORK, "2026-03-07 12:00"),
    (NEW_YORK, "2026-10-31 12:00"),
    (LONDON, "2026-03-28 12:00"),
    (LONDON, "2026-10-24 12:00"),
    (LORD_HOWE, "2026-04-04 00:00"),
    (LORD_HOWE, "2026-10-03 00:00"),
    (SAO_PAULO, "2018-11-03 12:00"),  # the skipped hour is midnight
    (SAO_PAULO, "2018-02-17 12:00"),  # the repeated hour is 23:00
    (KATHMANDU, "2026-03-28 12:00"),
    (CHATHAM, "2026-04-04 00:00"),
    (CHATHAM, "2026-09-26 00:00"),
    ("Africa/Casablanca", "2026-02-14 12:00"),  # Ramadan
    ("Pacific/Apia", "2011-12-29 12:00"),  # a whole day skipped
    ("Africa/Monrovia", "1972-01-06 12:00"),  # an offset that is no whole minute
]
MINUTE = timedelta(minutes=1)
minutes_of_day = st.integers(0, 1440).map(lambda minute: minute * 60)


@given(
    day=st.sampled_from(CHANGE_DAYS), start_min=st.integers(0, 36 * 60), from_s=minutes_of_day, till_s=minutes_of_day
)
def test_given_days_with_clock_changes_when_scanned_minute_by_minute_then_the_opening_is_the_first_open_minute(
    day, start_min, from_s, till_s
):
    zone, after = ZoneInfo(day[0]), instant(day[1]) + start_min * MINUTE

    opening = next_opening(after, zone, from_s, till_s)

    if opening is None:
        assert from_s == till_s
        return
    assert opening >= after
    assert is_open(opening, zone, from_s, till_s)
    assert next_opening(opening, zone, from_s, till_s) == opening
    # Minute marks from `after` on; Monrovia's clock is 30 s off them, so the scan runs on half minutes.
    scanned = after
    while scanned < opening:
        assert not is_open(scanned, zone, from_s, till_s)
        scanned += MINUTE / 2


windows = st.tuples(
    st.sampled_from([NEW_YORK, LONDON, LORD_HOWE, SAO_PAULO, KATHMANDU, CHATHAM]), minutes_of_day, minutes_of_day
)


@given(
    several=st.lists(windows, min_size=1, max_size=4),
    start_min=st.integers(0, 365 * 1440),
)
def test_given_several_windows_and_zones_when_intersected_then_each_is_open_at_the_opening_and_not_all_before(
    several, start_min
):
    after = instant("2026-01-01 00:00") + start_min * MINUTE
    gates = [daily_gate(ZoneInfo(zone), from_s, till_s) for zone, from_s, till_s in several]

    def all_open(at: datetime) -> bool:
        return all(is_open(at, ZoneInfo(zone), from_s, till_s) for zone, from_s, till_s in several)

    opening_s = next_common_opening(gates, int(after.timestamp()))

    opening = None if opening_s is None else utc(opening_s)
    assert opening is None or all_open(opening)
    end = after + timedelta(days=2) if opening is None else min(opening, after + timedelta(days=2))
    scanned = after
    while scanned < end:
        assert not all_open(scanned)
        scanned += MINUTE


@given(
    day=st.sampled_from(CHANGE_DAYS), start_min=st.integers(0, 48 * 60), from_s=minutes_of_day, till_s=minutes_of_day
)
def test_given_a_spell_when_scanned_then_nothing_changes_before_its_end(day, start_min, from_s, till_s):
    zone, at = ZoneInfo(day[0]), instant(day[1]) + start_min * MINUTE

    spell = common_spell((daily_gate(zone, from_s, till_s),), int(at.timestamp()))

    assert int(at.timestamp()) < spell.until_s <= int(at.timestamp()) + 86400
    scanned = at
    while scanned < utc(spell.until_s):
        assert is_open(scanned, zone, from_s, till_s) is spell.is_open
        scanned += MINUTE / 2


def test_given_windows_of_single_days_when_asked_then_the_days_between_are_skipped():
    mondays = Gate(ZoneInfo("UTC"), lambda day: ((36000, 39600),) if day.weekday() == 0 else ())
    evens = Gate(ZoneInfo("UTC"), lambda day: ((0, 86400),) if day.day % 2 == 0 else ())

    opening_s = next_common_opening((mondays, evens), int(instant("2026-06-01 00:00").timestamp()))

    assert opening_s is not None
    assert utc(opening_s) == instant("2026-06-08 10:00")
