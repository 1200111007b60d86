"""Fair parts of agents, ports and call starts."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.objects import Trunk
from ocsd.sessions.sharing import (
    WANT_LIFETIME_S,
    AgentParts,
    Claim,
    FairPlaces,
    FairStarts,
    fair_shares,
    overlapping,
    whole_shares,
)
from ocsd.sessions.trunks import TrunkBoard

WEIGHTS = st.floats(0.01, 100.0)
CLAIMS = st.dictionaries(
    st.integers(1, 6),
    st.builds(Claim, WEIGHTS, st.one_of(st.just(math.inf), st.floats(0.0, 50.0)), st.floats(0.0, 20.0)),
    min_size=1,
)


@pytest.mark.parametrize(
    ("total", "claims", "shares"),
    [
        (12.0, {1: Claim(1.0), 2: Claim(1.0)}, {1: 6.0, 2: 6.0}),
        (12.0, {1: Claim(2.0), 2: Claim(1.0)}, {1: 8.0, 2: 4.0}),
        (12.0, {1: Claim(1.0, 2.0), 2: Claim(1.0)}, {1: 2.0, 2: 10.0}),
        (12.0, {1: Claim(1.0, 2.0), 2: Claim(1.0, 5.0), 3: Claim(1.0)}, {1: 2.0, 2: 5.0, 3: 5.0}),
        (12.0, {1: Claim(1.0, 2.0), 2: Claim(1.0, 3.0)}, {1: 2.0, 2: 3.0}),
        (12.0, {1: Claim(1.0, least=9.0), 2: Claim(1.0)}, {1: 9.0, 2: 3.0}),
        (12.0, {1: Claim(1.0, least=18.0), 2: Claim(1.0, least=6.0)}, {1: 9.0, 2: 3.0}),
    ],
)
def test_given_claims_when_divided_then_what_one_does_not_need_is_the_others(total, claims, shares):
    assert fair_shares(total, claims) == pytest.approx(shares)


@given(st.floats(0.0, 200.0), CLAIMS)
def test_given_any_claims_when_divided_then_all_is_given_as_far_as_it_is_needed_and_nobody_is_short_of_its_part(
    total, claims
):
    shares = fair_shares(total, claims)

    wanted = sum(max(claim.need, claim.least) for claim in claims.values())
    assert sum(shares.values()) == pytest.approx(min(total, wanted), abs=1e-6)
    enough = sum(claim.least for claim in claims.values()) <= total
    for who, claim in claims.items():
        assert shares[who] <= max(claim.need, claim.least) + 1e-9
        if not enough:
            assert shares[who] <= claim.least + 1e-9
            continue
        assert shares[who] >= claim.least - 1e-9
        if shares[who] < claim.need - 1e-6:  # would like more: then nobody has more for its weight, but by a promise
            level = shares[who] / claim.weight
            assert all(shares[o] <= max(c.least, level * c.weight) + 1e-6 for o, c in claims.items())


@given(st.integers(0, 100), CLAIMS)
def test_given_any_claims_when_divided_in_whole_pieces_then_all_is_given_within_one_of_the_exact_part(total, claims):
    whole, exact = whole_shares(total, claims), fair_shares(total, claims)

    assert sum(whole.values()) == total
    assert all(whole[who] >= exact[who] - 1.0 - 1e-6 for who in claims)


@given(
    st.dictionaries(st.integers(0, 30).map(str), st.frozensets(st.integers(1, 4), min_size=1), max_size=30),
    st.fixed_dictionaries({group: st.builds(Claim, WEIGHTS) for group in range(1, 5)}),
)
def test_given_any_agents_when_divided_then_each_is_in_one_part_that_may_use_it_and_a_second_look_moves_nobody(
    agents, claims
):
    parts = AgentParts()

    of = dict(parts.divide(agents, claims))

    assert of.keys() == agents.keys()
    assert all(of[agent_id] in groups for agent_id, groups in agents.items())
    assert dict(parts.divide(agents, claims)) == of


def test_given_a_group_that_ends_when_divided_again_then_its_agents_go_and_nobody_else_moves():
    parts = AgentParts()
    agents = {f"a{n}": frozenset({1, 2}) for n in range(10)}
    before = dict(parts.divide(agents, {1: Claim(1.0), 2: Claim(1.0)}))
    assert Counter(before.values()) == {1: 5, 2: 5}

    after = parts.divide(agents, {1: Claim(1.0, 2.0), 2: Claim(1.0)})

    assert Counter(after.values()) == {1: 2, 2: 8}
    assert all(after[agent_id] == 2 for agent_id, group in before.items() if group == 2)


def test_given_places_that_others_do_not_want_when_asked_then_all_that_are_free_may_be_taken():
    places = FairPlaces()
    for _ in range(3):
        places.take(1)

    assert places.free(2, 1.0, 10, 0.0) == 7


def test_given_two_groups_that_want_all_when_calls_end_then_the_places_end_up_by_weight():
    places = FairPlaces()
    for _ in range(10):
        places.take(1)

    for second in range(20):
        now_s = float(second)
        places.want(1, 1.0, now_s)
        places.want(2, 4.0, now_s)
        holder = 1 if places.of(1) else 2
        places.release(holder)  # one call ends, and both would like its place; group 1 asks first
        for group, weight in ((1, 1.0), (2, 4.0)):
            if places.free(group, weight, 10, now_s) > 0:
                places.take(group)

    assert (places.of(1), places.of(2)) == (2, 8)


def test_given_a_group_that_no_longer_wants_when_time_passes_then_its_part_is_free_for_others():
    places = FairPlaces()
    for _ in range(5):
        places.take(1)
    places.want(2, 1.0, 0.0)

    assert places.free(1, 1.0, 10, 0.0) == 0
    assert places.free(1, 1.0, 10, WANT_LIFETIME_S + 0.1) == 5


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=80))
def test_given_any_course_when_places_are_taken_as_allowed_then_there_are_never_more_than_there_are(course):
    places, held = FairPlaces(), Counter()
    for second, (group, takes) in enumerate(course):
        now_s = second * 0.1
        if takes:
            free = places.free(group, float(group), 7, now_s)
            assert free >= 0
            if free:
                places.take(group)
                held[group] += 1
            else:
                places.want(group, float(group), now_s)
        elif held[group]:
            places.release(group)
            held[group] -= 1
        assert places.used == sum(held.values()) <= 7
        # Work goes on: with nothing wanted by others, a free place is never withheld.
        assert places.free(9, 1.0, 7, now_s + 10.0) == 7 - places.used


def test_given_few_call_starts_when_two_groups_wait_for_them_then_they_have_them_by_weight():
    board = TrunkBoard([Trunk(dbid=1, name="t", tenant="x", host="h", max_calls=10_000, calls_per_second=5.0)], 0.0)
    started = Counter()
    for tick in range(2000):
        now_s = tick * 0.1
        for group, weight in ((1, 1.0), (2, 3.0)):
            allowed = board.starts_allowed(("t",), now_s, group, weight)
            for _ in range(allowed):
                board.take(("t",), now_s, group, weight)
                started[group] += 1
            if allowed == 0:
                board.want_starts(("t",), group, weight, now_s)

    assert sum(started.values()) >= 0.98 * 5.0 * 200.0
    assert started[2] / started[1] == pytest.approx(3.0, rel=0.1)


def test_given_a_group_beyond_its_part_when_an_agent_wants_to_call_then_the_ports_that_are_left_count():
    board = TrunkBoard([Trunk(dbid=1, name="t", tenant="x", host="h", max_calls=10)], 0.0)
    for _ in range(6):
        board.take(("t",), 0.0, 1)
    board.want_ports(("t",), 2, 1.0, 0.0)

    assert (board.free_ports(("t",), 1, 1.0, 0.0), board.free_ports(("t",), 2, 1.0, 0.0)) == (0, 4)
    assert board.ports_left(("t",)) == 4


def test_given_one_group_alone_when_it_starts_calls_then_it_is_always_its_turn():
    starts = FairStarts()
    for second in range(10):
        starts.want(1, 1.0, float(second))
        assert starts.may_start(1, 1.0, float(second))
        starts.take(1, float(second))


def test_given_agent_groups_when_members_overlap_then_they_are_tied_also_through_others():
    tied = overlapping({"a": ["1", "2"], "b": ["2", "3"], "c": ["3"], "d": ["4"], "e": []})

    assert tied["a"] == tied["b"] == tied["c"] == {"a", "b", "c"}
    assert (tied["d"], tied["e"]) == ({"d"}, {"e"})
