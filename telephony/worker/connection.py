"""The worker's end of a connection with a daemon: frames over a non-blocking stream."""

import socket
from typing import Final

import msgspec

from telephony.contract import ContractError, FrameDecoder, Ping, WorkerCommand, encode_frame

MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""A daemon that does not read is dropped at this backlog; it gets a snapshot when it comes back."""


class Connection:
    """A non-blocking stream of frames."""

    def __init__(self, stream: socket.socket, now_s: float) -> None:
        stream.setblocking(False)
        self.stream = stream
        self.since_s = self.heard_s = self.pinged_s = now_s
        self.next_ping = 1
        self._decoder = FrameDecoder(WorkerCommand)
        self._unsent = bytearray()
        self._deaf = False

    @property
    def wants_to_send(self) -> bool:
        return bool(self._unsent)

    def send(self, message: msgspec.Struct) -> None:
        """Queue a frame and write what the socket takes; ContractError: the peer has stopped reading.

        A peer that has closed is noticed by `receive`, after its last commands were read.
        """
        if self._deaf:
            return
        self._unsent += encode_frame(message)
        self.flush()
        if len(self._unsent) > MAX_UNSENT_BYTES:
            raise ContractError(f"the daemon left {len(self._unsent)} bytes unread")

    def ping(self, now_s: float) -> int:
        seq, self.next_ping, self.pinged_s = self.next_ping, self.next_ping + 1, now_s
        self.send(Ping(seq))
        return seq

    def flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self.stream.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._deaf = True
            self._unsent.clear()

    def receive(self, now_s: float) -> list[msgspec.Struct]:
        """The frames that have arrived; EOFError at the end of the stream."""
        try:
            data = self.stream.recv(65536)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        self.heard_s = now_s
        return self._decoder.feed(data)
