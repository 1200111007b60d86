"""
Direct media of one attempt: who needs the audio here, and the re-INVITEs that `direct_path` asks for.

It leaves when trunk and phone allow it (option direct-media, ``phone.direct_media``), the conversation is one of two,
and for LEAVE_AFTER_S nothing has needed it: the analysis after the connect is over, nobody is on hold, muted, in a
consultation or a conference, no supervisor listens. It is back before any of these begins. An agent whose phone stays
on the line between customers (engaged, nailed up) keeps it at the media server: the next customer has two seconds.
"""

from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.protocols.desktop import RequestReleaseCall
from ocsd.protocols.desktop_pairs import ReferenceId
from ocsd.sessions.attempt_events import AttemptState, Event
from ocsd.sessions.call_control_events import MonitorAsked, MonitorCancelled, Requested
from ocsd.sessions.call_talk import Refused, Talk
from ocsd.sessions.direct_path import BOTH, DirectPath, FarEnd, Move, Order, Path, Side, StandBy
from ocsd.sessions.outcome import PEOPLE
from telephony.api import Channel, Leg

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask

log = structlog.get_logger()

LEAVE_AFTER_S: Final = 1.0
"""Between the last need for the audio and its leaving: who presses hold and retrieve causes no storm of re-INVITEs."""
ANALYSIS_ENDS_S: Final = 0.5
"""After its time the analysis of a bridged call is given so long to have said what it heard."""
RETURN_LIMIT_S: Final = 2.0
"""Whoever needs the audio waits so long for it; a re-INVITE takes a round trip, glare is waited out longer."""
AGAIN_S: Final = 0.5
"""Pause before a far end that refused to come back is asked again."""
NOT_BACK: Final = "the audio of this call flows past the media server and could not be brought back"


