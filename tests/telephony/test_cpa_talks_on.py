"""What is said after the verdict was a person, and whose voice counts once a speaker has fallen in level."""

import numpy as np
import pytest

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.activity import CALM_FRAMES, SpeechTracker, Spurt
from telephony.cpa.greeting import GreetingJudge


def revised(p_machine, spurts, pause_frames=45):
    """Whether a person of half a second becomes a machine by ``spurts`` of so many frames, each with that opinion."""
    judge = GreetingJudge(AnalysisSettings())
    judge.connect(0, AnalysisSettings())
    judge.speech_began(10)
    judge.speech_ended(Spurt(10, 35, 35))
    judge.voice_judged(0.1, None)
    verdict = judge.judge(80, None, False)
    assert verdict is not None
    assert verdict.kind is VerdictKind.HUMAN
    now = 100
    for frames in spurts:
        judge.speech_began(now)
        judge.speech_ended(Spurt(now, now + frames, now + frames))
        judge.voice_judged(p_machine, VerdictKind.HUMAN)
        if judge.judge(now + frames + 5, VerdictKind.HUMAN, False) is not None:
            return True
        judge.judge(now + frames + pause_frames - 1, VerdictKind.HUMAN, False)
        now += frames + pause_frames
    return False


@pytest.mark.parametrize(
    ("p_machine", "seconds", "expected"),
    [(0.99, 2, True), (0.9, 2, False), (0.9, 4, True), (0.6, 4, False), (0.6, 6, True), (0.3, 8, False)],
)
def test_given_a_person_when_speech_goes_on_then_the_more_of_it_the_less_certain_the_model_must_be(
    p_machine, seconds, expected
):
    assert revised(p_machine, [60] * (seconds * 50 // 60)) is expected


def behind_after(pause_dbfs, pause_frames):
    """Whether softer speech is still taken for others in the room after a loud word, soft talk and a pause."""
    levels = [-60.0] * 30 + [-15.0] * 20 + [-27.5] * 40 + [pause_dbfs] * pause_frames + [-27.5] * 8
    tracker = SpeechTracker(1)
    for i, level in enumerate(levels):
        _, _, activity = tracker.step(
            np.array([0]), np.array([i], dtype=np.int32), np.array([level], dtype=np.float32), np.array([False])
        )
    return not bool(activity.active[0])


def test_given_a_voice_that_fell_when_it_pauses_in_silence_then_it_is_heard_again():
    assert not behind_after(-60.0, CALM_FRAMES + 5)


@pytest.mark.parametrize(("pause_dbfs", "pause_frames"), [(-60.0, CALM_FRAMES - 5), (-40.0, CALM_FRAMES + 5)])
def test_given_others_in_the_room_when_they_hardly_pause_then_they_stay_in_the_background(pause_dbfs, pause_frames):
    assert behind_after(pause_dbfs, pause_frames)
