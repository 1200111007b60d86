"""What agent desktops receive: events, acknowledgements, notifications and a record's attached data (pure builders).

Every function returns one JSON object, ready for `DesktopConnection.send`. Keys, their order and their types follow
the Reference Manual, chapter "Communication Protocols". Where the manual is silent:

- ``GSW_USER_EVENT`` of an error is ``Error`` (the manual: "... or error", and every message to a desktop has the key).
- ``GSW_ERROR`` is the manual's error name, the particulars are in ``GSW_ERROR_DESCRIPTION``.
- An ``EventError`` of the agent-state dialect uses the numbers of GSW_ERROR_NUMBER in ``ErrorCode``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final

from ocsd.config.objects import FormatField
from ocsd.model.enums import GSW_ERROR_NAMES, ChainAttr, DialMode, GswError, OptimizeBy, RecordType
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import AttemptTimes, CallingRecord
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.commdn import MODES_WITH_GOAL
from ocsd.protocols.desktop import CampaignStatusRequest, DesktopRequest, ReferenceId, RefusedRequest
from ocsd.protocols.desktop_agents import LogOut, ReadyTime
from ocsd.protocols.desktop_records import (
    CallbackType,
    DoNotCall,
    RecordProcessed,
    RecordReject,
    RecordReschedule,
    RequestRecordCancel,
    ScheduledRecordReschedule,
    UpdateCallCompletionStats,
)

Message = dict[str, object]

CALL_TYPE_OUTBOUND: Final = 3
"""CallTypeOutbound of the T-Library."""


class DesktopEvent(Enum):
    """Names in ``Event``: what happened to an agent or to the agent's call."""

    AGENT_LOGIN = "EventAgentLogin"
    AGENT_READY = "EventAgentReady"
    AGENT_NOT_READY = "EventAgentNotReady"
    AGENT_LOGOUT = "EventAgentLogout"
    DIALING = "EventDialing"
    """The answer to RequestMakeCall: the agent's own phone is called next, then the customer."""
    RINGING = "EventRinging"
    ESTABLISHED = "EventEstablished"
    RELEASED = "EventReleased"
    ERROR = "EventError"


def agent_event(
    event: DesktopEvent, agent_id: str, reference_id: ReferenceId = None, reason: str | None = None
) -> Message:
    """EventAgentLogin, Ready, NotReady or Logout; ``reason`` as the desktop gave it with NotReady."""
    message: Message = {"Event": event.value, "AgentID": agent_id}
    if reason is not None:
        message["Reason"] = reason
    return _with_reference(message, "ReferenceID", reference_id)


def call_event(
    event: DesktopEvent,
    *,
    agent_id: str,
    conn_id: str,
    this_dn: str,
    other_dn: str,
    user_data: Mapping[str, object],
    reference_id: ReferenceId = None,
) -> Message:
    """A call event (EventDialing to EventReleased): ``this_dn`` is the agent's, ``other_dn`` the customer's number."""
    message: Message = {
        "Event": event.value,
        "AgentID": agent_id,
        "ConnID": conn_id,
        "ThisDN": this_dn,
        "OtherDN": other_dn,
        "CallType": CALL_TYPE_OUTBOUND,
        "UserData": dict(user_data),
    }
    return _with_reference(message, "ReferenceID", reference_id)


def error_event(
    error: GswError, description: str, agent_id: str | None = None, reference_id: ReferenceId = None
) -> Message:
    """EventError: the refusal of an agent-state or call request."""
    message: Message = {"Event": DesktopEvent.ERROR.value}
    if agent_id is not None:
        message["AgentID"] = agent_id
    message["ErrorCode"] = int(error)
    message["ErrorMessage"] = f"{GSW_ERROR_NAMES[error]}: {description}" if description else GSW_ERROR_NAMES[error]
    return _with_reference(message, "ReferenceID", reference_id)


def gsw_error(application_dbid: int, error: GswError, description: str, reference_id: ReferenceId = None) -> Message:
    """Error event of the desktop protocol."""
    message: Message = {
        "GSW_USER_EVENT": "Error",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_ERROR": GSW_ERROR_NAMES[error],
        "GSW_ERROR_NUMBER": int(error),
        "GSW_ERROR_DESCRIPTION": description or GSW_ERROR_NAMES[error],
    }
    return _with_reference(message, "GSW_REFERENCE_ID", reference_id)


