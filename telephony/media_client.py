"""The daemon's side of one media server: channels that survive the server.

Each `MediaChannel` remembers what is wanted of it: local port, remote address, analysis, bridge, prompt. When the
connection comes back, the server's snapshot tells whether it is the same server (then only what differs is sent
again, and a verdict that fell into the gap is delivered) or a new one (then every channel is opened on its old port,
so that the far ends, who know nothing of our trouble, are heard again). A server that stays away longer than
`RECOVERY_LIMIT_S` costs its channels: `ChannelLost`.
"""

import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from telephony.api import Channel, ChannelLost, ChannelReport, MediaLost, NoCapacity
from telephony.contract import (
    AnalysisSettings,
    Bridge,
    ChannelClosed,
    ChannelFailed,
    ChannelOpened,
    ChannelSnapshot,
    CloseChannel,
    ContractError,
    GetStats,
    MediaEvent,
    MediaSnapshot,
    MediaStats,
    OpenChannel,
    Play,
    PromptFinished,
    SetRemote,
    StartAnalysis,
    StopAnalysis,
    StopPlaying,
    Unbridge,
    Verdict,
    VerdictKind,
)
from telephony.link import Link, LinkLost, open_link

RECOVERY_LIMIT_S: Final = 15.0
"""People do not stay on a silent line for longer."""
CONNECT_WAIT_S: Final = 5.0
"""How long a request waits for a server that is just restarting."""
FIRST_BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 1.0
EVENTS_BOUND: Final = 64
INFORMATION: Final = frozenset({VerdictKind.RINGBACK, VerdictKind.BEEP})
"""Verdicts that do not end the analysis."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Wanted:
    """What a channel should be doing; what a new media server is told."""

    remote: SetRemote | None = None
    analysis: StartAnalysis | None = None
    bridged_to: str = ""
    prompt: str = ""


class MediaChannel:
    """A channel at the media server; satisfies `telephony.api.Channel`. ``events`` ends with the channel."""

    def __init__(self, client: "MediaClient", channel_id: str, local_port: int) -> None:
        self.channel_id = channel_id
        self.host = ""
        self.port = local_port
        self._client = client
        self._sender, self.events = trio.open_memory_channel[ChannelReport](EVENTS_BOUND)
        self.wanted = _Wanted()
        self.opened = trio.Event()
        """Set when the server has answered OpenChannel; then ``refusal`` says why not, or "" for open."""
        self.refusal = ""
        self.reopening = False
        """A new media server was asked to open the channel again and has not answered."""
        self.closing = False
        self.ended = False
        self._analysis_since_s = 0.0

    async def set_remote(self, host: str, port: int, payload_type: int = 0) -> None:
        self.wanted.remote = SetRemote(self.channel_id, host, port, payload_type)
        await self._client.send(self.wanted.remote)

    async def start_analysis(self, connected: bool, settings: AnalysisSettings | None = None) -> None:
        self.wanted.analysis = StartAnalysis(self.channel_id, connected, settings or AnalysisSettings())
        self._analysis_since_s = time.monotonic()
        await self._client.send(self.wanted.analysis)

    async def stop_analysis(self) -> None:
        self.wanted.analysis = None
        await self._client.send(StopAnalysis(self.channel_id))

    async def bridge(self, other: Channel) -> None:
        self._client.note_bridge(self, other.channel_id)
        await self._client.send(Bridge(self.channel_id, other.channel_id))

    async def unbridge(self) -> None:
        self._client.note_unbridge(self)
        await self._client.send(Unbridge(self.channel_id))

    async def play(self, prompt: str) -> None:
        self.wanted.prompt = prompt
        await self._client.send(Play(self.channel_id, prompt))

    async def stop_playing(self) -> None:
        self.wanted.prompt = ""
        await self._client.send(StopPlaying(self.channel_id))

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
            if event.kind not in INFORMATION:
                self.wanted.analysis = None
        elif isinstance(event, PromptFinished) and event.prompt == self.wanted.prompt:
            self.wanted.prompt = ""
        last = isinstance(event, (ChannelClosed, ChannelLost))
        # One place stays free for the last event; what a holder who never reads misses is not missed.
        if last or self._sender.statistics().current_buffer_used < EVENTS_BOUND - 1:
            with suppress(trio.BrokenResourceError, trio.WouldBlock):
                self._sender.send_nowait(event)
        if last:
            self.ended = True
            self._sender.close()

    def missed(self, now: ChannelSnapshot) -> Verdict | None:
        """A verdict that the running analysis reached while the connection was down."""
        if self.wanted.analysis is None or now.verdict is None or now.verdict_at_s < self._analysis_since_s:
            return None
        return _verdict_of(now)

    def restore(self, now: ChannelSnapshot | None) -> list[msgspec.Struct]:
        """Commands that bring the server from ``now`` (None: channel just opened anew) to what is wanted."""
        if self.closing:
            return [CloseChannel(self.channel_id)]
        commands: list[msgspec.Struct] = []
        remote, analysis = self.wanted.remote, self.wanted.analysis
        if remote is not None and (now is None or (remote.host, remote.port) != (now.remote_host, now.remote_port)):
            commands.append(remote)
        if analysis is not None and (now is None or not now.analysing):
            commands.append(analysis)
        if self.wanted.prompt and now is None:
            commands.append(Play(self.channel_id, self.wanted.prompt))
        return commands


class MediaClient:
    """One media server; satisfies `telephony.api.Media`. Made by `open_media`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._link: Link[MediaSnapshot] | None = None
        self._connected = trio.Event()
        self._tried = trio.Event()
        self._channels: dict[str, MediaChannel] = {}
        self._unclaimed: dict[str, ChannelSnapshot] = {}
        self._claimed = False
        """Start-up has adopted what it knows; channels that turn up later belong to nobody."""
        self._stats_seq = itertools.count(1)
        self._stats: dict[int, MediaStats | None] = {}
        self._stats_arrived = trio.Condition()

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def capacity(self) -> int:
        """Channels the server can hold; 0 while it is away."""
        return self._link.snapshot.capacity if self._link else 0

    @property
    def in_use(self) -> int:
        return len(self._channels) + len(self._unclaimed)

    async def open_channel(self, channel_id: str, local_port: int = 0) -> MediaChannel:
        """See `telephony.api.Media.open_channel`. Cancelled meanwhile, it closes what it may have opened."""
        if channel_id in self._channels or channel_id in self._unclaimed:
            raise NoCapacity(f"there is a channel {channel_id!r} already")
        await self._need_link()
        channel = self._channels[channel_id] = MediaChannel(self, channel_id, local_port)
        try:
            await self.send(OpenChannel(channel_id, local_port))
            await channel.opened.wait()
        except trio.Cancelled:
            channel.closing = True
            channel.events.close()
            if self._link is not None:
                self._link.send_nowait(CloseChannel(channel_id))
            raise
        if channel.ended:
            raise MediaLost("the media server went away")
        if channel.refusal:
            raise NoCapacity(channel.refusal)
        return channel

    def live_channels(self) -> Sequence[ChannelSnapshot]:
        return list(self._unclaimed.values())

    def adopt(self, channel_id: str) -> MediaChannel | None:
        """Take over a channel of `live_channels`, bridge included. A verdict reached before is its first event."""
        found = self._unclaimed.pop(channel_id, None)
        if found is None or self._link is None:
            return None
        channel = self._channels[channel_id] = MediaChannel(self, channel_id, found.local_port)
        channel.host = self._link.snapshot.host
        channel.opened.set()
        if found.remote_port:
            channel.wanted.remote = SetRemote(channel_id, found.remote_host, found.remote_port)
        if found.analysing:
            channel.wanted.analysis = StartAnalysis(channel_id, connected=True)
        channel.wanted.bridged_to = found.bridged_to
        if found.verdict is not None:
            channel.report(_verdict_of(found))
        return channel

    async def close_unclaimed(self) -> int:
        """Close the channels that nobody adopted, now and whenever such come to light; how many there were."""
        self._claimed = True
        closing = list(self._unclaimed)
        self._unclaimed.clear()
        for channel_id in closing:
            await self.send(CloseChannel(channel_id))
        await trio.lowlevel.checkpoint()
        return len(closing)

    async def stats(self) -> MediaStats:
        link = await self._need_link()
        seq = next(self._stats_seq)
        self._stats[seq] = None
        try:
            await link.send(GetStats(seq))
            async with self._stats_arrived:
                while (answer := self._stats[seq]) is None:
                    if self._link is not link:
                        raise MediaLost("the media server went away")
                    await self._stats_arrived.wait()
            return answer
        except LinkLost as error:
            raise MediaLost(str(error)) from error
        finally:
            del self._stats[seq]

    async def send(self, command: msgspec.Struct) -> None:
        """To the server if it is there; otherwise `_restore` makes up for it."""
        link = self._link
        if link is None:
            await trio.lowlevel.checkpoint()
            return
        with suppress(LinkLost):
            await link.send(command)

    def note_bridge(self, channel: MediaChannel, other_id: str) -> None:
        """A bridge replaces earlier ones of both channels and stops their prompts (contract.Bridge)."""
        self.note_unbridge(channel)
        other = self._channels.get(other_id)
        channel.wanted.bridged_to, channel.wanted.prompt = other_id, ""
        if other is not None:
            self.note_unbridge(other)
            other.wanted.bridged_to, other.wanted.prompt = channel.channel_id, ""

    def note_unbridge(self, channel: MediaChannel) -> None:
        other = self._channels.get(channel.wanted.bridged_to)
        if other is not None and other.wanted.bridged_to == channel.channel_id:
            other.wanted.bridged_to = ""
        channel.wanted.bridged_to = ""

    async def _need_link(self) -> Link[MediaSnapshot]:
        with trio.move_on_after(CONNECT_WAIT_S):
            while self._link is None:
                await self._connected.wait()
        if self._link is None:
            raise MediaLost(f"no media server at {self._path.name}")
        return self._link

    # --- the connection -----------------------------------------------------------------------------------------

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        started = False
        backoff_s = FIRST_BACKOFF_S
        reachable_s = trio.current_time()
        while True:
            why = ""
            try:
                async with open_link(self._path, "media", MediaEvent, MediaSnapshot) as link:
                    backoff_s = FIRST_BACKOFF_S
                    self._attach(link)
                    if not started:
                        started = True
                        task_status.started()
                    async for event in link.events:
                        await self._handle(event)
                    why = link.lost
                    reachable_s = trio.current_time()
            except (LinkLost, ContractError) as error:
                why = str(error)
                if isinstance(error, ContractError):
                    log.error("media.refused", why=why)
            finally:
                self._link = None
                self._connected = trio.Event()
            async with self._stats_arrived:
                self._stats_arrived.notify_all()
            if not started:
                started = True
                task_status.started()
            if self._channels and trio.current_time() - reachable_s > RECOVERY_LIMIT_S:
                log.warning("media.lost", why=why, channels=len(self._channels))
                for channel in list(self._channels.values()):
                    self._lose(channel, why)
            await trio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)

    def _attach(self, link: Link[MediaSnapshot]) -> None:
        """Bring the server to what is wanted: first every channel, then the bridges between them."""
        self._link = link
        known = {channel.channel_id: channel for channel in link.snapshot.channels}
        log.info("media.connected", pid=link.hello.pid, channels=len(known), ours=len(self._channels))
        self._unclaimed = {key: found for key, found in known.items() if key not in self._channels}
        if self._claimed:  # given up while the server was out of reach: nobody else would ever close them
            for channel_id in self._unclaimed:
                self._queue(link, CloseChannel(channel_id))
            self._unclaimed = {}
        for channel in list(self._channels.values()):
            found = known.get(channel.channel_id)
            if found is None and channel.closing:
                self._lose(channel, "closed while the media server was away")
            elif found is None:
                self._queue(link, OpenChannel(channel.channel_id, channel.port))
                channel.reopening = channel.opened.is_set()
                for command in channel.restore(None) if channel.opened.is_set() else ():
                    self._queue(link, command)
            else:
                channel.host, channel.port = link.snapshot.host, found.local_port
                channel.opened.set()
                if (verdict := channel.missed(found)) is not None:
                    channel.report(verdict)
                for command in channel.restore(found):
                    self._queue(link, command)
        joined: set[str] = set()
        for channel in self._channels.values():
            other_id, found = channel.wanted.bridged_to, known.get(channel.channel_id)
            if other_id and channel.channel_id not in joined and (found is None or found.bridged_to != other_id):
                joined |= {channel.channel_id, other_id}
                self._queue(link, Bridge(channel.channel_id, other_id))
            elif not other_id and found is not None and found.bridged_to and not channel.closing:
                self._queue(link, Unbridge(channel.channel_id))
        self._connected.set()

    def _queue(self, link: Link[MediaSnapshot], command: msgspec.Struct) -> None:
        if not link.send_nowait(command):
            log.error("media.command_dropped", command=type(command).__name__)

    async def _handle(self, event: msgspec.Struct) -> None:
        if isinstance(event, MediaStats):
            async with self._stats_arrived:
                if event.seq in self._stats:
                    self._stats[event.seq] = event
                    self._stats_arrived.notify_all()
            return
        channel_id: str = getattr(event, "channel_id", "")
        channel = self._channels.get(channel_id)
        if channel is None:
            if isinstance(event, ChannelClosed):
                self._unclaimed.pop(channel_id, None)
            return
        match event:
            case ChannelOpened():
                channel.host, channel.port = event.host, event.port
                channel.reopening = False
                channel.opened.set()
            case ChannelFailed() if not channel.opened.is_set():
                channel.refusal = event.why
                channel.opened.set()
                del self._channels[channel_id]
            case ChannelFailed() if channel.reopening:
                self._lose(channel, event.why)
            case ChannelClosed():
                if event.dropped:
                    log.info(
                        "media.packets_dropped",
                        channel_id=channel_id,
                        packets_in=event.packets_in,
                        dropped=event.dropped,
                    )
                channel.report(event)
                self.note_unbridge(channel)
                del self._channels[channel_id]
            case Verdict() | PromptFinished() | ChannelFailed():
                channel.report(event)

    def _lose(self, channel: MediaChannel, why: str) -> None:
        channel.report(ChannelLost(channel.channel_id, time.monotonic(), why))
        channel.opened.set()
        self.note_unbridge(channel)
        self._channels.pop(channel.channel_id, None)


def _verdict_of(found: ChannelSnapshot) -> Verdict:
    assert found.verdict is not None
    return Verdict(found.channel_id, found.verdict, "reached while no daemon listened", found.verdict_at_s, True)


@asynccontextmanager
async def open_media(run_dir: Path, server: int = 0) -> AsyncIterator[MediaClient]:
    """Connect to ``media-<server>.sock`` of ``run_dir`` and keep at it; inside, the first try is done.

    Both legs of a bridge belong in one media server, so a client is for one server. Leaving closes the connection and
    no channel.
    """
    client = MediaClient(run_dir / f"media-{server}.sock")
    async with trio.open_nursery() as nursery:
        await nursery.start(client._serve)
        try:
            yield client
        finally:
            nursery.cancel_scope.cancel()
