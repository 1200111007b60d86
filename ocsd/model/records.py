"""Records, chains and attempts as values that cross tasks and threads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Final

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
    """
    A claimed chain, never empty.

    Attributes:
        records: every claimed row, in the order of the chain (ascending ``chain_n``, or as the list's filter says).
        position: index of the record that is to be dialed next.
    """

    list_dbid: int
    chain_id: int
    records: tuple[CallingRecord, ...]
    position: int = 0

    @property
    def record(self) -> CallingRecord:
        """The record to be dialed next."""
        return self.records[self.position]

    @property
    def key(self) -> tuple[int, int]:
        return self.list_dbid, self.chain_id


@dataclass(frozen=True, slots=True)
class Portion:
    """
    Claim chains of this type, at most ``limit`` (None: as many as are wanted). Portions stand in order of priority.

    ``agents``: for the personal types, whose records (login IDs); None: everybody's.
    """

    record_type: RecordType
    limit: int | None = None
    agents: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class TypePriority:
    """
    dialing_priority of one record type, as a request sets it (manual, "User Event Attributes for dialing_priority").

    ``priority``: the highest type is dialed first; ``n_records``: most chains of the type per claim, 0: no limit.
    """

    record_type: RecordType
    priority: int
    n_records: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record may not be dialed. ``until``: when it may (aware UTC); None: never, as things stand."""

    why: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChainChange:
    """
    What becomes of a claimed chain's rows.

    A chain lives and ends as a whole: its *live* rows are those that are still Retrieved, and while it goes on they
    share type, schedule and treatment state. A row that somebody has cancelled or marked NoCall meanwhile is not live
    any more and keeps what it was given.

    Attributes:
        record_status, record_type: of the record that was dialed or decided about. Ready: the chain goes on.
        sibling_status: of the other live rows.
        sibling_type: None: each keeps its own.
        sibling_result: call result for the other live rows; None: each keeps its own.
        dial_sched_time: UTC seconds; written to all live rows when the chain goes on, left as it is when it ends.
        treatments: treatment state (column ``treatments``); written to all live rows when the chain goes on; None
            clears it.
        keep_claim: only when the chain goes on: its rows stay Retrieved and ours, because the next dial comes soon. A
            crash gives them back as Ready, with the same schedule.
    """

    record_status: RecordStatus
    record_type: RecordType
    sibling_status: RecordStatus = RecordStatus.UPDATED
    sibling_type: RecordType | None = None
    sibling_result: int | None = None
    dial_sched_time: int | None = None
    treatments: str | None = None
    keep_claim: bool = False

    @property
    def goes_on(self) -> bool:
        return self.record_status is RecordStatus.READY


@dataclass(frozen=True, slots=True)
class Statement:
    """
    An operator's SQL statement (treatment "Execute SQL statement"), run in the transaction that writes the result.

    ``text`` may name columns of the record as ``%(column)s``. An error in it is logged and changes nothing else.
    """

    treatment_dbid: int
    text: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A treatment's HTTP POST: stored with the result, delivered afterwards at least once (``Idempotency-Key``)."""

    treatment_dbid: int
    url: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ChainSettlement:
    """
    A decision about a claimed chain without a call: a refused gate, a missed callback, a record closed on a desktop.

    Attributes:
        record_id: the row decided about.
        call_result: None leaves the row's own.
        agent_id: None leaves the row's own.
        updates: columns changed by the desktop, as in FinishedAttempt.
        evidence: what it rests on beside the words (JSON-safe), e.g. GSW_BLOCKING_RULE of pre-dial validation.
    """

    list_dbid: int
    chain_id: int
    record_id: int
    change: ChainChange
    because: str
    call_result: int | None = None
    agent_id: str | None = None
    updates: Mapping[str, object] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    requests: tuple[HttpRequest, ...] = ()
    evidence: Mapping[str, object] = field(default_factory=dict)


class Withdrawal(Enum):
    """Why records leave the lists for good."""

    CANCEL = auto()
    """Record status Canceled (5), call result 52."""
    DO_NOT_CALL = auto()
    """Record type NoCall (7), status Updated (3), call result 51."""


@dataclass(frozen=True, slots=True)
class Selector:
    """
    Which records a withdrawal means: exactly one of the three ways.

    Attributes:
        record: (list DBID, record_id).
        phone: E.164 as in ``contact_info``.
        customer_id: value of the list's customer-id field.
        all_chain: GSW_CHAIN_ATTR: AllChain (True) or RecordOnly. A single record cancelled ends its siblings as
            Updated; a single record that becomes NoCall leaves them to be dialed.
    """

    record: tuple[int, int] | None = None
    phone: str | None = None
    customer_id: str | None = None
    all_chain: bool = True


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A row that a withdrawal has changed, or (``claimed``) one that a daemon holds and must let go of."""

    list_dbid: int
    record_id: int
    chain_id: int
    phone: str
    claimed: bool


@dataclass(frozen=True, slots=True)
class NewRecord:
    """
    A row to be added to a calling list (AddRecord).

    Attributes:
        contact_info: E.164, as in every row.
        chain_id: an existing chain; None: a new one. The row takes over type, schedule, agent and treatment state of
            an existing chain that has live rows (Ready or Retrieved), whatever is said here: a chain lives as a whole.
        chain_n: its place in the chain; None: the next free one (0 in a new chain).
        user_fields: values of columns outside the manual's 23, already checked against the list's format.
    """

    list_dbid: int
    contact_info: str
    contact_info_type: int
    record_type: RecordType
    record_status: RecordStatus
    daily_from_s: int
    daily_till_s: int
    tz_dbid: int
    call_result: int = CallResult.UNKNOWN
    attempt: int = 0
    dial_sched_time: int | None = None
    call_time: int | None = None
    agent_id: str | None = None
    chain_id: int | None = None
    chain_n: int | None = None
    user_fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AddedRecord:
    record_id: int
    chain_id: int
    chain_n: int


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
    customer_id: str | None = None
    subject: str | None = None
    """What the call is about, for attempt caps that count per debt, policy...: value of the list's subject field."""
    switch_dbid: int | None = None
    """The trunk that the call is placed on first."""
    caller_id: str | None = None
    """What the call shows, if that is a number of a caller ID set."""


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
    desktop_asks: Mapping[str, object] = field(default_factory=dict)
    """What the desktop has asked for when the record is closed: ``callback_type``, ``callback_due`` (UTC seconds),
    ``treatment``; ``agent_id``: whose it becomes; ``processed``: nobody is asked about it any more; ``rejected``:
    it goes back to the list, ``always`` or ``unless_answered``. And ``third_party``: whom the agent has brought into
    the call (``number``, ``agent_id``, ``dn``), None: nobody any more."""
    switch_dbid: int | None = None
    caller_id: str | None = None
    """Both as in `NewAttempt`; None also of an attempt of an earlier version."""


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
    speech_end_at: datetime | None = None
    """End of the greeting by which analysis knew who had answered; not one of the manual's."""


LATE_S: Final = 2.0
"""An agent who comes later than this after the greeting counts as none (16 CFR 310.4(b)(1)(iv))."""


@dataclass(frozen=True, slots=True)
class PersonFound:
    """A person who answered, as rules about abandoned calls count people.

    Attributes:
        at: end of the greeting, aware UTC.
        wait_s: from then until an agent was on the line; None: none came, or the person did not wait.
    """

    at: datetime
    wait_s: float | None

    @property
    def abandoned(self) -> bool:
        return self.wait_s is None

    @property
    def late(self) -> bool:
        """An agent came, but later than `LATE_S`."""
        return self.wait_s is not None and self.wait_s > LATE_S


@dataclass(frozen=True, slots=True)
class AbandonmentBucket:
    """People of one campaign who answered in a quarter of an hour, of all nodes.

    Attributes:
        start_s: UTC second.
        abandoned: to whom no agent came.
        late: to whom one came later than `LATE_S`.
    """

    start_s: int
    people: int
    abandoned: int
    late: int


@dataclass(frozen=True, slots=True)
class AbandonmentCounts:
    """What has been written about the people of a campaign.

    Attributes:
        started_s: the campaign's first quarter of an hour, UTC second; None: nobody has answered yet.
        others: campaign groups of other daemons that hold chains of the campaign now.
    """

    started_s: int | None
    buckets: tuple[AbandonmentBucket, ...]
    others: int = 0


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """Result of an attempt and what becomes of its chain; written in one transaction, idempotent by id.

    Attributes:
        change: what the chain's rows become.
        updates: columns changed by the desktop (name -> value), already validated against the format.
        evidence: figures behind a CPA verdict, kept for audit.
        agent_id: who had the record.
        owner: whose the chain becomes when ``change`` makes it an agent's; None: ``agent_id``'s.
        count_attempt: False when no INVITE left (no port, for example).
        treatment_dbid: the treatment that was applied; None: none.
        because: why the chain becomes what it becomes, in words.
        person: the person who answered and should have got an agent; None: nobody, or a machine, or nobody waited.
        verified: a test call, about which the agent was asked (GSW_CALL_RESULT_FEEDBACK).
        agent_result: the result that the desktop sent, whatever analysis had found; None: it sent none.
        lost_waiting_for: what somebody who answered was waiting for when the call was lost; None: it was not lost so.
    """

    attempt_id: int
    list_dbid: int
    record_id: int
    chain_id: int
    call_result: int
    change: ChainChange
    finished_at: datetime
    times: AttemptTimes
    sip_status: int | None = None
    q850_cause: int | None = None
    cpa_verdict: str | None = None
    agent_id: str | None = None
    owner: str | None = None
    switch_dbid: int | None = None
    interrupted: bool = False
    count_attempt: bool = True
    updates: Mapping[str, object] = field(default_factory=dict)
    evidence: Mapping[str, object] = field(default_factory=dict)
    treatment_dbid: int | None = None
    because: str = ""
    statements: tuple[Statement, ...] = ()
    requests: tuple[HttpRequest, ...] = ()
    person: PersonFound | None = None
    verified: bool = False
    agent_result: int | None = None
    lost_waiting_for: str | None = None


@dataclass(frozen=True, slots=True)
class CpdRecording:
    """A recording of call progress analysis (cpd-recording).

    Attributes:
        path: below the media server's recording folder.
        began_at: aware UTC.
        sha256: of the file, hexadecimal.
        gaps: frames of 20 ms that the disk was too slow for; they are silence.
        error: why it is missing or not whole; empty: it is.
    """

    attempt_id: int
    path: str
    began_at: datetime
    duration_s: float
    size_bytes: int
    sha256: str
    gaps: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """How one leg of a call sounded (`telephony.contract.ChannelClosed`).

    Attributes:
        leg: ``customer``, ``agent`` or ``destination``.
        ended_at: aware UTC.
        codec: what was sent, ``PCMU`` or ``PCMA``.
        lost: frames of 20 ms that were not there when they were to be played; ``late``: packets that came after that.
        concealed: frames that were filled in.
        mos: of what we heard, 1..4.5; None: nothing was heard. ``rtt_ms`` and ``remote_*`` are None where the far end
            has not reported.
    """

    attempt_id: int
    channel_id: str
    leg: str
    ended_at: datetime
    codec: str
    packets_in: int
    packets_out: int
    lost: int = 0
    late: int = 0
    concealed: int = 0
    loss_ratio: float = 0.0
    jitter_ms: float = 0.0
    mos: float | None = None
    rtt_ms: float | None = None
    remote_mos: float | None = None
    remote_loss_ratio: float | None = None
    remote_jitter_ms: float | None = None


@dataclass(frozen=True, slots=True)
class KeptStream:
    """A stream that is on disk now, and what the journal knows of its attempt."""

    totals: StreamTotals
    campaign_group_dbid: int
    answered: bool


__all__ = [
    "LATE_S",
    "AbandonmentBucket",
    "AbandonmentCounts",
    "AddedRecord",
    "AttemptTimes",
    "CallResult",
    "CallingRecord",
    "Chain",
    "ChainChange",
    "ChainSettlement",
    "CpdRecording",
    "FinishedAttempt",
    "HttpRequest",
    "KeptStream",
    "NewAttempt",
    "NewRecord",
    "OpenAttempt",
    "PersonFound",
    "Portion",
    "Refusal",
    "Selector",
    "Statement",
    "StreamTotals",
    "TypePriority",
    "Withdrawal",
    "Withdrawn",
]
