"""In-memory twin of the media client: channels without audio, under any clock. Part of `telephony.fake`."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from telephony.api import Channel, ChannelLost, ChannelReport, MediaLost, NoCapacity
from telephony.contract import (
    AnalysisSettings,
    ChannelClosed,
    ChannelSnapshot,
    DetectDigits,
    DigitPressed,
    DigitsSent,
    Join,
    Layout,
    MediaStats,
    PromptFinished,
    RecordingFinished,
    RecordingSnapshot,
    Role,
    SetRemote,
    Verdict,
    VerdictKind,
)
from telephony.fake_script import CallScript

if TYPE_CHECKING:
    from telephony.fake import FakeTelephony

FIRST_PORT: Final = 40000
ENDLESS_PROMPT: Final = "ringback"
"""The one built-in prompt that the media server repeats until it is stopped."""
EVENTS_BOUND: Final = 64
EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


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
        self.far_end: SetRemote | None = None
        self.bridged_to = ""
        self.joined: Join | None = None
        self.prompts: list[str] = []
        self.playing = ""
        self.comfort_dbfs = 0.0
        self.muted = False
        self.standing_by = False
        self.digits: DetectDigits | None = None
        self.digits_sent: list[str] = []
        self.recordings: dict[str, RecordingSnapshot] = {}
        """Those that go on, by path."""
        self.cut_off = False
        """Its daemon was killed: nothing that is asked of it has an effect any more."""
        self.reachable = True
        """Test hook: False while its server is away."""
        self.analysing = False
        self.analysing_connected = False
        self.settings = AnalysisSettings()
        """Of the latest analysis."""
        self.verdict: Verdict | None = None
        self.beep_at_s = 0.0
        self.sender, self.events = trio.open_memory_channel[ChannelReport](EVENTS_BOUND)
        self._media = media
        self._analysis = trio.CancelScope()
        self._playing = trio.CancelScope()

    async def set_remote(self, host: str, port: int, payload_type: int = 0, event_payload_type: int = 101) -> None:
        if await self._note("set_remote"):
            self.remote = (host, port, payload_type)
            self.far_end = SetRemote(self.channel_id, host, port, payload_type, event_payload_type)

    async def start_analysis(self, connected: bool, settings: AnalysisSettings | None = None) -> None:
        if not await self._note("start_analysis"):
            return
        self._analysis.cancel()
        self._analysis = trio.CancelScope()
        self.analysing, self.analysing_connected, self.verdict = True, connected, None
        self.settings = settings or AnalysisSettings()
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

    def listen_on(self) -> None:
        """A bridge ends the analysis of what is no person; of what is taken for one it may go on (`Bridge`)."""
        self._analysis.cancel()
        person = self.verdict is not None and self.verdict.kind in (VerdictKind.HUMAN, VerdictKind.TIMEGUARD)
        self.analysing = person and self.settings.after_bridge_ms > 0
        if not self.analysing:
            return
        self._analysis = trio.CancelScope()
        self._media.nursery.start_soon(self._hear_on, self._analysis, self._media.script_at(self.port).after_bridge)

    async def _hear_on(self, scope: trio.CancelScope, told: Sequence[tuple[VerdictKind, float]]) -> None:
        began_s = trio.current_time()
        with scope:
            for kind, after_s in told:
                await trio.sleep_until(began_s + after_s)
                channel = self._media.at_server(self.channel_id)
                if channel is not None:
                    channel.hear(kind)

    def hear(self, kind: VerdictKind) -> None:
        """The analysis of the answered call says so now."""
        tone = kind is VerdictKind.BEEP
        heard = Verdict(self.channel_id, kind, "scripted", trio.current_time(), True, revises=not tone)
        if tone:
            self.beep_at_s = heard.at_s
        else:
            self.verdict = heard
        self.report(heard)

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

    async def mute(self, muted: bool = True) -> None:
        if await self._note("mute"):
            self.muted = muted

    async def stand_by(self, standing_by: bool = True) -> None:
        if await self._note("stand_by"):
            self.standing_by = standing_by

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
            now_s = trio.current_time()
            closed = ChannelClosed(self.channel_id, *self._media.packets, 0, 0, mos=self._media.mos, at_s=now_s)
            self._media.closed.append(closed)
            self.report(closed)

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
        heir.far_end = self.far_end
        heir.remote, heir.bridged_to, heir.joined = self.remote, self.bridged_to, self.joined
        heir.muted, heir.standing_by = self.muted, self.standing_by
        heir.comfort_dbfs, heir.digits, heir.recordings = self.comfort_dbfs, self.digits, dict(self.recordings)
        heir.analysing, heir.verdict = self.analysing, self.verdict
        heir.analysing_connected, heir.settings, heir.beep_at_s = (
            self.analysing_connected,
            self.settings,
            self.beep_at_s,
        )
        heir._analysis, heir._playing, heir.playing = self._analysis, self._playing, self.playing
        if heir.verdict is not None:
            heir.report(heir.verdict)  # as the real client does for what was reached before
        if heir.beep_at_s:
            heir.report(Verdict(heir.channel_id, VerdictKind.BEEP, "scripted", heir.beep_at_s, True))
        return heir

    def report(self, event: ChannelReport) -> None:
        """Also a test hook: say anything on this channel's behalf."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self.sender.send_nowait(event)
        if isinstance(event, (ChannelClosed, ChannelLost)):
            self.sender.close()


class FakeMedia:
    """Satisfies `telephony.api.Media`. ``available`` False: `open_channel` and `stats` raise MediaLost."""

    def __init__(self, nursery: trio.Nursery, telephony: "FakeTelephony", capacity: int) -> None:
        self.nursery = nursery
        self.capacity = capacity
        self.available = True
        self.missing_prompts: set[str] = set()
        """Names that cannot be played."""
        self.recording_error = ""
        """Why no recording begins; "" lets them."""
        self.packets = (0, 0)
        """Received and sent by each channel, as its totals say; and ``mos``, how good it sounded."""
        self.mos = 0.0
        self.apart: set[str] = set()
        """Channels of which none of the others is at the same server."""
        self.closed: list[ChannelClosed] = []
        """What `take_closed` will tell."""
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

    def together(self, channel_id: str, other_id: str) -> bool:
        return not {channel_id, other_id} & self.apart

    def bridge(self, channel: FakeChannel, other_id: str) -> None:
        other = self.channels.get(other_id)
        if other is None:  # closed meanwhile, and no command fails
            self.unbridge(channel)
            return
        for each in (channel, other):
            self.unbridge(each)
            each.silence()
            each.listen_on()
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
                prompt=channel.playing,
                muted=channel.muted,
                standing_by=channel.standing_by,
                analysing_connected=channel.analysing and channel.analysing_connected,
                beep_at_s=channel.beep_at_s,
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

    def take_closed(self) -> list[ChannelClosed]:
        taken, self.closed = self.closed, []
        return taken

    async def stats(self) -> MediaStats:
        await trio.lowlevel.checkpoint()
        if not self.available:
            raise MediaLost("no media server")
        bridged = sum(bool(channel.bridged_to) for channel in self.channels.values())
        return MediaStats(1, len(self.channels), 0, bridged, 0.0, 0.0, 0.0, 0.0, 0.0)
