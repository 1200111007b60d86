"""Loss, jitter, duplicates and streams that change, after RFC 3550 appendix A."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.media.reception import Reception

ROW = np.array([0])


def packet(to, seq, *, timestamp=None, ssrc=7, at_s=None, audio=True, clock=0.0):
    """Admit packet ``seq`` of a stream of 20 ms packets that travel 30 ms."""
    stamp = (1000 + seq * 160) & 0xFFFFFFFF if timestamp is None else timestamp
    arrived = seq * 0.02 + 0.03 + clock if at_s is None else at_s
    found = to.admit(
        ROW, np.array([seq & 0xFFFF]), np.array([stamp]), np.array([ssrc]), np.array([audio]), np.array([arrived])
    )
    return bool(found[0])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 0x1FFFF), st.sets(st.integers(1, 198), max_size=30), st.sets(st.integers(0, 199), max_size=20))
def test_given_losses_and_doubles_when_counted_then_exact_across_the_wrap(first, lost, doubled):
    one = Reception(1)
    for i in range(200):
        if i not in lost:
            assert packet(one, first + i)
            if i in doubled:
                assert not packet(one, first + i)

    assert one.expected(0) == 200
    assert one.received[0] == 200 - len(lost)
    assert one.duplicates[0] == len(doubled - lost)
    assert one.loss_ratio(0) == pytest.approx(len(lost) / 200)


@settings(max_examples=100, deadline=None)
@given(st.permutations(list(range(12))))
def test_given_reordering_when_counted_then_nothing_is_lost_or_doubled(order):
    one = Reception(1)
    for i in range(20):
        packet(one, i)
    for i in order:
        assert packet(one, 20 + i, at_s=(20 + i) * 0.02 + 0.1)
    for i in range(32, 40):
        assert packet(one, i)

    assert (one.expected(0), one.received[0], one.duplicates[0]) == (40, 40, 0)


def test_given_jitter_when_measured_then_that_of_the_standard():
    one, rng = Reception(1), np.random.default_rng(4)
    delays = 0.03 + rng.uniform(0.0, 0.02, 400)
    jitter, before = 0.0, None
    for i, delay in enumerate(delays):
        packet(one, i, at_s=i * 0.02 + delay)
        if before is not None:
            jitter += (abs(delay - before) - jitter) / 16  # RFC 3550 6.4.1
        before = delay

    assert one.jitter_s[0] == pytest.approx(jitter)
    assert one.report(0, 0, 0.0).jitter == pytest.approx(jitter * 8000, abs=1)


def test_given_one_damaged_packet_when_it_comes_then_it_is_not_played_and_the_stream_goes_on():
    damaged = [
        {"ssrc": 99},
        {"seq": 40000},
        {"timestamp": 0xDEADBEEF},
        {"seq": 20 + 200},
    ]
    for damage in damaged:
        one = Reception(1)
        for i in range(20):
            assert packet(one, i)
        assert not packet(one, damage.get("seq", 20), at_s=0.43, **{k: v for k, v in damage.items() if k != "seq"})
        for i in range(21, 60):
            assert packet(one, i), (damage, i)
        assert one.ssrc[0] == 7
        assert (one.expected(0), one.received[0], one.jumps[0]) == (60, 59, 1), damage


def test_given_a_new_ssrc_when_two_follow_then_it_is_believed_and_earlier_losses_stay():
    one = Reception(1)
    for i in (0, 1, 2, 4, 5):
        packet(one, i)

    assert not packet(one, 900, ssrc=8, timestamp=5, at_s=1.00)
    assert packet(one, 901, ssrc=8, timestamp=165, at_s=1.02)
    assert packet(one, 902, ssrc=8, timestamp=325, at_s=1.04)
    assert one.ssrc[0] == 8
    assert (one.expected(0), one.received[0]) == (6 + 2, 5 + 2)


def test_given_two_that_do_not_follow_when_of_a_new_ssrc_then_not_believed():
    one = Reception(1)
    packet(one, 0)

    assert not packet(one, 900, ssrc=8, at_s=1.0, timestamp=0)
    assert not packet(one, 902, ssrc=8, at_s=1.0, timestamp=320)
    assert not packet(one, 903, ssrc=9, at_s=1.0, timestamp=480)
    assert not packet(one, 904, ssrc=9, at_s=1.0, timestamp=10**9)  # the clock does not follow
    assert one.ssrc[0] == 7


def test_given_a_clock_that_was_set_when_the_sequence_goes_on_then_believed_at_the_second():
    one = Reception(1)
    for i in range(10):
        packet(one, i)

    assert not packet(one, 10, timestamp=7_000_000)
    assert packet(one, 11, timestamp=7_000_160)
    assert packet(one, 12, timestamp=7_000_320)
    assert (one.expected(0), one.received[0]) == (13, 12)


def test_given_a_long_outage_when_the_stream_comes_back_then_what_was_lost_counts():
    one = Reception(1)
    for i in range(10):
        packet(one, i)

    assert not packet(one, 310)
    assert packet(one, 311)
    assert (one.expected(0), one.received[0]) == (312, 11)


def test_given_an_event_that_keeps_its_time_when_it_lasts_then_the_audio_clock_is_not_disturbed():
    one = Reception(1)
    for i in range(10):
        packet(one, i)
    for i in range(10, 110):  # a key held for two seconds
        assert packet(one, i, timestamp=1000 + 10 * 160, audio=False)
    jitter = float(one.jitter_s[0])

    assert packet(one, 110)
    assert one.jitter_s[0] <= max(jitter, 1e-9)


def test_given_reports_when_made_then_each_covers_its_interval():
    one = Reception(1)
    assert one.report(0, 0, 0.0) is None
    for i in range(100):
        if i % 4 != 3:
            packet(one, 65500 + i)

    first = one.report(0, 5, 0.5)
    for i in range(100, 200):
        packet(one, 65500 + i)
    second = one.report(0, 5, 0.5)

    assert (first.ssrc, first.cumulative_lost, first.highest_seq) == (7, 24, 65500 + 98)
    assert first.fraction_lost == pytest.approx(24 / 99)
    assert second.fraction_lost == pytest.approx(1 / 101)
    assert second.cumulative_lost == 25
    assert second.highest_seq >> 16 == 1


def test_given_another_stream_when_reported_then_what_was_lost_of_the_earlier_one_is_not_its():
    one = Reception(1)
    for seq in (0, 1, 2, 5, 6):
        packet(one, seq)
    assert one.report(0, 0, 0.0).cumulative_lost == 2
    for seq in (100, 101, 102, 104):
        packet(one, seq, ssrc=8)

    found = one.report(0, 0, 0.0)

    assert (found.ssrc, found.cumulative_lost, found.highest_seq) == (8, 1, 104)
    assert one.loss_ratio(0) == pytest.approx(3 / 11)  # of the channel, both


def test_given_a_goodbye_when_another_stream_follows_then_believed_at_once():
    one = Reception(1)
    packet(one, 0)
    one.ended(0, 8)  # of somebody else
    assert one.ssrc[0] == 7
    one.ended(0, 7)

    assert packet(one, 500, ssrc=8, timestamp=3, at_s=9.0)
    assert (one.expected(0), one.received[0]) == (2, 2)


def test_given_a_channel_when_used_again_then_nothing_is_left():
    one = Reception(1)
    for i in (0, 5):
        packet(one, i)
    one.reset(0)

    assert (one.expected(0), one.loss_ratio(0), one.jitter_s[0], one.ssrc[0]) == (0, 0.0, 0.0, -1)
    assert packet(one, 3, ssrc=1)
    assert one.expected(0) == 1
