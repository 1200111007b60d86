"""Whether the network answers calls over a trunk: the gate, and what it is told by the journal."""

from collections import Counter
from datetime import timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.explain.contract import Reach
from ocsd.explain.trunks import FEW, LOOK_BACK, UNKNOWN, UNREACHED, TrunkCalls, calls_of, trunk_calls, trunks_gate
from tests.ocsd.list_worlds import PostgresWorld
from tests.ocsd.why_world import NOON, configuration, was_called

NAMES = {101: "carrier", 102: "spare"}
STATUSES = (None, 200, 404, 408, 486, 487, 503)


def ago(minutes):
    return NOON - timedelta(minutes=minutes)


def over(*calls):
    return calls_of([(status, ago(minutes)) for status, minutes in calls])


DEAD = over((503, 7.5), (408, 3), (None, 1))
ALIVE = over((503, 8), (486, 5), (200, 4), (503, 2), (503, 1))


def test_given_one_trunk_that_nobody_answers_when_asked_then_it_is_told_and_the_gate_stays_open_by_the_other():
    gate = trunks_gate(NAMES, {101: DEAD, 102: ALIVE}, NOON)

    assert (gate.passed, gate.reach, gate.remedy) == (True, Reach.GROUP, "")
    assert gate.why == (
        "carrier: no call over it has been answered by the network for 7 minutes"
        " (last SIP statuses 1 x no answer, 1 x 408, 1 x 503); spare: last SIP statuses 3 x 503, 1 x 200, 1 x 486"
    )
    assert gate.inputs["spare"] == {
        "sip_statuses": {"503": 3, "200": 1, "486": 1}, "answered_at": ago(4), "since": ago(8),
    }  # fmt: skip


def test_given_no_trunk_that_is_answered_when_asked_then_the_gate_is_closed_and_says_what_to_look_at():
    gate = trunks_gate(NAMES, {101: DEAD, 102: over(*[(503, 0.5)] * FEW)}, NOON)

    assert gate.passed is False
    assert "spare: no call over it has been answered by the network for 1 minute (" in gate.why
    assert gate.remedy


@pytest.mark.parametrize("calls", [(), ((503, 2),) * (FEW - 1)])
def test_given_too_few_calls_when_asked_then_nothing_is_proved(calls):
    gate = trunks_gate(NAMES, {101: DEAD, 102: over(*calls)}, NOON)

    assert gate.passed is True
    assert "spare: no call has ended within 10 minutes" in gate.why or "spare: last SIP statuses 2 x 503" in gate.why


def test_given_no_database_when_asked_then_the_gate_says_that_it_cannot_be_told():
    gate = trunks_gate(NAMES, None, NOON)

    assert (gate.passed, gate.why) == (None, UNKNOWN)


@pytest.fixture
def world(database):
    world = PostgresWorld(database, configuration(database))
    yield world
    world.conn.close()


@given(st.lists(st.sampled_from(STATUSES), max_size=9))
def test_given_any_calls_when_summed_up_then_it_is_dead_exactly_if_enough_failed_and_none_was_answered(statuses):
    found = over(*[(status, 9 - minute) for minute, status in enumerate(statuses)])

    assert found.statuses == Counter(statuses)
    assert found.dead == (len(statuses) >= FEW and set(statuses) <= UNREACHED)


def test_given_a_journal_when_read_then_only_ended_calls_of_these_trunks_within_the_last_minutes_count(world, database):
    columns = {"switch_dbid": 101, "sip_status": 503}
    with psycopg.connect(database, autocommit=True) as conn:
        was_called(conn, 1, ago(11), **columns)
        was_called(conn, 2, ago(9), **columns)
        was_called(conn, 3, ago(8), **columns, counted=False)
        was_called(conn, 4, ago(8), **columns, interrupted=True)
        was_called(conn, 5, ago(8), **columns, finished_at=None, counted=None)
        was_called(conn, 6, ago(6), switch_dbid=102, sip_status=486, campaign_group_dbid=77)
        was_called(conn, 7, ago(5), switch_dbid=101, sip_status=None)
        was_called(conn, 8, ago(4), switch_dbid=103, sip_status=200)
        was_called(conn, 9, ago(-1), switch_dbid=101, sip_status=200)

        found = trunk_calls(conn, [101, 102], NOON)

    assert found == {
        101: TrunkCalls({503: 1, None: 1}, ago(9), None),
        102: TrunkCalls({486: 1}, ago(6), ago(6)),
    }
    assert timedelta(minutes=10) == LOOK_BACK
