"""A whole plane through long histories: commands of all kinds while far ends send good, odd and damaged packets."""

import random
import socket
import struct
import time
from contextlib import ExitStack, suppress

import numpy as np
import pytest

from telephony import contract as wire
from telephony.media import rtcp
from telephony.media.channels import PortPool
from telephony.media.plane import MediaPlane
from telephony.media.prompts import PromptLibrary
from telephony.media.sources import Learn
from tests.telephony.media_peer import free_port_range

NAMES = "abcdef"
TICKS = 700


class FarEnd:
    """Sends a stream that now and then jumps, changes its source, its law, the length of its packets."""

    def __init__(self, chance, sock):
        self.chance, self.sock = chance, sock
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        self.address = sock.getsockname()
        self.seq, self.timestamp, self.ssrc = chance.randrange(1 << 16), chance.randrange(1 << 32), 1

    def packet(self):
        chance = self.chance
        if chance.random() < 0.05:
            self.seq += chance.choice([-3, 1, 30000])
            self.timestamp += chance.choice([-160, 40, 1 << 31])
            self.ssrc += chance.random() < 0.3
        kind = chance.choice([0] * 6 + [8] * 4 + [13, 97, 101, 101, 18])
        size = chance.choice([160] * 12 + [80, 240, 480, 960, 1, 159])
        body = chance.randbytes(size if kind in (0, 8) else chance.randrange(1, 14))
        if kind in (97, 101):
            body = struct.pack("!BBH", chance.randrange(20), chance.choice([10, 0x8A]), chance.randrange(1 << 16))
        head = struct.pack(
            "!BBHII",
            chance.choice([0x80] * 20 + [0xA0, 0x90, 0x81, 0x40]),
            kind,
            self.seq & 0xFFFF,
            self.timestamp & 0xFFFFFFFF,
            self.ssrc,
        )
        self.seq += 1
        self.timestamp += size if kind in (0, 8) else 0
        whole = head + body
        return whole if chance.random() < 0.98 else whole[: chance.randrange(len(whole))]

    def send(self, port):
        with suppress(OSError):  # the kernel may answer for a port that was just closed
            for _ in range(self.chance.choice([1] * 15 + [0, 2, 3, 40])):
                self.sock.sendto(self.packet(), ("127.0.0.1", port))
            if self.chance.random() < 0.05:
                report = rtcp.build_report(
                    self.ssrc, 1, 160, 0, time.time(), "far", None, goodbye=self.chance.random() < 0.3
                )
                self.sock.sendto(report, ("127.0.0.1", port + 1))

    def hear(self):
        with suppress(OSError):
            while True:
                self.sock.recv(2048)


def any_command(chance, far_ends):
    one, other = chance.choice(NAMES), chance.choice(NAMES)
    remote = wire.SetRemote(one, *far_ends[one].address, chance.choice([0, 8]), chance.choice([0, 97, 101]))
    prompt = chance.choice(["drop", "tone", "ringback", "none.wav"])
    return chance.choice(
        [
            wire.OpenChannel(one),
            wire.OpenChannel(one),
            wire.CloseChannel(one),
            remote,
            remote,
            remote,
            wire.SetRemote(one, "0.0.0.0", 0),
            wire.Bridge(one, other),
            wire.Unbridge(one),
            wire.Join(one, other, chance.choice(list(wire.Role))),
            wire.Join(one, other, chance.choice(list(wire.Role))),
            wire.Play(one, prompt, mix=chance.random() < 0.5, everybody=chance.random() < 0.5),
            wire.StopPlaying(one),
            wire.Mute(one, chance.random() < 0.5),
            wire.StandBy(one, chance.random() < 0.5),
            wire.DetectDigits(one, chance.random() < 0.7, chance.random() < 0.7),
            wire.SendDigits(one, "15", chance.choice([40, 100]), 60, chance.random() < 0.3),
            wire.SendDigits(one, "#", 333, 60),
            wire.StartRecording(one, f"{chance.random()}.wav", chance.choice(list(wire.Layout)), 1.0, 0.5),
            wire.StopRecording(one),
            wire.StartAnalysis(one, chance.random() < 0.5),
        ]
    )


@pytest.mark.parametrize("seed", range(3))
def test_given_any_history_of_commands_and_packets_when_ticked_then_nothing_fails_and_all_that_leaves_is_whole(
    tmp_path, seed
):
    chance, now_s, ports = random.Random(seed), 1000.0, {}
    first, last = (int(port) for port in free_port_range(len(NAMES)).split("-"))
    with ExitStack() as stack:
        plane = MediaPlane(
            "127.0.0.1",
            PortPool(first, last),
            len(NAMES),
            PromptLibrary(),
            learn=list(Learn)[seed % 2],
            recording_folder=tmp_path,
            idle_dbfs=-60.0 * (seed % 2),
        )
        stack.callback(plane.close)
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in NAMES]
        far_ends = {name: FarEnd(chance, sock) for name, sock in zip(NAMES, sockets, strict=True)}
        told = []
        for tick in range(TICKS):
            if tick < len(NAMES) or chance.random() < 0.4:
                command = wire.OpenChannel(NAMES[tick]) if tick < len(NAMES) else any_command(chance, far_ends)
                told += plane.command(command, now_s)
                ports |= {event.channel_id: event.port for event in told if isinstance(event, wire.ChannelOpened)}
            for name, port in ports.items():
                far_ends[name].send(port)
                far_ends[name].hear()
            now_s += chance.choice([0.02] * 20 + [0.019, 0.05, 0.3, 4.0])
            told += plane.tick(now_s)
            for event in told:
                assert wire.encode_frame(event)
            closed = np.nonzero(~plane._mixer.open)[0].tolist()
            assert not any(plane._mixer.conversations.takes_part(row) for row in closed)
            told = []
        assert wire.encode_frame(plane.snapshot())
        assert plane._mixer.packets_in.any()
        assert plane._mixer.bridged_in.any()
