"""Call control at the desktops: whose call a request means, who may supervise whom, and events on their way back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import structlog

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols import desktop_events as events
from ocsd.protocols.attached_data import Message
from ocsd.protocols.desktop import RequestReleaseCall
from ocsd.protocols.desktop_calls import (
    CallNews,
    CallRequest,
    ControlRequest,
    MonitorMode,
    MonitorRequest,
    MonitorType,
    RequestCancelMonitoring,
    RequestMonitorNextCall,
    SupervisorRequest,
    call_news,
    monitoring_event,
)
from ocsd.protocols.desktop_events import DesktopEvent
from ocsd.sessions.attempt_events import AttemptState
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.call_control_events import MonitorAsked, MonitorCancelled, Requested
from ocsd.sessions.call_talk import Refused, Request, attempt_of
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.roster import AgentState
from ocsd.sessions.session import Session

log = structlog.get_logger()

Tell = Callable[[str, Mapping[str, object]], None]
UserData = Callable[[Session, AttemptTask], Message]


@dataclass(frozen=True, slots=True)
class Watch:
    """What a supervisor has asked for: the next call of an agent, or all."""

    agent_id: str
    mode: MonitorMode
    kind: MonitorType


class DeskControl:
    """``tell`` brings a message to an agent's desktop, if there is one."""

    def __init__(self, campaigns: Campaigns, user_data: UserData, tell: Tell) -> None:
        self._campaigns = campaigns
        self._user_data = user_data
        self._tell = tell
        self._watches: dict[str, Watch] = {}
        """By supervisor: one agent each."""
        parties = campaigns.parties
        parties.tell, parties.refused, parties.left = self._news, self._refused, self._left
        parties.monitored, parties.has_call = self._has_monitored, self.established

    # --- requests about calls ---------------------------------------------------------------------------------------

    def _find(self, conn: str) -> tuple[Session, AttemptTask] | None:
        attempt_id = attempt_of(conn)
        for session in self._campaigns.running:
            if attempt_id is not None and (task := session.attempts.get(attempt_id)) is not None:
                return session, task
        return None

    def knows(self, conn: str, agent_id: str) -> bool:
        """Whether this is a conversation, or a consultation, that the agent takes part in."""
        found = self._find(conn)
        if found is None:
            return False
        task = found[1]
        if task.machine.state not in (AttemptState.TALKING, AttemptState.TRANSFERRED):
            return self._monitors(task, agent_id)
        control = task.control.begin()
        return (control is not None and control.takes_part(agent_id)) or self._monitors(task, agent_id)

    def _monitors(self, task: AttemptTask, agent_id: str) -> bool:
        return agent_id in task.control.monitors.present

    def asked(self, request: ControlRequest | SupervisorRequest, agent_of: Callable[[str | None], str]) -> None:
        """Any request of call control; ``agent_of``: who is logged in, when that fits the AgentID given."""
        match request:
            case RequestMonitorNextCall() | RequestCancelMonitoring():
                self.monitor(request, agent_of(request.agent_id))
            case _:
                about_call = cast(CallRequest, request)
                self.received(about_call, agent_of(about_call.agent_id))

    def received(self, request: Request, agent_id: str) -> None:
        """DesktopRequestError when the ConnID is no call of the agent's; everything else is answered by events."""
        if not self.knows(request.conn_id, agent_id):
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, f"ConnID {request.conn_id!r} is no call of agent {agent_id!r}"
            )
        found = self._find(request.conn_id)
        assert found is not None
        task = found[1]
        # A supervisor who leaves a call leaves nothing behind.
        monitors = self._monitors(task, agent_id)
        leaves = MonitorCancelled(agent_id, request.reference_id, is_release=True)
        task.post(leaves if monitors and isinstance(request, RequestReleaseCall) else Requested(agent_id, request))

    # --- supervisors ------------------------------------------------------------------------------------------------

    def monitor(self, request: MonitorRequest, supervisor_id: str) -> None:
        """RequestMonitorNextCall, RequestCancelMonitoring; DesktopRequestError without the right to."""
        config = self._campaigns.config
        agent = self._campaigns.parties.agent(request.other_dn)
        supervises = next(each.supervises for each in config.agents if each.login_id == supervisor_id)
        groups = [group for group in config.agent_groups if agent is not None and agent.agent_id in group.agents]
        if agent is None or not any(group.name in supervises for group in groups):
            raise DesktopRequestError(
                GswError.INVALID_REQUEST, f"agent {supervisor_id!r} supervises no agent {request.other_dn!r}"
            )
        if agent.agent_id == supervisor_id:
            raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, "nobody supervises oneself")
        known = self._watches.get(supervisor_id)
        if isinstance(request, RequestMonitorNextCall):
            if known is not None and known.agent_id != agent.agent_id:
                raise DesktopRequestError(
                    GswError.INVALID_REQUEST, f"{known.agent_id} is being monitored: cancel that first"
                )
            if self._campaigns.seats[supervisor_id].state is AgentState.LOGGED_OUT:
                raise DesktopRequestError(GswError.INVALID_REQUEST, "the supervisor is not logged in")
            self._watches[supervisor_id] = Watch(agent.agent_id, request.mode, request.kind)
            log.info(
                "call_control.monitoring", supervisor_id=supervisor_id, agent_id=agent.agent_id, mode=request.mode.value
            )
        elif known is None or known.agent_id != agent.agent_id:
            raise DesktopRequestError(GswError.INVALID_REQUEST, f"{agent.agent_id} is not being monitored")
        else:
            del self._watches[supervisor_id]
        self._tell(supervisor_id, monitoring_event(request, supervisor_id, agent.agent_id))
        task = self._call_of(agent.agent_id)
        if task is not None:
            mode = getattr(request, "mode", None)
            task.post(MonitorAsked(supervisor_id, mode) if mode is not None else MonitorCancelled(supervisor_id))

    def _call_of(self, agent_id: str) -> AttemptTask | None:
        for session in self._campaigns.running:
            for task in session.attempts.values():
                if task.machine.agent_id == agent_id and task.machine.state is AttemptState.TALKING:
                    return task
        return None

    def established(self, task: AttemptTask, agent_id: str) -> None:
        """The agent has a customer: whoever wanted to take part in the next call does so."""
        for supervisor_id, watch in self._watches.items():
            if watch.agent_id == agent_id:
                task.post(MonitorAsked(supervisor_id, watch.mode))

    def logged_out(self, agent_id: str) -> None:
        """A supervisor who has left asks for nothing any more; a call that is being listened to goes on."""
        self._watches.pop(agent_id, None)

    def _has_monitored(self, supervisor_id: str) -> None:
        watch = self._watches.get(supervisor_id)
        if watch is not None and watch.kind is MonitorType.ONE_CALL:
            del self._watches[supervisor_id]

    # --- events -----------------------------------------------------------------------------------------------------

    def _news(self, session: Session, task: AttemptTask, news: CallNews) -> None:
        dn = self._campaigns.seats[news.agent_id].dn
        self._tell(news.agent_id, call_news(news, dn, self._user_data(session, task)))

    def _refused(self, refused: Refused) -> None:
        self._tell(
            refused.agent_id,
            events.error_event(refused.error, refused.description, refused.agent_id, refused.reference_id),
        )

    def _left(self, session: Session, agent_id: str) -> None:
        """Who has given advice, or supervised, is told when that has made him ready again."""
        if self._campaigns.seats[agent_id].state is AgentState.READY:
            self._tell(agent_id, events.agent_event(DesktopEvent.AGENT_READY, agent_id))
