"""Callbacks that come due: who gets them, what becomes of those that nobody gets, how they leave the desktop."""

from datetime import datetime, timedelta
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ocsd.lists.memory import MemoryListStore
from ocsd.model.enums import CallResult, GroupCampStatus, RecordStatus, RecordType
from ocsd.model.records import CallingRecord
from ocsd.model.services import CampaignRequest
from ocsd.sessions.attempt import ReleaseRequested
from ocsd.sessions.callbacks import Agent, missed_result, recipient
from ocsd.sessions.roster import AgentState
from telephony.fake import CallScript
from tests.ocsd.desk_world import NOON, TALKER, number, world

R, T = RecordStatus, RecordType
TO_DESKTOPS = ["predictive_callback = false"]
MISSED = """
[[treatments]]
dbid = 301
name = "To the group"
call_result = 47
record_action = 9
number = 1

[[treatments]]
dbid = 302
name = "Missed"
call_result = 48
record_action = 10
number = 1
"""


def record(kind: RecordType, agent_id: str | None = None) -> CallingRecord:
    return CallingRecord(1, 1, "+1", 1, kind, 33, 1, 1, 1, 0, 86_400, 0, 1, 0, agent_id)


# --- who gets it (pure) -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "owner", "agents", "gets"),
    [
        (T.PERSONAL_CALLBACK, "a", [Agent("b", 1.0, 0), Agent("a", None, 9)], "a"),
        (T.PERSONAL_RESCHEDULED, "a", [Agent("a", None, 0)], "a"),
        (T.PERSONAL_CALLBACK, "a", [Agent("b", 1.0, 0)], None),
        (T.PERSONAL_CALLBACK, None, [Agent("b", 1.0, 0)], None),
        (T.CAMPAIGN_CALLBACK, "a", [Agent("a", 5.0, 0), Agent("b", 1.0, 7), Agent("c", None, 0)], "b"),
        (T.CAMPAIGN_CALLBACK, "a", [Agent("a", None, 2), Agent("b", None, 1), Agent("c", None, 1)], "b"),
        (T.CAMPAIGN_CALLBACK, "a", [], None),
    ],
)
def test_given_agents_when_a_callback_is_due_then_the_right_one_gets_it(kind, owner, agents, gets):
    assert recipient(record(kind, owner), agents) == gets


@given(
    st.lists(st.builds(Agent, st.text("abc", min_size=1), st.none() | st.floats(0, 9), st.integers(0, 3)), max_size=4)
)
def test_given_any_agents_when_a_campaign_callback_is_due_then_one_gets_it_and_nobody_ready_is_passed_over(agents):
    gets = recipient(record(T.CAMPAIGN_CALLBACK), agents)

    assert (gets is None) == (agents == [])
    ready = [agent for agent in agents if agent.ready_since_s is not None]
    if ready:
        longest = min(agent.ready_since_s for agent in ready if agent.ready_since_s is not None)
        assert gets in {agent.agent_id for agent in ready if agent.ready_since_s == longest}


@pytest.mark.parametrize(("kind", "result"), [(4, 47), (5, 47), (6, 48), (3, 48)])
def test_given_a_missed_callback_when_named_then_47_is_personal_and_48_the_groups(kind, result):
    assert missed_result(record(RecordType(kind))) == result


# --- delivery ---------------------------------------------------------------------------------------------------------


async def test_given_a_personal_callback_when_due_then_its_agent_gets_it_in_any_state(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 120.0, "agent2", daily_from=28_800, daily_till=64_800)
        ready = await daemon.log_in("agent1")
        owner = await daemon.log_in("agent2", ready=False)
        await daemon.start()
        await trio.sleep(118.0)
        assert not owner.has("ScheduledCall")

        await daemon.scheduled("agent2")

        message = owner.last("ScheduledCall")
        assert message == {
            "GSW_USER_EVENT": "ScheduledCall",
            "GSW_APPLICATION_ID": 101,
            "GSW_ATTEMPTS": 1,
            "GSW_CALL_RESULT": 33,
            "GSW_CALL_TIME": "0",
            "GSW_CALLBACK_TYPE": "Personal",
            "GSW_CALLING_LIST": "Demo List",
            "GSW_CAMPAIGN_NAME": "Demo",
            "GSW_CHAIN_ID": 1,
            "GSW_DATE_TIME": "03/03/2026 12:02",
            "GSW_FROM": 28_800,
            "GSW_PHONE": number(1),
            "GSW_PHONE_TYPE": 0,
            "GSW_RECORD_HANDLE": message["GSW_RECORD_HANDLE"],
            "GSW_TZ_OFFSET": -18_000,
            "GSW_UNTIL": 64_800,
        }
        assert not ready.has("ScheduledCall")
        assert w.row(1).record_status is R.RETRIEVED
        assert w.dialed() == []


