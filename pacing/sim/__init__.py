"""Discrete-event simulator of campaign groups that asks the very same :class:`pacing.Pacer` as the daemon does."""

from pacing.sim.engine import Policy, simulate, simulate_policy
from pacing.sim.results import RunResult
from pacing.sim.scenarios import SCENARIOS, Scenario, random_scenario, scenario_named
from pacing.sim.spread import Shape, Spread

__all__ = [
    "SCENARIOS",
    "Policy",
    "RunResult",
    "Scenario",
    "Shape",
    "Spread",
    "random_scenario",
    "scenario_named",
    "simulate",
    "simulate_policy",
]
