import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacing.limits import (
    SHORT_WINDOW_PEOPLE,
    AbandonmentCount,
    AbandonmentLedger,
    bounded,
    burst_risk,
    guard_reason,
    slack,
)
from tests.pacing.worlds import snapshot, snapshots


@given(st.integers(-5, 10_000), snapshots())
def test_given_any_wish_when_bounded_then_never_negative_nor_above_any_room(wanted, group):
    launch, reason = bounded(wanted, group)

    rooms = {"ports": group.ports_free, "records": group.records_ready, "start_rate": group.starts_allowed}
    assert launch == max(0, min(wanted, *rooms.values()))
    assert (reason is None) == (max(wanted, 0) <= min(rooms.values()))
    assert reason is None or rooms[reason] == min(rooms.values())


def test_given_negative_room_when_bounded_then_no_launch():
    assert bounded(5, snapshot(ports_free=-3)) == (0, "ports")


@pytest.mark.parametrize(
    ("people", "abandoned", "expected"),
    [
        (0, 0, None),
        (10, 0, None),
        (10, 1, "overdial_guard"),
        (33, 1, "overdial_guard"),
        (34, 1, None),
        (200, 7, "overdial_guard"),
    ],
)
def test_given_counts_when_guarded_then_closed_exactly_while_over_the_limit(people, abandoned, expected):
    count = AbandonmentCount(people, abandoned, min(people, SHORT_WINDOW_PEOPLE), 0)

    assert guard_reason(count, 0.03, 0.0, 0.0) == expected


@given(st.integers(0, 5000), st.integers(0, 200), st.floats(0.0, 50.0), st.floats(0.0, 5.0))
def test_given_any_counts_when_guard_is_open_then_the_projected_rate_is_within_the_limit(
    people, abandoned, coming, lost
):
    count = AbandonmentCount(people, abandoned, 0, 0)

    if guard_reason(count, 0.03, coming, lost) is None and abandoned:
        assert abandoned + lost <= 0.03 * (people + coming)


def test_given_a_good_run_when_a_short_window_is_bad_then_closed_although_the_rate_holds():
    ledger = AbandonmentLedger(people=5000, abandoned=10)
    for index in range(SHORT_WINDOW_PEOPLE):
        ledger.add(abandoned=index % 11 == 0)

    assert slack(ledger.count(), 0.03) > 0
    assert guard_reason(ledger.count(), 0.03, 0.0, 0.0) == "short_window_guard"


def test_given_no_tolerance_when_one_is_abandoned_then_closed_for_good():
    assert guard_reason(AbandonmentCount(100_000, 1, 0, 0), 0.0, 5.0, 0.0) == "overdial_guard"


@given(st.integers(0, 100_000), st.integers(0, 100_000))
def test_given_more_people_when_burst_risk_then_it_never_falls_and_stays_a_probability(one, other):
    low, high = sorted((one, other))

    assert 0.0 < burst_risk(low) <= burst_risk(high) <= 1.0


def test_given_a_ledger_when_loaded_from_state_then_it_counts_on():
    ledger = AbandonmentLedger()
    for index in range(150):
        ledger.add(abandoned=index % 10 == 0)
    copy = AbandonmentLedger()
    copy.load(ledger.state())
    for each in (ledger, copy):
        each.add(abandoned=True)

    assert copy.count() == ledger.count() == AbandonmentCount(151, 16, 100, 10)
