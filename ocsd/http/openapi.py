"""The control port as an OpenAPI 3.1 document; ``python -m ocsd.http.openapi`` prints it.

``req`` is a query parameter, OpenAPI knows one POST per path. So the POST of a path lists the values of ``req`` as an
enumeration, its body is ``anyOf`` the bodies of these requests, its answers are those of all of them together; which
request has which body and which answers stands beside it in ``x-requests`` (value of ``req`` -> summary, schema,
answers). Numbers, ranges and statuses come from the tables of the code that reads and answers requests.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from enum import IntEnum
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import ocsd
from ocsd.model.enums import CmError, CmMessageType, DialMode, GroupCampStatus, OptimizeBy
from ocsd.model.services import CampaignRequest
from ocsd.protocols import commdn
from ocsd.protocols.keyvalue import MAX_INT

Object: TypeAlias = dict[str, Any]

_CAMPAIGN_SUMMARIES: Final[Mapping[CampaignRequest, str]] = {
    CampaignRequest.LOAD: "Open the lists of the campaign group and read records ahead.",
    CampaignRequest.START_DIALING: "Start dialing.",
    CampaignRequest.SET_DIALING_MODE: "Change the dialing mode or its goal while dialing.",
    CampaignRequest.STOP_DIALING: "Stop dialing; calls in progress go on.",
    CampaignRequest.UNLOAD: "Unload once the calls in progress have ended.",
    CampaignRequest.FORCE_UNLOAD: "Unload at once; records of calls in progress become Stale.",
    CampaignRequest.LAUNCH: "Load and start dialing.",
    CampaignRequest.STAGE: "Load, as automated flows ask for it.",
    CampaignRequest.COMPLETE: "Stop dialing if need be, and unload.",
}


def document() -> dict[str, object]:
    """Return the document, JSON values only; the same for every daemon of this version."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ocsd control port",
            "version": ocsd.__version__,
            "license": {"name": "GPL-2.0-or-later", "identifier": "GPL-2.0-or-later"},
            "description": (
                "The HTTP port of an outbound contact server: resources, values of `req` and attributes as in the "
                "Outbound Contact Reference Manual, chapter OCS Support for the HTTP/HTTPS Protocol; documents that "
                "are answered to GET beyond its campaigngroups are our own. `req` is taken in any case, a body may "
                'be wrapped as `{"record": {...}}`, and the header Warning carries the manual\'s error number.'
            ),
        },
        "servers": [{"url": "/", "description": "The port that served this document."}],
        "tags": [
            {"name": "campaigngroups", "description": "Communication DN protocol: load, dial, unload."},
            {"name": "server", "description": "Our own: the daemon itself."},
        ],
        "paths": {
            "/campaigngroups": _all_groups(),
            "/campaigngroups/{dbid}": _campaign_group(),
            "/health": _health(),
            "/openapi.json": _own_document(),
        },
        "components": {"schemas": _schemas(), "headers": _headers()},
    }


# --- campaign groups ---------------------------------------------------------------------------------------------


def _all_groups() -> Object:
    return {
        "get": {
            "operationId": "showCampaignGroups",
            "tags": ["campaigngroups"],
            "summary": "State of every configured campaign group.",
            "responses": {"200": _document_answer("AllCampaignGroups", etag=True), "304": _not_modified()},
        }
    }


def _campaign_group() -> Object:
    errors = _campaign_errors()
    responses: Object = {"200": {"description": "Carried out; no body."}}
    for status, numbers in errors.items():
        responses[str(status.value)] = _refused(status, CmError, numbers)
    responses["403"] = {"description": "The request comes from a web page of another host.", "content": _plain()}
    responses["500"] = _failed()
    shown = _document_answer("CampaignGroup", etag=True)
    shown["content"]["application/json"]["schema"] = {
        "anyOf": [
            _ref("CampaignGroup"),
            _ref("Statistics"),
            {"type": "object", "required": ["campaign_group", "at", "dials_now", "summary", "gates"]},
        ],
    }
    return {
        "parameters": [
            {
                "name": "dbid",
                "in": "path",
                "required": True,
                "description": "DBID of the campaign group.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_INT},
            }
        ],
        "get": {
            "operationId": "showCampaignGroup",
            "tags": ["campaigngroups"],
            "summary": "State of one campaign group; req=statistics: its live figures; req=why: what holds it back.",
            "parameters": [
                {
                    "name": "req",
                    "in": "query",
                    "description": "Absent: the state (CampaignGroup).",
                    "schema": {"type": "string", "enum": ["statistics", "why"]},
                }
            ],
            "responses": {
                "200": shown,
                "304": _not_modified(),
                "400": _refused(HTTPStatus.BAD_REQUEST, CmError, [CmError.INVALID_PARAMETER]),
                "404": _refused(HTTPStatus.NOT_FOUND, CmError, [CmError.GROUP_CAMP_NOT_FOUND]),
                "500": _failed(),
            },
        },
        "post": {
            "operationId": "controlCampaignGroup",
            "tags": ["campaigngroups"],
            "summary": "Control a campaign group.",
            "parameters": [_req([request.value for request in CampaignRequest])],
            "requestBody": _body(["DialParameters", "NoParameters"], required=False),
            "responses": responses,
            "x-requests": {request.value: _campaign_request(request, list(responses)) for request in CampaignRequest},
        },
    }


