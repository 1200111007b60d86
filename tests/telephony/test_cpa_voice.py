"""Person or machine: talk spurts in company, figures of a voice, the forest, the judge's stages, the shipped model."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.activity import SpeechTracker, Spurt
from telephony.cpa.analyser import Analyser
from telephony.cpa.forest import Forest, ModelError, shipped_model
from telephony.cpa.greeting import RESUME_FRAMES, GreetingJudge
from telephony.cpa.voice import FEATURES, VoiceSpectrum, VoiceTracker
from telephony.media.g711 import ULAW_TO_LINEAR
from tests.telephony.signals import HUMAN_CLIPS, MACHINE_CLIPS, analyse, clip, over_the_line, silence, tone

SETTINGS = AnalysisSettings()
SIMWORLD_AUDIO = Path(__file__).parents[2] / "telephony" / "simworld" / "audio"


def track(levels):
    """Spurts of one channel from levels in dBFS, one a frame."""
    tracker, spurts = SpeechTracker(1), []
    for i, level in enumerate(levels):
        row = np.array([0]), np.array([i], dtype=np.int32), np.array([level], dtype=np.float32)
        spurts += [spurt for _, spurt in tracker.step(*row, np.array([False]))[1]]
    return spurts


def speak(frames, level, swing=6.0):
    """Levels of somebody who speaks four syllables a second."""
    return [level - swing * (i % 12 in (9, 10, 11)) for i in range(frames)]


def babble(frames, level):
    return [level - 5.0 * (i % 7 in (3, 4)) for i in range(frames)]


# --- talk spurts ------------------------------------------------------------------------------------------------------


def test_given_a_quiet_room_when_somebody_speaks_then_one_spurt_from_first_to_last_word():
    spurts = track([-60.0] * 50 + speak(40, -20.0) + [-60.0] * 50)

    assert [(s.start, s.end) for s in spurts] == [(50, 90)]


def test_given_a_last_sound_that_dies_away_when_it_ends_then_the_tail_is_in_tail_end_only():
    spurts = track([-70.0] * 30 + speak(33, -20.0) + [-39.0, -41.0, -44.0] + [-70.0] * 30)

    assert [(s.start, s.end, s.tail_end) for s in spurts] == [(30, 63, 66)]


def test_given_people_talking_behind_when_the_speaker_stops_then_the_spurt_ends_within_half_a_second():
    levels = babble(50, -38.0) + speak(60, -20.0) + babble(150, -33.0)

    last = track(levels)[-1]

    assert abs(last.tail_end - 110) <= 6


def test_given_people_talking_behind_when_the_speaker_begins_then_what_was_before_is_forgotten():
    voice, speech = VoiceTracker(1), SpeechTracker(1)
    voice.reset(0, 0)
    window = np.zeros((1, 320), dtype=np.float32)
    rows = np.array([0])
    for i, level in enumerate([-60.0] * 20 + babble(60, -36.0) + speak(30, -18.0) + [-60.0] * 20):
        frame, dbfs = np.array([i], dtype=np.int32), np.array([level], dtype=np.float32)
        _, _, activity = speech.step(rows, frame, dbfs, np.array([False]))
        voice.step(rows, frame, dbfs, window, activity)
    found = dict(zip(FEATURES, voice.features(rows, frame, activity, np.array([True]))[0].tolist(), strict=True))

    assert found["talk_s"] == pytest.approx(0.6, abs=0.1)
    assert found["onset_s"] == pytest.approx(1.6, abs=0.1)


def test_given_a_voice_that_rises_when_it_is_one_sentence_then_one_spurt():
    spurts = track([-60.0] * 30 + speak(12, -32.0) + speak(40, -18.0) + [-60.0] * 30)

    assert len(spurts) <= 2
    assert spurts[-1].end == 82


# --- figures of a voice -----------------------------------------------------------------------------------------------


def test_given_two_words_with_a_pause_when_described_then_their_times():
    voice, speech = VoiceTracker(1), SpeechTracker(1)
    voice.reset(0, 0)
    rows, window = np.array([0]), np.zeros((1, 320), dtype=np.float32)
    levels = [-65.0] * 25 + speak(20, -20.0) + [-65.0] * 45 + speak(30, -20.0) + [-65.0] * 15
    for i, level in enumerate(levels):
        frame, dbfs = np.array([i], dtype=np.int32), np.array([level], dtype=np.float32)
        _, _, activity = speech.step(rows, frame, dbfs, np.array([False]))
        voice.step(rows, frame, dbfs, window, activity)

    found = dict(zip(FEATURES, voice.features(rows, frame, activity, np.array([True]))[0].tolist(), strict=True))

    expected = {
        "onset_s": 0.5,
        "span_s": 1.9,
        "talk_s": 1.0,
        "pause_s": 0.3,
        "spurts": 2.0,
        "first_s": 0.4,
        "last_s": 0.6,
        "longest_s": 0.6,
        "first_pause_s": 0.9,
        "longest_pause_s": 0.9,
        "waits": 1.0,
        "talk_since_wait_s": 0.6,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.021)


@pytest.mark.parametrize("hz", [85.0, 120.0, 180.0, 250.0, 330.0])
def test_given_a_voice_without_its_fundamental_when_measured_then_its_pitch(hz):
    t = np.arange(320) / 8000
    wave = sum(np.cos(2 * np.pi * k * hz * t + k) / k for k in range(1, int(3400 // hz)) if 250 < k * hz < 3400)

    _, pitch, voiced = VoiceSpectrum().measure((3000 * wave).astype(np.float32)[None])

    assert voiced.tolist() == [True]
    assert 2 ** float(pitch[0]) == pytest.approx(hz, rel=0.06)


def test_given_noise_when_measured_then_it_is_not_voiced():
    noise = np.random.default_rng(3).normal(0, 2000, (200, 320)).astype(np.float32)

    _, _, voiced = VoiceSpectrum().measure(noise)

    assert voiced.mean() < 0.1


# --- the forest -------------------------------------------------------------------------------------------------------


def walk(forest, row):
    """The same, one row and one tree at a time."""
    total = forest.bias
    for t in range(len(forest.feature)):
        node = 0
        for _ in range(forest.depth):
            x = row[forest.feature[t, node]]
            go_left = forest.nan_left[t, node] if np.isnan(x) else x <= forest.threshold[t, node]
            node = forest.left[t, node] if go_left else forest.right[t, node]
        total += forest.value[t, node]
    return total


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.one_of(st.floats(-50, 50, width=32), st.just(float("nan"))), min_size=len(FEATURES),
                         max_size=len(FEATURES)), min_size=1, max_size=4))  # fmt: skip
def test_given_any_features_when_evaluated_together_then_as_one_by_one(rows):
    forest = shipped_model()
    features = np.array(rows, dtype=np.float32)

    together = forest.log_odds(features)

    assert together == pytest.approx([walk(forest, row) for row in features], abs=1e-3)


def test_given_a_trained_ensemble_when_exported_then_the_same_probabilities(tmp_path):
    sklearn = pytest.importorskip("sklearn.ensemble")
    from telephony.cpa.training.fit import to_forest

    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, len(FEATURES))).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 3]) > 0.2
    model = sklearn.HistGradientBoostingClassifier(max_iter=12, max_leaf_nodes=9).fit(x, y)
    to_forest(model).save(tmp_path / "model.npz")

    exported = Forest.load(tmp_path / "model.npz")

    assert exported.probability(x) == pytest.approx(model.predict_proba(x)[:, 1], abs=1e-4)


def test_given_a_model_of_other_features_when_loaded_then_model_error(tmp_path):
    shipped_model().save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as saved:
        arrays = dict(saved)
    arrays["names"] = arrays["names"][:-1]
    np.savez(tmp_path / "other.npz", **arrays)

    with pytest.raises(ModelError, match="other features"):
        Forest.load(tmp_path / "other.npz")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["talk_s", "span_s", "longest_s", "talk_since_wait_s"]))
def test_given_any_moment_when_only_more_is_said_then_a_machine_is_never_less_likely(seed, name):
    row = np.abs(np.random.default_rng(seed).normal(0, 2, len(FEATURES))).astype(np.float32)
    rows = np.tile(row, (20, 1))
    rows[:, FEATURES.index(name)] = np.linspace(0, 8, 20)

    likely = shipped_model().log_odds(rows)

    assert (np.diff(likely) >= -1e-4).all()


# --- the judge --------------------------------------------------------------------------------------------------------


def judge_of(talk_frames=60, **changed):
    """A judge that has heard a greeting from frame 50 on, which has ended."""
    judge = GreetingJudge(msgspec.structs.replace(SETTINGS, **changed))
    judge.connect(0, msgspec.structs.replace(SETTINGS, **changed))
    judge.speech_began(50)
    judge.speech_ended(Spurt(50, 50 + talk_frames, 50 + talk_frames + 2))
    return judge


def first_word(judge, p_machine, after_ms, verdict=None, end=110):
    """What it says once the silence is so long, the model's opinion being the same all the time."""
    for quiet in range(1, after_ms // 20 + 1):
        judge.voice_judged(p_machine, verdict)
        if (found := judge.judge(end + quiet, verdict, False)) is not None:
            return found.kind, quiet * 20
    return None


@pytest.mark.parametrize(
    ("p_machine", "expected"),
    [
        (0.01, (VerdictKind.HUMAN, 400)),
        (0.3, (VerdictKind.HUMAN, 500)),
        (0.9, (VerdictKind.HUMAN, 800)),
        (0.975, (VerdictKind.MACHINE, 500)),
        (0.995, (VerdictKind.MACHINE, 20)),
    ],
)
def test_given_an_opinion_when_silence_grows_then_the_stage_that_fits_decides(p_machine, expected):
    silences = {"sure_silence_ms": 400, "human_silence_ms": 500, "undecided_silence_ms": 800}
    chances = {"sure_probability": 0.08, "human_probability": 0.75, "undecided_probability": 0.97}
    judge = judge_of(**silences, **chances, machine_probability=0.99)

    assert first_word(judge, p_machine, 2000) == expected


def test_given_a_tone_that_sounds_when_a_person_would_be_found_then_the_judge_waits():
    judge = judge_of()
    judge.voice_judged(0.01, None)

    assert judge.judge(200, None, True) is None
    assert judge.judge(200, None, False).kind is VerdictKind.HUMAN


def test_given_half_a_second_of_speech_when_the_model_is_certain_then_no_machine_yet():
    judge = judge_of(talk_frames=20)
    judge.voice_judged(0.999, None)

    assert judge.judge(72, None, False) is None


def test_given_a_person_when_speech_goes_on_for_a_second_then_a_certain_model_revises():
    judge = judge_of()
    assert first_word(judge, 0.2, 2000)[0] is VerdictKind.HUMAN
    judge.speech_began(200)

    early = [judge.judge(200 + n, VerdictKind.HUMAN, False) for n in range(49) if not judge.voice_judged(0.5, None)]
    judge.voice_judged(0.99, VerdictKind.HUMAN)

    assert early == [None] * 49
    assert judge.judge(252, VerdictKind.HUMAN, False).kind is VerdictKind.MACHINE


def test_given_a_person_who_asks_again_after_a_long_silence_when_the_model_is_certain_then_it_stays_a_person():
    judge = judge_of()
    assert first_word(judge, 0.2, 2000)[0] is VerdictKind.HUMAN
    judge.speech_began(112 + RESUME_FRAMES + 1)

    judge.voice_judged(0.999, VerdictKind.HUMAN)

    assert judge.judge(112 + RESUME_FRAMES + 150, VerdictKind.HUMAN, False) is None


@pytest.mark.parametrize(("frames", "expected"), [(2, None), (4, VerdictKind.HUMAN)])
def test_given_a_word_too_short_to_judge_when_nothing_follows_then_a_person_but_for_a_click(frames, expected):
    judge = GreetingJudge(SETTINGS)
    judge.connect(0, SETTINGS)
    judge.speech_began(50)
    judge.speech_ended(Spurt(50, 50 + frames, 52 + frames))

    assert judge.judge(110, None, False) is None
    assert not judge.heard_any
    word = judge.judge_silence()
    assert (word and word.kind) == expected
    assert judge.speech_end_frame == (52 + frames if expected else -1)


def test_given_a_hello_as_pure_as_a_tone_when_it_ends_then_a_person_within_a_second():
    hello = ULAW_TO_LINEAR[np.frombuffer((SIMWORLD_AUDIO / "human_12.ulaw").read_bytes(), dtype=np.uint8)]
    audio = np.concatenate([silence(0.4), hello, silence(6.0)]) + np.random.default_rng(3).normal(
        0, 33, 51200 + len(hello)
    )
    audio = audio[: len(audio) // 160 * 160]
    (verdicts,) = analyse([np.rint(audio).astype(np.int16).reshape(-1, 160)])

    assert [verdict.kind for verdict in verdicts] == [VerdictKind.HUMAN]
    assert verdicts[0].at_s < 0.4 + len(hello) / 8000 + 1.0


def test_given_a_word_of_80_ms_on_the_line_when_nothing_follows_then_a_person_and_not_a_silent_line():
    yes = clip("human_yes").astype(float)
    loudest = int(np.convolve(yes**2, np.ones(800), "valid").argmax())
    word = yes[loudest : loudest + 640]
    audio = np.concatenate([silence(1.0), word, silence(6.0)])
    (verdicts,) = analyse([np.rint(audio).astype(np.int16).reshape(-1, 160)])

    assert [verdict.kind for verdict in verdicts] == [VerdictKind.HUMAN]
    assert verdicts[0].at_s == pytest.approx(4.5, abs=0.05)
    assert verdicts[0].speech_end_s == pytest.approx(1.08, abs=0.06)


def test_given_a_machine_when_it_falls_silent_then_no_verdict_for_a_person_follows():
    judge = judge_of()
    assert first_word(judge, 0.999, 2000)[0] is VerdictKind.MACHINE
    judge.speech_began(200)
    judge.speech_ended(Spurt(200, 260, 260))

    assert first_word(judge, 0.01, 3000, VerdictKind.MACHINE, 260) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=80))
