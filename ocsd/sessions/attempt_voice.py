"""
The attempt machine where a voice application takes the place of an agent (Progressive GVP, Power GVP).

    ANALYSING -+-> IN_APPLICATION -+-> FINISHED                       steps, carried out by ocsd
               |      ^      |     +-> TRANSFERRING -> TRANSFERRED
               |      |______|_____+-> WAITING <-> CONNECTING -> TALKING -> WRAP_UP -> FINISHED
               |   nobody is there, nobody answers
               +-> AWAITING_BEEP -> IN_APPLICATION                    a machine (am-beep-detection)
               +-> IN_APPLICATION -> IN_DIALOG -> FINISHED            a VoiceXML dialog (or WRAP_UP: record_processed)

The result of a call that runs an application is what analysis has found, Answer for a person, unless the application
says otherwise: a step of it, or a request about the record over HTTP. Whoever waits for an agent because the
application has led there is not waited for by law: nobody is abandoned, whenever the call ends.

A dialog of a VoiceXML media server outlives the daemon as a conversation does; so do the records that RecordProcessed
has to close.

Source: Reference Manual, "Outbound Contact with GVP 8.1 (Proactive Contact Solution)".
"""

import math
from dataclasses import dataclass

from ocsd.model.enums import CallAction, CallResult
from ocsd.sessions.attempt_events import (
    ApplicationDone,
    ApplicationEvent,
    ApplicationFailed,
    AttemptState,
    CalledOut,
    CallPlan,
    Do,
    KeyPressed,
    WantsAgent,
)
from ocsd.sessions.attempt_seizing import AttemptSeizing
from ocsd.sessions.attempt_steps import SAFETY_MARGIN_S

APPLICATION = frozenset({AttemptState.IN_APPLICATION, AttemptState.IN_DIALOG})
"""The application has the call."""


