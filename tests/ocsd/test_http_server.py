import json
from functools import partial
from http import HTTPStatus

import h11
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair

from ocsd.config.objects import Application, HttpListener
from ocsd.http.messages import Answer, bare_conflict, negative, serialise, server_header
from ocsd.http.server import ANSWER_LIMIT_S, HttpEndpoint, serve_http
from ocsd.model.enums import CmError, DialMode, OptimizeBy
from ocsd.model.errors import StoreUnavailable
from ocsd.model.services import CampaignRequest, DialParameters
from tests.ocsd.http_fakes import LOADED, FakeCampaigns, RawClient, http_server, services
from tests.ocsd.test_commdn import MANUALS_ALL_GROUPS

SERVER = ("Server", "OCS/8.1.000.12")
OK_HEADERS = (SERVER, ("Content-length", "0"))

LOAD_106 = (
    "POST http://ocs.us.int.genesyslab.com:8080/campaigngroups/106?req=Load HTTP/1.1\r\n"
    "Host: ocs.us.int.genesyslab.com:8080\r\n"
    "User-Agent: Genesys Orchestration/8.0.000.15 Banking administration #3\r\n"
    "Content-length: 0\r\n"
    "\r\n"
)
SET_MODE_BODY = '{\n    "GSW_CM_AttrDialMode": 1,\n    "GSW_CM_AttrOptimizeBy": 2,\n    "GSW_CM_AttrOptimizeGoal": 5\n}'


def post(target: str, body: str = "", headers: str = "", version: str = "1.1") -> str:
    content = f"Content-type: application/json\r\nContent-length: {len(body.encode())}\r\n"
    return f"POST {target} HTTP/{version}\r\nHost: ocs\r\n{headers}{content}\r\n{body}"


def get(target: str, headers: str = "", version: str = "1.1") -> str:
    return f"GET {target} HTTP/{version}\r\nHost: ocs.genesyslab.com\r\nUser-Agent: ORS\r\nAccept: */*\r\n{headers}\r\n"


# The examples of the manual's HTTP chapter, header by header.


async def test_given_the_manuals_load_when_sent_twice_then_200_and_then_409_with_warning_5():
    async with http_server() as (service, connect):
        client = await connect()

        first, second = await client.ask(LOAD_106), await client.ask(LOAD_106)

        assert (first.status_line, first.headers, first.body) == ("HTTP/1.1 200 OK", OK_HEADERS, b"")
        assert second.status_line == "HTTP/1.1 409 Conflict"
        assert second.headers == (SERVER, ("Warning", "5"), ("Content-length", "0"))
        assert [(106, CampaignRequest.LOAD, DialParameters())] * 2 == service.requests


async def test_given_the_manuals_set_dialing_mode_when_sent_then_200_without_a_body():
    async with http_server() as (service, connect):
        client = await connect()
        request = (
            "POST http://ocs.genesyslab.com:8080/campaigngroups/115?req=SetDialingMode HTTP/1.1\r\n"
            "Host: ocs.genesyslab.com:8080\r\n"
            "User-Agent: Genesys Orchestration/8.0.000.15 Banking administration #3\r\n"
            "Content-type: application/json\r\n"
            f"Content-length: {len(SET_MODE_BODY)}\r\n"
            f"\r\n{SET_MODE_BODY}"
        )

        answer = await client.ask(request)

        assert (answer.status_line, answer.headers, answer.body) == ("HTTP/1.1 200 OK", OK_HEADERS, b"")
        expected = DialParameters(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 5)
        assert [(115, CampaignRequest.SET_DIALING_MODE, expected)] == service.requests


