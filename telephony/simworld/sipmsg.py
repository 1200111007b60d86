"""SIP messages: bytes to values and back (RFC 3261 sections 7, 18.3, 19.1, 20). Pure, strict about what we rely on.

The parser accepts what a real peer may send (compact header names, folded lines, lists in one header) and raises
`SipSyntaxError` for the rest; the error carries whatever was readable, so that a 400 can be sent when that is enough.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

Address = tuple[str, int]
"""Numeric host and UDP port."""

Header = tuple[str, str]

MAX_MESSAGE_BYTES: Final = 65_535

COMPACT: Final = {
    "i": "call-id", "m": "contact", "e": "content-encoding", "l": "content-length", "c": "content-type",
    "f": "from", "s": "subject", "k": "supported", "t": "to", "v": "via",
}  # fmt: skip

REASONS: Final = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 183: "Session Progress", 200: "OK",
    302: "Moved Temporarily", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone", 415: "Unsupported Media Type",
    416: "Unsupported URI Scheme", 420: "Bad Extension", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 484: "Address Incomplete", 486: "Busy Here",
    487: "Request Terminated", 488: "Not Acceptable Here", 491: "Request Pending", 500: "Server Internal Error",
    501: "Not Implemented", 503: "Service Unavailable", 505: "Version Not Supported", 600: "Busy Everywhere",
    603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}  # fmt: skip

_TOKEN: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_NAME_ADDR: Final = re.compile(r'^\s*(?:"(?:\\.|[^"\\])*"|[^<"]*)\s*<([^<>]+)>\s*((?:;.*)?)$', re.DOTALL)
_URI: Final = re.compile(r"^(sips?|tel):(.*)$", re.IGNORECASE | re.DOTALL)
_SENT_PROTOCOL: Final = re.compile(r"^\s*SIP\s*/\s*2\.0\s*/\s*[A-Za-z0-9\-.!%*_+`'~]+\s+", re.IGNORECASE)
"""With white space around the slashes (RFC 3261 25.1, SLASH)."""
_HOSTPORT: Final = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-]+)(?::(\d{1,5}))?$")


class SipSyntaxError(ValueError):
    """The datagram is no SIP message we can use. ``partial`` holds what was readable, None when nothing was."""

    def __init__(self, why: str, partial: "Message | None" = None) -> None:
        super().__init__(why)
        self.partial = partial


@dataclass(frozen=True, slots=True)
class Uri:
    """``user`` is unescaped and without its own parameters; ``params`` are the URI parameters, names in lower case."""

    scheme: str
    user: str
    host: str
    port: int | None
    params: tuple[Header, ...] = ()

    def param(self, name: str) -> str | None:
        return next((v for n, v in self.params if n == name), None)


@dataclass(frozen=True, slots=True)
class Message:
    """A request when ``method`` is set, else a response. Header names are in lower case, in the order received."""

    method: str = ""
    uri: str = ""
    status: int = 0
    reason: str = ""
    headers: tuple[Header, ...] = ()
    body: bytes = field(default=b"", repr=False)

    def all(self, name: str) -> list[str]:
        """Every value of a header, one item each (rows of a comma list are split for Via, Route and their like)."""
        return [v for n, v in self.headers if n == name]

    def get(self, name: str) -> str:
        """First value, or an empty string."""
        return next((v for n, v in self.headers if n == name), "")

    @property
    def call_id(self) -> str:
        return self.get("call-id")

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method; ``(0, "")`` when unreadable."""
        number, _, method = self.get("cseq").strip().partition(" ")
        # str.isdigit alone accepts digits that int() refuses or that no peer means.
        if not (number.isascii() and number.isdigit() and len(number) <= 10):
            return 0, ""
        return int(number), method.strip()

    @property
    def to_tag(self) -> str:
        return tag_of(self.get("to"))

    @property
    def from_tag(self) -> str:
        return tag_of(self.get("from"))


def split_list(value: str) -> list[str]:
    """Split at commas that stand outside quotes and angle brackets."""
    items, start, quoted, depth, skip = [], 0, False, 0, False
    for i, char in enumerate(value):
        if skip:
            skip = False
        elif quoted and char == "\\":
            skip = True
        elif char == '"':
            quoted = not quoted
        elif not quoted and char == "<":
            depth += 1
        elif not quoted and char == ">":
            depth -= 1
        elif not quoted and depth == 0 and char == ",":
            items.append(value[start:i].strip())
            start = i + 1
    items.append(value[start:].strip())
    return [item for item in items if item]


