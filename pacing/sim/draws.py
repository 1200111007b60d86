"""What chance does to the n-th call of a group: the same for every policy, so that all of them see one world.

The draws of a call come from a stream that is known by the seed, the group and the number of the call only (common
random numbers). Two policies then differ by what they do, not by their luck, and the standard error of a difference
between them is far below that of either.
"""

from typing import NamedTuple

import numpy as np

from pacing.sim.scenarios import Scenario
from pacing.sim.spread import Floats

BLOCK = 1024
_WALK_STEP_S = 10.0
_CALLS, _WALK, _BATCHES, _BREAKS, _HINTS, _INBOUND, _CROWD = range(7)
"""Names of the streams of one seed."""


class Draw(NamedTuple):
    """One call's chances; whether a person answers depends on the hit ratio when it is launched."""

    hit: float
    kind: float
    setup_s: float
    person_ring_s: float
    machine_ring_s: float
    person_delay_s: float
    machine_delay_s: float
    mistake: float
    hang_up_s: float
    talk_s: float
    wrap_up_s: float
    machine_talk_s: float


class CallDraws:
    """Draws of the calls of one group, made in blocks when first needed."""

    def __init__(self, scenario: Scenario, seed: int, group: int) -> None:
        self._scenario, self._seed, self._group = scenario, seed, group
        self._blocks: list[list[Draw]] = []

    def __getitem__(self, number: int) -> Draw:
        block, index = divmod(number, BLOCK)
        while block >= len(self._blocks):
            self._blocks.append(self._block(len(self._blocks)))
        return self._blocks[block][index]

    def _block(self, block: int) -> list[Draw]:
        scenario, random = self._scenario, np.random.default_rng((self._seed, _CALLS, self._group, block))
        columns: list[Floats] = [
            random.random(BLOCK),
            random.random(BLOCK),
            random.uniform(*scenario.setup_s, BLOCK),
            scenario.ring.draw(random, BLOCK),
            scenario.machine_ring.draw(random, BLOCK),
            scenario.person_delay.draw(random, BLOCK),
            scenario.machine_delay.draw(random, BLOCK),
            random.random(BLOCK),
            np.full(BLOCK, np.inf) if scenario.hang_up is None else scenario.hang_up.draw(random, BLOCK),
            scenario.talk.draw(random, BLOCK),
            scenario.wrap_up.draw(random, BLOCK),
            scenario.machine_talk.draw(random, BLOCK),
        ]
        return list(map(Draw._make, zip(*(column.tolist() for column in columns), strict=True)))


class HitRatios:
    """The hit ratio of one group by time and number of the call."""

    def __init__(self, scenario: Scenario, seed: int, group: int) -> None:
        first = scenario.group_hits[group] if scenario.group_hits else scenario.hit_ratio
        at_s = np.arange(0.0, scenario.duration_s + _WALK_STEP_S, _WALK_STEP_S)
        ratios = np.full(len(at_s), first)
        for share, ratio in scenario.hit_steps:
            ratios[at_s >= share * scenario.duration_s] = ratio
        self._logits = np.log(ratios / (1.0 - ratios)) + _walk(scenario, seed, group, len(at_s))
        self._ratios: list[float] = (1.0 / (1.0 + np.exp(-self._logits))).tolist()
        self._batch, sigma = scenario.hit_batches
        batches = 200_000 // self._batch if self._batch else 0  # repeats after more calls than a run has
        offsets = np.random.default_rng((seed, _BATCHES, group)).normal(0.0, 1.0, batches)
        self._offsets: list[float] = (sigma * offsets).tolist()

    def at(self, now_s: float, number: int) -> float:
        """Share of people among calls like this one, launched at ``now_s`` as the ``number``-th."""
        step = int(now_s / _WALK_STEP_S)
        if not self._batch:
            return self._ratios[step]
        logit = self._logits[step] + self._offsets[number // self._batch % len(self._offsets)]
        return float(1.0 / (1.0 + np.exp(-logit)))


def _walk(scenario: Scenario, seed: int, group: int, steps: int) -> Floats:
    sigma, time_constant_s = scenario.hit_walk
    if sigma <= 0.0:
        return np.zeros(steps)
    keep = float(np.exp(-_WALK_STEP_S / time_constant_s))
    noise = np.random.default_rng((seed, _WALK, group)).normal(0.0, 1.0, steps)
    walk = np.empty(steps)
    value = noise[0]
    for step in range(steps):
        value = keep * value + (1.0 - keep * keep) ** 0.5 * noise[step]
        walk[step] = value
    return sigma * walk


class AgentDraws:
    """What chance does to the agents, whatever they are given to do."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        n, mean_s = scenario.agents, scenario.break_every_s
        breaks = int(3.0 * scenario.duration_s / mean_s) + 20 if mean_s else 0
        self._breaks_s: list[list[float]] = (
            np.random.default_rng((seed, _BREAKS)).exponential(max(mean_s, 1e-9), (n, breaks)).tolist()
        )
        self.crowd: list[float] = np.random.default_rng((seed, _CROWD)).random(n).tolist()
        """Position of each agent, 0..1, within a crowd that comes or goes."""
        self.hints = np.random.default_rng((seed, _HINTS))

    def next_break_s(self, agent: int) -> float:
        """Seconds until the agent's next break; infinite when it has had all that a run could hold."""
        left = self._breaks_s[agent]
        return left.pop() if left else float("inf")


def inbound_calls(scenario: Scenario, seed: int) -> list[tuple[float, float, float]]:
    """(arrival, talk, wrap-up) in seconds of every inbound call of a run, in order of arrival."""
    if scenario.inbound_per_s <= 0.0:
        return []
    random = np.random.default_rng((seed, _INBOUND))
    n = int(random.poisson(scenario.inbound_per_s * scenario.duration_s))
    arrivals = np.sort(random.uniform(0.0, scenario.duration_s, n))
    columns = (arrivals, scenario.talk.draw(random, n), scenario.wrap_up.draw(random, n))
    return list(zip(*(column.tolist() for column in columns), strict=True))
