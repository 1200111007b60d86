"""Who works when: shifts and breaks, as times at which one agent comes and goes. Pure."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Turn(Enum):
    """What an agent does at a time."""

    COMES = "logs in and becomes ready"
    PAUSES = "takes a break"
    RETURNS = "is back from a break"
    GOES = "logs out"


@dataclass(frozen=True, slots=True)
class Shift:
    """``agents`` people from ``from_s`` to ``until_s``, both seconds since the start."""

    from_s: float
    until_s: float
    agents: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.from_s < self.until_s or self.agents < 1:
            raise ValueError("a shift begins at 0 or later, ends later than it begins, and has at least one agent")


@dataclass(frozen=True, slots=True)
class Breaks:
    """A break of about ``length_s`` after about every ``every_s`` of work; neither is the same for everybody."""

    length_s: float
    every_s: float

    def __post_init__(self) -> None:
        if not (0.0 < self.length_s < math.inf and 0.0 < self.every_s < math.inf):
            raise ValueError("breaks need a length and a distance of more than 0")


BREAK_SPREAD: Final = 0.3
"""Breaks and the work between them are longer or shorter by up to so much."""


@dataclass(frozen=True, slots=True)
class Rota:
    """
    The agents of a rehearsal.

    ``login_spread_s``: agents of a shift log in within so much time of its beginning.
    """

    shifts: tuple[Shift, ...]
    breaks: Breaks | None = None
    login_spread_s: float = 0.0

    @property
    def seats(self) -> int:
        """Most agents who can be there at one time, counting those who leave and those who come at once."""
        edges = sorted({shift.from_s for shift in self.shifts})
        return max(
            (sum(s.agents for s in self.shifts if s.from_s <= at_s <= s.until_s) for at_s in edges),
            default=0,
        )

    def turns(self, seed: int) -> list[tuple[float, int, Turn]]:
        """(seconds since the start, seat, turn) of everybody, in order of time. Seats are numbered from 0."""
        found: list[tuple[float, int, Turn]] = []
        free_at_s = [0.0] * self.seats
        for shift in sorted(self.shifts, key=lambda s: (s.from_s, s.until_s)):
            seats = [seat for seat, at_s in enumerate(free_at_s) if at_s <= shift.from_s][: shift.agents]
            for seat in seats:
                # Who just leaves that seat is gone before the next one sits down.
                free_at_s[seat] = math.nextafter(shift.until_s, math.inf)
                found += self._of_one(shift, seat, random.Random(seed * 1_000_003 + seat * 7919 + int(shift.from_s)))
        return sorted(found, key=lambda turn: (turn[0], turn[1], _ORDER[turn[2]]))

    def _of_one(self, shift: Shift, seat: int, rng: random.Random) -> Sequence[tuple[float, int, Turn]]:
        at_s = shift.from_s + rng.random() * min(self.login_spread_s, 0.5 * (shift.until_s - shift.from_s))
        found = [(at_s, seat, Turn.COMES)]
        if self.breaks is not None:
            # The first stretch of work is of any length: not everybody goes at the same time.
            at_s += self.breaks.every_s * rng.random()
            while at_s < shift.until_s:
                back_s = at_s + self.breaks.length_s * rng.uniform(1 - BREAK_SPREAD, 1 + BREAK_SPREAD)
                found.append((at_s, seat, Turn.PAUSES))
                if back_s >= shift.until_s:
                    break
                found.append((back_s, seat, Turn.RETURNS))
                at_s = back_s + self.breaks.every_s * rng.uniform(1 - BREAK_SPREAD, 1 + BREAK_SPREAD)
        found.append((shift.until_s, seat, Turn.GOES))
        return found


_ORDER: Final = {turn: place for place, turn in enumerate((Turn.GOES, Turn.PAUSES, Turn.RETURNS, Turn.COMES))}
