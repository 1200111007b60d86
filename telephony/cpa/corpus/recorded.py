"""Recorded voices of people: Debian packages of telephone prompts, fetched only when asked for, and one's own.

Four persons speak the prompts: one belongs to a part of the corpus as a whole, whatever the languages. Single words and
short phrases stand for persons who answer ("hello", a name, a number, two words with a pause), sentences for
mailboxes and menus. It is studio sound; the line spoils it like any other.
"""

import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from telephony.cpa.corpus.plan import REAL, TRAIN
from telephony.cpa.corpus.scene import chance, pick
from telephony.cpa.corpus.speech import RATE_HZ, Samples, ToolMissing, trim
from telephony.cpa.wavfile import WavError, read_wav

SHORT_S: Final = (0.3, 1.4)
LONG_S: Final = (2.0, 9.0)
EMPTY_BYTES: Final = 60  # the header of a WAV file and hardly more
NOT_SPEECH: Final = ("beep", "tone", "silence", "monkeys", "confbridge-join", "confbridge-leave", "echotest")
MAILBOX_WORDS: Final = ("vm-nobodyavail", "vm-intro", "vm-leavemsg", "vm-mailboxfull", "vm-isunavail", "vm-isonphone")


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package of prompts, the folder of its voice, and who that is."""

    name: str
    folder: str
    speaker: str
    language: str
    split: str
    licence: str


# Allison Smith recorded English and Spanish: both are left out of training, or it would know her.
PACKAGES: Final = (
    Package("asterisk-core-sounds-fr-wav", "fr_CA_f_June", "June Wallack", "fr", TRAIN, "CC-BY-SA-3.0"),
    Package("asterisk-core-sounds-ru-wav", "ru_RU_f_IvrvoiceRU", "ivrvoice.ru (Maxim Topal)", "ru", TRAIN, "CC-BY-3.0"),
    Package("asterisk-core-sounds-en-wav", "en_US_f_Allison", "Allison Smith", "en", REAL, "CC-BY-SA-3.0"),
    Package("asterisk-core-sounds-es-wav", "es_MX_f_Allison", "Allison Smith", "es", REAL, "CC-BY-SA-3.0"),
    Package("asterisk-core-sounds-it-wav", "it_IT_m_Carlo", "Carlo Flora", "it", REAL, "CC-BY-3.0"),
)


def fetch(folder: Path) -> dict[str, str]:
    """
    Download the packages with ``apt-get download`` into ``folder`` and unpack them there; nothing is installed.

    Packages that are there already are not fetched again. Returns their versions. Raises ToolMissing with what apt
    said when a package cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    versions = {}
    for package in PACKAGES:
        archive = _archive(folder, package)
        if archive is None:
            _run(["apt-get", "download", package.name], folder)
            archive = _archive(folder, package)
        if archive is None:
            raise ToolMissing(f"apt-get left no {package.name}_*.deb in {folder}")
        if not _sounds(folder, package).is_dir():
            _run(["dpkg-deb", "-x", archive.name, "unpacked"], folder)
        versions[package.name] = archive.name.split("_")[1]
    return versions


def _archive(folder: Path, package: Package) -> Path | None:
    return next(iter(sorted(folder.glob(f"{package.name}_*.deb"))), None)


def _sounds(folder: Path, package: Package) -> Path:
    return folder / "unpacked" / "usr" / "share" / "asterisk" / "sounds" / package.folder


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise ToolMissing(f"{command[0]} is not here: recorded voices come out of Debian packages") from None
    except subprocess.CalledProcessError as error:
        raise ToolMissing(f"{' '.join(command)} failed: {error.stderr.strip()}") from error


