"""How closely the engine keeps to a busy factor or a wait time, and what it says when it cannot.

A goal is reachable when it asks for no more than the overdial bound gives: a busy factor up to, a wait from, what the
same world yields under the goal "overdial rate". How little can be asked for has no end, as agents may be left to wait
before anybody is called for them; only inbound calls set one. Within a margin of one point, or a tenth, of that border
the goal is called "at the border": chance decides.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pacing.sim.engine import pacer_for, simulate_policy
from pacing.sim.report import figure
from pacing.sim.scenarios import Scenario
from pacing.types import DialDecision, Goal, GroupSnapshot, Mode, PacingTarget

SETTLED_S = 1200.0
"""The start of a run, which does not count."""
BUSY_TOLERANCE_RATIO = 0.01
WAIT_TOLERANCE = 0.10
LIMIT_RATIO = 0.03
BUSY_GOALS = (0.70, 0.80, 0.85, 0.90)
WAIT_GOALS_S = (10.0, 20.0, 40.0)
_REASONS_TOLD = 3


@dataclass(frozen=True, slots=True)
class GoalJob:
    """One run under one goal."""

    scenario: Scenario
    goal: Goal
    value: float
    seed: int


@dataclass(frozen=True, slots=True)
class GoalRun:
    """What came of it after :data:`SETTLED_S`; ``reasons``: how often decisions gave each."""

    busy_ratio: float
    agent_wait_s: float
    abandoned_ratio: float
    whole_abandoned_ratio: float
    reasons: tuple[tuple[str, int], ...]


def run_goal_job(job: GoalJob) -> GoalRun:
    """Do it."""
    reasons: Counter[str] = Counter()

    def decided(group: int, snapshot: GroupSnapshot, decision: DialDecision) -> None:
        if snapshot.now_s >= SETTLED_S:
            reasons[decision.because] += 1

    target = PacingTarget(Mode.PREDICTIVE, job.goal, job.value, LIMIT_RATIO)
    found = simulate_policy(job.scenario, lambda scenario: pacer_for(scenario, target), job.seed, decided=decided)
    settled = found.after(SETTLED_S)
    return GoalRun(
        settled.busy_ratio,
        settled.agent_wait_s,
        settled.abandoned_ratio,
        found.abandoned_ratio,
        tuple(reasons.most_common(_REASONS_TOLD)),
    )


def jobs(scenario: Scenario, seeds: Sequence[int]) -> dict[tuple[Goal, float], list[GoalJob]]:
    """All runs for one scenario, by goal and value; the overdial bound's own come first."""
    wanted = [
        (Goal.OVERDIAL_RATE, LIMIT_RATIO),
        *((Goal.BUSY_FACTOR, value) for value in BUSY_GOALS),
        *((Goal.WAIT_TIME, value) for value in WAIT_GOALS_S),
    ]
    return {(goal, value): [GoalJob(scenario, goal, value, seed) for seed in seeds] for goal, value in wanted}


@dataclass(frozen=True, slots=True)
class Tracking:
    """One goal in one scenario: ``errors`` per seed, as a ratio (busy) or relative to the goal (wait)."""

    goal: Goal
    value: float
    measured: float
    errors: tuple[float, ...]
    reach: str
    abandoned_ratio: float
    reasons: str

    @property
    def kept(self) -> bool:
        """Within the tolerance on average, or, out of reach, within the bound; always within the bound."""
        tolerance = BUSY_TOLERANCE_RATIO if self.goal is Goal.BUSY_FACTOR else WAIT_TOLERANCE
        error = abs(sum(self.errors) / len(self.errors))
        bounded = round(self.abandoned_ratio, 4) <= LIMIT_RATIO
        return bounded and (self.reach != "yes" or error <= tolerance)


def track(runs: Mapping[tuple[Goal, float], Sequence[GoalRun]]) -> list[Tracking]:
    """Each goal held against its runs; ``runs`` must hold those of the overdial goal."""
    best = runs[Goal.OVERDIAL_RATE, LIMIT_RATIO]
    most_busy = sum(run.busy_ratio for run in best) / len(best)
    least_wait_s = sum(run.agent_wait_s for run in best) / len(best)
    found = []
    for (goal, value), some in runs.items():
        if goal is Goal.OVERDIAL_RATE:
            continue
        if goal is Goal.BUSY_FACTOR:
            measured = [run.busy_ratio for run in some]
            errors = tuple(ratio - value for ratio in measured)
            room = (most_busy - value) / BUSY_TOLERANCE_RATIO
        else:
            measured = [run.agent_wait_s for run in some]
            errors = tuple(wait_s / value - 1.0 for wait_s in measured)
            room = (value / least_wait_s - 1.0) / WAIT_TOLERANCE
        reasons: Counter[str] = Counter()
        for run in some:
            reasons.update(dict(run.reasons))
        told = ", ".join(
            f"{name} {100 * n / max(reasons.total(), 1):.0f} %" for name, n in reasons.most_common(_REASONS_TOLD)
        )
        found.append(
            Tracking(
                goal,
                value,
                sum(measured) / len(measured),
                errors,
                "yes" if room >= 1.0 else "no" if room <= -1.0 else "border",
                sum(run.whole_abandoned_ratio for run in some) / len(some),
                told,
            )
        )
    return found


def goal_table(tracked: Mapping[str, Sequence[Tracking]]) -> str:
    """Markdown: a row per scenario and goal."""
    lines = [
        "| scenario | goal | measured | error, mean of seeds (largest) | reachable | abandoned % | kept "
        "| reasons of decisions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    kept = total = reachable = reached = 0
    for scenario, goals in tracked.items():
        for one in goals:
            error = figure([100.0 * value for value in one.errors])
            largest = max(100.0 * abs(value) for value in one.errors)
            if one.goal is Goal.BUSY_FACTOR:
                goal, measured = f"busy {100 * one.value:.0f} %", f"{100 * one.measured:.1f} %"
                told = f"{error.mean:+.1f} points ({largest:.1f})"
            else:
                goal, measured = f"wait {one.value:.0f} s", f"{one.measured:.1f} s"
                told = f"{error.mean:+.0f} % ({largest:.0f})"
            lines.append(
                f"| {scenario} | {goal} | {measured} | {told} | {one.reach} | {100 * one.abandoned_ratio:.2f} "
                f"| {'yes' if one.kept else '**no**'} | {one.reasons} |"
            )
            total, kept = total + 1, kept + one.kept
            reachable, reached = reachable + (one.reach == "yes"), reached + (one.reach == "yes" and one.kept)
    lines.append(f"\nKept {kept} of {total}; of the {reachable} reachable ones {reached}.")
    return "\n".join(lines) + "\n"
