"""A table per treatment action: rows of docs/adr/0008 and of the manual, written out by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ocsd.config.objects import Treatment
from ocsd.model.enums import CallAction, CallResult, RecordAction, RecordStatus, RecordType
from ocsd.model.records import ChainChange
from ocsd.treatments.callback import callback_change, reject_change
from ocsd.treatments.contract import Situation
from ocsd.treatments.engine import ACTION_NAMES, call_action
from tests.ocsd.treatment_worlds import (
    NOON,
    ZONES,
    decided,
    later,
    minutes_from,
    opening,
    row,
    treatment,
    zone_of,
)

G, CR, PR, PC, CC = (
    RecordType.GENERAL,
    RecordType.CAMPAIGN_RESCHEDULED,
    RecordType.PERSONAL_RESCHEDULED,
    RecordType.PERSONAL_CALLBACK,
    RecordType.CAMPAIGN_CALLBACK,
)
NEW_YORK, BERLIN, LORD_HOWE, UTC_ZONE, SANTIAGO = 1, 2, 3, 4, 5


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(decision):
    return datetime.fromtimestamp(decision.change.dial_sched_time, UTC)


# -- what a chain is worth while it goes on, and when it ends ---------------------------------------------------------


def test_given_no_treatment_when_a_result_comes_then_the_chain_is_updated_and_siblings_keep_their_results():
    decision = decided([], row(), result=CallResult.NO_ANSWER)

    assert decision.change == ChainChange(RecordStatus.UPDATED, G, sibling_status=RecordStatus.UPDATED)
    assert (decision.treatment_dbid, decision.next_record_id) == (0, None)
    assert decision.because == "no treatment for No Answer (7), the chain is done"


def test_given_a_result_outside_the_manual_when_decided_then_there_is_no_treatment_for_it():
    assert decided([], row(), result=999).because == "no treatment for result (999), the chain is done"


@pytest.mark.parametrize("result", [CallResult.OK, CallResult.UNKNOWN])
def test_given_ok_or_unknown_when_a_treatment_names_them_then_it_is_not_applied(result):
    assert decided([treatment(1, "REDIAL", result=result, cycle_attempts=3)], row(), result=result).treatment_dbid == 0


def test_given_update_record_when_applied_then_this_record_is_updated_and_its_siblings_keep_their_results():
    decision = decided([treatment(4, "UPDATE_RECORD")], row(1), [row(1), row(2, 1)])

    assert decision.change == ChainChange(RecordStatus.UPDATED, G, sibling_status=RecordStatus.UPDATED)
    assert decision.treatment_dbid == 4


def test_given_update_all_when_applied_then_all_records_get_this_result():
    decision = decided([treatment(4, "UPDATE_ALL")], row(1), [row(1), row(2, 1)])

    assert decision.change == ChainChange(
        RecordStatus.UPDATED, G, sibling_status=RecordStatus.UPDATED, sibling_result=6
    )


def test_given_update_all_records_when_a_chain_ends_or_goes_on_then_the_siblings_get_the_result():
    redial = treatment(4, "REDIAL", cycle_attempts=1)

    assert decided([], row(), for_all=True).change.sibling_result == 6
    assert decided([redial], row(), for_all=True).change.sibling_result == 6
    assert decided([redial], row()).change.sibling_result is None


def test_given_a_chain_that_goes_on_when_changed_then_all_rows_share_type_schedule_and_state():
    decision = decided([treatment(4, "REDIAL", cycle_attempts=1, interval_min=10)], row(1, 3), [row(1, 3), row(2, 5)])

    assert decision.change == ChainChange(
        RecordStatus.READY,
        CR,
        sibling_status=RecordStatus.READY,
        sibling_type=CR,
        dial_sched_time=int(NOON.timestamp()) + 600,
        treatments="4@1@3@1",
    )
    assert decision.next_record_id == 1


# -- waits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cycle_attempts", "interval", "increment", "waits"),
    [
        (3, 10, 5, [10, 15, 20, None]),
        (1, 30, 0, [30, None]),
        (4, 0, 1, [0, 1, 2, 3, None]),
        (2, 1440, 60, [1440, 1500, None]),
        (0, 10, 5, [None]),
    ],
)
def test_given_redial_when_repeated_then_the_kth_wait_is_interval_plus_k_minus_1_increments(
    cycle_attempts, interval, increment, waits
):
    redial = treatment(4, "REDIAL", cycle_attempts=cycle_attempts, interval_min=interval, increment_min=increment)
    record = row()
    for k, wait in enumerate(waits, start=1):
        decision = decided([redial], record)
        if wait is None:
            assert decision.change.record_status is RecordStatus.UPDATED
            assert f"{cycle_attempts} of {cycle_attempts} attempts are made" in decision.because
            return
        assert minutes_from(NOON, decision) == wait
        assert decision.change.treatments == f"4@{k}@0@1"
        record = row(record_type=CR, treatments=decision.change.treatments)


def test_given_retry_in_when_another_treatment_follows_then_it_is_applied_once():
    sequence = [treatment(4, "RETRY_IN", interval_min=20, increment_min=7), treatment(5, "UPDATE_ALL")]

    first = decided(sequence, row())
    second = decided(sequence, row(record_type=CR, treatments=first.change.treatments))

    assert (minutes_from(NOON, first), first.treatment_dbid) == (20, 4)
    assert second.treatment_dbid == 5


def test_given_retry_in_as_the_last_when_repeated_then_it_goes_on_until_max_attempts():
    sequence = [treatment(4, "RETRY_IN", interval_min=20, increment_min=7)]
    waits, record = [], row(attempt=1)
    while (decision := decided(sequence, record, max_attempts=4)).next_record_id:
        waits.append(minutes_from(NOON, decision))
        record = row(record_type=CR, attempt=record.attempt + 1, treatments=decision.change.treatments)

    assert waits == [20, 27, 34]
    assert "has had its 4 attempts" in decision.because


# -- dates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("date", "tz_dbid", "expected"),
    [
        ("2026-07-01T10:00:00", NEW_YORK, "2026-07-01T14:00:00"),  # EDT
        ("2026-12-01T10:00:00", NEW_YORK, "2026-12-01T15:00:00"),  # EST
        ("2026-07-01T10:00:00", BERLIN, "2026-07-01T08:00:00"),
        ("2026-07-01T10:00:00+03:00", NEW_YORK, "2026-07-01T07:00:00"),
        ("2026-06-10T12:00:01+00:00", NEW_YORK, "2026-06-10T12:00:01"),
        ("2026-06-10T12:00:00+00:00", NEW_YORK, None),  # now is not to come
        ("2026-06-10T08:00:00", NEW_YORK, None),  # the same instant, in the record's zone
        ("2020-01-01T00:00:00", NEW_YORK, None),
        ("0001-01-01T00:00:00", LORD_HOWE, None),
        ("2038-06-01T00:00:00", NEW_YORK, None),  # past what the column holds
        ("9999-12-31T23:59:59", NEW_YORK, None),
    ],
)
def test_given_retry_at_date_when_applied_then_it_waits_for_the_date_in_the_records_zone(date, tz_dbid, expected):
    sequence = [treatment(4, "RETRY_AT_DATE", date=datetime.fromisoformat(date)), treatment(5, "UPDATE_RECORD")]

    decision = decided(sequence, row(tz_dbid=tz_dbid))

    if expected is None:
        assert decision.treatment_dbid == 5
        assert "'T4' (Retry at specified date) cannot be applied: its " in decision.because
    else:
        assert (decision.treatment_dbid, at(decision)) == (4, utc(expected))


def test_given_a_date_action_without_a_date_when_decided_then_it_is_skipped():
    for action in ("RETRY_AT_DATE", "NEXT_IN_CHAIN_AT_DATE"):
        decision = decided([treatment(4, action, cycle_attempts=2)], row())

        assert (decision.treatment_dbid, decision.change.record_status) == (0, RecordStatus.UPDATED)
        assert "it has no date" in decision.because


@pytest.mark.parametrize(
    ("now", "window", "tz_dbid", "expected"),
    [
        ("2026-06-10T15:00:00", (9 * 3600, 17 * 3600), NEW_YORK, "2026-06-11T13:00:00"),
        (
            "2026-06-10T03:30:00",
            (9 * 3600, 17 * 3600),
            NEW_YORK,
            "2026-06-10T13:00:00",
        ),  # 23:30 local: tomorrow is the 10th
        ("2026-06-10T15:00:00", (0, 86_400), BERLIN, "2026-06-10T22:00:00"),
        ("2026-03-07T20:00:00", (9 * 3600, 17 * 3600), NEW_YORK, "2026-03-08T13:00:00"),  # EDT since 07:00 UTC
        ("2026-10-31T20:00:00", (9 * 3600, 17 * 3600), NEW_YORK, "2026-11-01T14:00:00"),  # EST since 06:00 UTC
        ("2026-03-07T20:00:00", (9000, 17 * 3600), NEW_YORK, "2026-03-08T07:00:00"),  # 02:30 is skipped: at 03:00 EDT
        ("2026-10-31T20:00:00", (5400, 17 * 3600), NEW_YORK, "2026-11-01T05:30:00"),  # 01:30 comes twice: the first
        ("2026-09-05T15:00:00", (0, 86_400), SANTIAGO, "2026-09-06T04:00:00"),  # midnight is skipped: at 01:00
        ("2026-06-10T23:00:00", (20 * 3600, 2 * 3600), BERLIN, "2026-06-12T18:00:00"),  # 01:00 on the 11th
    ],
)
def test_given_reschedule_when_applied_then_the_record_waits_for_its_window_on_the_next_local_day(
    now, window, tz_dbid, expected
):
    decision = decided([treatment(4, "RESCHEDULE")], row(window=window, tz_dbid=tz_dbid), now=utc(now))

    assert at(decision) == utc(expected)
    assert decision.change.treatments == "4@1@0@1"


def test_given_reschedule_when_a_treatment_follows_then_once_else_until_max_attempts():
    reschedule, update = treatment(4, "RESCHEDULE"), treatment(5, "UPDATE_RECORD")
    again = row(record_type=CR, attempt=2, treatments="4@1@0@1")

    assert decided([reschedule], again).change.treatments == "4@2@0@1"
    assert decided([reschedule, update], again).treatment_dbid == 5
    assert decided([reschedule], replace(again, attempt=10)).next_record_id is None


@pytest.mark.parametrize(
    ("date", "window", "kept"),
    [
        ("2038-01-19T03:14:07", (0, 86_400), True),
        ("2038-01-19T03:14:08", (0, 86_400), False),
        ("2038-01-19T03:00:00", (4 * 3600, 86_400), False),  # it opens too late
    ],
)
def test_given_a_time_past_the_column_when_applied_then_the_treatment_is_skipped(date, window, kept):
    decision = decided([treatment(4, "RETRY_AT_DATE", date=utc(date))], row(window=window))

    assert decision.treatment_dbid == (4 if kept else 0)
    assert ("past 2038-01-19" in decision.because) is not kept


def test_given_a_foreign_state_with_absurd_numbers_when_a_wait_would_end_after_the_calendar_then_it_is_skipped():
    retry = treatment(4, "RETRY_IN", increment_min=527_040)
    record = row(record_type=CR, treatments="4@2000000000@0@2000000000")

    decision = decided([retry], record, max_attempts=2**31 - 1)

    assert (decision.treatment_dbid, decision.next_record_id) == (0, None)


# -- the chain --------------------------------------------------------------------------------------------------------

CHAIN = [row(1, 0), row(2, 1), row(3, 2)]


@pytest.mark.parametrize(
    ("action", "place", "cycle", "expected"),
    [  # cycle_attempts 3, interval 60, increment 30; expected: record, wait in minutes, state
        ("NEXT_IN_CHAIN", 0, 1, (2, 0, "4@1@1@1")),
        ("NEXT_IN_CHAIN", 1, 1, (3, 0, "4@1@2@1")),
        ("NEXT_IN_CHAIN", 2, 1, (1, 60, "4@1@0@2")),
        ("NEXT_IN_CHAIN", 0, 2, (2, 0, "4@1@1@2")),
        ("NEXT_IN_CHAIN", 2, 2, (1, 90, "4@1@0@3")),
        ("NEXT_IN_CHAIN", 2, 3, None),
        ("NEXT_IN_CHAIN", 1, 4, None),  # the cycles were cut while it ran
        ("NEXT_IN_CHAIN_AFTER", 0, 1, (2, 60, "4@1@1@1")),
        ("NEXT_IN_CHAIN_AFTER", 2, 1, (1, 60, "4@1@0@2")),
        ("NEXT_IN_CHAIN_AFTER", 0, 2, (2, 60, "4@1@1@2")),
        ("NEXT_IN_CHAIN_AFTER", 2, 2, (1, 90, "4@1@0@3")),
        ("NEXT_IN_CHAIN_AFTER", 2, 3, None),
        ("NEXT_IN_CHAIN_AT_DATE", 0, 1, (2, 300, "4@1@1@1")),
        ("NEXT_IN_CHAIN_AT_DATE", 2, 1, (1, 300, "4@1@0@2")),
        ("NEXT_IN_CHAIN_AT_DATE", 2, 3, None),
    ],
)
def test_given_next_in_chain_when_applied_then_the_next_record_or_the_next_cycle_follows(
    action, place, cycle, expected
):
    next_one = treatment(4, action, cycle_attempts=3, interval_min=60, increment_min=30, date=later(300))
    chain = [replace(r, record_type=CR, treatments=f"77@1@{place}@{cycle}") for r in CHAIN]

    decision = decided([next_one], chain[place], chain)

    if expected is None:
        assert decision.change == ChainChange(RecordStatus.UPDATED, CR)
    else:
        assert (decision.next_record_id, minutes_from(NOON, decision), decision.change.treatments) == expected


@pytest.mark.parametrize("cycle_attempts", [0, 1])
def test_given_next_in_chain_without_cycles_when_applied_then_the_chain_is_walked_once(cycle_attempts):
    next_one = treatment(4, "NEXT_IN_CHAIN", cycle_attempts=cycle_attempts)

    assert decided([next_one], CHAIN[1], CHAIN).next_record_id == 3
    assert decided([next_one], CHAIN[2], CHAIN).next_record_id is None


def test_given_a_single_record_when_next_in_chain_then_it_is_its_own_next_cycle():
    next_one = treatment(4, "NEXT_IN_CHAIN", cycle_attempts=2, interval_min=45)

    first = decided([next_one], row())
    second = decided([next_one], row(record_type=CR, treatments=first.change.treatments))

    assert (first.next_record_id, minutes_from(NOON, first), first.change.treatments) == (1, 45, "4@1@0@2")
    assert second.next_record_id is None


@pytest.mark.parametrize("action", ["NEXT_IN_CHAIN", "NEXT_IN_CHAIN_AFTER", "NEXT_IN_CHAIN_AT_DATE"])
def test_given_records_that_cannot_be_dialed_when_next_in_chain_then_they_are_stepped_over(action):
    next_one = treatment(4, action, cycle_attempts=1, date=later(60))
    used_up, shut = row(2, 1, attempt=10), row(3, 2, window=(0, 0))

    assert decided([next_one], row(1), [row(1), used_up, shut, row(4, 3)]).next_record_id == 4
    assert decided([next_one], row(1), [row(1), used_up, shut]).next_record_id is None


def test_given_a_filters_order_when_next_in_chain_then_it_is_kept():
    next_one = treatment(4, "NEXT_IN_CHAIN", cycle_attempts=2)
    chain = [row(3, 2), row(1, 0), row(2, 1)]

    assert decided([next_one], chain[0], chain).next_record_id == 1
    assert decided([next_one], chain[2], chain).next_record_id == 3


def test_given_a_record_withdrawn_during_the_call_when_decided_then_the_rest_of_the_chain_goes_on():
    redial, next_one = treatment(4, "REDIAL", cycle_attempts=2), treatment(5, "NEXT_IN_CHAIN", cycle_attempts=1)

    decision = decided([redial, next_one], row(2, 1), [row(1, 0), row(3, 2)])

    assert (decision.treatment_dbid, decision.next_record_id) == (5, 3)
    assert "'T4' (Redial) cannot be applied: the record has left its chain" in decision.because


# -- missed callbacks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "accepted"),
    [
        ("ASSIGN_TO_GROUP", True),
        ("MARK_AS_AGENT_ERROR", True),
        ("REDIAL", True),
        ("RETRY_IN", True),
        ("RETRY_AT_DATE", True),
        ("UPDATE_RECORD", False),
        ("UPDATE_ALL", False),
        ("NEXT_IN_CHAIN", False),
        ("NEXT_IN_CHAIN_AFTER", False),
        ("NEXT_IN_CHAIN_AT_DATE", False),
        ("RESCHEDULE", False),
        ("EXECUTE_SQL", False),
        ("SEND_HTTP", False),
        ("NONE", False),
    ],
)
@pytest.mark.parametrize("result", [CallResult.AGENT_CALLBACK_ERROR, CallResult.GROUP_CALLBACK_ERROR])
def test_given_a_missed_callback_when_treated_then_only_five_actions_are_accepted(result, action, accepted):
    one = treatment(4, action, result=result, cycle_attempts=2, date=later(60), sql="x", url="http://127.0.0.1/")

    decision = decided([one], row(record_type=PC, treatments="0@0@0@1"), result=result)

    assert decision.treatment_dbid == (4 if accepted else 0)
    assert (decision.statements, decision.requests) == ((), ())


@pytest.mark.parametrize(
    ("before", "result", "after"),
    [
        (PC, CallResult.AGENT_CALLBACK_ERROR, CC),
        (PR, CallResult.AGENT_CALLBACK_ERROR, CR),
        (CC, CallResult.GROUP_CALLBACK_ERROR, None),
        (CR, CallResult.GROUP_CALLBACK_ERROR, None),
        (PC, CallResult.BUSY, None),
        (G, CallResult.BUSY, None),
    ],
)
def test_given_assign_to_group_when_applied_then_a_personal_record_becomes_the_groups_and_is_due_now(
    before, result, after
):
    decision = decided([treatment(4, "ASSIGN_TO_GROUP", result=result)], row(record_type=before), result=result)

    if after is None:
        assert (decision.change.record_status, decision.treatment_dbid) == (RecordStatus.UPDATED, 0)
    else:
        assert (decision.change.record_type, decision.change.sibling_type) == (after, after)
        assert (minutes_from(NOON, decision), decision.change.treatments) == (0, "4@1@0@1")


def test_given_assign_to_group_when_the_window_is_closed_then_it_is_due_at_the_next_opening():
    assign = treatment(4, "ASSIGN_TO_GROUP", result=CallResult.AGENT_CALLBACK_ERROR)
    record = row(record_type=PC, window=(14 * 3600, 20 * 3600))

    assert minutes_from(NOON, decided([assign], record, result=CallResult.AGENT_CALLBACK_ERROR)) == 120


@pytest.mark.parametrize(
    ("record_type", "status"),
    [  # manual, "Combining Record Statuses and Record Types": who may be Missed CallBack
        (G, RecordStatus.AGENT_ERROR),
        (CR, RecordStatus.AGENT_ERROR),
        (PR, RecordStatus.MISSED_CALLBACK),
        (PC, RecordStatus.MISSED_CALLBACK),
        (CC, RecordStatus.MISSED_CALLBACK),
    ],
)
def test_given_mark_as_agent_error_when_applied_then_the_status_fits_the_type(record_type, status):
    decision = decided([treatment(4, "MARK_AS_AGENT_ERROR")], row(record_type=record_type))

    assert decision.change == ChainChange(status, record_type, sibling_status=RecordStatus.UPDATED)


def test_given_retry_in_for_missed_callbacks_when_no_attempt_is_counted_then_max_attempts_bounds_it_all_the_same():
    retry = treatment(4, "RETRY_IN", result=CallResult.AGENT_CALLBACK_ERROR, interval_min=5)
    record, waits = row(record_type=PC, treatments="0@0@0@1"), []
    while (decision := decided([retry], record, result=47, max_attempts=3)).next_record_id:
        waits.append(minutes_from(NOON, decision))
        record = replace(record, treatments=decision.change.treatments)

    assert waits == [5, 5, 5]


# -- types (manual, "Record Types" and "Updating Call Results and Custom Fields") -------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [(G, CR), (CR, CR), (PR, PR), (PC, PC), (CC, CC)],
)
@pytest.mark.parametrize("action", ["REDIAL", "RETRY_IN", "RETRY_AT_DATE", "RESCHEDULE", "NEXT_IN_CHAIN"])
def test_given_a_treatment_by_result_when_the_chain_goes_on_then_general_becomes_rescheduled_and_others_stay(
    action, before, after
):
    one = treatment(4, action, cycle_attempts=2, date=later(60))

    change = decided([one], row(record_type=before)).change

    assert (change.record_type, change.sibling_type) == (after, after)


@pytest.mark.parametrize("before", [G, CR, PR, PC, CC])
def test_given_a_treatment_asked_for_by_an_agent_when_the_chain_goes_on_then_it_takes_the_type_rescheduled(before):
    redial = treatment(4, "REDIAL", cycle_attempts=2)

    personal = decided([redial], row(record_type=before), agent_id="1001", by_agent=True).change
    campaign = decided([redial], row(record_type=before), by_agent=True).change

    assert (personal.record_type, personal.sibling_type) == (PR, PR)
    assert (campaign.record_type, campaign.sibling_type) == (CR, CR)


@pytest.mark.parametrize("before", [G, CR, PR, PC, CC])
def test_given_a_chain_that_ends_when_an_agent_asked_for_it_then_its_type_stays(before):
    change = decided([treatment(4, "UPDATE_RECORD")], row(record_type=before), agent_id="1001").change

    assert (change.record_type, change.sibling_type) == (before, None)


# -- callbacks set and rejected ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PC, CC, PR, CR])
def test_given_a_callback_asked_for_when_set_then_all_live_rows_wait_for_it(kind):
    chain = (row(1, 0), row(2, 4, treatments="8@2@4@3"))

    change = callback_change(chain[1], chain, kind, later(90), opening)

    assert change == ChainChange(
        RecordStatus.READY,
        kind,
        sibling_status=RecordStatus.READY,
        sibling_type=kind,
        dial_sched_time=int(later(90).timestamp()),
        treatments="0@0@4@1",
    )


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        ("2026-03-07T22:00:00", "2026-03-08T13:00:00"),  # 17:00 EST is too late; 09:00 on the next day is EDT
        ("2026-03-08T12:59:00", "2026-03-08T13:00:00"),
        ("2026-03-08T13:00:00", "2026-03-08T13:00:00"),
        ("2026-10-31T22:00:00", "2026-11-01T14:00:00"),  # EDT to EST
    ],
)
def test_given_a_callback_outside_the_window_when_set_then_it_moves_to_the_next_opening(due, expected):
    record = row(window=(9 * 3600, 17 * 3600), tz_dbid=NEW_YORK)

    change = callback_change(record, (record,), PC, utc(due), opening)

    assert datetime.fromtimestamp(change.dial_sched_time, UTC) == utc(expected)


def test_given_a_window_that_never_opens_when_a_callback_is_set_then_its_time_stays():
    record = row(window=(0, 0))

    assert callback_change(record, (record,), CC, NOON, opening).dial_sched_time == int(NOON.timestamp())


def test_given_a_time_past_the_column_when_a_callback_is_set_then_the_last_second_is_kept():
    assert callback_change(row(), (row(),), CC, utc("2068-01-01"), opening).dial_sched_time == 2**31 - 1


def test_given_a_record_withdrawn_meanwhile_when_a_callback_is_set_then_a_live_row_is_called_back():
    assert callback_change(row(1, 0), (row(2, 1), row(3, 2)), CC, NOON, opening).treatments == "0@0@1@1"


def test_given_no_callback_type_when_a_callback_is_set_then_it_is_refused():
    with pytest.raises(ValueError, match="GENERAL is no type of a callback"):
        callback_change(row(), (row(),), G, NOON, opening)


def test_given_a_callback_when_its_agent_rejects_it_then_the_chain_is_brand_new():
    assert reject_change() == ChainChange(
        RecordStatus.READY, G, sibling_status=RecordStatus.READY, sibling_type=G, dial_sched_time=None, treatments=None
    )


# -- call actions -----------------------------------------------------------------------------------------------------

AM = CallResult.ANSWERING_MACHINE


def action_for(treatments, record=None, result=AM, max_attempts=10):
    record = record or row(attempt=1)
    situation = Situation(result, record, (record,), NOON)
    found = call_action(situation, treatments, max_attempts=max_attempts, opening=opening, timezone_of=zone_of)
    return found and (found.dbid, found.call_action)


def test_given_call_actions_when_a_machine_answers_then_the_treatment_to_be_applied_decides():
    drop = treatment(1, "REDIAL", result=AM, cycle_attempts=2, call_action=CallAction.DROP)
    leave_message = treatment(2, "UPDATE_RECORD", result=AM, call_action=CallAction.PLAY_MESSAGE, message="bye")

    assert action_for([drop, leave_message]) == (1, CallAction.DROP)
    assert action_for([drop, leave_message], row(record_type=CR, treatments="1@1@0@1")) == (1, CallAction.DROP)
    assert action_for([drop, leave_message], row(record_type=CR, treatments="1@2@0@1")) == (2, CallAction.PLAY_MESSAGE)
    assert action_for([drop, leave_message], row(attempt=10)) == (2, CallAction.PLAY_MESSAGE)
    assert action_for([drop, leave_message], result=CallResult.FAX) is None


def test_given_treatments_without_a_record_action_when_answered_then_those_without_a_call_action_are_passed_over():
    sql = treatment(1, "EXECUTE_SQL", result=AM, sql="select 1")
    only_call = treatment(2, "NONE", result=AM, call_action=CallAction.CONNECT)
    redial = treatment(3, "REDIAL", result=AM, cycle_attempts=1)
    dropped = treatment(4, "UPDATE_RECORD", result=AM, call_action=CallAction.DROP)

    assert action_for([sql, only_call, redial]) == (2, CallAction.CONNECT)
    assert action_for([sql, redial, dropped]) is None
    assert decided([sql, only_call, redial], row(), result=AM).treatment_dbid == 3


@pytest.mark.parametrize(
    ("action", "more", "ignored"),
    [
        (CallAction.TRANSFER, {}, True),
        (CallAction.MUTE_TRANSFER, {"destination": " "}, True),
        (CallAction.ROUTE, {}, True),
        (CallAction.PLAY_MESSAGE, {}, True),
        (CallAction.TRANSFER, {"destination": "sip:q@127.0.0.1"}, False),
        (CallAction.PLAY_MESSAGE, {"message": "m"}, False),
        (CallAction.CONNECT, {}, False),
        (CallAction.DROP, {}, False),
    ],
)
def test_given_a_call_action_without_its_destination_when_decided_then_the_whole_treatment_is_ignored(
    action, more, ignored
):
    one = treatment(1, "REDIAL", result=AM, cycle_attempts=1, call_action=action, **more)

    assert action_for([one]) == (None if ignored else (1, action))
    assert decided([one], row(), result=AM).treatment_dbid == (0 if ignored else 1)


# -- words ------------------------------------------------------------------------------------------------------------


def test_given_a_decision_when_told_then_an_operator_understands_it():
    busy = Treatment(
        dbid=8, name="Busy retry", call_result=CallResult.BUSY, record_action=RecordAction.RETRY_IN, interval_min=60
    )
    record = row(
        record_type=CR, attempt=2, treatments="8@1@0@1", window=(9 * 3600, 17 * 3600), tz_dbid=NEW_YORK
    )  # fmt: skip

    decision = decided([busy], record, now=utc("2026-03-06T21:30:00"), max_attempts=3)

    assert decision.because == "treatment 'Busy retry' (Retry in): attempt 2 of 3, again at 2026-03-07 09:00 EST"
    assert datetime.fromtimestamp(decision.change.dial_sched_time, ZONES[NEW_YORK]).hour == 9


def test_given_the_chain_moves_on_when_told_then_record_and_cycle_are_named():
    next_one = treatment(4, "NEXT_IN_CHAIN", cycle_attempts=2)

    decision = decided([next_one], row(1, 0), [row(1, 0), row(2, 5, tz_dbid=BERLIN)])

    assert decision.because == (
        "treatment 'T4' (Next in chain): record 5 of the chain, cycle 1 of 2, at 2026-06-10 14:00 CEST"
    )


def test_given_all_actions_when_named_then_none_is_forgotten():
    assert set(ACTION_NAMES) == set(RecordAction)


def test_given_a_moment_within_a_second_when_a_wait_is_computed_then_it_is_never_cut_short():
    decision = decided([treatment(4, "REDIAL", cycle_attempts=1)], row(), now=NOON + timedelta(milliseconds=1))

    assert decision.change.dial_sched_time == int(NOON.timestamp()) + 1
