"""The OpenAPI document against the port that serves it: every path, req, attribute, status and number."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ocsd.explain.contract import (
    Explanation,
    GateVerdict,
    GroupExplanation,
    Preflight,
    Reach,
    ReadyAt,
    ZoneReadiness,
)
from ocsd.http import routes
from ocsd.http.openapi import document
from ocsd.model.enums import CmError, GswError
from ocsd.model.errors import DesktopRequestError, StoreUnavailable, TargetNotFound
from ocsd.model.services import CampaignRequest
from ocsd.protocols.http_records import REQUESTS, Resource
from tests.ocsd.served_port import APPLICATION_DBID, ServedPort, served_port

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT = document()
PATHS: Mapping[str, Any] = DOCUMENT["paths"]  # type: ignore[assignment]
SCHEMAS: Mapping[str, Any] = DOCUMENT["components"]["schemas"]  # type: ignore[index]
ATTACHED: frozenset[str] = frozenset(DOCUMENT["x-attached"])  # type: ignore[arg-type]
AT = datetime(2031, 3, 4, 5, 6, tzinfo=UTC)
GATE = GateVerdict("window", None, "it is closed", Reach.GROUP, {"opens": "08:00"}, AT, "wait")
IDENTIFIERS = {
    "handle": "15", "phone": "+1 212/555", "customer_id": "C%17", "calling_list": "Alpha List", "dbid": "115",
    "record_id": "7",
}  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[ServedPort]:
    with served_port() as port:
        port.explainer.explanations["Alpha List", 7] = Explanation("Alpha List", 7, 3, AT, False, "no", (GATE,), AT, 2)
        port.explainer.preflights["Alpha List"] = Preflight(
            "Alpha List", AT, 9, 8, 7, {"window": 2}, ("take care",), 1, 2, 3, (ReadyAt(AT, 4),),
            (ZoneReadiness("Europe/Berlin", 9, 1, 8, AT),),
        )  # fmt: skip
        port.explainer.groups[115] = GroupExplanation("Alpha@Agents", AT, False, "not running", (GATE,))
        yield port


@dataclass
class Port:
    served: ServedPort
    http: httpx.Client

    def send(
        self, method: str, path: str, req: str | None = None, body: object = None, **headers: str
    ) -> httpx.Response:
        target = re.sub(r"\{(\w+)\}", lambda name: quote(IDENTIFIERS[name[1]], safe=""), path)
        return self.http.request(
            method, target + (f"?req={req}" if req is not None else ""), json=body or None, headers=headers
        )

    def warning_of(self, path: str, req: str, body: object) -> int | None:
        """None: carried out."""
        answer = self.send("POST", path, req, body)
        assert answer.status_code in (200, 400), answer.text
        return int(answer.headers["Warning"]) if answer.status_code != 200 else None


@pytest.fixture(scope="module")
def http(served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=20.0, verify=False) as client:
        yield client


@pytest.fixture
def port(served, http) -> Iterator[Port]:
    yield Port(served, http)
    served.records.requests.clear()
    served.records.fail = served.explainer.fail = served.campaigns.refuse = served.campaigns.fail = None


@dataclass(frozen=True)
class Documented:
    """One value of req of one path, as the document has it."""

    path: str
    req: str

    @property
    def operation(self) -> Mapping[str, Any]:
        return PATHS[self.path]["post"]

    @property
    def entry(self) -> Mapping[str, Any]:
        return self.operation["x-requests"][self.req]

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        """The schemas that a body has to fit."""
        schema = self.entry["schema"]
        return [resolved(part) for part in schema.get("allOf", [schema])]

    @property
    def attributes(self) -> Mapping[str, Any]:
        return {name: resolved(schema) for name, schema in self.parts[0]["properties"].items()}

    @property
    def required(self) -> set[str]:
        return {name for part in self.parts for name in part.get("required", ())}

    @property
    def alternatives(self) -> list[set[str]]:
        """Sets of attributes of which one is needed."""
        return [{each["required"][0] for each in part["anyOf"]} for part in self.parts if "anyOf" in part]

    @property
    def key(self) -> str | None:
        """What the URI has decided."""
        keys = {"{handle}": "GSW_RECORD_HANDLE", "{phone}": "GSW_PHONE", "{customer_id}": "GSW_CUSTOMER_ID",
                "{calling_list}": "GSW_CALLING_LIST"}  # fmt: skip
        return keys.get(self.path.rpartition("/")[2])

    def minimal(self) -> dict[str, object]:
        needed = self.required | {sorted(names)[0] for names in self.alternatives}
        return {name: sample(name, self.attributes[name]) for name in sorted(needed)}

    def __str__(self) -> str:
        return f"{self.path} {self.req}"


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    return SCHEMAS[name] if name else schema


def sample(name: str, schema: Mapping[str, Any]) -> object:
    if name == "GSW_APPLICATION_ID":
        return APPLICATION_DBID
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    return schema["minimum"] if "minimum" in schema else "x" * max(1, schema.get("minLength", 1))


RECORD_POSTS = [
    Documented(path, req)
    for path, methods in PATHS.items()
    if "post" in methods and not path.startswith(("/campaigngroups", "/agentgroups"))
    for req in methods["post"]["x-requests"]
]
CAMPAIGN_POSTS = [Documented("/campaigngroups/{dbid}", request.value) for request in CampaignRequest]
NAMES = sorted(
    {name for each in RECORD_POSTS for name in each.attributes} | ATTACHED | {"GSW_NO_SUCH", "CUSTOMER_CODE"}
)


# --- the document itself ------------------------------------------------------------------------------------------


def test_given_the_committed_page_when_compared_then_it_is_current():
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == DOCUMENT, "run `make docs`"


def test_given_the_document_when_validated_then_it_is_openapi_3_1():
    validator = pytest.importorskip("openapi_spec_validator")

    validator.validate(DOCUMENT)


def test_given_the_table_of_routes_when_compared_then_every_path_is_documented_and_no_other():
    table = re.findall(r"^(/[\w./<>]*)", routes.__doc__ or "", re.MULTILINE)
    known = {re.sub(r"<\w+>", "{}", path) for path in table}
    without_identifier = {f"/{resource.value}" for resource in Resource}

    assert known | without_identifier == {re.sub(r"\{\w+\}", "{}", path) for path in PATHS}


@pytest.mark.parametrize("resource", Resource, ids=lambda each: each.value)
def test_given_a_resource_when_compared_with_the_codec_then_the_values_of_req_are_the_same(resource):
    for path in (
        f"/{resource.value}",
        *(path for path in PATHS if re.fullmatch(rf"/{resource.value}/\{{\w+\}}", path)),
    ):
        operation = PATHS[path]["post"]
        assert [*operation["x-requests"]] == operation["parameters"][0]["schema"]["enum"] == [*REQUESTS[resource]]


# --- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", RECORD_POSTS, ids=str)
def test_given_the_least_body_when_sent_then_it_is_carried_out_and_each_part_of_it_is_needed(port, asked):
    body = asked.minimal()

    assert port.send("POST", asked.path, asked.req, body).status_code == 200
    assert type(port.served.asked().request).__name__ == asked.req
    for name in asked.required:
        assert port.warning_of(asked.path, asked.req, without(body, {name})) == GswError.ATTRIBUTE_NOT_FOUND, name
    for names in asked.alternatives:
        assert port.warning_of(asked.path, asked.req, without(body, names)) == GswError.ATTRIBUTE_NOT_FOUND, names
        for name in names:
            chosen = without(body, names) | {name: sample(name, asked.attributes[name])}
            assert port.warning_of(asked.path, asked.req, chosen) is None, name


def without(body: Mapping[str, object], names: set[str]) -> dict[str, object]:
    return {name: value for name, value in body.items() if name not in names}


@pytest.mark.parametrize("asked", RECORD_POSTS, ids=str)
def test_given_each_attribute_when_sent_then_what_the_schema_allows_is_taken_and_the_rest_refused(port, asked):
    for name, schema in asked.attributes.items():
        if name == asked.key:
            continue  # the URI counts
        for value in allowed(name, schema, asked.req):
            body = asked.minimal() | companions(asked, name, value) | {name: value}
            assert port.warning_of(asked.path, asked.req, body) is None, (name, value)
        for value in forbidden(schema):
            body = asked.minimal() | companions(asked, name, value) | {name: value}
            assert port.warning_of(asked.path, asked.req, body) in (101, 103, 111), (name, value)


def companions(asked: Documented, name: str, value: object) -> dict[str, object]:
    """What must stand beside an attribute for its value to have a meaning."""
    campaign = asked.minimal().get("GSW_CAMPAIGN_NAME") or asked.minimal().get("GSW_CAMPAIGN")
    if campaign and name in ("GSW_CAMPAIGN", "GSW_CAMPAIGN_NAME"):
        return {"GSW_CAMPAIGN": value, "GSW_CAMPAIGN_NAME": value}
    if asked.req == "AddRecord":
        needs_date = name == "GSW_RECORD_TYPE" and str(value) in ("5", "6")
        return {
            "GSW_CHAIN_N": {"GSW_CHAIN_ID": 7},
            "GSW_FROM": {"GSW_UNTIL": 86_400},
            "GSW_UNTIL": {"GSW_FROM": 0},
            "GSW_DATE_TIME": {"GSW_RECORD_TYPE": 6},
            "GSW_RECORD_TYPE": {"GSW_DATE_TIME": "12/01/2031 13:00"} if needs_date else {},
        }.get(name, {})
    return {}


def allowed(name: str, schema: Mapping[str, Any], req: str) -> list[object]:
    match name:
        case "GSW_APPLICATION_ID":
            return [APPLICATION_DBID]
        case "GSW_AGENT_REQ_TYPE":
            return [req, req.upper()]
        case "GSW_DATE_TIME":
            return ["12/01/2031 13:00", "1/2/31", "1/2/2031 3:04"]
    if "enum" in schema:
        return list(schema["enum"])
    found: list[object] = []
    if "minimum" in schema:
        lowest, highest = schema["minimum"], schema["maximum"]
        if req == "AddRecord":  # a window is not empty
            lowest, highest = lowest + (name == "GSW_UNTIL"), highest - (name == "GSW_FROM")
        found = [lowest, highest, str(highest)]
    if "maxLength" in schema:
        found += ["y" * max(1, schema["minLength"]), "y" * schema["maxLength"]]
    if "integer" in schema["type"] and "maxLength" in schema:
        found.append(17)
    return found


def forbidden(schema: Mapping[str, Any]) -> list[object]:
    found: list[object] = [True, [1], {"a": 1}, *([None] if "null" not in schema.get("type", "") else [])]
    if "enum" in schema:
        found += ["no such", "", 9_999]
    if "minimum" in schema:
        found += [schema["minimum"] - 1, schema["maximum"] + 1, 1.5, "ten", ""]
    if "maxLength" in schema:
        found.append("y" * (schema["maxLength"] + 1))
        if schema["minLength"]:
            found.append("")
        if "integer" not in schema["type"]:
            found.append(17)
    if "pattern" in schema and "minimum" not in schema:
        found += ["tomorrow", "2031-12-01 13:00", "25/45/00"]
    return found


@pytest.mark.parametrize("asked", RECORD_POSTS, ids=str)
def test_given_any_known_name_when_sent_then_it_is_taken_just_where_the_document_has_it(port, asked):
    schema, extension = asked.parts[0], asked.entry
    custom = "patternProperties" in schema
    silent = (ATTACHED | set(extension["passedOver"])) - asked.attributes.keys()
    for name in NAMES:
        documented = name in asked.attributes or name in silent or (custom and not name.startswith("GSW_"))
        value = sample(name, asked.attributes[name]) if name in asked.attributes else "x"
        answer = port.send(
            "POST", asked.path, asked.req, asked.minimal() | companions(asked, name, value) | {name: value}
        )

        refused = answer.status_code == 400 and "is no attribute of this request" in answer.text
        assert refused is not documented, (name, answer.text)
        if not documented:
            assert answer.headers["Warning"] == "103"


@pytest.mark.parametrize(
    ("parameter", "req"), [("phone", "DoNotCall"), ("phone", "RequestRecordCancel"), ("customer_id", "DoNotCall")]
)
def test_given_an_identifier_when_longer_than_documented_then_it_is_refused(port, monkeypatch, parameter, req):
    resource = {"phone": "phones", "customer_id": "customer_ids"}[parameter]
    asked = Documented(f"/{resource}/{{{parameter}}}", req)
    longest = asked.attributes[{"phone": "GSW_PHONE", "customer_id": "GSW_CUSTOMER_ID"}[parameter]]["maxLength"]
    for length, expected in ((longest, None), (longest + 1, 103)):
        monkeypatch.setitem(IDENTIFIERS, parameter, "7" * length)
        assert port.warning_of(asked.path, req, asked.minimal()) == expected


# --- answers ------------------------------------------------------------------------------------------------------


def documented_answer(asked: Documented, answer: httpx.Response) -> None:
    status = str(answer.status_code)
    response = asked.operation["responses"][status]
    warning = answer.headers.get("Warning")
    if status == "200":
        assert answer.content == b""
        return
    numbers = asked.entry["warnings"].get(status, [])
    assert warning is None or int(warning) in numbers
    assert warning is not None or not response.get("headers", {"Warning": {"required": False}})["Warning"]["required"]
    # Three conflicts of campaign groups are answered by their number alone.
    assert not answer.content or answer.headers["Content-Type"] in response["content"]


FAILURES = [
    *(DesktopRequestError(error, "so") for error in GswError),
    *(TargetNotFound(error, "so") for error in (103, 105, 109) for error in (GswError(error),)),
    StoreUnavailable("away"),
    KeyError("ours"),
]
NOT_OF_HTTP = {107, 108, 118, 119}
"""Of preview requests only: were they raised, it would be our bug (500)."""


@pytest.mark.parametrize("asked", RECORD_POSTS, ids=str)
def test_given_every_failure_when_answered_then_status_number_and_type_are_documented(port, asked):
    for failure in FAILURES:
        if isinstance(failure, DesktopRequestError) and failure.error in NOT_OF_HTTP:
            continue
        if isinstance(failure, DesktopRequestError) and failure.error in (115, 116) and asked.req != "AddRecord":
            continue  # of AddRecord only
        port.served.records.fail = failure
        documented_answer(asked, port.send("POST", asked.path, asked.req, asked.minimal()))


@pytest.mark.parametrize("asked", CAMPAIGN_POSTS, ids=str)
def test_given_every_error_of_a_campaign_group_when_answered_then_it_is_documented(port, asked):
    body = {"GSW_CM_AttrDialMode": 2} if "required" in asked.parts[0] else {}
    for error in CmError:
        if error <= CmError.REGISTER_CLIENT:
            continue  # "not applicable"
        port.served.campaigns.refuse = error
        documented_answer(asked, port.send("POST", asked.path, asked.req, body))
    port.served.campaigns.fail = KeyError("ours")
    answer = port.send("POST", asked.path, asked.req, body)
    assert (answer.status_code, "Warning" in answer.headers) == (500, False)
    assert "500" in asked.operation["responses"]


@pytest.mark.parametrize("asked", [*RECORD_POSTS, *CAMPAIGN_POSTS], ids=str)
def test_given_a_page_of_another_host_when_it_asks_then_403_is_documented(port, asked):
    body = {"GSW_CM_AttrDialMode": 2} if asked in CAMPAIGN_POSTS and "required" in asked.parts[0] else {}
    answer = port.send("POST", asked.path, asked.req, body, Origin="http://evil.example")

    assert answer.status_code == 403
    assert answer.headers["Content-Type"] in asked.operation["responses"]["403"]["content"]
    assert port.served.records.requests == []


@pytest.mark.parametrize("path", [path for path, methods in PATHS.items() if "post" in methods])
def test_given_a_req_that_is_not_documented_when_sent_then_it_is_refused(port, path):
    known = set(PATHS[path]["post"]["x-requests"])
    every = {req for methods in PATHS.values() for req in methods.get("post", {}).get("x-requests", ())}
    for req in (every - known) | {"", "Dance", None}:
        answer = port.send("POST", path, req)
        expected = "10" if path.startswith(("/campaigngroups", "/agentgroups")) else "101"
        assert (answer.status_code, answer.headers["Warning"]) == (400, expected), req
    for req in known:
        answer = port.send("POST", path, req.upper())
        assert answer.headers.get("Warning") not in ("101",), req


@pytest.mark.parametrize("path", PATHS)
def test_given_a_method_that_is_not_documented_when_used_then_it_is_405(port, path):
    allowed_methods = {method.upper() for method in PATHS[path] if method in ("get", "post")}
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"} - allowed_methods:
        answer = port.send(method, path)
        assert answer.status_code == 405, method
        assert {each.strip() for each in answer.headers["Allow"].split(",")} == allowed_methods


# --- campaign groups ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", CAMPAIGN_POSTS, ids=str)
def test_given_the_attributes_of_a_campaign_group_when_sent_then_they_are_taken_as_documented(port, asked):
    schema = asked.parts[0]
    least: dict[str, object] = {"GSW_CM_AttrDialMode": 2} if "required" in schema else {}
    properties = schema.get("properties", {})
    groups = port.served.campaigns

    def warning(body: dict[str, object]) -> str | None:
        before = len(groups.requests)
        answer = port.send("POST", asked.path, asked.req, body)
        arrived = len(groups.requests) > before  # its state may refuse it all the same
        return None if arrived else answer.headers["Warning"]

    assert warning({**least, "mine": "left alone"}) is None
    assert warning({**least, "GSW_NO_SUCH": 1}) == "10"
    for name in schema.get("required", ()):
        assert warning(without(least, {name})) == "10"
    for name, each in properties.items():
        if "enum" in each:
            for value in each["enum"]:
                beside = (
                    {"GSW_CM_AttrOptimizeBy": 1, "GSW_CM_AttrOptimizeGoal": 50} if "OptimizedBy" not in name else {}
                )
                beside |= {"GSW_CM_AttrOptimizeGoal": 50}
                assert warning({**least, **beside, name: value}) is None, (name, value)
            assert warning({**least, name: 99}) == "10"
        assert warning({**least, name: "x"}) == "10", name
    for name in {"GSW_CM_AttrDialMode", "GSW_CM_AttrOptimizeGoal", "GSW_AUTO_COMPLETION"} - properties.keys():
        assert warning({name: 1}) == "10"


# --- agent groups -------------------------------------------------------------------------------------------------


def test_given_reports_of_inbound_calls_when_sent_then_they_are_taken_and_answered_as_documented(port):
    asked = Documented("/agentgroups/{dbid}", "InboundCalls")
    highest = asked.attributes["queued"]["maximum"]

    def status(body: object, path: str = "/agentgroups/234", **headers: str) -> int:
        answer = port.send("POST", path, asked.req, body, **headers)
        documented_answer(asked, answer)
        return answer.status_code

    assert asked.required == {"queued", "ringing"}
    assert status({"queued": 3, "ringing": "2"}) == 200
    assert status({"queued": 0, "ringing": highest}) == 200
    assert port.served.campaigns.inbound == [(234, 3, 2), (234, 0, highest)]
    for wrong in ({"queued": 1}, {}, {"queued": -1, "ringing": 0}, {"queued": 1, "ringing": highest + 1},
                  {"queued": 1.5, "ringing": 0}, {"queued": True, "ringing": 0},
                  {"queued": 1, "ringing": 0, "waiting": 5}):  # fmt: skip
        assert status(wrong) == 400, wrong
    assert status({"queued": 1, "ringing": 0}, "/agentgroups/9") == 404
    assert status({"queued": 1, "ringing": 0}, "/agentgroups/x") == 400
    assert status({"queued": 1, "ringing": 0}, Origin="http://evil.example") == 403
    port.served.campaigns.fail = KeyError("ours")
    assert status({"queued": 1, "ringing": 0}) == 500
    assert len(port.served.campaigns.inbound) == 2


# --- documents ----------------------------------------------------------------------------------------------------

SHOWN = [
    (path, req, None if req is None else req.upper())
    for path, methods in PATHS.items()
    if "get" in methods
    for parameter in methods["get"].get("parameters", [{"schema": {"enum": []}, "required": False}])
    for req in [*parameter["schema"]["enum"], *([] if parameter.get("required") else [None])]
]


@cache
def _fits(schema: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    return jsonschema.Draft202012Validator({**json.loads(schema), "components": DOCUMENT["components"]})


@pytest.mark.parametrize(("path", "req", "shouted"), SHOWN)
def test_given_a_document_when_asked_for_then_it_fits_its_schema(port, path, req, shouted):
    responses = PATHS[path]["get"]["responses"]

    answer = port.send("GET", path, req)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    _fits(json.dumps(responses["200"]["content"]["application/json"]["schema"])).validate(answer.json())
    assert port.send("GET", path, shouted).json() == answer.json()
    if "304" in responses and "Etag" in answer.headers:
        assert port.send("GET", path, req, **{"If-None-Match": answer.headers["Etag"]}).status_code == 304


def test_given_every_get_when_listed_then_all_of_them_were_walked():
    assert {(path, req) for path, req, _ in SHOWN} == {
        ("/campaigngroups", None), ("/campaigngroups/{dbid}", None), ("/campaigngroups/{dbid}", "statistics"),
        ("/campaigngroups/{dbid}", "pacing"), ("/campaigngroups/{dbid}", "feedback"), ("/campaigngroups/{dbid}", "why"),
        ("/campaigngroups/{dbid}", "calls"),
        ("/lists/{calling_list}", "preflight"), ("/trunks", None),
        ("/lists/{calling_list}/{record_id}", "why"), ("/health", None), ("/openapi.json", None),
    }  # fmt: skip


@pytest.mark.parametrize(("path", "req", "shouted"), [each for each in SHOWN if each[0].startswith("/lists")])
def test_given_an_explanation_that_fails_when_asked_for_then_status_and_number_are_documented(port, path, req, shouted):
    responses = PATHS[path]["get"]["responses"]
    expected = {
        TargetNotFound(GswError.RECORD_NOT_FOUND): ("404", "109"),
        TargetNotFound(GswError.INVALID_ATTRIBUTE_VALUE): ("404", "103"),
        StoreUnavailable("away"): ("409", "113"),
        KeyError("ours"): ("500", None),
    }
    for failure, (status, warning) in expected.items():
        port.served.explainer.fail = failure
        answer = port.send("GET", path, req)
        assert (str(answer.status_code), answer.headers.get("Warning")) == (status, warning)
        assert warning is None or int(warning) in responses[status]["headers"]["Warning"]["schema"]["enum"]
        assert answer.headers["Content-Type"] in responses[status]["content"]
    for wrong in ("", "Dance", None):
        answer = port.send("GET", path, wrong)
        assert (answer.status_code, answer.headers["Warning"]) == (400, "101")
    assert responses["400"]["headers"]["Warning"]["schema"]["enum"] == [101]


def test_given_requests_past_the_ports_bounds_when_sent_then_the_answers_are_documented_everywhere(port):
    long_body = port.http.post("/phones/1?req=DoNotCall", content=b" " * 70_000)
    with httpx.Client(
        base_url=port.served.url, trust_env=False, verify=False
    ) as other:  # its connection ends with the answer
        long_header = other.get("/health", headers={"X-Long": "x" * 20_000})

    assert (long_body.status_code, long_header.status_code) == (413, 431)
    for methods in PATHS.values():
        for method in ("get", "post"):
            if method in methods:
                assert {"408", "413", "431", "503"} <= methods[method]["responses"].keys()
