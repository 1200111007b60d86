"""The floor with another set point, for worlds in which its own leaves more people abandoned than allowed."""

from pacing.sim.mpc import GAIN, LOG_THETA_MAX, LOG_THETA_MIN, ModelPredictive


class HeldModelPredictive(ModelPredictive):
    """The floor; ``set_point_ratio``, the share of abandoned people at which theta settles, is the knob."""

    def __init__(self, max_wait_s: float, set_point_ratio: float) -> None:
        super().__init__(max_wait_s)
        self._set_point = set_point_ratio

    def _learn(self, gone: float) -> None:
        theta = self._log_theta + GAIN * (self._set_point - gone)
        self._log_theta = min(max(theta, LOG_THETA_MIN), LOG_THETA_MAX)
