"""A plane with real sockets, time moved by hand: strangers, reports, quality, streams that change."""

import socket
import struct
import time

import numpy as np
import pytest

from telephony import contract as wire
from telephony.media import batch_io, quality, rtcp
from telephony.media.channels import PortPool
from telephony.media.network import FENCE_AFTER, Network
from telephony.media.plane import MediaPlane
from telephony.media.prompts import PromptLibrary
from telephony.media.sources import Learn
from tests.telephony.media_peer import Phone, free_port_range
from tests.telephony.signals import over_the_line, tone


@pytest.fixture
def make_plane():
    made = []

    def make(learn=Learn.HOST):
        first, last = (int(port) for port in free_port_range(4).split("-"))
        plane = MediaPlane("127.0.0.1", PortPool(first, last), 4, PromptLibrary(None), learn=learn)
        made.append(plane)
        return plane

    yield make
    for plane in made:
        plane.close()


class Call:
    """Two bridged phones; a tick is 20 ms of a clock that only `tick` moves."""

    def __init__(self, plane):
        self.plane, self.now_s, self.sent, self.ears = plane, 1000.0, 0, []
        self.phones = {}
        for name in ("alice", "bob"):
            (opened,) = plane.command(wire.OpenChannel(name), self.now_s)
            phone = self.phones[name] = Phone(opened.port)
            phone.ssrc = 0xA11CE if name == "alice" else 0xB0B
            plane.command(wire.SetRemote(name, "127.0.0.1", phone.port), self.now_s)
        plane.command(wire.Bridge("alice", "bob"), self.now_s)
        self.alice, self.bob = self.phones["alice"], self.phones["bob"]
        self.speech = over_the_line(tone(8.0, 437.0, 61.0), np.random.default_rng(3))

    def tick(self, ticks=1, *, skip=(), meanwhile=lambda: None):
        """Both send a frame (unless its number is in ``skip``), ``meanwhile`` happens, the plane ticks, both hear."""
        for _ in range(ticks):
            if self.sent in skip:
                self.alice.packet(b"")
            else:
                self.alice.send(self.speech[self.sent % len(self.speech)])
            self.bob.send(np.zeros(160))
            self.sent += 1
            meanwhile()
            self.now_s += 0.02
            self.plane.tick(self.now_s)
            self.alice.hear()
            self.ears.append(self.bob.hear())

    def unbroken(self, since=10):
        """Whether bob heard alice's frames bit by bit, none missing, from the ``since``-th packet he got."""
        heard = [p for p in self.bob.packets[since:] if p[1] & 0x7F == 0]
        frames = self.bob_frames(heard)
        wanted = self.speech.astype(np.int16)
        starts = [i for i in range(len(wanted)) if (wanted[i] == frames[0]).all()]
        return any(all((wanted[(i + k) % len(wanted)] == f).all() for k, f in enumerate(frames)) for i in starts)

    def bob_frames(self, packets):
        from telephony.media.g711 import ulaw_to_linear

        return [ulaw_to_linear(np.frombuffer(p[12:], dtype=np.uint8)) for p in packets]

    def close(self, name="alice"):
        (closed,) = self.plane.command(wire.CloseChannel(name), self.now_s)
        return closed

    def hang_up(self):
        for phone in self.phones.values():
            phone.close()


@pytest.fixture
def make_call(make_plane):
    made = []

    def make(learn=Learn.HOST):
        made.append(Call(make_plane(learn)))
        return made[-1]

    yield make
    for call in made:
        call.hang_up()


def stranger(host="127.0.0.1"):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def rtcp_of(phone, ssrc, heard=None, *, goodbye=False, wall_s=None):
    return rtcp.build_report(ssrc, 1, 160, 0, wall_s or time.time(), "phone@test", heard, goodbye)


# --- strangers --------------------------------------------------------------------------------------------------


