"""ReadyTime and Smart Logout in running campaigns: what is answered, what the pacing sees, who gets calls."""

import pytest
import trio

from ocsd.model.enums import CallResult, DialMode
from ocsd.model.services import CampaignRequest
from ocsd.protocols.desktop import RequestAgentNotReady, RequestAgentReady
from ocsd.sessions.roster import READY_TIME_GRACE_S, AgentState
from telephony.fake import CallScript
from tests.ocsd.desk_world import PERSON, RINGS, TALKER, number, world

CAMPAIGN = {"GSW_APPLICATION_ID": 101, "GSW_CAMPAIGN_NAME": "Demo"}
NEVER = CallScript(ring_s=1000.0, talk_s=1.0)
RING_LIMIT_S = 25.0
"""call_wait_connected_timeout's default."""


async def predictive(daemon) -> None:
    await daemon.request(CampaignRequest.LOAD)
    await daemon.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PREDICTIVE)


async def ready_time(desktop, handle: int, seconds: object = 20, **pairs) -> None:
    await desktop.gsw("ReadyTime", GSW_APPLICATION_ID=101, GSW_RECORD_HANDLE=handle, GSW_READY_TIME=seconds, **pairs)


# --- ReadyTime ----------------------------------------------------------------------------------------------------


async def test_given_a_conversation_when_the_agent_announces_when_it_is_ready_then_the_pacing_counts_it_so(
    tmp_path, autojump_clock
):
    async with world(tmp_path, {number(1): TALKER}) as place, place.daemon() as daemon:
        place.add(1)
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)
        handle = await daemon.until_talking("agent1")

        await ready_time(desktop, handle, 20, GSW_REFERENCE_ID=77)
        await trio.sleep(5)

        acknowledged = desktop.last("ReadyTimeAcknowledge")
        assert (acknowledged["GSW_RECORD_HANDLE"], acknowledged["GSW_REFERENCE_ID"]) == (handle, 77)
        seen = daemon.session.snapshot()
        assert (seen.agents_talking_s, seen.agents_ready_in_s) == ((), (pytest.approx(15.0, abs=0.1),))
        await trio.sleep(15.5)
        assert daemon.session.snapshot().agents_ready_in_s == (0.0,)
        await trio.sleep(READY_TIME_GRACE_S)
        seen = daemon.session.snapshot()
        assert (len(seen.agents_talking_s), seen.agents_ready_in_s) == (1, ())


@pytest.mark.parametrize("asked", [RequestAgentReady(), RequestAgentNotReady()])
async def test_given_an_announcement_when_the_agent_is_ready_or_not_ready_then_it_is_forgotten(
    tmp_path, autojump_clock, asked
):
    async with world(tmp_path) as place, place.daemon() as daemon:
        place.add(1)
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)
        handle = await daemon.until_talking("agent1")
        await ready_time(desktop, handle, 500)
        await daemon.until(lambda: daemon.campaigns.seats["agent1"].state is AgentState.WRAP_UP)
        assert len(daemon.session.snapshot().agents_ready_in_s) == 1

        await daemon.desks.received(desktop, asked)

        seen = daemon.session.snapshot()
        assert seen.agents_ready_in_s == ()
        assert len(seen.agents_idle_s) == isinstance(asked, RequestAgentReady)


async def test_given_wrong_ready_times_when_asked_then_each_has_the_manuals_number(tmp_path, autojump_clock):
    async with world(tmp_path, {number(1): TALKER, number(2): TALKER}) as place, place.daemon() as daemon:
        place.add(1)
        desktop, other = await daemon.log_in("agent1"), await daemon.log_in("agent2", ready=False)
        await predictive(daemon)
        handle = await daemon.until_talking("agent1")

        await ready_time(desktop, 4711)
        await ready_time(other, handle)
        await ready_time(desktop, handle)
        await ready_time(desktop, handle)
        await daemon.request(CampaignRequest.SET_DIALING_MODE, dial_mode=DialMode.PROGRESSIVE)
        place.add(2)
        await daemon.desks.received(other, RequestAgentReady())
        await ready_time(other, await daemon.until_talking("agent2"), GSW_REFERENCE_ID=5)

        assert (desktop.errors, other.errors) == ([112, 120], [112, 101])
        assert other.last("Error")["GSW_REFERENCE_ID"] == 5
        assert len(desktop.all("ReadyTimeAcknowledge")) == 1


