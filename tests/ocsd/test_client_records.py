"""The client's requests for records, phones, customers and lists: what arrives, and what a refusal becomes."""

import doctest
import inspect
import socket
import threading
from datetime import UTC, date, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import get_type_hints

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ocsd.client import (
    AsyncControlClient,
    CallbackType,
    ControlClient,
    ControlError,
    ControlUnavailable,
    CustomerId,
    NewRecord,
    Phone,
    RecordHandle,
    RecordTreatment,
    answers,
    calls,
)
from ocsd.client.answers import ControlAnswer
from ocsd.explain.contract import Explanation, GateVerdict, GroupExplanation, Preflight
from ocsd.http.messages import gsw_refusal
from ocsd.http.routes import ControlRecords, route
from ocsd.model.enums import (
    GSW_ERROR_NAMES,
    CallResult,
    ChainAttr,
    ContactInfoType,
    GswError,
    RecordStatus,
    RecordType,
)
from ocsd.model.errors import DesktopRequestError, StoreUnavailable, TargetNotFound
from ocsd.model.records import TypePriority
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.desktop_records import (
    DoNotCall,
    RecordProcessed,
    RecordReject,
    RecordReschedule,
    RequestRecordCancel,
    ScheduledRecordReschedule,
    UpdateCallCompletionStats,
)
from ocsd.protocols.http_records import HttpRecordRequest, Resource, TenantName
from tests.ocsd.http_fakes import FakeExplainer, FakeRecords, http_server
from tests.ocsd.served_port import APPLICATION_DBID, HANG_LIMIT_S, served_port

DOCS = Path(__file__).parents[2] / "docs" / "client.md"
RECORD = RecordHandle(15)
LATER = datetime(2031, 12, 1, 13, 0)  # noqa: DTZ001 - times of records have no zone
SEEN = datetime(2031, 1, 2, 3, 4)  # noqa: DTZ001
OURS = APPLICATION_DBID
TREAT = RecordTreatment.PERSONAL


def of_record(request, tenant=None):
    return HttpRecordRequest(Resource.RECORDS, request, tenant)


