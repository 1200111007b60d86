"""Ports and call starts of trunks that several campaign groups share."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.objects import Trunk
from ocsd.sessions.trunks import NO_LIMIT, StartBucket, TrunkBoard


def trunk(name, max_calls, per_s=0.0):
    return Trunk(
        dbid=hash(name) % 1000 + 1, name=name, tenant="t", host="h", max_calls=max_calls, calls_per_second=per_s
    )


def test_given_two_trunks_when_calls_are_placed_then_free_ports_decide():
    board = TrunkBoard([trunk("a", 10), trunk("b", 30)], 0.0)

    taken = Counter(board.take(("a", "b"), 0.0).name for _ in range(40))

    assert taken == {"a": 10, "b": 30}
    assert board.free_ports(("a", "b")) == 0


def test_given_groups_that_share_a_trunk_when_one_uses_it_then_the_other_sees_fewer_ports():
    board = TrunkBoard([trunk("a", 10)], 0.0)
    for _ in range(7):
        board.take(("a",), 0.0)

    assert board.free_ports(("a",)) == 3
    board.release("a")
    assert board.free_ports(("a",)) == 4


def test_given_a_rate_limit_when_time_passes_then_starts_come_back_but_never_more_than_a_second_of_them():
    board = TrunkBoard([trunk("a", 100, per_s=5.0)], 0.0)

    assert board.starts_allowed(("a",), 10.0) == 5
    for _ in range(5):
        board.take(("a",), 10.0)
    assert board.starts_allowed(("a",), 10.0) == 0
    assert board.starts_allowed(("a",), 10.4) == 2


def test_given_one_unlimited_trunk_when_asked_then_there_is_no_limit():
    board = TrunkBoard([trunk("a", 100, per_s=5.0), trunk("b", 100)], 0.0)

    assert board.starts_allowed(("a", "b"), 0.0) == NO_LIMIT


@given(st.floats(0.5, 50.0), st.lists(st.floats(0.0, 3.0), min_size=1, max_size=50))
def test_given_any_pauses_when_all_allowed_calls_start_then_the_rate_holds(rate, pauses):
    bucket, now_s, started = StartBucket(0.0), 0.0, 0
    for pause_s in pauses:
        now_s += pause_s
        allowed = bucket.allowed(rate, now_s)
        bucket.take(allowed)
        started += allowed

    assert started <= rate * now_s + max(1.0, rate) + 1