def test_given_a_living_call_when_a_stranger_guesses_everything_right_then_nobody_hears_it_and_nothing_moves(make_call):
    call, thief = make_call(), stranger()
    call.tick(20)
    noise = bytes(range(160))

    def attack():
        for ahead in range(4):
            head = struct.pack(
                "!BBHII", 0x80, 0, (call.alice.seq + ahead) & 0xFFFF, call.alice.timestamp + 160 * ahead, 0xA11CE
            )
            thief.sendto(head + noise, call.alice._target)

    call.tick(40, meanwhile=attack)
    call.tick(10)

    assert call.unbroken()
    assert all(noise not in packet for packet in call.bob.packets)
    thief.setblocking(False)
    with pytest.raises(BlockingIOError):
        thief.recv(2048)
    assert call.close().dropped == {"unknown_source": 160}
    thief.close()


def test_given_a_flood_when_it_goes_on_then_the_kernel_refuses_it_and_the_call_goes_on(make_call):
    call, thief = make_call(), stranger()
    call.tick(20)
    call.tick(30, meanwhile=lambda: [_try_send(thief, bytes(172), call.alice._target) for _ in range(100)])
    call.tick(10)

    closed = call.close()
    assert call.unbroken()
    assert closed.gaps == 0
    # What lies in the socket when the fence goes up is still counted.
    assert FENCE_AFTER < sum(closed.dropped.values()) < 30 * 100 / 2
    thief.close()


def _try_send(sock, data, target):
    try:
        sock.sendto(data, target)
    except ConnectionRefusedError:  # the kernel's answer to the one before
        sock.sendto(data, target)


def test_given_a_flood_before_anybody_is_heard_when_the_far_end_speaks_then_it_is_heard(make_plane):
    plane, thief, now_s = make_plane(), stranger(), 1000.0
    (opened,) = plane.command(wire.OpenChannel("new"), now_s)
    phone = Phone(opened.port)
    plane.command(wire.SetRemote("new", "127.0.0.1", phone.port), now_s)
    for tick in range(20):
        for i in range(100):
            head = struct.pack("!BBHII", 0x80, 0, 7 * i, tick * 160, i)  # never two that follow each other
            _try_send(thief, head + bytes(160), ("127.0.0.1", opened.port))
        if tick >= 5:
            phone.send(np.zeros(160))
        now_s += 0.02
        plane.tick(now_s)

    (closed,) = plane.command(wire.CloseChannel("new"), now_s)
    assert closed.packets_in == 15
    assert closed.gaps == 0
    thief.close()
    phone.close()


@pytest.mark.parametrize("remote", [None, ("127.0.0.2", 5000)])
def test_given_a_flood_at_a_port_that_hears_nobody_when_read_then_its_packets_are_counted_and_not_looked_at(
    make_plane, monkeypatch, remote
):
    plane, thief, now_s = make_plane(), stranger(), 1000.0
    (opened,) = plane.command(wire.OpenChannel("new"), now_s)
    if remote is not None:
        plane.command(wire.SetRemote("new", *remote), now_s)
    looked_at = []
    take_in = plane._network._take_in
    monkeypatch.setattr(plane._network, "_take_in", lambda *them: (looked_at.append(them), take_in(*them)))
    for seq in range(100):
        thief.sendto(struct.pack("!BBHII", 0x80, 0, seq, 160 * seq, 7) + bytes(160), ("127.0.0.1", opened.port))
    plane.tick(now_s)

    assert len(looked_at) == batch_io.PER_SOCKET, "the first of each socket are read together with those of all others"
    (closed,) = plane.command(wire.CloseChannel("new"), now_s)
    assert closed.dropped == {"no_remote" if remote is None else "unknown_source": 100}
    thief.close()


def test_given_a_fenced_channel_when_the_far_end_moves_by_sdp_then_it_is_heard_there(make_call):
    call, thief = make_call(), stranger()
    call.tick(10)
    call.tick(10, meanwhile=lambda: [_try_send(thief, bytes(172), call.alice._target) for _ in range(100)])
    moved = Phone(call.alice._target[1])
    call.plane.command(wire.SetRemote("alice", "127.0.0.1", moved.port), call.now_s)
    for _ in range(5):
        moved.send(np.zeros(160))
        call.now_s += 0.02
        call.plane.tick(call.now_s)
        moved.hear()

    assert call.close().packets_in == 20 + 5
    moved.close()
    thief.close()


