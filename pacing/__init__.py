"""Predictive and progressive pacing: how many calls to start now. Pure: no clock, no log, no I/O.

Drive it from a daemon or a simulator through :class:`Pacer`.
"""

from pacing.pacer import Outcome, Pacer
from pacing.types import DialDecision, Goal, GroupSnapshot, Mode, PacingTarget

__all__ = ["DialDecision", "Goal", "GroupSnapshot", "Mode", "Outcome", "Pacer", "PacingTarget"]
