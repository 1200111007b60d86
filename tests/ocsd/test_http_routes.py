import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.http.origin import is_foreign
from ocsd.http.routes import (
    ControlGroup,
    RefusedRoute,
    ShowAllGroups,
    ShowGroup,
    ShowHealth,
    ShowStatistics,
    ShowTrunks,
    route,
)
from ocsd.model.enums import DialMode
from ocsd.model.errors import CampaignRequestError
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.commdn import NEED_PARAMETERS

JSON = "application/json"
LOAD = ControlGroup(106, CampaignRequest.LOAD, DialParameters())
START = ControlGroup(106, CampaignRequest.START_DIALING, DialParameters(DialMode.PROGRESSIVE))
START_TARGET = "/campaigngroups/106?req=StartDialing"
BODY = b'{"GSW_CM_AttrDialMode": 2}'


@pytest.mark.parametrize(
    ("method", "target", "content_type", "body", "expected"),
    [
        ("POST", "/campaigngroups/106?req=Load", "", b"", LOAD),
        ("POST", "/campaigngroups/106?req=load", "", b"", LOAD),
        ("POST", "/campaigngroups/106?REQ=LOAD", "", b"", LOAD),
        ("POST", "/campaigngroups/106/?req=Load", "", b"", LOAD),
        ("POST", "/%63ampaigngroups/%31%30%36?req=%4Coad", "", b"", LOAD),
        ("POST", "http://ocs.us.int.example.com:8080/campaigngroups/106?req=Load", "", b"", LOAD),
        ("POST", "HTTPS://[::1]:1/campaigngroups/106?req=Load", "", b"", LOAD),
        ("POST", "/campaigngroups/106?req=Load", "application/x-www-form-urlencoded", b"", LOAD),
        ("POST", START_TARGET, JSON, BODY, START),
        ("POST", START_TARGET, " Application/JSON ; charset=UTF-8", BODY, START),
        (
            "POST",
            START_TARGET,
            'application/json; x=1; charset="iso-8859-1"',
            b'{"GSW_CM_AttrDialMode": 2, "n": "\xe9"}',
            START,
        ),
        ("POST", START_TARGET, JSON, b'{"record": {"GSW_CM_AttrDialMode": 2}}', START),
        ("GET", "/campaigngroups", "", b"", ShowAllGroups()),
        ("GET", "/campaigngroups/", "", b"", ShowAllGroups()),
        ("GET", "http://any/campaigngroups", "", b"", ShowAllGroups()),
        ("GET", "/campaigngroups/115", "", b"", ShowGroup(115)),
        ("GET", "/campaigngroups/115?req=Statistics", "", b"", ShowStatistics(115)),
        ("GET", "/health", "", b"", ShowHealth()),
        ("GET", "/trunks", "", b"", ShowTrunks()),
    ],
)
def test_given_a_valid_request_when_routed_then_it_is_understood(method, target, content_type, body, expected):
    assert route(method, target, content_type, body) == expected


@pytest.mark.parametrize("request_", CampaignRequest)
def test_given_each_req_of_the_manual_when_routed_then_it_is_known(request_):
    body = BODY if request_ in NEED_PARAMETERS else b""

    routed = route("POST", f"/campaigngroups/106?req={request_.value}", JSON, body)

    assert routed.request is request_


