"""RTP parsing, G.711 and jitter buffers: properties, and playout over simulated networks."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.media import g711, rtp
from telephony.media.jitter import SLOTS, JitterBuffers
from telephony.media.playout_delay import LEAST_TARGET_S, MOST_TARGET_S


def frame(number: int) -> np.ndarray:
    """A 20 ms frame that says its number."""
    return np.full((1, 160), number + 1, dtype=np.int16)


def parse_one(datagram: bytes) -> rtp.ParsedBatch:
    packets = np.zeros((1, rtp.MAX_PACKET_BYTES + 1), dtype=np.uint8)
    size = min(len(datagram), packets.shape[1])
    packets[0, :size] = np.frombuffer(datagram[:size], dtype=np.uint8)
    return rtp.parse(packets, np.array([size]))


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=1600))
def test_given_any_bytes_when_parsed_then_valid_or_a_reason(datagram):
    batch = parse_one(datagram)

    if batch.valid[0]:
        assert 12 <= batch.start[0] < batch.end[0] <= len(datagram)
        assert datagram[0] >> 6 == 2
        assert batch.payload_type[0] in (rtp.PCMU, rtp.PCMA, rtp.TELEPHONE_EVENT, rtp.COMFORT_NOISE)
    else:
        assert rtp.REASONS[batch.reason[0]]


@given(
    st.sampled_from([0, 8, 101]),
    st.booleans(),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(4, 960),
    st.integers(0, 15),
    st.integers(0, 6),
    st.integers(0, 20),
)
def test_given_a_proper_packet_when_parsed_then_all_fields_come_back(
    kind, marker, seq, timestamp, ssrc, size, csrcs, extension_words, padding
):
    packet = np.zeros((1, 12), dtype=np.uint8)
    rtp.write_headers(
        packet,
        np.array([kind], dtype=np.uint8),
        np.array([marker]),
        np.array([seq]),
        np.array([timestamp]),
        np.array([ssrc]),
    )
    head = bytearray(packet.tobytes())
    head[0] |= csrcs | (0x10 if extension_words else 0) | (0x20 if padding else 0)
    extension = (
        b"\xbe\xde" + extension_words.to_bytes(2, "big") + bytes(4 * extension_words) if extension_words else b""
    )
    payload = bytes(range(256)) * 4
    tail = bytes(padding - 1) + bytes([padding]) if padding else b""

    batch = parse_one(bytes(head) + bytes(4 * csrcs) + extension + payload[:size] + tail)

    assert batch.valid[0], rtp.REASONS[batch.reason[0]]
    assert (batch.payload_type[0], batch.marker[0]) == (kind, marker)
    assert (batch.seq[0], batch.timestamp[0], batch.ssrc[0]) == (seq, timestamp, ssrc)
    assert batch.end[0] - batch.start[0] == size


def test_given_malformed_packets_when_parsed_then_each_has_its_reason():
    good = bytes([0x80, 0]) + bytes(10) + bytes(160)
    cases = {
        b"": "short",
        good[:11]: "short",
        b"\x40" + good[1:]: "bad_version",
        good[:1] + b"\x12" + good[2:]: "unknown_payload",
        good[:12]: "bad_length",
        good + bytes(1400): "bad_length",
        b"\xa0" + good[1:-1] + b"\x00": "bad_padding",
        b"\xa0" + good[1:-1] + b"\xff": "bad_padding",
        b"\x90" + good[1:13]: "bad_length",
        b"\x90" + good[1:14] + b"\xff\xff" + good[16:]: "bad_length",
    }

    assert {packet: rtp.REASONS[parse_one(packet).reason[0]] for packet in cases} == cases


@given(st.binary(min_size=1, max_size=64))
def test_given_ulaw_and_alaw_when_decoded_and_encoded_then_the_same(octets):
    codes = np.frombuffer(octets, dtype=np.uint8)

    assert (g711.linear_to_alaw(g711.alaw_to_linear(codes)) == codes).all()
    again = g711.linear_to_ulaw(g711.ulaw_to_linear(codes))
    assert ((again == codes) | (codes == 0x7F)).all()  # the negative zero becomes the positive one


def test_given_reference_points_when_decoded_then_those_of_the_standard():
    assert g711.ULAW_TO_LINEAR[[0x00, 0x80, 0xFF, 0xF0]].tolist() == [-32124, 32124, 0, 120]
    assert g711.ALAW_TO_LINEAR[[0x2A, 0xAA, 0xD5, 0x55]].tolist() == [-32256, 32256, 8, -8]


SENDS_AT_S = 0.003
"""Phase of the far end's clock against our ticks."""


