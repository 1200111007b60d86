"""Discrete-event simulator of one campaign group that asks the very same :class:`pacing.Pacer` as the daemon does."""

from pacing.sim.engine import RunResult, simulate
from pacing.sim.scenarios import SCENARIOS, Scenario

__all__ = ["SCENARIOS", "RunResult", "Scenario", "simulate"]
