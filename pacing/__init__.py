"""Predictive and progressive pacing: how many calls to start now. Pure: no clock, no log, no I/O.

Drive it from a daemon or a simulator through :class:`Pacer`.
"""

from pacing.pacer import Outcome, Pacer
from pacing.types import Algorithm, DialDecision, Goal, GroupSnapshot, LegalRoom, Mode, PacingTarget

__all__ = [
    "Algorithm",
    "DialDecision",
    "Goal",
    "GroupSnapshot",
    "LegalRoom",
    "Mode",
    "Outcome",
    "Pacer",
    "PacingTarget",
]
