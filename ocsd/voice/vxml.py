"""
How a VoiceXML media server is asked for a dialog (RFC 5552, "SIP Interface to VoiceXML Media Services"). Pure.

The user part is ``dialog``; ``voicexml`` is the document's address, ``aai`` what the document finds in
``session.connection.aai`` (RFC 5552 2.1), and every further parameter is in
``session.connection.protocol.sip.requesturi`` (2.4). The attributes of the record go as X-Genesys- headers as well
(``session.connection.protocol.sip.headers``), where there is room for all of them.
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
    found = []
    for key, value in attributes.items():
        text = quote(str(value), safe=string.punctuation.replace("%", "") + " ")
        if value is not None and _is_token(key) and text.strip() and len(text) <= MAX_HEADER_CHARACTERS:
            found.append((f"{HEADER_PREFIX}{key}", text.strip()))
    return tuple(found)


def _is_token(key: str) -> bool:
    return bool(key) and key.isascii() and key.replace("-", "").replace("_", "").isalnum()
