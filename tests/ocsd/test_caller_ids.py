"""Pools of caller IDs: turns, rest, local presence, and the same number for the same person."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.objects import CallerIdSet
from ocsd.config.trunk_options import ROTATIONS
from ocsd.sessions.caller_ids import CallerIds, common_prefix, country_digits


def pool(*numbers, name="west", **limits):
    return CallerIdSet(dbid=1, name=name, numbers=numbers, **limits)


THREE = pool("+13105550100", "+13105550101", "+13105550102")


def test_given_round_robin_when_calls_are_made_then_each_number_has_its_turn():
    ids = CallerIds()

    chosen = [ids.choose([THREE], "round-robin", "+12125550199", str(n), float(n)).digits for n in range(6)]

    assert chosen == [*THREE.numbers, *THREE.numbers]


def test_given_random_when_many_calls_are_made_then_all_numbers_are_used_about_alike():
    ids = CallerIds()

    used = Counter(ids.choose([THREE], "random", "+12125550199", str(n), 0.0).digits for n in range(600))

    assert set(used) == set(THREE.numbers)
    assert max(used.values()) < 1.3 * min(used.values())


def test_given_per_callee_when_called_again_after_a_restart_then_the_same_number_is_shown():
    callees = [f"+1212555{n:04}" for n in range(50)]
    before = {c: CallerIds().choose([THREE], "per-callee", c, "1", 0.0).digits for c in callees}

    again = {c: CallerIds().choose([THREE], "per-callee", c.lstrip("+"), "2", 9e4).digits for c in callees}

    assert again == before
    assert len(set(before.values())) == 3


def test_given_per_callee_when_a_number_is_taken_out_then_only_its_callees_get_another():
    callees = [f"+1212555{n:04}" for n in range(90)]
    two = pool(*THREE.numbers[:2])

    moved = [
        c
        for c in callees
        if CallerIds().choose([THREE], "per-callee", c, "1", 0.0).digits
        != CallerIds().choose([two], "per-callee", c, "1", 0.0).digits
    ]

    assert all(CallerIds().choose([THREE], "per-callee", c, "1", 0.0).digits == THREE.numbers[2] for c in moved)


def test_given_a_limit_per_hour_when_it_is_reached_then_the_number_rests_until_the_hour_is_over():
    ids, one = CallerIds(), pool("+13105550100", calls_per_hour=2)

    assert [ids.choose([one], "round-robin", "1", "1", at_s) is not None for at_s in (0.0, 600.0, 1200.0)] == [
        True,
        True,
        False,
    ]
    assert ids.exhausted == 1
    assert ids.choose([one], "round-robin", "1", "1", 3600.0) is not None


def test_given_a_limit_per_day_when_it_is_reached_then_the_number_rests_for_the_rest_of_the_day():
    ids, one = CallerIds(), pool("+13105550100", calls_per_day=1)
    ids.choose([one], "round-robin", "1", "1", 0.0)

    assert ids.choose([one], "round-robin", "1", "1", 86_399.0) is None
    assert ids.choose([one], "round-robin", "1", "1", 86_400.0) is not None


def test_given_local_presence_when_an_area_is_called_then_its_numbers_are_shown():
    ids = CallerIds()
    mixed = pool("+13105550100", "+12125550100", "+12125550101", match_prefix=True)

    new_york = {ids.choose([mixed], "round-robin", "+12129990000", str(n), 0.0).digits for n in range(4)}
    nowhere = {ids.choose([mixed], "round-robin", "+16065550000", str(n), 0.0).digits for n in range(6)}

    assert new_york == {"+12125550100", "+12125550101"}
    assert nowhere == set(mixed.numbers)  # the country code alone is no area


def test_given_two_sets_when_one_rests_then_the_other_serves_and_is_named():
    ids = CallerIds()
    small, large = pool("+13105550100", name="small", calls_per_day=1), pool("+12125550100", name="large")

    assert [ids.choose([small, large], "least-recently-used", "1", "1", float(n)).of_set for n in range(3)] == [
        "small",
        "large",
        "large",
    ]


@pytest.mark.parametrize(("number", "digits"), [("+12125550100", 1), ("+442079460000", 2), ("+3581234567", 3), ("", 0)])
def test_given_a_number_when_asked_then_its_country_code_is_known(number, digits):
    assert country_digits(number) == digits


def test_given_numbers_when_compared_then_a_plus_sign_makes_no_difference():
    assert common_prefix("+13105", "1319") == 3


@given(
    st.sampled_from(ROTATIONS),
    st.integers(1, 4),
    st.lists(st.floats(0.0, 2000.0), min_size=1, max_size=60),
)
def test_given_any_rotation_and_pauses_when_calls_are_made_then_no_number_passes_its_limit(rotation, limit, pauses):
    ids, one = CallerIds(), pool("+13105550100", "+13105550101", calls_per_hour=limit)
    shown, now_s = [], 0.0
    for index, pause_s in enumerate(pauses):
        now_s += pause_s
        if (found := ids.choose([one], rotation, f"+1212555{index:04}", str(index), now_s)) is not None:
            shown.append((now_s, found.digits))

    for at_s, digits in shown:
        assert sum(other == digits and at_s - 3600.0 < t <= at_s for t, other in shown) <= limit


def test_given_numbers_without_limits_when_many_calls_show_them_then_no_more_is_kept_than_the_last():
    ids, free, limited = CallerIds(), pool("+201"), pool("+202", name="east", calls_per_hour=5, calls_per_day=20)
    for n in range(100):
        ids.choose([free], "round-robin", "+12025550100", str(n), float(n))
        ids.choose([limited], "round-robin", "+12025550100", str(n), n * 3600.0)

    assert [len(ids._used[number].at_s) for number in ("201", "202")] == [1, 20]


def test_given_what_an_earlier_daemon_has_counted_when_remembered_then_limits_and_turns_go_on():
    ids, one = CallerIds(), pool("+201", "+202", "+203", calls_per_hour=2)
    ids.remember({"+201": [-3000.0, -10.0], "+202": [-20.0]})

    chosen = [ids.choose([one], "round-robin", "+12025550100", "k", 0.0) for _ in range(4)]

    assert [each and each.digits for each in chosen] == ["+203", "+202", "+203", None]
    assert ids.choose([one], "round-robin", "+12025550100", "k", 700.0).digits == "+201"
