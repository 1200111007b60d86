"""The end of the last sound, found in the pause after it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.cpa.tail import LOOK_FRAMES, look_frames, tail_end

SPEECH = 30  # frames
PAUSE = LOOK_FRAMES


def burst(rng, frames, dbfs):
    return rng.standard_normal(round(frames * 160)) * 32768 * 10 ** (dbfs / 20)


def heard(rng, *, noise_dbfs=-65.0, tail=(), speech_dbfs=-22.0, pause=PAUSE):
    """Speech that stops at once, then (offset in frames, length in frames, dbfs) of ``tail`` in the pause."""
    samples = np.concatenate([burst(rng, SPEECH, speech_dbfs), np.zeros(pause * 160)])
    for offset, length, dbfs in tail:
        start = round((SPEECH + offset) * 160)
        samples[start : start + round(length * 160)] += burst(rng, length, dbfs)
    return samples + burst(rng, SPEECH + pause, noise_dbfs)


@pytest.mark.parametrize("noise_dbfs", [-75.0, -60.0, -45.0])
def test_given_speech_that_stops_at_once_when_looked_for_then_its_end_is_exact(noise_dbfs):
    found = tail_end(heard(np.random.default_rng(1), noise_dbfs=noise_dbfs), SPEECH)

    assert abs(found - SPEECH) <= 0.5


@pytest.mark.parametrize(("gap", "length"), [(0, 5), (3, 2), (4, 4)])
def test_given_a_soft_consonant_after_a_closure_when_looked_for_then_it_belongs_to_the_word(gap, length):
    samples = heard(np.random.default_rng(2), tail=[(gap, length, -48.0)])

    assert abs(tail_end(samples, SPEECH) - (SPEECH + gap + length)) <= 1


@pytest.mark.parametrize("tail", [(0, 6, -60.0), (8, 2, -40.0)])
def test_given_a_sound_too_soft_or_too_late_when_looked_for_then_it_is_not_speech(tail):
    samples = heard(np.random.default_rng(3), noise_dbfs=-72.0, tail=[tail])

    assert abs(tail_end(samples, SPEECH) - SPEECH) <= 0.5


def test_given_somebody_else_who_goes_on_when_looked_for_then_the_end_is_that_of_the_loud_voice():
    samples = heard(np.random.default_rng(4), tail=[(0, PAUSE, -44.0)])

    assert abs(tail_end(samples, SPEECH) - SPEECH) <= 1


def test_given_a_room_when_looked_for_then_most_of_its_echo_is_not_counted():
    rng = np.random.default_rng(5)
    dry = np.concatenate([burst(rng, 12, -22.0), burst(rng, 6, -50.0), burst(rng, 12, -22.0), np.zeros(PAUSE * 160)])
    length = 3200
    room = 0.1 * rng.standard_normal(length) * np.exp(-np.arange(length) / length * 6.0)
    room[0] = 1.0
    wet = np.convolve(dry, room)[: len(dry)] + burst(rng, SPEECH + PAUSE, -70.0)
    levels = 10 * np.log10(np.square(wet[SPEECH * 160 :]).reshape(-1, 160).mean(axis=1))
    audible = SPEECH + int(np.flatnonzero(levels > levels[-8:].mean() + 3)[-1]) + 1

    found = tail_end(wet, SPEECH)

    assert SPEECH <= found <= audible - 4


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.integers(0, LOOK_FRAMES),
    st.floats(-80, 0),
)
def test_given_any_audio_when_looked_for_then_the_end_is_near_that_of_the_talk(seed, before, pause, dbfs):
    rng = np.random.default_rng(seed)
    samples = np.concatenate([burst(rng, before, dbfs), burst(rng, pause, -60.0)])

    found = tail_end(samples, before)

    assert before - 3 <= found <= before + pause


def test_given_a_quick_setting_when_asked_then_the_look_comes_before_the_verdict():
    assert [look_frames(ms) for ms in (20, 40, 200, 460, 1280)] == [1, 1, 9, 22, 22]
