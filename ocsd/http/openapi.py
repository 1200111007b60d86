"""The control port as an OpenAPI 3.1 document; ``python -m ocsd.http.openapi`` prints it.

``req`` is a query parameter, OpenAPI knows one POST per path. So the POST of a path lists the values of ``req`` as an
enumeration, its body is ``anyOf`` the bodies of these requests, its answers are those of all of them together. Which
request has which body and which answers stands beside it in ``x-requests``: value of ``req`` -> summary, schema,
numbers by status, attributes that change nothing. ``x-attached`` are those that change nothing in any request for
records.
Numbers, ranges and statuses come from the tables of the code that reads and answers requests.
"""

import json
import sys
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Final

import ocsd
from ocsd.explain.contract import Explanation, GroupExplanation, Preflight
from ocsd.http import openapi_records, routes
from ocsd.http.openapi_calls import calls_schema
from ocsd.http.openapi_feedback import feedback_schema
from ocsd.http.openapi_pacing import pacing_schema
from ocsd.http.openapi_parts import (
    NOT_RESERVED,
    Object,
    body,
    carried_out,
    enumeration,
    foreign,
    json_answer,
    path_parameter,
    plain,
    ref,
    refused,
    req,
    schema_of,
)
from ocsd.model.enums import CmError, CmMessageType, DialMode, GroupCampStatus, GswError, OptimizeBy
from ocsd.model.services import CampaignRequest
from ocsd.protocols import commdn
from ocsd.protocols.desktop_pairs import ATTACHED_KEYS
from ocsd.protocols.keyvalue import MAX_INT

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


@cache
def document() -> dict[str, object]:
    """Return the document, JSON values only, not to be changed; the same for every daemon of this version."""
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
            {"name": "agentgroups", "description": "Our own: calls that others bring to the same agents."},
            {"name": "records", "description": "Desktop protocol: a record that somebody works with, by its handle."},
            {"name": "phones", "description": "All records of a phone number."},
            {"name": "customer_ids", "description": "All records of a customer."},
            {"name": "lists", "description": "New records; our own: explanations."},
            {"name": "server", "description": "Our own: the daemon itself."},
        ],
        "paths": _with_answers_of_the_port(_paths()),
        "components": {
            "schemas": _schemas() | openapi_records.schemas(),
            "responses": _responses(),
            "headers": _headers(),
        },
        "x-attached": sorted(ATTACHED_KEYS),
    }


@cache
def encoded() -> bytes:
    """The document as it is served: made once, since it takes milliseconds that the event loop does not have."""
    return json.dumps(document(), ensure_ascii=False).encode()


