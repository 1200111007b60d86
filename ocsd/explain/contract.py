"""Why a record is dialed or not, and what a list will come to: values that the command line and HTTP show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol


class Reach(Enum):
    """What a gate is about."""

    RECORD = "record"
    """The record itself, its chain, its list."""
    GROUP = "group"
    """The campaign group that would dial it: loaded, running, agents, trunks, pacing."""


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """
    One gate on the way of a record to its call.

    Attributes:
        gate: short name, ``do_not_call``, ``window``, ``attempt_cap``...
        passed: None: cannot be told here (the daemon is not running, the database does not say); ``why`` says what
            would tell.
        why: one sentence, also when passed.
        inputs: what the gate looked at, JSON values.
        opens_at: when it would pass next if nothing else changed (aware UTC); None: it is open, or nobody can tell.
        remedy: what an operator could do about it; empty when passed.
    """

    gate: str
    passed: bool | None
    why: str
    reach: Reach = Reach.RECORD
    inputs: Mapping[str, object] = field(default_factory=dict)
    opens_at: datetime | None = None
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    Attributes:
        gates: in the order in which they are asked; all of them, also behind the first that is closed.
        dialed_now: every gate is open.
        next_at: the earliest instant at which all gates of the record would be open together, aware UTC; None: never
            as things stand, or it is open now.
        ahead: chains of its list that would be dialed before it; None: unknown.
    """

    calling_list: str
    record_id: int
    chain_id: int
    at: datetime
    dialed_now: bool
    summary: str
    gates: tuple[GateVerdict, ...]
    next_at: datetime | None = None
    ahead: int | None = None


@dataclass(frozen=True, slots=True)
class ReadyAt:
    """Chains that could be dialed at ``at`` (aware) if nothing were dialed before."""

    at: datetime
    chains: int


@dataclass(frozen=True, slots=True)
class ZoneReadiness:
    """
    The rows of one time zone that wait to be dialed.

    Attributes:
        zone: IANA name.
        ready: may be dialed now.
        closed: only hours hold them back (window, legal and business hours, the zones of the number).
        opens_at: the earliest opening among the closed ones, aware UTC; None: none, or never.
    """

    zone: str
    rows: int
    ready: int
    closed: int
    opens_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Preflight:
    """
    A calling list before a start.

    Attributes:
        rows, chains: admitted by the list's filter.
        ready_now: chains that have a record which may be dialed at ``at``, by any agent.
        held_back: rows by reason; each row is counted once, under the first gate that holds it back. Those that the
            filter excludes are not among ``rows``; all others and ``ready_rows`` are ``rows``.
        warnings: whatever an operator should know before starting, one sentence each.
        ready_rows: rows that no gate holds back.
        for_agents: chains that may go to the desktop of the one agent they wait for.
        on_do_not_call: rows that wait to be dialed and never will be, whatever else holds them back now.
        ready_by_hour: now, and every full hour of the next 24.
        zones: most rows first.
    """

    calling_list: str
    at: datetime
    rows: int
    chains: int
    ready_now: int
    held_back: Mapping[str, int]
    warnings: tuple[str, ...] = ()
    ready_rows: int = 0
    for_agents: int = 0
    on_do_not_call: int = 0
    ready_by_hour: tuple[ReadyAt, ...] = ()
    zones: tuple[ZoneReadiness, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupExplanation:
    """
    A campaign group: is it why nothing dials?

    Attributes:
        dials_now: every gate of the group is open; None: no daemon was asked.
        gates: in the order in which they matter.
    """

    campaign_group: str
    at: datetime
    dials_now: bool | None
    summary: str
    gates: tuple[GateVerdict, ...]


class Explainer(Protocol):
    """
    What the control port asks. Both raise TargetNotFound (no such list or record), StoreUnavailable, and ConfigError
    when the list's table or filter does not work.
    """

    async def why(self, calling_list: str, record_id: int) -> Explanation: ...

    async def preflight(self, calling_list: str) -> Preflight: ...

    async def feedback(self, campaign_group_dbid: int) -> Mapping[str, object]:
        """What agents said of the test calls of the group's campaign, by trunk, as JSON; raises as `why_group`."""
        ...

    async def why_group(self, campaign_group_dbid: int) -> GroupExplanation:
        """Raises CampaignRequestError when no such campaign group is configured, and StoreUnavailable."""
        ...
