"""Requests of agent desktops: JSON text messages to typed requests (pure codec; those about records are in
`desktop_records`, events in `desktop_events`).

Two dialects share the WebSocket, one JSON object per text message:

- **Agent state and calls**, with the T-Library's names: ``{"Request": "RequestAgentLogin", "AgentID": ..,
  "ReferenceID": ..}``. Answers are events; a refusal is an ``EventError``.
- **The desktop protocol** of the Reference Manual (chapter "Communication Protocols"): flat objects with
  ``GSW_AGENT_REQ_TYPE``. Answers carry ``GSW_USER_EVENT``; a refusal carries ``GSW_ERROR`` and its number.

Attributes that the manual types Int may also come as decimal digit strings, because desktops that grew up on
key-value lists often keep every value as text; booleans and fractions are refused. Where the manual sets no number:
a missing mandatory attribute is 102, a wrong value or an attribute that the request does not have is 103, everything
about the request's type or the message's form is 101.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols.add_record import AddRecord, add_record
from ocsd.protocols.desktop_agents import ANNOUNCING_REQUESTS, AnnouncingRequest, LogOut, ReadyTime
from ocsd.protocols.desktop_calls import CALL_REQUESTS, CallRequest, ControlRequest, MonitorRequest, SupervisorRequest
from ocsd.protocols.desktop_pairs import ATTACHED_KEYS, Pairs, ReferenceId
from ocsd.protocols.desktop_records import (
    RECORD_REQUESTS,
    DoNotCall,
    RecordProcessed,
    RecordReject,
    RecordRequest,
    RecordReschedule,
    RequestMakeCall,
    RequestRecordCancel,
    ScheduledRecordReschedule,
    UpdateCallCompletionStats,
    make_call,
)
from ocsd.protocols.desktop_updates import column_updates
from ocsd.protocols.keyvalue import MalformedObject, integer, json_type, parse_object, printable

__all__ = [
    "ATTACHED_KEYS",
    "LATER_REQUESTS",
    "AddRecord",
    "AgentRequest",
    "CampaignStatusRequest",
    "ControlRequest",
    "DesktopRequest",
    "DoNotCall",
    "LogOut",
    "ReadyTime",
    "RecordProcessed",
    "RecordReject",
    "RecordRequest",
    "RecordReschedule",
    "ReferenceId",
    "RefusedRequest",
    "RequestAgentLogin",
    "RequestAgentLogout",
    "RequestAgentNotReady",
    "RequestAgentReady",
    "RequestMakeCall",
    "RequestRecordCancel",
    "RequestReleaseCall",
    "ScheduledRecordReschedule",
    "SupervisorRequest",
    "UpdateCallCompletionStats",
    "column_updates",
    "parse",
]


class RefusedRequest(DesktopRequestError):
    """A message that cannot become a request, with all that its answer needs.

    Attributes:
        request: name of the request, if the message got that far.
        agent_state: True when the answer is an EventError, False for a desktop-protocol error.
        malformed: not even an object with a request's name in it; the endpoint closes after many of these.
    """

    def __init__(
        self,
        error: GswError,
        message: str,
        *,
        request: str = "",
        agent_state: bool = False,
        agent_id: str | None = None,
        reference_id: ReferenceId = None,
        malformed: bool = False,
    ) -> None:
        super().__init__(error, message)
        self.request = request
        self.agent_state = agent_state
        self.agent_id = agent_id
        self.reference_id = reference_id
        self.malformed = malformed


@dataclass(frozen=True, slots=True)
class RequestAgentLogin:
    agent_id: str
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestAgentReady:
    """``agent_id`` is None when left out: the agent who is logged in on this connection."""

    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestAgentNotReady:
    agent_id: str | None = None
    reason: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestAgentLogout:
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestReleaseCall:
    conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class CampaignStatusRequest:
    """``application_dbid`` None asks every application; one that is not ours is to be left unanswered."""

    application_dbid: int | None = None
    reference_id: ReferenceId = None


AgentRequest: TypeAlias = (
    RequestAgentLogin
    | RequestAgentReady
    | RequestAgentNotReady
    | RequestAgentLogout
    | RequestMakeCall
    | RequestReleaseCall
    | CallRequest
    | MonitorRequest
)
DesktopRequest: TypeAlias = AgentRequest | RecordRequest | AddRecord | AnnouncingRequest | CampaignStatusRequest

LATER_REQUESTS: Final = frozenset(
    {
        "PreviewRecordRequest",
        "PreviewDialingModeStart",
        "PreviewDialingModeOver",
        "ChainedRecordRequest",
    }
)
"""Requests of the manual that this version refuses by name."""


def parse(text: str) -> DesktopRequest:
    """
    Return the typed request in one text message.

    Raises RefusedRequest (101 invalid request, 102 attribute not found, 103 invalid attribute value) that names the
    attribute at fault and carries the reference identifier to be echoed.
    """
    try:
        pairs = parse_object(text)
    except MalformedObject as error:
        raise RefusedRequest(GswError.INVALID_REQUEST, str(error), malformed=True) from None
    if "Request" in pairs:
        if "GSW_AGENT_REQ_TYPE" in pairs:
            raise RefusedRequest(
                GswError.INVALID_REQUEST, "Request and GSW_AGENT_REQ_TYPE exclude each other", malformed=True
            )
        return _parse_named(pairs, "Request", "ReferenceID", _AGENT_REQUESTS)
    if "GSW_AGENT_REQ_TYPE" in pairs:
        return _parse_named(pairs, "GSW_AGENT_REQ_TYPE", "GSW_REFERENCE_ID", _GSW_REQUESTS)
    raise RefusedRequest(
        GswError.INVALID_REQUEST, "neither Request nor GSW_AGENT_REQ_TYPE is in the message", malformed=True
    )


def _parse_named(
    pairs: Mapping[str, object],
    type_key: str,
    reference_key: str,
    parsers: Mapping[str, "Callable[[Pairs], DesktopRequest]"],
) -> DesktopRequest:
    name = pairs[type_key]
    agent_id = pairs.get("AgentID")
    reference = pairs.get(reference_key)

    def refused(error: GswError, message: str) -> RefusedRequest:
        return RefusedRequest(
            error,
            message,
            request=name if isinstance(name, str) else "",
            agent_state=type_key == "Request",
            agent_id=agent_id if isinstance(agent_id, str) else None,
            reference_id=reference if isinstance(reference, str) or type(reference) is int else None,
        )

    if not isinstance(name, str):
        raise refused(GswError.INVALID_REQUEST, f"{type_key} must be a string, not {json_type(name)}")
    parser = parsers.get(name)
    if parser is None:
        why = "is not supported by this version" if name in LATER_REQUESTS else "is no known request"
        raise refused(GswError.INVALID_REQUEST, f"{type_key} {printable(name)} {why}")
    taken = Pairs(pairs)
    del taken.left[type_key]
    try:
        request = parser(taken)
        taken.finish()
    except DesktopRequestError as error:
        raise refused(error.error, error.description) from None
    return request


def _login(pairs: Pairs) -> DesktopRequest:
    return RequestAgentLogin(pairs.text("AgentID"), pairs.reference("ReferenceID"))


def _ready(pairs: Pairs) -> DesktopRequest:
    return RequestAgentReady(pairs.optional_text("AgentID"), pairs.reference("ReferenceID"))


def _not_ready(pairs: Pairs) -> DesktopRequest:
    agent_id, reason = pairs.optional_text("AgentID"), pairs.optional_text("Reason")
    return RequestAgentNotReady(agent_id, reason, pairs.reference("ReferenceID"))


def _logout(pairs: Pairs) -> DesktopRequest:
    return RequestAgentLogout(pairs.optional_text("AgentID"), pairs.reference("ReferenceID"))


def _release(pairs: Pairs) -> DesktopRequest:
    return RequestReleaseCall(pairs.text("ConnID"), pairs.optional_text("AgentID"), pairs.reference("ReferenceID"))


def _campaign_status(pairs: Pairs) -> DesktopRequest:
    # "OCS will never reply to CampaignStatusRequest with an error message": an unreadable DBID addresses nobody (0),
    # and whatever else stands in the message is passed over.
    application = pairs.left.get("GSW_APPLICATION_ID")
    reference = pairs.left.get("GSW_REFERENCE_ID")
    readable = reference if type(reference) is int or isinstance(reference, str) else None
    pairs.left.clear()
    if application is None:
        return CampaignStatusRequest(None, readable)
    return CampaignStatusRequest(integer(application, digits=True) or 0, readable)


_AGENT_REQUESTS: Final[Mapping[str, Callable[[Pairs], DesktopRequest]]] = MappingProxyType(
    {
        "RequestAgentLogin": _login,
        "RequestAgentReady": _ready,
        "RequestAgentNotReady": _not_ready,
        "RequestAgentLogout": _logout,
        "RequestMakeCall": make_call,
        "RequestReleaseCall": _release,
        **CALL_REQUESTS,
    }
)
_GSW_REQUESTS: Final[Mapping[str, Callable[[Pairs], DesktopRequest]]] = MappingProxyType(
    {
        "CampaignStatusRequest": _campaign_status,
        "AddRecord": add_record,
        **RECORD_REQUESTS,
        **ANNOUNCING_REQUESTS,
    }
)
