"""Recordings through the analyser: the same verdicts as live, at the same times."""

import numpy as np
import pytest

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.offline import Call, analyse_calls, final_verdict, informed
from tests.telephony.signals import SIT_SEGMENTS, analyse, cadence, clip, over_the_line, silence, sit, tone

US = AnalysisSettings()


def recording(*parts, noise_dbfs=None):
    return over_the_line(np.concatenate(parts), np.random.default_rng(11), noise_dbfs).reshape(-1)


CALLS = {
    "person": Call(recording(silence(0.5), clip("human_hello_f"), silence(3.0)), US),
    "machine": Call(recording(silence(0.5), clip("machine_reached"), tone(0.4, 1000.0), silence(2.0)), US),
    "busy": Call(recording(cadence((480.0, 620.0), (0.5, 0.5), 5.0)), US),
    "early busy": Call(recording(cadence((480.0, 620.0), (0.5, 0.5), 5.0)), US, None),
    "silence": Call(recording(silence(6.0)), US),
    "noise": Call(recording(silence(6.0), noise_dbfs=-58.0), US),
}


def told(heard):
    return [(v.kind, v.at_s, v.revises) for v in heard.verdicts]


def test_given_recordings_when_analysed_then_as_a_channel_hears_them():
    for name in ("person", "machine", "busy"):
        call = CALLS[name]
        live = analyse([call.samples.reshape(-1, 160)], call.settings)[0]
        found = [(v.kind, pytest.approx(v.at_s, abs=1e-6), v.revises) for v in live]

        assert told(analyse_calls([call])[0]) == found, name


def test_given_many_recordings_when_analysed_together_then_each_as_alone():
    together = analyse_calls(list(CALLS.values()))

    assert together == [analyse_calls([call])[0] for call in CALLS.values()]


@pytest.mark.parametrize("name", ["person", "machine", "busy"])
def test_given_what_follows_a_verdict_when_it_is_cut_off_then_the_verdict_is_the_same(name):
    call = CALLS[name]
    verdict = analyse_calls([call])[0].verdicts[0]
    cut = Call(call.samples[: round(verdict.at_s * 8000)], US)

    assert analyse_calls([cut])[0].verdicts[0] == verdict


def test_given_a_recording_that_ends_with_the_greeting_when_analysed_then_quiet_is_added_and_said_so():
    heard = analyse_calls([Call(recording(silence(0.5), clip("human_hello_f")), US)])[0]

    assert [v.kind for v in heard.verdicts] == [VerdictKind.HUMAN]
    assert heard.verdicts[0].at_s > heard.length_s
    assert heard.appended_s >= heard.verdicts[0].at_s - heard.length_s


def test_given_a_whole_recording_when_analysed_then_little_quiet_is_added():
    heard = analyse_calls([CALLS["person"]])[0]

    assert heard.appended_s <= 1.0
    assert heard.length_s == pytest.approx(len(CALLS["person"].samples) / 8000, abs=1e-3)


def test_given_a_short_answered_recording_of_nothing_when_analysed_then_silence_in_the_end():
    heard = analyse_calls([Call(recording(silence(1.0), noise_dbfs=-55.0), US)])[0]

    assert [v.kind for v in heard.verdicts] == [VerdictKind.SILENCE]
    assert heard.floor_dbfs == pytest.approx(-55.0, abs=1.5)


def test_given_early_media_when_the_call_is_answered_in_the_recording_then_speech_counts_from_there():
    hello = clip("human_hello_f")
    ringing = cadence((440.0, 480.0), (2.0, 4.0), 2.5)
    audio = recording(ringing, silence(0.5), hello, silence(2.0))
    answered = analyse_calls([Call(audio, US, 3.0)])[0]
    never = analyse_calls([Call(audio, US, None)])[0]
    verdict = final_verdict(answered.verdicts)

    assert verdict is not None
    assert verdict.kind is VerdictKind.HUMAN
    assert verdict.speech_end_s == pytest.approx(3.0 + len(hello) / 8000, abs=0.25)
    assert final_verdict(never.verdicts) is None


