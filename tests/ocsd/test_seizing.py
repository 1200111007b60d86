"""Seizing modes, assured connections and nailed-up phones over the in-memory plane, in virtual time."""

import math
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from random import Random

import pytest
import trio

from ocsd.config.objects import Phone
from ocsd.model.enums import CallResult, DialMode, GroupCampStatus, RecordStatus
from ocsd.model.errors import CampaignRequestError, DesktopRequestError
from ocsd.model.services import CampaignRequest
from ocsd.protocols.desktop import RequestAgentLogout, RequestAgentNotReady, RequestAgentReady, RequestReleaseCall
from ocsd.protocols.desktop_calls import RequestInitiateTransfer
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.roster import AgentState
from telephony.contract import VerdictKind
from telephony.fake import CallScript
from tests.ocsd.test_session import LIST, world

LONG = CallScript(ring_s=4.0, talk_s=math.inf, verdict_s=1.0)
SHORT = CallScript(ring_s=4.0, talk_s=10.0, verdict_s=1.0)
SLOW_PHONE = CallScript(ring_s=3.0)
"""Longer than a called person waits."""
NEVER = CallScript(ring_s=math.inf)


async def seize(daemon, *agents, mode=DialMode.PROGRESSIVE_AND_SEIZE, **parameters):
    await daemon.request(CampaignRequest.LOAD)
    for agent_id in agents:
        await daemon.log_in(agent_id)
    await daemon.request(CampaignRequest.START_DIALING, dial_mode=mode, **parameters)


def calls(desktop, event):
    return [m for m in desktop.messages if m.get("Event") == event]


def legs(w, part):
    return [leg_id for leg_id in w.telephony.machines if part in leg_id]


# --- the flow of the manual ------------------------------------------------------------------------------------------


async def test_given_asm_mode_when_a_person_is_found_then_the_engaged_agent_is_bridged_in_the_same_instant(
    autojump_clock, tmp_path
):
    """Figure "ASM-Mode Call Flow (MCP as the CPA Provider) with a SIP Agent Endpoint"."""
    async with world(tmp_path, [LONG], phones=SLOW_PHONE) as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        desktop = daemon.desktops["agent1"]
        await daemon.until(lambda: daemon.seat("agent1").phone_rings)
        assert w.dialed() == [], "step 1: nobody is dialed before an agent is engaged"
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        ringing, engaging = calls(desktop, "EventRinging")[0], calls(desktop, "EventEstablished")[0]
        assert ringing["ConnID"] == engaging["ConnID"]
        assert engaging["UserData"]["GSW_CALL_TYPE"] == "ENGAGING"
        assert engaging["UserData"]["GSW_SESSION_DBID"] == daemon.session.group.dbid
        assert engaging["UserData"]["GSW_QUEUE_DBID"] == w.config.agent_groups[0].dbid
        (standing,) = [c for c in w.media.channels.values() if "standing" in c.channel_id]
        assert standing.comfort_dbfs == -60.0
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (task,) = daemon.session.attempts.values()
        assert task.machine.marks["agent_answered"] == pytest.approx(task.machine.marks["cpd_completed"], abs=1e-6)
        customer = calls(desktop, "EventEstablished")[1]
        assert customer["UserData"]["GSW_CALL_TYPE"] == "REGULAR"
        assert customer["PreviousConnID"] == engaging["ConnID"]
        assert customer["ConnID"] != engaging["ConnID"]
        assert "GSW_ASM_OVERDIAL" not in customer["UserData"]
        assert standing.bridged_to == task.channel.channel_id
        assert standing.prompts == ["tone"], "beep-on-merge"
        assert len(calls(desktop, "EventRinging")) == 1, "the phone rings once"


async def test_given_transfer_mode_when_a_person_is_found_then_the_customers_call_says_regular_to_every_desktop(
    autojump_clock, tmp_path
):
    """Table "TMakePredictiveCall Attached Data": its three keys are required, whatever the mode."""
    async with world(tmp_path, [LONG], agents=2) as w, w.daemon() as daemon:
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        first = calls(daemon.desktops["agent1"], "EventRinging")[0]
        other = await daemon.log_in("agent2", ready=False)
        request = RequestInitiateTransfer(conn_id=first["ConnID"], other_dn="agent2", reference_id=5)
        await daemon.desks.received(daemon.desktops["agent1"], request)
        await daemon.until(lambda: calls(other, "EventEstablished"))
        for event in ("EventRinging", "EventEstablished"):
            for desktop in (daemon.desktops["agent1"], other):
                data = calls(desktop, event)[0]["UserData"]
                assert data["GSW_CALL_TYPE"] == "REGULAR"
                assert data["GSW_SESSION_DBID"] == daemon.session.group.dbid
                assert data["GSW_QUEUE_DBID"] == w.config.agent_groups[0].dbid


async def test_given_a_conversation_when_it_ends_then_the_engaging_call_ends_and_the_agent_is_engaged_anew_when_ready(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [SHORT, LONG]) as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        first = daemon.campaigns.standing.of("agent1").conn_id
        await daemon.until(lambda: daemon.seat("agent1").state is AgentState.WRAP_UP)
        await daemon.until(lambda: not legs(w, "standing"))
        assert calls(daemon.desktops["agent1"], "EventReleased")[-1]["ConnID"] == first
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        await trio.sleep(20.0)
        assert not legs(w, "standing"), "nobody calls an agent in after-call work"
        await daemon.desks.received(daemon.desktops["agent1"], RequestAgentReady())
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert daemon.campaigns.standing.of("agent1").conn_id != first


