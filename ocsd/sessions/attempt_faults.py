"""What becomes of an attempt when a part of our own plane takes its audio away: our fault, and nobody is charged.

    where the attempt was                          what follows
    nobody has talked yet                          System Error; no attempt is counted, no treatment applied, and the
                                                   record goes back to the list as it was. A person who had answered
                                                   counts as abandoned: the law does not ask why nobody spoke
    in conversation, or transferred                it ends as one, with the result that it has
    the announcement plays, or was to be played    the result stays: that person was dropped before
    the record is on a desktop                     nothing: the call is over

Source: Reference Manual, "Call Result Types": System Error (4), "dialing software error".
"""

from ocsd.model.enums import CallResult, RecordStatus
from ocsd.sessions.attempt_events import AttemptState, Do
from ocsd.sessions.attempt_steps import BEFORE_TALK, AttemptSteps

NOBODY_TALKED = BEFORE_TALK | {
    AttemptState.ANALYSING,
    AttemptState.WAITING,
    AttemptState.CONNECTING,
    AttemptState.TRANSFERRING,
    AttemptState.AWAITING_BEEP,
    AttemptState.PLAYING,
    AttemptState.IN_APPLICATION,
}


def heard_nobody(machine: AttemptSteps) -> bool:
    """Somebody has answered and waits for a voice. Who leaves then, while there is no audio, leaves because of us."""
    return machine.answered and machine.state in NOBODY_TALKED


def media_failed(machine: AttemptSteps, now_s: float) -> tuple[Do, ...]:
    """
    The audio of the attempt is gone for good: its media server stayed away, or came back without the call's port.

    Where the call has to take its own course (a conversation), nothing is done here: the shell hangs up, and the end of
    that leg is what the machine hears of.
    """
    # A voice application has spoken with the customer, whatever it leads to: as good as a conversation.
    if machine.state not in NOBODY_TALKED or machine.taken or "applied" in machine.marks:
        return ()
    machine.count_attempt = False
    if machine.designated_agent is not None:
        machine.goes_back = True
        return machine.to_desk(
            CallResult.SYSTEM_ERROR, now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP
        )
    machine.record_status = RecordStatus.READY
    # Nobody will ever know who had answered and heard nothing: that counts against us too.
    if machine.answered and (machine.found_person or machine.verdict is None):
        machine.marks["abandoned"] = now_s
        machine.person_at_s = now_s if machine.person_at_s is None else machine.person_at_s
    release = machine.release_partner()
    return machine.close(CallResult.SYSTEM_ERROR, now_s, *release, Do.HANG_UP_CUSTOMER)