@dataclass(frozen=True)
class Speaker:
    """One person's recordings in ``folder``: utterances by length, each trimmed and of RMS 1.0."""

    name: str
    language: str
    split: str
    folder: Path

    @property
    def source(self) -> str:
        return f"recorded:{self.name}"

    @cached_property
    def _lengths_s(self) -> dict[str, float]:
        """Length of each recording by its name; recordings without a sample, of which packages have some, are none."""
        lengths_s = {}
        for path in sorted(self.folder.rglob("*.wav")):
            name = str(path.relative_to(self.folder).with_suffix(""))
            if path.stat().st_size <= EMPTY_BYTES or any(word in name for word in NOT_SPEECH):
                continue
            try:
                lengths_s[name] = read_wav(path).length_s
            except WavError as error:
                raise ValueError(f"{path}: {error}") from error
        return lengths_s

    @cached_property
    def short(self) -> tuple[str, ...]:
        return tuple(name for name, s in self._lengths_s.items() if SHORT_S[0] <= s <= SHORT_S[1])

    @cached_property
    def long(self) -> tuple[str, ...]:
        return tuple(name for name, s in self._lengths_s.items() if LONG_S[0] <= s <= LONG_S[1])

    @cached_property
    def mailbox(self) -> tuple[str, ...]:
        return tuple(name for name in MAILBOX_WORDS if name in self._lengths_s)

    def utterance(self, name: str) -> Samples:
        path = self.folder / f"{name}.wav"
        try:
            return trim(read_wav(path).samples.astype(np.float64))
        except ValueError as error:  # nothing sounds in it
            raise ValueError(f"{path}: {error}") from error

    def words(self, rng: np.random.Generator) -> tuple[list[Samples], str]:
        """What a person says first: one to three short utterances with pauses between them; and their names."""
        count = int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
        names = ["hello"] if "hello" in self.short and chance(rng, 0.2) else []
        names += [pick(rng, self.short) for _ in range(count - len(names))]
        parts: list[Samples] = []
        for name in names:
            if parts:
                parts.append(np.zeros(round(rng.uniform(0.05, 0.6) * RATE_HZ)))
            parts.append(self.utterance(name))
        return parts, " | ".join(names)

    def sentences(self, rng: np.random.Generator) -> tuple[list[Samples], str]:
        """What a mailbox or a menu says: the person, an extension, that nobody is there; or any long prompts."""
        if chance(rng, 0.5) and self.mailbox:
            digits = [f"digits/{rng.integers(10)}" for _ in range(int(rng.integers(2, 5)))]
            first = ["vm-theperson", *digits, pick(rng, ("vm-isunavail", "vm-isonphone"))] if chance(rng, 0.5) else []
            names = [*first, pick(rng, self.mailbox[:3])]
        else:
            names = [pick(rng, self.long) for _ in range(int(rng.integers(1, 4)))]
        parts: list[Samples] = []
        for name in names:
            if name not in self._lengths_s:
                continue
            if parts:
                parts.append(np.zeros(round(rng.uniform(0.02, 0.5) * RATE_HZ)))
            parts.append(self.utterance(name))
        return parts, " | ".join(names)


def speakers(folder: Path) -> tuple[Speaker, ...]:
    """One speaker for each package that `fetch` unpacked in ``folder``."""
    return tuple(
        Speaker(package.name, package.language, package.split, _sounds(folder, package)) for package in PACKAGES
    )


def own_speakers(folder: Path) -> tuple[Speaker, ...]:
    """
    One speaker for each sub-folder of ``folder``, all in the part "real"; ``<name>.<language>`` is how it is called.

    WAV files anywhere below are their utterances, of any rate that `telephony.cpa.wavfile` reads. Raises ValueError
    for a speaker without words of `SHORT_S` or sentences of `LONG_S`, and for a file that is no WAV.
    """
    found = []
    for path in sorted(one for one in folder.iterdir() if one.is_dir()):
        name, _, language = path.name.partition(".")
        speaker = Speaker(name, language or "en", REAL, path)
        if not speaker.short or not speaker.long:
            raise ValueError(
                f"{path}: needs utterances of {SHORT_S[0]} to {SHORT_S[1]} s for persons and of {LONG_S[0]} to"
                f" {LONG_S[1]} s for machines, has {len(speaker.short)} and {len(speaker.long)}"
            )
        found.append(speaker)
    if not found:
        raise ValueError(f"{folder}: no sub-folder, so no speaker")
    return tuple(found)
