"""Requests of agent desktops: JSON text messages to typed requests (pure codec; events are in `desktop_events`).

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

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from ocsd.config.objects import FormatField
from ocsd.model.enums import ContactInfoType, GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import CallingRecord
from ocsd.protocols.keyvalue import MAX_INT, MalformedObject, integer, json_type, parse_object, printable

ReferenceId: TypeAlias = int | str | None
"""As the desktop sent it: the answer carries "same key and same value", so a digit string stays a string."""

MAX_PHONE_CHARS: Final = 128
"""contact_info is varchar(128) in the manual's default format."""
MAX_NAME_CHARS: Final = 255
SECONDS_PER_DAY: Final = 86_400


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


@dataclass(frozen=True, slots=True)
class UpdateCallCompletionStats:
    """
    Intermediate update of a record.

    Attributes:
        changes: columns of the manual's modifiable mandatory fields -> checked value.
        custom: the other pairs, by send_attribute, still to be checked by `column_updates` against the list's format.
    """

    application_dbid: int
    record_handle: int
    campaign_name: str
    campaign_group_name: str | None = None
    calling_list: str | None = None
    changes: Mapping[str, int | str] = field(default_factory=dict)
    custom: Mapping[str, object] = field(default_factory=dict)
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RecordProcessed:
    """The agent has finished with the record; attributes as in `UpdateCallCompletionStats`."""

    application_dbid: int
    record_handle: int
    campaign_name: str
    calling_list: str
    campaign_group_name: str | None = None
    changes: Mapping[str, int | str] = field(default_factory=dict)
    custom: Mapping[str, object] = field(default_factory=dict)
    reference_id: ReferenceId = None


AgentRequest: TypeAlias = (
    RequestAgentLogin | RequestAgentReady | RequestAgentNotReady | RequestAgentLogout | RequestReleaseCall
)
RecordRequest: TypeAlias = UpdateCallCompletionStats | RecordProcessed
DesktopRequest: TypeAlias = AgentRequest | RecordRequest | CampaignStatusRequest

LATER_REQUESTS: Final = frozenset(
    {
        "PreviewRecordRequest",
        "PreviewDialingModeStart",
        "PreviewDialingModeOver",
        "ReadyTime",
        "RecordReject",
        "RequestRecordCancel",
        "RecordReschedule",
        "ScheduledRecordReschedule",
        "ChainedRecordRequest",
        "DoNotCall",
        "AddRecord",
        "LogOut",
    }
)
"""Requests of the manual that this version refuses by name."""

ATTACHED_KEYS: Final = frozenset(
    {
        "GSW_ABANDONED",
        "GSW_ACW_COMPLETED",
        "GSW_AGENT_ANSWERED",
        "GSW_AGENT_ID",
        "GSW_AGENT_RELEASED",
        "GSW_ATTEMPTS",
        "GSW_CALL_ATTEMPT_GUID",
        "GSW_CAMPAIGN_DESCRIPTION",
        "GSW_CAMPAIGN_GROUP_DBID",
        "GSW_CAMPAIGN_GROUP_DESCRIPTION",
        "GSW_CHAIN_ID",
        "GSW_CHAIN_N",
        "GSW_CPD_COMPLETED",
        "GSW_DIALING",
        "GSW_OPTIMIZE_BY",
        "GSW_OPTIMIZE_GOAL",
        "GSW_RECORD_URI",
        "GSW_RELEASED",
        "GSW_SCHEDULED_TIME",
        "GSW_SWITCH_DBID",
        "GSW_TENANT_NAME",
        "GSW_TZ_NAME",
        "GSW_TZ_OFFSET",
        "InteractionSubtype",
        "InteractionType",
    }
)
"""Keys that ocsd attaches and nobody may change: a desktop that sends a call's user data back may include them."""


def _whole(attribute: str, value: object, lowest: int, highest: int) -> int:
    number = integer(value, digits=True)
    if number is None or not lowest <= number <= highest:
        limits = f"{lowest} to {highest}" if highest < MAX_INT else f"{lowest} or more"
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must be an integer, {limits}, not {printable(value)}"
        )
    return number


def _text(attribute: str, value: object, longest: int, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must be a string, not {json_type(value)}"
        )
    if not empty and not value.strip():
        raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must not be empty")
    if len(value) > longest:
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} has {len(value)} characters, at most {longest} are allowed"
        )
    return value


