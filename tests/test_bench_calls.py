"""What the bench of calls takes for a rate that is held."""

import json
import sys

import pytest

from bench import calls
from bench.calls import NOT_HELD, Figures, told


def figures(**changes: object) -> Figures:
    found = Figures(50.0, 20.0, started=1000, answered=1000, starts_per_s=50.0, late_p99_ms=5.0)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_given_calls_that_all_went_well_when_asked_then_the_rate_is_held():
    assert figures().holds
    assert figures(answered=996).holds


@pytest.mark.parametrize(
    "changes",
    [
        {"failed": {"cut: LegEnded": 6}},
        {"failed": {"lost at the end": 6}},
        {"answered": 994},
        {"legs_left": 1},
        {"channels_left": 1},
        {"late_p99_ms": 21.0},
        {"starts_per_s": 48.0},
        {"started": 0, "answered": 0},
    ],
)
def test_given_calls_that_were_cut_or_left_behind_when_asked_then_the_rate_is_not_held(changes):
    assert not figures(**changes).holds


@pytest.mark.parametrize(
    ("arguments", "held", "code"),
    [
        (["--rate", "50"], [True], 0),
        (["--rate", "50"], [False], NOT_HELD),
        (["--rates", "25", "50"], [True, False], 0),
        (["--rates", "25", "50"], [False], NOT_HELD),
        (["--rates", "25", "50", "--long", "60"], [True, False, True], 0),
        (["--rates", "25", "50", "--long", "60"], [True, False, False], NOT_HELD),
        (["--rates", "25", "--soak", "100"], [True, False], NOT_HELD),
    ],
)
def test_given_rates_when_one_that_counts_is_not_held_then_the_exit_code_says_so_and_figures_are_written(
    arguments, held, code, monkeypatch, tmp_path
):
    answers = iter(held)
    monkeypatch.setattr(calls, "measure", lambda *_: figures(legs_left=0 if next(answers) else 1))
    monkeypatch.setattr(calls, "prefer", lambda _niceness: None)
    monkeypatch.setattr(sys, "argv", ["bench.calls", *arguments, "--json", str(tmp_path / "found.json")])

    assert calls.main() == code
    assert [run["holds"] for run in json.loads((tmp_path / "found.json").read_text())] == held
    assert next(answers, None) is None


def test_given_a_run_when_told_then_it_has_memory_and_processor_time_per_call_and_what_was_left():
    run = told(figures(memory_by_calls_mb={10_000: {"media": 90.0}}, legs_left=2, channels_left=3))

    assert {"memory_per_call_kb", "cpu_ms_per_call", "cpu_cores"} <= run.keys()
    assert (run["legs_left"], run["channels_left"]) == (2, 3)
    assert json.loads(json.dumps(run))["memory_by_calls_mb"] == {"10000": {"media": 90.0}}
