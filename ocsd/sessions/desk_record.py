"""Records on desktops without a call of their own (scheduled calls), and callbacks that an agent has asked for."""

from dataclasses import dataclass, field
from datetime import datetime

from ocsd.model.records import CallingRecord, Chain


@dataclass(frozen=True, slots=True)
class Callback:
    """
    A callback asked for by RecordReschedule; final only at RecordProcessed.

    Attributes:
        at: aware UTC, inside the record's window.
        agent_id: login ID of the agent who is to make it (Personal); None: any agent of the group (Campaign).
    """

    at: datetime
    agent_id: str | None = None

    @property
    def personal(self) -> bool:
        return self.agent_id is not None


@dataclass(slots=True)
class DeskRecord:
    """
    A claimed chain on an agent's desktop that has no open attempt; `Session.on_desk` keeps it by handle.

    Attributes:
        handle: from the id space of attempts, so that it names either a desk record or an attempt, never both. A call
            that the agent makes for it (RequestMakeCall) is the attempt of this very number.
        since_s: monotonic time of its delivery, for stale_clean_timeout.
        call_result, updates: what the desktop has corrected so far; written at RecordProcessed.
        callback: asked for, not final yet.
    """

    handle: int
    chain: Chain
    agent_id: str
    since_s: float
    call_result: int | None = None
    updates: dict[str, object] = field(default_factory=dict)
    callback: Callback | None = None

    @property
    def record(self) -> CallingRecord:
        return self.chain.record
