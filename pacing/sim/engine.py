"""The event loop: a heap of things to come, agents and calls, and a policy asked at a fixed interval.

Virtual time only, and every chance from :mod:`pacing.sim.draws`: the same arguments give the same run to the last
digit, in whatever process. Agents and calls are dictionaries from subject to the time its state began, in order of
that time, so that a snapshot is a few comprehensions; agent seconds are counted when a state changes, not per event.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from pacing.pacer import Outcome, Pacer
from pacing.sim.draws import AgentDraws, CallDraws, Draw, HitRatios, inbound_calls
from pacing.sim.results import MINUTE_S, Minute, RunResult, worst_window_ratio
from pacing.sim.scenarios import Scenario
from pacing.types import DialDecision, GroupSnapshot, LegalRoom, PacingTarget

DRAIN_S = 120.0
"""After dialing stops the calls under way are followed to their end; none rings and is analysed longer than this."""


class Policy(Protocol):
    """What decides about launches; :class:`pacing.Pacer` is one. The methods mean what they mean there."""

    def answered(self, age_s: float) -> None: ...
    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None: ...
    def person(self, delay_s: float) -> None: ...
    def bridged(self, wait_s: float) -> None: ...
    def abandoned(self) -> None: ...
    def handled(self, talk_s: float, wrap_up_s: float) -> None: ...
    def decide(self, snapshot: GroupSnapshot) -> DialDecision: ...


class Call:
    """One call under way; ``answers`` and ``person`` are what chance has in store for it."""

    __slots__ = ("answered_s", "answers", "draw", "group", "launched_s", "number", "person", "rings_until_s")

    def __init__(
        self,
        group: "Group",
        number: int,
        draw: Draw,
        launched_s: float,
        rings_until_s: float,
        person: bool,
        answers: bool,
    ) -> None:
        self.group, self.number, self.draw = group, number, draw
        self.launched_s, self.rings_until_s = launched_s, rings_until_s
        self.person, self.answers = person, answers
        self.answered_s = math.inf


class Group:
    """One campaign group: its policy and its calls."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int, number: int) -> None:
        self.policy, self.number = policy, number
        self.draws = CallDraws(scenario, seed, number)
        self.hit_ratios = HitRatios(scenario, seed, number)
        self.launched = 0
        self.ringing: dict[Call, float] = {}
        self.analysing: dict[Call, float] = {}
        self.waiting: dict[Call, float] = {}


_Handler = Callable[["_Subject"], None]
_Subject = int | Call | tuple[float, float, float] | None