def test_given_goodbyes_and_reports_of_strangers_when_they_come_then_ignored(make_call):
    call, thief = make_call(), stranger()
    call.tick(10)
    to_rtcp = ("127.0.0.1", call.alice._target[1] + 1)
    ours = struct.unpack("!I", call.alice.packets[-1][8:12])[0]
    lies = rtcp.Reception(ours, 1.0, 10, 1, 9000, rtcp.ntp_middle(time.time() - 5), 0.0)
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("127.0.0.1", 0))
    own.sendto(rtcp_of(call.alice, 0xA11CE), to_rtcp)  # the far end's own, from where it sends RTCP
    call.tick(1)
    for packet in (
        rtcp_of(None, 0xA11CE, goodbye=True),
        rtcp_of(None, 0xA11CE, lies),
        rtcp_of(None, 0xBAD, lies, goodbye=True),
        b"\x80\xc8junk",
    ):
        thief.sendto(packet, to_rtcp)
    call.tick(20)

    closed = call.close()
    assert call.unbroken(since=12)
    assert closed.dropped == {"rtcp_unknown_source": 3, "bad_rtcp": 1}
    assert (closed.remote_mos, closed.remote_loss_ratio, closed.rtt_ms) == (0.0, 0.0, 0.0)
    thief.close()
    own.close()


@pytest.mark.parametrize("learn", list(Learn))
def test_given_a_private_address_when_the_stream_comes_from_another_host_then_only_learn_any_takes_it(
    make_plane, learn
):
    plane, now_s = make_plane(learn), 1000.0
    (opened,) = plane.command(wire.OpenChannel("nat"), now_s)
    plane.command(wire.SetRemote("nat", "127.0.0.9", 40000), now_s)
    real, thief = stranger("127.0.0.2"), stranger("127.0.0.3")
    for i in range(30):
        head = struct.pack("!BBHII", 0x80, 0, i, i * 160, 5)
        real.sendto(head + bytes(160), ("127.0.0.1", opened.port))
        if i >= 10:
            thief.sendto(struct.pack("!BBHII", 0x80, 0, i, i * 160, 5) + bytes(160), ("127.0.0.1", opened.port))
        now_s += 0.02
        plane.tick(now_s)

    (closed,) = plane.command(wire.CloseChannel("nat"), now_s)
    if learn is Learn.ANY:
        assert (closed.packets_in, closed.dropped) == (25, {"probation": 5, "unknown_source": 20})
        assert len(real.recv(2048)) == 172  # ours go there
    else:
        assert (closed.packets_in, closed.dropped) == (0, {"unknown_source": 50})
    thief.setblocking(False)
    with pytest.raises(BlockingIOError):
        thief.recv(2048)
    real.close()
    thief.close()


def test_given_a_far_end_that_floods_when_it_goes_on_then_what_no_buffer_holds_is_dropped(make_call):
    call = make_call()
    call.tick(20)
    for _ in range(200):
        call.alice.send(np.zeros(160))
    call.tick(5)

    closed = call.close()
    assert closed.dropped["flood"] > 100
    assert closed.packets_in < 225 - 100


def test_given_a_server_that_stood_still_when_it_goes_on_then_the_packets_of_all_calls_are_taken_in_together(
    make_call, monkeypatch
):
    call, sizes = make_call(), []
    call.tick(20)
    take_in = Network._take_in
    monkeypatch.setattr(
        Network, "_take_in", lambda self, rows, *more: (sizes.append(len(rows)), take_in(self, rows, *more))
    )
    for _ in range(20):
        call.alice.send(np.zeros(160))
        call.bob.send(np.zeros(160))

    call.tick()

    # One by one they would cost a full server more time than passes meanwhile: it would never catch up.
    assert sizes == [2] * 21
    assert call.close().packets_in == 41


# --- reports and quality ----------------------------------------------------------------------------------------


