"""One connection of the daemon to a worker or media server, on trio.

Inside `open_link` three tasks live: the reader (answers pings, keeps the snapshot, queues events), the writer, and the
heartbeat. They never raise into the caller: when the connection ends, for whatever reason, ``events`` ends and ``lost``
says why. The bounds: a peer that sends faster than the daemon reads is held back by its socket (and then drops us,
which a reconnect repairs); a peer that does not read holds back `Link.send`.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec
import trio

from telephony.contract import (
    HEARTBEAT_S,
    PROTOCOL_VERSION,
    ContractError,
    FrameDecoder,
    Hello,
    Ping,
    Pong,
    check_hello,
    encode_frame,
)

CONNECT_LIMIT_S: Final = 5.0
"""For connecting, Hello and snapshot together; a healthy local server needs milliseconds."""
FLUSH_LIMIT_S: Final = 0.5
SILENCE_LIMIT_S: Final = 4 * HEARTBEAT_S
INCOMING_BOUND: Final = 4096
"""Events read and not yet handled: a second of progress events of a thousand legs."""
OUTGOING_BOUND: Final = 8192
"""Frames accepted and not yet written: all that a restarted media server has to be told of 1000 channels."""
_CHUNK_BYTES: Final = 65536

WRITE_AT_ONCE: Final = 64
"""Messages that go out in one system call, if so many have gathered."""

SnapshotT = TypeVar("SnapshotT", bound=msgspec.Struct)


class LinkLost(Exception):
    """The connection could not be made, broke, or is already gone; the message says why.

    ``nobody_listens``: connecting was refused, so the process that served the socket is dead.
    """

    def __init__(self, why: str, nobody_listens: bool = False) -> None:
        super().__init__(why)
        self.nobody_listens = nobody_listens


class Link(Generic[SnapshotT]):
    """``hello`` is the peer's; ``snapshot`` its latest; ``lost`` is "" while the connection stands."""

    def __init__(self, hello: Hello, snapshot: SnapshotT, stream: trio.SocketStream, decoder: FrameDecoder) -> None:
        self.hello = hello
        self.snapshot = snapshot
        self.lost = ""
        self._stream = stream
        self._decoder = decoder
        self._heard_s = trio.current_time()
        self._unwritten = 0
        self._written = trio.Event()
        self._outgoing, self._to_write = trio.open_memory_channel[msgspec.Struct](OUTGOING_BOUND)
        self._incoming, self.events = trio.open_memory_channel[msgspec.Struct](INCOMING_BOUND)

    @property
    def silent_s(self) -> float:
        """For how long nothing has come; a peer whose loop turns says something every `HEARTBEAT_S`."""
        return trio.current_time() - self._heard_s

    async def send(self, message: msgspec.Struct) -> None:
        """Queue one command. Raises LinkLost when the connection is gone; a command queued before that may or may not
        have arrived."""
        if self.lost:
            raise LinkLost(self.lost)
        try:
            await self._outgoing.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost("connection closed") from error
        self._unwritten += 1

    def send_nowait(self, message: msgspec.Struct) -> bool:
        """Queue one command without waiting; False when that is not possible (lost, or too much is queued)."""
        try:
            self._outgoing.send_nowait(message)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self._unwritten += 1
        return True

    async def flush(self) -> None:
        """Wait until everything queued so far is written, or the link is lost."""
        while self._unwritten > 0 and not self.lost:
            await self._written.wait()

    async def _run(self, first: list[msgspec.Struct], scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._guard, self._write, nursery.cancel_scope)
                    nursery.start_soon(self._guard, self._beat, nursery.cancel_scope)
                    await self._guard_reading(first, nursery.cancel_scope)
        finally:
            self.lost = self.lost or "closed"
            self._written.set()
            self._incoming.close()
            self._outgoing.close()
            self._to_write.close()
            await trio.aclose_forcefully(self._stream)

    async def _guard_reading(self, first: list[msgspec.Struct], scope: trio.CancelScope) -> None:
        async def read() -> None:
            await self._read(first)

        await self._guard(read, scope)

    async def _guard(self, task: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        """Run one task; its failure or end is the end of the link, not of the program."""
        try:
            await task()
        except (ContractError, LinkLost) as error:
            self.lost = self.lost or str(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.lost = self.lost or f"connection broken: {error}"
        scope.cancel()

    async def _read(self, first: list[msgspec.Struct]) -> None:
        messages = first
        while True:
            for message in messages:
                await self._handle(message)
            data = await self._stream.receive_some(_CHUNK_BYTES)
            if not data:
                raise LinkLost("the peer closed the connection")
            self._heard_s = trio.current_time()
            messages = self._decoder.feed(data)

    async def _handle(self, message: msgspec.Struct) -> None:
        match message:
            case Ping():
                # In order with the events before it: a peer takes this for "everything until here was read".
                await self.send(Pong(message.seq))
            case Pong():
                pass
            case Hello():
                raise ContractError("a second Hello")
            case _ if type(message) is type(self.snapshot):
                self.snapshot = message
            case _:
                await self._incoming.send(message)

    async def _write(self) -> None:
        async for message in self._to_write:
            frames = [encode_frame(message)]
            while len(frames) < WRITE_AT_ONCE:
                try:
                    frames.append(encode_frame(self._to_write.receive_nowait()))
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            await self._stream.send_all(b"".join(frames))
            self._unwritten -= len(frames)
            self._written.set()
            self._written = trio.Event()

    async def _beat(self) -> None:
        seq = 0
        while True:
            await trio.sleep(HEARTBEAT_S)
            if self.silent_s > SILENCE_LIMIT_S:
                raise LinkLost(f"the peer was silent for {SILENCE_LIMIT_S:.0f} s")
            if self.silent_s < HEARTBEAT_S:
                continue  # it lives, and pings us by itself, to which we answer: of hundreds of links each frame counts
            seq += 1
            # Without waiting: a peer that reads nothing fills the queue, and must be found silent here all the same.
            self.send_nowait(Ping(seq))


@asynccontextmanager
async def open_link(
    path: Path, role: str, union: object, snapshot_type: type[SnapshotT]
) -> AsyncIterator[Link[SnapshotT]]:
    """Connect to a server's Unix socket, check its Hello, take its snapshot, and keep the connection alive inside.

    Args:
        role: "worker" or "media", what the server must say it is.
        union: the message union it sends (contract.WorkerEvent or contract.MediaEvent).

    Raises:
        LinkLost: nobody listens, or the server is silent.
        ContractError: it speaks a version that we do not (contract.OLDEST_VERSION) or something else altogether.
    """
    hello, snapshot, messages, stream, decoder = await _introduce(path, role, union, PROTOCOL_VERSION)
    if not isinstance(snapshot, snapshot_type):
        await trio.aclose_forcefully(stream)
        raise ContractError(f"expected a snapshot, got {type(snapshot).__name__}")
    link = Link(hello, snapshot, stream, decoder)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope(shield=True)  # so that the last commands are still written when we are cancelled
        nursery.start_soon(link._run, messages, scope)
        try:
            yield link
        finally:
            with trio.move_on_after(FLUSH_LIMIT_S, shield=True):
                await link.flush()  # the last hang-up of a stopping daemon should arrive
            scope.cancel()


async def _introduce(
    path: Path, role: str, union: object, version: int
) -> tuple[Hello, msgspec.Struct, list[msgspec.Struct], trio.SocketStream, FrameDecoder]:
    """
    Connect and exchange Hello, ours with this version; a server of an older release is asked again in its own.

    It refuses ours, but says which one it speaks first. Returns its Hello, its snapshot and what it said after that.
    """
    decoder = FrameDecoder(union)
    stream: trio.SocketStream | None = None
    try:
        with trio.fail_after(CONNECT_LIMIT_S):
            stream = await trio.open_unix_socket(os.fspath(path))
            await stream.send_all(encode_frame(Hello("daemon", version, os.getpid())))
            messages: list[msgspec.Struct] = []
            while not messages:
                messages = await _receive(stream, decoder)
            hello = check_hello(messages.pop(0), role)
            while hello.version >= version and not messages:
                messages = await _receive(stream, decoder)
    except BaseException as error:
        if stream is not None:
            await trio.aclose_forcefully(stream)
        if isinstance(error, trio.TooSlowError):
            raise LinkLost(f"no answer within {CONNECT_LIMIT_S:.0f} s") from error
        if isinstance(error, (OSError, trio.BrokenResourceError)):
            refused = isinstance(error, (ConnectionRefusedError, FileNotFoundError))
            raise LinkLost(f"cannot connect: {error}", nobody_listens=refused) from error
        raise
    if hello.version < version:
        await trio.aclose_forcefully(stream)
        return await _introduce(path, role, union, hello.version)
    return hello, messages.pop(0), messages, stream, decoder


async def _receive(stream: trio.SocketStream, decoder: FrameDecoder) -> list[msgspec.Struct]:
    data = await stream.receive_some(_CHUNK_BYTES)
    if not data:
        raise LinkLost("the peer closed the connection")
    return decoder.feed(data)
