"""The schema of GET /campaigngroups/DBID?req=pacing."""

from typing import Final

from ocsd.http.openapi_parts import Object
from ocsd.sessions.pacing_watch import COLUMNS
from pacing.calibration import QUANTITIES

_NUMBER: Final = {"type": ["number", "null"]}
_TIME: Final = {"type": "string", "format": "date-time"}


def pacing_schema() -> Object:
    """Every member is there while the group is loaded; the object is empty while it is not."""
    members: Object = {
        "target": {"type": "object", "description": "Mode, goal and bounds that the pacing obeys; ratios are 0..1."},
        "decision": _decision(),
        "legal": _room(),
        "calibration": {
            "type": "object",
            "description": "What the decisions of about the last hour expected within their horizons, and what came.",
            "properties": {quantity: _calibration() for quantity in QUANTITIES},
            "required": list(QUANTITIES),
        },
        "recent": _recent(),
        "journal": {
            "type": ["object", "null"],
            "description": "The recording on disk; null: there is none.",
            "properties": {"file": {"type": ["string", "null"]}, "entries_lost": {"type": "integer"}},
            "required": ["file", "entries_lost"],
        },
    }
    return {
        "type": "object",
        "description": "The pacing of a loaded campaign group, for consoles; null: cannot be told yet.",
        "properties": members,
        "additionalProperties": False,
    }


def _decision() -> Object:
    return {
        "type": ["object", "null"],
        "description": "The last decision; null: none has been made yet.",
        "properties": {
            "number": {"type": "integer", "description": "Since the group was loaded; as in its journal."},
            "at": _TIME,
            "launch": {"type": "integer", "minimum": 0},
            "because": {"type": "string"},
            "reason": {"type": "string", "description": "`because` in words."},
            "words": {"type": "array", "items": {"type": "string"}},
            "predicted_overdial_ratio": _NUMBER,
            "inputs": {"type": "object", "additionalProperties": _NUMBER},
        },
        "required": ["number", "at", "launch", "because", "reason", "words", "predicted_overdial_ratio", "inputs"],
    }


def _room() -> Object:
    return {
        "type": ["object", "null"],
        "description": "What the guard over the legal window leaves; null: no window is watched.",
        "properties": {
            "pace_ratio": _NUMBER,
            "abandoned_allowed": _NUMBER,
            "stop": {"type": "boolean"},
            "because": {"type": "string"},
        },
        "required": ["pace_ratio", "abandoned_allowed", "stop", "because"],
    }


def _calibration() -> Object:
    return {
        "type": "object",
        "properties": {
            "samples": {"type": "integer"},
            "expected": _NUMBER,
            "actual": {"type": "integer"},
            "ratio": _NUMBER | {"description": "Actual over expected; 1: no bias."},
            "ratio_error": _NUMBER | {"description": "Standard error of `ratio`."},
            "covered_ratio": _NUMBER | {"description": "Share of samples within the central 90 % of a Poisson count."},
        },
        "required": ["samples", "expected", "actual", "ratio", "ratio_error", "covered_ratio"],
    }


def _recent() -> Object:
    numbers = {"type": "array", "items": _NUMBER}
    columns: Object = {
        "at": {"type": "array", "items": _TIME},
        "because": {"type": "array", "items": {"type": "string"}},
        "launched": {"type": "array", "items": {"type": "integer"}, "description": "Calls since the point before."},
        **dict.fromkeys(COLUMNS, numbers),
    }
    return {
        "type": "object",
        "description": "The last hour, a point every ten seconds; columns of one length, oldest first.",
        "properties": columns,
        "required": list(columns),
        "additionalProperties": False,
    }
