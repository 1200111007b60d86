"""What goes into a treatment decision and what comes out. Classic treatments (`engine`) and scripts share it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ocsd.model.records import CallingRecord, ChainChange, HttpRequest, Statement

Opening = Callable[[CallingRecord, datetime], datetime | None]
"""The earliest instant at or after the given one at which the record's window is open; None: never."""


@dataclass(frozen=True, slots=True)
class Situation:
    """
    Attributes:
        call_result: of the attempt, or 47/48 for a missed callback.
        disposition: value of the list's disposition field as an agent has set it for this call; empty when the list has
            no such field, or no agent had the call (what stands in the row then tells of an earlier one).
        record: the record dialed, its ``attempt`` already counting this attempt; one of ``chain``.
        chain: all live rows, in the order of the chain.
        now: end of the attempt (aware).
        agent_id: for RecordTreatPersonal: the record becomes Personal Rescheduled for this agent; None: as usual.
        by_agent: RecordProcessed has asked for it (GSW_TREATMENT): without ``agent_id`` (RecordTreatCampaign) the
            record becomes Campaign Rescheduled, also from a callback.
        facts: columns that the session knows beyond the record (``campaign_id``, ``switch_id``...), for the parameters
            of SQL statements and the bodies of HTTP requests.
    """

    call_result: int
    record: CallingRecord
    chain: tuple[CallingRecord, ...]
    now: datetime
    disposition: str = ""
    agent_id: str | None = None
    by_agent: bool = False
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """
    Attributes:
        change: for the store; its ``dial_sched_time`` is the time to dial, already moved into the window.
        treatment_dbid: the one that decided about the record, else the last one done (SQL, HTTP); 0 when none.
        next_record_id: the record to dial next; None when the chain ends.
        because: in words, naming the treatment.
    """

    change: ChainChange
    treatment_dbid: int
    next_record_id: int | None
    because: str
    statements: tuple[Statement, ...] = ()
    requests: tuple[HttpRequest, ...] = ()
