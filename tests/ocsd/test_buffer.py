"""Watermarks, shares and priorities of the record buffer."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ocsd.lists.buffer import RecordBuffer, Refill
from ocsd.model.enums import RecordType
from ocsd.model.records import CallingRecord, Chain

shares = st.dictionaries(st.integers(1, 6), st.integers(1, 1000), min_size=1)


def chain(list_dbid, chain_id, record_type=RecordType.GENERAL):
    record = CallingRecord(
        list_dbid, chain_id, "+12025550100", 1, record_type, 28, 0, None, None, 0, 86400, 1, chain_id, 0
    )
    return Chain(list_dbid, chain_id, (record,))


def chains(list_dbid, count, first=0):
    return [chain(list_dbid, number) for number in range(first, first + count)]


def test_given_a_buffer_above_its_low_mark_when_asked_then_nothing_is_claimed():
    buffer = RecordBuffer({1: 10}, 4, 6)
    buffer.put(1, chains(1, 8))

    assert buffer.refills(2, frozenset()) == []


def test_given_a_buffer_below_its_low_mark_when_asked_then_it_is_filled_up_to_the_optimum():
    buffer = RecordBuffer({1: 10}, 4, 6)
    buffer.put(1, chains(1, 7))

    assert buffer.refills(2, frozenset()) == [Refill(1, 5)]


def test_given_two_lists_when_filled_then_by_share_and_an_exhausted_one_leaves_its_share():
    buffer = RecordBuffer({1: 30, 2: 10}, 4, 10)

    assert buffer.refills(2, frozenset()) == [Refill(1, 15), Refill(2, 5)]
    assert buffer.refills(2, frozenset({1})) == [Refill(2, 20)]
    assert buffer.refills(2, frozenset({1, 2})) == []


def test_given_shares_when_taken_then_the_mix_follows_them_and_each_list_keeps_its_order():
    buffer = RecordBuffer({1: 30, 2: 10}, 4, 10)
    buffer.put(1, chains(1, 30))
    buffer.put(2, chains(2, 30))

    taken = buffer.take(20)

    assert Counter(c.list_dbid for c in taken) == {1: 15, 2: 5}
    assert [c.chain_id for c in taken if c.list_dbid == 1] == list(range(15))


@given(shares, st.integers(1, 400))
def test_given_filled_lists_when_taken_for_long_then_each_has_its_share_within_one_chain_at_any_time(weights, count):
    buffer = RecordBuffer(weights, 4, 6)
    for list_dbid in weights:
        buffer.put(list_dbid, chains(list_dbid, count))
    total = sum(weights.values())
    served = Counter()
    for taken in range(1, count + 1):
        served[buffer.take(1)[0].list_dbid] += 1
        for list_dbid, weight in weights.items():
            assert abs(served[list_dbid] - taken * weight / total) < 1.0 + 1e-6


@given(shares.filter(lambda weights: len(weights) > 1), st.integers(0, 5), st.integers(1, 200))
def test_given_a_list_that_starves_when_taken_on_then_the_others_share_the_rest_by_their_weights(weights, few, count):
    buffer = RecordBuffer(weights, 4, 6)
    starved, *others = weights
    buffer.put(starved, chains(starved, few))
    for list_dbid in others:
        buffer.put(list_dbid, chains(list_dbid, count + 1))
    left = few
    while left:
        (taken,) = buffer.take(1)
        if taken.list_dbid == starved:
            left -= 1
        else:
            buffer.put(taken.list_dbid, [taken])  # the others stay filled
    served = Counter(c.list_dbid for c in buffer.take(count))

    assert sum(served.values()) == count
    total = sum(weights[list_dbid] for list_dbid in others)
    # One chain for what each was owed before, one for what the starved list left behind, one for the end.
    for list_dbid in others:
        assert abs(served[list_dbid] - count * weights[list_dbid] / total) < 3.0


def test_given_a_list_that_comes_back_when_taken_then_it_is_not_paid_for_the_time_it_was_away():
    buffer = RecordBuffer({1: 10, 2: 10}, 4, 6)
    buffer.put(1, chains(1, 100))
    buffer.take(50)
    buffer.put(2, chains(2, 50))

    assert Counter(c.list_dbid for c in buffer.take(20)) == {1: 10, 2: 10}


def test_given_types_when_taken_then_the_most_urgent_of_a_list_come_first_and_its_share_stays():
    buffer = RecordBuffer({1: 10, 2: 10}, 4, 6)
    priority = {RecordType.CAMPAIGN_CALLBACK: 2, RecordType.CAMPAIGN_RESCHEDULED: 1}
    buffer.put(1, [chain(1, 1), chain(1, 2, RecordType.CAMPAIGN_RESCHEDULED)], priority)
    buffer.put(1, [chain(1, 3, RecordType.CAMPAIGN_CALLBACK), chain(1, 4, RecordType.CAMPAIGN_RESCHEDULED)], priority)
    buffer.put(2, chains(2, 4), priority)
    order = [(c.list_dbid, c.chain_id) for c in buffer.chains()]
    taken = [(c.list_dbid, c.chain_id) for c in buffer.take(8)]

    assert order == [(1, 3), (1, 2), (1, 4), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert [entry for entry in taken if entry[0] == 1] == order[:4]
    assert Counter(list_dbid for list_dbid, _ in taken[:4]) == {1: 2, 2: 2}


def test_given_keys_when_dropped_then_those_chains_come_out_and_the_others_keep_their_places():
    buffer = RecordBuffer({1: 10, 2: 10}, 4, 6)
    buffer.put(1, chains(1, 4))
    buffer.put(2, chains(2, 1))

    dropped = buffer.drop({(1, 1), (1, 3), (2, 0), (1, 9), (3, 1)})

    assert sorted(c.key for c in dropped) == [(1, 1), (1, 3), (2, 0)]
    assert [c.key for c in buffer.take(9)] == [(1, 0), (1, 2)]


def test_given_a_chain_that_has_lost_a_record_when_replaced_then_it_keeps_its_place():
    buffer = RecordBuffer({1: 10}, 4, 6)
    buffer.put(1, chains(1, 3))
    shorter = replace(chain(1, 1), records=(chain(1, 77).record,))

    assert buffer.replace(shorter)
    assert not buffer.replace(chain(1, 9))
    assert [c.record.record_id for c in buffer.take(3)] == [0, 77, 2]


def test_given_a_list_when_emptied_then_its_chains_come_out_and_the_others_stay():
    buffer = RecordBuffer({1: 10, 2: 10}, 4, 6)
    buffer.put(1, chains(1, 3))
    buffer.put(2, chains(2, 2))

    assert [c.chain_id for c in buffer.empty_list(1)] == [0, 1, 2]
    assert buffer.empty_list(1) == []
    assert [c.list_dbid for c in buffer.take(5)] == [2, 2]


def test_given_other_shares_when_set_then_a_list_without_one_waits_until_the_others_are_empty():
    buffer = RecordBuffer({1: 10, 2: 10}, 4, 6)
    buffer.put(1, chains(1, 3))
    buffer.put(2, chains(2, 2))
    buffer.take(1)
    buffer.set_shares({2: 10})
    buffer.set_marks(1, 100)
    left_of_1 = sum(c.list_dbid == 1 for c in buffer.chains())

    assert buffer.refills(5, frozenset()) == [Refill(2, 500 - 4)]
    taken = [c.list_dbid for c in buffer.take(9)]
    assert taken == [2] * (4 - left_of_1) + [1] * left_of_1


@given(st.dictionaries(st.integers(1, 4), st.integers(0, 20), min_size=1), st.lists(st.integers(0, 9), max_size=20))
def test_given_any_takes_when_emptied_then_every_chain_comes_out_once(sizes, takes):
    buffer = RecordBuffer(dict.fromkeys(sizes, 10), 4, 6)
    for list_dbid, size in sizes.items():
        buffer.put(list_dbid, chains(list_dbid, size))
    out = [c for count in takes for c in buffer.take(count)]
    out += buffer.empty()

    seen = Counter((c.list_dbid, c.chain_id) for c in out)
    assert set(seen.values()) <= {1}
    assert len(seen) == sum(sizes.values())
    assert len(buffer) == 0
