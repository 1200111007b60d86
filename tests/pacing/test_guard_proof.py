"""The proof of the guard, in small: campaigns under attack, judged at the end of each window."""

from dataclasses import replace

import pytest

from pacing.guard import PRESETS, Guard, with_changes
from pacing.sim.guard_proof import campaign, run

TSR = PRESETS["us-tsr"]


@pytest.mark.parametrize("seed", [3, 11])
def test_given_a_month_of_attacks_and_restarts_when_guarded_then_it_ends_within_its_limit_and_uses_it(seed):
    world = campaign(seed)
    guarded, free = run(world, Guard(TSR), TSR), run(world, None, TSR)
    assert guarded.restarts == free.restarts == 6
    assert guarded.above(TSR.limit_ratio) == 0
    assert free.above(TSR.limit_ratio) == 1
    ((people, abandoned),) = guarded.windows
    assert abandoned > 0.9 * TSR.limit_ratio * people
    assert people > 0.9 * free.people
    assert guarded.worst_excess < free.worst_excess


def test_given_a_rolling_window_when_guarded_then_no_instant_has_a_window_above_its_limit():
    rule = PRESETS["strict-1"]
    guarded = run(campaign(3, attacked=False), Guard(rule), rule)
    assert guarded.steps > 1000
    assert guarded.steps_above == 0
    assert guarded.abandoned > 0.5 * rule.limit_ratio * guarded.people


def test_given_a_limit_that_one_to_one_cannot_keep_when_stopped_hard_then_the_window_keeps_it_all_the_same():
    rule = with_changes(TSR, limit_ratio=0.004)
    world = replace(campaign(3), one_to_one_loss=0.006)
    going_on, stopped = (run(world, Guard(rule, hard_stop=hard_stop), rule) for hard_stop in (False, True))
    assert going_on.above(rule.limit_ratio) == 1
    assert stopped.people < going_on.people / 2
    assert stopped.worst_excess < going_on.worst_excess
