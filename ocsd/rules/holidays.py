"""Public holidays of a country or subdivision, by the `holidays` package (observed days included)."""

from collections.abc import Set
from datetime import date
from functools import lru_cache


def is_public_holiday(code: str, day: date) -> bool:
    """Whether the local date is one in ``code`` (``FR``, ``US-FL``; ISO 3166, upper case)."""
    return day in _of_year(code, day.year)


def knows_holidays(code: str) -> bool:
    """Whether the package has a calendar for ``code``."""
    try:
        _of_year(code, 2026)
    except NotImplementedError:
        return False
    return True


@lru_cache(maxsize=512)
def _of_year(code: str, year: int) -> Set[date]:
    # Imported when the first list asks: it costs more than all of our own rules together.
    from holidays import country_holidays

    country, _, subdivision = code.partition("-")
    return frozenset(country_holidays(country, subdiv=subdivision or None, years=year))
