"""User data that an IVR port sends with the end of a call: X-Genesys- headers of its BYE, or User-to-User. Pure."""

import math
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, unquote

from ocsd.config.objects import FormatField
from ocsd.model.enums import CallResult
from ocsd.voice.vxml import HEADER_PREFIX

USER_TO_USER = "User-to-User"
RESULT_KEY = "GSW_CALL_RESULT"


def wanted_headers(fields: Iterable[FormatField]) -> tuple[str, ...]:
    """Headers that may carry something for the record."""
    keys = (RESULT_KEY, *(field.send_attribute for field in fields if field.send_attribute))
    return (USER_TO_USER, *(f"{HEADER_PREFIX}{key}" for key in keys))


def user_data_of(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """
    Values by key, which is in capitals.

    User-to-User (RFC 7433) holds ``KEY=value&KEY=value``, as text or in hexadecimal (``;encoding=hex``).
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name.lower() == USER_TO_USER.lower():
            found |= _user_to_user(value)
        elif name.lower().startswith(HEADER_PREFIX.lower()):
            found[name[len(HEADER_PREFIX) :].upper()] = unquote(value.strip())
    return found


def _user_to_user(value: str) -> dict[str, str]:
    content, *parameters = [part.strip() for part in value.split(";")]
    content = content.strip('"')
    if any(part.replace(" ", "").lower() == "encoding=hex" for part in parameters):
        try:
            content = bytes.fromhex(content).decode("utf-8")
        except ValueError:
            return {}
    return {key.upper(): text for key, text in parse_qsl(content)}


def correction(data: Mapping[str, str], fields: Iterable[FormatField]) -> tuple[int | None, dict[str, object], str]:
    """The record's result, columns with their values, and what was wrong with the rest ("": nothing)."""
    wrong: list[str] = []
    updates: dict[str, object] = {}
    result: int | None = None
    if (said := data.get(RESULT_KEY)) is not None:
        # Compared as text: not everything that looks like digits is a number for Python.
        result = next((int(member) for member in CallResult if str(int(member)) == said), None)
        if result is None:
            wrong.append(f"{RESULT_KEY} is no call result")
    for field in fields:
        if not field.send_attribute or (value := data.get(field.send_attribute.upper())) is None:
            continue
        parsed = _parsed(field, value)
        if parsed is None:
            wrong.append(f"{field.send_attribute} is no {field.type}, or too long")
        else:
            updates[field.name] = parsed
    return result, updates, "; ".join(wrong)


def _parsed(field: FormatField, value: str) -> object | None:
    try:
        match field.type:
            case "int":
                whole = int(value)
                return whole if -(2**31) <= whole < 2**31 else None
            case "float":
                return number if math.isfinite(number := float(value)) else None
            case "datetime":
                return None
            case _:
                return value if len(value) <= field.length and value.isprintable() else None
    except ValueError:
        return None
