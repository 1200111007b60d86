import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacing import LegalRoom
from pacing.limits import AbandonmentCount, bounded, legal_reason
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
    ("people", "abandoned", "over"),
    [
        (0, 0, False),
        (1, 1, False),  # a single one is never told from bad luck
        (10, 2, True),
        (66, 2, True),
        (67, 2, False),
        (200, 7, True),
        (234, 7, False),
    ],
)
def test_given_counts_when_compared_with_the_limit_then_over_it_only_by_more_than_one_person(people, abandoned, over):
    assert AbandonmentCount(people, abandoned).over(0.03) == over


def test_given_a_count_when_loaded_from_state_then_it_counts_on():
    count = AbandonmentCount()
    for index in range(150):
        count.add(abandoned=index % 10 == 0)
    copy = AbandonmentCount()
    copy.load(count.state())
    for each in (count, copy):
        each.add(abandoned=True)

    assert copy == count == AbandonmentCount(151, 16)


def test_given_no_legal_window_when_asked_then_no_reason():
    assert legal_reason(None, 1e9) is None


@given(st.floats(-10.0, 1e6), st.floats(0.0, 100.0), st.booleans())
def test_given_a_legal_room_when_less_than_one_person_is_left_then_one_to_one_and_stop_goes_first(room, expected, stop):
    reason = legal_reason(LegalRoom(0.03, room, stop), expected)

    if stop:
        assert reason == "legal_stop"
    else:
        assert reason == ("legal_guard" if room - expected < 1.0 else None)
