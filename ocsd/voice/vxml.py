"""
How a VoiceXML media server is asked for a dialog (RFC 5552, "SIP Interface to VoiceXML Media Services"). Pure.

The user part is ``dialog``; ``voicexml`` is the document's address, ``aai`` what the document finds in
``session.connection.aai`` (RFC 5552 2.1), and every further parameter is in
``session.connection.protocol.sip.requesturi`` (2.4). The record's attributes and user fields go as X-Genesys- headers
as well (``session.connection.protocol.sip.headers``), where there is more room.
"""

import string
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote

MAX_URI_CHARACTERS: Final = 255
"""Longest Request-URI that PJSIP takes (PJSIP_MAX_URL_SIZE with its NUL)."""

HEADER_PREFIX: Final = "X-Genesys-"
"""SIP Server's prefix of headers that carry user data."""

MAX_HEADER_CHARACTERS: Final = 200
MAX_HEADERS_CHARACTERS: Final = 640
"""Of all of them: an INVITE beyond 1,300 bytes would not fit into one datagram (RFC 3261 18.1.1)."""

HEADER_ATTRIBUTES: Final = (
    "GSW_RECORD_HANDLE",
    "GSW_RECORD_URI",
    "GSW_CALL_RESULT",
    "GSW_PHONE",
    "GSW_CAMPAIGN_NAME",
    "GSW_CALLING_LIST",
    "GSW_TENANT_NAME",
)
"""Before the user fields; the rest of the protocol's attributes is for desktops."""

_PARAMETER_CHARACTERS: Final = "-_.!~*'()[]/:&+$"
"""RFC 3261 25.1: param-unreserved and mark."""


def dialog_uri(media_server: str, url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """
    The Request-URI of the dialog. Parameters for which there is no room are left out, the last ones first.

    Args:
        media_server: ``sip:host:port``.
        parameters: further ones, the most important first.
    """
    uri = f"sip:dialog@{media_server.removeprefix('sip:')};voicexml={_escaped(url)}"
    for name, value in parameters:
        added = f";{name}={_escaped(value)}"
        if len(uri) + len(added) <= MAX_URI_CHARACTERS:
            uri += added
    return uri


def _escaped(value: str) -> str:
    return quote(value, safe=_PARAMETER_CHARACTERS)


def user_data_headers(attributes: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Attributes of a record as headers; text is percent-encoded where a header cannot hold it."""
    found: list[tuple[str, str]] = []
    room = MAX_HEADERS_CHARACTERS
    for key in (*HEADER_ATTRIBUTES, *(key for key in attributes if not key.startswith("GSW_"))):
        value = attributes.get(key)
        text = quote(str(value), safe=string.punctuation.replace("%", "") + " ").strip()
        if value is None or not text or not _is_token(key) or len(text) > MAX_HEADER_CHARACTERS:
            continue
        room -= len(HEADER_PREFIX) + len(key) + len(text) + len(": \r\n")
        if room < 0:
            break
        found.append((f"{HEADER_PREFIX}{key}", text))
    return tuple(found)


def _is_token(key: str) -> bool:
    return bool(key) and key.isascii() and key.replace("-", "").replace("_", "").isalnum()