async def test_given_predictive_callback_when_a_campaign_callback_is_due_then_it_is_dialed(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 30.0, None)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until_talking("agent1")
        assert w.dialed() == [number(1)]
        assert not desktop.has("ScheduledCall")


async def test_given_campaign_callbacks_for_desktops_when_due_then_the_agent_ready_longest_gets_each(
    autojump_clock, tmp_path
):
    async with world(tmp_path, options=TO_DESKTOPS) as w, w.daemon() as daemon:
        w.add_callback(1, 60.0, None)
        w.add_callback(2, 120.0, None)
        await daemon.log_in("agent1", ready=False)
        await daemon.log_in("agent2")
        await trio.sleep(5.0)
        await daemon.log_in("agent3")
        await daemon.start()
        await daemon.scheduled("agent2")
        assert not daemon.desktops["agent3"].has("ScheduledCall")
        await daemon.desktops["agent2"].ask(Request="RequestAgentNotReady")
        await daemon.scheduled("agent3")
        assert daemon.desktops["agent3"].last("ScheduledCall")["GSW_CALLBACK_TYPE"] == "Campaign"
        assert not daemon.desktops["agent1"].has("ScheduledCall")


async def test_given_a_closed_window_when_a_callback_is_due_then_it_comes_at_the_next_opening(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        opens = 12 * 3600 + 40 * 60
        w.add_callback(1, 60.0, "agent1", daily_from=opens, daily_till=opens + 3600)
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        await daemon.scheduled("agent1")
        waited_s = (w.clock.utc() - NOON).total_seconds()
        assert waited_s == pytest.approx(40 * 60, abs=15.0)  # virtual seconds; lists are asked every few of them
        assert len(desktop.all("ScheduledCall")) == 1


@pytest.mark.parametrize(
    ("lines", "more", "status", "kind"),
    [
        ([], "", R.UPDATED, T.PERSONAL_CALLBACK),
        (['treatments = ["To the group"]'], MISSED, R.READY, T.CAMPAIGN_CALLBACK),
    ],
)
async def test_given_no_agent_when_a_personal_callback_is_due_then_47_is_treated(
    autojump_clock, tmp_path, lines, more, status, kind
):
    async with world(tmp_path, list_lines=lines, more=more) as w, w.daemon() as daemon:
        w.add_callback(1, 30.0, "agent2")
        await daemon.log_in("agent1", ready=False)
        await daemon.start()
        await daemon.until(lambda: w.row(1).record.call_result == CallResult.AGENT_CALLBACK_ERROR)
        assert w.state(1)[:2] == (status, kind)
        if status is R.READY:  # any agent may have it now
            await daemon.desktops["agent1"].ask(Request="RequestAgentReady")
            await daemon.until(lambda: number(1) in w.dialed())


async def test_given_nobody_when_a_campaign_callback_is_due_then_48_and_missed_callback(autojump_clock, tmp_path):
    lines = ['treatments = ["Missed", "To the group"]']
    async with world(tmp_path, options=TO_DESKTOPS, list_lines=lines, more=MISSED) as w, w.daemon() as daemon:
        w.add_callback(1, 30.0, None)
        w.add_callback(2, 30.0, None, chain_id=1, chain_n=1)
        await daemon.start()
        await daemon.until(lambda: w.row(1).record_status is R.MISSED_CALLBACK)
        assert w.state(2) == (R.UPDATED, T.CAMPAIGN_CALLBACK, 33)
        assert w.state(1) == (R.MISSED_CALLBACK, T.CAMPAIGN_CALLBACK, CallResult.GROUP_CALLBACK_ERROR)
        assert w.database.claims == {}


async def test_given_a_stopped_group_when_a_callback_is_due_then_it_waits_and_is_not_missed(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 30.0, "agent1")
        await daemon.start()
        await daemon.request(CampaignRequest.STOP_DIALING)
        await trio.sleep(300.0)
        assert w.state(1) == (R.READY, T.PERSONAL_CALLBACK, 33)
        await daemon.log_in("agent1", ready=False)
        await daemon.request(CampaignRequest.START_DIALING)
        await daemon.scheduled("agent1")


# --- how it leaves the desktop ---------------------------------------------------------------------------------------


async def test_given_a_scheduled_call_when_the_agent_makes_it_then_the_handle_stays_and_processed_closes_it(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")

        await desktop.ask(Request="RequestMakeCall", UserData={"GSW_RECORD_HANDLE": handle}, ReferenceID=31)

        dialing = desktop.last("EventDialing")
        assert (dialing["ReferenceID"], dialing["OtherDN"]) == (31, number(1))
        assert await daemon.until_talking("agent1") == handle
        assert w.dialed() == [number(1)]
        await daemon.until(lambda: desktop.has("EventReleased"))
        await desktop.about("RecordProcessed", handle, GSW_CALL_RESULT=33)
        await daemon.until(lambda: desktop.has("RecordProcessedAcknowledge"))
        assert w.state(1) == (R.UPDATED, T.PERSONAL_CALLBACK, CallResult.ANSWER)
        assert w.row(1).record.attempt == 2
        assert daemon.campaigns.seats["agent1"].state is not AgentState.READY
        await trio.sleep(1.0)
        assert w.database.claims == {}


async def test_given_test_calls_when_an_agent_makes_one_itself_then_there_is_no_analysis_to_verify(
    autojump_clock, tmp_path
):
    async with world(tmp_path, {number(1): TALKER}, options=["call-result-feedback = 1000"]) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        await desktop.ask(Request="RequestMakeCall", UserData={"GSW_RECORD_HANDLE": handle}, ReferenceID=31)
        await daemon.until_talking("agent1")

        assert "GSW_CALL_RESULT_FEEDBACK" not in desktop.last("EventEstablished")["UserData"]
        await daemon.until(lambda: desktop.has("EventReleased"))
        await desktop.about("RecordProcessed", handle, GSW_CALL_RESULT=33)
        await daemon.until(lambda: not daemon.session.attempts)
        (attempt,) = w.database.attempts.values()
        assert not attempt.finished.verified


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ({"RecordHandle": 999}, 112),
        ({"OtherDN": "+12125550000"}, 103),
        ({}, 112),
    ],
)
async def test_given_a_call_that_may_not_be_made_when_asked_for_then_an_event_error(
    autojump_clock, tmp_path, pairs, error
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        owner = await daemon.log_in("agent1", ready=False)
        other = await daemon.log_in("agent2", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        asking = owner if pairs else other  # without more: on somebody else's desktop

        await asking.ask(**({"Request": "RequestMakeCall", "RecordHandle": handle} | pairs))

        assert asking.last("EventError")["ErrorCode"] == error
        assert w.dialed() == []
        assert handle in daemon.session.on_desk


async def test_given_a_scheduled_call_when_rejected_then_the_chain_is_general_for_anybody(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        w.add_callback(2, 10.0, "agent1", chain_id=1, chain_n=1)
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")

        await desktop.about("UpdateCallCompletionStats", handle, customer_name="typed, then rejected")
        await desktop.about("RecordReject", handle, GSW_REFERENCE_ID=3)
        await daemon.until(lambda: desktop.has("RecordRejectAcknowledge"))

        await desktop.about("RecordReject", handle)
        assert desktop.errors == [112]
        for record_id in (1, 2):
            row = w.row(record_id)
            assert row.record.record_type is T.GENERAL
            assert (row.record.dial_sched_time, row.record.agent_id) == (None, "agent1")
        await daemon.log_in("agent2")
        await daemon.until(lambda: number(1) in w.dialed())


async def test_given_a_record_with_a_call_when_rejected_then_it_is_general_and_ready_after_the_call(
    autojump_clock, tmp_path
):
    async with world(tmp_path, {number(1): TALKER}) as w, w.daemon() as daemon:
        w.add(1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")
        await desktop.about("RecordReject", handle)
        assert desktop.errors == []
        await daemon.until(lambda: desktop.has("RecordRejectAcknowledge"))
        daemon.session.attempts[handle].post(ReleaseRequested())
        await daemon.until(lambda: w.state(1)[:2] == (RecordStatus.READY, RecordType.GENERAL))
        assert w.row(1).record.attempt == 1


async def test_given_a_scheduled_call_when_rescheduled_and_processed_then_it_comes_again(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        asked = NOON + timedelta(minutes=30) - timedelta(hours=5)
        await desktop.gsw(
            "ScheduledRecordReschedule",
            GSW_APPLICATION_ID=101,
            GSW_CAMPAIGN_NAME="Demo",
            GSW_RECORD_HANDLE=handle,
            GSW_DATE_TIME=f"{asked:%m/%d/%Y %H:%M}",
        )
        assert w.row(1).record_status is R.RETRIEVED
        await desktop.about("RecordProcessed", handle)
        await daemon.until(lambda: len(desktop.all("ScheduledCall")) == 2)
        again = desktop.last("ScheduledCall")
        assert again["GSW_DATE_TIME"] == f"{asked:%m/%d/%Y %H:%M}"
        assert again["GSW_RECORD_HANDLE"] != handle
        assert (w.clock.utc() - NOON).total_seconds() == pytest.approx(1800, abs=15.0)


async def test_given_a_scheduled_call_when_processed_with_a_result_then_it_is_written_without_an_attempt(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        w.add_callback(2, 10.0, "agent1", chain_id=1, chain_n=1)
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        await desktop.about("RecordProcessed", handle, GSW_CALL_RESULT=53, customer_name="Gone away")
        await daemon.until(lambda: desktop.has("RecordProcessedAcknowledge"))
        assert w.state(1) == (R.UPDATED, T.PERSONAL_CALLBACK, CallResult.WRONG_NUMBER)
        assert w.row(1).record.user_fields["customer_name"] == "Gone away"
        assert w.state(2) == (R.UPDATED, T.PERSONAL_CALLBACK, 33)
        assert w.row(1).record.attempt == 1
        assert (w.database.claims, daemon.session.on_desk) == ({}, {})


async def test_given_a_scheduled_call_that_nobody_touches_when_its_time_is_over_then_it_is_stale(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        delivered_s = trio.current_time()
        await daemon.until(lambda: w.row(1).record_status is R.STALE)
        assert trio.current_time() - delivered_s == pytest.approx(300.0, abs=3.0)  # stale_clean_timeout: 5 minutes
        assert w.state(1)[2] == CallResult.STALE
        await desktop.about("RecordProcessed", handle)
        assert desktop.errors == [112]


@pytest.mark.parametrize(("options", "result"), [([], 33), (["agent_logout_preview_call_result = 3"], 3)])
async def test_given_a_scheduled_call_when_its_agent_logs_out_then_it_is_returned_as_updated(
    autojump_clock, tmp_path, options, result
):
    async with world(tmp_path, options=options) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        await daemon.log_in("agent1", ready=False)
        await daemon.start()
        await daemon.scheduled("agent1")
        await daemon.log_out("agent1")
        await daemon.until(lambda: not daemon.session.on_desk)
        assert w.state(1) == (R.UPDATED, T.PERSONAL_CALLBACK, result)


async def test_given_a_lost_connection_when_the_agent_is_back_then_the_record_comes_under_its_handle(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        lost = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        daemon.desks.disconnected(lost)
        await trio.sleep(60.0)
        assert w.row(1).record_status is R.RETRIEVED
        await daemon.log_in("agent1", ready=False)
        assert await daemon.scheduled("agent1") == handle


async def test_given_a_record_on_a_desk_when_unloaded_then_the_group_waits_for_it(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        await daemon.request(CampaignRequest.COMPLETE)
        await trio.sleep(60.0)
        assert daemon.status is GroupCampStatus.WAITING_UNLOAD
        await desktop.about("RecordProcessed", handle)
        await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
        assert w.state(1)[0] is R.UPDATED


async def test_given_a_record_on_a_desk_when_unloaded_by_force_then_it_is_stale(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        await daemon.request(CampaignRequest.FORCE_UNLOAD)
        await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
        await daemon.until(lambda: w.row(1).record_status is not R.RETRIEVED)
        assert w.state(1) == (R.STALE, T.PERSONAL_CALLBACK, CallResult.STALE)
        await desktop.about("RecordProcessed", handle)
        assert desktop.errors == [112]
        assert w.database.claims == {}


async def test_given_a_record_on_a_desk_when_the_daemon_starts_anew_then_it_is_delivered_again(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w:
        w.add_callback(1, 10.0, "agent1")
        async with w.daemon() as daemon:
            await daemon.log_in("agent1", ready=False)
            await daemon.start()
            old = await daemon.scheduled("agent1")
            w.telephony.restart_daemon()
            w.media.restart_daemon()
        assert w.row(1).record_status is R.RETRIEVED
        async with w.daemon() as daemon:
            desktop = await daemon.log_in("agent1", ready=False)
            new = await daemon.scheduled("agent1")
            assert new != old
            await desktop.about("RecordProcessed", old)
            assert desktop.errors == [112]
            assert desktop.last("ScheduledCall")["GSW_DATE_TIME"] == "03/03/2026 12:01"


async def test_given_an_outage_when_a_callback_comes_due_then_it_is_delivered_afterwards(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 30.0, "agent1")
        await daemon.log_in("agent1", ready=False)
        await daemon.start()
        w.database.available = False
        await trio.sleep(120.0)
        w.database.available = True
        await daemon.scheduled("agent1")
        assert w.state(1)[2] == 33


async def test_given_a_callback_that_rings_out_when_made_from_the_desk_then_it_stays_on_the_desktop(
    autojump_clock, tmp_path
):
    async with world(tmp_path, {number(1): CallScript(status=486)}) as w, w.daemon() as daemon:
        w.add_callback(1, 10.0, "agent1")
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        await desktop.ask(Request="RequestMakeCall", RecordHandle=handle)
        await daemon.until(lambda: w.dialed())
        await trio.sleep(20.0)
        assert w.row(1).record_status is R.RETRIEVED
        tomorrow = datetime(2026, 3, 4, 12, 0)  # noqa: DTZ001 - a local time
        await desktop.gsw(
            "RecordReschedule",
            GSW_APPLICATION_ID=101,
            GSW_CAMPAIGN_NAME="Demo",
            GSW_RECORD_HANDLE=handle,
            GSW_CALLBACK_TYPE="Personal",
            GSW_DATE_TIME=f"{tomorrow:%m/%d/%Y %H:%M}",
        )
        await desktop.about("RecordProcessed", handle)
        await daemon.until(lambda: desktop.has("RecordProcessedAcknowledge"))
        assert w.state(1) == (R.READY, T.PERSONAL_CALLBACK, CallResult.BUSY)


async def test_given_a_desktop_that_goes_away_while_its_call_is_being_written_then_the_call_is_made_or_the_record_kept(
    autojump_clock, tmp_path, monkeypatch
):
    gate = trio.Event()
    begin = MemoryListStore.begin_attempts

    async def later(self: MemoryListStore, attempts):
        refused = await begin(self, attempts)
        await gate.wait()  # on disk, and nobody has been told
        return refused

    async with world(tmp_path) as w:
        w.add_callback(1, 10.0, "agent1")
        async with w.daemon() as daemon:
            desktop = await daemon.log_in("agent1", ready=False)
            await daemon.start()
            handle = await daemon.scheduled("agent1")
            monkeypatch.setattr(MemoryListStore, "begin_attempts", later)
            async with trio.open_nursery() as connection:
                connection.start_soon(partial(desktop.ask, Request="RequestMakeCall", RecordHandle=handle))
                await trio.sleep(3.0)
                connection.cancel_scope.cancel()
            daemon.desks.disconnected(desktop)
            gate.set()
            await daemon.until(lambda: handle in daemon.session.attempts)
            await daemon.until(lambda: not daemon.session.attempts and handle not in daemon.session.on_desk)
            assert w.state(1)[0] is not R.RETRIEVED
            assert daemon.campaigns.seats["agent1"].state is AgentState.LOGGED_OUT
