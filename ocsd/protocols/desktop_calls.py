"""
Call control of agent desktops with the T-Library's names: pairs to typed requests, and the events that follow (pure).

The Reference Manual leaves call control to the T-Library; names of requests, events and attributes are that library's.
``ConnID`` names a call, ``OtherDN`` another party: an agent (login ID or phone) or a number to be dialed. A second call
of the same agent, a consultation, has a ConnID of its own, given as ``TransferConnID`` or ``ConferenceConnID`` when the
two are to become one, and as ``PreviousConnID`` when only one of them is to go on.

Where the library leaves it to the switch:

- ``RequestMonitorNextCall`` takes the MonitorMode that switches keep in its Extensions as an attribute of its own:
  ``mute`` (listen), ``coach`` (whisper), ``connect`` (barge in). Asked again, it changes the mode of a call under way.
- A call of the agent that goes on when monitoring is asked for is "the next call".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols.attached_data import Message
from ocsd.protocols.desktop_pairs import MAX_PHONE_CHARS, Pairs, ReferenceId

CALL_TYPE_OUTBOUND: Final = 3
CALL_TYPE_CONSULT: Final = 4
"""CallTypeOutbound and CallTypeConsult of the T-Library."""

DTMF_DIGITS: Final = frozenset("0123456789*#ABCD")
MAX_DTMF_DIGITS: Final = 64
"""More than a card number with its security code and date; ten seconds of keys."""
MAX_DN_CHARS: Final = MAX_PHONE_CHARS


class MonitorMode(Enum):
    """What a supervisor does in an agent's call."""

    MUTE = "mute"
    """Listens; nobody hears the supervisor."""
    COACH = "coach"
    """Whispers: the agent alone hears the supervisor."""
    CONNECT = "connect"
    """Barges in: everybody does."""


class MonitorType(Enum):
    """For how many calls (MonitorNextCallType)."""

    ONE_CALL = "MonitorOneCall"
    ALL_CALLS = "MonitorAllCalls"


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """Common to all requests about a call."""


@dataclass(frozen=True, slots=True)
class SupervisorRequest:
    """Common to all requests of supervisors."""


@dataclass(frozen=True, slots=True)
class RequestHoldCall(ControlRequest):
    conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestRetrieveCall(ControlRequest):
    conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestSetMuteOn(ControlRequest):
    """Nobody hears the agent any more."""

    conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestSetMuteOff(ControlRequest):
    conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestSendDTMF(ControlRequest):
    """``digits``: keys pressed towards whoever the agent talks with."""

    conn_id: str
    digits: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestSingleStepTransfer(ControlRequest):
    """Blind transfer of the customer to ``other_dn``."""

    conn_id: str
    other_dn: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestInitiateTransfer(ControlRequest):
    """A consultation call that may become a transfer; the customer is put on hold."""

    conn_id: str
    other_dn: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestCompleteTransfer(ControlRequest):
    """``second_conn_id``: the consultation's."""

    conn_id: str
    second_conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestInitiateConference(ControlRequest):
    """A consultation call that may become a conference."""

    conn_id: str
    other_dn: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestCompleteConference(ControlRequest):
    conn_id: str
    second_conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestSingleStepConference(ControlRequest):
    """Bring ``other_dn`` into the call without a consultation."""

    conn_id: str
    other_dn: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestDeleteFromConference(ControlRequest):
    conn_id: str
    other_dn: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestAlternateCall(ControlRequest):
    """Hold the call that is talked in, and go on in the one that is held (``second_conn_id``)."""

    conn_id: str
    second_conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestReconnectCall(ControlRequest):
    """Release the consultation (``conn_id``) and go back to the customer (``second_conn_id``)."""

    conn_id: str
    second_conn_id: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


CallRequest: TypeAlias = (
    RequestHoldCall
    | RequestRetrieveCall
    | RequestSetMuteOn
    | RequestSetMuteOff
    | RequestSendDTMF
    | RequestSingleStepTransfer
    | RequestInitiateTransfer
    | RequestCompleteTransfer
    | RequestInitiateConference
    | RequestCompleteConference
    | RequestSingleStepConference
    | RequestDeleteFromConference
    | RequestAlternateCall
    | RequestReconnectCall
)


@dataclass(frozen=True, slots=True)
class RequestMonitorNextCall(SupervisorRequest):
    """A supervisor takes part in the calls of the agent ``other_dn``."""

    other_dn: str
    mode: MonitorMode = MonitorMode.MUTE
    kind: MonitorType = MonitorType.ONE_CALL
    agent_id: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestCancelMonitoring(SupervisorRequest):
    other_dn: str
    agent_id: str | None = None
    reference_id: ReferenceId = None


MonitorRequest: TypeAlias = RequestMonitorNextCall | RequestCancelMonitoring


# --- requests -------------------------------------------------------------------------------------------------------


def _common(pairs: Pairs) -> tuple[str | None, ReferenceId]:
    return pairs.optional_text("AgentID"), pairs.reference("ReferenceID")


def _about_call(kind: Callable[..., CallRequest]) -> Callable[[Pairs], CallRequest]:
    return lambda pairs: kind(pairs.text("ConnID"), *_common(pairs))


def _with_party(kind: Callable[..., CallRequest]) -> Callable[[Pairs], CallRequest]:
    return lambda pairs: kind(pairs.text("ConnID"), pairs.text("OtherDN", MAX_DN_CHARS), *_common(pairs))


def _with_second(kind: Callable[..., CallRequest], attribute: str) -> Callable[[Pairs], CallRequest]:
    return lambda pairs: kind(pairs.text("ConnID"), pairs.text(attribute), *_common(pairs))


