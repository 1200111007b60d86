"""Announcements: built-in ones, and the files of one folder. A prompt is its samples at 8 kHz.

The folder may hold folders per language (``de``, ``pt-BR``...: BCP 47). A prompt asked for in a language is looked for
in the folder of that language, then in that of its first part, then in the folder itself; a built-in one may be
replaced in a language by a file of its name (``de/drop.wav``). See `waves` for what a file may be.
"""

import re
from pathlib import Path
from typing import Final

import numpy as np

from telephony.media.g711 import SAMPLE_RATE_HZ, Samples, ulaw_to_linear
from telephony.media.prompts.music import music
from telephony.media.prompts.waves import SUFFIXES as SUFFIXES
from telephony.media.prompts.waves import PromptError as PromptError
from telephony.media.prompts.waves import samples_of
from telephony.media.prompts.waves import wave_samples as wave_samples

DROP: Final = "drop"
TONE: Final = "tone"
RINGBACK: Final = "ringback"
"""Played over and over until it is stopped."""

MUSIC: Final = "music"
"""For people on hold; play it with ``loop``."""

BUILT_IN: Final = (DROP, TONE, RINGBACK, MUSIC)
MAX_PROMPT_S: Final = 300
MAX_PROMPT_BYTES: Final = MAX_PROMPT_S * 48000 * 4 + 4096
"""Five minutes at the highest rate and width, and the header; the samples themselves are measured after reading."""

LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")

_HERE: Final = Path(__file__).parent


class PromptLibrary:
    """
    Prompts by name. Files are read once and kept; a changed file is read again.

    ``folder`` is where operators put their own announcements; None: only the built-in ones exist.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder.resolve() if folder is not None else None
        self._files: dict[Path, tuple[int, Samples]] = {}
        self._known: dict[str, Samples | PromptError] = {}
        """By name, as it was last read; of those that cannot be played only what the folder held at the start."""
        drop = ulaw_to_linear(np.frombuffer((_HERE / "drop.ulaw").read_bytes(), dtype=np.uint8))
        self._built_in = {DROP: drop, TONE: _zip_tone(), RINGBACK: _ringback(), MUSIC: music()}

    def samples(self, name: str, language: str = "") -> Samples:
        """
        int16 samples of a prompt, at least one, in ``language`` where there is such. Raises PromptError.

        A file that is there and cannot be played is an error, and never replaced by one of another language.
        """
        if language and not LANGUAGE.fullmatch(language):
            raise PromptError(f"{language!r} is no language (such as de or pt-BR)")
        for folder in _folders(language):
            for candidate in self._candidates(name, folder):
                return self._file(candidate)
        if name in self._built_in:
            return self._built_in[name]
        if self._folder is None:
            raise PromptError(f"no prompt {name!r}: built in are {', '.join(self._built_in)}, and no folder is set")
        return self._file(name)

    def at_hand(self, name: str, language: str = "") -> Samples | None:
        """As `samples`, from memory alone: what was read last, None for what was not. Raises PromptError."""
        for folder in _folders(language) if LANGUAGE.fullmatch(language) else ():
            for one in _names(name):
                if (found := self._known.get(f"{folder}/{one}")) is not None:
                    return _or_raise(found)
        if language and not LANGUAGE.fullmatch(language):
            return None
        if name in self._built_in:
            return self._built_in[name]
        known = self._known.get(name)
        return _or_raise(known) if known is not None else None

    def _candidates(self, name: str, folder: str) -> list[str]:
        """Which file of a language's folder is this prompt; none or one."""
        if self._folder is None:
            return []
        return [path for one in _names(name) if _is_there(self._folder / (path := f"{folder}/{one}"))][:1]

    def _file(self, name: str) -> Samples:
        try:
            samples = self._known[name] = self._read(name)
        except PromptError:
            self._known.pop(name, None)
            raise
        return samples

    def _read(self, name: str) -> Samples:
        assert self._folder is not None
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
                    self._file(str(path.relative_to(self._folder)))
                except PromptError as error:
                    self._known[str(path.relative_to(self._folder))] = error
                    wrong.append(str(error))
        return wrong


def _folders(language: str) -> list[str]:
    """``pt-BR`` -> ``pt-BR``, ``pt``."""
    parts = language.split("-") if language else []
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _names(name: str) -> tuple[str, ...]:
    """What the file of a prompt may be called in the folder of a language."""
    return tuple(f"{name}{suffix}" for suffix in SUFFIXES) if name in BUILT_IN else (name,)


def _or_raise(found: Samples | PromptError) -> Samples:
    if isinstance(found, PromptError):
        raise found
    return found


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # NUL in the name
        return False


def _read(path: Path, name: str) -> Samples:
    samples = samples_of(path.read_bytes(), path.suffix, name)
    if not 0 < len(samples) <= MAX_PROMPT_S * SAMPLE_RATE_HZ:
        length_s = len(samples) / SAMPLE_RATE_HZ
        raise PromptError(f"prompt {name!r} lasts {length_s:.1f} s, allowed is more than 0 and at most {MAX_PROMPT_S}")
    return samples


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