class DirectMedia:
    """Runs in the attempt's task, but for the re-INVITEs."""

    def __init__(self, task: "AttemptTask") -> None:
        self.machine = DirectPath()
        self.media_lost = False
        """The media server has gone away for good while the audio was away: it can never come back."""
        self._task = task
        self._lines: dict[Side, tuple[Leg, Channel]] = {}
        self._turn = trio.Lock()
        self._changed = trio.Event()
        self._ordered = 0
        """Orders that have not been carried out."""
        self._free_since_s: float | None = None
        self._waking = False
        self._stays = False
        self._told = ""
        self._left_s: float | None = None
        self._wishes: dict[str, MonitorAsked] = {}
        """Supervisors who take part as soon as the audio is back, by login ID."""

    @property
    def here(self) -> bool:
        """The audio flows through the media server, and nothing else is under way."""
        return self.machine.path is Path.HERE

    @property
    def away(self) -> bool:
        """Both far ends have been told to send to each other."""
        return self.machine.path is Path.AWAY

    def adopt(self) -> None:
        """The media server stands by for this conversation, since an earlier run of the daemon."""
        self.machine.adopt()

    def outlives_media(self) -> bool:
        """The media server has gone for good; True when the conversation goes on without it."""
        self.media_lost = self.media_lost or self.away
        return self.away

    # --- does anybody need the audio? -------------------------------------------------------------------------------

    def _allowed(self) -> bool:
        task, machine = self._task, self._task.machine
        if not task.context.direct_media or task.second.standing is not None or self.media_lost:
            return False
        if machine.state is AttemptState.TALKING and machine.agent_id is not None:
            return task.host.agent_phone(machine.agent_id).direct_media
        return machine.state is AttemptState.TRANSFERRED and machine.plan is not None and machine.plan.to_queue

    def _unneeded(self) -> bool:
        """Two people talk, and nobody else is concerned."""
        control = self._task.control
        if control.monitors.present or self._wishes:
            return False
        call = control.control
        return call is None or (call.state is Talk.TALKING and call.third is None and not call.muted)

    def _free_at_s(self, now_s: float) -> float:
        """When the audio may leave, as far as it is known now."""
        task = self._task
        if self._free_since_s is None:
            self._free_since_s = now_s
        at_s = self._free_since_s + LEAVE_AFTER_S
        settings, verdict = task.context.analysis.settings, task.machine.verdict
        if (
            settings is not None
            and settings.after_bridge_ms
            and verdict in PEOPLE
            and "agent_answered" in task.machine.marks
        ):
            heard_s = task.machine.marks["agent_answered"] + settings.after_bridge_ms / 1000.0
            at_s = max(at_s, heard_s + ANALYSIS_ENDS_S)
        return at_s

    def look(self) -> None:
        """Asked after every event of the attempt."""
        if not self._task.context.direct_media or self.media_lost:
            return
        free = not self._stays and self._allowed() and self._unneeded()
        if not free:
            self._free_since_s = None
            if self.machine.path is Path.AWAY and self._task.machine.state is AttemptState.TALKING:
                self._obey(self.machine.look(False, self._ends()))
            return
        now_s = self._task.host.clock.now_s()
        wait_s = self._free_at_s(now_s) - now_s
        if self.machine.path is Path.HERE and wait_s > 0.0:
            self._wake_in(wait_s)
            return
        ends = self._ends()
        if len(ends) == len(BOTH):
            self._obey(self.machine.look(True, ends))

    def _ends(self) -> dict[Side, FarEnd]:
        """Where both want their audio; the lines are those of now while the audio is here."""
        task = self._task
        if self.machine.path is Path.HERE or not self._lines:
            self._lines, task.second.moved = {}, self.look
            for side, leg, channel in (
                (Side.CUSTOMER, task.leg, task.channel),
                (Side.AGENT, task.second.leg, task.second.channel),
            ):
                if leg is not None and channel is not None:
                    self._lines[side] = leg, channel
        found: dict[Side, FarEnd] = {}
        for side, (_, channel) in self._lines.items():
            if (remote := channel.far_end) is not None:
                found[side] = FarEnd(remote.host, remote.port, remote.payload_type, remote.event_payload_type)
        return found

    def _wake_in(self, wait_s: float) -> None:
        nursery = self._task.nursery
        if nursery is not None and not self._waking:
            self._waking = True
            nursery.start_soon(self._wake, wait_s)

    async def _wake(self, wait_s: float) -> None:
        await trio.sleep(wait_s)
        self._waking = False
        self.look()

    # --- bringing it back -------------------------------------------------------------------------------------------

    async def make_room(self, event: Event) -> bool:
        """
        Have the audio back before somebody does something with it; False: it cannot be had, and whoever asked was told.
        """
        match event:
            case Requested(request=RequestReleaseCall()):
                return True
            case Requested(agent_id, request):
                if await self.take_back():
                    return True
                self._refuse(agent_id, NOT_BACK, getattr(request, "reference_id", None))
                return False
            case MonitorAsked(supervisor_id):
                self._wishes.pop(supervisor_id, None)
                if await self.take_back():
                    return True
                if self.media_lost or self.here:
                    # The answer was EventMonitoringNextCall, which still holds.
                    self._refuse(supervisor_id, f"{NOT_BACK}: the next call is the first you can take part in")
                else:
                    self._wishes[supervisor_id] = event
                return False
            case MonitorCancelled(supervisor_id):
                self._wishes.pop(supervisor_id, None)
                return True
            case _:
                return True

    def _refuse(self, agent_id: str, why: str, reference_id: ReferenceId = None) -> None:
        if (parties := self._task.host.parties) is not None:
            parties.refused(Refused(agent_id, why, reference_id))

    async def take_back(self) -> bool:
        """Bring the audio home; False when that did not succeed within RETURN_LIMIT_S."""
        if self.here:
            return not self.machine.stuck
        if self.media_lost:
            return False
        self._stays, self._free_since_s = True, None
        try:
            self._obey(self.machine.look(False, self._ends()))
            with trio.move_on_after(RETURN_LIMIT_S):
                while not self.here or self._ordered:
                    changed = self._changed = trio.Event()
                    await changed.wait()
        finally:
            self._stays = False
        back = self.here and not self.machine.stuck
        if not back:
            log.error("direct_media.not_back", path=self.machine.path.name.lower())
        return back

    # --- doing it ---------------------------------------------------------------------------------------------------

    def _obey(self, orders: tuple[Order, ...]) -> None:
        nursery = self._task.nursery
        if nursery is not None:
            if orders:
                self._ordered += 1
                nursery.start_soon(self._carry_out, orders)
            self._tell()

    async def _carry_out(self, orders: tuple[Order, ...]) -> None:
        assert self._task.nursery is not None
        async with self._turn:
            for order in orders:
                match order:
                    case StandBy(standing_by):
                        for _, channel in self._lines.values():
                            await channel.stand_by(standing_by)
                    case Move():
                        self._task.nursery.start_soon(self._move, order)
        self._ordered -= 1
        self._changed.set()
        if self.here and not self._ordered:
            for wish in self._wishes.values():
                self._task.post(wish)
            self.look()  # back too late for whoever wanted it: it may leave again

    async def _move(self, order: Move) -> None:
        if order.again:
            await trio.sleep(AGAIN_S)
        leg, channel = self._lines[order.side]
        to = order.to
        if to is None:
            answer = await leg.redirect(channel.host, channel.port)
        else:
            answer = await leg.redirect(
                to.host, to.port, payload_type=to.payload_type, event_payload_type=to.event_payload_type
            )
        end = None
        if 200 <= answer.sip_status < 300 and answer.remote_rtp_port:
            end = FarEnd(answer.remote_rtp_host, answer.remote_rtp_port, answer.payload_type, answer.event_payload_type)
            # What is relayed from now on goes where the far end listens now.
            await channel.set_remote(end.host, end.port, end.payload_type, end.event_payload_type)
        self._obey(self.machine.answered(order.side, answer.sip_status, end))
        self._changed.set()

    def _tell(self) -> None:
        """The log and the attempt's evidence."""
        machine, now_s = self.machine, self._task.host.clock.now_s()
        found = self._task.context.evidence.setdefault("direct_media", {"times": 0})
        assert isinstance(found, dict)
        if machine.path is Path.AWAY and self._left_s is None:
            self._left_s = now_s
            found["times"] += 1
            log.info("direct_media.left")
        elif machine.path is Path.HERE and self._left_s is not None:
            log.info("direct_media.returned", away_s=round(now_s - self._left_s, 3))
            self._left_s = None
        if machine.refused and machine.refused != self._told:
            self._told = found["refused"] = machine.refused
            log.info("direct_media.refused", why=machine.refused)
