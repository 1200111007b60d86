"""The data files of legal calling hours and attempt caps."""

from datetime import date

import pytest

from ocsd.model.errors import InvariantError
from ocsd.rules.presets import (
    AttemptCapPreset,
    CallingHours,
    all_attempt_caps,
    all_calling_hours,
    attempt_cap_preset,
    calling_hours,
    parsed,
    preset_ids,
)

HOURS = 3600
MONDAY, SATURDAY, SUNDAY = date(2026, 6, 8), date(2026, 6, 13), date(2026, 6, 14)

# id: windows on a Monday, a Saturday, a Sunday, in whole and half hours; read off the sources by hand
WEEKS = {
    "us-federal": ([(8, 21)], [(8, 21)], [(8, 21)]),  # 47 CFR 64.1200(c)(1)
    "us-reg-f": ([(8, 21)], [(8, 21)], [(8, 21)]),  # 12 CFR 1006.6(b)(1)(i)
    "us-fl": ([(8, 20)], [(8, 20)], [(8, 20)]),  # Fla. Stat. 501.616(6)(a)
    "us-al": ([(8, 20)], [(8, 20)], []),  # Ala. Admin. Code r. 770-X-5-.17
    "us-ma": ([(8, 20)], [(8, 20)], [(8, 20)]),  # 201 CMR 12.02(2)
    "us-ri": ([(9, 18)], [(10, 17)], []),  # R.I. Gen. Laws 5-61-2
    "us-sd": ([(9, 21)], [], []),  # SDCL 37-30-28
    "us-ut": ([(8, 21)], [(8, 21)], []),  # Utah Code 13-25a-103(3)
    "us-wa": ([(8, 20)], [(8, 20)], [(8, 20)]),  # RCW 19.158.040(2)
    "ca-telemarketing": ([(9, 21.5)], [(10, 18)], [(10, 18)]),
    "au-telemarketing": ([(9, 20)], [(9, 17)], []),
    "fr-demarchage": ([(10, 13), (14, 20)], [], []),  # art. D. 223-9
    "es-commercial": ([(9, 21)], [], []),  # art. 96.2
}


@pytest.mark.parametrize("preset_id", WEEKS)
def test_given_a_preset_when_a_week_is_asked_then_its_windows_are_those_of_the_source(preset_id):
    preset = calling_hours(preset_id)

    windows = tuple(
        [(from_s / HOURS, till_s / HOURS) for from_s, till_s in preset.spans_on(day)]
        for day in (MONDAY, SATURDAY, SUNDAY)
    )

    assert windows == WEEKS[preset_id]


@pytest.mark.parametrize(
    ("preset_id", "holiday"),
    [
        ("fr-demarchage", date(2026, 7, 14)),
        ("us-ut", date(2026, 7, 24)),  # Pioneer Day
        ("us-ri", date(2026, 8, 10)),  # Victory Day
        ("us-al", date(2026, 4, 27)),  # Confederate Memorial Day
        ("us-la", date(2026, 2, 17)),  # Mardi Gras
        ("us-pa", date(2026, 11, 26)),
        ("au-telemarketing", date(2026, 1, 26)),
        ("es-commercial", date(2026, 10, 12)),
        ("it-codice", date(2026, 6, 2)),
        ("nz-practice", date(2026, 2, 6)),
        ("br-telecom", date(2026, 9, 7)),
    ],
)
def test_given_a_rule_that_keeps_holidays_when_one_falls_on_a_weekday_then_there_are_no_calls(preset_id, holiday):
    assert holiday.weekday() < 5
    assert calling_hours(preset_id).spans_on(holiday) == ()
    assert calling_hours("us-federal").spans_on(holiday) != ()


# id: (at most, in hours, conversations only)
CAPS = {
    "us-fl": [(3, 24, False)],
    "us-ok": [(3, 24, False)],
    "us-md": [(3, 24, False)],
    "us-reg-f": [(7, 7 * 24 + 1, False), (1, 7 * 24 + 1, True)],
    "us-ma-debt": [(2, 7 * 24 + 1, False)],
    "fr-demarchage": [(4, 30 * 24 + 1, False)],
}


