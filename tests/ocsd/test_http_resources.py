"""records, phones, customer_ids and lists on the wire: bytes in, the request that arrived, bytes out."""

import html
import json
import re
from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ocsd.explain.contract import Explanation, GateVerdict, Preflight
from ocsd.explain.documents import document
from ocsd.http import openapi
from ocsd.http.answers import HttpRequest, answer
from ocsd.http.messages import gsw_refusal, serialise
from ocsd.model.enums import GSW_ERROR_NAMES, GswError, RecordType
from ocsd.model.errors import ConfigError, DesktopRequestError, StoreUnavailable, TargetNotFound
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.desktop_records import (
    CallbackType,
    DoNotCall,
    RecordProcessed,
    RecordReject,
    RecordReschedule,
    RequestRecordCancel,
    UpdateCallCompletionStats,
)
from ocsd.protocols.http_records import REQUESTS, HttpRecordRequest, Resource, TenantName
from tests.ocsd.http_fakes import FakeExplainer, FakeRecords, http_server, services

R, P, C, L = Resource.RECORDS, Resource.PHONES, Resource.CUSTOMER_IDS, Resource.LISTS
OURS = 398
JSON = "application/json"
AT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)

# --- the manual's examples, byte by byte -----------------------------------------------------------------------------

HOST = "ocs.us.int.genesyslab.com:8080"
GVP = f"Host: {HOST}\r\nUser-Agent: GVP/8.1 Banking self-service #2\r\nContent-type: application/json\r\n"
ORS = (
    "Host: ocs.genesyslab.com\r\nUser-Agent: Genesys Orchestration/8.0.000.15 ORS Strategy #1\r\n"
    "Content-type: application/json\r\n"
)
PROCESSED = '{\n    "CUSTOMER_CODE": 22, "GSW_CALL_RESULT":33,\n    "DATE_LAST_SERVED": "10/30/2008"\n}'
GENERAL = '{\n   "GSW_CAMPAIGN_NAME":"Alpha Campaign",\n   "GSW_PHONE":"4155670000",\n   "GSW_TZ_NAME":"PST"\n}'
RESCHEDULED = (
    '{\n    "GSW_CAMPAIGN_NAME":"Alpha Campaign",\n    "GSW_PHONE":"4155670000",\n    "GSW_PHONE_TYPE":4,\n'
    '    "GSW_PHONE_TYPE":4,\n    "GSW_TZ_NAME":"PST",\n    "GSW_RECORD_TYPE":6,\n'
    '    "GSW_DATE_TIME":"12/12/2009 13:00",\n    "CUSTOMER_CODE":22,\n    "DATE_LAST_SERVED":"10/30/2008"\n}'
)
OK = b"HTTP/1.1 200 OK\r\nServer: OCS/8.1.000.12\r\nContent-length: 0\r\n\r\n"
GONE_BODY = b"<HTML><body>410 Gone : 0 No call found for the record handle</body></HTML>"
GONE = (
    b"HTTP/1.1 410 Gone\r\nServer: OCS/8.1.000.12\r\nWarning: 112\r\nContent-type: text/html\r\n"
    b"Content-length: %d\r\n\r\n" % len(GONE_BODY)
) + GONE_BODY
"""The manual's Content-length is 35, its body is longer."""

CUSTOM = {"CUSTOMER_CODE": 22, "DATE_LAST_SERVED": "10/30/2008"}
PROCESSED_15 = HttpRecordRequest(
    R, RecordProcessed(OURS, 15, None, None, changes={"call_result": 33}, custom=CUSTOM), None
)
ADDED = {"phone": "4155670000", "tz_name": "PST", "calling_list": "Alpha List", "campaign_name": "Alpha Campaign"}
ALPHA = TenantName(None, "Alpha Tenant")


