"""The daemon's side of one media server: channels that survive the server.

Each `telephony.media_channel.MediaChannel` remembers what is wanted of it: local port, remote address, analysis,
bridge, prompt, recordings. When the connection comes back, the server's snapshot tells whether it is the same server
(then only what differs is sent again, and a verdict that fell into the gap is delivered) or a new one (then every
channel is opened on its old port, so that the far ends, who know nothing of our trouble, are heard again). A server
that stays away longer than `RECOVERY_LIMIT_S` costs its channels: `ChannelLost`.
"""

import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from telephony.api import ChannelLost, MediaLost, NoCapacity
from telephony.contract import (
    HEARTBEAT_S,
    Bridge,
    ChannelClosed,
    ChannelFailed,
    ChannelOpened,
    ChannelSnapshot,
    CloseChannel,
    Comfort,
    ContractError,
    DigitPressed,
    DigitsSent,
    GetStats,
    Join,
    MediaEvent,
    MediaSnapshot,
    MediaStats,
    OpenChannel,
    PromptFinished,
    RecordingFinished,
    Role,
    StartAnalysis,
    StartRecording,
    Unbridge,
    Verdict,
)
from telephony.link import Link, LinkLost, open_link
from telephony.media_channel import MediaChannel as MediaChannel
from telephony.media_channel import groups, peer_found, peer_wanted, remote_of, verdicts_of
from telephony.media_endings import Ends

RECOVERY_LIMIT_S: Final = 15.0
"""People do not stay on a silent line for longer."""
RESPONDS_WITHIN_S: Final = 2 * HEARTBEAT_S
"""Longer silence of the link is no coincidence of two heartbeats."""
CONNECT_WAIT_S: Final = 5.0
"""How long a request waits for a server that is just restarting."""
FIRST_BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 1.0
log = structlog.get_logger(__name__)


