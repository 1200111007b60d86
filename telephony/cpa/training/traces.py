"""What the model would have been asked while a recording played: one row of features every 100 ms of a greeting."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.contract import AnalysisSettings
from telephony.cpa.activity import Activity, Frames, Indices
from telephony.cpa.analyser import Analyser, VerdictData
from telephony.cpa.bursts import FRAME_S
from telephony.cpa.corpus.wav import read_wav

FRAME_SAMPLES: Final = 160
BATCH: Final = 200  # recordings played at once, as channels
TAIL_S: Final = 2.0  # silence after the end of a recording, so that its last pause is heard
NEVER_MS: Final = 10_000_000
LISTEN_ONLY: Final = AnalysisSettings(
    timeguard_ms=NEVER_MS,
    initial_silence_ms=NEVER_MS,
    human_silence_ms=NEVER_MS,
    sure_silence_ms=NEVER_MS,
    undecided_silence_ms=NEVER_MS,
    machine_probability=2.0,
)
"""Settings under which speech never leads to a verdict: the whole recording is heard."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One line of a manifest that is about a voice. Times in s from the beginning, None when not known."""

    path: Path
    machine: bool
    split: str
    source: str
    language: str
    speech_end_s: float | None
    beep_s: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """
    The questions of one recording in order: ``features`` (n, len(FEATURES)) float32, ``at_s`` of each, ``pause_s``
    (0.0 while somebody talks), ``end_s``: end of the latest spurt, its tail included, as heard then.
    """

    recording: Recording
    features: npt.NDArray[np.float32]
    at_s: npt.NDArray[np.float32]
    pause_s: npt.NDArray[np.float32]
    end_s: npt.NDArray[np.float32]
    ended: tuple[VerdictData, ...]


def read_manifest(folder: Path, splits: Sequence[str] | None = None) -> list[Recording]:
    """Persons and machines of a corpus folder, of the given splits (all when None)."""
    found = []
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        if item["label"] not in ("human", "machine") or item.get("phase", "post") != "post":
            continue
        if splits is not None and item.get("split") not in splits:
            continue
        found.append(
            Recording(
                folder / item["file"],
                item["label"] == "machine",
                item.get("split", ""),
                item.get("source", ""),
                item.get("language", ""),
                item.get("speech_end_s"),
                item.get("beep_s"),
            )
        )
    return found


def read_frames(path: Path) -> npt.NDArray[np.int16]:
    """(n, 160) int16 frames of a file of the corpus, with some silence after it. Raises ValueError for other files."""
    samples = read_wav(path).astype(np.int16)
    padded = np.concatenate([samples, np.zeros(round(TAIL_S * 8000), dtype=np.int16)])
    frames: npt.NDArray[np.int16] = padded[: len(padded) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    return frames


class TracingAnalyser(Analyser):
    """Keeps the questions to the model instead of asking it."""

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels, model=Unasked())
        self.asked: list[tuple[Indices, npt.NDArray[np.float32], Frames, npt.NDArray[np.float32]]] = []

    def _ask_model(self, rows: Indices, frame: Frames, activity: Activity) -> None:
        asked = self._questions(rows, frame, activity)
        if asked.any():
            features = self._voice.features(rows, frame, activity, asked)
            pause = np.where(activity.talking, 0.0, activity.quiet * FRAME_S)[asked].astype(np.float32)
            self.asked.append((rows[asked], features, frame[asked] + 1, pause))


class Unasked:
    """A model that must not be asked."""

    def probability(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        raise AssertionError("tracing asks no model")


def trace(recordings: Sequence[Recording]) -> Iterator[Trace]:
    """Play recordings of similar length together; yields their traces in the order of their lengths."""
    ordered = sorted(recordings, key=lambda r: (r.path.stat().st_size, r.path))
    for begin in range(0, len(ordered), BATCH):
        yield from _trace_batch(ordered[begin : begin + BATCH])


def _trace_batch(recordings: Sequence[Recording]) -> Iterator[Trace]:
    audio = [read_frames(recording.path) for recording in recordings]
    analyser = TracingAnalyser(len(audio))
    for channel in range(len(audio)):
        analyser.start(channel, LISTEN_ONLY, connected=True)
    verdicts: list[list[VerdictData]] = [[] for _ in audio]
    pcm = np.zeros((len(audio), FRAME_SAMPLES), dtype=np.int16)
    for i in range(max(len(frames) for frames in audio)):
        here = np.array([i < len(frames) for frames in audio])
        for sounding in np.flatnonzero(here):
            pcm[sounding] = audio[sounding][i]
        for channel, verdict in analyser.step(pcm, here, (i + 1) * FRAME_S):
            verdicts[channel].append(verdict)
    rows = np.concatenate([asked[0] for asked in analyser.asked])
    features = np.concatenate([asked[1] for asked in analyser.asked])
    frame = np.concatenate([asked[2] for asked in analyser.asked])
    pause = np.concatenate([asked[3] for asked in analyser.asked])
    for index, recording in enumerate(recordings):
        mine = rows == index
        at = frame[mine].astype(np.float32) * FRAME_S
        yield Trace(recording, features[mine], at, pause[mine], at - pause[mine], tuple(verdicts[index]))