def message(target: str, headers: str, body: str) -> bytes:
    return f"POST {target} HTTP/1.1\r\n{headers}Content-length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (message(f"http://{HOST}/records/15?req=RecordProcessed", GVP, PROCESSED), PROCESSED_15),
        (
            message(
                f"http://{HOST}/phones/4155555555?req=DoNotCall", GVP, '{\n    "GSW_TENANT_NAME": "Alpha Tenant"\n}'
            ),
            HttpRecordRequest(P, DoNotCall(OURS, phone="4155555555"), ALPHA),
        ),
        (
            message("http://ocs.genesyslab.com:8080/lists/Alpha%20List?req=AddRecord", ORS, GENERAL),
            HttpRecordRequest(L, AddRecord(OURS, **ADDED)),
        ),
        (
            message("http://ocs.genesyslab.com:8080/lists/Alpha%20List?req=AddRecord", ORS, RESCHEDULED),
            HttpRecordRequest(
                L,
                AddRecord(
                    OURS,
                    **ADDED,
                    phone_type=4,
                    record_type=RecordType.CAMPAIGN_CALLBACK,
                    local_time=datetime(2009, 12, 12, 13, 0),  # noqa: DTZ001 - a local time
                    custom=CUSTOM,
                ),
            ),
        ),
    ],
)
async def test_given_the_manuals_example_when_sent_then_the_answer_is_the_manuals_byte_by_byte(sent, expected):
    records = FakeRecords()
    async with http_server(records=records) as (_, connect):
        client = await connect()
        await client.stream.send_all(sent)

        assert await client.stream.receive_some(len(OK) + 1) == OK
        assert records.requests == [expected]


async def test_given_the_manuals_unsuccessful_example_when_sent_then_410_with_its_sentence():
    records = FakeRecords(fail=DesktopRequestError(GswError.NO_CALL_FOUND, "the handle 15 was let go at 15:30"))
    async with http_server(records=records) as (_, connect):
        client = await connect()
        await client.stream.send_all(message(f"http://{HOST}/records/15?req=RecordProcessed", GVP, PROCESSED))

        assert await client.stream.receive_some(len(GONE) + 1) == GONE
        assert records.requests == [PROCESSED_15]


# --- what orchestration sends ----------------------------------------------------------------------------------------

PRODUCT = {"GSW_CAMPAIGN": "New Productx"}
OCTOBER = datetime(2029, 10, 12)  # noqa: DTZ001 - a local time
NEW = {
    "GSW_PHONE": "567567567545656",
    "GSW_TZ_NAME": "' PST",
    "GSW_CALL_RESULT": 28,
    "STATUS_CODE": "New",
    "CUSTOMER_STATUS": 5,
} | PRODUCT


async def ask(method, target, body=b"", content_type=JSON, *, records=None, explainer=None, origin=None):
    """One request to `answer`; returns the answer as it goes over the wire, split into status, headers, body."""
    records = records or FakeRecords()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = HttpRequest(method, target, content_type, origin=origin, host="ocs:8080", body=content)
    head, _, sent = serialise(
        await answer(request, services(records=records, explainer=explainer), OURS), "OCS/1"
    ).partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    return int(status_line.split()[1]), dict(line.split(": ", 1) for line in lines), sent.decode()


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(
    ("target", "record", "expected"),
    [
        (
            "http://server1.genesyslab.com:8080/records/?req=AddRecord",
            NEW,
            AddRecord(
                OURS,
                "567567567545656",
                "PST",
                campaign_name="New Productx",
                call_result=28,
                custom={"STATUS_CODE": "New", "CUSTOMER_STATUS": 5},
            ),
        ),
        (
            "/records/123456?req=RecordReschedule",
            {"GSW_DATE_TIME": "10/12/2029"} | PRODUCT,
            RecordReschedule(OURS, 123456, "New Productx", CallbackType.CAMPAIGN, OCTOBER),
        ),
        (
            "/records/123456?req=UpdateCallCompletionStats",
            PRODUCT,
            UpdateCallCompletionStats(OURS, 123456, "New Productx"),
        ),
        (
            "/records/123456?req=RecordReject",
            {"GSW_CALLING_LIST": "First List"} | PRODUCT,
            RecordReject(OURS, 123456, "New Productx", "First List"),
        ),
        ("/records/123456?req=RequestRecordCancel", None, RequestRecordCancel(OURS, 123456)),
        ("/records/123456?req=DoNotcall", None, DoNotCall(OURS, 123456)),
        ("/records/123456/?req=recordPROCESSED", None, RecordProcessed(OURS, 123456, None, None)),
    ],
)
async def test_given_what_orchestration_sends_when_answered_then_the_request_arrives(target, record, expected, wrapped):
    records = FakeRecords()
    body = b"" if record is None else {"record": record} if wrapped else record

    status, headers, sent = await ask("POST", target, body, " application/json", records=records)

    assert (status, headers, sent) == (200, {"Server": "OCS/1", "Content-length": "0"}, "")
    assert records.requests == [HttpRecordRequest(R, expected)]