class MediaClient:
    """One media server; satisfies `telephony.api.Media`. Made by `open_media`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._link: Link[MediaSnapshot] | None = None
        self._heard_s = trio.current_time()
        """While there is no link: when something last came, or nobody listened who could have said something."""
        self._connected = trio.Event()
        self._tried = trio.Event()
        self._channels: dict[str, MediaChannel] = {}
        self._unclaimed: dict[str, ChannelSnapshot] = {}
        self._recorded: Ends[RecordingFinished] = Ends()
        self._closed: Ends[ChannelClosed] = Ends()
        self._claimed = False
        """Start-up has adopted what it knows; channels that turn up later belong to nobody."""
        self._stats_seq = itertools.count(1)
        self._stats: dict[int, MediaStats | None] = {}
        self._stats_arrived = trio.Condition()

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def responds(self) -> bool:
        """Connected, and not silent either: a server that has stopped for good keeps its connection for a while."""
        return self._link is not None and self._link.silent_s < RESPONDS_WITHIN_S

    @property
    def silent_s(self) -> float:
        """For how long nothing has come from a server that listens."""
        return self._link.silent_s if self._link is not None else trio.current_time() - self._heard_s

    @property
    def capacity(self) -> int:
        """Channels the server can hold; 0 while it is away."""
        return self._link.snapshot.capacity if self._link else 0

    @property
    def in_use(self) -> int:
        return len(self._channels) + len(self._unclaimed)

    def holds(self, channel_id: str) -> bool:
        """Whether the channel is one of this server's, opened here, being opened, or found and not adopted."""
        return channel_id in self._channels or channel_id in self._unclaimed

    async def reachable(self) -> None:
        """Return as soon as the server is connected."""
        while self._link is None:
            await self._connected.wait()

    async def open_channel(self, channel_id: str, local_port: int = 0, beside: str = "") -> MediaChannel:
        """
        See `telephony.api.Media.open_channel`; with one server ``beside`` leaves nothing to choose.

        Cancelled meanwhile, it closes what it may have opened.
        """
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

    def together(self, channel_id: str, other_id: str) -> bool:
        """See `telephony.api.Media.together`."""
        return self.holds(channel_id) and self.holds(other_id)

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
            channel.wanted.remote = remote_of(found)
        channel.wanted.muted, channel.wanted.standing_by = found.muted, found.standing_by
        if found.analysing:
            channel.expect_news(0.0)
        if found.analysing and not peer_found(found):  # in a conversation it cannot be begun again
            channel.wanted.analysis = StartAnalysis(channel_id, connected=found.analysing_connected)
        channel.wanted.bridged_to = found.bridged_to
        if found.joined_to:
            channel.wanted.joined = Join(channel_id, found.joined_to, found.role)
        channel.wanted.digits = found.digits
        if found.comfort_dbfs:
            channel.wanted.comfort = Comfort(channel_id, found.comfort_dbfs)
        channel.wanted.recordings = {
            one.path: StartRecording(channel_id, one.path, one.layout, one.consent_tone_s, one.max_s)
            for one in found.recordings
        }
        for verdict in verdicts_of(found):
            channel.report(verdict)
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

    def take_recorded(self) -> list[RecordingFinished]:
        return self._recorded.take()

    def take_closed(self) -> list[ChannelClosed]:
        return self._closed.take()

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
        channel.wanted.bridged_to, channel.wanted.prompt = other_id, None
        if other is not None:
            self.note_unbridge(other)
            other.wanted.bridged_to, other.wanted.prompt = channel.channel_id, None

    def note_unbridge(self, channel: MediaChannel) -> None:
        """Who leaves a conference leaves the others together (contract.Join)."""
        if not any(each.wanted.joined for each in self._channels.values()):  # no conference, as nearly always
            peer = self._channels.get(channel.wanted.bridged_to)
            if peer is not None and peer.wanted.bridged_to == channel.channel_id:
                peer.wanted.bridged_to = ""
            channel.wanted.bridged_to = ""
            return
        rest = groups(self._peers()).get(channel.channel_id, frozenset()) - {channel.channel_id}
        channel.wanted.bridged_to, channel.wanted.joined = "", None
        others = [each for each in self._channels.values() if each.channel_id in rest]
        for other in others:
            other.wanted.bridged_to, other.wanted.joined = "", None
        if len(others) > 1:
            first, second, *more = others
            first.wanted.bridged_to, second.wanted.bridged_to = second.channel_id, first.channel_id
            for other in more:
                other.wanted.joined = Join(other.channel_id, first.channel_id)

    def _peers(self) -> dict[str, str]:
        """Of each channel some peer; for those that nobody has adopted, what the server has."""
        peers = {each.channel_id: peer_wanted(each.wanted) for each in self._channels.values()}
        return peers | {each.channel_id: peer_found(each) for each in self._unclaimed.values()}

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
        refused = ""
        while True:
            why = ""
            try:
                async with open_link(self._path, "media", MediaEvent, MediaSnapshot) as link:
                    backoff_s, refused = FIRST_BACKOFF_S, ""
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
                if isinstance(error, ContractError) or error.nobody_listens:  # it speaks, or it is not there
                    self._heard_s = trio.current_time()
                if isinstance(error, ContractError) and why != refused:  # said once, not every second
                    log.error("media.refused", server=self._path.stem, why=why)
                    refused = why
            finally:
                if self._link is not None:
                    self._heard_s = trio.current_time() - self._link.silent_s
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
        for recorded in filter(self._recorded.news, link.snapshot.recorded):
            holder = self._channels.get(recorded.channel_id)
            if holder is not None:
                holder.report(recorded)
            else:
                self._recorded.keep(recorded)
        for closed in filter(self._closed.news, link.snapshot.closed):
            self._closed.keep(closed)
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
                for verdict in channel.missed(found):
                    channel.report(verdict)
                for command in channel.restore(found):
                    self._queue(link, command)
        self._restore_conversations(link, known)
        self._connected.set()

    def _restore_conversations(self, link: Link[MediaSnapshot], known: Mapping[str, ChannelSnapshot]) -> None:
        """Bridges and conferences first, then supervisors, who follow them."""
        wanted = groups(self._peers())
        there = groups({each.channel_id: peer_found(each) for each in known.values()})
        done: set[frozenset[str]] = set()
        for channel_id, channel in self._channels.items():
            group = wanted.get(channel_id)
            if channel.closing:
                continue
            if group is None:
                if channel_id in there:
                    self._queue(link, Unbridge(channel_id))
            elif group not in done:
                done.add(group)
                if any(there.get(member) != group for member in group):
                    first, second, *others = [member for member in self._peers() if member in group]
                    self._queue(link, Bridge(first, second))
                    for member in others:
                        self._queue(link, Join(member, first))
        for channel in self._channels.values():
            wanted_join, found = channel.wanted.joined, known.get(channel.channel_id)
            if channel.closing:
                continue
            if wanted_join is not None and wanted_join.role is not Role.MEMBER:
                if found is None or (found.joined_to, found.role) != (wanted_join.other_channel_id, wanted_join.role):
                    self._queue(link, wanted_join)
            elif found is not None and found.joined_to and found.role is not Role.MEMBER and wanted_join is None:
                self._queue(link, Unbridge(channel.channel_id))

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
        if isinstance(event, RecordingFinished):
            self._recorded.news(event)
        if isinstance(event, ChannelClosed) and self._closed.news(event):
            self._closed.keep(event)
        if channel is None:
            if isinstance(event, RecordingFinished):
                self._recorded.keep(event)
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
                # One line per channel with the quality of both directions; 0 means that nobody told.
                log.info(
                    "media.channel_closed",
                    channel_id=channel_id,
                    packets_in=event.packets_in,
                    packets_out=event.packets_out,
                    gaps=event.gaps,
                    loss_ratio=round(event.loss_ratio, 4),
                    jitter_ms=round(event.jitter_ms, 1),
                    rtt_ms=round(event.rtt_ms, 1),
                    mos=round(event.mos, 2),
                    remote_loss_ratio=round(event.remote_loss_ratio, 4),
                    remote_jitter_ms=round(event.remote_jitter_ms, 1),
                    remote_mos=round(event.remote_mos, 2),
                )
                if event.dropped:
                    log.info("media.packets_dropped", channel_id=channel_id, dropped=event.dropped)
                channel.report(event)
                self.note_unbridge(channel)
                del self._channels[channel_id]
            case Verdict() | PromptFinished() | DigitPressed() | DigitsSent() | RecordingFinished() | ChannelFailed():
                channel.report(event)

    def _lose(self, channel: MediaChannel, why: str) -> None:
        channel.report(ChannelLost(channel.channel_id, time.monotonic(), why))
        channel.opened.set()
        self.note_unbridge(channel)
        self._channels.pop(channel.channel_id, None)


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
