"""The schema of GET /campaigngroups/DBID?req=calls."""

from typing import Final

from ocsd.http.openapi_parts import Object

_TEXT: Final = {"type": "string"}
_PERHAPS: Final = {"type": ["string", "null"]}


def calls_schema() -> Object:
    """The calls under way, oldest first."""
    return _members("", {"calls": {"type": "array", "items": _call()}})


def _call() -> Object:
    return _members(
        "A call under way.",
        {
            "record_handle": {"type": "integer"},
            "conn_id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
            "number": {"type": "string", "description": "Its last four digits."},
            "trunk": _TEXT,
            "state": {"type": "string", "description": "That of the conversation (talking, held, consulting, "
                "conference...), before it that of the attempt (dialing, alerting, analysing, waiting...)."},
            "age_s": {"type": "number", "minimum": 0},
            "agent_id": _PERHAPS,
            "talking_s": {"type": ["number", "null"], "minimum": 0},
            "third_party": _members("Whom the agent has brought in.", {"agent_id": _PERHAPS, "number": _PERHAPS})
            | {"type": ["object", "null"]},
            "muted": {"type": "boolean"},
            "supervisors": {
                "type": "array",
                "items": _members(
                    "", {"agent_id": _TEXT, "mode": {"type": "string", "enum": ["mute", "coach", "connect"]}}
                ),
            },
        },
    )  # fmt: skip


def _members(description: str, properties: Object) -> Object:
    """An object that has all of these and no other."""
    told: Object = {"description": description} if description else {}
    return told | {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
