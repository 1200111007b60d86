"""What becomes of an attempt whose call an agent has passed on: to another agent of the campaign, or outside. Pure."""

import math

from ocsd.model.enums import CallResult, RecordStatus
from ocsd.sessions.attempt_events import AttemptState, Do
from ocsd.sessions.attempt_steps import AttemptSteps


def passed_on(machine: AttemptSteps, agent_id: str | None, now_s: float) -> tuple[Do, ...]:
    """
    The record goes along to an agent of the campaign (``agent_id``), as it is.

    With the call gone to a DN that is none of ours nobody will ever say what it came to: the result is Stale (Reference
    Manual, "Call Result Types") unless the agent has said it before, by UpdateCallCompletionStats or RecordProcessed.
    """
    if machine.state is not AttemptState.TALKING:
        return ()
    if agent_id is not None:
        machine.agent_id = agent_id
        return () if machine.record_closed else (Do.MARK_CONNECTED,)  # whose record it is, for a restart
    machine.marks["transferred"] = machine.marks["agent_released"] = now_s
    machine.state, machine.deadline_s = AttemptState.TRANSFERRED, math.inf
    if machine.record_closed:
        return ()
    if machine.said is None and not machine.processed:
        machine.result, machine.record_status = CallResult.STALE, RecordStatus.STALE
    machine.record_closed = True
    return (Do.CLOSE_RECORD,)
