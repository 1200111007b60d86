"""The time zones a phone number may lie in, by its digits."""

from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

MOST_ZONES: Final = 3
"""A number that is bound to no area and lies in more zones than this says nothing about where the person is."""


@lru_cache(maxsize=65_536)
def number_zones(contact_info: str) -> tuple[str, ...]:
    """
    IANA zones in all of which it must be a fit time to call the number; empty: its digits say nothing.

    A geographic number (landlines, and mobiles where they belong to an area) counts with all zones of its area. Others
    count with the zones of their country when those are few; a toll-free number of the United States, or a mobile of
    Australia or Russia, could be anywhere, and is judged by its record's own zone alone.

    Args:
        contact_info: E.164, with ``+``; anything else has no zones.
    """
    try:
        number = phonenumbers.parse(contact_info)
    except phonenumbers.NumberParseException:
        return ()
    zones = tuple(zone for zone in time_zones_for_number(number) if zone != UNKNOWN_TIMEZONE and _exists(zone))
    if len(zones) > MOST_ZONES and not phonenumbers.is_number_geographical(number):
        return ()
    return zones


@lru_cache(maxsize=1024)
def _exists(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except ZoneInfoNotFoundError:
        return False
    return True
