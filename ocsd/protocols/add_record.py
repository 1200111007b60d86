"""
AddRecord: pairs to a typed request (pure codec; Reference Manual, "Adding Records to a Calling List").

Where the manual is silent:

- General records have no date (103), callbacks need one (102). A rescheduled record without one is due at once, as
  every row whose dial_sched_time is empty.
- GSW_RECORD_STATUS is Ready, or, for a contact that is already over and only kept for the record, Updated or Canceled.
  Retrieved, Stale, Agent Error and Missed Callback tell what OCS did with a row: nobody can add one so (103).
- Zeros stand for what the table has as "Default = 0": no agent, no call time, no date.
- GSW_CHAIN_N without GSW_CHAIN_ID is 102: "the agent must include both".
- Blanks and quotes around GSW_TZ_NAME are left out: orchestration's own example sends ``' PST``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Final, TypeVar

from ocsd.model.enums import ContactInfoType, GswError, RecordStatus, RecordType
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols.desktop_pairs import MAX_PHONE_CHARS, Pairs, ReferenceId, missing
from ocsd.protocols.desktop_records import scheduled_time
from ocsd.protocols.desktop_updates import SECONDS_PER_DAY, check_window, take_custom
from ocsd.protocols.keyvalue import integer, printable

DEFAULT_FROM_S: Final = 28_800
DEFAULT_TILL_S: Final = 64_800
DEFAULT_PHONE_TYPE: Final = 2
"""DirectBusinessPhone."""
MAX_AGENT_ID_CHARS: Final = 32
"""agent_id is varchar(32) in the manual's default format."""

CALLBACKS: Final = frozenset({RecordType.PERSONAL_CALLBACK, RecordType.CAMPAIGN_CALLBACK})
ADDABLE_TYPES: Final = CALLBACKS | {
    RecordType.GENERAL,
    RecordType.CAMPAIGN_RESCHEDULED,
    RecordType.PERSONAL_RESCHEDULED,
}
ADDABLE_STATUSES: Final = frozenset({RecordStatus.READY, RecordStatus.UPDATED, RecordStatus.CANCELED})

_Number = TypeVar("_Number", bound=IntEnum)
_BLANKS_AND_QUOTES: Final = " \t'\"`"


@dataclass(frozen=True, slots=True)
class AddRecord:
    """
    Add a record to a calling list.

    Attributes:
        phone: as written; the list's country tells how to read it.
        tz_name: name of a time zone object.
        calling_list, campaign_name: None only where the handle, or the only list of the campaign, says it.
        record_handle: of a record in somebody's hands; decides about campaign group and list before the names do.
        chain_id: of an existing chain; None: a new one.
        chain_n: None (also for 0, "as if not specified"): the next free place.
        local_time: GSW_DATE_TIME, naive, on the clocks of the record's zone.
        call_time: UTC seconds.
        custom: the other pairs, by send_attribute, still to be checked against the list's format.
    """

    application_dbid: int
    phone: str
    tz_name: str
    calling_list: str | None = None
    campaign_name: str | None = None
    campaign_group_name: str | None = None
    record_handle: int | None = None
    chain_id: int | None = None
    chain_n: int | None = None
    record_type: RecordType = RecordType.GENERAL
    record_status: RecordStatus = RecordStatus.READY
    phone_type: int = DEFAULT_PHONE_TYPE
    daily_from_s: int = DEFAULT_FROM_S
    daily_till_s: int = DEFAULT_TILL_S
    call_result: int | None = None
    attempts: int = 0
    call_time: int | None = None
    local_time: datetime | None = None
    agent_id: str | None = None
    custom: Mapping[str, object] = field(default_factory=dict)
    reference_id: ReferenceId = None


def add_record(pairs: Pairs) -> AddRecord:
    """The parser of AddRecord; raises DesktopRequestError."""
    application = pairs.whole("GSW_APPLICATION_ID")
    handle = pairs.optional_whole("GSW_RECORD_HANDLE")
    campaign, calling_list = pairs.name("GSW_CAMPAIGN_NAME"), pairs.name("GSW_CALLING_LIST")
    group = pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME")
    phone, tz_name = pairs.text("GSW_PHONE", MAX_PHONE_CHARS), _time_zone(pairs)
    chain_id, chain_n = _chain_place(pairs)
    record_type, local_time = _type_and_time(pairs)
    record_status = RecordStatus(_listed(pairs, "GSW_RECORD_STATUS", ADDABLE_STATUSES, RecordStatus.READY))
    daily_from_s = _or(pairs.optional_whole("GSW_FROM", 0, SECONDS_PER_DAY), DEFAULT_FROM_S)
    daily_till_s = _or(pairs.optional_whole("GSW_UNTIL", 0, SECONDS_PER_DAY), DEFAULT_TILL_S)
    check_window(daily_from_s, daily_till_s)
    agent_id = pairs.optional_name("GSW_AGENT_ID", MAX_AGENT_ID_CHARS)
    return AddRecord(
        application_dbid=application,
        phone=phone,
        tz_name=tz_name,
        calling_list=calling_list,
        campaign_name=campaign,
        campaign_group_name=group,
        record_handle=handle,
        chain_id=chain_id,
        chain_n=chain_n,
        record_type=record_type,
        record_status=record_status,
        phone_type=_or(pairs.optional_whole("GSW_PHONE_TYPE", 0, max(ContactInfoType)), DEFAULT_PHONE_TYPE),
        daily_from_s=daily_from_s,
        daily_till_s=daily_till_s,
        call_result=pairs.optional_whole("GSW_CALL_RESULT", 0),
        attempts=pairs.optional_whole("GSW_ATTEMPTS", 0) or 0,
        call_time=pairs.optional_whole("GSW_CALL_TIME", 0) or None,
        local_time=local_time,
        agent_id=agent_id if agent_id != "0" else None,
        reference_id=pairs.reference("GSW_REFERENCE_ID"),
        custom=take_custom(pairs),
    )


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


def _time_zone(pairs: Pairs) -> str:
    written = pairs.text("GSW_TZ_NAME")
    name = written.strip(_BLANKS_AND_QUOTES)
    if not name:
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"GSW_TZ_NAME must name a time zone, not {printable(written)}"
        )
    return name


def _chain_place(pairs: Pairs) -> tuple[int | None, int | None]:
    chain_id, chain_n = pairs.optional_whole("GSW_CHAIN_ID"), pairs.optional_whole("GSW_CHAIN_N", 0) or None
    if chain_n is not None and chain_id is None:
        raise missing("GSW_CHAIN_ID")
    return chain_id, chain_n


def _type_and_time(pairs: Pairs) -> tuple[RecordType, datetime | None]:
    record_type = RecordType(_listed(pairs, "GSW_RECORD_TYPE", ADDABLE_TYPES, RecordType.GENERAL))
    local_time = None
    if integer(pairs.left.get("GSW_DATE_TIME"), digits=True) == 0:
        del pairs.left["GSW_DATE_TIME"]
    if record_type in CALLBACKS or "GSW_DATE_TIME" in pairs.left:
        local_time = scheduled_time(pairs)
    if record_type is RecordType.GENERAL and local_time is not None:
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, "GSW_DATE_TIME: a record of type General has no date and time"
        )
    return record_type, local_time


def _listed(pairs: Pairs, attribute: str, values: frozenset[_Number], default: _Number) -> int:
    number = pairs.optional_whole(attribute, 0)
    if number is None:
        return default
    if number not in values:
        known = ", ".join(f"{value:d} ({value.name})" for value in sorted(values))
        raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must be one of {known}, not {number}")
    return number
