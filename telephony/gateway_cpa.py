"""
Call progress analysis by a media gateway, as it comes in SIP: pure readings of headers and bodies.

Two dialects are understood.

X-Detect (AudioCodes Mediant and MediaPack): the INVITE asks for kinds of detection (``X-Detect: Request=AMD,CPT``), the
183 or 200 says which of them the gateway will do (``X-Detect: Response=AMD,CPT``; none: it does none), and each finding
comes as INFO with a body of ``application/x-detect``::

    Type= AMD
    SubType= AUTOMATA

Blanks after the equals sign and the case vary between releases, so neither counts. Source: AudioCodes Mediant 1000B
User's Manual 7.2, "Event Detection and Notification using X-Detect Header".

What a gateway says of a call that was not answered comes as SIP status and Q.850 cause, and is read where that of every
trunk is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from telephony.contract import VerdictKind

HEADER: Final = "X-Detect"
CONTENT_TYPE: Final = "application/x-detect"
ASKED: Final = ("AMD", "CPT", "FAX", "PTT")
REQUEST: Final = (HEADER, f"Request={','.join(ASKED)}")
ENOUGH: Final = "AMD"
"""What a gateway has to promise, or we listen ourselves: the other kinds tell nobody from a machine."""

VERDICT_OF: Final[Mapping[tuple[str, str], VerdictKind]] = MappingProxyType(
    {
        ("AMD", "VOICE"): VerdictKind.HUMAN,
        ("AMD", "AUTOMATA"): VerdictKind.MACHINE,
        ("AMD", "SILENT"): VerdictKind.SILENCE,
        # The gateway has listened to the end and does not know: as when our own time is over.
        ("AMD", "UNKNOWN"): VerdictKind.TIMEGUARD,
        ("AMD", "BEEP"): VerdictKind.BEEP,
        ("CPT", "BEEP"): VerdictKind.BEEP,
        ("CPT", "SIT-NC"): VerdictKind.SIT_NO_CIRCUIT,
        ("CPT", "SIT-IC"): VerdictKind.SIT_INTERCEPT,
        ("CPT", "SIT-VC"): VerdictKind.SIT_VACANT,
        ("CPT", "SIT-RO"): VerdictKind.SIT_REORDER,
        ("CPT", "SIT"): VerdictKind.SIT_UNKNOWN,
        ("CPT", "BUSY"): VerdictKind.BUSY,
        ("CPT", "REORDER"): VerdictKind.REORDER,
        ("CPT", "RINGTONE"): VerdictKind.RINGBACK,
        ("FAX", "MODEM"): VerdictKind.MODEM,
    }
)
"""Every other subtype of FAX (CED, CNG, PREAMBLE) is a fax."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One report, in capitals: type AMD, CPT, FAX or PTT, and its subtype."""

    kind: str
    detail: str

    @property
    def verdict(self) -> VerdictKind | None:
        """None for what says nothing of the called party, or is unknown to us."""
        if (found := VERDICT_OF.get((self.kind, self.detail))) is not None:
            return found
        return VerdictKind.FAX if self.kind == "FAX" else None

    @property
    def ends_speech(self) -> bool:
        """Whoever spoke is silent now."""
        return (self.kind, self.detail) == ("PTT", "SPEECH-END")

    @property
    def begins_speech(self) -> bool:
        return (self.kind, self.detail) == ("PTT", "SPEECH-START")


def promised(headers: Iterable[tuple[str, str]]) -> frozenset[str] | None:
    """The kinds of detection that a response promises; None: it has no X-Detect header that says so."""
    for name, value in headers:
        if name.lower() != HEADER.lower():
            continue
        for part in value.split(";"):
            key, equals, kinds = part.partition("=")
            if equals and key.strip().lower() == "response":
                return frozenset(kind.strip().upper() for kind in kinds.split(",") if kind.strip())
    return None


def findings(content_type: str, body: str) -> list[Finding]:
    """What an INFO of the gateway reports, in its order; empty for another INFO, or one that cannot be read."""
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
        return []
    found: list[Finding] = []
    kind = ""
    for line in body.splitlines():
        key, equals, value = line.partition("=")
        match key.strip().lower():
            case "type" if equals:
                kind = value.strip().upper()
            case "subtype" if equals and kind:
                found.append(Finding(kind, value.strip().upper()))
            case _:
                pass  # further parameters: SpeechPeriod, AMDBeepTimestamp...
    return found
