"""Experiments and what is told of them: kept results, tuned knobs, marks, goals."""

import json
from dataclasses import replace

import pytest

from pacing.sim import SCENARIOS, Scenario
from pacing.sim import experiment as experiments
from pacing.sim.__main__ import main
from pacing.sim.experiment import Job, Laboratory, Run, Store, fingerprint, kept_runs, run_job
from pacing.sim.goals import GoalRun, goal_table, track
from pacing.sim.report import abandoned_ratio, against, busy_table, cell, detail_table, figure
from pacing.sim.results import Minute, RunResult, worst_window_ratio
from pacing.types import Goal

QUICK = Scenario("quick", 8, duration_s=900.0)


def _of(seed, busy_ratio, people=100, abandoned=2):
    return Run(seed, 0.0, 300, people, abandoned, busy_ratio, 0.05, 0.5, 20.0, 0, 0.0, 1.0)


def _minute(people=10, abandoned=0, busy_s=500.0, bridged=10):
    return Minute(busy_s, 600.0, 30, people, abandoned, bridged, 1.0)


def test_given_kept_results_when_asked_again_then_not_run_again(tmp_path):
    path = tmp_path / "kept.json"
    with Laboratory(1) as laboratory:
        first = laboratory.results(QUICK, "progressive", [1, 2], Store(path))
        kept = json.loads(path.read_text())
        kept["results"]["quick/progressive"]["runs"][0][kept["fields"].index("busy_ratio")] = 0.123
        path.write_text(json.dumps(kept))
        again = laboratory.results(QUICK, "progressive", [1, 2, 3], Store(path))

    assert again[0].busy_ratio == 0.123
    assert again[1] == first[1]
    assert again[2].seed == 3
    assert [run.seed for run in Store(path).runs(QUICK, "progressive").values()] == [1, 2, 3]


def test_given_another_scenario_of_that_name_when_asked_then_nothing_is_known(tmp_path):
    store = Store(tmp_path / "kept.json")
    store.keep(QUICK, "progressive", [_of(1, 0.7)])

    assert Store(tmp_path / "kept.json").runs(QUICK, "progressive")
    assert not store.runs(replace(QUICK, agents=9), "progressive")


def test_given_code_when_only_words_change_then_the_fingerprint_stays(tmp_path, monkeypatch):
    path, paths = tmp_path / "module.py", experiments._path
    monkeypatch.setattr(experiments, "_path", lambda module: path if module == "sim.mpc" else paths(module))

    def printed(text):
        path.write_text(text)
        experiments._code_of.clear()
        return fingerprint(QUICK, "mpc")

    plain = printed('"""Words."""\nA = 1\n')
    assert printed('"""Other words."""\n# Why.\nA  =  1\n') == plain
    assert printed("A = 2\n") != plain
    experiments._code_of.clear()


def test_given_the_engine_when_its_modules_are_looked_for_then_all_that_it_imports():
    reached = experiments._reached("pacer")

    assert {"pacer", "types", "limits"} <= set(reached)
    assert not any(name.startswith("sim") for name in reached)


def test_given_a_floor_when_within_the_limit_then_it_is_its_own_held_one_and_otherwise_another():
    store = Store(None)
    store.keep(QUICK, "mpc", [_of(1, 0.9), _of(2, 0.9)])
    assert kept_runs(QUICK, "mpc-held", [1, 2], store) == [_of(1, 0.9), _of(2, 0.9)]
    assert kept_runs(QUICK, "mpc-held", [1, 2, 3], store) is None

    store.keep(QUICK, "mpc", [_of(1, 0.9, abandoned=4), _of(2, 0.9, abandoned=4)])
    assert kept_runs(QUICK, "mpc-held", [1, 2], store) is None
    store.keep(QUICK, "mpc-held", [_of(1, 0.8), _of(2, 0.8)])
    assert kept_runs(QUICK, "mpc-held", [1, 2], store) == [_of(1, 0.8), _of(2, 0.8)]


def test_given_a_table_of_kept_results_when_shown_then_nothing_runs_and_earlier_code_is_told(capsys, tmp_path):
    path = tmp_path / "kept.json"
    store = Store(path)
    for name in ("agents-5", "agents-10"):
        store.keep(SCENARIOS[name], "progressive", [_of(1, 0.7)])
    path.write_text(path.read_text().replace(fingerprint(SCENARIOS["agents-5"], "progressive"), "of last week"))

    shown = ["table", "--kept", "--json", str(path), "--seeds", "1", "--policies", "progressive", "--jobs", "1"]
    assert main(shown) == 0
    out = capsys.readouterr().out
    assert "Kept from runs of earlier code: progressive." in out
    assert [line.split("|")[1].strip() for line in out.splitlines() if "| 70.0 (" in line] == ["agents-5", "agents-10"]
    assert main([*shown, "--scenarios", "agents-25"]) == 1


def test_given_a_knob_when_tuned_then_within_the_limit_and_not_far_below():
    scenario = replace(QUICK, agents=20, duration_s=3600.0)
    with Laboratory(1) as laboratory:
        knob = laboratory.tuned(scenario, "fixed-ratio", [1, 2])
        runs = list(laboratory.runs([Job(scenario, "fixed-ratio", knob, seed) for seed in (1, 2)]))
        bolder = list(laboratory.runs([Job(scenario, "fixed-ratio", knob + 1.0, seed) for seed in (1, 2)]))

    assert abandoned_ratio(runs) <= 0.03 < abandoned_ratio(bolder)


def test_given_a_job_when_run_twice_then_the_same_figures():
    job = Job(QUICK, "mpc", 0.0, 4)

    assert replace(run_job(job), cpu_s=0.0) == replace(run_job(job), cpu_s=0.0)


