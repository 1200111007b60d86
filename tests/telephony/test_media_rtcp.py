"""RTCP: what is built can be read, what is malformed is refused, round trips; the E-model's known points."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.media import quality, rtcp

HEARD = rtcp.Reception(5, 0.25, 3, 70000, jitter=77, last_sr=0x12345678, since_last_sr_s=0.5)


def report(**changes):
    known = {
        "ssrc": 1,
        "packets_out": 10,
        "octets_out": 1600,
        "rtp_timestamp": 99,
        "wall_s": 1_700_000_000.5,
        "cname": "ocsd@127.0.0.1",
        "heard": HEARD,
    }
    return rtcp.build_report(**known | changes)


@given(
    st.integers(0, 0xFFFFFFFF),
    st.floats(0.0, 0.99),
    st.integers(-(1 << 23), (1 << 23) - 1),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(1, 0xFFFFFFFF),
    st.floats(0.0, 1000.0),
    st.text(max_size=300),
    st.booleans(),
)
def test_given_any_reception_when_reported_then_it_is_read_back(
    ssrc, fraction, lost, highest, jitter, last_sr, since_s, cname, goodbye
):
    heard = rtcp.Reception(ssrc, fraction, lost, highest, jitter, last_sr, since_s)

    packet = report(heard=heard, cname=cname, goodbye=goodbye)
    found = rtcp.read_compound(packet)

    assert len(packet) % 4 == 0
    assert found is not None
    assert found.goodbyes == ((1,) if goodbye else ())
    (block,) = found.blocks
    assert (block.ssrc, block.cumulative_lost, block.highest_seq, block.jitter, block.last_sr) == (
        ssrc,
        lost,
        highest,
        jitter,
        last_sr,
    )
    assert block.fraction_lost == pytest.approx(fraction, abs=1 / 256)
    assert block.since_last_sr_s == pytest.approx(since_s, abs=1 / 65536)
    assert found.sr_time == rtcp.ntp_middle(1_700_000_000.5)


def test_given_a_report_when_anything_is_wrong_with_its_form_then_refused():
    good = report()
    sdes_at = 28 + 24
    broken = {
        "empty": b"",
        "cut": good[:-1],
        "cut between": good[:28],
        "version": bytes([good[0] & 0x3F]) + good[1:],
        "begins with SDES": good[sdes_at:],
        "too long": good[:2] + b"\xff\xff" + good[4:],
        "more blocks than bytes": bytes([0x80 | 9]) + good[1:],
        "padded in the middle": bytes([good[0] | 0x20]) + good[1:],
        "unknown type": good + b"\x80\xff\x00\x00",
        "rest": good + b"\x80",
    }

    assert {name: rtcp.read_compound(packet) for name, packet in broken.items()} == dict.fromkeys(broken)


def test_given_other_packet_types_when_in_a_compound_then_stepped_over():
    feedback = struct.pack("!BBHII", 0x81, 205, 2, 1, 2)
    extended = struct.pack("!BBHI", 0x80, 207, 1, 1)
    old = struct.pack("!BBHI", 0x80, 192, 1, 1)  # FIR of RFC 2032
    new = struct.pack("!BBHII", 0x80, 211, 2, 1, 1)  # RFC 6642

    found = rtcp.read_compound(report() + feedback + extended + old + new + struct.pack("!BBHI", 0x81, 203, 1, 1))

    assert found is not None
    assert (len(found.blocks), found.goodbyes) == (1, (1,))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 80), st.integers(0, 255))
def test_given_any_bytes_or_a_damaged_report_when_read_then_no_exception(noise, at, value):
    rtcp.read_compound(noise)
    damaged = bytearray(report(goodbye=True))
    damaged[at] = value
    rtcp.read_compound(bytes(damaged) + noise)


def test_given_an_rtp_and_an_rtcp_packet_when_on_one_port_then_told_apart():
    assert rtcp.is_rtcp(report())
    assert not rtcp.is_rtcp(bytes([0x80, 0]) + bytes(170))
    assert not rtcp.is_rtcp(bytes([0x80, 0x80]) + bytes(170))
    assert not rtcp.is_rtcp(bytes([0x80, 0x80 | 101]) + bytes(170))
    assert not rtcp.is_rtcp(b"\x80\xc8")


@given(st.floats(0.0, 9.0), st.floats(0.0, 100.0), st.floats(1.6e9, 1.9e9))
def test_given_a_report_that_was_answered_when_it_comes_back_then_the_round_trip_is_known(rtt_s, held_s, sent_s):
    block = rtcp.Reception(1, 0.0, 0, 0, 0, rtcp.ntp_middle(sent_s), held_s)

    found = rtcp.round_trip_s(block, rtcp.ntp_middle(sent_s + held_s + rtt_s))

    assert found == pytest.approx(rtt_s, abs=0.001)


def test_given_reports_without_or_with_absurd_times_when_read_then_no_round_trip():
    now = rtcp.ntp_middle(1_700_000_000.0)

    assert rtcp.round_trip_s(rtcp.Reception(1, 0.0, 0, 0, 0, 0, 0.0), now) is None
    assert rtcp.round_trip_s(rtcp.Reception(1, 0.0, 0, 0, 0, now - 65536 * 60, 0.0), now) is None
    assert rtcp.round_trip_s(rtcp.Reception(1, 0.0, 0, 0, 0, now + 65536 * 60, 0.0), now) is None
    assert rtcp.round_trip_s(rtcp.Reception(1, 0.0, 0, 0, 0, now, 0.01), now) == 0.0  # their clock counts coarsely


# --- the E-model ------------------------------------------------------------------------------------------------


def test_given_a_perfect_path_when_rated_then_the_default_of_the_standard():
    found = quality.estimate(0.0, 0.0)

    assert found.rating == pytest.approx(93.2)
    assert found.mos == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(
    ("rating", "mos"), [(0, 1.0), (50, 2.58), (60, 3.10), (70, 3.60), (80, 4.02), (90, 4.34), (100, 4.5)]
)
def test_given_ratings_when_translated_then_the_table_of_the_standard(rating, mos):
    assert quality.mos_of_rating(rating) == pytest.approx(mos, abs=0.006)  # G.107 table B.1


def test_given_loss_when_rated_then_as_published_for_g711():
    # Ie,eff = 95 Ppl / (Ppl + Bpl), G.107 eq. 7-29, with the Bpl of G.113.
    assert quality.estimate(0.0, 0.05).rating == pytest.approx(93.2 - 95 * 5 / (5 + 25.1))
    assert quality.estimate(0.0, 0.05, concealed=False).rating == pytest.approx(93.2 - 95 * 5 / (5 + 4.3))
    assert quality.estimate(0.0, 0.05, 2.0).rating < quality.estimate(0.0, 0.05).rating
    assert quality.estimate(0.0, 1.0).mos < 1.6


@given(st.floats(0.0, 2.0), st.floats(0.0, 2.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_given_more_delay_or_loss_when_rated_then_never_better(delay_s, more_s, loss, more_loss):
    better = quality.estimate(delay_s, loss)
    worse = quality.estimate(delay_s + more_s, min(1.0, loss + more_loss))

    assert worse.mos <= better.mos + 1e-9
    assert 1.0 <= worse.mos <= 4.5


def test_given_delays_when_rated_then_small_up_to_150_ms_and_heavy_beyond_300():
    assert quality.delay_impairment(0.0) == 0.0
    assert 2.0 < quality.delay_impairment(150.0) < 5.0
    assert 15.0 < quality.delay_impairment(300.0) < 25.0
