"""Records, chains and attempts as values that cross tasks and threads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ocsd.model.enums import CallResult, RecordStatus, RecordType


@dataclass(frozen=True, slots=True)
class CallingRecord:
    """One row of a calling list.

    Attributes:
        list_dbid: configuration DBID of the calling list.
        daily_from_s, daily_till_s: dialing window in seconds since midnight in the record's zone.
        tz_dbid: DBID of the time-zone object; 0 when the row has none.
        user_fields: values of the columns outside the manual's 23, by column name.
    """

    list_dbid: int
    record_id: int
    contact_info: str
    contact_info_type: int
    record_type: RecordType
    call_result: int
    attempt: int
    dial_sched_time: int | None
    call_time: int | None
    daily_from_s: int
    daily_till_s: int
    tz_dbid: int
    chain_id: int
    chain_n: int
    agent_id: str | None = None
    treatments: str | None = None
    user_fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chain:
    """A claimed chain: its records in the order in which they are to be dialed, never empty."""

    list_dbid: int
    chain_id: int
    records: tuple[CallingRecord, ...]


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """What is written before the INVITE leaves."""

    attempt_id: int
    guid: str
    list_dbid: int
    record_id: int
    chain_id: int
    campaign_dbid: int
    campaign_group_dbid: int
    phone: str
    leg_id: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt found without a result at start-up."""

    attempt_id: int
    guid: str
    list_dbid: int
    record_id: int
    chain_id: int
    campaign_dbid: int
    campaign_group_dbid: int
    phone: str
    leg_id: str
    started_at: datetime
    answered_at: datetime | None
    connected_at: datetime | None
    agent_id: str | None
    desktop_result: int | None = None
    """Call result that the desktop has set, column values that it has changed; the record is still open."""
    desktop_updates: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttemptTimes:
    """Audit timestamps of one attempt (manual keys GSW_DIALING, GSW_CPD_COMPLETED, ...), aware UTC or None."""

    dialing_at: datetime | None = None
    answered_at: datetime | None = None
    cpd_completed_at: datetime | None = None
    agent_answered_at: datetime | None = None
    agent_released_at: datetime | None = None
    released_at: datetime | None = None
    acw_completed_at: datetime | None = None
    abandoned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """Result of an attempt and what becomes of its record; written in one transaction, idempotent by id.

    Attributes:
        record_status: status the dialed record gets.
        sibling_status: status the other claimed rows of the chain get; None leaves the chain claimed.
        updates: columns changed by the desktop (name -> value), already validated against the format.
        evidence: figures behind a CPA verdict, kept for audit.
        count_attempt: False when no INVITE left (no port, for example).
    """

    attempt_id: int
    list_dbid: int
    record_id: int
    chain_id: int
    call_result: int
    record_status: RecordStatus
    record_type: RecordType
    finished_at: datetime
    times: AttemptTimes
    sip_status: int | None = None
    q850_cause: int | None = None
    cpa_verdict: str | None = None
    agent_id: str | None = None
    switch_dbid: int | None = None
    sibling_status: RecordStatus | None = RecordStatus.UPDATED
    sibling_result: int | None = None
    dial_sched_time: int | None = None
    treatments: str | None = None
    interrupted: bool = False
    count_attempt: bool = True
    updates: Mapping[str, object] = field(default_factory=dict)
    evidence: Mapping[str, object] = field(default_factory=dict)


__all__ = [
    "AttemptTimes",
    "CallResult",
    "CallingRecord",
    "Chain",
    "FinishedAttempt",
    "NewAttempt",
    "OpenAttempt",
]
