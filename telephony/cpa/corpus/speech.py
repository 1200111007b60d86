"""Utterances at 8 kHz: synthesised by espeak-ng or flite, and kept for the next file that needs them."""

import functools
import io
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import signal

RATE_HZ: Final = 8000
FRAME: Final = 80  # samples of 10 ms: resolution of where an utterance begins and ends
BELOW_PEAK_DB: Final = 36.0  # quieter than this under its own loudest 10 ms, an utterance has not begun or has ended

Samples = npt.NDArray[np.float64]


class ToolMissing(Exception):
    """A program that the corpus is made with is not installed."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker: ``engine`` espeak-ng or flite and its name there; language "*" is any."""

    engine: str
    name: str
    language: str = "*"

    @property
    def source(self) -> str:
        return f"{self.engine}:{self.name}"


def _espeak(names: str) -> tuple[Voice, ...]:
    return tuple(Voice("espeak-ng", name) for name in names.split())


# A variant of espeak-ng is the speaker (formants, pitch, breath); the language only says what is pronounced how.
# Whispering, croaking and robotic variants are left out: no line carries them.
TRAIN_VOICES: Final = (
    *_espeak("m1 m3 m5 m7 f2 f4 Alex Andy Annie adam anika antonio belinda benjamin boris Diogo ed Gene"),
    *_espeak("gustave Jacky Henrique marcelo Marco Mike norbert pedro robert sandro steph klatt2 grandma"),
    Voice("flite", "slt", "en"),
    Voice("flite", "kal16", "en"),
)
TEST_VOICES: Final = (
    *_espeak("m2 m4 m6 m8 f1 f3 f5 Alicia Andrea aunty caleb david Denis edward2 Hugo iven2 john Lee linda"),
    *_espeak("Mario max Michael michel miguel pablo paul quincy rob shelby steph2 travis victor klatt3 grandpa"),
    Voice("flite", "awb", "en"),
    Voice("flite", "rms", "en"),
)
TRAIN_LANGUAGES: Final = ("en-us", "en-us", "en-us", "en-gb", "es", "fr-fr", "de", "pt-br", "nl", "ru")
TEST_LANGUAGES: Final = (
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "es-419",
    "fr-fr",
    "de",
    "it",
    "pl",
    "sv",
    "tr",
    "cmn-latn-pinyin",
)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a voice speaks now: words a minute, espeak-ng's pitch (0..99), and ``stretch``, a resampling of the whole.

    ``stretch`` above 1 makes the speaker larger, slower and lower; a child is about 0.78.
    """

    speed_wpm: int = 165
    pitch: int = 50
    stretch: float = 1.0


def draw_manner(rng: np.random.Generator, *, slow: bool = False) -> Manner:
    speed = rng.uniform(115, 165) if slow else rng.uniform(130, 215)
    return Manner(round(speed), round(rng.uniform(25, 75)), float(rng.uniform(0.9, 1.12)))


def check_tools() -> dict[str, str]:
    """Versions of the programs needed. Raises ToolMissing naming the Debian package of one that is not there."""
    versions: dict[str, str] = {}
    for program, option, package in (
        ("espeak-ng", "--version", "espeak-ng"),
        ("flite", "--version", "flite"),
        ("sox", "--version", "sox"),
    ):
        if shutil.which(program) is None:
            raise ToolMissing(f"{program} is not installed; on Debian: apt-get install {package}")
        done = subprocess.run([program, option], check=False, capture_output=True, text=True)
        lines = [line.strip() for line in (done.stdout or done.stderr).splitlines() if line.strip()]
        versions[program] = lines[-1].split("Data at")[0].strip() if lines else ""
    return versions


@functools.lru_cache(maxsize=4096)
def _say(voice: Voice, language: str, text: str, manner: Manner) -> Samples:
    if voice.engine == "espeak-ng":
        options = ["-s", str(manner.speed_wpm), "-p", str(manner.pitch)]
        command = ["espeak-ng", "-v", f"{language}+{voice.name}", *options, "--stdout", text]
        raw = subprocess.run(command, check=True, capture_output=True).stdout
    elif voice.engine == "flite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            slower = f"duration_stretch={165 / manner.speed_wpm:.3f}"
            command = ["flite", "-voice", voice.name, "--setf", slower, "-t", text, "-o", str(path)]
            subprocess.run(command, check=True, capture_output=True)
            raw = path.read_bytes()
    else:
        raise ValueError(f"unknown speech engine {voice.engine!r}")
    samples, rate_hz = read_pcm16(raw)
    if manner.stretch != 1.0:
        samples = np.interp(np.arange(0, len(samples) - 1, 1 / manner.stretch), np.arange(len(samples)), samples)
    said = trim(to_telephone_rate(samples, rate_hz))
    said.setflags(write=False)  # it is shared by all who ask for the same words
    return said


def say(voice: Voice, language: str, text: str, manner: Manner) -> Samples:
    """``text`` as float64 samples at 8 kHz, RMS 1.0 while it sounds, without silence at either end; read only."""
    return _say(voice, language, text, manner)


def read_pcm16(raw: bytes) -> tuple[Samples, int]:
    """Samples in [-1, 1) and rate in Hz of a mono 16 bit WAV file; the length in its header may be a lie."""
    with wave.open(io.BytesIO(raw)) as clip:
        if clip.getnchannels() != 1 or clip.getsampwidth() != 2:
            raise ValueError(f"expected mono of 16 bits, got {clip.getnchannels()} x {8 * clip.getsampwidth()}")
        rate_hz = clip.getframerate()
        data = clip.readframes(10 * 60 * rate_hz)
    return np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2").astype(np.float64) / 32768.0, rate_hz


def to_telephone_rate(samples: Samples, rate_hz: int) -> Samples:
    """Resample to 8 kHz with the anti-aliasing filter of `scipy.signal.resample_poly`."""
    if rate_hz == RATE_HZ:
        return samples
    common = np.gcd(rate_hz, RATE_HZ)
    out: Samples = signal.resample_poly(samples, RATE_HZ // common, rate_hz // common)
    return out


def active(samples: Samples, below_peak_db: float = BELOW_PEAK_DB) -> npt.NDArray[np.bool_]:
    """Which 10 ms frames are within ``below_peak_db`` of the loudest one; the rest of a last frame is dropped."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.mean(np.square(frames), axis=1) if len(frames) else np.zeros(0)
    loudest = float(power.max(initial=0.0))
    mask: npt.NDArray[np.bool_] = power > max(loudest * 10 ** (-below_peak_db / 10), 1e-12)
    return mask


def trim(samples: Samples) -> Samples:
    """Cut silence from both ends, fade 5 ms, and bring what sounds to RMS 1.0. Raises ValueError if nothing does."""
    samples = samples - samples.mean()
    mask = active(samples)
    where = np.flatnonzero(mask)
    if not len(where):
        raise ValueError("the utterance is silent")
    cut = samples[where[0] * FRAME : (where[-1] + 1) * FRAME].copy()
    frames = cut.reshape(-1, FRAME)[mask[where[0] : where[-1] + 1]]
    cut /= np.sqrt(np.mean(np.square(frames)))
    edge = np.linspace(0, 1, 40)
    cut[:40] *= edge
    cut[-40:] *= edge[::-1]
    return cut
