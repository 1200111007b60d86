"""Tables of runs: busy factor at the abandoned share, standard errors, differences to the floor."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pacing.sim.contenders import CONTENDERS
from pacing.sim.experiment import LIMIT_RATIO, Run


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over seeds and its standard error (nan with one seed)."""

    mean: float
    error: float


def figure(values: Sequence[float]) -> Figure:
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return Figure(mean, math.nan)
    return Figure(mean, (sum((value - mean) ** 2 for value in values) / (n - 1) / n) ** 0.5)


def abandoned_ratio(runs: Sequence[Run]) -> float:
    """Of all people of all seeds together."""
    return sum(run.abandoned for run in runs) / max(sum(run.people for run in runs), 1)


def is_over(runs: Sequence[Run]) -> bool:
    """Whether more than the limit was abandoned, as a table with two decimals shows it."""
    return round(100.0 * abandoned_ratio(runs), 2) > 100.0 * LIMIT_RATIO


def cell(runs: Sequence[Run]) -> str:
    """Busy %, its standard error, abandoned %; with a warning when that is above the limit."""
    if not runs:
        return "–"  # not run yet
    busy = figure([100.0 * run.busy_ratio for run in runs])
    gone = abandoned_ratio(runs)
    mark = " **over**" if is_over(runs) else ""
    error = "" if math.isnan(busy.error) else f" ±{busy.error:.1f}"
    return f"{busy.mean:.1f}{error} ({100.0 * gone:.2f}){mark}"


def against(runs: Sequence[Run], floor: Sequence[Run]) -> Figure:
    """Busy points above the floor, seed by seed."""
    floor_of = {run.seed: run for run in floor}
    return figure([100.0 * (run.busy_ratio - floor_of[run.seed].busy_ratio) for run in runs])


Results = Mapping[str, Mapping[str, Sequence[Run]]]
"""Runs by scenario and contender."""


def busy_table(results: Results) -> str:
    """Markdown: one row per scenario, one column per contender."""
    names = list(next(iter(results.values())))
    lines = [
        "| scenario | " + " | ".join(CONTENDERS[name].title for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    lines += [
        f"| {scenario} | " + " | ".join(cell(row[name]) for name in names) + " |" for scenario, row in results.items()
    ]
    return "\n".join(lines) + "\n"


def detail_table(results: Results, contender: str, floor: str, hours_of: Mapping[str, float]) -> str:
    """Markdown: everything about one contender, beside the floor when that has been run too."""
    lines = [
        "| scenario | busy % | above the floor | abandoned % | worst seed % | worst 15 min %, mean (highest) "
        "| agent wait s | CPU s/h |",
        "|---|---|---|---|---|---|---|---|",
    ]
    gains = []
    for scenario, row in results.items():
        runs = row[contender]
        if not runs:
            continue
        busy = figure([100.0 * run.busy_ratio for run in runs])
        gain = ""
        if row.get(floor) and floor != contender:
            gained = against(runs, row[floor])
            gains.append(gained.mean)
            gain = f"{gained.mean:+.2f} ±{gained.error:.2f}"
            if is_over(row[floor]):
                gain += f" (floor: {100.0 * abandoned_ratio(row[floor]):.2f} %)"
        worst = [100.0 * run.worst_window_ratio for run in runs]
        seed = max(100.0 * run.abandoned_ratio for run in runs)
        over = " **over**" if is_over(runs) else ""
        lines.append(
            f"| {scenario} | {busy.mean:.1f} ±{busy.error:.1f} | {gain} | {100.0 * abandoned_ratio(runs):.2f}{over} "
            f"| {seed:.2f} | {sum(worst) / len(worst):.1f} ({max(worst):.1f}) "
            f"| {sum(run.agent_wait_s for run in runs) / len(runs):.1f} "
            f"| {sum(run.cpu_s for run in runs) / len(runs) / hours_of[scenario]:.2f} |"
        )
    if gains:
        lines.append(
            f"\nMean above the floor: {sum(gains) / len(gains):+.2f} points; lowest {min(gains):+.2f}. Where the "
            "floor's own abandoned share is given, it is over the limit, and its busy factor with it."
        )
    return "\n".join(lines) + "\n"
