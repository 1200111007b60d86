"""Announcements: built-in ones, and u-law files of one folder. A prompt is its samples at 8 kHz."""

from pathlib import Path
from typing import Final

import numpy as np

from telephony.media.g711 import SAMPLE_RATE_HZ, Samples, ulaw_to_linear

DROP: Final = "drop"
TONE: Final = "tone"
MAX_PROMPT_BYTES: Final = 5 * 60 * SAMPLE_RATE_HZ
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
        self._built_in = {DROP: _read(_HERE / "drop.ulaw"), TONE: _zip_tone()}

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
            if path.suffix != ".ulaw" or not path.is_file():
                raise PromptError(f"prompt {name!r} is not a .ulaw file")
            status = path.stat()
            if not 0 < status.st_size <= MAX_PROMPT_BYTES:
                raise PromptError(f"prompt {name!r} has {status.st_size} bytes, allowed are 1..{MAX_PROMPT_BYTES}")
            known = self._files.get(path)
            if known is None or known[0] != status.st_mtime_ns:
                known = self._files[path] = (status.st_mtime_ns, _read(path))
        except (OSError, ValueError, RuntimeError) as error:  # NUL in the name, a loop of links
            raise PromptError(f"prompt {name!r} cannot be read: {error}") from error
        return known[1]


def _read(path: Path) -> Samples:
    return ulaw_to_linear(np.frombuffer(path.read_bytes(), dtype=np.uint8))


def _zip_tone() -> Samples:
    """The short tone an agent hears before a call is connected: 440 Hz, 250 ms, with soft edges against clicks."""
    t = np.arange(SAMPLE_RATE_HZ // 4) / SAMPLE_RATE_HZ
    edge = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.01)
    return np.asarray(5000 * edge * np.sin(2 * np.pi * 440.0 * t)).astype(np.int16)
