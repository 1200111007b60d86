"""What a phone number may mean as somebody has written it down: registries, hand-made table rows, requests.

The daemon dials E.164. Do-Not-Call lists come as people keep them: ``2125550123``, ``212,5550123`` (files of the US
FTC's registry), ``020 7946 0018``, ``+44 20 7946 0018``. Numbers are checked by length and leading digits only: a
registry may hold numbers that no longer exist, and refusing one means that nobody keeps us from calling it.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import phonenumbers
from phonenumbers import PhoneMetadata

from ocsd.dnc.index import MAX_DIGITS

NANP_CODE: Final = "1"
"""Calling code of the North American Numbering Plan."""

MIN_DIGITS: Final = 7
"""Shortest number, country code included, that is taken without knowing its country's plan."""

IGNORED: Final = ' -.()/\t"'
"""Characters that people put between digits, and quotation marks of CSV files."""

_DROP_IGNORED: Final = str.maketrans("", "", IGNORED)
_INTERNATIONAL: Final = re.compile(r"\+([1-9][0-9]*)")
_AREA_AND_NUMBER: Final = re.compile(r"([0-9]{3}),([0-9]{7})")
_DIGITS: Final = re.compile(r"[0-9]+")


class NumberRefused(ValueError):
    """The text is no phone number, or could be several; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    A country's numbering plan as far as it is needed here.

    Attributes:
        lengths: possible lengths of national significant numbers, in digits.
        trunk_prefix: what is dialed before a national number inside the country ("0" in most of Europe).
    """

    country: str
    calling_code: str
    lengths: frozenset[int]
    trunk_prefix: str

    @property
    def north_american(self) -> bool:
        return self.calling_code == NANP_CODE

    def fits(self, national: str) -> bool:
        """Whether digits can be a national significant number."""
        if len(national) not in self.lengths or len(self.calling_code) + len(national) > MAX_DIGITS:
            return False
        if self.north_american:
            return national[0] not in "01"  # area codes are [2-9]XX
        return not (self.trunk_prefix == "0" and national[0] == "0")


@cache
def plan_of(country: str) -> Plan:
    """The plan of a country (ISO 3166, ``US``); ValueError when it has none."""
    metadata: Any = PhoneMetadata.metadata_for_region(country, None)
    if metadata is None:
        raise ValueError(f"{country!r} is no country with a numbering plan")
    return Plan(
        country=country,
        calling_code=str(phonenumbers.country_code_for_region(country)),
        lengths=frozenset(metadata.general_desc.possible_length),
        trunk_prefix=metadata.national_prefix or "",
    )


def interpretations(text: str, plan: Plan | None) -> tuple[int, ...]:
    """
    The E.164 numbers that ``text`` may mean, as integers; NumberRefused says why there is none.

    Args:
        plan: how numbers without a country code are read; None: they are refused.
    """
    bare = text.translate(_DROP_IGNORED)
    if found := _INTERNATIONAL.fullmatch(bare):
        return (_international(found[1], plan),)
    if found := _AREA_AND_NUMBER.fullmatch(bare):
        if plan is None or not plan.north_american:
            raise NumberRefused("area code and number with a comma is a North American form")
        bare = found[1] + found[2]
    elif not _DIGITS.fullmatch(bare):
        raise NumberRefused("no phone number")
    if plan is None:
        raise NumberRefused("no country code, and no country was given")
    if meanings := tuple(sorted(_domestic(bare, plan))):
        return meanings
    raise NumberRefused(f"{len(bare)} digits are no number of {plan.country}")


def _international(digits: str, plan: Plan | None) -> int:
    if not MIN_DIGITS <= len(digits) <= MAX_DIGITS:
        raise NumberRefused(f"+ and {len(digits)} digits are no E.164 number")
    if plan is not None and digits.startswith(plan.calling_code) and not plan.fits(digits[len(plan.calling_code) :]):
        raise NumberRefused(f"no number of {plan.country}")
    return int(digits)


def _domestic(digits: str, plan: Plan) -> set[int]:
    code, prefix = plan.calling_code, plan.trunk_prefix
    meanings: set[int] = set()
    if prefix and digits.startswith(prefix) and plan.fits(digits[len(prefix) :]):
        meanings.add(int(code + digits[len(prefix) :]))
    if plan.fits(digits):
        meanings.add(int(code + digits))
    if digits.startswith(code) and plan.fits(digits[len(code) :]):
        meanings.add(int(digits))
    for abroad in ("00", "011") if plan.north_american else ("00",):
        rest = digits.removeprefix(abroad)
        if rest != digits and rest[:1] not in ("", "0") and MIN_DIGITS <= len(rest) <= MAX_DIGITS:
            meanings.add(int(rest))
    return meanings


def one_number(text: str, plan: Plan | None) -> int:
    """The one number that ``text`` means; NumberRefused when it means none or several."""
    meanings = interpretations(text, plan)
    if len(meanings) > 1:
        several = " or ".join(f"+{number}" for number in meanings)
        raise NumberRefused(f"could be {several}; write it with + and country code")
    return meanings[0]


def every_number(text: str, plans: tuple[Plan, ...]) -> tuple[int, ...]:
    """
    All numbers that ``text`` may mean in any of the countries: Do-Not-Call keeps from calling every one of them.

    Digits without ``+`` are also read as a complete E.164 number. Empty when the text is no number at all.
    """
    meanings: set[int] = set()
    for plan in plans or (None,):
        try:
            meanings.update(interpretations(text, plan))
        except NumberRefused:
            continue
    bare = text.translate(_DROP_IGNORED).removeprefix("+")
    if bare.isascii() and bare.isdigit() and bare[0] != "0" and MIN_DIGITS <= len(bare) <= MAX_DIGITS:
        meanings.add(int(bare))
    return tuple(sorted(meanings))
