"""Tone plans: which frequencies and cadences mean ringback, busy and reorder in a country.

Cadences of different countries contradict each other (Spain's busy is elsewhere congestion), so the plan is chosen by
trunk or by dialed country, never guessed from the audio.

Sources: ITU-T E.180 supplement 2 (national tones), Telcordia GR-506 for North America. Durations in seconds, on and
off in turn, starting with on.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from telephony.contract import VerdictKind

PAIRS_HZ: Final = ((440.0, 480.0), (480.0, 620.0), (400.0, 450.0), (350.0, 440.0))
"""Dual tones the spectrum stage tells apart. The fourth is North American dial tone, which means nothing here but
must not be taken for another pair."""

Cadence = tuple[float, ...]
Frequencies = tuple[float] | tuple[float, float]

CED_HZ: Final = 2100.0  # answer tone of a fax or modem, ITU-T T.30, V.25: +-15 Hz
BELL_ANSWER_HZ: Final = 2225.0  # answer tone of Bell 103/212 modems
ANSWER_TONE_TOLERANCE_HZ: Final = 25.0
CNG_HZ: Final = 1100.0  # calling fax, ITU-T T.30: +-38 Hz, 0.5 s on, 3 s off
CNG_TOLERANCE_HZ: Final = 38.0
CNG_CADENCE_S: Final = (0.5, 3.0)

BEEP_HZ: Final = (390.0, 2050.0)
"""Range of a recording beep. Lower pure tones are too often sung or drawn-out vowels."""


@dataclass(frozen=True, slots=True)
class Tone:
    """One call progress tone: ``kind`` when ``hz`` (one or two frequencies) sounds in ``cadence_s`` (on, off, ...)."""

    kind: VerdictKind
    hz: Frequencies
    cadence_s: Cadence


@dataclass(frozen=True, slots=True)
class TonePlan:
    """The tones of one country; where two share a cadence, the earlier one in ``tones`` wins."""

    name: str
    tones: tuple[Tone, ...]


def _plan(
    name: str,
    ringback: tuple[Frequencies, Cadence],
    busy: tuple[Frequencies, Cadence],
    *reorder: tuple[Frequencies, Cadence],
) -> TonePlan:
    return TonePlan(
        name,
        (
            Tone(VerdictKind.RINGBACK, *ringback),
            Tone(VerdictKind.BUSY, *busy),
            *(Tone(VerdictKind.REORDER, *one) for one in reorder),
        ),
    )


_425: Final[Frequencies] = (425.0,)
_440: Final[Frequencies] = (440.0,)
_400: Final[Frequencies] = (400.0,)
_420: Final[Frequencies] = (420.0,)
_450: Final[Frequencies] = (450.0,)
_US_BUSY: Final[Frequencies] = (480.0, 620.0)
_EQUAL_500: Final[Cadence] = (0.5, 0.5)
_EQUAL_250: Final[Cadence] = (0.25, 0.25)
_EQUAL_200: Final[Cadence] = (0.2, 0.2)
_RING_1_4: Final[Cadence] = (1.0, 4.0)

_NORTH_AMERICA: Final = (((440.0, 480.0), (2.0, 4.0)), (_US_BUSY, _EQUAL_500), (_US_BUSY, _EQUAL_250))

TONE_PLANS: Final = MappingProxyType(
    {
        plan.name: plan
        for plan in (
            _plan("US", *_NORTH_AMERICA),
            _plan("CA", *_NORTH_AMERICA),
            _plan(
                "UK",
                ((400.0, 450.0), (0.4, 0.2, 0.4, 2.0)),
                (_400, (0.375, 0.375)),
                (_400, (0.4, 0.35, 0.225, 0.525)),
            ),
            _plan("DE", (_425, _RING_1_4), (_425, (0.48, 0.48)), (_425, (0.24, 0.24))),
            _plan("FR", (_440, (1.5, 3.5)), (_440, _EQUAL_500), (_440, _EQUAL_250)),
            _plan("ES", (_425, (1.5, 3.0)), (_425, _EQUAL_200), (_425, (0.2, 0.2, 0.2, 0.2, 0.2, 0.6))),
            _plan("IT", (_425, _RING_1_4), (_425, _EQUAL_500), (_425, _EQUAL_200)),
            _plan("NL", (_425, _RING_1_4), (_425, _EQUAL_500), (_425, _EQUAL_250)),
            _plan("BE", (_425, (1.0, 3.0)), (_425, _EQUAL_500), (_425, (0.167, 0.167))),
            _plan("CH", (_425, _RING_1_4), (_425, _EQUAL_500), (_425, _EQUAL_200)),
            _plan("AT", (_420, (1.0, 5.0)), (_420, (0.4, 0.4)), (_420, _EQUAL_200)),
            _plan("DK", (_425, _RING_1_4), (_425, _EQUAL_500), (_425, _EQUAL_200)),
            _plan("NO", (_425, _RING_1_4), (_425, _EQUAL_500), (_425, _EQUAL_200)),
            _plan("FI", (_425, _RING_1_4), (_425, (0.3, 0.3)), (_425, _EQUAL_200)),
            _plan("BR", (_425, _RING_1_4), (_425, _EQUAL_250), (_425, (0.25, 0.25, 0.75, 0.25))),
            _plan("MX", (_425, _RING_1_4), (_425, _EQUAL_250), (_425, _EQUAL_250)),
            _plan("CN", (_450, _RING_1_4), (_450, (0.35, 0.35)), (_450, (0.7, 0.7))),
            _plan("JP", (_400, (1.0, 2.0)), (_400, _EQUAL_500), (_400, _EQUAL_500)),
            _plan(
                "AU",  # the old 413+438 Hz ringback is too close together to be told from busy; it passes unnoticed
                ((400.0, 450.0), (0.4, 0.2, 0.4, 2.0)),
                (_425, (0.375, 0.375)),
                (_425, (0.375, 0.375)),
            ),
            _plan("NZ", ((400.0, 450.0), (0.4, 0.2, 0.4, 2.0)), (_400, _EQUAL_500), (_400, _EQUAL_250)),
        )
    }
)
_ALIASES: Final = {"GB": "UK", "USA": "US"}


def tone_plan(name: str) -> TonePlan:
    """The plan of a country by its two-letter code, any case. Raises ValueError naming the known plans."""
    code = name.strip().upper()
    try:
        return TONE_PLANS[_ALIASES.get(code, code)]
    except KeyError:
        raise ValueError(f"unknown tone plan {name!r}; known: {', '.join(sorted(TONE_PLANS))}") from None