async def test_given_engaged_legs_that_are_kept_when_a_conversation_ends_then_the_same_leg_takes_the_next_customer(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [SHORT, SHORT], options='"engaged-legs" = "keep"') as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: daemon.seat("agent1").state is AgentState.WRAP_UP)
        (standing,) = legs(w, "standing")
        assert not w.telephony.machines[standing].protected, "no conversation any more"
        await daemon.desks.received(daemon.desktops["agent1"], RequestAgentReady())
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert legs(w, "standing") == [standing]
        await daemon.until(lambda: not daemon.session.attempts)
        await daemon.desks.received(daemon.desktops["agent1"], RequestAgentNotReady())
        await daemon.until(lambda: not legs(w, "standing"))
        assert daemon.campaigns.standing.lost.total() == 0


async def test_given_more_people_than_engaged_agents_when_answered_then_they_are_overdialed_and_hear_the_announcement(
    autojump_clock, tmp_path
):
    options = '"asm_drop_announcement_data" = "drop", "call_wait_in_queue_timeout" = 2'
    async with world(tmp_path, [LONG, LONG], options=options, agents=3) as w, w.daemon() as daemon:
        await seize(daemon, "agent1", "agent2")
        await daemon.until(lambda: daemon.states().count(AttemptState.ANALYSING) == 2)
        lost = daemon.campaigns.standing.of("agent2")
        w.telephony.legs[lost.leg_id].far_end_hangs_up()
        await daemon.until(lambda: daemon.seat("agent2").state is AgentState.NOT_READY)
        assert "EventAgentNotReady" in daemon.desktops["agent2"].events()
        await daemon.until(lambda: AttemptState.WAITING in daemon.states())
        assert daemon.session.statistics()["calls_asm_overdialed"] == 1
        await daemon.until(lambda: AttemptState.ANNOUNCING in daemon.states())
        (task,) = [t for t in daemon.session.attempts.values() if t.machine.state is AttemptState.ANNOUNCING]
        assert task.channel.prompts == ["drop"]
        assert task.context.evidence["asm_overdial"] == 1
        await daemon.until(lambda: len(daemon.session.attempts) == 1)
        assert daemon.session.statistics()["engaged_legs_lost"] == 1


async def test_given_an_overdialed_person_when_an_agent_is_engaged_in_time_then_the_desktop_is_told(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], phones=CallScript(ring_s=0.5)) as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: AttemptState.ANALYSING in daemon.states())
        leg = daemon.campaigns.standing.of("agent1")
        w.telephony.legs[leg.leg_id].far_end_hangs_up()
        await daemon.until(lambda: AttemptState.WAITING in daemon.states())
        await daemon.desks.received(daemon.desktops["agent1"], RequestAgentReady())
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        customer = daemon.desktops["agent1"].last("EventEstablished")
        assert customer["UserData"]["GSW_ASM_OVERDIAL"] == 1


async def test_given_a_machine_in_asm_mode_when_a_message_is_configured_then_it_is_left_after_the_beep(
    autojump_clock, tmp_path
):
    machine = CallScript(verdict=VerdictKind.MACHINE, talk_s=math.inf)
    options = '"asm_drop_am_announcement_data" = "drop"'
    async with world(tmp_path, [machine], options=options) as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: AttemptState.AWAITING_BEEP in daemon.states())
        (task,) = daemon.session.attempts.values()
        task.channel.hear(VerdictKind.BEEP)
        await daemon.until(lambda: not daemon.session.attempts)
        assert task.channel.prompts == ["drop"]
        assert w.result(1)[1] == CallResult.ANSWERING_MACHINE


async def test_given_merge_by_transfer_when_the_customers_side_takes_the_call_then_both_legs_end_and_the_agent_wraps_up(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], options='"merge-method" = "transfer"') as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (task,) = daemon.session.attempts.values()
        customer, engaging = w.telephony.legs[task.leg.leg_id], daemon.campaigns.standing.of("agent1").leg.dialog
        await daemon.until(lambda: not w.telephony.machines)
        assert [refer.replaces for refer in customer.refers] == [engaging]
        assert daemon.seat("agent1").state is AgentState.WRAP_UP
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        assert task.context.evidence["merge"] == {"method": "transfer", "sip_status": 200}


async def test_given_merge_by_transfer_when_the_customers_side_refuses_then_they_stay_bridged(autojump_clock, tmp_path):
    stubborn = CallScript(ring_s=2.0, refer=((405, 0.0),))
    async with world(tmp_path, [stubborn], options='"merge-method" = "transfer"') as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (task,) = daemon.session.attempts.values()
        await trio.sleep(30.0)
        assert task.machine.state is AttemptState.TALKING
        assert task.channel.bridged_to
        assert task.context.evidence["merge"]["sip_status"] == 405


# --- who is engaged --------------------------------------------------------------------------------------------------


async def test_given_asm_channel_num_when_more_agents_are_ready_then_no_more_phones_are_called(
    autojump_clock, tmp_path
):
    async with (
        world(tmp_path, [LONG] * 6, options='"asm_channel_num" = 2', agents=4) as w,
        w.daemon() as daemon,
    ):
        await seize(daemon, "agent1", "agent2", "agent3", "agent4")
        await trio.sleep(30.0)
        assert len(legs(w, "standing")) == 2
        assert daemon.states().count(AttemptState.TALKING) == 2
        figures = daemon.session.statistics()
        assert (figures["agents_engaged"], figures["agents_ready"]) == (2, 2)
        assert daemon.session.snapshot().agents_idle_s == ()


async def test_given_two_engaged_agents_when_somebody_answers_then_who_has_been_engaged_longer_is_bridged(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(ring_s=20.0)] * 2) as w, w.daemon() as daemon:
        await seize(daemon, "agent2")
        await daemon.until(lambda: daemon.seat("agent2").engaged_s is not None)
        await trio.sleep(1.0)
        await daemon.log_in("agent1")
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert daemon.seat("agent2").state is AgentState.TALKING


