"""The daemon's connection: a Unix socket that speaks the contract, never blocking.

Any number may connect, but only who says a proper Hello becomes the daemon, and the newest one replaces the last: a
daemon that was killed leaves a half-open connection behind. Pings are sent and answered here.
"""

import os
import select
import socket
from typing import Final

import msgspec

from telephony import contract as wire

MAX_PENDING: Final = 8  # connections that have not said Hello
MAX_BACKLOG_BYTES: Final = 16 * 1024 * 1024
"""A daemon that leaves so much unread is stuck; it is dropped and takes the snapshot when it comes back."""

SILENCE_LIMIT_S: Final = 4 * wire.HEARTBEAT_S
_CHUNK_BYTES: Final = 65536


class _Peer:
    def __init__(self, sock: socket.socket, now_s: float) -> None:
        self.sock = sock
        self.decoder = wire.FrameDecoder(wire.MediaCommand)
        self.out = bytearray()
        self.heard_s = now_s


class ControlSocket:
    """
    Listener and connections. ``listener`` is a non-blocking Unix socket; ``log`` gets one line per change.

    `is_connected` tells whether a daemon is there; `orphaned_since_s` since when none is.
    """

    def __init__(self, listener: socket.socket, name: str, now_s: float) -> None:
        self._listener = listener
        self._name = name
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._peers: dict[int, _Peer] = {}
        self._daemon: _Peer | None = None
        self._ping_seq = 0
        self._next_ping_s = now_s
        self.orphaned_since_s = now_s
        self.changes: list[str] = []

    @property
    def is_connected(self) -> bool:
        """Whether a daemon is connected."""
        return self._daemon is not None

    def close(self) -> None:
        """Close everything; what is written so far is given to the kernel first."""
        for peer in list(self._peers.values()):
            self._flush(peer)
        for peer in list(self._peers.values()):
            self._drop(peer, "server stops", 0.0)
        self._listener.close()
        self._epoll.close()

    def poll(self, timeout_s: float, now_s: float) -> list[msgspec.Struct]:
        """
        Wait at most ``timeout_s`` and return the daemon's commands.

        A `Hello` in the result means: a daemon has just connected and now expects the snapshot. ``now_s`` is the time
        before the wait, which is exact enough for heartbeats.
        """
        commands: list[msgspec.Struct] = []
        for fd, event in self._epoll.poll(max(0.0, timeout_s)):
            if fd == self._listener.fileno():
                self._accept(now_s)
                continue
            peer = self._peers.get(fd)
            if peer is None:
                continue
            if event & select.EPOLLOUT:
                self._flush(peer)
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and fd in self._peers:
                commands += self._read(peer, now_s)
        return commands

    def beat(self, now_s: float) -> None:
        """Ping the daemon when it is time; drop peers that are silent for too long."""
        for peer in list(self._peers.values()):
            if now_s - peer.heard_s > SILENCE_LIMIT_S:
                self._drop(peer, "silent", now_s)
        if self._daemon is not None and now_s >= self._next_ping_s:
            self._next_ping_s = now_s + wire.HEARTBEAT_S
            self._ping_seq += 1
            self.send([wire.Ping(self._ping_seq)])

    def send(self, events: list[msgspec.Struct]) -> None:
        """Send to the daemon; without one the events are gone (the snapshot holds what lasts)."""
        peer = self._daemon
        if peer is None or not events:
            return
        for event in events:
            peer.out += wire.encode_frame(event)
        if len(peer.out) > MAX_BACKLOG_BYTES:
            self._drop(peer, "does not read", peer.heard_s)
        else:
            self._flush(peer)

    def _accept(self, now_s: float) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # gone again, or no descriptors left: the daemon retries
            return
        sock.setblocking(False)
        pending = [peer for peer in self._peers.values() if peer is not self._daemon]
        if len(pending) >= MAX_PENDING:
            self._drop(min(pending, key=lambda peer: peer.heard_s), "too many connections", now_s)
        peer = self._peers[sock.fileno()] = _Peer(sock, now_s)
        self._epoll.register(sock, select.EPOLLIN)
        peer.out += wire.encode_frame(wire.Hello(role="media", pid=os.getpid(), name=self._name))
        self._flush(peer)

    def _read(self, peer: _Peer, now_s: float) -> list[msgspec.Struct]:
        try:
            data = peer.sock.recv(_CHUNK_BYTES)
            if not data:
                self._drop(peer, "closed by the daemon", now_s)
                return []
            messages = peer.decoder.feed(data)
        except BlockingIOError:
            return []
        except (OSError, wire.ContractError) as error:
            self._drop(peer, str(error), now_s)
            return []
        peer.heard_s = now_s
        commands: list[msgspec.Struct] = []
        for message in messages:
            if peer is not self._daemon:
                try:
                    hello = wire.check_hello(message, "daemon")
                except wire.ContractError as error:
                    self._drop(peer, str(error), now_s)
                    return commands
                self._promote(peer, hello, now_s)
                commands.append(hello)
            elif isinstance(message, wire.Ping):
                self.send([wire.Pong(message.seq)])
            elif isinstance(message, wire.Hello):
                self._drop(peer, "said Hello twice", now_s)
                return commands
            elif not isinstance(message, wire.Pong):
                commands.append(message)
        return commands

    def _promote(self, peer: _Peer, hello: wire.Hello, now_s: float) -> None:
        if self._daemon is not None:
            self._drop(self._daemon, "replaced by a newer daemon", now_s)
        self._daemon = peer
        self._next_ping_s = now_s + wire.HEARTBEAT_S
        self.changes.append(f"connected: pid {hello.pid}")

    def _flush(self, peer: _Peer) -> None:
        try:
            while peer.out:
                del peer.out[: peer.sock.send(peer.out)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._drop(peer, str(error), peer.heard_s)
            return
        wanted = select.EPOLLIN | (select.EPOLLOUT if peer.out else 0)
        self._epoll.modify(peer.sock, wanted)

    def _drop(self, peer: _Peer, why: str, now_s: float) -> None:
        if self._peers.pop(peer.sock.fileno(), None) is None:
            return
        self._epoll.unregister(peer.sock)
        peer.sock.close()
        if peer is self._daemon:
            self._daemon = None
            self.orphaned_since_s = now_s
            self.changes.append(f"lost: {why}")
        else:
            self.changes.append(f"refused: {why}")