def _campaign_request(request: CampaignRequest, statuses: list[str]) -> Object:
    if request in commdn.NEED_PARAMETERS:
        schema = "NeededDialParameters"
    else:
        schema = "DialParameters" if request in commdn.TAKE_PARAMETERS else "NoParameters"
    return {"summary": _CAMPAIGN_SUMMARIES[request], "schema": _ref(schema), "statuses": statuses}


def _campaign_errors() -> Mapping[HTTPStatus, list[CmError]]:
    from ocsd.http.answers import STATUS_OF_ERROR  # here, because answers.py serves this document

    by_status: dict[HTTPStatus, list[CmError]] = {}
    for error, status in STATUS_OF_ERROR.items():
        by_status.setdefault(status, []).append(error)
    return by_status


# --- the daemon --------------------------------------------------------------------------------------------------


def _health() -> Object:
    return {
        "get": {
            "operationId": "showHealth",
            "tags": ["server"],
            "summary": "200 while the daemon answers, with names and DBIDs of its campaign groups.",
            "responses": {"200": _document_answer("Health")},
        }
    }


def _own_document() -> Object:
    return {
        "get": {
            "operationId": "showOpenapi",
            "tags": ["server"],
            "summary": "This document.",
            "responses": {
                "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}
            },
        }
    }


# --- parts -------------------------------------------------------------------------------------------------------


def _ref(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}


def _req(values: list[str]) -> Object:
    return {
        "name": "req",
        "in": "query",
        "required": True,
        "description": "The request; taken in any case. What each takes and answers: x-requests.",
        "schema": {"type": "string", "enum": values},
    }


def _body(schemas: list[str], *, required: bool) -> Object:
    content = {"schema": {"anyOf": [_ref(name) for name in schemas]}}
    return {"required": required, "content": {"application/json": content}}


def _plain() -> Object:
    return {"text/plain": {"schema": {"type": "string"}}}


def _document_answer(schema: str, *, etag: bool = False) -> Object:
    answer: Object = {"description": "OK", "content": {"application/json": {"schema": _ref(schema)}}}
    if etag:
        answer["headers"] = {"Etag": {"$ref": "#/components/headers/Etag"}}
    return answer


def _not_modified() -> Object:
    return {"description": "Nothing has changed since the Etag in If-None-Match."}


def _failed() -> Object:
    return {"description": "The request failed inside the server; its log says why.", "content": _plain()}


def _refused(status: HTTPStatus, kind: type[IntEnum], numbers: Iterable[IntEnum]) -> Object:
    """A negative answer: its Warning is one of ``numbers``."""
    found = sorted(numbers)
    words = ", ".join(f"{number.value} {number.name}" for number in found)
    warning = {
        "description": f"{kind.__name__}: {words}.",
        "schema": {"type": "integer", "enum": [number.value for number in found]},
    }
    return {"description": f"{status.phrase}: {words}.", "headers": {"Warning": warning}, "content": _plain()}


def _headers() -> Object:
    return {"Etag": {"description": "Changes with the document; for If-None-Match.", "schema": {"type": "string"}}}


def _enumeration(kind: type[IntEnum], words: str) -> Object:
    members = ", ".join(f"{member.value} {member.name}" for member in kind)
    return {"type": "integer", "enum": [member.value for member in kind], "description": f"{words}: {members}."}


