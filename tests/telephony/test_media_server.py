"""The media server over real sockets, and its plane driven by hand where time matters."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import types

import numpy as np
import pytest

from telephony import contract as wire
from telephony.contract import AnalysisSettings, VerdictKind
from telephony.media.channels import ChannelError, PortPool, parse_remote
from telephony.media.endings import Endings
from telephony.media.plane import DEAD_BRIDGE_S, DIRECT_BRIDGE_S, MediaPlane
from telephony.media.prompts import PromptError, PromptLibrary
from telephony.media.server import MediaServer, Pacer
from tests.telephony.media_peer import LIMIT_S, Daemon, Phone, Server, free_port_range
from tests.telephony.signals import cadence, clip, over_the_line, silence, tone


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    prompts = tmp_path_factory.mktemp("prompts")
    (prompts / "short.ulaw").write_bytes(b"\x80" * 800)
    (prompts / "empty.ulaw").write_bytes(b"")
    (prompts / "text.txt").write_bytes(b"\x80" * 80)
    running = Server(folder, free_port_range(12), "--prompt-dir", str(prompts))
    yield running
    assert running.stop() == 0
    assert not running.path.exists()


@pytest.fixture
def daemon(server):
    connected = Daemon(server.path)
    yield connected
    connected.close()
    last = Daemon(server.path)  # the test may have been replaced
    for channel in last.snapshot.channels:
        last.send(wire.CloseChannel(channel.channel_id))
    last.barrier()
    last.close()


@pytest.fixture
def phones():
    made = []

    def make(daemon, channel_id, payload_type=0):
        phone = Phone(daemon.open(channel_id), payload_type)
        made.append(phone)
        daemon.send(wire.SetRemote(channel_id, "127.0.0.1", phone.port, payload_type))
        return phone

    yield make
    for phone in made:
        phone.close()


def line(*parts):
    return over_the_line(np.concatenate(parts), np.random.default_rng(1))


def closed(daemon, channel_id):
    daemon.send(wire.CloseChannel(channel_id))
    return daemon.expect(wire.ChannelClosed, channel_id=channel_id)


def fields(packet):
    return int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[4:8], "big"), packet[8:12], packet[1] >> 7


# --- over the wire ----------------------------------------------------------------------------------------------


def test_given_a_bridge_when_one_talks_then_the_other_hears_it_bit_by_bit(daemon, phones):
    alice, bob = phones(daemon, "alice"), phones(daemon, "bob")
    alice.hear()
    daemon.send(wire.Bridge("alice", "bob"))
    daemon.barrier()
    speech = line(clip("human_name_f"), silence(0.3))
    for frame in speech:
        alice.hear()
        bob.hear()
        alice.send(frame)
        bob.send(np.zeros(160))

    sequence = [fields(packet) for packet in bob.packets]
    assert all((b[0] - a[0]) & 0xFFFF == 1 for a, b in itertools.pairwise(sequence))
    assert all((b[1] - a[1]) & 0xFFFFFFFF == 160 for a, b in itertools.pairwise(sequence))
    assert len({s[2] for s in sequence}) == 1
    assert sequence[0][3] == 1  # marker on the first packet
    assert sum(s[3] for s in sequence) <= 2  # and where the bridge began
    assert {len(p) for p in bob.packets} == {172}
    heard = bob.heard().reshape(-1, 160)
    want = speech[20:60]
    at = [i for i in range(len(heard) - 40) if (heard[i : i + 40] == want).all()]
    assert at, "40 frames in a row arrive unchanged and in order"

    alice.settle()
    totals = closed(daemon, "alice")
    assert totals.packets_in == len(speech)
    assert totals.bridged_frames_in > len(speech) - 15
    assert totals.dropped == {}


def test_given_a_law_on_one_side_when_bridged_then_transcoded(daemon, phones):
    alice, bob = phones(daemon, "alice8"), phones(daemon, "bob8", 8)
    daemon.send(wire.Bridge("alice8", "bob8"))
    for frame in line(tone(1.0, 800.0)):
        alice.hear()
        bob.hear()
        alice.send(frame)

    assert {p[1] & 0x7F for p in bob.packets} == {8}
    assert {p[1] & 0x7F for p in alice.packets} == {0}
    from telephony.media.g711 import alaw_to_linear

    samples = alaw_to_linear(np.frombuffer(b"".join(p[12:] for p in bob.packets[-30:]), dtype=np.uint8)).astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert abs(spectrum.argmax() * 8000 / len(samples) - 800) < 5


def test_given_a_person_when_analysed_then_the_verdict_comes_with_its_times(server, daemon, phones):
    phone = phones(daemon, "called")
    daemon.send(wire.StartAnalysis("called", False))
    phone.talk(line(silence(0.2)))
    daemon.send(wire.StartAnalysis("called", True))
    phone.talk(line(silence(0.5), clip("human_hello_f"), silence(1.2)))

    verdict = daemon.expect(wire.Verdict, channel_id="called")

    assert verdict.kind is VerdictKind.HUMAN
    assert verdict.connected
    assert 0.35 < verdict.at_s - verdict.speech_end_s < 0.9
    second = Daemon(server.path)
    snapshot = second.snapshot
    second.close()
    mine = next(c for c in snapshot.channels if c.channel_id == "called")
    assert (mine.verdict, mine.verdict_at_s, mine.analysing) == (VerdictKind.HUMAN, verdict.at_s, True)


def test_given_a_greeting_under_analysis_when_a_new_daemon_asks_again_then_what_was_heard_counts(
    server, daemon, phones
):
    phone = phones(daemon, "called")
    daemon.send(wire.StartAnalysis("called", True))
    greeting = clip("machine_reached")
    middle = round(1.8 * 8000)  # too early for a verdict
    phone.talk(line(silence(0.2), greeting[:middle]))
    second = Daemon(server.path)
    second.send(wire.StartAnalysis("called", True))
    phone.talk(line(greeting[middle:], silence(1.5)))

    verdict = second.expect(wire.Verdict, channel_id="called")
    second.close()

    assert verdict.evidence["greeting_s"] > (len(greeting) - 0.4 * 8000) / 8000


def test_given_busy_in_early_media_when_analysed_then_busy(daemon, phones):
    phone = phones(daemon, "busy")
    daemon.send(wire.StartAnalysis("busy", False, AnalysisSettings(tone_plan="DE")))
    phone.talk(line(cadence((425.0,), (0.48, 0.48), 2.2)))

    verdict = daemon.expect(wire.Verdict, channel_id="busy")

    assert (verdict.kind, verdict.connected) == (VerdictKind.BUSY, False)


def test_given_prompts_when_played_then_heard_and_finished(daemon, phones):
    phone = phones(daemon, "prompted")
    phone.hear()
    for prompt in ("tone", "short.ulaw"):
        daemon.send(wire.Play("prompted", prompt))
        assert daemon.expect(wire.PromptFinished).prompt == prompt
        phone.settle()
    heard = phone.heard().astype(float)
    first = np.nonzero(np.abs(heard) > 300)[0][0]
    burst = heard[first : first + 1600]
    spectrum = np.abs(np.fft.rfft(burst * np.hanning(1600)))
    assert abs(spectrum.argmax() * 5 - 440) <= 5
    assert int((heard == 32124).sum()) == 800

    daemon.send(wire.Play("prompted", "drop"), wire.StopPlaying("prompted"))
    assert daemon.expect(wire.PromptFinished).prompt == "drop"


def test_given_a_prompt_when_the_channels_are_bridged_then_it_stops(daemon, phones):
    phone, _ = phones(daemon, "p1"), phones(daemon, "p2")
    daemon.send(wire.Play("p1", "drop"))
    while np.abs(phone.heard()[-160:].astype(int)).max(initial=0) < 300:
        phone.hear()
    daemon.send(wire.Bridge("p1", "p2"))
    daemon.barrier()
    for _ in range(5):
        phone.hear()

    assert np.abs(phone.heard()[-320:].astype(int)).max() < 9


def test_given_bad_commands_when_sent_then_channel_failed_says_why(daemon, phones):
    phones(daemon, "one")
    bad = {
        wire.CloseChannel("nobody"): "no such channel",
        wire.SetRemote("nobody", "127.0.0.1", 5000): "no such channel",
        wire.SetRemote("one", "example.org", 5000): "not an IPv4 address",
        wire.SetRemote("one", "127.0.0.1", 70000): "0..65535",
        wire.SetRemote("one", "224.0.0.1", 5000): "single host",
        wire.SetRemote("one", "127.0.0.1", 5000, 18): "payload type 18",
        wire.StartAnalysis("one", True, AnalysisSettings(tone_plan="ZZ")): "unknown tone plan",
        wire.StartAnalysis("one", True, AnalysisSettings(human_silence_ms=-5)): "human_silence_ms",
        wire.Bridge("one", "one"): "itself",
        wire.Bridge("one", "nobody"): "no such channel",
        wire.OpenChannel("one", 2222): "already open",
        wire.OpenChannel("two", 4001): "not an even port",
        wire.OpenChannel("two", 80): "not an even port",
        wire.OpenChannel(""): "empty",
    }
    for command, why in bad.items():
        daemon.send(command)
        failed = daemon.expect(wire.ChannelFailed)
        assert why in failed.why, command
        assert failed.channel_id == command.channel_id

    assert daemon.barrier().channels == 1


def test_given_prompts_that_cannot_be_played_when_asked_then_they_are_finished_at_once_with_the_reason(daemon, phones):
    phones(daemon, "one")
    bad = {
        "missing.ulaw": "cannot be read",
        "../../../etc/passwd": "outside",
        "/etc/passwd": "outside",
        "text.txt": "not a .ulaw or .alaw or .wav file",
        "empty.ulaw": "0 bytes",
        "nul\0.ulaw": "cannot be read",
    }
    for prompt, why in bad.items():
        daemon.send(wire.Play("one", prompt))
        finished = daemon.expect(wire.PromptFinished)
        assert (finished.channel_id, finished.prompt) == ("one", prompt)
        assert why in finished.error


def test_given_all_ports_taken_when_opening_then_refused_and_later_granted(daemon):
    opened = [daemon.open(f"many{i}") for i in range(12)]
    daemon.send(wire.OpenChannel("toomany"))
    assert "12 channels are in use" in daemon.expect(wire.ChannelFailed).why
    assert len(set(opened)) == 12
    closed(daemon, "many3")

    assert daemon.open("again") == opened[3]


def test_given_malformed_and_foreign_packets_when_they_come_then_counted_and_harmless(daemon, phones):
    phone = phones(daemon, "target")
    phone.talk(line(silence(0.1)))
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.bind(("127.0.0.1", 0))
    good = phone.packet(bytes(160))
    phone.send_raw(b"")
    phone.send_raw(b"\x80\x00")
    phone.send_raw(b"\x00" + good[1:])
    phone.send_raw(good[:1] + b"\x60" + good[2:])
    phone.send_raw(good[:12])
    phone.send_raw(good + bytes(2000))
    phone.send_raw(b"\xa0" + good[1:-1] + b"\xf0")
    stranger.sendto(good, phone._target)
    phone.send_raw(phone.packet(b"\x05\x0a\x00\xa0", payload_type=101))
    rtcp_port = phone._target[1] + 1
    stranger.sendto(b"junk", ("127.0.0.1", rtcp_port))
    phone.talk(line(silence(0.2)))
    stranger.close()
    phone.settle()

    totals = closed(daemon, "target")

    assert totals.dropped == {
        "short": 2,
        "bad_version": 1,
        "unknown_payload": 1,
        "bad_length": 2,
        "bad_padding": 1,
        "unknown_source": 1,
        "bad_rtcp": 1,
    }
    assert totals.packets_in == 5 + 10 + 1


def test_given_a_flood_of_random_datagrams_when_bridged_then_the_call_goes_on(daemon, phones):
    alice, bob = phones(daemon, "fa"), phones(daemon, "fb")
    daemon.send(wire.Bridge("fa", "fb"))
    rng = np.random.default_rng(2)
    for frame in line(tone(0.8, 600.0)):
        bob.hear()
        alice.send(frame)
        for _ in range(10):
            alice.send_raw(rng.bytes(int(rng.integers(0, 400))))

    assert np.abs(bob.heard()[-1600:].astype(int)).max() > 1000
    assert sum(closed(daemon, "fa").dropped.values()) > 0


def test_given_a_key_press_when_bridged_then_the_event_passes_and_is_not_audio(daemon, phones):
    alice, bob = phones(daemon, "ka"), phones(daemon, "kb")
    daemon.send(wire.Bridge("ka", "kb"))
    daemon.barrier()
    alice.talk(line(silence(0.1)))
    timestamp = alice.timestamp
    for i in range(3):
        alice.timestamp = timestamp
        alice.send_raw(
            alice.packet(bytes([5, 10]) + (160 * (i + 1)).to_bytes(2, "big"), marker=i == 0, payload_type=101)
        )
    for _ in range(10):
        bob.hear()
    events = [p for p in bob.packets if p[1] & 0x7F == 101]

    assert [p[12:] for p in events] == [bytes([5, 10]) + (160 * (i + 1)).to_bytes(2, "big") for i in range(3)]
    assert len({p[4:8] for p in events}) == 1
    assert [p[1] >> 7 for p in events] == [1, 0, 0]
    sequence = [fields(p)[0] for p in bob.packets]
    assert all((b - a) & 0xFFFF == 1 for a, b in itertools.pairwise(sequence))
    assert np.abs(bob.heard().astype(int)).max() < 9


def test_given_a_second_daemon_when_it_connects_then_it_replaces_the_first(server):
    first = Daemon(server.path)
    port = first.open("kept")
    second = Daemon(server.path)

    assert first.at_end()
    assert [(c.channel_id, c.local_port) for c in second.snapshot.channels] == [("kept", port)]
    assert second.open("kept") == port  # asked again by a daemon that does not know: the same channel
    closed(second, "kept")
    second.close()
    first.close()


def test_given_a_channel_that_ended_when_another_daemon_connects_then_it_is_told_how_it_sounded(server):
    first = Daemon(server.path)
    phone = Phone(first.open("talked"), 8)
    first.send(wire.SetRemote("talked", "127.0.0.1", phone.port, 8))
    first.barrier()
    for _ in range(5):
        phone.send(np.zeros(160))
        phone.hear()
    told = closed(first, "talked")
    first.close()
    phone.close()
    second = Daemon(server.path)

    # The first may have been killed before it wrote that down.
    assert [one for one in second.snapshot.closed if one.channel_id == "talked"] == [told]
    assert (told.payload_type, told.packets_in > 0, told.at_s > 0.0) == (8, True, True)
    second.close()


@pytest.mark.parametrize(
    "hello", [wire.Hello(role="worker"), wire.Hello(role="daemon", version=99), wire.Ping(1)], ids=repr
)
def test_given_a_wrong_hello_when_connecting_then_refused_and_the_daemon_stays(server, daemon, hello):
    stranger = Daemon(server.path, hello)

    assert stranger.at_end()
    daemon.barrier()
    stranger.close()


@pytest.mark.parametrize("garbage", [b"\xff" * 16, b"\x00\x00\x00\x02\x00\x00"], ids=["oversized", "malformed"])
def test_given_garbage_after_hello_when_it_comes_then_dropped_and_the_next_daemon_served(server, garbage):
    first = Daemon(server.path)
    first.send_raw(garbage)

    assert first.at_end()
    second = Daemon(server.path)
    second.barrier()
    first.close()
    second.close()


def test_given_a_killed_server_when_it_restarts_then_the_channel_gets_its_port_back(tmp_path):
    ports = free_port_range(4)
    first = Server(tmp_path, ports)
    daemon = Daemon(first.path)
    daemon.open("other")
    phone = Phone(daemon.open("call"))
    daemon.send(wire.SetRemote("call", "127.0.0.1", phone.port))
    phone.hear()
    first.kill()
    daemon.close()

    second = Server(tmp_path, ports)  # the stale socket file and lock are no obstacle
    try:
        daemon = Daemon(second.path)
        assert daemon.snapshot.channels == ()
        daemon.open("call", phone._target[1])
        daemon.send(wire.SetRemote("call", "127.0.0.1", phone.port))
        phone.packets.clear()
        assert phone.hear()[1] >> 7 == 1  # a new stream begins with the marker
        others = {daemon.open(f"x{i}") for i in range(3)}
        assert phone._target[1] not in others
        daemon.send(wire.Shutdown())
        assert second.process.wait(LIMIT_S) == 0
    finally:
        second.kill()
        daemon.close()
        phone.close()


def test_given_a_running_server_when_another_takes_its_name_then_it_refuses(server):
    command = [sys.executable, "-m", "telephony.media.server", "--run-dir", str(server.path.parent)]
    other = subprocess.run(command, capture_output=True, timeout=LIMIT_S)

    assert other.returncode == 1
    assert b"another server has this name" in other.stderr
    Daemon(server.path).close()


def test_given_systemd_when_started_and_stopped_then_it_is_told(tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(LIMIT_S)
        os.environ["NOTIFY_SOCKET"] = str(path)
        try:
            running = Server(tmp_path, free_port_range(2))
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert notify.recv(100) == b"READY=1"
        for _ in range(2):
            assert notify.recv(100) == b"WATCHDOG=1\nSTATUS=0 channels, 0 bridged, 0 under analysis"
        running.process.send_signal(signal.SIGTERM)
        while (said := notify.recv(100)) != b"STOPPING=1":
            assert said.startswith(b"WATCHDOG=1")
        running.process.communicate(timeout=LIMIT_S)  # without another SIGTERM: nobody may be left to take it
        assert running.process.returncode == 0


@pytest.mark.parametrize(
    "options",
    [["--learn", "everybody"], ["--rtp-ports", "5-9"], ["--rtp-ports", "abc"], ["--capacity", "0"], ["--name", "a/b"]],
    ids=" ".join,
)
def test_given_bad_options_when_started_then_usage_error(tmp_path, options):
    command = [sys.executable, "-m", "telephony.media.server", "--run-dir", str(tmp_path), *options]
    found = subprocess.run(command, capture_output=True, timeout=LIMIT_S)

    assert found.returncode == 2
    assert options[0].encode() in found.stderr


# --- the plane by hand ------------------------------------------------------------------------------------------


@pytest.fixture
def plane():
    first, last = (int(p) for p in free_port_range(4).split("-"))
    made = MediaPlane("127.0.0.1", PortPool(first, last), 4, PromptLibrary())
    yield made
    made.close()


class Call:
    """A channel of a plane and its far end; time only moves by `run`."""

    def __init__(self, plane, channel_id, now_s):
        self.plane, self.now_s = plane, now_s
        (opened,) = plane.command(wire.OpenChannel(channel_id), now_s)
        self.phone = Phone(opened.port)
        plane.command(wire.SetRemote(channel_id, "127.0.0.1", self.phone.port), now_s)

    def run(self, frames):
        events = []
        for frame in frames:
            self.phone.send(frame)
            self.now_s += 0.02
            events += self.plane.tick(self.now_s)
            self.phone.hear()
        return events


def test_given_a_person_and_no_daemon_when_two_seconds_pass_then_the_drop_prompt_is_heard(plane):
    call = Call(plane, "waiting", 1000.0)
    plane.command(wire.StartAnalysis("waiting", True), 1000.0)
    events = call.run(line(silence(0.4), clip("human_hello_m"), silence(1.0)))
    assert [e.kind for e in events] == [VerdictKind.HUMAN]
    due_s = events[0].speech_end_s + 2.0

    plane.look_after_orphans(due_s - 0.1, orphaned_since_s=1000.0)
    call.run(line(silence(0.2)))
    assert np.abs(call.phone.heard().astype(int)).max() < 9
    plane.look_after_orphans(due_s, orphaned_since_s=1000.0)
    call.run(line(silence(1.0)))

    assert np.abs(call.phone.heard().astype(int)).max() > 1000
    call.phone.close()


def test_given_no_daemon_when_the_grace_ends_then_unbridged_channels_close_and_bridged_ones_later(plane):
    calls = [Call(plane, name, 1000.0) for name in ("lonely", "left", "right")]
    plane.command(wire.Bridge("left", "right"), 1000.0)
    calls[1].run(line(silence(0.1)))

    assert plane.look_after_orphans(1000.0 + wire.ORPHAN_GRACE_S - 0.1, 1000.0) == []
    assert plane.look_after_orphans(1000.0 + wire.ORPHAN_GRACE_S + 0.1, 1000.0) == ["lonely"]
    assert plane.look_after_orphans(1000.0 + DEAD_BRIDGE_S, 1000.0) == []
    assert set(plane.look_after_orphans(1000.3 + DEAD_BRIDGE_S, 1000.0)) == {"left", "right"}
    assert plane.counts() == (0, 0, 0)
    ended = plane.endings.lately(1e6)[1]
    assert {one.channel_id: one.packets_in > 0 for one in ended} == {"lonely": False, "left": True, "right": False}
    for call in calls:
        call.phone.close()


def test_given_another_source_port_of_the_same_host_when_first_then_learned_and_others_dropped(plane):
    call = Call(plane, "nat", 1000.0)
    behind = Phone(call.phone._target[1])
    other = Phone(call.phone._target[1])
    late = Phone(call.phone._target[1])
    now_s = 1000.0

    def sends(phone, packets):
        nonlocal now_s
        for _ in range(packets):
            phone.send(np.zeros(160))
            now_s += 0.02
            plane.tick(now_s)

    sends(behind, 4)
    behind.hear()  # what was sent goes to where packets come from
    sends(other, 4)
    behind.packets.clear()
    for _ in range(5):
        behind.hear()
    now_s += 10.0  # the learned source was silent for long
    sends(late, 4)
    late.hear()
    sends(call.phone, 3)  # the negotiated address itself always wins
    call.phone.hear()
    sends(late, 4)

    (totals,) = plane.command(wire.CloseChannel("nat"), now_s)
    # Two packets of each other port, and one of the negotiated address, are needed to prove it.
    assert totals.dropped == {"probation": 5, "unknown_source": 8}
    assert totals.packets_in == 2 + 2 + 2
    for phone in (call.phone, behind, other, late):
        phone.close()


def test_given_a_bridged_channel_when_analysis_is_asked_then_refused(plane):
    calls = [Call(plane, name, 1.0) for name in ("a", "b")]
    plane.command(wire.StartAnalysis("a", True), 1.0)
    plane.command(wire.Bridge("a", "b"), 1.0)

    assert plane.counts() == (2, 0, 2)
    (failed,) = plane.command(wire.StartAnalysis("a", True), 1.0)
    assert "bridged" in failed.why
    assert plane.command(wire.Unbridge("a"), 1.0) == []
    assert plane.counts() == (2, 0, 0)
    for call in calls:
        call.phone.close()


def test_given_payload_types_when_a_new_daemon_connects_then_the_snapshot_has_them(plane):
    plane.command(wire.OpenChannel("a"), 1.0)
    assert plane.command(wire.SetRemote("a", "127.0.0.1", 4000, 8, 97), 1.0) == []

    (found,) = plane.snapshot().channels
    assert (found.remote_port, found.payload_type, found.event_payload_type) == (4000, 8, 97)


def test_given_hold_when_the_remote_is_taken_away_then_nothing_is_sent(plane):
    call = Call(plane, "held", 1.0)
    plane.tick(1.0)
    call.phone.hear()
    plane.command(wire.SetRemote("held", "0.0.0.0", 5000), 1.0)
    plane.tick(1.02)
    call.phone.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        call.phone.hear()
    call.phone.close()


def test_given_five_seconds_when_sending_then_a_report_goes_to_the_rtcp_port(plane):
    (opened,) = plane.command(wire.OpenChannel("r"), 1.0)
    pair = PortPool(*(int(p) for p in free_port_range(1).split("-"))).open_pair("127.0.0.1")
    plane.command(wire.SetRemote("r", "127.0.0.1", pair[0].getsockname()[1]), 1.0)
    for i in range(251):
        plane.tick(1.0 + i * 0.02)

    report = pair[1].recv(1500)
    assert report[1] == 200
    assert int.from_bytes(report[20:24], "big") > 0  # packets sent
    assert opened.port
    for sock in pair:
        sock.close()


def test_given_stalls_when_paced_then_missed_ticks_are_caught_up_or_given_up():
    pacer = Pacer(100.0)
    assert not pacer.due(100.01)
    assert pacer.due(100.02)
    pacer.done(100.021, 100.024)
    late_p50, _, work_p50, _ = pacer.percentiles_ms()
    assert (late_p50, work_p50) == (pytest.approx(1.0), pytest.approx(3.0))
    ran = 0
    while pacer.due(160.0):
        pacer.done(160.0, 160.0)
        ran += 1
    assert 1 <= ran <= 6
    assert pacer.skipped > 2900
    assert not pacer.due(160.0)


def test_given_ticks_that_take_longer_than_they_last_when_a_command_comes_then_it_is_heard(monkeypatch):
    now_s, done = [100.0], []

    class Plane:
        endings = Endings()
        audio = types.SimpleNamespace(log=[])

        def tick(self, _now_s):
            now_s[0] += 0.03
            done.append("tick")
            assert len(done) < 1000, "nobody listens any more"
            return []

        def look_after_orphans(self, *_):
            return []

        def counts(self):
            return 1, 0, 0

    class Control:
        is_connected, orphaned_since_s = False, 100.0

        def __init__(self):
            self.changes = []

        def poll(self, timeout_s, _now_s):
            now_s[0] += max(0.0, timeout_s)
            done.append("poll")
            return [wire.Shutdown()] if done.count("tick") == 20 else []

        def beat(self, _now_s):
            pass

        def send(self, events):
            assert events == []  # nobody is connected

    # The server's clock and no other: whatever else runs in this process goes on by the real one.
    monkeypatch.setattr("telephony.media.server.time", types.SimpleNamespace(monotonic=lambda: now_s[0]))
    MediaServer(Plane(), Control()).run()

    assert done.count("tick") <= 21
    assert "tick tick" not in " ".join(done)


@pytest.mark.parametrize(("first", "last"), [(0, 100), (2000, 1000), (65535, 65535), (1024, 70000)])
def test_given_a_bad_port_range_when_made_then_value_error(first, last):
    with pytest.raises(ValueError, match="port"):
        PortPool(first, last)


def test_given_no_daemon_when_somebody_is_on_hold_then_both_sides_are_kept_as_a_conversation_is(plane):
    for name in ("customer", "agent"):
        plane.command(wire.OpenChannel(name), 1000.0)
    plane.command(wire.Bridge("customer", "agent"), 1000.0)
    plane.command(wire.Unbridge("customer"), 1000.0)
    plane.command(wire.Play("customer", "music", loop=True), 1000.0)

    assert plane.look_after_orphans(999.0 + DEAD_BRIDGE_S, 1000.0) == []
    assert plane.look_after_orphans(1001.0 + DEAD_BRIDGE_S, 1000.0) == ["agent"], "nothing was heard of it"
    assert plane.look_after_orphans(999.0 + DIRECT_BRIDGE_S, 1000.0) == [], "it may have been told to send nothing"
    assert plane.look_after_orphans(1001.0 + DIRECT_BRIDGE_S, 1000.0) == ["customer"]


def test_given_no_prompt_folder_when_a_file_is_asked_then_prompt_error():
    with pytest.raises(PromptError, match="no folder"):
        PromptLibrary().samples("x.ulaw")
    with pytest.raises(ChannelError, match="IPv4"):
        parse_remote("::1", 4)


def test_given_no_daemon_when_a_conversation_flows_past_us_then_its_channels_are_kept_for_hours(plane):
    for name in ("left", "right"):
        plane.command(wire.OpenChannel(name), 1000.0)
    plane.command(wire.Bridge("left", "right"), 1000.0)
    for name in ("left", "right"):
        plane.command(wire.StandBy(name, True), 1000.0)

    assert plane.look_after_orphans(1001.0 + DEAD_BRIDGE_S, 1000.0) == []
    assert set(plane.look_after_orphans(1001.0 + DIRECT_BRIDGE_S, 1000.0)) == {"left", "right"}