@pytest.mark.parametrize(
    ("target", "length"),
    [
        ("http://ocs.genesyslab.com:8080/campaigngroups/115", 323),
        ("http://ocs.genesyslab.com:8080/campaigngroups", None),
    ],
)
async def test_given_the_manuals_get_when_sent_then_headers_and_body_are_the_manuals(target, length):
    async with http_server() as (_, connect):
        client = await connect()

        answer = await client.ask(get(target))

        assert answer.status_line == "HTTP/1.1 200 OK"
        assert [name for name, _ in answer.headers] == [
            "Server",
            "Cache-control",
            "Etag",
            "Content-type",
            "Content-length",
        ]
        assert answer.headers[0] == SERVER
        assert answer.header("Cache-control") == "private"
        assert answer.header("Etag").isdigit()
        assert answer.header("Content-type") == "application/json"
        assert int(answer.header("Content-length")) == len(answer.body)
        if length is None:
            assert list(json.loads(answer.body)) == list(json.loads(MANUALS_ALL_GROUPS))
            assert json.loads(answer.body) == json.loads(MANUALS_ALL_GROUPS)
        else:
            assert len(answer.body) == length
            assert json.loads(answer.body)["GSW_CM_AttrGroupCampStatus"] == 5


# Statuses and numbers.


@pytest.mark.parametrize(
    ("error", "status", "has_text"),
    [
        (CmError.CAMPAIGN_NOT_FOUND, 404, True),
        (CmError.CAMPAIGN_NOT_LOADED, 410, True),
        (CmError.CAMPAIGN_ALREADY_LOADED, 409, False),
        (CmError.CAMPAIGN_NOT_STARTED, 409, False),
        (CmError.CAMPAIGN_ALREADY_STARTED, 409, False),
        (CmError.GROUP_NOT_FOUND, 404, True),
        (CmError.GROUP_CAMP_NOT_FOUND, 404, True),
        (CmError.INVALID_PARAMETER, 400, True),
        (CmError.INVALID_CAMPAIGN_MODE, 409, True),
        (CmError.INVALID_CAMPAIGN_SCHEDULE, 400, True),
        (CmError.CAMPAIGN_SCHEDULE_NOT_FOUND, 404, True),
        (CmError.INVALID_CAMPAIGN_SCHEDULE_MODE, 409, True),
        (CmError.LICENSE_VIOLATION, 409, True),
        (CmError.REGISTER_CLIENT, 500, True),
    ],
)
async def test_given_each_error_of_the_service_when_answered_then_status_and_warning_fit(error, status, has_text):
    async with http_server(FakeCampaigns(refuse=error)) as (_, connect):
        client = await connect()

        answer = await client.ask(post("/campaigngroups/115?req=StopDialing"))

        assert (answer.status, answer.header("Warning")) == (status, str(int(error)))
        assert (f"GSW_CM_AttrError {int(error)}: refused with {error.name}" in answer.body.decode()) is has_text
        assert answer.header("Content-type") == ("text/plain" if has_text else None)
        assert (await client.ask(get("/health"))).status == 200


@pytest.mark.parametrize(
    ("request_", "status", "warning", "said"),
    [
        (post("/campaigngroups/999?req=Load"), 404, "9", "999"),
        (get("/campaigngroups/999"), 404, "9", "999"),
        (get("/campaigngroups/999?req=statistics"), 404, "9", "999"),
        (post("/campaigngroups/106?req=StopDialing"), 410, "4", "not loaded"),
        (post("/campaigngroups/115?req=StartDialing"), 400, "10", "GSW_CM_AttrDialMode"),
        (post("/campaigngroups/115?req=StartDialing", '{"GSW_CM_AttrDialMode": 7}'), 400, "10", "GSW_CM_AttrDialMode"),
        (post("/campaigngroups/115?req=Reload"), 400, "10", "Reload"),
        (post("/records/15?req=Reload", "{}"), 400, "101", "Reload"),
        (get("/nothing"), 404, None, "/nothing"),
        ("DELETE /campaigngroups/115 HTTP/1.1\r\nHost: x\r\n\r\n", 405, None, "DELETE"),
    ],
)
async def test_given_a_refused_request_when_answered_then_number_and_text_say_why(request_, status, warning, said):
    async with http_server() as (_, connect):
        client = await connect()

        answer = await client.ask(request_)

        assert (answer.status, answer.header("Warning")) == (status, warning)
        assert said in answer.body.decode("ascii")
        assert answer.header("Allow") == ("GET, POST" if status == 405 else None)
        assert (await client.ask(get("/health"))).status == 200


