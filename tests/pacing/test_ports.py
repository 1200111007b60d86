"""Pacing by ports and calls per minute, and with agents engaged first."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from pacing.ports import (
    Engaged,
    Merge,
    PortPacer,
    PortSnapshot,
    PortTarget,
    as_engaged,
    engage,
    engage_one_to_one,
    merge,
    poisson_quantile,
    voice_launches,
)
from pacing.types import GroupSnapshot

EMPTY = PortSnapshot(now_s=0.0, ports=10, dialing=0, queued=0, served=0, records_ready=1000)


class Platform:
    """Ports whose calls end by chance; time in steps of 0.2 s."""

    def __init__(self, target: PortTarget, ports: int, seed: int, mean_s: float = 30.0) -> None:
        self.pacer, self.ports, self.mean_s = PortPacer(target), ports, mean_s
        self.draw = random.Random(seed)
        self.calls: list[float] = []
        self.now_s, self.port_s, self.started, self.most = 0.0, 0.0, 0, 0

    def run(self, seconds: float, records: int = 10**9) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.calls = [over_s for over_s in self.calls if over_s > self.now_s]
            decision = self.pacer.decide(
                PortSnapshot(self.now_s, self.ports, len(self.calls), 0, 0, records_ready=records)
            )
            for _ in range(decision.launch):
                self.calls.append(self.now_s + self.draw.expovariate(1.0 / self.mean_s))
            self.started += decision.launch
            self.most = max(self.most, len(self.calls))
            self.port_s += 0.2 * len(self.calls)
            self.now_s += 0.2


@pytest.mark.parametrize(("ports", "goal"), [(5, 0.5), (7, 0.33), (30, 0.8), (30, 1.0), (400, 0.905)])
def test_given_a_utilisation_when_calls_end_by_chance_then_it_is_held_over_time(ports, goal):
    platform = Platform(PortTarget(utilisation_ratio=goal), ports, seed=3)
    platform.run(600.0)

    assert platform.port_s / (600.0 * ports) == pytest.approx(goal, abs=0.01)
    assert platform.most <= math.ceil(goal * ports)


def test_given_a_pause_without_records_when_there_are_some_again_then_no_more_ports_than_the_goal_are_used():
    platform = Platform(PortTarget(utilisation_ratio=0.5), 20, seed=1)
    platform.run(60.0)
    platform.run(120.0, records=0)
    platform.run(60.0)

    assert platform.most <= 10


@pytest.mark.parametrize("per_minute", [1.0, 7.5, 60.0, 1200.0])
def test_given_calls_per_minute_when_asked_at_any_rhythm_then_they_are_started_evenly(per_minute):
    platform = Platform(PortTarget(calls_per_minute=per_minute), 10**6, seed=1)
    platform.run(600.0)

    assert platform.started == pytest.approx(10.0 * per_minute, abs=max(1.5, 0.01 * per_minute))


@pytest.mark.parametrize("rhythm_s", [0.2, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("per_minute", [20.0, 45.0, 60.0, 75.0, 300.0])
def test_given_a_rhythm_that_does_not_fit_the_rate_when_asked_then_no_start_is_lost(per_minute, rhythm_s):
    pacer = PortPacer(PortTarget(calls_per_minute=per_minute))

    started = sum(
        pacer.decide(replace(EMPTY, ports=1000, records_ready=1000, now_s=step * rhythm_s)).launch
        for step in range(int(600.0 / rhythm_s) + 1)
    )

    assert started == pytest.approx(10.0 * per_minute, abs=2.0)


def test_given_a_pause_when_calls_per_minute_go_on_then_there_is_no_burst():
    pacer = PortPacer(PortTarget(calls_per_minute=120.0))
    pacer.decide(EMPTY)

    assert pacer.decide(replace(EMPTY, now_s=3600.0)).launch == 2


@pytest.mark.parametrize(
    ("target", "changes", "launch", "because"),
    [
        (PortTarget(0.8), {}, 8, "utilisation"),
        (PortTarget(0.8), {"served": 3, "dialing": 2}, 3, "utilisation"),
        (PortTarget(0.8), {"served": 9}, 0, "utilisation"),
        (PortTarget(0.8), {"records_ready": 2}, 2, "records"),
        (PortTarget(0.8), {"starts_allowed": 1}, 1, "start_rate"),
        (PortTarget(1.0, max_queue=4), {"dialing": 1, "queued": 2}, 1, "queue"),
        (PortTarget(1.0, max_queue=4), {"queued": 7}, 0, "queue"),
        (PortTarget(1.0, calls_per_minute=60.0), {}, 1, "calls_per_minute"),
        (PortTarget(calls_per_minute=60.0), {"served": 10}, 0, "ports"),
        (PortTarget(0.8), {"ports": 0}, 0, "ports"),
    ],
)
def test_given_bounds_when_decided_then_the_tightest_binds_and_is_named(target, changes, launch, because):
    decision = PortPacer(target).decide(replace(EMPTY, **changes))

    assert (decision.launch, decision.because) == (launch, because)


@given(
    st.floats(0.01, 1.0),
    st.one_of(st.none(), st.floats(0.1, 10_000.0)),
    st.one_of(st.none(), st.integers(0, 50)),
    st.lists(st.tuples(st.floats(0.0, 20.0), *(st.integers(0, 40) for _ in range(5))), max_size=30),
)
def test_given_any_course_when_decided_then_no_bound_is_passed(ratio, per_minute, max_queue, course):
    pacer, now_s = PortPacer(PortTarget(ratio, per_minute, max_queue)), 0.0
    for pause_s, ports, dialing, queued, served, records in course:
        now_s += pause_s
        snapshot = PortSnapshot(now_s, ports, dialing, queued, served, records)
        launch = pacer.decide(snapshot).launch
        assert 0 <= launch <= records
        if launch:
            assert snapshot.in_use + launch <= math.ceil(ratio * ports)
            assert max_queue is None or dialing + queued + launch <= max_queue
            assert per_minute is None or launch <= max(1.0, per_minute / 60.0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "must be given"),
        ({"utilisation_ratio": 0.0}, "utilisation_ratio"),
        ({"utilisation_ratio": 1.1}, "utilisation_ratio"),
        ({"calls_per_minute": 0.0}, "calls_per_minute"),
        ({"utilisation_ratio": 0.5, "max_queue": -1}, "max_queue"),
    ],
)
def test_given_a_goal_that_is_none_when_made_then_it_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        PortTarget(**wrong)


@pytest.mark.parametrize(
    ("free", "queued", "dialing", "lines", "ports", "launch"),
    [
        (4, 0, 1, 0.7, 99, 1),
        (10, 0, 0, 0.7, 99, 7),
        (10, 2, 3, 1.0, 99, 5),
        (10, 0, 0, 2.0, 5, 5),
        (1, 3, 0, 1.0, 9, 0),
    ],
)
def test_given_voice_ports_when_dialed_for_then_the_published_formula_holds(
    free, queued, dialing, lines, ports, launch
):
    assert voice_launches(free, queued, dialing, lines, ports) == launch


@given(st.integers(0, 200), st.integers(0, 50), st.integers(0, 300), st.floats(0.1, 1.0))
def test_given_at_most_one_line_per_port_when_all_answer_then_each_finds_a_voice_port(free, queued, dialing, lines):
    launch = voice_launches(free, queued, dialing, lines, 10**6)

    assert launch == 0 or launch + dialing + queued <= free


# --- seizing -------------------------------------------------------------------------------------------------------


def group(ready: int, **more) -> GroupSnapshot:
    return GroupSnapshot(
        now_s=0.0,
        agents_idle_s=(5.0,) * ready,
        agents_talking_s=(60.0,),
        agents_wrapping_s=(),
        attempts_age_s=(3.0,),
        analysing_age_s=(),
        people_waiting=0,
        ports_free=50,
        records_ready=50,
        **more,
    )


def test_given_engaged_agents_when_the_pacer_looks_then_they_are_idle_and_the_others_come_after_their_phone():
    seen = as_engaged(
        group(5, agents_kept_back=1, agents_leaving=2, agents_ready_in_s=(9.0,)),
        Engaged(engaged_s=(1.0, 8.0), engaging_s=(0.5, 6.0), channels_free=9, engage_takes_s=2.0),
    )

    assert seen.agents_idle_s == (1.0, 8.0)
    assert seen.agents_ready_in_s == (9.0, 1.5, 0.0, 2.0, 2.0)
    assert (seen.agents_kept_back, seen.agents_talking_s) == (0, (60.0,))


@given(
    st.integers(0, 30), st.integers(0, 5), st.integers(0, 5), st.integers(0, 10), st.integers(0, 10),
    st.integers(0, 20), st.floats(0.0, 40.0),
)  # fmt: skip
def test_given_any_group_when_agents_are_engaged_then_only_ready_ones_and_no_more_than_people_may_come(
    ready, kept, leaving, engaged, engaging, channels, people
):
    state = Engaged((1.0,) * engaged, (1.0,) * engaging, channels)
    seen = group(ready, agents_kept_back=min(kept, ready), agents_leaving=min(leaving, ready))

    called = engage(seen, state, people, risk=0.05)

    assert 0 <= called <= min(engage_one_to_one(seen, state), channels, ready)
    if called:
        assert poisson.cdf(engaged + engaging + called - 1, people) < 0.95
    elif engage_one_to_one(seen, state):  # nobody is called although somebody could be: enough are engaged
        assert poisson.cdf(engaged + engaging, people) >= 0.95 - 1e-9


@given(st.floats(0.0, 499.0), st.floats(0.5, 0.999))
def test_given_a_mean_when_a_quantile_is_asked_then_it_is_scipys(mean, probability):
    assert abs(poisson_quantile(mean, probability) - poisson.ppf(probability, mean)) <= 1e-6 or (
        poisson.cdf(poisson_quantile(mean, probability), mean) == pytest.approx(probability, abs=1e-9)
    )


@pytest.mark.parametrize(("mean", "probability"), [(501.0, 0.99), (5000.0, 0.9), (5000.0, 0.01)])
def test_given_a_large_mean_when_a_quantile_is_asked_then_it_is_within_two(mean, probability):
    assert poisson_quantile(mean, probability) == pytest.approx(poisson.ppf(probability, mean), abs=2)


def test_given_people_and_engaged_agents_when_merged_then_the_longest_waiting_go_first_and_the_late_are_overdialed():
    assert merge((0.1, 1.5, 2.3, 0.7), 2, 2.0) == (Merge.WAITS, Merge.MERGED, Merge.OVERDIALED, Merge.MERGED)


@given(st.lists(st.floats(0.0, 4.0), max_size=20), st.integers(0, 20))
def test_given_any_people_when_merged_then_no_agent_is_used_twice_and_nobody_waits_beside_an_engaged_one(
    waited, agents
):
    outcome = merge(tuple(waited), agents, 2.0)

    merged = outcome.count(Merge.MERGED)
    assert merged == min(agents, sum(seconds <= 2.0 for seconds in waited))
    assert all((one is Merge.OVERDIALED) == (seconds > 2.0) for one, seconds in zip(outcome, waited, strict=True))
    assert min((s for s, one in zip(waited, outcome, strict=True) if one is Merge.MERGED), default=9.9) >= max(
        (s for s, one in zip(waited, outcome, strict=True) if one is Merge.WAITS), default=0.0
    )
