"""
One call attempt in Transfer mode as a pure machine: events and the clock go in, things to do come out.

Theory of operation
-------------------
    DIALING -> ALERTING -> ANALYSING -+-> WAITING <-> CONNECTING -> TALKING -> WRAP_UP -> FINISHED
                                      |      \\___________/
                                      |            | two seconds are over
                                      |            v
                                      |       ANNOUNCING ------------------------------> FINISHED
                                      |            ^ nobody takes it
                                      +-> TRANSFERRING -> TRANSFERRED -----------------> FINISHED
                                      +-> AWAITING_BEEP -> PLAYING --------------------> FINISHED
                                      +------------------------------------------------> FINISHED
    with a designated agent:
    RINGING_AGENT -> DIALING -> ALERTING -> TALKING -> WRAP_UP -> FINISHED
           \\____________\\___________\\____________________^ no answer

Dialing ends with an answer or a failure. After the answer, call progress analysis tells a person from a machine (with
no_progress_detection nobody listens, and whoever answers is a person, who waits from the answer on); a
person waits for an agent at most ``max_wait_s`` after the end of the greeting (16 CFR 310.4(b)(1)(iv): two seconds),
else hears the drop announcement and the result is Dropped. The agent is dialed when needed, and bridged on answer.
The result is fixed once; only a desktop's correction replaces it. The shell (``attempt_task.py``) owns legs and time.

A treatment's call action (`CallPlan`) replaces what happens after the verdict:

    connect          to an agent as a person is; the result stays what was detected. Nobody announces anything to a
                     machine that gets no agent in time
    drop             hung up; a person hears the announcement first, and counts as abandoned
    transfer, route  the destination is dialed while the customer hears ringback, bridged when it answers
    mute transfer    the same in silence
    play message     to a machine when its greeting is over (the recording tone, or GREETING_LIMIT_S; am-beep-detection
                     off: at once), then hung up

The record of a transferred call is closed at the bridge: its result is known, and the call goes on as one without a
record, which every later daemon leaves alone. A transfer that fails leaves a machine what it was; a person hears the
announcement, and the result is Dropped, or Transfer Error when the destination could not be dialed at all.

The analysis may listen on while the agent talks (`AfterConnect`). What shows then to be a machine or a fax has that
result unless the desktop says otherwise, and may be taken from the agent: TALKING -> what a machine gets in the first
place (its message, or the end of the call), and the agent is ready again at once. That needs a tone, which nobody who
talks has.

With an agent seized for it (assured connection, `attempt_seizing`) the call begins at RINGING_AGENT too, is analysed
as any other, and goes from ANALYSING to TALKING.

With a designated agent (callback and preview records) the agent's phone is dialed first and the customer when it has
answered: no called person meets silence, and nothing is analysed. The agent hears the network's ringing, and the
record stays on the desktop (WRAP_UP) whatever comes of the call.

Source of results: Reference Manual, "Call Result Types" and "Call Result Mapping by OCS".
"""

import math
from dataclasses import dataclass

from ocsd.model.enums import CallAction, CallResult, RecordStatus
from ocsd.model.errors import InvariantError
from ocsd.sessions.attempt_endings import AttemptEndings
from ocsd.sessions.attempt_events import (
    AfterConnect,
    AgentAnswered,
    AgentEnded,
    AgentGone,
    AgentReserved,
    Answered,
    ApplicationDone,
    ApplicationFailed,
    AttemptRules,
    AttemptState,
    CalledOut,
    CallPlan,
    Cancelled,
    CustomerEnded,
    DeadlinePassed,
    DestinationAnswered,
    DestinationEnded,
    Do,
    Event,
    Forced,
    GivenUp,
    HandedOver,
    Heard,
    KeyPressed,
    MediaFailed,
    NotPlaced,
    PendingCallback,
    PlanOf,
    Progress,
    PromptFinished,
    RecordProcessed,
    RecordUpdated,
    ReleaseRequested,
    WantsAgent,
    Withdrawn,
)
from ocsd.sessions.attempt_faults import media_failed
from ocsd.sessions.attempt_passing import passed_on
from ocsd.sessions.attempt_steps import RINGING, SAFETY_MARGIN_S, SEEKING
from ocsd.sessions.call_control_events import ControlEvent, PassedOn
from ocsd.sessions.outcome import PEOPLE, result_of_verdict
from telephony.contract import VerdictKind