@dataclass
class Playout:
    """What came of playing a stream: per tick whether the frame was real, and its samples."""

    buffers: JitterBuffers
    real: list[bool] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    delay_s: list[float] = field(default_factory=list)

    @property
    def sound(self) -> np.ndarray:
        return np.concatenate(self.frames)

    def numbers(self) -> list[int]:
        """For streams of `frame`: the numbers of the frames that were played as they came."""
        whole = [f for real, f in zip(self.real, self.frames, strict=True) if real and (f == f[0]).all()]
        return [int(f[0]) - 1 for f in whole]


def play(
    delay_s,
    *,
    lost=(),
    doubled=(),
    samples=None,
    packet=160,
    paused=lambda i: False,
    drift_ppm=0.0,
    first_timestamp=0xFFFFFF00,
    first_seq=65500,
):
    """
    Send packet i at i x ptime, let it travel ``delay_s[i]``, and play what arrives, 50 ticks a second.

    ``samples`` is the speech to send (default: `frame` numbers); ``paused``: packets that the far end does not send.
    """
    buffers = JitterBuffers(1)
    row = np.array([0])
    ptime_s = packet / 8000 * (1 + drift_ppm * 1e-6)
    arrivals = []
    seq = first_seq
    for i, delay in enumerate(delay_s):
        if paused(i):
            continue
        if i not in lost:
            at_s = SENDS_AT_S + i * ptime_s + delay
            arrivals += [(at_s, i, seq & 0xFFFF)] * (2 if i in doubled else 1)
        seq += 1
    arrivals.sort()
    played = Playout(buffers)
    ticks = round((len(delay_s) * ptime_s + max(delay_s)) / 0.02) + 3
    for tick in range(1, ticks):
        now_s = tick * 0.02
        while arrivals and arrivals[0][0] <= now_s:
            at_s, i, number = arrivals.pop(0)
            audio = frame(i)[0] if samples is None else samples[i * packet : (i + 1) * packet]
            stamp = (first_timestamp + i * packet) & 0xFFFFFFFF
            if packet % 80 == 0:
                buffers.put(row, np.array([stamp]), np.array([7]), audio[None, :], np.array([number]), np.array([at_s]))
            else:
                buffers.put_odd(0, stamp, 7, audio, number, at_s)
        buffers.set_clock(now_s)
        audio, real = buffers.take(row)
        played.real.append(bool(real[0]))
        played.frames.append(audio[0].copy())
        played.delay_s.append(buffers.delay_s(0))
    return played