def parse_params(text: str) -> tuple[Header, ...]:
    """``;a=1;b`` to ``(("a", "1"), ("b", ""))``; quotes around values are removed."""
    params = []
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        if name:
            params.append((name.strip().lower(), value.strip().strip('"')))
    return tuple(params)


def name_addr(value: str) -> tuple[str, tuple[Header, ...]]:
    """URI text and header parameters of a From, To, Contact or Route value; SipSyntaxError when it is none."""
    if match := _NAME_ADDR.match(value):
        return match.group(1).strip(), parse_params(match.group(2))
    uri, _, params = value.strip().partition(";")
    if not uri or "<" in uri or ">" in uri:
        raise SipSyntaxError(f"not a name-addr: {value[:80]!r}")
    return uri.strip(), parse_params(params)


def tag_of(value: str) -> str:
    try:
        _, params = name_addr(value)
    except SipSyntaxError:
        return ""
    return next((v for n, v in params if n == "tag"), "")


def parse_uri(text: str) -> Uri:
    """A sip:, sips: or tel: URI; SipSyntaxError for anything else."""
    match = _URI.match(text.strip())
    if match is None:
        raise SipSyntaxError(f"not a SIP URI: {text[:80]!r}")
    scheme, rest = match.group(1).lower(), match.group(2)
    rest = rest.partition("?")[0]
    if scheme == "tel":
        number, _, params = rest.partition(";")
        return Uri("tel", number, "", None, parse_params(params))
    # The user part may itself hold semicolons, so it is taken off before the parameters are looked for.
    user, at, tail = rest.rpartition("@")
    hostport, _, params = tail.partition(";")
    hostport_match = _HOSTPORT.match(hostport.strip())
    if hostport_match is None or (at and not user):
        raise SipSyntaxError(f"bad host in URI: {text[:80]!r}")
    port = int(hostport_match.group(2)) if hostport_match.group(2) else None
    if port is not None and not 0 < port < 65536:
        raise SipSyntaxError(f"bad port in URI: {text[:80]!r}")
    name = user.partition(":")[0].partition(";")[0]
    return Uri(scheme, _unescape(name), hostport_match.group(1), port, parse_params(params))


def _unescape(text: str) -> str:
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda m: chr(int(m.group(1), 16)), text)


@dataclass(frozen=True, slots=True)
class Via:
    """The top Via, as far as matching and answering need it (RFC 3261 18.2, RFC 3581)."""

    host: str
    port: int
    branch: str
    rport_asked: bool
    text: str


def parse_via(value: str) -> Via:
    head, _, tail = value.partition(";")
    protocol = _SENT_PROTOCOL.match(head)
    match = _HOSTPORT.match(head[protocol.end() :].strip()) if protocol is not None else None
    if match is None:
        raise SipSyntaxError(f"bad Via: {value[:80]!r}")
    port = int(match.group(2) or 5060)
    if not 0 < port < 65536:
        raise SipSyntaxError(f"bad Via port: {value[:80]!r}")
    params = dict(parse_params(tail))
    return Via(match.group(1), port, params.get("branch", ""), "rport" in params, value)


_LISTS: Final = frozenset({"via", "route", "record-route", "contact", "supported", "require", "proxy-require", "allow"})


