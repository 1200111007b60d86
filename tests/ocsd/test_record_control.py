"""Requests of the HTTP port about records, carried out: what the rows become, and that nothing is done twice."""

from datetime import datetime, timedelta
from functools import partial

import pytest
import trio
import trio.testing

from ocsd.lists.memory import MemoryListStore
from ocsd.lists.store import AddRefused
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import DesktopRequestError, StoreUnavailable, TargetNotFound
from ocsd.model.records import NewRecord
from ocsd.model.services import CampaignRequest
from ocsd.protocols.http_records import Resource, parse_http
from ocsd.sessions import withdrawals
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.record_control import DNC_LIMIT_S, RecordControl
from ocsd.sessions.roster import AgentState
from telephony.fake import CallScript
from tests.ocsd.desk_world import LIST, NAMES, NOON, OTHERS, RINGS, TALKER, number, world

R, T = RecordStatus, RecordType
TENANT = {"GSW_TENANT_NAME": "Environment"}
ADD = {"GSW_PHONE": "212-555-9000", "GSW_TZ_NAME": "EST", "GSW_CAMPAIGN_NAME": "Demo"}
NEW = "+12125559000"

MORE = f"""{OTHERS}
[[table_accesses]]
dbid = 160
name = "Spare"
table = "spare"
format = "Demo Format"

[[calling_lists]]
dbid = 161
name = "Spare List"
table_access = "Spare"
time_zone = "EST"
"""


class Port:
    """The HTTP port without HTTP: pairs in, error number out (0: carried out, 404: TargetNotFound)."""

    def __init__(self, daemon) -> None:
        self._control = RecordControl(daemon.campaigns, daemon.desks.records)

    async def ask(self, resource: Resource, identifier: object, req: str, **pairs: object) -> int:
        identifier = None if identifier is None else str(identifier)
        try:
            await self._control.carry_out(parse_http(resource, identifier, req, pairs, 101))
        except TargetNotFound:
            return 404
        except DesktopRequestError as error:
            return int(error.error)
        return 0

    async def record(self, handle: int, req: str, **pairs: object) -> int:
        return await self.ask(Resource.RECORDS, handle, req, **pairs)

    async def phone(self, phone: str, req: str, **pairs: object) -> int:
        return await self.ask(Resource.PHONES, phone, req, **(TENANT | pairs))

    async def add(self, **pairs: object) -> int:
        return await self.ask(Resource.LISTS, "Demo List", "AddRecord", **(ADD | pairs))


def rows_of(w, phone: str):
    return [row for row in w.database.rows(LIST).values() if row.record.contact_info == phone]


def image(w):
    """Everything that is written down."""
    return dict(w.database.rows(LIST)), list(w.dnc.entries), list(w.database.journal.decisions)


async def talking(daemon, agent="agent1"):
    desktop = await daemon.log_in(agent)
    await daemon.start()
    return desktop, await daemon.until_talking(agent)


# --- records: each request, and its row -----------------------------------------------------------------


