"""
The attempt machine where an agent's phone is up before the customer is dialed, or leaves with the customer.

Assured connection: an agent is seized for this very record, and its phone answered, before the customer is dialed. The
call is analysed like any other; a person finds the agent on the line. In every other case the agent is given back. An
agent who hangs up meanwhile is missed by the call only when a person answers, who then waits for another one.
"""

from dataclasses import dataclass

from ocsd.model.enums import CallResult, RecordStatus
from ocsd.sessions.attempt_events import AttemptState, Do
from ocsd.sessions.attempt_steps import RINGING, AttemptSteps

WITH_A_SEIZED_AGENT = RINGING | {AttemptState.RINGING_AGENT, AttemptState.ANALYSING, AttemptState.TALKING}
"""While the call may still become a conversation with that agent."""


@dataclass(slots=True)
class AttemptSeizing(AttemptSteps):
    """Steps of seized agents."""

    def not_seized(self, now_s: float, agent: Do = Do.AGENT_NOT_READY) -> tuple[Do, ...]:
        """
        The phone of the agent who was to be seized was not answered: nobody was called, the record goes back.

        ``agent``: what becomes of the agent.
        """
        self.seized, self.count_attempt = False, False
        self.agent_id = None
        self.record_status = RecordStatus.READY
        return self.close(CallResult.UNKNOWN, now_s, agent)

    def seized_agent_left(self, agent: Do) -> tuple[Do, ...]:
        """The agent hung up while the customer was being called; the call goes on as one without an agent."""
        self.seized, self.agent_id = False, None
        return (agent,)

    def seized_agent_given_back(self, do: tuple[Do, ...]) -> tuple[Do, ...]:
        """``do``, after the agent is free again whom the call as it is now has no use for."""
        if not self.seized or self.state in WITH_A_SEIZED_AGENT:
            return do
        self.seized, self.agent_id = False, None
        return (Do.HANG_UP_AGENT, Do.AGENT_BACK_TO_READY, *do)

    def handed_over(self, presumed: bool, now_s: float) -> tuple[Do, ...]:
        """
        The customer's side has called the agent's phone, or the queue, by itself; for us the call ends here.

        Of a person whom the limit had given up, and who hears the announcement, it has to be said, not ``presumed``:
        who hangs up on an announcement was not taken along.
        """
        if self.state is AttemptState.TRANSFERRING:
            return self.referred_away(now_s)
        if self.state is AttemptState.ANNOUNCING and self.plan is not None and self.plan.refer and not presumed:
            self.person_at_s = None if self.marks.pop("abandoned", None) == self.person_at_s else self.person_at_s
            return self.referred_away(now_s)
        if self.state is AttemptState.IN_APPLICATION and self.plan is not None and self.plan.refer and not presumed:
            return self.referred_away(now_s)  # the application had gone on, and the call has not
        if self.state is not AttemptState.TALKING:
            return ()
        self.marks["transferred"] = now_s
        return self.end_of_talk(now_s, Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT)
