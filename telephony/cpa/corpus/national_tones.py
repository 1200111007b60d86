"""Call progress tones of forty countries, as the exchanges there send them: the corpus' own table.

It is not the one that the analyser listens with, on purpose: two tables that agree are worth more than one used twice.

Sources: ITU-T E.180 supplement 2 (tones used in national networks), Telcordia GR-506 for North America, BT SIN 350,
Telecom New Zealand PTC 100, AS/CA S002 for Australia, IDA TS PSTN for Singapore; checked against the zone tables of
public exchange software. Where a country sends the same tone for busy and for congestion, there is no reorder here:
nobody could tell.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from telephony.cpa.corpus.scene import db
from telephony.cpa.corpus.speech import RATE_HZ, Samples

HZ_TOLERANCE: Final = 0.012
CADENCE_TOLERANCE: Final = 0.08
"""E.180 asks for +-10 % of the cadence and, by country, for +-1 to 5 % of the frequency."""


@dataclass(frozen=True, slots=True)
class NationalTone:
    """``hz`` sound together; ``am_hz`` modulates them; ``cadence_s`` on and off in turn, empty: for ever."""

    hz: tuple[float, ...]
    cadence_s: tuple[float, ...]
    am_hz: float = 0.0


@dataclass(frozen=True, slots=True)
class National:
    """The tones of one country; None where it has no such tone or one that nobody can tell from another."""

    ringback: NationalTone
    busy: NationalTone
    reorder: NationalTone | None = None
    nu: NationalTone | None = None


def _national(
    hz: float | tuple[float, ...],
    ringback_s: tuple[float, ...],
    busy_s: float,
    reorder_s: float | tuple[float, ...] | None,
    *,
    ringback_hz: tuple[float, ...] | None = None,
    ringback_am_hz: float = 0.0,
    nu: tuple[float, ...] | None = None,
) -> National:
    """A country whose busy tone is on and off for ``busy_s`` each, and its congestion tone likewise."""
    tones = hz if isinstance(hz, tuple) else (hz,)
    reorder = None
    if reorder_s is not None:
        reorder = NationalTone(tones, reorder_s if isinstance(reorder_s, tuple) else (reorder_s, reorder_s))
    return National(
        NationalTone(ringback_hz or tones, ringback_s, ringback_am_hz),
        NationalTone(tones, (busy_s, busy_s)),
        reorder,
        None if nu is None else NationalTone(tones, nu),
    )


_BUSY_HZ: Final = (480.0, 620.0)
_RING_HZ: Final = (440.0, 480.0)
_DOUBLE_S: Final = (0.4, 0.2, 0.4, 2.0)
_BRITISH_HZ: Final = (400.0, 450.0)

NATIONAL_TONES: Final = MappingProxyType(
    {
        "US": _national(_BUSY_HZ, (2.0, 4.0), 0.5, 0.25, ringback_hz=_RING_HZ),
        "CA": _national(_BUSY_HZ, (2.0, 4.0), 0.5, 0.25, ringback_hz=_RING_HZ),
        "TW": _national(_BUSY_HZ, (1.0, 2.0), 0.5, 0.25, ringback_hz=_RING_HZ),
        "PH": _national(_BUSY_HZ, (1.0, 4.0), 0.5, 0.25, ringback_hz=(425.0, 480.0)),
        "UK": _national(400.0, _DOUBLE_S, 0.375, (0.4, 0.35, 0.225, 0.525), ringback_hz=_BRITISH_HZ, nu=()),
        "NZ": _national(
            400.0, _DOUBLE_S, 0.5, 0.25, ringback_hz=_BRITISH_HZ, nu=(0.075, 0.1, 0.075, 0.1, 0.075, 0.1, 0.075, 0.4)
        ),
        "AU": _national(425.0, _DOUBLE_S, 0.375, None, ringback_hz=_BRITISH_HZ, nu=(2.5, 0.5)),
        "SG": _national(425.0, _DOUBLE_S, 0.75, 0.25, ringback_am_hz=24.0, nu=(2.5, 0.5)),
        "IN": _national(400.0, _DOUBLE_S, 0.75, 0.25, ringback_am_hz=25.0),
        "ZA": _national(400.0, _DOUBLE_S, 0.5, 0.25, ringback_am_hz=33.0),
        "MY": _national(425.0, _DOUBLE_S, 0.5, None),
        "JP": _national(400.0, (1.0, 2.0), 0.5, None, ringback_am_hz=16.0),
        "CN": _national(450.0, (1.0, 4.0), 0.35, 0.7),
        "TH": _national(400.0, (1.0, 4.0), 0.5, 0.3),
        "ID": _national(425.0, (1.0, 4.0), 0.5, 0.25),
        "IL": _national(414.0, (1.0, 3.0), 0.5, 0.25),
        "TR": _national(450.0, (2.0, 4.0), 0.5, (0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.6, 0.2)),
        "DE": _national(425.0, (1.0, 4.0), 0.48, 0.24),
        "AT": _national(420.0, (1.0, 5.0), 0.4, 0.2),
        "CH": _national(425.0, (1.0, 4.0), 0.5, 0.2),
        "FR": _national(440.0, (1.5, 3.5), 0.5, 0.25),
        "BE": _national(425.0, (1.0, 3.0), 0.5, 0.167),
        "NL": _national(425.0, (1.0, 4.0), 0.5, 0.25),
        "ES": _national(425.0, (1.5, 3.0), 0.2, (0.2, 0.2, 0.2, 0.2, 0.2, 0.6)),
        "PT": _national(425.0, (1.0, 5.0), 0.5, 0.2),
        "IT": _national(425.0, (1.0, 4.0), 0.5, 0.2),
        "DK": _national(425.0, (1.0, 4.0), 0.5, 0.2),
        "NO": _national(425.0, (1.0, 4.0), 0.5, 0.2),
        "SE": _national(425.0, (1.0, 5.0), 0.25, (0.25, 0.75)),
        "FI": _national(425.0, (1.0, 4.0), 0.3, 0.2),
        "EE": _national(425.0, (1.0, 4.0), 0.3, 0.2),
        "LT": _national(425.0, (1.0, 4.0), 0.35, 0.2),
        "PL": _national(425.0, (1.0, 4.0), 0.5, None),
        "CZ": _national(425.0, (1.0, 4.0), 0.33, 0.165),
        "HU": _national(425.0, (1.25, 3.75), 0.3, None),
        "BG": _national(425.0, (1.0, 4.0), 0.5, 0.25),
        "GR": _national(425.0, (1.0, 4.0), 0.3, 0.2),
        "RU": _national(425.0, (1.0, 4.0), 0.35, 0.175),
        "BR": _national(425.0, (1.0, 4.0), 0.25, (0.25, 0.25, 0.75, 0.25)),
        "MX": _national(425.0, (1.0, 4.0), 0.25, None),
        "CL": _national(400.0, (1.0, 3.0), 0.5, 0.2),
        "VE": _national(425.0, (1.0, 4.0), 0.5, 0.25),
    }
)


def faded(wave: Samples, ramp_s: float = 0.004) -> Samples:
    """The same with ramps at both ends."""
    out = wave.copy()
    n = min(max(round(ramp_s * RATE_HZ), 1), max(len(out) // 2, 1))
    edge = np.linspace(0, 1, n)
    out[:n] *= edge
    out[len(out) - n :] *= edge[::-1]
    return out


def drawn_tone(rng: np.random.Generator, tone: NationalTone, seconds: float) -> Samples:
    """
    ``seconds`` of a tone as one exchange sends it, entered at any point of its cycle; RMS 1.0 while it is on.

    Frequency, cadence and the balance of two frequencies are off within the tolerances, the same way all along.
    """
    hz = [one * (1 + rng.uniform(-HZ_TOLERANCE, HZ_TOLERANCE)) for one in tone.hz]
    gains = [1.0, db(rng.uniform(-4, 4))][: len(hz)]
    n = round(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    wave = np.zeros(n)
    for one, gain in zip(hz, gains, strict=True):
        wave += gain * np.sin(2 * np.pi * one * t + rng.uniform(0, 6))
    if tone.am_hz:
        wave *= 1 + 0.9 * np.sin(2 * np.pi * tone.am_hz * t)
    wave /= np.sqrt(np.mean(np.square(wave)))
    if not tone.cadence_s:
        return wave
    scale = 1 + rng.uniform(-CADENCE_TOLERANCE, CADENCE_TOLERANCE)
    cadence = [one * scale * (1 + rng.uniform(-0.02, 0.02)) for one in tone.cadence_s]
    ramp_s = float(rng.uniform(0.001, 0.01))
    out = np.zeros(n)
    at_s, i = -float(rng.uniform(0, sum(cadence))), 0
    while at_s < seconds:
        duration = cadence[i % len(cadence)]
        start, end = max(round(at_s * RATE_HZ), 0), min(round((at_s + duration) * RATE_HZ), n)
        if i % 2 == 0 and end - start > 40:
            out[start:end] = faded(wave[start:end], ramp_s)
        at_s += duration
        i += 1
    return out
