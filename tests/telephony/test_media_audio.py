"""Commands about a channel's audio: over real sockets, and the plane driven by hand where time matters."""

import socket

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telephony import contract as wire
from telephony.contract import Role
from telephony.media.channels import PortPool
from telephony.media.dtmf import EventSender, tones
from telephony.media.plane import DEAD_BRIDGE_S, MediaPlane
from telephony.media.prompts import PromptLibrary
from tests.telephony.media_peer import Daemon, Phone, Server, free_port_range

QUIET = np.zeros(160)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("media"), free_port_range(12))
    yield running
    assert running.stop() == 0


@pytest.fixture
def daemon(server):
    connected = Daemon(server.path)
    yield connected
    for channel in ("customer", "agent", "supervisor"):
        connected.send(wire.CloseChannel(channel))
    connected.barrier()
    connected.close()


@pytest.fixture
def phones():
    made = []

    def make(daemon, *names, event_payload_type=101):
        mine = []
        for name in names:
            phone = Phone(daemon.open(name))
            mine.append(phone)
            daemon.send(wire.SetRemote(name, "127.0.0.1", phone.port, 0, event_payload_type))
        made.extend(mine)
        return mine

    yield make
    for phone in made:
        phone.close()


def press(phone, digits, tone_ms=100, payload_type=101):
    """As a telephone does it: events in place of audio, in step with what it hears."""
    sender, start = EventSender(digits, tone_ms, 60), phone.timestamp
    while not sender.done:
        phone.hear()
        packet = sender.step()
        if packet is None:
            phone.send(QUIET)
            continue
        now = phone.timestamp
        if packet.marker:
            start = now
        phone.timestamp = start
        phone.send_raw(phone.packet(packet.payload, packet.marker, payload_type=payload_type))
        phone.timestamp = now + 160


def test_given_keys_when_pressed_then_they_are_reported_only_if_asked_for(daemon, phones):
    (phone,) = phones(daemon, "customer")
    phone.talk(np.zeros((5, 160)))
    press(phone, "9")
    daemon.send(wire.DetectDigits("customer"))
    daemon.barrier()
    press(phone, "5#", tone_ms=120)
    keys = [daemon.expect(wire.DigitPressed) for _ in range(2)]

    assert [(key.digit, key.duration_ms, key.inband) for key in keys] == [("5", 120, False), ("#", 120, False)]
    assert keys[0].at_s < keys[1].at_s
    assert not [one for one in daemon.seen if isinstance(one, wire.DigitPressed) and one.digit == "9"]


def test_given_a_far_end_that_numbers_events_its_own_way_when_it_uses_that_then_its_keys_are_understood(daemon, phones):
    (phone,) = phones(daemon, "customer", event_payload_type=97)
    daemon.send(wire.DetectDigits("customer"))
    phone.talk(np.zeros((5, 160)))
    press(phone, "3", payload_type=97)
    press(phone, "4", payload_type=101)
    press(phone, "5", payload_type=98)  # nobody's
    press(phone, "6", payload_type=97)

    assert [daemon.expect(wire.DigitPressed).digit for _ in range(3)] == ["3", "4", "6"]
    daemon.send(wire.CloseChannel("customer"))
    assert daemon.expect(wire.ChannelClosed).dropped["unknown_payload"] > 0
    daemon.open("customer")


def test_given_tones_when_asked_to_listen_for_them_then_they_are_keys_as_well(daemon, phones):
    (phone,) = phones(daemon, "customer")
    daemon.send(wire.DetectDigits("customer", inband=True))
    line = np.concatenate([np.zeros(800), tones("42", 100, 80).astype(float), np.zeros(1600)])
    phone.talk(line.reshape(-1, 160))
    keys = [daemon.expect(wire.DigitPressed) for _ in range(2)]

    assert [(key.digit, key.inband) for key in keys] == [("4", True), ("2", True)]
    assert keys[0].at_s < keys[1].at_s


