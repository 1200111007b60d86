"""What a conversation under call control is made of: states, parties, what is heard, what there is to do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from ocsd.model.enums import GswError
from ocsd.protocols import desktop_calls as ask
from ocsd.protocols.desktop import RequestReleaseCall
from ocsd.protocols.desktop_calls import CallNews
from ocsd.protocols.desktop_pairs import ReferenceId

if TYPE_CHECKING:
    from ocsd.sessions.attempt_context import DialPlan


class Talk(Enum):
    """See the diagram of `ocsd.sessions.call_control`."""

    TALKING = auto()
    HELD = auto()
    CONSULT_DIALING = auto()
    CONSULTING = auto()
    ALTERNATED = auto()
    ADDING = auto()
    CONFERENCE = auto()
    HANDING_OVER = auto()
    OVER = auto()
    """The customer is with somebody outside, or gone: nothing is left to control."""


class Who(Enum):
    """The parties of a call."""

    CUSTOMER = auto()
    AGENT = auto()
    THIRD = auto()


@dataclass(frozen=True, slots=True)
class Audio:
    """Who talks with whom, who is played music, who hears a phone ring. Nobody is in two of them."""

    talk: frozenset[Who] = frozenset()
    music: frozenset[Who] = frozenset()
    ringback: frozenset[Who] = frozenset()


_C, _A, _T = Who.CUSTOMER, Who.AGENT, Who.THIRD
AUDIO_OF: Final[Mapping[Talk, Audio]] = MappingProxyType(
    {
        Talk.TALKING: Audio(talk=frozenset({_C, _A})),
        Talk.HELD: Audio(music=frozenset({_C})),
        Talk.CONSULT_DIALING: Audio(music=frozenset({_C}), ringback=frozenset({_A})),
        Talk.CONSULTING: Audio(talk=frozenset({_A, _T}), music=frozenset({_C})),
        Talk.ALTERNATED: Audio(talk=frozenset({_C, _A}), music=frozenset({_T})),
        Talk.ADDING: Audio(talk=frozenset({_C, _A})),
        Talk.CONFERENCE: Audio(talk=frozenset({_C, _A, _T})),
        Talk.HANDING_OVER: Audio(ringback=frozenset({_C})),
        Talk.OVER: Audio(),
    }
)


@dataclass(frozen=True, slots=True)
class Destination:
    """
    Where a third party is.

    Attributes:
        dn: as desktops know it: an agent's phone, or the number.
        uri: what is dialed.
        agent_id: the agent who is there; None: nobody of ours.
        member: an agent of the same campaign group: the record goes along with the call.
        trunk: over which it is dialed, where it is outside; "": over none.
        plan: how, there.
    """

    dn: str
    uri: str
    agent_id: str | None = None
    member: bool = False
    trunk: str = ""
    plan: "DialPlan | None" = None


@dataclass(frozen=True, slots=True)
class Third:
    """
    The third party.

    Attributes:
        number: how many there have been in this call, this one included; part of the ConnID of its consultation.
        consult: it was called for a consultation, which has a ConnID of its own until both calls become one.
        told: its desktop has been told of it.
        reference_id: of the request that is not answered yet.
    """

    number: int
    destination: Destination
    consult: bool
    told: bool = False
    reference_id: ReferenceId = None

    @property
    def dn(self) -> str:
        return self.destination.dn


class Act(Enum):
    """What the shell has to do."""

    DIAL_THIRD = auto()
    HANG_UP_THIRD = auto()
    HAND_OVER = auto()  # the third party's leg takes the place of the agent's, which is released
    AGENT_LEAVES = auto()  # the agent's leg is released, the customer still waits for the third party
    END = auto()  # nobody is left for the customer
    MUTE = auto()  # `muted` has changed


@dataclass(frozen=True, slots=True)
class SendKeys:
    """Press keys towards somebody; ``news`` is told when that is done."""

    to: Who
    digits: str
    news: CallNews


@dataclass(frozen=True, slots=True)
class Refused:
    """What had been accepted has come to nothing."""

    agent_id: str
    description: str
    reference_id: ReferenceId = None
    error: GswError = GswError.INVALID_REQUEST


Step: TypeAlias = Act | SendKeys | CallNews | Refused
Request: TypeAlias = ask.CallRequest | RequestReleaseCall

WITH_THIRD: Final = frozenset({Talk.CONSULT_DIALING, Talk.CONSULTING, Talk.ALTERNATED})
"""A consultation is under way: the agent has two calls."""


def conn_id(attempt_id: int, consultation: int = 0) -> str:
    """
    ConnID of an attempt's call, 16 hexadecimal digits as the T-Library writes it; stable across restarts.

    ``consultation``: the number of a third party, for the call with it.
    """
    return f"{consultation % 128 << 56 | attempt_id:016x}"


def attempt_of(conn: str) -> int | None:
    """The attempt of a ConnID, consultations included; None: it is none."""
    try:
        return int(conn, 16) & ((1 << 56) - 1) if len(conn) == 16 else None
    except ValueError:
        return None
