"""What agent desktops receive: events, acknowledgements and notifications (pure builders).

Every function returns one JSON object, ready for `DesktopConnection.send`. Keys, their order and their types follow
the Reference Manual, chapter "Communication Protocols". Where the manual is silent:

- ``GSW_USER_EVENT`` of an error is ``Error`` (the manual: "... or error", and every message to a desktop has the key).
- ``GSW_ERROR`` is the manual's error name, the particulars are in ``GSW_ERROR_DESCRIPTION``.
- An ``EventError`` of the agent-state dialect uses the numbers of GSW_ERROR_NUMBER in ``ErrorCode``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ocsd.config.objects import FormatField
from ocsd.model.enums import GSW_ERROR_NAMES, ChainAttr, DialMode, GswError, RecordType
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import CallingRecord
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.attached_data import Message, custom_fields
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
    DATA_CHANGED = "EventAttachedDataChanged"
    """What the desktop was told of its call is not so any more: ``UserData`` has all of it anew."""
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
    previous_conn_id: str | None = None,
) -> Message:
    """
    A call event (EventDialing to EventReleased): ``this_dn`` is the agent's, ``other_dn`` the customer's number.

    ``previous_conn_id``: the engaging call that this one has been merged with.
    """
    message: Message = {
        "Event": event.value,
        "AgentID": agent_id,
        "ConnID": conn_id,
        "ThisDN": this_dn,
        "OtherDN": other_dn,
        "CallType": CALL_TYPE_OUTBOUND,
        "UserData": dict(user_data),
    }
    if previous_conn_id is not None:
        message["PreviousConnID"] = previous_conn_id
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
    ScheduledCall: the agent is to call the customer now. Custom fields as in `attached_data`.

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
    return message | custom_fields(fields, record)


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