GREETING_LIMIT_S = 20.0
"""How long after the verdict a machine's recording tone is waited for; most greetings are over by then, and later the
recording has ended for want of a voice."""

OUTLIVES_DAEMON = frozenset(
    {AttemptState.TALKING, AttemptState.WRAP_UP, AttemptState.TRANSFERRED, AttemptState.IN_DIALOG}
)
"""Attempts that a stopping daemon leaves alone: conversations, and records on a desktop."""

TRANSFERS = frozenset({CallAction.TRANSFER, CallAction.MUTE_TRANSFER, CallAction.ROUTE})


@dataclass(slots=True)
class AttemptMachine(AttemptEndings):
    """State of one attempt (`AttemptSteps` has its attributes); one task owns it, and begins with `start`."""

    def start(self) -> tuple[Do, ...]:
        """How a new attempt begins; not for adopted ones."""
        return (Do.DIAL_AGENT,) if self.state is AttemptState.RINGING_AGENT else (Do.DIAL_CUSTOMER,)

    def on(self, event: Event, now_s: float) -> tuple[Do, ...]:
        """Advance; raises InvariantError for an event that cannot happen in this state (a bug of ours)."""
        if self.state is AttemptState.FINISHED:
            return ()  # late news of a call that is over
        return self.seized_agent_given_back(self._on(event, now_s))

    def _on(self, event: Event, now_s: float) -> tuple[Do, ...]:
        match event:
            case Progress():
                return self._progress(event, now_s)
            case Answered(at_s):
                return self._answered(at_s if at_s is not None else now_s, now_s)
            case Heard():
                return self._heard(event, now_s)
            case CustomerEnded():
                return self.customer_ended(event, now_s)
            case NotPlaced(result, useless):
                return self._not_placed(result, useless, now_s)
            case AgentReserved(agent_id):
                return self.agent_reserved(agent_id)
            case AgentAnswered():
                return self.agent_answered(now_s)
            case AgentEnded(ours):
                return self.agent_ended(ours, now_s)
            case DestinationAnswered():
                return self.destination_answered(now_s)
            case DestinationEnded(placed):
                return self.destination_ended(placed, now_s)
            case PromptFinished(error):
                return self._prompt_finished(error, now_s)
            case KeyPressed() | ApplicationDone() | ApplicationFailed() | WantsAgent() | CalledOut():
                return self.application_event(event, now_s)
            case DeadlinePassed():
                return self._deadline(now_s) if now_s >= self.deadline_s else ()
            case ReleaseRequested():
                return self.release_requested(now_s)
            case GivenUp():
                return self._let_go(now_s)
            case MediaFailed():
                return media_failed(self, now_s)
            case HandedOver(presumed):
                return self.handed_over(presumed, now_s)
            case PassedOn(agent_id):
                return passed_on(self, agent_id, now_s)
            case ControlEvent():
                raise InvariantError(f"{type(event).__name__} is for call control")
            case RecordUpdated(call_result):
                self.correct(call_result)
                return ()
            case RecordProcessed(call_result):
                return self.record_processed(call_result, now_s)
            case AgentGone():
                if self.state is AttemptState.WRAP_UP:
                    if self.goes_back and self.said is None:
                        self.record_status = RecordStatus.READY
                    return self.finish_wrap_up(now_s)
                self.processed |= self.taken  # nobody is left to process the record
                return ()
            case Forced():
                return self.forced(now_s)
            case Withdrawn():
                return self.withdrawn(CallResult.DO_NOT_CALL, now_s)
            case Cancelled():
                return self.withdrawn(CallResult.CANCEL_RECORD, now_s)

    # --- before the answer --------------------------------------------------------------------------------------

    def _progress(self, event: Progress, now_s: float) -> tuple[Do, ...]:
        if self.state not in RINGING:
            return ()
        if event.rings:
            self.marks.setdefault("alerting", now_s)
        first = self.state is AttemptState.DIALING
        self.state = AttemptState.ALERTING
        if self.designated_agent is not None:
            if event.has_media and not self.agent_hears_network:
                self.agent_hears_network = True
                return (Do.BRIDGE_EARLY,)
            return (Do.PLAY_RINGBACK_TO_AGENT,) if first and not event.has_media else ()
        if event.has_media and self.rules.early_analysis and not self.analysing_early:
            self.analysing_early = True
            return (Do.START_EARLY_ANALYSIS,)
        return ()

    def _answered(self, at_s: float, now_s: float) -> tuple[Do, ...]:
        if self.state not in RINGING:
            return ()
        self.marks["answered"] = min(at_s, now_s)
        self.sip_status = 200
        if self.designated_agent is not None:
            return (Do.MARK_ANSWERED, *self.talk(now_s))
        if not self.rules.analysis:
            self.assumed_person = True
            return (Do.MARK_ANSWERED, *self._act_on(None, CallResult.ANSWER, self.marks["answered"], now_s))
        self.state = AttemptState.ANALYSING
        # From here the media server owns the limit; ours fires only if it fell silent.
        self.deadline_s = now_s + self.rules.timeguard_s + SAFETY_MARGIN_S
        return (Do.MARK_ANSWERED, Do.START_ANALYSIS)

    def _let_go(self, now_s: float) -> tuple[Do, ...]:
        """As at the ring limit. An answer that came first, or comes while the far end is told, is treated as there."""
        if self.state not in RINGING or self.has_agent:
            return ()
        self.let_go = True
        return self.close(CallResult.NO_ANSWER, now_s, Do.HANG_UP_CUSTOMER)

    def _not_placed(self, result: CallResult, useless: bool, now_s: float) -> tuple[Do, ...]:
        if self.state is AttemptState.WRAP_UP:
            return ()  # given up while the next trunk was sought
        if self.state is not AttemptState.DIALING:
            raise InvariantError(f"NotPlaced in {self.state.name}")
        self.count_attempt = False
        if self.designated_agent is not None:
            self.goes_back = not useless
            return self.to_desk(result, now_s, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)
        if not useless:
            self.record_status = RecordStatus.READY
        return self.close(result, now_s)

    # --- analysis and what follows it ---------------------------------------------------------------------------

    def _heard(self, event: Heard, now_s: float) -> tuple[Do, ...]:
        if not event.connected:
            self.early_heard.add(event.kind)
        if event.kind is VerdictKind.BEEP:
            self.beep_heard |= event.connected
            if self.state is AttemptState.TALKING:
                return self._heard_in_talk(event.kind, now_s)
            return self.after_greeting(now_s) if self.state is AttemptState.AWAITING_BEEP else ()
        result = result_of_verdict(event.kind)
        if event.kind is VerdictKind.RINGBACK and self.state in RINGING:
            self.marks.setdefault("alerting", now_s)  # a network that tells by its tone only
        if result is None or self.designated_agent is not None:
            return ()
        if not event.connected:
            if self.state in RINGING:
                self.early_verdict = event.kind
                if event.kind not in PEOPLE and event.kind is not VerdictKind.SILENCE:
                    # The tone is the answer: freeing the trunk now spares everybody the rest of it.
                    self.marks["cpd_completed"] = now_s
                    return self.close(result, now_s, Do.HANG_UP_CUSTOMER)
            return ()
        if self.state is AttemptState.ANALYSING:
            self.marks["cpd_completed"] = now_s
            if event.speech_end_s > 0.0:
                self.marks["speech_end"] = min(event.speech_end_s, now_s)
            return self._act_on(event.kind, result, event.speech_end_s or now_s, now_s)
        if self.state is AttemptState.TALKING:
            return self._heard_in_talk(event.kind, now_s)
        # A revised verdict: "Hello. ... you have reached" was a machine after all.
        revisable = self.state in (
            *SEEKING,
            AttemptState.TRANSFERRING,
            AttemptState.AWAITING_BEEP,
            AttemptState.PLAYING,
        )
        revisable &= "applied" not in self.marks
        if revisable and event.kind not in PEOPLE and event.kind is not self.verdict:
            return self._revise(event, result, now_s)
        return ()

    def _act_on(self, kind: VerdictKind | None, result: CallResult, since_s: float, now_s: float) -> tuple[Do, ...]:
        """
        Do what the call action for this result says; without one a person gets an agent, the rest is hung up.

        ``kind`` None: nobody listened. ``since_s``: since when a person waits.
        """
        self.verdict = kind
        self.plan = self.plan_of(result)
        # A person's result is fixed by what becomes of the call.
        self.result = None if self.found_person else result
        action = self.plan.action if self.plan is not None else CallAction.NONE
        if action in TRANSFERS:
            return self.transfer(now_s)
        if action is CallAction.PLAY_MESSAGE or self.runs_application:
            if kind is VerdictKind.MACHINE and self.rules.waits_for_beep and not self.beep_heard:
                self.state, self.deadline_s = AttemptState.AWAITING_BEEP, now_s + GREETING_LIMIT_S
                return ()
            if self.runs_application:
                return self.apply(since_s, now_s)
        match action:
            case CallAction.PLAY_MESSAGE:
                return self.play(now_s)
            case CallAction.DROP if self.found_person:
                return self.announce(CallResult.ANSWER, now_s)
            case CallAction.CONNECT:
                return self.seek(now_s, since_s)
            case CallAction.NONE if self.found_person:
                return self.seek(now_s, since_s)
            case _:
                return self.close(result, now_s, Do.HANG_UP_CUSTOMER)

    def _revise(self, event: Heard, result: CallResult, now_s: float) -> tuple[Do, ...]:
        before, plan = self.plan, self.plan_of(result)
        same = plan is not None and before is not None and replaces_nothing(before, plan)
        connects = self.state in SEEKING and plan is not None and plan.action is CallAction.CONNECT
        if same or connects:
            self.verdict, self.result = event.kind, result
            self.plan = plan
            return ()  # already under way
        release = self.release_partner()
        return (*release, *self._act_on(event.kind, result, event.speech_end_s or now_s, now_s))

    def _heard_in_talk(self, kind: VerdictKind, now_s: float) -> tuple[Do, ...]:
        """What the agent talks with is no person, or the recording tone of what was known to be none."""
        rule, result = self.rules.after_connect, result_of_verdict(kind)
        if rule is AfterConnect.NO or kind in PEOPLE or self.record_closed or self.designated_agent is not None:
            return ()
        told: tuple[Do, ...] = ()
        if result is not None and self.found_person:
            self.verdict, self.unmasked = kind, True
            if self.said is None:
                self.result = result
            told = (Do.TELL_AGENT,)
        # A machine that somebody wanted an agent for, or whose agent is asked what it is, stays with the agent.
        if not self.unmasked or self.verified or rule is AfterConnect.REPORT or kind is VerdictKind.MACHINE:
            return told
        return (*told, *self._take_from_agent(now_s))

    def _take_from_agent(self, now_s: float) -> tuple[Do, ...]:
        assert self.verdict is not None
        result = result_of_verdict(self.verdict)
        assert result is not None
        if self.said is not None and self.said != result:
            return ()  # the agent knows better
        plan = self.plan_of(result)
        if plan is not None and plan.action is CallAction.CONNECT:
            return ()
        if self.processed:
            return self.end_of_talk(now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT)
        self.taken = True
        self.marks["agent_released"] = now_s
        agent = Do.AGENT_TO_WRAP_UP if self.demanded else Do.AGENT_FREED
        return (Do.HANG_UP_AGENT, agent, *self._act_on(self.verdict, result, now_s, now_s))

    def _prompt_finished(self, error: str, now_s: float) -> tuple[Do, ...]:
        match self.state:
            case AttemptState.PLAYING if error and self.found_person:
                return self.announce(CallResult.ANSWER, now_s)
            case AttemptState.PLAYING:
                return self.close(self.result, now_s, Do.HANG_UP_CUSTOMER)
            case AttemptState.ANNOUNCING:
                return self.announced(now_s)
            case _:
                return ()

    # --- endings ------------------------------------------------------------------------------------------------

    def _deadline(self, now_s: float) -> tuple[Do, ...]:
        match self.state:
            case AttemptState.RINGING_AGENT if self.seized:
                return self.not_seized(now_s)
            case AttemptState.RINGING_AGENT:
                return self.nobody_dialed(now_s, Do.AGENT_NOT_READY)
            case AttemptState.DIALING | AttemptState.ALERTING if self.designated_agent is not None:
                return self.given_up(now_s)
            case AttemptState.DIALING | AttemptState.ALERTING:
                return self.close(CallResult.NO_ANSWER, now_s, Do.HANG_UP_CUSTOMER)
            case AttemptState.ANALYSING:
                return self._heard(Heard(VerdictKind.TIMEGUARD, connected=True), now_s)
            case AttemptState.WAITING | AttemptState.CONNECTING if self.queued:
                return self.application_goes_on(now_s, *self.release_partner())
            case AttemptState.IN_APPLICATION:
                return self.application_failed(now_s)
            case AttemptState.IN_DIALOG:
                return self.dialog_ends(now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_DESTINATION)
            case AttemptState.WAITING | AttemptState.CONNECTING:
                release = self.release_partner()
                if not self.found_person:
                    return self.close(self.result, now_s, *release, Do.HANG_UP_CUSTOMER)
                return (*release, *self.announce(CallResult.DROPPED, now_s))
            case AttemptState.TRANSFERRING:
                return self.transfer_failed(CallResult.DROPPED, now_s)
            case AttemptState.AWAITING_BEEP:
                return self.after_greeting(now_s)
            case AttemptState.ANNOUNCING:
                return self.announced(now_s)
            case AttemptState.PLAYING:
                return self.close(self.result, now_s, Do.HANG_UP_CUSTOMER)
            case AttemptState.WRAP_UP:
                if not self.adopted and self.demanded:
                    self.record_status = RecordStatus.STALE
                    self.result = CallResult.STALE
                return self.finish_wrap_up(now_s)
            case _:
                self.deadline_s = math.inf
                return ()


def replaces_nothing(before: CallPlan, after: CallPlan) -> bool:
    """Whether an action under way already is what another plan asks for; not a connection, which has no plan of its
    own to compare."""
    wanted = (after.action, after.destination, after.message)
    return wanted == (before.action, before.destination, before.message) and after.action not in (
        CallAction.NONE,
        CallAction.DROP,
        CallAction.CONNECT,
    )


__all__ = [
    "SAFETY_MARGIN_S",
    "AgentAnswered",
    "AgentEnded",
    "AgentGone",
    "AgentReserved",
    "Answered",
    "AttemptMachine",
    "AttemptRules",
    "AttemptState",
    "CallPlan",
    "Cancelled",
    "CustomerEnded",
    "DeadlinePassed",
    "DestinationAnswered",
    "DestinationEnded",
    "Do",
    "Event",
    "Forced",
    "GivenUp",
    "HandedOver",
    "Heard",
    "MediaFailed",
    "NotPlaced",
    "PendingCallback",
    "PlanOf",
    "Progress",
    "PromptFinished",
    "RecordProcessed",
    "RecordUpdated",
    "ReleaseRequested",
    "Withdrawn",
]
