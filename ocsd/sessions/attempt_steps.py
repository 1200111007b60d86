"""The state of one attempt and the steps it is moved by; `ocsd.sessions.attempt` says which event leads to which."""

import math
from dataclasses import dataclass, field

from ocsd.model.enums import CallAction, CallResult, RecordStatus
from ocsd.sessions.attempt_events import AttemptRules, AttemptState, CallPlan, Do, PlanOf
from ocsd.sessions.outcome import PEOPLE
from telephony.contract import VerdictKind

SAFETY_MARGIN_S = 5.0
"""How long after a limit that another process keeps (ring limit, time guard) the machine acts by itself."""

ANNOUNCEMENT_LIMIT_S = 15.0
"""Longest drop announcement; the call is released then even if the media server never reports its end."""

MESSAGE_LIMIT_S = 305.0
"""Longest message of "play message": the media server takes prompts of up to five minutes."""

VERIFY_LIMIT_S = 120.0
"""How long after a test call its agent may still say what it was, where nothing else keeps the record open."""

LATE_VERDICT_GRACE_S = 0.05
"""A verdict later than the legal wait still gets the agent who is ready this instant."""

RINGING = frozenset({AttemptState.DIALING, AttemptState.ALERTING})
SEEKING = frozenset({AttemptState.WAITING, AttemptState.CONNECTING})
BEFORE_TALK = frozenset({AttemptState.RINGING_AGENT, *RINGING})


def no_action(_result: CallResult) -> None:
    """No treatment acts on the call."""


