"""What the called side makes before any line spoils it, with its truth; speech has RMS 1.0 while it sounds."""

from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from telephony.cpa.corpus.speech import RATE_HZ, Samples

T = TypeVar("T")

PRE: Final = "pre"
POST: Final = "post"


@dataclass(slots=True)
class Scene:
    """
    One call and what is true about it.

    ``label`` is a class of the manifest, ``phase`` "pre" (before the answer) or "post". ``speech_end_s`` is the end of
    a person's first greeting, ``beep_s`` and ``beep_end_s`` those of a recording beep. ``detail`` says how it was
    made, for those who look for the reason of an error. ``keeps_level``: the samples are full scale already, and the
    line neither levels them nor adds noise, because there is nothing louder in them.
    """

    samples: Samples
    label: str
    phase: str
    source: str = ""
    language: str | None = None
    country: str = "US"
    speech_end_s: float | None = None
    beep_s: float | None = None
    beep_end_s: float | None = None
    keeps_level: bool = False
    detail: dict[str, object] = field(default_factory=dict)


class Canvas:
    """Audio that grows while things are laid onto it; positions in seconds."""

    def __init__(self) -> None:
        self._samples: Samples = np.zeros(0)
        self.end_s = 0.0

    def lay(self, at_s: float, samples: Samples, gain: float = 1.0) -> float:
        """Mix ``samples`` in at ``at_s``; returns where they end, and `end_s` moves there if it was earlier."""
        start = round(at_s * RATE_HZ)
        end = start + len(samples)
        if end > len(self._samples):
            self._samples = np.concatenate([self._samples, np.zeros(end - len(self._samples))])
        self._samples[start:end] += gain * samples
        self.end_s = max(self.end_s, end / RATE_HZ)
        return end / RATE_HZ

    def add(self, samples: Samples, gain: float = 1.0) -> float:
        """Mix in at the present end; returns the new end."""
        return self.lay(self.end_s, samples, gain)

    def wait(self, seconds: float) -> None:
        """Nothing happens for a while."""
        self.lay(self.end_s, np.zeros(round(seconds * RATE_HZ)))

    def result(self) -> Samples:
        return self._samples


def pick(rng: np.random.Generator, items: tuple[T, ...], weights: tuple[float, ...] | None = None) -> T:
    """One of ``items``, all alike likely unless ``weights`` are given (they need not add up to 1)."""
    if weights is None:
        return items[int(rng.integers(len(items)))]
    total = np.cumsum(weights)
    return items[int(np.searchsorted(total, rng.uniform(0, total[-1]), side="right"))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def db(level_db: float) -> float:
    """Amplitude ratio of a level difference."""
    return float(10 ** (level_db / 20))
