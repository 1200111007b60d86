"""The ceiling: a policy that knows what becomes of each call before it is launched, and when each agent will be free.

It takes the list in its order. A call that will bring nobody costs nothing and starts; one that will bring a person
starts as soon as an agent will be free for it in time, all people already under way being served first. Nobody is
abandoned for want of an agent, unless agents leave unforeseen. The ceiling is loose: no dialer can know any of this.
"""

import heapq
import math
from collections import deque
from itertools import takewhile

from pacing.sim.baselines import Baseline
from pacing.sim.engine import Call, Group, World
from pacing.types import GroupSnapshot

LOOK_AHEAD_S = 120.0
"""Agents who are busy for longer serve nobody who is called now."""
_Coming = tuple[float, float, float, float]
"""Arrival, patience, talk and wrap-up of somebody who needs an agent, in seconds."""
MOST = 2000
"""Launches per decision, so that a list on which nobody answers ends some day."""


class Clairvoyant(Baseline):
    """Attached to the world before it runs."""

    def __init__(self) -> None:
        self._world: World | None = None
        self._group: Group | None = None
        self._inbound_calls: deque[_Coming] = deque()

    def attach(self, world: World) -> None:
        self._world = world
        self._group = next(group for group in world.groups if group.policy is self)
        # They go before people who already wait, so an agent is set aside for them that much earlier.
        ahead_s = world.scenario.inbound_ring_s - world.scenario.max_wait_s
        self._inbound_calls = deque(
            (arrives_s + ahead_s, math.inf, talk_s, wrap_up_s) for arrives_s, talk_s, wrap_up_s in world.inbound_to_come
        )

    def launches(self, snapshot: GroupSnapshot) -> float:
        world, group = self._world, self._group
        if world is None or group is None:
            raise ValueError("the ceiling needs a world to look into")
        coming = sorted(
            [
                self._coming(call)
                for each in world.groups
                for calls in (each.waiting, each.ringing, each.analysing)
                for call in calls
                if world.passes(call)
            ]
            + self._inbound(world)
        )
        free_s = self._free_s(world)
        room = min(snapshot.ports_free, snapshot.records_ready, snapshot.starts_allowed, MOST)
        for launched in range(room):
            call = world.outcome(group, group.launched + launched, world.now_s)
            if not world.passes(call):
                continue
            attempt = sorted([*coming, self._coming(call)])
            if not self._served(attempt, free_s):
                return launched
            coming = attempt
        return room

    def _coming(self, call: Call) -> _Coming:
        assert self._world is not None
        scenario = self._world.scenario
        # How long somebody waits before hanging up is left to chance even here: nobody is made to wait.
        patience_s = 0.0 if scenario.hang_up is not None else max(scenario.max_wait_s - scenario.connect_s, 0.0)
        return self._arrives_s(call), patience_s, *self._world.work(call)

    def _inbound(self, world: World) -> list[_Coming]:
        """Inbound calls queued, ringing and to come; those take agents without any hurry."""
        found = [(queued_s, math.inf, talk_s, wrap_up_s) for queued_s, talk_s, wrap_up_s in world.inbound_waiting]
        while self._inbound_calls and self._inbound_calls[0][0] + world.scenario.max_wait_s <= world.now_s:
            self._inbound_calls.popleft()
        found += takewhile(lambda call: call[0] <= world.now_s + LOOK_AHEAD_S, self._inbound_calls)
        return found

    def _arrives_s(self, call: Call) -> float:
        assert self._world is not None
        if not self._world.scenario.analysed:
            return call.rings_until_s
        return call.rings_until_s + (call.draw.person_delay_s if call.person else call.draw.machine_delay_s)

    def _free_s(self, world: World) -> list[float]:
        """When each agent is free next, as a heap."""
        until_s = world.now_s + LOOK_AHEAD_S
        free_s = [world.now_s] * len(world.idle)
        free_s += [
            world.frees_s[agent]
            for agent in (*world.talking, *world.wrapping, *world.hinted)
            if world.frees_s[agent] < until_s and not world.leaves[agent] and not world.wants_break[agent]
        ]
        heapq.heapify(free_s)
        return free_s

    def _served(self, coming: list[_Coming], free_s: list[float]) -> bool:
        """Whether everybody who comes, in order of arrival, finds an agent in time."""
        assert self._world is not None
        scenario, free = self._world.scenario, free_s.copy()
        connect_s, kept_back = scenario.connect_s, scenario.kept_back
        for arrives_s, patience_s, talk_s, wrap_up_s in coming:
            next_s = free[0] if free else math.inf
            if kept_back and patience_s < math.inf:
                # So many others must be free as well before a call of ours gets anybody.
                soonest_s = heapq.nsmallest(kept_back + 1, free)
                next_s = soonest_s[kept_back] if len(soonest_s) > kept_back else math.inf
            # Agent and deadline at the same instant: who is served is a matter of order, so stay clear of it.
            if next_s > arrives_s + patience_s - 1e-6:
                return False
            if free:
                heapq.heapreplace(free, max(next_s, arrives_s) + connect_s + talk_s + wrap_up_s)
        return True
