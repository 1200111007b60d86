"""RTP parsing, G.711 and jitter buffers: properties."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.media import g711, rtcp, rtp
from telephony.media.jitter import DELAY_FRAMES, SLOTS, JitterBuffers


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


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.integers(-1, 1), min_size=10, max_size=60),
    st.sets(st.integers(2, 50), max_size=8),
    st.sets(st.integers(0, 59), max_size=6),
)
def test_given_reordered_lost_and_doubled_packets_when_played_then_in_order_and_each_once(
    first_timestamp, shifts, lost, doubled
):
    buffers = JitterBuffers(1)
    row = np.array([0])
    count = len(shifts)
    # Packet i leaves at tick i and arrives one tick early (in the same batch), in time, or one late.
    arrivals: dict[int, list[int]] = {}
    for number, shift in enumerate(shifts):
        if number not in lost:
            arrivals.setdefault(max(0, number + shift), []).append(number)
            if number in doubled:
                arrivals.setdefault(number + 1, []).append(number)
    played = []
    for tick in range(count + 12):
        for number in arrivals.get(tick, []):
            stamp = np.array([(first_timestamp + 160 * number) & 0xFFFFFFFF])
            buffers.put(row, stamp, np.array([7]), frame(number))
        audio, real = buffers.take(row)
        if real[0]:
            assert (audio[0] == audio[0, 0]).all()
            played.append(int(audio[0, 0]) - 1)

    assert played == sorted(set(played))
    assert not set(played) & lost
    # With one tick of jitter and 40 ms of delay next to nothing may be dropped as late.
    assert len(played) >= count - len(lost) - 2 - int(buffers.late[0])


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
        while offset - ahead >= 320:  # the listener keeps two frames behind
            audio, real = buffers.take(row)
            if real[0]:
                heard.append(audio[0])
            ahead += 160
    played = np.concatenate(heard) if heard else np.zeros(0, dtype=np.int16)

    assert (played == sent[: len(played)]).all()
    assert len(played) >= offset - 3 * 160 - max(sizes)


def test_given_a_hole_when_played_then_concealed_once_and_counted():
    buffers = JitterBuffers(1)
    row = np.array([0])
    for number in (0, 1, 4, 5):
        buffers.put(row, np.array([160 * number]), np.array([1]), frame(999))
    heard = [buffers.take(row) for _ in range(6)]

    assert [bool(real[0]) for _, real in heard] == [True, True, False, False, True, True]
    assert [int(audio[0, 0]) for audio, _ in heard] == [1000, 1000, 700, 0, 1000, 1000]
    assert buffers.lost[0] == 2


def test_given_a_new_ssrc_or_a_jump_when_it_comes_then_playout_goes_on_with_it():
    buffers = JitterBuffers(1)
    row = np.array([0])

    def play(start: int, ssrc: int) -> list[int]:
        heard = []
        for number in range(DELAY_FRAMES + 3):
            buffers.put(row, np.array([start + 160 * number]), np.array([ssrc]), frame(number))
            audio, real = buffers.take(row)
            heard += [int(audio[0, 0]) - 1] if real[0] else []
        return heard

    assert play(1000, 1)[0] == 0
    assert play(77, 2)[0] == 0  # another SSRC
    assert play(77 + 160 * 1000, 2)[0] == 0  # the same one jumps ahead
    assert play(12, 2)[0] == 0  # and back


def test_given_too_much_delay_for_long_when_playing_then_it_is_cut():
    buffers = JitterBuffers(1)
    row = np.array([0])
    number = 0
    for _ in range(8):  # a burst of 160 ms
        buffers.put(row, np.array([160 * number]), np.array([1]), frame(number))
        number += 1
    last = -1
    for _ in range(1200):
        buffers.put(row, np.array([160 * number]), np.array([1]), frame(number % 1000))
        number += 1
        audio, real = buffers.take(row)
        last = int(audio[0, 0]) - 1 if real[0] else last
    behind = (number - 1) % 1000 - last

    assert behind <= 4
    assert SLOTS > 8


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_given_any_bytes_when_read_as_rtcp_then_no_exception(packet):
    rtcp.read_last_sr(packet)


def test_given_our_own_report_when_read_then_well_formed_with_its_time():
    heard = rtcp.Reception(5, 0.25, 3, 70000, last_sr=1, since_last_sr_s=0.5)
    report = rtcp.build_report(1, 10, 1600, 99, 1_700_000_000.5, "ocsd@127.0.0.1", heard)

    assert len(report) % 4 == 0
    ntp = int((1_700_000_000.5 + rtcp.NTP_OFFSET_S) * 2**32)
    assert rtcp.read_last_sr(report) == ntp >> 16 & 0xFFFFFFFF
    assert rtcp.read_last_sr(report[:-1]) is None
    assert rtcp.read_last_sr(b"") is None
