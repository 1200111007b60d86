"""``python -m pacing.sim``: run scenarios over seeds and print a table."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pacing.sim.engine import RunResult, simulate
from pacing.sim.scenarios import SCENARIOS, Scenario
from pacing.types import Goal, Mode, PacingTarget

BAR_CELLS = 30


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    mode: Mode
    runs: tuple[RunResult, ...]
    cpu_s: float
    simulated_h: float


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pacing.sim",
        description="Simulate campaign groups with the pacer of the daemon.",
        epilog="example: python -m pacing.sim --scenario agents-25 --seeds 6 --mode predictive progressive",
    )
    parser.add_argument("--scenario", nargs="+", choices=[*SCENARIOS, "all"], default=["agents-25"])
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs per scenario, with seeds 1..N")
    parser.add_argument("--mode", nargs="+", choices=[mode.value for mode in Mode], default=["predictive"])
    parser.add_argument("--goal", choices=[goal.value for goal in Goal], default=Goal.OVERDIAL_RATE.value)
    parser.add_argument("--value", type=float, default=0.03, help="ratio, or seconds for the goal wait_time")
    parser.add_argument("--max-overdial", type=float, default=0.03, metavar="RATIO", help="the hard bound")
    parser.add_argument("--hours", type=float, help="simulated hours (default: the scenario's)")
    return parser.parse_args(arguments)


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        cells = BAR_CELLS * done // total
        end = "\n" if done == total else ""
        print(f"\r[{'#' * cells}{'.' * (BAR_CELLS - cells)}] {done}/{total}", end=end, file=sys.stderr)  # noqa: T201


def _print_table(rows: list[_Row]) -> None:
    print(  # noqa: T201
        f"{'scenario':<18}{'mode':<13}{'busy %':>8}{'aband. %':>10}{'max aband. %':>14}{'worst 15 min %':>16}"
        f"{'people':>8}{'wait s':>8}{'agent wait s':>14}{'CPU s/h':>9}"
    )
    for row in rows:
        runs, n = row.runs, len(row.runs)
        people = sum(run.people for run in runs)
        print(  # noqa: T201
            f"{row.name:<18}{row.mode.value:<13}"
            f"{100 * sum(run.busy_ratio for run in runs) / n:>8.1f}"
            f"{100 * sum(run.abandoned for run in runs) / max(people, 1):>10.2f}"
            f"{100 * max(run.abandoned_ratio for run in runs):>14.2f}"
            f"{100 * max(run.worst_window_ratio for run in runs):>16.1f}"
            f"{people / n:>8.0f}"
            f"{sum(run.wait_s for run in runs) / n:>8.2f}"
            f"{sum(run.agent_wait_s for run in runs) / n:>14.1f}"
            f"{row.cpu_s / row.simulated_h:>9.2f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 when done."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    names = list(SCENARIOS) if "all" in options.scenario else options.scenario
    scenarios: list[Scenario] = [SCENARIOS[name] for name in names]
    if options.hours:
        scenarios = [replace(scenario, duration_s=options.hours * 3600.0) for scenario in scenarios]
    total, done = len(scenarios) * len(options.mode) * options.seeds, 0
    rows = []
    for scenario in scenarios:
        for mode in (Mode(value) for value in options.mode):
            target = PacingTarget(mode, Goal(options.goal), options.value, options.max_overdial)
            runs = []
            started_s = time.process_time()
            for seed in range(1, options.seeds + 1):
                runs.append(simulate(scenario, target, seed))
                done += 1
                _progress(done, total)
            hours = options.seeds * scenario.duration_s / 3600.0
            rows.append(_Row(scenario.name, mode, tuple(runs), time.process_time() - started_s, hours))
    _print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
