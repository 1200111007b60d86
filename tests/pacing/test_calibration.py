import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacing import DialDecision, GroupSnapshot
from pacing.calibration import QUANTITIES, SETTLE_S, Calibrator, Sample, calibration, samples
from pacing.journal import Abridged, Decided, Lost, Told
from tests.pacing.journal_world import recorded

HORIZON_S = 10.0


def decided(now_s, **expected):
    snapshot = GroupSnapshot(now_s, (), (), (), (), (), 0, 9, 9)
    inputs = {f"expected_{name}": value for name, value in expected.items()} | {"horizon_s": HORIZON_S}
    return Decided(1, snapshot, DialDecision(1, "risk", 0.0, inputs))


def quiet(now_s):
    return Decided(1, decided(now_s).snapshot, Abridged(0, "risk", ""))


def actual(*entries):
    """What the first sample came to."""
    last_s = max(entry.snapshot.now_s for entry in entries if isinstance(entry, Decided))
    return samples([*entries, quiet(last_s + HORIZON_S + SETTLE_S + 1.0)])[0].actual


FIRST = decided(100.0, people=2.0, abandoned=0.1, freed=3.0)


def test_given_calls_under_way_when_people_come_within_the_horizon_then_they_count_and_later_calls_do_not():
    found = actual(
        FIRST,
        quiet(104.0),
        Told("answered", (6.0,)),  # launched at 98
        Told("answered", (2.0,)),  # at 102: by a later decision
        quiet(105.0),
        Told("person", (1.0,)),
        Told("bridged", (0.0,)),
        Told("person", (1.0,)),
        quiet(109.0),
        Told("answered", (9.01,)),  # at 99.99
        quiet(112.0),
        Told("person", (3.0,)),  # after the horizon
    )

    assert found == {"people": 1, "abandoned": 0, "freed": 0}


def test_given_people_without_an_agent_when_they_are_gone_then_they_are_told_from_those_who_were_served():
    found = actual(
        FIRST,
        quiet(103.0),
        Told("answered", (5.0,)),
        Told("answered", (5.0,)),
        quiet(104.0),
        Told("person", (1.0,)),
        Told("person", (1.0,)),
        Told("bridged", (0.0,)),
        quiet(106.0),
        Told("abandoned", ()),
    )

    assert found == {"people": 2, "abandoned": 1, "freed": 0}


def test_given_people_who_wait_already_when_they_go_then_they_are_abandoned_but_no_new_people():
    found = actual(
        quiet(98.0), Told("answered", (5.0,)), Told("person", (0.5,)), FIRST, quiet(101.0), Told("abandoned", ())
    )

    assert found == {"people": 0, "abandoned": 1, "freed": 0}


def test_given_machines_when_analysis_has_told_them_then_no_person_is_taken_for_one_of_them():
    found = actual(
        quiet(99.0),
        Told("person", (0.5,)),
        FIRST,
        quiet(103.0),
        Told("answered", (5.0,)),
        quiet(103.5),
        Told("answered", (1.0,)),
        quiet(105.0),
        Told("ended", (7.0, "machine", 2.0)),
        Told("person", (1.5,)),
    )

    assert found["people"] == 0  # of the two answers the older was the machine's, the younger call came later


def test_given_no_analysis_when_people_are_served_at_once_then_they_are_people():
    found = actual(
        FIRST, quiet(103.0), Told("answered", (5.0,)), quiet(103.2), Told("bridged", (0.2,)), quiet(104.0),
        Told("answered", (5.0,)), quiet(106.0), Told("abandoned", ()),
    )  # fmt: skip

    assert found == {"people": 2, "abandoned": 1, "freed": 0}


def test_given_agents_who_come_free_when_they_were_busy_at_the_decision_then_they_count():
    found = actual(
        FIRST,
        quiet(104.0),
        Told("handled", (20.0, 5.0)),
        Told("handled", (2.0, 1.0)),  # began after the decision
        quiet(111.0),
        Told("handled", (20.0, 5.0)),  # after the horizon
    )

    assert found["freed"] == 1


def test_given_decisions_in_a_row_when_sampled_then_they_are_a_horizon_apart_and_a_gap_ends_them():
    row = [decided(100.0 + 0.5 * step, people=1.0) for step in range(100)]
    assert [sample.at_s for sample in samples(row)] == [100.0, 110.0, 120.0, 130.0]
    assert samples([*row[:10], Lost(5), *row[10:20]]) == []

    calibrator = Calibrator(keep=2)
    for entry in row:
        calibrator.take(entry)
    assert [sample.at_s for sample in calibrator.samples] == [120.0, 130.0]
    assert samples([Decided(1, FIRST.snapshot, DialDecision(1, "progressive", 0.0, {})), quiet(150.0)]) == []


def test_given_a_group_in_a_steady_world_when_predicted_then_as_many_people_come_as_expected():
    entries, group = recorded(30, 1500.0, seed=3)
    found = calibration(samples(entries), "people")

    assert group.people > 400
    assert found.samples > 45
    assert abs(found.ratio - 1.0) < 3.0 * found.ratio_error
    assert found.ratio_error < 0.1
    assert found.covered_ratio > 0.9
    lost = calibration(samples(entries), "abandoned")
    assert lost.actual >= 5
    assert 0.5 < lost.ratio < 2.0  # 1.3 in long runs; a prediction of the worst instant alone gives 2.8


@pytest.mark.parametrize("bias", [0.5, 1.0, 2.0])
def test_given_a_known_bias_when_calibrated_then_it_is_found(bias):
    random = np.random.default_rng(5)
    expected = random.uniform(1.0, 20.0, 400)
    drawn = random.poisson(bias * expected)
    found = calibration(
        [Sample(0.0, 28.0, {"people": e}, {"people": int(a)}) for e, a in zip(expected, drawn, strict=True)], "people"
    )

    assert abs(found.ratio - bias) < 4.0 * found.ratio_error
    assert (found.covered_ratio > 0.85) == (bias == 1.0)
    assert [point.samples for point in found.points] == [50] * 8
    assert [point.expected for point in found.points] == sorted(point.expected for point in found.points)
    assert sum(abs(p.actual - bias * p.expected) < 1.5 * p.half_width for p in found.points) >= 7


@settings(max_examples=50, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(0.0, 50.0), st.integers(0, 60)), max_size=40),
    quantity=st.sampled_from(QUANTITIES),
)
def test_given_any_samples_when_calibrated_then_totals_and_ranges_hold(pairs, quantity):
    found = calibration([Sample(0.0, 28.0, {quantity: e}, {quantity: a}) for e, a in pairs], quantity)

    assert found.samples == len(pairs) == sum(point.samples for point in found.points)
    assert found.actual == sum(a for _, a in pairs)
    assert math.isclose(found.expected, math.fsum(e for e, _ in pairs), abs_tol=1e-9)
    assert (found.ratio is None) == (found.expected == 0.0)
    assert found.covered_ratio is None if not pairs else 0.0 <= found.covered_ratio <= 1.0
