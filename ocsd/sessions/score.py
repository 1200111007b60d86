"""What a session learns from its attempts: observations for the pacing and running figures, each told exactly once."""

from ocsd.model.enums import CallResult
from ocsd.sessions.attempt import AttemptMachine, AttemptState
from ocsd.sessions.outcome import ended_as, result_of_verdict
from ocsd.sessions.tally import Tally
from pacing import Outcome, Pacer
from pacing.journal import Recorder

RINGING = frozenset({AttemptState.DIALING, AttemptState.ALERTING})
NEEDS_NO_AGENT = frozenset({AttemptState.AWAITING_BEEP, AttemptState.PLAYING, AttemptState.TRANSFERRED})
"""A message or a transfer: for the pacing the attempt is over, however long the call goes on."""


class Score:
    """
    Feeds ``pacer`` and ``tally`` from the changes of attempt machines.

    Calls of designated or seized agents are not paced and are left out, but for their results: nobody is found by
    them, and their agents do not wait for calls.
    """

    def __init__(self, pacer: Pacer | Recorder) -> None:
        self.pacer = pacer
        self.tally = Tally()
        self._state: dict[int, AttemptState] = {}
        self._people: set[int] = set()
        self._over: set[int] = set()
        """Whose end the pacing knows already."""
        self._abandoned: set[int] = set()

    def begin(self, attempt_id: int, machine: AttemptMachine) -> None:
        """An attempt starts, or is adopted as it stands: a conversation was counted by the daemon before us."""
        self._state[attempt_id] = machine.state
        if "abandoned" in machine.marks:
            self._abandoned.add(attempt_id)
        if machine.person_at_s is not None:
            self._people.add(attempt_id)
            self.tally.people += not machine.served  # whose fate is still to be counted

    def change(self, attempt_id: int, machine: AttemptMachine, now_s: float) -> bool:
        """Take note of what an event has done; False when the state is the same as before."""
        before = self._state.get(attempt_id)
        if before is machine.state:
            return False
        self._state[attempt_id] = machine.state
        if machine.has_agent:
            return True
        if before in RINGING and machine.answered:
            self.tally.answered += 1
            self.pacer.answered(machine.marks["answered"] - machine.started_s)
        if machine.person_at_s is not None and attempt_id not in self._people:
            self._people.add(attempt_id)
            self.tally.people += 1
            if attempt_id not in self._over:
                self.pacer.person(now_s - machine.marks["answered"])
        over = machine.state is AttemptState.FINISHED
        if (machine.state in NEEDS_NO_AGENT or machine.applied_to_machine) and not machine.served_person:
            self._ended_without_agent(attempt_id, machine, now_s)
        elif "abandoned" in machine.marks and attempt_id not in self._abandoned:
            # Not by the result: an agent may write Abandoned about a conversation, or something else about this call.
            self._abandoned.add(attempt_id)
            self.tally.abandoned += 1
            self.pacer.abandoned()
        elif over and attempt_id not in self._abandoned and not machine.served_person:
            self._ended_without_agent(attempt_id, machine, now_s)
        return True

    def _ended_without_agent(self, attempt_id: int, machine: AttemptMachine, now_s: float) -> None:
        if attempt_id in self._over:
            return
        self._over.add(attempt_id)
        if attempt_id in self._people:
            self.tally.people -= 1  # taken for a person first, and then it was a machine
        since_answer_s = now_s - machine.marks["answered"] if machine.answered else None
        self.tally.let_go += machine.let_go
        # A trunk or a media server that failed says nothing of who would have answered.
        unknown = machine.let_go or (not machine.count_attempt and not machine.answered)
        outcome = Outcome.RELEASED if unknown else ended_as(_found(machine))
        self.pacer.ended(now_s - machine.started_s, outcome, since_answer_s)

    def bridged(self, wait_s: float) -> None:
        """A person got an agent ``wait_s`` after the end of the greeting."""
        self.tally.connect(wait_s)
        self.pacer.bridged(wait_s)

    def handed_over(self, attempt_id: int, wait_s: float) -> None:
        """
        A person has got to another switch's queue, ``wait_s`` after the end of the greeting.

        One who had been counted as abandoned is so no more. The pacing is not told: to it the wait was too long.
        """
        if attempt_id not in self._abandoned:
            self.bridged(wait_s)
            return
        self._abandoned.discard(attempt_id)
        self.tally.abandoned -= 1
        if attempt_id in self._people:
            self._people.discard(attempt_id)
            self.tally.people -= 1
        self.tally.connect(wait_s)

    def finish(self, attempt_id: int, machine: AttemptMachine) -> None:
        """The attempt is written and gone."""
        if machine.unmasked and attempt_id in self._people and not machine.adopted:
            # An agent had it, which the pacing knows; but nobody was there.
            assert machine.person_at_s is not None
            self.tally.take_back(max(0.0, machine.marks["agent_answered"] - machine.person_at_s))
        self._state.pop(attempt_id, None)
        self._people.discard(attempt_id)
        self._over.discard(attempt_id)
        self._abandoned.discard(attempt_id)
        if machine.result is not None:
            self.tally.ended(machine.result)


def _found(machine: AttemptMachine) -> int:
    """What was found of the call itself, whatever somebody has written into its record meanwhile."""
    if machine.said is not None:
        heard = result_of_verdict(machine.verdict) if machine.verdict is not None else None
        return heard if heard is not None else CallResult.REMOTE_RELEASE if machine.answered else CallResult.UNKNOWN
    return machine.result if machine.result is not None else CallResult.STALE