def test_given_reports_both_ways_when_closed_then_quality_of_both_directions(make_plane):
    plane, now_s = make_plane(), 1000.0
    (opened,) = plane.command(wire.OpenChannel("r"), now_s)
    pair = PortPool(*(int(p) for p in free_port_range(1).split("-"))).open_pair("127.0.0.1")
    for sock in pair:
        sock.setblocking(True)
        sock.settimeout(5.0)
    plane.command(wire.SetRemote("r", "127.0.0.1", pair[0].getsockname()[1]), now_s)
    target, to_rtcp = ("127.0.0.1", opened.port), ("127.0.0.1", opened.port + 1)
    reports, ours, sr_at_s = [], 0, 0.0
    for i in range(600):
        if i % 20:  # one of twenty is lost
            pair[0].sendto(struct.pack("!BBHII", 0x80, 0, i, i * 160, 77) + bytes([0x40]) * 160, target)
        now_s += 0.02
        plane.tick(now_s)
        ours = struct.unpack("!I", pair[0].recv(2048)[8:12])[0]
        pair[1].settimeout(0.0001)
        try:
            reports.append(rtcp.read_compound(pair[1].recv(2048)))
            sr_at_s = time.time()
        except TimeoutError:
            pass
        if i == 560:
            # They lost 2 %, their jitter is 10 ms, and our report was 80 ms on its ways, both together.
            last_sr = reports[-1].sr_time
            held_s = time.time() - sr_at_s
            heard = rtcp.Reception(ours, 0.02, 11, 561, 80, (last_sr - round(0.08 * 65536)) & 0xFFFFFFFF, held_s)
            pair[1].sendto(rtcp.build_report(77, 1, 160, 0, time.time(), "far", heard), to_rtcp)
    (closed,) = plane.command(wire.CloseChannel("r"), now_s)

    assert len(reports) >= 2
    assert {one.ssrc for one in reports} == {ours}
    block = reports[-1].blocks[0]
    assert block.ssrc == 77
    assert block.fraction_lost == pytest.approx(0.05, abs=0.012)
    assert closed.loss_ratio == pytest.approx(0.05, abs=0.005)
    assert closed.lost == closed.gaps == pytest.approx(28, abs=2)
    assert closed.rtt_ms == pytest.approx(80, abs=15)
    assert closed.remote_loss_ratio == pytest.approx(0.02, abs=0.003)
    assert closed.remote_jitter_ms == pytest.approx(10.0)
    assert 3.5 < closed.mos < 4.1
    assert closed.mos < closed.remote_mos < 4.4
    goodbye = rtcp.read_compound(pair[1].recv(2048))
    assert goodbye.goodbyes == (ours,)
    for sock in pair:
        sock.close()


def test_given_a_clean_call_when_closed_then_no_gaps_and_the_best_mos(make_call):
    call = make_call()
    call.tick(100)

    closed = call.close()

    assert (closed.gaps, closed.lost, closed.loss_ratio, closed.dropped) == (0, 0, 0.0, {})
    assert closed.mos > 4.3
    assert (closed.remote_mos, closed.rtt_ms) == (0.0, 0.0)  # nobody told


def test_given_nothing_received_when_closed_then_quality_is_unknown(make_plane):
    plane = make_plane()
    plane.command(wire.OpenChannel("quiet"), 1.0)

    (closed,) = plane.command(wire.CloseChannel("quiet"), 2.0)

    assert (closed.mos, closed.gaps, closed.jitter_ms, closed.loss_ratio) == (0.0, 0, 0.0, 0.0)


def test_given_rtcp_on_the_rtp_port_when_from_the_far_end_then_read_and_not_dropped(make_call):
    call, thief = make_call(), stranger()
    call.tick(10)
    ours = struct.unpack("!I", call.alice.packets[-1][8:12])[0]
    heard = rtcp.Reception(ours, 0.0, 0, 1, 160, 0, 0.0)
    call.alice.send_raw(rtcp_of(call.alice, 0xA11CE, heard))
    thief.sendto(rtcp_of(None, 0xA11CE, rtcp.Reception(ours, 0.9, 9, 1, 9999, 0, 0.0)), call.alice._target)
    call.tick(5)

    closed = call.close()
    assert closed.remote_jitter_ms == pytest.approx(20.0)
    assert closed.dropped == {"rtcp_unknown_source": 1}
    assert closed.packets_in == 15
    thief.close()