@pytest.mark.parametrize(
    ("target", "resource", "identifier"),
    [
        ("/phones/+14155555555?req=DoNotCall", P, "+14155555555"),
        ("/phones/%2B14155555555/?req=DoNotCall", P, "+14155555555"),
        ("/phones/sip%3Aann%40example.com?req=DoNotCall", P, "sip:ann@example.com"),
        ("/customer_ids/A%2FB%20C+D?req=DoNotCall", C, "A/B C+D"),
        ("/%63ustomer_ids/Zo%C3%AB?req=donotcall", C, "Zoë"),
        ("/lists/100%25%20%3F%23%26%3D?req=AddRecord", L, "100% ?#&="),
        ("/lists/Kundenliste%20%E2%82%AC/?req=AddRecord", L, "Kundenliste €"),
    ],
)
async def test_given_any_characters_in_the_uri_when_asked_then_they_arrive(target, resource, identifier):
    records = FakeRecords()
    body = {"GSW_PHONE": "1", "GSW_TZ_NAME": "PST"} | PRODUCT if resource is L else {"GSW_TENANT_DBID": 1}

    assert (await ask("POST", target, body, records=records))[0] == 200

    (request,) = records.requests
    named = {P: "phone", C: "customer_id", L: "calling_list"}[resource]
    assert (request.resource, getattr(request.request, named)) == (resource, identifier)


# --- numbers, statuses, texts ----------------------------------------------------------------------------------------

GOOD = {
    "AddRecord": NEW,
    "RecordReschedule": {"GSW_DATE_TIME": "10/12/2029"},
    "ScheduledRecordReschedule": {"GSW_DATE_TIME": "10/12/2029"},
}
IDENTIFIERS = {R: "15", P: "4155555555", C: "7", L: "Alpha%20List"}
CASES = [(resource, req) for resource in Resource for req in REQUESTS[resource]]


def good(resource, req) -> dict[str, object]:
    tenant = {"GSW_TENANT_NAME": "Alpha"} if resource in (P, C) else {}
    return GOOD.get(req, {}) | tenant


def target_of(resource, req) -> str:
    return f"/{resource.value}/{IDENTIFIERS[resource]}?req={req}"


def status_of(error: GswError, resource: Resource, req: str) -> int:
    """As the manual and our table of answers have it, written a second time."""
    if error in (109, 112):
        return 410
    if req == "AddRecord" and error in (106, 113, 114, 115, 116):
        return 409
    return 400 if error in (101, 102, 103, 104, 105, 106, 110, 111, 114, 117, 120) else 500


@pytest.mark.parametrize("error", GswError)
async def test_given_each_number_when_any_request_is_refused_then_status_warning_and_text_are_the_tables(error):
    for resource, req in CASES:
        records = FakeRecords(fail=DesktopRequestError(error, "more of it"))
        body = good(resource, req) | {"GSW_REFERENCE_ID": 4711}

        with capture_logs() as logs:
            status, headers, sent = await ask("POST", target_of(resource, req), body, records=records)

        expected = status_of(error, resource, req)
        assert (status, headers["Warning"]) == (expected, str(int(error))), (resource, req)
        more = "" if error == 112 else ": more of it"
        said = re.fullmatch(r"<HTML><body>(\d+) ([A-Za-z ]+) : 4711 (.*)</body></HTML>", sent)
        assert (said[1], said[3]) == (str(expected), GSW_ERROR_NAMES[error] + more)
        assert headers["Content-length"] == str(len(sent))
        assert list(headers) == ["Server", "Warning", "Content-type", "Content-length"]
        assert headers["Content-type"] == "text/html"
        # A number that no request of these resources can have is a bug of ours, and is told as one.
        assert bool(logs) is (error in (107, 108, 118, 119) or (error in (115, 116) and req != "AddRecord"))


