"""Agents and waiting people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.model.errors import InvariantError
from ocsd.sessions.phones import PhonePlan
from ocsd.sessions.roster import AgentSeat, AgentState, Roster


def roster_of(count):
    roster = Roster([AgentSeat(f"a{i}", f"sip:{i}@h") for i in range(count)])
    for i, seat in enumerate(roster.seats.values()):
        seat.log_in(0.0)
        seat.ask_for(AgentState.READY, float(i))
    return roster


def test_given_people_and_agents_when_matched_then_longest_waiting_meets_longest_ready():
    roster = roster_of(3)
    roster.seats["a0"].enter(AgentState.READY, 9.0)
    roster.seek(71)
    roster.seek(70)

    pairs = [(attempt_id, seat.agent_id) for attempt_id, seat in roster.match(10.0)]

    assert pairs == [(71, "a1"), (70, "a2")]


def test_given_nobody_ready_when_matched_then_people_keep_waiting():
    roster = roster_of(1)
    roster.seek(1)
    roster.match(1.0)
    roster.seek(2)

    assert roster.match(1.0) == []
    assert roster.people_waiting == 1


def test_given_a_person_when_queued_twice_then_it_is_a_bug():
    roster = roster_of(0)
    roster.seek(1)

    with pytest.raises(InvariantError):
        roster.seek(1)


def test_given_a_state_asked_for_during_the_call_when_the_call_ends_then_it_is_taken():
    roster = roster_of(1)
    roster.seek(1)
    roster.match(1.0)
    roster.bridged("a0", 2.0)
    roster.seats["a0"].ask_for(AgentState.NOT_READY, 3.0)

    assert roster.wrap_up("a0", 12.0) == pytest.approx(10.0)
    assert roster.seats["a0"].state is AgentState.NOT_READY


def test_given_an_agent_reserved_anew_when_it_says_ready_after_the_call_before_then_this_call_has_its_wrap_up():
    """The person hung up while the phone rang; the desktop's answer to that comes when the next call has the agent."""
    roster = roster_of(1)
    roster.seek(1)
    roster.match(1.0)
    roster.back_to_ready("a0", 2.0)
    roster.seek(2)
    roster.match(2.0)
    roster.seats["a0"].ask_for(AgentState.READY, 2.1)
    roster.bridged("a0", 3.0)
    roster.wrap_up("a0", 12.0)

    assert roster.seats["a0"].state is AgentState.WRAP_UP


def test_given_an_agent_whose_phone_is_called_when_it_says_not_ready_and_ready_again_then_the_last_word_holds():
    roster = roster_of(1)
    roster.seek(1)
    roster.match(1.0)
    roster.seats["a0"].ask_for(AgentState.NOT_READY, 1.1)
    roster.seats["a0"].ask_for(AgentState.READY, 1.2)
    roster.back_to_ready("a0", 2.0)

    assert roster.seats["a0"].state is AgentState.READY


def test_given_an_agent_in_conversation_when_it_says_ready_then_it_wants_no_wrap_up():
    roster = roster_of(1)
    roster.seek(1)
    roster.match(1.0)
    roster.bridged("a0", 2.0)
    roster.seats["a0"].ask_for(AgentState.READY, 3.0)
    roster.wrap_up("a0", 12.0)

    assert roster.seats["a0"].state is AgentState.READY


def test_given_a_phone_that_did_not_answer_when_it_fails_then_the_agent_is_not_ready():
    roster = roster_of(1)
    roster.seek(1)
    roster.match(1.0)
    roster.phone_failed("a0", 2.0)

    assert roster.seats["a0"].state is AgentState.NOT_READY


def test_given_an_adopted_agent_when_the_desktop_logs_in_again_then_the_call_stays():
    roster = Roster([AgentSeat("a0", "sip:0@h")])
    roster.adopt("a0", 5, talking_since_s=3.0)
    roster.seats["a0"].log_in(10.0)

    assert roster.seats["a0"].state is AgentState.TALKING
    assert roster.seats["a0"].attempt_id == 5


@given(st.lists(st.tuples(st.sampled_from(list(AgentState)), st.floats(0.0, 10.0)), max_size=20))
def test_given_any_states_when_time_passes_then_it_is_spent_exactly_once(steps):
    seat, now_s = AgentSeat("a", "sip:a@h"), 0.0
    for state, spent_s in steps:
        now_s += spent_s
        seat.enter(state, now_s)

    assert sum(seat.time_spent_s(state, now_s) for state in AgentState) == pytest.approx(now_s)


# --- phones that are up ----------------------------------------------------------------------------------------------


def of_group(seizing: bool, **fields) -> tuple[Roster, AgentSeat]:
    """One ready agent whose seat has these fields, and a person of campaign group 7 who waits."""
    seat = AgentSeat("a", "sip:a@h", **fields)
    seat.enter(AgentState.READY, 0.0)
    roster = Roster([seat])
    if seizing:
        roster.line.seizing.add(7)
    roster.seek(1, 7)
    return roster, seat


NAILED = PhonePlan(nailed_up=True)


@pytest.mark.parametrize(
    ("fields", "plain", "seizing"),
    [
        ({}, True, False),
        ({"engaged_s": 1.0}, True, True),
        ({"phone_rings": True}, False, False),
        ({"phone": NAILED}, False, False),
        ({"phone": NAILED, "engaged_s": 1.0}, True, True),
    ],
)
def test_given_a_ready_agent_when_a_person_waits_then_the_phone_decides_who_may_have_the_agent(fields, plain, seizing):
    for seizes, expected in ((False, plain), (True, seizing)):
        roster, seat = of_group(seizes, **fields)
        assert (roster.free(7) == ["a"]) is expected
        assert bool(roster.match(2.0)) is expected
        assert (seat.state is AgentState.RESERVED) is expected


def test_given_engaged_agents_when_a_person_waits_then_who_can_talk_longest_is_chosen():
    seats = [AgentSeat(name, "sip:x@h", engaged_s=at_s) for name, at_s in (("a", 9.0), ("b", 1.0), ("c", 2.0))]
    for seat, ready_s in zip(seats, (0.0, 5.0, 3.0), strict=True):
        seat.enter(AgentState.READY, ready_s)
    roster = Roster(seats)
    roster.line.seizing.add(7)
    for attempt_id in (1, 2, 3):
        roster.seek(attempt_id, 7)
    assert [seat.agent_id for _, seat in roster.match(10.0)] == ["c", "b", "a"]


def test_given_an_agent_on_an_engaging_call_when_legs_are_counted_then_none_is_kept_for_it():
    _, seat = of_group(False)
    assert seat.needs_leg()
    seat.phone_rings = True
    assert not seat.needs_leg()
    seat.phone_rings, seat.engaged_s = False, 1.0
    assert not seat.needs_leg()
