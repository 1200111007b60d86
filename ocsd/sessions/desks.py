"""The desktops: who is logged in on which connection, what they ask, what they are told."""

from collections.abc import Iterable, Mapping
from functools import partial
from zoneinfo import ZoneInfo

import structlog

from ocsd.config.objects import Configuration
from ocsd.model.enums import ChainAttr, DialMode, GroupCampStatus, GswError, OptimizeBy
from ocsd.model.errors import DesktopRequestError
from ocsd.model.services import DesktopConnection
from ocsd.protocols import desktop as requests
from ocsd.protocols import desktop_events as events
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.attached_data import AttachedRecord, Message, record_uri, user_data
from ocsd.protocols.desktop_events import DesktopEvent
from ocsd.sessions import attempt as machine
from ocsd.sessions.announcements import Announcements
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.call_talk import conn_id as conn_id
from ocsd.sessions.callbacks import CallbackDelivery
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.desk_control import DeskControl
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.desk_requests import RecordRequests
from ocsd.sessions.engaging_news import EngagingNews, previous_conn_id, regular_data
from ocsd.sessions.group import Effect
from ocsd.sessions.held import Held
from ocsd.sessions.listener import SessionListener
from ocsd.sessions.records import RecordService
from ocsd.sessions.roster import ON_A_CALL, AgentState
from ocsd.sessions.session import Session
from ocsd.sessions.withdrawals import Target

log = structlog.get_logger()

WITH_A_CALL = ON_A_CALL | {AgentState.WRAP_UP}