def test_given_any_opinions_when_silence_lasts_then_a_verdict_falls_by_the_longest_wait(opinions):
    judge = judge_of()
    heard = None
    for quiet, p_machine in enumerate(opinions + [opinions[-1]] * 80, 1):
        judge.voice_judged(p_machine, None)
        heard = judge.judge(110 + quiet, None, False)
        if heard is not None:
            break

    assert heard is not None
    assert quiet * 20 <= SETTINGS.undecided_silence_ms
    assert judge.speech_end_frame == 112


# --- the whole --------------------------------------------------------------------------------------------------------


def test_given_greetings_of_persons_when_they_end_then_their_end_is_right_within_60_ms():
    calls = [np.concatenate([silence(0.5), clip(name), silence(2)]) for name in HUMAN_CLIPS]
    audio = [over_the_line(call, np.random.default_rng(5), -52.0, 0.0) for call in calls]

    errors = {
        name: verdicts[0].speech_end_s - (0.5 + len(clip(name)) / 8000)
        for name, verdicts in zip(HUMAN_CLIPS, analyse(audio), strict=True)
    }

    # The last consonant of a word may be below the noise of the line: then nobody could hear where it ends.
    assert max(abs(error) for error in errors.values()) <= 0.2, errors
    assert np.median(np.abs(list(errors.values()))) <= 0.06, errors


