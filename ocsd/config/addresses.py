"""Syntax of hosts, SIP and web addresses, as far as a configuration may hold them."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_SIP_URI: Final = re.compile(
    r"sip:(?P<user>[A-Za-z0-9\-_.!~*'()&=+$,;?/%]+)@(?P<host>\[[^\]]*\]|[^:\[\]@]+)(:(?P<port>\d+))?"
)


def is_sip_uri(text: str) -> bool:
    """Whether ``text`` is ``sip:user@host[:port]`` without parameters or headers (RFC 3261, 19.1.1)."""
    found = _SIP_URI.fullmatch(text)
    return bool(
        found and is_host(found["host"].strip("[]")) and (found["port"] is None or 0 < int(found["port"]) < 65536)
    )


def is_host(text: str) -> bool:
    """Whether ``text`` is an IP address or a host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # A last label of digits only would be a malformed IPv4 address, not a name (RFC 1123, 2.1).
        labels = text.removesuffix(".").split(".")
        return len(text) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
    return True


def is_http_url(text: str) -> bool:
    """Whether ``text`` is an http or https address with a host (RFC 3986), in visible ASCII characters."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and is_host(parts.hostname or "") and port != 0


def origin_of(url: str) -> str:
    """Scheme, host and port of an http address: all that may be shown of it, since the rest may hold secrets."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "?"
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
