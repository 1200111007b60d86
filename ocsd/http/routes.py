"""Method, target and body of a request -> what is asked (pure; Reference Manual, "OCS Support for the HTTP Protocol").

=================================  ======  ===================================================================
/campaigngroups                    GET     state of every configured campaign group
/campaigngroups/<dbid>             GET     state of one
/campaigngroups/<dbid>?req=..      POST    Load, StartDialing, SetDialingMode, StopDialing, Unload, ForceUnload,
                                           Launch, Stage, Complete (in any case)
.../<dbid>?req=statistics          GET     ours: live figures of one group as a JSON object
/health                            GET     ours: 200 while the daemon answers, names and DBIDs of the campaign groups
=================================  ======  ===================================================================

Targets come in origin form or, from clients behind a proxy, in absolute form with any host. ``req`` is the only query
parameter; others are refused, since a parameter that changes nothing misleads. The manual's other resources (records,
phones, customer_ids, lists) are known but not served by this version: 400, because the manual has no other status for
a request that cannot be served.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

from ocsd.http.messages import Answer, negative
from ocsd.model.enums import CmError, GswError
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.commdn import parse_dial_parameters
from ocsd.protocols.keyvalue import MAX_INT, MalformedObject, parse_object, printable


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
class ShowHealth:
    pass


Route: TypeAlias = ControlGroup | ShowGroup | ShowAllGroups | ShowStatistics | ShowHealth


class RefusedRoute(Exception):
    """The request cannot be served; ``answer`` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode("ascii"))
        self.answer = answer


_REQUESTS: Final[Mapping[str, CampaignRequest]] = MappingProxyType({r.value.lower(): r for r in CampaignRequest})
_LATER_RESOURCES: Final = frozenset({"records", "phones", "customer_ids", "lists"})
_CHARSETS: Final[Mapping[str, str]] = MappingProxyType(
    {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "iso-8859-1": "latin-1"}
)
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DBID: Final = re.compile(r"[0-9]{1,10}", re.ASCII)


def _bad(text: str) -> RefusedRoute:
    """400 of the campaigngroups resource; error 10 is the only one of the manual's that fits an incorrect request."""
    return RefusedRoute(negative(HTTPStatus.BAD_REQUEST, text, warning=CmError.INVALID_PARAMETER))


def route(method: str, target: str, content_type: str, body: bytes) -> Route:
    """
    Return what the request asks for.

    Args:
        target: request target as received, ASCII.
        content_type: value of Content-Type, empty when absent.

    Raises RefusedRoute with the answer; CampaignRequestError 10 for a wrong attribute in the body.
    """
    if method == "CONNECT" or target == "*":
        raise _not_allowed(method, "GET, POST")
    segments, query = _split(target)
    match segments:
        case ["health"]:
            _allow(method, "GET")
            return ShowHealth()
        case ["campaigngroups"]:
            _allow(method, "GET")
            if query:
                raise _bad("GET /campaigngroups takes no parameters")
            return ShowAllGroups()
        case ["campaigngroups", identifier]:
            _allow(method, "GET, POST")
            dbid = _dbid(identifier)
            return _show(dbid, query) if method == "GET" else _control(dbid, query, content_type, body)
        case [resource, *_] if resource in _LATER_RESOURCES:
            text = f"the resource {resource} is not supported by this version"
            raise RefusedRoute(
                negative(HTTPStatus.BAD_REQUEST, text, warning=GswError.INVALID_REQUEST, attribute="GSW_ERROR")
            )
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
            raise _bad(f"the request target is no URI: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise _bad("the request target must be a path or an http URI")
        path, query = parts.path, parts.query
    else:
        # Not urlsplit: it reads "//host/path" as a host, but in a request line it is a path.
        path, _, query = target.partition("?")
    if "#" in target:
        raise _bad("the request target must not hold a fragment")
    segments = [_decode(segment) for segment in path.removeprefix("/").removesuffix("/").split("/")]
    pairs = []
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        pairs.append((_decode(name.replace("+", " ")), _decode(value.replace("+", " "))))
    return segments, pairs


def _decode(text: str) -> str:
    if _PERCENT.search(text):
        raise _bad("the request target holds a % that starts no %XX")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("the request target is not UTF-8 after decoding") from None


def _dbid(identifier: str) -> int:
    if not _DBID.fullmatch(identifier) or not 1 <= int(identifier) <= MAX_INT:
        raise _bad(f"{printable(identifier)} is no DBID of a campaign group")
    return int(identifier)


def _req(query: list[tuple[str, str]]) -> str | None:
    for name, _ in query:
        if name.lower() != "req":
            raise _bad(f"unknown parameter {printable(name)}; the only one is req")
    if len(query) > 1:
        raise _bad("req is given more than once")
    return query[0][1] if query else None


def _show(dbid: int, query: list[tuple[str, str]]) -> Route:
    req = _req(query)
    if req is None:
        return ShowGroup(dbid)
    if req.lower() == "statistics":
        return ShowStatistics(dbid)
    raise _bad(f"GET knows no req {printable(req)}, only statistics")


def _control(dbid: int, query: list[tuple[str, str]], content_type: str, body: bytes) -> ControlGroup:
    req = _req(query)
    if req is None:
        raise _bad("the parameter req is missing")
    request = _REQUESTS.get(req.lower())
    if request is None:
        known = ", ".join(r.value for r in CampaignRequest)
        raise _bad(f"unknown req {printable(req)}; campaigngroups knows {known}")
    return ControlGroup(dbid, request, parse_dial_parameters(request, _json_object(content_type, body)))


def _json_object(content_type: str, body: bytes) -> Mapping[str, object]:
    """The object in the body; empty without one. ``{"record": {..}}`` is unwrapped: orchestration sends that form."""
    if not body:
        return {}
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() != "application/json":
        raise _bad(f"Content-type must be application/json, not {printable(content_type)}")
    charset = "utf-8"
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    if charset not in _CHARSETS:
        raise _bad(f"unknown charset {printable(charset)} in Content-type")
    try:
        pairs = parse_object(body.decode(_CHARSETS[charset]))
    except UnicodeDecodeError:
        raise _bad(f"the body is not {charset} text") from None
    except MalformedObject as error:
        raise _bad(f"the body is no JSON object: {error}") from None
    record = pairs.get("record")
    return record if len(pairs) == 1 and isinstance(record, dict) else pairs