def test_given_the_same_calls_when_louder_or_softer_then_the_same_last_verdicts():
    names = [*HUMAN_CLIPS, *MACHINE_CLIPS]
    beep = tone(0.4, 1000.0)
    calls = [
        np.concatenate([silence(0.5), clip(n), silence(1.4), *([beep, silence(1)] if n in MACHINE_CLIPS else [])])
        for n in names
    ]

    def verdicts_at(gain_db):
        audio = [over_the_line(call * 10 ** (gain_db / 20), np.random.default_rng(1)) for call in calls]
        return [[v.kind for v in found if v.kind is not VerdictKind.BEEP][-1] for found in analyse(audio)]

    truth = [VerdictKind.HUMAN] * len(HUMAN_CLIPS) + [VerdictKind.MACHINE] * len(MACHINE_CLIPS)
    assert [verdicts_at(gain_db) for gain_db in (-10.0, 0.0, 8.0)] == [truth] * 3


def test_given_many_channels_when_analysed_together_then_as_alone():
    names = [*HUMAN_CLIPS, *MACHINE_CLIPS]
    audio = [
        over_the_line(np.concatenate([silence(0.3 + 0.07 * i), clip(n), silence(2)]), np.random.default_rng(i), -50.0)
        for i, n in enumerate(names)
    ]

    together = analyse(audio)

    for one, found in zip(audio, together, strict=True):
        alone = analyse([one])[0]
        assert [(v.kind, v.at_s) for v in alone] == [(v.kind, v.at_s) for v in found if v.at_s <= len(one) * 0.02]


def test_given_an_own_model_when_it_says_machine_then_so_does_the_analyser():
    class Suspicious:
        def probability(self, features):
            return np.full(len(features), 0.999, dtype=np.float32)

    analyser = Analyser(1, Suspicious())
    analyser.start(0, AnalysisSettings(), connected=True)
    found = []
    for i, frame in enumerate(
        over_the_line(np.concatenate([clip("human_name_f"), silence(1)]), np.random.default_rng(1))
    ):
        found += analyser.step(frame[None], np.array([True]), (i + 1) * 0.02)

    assert [v.kind for _, v in found] == [VerdictKind.MACHINE]
    assert found[0][1].evidence["p_machine"] == pytest.approx(0.999)


@pytest.mark.parametrize("name", ["sure_silence_ms", "undecided_silence_ms", "human_silence_ms"])
def test_given_a_silence_of_nothing_when_starting_then_value_error(name):
    with pytest.raises(ValueError, match=name):
        Analyser(1).start(0, msgspec.structs.replace(SETTINGS, **{name: 0}), connected=True)
