"""Method, target and body of a request -> what is asked (pure; Reference Manual, "OCS Support for the HTTP Protocol").

=================================  ======  ===================================================================
/campaigngroups                    GET     state of every configured campaign group
/campaigngroups/<dbid>             GET     state of one
/campaigngroups/<dbid>?req=..      POST    Load, StartDialing, SetDialingMode, StopDialing, Unload, ForceUnload,
                                           Launch, Stage, Complete (in any case)
.../<dbid>?req=statistics          GET     ours: live figures of one group as a JSON object
.../<dbid>?req=pacing              GET     ours: the last pacing decision, prediction and the last hour
.../<dbid>?req=feedback            GET     ours: what agents said of the campaign's test calls, by trunk
.../<dbid>?req=calls               GET     ours: the calls under way, with third parties and supervisors
.../<dbid>?req=why                 GET     ours: why a group dials or not, as a JSON object
/agentgroups/<dbid>                POST    ours: req=InboundCalls, a report of calls for the same agents
/records/<handle>?req=..           POST    requests of the desktop protocol; which each resource knows is a table of
/phones/<number>?req=..                    `http_records`
/customer_ids/<id>?req=..
/lists/<name>?req=..
/lists/<name>?req=preflight        GET     ours: what a list will come to, as a JSON object
/lists/<name>/<record_id>?req=why  GET     ours: why a record is dialed or not, as a JSON object
/trunks                            GET     ours: which trunks take calls, and what keeps calls off the others
/openapi.json                      GET     ours: all this for programs
/health                            GET     ours: 200 while the daemon answers, names and DBIDs of the campaign groups
=================================  ======  ===================================================================

Targets come in origin form or, from clients behind a proxy, in absolute form with any host. ``req`` is the only query
parameter; others are refused, since a parameter that changes nothing misleads. A request that is none is refused in the
form of the resource that its path begins with: GSW_CM_AttrError 10, or GSW_ERROR 101.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from ocsd.http.messages import Answer, gsw_refusal, negative
from ocsd.model.enums import CmError, GswError
from ocsd.model.errors import TargetNotFound
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.commdn import parse_dial_parameters
from ocsd.protocols.http_records import Resource
from ocsd.protocols.keyvalue import MAX_INT, MalformedObject, integer, parse_object, printable


@dataclass(frozen=True, slots=True)
class ControlGroup:
    dbid: int
    request: CampaignRequest
    parameters: DialParameters


@dataclass(frozen=True, slots=True)
class ShowGroup:
    dbid: int


@dataclass(frozen=True, slots=True)
class ShowAllGroups:
    pass


@dataclass(frozen=True, slots=True)
class ShowStatistics:
    dbid: int


@dataclass(frozen=True, slots=True)
class ShowPacing:
    dbid: int


@dataclass(frozen=True, slots=True)
class ShowFeedback:
    dbid: int


@dataclass(frozen=True, slots=True)
class ShowCalls:
    dbid: int


@dataclass(frozen=True, slots=True)
class ShowGroupWhy:
    dbid: int


@dataclass(frozen=True, slots=True)
class ReportInbound:
    """Inbound calls for the agents of an agent group: waiting for one, and about to need one."""

    agent_group_dbid: int
    queued: int
    ringing: int
    free: int | None = None
    """Places of a queue of another switch; None: not said."""


@dataclass(frozen=True, slots=True)
class ShowHealth:
    pass


@dataclass(frozen=True, slots=True)
class ShowTrunks:
    pass


@dataclass(frozen=True, slots=True)
class ControlRecords:
    """A request of the desktop protocol, still to be parsed: arguments of `http_records.parse_http`."""

    resource: Resource
    identifier: str | None
    req: str
    pairs: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ShowPreflight:
    calling_list: str


@dataclass(frozen=True, slots=True)
class ShowWhy:
    calling_list: str
    record_id: int


@dataclass(frozen=True, slots=True)
class ShowOpenApi:
    pass


Shown: TypeAlias = (
    ShowGroup
    | ShowAllGroups
    | ShowStatistics
    | ShowPacing
    | ShowFeedback
    | ShowCalls
    | ShowGroupWhy
    | ShowPreflight
    | ShowWhy
    | ShowOpenApi
    | ShowHealth
    | ShowTrunks
)
Route: TypeAlias = ControlGroup | ControlRecords | ReportInbound | Shown


class RefusedRoute(Exception):
    """The request cannot be served; ``answer`` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode("ascii"))
        self.answer = answer


class _Incorrect(Exception):
    """400 "Incorrect/unknown request"; which number that is depends on the resource."""


