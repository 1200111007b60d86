import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacing import Mode, Pacer, PacingTarget
from pacing.progressive import one_to_one_launches, progressive_launches
from tests.pacing.worlds import snapshot, snapshots


def test_given_the_published_example_when_progressive_then_one_call():
    assert progressive_launches(snapshot(idle=4, ringing=[3.0]), 0.7) == 1


@pytest.mark.parametrize(
    ("multiplier", "ready", "queued", "dialed", "expected"),
    [
        (1.0, 5, 0, 0, 5),
        (1.0, 5, 1, 2, 2),
        (2.0, 5, 0, 3, 6),
        (1.5, 4, 0, 1, 4),
        (0.7, 10, 0, 0, 7),
        (0.3, 10, 0, 3, 0),
    ],
)
def test_given_counts_when_progressive_then_the_formula_without_binary_rounding(
    multiplier, ready, queued, dialed, expected
):
    group = snapshot(idle=ready, waiting=queued, ringing=[1.0] * dialed)

    assert progressive_launches(group, multiplier) == expected


@given(snapshots(), st.sampled_from([0.5, 1.0, 1.25, 1.5, 2.0, 3.0]))
def test_given_any_group_when_progressive_mode_then_decision_is_formula_within_bounds(group, multiplier):
    decision = Pacer(PacingTarget(Mode.PROGRESSIVE, lines_per_agent=multiplier)).decide(group)

    dialed = len(group.attempts_age_s) + len(group.analysing_age_s)
    free = len(group.agents_idle_s) - group.people_waiting - math.ceil(dialed / multiplier)
    rooms = (group.ports_free, group.records_ready, group.starts_allowed)
    assert decision.launch == min(max(0, math.floor(multiplier * free)), *rooms)


@given(snapshots())
def test_given_any_group_when_one_to_one_then_never_more_calls_than_agents(group):
    launches = one_to_one_launches(group)

    outstanding = len(group.attempts_age_s) + len(group.analysing_age_s) + group.people_waiting
    assert launches == max(0, len(group.agents_idle_s) - outstanding)


def test_given_no_lines_per_agent_when_progressive_then_refused():
    with pytest.raises(ValueError, match="lines_per_agent"):
        progressive_launches(snapshot(idle=1), 0.0)