def refusal(refused: RefusedRequest, application_dbid: int) -> Message:
    """Answer to a message that `desktop.parse` refused, in the dialect in which it was asked."""
    if refused.agent_state:
        return error_event(refused.error, refused.description, refused.agent_id, refused.reference_id)
    return gsw_error(application_dbid, refused.error, refused.description, refused.reference_id)


def refusal_of(request: DesktopRequest, error: DesktopRequestError, application_dbid: int) -> Message | None:
    """Answer to a well-formed request that could not be carried out; None for the one that is never refused."""
    match request:
        case CampaignStatusRequest():
            return None
        case (
            UpdateCallCompletionStats()
            | RecordProcessed()
            | RecordReject()
            | RequestRecordCancel()
            | DoNotCall()
            | RecordReschedule()
            | ScheduledRecordReschedule()
            | AddRecord()
            | ReadyTime()
            | LogOut()
        ):
            return gsw_error(application_dbid, error.error, error.description, request.reference_id)
        case _:
            return error_event(error.error, error.description, request.agent_id, request.reference_id)


def acknowledgement(
    request: UpdateCallCompletionStats | RecordProcessed | RecordReject,
    application_dbid: int,
    calling_list: str,
    campaign_name: str,
) -> Message:
    """UpdateCallCompletionStats-, RecordProcessed- or RecordRejectAcknowledge, with the names of the record itself."""
    message: Message = {
        "GSW_USER_EVENT": type(request).__name__ + "Acknowledge",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_CALLING_LIST": calling_list,
        "GSW_CAMPAIGN_NAME": campaign_name,
        "GSW_RECORD_HANDLE": request.record_handle,
    }
    return _with_reference(message, "GSW_REFERENCE_ID", request.reference_id)


def add_record_acknowledgement(
    request: AddRecord, application_dbid: int, calling_list: str, campaign_name: str
) -> Message:
    """AddRecordAcknowledge; the new record has no handle yet, so the manual's table has none."""
    message: Message = {
        "GSW_USER_EVENT": "AddRecordAcknowledge",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_CALLING_LIST": calling_list,
        "GSW_CAMPAIGN_NAME": campaign_name,
    }
    return _with_reference(message, "GSW_REFERENCE_ID", request.reference_id)


INCOMPLETE: Final = "Incomplete processing: record(s) on desktop"
"""GSW_MESSAGE of a RecordCancelAcknowledge when records on desktops have been left alone."""


def withdrawal_acknowledgement(
    request: RequestRecordCancel | DoNotCall, application_dbid: int, *, incomplete: bool = False
) -> Message:
    """
    RecordCancelAcknowledge or DoNotCallAcknowledge.

    What was asked for comes back, GSW_CHAIN_ATTR always. The table of RecordCancelAcknowledge has no GSW_CUSTOMER_ID;
    a cancel by customer ID is answered with it, as otherwise nothing would say what was cancelled.
    """
    cancel = isinstance(request, RequestRecordCancel)
    message: Message = {
        "GSW_USER_EVENT": "RecordCancelAcknowledge" if cancel else "DoNotCallAcknowledge",
        "GSW_APPLICATION_ID": application_dbid,
    }
    if request.calling_list is not None:
        message["GSW_CALLING_LIST"] = request.calling_list
    if request.campaign_name is not None:
        message["GSW_CAMPAIGN_NAME"] = request.campaign_name
    message["GSW_CHAIN_ATTR"] = request.chain_attr.value
    if cancel and incomplete:
        message["GSW_MESSAGE"] = INCOMPLETE
    if request.phone is not None:
        message["GSW_PHONE"] = request.phone
    if request.customer_id is not None:
        message["GSW_CUSTOMER_ID"] = request.customer_id
    if request.record_handle is not None:
        message["GSW_RECORD_HANDLE"] = request.record_handle
    if isinstance(request, DoNotCall) and request.duration_s is not None:
        message["GSW_DURATION"] = request.duration_s
    return _with_reference(message, "GSW_REFERENCE_ID", request.reference_id)


