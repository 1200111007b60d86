"""From one read request to its answer: routing, the service, and the manual's statuses and numbers."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import structlog

from ocsd.explain.contract import Explainer
from ocsd.explain.documents import document
from ocsd.http import openapi
from ocsd.http.messages import OK, Answer, bare_conflict, gsw_refusal, negative
from ocsd.http.origin import is_foreign
from ocsd.http.routes import (
    ControlGroup,
    ControlRecords,
    RefusedRoute,
    ReportInbound,
    ShowAllGroups,
    ShowCalls,
    ShowFeedback,
    ShowGroup,
    ShowGroupWhy,
    ShowHealth,
    Shown,
    ShowOpenApi,
    ShowPacing,
    ShowPreflight,
    ShowStatistics,
    ShowTrunks,
    ShowWhy,
    route,
)
from ocsd.model.enums import CmError, GswError
from ocsd.model.errors import CampaignRequestError, ConfigError, DesktopRequestError, StoreUnavailable, TargetNotFound
from ocsd.model.services import CampaignService, GroupStatus
from ocsd.protocols.commdn import all_statuses_body, group_status_body
from ocsd.protocols.desktop_pairs import ReferenceId
from ocsd.protocols.http_records import RecordControl, Resource, parse_http, readable_reference

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

STATUS_OF_GSW_ERROR: Final[Mapping[GswError, HTTPStatus]] = MappingProxyType(
    {
        GswError.INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
        GswError.ATTRIBUTE_NOT_FOUND: HTTPStatus.BAD_REQUEST,
        GswError.INVALID_ATTRIBUTE_VALUE: HTTPStatus.BAD_REQUEST,
        GswError.AGENT_NOT_FOUND: HTTPStatus.BAD_REQUEST,
        GswError.CAMPAIGN_GROUP_NOT_FOUND: HTTPStatus.BAD_REQUEST,
        GswError.NO_ACTIVE_CAMPAIGNS: HTTPStatus.BAD_REQUEST,
        GswError.RECORD_NOT_FOUND: HTTPStatus.GONE,
        GswError.INVALID_TIME: HTTPStatus.BAD_REQUEST,
        GswError.INVALID_TIME_FORMAT: HTTPStatus.BAD_REQUEST,
        GswError.NO_CALL_FOUND: HTTPStatus.GONE,
        GswError.DB_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
        GswError.CHAINED_RECORDS_NOT_FOUND: HTTPStatus.BAD_REQUEST,
        GswError.SCHEDULED_RECORD_NOT_FOUND: HTTPStatus.BAD_REQUEST,
        GswError.DUPLICATE_REQUEST: HTTPStatus.BAD_REQUEST,
    }
)
"""
Of records, phones and customer_ids; TargetNotFound is 404 whatever its number.

Errors that are not here (those of preview requests) would be ours: 500.
"""

STATUS_OF_ADD_ERROR: Final[Mapping[GswError, HTTPStatus]] = MappingProxyType(
    {
        **STATUS_OF_GSW_ERROR,
        GswError.NO_ACTIVE_CAMPAIGNS: HTTPStatus.CONFLICT,
        GswError.DB_ERROR: HTTPStatus.CONFLICT,
        GswError.CHAINED_RECORDS_NOT_FOUND: HTTPStatus.CONFLICT,
        GswError.RECORD_ALREADY_EXISTS: HTTPStatus.CONFLICT,
        GswError.ADD_RECORD_ERROR: HTTPStatus.CONFLICT,
    }
)
"""Of lists, and of AddRecord wherever it is asked: "Record could not be added", 409."""

SAYS_ALL: Final = frozenset({GswError.NO_CALL_FOUND})
"""Answered exactly like the manual's example: there is no more to say than the GSW_ERROR text."""

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
        if isinstance(asked, ControlGroup | ControlRecords | ReportInbound) and is_foreign(
            request.origin, request.host
        ):
            return negative(HTTPStatus.FORBIDDEN, "the request comes from a web page of another host")
        if isinstance(asked, ControlRecords):
            return await _control_records(asked, services.records, application_dbid)
        return await _carry_out(asked, request, services, application_dbid)
    except RefusedRoute as refused:
        return refused.answer
    except CampaignRequestError as error:
        return _refusal(error)
    except DesktopRequestError as error:
        return _gsw_refusal(error, STATUS_OF_ADD_ERROR, None)
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


