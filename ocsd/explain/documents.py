"""Explanations and preflights as JSON: one form for HTTP and the command line."""

import math
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum

from ocsd.explain.contract import Explanation, GroupExplanation, Preflight


def document(shown: Explanation | GroupExplanation | Preflight) -> dict[str, object]:
    """
    Return a JSON object with a key for every attribute, in their order.

    Instants are ISO 8601 in UTC with ``Z``; figures that are no number (0/0) are null.
    """
    return {field.name: _json(getattr(shown, field.name)) for field in fields(shown)}


def _json(value: object) -> object:
    match value:
        case Enum():
            return _json(value.value)
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Mapping():
            return {str(_json(key)): _json(each) for key, each in value.items()}
        case Set():
            return sorted((_json(each) for each in value), key=str)
        case list() | tuple():
            return [_json(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
    return str(value)