async def test_given_nobody_logged_in_or_another_application_when_asked_then_104_or_silence(tmp_path, autojump_clock):
    async with world(tmp_path, {number(1): TALKER}) as place, place.daemon() as daemon:
        place.add(1)
        desktop = await daemon.log_in("agent1")
        stranger = type(desktop)(daemon.desks)
        await predictive(daemon)
        handle = await daemon.until_talking("agent1")

        await ready_time(stranger, handle)
        await stranger.gsw("LogOut", **CAMPAIGN)
        said = len(desktop.messages)
        await desktop.gsw("ReadyTime", GSW_APPLICATION_ID=999, GSW_RECORD_HANDLE=handle, GSW_READY_TIME=5)
        await desktop.gsw("LogOut", GSW_APPLICATION_ID=999, GSW_CAMPAIGN_NAME="Demo")

        assert stranger.errors == [104, 104]
        assert len(desktop.messages) == said


# --- agents who take no more calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["not ready", "logged out"])
async def test_given_a_conversation_when_the_agent_asks_for_no_more_then_it_does_not_count_as_coming_free(
    tmp_path, autojump_clock, how
):
    async with world(tmp_path, {number(1): TALKER}) as place, place.daemon() as daemon:
        place.add(1)
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)
        await daemon.until_talking("agent1")
        assert len(daemon.session.snapshot().agents_talking_s) == 1

        if how == "not ready":
            await daemon.desks.received(desktop, RequestAgentNotReady())
        else:
            await daemon.log_out("agent1")

        assert daemon.session.snapshot().agents_talking_s == ()


# --- Smart Logout -------------------------------------------------------------------------------------------------


async def test_given_no_call_under_way_when_an_agent_leaves_then_it_may_go_at_once(tmp_path, autojump_clock):
    async with world(tmp_path) as place, place.daemon() as daemon:
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)

        await desktop.gsw("LogOut", GSW_REFERENCE_ID=12, **CAMPAIGN)

        told = [m.get("GSW_USER_EVENT") for m in desktop.messages if "GSW_LOGOUT_TIME" in m or "LogOut" in str(m)]
        assert told == ["LogOut", "LogOutAcknowledge"]
        assert (desktop.last("LogOut")["GSW_LOGOUT_TIME"], desktop.last("LogOut")["GSW_REFERENCE_ID"]) == (0, 12)
        assert desktop.has("EventAgentNotReady")
        place.add(1)
        await trio.sleep(60)
        assert place.dialed() == []


async def test_given_a_call_that_rings_when_its_agent_leaves_then_it_may_come_and_the_agent_goes_when_it_is_over(
    tmp_path, autojump_clock
):
    async with world(tmp_path, {number(1): RINGS}) as place, place.daemon() as daemon:
        place.add(1)
        place.add(2)
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)
        await daemon.until(lambda: place.dialed() == [number(1)])

        await desktop.gsw("LogOut", **CAMPAIGN)

        assert desktop.last("LogOut")["GSW_LOGOUT_TIME"] == RING_LIMIT_S
        seen = daemon.session.snapshot()
        assert (len(seen.agents_idle_s), seen.agents_leaving) == (1, 1)
        await daemon.until_talking("agent1")
        assert not desktop.has("LogOutAcknowledge")
        await daemon.until(lambda: desktop.has("LogOutAcknowledge"))
        assert daemon.campaigns.seats["agent1"].state is AgentState.NOT_READY
        assert daemon.session.score.tally.abandoned == 0
        assert place.dialed() == [number(1)]


