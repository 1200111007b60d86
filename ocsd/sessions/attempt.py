"""
One call attempt in Transfer mode as a pure machine: events and the clock go in, things to do come out.

Theory of operation
-------------------
    DIALING -> ALERTING -> ANALYSING -> WAITING -> CONNECTING -> TALKING -> WRAP_UP -> FINISHED
                               |            \\__________/
                               |                 | two seconds are over
                               v                 v
                            FINISHED         ANNOUNCING -> FINISHED

Dialing ends with an answer or a failure. After the answer, call progress analysis tells a person from a machine; a
person waits for an agent at most ``max_wait_s`` after the end of the greeting (16 CFR 310.4(b)(1)(iv): two seconds),
else hears the drop announcement and the result is Dropped. The agent is dialed when needed, and bridged on answer.
The result is fixed once; only a desktop's correction replaces it. The shell (``attempt_task.py``) owns legs and time.

Source of results: Reference Manual, "Call Result Types" and "Call Result Mapping by OCS".
"""

import math
from dataclasses import dataclass, field
from enum import Enum, auto

from ocsd.model.enums import CallResult, RecordStatus
from ocsd.model.errors import InvariantError
from ocsd.sessions.outcome import PEOPLE, result_of_failure, result_of_verdict
from telephony.contract import VerdictKind

SAFETY_MARGIN_S = 5.0
"""How long after a limit that another process keeps (ring limit, time guard) the machine acts by itself."""

ANNOUNCEMENT_LIMIT_S = 15.0
"""Longest drop announcement; the call is released then even if the media server never reports its end."""


class AttemptState(Enum):
    DIALING = auto()
    ALERTING = auto()
    ANALYSING = auto()
    WAITING = auto()
    CONNECTING = auto()
    TALKING = auto()
    WRAP_UP = auto()
    ANNOUNCING = auto()
    FINISHED = auto()


class Do(Enum):
    """What the shell has to do, in this order."""

    START_EARLY_ANALYSIS = auto()
    START_ANALYSIS = auto()
    MARK_ANSWERED = auto()
    SEEK_AGENT = auto()
    STOP_SEEKING = auto()
    DIAL_AGENT = auto()
    BRIDGE = auto()
    MARK_CONNECTED = auto()
    PLAY_DROP = auto()
    HANG_UP_CUSTOMER = auto()
    HANG_UP_AGENT = auto()
    AGENT_BACK_TO_READY = auto()  # reserved in vain
    AGENT_NOT_READY = auto()  # its phone did not answer: do not pick it again
    AGENT_TO_WRAP_UP = auto()
    CLOSE_RECORD = auto()  # write the result; the call may go on
    FINISH = auto()  # nothing is left to do


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """A provisional response; ``has_media`` when it carried an address to listen to."""

    has_media: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """``at_s``: monotonic time of the answer, None when it is this instant."""

    at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A verdict of call progress analysis. ``speech_end_s``: monotonic end of the greeting, 0 when unknown."""

    kind: VerdictKind
    connected: bool
    speech_end_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CustomerEnded:
    """The customer leg is gone. ``lost``: its worker died, so nobody knows how it ended."""

    sip_status: int = 0
    q850_cause: int | None = None
    no_answer: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """Certainly no INVITE left; ``result`` says why. The record is Ready again unless ``useless``: it never will be."""

    result: CallResult
    useless: bool = False


@dataclass(frozen=True, slots=True)
class AgentReserved:
    agent_id: str


@dataclass(frozen=True, slots=True)
class AgentAnswered:
    pass


@dataclass(frozen=True, slots=True)
class AgentEnded:
    """The agent leg is gone (rejected, not answered in time, released, worker lost)."""


@dataclass(frozen=True, slots=True)
class PromptFinished:
    pass


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    pass


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """The agent's desktop releases the call."""


@dataclass(frozen=True, slots=True)
class RecordUpdated:
    """UpdateCallCompletionStats: a corrected result, or None when only fields changed."""

    call_result: int | None


@dataclass(frozen=True, slots=True)
class RecordProcessed:
    call_result: int | None


@dataclass(frozen=True, slots=True)
class AgentGone:
    """The agent logged out; a record on its desktop will get no RecordProcessed."""


@dataclass(frozen=True, slots=True)
class Forced:
    """ForceUnload: release what is not a conversation, close every record as Stale."""


