"""
The attempt machine and the agent's phone: called when a person waits, or before the customer is.

A phone that was not answered, or was hung up, makes its agent not ready. What our own plane has failed (a worker or a
media server is lost, there is no channel) is nothing that the agent has done: it stays ready, and after a moment's rest
it is given calls again. The person who waits has the next agent meanwhile, as after a phone that was not answered.
"""

from dataclasses import dataclass

from ocsd.model.errors import InvariantError
from ocsd.sessions.attempt_events import AttemptState, Do
from ocsd.sessions.attempt_faults import media_failed
from ocsd.sessions.attempt_orders import AttemptOrders
from ocsd.sessions.attempt_steps import SAFETY_MARGIN_S


@dataclass(slots=True)
class AttemptAgents(AttemptOrders):
    """What the agent's phone does, in every state."""

    def agent_reserved(self, agent_id: str) -> tuple[Do, ...]:
        """The roster has found somebody for the person who waits."""
        if self.state is not AttemptState.WAITING:
            raise InvariantError(f"AgentReserved in {self.state.name}")
        self.agent_id = agent_id
        self.state = AttemptState.CONNECTING
        return (Do.DIAL_AGENT,)

    def agent_answered(self, now_s: float) -> tuple[Do, ...]:
        """The agent is on the line: talk, or dial the customer now."""
        match self.state:
            case AttemptState.RINGING_AGENT:
                self.state = AttemptState.DIALING
                self.started_s = now_s  # the customer's attempt begins here
                self.deadline_s = now_s + self.rules.no_answer_s + SAFETY_MARGIN_S
                return (Do.DIAL_CUSTOMER,)
            case AttemptState.CONNECTING:
                return self.talk(now_s)
            case _:
                return ()  # adopted in a conversation, or no longer needed and being hung up

    def agent_ended(self, ours: bool, now_s: float) -> tuple[Do, ...]:
        """The agent's leg is gone; ``ours``: our plane has failed it."""
        agent = Do.AGENT_NOT_REACHED if ours else Do.AGENT_NOT_READY
        match self.state:
            case AttemptState.RINGING_AGENT if self.seized:
                return self.not_seized(now_s, agent)
            case _ if self.seized:
                return self.seized_agent_left(agent)
            case AttemptState.RINGING_AGENT if ours:
                return self.nobody_dialed(now_s, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)
            case AttemptState.RINGING_AGENT:
                return self.nobody_dialed(now_s, Do.AGENT_NOT_READY)
            case AttemptState.DIALING | AttemptState.ALERTING if self.designated_agent is not None:
                return media_failed(self, now_s) if ours else self.given_up(now_s)
            case AttemptState.CONNECTING:
                self.agent_id = None
                self.state = AttemptState.WAITING
                # The roster must take the agent out before it looks for another.
                return (agent, Do.SEEK_AGENT)
            case AttemptState.TALKING:
                return self.end_of_talk(now_s, Do.HANG_UP_CUSTOMER)
            case _:
                return ()