class _Pairs:
    """The pairs of one message; what nobody took is unknown."""

    def __init__(self, pairs: Mapping[str, object]) -> None:
        self.left = dict(pairs)

    def whole(self, attribute: str, lowest: int = 1, highest: int = MAX_INT) -> int:
        return _whole(attribute, self._needed(attribute), lowest, highest)

    def text(self, attribute: str) -> str:
        return _text(attribute, self._needed(attribute), MAX_NAME_CHARS)

    def optional_text(self, attribute: str) -> str | None:
        return self.text(attribute) if attribute in self.left else None

    def reference(self, attribute: str) -> ReferenceId:
        value = self.left.pop(attribute, None)
        if value is None:
            return None
        _whole(attribute, value, -MAX_INT - 1, MAX_INT)
        return value if isinstance(value, str | int) else None

    def _needed(self, attribute: str) -> object:
        try:
            return self.left.pop(attribute)
        except KeyError:
            raise DesktopRequestError(GswError.ATTRIBUTE_NOT_FOUND, f"{attribute} is missing") from None

    def finish(self) -> None:
        for attribute in self.left:
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, f"{printable(attribute)} is no attribute of this request"
            )


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
    parsers: Mapping[str, "Callable[[_Pairs], DesktopRequest]"],
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
    taken = _Pairs(pairs)
    del taken.left[type_key]
    try:
        request = parser(taken)
        taken.finish()
    except DesktopRequestError as error:
        raise refused(error.error, error.description) from None
    return request


def _login(pairs: _Pairs) -> DesktopRequest:
    return RequestAgentLogin(pairs.text("AgentID"), pairs.reference("ReferenceID"))


def _ready(pairs: _Pairs) -> DesktopRequest:
    return RequestAgentReady(pairs.optional_text("AgentID"), pairs.reference("ReferenceID"))


def _not_ready(pairs: _Pairs) -> DesktopRequest:
    agent_id, reason = pairs.optional_text("AgentID"), pairs.optional_text("Reason")
    return RequestAgentNotReady(agent_id, reason, pairs.reference("ReferenceID"))


def _logout(pairs: _Pairs) -> DesktopRequest:
    return RequestAgentLogout(pairs.optional_text("AgentID"), pairs.reference("ReferenceID"))


def _release(pairs: _Pairs) -> DesktopRequest:
    return RequestReleaseCall(pairs.text("ConnID"), pairs.optional_text("AgentID"), pairs.reference("ReferenceID"))


def _campaign_status(pairs: _Pairs) -> DesktopRequest:
    # "OCS will never reply to CampaignStatusRequest with an error message": an unreadable DBID addresses nobody (0),
    # and whatever else stands in the message is passed over.
    application = pairs.left.get("GSW_APPLICATION_ID")
    reference = pairs.left.get("GSW_REFERENCE_ID")
    readable = reference if type(reference) is int or isinstance(reference, str) else None
    pairs.left.clear()
    if application is None:
        return CampaignStatusRequest(None, readable)
    return CampaignStatusRequest(integer(application, digits=True) or 0, readable)


def _update(pairs: _Pairs) -> DesktopRequest:
    application, handle = pairs.whole("GSW_APPLICATION_ID"), pairs.whole("GSW_RECORD_HANDLE")
    campaign, group = pairs.text("GSW_CAMPAIGN_NAME"), pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME")
    calling_list = pairs.optional_text("GSW_CALLING_LIST")
    reference = pairs.reference("GSW_REFERENCE_ID")
    changes, custom = _changes(pairs)
    return UpdateCallCompletionStats(application, handle, campaign, group, calling_list, changes, custom, reference)


def _processed(pairs: _Pairs) -> DesktopRequest:
    application, handle = pairs.whole("GSW_APPLICATION_ID"), pairs.whole("GSW_RECORD_HANDLE")
    campaign, calling_list = pairs.text("GSW_CAMPAIGN_NAME"), pairs.text("GSW_CALLING_LIST")
    group, reference = pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME"), pairs.reference("GSW_REFERENCE_ID")
    changes, custom = _changes(pairs)
    return RecordProcessed(application, handle, campaign, calling_list, group, changes, custom, reference)


_AGENT_REQUESTS: Final[Mapping[str, Callable[[_Pairs], DesktopRequest]]] = MappingProxyType(
    {
        "RequestAgentLogin": _login,
        "RequestAgentReady": _ready,
        "RequestAgentNotReady": _not_ready,
        "RequestAgentLogout": _logout,
        "RequestReleaseCall": _release,
    }
)
_GSW_REQUESTS: Final[Mapping[str, Callable[[_Pairs], DesktopRequest]]] = MappingProxyType(
    {
        "CampaignStatusRequest": _campaign_status,
        "UpdateCallCompletionStats": _update,
        "RecordProcessed": _processed,
    }
)

