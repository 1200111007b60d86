"""What only a running daemon knows, as values: the gates that look at it stay pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from ocsd.model.enums import DialMode, GroupCampStatus, RecordType


class Place(Enum):
    """Where a claimed chain is."""

    BUFFER = "buffer"
    HELD = "held"
    """In memory until a time that is soon."""
    VALIDATING = "validating"
    """In the buffer; pre-dial validation has not let it through yet."""
    SIFTING = "sifting"
    """Claimed, its gates are being asked."""
    ATTEMPT = "attempt"
    DESKTOP = "desktop"
    ELSEWHERE = "elsewhere"
    """Claimed by this run of the daemon, and on its way between two of the others."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """
    Attributes:
        record_id: the record that is to be dialed, is being called or is on a desktop; None: not known.
        queue_place: of a buffered chain among those of its list, from 1.
        until: of a held chain (aware UTC).
        guid, state: of an attempt; of a chain that is being validated ``state`` says how far that is.
        agent_id: on whose desktop; of an attempt: who talks.
    """

    place: Place
    record_id: int | None = None
    campaign_group: str = ""
    queue_place: int | None = None
    until: datetime | None = None
    guid: str = ""
    state: str = ""
    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class TrunkFacts:
    """``calls``: in progress, of all campaign groups. ``out``: what keeps calls off; empty: it takes them."""

    name: str
    calls: int
    max_calls: int
    out: str = ""


@dataclass(frozen=True, slots=True)
class LastDecision:
    """The pacing's."""

    launch: int
    because: str
    inputs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LegalWindow:
    """
    What the guard over the campaign's legal window leaves.

    Attributes:
        stopped: nothing is dialed.
        binds: calls start one for each free agent, or not at all.
        why: one sentence with the figures.
    """

    stopped: bool
    binds: bool
    why: str
    inputs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveGroup:
    """
    One campaign group as the daemon has it.

    Attributes:
        stopping: the daemon stops, or has not finished its recovery: nothing is claimed and dialed.
        agents: state by login ID, of every agent of the group.
        ports_free, starts_allowed: how many calls it may start now by ports (its own, the trunks', the servers') and
            by calls per second.
        in_progress: attempts under way.
        buffered, held: chains in memory; ``buffered_by_list``: by list DBID.
        shares: weight of each active list, by DBID.
        priorities: by record type; higher is dialed first.
        held_back: how often each gate of claimed chains has held one back since the group was loaded.
        legal: None: no legal window is watched, or the group is not loaded.
        queue_places: people whom a queue of another switch can take, which stands for the agents; None: there is none.
    """

    dbid: int
    name: str
    status: GroupCampStatus = GroupCampStatus.NOT_LOADED
    dial_mode: DialMode | None = None
    stopping: bool = False
    agents: Mapping[str, str] = field(default_factory=dict)
    trunks: tuple[TrunkFacts, ...] = ()
    ports_free: int = 0
    starts_allowed: int = 0
    in_progress: int = 0
    buffered: int = 0
    buffered_by_list: Mapping[int, int] = field(default_factory=dict)
    held: int = 0
    decision: LastDecision | None = None
    shares: Mapping[int, int] = field(default_factory=dict)
    priorities: Mapping[RecordType, int] = field(default_factory=dict)
    held_back: Mapping[str, int] = field(default_factory=dict)
    legal: LegalWindow | None = None
    queue_places: int | None = None

    @property
    def loaded(self) -> bool:
        return self.status is not GroupCampStatus.NOT_LOADED


@dataclass(frozen=True, slots=True)
class Live:
    """
    Attributes:
        owner: the name under which this run of the daemon claims chains.
        chain: where the record's chain is; None: not with this daemon.
    """

    owner: str
    groups: Mapping[int, LiveGroup] = field(default_factory=dict)
    chain: Whereabouts | None = None
