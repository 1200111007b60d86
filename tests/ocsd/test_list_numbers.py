"""The short ways of ocsd.lists.numbers against the library's own verdict."""

import random

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

from ocsd.lists import numbers
from ocsd.lists.numbers import NumberRefused, normaliser


def library_verdict(text: str, country: str):
    """E.164 and zones, or None for what must be refused: straight from phonenumbers."""
    try:
        parsed = phonenumbers.parse(text.strip(), country)
    except phonenumbers.NumberParseException:
        return None
    if parsed.extension or not phonenumbers.is_valid_number(parsed):
        return None
    zones = tuple(zone for zone in time_zones_for_number(parsed) if zone != UNKNOWN_TIMEZONE)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164), zones


def our_verdict(text: str, country: str):
    try:
        result = normaliser(country)(text)
    except NumberRefused:
        return None
    return result.number, result.zones


@pytest.mark.parametrize("country", ["US", "CA", "JM", "GB"])
def test_given_every_north_american_area_code_when_normalised_then_the_library_agrees(country):
    source = random.Random(11)
    for area in range(200, 1000):
        for _ in range(2):
            text = f"+1{area}{source.randint(0, 999):03d}{source.randint(0, 9999):04d}"
            assert our_verdict(text, country) == library_verdict(text, country), text


FORMS = (
    "{a}{b}{c}",
    "({a}) {b}-{c}",
    "{a}-{b}-{c}",
    "{a}.{b}.{c}",
    "1{a}{b}{c}",
    "+1 {a} {b} {c}",
    "1-{a}-{b}-{c}",
    "({a}){b}{c}",
)


@pytest.mark.parametrize("country", ["US", "CA", "JM", "DE"])
def test_given_usual_notations_when_normalised_then_the_library_agrees(country):
    source = random.Random(12)
    for _ in range(150):
        area = source.choice(
            ["212", "416", "876", "900", "800", "523", "700", "305", "999", f"{source.randint(0, 999):03d}"]
        )
        parts = {"a": area, "b": f"{source.randint(0, 999):03d}", "c": f"{source.randint(0, 9999):04d}"}
        for form in FORMS:
            text = form.format(**parts)
            assert our_verdict(text, country) == library_verdict(text, country), text


@pytest.mark.parametrize(
    "country", ["GB", "DE", "FR", "IT", "ES", "AU", "BR", "MX", "AR", "RU", "IN", "JP", "KZ", "GG", "NL"]
)
def test_given_numbers_of_other_countries_when_normalised_then_the_library_agrees(country):
    source = random.Random(13)
    code = phonenumbers.country_code_for_region(country)
    examples = []
    for kind in (0, 1, 3, 4, 6):
        example = phonenumbers.example_number_for_type(country, kind)
        if example is not None:
            examples.append(phonenumbers.national_significant_number(example))
    for _ in range(60):
        digits = list(source.choice(examples))
        for _ in range(source.randint(0, 4)):
            digits[source.randrange(len(digits))] = str(source.randint(0, 9))
        if source.random() < 0.1:
            digits.append("0")
        national = "".join(digits)
        for text in (
            f"+{code}{national}",
            f"0{national}",
            national,
            f"8{national}",
            f"00{code}{national}",
            f"+{code}0{national}",
        ):
            for home in (country, "US"):
                assert our_verdict(text, home) == library_verdict(text, home), (text, home)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789+-. ()x/", max_size=18), st.sampled_from(["US", "DE", "GB", "BR"]))
def test_given_any_scribble_when_normalised_then_the_library_agrees(text, country):
    assert our_verdict(text, country) == library_verdict(text, country)


@pytest.mark.parametrize(
    ("text", "country"), [("2125551234", "US"), ("+12125551234", "GB"), ("+493012345678", "US"), ("03012345678", "DE")]
)
def test_given_a_plain_number_when_normalised_then_the_library_is_not_asked(text, country, monkeypatch):
    def refuse(*_):
        raise AssertionError("the short way was not taken")

    monkeypatch.setattr(numbers, "_ask_library", refuse)
    assert our_verdict(text, country) == library_verdict(text, country)


def test_given_an_extension_when_normalised_then_it_is_refused_as_undialable():
    with pytest.raises(NumberRefused, match="extension"):
        normaliser("US")("212 555 1234 ext. 5")