_REQUESTS: Final[Mapping[str, CampaignRequest]] = MappingProxyType({r.value.lower(): r for r in CampaignRequest})
_RESOURCES: Final[Mapping[str, Resource]] = MappingProxyType({each.value: each for each in Resource})
_FIRST_SEGMENT: Final = re.compile(r"(?:https?://[^/?#]*)?/([^/?#]*)", re.IGNORECASE)
_CHARSETS: Final[Mapping[str, str]] = MappingProxyType(
    {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "iso-8859-1": "latin-1"}
)
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)


def route(method: str, target: str, content_type: str, body: bytes) -> Route:
    """
    Return what the request asks for.

    Args:
        target: request target as received, ASCII.
        content_type: value of Content-Type, empty when absent.

    Raises RefusedRoute with the answer; CampaignRequestError 10 for a wrong attribute in the body of a campaign group's
    request; TargetNotFound for a record that no list can have.
    """
    try:
        return _route(method, target, content_type, body)
    except _Incorrect as incorrect:
        text = str(incorrect)
        if _is_of_records(target):
            raise RefusedRoute(gsw_refusal(HTTPStatus.BAD_REQUEST, GswError.INVALID_REQUEST, text, None)) from None
        # The only number of GSW_CM_AttrError that fits an incorrect request.
        refused = negative(HTTPStatus.BAD_REQUEST, text, warning=CmError.INVALID_PARAMETER)
        raise RefusedRoute(refused) from None


def _is_of_records(target: str) -> bool:
    """Whether the target, which may be malformed, is meant for a resource with the desktop protocol's requests."""
    found = _FIRST_SEGMENT.match(target)
    return found is not None and unquote(found[1]) in _RESOURCES


def _route(method: str, target: str, content_type: str, body: bytes) -> Route:
    if method == "CONNECT" or target == "*":
        raise _not_allowed(method, "GET, POST")
    segments, query = _split(target)
    match segments:
        case ["health"]:
            _allow(method, "GET")
            return ShowHealth()
        case ["trunks"]:
            _allow(method, "GET")
            if query:
                raise _Incorrect("GET /trunks takes no parameters")
            return ShowTrunks()
        case ["campaigngroups"]:
            _allow(method, "GET")
            if query:
                raise _Incorrect("GET /campaigngroups takes no parameters")
            return ShowAllGroups()
        case ["campaigngroups", identifier]:
            _allow(method, "GET, POST")
            dbid = _dbid(identifier)
            return _show(dbid, query) if method == "GET" else _control(dbid, query, content_type, body)
        case ["agentgroups", identifier]:
            _allow(method, "POST")
            return _inbound(identifier, query, content_type, body)
        case ["openapi.json"]:
            _allow(method, "GET")
            return ShowOpenApi()
        case ["lists", name] if method == "GET":
            _asked(query, "preflight")
            return ShowPreflight(name)
        case ["lists", name, record_id]:
            _allow(method, "GET")
            _asked(query, "why")
            return ShowWhy(name, _record_id(name, record_id))
        case [resource, *identifiers] if resource in _RESOURCES and len(identifiers) <= 1:
            _allow(method, "GET, POST" if resource == "lists" and identifiers else "POST")
            if (req := _req(query)) is None:
                raise _Incorrect("the parameter req is missing")
            named = identifiers[0] if identifiers else None
            return ControlRecords(_RESOURCES[resource], named, req, _json_object(content_type, body))
        case _:
            raise RefusedRoute(
                negative(HTTPStatus.NOT_FOUND, f"unknown resource {printable('/' + '/'.join(segments))}")
            )


def _not_allowed(method: str, allow: str) -> RefusedRoute:
    text = f"the method {printable(method)} is not supported here, only {allow}"
    return RefusedRoute(negative(HTTPStatus.METHOD_NOT_ALLOWED, text, allow=allow))


def _allow(method: str, allow: str) -> None:
    if method not in allow.split(", "):
        raise _not_allowed(method, allow)