def _schemas() -> Object:
    parameters = _dial_parameters()
    status = {
        "GSW_CM_AttrCampaignID": {"type": "integer", "description": "DBID of the campaign."},
        "GSW_CM_AttrGroupID": {"type": "integer", "description": "DBID of the agent group."},
        commdn.DIAL_MODE: parameters[commdn.DIAL_MODE],
        commdn.OPTIMIZE_BY: parameters[commdn.OPTIMIZE_BY],
        commdn.OPTIMIZE_GOAL: parameters[commdn.OPTIMIZE_GOAL],
        "GSW_CM_AttrGroupCampStatus": _enumeration(GroupCampStatus, "State"),
        "GSW_CM_AttrProperties": {"type": "object"},
        "GSW_SWITCH_DBID": {"type": "integer"},
    }
    always = ["GSW_CM_AttrCampaignID", "GSW_CM_AttrGroupID", "GSW_CM_AttrGroupCampStatus"]
    origin = {"type": "integer", "description": "DBID of the server's application object."}
    group = {"type": "object", "properties": status, "required": always, "additionalProperties": False}
    return {
        # Keys without the reserved prefix belong to the client and are left alone.
        "DialParameters": {"type": "object", "properties": parameters, "propertyNames": _known(parameters)},
        "NeededDialParameters": {
            "type": "object",
            "properties": parameters,
            "required": [commdn.DIAL_MODE],
            "propertyNames": _known(parameters),
            "description": "OptimizeBy and OptimizeGoal are needed in the predictive modes.",
        },
        "NoParameters": {
            "type": "object",
            "propertyNames": _known({}),
            "description": "The request takes no attributes.",
        },
        "CampaignGroup": group
        | {
            "properties": {
                "GSW_CM_MessageType": {"const": int(CmMessageType.EV_CAMPAIGN_STATUS)},
                **status,
                "GSW_CM_AttrOriginAppID": origin,
            },
            "required": ["GSW_CM_MessageType", *always, "GSW_CM_AttrOriginAppID"],
        },
        "AllCampaignGroups": {
            "type": "object",
            "properties": {
                "GSW_CM_MessageType": {"const": int(CmMessageType.EV_ALL_CAMPAIGN_GROUPS)},
                "CampaignGroups": {
                    "type": "object",
                    "description": "By name.",
                    "additionalProperties": group
                    | {
                        "properties": {
                            "GSW_CM_AttrReferenceID": {
                                "type": "integer",
                                "description": "Running number of the group's state.",
                            },
                            **status,
                        }
                    },
                },
                "GSW_CM_AttrOriginAppID": origin,
            },
            "required": ["GSW_CM_MessageType", "CampaignGroups", "GSW_CM_AttrOriginAppID"],
            "additionalProperties": False,
        },
        "Statistics": {
            "type": "object",
            "description": "Live figures by name; null: cannot be told yet.",
            "additionalProperties": {"type": ["number", "null"]},
        },
        "Health": {
            "type": "object",
            "properties": {
                "status": {"const": "ok"},
                "campaign_groups": {
                    "type": "object",
                    "description": "Name -> DBID.",
                    "additionalProperties": {"type": "integer"},
                },
            },
            "required": ["status", "campaign_groups"],
        },
    }


def _dial_parameters() -> Object:
    lowest = 0  # "no goal" in the modes without one
    ranges = "; ".join(
        f"{by.name}: {low} to {high} {unit}" if high < MAX_INT else f"{by.name}: {unit}, {low} or more"
        for by, (low, high, unit) in commdn.GOAL_RANGES.items()
    )
    optimize_by = _enumeration(OptimizeBy, "What predictive dialing optimizes for")
    priority: Object = {
        "type": "object",
        "properties": {
            "priority": {"type": "integer", "minimum": 0, "maximum": commdn.MAX_PRIORITY},
            "n_records": {"type": "integer", "minimum": 0, "maximum": commdn.MAX_N_RECORDS},
        },
        "required": ["priority"],
        "additionalProperties": False,
    }
    by_type = {
        "type": "object",
        "properties": dict.fromkeys(commdn.PRIORITY_TYPES, priority),
        "additionalProperties": False,
        "description": "Which record types are dialed first, and how many of each per claim.",
    }
    return {
        commdn.DIAL_MODE: _enumeration(DialMode, "Dialing mode"),
        commdn.OPTIMIZE_BY: optimize_by,
        "GSW_CM_AttrOptimizedBy": optimize_by
        | {"description": f"The manual's other spelling of {commdn.OPTIMIZE_BY}."},
        commdn.OPTIMIZE_GOAL: {"type": "integer", "minimum": lowest, "maximum": MAX_INT, "description": ranges + "."},
        commdn.AUTO_COMPLETION: {"type": "integer", "enum": [0, 1], "description": "Unload when all is done."},
        commdn.PROPERTIES: {
            "type": "object",
            "properties": {commdn.DIALING_PRIORITY: by_type},
            "additionalProperties": False,
        },
    }


def _known(properties: Mapping[str, object]) -> Object:
    """Names with the reserved prefix are those of ``properties`` and no other."""
    return {
        "anyOf": [{"enum": sorted(properties)}, {"not": {"pattern": "^GSW_"}}]
        if properties
        else [{"not": {"pattern": "^GSW_"}}]
    }


def main() -> None:
    sys.stdout.write(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