@pytest.mark.parametrize(("resource", "req"), CASES)
async def test_given_an_unknown_list_a_lost_database_or_a_bug_when_asked_then_404_113_and_a_bare_500(resource, req):
    target, body = target_of(resource, req), good(resource, req)

    async def failing(failure):
        with capture_logs():
            return await ask("POST", target, body, records=FakeRecords(fail=failure))

    status, headers, _ = await failing(TargetNotFound(GswError.INVALID_ATTRIBUTE_VALUE, "no such list"))
    assert (status, headers["Warning"]) == (404, "103")
    status, headers, _ = await failing(StoreUnavailable("password=secret"))
    assert (status, headers["Warning"]) == (409 if req == "AddRecord" else 500, "113")
    status, headers, sent = await failing(KeyError("secret"))
    assert (status, headers.get("Warning"), "secret" in sent) == (500, None, False)


@pytest.mark.parametrize(("resource", "req"), CASES)
async def test_given_a_damaged_request_when_sent_then_it_is_refused_in_the_form_of_the_resource(resource, req):
    target, pairs = target_of(resource, req), good(resource, req)
    whole = json.dumps(pairs).encode()
    mandatory = [key for key in pairs if key not in ("GSW_CALL_RESULT", "STATUS_CODE", "CUSTOMER_STATUS")]
    custom = req in ("AddRecord", "RecordProcessed", "UpdateCallCompletionStats")
    if resource is R and req == "AddRecord":
        mandatory.remove("GSW_CAMPAIGN")  # the handle says it
    damaged = [
        (target, b"{", JSON, 101, "not JSON"),
        (target, b"\xff" + whole, JSON, 101, "not utf-8"),
        (target, b"[" + whole + b"]", JSON, 101, "an array"),
        (target, b'"GSW"', JSON, 101, "a string"),
        (target, b'{"x": NaN}', JSON, 101, "NaN"),
        (target, b'{"x": 1, "x": 2}', JSON, 101, "twice"),
        (target, b'{"x": "\\u0000"}', JSON, 101, "no text"),
        (target, b'{"x":' * 50_000, JSON, 101, "nested"),
        (target, b'{"GSW_PHONE_TYPE": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", JSON, 101, "nested"),
        (target, b'{"x": ' + b"9" * 5000 + b"}", JSON, 101, "not JSON"),
        (target, whole + b" ", "text/plain", 101, "application/json"),
        (target, b"{}", "", 101, "application/json"),
        (target, b"{}", f"{JSON}; charset=utf-7", 101, "charset"),
        (target, b"{}", f"{JSON}; charset=\xe9", 101, "charset"),
        (target.partition("?")[0], whole, JSON, 101, "req is missing"),
        (target + "&req=DoNotCall", whole, JSON, 101, "more than once"),
        (target + "&x=1", whole, JSON, 101, '"x"'),
        (target.replace("?req", "?tenant"), whole, JSON, 101, '"tenant"'),
        (target + "s", whole, JSON, 101, "no known request"),
        (target.replace("?", "%zz?"), whole, JSON, 101, "%XX"),
        (target.replace("?", "%ff?"), whole, JSON, 101, "UTF-8"),
        (target + "#x", whole, JSON, 101, "fragment"),
        ("http://x" + target + "#x", whole, JSON, 101, "fragment"),
        *((target, {k: v for k, v in pairs.items() if k != key}, JSON, 102, "GSW_") for key in mandatory),
        *((target, pairs | {key: [1]}, JSON, 103, "GSW_") for key in mandatory),
        (target, pairs | {"GSW_REFERENCE_ID": "x"}, JSON, 103, "GSW_REFERENCE_ID"),
        (target, pairs | {"GSW_APPLICATION_ID": OURS + 1}, JSON, 103, "GSW_APPLICATION_ID"),
        (target, pairs | {"GSW_TENANT_DBID": 0}, JSON, 103, "GSW_TENANT_DBID"),
        (target, pairs | {"GSW_CAMPAIGN_NAME": 5}, JSON, 103, "GSW_CAMPAIGN"),
        (target, pairs | {"GSW_NEVER_HEARD_OF": 1}, JSON, 103, "GSW_NEVER_HEARD_OF"),
        *([] if custom else [(target, pairs | {"never heard of": 1}, JSON, 103, "never heard of")]),
    ]
    for where, body, content_type, number, said in damaged:
        records = FakeRecords()

        status, headers, sent = await ask("POST", where, body, content_type, records=records)

        case = where, str(body)[:80], sent
        assert (status, headers.get("Warning")) == (400, str(number)), case
        assert said in html.unescape(sent), case
        assert sent.startswith("<HTML><body>400 Bad Request : 0 " + GSW_ERROR_NAMES[GswError(number)] + ": "), case
        assert records.requests == [], case


@pytest.mark.parametrize(("resource", "req"), CASES)
async def test_given_an_accepted_charset_or_an_empty_body_when_asked_then_it_is_read(resource, req):
    records = FakeRecords()
    body = json.dumps(good(resource, req) | {"GSW_CAMPAIGN_NAME": "Café"}, ensure_ascii=False)
    body = body.replace("New Productx", "Café")

    status, _, sent = await ask(
        "POST", target_of(resource, req), body.encode("latin-1"), f'{JSON}; charset="ISO-8859-1"', records=records
    )

    assert (status, sent) == (200, "")
    assert records.requests[0].request.campaign_name == "Café"
    empty = await ask("POST", target_of(resource, req), b"", "")
    assert (empty[0], empty[1].get("Warning")) == ((200, None) if not good(resource, req) else (400, "102"))


@pytest.mark.parametrize(
    "target", ["/%72ecords/15?x=1", "HTTPS://ocs/records/15?x=1", "http://ocs/lists/%zz?req=AddRecord", "/phones/1?%zz"]
)
async def test_given_an_incorrect_uri_when_it_begins_with_a_resource_then_the_refusal_has_its_form(target):
    status, headers, sent = await ask("POST", target)

    assert (status, headers["Warning"], headers["Content-type"]) == (400, "101", "text/html")
    assert sent.startswith("<HTML><body>400 Bad Request : 0 Invalid Request: ")


@pytest.mark.parametrize("key", [b"GSW_CALL_RESULT", b"GSW_CAMPAIGN", b"GSW_AGENT_REQ_TYPE", b"GSW_CAMPAIGN_NAME"])
async def test_given_a_value_nested_as_deeply_as_can_be_read_when_it_is_refused_then_it_can_be_told_too(key):
    statuses = set()
    for depth in (*range(600, 1_000), *range(1_000, 12_000, 500)):
        nested = b"[" * depth + b"]" * depth
        body = b'{"%b": %b, "GSW_CAMPAIGN_NAME": %b}' % (key, nested, nested)
        status, headers, _ = await ask("POST", "/records/15?req=RecordProcessed", body)
        statuses.add((status, headers.get("Warning")))

    assert statuses <= {(400, "103"), (400, "101")}


@pytest.mark.parametrize("handle", ["abc", "2147483648", "0", "-1", "1e3", "%D9%A1", "99999999999999999999999"])
@pytest.mark.parametrize("req", REQUESTS[R])
async def test_given_a_handle_that_no_record_has_when_asked_then_410_without_asking_anybody(handle, req):
    records = FakeRecords()

    status, headers, sent = await ask("POST", f"/records/{handle}?req={req}", good(R, req), records=records)

    assert (status, headers["Warning"], sent) == (410, "112", GONE_BODY.decode())
    assert records.requests == []


async def test_given_a_body_past_the_limit_when_sent_then_413_and_the_connection_ends():
    records = FakeRecords()
    async with http_server(records=records, max_body_bytes=1000) as (_, connect):
        client = await connect()
        pairs = {"X": "x" * 1000}
        refused = await client.ask(message("/records/15?req=RecordProcessed", GVP, json.dumps(pairs)))

        assert (refused.status, refused.header("Connection"), records.requests) == (413, "close", [])
        assert await client.is_closed()


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ('no list <script>alert(1)</script> & "more"', 'no list &lt;script&gt;alert(1)&lt;/script&gt; &amp; "more"'),
        ("Käse 漢", "K&#228;se &#28450;"),
        ("a\r\nb\0\x7f\x85", "a\\x0d\\x0ab\\x00\\x7f&#133;"),
        ("\ud800", "&#55296;"),
    ],
)
def test_given_any_description_when_answered_then_it_is_escaped_ascii(description, shown):
    refused = gsw_refusal(HTTPStatus.NOT_FOUND, GswError.INVALID_ATTRIBUTE_VALUE, description, "8")

    assert refused.body.decode("ascii") == (
        f"<HTML><body>404 Not Found : 8 Invalid Attribute Value: {shown}</body></HTML>"
    )