@dataclass(slots=True)
class AttemptVoice(AttemptSeizing):
    """Steps of voice applications."""

    @property
    def runs_application(self) -> bool:
        """The call has been given to an application, or is about to be."""
        return self.plan is not None and self.plan.application != ""

    @property
    def queued(self) -> bool:
        """It is the application that wants an agent for the call."""
        return self.runs_application and "applied" in self.marks

    @property
    def served(self) -> bool:
        """An agent has talked with the customer, or the application has had the call."""
        return self.bridged or "applied" in self.marks

    @property
    def served_person(self) -> bool:
        """The same, of what is taken for a person where it was the application alone."""
        return self.bridged or ("applied" in self.marks and self.found_person)

    @property
    def applied_to_machine(self) -> bool:
        """An application has the call of what is no person: for the pacing the attempt is over."""
        return self.state in APPLICATION and not self.found_person

    def apply(self, since_s: float, now_s: float) -> tuple[Do, ...]:
        """Begin the application. ``since_s``: since when a person waits."""
        if self.found_person:
            self.result = CallResult.ANSWER
            self.person_at_s = since_s if self.person_at_s is None else self.person_at_s
        assert self.plan is not None
        if not self.plan.dialog:
            self.marks["applied"] = now_s
        self.state, self.deadline_s = AttemptState.IN_APPLICATION, now_s + self.plan.answer_s + SAFETY_MARGIN_S
        return (Do.RUN_APPLICATION,)

    def application_event(self, event: ApplicationEvent, now_s: float) -> tuple[Do, ...]:
        """What the application wants."""
        if self.state is not AttemptState.IN_APPLICATION:
            return ()
        match event:
            case ApplicationDone():
                return self.close(self.result, now_s, Do.HANG_UP_CUSTOMER)
            case ApplicationFailed():
                return self.application_failed(now_s)
            case WantsAgent(wait_s):
                self.state, self.deadline_s = AttemptState.WAITING, now_s + wait_s
                return (Do.SEEK_AGENT,)
            case CalledOut(destination, refer):
                assert self.plan is not None
                application, answer_s = self.plan.application, self.plan.answer_s
                self.plan = CallPlan(
                    CallAction.TRANSFER, destination, application=application, answer_s=answer_s, refer=refer
                )
                return self.transfer(now_s)
            case KeyPressed():
                return ()

    def application_failed(self, now_s: float) -> tuple[Do, ...]:
        """Nothing runs the application; to a person that is as if no agent were free."""
        self.marks.pop("applied", None)
        if self.found_person:
            return (Do.HANG_UP_DESTINATION, *self.announce(CallResult.DROPPED, now_s))
        return self.close(self.result, now_s, Do.HANG_UP_DESTINATION, Do.HANG_UP_CUSTOMER)

    def dialog_begins(self, now_s: float) -> tuple[Do, ...]:
        """The VoiceXML media server has answered."""
        self.marks["applied"] = now_s
        assert self.plan is not None
        self.state, self.deadline_s = AttemptState.IN_DIALOG, now_s + self.plan.limit_s
        return (Do.BRIDGE_DIALOG,)

    def dialog_ends(self, now_s: float, *hang_up: Do) -> tuple[Do, ...]:
        """The dialog is over; the record is closed now, or by the application's RecordProcessed."""
        self.marks.setdefault("released", now_s)
        if self.record_closed:
            self.closed()
            return (*hang_up, Do.FINISH)
        if self.rules.record_processed and not self.processed:
            self.state, self.deadline_s = AttemptState.WRAP_UP, now_s + self.rules.stale_s
            return hang_up
        return self.close(self.result, now_s, *hang_up)

    def application_goes_on(self, now_s: float, *before: Do) -> tuple[Do, ...]:
        """Nobody took the call from the application."""
        self.state, self.deadline_s = AttemptState.IN_APPLICATION, math.inf
        return (*before, Do.APPLICATION_GOES_ON)

    def transfer_failed(self, result: CallResult, now_s: float) -> tuple[Do, ...]:
        """An application that wanted the transfer goes on; see `AttemptSteps.transfer_failed` for the others."""
        if self.queued:
            return self.application_goes_on(now_s, Do.HANG_UP_DESTINATION)
        return AttemptSeizing.transfer_failed(self, result, now_s)

    def after_greeting(self, now_s: float) -> tuple[Do, ...]:
        """The machine records now, as far as anybody knows."""
        return self.apply(now_s, now_s) if self.runs_application else self.play(now_s)

    def left_application(self, now_s: float) -> tuple[Do, ...]:
        """The called party is gone: amid the steps, or before the dialog began."""
        if not self.queued and self.found_person:
            self.marks["abandoned"] = now_s
            return self.close(CallResult.ABANDONED, now_s, Do.HANG_UP_DESTINATION)
        return self.close(self.result, now_s, Do.HANG_UP_DESTINATION)

    # --- transfers ----------------------------------------------------------------------------------------------

    def destination_answered(self, now_s: float) -> tuple[Do, ...]:
        """The other end of a transfer, or the VoiceXML media server, has answered."""
        if self.state is AttemptState.IN_APPLICATION:
            return self.dialog_begins(now_s)
        if self.state is not AttemptState.TRANSFERRING:
            return ()
        self.marks["transferred"] = now_s
        if self.found_person:
            self.result = CallResult.ANSWER if self.said is None else self.said
        self.state, self.deadline_s = AttemptState.TRANSFERRED, math.inf
        self.record_closed = True
        return (Do.BRIDGE_DESTINATION, Do.CLOSE_RECORD)

    def destination_ended(self, placed: bool, now_s: float) -> tuple[Do, ...]:
        """It is gone. ``placed`` False: no INVITE left for it."""
        match self.state:
            case AttemptState.TRANSFERRING:
                return self.transfer_failed(CallResult.DROPPED if placed else CallResult.TRANSFER_ERROR, now_s)
            case AttemptState.TRANSFERRED:
                return self.end_of_transfer(now_s, Do.HANG_UP_CUSTOMER)
            case AttemptState.IN_APPLICATION if self.plan is not None and self.plan.refer:
                return ()  # a transfer that the application has given up already
            case AttemptState.IN_APPLICATION:
                return self.application_failed(now_s)
            case AttemptState.IN_DIALOG:
                return self.dialog_ends(now_s, Do.HANG_UP_CUSTOMER)
            case _:
                return ()
