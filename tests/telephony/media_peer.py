"""What the media server's tests talk with: a daemon's end of the Unix socket, and an RTP phone."""

import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from telephony import contract as wire
from telephony.media.g711 import linear_to_ulaw, ulaw_to_linear
from tests.ports import free_ports

LIMIT_S = 20.0
"""Only catches hangs."""


class Daemon:
    """A daemon's connection. After construction `hello` and `snapshot` are there."""

    def __init__(self, path: Path, hello: wire.Hello | None = None) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(str(path))  # blocking: with a limit a full backlog is an error at once
        self._sock.settimeout(LIMIT_S)
        self._decoder = wire.FrameDecoder(wire.MediaEvent)
        self._waiting: list = []
        self.seen: list = []
        self.send(hello or wire.Hello(role="daemon"))
        self.hello = self._next()
        self.snapshot = self._next() if hello is None else None

    def send(self, *messages) -> None:
        for message in messages:
            self._sock.sendall(wire.encode_frame(message))

    def send_raw(self, data: bytes) -> None:
        self._sock.sendall(data)

    def _next(self):
        deadline_s = time.monotonic() + LIMIT_S
        while not self._waiting:
            assert time.monotonic() < deadline_s, f"nothing came; seen: {self.seen[-10:]}"
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionError("closed by the server")
            self._waiting += self._decoder.feed(data)
        return self._waiting.pop(0)

    def expect(self, kind: type, **wanted):
        """The next event of a type with these fields; others are kept in `seen`."""
        deadline_s = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline_s:
            message = self._next()
            if isinstance(message, wire.Ping):
                self.send(wire.Pong(message.seq))
                continue
            self.seen.append(message)
            if isinstance(message, kind) and all(getattr(message, k) == v for k, v in wanted.items()):
                return message
        raise AssertionError(f"no {kind.__name__} {wanted}; seen {self.seen[-10:]}")

    def open(self, channel_id: str, local_port: int = 0) -> int:
        self.send(wire.OpenChannel(channel_id, local_port))
        return self.expect(wire.ChannelOpened, channel_id=channel_id).port

    def barrier(self) -> wire.MediaStats:
        """Everything sent before has been carried out when this returns."""
        self.send(wire.GetStats(77))
        return self.expect(wire.MediaStats, seq=77)

    def close(self) -> None:
        self._sock.close()

    def at_end(self) -> bool:
        """Whether the server closed the connection (waits for it)."""
        try:
            while True:
                self._next()
        except (ConnectionError, OSError):
            return True


class Phone:
    """An RTP far end that sends on its own clock-less count and records what it hears."""

    def __init__(self, server_port: int, payload_type: int = 0) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(LIMIT_S)
        self.port = self.sock.getsockname()[1]
        self._target = ("127.0.0.1", server_port)
        self._payload_type = payload_type
        self.seq, self.timestamp, self.ssrc = 100, 5000, 0x1234
        self.packets: list[bytes] = []

    def packet(self, payload: bytes, marker: bool = False, payload_type: int | None = None) -> bytes:
        kind = self._payload_type if payload_type is None else payload_type
        head = struct.pack("!BBHII", 0x80, kind | marker << 7, self.seq & 0xFFFF, self.timestamp, self.ssrc)
        self.seq += 1
        self.timestamp = (self.timestamp + 160) & 0xFFFFFFFF
        return head + payload

    def send(self, frame: np.ndarray) -> None:
        self.send_raw(self.packet(linear_to_ulaw(frame.astype(np.int16)).tobytes()))

    def send_raw(self, datagram: bytes) -> None:
        self.sock.sendto(datagram, self._target)

    def hear(self) -> bytes:
        """Wait for one packet."""
        packet = self.sock.recv(2048)
        self.packets.append(packet)
        return packet

    def talk(self, frames: np.ndarray) -> None:
        """Send frames in step with what is heard: the server's packets are the 20 ms clock."""
        for frame in frames:
            self.hear()
            self.send(frame)

    def settle(self) -> None:
        """Wait until the server has read everything sent so far: a whole tick lies between two further packets."""
        self.sock.setblocking(False)
        try:
            while True:
                self.packets.append(self.sock.recv(2048))
        except BlockingIOError:
            self.sock.settimeout(LIMIT_S)
        for _ in range(2):
            self.hear()

    def heard(self) -> np.ndarray:
        """int16 samples of all audio packets heard so far."""
        audio = [p[12:] for p in self.packets if p[1] & 0x7F == 0]
        return ulaw_to_linear(np.frombuffer(b"".join(audio), dtype=np.uint8))

    def close(self) -> None:
        self.sock.close()


class Server:
    """A media server process in a folder."""

    def __init__(self, folder: Path, ports: str, *options: str) -> None:
        self.path = folder / "media-0.sock"
        command = [sys.executable, "-m", "telephony.media.server", "--run-dir", str(folder), "--rtp-ports", ports]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE)
        # READY is the listening socket; the start-up line is written after it.
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if b"media.started" in line:
                break
        else:
            raise AssertionError("the server did not start")

    def stop(self) -> int:
        self.process.terminate()
        _, _ = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=LIMIT_S)


def free_port_range(pairs: int) -> str:
    """Ports for so many channels, as the server's option ``--rtp-ports`` takes them."""
    first, last = free_ports(2 * pairs)
    return f"{first}-{last}"
