"""In-memory twins of `TelephonyClient` and `MediaClient` for session tests, under any clock (trio's MockClock too).

`open_fake_plane` opens both over one scripted world: a `CallScript` per destination says how long it rings, how it
ends, what call progress analysis hears. Legs run on the very machine that the workers run (`telephony.leg`), so what
may follow what is the same; only SIP, RTP and the wait for them are left out.

    async with open_fake_plane({"sip:+15550100@carrier": CallScript(ring_s=8.0)}) as (telephony, media): ...
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio

from telephony.api import CallRefused, Channel, LegLost, LegReport, NoCapacity
from telephony.contract import (
    DialogId,
    Direction,
    LegAnswered,
    LegEnded,
    LegInfo,
    LegProgress,
    LegSnapshot,
    LegState,
    PlaceCall,
    Probed,
    Refer,
    Referred,
    Register,
    Registered,
    Reinvite,
    Reinvited,
)
from telephony.fake_media import FakeChannel as FakeChannel
from telephony.fake_media import FakeMedia as FakeMedia
from telephony.fake_script import CallScript as CallScript
from telephony.fake_script import Script as Script
from telephony.leg import (
    Answered,
    Failed,
    HangUp,
    LegEvent,
    LegMachine,
    MediaMoved,
    NoAnswerLimit,
    Phase,
    Provisional,
    Released,
    RemoteBye,
    SendHangUp,
)
from telephony.sdp import MediaAddress
from telephony.sip import SipStatus

if TYPE_CHECKING:
    from telephony.api import Leg, Media, Telephony
    from telephony.client import TelephonyClient, WorkerLeg
    from telephony.media_client import MediaChannel, MediaClient

EVENTS_BOUND: Final = 64


class FakeLeg:
    """Satisfies `telephony.api.Leg`."""

    def __init__(self, telephony: "FakeTelephony", leg_id: str) -> None:
        self.leg_id = leg_id
        self.cut_off = False
        """Its daemon was killed: nothing that is asked of it has an effect any more."""
        self.hang_up_reasons: list[str] = []
        self.redirects: list[Reinvite] = []
        """Every re-INVITE asked for, in order; one that the far end refused is among them."""
        self.refers: list[Refer] = []
        self._telephony = telephony
        self._ended = trio.Event()
        self._turn = trio.Lock()
        self.sender, self.events = trio.open_memory_channel[LegReport](EVENTS_BOUND)

    async def hang_up(self, reason: str = "") -> None:
        self.hang_up_reasons.append(reason)
        if not self.cut_off:
            self._telephony.step(self.leg_id, HangUp(trio.current_time(), reason))
        await trio.lowlevel.checkpoint()

    async def protect(self, protected: bool = True) -> None:
        if not self.cut_off:
            self._telephony.protect(self.leg_id, protected)
        await trio.lowlevel.checkpoint()

    @property
    def dialog(self) -> DialogId | None:
        machine = self._telephony.machines.get(self.leg_id)
        return machine.dialog if machine is not None else None

    async def redirect(
        self,
        host: str,
        port: int,
        *,
        payload_type: int = -1,
        event_payload_type: int = 101,
        direction: Direction = Direction.SENDRECV,
    ) -> Reinvited:
        seq = len(self.redirects) + 1
        command = Reinvite(self.leg_id, seq, host, port, payload_type, event_payload_type, direction)
        self.redirects.append(command)
        script = self._telephony.script_of_leg(self.leg_id)
        with trio.CancelScope() as waiting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_ended, waiting)
                async with self._turn:  # a dialog has one INVITE transaction at a time
                    await trio.sleep(script.reinvite_s)
                nursery.cancel_scope.cancel()
        answered = self._telephony.answered(self.leg_id)
        if waiting.cancelled_caught or self.cut_off or answered is None or answered.media is None:
            return Reinvited(self.leg_id, seq, 0, trio.current_time())
        status = script.reinvite_statuses[min(seq, len(script.reinvite_statuses)) - 1]
        now_s = trio.current_time()
        if status in (408, 481):  # RFC 3261 12.2.1.2: the dialog is gone
            self._telephony.step(self.leg_id, Released(now_s, status, "the far end no longer knows the dialog"))
        if not 200 <= status < 300:
            return Reinvited(self.leg_id, seq, status, now_s)
        media = answered.media
        kinds = media.payload_type, media.event_payload_type
        return Reinvited(self.leg_id, seq, status, now_s, media.host, media.port, *kinds)

    async def _until_ended(self, waiting: trio.CancelScope) -> None:
        await self._ended.wait()
        waiting.cancel()

    async def refer(
        self,
        target: str,
        *,
        replaces: DialogId | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        target_headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.refers.append(Refer(self.leg_id, target, replaces, headers, target_headers))
        if not self.cut_off:
            self._telephony.transfer(self.leg_id)
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        machine = self._telephony.machines.get(self.leg_id)
        if machine is not None and not machine.protected:
            await self.hang_up("closed")
        self.events.close()

    def far_end_hangs_up(self, q850_cause: int | None = 16) -> None:
        """Test hook: BYE from the far end, now."""
        self._telephony.step(self.leg_id, RemoteBye(trio.current_time(), q850_cause))

    def far_end_sends_info(self, content_type: str, body: str) -> None:
        """Test hook: an INFO request of the far end, now."""
        self.report(LegInfo(self.leg_id, content_type, body, trio.current_time()))

    def far_end_moves(self, media: MediaAddress) -> None:
        """Test hook: the far end's own re-INVITE, now."""
        self._telephony.step(self.leg_id, MediaMoved(trio.current_time(), media))

    def cut(self) -> None:
        """Its daemon is dead."""
        self.cut_off = True
        self.sender.close()
        self._ended.set()

    def report(self, event: LegReport) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self.sender.send_nowait(event)
        if isinstance(event, (LegEnded, LegLost)):
            self.sender.close()
            self._ended.set()


