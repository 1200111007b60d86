"""What is known about an attempt, and what it asks of its session."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ocsd.config.analysis import AnalysisPlan
from ocsd.lists.store import ListStore
from ocsd.model.enums import CallResult
from ocsd.model.records import CallingRecord, Chain, ChainChange, CpdRecording
from ocsd.sessions.attempt_events import CallPlan, PendingCallback
from ocsd.sessions.caller_ids import NO_CALLER_ID, CallerId
from ocsd.sessions.clock import Clock
from ocsd.sessions.phones import PhonePlan
from ocsd.sessions.seizing_plan import SeizingPlan
from ocsd.sessions.standing_legs import StandingLeg
from ocsd.sessions.standing_legs import agent_of as standing_agent
from ocsd.sessions.verdicts import VerdictLog, chosen
from telephony.api import Media, Telephony

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.call_parties import CallParties
    from ocsd.sessions.session import Session


MAX_TRIES = 32
"""More trunks than any group has; bounds the search for a try after a restart."""


def later_leg_id(first: str, tries: int, switch_dbid: int) -> str:
    """Leg id of a customer's second and later try; the trunk's DBID tells a later daemon where the call is."""
    return f"{first}-{tries}-{switch_dbid}"


def last_try(first: str, leg_ids: Collection[str], switch_dbids: Collection[int]) -> tuple[int, int | None]:
    """The last try whose leg is among those, and its trunk's DBID; (1, None): the first one, or none is left."""
    found = (
        (tries, dbid)
        for tries in range(MAX_TRIES, 1, -1)
        for dbid in switch_dbids
        if later_leg_id(first, tries, dbid) in leg_ids
    )
    return next(found, (1, None))


@dataclass(frozen=True, slots=True)
class DialPlan:
    """How to reach the customer: everything of PlaceCall that does not depend on the leg."""

    uri: str
    from_uri: str
    display_name: str = ""
    username: str = ""
    password: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    session_expires_s: int = 0
    wanted_headers: tuple[str, ...] = ()


@dataclass(slots=True)
class AttemptContext:
    """What is known about an attempt besides its machine; the desk and the statistics read it."""

    attempt_id: int
    guid: str
    chain: Chain
    record: CallingRecord
    plan: DialPlan
    trunk: str
    switch_dbid: int
    analysis: AnalysisPlan
    processing_at: datetime | None = None
    """When processing of the attempt began: its pre-dial validation, if it was asked about (aware UTC)."""
    result_for_all: bool = False
    """update_all_records: the result goes to every record of the chain."""
    updates: dict[str, object] = field(default_factory=dict)
    """Columns changed by the desktop, validated."""
    evidence: dict[str, object] = field(default_factory=dict)
    callback: PendingCallback | None = None
    """What the desktop's RecordReschedule asked for."""
    treatment: str | None = None
    """GSW_TREATMENT of RecordProcessed: ``campaign`` or ``personal``."""
    owner: str | None = None
    """Whose the chain becomes when it becomes an agent's, said before any agent had the record; None: that agent's."""
    closing: ChainChange | None = None
    """What a desktop has decided about the chain (rejected, cancelled, Do-Not-Call): goes before every treatment."""
    closing_unless_answered: bool = False
    """``closing`` was asked for before anybody had the record: a call that is answered stands above it."""
    withdrawn: bool = False
    """Cancelled or Do-Not-Call meanwhile: the rows have been written, only the attempt is left to end."""
    direct_media: bool = False
    """The audio of a conversation may flow past the media server (option direct-media)."""
    heard: VerdictLog = field(default_factory=VerdictLog)
    """What analysis has said of the call, and when."""
    seizing: SeizingPlan = field(default_factory=SeizingPlan)
    caller_id: CallerId = NO_CALLER_ID
    """What the called person is shown, before the trunk's own form; with the caller ID set it is from."""
    tries: int = 1
    """INVITEs of this attempt, with the one under way: each trunk that failed adds one, and a followed redirect."""
    attached: dict[str, str] = field(default_factory=dict)
    """Further attached data for the agent who gets the call, from a voice application."""

    @property
    def verified(self) -> bool:
        """A test call (GSW_CALL_RESULT_FEEDBACK); the same after a restart, as the identity decides."""
        return chosen(self.guid, "feedback", self.analysis.verified_ratio)

    @property
    def recorded(self) -> bool:
        """The analysis of this call is recorded (cpd-recording)."""
        return chosen(self.guid, "recording", self.analysis.recorded_ratio)

    @property
    def first_leg_id(self) -> str:
        """Leg id of the first try."""
        return f"a{self.attempt_id}-{self.guid[:8]}-customer"

    @property
    def leg_id(self) -> str:
        """Leg id of the customer, of the try under way."""
        return self.first_leg_id if self.tries == 1 else later_leg_id(self.first_leg_id, self.tries, self.switch_dbid)

    @property
    def agent_leg_id(self) -> str:
        """Common beginning of the ids of all agent legs of this attempt."""
        return f"a{self.attempt_id}-{self.guid[:8]}-agent"

    def new_agent_leg_id(self, agent_id: str, now_s: float) -> str:
        """A phone that failed once in this attempt must not share the leg id of the next one."""
        return f"{self.agent_leg_id}-{agent_id}-{now_s:.3f}"

    def new_destination_leg_id(self, now_s: float) -> str:
        """Leg id of a transfer's destination; a transfer begun anew after a restart gets another one."""
        return f"a{self.attempt_id}-{self.guid[:8]}-destination-{now_s:.3f}"

    def new_third_leg_id(self, number: int, agent_id: str | None, now_s: float) -> str:
        """The ``number``-th third party whom an agent has brought in; ``agent_id`` None: somebody outside."""
        return f"a{self.attempt_id}-{self.guid[:8]}-third-{number}-{agent_id or ''}-{now_s:.3f}"

    def new_monitor_leg_id(self, supervisor_id: str, now_s: float) -> str:
        return f"a{self.attempt_id}-{self.guid[:8]}-monitor-{supervisor_id}-{now_s:.3f}"

    def third_of(self, leg_id: str) -> tuple[int, str | None] | None:
        """Number and agent of a leg of `new_third_leg_id`; None: it is another leg."""
        prefix = f"a{self.attempt_id}-{self.guid[:8]}-third-"
        number, _, rest = leg_id.removeprefix(prefix).partition("-")
        if not leg_id.startswith(prefix) or not number.isdigit():
            return None
        return int(number), rest.rpartition("-")[0] or None

    def monitor_of(self, leg_id: str) -> str | None:
        """The supervisor of a leg of `new_monitor_leg_id`; None: it is another leg."""
        prefix = f"a{self.attempt_id}-{self.guid[:8]}-monitor-"
        return leg_id.removeprefix(prefix).rpartition("-")[0] if leg_id.startswith(prefix) else None

    @property
    def dialog_leg_id(self) -> str:
        """Common beginning of the ids of this attempt's legs to a VoiceXML media server."""
        return f"a{self.attempt_id}-{self.guid[:8]}-dialog"

    def new_dialog_leg_id(self, now_s: float) -> str:
        return f"{self.dialog_leg_id}-{now_s:.3f}"

    def agent_of(self, leg_id: str) -> str | None:
        """Whose phone a leg of `new_agent_leg_id`, or a standing one, rings; None for any other leg."""
        if (standing := standing_agent(leg_id)) is not None:
            return standing[0]
        if (third := self.third_of(leg_id)) is not None:
            return third[1]  # who was brought in may have the call by now
        if not leg_id.startswith(f"{self.agent_leg_id}-"):
            return None
        return leg_id.removeprefix(f"{self.agent_leg_id}-").rpartition("-")[0]


