"""From one read request to its answer: routing, the service, and the manual's statuses and numbers."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import structlog

from ocsd.explain.contract import Explainer
from ocsd.http.messages import OK, Answer, bare_conflict, negative
from ocsd.http.origin import is_foreign
from ocsd.http.routes import (
    ControlGroup,
    RefusedRoute,
    Route,
    ShowAllGroups,
    ShowGroup,
    ShowHealth,
    ShowStatistics,
    route,
)
from ocsd.model.enums import CmError
from ocsd.model.errors import CampaignRequestError
from ocsd.model.services import CampaignService, GroupStatus
from ocsd.protocols.commdn import all_statuses_body, group_status_body
from ocsd.protocols.http_records import RecordControl

log = structlog.get_logger(__name__)

STATUS_OF_ERROR: Final[Mapping[CmError, HTTPStatus]] = MappingProxyType(
    {
        CmError.CAMPAIGN_NOT_FOUND: HTTPStatus.NOT_FOUND,
        CmError.GROUP_NOT_FOUND: HTTPStatus.NOT_FOUND,
        CmError.GROUP_CAMP_NOT_FOUND: HTTPStatus.NOT_FOUND,
        CmError.CAMPAIGN_SCHEDULE_NOT_FOUND: HTTPStatus.NOT_FOUND,
        CmError.CAMPAIGN_NOT_LOADED: HTTPStatus.GONE,  # "exists in the configuration but is not active"
        CmError.CAMPAIGN_ALREADY_LOADED: HTTPStatus.CONFLICT,
        CmError.CAMPAIGN_NOT_STARTED: HTTPStatus.CONFLICT,
        CmError.CAMPAIGN_ALREADY_STARTED: HTTPStatus.CONFLICT,
        CmError.INVALID_PARAMETER: HTTPStatus.BAD_REQUEST,
        CmError.INVALID_CAMPAIGN_MODE: HTTPStatus.CONFLICT,
        CmError.INVALID_CAMPAIGN_SCHEDULE: HTTPStatus.BAD_REQUEST,
        CmError.INVALID_CAMPAIGN_SCHEDULE_MODE: HTTPStatus.CONFLICT,
        CmError.LICENSE_VIOLATION: HTTPStatus.CONFLICT,
    }
)
"""Errors that are not here (0, 1, 2 "not applicable") would be ours: 500."""

BARE_CONFLICTS: Final = frozenset(
    {CmError.CAMPAIGN_ALREADY_LOADED, CmError.CAMPAIGN_NOT_STARTED, CmError.CAMPAIGN_ALREADY_STARTED}
)
"""
Conflicts answered like the manual's example: Warning, ``Content-length: 0``, no body.

The manual contradicts itself: its note says that the error message contains GSW_CM_AttrError, its only example for a
campaign group has no message. These three say all there is to say by their number; every other negative answer has the
line of text that the note promises.
"""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request as read from the wire; header values are None when absent."""

    method: str
    target: str
    content_type: str = ""
    if_none_match: str | None = None
    origin: str | None = None
    host: str | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Services:
    """What the control port asks of the rest of the daemon."""

    campaigns: CampaignService
    records: RecordControl
    explainer: Explainer


async def answer(request: HttpRequest, services: Services, application_dbid: int) -> Answer:
    """Carry the request out; a failure of the service becomes 500 and the event ``http.request_failed``."""
    try:
        asked = route(request.method, request.target, request.content_type, request.body)
        if isinstance(asked, ControlGroup) and is_foreign(request.origin, request.host):
            return negative(HTTPStatus.FORBIDDEN, "the request comes from a web page of another host")
        return await _carry_out(asked, request, services.campaigns, application_dbid)
    except RefusedRoute as refused:
        return refused.answer
    except CampaignRequestError as error:
        return _refusal(error)
    except Exception:
        log.exception("http.request_failed", method=request.method)
        return negative(HTTPStatus.INTERNAL_SERVER_ERROR, "the request failed inside the server; its log says why")


def _refusal(error: CampaignRequestError) -> Answer:
    if error.error in BARE_CONFLICTS:
        return bare_conflict(error.error)
    status = STATUS_OF_ERROR.get(error.error)
    if status is None:
        log.error("http.request_failed", error=int(error.error), message=error.message)
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    return negative(status, error.message, warning=error.error)


async def _carry_out(asked: Route, request: HttpRequest, service: CampaignService, application_dbid: int) -> Answer:
    match asked:
        case ControlGroup(dbid, campaign_request, parameters):
            _configured(service, dbid)
            await service.request(dbid, campaign_request, parameters)
            return OK
        case ShowGroup(dbid):
            return _document(group_status_body(_configured(service, dbid), application_dbid), request.if_none_match)
        case ShowAllGroups():
            return _document(all_statuses_body(service.statuses(), application_dbid), request.if_none_match)
        case ShowStatistics(dbid):
            return _live(_finite(_configured(service, dbid).statistics))
        case ShowHealth():
            return _live({"status": "ok", "campaign_groups": {group.name: group.dbid for group in service.statuses()}})


def _configured(service: CampaignService, dbid: int) -> GroupStatus:
    status = service.status(dbid)
    if status is None:
        # A campaign group is a campaign configured for a group, so 9 says it better than 3 or 8.
        raise CampaignRequestError(CmError.GROUP_CAMP_NOT_FOUND, f"no campaign group with DBID {dbid} is configured")
    return status


def _document(body: Mapping[str, object], if_none_match: str | None) -> Answer:
    # One tab per level, as the vendor writes it: the manual's first example then has its 323 bytes.
    content = json.dumps(body, indent="\t", ensure_ascii=False).encode()
    # A digest of the content, not a counter: counters start again with the daemon, and a stale 304 would hide it.
    etag = str(int.from_bytes(hashlib.blake2b(content, digest_size=4).digest()))
    headers = (("Cache-control", "private"), ("Etag", etag))
    if if_none_match is not None and _names(if_none_match, etag):
        return Answer(HTTPStatus.NOT_MODIFIED, headers)
    return Answer(HTTPStatus.OK, headers, "application/json", content)


def _names(if_none_match: str, etag: str) -> bool:
    """Whether If-None-Match lists ``etag``; quotes and W/ are optional since the manual's Etag has none."""
    tags: Iterable[str] = (tag.strip() for tag in if_none_match.split(","))
    return any(tag == "*" or tag.removeprefix("W/").strip('"') == etag for tag in tags)


def _live(body: Mapping[str, object]) -> Answer:
    content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    return Answer(HTTPStatus.OK, (("Cache-control", "no-store"),), "application/json", content)


def _finite(figures: Mapping[str, float | int | None]) -> Mapping[str, object]:
    """JSON knows no NaN and no infinity: a figure that cannot be told (0/0 answered calls) is null."""
    return {name: None if value is not None and not math.isfinite(value) else value for name, value in figures.items()}