async def test_given_a_phone_that_nobody_answers_when_engaged_then_the_agent_is_not_ready_and_nobody_is_dialed(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], phones=NEVER) as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: daemon.seat("agent1").state is AgentState.NOT_READY)
        await trio.sleep(5.0)
        assert w.dialed() == []
        assert not legs(w, "standing")
        assert not w.media.channels


async def test_given_nothing_left_to_dial_when_five_seconds_are_over_then_the_phones_are_hung_up(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [SHORT]) as w, w.daemon() as daemon:
        await seize(daemon, "agent1", "agent2")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        await daemon.until(lambda: len(legs(w, "standing")) == 1)
        assert daemon.seat("agent2").state is AgentState.READY, "it is engaged again when there is something to dial"
        assert AttemptState.TALKING in daemon.states()


async def test_given_engaged_agents_when_dialing_stops_or_they_log_out_then_their_phones_are_hung_up(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [NEVER] * 2) as w, w.daemon() as daemon:
        await seize(daemon, "agent1", "agent2")
        await daemon.until(lambda: len(legs(w, "standing")) == 2)
        await daemon.desks.received(daemon.desktops["agent1"], RequestAgentLogout())
        await daemon.until(lambda: len(legs(w, "standing")) == 1)
        await daemon.request(CampaignRequest.STOP_DIALING)
        await daemon.until(lambda: not legs(w, "standing"))
        assert w.media.channels.keys() == {f"{t.context.leg_id}-rtp" for t in daemon.session.attempts.values()}


async def test_given_an_engaging_call_when_the_desktop_releases_it_then_the_agent_is_not_ready(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [NEVER]) as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        desktop = daemon.desktops["agent1"]
        await daemon.desks.received(desktop, RequestReleaseCall(calls(desktop, "EventEstablished")[0]["ConnID"]))
        await daemon.until(lambda: not legs(w, "standing"))
        assert daemon.seat("agent1").state is AgentState.NOT_READY


@pytest.mark.parametrize(
    ("running", "wanted", "refused"),
    [
        (DialMode.PROGRESSIVE_AND_SEIZE, DialMode.PREDICTIVE_AND_SEIZE, False),
        (DialMode.PREDICTIVE_AND_SEIZE, DialMode.PROGRESSIVE_AND_SEIZE, False),
        (DialMode.PREDICTIVE_AND_SEIZE, DialMode.PREDICTIVE, True),
        (DialMode.PROGRESSIVE, DialMode.PROGRESSIVE_AND_SEIZE, True),
    ],
)
async def test_given_a_running_group_when_the_mode_changes_then_only_modes_of_one_kind_are_exchanged(
    autojump_clock, tmp_path, running, wanted, refused
):
    async with world(tmp_path, [LONG]) as w, w.daemon() as daemon:
        await seize(daemon, "agent1", mode=running)
        if refused:
            with pytest.raises(CampaignRequestError, match="only predictive and progressive can be exchanged"):
                await daemon.request(CampaignRequest.SET_DIALING_MODE, dial_mode=wanted)
        else:
            await daemon.request(CampaignRequest.SET_DIALING_MODE, dial_mode=wanted)
            assert daemon.desktops["agent1"].last("CampaignModeChanged")["GSW_CAMPAIGN_MODE"] == wanted.campaign_mode


async def test_given_the_customers_audio_at_another_server_when_merged_then_the_engaged_leg_moves_there(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG]) as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: AttemptState.ANALYSING in daemon.states())
        leg = daemon.campaigns.standing.of("agent1")
        before = leg.channel.channel_id
        w.media.apart.add(before)
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (task,) = daemon.session.attempts.values()
        assert leg.channel.beside == task.channel.channel_id
        assert leg.channel.bridged_to == task.channel.channel_id
        (moved,) = w.telephony.legs[leg.leg_id].redirects
        assert (moved.host, moved.port) == (leg.channel.host, leg.channel.port)
        assert before not in w.media.channels


@pytest.mark.parametrize("lost", ["worker", "media", "nothing free"])
async def test_given_a_plane_that_fails_when_agents_are_engaged_then_they_stay_ready_and_are_engaged_again(
    autojump_clock, tmp_path, lost
):
    async with world(tmp_path, [NEVER] * 3) as w, w.daemon() as daemon:
        if lost == "nothing free":
            w.media.available = False
        await seize(daemon, "agent1")
        if lost == "nothing free":
            await trio.sleep(3.0)
            assert len(w.telephony.placed) == 0
            w.media.available = True
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        leg = daemon.campaigns.standing.of("agent1")
        if lost == "worker":
            w.telephony.lose(leg.leg_id, "the worker died")
        elif lost == "media":
            w.media.channels[leg.channel.channel_id].lose()
        await trio.sleep(0.1)
        assert daemon.seat("agent1").state is AgentState.READY
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        assert daemon.campaigns.standing.lost.total() == 0
        if lost != "nothing free":
            assert daemon.campaigns.standing.of("agent1") is not leg