def parse(data: bytes) -> Message:
    """
    One datagram to a message. Raises SipSyntaxError.

    Content-Length longer than the datagram is an error, shorter cuts the body (RFC 3261 18.3).
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise SipSyntaxError("message too long")
    head, separator, body = data.partition(b"\r\n\r\n")
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SipSyntaxError("headers are not UTF-8") from error
    if "\x00" in text:
        raise SipSyntaxError("NUL in the headers")
    # Unfold continuation lines (7.3.1) before splitting.
    lines = re.sub(r"\r\n[ \t]+", " ", text.lstrip("\r\n")).split("\r\n")
    if any("\r" in line or "\n" in line for line in lines):
        raise SipSyntaxError("bare CR or LF")  # echoed into a response it would forge header lines
    start = _start_line(lines[0])
    headers: list[Header] = []
    broken = "" if separator else "no empty line after the headers"
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not _TOKEN.fullmatch(name):
            broken = broken or f"bad header line: {line[:80]!r}"
            continue
        name = COMPACT.get(name, name)
        values = split_list(value) if name in _LISTS else [value.strip()]
        headers.extend((name, item) for item in values)
    message = Message(start.method, start.uri, start.status, start.reason, tuple(headers), body)
    if broken:
        raise SipSyntaxError(broken, message)
    _check(message)
    declared = message.get("content-length")
    if declared and int(declared) < len(body):
        return Message(start.method, start.uri, start.status, start.reason, tuple(headers), body[: int(declared)])
    return message


def _start_line(line: str) -> Message:
    parts = line.split(" ", 2)
    if len(parts) >= 2 and parts[0].upper() == "SIP/2.0":
        if not (len(parts[1]) == 3 and parts[1].isascii() and parts[1].isdigit() and 100 <= int(parts[1]) <= 699):
            raise SipSyntaxError(f"bad status line: {line[:80]!r}")
        return Message(status=int(parts[1]), reason=parts[2] if len(parts) == 3 else "")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not parts[1] or not parts[2].upper().startswith("SIP/"):
        raise SipSyntaxError(f"no SIP start line: {line[:80]!r}")
    return Message(method=parts[0], uri=parts[1], reason=parts[2])


def _check(message: Message) -> None:
    """The mandatory headers (8.1.1) exist once and are readable."""
    for name in ("via", "from", "to", "call-id", "cseq"):
        values = message.all(name)
        if not values or not values[0]:
            raise SipSyntaxError(f"no {name} header", message)
        if name != "via" and len(values) > 1:
            raise SipSyntaxError(f"more than one {name} header", message)
    number, method = message.cseq
    if not method or number >= 2**31:
        raise SipSyntaxError("bad CSeq", message)
    if message.method and method != message.method:
        raise SipSyntaxError("the method of CSeq is not that of the request", message)
    for name in ("from", "to"):
        try:
            name_addr(message.get(name))
        except SipSyntaxError as error:
            raise SipSyntaxError(str(error), message) from error
    try:
        parse_via(message.get("via"))
    except SipSyntaxError as error:
        raise SipSyntaxError(str(error), message) from error
    declared = message.get("content-length")
    if declared:
        if not (declared.isascii() and declared.isdigit() and len(declared) <= 6):
            raise SipSyntaxError("bad Content-Length", message)
        if int(declared) > len(message.body):
            raise SipSyntaxError("the body is shorter than Content-Length", message)


_PRETTY: Final = {
    "call-id": "Call-ID", "cseq": "CSeq", "via": "Via", "www-authenticate": "WWW-Authenticate",
}  # fmt: skip


def _pretty(name: str) -> str:
    return _PRETTY.get(name, "-".join(part.capitalize() for part in name.split("-")))


def serialise(message: Message) -> bytes:
    """The message on the wire; Content-Length is computed, line breaks in header values are refused (ValueError)."""
    if message.method:
        lines = [f"{message.method} {message.uri} SIP/2.0"]
    else:
        lines = [f"SIP/2.0 {message.status} {message.reason or REASONS.get(message.status, 'Unknown')}"]
    for name, value in message.headers:
        if name != "content-length":
            lines.append(f"{_pretty(name)}: {value}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("line break inside a header")
    lines.append(f"Content-Length: {len(message.body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + message.body


def response_headers(request: Message, source: Address, to_tag: str) -> list[Header]:
    """Via rows (top one completed with received and rport), From, To with tag, Call-ID, CSeq (8.2.6.2)."""
    headers: list[Header] = []
    for i, value in enumerate(request.all("via")):
        headers.append(("via", _complete_via(value, source) if i == 0 else value))
    to = request.get("to")
    headers += [
        ("from", request.get("from")),
        ("to", to if tag_of(to) or not to_tag else f"{to};tag={to_tag}"),
        ("call-id", request.get("call-id")),
        ("cseq", request.get("cseq")),
    ]
    return headers


def _complete_via(value: str, source: Address) -> str:
    via = parse_via(value)
    if via.rport_asked:
        value = re.sub(r";\s*rport(\s*=\s*\d*)?(?=;|$|\s)", f";rport={source[1]}", value, count=1, flags=re.IGNORECASE)
    if via.host != source[0] or via.rport_asked:
        value += f";received={source[0]}"
    return value


def reply_address(request: Message, source: Address) -> Address:
    """Where a response goes (18.2.2, RFC 3581): the source when rport was asked for, else the Via's port."""
    via = parse_via(request.get("via"))
    return source if via.rport_asked else (source[0], via.port)


def with_headers(message: Message, extra: Iterable[Header]) -> Message:
    return Message(
        message.method, message.uri, message.status, message.reason, (*message.headers, *extra), message.body
    )