def test_given_a_far_end_that_does_both_when_a_key_is_pressed_then_it_is_reported_once(daemon, phones):
    (phone,) = phones(daemon, "customer")
    daemon.send(wire.DetectDigits("customer", inband=True))
    phone.talk(np.zeros((5, 160)))
    press(phone, "7")
    line = np.concatenate([tones("7", 100, 60).astype(float), np.zeros(3200)])
    phone.talk(line.reshape(-1, 160))
    daemon.barrier()

    assert [one.digit for one in daemon.seen if isinstance(one, wire.DigitPressed)] == ["7"]


@pytest.mark.parametrize("event_payload_type", [101, 96])
def test_given_digits_to_send_when_asked_then_the_far_end_gets_events_and_the_end_is_told(
    daemon, phones, event_payload_type
):
    (phone,) = phones(daemon, "customer", event_payload_type=event_payload_type)
    phone.hear()
    daemon.send(wire.SendDigits("customer", "12"))
    for _ in range(22):
        phone.hear()
    daemon.expect(wire.DigitsSent, channel_id="customer", digits="12", error="")
    events = [packet[12:] for packet in phone.packets if packet[1] & 0x7F == event_payload_type]

    assert [e[0] for e in events if e[1] & 0x80] == [1, 1, 1, 2, 2, 2]


def test_given_digits_that_cannot_be_sent_when_asked_then_the_reason_is_told(daemon, phones):
    phones(daemon, "customer")
    daemon.open("agent")
    for command, why in (
        (wire.SendDigits("customer", "12x"), "digits must be"),
        (wire.SendDigits("customer", "1", tone_ms=5), "40..2000"),
        (wire.SendDigits("agent", "1"), "not known"),
    ):
        daemon.send(command)
        assert why in daemon.expect(wire.DigitsSent, channel_id=command.channel_id).error
    daemon.send(wire.SetRemote("customer", "127.0.0.1", 5000, 0, 8))
    assert "96..127" in daemon.expect(wire.ChannelFailed).why


def test_given_a_whisper_when_the_customer_listens_then_nothing_of_it_is_in_his_packets(daemon, phones):
    customer, agent, supervisor = phones(daemon, "customer", "agent", "supervisor")
    daemon.send(wire.Bridge("customer", "agent"), wire.Join("supervisor", "agent", Role.WHISPER))
    daemon.barrier()
    levels = (800.0, 3000.0, 12000.0)
    for _ in range(60):
        for phone, level in zip((customer, agent, supervisor), levels, strict=True):
            phone.hear()
            phone.send(np.full(160, level))
    by_customer, by_agent, by_supervisor = (phone.heard()[-160 * 20 :] for phone in (customer, agent, supervisor))
    quiet, middle, loud = 796, 3132, 12028  # what u-law makes of the levels

    def near(samples, value):
        return (np.abs(samples.astype(int) - value) <= value * 0.05).mean()

    assert near(by_customer, middle) == 1.0
    assert near(by_agent, quiet + loud) == 1.0
    assert near(by_supervisor, quiet + middle) == 1.0


def test_given_what_cannot_be_joined_when_asked_then_the_reason_is_told(daemon, phones):
    phones(daemon, "customer", "agent", "supervisor")
    daemon.send(wire.Join("supervisor", "agent", Role.LISTEN))
    for command, why in (
        (wire.Join("agent", "agent"), "itself"),
        (wire.Join("agent", "nobody"), "no such channel"),
        (wire.Join("customer", "supervisor", Role.MEMBER), "supervisor"),
        (wire.StartRecording("agent", "a.wav"), ""),
    ):
        daemon.send(command)
        if why:
            assert why in daemon.expect(wire.ChannelFailed).why
    assert "no recording folder" in daemon.expect(wire.RecordingFinished).error


# --- the plane by hand ------------------------------------------------------------------------------------------