@pytest.mark.parametrize("lost", ["worker", "nothing free"])
@pytest.mark.parametrize("others", [0, 1])
async def test_given_a_plane_that_fails_when_an_agent_is_called_then_it_stays_ready_and_the_person_gets_an_agent(
    autojump_clock, tmp_path, lost, others
):
    """Transfer mode: the phone is called when a person waits."""
    async with world(tmp_path, [LONG], options='"call_wait_in_queue_timeout" = 4') as w, w.daemon() as daemon:
        await daemon.dial("agent1", *["agent2"] * others)
        await daemon.until(lambda: AttemptState.ANALYSING in daemon.states())
        if lost == "nothing free":
            w.telephony.capacity = w.telephony.in_use
            await daemon.until(lambda: daemon.seat("agent1").rests_until_s > 0.0)
            w.telephony.capacity = 1000
        else:
            await daemon.until(lambda: legs(w, "-agent-agent1"))
            w.telephony.lose(legs(w, "-agent-agent1")[0], "the worker died")
            await daemon.until(lambda: daemon.seat("agent1").rests_until_s > 0.0)
        assert daemon.seat("agent1").state is AgentState.READY
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert "EventAgentNotReady" not in daemon.desktops["agent1"].events()
        called = [command for command in w.telephony.placed if "-agent-" in command.leg_id]
        assert len(called) <= 2, "one who cannot be reached is not called over and over"
        (task,) = daemon.session.attempts.values()
        assert "agent1" in task.context.evidence["agents_not_reached"]
        if lost == "worker":
            assert daemon.seat("agent2" if others else "agent1").state is AgentState.TALKING


async def test_given_an_assured_record_when_the_plane_fails_its_agent_then_the_agent_stays_ready_and_is_called_again(
    autojump_clock, tmp_path
):
    slow = CallScript(ring_s=2.0)
    async with world(tmp_path, [LONG], phones=slow, options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: AttemptState.RINGING_AGENT in daemon.states() and legs(w, "standing"))
        w.telephony.lose(legs(w, "standing")[0], "the worker died")
        await daemon.until(lambda: not daemon.session.attempts)
        assert daemon.seat("agent1").state is AgentState.READY
        assert w.dialed() == []
        assert w.row(1).record.attempt == 0
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert len(w.database.attempts) == 2


async def test_given_a_conversation_on_an_engaging_call_when_its_worker_dies_then_the_agent_wraps_up(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG]) as w, w.daemon() as daemon:
        await seize(daemon, "agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        w.telephony.lose(daemon.campaigns.standing.of("agent1").leg_id, "the worker died")
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        assert daemon.seat("agent1").state is AgentState.WRAP_UP


# --- restarts --------------------------------------------------------------------------------------------------------


async def test_given_an_engaged_and_a_talking_agent_when_the_daemon_is_killed_then_both_legs_are_adopted(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG, NEVER]) as w:
        async with w.daemon() as daemon:
            await seize(daemon, "agent1", "agent2")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            before = sorted(legs(w, "standing"))
            assert len(before) == 2
            talking = next(a for a in ("agent1", "agent2") if daemon.seat(a).state is AgentState.TALKING)
            daemon.kill()
        async with w.daemon() as daemon:
            engaged = "agent1" if talking == "agent2" else "agent2"
            assert sorted(legs(w, "standing")) == before
            assert daemon.seat(talking).state is AgentState.TALKING
            await daemon.log_in(engaged)
            established = calls(daemon.desktops[engaged], "EventEstablished")
            assert [m["UserData"]["GSW_CALL_TYPE"] for m in established] == ["ENGAGING"]
            await daemon.log_in(talking, ready=False)
            await trio.sleep(5.0)
            assert sorted(legs(w, "standing")) == before
            (task,) = [t for t in daemon.session.attempts.values() if t.machine.state is AttemptState.TALKING]
            w.telephony.legs[task.leg.leg_id].far_end_hangs_up()
            await daemon.until(lambda: len(legs(w, "standing")) == 1)
            assert daemon.seat(talking).state is AgentState.WRAP_UP
            await daemon.until(lambda: w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER))


async def test_given_an_engaged_agent_who_does_not_come_back_when_the_daemon_was_killed_then_the_phone_is_hung_up(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [NEVER]) as w:
        async with w.daemon() as daemon:
            await seize(daemon, "agent1")
            await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
            daemon.kill()
        async with w.daemon() as daemon:
            assert len(legs(w, "standing")) == 1
            await trio.sleep(25.0)
            assert len(legs(w, "standing")) == 1
            await daemon.until(lambda: not legs(w, "standing"))


async def test_given_an_engaged_agent_when_the_group_is_not_loaded_after_a_kill_then_the_phone_is_hung_up_at_once(
    autojump_clock, tmp_path
):
    """No session looks after that phone any more."""
    async with world(tmp_path, [NEVER]) as w:
        async with w.daemon() as daemon:
            await seize(daemon, "agent1")
            await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
            daemon.kill()
        w.memory.states.clear()
        async with w.daemon() as daemon:
            await trio.sleep(1.0)
            assert not legs(w, "standing")
            assert daemon.seat("agent1").engaged_s is None


async def test_given_engaged_agents_when_the_daemon_and_its_plane_are_stopped_then_they_are_hung_up(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [NEVER]) as w, w.daemon() as daemon:
        await seize(daemon, "agent1", "agent2")
        await daemon.until(lambda: len(legs(w, "standing")) == 2)
        await daemon.campaigns.stop(10.0)
        assert not w.telephony.machines
        assert daemon.campaigns.standing.lost.total() == 0


# --- assured connections ---------------------------------------------------------------------------------------------

ASSURED = '"assured-connect" = true, "assured-connect-field" = "vip"'


def with_vip(text):
    name = 'send_attribute = "customer_name" }'
    assert name in text
    return text.replace(name, f'{name}, {{ name = "vip", type = "varchar", length = 5 }}')


def flag(w, *records):
    for record_id in records:
        row = w.row(record_id)
        record = replace(row.record, user_fields={**row.record.user_fields, "vip": "yes"})
        w.database.table(w.database.table_name(LIST)).put(replace(row, record=record))


