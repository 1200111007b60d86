"""What the judges of a call answer, and which verdicts end an analysis, may be revised or only inform."""

from dataclasses import dataclass, field
from typing import Final

from telephony.contract import VerdictKind

NEVER: Final = 2**31 - 1
"""A frame that does not come."""

FINAL_TONES: Final = frozenset(
    {
        VerdictKind.BUSY,
        VerdictKind.REORDER,
        VerdictKind.FAX,
        VerdictKind.MODEM,
        VerdictKind.PAGER,
        VerdictKind.NU_TONE,
        *(kind for kind in VerdictKind if kind.name.startswith("SIT")),
    }
)
REVISABLE: Final = frozenset({VerdictKind.HUMAN, VerdictKind.TIMEGUARD})
INFORMATION: Final = frozenset(
    {
        VerdictKind.RINGBACK,
        VerdictKind.CRBT,
        VerdictKind.ANNOUNCEMENT,
        VerdictKind.NO_RINGBACK,
        VerdictKind.BEEP,
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict without channel and clock. ``speech_end_frame`` is -1 when nobody spoke."""

    kind: VerdictKind
    cause: str
    connected: bool
    speech_end_frame: float = -1
    revises: bool = False
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one judge (tones, greeting) found; the listener makes a `Finding` of it when it may be said now."""

    kind: VerdictKind
    cause: str
    evidence: dict[str, float] = field(default_factory=dict)
