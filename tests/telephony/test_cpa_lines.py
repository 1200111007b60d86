"""What lines, rooms and other networks add to a call: it must hide no tone, and be taken for none."""

import numpy as np
import pytest

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa import tone_plan
from telephony.cpa.offline import Call, analyse_calls, final_verdict
from tests.telephony.signals import RATE, analyse, cadence, clip, over_the_line, silence, tone


def kinds(verdicts):
    return [v.kind for v in verdicts]


def mains(seconds, hz, dbfs):
    """Hum with the harmonics of a rectifier."""
    return sum(tone(seconds, k * hz, dbfs=dbfs - drop) for k, drop in ((1, 0.0), (2, 6.0), (3, 8.0), (5, 14.0)))


def laid(under, over):
    """Both at once; ``under`` is at least as long."""
    out = under.copy()
    out[: len(over)] += over
    return out


# --- what the line adds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hum_hz", [50.0, 60.0])
@pytest.mark.parametrize("plan", ["US", "UK", "DE", "JP"])
def test_given_hum_as_loud_as_the_tone_and_direct_current_when_it_is_busy_then_busy(plan, hum_hz):
    busy = tone_plan(plan).of_kind(VerdictKind.BUSY)[0]
    audio = [
        over_the_line(laid(mains(8, hum_hz, -40.0) + dc, cadence(busy.hz, busy.cadence_s, 6.0, dbfs=-38.0)), fresh())
        for dc in (0.0, 700.0)
    ]

    for connected in (False, True):
        found = [kinds(v) for v in analyse(audio, AnalysisSettings(plan), connected)]

        assert found == [[VerdictKind.BUSY]] * 2


def test_given_hum_alone_or_noise_that_swells_when_nothing_else_is_heard_then_neither_music_nor_speech():
    rng = np.random.default_rng(3)
    t = np.arange(12 * RATE) / RATE
    swelling = [rng.normal(0, 400, len(t)) * (1 + 0.9 * np.sin(2 * np.pi * hz * t)) for hz in (0.3, 0.7, 1.9)]
    begins = np.concatenate([silence(4), rng.normal(0, 250, 8 * RATE)])
    hums = [mains(12, hz, -32.0) for hz in (50.0, 60.0)]

    found = analyse([over_the_line(x, rng) for x in (*swelling, begins, *hums)], AnalysisSettings("DE"), False)

    assert not {kind for v in found for kind in kinds(v)} - {VerdictKind.NO_RINGBACK}


@pytest.mark.parametrize("kind", [VerdictKind.BUSY, VerdictKind.REORDER, VerdictKind.RINGBACK])
@pytest.mark.parametrize("plan", ["DE", "FI", "TR", "FR", "BR"])
def test_given_a_tone_that_is_clipped_when_it_plays_then_its_kind(plan, kind):
    one = tone_plan(plan).of_kind(kind)[0]
    clipped = np.clip(10 * cadence(one.hz, one.cadence_s, 3.5 * sum(one.cadence_s) + 3), -20000, 20000)

    assert kinds(analyse([over_the_line(clipped, fresh())], AnalysisSettings(plan), False)[0]) == [kind]


@pytest.mark.parametrize("plan", ["DE", "RU", "SG", "UK"])
def test_given_repeated_packets_when_they_tear_a_busy_tone_then_nobody_is_there(plan):
    rng = np.random.default_rng(sum(plan.encode()))
    one = tone_plan(plan).of_kind(VerdictKind.BUSY)[0]
    audio = [over_the_line(cadence(one.hz, one.cadence_s, 7.0), rng, -60.0, 0.05) for _ in range(12)]

    found = [kinds(v) for v in analyse(audio, AnalysisSettings(plan))]

    assert not {kind for v in found for kind in v} & {VerdictKind.HUMAN, VerdictKind.MACHINE}
    assert sum(v == [VerdictKind.BUSY] for v in found) >= 11


# --- tones that are something else ----------------------------------------------------------------------------------


def test_given_ringing_of_two_seconds_when_the_plan_has_a_tone_that_goes_on_then_ringback():
    ringing = over_the_line(cadence((400.0,), (2.0, 4.0), 14.0), fresh(), -50.0)
    goes_on = over_the_line(tone(5, 400.0), fresh(), -50.0)

    assert kinds(analyse([ringing], AnalysisSettings("UK"), False)[0]) == [VerdictKind.RINGBACK]
    assert kinds(analyse([goes_on], AnalysisSettings("UK"), False)[0]) == [VerdictKind.NU_TONE]


def test_given_a_held_note_between_two_frequencies_of_the_plan_when_it_goes_on_then_no_tone_of_the_network():
    held, both = (over_the_line(tone(4, *hz), fresh(), -50.0) for hz in ((550.0,), (480.0, 620.0)))

    assert VerdictKind.NU_TONE not in kinds(analyse([held], AnalysisSettings("US"), False)[0])
    assert kinds(analyse([both], AnalysisSettings("US"), False)[0]) == [VerdictKind.NU_TONE]


@pytest.mark.parametrize("name", ["human_hello_m", "human_name_f", "human_yes"])
def test_given_soft_beeps_of_the_room_when_a_person_has_spoken_then_a_person(name):
    hello = clip(name)
    beeps = [
        cadence((1250.0,), (0.5, 0.5), 5.0, dbfs=-40.0),
        cadence((2050.0,), (0.4, 0.7), 3.0, dbfs=-40.0),
        np.concatenate([tone(0.6, 659.0, dbfs=-40.0), tone(0.8, 523.0, dbfs=-40.0)]),
    ]
    whole = [np.concatenate([silence(0.5), hello, silence(0.4), beep, silence(4)]) for beep in beeps]

    found = analyse([over_the_line(x, fresh(), -65.0) for x in whole])

    assert [kinds(v) for v in found] == [[VerdictKind.HUMAN]] * 3


