"""Lists as PostgreSQL writes arrays. The driver looks at every element of a list by itself, which costs more than the
statement: results travel in dozens of short columns, claims in a few long ones.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID


def int_array(values: Iterable[int]) -> str:
    """For a parameter with a cast to an array of integers or booleans."""
    return "{" + ",".join(map(str, values)) + "}"


def array(values: Iterable[object]) -> str:
    """
    For a parameter with a cast to an array: None, text, numbers, enumerations (as their numbers), booleans, aware
    times, UUIDs.
    """
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, datetime):
        return f'"{value.isoformat()}"'
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{value!r} is not known to be written into an array")