Event = (
    Progress
    | Answered
    | Heard
    | CustomerEnded
    | NotPlaced
    | AgentReserved
    | AgentAnswered
    | AgentEnded
    | PromptFinished
    | DeadlinePassed
    | ReleaseRequested
    | RecordUpdated
    | RecordProcessed
    | AgentGone
    | Forced
)


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """Limits in force for one attempt, seconds.

    Attributes:
        no_answer_s: ring limit kept by the SIP worker (16 CFR 310.4(b)(4)(ii): at least 15 s or four rings).
        timeguard_s: longest analysis, kept by the media server.
        max_wait_s: longest wait of a person for an agent, from the end of the greeting.
        agent_answer_s: longest ringing of the agent's phone.
        record_processed: the record stays open until the desktop's RecordProcessed.
        stale_s: longest time a record stays on a desktop after the call.
        early_analysis: listen to early media (cpd-on-connect is off).
    """

    no_answer_s: float = 25.0
    timeguard_s: float = 8.0
    max_wait_s: float = 2.0
    agent_answer_s: float = 5.0
    record_processed: bool = False
    stale_s: float = 1800.0
    early_analysis: bool = True


@dataclass(slots=True)
class AttemptMachine:
    """
    State of one attempt; one task owns it.

    Attributes:
        deadline_s: monotonic time at which the shell must send DeadlinePassed; math.inf: none.
        result: the call result once known; ``None`` until then.
        record_closed: the record's final result has been handed to the store.
        processed: the desktop is done with the record while the people still talk; it is closed with the call, so that
            a restart in between finds the attempt open and adopts the conversation.
        marks: monotonic times of what happened, by audit name (answered, cpd_completed, agent_answered, released...).
        person_at_s: start of the legal wait, None when no person was found.
        adopted: taken over from an earlier run of the daemon, which may have acknowledged a RecordProcessed that is not
            on disk: a record that its desktop never mentions again is closed as what it is, not as Stale.
    """

    rules: AttemptRules
    started_s: float
    state: AttemptState = AttemptState.DIALING
    deadline_s: float = math.inf
    result: int | None = None
    record_status: RecordStatus = RecordStatus.UPDATED
    agent_id: str | None = None
    sip_status: int | None = None
    q850_cause: int | None = None
    early_verdict: VerdictKind | None = None
    verdict: VerdictKind | None = None
    interrupted: bool = False
    record_closed: bool = False
    processed: bool = False
    count_attempt: bool = True
    adopted: bool = False
    person_at_s: float | None = None
    analysing_early: bool = False
    marks: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if math.isinf(self.deadline_s) and self.state is AttemptState.DIALING:
            self.deadline_s = self.started_s + self.rules.no_answer_s + SAFETY_MARGIN_S

    @property
    def answered(self) -> bool:
        return "answered" in self.marks

    @property
    def bridged(self) -> bool:
        return "agent_answered" in self.marks

    def on(self, event: Event, now_s: float) -> tuple[Do, ...]:
        """Advance; raises InvariantError for an event that cannot happen in this state (a bug of ours)."""
        if self.state is AttemptState.FINISHED:
            return ()  # late news of a call that is over
        match event:
            case Progress():
                return self._progress(event)
            case Answered(at_s):
                return self._answered(at_s if at_s is not None else now_s, now_s)
            case Heard():
                return self._heard(event, now_s)
            case CustomerEnded():
                return self._customer_ended(event, now_s)
            case NotPlaced(result, useless):
                if self.state is not AttemptState.DIALING:
                    raise InvariantError(f"NotPlaced in {self.state.name}")
                self.count_attempt = False
                if not useless:
                    self.record_status = RecordStatus.READY
                return self._close(result, now_s)
            case AgentReserved(agent_id):
                return self._agent_reserved(agent_id, now_s)
            case AgentAnswered():
                return self._agent_answered(now_s)
            case AgentEnded():
                return self._agent_ended(now_s)
            case PromptFinished():
                if self.state is AttemptState.ANNOUNCING:
                    return self._close(CallResult.DROPPED, now_s, Do.HANG_UP_CUSTOMER)
                return ()
            case DeadlinePassed():
                return self._deadline(now_s)
            case ReleaseRequested():
                if self.state is AttemptState.TALKING:
                    return self._end_of_talk(now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT)
                return ()
            case RecordUpdated(call_result):
                self._correct(call_result)
                return ()
            case RecordProcessed(call_result):
                return self._record_processed(call_result, now_s)
            case AgentGone():
                if self.state is AttemptState.WRAP_UP:
                    return self._finish_wrap_up(now_s)
                return ()
            case Forced():
                return self._forced(now_s)

    # --- before the answer --------------------------------------------------------------------------------------

    def _progress(self, event: Progress) -> tuple[Do, ...]:
        if self.state not in (AttemptState.DIALING, AttemptState.ALERTING):
            return ()
        self.state = AttemptState.ALERTING
        if event.has_media and self.rules.early_analysis and not self.analysing_early:
            self.analysing_early = True
            return (Do.START_EARLY_ANALYSIS,)
        return ()

    def _answered(self, at_s: float, now_s: float) -> tuple[Do, ...]:
        if self.state not in (AttemptState.DIALING, AttemptState.ALERTING):
            return ()
        self.marks["answered"] = min(at_s, now_s)
        self.sip_status = 200
        self.state = AttemptState.ANALYSING
        # From here the media server owns the limit; ours fires only if it fell silent.
        self.deadline_s = now_s + self.rules.timeguard_s + SAFETY_MARGIN_S
        return (Do.MARK_ANSWERED, Do.START_ANALYSIS)

    # --- analysis -----------------------------------------------------------------------------------------------

    def _heard(self, event: Heard, now_s: float) -> tuple[Do, ...]:
        result = result_of_verdict(event.kind)
        if result is None:
            return ()
        if not event.connected:
            if self.state in (AttemptState.DIALING, AttemptState.ALERTING):
                self.early_verdict = event.kind
                if event.kind not in PEOPLE and event.kind is not VerdictKind.SILENCE:
                    # The tone is the answer: freeing the trunk now spares everybody the rest of it.
                    self.marks["cpd_completed"] = now_s
                    return self._close(result, now_s, Do.HANG_UP_CUSTOMER)
            return ()
        if self.state is AttemptState.ANALYSING:
            self.marks["cpd_completed"] = now_s
            self.verdict = event.kind
            if event.kind in PEOPLE:
                return self._person_found(now_s, event.speech_end_s or now_s)
            return self._close(result, now_s, Do.HANG_UP_CUSTOMER)
        if self.state in (AttemptState.WAITING, AttemptState.CONNECTING) and event.kind not in PEOPLE:
            # A revised verdict: "Hello. ... you have reached" was a machine after all.
            self.verdict = event.kind
            release = self._release_agent_side()
            return self._close(result, now_s, *release, Do.HANG_UP_CUSTOMER)
        return ()

    def _person_found(self, now_s: float, speech_end_s: float) -> tuple[Do, ...]:
        self.state = AttemptState.WAITING
        self.person_at_s = min(speech_end_s, now_s)
        # A verdict later than the legal wait still gets the agent who is ready this instant.
        self.deadline_s = max(self.person_at_s + self.rules.max_wait_s, now_s + 0.05)
        return (Do.SEEK_AGENT,)

    # --- the agent ----------------------------------------------------------------------------------------------

    def _agent_reserved(self, agent_id: str, now_s: float) -> tuple[Do, ...]:
        if self.state is not AttemptState.WAITING:
            raise InvariantError(f"AgentReserved in {self.state.name}")
        self.agent_id = agent_id
        self.state = AttemptState.CONNECTING
        return (Do.DIAL_AGENT,)

    def _agent_answered(self, now_s: float) -> tuple[Do, ...]:
        if self.state is not AttemptState.CONNECTING:
            return ()  # adopted in a conversation, or no longer needed and being hung up
        self.marks["agent_answered"] = now_s
        self.state = AttemptState.TALKING
        self.deadline_s = math.inf
        self.result = CallResult.ANSWER
        return (Do.BRIDGE, Do.MARK_CONNECTED)

    def _agent_ended(self, now_s: float) -> tuple[Do, ...]:
        match self.state:
            case AttemptState.CONNECTING:
                self.agent_id = None
                self.state = AttemptState.WAITING
                # The roster must take the agent out before it looks for another.
                return (Do.AGENT_NOT_READY, Do.SEEK_AGENT)
            case AttemptState.TALKING:
                return self._end_of_talk(now_s, Do.HANG_UP_CUSTOMER)
            case _:
                return ()

    def _release_agent_side(self) -> tuple[Do, ...]:
        if self.state is AttemptState.CONNECTING:
            self.agent_id = None
            return (Do.HANG_UP_AGENT, Do.AGENT_BACK_TO_READY)
        return (Do.STOP_SEEKING,) if self.state is AttemptState.WAITING else ()

    # --- endings ------------------------------------------------------------------------------------------------

    def _customer_ended(self, event: CustomerEnded, now_s: float) -> tuple[Do, ...]:
        self.marks.setdefault("released", now_s)
        if not self.answered:
            self.sip_status = event.sip_status or self.sip_status
        self.q850_cause = event.q850_cause
        match self.state:
            case AttemptState.DIALING | AttemptState.ALERTING:
                if event.lost:
                    return self._interrupt(now_s)
                if event.no_answer and self.state is AttemptState.DIALING:
                    # Not one ring in all that time: a silent trunk must not look like people who do not answer.
                    return self._close(CallResult.NO_RINGBACK, now_s)
                return self._close(
                    result_of_failure(
                        event.sip_status, event.q850_cause, self.early_verdict, no_answer=event.no_answer
                    ),
                    now_s,
                )
            case AttemptState.ANALYSING:
                if event.lost:
                    return self._interrupt(now_s)
                # Answered and gone before anybody could tell what it was: no contact with the called party.
                return self._close(CallResult.REMOTE_RELEASE, now_s)
            case AttemptState.WAITING | AttemptState.CONNECTING:
                self.marks["abandoned"] = now_s
                release = self._release_agent_side()
                return self._close(CallResult.ABANDONED, now_s, *release)
            case AttemptState.ANNOUNCING:
                return self._close(CallResult.DROPPED, now_s)
            case AttemptState.TALKING:
                return self._end_of_talk(now_s, Do.HANG_UP_AGENT)
            case _:
                return ()

    def _deadline(self, now_s: float) -> tuple[Do, ...]:
        if now_s < self.deadline_s:
            return ()
        match self.state:
            case AttemptState.DIALING | AttemptState.ALERTING:
                return self._close(CallResult.NO_ANSWER, now_s, Do.HANG_UP_CUSTOMER)
            case AttemptState.ANALYSING:
                return self._heard(Heard(VerdictKind.TIMEGUARD, connected=True), now_s)
            case AttemptState.WAITING | AttemptState.CONNECTING:
                release = self._release_agent_side()
                self.marks["abandoned"] = now_s
                self.state = AttemptState.ANNOUNCING
                self.result = CallResult.DROPPED
                self.deadline_s = now_s + ANNOUNCEMENT_LIMIT_S
                return (*release, Do.PLAY_DROP)
            case AttemptState.ANNOUNCING:
                return self._close(CallResult.DROPPED, now_s, Do.HANG_UP_CUSTOMER)
            case AttemptState.WRAP_UP:
                if not self.adopted:
                    self.record_status = RecordStatus.STALE
                    self.result = CallResult.STALE
                return self._finish_wrap_up(now_s)
            case _:
                self.deadline_s = math.inf
                return ()

    def _end_of_talk(self, now_s: float, *hang_up: Do) -> tuple[Do, ...]:
        self.marks.setdefault("released", now_s)
        self.marks["agent_released"] = now_s
        if self.record_closed or self.processed or not self.rules.record_processed:
            closing = () if self.record_closed else (Do.CLOSE_RECORD,)
            self._closed(now_s)
            return (*hang_up, Do.AGENT_TO_WRAP_UP, *closing, Do.FINISH)
        self.state = AttemptState.WRAP_UP
        self.deadline_s = now_s + self.rules.stale_s
        return (*hang_up, Do.AGENT_TO_WRAP_UP)

    def _correct(self, call_result: int | None) -> None:
        if call_result is not None:
            self.result = call_result

    def _record_processed(self, call_result: int | None, now_s: float) -> tuple[Do, ...]:
        self._correct(call_result)
        match self.state:
            case AttemptState.TALKING:
                self.processed = True
                return ()
            case AttemptState.WRAP_UP:
                return self._finish_wrap_up(now_s)
            case _:
                return ()

    def _finish_wrap_up(self, now_s: float) -> tuple[Do, ...]:
        self.marks["acw_completed"] = now_s
        self._closed(now_s)
        return (Do.CLOSE_RECORD, Do.FINISH)

    def _forced(self, now_s: float) -> tuple[Do, ...]:
        if self.state is AttemptState.TALKING:
            if self.record_closed:
                return ()
            # The people go on talking; only the record is closed.
            self.record_closed = True
            self.record_status = RecordStatus.STALE
            self.interrupted = True
            return (Do.CLOSE_RECORD,)
        if self.state is AttemptState.WRAP_UP:
            self.record_status = RecordStatus.STALE
            return self._finish_wrap_up(now_s)
        if self.state is AttemptState.ANNOUNCING:
            return ()  # a few seconds more; the law wants the announcement
        release = self._release_agent_side()
        self.interrupted = True
        self.record_status = RecordStatus.STALE
        return self._close(CallResult.STALE, now_s, *release, Do.HANG_UP_CUSTOMER)

    def _interrupt(self, now_s: float) -> tuple[Do, ...]:
        self.interrupted = True
        self.record_status = RecordStatus.STALE
        return self._close(CallResult.STALE, now_s)

    def _close(self, result: CallResult, now_s: float, *before: Do) -> tuple[Do, ...]:
        self.result = result
        self.marks.setdefault("released", now_s)
        self._closed(now_s)
        return (*before, Do.CLOSE_RECORD, Do.FINISH)

    def _closed(self, now_s: float) -> None:
        self.state = AttemptState.FINISHED
        self.record_closed = True
        self.deadline_s = math.inf
