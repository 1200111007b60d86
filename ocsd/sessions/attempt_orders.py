"""What people order of an attempt: agents at their desktops, operators, applications, whoever is not to be called."""

from dataclasses import dataclass

from ocsd.model.enums import CallResult, RecordStatus
from ocsd.sessions.attempt_events import AttemptState, Do
from ocsd.sessions.attempt_voice import AttemptVoice


@dataclass(slots=True)
class AttemptOrders(AttemptVoice):
    """Orders in every state; what happens on the line is `ocsd.sessions.attempt`'s."""

    def release_requested(self, now_s: float) -> tuple[Do, ...]:
        """Somebody at a desktop hangs up: a conversation ends, or the dialing for a designated agent."""
        match self.state:
            case AttemptState.TALKING:
                return self.end_of_talk(now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT)
            case AttemptState.TRANSFERRED:
                return self.end_of_transfer(now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_DESTINATION)
            case AttemptState.IN_DIALOG:
                return self.dialog_ends(now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_DESTINATION)
            case AttemptState.RINGING_AGENT if self.designated_agent is not None:
                return self.nobody_dialed(now_s, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)
            case AttemptState.DIALING | AttemptState.ALERTING if self.designated_agent is not None:
                return self.given_up(now_s)
            case _:
                return ()

    def record_processed(self, call_result: int | None, now_s: float) -> tuple[Do, ...]:
        """The desktop is done with the record; None leaves its result."""
        self.correct(call_result)
        match self.state:
            case AttemptState.WRAP_UP:
                return self.finish_wrap_up(now_s)
            case _:
                self.processed = True  # whatever the call still comes to, nobody is asked about the record any more
                return ()

    def forced(self, now_s: float) -> tuple[Do, ...]:
        """The session ends at once: records are closed as Stale, conversations go on."""
        match self.state:
            case AttemptState.TALKING | AttemptState.IN_DIALOG:
                if self.record_closed:
                    return ()
                # The people go on talking; only the record is closed.
                self.record_closed = True
                self.record_status = RecordStatus.STALE
                self.interrupted = True
                return (Do.CLOSE_RECORD,)
            case AttemptState.WRAP_UP:
                self.record_status = RecordStatus.STALE
                return self.finish_wrap_up(now_s)
            case AttemptState.ANNOUNCING | AttemptState.TRANSFERRED:
                return ()  # a few seconds more, the law wants the announcement; a conversation, its record closed
            case _:
                self.count_attempt &= self.state is not AttemptState.RINGING_AGENT
                release = self.release_partner()
                self.interrupted = True
                self.record_status = RecordStatus.STALE
                return self.close(CallResult.STALE, now_s, *release, Do.HANG_UP_CUSTOMER)

    def withdrawn(self, result: CallResult, now_s: float) -> tuple[Do, ...]:
        """Nobody is to call this record again: what is not a conversation yet ends."""
        match self.state:
            case AttemptState.TALKING | AttemptState.IN_APPLICATION | AttemptState.IN_DIALOG:
                # An application may be what has asked for it, and says goodbye.
                self.processed = True
                return ()
            case _ if self.queued:
                self.processed = True
                return ()
            case AttemptState.ANNOUNCING | AttemptState.TRANSFERRED:
                return ()
            case AttemptState.WRAP_UP:
                return self.finish_wrap_up(now_s)
            case AttemptState.WAITING | AttemptState.CONNECTING | AttemptState.TRANSFERRING if self.found_person:
                self.said = None
                release = self.release_partner()
                return (*release, *self.announce(result, now_s))  # answered already: not without a word
            case _:
                self.said = None
                self.processed |= self.taken  # its agent is not asked about it any more
                self.count_attempt &= self.state is not AttemptState.RINGING_AGENT
                release = self.release_partner()
                return self.close(result, now_s, *release, Do.HANG_UP_CUSTOMER)