def _gsw_refusal(
    refused: DesktopRequestError, statuses: Mapping[GswError, HTTPStatus], reference_id: ReferenceId
) -> Answer:
    error, description = refused.error, refused.description
    status = HTTPStatus.NOT_FOUND if isinstance(refused, TargetNotFound) else statuses.get(error)
    if status is None:
        log.error("http.request_failed", error=int(error), message=description)
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    return gsw_refusal(status, error, "" if error in SAYS_ALL else description, reference_id)


@contextmanager
def _database_needed() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        log.warning("http.database_unavailable", error=str(error))
        raise DesktopRequestError(GswError.DB_ERROR, "the database cannot be reached") from None
    except ConfigError as error:  # its text quotes filters and the server
        log.error("http.list_refused", problems=error.problems)
        said = "the table or the filter of the calling list does not work; the log says why"
        raise DesktopRequestError(GswError.DB_ERROR, said) from None


async def _control_records(asked: ControlRecords, records: RecordControl, application_dbid: int) -> Answer:
    try:
        request = parse_http(asked.resource, asked.identifier, asked.req, asked.pairs, application_dbid)
        with _database_needed():
            await records.carry_out(request)
    except DesktopRequestError as refused:
        adds = asked.resource is Resource.LISTS or asked.req.lower() == "addrecord"
        statuses = STATUS_OF_ADD_ERROR if adds else STATUS_OF_GSW_ERROR
        return _gsw_refusal(refused, statuses, readable_reference(asked.pairs))
    return OK


async def _explain(asked: ShowPreflight | ShowWhy, explainer: Explainer) -> Answer:
    with _database_needed():
        match asked:
            case ShowPreflight(calling_list):
                return _live(document(await explainer.preflight(calling_list)))
            case ShowWhy(calling_list, record_id):
                return _live(document(await explainer.why(calling_list, record_id)))


async def _carry_out(
    asked: ControlGroup | ReportInbound | Shown, request: HttpRequest, services: Services, application_dbid: int
) -> Answer:
    service = services.campaigns
    match asked:
        case ControlGroup(dbid, campaign_request, parameters):
            _configured(service, dbid)
            await service.request(dbid, campaign_request, parameters)
            return OK
        case ReportInbound(agent_group_dbid, queued, ringing, None):
            service.report_inbound(agent_group_dbid, queued, ringing)
            return OK
        case ReportInbound(agent_group_dbid, queued, ringing, free):
            service.report_inbound(agent_group_dbid, queued, ringing, free)
            return OK
        case ShowGroup(dbid):
            return _document(group_status_body(_configured(service, dbid), application_dbid), request.if_none_match)
        case ShowAllGroups():
            return _document(all_statuses_body(service.statuses(), application_dbid), request.if_none_match)
        case ShowStatistics(dbid):
            return _live(_finite(service.statistics(_configured(service, dbid).dbid)))
        case ShowPacing(dbid):
            return _live(service.pacing(_configured(service, dbid).dbid))
        case ShowCalls(dbid):
            return _live(service.calls(_configured(service, dbid).dbid))
        case ShowFeedback(dbid):
            _configured(service, dbid)
            with _database_needed():
                return _live(await services.explainer.feedback(dbid))
        case ShowGroupWhy(dbid):
            _configured(service, dbid)
            with _database_needed():
                return _live(document(await services.explainer.why_group(dbid)))
        case ShowPreflight() | ShowWhy():
            return await _explain(asked, services.explainer)
        case ShowOpenApi():
            return _tagged(openapi.encoded(), request.if_none_match)
        case ShowTrunks():
            return _live({"trunks": service.trunks()})
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
    return _tagged(json.dumps(body, indent="\t", ensure_ascii=False).encode(), if_none_match)


def _tagged(content: bytes, if_none_match: str | None) -> Answer:
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