@pytest.mark.parametrize("mode", [DialMode.PROGRESSIVE, DialMode.PREDICTIVE, DialMode.PREDICTIVE_AND_SEIZE])
async def test_given_a_flagged_record_when_an_agent_is_ready_then_it_is_engaged_before_the_customer_is_dialed(
    autojump_clock, tmp_path, mode
):
    async with world(tmp_path, [LONG], options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        await seize(daemon, "agent1", mode=mode)
        await daemon.until(lambda: w.dialed())
        assert daemon.seat("agent1").engaged_s is not None
        assert AttemptState.RINGING_AGENT not in daemon.states()
        desktop = daemon.desktops["agent1"]
        (task,) = daemon.session.attempts.values()
        if mode is not DialMode.PREDICTIVE_AND_SEIZE:  # there the agent had been engaged for whoever comes
            engaging = calls(desktop, "EventEstablished")[0]["UserData"]
            assert (engaging["GSW_CALL_TYPE"], engaging["GSW_ASSURED_HANDLE"]) == ("ENGAGING", task.context.attempt_id)
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert task.machine.marks["agent_answered"] == pytest.approx(task.machine.marks["cpd_completed"], abs=1e-6)
        customer = calls(desktop, "EventEstablished")[-1]["UserData"]
        assert (customer["GSW_CALL_TYPE"], customer["GSW_ASSURED_HANDLE"]) == ("REGULAR", task.context.attempt_id)
        w.telephony.legs[task.leg.leg_id].far_end_hangs_up()
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        assert not legs(w, "standing")


async def test_given_a_flagged_record_when_others_have_taken_the_last_port_then_its_call_waits(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        board = daemon.campaigns.trunk_board
        (trunk,) = board.trunks
        board.reconfigure([trunk.model_copy(update={"max_calls": 1})])
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: daemon.session.seizing.due)
        board.take((trunk.name,), daemon.campaigns.clock.now_s(), group=999)
        await trio.sleep(5.0)
        assert board.calls(trunk.name) == 1, "max_calls"
        assert not daemon.session.attempts
        assert daemon.seat("agent1").state is AgentState.READY
        board.release(trunk.name, 999)
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())


def limit(daemon, **limits):
    """The trunk's, from now on; returns the board, and its state as a function."""
    board = daemon.campaigns.trunk_board
    (trunk,) = board.trunks
    board.reconfigure([trunk.model_copy(update=limits)])
    return board, lambda: board.state(trunk.name, daemon.campaigns.clock.now_s())


async def test_given_a_flagged_record_when_its_agents_phone_rings_then_its_call_counts_only_when_it_starts(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], phones=SLOW_PHONE, options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        _, state = limit(daemon, calls_per_second=1.0)
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: AttemptState.RINGING_AGENT in daemon.states())
        await trio.sleep(1.0)
        assert (state().started, state().calls) == (0, 0)
        assert daemon.session.starts_per_s == 0.0
        await daemon.until(lambda: w.dialed())
        assert (state().started, state().calls) == (1, 1)
        assert daemon.session.starts_per_s > 0.0
        await daemon.request(CampaignRequest.STOP_DIALING)
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())


async def test_given_a_flagged_record_when_others_start_calls_while_the_phone_rings_then_it_is_the_next_one(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], phones=SLOW_PHONE, options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        board, state = limit(daemon, calls_per_second=0.5)
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: daemon.seat("agent1").phone_rings)
        await daemon.until(lambda: trio.current_time() > daemon.campaigns.standing.of("agent1").rang_s + 2.9)
        board.take((state().name,), daemon.campaigns.clock.now_s(), group=999)
        await daemon.until(lambda: AttemptState.DIALING in daemon.states())
        assert w.dialed() == []
        assert board.starts_allowed((state().name,), daemon.campaigns.clock.now_s() + 2.0, 999) == 0, "it goes first"
        await daemon.until(lambda: w.dialed())
        assert board.starts_allowed((state().name,), daemon.campaigns.clock.now_s() + 2.0, 999) == 1
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())


async def test_given_a_flagged_record_that_waits_for_its_start_when_the_agent_hangs_up_then_nobody_is_called(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], phones=SLOW_PHONE, options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        board, state = limit(daemon, max_calls=1)
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: daemon.seat("agent1").phone_rings)
        board.take((state().name,), daemon.campaigns.clock.now_s(), group=999)
        await daemon.until(lambda: AttemptState.DIALING in daemon.states())
        await trio.sleep(1.0)
        w.telephony.legs[daemon.campaigns.standing.of("agent1").leg_id].far_end_hangs_up()
        await daemon.until(lambda: not daemon.session.attempts)
        assert daemon.seat("agent1").state is AgentState.NOT_READY
        assert w.dialed() == []
        assert (w.row(1).record.attempt, w.result(1)[1]) == (0, CallResult.UNKNOWN)
        (attempt,) = w.database.attempts.values()
        assert attempt.finished.evidence["not_dialed"] == "the agent has left"


async def test_given_a_flagged_record_when_no_port_comes_free_then_the_agent_is_ready_again_and_nothing_counted(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], phones=SLOW_PHONE, options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        board, state = limit(daemon, max_calls=1)
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: daemon.seat("agent1").phone_rings)
        board.take((state().name,), daemon.campaigns.clock.now_s(), group=999)
        await daemon.until(lambda: AttemptState.DIALING in daemon.states())
        await daemon.until(lambda: not daemon.session.attempts)
        assert daemon.seat("agent1").state is AgentState.READY
        assert (w.row(1).record.attempt, w.result(1)[1]) == (0, CallResult.NO_PORT_AVAILABLE)
        assert state().calls == 1
        board.release(state().name, 999)
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())


