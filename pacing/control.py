"""Feedback around the prediction: theta, the risk a single call may carry, follows what really happens.

* Overdial: after each answered person log theta += gain x (set point - abandoned), so that the abandon rate settles at
  the set point whatever the bias of the model. Besides, theta shrinks with the room left under the limit, so that the
  first abandoned people are spent only once enough answered ones have earned them.
* Busy factor, wait time: a second theta follows the measured error; the smaller of both applies, so the overdial
  bound is always on top. Below the smallest theta the same variable keeps agents waiting before they are dialed for:
  a busy factor under what one call per agent gives is reached that way.
"""

import math
from typing import Any

from pacing.limits import AbandonmentCount, slack
from pacing.types import Goal, GroupSnapshot, PacingTarget

FEEDBACK_GAIN = 0.3
SET_POINT = 0.97
"""Share of the limit that is aimed at: 2.9 % for 3 %."""
FIRST_THETA_RATIO = 0.8
"""First theta as a share of the limit."""
COMFORTABLE_SLACK = 1.5
"""Abandoned people still allowed below which theta shrinks in a short run ..."""
COMFORTABLE_SLACK_MOST = 6.0
SLACK_PER_PERSON = 1.0 / 300.0
"""... and how that reserve grows with the people answered. Bursts are larger in large groups, which get there soon;
the reserve keeps the guard, which costs far more than the reserve, from closing."""
TAPER = 1.5
"""Logarithm by which theta is smaller without slack than with a comfortable one."""
LOG_THETA_MIN, LOG_THETA_MAX = math.log(1e-4), math.log(0.5)
GOAL_GAIN_PER_S = 0.05
"""Growth of log theta per second and unit of error (busy factor: ratio; wait time: logarithm of measured/target)."""
GOAL_MEMORY_S = 120.0
"""Measured busy factor and wait time average over this long: a few calls of each agent."""
HOLD_S_PER_UNIT = 4.0
LOG_STEER_MIN = LOG_THETA_MIN - 30.0


class ThetaControl:
    """Both feedback loops of one campaign group; owned by its pacer."""

    def __init__(self) -> None:
        self._log_theta: float | None = None
        self._log_goal = math.log(0.02)
        self._busy_agent_s = 0.0
        self._agent_s = 0.0
        self._idle_agent_s = 0.0
        self._bridged = 0.0
        self.overdial_binds = False
        """Whether the last :meth:`theta` came from the overdial bound rather than from the goal."""

    def answered_person(self, count: AbandonmentCount, limit_ratio: float, *, abandoned: bool, governed: bool) -> None:
        """Learn from one answered person, who is in ``count`` already.

        ``governed``: theta is what bounded the launches. Otherwise (few ports, progressive mode, another goal) a good
        rate is no merit of theta, which must not grow unnoticed until it is let loose.
        """
        # Theta grows only as far as there is a reserve, or it would grow until the taper below had no effect.
        reserve = _clip(slack(count, limit_ratio) / comfortable_slack(count.people), 0.0, 1.0) if governed else 0.0
        step = FEEDBACK_GAIN * (SET_POINT * limit_ratio * reserve - abandoned)
        self._log_theta = _clip(self._overdial(limit_ratio) + step, LOG_THETA_MIN, LOG_THETA_MAX)

    def bridged(self) -> None:
        self._bridged += 1.0

    def elapse(self, seconds: float, before: GroupSnapshot, target: PacingTarget) -> None:
        """Let ``seconds`` pass during which the group looked like ``before``."""
        keep = math.exp(-seconds / GOAL_MEMORY_S)
        idle = len(before.agents_idle_s)
        busy = len(before.agents_talking_s) + len(before.agents_wrapping_s)
        self._busy_agent_s = self._busy_agent_s * keep + busy * seconds
        self._agent_s = self._agent_s * keep + (idle + busy) * seconds
        self._idle_agent_s = self._idle_agent_s * keep + idle * seconds
        self._bridged *= keep
        if target.goal is Goal.OVERDIAL_RATE or not idle + busy:
            return
        error = self._error(target)
        # No further than the overdial bound lets it act, or it could not come back in time.
        most = min(self._overdial(target.max_overdial_ratio) + 0.5, LOG_THETA_MAX)
        self._log_goal = _clip(self._log_goal + GOAL_GAIN_PER_S * seconds * error, LOG_STEER_MIN, most)

    def _error(self, target: PacingTarget) -> float:
        if target.goal is Goal.BUSY_FACTOR:
            return target.value - self.busy_factor()
        return _clip(math.log(max(self.wait_s(), 0.01) / target.value), -1.0, 1.0)

    def busy_factor(self) -> float:
        """Recent share of agent time in talk or wrap-up, 0..1."""
        return self._busy_agent_s / self._agent_s if self._agent_s > 0.0 else 0.0

    def wait_s(self) -> float:
        """Recent mean seconds an agent waits for a call: idle agent time per bridged call (Little's law)."""
        return self._idle_agent_s / max(self._bridged, 0.5)

    def theta(self, target: PacingTarget, count: AbandonmentCount, expected_abandoned: float) -> float:
        """Risk bound of a single call now; ``expected_abandoned``: what the calls under way are expected to add."""
        limit = overdial_limit(target)
        comfortable = comfortable_slack(count.people)
        missing = max(0.0, comfortable - slack(count, limit, expected_abandoned))
        log_theta = self._overdial(limit) - TAPER * missing / comfortable
        self.overdial_binds = target.goal is Goal.OVERDIAL_RATE or log_theta <= self._log_goal
        if not self.overdial_binds:
            log_theta = self._log_goal
        return math.exp(max(log_theta, LOG_THETA_MIN))

    def hold_s(self, target: PacingTarget) -> float:
        """An idle agent is dialed for only after so many seconds; 0 unless a goal asks for less than one to one."""
        if target.goal is Goal.OVERDIAL_RATE:
            return 0.0
        return HOLD_S_PER_UNIT * max(0.0, LOG_THETA_MIN - self._log_goal)

    def _overdial(self, limit_ratio: float) -> float:
        if self._log_theta is None:
            return math.log(max(FIRST_THETA_RATIO * limit_ratio, 1e-4))
        return self._log_theta

    def state(self) -> dict[str, Any]:
        return {
            "log_theta": self._log_theta,
            "log_goal": self._log_goal,
            "busy_agent_s": self._busy_agent_s,
            "agent_s": self._agent_s,
            "idle_agent_s": self._idle_agent_s,
            "bridged": self._bridged,
        }

    def load(self, state: dict[str, Any]) -> None:
        self._log_theta = None if state["log_theta"] is None else float(state["log_theta"])
        self._log_goal = float(state["log_goal"])
        self._busy_agent_s, self._agent_s = float(state["busy_agent_s"]), float(state["agent_s"])
        self._idle_agent_s, self._bridged = float(state["idle_agent_s"]), float(state["bridged"])


def comfortable_slack(people: int) -> float:
    """Reserve of abandoned people still allowed at which theta is not reduced, after so many answered people."""
    return _clip(people * SLACK_PER_PERSON, COMFORTABLE_SLACK, COMFORTABLE_SLACK_MOST)


def overdial_limit(target: PacingTarget) -> float:
    """The share of answered people that may be abandoned: the goal's, when that is an overdial rate, but bounded."""
    if target.goal is Goal.OVERDIAL_RATE:
        return min(target.value, target.max_overdial_ratio)
    return target.max_overdial_ratio


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
