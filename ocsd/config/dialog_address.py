"""
How a VoiceXML media server is asked for a dialog (RFC 5552, "SIP Interface to VoiceXML Media Services"). Pure.

The user part is ``dialog``; ``voicexml`` is the document's address, ``aai`` what the document finds in
``session.connection.aai`` (RFC 5552 2.1), and every further parameter is in
``session.connection.protocol.sip.requesturi`` (2.4).
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

MAX_URI_CHARACTERS: Final = 255
"""Longest Request-URI that PJSIP takes (PJSIP_MAX_URL_SIZE with its NUL)."""

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