class World:
    """One run. A policy may hold on to it to know what no dialer can know (:class:`pacing.sim.clairvoyant`)."""

    def __init__(
        self,
        scenario: Scenario,
        policies: Iterable[Policy],
        seed: int,
        legal: Callable[[float], LegalRoom] | None = None,
        decided: Callable[[int, GroupSnapshot, DialDecision], None] | None = None,
    ) -> None:
        self.scenario = scenario
        self.groups = [Group(scenario, policy, seed, number) for number, policy in enumerate(policies)]
        self.chance = AgentDraws(scenario, seed)
        self.inbound_to_come = deque(inbound_calls(scenario, seed))
        self.legal, self.decided = legal, decided
        self.now_s = 0.0
        self.heap: list[tuple[float, int, Callable[..., None], _Subject]] = []
        self._sequence = 0
        # Agents. An idle one is in a queue, longest idle first; leaving is rare enough for a search.
        n = scenario.agents
        self.idle: deque[tuple[int, float]] = deque()
        self.talking: dict[int, float] = {}
        self.wrapping: dict[int, tuple[float, float]] = {}
        self.hinted: dict[int, float] = {}
        self.frees_s = [0.0] * n
        self.handling = [(0.0, 0.0)] * n
        self.leaves, self.wants_break, self.on_break, self.on_duty = ([False] * n for _ in range(4))
        self.noticed: set[int] = set()
        self.inbound_ringing = 0
        self.inbound_waiting: deque[tuple[float, float, float]] = deque()
        # Figures. Agent seconds: the sum over a state is now times its count minus the times at which it began.
        self._staffed, self._staffed_area = 0, 0.0
        self._busy, self._busy_area = 0, 0.0
        self._counted_until_s = scenario.duration_s
        self.attempts = self.decisions = self.people = self.gone = self.bridged = self.lost_people = self.released = 0
        self.waited_s = 0.0
        self.inbound_taken, self.inbound_waited_s = 0, 0.0
        self._minutes: list[Minute] = []
        self._marked: tuple[float, float, int, int, int, int, float] = (0.0, 0.0, 0, 0, 0, 0, 0.0)
        self._records_dialed = 0
        self._starts = max(1.0, scenario.starts_per_s * scenario.decide_every_s)

    # Time -------------------------------------------------------------------------------------------------------

    def at(self, at_s: float, handler: Callable[..., None], subject: _Subject = None) -> None:
        self._sequence += 1
        heapq.heappush(self.heap, (at_s, self._sequence, handler, subject))

    def run(self) -> RunResult:
        """The whole run."""
        scenario, heap, pop = self.scenario, self.heap, heapq.heappop
        self._begin()
        until_s = scenario.duration_s + DRAIN_S
        while heap and heap[0][0] <= until_s:
            self.now_s, _, handler, subject = pop(heap)
            handler(subject)
        busy_s, staffed_s = (
            sum(getattr(m, name) for m in self._minutes) for name in ("busy_agent_s", "staffed_agent_s")
        )
        minutes = tuple(self._minutes)
        return RunResult(
            attempts=self.attempts,
            people=self.people,
            abandoned=self.gone,
            busy_ratio=busy_s / staffed_s if staffed_s else 0.0,
            worst_window_ratio=worst_window_ratio(minutes),
            wait_s=self.waited_s / max(self.bridged, 1),
            agent_wait_s=(staffed_s - busy_s) / max(sum(m.bridged for m in minutes), 1),
            decisions=self.decisions,
            lost_people=self.lost_people,
            inbound_wait_s=self.inbound_waited_s / max(self.inbound_taken, 1),
            minutes=minutes,
        )

    def _begin(self) -> None:
        scenario = self.scenario
        on_duty = round(scenario.agents * (scenario.staff[0][1] if scenario.staff else 1.0))
        for agent in range(on_duty):
            self.on_duty[agent] = True
            self._staff(1)
            self.idle.append((agent, 0.0))
        for share, staffed in scenario.staff[1:]:
            self.at(
                max(0.0, share * scenario.duration_s - scenario.notice_s),
                self._change_staff,
                round(staffed * scenario.agents),
            )
        if scenario.break_every_s:
            for agent in range(scenario.agents):
                self.at(self.chance.next_break_s(agent), self._break, agent)
        if self.inbound_to_come:
            self.at(self.inbound_to_come[0][0], self._inbound)
        self.at(0.0, self._decide)
        self.at(MINUTE_S, self._mark)

    def _mark(self, _: _Subject) -> None:
        """End of a minute that counts."""
        total = (
            self._busy * self.now_s - self._busy_area,
            self._staffed * self.now_s - self._staffed_area,
            self.attempts,
            self.people,
            self.gone,
            self.bridged + self.inbound_taken,
            self.waited_s,
        )
        before = self._marked
        self._minutes.append(
            Minute(
                total[0] - before[0],
                total[1] - before[1],
                total[2] - before[2],
                total[3] - before[3],
                total[4] - before[4],
                total[5] - before[5],
                total[6] - before[6],
            )
        )
        self._marked = total
        left_s = self._counted_until_s - self.now_s
        if left_s > 0.0:
            self.at(self.now_s + min(MINUTE_S, left_s), self._mark)

    def _staff(self, change: int) -> None:
        self._staffed += change
        self._staffed_area += change * self.now_s

    def _occupy(self, change: int) -> None:
        self._busy += change
        self._busy_area += change * self.now_s

    # Deciding ---------------------------------------------------------------------------------------------------

    def _decide(self, _: _Subject) -> None:
        scenario, now_s = self.scenario, self.now_s
        if now_s >= scenario.duration_s:
            return
        if scenario.starts_per_s < 1_000_000.0:
            per_decision = scenario.starts_per_s * scenario.decide_every_s
            self._starts = min(self._starts + per_decision, max(1.0, per_decision))
        for group in self.groups if len(self.groups) == 1 else self._in_turn():
            snapshot = self.snapshot(group)
            decision = group.policy.decide(snapshot)
            if decision.release:
                ringing = list(group.ringing)
                for place in decision.release:
                    self._release(ringing[place])
            for _number in range(decision.launch):
                self._launch(group)
            if self.decided is not None:
                self.decided(group.number, snapshot, decision)
            self.decisions += 1
        if self._records_left() <= 0 and self._counted_until_s > now_s:
            # Nobody can keep agents busy with records that are not there.
            self._counted_until_s = now_s
        self.at(now_s + scenario.decide_every_s, self._decide)

    def _in_turn(self) -> list[Group]:
        first = self.decisions // len(self.groups) % len(self.groups)
        return self.groups[first:] + self.groups[:first]

    def _records_left(self) -> int:
        scenario = self.scenario
        return scenario.records + int(scenario.records_per_s * self.now_s) - self._records_dialed

    def snapshot(self, group: Group) -> GroupSnapshot:
        """What the group's pacing sees now."""
        now_s, n, number = self.now_s, len(self.groups), group.number
        idle: Iterable[tuple[int, float]] = self.idle
        talking: Iterable[tuple[int, float]] = self.talking.items()
        wrapping: Iterable[tuple[int, tuple[float, float]]] = self.wrapping.items()
        hinted: Iterable[tuple[int, float]] = self.hinted.items()
        if n > 1:
            idle = [(agent, s) for agent, s in idle if agent % n == number]
            talking = [(agent, s) for agent, s in talking if agent % n == number]
            wrapping = [(agent, s) for agent, s in wrapping if agent % n == number]
            hinted = [(agent, s) for agent, s in hinted if agent % n == number]
        leaving = 0
        if self.noticed:
            gone = self.noticed
            leaving = sum(agent in gone for agent, _ in idle)
            talking = [(agent, s) for agent, s in talking if agent not in gone]
            wrapping = [(agent, s) for agent, s in wrapping if agent not in gone]
            hinted = [(agent, s) for agent, s in hinted if agent not in gone]
        lines = len(self.talking) + sum(len(g.ringing) + len(g.analysing) + len(g.waiting) for g in self.groups)
        return GroupSnapshot(
            now_s,
            tuple([now_s - since_s for _, since_s in idle]),
            # The bridge may lie ahead while an agent is being connected.
            tuple([now_s - since_s if now_s > since_s else 0.0 for _, since_s in talking]),
            tuple([(talked_s, now_s - since_s) for _, (talked_s, since_s) in wrapping]),
            tuple([now_s - since_s for since_s in group.ringing.values()]),
            tuple([now_s - since_s for since_s in group.analysing.values()]),
            len(group.waiting),
            max(0, self.scenario.ports - lines - len(self.inbound_waiting) - self.inbound_ringing),
            max(0, self._records_left()),
            min(int(self._starts), 1_000_000),
            tuple([max(0.0, ready_s - now_s) for _, ready_s in hinted]) if self.hinted else (),
            len(self.inbound_waiting) if number == 0 else 0,
            self.inbound_ringing if number == 0 else 0,
            min(self.scenario.kept_back, len(self.idle)),
            leaving,
            None if self.legal is None else self.legal(now_s),
            tuple([max(0.0, now_s - since_s - call.draw.setup_s) for call, since_s in group.ringing.items()]),
        )

    # Calls ------------------------------------------------------------------------------------------------------

    def outcome(self, group: Group, number: int, now_s: float) -> Call:
        """The call that a launch at ``now_s`` as the group's ``number``-th would be."""
        scenario, draw = self.scenario, group.draws[number]
        person = draw.hit < group.hit_ratios.at(now_s, number)
        machine = not person and draw.kind < scenario.machine_ratio
        if person:
            until_s = draw.setup_s + draw.person_ring_s
        elif machine:
            until_s = draw.setup_s + draw.machine_ring_s
        elif draw.kind < scenario.machine_ratio + scenario.no_answer_ratio:
            until_s = draw.setup_s + scenario.no_answer_s
        else:
            until_s = draw.setup_s
        return Call(group, number, draw, now_s, now_s + until_s, person, person or (machine and scenario.analysed))

    def _launch(self, group: Group) -> None:
        call = self.outcome(group, group.launched, self.now_s)
        group.launched += 1
        self.attempts += 1
        self._records_dialed += 1
        self._starts -= 1.0
        group.ringing[call] = self.now_s
        self.at(call.rings_until_s, self._answer if call.answers else self._fail, call)

    def _release(self, call: Call) -> None:
        """Given up while it rang: what was in store for it does not happen."""
        del call.group.ringing[call]
        self.released += 1
        call.group.policy.ended(self.now_s - call.launched_s, Outcome.RELEASED)

    def _fail(self, call: Call) -> None:
        if call not in call.group.ringing:
            return  # given up
        del call.group.ringing[call]
        call.group.policy.ended(self.now_s - call.launched_s, Outcome.FAILED)

    def _answer(self, call: Call) -> None:
        group = call.group
        if call not in group.ringing:
            return  # given up
        del group.ringing[call]
        group.policy.answered(self.now_s - call.launched_s)
        if not self.scenario.analysed:
            self._person(call)
            return
        call.answered_s = self.now_s
        group.analysing[call] = self.now_s
        self.at(
            self.now_s + (call.draw.person_delay_s if call.person else call.draw.machine_delay_s), self._verdict, call
        )

    def passes(self, call: Call) -> bool:
        """Whether analysis says "person"."""
        if not call.answers:
            return False
        if call.person:
            return not self.scenario.analysed or call.draw.mistake >= self.scenario.person_lost_ratio
        return call.draw.mistake < self.scenario.machine_passed_ratio

    def _verdict(self, call: Call) -> None:
        group = call.group
        del group.analysing[call]
        delay_s = self.now_s - call.answered_s
        if self.passes(call):
            group.policy.person(delay_s)
            self._person(call)
            return
        self.lost_people += call.person
        group.policy.ended(self.now_s - call.launched_s, Outcome.MACHINE, delay_s)

    def _person(self, call: Call) -> None:
        self.people += 1
        if len(self.idle) > self.scenario.kept_back:
            self._connect(self.idle.popleft()[0], call, 0.0)
            return
        call.group.waiting[call] = self.now_s
        patience_s = min(self.scenario.max_wait_s - self.scenario.connect_s, call.draw.hang_up_s)
        self.at(self.now_s + max(patience_s, 0.0), self._give_up, call)

    def _give_up(self, call: Call) -> None:
        if call.group.waiting.pop(call, None) is not None:
            self.gone += 1
            call.group.policy.abandoned()

    def _connect(self, agent: int, call: Call, waited_s: float) -> None:
        wait_s = waited_s + self.scenario.connect_s
        self.bridged += 1
        self.waited_s += wait_s
        call.group.policy.bridged(wait_s)
        self._converse(agent, *self.work(call))

    def work(self, call: Call) -> tuple[float, float]:
        """Talk and wrap-up seconds of an agent who gets this call."""
        return (call.draw.talk_s, call.draw.wrap_up_s) if call.person else (call.draw.machine_talk_s, 0.0)

    # Agents -----------------------------------------------------------------------------------------------------

    def _converse(self, agent: int, talk_s: float, wrap_up_s: float) -> None:
        bridged_s = self.now_s + self.scenario.connect_s
        self.talking[agent] = bridged_s
        self.handling[agent] = (talk_s, wrap_up_s)
        self.frees_s[agent] = bridged_s + talk_s + wrap_up_s
        self._occupy(1)
        self.at(bridged_s + talk_s, self._wrap_up, agent)

    def _wrap_up(self, agent: int) -> None:
        del self.talking[agent]
        talk_s, wrap_up_s = self.handling[agent]
        scenario = self.scenario
        if scenario.hint_ratio and self.chance.hints.random() < scenario.hint_ratio:
            error = float(self.chance.hints.lognormal(0.0, scenario.hint_cv))
            self.hinted[agent] = self.now_s + wrap_up_s * error
        else:
            self.wrapping[agent] = (talk_s, self.now_s)
        self.at(self.now_s + wrap_up_s, self._done, agent)

    def _done(self, agent: int) -> None:
        if self.wrapping.pop(agent, None) is None:
            del self.hinted[agent]
        self._occupy(-1)
        # Groups that share agents learn from all of them: how long agents take does not depend on who called.
        for group in self.groups:
            group.policy.handled(*self.handling[agent])
        self._free(agent)

    def _free(self, agent: int) -> None:
        """An agent on duty has nothing to do."""
        if self.leaves[agent]:
            self._leave(agent)
        elif self.wants_break[agent]:
            self._begin_break(agent)
        elif self.inbound_waiting:
            self._take_inbound(agent)
        else:
            waiting = self._longest_waiting() if len(self.idle) >= self.scenario.kept_back else None
            if waiting is None:
                self.idle.append((agent, self.now_s))
            else:
                self._connect(agent, waiting, self.now_s - waiting.group.waiting.pop(waiting))

    def _longest_waiting(self) -> Call | None:
        best: Call | None = None
        for group in self.groups:
            if group.waiting:
                call = next(iter(group.waiting))
                if best is None or group.waiting[call] < best.group.waiting[best]:
                    best = call
        return best

    def _not_idle(self, agent: int) -> bool:
        """Take an agent out of the idle ones; False when it was none of them."""
        for index, (number, _) in enumerate(self.idle):
            if number == agent:
                del self.idle[index]
                return True
        return False

    def _change_staff(self, staffed: int) -> None:
        """A new number of agents on duty is wanted; those with the highest numbers go, the lowest ones come."""
        present = [agent for agent in range(self.scenario.agents) if self.on_duty[agent] and not self.leaves[agent]]
        for agent in present[staffed:]:
            if self.scenario.notice_s:
                self.noticed.add(agent)
            self.at(
                self.now_s + self.scenario.notice_s + self.scenario.crowd_s * self.chance.crowd[agent],
                self._end_shift,
                agent,
            )
        missing = staffed - len(present)
        absent = [a for a in range(self.scenario.agents) if not self.on_duty[a] or self.leaves[a]]
        for agent in absent[: max(missing, 0)]:
            self.at(
                self.now_s + self.scenario.notice_s + self.scenario.crowd_s * self.chance.crowd[agent],
                self._begin_shift,
                agent,
            )

    def _end_shift(self, agent: int) -> None:
        self.leaves[agent] = True
        if self._not_idle(agent) or self.on_break[agent]:
            self._leave(agent)

    def _begin_shift(self, agent: int) -> None:
        self.noticed.discard(agent)
        if self.on_duty[agent]:
            self.leaves[agent] = False  # still at the last call: goes on
            return
        self.on_duty[agent] = True
        self._staff(1)
        self._free(agent)

    def _leave(self, agent: int) -> None:
        if not self.on_break[agent]:
            self._staff(-1)
        self.noticed.discard(agent)
        self.on_duty[agent] = self.leaves[agent] = self.on_break[agent] = self.wants_break[agent] = False

    def _break(self, agent: int) -> None:
        if not self.on_duty[agent]:
            self.at(self.now_s + self.chance.next_break_s(agent), self._break, agent)
        elif self._not_idle(agent):
            self._begin_break(agent)
        else:
            self.wants_break[agent] = True

    def _begin_break(self, agent: int) -> None:
        self.wants_break[agent], self.on_break[agent] = False, True
        self._staff(-1)
        self.at(self.now_s + self.scenario.break_s, self._back, agent)

    def _back(self, agent: int) -> None:
        self.at(self.now_s + self.chance.next_break_s(agent), self._break, agent)
        if self.on_break[agent]:  # else the shift has ended meanwhile
            self.on_break[agent] = False
            self._staff(1)
            self._free(agent)

    # Inbound ----------------------------------------------------------------------------------------------------

    def _inbound(self, _: _Subject) -> None:
        call = self.inbound_to_come.popleft()
        self.inbound_ringing += 1
        self.at(self.now_s + self.scenario.inbound_ring_s, self._inbound_queued, call)
        if self.inbound_to_come:
            self.at(self.inbound_to_come[0][0], self._inbound)

    def _inbound_queued(self, call: tuple[float, float, float]) -> None:
        self.inbound_ringing -= 1
        self.inbound_waiting.append((self.now_s, call[1], call[2]))
        if self.idle:
            self._take_inbound(self.idle.popleft()[0])

    def _take_inbound(self, agent: int) -> None:
        queued_s, talk_s, wrap_up_s = self.inbound_waiting.popleft()
        self.inbound_taken += 1
        self.inbound_waited_s += self.now_s - queued_s
        self._converse(agent, talk_s, wrap_up_s)


