"""Requests of agent desktops about records: pairs to typed requests (pure codec).

Sources: Reference Manual, chapter "Communication Protocols": "Updating Call Results and Custom Fields", "Rejecting
Records", "Canceling Records", "Submitting DoNotCall Requests", "Scheduling and Rescheduling Records", and its table of
reserved keys. Where the manual is silent:

- A record on a call is dialed by T-Library's RequestMakeCall, which names the record by ``RecordHandle`` or by
  ``GSW_RECORD_HANDLE`` in ``UserData``.
- Attached data that a desktop sends back with a request is passed over; any other pair that the request does not have
  is 103.
- A cancel by customer ID alone is accepted: the table has it as third way, the "Mandatory Fields" forget it.
- GSW_DURATION, which only the acknowledgement's table has, is an attribute of DoNotCall.
- GSW_DATE_TIME is ``MM/DD/YY(YYYY) HH:MM``; a date without a time (as in the SCXML examples) is the begin of that day,
  which the daily window moves to its opening. Text that is no date and time is 111, a time that cannot be is 110.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from ocsd.model.enums import CallbackType as CallbackType
from ocsd.model.enums import ChainAttr, GswError
from ocsd.model.enums import RecordTreatment as RecordTreatment
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols.desktop_pairs import MAX_PHONE_CHARS, Pairs, ReferenceId, missing, text, whole
from ocsd.protocols.desktop_times import manual_date_time
from ocsd.protocols.desktop_updates import take_changes
from ocsd.protocols.keyvalue import MAX_INT, json_type, printable

MAX_MESSAGE_CHARS: Final = 255
"""dnc_message is varchar(255) in gsw_donotcall_list."""
MAX_CUSTOMER_ID_CHARS: Final = 64
"""customer_id is varchar(64) in gsw_donotcall_list."""
MAX_DNC_PHONE_CHARS: Final = 64
"""phone is varchar(64) in gsw_donotcall_list."""


@dataclass(frozen=True, slots=True)
class UpdateCallCompletionStats:
    """
    Intermediate update of a record.

    Attributes:
        campaign_name: None: not said (only over HTTP, where the handle is enough).
        changes: columns of the manual's modifiable mandatory fields -> checked value.
        custom: the other pairs, by send_attribute, still to be checked by `column_updates` against the list's format.
    """

    application_dbid: int
    record_handle: int
    campaign_name: str | None
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
    campaign_name: str | None
    calling_list: str | None
    campaign_group_name: str | None = None
    changes: Mapping[str, int | str] = field(default_factory=dict)
    custom: Mapping[str, object] = field(default_factory=dict)
    reference_id: ReferenceId = None
    treatment: RecordTreatment | None = None


@dataclass(frozen=True, slots=True)
class RecordReject:
    """The agent does not want to call the record now."""

    application_dbid: int
    record_handle: int
    campaign_name: str | None
    calling_list: str | None
    campaign_group_name: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestRecordCancel:
    """
    Cancel records: the one with the handle, else those with the phone number, else those with the customer ID.

    All three may be given; ``record_handle`` decides before ``phone``, that before ``customer_id``. Campaign and list
    are given whenever the handle is.
    """

    application_dbid: int
    record_handle: int | None = None
    phone: str | None = None
    customer_id: str | None = None
    chain_attr: ChainAttr = ChainAttr.ALL_CHAIN
    campaign_name: str | None = None
    calling_list: str | None = None
    campaign_group_name: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class DoNotCall:
    """
    Nobody may call the number or the customer any more; which one as in `RequestRecordCancel`.

    ``duration_s``: None: for ever.
    """

    application_dbid: int
    record_handle: int | None = None
    phone: str | None = None
    customer_id: str | None = None
    chain_attr: ChainAttr = ChainAttr.ALL_CHAIN
    message: str = ""
    duration_s: int | None = None
    campaign_name: str | None = None
    calling_list: str | None = None
    campaign_group_name: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RecordReschedule:
    """``local_time``: naive, on the clocks of the record's zone."""

    application_dbid: int
    record_handle: int
    campaign_name: str | None
    callback_type: CallbackType
    local_time: datetime
    calling_list: str | None = None
    campaign_group_name: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class ScheduledRecordReschedule:
    """As `RecordReschedule`; ``callback_type`` None leaves the type as it is, ``phone`` changes the number."""

    application_dbid: int
    record_handle: int
    campaign_name: str | None
    callback_type: CallbackType | None
    local_time: datetime
    phone: str | None = None
    calling_list: str | None = None
    campaign_group_name: str | None = None
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class RequestMakeCall:
    """An agent calls the customer of a record on the desktop. ``other_dn``, when given, must be the record's number."""

    record_handle: int
    agent_id: str | None = None
    other_dn: str | None = None
    reference_id: ReferenceId = None