class FakeTelephony:
    """
    Satisfies `telephony.api.Telephony`. ``placed`` lists every command whose INVITE "left".

    ``trunks`` says how OPTIONS to a URI is answered: status and round trip in seconds; silence is status 0, and URIs
    that are not there answer 200 in 10 ms. ``registrars`` says how a registrar (URI) answers, 200 unless told.
    """

    def __init__(self, nursery: trio.Nursery, script: Script, capacity: int) -> None:
        self.capacity = capacity
        self.placed: list[PlaceCall] = []
        self.machines: dict[str, LegMachine] = {}
        self.legs: dict[str, FakeLeg] = {}
        self.unclaimed: dict[str, LegSnapshot] = {}
        self.trunks: dict[str, tuple[int, float]] = {}
        self.registrars: dict[str, int] = {}
        self.probed: list[str] = []
        self.wanted_registrations: dict[str, Register] = {}
        self.drained = 0
        self._scripts: dict[str, CallScript] = {}
        self._nursery = nursery
        self._script = script

    @property
    def in_use(self) -> int:
        return len(self.machines)

    def script_of(self, command: PlaceCall) -> CallScript:
        if isinstance(self._script, Mapping):
            return self._script.get(command.uri, CallScript())
        return self._script(command)

    async def place_call(self, command: PlaceCall) -> FakeLeg:
        await trio.lowlevel.checkpoint()
        script = self.script_of(command)
        if script.refuse:
            raise CallRefused(script.refuse)
        if any(command.leg_id == placed.leg_id for placed in self.placed):
            raise CallRefused(f"there is a leg {command.leg_id!r} already")
        if self.in_use >= self.capacity:
            raise NoCapacity(f"{self.in_use} of {self.capacity} legs in use")
        self.placed.append(command)
        self._scripts[command.leg_id] = script
        now_s = trio.current_time()
        self.machines[command.leg_id] = LegMachine(command.leg_id, now_s, now_s + command.no_answer_s)
        leg = self.legs[command.leg_id] = FakeLeg(self, command.leg_id)
        self._nursery.start_soon(self._play, command, script)
        return leg

    async def _play(self, command: PlaceCall, script: CallScript) -> None:
        """The far end's part, and the worker's no-answer limit."""
        leg_id, start_s = command.leg_id, trio.current_time()
        media = MediaAddress("127.0.0.1", 6000)
        with trio.move_on_at(start_s + script.worker_dies_s):
            if script.ringing_status and script.responds:
                early = media if script.early_media else None
                self.step(leg_id, Provisional(start_s, script.ringing_status, early))
            if script.ring_s > command.no_answer_s:
                await trio.sleep(command.no_answer_s)
                self.step(leg_id, NoAnswerLimit(trio.current_time()))
                return
            await trio.sleep(script.ring_s)
            now_s = trio.current_time()
            headers = tuple(one for one in script.headers if one[0].lower() in _lower(command.wanted_headers))
            if not script.responds:
                self.step(leg_id, Released(now_s, 408, "Request Timeout"))
                return
            if script.status != 200:
                cause, text, to = script.q850_cause, script.reason_text, script.redirect_to
                self.step(leg_id, Failed(now_s, script.status, cause, text, to, script.retry_after_s, headers))
                return
            dialog = DialogId(leg_id, f"ours-{leg_id}", f"theirs-{leg_id}", command.uri)
            self.step(leg_id, Answered(now_s, media, headers, dialog))
            await trio.sleep(script.talk_s)
            self.step(leg_id, RemoteBye(trio.current_time(), script.q850_cause, script.reason_text, headers))
            return
        self.lose(leg_id, "the worker died")

    def transfer(self, leg_id: str) -> None:
        """The far end has a REFER."""
        self._nursery.start_soon(self._play_transfer, leg_id, self.script_of_leg(leg_id))

    async def _play_transfer(self, leg_id: str, script: CallScript) -> None:
        for index, (status, after_s) in enumerate(script.refer):
            await trio.sleep(after_s)
            final = index == len(script.refer) - 1
            if self.answered(leg_id) is not None and leg_id in self.legs:
                self.legs[leg_id].report(Referred(leg_id, status, final, trio.current_time()))

    def answered(self, leg_id: str) -> LegMachine | None:
        """The leg's machine while it is in a conversation."""
        machine = self.machines.get(leg_id)
        return machine if machine is not None and machine.phase is Phase.ANSWERED else None

    def script_of_leg(self, leg_id: str) -> CallScript:
        return self._scripts.get(leg_id, CallScript())

    def step(self, leg_id: str, event: LegEvent) -> None:
        """One event of one leg; nothing for a leg that is gone."""
        machine = self.machines.get(leg_id)
        if machine is None:
            return
        machine, effects = machine.on(event)
        self.machines[leg_id] = machine
        for effect in effects:
            if isinstance(effect, SendHangUp):
                script = self.script_of_leg(leg_id)
                if machine.phase is Phase.CANCELLING and script.cancel_status != SipStatus.REQUEST_TERMINATED:
                    self.step(leg_id, Failed(event.at_s, script.cancel_status))
                else:
                    self.step(leg_id, Released(event.at_s))
            else:
                self._report(leg_id, effect)

    def _report(self, leg_id: str, effect: LegProgress | LegAnswered | LegEnded) -> None:
        machine = self.machines[leg_id]
        if isinstance(effect, LegEnded):
            del self.machines[leg_id]
        if leg_id in self.unclaimed:
            self.unclaimed[leg_id] = machine.snapshot()
        elif leg_id in self.legs:
            self.legs[leg_id].report(effect)

    def protect(self, leg_id: str, protected: bool) -> None:
        if leg_id in self.machines:
            self.machines[leg_id] = replace(self.machines[leg_id], protected=protected)

    def lose(self, leg_id: str, why: str) -> None:
        """Test hook: the leg's worker dies."""
        machine = self.machines.pop(leg_id, None)
        self.unclaimed.pop(leg_id, None)
        if machine is not None and leg_id in self.legs:
            answered = machine.answered_at_s is not None
            self.legs[leg_id].report(LegLost(leg_id, trio.current_time(), why, answered))

    def restart_daemon(self) -> None:
        """Test hook: the daemon was killed, a new one connects. Held legs are cut off and wait to be adopted."""
        for leg in self.legs.values():
            leg.cut()
        self.legs.clear()
        self.unclaimed = {leg_id: machine.snapshot() for leg_id, machine in self.machines.items()}

    async def probe(self, uri: str, *, timeout_s: float = 2.0, proxy: str = "") -> Probed:
        self.probed.append(uri)
        probe_id = f"probe-{len(self.probed)}"
        status, rtt_s = self.trunks.get(uri, (200, 0.01))
        silent = status == 0 or rtt_s > timeout_s
        await trio.sleep(timeout_s if silent else rtt_s)
        return Probed(probe_id, 0, 0.0, "no answer in time") if silent else Probed(probe_id, status, rtt_s)

    def keep_registered(self, wanted: Sequence[Register]) -> None:
        self.wanted_registrations = {one.registration_id: one for one in wanted}

    def registered(self, registration_id: str) -> Registered | None:
        wanted = self.wanted_registrations.get(registration_id)
        if wanted is None:
            return None
        status = self.registrars.get(wanted.registrar, 200)
        expires_s = wanted.expires_s if 200 <= status < 300 else 0
        return Registered(registration_id, status, expires_s, trio.current_time())

    async def drain(self) -> int:
        """One worker, replaced at once: its calls stay, as they do at a real one that drains."""
        self.drained += 1
        await trio.lowlevel.checkpoint()
        return 1

    def live_legs(self) -> list[LegSnapshot]:
        return list(self.unclaimed.values())

    def adopt(self, leg_id: str) -> FakeLeg | None:
        snapshot = self.unclaimed.pop(leg_id, None)
        if snapshot is None:
            return None
        leg = FakeLeg(self, leg_id)
        if snapshot.answered_at_s is not None:
            host, port = snapshot.remote_rtp_host, snapshot.remote_rtp_port
            kinds = snapshot.payload_type, snapshot.event_payload_type
            at_s, headers, dialog = snapshot.answered_at_s, snapshot.headers, snapshot.dialog
            leg.report(LegAnswered(leg_id, at_s, host, port, *kinds, headers=headers, dialog=dialog))
        if snapshot.state is LegState.ENDED:
            leg.report(
                LegEnded(
                    leg_id=leg_id,
                    at_s=snapshot.ended_at_s if snapshot.ended_at_s is not None else trio.current_time(),
                    sip_status=snapshot.sip_status,
                    ended_by=snapshot.ended_by,
                    was_answered=snapshot.answered_at_s is not None,
                    no_answer=snapshot.no_answer,
                    q850_cause=snapshot.q850_cause,
                    redirect_to=snapshot.redirect_to,
                    retry_after_s=snapshot.retry_after_s,
                    responded=snapshot.responded,
                    headers=snapshot.ended_headers,
                )
            )
        else:
            self.legs[leg_id] = leg
        return leg

    async def hang_up_unclaimed(self) -> int:
        alive = [leg.leg_id for leg in self.unclaimed.values() if leg.state is not LegState.ENDED]
        for leg_id in alive:
            self.step(leg_id, HangUp(trio.current_time(), "unclaimed"))
        self.unclaimed.clear()
        await trio.lowlevel.checkpoint()
        return len(alive)


def _lower(names: tuple[str, ...]) -> set[str]:
    return {name.lower() for name in names}


@asynccontextmanager
async def open_fake_plane(
    script: Script | None = None, legs: int = 1000, channels: int = 1000
) -> AsyncIterator[tuple[FakeTelephony, FakeMedia]]:
    """Both twins over one scripted world; everything stops when the block is left."""
    async with trio.open_nursery() as nursery:
        telephony = FakeTelephony(nursery, script if script is not None else {}, legs)
        try:
            yield telephony, FakeMedia(nursery, telephony, channels)
        finally:
            nursery.cancel_scope.cancel()


if TYPE_CHECKING:

    def _twins(telephony: "TelephonyClient | FakeTelephony", leg: "WorkerLeg | FakeLeg") -> "tuple[Telephony, Leg]":
        """Does the type checker accept both for the protocol?"""
        return telephony, leg

    def _media_twins(
        media: "MediaClient | FakeMedia", channel: "MediaChannel | FakeChannel"
    ) -> "tuple[Media, Channel]":
        return media, channel