async def test_given_a_flagged_record_when_nobody_answers_then_the_agent_is_ready_again_and_the_phone_hung_up(
    autojump_clock, tmp_path
):
    busy = CallScript(status=486)
    async with world(tmp_path, [busy], options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: w.result(1)[1] == CallResult.BUSY)
        await daemon.until(lambda: not legs(w, "standing"))
        assert daemon.seat("agent1").state is AgentState.READY
        assert daemon.campaigns.standing.lost.total() == 0


async def test_given_a_flagged_record_when_the_agents_phone_is_not_answered_then_nobody_is_called_and_nothing_counted(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], phones=NEVER, options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: daemon.seat("agent1").state is AgentState.NOT_READY)
        await trio.sleep(3.0)
        assert w.dialed() == []
        assert not daemon.session.attempts
        assert w.row(1).record.attempt == 0
        assert w.result(1)[1] == CallResult.UNKNOWN


async def test_given_a_seized_agent_who_hangs_up_when_a_person_answers_then_another_agent_takes_the_call(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 1)
        await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
        await daemon.until(lambda: AttemptState.ALERTING in daemon.states())
        w.telephony.legs[daemon.campaigns.standing.of("agent1").leg_id].far_end_hangs_up()
        await daemon.until(lambda: daemon.seat("agent1").state is AgentState.NOT_READY)
        await daemon.log_in("agent2")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert daemon.seat("agent2").state is AgentState.TALKING


async def test_given_flagged_and_other_records_when_agents_are_few_then_both_kinds_are_dialed_and_nobody_twice(
    autojump_clock, tmp_path
):
    scripts = [CallScript(ring_s=2.0, talk_s=5.0)] * 8
    async with world(tmp_path, scripts, options=ASSURED, edit=with_vip) as w, w.daemon() as daemon:
        flag(w, 2, 3, 5, 8)
        await seize(daemon, "agent1", "agent2", mode=DialMode.PROGRESSIVE)
        seats = [daemon.seat("agent1"), daemon.seat("agent2")]
        while any(w.result(i)[0] is not RecordStatus.UPDATED for i in range(1, 9)):
            for agent_id, seat in zip(("agent1", "agent2"), seats, strict=True):
                if seat.state is AgentState.WRAP_UP:
                    await daemon.desks.received(daemon.desktops[agent_id], RequestAgentReady())
            await trio.sleep(0.5)
        assert {w.result(i)[1] for i in range(1, 9)} == {CallResult.ANSWER}
        await daemon.request(CampaignRequest.COMPLETE)
        await daemon.until(lambda: not w.telephony.machines)
        w.assert_consistent()


async def test_given_a_flagged_record_whose_call_is_under_way_when_the_daemon_is_killed_then_it_goes_on_as_any_other(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(ring_s=18.0)], options=ASSURED, edit=with_vip) as w:
        flag(w, 1)
        async with w.daemon() as daemon:
            await seize(daemon, "agent1", mode=DialMode.PROGRESSIVE)
            await daemon.until(lambda: AttemptState.ALERTING in daemon.states())
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            assert daemon.seat("agent1").state is AgentState.TALKING


# --- nailed-up phones and phones behind a PBX ------------------------------------------------------------------------


def with_phone(**keys):
    written = ", ".join(
        f"{key} = {str(value).lower() if value is True else repr(value)}" for key, value in keys.items()
    )

    def edit(text):
        lines = []
        for line in text.splitlines():
            lines.append(line)
            if line.startswith("login_id ="):
                lines.append(f"phone = {{ {written} }}".replace("'", '"'))
        return "\n".join(lines)

    return edit


@pytest.mark.parametrize("mode", [DialMode.PROGRESSIVE, DialMode.PROGRESSIVE_AND_SEIZE])
async def test_given_a_nailed_up_phone_when_calls_come_then_they_are_bridged_to_it_with_a_tone_until_logout(
    autojump_clock, tmp_path, mode
):
    async with world(tmp_path, [SHORT, SHORT], edit=with_phone(nailed_up=True)) as w, w.daemon() as daemon:
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        (leg_id,) = legs(w, "standing")
        assert calls(desktop, "EventEstablished")[0]["UserData"]["GSW_CALL_TYPE"] == "ENGAGING"
        await daemon.request(CampaignRequest.LOAD)
        await daemon.request(CampaignRequest.START_DIALING, dial_mode=mode)
        await daemon.desks.received(desktop, RequestAgentReady())
        for record_id in (1, 2):
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            (task,) = daemon.session.attempts.values()
            assert task.machine.marks["agent_answered"] == pytest.approx(task.machine.marks["cpd_completed"], abs=1e-6)
            standing = w.media.channels[f"{leg_id}-rtp"]
            assert standing.prompts[-1] == "tone"
            await daemon.until(lambda record_id=record_id: w.result(record_id)[1] == CallResult.ANSWER)
            await daemon.desks.received(desktop, RequestAgentReady())
        await trio.sleep(60.0)
        assert legs(w, "standing") == [leg_id], "also without anything to dial"
        await daemon.desks.received(desktop, RequestAgentLogout())
        await daemon.until(lambda: not w.telephony.machines)
        assert not w.media.channels


async def test_given_a_nailed_up_phone_when_it_is_lost_then_it_is_called_again_and_the_agent_stays_ready(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [NEVER], edit=with_phone(nailed_up=True)) as w, w.daemon() as daemon:
        await daemon.log_in("agent1")
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        (first,) = legs(w, "standing")
        w.telephony.legs[first].far_end_hangs_up()
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is None)
        assert daemon.seat("agent1").state is AgentState.READY
        assert not daemon.seat("agent1").can_take(seizes=False), "nobody is given to a phone that is down"
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        assert legs(w, "standing") != [first]