def _send_dtmf(pairs: Pairs) -> CallRequest:
    conn_id, digits = pairs.text("ConnID"), pairs.text("DTMFDigits", MAX_DTMF_DIGITS).upper()
    if not DTMF_DIGITS.issuperset(digits):
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, "DTMFDigits may hold 0 to 9, *, #, A to D, and nothing else"
        )
    return RequestSendDTMF(conn_id, digits, *_common(pairs))


def _monitor(pairs: Pairs) -> MonitorRequest:
    other_dn = pairs.text("OtherDN", MAX_DN_CHARS)
    mode = pairs.optional_one_of("MonitorMode", tuple(each.value for each in MonitorMode))
    kind = pairs.optional_one_of("MonitorNextCallType", tuple(each.value for each in MonitorType))
    return RequestMonitorNextCall(
        other_dn,
        MonitorMode(mode) if mode is not None else MonitorMode.MUTE,
        MonitorType(kind) if kind is not None else MonitorType.ONE_CALL,
        *_common(pairs),
    )


def _cancel_monitoring(pairs: Pairs) -> MonitorRequest:
    return RequestCancelMonitoring(pairs.text("OtherDN", MAX_DN_CHARS), *_common(pairs))


CALL_REQUESTS: Final[Mapping[str, Callable[[Pairs], CallRequest | MonitorRequest]]] = MappingProxyType(
    {
        "RequestHoldCall": _about_call(RequestHoldCall),
        "RequestRetrieveCall": _about_call(RequestRetrieveCall),
        "RequestSetMuteOn": _about_call(RequestSetMuteOn),
        "RequestSetMuteOff": _about_call(RequestSetMuteOff),
        "RequestSendDTMF": _send_dtmf,
        "RequestSingleStepTransfer": _with_party(RequestSingleStepTransfer),
        "RequestInitiateTransfer": _with_party(RequestInitiateTransfer),
        "RequestCompleteTransfer": _with_second(RequestCompleteTransfer, "TransferConnID"),
        "RequestInitiateConference": _with_party(RequestInitiateConference),
        "RequestCompleteConference": _with_second(RequestCompleteConference, "ConferenceConnID"),
        "RequestSingleStepConference": _with_party(RequestSingleStepConference),
        "RequestDeleteFromConference": _with_party(RequestDeleteFromConference),
        "RequestAlternateCall": _with_second(RequestAlternateCall, "PreviousConnID"),
        "RequestReconnectCall": _with_second(RequestReconnectCall, "PreviousConnID"),
        "RequestMonitorNextCall": _monitor,
        "RequestCancelMonitoring": _cancel_monitoring,
    }
)
"""Parsers by the name of the request."""


# --- events ---------------------------------------------------------------------------------------------------------


class CallEvent(Enum):
    """What happened to a call of an agent, beyond `desktop_events.DesktopEvent`."""

    DIALING = "EventDialing"
    RINGING = "EventRinging"
    ESTABLISHED = "EventEstablished"
    RELEASED = "EventReleased"
    HELD = "EventHeld"
    RETRIEVED = "EventRetrieved"
    MUTE_ON = "EventMuteOn"
    MUTE_OFF = "EventMuteOff"
    DTMF_SENT = "EventDtmfSent"
    PARTY_ADDED = "EventPartyAdded"
    PARTY_CHANGED = "EventPartyChanged"
    PARTY_DELETED = "EventPartyDeleted"


@dataclass(frozen=True, slots=True)
class CallNews:
    """
    One event for one agent's desktop, still without what the shell knows of that desktop.

    Attributes:
        conn_id: the call's own.
        other_dn: with whom the agent talks in it, or whom the event is about.
        consult: a consultation call, which has another CallType.
        previous_conn_id: the call that has become this one (EventPartyChanged), or that this one was begun from.
        third_dn: who was added, who has left.
        digits: of EventDtmfSent.
        mode: how a supervisor takes part.
        reference_id: of the request that this answers.
    """

    event: CallEvent
    agent_id: str
    conn_id: str
    other_dn: str
    consult: bool = False
    previous_conn_id: str = ""
    third_dn: str = ""
    digits: str = ""
    mode: MonitorMode | None = None
    reference_id: ReferenceId = None


def call_news(news: CallNews, this_dn: str, user_data: Mapping[str, object]) -> Message:
    """The event as a desktop receives it; ``this_dn``: the agent's phone."""
    message: Message = {
        "Event": news.event.value,
        "AgentID": news.agent_id,
        "ConnID": news.conn_id,
        "ThisDN": this_dn,
        "OtherDN": news.other_dn,
        "CallType": CALL_TYPE_CONSULT if news.consult else CALL_TYPE_OUTBOUND,
    }
    if news.previous_conn_id:
        message["PreviousConnID"] = news.previous_conn_id
    if news.third_dn:
        message["ThirdPartyDN"] = news.third_dn
    if news.digits:
        message["DTMFDigits"] = news.digits
    if news.mode is not None:
        message["MonitorMode"] = news.mode.value
    message["UserData"] = dict(user_data)
    if news.reference_id is not None:
        message["ReferenceID"] = news.reference_id
    return message


def monitoring_event(request: MonitorRequest, supervisor_id: str, monitored_id: str) -> Message:
    """EventMonitoringNextCall or EventMonitoringCancelled: the answer to a supervisor."""
    begins = isinstance(request, RequestMonitorNextCall)
    message: Message = {
        "Event": "EventMonitoringNextCall" if begins else "EventMonitoringCancelled",
        "AgentID": supervisor_id,
        "OtherDN": request.other_dn,
        "MonitoredAgentID": monitored_id,
    }
    if isinstance(request, RequestMonitorNextCall):
        message["MonitorMode"] = request.mode.value
        message["MonitorNextCallType"] = request.kind.value
    if request.reference_id is not None:
        message["ReferenceID"] = request.reference_id
    return message
