"""The tone plan of a country: its own, or that of the international recommendation."""

import re
from typing import Final

from telephony.cpa import tone_plan
from telephony.cpa.tones import GENERIC_PLAN

TWO_LETTERS: Final = re.compile("[A-Za-z]{2}")


def plan_name(country: str) -> tuple[str, bool]:
    """
    Name of the plan to use, and whether it is the country's own.

    Raises ValueError for what is no two-letter code.
    """
    try:
        return tone_plan(country).name, True
    except ValueError:
        if TWO_LETTERS.fullmatch(country.strip()) is None:
            raise ValueError(f"country {country!r} is no two-letter code") from None
        return GENERIC_PLAN, False
