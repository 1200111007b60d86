"""All campaign groups of the daemon: requests in, sessions started and ended, what runs remembered across restarts."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog
import trio

from ocsd.config.objects import CampaignGroup, Configuration
from ocsd.config.options import lookup
from ocsd.dnc.contract import DoNotCall
from ocsd.lists.store import ListStore
from ocsd.model.enums import CmError, GroupCampStatus
from ocsd.model.errors import CampaignRequestError, StoreUnavailable
from ocsd.model.records import KeptStream
from ocsd.model.services import CampaignRequest, DialParameters, GroupStatus
from ocsd.sessions.call_parties import CallParties
from ocsd.sessions.clock import Clock
from ocsd.sessions.group import DialSettings, Effect, Step, apply_parameters, step_request
from ocsd.sessions.guarding import CampaignGuard
from ocsd.sessions.listener import SessionListener
from ocsd.sessions.live_calls import calls_document
from ocsd.sessions.pacing_keeping import PacingKeeping
from ocsd.sessions.patience import DATABASE_RETRY_S, through_outages
from ocsd.sessions.phones import phone_plan
from ocsd.sessions.roster import AgentSeat, Roster, WaitingLine
from ocsd.sessions.session import Session
from ocsd.sessions.shared import Sharing
from ocsd.sessions.standing_legs import Hold, StandingLegs
from ocsd.sessions.streams import StreamTally
from ocsd.sessions.trunk_keeper import TrunkKeeper
from ocsd.sessions.trunks import TrunkBoard
from ocsd.sessions.verification import HOUR_S
from ocsd.sessions.voice import check_mode, ports_of
from ocsd.validation import Validator
from telephony.api import Media, Telephony

log = structlog.get_logger()


class SessionMemory(Protocol):
    """Where the wanted state of each group survives the daemon."""

    async def remember(self, dbid: int, status: GroupCampStatus, settings: DialSettings) -> None: ...

    async def recall(self) -> dict[int, tuple[GroupCampStatus, DialSettings]]: ...


class Campaigns:
    """Implements CampaignService. Sessions run in ``nursery``; rosters share one seat per agent."""

    def __init__(
        self,
        config: Configuration,
        nursery: trio.Nursery,
        *,
        store: ListStore,
        dnc: DoNotCall,
        memory: SessionMemory,
        telephony: Telephony,
        media: Media,
        clock: Clock,
        validator: Validator | None = None,
        keeping: PacingKeeping = PacingKeeping(),  # noqa: B008 - frozen
    ) -> None:
        self.config = config
        self.clock = clock
        self._nursery = nursery
        self.store = store
        self.dnc = dnc
        self._memory = memory
        self._telephony = telephony
        self._media = media
        self._validator = validator
        self._keeping = keeping
        self.groups: dict[int, CampaignGroup] = {group.dbid: group for group in config.campaign_groups}
        self.sessions: dict[int, Session] = {}
        """The loaded ones, by DBID of their campaign group."""
        self._streams: dict[int, StreamTally] = {}
        self.running: list[Session] = []
        """Also those that are unloaded by force while people still talk."""
        self.trunk_board = TrunkBoard(config.trunks, clock.now_s())
        self.trunk_board.on_change = self._trunk_changed
        self.trunk_keeper = TrunkKeeper(self.trunk_board, telephony, clock)
        self.seats: dict[str, AgentSeat] = {
            agent.login_id: AgentSeat(agent.login_id, agent.dn, phone=phone_plan(agent, config.telephony.sip_host))
            for agent in config.agents
        }
        self.standing = StandingLegs(
            nursery,
            telephony=telephony,
            media=media,
            clock=clock,
            seats=self.seats,
            from_uri=f"sip:ocsd@{config.telephony.sip_host}",
        )
        line = WaitingLine()
        self.rosters: dict[str, Roster] = {
            group.name: Roster(
                [*(self.seats[login_id] for login_id in group.agents), *ports_of(config, group, clock.now_s())],
                line,
                group.name,
            )
            for group in config.agent_groups
        }
        self.sharing = Sharing(self.rosters)
        self.parties = CallParties(self.seats, self.standing)
        self.guards = {
            campaign.dbid: CampaignGuard(config, campaign.dbid, store, clock) for campaign in config.campaigns
        }
        """By DBID of the campaign, whose sessions share it."""
        self._versions: dict[int, int] = dict.fromkeys(self.groups, 0)
        self._unsaved: dict[int, tuple[GroupCampStatus, DialSettings]] = {}
        """Wanted states that the database has not taken yet."""
        self._locks: dict[int, trio.Lock] = {dbid: trio.Lock() for dbid in self.groups}
        self.listener: SessionListener | None = None
        self.gate = trio.Event()
        self.gate.set()

    # --- CampaignService ------------------------------------------------------------------------------------------

    async def request(self, dbid: int, request: CampaignRequest, parameters: DialParameters) -> None:
        group = self.groups.get(dbid)
        if group is None:
            raise CampaignRequestError(CmError.CAMPAIGN_NOT_FOUND, f"no campaign group has DBID {dbid}")
        async with self._locks[dbid]:  # one request at a time per group: opening a session awaits
            session = self.sessions.get(dbid)
            status = session.status if session is not None else GroupCampStatus.NOT_LOADED
            step = step_request(status, request, group.name)
            current = session.settings if session is not None else self._configured(group)
            running = current.dial_mode if status is GroupCampStatus.RUNNING else None
            settings = apply_parameters(current, parameters, running_mode=running)
            if Effect.START in step.effects:
                self._check_startable(group)
            if {Effect.START, Effect.SET_MODE} & set(step.effects):
                check_mode(self.config, group, settings.dial_mode)
            if Effect.OPEN in step.effects:
                session = await self._open(group, settings)
            assert session is not None
            session.settings = settings
            await self._remember(dbid, step.status, settings)
            session.obey(step)
            log.info("group.requested", campaign_group=group.name, request=request.value, status=int(step.status))

    def status(self, dbid: int) -> GroupStatus | None:
        group = self.groups.get(dbid)
        return None if group is None else self._status_of(group)

    def statuses(self) -> list[GroupStatus]:
        return [self._status_of(group) for group in self.groups.values()]

    def statistics(self, dbid: int) -> Mapping[str, float | int | None]:
        session = self.sessions.get(dbid)
        return {**session.statistics(), **self._streams[dbid].figures()} if session is not None else {}

    def stream_ended(self, kept: KeptStream) -> None:
        """The audio of a leg has ended, and its figures are on disk."""
        if (tally := self._streams.get(kept.campaign_group_dbid)) is not None:
            tally.note(kept)

    def pacing(self, dbid: int) -> Mapping[str, object]:
        session = self.sessions.get(dbid)
        return session.pacing.shown() if session is not None else {}

    def calls(self, dbid: int) -> Mapping[str, object]:
        return calls_document(self.sessions.get(dbid))

    def report_inbound(self, agent_group_dbid: int, queued: int, ringing: int, free: int | None = None) -> None:
        name = next((group.name for group in self.config.agent_groups if group.dbid == agent_group_dbid), None)
        if name is None:
            raise CampaignRequestError(CmError.GROUP_NOT_FOUND, f"no agent group has DBID {agent_group_dbid}")
        self.rosters[name].inbound.report(queued, ringing, self.clock.now_s(), free)
        for session in self.sessions.values():
            if session.group.group == name:
                session.wake()

    @property
    def list_dbids(self) -> set[int]:
        return {calling_list.dbid for calling_list in self.config.calling_lists}

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """A task beside the sessions, with their lifetime."""
        self._nursery.start_soon(function, *arguments)

    def reconfigure(self, config: Configuration) -> None:
        """Go on with a changed configuration that has the same objects (see ocsd.config.reload)."""
        self.config = config
        self.groups = {group.dbid: group for group in config.campaign_groups}
        self.trunk_board.reconfigure(config.trunks)
        for guard in self.guards.values():
            guard.reconfigure(config)
        for dbid, session in self.sessions.items():
            session.reconfigure(config, self.groups[dbid])

    def trunks(self) -> Sequence[Mapping[str, object]]:
        return [state.shown() for state in self.trunk_board.states(self.clock.now_s())]

    # --- inside ---------------------------------------------------------------------------------------------------

    def _trunk_changed(self, name: str) -> None:
        """Groups that dial over a trunk that comes back, or goes, decide anew at once."""
        for session in self.sessions.values():
            if name in session.group.trunks:
                session.wake()

    def _configured(self, group: CampaignGroup) -> DialSettings:
        auto = bool(lookup(self.config, "campaigngroup-auto-complete", group=group))
        return DialSettings(group.dial_mode, group.optimize_by, group.optimize_goal, auto)

    def _check_startable(self, group: CampaignGroup) -> None:
        """One campaign in automatic dialing per agent group (manual: "Campaign Status Notification")."""
        for other in self.sessions.values():
            if (
                other.group.dbid != group.dbid
                and other.group.group == group.group
                and other.status is GroupCampStatus.RUNNING
            ):
                raise CampaignRequestError(
                    CmError.CAMPAIGN_ALREADY_STARTED,
                    f"agent group {group.group!r} is already dialing for campaign group {other.group.name!r}",
                )

    async def _open(self, group: CampaignGroup, settings: DialSettings) -> Session:
        assert self.listener is not None
        session = Session(
            self.config,
            group,
            settings,
            store=self.store,
            dnc=self.dnc,
            telephony=self._telephony,
            media=self._media,
            clock=self.clock,
            roster=self.rosters[group.group],
            listener=self.listener,
            gate=self.gate,
            trunk_board=self.trunk_board,
            guard=self.guards[self.config.campaign(group.campaign).dbid],
            validator=self._validator,
            keeping=self._keeping,
            learnt=await self._keeping.recall(group.dbid),
            sharing=self.sharing,
            standing=self.standing,
        )
        session.parties = self.parties
        session.trunk_keeper = self.trunk_keeper
        self.sessions[group.dbid] = session
        self._streams[group.dbid] = StreamTally()
        session.verification.recall(await self._machines_given(group.dbid), self.clock.now_s())
        await self._nursery.start(self._run_session, session)
        return session

    async def _machines_given(self, dbid: int) -> list[float] | None:
        """When the group gave machines to agents within the last hour, monotonic seconds; None: nobody can tell."""
        now, now_s = self.clock.utc(), self.clock.now_s()
        try:
            given = await self.store.machines_given(dbid, now - timedelta(seconds=HOUR_S))
        except StoreUnavailable as error:
            log.warning("group.test_calls_unread", dbid=dbid, error=str(error))
            return None
        return [now_s - (now - at).total_seconds() for at in given]

    async def _run_session(
        self, session: Session, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.running.append(session)
        self.sharing.enter(session)
        try:
            await session.run(task_status)
            self.standing.release_group(session.group.dbid)
        except Exception:
            # A bug ends the smallest thing that can be started anew: this group. Its attempts were settled on the way.
            log.exception("group.failed", campaign_group=session.group.name)
            self.standing.release_group(session.group.dbid)
            session.status = GroupCampStatus.NOT_LOADED
            # A group that failed leaves no chain Retrieved.
            release = partial(self.store.release_group, session.group.dbid)
            self._nursery.start_soon(through_outages, "group.give_back_waits", release)
            if self.sessions.get(session.group.dbid) is session:
                self.closed(session)
        finally:
            self.running.remove(session)
            self.sharing.leave(session)

    def closed(self, session: Session) -> None:
        """The session is unloaded (its conversations may go on)."""
        dbid = session.group.dbid
        self._versions[dbid] += session.version + 1
        if self.sessions.get(dbid) is session:
            del self.sessions[dbid]
        self._nursery.start_soon(self._remember_closed, dbid, session.settings)

    def hold_of(self, dbid: int) -> Hold | None:
        """
        How an engaging call for this group is held that was found at start-up; 0: a nailed-up phone.

        None: the group is not loaded, and nobody would ever hang it up.
        """
        if not dbid:
            return Hold()
        session = self.sessions.get(dbid)
        return session.seizing.hold() if session is not None else None

    async def _remember_closed(self, dbid: int, settings: DialSettings) -> None:
        async with self._locks[dbid]:  # a Load that comes now is written after this, or instead of it
            if dbid not in self.sessions:
                await self._remember(dbid, GroupCampStatus.NOT_LOADED, settings)

    async def _remember(self, dbid: int, status: GroupCampStatus, settings: DialSettings) -> None:
        self._unsaved.pop(dbid, None)
        try:
            await self._memory.remember(dbid, status, settings)
        except StoreUnavailable as error:
            log.warning("group.state_unsaved", dbid=dbid, error=str(error))
            self._unsaved[dbid] = (status, settings)
            if len(self._unsaved) == 1:
                self._nursery.start_soon(self._remember_later)

    async def _remember_later(self) -> None:
        """A group stopped while the database was away must not dial again after the next start."""
        while self._unsaved:
            await trio.sleep(DATABASE_RETRY_S)
            for dbid, (status, settings) in list(self._unsaved.items()):
                async with self._locks[dbid]:
                    if self._unsaved.get(dbid) != (status, settings):
                        continue  # a later request has written, or has another wish
                    with suppress(StoreUnavailable):
                        await self._memory.remember(dbid, status, settings)
                        del self._unsaved[dbid]

    async def resume(self) -> None:
        """Bring back the sessions that were loaded or dialing when the daemon ended."""
        for dbid, (status, settings) in (await self._memory.recall()).items():
            group = self.groups.get(dbid)
            if group is None or status not in (
                GroupCampStatus.ACTIVE,
                GroupCampStatus.RUNNING,
                GroupCampStatus.WAITING_UNLOAD,
            ):
                continue
            session = await self._open(group, settings)
            effects = {
                GroupCampStatus.ACTIVE: (Effect.OPEN,),
                GroupCampStatus.RUNNING: (Effect.OPEN, Effect.START),
                GroupCampStatus.WAITING_UNLOAD: (Effect.OPEN, Effect.BEGIN_UNLOAD),
            }[status]
            session.obey(Step(status, effects))
            log.info("group.resumed", campaign_group=group.name, status=int(status))

    @contextmanager
    def nothing_dialed(self) -> Iterator[None]:
        """While start-up recovers, resumed sessions neither claim nor dial."""
        self.gate = trio.Event()
        try:
            yield
        finally:
            self.gate.set()

    async def drain(self) -> None:
        """Begin nothing new; return when every call under way is a conversation or over. Cancel it at will."""
        sessions = list(self.sessions.values())
        for session in sessions:
            session.hold()
        for session in sessions:
            await session.drain()

    async def stop(self, limit_s: float) -> None:
        """Begin nothing new, and end what is no conversation; returns when that is written, or after ``limit_s``."""
        sessions = list(self.sessions.values())
        for session in sessions:
            session.hold()
        with trio.move_on_after(limit_s):
            async with trio.open_nursery() as nursery:
                for session in sessions:
                    nursery.start_soon(session.wind_down)
            if self.config.telephony.embedded and not any(session.attempts for session in self.running):
                # The plane ends with us, or with the last leg: nobody is to sit on a line that leads nowhere.
                await self.standing.release_held()

    def _status_of(self, group: CampaignGroup) -> GroupStatus:
        session = self.sessions.get(group.dbid)
        loaded = session is not None and session.status is not GroupCampStatus.NOT_LOADED
        settings = session.settings if session is not None and loaded else None
        version = self._versions[group.dbid] + (session.version if session is not None else 0)
        return GroupStatus(
            dbid=group.dbid,
            name=group.name,
            campaign_dbid=self.config.campaign(group.campaign).dbid,
            group_dbid=self.config.agent_group(group.group).dbid,
            status=session.status if session is not None else GroupCampStatus.NOT_LOADED,
            dial_mode=settings.dial_mode if settings else None,
            optimize_by=settings.optimize_by if settings else None,
            optimize_goal=settings.optimize_goal if settings else None,
            switch_dbid=self.config.trunk(group.trunks[0]).dbid,
            version=version,
        )
