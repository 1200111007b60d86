"""The ceiling: a policy that knows what becomes of each call before it is launched, and when each agent will be free.

It takes the list in its order. A call that will bring nobody costs nothing and starts; one that will bring a person
starts as soon as an agent will be free for it in time, all people already under way being served first. Nobody is
abandoned for want of an agent, unless agents leave unforeseen. The ceiling is loose: no dialer can know any of this.
"""

import heapq
import math

from pacing.sim.baselines import Baseline
from pacing.sim.engine import Call, Group, World
from pacing.types import GroupSnapshot

LOOK_AHEAD_S = 120.0
"""Agents who are busy for longer serve nobody who is called now."""
MOST = 2000
"""Launches per decision, so that a list on which nobody answers ends some day."""


class Clairvoyant(Baseline):
    """Attached to the world before it runs."""

    def __init__(self) -> None:
        self._world: World | None = None
        self._group: Group | None = None

    def attach(self, world: World) -> None:
        self._world = world
        self._group = next(group for group in world.groups if group.policy is self)

    def launches(self, snapshot: GroupSnapshot) -> float:
        world, group = self._world, self._group
        if world is None or group is None:
            raise ValueError("the ceiling needs a world to look into")
        coming = sorted(
            (self._arrives_s(call), call.number, *world.work(call))
            for calls in (group.waiting, group.ringing, group.analysing)
            for call in calls
            if world.passes(call)
        )
        free_s = self._free_s(world, snapshot)
        room = min(snapshot.ports_free, snapshot.records_ready, snapshot.starts_allowed, MOST)
        for launched in range(room):
            call = world.outcome(group, group.launched + launched, world.now_s)
            if not world.passes(call):
                continue
            person = (self._arrives_s(call), call.number, *world.work(call))
            attempt = sorted([*coming, person])
            if not self._served(attempt, free_s):
                return launched
            coming = attempt
        return room

    def _arrives_s(self, call: Call) -> float:
        assert self._world is not None
        if not self._world.scenario.analysed:
            return call.rings_until_s
        return call.rings_until_s + (call.draw.person_delay_s if call.person else call.draw.machine_delay_s)

    def _free_s(self, world: World, snapshot: GroupSnapshot) -> list[float]:
        """When each agent is free next, as a heap; of several groups each has its share of the agents."""
        number, n, until_s = self._number(), len(world.groups), world.now_s + LOOK_AHEAD_S
        busy = (*world.talking, *world.wrapping, *world.hinted)
        free_s = [world.now_s] * (len(snapshot.agents_idle_s) - snapshot.inbound_waiting - snapshot.inbound_ringing)
        free_s += [
            world.frees_s[agent]
            for agent in busy
            if agent % n == number
            and world.frees_s[agent] < until_s
            and not world.leaves[agent]
            and not world.wants_break[agent]
        ]
        heapq.heapify(free_s)
        return free_s

    def _number(self) -> int:
        assert self._group is not None
        return self._group.number

    def _served(self, coming: list[tuple[float, int, float, float]], free_s: list[float]) -> bool:
        """Whether everybody who comes, in order of arrival, finds an agent in time."""
        assert self._world is not None
        scenario, free = self._world.scenario, free_s.copy()
        patience_s = max(scenario.max_wait_s - scenario.connect_s, 0.0)
        if scenario.hang_up is not None:
            patience_s = 0.0
        for arrives_s, _, talk_s, wrap_up_s in coming:
            next_s = free[0] if free else math.inf
            # Agent and deadline at the same instant: who is served is a matter of order, so stay clear of it.
            if next_s > arrives_s + patience_s - 1e-6:
                return False
            heapq.heapreplace(free, max(next_s, arrives_s) + scenario.connect_s + talk_s + wrap_up_s)
        return True
