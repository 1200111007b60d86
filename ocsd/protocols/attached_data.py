"""A record's attached data: what a desktop hears about the record of its call, and a validator about one to be dialed.

Keys, their order and their types follow the Reference Manual, chapter "Communication Protocols".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ocsd.config.objects import FormatField
from ocsd.model.enums import DialMode, OptimizeBy, RecordType
from ocsd.model.records import AttemptTimes, CallingRecord
from ocsd.protocols.commdn import MODES_WITH_GOAL

Message = dict[str, object]
"""One JSON object, or a part of one."""


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
        cpn_digits: caller ID of the call; ``cpn_digits_set``: the caller ID set it was taken from, if any.
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
    cpn_digits: str = ""
    cpn_digits_set: str = ""


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
    if attached.cpn_digits:
        message["GSW_CPN_DIGITS"] = attached.cpn_digits
    if attached.cpn_digits_set:
        message["GSW_CPN_DIGITS_SET"] = attached.cpn_digits_set
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
    return message | _audit_times(attached.times) | custom_fields(attached.fields, record)


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


def custom_fields(fields: Sequence[FormatField], record: CallingRecord) -> Message:
    """The user columns with ``send_attribute`` that have a value: integers as such, all else as strings."""
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
