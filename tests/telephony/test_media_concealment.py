"""Holes filled by the pitch: how near the filling is to what was lost."""

import numpy as np
import pytest

from telephony.media import concealment

HISTORY = concealment.HISTORY_SAMPLES


def voice(hz, count, seed=0):
    """(count,) float: harmonics of ``hz`` with a formant-like envelope."""
    t = np.arange(count) / 8000
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 30)
    harmonics = [k for k in range(1, 30) if k * hz < 3400]
    return sum(np.cos(2 * np.pi * hz * k * t + phases[k]) / (1 + abs(k * hz - 600) / 300) for k in harmonics) * 2500


def fill(sound, frames=3):
    history = sound[None, :HISTORY].astype(np.int16)
    period = concealment.find_periods(history)
    return np.concatenate([concealment.fill(history, period, np.array([i]))[0] for i in range(frames)])


@pytest.mark.parametrize("hz", [70, 95, 130, 180, 200])
def test_given_a_voice_when_its_period_is_looked_for_then_found(hz):
    sound = voice(hz, HISTORY)

    (period,) = concealment.find_periods(sound[None, :].astype(np.int16))

    assert any(abs(period - n * 8000 / hz) <= 1 for n in (1, 2, 3))


@pytest.mark.parametrize("hz", [80, 100, 130, 160, 200, 230, 300])
def test_given_a_steady_voice_when_10_ms_are_missing_then_nearly_what_was_lost(hz):
    sound = voice(hz, HISTORY + 480)
    lost = sound[HISTORY : HISTORY + 80]

    filled = fill(sound)[:80]

    error = np.sqrt(((filled - lost) ** 2).mean() / (lost**2).mean())
    repeated = sound[HISTORY - 160 : HISTORY - 80]  # the rule of one repeated frame
    plain = np.sqrt(((0.7 * repeated - lost) ** 2).mean() / (lost**2).mean())
    assert error < 0.5  # half a sample of the period at its worst
    assert error < plain


@pytest.mark.parametrize("seed", range(4))
def test_given_a_hole_when_filled_then_no_step_at_its_edges_or_seams(seed):
    sound = voice(110 + 17 * seed, HISTORY + 480, seed)
    steepest = np.abs(np.diff(sound)).max()

    whole = np.concatenate([sound[:HISTORY], fill(sound)])

    assert np.abs(np.diff(whole)).max() <= 1.6 * steepest


def test_given_a_long_hole_when_filled_then_it_fades_and_ends_after_60_ms():
    filled = fill(voice(120, HISTORY), frames=4)
    level = np.abs(filled).reshape(8, 80).max(axis=1)

    assert level[0] > 1000
    assert (np.diff(level[1:6]) < 0).all()
    assert level[6:].max() == 0


def test_given_silence_when_filled_then_silence():
    assert not fill(np.zeros(HISTORY)).any()


def test_given_full_scale_when_filled_and_blended_then_no_wrap_around():
    sound = np.sign(voice(100, HISTORY)) * 32767
    filled = fill(sound, frames=1)

    frames = concealment.blend_in(np.full((1, 160), -32768, dtype=np.int16), filled[None, :].astype(np.float32))

    assert np.abs(filled).max() <= 32768
    assert frames.dtype == np.int16
    assert (frames[0, concealment.BLEND_SAMPLES :] == -32768).all()


def test_given_many_holes_when_filled_together_then_each_as_if_alone():
    sounds = np.stack([voice(70 + 9 * i, HISTORY, i) for i in range(25)]).astype(np.int16)
    elapsed = np.arange(25) % 4
    periods = concealment.find_periods(sounds)
    together = concealment.fill(sounds, periods, elapsed)

    for i in range(25):
        one = sounds[i : i + 1]
        assert concealment.find_periods(one)[0] == periods[i]
        assert np.allclose(concealment.fill(one, periods[i : i + 1], elapsed[i : i + 1])[0], together[i])
