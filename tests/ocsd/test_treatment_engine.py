"""Whole ladders of treatments: written out by hand, and compared with the oracle for anything hypothesis thinks of."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain as joined
from itertools import cycle as endless

from hypothesis import given, settings
from hypothesis import strategies as st

from ocsd.model.enums import CallAction, CallResult, RecordAction, RecordStatus, RecordType
from ocsd.treatments.contract import Situation
from ocsd.treatments.engine import MISSED, call_action, decide
from ocsd.treatments.state import format_state, parse_state
from tests.ocsd.treatment_oracle import Next, oracle_next
from tests.ocsd.treatment_worlds import (
    NOON,
    decided,
    dialed,
    opening,
    opens_s,
    row,
    treatment,
    written,
    zone_of,
)

BUSY, NO_ANSWER = CallResult.BUSY, CallResult.NO_ANSWER


def ladder(treatments, chain, results, *, max_attempts=10, limit=1000):
    """Dial the chain to its end: (chain_n, minutes since the start, state before the dial) of every dial."""
    chain, record_id, now, steps = tuple(chain), chain[0].record_id, NOON, []
    for result in results:
        steps.append((next(r.chain_n for r in chain if r.record_id == record_id), now, chain[0].treatments))
        chain, record = dialed(chain, record_id)
        decision = decided(treatments, record, chain, result, now, max_attempts=max_attempts)
        if decision.next_record_id is None:
            return [(n, (at - NOON).total_seconds() / 60, state) for n, at, state in steps], decision
        chain, record_id = written(chain, record, decision, result), decision.next_record_id
        now = datetime.fromtimestamp(decision.change.dial_sched_time, UTC)
        assert len(steps) < limit
    raise AssertionError("the results are used up, the chain is not")


# -- ladders written out ----------------------------------------------------------------------------------------------


def test_given_redial_twice_then_next_in_chain_when_three_records_stay_busy_then_this_is_the_ladder():
    sequence = [
        treatment(101, "REDIAL", 1, cycle_attempts=2, interval_min=10, increment_min=5),
        treatment(102, "NEXT_IN_CHAIN", 2, cycle_attempts=2, interval_min=120, increment_min=30),
    ]
    steps, last = ladder(sequence, [row(1, 0), row(2, 1), row(3, 2)], endless([BUSY]))

    assert steps == [
        (0, 0, None),
        (0, 10, "101@1@0@1"),
        (0, 25, "101@2@0@1"),
        (1, 25, "102@1@1@1"),
        (1, 35, "101@1@1@1"),
        (1, 50, "101@2@1@1"),
        (2, 50, "102@1@2@1"),
        (2, 60, "101@1@2@1"),
        (2, 75, "101@2@2@1"),
        (0, 195, "102@1@0@2"),
        (0, 205, "101@1@0@2"),
        (0, 220, "101@2@0@2"),
        (1, 220, "102@1@1@2"),
        (1, 230, "101@1@1@2"),
        (1, 245, "101@2@1@2"),
        (2, 245, "102@1@2@2"),
        (2, 255, "101@1@2@2"),
        (2, 270, "101@2@2@2"),
    ]
    assert last.because == (
        "treatment 'T101' (Redial) cannot be applied: 2 of 2 attempts are made; "
        "treatment 'T102' (Next in chain) cannot be applied: there is no further record, and 2 of 2 cycles are done; "
        "the sequence is used up, the chain is done"
    )


def test_given_alternating_results_when_treated_then_each_begins_its_sequence_anew():
    sequence = [
        treatment(1, "REDIAL", 1, cycle_attempts=2, interval_min=10),
        treatment(2, "UPDATE_ALL", 2),
        treatment(3, "RETRY_IN", 1, result=NO_ANSWER, interval_min=60),
    ]
    steps, last = ladder(sequence, [row()], [BUSY, NO_ANSWER, BUSY, BUSY, NO_ANSWER, BUSY, BUSY, BUSY])

    assert steps == [
        (0, 0, None),
        (0, 10, "1@1@0@1"),
        (0, 70, "3@1@0@1"),
        (0, 80, "1@1@0@1"),
        (0, 90, "1@2@0@1"),
        (0, 150, "3@1@0@1"),
        (0, 160, "1@1@0@1"),
        (0, 170, "1@2@0@1"),
    ]
    assert last.treatment_dbid == 2


def test_given_a_cycle_when_another_result_comes_then_its_number_is_kept():
    sequence = [
        treatment(1, "NEXT_IN_CHAIN", cycle_attempts=2),
        treatment(2, "NEXT_IN_CHAIN", result=NO_ANSWER, cycle_attempts=3),
    ]
    steps, _ = ladder(sequence, [row(1, 0), row(2, 1)], joined([BUSY, BUSY, NO_ANSWER, NO_ANSWER, NO_ANSWER], [BUSY]))

    assert [state for _, _, state in steps] == [None, "1@1@1@1", "1@1@0@2", "2@1@1@2", "2@1@0@3", "2@1@1@3"]


def test_given_max_attempts_when_a_ladder_would_go_on_then_used_up_records_are_stepped_over():
    sequence = [
        treatment(1, "REDIAL", cycle_attempts=5, interval_min=1),
        treatment(2, "NEXT_IN_CHAIN", cycle_attempts=9, interval_min=60),
    ]
    steps, _ = ladder(sequence, [row(1, 0, attempt=1), row(2, 1, attempt=2)], endless([BUSY]), max_attempts=3)

    assert [(n, at) for n, at, _ in steps] == [(0, 0), (0, 1), (1, 1)]


def test_given_a_stale_state_when_a_general_record_is_treated_then_it_begins_at_the_beginning():
    redial = treatment(1, "REDIAL", cycle_attempts=2)

    assert decided([redial], row(treatments="1@2@0@7")).change.treatments == "1@1@0@1"
    assert decided([redial], row(record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments="rubbish")).treatment_dbid == 1


def test_given_a_state_that_names_another_record_when_treated_then_the_sequence_begins_anew():
    redial = treatment(1, "REDIAL", cycle_attempts=2)
    record = row(2, 1, record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments="1@2@0@3")

    assert decided([redial], record).change.treatments == "1@1@1@3"


def test_given_a_treatment_removed_or_renumbered_while_it_ran_when_the_next_result_comes_then_the_change_applies():
    redial, update = treatment(1, "REDIAL", 1, cycle_attempts=3), treatment(2, "UPDATE_ALL", 2)
    record = row(record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments="1@1@0@1")

    assert decided([redial, update], record).treatment_dbid == 1
    assert decided([update], record).treatment_dbid == 2
    assert decided([redial.model_copy(update={"cycle_attempts": 1}), update], record).treatment_dbid == 2
    assert decided([redial.model_copy(update={"number": 3}), update], record).treatment_dbid == 1


def test_given_the_same_number_when_ordered_then_the_dbid_decides():
    first, second = treatment(7, "UPDATE_ALL", 1), treatment(3, "UPDATE_RECORD", 1)

    assert decided([first, second], row()).treatment_dbid == 3


# -- dispositions -----------------------------------------------------------------------------------------------------


def test_given_a_disposition_with_a_sequence_when_decided_then_it_takes_the_place_of_the_results():
    by_result = treatment(1, "REDIAL", cycle_attempts=3)
    by_code = treatment(2, "RETRY_IN", 1, result=None, disposition="LATER", interval_min=5)
    then = treatment(3, "UPDATE_ALL", 2, result=None, disposition="LATER")
    rescheduled = row(record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments="2@1@0@1")

    assert decided([by_result, by_code, then], row(), disposition="LATER ").treatment_dbid == 2
    assert decided([by_result, by_code, then], row(), disposition="OTHER").treatment_dbid == 1
    assert decided([by_result, by_code, then], row()).treatment_dbid == 1
    assert decided([by_result, by_code, then], rescheduled, disposition="LATER").treatment_dbid == 3
    assert decided([by_code, then], row(), result=CallResult.OK, disposition="LATER").treatment_dbid == 2


def test_given_a_treatment_with_both_when_decided_then_both_must_match():
    both = treatment(1, "UPDATE_ALL", disposition="X")

    assert decided([both], row(), disposition="X").treatment_dbid == 1
    assert decided([both], row(), result=NO_ANSWER, disposition="X").treatment_dbid == 0
    assert decided([both], row()).treatment_dbid == 0


def test_given_a_missed_callback_when_its_row_has_a_disposition_then_that_is_of_an_earlier_call():
    missed = CallResult.AGENT_CALLBACK_ERROR
    by_code = treatment(1, "REDIAL", result=None, disposition="X", cycle_attempts=1)
    by_result = treatment(2, "MARK_AS_AGENT_ERROR", result=missed)

    assert decided([by_code, by_result], row(), result=missed, disposition="X").treatment_dbid == 2


# -- SQL and HTTP -----------------------------------------------------------------------------------------------------


def test_given_sql_and_http_when_the_sequence_comes_to_them_then_they_are_done_and_the_next_is_applied_at_once():
    sequence = [
        treatment(1, "EXECUTE_SQL", sql="insert into t values (%(record_id)s, %(call_result)s)"),
        treatment(2, "SEND_HTTP", url="http://127.0.0.1:1/x"),
        treatment(3, "REDIAL", cycle_attempts=1, interval_min=10),
        treatment(4, "EXECUTE_SQL", sql="select 4"),
    ]
    record = row(5, 2, attempt=1, user_fields={"debt": 3}, agent_id="1001")

    first = decided(sequence, record, facts={"campaign_id": 77})
    second = decided(sequence, row(5, 2, record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments="3@1@2@1"))

    assert [(s.treatment_dbid, s.text) for s in first.statements] == [
        (1, "insert into t values (%(record_id)s, %(call_result)s)")
    ]
    assert [(r.treatment_dbid, r.url) for r in first.requests] == [(2, "http://127.0.0.1:1/x")]
    assert first.treatment_dbid == 3
    assert first.because == (
        "treatment 'T1' (Execute SQL statement); treatment 'T2' (Send HTTP request); "
        "treatment 'T3' (Redial): attempt 1 of 1, again at 2026-06-10 12:10 UTC"
    )
    assert first.statements[0].parameters == {
        "record_id": 5, "contact_info": "+12025550005", "contact_info_type": 1, "record_type": 2, "record_status": 2,
        "call_result": 6, "attempt": 1, "dial_sched_time": None, "call_time": None, "daily_from": 0,
        "daily_till": 86_400, "tz_dbid": 4, "campaign_id": 77, "agent_id": "1001", "chain_id": 70, "chain_n": 2,
        "group_id": None, "app_id": None, "treatments": None, "media_ref": None, "email_subject": None,
        "email_template_id": None, "switch_id": None, "debt": 3,
    }  # fmt: skip
    assert first.requests[0].body == dict(first.statements[0].parameters) | {
        "treatment": "T2",
        "because": first.because,
    }
    # Redial is used up now: the rest of the sequence, and the end. What came before it is not done again.
    assert [s.text for s in second.statements] == ["select 4"]
    assert (second.requests, second.treatment_dbid, second.change.record_status) == ((), 4, RecordStatus.UPDATED)


def test_given_odd_values_in_a_row_when_sent_then_the_body_is_json():
    odd = {
        "at": datetime(2026, 1, 2, tzinfo=UTC), "day": date(2026, 1, 2), "sum": Decimal("1.10"), "nan": float("nan"),
        "rate": 0.5, "raw": b"\x00", "flag": True, "kind": CallResult.BUSY, "because": "user's", "record_id": "user's",
    }  # fmt: skip
    body = decided([treatment(2, "SEND_HTTP", url="http://127.0.0.1:1/x")], row(user_fields=odd)).requests[0].body

    read = json.loads(json.dumps(body, allow_nan=False))

    assert read["at"] == "2026-01-02T00:00:00+00:00"
    assert (read["day"], read["sum"], read["nan"], read["rate"], read["flag"]) == (
        "2026-01-02",
        "1.10",
        None,
        0.5,
        True,
    )
    assert type(body["kind"]) is int
    assert read["because"] == "treatment 'T2' (Send HTTP request); the sequence is used up, the chain is done"
    assert read["record_id"] == 1


# -- the oracle -------------------------------------------------------------------------------------------------------

RESULTS = st.sampled_from([BUSY, NO_ANSWER, CallResult.ANSWERING_MACHINE])
MISSES = st.sampled_from(sorted(MISSED))
STARTS = st.sampled_from(
    [
        NOON,
        datetime(2026, 3, 7, 21, 15, 30, tzinfo=UTC),  # New York and, a day later, its spring change
        datetime(2026, 10, 31, 20, 0, 0, 1, tzinfo=UTC),  # and back
        datetime(2026, 3, 28, 23, 59, tzinfo=UTC),  # Berlin
        datetime(2026, 4, 4, 13, 0, tzinfo=UTC),  # Lord Howe: half an hour
        datetime(2026, 9, 5, 18, 45, tzinfo=UTC),  # Santiago: midnight is skipped
    ]
)
WINDOWS = st.sampled_from(
    [
        (0, 86_400),
        (0, 86_400),
        (8 * 3600, 18 * 3600),
        (9000, 12_600),
        (5400, 9000),
        (79_200, 7200),
        (0, 1800),
        (3600, 3600),
    ]
)


@st.composite
def treatments_of_a_list(draw):
    """Any treatments for three results, the two missed ones and a disposition."""
    made = []
    for dbid in draw(st.lists(st.integers(1, 40), unique=True, max_size=9)):
        by_code = draw(st.integers(0, 7)) == 0
        # Mostly Busy, so that sequences are long.
        result = draw(st.none() | RESULTS if by_code else st.just(BUSY) | RESULTS | MISSES)
        call = draw(st.sampled_from([CallAction.NONE] * 6 + [CallAction.TRANSFER, CallAction.PLAY_MESSAGE]))
        made.append(
            treatment(
                dbid,
                draw(st.sampled_from([a.name for a in RecordAction])),
                draw(st.integers(1, 5)),
                result=result,
                disposition="CODE" if by_code else "",
                call_action=call,
                destination=draw(st.sampled_from(["", "sip:a@127.0.0.1"])),
                message=draw(st.sampled_from(["", "m"])),
                cycle_attempts=draw(st.integers(0, 4)),
                interval_min=draw(st.sampled_from([0, 1, 10, 45, 600, 1440, 527_040])),
                increment_min=draw(st.sampled_from([0, 5, 60, 527_040])),
                date=draw(
                    st.none()
                    | st.datetimes(datetime(2026, 3, 1), datetime(2026, 11, 15))  # noqa: DTZ001 - in the record's zone
                    | st.datetimes(datetime(2026, 3, 1), datetime(2039, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
                ),
                sql="select 1",
                url="http://127.0.0.1:1/",
            )
        )
    return made


@st.composite
def chains(draw):
    numbers = draw(st.lists(st.integers(0, 20), unique=True, min_size=1, max_size=4))
    state = st.none() | st.builds(
        "{}@{}@{}@{}".format, st.integers(1, 40), st.integers(1, 3), st.sampled_from(numbers), st.integers(1, 3)
    )
    record_type = draw(st.sampled_from([2, 2, 2, 3, 4, 5, 6]).map(RecordType))
    treatments = draw(state)
    return tuple(
        row(
            record_id,
            chain_n,
            record_type=record_type,
            attempt=draw(st.integers(0, 3)),
            treatments=treatments,
            window=draw(WINDOWS),
            tz_dbid=draw(st.integers(1, 5)),
        )
        for record_id, chain_n in enumerate(numbers, start=1)
    )


def same_as_oracle(treatments, chain, record, result, now, max_attempts, more, for_all):
    """Decide twice (the same both times) and compare with the oracle; returns the decision."""
    situation = Situation(result, record, chain, now, **more)
    options = {"max_attempts": max_attempts, "opening": opening, "timezone_of": zone_of, "result_for_all": for_all}
    decision = decide(situation, treatments, **options)
    assert decision == decide(situation, tuple(reversed(treatments)), **options)
    expected = oracle_next(
        treatments,
        chain,
        chain.index(record),
        int(result),
        now.timestamp(),
        max_attempts=max_attempts,
        opens_s=opens_s,
        zone_of=zone_of,
        result_for_all=for_all,
        **more,
    )
    change = decision.change
    ids = [r.record_id for r in chain]
    found = Next(
        ids.index(decision.next_record_id) if decision.next_record_id is not None else None,
        change.dial_sched_time,
        int(change.record_status),
        int(change.record_type),
        change.treatments,
        decision.treatment_dbid,
        expected.effects,
        change.sibling_result is not None,
    )
    assert found == expected
    sql = {t.dbid for t in treatments if t.record_action is RecordAction.EXECUTE_SQL}
    assert [s.treatment_dbid for s in decision.statements] == [dbid for dbid in expected.effects if dbid in sql]
    assert [r.treatment_dbid for r in decision.requests] == [dbid for dbid in expected.effects if dbid not in sql]
    return decision


@settings(max_examples=400, deadline=None)
@given(
    treatments_of_a_list(),
    chains(),
    st.lists(st.just(BUSY) | RESULTS, min_size=1, max_size=6),
    STARTS,
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from(["", "", "", "CODE"]),
    st.sampled_from([{}, {}, {"agent_id": "1001", "by_agent": True}, {"by_agent": True}]),
)
def test_given_any_treatments_when_a_chain_is_dialed_to_its_end_then_every_step_is_the_oracles(
    treatments, chain, results, start, max_attempts, for_all, disposition, asked
):
    record_id = next((r.record_id for r in chain if r.attempt < max_attempts), None)
    now, more = start, {"disposition": disposition, **asked}
    for dials, result in enumerate(endless(results), start=1):
        if record_id is None:
            break
        before = next(r for r in chain if r.record_id == record_id)
        assert before.attempt < max_attempts  # never dialed beyond
        chain, record = dialed(chain, record_id)
        decision = same_as_oracle(treatments, chain, record, result, now, max_attempts, more, for_all)
        assert dials <= max_attempts * len(chain)  # it always ends
        record_id = decision.next_record_id
        if record_id is None:
            assert not decision.change.goes_on
            assert (decision.change.dial_sched_time, decision.change.treatments) == (None, None)
            break
        to_dial = next(r for r in chain if r.record_id == record_id)  # a live row
        at_s = decision.change.dial_sched_time
        assert opens_s(to_dial, at_s) == at_s  # inside its window
        assert at_s >= now.timestamp()
        state = parse_state(decision.change.treatments)
        assert state is not None
        assert format_state(state) == decision.change.treatments
        assert state.chain_n == to_dial.chain_n
        chain = written(chain, record, decision, result)
        now = datetime.fromtimestamp(at_s, UTC)


@settings(max_examples=200, deadline=None)
@given(treatments_of_a_list(), chains(), MISSES, STARTS, st.integers(1, 5))
def test_given_any_treatments_when_a_callback_is_missed_again_and_again_then_it_ends_as_the_oracle_says(
    treatments, chain, result, start, max_attempts
):
    now, record_id, steps = start, chain[0].record_id, 0
    while record_id is not None:
        record = next(r for r in chain if r.record_id == record_id)  # nobody was called: no attempt is counted
        decision = same_as_oracle(treatments, chain, record, result, now, max_attempts, {}, False)
        record_id = decision.next_record_id
        if record_id is not None:
            chain = written(chain, record, decision, result)
            now = datetime.fromtimestamp(decision.change.dial_sched_time, UTC)
            steps += 1
            assert steps <= sum(max(t.cycle_attempts, max_attempts) for t in treatments)  # once through the sequence


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["REDIAL", "RETRY_IN"]), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(0, 3000),
    st.integers(0, 300),
    STARTS,
    WINDOWS,
    st.integers(1, 5),
)
def test_given_waits_when_repeated_then_each_is_interval_plus_increments_moved_by_the_opening(
    actions, cycle_attempts, interval_min, increment_min, start, window, tz_dbid
):
    more = {"cycle_attempts": cycle_attempts, "interval_min": interval_min, "increment_min": increment_min}
    sequence = [treatment(n, action, **more) for n, action in enumerate(actions, start=1)]
    record, now = row(attempt=1, window=window, tz_dbid=tz_dbid), start
    applied = []
    while (decision := decided(sequence, record, now=now, max_attempts=12)).next_record_id is not None:
        state = parse_state(decision.change.treatments)
        wanted = now + timedelta(minutes=interval_min + (state.attempt - 1) * increment_min)
        assert decision.change.dial_sched_time == opens_s(record, int(wanted.timestamp()) + (wanted.microsecond > 0))
        applied.append((state.treatment_dbid, state.attempt))
        (record,) = written((record,), record, decision, BUSY)
        record = replace(record, attempt=record.attempt + 1)
        now = datetime.fromtimestamp(decision.change.dial_sched_time, UTC)

    expected = []
    for n, action in enumerate(actions, start=1):
        limit = cycle_attempts if action == "REDIAL" else 1 if n < len(actions) else 12
        expected += [(n, k) for k in range(1, limit + 1)]
    assert applied == ([] if window == (3600, 3600) else expected[:11])


@settings(max_examples=200, deadline=None)
@given(treatments_of_a_list(), chains(), RESULTS | MISSES, st.integers(1, 5))
def test_given_an_answered_call_when_its_action_is_asked_for_then_it_agrees_with_the_decision(
    treatments, chain, result, max_attempts
):
    situation = Situation(result, chain[0], chain, NOON)
    options = {"max_attempts": max_attempts, "opening": opening, "timezone_of": zone_of}
    found = call_action(situation, treatments, **options)
    decision = decide(situation, treatments, **options)

    deciding = next((t for t in treatments if t.dbid == decision.treatment_dbid), None)
    silent = (RecordAction.NONE, RecordAction.EXECUTE_SQL, RecordAction.SEND_HTTP)
    if found is None:
        assert deciding is None or deciding.call_action is CallAction.NONE
    else:
        assert found.call_action is not CallAction.NONE
        assert found == deciding or found.record_action in silent


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["EXECUTE_SQL", "SEND_HTTP", "NONE"]), max_size=300), st.booleans())
def test_given_nothing_but_side_effects_when_decided_then_each_is_done_once_and_it_ends(actions, half_way):
    sequence = [treatment(n, action, 1) for n, action in enumerate(actions, start=1)]
    state = f"{len(actions) // 2 or 1}@1@0@1" if half_way else None
    decision = decided(sequence, row(record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments=state))

    first = max(0, len(actions) // 2 - 1) if half_way else 0
    assert [s.treatment_dbid for s in decision.statements] == [
        t.dbid for t in sequence[first:] if t.record_action is RecordAction.EXECUTE_SQL
    ]
    assert len(decision.requests) == actions[first:].count("SEND_HTTP")
    assert decision.change.record_status is RecordStatus.UPDATED
