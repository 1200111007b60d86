"""What the demo's report says of the analysis, from rows and truths made by hand."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ocsd.demo import view
from ocsd.demo.options import DemoOptions
from ocsd.demo.report import AttemptRow
from ocsd.demo.run import IDLE_S, Ended
from ocsd.demo.verdicts import analysis_report, percentiles, quantile
from ocsd.model.enums import CallResult
from telephony.simworld.plan import IN_BAND, NumberClass, decided_by

OFFSET_S = 1_700_000_000.0
"""The carrier's monotonic clock began so long after 1970."""


class Calls:
    """Attempts and their truths, side by side; times of calls are seconds after the answer, at 100 s."""

    def __init__(self) -> None:
        self.attempts: list[AttemptRow] = []
        self.truths: list[dict] = []

    def add(
        self, number_class, result, decided_s=None, greeting_s=1.0, waited_for=None, beep_s=None, heard=(), early=""
    ):
        number = f"1212555{2000 + len(self.attempts)}"
        decided = None if decided_s is None else OFFSET_S + 100.0 + decided_s
        verdicts = [{"kind": kind, "figures": {"beep_at_s": at_s} if kind == "beep" else {}} for kind, at_s in heard]
        self.attempts.append(
            AttemptRow(len(self.attempts), number, int(result), False, True, None, decided, waited_for, verdicts)
        )
        known = number_class in set(NumberClass)
        refused = known and NumberClass(number_class) in IN_BAND
        self.truths.append(
            {
                "number": f"+{number}",
                "class": number_class,
                "decided_by": decided_by(NumberClass(number_class)) if known else "signalling",
                "epoch_offset_s": OFFSET_S,
                "rang_at_s": 90.0,
                "early": early,
                "answered_at_s": None if refused else 100.0,
                "greeting_ended_at_s": None if refused else 100.0 + greeting_s,
                "beep_at_s": None if beep_s is None else 100.0 + beep_s,
            }
        )

    def report(self):
        return analysis_report(self.attempts, self.truths)


def test_given_right_and_wrong_results_when_reported_then_each_class_has_its_row():
    calls = Calls()
    calls.add("human", CallResult.ANSWER, 1.5)
    calls.add("human", CallResult.ANSWERING_MACHINE, 2.5)
    calls.add("machine", CallResult.ANSWERING_MACHINE, 3.0)
    calls.add("modem_bell", CallResult.FAX, 1.0)
    calls.add("trunk_full", CallResult.ALL_TRUNKS_BUSY)
    calls.add("machine", CallResult.STALE, 3.0)
    calls.add("cancelled", CallResult.NO_ANSWER)

    found = calls.report()["confusion"]

    assert found == {
        "human": {
            "calls": 2,
            "right": 1,
            "truth_match": 0.5,
            "results": {"Answer": 1, "Answering Machine Detected": 1},
        },
        "machine": {"calls": 1, "right": 1, "truth_match": 1.0, "results": {"Answering Machine Detected": 1}},
        "modem_bell": {"calls": 1, "right": 1, "truth_match": 1.0, "results": {"Fax Detected": 1}},
        "trunk_full": {"calls": 1, "right": 1, "truth_match": 1.0, "results": {"All Trunks Busy": 1}},
    }


def test_given_a_wrong_result_when_reported_then_what_was_played_and_what_was_heard_stand_beside_it():
    calls = Calls()
    calls.add("human", CallResult.ANSWER, 1.5)
    calls.add("human", CallResult.ANSWERING_MACHINE, 1.5, heard=[("machine", 1.4)])
    calls.truths[1] |= {"answer": "silence:300 clip:human_00", "level_db": -6.0}

    (miss,) = calls.report()["misses"]

    assert miss == {
        "attempt_id": 1,
        "class": "human",
        "result": "Answering Machine Detected",
        "number": "+12125552001",
        "early": "",
        "answer": "silence:300 clip:human_00",
        "level_db": -6.0,
        "verdicts": [{"kind": "machine", "figures": {}}],
    }


def test_given_verdicts_when_timed_then_from_the_answer_the_end_of_the_greeting_or_the_begin_of_early_media():
    calls = Calls()
    for late_s in (0.4, 0.5, 0.9):
        calls.add("human", CallResult.ANSWER, 1.0 + late_s)
    calls.add("human_slow", CallResult.ANSWER, 2.5, greeting_s=3.0)
    calls.add("machine", CallResult.ANSWERING_MACHINE, 3.0)
    calls.add("busy_inband", CallResult.BUSY, -8.4)
    calls.add("silent", CallResult.SILENCE)

    report = calls.report()

    assert report["latency"] == {
        "busy_inband": {"after_media": {"count": 1, "p50_s": 1.6, "p95_s": 1.6, "p99_s": 1.6, "max_s": 1.6}},
        "human": {
            "after_answer": {"count": 3, "p50_s": 1.5, "p95_s": 1.9, "p99_s": 1.9, "max_s": 1.9},
            "after_greeting": {"count": 3, "p50_s": 0.5, "p95_s": 0.9, "p99_s": 0.9, "max_s": 0.9},
        },
        "human_slow": {
            "after_answer": {"count": 1, "p50_s": 2.5, "p95_s": 2.5, "p99_s": 2.5, "max_s": 2.5},
            "after_greeting": {"count": 1, "p50_s": -0.5, "p95_s": -0.5, "p99_s": -0.5, "max_s": -0.5},
        },
        "machine": {"after_answer": {"count": 1, "p50_s": 3.0, "p95_s": 3.0, "p99_s": 3.0, "max_s": 3.0}},
    }
    assert report["people_after_greeting"]["count"] == 4
    assert report["lost"]["verdicts_later_than_0.8_s"] == 1


