"""
What agents announce: when they will be ready (ReadyTime), and that they want to leave (Smart Logout).

Smart Logout
------------
No call is started for an agent who wants to leave, but those under way were started with the agent in mind. So the
agent stays available for them, and is told to go (LogOutAcknowledge) as soon as one of these holds, and no call of the
agent's own is left:

- none of the calls that were under way when the agent asked is still without its outcome;
- call_wait_connected_timeout has passed since then, the longest that a called number may ring;
- the agent has served one of them.

From then on the agent gets no call of this campaign group. An agent who serves no other group becomes not ready, and
is back by RequestAgentReady or a new login. Source: Reference Manual, "Smart Logout" and "Agent Logout Protocol".
"""

import math
from collections.abc import Callable, Iterable, Mapping

import structlog
import trio

from ocsd.model.enums import PREDICTIVE_MODES, GroupCampStatus, GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols import desktop_agents as requests
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.group import SUPPORTED_MODES
from ocsd.sessions.held import RecordsInHand
from ocsd.sessions.roster import ON_A_CALL, AgentState
from ocsd.sessions.session import Session
from ocsd.sessions.shared import UNDER_WAY

log = structlog.get_logger()

LOOK_PERIOD_S = 0.2
"""How often it is looked whether an agent may go."""

Tell = Callable[[str, Mapping[str, object]], None]
"""Send a message to an agent's desktop, if there is one."""


