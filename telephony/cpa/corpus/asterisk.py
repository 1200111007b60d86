"""Asterisk's answering machine rule, from the documentation of its dialplan application AMD, as a baseline.

It looks at 20 ms frames, calls a frame silent when the mean of its absolute samples stays under a threshold, counts
words (voice of a minimum length, set apart by a minimum silence), and knows two answers and "not sure":

* machine: silence for longer than ``initial_silence_ms`` before any word; voice of more than ``greeting_ms``
  altogether; one word longer than ``maximum_word_ms``; more than ``maximum_words`` words;
* human: ``after_greeting_silence_ms`` of silence after a greeting;
* not sure: nothing of that within ``total_ms``.

The defaults are those of Asterisk's sample ``amd.conf``. Where documentation leaves room ("if exceeded") the words
are taken literally.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from telephony.cpa.corpus.speech import RATE_HZ, Samples
from telephony.cpa.corpus.wav import read_wav

FRAME_MS: Final = 20
HUMAN: Final = "human"
MACHINE: Final = "machine"
NOT_SURE: Final = "unknown"


@dataclass(frozen=True, slots=True)
class AsteriskSettings:
    """Parameters of AMD; silence threshold on the int16 scale, times in ms."""

    initial_silence_ms: int = 2500
    greeting_ms: int = 1500
    after_greeting_silence_ms: int = 800
    total_ms: int = 5000
    minimum_word_ms: int = 100
    between_words_ms: int = 50
    maximum_words: int = 2
    maximum_word_ms: int = 5000
    silence_threshold: float = 256.0


SAMPLE_SETTINGS: Final = AsteriskSettings()


@dataclass(frozen=True, slots=True)
class AsteriskVerdict:
    """``result`` is "human", "machine" or "unknown"; ``cause`` is the documentation's AMDCAUSE; time from the start."""

    result: str
    cause: str
    decision_time_s: float


def decide(samples: Samples, settings: AsteriskSettings = SAMPLE_SETTINGS) -> AsteriskVerdict:
    """
    The rule's verdict on ``samples`` (int16 scale, 8 kHz).

    A recording that ends before the rule has decided goes on in silence, as a line does on which nobody speaks.
    """
    frame = RATE_HZ * FRAME_MS // 1000
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    loud = np.zeros(settings.total_ms // FRAME_MS, dtype=bool)
    heard = min(len(loud), len(frames))
    loud[:heard] = np.mean(np.abs(frames[:heard]), axis=1) >= settings.silence_threshold
    silence_ms = voice_ms = run_ms = words = 0
    in_word = greeted = False
    for i, voiced in enumerate(loud):
        now_s = (i + 1) * FRAME_MS / 1000
        if not voiced:
            silence_ms += FRAME_MS
            if silence_ms >= settings.between_words_ms:
                in_word, run_ms = False, 0
            if not greeted and silence_ms > settings.initial_silence_ms:
                return AsteriskVerdict(MACHINE, "INITIALSILENCE", now_s)
            if greeted and silence_ms >= settings.after_greeting_silence_ms:
                return AsteriskVerdict(HUMAN, "HUMAN", now_s)
            continue
        run_ms += FRAME_MS
        voice_ms += FRAME_MS
        if run_ms >= settings.minimum_word_ms:  # a click is no word, and does not end the initial silence
            greeted = True
            if not in_word:
                in_word = True
                words += 1
        if greeted:
            silence_ms = 0
        if run_ms > settings.maximum_word_ms:
            return AsteriskVerdict(MACHINE, "MAXWORDLENGTH", now_s)
        if words > settings.maximum_words:
            return AsteriskVerdict(MACHINE, "MAXWORDS", now_s)
        if greeted and voice_ms > settings.greeting_ms:
            return AsteriskVerdict(MACHINE, "LONGGREETING", now_s)
    return AsteriskVerdict(NOT_SURE, "TOOLONG", settings.total_ms / 1000)


def decide_file(path: Path, settings: AsteriskSettings = SAMPLE_SETTINGS) -> AsteriskVerdict:
    """The same for a WAV file of the corpus (8 kHz mono, u-law or 16 bit). Raises ValueError for other files."""
    return decide(read_wav(path), settings)


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """What the rule said of the files of one class in one part of a corpus."""

    split: str
    label: str
    files: int
    human: int
    machine: int
    not_sure: int


def judge(folder: Path, settings: AsteriskSettings = SAMPLE_SETTINGS) -> list[BaselineRow]:
    """The rule on all persons and machines of a corpus. Raises ValueError when ``folder`` has no manifest."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise ValueError(f"{manifest} is not there")
    results: dict[tuple[str, str], Counter[str]] = {}
    for line in manifest.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["label"] in (HUMAN, MACHINE):
            verdict = decide_file(folder / entry["file"], settings)
            results.setdefault((entry.get("split") or "-", entry["label"]), Counter())[verdict.result] += 1
    return [
        BaselineRow(split, label, counts.total(), counts[HUMAN], counts[MACHINE], counts[NOT_SURE])
        for (split, label), counts in sorted(results.items())
    ]