def reschedule_acknowledgement(
    request: RecordReschedule | ScheduledRecordReschedule,
    application_dbid: int,
    calling_list: str,
    campaign_name: str,
    *,
    callback_type: CallbackType,
    date_time: str,
) -> Message:
    """
    RecordRescheduleAcknowledge or ScheduledRecordRescheduleAcknowledge.

    Args:
        callback_type: the type that is in force, also when the request has left it as it was.
        date_time: when the call will be, in the record's zone: the time asked for, moved into the record's window.
    """
    message: Message = {
        "GSW_USER_EVENT": type(request).__name__ + "Acknowledge",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_CALLBACK_TYPE": callback_type.value,
        "GSW_CALLING_LIST": calling_list,
        "GSW_CAMPAIGN_NAME": campaign_name,
        "GSW_DATE_TIME": date_time,
    }
    if isinstance(request, ScheduledRecordReschedule) and request.phone is not None:
        message["GSW_PHONE"] = request.phone
    message["GSW_RECORD_HANDLE"] = request.record_handle
    return _with_reference(message, "GSW_REFERENCE_ID", request.reference_id)


def record_cancel(
    application_dbid: int,
    calling_list: str,
    campaign_name: str,
    record: CallingRecord,
    record_handle: int,
    *,
    chain_attr: ChainAttr,
    customer_id: object,
) -> Message:
    """
    RecordCancel: this record must not be dialed any more.

    ``customer_id`` is the value of the list's customer-id field: an integer stays one (the manual's table types the key
    Int, all others String), nothing is an empty string because the key is mandatory.
    """
    return {
        "GSW_USER_EVENT": "RecordCancel",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_CALLING_LIST": calling_list,
        "GSW_CAMPAIGN_NAME": campaign_name,
        "GSW_RECORD_HANDLE": record_handle,
        "GSW_CHAIN_ATTR": chain_attr.value,
        "GSW_PHONE": record.contact_info,
        "GSW_CUSTOMER_ID": customer_id if type(customer_id) is int else str(customer_id or ""),
    }


def callback_type_of(record_type: RecordType) -> CallbackType:
    """GSW_CALLBACK_TYPE of a scheduled record: Personal for the types that belong to one agent."""
    personal = record_type in (RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED)
    return CallbackType.PERSONAL if personal else CallbackType.CAMPAIGN


def scheduled_call(
    application_dbid: int,
    calling_list: str,
    campaign_name: str,
    record: CallingRecord,
    record_handle: int,
    *,
    date_time: str,
    tz_offset_s: int,
    fields: Sequence[FormatField],
) -> Message:
    """
    ScheduledCall: the agent is to call the customer now. Custom fields as in `user_data`.

    ``date_time``: when the call was due, in the record's zone. GSW_CALL_TIME is "0" when there was no call before.
    """
    message: Message = {
        "GSW_USER_EVENT": "ScheduledCall",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_ATTEMPTS": record.attempt,
        "GSW_CALL_RESULT": int(record.call_result),
        "GSW_CALL_TIME": str(record.call_time or 0),
        "GSW_CALLBACK_TYPE": callback_type_of(record.record_type).value,
        "GSW_CALLING_LIST": calling_list,
        "GSW_CAMPAIGN_NAME": campaign_name,
        "GSW_CHAIN_ID": record.chain_id,
        "GSW_DATE_TIME": date_time,
        "GSW_FROM": record.daily_from_s,
        "GSW_PHONE": record.contact_info,
        "GSW_PHONE_TYPE": int(record.contact_info_type),
        "GSW_RECORD_HANDLE": record_handle,
        "GSW_TZ_OFFSET": tz_offset_s,
        "GSW_UNTIL": record.daily_till_s,
    }
    return message | _custom_fields(fields, record)


@dataclass(frozen=True, slots=True)
class CampaignNames:
    """What every campaign notification says of its campaign group."""

    application_dbid: int
    campaign_name: str
    campaign_description: str
    campaign_group_name: str
    campaign_group_description: str


