"""Requests of the control port as values: method, target, body, and how a positive answer is read (pure)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import Any, Final, Generic, TypedDict, TypeVar
from urllib.parse import quote

from ocsd.client import answers
from ocsd.client.answers import ControlAnswer
from ocsd.client.targets import (
    CustomerId,
    CustomFields,
    FieldValue,
    NewRecord,
    Phone,
    RecordHandle,
    Tenant,
    Withdrawable,
)
from ocsd.model.enums import CallbackType, CallResult, ChainAttr, ContactInfoType, RecordTreatment
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.commdn import DIALING_PRIORITY, PRIORITY_TYPES, PROPERTIES

T_co = TypeVar("T_co", covariant=True)

Body = dict[str, object]


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """
    One exchange with the control port.

    Attributes:
        target: path and query, percent-encoded.
        body: members of the JSON object; empty: no body is sent.
    """

    method: str
    target: str
    read: Callable[[ControlAnswer], T_co]
    body: Mapping[str, object] = field(default_factory=dict)


class Naming(TypedDict, total=False):
    """
    What a record's request may say beside its handle, all optional.

    The server refuses names that do not fit the record (103): they guard against a handle from another day.
    """

    campaign_name: str
    """GSW_CAMPAIGN_NAME"""
    campaign_group_name: str
    """GSW_CAMPAIGN_GROUP_NAME"""
    calling_list: str
    """GSW_CALLING_LIST"""
    tenant: Tenant
    """GSW_TENANT_DBID or GSW_TENANT_NAME"""
    application_dbid: int
    """GSW_APPLICATION_ID"""
    reference_id: int
    """GSW_REFERENCE_ID; comes back in the text of a negative answer."""


# --- records -----------------------------------------------------------------------------------------------------


def update_call_completion_stats(
    record: RecordHandle,
    naming: Naming,
    *,
    call_result: CallResult | int | None,
    phone: str | None,
    phone_type: ContactInfoType | None,
    daily_from_s: int | None,
    daily_till_s: int | None,
    custom: CustomFields,
) -> Call[None]:
    changes = _changes(call_result, phone, phone_type, daily_from_s, daily_till_s, custom)
    return _of_record(record, "UpdateCallCompletionStats", naming, changes)


def record_processed(
    record: RecordHandle,
    naming: Naming,
    *,
    treatment: RecordTreatment | None,
    agent_id: str | None,
    call_result: CallResult | int | None,
    phone: str | None,
    phone_type: ContactInfoType | None,
    daily_from_s: int | None,
    daily_till_s: int | None,
    custom: CustomFields,
) -> Call[None]:
    changes = _changes(call_result, phone, phone_type, daily_from_s, daily_till_s, custom)
    return _of_record(
        record, "RecordProcessed", naming, {"GSW_TREATMENT": treatment, "GSW_AGENT_ID": agent_id, **changes}
    )


def record_reject(record: RecordHandle, naming: Naming) -> Call[None]:
    return _of_record(record, "RecordReject", naming, {})


def record_reschedule(
    record: RecordHandle, at: datetime, naming: Naming, *, callback_type: CallbackType | None, agent_id: str | None
) -> Call[None]:
    when = {"GSW_DATE_TIME": date_time(at), "GSW_CALLBACK_TYPE": callback_type, "GSW_AGENT_ID": agent_id}
    return _of_record(record, "RecordReschedule", naming, when)


def scheduled_record_reschedule(
    record: RecordHandle,
    at: datetime,
    naming: Naming,
    *,
    callback_type: CallbackType | None,
    agent_id: str | None,
    phone: str | None,
) -> Call[None]:
    when = {
        "GSW_DATE_TIME": date_time(at),
        "GSW_CALLBACK_TYPE": callback_type,
        "GSW_AGENT_ID": agent_id,
        "GSW_PHONE": phone,
    }
    return _of_record(record, "ScheduledRecordReschedule", naming, when)


def request_record_cancel(target: Withdrawable, naming: Naming, *, chain_attr: ChainAttr | None) -> Call[None]:
    return _withdraw("RequestRecordCancel", target, naming, {"GSW_CHAIN_ATTR": chain_attr})


def do_not_call(
    target: Withdrawable,
    naming: Naming,
    *,
    chain_attr: ChainAttr | None,
    message: str | None,
    duration_s: int | None,
) -> Call[None]:
    told = {"GSW_CHAIN_ATTR": chain_attr, "GSW_MESSAGE": message, "GSW_DURATION": duration_s}
    return _withdraw("DoNotCall", target, naming, told)


def _of_record(record: RecordHandle, req: str, naming: Naming, attributes: Mapping[str, object]) -> Call[None]:
    return _post(f"/records/{record.number}", req, {**_named(**naming), **attributes})


def _withdraw(req: str, target: Withdrawable, naming: Naming, attributes: Mapping[str, object]) -> Call[None]:
    match target:
        case RecordHandle():
            return _of_record(target, req, naming, attributes)
        case Phone(number, tenant):
            path = f"/phones/{segment(number)}"
        case CustomerId(customer_id, tenant):
            path = f"/customer_ids/{segment(customer_id)}"
    if naming.get("tenant", tenant) != tenant:
        raise ValueError("two tenants are named")
    return _post(path, req, {**_named(**naming), **_tenant(tenant), **attributes})


# --- adding records ----------------------------------------------------------------------------------------------

_OF_NEW_RECORD: Final[Mapping[str, str]] = {
    "phone": "GSW_PHONE",
    "tz_name": "GSW_TZ_NAME",
    "chain_id": "GSW_CHAIN_ID",
    "chain_n": "GSW_CHAIN_N",
    "record_type": "GSW_RECORD_TYPE",
    "record_status": "GSW_RECORD_STATUS",
    "phone_type": "GSW_PHONE_TYPE",
    "daily_from_s": "GSW_FROM",
    "daily_till_s": "GSW_UNTIL",
    "call_result": "GSW_CALL_RESULT",
    "attempts": "GSW_ATTEMPTS",
    "call_time": "GSW_CALL_TIME",
    "agent_id": "GSW_AGENT_ID",
}


def add_record(to: str | RecordHandle | None, record: NewRecord, naming: Naming) -> Call[None]:
    body: Body = {
        **_named(**naming),
        **{attribute: getattr(record, name) for name, attribute in _OF_NEW_RECORD.items()},
        "GSW_DATE_TIME": date_time(record.at) if record.at is not None else None,
        **_custom(record.custom),
    }
    match to:
        case RecordHandle(number):
            path = f"/records/{number}"
        case str():
            path = f"/lists/{segment(to)}"
        case None:
            path = "/records/"  # as orchestration writes it: the campaign says which list
    return _post(path, "AddRecord", body)


# --- documents ---------------------------------------------------------------------------------------------------


def preflight(calling_list: str) -> Call[dict[str, Any]]:
    return Call("GET", f"/lists/{segment(calling_list)}?req=preflight", answers.json_object)


def why(calling_list: str, record_id: int) -> Call[dict[str, Any]]:
    return Call("GET", f"/lists/{segment(calling_list)}/{record_id}?req=why", answers.json_object)


def group_status(dbid: int) -> Call[dict[str, Any]]:
    return Call("GET", f"/campaigngroups/{dbid}", answers.json_object)


def why_group(dbid: int) -> Call[dict[str, Any]]:
    return Call("GET", f"/campaigngroups/{dbid}?req=why", answers.json_object)


def group_statuses() -> Call[dict[str, dict[str, Any]]]:
    return Call("GET", "/campaigngroups", answers.campaign_groups)


def statistics(dbid: int) -> Call[dict[str, Any]]:
    return Call("GET", f"/campaigngroups/{dbid}?req=statistics", answers.json_object)


def pacing(dbid: int) -> Call[dict[str, Any]]:
    return Call("GET", f"/campaigngroups/{dbid}?req=pacing", answers.json_object)


def feedback(dbid: int) -> Call[dict[str, Any]]:
    return Call("GET", f"/campaigngroups/{dbid}?req=feedback", answers.json_object)


def live_calls(dbid: int) -> Call[dict[str, Any]]:
    return Call("GET", f"/campaigngroups/{dbid}?req=calls", answers.json_object)


def trunks() -> Call[dict[str, Any]]:
    return Call("GET", "/trunks", answers.json_object)


def health() -> Call[dict[str, Any]]:
    return Call("GET", "/health", answers.json_object)


def openapi() -> Call[dict[str, Any]]:
    return Call("GET", "/openapi.json", answers.json_object)


# --- campaign groups ---------------------------------------------------------------------------------------------


def campaign(dbid: int, request: CampaignRequest, parameters: DialParameters) -> Call[None]:
    priorities = {
        name: {"priority": given.priority, "n_records": given.n_records}
        for name, record_type in PRIORITY_TYPES.items()
        for given in parameters.priorities
        if given.record_type is record_type
    }
    body: Body = {
        "GSW_CM_AttrDialMode": parameters.dial_mode,
        "GSW_CM_AttrOptimizeBy": parameters.optimize_by,
        "GSW_CM_AttrOptimizeGoal": parameters.optimize_goal,
        "GSW_AUTO_COMPLETION": int(parameters.auto_completion) if parameters.auto_completion is not None else None,
        PROPERTIES: {DIALING_PRIORITY: priorities} if priorities else None,
    }
    return _post(f"/campaigngroups/{dbid}", request.value, body)


def inbound(agent_group_dbid: int, queued: int, ringing: int) -> Call[None]:
    return _post(f"/agentgroups/{agent_group_dbid}", "InboundCalls", {"queued": queued, "ringing": ringing})


# --- parts -------------------------------------------------------------------------------------------------------


def segment(text: str) -> str:
    """A name or number as one segment of a path: every byte that is not unreserved (RFC 3986, 2.3) is encoded."""
    if not text:
        raise ValueError("a name or number in the path must not be empty")
    # "." and ".." stand for other paths; encoded they are taken literally by every client on the way.
    return quote(text, safe="") if text.strip(".") else "%2E" * len(text)


def date_time(at: datetime) -> str:
    """GSW_DATE_TIME, ``MM/DD/YYYY HH:MM``; ValueError for what it cannot say: seconds, another zone, a small year."""
    if at.tzinfo is not None:
        raise ValueError("GSW_DATE_TIME is on the clocks of the record's zone: give a datetime without a zone")
    if at.second or at.microsecond:
        raise ValueError("GSW_DATE_TIME has whole minutes")
    return f"{at.month:02}/{at.day:02}/{at.year:04} {at.hour:02}:{at.minute:02}"


def _post(path: str, req: str, body: Mapping[str, object]) -> Call[None]:
    given = {name: _json(value) for name, value in body.items() if value is not None}
    return Call("POST", f"{path}?req={req}", answers.nothing, given)


def _json(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _named(
    *,
    campaign_name: str | None = None,
    campaign_group_name: str | None = None,
    calling_list: str | None = None,
    tenant: Tenant | None = None,
    application_dbid: int | None = None,
    reference_id: int | None = None,
) -> Body:
    return {
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_REFERENCE_ID": reference_id,
        "GSW_CAMPAIGN_NAME": campaign_name,
        "GSW_CAMPAIGN_GROUP_NAME": campaign_group_name,
        "GSW_CALLING_LIST": calling_list,
        **(_tenant(tenant) if tenant is not None else {}),
    }


def _tenant(tenant: Tenant) -> Body:
    return {"GSW_TENANT_NAME": tenant} if isinstance(tenant, str) else {"GSW_TENANT_DBID": tenant}


def _changes(
    call_result: CallResult | int | None,
    phone: str | None,
    phone_type: ContactInfoType | None,
    daily_from_s: int | None,
    daily_till_s: int | None,
    custom: CustomFields,
) -> Body:
    return {
        "GSW_CALL_RESULT": call_result,
        "GSW_PHONE": phone,
        "GSW_PHONE_TYPE": phone_type,
        "GSW_FROM": daily_from_s,
        "GSW_UNTIL": daily_till_s,
        **_custom(custom),
    }


def _custom(custom: CustomFields) -> Body:
    for name in custom:
        if name.startswith("GSW_"):
            raise ValueError(f"{name} is no custom field: GSW_ is the protocol's own prefix")
    return {name: _field(value) for name, value in custom.items()}


def _field(value: FieldValue) -> object:
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date too
