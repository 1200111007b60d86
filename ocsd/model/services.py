"""What the protocol edges (HTTP, desktops) ask of the sessions, as protocols, so that neither imports the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ocsd.model.enums import DialMode, GroupCampStatus, OptimizeBy
from ocsd.model.records import TypePriority


class CampaignRequest(Enum):
    """The requests of the Communication DN API that control a campaign group (HTTP ``req`` values)."""

    LOAD = "Load"
    START_DIALING = "StartDialing"
    SET_DIALING_MODE = "SetDialingMode"
    STOP_DIALING = "StopDialing"
    UNLOAD = "Unload"
    FORCE_UNLOAD = "ForceUnload"
    LAUNCH = "Launch"
    STAGE = "Stage"
    COMPLETE = "Complete"


@dataclass(frozen=True, slots=True)
class DialParameters:
    """Parameters of Load, StartDialing, SetDialingMode, Launch; None: not given (the configured value applies)."""

    dial_mode: DialMode | None = None
    optimize_by: OptimizeBy | None = None
    optimize_goal: int | None = None
    auto_completion: bool | None = None
    priorities: tuple[TypePriority, ...] = ()
    """dialing_priority of the types that are named; the others keep theirs."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One campaign group as GET /campaigngroups shows it; ``dial_mode`` etc. are None while it is not loaded."""

    dbid: int
    name: str
    campaign_dbid: int
    group_dbid: int
    status: GroupCampStatus
    dial_mode: DialMode | None
    optimize_by: OptimizeBy | None
    optimize_goal: int | None
    switch_dbid: int
    version: int
    """Changes whenever anything above does; becomes the Etag."""


class CampaignService(Protocol):
    async def request(self, dbid: int, request: CampaignRequest, parameters: DialParameters) -> None:
        """Carry out one request; raises CampaignRequestError with the manual's error number. Returns when accepted."""
        ...

    def status(self, dbid: int) -> GroupStatus | None:
        """None when no such campaign group is configured."""
        ...

    def statuses(self) -> list[GroupStatus]: ...

    def statistics(self, dbid: int) -> Mapping[str, float | int | None]:
        """Live figures: agents, calls, busy factor, overdial rate...; empty while the group is not loaded."""
        ...

    def pacing(self, dbid: int) -> Mapping[str, object]:
        """The last decision, predicted against actual, the last hour; empty while the group is not loaded."""
        ...

    def calls(self, dbid: int) -> Mapping[str, object]:
        """The calls under way, as an array under ``calls``; none while the group is not loaded."""
        ...

    def trunks(self) -> Sequence[Mapping[str, object]]:
        """All trunks: calls, health, and what keeps calls off (`ocsd.sessions.trunks.TrunkState`)."""
        ...

    def report_inbound(self, agent_group_dbid: int, queued: int, ringing: int, free: int | None = None) -> None:
        """
        Inbound calls for an agent group, as of now: waiting for an agent, and about to need one; ``free``: people whom
        a queue of another switch, which stands for the group's agents (option distribution), can take.

        CampaignRequestError when no such agent group is configured.
        """
        ...


class DesktopConnection(Protocol):
    """One open WebSocket of a desktop, as the sessions see it."""

    peer: str

    def send(self, message: Mapping[str, object]) -> None:
        """Queue one JSON object; never blocks. A desktop that reads too slowly is disconnected (bounded queue)."""
        ...


class DesktopService(Protocol):
    """Called by the WebSocket endpoint; messages are already validated by ocsd.protocols.desktop."""

    def connected(self, connection: DesktopConnection) -> None: ...

    async def received(self, connection: DesktopConnection, message: object) -> None:
        """One typed request of ocsd.protocols.desktop; answers and errors go out through ``connection.send``."""
        ...

    def disconnected(self, connection: DesktopConnection) -> None: ...
