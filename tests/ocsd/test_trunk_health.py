"""Whose fault a call's end was, and when a trunk's circuit opens, tries, and closes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.sessions.trunk_health import (
    FAILURES_IN_A_ROW,
    FIRST_OPEN_S,
    MAX_OPEN_S,
    MAX_RETRY_AFTER_S,
    REFUSED_NUMBERS,
    REFUSED_S,
    SILENT_S,
    TRIAL_S,
    WINDOW_CALLS,
    Blame,
    Breaker,
    Circuit,
    blame,
)
from telephony.contract import LegEnded


def ended(status, cause=None, *, by="remote", responded=True, no_answer=False):
    return LegEnded("a", 0.0, status, by, False, no_answer, cause, responded=responded)


@pytest.mark.parametrize("status", [404, 410, 480, 484, 486, 600, 603, 604, 607, 608, 408])
def test_given_an_answer_of_the_callee_when_a_call_ends_then_the_trunk_works(status):
    assert blame(ended(status), 1.0) is Blame.CALLEE


@pytest.mark.parametrize("status", [401, 407, 503])
def test_given_an_error_of_the_trunk_when_a_call_ends_then_it_is_to_blame(status):
    assert blame(ended(status), 1.0) is Blame.TRUNK


@pytest.mark.parametrize("status", [403, 482, 483, 500, 501, 502, 504, 505, 513, 580])
def test_given_a_refusal_when_a_call_ends_then_other_numbers_must_tell_whose_fault_it_is(status):
    assert blame(ended(status), 1.0) is Blame.UNCLEAR
    assert blame(ended(status, 34), 1.0) is Blame.TRUNK, "a cause says more"


@pytest.mark.parametrize(
    ("status", "cause", "whose"),
    [
        (500, 17, Blame.CALLEE),  # a gateway's wrapping of busy
        (503, 1, Blame.CALLEE),
        (403, 21, Blame.CALLEE),
        (480, 34, Blame.TRUNK),  # no circuit, whatever the status
        (404, 38, Blame.TRUNK),
        (487, None, Blame.NOBODY),
        (488, None, Blame.NOBODY),
    ],
)
def test_given_a_cause_when_a_call_ends_then_it_says_more_than_the_status(status, cause, whose):
    assert blame(ended(status, cause), 1.0) is whose


def test_given_no_response_when_a_call_ends_then_the_trunk_is_to_blame_unless_we_were_too_quick():
    assert blame(ended(408, responded=False), 32.0) is Blame.TRUNK
    assert blame(ended(0, by="error", responded=False), 0.01) is Blame.TRUNK  # ICMP
    assert blame(ended(487, by="local", responded=False, no_answer=True), 25.0) is Blame.TRUNK
    assert blame(ended(487, by="local", responded=False), SILENT_S) is Blame.TRUNK
    assert blame(ended(487, by="local", responded=False), SILENT_S - 0.1) is Blame.NOBODY
    assert blame(ended(487, by="local", no_answer=True), 25.0) is Blame.CALLEE
    assert blame(ended(503, by="local", no_answer=True), 25.0) is Blame.CALLEE  # in the place of 487, to our CANCEL
    assert blame(ended(503, by="local"), 2.0) is Blame.NOBODY


def opened(why="503"):
    breaker = Breaker()
    for _ in range(FAILURES_IN_A_ROW):
        change = breaker.failed(0.0, why)
    assert change.circuit is Circuit.OPEN
    return breaker


def test_given_failures_in_a_row_when_enough_then_no_call_is_allowed_until_the_pause_is_over():
    breaker = opened()

    assert breaker.allowed(FIRST_OPEN_S - 0.01) == 0
    assert breaker.look(FIRST_OPEN_S).circuit is Circuit.HALF_OPEN
    assert breaker.allowed(FIRST_OPEN_S) == 1


def test_given_a_success_between_when_failures_follow_then_they_are_counted_anew():
    breaker = Breaker()
    for _ in range(20):
        for _ in range(FAILURES_IN_A_ROW - 1):
            breaker.failed(0.0, "503")
            breaker.worked(0.0)
        breaker.worked(0.0)

    assert breaker.circuit is Circuit.CLOSED


def test_given_every_other_call_failed_when_the_window_is_full_then_the_circuit_opens():
    breaker = Breaker()
    for _ in range(WINDOW_CALLS // 2):
        breaker.worked(0.0)
        breaker.failed(0.0, "500")

    assert breaker.circuit is Circuit.OPEN


def refused(breaker, numbers, per_s, from_s=0.0):
    """So many different numbers one after the other; the changes."""
    return [breaker.refused(from_s + index / per_s, f"n{from_s}-{index}", "403") for index in range(numbers)]


def test_given_a_list_full_of_blocked_numbers_when_others_get_through_then_the_circuit_stays_closed():
    breaker = Breaker()
    for minute in range(60):
        refused(breaker, REFUSED_NUMBERS * 9, 10.0, minute * 60.0)
        breaker.worked(minute * 60.0 + 9.5)
        refused(breaker, REFUSED_NUMBERS - 1, 1.0, minute * 60.0 + 20.0)
        breaker.worked(minute * 60.0 + 50.0)

    assert breaker.circuit is Circuit.CLOSED


def test_given_one_number_that_is_refused_over_and_over_then_the_circuit_stays_closed():
    breaker = Breaker()

    assert not any(breaker.refused(float(at_s), "n", "403") for at_s in range(1000))


def test_given_everybody_refused_for_a_while_when_nobody_gets_through_then_the_circuit_opens_and_trials_keep_it_open():
    breaker = Breaker()
    (*before, change) = refused(breaker, int(REFUSED_S) + 1, 1.0)

    assert not any(before)
    assert (change.circuit, change.why) == (Circuit.OPEN, "403, to everybody")
    now_s = change.until_s
    assert breaker.look(now_s).circuit is Circuit.HALF_OPEN
    breaker.started(now_s)
    again = breaker.refused(now_s, "another", "403")
    assert again.circuit is Circuit.OPEN
    assert again.until_s - now_s == 2 * FIRST_OPEN_S
    breaker.look(again.until_s)
    breaker.started(again.until_s)
    assert breaker.worked(again.until_s).circuit is Circuit.CLOSED


def test_given_a_trunk_that_was_overloaded_or_silent_when_a_trial_is_refused_then_it_is_there_again():
    for breaker in (opened(), Breaker()):
        if breaker.circuit is Circuit.CLOSED:
            breaker.gone(0.0, "no answer to OPTIONS")
        breaker.look(FIRST_OPEN_S)
        breaker.started(FIRST_OPEN_S)
        assert breaker.refused(FIRST_OPEN_S, "n", "403").circuit is Circuit.CLOSED


def test_given_a_half_open_circuit_when_one_call_is_under_way_then_no_other_may_start():
    breaker = opened()
    breaker.look(FIRST_OPEN_S)
    breaker.started(FIRST_OPEN_S)

    assert breaker.allowed(FIRST_OPEN_S + 1.0) == 0
    assert breaker.allowed(FIRST_OPEN_S + TRIAL_S) == 1  # nobody has heard of the first one
    assert breaker.worked(FIRST_OPEN_S + 2.0).circuit is Circuit.CLOSED


def test_given_trials_that_fail_when_repeated_then_the_pauses_double_up_to_the_limit():
    breaker, now_s, pauses = opened(), 0.0, []
    for _ in range(6):
        pauses.append(breaker.until_s - now_s)
        now_s = breaker.until_s
        breaker.look(now_s)
        breaker.started(now_s)
        breaker.failed(now_s, "503")

    assert pauses == [5.0, 10.0, 20.0, 40.0, MAX_OPEN_S, MAX_OPEN_S]


def test_given_retry_after_when_a_call_fails_then_one_is_enough_and_the_time_is_kept_within_bounds():
    breaker = Breaker()

    assert breaker.failed(0.0, "503", 30.0).until_s == 30.0
    breaker.probed(1.0)
    assert breaker.allowed(29.9) == 0  # OPTIONS says nothing about calls that were refused
    assert Breaker().failed(0.0, "503", 86_400.0).until_s == MAX_RETRY_AFTER_S


def test_given_a_silent_trunk_when_options_is_answered_then_it_is_tried_at_once():
    breaker = Breaker()
    assert breaker.gone(0.0, "no answer").circuit is Circuit.OPEN

    assert breaker.probed(0.5).circuit is Circuit.HALF_OPEN
    assert breaker.allowed(0.5) == 1


def test_given_an_open_circuit_when_a_call_from_before_is_answered_then_it_stays_open():
    breaker = opened()

    assert breaker.worked(1.0) is None
    assert breaker.circuit is Circuit.OPEN


EVENTS = st.sampled_from(["failed", "worked", "retry", "refused", "gone", "probed", "started"])


@given(st.lists(st.tuples(st.floats(0.0, 20.0), EVENTS), max_size=60))
def test_given_any_course_when_time_passes_then_the_trunk_is_always_tried_again(course):
    breaker, now_s = Breaker(), 0.0
    for pause_s, event in course:
        now_s += pause_s
        breaker.look(now_s)
        match event:
            case "failed":
                breaker.failed(now_s, "503")
            case "worked":
                breaker.worked(now_s)
            case "retry":
                breaker.failed(now_s, "503", 120.0)
            case "refused":
                breaker.refused(now_s, str(now_s), "403")
            case "gone":
                breaker.gone(now_s, "silent")
            case "probed":
                breaker.probed(now_s)
            case _ if breaker.allowed(now_s):
                breaker.started(now_s)
        assert breaker.circuit is not Circuit.OPEN or breaker.allowed(now_s) == 0 or now_s >= breaker.until_s
    now_s += MAX_RETRY_AFTER_S + TRIAL_S
    breaker.look(now_s)
    assert breaker.allowed(now_s) >= 1