async def test_given_a_nailed_up_phone_nobody_answers_when_called_then_the_agent_is_not_ready_and_it_is_tried_later(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LONG], phones=NEVER, edit=with_phone(nailed_up=True)) as w, w.daemon() as daemon:
        await daemon.log_in("agent1")
        await daemon.until(lambda: daemon.seat("agent1").state is AgentState.NOT_READY)
        await trio.sleep(40.0)
        tried = [command for command in w.telephony.placed if "standing" in command.leg_id]
        assert 2 <= len(tried) <= 4, "with growing waits"


async def test_given_a_nailed_up_phone_and_its_agent_when_the_daemon_is_killed_then_the_leg_goes_on(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [NEVER], edit=with_phone(nailed_up=True)) as w:
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
            before = legs(w, "standing")
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await trio.sleep(60.0)
            assert legs(w, "standing") == before


async def test_given_a_phone_that_is_nailed_up_no_more_when_the_daemon_starts_anew_then_it_is_hung_up(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [NEVER], edit=with_phone(nailed_up=True)) as w:
        async with w.daemon() as daemon:
            await daemon.log_in("agent1", ready=False)
            await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
            daemon.kill()
        agents = tuple(agent.model_copy(update={"phone": Phone()}) for agent in w.config.agents)
        w.config = w.config.model_copy(update={"agents": agents})
        async with w.daemon() as daemon:
            await trio.sleep(1.0)
            assert not legs(w, "standing")
            assert daemon.seat("agent1").engaged_s is None


async def test_given_a_nailed_up_phone_when_its_agent_calls_from_the_desktop_then_nothing_rings(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [SHORT], edit=with_phone(nailed_up=True)) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        (leg_id,) = legs(w, "standing")
        await daemon.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PROGRESSIVE)
        (chain,) = await daemon.session.supply.take(1)
        handle = await daemon.session.next_handle()
        desk = DeskRecord(handle, chain, "agent1", daemon.world.clock.now_s())
        daemon.session.on_desk[handle] = desk
        await daemon.session.call_from_desk(desk, "agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert len(w.telephony.placed) == 2, "the customer, and the phone once"
        assert w.media.channels[f"{leg_id}-rtp"].bridged_to
        own = calls(desktop, "EventEstablished")[-1]["UserData"]
        assert "GSW_CALL_TYPE" not in own, "no call that the dialer made"
        await daemon.until(lambda: AttemptState.WRAP_UP in daemon.states())
        assert legs(w, "standing") == [leg_id]
        assert calls(desktop, "EventRinging")[0]["UserData"]["GSW_CALL_TYPE"] == "ENGAGING"
        assert len(calls(desktop, "EventRinging")) == 1


async def test_given_a_call_from_the_desktop_when_its_trunk_has_started_a_call_then_it_waits_for_its_turn(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [SHORT], edit=with_phone(nailed_up=True)) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        await daemon.log_in("agent1", ready=False)
        await daemon.until(lambda: daemon.seat("agent1").engaged_s is not None)
        await daemon.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PROGRESSIVE)
        (chain,) = await daemon.session.supply.take(1)
        handle = await daemon.session.next_handle()
        desk = daemon.session.on_desk[handle] = DeskRecord(handle, chain, "agent1", daemon.world.clock.now_s())
        board, state = limit(daemon, calls_per_second=1.0)
        board.take((state().name,), daemon.campaigns.clock.now_s(), group=999)
        began_s = trio.current_time()
        await daemon.session.call_from_desk(desk, "agent1")
        await daemon.until(lambda: w.dialed())
        assert trio.current_time() - began_s == pytest.approx(1.0, abs=0.2)
        assert state().started == 2
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (task,) = daemon.session.attempts.values()
        assert task.machine.started_s == pytest.approx(began_s + 1.0, abs=0.2), "the time it has waited is no ringing"


@pytest.mark.parametrize(
    ("auto_answer", "header"),
    [
        ("answer-mode", ("Answer-Mode", "Auto")),
        ("call-info", ("Call-Info", "<sip:127.0.0.1>;answer-after=0")),
        ("alert-info", ("Alert-Info", "<http://127.0.0.1>;info=alert-autoanswer;delay=0")),
    ],
)
@pytest.mark.parametrize("mode", [DialMode.PROGRESSIVE, DialMode.PROGRESSIVE_AND_SEIZE])
async def test_given_a_phone_behind_a_pbx_when_it_is_called_then_it_answers_by_itself_through_the_proxy(
    autojump_clock, tmp_path, auto_answer, header, mode
):
    phone = with_phone(auto_answer=auto_answer, proxy="127.0.0.1:5099", username="ocsd", password="secret")
    async with world(tmp_path, [LONG], edit=phone) as w, w.daemon() as daemon:
        await seize(daemon, "agent1", mode=mode)
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (command,) = [placed for placed in w.telephony.placed if "-customer" not in placed.leg_id]
        assert header in command.headers
        assert (command.proxy, command.username, command.password) == ("127.0.0.1:5099", "ocsd", "secret")
        assert "secret" not in repr(w.config)


# --- everything at once ----------------------------------------------------------------------------------------------


