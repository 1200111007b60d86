"""``python -m pacing.sim``: measure ways of pacing against each other."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pacing.sim.contenders import CONTENDERS, ENGINE, FLOOR, HELD, RELEASING
from pacing.sim.engine import Policy, pacer_for, simulate_policy
from pacing.sim.experiment import Laboratory, Progress, Run, Store, kept_runs
from pacing.sim.goals import SETTLED_S, goal_table, jobs, run_goal_job, track
from pacing.sim.plots import draw_run
from pacing.sim.report import busy_table, detail_table
from pacing.sim.results import WORST_WINDOW_MIN
from pacing.sim.scenarios import SCENARIOS, TABLE_NAMES, Scenario, scenario_named
from pacing.types import Goal, Mode, PacingTarget

_COMMANDS = ("table", "goals", "run", "scenarios")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pacing.sim",
        description="Simulate campaign groups with the pacer of the daemon and with what others do.",
        epilog="example: python -m pacing.sim table --scenarios agents-25 hit-10 --seeds 6 --policies engine mpc",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("table", help="busy factor and abandoned share by scenario and policy")
    _add_choice(table)
    table.add_argument("--policies", nargs="+", choices=list(CONTENDERS), default=None, metavar="NAME")
    table.add_argument("--out", type=Path, metavar="FILE", help="write the table as Markdown")
    table.add_argument("--json", type=Path, metavar="FILE", help="results, kept and used again by the same code")
    table.add_argument(
        "--kept", action="store_true", help="run nothing: show what the file of --json holds, also of earlier code"
    )
    goals = commands.add_parser("goals", help="how closely busy factor and wait time are kept")
    _add_choice(goals)
    goals.add_argument("--out", type=Path, metavar="FILE", help="write the table as Markdown")
    run = commands.add_parser("run", help="one run, with a drawing if wanted")
    run.add_argument("--scenario", type=_scenario, default="agents-25", metavar="NAME")
    run.add_argument("--policy", choices=list(CONTENDERS), default=ENGINE)
    run.add_argument("--knob", type=float, default=0.0, help="of a policy that has one")
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--hours", type=float, help="simulated hours (default: the scenario's)")
    run.add_argument("--goal", choices=[goal.value for goal in Goal], default=Goal.OVERDIAL_RATE.value)
    run.add_argument("--value", type=float, default=0.03, help="ratio, or seconds for the goal wait_time")
    run.add_argument("--plot", type=Path, metavar="FILE", help="draw it, as SVG or PNG")
    commands.add_parser("scenarios", help="the named worlds and what they are about")
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scenarios", "--scenario", nargs="+", type=_scenario, default=None, metavar="NAME",
        help=f"all (default) or some of {', '.join(SCENARIOS)}, random-<number>",
    )  # fmt: skip
    parser.add_argument("--random", type=int, default=0, metavar="N", help="the first N random scenarios as well")
    parser.add_argument("--seeds", type=int, default=6, metavar="N", help="runs per scenario, with seeds 1..N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument("--hours", type=float, help="simulated hours (default: the scenario's)")


def _scenario(name: str) -> str:
    if name != "all":
        try:
            scenario_named(name)
        except KeyError:
            raise argparse.ArgumentTypeError(f"invalid choice: {name!r} is no scenario") from None
    return name


def _chosen(options: argparse.Namespace) -> list[Scenario]:
    names: list[str] = options.scenarios or ([] if options.random else ["all"])
    if "all" in names:
        names = list(TABLE_NAMES)
    names = [*names, *(f"random-{number}" for number in range(1, options.random + 1))]
    scenarios = [scenario_named(name) for name in names]
    if options.hours:
        scenarios = [
            replace(scenario, name=f"{scenario.name} {options.hours:g} h", duration_s=options.hours * 3600.0)
            for scenario in scenarios
        ]
    return scenarios


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _table(options: argparse.Namespace, command: str) -> int:
    scenarios = _chosen(options)
    policies = options.policies or [name for name in CONTENDERS if name != RELEASING]
    store = Store(options.json, options.kept)
    seeds = range(1, options.seeds + 1)
    progress = Progress(len(scenarios) * len(policies))
    results: dict[str, dict[str, list[Run]]] = {}
    if options.kept:
        for scenario in scenarios:
            results[scenario.name] = {name: kept_runs(scenario, name, seeds, store) or [] for name in policies}
        results = {name: row for name, row in results.items() if any(row.values())}
        if not results:
            _say(f"{options.json or 'nothing'} holds no scenario with all the seeds asked for")
            return 1
    else:
        with Laboratory(options.jobs) as laboratory:
            for scenario in scenarios:
                row = results[scenario.name] = {}
                for policy in policies:
                    row[policy] = laboratory.results(scenario, policy, seeds, store)
                    progress.step(f"{scenario.name} {policy}")
    hours_of = {scenario.name: scenario.duration_s / 3600.0 for scenario in scenarios}
    parts = [f"Busy % ± standard error over {options.seeds} seeds (abandoned %).\n", busy_table(results)]
    if store.older:
        parts.insert(1, f"Kept from runs of earlier code: {', '.join(sorted(store.older))}.\n")
    for policy in policies:
        if policy in (ENGINE, FLOOR, HELD) or len(policies) == 1:
            parts += [
                f"{CONTENDERS[policy].title.strip('*')}:\n",
                detail_table(results, policy, HELD if HELD in policies else FLOOR, hours_of),
            ]
    text = "\n".join(parts)
    _say(text)
    if options.out is not None:
        options.out.write_text(_heading(command) + text, encoding="utf-8")
    return 0


def _goals(options: argparse.Namespace, command: str) -> int:
    scenarios, seeds = _chosen(options), range(1, options.seeds + 1)
    wanted = {scenario.name: jobs(scenario, seeds) for scenario in scenarios}
    progress = Progress(sum(len(by_goal) for by_goal in wanted.values()))
    tracked = {}
    with Laboratory(options.jobs) as laboratory:
        for name, by_goal in wanted.items():
            runs = {}
            for goal, some in by_goal.items():
                runs[goal] = list(laboratory.map(run_goal_job, some))
                progress.step(f"{name} {goal[0].value} {goal[1]:g}")
            tracked[name] = track(runs)
    text = f"After the first {SETTLED_S / 60:.0f} minutes; {options.seeds} seeds.\n\n" + goal_table(tracked)
    _say(text)
    if options.out is not None:
        options.out.write_text(_heading(command) + text, encoding="utf-8")
    return 0


def _run(options: argparse.Namespace) -> int:
    scenario = scenario_named(options.scenario)
    if options.hours:
        scenario = replace(scenario, duration_s=options.hours * 3600.0)
    target = PacingTarget(Mode.PREDICTIVE, Goal(options.goal), options.value)

    def policy(found: Scenario) -> Policy:
        if options.policy == ENGINE:
            return pacer_for(found, target)
        return CONTENDERS[options.policy].make(found, options.knob)

    began_s = time.process_time()
    result = simulate_policy(scenario, policy, options.seed)
    _say(
        f"{scenario.name}, {options.policy}, seed {options.seed}: busy {100 * result.busy_ratio:.1f} %, "
        f"abandoned {100 * result.abandoned_ratio:.2f} % of {result.people} people "
        f"(worst {WORST_WINDOW_MIN} min {100 * result.worst_window_ratio:.1f} %), "
        f"agents wait {result.agent_wait_s:.1f} s, {result.attempts} calls, "
        f"{(time.process_time() - began_s) / scenario.duration_s * 3600:.2f} CPU s per hour"
    )
    if options.plot is not None:
        draw_run(result, f"{scenario.name}, {options.policy}, seed {options.seed}", options.plot)
    return 0


def _heading(command: str) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    day = datetime.now(UTC).date()
    return f"Made by `{command}` at commit {commit.stdout.strip() or 'unknown'} on {day}.\n\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 when done."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in _COMMANDS and given[0] not in ("-h", "--help"):
        given.insert(0, "table")
    options = _parser().parse_args(given)
    command = "python -m pacing.sim " + " ".join(given)
    if options.command == "scenarios":
        for scenario in SCENARIOS.values():
            _say(f"{scenario.name:<20}{scenario.about}")
        return 0
    if options.command == "run":
        return _run(options)
    return _goals(options, command) if options.command == "goals" else _table(options, command)


if __name__ == "__main__":
    sys.exit(main())