class Desks:
    """Implements DesktopService, and listens to every session."""

    def __init__(self, config: Configuration, campaigns: Campaigns, http_host: str) -> None:
        self._config = config
        self._campaigns = campaigns
        self._http_host = http_host
        self.http_port = config.http.port
        """The bound port, once the listener is open (it may be chosen by the system)."""
        self._agent_of: dict[DesktopConnection, str] = {}
        self._connection_of: dict[str, DesktopConnection] = {}
        self._shared_dbid = config.application.dbid
        self.records = RecordService(campaigns)
        self.records.on_scheduled = self._scheduled_call
        self.records.on_cancelled = self._record_cancel
        self._requests = RecordRequests(config, campaigns, self.records)
        self._announcements = Announcements(
            campaigns,
            self.records.in_hand,
            self._shared_dbid,
            tell=self._tell,
            not_ready=partial(self._tell_not_ready, reason="left the campaign"),
        )
        self._control = DeskControl(campaigns, self._call_data, self._tell)
        self._engaging = EngagingNews(campaigns, self._shared_dbid, self._tell)
        campaigns.start_soon(CallbackDelivery(campaigns, self.records).run)
        campaigns.listener = SessionListener(
            on_status=self._on_status,
            on_ringing=self._on_ringing,
            on_established=self._on_established,
            on_unmasked=self._on_unmasked,
            on_released=self._on_released,
            on_agent_changed=self._on_agent_changed,
            on_opted_out=self._opted_out,
            user_data=self._user_data,
        )

    def reconfigure(self, config: Configuration) -> None:
        self._config = self._requests.config = config

    # --- DesktopService -------------------------------------------------------------------------------------------

    def connected(self, connection: DesktopConnection) -> None:
        log.debug("desktop.connected", peer=connection.peer)

    def disconnected(self, connection: DesktopConnection) -> None:
        """The desktop went away: its agent gets no further call, and keeps the one it has (its phone is still up)."""
        agent_id = self._agent_of.pop(connection, None)
        if agent_id is None or self._connection_of.get(agent_id) is not connection:
            return
        del self._connection_of[agent_id]
        self._log_out(agent_id)
        log.info("agent.disconnected", agent_id=agent_id)

    async def received(self, connection: DesktopConnection, message: object) -> None:
        try:
            match message:
                case requests.RequestAgentLogin():
                    self._log_in(connection, message)
                case requests.RequestAgentReady():
                    self._ready(connection, message)
                case requests.RequestAgentNotReady():
                    self._not_ready(connection, message)
                case requests.RequestAgentLogout():
                    agent_id = self._agent(connection, message.agent_id)
                    self._log_out(agent_id)
                    self.records.logged_out(agent_id)
                    connection.send(events.agent_event(DesktopEvent.AGENT_LOGOUT, agent_id, message.reference_id))
                    del self._agent_of[connection]
                    del self._connection_of[agent_id]
                case requests.RequestReleaseCall():
                    self._release(connection, message)
                case requests.ControlRequest() | requests.SupervisorRequest():
                    self._control.asked(message, partial(self._agent, connection))
                case requests.CampaignStatusRequest():
                    self._campaign_status(connection, message)
                case requests.ReadyTime() | requests.LogOut():
                    self._announcements.received(message, self._agent(connection, None))
                case requests.RequestMakeCall():
                    await self._make_call(connection, message)
                case (
                    requests.UpdateCallCompletionStats()
                    | requests.RecordProcessed()
                    | requests.RecordReject()
                    | requests.RequestRecordCancel()
                    | requests.DoNotCall()
                    | requests.RecordReschedule()
                    | requests.ScheduledRecordReschedule()
                    | AddRecord()
                ):
                    await self._requests.received(connection, message, self._agent(connection, None))
                case _:
                    raise DesktopRequestError(GswError.INVALID_REQUEST, f"{type(message).__name__} is not supported")
        except DesktopRequestError as error:
            answer = events.refusal_of(message, error, self._shared_dbid)  # type: ignore[arg-type]
            if answer is not None:
                connection.send(answer)

    # --- agent states ---------------------------------------------------------------------------------------------

    def _agent(self, connection: DesktopConnection, named: str | None) -> str:
        agent_id = self._agent_of.get(connection)
        if agent_id is None:
            raise DesktopRequestError(GswError.AGENT_NOT_FOUND, "no agent is logged in on this connection")
        if named is not None and named != agent_id:
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, f"AgentID {named!r} is not the agent of this connection"
            )
        return agent_id

    def _sessions_of(self, agent_id: str) -> Iterable[Session]:
        return [s for s in self._campaigns.running if agent_id in s.roster.seats]

    def _log_in(self, connection: DesktopConnection, request: requests.RequestAgentLogin) -> None:
        seat = self._campaigns.seats.get(request.agent_id)
        if seat is None:
            raise DesktopRequestError(GswError.AGENT_NOT_FOUND, f"no agent has the login ID {request.agent_id!r}")
        already = self._agent_of.get(connection)
        if already is not None and already != request.agent_id:
            raise DesktopRequestError(GswError.INVALID_REQUEST, f"{already!r} is logged in on this connection")
        old = self._connection_of.get(request.agent_id)
        if old is not None and old is not connection:
            # The newest desktop wins: a crashed one leaves a half-open socket behind.
            self._agent_of.pop(old, None)
            old.send(events.agent_event(DesktopEvent.AGENT_LOGOUT, request.agent_id))
        self._agent_of[connection] = request.agent_id
        self._connection_of[request.agent_id] = connection
        seat.log_in(self._campaigns.clock.now_s())
        self._announcements.back(request.agent_id)
        log.info("agent.logged_in", agent_id=request.agent_id)
        connection.send(events.agent_event(DesktopEvent.AGENT_LOGIN, request.agent_id, request.reference_id))
        self._engaging.back(request.agent_id)
        for session in self._sessions_of(request.agent_id):
            self._tell_status(connection, session)
            task = session.attempts.get(seat.attempt_id) if seat.attempt_id is not None else None
            talks = task is not None and task.machine.state is AttemptState.TALKING
            if talks and task is not None and task.machine.agent_id == request.agent_id:
                self._call(session, task, request.agent_id, DesktopEvent.ESTABLISHED)
            for task in session.attempts.values():
                own = task.adopted and task.machine.agent_id == request.agent_id
                if own and task.machine.state is AttemptState.WRAP_UP:  # ended while no daemon was there to tell
                    self._call(session, task, request.agent_id, DesktopEvent.RELEASED)
            for desk in session.on_desk.values():
                if desk.agent_id == request.agent_id and not desk.closing:  # kept while the connection was lost
                    self._scheduled_call(session, desk)

    def _log_out(self, agent_id: str) -> None:
        self._campaigns.seats[agent_id].ask_for(AgentState.LOGGED_OUT, self._campaigns.clock.now_s())
        self._announcements.logged_out(agent_id)
        self._control.logged_out(agent_id)
        for session in self._sessions_of(agent_id):
            for task in session.attempts.values():
                if task.machine.agent_id == agent_id:
                    task.post(machine.AgentGone())
            session.wake()
        log.info("agent.logged_out", agent_id=agent_id)

    def _ready(self, connection: DesktopConnection, request: requests.RequestAgentReady) -> None:
        agent_id = self._agent(connection, request.agent_id)
        seat = self._campaigns.seats[agent_id]
        now_s = self._campaigns.clock.now_s()
        sessions = list(self._sessions_of(agent_id))
        if seat.state is AgentState.WRAP_UP:
            for session in sessions:
                session.handled(seat.talked_s, now_s - seat.since_s)
        if seat.state not in WITH_A_CALL:  # ready again after a call of one group is not back in another it has left
            self._announcements.back(agent_id)
        seat.ask_for(AgentState.READY, now_s)
        connection.send(events.agent_event(DesktopEvent.AGENT_READY, agent_id, request.reference_id))
        for session in sessions:
            session.agent_ready(agent_id)

    def _not_ready(self, connection: DesktopConnection, request: requests.RequestAgentNotReady) -> None:
        agent_id = self._agent(connection, request.agent_id)
        self._campaigns.seats[agent_id].ask_for(AgentState.NOT_READY, self._campaigns.clock.now_s())
        connection.send(
            events.agent_event(DesktopEvent.AGENT_NOT_READY, agent_id, request.reference_id, request.reason)
        )

    async def _make_call(self, connection: DesktopConnection, request: requests.RequestMakeCall) -> None:
        agent_id = self._agent(connection, request.agent_id)
        self._announcements.refuse_gone(self.records.in_hand.find(request.record_handle).session, agent_id)
        session = await self._requests.make_call(request, agent_id)
        if (task := session.attempts.get(request.record_handle)) is not None:
            self._call(session, task, agent_id, DesktopEvent.DIALING, request.reference_id)

    # --- calls and records ------------------------------------------------------------------------------------------

    def _release(self, connection: DesktopConnection, request: requests.RequestReleaseCall) -> None:
        agent_id = self._agent(connection, request.agent_id)
        if self._control.knows(request.conn_id, agent_id):
            self._control.received(request, agent_id)
            return
        if self._engaging.release(agent_id, request.conn_id):
            return
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"ConnID {request.conn_id!r} is no call of agent {agent_id!r}"
        )

    def _scheduled_call(self, session: Session, desk: DeskRecord) -> None:
        if (connection := self._connection_of.get(desk.agent_id)) is not None:
            connection.send(self._requests.scheduled_call(session, desk))

    def _record_cancel(self, held: Held, chain_attr: ChainAttr) -> None:
        if held.agent_id is not None and (connection := self._connection_of.get(held.agent_id)) is not None:
            connection.send(self._requests.record_cancel(held, chain_attr))

    # --- campaign notifications -----------------------------------------------------------------------------------

    def _names(self, session: Session) -> events.CampaignNames:
        return events.CampaignNames(
            self._shared_dbid,
            session.campaign.name,
            session.campaign.description,
            session.group.name,
            session.group.description,
        )

    def _tell_status(
        self, connection: DesktopConnection, session: Session, reference_id: requests.ReferenceId = None
    ) -> None:
        if session.status is GroupCampStatus.RUNNING:
            mode = session.settings.dial_mode
            connection.send(events.campaign_started(self._names(session), mode, reference_id))
        elif session.status is not GroupCampStatus.NOT_LOADED:
            connection.send(events.campaign_loaded(self._names(session), reference_id))

    def _campaign_status(self, connection: DesktopConnection, request: requests.CampaignStatusRequest) -> None:
        if request.application_dbid not in (None, self._shared_dbid):
            return
        agent_id = self._agent_of.get(connection)
        if agent_id is not None:
            for session in self._sessions_of(agent_id):
                self._tell_status(connection, session, request.reference_id)

    def _on_status(self, session: Session, effect: Effect) -> None:
        names, mode = self._names(session), session.settings.dial_mode
        message: Message | None = None
        match effect:
            case Effect.OPEN:
                message = events.campaign_loaded(names)
            case Effect.START:
                message = events.campaign_started(names, mode)
            case Effect.SET_MODE:
                message = events.campaign_mode_changed(names, mode)
            case Effect.STOP:
                message = events.campaign_stopped(names)
            case Effect.FORCE:
                self.records.forced(session)
            case Effect.CLOSED:
                message = events.campaign_unloaded(names)
                self._campaigns.closed(session)
            case _:
                pass
        if message is not None:
            for agent_id in session.roster.seats:
                if (connection := self._connection_of.get(agent_id)) is not None:
                    connection.send(message)

    # --- call events ------------------------------------------------------------------------------------------------

    def _opted_out(self, session: Session, task: AttemptTask) -> None:
        """A voice application was told so: as a DoNotCall request about the record, for its number."""
        on_disk = self.records.do_not_call(
            Target(task.context.attempt_id), ChainAttr.RECORD_ONLY, message="asked for in a voice application"
        )
        self._campaigns.start_soon(on_disk)

    def _on_ringing(self, session: Session, task: AttemptTask) -> None:
        if task.machine.agent_id is not None:
            self._call(session, task, task.machine.agent_id, DesktopEvent.RINGING)

    def _on_established(self, session: Session, task: AttemptTask) -> None:
        if task.machine.agent_id is not None:
            self._call(session, task, task.machine.agent_id, DesktopEvent.ESTABLISHED)
            self._control.established(task, task.machine.agent_id)

    def _on_unmasked(self, session: Session, task: AttemptTask) -> None:
        if task.machine.agent_id is not None:
            self._call(session, task, task.machine.agent_id, DesktopEvent.DATA_CHANGED)

    def _on_released(self, session: Session, task: AttemptTask, agent_id: str) -> None:
        self._call(session, task, agent_id, DesktopEvent.RELEASED)

    def _on_agent_changed(self, session: Session, agent_id: str) -> None:
        match session.roster.seat(agent_id).state:
            case AgentState.NOT_READY:
                self._tell_not_ready(agent_id, reason="the phone did not answer")
            case AgentState.READY:  # its call was none, and there is nothing to write up
                self._tell(agent_id, events.agent_event(DesktopEvent.AGENT_READY, agent_id))
            case _:
                pass

    def _tell_not_ready(self, agent_id: str, reason: str) -> None:
        self._tell(agent_id, events.agent_event(DesktopEvent.AGENT_NOT_READY, agent_id, reason=reason))

    def _tell(self, agent_id: str, message: Mapping[str, object]) -> None:
        """Send to an agent's desktop, if there is one."""
        if (connection := self._connection_of.get(agent_id)) is not None:
            connection.send(message)

    def _call(
        self,
        session: Session,
        task: AttemptTask,
        agent_id: str,
        event: DesktopEvent,
        reference_id: requests.ReferenceId = None,
    ) -> None:
        connection = self._connection_of.get(agent_id)
        if connection is None:
            return
        connection.send(
            events.call_event(
                event,
                agent_id=agent_id,
                conn_id=conn_id(task.context.attempt_id),
                this_dn=session.roster.seat(agent_id).dn,
                other_dn=task.context.record.contact_info,
                user_data=self._call_data(session, task),
                reference_id=reference_id,
                previous_conn_id=previous_conn_id(task) if event is DesktopEvent.ESTABLISHED else None,
            )
        )

    def _call_data(self, session: Session, task: AttemptTask) -> Message:
        """What call events carry: the record, and what kind of call it is."""
        return self._user_data(session, task) | regular_data(session, task)

    def _user_data(self, session: Session, task: AttemptTask) -> Message:
        record = task.context.record
        zone = next((z for z in self._config.time_zones if z.dbid == record.tz_dbid), None)
        offset = self._campaigns.clock.utc().astimezone(ZoneInfo(zone.zone)).utcoffset() if zone else None
        mode: DialMode = session.settings.dial_mode
        optimize_by: OptimizeBy = session.settings.optimize_by
        handle = task.context.attempt_id
        return dict(task.context.attached) | user_data(
            AttachedRecord(
                application_dbid=self._shared_dbid,
                tenant_name=session.campaign.tenant,
                campaign_name=session.campaign.name,
                campaign_description=session.campaign.description,
                campaign_group_dbid=session.group.dbid,
                campaign_group_name=session.group.name,
                campaign_group_description=session.group.description,
                calling_list=self._config.calling_list_by_dbid(record.list_dbid).name,
                switch_dbid=task.context.switch_dbid,
                record=record,
                record_handle=handle,
                record_uri=record_uri(self._http_host, self.http_port, handle),
                attempt_guid=task.context.guid,
                tz_offset_s=int(offset.total_seconds()) if offset is not None else 0,
                tz_name=zone.name if zone is not None else "",
                call_result=task.machine.result,
                dial_mode=mode,
                optimize_by=optimize_by,
                optimize_goal=session.settings.optimize_goal,
                processing_at=task.context.processing_at,
                times=task.times(),
                verified=task.machine.verified,
                cpn_digits=task.context.caller_id.digits,
                cpn_digits_set=task.context.caller_id.of_set,
                fields=self._config.format_of_list(self._config.calling_list_by_dbid(record.list_dbid)).fields,
            )
        )