def campaign_started(names: CampaignNames, mode: DialMode, reference_id: ReferenceId = None) -> Message:
    """CampaignStarted. Its table has no GSW_CAMPAIGN_GROUP_DESCRIPTION, unlike those of the other notifications."""
    message: Message = {
        "GSW_USER_EVENT": "CampaignStarted",
        "GSW_APPLICATION_ID": names.application_dbid,
        "GSW_CAMPAIGN_DESCRIPTION": names.campaign_description,
        "GSW_CAMPAIGN_MODE": mode.campaign_mode,
        "GSW_CAMPAIGN_NAME": names.campaign_name,
        "GSW_CAMPAIGN_GROUP_NAME": names.campaign_group_name,
    }
    return _with_reference(message, "GSW_REFERENCE_ID", reference_id)


def campaign_loaded(names: CampaignNames, reference_id: ReferenceId = None) -> Message:
    return _notification("CampaignLoaded", names, reference_id)


def campaign_stopped(names: CampaignNames) -> Message:
    return _notification("CampaignStopped", names)


def campaign_unloaded(names: CampaignNames) -> Message:
    return _notification("CampaignUnloaded", names)


def campaign_group_assigned(names: CampaignNames, reference_id: ReferenceId = None) -> Message:
    return _notification("CampaignGroupAssigned", names, reference_id)


def campaign_mode_changed(names: CampaignNames, mode: DialMode) -> Message:
    return _notification("CampaignModeChanged", names) | {"GSW_CAMPAIGN_MODE": mode.campaign_mode}


def _notification(event: str, names: CampaignNames, reference_id: ReferenceId = None) -> Message:
    message: Message = {
        "GSW_USER_EVENT": event,
        "GSW_APPLICATION_ID": names.application_dbid,
        "GSW_CAMPAIGN_NAME": names.campaign_name,
        "GSW_CAMPAIGN_DESCRIPTION": names.campaign_description,
        "GSW_CAMPAIGN_GROUP_DESCRIPTION": names.campaign_group_description,
        "GSW_CAMPAIGN_GROUP_NAME": names.campaign_group_name,
    }
    return _with_reference(message, "GSW_REFERENCE_ID", reference_id)


def _with_reference(message: Message, key: str, reference_id: ReferenceId) -> Message:
    if reference_id is not None:
        message[key] = reference_id
    return message


@dataclass(frozen=True, slots=True)
class AttachedRecord:
    """
    All that a record's attached data is made of.

    Attributes:
        record_handle: ocsd's own running number of the record in work, from 1; not the row's record_id.
        call_result: the result as it stands now; the row's own one (of the last attempt) when None.
        tz_offset_s: offset of the record's zone from UTC now, daylight saving included, -43200..43200.
        fields: the user columns of the list's format; those with ``send_attribute`` are attached.
        verified: a test call: the desktop is to send what the call really was.
    """

    application_dbid: int
    tenant_name: str
    campaign_name: str
    campaign_description: str
    campaign_group_dbid: int
    campaign_group_name: str
    campaign_group_description: str
    calling_list: str
    switch_dbid: int
    record: CallingRecord
    record_handle: int
    record_uri: str
    attempt_guid: str
    tz_offset_s: int
    tz_name: str = ""
    call_result: int | None = None
    dial_mode: DialMode | None = None
    optimize_by: OptimizeBy | None = None
    optimize_goal: int | None = None
    processing_at: datetime | None = None
    times: AttemptTimes = field(default_factory=AttemptTimes)
    fields: Sequence[FormatField] = ()
    verified: bool = False


_SCHEDULED_TYPES: Final = frozenset(
    {
        RecordType.CAMPAIGN_RESCHEDULED,
        RecordType.PERSONAL_RESCHEDULED,
        RecordType.PERSONAL_CALLBACK,
        RecordType.CAMPAIGN_CALLBACK,
    }
)


def record_uri(host: str, port: int, record_handle: int) -> str:
    """GSW_RECORD_URI: where clients reach the record over HTTP ("URI Delivery to the Client")."""
    bracketed = f"[{host}]" if ":" in host else host
    return f"http://{bracketed}:{port}/records/{record_handle}"


