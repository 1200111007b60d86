"""
The campaign-group machine: which request may follow which, and the manual's error number for every illegal one.

Theory of operation
-------------------
A campaign group is loaded (lists opened, buffer filled), runs (dials), stops, and is unloaded. Unloading waits for
calls and records on desktops (WaitingUnload), then gives buffered rows back (UnloadInProgress). ForceUnload does not.

    NotLoaded --Load/Stage--> Active --StartDialing/Launch--> Running --StopDialing--> Active
    NotLoaded --Launch--> Running
    Active --Unload/Complete--> WaitingUnload --drained--> UnloadInProgress --flushed--> NotLoaded
    Running --Complete--> WaitingUnload
    any loaded --ForceUnload--> UnloadInProgress

The machine is a table; the session (``session.py``) obeys the effects it returns. Source: Reference Manual,
"Communication DN API", GSW_CM_AttrError and GSW_CM_AttrGroupCampStatus; HTTP chapter for Launch, Stage and Complete.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from ocsd.model.enums import AHEAD_MODES, GVP_MODES, SEIZING_MODES, CmError, DialMode, GroupCampStatus, OptimizeBy
from ocsd.model.errors import CampaignRequestError
from ocsd.model.records import TypePriority
from ocsd.model.services import CampaignRequest, DialParameters


class GroupEvent(Enum):
    """What happens by itself."""

    DRAINED = "drained"  # no call and no record on a desktop is left
    FLUSHED = "flushed"  # buffered rows are back in the table


class Effect(Enum):
    """What the session has to do, in this order."""

    OPEN = "open"
    START = "start"
    SET_MODE = "set_mode"
    STOP = "stop"
    BEGIN_UNLOAD = "begin_unload"
    FORCE = "force"
    GIVE_BACK = "give_back"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Step:
    """A legal transition."""

    status: GroupCampStatus
    effects: tuple[Effect, ...]


_S = GroupCampStatus
_R = CampaignRequest
_E = Effect

_NOT_LOADED = CmError.CAMPAIGN_NOT_LOADED
_LOADED = CmError.CAMPAIGN_ALREADY_LOADED
_NOT_STARTED = CmError.CAMPAIGN_NOT_STARTED
_STARTED = CmError.CAMPAIGN_ALREADY_STARTED

REQUEST_TABLE: Final[Mapping[tuple[GroupCampStatus, CampaignRequest], Step | CmError]] = MappingProxyType(
    {
        (_S.NOT_LOADED, _R.LOAD): Step(_S.ACTIVE, (_E.OPEN,)),
        (_S.NOT_LOADED, _R.STAGE): Step(_S.ACTIVE, (_E.OPEN,)),
        (_S.NOT_LOADED, _R.LAUNCH): Step(_S.RUNNING, (_E.OPEN, _E.START)),
        (_S.NOT_LOADED, _R.START_DIALING): _NOT_LOADED,
        (_S.NOT_LOADED, _R.SET_DIALING_MODE): _NOT_LOADED,
        (_S.NOT_LOADED, _R.STOP_DIALING): _NOT_LOADED,
        (_S.NOT_LOADED, _R.UNLOAD): _NOT_LOADED,
        (_S.NOT_LOADED, _R.FORCE_UNLOAD): _NOT_LOADED,
        (_S.NOT_LOADED, _R.COMPLETE): _NOT_LOADED,
        (_S.ACTIVE, _R.LOAD): _LOADED,
        (_S.ACTIVE, _R.STAGE): _LOADED,
        # A staged group is launched by starting it.
        (_S.ACTIVE, _R.LAUNCH): Step(_S.RUNNING, (_E.START,)),
        (_S.ACTIVE, _R.START_DIALING): Step(_S.RUNNING, (_E.START,)),
        (_S.ACTIVE, _R.SET_DIALING_MODE): _NOT_STARTED,
        (_S.ACTIVE, _R.STOP_DIALING): _NOT_STARTED,
        (_S.ACTIVE, _R.UNLOAD): Step(_S.WAITING_UNLOAD, (_E.BEGIN_UNLOAD,)),
        (_S.ACTIVE, _R.FORCE_UNLOAD): Step(_S.UNLOAD_IN_PROGRESS, (_E.FORCE, _E.GIVE_BACK)),
        (_S.ACTIVE, _R.COMPLETE): Step(_S.WAITING_UNLOAD, (_E.BEGIN_UNLOAD,)),
        (_S.RUNNING, _R.LOAD): _LOADED,
        (_S.RUNNING, _R.STAGE): _LOADED,
        (_S.RUNNING, _R.LAUNCH): _STARTED,
        (_S.RUNNING, _R.START_DIALING): _STARTED,
        (_S.RUNNING, _R.SET_DIALING_MODE): Step(_S.RUNNING, (_E.SET_MODE,)),
        (_S.RUNNING, _R.STOP_DIALING): Step(_S.ACTIVE, (_E.STOP,)),
        # The manual's Unload is for a stopped session; Complete is the request that stops first.
        (_S.RUNNING, _R.UNLOAD): _STARTED,
        (_S.RUNNING, _R.FORCE_UNLOAD): Step(_S.UNLOAD_IN_PROGRESS, (_E.STOP, _E.FORCE, _E.GIVE_BACK)),
        (_S.RUNNING, _R.COMPLETE): Step(_S.WAITING_UNLOAD, (_E.STOP, _E.BEGIN_UNLOAD)),
        (_S.WAITING_UNLOAD, _R.LOAD): _LOADED,
        (_S.WAITING_UNLOAD, _R.STAGE): _LOADED,
        (_S.WAITING_UNLOAD, _R.LAUNCH): _LOADED,
        (_S.WAITING_UNLOAD, _R.START_DIALING): _NOT_LOADED,
        (_S.WAITING_UNLOAD, _R.SET_DIALING_MODE): _NOT_STARTED,
        (_S.WAITING_UNLOAD, _R.STOP_DIALING): _NOT_STARTED,
        (_S.WAITING_UNLOAD, _R.UNLOAD): _NOT_LOADED,
        (_S.WAITING_UNLOAD, _R.FORCE_UNLOAD): Step(_S.UNLOAD_IN_PROGRESS, (_E.FORCE, _E.GIVE_BACK)),
        (_S.WAITING_UNLOAD, _R.COMPLETE): _NOT_LOADED,
        (_S.UNLOAD_IN_PROGRESS, _R.LOAD): _LOADED,
        (_S.UNLOAD_IN_PROGRESS, _R.STAGE): _LOADED,
        (_S.UNLOAD_IN_PROGRESS, _R.LAUNCH): _LOADED,
        (_S.UNLOAD_IN_PROGRESS, _R.START_DIALING): _NOT_LOADED,
        (_S.UNLOAD_IN_PROGRESS, _R.SET_DIALING_MODE): _NOT_STARTED,
        (_S.UNLOAD_IN_PROGRESS, _R.STOP_DIALING): _NOT_STARTED,
        (_S.UNLOAD_IN_PROGRESS, _R.UNLOAD): _NOT_LOADED,
        (_S.UNLOAD_IN_PROGRESS, _R.FORCE_UNLOAD): _NOT_LOADED,
        (_S.UNLOAD_IN_PROGRESS, _R.COMPLETE): _NOT_LOADED,
    }
)

EVENT_TABLE: Final = MappingProxyType(
    {
        (_S.WAITING_UNLOAD, GroupEvent.DRAINED): Step(_S.UNLOAD_IN_PROGRESS, (_E.GIVE_BACK,)),
        (_S.UNLOAD_IN_PROGRESS, GroupEvent.FLUSHED): Step(_S.NOT_LOADED, (_E.CLOSED,)),
    }
)

_WHAT: Final = MappingProxyType(
    {
        CmError.CAMPAIGN_NOT_LOADED: "is not loaded (or is being unloaded)",
        CmError.CAMPAIGN_ALREADY_LOADED: "is already loaded",
        CmError.CAMPAIGN_NOT_STARTED: "is not dialing",
        CmError.CAMPAIGN_ALREADY_STARTED: "is dialing already; stop it first",
    }
)

AUTOMATIC_MODES: Final = frozenset({DialMode.PREDICTIVE, DialMode.PROGRESSIVE})
"""Transfer mode: agents are dialed when somebody answers."""
SUPPORTED_MODES: Final = AUTOMATIC_MODES | SEIZING_MODES | GVP_MODES
EXCHANGEABLE: Final = (AUTOMATIC_MODES, SEIZING_MODES)
"""Modes that may follow each other while the group dials: predictive and progressive of one kind."""


def step_request(status: GroupCampStatus, request: CampaignRequest, name: str) -> Step:
    """Return the transition; raises CampaignRequestError with the manual's number when the request is illegal now."""
    entry = REQUEST_TABLE[status, request]
    if isinstance(entry, CmError):
        raise CampaignRequestError(entry, f"{request.value}: campaign group {name!r} {_WHAT[entry]}")
    return entry