@pytest.mark.parametrize("failure", [KeyError("a bug"), StoreUnavailable("the database is away")])
async def test_given_a_failing_service_when_asked_then_500_is_logged_and_the_connection_goes_on(failure):
    service = FakeCampaigns(fail=failure)
    async with http_server(service) as (_, connect):
        client = await connect()
        with capture_logs() as logs:
            answer = await client.ask(LOAD_106)
        service.fail = None

        assert answer.status_line == "HTTP/1.1 500 Internal Server Error"
        assert b"a bug" not in answer.body
        assert [entry["log_level"] for entry in logs if entry["event"] == "http.request_failed"] == ["error"]
        assert (await client.ask(LOAD_106)).status == 200


async def test_given_live_figures_when_statistics_are_asked_then_they_are_json_without_nan():
    async with http_server() as (_, connect):
        answer = await (await connect()).ask(get("/campaigngroups/115?req=statistics"))

        assert answer.header("Cache-control") == "no-store"
        expected = {"agents_ready": 3, "busy_factor": 0.81, "overdial_rate": None, "hit_ratio": None}
        assert json.loads(answer.body) == expected


@pytest.mark.parametrize("form", ["{}", '"{}"', 'W/"{}"', '"1", "{}"', "*"])
async def test_given_a_known_etag_when_nothing_changed_then_304_and_after_a_change_200(form):
    async with http_server() as (service, connect):
        client = await connect()
        etag = (await client.ask(get("/campaigngroups/115"))).header("Etag")
        condition = f"If-None-Match: {form.format(etag)}\r\n"

        unchanged = await client.ask(get("/campaigngroups/115", condition))
        assert (unchanged.status, unchanged.header("Etag"), unchanged.body) == (304, etag, b"")
        assert unchanged.header("Content-length") is None

        await client.ask(post("/campaigngroups/115?req=StopDialing"))
        changed = await client.ask(get("/campaigngroups/115", condition))
        assert changed.status == (304 if form == "*" else 200)
        assert service.status(115) != LOADED


async def test_given_a_post_from_a_foreign_page_when_answered_then_403_and_nothing_is_done():
    async with http_server() as (service, connect):
        client = await connect()

        foreign = await client.ask(post("/campaigngroups/115?req=Unload", headers="Origin: http://evil.example\r\n"))
        own = await client.ask(post("/campaigngroups/115?req=StopDialing", headers="Origin: http://ocs:9000\r\n"))

        assert (foreign.status, own.status) == (403, 200)
        assert [request for _, request, _ in service.requests] == [CampaignRequest.STOP_DIALING]


# Connections.


async def test_given_connection_close_when_ignored_then_the_connection_goes_on_without_a_word_about_it():
    async with http_server() as (_, connect):
        client = await connect()
        for _ in range(3):
            answer = await client.ask(get("/campaigngroups/115", "Connection: close\r\n"))
            assert (answer.status, answer.header("Connection")) == (200, None)


async def test_given_connection_close_when_not_ignored_then_it_is_announced_and_done():
    async with http_server(ignore_connection_close=False) as (_, connect):
        client = await connect()
        assert (await client.ask(get("/health"))).header("Connection") is None

        answer = await client.ask(get("/health", "Connection: keep-alive, Close\r\n"))

        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert await client.is_closed()


async def test_given_http_1_0_when_answered_then_the_connection_is_closed():
    async with http_server() as (_, connect):
        client = await connect()

        answer = await client.ask(get("/campaigngroups/115", version="1.0"))

        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert await client.is_closed()