@dataclass(slots=True)
class AttemptSteps:
    """
    State of one attempt; one task owns it, and begins with `start`.

    Attributes:
        designated_agent: whose call this is (callback, preview); its seat has been reserved. None: any ready agent's.
        plan_of: asked once the analysis has found something; has no effects.
        plan: the call action in force; None: none was asked for.
        deadline_s: monotonic time at which the shell must send DeadlinePassed; math.inf: none.
        result: the call result once known; ``None`` until then. It is what a treatment treats.
        record_status: Updated; Ready: no INVITE left or our plane failed, the record goes back as it was; Stale: nobody
            knows how it ended.
        record_closed: the record's final result has been handed to the store.
        processed: the desktop is done with the record while the people still talk; it is closed with the call, so that
            a restart in between finds the attempt open and adopts the conversation.
        said: the result that a desktop or an application has set; whatever the call comes to, it is the attempt's.
        marks: monotonic times of what happened, by audit name (alerting, answered, cpd_completed, released...).
        assumed_person: nobody listened, so whoever answered is taken for a person.
        early_heard: everything that was heard before the answer.
        beep_heard: the recording tone came before the verdict did.
        verified: a test call: its agent is asked what it was, so the record waits on the desk for VERIFY_LIMIT_S.
        person_at_s: start of the wait for an agent (of a person: the legal wait), None when nobody waits for one.
        let_go: given up by the pacing while it rang.
        unmasked: an agent was connected to what had been taken for a person, and then was none.
        taken: the call was taken from its agent for that.
        assured: an agent is seized for this call before it is placed (assured connection); ``seized``: it still is.
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
    designated_agent: str | None = None
    assured: bool = False
    refer_accepted: bool = False
    """The customer's side is calling a transfer's destination by itself: if it hangs up now, it has got there."""
    refer_open: bool = False
    """It was asked to, and has not said yet how that ended."""
    seized: bool = False
    plan_of: PlanOf = no_action
    plan: CallPlan | None = None
    sip_status: int | None = None
    q850_cause: int | None = None
    early_verdict: VerdictKind | None = None
    verdict: VerdictKind | None = None
    interrupted: bool = False
    record_closed: bool = False
    processed: bool = False
    said: int | None = None
    count_attempt: bool = True
    adopted: bool = False
    let_go: bool = False
    person_at_s: float | None = None
    analysing_early: bool = False
    assumed_person: bool = False
    early_heard: set[VerdictKind] = field(default_factory=set)
    beep_heard: bool = False
    verified: bool = False
    agent_hears_network: bool = False
    goes_back: bool = False
    """The customer was not dialed: an agent who leaves the desk without a word leaves the record as it was."""
    unmasked: bool = False
    taken: bool = False
    marks: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if math.isinf(self.deadline_s) and self.state is AttemptState.DIALING:
            if self.designated_agent is not None or self.assured:
                self.state, self.seized = AttemptState.RINGING_AGENT, self.assured
                self.agent_id = self.designated_agent or self.agent_id
                self.deadline_s = self.started_s + self.rules.agent_answer_s + SAFETY_MARGIN_S
            else:
                self.deadline_s = self.started_s + self.rules.no_answer_s + SAFETY_MARGIN_S

    @property
    def has_agent(self) -> bool:
        """It was placed for an agent who is there already: the pacing has nothing to do with it."""
        return self.designated_agent is not None or self.assured

    @property
    def answered(self) -> bool:
        """The customer's phone was answered, by whomever."""
        return "answered" in self.marks

    @property
    def bridged(self) -> bool:
        """An agent has talked with the customer."""
        return "agent_answered" in self.marks

    @property
    def found_person(self) -> bool:
        """Analysis takes the called party for a person, as far as it knows by now."""
        return self.assumed_person or self.verdict in PEOPLE

    @property
    def demanded(self) -> bool:
        """Only the desktop's RecordProcessed finishes the record."""
        return self.rules.record_processed or self.designated_agent is not None

    @property
    def nothing_rang(self) -> bool:
        """Neither the signalling nor the audio ever said that a phone rings, or anything else, before the answer."""
        if self.state is AttemptState.DIALING:
            return True
        return "alerting" not in self.marks and self.early_heard == {VerdictKind.NO_RINGBACK}

    def referred_away(self, now_s: float) -> tuple[Do, ...]:
        """The customer's side has called the destination of a transfer by itself; for us the call ends here."""
        self.marks["transferred"] = now_s
        if self.found_person:
            self.result = CallResult.ANSWER
        return self.close(self.result, now_s, Do.HANG_UP_CUSTOMER)

    def keep_timeguard(self) -> None:
        """Nobody else keeps the limit of the analysis under way (call_timeguard_timeout)."""
        if self.state is AttemptState.ANALYSING:
            self.deadline_s = self.marks["answered"] + self.rules.timeguard_s

    def seek(self, now_s: float, from_s: float) -> tuple[Do, ...]:
        """Wait for an agent; a person's legal wait runs since ``from_s`` (monotonic), the end of the greeting."""
        self.state = AttemptState.WAITING
        if self.seized:  # nobody waits
            self.seized = False
            self.person_at_s = min(from_s, now_s) if self.found_person else None
            return self.talk(now_s)
        self.person_at_s = min(from_s, now_s) if self.found_person else now_s
        self.deadline_s = max(self.person_at_s + self.rules.max_wait_s, now_s + LATE_VERDICT_GRACE_S)
        return (Do.SEEK_AGENT,)

    def play(self, now_s: float) -> tuple[Do, ...]:
        """Play the call action's message."""
        if self.found_person:
            self.result = CallResult.ANSWER
        self.state, self.deadline_s = AttemptState.PLAYING, now_s + MESSAGE_LIMIT_S
        return (Do.PLAY_MESSAGE,)

    def announce(self, result: CallResult, now_s: float) -> tuple[Do, ...]:
        """A person gets nobody to talk to: 16 CFR 310.4(b)(4)(iii) wants an announcement."""
        self.marks["abandoned"] = now_s
        self.person_at_s = now_s if self.person_at_s is None else self.person_at_s
        self.state, self.result = AttemptState.ANNOUNCING, result
        self.deadline_s = now_s + ANNOUNCEMENT_LIMIT_S
        return (Do.PLAY_DROP,)

    def transfer(self, now_s: float) -> tuple[Do, ...]:
        """Dial the call action's destination; with ringback for the customer, unless the transfer is a mute one."""
        self.state = AttemptState.TRANSFERRING
        self.deadline_s = now_s + self.rules.agent_answer_s + SAFETY_MARGIN_S  # the worker keeps the ring limit
        mute = self.plan is not None and self.plan.action is CallAction.MUTE_TRANSFER
        self.refer_open, self.refer_accepted = self.plan is not None and self.plan.refer, False
        return (Do.DIAL_DESTINATION,) if mute else (Do.DIAL_DESTINATION, Do.PLAY_RINGBACK)

    def announced(self, now_s: float) -> tuple[Do, ...]:
        """
        The announcement is over. Where a REFER may still succeed the result waits for the end of the leg: until then
        the far end may say that the person has got to the queue after all.
        """
        if self.refer_open and self.refer_accepted:
            self.refer_open, self.deadline_s = False, now_s + SAFETY_MARGIN_S
            return (Do.HANG_UP_CUSTOMER,)
        return self.close(self.result, now_s, Do.HANG_UP_CUSTOMER)

    def transfer_failed(self, result: CallResult, now_s: float) -> tuple[Do, ...]:
        """Nobody took the call: a person hears the announcement and ends with ``result``, a machine keeps its own."""
        if self.found_person:
            return (Do.HANG_UP_DESTINATION, *self.announce(result, now_s))
        return self.close(self.result, now_s, Do.HANG_UP_DESTINATION, Do.HANG_UP_CUSTOMER)

    def end_of_transfer(self, now_s: float, *hang_up: Do) -> tuple[Do, ...]:
        """One side of a transferred call has left; its record is closed already."""
        self.marks.setdefault("released", now_s)
        self.closed()
        return (*hang_up, Do.FINISH)

    def talk(self, now_s: float) -> tuple[Do, ...]:
        """Both are there: the conversation begins."""
        self.marks["agent_answered"] = now_s
        self.state, self.deadline_s = AttemptState.TALKING, math.inf
        if self.result is None:  # a machine that is connected stays a machine, and a correction stands
            self.result = CallResult.ANSWER
        return (Do.BRIDGE, Do.MARK_CONNECTED)

    def nobody_dialed(self, now_s: float, *before: Do) -> tuple[Do, ...]:
        """The designated agent's phone did not answer: nobody was called, and the record stays on the desk."""
        self.count_attempt, self.goes_back = False, True
        return self.to_desk(CallResult.UNKNOWN, now_s, *before)

    def given_up(self, now_s: float) -> tuple[Do, ...]:
        """The designated agent leaves, or the limit passes, while the customer is being dialed."""
        rang = self.state is AttemptState.ALERTING
        result = CallResult.NO_ANSWER if rang else CallResult.NO_RINGBACK
        return self.to_desk(result, now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)

    def to_desk(self, result: CallResult, now_s: float, *before: Do) -> tuple[Do, ...]:
        """The designated agent's call came to nothing; the agent says what becomes of the record."""
        self.result = result if self.said is None else self.said
        self.marks.setdefault("released", now_s)
        if self.processed:
            self.closed()
            return (*before, Do.CLOSE_RECORD, Do.FINISH)
        self.state, self.deadline_s = AttemptState.WRAP_UP, now_s + self.rules.stale_s
        return before

    def release_partner(self) -> tuple[Do, ...]:
        """Let go of whoever is being dialed for the customer, or sought."""
        match self.state:
            case AttemptState.WAITING:
                return (Do.STOP_SEEKING,)
            case AttemptState.CONNECTING:
                self.agent_id = None
                return (Do.HANG_UP_AGENT, Do.AGENT_BACK_TO_READY)
            case AttemptState.TRANSFERRING | AttemptState.IN_APPLICATION:
                return (Do.HANG_UP_DESTINATION,)
            case _ if self.designated_agent is not None and self.state in BEFORE_TALK:
                return (Do.HANG_UP_AGENT, Do.AGENT_BACK_TO_READY)
            case _:
                return ()

    def end_of_talk(self, now_s: float, *hang_up: Do) -> tuple[Do, ...]:
        """The conversation is over; the record is closed now, or when the desktop is done with it."""
        self.marks.setdefault("released", now_s)
        self.marks["agent_released"] = now_s
        asked = self.verified and self.verdict is not None and self.said is None
        if self.record_closed or self.processed or not (self.demanded or asked):
            closing = () if self.record_closed else (Do.CLOSE_RECORD,)
            self.closed()
            return (*hang_up, Do.AGENT_TO_WRAP_UP, *closing, Do.FINISH)
        kept_s = self.rules.stale_s if self.demanded else min(self.rules.stale_s, VERIFY_LIMIT_S)
        self.state, self.deadline_s = AttemptState.WRAP_UP, now_s + kept_s
        return (*hang_up, Do.AGENT_TO_WRAP_UP)

    def correct(self, call_result: int | None) -> None:
        """The desktop sets the result; None leaves it."""
        if call_result is not None:
            self.result = self.said = call_result

    def finish_wrap_up(self, now_s: float) -> tuple[Do, ...]:
        """The record leaves the desk."""
        self.marks["acw_completed"] = now_s
        self.closed()
        return (Do.CLOSE_RECORD, Do.FINISH)

    def interrupt(self, now_s: float) -> tuple[Do, ...]:
        """Nobody knows how the call went on: Stale."""
        self.interrupted = True
        self.record_status = RecordStatus.STALE
        return self.close(CallResult.STALE, now_s)

    def close(self, result: int | None, now_s: float, *before: Do) -> tuple[Do, ...]:
        """End the attempt with this result, after ``before``; a call taken from its agent leaves the record on the desk
        where that has to process it."""
        self.result = result
        self.marks.setdefault("released", now_s)
        if self.taken and self.demanded and not (self.processed or self.interrupted or self.record_closed):
            self.result = result if self.said is None else self.said
            self.state, self.deadline_s = AttemptState.WRAP_UP, now_s + self.rules.stale_s
            return before
        self.closed()
        return (*before, Do.CLOSE_RECORD, Do.FINISH)

    def closed(self) -> None:
        """Nothing can happen any more."""
        self.state = AttemptState.FINISHED
        if self.said is not None and self.record_status is not RecordStatus.STALE:
            self.result = self.said
        self.record_closed = True
        self.deadline_s = math.inf
