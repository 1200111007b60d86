"""Two predictive campaign groups over the same agents, in steps of half a second: pacers, parts and line are the real
ones, calls and agents are drawn."""

import math
import random
from collections import Counter
from dataclasses import dataclass, field

from ocsd.sessions.sharing import AgentParts, Claim
from pacing import GroupSnapshot, Mode, Outcome, Pacer, PacingTarget

STEP_S = 0.5
PATIENCE_S = 2.0


@dataclass
class Call:
    group: int
    begun_s: float
    over_s: float
    person: bool


@dataclass
class Agent:
    """Ready from ``free_s`` on; until then in a call begun at ``since_s``, from ``wrap_s`` on in wrap-up."""

    name: str
    since_s: float = 0.0
    wrap_s: float = 0.0
    free_s: float = 0.0
    served: int = 0


@dataclass
class Group:
    hit_ratio: float
    pacer: Pacer = field(default_factory=lambda: Pacer(PacingTarget(Mode.PREDICTIVE), max_wait_s=PATIENCE_S))
    calls: list[Call] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    people: int = 0
    abandoned: int = 0
    launched: int = 0


@dataclass
class Run:
    people: int
    abandoned: int
    busy_ratio: float
    connected: Counter[int]

    @property
    def abandoned_ratio(self) -> float:
        return self.abandoned / self.people


def simulate(hours: float, agents: int, hits: tuple[float, ...], *, parts: bool, seed: int = 1) -> Run:
    """``parts``: agents are divided, as the daemon does; else each pacer counts all of them."""
    draw = random.Random(seed)
    groups = [Group(hit) for hit in hits]
    staff = [Agent(f"a{n:03}") for n in range(agents)]
    division, connected = AgentParts(), Counter[int]()
    busy_s = 0.0
    for step in range(int(hours * 3600.0 / STEP_S)):
        now_s = step * STEP_S
        for group in groups:
            _calls_end(group, now_s)
        owner = _divide(division, groups, staff) if parts else {}
        _match(groups, staff, owner, connected, draw, now_s)
        for number, group in enumerate(groups):
            mine = [agent for agent in staff if owner.get(agent.name, number) == number]
            _launch(number, group, mine, draw, now_s)
        busy_s += STEP_S * sum(agent.free_s > now_s for agent in staff)
    return Run(
        people=sum(group.people for group in groups),
        abandoned=sum(group.abandoned for group in groups),
        busy_ratio=busy_s / (hours * 3600.0 * agents),
        connected=connected,
    )


def _calls_end(group: Group, now_s: float) -> None:
    for call in [call for call in group.calls if call.over_s <= now_s]:
        group.calls.remove(call)
        age_s = call.over_s - call.begun_s
        if call.person:
            group.people += 1
            group.pacer.answered(age_s)
            group.waiting.append(call.over_s)
        else:
            group.pacer.ended(age_s, Outcome.NO_ANSWER)
    for since_s in [since_s for since_s in group.waiting if now_s - since_s > PATIENCE_S]:
        group.waiting.remove(since_s)
        group.abandoned += 1
        group.pacer.abandoned()


def _divide(division: AgentParts, groups: list[Group], staff: list[Agent]) -> dict[str, int]:
    claims = {
        number: Claim(1.0, least=len(group.calls) * (group.people + 2.0) / (group.launched - len(group.calls) + 2.0))
        for number, group in enumerate(groups)
    }
    return dict(division.divide({agent.name: frozenset(claims) for agent in staff}, claims))


def _match(groups, staff, owner, connected, draw, now_s) -> None:
    queue = sorted((since_s, number) for number, group in enumerate(groups) for since_s in group.waiting)
    for since_s, number in queue:
        free = sorted((agent.free_s, agent.name, agent) for agent in staff if agent.free_s <= now_s)
        own = [entry for entry in free if owner.get(entry[1], number) == number]
        for other, group in enumerate(groups):
            of_other = [entry for entry in free if owner.get(entry[1], number) == other]
            if not own and other != number and len(of_other) > len(group.calls):
                own = of_other
        if not own:
            continue
        agent: Agent = own[0][2]
        talk_s, wrap_up_s = _lognormal(draw, 90.0, 0.8), _lognormal(draw, 15.0, 0.6)
        agent.since_s, agent.wrap_s, agent.free_s = now_s, now_s + talk_s, now_s + talk_s + wrap_up_s
        groups[number].waiting.remove(since_s)
        groups[number].pacer.bridged(now_s - since_s)
        connected[number] += 1
        for group in groups:
            group.pacer.handled(talk_s, wrap_up_s)


def _launch(number: int, group: Group, staff: list[Agent], draw: random.Random, now_s: float) -> None:
    decision = group.pacer.decide(
        GroupSnapshot(
            now_s=now_s,
            agents_idle_s=tuple(now_s - agent.free_s for agent in staff if agent.free_s <= now_s),
            agents_talking_s=tuple(now_s - agent.since_s for agent in staff if now_s < agent.wrap_s),
            agents_wrapping_s=tuple(
                (agent.wrap_s - agent.since_s, now_s - agent.wrap_s)
                for agent in staff
                if agent.wrap_s <= now_s < agent.free_s
            ),
            attempts_age_s=tuple(now_s - call.begun_s for call in group.calls),
            analysing_age_s=(),
            people_waiting=len(group.waiting),
            ports_free=10_000,
            records_ready=10_000,
        )
    )
    group.launched += decision.launch
    for _ in range(decision.launch):
        person = draw.random() < group.hit_ratio
        after_s = _lognormal(draw, 10.0, 0.45) if person else draw.uniform(18.0, 26.0)
        group.calls.append(Call(number, now_s, now_s + after_s, person))


def _lognormal(draw: random.Random, mean: float, variation: float) -> float:
    sigma = math.sqrt(math.log(1.0 + variation * variation))
    return draw.lognormvariate(math.log(mean) - sigma * sigma / 2.0, sigma)
