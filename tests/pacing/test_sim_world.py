"""The simulated world: what chance does, who works when, and that nobody gets lost in it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pacing.pacer import Outcome
from pacing.sim import SCENARIOS, Scenario, Shape, Spread, random_scenario, scenario_named, simulate_policy
from pacing.sim.baselines import FixedRatio, Progressive
from pacing.sim.draws import CallDraws, HitRatios
from pacing.sim.engine import World
from pacing.sim.scenarios import TABLE_NAMES

BASE = Scenario("base", 12, duration_s=1800.0)


class Counting(FixedRatio):
    """Two calls per ready agent, every event counted."""

    def __init__(self):
        super().__init__(2.0)
        self.told = dict.fromkeys(("answered", "ended", "dropped", "person", "bridged", "abandoned", "handled"), 0)
        self.launched = 0

    def answered(self, age_s):
        assert age_s > 0.0
        self.told["answered"] += 1

    def ended(self, age_s, outcome, after_answer_s=None):
        assert age_s > 0.0
        assert (outcome is Outcome.MACHINE) == (after_answer_s is not None)
        self.told["ended" if after_answer_s is None else "dropped"] += 1

    def person(self, delay_s):
        self.told["person"] += 1

    def bridged(self, wait_s):
        self.told["bridged"] += 1

    def abandoned(self):
        self.told["abandoned"] += 1

    def handled(self, talk_s, wrap_up_s):
        self.told["handled"] += 1

    def decide(self, snapshot):
        decision = super().decide(snapshot)
        self.launched += decision.launch
        return decision


@pytest.mark.parametrize("spread", [
    Spread(150.0, 0.8),
    Spread(40.0, 2.0, Shape.GAMMA),
    Spread(2.75, 0.26, Shape.UNIFORM),
    Spread(150.0, 0.6, Shape.PARETO),
])  # fmt: skip
def test_given_a_spread_when_drawn_then_its_mean_and_variation(spread):
    drawn = spread.draw(np.random.default_rng(1), 400_000)

    assert drawn.mean() == pytest.approx(spread.mean_s, rel=0.02)
    assert drawn.std() / drawn.mean() == pytest.approx(spread.cv, rel=0.15)
    assert drawn.min() > 0.0


def test_given_no_variation_when_drawn_then_the_mean():
    assert set(Spread(3.0, 0.0).draw(np.random.default_rng(1), 5)) == {3.0}


def test_given_one_seed_when_calls_are_drawn_in_any_order_then_the_same_calls():
    first, second = CallDraws(BASE, 3, 0), CallDraws(BASE, 3, 0)

    late = second[5000]
    assert [first[number] for number in (0, 1024, 5000)] == [second[0], second[1024], late]
    assert CallDraws(BASE, 4, 0)[0] != first[0]
    assert CallDraws(BASE, 3, 1)[0] != first[0]


def test_given_a_hit_ratio_that_walks_when_looked_at_then_its_logit_has_the_deviation_and_the_mean():
    ratios = HitRatios(replace(BASE, hit_walk=(0.5, 300.0), duration_s=4e6), 1, 0)

    logits = [np.log(p / (1.0 - p)) for p in (ratios.at(at_s, 0) for at_s in range(0, 4_000_000, 100))]
    assert np.std(logits) == pytest.approx(0.5, rel=0.05)
    assert np.mean(logits) == pytest.approx(np.log(0.3 / 0.7), abs=0.03)


def test_given_batches_when_looked_at_then_records_of_one_share_their_ratio():
    ratios = HitRatios(replace(BASE, hit_batches=(250, 0.6)), 1, 0)

    assert ratios.at(0.0, 0) == ratios.at(0.0, 249)
    assert len({ratios.at(0.0, number) for number in range(0, 5000, 250)}) == 20


def test_given_a_step_when_looked_at_then_before_and_after():
    ratios = HitRatios(replace(BASE, hit_steps=((0.5, 0.45),)), 1, 0)

    assert ratios.at(899.0, 0) == pytest.approx(0.30)
    assert ratios.at(901.0, 0) == pytest.approx(0.45)


@given(st.integers(1, 10_000))
@hypothesis_settings(deadline=None, max_examples=25)
def test_given_any_world_when_run_then_nobody_is_lost_and_no_agent_is_in_two_places(number):
    scenario = replace(random_scenario(number), duration_s=400.0, break_every_s=120.0, break_s=60.0)
    policies = [Counting() for _ in scenario.group_hits or (0,)]
    world = World(scenario, policies, seed=number, decided=lambda group, seen, decision: check(seen))

    def check(seen):
        agents = [*(agent for agent, _ in world.idle), *world.talking, *world.wrapping, *world.hinted]
        assert len(set(agents)) == len(agents) <= scenario.agents
        assert all(world.on_duty[agent] and not world.on_break[agent] for agent in agents)
        assert not (seen.people_waiting and len(seen.agents_idle_s) > scenario.kept_back)
        for ages in (seen.agents_idle_s, seen.agents_talking_s, seen.attempts_age_s, seen.analysing_age_s):
            assert all(age_s >= 0.0 for age_s in ages)
        assert seen.ports_free >= 0

    result = world.run()
    told, policy = policies[0].told, policies[0]
    assert policy.launched == result.attempts == told["answered"] + told["ended"]
    assert told["bridged"] + told["abandoned"] == result.people
    assert told["abandoned"] == result.abandoned
    if scenario.analysed:
        assert told["answered"] == told["person"] + told["dropped"]
        assert told["person"] == result.people
    else:
        assert told["answered"] == result.people
    staffed_s = sum(m.staffed_agent_s for m in result.minutes)
    assert 0.0 <= sum(m.busy_agent_s for m in result.minutes) <= staffed_s + 1e-6
    assert staffed_s <= scenario.agents * scenario.duration_s + 1e-6


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_given_every_named_world_when_run_for_minutes_then_people_are_served(name):
    scenario = SCENARIOS[name]
    short = replace(scenario, agents=min(scenario.agents, 60), duration_s=300.0)

    result = simulate_policy(short, lambda _: Progressive(), 1)
    assert result.people > result.abandoned
    assert 0.0 < result.busy_ratio < 1.0
    assert scenario_named(name) is scenario


def test_given_a_day_in_shifts_when_run_then_staff_as_planned():
    scenario = replace(BASE, agents=20, staff=((0.0, 0.5), (0.5, 1.0)), duration_s=1200.0)

    minutes = simulate_policy(scenario, lambda _: Progressive(), 1).minutes
    assert minutes[5].staffed_agent_s == pytest.approx(10 * 60.0)
    assert minutes[15].staffed_agent_s == pytest.approx(20 * 60.0)


def test_given_half_leave_when_run_then_they_finish_their_call_first():
    scenario = replace(BASE, agents=20, staff=((0.0, 1.0), (0.5, 0.5)), duration_s=1800.0)

    minutes = simulate_policy(scenario, lambda _: Progressive(), 1).minutes
    assert minutes[14].staffed_agent_s == pytest.approx(20 * 60.0)
    assert 10 * 60.0 < minutes[15].staffed_agent_s < 20 * 60.0
    assert minutes[-1].staffed_agent_s < 11 * 60.0


def test_given_notice_when_agents_are_about_to_leave_then_the_snapshot_tells():
    scenario = replace(BASE, agents=20, staff=((0.0, 1.0), (0.5, 0.5)), notice_s=60.0, duration_s=1800.0)
    leaving = {}

    simulate_policy(
        scenario,
        lambda _: Progressive(),
        1,
        decided=lambda g, seen, d: leaving.update({seen.now_s: seen.agents_leaving}),
    )
    assert max(leaving[at_s] for at_s in np.arange(841.0, 899.0)) > 0
    assert leaving[800.0] == 0
    assert leaving[1799.0] == 0


def test_given_a_list_that_runs_out_when_run_then_idle_agents_count_no_more():
    scenario = replace(BASE, records=100, duration_s=3600.0)

    result = simulate_policy(scenario, lambda _: Progressive(), 1)
    assert result.attempts == 100
    assert len(result.minutes) < 40
    assert result.busy_ratio > 0.4


def test_given_few_lines_and_starts_when_run_then_neither_is_passed():
    scenario = replace(BASE, ports=8, starts_per_s=0.25)
    policy = Counting()
    in_use = []

    result = simulate_policy(
        scenario,
        lambda _: policy,
        1,
        decided=lambda g, seen, d: in_use.append(
            len(seen.attempts_age_s) + len(seen.agents_talking_s) + seen.people_waiting + d.launch
        ),
    )
    assert max(in_use) <= 8
    assert result.attempts <= 0.25 * 1800.0 + 1


def test_given_inbound_calls_when_run_then_they_are_served_first():
    scenario = replace(BASE, inbound_per_s=0.03)

    result = simulate_policy(scenario, lambda _: Progressive(), 1)
    assert 0.0 < result.inbound_wait_s < 60.0
    alone = simulate_policy(BASE, lambda _: Progressive(), 1)
    assert result.busy_ratio > alone.busy_ratio
    assert result.people < alone.people


def test_given_hints_when_run_then_agents_are_in_no_two_tuples():
    scenario = replace(BASE, hint_ratio=1.0)
    hinted = []

    simulate_policy(
        scenario,
        lambda _: Progressive(),
        1,
        decided=lambda g, seen, d: hinted.append((len(seen.agents_ready_in_s), len(seen.agents_wrapping_s))),
    )
    assert max(count for count, _ in hinted) > 0
    assert {count for _, count in hinted} == {0}


def test_given_groups_that_share_agents_when_run_then_each_sees_its_part():
    scenario = replace(BASE, group_hits=(0.1, 0.4), duration_s=600.0)
    seen_of = {0: 0, 1: 0}

    result = simulate_policy(
        scenario, lambda _: Progressive(), 1, decided=lambda g, seen, d: seen_of.update({g: seen_of[g] + d.launch})
    )
    assert seen_of[0] + seen_of[1] == result.attempts
    assert min(seen_of.values()) > 0


def test_given_two_policies_when_run_then_the_same_calls_meet_them():
    outcomes = {}
    for calls_per_agent in (1.0, 3.0):
        world = World(BASE, [FixedRatio(calls_per_agent)], seed=7)
        world.run()
        outcomes[calls_per_agent] = [world.outcome(world.groups[0], number, 0.0).rings_until_s for number in range(200)]

    assert outcomes[1.0] == outcomes[3.0]