# --- methods, foreign pages, our documents ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        *(("GET", target_of(resource, req), "POST") for resource, req in CASES if resource is not L),
        *(("PUT", target_of(resource, req), "POST") for resource, req in CASES if resource is not L),
        ("HEAD", "/records/15", "POST"),
        ("GET", "/records", "POST"),
        ("GET", "/lists/", "POST"),
        ("DELETE", "/lists/Alpha?req=preflight", "GET, POST"),
        ("POST", "/lists/Alpha/15?req=why", "GET"),
        ("POST", "/openapi.json", "GET"),
    ],
)
async def test_given_another_method_when_asked_then_405_says_which_are_allowed(method, target, allow):
    records = FakeRecords()

    status, headers, _ = await ask(method, target, records=records)

    assert (status, headers["Allow"], headers.get("Warning")) == (405, allow, None)
    assert records.requests == []


@pytest.mark.parametrize(("resource", "req"), CASES)
async def test_given_a_request_of_a_foreign_page_when_answered_then_403_and_nothing_is_done(resource, req):
    records = FakeRecords()
    target, body = target_of(resource, req), good(resource, req)

    foreign, _, _ = await ask("POST", target, body, records=records, origin="http://evil.example")
    own, _, _ = await ask("POST", target, body, records=records, origin="http://ocs:9000")

    assert (foreign, own, len(records.requests)) == (403, 200, 1)