def test_given_the_cap_presets_when_read_then_numbers_and_periods_are_those_of_the_sources():
    read = {
        preset.id: [(rule.max_attempts, rule.period_s // HOURS, rule.after_conversation) for rule in preset.rules]
        for preset in all_attempt_caps().values()
    }

    assert read == CAPS
    assert attempt_cap_preset("fr-demarchage").rules[0].subject == "all"
    assert attempt_cap_preset("us-reg-f").rules[0].subject == "same"


def test_given_all_presets_when_read_then_each_says_where_it_comes_from_and_was_checked_after_its_date():
    presets = [*all_calling_hours().values(), *all_attempt_caps().values()]

    assert set(preset_ids()) == {preset.id for preset in presets}
    for preset in presets:
        assert preset.notes
        assert preset.as_of <= preset.checked
    assert {preset.verified for preset in presets} == {True, False}


def test_given_an_unknown_id_when_asked_then_it_is_a_key_error():
    with pytest.raises(KeyError):
        calling_hours("us-xx")
    with pytest.raises(KeyError):
        attempt_cap_preset("us-federal")


GOOD = """
[[calling_hours]]
id = "xx"
title = "t"
jurisdiction = "FR"
scope = "s"
source = "s"
url = "https://example.org"
as_of = 2026-01-01
verified = false
checked = 2026-01-01
notes = "n"
hours = { monday_to_friday = ["08:00-12:00", "13:00-24:00"], saturday = [], sunday = [], holiday = [] }
holidays = "FR"
"""


def test_given_a_good_file_when_parsed_then_windows_are_seconds():
    preset = parsed(CallingHours, "calling_hours", GOOD)["xx"]

    assert preset.hours.monday_to_friday == ((28800, 43200), (46800, 86400))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"08:00-12:00", ', '"8-12", ', "'8-12' is no window"),
        ('"08:00-12:00", ', '"12:00-08:00", ', "does not lie within one day"),
        ('"08:00-12:00", ', '"08:00-13:00", ', "neither overlap nor touch"),
        ('"08:00-12:00", ', '"20:00-24:01", ', "does not lie within one day"),
        ('monday_to_friday = ["08:00-12:00", "13:00-24:00"], ', "", "monday_to_friday"),
        ('holidays = "FR"', 'holidays = "ZZ"', "the public holidays of 'ZZ' are not known"),
        ('holidays = "FR"', "", "holidays and hours.holiday need each other"),
        (", holiday = [] }", "}", "holidays and hours.holiday need each other"),
        ("as_of = 2026-01-01", 'as_of = "lately"', "as_of"),
        ("verified = false\n", "", "verified"),
        ('notes = "n"', 'note = "n"', "note"),
        ("[[calling_hours]]", "[[attempt_caps]]", "only [[calling_hours]] may stand"),
        ("[[calling_hours]]", "[[calling_hours", "calling_hours.toml"),
    ],
)
def test_given_a_broken_file_when_parsed_then_it_is_a_broken_invariant_that_names_the_fault(old, new, complaint):
    assert old in GOOD

    with pytest.raises(InvariantError) as raised:
        parsed(CallingHours, "calling_hours", GOOD.replace(old, new))

    assert complaint in str(raised.value)


def test_given_an_id_twice_when_parsed_then_it_is_a_broken_invariant():
    with pytest.raises(InvariantError, match="an id stands twice"):
        parsed(CallingHours, "calling_hours", GOOD + GOOD)


def test_given_a_cap_with_two_periods_when_parsed_then_it_is_a_broken_invariant():
    head = GOOD.replace("calling_hours", "attempt_caps").split("hours =")[0]
    rule = 'rules = [{ max_attempts = 1, period_h = 24, period_days = 1, per = "person", subject = "same" }]'

    with pytest.raises(InvariantError, match="give period_h or period_days"):
        parsed(AttemptCapPreset, "attempt_caps", head + rule)