def _paths() -> Object:
    paths = openapi_records.paths()
    paths["/lists/{calling_list}"]["get"] = _preflight()
    paths["/lists/{calling_list}/{record_id}"] = _why(paths["/lists/{calling_list}"]["parameters"])
    return {
        "/campaigngroups": _all_groups(),
        "/campaigngroups/{dbid}": _campaign_group(),
        "/agentgroups/{dbid}": _agent_group(),
        **paths,
        "/trunks": _trunks(),
        "/health": _health(),
        "/openapi.json": _own_document(),
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
    responses: Object = {"200": carried_out()}
    for status, numbers in errors.items():
        responses[str(status.value)] = _refused(status, numbers)
    warnings = {str(status.value): sorted(map(int, numbers)) for status, numbers in errors.items()}
    responses["403"] = foreign()
    responses["500"] = _failed()
    shown = _document_answer("CampaignGroup", etag=True)
    shown["content"]["application/json"]["schema"] = {
        "anyOf": [
            ref("CampaignGroup"),
            ref("Statistics"),
            ref("Pacing"),
            ref("Feedback"),
            ref("Calls"),
            ref("GroupExplanation"),
        ],
    }
    dbid = {"type": "integer", "minimum": 1, "maximum": MAX_INT}
    return {
        "parameters": [path_parameter("dbid", dbid, "DBID of the campaign group.")],
        "get": {
            "operationId": "showCampaignGroup",
            "tags": ["campaigngroups"],
            "summary": (
                "State of one campaign group; req=statistics: its live figures; req=pacing: its last pacing decision "
                "and the last hour; req=feedback: how often its campaign's analysis is right, by what agents said; "
                "req=calls: the calls under way; req=why: what holds it back."
            ),
            "parameters": [
                {
                    "name": "req",
                    "in": "query",
                    "description": "Absent: the state (CampaignGroup).",
                    "schema": {"type": "string", "enum": ["statistics", "pacing", "feedback", "calls", "why"]},
                }
            ],
            "responses": {
                "200": shown,
                "304": _not_modified(),
                "400": _refused(HTTPStatus.BAD_REQUEST, [CmError.INVALID_PARAMETER]),
                "404": _refused(HTTPStatus.NOT_FOUND, [CmError.GROUP_CAMP_NOT_FOUND]),
                **_without_database(),  # req=why, req=feedback
                "500": _failed(),
            },
        },
        "post": {
            "operationId": "controlCampaignGroup",
            "tags": ["campaigngroups"],
            "summary": "Control a campaign group.",
            "parameters": [req([request.value for request in CampaignRequest])],
            "requestBody": body([ref("DialParameters"), ref("NoParameters")], required=False),
            "responses": responses,
            "x-requests": {request.value: _campaign_request(request, warnings) for request in CampaignRequest},
        },
    }


def _agent_group() -> Object:
    errors = {HTTPStatus.BAD_REQUEST: CmError.INVALID_PARAMETER, HTTPStatus.NOT_FOUND: CmError.GROUP_NOT_FOUND}
    dbid = {"type": "integer", "minimum": 1, "maximum": MAX_INT}
    summary = (
        "Report the inbound calls of an agent group, to be repeated at least every 30 seconds: each takes an agent "
        "before a person whom we have called."
    )
    request = {
        "summary": summary,
        "schema": ref("InboundCalls"),
        "warnings": {str(status.value): [int(error)] for status, error in errors.items()},
    }
    return {
        "parameters": [path_parameter("dbid", dbid, "DBID of the agent group.")],
        "post": {
            "operationId": "reportInboundCalls",
            "tags": ["agentgroups"],
            "summary": summary,
            "parameters": [req(["InboundCalls"])],
            "requestBody": body([ref("InboundCalls")], required=True),
            "responses": {
                "200": carried_out(),
                "403": foreign(),
                "500": _failed(),
                **{str(status.value): _refused(status, [error]) for status, error in errors.items()},
            },
            "x-requests": {"InboundCalls": request},
        },
    }


def _inbound_calls() -> Object:
    number = {"type": "integer", "minimum": 0, "maximum": routes.MAX_INBOUND}
    return {
        "type": "object",
        "properties": {
            "queued": number | {"description": "Calls that wait for one of the agents."},
            "ringing": number | {"description": "Calls that will need one of the agents within seconds."},
            "free": number
            | {"description": "People whom a queue of another switch can take, where `distribution` names one."},
        },
        "required": ["queued", "ringing"],
        "additionalProperties": False,
    }


def _campaign_request(request: CampaignRequest, warnings: Object) -> Object:
    if request in commdn.NEED_PARAMETERS:
        schema = "NeededDialParameters"
    else:
        schema = "DialParameters" if request in commdn.TAKE_PARAMETERS else "NoParameters"
    return {"summary": _CAMPAIGN_SUMMARIES[request], "schema": ref(schema), "warnings": warnings}


def _campaign_errors() -> Mapping[HTTPStatus, list[CmError]]:
    from ocsd.http.answers import STATUS_OF_ERROR  # here, because answers.py serves this document

    by_status: dict[HTTPStatus, list[CmError]] = {}
    for error, status in STATUS_OF_ERROR.items():
        by_status.setdefault(status, []).append(error)
    return by_status


# --- explanations ----------------------------------------------------------------------------------------------------


def _preflight() -> Object:
    return {
        "operationId": "showPreflight",
        "tags": ["lists"],
        "summary": "What the list will come to on a start.",
        "parameters": [req(["preflight"], "Taken in any case.")],
        "responses": _explained("Preflight"),
    }


def _why(calling_list: list[Object]) -> Object:
    record_id = path_parameter("record_id", {"type": "integer", "minimum": 1, "maximum": MAX_INT}, "Column record_id.")
    return {
        "parameters": [*calling_list, record_id],
        "get": {
            "operationId": "showWhy",
            "tags": ["lists"],
            "summary": "Why a record is dialed or not: every gate with its inputs and verdict.",
            "parameters": [req(["why"], "Taken in any case.")],
            "responses": _explained("Explanation"),
        },
    }


def _without_database() -> Object:
    from ocsd.http.answers import STATUS_OF_ADD_ERROR  # here, because answers.py serves this document

    text: Object = {"text/html": {"schema": {"type": "string"}}}
    away = STATUS_OF_ADD_ERROR[GswError.DB_ERROR]
    return {str(away.value): refused(away, "GSW_ERROR", [GswError.DB_ERROR], text)}


def _explained(schema: str) -> Object:
    text: Object = {"text/html": {"schema": {"type": "string"}}}
    return {
        "200": _document_answer(schema),
        "400": refused(HTTPStatus.BAD_REQUEST, "GSW_ERROR", [GswError.INVALID_REQUEST], text),
        "404": refused(HTTPStatus.NOT_FOUND, "GSW_ERROR", openapi_records.NOT_CONFIGURED, text),
        **_without_database(),
        "500": _failed(),
    }


# --- the daemon --------------------------------------------------------------------------------------------------


def _trunks() -> Object:
    return {
        "get": {
            "operationId": "showTrunks",
            "tags": ["server"],
            "summary": "Which trunks take calls, and what keeps calls off the others.",
            "responses": {"200": _document_answer("Trunks")},
        }
    }


def _health() -> Object:
    return {
        "get": {
            "operationId": "showHealth",
            "tags": ["server"],
            "summary": "200 while the daemon answers, with names and DBIDs of its campaign groups.",
            "responses": {"200": _document_answer("Health")},
        }
    }


def _trunk_states() -> Object:
    whole: Object = {"type": "integer", "minimum": 0}
    properties: Object = {
        "dbid": whole,
        "name": {"type": "string"},
        "priority": whole | {"description": "The lowest goes first."},
        "weight": whole,
        "calls": whole | {"description": "In progress."},
        "max_calls": whole,
        "circuit": {"enum": ["closed", "open", "half_open"]},
        "takes_calls": {"type": "boolean", "description": "As far as its health goes."},
        "why": {"type": "string", "description": "What keeps calls off."},
        "again_in_s": {"type": "number", "description": "When an open circuit is tried again."},
        "registered": {"type": ["boolean", "null"], "description": "null: it needs no registration."},
        "started": whole | {"description": "Calls since the start of the daemon."},
        "failed": whole | {"description": "Of them, those that failed by the trunk's fault."},
        "moved": whole | {"description": "Of those, the ones that another trunk took over."},
        "rtt_s": {"type": ["number", "null"], "description": "Of the last answered OPTIONS."},
    }
    one = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "object", "properties": {"trunks": {"type": "array", "items": one}}, "required": ["trunks"]}


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