ARRIVES = {
    "an update of everything": (
        lambda ocs: ocs.update_call_completion_stats(
            RECORD,
            call_result=CallResult.WRONG_NUMBER,
            phone="+12125550123",
            phone_type=ContactInfoType.MOBILE,
            daily_from_s=3600,
            daily_till_s=7200,
            custom={"CODE": 22, "NOTE": "Zoë", "RATE": 1.5, "BORN": date(1980, 2, 1), "SEEN": SEEN},
            campaign_name="Alpha Campaign",
            campaign_group_name="Alpha@Agents",
            calling_list="Alpha List",
            tenant="Alpha Tenant",
            application_dbid=OURS,
            reference_id=-9,
        ),
        of_record(
            UpdateCallCompletionStats(
                OURS,
                15,
                "Alpha Campaign",
                "Alpha@Agents",
                "Alpha List",
                {"call_result": 53, "contact_info": "+12125550123", "contact_info_type": 4, "daily_from": 3600,
                 "daily_till": 7200},
                {"CODE": 22, "NOTE": "Zoë", "RATE": 1.5, "BORN": "1980-02-01", "SEEN": "2031-01-02T03:04:00"},
                -9,
            ),
            TenantName(name="Alpha Tenant"),
        ),
    ),
    "processed, no more": (
        lambda ocs: ocs.record_processed(RECORD),
        of_record(RecordProcessed(OURS, 15, None, None)),
    ),
    "processed with a treatment and a result of the site's own": (
        lambda ocs: ocs.record_processed(RECORD, treatment=TREAT, call_result=1001, custom={"A": "b"}),
        of_record(
            RecordProcessed(
                OURS, 15, None, None, changes={"call_result": 1001}, custom={"A": "b"}, treatment=TREAT
            )
        ),
    ),
    "reject": (
        lambda ocs: ocs.record_reject(RECORD, tenant=7),
        of_record(RecordReject(OURS, 15, None, None), TenantName(7)),
    ),
    "reschedule": (
        lambda ocs: ocs.record_reschedule(RECORD, LATER),
        of_record(RecordReschedule(OURS, 15, None, CallbackType.CAMPAIGN, LATER)),
    ),
    "reschedule for the agent": (
        lambda ocs: ocs.record_reschedule(RECORD, LATER, callback_type=CallbackType.PERSONAL),
        of_record(RecordReschedule(OURS, 15, None, CallbackType.PERSONAL, LATER)),
    ),
    "a callback moved": (
        lambda ocs: ocs.scheduled_record_reschedule(RECORD, LATER, phone="+1212"),
        of_record(ScheduledRecordReschedule(OURS, 15, None, None, LATER, "+1212")),
    ),
    "cancel of one record": (
        lambda ocs: ocs.request_record_cancel(RECORD, chain_attr=ChainAttr.RECORD_ONLY),
        of_record(RequestRecordCancel(OURS, 15, chain_attr=ChainAttr.RECORD_ONLY)),
    ),
    "do not call the record": (
        lambda ocs: ocs.do_not_call(RECORD),
        of_record(DoNotCall(OURS, 15)),
    ),
    "do not call a number": (
        lambda ocs: ocs.do_not_call(
            Phone("+49 30/12%", "Alpha Tenant"), chain_attr=ChainAttr.ALL_CHAIN, message="by letter", duration_s=60
        ),
        HttpRecordRequest(
            Resource.PHONES,
            DoNotCall(OURS, phone="+49 30/12%", message="by letter", duration_s=60),
            TenantName(name="Alpha Tenant"),
        ),
    ),
    "cancel a customer in one campaign": (
        lambda ocs: ocs.request_record_cancel(CustomerId("Ü?#&7", 3), campaign_name="Alpha Campaign"),
        HttpRecordRequest(
            Resource.CUSTOMER_IDS,
            RequestRecordCancel(OURS, customer_id="Ü?#&7", campaign_name="Alpha Campaign"),
            TenantName(3),
        ),
    ),
    "a new record": (
        lambda ocs: ocs.add_record("Alpha List", NewRecord("4155670000", "PST"), campaign_name="Alpha Campaign"),
        HttpRecordRequest(
            Resource.LISTS, AddRecord(OURS, "4155670000", "PST", "Alpha List", "Alpha Campaign")
        ),
    ),
    "a new record with everything": (
        lambda ocs: ocs.add_record(
            "Alpha List",
            NewRecord(
                "4155670000", "PST", 7, 2, RecordType.PERSONAL_CALLBACK, RecordStatus.READY, ContactInfoType.PAGER,
                LATER, 3600, 7200, CallResult.BUSY, 3, 1_900_000_000, "agent1", {"CODE": 22},
            ),
            campaign_name="Alpha Campaign",
            campaign_group_name="Alpha@Agents",
            reference_id=5,
        ),
        HttpRecordRequest(
            Resource.LISTS,
            AddRecord(
                OURS, "4155670000", "PST", "Alpha List", "Alpha Campaign", "Alpha@Agents", None, 7, 2,
                RecordType.PERSONAL_CALLBACK, RecordStatus.READY, 6, 3600, 7200, 6, 3, 1_900_000_000, LATER, "agent1",
                {"CODE": 22}, 5,
            ),
        ),
    ),
    "a new record beside one on the desktop": (
        lambda ocs: ocs.add_record(RECORD, NewRecord("4155670000", "PST", chain_id=7)),
        of_record(AddRecord(OURS, "4155670000", "PST", record_handle=15, chain_id=7)),
    ),
    "a new record of the campaign's list": (
        lambda ocs: ocs.add_record(None, NewRecord("4155670000", "PST"), campaign_name="Alpha Campaign"),
        of_record(AddRecord(OURS, "4155670000", "PST", campaign_name="Alpha Campaign")),
    ),
}  # fmt: skip
HOWS = list(ARRIVES.items())


@pytest.mark.parametrize(("use", "expected"), [how for _, how in HOWS], ids=[name for name, _ in HOWS])
async def test_given_a_method_when_called_of_either_client_then_the_same_typed_request_arrives(use, expected):
    records = FakeRecords()
    async with http_server(records=records) as (_, connect):
        url = f"http://127.0.0.1:{connect.port}"
        async with AsyncControlClient(url) as ocs:
            assert await use(ocs) is None
        with ControlClient(url) as client:
            assert await trio.to_thread.run_sync(use, client) is None

    assert records.requests == [expected, expected]


def test_given_both_clients_when_compared_then_they_have_the_same_methods_arguments_and_words():
    def methods(kind):
        return {name: method for name, method in vars(kind).items() if not name.startswith("_")}

    sync, for_trio = methods(ControlClient), methods(AsyncControlClient)

    assert list(sync) == list(for_trio)
    for name, method in sync.items():
        assert inspect.iscoroutinefunction(for_trio[name])
        assert inspect.signature(method) == inspect.signature(for_trio[name])
        assert get_type_hints(method) == get_type_hints(for_trio[name])
        assert inspect.getdoc(method) == inspect.getdoc(for_trio[name]) != None  # noqa: E711


