"""Whose packets a channel takes: every rule of the gate, and what an attacker may try."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.media.batch_io import source_address, source_key
from telephony.media.sources import (
    ANY_HOST_PACKETS,
    ANY_HOST_WITHIN_S,
    PROBATION_PACKETS,
    RELEARN_AFTER_S,
    Learn,
    SourceGate,
)

NEGOTIATED = source_key("192.168.1.9", 4000)
OTHER_PORT = source_key("192.168.1.9", 50123)
THIRD_PORT = source_key("192.168.1.9", 50777)
ELSEWHERE = source_key("203.0.113.5", 4000)
PUBLIC = source_key("8.8.8.8", 4000)
LIVING, SILENT = 0.02, RELEARN_AFTER_S + 0.1


def gate(remote=NEGOTIATED, learn=Learn.HOST):
    made = SourceGate(learn)
    made.negotiate(remote, 100.0)
    return made


def stream(to, source, packets, *, at_s=100.0, ssrc=7, seq=65530, silent_s=LIVING, spacing_s=0.02, step=1):
    """Judgements of a row of packets; those of the latched source would not be judged, and count as taken."""
    found = []
    for i in range(packets):
        if to.latched == source:
            found.append("")
        else:
            number = (seq + i * step) & 0xFFFF
            found.append(to.judge(source, ssrc, number, at_s + i * spacing_s, silent_s))
    return found


def test_given_any_address_when_made_a_key_then_it_comes_back():
    for host, port in (("0.0.0.0", 0), ("255.255.255.255", 65535), ("10.1.2.3", 4000)):
        assert source_address(source_key(host, port)) == (host, port)


def test_given_the_negotiated_address_when_heard_then_at_once_and_for_good():
    one = gate()

    assert stream(one, NEGOTIATED, 1) == [""]
    assert one.exact
    for stranger in (OTHER_PORT, ELSEWHERE, source_key("192.168.1.9", 4001)):
        assert set(stream(one, stranger, 50, silent_s=SILENT)) == {"unknown_source"}
    assert one.latched == NEGOTIATED


def test_given_another_port_of_the_host_when_consistent_then_latched_after_probation():
    one = gate()

    assert stream(one, OTHER_PORT, 6) == ["probation"] * (PROBATION_PACKETS - 1) + [""] * (7 - PROBATION_PACKETS)
    assert (one.latched, one.exact) == (OTHER_PORT, False)


@pytest.mark.parametrize(
    "how",
    [
        {"spacing_s": 0.0},  # a burst sent at once
        {"spacing_s": 0.001},
        {"step": 0},  # the same packet again and again
        {"step": -1},
        {"step": 1000},  # guesses of the sequence number
    ],
    ids=str,
)
def test_given_a_source_that_is_no_stream_when_it_comes_then_it_never_passes(how):
    one = gate()

    assert set(stream(one, OTHER_PORT, 12, **how)) == {"probation"}
    assert one.latched is None


def test_given_changing_ssrcs_when_they_come_then_no_probation_is_passed():
    one = gate()

    assert {one.judge(OTHER_PORT, i, i, 100.0 + i * 0.02, LIVING) for i in range(50)} == {"probation"}


def test_given_a_living_latched_stream_when_others_come_then_only_the_negotiated_address_takes_over():
    one = gate()
    stream(one, OTHER_PORT, 5)

    assert set(stream(one, THIRD_PORT, 50)) == {"unknown_source"}
    assert one.latched == OTHER_PORT
    assert stream(one, NEGOTIATED, 3) == ["probation", "", ""]
    assert one.exact


def test_given_a_latched_stream_that_fell_silent_when_another_port_comes_then_relearned():
    one = gate()
    stream(one, OTHER_PORT, 5)

    assert stream(one, THIRD_PORT, PROBATION_PACKETS, at_s=110.0, silent_s=SILENT)[-1] == ""
    assert one.latched == THIRD_PORT


@pytest.mark.parametrize("learn", list(Learn))
def test_given_a_public_address_in_the_sdp_when_another_host_sends_then_never_learned(learn):
    one = gate(PUBLIC, learn)

    assert set(stream(one, ELSEWHERE, 100)) == {"unknown_source"}


def test_given_a_private_address_and_learn_host_when_another_host_sends_then_never_learned():
    assert set(stream(gate(), ELSEWHERE, 100)) == {"unknown_source"}


def test_given_learn_any_when_the_translated_stream_comes_then_latched_once_and_never_again():
    one = gate(learn=Learn.ANY)

    assert stream(one, ELSEWHERE, ANY_HOST_PACKETS)[-1] == ""
    assert one.latched == ELSEWHERE
    thief = source_key("198.51.100.7", 4000)
    assert set(stream(one, thief, 100, at_s=101.0)) == {"unknown_source"}
    assert set(stream(one, thief, 100, at_s=120.0, silent_s=60.0)) == {"unknown_source"}
    assert one.latched == ELSEWHERE


def test_given_learn_any_when_it_comes_after_the_first_seconds_then_not_learned():
    one = gate(learn=Learn.ANY)

    assert set(stream(one, ELSEWHERE, 50, at_s=100.0 + ANY_HOST_WITHIN_S + 0.1)) == {"unknown_source"}


def test_given_no_remote_when_packets_come_then_dropped_and_learned_after_the_sdp():
    one = SourceGate()

    assert set(stream(one, NEGOTIATED, 3)) == {"no_remote"}
    assert one.negotiate(NEGOTIATED, 100.0)
    assert stream(one, NEGOTIATED, 1) == [""]


def test_given_the_same_address_again_when_negotiated_then_what_was_learned_stays():
    one = gate()
    stream(one, OTHER_PORT, 5)

    assert not one.negotiate(NEGOTIATED, 101.0)
    assert one.latched == OTHER_PORT
    assert one.negotiate(THIRD_PORT, 102.0)
    assert (one.latched, one.exact) == (None, False)


def test_given_a_flood_of_other_ports_when_the_far_end_is_on_probation_then_it_still_passes():
    one = gate()
    verdicts = []
    for i in range(20):
        at_s = 100.0 + i * 0.02
        verdicts.append(one.judge(OTHER_PORT, 7, i, at_s, LIVING) if one.latched != OTHER_PORT else "")
        for k in range(60):
            one.judge(source_key("192.168.1.9", 10000 + 60 * i + k), k, 1, at_s, LIVING)

    assert verdicts.index("") == PROBATION_PACKETS - 1
    assert one.latched == OTHER_PORT


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(Learn)),
    st.sampled_from([None, NEGOTIATED, PUBLIC]),
    st.lists(
        st.tuples(st.sampled_from([NEGOTIATED, OTHER_PORT, ELSEWHERE, PUBLIC]), st.sampled_from([LIVING, 5.0, 20.0]))
    ),
)
def test_given_who_need_not_be_looked_at_when_looked_at_then_refused_without_probation(learn, negotiated, history):
    """What floods are sorted out by is never stricter, and on those who may never pass never laxer, than the gate."""
    one, at_s = SourceGate(learn), 100.0
    one.negotiate(negotiated, at_s)
    for seq, (source, silent_s) in enumerate(history):
        at_s += silent_s
        (looked_at,) = one.candidates(np.array([source]), at_s, silent_s)
        if source == one.latched:
            assert looked_at
            continue
        why = one.judge(source, 1, seq, at_s, silent_s)
        assert looked_at == (why in ("", "probation"))


_sources = st.sampled_from([NEGOTIATED, OTHER_PORT, THIRD_PORT, ELSEWHERE])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(Learn)), st.lists(st.tuples(_sources, st.integers(0, 3), st.integers(0, 0xFFFF)), max_size=80)
)
def test_given_any_packets_when_a_stream_lives_then_nobody_but_the_negotiated_address_takes_it_over(learn, packets):
    one = gate(learn=learn)
    at_s = 100.0
    for source, ssrc, seq in packets:
        at_s += 0.02
        before, was_exact = one.latched, one.exact
        if source == before:
            continue
        one.judge(source, ssrc, seq, at_s, LIVING)
        if one.latched != before:
            assert not was_exact
            assert before is None or one.latched == NEGOTIATED
            assert one.exact == (one.latched == NEGOTIATED)
