"""Analysis by the trunk's gateway in sessions, over the in-memory plane."""

import math
from contextlib import asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs

from ocsd.model.enums import CallResult, RecordStatus
from ocsd.sessions.attempt import AttemptState
from telephony.contract import VerdictKind
from telephony.fake import CallScript
from telephony.gateway_cpa import CONTENT_TYPE, HEADER, REQUEST
from tests.ocsd.test_session import restarted, world

ALICE = "agent1"
ON = '"cpa" = "gateway"'
PROMISED = ((HEADER, "Response=AMD,CPT"),)


def callee(headers=PROMISED, **more):
    """Our own analysis would hear a fax: a verdict that must not appear where the gateway analyses."""
    return CallScript(**({"ring_s": 4.0, "talk_s": math.inf, "verdict": VerdictKind.FAX, "headers": headers} | more))


@asynccontextmanager
async def dialing(tmp_path, script, options=ON):
    """The customer has been dialed; yields world, daemon, attempt."""
    async with world(tmp_path, [script], options=options) as w, w.daemon() as daemon:
        await daemon.dial(ALICE)
        await daemon.until(lambda: daemon.states())
        (task,) = daemon.session.attempts.values()
        await daemon.until(lambda: task.leg is not None)
        yield w, daemon, task


def info(task, kind, subtype):
    task.leg.far_end_sends_info(CONTENT_TYPE, f"Type= {kind}\r\nSubType= {subtype}\r\n")


async def test_given_a_gateway_that_analyses_when_it_reports_a_voice_then_the_agent_gets_the_call_and_we_never_listened(
    tmp_path, autojump_clock
):
    async with dialing(tmp_path, callee()) as (w, daemon, task):
        (command,) = [c for c in w.telephony.placed if c.leg_id.endswith("-customer")]
        assert REQUEST in command.headers
        assert HEADER in command.wanted_headers
        await daemon.until(lambda: task.machine.state is AttemptState.ANALYSING)
        await trio.sleep(0.4)
        info(task, "PTT", "SPEECH-START")
        info(task, "PTT", "SPEECH-END")
        ended_s = trio.current_time()
        await trio.sleep(0.6)
        info(task, "AMD", "VOICE")
        await daemon.until(lambda: task.machine.state is AttemptState.TALKING)
        assert task.machine.verdict is VerdictKind.HUMAN
        assert task.machine.person_at_s == pytest.approx(ended_s), "the legal wait runs since the greeting's end"
        assert "start_analysis" not in task.channel.commands
        assert task.context.evidence["cpa_by"] == "gateway"
        told = task.context.heard.document(task.machine)
        assert told["cause"] == "the gateway: AMD VOICE"


@pytest.mark.parametrize(
    ("kind", "subtype", "result"),
    [
        ("AMD", "AUTOMATA", CallResult.ANSWERING_MACHINE),
        ("FAX", "CED", CallResult.FAX),
        ("AMD", "SILENT", CallResult.SILENCE),
        ("CPT", "SIT-VC", CallResult.SIT_VACANT_CODE),
        ("CPT", "BUSY", CallResult.BUSY),
    ],
)
async def test_given_a_gateway_when_it_reports_what_is_no_person_then_the_record_has_that_result(
    tmp_path, kind, subtype, result, autojump_clock
):
    script = callee(verdict=VerdictKind.HUMAN)
    async with dialing(tmp_path, script) as (w, daemon, task):
        await daemon.until(lambda: task.machine.state is AttemptState.ANALYSING)
        info(task, kind, subtype)
        await task.closed.wait()
        assert task.machine.result == result
        assert w.result(1)[1] == result


async def test_given_a_gateway_when_it_reports_a_tone_before_the_answer_then_the_call_ends_with_it(
    tmp_path, autojump_clock
):
    script = callee(ring_s=20.0)
    async with dialing(tmp_path, script) as (w, daemon, task):
        await daemon.until(lambda: task.machine.state is AttemptState.ALERTING)
        info(task, "CPT", "SIT-NC")
        await task.closed.wait()
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.SIT_NO_CIRCUIT)
        assert task.machine.sip_status is None or task.machine.sip_status != 200


