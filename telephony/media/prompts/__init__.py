"""Announcements: built-in ones, and the files of one folder. A prompt is its samples at 8 kHz.

A file is ``.ulaw`` (raw u-law octets) or ``.wav`` (RIFF: one channel, 8000 Hz, PCM of 16 bits or ITU-T G.711 u-law).
Everything else is refused with the reason: what is resampled or guessed at run time sounds wrong to whoever is called.
"""

import struct
from pathlib import Path
from typing import Final

import numpy as np

from telephony.media.g711 import SAMPLE_RATE_HZ, Samples, ulaw_to_linear

DROP: Final = "drop"
TONE: Final = "tone"
RINGBACK: Final = "ringback"
"""Played over and over until it is stopped."""

BUILT_IN: Final = (DROP, TONE, RINGBACK)
SUFFIXES: Final = (".ulaw", ".wav")
MAX_PROMPT_S: Final = 300
MAX_PROMPT_BYTES: Final = MAX_PROMPT_S * SAMPLE_RATE_HZ * 2 + 4096
"""Five minutes of 16 bit samples, and the header; raw u-law of that length is refused by its samples."""

WAVE_PCM: Final = 0x0001
WAVE_ULAW: Final = 0x0007
WAVE_EXTENSIBLE: Final = 0xFFFE
"""Format tags of RIFF WAVE (RFC 2361); the sub-format of an extensible one begins with the same tags."""

_HERE: Final = Path(__file__).parent


class PromptError(Exception):
    """No such prompt, or one that must not be played; the text says which."""


class PromptLibrary:
    """
    Prompts by name. Files are read once and kept; a changed file is read again.

    ``folder`` is where operators put their own announcements; None: only the built-in ones exist.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder.resolve() if folder is not None else None
        self._files: dict[Path, tuple[int, Samples]] = {}
        drop = ulaw_to_linear(np.frombuffer((_HERE / "drop.ulaw").read_bytes(), dtype=np.uint8))
        self._built_in = {DROP: drop, TONE: _zip_tone(), RINGBACK: _ringback()}

    def samples(self, name: str) -> Samples:
        """int16 samples of a prompt, at least one. Raises PromptError."""
        if name in self._built_in:
            return self._built_in[name]
        if self._folder is None:
            raise PromptError(f"no prompt {name!r}: built in are {', '.join(self._built_in)}, and no folder is set")
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder):
                raise PromptError(f"prompt {name!r} is outside the prompt folder")
            path = path.resolve(strict=True)
            if path.suffix not in SUFFIXES or not path.is_file():
                raise PromptError(f"prompt {name!r} is not a {' or '.join(SUFFIXES)} file")
            status = path.stat()
            if not 0 < status.st_size <= MAX_PROMPT_BYTES:
                raise PromptError(f"prompt {name!r} has {status.st_size} bytes, allowed are 1..{MAX_PROMPT_BYTES}")
            known = self._files.get(path)
            if known is None or known[0] != status.st_mtime_ns:
                known = self._files[path] = (status.st_mtime_ns, _read(path, name))
        except (OSError, ValueError, RuntimeError) as error:  # NUL in the name, a loop of links
            raise PromptError(f"prompt {name!r} cannot be read: {error}") from error
        return known[1]

    def problems(self) -> list[str]:
        """Read the whole folder, so that the first call finds its prompt in memory; what is wrong with which file."""
        if self._folder is None:
            return []
        wrong: list[str] = []
        for path in sorted(self._folder.rglob("*")):
            if path.suffix in SUFFIXES:
                try:
                    self.samples(str(path.relative_to(self._folder)))
                except PromptError as error:
                    wrong.append(str(error))
        return wrong


def _read(path: Path, name: str) -> Samples:
    octets = path.read_bytes()
    if path.suffix == ".wav":
        samples = wave_samples(octets, name)
    else:
        samples = ulaw_to_linear(np.frombuffer(octets, dtype=np.uint8))
    if not 0 < len(samples) <= MAX_PROMPT_S * SAMPLE_RATE_HZ:
        length_s = len(samples) / SAMPLE_RATE_HZ
        raise PromptError(f"prompt {name!r} lasts {length_s:.1f} s, allowed is more than 0 and at most {MAX_PROMPT_S}")
    return samples


def wave_samples(octets: bytes, name: str) -> Samples:
    """int16 samples of a RIFF WAVE file of one channel at 8 kHz. Raises PromptError, which names what is wrong."""
    if octets[:4] != b"RIFF" or octets[8:12] != b"WAVE":
        raise PromptError(f"prompt {name!r} is no RIFF WAVE file")
    layout: tuple[int, int, int, int] | None = None
    at = 12
    while at + 8 <= len(octets):
        chunk, size = octets[at : at + 4], int.from_bytes(octets[at + 4 : at + 8], "little")
        body = octets[at + 8 : at + 8 + size]
        if chunk == b"fmt ":
            layout = _layout(body, name)
        elif chunk == b"data":
            if layout is None:
                raise PromptError(f"prompt {name!r} has its samples before their format")
            if len(body) < size:
                raise PromptError(f"prompt {name!r} is cut off: {len(body)} of {size} bytes of samples are there")
            return _decode(body, layout, name)
        at += 8 + size + size % 2  # chunks begin at even places
    raise PromptError(f"prompt {name!r} has no {'samples' if layout is not None else 'format'}")


def _layout(body: bytes, name: str) -> tuple[int, int, int, int]:
    """Format tag, channels, rate in Hz, bits per sample."""
    if len(body) < 16:
        raise PromptError(f"prompt {name!r} has a malformed format")
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == WAVE_EXTENSIBLE and len(body) >= 26:
        tag = int.from_bytes(body[24:26], "little")
    return tag, channels, rate_hz, bits


def _decode(body: bytes, layout: tuple[int, int, int, int], name: str) -> Samples:
    tag, channels, rate_hz, bits = layout
    if channels != 1 or rate_hz != SAMPLE_RATE_HZ:
        raise PromptError(
            f"prompt {name!r} has {channels} channels at {rate_hz} Hz; wanted is one channel at {SAMPLE_RATE_HZ} Hz"
        )
    if (tag, bits) == (WAVE_PCM, 16):
        return np.frombuffer(body[: len(body) // 2 * 2], dtype="<i2").astype(np.int16)
    if (tag, bits) == (WAVE_ULAW, 8):
        return ulaw_to_linear(np.frombuffer(body, dtype=np.uint8))
    raise PromptError(
        f"prompt {name!r} has samples of format {tag:#06x} with {bits} bits; wanted is PCM ({WAVE_PCM:#06x}) with 16 "
        f"bits, or u-law ({WAVE_ULAW:#06x}) with 8"
    )


def _zip_tone() -> Samples:
    """The short tone an agent hears before a call is connected: 440 Hz, 250 ms, with soft edges against clicks."""
    t = np.arange(SAMPLE_RATE_HZ // 4) / SAMPLE_RATE_HZ
    edge = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.01)
    return np.asarray(5000 * edge * np.sin(2 * np.pi * 440.0 * t)).astype(np.int16)


def _ringback() -> Samples:
    """One period of North American audible ringing: 440 + 480 Hz at -19 dBm0 each, 2 s on, 4 s off (ITU-T E.180)."""
    t = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = 2500 * (np.sin(2 * np.pi * 440.0 * t) + np.sin(2 * np.pi * 480.0 * t))
    return np.concatenate([tone, np.zeros(4 * SAMPLE_RATE_HZ)]).astype(np.int16)
