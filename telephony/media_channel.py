"""One channel at a media server, as the daemon holds it: what is wanted of it, and what was heard from it.

`telephony.media_client` owns the connection; this is what it brings the server to when that comes back.
"""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from telephony.api import Channel, ChannelLost, ChannelReport
from telephony.contract import (
    AnalysisSettings,
    Bridge,
    ChannelClosed,
    ChannelSnapshot,
    CloseChannel,
    Comfort,
    DetectDigits,
    DigitsSent,
    Join,
    Layout,
    Mute,
    Play,
    PromptFinished,
    RecordingFinished,
    Role,
    SendDigits,
    SetRemote,
    StandBy,
    StartAnalysis,
    StartRecording,
    StopAnalysis,
    StopPlaying,
    StopRecording,
    Unbridge,
    Verdict,
    VerdictKind,
)
from telephony.contract_audio import continued_path

if TYPE_CHECKING:
    from telephony.media_client import MediaClient

EVENTS_BOUND: Final = 64
RINGBACK: Final = "ringback"
"""The one built-in prompt that has no end; the server's library says the same."""
INFORMATION: Final = frozenset(
    {
        VerdictKind.RINGBACK,
        VerdictKind.CRBT,
        VerdictKind.ANNOUNCEMENT,
        VerdictKind.BEEP,
        VerdictKind.NO_RINGBACK,
    }
)
"""Verdicts that do not end the analysis."""


@dataclass(slots=True)
class Wanted:
    """What a channel should be doing; what a new media server is told."""

    remote: SetRemote | None = None
    analysis: StartAnalysis | None = None
    bridged_to: str = ""
    prompt: Play | None = None
    joined: Join | None = None
    digits: DetectDigits | None = None
    comfort: Comfort | None = None
    muted: bool = False
    standing_by: bool = False
    recordings: dict[str, StartRecording] = field(default_factory=dict)
    """By path."""


