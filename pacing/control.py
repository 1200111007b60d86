"""Feedback around the prediction: theta, the risk a single call may carry, follows what really happens.

* Overdial: log theta = its first value + gain x excess + a slow sum of the excess, where excess sums
  (set point - abandoned) over answered people. So the abandon rate settles at the set point whatever the bias of the
  model, and theta barely moves once it fits: a theta that swings costs busy factor. Besides, theta shrinks while the
  last quarter of an hour comes near its own limit; measured in standard deviations of a quarter at the set point,
  because in a large group chance needs no brake.
* Busy factor, wait time: a second theta follows the measured error; the smaller of both applies, so the overdial
  bound is always on top. Below the smallest theta the same variable keeps agents waiting before they are dialed for:
  a busy factor under what one call per agent gives is reached that way.
"""

import math
from collections import deque
from typing import Any

from pacing.types import Algorithm, Goal, GroupSnapshot, PacingTarget

SET_POINT = 0.97
"""Share of the limit that is aimed at: 2.9 % for 3 %."""
FIRST_THETA_RATIO = 1.1
"""First theta as a share of the limit."""
GAIN, GAIN_LEAST = 0.3, 0.1
GAIN_PEOPLE = 300
"""The gain falls with the root of the people answered beyond so many: the same excess weighs less and less."""
BIAS_GAIN = 0.00015
"""Log theta per answered person and unit of excess: what the model gets wrong for good is learnt, so that no excess has
to stay for theta to stay where it belongs ..."""
BIAS_MOST = 3.0
"""... up to this much."""
CREDIT_LOG_MOST = 1.6
"""Log theta that may be gained from people saved up; what was abandoned too much is made up for in full."""
WINDOW_S = 900.0
"""The quarter of an hour that has a limit of its own ..."""
WINDOW_FACTOR = 2.0
"""... of so many times the limit: 6 % for 3 %."""
WINDOW_EXPECTED_LEAST = 2.0
"""Abandoned people that a quarter must be expected to have for its limit to mean anything: some 20 agents."""
WINDOW_NEAR, WINDOW_GAIN = 1.6, 1.2
"""Standard deviations from the quarter's limit below which theta shrinks, and its logarithm by each missing one."""
MINIMUM_CALLS_MOST = 1000
"""People over whom the minimum of the overdial goal can be measured."""
LOG_THETA_MIN, LOG_THETA_MAX = math.log(1e-4), math.log(0.5)
GOAL_MEMORY_S = 120.0
"""Measured busy factor and wait time average over this long: a few calls of each agent."""
GOAL_GAIN = 8.0
"""Log theta per unit of the recent error (busy factor: ratio; wait time: logarithm of measured/target) ..."""
GOAL_GAIN_PER_S = {Goal.BUSY_FACTOR: 0.15, Goal.WAIT_TIME: 0.03}
"""... and per unit and second: an error is halved within some ten minutes, as a handled call lasts some minutes."""
GOAL_STEER_LEAST = -30.0
HOLD_RATIO = 0.02
"""Below the smallest theta each unit of the logarithm makes agents wait this share of a call's handling time longer:
about two points of busy factor; or this share of the wait that is the goal."""
HOLD_WAIT_RATIO = 0.08
LOG_STEER_MIN = LOG_THETA_MIN + GOAL_STEER_LEAST