async def test_given_a_record_in_wrap_up_when_processed_over_http_then_the_answer_follows_its_row(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        desktop, handle = await talking(daemon)
        port = Port(daemon)
        assert await port.record(handle, "UpdateCallCompletionStats", CUSTOMER_NO="C7") == 0
        await daemon.until(lambda: desktop.has("EventReleased"))
        assert w.row(1).record_status is R.RETRIEVED
        assert await port.record(handle, "recordprocessed", GSW_CALL_RESULT=33, GSW_PHONE="(212) 555-0199") == 0
        assert w.state(1) == (R.UPDATED, T.GENERAL, 33)
        assert w.row(1).record.user_fields["customer_no"] == "C7"
        assert w.row(1).record.contact_info == "+12125550199"
        assert w.row(1).record.agent_id == "agent1"
        assert await port.record(handle, "RecordProcessed") == 112


@pytest.mark.parametrize("req", ["RecordReschedule", "ScheduledRecordReschedule"])
async def test_given_a_conversation_when_rescheduled_over_http_then_it_is_final_when_the_call_ends(
    autojump_clock, tmp_path, req
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        _, handle = await talking(daemon)
        port = Port(daemon)
        more = {"GSW_CALLBACK_TYPE": "Personal"} if req.startswith("Sch") else {}
        assert await port.record(handle, req, GSW_DATE_TIME="03/05/2026 10:00", **more) == 0
        assert await port.record(handle, "RecordProcessed") == 112
        assert await port.record(handle, req, GSW_DATE_TIME="03/05/2026 11:00", **more) == 112
        await daemon.until(lambda: not daemon.session.attempts)
        kind = T.PERSONAL_CALLBACK if more else T.CAMPAIGN_CALLBACK
        assert w.state(1)[:2] == (R.READY, kind)
        due = datetime(2026, 3, 5, 15, tzinfo=NOON.tzinfo)
        assert w.row(1).record.dial_sched_time == int(due.timestamp())


async def test_given_a_record_on_a_desktop_when_rescheduled_over_http_then_its_row_is_written_at_once(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 5.0, "agent1")
        await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        port = Port(daemon)
        assert await port.record(handle, "RecordReschedule", GSW_DATE_TIME="03/03/2026 11:00") == 110
        assert await port.record(handle, "ScheduledRecordReschedule", GSW_DATE_TIME="03/05/2026 10:00") == 0
        assert w.state(1)[:2] == (R.READY, T.PERSONAL_CALLBACK)
        assert w.row(1).record.agent_id == "agent1"
        assert daemon.session.on_desk == {}
        assert await port.record(handle, "RecordReject") == 112


@pytest.mark.parametrize(
    ("req", "pairs", "state"),
    [
        ("RecordReject", {}, (R.READY, T.GENERAL)),
        ("RequestRecordCancel", {"GSW_CHAIN_ATTR": "AllChain"}, (R.CANCELED, T.PERSONAL_CALLBACK)),
        ("DoNotCall", {}, (R.UPDATED, T.NO_CALL)),
        ("RecordProcessed", {"GSW_CALL_RESULT": 33}, (R.UPDATED, T.PERSONAL_CALLBACK)),
    ],
)
async def test_given_a_record_on_a_desktop_when_asked_over_http_then_its_chain_ends_so(
    autojump_clock, tmp_path, req, pairs, state
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 5.0, "agent1")
        w.add(2, chain_id=1, chain_n=1, record_type=T.PERSONAL_CALLBACK, agent_id="agent1",
              dial_sched_time=w.row(1).record.dial_sched_time)  # fmt: skip
        await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        await daemon.request(CampaignRequest.STOP_DIALING)
        assert await Port(daemon).record(handle, req, **pairs) == 0
        assert {w.state(1)[:2], w.state(2)[:2]} == {state}
        assert w.database.claims == {}
        assert daemon.session.on_desk == {}


async def test_given_a_call_that_is_still_ringing_when_processed_then_it_closes_with_the_call_and_only_once(
    autojump_clock, tmp_path
):
    async with world(tmp_path, {number(1): RINGS}) as w, w.daemon() as daemon:
        w.add(1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until(lambda: daemon.session.attempts)
        (handle,) = daemon.session.attempts
        port = Port(daemon)
        assert await port.record(handle, "RecordProcessed", CUSTOMER_NO="C9") == 0
        assert await port.record(handle, "RecordProcessed") == 112
        await daemon.until_talking("agent1")
        await desktop.about("RecordProcessed", handle)
        assert desktop.errors == [112]
        await daemon.until(lambda: not daemon.session.attempts)  # without wrap-up: nobody is asked any more
        assert w.state(1) == (R.UPDATED, T.GENERAL, CallResult.ANSWER)
        assert w.row(1).record.user_fields["customer_no"] == "C9"
        assert w.row(1).record.attempt == 1


PERSONAL = {"GSW_CALLBACK_TYPE": "Personal", "GSW_DATE_TIME": "03/05/2026 10:00"}


@pytest.mark.parametrize(
    ("req", "pairs"),
    [
        ("RecordReschedule", PERSONAL),
        ("ScheduledRecordReschedule", PERSONAL),
        ("RecordProcessed", {"GSW_TREATMENT": "RecordTreatPersonal"}),
    ],
)
async def test_given_a_record_that_no_agent_has_when_it_is_to_be_an_agents_then_it_must_say_whose(
    autojump_clock, tmp_path, req, pairs
):
    async with world(tmp_path, {number(1): RINGS}) as w, w.daemon() as daemon:
        w.add(1)
        await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until(lambda: daemon.session.attempts)
        (handle,) = daemon.session.attempts
        port = Port(daemon)
        before = image(w)
        assert await port.record(handle, req, **pairs) == 102
        assert await port.record(handle, req, GSW_AGENT_ID="nobody", **pairs) == 103
        assert await port.record(handle, req, GSW_AGENT_ID=["agent2"], **pairs) == 103
        assert image(w) == before
        assert await port.record(handle, req, GSW_AGENT_ID="agent2", **pairs) == 0
        assert await port.record(handle, req, GSW_AGENT_ID="agent2", **pairs) == 112
        await daemon.until_talking("agent1")
        await daemon.until(lambda: not daemon.session.attempts)
        if req != "RecordProcessed":  # no treatment reschedules an answered call
            assert w.state(1)[:2] == (R.READY, T.PERSONAL_CALLBACK)
            assert w.row(1).record.agent_id == "agent2"  # promised to, whoever had the call


@pytest.mark.parametrize("req", ["RecordReschedule", "ScheduledRecordReschedule"])
async def test_given_an_agent_who_has_the_record_when_a_personal_callback_is_asked_for_then_it_is_that_agents(
    autojump_clock, tmp_path, req
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        _, handle = await talking(daemon)
        assert await Port(daemon).record(handle, req, GSW_AGENT_ID="sent back as attached", **PERSONAL) == 0
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.state(1)[:2] == (R.READY, T.PERSONAL_CALLBACK)
        assert w.row(1).record.agent_id == "agent1"


@pytest.mark.parametrize("answered", [True, False])
async def test_given_a_call_that_is_still_ringing_when_rejected_then_it_is_ready_again_unless_it_is_answered(
    autojump_clock, tmp_path, answered
):
    nobody = CallScript(ring_s=60.0)
    async with world(tmp_path, {number(1): RINGS if answered else nobody}) as w, w.daemon() as daemon:
        w.add(1, record_type=T.CAMPAIGN_RESCHEDULED)
        await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until(lambda: daemon.session.attempts)
        (handle,) = daemon.session.attempts
        port = Port(daemon)
        assert await port.record(handle, "RecordReject") == 0
        assert await port.record(handle, "RecordReject") == 112
        await daemon.request(CampaignRequest.STOP_DIALING)
        await daemon.request(CampaignRequest.UNLOAD)
        await daemon.until(lambda: not daemon.campaigns.sessions)
        if answered:
            assert w.state(1) == (R.UPDATED, T.CAMPAIGN_RESCHEDULED, CallResult.ANSWER)
        else:
            assert w.state(1) == (R.READY, T.GENERAL, CallResult.NO_ANSWER)
        assert w.row(1).record.attempt == 1


async def test_given_a_processed_record_that_still_rings_when_its_number_is_forbidden_then_nobody_is_connected(
    autojump_clock, tmp_path
):
    async with world(tmp_path, {number(1): RINGS}) as w, w.daemon() as daemon:
        w.add(1)
        await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until(lambda: daemon.session.attempts)
        (handle,) = daemon.session.attempts
        port = Port(daemon)
        assert await port.record(handle, "RecordProcessed") == 0
        assert await port.phone(number(1), "DoNotCall") == 0
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.state(1) == (R.UPDATED, T.NO_CALL, CallResult.DO_NOT_CALL)
        assert not daemon.desktops["agent1"].has("EventEstablished")


@pytest.mark.parametrize("first", ["http", "desktop"])
async def test_given_one_handle_when_used_from_http_and_a_desktop_at_once_then_the_second_gets_112(
    autojump_clock, tmp_path, first
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        desktop, handle = await talking(daemon)
        await daemon.until(lambda: desktop.has("EventReleased"))
        assert daemon.session.attempts[handle].machine.state is AttemptState.WRAP_UP
        port, answers = Port(daemon), []

        async def over_http() -> None:
            answers.append(await port.record(handle, "RecordProcessed", GSW_CALL_RESULT=33))

        async def from_desktop() -> None:
            await desktop.about("RecordProcessed", handle, GSW_CALL_RESULT=40)

        both = (over_http, from_desktop) if first == "http" else (from_desktop, over_http)
        async with trio.open_nursery() as nursery:
            for ask in both:
                nursery.start_soon(ask)
        await daemon.until(lambda: not daemon.session.attempts)
        taken_by_http = answers == [0]
        assert answers in ([0], [112])
        assert desktop.errors == ([112] if taken_by_http else [])
        assert desktop.has("RecordProcessedAcknowledge") is not taken_by_http
        assert w.state(1) == (R.UPDATED, T.GENERAL, 33 if taken_by_http else 40)
        assert [one.attempt_id for one in daemon.campaigns.store.finished] == [handle]


async def test_given_many_requests_for_one_handle_when_all_come_at_once_then_one_is_taken(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        _, handle = await talking(daemon)
        port, answers = Port(daemon), []
        requests = [
            ("RecordProcessed", {"GSW_CALL_RESULT": 33, "GSW_TREATMENT": "RecordTreatCampaign"}),
            ("RecordReschedule", {"GSW_DATE_TIME": "03/05/2026 10:00"}),
            ("RecordReject", {}),
            ("RequestRecordCancel", {}),
            ("RecordProcessed", {"CUSTOMER_NO": "C1"}),
        ]

        async def ask(req: str, pairs: dict) -> None:
            answers.append(await port.record(handle, req, **pairs))

        async with trio.open_nursery() as nursery:
            for req, pairs in requests:
                nursery.start_soon(ask, req, pairs)
        assert sorted(answers) == [0, 112, 112, 112, 112]
        await daemon.until(lambda: not daemon.session.attempts)
        assert len(daemon.campaigns.store.finished) == 1


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ({"GSW_TENANT_NAME": "Other Tenant"}, 103),
        ({"GSW_TENANT_DBID": 2, "GSW_TENANT_NAME": "Environment"}, 103),  # "the DBID takes precedence"
        ({"GSW_TENANT_DBID": 77}, 103),
        ({"GSW_TENANT_NAME": "Nobody"}, 103),
        ({"GSW_CAMPAIGN_NAME": "Idle"}, 103),
        ({"GSW_CALLING_LIST": "Spare List"}, 103),
        ({"NO_SUCH_FIELD": 1}, 103),
        ({"GSW_PHONE": "12"}, 103),
        ({"GSW_FROM": 90_000}, 103),
    ],
)
async def test_given_pairs_that_do_not_fit_when_processed_then_nothing_has_changed(
    autojump_clock, tmp_path, pairs, error
):
    async with world(tmp_path, more=MORE) as w, w.daemon() as daemon:
        w.add_callback(1, 5.0, "agent1")
        await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        before = image(w)
        assert await Port(daemon).record(handle, "RecordProcessed", **pairs) == error
        assert image(w) == before
        assert daemon.session.on_desk[handle].updates == {}
        assert not daemon.session.on_desk[handle].closing


async def test_given_a_handle_of_anothers_desktop_when_a_desktop_uses_it_then_112_and_http_may(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 5.0, "agent1")
        await daemon.log_in("agent1", ready=False)
        other = await daemon.log_in("agent2", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        for req in ("RecordProcessed", "UpdateCallCompletionStats", "RecordReject", "RequestRecordCancel", "DoNotCall"):
            await other.about(req, handle)
        await other.about("ScheduledRecordReschedule", handle, GSW_DATE_TIME="03/05/2026 10:00")
        await other.gsw("AddRecord", **(NAMES | ADD), GSW_RECORD_HANDLE=handle)
        assert other.errors == [112] * 7
        assert w.dnc.entries == []
        assert daemon.session.on_desk[handle].callback is None
        assert await Port(daemon).record(handle, "RecordProcessed") == 0


# --- the database away ----------------------------------------------------------------------------------


async def test_given_the_database_away_when_asked_then_113_and_nothing_has_changed(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add_callback(1, 5.0, "agent1")
        await daemon.log_in("agent1", ready=False)
        await daemon.start()
        handle = await daemon.scheduled("agent1")
        port, before = Port(daemon), image(w)
        w.database.available = False
        for req, pairs in (
            ("UpdateCallCompletionStats", {"GSW_CALL_RESULT": 33}),
            ("RecordProcessed", {"GSW_CALL_RESULT": 33}),
            ("RecordReject", {}),
            ("RequestRecordCancel", {}),
            ("RecordReschedule", {"GSW_DATE_TIME": "03/05/2026 10:00"}),
            ("AddRecord", ADD),
        ):
            assert await port.record(handle, req, **pairs) == 113, req
        assert await port.phone(number(1), "RequestRecordCancel") == 113
        assert await port.add() == 113
        assert image(w) == before
        desk = daemon.session.on_desk[handle]
        assert (desk.call_result, desk.callback, desk.closing) == (None, None, False)
        w.database.available = True
        assert await port.record(handle, "RecordProcessed") == 0


async def test_given_the_database_away_when_asked_not_to_call_then_it_holds_at_once_and_is_written_later(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        await daemon.request(CampaignRequest.LOAD)
        port = Port(daemon)
        w.database.available, w.dnc.away = False, True
        asked_s = trio.current_time()
        assert await port.phone(number(1), "DoNotCall") == 113
        assert trio.current_time() - asked_s == pytest.approx(DNC_LIMIT_S)
        assert w.dnc.forbidden(1, [number(1)], w.clock.utc()) == [True]
        w.database.available = True
        w.dnc.come_back()
        await daemon.until(lambda: w.state(1)[1] is T.NO_CALL)


@pytest.mark.parametrize("way", ["phone", "customer", "handle"])
async def test_given_the_database_away_when_a_number_that_rings_is_forbidden_then_nobody_is_connected(
    autojump_clock, tmp_path, way
):
    async with world(tmp_path, {number(1): RINGS}) as w, w.daemon() as daemon:
        w.add(1, customer_no="C-1")
        await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until(lambda: number(1) in w.dialed())
        (handle,) = daemon.session.attempts
        w.database.available, w.dnc.away = False, True
        port = Port(daemon)
        asked = {
            "phone": partial(port.phone, number(1), "DoNotCall"),
            "customer": partial(port.ask, Resource.CUSTOMER_IDS, "C-1", "DoNotCall", **TENANT),
            "handle": partial(port.record, handle, "DoNotCall"),
        }
        assert await asked[way]() == 113
        await trio.sleep(30.0)
        assert daemon.campaigns.seats["agent1"].state is AgentState.READY
        w.database.available = True
        w.dnc.come_back()
        await daemon.until(lambda: not daemon.session.attempts)
        await trio.sleep(30.0)
        assert w.state(1)[::2] == (R.UPDATED, CallResult.DO_NOT_CALL)
        assert w.row(1).record.record_type is T.NO_CALL
        assert w.dialed() == [number(1)]


async def test_given_a_client_that_goes_away_when_its_request_is_under_way_then_it_is_finished(
    autojump_clock, tmp_path, monkeypatch
):
    gate = trio.Event()

    def later(write):
        async def written(self: MemoryListStore, *arguments):
            await gate.wait()
            return await write(self, *arguments)

        return written

    async with world(tmp_path) as w, w.daemon() as daemon:
        w.add(1)
        desktop, handle = await talking(daemon)
        await daemon.until(lambda: desktop.has("EventReleased"))
        for name in ("finish_attempt", "add_record"):
            monkeypatch.setattr(MemoryListStore, name, later(getattr(MemoryListStore, name)))
        port, answers = Port(daemon), []

        async def ask(request) -> None:
            answers.append(await request())

        async with trio.open_nursery() as clients:
            clients.start_soon(ask, partial(port.record, handle, "RecordProcessed", GSW_CALL_RESULT=33))
            clients.start_soon(ask, port.add)
            await trio.sleep(3.0)
            clients.cancel_scope.cancel()
        assert w.row(1).record_status is R.RETRIEVED
        assert rows_of(w, NEW) == answers == []
        gate.set()
        await daemon.until(lambda: w.row(1).record_status is R.UPDATED)
        await daemon.until(lambda: rows_of(w, NEW))
        assert w.state(1)[2] == 33


# --- phones and customer IDs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ({}, 0),
        ({"GSW_CAMPAIGN_NAME": "Demo"}, 0),
        ({"GSW_CAMPAIGN_GROUP_NAME": "Demo@Demo Agents", "GSW_CALLING_LIST": "Demo List"}, 0),
        ({"GSW_CAMPAIGN_NAME": "Nowhere"}, 103),
        ({"GSW_CAMPAIGN_GROUP_NAME": "Nowhere"}, 103),
        ({"GSW_CALLING_LIST": "Nowhere"}, 103),
        ({"GSW_CALLING_LIST": "Spare List"}, 103),
        ({"GSW_CAMPAIGN_NAME": "Idle"}, 106),
        ({"GSW_CAMPAIGN_GROUP_NAME": "Idle@Demo Agents"}, 106),
        ({"GSW_CAMPAIGN_NAME": "Other"}, 103),
        ({"GSW_TENANT_NAME": "Other Tenant"}, 106),
        ({"GSW_TENANT_NAME": "Nobody"}, 103),
    ],
)
@pytest.mark.parametrize("by", ["phone", "customer"])
async def test_given_names_when_a_number_or_customer_is_cancelled_then_only_there(
    autojump_clock, tmp_path, pairs, error, by
):
    async with world(tmp_path, more=MORE) as w, w.daemon() as daemon:
        w.add(1, customer_no="C1")
        await daemon.request(CampaignRequest.LOAD)
        await daemon.until(lambda: w.row(1).record_status is R.RETRIEVED)
        before, port = image(w), Port(daemon)
        if by == "phone":
            assert await port.phone("(212) 555-2001", "RequestRecordCancel", **pairs) == error
        else:
            asked = TENANT | pairs
            assert await port.ask(Resource.CUSTOMER_IDS, "C1", "RequestRecordCancel", **asked) == error
        if error:
            assert image(w)[0] == before[0]
        else:
            assert w.state(1)[0] is R.CANCELED


async def test_given_nothing_loaded_when_a_number_is_forbidden_then_it_holds_for_its_tenant(autojump_clock, tmp_path):
    async with world(tmp_path, more=MORE) as w, w.daemon() as daemon:
        port, now = Port(daemon), w.clock.utc()
        assert await port.phone("2125552001", "RequestRecordCancel") == 106
        assert await port.phone("2125552001", "DoNotCall", GSW_TENANT_NAME="Other Tenant", GSW_MESSAGE="no") == 0
        assert await port.ask(Resource.CUSTOMER_IDS, "C1", "DoNotCall", **TENANT) == 0
        assert w.dnc.forbidden(2, [number(1)], now) == [True]
        own = daemon.campaigns.config.tenants[0].dbid
        assert w.dnc.forbidden(own, [number(1)], now) == [False]
        assert w.dnc.customers_forbidden(own, ["C1"], now) == [True]
        assert w.dnc.entries[0].message == "no"


# --- AddRecord ------------------------------------------------------------------------------------------


async def test_given_a_running_campaign_when_a_record_is_added_then_it_is_dialed_soon(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until(daemon.session.supply.all_exhausted)
        port = Port(daemon)
        asked_s = trio.current_time()
        assert await port.add(CUSTOMER_NO="C5", GSW_CALL_RESULT=30, GSW_ATTEMPTS=1) == 0
        await daemon.until(lambda: w.dialed() == [NEW])
        assert trio.current_time() - asked_s < 2.0  # not the five seconds of a list that was empty
        (row,) = rows_of(w, NEW)
        assert (row.record.user_fields["customer_no"], row.record.attempt) == ("C5", 1)
        assert (row.record.daily_from_s, row.record.daily_till_s) == (28_800, 64_800)


async def test_given_a_callback_when_added_then_it_waits_for_its_time_in_its_window(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        port = Port(daemon)
        when = {"GSW_RECORD_TYPE": 6, "GSW_DATE_TIME": "03/03/2026 23:00"}
        assert await port.add(**when) == 0
        (row,) = rows_of(w, NEW)
        assert (row.record_status, row.record.record_type) == (R.READY, T.CAMPAIGN_CALLBACK)
        opening = datetime(2026, 3, 4, 8) + timedelta(hours=5)  # noqa: DTZ001
        assert row.record.dial_sched_time == int(opening.replace(tzinfo=NOON.tzinfo).timestamp())


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ({"GSW_CAMPAIGN_NAME": "Nowhere"}, 404),
        ({"GSW_CAMPAIGN_GROUP_NAME": "Nowhere"}, 404),
        ({"GSW_CAMPAIGN_GROUP_NAME": "Idle@Demo Agents"}, 106),  # before the campaign's name
        ({"GSW_CAMPAIGN_NAME": "Idle"}, 106),
        ({"GSW_CAMPAIGN_NAME": "Other"}, 103),  # the list is none of its lists
        ({"GSW_TENANT_NAME": "Other Tenant"}, 103),
        ({"GSW_TENANT_DBID": 99}, 103),
        ({"GSW_TZ_NAME": "XYZ"}, 103),
        ({"GSW_PHONE": "12"}, 103),
        ({"NO_SUCH_FIELD": 1}, 103),
        ({"CUSTOMER_NO": "x" * 21}, 103),
        ({"GSW_RECORD_TYPE": 5, "GSW_DATE_TIME": "03/05/2026 10:00"}, 102),
        ({"GSW_RECORD_TYPE": 5, "GSW_DATE_TIME": "03/05/2026 10:00", "GSW_AGENT_ID": "nobody"}, 103),
        ({"GSW_RECORD_TYPE": 6, "GSW_DATE_TIME": "03/03/2045 11:00"}, 110),
        ({"GSW_CHAIN_ID": 77}, 114),
        ({"GSW_CHAIN_ID": 1, "GSW_CHAIN_N": 3}, 115),
    ],
)
async def test_given_a_record_that_cannot_be_added_then_the_manuals_number_and_nothing_written(
    autojump_clock, tmp_path, pairs, error
):
    async with world(tmp_path, more=MORE) as w, w.daemon() as daemon:
        w.add(1, chain_n=3)
        await daemon.request(CampaignRequest.LOAD)
        assert await Port(daemon).add(**pairs) == error
        assert len(w.database.rows(LIST)) == 1


async def test_given_no_group_loaded_or_the_list_unknown_when_added_then_106_and_404(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        port = Port(daemon)
        assert await port.add() == 106
        assert await port.ask(Resource.LISTS, "Nowhere", "AddRecord", **ADD) == 404
        await daemon.request(CampaignRequest.LOAD)
        assert await port.ask(Resource.RECORDS, None, "AddRecord", **ADD) == 0  # the campaign has just one list
        await daemon.request(CampaignRequest.UNLOAD)
        await daemon.until(lambda: not daemon.campaigns.sessions)
        assert await port.add() == 106
        assert len(rows_of(w, NEW)) == 1


async def test_given_a_handle_when_a_record_is_added_then_it_joins_that_chain_and_goes_with_the_callback(
    autojump_clock, tmp_path
):
    """The manual's way to call another number back: add it to the chain, and reschedule the chain."""
    async with world(tmp_path, {number(1): TALKER}) as w, w.daemon() as daemon:
        w.add(1)
        desktop, handle = await talking(daemon)
        port = Port(daemon)
        assert await port.record(handle, "AddRecord", **ADD, GSW_CHAIN_ID=9) == 103
        assert await port.record(handle, "AddRecord", **(ADD | {"GSW_CAMPAIGN_NAME": "whatever"}), GSW_CHAIN_ID=1) == 0
        (added,) = rows_of(w, NEW)
        assert (added.record.chain_id, added.record.chain_n, added.record_status) == (1, 1, R.READY)
        await trio.sleep(30.0)
        assert w.dialed() == [number(1)]  # the conversation goes on; nobody dials its chain
        await desktop.ask(Request="RequestReleaseCall", ConnID=desktop.last("EventEstablished")["ConnID"])
        assert await port.record(handle, "RecordReschedule", GSW_DATE_TIME="03/05/2026 10:00") == 0
        await daemon.until(lambda: not daemon.session.attempts)
        await desktop.ask(Request="RequestAgentReady")
        await trio.sleep(60.0)
        first, second = w.row(1).record, rows_of(w, NEW)[0].record
        assert second.record_type is first.record_type is T.CAMPAIGN_CALLBACK
        assert (second.dial_sched_time, second.treatments) == (first.dial_sched_time, first.treatments)
        assert w.dialed() == [number(1)]


async def test_given_a_record_that_joined_when_its_chain_must_not_be_called_then_its_number_is_forbidden_too(
    autojump_clock, tmp_path
):
    async with world(tmp_path, {number(1): TALKER}) as w, w.daemon() as daemon:
        w.add(1)
        _, handle = await talking(daemon)
        port = Port(daemon)
        assert await port.record(handle, "AddRecord", **ADD, GSW_CHAIN_ID=1) == 0
        assert await port.record(handle, "DoNotCall") == 0
        own = daemon.session.planner.tenant_dbid
        assert w.dnc.forbidden(own, [NEW, number(1)], w.clock.utc()) == [True, True]
        assert rows_of(w, NEW)[0].record.record_type is T.NO_CALL


async def test_given_a_forbidden_number_when_added_then_the_gates_keep_it_from_being_dialed(autojump_clock, tmp_path):
    async with world(tmp_path) as w, w.daemon() as daemon:
        await daemon.log_in("agent1")
        await daemon.start()
        port = Port(daemon)
        assert await port.phone(NEW, "DoNotCall") == 0
        assert await port.add() == 0
        await daemon.until(lambda: rows_of(w, NEW)[0].record.record_type is T.NO_CALL)
        assert w.dialed() == []


async def test_given_a_desktop_when_it_adds_records_then_it_must_work_for_the_campaign(autojump_clock, tmp_path):
    more = MORE + '[[agents]]\ndbid = 990\nlogin_id = "stranger"\ndn = "sip:stranger@127.0.0.1"\n'
    async with world(tmp_path, more=more) as w, w.daemon() as daemon:
        own, stranger = await daemon.log_in("agent1", ready=False), await daemon.log_in("stranger", ready=False)
        pairs = NAMES | ADD | {"GSW_REFERENCE_ID": 5}
        await own.gsw("AddRecord", **pairs)
        assert own.errors == [106]
        await daemon.request(CampaignRequest.LOAD)
        await stranger.gsw("AddRecord", **pairs)
        assert stranger.errors == [104]
        await own.gsw("AddRecord", **pairs)
        await daemon.until(lambda: own.has("AddRecordAcknowledge"))
        assert own.last("AddRecordAcknowledge") == {
            "GSW_USER_EVENT": "AddRecordAcknowledge",
            "GSW_APPLICATION_ID": 101,
            "GSW_CALLING_LIST": "Demo List",
            "GSW_CAMPAIGN_NAME": "Demo",
            "GSW_REFERENCE_ID": 5,
        }
        await own.gsw("AddRecord", **(pairs | {"GSW_CHAIN_ID": 77}))
        await daemon.until(lambda: own.errors == [106, 114])
        assert own.messages[-1]["GSW_REFERENCE_ID"] == 5
        assert len(rows_of(w, NEW)) == 1


async def test_given_a_row_that_the_store_refuses_when_added_then_116(autojump_clock, tmp_path, monkeypatch):
    async def refuse(self: MemoryListStore, record: NewRecord) -> None:
        raise AddRefused(f"no {record.contact_info}")

    async with world(tmp_path) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        monkeypatch.setattr(MemoryListStore, "add_record", refuse)
        assert await Port(daemon).add() == 116
        assert rows_of(w, NEW) == []


@pytest.mark.parametrize("way", ["add_record", "withdraw"])
async def test_given_what_the_database_says_when_it_refuses_then_peers_are_told_a_sentence_of_ours(
    autojump_clock, tmp_path, monkeypatch, way
):
    async def refuse(self: MemoryListStore, *arguments: object, **more: object) -> None:
        raise StoreUnavailable('connection to "10.1.2.3" failed: FATAL: password authentication failed for "ocs"')

    async def at_once(waiting, call, **facts: object) -> object:
        return await call()

    async with world(tmp_path) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        monkeypatch.setattr(MemoryListStore, way, refuse)
        monkeypatch.setattr(withdrawals, "through_outages", at_once)
        control = RecordControl(daemon.campaigns, daemon.desks.records)
        request = (
            parse_http(Resource.LISTS, "Demo List", "AddRecord", ADD, 101)
            if way == "add_record"
            else parse_http(Resource.PHONES, number(1), "RequestRecordCancel", TENANT, 101)
        )
        with pytest.raises(DesktopRequestError) as refused:
            await control.carry_out(request)
        assert (refused.value.error, refused.value.description) == (113, "the database cannot be reached")


@pytest.mark.parametrize(
    ("req", "pairs"),
    [
        ("UpdateCallCompletionStats", {"customer_name": "Ann"}),
        ("RecordProcessed", {}),
        ("RecordReject", {}),
        ("RecordReschedule", {"GSW_DATE_TIME": "12/01/2031 13:00"}),
    ],
)
async def test_given_a_conversation_when_asked_then_the_answer_follows_when_the_note_is_on_disk(
    autojump_clock, tmp_path, monkeypatch, req, pairs
):
    written = trio.Event()

    async def slow(store, *note):
        await trio.lowlevel.checkpoint()
        return written.wait

    monkeypatch.setattr(MemoryListStore, "note_correction", slow)
    async with world(tmp_path, {number(1): TALKER}) as w, w.daemon() as daemon, trio.open_nursery() as nursery:
        w.add(1)
        await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")
        answers: list[int] = []

        async def ask() -> None:
            answers.append(await Port(daemon).record(handle, req, **pairs))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert answers == []
        written.set()
        await daemon.until(lambda: answers == [0])
