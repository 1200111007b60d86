"""Whom rules about abandoned calls count, and how: pure functions from what an attempt, or what is left of it, was."""

from datetime import datetime

from ocsd.model.enums import CallResult
from ocsd.model.records import PersonFound
from ocsd.sessions.attempt import AttemptMachine
from ocsd.sessions.clock import Clock, utc_of


def person_of(machine: AttemptMachine, clock: Clock) -> PersonFound | None:
    """
    The person who answered and should have got an agent.

    None for calls of designated agents (nobody waits in them), and when a call action took the person elsewhere: a
    message, a transfer. A person who was lost by a fault of ours counts as abandoned.
    """
    if machine.designated_agent is not None or machine.person_at_s is None:
        return None
    at = utc_of(clock, machine.person_at_s)
    assert at is not None
    if "abandoned" in machine.marks:
        return PersonFound(at, None)
    if "applied" in machine.marks:
        # A voice application spoke with the person; a queue that it has led to is no wait of this law.
        wait_s = max(0.0, machine.marks["applied"] - machine.person_at_s)
        return PersonFound(at, 0.0 if machine.adopted else wait_s)
    if machine.bridged:
        if machine.adopted and (machine.verdict is None or machine.found_person):
            # The daemon before us connected them; of the greeting nobody knows any more, and it had the same limits.
            return PersonFound(at, 0.0)
        wait_s = max(0.0, machine.marks["agent_answered"] - machine.person_at_s)
        return PersonFound(at, wait_s) if machine.found_person else None
    return PersonFound(at, None) if machine.found_person and machine.plan is None else None


def person_left(result: CallResult, *, connected: bool, answered: bool, at: datetime) -> PersonFound | None:
    """
    The same of an attempt that start-up settles without taking it over.

    Answered, and nobody can tell by whom or what became of it: that counts against us. ``result``: as analysis left it,
    whatever an agent has said. ``at``: when it was answered, as well as that is known.
    """
    if connected:
        return PersonFound(at, 0.0) if result is CallResult.ANSWER else None  # else a call action connected a machine
    if result is CallResult.DROPPED or (result is CallResult.STALE and answered):
        return PersonFound(at, None)
    return None
