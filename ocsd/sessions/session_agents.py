"""What a session does about agents when its attempts ask for it (`AttemptHost`): who is sought, rung, talks, free."""

from abc import abstractmethod
from typing import TYPE_CHECKING

import structlog

from ocsd.config.objects import CampaignGroup
from ocsd.sessions.attempt import AgentReserved
from ocsd.sessions.clock import Clock
from ocsd.sessions.listener import SessionListener
from ocsd.sessions.phones import PhonePlan
from ocsd.sessions.roster import AgentState, Roster
from ocsd.sessions.score import Score
from ocsd.sessions.standing_legs import StandingLeg

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.seizing import Seizing
    from ocsd.sessions.session import Session
    from ocsd.sessions.shared import Sharing
    from ocsd.sessions.voice import Voice

log = structlog.get_logger()


class SessionAgents:
    """The part of a `Session` that its agents see; all of its state is the session's."""

    clock: Clock
    group: CampaignGroup
    listener: SessionListener
    roster: Roster
    score: Score
    seizing: "Seizing"
    sharing: "Sharing"
    voice: "Voice"

    @property
    @abstractmethod
    def session(self) -> "Session":
        """The session itself."""

    @abstractmethod
    def wake(self) -> None:
        """Have the dialing loop look again."""

    def seek_agent(self, task: "AttemptTask") -> None:
        self.voice.roster_of(task.context.attempt_id).seek(task.context.attempt_id, self.group.dbid)
        self.match_agents()
        self.seizing.sought(task)

    def stop_seeking(self, task: "AttemptTask") -> None:
        reserved = self.roster.stop_seeking(task.context.attempt_id)
        if reserved is not None:  # matched in the same instant, and not told yet: the next person may have this agent
            self.roster.back_to_ready(reserved, self.clock.now_s())
            self.match_agents()

    def is_reserved(self, task: "AttemptTask", agent_id: str) -> bool:
        return self.roster.is_reserved(agent_id, task.context.attempt_id)

    def match_agents(self) -> None:
        """Pair waiting people with ready agents, other groups' too; called whenever either changes."""
        for attempt_id, seat in self.roster.match(self.clock.now_s()):
            self.sharing.task_of(self.session, attempt_id).post(AgentReserved(seat.agent_id))

    def agent_dn(self, agent_id: str) -> str:
        return self.roster.seat(agent_id).dn

    def agent_phone(self, agent_id: str) -> PhonePlan:
        return self.roster.seat(agent_id).phone

    def standing_leg(self, task: "AttemptTask", agent_id: str) -> StandingLeg | None:
        return self.seizing.leg_for(task, agent_id)

    def agent_ringing(self, task: "AttemptTask") -> None:
        self.listener.on_ringing(self.session, task)

    def agent_connected(self, task: "AttemptTask") -> None:
        machine, now_s = task.machine, self.clock.now_s()
        assert machine.agent_id is not None
        self.roster.bridged(machine.agent_id, now_s)
        if not machine.has_agent and not machine.queued:
            self.score.bridged(max(0.0, now_s - (machine.person_at_s if machine.person_at_s is not None else now_s)))
        self.listener.on_established(self.session, task)

    def agent_told(self, task: "AttemptTask") -> None:
        self.listener.on_unmasked(self.session, task)

    def agent_freed(self, task: "AttemptTask") -> None:
        agent_id = task.machine.agent_id
        assert agent_id is not None
        self.roster.free_of_wrap_up(agent_id)
        self.agent_released(task)
        self.listener.on_agent_changed(self.session, agent_id)

    def agent_released(self, task: "AttemptTask") -> None:
        agent_id = task.machine.agent_id
        assert agent_id is not None
        self.voice.port_released(task, agent_id)
        talked_s = self.roster.wrap_up(agent_id, self.clock.now_s())
        if self.roster.seat(agent_id).state is AgentState.READY:
            self.handled(talked_s, 0.0)  # asked to be ready during the call: no wrap-up follows that would be told
        self.listener.on_released(self.session, task, agent_id)
        self.match_agents()

    def agent_failed(self, task: "AttemptTask", agent_id: str) -> None:
        self.roster.phone_failed(agent_id, self.clock.now_s())
        log.warning("agent.phone_failed", agent_id=agent_id)
        self.listener.on_released(self.session, task, agent_id)
        self.listener.on_agent_changed(self.session, agent_id)

    def agent_not_reached(self, task: "AttemptTask", agent_id: str) -> None:
        self.roster.not_reached(agent_id, self.clock.now_s())
        log.warning("agent.not_reached", agent_id=agent_id)
        self.listener.on_released(self.session, task, agent_id)
        self.match_agents()

    def agent_back(self, task: "AttemptTask", agent_id: str) -> None:
        self.roster.back_to_ready(agent_id, self.clock.now_s())
        self.listener.on_released(self.session, task, agent_id)
        self.match_agents()

    def agent_ready(self, agent_id: str) -> None:
        """Called by the desk when an agent became ready: closes the handling-time measurement and matches."""
        self.match_agents()
        self.wake()

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        self.score.pacer.handled(talk_s, wrap_up_s)
