"""What the engine is measured against: each baseline does what its name says, the floor's arithmetic is right."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pacing.sim import Scenario, simulate_policy
from pacing.sim.baselines import AdaptiveLevel, Erlang, ExpectedValue, HitRatioByCohort, erlang_c
from pacing.sim.contenders import CONTENDERS
from pacing.sim.mpc import HORIZON, _Exact, _Normal, _Residual
from tests.pacing.worlds import snapshot, snapshots

HOUR = Scenario("hour", 20, duration_s=3600.0)


def _run(name, scenario=HOUR, knob=None, seed=1):
    contender = CONTENDERS[name]
    at = sum(contender.knob) / 2.0 if knob is None and contender.knob else knob or 0.0
    return simulate_policy(scenario, lambda found: contender.make(found, at), seed)


@pytest.mark.parametrize("name", [name for name in CONTENDERS if name != "ceiling"])
@given(seen=snapshots())
@hypothesis_settings(deadline=None, max_examples=20)
def test_given_any_group_when_asked_then_no_more_than_ports_records_and_starts(name, seen):
    policy = CONTENDERS[name].make(HOUR, 1.0)

    launch = policy.decide(seen).launch
    assert 0 <= launch <= min(seen.ports_free, seen.records_ready, seen.starts_allowed)


def test_given_one_call_per_agent_when_run_then_nobody_is_abandoned():
    assert _run("progressive").abandoned == 0


@pytest.mark.parametrize("name", [name for name, contender in CONTENDERS.items() if contender.knob])
def test_given_a_bolder_knob_when_run_then_busier_and_more_abandoned(name):
    low, high = CONTENDERS[name].knob
    careful, bold = (_run(name, knob=low + share * (high - low)) for share in (0.02, 0.98))

    assert bold.busy_ratio > careful.busy_ratio
    assert bold.abandoned_ratio > careful.abandoned_ratio


def test_given_the_floor_when_run_then_busier_than_one_to_one_near_its_set_point():
    floor, careful = (
        _run("mpc", replace(HOUR, duration_s=7200.0)),
        _run("progressive", replace(HOUR, duration_s=7200.0)),
    )

    assert floor.busy_ratio > careful.busy_ratio + 0.1
    assert floor.abandoned_ratio == pytest.approx(0.029, abs=0.008)


def test_given_a_clairvoyant_when_run_then_nearly_always_busy_and_nobody_abandoned():
    found = _run("ceiling")

    assert found.abandoned == 0
    assert found.busy_ratio > 0.98


def test_given_a_clairvoyant_with_analysis_and_inbound_calls_when_run_then_still_a_ceiling():
    scenario = replace(HOUR, analysed=True, connect_s=0.3, person_lost_ratio=0.05, machine_passed_ratio=0.1)

    assert _run("ceiling", scenario).abandoned == 0
    assert _run("ceiling", scenario).busy_ratio > _run("mpc", scenario).busy_ratio


@pytest.mark.parametrize(
    ("servers", "load", "waits"), [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (10, 8.0, 0.4092), (5, 5.0, 1.0)]
)
def test_given_erlangs_formula_when_computed_then_known_values(servers, load, waits):
    assert erlang_c(servers, load) == pytest.approx(waits, abs=1e-4)


def test_given_a_limit_on_late_people_when_erlang_finds_its_rate_then_the_formula_holds_there():
    rate = Erlang(0.05, 2.0)._people_per_s(20, 180.0)

    late = erlang_c(20, rate * 180.0) * np.exp(-(20 / 180.0 - rate) * 2.0)
    assert late == pytest.approx(0.05, abs=1e-3)


def test_given_idle_agents_when_fifteen_seconds_pass_then_the_level_grows_by_their_share():
    policy = AdaptiveLevel(0.0, 4 * 3600.0)

    launches = [policy.decide(snapshot(float(now_s), idle=4, talking=(9.0,) * 6)).launch for now_s in range(16)]
    assert launches[:15] == [4] * 15
    assert launches[15] == 5  # floor of 1.4 x 4


def test_given_too_many_dropped_when_the_level_adapts_then_it_is_tapered_to_one():
    policy = AdaptiveLevel(0.0, 4 * 3600.0)
    for _ in range(60):
        policy.bridged(0.0)
    for _ in range(40):
        policy.abandoned()

    for now_s in range(60):
        last = policy.decide(snapshot(float(now_s), idle=4, talking=(9.0,) * 6)).launch
    assert last == 4


def test_given_expectations_when_asked_then_the_expected_people_match_the_agents():
    policy = ExpectedValue(1.0)
    for now_s in range(600):
        policy.decide(snapshot(float(now_s)))
        policy.answered(10.0) if now_s % 2 else policy.ended(10.0, None)
    assert policy.decide(snapshot(700.0, idle=10)).launch == 20  # every second call is answered


def test_given_outcomes_when_they_come_early_then_they_count_a_lag_after_the_launch():
    hits = HitRatioByCohort()
    for _ in range(100):
        hits.add(True, 5.0, 5.0)

    hits.advance(31.9)
    assert hits.total == 0
    hits.advance(32.1)
    assert hits.total == 100
    assert hits.ratio > 0.9


def test_given_a_jump_when_the_averages_differ_beyond_chance_then_the_fast_one_is_taken():
    hits = HitRatioByCohort()
    random = np.random.default_rng(1)
    for number in range(3000):
        hits.add(bool(random.random() < (0.2 if number < 2600 else 0.6)), float(number), 32.0)
    hits.advance(1e9)
    assert hits.ratio == pytest.approx(0.6, abs=0.06)


@given(st.integers(0, 2), st.lists(st.floats(0, 1), min_size=1, max_size=5), st.lists(st.floats(0, 1), max_size=4))
@hypothesis_settings(deadline=None, max_examples=40)
def test_given_few_agents_and_calls_when_exact_then_as_by_counting_every_case(spare, agents, needs):
    def rows(values):
        return np.repeat(np.array(values, dtype=float).reshape(-1, 1), HORIZON + 1, axis=1)

    fresh = np.full(HORIZON + 1, 0.3)
    short = _Exact(spare, rows(agents), rows(needs), fresh).after(0, 3)
    for launched in range(3):
        expected = 0.0
        chances = [*agents, *needs, *[0.3] * launched]
        for case in product((0, 1), repeat=len(chances)):
            chance = np.prod([p if hit else 1.0 - p for p, hit in zip(chances, case, strict=True)])
            if spare + sum(case[: len(agents)]) - sum(case[len(agents) :]) <= 0:
                expected += chance
        assert short[launched] == pytest.approx(expected, abs=1e-9)


def test_given_many_agents_and_calls_when_normal_then_near_the_exact_law():
    random = np.random.default_rng(3)
    agents, needs = random.uniform(0.0, 0.6, (40, HORIZON + 1)), random.uniform(0.0, 0.5, (40, HORIZON + 1))
    fresh = np.full(HORIZON + 1, 0.3)

    exact = _Exact(2, agents, needs, fresh).after(0, 4)
    normal = _Normal(2, agents, needs, fresh, needs.sum(axis=0), 0.0).after(0, 4)
    assert np.abs(exact - normal).max() < 0.005
    unsure = _Normal(2, agents, needs, fresh, needs.sum(axis=0), 0.3).after(0, 4)
    assert (unsure[exact < 0.4] >= normal[exact < 0.4]).all()


def test_given_pairs_when_the_residual_life_is_looked_up_then_only_those_who_lasted_so_long():
    residual = _Residual(np.array([10.0, 20.0, 30.0, 40.0] * 100), np.full(400, 5.0), patience=0)

    rows = residual.rows(np.array([0.0, 20.0]))
    assert rows[0, 14] < 0.02
    assert rows[0, 15] == pytest.approx(0.25, abs=0.01)
    assert rows[0, 25] == pytest.approx(0.50, abs=0.01)
    assert rows[1, 15] == pytest.approx(0.50, abs=0.01)  # of those beyond 20 s half end at 30 and wrap up 5