def step_event(status: GroupCampStatus, event: GroupEvent) -> Step | None:
    """Return the transition, or None when the event means nothing in this state."""
    return EVENT_TABLE.get((status, event))


@dataclass(frozen=True, slots=True)
class DialSettings:
    """Parameters in force. ``optimize_goal`` in percent (busy factor, overdial rate) or seconds (wait time)."""

    dial_mode: DialMode
    optimize_by: OptimizeBy
    optimize_goal: int
    auto_completion: bool = False
    priorities: tuple[TypePriority, ...] = ()
    """Of record types that a request has given one; the others have that of the options."""


def apply_parameters(
    current: DialSettings, given: DialParameters, *, running_mode: DialMode | None = None
) -> DialSettings:
    """
    Merge request parameters into the settings in force.

    Args:
        running_mode: mode of the running session, None when it is not dialing; only `EXCHANGEABLE` ones may follow
            each other while it runs (manual: "Invalid mode is requested for running campaign").

    Raises:
        CampaignRequestError: 15 for a mode this version does not have, 11 for a forbidden change, 10 for a goal
            outside its range.
    """
    mode = given.dial_mode if given.dial_mode is not None else current.dial_mode
    by = given.optimize_by if given.optimize_by is not None else current.optimize_by
    goal = given.optimize_goal if given.optimize_goal is not None else current.optimize_goal
    if running_mode is not None and mode != running_mode and not any({mode, running_mode} <= e for e in EXCHANGEABLE):
        raise CampaignRequestError(
            CmError.INVALID_CAMPAIGN_MODE,
            f"dial mode {mode.value} ({mode.campaign_mode}) cannot replace {running_mode.campaign_mode} while dialing; "
            "only predictive and progressive can be exchanged, with seizing or without",
        )
    if mode not in SUPPORTED_MODES:
        known = ", ".join(str(each.value) for each in sorted(SUPPORTED_MODES))
        raise CampaignRequestError(
            CmError.LICENSE_VIOLATION,
            f"dial mode {mode.value} ({mode.campaign_mode}) is not supported by this version; supported: {known}",
        )
    if by is OptimizeBy.WAIT_TIME:
        if not 1 <= goal <= 3600:
            raise CampaignRequestError(CmError.INVALID_PARAMETER, f"wait time goal must be 1-3600 s, got {goal}")
    elif not 1 <= goal <= 100 and mode in AHEAD_MODES:
        raise CampaignRequestError(CmError.INVALID_PARAMETER, f"optimize goal must be 1-100 percent, got {goal}")
    auto = given.auto_completion if given.auto_completion is not None else current.auto_completion
    named = {entry.record_type for entry in given.priorities}
    kept = tuple(entry for entry in current.priorities if entry.record_type not in named)
    return DialSettings(mode, by, goal, auto, (*kept, *given.priorities))
