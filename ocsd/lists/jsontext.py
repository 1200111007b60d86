"""Any value as JSON text that PostgreSQL's jsonb takes: pure."""

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: object) -> str:
    """
    JSON has no NaN and jsonb no NUL and no half surrogates: they become null, nothing and question marks.

    What is no JSON value becomes its text.
    """
    return json.dumps(_clean(value))


def _clean(value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)  # the manual's enums are numbers
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_text(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner) for inner in value]
    return _text(value)


def _text(value: object) -> str:
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()
