from telephony.contract import ORPHAN_GRACE_S, LegState, PlaceCall
from telephony.leg import Answered, Failed, HangUp, Released
from telephony.sdp import MediaAddress
from telephony.worker.roster import ENDED_KEPT_S, MAX_ENDED_KEPT, Roster

MEDIA = MediaAddress("192.0.2.1", 4000)


def a_roster(*legs: str, capacity: int = 4) -> Roster:
    roster = Roster(capacity)
    for leg_id in legs:
        roster.place(PlaceCall(leg_id, "sip:x@y", "sip:z@y", "192.0.2.9", 4000, 20.0), 100.0)
    return roster


def test_given_no_daemon_when_the_grace_is_over_then_only_unprotected_legs_are_hung_up_once():
    roster = a_roster("talking", "ringing")
    roster.on("talking", Answered(101.0, MEDIA), None)
    roster.protect("talking", True)

    assert roster.orphans(ORPHAN_GRACE_S - 0.1, 120.0) == []
    orders = roster.orphans(ORPHAN_GRACE_S, 120.0)
    assert [leg_id for leg_id, _ in orders] == ["ringing"]
    for leg_id, order in orders:
        roster.on(leg_id, order, None)
    assert roster.orphans(ORPHAN_GRACE_S + 1, 121.0) == []


def test_given_an_ended_leg_when_the_daemon_confirms_a_later_ping_then_it_is_forgotten():
    roster = a_roster("a")
    roster.on("a", Failed(101.0, 486), next_ping=7)

    roster.confirmed(6)
    assert roster.knows("a")
    roster.confirmed(7)
    assert not roster.knows("a")


def test_given_an_end_told_to_a_daemon_that_died_when_another_connects_then_it_is_told_again():
    roster = a_roster("a")
    roster.on("a", Failed(101.0, 486), next_ping=7)
    roster.daemon_lost()
    roster.confirmed(9)  # nobody has read it

    (leg,) = roster.snapshot(next_ping=1)

    assert (leg.state, leg.sip_status, leg.ended_by, leg.ended_at_s) == (LegState.ENDED, 486, "remote", 101.0)
    roster.confirmed(1)
    assert roster.snapshot(next_ping=2) == ()


def test_given_ended_legs_when_nobody_asks_for_ten_minutes_then_they_are_dropped():
    roster = a_roster("a", "b")
    roster.on("a", Failed(101.0, 486), None)
    roster.on("b", Failed(200.0, 486), None)

    roster.expire(101.0 + ENDED_KEPT_S)

    assert list(roster.ended) == ["b"]


def test_given_more_ended_legs_than_are_kept_when_expired_then_the_oldest_go():
    roster = a_roster(*(f"leg-{n}" for n in range(MAX_ENDED_KEPT + 3)), capacity=10_000)
    for n in range(MAX_ENDED_KEPT + 3):
        roster.on(f"leg-{n}", Failed(101.0, 486), None)

    roster.expire(102.0)

    assert len(roster.ended) == MAX_ENDED_KEPT
    assert next(iter(roster.ended)) == "leg-3"


def test_given_the_no_answer_limit_when_it_is_due_then_the_leg_is_named_once():
    roster = a_roster("a")
    assert roster.next_deadline_s == 120.0
    assert roster.due(119.9) == []
    ((leg_id, event),) = roster.due(120.0)
    roster.on(leg_id, event, None)
    assert roster.due(121.0) == []
    (ended,) = roster.on("a", Released(121.0), None)
    assert ended.no_answer


def test_given_all_slots_used_when_asked_then_no_room_until_one_ends():
    roster = a_roster("a", capacity=1)
    assert not roster.has_room
    roster.on("a", HangUp(101.0), None)
    assert not roster.has_room
    roster.on("a", Released(101.0), None)
    assert roster.has_room
    assert roster.on("a", HangUp(102.0), None) == ()
