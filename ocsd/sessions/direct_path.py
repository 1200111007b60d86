"""
Where the audio of one conversation flows: through the media server, or straight from one far end to the other. Pure.

Theory of operation
-------------------
    HERE --wanted--> LEAVING --both agree--> AWAY --not wanted, or a far end refuses--> RETURNING --both back--> HERE
                        \\______________ refused, or not wanted meanwhile ______________/

The customer is asked first, with the agent's address: carriers refuse re-INVITEs, phones hardly ever do, and a first
refusal has changed nothing at all. The agent's re-INVITE leaves when the customer's answer is there, so that one of
them sends past us while the other does not yet for one round trip to the phone, and no longer. All that time the media
server goes on relaying what still reaches it (`telephony.contract.StandBy`), so that a far end that is slow, or that
answers and sends here nevertheless, is heard. Both are brought back at the same time.

Only one law of G.711 is offered, that of the other party; a far end that answers with another one, or with no telephone
events where the other has them, is brought back: nobody would convert them. Whoever was refused once in a call is not
asked again in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias

MOST_FOLLOWED: Final = 5
"""How often a far end may move its address while the audio is away. Two that answer each other would go on for ever."""
HOME_TRIES: Final = 3
"""How often a far end is asked to come back."""
LEG_GONE: Final = 0
"""Status of a re-INVITE whose leg has ended."""


class Side(Enum):
    CUSTOMER = auto()
    AGENT = auto()

    @property
    def other(self) -> "Side":
        return Side.AGENT if self is Side.CUSTOMER else Side.CUSTOMER


BOTH: Final = (Side.CUSTOMER, Side.AGENT)


class Path(Enum):
    """See the diagram above."""

    HERE = auto()
    LEAVING = auto()
    AWAY = auto()
    RETURNING = auto()


@dataclass(frozen=True, slots=True)
class FarEnd:
    """Where a party wants its audio, and as what: 0 PCMU or 8 PCMA; number of its telephone events, 0: none."""

    host: str
    port: int
    payload_type: int = 0
    event_payload_type: int = 101

    @property
    def listens(self) -> bool:
        """It is not on hold in the old way (RFC 3264 8.4)."""
        return self.port != 0 and self.host not in ("", "0.0.0.0")


@dataclass(frozen=True, slots=True)
class StandBy:
    """The media server relays only, or is on both lines again."""

    standing_by: bool


@dataclass(frozen=True, slots=True)
class Move:
    """Re-INVITE one side with the other's address; ``to`` None: with ours. ``again``: after a pause."""

    side: Side
    to: FarEnd | None
    again: bool = False


Order: TypeAlias = StandBy | Move
Ends: TypeAlias = Mapping[Side, FarEnd]


@dataclass(slots=True)
class DirectPath:
    """
    The path of one conversation's audio; one task owns it.

    Attributes:
        refused: why the audio stays here for the rest of the call, "" while it may leave.
        told: which address each side was given last; a side that has none was told nothing, or ours.
        waiting: sides whose answer is awaited.
        stuck: sides that would not come back.
    """

    path: Path = Path.HERE
    refused: str = ""
    told: dict[Side, FarEnd] = field(default_factory=dict)
    waiting: set[Side] = field(default_factory=set)
    stuck: set[Side] = field(default_factory=set)
    _ends: dict[Side, FarEnd] = field(default_factory=dict)
    _wanted: bool = False
    _followed: int = 0
    _tries: dict[Side, int] = field(default_factory=dict)

    def adopt(self) -> None:
        """The media server was standing by when the daemon came: both sides are told again, or brought back."""
        self.path = Path.AWAY

    def look(self, wanted: bool, ends: Ends) -> tuple[Order, ...]:
        """
        Something may have changed. ``wanted``: nothing needs the audio here; ``ends``: what both far ends said last.
        """
        self._wanted, self._ends = wanted, dict(ends)
        match self.path:
            case Path.HERE if wanted and not self.refused:
                if why := self._misfit():
                    self.refused = why
                    return ()
                self.path = Path.LEAVING
                return (StandBy(True), self._move(Side.CUSTOMER))
            case Path.AWAY if not wanted:
                return self._home(BOTH)
            case Path.AWAY:
                return self._follow()
            case _:
                return ()  # the answers that are awaited decide

    def answered(self, side: Side, status: int, end: FarEnd | None) -> tuple[Order, ...]:
        """The final response to a re-INVITE; ``end`` None: it named no address."""
        if side not in self.waiting:
            return ()
        self.waiting.discard(side)
        agreed = 200 <= status < 300
        if end is not None:
            self._ends[side] = end
        if self.path is Path.RETURNING:
            return self._returned(side, agreed or status == LEG_GONE)
        if not agreed:
            self.refused = f"{side.name.lower()}: {status}"
            if self.path is Path.LEAVING and side is Side.CUSTOMER:
                self.path = Path.HERE  # nothing has changed
                self.told.clear()
                return (StandBy(False),)
            return self._home(BOTH if self.path is Path.AWAY else (Side.CUSTOMER,))
        moved = BOTH if self.path is Path.AWAY or side is Side.AGENT else (Side.CUSTOMER,)
        if not self._wanted:
            return self._home(moved)
        if why := self._misfit(one_law=True):
            self.refused = why
            return self._home(moved)
        if self.path is Path.LEAVING and side is Side.CUSTOMER:
            return (self._move(Side.AGENT),)
        self.path = Path.AWAY
        return self._follow()

    def _move(self, side: Side) -> Move:
        to = self.told[side] = self._ends[side.other]
        self.waiting.add(side)
        return Move(side, to)

    def _follow(self) -> tuple[Order, ...]:
        """Tell each side where the other is now."""
        stale = [s for s in BOTH if s not in self.waiting and self.told.get(s) != self._ends[s.other]]
        if not stale:
            return ()
        self._followed += 1
        why = self._misfit(one_law=bool(self.told))
        if not why and self._followed > MOST_FOLLOWED:
            why = "the far ends keep moving"
        if why:
            self.refused = why
            return self._home(BOTH)
        return tuple(self._move(side) for side in stale)

    def _misfit(self, *, one_law: bool = False) -> str:
        customer, agent = (self._ends[side] for side in BOTH)
        if not (customer.listens and agent.listens):
            return "on hold"
        if bool(customer.event_payload_type) != bool(agent.event_payload_type):
            return "only one side knows telephone events"
        if one_law and customer.payload_type != agent.payload_type:
            return "no common codec"
        return ""

    def _home(self, sides: tuple[Side, ...]) -> tuple[Order, ...]:
        self.path = Path.RETURNING
        self.told.clear()
        self._tries.clear()
        self.waiting.update(sides)
        return tuple(Move(side, None) for side in sides)

    def _returned(self, side: Side, back: bool) -> tuple[Order, ...]:
        self._tries[side] = self._tries.get(side, 0) + 1
        if not back and self._tries[side] < HOME_TRIES:
            self.waiting.add(side)
            return (Move(side, None, again=True),)
        if not back:
            self.stuck.add(side)
            self.refused = f"{side.name.lower()} would not come back"
        if self.waiting:
            return ()
        self.path = Path.HERE
        return (StandBy(False),)