CorrectingRequest: TypeAlias = UpdateCallCompletionStats | RecordProcessed
RescheduleRequest: TypeAlias = RecordReschedule | ScheduledRecordReschedule
WithdrawingRequest: TypeAlias = RequestRecordCancel | DoNotCall
RecordRequest: TypeAlias = CorrectingRequest | RecordReject | RescheduleRequest | WithdrawingRequest


# --- pairs to requests -------------------------------------------------------------------------------------------


def _update(pairs: Pairs) -> RecordRequest:
    application, handle = pairs.whole("GSW_APPLICATION_ID"), pairs.whole("GSW_RECORD_HANDLE")
    campaign, group = pairs.name("GSW_CAMPAIGN_NAME"), pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME")
    calling_list = pairs.optional_text("GSW_CALLING_LIST")
    reference = pairs.reference("GSW_REFERENCE_ID")
    changes, custom = take_changes(pairs)
    return UpdateCallCompletionStats(application, handle, campaign, group, calling_list, changes, custom, reference)


def _processed(pairs: Pairs) -> RecordRequest:
    application, handle = pairs.whole("GSW_APPLICATION_ID"), pairs.whole("GSW_RECORD_HANDLE")
    campaign, calling_list = pairs.name("GSW_CAMPAIGN_NAME"), pairs.name("GSW_CALLING_LIST")
    group, reference = pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME"), pairs.reference("GSW_REFERENCE_ID")
    treatment = pairs.optional_one_of("GSW_TREATMENT", tuple(value.value for value in RecordTreatment))
    changes, custom = take_changes(pairs)
    return RecordProcessed(
        application,
        handle,
        campaign,
        calling_list,
        group,
        changes,
        custom,
        reference,
        RecordTreatment(treatment) if treatment is not None else None,
    )


def _reject(pairs: Pairs) -> RecordRequest:
    request = RecordReject(
        application_dbid=pairs.whole("GSW_APPLICATION_ID"),
        record_handle=pairs.whole("GSW_RECORD_HANDLE"),
        campaign_name=pairs.name("GSW_CAMPAIGN_NAME"),
        calling_list=pairs.name("GSW_CALLING_LIST"),
        campaign_group_name=pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME"),
        reference_id=pairs.reference("GSW_REFERENCE_ID"),
    )
    pairs.pass_over_attached()
    return request


def _chain_attr(pairs: Pairs) -> ChainAttr:
    given = pairs.optional_one_of("GSW_CHAIN_ATTR", tuple(value.value for value in ChainAttr))
    return ChainAttr(given) if given is not None else ChainAttr.ALL_CHAIN


def _names_of_handle(pairs: Pairs, handle: int | None) -> tuple[str | None, str | None]:
    """Campaign and list: "if GSW_RECORD_HANDLE is specified, GSW_CAMPAIGN_NAME and GSW_CALLING_LIST must be"."""
    if handle is not None:
        return pairs.name("GSW_CAMPAIGN_NAME"), pairs.name("GSW_CALLING_LIST")
    return pairs.optional_text("GSW_CAMPAIGN_NAME"), pairs.optional_text("GSW_CALLING_LIST")


def _cancel(pairs: Pairs) -> RecordRequest:
    application, handle = pairs.whole("GSW_APPLICATION_ID"), pairs.optional_whole("GSW_RECORD_HANDLE")
    campaign, calling_list = _names_of_handle(pairs, handle)
    phone = pairs.optional_text("GSW_PHONE", MAX_PHONE_CHARS)
    customer_id = pairs.optional_name("GSW_CUSTOMER_ID")
    if handle is None and phone is None and customer_id is None:
        raise missing("GSW_PHONE")
    request = RequestRecordCancel(
        application_dbid=application,
        record_handle=handle,
        phone=phone,
        customer_id=customer_id,
        chain_attr=_chain_attr(pairs),
        campaign_name=campaign,
        calling_list=calling_list,
        campaign_group_name=pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME"),
        reference_id=pairs.reference("GSW_REFERENCE_ID"),
    )
    pairs.pass_over_attached()
    return request


def _do_not_call(pairs: Pairs) -> RecordRequest:
    application, handle = pairs.whole("GSW_APPLICATION_ID"), pairs.optional_whole("GSW_RECORD_HANDLE")
    campaign, calling_list = _names_of_handle(pairs, handle)
    phone = pairs.optional_text("GSW_PHONE", MAX_DNC_PHONE_CHARS)
    customer_id = pairs.optional_name("GSW_CUSTOMER_ID", MAX_CUSTOMER_ID_CHARS)
    if handle is None and phone is None and customer_id is None:
        raise missing("GSW_PHONE or GSW_CUSTOMER_ID")
    message = pairs.left.pop("GSW_MESSAGE", "")
    request = DoNotCall(
        application_dbid=application,
        record_handle=handle,
        phone=phone,
        customer_id=customer_id,
        chain_attr=_chain_attr(pairs),
        message=text("GSW_MESSAGE", message, MAX_MESSAGE_CHARS, empty=True),
        duration_s=pairs.optional_whole("GSW_DURATION"),
        campaign_name=campaign,
        calling_list=calling_list,
        campaign_group_name=pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME"),
        reference_id=pairs.reference("GSW_REFERENCE_ID"),
    )
    pairs.pass_over_attached()
    return request


