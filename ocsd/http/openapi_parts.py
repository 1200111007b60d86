"""Small pieces of the OpenAPI document: references, types, answers, and schemas of our own dataclasses."""

import inspect
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from enum import Enum, IntEnum
from http import HTTPStatus
from typing import Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

Object: TypeAlias = dict[str, Any]

NOT_RESERVED: Final = "^(?!GSW_)"
"""Names without the manual's prefix: custom fields of records, whatever a client likes for campaign groups."""
_ATTRIBUTE: Final = re.compile(r"^(\w[\w, ]*): (.*)$")
_JSON_TYPES: Final[Mapping[object, Object]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    object: {},
    types.NoneType: {"type": "null"},
}


def ref(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}


def enumeration(kind: type[IntEnum], words: str) -> Object:
    members = ", ".join(f"{member.value} {member.name}" for member in kind)
    return {"type": "integer", "enum": [member.value for member in kind], "description": f"{words}: {members}."}


def req(
    values: list[str], words: str = "The request; taken in any case. What each takes and answers: x-requests."
) -> Object:
    return {
        "name": "req",
        "in": "query",
        "required": True,
        "description": words,
        "schema": {"type": "string", "enum": values},
    }


def path_parameter(name: str, schema: Object, words: str) -> Object:
    return {"name": name, "in": "path", "required": True, "description": words, "schema": schema}


def body(schemas: Iterable[Object], *, required: bool) -> Object:
    return {"required": required, "content": {"application/json": {"schema": {"anyOf": list(schemas)}}}}


# --- answers -----------------------------------------------------------------------------------------------------


def plain() -> Object:
    return {"text/plain": {"schema": {"type": "string"}}}


def carried_out() -> Object:
    return {"description": "Carried out; no body."}


def foreign() -> Object:
    return {"description": "The request comes from a web page of another host.", "content": plain()}


def json_answer(schema: Object, *, etag: bool = False) -> Object:
    answer: Object = {"description": "OK", "content": {"application/json": {"schema": schema}}}
    if etag:
        answer["headers"] = {"Etag": {"$ref": "#/components/headers/Etag"}}
    return answer


def refused(
    status: HTTPStatus, attribute: str, numbers: Iterable[IntEnum], content: Object, *, always: bool = True
) -> Object:
    """A negative answer: its Warning, unless not ``always`` there, is one of ``numbers``."""
    found = sorted(numbers)
    words = ", ".join(f"{number.value} {number.name}" for number in found)
    warning = {
        "description": f"{attribute}: {words}.",
        "required": always,
        "schema": {"type": "integer", "enum": [number.value for number in found]},
    }
    return {
        "description": f"{status.phrase}; which number: Warning.",
        "headers": {"Warning": warning},
        "content": content,
    }


# --- schemas of dataclasses --------------------------------------------------------------------------------------


def schema_of(kind: type[Any]) -> Object:
    """The JSON schema of what `ocsd.explain.documents.document` makes of a dataclass; words from its docstring."""
    hints, words = get_type_hints(kind), _words(kind)
    properties: Object = {}
    for field in fields(kind):
        properties[field.name] = _schema(hints[field.name])
        if field.name in words:
            properties[field.name]["description"] = words[field.name]
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _schema(hint: Any) -> Object:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(each) for each in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if hint in _JSON_TYPES:
        return dict(_JSON_TYPES[hint])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    return schema_of(hint)


def _words(kind: type[Any]) -> Mapping[str, str]:
    """What the docstring's "Attributes:" say, by name."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if match := _ATTRIBUTE.match(line.removeprefix("    ")):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.startswith("        "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return {name: said[0].upper() + said[1:] for name, said in found.items()}
