"""Tones of networks and machines over poor lines, and what must never be taken for one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa import TONE_PLANS, Analyser, tone_plan
from telephony.cpa.tones import plan_of_number
from telephony.media.g711 import alaw_to_linear, linear_to_alaw
from tests.telephony.signals import (
    HUMAN_CLIPS,
    MACHINE_CLIPS,
    RATE,
    SIT_SEGMENTS,
    analyse,
    cadence,
    clip,
    over_the_line,
    silence,
    sit,
    tone,
    v21_flags,
)

FINAL_TONES = {
    "busy",
    "reorder",
    "nu",
    "fax",
    "modem",
    "pager",
    "sit",
    "sit_ic",
    "sit_vc",
    "sit_ro",
    "sit_nc",
    "sit_io",
}


def kinds(verdicts):
    return [v.kind for v in verdicts]


def poor_line(samples, rng, snr_db=None):
    """-42 to -16 dBFS, 12 to 40 dB over the noise, either law, up to 3 % of the packets lost, concealed or not."""
    rms = np.sqrt(np.mean(np.square(samples[np.abs(samples) > 0.0]))) / 32768
    level_dbfs = rng.uniform(-42, -16)
    noise_dbfs = level_dbfs - (snr_db or rng.uniform(12, 40))
    samples = samples * 10 ** (level_dbfs / 20) / rms
    frames = over_the_line(samples, rng, noise_dbfs)
    if rng.random() < 0.5:
        frames = alaw_to_linear(linear_to_alaw(frames.astype(np.int16))).reshape(frames.shape)
    lost = rng.random(len(frames)) < rng.choice([0.0, 0.0, 0.01, 0.03])
    concealed = rng.random() < 0.5
    frames = frames.copy()
    for i in np.nonzero(lost)[0]:
        frames[i] = frames[i - 1] if concealed and i and not lost[i - 1] else 0
    return frames


def call_of(tone_of, rng, cycles=2.4, least_s=4.5):
    """The tone from any point of its cycle, frequency and cadence a little off, between one side and the other."""
    off = 1 + rng.uniform(-0.012, 0.012)
    stretch = 1 + rng.uniform(-0.05, 0.05)
    hz = tuple(one * off for one in tone_of.hz)
    on_off_s = tuple(one * stretch for one in tone_of.cadence_s)
    whole = cadence(hz, on_off_s, max(least_s, (cycles + 1) * sum(on_off_s)), modulated_hz=tone_of.modulated_hz)
    return whole[int(rng.uniform(0, sum(on_off_s)) * RATE) :]


# --- tone plans -----------------------------------------------------------------------------------------------------


def test_given_the_tone_plans_when_counted_then_the_world_is_there_and_whole():
    assert len(TONE_PLANS) > 150
    for plan in TONE_PLANS.values():
        kinds_of = {t.kind for t in plan.tones}
        assert {VerdictKind.RINGBACK, VerdictKind.BUSY, VerdictKind.REORDER} <= kinds_of, plan.name
        assert all(350.0 <= hz <= 660.0 for t in plan.tones for hz in t.hz), plan.name
        assert all(len(t.cadence_s) % 2 == 0 for t in plan.tones), plan.name
        assert plan.calling_code.isdigit() or plan.name == "ITU"


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+33140000000", "FR"),
        ("+442079460000", "UK"),
        ("+12025550100", "US"),
        ("+35312345678", "IE"),
        ("+5511987654321", "BR"),
        ("+85212345678", "HK"),
        ("+999", "ITU"),
        ("", "ITU"),
    ],
)
def test_given_an_international_number_when_its_plan_is_asked_then_that_of_the_country(number, country):
    assert plan_of_number(number).name == country


@pytest.mark.parametrize("kind", [VerdictKind.RINGBACK, VerdictKind.BUSY, VerdictKind.REORDER, VerdictKind.NU_TONE])
def test_given_every_variant_of_every_country_when_it_plays_over_a_poor_line_then_its_kind(kind):
    rng = np.random.default_rng(kind.value.encode()[0])
    cases = []
    for plan in {plan.tones: plan for plan in TONE_PLANS.values() if plan.name != "ITU"}.values():
        busy = {(t.hz, t.cadence_s) for t in plan.of_kind(VerdictKind.BUSY)}
        cases += [
            (plan.name, t) for t in plan.of_kind(kind) if kind is VerdictKind.BUSY or (t.hz, t.cadence_s) not in busy
        ]
    audio = [poor_line(call_of(t, rng), rng) for _, t in cases]

    found = analyse(audio, [AnalysisSettings(name) for name, _ in cases], connected=False)

    wrong = [(case, kinds(v)) for case, v in zip(cases, found, strict=True) if kinds(v) != [kind]]
    assert len(wrong) <= len(cases) // 50, wrong


def test_given_busy_tones_when_they_play_then_decided_within_two_cycles():
    rng = np.random.default_rng(6)
    cases = [
        (plan, t) for plan in ("US", "UK", "DE", "FR", "IT", "BR") for t in tone_plan(plan).of_kind(VerdictKind.BUSY)
    ]
    audio = [
        over_the_line(np.concatenate([silence(0.3), cadence(t.hz, t.cadence_s, 6.0)]), rng, -45.0) for _, t in cases
    ]

    found = analyse(audio, [AnalysisSettings(name) for name, _ in cases], connected=False)

    for (name, t), verdicts in zip(cases, found, strict=True):
        assert kinds(verdicts) == [VerdictKind.BUSY], name
        assert verdicts[0].at_s <= 0.3 + 2 * sum(t.cadence_s) + 0.1, (name, verdicts[0].at_s)


def test_given_a_tone_of_another_country_when_it_plays_then_neither_music_nor_an_announcement():
    rng = np.random.default_rng(8)
    tones = [t for name in ("DE", "FR", "UK", "US", "SG", "JP") for t in tone_plan(name).tones if t.cadence_s]
    audio = [poor_line(cadence(t.hz, t.cadence_s, 12.0, modulated_hz=t.modulated_hz), rng, 25.0) for t in tones]

    found = {kind for v in analyse(audio, AnalysisSettings("TR"), connected=False) for kind in kinds(v)}

    assert not found & {VerdictKind.CRBT, VerdictKind.ANNOUNCEMENT}


# --- tones of other networks ----------------------------------------------------------------------------------------


ONE_KIND = {"ringback": {"ringback"}, "busy": {"busy", "reorder"}, "reorder": {"busy", "reorder"}}


@pytest.mark.parametrize("plan", ["US", "UK", "DE"])
def test_given_the_tones_of_every_country_when_the_trunk_has_another_plan_then_their_kind(plan):
    rng = np.random.default_rng(sum(plan.encode()))
    tones = {t for one in TONE_PLANS.values() for t in one.tones if t.cadence_s and str(t.kind) in ONE_KIND}
    cases = sorted(tones, key=repr)
    audio = [poor_line(call_of(t, rng, cycles=3, least_s=6.0), rng, 25.0) for t in cases]

    found = [
        {str(k) for k in kinds(v)} - {"no_ringback"} for v in analyse(audio, AnalysisSettings(plan), connected=False)
    ]

    right = [k and k <= ONE_KIND[str(t.kind)] for t, k in zip(cases, found, strict=True)]
    exact = [k == {str(t.kind)} for t, k in zip(cases, found, strict=True)]
    wrong = [(t, k) for t, k, fits in zip(cases, found, right, strict=True) if not fits]
    assert len(wrong) <= len(cases) // 16, wrong
    assert sum(exact) >= 0.85 * len(cases)  # quarters of a second are busy here and congestion there


@pytest.mark.parametrize(
    ("plan", "kind", "hz", "on_off_s"),
    [
        ("ZA", VerdictKind.RINGBACK, (400.0, 450.0), (0.4, 0.2, 0.4, 2.0)),
        ("DE", VerdictKind.RINGBACK, (440.0, 480.0), (2.0, 4.0)),
        ("US", VerdictKind.BUSY, (425.0,), (0.5, 0.5)),
        ("US", VerdictKind.NU_TONE, (425.0,), (2.5, 0.5)),
        ("UK", VerdictKind.BUSY, (425.0,), (0.42, 0.42)),  # nobody's: an exchange of a company
        ("US", VerdictKind.RINGBACK, (425.0,), (0.8, 2.4)),
    ],
)
def test_given_a_tone_that_the_plan_lacks_when_it_repeats_then_what_other_plans_say(plan, kind, hz, on_off_s):
    samples = cadence(hz, on_off_s, 3.3 * sum(on_off_s) + 4.0)
    frames = over_the_line(np.concatenate([silence(0.4), samples]), np.random.default_rng(3))

    verdicts = analyse([frames], AnalysisSettings(plan), connected=False)[0]

    assert kinds(verdicts) == [kind]
    assert verdicts[0].evidence["foreign"] == 1.0
    assert verdicts[0].evidence["hz"] == pytest.approx(hz[0], abs=3.0) or len(hz) == 2
    assert verdicts[0].evidence["tone_s"] == pytest.approx(on_off_s[0], abs=0.04)


def test_given_a_cadence_of_the_plan_when_other_plans_say_otherwise_then_the_plan_wins():
    audio = over_the_line(cadence((425.0,), (0.2, 0.2), 6.0), np.random.default_rng(3))

    found = {plan: kinds(analyse([audio], AnalysisSettings(plan), False)[0]) for plan in ("ES", "IT")}

    assert found["ES"] == [VerdictKind.BUSY]
    assert found["IT"] == [VerdictKind.REORDER]


def test_given_short_rows_of_low_beeps_when_they_follow_an_answer_or_a_greeting_then_no_tone_of_a_network():
    rows = [cadence((hz,), (on, off), count * (on + off)) for hz in (425.0, 440.0, 480.0) for on, off, count in (
        (0.15, 0.15, 4), (0.25, 0.25, 3), (0.5, 0.5, 2), (1.0, 2.5, 1))]  # fmt: skip
    greeting = clip("machine_away")
    audio = [
        over_the_line(np.concatenate([silence(0.5), *before, row, silence(3)]), np.random.default_rng(5))
        for row in rows
        for before in ([], [greeting, silence(0.5)])
    ]

    found = [{str(k) for k in kinds(v)} for v in analyse(audio, AnalysisSettings("JP"))]

    assert not set().union(*found) & (FINAL_TONES - {"pager"} | {"ringback"})


# --- special information tones --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SIT_SEGMENTS))
def test_given_special_information_tones_when_the_line_is_poor_then_their_cause(name):
    rng = np.random.default_rng(sum(name.encode()))
    expected, segments = SIT_SEGMENTS[name]
    audio = []
    for _ in range(40):
        off, stretch = 1 + rng.uniform(-0.01, 0.01), 1 + rng.uniform(-0.05, 0.05)
        drawn = tuple((hz * off, ms * stretch) for hz, ms in segments)
        beginning = sit(drawn, rng.choice([0.0, 0.004, 0.03]), rng.choice([0.0, 0.0, 0.1]))
        audio.append(poor_line(np.concatenate([silence(rng.uniform(0, 0.6)), beginning, silence(1.0)]), rng))

    found = [kinds(v) for v in analyse(audio, connected=False)]

    assert sum(v == [expected] for v in found) >= 39, [v for v in found if v != [expected]]


def test_given_a_special_information_tone_when_its_third_segment_sounds_then_decided():
    segments = SIT_SEGMENTS["nc_intra"][1]
    verdict = analyse([over_the_line(np.concatenate([silence(0.2), sit(segments)]), np.random.default_rng(1))])[0][0]

    assert verdict.at_s < 0.2 + sum(ms for _, ms in segments) / 1000
    assert verdict.evidence["first_hz"] == pytest.approx(985.2, abs=3.0)
    assert verdict.evidence["second_s"] == pytest.approx(0.38, abs=0.015)


# --- fax, modem, pager ----------------------------------------------------------------------------------------------


def answer_tone(seconds, reversed_every_s=0.0, modulated=False):
    t = np.arange(round(seconds * RATE)) / RATE
    phase = np.pi * np.floor(t / reversed_every_s) if reversed_every_s else 0.0
    size = 1 + 0.2 * np.sin(2 * np.pi * 15 * t) if modulated else 1.0
    return 4000 * size * np.sin(2 * np.pi * 2100 * t + phase)


TERMINALS = {
    "CED": (VerdictKind.FAX, answer_tone(3.0)),
    "CNG": (VerdictKind.FAX, cadence((1100.0,), (0.5, 3.0), 7.5)),
    "V.21": (VerdictKind.FAX, v21_flags(2.0)),
    "V.25": (VerdictKind.MODEM, answer_tone(3.3, 0.45)),
    "ANSam": (VerdictKind.MODEM, answer_tone(3.3, 0.45, True)),
    "ANSam without reversals": (VerdictKind.MODEM, answer_tone(3.3, 0.0, True)),
    "Bell 103": (VerdictKind.MODEM, tone(3.0, 2225.0)),
    "V.22": (VerdictKind.MODEM, tone(3.0, 2250.0) + tone(3.0, 2850.0, dbfs=-30.0)),
    "pager": (VerdictKind.PAGER, cadence((1400.0,), (0.12, 0.12), 0.96)),
}


@pytest.mark.parametrize(
    ("pause_s", "seconds", "expected"),
    [
        (0.12, 0.13, VerdictKind.PAGER),
        (0.12, 0.5, VerdictKind.HUMAN),  # a word
        (0.42, 0.13, VerdictKind.HUMAN),  # not at the pace of the beeps
    ],
)
def test_given_beeps_of_a_pager_when_the_last_is_torn_then_it_is_one_of_them_unless_somebody_speaks(
    pause_s, seconds, expected
):
    t = np.arange(round(seconds * RATE)) / RATE
    torn = sum(np.sin(2 * np.pi * 170 * k * t) / k for k in range(1, 15)) * 3000
    beeps = cadence((1400.0,), (0.12, 0.12), 0.96)[: round(0.84 * RATE)]
    audio = np.concatenate([silence(0.5), beeps, silence(pause_s), torn, silence(4.0)])

    [found] = analyse([over_the_line(audio, np.random.default_rng(3), -60.0)])

    assert kinds(found)[:1] == [expected]


@pytest.mark.parametrize("name", list(TERMINALS))
def test_given_a_terminal_that_answers_when_the_line_is_poor_then_which_it_is(name):
    rng = np.random.default_rng(sum(name.encode()))
    expected, signal = TERMINALS[name]
    audio = [
        poor_line(np.concatenate([silence(rng.uniform(0.3, 1.5)), signal, silence(1.5)]), rng, 20.0) for _ in range(24)
    ]

    found = [kinds(v) for v in analyse(audio)]

    assert sum(v == [expected] for v in found) >= 23, [v for v in found if v != [expected]]


def test_given_a_fax_that_answers_when_its_tone_sounds_then_decided_within_a_second():
    verdicts = analyse([over_the_line(np.concatenate([silence(0.5), answer_tone(3.0)]), np.random.default_rng(2))])[0]

    assert kinds(verdicts) == [VerdictKind.FAX]
    assert verdicts[0].at_s < 1.5
    assert verdicts[0].evidence["hz"] == pytest.approx(2100.0, abs=3.0)


# --- recording tones ------------------------------------------------------------------------------------------------


BEEPS = {
    "low": tone(0.5, 425.0),
    "common": tone(0.4, 1000.0),
    "high": tone(0.3, 2050.0),
    "short": tone(0.1, 1400.0),
    "long": tone(2.8, 800.0),
    "dual": tone(0.5, 853.0, 1150.0),
    "fading": tone(0.6, 1100.0) * np.exp(-np.arange(4800) / 3000),
    "row": np.concatenate([tone(0.15, 1200.0), silence(0.12), tone(0.15, 1200.0)]),
    "step": np.concatenate([tone(0.2, 900.0), tone(0.25, 1200.0)]),
    "low steps": np.concatenate([tone(0.25, 443.0), tone(0.25, 400.0)]),
    "beside a key": tone(0.35, 756.0, 1352.0),  # 770 and 1336 Hz are the 5
    "short steps": np.concatenate([tone(0.11, 480.0), tone(0.11, 640.0)]),
    "square": np.clip(tone(0.4, 950.0) * 3, -4000, 4000),
}


@pytest.mark.parametrize("name", list(BEEPS))
@pytest.mark.parametrize("snr_db", [14.0, 30.0])
def test_given_a_recording_tone_after_a_greeting_when_it_ends_then_its_times_are_exact(name, snr_db):
    rng = np.random.default_rng(sum(name.encode()))
    beep, greeting = BEEPS[name], clip("machine_away")
    audio, truth_s = [], []
    for _ in range(6):
        lead, gap = rng.uniform(0.4, 1.0), rng.uniform(0.25, 0.8)
        truth_s.append(lead + len(greeting) / RATE + gap)
        whole = np.concatenate([silence(lead), greeting, silence(gap), beep, silence(2)])
        audio.append(over_the_line(whole, rng, -20.0 - snr_db))

    heard = [[v for v in verdicts if v.kind is VerdictKind.BEEP] for verdicts in analyse(audio)]

    right = [
        len(v) == 1 and abs(v[0].evidence["beep_at_s"] - at_s) < 0.04 for v, at_s in zip(heard, truth_s, strict=True)
    ]
    assert sum(right) >= 5, [(v and v[0].evidence["beep_at_s"], at_s) for v, at_s in zip(heard, truth_s, strict=True)]
    ends_s = [v[0].evidence["beep_end_s"] - at_s for v, at_s in zip(heard, truth_s, strict=True) if v]
    if name != "fading":
        assert np.median(ends_s) == pytest.approx(len(beep) / RATE, abs=0.03)


def test_given_two_notes_too_short_to_be_seen_always_when_they_are_a_beep_then_it_begins_with_the_first():
    rng = np.random.default_rng(2)
    greeting, beep = clip("machine_away"), np.concatenate([tone(0.07, 1200.0), tone(0.08, 900.0)])
    leads_s = [0.4 + 0.0035 * i for i in range(12)]
    audio = [
        over_the_line(np.concatenate([silence(s), greeting, silence(0.5), beep, silence(2)]), rng) for s in leads_s
    ]

    heard = [[v.evidence for v in verdicts if v.kind is VerdictKind.BEEP] for verdicts in analyse(audio)]

    late_s = [
        v[0]["beep_at_s"] - lead_s - len(greeting) / RATE - 0.5 for v, lead_s in zip(heard, leads_s, strict=True) if v
    ]
    assert len(late_s) >= 6
    assert np.abs(late_s).max() < 0.04


def test_given_a_short_low_pair_that_stands_alone_when_it_ends_then_a_beep_but_not_when_a_word_is_around_it():
    greeting, pair = clip("machine_away"), tone(0.13, 483.0, 752.0)
    around = tone(0.2, 300.0, 610.0, dbfs=-26.0)
    audio = [
        over_the_line(
            np.concatenate([silence(0.5), greeting, silence(0.5), *sound, silence(2)]), np.random.default_rng(1)
        )
        for sound in ([pair], [around, pair, around])
    ]

    assert [VerdictKind.BEEP in kinds(v) for v in analyse(audio)] == [True, False]


def dtmf(digits):
    keys = {"1": (697, 1209), "5": (770, 1336), "9": (852, 1477), "0": (941, 1336)}
    return np.concatenate([np.concatenate([tone(0.15, *map(float, keys[d])), silence(0.1)]) for d in digits])


def test_given_what_is_no_recording_tone_when_heard_after_speech_then_no_beep():
    hello = clip("human_hello_f")
    t = np.arange(8000) / RATE
    sung = 3000 * sum(np.sin(2 * np.pi * k * (220 * t - 2.0 * np.cos(2 * np.pi * 5.5 * t))) / k for k in range(1, 9))
    melody = np.concatenate([tone(0.18, hz) for hz in (523.0, 659.0, 784.0, 1047.0, 784.0)])
    noise = np.random.default_rng(0).normal(0, 3000, 8000)
    others = [dtmf("159"), sung, melody, noise, clip("announcement")]
    audio = [
        over_the_line(np.concatenate([silence(0.5), hello, silence(0.9), o, silence(2)]), np.random.default_rng(5))
        for o in others
    ]

    assert [VerdictKind.BEEP in kinds(v) for v in analyse(audio)] == [False] * len(others)


def test_given_a_chime_before_speech_when_the_speech_follows_then_no_beep():
    chime = np.concatenate([tone(0.4, 880.0), tone(0.5, 660.0)])
    audio = [
        over_the_line(
            np.concatenate([silence(0.5), chime, silence(gap_s), clip("announcement"), silence(2)]),
            np.random.default_rng(6),
        )
        for gap_s in (0.2, 0.6)
    ]

    assert [VerdictKind.BEEP in kinds(v) for v in analyse(audio)] == [False, False]


def test_given_a_beep_and_nothing_else_when_answered_then_machine_and_beep():
    audio = over_the_line(np.concatenate([silence(0.8), tone(0.5, 1000.0), silence(4)]), np.random.default_rng(6))

    found = analyse([audio])[0]

    assert kinds(found) == [VerdictKind.MACHINE, VerdictKind.BEEP]
    assert found[1].evidence["beep_at_s"] == pytest.approx(0.8, abs=0.02)
    assert found[1].evidence["beep_end_s"] == pytest.approx(1.3, abs=0.02)


def test_given_a_machine_that_talks_on_after_a_beep_when_it_beeps_again_then_both_are_told():
    beep = tone(0.4, 1000.0)
    parts = [
        silence(0.5),
        clip("machine_away"),
        silence(0.4),
        beep,
        silence(1.5),
        clip("machine_reached"),
        silence(0.4),
    ]
    whole = np.concatenate([*parts, beep, silence(8)])
    at_s = sum(len(part) for part in parts) / RATE

    found = analyse([over_the_line(whole, np.random.default_rng(6))])[0]

    beeps = [v for v in found if v.kind is VerdictKind.BEEP]
    assert len(beeps) == 2
    assert beeps[1].evidence["beep_at_s"] == pytest.approx(at_s, abs=0.04)
    assert [k for k in kinds(found) if k is not VerdictKind.BEEP][-1] is VerdictKind.MACHINE
    assert [v.done for v in beeps] == [False, False]


@pytest.mark.parametrize("after", [[], [silence(1.0), tone(0.4, 1000.0)], [silence(0.5), clip("announcement")]])
def test_given_a_beep_when_silence_another_beep_or_speech_alone_follows_then_nothing_more_and_the_analysis_ends(after):
    whole = np.concatenate([silence(0.5), clip("machine_away"), silence(0.4), tone(0.4, 1000.0), *after, silence(6)])
    analyser = Analyser(1)
    analyser.start(0, AnalysisSettings("US"), connected=True)

    found = [
        v.kind
        for frame in over_the_line(whole, np.random.default_rng(6))
        for _, v in analyser.step(frame[None], np.array([True]), 0.0)
    ]

    assert found.count(VerdictKind.BEEP) == 1
    assert found[-1] is VerdictKind.BEEP
    assert not analyser.analysing[0]


def test_given_songs_after_the_answer_when_they_play_then_no_fax_modem_pager_or_network_tone():
    rng = np.random.default_rng(15)
    audio = [poor_line(song(rng, 8.0), rng, 25.0) for _ in range(12)]

    for plan in ("US", "DE"):
        found = {str(k) for v in analyse(audio, AnalysisSettings(plan)) for k in kinds(v)}

        assert not found & (FINAL_TONES | {"ringback"})


# --- what sounds before the answer ----------------------------------------------------------------------------------


def song(rng, seconds):
    """Chords of decaying notes with their harmonics, a bass, and a drum of noise."""
    out = np.zeros(round(seconds * RATE))
    beat_s = rng.uniform(0.35, 0.6)
    for beat in range(int(seconds / beat_s) + 1):
        at = round(beat * beat_s * RATE)
        length = min(len(out) - at, round(1.2 * beat_s * RATE))
        if length <= 0:
            break
        t = np.arange(length) / RATE
        for note in rng.choice([220.0, 262.0, 330.0, 392.0, 440.0, 524.0], 3, replace=False):
            for k in (1, 2, 3):
                out[at : at + length] += np.sin(2 * np.pi * k * note * t) / k * np.exp(-t / beat_s)
        out[at : at + length] += 0.7 * rng.normal(0, 1, length) * np.exp(-t / 0.03)
    return 2500 * out


def test_given_music_speech_or_nothing_before_the_answer_when_it_lasts_then_that_is_told():
    rng = np.random.default_rng(12)
    speech = [clip("announcement"), clip("machine_reached"), clip("machine_away"), clip("machine_de")]
    songs = [poor_line(song(rng, 7.0), rng, 25.0) for _ in range(8)]
    talk = [poor_line(np.concatenate([one, silence(2)]), rng, 25.0) for one in speech]
    nothing = [over_the_line(silence(8), rng, -55.0)]

    found = [kinds(v) for v in analyse([*songs, *talk, *nothing], connected=False)]

    assert found[:8] == [[VerdictKind.CRBT]] * 8
    assert found[8:12] == [[VerdictKind.ANNOUNCEMENT]] * 4
    assert found[12:] == [[VerdictKind.NO_RINGBACK]]


# --- invariants -----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    plan=st.sampled_from(sorted(TONE_PLANS)),
    noise_dbfs=st.one_of(st.none(), st.floats(-70.0, -30.0)),
    hum_hz=st.sampled_from([0.0, 50.0, 60.0, 100.0]),
    connected=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_given_silence_noise_or_hum_when_analysed_then_never_a_tone(plan, noise_dbfs, hum_hz, connected, seed):
    quiet = silence(5) if not hum_hz else tone(5, hum_hz, dbfs=-40.0)
    frames = over_the_line(quiet, np.random.default_rng(seed), noise_dbfs)

    found = {str(v.kind) for v in analyse([frames], AnalysisSettings(plan), connected)[0]}

    assert not found & (FINAL_TONES | {"ringback", "beep", "machine", "crbt"})


@settings(max_examples=20, deadline=None)
@given(
    gain_db=st.floats(-20.0, 6.0),
    plan=st.sampled_from(["US", "UK", "DE", "JP", "AU", "IN"]),
    kind=st.sampled_from([VerdictKind.BUSY, VerdictKind.RINGBACK]),
)
def test_given_any_level_within_the_working_range_when_a_tone_plays_then_the_same_verdict(gain_db, plan, kind):
    one = tone_plan(plan).of_kind(kind)[0]
    samples = cadence(one.hz, one.cadence_s, 2.5 * sum(one.cadence_s) + 1, modulated_hz=one.modulated_hz)
    frames = over_the_line(samples * 10 ** (gain_db / 20), np.random.default_rng(0))

    assert kinds(analyse([frames], AnalysisSettings(plan), False)[0]) == [kind]


def test_given_people_and_recordings_when_they_speak_then_no_tone_of_any_plan():
    rng = np.random.default_rng(3)
    audio = [
        poor_line(np.concatenate([silence(0.4), clip(n), silence(1)]), rng, 25.0) for n in HUMAN_CLIPS + MACHINE_CLIPS
    ]

    for plan in ("US", "UK", "DE", "FR", "ITU"):
        found = {str(k) for v in analyse(audio, AnalysisSettings(plan)) for k in kinds(v)}

        assert not found & (FINAL_TONES | {"ringback", "beep"}), plan


def test_given_many_channels_when_one_has_a_tone_then_the_others_hear_as_if_alone():
    rng = np.random.default_rng(4)
    busy = over_the_line(cadence((480.0, 620.0), (0.5, 0.5), 4.0), rng)
    hello = over_the_line(np.concatenate([silence(0.5), clip("human_hello_m"), silence(3)]), rng)
    alone = [[(v.kind, v.at_s) for v in analyse([one])[0]] for one in (busy, hello)]

    together = [[(v.kind, v.at_s) for v in found] for found in analyse([busy, hello, busy])]

    assert together == [alone[0], alone[1], alone[0]]


def test_given_a_channel_used_again_when_its_second_call_is_silent_then_nothing_of_the_first_is_left():
    analyser = Analyser(1)
    frames = over_the_line(cadence((425.0,), (1.0, 4.0), 2.0), np.random.default_rng(0))
    for settings_of, part in (("DE", frames), ("US", np.zeros((400, 160), dtype=np.int16))):
        analyser.start(0, AnalysisSettings(settings_of), connected=False)
        found = [v.kind for f in part for _, v in analyser.step(f[None], np.array([True]), 0.0)]
        analyser.stop(0)

    assert found == [VerdictKind.NO_RINGBACK]
