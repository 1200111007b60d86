"""Requests about records, from a desktop's message to the row: correct, reject, cancel, Do-Not-Call, reschedule."""

from datetime import datetime, timedelta

import pytest
import trio

from ocsd.lists.memory import MemoryListStore
from ocsd.model.enums import CallResult, ChainAttr, RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.services import CampaignRequest
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.withdrawals import Target
from tests.ocsd.desk_world import NOON, RINGS, TALKER, number, world

R, T = RecordStatus, RecordType


def at(local: datetime) -> int:
    """UTC seconds of a naive time in New York in March 2026 before the clocks change (UTC-5)."""
    return int((local + timedelta(hours=5)).replace(tzinfo=NOON.tzinfo).timestamp())


# --- callbacks are final at RecordProcessed ---------------------------------------------------------------------------


async def test_given_a_conversation_when_rescheduled_and_processed_then_the_chain_is_a_callback_in_its_window(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1, daily_from=9 * 3600, daily_till=18 * 3600)
        w.add(2, chain_id=1, chain_n=1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")

        await desktop.gsw(
            "RecordReschedule",
            GSW_APPLICATION_ID=101,
            GSW_CAMPAIGN_NAME="Demo",
            GSW_RECORD_HANDLE=handle,
            GSW_CALLBACK_TYPE="Personal",
            GSW_DATE_TIME="03/04/2026 19:30",
            GSW_REFERENCE_ID="17",
        )

        await daemon.until(lambda: desktop.has("RecordRescheduleAcknowledge"))
        answer = desktop.last("RecordRescheduleAcknowledge")
        # 19:30 is outside 9 to 18 h: the next opening, and the desktop is told.
        assert (answer["GSW_DATE_TIME"], answer["GSW_CALLBACK_TYPE"]) == ("03/05/2026 09:00", "Personal")
        assert answer["GSW_REFERENCE_ID"] == "17"
        assert w.row(1).record_status is R.RETRIEVED  # "waits for the explicit RecordProcessed"
        await daemon.until(lambda: not daemon.session.attempts or desktop.has("EventReleased"))
        await desktop.about("RecordProcessed", handle)
        await daemon.until(lambda: not daemon.session.attempts)
        due = at(datetime(2026, 3, 5, 9))  # noqa: DTZ001
        for record_id in (1, 2):
            row = w.row(record_id)
            assert (row.record_status, row.record.record_type) == (R.READY, T.PERSONAL_CALLBACK)
            assert row.record.dial_sched_time == due
        assert w.row(1).record.agent_id == "agent1"
        assert w.row(1).record.treatments == "0@0@0@1"


async def test_given_two_reschedules_when_processed_then_the_last_one_counts(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")
        common = {"GSW_APPLICATION_ID": 101, "GSW_CAMPAIGN_NAME": "Demo", "GSW_RECORD_HANDLE": handle}
        await desktop.gsw("RecordReschedule", **common, GSW_CALLBACK_TYPE="Campaign", GSW_DATE_TIME="03/04/2026 10:00")
        await desktop.gsw(
            "ScheduledRecordReschedule", **common, GSW_DATE_TIME="03/06/26 11:15", GSW_PHONE="+12125550142"
        )
        await daemon.until(lambda: desktop.has("ScheduledRecordRescheduleAcknowledge"))
        assert desktop.last("ScheduledRecordRescheduleAcknowledge")["GSW_CALLBACK_TYPE"] == "Campaign"
        await desktop.about("RecordProcessed", handle)
        await daemon.until(lambda: not daemon.session.attempts)
        record = w.row(1).record
        assert (w.row(1).record_status, record.record_type) == (R.READY, T.CAMPAIGN_CALLBACK)
        assert record.dial_sched_time == at(datetime(2026, 3, 6, 11, 15))  # noqa: DTZ001
        assert record.contact_info == "+12125550142"


@pytest.mark.parametrize(
    ("name", "pairs", "error"),
    [
        ("RecordReschedule", {"GSW_CALLBACK_TYPE": "Personal", "GSW_DATE_TIME": "03/03/2026 11:00"}, 110),
        ("RecordReschedule", {"GSW_CALLBACK_TYPE": "Personal", "GSW_DATE_TIME": "03/03/2039 11:00"}, 110),
        ("ScheduledRecordReschedule", {"GSW_DATE_TIME": "03/04/2026 11:00"}, 117),
        (
            "RecordReschedule",
            {"GSW_CALLBACK_TYPE": "Personal", "GSW_DATE_TIME": "03/04/2026 11:00", "GSW_CAMPAIGN_NAME": "Other"},
            103,
        ),
        (
            "RecordReschedule",
            {"GSW_CALLBACK_TYPE": "Personal", "GSW_DATE_TIME": "03/04/2026 11:00", "GSW_RECORD_HANDLE": 999},
            112,
        ),
        (
            "RecordReschedule",
            {"GSW_CALLBACK_TYPE": "Personal", "GSW_DATE_TIME": "03/04/2026 11:00", "GSW_CAMPAIGN_GROUP_NAME": "X"},
            105,
        ),
    ],
)
async def test_given_a_callback_that_cannot_be_when_asked_for_then_its_number_and_nothing_changes(
    autojump_clock, tmp_path, name, pairs, error
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")
        common = {"GSW_APPLICATION_ID": 101, "GSW_CAMPAIGN_NAME": "Demo", "GSW_RECORD_HANDLE": handle}

        await desktop.gsw(name, **(common | pairs))

        assert desktop.errors == [error]
        assert daemon.session.attempts[handle].context.callback is None
        await desktop.about("RecordProcessed", handle)
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.state(1) == (R.UPDATED, T.GENERAL, CallResult.ANSWER)


async def test_given_gsw_treatment_when_processed_then_the_result_is_treated_for_this_agent(autojump_clock, tmp_path):
    more = """
[[treatments]]
dbid = 301
name = "Wrong Party again"
call_result = 40
record_action = 4
interval_min = 60
"""
    async with (
        world(tmp_path, list_lines=['treatments = ["Wrong Party again"]'], more=more) as w,
        w.daemon() as daemon,
    ):
        w.add(1)
        w.add(2)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        for record_id, treatment, kind in ((1, "Personal", T.PERSONAL_RESCHEDULED), (2, None, T.GENERAL)):
            await daemon.until(lambda record_id=record_id: number(record_id) in w.dialed())
            handle = await daemon.until_talking("agent1")
            extra = {"GSW_TREATMENT": f"RecordTreat{treatment}"} if treatment is not None else {}
            await desktop.about("RecordProcessed", handle, GSW_CALL_RESULT=40, **extra)
            await daemon.until(lambda handle=handle: handle not in daemon.session.attempts)
            status = R.READY if treatment is not None else R.UPDATED
            assert w.state(record_id) == (status, kind, CallResult.WRONG_PARTY)
            await desktop.ask(Request="RequestAgentReady")
        assert (w.row(1).record.agent_id, w.row(1).record.treatments) == ("agent1", "301@1@0@1")


# --- cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attr", ["AllChain", "RecordOnly"])
async def test_given_a_record_on_a_desktop_when_cancelled_by_handle_then_no_record_processed_is_needed(
    autojump_clock, tmp_path, attr
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        w.add(2, chain_id=1, chain_n=1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")

        await desktop.about("RequestRecordCancel", handle, GSW_CHAIN_ATTR=attr)
        await daemon.until(lambda: desktop.has("RecordCancelAcknowledge"))

        assert desktop.last("RecordCancelAcknowledge")["GSW_CHAIN_ATTR"] == attr
        assert AttemptState.TALKING in [t.machine.state for t in daemon.session.attempts.values()]  # the call goes on
        await desktop.about("RecordProcessed", handle)
        assert desktop.errors == [112]
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.state(1) == (R.CANCELED, T.GENERAL, CallResult.CANCEL_RECORD)
        sibling = R.CANCELED if attr == "AllChain" else R.UPDATED
        assert w.row(2).record_status is sibling
        assert w.database.claims == {}


async def test_given_buffered_records_when_cancelled_by_phone_then_nobody_dials_them(autojump_clock, tmp_path):
    async with world(tmp_path, {number(1): TALKER}) as w, w.daemon() as daemon:
        for record_id in (1, 2, 3):
            w.add(record_id)
        w.add(4, chain_id=3, chain_n=1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until_talking("agent1")
        assert w.row(3).record_status is R.RETRIEVED  # in the buffer

        # Written as people do; the list has +12125552004.
        await desktop.gsw("RequestRecordCancel", GSW_APPLICATION_ID=101, GSW_PHONE="(212) 555-2004")
        await daemon.until(lambda: desktop.has("RecordCancelAcknowledge"))

        answer = desktop.last("RecordCancelAcknowledge")
        assert (answer["GSW_PHONE"], "GSW_MESSAGE" in answer) == ("(212) 555-2004", False)
        assert [w.row(n).record_status for n in (3, 4)] == [R.CANCELED, R.CANCELED]
        assert all(claim != 3 for _, claim in w.database.claims)
        await daemon.log_in("agent2")
        await daemon.until(lambda: number(2) in w.dialed())
        await trio.sleep(60.0)
        assert not {number(3), number(4)} & set(w.dialed())


@pytest.mark.parametrize("also_desktops", [False, True])
async def test_given_a_record_on_another_desktop_when_cancelled_by_phone_then_the_option_decides(
    autojump_clock, tmp_path, also_desktops
):
    options = ["cancel-on-desktop = true"] if also_desktops else []
    async with world(tmp_path, {number(1): TALKER}, options=options) as w, w.daemon() as daemon:
        w.add(1, customer_no="C-1")
        desktop = await daemon.log_in("agent1")
        other = await daemon.log_in("agent2", ready=False)
        await daemon.start()
        handle = await daemon.until_talking("agent1")

        await other.gsw("RequestRecordCancel", GSW_APPLICATION_ID=101, GSW_CUSTOMER_ID="C-1", GSW_REFERENCE_ID=8)
        await daemon.until(lambda: other.has("RecordCancelAcknowledge"))

        message = other.last("RecordCancelAcknowledge").get("GSW_MESSAGE")
        if also_desktops:
            assert message is None
            told = desktop.last("RecordCancel")
            assert (told["GSW_RECORD_HANDLE"], told["GSW_CUSTOMER_ID"]) == (handle, "C-1")
            assert w.state(1) == (R.CANCELED, T.GENERAL, CallResult.CANCEL_RECORD)
            assert not other.has("RecordCancel")
        else:
            assert message == "Incomplete processing: record(s) on desktop"
            assert not desktop.has("RecordCancel")
            assert w.row(1).record_status is R.RETRIEVED
            await desktop.about("RecordProcessed", handle)
            assert desktop.errors == []


async def test_given_no_loaded_campaign_of_the_agent_when_cancelled_by_phone_then_106(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        desktop = await daemon.log_in("agent1")

        await desktop.gsw("RequestRecordCancel", GSW_APPLICATION_ID=101, GSW_PHONE=number(1))

        assert desktop.errors == [106]
        assert w.row(1).record_status is R.READY


async def test_given_a_request_for_another_application_when_received_then_it_is_left_unanswered(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        before = len(desktop.messages)

        await desktop.gsw("DoNotCall", GSW_APPLICATION_ID=999, GSW_PHONE=number(1))
        await trio.sleep(1.0)

        assert all("DoNotCall" not in str(m) and "Error" not in str(m) for m in desktop.messages[before:])
        assert w.dnc.entries == []


async def test_given_the_store_is_away_when_cancelled_then_the_answer_comes_when_it_is_written(
    autojump_clock, tmp_path
):
    async with world(tmp_path, {number(1): TALKER}) as w, w.daemon() as daemon:
        w.add(1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")
        w.database.available = False
        await desktop.about("RequestRecordCancel", handle)
        await trio.sleep(20.0)
        assert not desktop.has("RecordCancelAcknowledge")
        w.database.available = True
        await daemon.until(lambda: desktop.has("RecordCancelAcknowledge"))
        assert w.state(1) == (R.CANCELED, T.GENERAL, CallResult.CANCEL_RECORD)


# --- Do-Not-Call ------------------------------------------------------------------------------------------------------


async def test_given_a_customer_who_wants_no_calls_when_told_by_handle_then_the_whole_chain_is_forbidden(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        w.add(2, chain_id=1, chain_n=1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")

        await desktop.about("DoNotCall", handle, GSW_MESSAGE="never again", GSW_DURATION=3600)
        await daemon.until(lambda: desktop.has("DoNotCallAcknowledge"))

        assert {(e.phone, e.tenant_dbid, e.message, e.list_dbid) for e in w.dnc.written} == {
            (number(1), 1, "never again", 142),
            (number(2), 1, "never again", 142),
        }
        assert {e.expires_at - e.requested_at for e in w.dnc.written} == {timedelta(hours=1)}
        for record_id in (1, 2):
            assert w.state(record_id) == (R.UPDATED, T.NO_CALL, CallResult.DO_NOT_CALL)
        ((entries, _, rows),) = w.dnc.effects
        assert (len(entries), rows) == (2, 2)
        assert AttemptState.TALKING in [t.machine.state for t in daemon.session.attempts.values()]  # the call goes on
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.state(1) == (R.UPDATED, T.NO_CALL, CallResult.DO_NOT_CALL)  # the call's result changes nothing
        assert w.database.claims == {}
        assert not desktop.has("RecordCancel")


async def test_given_record_only_when_told_by_handle_then_the_rest_of_the_chain_can_be_dialed(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 30.0, "agent1")
        w.add_callback(2, 30.0, "agent1", chain_id=1, chain_n=1)
        desktop = await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")

        await desktop.about("DoNotCall", handle, GSW_CHAIN_ATTR="RecordOnly")
        await daemon.until(lambda: desktop.has("DoNotCallAcknowledge"))

        assert [e.phone for e in w.dnc.written] == [number(1)]
        assert w.state(1)[:2] == (R.UPDATED, T.NO_CALL)
        assert w.state(2)[1] is T.PERSONAL_CALLBACK
        await daemon.until(lambda: len(desktop.all("ScheduledCall")) == 2)
        assert desktop.last("ScheduledCall")["GSW_PHONE"] == number(2)


async def test_given_ringing_buffered_and_desktop_records_when_a_number_is_forbidden_then_all_of_them_end(
    autojump_clock, tmp_path
):
    same = "+12125559999"
    async with (
        world(tmp_path, {same: RINGS, number(1): TALKER}, options=["predictive_callback = false"]) as w,
        w.daemon() as daemon,
    ):
        w.add(1, contact_info=number(1))
        w.add(2, contact_info=same)
        w.add(3, contact_info=same)
        w.add_callback(4, 5.0, "agent3", contact_info=same)
        asking = await daemon.log_in("agent1")
        other = await daemon.log_in("agent3", ready=False)
        await daemon.start()
        await daemon.until_talking("agent1")
        await daemon.scheduled("agent3")
        await daemon.log_in("agent2")
        await daemon.until(lambda: w.dialed().count(same) == 1)

        await asking.gsw("DoNotCall", GSW_APPLICATION_ID=101, GSW_PHONE="212-555-9999")
        await daemon.until(lambda: asking.has("DoNotCallAcknowledge"))

        for record_id in (2, 3, 4):
            assert w.state(record_id)[::2] == (R.UPDATED, CallResult.DO_NOT_CALL), record_id
        assert other.last("RecordCancel")["GSW_PHONE"] == same
        await daemon.until(lambda: len(daemon.session.attempts) == 1)  # the asking agent's own conversation
        assert daemon.session.on_desk == {}
        await trio.sleep(120.0)
        assert w.dialed().count(same) == 1
        assert {w.state(n)[1] for n in (2, 3, 4)} == {T.NO_CALL}


async def test_given_slow_writes_of_desks_when_a_number_is_forbidden_then_calls_end_first_and_no_desk_is_settled_twice(
    autojump_clock, tmp_path, monkeypatch
):
    same = "+12125559999"
    gate, settled = trio.Event(), []
    settle = MemoryListStore.settle_chain

    async def later(self: MemoryListStore, settlement):
        settled.append(settlement.record_id)
        await gate.wait()
        return await settle(self, settlement)

    async with world(tmp_path, {same: RINGS}, options=["predictive_callback = false"]) as w, w.daemon() as daemon:
        w.add_callback(1, 5.0, "agent1", contact_info=same)
        w.add_callback(2, 5.0, "agent2", contact_info=same)
        first = await daemon.log_in("agent1", ready=False)
        second = await daemon.log_in("agent2", ready=False)
        await daemon.start()
        await daemon.scheduled("agent1")
        handle = await daemon.scheduled("agent2")
        w.add(3, contact_info=same)
        await daemon.log_in("agent3")
        await daemon.until(lambda: same in w.dialed())
        await daemon.until(lambda: daemon.session.attempts)
        monkeypatch.setattr(MemoryListStore, "settle_chain", later)

        await first.gsw("DoNotCall", GSW_APPLICATION_ID=101, GSW_PHONE=same)
        await trio.sleep(2.0)
        assert daemon.session.attempts == {}  # no longer ringing, though the first desk is still being written
        await second.about("RecordReject", handle)
        await trio.sleep(1.0)
        gate.set()
        await daemon.until(lambda: first.has("DoNotCallAcknowledge"))
        await trio.sleep(1.0)
        assert sorted(settled) == [1, 2]
        assert {w.state(n)[1] for n in (1, 2, 3)} == {T.NO_CALL}


async def test_given_the_database_is_away_when_a_number_is_forbidden_then_it_holds_at_once_and_is_acknowledged_later(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        desktop = await daemon.log_in("agent1", ready=False)
        w.dnc.away = True
        await desktop.gsw("DoNotCall", GSW_APPLICATION_ID=101, GSW_PHONE=number(7))
        await trio.sleep(10.0)
        assert w.dnc.forbidden(1, [number(7)], w.clock.utc()) == [True]
        assert not desktop.has("DoNotCallAcknowledge")
        w.dnc.come_back()
        await daemon.until(lambda: desktop.has("DoNotCallAcknowledge"))


# --- the service without a desktop (HTTP comes to the same methods) ---------------------------------------------------


async def test_given_an_unknown_handle_when_anything_is_asked_then_112(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        await daemon.start()
        records = daemon.desks.records
        for ask in (
            lambda: records.update(77, None, {}),
            lambda: records.processed(77, None, {}, None, None),
            lambda: records.reject(77, "agent1"),
            lambda: records.reschedule(77, T.PERSONAL_CALLBACK, datetime(2026, 5, 1)),  # noqa: DTZ001
        ):
            with pytest.raises(Exception, match="unknown or already processed"):
                await ask()
        for withdraw in (records.cancel, records.do_not_call):
            with pytest.raises(Exception, match="unknown or already processed"):
                withdraw(Target(77), ChainAttr.ALL_CHAIN)


async def test_given_a_store_that_fails_once_when_cancelled_then_it_is_tried_again(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        await daemon.request(CampaignRequest.LOAD)
        store = daemon.campaigns.store
        patient, calls = store.withdraw, []

        async def withdraw(*arguments, **keywords):
            calls.append(arguments)
            if len(calls) == 1:
                raise StoreUnavailable("once")
            return await patient(*arguments, **keywords)

        store.withdraw = withdraw  # type: ignore[method-assign]
        cancelled = await daemon.desks.records.cancel(Target(phone=number(1)), ChainAttr.ALL_CHAIN)()
        assert (cancelled.records, cancelled.incomplete) == (1, False)
        assert w.state(1)[0] is R.CANCELED