def test_given_runs_when_shown_then_mean_error_and_share_and_a_mark_above_the_limit():
    assert cell([_of(1, 0.90), _of(2, 0.92)]) == "91.0 ±1.0 (2.00)"
    assert cell([_of(1, 0.90, abandoned=4), _of(2, 0.92)]) == "91.0 ±1.0 (3.00)"
    assert cell([_of(1, 0.90, people=1000, abandoned=31)]).endswith("(3.10) **over**")


def test_given_pairs_of_runs_when_compared_then_by_seed():
    above = against([_of(1, 0.91), _of(2, 0.96)], [_of(2, 0.95), _of(1, 0.90)])

    assert above.mean == pytest.approx(1.0)
    assert above.error == pytest.approx(0.0, abs=1e-9)
    assert figure([1.0, 3.0]).error == pytest.approx(1.0)


def test_given_results_when_told_then_rows_and_the_mean_above_the_floor():
    results = {
        "one": {"mpc": [_of(1, 0.90), _of(2, 0.90)], "engine": [_of(1, 0.92), _of(2, 0.91)]},
        "two": {"mpc": [_of(1, 0.80), _of(2, 0.80)], "engine": [_of(1, 0.80), _of(2, 0.79)]},
    }

    assert busy_table(results).splitlines()[2].startswith("| one | 90.0 ±0.0 (2.00) | 91.5")
    told = detail_table(results, "engine", "mpc", {"one": 0.5, "two": 2.0})
    assert "+1.50 ±0.50" in told
    assert "Mean above the floor: +0.50 points; lowest -0.50." in told
    assert told.splitlines()[2].rstrip(" |").endswith("2.00")  # one CPU second in half an hour


def test_given_minutes_when_the_worst_quarter_is_looked_for_then_any_that_starts_on_a_minute():
    quiet, bad = _minute(), _minute(abandoned=6)

    assert worst_window_ratio((quiet,) * 20 + (bad,) + (quiet,) * 20) == pytest.approx(6 / 150)
    assert worst_window_ratio((bad, quiet)) == pytest.approx(6 / 20)


def test_given_a_run_when_its_start_is_left_out_then_the_rest_counts():
    minutes = (_minute(busy_s=0.0, bridged=0),) * 20 + (_minute(abandoned=1),) * 10
    result = RunResult(0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0.0, minutes)

    settled = result.after(1200.0)
    assert settled.busy_ratio == pytest.approx(500 / 600)
    assert settled.agent_wait_s == pytest.approx(10.0)
    assert settled.abandoned_ratio == pytest.approx(0.1)


def _goal_run(busy_ratio, wait_s, abandoned=0.01):
    return GoalRun(busy_ratio, wait_s, abandoned, abandoned, (("risk", 90), ("goal", 10)))


def test_given_goals_when_tracked_then_what_is_reachable_must_be_met_and_the_bound_must_hold():
    tracked = track(
        {
            (Goal.OVERDIAL_RATE, 0.03): [_goal_run(0.90, 15.0, 0.029)],
            (Goal.BUSY_FACTOR, 0.80): [_goal_run(0.795, 40.0), _goal_run(0.812, 40.0)],
            (Goal.BUSY_FACTOR, 0.85): [_goal_run(0.88, 25.0)],
            (Goal.BUSY_FACTOR, 0.95): [_goal_run(0.90, 15.0, 0.029)],
            (Goal.BUSY_FACTOR, 0.97): [_goal_run(0.93, 15.0, 0.031)],
            (Goal.WAIT_TIME, 40.0): [_goal_run(0.80, 43.0)],
            (Goal.WAIT_TIME, 15.5): [_goal_run(0.80, 20.0)],
            (Goal.WAIT_TIME, 10.0): [_goal_run(0.90, 15.0)],
        }
    )

    assert [(one.reach, one.kept) for one in tracked] == [
        ("yes", True), ("yes", False), ("no", True), ("no", False), ("yes", True), ("border", True), ("no", True),
    ]  # fmt: skip
    assert tracked[0].errors == pytest.approx((-0.005, 0.012))
    assert tracked[0].reasons == "risk 90 %, goal 10 %"
    assert "Kept 5 of 7; of the 3 reachable ones 2." in goal_table({"one": tracked})


def test_given_the_goals_command_when_run_then_a_row_per_goal(capsys, tmp_path):
    arguments = ["goals", "--scenario", "agents-5", "--seeds", "1", "--jobs", "1", "--hours", "0.36"]

    assert main([*arguments, "--out", str(tmp_path / "goals.md")]) == 0
    assert capsys.readouterr().out.count("| agents-5 0.36 h |") == 7
    assert "python -m pacing.sim goals" in (tmp_path / "goals.md").read_text()


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_given_a_single_run_when_drawn_then_a_line_and_a_picture(capsys, tmp_path, suffix):
    picture = tmp_path / f"run.{suffix}"

    arguments = ["--policy", "progressive", "--hours", "0.2", "--plot", str(picture)]
    assert main(["run", "--scenario", "agents-10", *arguments]) == 0
    assert capsys.readouterr().out.startswith("agents-10, progressive, seed 1: busy ")
    assert picture.read_bytes()[:4] in (b"<?xm", b"\x89PNG")


def test_given_random_worlds_when_asked_for_then_after_the_named_ones(capsys):
    assert main(["--random", "2", "--seeds", "1", "--jobs", "1", "--hours", "0.05", "--policies", "progressive"]) == 0
    out = capsys.readouterr().out
    assert "random-1 0.05 h" in out
    assert "random-2 0.05 h" in out
    assert not any(name in out for name in SCENARIOS)
