"""Calls that the pacing gives up while they ring: what becomes of the call, its record and the figures."""

import math

import pytest
import structlog

from ocsd.model.enums import CallResult, RecordStatus
from ocsd.rehearsal.run import rehearse
from ocsd.sessions.attempt import Answered, AttemptMachine, AttemptRules, AttemptState, GivenUp, Heard, Progress
from ocsd.sessions.dialing import give_up
from ocsd.sessions.figures import ringing, snapshot
from telephony.contract import VerdictKind
from telephony.fake import CallScript
from tests.ocsd.rehearsal_worlds import configuration, scene, variant
from tests.ocsd.test_session import world

LEAST_RING = "predictive-least-ring = 15"


@pytest.mark.parametrize(
    ("events", "since_s"),
    [
        ((), None),
        ((Progress(has_media=True, rings=False),), None),
        ((Progress(has_media=False), Progress(has_media=True)), 1.0),
        ((Progress(True, rings=False), Heard(VerdictKind.RINGBACK, connected=False)), 2.0),
    ],
)
def test_given_news_of_a_call_when_its_phone_rings_then_the_first_ring_is_noted(events, since_s):
    machine = AttemptMachine(AttemptRules(), 0.0)
    for now_s, event in enumerate(events, 1):
        machine.on(event, float(now_s))

    assert machine.marks.get("alerting") == since_s


def test_given_an_answer_that_came_first_when_a_call_is_given_up_then_it_goes_on_as_an_answered_call():
    machine = AttemptMachine(AttemptRules(), 0.0)
    machine.on(Progress(has_media=False), 1.0)
    machine.on(Answered(), 17.0)

    assert machine.on(GivenUp(), 17.1) == ()
    assert (machine.state, machine.let_go) == (AttemptState.ANALYSING, False)


async def test_given_ringing_calls_when_one_is_given_up_then_it_alone_ends_as_no_answer(autojump_clock, tmp_path):
    silent = CallScript(ring_s=math.inf)
    async with world(tmp_path, [silent, silent], options=LEAST_RING) as w, w.daemon() as daemon:
        await daemon.dial("agent1", "agent2")
        session = daemon.session
        await daemon.until(
            lambda: min((*snapshot(session).attempts_rung_s, 99.0)) > 15.0 and len(ringing(session)) == 2
        )
        seen, tasks = snapshot(session), ringing(session)
        assert len(seen.attempts_rung_s) == len(seen.attempts_age_s) == 2
        with structlog.testing.capture_logs() as logs:
            give_up(session, (1,))
            await daemon.until(lambda: tasks[1].closed.is_set())

        assert tasks[0].machine.state is AttemptState.ALERTING
        record_id = tasks[1].context.record.record_id
        assert w.result(record_id) == (RecordStatus.UPDATED, CallResult.NO_ANSWER)
        attempt = w.database.attempts[tasks[1].context.attempt_id]
        assert attempt.finished.evidence["given_up_by"] == "pacing"
        assert session.statistics()["calls_given_up"] == 1
        assert [one["calls"] for one in logs if one["event"] == "pacing.gave_up"] == [1]
        await daemon.until(lambda: len(w.telephony.machines) == 1)


async def test_given_no_least_ring_when_calls_ring_then_the_pacing_is_not_told_for_how_long(autojump_clock, tmp_path):
    async with world(tmp_path, [CallScript(ring_s=math.inf)]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.ALERTING in daemon.states())

        assert snapshot(daemon.session).attempts_rung_s == ()


@pytest.mark.parametrize(("options", "some"), [({}, False), ({"predictive-least-ring": 15}, True)])
def test_given_a_least_ring_when_rehearsed_then_calls_are_given_up_there_too(options, some):
    rehearsed = scene(configuration(agents=8, options=options), rows=3000, minutes=10.0)
    with structlog.testing.capture_logs() as logs:
        rehearse(rehearsed, variant(8), 5)

    assert any(one["event"] == "pacing.gave_up" for one in logs) is some