async def test_given_pipelined_requests_when_sent_at_once_then_they_are_answered_in_order():
    async with http_server() as (_service, connect):
        client = await connect()
        body = '{"GSW_CM_AttrDialMode": 2}'
        started = post("/campaigngroups/106?req=StartDialing", body)
        # An empty line after a body is what some old clients send; RFC 9112 2.2 has it ignored.
        await client.stream.send_all(
            (LOAD_106 + started + "\r\n" + LOAD_106 + get("/campaigngroups/106") + get("/nothing")).encode()
        )

        answers = [await client.answer() for _ in range(5)]

        assert [answer.status for answer in answers] == [200, 200, 409, 200, 404]
        assert json.loads(answers[3].body)["GSW_CM_AttrGroupCampStatus"] == 5


async def test_given_a_request_in_single_bytes_when_sent_then_it_is_understood():
    async with http_server() as (_, connect):
        client = await connect()
        request = post("/campaigngroups/115?req=SetDialingMode", SET_MODE_BODY).encode()
        for index in range(len(request)):
            await client.stream.send_all(request[index : index + 1])

        assert (await client.answer()).status == 200


async def test_given_a_chunked_body_when_within_the_limit_then_it_is_understood():
    async with http_server() as (service, connect):
        client = await connect()
        head = (
            "POST /campaigngroups/115?req=SetDialingMode HTTP/1.1\r\nHost: x\r\nContent-type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        half = len(SET_MODE_BODY) // 2
        parts = (SET_MODE_BODY[:half], SET_MODE_BODY[half:])
        chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts) + "0\r\n\r\n"

        assert (await client.ask(head + chunks)).status == 200
        assert service.requests[0][2].optimize_goal == 5


async def test_given_expect_100_continue_when_the_body_is_wanted_then_the_client_is_told_to_go_on():
    async with http_server() as (_, connect):
        client = await connect()
        whole = post("/campaigngroups/115?req=SetDialingMode", SET_MODE_BODY, "Expect: 100-continue\r\n")
        head, body = whole[: -len(SET_MODE_BODY)], SET_MODE_BODY

        assert (await client.ask(head)).status_line == "HTTP/1.1 100 Continue"
        assert (await client.ask(body)).status == 200
        assert (await client.ask(get("/health"))).status == 200


@pytest.mark.parametrize("headers", ["Expect: 100-continue\r\n", ""])
async def test_given_a_body_announced_too_long_when_read_then_413_at_once_and_closed(headers):
    async with http_server(max_body_bytes=1000) as (service, connect):
        client = await connect()
        head = f"POST /campaigngroups/115?req=Load HTTP/1.1\r\nHost: x\r\n{headers}Content-length: 1001\r\n\r\n"

        answer = await client.ask(head)

        assert (answer.status, answer.header("Connection")) == (413, "close")
        assert b"1000 bytes" in answer.body
        assert await client.is_closed()
        assert service.requests == []


async def test_given_a_body_that_keeps_coming_when_refused_then_the_client_still_gets_the_answer():
    async with http_server(max_body_bytes=1000) as (_, connect):
        client = await connect()
        head = b"POST /campaigngroups/115?req=Load HTTP/1.1\r\nHost: x\r\nContent-length: 150000\r\n\r\n"

        answer = await client.ask(head + bytes(150_000))

        assert answer.status == 413
        assert await client.is_closed()


async def test_given_endless_chunks_when_past_the_limit_then_413_and_closed():
    async with http_server(max_body_bytes=1000) as (_service, connect):
        client = await connect()
        head = "POST /campaigngroups/115?req=Load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

        answer = await client.ask(head + ("1f4\r\n" + "x" * 500 + "\r\n") * 3)

        assert (answer.status, answer.header("Connection")) == (413, "close")
        assert await client.is_closed()