class MediaChannel:
    """A channel at the media server; satisfies `telephony.api.Channel`. ``events`` ends with the channel."""

    def __init__(self, client: "MediaClient", channel_id: str, local_port: int) -> None:
        self.channel_id = channel_id
        self.host = ""
        self.port = local_port
        self._client = client
        self._sender, self.events = trio.open_memory_channel[ChannelReport](EVENTS_BOUND)
        self.wanted = Wanted()
        self.opened = trio.Event()
        """Set when the server has answered OpenChannel; then ``refusal`` says why not, or "" for open."""
        self.refusal = ""
        self.reopening = False
        """A new media server was asked to open the channel again and has not answered."""
        self.closing = False
        self.ended = False
        self._news_since_s = {False: math.inf, True: math.inf}
        """Since when a verdict, and (True) a recording tone, would be news; infinity: nobody listens."""
        self._prompt_asked = False
        """A server was there when the wanted prompt was asked for."""

    @property
    def reachable(self) -> bool:
        return self._client.responds

    @property
    def far_end(self) -> SetRemote | None:
        return self.wanted.remote

    async def set_remote(self, host: str, port: int, payload_type: int = 0, event_payload_type: int = 101) -> None:
        self.wanted.remote = SetRemote(self.channel_id, host, port, payload_type, event_payload_type)
        await self._client.send(self.wanted.remote)

    async def start_analysis(self, connected: bool, settings: AnalysisSettings | None = None) -> None:
        self.wanted.analysis = StartAnalysis(self.channel_id, connected, settings or AnalysisSettings())
        self.expect_news(time.monotonic())
        await self._client.send(self.wanted.analysis)

    async def stop_analysis(self) -> None:
        self.wanted.analysis = None
        self.expect_news(math.inf)
        await self._client.send(StopAnalysis(self.channel_id))

    def expect_news(self, since_s: float) -> None:
        """Verdicts are awaited that are made at ``since_s`` (monotonic) or later."""
        self._news_since_s = {False: since_s, True: since_s}

    async def bridge(self, other: Channel) -> None:
        self._client.note_bridge(self, other.channel_id)
        await self._client.send(Bridge(self.channel_id, other.channel_id))

    async def join(self, other: Channel, role: Role = Role.MEMBER) -> None:
        self._client.note_unbridge(self)
        self.wanted.joined = Join(self.channel_id, other.channel_id, role)
        if role is Role.MEMBER:
            self.wanted.prompt = None
        await self._client.send(self.wanted.joined)

    async def unbridge(self) -> None:
        self._client.note_unbridge(self)
        await self._client.send(Unbridge(self.channel_id))

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
        self.wanted.prompt = Play(self.channel_id, prompt, language, then, loop, mix, everybody)
        self._prompt_asked = self._client.connected
        await self._client.send(self.wanted.prompt)

    async def stop_playing(self) -> None:
        self.wanted.prompt = None
        await self._client.send(StopPlaying(self.channel_id))

    async def comfort(self, level_dbfs: float) -> None:
        self.wanted.comfort = Comfort(self.channel_id, level_dbfs)
        await self._client.send(self.wanted.comfort)

    async def mute(self, muted: bool = True) -> None:
        self.wanted.muted = muted
        await self._client.send(Mute(self.channel_id, muted))

    async def stand_by(self, standing_by: bool = True) -> None:
        self.wanted.standing_by = standing_by
        await self._client.send(StandBy(self.channel_id, standing_by))

    async def detect_digits(self, enabled: bool = True, *, inband: bool = False) -> None:
        command = DetectDigits(self.channel_id, enabled, inband)
        self.wanted.digits = command if enabled else None
        await self._client.send(command)

    async def send_digits(self, digits: str, *, tone_ms: int = 100, gap_ms: int = 60, inband: bool = False) -> None:
        """Without a server the keys are not sent, and `DigitsSent` says so at once: hours later they would be wrong."""
        command = SendDigits(self.channel_id, digits, tone_ms, gap_ms, inband)
        if not self._client.connected:
            self.report(DigitsSent(self.channel_id, digits, "the media server is away"))
        await self._client.send(command)

    async def start_recording(
        self, path: str, layout: Layout = Layout.STEREO, *, consent_tone_s: float = 0.0, max_s: float = 14400.0
    ) -> None:
        command = StartRecording(self.channel_id, path, layout, consent_tone_s, max_s)
        self.wanted.recordings.setdefault(path, command)
        await self._client.send(command)

    async def stop_recording(self, path: str = "") -> None:
        for one in [path] if path else list(self.wanted.recordings):
            self.wanted.recordings.pop(one, None)
        await self._client.send(StopRecording(self.channel_id, path))

    async def close(self) -> None:
        """Release the port; `ChannelClosed` follows, or `ChannelLost` when the server is away."""
        if self.ended or self.closing:
            await trio.lowlevel.checkpoint()
            return
        self.closing = True
        self._client.note_unbridge(self)
        await self._client.send(CloseChannel(self.channel_id))

    def report(self, event: ChannelReport) -> None:
        if self.ended:
            return
        if isinstance(event, Verdict):
            if event.kind not in INFORMATION or event.kind is VerdictKind.BEEP:
                self._news_since_s[event.kind is VerdictKind.BEEP] = math.nextafter(event.at_s, math.inf)
            if event.kind not in INFORMATION:
                self.wanted.analysis = None
        elif isinstance(event, PromptFinished):
            if self.wanted.prompt is not None and event.prompt == self.wanted.prompt.prompt:
                self.wanted.prompt = None
        elif isinstance(event, RecordingFinished):
            ended = self.wanted.recordings.pop(event.path, None)
            if ended is not None and event.continued_in:
                self.wanted.recordings[event.continued_in] = msgspec.structs.replace(ended, path=event.continued_in)
        last = isinstance(event, (ChannelClosed, ChannelLost))
        # One place stays free for the last event; what a holder who never reads misses is not missed.
        if last or self._sender.statistics().current_buffer_used < EVENTS_BOUND - 1:
            with suppress(trio.BrokenResourceError, trio.WouldBlock):
                self._sender.send_nowait(event)
        if last:
            self.ended = True
            self._sender.close()

    def missed(self, now: ChannelSnapshot) -> list[Verdict]:
        """What was heard while the connection was down: a verdict, a revised one, a recording tone."""
        return [
            verdict
            for verdict in verdicts_of(now)
            if verdict.at_s >= self._news_since_s[verdict.kind is VerdictKind.BEEP]
        ]

    def restore(self, now: ChannelSnapshot | None) -> list[msgspec.Struct]:
        """Commands that bring the server from ``now`` (None: channel just opened anew) to what is wanted."""
        if self.closing:
            return [CloseChannel(self.channel_id)]
        commands: list[msgspec.Struct] = []
        remote, analysis = self.wanted.remote, self.wanted.analysis
        # First, or the far end hears our noise beside somebody who sends to it directly.
        if (now.standing_by if now is not None else False) != self.wanted.standing_by:
            commands.append(StandBy(self.channel_id, self.wanted.standing_by))
        if remote is not None and (now is None or remote != remote_of(now)):
            commands.append(remote)
        if analysis is not None and (now is None or not now.analysing):
            commands.append(analysis)
        commands += self._restore_prompt(now)
        if self.wanted.comfort is not None and (now is None or now.comfort_dbfs != self.wanted.comfort.level_dbfs):
            commands.append(self.wanted.comfort)
        if (now.muted if now is not None else False) != self.wanted.muted:
            commands.append(Mute(self.channel_id, self.wanted.muted))
        if (now.digits if now is not None else None) != self.wanted.digits:
            commands.append(self.wanted.digits or DetectDigits(self.channel_id, enabled=False))
        return commands + self._restore_recordings(now)

    def _restore_prompt(self, now: ChannelSnapshot | None) -> list[msgspec.Struct]:
        """Who plays a prompt waits for its end, and must be told of one that nobody heard of."""
        prompt, asked = self.wanted.prompt, self._prompt_asked
        if prompt is None or (now is not None and now.prompt == prompt.prompt):
            return []
        self._prompt_asked = True
        if now is None or not asked:
            return [prompt]
        if not prompt.loop and prompt.prompt != RINGBACK:
            self.report(PromptFinished(self.channel_id, prompt.prompt))
        return []

    def _restore_recordings(self, now: ChannelSnapshot | None) -> list[msgspec.Struct]:
        """The server's successor closes what was being recorded; what is said from now on goes to another file."""
        running = {one.path for one in now.recordings} if now is not None else set()
        commands: list[msgspec.Struct] = [
            StopRecording(self.channel_id, p) for p in running - set(self.wanted.recordings)
        ]
        for path in list(self.wanted.recordings):
            if path in running:
                continue
            if now is None:
                path, ended = continued_path(path), path
                why = "the media server was restarted"
                self.report(RecordingFinished(self.channel_id, ended, error=why, continued_in=path))
            # Known to the server, but no recording any more: it never began.
            commands.append(self.wanted.recordings[path])
        return commands