_MODIFIABLE: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {
        # Any call result from 0 up: sites use numbers of their own past the manual's 53.
        "GSW_CALL_RESULT": ("call_result", MAX_INT),
        "GSW_FROM": ("daily_from", SECONDS_PER_DAY),
        "GSW_UNTIL": ("daily_till", SECONDS_PER_DAY),
        "GSW_PHONE_TYPE": ("contact_info_type", max(ContactInfoType)),
    }
)
"""The manual's "Modifiable Mandatory Genesys Fields" of type Int: key -> (column, highest value)."""


def _changes(pairs: _Pairs) -> tuple[Mapping[str, int | str], Mapping[str, object]]:
    """Take the update out of a record request: checked mandatory fields, and custom pairs still to be checked."""
    changes: dict[str, int | str] = {}
    custom: dict[str, object] = {}
    for attribute, value in pairs.left.items():
        if attribute in _MODIFIABLE:
            column, highest = _MODIFIABLE[attribute]
            changes[column] = _whole(attribute, value, 0, highest)
        elif attribute == "GSW_PHONE":
            changes["contact_info"] = _text(attribute, value, MAX_PHONE_CHARS)
        elif attribute == "GSW_TREATMENT":
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE,
                "GSW_TREATMENT is not supported by this version: send the request without it",
            )
        elif attribute in ATTACHED_KEYS:
            continue
        elif attribute.startswith("GSW_"):
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, f"{printable(attribute)} is no attribute of this request"
            )
        else:
            custom[attribute] = value
    _check_window(changes.get("daily_from"), changes.get("daily_till"))
    pairs.left.clear()
    return MappingProxyType(changes), MappingProxyType(custom)


def _check_window(daily_from: int | str | None, daily_till: int | str | None) -> None:
    if isinstance(daily_from, int) and isinstance(daily_till, int) and daily_till <= daily_from:
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"GSW_UNTIL {daily_till} must be greater than GSW_FROM {daily_from}"
        )


def column_updates(
    request: RecordRequest, fields: Sequence[FormatField], record: CallingRecord | None = None
) -> dict[str, object]:
    """
    Return every column that ``request`` changes, with its checked value.

    Args:
        fields: the user columns of the record's format; custom pairs are found by ``send_attribute``.
        record: the record as it stands; with it, GSW_FROM or GSW_UNTIL alone is held against the other end of the
            record's window.

    Values: int for int columns, float for float, ``str`` for char and varchar, naive ``datetime`` for datetime.
    Raises DesktopRequestError 103 that names the attribute, also for a pair that belongs to no field: what an agent
    typed must not vanish silently.
    """
    by_attribute = {field_.send_attribute: field_ for field_ in fields if field_.send_attribute}
    updates: dict[str, object] = dict(request.changes)
    if record is not None and ("daily_from" in updates or "daily_till" in updates):
        _check_window(
            request.changes.get("daily_from", record.daily_from_s),
            request.changes.get("daily_till", record.daily_till_s),
        )
    for attribute, value in request.custom.items():
        if attribute not in by_attribute:
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE,
                f"no field of the calling list has send_attribute {printable(attribute)}",
            )
        column = by_attribute[attribute]
        updates[column.name] = _custom_value(attribute, column, value)
    return updates


def _custom_value(attribute: str, column: FormatField, value: object) -> int | float | str | datetime:
    if column.type == "int":
        return _whole(attribute, value, -MAX_INT - 1, MAX_INT)
    if column.type == "float":
        return _number(attribute, value)
    if column.type == "datetime":
        return _date_time(attribute, value)
    if type(value) is int:
        value = str(value)  # the manual's own examples send "CUSTOMER_CODE": 22
    return _text(attribute, value, column.length, empty=True)


def _number(attribute: str, value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise DesktopRequestError(
        GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must be a finite number, not {printable(value)}"
    )


_MANUAL_DATE: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?: (\d{1,2}):(\d{2}))?", re.ASCII)


def _date_time(attribute: str, value: object) -> datetime:
    """MM/DD/YY(YYYY) with or without HH:MM (the manual's GSW_DATE_TIME), or ISO 8601; an offset is turned into UTC."""
    text = _text(attribute, value, 40)
    try:
        manual = _MANUAL_DATE.fullmatch(text)
        if manual is None:
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
        month, day, year, hour, minute = (int(part or 0) for part in manual.groups())
        return datetime(year + 2000 if year < 100 else year, month, day, hour, minute)  # noqa: DTZ001 - column is naive
    except (ValueError, OverflowError):
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE,
            f"{attribute} must be a date and time like 10/30/2008 13:00 or 2008-10-30T13:00, not {printable(value)}",
        ) from None
