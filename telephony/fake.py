"""In-memory twins of `TelephonyClient` and `MediaClient` for session tests, under any clock (trio's MockClock too).

`open_fake_plane` opens both over one scripted world: a `CallScript` per destination says how long it rings, how it
ends, what call progress analysis hears. Legs run on the very machine that the workers run (`telephony.leg`), so what
may follow what is the same; only SIP, RTP and the wait for them are left out.

    async with open_fake_plane({"sip:+15550100@carrier": CallScript(ring_s=8.0)}) as (telephony, media): ...
"""

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import trio

from telephony.api import CallRefused, Channel, ChannelLost, ChannelReport, LegLost, LegReport, MediaLost, NoCapacity
from telephony.contract import (
    AnalysisSettings,
    ChannelClosed,
    ChannelSnapshot,
    DetectDigits,
    DigitPressed,
    DigitsSent,
    Join,
    Layout,
    LegAnswered,
    LegEnded,
    LegProgress,
    LegSnapshot,
    LegState,
    MediaStats,
    PlaceCall,
    PromptFinished,
    RecordingFinished,
    RecordingSnapshot,
    Role,
    Verdict,
    VerdictKind,
)
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

FIRST_PORT: Final = 40000
ENDLESS_PROMPT: Final = "ringback"
"""The one built-in prompt that the media server repeats until it is stopped."""
EVENTS_BOUND: Final = 64
EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@dataclass(frozen=True, slots=True)
class CallScript:
    """What one destination does. Durations in seconds of the running clock.

    Attributes:
        ring_s: from the INVITE to the final response; infinity rings for ever.
        status: final response; 200 answers.
        ringing_status: provisional response sent at once; 0 for none. ``early_media``: with SDP.
        talk_s: the far end hangs up so long after answering; infinity never does.
        verdict: what analysis after the answer hears, ``verdict_s`` after it was started; None: nothing.
        early_verdict: what analysis of early media hears, ``verdict_s`` after it was started.
        prompt_s: how long a prompt plays to this destination.
        refuse: place_call raises CallRefused with this text.
        worker_dies_s: the worker dies so long after the INVITE (LegLost).
    """

    ring_s: float = 2.0
    status: int = 200
    ringing_status: int = 180
    early_media: bool = False
    talk_s: float = math.inf
    q850_cause: int | None = None
    reason_text: str = ""
    redirect_to: str = ""
    verdict: VerdictKind | None = VerdictKind.HUMAN
    verdict_s: float = 1.0
    early_verdict: VerdictKind | None = None
    prompt_s: float = 3.0
    refuse: str = ""
    worker_dies_s: float = math.inf


Script = Mapping[str, CallScript] | Callable[[PlaceCall], CallScript]
"""By request URI (others get `CallScript()`), or a function of the command."""


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


