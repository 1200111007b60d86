"""AddRecord: pairs to a typed request (pure codec; Reference Manual, "Adding Records to a Calling List")."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ocsd.model.enums import RecordStatus, RecordType
from ocsd.protocols.desktop_pairs import ReferenceId

DEFAULT_FROM_S: Final = 28_800
DEFAULT_TILL_S: Final = 64_800
DEFAULT_PHONE_TYPE: Final = 2
"""DirectBusinessPhone."""


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