async def make_trouble(w, daemon, agents, rng):
    """What agents, phones and the plane do in a bad hour."""
    while True:
        await trio.sleep(rng.uniform(0.1, 1.5))
        agent_id = rng.choice(agents)
        desktop, seat, leg = daemon.desktops[agent_id], daemon.seat(agent_id), daemon.campaigns.standing.of(agent_id)
        match rng.randrange(10):
            case 0:
                await daemon.desks.received(desktop, RequestAgentNotReady())
            case 1 if seat.state is not AgentState.LOGGED_OUT:
                await daemon.desks.received(desktop, RequestAgentLogout())
            case 2 if leg is not None and leg.leg_id in w.telephony.legs:
                w.telephony.legs[leg.leg_id].far_end_hangs_up()
            case 3 if leg is not None:
                w.telephony.lose(leg.leg_id, "the worker died")
            case 4 if leg is not None and leg.channel is not None and leg.channel.channel_id in w.media.channels:
                w.media.channels[leg.channel.channel_id].lose()
            case 5 if leg is not None and leg.channel is not None:
                w.media.apart.add(leg.channel.channel_id)
            case 6 if desktop.messages and calls(desktop, "EventEstablished"):
                with suppress(DesktopRequestError):
                    conn_id = calls(desktop, "EventEstablished")[-1]["ConnID"]
                    await daemon.desks.received(desktop, RequestReleaseCall(conn_id))
            case _:
                pass
        for each in agents:  # whoever is away comes back
            state = daemon.seat(each).state
            if state is AgentState.LOGGED_OUT and rng.random() < 0.5:
                await daemon.log_in(each)
            elif state in (AgentState.WRAP_UP, AgentState.NOT_READY) and rng.random() < 0.5:
                await daemon.desks.received(daemon.desktops[each], RequestAgentReady())


BAD_HOUR = 40
"""Calls of it."""
NAMES = [f"agent{number}" for number in range(1, 7)]


@asynccontextmanager
async def bad_world(tmp_path, rng, nailed_up):
    """Forty people, machines, busy lines and failing workers, and six agents whose phones do as they like."""
    kinds = (
        lambda: CallScript(rng.uniform(1.0, 6.0), talk_s=rng.uniform(0.5, 20.0), verdict_s=rng.uniform(0.2, 2.0)),
        lambda: CallScript(status=486),
        lambda: CallScript(verdict=VerdictKind.MACHINE, talk_s=20.0),
        lambda: CallScript(ring_s=2.0, worker_dies_s=rng.uniform(0.5, 10.0)),
        lambda: NEVER,
    )
    scripts = [rng.choices(kinds, (6, 1, 1, 1, 0.3))[0]() for _ in range(BAD_HOUR)]

    def script(command):
        if "-customer" in command.leg_id:
            return scripts[int(command.uri.partition("@")[0][-4:]) - 2001]
        return CallScript(ring_s=rng.choice((0.1, 0.3, 1.0)), status=rng.choice((200, 200, 200, 200, 200, 480)))

    options = f'{ASSURED}, "engaged-legs" = "{rng.choice(("keep", "release"))}"'
    edit = (lambda text: with_phone(nailed_up=True)(with_vip(text))) if nailed_up else with_vip
    async with world(tmp_path, scripts, options=options, agents=len(NAMES), edit=edit) as w:
        w.telephony._script = script
        flag(w, *rng.sample(range(1, BAD_HOUR + 1), 10))
        yield w


async def see_through(w, daemon, rng):
    """Trouble until every record has a result; then everybody goes home, and nothing may be left."""
    async with trio.open_nursery() as trouble:
        trouble.start_soon(make_trouble, w, daemon, NAMES, rng)
        over = (RecordStatus.UPDATED, RecordStatus.STALE)
        await daemon.until(lambda: all(w.result(i)[0] in over for i in range(1, BAD_HOUR + 1)))
        trouble.cancel_scope.cancel()
    for each in NAMES:
        if daemon.seat(each).state is not AgentState.LOGGED_OUT:
            await daemon.desks.received(daemon.desktops[each], RequestAgentLogout())
    await daemon.request(CampaignRequest.COMPLETE)
    await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
    await daemon.until(lambda: not w.telephony.machines)
    await trio.sleep(1.0)
    w.assert_consistent()
    assert {daemon.seat(each).state for each in NAMES} <= {AgentState.LOGGED_OUT, AgentState.NOT_READY}
    assert all(daemon.seat(each).engaged_s is None and not daemon.seat(each).phone_rings for each in NAMES)
    assert [daemon.campaigns.standing.of(each) for each in NAMES] == [None] * len(NAMES)


MODES = [DialMode.PROGRESSIVE_AND_SEIZE, DialMode.PREDICTIVE_AND_SEIZE, DialMode.PROGRESSIVE]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", MODES)
async def test_given_a_bad_hour_when_it_is_over_then_nobody_was_dialed_twice_and_no_leg_or_agent_is_left_behind(
    autojump_clock, tmp_path, mode, seed
):
    rng = Random(f"{mode}{seed}")
    async with bad_world(tmp_path, rng, nailed_up=seed % 2 == 1) as w, w.daemon() as daemon:
        await seize(daemon, *NAMES, mode=mode)
        await see_through(w, daemon, rng)


@pytest.mark.parametrize("seed", range(4))
async def test_given_a_bad_hour_when_the_daemon_is_killed_in_it_then_the_next_one_sees_it_through(
    autojump_clock, tmp_path, seed
):
    rng = Random(f"killed {seed}")
    async with bad_world(tmp_path, rng, nailed_up=seed % 2 == 1) as w:
        async with w.daemon() as daemon:
            await seize(daemon, *NAMES, mode=MODES[seed % 3])
            async with trio.open_nursery() as trouble:
                trouble.start_soon(make_trouble, w, daemon, NAMES, rng)
                await trio.sleep(rng.uniform(5.0, 20.0))
                trouble.cancel_scope.cancel()
            daemon.kill()
        async with w.daemon() as daemon:
            for each in NAMES:
                await daemon.log_in(each)
            await see_through(w, daemon, rng)
