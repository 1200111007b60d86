"""Statistical days and tables, attempt caps, windows of lists: what may be written, one sentence for each fault."""

import pytest

from tests.ocsd.test_config_loader import VALID, problems_of, read

DAY = '[[stat_days]]\ndbid = 1\nname = "d"\n'
TABLE = '[[stat_tables]]\ndbid = 1\nname = "h"\n'
CAP = '[[attempt_caps]]\ndbid = 1\nname = "c"\nmax_attempts = 3\nperiod_h = 24\n'


def in_list(lines: str) -> str:
    return VALID.replace('time_zone = "Eastern"', lines, 1)


def test_given_days_tables_and_caps_when_read_then_lists_hold_their_names():
    fields = 'customer_id_field = "customer_name"\nsubject_field = "customer_name"\n'
    text = in_list(
        fields
        + 'holiday_table = "h"\nweekday_table = "w"\nattempt_caps = ["c", "us-fl"]\ncalling_hours = ["us-federal"]'
    )
    text += DAY + "date = 2028-02-29\n" + '[[stat_days]]\ndbid = 2\nname = "e"\ndate = "02-29"\n'
    text += '[[stat_days]]\ndbid = 3\nname = "mon"\nweekday = 0\nstart_min = 540\nend_min = 1080\n'
    text += TABLE + 'days = ["d", "e"]\ncountry = "US-CA"\n'
    text += '[[stat_tables]]\ndbid = 2\nname = "w"\ndays = ["mon"]\n'
    text += CAP + 'per = "customer_id"\nsubject = "subject_field"\n'

    found = read(text)

    assert [(day.name, day.date, day.weekday) for day in found.stat_days] == [
        ("d", "2028-02-29", None),
        ("e", "02-29", None),
        ("mon", None, 0),
    ]
    assert found.calling_list("L").attempt_caps == ("c", "us-fl")


def test_given_a_holiday_table_with_hours_when_read_alone_then_those_are_days_to_dial():
    days = DAY + 'date = "12-24"\nstart_min = 540\nend_min = 720\n'

    assert read(in_list('holiday_table = "h"') + days + TABLE + 'days = ["d"]').calling_list("L").weekday_table == ""