def user_data(attached: AttachedRecord) -> Message:
    """
    The attached data of a record: "Default Record Information", some reserved keys, and the custom fields.

    GSW_CAMPAIGN_GROUP_DBID is a string, as in the manual's table. Pairs without a value are left out. Custom fields
    of type int go as integers, all others as strings ("Custom Data Formats").
    """
    record = attached.record
    message: Message = {
        "GSW_RECORD_HANDLE": attached.record_handle,
        "GSW_RECORD_URI": attached.record_uri,
        "GSW_APPLICATION_ID": attached.application_dbid,
        "GSW_TENANT_NAME": attached.tenant_name,
        "GSW_CAMPAIGN_NAME": attached.campaign_name,
        "GSW_CAMPAIGN_DESCRIPTION": attached.campaign_description,
        "GSW_CAMPAIGN_GROUP_DBID": str(attached.campaign_group_dbid),
        "GSW_CAMPAIGN_GROUP_NAME": attached.campaign_group_name,
        "GSW_CAMPAIGN_GROUP_DESCRIPTION": attached.campaign_group_description,
        "GSW_CALLING_LIST": attached.calling_list,
        "GSW_SWITCH_DBID": attached.switch_dbid,
        "GSW_PHONE": record.contact_info,
        "GSW_PHONE_TYPE": int(record.contact_info_type),
        "GSW_CHAIN_ID": record.chain_id,
        "GSW_CHAIN_N": record.chain_n,
        "GSW_ATTEMPTS": record.attempt,
        "GSW_CALL_RESULT": int(record.call_result if attached.call_result is None else attached.call_result),
        "GSW_CALL_ATTEMPT_GUID": attached.attempt_guid,
        "GSW_TZ_OFFSET": attached.tz_offset_s,
        "GSW_FROM": record.daily_from_s,
        "GSW_UNTIL": record.daily_till_s,
        "InteractionType": "Outbound",
        "InteractionSubtype": "OutboundNew",
    }
    if attached.verified:
        message["GSW_CALL_RESULT_FEEDBACK"] = 1  # its presence is the message
    if attached.tz_name:
        message["GSW_TZ_NAME"] = attached.tz_name
    if record.agent_id:
        message["GSW_AGENT_ID"] = record.agent_id
    if record.record_type in _SCHEDULED_TYPES and record.dial_sched_time:
        message["GSW_SCHEDULED_TIME"] = record.dial_sched_time
    if attached.dial_mode in MODES_WITH_GOAL:
        if attached.optimize_by is not None:
            message["GSW_OPTIMIZE_BY"] = int(attached.optimize_by)
        if attached.optimize_goal is not None:
            message["GSW_OPTIMIZE_GOAL"] = attached.optimize_goal
    if attached.processing_at is not None:
        message["GSW_START_PROCESSING"] = int(attached.processing_at.timestamp())
    return message | _audit_times(attached.times) | _custom_fields(attached.fields, record)


def _audit_times(times: AttemptTimes) -> Message:
    stamps: tuple[tuple[str, datetime | None], ...] = (
        ("GSW_DIALING", times.dialing_at),
        ("GSW_CPD_COMPLETED", times.cpd_completed_at),
        ("GSW_AGENT_ANSWERED", times.agent_answered_at),
        ("GSW_AGENT_RELEASED", times.agent_released_at),
        ("GSW_RELEASED", times.released_at),
        ("GSW_ACW_COMPLETED", times.acw_completed_at),
        ("GSW_ABANDONED", times.abandoned_at),
    )
    return {key: int(moment.timestamp()) for key, moment in stamps if moment is not None}


def _custom_fields(fields: Sequence[FormatField], record: CallingRecord) -> Message:
    values = {column: record.user_fields.get(column.name) for column in fields if column.send_attribute}
    return {
        column.send_attribute: _custom_field(column, value) for column, value in values.items() if value is not None
    }


def _custom_field(column: FormatField, value: object) -> int | str:
    if column.type == "int" and isinstance(value, int):
        return value
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)