WHY = Explanation("A/B %", 7, 3, AT, False, "closed", (GateVerdict("window", False, "closed", inputs={"x": 1}),))
PREFLIGHT = Preflight("A/B %", AT, 10, 8, 3, {"window": 5})
EXPLAINER = FakeExplainer({("A/B %", 7): WHY}, {"A/B %": PREFLIGHT})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/lists/A%2FB%20%25/7?req=why", WHY),
        ("/lists/A%2FB%20%25/007/?REQ=Why", WHY),
        ("/lists/A%2FB%20%25?req=preflight", PREFLIGHT),
        ("http://x/lists/A%2FB%20%25/?req=PREFLIGHT", PREFLIGHT),
    ],
)
async def test_given_a_question_when_asked_then_the_explanation_is_json(target, expected):
    status, headers, sent = await ask("GET", target, explainer=EXPLAINER)

    assert (status, headers["Content-type"], headers["Cache-control"]) == (200, JSON, "no-store")
    assert json.loads(sent) == document(expected)


@pytest.mark.parametrize(
    ("target", "status", "warning", "said"),
    [
        ("/lists/None/7?req=why", 404, "109", "has no record 7"),
        ("/lists/A/seven?req=why", 404, "109", '"seven"'),
        ("/lists/A/2147483648?req=why", 404, "109", "2147483648"),
        ("/lists/None?req=preflight", 404, "103", "no calling list None"),
        ("/lists/A", 400, "101", "GET knows preflight here"),
        ("/lists/A/7", 400, "101", "GET knows why here"),
        ("/lists/A?req=why", 400, "101", "GET knows preflight here"),
        ("/lists/A/7?req=preflight", 400, "101", "GET knows why here"),
        ("/lists/A?req=AddRecord", 400, "101", "GET knows preflight here"),
        ("/lists/A/7/8?req=why", 404, None, "unknown resource"),
    ],
)
async def test_given_a_wrong_question_when_asked_then_the_refusal_says_what_is_wrong(target, status, warning, said):
    given_status, headers, sent = await ask("GET", target, explainer=EXPLAINER)

    assert (given_status, headers.get("Warning")) == (status, warning)
    assert said in sent