def speech(seconds, seed=1):
    """Syllables and pauses: 1.2 s of voice, 0.8 s of faint noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * 8000)) / 8000
    voice = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 12)) * 3000 * (t % 2.0 < 1.2)
    return (voice + rng.normal(0, 8, len(t))).astype(np.int16)


def never_doubled(sound):
    """Nothing that was played sounds twice: positions of the sent samples only rise."""
    return (np.diff(sound) > 0).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFF),
    st.lists(st.floats(0.0, 0.06), min_size=60, max_size=120),
    st.sets(st.integers(2, 110), max_size=8),
    st.sets(st.integers(0, 110), max_size=6),
)
def test_given_reordered_lost_and_doubled_packets_when_played_then_in_order_and_each_once(
    first_timestamp, first_seq, delays, lost, doubled
):
    played = play(delays, lost=lost, doubled=doubled, first_timestamp=first_timestamp, first_seq=first_seq)
    numbers = played.numbers()

    assert numbers == sorted(set(numbers))
    assert not set(numbers) & lost
    # Until the jitter is known some come late; after a late one the delay is long enough for such a one.
    came_late = int(played.buffers.late[0])
    blended = 2 * len(lost) + 2 * came_late + int(played.buffers.gaps[0])
    assert len(numbers) >= len(delays) - len(lost) - came_late - blended
    assert came_late <= 6


@given(st.lists(st.integers(1, 960), min_size=1, max_size=30), st.integers(0, 0xFFFFFFFF))
@settings(max_examples=100, deadline=None)
def test_given_packets_of_odd_sizes_when_played_then_the_samples_come_in_order(sizes, first_timestamp):
    buffers = JitterBuffers(1)
    row = np.array([0])
    sent = np.arange(1, sum(sizes) + 1).astype(np.int16)
    heard = []
    offset = 0
    ahead = 0
    for size in sizes:
        buffers.put_odd(0, (first_timestamp + offset) & 0xFFFFFFFF, 1, sent[offset : offset + size])
        offset += size
        while offset - ahead >= 480:  # the listener keeps three frames behind
            audio, real = buffers.take(row)
            if real[0]:
                heard.append(audio[0])
            ahead += 160
    played = np.concatenate(heard) if heard else np.zeros(0, dtype=np.int16)

    assert (played == sent[: len(played)]).all()
    assert len(played) >= offset - 5 * 160 - max(sizes)


@pytest.mark.parametrize("packet", [80, 120, 160, 200, 240, 320, 400, 480])
def test_given_packets_of_10_to_60_ms_when_played_then_every_sample_is_heard_once(packet):
    samples = (np.arange(1, 16001) * 2).astype(np.int16)
    count = len(samples) // packet

    played = play([0.03] * count, packet=packet, samples=samples)

    heard = np.concatenate([f for real, f in zip(played.real, played.frames, strict=True) if real])
    assert (heard[: 160 * (packet * count // 160)] == samples[: 160 * (packet * count // 160)]).all()
    assert (played.buffers.gaps[0], played.buffers.lost[0], played.buffers.late[0]) == (0, 0, 0)


def test_given_a_steady_path_when_played_then_bit_exact_with_little_delay():
    sent = speech(6.0)

    played = play([0.03] * 300, samples=sent)

    heard = played.sound
    first = int(np.nonzero(np.array(played.real))[0][0]) * 160
    assert (heard[first : first + 55 * 160] == sent[: 55 * 160]).all()  # until the first pause, which may be cut
    assert max(played.delay_s) <= 0.05
    assert played.buffers.gaps[0] == 0


@pytest.mark.parametrize("jitter_s", [0.01, 0.04, 0.08, 0.15])
def test_given_jitter_when_known_then_the_delay_covers_it_and_no_more(jitter_s):
    rng = np.random.default_rng(5)

    played = play(0.03 + rng.uniform(0.0, jitter_s, 2500), samples=speech(50.0))

    settled = played.delay_s[1500:2400]
    assert max(settled) <= jitter_s + 0.06
    assert LEAST_TARGET_S <= played.buffers.target_s[0] <= min(MOST_TARGET_S, jitter_s + 0.02)
    assert sum(not real for real in played.real[500:2400]) == 0
    assert played.buffers.late[0] <= 6


def test_given_a_spike_when_the_path_calms_down_then_the_delay_grows_at_once_and_shrinks_in_pauses():
    delays = np.full(2500, 0.03)
    for i in range(8):  # 160 ms of nothing, then all at once
        delays[200 + i] += 0.16 - 0.0199 * i
    sent = speech(50.0)

    played = play(delays, samples=sent)

    assert played.delay_s[150] <= 0.05
    assert max(played.delay_s[205:215]) >= 0.13
    assert played.delay_s[2400] <= 0.05
    assert played.buffers.gaps[0] <= 8
    assert played.buffers.lost[0] == 0  # the burst was played, late
    assert played.buffers.cut[0] >= 4
    # Cut only where it is quiet: all of the voice is there.
    voiced = int((np.abs(sent[: 2400 * 160].astype(int)).reshape(-1, 160).max(axis=1) > 1000).sum())
    heard = int((np.abs(played.sound[: 2410 * 160].astype(int)).reshape(-1, 160).max(axis=1) > 1000).sum())
    assert heard >= voiced - 2


@pytest.mark.parametrize("later_s", [0.1, 0.3, 1.5])
def test_given_a_path_that_becomes_longer_for_good_when_it_is_known_then_audio_waits_no_longer_than_before(later_s):
    rng = np.random.default_rng(2)
    delays = 0.03 + rng.uniform(0.0, 0.04, 1200)
    delays[300:] += later_s

    played = play(delays, samples=speech(24.0))

    since = 300 + round(later_s * 50)
    assert played.buffers.target_s[0] <= 0.06
    assert np.median(played.delay_s[200:300]) - 0.02 <= np.median(played.delay_s[since + 450 : since + 800]) <= 0.08
    assert sum(not real for real in played.real[since + 450 : 1150]) <= 2
    assert played.buffers.lost[0] <= 2  # what came later was played later


def test_given_a_far_end_that_stood_still_when_it_goes_on_then_the_delay_is_the_old_one_within_a_second():
    delays = np.full(600, 0.03)
    delays[300:] += 1.0

    played = play(delays, samples=speech(12.0))

    assert played.buffers.target_s[0] == LEAST_TARGET_S
    assert max(played.delay_s[250:300]) <= 0.05
    assert max(played.delay_s[400:600]) <= 0.05


def test_given_a_server_that_stood_still_when_it_goes_on_then_the_waiting_audio_is_folded_away_within_seconds():
    buffers, row, sent = JitterBuffers(1), np.array([0]), speech(20.0)
    number, delays_s = 0, []
    for tick in range(1000):
        if 250 <= tick < 265:
            continue  # 300 ms: what came meanwhile is taken in at once
        now_s = tick * 0.02 + 0.019
        while number * 0.02 <= now_s:
            audio = sent[number * 160 : (number + 1) * 160]
            at_s = np.array([number * 0.02])
            buffers.put(row, np.array([number * 160]), np.array([7]), audio[None, :], np.array([number]), at_s)
            number += 1
        buffers.set_clock(now_s)
        buffers.take(row)
        delays_s.append(buffers.delay_s(0))

    assert max(delays_s[100:250]) <= 0.06
    assert delays_s[251] >= 0.3
    assert max(delays_s[250 + 400 :]) <= 0.06
    assert buffers.target_s[0] == LEAST_TARGET_S
    assert (buffers.lost[0], buffers.late[0]) == (0, 0)


@pytest.mark.parametrize("drift_ppm", [-1000.0, -100.0, 100.0, 1000.0])
def test_given_a_clock_that_drifts_when_played_long_then_it_is_followed_in_pauses(drift_ppm):
    played = play([0.03] * 4000, samples=speech(80.0), drift_ppm=drift_ppm)

    assert played.buffers.gaps[0] <= 1
    assert played.buffers.lost[0] == played.buffers.late[0] == 0
    assert min(played.delay_s[200:3900]) >= 0.0
    assert max(played.delay_s[200:3900]) <= 0.07
    if abs(drift_ppm) == 1000.0:  # 80 ms in all
        moved = played.buffers.cut[0] if drift_ppm < 0 else played.buffers.stretched[0]
        assert moved >= 2


def test_given_pauses_of_the_far_end_when_it_says_so_by_its_numbers_then_they_are_no_gaps():
    played = play([0.03] * 1000, paused=lambda i: (i // 50) % 2 == 1)

    assert (played.buffers.gaps[0], played.buffers.lost[0]) == (0, 0)
    assert played.numbers() == [i for i in range(1000) if (i // 50) % 2 == 0]
    assert played.buffers.delay_s(0) == 0.0  # it ends in a pause
    assert max(played.delay_s) <= 0.05


def test_given_pauses_when_the_first_packets_after_them_are_lost_then_only_these_count():
    played = play([0.03] * 1000, paused=lambda i: (i // 50) % 2 == 1, lost=set(range(100, 1000, 100)))

    assert played.buffers.lost[0] == 9
    assert played.buffers.gaps[0] <= 9
    assert len(played.numbers()) >= 500 - 9 - 9  # and those blended in after a hole


def test_given_the_same_pauses_lost_on_the_way_when_played_then_each_frame_counts():
    lost = {i for i in range(900) if (i // 10) % 10 == 9}

    played = play([0.03] * 1000, lost=lost)

    assert played.buffers.lost[0] == len(lost)
    assert played.buffers.holes[0] == len(lost) // 10
    assert len(lost) - 30 <= played.buffers.gaps[0] <= len(lost)


def test_given_a_pause_off_the_grid_when_the_voice_comes_back_then_its_packets_stay_whole():
    buffers = JitterBuffers(1)
    row = np.array([0])
    heard = []
    stamp = 1000
    for i in range(60):
        if i == 30:
            stamp += 77  # a pause of half a second and 77 samples
        if not 5 < i < 30:
            buffers.put(row, np.array([stamp]), np.array([1]), frame(i), np.array([i if i <= 5 else i - 24]))
        stamp += 160
        audio, real = buffers.take(row)
        if real[0]:
            assert (audio[0] == audio[0, 0]).all()
            heard.append(int(audio[0, 0]) - 1)

    assert heard[:6] == list(range(6))
    assert heard[6:] == list(range(30, 30 + len(heard) - 6))
    assert len(heard) >= 33


@pytest.mark.parametrize(("packet", "lost"), [(80, 100), (80, 101), (40, 203), (240, 33), (240, 34)])
def test_given_a_lost_packet_off_the_grid_when_played_then_the_rest_of_its_frame_is_filled(packet, lost):
    sent = (8000 * np.sin(2 * np.pi * 200 * np.arange(16000) / 8000)).astype(np.int16)

    played = play([0.03] * (16000 // packet), packet=packet, samples=sent, lost={lost})

    assert played.real[5:95].count(False) <= 1
    loud = np.abs(played.sound.astype(int)).reshape(-1, 40)[50:-40].max(axis=1)
    assert loud.min() > 6000


def test_given_a_frame_that_came_in_pieces_and_whole_when_its_place_is_used_again_then_nothing_of_it_is_heard():
    one, row, ssrc = JitterBuffers(1), np.array([0]), np.array([7])

    def put(number, audio):
        one.put(row, np.array([160 * number]), ssrc, audio)

    loud = np.full((1, 160), 9999, dtype=np.int16)
    put(0, 0 * loud)
    one.put_odd(0, 160 + 40, 7, loud[0, :60])
    put(1, loud)
    heard = []
    for number in range(2, SLOTS + 8):
        if number == SLOTS + 1:  # in the place of the first; only half of it comes
            put(number, 0 * loud[:, :80])
        else:
            put(number, 0 * loud)
        heard.append(one.take(row)[0][0])

    assert [frame.all() for frame in heard if frame.any()] == [True], "the loud frame once, and no remnant of it"


def test_given_a_new_ssrc_or_a_jump_when_it_comes_then_playout_goes_on_with_it():
    buffers = JitterBuffers(1)
    row = np.array([0])

    def heard(start: int, ssrc: int) -> list[int]:
        found = []
        for number in range(6):
            buffers.put(row, np.array([start + 160 * number]), np.array([ssrc]), frame(number))
            audio, real = buffers.take(row)
            found += [int(audio[0, 0]) - 1] if real[0] else []
        return found

    assert heard(1000, 1)[0] == 0
    assert heard(77, 2)[0] == 0  # another SSRC
    assert heard(77 + 160 * 1000, 2)[0] == 0  # the same one jumps ahead
    assert heard(12, 2)[0] == 0  # and back


def test_given_packets_of_changing_lengths_when_played_then_every_sample_is_heard_once():
    buffers = JitterBuffers(1)
    rng = np.random.default_rng(6)
    sent = np.arange(1, 30001).astype(np.int16)
    heard, offset, played, number = [], 0, 0, 0
    while offset + 480 < len(sent):
        size = int(rng.choice([40, 80, 100, 160, 240, 320]))
        piece = sent[offset : offset + size]
        if size % 80:
            buffers.put_odd(0, offset, 1, piece, number)
        else:
            buffers.put(np.array([0]), np.array([offset]), np.array([1]), piece[None, :], np.array([number]))
        offset, number = offset + size, number + 1
        while offset - played >= 480:
            audio, real = buffers.take(np.array([0]))
            heard += [audio[0]] if real[0] else []
            played += 160
    sound = np.concatenate(heard)

    assert len(sound) > 25_000
    assert (sound == sent[: len(sound)]).all()


def test_given_many_channels_when_some_lose_packets_then_each_is_as_if_alone():
    rng = np.random.default_rng(8)
    count, ticks = 20, 120
    sent = [speech(3.0, seed) for seed in range(count)]
    lost = rng.random((count, ticks)) < 0.05
    together = JitterBuffers(count)
    alone = [JitterBuffers(1) for _ in range(count)]

    for tick in range(ticks):
        there = np.nonzero(~lost[:, tick])[0]
        for buffers, rows in [(together, there)] + [(alone[i], np.array([0])) for i in there]:
            which = there if buffers is together else [next(i for i in there if alone[i] is buffers)]
            audio = np.stack([sent[i][tick * 160 : (tick + 1) * 160] for i in which])
            k = len(which)
            buffers.put(rows, np.full(k, tick * 160), np.full(k, 3), audio, np.full(k, tick))
        everywhere, real = together.take(np.arange(count))
        for i in range(count):
            audio, one = alone[i].take(np.array([0]))
            assert (audio[0] == everywhere[i]).all(), (tick, i)
            assert one[0] == real[i]
