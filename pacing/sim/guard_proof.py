"""Campaigns under attack, with the guard and without: ``python -m pacing.sim.guard_proof``.

Coarse on purpose: steps of half a minute, which is about as long as a call that was started can no longer be stopped.
In each step people answer, and each node's pacing, which aims at what the guard says, loses some of them. The model of
the pacing is worse than ours: it does not see a step before it is over, and its error drifts and jumps.

The attacks: hit rates that jump (five times as many people lost until the pacing has noticed), agents who leave in
crowds while calls ring (also when they are started one to one), bursts, long weekends, days with few calls, groups and
nodes that join, daemons that are killed (what they knew is lost, the ledger is read again), counts of other nodes that
come late. Every campaign is judged at the end of each of its windows, and at every single step.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pacing import DialDecision, GroupSnapshot, LegalRoom, Mode, Pacer, PacingTarget
from pacing.guard import PRESETS, Guard, Ledger, OneToOneRecord, Phase, Rule, WindowKind, bucket_of
from pacing.sim.engine import World
from pacing.sim.scenarios import Scenario

STEP_S = 30
DAY_S = 86_400
START_S = 1_780_272_000  # a Monday, 00:00 UTC
FIRST_HOUR = 8
DAYS = 30
RESTARTS = 6
CROWDS_PER_DAY = 5.0
JUMPS_PER_DAY = 3.0
ASSAULT_STEPS = 60
"""So many last steps of a campaign's last days are under all attacks at once: a window may end in any of them."""
NODE_DELAY_STEPS = 1
FEEDBACK_GAIN = 0.1
SETTLING_STEPS = 2
"""Steps for which calls that were started ahead of agents still come in after the guard has closed."""


@dataclass(slots=True)
class Node:
    """One daemon: what it believes, and how well its pacing aims."""

    ledger: Ledger
    record: OneToOneRecord = field(default_factory=OneToOneRecord)
    log_aim: float = 0.0
    closed_steps: int = 0
    late: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Campaign:
    """The world of one campaign; rates are per step and node."""

    seed: int
    agents: int
    people: float
    hit_ratio: float
    nodes: int
    joins_day: int
    days: int
    one_to_one_loss: float
    bias: float
    attacked: bool = True


@dataclass(slots=True)
class Outcome:
    """What became of a campaign; ``windows``: (people, abandoned) of each window that has ended."""

    windows: list[tuple[int, int]] = field(default_factory=list)
    people: int = 0
    abandoned: int = 0
    worst_ratio: float = 0.0
    steps: int = 0
    steps_above: int = 0
    worst_excess: float = 0.0
    node_steps: int = 0
    closed_steps: int = 0
    restarts: int = 0

    def above(self, limit_ratio: float) -> int:
        return sum(abandoned > limit_ratio * people + 1e-9 for people, abandoned in self.windows)


def campaign(seed: int, *, attacked: bool = True) -> Campaign:
    """A world drawn by ``seed``: 5 to 300 agents, hit rates of 8 to 60 %, handling of 40 to 240 s, 1 to 3 nodes."""
    random = np.random.default_rng([seed, 1])
    agents = int(np.exp(random.uniform(np.log(5), np.log(300))))
    handling_s = float(np.exp(random.uniform(np.log(40), np.log(240))))
    return Campaign(
        seed=seed,
        agents=agents,
        people=agents * STEP_S / handling_s * 0.9,
        hit_ratio=float(random.uniform(0.08, 0.6)),
        nodes=int(random.integers(1, 4)),
        joins_day=int(random.integers(1, 25)),
        days=DAYS if seed % 5 else DAYS + int(random.integers(2, 15)),
        one_to_one_loss=float(random.uniform(0.0002, 0.006)),
        bias=float(random.lognormal(0.2, 0.3)),
        attacked=attacked,
    )


def schedule(world: Campaign, random: np.random.Generator) -> list[tuple[int, float]]:
    """(time, share of the usual rate) of every step of every calling day."""
    steps = []
    for day in range(world.days):
        weekday = day % 7
        if (weekday >= 5 and random.random() < 0.8) or random.random() < 0.05:
            continue  # nobody calls on most weekends, and now and then not on a weekday
        hours = random.uniform(2.0, 9.0)
        share = random.choice([1.0, 1.0, 1.0, 0.4, 0.05, 1.5])
        first_s = START_S + day * DAY_S + FIRST_HOUR * 3600
        steps += [(first_s + step * STEP_S, float(share)) for step in range(int(hours * 3600 / STEP_S))]
    return steps