def test_given_people_lost_when_counted_then_each_has_one_cause():
    calls = Calls()
    calls.add("human", CallResult.ANSWER, 1.5)
    calls.add("human", CallResult.ABANDONED, 1.5, waited_for="agent")
    calls.add("human_business", CallResult.ABANDONED, 3.5, waited_for="analysis")
    calls.add("human", CallResult.REMOTE_RELEASE, waited_for="analysis")
    calls.add("human_again", CallResult.ANSWERING_MACHINE, 1.5)
    calls.add("human", CallResult.SILENCE, 4.5)
    calls.add("machine_short", CallResult.ABANDONED, 1.5, waited_for="wrong verdict")
    calls.add("machine", CallResult.ANSWER, 1.5)
    calls.add("hangup_early", CallResult.REMOTE_RELEASE, waited_for="analysis")
    calls.add("hangup_early", CallResult.ABANDONED, 1.2, waited_for="agent")

    lost = calls.report()["lost"]

    assert lost == {
        "abandoned": 4,
        "verdicts_later_than_0.8_s": 2,
        "waiting_for_agent": 1,
        "late_verdict": 2,
        "wrong_verdict": 2,
        "no_person": 1,
        "left_at_once": 2,
        "taken_for": {"Answering Machine Detected": 1, "Silence": 1},
    }


def test_given_beeps_when_found_then_their_distance_from_the_truth_is_told():
    calls = Calls()
    calls.add("machine", CallResult.ANSWERING_MACHINE, 3.0, beep_s=6.0, heard=[("machine", 3.0), ("beep", 5.93)])
    calls.add("machine_beep", CallResult.ANSWERING_MACHINE, 3.0, beep_s=2.0, heard=[("machine", 3.0)])
    calls.add("machine", CallResult.ANSWERING_MACHINE, 3.0)
    ringback = "|tone:ringback"  # the analysis began with it, so nothing can be compared
    calls.add("machine", CallResult.ANSWERING_MACHINE, 3.0, beep_s=6.0, heard=[("beep", 13.5)], early=ringback)

    assert calls.report()["beeps"] == {"sounded": 3, "found": 2, "count": 1} | {
        key: pytest.approx(0.07) for key in ("p50_s", "p95_s", "p99_s", "max_s")
    }


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_given_any_values_when_a_quantile_is_taken_then_it_is_one_of_them_and_splits_them(values, share):
    ordered = sorted(values)
    found = quantile(ordered, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_given_nothing_when_percentiles_are_asked_for_then_only_the_count_is_told():
    assert percentiles([]) == {"count": 0}


def test_given_a_report_when_shown_then_every_class_and_cause_can_be_read():
    calls = Calls()
    calls.add("human_again", CallResult.ANSWERING_MACHINE, 1.5)
    calls.add("busy_inband", CallResult.BUSY, -8.4)
    console = Console(file=io.StringIO(), width=140)

    console.print(view.analysis(calls.report()))

    text = console.file.getvalue()
    for expected in ("human_again", "busy_inband", "0.0 %", "taken for: Answering Machine Detected", "1.60", "0.50"):
        assert expected in text


# --- the end of a campaign ------------------------------------------------------------------------------------------


def figures(attempts, dialing=0, talking=0):
    return {"attempts": attempts, "calls_dialing": dialing, "calls_analysing": 0, "agents_talking": talking}


def test_given_a_time_when_it_is_over_then_the_campaign_ends_and_not_before():
    ended = Ended(DemoOptions(seconds=90))
    assert [ended({}, at_s) for at_s in (0.0, 89.9, 90.0)] == [False, False, True]
    assert Ended(DemoOptions(seconds=90))(figures(100_000), 10.0) is False


def test_given_a_number_of_attempts_when_made_then_the_campaign_ends():
    ended = Ended(DemoOptions(seconds=3600, attempts=50))
    assert [ended(figures(n), 1.0 + n) for n in (0, 49, 50)] == [False, False, True]


def test_given_fewer_to_call_than_asked_for_when_nothing_happens_any_more_then_the_campaign_ends():
    ended = Ended(DemoOptions(seconds=3600, attempts=50))
    assert ended(figures(40, dialing=2), 100.0) is False
    assert ended(figures(40, talking=1), 100.0 + 2 * IDLE_S) is False
    assert ended(figures(40), 101.0 + 2 * IDLE_S) is False
    assert ended(figures(40), 100.5 + 3 * IDLE_S) is True