class AttemptHost(Protocol):
    """What an attempt asks of its session."""

    store: ListStore
    telephony: Telephony
    media: Media
    clock: Clock
    agent_from_uri: str
    parties: "CallParties | None"
    """Whom agents may bring into calls; None: there is no call control."""

    @property
    def session(self) -> "Session":
        """The session itself, for those who need all of it."""
        ...

    def keeps_from_dialing(self, task: "AttemptTask") -> str | None:
        """The last gate before an INVITE: what keeps it from leaving; None: nothing."""
        ...

    def call_action(self, task: "AttemptTask", call_result: CallResult) -> CallPlan | None:
        """
        What the list's treatments do to a call on which this was found; no effects, no waiting.

        None: a person gets an agent, everything else is hung up.
        """
        ...

    async def settle(self, task: "AttemptTask") -> None:
        """
        Write the attempt's result and what becomes of its record; returns when that is on disk.

        Called once per attempt, possibly while its people still talk.
        """
        ...

    async def note_recording(self, recording: CpdRecording) -> None:
        """Keep what is known of a recording of the analysis; the attempt may have ended."""
        ...

    def seek_agent(self, task: "AttemptTask") -> None: ...

    def stop_seeking(self, task: "AttemptTask") -> None:
        """Gives an agent back too who was reserved for the attempt, and whom it has not heard of."""
        ...

    def is_reserved(self, task: "AttemptTask", agent_id: str) -> bool:
        """Whether the agent is kept for this attempt now."""
        ...

    def agent_dn(self, agent_id: str) -> str: ...

    def agent_phone(self, agent_id: str) -> PhonePlan: ...

    def standing_leg(self, task: "AttemptTask", agent_id: str) -> StandingLeg | None:
        """The agent's leg that the attempt takes in place of calling the phone; for a seized agent it is called now."""
        ...

    def agent_ringing(self, task: "AttemptTask") -> None: ...

    def agent_connected(self, task: "AttemptTask") -> None: ...

    def agent_released(self, task: "AttemptTask") -> None: ...

    def agent_freed(self, task: "AttemptTask") -> None:
        """The call is taken from the agent, who has nothing to write up."""
        ...

    def agent_told(self, task: "AttemptTask") -> None:
        """What the agent talks with is not what the desktop was told it is."""
        ...

    def agent_failed(self, task: "AttemptTask", agent_id: str) -> None: ...

    def agent_back(self, task: "AttemptTask", agent_id: str) -> None: ...

    def agent_not_reached(self, task: "AttemptTask", agent_id: str) -> None:
        """Our plane could not reach the phone: the agent is ready still, and gets a call again after a moment."""
        ...

    def attempt_changed(self, task: "AttemptTask") -> None:
        """Called after each event: feeds pacing and statistics, wakes the dialing loop."""
        ...

    def attempt_finished(self, task: "AttemptTask") -> None: ...
