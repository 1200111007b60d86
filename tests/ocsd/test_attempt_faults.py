"""The media server stays away: whose fault that is, in every state, on every record."""

import pytest
import trio

from ocsd.model.enums import CallResult, RecordStatus
from ocsd.model.services import CampaignRequest
from ocsd.sessions.attempt import AttemptState, DeadlinePassed, MediaFailed
from ocsd.sessions.roster import AgentState
from telephony.fake import CallScript
from tests.ocsd.test_attempt_table import WAYS, machine_of
from tests.ocsd.test_session import PERSON, with_record_processed, world

WITH_A_RESULT = {"TALKING", "WRAP_UP", "ANNOUNCING", "TRANSFERRED", "IN_DIALOG", "FINISHED"}
SPOKEN_TO = {
    "IN_APPLICATION",
    "IN_APPLICATION (machine)",
    "WAITING (queued)",
    "CONNECTING (queued)",
    "TRANSFERRING (application)",
}
"""A voice application has had the call."""
PEOPLE_LEFT = {"ANALYSING", "WAITING", "CONNECTING", "PLAYING", "TRANSFERRING", "IN_APPLICATION (dialog)"}
"""Ways on which a person has answered, or nobody knows who."""


def has_a_result(name):
    return name.split(" ")[0] in WITH_A_RESULT or name in SPOKEN_TO


@pytest.mark.parametrize("name", [name for name in WAYS if not has_a_result(name)])
def test_given_nobody_has_talked_when_the_media_server_is_lost_then_nobody_is_charged(name):
    plan, way = WAYS[name]
    designated = "designated" in name
    machine, now_s, _ = machine_of(plan, *way, designated=designated)

    machine.on(MediaFailed(), now_s + 1.0)

    assert machine.result == CallResult.SYSTEM_ERROR
    assert not machine.count_attempt
    if designated:
        assert machine.state is AttemptState.WRAP_UP, "the agent says what becomes of the record"
        assert machine.goes_back, "and if it says nothing, the record goes back"
    else:
        assert machine.record_status is RecordStatus.READY
    assert ("abandoned" in machine.marks) is (name in PEOPLE_LEFT), "the law does not ask why nobody spoke"


@pytest.mark.parametrize("name", [name for name in WAYS if has_a_result(name)])
def test_given_a_call_that_has_a_result_when_the_media_server_is_lost_then_the_result_stays(name):
    plan, way = WAYS[name]
    machine, now_s, _ = machine_of(plan, *way, designated="designated" in name)
    before = machine.state, machine.result, machine.record_status, machine.count_attempt

    assert machine.on(MediaFailed(), now_s + 1.0) == ()

    assert (machine.state, machine.result, machine.record_status, machine.count_attempt) == before


def test_given_a_designated_agents_call_when_the_media_server_is_lost_then_the_record_waits_on_the_desk_only_so_long():
    machine, now_s, _ = machine_of(None, designated=True)
    machine.on(MediaFailed(), now_s + 1.0)

    machine.on(DeadlinePassed(), machine.deadline_s)

    assert machine.state is AttemptState.FINISHED


# --- in a session, over the in-memory plane ------------------------------------------------------------------------


def lose_all(world):
    for channel in list(world.media.channels.values()):
        channel.lose()


async def no_more_calls(daemon):
    await daemon.request(CampaignRequest.STOP_DIALING)


async def test_given_a_ringing_and_a_waiting_call_when_the_media_server_is_lost_then_records_are_ready_and_uncharged(
    autojump_clock, tmp_path
):
    rings = CallScript(ring_s=30.0)
    async with world(tmp_path, [PERSON, rings]) as site, site.daemon() as daemon:
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: AttemptState.CONNECTING in daemon.states() and len(daemon.states()) == 2)
        await no_more_calls(daemon)
        lose_all(site)
        await daemon.until(lambda: not daemon.session.attempts)

        assert [site.result(n)[0] for n in (1, 2)] == [RecordStatus.READY, RecordStatus.READY]
        assert [site.row(n).record.attempt for n in (1, 2)] == [0, 0], "nobody is charged"
        attempts = site.database.attempts.values()
        assert {a.finished.call_result for a in attempts} == {CallResult.SYSTEM_ERROR}
        assert all("media lost" in a.finished.evidence["our_fault"] for a in attempts)
        assert all(a.finished.treatment_dbid is None for a in attempts)
        assert [a.finished.person is not None for a in attempts] == [True, False], "one person had answered"
        await daemon.until(lambda: daemon.seat("agent1").state is AgentState.READY)
        assert (site.telephony.machines, site.media.channels) == ({}, {})


async def test_given_a_conversation_when_the_media_server_is_lost_then_it_ends_as_one_and_the_agent_is_freed(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as site, site.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: daemon.states() == [AttemptState.TALKING])
        lose_all(site)
        await daemon.until(lambda: not daemon.session.attempts)

        assert site.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        (attempt,) = site.database.attempts.values()
        assert "media lost" in attempt.finished.evidence["our_fault"]
        assert daemon.seat("agent1").state is not AgentState.TALKING
        site.assert_consistent()


async def test_given_who_answered_hears_nothing_and_leaves_when_the_media_server_is_away_then_it_is_our_fault(
    autojump_clock, tmp_path
):
    impatient = CallScript(ring_s=1.0, talk_s=6.0, verdict_s=60.0)
    async with world(tmp_path, [impatient]) as site, site.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: daemon.states() == [AttemptState.ANALYSING])
        await no_more_calls(daemon)
        for channel in site.media.channels.values():
            channel.reachable = False
        await daemon.until(lambda: not daemon.session.attempts)

        assert site.result(1)[0] == RecordStatus.READY
        (attempt,) = site.database.attempts.values()
        assert (attempt.finished.call_result, attempt.finished.count_attempt) == (CallResult.SYSTEM_ERROR, False)


async def test_given_only_the_agents_channel_when_it_cannot_be_opened_again_then_the_conversation_ends(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as site, site.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: daemon.states() == [AttemptState.TALKING])
        (agents,) = [channel for name, channel in site.media.channels.items() if "-agent-" in name]
        agents.lose("its port was taken")
        await daemon.until(lambda: not daemon.session.attempts)

        assert site.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        site.assert_consistent()


@pytest.mark.parametrize("who", ["customer", "agent"])
async def test_given_a_record_on_the_desk_when_the_call_is_over_then_nothing_is_sent_to_either_phone_any_more(
    autojump_clock, tmp_path, who
):
    talks_s = 10.0 if who == "customer" else 300.0
    customer = CallScript(ring_s=4.0, talk_s=talks_s, verdict_s=1.0)
    agent = CallScript(ring_s=0.2, talk_s=300.0 if who == "customer" else 10.0)
    edit = with_record_processed
    async with world(tmp_path, [customer], phones=agent, edit=edit) as site, site.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: daemon.states() == [AttemptState.WRAP_UP])
        await trio.sleep(1.0)

        assert daemon.states() == [AttemptState.WRAP_UP], "the desktop has not processed the record"
        assert site.media.channels == {}
        assert site.telephony.machines == {}