async def test_given_every_req_of_the_server_when_the_client_is_walked_then_each_has_a_method():
    from ocsd.protocols.http_records import REQUESTS

    sent = {(of.resource, type(of.request).__name__) for _, of in ARRIVES.values()}
    sent |= {(Resource.CUSTOMER_IDS, "DoNotCall"), (Resource.PHONES, "RequestRecordCancel")}  # the same methods

    assert sent == {(resource, name) for resource, names in REQUESTS.items() for name in names}


# --- the URI ------------------------------------------------------------------------------------------------------


ON_THE_WIRE = httpx.Client(base_url="http://127.0.0.1:8080")
"""Says how httpx writes a target; nothing is sent with it."""


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_given_any_number_or_name_when_put_into_the_path_then_the_server_reads_the_same(text):
    tenant = {"GSW_TENANT_DBID": 1}
    for call, resource in [
        (calls.do_not_call(Phone(text, 1), {}, chain_attr=None, message=None, duration_s=None), Resource.PHONES),
        (calls.request_record_cancel(CustomerId(text, 1), {}, chain_attr=None), Resource.CUSTOMER_IDS),
        (calls.add_record(text, NewRecord("1", "PST"), {}), Resource.LISTS),
    ]:
        target = ON_THE_WIRE.build_request("POST", call.target).url.raw_path.decode()

        asked = route("POST", target, "", b"")

        assert isinstance(asked, ControlRecords)
        assert (asked.resource, asked.identifier) == (resource, text)
    assert tenant.items() <= call.body.items() or resource is Resource.LISTS


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_given_a_name_that_no_path_can_have_when_asked_then_nothing_is_sent(text):
    with served_port() as port, port.client() as ocs:
        with pytest.raises(ValueError, match=r"empty|surrogates"):
            ocs.do_not_call(Phone(text, 1))

        assert port.records.requests == []


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        ("15", ""),
        ("http://127.0.0.1:8080/records/15", "http://127.0.0.1:8080"),
        ("https://ocs.example/records/15/", "https://ocs.example"),
        ("http://proxy.example/ocs/records/15", "http://proxy.example/ocs"),
    ],
)
def test_given_a_record_uri_when_read_then_handle_and_server_are_told(uri, server):
    assert RecordHandle.of(uri) == RecordHandle(15, server)


@pytest.mark.parametrize(
    "uri",
    ["", "0", "-1", "2147483648", "fifteen", "/records/15", "http://h/phones/15", "http://h/records/", "ftp://h/records/15",
     "١٥"],
)  # fmt: skip
def test_given_something_else_when_read_as_a_record_then_it_is_refused(uri):
    with pytest.raises(ValueError, match="record"):
        RecordHandle.of(uri)


# --- what cannot be written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "error", "said"),
    [
        (lambda ocs: ocs.record_reschedule(RECORD, LATER.replace(tzinfo=UTC)), ValueError, "record's zone"),
        (lambda ocs: ocs.record_reschedule(RECORD, LATER.replace(second=1)), ValueError, "whole minutes"),
        (
            lambda ocs: ocs.record_processed(RECORD, custom={"GSW_PHONE": "1"}),
            ValueError,
            "GSW_PHONE is no custom field",
        ),
        (lambda ocs: ocs.do_not_call(Phone("1", 1), tenant=2), ValueError, "two tenants"),
        (lambda ocs: ocs.record_reject(RECORD, colour="blue"), TypeError, "colour"),
        (lambda ocs: ocs.record_processed(RECORD, custom={"A": float("nan")}), ValueError, "JSON"),
    ],
)
def test_given_an_argument_that_the_protocol_cannot_carry_when_asked_then_nothing_is_sent(use, error, said):
    with served_port() as port, port.client() as ocs:
        with pytest.raises(error, match=said):
            use(ocs)

        assert port.records.requests == []


def test_given_a_time_when_written_then_it_is_the_manuals_form():
    assert calls.date_time(SEEN) == "01/02/2031 03:04"


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [e for e in GswError if e not in (107, 108, 118, 119)], ids=lambda e: e.name)
def test_given_a_refusal_when_raised_then_number_name_and_text_are_told_apart_from_the_description(number):
    with served_port() as port, port.client() as ocs:
        port.records.fail = DesktopRequestError(number, "<5 & 'ü' : 0")
        with pytest.raises(ControlError) as caught:
            ocs.add_record("L", NewRecord("1", "PST"), campaign_name="C", reference_id=77)

    error = caught.value
    assert (error.warning, error.error, error.error_name) == (number, number, number.name)
    assert error.error_text == GSW_ERROR_NAMES[number]
    described = "" if number is GswError.NO_CALL_FOUND else ": <5 & 'ü' : 0"
    assert error.message == GSW_ERROR_NAMES[number] + described
    assert str(error) == f"{error.message} (error {number})"
    assert error.status in (400, 409, 410)