@pytest.mark.parametrize("target", ["/lists/A/7?req=why", "/lists/A?req=preflight", "/campaigngroups/115?req=why"])
async def test_given_no_database_when_asked_why_then_409_with_113_and_a_bug_is_500(target):
    with capture_logs():
        away = await ask("GET", target, explainer=FakeExplainer(fail=StoreUnavailable("secret")))
        bug = await ask("GET", target, explainer=FakeExplainer(fail=KeyError("secret")))

    assert (away[0], away[1]["Warning"], "secret" in away[2]) == (409, "113", False)
    assert (bug[0], bug[1].get("Warning"), "secret" in bug[2]) == (500, None, False)


async def test_given_a_filter_that_does_not_work_when_asked_for_preflight_then_113_without_its_text():
    with capture_logs() as logs:
        status, headers, sent = await ask(
            "GET", "/lists/A?req=preflight", explainer=FakeExplainer(fail=ConfigError(["no column secret"]))
        )

    assert (status, headers["Warning"], "secret" in sent) == (409, "113", False)
    assert "the filter of the calling list does not work" in sent
    assert [entry["problems"] for entry in logs] == [["no column secret"]]


async def test_given_the_openapi_document_when_asked_then_it_is_served_with_an_etag():
    status, headers, sent = await ask("GET", "/openapi.json")

    assert (status, headers["Content-type"]) == (200, JSON)
    assert json.loads(sent) == openapi.document()
    assert headers["Etag"].isdigit()


# --- anything --------------------------------------------------------------------------------------------------------

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
reqs = st.sampled_from([*sorted({req for _, req in CASES}), "Load", "preflight", "why", ""])
pairs = st.dictionaries(
    st.sampled_from(["GSW_PHONE", "GSW_TENANT_DBID", "GSW_DATE_TIME", "GSW_CHAIN_ID", "GSW_REFERENCE_ID", "record"])
    | st.text(max_size=5),
    st.recursive(st.none() | st.integers() | st.text(max_size=9) | st.floats(), lambda x: st.lists(x, max_size=2)),
    max_size=5,
)


@settings(max_examples=300)
@given(
    st.sampled_from(["POST"] * 5 + ["GET", "PUT", "OPTIONS", "CONNECT"]),
    visible
    | st.builds("/{}/{}?req={}".format, st.sampled_from([r.value for r in Resource]), visible, reqs)
    | st.builds("/{}/{}/{}".format, st.sampled_from([r.value for r in Resource]), visible, visible)
    | st.builds("http://{}/{}?{}".format, visible, st.sampled_from([r.value for r in Resource]), visible),
    st.sampled_from([JSON] * 4 + [""]) | st.text(st.characters(max_codepoint=255), max_size=20),
    st.binary(max_size=50) | pairs.map(lambda each: json.dumps(each).encode()),
)
async def test_given_any_bytes_when_answered_then_an_answer_and_never_an_exception(method, target, content_type, body):
    status, headers, sent = await ask(method, target, body, content_type)

    assert status < 500
    assert sent.isascii() or status == 200
    assert status not in (400, 410) or headers["Warning"].isdigit()