@pytest.mark.parametrize(
    ("method", "target", "content_type", "body", "status", "said"),
    [
        ("POST", "/campaigngroups/106", "", b"", 400, "req is missing"),
        ("POST", "/campaigngroups/106?", "", b"", 400, "req is missing"),
        ("POST", "/campaigngroups/106?req=", "", b"", 400, "unknown req"),
        ("POST", "/campaigngroups/106?req=Reload", "", b"", 400, "SetDialingMode"),
        ("POST", "/campaigngroups/106?req=Load&req=Unload", "", b"", 400, "more than once"),
        ("POST", "/campaigngroups/106?req=Load&x=1", "", b"", 400, '"x"'),
        ("POST", "/campaigngroups/abc?req=Load", "", b"", 400, "DBID"),
        ("POST", "/campaigngroups/0?req=Load", "", b"", 400, "DBID"),
        ("POST", "/campaigngroups/9999999999?req=Load", "", b"", 400, "DBID"),
        ("POST", "/campaigngroups/%D9%A1?req=Load", "", b"", 400, "DBID"),
        ("POST", "/campaigngroups/%zz?req=Load", "", b"", 400, "%XX"),
        ("POST", "/campaigngroups/%ff?req=Load", "", b"", 400, "UTF-8"),
        ("POST", "/campaigngroups/106?req=Load#x", "", b"", 400, "fragment"),
        ("POST", "ftp://host/campaigngroups/106?req=Load", "", b"", 400, "http URI"),
        ("POST", "campaigngroups/106?req=Load", "", b"", 400, "http URI"),
        ("POST", "http://[::1/campaigngroups/106?req=Load", "", b"", 400, "URI"),
        ("POST", "/campaigngroups?req=Load", "", b"", 405, "GET"),
        ("GET", "/campaigngroups?req=Load", "", b"", 400, "parameters"),
        ("GET", "/campaigngroups/106?req=Load", "", b"", 400, "statistics"),
        ("PUT", "/campaigngroups/106?req=Load", "", b"", 405, "GET, POST"),
        ("HEAD", "/health", "", b"", 405, "GET"),
        ("POST", "/trunks", "", b"", 405, "GET"),
        ("OPTIONS", "*", "", b"", 405, "GET, POST"),
        ("CONNECT", "host:1", "", b"", 405, "GET, POST"),
        ("GET", "/", "", b"", 404, "unknown resource"),
        ("GET", "/campaigngroups/1/2", "", b"", 404, "unknown resource"),
        ("GET", "//campaigngroups", "", b"", 404, "unknown resource"),
        ("GET", "/Campaigngroups", "", b"", 404, "unknown resource"),
        ("POST", START_TARGET, "", BODY, 400, "application/json"),
        ("POST", START_TARGET, "text/plain", BODY, 400, "application/json"),
        ("POST", START_TARGET, "application/json; charset=utf-7", BODY, 400, "charset"),
        ("POST", START_TARGET, JSON, b"\xff", 400, "utf-8"),
        ("POST", START_TARGET, JSON, b"{", 400, "not JSON"),
        ("POST", START_TARGET, JSON, b"[]", 400, "an array"),
        ("POST", START_TARGET, JSON, b"null", 400, "null"),
        ("POST", START_TARGET, JSON, b'{"a": NaN}', 400, "NaN"),
        ("POST", START_TARGET, JSON, b'{"a": 1, "a": 2}', 400, "twice"),
        ("POST", START_TARGET, JSON, b'{"a": "\\ud800"}', 400, "surrogate"),
        ("POST", START_TARGET, JSON, b'{"a":' * 20_000, 400, "nested"),
        ("POST", START_TARGET, JSON, b'{"a":' + b"9" * 5000 + b"}", 400, "not JSON"),
    ],
)
def test_given_a_wrong_request_when_routed_then_the_answer_says_what_is_wrong(
    method, target, content_type, body, status, said
):
    with pytest.raises(RefusedRoute) as caught:
        route(method, target, content_type, body)

    answer = caught.value.answer
    assert (int(answer.status), answer.content_type) == (status, "text/plain")
    assert said in answer.body.decode("ascii")
    assert (dict(answer.headers).get("Allow") is not None) == (status == 405)


target_text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD", "X"]),
    target_text
    | target_text.map(lambda t: "/campaigngroups/" + t)
    | target_text.map(lambda t: "/campaigngroups/1?req=" + t)
    | target_text.map(lambda t: "http://" + t),
    st.sampled_from(["", JSON]) | st.text(st.characters(max_codepoint=255)),
    st.binary(),
)
def test_given_anything_when_routed_then_a_route_or_a_clear_refusal(method, target, content_type, body):
    status, number = 400, 10
    try:
        route(method, target, content_type, body)
    except RefusedRoute as refused:
        status = refused.answer.status
    except CampaignRequestError as error:
        number = error.error

    assert 400 <= status < 500
    assert number == 10


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        (None, "127.0.0.1:8080", False),
        ("http://127.0.0.1:9000", "127.0.0.1:8080", False),
        ("http://[::1]:9000", "[::1]:8080", False),
        ("http://evil.example", "127.0.0.1:8080", True),
        ("null", "127.0.0.1:8080", True),
        ("http://127.0.0.1", None, True),
        ("http://[", "127.0.0.1", True),
    ],
)
def test_given_an_origin_when_compared_with_the_host_then_foreign_pages_are_told(origin, host, foreign):
    assert is_foreign(origin, host) is foreign