@pytest.mark.parametrize("pause_s", [0.0, 3.0])
def test_given_a_recording_that_begins_with_long_ringing_when_its_answer_is_not_told_then_the_person_is_found(pause_s):
    hello = clip("human_hello_f")
    ringing = cadence((440.0, 480.0), (2.0, 4.0), 14.0)
    audio = recording(ringing, silence(0.5), hello, silence(pause_s))
    verdict = final_verdict(analyse_calls([Call(audio, US)])[0].verdicts)

    assert verdict is not None
    assert verdict.kind is VerdictKind.HUMAN
    assert verdict.at_s == pytest.approx((len(audio) / 8000) - pause_s + 0.6, abs=0.4)


def test_given_a_tone_before_the_answer_when_it_ended_the_analysis_then_the_answer_changes_nothing():
    audio = recording(silence(0.2), sit(SIT_SEGMENTS["ic"][1]), silence(3.0), clip("human_hello_f"), silence(2.0))

    assert [v.kind for v in analyse_calls([Call(audio, US, 3.0)])[0].verdicts] == [VerdictKind.SIT_INTERCEPT]


def test_given_only_ringback_when_nobody_answers_then_it_is_what_is_known():
    heard = analyse_calls([Call(recording(cadence((440.0, 480.0), (2.0, 4.0), 14.0)), US, None)])[0]

    assert final_verdict(heard.verdicts) is None
    standing = informed(heard.verdicts)
    assert standing is not None
    assert standing.kind is VerdictKind.RINGBACK


def test_given_recordings_when_analysed_then_progress_comes_to_its_end():
    seen = []
    analyse_calls([CALLS["person"]], seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert analyse_calls([]) == []


def test_given_settings_that_are_wrong_when_analysed_then_value_error():
    with pytest.raises(ValueError, match="ZZ"):
        analyse_calls([Call(CALLS["busy"].samples, AnalysisSettings(tone_plan="ZZ"))])


def test_given_tones_of_nobody_when_the_time_guard_runs_out_then_it_says_that_no_voice_was_heard():
    dial_tone = Call(recording(silence(0.3), tone(12.0, 350.0) + tone(12.0, 440.0)), US)
    (verdict,) = analyse_calls([dial_tone])[0].verdicts

    assert (verdict.kind, verdict.evidence["spoke"]) == (VerdictKind.TIMEGUARD, 0.0)


def test_given_one_short_tone_when_the_time_guard_runs_out_then_it_may_have_been_a_word():
    # Neither a recording tone (too deep) nor anybody's cadence.
    call = Call(recording(silence(0.3), tone(0.2, 330.0), silence(9.0)), US)
    (verdict,) = analyse_calls([call])[0].verdicts

    assert (verdict.kind, verdict.evidence["spoke"]) == (VerdictKind.TIMEGUARD, 1.0)


@pytest.mark.parametrize("length", [1, 159, 160, 161, 400])
def test_given_a_recording_shorter_than_a_word_when_analysed_then_silence_or_nothing(length):
    samples = np.full(length, 3000, dtype=np.int16)
    after, before = analyse_calls([Call(samples, US), Call(samples, US, None)])

    assert [v.kind for v in after.verdicts] == [VerdictKind.SILENCE]
    assert final_verdict(before.verdicts) is None
    assert after.length_s == pytest.approx(length / 8000, abs=1e-3)


@pytest.mark.parametrize("hz", [440.0, 425.0])
def test_given_the_end_of_a_ringback_at_the_answer_when_a_person_speaks_then_it_was_no_recording_tone(hz):
    audio = recording(tone(1.1, hz), silence(0.6), clip("human_hello_f"), silence(3.0))

    assert [v.kind for v in analyse_calls([Call(audio, US)])[0].verdicts] == [VerdictKind.HUMAN]
