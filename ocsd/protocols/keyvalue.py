"""Key-value lists as JSON objects: the one way in which bodies and messages of peers are read.

The manual's key-value lists hold strings, integers and nested lists. Peers write them as JSON objects; what JSON
permits beyond that and what no key-value list can mean (a key twice, NaN, an endless nesting) is refused here, so that
no later code has to think of it. Strings with NUL or lone surrogates are refused too: PostgreSQL cannot store the
first and UTF-8 cannot carry the second.
"""

import json
import re
from typing import Final, NoReturn

MAX_INT: Final = 2**31 - 1
"""Largest value of the manual's type Int (a key-value list holds 32-bit integers)."""

_DIGITS: Final = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class MalformedObject(ValueError):
    """The text is no JSON object that a key-value list can be; the message says why."""


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedObject(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result and not (type(value) is type(result[key]) and value == result[key]):
            # Parsers differ in which of the two they believe; acting on either would be a guess. (The manual's own
            # example of an AddRecord has a pair twice.)
            raise MalformedObject(f"the key {printable(key)} occurs twice, with different values")
        if _UNSTORABLE.search(key) or (isinstance(value, str) and _UNSTORABLE.search(value)):
            raise MalformedObject(
                f"the pair {printable(key)} holds a character that is no text (NUL or a lone surrogate)"
            )
        result[key] = value
    return result


# Made once: json.loads makes one for each call that has hooks.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def parse_object(text: str) -> dict[str, object]:
    """
    Return the JSON object in ``text``.

    Raises MalformedObject for anything else: other JSON values, keys given twice with different values, NaN, over-deep
    nesting, over-long numbers, characters that cannot be stored.
    """
    try:
        value = _DECODER.decode(text)
    except MalformedObject:
        raise
    except RecursionError:
        raise MalformedObject("the JSON text is nested too deeply") from None
    except ValueError as error:  # json.JSONDecodeError, or a number past the interpreter's digit limit
        raise MalformedObject(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedObject(f"a JSON object is expected, not {json_type(value)}")
    return value


def json_type(value: object) -> str:
    """Name of a decoded value's JSON type, for messages to peers."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def storable(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can carry the text; texts of `parse_object` can."""
    return _UNSTORABLE.search(text) is None


def printable(value: object, limit: int = 60) -> str:
    """A peer's key or value for an error text: JSON notation, ASCII, at most ``limit`` characters."""
    try:
        text = json.dumps(value, ensure_ascii=True, default=str)
    except RecursionError:  # read with less on the stack than there is now
        return "a deeply nested value"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def integer(value: object, *, digits: bool) -> int | None:
    """
    Return ``value`` when it is an integer of 32 bits, else None; booleans and floats are none.

    Args:
        digits: also accept a string of decimal digits.
    """
    if type(value) is str and digits and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is int and -MAX_INT - 1 <= value <= MAX_INT:
        return value
    return None