class ThetaControl:
    """Both feedback loops of one campaign group; owned by its pacer."""

    def __init__(self) -> None:
        self._excess = self._bias = 0.0
        self._people = 0
        self._recent: deque[tuple[float, bool]] = deque()
        self._recent_abandoned = 0
        self._last: deque[bool] = deque(maxlen=MINIMUM_CALLS_MOST)
        self._log_goal = self._log_steer = math.log(0.02)
        self._busy_agent_s = 0.0
        self._agent_s = 0.0
        self._idle_agent_s = 0.0
        self._bridged = 0.0
        self.overdial_binds = False
        """Whether the last :meth:`theta` came from the overdial bound rather than from the goal."""

    # What happened ----------------------------------------------------------------------------------------------

    def answered_person(self, limit_ratio: float, at_s: float, *, abandoned: bool, governed: float) -> None:
        """Learn from one answered person at ``at_s`` running seconds.

        ``governed``: share of the last decisions for which theta was asked. In the others (while learning, in
        progressive mode, under another goal, while the legal window binds) a good rate is no merit of theta, which must
        not grow unnoticed until it is let loose.
        """
        step = SET_POINT * limit_ratio - abandoned
        if step > 0.0 and self._excess >= 0.0:
            step *= governed
        if step:
            self._excess = min(self._excess + step, CREDIT_LOG_MOST / self._gain())
            self._bias = _clip(self._bias + BIAS_GAIN * self._excess, -BIAS_MOST, CREDIT_LOG_MOST)
        self._people += 1
        self._recent.append((at_s, abandoned))
        self._recent_abandoned += abandoned
        self._last.append(abandoned)

    def bridged(self) -> None:
        self._bridged += 1.0

    def elapse(self, seconds: float, now_s: float, before: GroupSnapshot, target: PacingTarget) -> None:
        """Let ``seconds`` pass, until ``now_s`` running seconds, during which the group looked like ``before``."""
        while self._recent and self._recent[0][0] < now_s - WINDOW_S:
            self._recent_abandoned -= self._recent.popleft()[1]
        keep = math.exp(-seconds / GOAL_MEMORY_S)
        idle = len(before.agents_idle_s)
        busy = len(before.agents_talking_s) + len(before.agents_wrapping_s) + len(before.agents_ready_in_s)
        self._busy_agent_s = self._busy_agent_s * keep + busy * seconds
        self._agent_s = self._agent_s * keep + (idle + busy) * seconds
        self._idle_agent_s = self._idle_agent_s * keep + idle * seconds
        self._bridged *= keep
        if target.goal is Goal.OVERDIAL_RATE or not idle + busy:
            return
        error = self._error(target)
        # No further than the overdial bound lets it act, or it could not come back in time.
        most = min(self._overdial(target.max_overdial_ratio) + 0.5, LOG_THETA_MAX)
        step = GOAL_GAIN_PER_S[target.goal] * seconds * error
        self._log_goal = _clip(self._log_goal + step, LOG_STEER_MIN, most)
        self._log_steer = _clip(self._log_goal + GOAL_GAIN * error, LOG_STEER_MIN, LOG_THETA_MAX)

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

    # What follows -----------------------------------------------------------------------------------------------

    def theta(self, target: PacingTarget) -> float:
        """Risk bound of a single call now."""
        log_theta = self._overdial(overdial_limit(target), target)
        self.overdial_binds = target.goal is Goal.OVERDIAL_RATE or log_theta <= self._log_steer
        return math.exp(max(log_theta if self.overdial_binds else self._log_steer, LOG_THETA_MIN))

    def hold_s(self, target: PacingTarget, handling_s: float) -> float:
        """An idle agent is dialed for only after so many seconds; 0 unless a goal asks for less than one to one.

        ``handling_s``: mean seconds of talk and wrap-up.
        """
        if target.goal is Goal.OVERDIAL_RATE:
            return 0.0
        unit_s = HOLD_RATIO * handling_s if target.goal is Goal.BUSY_FACTOR else HOLD_WAIT_RATIO * target.value
        return unit_s * max(0.0, LOG_THETA_MIN - self._log_steer)

    def window(self, limit_ratio: float) -> tuple[int, int, float]:
        """People and abandoned people of the last quarter of an hour, and the logarithm taken off theta for them."""
        people, abandoned = len(self._recent), self._recent_abandoned
        expected = limit_ratio * people
        if expected < WINDOW_EXPECTED_LEAST:
            return people, abandoned, 0.0
        room = (WINDOW_FACTOR * expected - abandoned) / math.sqrt(expected + 1.0)
        return people, abandoned, WINDOW_GAIN * max(0.0, WINDOW_NEAR - room)

    def _overdial(self, limit_ratio: float, target: PacingTarget | None = None) -> float:
        excess = self._excess
        if target is not None and excess < 0.0 and self._below_minimum(target):
            excess = 0.0
        log_theta = math.log(max(FIRST_THETA_RATIO * limit_ratio, 1e-4)) + self._gain() * excess + self._bias
        return _clip(log_theta - self.window(limit_ratio)[2], LOG_THETA_MIN, LOG_THETA_MAX)

    def _gain(self) -> float:
        return max(GAIN_LEAST, GAIN * math.sqrt(GAIN_PEOPLE / max(self._people, GAIN_PEOPLE)))

    def _below_minimum(self, target: PacingTarget) -> bool:
        """Whether the last people were abandoned less often than the minimum that the overdial goal may fall to."""
        if target.algorithm is not Algorithm.TIME_OPTIMIZED_ODR or target.goal is not Goal.OVERDIAL_RATE:
            return False
        calls = min(target.min_overdial_calls, len(self._last))
        if not target.min_overdial_ratio or not calls:
            return False
        recent = sum(self._last[-place] for place in range(1, calls + 1))
        return recent < target.min_overdial_ratio * calls

    def state(self) -> dict[str, Any]:
        return {
            "excess": self._excess,
            "bias": self._bias,
            "people": self._people,
            "last": [int(gone) for gone in self._last],
            "log_goal": self._log_goal,
            "log_steer": self._log_steer,
            "busy_agent_s": self._busy_agent_s,
            "agent_s": self._agent_s,
            "idle_agent_s": self._idle_agent_s,
            "bridged": self._bridged,
        }

    def recent(self, now_s: float) -> list[list[float]]:
        """Ages (negative seconds) of the people of the last quarter of an hour, and whether they were abandoned."""
        return [[at_s - now_s, int(gone)] for at_s, gone in self._recent]

    def load(self, state: dict[str, Any]) -> None:
        self._excess, self._bias = float(state["excess"]), float(state["bias"])
        self._people = int(state["people"])
        self._last = deque((bool(gone) for gone in state["last"]), maxlen=self._last.maxlen)
        self._log_goal, self._log_steer = float(state["log_goal"]), float(state["log_steer"])
        self._busy_agent_s, self._agent_s = float(state["busy_agent_s"]), float(state["agent_s"])
        self._idle_agent_s, self._bridged = float(state["idle_agent_s"]), float(state["bridged"])
        self._recent = deque((float(at_s), bool(gone)) for at_s, gone in state["recent"])
        self._recent_abandoned = sum(gone for _, gone in self._recent)


def overdial_limit(target: PacingTarget) -> float:
    """The share of answered people that may be abandoned: the goal's, when that is an overdial rate, but bounded."""
    if target.goal is Goal.OVERDIAL_RATE:
        return min(target.value, target.max_overdial_ratio)
    return target.max_overdial_ratio


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
