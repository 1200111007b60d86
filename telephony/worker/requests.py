"""What may go into a request: checks, and the text of a few values. Pure; nothing here knows the stack."""

import re
from collections.abc import Iterable
from typing import Final

from telephony.contract import DialogId, PlaceCall

MIN_SESSION_EXPIRES_S: Final = 90
"""RFC 4028 section 4: the least that anybody may ask for."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+\Z")  # RFC 3261 25.1
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PROXY: Final = re.compile(r"[A-Za-z0-9.\-\[\]:]+\Z")
_PLAIN_IN_HEADERS: Final = re.compile(r"[A-Za-z0-9\-_.!~*'()\[\]/?:+$]")
"""hnv-unreserved and unreserved of RFC 3261 25.1; everything else is escaped."""


_TRANSPORT: Final = re.compile(r";\s*transport\s*=\s*([A-Za-z0-9-]+)", re.IGNORECASE)


class UnfitRequest(Exception):
    """It cannot be sent as it stands, by no worker."""


def check_text(pairs: Iterable[tuple[str, str]]) -> None:
    """Header names (empty: no header) and values: UnfitRequest for a control character or a name that is no token."""
    for name, value in pairs:
        if _CONTROL.search(name) or _CONTROL.search(value):
            raise UnfitRequest("control character in a URI, name or header")
        if name and not _TOKEN.match(name):
            raise UnfitRequest(f"header name {name!r} is not a token")


def check_place_call(command: PlaceCall) -> None:
    """UnfitRequest when the texts of the command would not survive as SIP; URIs are for the stack to parse."""
    texts = [command.uri, command.from_uri, command.display_name, command.username, command.password]
    check_text(("", text) for text in texts)
    check_text(command.headers)
    if any(not name for name, _ in command.headers):
        raise UnfitRequest("header name '' is not a token")
    proxy_uri(command.proxy)
    if command.session_expires_s and command.session_expires_s < MIN_SESSION_EXPIRES_S:
        raise UnfitRequest(f"a session timer of less than {MIN_SESSION_EXPIRES_S} s (RFC 4028 section 4)")


def proxy_uri(proxy: str, transport: str = "udp") -> str:
    """The route to an outbound proxy given as host:port, "" for none."""
    if proxy and not _PROXY.match(proxy):
        raise UnfitRequest("proxy is not host:port")
    over = f";transport={transport}" if transport != "udp" else ""
    return f"sip:{proxy}{over};lr" if proxy else ""


def transport_of(uri: str) -> str:
    """``"udp"`` or ``"tcp"``, as the URI has it; UnfitRequest for what is not spoken."""
    named = _TRANSPORT.search(uri)
    transport = named.group(1).lower() if named else "udp"
    if transport == "tls" or uri.lower().startswith("sips:"):
        raise UnfitRequest(
            "SIP over TLS is not spoken here: the OpenSSL of the stack is too old. Let a session border controller or "
            "Kamailio on this host speak TLS to the carrier"
        )
    if transport not in ("udp", "tcp"):
        raise UnfitRequest(f"SIP over {transport} is not spoken here, only over UDP and TCP")
    return transport


def name_addr(display_name: str, uri: str) -> str:
    quoted = display_name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{uri}>' if display_name else f"<{uri}>"


def refer_to_value(target: str, replaces: DialogId | None, target_headers: tuple[tuple[str, str], ...]) -> str:
    """
    A Refer-To value (RFC 3515 2.1), with what the INVITE that follows is to carry.

    Replaces (RFC 3891) names the dialog as the target sees it, so that its own tag is the one that is remote for us.
    """
    if any(one in target for one in "<>? ") or _CONTROL.search(target):
        raise UnfitRequest("the target is not a SIP URI, or has headers of its own")
    check_text(target_headers)
    headers = list(target_headers)
    if replaces is not None:
        value = f"{replaces.call_id};to-tag={replaces.remote_tag};from-tag={replaces.local_tag}"
        check_text((("Replaces", value),))
        headers.insert(0, ("Replaces", value))
    embedded = "&".join(f"{_escaped(name)}={_escaped(value)}" for name, value in headers)
    return f"<{target}?{embedded}>" if embedded else f"<{target}>"


def _escaped(text: str) -> str:
    return "".join(
        one if _PLAIN_IN_HEADERS.match(one) else "".join(f"%{byte:02X}" for byte in one.encode()) for one in text
    )