def simulate_policy(
    scenario: Scenario,
    policy: Callable[[Scenario], Policy],
    seed: int,
    legal: Callable[[float], LegalRoom] | None = None,
    decided: Callable[[int, GroupSnapshot, DialDecision], None] | None = None,
) -> RunResult:
    """One run from a cold start.

    Args:
        policy: makes the policy of one group; called once per group.
        legal: what the guard over the legal window leaves at a time.
        decided: told of every decision: number of the group, snapshot, decision.
    """
    policies = [policy(scenario) for _ in scenario.group_hits or (scenario.hit_ratio,)]
    world = World(scenario, policies, seed, legal, decided)
    for made in policies:
        attach = getattr(made, "attach", None)
        if attach is not None:
            attach(world)
    return world.run()


def pacer_for(scenario: Scenario, target: PacingTarget) -> Pacer:
    """A new pacer for one group of the scenario."""
    return Pacer(target, max_wait_s=max(0.0, scenario.max_wait_s - scenario.connect_s))


def simulate(
    scenario: Scenario,
    target: PacingTarget,
    seed: int,
    legal: Callable[[float], LegalRoom] | None = None,
) -> RunResult:
    """One run from a cold start with a new :class:`pacing.Pacer` per group."""
    return simulate_policy(scenario, lambda found: pacer_for(found, target), seed, legal)