def test_given_a_new_ssrc_of_the_far_end_when_it_goes_on_then_one_frame_is_lost_at_most(make_call):
    call = make_call()
    call.tick(30)
    call.alice.ssrc, call.alice.seq, call.alice.timestamp = 0xBEEF, 7, 99
    call.tick(30)

    closed = call.close()
    assert closed.packets_in == 59
    assert closed.dropped == {"jump": 1}
    assert closed.gaps <= 2
    assert call.unbroken(since=45)


def test_given_a_change_of_law_in_mid_stream_when_it_comes_then_both_are_heard(make_call):
    from telephony.media.g711 import linear_to_alaw

    call = make_call()
    call.tick(20)
    for i in range(30):
        frame = call.speech[i].astype(np.int16)
        call.alice.send_raw(call.alice.packet(linear_to_alaw(frame).tobytes(), payload_type=8))
        call.now_s += 0.02
        call.plane.tick(call.now_s)
        call.bob.hear()

    loud = [np.abs(f.astype(int)).max() for f in call.bob_frames(call.bob.packets[10:])]
    assert min(loud) > 0.5 * max(loud)
    assert call.close().gaps == 0


def test_given_bad_packets_of_the_far_end_itself_when_mixed_in_then_the_stream_is_not_cut_off(make_call):
    call, rng = make_call(), np.random.default_rng(9)
    call.tick(10)

    def noise():
        good = call.alice.packet(bytes(160))
        call.alice.seq -= 1
        call.alice.timestamp -= 160
        for _ in range(5):
            damaged = bytearray(good)
            for at in rng.integers(0, 12, rng.integers(1, 4)):
                damaged[at] = rng.integers(0, 256)
            if damaged[:12] != good[:12]:
                call.alice.send_raw(bytes(damaged[: rng.integers(0, len(damaged) + 1)]))

    call.tick(60, meanwhile=noise)

    # Of 300 some pass for the packet itself: right source, SSRC and number, a timestamp that is slightly wrong.
    assert call.close().gaps <= 3


def test_given_a_stall_when_all_comes_at_once_then_nothing_is_lost_and_the_sound_goes_on(make_call):
    call = make_call()
    call.tick(30)
    held = call.speech[call.sent : call.sent + 8]
    for _ in range(8):  # nothing for 160 ms
        call.now_s += 0.02
        call.plane.tick(call.now_s)
        call.bob.hear()
    for frame in held:
        call.alice.send(frame)
    call.sent += 8
    call.tick(30)

    closed = call.close()
    assert closed.lost == 0
    assert closed.packets_in == 30 + 8 + 30
    assert 5 <= closed.gaps <= 8
    assert call.unbroken(since=42)


