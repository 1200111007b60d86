"""The schema of GET /campaigngroups/DBID?req=feedback."""

from typing import Final

from ocsd.cpa.feedback import MACHINE, OTHER, PERSON, UNCLEAR
from ocsd.http.openapi_parts import Object

_TIME: Final = {"type": "string", "format": "date-time"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_RATIO: Final = {"type": "number", "minimum": 0, "maximum": 1}


def feedback_schema() -> Object:
    """Figures of the last 30 days, from the database."""
    return _members(
        "What agents said of test calls (option call-result-feedback), held against call progress analysis.",
        {
            "campaign": {"type": "string"},
            "since": _TIME,
            "until": _TIME,
            "trunks": {
                "type": "array",
                "description": "One per trunk with answered calls; where there are several, the last is of them all.",
                "items": _of_trunk(),
            },
        },
    )


def _of_trunk() -> Object:
    found = (PERSON, MACHINE)
    said = _counts((PERSON, MACHINE, OTHER, UNCLEAR), "What agents said.")
    return _members(
        "",
        {
            "campaign": {"type": "string"},
            "trunk": {"type": "string"},
            "calls": _counts((*found, OTHER), "Answered calls by what the verdict took them for."),
            "asked": _counts(found, "Of them, test calls that reached an agent."),
            "confusion": _members("By verdict.", dict.fromkeys(found, said)),
            "of_verdicts": _members(
                "Of verified calls with one verdict, with Wilson's interval; null: none is verified.",
                dict.fromkeys(("person_was_machine", "machine_was_person"), _rate()),
            ),
            "person_taken_for_machine": _estimate("Of all people."),
            "machine_taken_for_person": _estimate("Of all machines."),
            "machine_caught": _estimate("Of all machines."),
        },
    )


def _counts(names: tuple[str, ...], description: str) -> Object:
    return _members(description, dict.fromkeys(names, _COUNT))


def _rate() -> Object:
    figures = {"count": _COUNT, "of": _COUNT, "ratio": _RATIO, "low": _RATIO, "high": _RATIO}
    return _members("", figures) | {"type": ["object", "null"]}


def _estimate(description: str) -> Object:
    figures = {"ratio": _RATIO, "low": _RATIO, "high": _RATIO}
    words = f"{description} Weighed by how many calls had each verdict; an interval of 95 %; null: not known yet."
    return _members(words, figures) | {"type": ["object", "null"]}


def _members(description: str, properties: Object) -> Object:
    """An object that has all of these and no other."""
    told: Object = {"description": description} if description else {}
    return told | {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