async def test_given_a_gateway_that_stays_silent_when_the_timeguard_is_over_then_who_answered_is_a_person(
    tmp_path, autojump_clock
):
    async with dialing(tmp_path, callee()) as (_w, daemon, task):
        await daemon.until(lambda: task.machine.state is AttemptState.TALKING)
        waited_s = task.machine.marks["cpd_completed"] - task.machine.marks["answered"]
        assert waited_s == pytest.approx(task.machine.rules.timeguard_s, abs=0.01)
        assert task.machine.verdict is VerdictKind.TIMEGUARD
        assert daemon.seat(ALICE).state.value == "talking"


@pytest.mark.parametrize("headers", [(), ((HEADER, "Response=FAX"),), ((HEADER, "Request=AMD"),)])
async def test_given_a_gateway_that_promises_nothing_when_answered_then_we_listen_and_say_so_once(
    tmp_path, headers, autojump_clock
):
    with capture_logs() as logs:
        async with dialing(tmp_path, callee(headers)) as (w, _daemon, task):
            await task.closed.wait()
            assert w.result(1)[1] == CallResult.FAX, "our own analysis"
            assert "cpa_by" not in task.context.evidence
    told = [entry for entry in logs if entry["event"] == "trunk.gateway_does_not_analyse"]
    assert [entry["trunk"] for entry in told] == ["Simulated Carrier"]


async def test_given_a_daemon_that_dies_while_a_gateway_analyses_when_restarted_then_the_gateway_is_still_relied_upon(
    tmp_path, autojump_clock
):
    patient = f"{ON}, call_timeguard_timeout = 60000"  # the death of the first one takes 10 s
    async with world(tmp_path, [callee()], options=patient) as w:
        await restarted(w, lambda daemon: AttemptState.ANALYSING in daemon.states(), ALICE)
        async with w.daemon() as daemon:
            (task,) = daemon.session.attempts.values()
            assert daemon.states() == [AttemptState.ANALYSING]
            await daemon.log_in(ALICE)
            info(task, "AMD", "VOICE")
            await daemon.until(lambda: task.machine.state is AttemptState.TALKING)
            assert "start_analysis" not in task.channel.commands
            assert task.context.evidence["cpa_by"] == "gateway"


async def test_given_a_trunk_without_a_gateway_when_somebody_sends_findings_then_they_count_for_nothing(
    tmp_path, autojump_clock
):
    async with dialing(tmp_path, callee(), options="") as (w, daemon, task):
        await daemon.until(lambda: task.machine.state is AttemptState.ANALYSING)
        info(task, "AMD", "AUTOMATA")
        await task.closed.wait()
        assert w.result(1)[1] == CallResult.FAX


async def test_given_a_long_conversation_when_the_gateway_hears_a_tone_at_its_end_then_it_stays_an_answer(
    tmp_path, autojump_clock
):
    async with dialing(tmp_path, callee()) as (_w, daemon, task):
        await daemon.until(lambda: task.machine.state is AttemptState.ANALYSING)
        info(task, "AMD", "VOICE")
        await daemon.until(lambda: task.machine.state is AttemptState.TALKING)
        await trio.sleep(60.0)
        info(task, "CPT", "BUSY")  # the called party has hung up; an analogue network plays this
        info(task, "CPT", "BEEP")
        await trio.sleep(1.0)
        assert task.machine.state is AttemptState.TALKING
        assert (task.machine.result, task.machine.unmasked) == (CallResult.ANSWER, False)


async def test_given_a_gateway_soon_after_the_connect_when_it_hears_a_tone_then_the_agent_is_freed(
    tmp_path, autojump_clock
):
    async with dialing(tmp_path, callee()) as (w, daemon, task):
        await daemon.until(lambda: task.machine.state is AttemptState.ANALYSING)
        info(task, "AMD", "VOICE")
        await daemon.until(lambda: task.machine.state is AttemptState.TALKING)
        await trio.sleep(3.0)
        info(task, "CPT", "BUSY")
        await task.closed.wait()
        assert w.result(1)[1] == CallResult.BUSY


async def test_given_another_trunk_when_its_gateway_promises_nothing_then_what_the_first_had_promised_is_void(
    tmp_path, autojump_clock
):
    async with dialing(tmp_path, callee()) as (_w, daemon, task):
        await daemon.until(lambda: task.machine.state is AttemptState.ANALYSING)
        assert await task.gateway.begins(connected=False)
        task.gateway.headers()  # of the next INVITE
        assert not await task.gateway.begins(connected=False)
