"""
What a VoiceXML media server is told of a record beside the dialog's address (`ocsd.config.dialog_address`). Pure.

The record's attributes and user fields go as X-Genesys- headers (``session.connection.protocol.sip.headers``), where
there is more room.
"""

import string
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

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
