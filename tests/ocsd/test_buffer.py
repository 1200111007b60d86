"""Watermarks and shares of the record buffer."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ocsd.lists.buffer import RecordBuffer, Refill
from ocsd.model.enums import RecordType
from ocsd.model.records import CallingRecord, Chain


def chain(list_dbid, chain_id):
    record = CallingRecord(
        list_dbid, chain_id, "+12025550100", 1, RecordType.GENERAL, 28, 0, None, None, 0, 86400, 1, chain_id, 0
    )
    return Chain(list_dbid, chain_id, (record,))


def test_given_a_buffer_above_its_low_mark_when_asked_then_nothing_is_claimed():
    buffer = RecordBuffer({1: 10}, 4, 6)
    buffer.put(1, [chain(1, i) for i in range(8)])

    assert buffer.refills(2, frozenset()) == []


def test_given_a_buffer_below_its_low_mark_when_asked_then_it_is_filled_up_to_the_optimum():
    buffer = RecordBuffer({1: 10}, 4, 6)
    buffer.put(1, [chain(1, i) for i in range(7)])

    assert buffer.refills(2, frozenset()) == [Refill(1, 5)]


def test_given_two_lists_when_filled_then_by_share_and_an_exhausted_one_leaves_its_share():
    buffer = RecordBuffer({1: 30, 2: 10}, 4, 10)

    assert buffer.refills(2, frozenset()) == [Refill(1, 15), Refill(2, 5)]
    assert buffer.refills(2, frozenset({1})) == [Refill(2, 20)]


def test_given_shares_when_taken_then_the_mix_follows_them_and_each_list_keeps_its_order():
    buffer = RecordBuffer({1: 30, 2: 10}, 4, 10)
    buffer.put(1, [chain(1, i) for i in range(30)])
    buffer.put(2, [chain(2, i) for i in range(30)])

    taken = buffer.take(20)

    assert Counter(c.list_dbid for c in taken) == {1: 15, 2: 5}
    assert [c.chain_id for c in taken if c.list_dbid == 1] == list(range(15))


@given(st.dictionaries(st.integers(1, 4), st.integers(0, 20), min_size=1), st.lists(st.integers(0, 9), max_size=20))
def test_given_any_takes_when_emptied_then_every_chain_comes_out_once(sizes, takes):
    buffer = RecordBuffer(dict.fromkeys(sizes, 10), 4, 6)
    for list_dbid, size in sizes.items():
        buffer.put(list_dbid, [chain(list_dbid, i) for i in range(size)])
    out = [c for count in takes for c in buffer.take(count)]
    out += buffer.empty()

    seen = Counter((c.list_dbid, c.chain_id) for c in out)
    assert set(seen.values()) <= {1}
    assert len(seen) == sum(sizes.values())
    assert len(buffer) == 0