class Announcements:
    """
    ReadyTime and LogOut of all desktops.

    ``tell`` sends to an agent's desktop; ``not_ready`` tells it that the agent has become so.
    """

    def __init__(
        self,
        campaigns: Campaigns,
        in_hand: RecordsInHand,
        application_dbid: int,
        *,
        tell: Tell,
        not_ready: Callable[[str], None],
    ) -> None:
        self._campaigns = campaigns
        self._in_hand = in_hand
        self._dbid = application_dbid
        self._tell = tell
        self._not_ready = not_ready
        self._announced: set[int] = set()
        """Handles of the records of which a time has been announced."""

    def received(self, request: requests.AnnouncingRequest, agent_id: str) -> None:
        """Raises DesktopRequestError; the caller answers with it."""
        if request.application_dbid != self._dbid:
            return  # addressed to another OCS (manual: only the matching one responds)
        match request:
            case requests.ReadyTime():
                self._ready_time(request, agent_id)
            case requests.LogOut():
                self._log_out(request, agent_id)

    # --- ReadyTime ------------------------------------------------------------------------------------------------

    def _ready_time(self, request: requests.ReadyTime, agent_id: str) -> None:
        session = self._in_hand.find(request.record_handle, agent_id=agent_id).session
        self.refuse_gone(session, agent_id)
        if session.settings.dial_mode not in PREDICTIVE_MODES:
            raise DesktopRequestError(
                GswError.INVALID_REQUEST, f"campaign group {session.group.name!r} is not in Predictive mode"
            )
        self._announced &= {handle for each in self._campaigns.running for handle in (*each.attempts, *each.on_desk)}
        if request.record_handle in self._announced:
            raise DesktopRequestError(
                GswError.DUPLICATE_REQUEST, f"ReadyTime has been sent for record handle {request.record_handle} before"
            )
        self._announced.add(request.record_handle)
        self._campaigns.seats[agent_id].announce(float(request.ready_in_s), self._campaigns.clock.now_s())
        log.info("agent.ready_time", agent_id=agent_id, ready_in_s=request.ready_in_s)
        self._tell(agent_id, requests.ready_time_acknowledgement(request, self._dbid))
        session.wake()

    # --- Smart Logout ---------------------------------------------------------------------------------------------

    def refuse_gone(self, session: Session, agent_id: str) -> None:
        """101 to whoever has left the group and still asks for something in it."""
        if agent_id in session.roster.left:
            raise DesktopRequestError(GswError.INVALID_REQUEST, "Agent smartly logged out")

    def back(self, agent_id: str) -> None:
        """The agent has logged in or become ready: gone no longer. One still on the way out stays so."""
        for roster in self._campaigns.rosters.values():
            roster.left.discard(agent_id)

    def logged_out(self, agent_id: str) -> None:
        """The agent has logged out, or its desktop is gone."""
        for roster in self._campaigns.rosters.values():
            roster.stay(agent_id)

    def _log_out(self, request: requests.LogOut, agent_id: str) -> None:
        session = self._dialing(request, agent_id)
        self.refuse_gone(session, agent_id)
        now_s, roster = self._campaigns.clock.now_s(), session.roster
        first = agent_id not in roster.leaving
        roster.leave_soon(agent_id, now_s)
        asked_s = roster.leaving[agent_id]
        time_s = self._time_left_s(session, agent_id, asked_s, now_s)
        self._tell(agent_id, requests.log_out_time(request, self._dbid, session.campaign.name, time_s))
        if not first:
            return
        log.info("agent.leaving", agent_id=agent_id, campaign_group=session.group.name, time_s=time_s)
        session.wake()
        if time_s == 0:
            self._go(session, agent_id)
        else:
            self._campaigns.start_soon(self._see_off, session, agent_id, asked_s)

    def _dialing(self, request: requests.LogOut, agent_id: str) -> Session:
        """The session that the agent wants to leave."""
        loaded: Iterable[Session] = list(self._campaigns.sessions.values())
        if request.campaign_group_name is not None:
            loaded = [session for session in loaded if session.group.name == request.campaign_group_name]
            if not loaded:
                raise DesktopRequestError(
                    GswError.CAMPAIGN_GROUP_NOT_FOUND,
                    f"GSW_CAMPAIGN_GROUP_NAME {request.campaign_group_name!r} is not loaded",
                )
        else:
            loaded = [session for session in loaded if session.campaign.name == request.campaign_name]
        for session in loaded:
            automatic = session.status is GroupCampStatus.RUNNING and session.settings.dial_mode in SUPPORTED_MODES
            if automatic and agent_id in session.roster.seats:
                return session
        raise DesktopRequestError(GswError.INVALID_REQUEST, "There is no 'Auto' campaign started")

    def _time_left_s(self, session: Session, agent_id: str, asked_s: float, now_s: float) -> int:
        """GSW_LOGOUT_TIME: whole seconds, 0 when the agent may go; at least 1 while a call of its own lasts."""
        if not _counted_on(session, asked_s) and not _has_call(session, agent_id):
            return 0
        return max(1, math.ceil(asked_s + _longest_ring_s(session) - now_s))

    async def _see_off(self, session: Session, agent_id: str, asked_s: float) -> None:
        """Wait until the agent may go; nothing when it logs out meanwhile."""
        own = session.roster.seats[agent_id].attempt_id
        served = False
        while session.roster.leaving.get(agent_id) == asked_s:
            attempt_id = session.roster.seats[agent_id].attempt_id
            served = served or attempt_id not in (None, own)
            expired = self._campaigns.clock.now_s() >= asked_s + _longest_ring_s(session)
            if (served or expired or not _counted_on(session, asked_s)) and not _has_call(session, agent_id):
                self._go(session, agent_id)
                return
            await trio.sleep(LOOK_PERIOD_S)

    def _go(self, session: Session, agent_id: str) -> None:
        session.roster.leave(agent_id)
        log.info("agent.left", agent_id=agent_id, campaign_group=session.group.name)
        self._tell(agent_id, requests.log_out_acknowledgement(self._dbid, session.campaign.name))
        others = [
            each
            for each in self._campaigns.running
            if each.dials and agent_id in each.roster.seats and agent_id not in each.roster.left
        ]
        seat = self._campaigns.seats[agent_id]
        if not others and seat.state in (AgentState.READY, AgentState.WRAP_UP):
            seat.ask_for(AgentState.NOT_READY, self._campaigns.clock.now_s())
            self._not_ready(agent_id)
        session.wake()


def _longest_ring_s(session: Session) -> float:
    return float(session.planner.option("call_wait_connected_timeout"))


def _counted_on(session: Session, asked_s: float) -> bool:
    """Whether a call that was under way when the agent asked may still bring a person."""
    return any(
        task.machine.started_s <= asked_s and task.machine.state in UNDER_WAY
        for task in session.attempts.values()
        if not task.machine.has_agent
    )


def _has_call(session: Session, agent_id: str) -> bool:
    """Whether the agent is in a call, or has not finished its record."""
    if session.roster.seats[agent_id].state in ON_A_CALL:
        return True
    return any(task.machine.agent_id == agent_id for task in session.attempts.values())