def _split(target: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Decoded path segments (a trailing slash adds none) and query pairs of an origin-form or absolute-form target."""
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError as error:
            raise _Incorrect(f"the request target is no URI: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise _Incorrect("the request target must be a path or an http URI")
        path, query = parts.path, parts.query
    else:
        # Not urlsplit: it reads "//host/path" as a host, but in a request line it is a path.
        path, _, query = target.partition("?")
    if "#" in target:
        raise _Incorrect("the request target must not hold a fragment")
    segments = [_decode(segment) for segment in path.removeprefix("/").removesuffix("/").split("/")]
    pairs = []
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        pairs.append((_decode(name.replace("+", " ")), _decode(value.replace("+", " "))))
    return segments, pairs


def _decode(text: str) -> str:
    if "%" not in text:
        return text
    if _PERCENT.search(text):
        raise _Incorrect("the request target holds a % that starts no %XX")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise _Incorrect("the request target is not UTF-8 after decoding") from None


def _asked(query: list[tuple[str, str]], known: str) -> None:
    req = _req(query)
    if req is None:
        raise _Incorrect(f"the parameter req is missing; GET knows {known} here")
    if req.lower() != known:
        raise _Incorrect(f"unknown req {printable(req)}; GET knows {known} here")


def _record_id(calling_list: str, identifier: str) -> int:
    if not _NUMBER.fullmatch(identifier) or int(identifier) > MAX_INT:
        text = f"the calling list {printable(calling_list)} has no record {printable(identifier)}"
        raise TargetNotFound(GswError.RECORD_NOT_FOUND, text)
    return int(identifier)


def _dbid(identifier: str, of: str = "a campaign group") -> int:
    if not _NUMBER.fullmatch(identifier) or not 1 <= int(identifier) <= MAX_INT:
        raise _Incorrect(f"{printable(identifier)} is no DBID of {of}")
    return int(identifier)


def _req(query: list[tuple[str, str]]) -> str | None:
    for name, _ in query:
        if name.lower() != "req":
            raise _Incorrect(f"unknown parameter {printable(name)}; the only one is req")
    if len(query) > 1:
        raise _Incorrect("req is given more than once")
    return query[0][1] if query else None


def _show(dbid: int, query: list[tuple[str, str]]) -> Route:
    req = _req(query)
    if req is None:
        return ShowGroup(dbid)
    if req.lower() == "statistics":
        return ShowStatistics(dbid)
    if req.lower() == "pacing":
        return ShowPacing(dbid)
    if req.lower() == "feedback":
        return ShowFeedback(dbid)
    if req.lower() == "calls":
        return ShowCalls(dbid)
    if req.lower() == "why":
        return ShowGroupWhy(dbid)
    raise _Incorrect(f"GET knows no req {printable(req)}, only statistics, pacing, feedback, calls and why")


def _control(dbid: int, query: list[tuple[str, str]], content_type: str, body: bytes) -> ControlGroup:
    req = _req(query)
    if req is None:
        raise _Incorrect("the parameter req is missing")
    request = _REQUESTS.get(req.lower())
    if request is None:
        known = ", ".join(r.value for r in CampaignRequest)
        raise _Incorrect(f"unknown req {printable(req)}; campaigngroups knows {known}")
    return ControlGroup(dbid, request, parse_dial_parameters(request, _json_object(content_type, body)))


MAX_INBOUND: Final = 100_000
"""Calls that a report may tell of; more is a slip of a program."""


def _inbound(identifier: str, query: list[tuple[str, str]], content_type: str, body: bytes) -> ReportInbound:
    req = _req(query)
    if req is None or req.lower() != "inboundcalls":
        raise _Incorrect("agentgroups knows the req InboundCalls")
    dbid = _dbid(identifier, "an agent group")
    pairs = dict(_json_object(content_type, body))
    found: list[int] = []
    for name in ("queued", "ringing"):
        if name not in pairs:
            raise _Incorrect(f"{name} is missing")
        number = integer(value := pairs.pop(name), digits=True)
        if number is None or not 0 <= number <= MAX_INBOUND:
            raise _Incorrect(f"{name} must be an integer, 0 to {MAX_INBOUND}, not {printable(value)}")
        found.append(number)
    free = None
    if "free" in pairs:
        free = integer(value := pairs.pop("free"), digits=True)
        if free is None or not 0 <= free <= MAX_INBOUND:
            raise _Incorrect(f"free must be an integer, 0 to {MAX_INBOUND}, not {printable(value)}")
    for name in pairs:
        raise _Incorrect(f"{printable(name)} is no attribute of InboundCalls")
    return ReportInbound(dbid, found[0], found[1], free)


def _json_object(content_type: str, body: bytes) -> Mapping[str, object]:
    """The object in the body; empty without one. ``{"record": {..}}`` is unwrapped: orchestration sends that form."""
    if not body:
        return {}
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() != "application/json":
        raise _Incorrect(f"Content-type must be application/json, not {printable(content_type)}")
    charset = "utf-8"
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    if charset not in _CHARSETS:
        raise _Incorrect(f"unknown charset {printable(charset)} in Content-type")
    try:
        pairs = parse_object(body.decode(_CHARSETS[charset]))
    except UnicodeDecodeError:
        raise _Incorrect(f"the body is not {charset} text") from None
    except MalformedObject as error:
        raise _Incorrect(f"the body is no JSON object: {error}") from None
    record = pairs.get("record")
    return record if len(pairs) == 1 and isinstance(record, dict) else pairs
