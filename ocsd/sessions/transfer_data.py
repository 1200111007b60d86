"""Attached data for whoever takes a call over that leaves ocsd: as User-to-User, or as headers. Pure."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

UUI_OCTETS: Final = 128
"""Longest ISDN user-to-user information, its protocol discriminator included (RFC 7434 section 5)."""
IA5: Final = "04"
"""Protocol discriminator: characters of IA5 (ITU-T Q.931, table 4-26)."""
HEADER_CHARACTERS: Final = 200
MOST_HEADERS: Final = 20
PLAIN: Final = " !#$&'()*+,-./:<>?@[]^_`{|}~"
"""Beside letters and digits these stay as they are in values; the rest is percent-encoded."""


def names_of(text: str) -> tuple[str, ...]:
    """The keys that transfer-attributes lists."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def chosen(data: Mapping[str, object], names: tuple[str, ...]) -> dict[str, str]:
    """Those of the attached data that are there, as text that any header holds."""
    return {name: quote(str(data[name]), safe=PLAIN) for name in names if data.get(name) not in (None, "")}


def user_to_user(data: Mapping[str, str]) -> str:
    """
    Value of a User-to-User header (RFC 7433), ``name=value`` pairs separated by ``;``, in hexadecimal.

    What does not fit into UUI_OCTETS is left out, pair by pair from the end; "" when nothing is left.
    """
    pairs = [f"{name}={value.replace(';', '%3B')}" for name, value in data.items()]
    while pairs and len(";".join(pairs).encode()) > UUI_OCTETS - 1:
        pairs.pop()
    return f"{IA5}{';'.join(pairs).encode().hex()};encoding=hex" if pairs else ""


def header_name(name: str) -> str:
    """``X-GSW-PHONE`` for ``GSW_PHONE``; characters that no header name has become dashes (RFC 3261 25.1, token)."""
    return "X-" + "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in name)


def headers_for(how: str, data: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """``how``: transfer-data, none, uui or headers."""
    if how == "uui":
        value = user_to_user(data)
        return (("User-to-User", value),) if value else ()
    if how == "headers":
        return tuple((header_name(name), value[:HEADER_CHARACTERS]) for name, value in data.items())[:MOST_HEADERS]
    return ()
