"""
What desktops hear of their agents' engaging calls and nailed-up phones: call events with GSW_CALL_TYPE ENGAGING; and
what marks a customer's call as REGULAR.

The engaging call has a ConnID of its own, for as long as the phone is up. The customer's call, REGULAR, has that of its
attempt: it begins with EventEstablished (nothing rings), which names the engaging call as PreviousConnID. Source:
Reference Manual, "ASM Mode (MCP as the CPA Provider)", "TMakeCall Attached Data", "TMakePredictiveCall Attached Data".
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import structlog

from ocsd.model.enums import DialMode
from ocsd.protocols import desktop_events as events
from ocsd.protocols.attached_data import Message
from ocsd.protocols.desktop_events import DesktopEvent
from ocsd.sessions.roster import AgentState
from ocsd.sessions.standing_legs import Standing, StandingLeg, StandingNews

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.campaigns import Campaigns
    from ocsd.sessions.session import Session

log = structlog.get_logger()

Tell = Callable[[str, Mapping[str, object]], None]


class EngagingNews:
    """Listens to the standing legs, for the desktops and for the sessions that wait for their agents."""

    def __init__(self, campaigns: "Campaigns", application_dbid: int, tell: Tell) -> None:
        self._campaigns = campaigns
        self._dbid = application_dbid
        self._tell = tell
        campaigns.standing.news = StandingNews(
            ringing=partial(self._call, DesktopEvent.RINGING),
            up=self._up,
            down=partial(self._call, DesktopEvent.RELEASED),
            lost=self._lost,
            changed=self._changed,
        )

    def back(self, agent_id: str) -> None:
        """The agent's desktop has come (back): it hears of a phone that is up already."""
        leg = self._campaigns.standing.of(agent_id)
        if leg is not None and leg.state in (Standing.HELD, Standing.TAKEN):
            self._call(DesktopEvent.ESTABLISHED, leg)

    def release(self, agent_id: str, conn_id: str) -> bool:
        """RequestReleaseCall of an engaging call: the agent is not ready then. False: there is no such call."""
        leg = self._campaigns.standing.of(agent_id)
        if leg is None or leg.conn_id != conn_id or leg.is_taken:
            return False
        seat = self._campaigns.seats[agent_id]
        if seat.state is AgentState.READY:
            seat.ask_for(AgentState.NOT_READY, self._campaigns.clock.now_s())
            self._not_ready(agent_id, "the engaging call was released")
        leg.release()
        return True

    def _up(self, leg: StandingLeg) -> None:
        session = self._campaigns.sessions.get(leg.hold.group)
        if session is not None:
            session.seizing.answered(leg)
        self._call(DesktopEvent.ESTABLISHED, leg)

    def _lost(self, agent_id: str, why: str) -> None:
        self._not_ready(agent_id, why)

    def _not_ready(self, agent_id: str, why: str) -> None:
        self._tell(agent_id, events.agent_event(DesktopEvent.AGENT_NOT_READY, agent_id, reason=why))

    def _changed(self) -> None:
        for session in self._campaigns.running:
            session.match_agents()
            session.wake()

    def _call(self, event: DesktopEvent, leg: StandingLeg) -> None:
        session = self._campaigns.sessions.get(leg.hold.group)
        self._tell(
            leg.agent_id,
            events.call_event(
                event,
                agent_id=leg.agent_id,
                conn_id=leg.conn_id,
                this_dn=self._campaigns.seats[leg.agent_id].dn,
                other_dn=session.group.name if session is not None else self._campaigns.config.application.name,
                user_data=self._user_data(session, leg),
            ),
        )

    def _user_data(self, session: "Session | None", leg: StandingLeg) -> Message:
        data: Message = {"GSW_CALL_TYPE": "ENGAGING", "GSW_APPLICATION_ID": self._dbid}
        if session is not None:
            data |= session_data(session) | {
                "GSW_CAMPAIGN_NAME": session.campaign.name,
                "GSW_CAMPAIGN_GROUP_NAME": session.group.name,
            }
        if leg.hold.assured:
            data["GSW_ASSURED_HANDLE"] = leg.hold.assured
        return data


def session_data(session: "Session") -> Message:
    """
    GSW_QUEUE_DBID and GSW_SESSION_DBID of both kinds of call.

    The manual's queue is the DN of the voice transfer destination; where ocsd distributes the calls itself, the agent
    group takes its place.
    """
    group = next(each for each in session.config.agent_groups if each.name == session.group.group)
    return {"GSW_QUEUE_DBID": group.dbid, "GSW_SESSION_DBID": session.group.dbid, "GSW_DIAL_MODE": _mode(session)}


def _mode(session: "Session") -> int:
    mode: DialMode = session.settings.dial_mode
    return int(mode)


def regular_data(session: "Session", task: "AttemptTask") -> Message:
    """
    What a customer's call carries besides its record ("TMakePredictiveCall Attached Data", in every automatic mode).

    {} for a call that the agent makes from the desktop: the manual's table is of calls that the dialer makes.
    """
    assured = task.machine.assured
    if task.machine.designated_agent is not None and not assured:
        return {}
    data: Message = {"GSW_CALL_TYPE": "REGULAR", **session_data(session)}
    if task.context.evidence.get("asm_overdial"):
        data["GSW_ASM_OVERDIAL"] = 1
    if assured:
        data["GSW_ASSURED_HANDLE"] = task.context.attempt_id
    return data


def previous_conn_id(task: "AttemptTask") -> str | None:
    """ConnID of the engaging call that the customer's call was merged with; None: the agent's phone was called."""
    return task.second.standing.conn_id if task.second.standing is not None else None
