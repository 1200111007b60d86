"""Tone plans: which frequencies and cadences mean ringback, busy and reorder in a country.

Cadences of different countries contradict each other (Spain's busy is elsewhere congestion), so the plan is chosen by
trunk or by dialed country, never guessed from the audio; only what it does not know is judged by the other plans
(`foreign`). The data stand in `tone_table`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from telephony.contract import VerdictKind
from telephony.cpa.tone_table import TABLE

CED_HZ: Final = 2100.0  # answer tone of a fax or modem, ITU-T T.30, V.25: +-15 Hz
BELL_ANSWER_HZ: Final = 2225.0  # answer tone of Bell 103/212 modems
ANSWER_TONE_TOLERANCE_HZ: Final = 25.0
CNG_HZ: Final = 1100.0  # calling fax, ITU-T T.30: +-38 Hz, 0.5 s on, 3 s off
CNG_TOLERANCE_HZ: Final = 38.0
CNG_CADENCE_S: Final = (0.5, 3.0)

GENERIC_PLAN: Final = "ITU"
"""The plan where no country is known."""

Cadence = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Tone:
    """
    One call progress tone: ``kind`` when ``hz`` (one or two frequencies) sounds in ``cadence_s`` (on, off, ...).

    An empty cadence is a tone that goes on. ``modulated_hz``: the tone is modulated by this frequency, 0.0 for none.
    """

    kind: VerdictKind
    hz: tuple[float, ...]
    cadence_s: Cadence
    modulated_hz: float = 0.0


@dataclass(frozen=True, slots=True)
class TonePlan:
    """
    The tones of one country; where two share a cadence, the earlier one in ``tones`` wins (busy before reorder).

    ``calling_code`` is the E.164 country code without "+", empty for the generic plan.
    """

    name: str
    calling_code: str
    tones: tuple[Tone, ...]

    def of_kind(self, kind: VerdictKind) -> tuple[Tone, ...]:
        """All variants of one tone."""
        return tuple(tone for tone in self.tones if tone.kind is kind)

    @property
    def longest_pause_s(self) -> float:
        """Longest silence within any of the tones."""
        return max((off for tone in self.tones for off in tone.cadence_s[1::2]), default=0.0)


_KINDS: Final = {
    "r": VerdictKind.RINGBACK,
    "b": VerdictKind.BUSY,
    "c": VerdictKind.REORDER,
    "n": VerdictKind.NU_TONE,
}


def _tone(kind: VerdictKind, text: str) -> Tone:
    frequencies, _, durations = text.strip().partition(" ")
    carrier, _, modulated = frequencies.partition("*")
    hz = tuple(float(one) for one in carrier.split("+"))
    cadence = () if durations == "-" else tuple(float(one) for one in durations.split("/"))
    return Tone(kind, hz, cadence, float(modulated or 0.0))


def _plans() -> Iterator[TonePlan]:
    for codes, calling_codes, text in TABLE:
        tones = tuple(
            _tone(_KINDS[part.strip()[0]], one) for part in text.split("|") for one in part.strip()[1:].split(",")
        )
        names, numbers = codes.split(), calling_codes.split() or [""]
        for index, name in enumerate(names):
            yield TonePlan(name, numbers[index] if len(numbers) > 1 else numbers[0], tones)


TONE_PLANS: Final[Mapping[str, TonePlan]] = MappingProxyType({plan.name: plan for plan in _plans()})
_ALIASES: Final = {"GB": "UK", "USA": "US"}
_BY_CALLING_CODE: Final = {plan.calling_code: plan for plan in reversed(list(TONE_PLANS.values())) if plan.calling_code}


def tone_plan(name: str) -> TonePlan:
    """The plan of a country by its two-letter code, any case. Raises ValueError naming the known plans."""
    code = name.strip().upper()
    try:
        return TONE_PLANS[_ALIASES.get(code, code)]
    except KeyError:
        raise ValueError(f"unknown tone plan {name!r}; known: {', '.join(sorted(TONE_PLANS))}") from None


def plan_of_number(number: str) -> TonePlan:
    """
    The plan of the country that an international number (``+33...``) belongs to, the generic one when none is known.

    Only the calling code is looked at: countries that share one (+1, +7, +44) share their tones here.
    """
    digits = number.strip().lstrip("+")
    for length in (3, 2, 1):
        if (plan := _BY_CALLING_CODE.get(digits[:length])) is not None:
            return plan
    return TONE_PLANS[GENERIC_PLAN]