class FakeChannel:
    """Satisfies `telephony.api.Channel`. ``commands`` lists what was asked of it, in order, by method name."""

    def __init__(self, media: "FakeMedia", channel_id: str, port: int) -> None:
        self.channel_id = channel_id
        self.host = "127.0.0.1"
        self.port = port
        self.beside = ""
        """The channel that it was opened to be bridged to; "" for none."""
        self.commands: list[str] = []
        self.remote: tuple[str, int, int] | None = None
        self.bridged_to = ""
        self.joined: Join | None = None
        self.prompts: list[str] = []
        self.playing = ""
        self.comfort_dbfs = 0.0
        self.digits: DetectDigits | None = None
        self.digits_sent: list[str] = []
        self.recordings: dict[str, RecordingSnapshot] = {}
        """Those that go on, by path."""
        self.cut_off = False
        """Its daemon was killed: nothing that is asked of it has an effect any more."""
        self.analysing = False
        self.verdict: Verdict | None = None
        self.sender, self.events = trio.open_memory_channel[ChannelReport](EVENTS_BOUND)
        self._media = media
        self._analysis = trio.CancelScope()
        self._playing = trio.CancelScope()

    async def set_remote(self, host: str, port: int, payload_type: int = 0, event_payload_type: int = 101) -> None:
        if await self._note("set_remote"):
            self.remote = (host, port, payload_type)

    async def start_analysis(self, connected: bool, settings: AnalysisSettings | None = None) -> None:
        if not await self._note("start_analysis"):
            return
        self._analysis.cancel()
        self._analysis = trio.CancelScope()
        self.analysing, self.verdict = True, None
        script = self._media.script_at(self.port)
        kind = script.verdict if connected else script.early_verdict
        if kind is not None:
            self._media.nursery.start_soon(self._listen, self._analysis, kind, script.verdict_s, connected)

    async def _listen(self, scope: trio.CancelScope, kind: VerdictKind, after_s: float, connected: bool) -> None:
        with scope:
            await trio.sleep(after_s)
            now_s = trio.current_time()
            speech_end_s = now_s if kind in (VerdictKind.HUMAN, VerdictKind.MACHINE) else 0.0
            # A daemon that was killed meanwhile has left the channel to its successor.
            channel = self._media.at_server(self.channel_id)
            if channel is not None:
                channel.analysing = False
                channel.verdict = Verdict(self.channel_id, kind, "scripted", now_s, connected, speech_end_s)
                channel.report(channel.verdict)

    async def stop_analysis(self) -> None:
        if await self._note("stop_analysis"):
            self.analysing = False
            self._analysis.cancel()

    async def bridge(self, other: Channel) -> None:
        if await self._note("bridge"):
            self._media.bridge(self, other.channel_id)

    async def join(self, other: Channel, role: Role = Role.MEMBER) -> None:
        if await self._note("join"):
            self._media.unbridge(self)
            self.joined = Join(self.channel_id, other.channel_id, role)
            if role is Role.MEMBER:
                self.silence()

    async def unbridge(self) -> None:
        if await self._note("unbridge"):
            self._media.unbridge(self)

    async def play(
        self,
        prompt: str,
        language: str = "",
        *,
        then: tuple[str, ...] = (),
        loop: bool = False,
        mix: bool = False,
        everybody: bool = False,
    ) -> None:
        """A sequence lasts as long as all its prompts; ``prompts`` lists them one by one."""
        if not await self._note("play"):
            return
        self.prompts += (prompt, *then)
        for each in (prompt, *then):
            if each in self._media.missing_prompts:
                self.report(PromptFinished(self.channel_id, prompt, f"no prompt {each!r}"))
                return
        self._stop_prompt()
        self.playing, self._playing = prompt, trio.CancelScope()
        if loop or prompt == ENDLESS_PROMPT:
            return
        length_s = self._media.script_at(self.port).prompt_s * (1 + len(then))
        self._media.nursery.start_soon(self._play, self._playing, prompt, length_s)

    async def _play(self, scope: trio.CancelScope, prompt: str, length_s: float) -> None:
        with scope:
            await trio.sleep(length_s)
            # A daemon that was killed meanwhile has left the channel to its successor.
            channel = self._media.at_server(self.channel_id)
            if channel is not None:
                channel.playing = ""
                channel.report(PromptFinished(self.channel_id, prompt))

    def _stop_prompt(self) -> None:
        """As the server does it: a prompt that makes place for another, or is stopped, is reported as finished."""
        self._playing.cancel()
        if self.playing:
            stopped, self.playing = self.playing, ""
            self.report(PromptFinished(self.channel_id, stopped))

    async def stop_playing(self) -> None:
        if await self._note("stop_playing"):
            self._stop_prompt()

    async def comfort(self, level_dbfs: float) -> None:
        if await self._note("comfort"):
            self.comfort_dbfs = level_dbfs

    async def detect_digits(self, enabled: bool = True, *, inband: bool = False) -> None:
        if await self._note("detect_digits"):
            self.digits = DetectDigits(self.channel_id, enabled, inband) if enabled else None

    def press(self, digit: str, duration_ms: int = 100) -> None:
        """Test hook: the far end presses a key; reported only if that was asked for."""
        if self.digits is not None:
            self.report(DigitPressed(self.channel_id, digit, duration_ms, trio.current_time()))

    async def send_digits(self, digits: str, *, tone_ms: int = 100, gap_ms: int = 60, inband: bool = False) -> None:
        if await self._note("send_digits"):
            self.digits_sent.append(digits)
            length_s = len(digits) * (tone_ms + gap_ms) / 1000
            self._media.nursery.start_soon(self._after, length_s, DigitsSent(self.channel_id, digits))

    async def _after(self, length_s: float, event: DigitsSent) -> None:
        await trio.sleep(length_s)
        channel = self._media.at_server(self.channel_id)
        if channel is not None:
            channel.report(event)

    async def start_recording(
        self, path: str, layout: Layout = Layout.STEREO, *, consent_tone_s: float = 0.0, max_s: float = 14400.0
    ) -> None:
        """No file is written; ``FakeMedia.recording_error`` makes it fail."""
        if not await self._note("start_recording") or path in self.recordings:
            return
        now_s = trio.current_time()
        if self._media.recording_error:
            self.report(RecordingFinished(self.channel_id, path, error=self._media.recording_error))
            return
        self.recordings[path] = RecordingSnapshot(path, layout, consent_tone_s, max_s, now_s)
        self._media.nursery.start_soon(self._record, path, now_s, max_s)

    async def _record(self, path: str, began_at_s: float, max_s: float) -> None:
        await trio.sleep(max_s)
        channel = self._media.at_server(self.channel_id)
        if channel is not None and path in channel.recordings and channel.recordings[path].began_at_s == began_at_s:
            channel.finish_recordings(path)

    async def stop_recording(self, path: str = "") -> None:
        if await self._note("stop_recording"):
            self.finish_recordings(path)

    def finish_recordings(self, path: str = "", error: str = "") -> None:
        """One recording or all ends; also a test hook: with an ``error``. The checksum is that of an empty file."""
        for one in [path] if path else list(self.recordings):
            ended = self.recordings.pop(one, None)
            if ended is not None:
                length_s = trio.current_time() - ended.began_at_s
                size = 0 if error else 44 + round(length_s * 32000)
                checksum = "" if error else EMPTY_SHA256
                self.report(
                    RecordingFinished(self.channel_id, one, length_s, checksum, size, 0, ended.began_at_s, error)
                )

    def silence(self) -> None:
        """A bridge stops prompts, and reports nothing."""
        self.playing = ""
        self._playing.cancel()

    async def close(self) -> None:
        if await self._note("close") and self._media.channels.pop(self.channel_id, None) is not None:
            self._stop()
            self.finish_recordings()
            self.report(ChannelClosed(self.channel_id, 0, 0, 0, 0))

    def lose(self, why: str = "the media server died") -> None:
        """Test hook: the server is gone for good."""
        if self._media.channels.pop(self.channel_id, None) is not None:
            self._stop()
            self.report(ChannelLost(self.channel_id, trio.current_time(), why))

    def _stop(self) -> None:
        self._analysis.cancel()
        self._playing.cancel()
        self._media.unbridge(self)

    async def _note(self, command: str) -> bool:
        """Is there still a daemon behind this?"""
        self.commands.append(command)
        await trio.lowlevel.checkpoint()
        return not self.cut_off

    def successor(self) -> "FakeChannel":
        """The same channel of the server, in the hands of the next daemon; this object is cut off."""
        self.cut_off = True
        self.sender.close()
        heir = FakeChannel(self._media, self.channel_id, self.port)
        heir.remote, heir.bridged_to, heir.joined = self.remote, self.bridged_to, self.joined
        heir.comfort_dbfs, heir.digits, heir.recordings = self.comfort_dbfs, self.digits, dict(self.recordings)
        heir.analysing, heir.verdict = self.analysing, self.verdict
        heir._analysis, heir._playing, heir.playing = self._analysis, self._playing, self.playing
        if heir.verdict is not None:
            heir.report(heir.verdict)  # as the real client does for what was reached before
        return heir

    def report(self, event: ChannelReport) -> None:
        """Also a test hook: say anything on this channel's behalf."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self.sender.send_nowait(event)
        if isinstance(event, (ChannelClosed, ChannelLost)):
            self.sender.close()


class FakeMedia:
    """Satisfies `telephony.api.Media`. ``available`` False: `open_channel` and `stats` raise MediaLost."""

    def __init__(self, nursery: trio.Nursery, telephony: FakeTelephony, capacity: int) -> None:
        self.nursery = nursery
        self.capacity = capacity
        self.available = True
        self.missing_prompts: set[str] = set()
        """Names that cannot be played."""
        self.recording_error = ""
        """Why no recording begins; "" lets them."""
        self.channels: dict[str, FakeChannel] = {}
        self.unclaimed: dict[str, FakeChannel] = {}
        self._telephony = telephony
        self._next_port = FIRST_PORT

    @property
    def in_use(self) -> int:
        return len(self.channels) + len(self.unclaimed)

    def script_at(self, port: int) -> CallScript:
        """The script of the call whose audio arrives at this port: the last one placed with it."""
        for command in reversed(self._telephony.placed):
            if command.rtp_port == port:
                return self._telephony.script_of(command)
        return CallScript()

    async def open_channel(self, channel_id: str, local_port: int = 0, beside: str = "") -> FakeChannel:
        """``beside`` is noted on the channel: there is one server, so that every place is beside every other."""
        await trio.lowlevel.checkpoint()
        if not self.available:
            raise MediaLost("no media server")
        if self.in_use >= self.capacity:
            raise NoCapacity("the media server is full")
        if channel_id in self.channels or channel_id in self.unclaimed:
            raise NoCapacity(f"there is a channel {channel_id!r} already")
        if not local_port:
            local_port, self._next_port = self._next_port, self._next_port + 2
        channel = self.channels[channel_id] = FakeChannel(self, channel_id, local_port)
        channel.beside = beside
        return channel

    def bridge(self, channel: FakeChannel, other_id: str) -> None:
        other = self.channels[other_id]
        for each in (channel, other):
            self.unbridge(each)
            each.silence()
        channel.bridged_to, other.bridged_to = other.channel_id, channel.channel_id

    def unbridge(self, channel: FakeChannel) -> None:
        other = self.channels.get(channel.bridged_to)
        if other is not None and other.bridged_to == channel.channel_id:
            other.bridged_to = ""
        channel.bridged_to, channel.joined = "", None

    def restart_daemon(self) -> None:
        """Test hook: the daemon was killed, a new one connects; channels wait to be adopted."""
        self.unclaimed |= {channel_id: channel.successor() for channel_id, channel in self.channels.items()}
        self.channels.clear()

    def at_server(self, channel_id: str) -> FakeChannel | None:
        return self.channels.get(channel_id) or self.unclaimed.get(channel_id)

    def live_channels(self) -> Sequence[ChannelSnapshot]:
        return [
            ChannelSnapshot(
                channel.channel_id,
                channel.port,
                *(channel.remote or ("", 0))[:2],
                channel.bridged_to,
                channel.analysing,
                channel.verdict.kind if channel.verdict is not None else None,
                channel.verdict.at_s if channel.verdict is not None else 0.0,
                joined_to=channel.joined.other_channel_id if channel.joined is not None else "",
                role=channel.joined.role if channel.joined is not None else Role.MEMBER,
                recordings=tuple(channel.recordings.values()),
                digits=channel.digits,
                comfort_dbfs=channel.comfort_dbfs,
            )
            for channel in self.unclaimed.values()
        ]

    def adopt(self, channel_id: str) -> FakeChannel | None:
        channel = self.unclaimed.pop(channel_id, None)
        if channel is None:
            return None
        # A verdict reached while nobody listened waits in its queue already.
        self.channels[channel_id] = channel
        return channel

    async def close_unclaimed(self) -> int:
        count = len(self.unclaimed)
        for channel in self.unclaimed.values():
            channel._stop()
        self.unclaimed.clear()
        await trio.lowlevel.checkpoint()
        return count

    def take_recorded(self) -> list[RecordingFinished]:
        """Nothing: what ends while nobody listens waits in the channel's queue here."""
        return []

    async def stats(self) -> MediaStats:
        await trio.lowlevel.checkpoint()
        if not self.available:
            raise MediaLost("no media server")
        bridged = sum(bool(channel.bridged_to) for channel in self.channels.values())
        return MediaStats(1, len(self.channels), 0, bridged, 0.0, 0.0, 0.0, 0.0, 0.0)


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
