"""The attempt machine when the customer's leg is gone: not answered, left, or lost by us."""

from dataclasses import dataclass

from ocsd.model.enums import CallResult
from ocsd.sessions.attempt_agents import AttemptAgents
from ocsd.sessions.attempt_events import AttemptState, CustomerEnded, Do
from ocsd.sessions.outcome import result_of_failure
from telephony.contract import VerdictKind


@dataclass(slots=True)
class AttemptEndings(AttemptAgents):
    """What follows from the end of the customer's leg."""

    def customer_ended(self, event: CustomerEnded, now_s: float) -> tuple[Do, ...]:
        """The customer's leg is gone, in every state."""
        if self.state is AttemptState.WRAP_UP:
            return ()  # we hung up
        self.marks.setdefault("released", now_s)
        if not self.answered:
            self.sip_status = event.sip_status or self.sip_status
        self.q850_cause = event.q850_cause
        match self.state:
            case AttemptState.DIALING | AttemptState.ALERTING:
                return self._not_answered(event, now_s)
            case AttemptState.ANALYSING:
                if event.lost:
                    return self.interrupt(now_s)
                # Answered and gone before anybody could tell what it was: no contact with the called party.
                return self.close(CallResult.REMOTE_RELEASE, now_s)
            case AttemptState.TRANSFERRING if self.refer_accepted:
                return self.referred_away(now_s)
            case AttemptState.WAITING | AttemptState.CONNECTING | AttemptState.TRANSFERRING:
                release = self.release_partner()
                if not self.found_person or self.queued:
                    return self.close(self.result, now_s, *release)
                self.marks["abandoned"] = now_s
                self.person_at_s = now_s if self.person_at_s is None else self.person_at_s
                return self.close(CallResult.ABANDONED, now_s, *release)
            case AttemptState.AWAITING_BEEP | AttemptState.PLAYING | AttemptState.ANNOUNCING:
                return self.close(self.result, now_s)
            case AttemptState.TRANSFERRED:
                return self.end_of_transfer(now_s, Do.HANG_UP_DESTINATION)
            case AttemptState.IN_APPLICATION:
                return self.left_application(now_s)
            case AttemptState.IN_DIALOG:
                return self.dialog_ends(now_s, Do.HANG_UP_DESTINATION)
            case AttemptState.TALKING:
                return self.end_of_talk(now_s, Do.HANG_UP_AGENT)
            case _:
                return ()

    def _not_answered(self, event: CustomerEnded, now_s: float) -> tuple[Do, ...]:
        if event.lost and self.designated_agent is None:
            return self.interrupt(now_s)
        if event.no_answer and self.nothing_rang:
            # Not one ring in all that time: a silent trunk must not look like people who do not answer.
            result = CallResult.NO_RINGBACK
        else:
            result = result_of_failure(
                event.sip_status,
                event.q850_cause,
                self.early_verdict,
                no_answer=event.no_answer,
                announced=VerdictKind.ANNOUNCEMENT in self.early_heard,
            )
        if self.designated_agent is not None:
            return self.to_desk(result, now_s, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)
        return self.close(result, now_s)
