"""In-memory twins of `TelephonyClient` and `MediaClient` for session tests, under any clock (trio's MockClock too).

`open_fake_plane` opens both over one scripted world: a `CallScript` per destination says how long it rings, how it
ends, what call progress analysis hears. Legs run on the very machine that the workers run (`telephony.leg`), so what
may follow what is the same; only SIP, RTP and the wait for them are left out.

    async with open_fake_plane({"sip:+15550100@carrier": CallScript(ring_s=8.0)}) as (telephony, media): ...
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio

from telephony.api import CallRefused, Channel, LegLost, LegReport, NoCapacity
from telephony.contract import (
    LegAnswered,
    LegEnded,
    LegProgress,
    LegSnapshot,
    LegState,
    PlaceCall,
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
    NoAnswerLimit,
    Provisional,
    Released,
    RemoteBye,
    SendHangUp,
)
from telephony.sdp import MediaAddress

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
        self._telephony = telephony
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

    async def aclose(self) -> None:
        machine = self._telephony.machines.get(self.leg_id)
        if machine is not None and not machine.protected:
            await self.hang_up("closed")
        self.events.close()

    def far_end_hangs_up(self, q850_cause: int | None = 16) -> None:
        """Test hook: BYE from the far end, now."""
        self._telephony.step(self.leg_id, RemoteBye(trio.current_time(), q850_cause))

    def report(self, event: LegReport) -> None:
        with suppress(trio.BrokenResourceError):
            self.sender.send_nowait(event)
        if isinstance(event, (LegEnded, LegLost)):
            self.sender.close()


class FakeTelephony:
    """Satisfies `telephony.api.Telephony`. ``placed`` lists every command whose INVITE "left"."""

    def __init__(self, nursery: trio.Nursery, script: Script, capacity: int) -> None:
        self.capacity = capacity
        self.placed: list[PlaceCall] = []
        self.machines: dict[str, LegMachine] = {}
        self.legs: dict[str, FakeLeg] = {}
        self.unclaimed: dict[str, LegSnapshot] = {}
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
            if script.ringing_status:
                early = media if script.early_media else None
                self.step(leg_id, Provisional(start_s, script.ringing_status, early))
            if script.ring_s > command.no_answer_s:
                await trio.sleep(command.no_answer_s)
                self.step(leg_id, NoAnswerLimit(trio.current_time()))
                return
            await trio.sleep(script.ring_s)
            now_s = trio.current_time()
            if script.status != 200:
                cause, text, to = script.q850_cause, script.reason_text, script.redirect_to
                self.step(leg_id, Failed(now_s, script.status, cause, text, to))
                return
            self.step(leg_id, Answered(now_s, media))
            await trio.sleep(script.talk_s)
            self.step(leg_id, RemoteBye(trio.current_time(), script.q850_cause, script.reason_text))
            return
        self.lose(leg_id, "the worker died")

    def step(self, leg_id: str, event: LegEvent) -> None:
        """One event of one leg; nothing for a leg that is gone."""
        machine = self.machines.get(leg_id)
        if machine is None:
            return
        machine, effects = machine.on(event)
        self.machines[leg_id] = machine
        for effect in effects:
            if isinstance(effect, SendHangUp):
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
            leg.cut_off = True
            leg.sender.close()
        self.legs.clear()
        self.unclaimed = {leg_id: machine.snapshot() for leg_id, machine in self.machines.items()}

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
            leg.report(LegAnswered(leg_id, snapshot.answered_at_s, host, port, *kinds))
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