@pytest.mark.parametrize("ended", [True, False])
async def test_given_headers_past_the_limit_when_read_then_431_and_closed(ended):
    async with http_server(max_header_bytes=512) as (_, connect):
        client = await connect()
        head = get("/health").removesuffix("\r\n") + "X-Long: " + "x" * 600

        answer = await client.ask(head + ("\r\n\r\n" if ended else ""))

        assert (answer.status, answer.header("Connection")) == (431, "close")
        assert await client.is_closed()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",  # a TLS hello at the plain port
        b"hello\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",  # no Host
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /he alth HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
)
async def test_given_bytes_that_are_no_http_when_read_then_400_with_a_reason_and_closed(garbage):
    async with http_server() as (_service, connect):
        client = await connect()

        answer = await client.ask(garbage)

        assert (answer.status, answer.header("Connection")) == (400, "close")
        assert b"not a valid HTTP request" in answer.body
        assert await client.is_closed()
        assert (await (await connect()).ask(get("/health"))).status == 200


async def test_given_conflicting_lengths_when_read_then_nothing_after_them_becomes_a_request():
    async with http_server() as (service, connect):
        client = await connect()
        smuggled = LOAD_106.encode()
        head = b"POST /campaigngroups/115?req=StopDialing HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"

        answer = await client.ask(head + b"Content-Length: 9\r\n\r\n" + smuggled)

        assert (answer.status, service.requests) == (400, [])
        assert await client.is_closed()


async def test_given_all_connections_in_use_when_one_more_comes_then_503_and_room_again_afterwards():
    async with http_server(max_connections=2) as (_, connect):
        first, second = await connect(), await connect()
        assert [(await client.ask(get("/health"))).status for client in (first, second)] == [200, 200]

        third = await connect()
        answer = await third.answer()

        assert (answer.status, answer.header("Connection")) == (503, "close")
        assert await third.is_closed()
        await first.stream.aclose()
        while (await (await connect()).ask(get("/health"))).status != 200:
            await trio.lowlevel.checkpoint()


async def test_given_a_client_that_resets_when_answered_then_the_server_goes_on():
    async with http_server() as (_, connect):
        for _ in range(20):
            client = await connect()
            await client.stream.send_all((get("/campaigngroups") * 50).encode())
            client.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            await client.stream.aclose()

        assert (await (await connect()).ask(get("/health"))).status == 200


# Time limits, in virtual time over a stream in memory.


def start_connection(nursery, **options):
    ours, theirs = memory_stream_pair()
    endpoint = HttpEndpoint(HttpListener(port=0, **options), Application(version="1"), services())
    nursery.start_soon(endpoint.handle, theirs)
    return RawClient(ours), endpoint


@pytest.mark.parametrize("sent", ["G", "GET /health HTTP/1.1\r\nHost: x\r\n", "\r\n", post("/x", "{}")[:-1]])
async def test_given_a_request_that_does_not_end_when_the_limit_passes_then_408(autojump_clock, nursery, sent):
    client, _endpoint = start_connection(nursery, header_timeout_s=7.0)
    await trio.sleep(100.0)
    trio.current_time()

    answer = await client.ask(sent)

    assert (answer.status, answer.header("Connection")) == (408, "close")
    assert b"7 s" in answer.body
    assert (
        trio.current_time() == pytest.approx(autojump_clock.start + 107.0) if hasattr(autojump_clock, "start") else True
    )
    assert await client.is_closed()


async def test_given_a_dripping_client_when_the_limit_passes_then_bytes_do_not_extend_it(autojump_clock, nursery):
    client, _endpoint = start_connection(nursery, header_timeout_s=7.0)
    started_s = trio.current_time()

    async def drip():
        for byte in b"GET /" + b"a" * 100:
            await client.stream.send_all(bytes([byte]))
            await trio.sleep(1.0)

    with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - the server ends the connection under the dripping
        nursery.start_soon(expect_status, client, 408, started_s + 7.0)
        await drip()


async def expect_status(client, status, at_s):
    answer = await client.answer()
    assert (answer.status, trio.current_time()) == (status, at_s)
    await trio.sleep(5.0)
    await client.stream.aclose()


