"""Keys: telephone events under every kind of loss, sent and passed on; tones told from speech."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.media import rtp
from telephony.media.dtmf import DIGITS, LOST_END_S, EventReceiver, EventSender, frequencies, tone, tones
from telephony.media.dtmf_inband import InbandDetector
from telephony.media.g711 import linear_to_ulaw, ulaw_to_linear
from telephony.media.mixer import Mixer
from tests.telephony.signals import clip

TICK_S = 0.02


def packets(digits, tone_ms=100, gap_ms=60, start=5000):
    """(timestamp, payload) per 20 ms step of what our own sender sends."""
    sender = EventSender(digits, tone_ms, gap_ms)
    sent = []
    for step in itertools.count():
        if sender.done:
            return sent
        packet = sender.step()
        if packet is not None:
            sent.append((start + 160 * step - packet.offset, packet.payload, packet.marker))


def receive(arrivals, ssrc=1):
    """What a receiver reports of (timestamp, payload) in order of arrival, one per tick, and after a long silence."""
    receiver, keys, now_s = EventReceiver(), [], 100.0
    for timestamp, payload in arrivals:
        now_s += TICK_S
        keys += receiver.packet(payload, timestamp & 0xFFFFFFFF, ssrc, now_s)
        keys += receiver.expire(now_s)
    assert receiver.expire(now_s + LOST_END_S / 2) == []
    keys += receiver.expire(now_s + LOST_END_S)
    assert receiver.expire(now_s + 10.0) == []
    return keys


def test_given_a_key_when_sent_then_the_packets_are_those_of_the_standard():
    sent = packets("5", tone_ms=50)

    assert [payload.hex() for _, payload, _ in sent] == ["050a00a0", "050a0140", "058a0190", "058a0190", "058a0190"]
    assert [marker for _, _, marker in sent] == [True, False, False, False, False]
    assert {timestamp for timestamp, _, _ in sent} == {5000}


@pytest.mark.parametrize(("tone_ms", "gap_ms"), [(40, 40), (100, 60), (100, 100), (65, 45), (2000, 40)])
def test_given_all_keys_when_sent_and_received_then_each_once_with_its_length(tone_ms, gap_ms):
    keys = receive([(t, p) for t, p, _ in packets(DIGITS * 2, tone_ms, gap_ms)])

    assert "".join(key.digit for key in keys) == DIGITS * 2
    assert {key.duration_ms for key in keys} == {tone_ms}


@pytest.mark.parametrize("bad", [("", 100, 60), ("12x", 100, 60), ("1", 30, 60), ("1", 100, 2001), ("1" * 65, 100, 60)])
def test_given_what_cannot_be_sent_when_asked_then_refused(bad):
    with pytest.raises(ValueError, match="must"):
        EventSender(*bad)


@settings(max_examples=150, deadline=None)
@given(
    digits=st.text(DIGITS, min_size=1, max_size=6),
    tone_ms=st.integers(40, 300),
    data=st.data(),
    start=st.integers(0, 2**32 - 1),
)
def test_given_any_loss_and_repetition_when_something_of_a_key_arrives_then_it_is_reported_once(
    digits, tone_ms, data, start
):
    sent = [(timestamp, payload) for timestamp, payload, _ in packets(digits, tone_ms, 60, start)]
    copies = data.draw(st.lists(st.integers(0, 2), min_size=len(sent), max_size=len(sent)))
    arrived = [packet for packet, count in zip(sent, copies, strict=True) for _ in range(count)]
    there = {timestamp for timestamp, _ in arrived}
    wanted = {timestamp: payload[0] for timestamp, payload in sent if timestamp in there}

    keys = receive(arrived)

    assert [DIGITS.index(key.digit) for key in keys] == list(wanted.values())
    assert all(key.duration_ms <= tone_ms for key in keys)


@given(order=st.permutations(range(8)))
def test_given_one_key_in_any_order_when_received_then_it_is_reported_once(order):
    sent = [(timestamp, payload) for timestamp, payload, _ in packets("7", 120)]

    keys = receive([sent[i] for i in order])

    assert [key.digit for key in keys] == ["7"]


def test_given_the_end_lost_when_the_next_key_comes_then_both_are_told_in_order():
    first = [(t, p) for t, p, _ in packets("1")][:3]
    second = [(t + 1280, p) for t, p, _ in packets("2")]

    assert [key.digit for key in receive(first + second)] == ["1", "2"]


def test_given_the_same_key_twice_when_pressed_then_it_is_told_twice():
    assert [key.digit for key in receive([(t, p) for t, p, _ in packets("11")])] == ["1", "1"]


def test_given_a_key_held_beyond_one_event_when_let_go_then_it_is_one_key_of_the_whole_length():
    step = 4000
    arrivals = [(1000, bytes([9, 10]) + d.to_bytes(2, "big")) for d in range(step, 0xFFFF, step)]
    arrivals.append((1000, bytes([9, 10]) + b"\xff\xff"))
    arrivals += [(1000 + 0xFFFF, bytes([9, 10]) + d.to_bytes(2, "big")) for d in (160, 800, 1600)]
    arrivals.append((1000 + 0xFFFF, bytes([9, 0x8A]) + (1600).to_bytes(2, "big")))

    (key,) = receive(arrivals)

    assert (key.digit, key.duration_ms) == ("9", (0xFFFF + 1600) // 8)


def test_given_another_stream_when_it_uses_the_same_timestamp_then_it_is_another_key():
    receiver = EventReceiver()
    end = bytes([3, 0x8A]) + (800).to_bytes(2, "big")
    found = [receiver.packet(end, 5000, ssrc, 1.0) for ssrc in (1, 1, 2)]

    assert [[key.digit for key in keys] for keys in found] == [["3"], [], ["3"]]


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(min_size=4, max_size=8), st.integers(0, 3)), max_size=30)
)
def test_given_any_packets_when_received_then_only_keys_come_out(arrivals):
    receiver = EventReceiver()
    for i, (timestamp, payload, ssrc) in enumerate(arrivals):
        for key in receiver.packet(payload, timestamp, ssrc, i * TICK_S):
            assert key.digit in DIGITS
            assert key.duration_ms >= 0


def test_given_the_time_of_a_key_when_reported_then_it_is_when_it_was_pressed():
    (key,) = receive([(t, p) for t, p, _ in packets("4")])

    assert key.at_s == pytest.approx(100.0 + TICK_S - 160 / 8000)


# --- through the mixer ------------------------------------------------------------------------------------------


class Quiet:
    def take(self, rows):
        return np.full((len(rows), 160), 500, dtype=np.int16), np.ones(len(rows), dtype=bool)

    def note_other(self, row, seq):
        """The real one keeps its sequence numbers in order with these."""


def two_bridged(event_type):
    mixer = Mixer(2, np.random.default_rng(3))
    for row in range(2):
        mixer.open_row(row, 0.0)
        mixer.sending[row] = True
    mixer.jitter = Quiet()
    mixer.event_type[1] = event_type
    mixer.bridge(0, 1)
    return mixer


def press(mixer, payload, timestamp, marker, now_s):
    packet = np.zeros((1, 172), dtype=np.uint8)
    one = np.array([7], dtype=np.int64)
    rtp.write_headers(packet, np.array([101], dtype=np.uint8), np.array([marker]), one, np.array([timestamp]), one)
    packet[0, 12:16] = np.frombuffer(payload, dtype=np.uint8)
    return mixer.accept(np.array([0]), packet, rtp.parse(packet, np.array([16])), now_s)


def test_given_an_event_when_passed_on_then_with_the_number_the_other_side_negotiated_and_the_talker_is_muted():
    mixer = two_bridged(97)
    mixer.tick()
    assert (mixer.sent[1] == 500).all()
    onward = []
    for timestamp, payload, marker in packets("8"):
        onward += press(mixer, payload, timestamp, marker, 1.0)
        mixer.tick()
        if not payload[1] & 0x80:
            assert not (mixer.sent[1] == 500).any()
    mixer.tick()

    assert {row for row, _ in onward} == {1}
    assert {datagram[1] & 0x7F for _, datagram in onward} == {97}
    assert len({datagram[4:8] for _, datagram in onward}) == 1
    assert (mixer.sent[1] == 500).all()
    assert [(row, key.digit) for row, key in mixer.keys.pressed] == [(0, "8")]


def test_given_a_far_end_without_events_when_a_key_is_passed_on_then_it_hears_the_tone_as_long_as_it_is_held():
    mixer = two_bridged(0)
    heard = []
    for timestamp, payload, marker in packets("6", 200):
        assert press(mixer, payload, timestamp, marker, 1.0) == []
        mixer.tick()
        heard.append(mixer.sent[1].copy())
    mixer.tick()

    expected = tone("6", 9 * 160)
    assert np.array_equal(np.concatenate(heard[:9]), expected)
    assert (mixer.sent[1] == 500).all()


def test_given_digits_to_send_when_ticked_then_events_take_the_place_of_audio_and_the_sequence_has_no_hole():
    mixer = two_bridged(101)
    mixer.send_digits(1, "12", 100, 60, inband=False)
    sequence, events, ended, stamps = [], [], [], []
    for _ in range(25):
        rows, _ = mixer.tick()
        ended += mixer.keys_sent
        for row, datagram in [*mixer.extra, *((row, mixer.packets[row].tobytes()) for row in rows)]:
            if row == 1:
                sequence.append(int.from_bytes(datagram[2:4], "big"))
                if datagram[1] & 0x7F == 101:
                    events.append(datagram)
                else:
                    stamps.append(int.from_bytes(datagram[4:8], "big"))

    assert all((b - a) & 0xFFFF == 1 for a, b in itertools.pairwise(sequence))
    assert [key.digit for key in receive([(int.from_bytes(d[4:8], "big"), d[12:]) for d in events])] == ["1", "2"]
    assert sum(d[1] >> 7 for d in events) == 2
    assert ended == [(1, "12")]
    assert len(sequence) == 25
    steps = {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)}
    assert steps <= {160, 160 * 8}
    assert len(stamps) == 25 - 2 * 7


def test_given_no_events_negotiated_when_digits_are_sent_then_as_tones_that_only_that_side_hears():
    mixer = two_bridged(0)
    mixer.send_digits(1, "42", 100, 60, inband=False)
    line, ended = [], []
    for _ in range(20):
        mixer.tick()
        line.append(mixer.sent[1].copy())
        ended += mixer.keys_sent
        assert (mixer.sent[0] == 500).all()

    assert np.array_equal(np.concatenate(line)[: 320 * 8], tones("42", 100, 60))
    assert ended == [(1, "42")]


# --- tones ------------------------------------------------------------------------------------------------------


def detect(samples, offset=0):
    detector = InbandDetector(3)
    detector.enable(1, True)
    line = np.concatenate([np.zeros(400 + offset), samples, np.zeros(800 + 160 - (len(samples) + offset) % 160)])
    line = np.clip(line[: len(line) // 160 * 160], -32768, 32767).astype(np.int16)
    line = ulaw_to_linear(linear_to_ulaw(line))
    keys = []
    for i, frame in enumerate(line.reshape(-1, 160)):
        frames = np.zeros((3, 160), dtype=np.int16)
        frames[1] = frame
        keys += [(row, key) for row, key in detector.step(frames, (i + 1) * TICK_S)]
    assert all(row == 1 for row, _ in keys)
    return [key for _, key in keys]


@pytest.mark.parametrize("timing", [(40, 40), (50, 50), (100, 60), (500, 100)])
def test_given_keys_as_tones_when_heard_then_all_are_told_with_their_length_and_time(timing):
    keys = detect(tones(DIGITS, *timing))

    assert "".join(key.digit for key in keys) == DIGITS
    assert all(abs(key.duration_ms - timing[0]) <= 15 for key in keys)
    assert all(abs(key.at_s - (0.05 + i * sum(timing) / 1000)) <= 0.015 for i, key in enumerate(keys))


def key_tone(digit, ms, level_dbfs=-12.0, twist_db=0.0, off_ratio=0.0, snr_db=30.0, seed=0):
    low_hz, high_hz = (f * (1 + off_ratio) for f in frequencies(digit))
    t = np.arange(ms * 8) / 8000
    amplitude = 32767 * 10 ** (level_dbfs / 20)
    clean = amplitude * (
        10 ** (-twist_db / 40) * np.sin(2 * np.pi * low_hz * t)
        + 10 ** (twist_db / 40) * np.sin(2 * np.pi * high_hz * t)
    )
    noise = amplitude * 10 ** (-snr_db / 20) * np.random.default_rng(seed).standard_normal(len(t))
    return clean + noise


@pytest.mark.parametrize(
    "how",
    [
        {"level_dbfs": -28.0},
        {"level_dbfs": -7.0},
        {"twist_db": 5.0},
        {"twist_db": -7.0},
        {"off_ratio": 0.015},
        {"off_ratio": -0.015},
        {"snr_db": 15.0},
    ],
    ids=repr,
)
def test_given_a_poor_line_when_a_key_is_pressed_then_it_is_heard(how):
    for i, digit in enumerate(DIGITS):
        assert [key.digit for key in detect(key_tone(digit, 65, seed=i, **how), offset=17 * i)] == [digit], digit


@pytest.mark.parametrize(
    "how",
    [
        {"ms": 20},
        {"ms": 100, "off_ratio": 0.04},
        {"ms": 100, "twist_db": 14.0},
        {"ms": 100, "twist_db": -14.0},
        {"ms": 100, "level_dbfs": -45.0},
        {"ms": 100, "snr_db": -3.0},
    ],
    ids=repr,
)
def test_given_what_is_no_key_when_heard_then_none_is_told(how):
    for i, digit in enumerate(DIGITS):
        assert detect(key_tone(digit, seed=i, **how), offset=13 * i) == [], digit


def test_given_a_short_break_when_a_key_is_held_then_it_is_one_key():
    line = key_tone("3", 200)
    line[800:880] = 0

    assert [key.digit for key in detect(line)] == ["3"]


@pytest.mark.parametrize("name", ["human_hello_f", "human_name_f", "machine_reached"])
def test_given_speech_when_heard_then_no_key_is_told(name):
    assert detect(clip(name).astype(float)) == []
