"""What we need of SIP as values and text: status codes, Q.850 causes, Reason headers. Pure.

Sources: RFC 3261 (SIP), RFC 3326 (the Reason header), ITU-T Q.850 (causes), RFC 4411 and RFC 6432 (Q.850 causes in
responses).
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class SipStatus(IntEnum):
    """Status codes that a dialer meets as the answer to an INVITE (RFC 3261 chapter 21 unless noted)."""

    TRYING = 100
    RINGING = 180
    CALL_IS_BEING_FORWARDED = 181
    QUEUED = 182
    SESSION_PROGRESS = 183
    OK = 200
    ACCEPTED = 202
    MULTIPLE_CHOICES = 300
    MOVED_PERMANENTLY = 301
    MOVED_TEMPORARILY = 302
    USE_PROXY = 305
    ALTERNATIVE_SERVICE = 380
    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    PAYMENT_REQUIRED = 402
    FORBIDDEN = 403
    NOT_FOUND = 404
    METHOD_NOT_ALLOWED = 405
    NOT_ACCEPTABLE = 406
    PROXY_AUTHENTICATION_REQUIRED = 407
    REQUEST_TIMEOUT = 408
    GONE = 410
    REQUEST_ENTITY_TOO_LARGE = 413
    REQUEST_URI_TOO_LONG = 414
    UNSUPPORTED_MEDIA_TYPE = 415
    UNSUPPORTED_URI_SCHEME = 416
    BAD_EXTENSION = 420
    EXTENSION_REQUIRED = 421
    SESSION_INTERVAL_TOO_SMALL = 422  # RFC 4028
    INTERVAL_TOO_BRIEF = 423
    ANONYMITY_DISALLOWED = 433  # RFC 5079
    TEMPORARILY_UNAVAILABLE = 480
    CALL_TRANSACTION_DOES_NOT_EXIST = 481
    LOOP_DETECTED = 482
    TOO_MANY_HOPS = 483
    ADDRESS_INCOMPLETE = 484
    AMBIGUOUS = 485
    BUSY_HERE = 486
    REQUEST_TERMINATED = 487
    NOT_ACCEPTABLE_HERE = 488
    REQUEST_PENDING = 491
    UNDECIPHERABLE = 493
    SERVER_INTERNAL_ERROR = 500
    NOT_IMPLEMENTED = 501
    BAD_GATEWAY = 502
    SERVICE_UNAVAILABLE = 503
    SERVER_TIMEOUT = 504
    VERSION_NOT_SUPPORTED = 505
    MESSAGE_TOO_LARGE = 513
    BUSY_EVERYWHERE = 600
    DECLINE = 603
    DOES_NOT_EXIST_ANYWHERE = 604
    NOT_ACCEPTABLE_ANYWHERE = 606
    UNWANTED = 607  # RFC 8197
    REJECTED = 608  # RFC 8688


class Q850Cause(IntEnum):
    """ITU-T Q.850 cause values as gateways put them into Reason headers."""

    UNALLOCATED_NUMBER = 1
    NO_ROUTE_TO_TRANSIT_NETWORK = 2
    NO_ROUTE_TO_DESTINATION = 3
    SEND_SPECIAL_INFORMATION_TONE = 4
    MISDIALLED_TRUNK_PREFIX = 5
    CHANNEL_UNACCEPTABLE = 6
    PREEMPTION = 8
    NORMAL_CALL_CLEARING = 16
    USER_BUSY = 17
    NO_USER_RESPONDING = 18
    NO_ANSWER_FROM_USER = 19
    SUBSCRIBER_ABSENT = 20
    CALL_REJECTED = 21
    NUMBER_CHANGED = 22
    REDIRECTION_TO_NEW_DESTINATION = 23
    EXCHANGE_ROUTING_ERROR = 25
    NON_SELECTED_USER_CLEARING = 26
    DESTINATION_OUT_OF_ORDER = 27
    INVALID_NUMBER_FORMAT = 28
    FACILITY_REJECTED = 29
    NORMAL_UNSPECIFIED = 31
    NO_CIRCUIT_AVAILABLE = 34
    NETWORK_OUT_OF_ORDER = 38
    TEMPORARY_FAILURE = 41
    SWITCHING_EQUIPMENT_CONGESTION = 42
    REQUESTED_CIRCUIT_NOT_AVAILABLE = 44
    RESOURCE_UNAVAILABLE = 47
    FACILITY_NOT_SUBSCRIBED = 50
    OUTGOING_CALLS_BARRED = 52
    INCOMING_CALLS_BARRED = 54
    BEARER_CAPABILITY_NOT_AUTHORIZED = 57
    BEARER_CAPABILITY_NOT_AVAILABLE = 58
    SERVICE_NOT_AVAILABLE = 63
    BEARER_CAPABILITY_NOT_IMPLEMENTED = 65
    FACILITY_NOT_IMPLEMENTED = 69
    SERVICE_NOT_IMPLEMENTED = 79
    INVALID_CALL_REFERENCE = 81
    INCOMPATIBLE_DESTINATION = 88
    INVALID_MESSAGE = 95
    MANDATORY_ELEMENT_MISSING = 96
    MESSAGE_TYPE_NOT_IMPLEMENTED = 97
    RECOVERY_ON_TIMER_EXPIRY = 102
    PROTOCOL_ERROR = 111
    INTERWORKING = 127


OF_CALLED_PARTY: Final = frozenset({404, 410, 480, 484, 485, 486, 600, 603, 604, 607, 608})
"""Final responses that tell of the called party or its number, besides every 3xx."""
CAUSES_OF_CALLED_PARTY: Final = frozenset({1, 17, 18, 19, 20, 21, 22, 28})
"""Q.850 causes that do so; a gateway may wrap them in any status."""


_VAGUE_CAUSES: Final = frozenset({16, 31, 127})  # normal clearing, normal unspecified, interworking


def speaks_of_called_party(status: int, q850_cause: int | None) -> bool:
    """Does this refusal of a call tell of the called party? A cause counts for more than the status around it."""
    if status == SipStatus.REQUEST_TERMINATED:
        return False
    if q850_cause is not None and q850_cause not in _VAGUE_CAUSES:
        return q850_cause in CAUSES_OF_CALLED_PARTY
    return status in OF_CALLED_PARTY or 300 <= status < 400


@dataclass(frozen=True, slots=True)
class Reason:
    """One value of a Reason header: ``protocol`` in upper case ("Q.850", "SIP"), ``cause`` None when absent."""

    protocol: str
    cause: int | None
    text: str


# What a far end writes is looked at in one pass, however it is written: a quoted string that has no end goes on to the
# end of the text, and is not tried again from each quote in it.
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)', re.DOTALL)
_PIECES: Final = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)|[^",;]+|[,;]', re.DOTALL)
_STATUS_LINE: Final = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: (.*))?$")
_COMPACT_NAMES: Final = {
    "m": "contact",
    "i": "call-id",
    "f": "from",
    "t": "to",
    "v": "via",
    "l": "content-length",
    "c": "content-type",
    "e": "content-encoding",
    "k": "supported",
    "s": "subject",
    "x": "session-expires",  # RFC 4028
    "r": "refer-to",  # RFC 3515
    "b": "referred-by",  # RFC 3892
    "o": "event",  # RFC 6665
    "u": "allow-events",
}
_TAG: Final = re.compile(r";\s*tag\s*=\s*([^\s;,]+)", re.IGNORECASE)
_SECONDS: Final = re.compile(r"\d{1,9}")
LONGEST_RETRY_AFTER_S: Final = 86400.0
"""A far end that wants to be left alone for longer is asked again after a day."""
MAX_PICKED: Final = 16
MAX_PICKED_CHARS: Final = 1024
_MAX_CAUSE: Final = 127  # seven bits, Q.850 2.2.5


def _split(text: str, separator: str) -> list[str]:
    """Split at commas (between values) or semicolons (between parameters); those in quoted strings do not count."""
    parts = [""]
    for piece in _PIECES.findall(text):
        if piece == separator:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def parse_reason(value: str) -> tuple[Reason, ...]:
    """Parse one Reason header value (RFC 3326 section 2). What does not fit the grammar is left out, never an error:
    a gateway's sloppy diagnostics must not change what happened to the call.
    """
    reasons: list[Reason] = []
    for part in _split(value, ","):
        protocol, *parameters = (piece.strip() for piece in _split(part, ";"))
        if not protocol:
            continue
        cause: int | None = None
        text = ""
        for parameter in parameters:
            name, _, raw = parameter.partition("=")
            raw = raw.strip()
            if name.strip().lower() == "cause" and raw.isascii() and raw.isdigit() and len(raw) <= 3:
                cause = int(raw)
            elif name.strip().lower() == "text":
                text = re.sub(r"\\(.)", r"\1", raw[1:-1]) if len(raw) >= 2 and raw[0] == raw[-1] == '"' else raw
        reasons.append(Reason(protocol.upper(), cause, text))
    return tuple(reasons)


@dataclass(frozen=True, slots=True)
class SipMessage:
    """The parts of a received message that we look at. ``status`` is 0 for a request, ``method`` "" for a response."""

    method: str
    status: int
    phrase: str
    headers: tuple[tuple[str, str], ...]
    body: str

    def header(self, name: str) -> str:
        """The first value of a header, "" when there is none; names in any case, compact forms resolved."""
        return next((value for key, value in self.headers if key == name.lower()), "")

    @property
    def cseq_method(self) -> str:
        """The method a response answers."""
        return "".join(self.header("cseq").split()[-1:]).upper()

    @property
    def cseq_number(self) -> int:
        """0 when there is none."""
        number = "".join(self.header("cseq").split()[:1])
        return int(number) if number.isascii() and number.isdigit() and len(number) <= 10 else 0

    @property
    def from_tag(self) -> str:
        return tag_of(self.header("from"))

    @property
    def to_tag(self) -> str:
        return tag_of(self.header("to"))

    @property
    def retry_after_s(self) -> float:
        """Retry-After (RFC 3261 20.33), a day at most; 0 without one."""
        seconds = _SECONDS.match(self.header("retry-after"))
        return min(float(seconds.group()), LONGEST_RETRY_AFTER_S) if seconds else 0.0

    def picked(self, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """The headers of these names (any case), called as they were asked for; at most `MAX_PICKED`, values cut."""
        wanted = {name.lower(): name for name in names}
        found = [(wanted[key], value[:MAX_PICKED_CHARS]) for key, value in self.headers if key in wanted]
        return tuple(found[:MAX_PICKED])

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """All values of all Reason headers, in order."""
        return tuple(reason for key, value in self.headers if key == "reason" for reason in parse_reason(value))

    @property
    def q850_cause(self) -> int | None:
        """The first Q.850 cause in 1..127, None without one."""
        for reason in self.reasons:
            if reason.protocol == "Q.850" and reason.cause is not None and 1 <= reason.cause <= _MAX_CAUSE:
                return reason.cause
        return None

    @property
    def reason_text(self) -> str:
        """The text of the first Reason that has one, else the reason phrase of the status line."""
        return next((reason.text for reason in self.reasons if reason.text), self.phrase)

    @property
    def contact_uri(self) -> str:
        """The URI of the first Contact, without display name and header parameters; "" without one."""
        return uris_of(self.header("contact"))[0]


def uris_of(value: str) -> tuple[str, ...]:
    """The URIs of a header of addresses (Contact, Record-Route), without display names and header parameters."""
    uris = []
    for one in _split(value, ","):
        address = _QUOTED.sub("", one).strip()
        bracketed = re.search(r"<([^<>]*)>", address)
        uris.append(bracketed.group(1).strip() if bracketed else address.partition(";")[0].strip())
    return tuple(uris)


def tag_of(value: str) -> str:
    """The tag parameter of a From or To value, "" without one; one inside the URI or the display name is none."""
    tag = _TAG.search(re.sub(r"<[^<>]*>", "", _QUOTED.sub("", value)))
    return tag.group(1) if tag else ""


def parse_message(text: str) -> SipMessage:
    """Split a message that a SIP stack has accepted. Lenient: lines that are no headers are skipped.

    Raises ValueError when the first line is neither a request nor a status line.
    """
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    lines = re.sub(r"\n[ \t]+", " ", head).split("\n")  # unfold, RFC 3261 7.3.1
    if response := _STATUS_LINE.match(lines[0]):
        method, status, phrase = "", int(response.group(1)), (response.group(2) or "").strip()
    elif lines[0].endswith(" SIP/2.0") and lines[0].count(" ") >= 2:
        method, status, phrase = lines[0].split(" ", 1)[0].upper(), 0, ""
    else:
        raise ValueError(f"not a SIP start line: {lines[0][:80]!r}")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            headers.append((_COMPACT_NAMES.get(key, key), value.strip()))
    return SipMessage(method, status, phrase, tuple(headers), body)
