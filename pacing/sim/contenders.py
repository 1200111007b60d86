"""Everything that competes in a table, by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from pacing.sim.baselines import AdaptiveLevel, Erlang, ExpectedValue, FixedRatio, Progressive
from pacing.sim.clairvoyant import Clairvoyant
from pacing.sim.engine import Policy, pacer_for
from pacing.sim.held import HeldModelPredictive
from pacing.sim.mpc import SET_POINT, ModelPredictive
from pacing.sim.scenarios import Scenario
from pacing.types import Mode, PacingTarget

ENGINE = "engine"
RELEASING = "engine+release"
LEAST_RING_S = 15.0
"""Rung so long, a call may be given up: 16 CFR 310.4(b)(4)(ii)."""
FLOOR = "mpc"
HELD = "mpc-held"
PROGRESSIVE = "progressive"
_OTHERS = ("sim.baselines",)


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of pacing.

    Attributes:
        make: a policy for one group of a scenario, with a value of the knob.
        knob: range of the knob, from careful to bold; None: there is nothing to tune.
        modules: of ``pacing``, whose code decides about its results; those of the engine are found by its imports.
    """

    title: str
    make: Callable[[Scenario, float], Policy]
    modules: tuple[str, ...]
    knob: tuple[float, float] | None = None


def _patience_s(scenario: Scenario) -> float:
    return max(0.0, scenario.max_wait_s - scenario.connect_s)


CONTENDERS: dict[str, Contender] = {
    PROGRESSIVE: Contender("progressive", lambda scenario, knob: Progressive(), _OTHERS),
    "fixed-ratio": Contender("fixed ratio", lambda scenario, knob: FixedRatio(knob), _OTHERS, (1.0, 60.0)),
    "erlang": Contender(
        "Erlang", lambda scenario, knob: Erlang(math.exp(knob), _patience_s(scenario)), _OTHERS, (-40.0, -0.1)
    ),
    "expected-value": Contender("expected value", lambda scenario, knob: ExpectedValue(knob), _OTHERS, (0.0, 2.0)),
    "adaptive-level": Contender(
        "adaptive level", lambda scenario, knob: AdaptiveLevel(knob, scenario.duration_s), _OTHERS, (-0.5, 0.0)
    ),
    FLOOR: Contender(
        "MPC floor",
        lambda scenario, knob: ModelPredictive(_patience_s(scenario)),
        (*_OTHERS, "sim.mpc"),
    ),
    HELD: Contender(
        "MPC floor, held to 3 %",
        lambda scenario, knob: HeldModelPredictive(_patience_s(scenario), knob),
        (*_OTHERS, "sim.mpc", "sim.held"),
        (0.001, SET_POINT),
    ),
    ENGINE: Contender(
        "**engine**",
        lambda scenario, knob: pacer_for(scenario, PacingTarget(Mode.PREDICTIVE)),
        (),
    ),
    RELEASING: Contender(
        "engine, giving up calls",
        lambda scenario, knob: pacer_for(scenario, PacingTarget(Mode.PREDICTIVE, least_ring_s=LEAST_RING_S)),
        (),
    ),
    "ceiling": Contender("clairvoyant ceiling", lambda scenario, knob: Clairvoyant(), (*_OTHERS, "sim.clairvoyant")),
}
