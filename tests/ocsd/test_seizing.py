"""Seizing modes, assured connections and nailed-up phones over the in-memory plane, in virtual time."""

import math

import pytest
import trio

from ocsd.model.enums import CallResult, DialMode, RecordStatus
from ocsd.model.errors import CampaignRequestError
from ocsd.model.services import CampaignRequest
from ocsd.protocols.desktop import RequestAgentLogout, RequestAgentNotReady, RequestAgentReady, RequestReleaseCall
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.roster import AgentState
from telephony.contract import VerdictKind
from telephony.fake import CallScript
from tests.ocsd.test_session import world

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
        assert daemon.campaigns.standing.lost == 0


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
        assert daemon.campaigns.standing.lost == 1


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


# --- assured connections ---------------------------------------------------------------------------------------------

ASSURED = '"assured-connect" = true, "assured-connect-field" = "vip"'


def with_vip(text):
    assert "fields = [" in text or "fields =" in text
    return text