def steps_left(steps: Sequence[tuple[int, float]]) -> list[int]:
    """For each step, how many follow on its day, if that is one of the last three; else far more than an assault."""
    last = Counter((at_s - START_S) // DAY_S for at_s, _ in steps)
    assaulted = set(sorted(last)[-3:])
    left = []
    for at_s, _ in steps:
        day = (at_s - START_S) // DAY_S
        last[day] -= 1
        left.append(last[day] if day in assaulted else DAY_S)
    return left


def run(world: Campaign, guard: Guard | None, rule: Rule) -> Outcome:
    """One campaign from its first to its last call; ``rule`` judges it, with ``guard`` or without."""
    random = np.random.default_rng([world.seed, 2])
    truth, result = Ledger(), Outcome()
    nodes = [Node(Ledger()) for _ in range(world.nodes)]
    steps = schedule(world, random)
    restarts = set(random.choice(len(steps), min(RESTARTS, len(steps)), replace=False).tolist())
    per_day = DAY_S / 3 / STEP_S
    day_ends = steps_left(steps)
    jump, jump_left = 1.0, 0
    judge = Guard(rule)
    window: tuple[int, int] | None = None
    in_window = [0, 0]
    for index, (now_s, share) in enumerate(steps):
        if world.attacked and random.random() < JUMPS_PER_DAY / per_day:
            jump, jump_left = float(random.uniform(2.0, 8.0)), int(random.integers(4, 30))
        jump_left -= 1
        if jump_left <= 0:
            jump = 1.0
        crowd = world.attacked and random.random() < CROWDS_PER_DAY / per_day
        if world.attacked and day_ends[index] <= ASSAULT_STEPS:
            jump, crowd = 6.0, crowd or random.random() < 0.1
        active = nodes[: 1 if (now_s - START_S) // DAY_S < world.joins_day else world.nodes]
        if world.attacked and index in restarts:
            killed = active[int(random.integers(len(active)))]
            killed.ledger = Ledger(truth.buckets(), truth.started_s)
            killed.record, killed.log_aim, killed.late = OneToOneRecord(), 0.0, []
            result.restarts += 1
        counted: list[tuple[Node, int, int]] = []
        for node in active:
            people_mean = world.people * share / len(active) * float(random.lognormal(0.0, 0.3))
            people, abandoned, closed = _step(
                node, guard, rule, world, now_s, people_mean, jump, crowd, len(active), random
            )
            counted.append((node, people, abandoned))
            result.closed_steps += closed
            result.node_steps += 1
        for node, people, abandoned in counted:
            truth.add(now_s, people, abandoned)
            for other in nodes:
                if other is node:
                    other.ledger.add(now_s, people, abandoned)
                elif people:
                    other.late.append((now_s, people, abandoned))
            result.people += people
            result.abandoned += abandoned
        found = judge.window(truth, now_s)
        if rule.window is not WindowKind.ROLLING and found != window:
            if window is not None:
                result.windows.append((in_window[0], in_window[1]))
            window, in_window = found, [0, 0]
        in_window[0] += sum(people for _, people, _ in counted)
        in_window[1] += sum(abandoned for _, _, abandoned in counted)
        people, abandoned = in_window
        if rule.window is WindowKind.ROLLING:
            total = truth.between(found[0] + 900, bucket_of(now_s) + 900)
            people, abandoned = max(total.people, rule.min_people), total.abandoned
        result.steps += 1
        result.steps_above += abandoned > rule.limit_ratio * people + 1e-9
        if people >= 500:
            result.worst_ratio = max(result.worst_ratio, abandoned / people)
        result.worst_excess = max(result.worst_excess, abandoned - rule.limit_ratio * people)
    result.windows.append((people, abandoned))
    return result


def _step(
    node: Node,
    guard: Guard | None,
    rule: Rule,
    world: Campaign,
    now_s: int,
    people_mean: float,
    jump: float,
    crowd: bool,
    sharers: int,
    random: np.random.Generator,
) -> tuple[int, int, bool]:
    """People and abandoned people of one node in one step, and whether its calls were started one to one."""
    ready = [entry for entry in node.late if entry[0] <= now_s - NODE_DELAY_STEPS * STEP_S]
    for at_s, people, abandoned in ready:
        node.ledger.add(at_s, people, abandoned)
    node.late = node.late[len(ready) :]
    aim, is_open = rule.limit_ratio, True
    if guard is not None:
        under_way = aim * people_mean
        state = guard.state(
            node.ledger, float(now_s), node.record, abandoned_under_way=under_way * sharers, sharers=sharers
        )
        if state.room.stop:
            return 0, 0, True
        aim = min(aim, state.room.pace_ratio)
        is_open = state.phase is Phase.OPEN and state.room.abandoned_allowed >= aim * people_mean
    if is_open:
        node.closed_steps = 0
        people = int(random.poisson(people_mean))
        chance = min(0.5, 0.97 * aim * world.bias * float(np.exp(node.log_aim)) * jump * float(random.gamma(2.0, 0.5)))
        abandoned = int(random.binomial(people, chance)) if people else 0
        # The pacing's own feedback: what it loses too much it makes up for.
        node.log_aim = float(np.clip(node.log_aim + FEEDBACK_GAIN * (0.97 * aim * people - abandoned), -3.0, 1.0))
    else:
        node.closed_steps += 1
        people = int(random.poisson(0.75 * people_mean))
        chance = world.one_to_one_loss
        if node.closed_steps <= SETTLING_STEPS:
            chance += aim * jump / node.closed_steps
        abandoned = int(random.binomial(people, min(chance, 0.5))) if people else 0
    if crowd and people:
        # Some of the agents leave at once: of the people who were to get them, those who answer get nobody.
        ringing = min(people, int(random.binomial(max(1, world.agents // (3 * sharers)), world.hit_ratio)))
        abandoned = min(people, abandoned + int(random.binomial(ringing, float(random.uniform(0.1, 0.8)))))
    if guard is not None and node.closed_steps > SETTLING_STEPS:
        lost = abandoned
        for _ in range(people):
            node.record.add(float(now_s), abandoned=lost > 0)
            lost -= 1
    return people, abandoned, not is_open


class _Counted:
    """A pacer whose people are entered in a ledger."""

    def __init__(self, pacer: Pacer, count: Callable[[int, int], None]) -> None:
        self.pacer = pacer
        self.answered, self.ended, self.person = pacer.answered, pacer.ended, pacer.person
        self.handled, self.decide = pacer.handled, pacer.decide
        self._count = count

    def bridged(self, wait_s: float) -> None:
        self._count(1, 0)
        self.pacer.bridged(wait_s)

    def abandoned(self) -> None:
        self._count(1, 1)
        self.pacer.abandoned()


def call_by_call(seed: int, guard: Guard | None, days: int) -> Outcome:
    """Shifts of an hour with the real pacing, which is told to lose twice what the rule allows.

    Half of the agents leave at once in mid-shift and come back; the hit rate jumps from 15 to 45 %. On every third day
    the daemon has lost all it knew but the ledger.
    """
    random = np.random.default_rng([seed, 3])
    agents = int(random.integers(8, 60))
    target = PacingTarget(Mode.PREDICTIVE, value=0.06, max_overdial_ratio=0.06)
    ledger, result, learnt = Ledger(), Outcome(), None
    for day in range(days):
        scenario = Scenario(
            "guarded",
            agents,
            hit_ratio=0.15,
            duration_s=3600.0,
            hit_steps=((float(random.uniform(0.2, 0.6)), 0.45),),
            staff=((0.0, 1.0), (float(random.uniform(0.3, 0.6)), 0.5), (0.8, 1.0)),
            crowd_s=5.0,
        )
        if day % 3 == 2:
            ledger, learnt = Ledger(ledger.buckets(), ledger.started_s), None
            result.restarts += 1
        pacer = Pacer(target) if learnt is None else Pacer.from_state(target, learnt)
        _shift(scenario, pacer, guard, ledger, START_S + day * DAY_S, 1000 * seed + day, result)
        learnt = pacer.state()
    result.windows.append((result.people, result.abandoned))
    return result


def _shift(
    scenario: Scenario, pacer: Pacer, guard: Guard | None, ledger: Ledger, begins_s: int, seed: int, result: Outcome
) -> None:
    limit_ratio = PRESETS["us-tsr"].limit_ratio

    def count(people: int, abandoned: int) -> None:
        ledger.add(begins_s + world.now_s, people, abandoned)
        result.people += people
        result.abandoned += abandoned
        above = result.abandoned - limit_ratio * result.people
        result.steps += 1
        result.steps_above += above > 1e-9
        result.worst_excess = max(result.worst_excess, above)
        if result.people >= 500:
            result.worst_ratio = max(result.worst_ratio, result.abandoned / result.people)

    def legal(now_s: float) -> LegalRoom:
        assert guard is not None
        return guard.state(ledger, begins_s + now_s).room

    def decided(_: int, __: GroupSnapshot, decision: DialDecision) -> None:
        result.node_steps += 1
        result.closed_steps += decision.because == "legal_guard"

    world = World(scenario, [_Counted(pacer, count)], seed, None if guard is None else legal, decided)
    world.run()


def table(name: str, guard: Guard, runs: Sequence[Callable[[Guard | None], Outcome]], out: list[str]) -> int:
    """Append the lines of one rule; returns how many windows ended above the limit with the guard on."""
    rule, bad = guard.rule, 0
    for label, used in (("on", guard), ("off", None)):
        found = [play(used) for play in runs]
        windows = [(people, lost) for outcome in found for people, lost in outcome.windows if people]
        above = sum(outcome.above(rule.limit_ratio) for outcome in found)
        campaigns_above = sum(outcome.above(rule.limit_ratio) > 0 for outcome in found)
        spent = [lost / (rule.limit_ratio * people) for people, lost in windows if rule.limit_ratio * people >= 10.0]
        steps = sum(outcome.steps for outcome in found)
        out.append(
            f"| {name} | {label} | {len(found)} | {len(windows)} | {campaigns_above} | "
            f"{max((lost / people for people, lost in windows), default=0.0):.3%} | "
            f"{max(outcome.worst_ratio for outcome in found):.3%} | "
            f"{sum(outcome.steps_above for outcome in found) / max(1, steps):.2%} | "
            f"{np.mean(spent) if spent else 0.0:.1%} | "
            f"{sum(o.closed_steps for o in found) / max(1, sum(o.node_steps for o in found)):.1%} | "
            f"{sum(outcome.restarts for outcome in found)} |"
        )
        bad += above if used is not None else 0
    return bad


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit code is 1 when a window under the guard ended above its limit."""
    parser = argparse.ArgumentParser(prog="python -m pacing.sim.guard_proof", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=200, help="of the 30-day rule; others get a tenth")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--call-by-call", type=int, default=4, help="campaigns with the real pacing, call by call")
    parser.add_argument("--days", type=int, default=8, help="of those")
    args = parser.parse_args(argv)
    began_s = time.process_time()
    lines = [
        "| rule | guard | campaigns | windows | campaigns that end a window above | worst window | worst at any step "
        "from 500 people on | steps above | budget used | one to one | restarts |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    seeds = range(args.first_seed, args.first_seed + args.campaigns)
    few = seeds[: -(-args.campaigns // 10)]

    def coarse(chosen: range, rule: Rule, *, attacked: bool = True) -> list[Callable[[Guard | None], Outcome]]:
        return [partial(run, campaign(seed, attacked=attacked), rule=rule) for seed in chosen]

    tsr, strict, daily = (PRESETS[name] for name in ("us-tsr", "strict-1", "uk-2010"))
    bad = 0
    if few:
        bad += table("us-tsr", Guard(tsr), coarse(seeds, tsr), lines)
        table("us-tsr, no attack", Guard(tsr), coarse(few, tsr, attacked=False), lines)
        table("strict-1", Guard(strict), coarse(few, strict), lines)
        table("uk-2010", Guard(daily), coarse(few, daily), lines)
    calls = [partial(call_by_call, seed, days=args.days) for seed in range(1, args.call_by_call + 1)]
    if calls:
        bad += table("us-tsr, call by call", Guard(tsr), calls, lines)
    sys.stdout.write("\n".join(lines) + f"\n\n{time.process_time() - began_s:.0f} CPU-seconds\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
