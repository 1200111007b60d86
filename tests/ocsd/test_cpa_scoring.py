"""Results, manifests and scores of analysed recordings."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.cpa.countries import plan_name
from ocsd.cpa.manifest import Entry, parse_manifest, read_manifest
from ocsd.cpa.results import RESULTS, judged
from ocsd.cpa.scoring import Percentiles, Rate, score
from ocsd.model.enums import CallResult
from ocsd.model.errors import ConfigError
from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.analyser import VerdictData
from telephony.cpa.finding import INFORMATION
from telephony.cpa.offline import Call, Heard
from telephony.cpa.tones import GENERIC_PLAN

FOLDER = Path("recordings")
SAMPLES = np.zeros(800, dtype=np.int16)


def verdict(kind, at_s=1.0, speech_end_s=0.0, revises=False, **evidence):
    return VerdictData(kind, "because", at_s, True, speech_end_s, revises, evidence, False)


def analysed(*verdicts, answered_s=0.0, length_s=10.0):
    call = Call(SAMPLES, AnalysisSettings(), answered_s)
    return judged(call, Heard(tuple(verdicts), length_s, 0.0, -60.0, -20.0))


def entry(label, **fields):
    return Entry("a.wav", FOLDER / "a.wav", label, "post", "US", **fields)


# --- results ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", VerdictKind)
def test_given_each_kind_of_verdict_when_it_stands_then_one_result_and_one_of_the_manual(kind):
    found = analysed(
        verdict(kind, beep_at_s=0.5, beep_end_s=0.5 + 0.4), answered_s=None if kind in INFORMATION else 0.0
    )

    assert found.result in RESULTS
    assert found.call_result in CallResult
    assert found.result != "unknown" or kind is VerdictKind.BEEP
    json.dumps(found.told("a.wav"), allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "result", "title"),
    [
        (VerdictKind.HUMAN, "human", "Answer"),
        (VerdictKind.MACHINE, "machine", "Answering Machine Detected"),
        (VerdictKind.MODEM, "modem", "Fax Detected"),
        (VerdictKind.PAGER, "machine", "Pager Detected"),
        (VerdictKind.NU_TONE, "reorder", "NU Tone"),
        (VerdictKind.REORDER, "reorder", "All Trunks Busy"),
        (VerdictKind.SIT_INTERCEPT, "sit_ic", "SIT IC (Intercept)"),
        (VerdictKind.SIT_INEFFECTIVE, "sit_io", "SIT Unknown Call State"),
        (VerdictKind.SIT_UNKNOWN, "sit", "SIT Detected"),
        (VerdictKind.NO_RINGBACK, "silence", "No RingBack Tone"),
        (VerdictKind.SILENCE, "silence", "Silence"),
        (VerdictKind.CRBT, "crbt", "No Answer"),
        (VerdictKind.TIMEGUARD, "human", "Answer"),
    ],
)
def test_given_a_kind_when_told_then_these_words(kind, result, title):
    told = analysed(verdict(kind, 2.5), answered_s=None if kind in INFORMATION else 0.0).told("a.wav")

    assert list(told) == ["file", "result", "call_result", "decision_time_s", "beep_time_s", "evidence"]
    assert (told["result"], told["call_result"], told["decision_time_s"]) == (result, title, 2.5)


def test_given_a_revised_verdict_when_judged_then_the_last_one_counts_and_the_first_is_kept():
    found = analysed(
        verdict(VerdictKind.RINGBACK, 0.5),
        verdict(VerdictKind.HUMAN, 1.0, 0.6),
        verdict(VerdictKind.MACHINE, 3.0, 0.6, revises=True),
        verdict(VerdictKind.BEEP, 9.0, beep_at_s=8.2, beep_end_s=8.2 + 0.4),
    )

    assert (found.result, found.first, found.decision_time_s) == ("machine", "human", 3.0)
    assert (found.beep_time_s, found.evidence["beep_end_s"], found.speech_end_s) == (8.2, 8.6, 0.6)
    assert [one["kind"] for one in found.evidence["verdicts"]] == ["ringback", "human", "machine", "beep"]


def test_given_two_recording_tones_when_judged_then_the_last_one_counts():
    first, last = (
        verdict(VerdictKind.BEEP, 3.0, beep_at_s=2.5, beep_end_s=2.5 + 0.4),
        verdict(VerdictKind.BEEP, 9.0, beep_at_s=8.25, beep_end_s=8.25 + 0.4),
    )

    assert analysed(verdict(VerdictKind.MACHINE), first, last).beep_time_s == 8.25


def test_given_the_time_guard_when_it_runs_out_then_a_person_as_a_live_call_has_it():
    found = analysed(verdict(VerdictKind.TIMEGUARD, 8.0, 2.0))

    assert (found.result, found.first, found.call_result) == ("human", "human", CallResult.ANSWER)


def test_given_the_time_guard_when_no_voice_was_heard_then_unknown_though_a_live_call_goes_to_an_agent():
    found = analysed(verdict(VerdictKind.TIMEGUARD, 8.0, spoke=0.0))

    assert (found.result, found.call_result, found.decision_time_s) == ("unknown", CallResult.UNKNOWN, 8.0)
    assert found.first == "human"
    assert analysed(verdict(VerdictKind.TIMEGUARD, 8.0, 3.0, spoke=1.0)).result == "human"


def test_given_no_verdict_when_told_then_the_decision_is_at_the_end_of_listening():
    call = Call(SAMPLES, AnalysisSettings(), None)
    told = judged(call, Heard((), 0.1, 2.0, -60.0, -20.0)).told("a.wav")

    assert (told["result"], told["decision_time_s"]) == ("unknown", 2.1)
    assert told["evidence"]["note"].startswith("the recording ended 2.00 s before")


def test_given_ringback_without_end_after_the_answer_when_nobody_spoke_then_ringback():
    found = analysed(verdict(VerdictKind.RINGBACK, 6.0), verdict(VerdictKind.TIMEGUARD, 8.0))

    assert found.result == "ringback"
    assert analysed(verdict(VerdictKind.RINGBACK, 1.0), verdict(VerdictKind.TIMEGUARD, 8.0, 2.0)).result == "human"


def test_given_early_media_when_it_is_judged_then_what_says_most_counts():
    rings, music = verdict(VerdictKind.RINGBACK, 2.0), verdict(VerdictKind.CRBT, 4.0)
    speech, sit = verdict(VerdictKind.ANNOUNCEMENT, 5.0), verdict(VerdictKind.SIT_VACANT, 6.0)

    assert analysed(rings, answered_s=None).result == "ringback"
    assert analysed(rings, music, answered_s=None).result == "crbt"
    assert analysed(rings, music, speech, answered_s=None).result == "announcement"
    assert analysed(rings, music, speech, sit, answered_s=None).result == "sit_vc"
    assert analysed(speech, verdict(VerdictKind.RINGBACK, 7.0), answered_s=None).result == "ringback"
    assert analysed(music, verdict(VerdictKind.RINGBACK, 7.0), answered_s=None).result == "crbt"
    assert analysed(verdict(VerdictKind.NO_RINGBACK, 7.0), answered_s=None).result == "silence"
    assert analysed(rings, verdict(VerdictKind.NO_RINGBACK, 7.0), answered_s=None).result == "ringback"
    assert analysed(answered_s=None).result == "unknown"
    assert analysed(rings).result == "ringback"  # nobody knows when, and whether, such a recording was answered


def test_given_a_decision_after_the_end_when_told_then_a_note_says_so():
    assert "0.50 s before the decision" in analysed(verdict(VerdictKind.HUMAN, 1.5), length_s=1.0).evidence["note"]
    assert "note" not in analysed(verdict(VerdictKind.HUMAN, 1.5), length_s=2.0).evidence


# --- manifest ---------------------------------------------------------------------------------------------------


def line(**changes):
    fields = {"file": "a.wav", "label": "human", "phase": "post", "country": "US"} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...})


def test_given_a_manifest_when_parsed_then_its_entries():
    lines = [
        line(speech_end_s=1.25, beep_s=None, split="test", source="x", impairments={"snr_db": 20}),
        "",
        line(file="b/c.wav", label="pager", country=None),
        line(file="d.wav", label="sit_ic", phase="pre", country="gb", beep_s=3, answered_s=0.5),
    ]
    one, two, three = parse_manifest(lines, FOLDER)

    assert (one.path, one.speech_end_s, one.beep_s, one.beep_known, one.split) == (
        FOLDER / "a.wav",
        1.25,
        None,
        True,
        "test",
    )
    assert (two.label, two.tone_plan, two.beep_known) == ("pager", "US", False)
    assert (three.phase, three.beep_s, three.answered_s) == ("pre", 3.0, 0.5)
    assert three.tone_plan in ("GB", "UK")


def test_given_a_country_without_tones_when_parsed_then_those_recommended_to_all():
    (found,) = parse_manifest([line(country="aq")], FOLDER)

    assert (found.tone_plan, found.country_without_plan) == (GENERIC_PLAN, "AQ")
    assert parse_manifest([line()], FOLDER)[0].country_without_plan == ""
    assert plan_name("de") == ("DE", True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (line(file=...), "file is missing"),
        (line(file=3), "file is 3"),
        (line(file="a\0.wav"), "is no name"),
        (line(label="person"), "label 'person' is none of human, machine"),
        (line(phase="mid"), "phase 'mid' is neither"),
        (line(country=1), "country 1"),
        (line(country="!!"), "'!!'"),
        (line(speech_end_s="1"), "speech_end_s is '1'"),
        (line(beep_s=-1), "beep_s is -1"),
        (line(beep_s=True), "beep_s is True"),
    ],
)
def test_given_a_faulty_line_when_parsed_then_its_number_and_the_fault(text, why):
    with pytest.raises(ConfigError) as raised:
        parse_manifest([line(file="first.wav"), text, line(file="first.wav")], FOLDER)

    first, second = raised.value.problems
    assert first.startswith("manifest.jsonl, line 2: ")
    assert why in first
    assert second == "manifest.jsonl, line 3: first.wav is in line 1 too"


def test_given_a_recording_asked_about_in_two_phases_when_parsed_then_both_are_entries():
    both = parse_manifest([line(), line(phase="pre"), line(country="DE")], FOLDER)

    assert [(one.phase, one.tone_plan) for one in both] == [("post", "US"), ("pre", "US"), ("post", "DE")]


def test_given_a_manifest_of_another_system_when_read_then_marks_line_ends_and_odd_characters_are_no_fault(tmp_path):
    text = f'{line()[:-1]}, "said": "a\u2028b\u0085c"}}\r\n\r\n{line(file="b.wav")}'
    (tmp_path / "manifest.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())

    assert [one.file for one in read_manifest(tmp_path)] == ["a.wav", "b.wav"]


def test_given_a_manifest_that_is_not_utf_8_when_read_then_the_line_is_named(tmp_path):
    (tmp_path / "manifest.jsonl").write_bytes(line().encode() + b'\n{"file": "\xe4.wav"}\n')

    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        read_manifest(tmp_path)


def test_given_an_empty_manifest_when_parsed_then_an_error():
    with pytest.raises(ConfigError, match="empty"):
        parse_manifest(["", " "], FOLDER)


# --- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (98, 100, 0.9300, 0.9945)],
)
def test_given_counts_when_a_rate_is_made_then_wilsons_interval(count, of, low, high):
    rate = Rate.of_counts(count, of)

    assert (rate.low, rate.high) == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


@given(st.integers(1, 5000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_given_any_counts_when_a_rate_is_made_then_the_ratio_is_inside(counts):
    rate = Rate.of_counts(*counts)

    assert 0.0 <= rate.low <= rate.ratio <= rate.high <= 1.0
    wider = Rate.of_counts(0, 0)
    assert (wider.ratio, wider.of) == (0.0, 0)


def test_given_values_when_percentiles_are_made_then_they_are_among_them():
    assert Percentiles.of_values(range(1, 101)) == Percentiles(100, 51, 96, 100)
    assert Percentiles.of_values([]) == Percentiles(0, None, None, None)


def test_given_verdicts_and_truth_when_scored_then_every_figure():
    human, machine = verdict(VerdictKind.HUMAN, 2.0, 1.2), verdict(VerdictKind.MACHINE, 4.0, 3.0)
    revised = (human, verdict(VerdictKind.MACHINE, 5.0, 1.2, revises=True))
    beep = verdict(VerdictKind.BEEP, 8.0, beep_at_s=7.5, beep_end_s=7.5 + 0.4)
    found = score(
        [
            (entry("human", speech_end_s=1.3), analysed(human)),
            (entry("human"), analysed(human)),
            (entry("human"), analysed(machine, beep)),
            (entry("human"), analysed(*revised)),
            (entry("human"), analysed(verdict(VerdictKind.SILENCE, 4.5))),
            (entry("machine", beep_s=7.45, beep_known=True), analysed(machine, beep)),
            (entry("machine", beep_s=6.0, beep_known=True), analysed(*revised, beep)),
            (entry("machine", beep_s=6.0, beep_known=True), analysed(human)),
            (entry("machine"), analysed(verdict(VerdictKind.PAGER))),
            (entry("pager"), analysed(verdict(VerdictKind.PAGER))),
            (entry("pager"), analysed(machine)),
        ]
    )

    assert found.confusion == {
        "human": {"human": 2, "machine": 2, "silence": 1},
        "machine": {"human": 1, "machine": 3},
        "pager": {"machine": 1, "pager": 1},
    }
    assert (found.right.count, found.right.of) == (6, 11)
    recalls = {one.label: (one.recall.count, one.recall.of) for one in found.classes}
    assert recalls == {"human": (2, 5), "machine": (3, 4), "pager": (1, 2)}
    precisions = {one.label: (one.precision.count, one.precision.of) for one in found.classes}
    assert precisions == {"human": (2, 3), "machine": (3, 6), "pager": (1, 1)}

    def counts(rate):
        return rate.count, rate.of

    people = found.people
    assert counts(people.human_as_machine) == (2, 5)
    assert counts(people.human_missed) == (3, 5)
    assert counts(people.machine_caught) == (3, 4)
    assert counts(people.machine_as_human) == (1, 4)
    assert counts(people.first_human_as_machine) == (1, 5)
    assert counts(people.first_machine_as_human) == (2, 4)
    assert counts(people.undecided) == (0, 9)
    told = {one.end_from: (one.delay.p50_s, one.within.count, one.within.of) for one in found.after_speech}
    assert told == {"manifest": (0.7, 1, 1), "analyser": (0.8, 1, 1)}
    assert [counts(one.early) for one in found.after_speech] == [(0, 1), (0, 1)]
    assert counts(found.special_information) == (0, 0)
    beeps = found.beeps
    assert counts(beeps.found) == (2, 3)
    assert counts(beeps.within) == (1, 3)
    assert beeps.error.p50_s == 1.5
    assert counts(beeps.false) == (1, 5)
    assert [(one.label, one.result, one.first) for one in found.failures] == [
        ("human", "machine", "machine"),
        ("human", "machine", "human"),
        ("human", "silence", "silence"),
        ("machine", "human", "human"),
        ("pager", "machine", "machine"),
    ]


def test_given_a_pause_inside_a_greeting_when_taken_for_its_end_then_the_decision_is_early():
    found = score([(entry("human", speech_end_s=2.5), analysed(verdict(VerdictKind.HUMAN, 1.5, 0.9)))])
    (after,) = found.after_speech

    assert (after.delay.p50_s, after.early.count, after.within.count) == (-1.0, 1, 1)


def test_given_the_time_guard_when_it_decides_then_undecided_and_a_person_as_a_live_call_would_be():
    guard = verdict(VerdictKind.TIMEGUARD, 8.0, 7.0)
    found = score([(entry("human"), analysed(guard)), (entry("machine"), analysed(guard)), (entry("busy"), analysed())])

    people = found.people
    assert (people.undecided.count, people.undecided.of) == (2, 2)
    assert (people.human_missed.count, people.machine_as_human.count) == (0, 1)


def test_given_labels_and_results_of_other_causes_when_scored_then_they_are_special_information_tones_all_the_same():
    found = score(
        [
            (entry("sit"), analysed(verdict(VerdictKind.SIT_INTERCEPT))),
            (entry("sit_ic"), analysed(verdict(VerdictKind.SIT_UNKNOWN))),
            (entry("sit_vc"), analysed(verdict(VerdictKind.SIT_VACANT))),
            (entry("sit_io"), analysed(verdict(VerdictKind.BUSY))),
            (entry("busy"), analysed(verdict(VerdictKind.SIT_REORDER))),
        ]
    )

    assert (found.special_information.count, found.special_information.of) == (3, 4)
    assert (found.right.count, found.right.of) == (1, 5)
    assert found.confusion["sit"] == {"sit_ic": 1}


def test_given_nothing_said_when_scored_then_unknown_is_a_column():
    found = score([(entry("busy"), analysed())])

    assert found.confusion == {"busy": {"unknown": 1}}
    assert found.classes[0].decision.of == 0