@pytest.mark.parametrize("packet", [80, 240, 320, 480])
def test_given_packets_of_other_lengths_when_bridged_then_bit_by_bit(make_call, packet):
    from telephony.media.g711 import linear_to_ulaw

    call = make_call()
    sound = call.speech.astype(np.int16).reshape(-1)
    sent = 0
    for tick in range(1, 120):
        while sent + packet <= tick * 160:
            payload = linear_to_ulaw(sound[sent : sent + packet]).tobytes()
            head = struct.pack("!BBHII", 0x80, 0, sent // packet, sent, 0xA11CE)
            call.alice.send_raw(head + payload)
            sent += packet
        call.now_s += 0.02
        call.plane.tick(call.now_s)
        call.bob.hear()

    assert call.unbroken(since=15)
    assert call.close().gaps == 0


@pytest.mark.parametrize(("packet", "burst"), [(80, 1.0), (160, 1.0), (480, 2.7)])
def test_given_one_packet_in_ten_lost_when_closed_then_quality_counts_a_tenth_whatever_packets_hold(
    make_call, packet, burst
):
    call = make_call()
    sent = 0
    for tick in range(1, 400):
        while sent + packet <= tick * 160:
            number = sent // packet
            if number % 10 != 9:
                call.alice.send_raw(struct.pack("!BBHII", 0x80, 0, number, sent, 0xA11CE) + bytes(packet))
            sent += packet
        call.now_s += 0.02
        call.plane.tick(call.now_s)

    closed = call.close()

    assert closed.loss_ratio == pytest.approx(0.1, abs=0.01)
    low, high = (quality.estimate(delay_s, 0.1, burst).mos for delay_s in (0.3, 0.03))
    assert low - 0.1 < closed.mos < high + 0.1


# --- sockets ----------------------------------------------------------------------------------------------------


def test_given_sockets_when_read_in_batches_then_bytes_sources_and_ages_are_right():
    first, last = (int(port) for port in free_port_range(2).split("-"))
    pool = PortPool(first, last)
    pairs = [pool.open_pair("127.0.0.1") for _ in range(2)]
    inbox = batch_io.Inbox(2, 1501)
    sender = stranger()
    sizes = {0: [1, 172, 1500, 1400, 12, 7], 1: [40]}
    for which, lengths in sizes.items():
        for length in lengths:
            sender.sendto(bytes([length & 0xFF]) * length, pairs[which][0].getsockname())
    got = {0: [], 1: []}
    for _ in range(3):
        counts, arrivals = inbox.receive([pair[0].fileno() for pair in pairs], 500.0, time.time())
        for batch in arrivals:
            for i, which in enumerate(batch.which.tolist()):
                length = int(batch.lengths[i])
                assert (batch.packets[i, :length] == length & 0xFF).all()
                assert batch_io.source_address(int(batch.source[i])) == sender.getsockname()
                assert 490.0 < batch.at_s[i] <= 500.1
                got[which].append(length)

    assert got == sizes
    assert counts == [0, 0]
    assert inbox.receive([pairs[0][0].fileno()], 500.0, time.time())[0] == [0]
    for sock in (*pairs[0], *pairs[1], sender):
        sock.close()


def test_given_a_burst_after_a_stall_when_read_then_all_of_it_is_there_in_order():
    first, last = (int(port) for port in free_port_range(1).split("-"))
    rtp_sock, rtcp_sock = PortPool(first, last).open_pair("127.0.0.1")
    sender, inbox = stranger(), batch_io.Inbox(1, 1501, 64)
    for i in range(100):
        sender.sendto(bytes([i]) * (i + 1), rtp_sock.getsockname())
    got = [inbox.receive_one(rtp_sock.fileno(), 1.0, time.time()) for _ in range(3)]

    assert [len(one.which) for one in got] == [64, 36, 0]
    assert [int(length) for one in got for length in one.lengths] == list(range(1, 101))
    assert int(got[1].only(3).packets[0, 0]) == 67
    for sock in (rtp_sock, rtcp_sock, sender):
        sock.close()


def test_given_a_report_that_nobody_listens_when_packets_lie_behind_it_then_they_are_read():
    first, last = (int(port) for port in free_port_range(1).split("-"))
    rtp_sock, rtcp_sock = PortPool(first, last).open_pair("127.0.0.1")
    far_end, inbox = stranger(), batch_io.Inbox(1, 1501)
    assert batch_io.connect(rtp_sock, far_end.getsockname())
    far_end.sendto(b"sent", rtp_sock.getsockname())
    far_end.close()
    rtp_sock.send(b"nobody listens")  # the kernel's answer waits in the socket, before what was sent

    counts, arrivals = inbox.receive([rtp_sock.fileno()], 1.0, time.time())
    assert counts == [1]
    assert next(arrivals).packets[0, :4].tobytes() == b"sent"
    rtp_sock.close()
    rtcp_sock.close()


def test_given_a_fence_when_put_up_and_taken_down_then_the_kernel_obeys():
    first, last = (int(port) for port in free_port_range(1).split("-"))
    rtp_sock, rtcp_sock = PortPool(first, last).open_pair("127.0.0.1")
    friend, foe = stranger(), stranger()
    own = rtp_sock.getsockname()

    assert batch_io.connect(rtp_sock, friend.getsockname())
    foe.sendto(b"foe", own)
    friend.sendto(b"friend", own)
    assert rtp_sock.recv(100) == b"friend"
    with pytest.raises(BlockingIOError):
        rtp_sock.recv(100)
    assert batch_io.connect(rtp_sock, None)
    assert rtp_sock.getsockname()[1] == own[1]
    third = stranger()
    third.sendto(b"third", own)
    assert rtp_sock.recv(100) == b"third"
    for sock in (rtp_sock, rtcp_sock, friend, foe, third):
        sock.close()