def test_given_a_melody_with_rests_after_speech_when_it_ends_then_no_beep_but_three_stepping_notes_alone_are_one():
    notes = [523.0, 659.0, 784.0, 659.0, 880.0]
    melody = [part for hz in notes for part in (tone(0.3, hz), silence(0.4 if hz == 784.0 else 0.0))]
    chime = [tone(0.15, hz) for hz in (600.0, 756.0, 900.0)]
    audio = [
        over_the_line(
            np.concatenate([silence(0.5), clip("machine_away"), silence(0.5), *x, silence(4)]), fresh(), -55.0
        )
        for x in (melody, chime)
    ]

    beeps = [[v for v in verdicts if v.kind is VerdictKind.BEEP] for verdicts in analyse(audio)]

    assert [len(one) for one in beeps] == [0, 1]
    start_s = 1.0 + len(clip("machine_away")) / RATE
    assert beeps[1][0].evidence["beep_at_s"] == pytest.approx(start_s, abs=0.03)
    assert beeps[1][0].evidence["beep_end_s"] == pytest.approx(start_s + 0.45, abs=0.03)


def test_given_the_pitch_of_a_fax_after_a_greeting_when_it_is_short_then_a_beep_and_when_it_is_long_then_a_fax():
    audio = [
        over_the_line(
            np.concatenate([silence(0.5), clip("machine_away"), silence(0.6), tone(s, 2100.0), silence(3)]), fresh()
        )
        for s in (0.9, 2.8)
    ]

    short, long = (kinds(v) for v in analyse(audio))

    assert VerdictKind.FAX not in short
    assert short[-1] is VerdictKind.BEEP
    assert long[-1] is VerdictKind.FAX


# --- music ----------------------------------------------------------------------------------------------------------


def band(rng, seconds):
    """Plucked strings over a drum: held notes for moments only."""
    out = np.zeros(round(seconds * RATE))
    for beat in range(int(seconds / 0.3)):
        at = round(beat * 0.3 * RATE)
        t = np.arange(min(len(out) - at, round(0.8 * RATE))) / RATE
        pitch = rng.choice([196.0, 220.0, 247.0, 294.0, 330.0])
        out[at : at + len(t)] += sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 9)) * np.exp(-t / 0.3)
        if beat % 2:
            out[at : at + len(t)] += 1.5 * rng.normal(0, 1, len(t)) * np.exp(-t / 0.04)
    return 2500 * out


def test_given_a_band_with_drums_before_the_answer_when_it_plays_then_music_and_a_voice_after_it_is_told_too():
    rng = np.random.default_rng(7)
    bands = [over_the_line(band(rng, 8.0), rng, -55.0) for _ in range(6)]
    speech = np.concatenate([clip("announcement"), silence(0.3), clip("machine_reached")])
    both = [np.concatenate([band(rng, 5.0), silence(0.4), speech]), np.concatenate([speech, band(rng, 7.0)])]

    found = [kinds(v) for v in analyse([*bands, *(over_the_line(x, rng, -55.0) for x in both)], connected=False)]

    assert found[:6] == [[VerdictKind.CRBT]] * 6
    assert found[6] == [VerdictKind.CRBT, VerdictKind.ANNOUNCEMENT]
    assert found[7] == [VerdictKind.ANNOUNCEMENT, VerdictKind.CRBT]


# --- recordings of unknown answer -----------------------------------------------------------------------------------


def test_given_a_recording_that_rings_for_long_when_a_person_answers_then_the_time_guard_has_waited():
    rings = cadence((425.0,), (1.0, 4.0), 21.0)
    whole = np.concatenate([silence(0.3), rings, silence(0.5), clip("human_hello_f"), silence(4)])
    samples = over_the_line(whole, fresh(), -60.0).reshape(-1).astype(np.int16)

    heard = analyse_calls([Call(samples, AnalysisSettings("DE"))])[0]

    assert final_verdict(heard.verdicts).kind is VerdictKind.HUMAN
    live = analyse([samples.reshape(-1, 160)], AnalysisSettings("DE"))[0]
    assert VerdictKind.TIMEGUARD in kinds(live)  # of a call that was answered, the guard is a promise


def fresh():
    return np.random.default_rng(5)


def test_given_a_tone_that_fades_into_the_noise_after_a_greeting_when_it_is_over_then_a_beep():
    t = np.arange(round(1.0 * RATE)) / RATE
    fading = 6000 * np.sin(2 * np.pi * 970.0 * t) * np.exp(-t / 0.25)
    whole = np.concatenate([silence(0.5), clip("machine_away"), silence(0.6), fading, silence(3)])

    beeps = [v for v in analyse([over_the_line(whole, fresh(), -44.0)])[0] if v.kind is VerdictKind.BEEP]

    assert [v.evidence["beep_at_s"] for v in beeps] == [pytest.approx(1.1 + len(clip("machine_away")) / RATE, abs=0.03)]


def test_given_a_train_of_quick_pips_when_nobody_speaks_then_no_person():
    pips = cadence((1400.0,), (0.08, 0.08), 0.8)

    found = kinds(analyse([over_the_line(np.concatenate([silence(1), pips, silence(8)]), fresh(), -60.0)])[0])

    assert found == [VerdictKind.PAGER]