# --- parts -----------------------------------------------------------------------------------------------------------


def _document_answer(schema: str, *, etag: bool = False) -> Object:
    return json_answer(ref(schema), etag=etag)


def _not_modified() -> Object:
    return {"description": "Nothing has changed since the Etag in If-None-Match."}


def _failed() -> Object:
    return {"description": "The request failed inside the server; its log says why.", "content": plain()}


def _refused(status: HTTPStatus, numbers: list[CmError]) -> Object:
    return refused(status, "GSW_CM_AttrError", numbers, plain())


_OF_THE_PORT: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.REQUEST_TIMEOUT: "The request was not complete in time.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The headers are too long.",
    HTTPStatus.SERVICE_UNAVAILABLE: "All connections are in use.",
}
"""Answers before a request is understood; every operation has them. The connection ends with them."""


def _with_answers_of_the_port(paths: Object) -> Object:
    for path in paths.values():
        for method in ("get", "post"):
            if method in path:
                responses = path[method]["responses"]
                for status in _OF_THE_PORT:
                    responses[str(status.value)] = {"$ref": f"#/components/responses/{status.name}"}
                path[method]["responses"] = dict(sorted(responses.items()))
    return paths


def _responses() -> Object:
    return {status.name: {"description": words, "content": plain()} for status, words in _OF_THE_PORT.items()}


def _headers() -> Object:
    return {"Etag": {"description": "Changes with the document; for If-None-Match.", "schema": {"type": "string"}}}


def _schemas() -> Object:
    parameters = _dial_parameters()
    others = {"patternProperties": {NOT_RESERVED: {}}, "additionalProperties": False}
    status = {
        "GSW_CM_AttrCampaignID": {"type": "integer", "description": "DBID of the campaign."},
        "GSW_CM_AttrGroupID": {"type": "integer", "description": "DBID of the agent group."},
        commdn.DIAL_MODE: parameters[commdn.DIAL_MODE],
        commdn.OPTIMIZE_BY: parameters[commdn.OPTIMIZE_BY],
        commdn.OPTIMIZE_GOAL: parameters[commdn.OPTIMIZE_GOAL],
        "GSW_CM_AttrGroupCampStatus": enumeration(GroupCampStatus, "State"),
        "GSW_CM_AttrProperties": {"type": "object"},
        "GSW_SWITCH_DBID": {"type": "integer"},
    }
    always = ["GSW_CM_AttrCampaignID", "GSW_CM_AttrGroupID", "GSW_CM_AttrGroupCampStatus"]
    origin = {"type": "integer", "description": "DBID of the server's application object."}
    group = {"type": "object", "properties": status, "required": always, "additionalProperties": False}
    return {
        # Keys without the reserved prefix belong to the client and are left alone.
        "DialParameters": {"type": "object", "properties": parameters, **others},
        "NeededDialParameters": {
            "type": "object",
            "properties": parameters,
            "required": [commdn.DIAL_MODE],
            **others,
            "description": "OptimizeBy and OptimizeGoal are needed in the predictive modes.",
        },
        "NoParameters": {"type": "object", **others, "description": "The request takes no attributes."},
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
        "Explanation": schema_of(Explanation),
        "GroupExplanation": schema_of(GroupExplanation),
        "Preflight": schema_of(Preflight),
        "Statistics": {
            "type": "object",
            "description": "Live figures by name; null: cannot be told yet.",
            "additionalProperties": {"type": ["number", "null"]},
        },
        "Pacing": pacing_schema(),
        "Feedback": feedback_schema(),
        "Calls": calls_schema(),
        "InboundCalls": _inbound_calls(),
        "Trunks": _trunk_states(),
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
    optimize_by = enumeration(OptimizeBy, "What predictive dialing optimizes for")
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
        commdn.DIAL_MODE: enumeration(DialMode, "Dialing mode"),
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


def main() -> None:
    sys.stdout.write(json.dumps(document(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