@pytest.fixture
def plane():
    first, last = (int(port) for port in free_port_range(6).split("-"))
    made = MediaPlane("127.0.0.1", PortPool(first, last), 6, PromptLibrary())
    for name in "abcdef":
        made.command(wire.OpenChannel(name), 0.0)
    yield made
    made.close()


def described(plane):
    return {c.channel_id: (c.bridged_to, c.joined_to, c.role) for c in plane.snapshot().channels}


def test_given_conversations_when_described_then_a_daemon_can_put_them_together_again(plane):
    plane.command(wire.Bridge("a", "b"), 1.0)
    plane.command(wire.Join("c", "a", Role.LISTEN), 1.0)
    plane.command(wire.Bridge("d", "e"), 1.0)
    plane.command(wire.Join("f", "e"), 1.0)
    plane.command(wire.DetectDigits("a", True, True), 1.0)
    found = described(plane)

    assert found["a"] == ("b", "", Role.MEMBER)
    assert found["c"] == ("", "a", Role.LISTEN)
    assert {found[name][1] for name in "def"} <= set("def")
    assert all(found[name][1] != name and not found[name][0] for name in "def")
    assert plane.counts() == (6, 0, 5)
    assert plane.snapshot().channels[0].digits == wire.DetectDigits("a", True, True)


def test_given_people_who_talk_when_analysis_is_asked_then_refused_and_joining_ends_one_that_runs(plane):
    plane.command(wire.StartAnalysis("a", True), 1.0)
    plane.command(wire.Join("b", "a"), 1.0)
    assert plane.counts()[1] == 0
    plane.command(wire.Join("c", "a", Role.LISTEN), 1.0)
    for name in "abc":
        (failed,) = plane.command(wire.StartAnalysis(name, True), 1.0)
        assert "people are talking" in failed.why


def test_given_no_daemon_when_conferences_go_on_then_they_stay_until_nothing_is_heard_of_them(plane):
    plane.command(wire.Bridge("a", "b"), 0.0)
    plane.command(wire.Join("c", "a"), 0.0)
    plane.command(wire.Join("d", "a", Role.LISTEN), 0.0)
    plane.command(wire.Join("f", "e", Role.LISTEN), 0.0)  # nobody talks there
    late_s = wire.ORPHAN_GRACE_S + 1.0

    assert sorted(plane.look_after_orphans(late_s, 0.0)) == ["e", "f"]
    plane._mixer.last_rtp_s[plane._by_id["c"].row] = 100.0
    assert plane.look_after_orphans(100.0 + DEAD_BRIDGE_S, 0.0) == []
    assert sorted(plane.look_after_orphans(101.0 + DEAD_BRIDGE_S, 0.0)) == ["a", "b", "c", "d"]


def test_given_music_on_hold_when_somebody_joins_then_it_stops(plane):
    plane.command(wire.Play("a", "ringback"), 0.0)
    assert [one.prompt for one in plane.snapshot().channels if one.channel_id in "ab"] == ["ringback", ""]
    plane.command(wire.Join("b", "a"), 0.0)
    assert plane.command(wire.StopPlaying("a"), 0.0) == []

    plane.command(wire.Play("a", "ringback"), 0.0)
    plane.command(wire.Join("c", "a"), 0.0)  # a conversation goes on as it was
    assert plane.command(wire.StopPlaying("a"), 0.0) == [wire.PromptFinished("a", "ringback")]


