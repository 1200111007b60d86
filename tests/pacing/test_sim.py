"""Regression of whole runs: seeded, so figures are stable; bounds leave room for changes of the controller."""

from dataclasses import replace

import pytest

from pacing import Goal, Mode, PacingTarget
from pacing.sim import SCENARIOS, simulate
from pacing.sim.__main__ import main
from pacing.sim.experiment import Job, Laboratory
from tests.pacing.worlds import PREDICTIVE

PROGRESSIVE = PacingTarget(Mode.PROGRESSIVE)
SHORT = SCENARIOS["short-run"]
HOUR = replace(SCENARIOS["agents-10"], duration_s=3600.0, decide_every_s=2.0)


def test_given_a_short_run_when_predictive_then_three_percent_hold_and_agents_are_busier():
    predictive = [simulate(SHORT, PREDICTIVE, seed) for seed in range(1, 6)]
    progressive = [simulate(SHORT, PROGRESSIVE, seed) for seed in range(1, 6)]

    assert sum(run.abandoned for run in predictive) <= 0.03 * sum(run.people for run in predictive)
    assert max(run.abandoned_ratio for run in predictive) <= 0.05
    busiest_progressive = max(run.busy_ratio for run in progressive)
    assert min(run.busy_ratio for run in predictive) > busiest_progressive + 0.05
    assert sum(run.abandoned for run in progressive) == 0


def test_given_ten_agents_for_an_hour_when_predictive_then_busier_than_progressive_within_the_limit():
    predictive, progressive = simulate(HOUR, PREDICTIVE, 2), simulate(HOUR, PROGRESSIVE, 2)

    assert predictive.busy_ratio > progressive.busy_ratio + 0.04
    assert predictive.abandoned_ratio <= 0.035
    assert progressive.abandoned == 0


@pytest.mark.parametrize("name", ["hit-jumps", "breaks", "few-lines"])
def test_given_a_changing_world_when_predictive_then_the_bound_holds(name):
    scenario = replace(SCENARIOS[name], agents=15, ports=27, duration_s=2400.0, break_s=300.0, decide_every_s=2.0)

    runs = [simulate(scenario, PREDICTIVE, seed) for seed in (1, 2, 3)]
    assert min(run.people for run in runs) > 60
    assert sum(run.abandoned for run in runs) <= 0.04 * sum(run.people for run in runs)


def test_given_a_busy_goal_when_simulated_then_it_is_met_under_the_bound():
    target = PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.70)

    run = simulate(replace(HOUR, duration_s=7200.0), target, 1)
    assert run.busy_ratio == pytest.approx(0.70, abs=0.05)
    assert run.abandoned_ratio <= 0.03


def test_given_the_same_seed_when_simulated_twice_then_the_same_run():
    short = replace(SHORT, duration_s=40.0)

    assert simulate(short, PREDICTIVE, 5) == simulate(short, PREDICTIVE, 5)
    assert simulate(short, PREDICTIVE, 5) != simulate(short, PREDICTIVE, 6)


def test_given_a_command_line_when_run_then_a_table_with_a_row_per_scenario(capsys, tmp_path):
    arguments = ["--scenario", "short-run", "--seeds", "2", "--hours", "0.005", "--policies", "progressive", "engine"]
    kept = ["--json", str(tmp_path / "kept.json"), "--out", str(tmp_path / "table.md"), "--jobs", "1"]

    assert main([*arguments, *kept]) == 0
    first = capsys.readouterr().out
    lines = first.splitlines()
    assert lines[2].split()[:3] == ["|", "scenario", "|"]
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| short-run")] == ["short-run 0.005 h"] * 2
    assert (tmp_path / "table.md").read_text().startswith("Made by `python -m pacing.sim table --scenario short-run")

    assert main([*arguments, "--json", str(tmp_path / "kept.json"), "--jobs", "2"]) == 0
    assert capsys.readouterr().out == first  # from the store, CPU seconds included


def test_given_more_processes_when_run_then_the_same_results():
    jobs = [Job(replace(SHORT, duration_s=20.0), "engine", 0.0, seed) for seed in (1, 2, 3)]

    with Laboratory(1) as one, Laboratory(2) as two:
        alone, together = list(one.runs(jobs)), list(two.runs(jobs))
    assert [replace(run, cpu_s=0.0) for run in alone] == [replace(run, cpu_s=0.0) for run in together]


def test_given_an_unknown_scenario_when_run_then_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--scenario", "nowhere"])
    assert "invalid choice" in capsys.readouterr().err