FAULTS = [
    (VALID + DAY, 'stat_days[0].weekday (of "d"): is required (0 Monday to 6 Sunday), unless a date is given'),
    (
        VALID + DAY + 'weekday = 1\ndate = "12-25"',
        'stat_days[0].date (of "d"): may not stand beside weekday; make it a day of its own',
    ),
    (VALID + DAY + 'date = "2026-02-29"', "stat_days[0].date (of \"d\"): there is no such day, got '2026-02-29'"),
    (VALID + DAY + 'date = "04-31"', "stat_days[0].date (of \"d\"): there is no such day, got '04-31'"),
    (
        VALID + DAY + 'date = "25.12."',
        "stat_days[0].date (of \"d\"): must be a date, 2026-12-25, or one of every year, 12-25, got '25.12.'",
    ),
    (VALID + DAY + "weekday = 7", 'stat_days[0].weekday (of "d"): must be less than or equal to 6, got 7'),
    (
        VALID + DAY + "weekday = 1\nstart_min = 600\nend_min = 599",
        'stat_days[0].end_min (of "d"): must not be before start_min (600), got 599',
    ),
    (VALID + TABLE, 'stat_tables[0].days (of "h"): is required, unless a country is given'),
    (
        VALID + TABLE + 'days = ["x"]',
        'stat_tables[0].days[0] (of "h"): no [[stat_days]] is called "x"; defined are: none',
    ),
    (
        VALID + DAY + "weekday = 1\n" + TABLE + 'days = ["d", "d"]',
        'stat_tables[0].days (of "h"): "d" stands there 2 times; once is enough',
    ),
    (VALID + TABLE + 'country = "QQ"', 'stat_tables[0].country (of "h"): the public holidays of QQ are not known'),
    (
        VALID + TABLE + 'country = "NL-XX"',
        'stat_tables[0].country (of "h"): the public holidays of NL-XX are not known; parts of NL: none',
    ),
    (
        VALID + TABLE + 'country = "AU-QL"',
        'stat_tables[0].country (of "h"): the public holidays of AU-QL are not known; parts of AU: AU-ACT, AU-NSW, '
        "AU-NT, AU-QLD, AU-SA, AU-TAS, AU-VIC, AU-WA",
    ),
    (
        VALID + TABLE + 'country = "usa"',
        'stat_tables[0].country (of "h"): must be a country code, with or without that of a part of it: DE or US-CA, '
        "got 'usa'",
    ),
    (
        in_list('holiday_table = "x"'),
        'calling_lists[0].holiday_table (of "L"): no [[stat_tables]] is called "x"; defined are: none',
    ),
    (
        in_list('weekday_table = "x"') + TABLE + 'country = "US"',
        'calling_lists[0].weekday_table (of "L"): no [[stat_tables]] is called "x"; defined are: "h"',
    ),
    (
        in_list('holiday_table = "h"') + TABLE + 'country = "US"',
        'calling_lists[0].weekday_table (of "L"): is required: no day has business hours, and with a table only those '
        "are dialed in",
    ),
    (
        in_list('weekday_table = "h"') + DAY + "weekday = 1\n" + TABLE + 'days = ["d"]',
        'calling_lists[0].weekday_table (of "L"): is required: no day has business hours, and with a table only those '
        "are dialed in",
    ),
    (
        in_list('calling_hours = ["us-federal", "us-federal"]'),
        'calling_lists[0].calling_hours (of "L"): "us-federal" stands there 2 times; once is enough',
    ),
    (
        in_list('attempt_caps = ["c", "c"]') + CAP,
        'calling_lists[0].attempt_caps (of "L"): "c" stands there 2 times; once is enough',
    ),
    (
        in_list('attempt_caps = ["c"]') + CAP + 'per = "customer_id"',
        'calling_lists[0].customer_id_field (of "L"): is required: attempt cap "c" counts per customer_id',
    ),
    (
        in_list('attempt_caps = ["c"]') + CAP + 'subject = "subject_field"',
        'calling_lists[0].subject_field (of "L"): is required: attempt cap "c" counts per subject_field',
    ),
    (
        VALID + CAP + 'per = "agent"',
        "attempt_caps[0].per (of \"c\"): must be 'phone' or 'customer_id', got 'agent'",
    ),
    (VALID + CAP.replace("24", "0"), 'attempt_caps[0].period_h (of "c"): must be greater than 0, got 0'),
    (
        in_list("daily_from = 86400\ndaily_till = 0"),
        'calling_lists[0].daily_till (of "L"): must differ from daily_from: a window from 86400 s to 0 s never opens',
    ),
]


@pytest.mark.parametrize(("text", "problem"), FAULTS, ids=[fault[1][:60] for fault in FAULTS])
def test_given_one_fault_when_read_then_one_sentence_names_it(text, problem):
    assert problems_of(text) == [f"a.toml: {problem}."]


@pytest.mark.parametrize(("daily_from", "daily_till"), [(79200, 21600), (0, 86400), (86400, 3600), (3600, 0)])
def test_given_a_window_that_passes_midnight_or_fills_the_day_when_read_then_there_is_no_problem(
    daily_from, daily_till
):
    found = read(in_list(f"daily_from = {daily_from}\ndaily_till = {daily_till}")).calling_list("L")

    assert (found.daily_from, found.daily_till) == (daily_from, daily_till)


def test_given_two_days_for_one_weekday_when_read_then_their_business_hours_may_be_apart():
    text = DAY + "weekday = 0\nstart_min = 540\nend_min = 720\n"
    text += '[[stat_days]]\ndbid = 2\nname = "e"\nweekday = 0\nstart_min = 840\nend_min = 1080\n'

    assert len(read(VALID + text + TABLE + 'days = ["d", "e"]\n').stat_tables[0].days) == 2
