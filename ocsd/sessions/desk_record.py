"""Records on desktops without a call of their own: scheduled calls that were delivered."""

from dataclasses import dataclass, field

from ocsd.model.records import CallingRecord, Chain
from ocsd.sessions.attempt_events import PendingCallback


@dataclass(slots=True)
class DeskRecord:
    """
    A claimed chain on an agent's desktop that has no open attempt; `Session.on_desk` keeps it by handle.

    Attributes:
        handle: from the id space of attempts, so that it names either a desk record or an attempt, never both.
        since_s: monotonic time of its delivery, for stale_clean_timeout.
        call_result, updates: what the desktop has corrected so far; written at RecordProcessed.
        callback: asked for, not final yet.
        evidence: what pre-dial validation said against a call from the desktop.
        closing: a request that ends it has been accepted and is being written: no further request finds it, and the
            group is not unloaded before it is on disk.
    """

    handle: int
    chain: Chain
    agent_id: str
    since_s: float
    call_result: int | None = None
    updates: dict[str, object] = field(default_factory=dict)
    callback: PendingCallback | None = None
    evidence: dict[str, object] = field(default_factory=dict)
    closing: bool = False

    @property
    def record(self) -> CallingRecord:
        return self.chain.record