def scheduled_time(pairs: Pairs) -> datetime:
    """Take GSW_DATE_TIME, naive; DesktopRequestError 102 without it, 111 for what is no date and time."""
    given = (
        text("GSW_DATE_TIME", pairs.left["GSW_DATE_TIME"], MAX_INT, empty=True)
        if "GSW_DATE_TIME" in pairs.left
        else None
    )
    if given is None:
        raise missing("GSW_DATE_TIME")
    del pairs.left["GSW_DATE_TIME"]
    try:
        local_time = manual_date_time(given.strip())
    except ValueError:
        local_time = None
    if local_time is None:
        raise DesktopRequestError(
            GswError.INVALID_TIME_FORMAT,
            f"GSW_DATE_TIME must be a date and time like 10/30/2008 13:00, not {printable(given)}",
        )
    return local_time


_CALLBACK_TYPES: Final = tuple(value.value for value in CallbackType)


def _reschedule(pairs: Pairs) -> RecordRequest:
    request = RecordReschedule(
        application_dbid=pairs.whole("GSW_APPLICATION_ID"),
        record_handle=pairs.whole("GSW_RECORD_HANDLE"),
        campaign_name=pairs.name("GSW_CAMPAIGN_NAME"),
        callback_type=CallbackType(pairs.one_of("GSW_CALLBACK_TYPE", _CALLBACK_TYPES)),
        local_time=scheduled_time(pairs),
        calling_list=pairs.optional_text("GSW_CALLING_LIST"),
        campaign_group_name=pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME"),
        reference_id=pairs.reference("GSW_REFERENCE_ID"),
    )
    pairs.left.pop("GSW_CHAIN_ATTR", None)  # "OCS ignores the status of the GSW_CHAIN_ATTR key"
    pairs.pass_over_attached()
    return request


def _reschedule_scheduled(pairs: Pairs) -> RecordRequest:
    application, handle = pairs.whole("GSW_APPLICATION_ID"), pairs.whole("GSW_RECORD_HANDLE")
    campaign = pairs.name("GSW_CAMPAIGN_NAME")
    callback_type = pairs.optional_one_of("GSW_CALLBACK_TYPE", _CALLBACK_TYPES)
    request = ScheduledRecordReschedule(
        application_dbid=application,
        record_handle=handle,
        campaign_name=campaign,
        callback_type=CallbackType(callback_type) if callback_type is not None else None,
        local_time=scheduled_time(pairs),
        phone=pairs.optional_text("GSW_PHONE", MAX_PHONE_CHARS),
        calling_list=pairs.optional_text("GSW_CALLING_LIST"),
        campaign_group_name=pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME"),
        reference_id=pairs.reference("GSW_REFERENCE_ID"),
    )
    pairs.left.pop("GSW_CHAIN_ATTR", None)
    pairs.pass_over_attached()
    return request


def make_call(pairs: Pairs) -> RequestMakeCall:
    """The parser of RequestMakeCall."""
    user_data = pairs.left.pop("UserData", {})
    if not isinstance(user_data, dict):
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"UserData must be an object, not {json_type(user_data)}"
        )
    handles: list[int] = []
    if "RecordHandle" in pairs.left:
        handles.append(pairs.whole("RecordHandle"))
    if "GSW_RECORD_HANDLE" in user_data:
        handles.append(whole("GSW_RECORD_HANDLE", user_data["GSW_RECORD_HANDLE"], 1, MAX_INT))
    if not handles:
        raise missing("RecordHandle (or GSW_RECORD_HANDLE in UserData)")
    if len(set(handles)) > 1:
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, "RecordHandle and GSW_RECORD_HANDLE in UserData differ"
        )
    return RequestMakeCall(
        record_handle=handles[0],
        agent_id=pairs.optional_text("AgentID"),
        other_dn=pairs.optional_text("OtherDN", MAX_PHONE_CHARS),
        reference_id=pairs.reference("ReferenceID"),
    )


RECORD_REQUESTS: Final[Mapping[str, Callable[[Pairs], RecordRequest]]] = MappingProxyType(
    {
        "UpdateCallCompletionStats": _update,
        "RecordProcessed": _processed,
        "RecordReject": _reject,
        "RequestRecordCancel": _cancel,
        "DoNotCall": _do_not_call,
        "RecordReschedule": _reschedule,
        "ScheduledRecordReschedule": _reschedule_scheduled,
    }
)
