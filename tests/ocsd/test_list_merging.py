"""Merging buckets that are read a piece at a time takes what reading all of them would take."""

from hypothesis import given
from hypothesis import strategies as st

from ocsd.lists.merging import Continuation, Merge, Row

ROUNDS_LIMIT = 10

buckets = st.lists(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=40), max_size=6
)  # (due, chain_id) of the rows of each bucket
sizes = st.integers(1, 5)


def rows_of(table, alone=()):
    """Rows of each bucket in order; record ids are unique, those of alone rows too."""
    ids = iter(range(1, 10_000))
    found = [sorted(Row(due, next(ids), chain_id) for due, chain_id in bucket) for bucket in table]
    return found, [Row(due, next(ids), chain_id, alone=True) for due, chain_id in alone]


def opened(table, excluded, alone, size):
    merge = Merge(excluded, list(alone))
    for place, rows in enumerate(table):
        if rows:
            merge.first((place, 0, 0, 0), rows[:size], size)
    return merge


def answer(table, asked: Continuation):
    for bucket in asked.buckets:
        behind = [row for row in table[bucket.key[0]] if row.rank > bucket.read_to]
        yield bucket, [row for row in behind if asked.bound is None or row.rank <= asked.bound][: asked.size]


@given(
    buckets,
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=5),
    st.sets(st.integers(1, 12), max_size=4),
    sizes,
    st.integers(1, 15),
)
def test_given_any_buckets_when_merged_then_the_best_chains_are_those_of_the_whole(table, alone, excluded, size, need):
    whole, lonely = rows_of(table, alone)
    merge = opened(whole, excluded, lonely, size)
    rounds = 0
    while (asked := merge.missing(need)) is not None:
        rounds += 1
        assert rounds <= ROUNDS_LIMIT
        for bucket, rows in answer(whole, asked):
            merge.further(bucket, rows, asked)
    expected: dict[int, Row] = {}
    for row in sorted([*lonely, *(row for bucket in whole for row in bucket)]):
        if row.chain_id not in excluded:
            expected.setdefault(row.chain_id, row)

    assert merge.best(need) == list(expected.values())[:need]
    assert not merge.exhausted(need) or len(expected) <= need
    assert merge.exhausted(need) or len(expected) >= need


@given(buckets, sizes, st.integers(1, 15), st.integers(0, 2))
def test_given_a_merge_that_is_not_complete_when_asked_then_what_is_known_to_be_best_is_told(table, size, need, rounds):
    whole, _ = rows_of(table)
    merge = opened(whole, (), (), size)
    for _ in range(rounds):
        if (asked := merge.missing(need)) is not None:
            for bucket, rows in answer(whole, asked):
                merge.further(bucket, rows, asked)
    expected: dict[int, Row] = {}
    for row in sorted(row for bucket in whole for row in bucket):
        expected.setdefault(row.chain_id, row)

    best = merge.best(need)

    assert best == list(expected.values())[: len(best)]


def test_given_one_bucket_with_all_the_first_rows_when_merged_then_only_that_one_is_read_further():
    crowded = [Row(0, record_id, record_id) for record_id in range(1, 200)]
    others = [[Row(50, 1000 + place, 1000 + place), Row(60, 2000 + place, 2000 + place)] for place in range(20)]
    merge = opened([crowded, *others], (), (), 2)

    asked = merge.missing(50)

    assert asked is not None
    assert [bucket.key[0] for bucket in asked.buckets] == list(range(21))
    for bucket, rows in answer([crowded, *others], asked):
        merge.further(bucket, rows, asked)
    asked = merge.missing(30)
    assert asked is not None
    assert [(bucket.key[0], bucket.read_to) for bucket in asked.buckets] == [(0, (0, 10))]
    assert asked.bound == (50, 1019)