async def test_given_a_call_that_nobody_answers_when_its_agent_leaves_then_the_time_shrinks_and_the_agent_goes(
    tmp_path, autojump_clock
):
    async with world(tmp_path, {number(1): NEVER}) as place, place.daemon() as daemon:
        place.add(1)
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)
        await daemon.until(lambda: place.dialed() == [number(1)])
        await trio.sleep(10)

        await desktop.gsw("LogOut", **CAMPAIGN)
        await trio.sleep(5)
        await desktop.gsw("LogOut", **CAMPAIGN)
        times = [m["GSW_LOGOUT_TIME"] for m in desktop.all("LogOut")]
        await daemon.until(lambda: desktop.has("LogOutAcknowledge"))

        assert times == [RING_LIMIT_S, RING_LIMIT_S - 5]
        assert len(desktop.all("LogOutAcknowledge")) == 1
        # The number rang for 25 s in all, so the agent need not wait 25 s from its request.
        assert trio.current_time() < RING_LIMIT_S + 5


async def test_given_agents_of_whom_one_leaves_when_a_person_comes_then_the_one_who_stays_gets_it(
    tmp_path, autojump_clock
):
    async with world(tmp_path, {number(1): RINGS, number(2): NEVER}) as place, place.daemon() as daemon:
        place.add(1)
        place.add(2)
        leaving = await daemon.log_in("agent1")
        await trio.sleep(1)
        await daemon.log_in("agent2")  # ready for a shorter time
        await predictive(daemon)
        await daemon.until(lambda: len(place.dialed()) == 2)

        await leaving.gsw("LogOut", **CAMPAIGN)

        await daemon.until_talking("agent2")
        assert daemon.campaigns.seats["agent1"].state is AgentState.READY


async def test_given_an_agent_who_has_left_when_it_asks_then_it_is_told_so_and_ready_brings_it_back(
    tmp_path, autojump_clock
):
    async with world(tmp_path) as place, place.daemon() as daemon:
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)
        await desktop.gsw("LogOut", **CAMPAIGN)

        await desktop.gsw("LogOut", **CAMPAIGN)

        assert desktop.errors == [101]
        assert desktop.last("Error")["GSW_ERROR_DESCRIPTION"] == "Agent smartly logged out"
        place.add(1)
        await daemon.desks.received(desktop, RequestAgentReady())
        await daemon.until_talking("agent1")


async def test_given_campaigns_that_do_not_dial_when_an_agent_leaves_then_the_manuals_errors_say_so(
    tmp_path, autojump_clock
):
    async with world(tmp_path) as place, place.daemon() as daemon:
        desktop = await daemon.log_in("agent1")
        await desktop.gsw("LogOut", **CAMPAIGN)
        await daemon.request(CampaignRequest.LOAD)
        await desktop.gsw("LogOut", **CAMPAIGN)
        await desktop.gsw("LogOut", GSW_CAMPAIGN_GROUP_NAME="Nobody's", **CAMPAIGN)
        await desktop.gsw("LogOut", **CAMPAIGN | {"GSW_CAMPAIGN_NAME": "Other"})

        assert desktop.errors == [101, 101, 105, 101]
        assert "no 'Auto' campaign" in desktop.all("Error")[0]["GSW_ERROR_DESCRIPTION"]
        assert not desktop.has("LogOutAcknowledge")


async def test_given_an_agent_on_its_way_out_when_it_logs_out_then_nothing_more_is_sent_and_a_login_starts_anew(
    tmp_path, autojump_clock
):
    async with world(tmp_path, {number(1): NEVER, number(2): PERSON}) as place, place.daemon() as daemon:
        place.add(1)
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)
        await daemon.until(lambda: place.dialed() == [number(1)])
        await desktop.gsw("LogOut", **CAMPAIGN)

        await daemon.log_out("agent1")
        await trio.sleep(60)

        assert not desktop.has("LogOutAcknowledge")
        place.add(2)
        await daemon.log_in("agent1")
        await daemon.until_talking("agent1")


async def test_given_an_agent_on_its_way_out_when_its_callback_is_due_then_it_is_missed_as_of_one_who_logs_out(
    tmp_path, autojump_clock
):
    async with world(tmp_path, {number(1): NEVER}) as place, place.daemon() as daemon:
        place.add(1)
        place.add_callback(2, 10.0, "agent1")
        desktop = await daemon.log_in("agent1")
        await predictive(daemon)
        await daemon.until(lambda: place.dialed() == [number(1)])
        await desktop.gsw("LogOut", **CAMPAIGN)

        await trio.sleep(20)

        assert not desktop.has("ScheduledCall")
        assert place.state(2)[2] == CallResult.AGENT_CALLBACK_ERROR