def remote_of(found: ChannelSnapshot) -> SetRemote:
    """
    Where the server sends a channel's packets now, and as what.

    That may be another port than SDP named, learned from what came from there. To be told again what SDP said changes
    nothing at the server.
    """
    return SetRemote(
        found.channel_id, found.remote_host, found.remote_port, found.payload_type, found.event_payload_type
    )


def peer_wanted(wanted: Wanted) -> str:
    """Some peer that a channel shall talk with; "" for none. Supervisors have no peers."""
    if wanted.joined is not None and wanted.joined.role is Role.MEMBER:
        return wanted.joined.other_channel_id
    return wanted.bridged_to


def peer_found(found: ChannelSnapshot) -> str:
    """Some peer that a channel talks with at the server."""
    return found.bridged_to or (found.joined_to if found.role is Role.MEMBER else "")


def groups(peer_of: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """From one peer of each channel ("" for none) the whole conversation of each that has company."""
    found: dict[str, frozenset[str]] = {}
    for channel_id, peer in peer_of.items():
        if peer and peer in peer_of:
            together = frozenset({channel_id, peer}) | found.get(channel_id, frozenset()) | found.get(peer, frozenset())
            for member in together:
                found[member] = together
    return found


def verdicts_of(found: ChannelSnapshot) -> list[Verdict]:
    """The latest verdict and the latest recording tone that a server tells of, in the order in which they came."""
    why = "reached while no daemon listened"
    told = []
    if found.verdict is not None:
        told.append(Verdict(found.channel_id, found.verdict, why, found.verdict_at_s, True))
    if found.beep_at_s:
        told.append(Verdict(found.channel_id, VerdictKind.BEEP, why, found.beep_at_s, True))
    return sorted(told, key=lambda verdict: verdict.at_s)