@given(
    st.sampled_from(GswError),
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1),
    st.none() | st.integers(-(2**31), 2**31 - 1),
)
def test_given_any_description_when_answered_and_read_then_the_words_are_the_same(number, description, reference):
    sent = gsw_refusal(HTTPStatus.BAD_REQUEST, number, description, reference)
    received = ControlAnswer(400, "Bad Request", str(int(number)), sent.content_type, sent.body)

    with pytest.raises(ControlError) as caught:
        answers.result(received, answers.nothing)

    assert caught.value.message == f"{GSW_ERROR_NAMES[number]}: {description}"


def test_given_a_list_that_is_not_configured_when_asked_then_it_is_404():
    with served_port() as port, port.client() as ocs:
        port.records.fail = TargetNotFound(GswError.INVALID_ATTRIBUTE_VALUE, "no such list")
        with pytest.raises(ControlError, match="no such list") as caught:
            ocs.add_record("L", NewRecord("1", "PST"), campaign_name="C")

    assert (caught.value.status, caught.value.warning) == (404, 103)


@pytest.mark.parametrize(("failure", "warning"), [(StoreUnavailable("away"), 113), (KeyError("ours"), None)])
def test_given_a_failing_server_when_asked_then_500_has_the_number_only_where_the_database_is_away(failure, warning):
    with served_port() as port, port.client() as ocs:
        port.records.fail = failure
        with pytest.raises(ControlError) as caught:
            ocs.do_not_call(Phone("1", 1))

    assert (caught.value.status, caught.value.warning) == (500, warning)
    assert caught.value.error_name == ("DB_ERROR" if warning else "")


# --- the connection -----------------------------------------------------------------------------------------------


