"""Everything that competes in a table, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from pacing.sim.baselines import Progressive
from pacing.sim.engine import Policy, pacer_for
from pacing.sim.scenarios import Scenario
from pacing.types import Mode, PacingTarget

ENGINE = "engine"
FLOOR = "mpc"
PROGRESSIVE = "progressive"
_PACER_CODE = ("control", "estimators", "limits", "pacer", "predictive", "progressive", "types")


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of pacing.

    Attributes:
        make: a policy for one group of a scenario, with a value of the knob.
        knob: range of the knob, from careful to bold; None: there is nothing to tune.
        modules: of ``pacing``, whose code decides about its results.
    """

    title: str
    make: Callable[[Scenario, float], Policy]
    modules: tuple[str, ...]
    knob: tuple[float, float] | None = None


CONTENDERS: dict[str, Contender] = {
    PROGRESSIVE: Contender("progressive", lambda scenario, knob: Progressive(), ("progressive", "sim.baselines")),
    ENGINE: Contender(
        "**engine**",
        lambda scenario, knob: pacer_for(scenario, PacingTarget(Mode.PREDICTIVE)),
        _PACER_CODE,
    ),
}
