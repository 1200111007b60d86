"""Ports and call starts of trunks that several campaign groups share."""

from collections import Counter
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.objects import Trunk
from ocsd.sessions.trunk_keeper import TrunkKeeper
from ocsd.sessions.trunks import NO_LIMIT, StartBucket, TrunkBoard
from telephony.contract import Probed


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


class Carrier:
    """A carrier whose OPTIONS are lost; ``meanwhile`` happens while one is waited for."""

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile

    async def probe(self, uri, *, timeout_s=2.0, proxy=""):
        await trio.sleep(timeout_s / 2)
        self.meanwhile()
        await trio.sleep(timeout_s / 2)
        return Probed("probe-1", 0, 0.0)


@pytest.mark.parametrize("works", [True, False])
async def test_given_calls_that_get_through_when_options_is_lost_then_the_trunk_is_not_taken_for_gone(
    autojump_clock, works
):
    one = trunk("a", 10).model_copy(update={"probe_interval_s": 10.0})
    board = TrunkBoard([one], 0.0)
    board.probed("a", 0.0, 0.01)
    clock = SimpleNamespace(now_s=trio.current_time)
    keeper = TrunkKeeper(board, Carrier(lambda: board.progressed("a", trio.current_time()) if works else None), clock)

    for _ in range(3):
        await keeper.suspect(one)

    assert board.is_silent("a") is not works