def listening(answers):
    """A server that gives each connection the next bytes after its request; yields (url, requests read so far)."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(HANG_LIMIT_S)
    received: list[bytes] = []

    def serve():
        for answer in answers:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(HANG_LIMIT_S)
                received.append(connection.recv(65536))
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return server, thread, received


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-"], ids=["closed", "half an answer"])
def test_given_a_server_that_goes_away_after_a_post_when_asked_then_it_is_not_sent_again(answer):
    server, thread, received = listening([answer])
    with server, ControlClient(f"http://127.0.0.1:{server.getsockname()[1]}") as ocs:
        with pytest.raises(ControlUnavailable, match="whether the request was carried out is not known") as caught:
            ocs.do_not_call(Phone("4155555555", 1))
        thread.join(HANG_LIMIT_S)
        server.settimeout(0.0)
        with pytest.raises(BlockingIOError):  # no second connection is waiting
            server.accept()

    assert caught.value.sent
    assert len(received) == 1


def test_given_nobody_at_the_address_when_asked_then_nothing_was_sent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with ControlClient(url) as ocs, pytest.raises(ControlUnavailable) as caught:
        ocs.record_reject(RECORD)

    assert not caught.value.sent
    assert "carried out" not in str(caught.value)


async def test_given_many_requests_when_made_one_after_the_other_then_one_connection_serves_them():
    accepted = []

    async def count(stream):
        accepted.append(stream)
        buffer = b""
        async for data in stream:
            buffer += data
            while b"\r\n\r\n" in buffer:
                _, _, buffer = buffer.partition(b"\r\n\r\n")
                await stream.send_all(b"HTTP/1.1 200 OK\r\nServer: OCS/1\r\nContent-length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, count, 0, host="127.0.0.1"))
        async with AsyncControlClient(f"http://127.0.0.1:{listener.socket.getsockname()[1]}") as ocs:
            for dbid in range(1, 20):
                await ocs.load(dbid)
        nursery.cancel_scope.cancel()

    assert len(accepted) == 1


def test_given_a_password_in_the_address_when_used_then_it_goes_to_the_server_and_into_no_message():
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-length: 0\r\nConnection: close\r\n\r\n"
    server, thread, received = listening([refusal, b""])
    url = f"http://user:se%2Fcret@127.0.0.1:{server.getsockname()[1]}"
    with server, ControlClient(url) as ocs:
        errors = []
        for _ in range(2):
            with pytest.raises((ControlError, ControlUnavailable)) as caught:
                ocs.load(106)
            errors.append(caught.value)
        thread.join(HANG_LIMIT_S)
        shown = [ocs.base_url, *map(str, errors), *map(repr, errors)]

    assert b"Authorization: Basic dXNlcjpzZS9jcmV0" in received[0]
    assert "se/cret" not in " ".join(shown)
    assert "se%2Fcret" not in " ".join(shown)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://h", "http://", "http://h:port", "http://h?x=1", "http://[::1"]
)
def test_given_an_address_that_is_none_when_a_client_is_made_then_it_says_what_one_looks_like(url):
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:8080"):
        ControlClient(url)


def test_given_a_proxy_with_a_path_when_asked_then_the_path_stands_before_the_resource():
    server, thread, received = listening([b"HTTP/1.1 200 OK\r\nContent-length: 0\r\n\r\n"])
    with server, ControlClient(f"http://127.0.0.1:{server.getsockname()[1]}/site/a/") as ocs:
        ocs.do_not_call(Phone("+1/2", 1))
        thread.join(HANG_LIMIT_S)

    assert received[0].startswith(b"POST /site/a/phones/%2B1%2F2?req=DoNotCall HTTP/1.1\r\n")


async def test_given_a_call_when_cancelled_then_the_client_can_still_be_used():
    silent = trio.Event()

    async def keep_silent(stream):
        if not silent.is_set():
            silent.set()
            await trio.sleep_forever()
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, keep_silent, 0, host="127.0.0.1"))
        async with AsyncControlClient(f"http://127.0.0.1:{listener.socket.getsockname()[1]}") as ocs:
            async with trio.open_nursery() as calling:
                calling.start_soon(ocs.load, 106)
                await silent.wait()
                calling.cancel_scope.cancel()
            await ocs.load(106)
        nursery.cancel_scope.cancel()


# --- documents ----------------------------------------------------------------------------------------------------

AT = datetime(2031, 3, 4, 5, 6, tzinfo=UTC)
GATES = (GateVerdict("window", False, "it is closed", opens_at=AT, remedy="wait"),)


async def test_given_explanations_when_asked_for_then_they_come_as_json():
    explainer = FakeExplainer(
        {("A/B %", 7): Explanation("A/B %", 7, 3, AT, False, "closed", GATES, AT)},
        {"A/B %": Preflight("A/B %", AT, 9, 8, 7, {"window": 2})},
        {115: GroupExplanation("G", AT, True, "open", ())},
    )
    async with http_server(explainer=explainer) as (_, connect):
        async with AsyncControlClient(f"http://127.0.0.1:{connect.port}") as ocs:
            why, preflight = await ocs.why("A/B %", 7), await ocs.preflight("A/B %")
            group, openapi = await ocs.why_group(115), await ocs.openapi()
            with pytest.raises(ControlError) as caught:
                await ocs.why("A/B %", 8)

    assert (why["summary"], why["next_at"], why["gates"][0]["remedy"]) == ("closed", "2031-03-04T05:06:00Z", "wait")
    assert (preflight["ready_now"], preflight["held_back"]) == (7, {"window": 2})
    assert (group["campaign_group"], group["dials_now"]) == ("G", True)
    assert openapi["openapi"] == "3.1.0"
    assert (caught.value.status, caught.value.warning) == (404, 109)


async def test_given_priorities_when_a_group_is_loaded_then_they_arrive():
    asked = DialParameters(
        priorities=(TypePriority(RecordType.GENERAL, 3, 10), TypePriority(RecordType.CAMPAIGN_CALLBACK, 9, 0))
    )
    async with http_server() as (campaigns, connect):
        async with AsyncControlClient(f"http://127.0.0.1:{connect.port}") as ocs:
            await ocs.load(106, asked)

    assert campaigns.requests == [(106, CampaignRequest.LOAD, asked)]


# --- docs/client.md -----------------------------------------------------------------------------------------------


def test_given_the_examples_of_the_page_when_run_against_a_port_then_they_say_what_stands_there():
    with served_port() as port:
        port.explainer.explanations["Example List", 4711] = Explanation(
            "Example List", 4711, 3, AT, False, "closed", GATES
        )
        port.explainer.preflights["Example List"] = Preflight("Example List", AT, 9, 8, 7, {"window": 2})
        port.records.fail = None
        text = DOCS.read_text(encoding="utf-8").replace("http://127.0.0.1:8080", port.url)
        test = doctest.DocTestParser().get_doctest(text, {"served": port}, DOCS.name, str(DOCS), 0)
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False)

    assert (results.failed, results.attempted > 10) == (0, True)
