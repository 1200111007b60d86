"""Phone numbers to E.164, and the time zones they belong to.

`phonenumbers` is the authority, and takes some 40 us a number. Nearly all rows of a list are plain numbers of ordinary
kinds, for which its verdict follows from a few of its own patterns; those are compiled once and matched directly.
Whatever is not plainly decided that way goes to the library. The tests compare both on many numbers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, PhoneNumberFormat, PhoneNumberType
from phonenumbers.phonenumberutil import is_number_type_geographical
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

NANP: Final = 1
"""The calling code of the North American Numbering Plan."""

_NANP_FORM: Final = re.compile(
    r"(?:\+?1[ .-]?)?(?:\(([2-9][0-9]{2})\) ?|([2-9][0-9]{2})[ .-]?)([0-9]{3})[ .-]?([0-9]{4})"
)
_E164_FORM: Final = re.compile(r"\+([1-9][0-9]{6,14})")
_TRUNK_FORM: Final = re.compile(r"0[1-9][0-9]{4,13}")

_Pattern = re.Pattern[str]


class NumberRefused(ValueError):
    """The text is no dialable number; the message says why."""


@dataclass(frozen=True, slots=True)
class E164:
    """A valid number (``+`` and digits) and the IANA zones it may lie in, empty when unknown."""

    number: str
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Patterns of the main region of a calling code, matched against national significant numbers."""

    calling_code: str
    viable: _Pattern
    special: _Pattern | None
    fixed: _Pattern
    mobile: _Pattern
    trunk_prefix: _Pattern | None
    international_prefix: _Pattern | None
    leading_digits: _Pattern | None
    possible_lengths: frozenset[int]
    mobile_is_geographical: bool


def normaliser(country: str) -> Callable[[str], E164]:
    """
    A function from text to E164 for numbers written as people in ``country`` (ISO 3166, ``US``) write them.

    The function raises NumberRefused. The result may be shared between threads.
    """
    calling_code = phonenumbers.country_code_for_region(country)
    if calling_code == 0:
        raise ValueError(f"{country!r} is no country with a numbering plan")
    # A region that shares its calling code has national rules of its own; only the main one takes the short way.
    home = _plan(calling_code) if COUNTRY_CODE_TO_REGION_CODE[calling_code][0] == country else None
    nanp_form, e164_form, trunk_form = _NANP_FORM.fullmatch, _E164_FORM.fullmatch, _TRUNK_FORM.fullmatch
    north_american = _north_american()

    def normalise(text: str) -> E164:
        text = text.strip()
        if text.startswith("+1") or (calling_code == NANP and not text.startswith("+")):
            if (found := nanp_form(text)) is not None:
                bracketed, area, exchange, line = found.groups()
                national = (area or bracketed) + exchange + line
                if north_american(national) is not None:
                    return E164("+1" + national, _zones_by_prefix("1" + national))
        elif (found := e164_form(text)) is not None:
            if (result := _decide_international(found[1])) is not None:
                return result
        elif home is not None and trunk_form(text) is not None and (result := _decide_trunk(home, text)) is not None:
            return result
        return _ask_library(text, country)

    return normalise


def _decide_international(digits: str) -> E164 | None:
    for length in (1, 2, 3):
        code = int(digits[:length])
        if code in COUNTRY_CODE_TO_REGION_CODE:
            plan = _plan(code)
            national = digits[length:]
            if plan is None or national[:1] == "0":  # an Italian leading zero, or a prefix that should not be there
                return None
            if plan.trunk_prefix is not None and (found := plan.trunk_prefix.match(national)) and found.end():
                return None
            return _decide(plan, national)
    return None


def _decide_trunk(plan: _Plan, text: str) -> E164 | None:
    """``text``: digits with the national (trunk) prefix 0."""
    if plan.trunk_prefix is None or plan.viable.fullmatch(text) is not None:
        return None
    if plan.international_prefix is not None and plan.international_prefix.match(text) is not None:
        return None
    prefix = plan.trunk_prefix.match(text)
    if prefix is None or prefix.end() != 1 or prefix.lastindex is not None:
        return None
    return _decide(plan, text[1:])


def _decide(plan: _Plan, national: str) -> E164 | None:
    if len(national) not in plan.possible_lengths or plan.viable.fullmatch(national) is None:
        return None
    if plan.leading_digits is not None and plan.leading_digits.match(national) is None:
        return None
    if plan.special is not None and plan.special.fullmatch(national) is not None:
        return None
    digits = plan.calling_code + national
    if plan.fixed.fullmatch(national) is not None:
        return E164("+" + digits, _zones_by_prefix(digits))
    if plan.mobile.fullmatch(national) is not None:
        where = digits if plan.mobile_is_geographical else plan.calling_code
        return E164("+" + digits, _zones_by_prefix(where))
    return None


@cache
def _plan(calling_code: int) -> _Plan | None:
    region = COUNTRY_CODE_TO_REGION_CODE[calling_code][0]
    metadata: Any = PhoneMetadata.metadata_for_region(region, None)
    if metadata is None or calling_code == NANP:  # a service without a country, or the plan with its own short way
        return None
    patterns = {
        name: getattr(metadata, name).national_number_pattern
        for name in ("fixed_line", "mobile")
        if getattr(metadata, name) is not None
    }
    special = [
        desc.national_number_pattern
        for name in ("premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail")
        if (desc := getattr(metadata, name)) is not None and desc.national_number_pattern
    ]
    nothing = r"(?!)"
    return _Plan(
        calling_code=str(calling_code),
        viable=re.compile(metadata.general_desc.national_number_pattern),
        special=re.compile("|".join(f"(?:{pattern})" for pattern in special)) if special else None,
        fixed=re.compile(patterns.get("fixed_line") or nothing),
        mobile=re.compile(patterns.get("mobile") or nothing),
        trunk_prefix=_optional(metadata.national_prefix_for_parsing),
        international_prefix=_optional(metadata.international_prefix),
        leading_digits=_optional(metadata.leading_digits),
        possible_lengths=frozenset(metadata.general_desc.possible_length),
        mobile_is_geographical=bool(is_number_type_geographical(PhoneNumberType.MOBILE, calling_code)),
    )


@cache
def _north_american() -> Callable[[str], object]:
    """Matches ten digits that are an ordinary number of the United States or Canada (fixed or mobile: same numbers)."""
    patterns = []
    for region in ("US", "CA"):
        metadata: Any = PhoneMetadata.metadata_for_region(region, None)
        patterns.append(f"(?:{metadata.fixed_line.national_number_pattern})")
    return re.compile("|".join(patterns)).fullmatch


def _optional(pattern: str | None) -> _Pattern | None:
    return re.compile(pattern) if pattern else None


def _zones_by_prefix(digits: str) -> tuple[str, ...]:
    for length in range(TIMEZONE_LONGEST_PREFIX, 0, -1):
        if (zones := TIMEZONE_DATA.get(digits[:length])) is not None:
            return zones
    return ()


def _ask_library(text: str, country: str) -> E164:
    try:
        parsed = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException as error:
        raise NumberRefused(f"phone {text[:40]!r} is no number: {error._msg}") from None
    if parsed.extension:
        raise NumberRefused(f"phone {text[:40]!r} has an extension, which cannot be dialed")
    if not phonenumbers.is_valid_number(parsed):
        raise NumberRefused(f"phone {text[:40]!r} is no valid number of country {country} or of its own country code")
    zones = tuple(zone for zone in time_zones_for_number(parsed) if zone != UNKNOWN_TIMEZONE)
    return E164(phonenumbers.format_number(parsed, PhoneNumberFormat.E164), zones)
