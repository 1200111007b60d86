"""Test calls (GSW_CALL_RESULT_FEEDBACK): which answering machines go to agents so that they say what they hear.

A call is chosen before anybody knows what it is (`AttemptContext.verified`), so people and machines are chosen alike.
People reach agents anyway. A machine does only where that costs no called person anything at this instant: an agent is
ready, nobody waits, and the group's agents have not had their hour's share of machines. For the pacing such a machine
is what it is, a call that needs an agent: it is told as found, bridged and handled like a person's. The rules about
abandoned people never count it: it has no person.

The agents therefore verify fewer machines than people; `ocsd.cpa.feedback` weighs each kind of verdict by how many
calls it stands for.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ocsd.model.enums import CallAction, CallResult
from ocsd.sessions.attempt_context import AttemptContext
from ocsd.sessions.attempt_events import CallPlan
from ocsd.sessions.roster import Roster
from telephony.contract import VerdictKind

HOUR_S: Final = 3600.0


@dataclass(slots=True)
class Verification:
    """
    The test calls of one campaign group. The hour's share is that of the group, across restarts and loads (`recall`).

    Attributes:
        given: machines given to agents.
        spared: machines that were chosen, and not given because of what that would have cost.
    """

    given: int = 0
    spared: int = 0
    _hour: deque[float] = field(default_factory=deque)
    _granted: dict[int, bool] = field(default_factory=dict)
    _unknown_until_s: float = 0.0

    def recall(self, given_s: Iterable[float] | None, now_s: float) -> None:
        """
        Count machines that were given before this load.

        Args:
            given_s: when, on the clock of ``now_s``; None: nobody can tell, so this hour's share counts as spent.
        """
        if given_s is None:
            self._unknown_until_s = now_s + HOUR_S
        else:
            self._hour = deque(sorted(self._hour + deque(given_s)))

    def adopt(self, context: AttemptContext, verdict: VerdictKind | None, now_s: float) -> None:
        """
        Count a call that an earlier run of the daemon had connected, if it is a machine among test calls.

        The journal knows nothing of it yet; what is noted here goes there with its result.
        """
        if context.verified and verdict is VerdictKind.MACHINE:
            self._hour.append(now_s)
            context.evidence["call_action"] = {"action": CallAction.CONNECT.name, "treatment_dbid": 0}

    def plan(
        self,
        context: AttemptContext,
        call_result: CallResult,
        plan: CallPlan | None,
        roster: Roster,
        now_s: float,
        group: int = 0,
    ) -> CallPlan | None:
        """
        The call action for what analysis has found: the treatment's, or an agent for a machine to be verified.

        ``group``: DBID of the campaign group, whose share of the agents counts.
        """
        if call_result is not CallResult.ANSWERING_MACHINE or not context.verified:
            return plan
        if plan is not None and plan.action is CallAction.CONNECT:
            return plan
        if context.attempt_id not in self._granted:
            self._granted[context.attempt_id] = self._grant(context.analysis.machines_per_hour, roster, now_s, group)
        return CallPlan(CallAction.CONNECT) if self._granted[context.attempt_id] else plan

    def _grant(self, per_hour: int, roster: Roster, now_s: float, group: int) -> bool:
        while self._hour and self._hour[0] <= now_s - HOUR_S:
            self._hour.popleft()
        spent = len(self._hour) >= per_hour or now_s < self._unknown_until_s
        if spent or roster.people_waiting or not roster.free(group):
            self.spared += 1
            return False
        self._hour.append(now_s)
        self.given += 1
        return True

    def ended(self, attempt_id: int) -> None:
        """The attempt is over."""
        self._granted.pop(attempt_id, None)

    def figures(self) -> dict[str, float | int | None]:
        """By the names under which live figures are published."""
        return {"verified_machines_given": self.given, "verified_machines_spared": self.spared}