async def test_given_an_idle_connection_when_the_limit_passes_then_it_is_closed_silently(autojump_clock, nursery):
    client, endpoint = start_connection(nursery, idle_timeout_s=60.0)
    await client.ask(get("/health"))
    started_s = trio.current_time()

    assert await client.is_closed()
    assert trio.current_time() - started_s == 60.0
    assert endpoint.connections == 0


async def test_given_a_client_that_takes_no_answer_when_the_limit_passes_then_it_is_cut_off(autojump_clock, nursery):
    ours, theirs = trio.testing.lockstep_stream_pair()
    endpoint = HttpEndpoint(HttpListener(port=0), Application(version="1"), services())
    nursery.start_soon(endpoint.handle, theirs)
    with capture_logs() as logs:
        await ours.send_all(get("/health").encode())
        await trio.sleep(ANSWER_LIMIT_S + 1.0)

    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["http.answer_untaken"]
    assert endpoint.connections == 0


# Nothing that clients send hurts.

fragments = st.sampled_from(
    [
        b"GET ",
        b"POST ",
        b"/campaigngroups/115?req=StopDialing",
        b"http://h/health",
        b" HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Content-Type: application/json\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"0\r\n\r\n",
        b"{}",
        b"\x00",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(fragments | st.binary(max_size=30), max_size=14), st.integers(1, 64))
def test_given_any_bytes_when_sent_then_the_server_never_fails(parts, piece_bytes):
    async def talk():
        service = FakeCampaigns()
        endpoint = HttpEndpoint(HttpListener(port=0), Application(version="1"), services(service))
        ours, theirs = memory_stream_pair()
        received = bytearray()

        async def speak():
            data = b"".join(parts)
            try:
                for start in range(0, len(data), piece_bytes):
                    await ours.send_all(data[start : start + piece_bytes])
                await ours.send_eof()
            except trio.BrokenResourceError:
                pass

        async def listen():
            try:
                async for data in ours:
                    received.extend(data)
            except trio.BrokenResourceError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.handle, theirs)
            nursery.start_soon(speak)
            nursery.start_soon(listen)
        assert endpoint.connections == 0
        return bytes(received)

    with capture_logs() as logs:
        received = trio.run(talk, clock=trio.testing.MockClock(autojump_threshold=0))

    assert b" 500 " not in received
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    assert received == b"" or received.startswith(b"HTTP/1.1 ")


# Bytes of answers.


@given(
    st.sampled_from([200, 400, 404, 409, 410]),
    st.text(max_size=50),
    st.integers(0, 120) | st.none(),
    st.booleans(),
)
def test_given_any_text_when_serialised_then_a_client_reads_it_back(status, text, warning, close):
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())

    client.receive_data(serialise(negative(HTTPStatus(status), text, warning=warning), "OCS/1", close=close))
    response, data = client.next_event(), client.next_event()

    assert response.status_code == status
    assert dict(response.headers).get(b"warning") == (None if warning is None else str(warning).encode())
    assert bytes(data.data).endswith(text.encode("ascii", "backslashreplace"))


def test_given_line_breaks_in_a_header_value_when_serialised_then_it_is_refused():
    with pytest.raises(ValueError, match="X-A"):
        serialise(Answer(bare_conflict(5).status, (("X-A", "1\r\nX-B: 2"),)), "OCS/1")


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("OCS", "8.1.000.07", "OCS/8.1.000.07"), ("OCS Alpha\r\nX: 1", "0.1\n", "OCS_Alpha_X_1/0.1_"), ("", "", "OCS/0")],
)
def test_given_any_name_when_made_a_server_header_then_it_is_a_product_token(name, version, expected):
    assert server_header(name, version) == expected


async def test_given_a_port_in_use_when_serving_then_the_error_says_so(nursery):
    async with http_server() as (_, connect):
        serve = partial(serve_http, HttpListener(port=connect.port), Application(), services())
        with pytest.raises((OSError, ExceptionGroup)):
            await nursery.start(serve)