ids = st.sampled_from(["a", "b", "c", "", "nobody"])
numbers = st.one_of(st.floats(), st.sampled_from([0.0, -50.0, 1.0, 15.0]))
times_ms = st.one_of(st.integers(-(10**9), 10**9), st.just(100))
texts = st.one_of(st.text(max_size=12), st.sampled_from(["drop", "ringback", "tone", "5", "x.wav", "de", "a" * 5000]))
hosts = st.one_of(st.just("127.0.0.1"), st.just("127.0.0.1"), st.just("0.0.0.0"), texts)
# Nobody listens on the discard port.
remotes = st.builds(
    wire.SetRemote,
    ids,
    hosts,
    st.one_of(st.just(9), st.just(9), st.integers(-1, 70000)),
    st.one_of(st.just(0), st.just(8), st.integers(-1, 300)),
    st.one_of(st.just(101), st.just(0), st.integers(-1, 300)),
)
keys = st.builds(wire.SendDigits, ids, st.just("15"), st.just(100), st.just(60), st.booleans())
commands = st.one_of(
    remotes,
    remotes,
    keys,
    st.builds(wire.OpenChannel, ids),
    st.builds(wire.CloseChannel, ids),
    st.builds(wire.Bridge, ids, ids),
    st.builds(wire.Unbridge, ids),
    st.builds(wire.Join, ids, ids, st.sampled_from(list(Role))),
    st.builds(wire.Play, ids, texts, texts, st.lists(texts, max_size=2).map(tuple), st.booleans(), st.booleans()),
    st.builds(wire.StopPlaying, ids),
    st.builds(wire.Comfort, ids, numbers),
    st.builds(wire.DetectDigits, ids, st.booleans(), st.booleans()),
    st.builds(wire.SendDigits, ids, texts, times_ms, times_ms, st.booleans()),
    st.builds(wire.StartRecording, ids, texts, st.sampled_from(list(wire.Layout)), numbers, numbers),
    st.builds(wire.StopRecording, ids, texts),
    st.builds(wire.StartAnalysis, ids, st.booleans()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(commands, max_size=25))
def test_given_any_commands_when_obeyed_then_each_is_answered_or_done_and_the_server_lives(plane, history):
    for i, command in enumerate(history):
        for event in plane.command(command, float(i)):
            assert wire.encode_frame(event)
        for k in range(2):
            for event in plane.tick(i + k / 50):
                assert wire.encode_frame(event)
    assert wire.encode_frame(plane.snapshot())
    talks = plane._mixer.conversations
    assert all(plane._rows[row] is not None for row in np.nonzero(talks.talks)[0])


def test_given_a_key_that_begins_on_hold_when_the_hold_ends_then_the_rest_of_it_is_sent(plane):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        there, hold = [wire.SetRemote("a", "127.0.0.1", port) for port in (phone.getsockname()[1], 0)]
        for command in (there, wire.SendDigits("a", "5"), hold):
            assert plane.command(command, 0.0) == []
        plane.tick(0.02)
        plane.command(there, 0.03)
        events = [event for i in range(2, 12) for event in plane.tick(i / 50)]
        phone.setblocking(False)
        packets = [phone.recv(2048) for _ in range(6)]

    assert events == [wire.DigitsSent("a", "5")]
    pressed = [packet for packet in packets if packet[1] & 0x7F == 101]
    assert [packet[12] for packet in pressed] == [5] * 6
    assert len({packet[4:8] for packet in pressed}) == 1, "all packets of a key carry the time it began"


def test_given_a_closed_channel_when_its_row_is_used_again_then_nothing_of_it_is_left(plane):
    row = plane._by_id["a"].row
    plane.command(wire.Bridge("a", "b"), 0.0)
    plane.command(wire.SendDigits("a", "1"), 0.0)
    plane.command(wire.DetectDigits("a", True, True), 0.0)
    plane.command(wire.Comfort("a", -50.0), 0.0)
    plane.command(wire.Play("b", "ringback", everybody=True), 0.0)
    plane.command(wire.CloseChannel("a"), 0.0)
    plane.command(wire.OpenChannel("g"), 0.0)

    assert plane._by_id["g"].row == row
    (snapshot,) = [c for c in plane.snapshot().channels if c.channel_id == "g"]
    assert (snapshot.bridged_to, snapshot.digits, snapshot.comfort_dbfs) == ("", None, 0.0)
    assert plane.tick(1.0) == []
    at = np.searchsorted(plane._mixer.sent_rows, row)
    assert not plane._mixer.sent[at].any()
