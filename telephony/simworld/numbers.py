"""Phone numbers for tests and demos: valid to phonenumbers, nobody's in life, known in advance.

Scheme: +1 NPA 555 XXXX with XXXX from 2000 to 9999. The 555 exchange was set aside for information services, hardly
any of its numbers ever worked, and the industry took the last assignments back in 2016-2017; 555-0100 to 555-0199 are
reserved for fiction but are too few. British numbers are those that Ofcom keeps for drama. Nothing here ever leaves the
host anyway: the simulated carrier is on loopback.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from telephony.simworld.plan import Mix, NumberClass, class_of

AREAS: Final = (
    ("212", "America/New_York"), ("312", "America/Chicago"), ("303", "America/Denver"),
    ("213", "America/Los_Angeles"), ("602", "America/Phoenix"), ("808", "Pacific/Honolulu"),
    ("617", "America/New_York"), ("214", "America/Chicago"), ("801", "America/Denver"),
    ("206", "America/Los_Angeles"), ("480", "America/Phoenix"), ("202", "America/New_York"),
    ("404", "America/New_York"), ("713", "America/Chicago"), ("505", "America/Denver"),
    ("415", "America/Los_Angeles"), ("520", "America/Phoenix"), ("305", "America/New_York"),
)  # fmt: skip
"""Area codes that lie in one time zone each, with that zone."""

FIRST_LINE: Final = 2000
LINES: Final = 10_000 - FIRST_LINE - 1
"""Lines per area code: 4334 is left out, it was the one 555 number assigned nationwide besides 1212."""


def number_for(index: int, areas: tuple[str, ...] = ()) -> str:
    """
    The ``index``-th number (0, 1, ...) as ``+1NPA555XXXX``; each index gives another one.

    ``areas`` limits them to some area codes of `AREAS` (default: all, so neighbours lie in different zones).
    ValueError past the last.
    """
    codes = areas or tuple(code for code, _ in AREAS)
    line, area = divmod(index, len(codes))
    if index < 0 or line >= LINES:
        raise ValueError(f"index must be in 0..{LINES * len(codes) - 1}, got {index}")
    line += FIRST_LINE
    return f"+1{codes[area]}555{line + (line >= 4334):04d}"


DRAMA: Final = (
    "2079460", "1134960", "1144960", "1164960", "1174960", "1184960", "1214960", "1314960", "1414960",
    "1514960", "1614960", "1914980",
)  # fmt: skip
"""Ofcom, "Telephone numbers for use in TV and radio drama programmes": a thousand numbers follow each of these."""

BRITISH_EVERY: Final = 5
"""Of `mixed_numbers`, one in so many is British."""


def british_number(index: int) -> str:
    """The ``index``-th British number (0, 1, ...); neighbours lie in different cities. ValueError past the last."""
    line, city = divmod(index, len(DRAMA))
    if index < 0 or line >= 1000:
        raise ValueError(f"index must be in 0..{1000 * len(DRAMA) - 1}, got {index}")
    return f"+44{DRAMA[city]}{line:03d}"


def mixed_numbers(count: int) -> list[str]:
    """Numbers of two countries, one in `BRITISH_EVERY` from the second, each once."""
    return [
        british_number(i // BRITISH_EVERY) if i % BRITISH_EVERY == BRITISH_EVERY - 1 else number_for(i)
        for i in range(count)
    ]


def zone_for(number: str) -> str:
    """IANA zone of a number made here; KeyError for others."""
    return "Europe/London" if number.startswith("+44") else dict(AREAS)[number[2:5]]


def expected_class(seed: int, number: str, mix: Mix) -> NumberClass:
    """What the carrier will do with this number (unless a script names it)."""
    return class_of(seed, number, mix)


def numbers_of_class(number_class: NumberClass, seed: int, mix: Mix, areas: tuple[str, ...] = ()) -> Iterator[str]:
    """All numbers of one class, in the order of their index."""
    codes = len(areas or AREAS)
    numbers = (number_for(i, areas) for i in range(LINES * codes))
    return (n for n in numbers if class_of(seed, n, mix) is number_class)


def first_numbers(count: int, number_class: NumberClass, seed: int, mix: Mix) -> list[str]:
    """The first ``count`` numbers of a class (fewer when there are no more)."""
    return list(islice(numbers_of_class(number_class, seed, mix), count))
