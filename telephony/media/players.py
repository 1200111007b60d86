"""What is played to channels: prompts, one per channel, and tones on top (keys sent as sound, consent tones)."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from telephony.media.g711 import SAMPLE_RATE_HZ, Samples

Piece = tuple[int, bool, Samples]

FRAME_SAMPLES: Final = 160
CONSENT_HZ: Final = 1400.0
"""The tone that many countries know from recorded lines (47 CFR 64.501: 1400 Hz, 0.2 s, every 15 s)."""
CONSENT_S: Final = 0.2
CONSENT_DBFS: Final = -27.0


@dataclass(slots=True)
class Prompt:
    """A prompt being played. ``repeats``: until stopped; ``mix``: added to what is heard; ``everybody``: to all."""

    name: str
    samples: Samples
    repeats: bool = False
    mix: bool = False
    everybody: bool = False
    position: int = 0

    def piece(self) -> Samples:
        """The next 20 ms."""
        at = self.position
        self.position += FRAME_SAMPLES
        if self.repeats:
            self.position %= len(self.samples)
            if at + FRAME_SAMPLES > len(self.samples):
                return np.take(self.samples, np.arange(at, at + FRAME_SAMPLES), mode="wrap")
        return self.samples[at : at + FRAME_SAMPLES]

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return not self.repeats and self.position >= len(self.samples)


@dataclass(slots=True)
class _Tone:
    samples: Samples
    alone: bool
    """In place of what would be heard."""
    note: str
    """Told when it ends; "" for nothing to tell."""
    position: int = 0


class Players:
    """Prompts and tones by row."""

    def __init__(self) -> None:
        self._prompts: dict[int, Prompt] = {}
        self._tones: dict[int, deque[_Tone]] = {}

    def start(self, row: int, prompt: Prompt) -> None:
        """Play it, in place of any prompt that plays now."""
        self._prompts[row] = prompt

    def stop(self, row: int) -> str | None:
        """Stop the prompt; its name, or None when nothing played."""
        prompt = self._prompts.pop(row, None)
        return prompt.name if prompt is not None else None

    def playing(self, row: int) -> str:
        """Name of the prompt that plays; "" for none."""
        prompt = self._prompts.get(row)
        return prompt.name if prompt is not None else ""

    def repeats(self, row: int) -> bool:
        """Whether a prompt plays that has no end."""
        prompt = self._prompts.get(row)
        return prompt is not None and prompt.repeats

    def sound(self, row: int, samples: Samples, *, alone: bool = False, note: str = "") -> None:
        """Play a tone once, after those that wait already."""
        self._tones.setdefault(row, deque()).append(_Tone(samples, alone, note))

    def silence_tones(self, row: int) -> list[str]:
        """Drop all tones of a row; the notes of those that did not end."""
        return [tone.note for tone in self._tones.pop(row, ()) if tone.note]

    def close(self, row: int) -> None:
        """The channel is gone."""
        self.stop(row)
        self.silence_tones(row)

    def prompts(self, everybody: Callable[[int], Iterable[int]]) -> tuple[list[Piece], list[tuple[int, str]]]:
        """
        The next 20 ms of all prompts: (who hears it, mixed?, up to 160 samples), and (row, name) of those that end.

        ``everybody`` gives the rows of a conversation.
        """
        pieces: list[Piece] = []
        ended: list[tuple[int, str]] = []
        for row, prompt in list(self._prompts.items()):
            piece = prompt.piece()
            pieces += [(one, prompt.mix, piece) for one in (everybody(row) if prompt.everybody else (row,))]
            if prompt.ended:
                del self._prompts[row]
                ended.append((row, prompt.name))
        return pieces, ended

    def tones(self) -> tuple[list[Piece], list[tuple[int, str]]]:
        """The next 20 ms of all tones: (row, alone?, samples), and (row, note) of those that end."""
        pieces: list[Piece] = []
        ended: list[tuple[int, str]] = []
        for row, queue in list(self._tones.items()):
            tone = queue[0]
            pieces.append((row, tone.alone, tone.samples[tone.position : tone.position + FRAME_SAMPLES]))
            tone.position += FRAME_SAMPLES
            if tone.position >= len(tone.samples):
                queue.popleft()
                if tone.note:
                    ended.append((row, tone.note))
                if not queue:
                    del self._tones[row]
        return pieces, ended


def consent_tone() -> Samples:
    """The beep that tells everybody on the line that it is recorded; soft edges against clicks."""
    t = np.arange(round(CONSENT_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    edge = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.01)
    return np.asarray(32767 * 10 ** (CONSENT_DBFS / 20) * edge * np.sin(2 * np.pi * CONSENT_HZ * t)).astype(np.int16)
