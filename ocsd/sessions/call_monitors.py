"""Supervisors in one call: each on a leg of their own that listens, whispers to the agent, or barges in."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.model.errors import DesktopRequestError
from ocsd.protocols.desktop_calls import CallEvent, CallNews, MonitorMode
from ocsd.protocols.desktop_pairs import ReferenceId
from ocsd.sessions.attempt_events import AttemptState
from ocsd.sessions.call_control_events import (
    ControlEvent,
    MonitorAnswered,
    MonitorAsked,
    MonitorCancelled,
    MonitorEnded,
)
from ocsd.sessions.call_talk import Destination, conn_id
from ocsd.sessions.second_leg import AdoptedLeg, LegEvents, LegPlan, SecondLeg
from telephony.contract import Role

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask

log = structlog.get_logger()

ROLE_OF: Final[Mapping[MonitorMode, Role]] = MappingProxyType(
    {MonitorMode.MUTE: Role.LISTEN, MonitorMode.COACH: Role.WHISPER, MonitorMode.CONNECT: Role.BARGE}
)
MODE_OF: Final[Mapping[Role, MonitorMode]] = MappingProxyType({role: mode for mode, role in ROLE_OF.items()})


@dataclass(slots=True)
class Monitor:
    """One supervisor. ``up``: the phone was answered, and the supervisor hears the call."""

    leg: SecondLeg
    seat: Destination
    mode: MonitorMode
    up: bool = False

    @property
    def heard(self) -> bool:
        """The agent hears the supervisor, and so has to know."""
        return self.up and self.mode is not MonitorMode.MUTE


class Monitors:
    """
    The supervisors of one attempt's agent; they leave with that agent, or with the call.

    Runs in the attempt's task, as `call_control_task` does.
    """

    def __init__(self, task: "AttemptTask") -> None:
        self.present: dict[str, Monitor] = {}
        """By the supervisors' login IDs."""
        self._task = task

    async def take(self, event: ControlEvent) -> None:
        """A request, or news of a supervisor's leg."""
        match event:
            case MonitorAsked(supervisor_id, mode):
                if supervisor_id in self.present:
                    await self._change(supervisor_id, mode)
                elif self._task.machine.state is AttemptState.TALKING:
                    self._call(supervisor_id, mode)
            case MonitorAnswered(supervisor_id) if supervisor_id in self.present:
                await self._answered(supervisor_id)
            case MonitorCancelled(supervisor_id, reference_id) if supervisor_id in self.present:
                await self._leave(supervisor_id, reference_id)
            case MonitorCancelled():
                self._task.control.unheard(event)
            case MonitorEnded(supervisor_id):
                await self._leave(supervisor_id)
            case _:
                pass

    async def end(self) -> None:
        """All of them leave."""
        for supervisor_id in list(self.present):
            await self._leave(supervisor_id)

    def adopt(self, supervisor_id: str, found: AdoptedLeg, role: Role) -> None:
        """A supervisor who has been there since an earlier run of the daemon."""
        host, parties = self._task.host, self._task.host.parties
        if parties is None or (seat := parties.agent(supervisor_id)) is None:
            return
        second, ended = SecondLeg(host.telephony, host.media, self._task.post), MonitorEnded(supervisor_id)
        second.adopt(found, LegEvents(MonitorAnswered(supervisor_id), ended, ended))
        destination = Destination(seat.dn, seat.dn, supervisor_id)
        self.present[supervisor_id] = Monitor(second, destination, MODE_OF[role], up=True)
        parties.adopt(host.session, self._task.context.attempt_id, destination)

    def take_over(self, nursery: trio.Nursery) -> None:
        """Follow the legs that were adopted."""
        for supervisor_id, monitor in self.present.items():
            ended = MonitorEnded(supervisor_id)
            nursery.start_soon(monitor.leg.follow_adopted, LegEvents(MonitorAnswered(supervisor_id), ended, ended))

    def _call(self, supervisor_id: str, mode: MonitorMode) -> None:
        task, host = self._task, self._task.host
        parties, nursery = host.parties, task.nursery
        if parties is None or nursery is None or (seat := parties.agent(supervisor_id)) is None:
            return
        try:
            parties.check_free(seat)
        except DesktopRequestError as error:
            log.info("call_control.not_monitored", supervisor_id=supervisor_id, why=error.description)
            return
        destination = Destination(seat.dn, seat.dn, supervisor_id)
        parties.begin(host.session, task.context.attempt_id, destination)
        leg = SecondLeg(host.telephony, host.media, task.post)
        self.present[supervisor_id] = Monitor(leg, destination, mode)
        ended = MonitorEnded(supervisor_id)
        events = LegEvents(MonitorAnswered(supervisor_id), ended, ended)
        log.info("call_control.supervisor_called", supervisor_id=supervisor_id, mode=mode.value)
        beside = task.second.channel_id
        standing = parties.standing_leg(supervisor_id)
        if standing is not None:
            nursery.start_soon(leg.take, standing, events, beside)
            return
        phone = parties.phone(supervisor_id)
        plan = LegPlan(
            leg_id=task.context.new_monitor_leg_id(supervisor_id, host.clock.now_s()),
            uri=seat.dn,
            from_uri=host.agent_from_uri,
            no_answer_s=task.machine.rules.no_answer_s,
            display_name=task.context.record.contact_info,
            username=phone.username,
            password=phone.password,
            headers=(("X-Call-Attempt-GUID", task.context.guid), *phone.headers),
            proxy=phone.proxy,
            beside=beside,
        )
        ringing = partial(self._tell, CallEvent.RINGING, supervisor_id, mode)
        nursery.start_soon(leg.ring, plan, events, ringing)

    async def _answered(self, supervisor_id: str) -> None:
        monitor, parties = self.present[supervisor_id], self._task.host.parties
        assert parties is not None
        parties.answered(self._task.host.session, monitor.seat)
        monitor.up = True
        if monitor.leg.leg is not None:
            await monitor.leg.leg.protect(True)
        await self._join(monitor)
        self._tell(CallEvent.ESTABLISHED, supervisor_id, monitor.mode)
        if monitor.heard:
            self._tell_agent(CallEvent.PARTY_ADDED, monitor)

    async def _change(self, supervisor_id: str, mode: MonitorMode) -> None:
        monitor = self.present[supervisor_id]
        was_heard, monitor.mode = monitor.heard, mode
        if not monitor.up:
            return
        await self._join(monitor)
        if monitor.heard != was_heard:
            self._tell_agent(CallEvent.PARTY_ADDED if monitor.heard else CallEvent.PARTY_DELETED, monitor)

    async def _join(self, monitor: Monitor) -> None:
        """The role may change in the midst of a word: there is no gap."""
        agents = self._task.second.channel
        if monitor.leg.channel is not None and agents is not None:
            await monitor.leg.channel.join(agents, ROLE_OF[monitor.mode])

    async def _leave(self, supervisor_id: str, reference_id: ReferenceId = None) -> None:
        monitor = self.present.pop(supervisor_id, None)
        if monitor is None:
            return
        await monitor.leg.hang_up()
        parties = self._task.host.parties
        assert parties is not None
        self._task.control.owes(None)
        self._tell(CallEvent.RELEASED, supervisor_id, monitor.mode, reference_id)
        if monitor.heard:
            self._tell_agent(CallEvent.PARTY_DELETED, monitor)
        parties.end(self._task.host.session, self._task.context.attempt_id, monitor.seat)
        parties.monitored(supervisor_id)

    # --- news -------------------------------------------------------------------------------------------------------

    def _tell(self, event: CallEvent, supervisor_id: str, mode: MonitorMode, reference_id: ReferenceId = None) -> None:
        context = self._task.context
        conn, other = conn_id(context.attempt_id), context.record.contact_info
        self._news(CallNews(event, supervisor_id, conn, other, mode=mode, reference_id=reference_id))

    def _tell_agent(self, event: CallEvent, monitor: Monitor) -> None:
        context, agent_id = self._task.context, self._task.machine.agent_id
        if agent_id is not None:
            other = context.record.contact_info
            conn = conn_id(context.attempt_id)
            self._news(CallNews(event, agent_id, conn, other, third_dn=monitor.seat.dn, mode=monitor.mode))

    def _news(self, news: CallNews) -> None:
        host = self._task.host
        if host.parties is not None:
            host.parties.tell(host.session, self._task, news)
