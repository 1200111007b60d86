"""The daemon's side of several media servers: `open_media_servers` finds them and places each call by load.

Every server has a `media_client.MediaClient` of its own, which keeps its channels over a restart of either side. The
pool decides where a channel is opened, and nothing else:

* A channel that is to be bridged to another (``beside``) is opened where that one is: a bridge joins channels of one
  server only.
* Any other goes to the server with the smallest `load`: the share of its channels that is in use, plus a penalty once
  a tick of 20 ms takes it more than half of its time. Ties go to the lower number.
* A server that is away, or that announces no capacity because it is being drained, gets no new calls; the second legs
  of the calls that it has still go there.

Servers are told apart by the number in ``media-<n>.sock``. The run folder is looked through all the time, so that one
may be added, or taken away when it is empty, while the daemon runs.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from telephony.api import MediaLost, NoCapacity
from telephony.contract import ChannelClosed, ChannelSnapshot, MediaStats, RecordingFinished
from telephony.media_channel import MediaChannel
from telephony.media_client import CONNECT_WAIT_S, MediaClient, open_media

RESCAN_S: Final = 0.5
MEASURE_S: Final = 2.0
STATS_LIMIT_S: Final = 1.0
TICK_MS: Final = 20.0
EASY_WORK_MS: Final = TICK_MS / 2
"""Up to here the work of a tick says nothing about how much more there is room for: noise of the machine, mostly."""
SECOND_LEGS_SHARE: Final = 0.1
"""
Of a server's channels this share is kept for second legs. Calls that ring outnumber conversations by far; without a
reserve a full server would hold people whom no agent can be connected to.
"""
SOCKET: Final = re.compile(r"media-(\d+)\.sock")

log = structlog.get_logger(__name__)


def load(in_use: int, capacity: int, work_p99_ms: float) -> float:
    """How heavily a server is loaded: 0 idle, 1 full or with no time left, more when both."""
    return in_use / capacity + max(0.0, work_p99_ms - EASY_WORK_MS) / (TICK_MS - EASY_WORK_MS)


def room_for_calls(in_use: int, capacity: int) -> int:
    """How many more first legs fit beside the reserve for second legs."""
    return capacity - int(capacity * SECOND_LEGS_SHARE) - in_use


@dataclass(slots=True, eq=False)
class _Server:
    number: int
    client: MediaClient
    work_p99_ms: float = 0.0
    left: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def load(self) -> float:
        return load(self.client.in_use, self.client.capacity, self.work_p99_ms)


class MediaPool:
    """All media servers of one run folder; satisfies `telephony.api.Media`. Made by `open_media_servers`."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._servers: dict[int, _Server] = {}
        self._known: set[int] = set()
        """Numbers of sockets that a task looks after, connected for the first time or not yet."""
        self._tried: dict[int, trio.Event] = {}
        self._added = trio.Event()
        self._claimed = False
        self._left: list[ChannelClosed] = []
        """Ends that servers told which have been taken away since."""

    @property
    def capacity(self) -> int:
        """Channels that the connected servers take."""
        return sum(server.client.capacity for server in self._servers.values())

    @property
    def in_use(self) -> int:
        return sum(server.client.in_use for server in self._servers.values())

    @property
    def servers_connected(self) -> int:
        return sum(server.client.connected for server in self._servers.values())

    def in_use_by_server(self) -> dict[int, int]:
        """Channels of each known server by its number."""
        return {number: server.client.in_use for number, server in sorted(self._servers.items())}

    def silent_s_by_server(self) -> dict[int, float]:
        """For how long nothing has come from each known server that listens, by its number."""
        return {number: server.client.silent_s for number, server in self._servers.items()}

    def server_of(self, channel_id: str) -> int | None:
        """Number of the server that has the channel."""
        return next((server.number for server in self._servers.values() if server.client.holds(channel_id)), None)

    def together(self, channel_id: str, other_id: str) -> bool:
        """See `telephony.api.Media.together`."""
        home = self.server_of(channel_id)
        return home is not None and home == self.server_of(other_id)

    async def open_channel(self, channel_id: str, local_port: int = 0, beside: str = "") -> MediaChannel:
        """See `telephony.api.Media.open_channel`."""
        if self.server_of(channel_id) is not None:
            raise NoCapacity(f"there is a channel {channel_id!r} already")
        home = self.server_of(beside) if beside else None
        if home is not None:
            return await self._servers[home].client.open_channel(channel_id, local_port)
        await self._someone()
        refusals: list[str] = []
        tried: set[int] = set()
        while (server := self._freest(tried)) is not None:
            tried.add(server.number)
            try:
                return await server.client.open_channel(channel_id, local_port)
            except (NoCapacity, MediaLost) as error:  # nothing was opened there
                refusals.append(f"media-{server.number}: {error}")
        if self.servers_connected == 0:
            raise MediaLost("; ".join(refusals) or f"no media server is connected in {self._run_dir}")
        raise NoCapacity("; ".join(refusals) or f"{self.in_use} channels in use, room for calls is {self.capacity}")

    def _freest(self, tried: Iterable[int]) -> _Server | None:
        candidates = [
            server
            for server in self._servers.values()
            if server.number not in tried and room_for_calls(server.client.in_use, server.client.capacity) > 0
        ]
        return min(candidates, key=lambda server: (server.load, server.number), default=None)

    def live_channels(self) -> Sequence[ChannelSnapshot]:
        return [channel for server in self._servers.values() for channel in server.client.live_channels()]

    def adopt(self, channel_id: str) -> MediaChannel | None:
        number = self.server_of(channel_id)
        return self._servers[number].client.adopt(channel_id) if number is not None else None

    def take_recorded(self) -> list[RecordingFinished]:
        return [event for server in self._servers.values() for event in server.client.take_recorded()]

    def take_closed(self) -> list[ChannelClosed]:
        taken = [event for server in self._servers.values() for event in server.client.take_closed()]
        left, self._left = self._left, []
        return left + taken

    async def close_unclaimed(self) -> int:
        """Close the channels that nobody adopted, also those of servers that turn up later; how many there were."""
        self._claimed = True
        closed = 0
        for server in list(self._servers.values()):
            closed += await server.client.close_unclaimed()
        await trio.lowlevel.checkpoint()
        return closed

    async def stats(self) -> MediaStats:
        """
        All servers as one: sums of channels and processor time; lateness and work of the server with the most work.

        Raises MediaLost when none answers.
        """
        answers = list((await self.stats_by_server()).values())
        if not answers:
            raise MediaLost("no media server answers")
        busiest = max(answers, key=lambda stats: stats.tick_work_p99_ms)
        return msgspec.structs.replace(
            busiest,
            channels=sum(stats.channels for stats in answers),
            analysing=sum(stats.analysing for stats in answers),
            bridged=sum(stats.bridged for stats in answers),
            tick_late_p50_ms=max(stats.tick_late_p50_ms for stats in answers),
            tick_late_p99_ms=max(stats.tick_late_p99_ms for stats in answers),
            cpu_s=sum(stats.cpu_s for stats in answers),
        )

    async def stats_by_server(self) -> dict[int, MediaStats]:
        """What each connected server says of itself within `STATS_LIMIT_S`; asked all at once."""
        found: dict[int, MediaStats] = {}

        async def ask(server: _Server) -> None:
            with trio.move_on_after(STATS_LIMIT_S):
                try:
                    found[server.number] = await server.client.stats()
                except MediaLost:
                    return  # its own log line tells

        async with trio.open_nursery() as nursery:
            for server in self._servers.values():
                if server.client.connected:
                    nursery.start_soon(ask, server)
        for number, stats in found.items():
            if number in self._servers:
                self._servers[number].work_p99_ms = stats.tick_work_p99_ms
        return found

    async def _someone(self) -> None:
        """Wait a little for any server that is connected: all may just be starting again."""
        with trio.move_on_after(CONNECT_WAIT_S):
            while self.servers_connected == 0:
                async with trio.open_nursery() as nursery:

                    async def first(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
                        await wait()
                        scope.cancel()

                    for server in self._servers.values():
                        nursery.start_soon(first, server.client.reachable, nursery.cancel_scope)
                    nursery.start_soon(first, self._added.wait, nursery.cancel_scope)

    # --- the servers --------------------------------------------------------------------------------------------

    async def _scan(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        started = False
        while True:
            found = {
                int(match[1]) for path in self._run_dir.glob("media-*.sock") if (match := SOCKET.fullmatch(path.name))
            }
            for number in sorted(found - self._known):
                self._known.add(number)
                self._tried[number] = trio.Event()
                nursery.start_soon(self._hold, number)
            for number in set(self._servers) - found:
                client = self._servers[number].client
                if not client.connected and client.in_use == 0:
                    self._servers[number].left.cancel()  # taken away; should it come back, it is found again
            if not started:
                started = True
                for tried in list(self._tried.values()):
                    await tried.wait()
                task_status.started()
            await trio.sleep(RESCAN_S)

    async def _hold(self, number: int) -> None:
        """Keep one server's client; ends when the server has been taken away."""
        try:
            async with open_media(self._run_dir, number) as client:
                server = self._servers[number] = _Server(number, client)
                if self._claimed:
                    await client.close_unclaimed()
                self._tried[number].set()
                self._added.set()
                self._added = trio.Event()
                with server.left:
                    await trio.sleep_forever()
        finally:
            if (gone := self._servers.pop(number, None)) is not None:
                self._left += gone.client.take_closed()
            self._known.discard(number)
        log.info("media.taken_away", server=number)

    async def _measure(self) -> None:
        while True:
            await trio.sleep(MEASURE_S)
            await self.stats_by_server()


@asynccontextmanager
async def open_media_servers(run_dir: Path) -> AsyncIterator[MediaPool]:
    """
    Connect to every media server of ``run_dir`` and keep at it; inside, each that was there has been tried once.

    Leaving closes the connections and no channel: those are the servers'.
    """
    pool = MediaPool(run_dir)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool._scan, nursery)
        nursery.start_soon(pool._measure)
        try:
            yield pool
        finally:
            nursery.cancel_scope.cancel()
