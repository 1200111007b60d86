"""Options of the pacing: what must fit together, and what becomes of them in a campaign group's target."""

import pytest

from ocsd.model.enums import DialMode, OptimizeBy
from ocsd.sessions.group import DialSettings
from ocsd.sessions.planner import Planner
from pacing import Algorithm, Goal, Mode, PacingTarget
from tests.ocsd.test_config_loader import VALID, problems_of, problems_or_none, read

ALL = (
    'predictive_algorithm = "advanced_small_group", small_group_size = 12, history_length = "80", '
    "predictive_min_overdial_rate = 0.5, predictive_min_overdial_rate_calls = 200, predictive_hard_limits = true, "
    "predictive-least-ring = 18, progressive_blending_reserved_agents = 2, max_overdial_rate = 4, "
    "progressive_dial_factor = 1.5"
)
ODR = DialSettings(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 3)


def with_options(application: str = "", campaign: str = "", group: str = "") -> str:
    text = VALID
    for anchor, options in (('lists = [{ calling_list = "L" }]', campaign), ('trunks = ["carrier"]', group)):
        if options:
            text = text.replace(anchor, f"{anchor}\noptions = {{ {options} }}", 1)
    return text + (f"[application]\noptions = {{ {application} }}\n" if application else "")


def planner_of(text: str) -> Planner:
    config = read(text)
    return Planner(config, config.campaign_groups[0])


@pytest.mark.parametrize("level", ["application", "campaign", "group"])
def test_given_options_at_any_level_when_a_target_is_made_then_each_is_in_it(level):
    assert planner_of(with_options(**{level: ALL})).target(ODR) == PacingTarget(
        mode=Mode.PREDICTIVE,
        goal=Goal.OVERDIAL_RATE,
        value=0.03,
        max_overdial_ratio=0.04,
        lines_per_agent=1.5,
        algorithm=Algorithm.ADVANCED_SMALL_GROUP,
        history_length=80,
        small_group_size=12,
        min_overdial_ratio=0.005,
        min_overdial_calls=200,
        hard_limits=True,
        least_ring_s=18.0,
    )


def test_given_no_options_when_a_target_is_made_then_it_is_the_pacings_own_default():
    assert planner_of(VALID).target(ODR) == PacingTarget(Mode.PREDICTIVE)


@pytest.mark.parametrize(
    ("by", "asked", "goal", "value"),
    [
        (OptimizeBy.BUSY_FACTOR, 85, Goal.BUSY_FACTOR, 0.85),
        (OptimizeBy.WAIT_TIME, 7, Goal.WAIT_TIME, 7.0),
        (OptimizeBy.OVERDIAL_RATE, 2, Goal.OVERDIAL_RATE, 0.02),
        (OptimizeBy.OVERDIAL_RATE, 50, Goal.OVERDIAL_RATE, 0.03),
    ],
)
def test_given_a_goal_when_a_target_is_made_then_it_is_in_the_pacings_unit_and_bounded(by, asked, goal, value):
    target = planner_of(VALID).target(DialSettings(DialMode.PREDICTIVE, by, asked))

    assert (target.goal, target.value, target.max_overdial_ratio) == (goal, value, 0.03)


def test_given_a_request_for_less_than_the_floor_when_a_target_is_made_then_the_floor_gives_way():
    planner = planner_of(with_options(group="predictive_min_overdial_rate = 2"))

    assert planner.target(DialSettings(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 1)).min_overdial_ratio == 0.01


@pytest.mark.parametrize(("mode", "kept_back"), [(DialMode.PROGRESSIVE, 2), (DialMode.PREDICTIVE, 0)])
def test_given_reserved_agents_when_asked_then_only_progressive_mode_keeps_them_back(mode, kept_back):
    planner = planner_of(with_options(group="progressive_blending_reserved_agents = 2"))

    assert planner.kept_back(DialSettings(mode, OptimizeBy.OVERDIAL_RATE, 3)) == kept_back


@pytest.mark.parametrize(
    ("levels", "where"),
    [
        ({"application": "predictive_min_overdial_rate = 3.5"}, "application.options"),
        ({"campaign": "predictive_min_overdial_rate = 4"}, "campaigns[0].options"),
        (
            {"application": "max_overdial_rate = 1", "group": "predictive_min_overdial_rate = 2"},
            "campaign_groups[0].options",
        ),
    ],
)
def test_given_a_floor_above_the_goal_when_read_then_it_is_refused_where_it_stands(levels, where):
    (problem,) = problems_of(with_options(**levels))

    assert where in problem
    assert "must be at most" in problem


@pytest.mark.parametrize("option", ['predictive_algorithm = "fast"', "history_length = -1", "small_group_size = 1.5"])
def test_given_a_value_that_no_algorithm_understands_when_read_then_it_is_refused(option):
    assert len(problems_of(with_options(group=option))) == 1


@pytest.mark.parametrize(("ring_s", "right"), [(0, True), (15, True), (14.9, False), (1, False)])
@pytest.mark.parametrize("level", ["application", "campaign", "group"])
def test_given_a_least_ring_when_checked_then_it_is_off_or_as_long_as_the_law_demands(level, ring_s, right):
    found = problems_or_none(with_options(**{level: f"predictive-least-ring = {ring_s}"}))

    assert (found == []) is right
    assert right or "at least 15 s" in found[0]
