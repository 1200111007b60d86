"""A recording as a picture: spectrogram, level, where somebody speaks, and when which verdict was made."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.signal import spectrogram

from ocsd.cpa.results import Analysed
from ocsd.model.errors import OcsdError
from telephony.cpa.activity import SpeechTracker, level_dbfs
from telephony.cpa.bursts import FRAME_S
from telephony.cpa.spectrum import FRAME_SAMPLES, FSK, NO_TONE, ToneBank
from telephony.media.g711 import SAMPLE_RATE_HZ, Samples

WINDOW: Final = 256
HOP: Final = 64
DARKEST_DB, BRIGHTEST_DB = -105.0, -35.0
"""Range of the spectrogram: power per 31 Hz bin, relative to a full-scale sine."""

TONE_FRAMES: Final = 6
STEADY_HZ: Final = 3.0
GLIDE_HZ: Final = 15.0
COLOURS: Final = 64
"""A picture of few colours is a quarter of the size, and looks the same."""

VERDICT, BEEP, SPEECH, GREETING = "#ffffff", "#ff5d5d", "#4c9f70", "#ffd166"

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Traces:
    """``level_dbfs``: (frames of 20 ms,). ``speech``: when somebody speaks, in seconds, as the analyser hears it."""

    level_dbfs: npt.NDArray[np.float32]
    speech: tuple[Interval, ...]


def traces(samples: Samples) -> Traces:
    """Level and speech of a recording, by the analyser's own stages; the tones between are looked for beforehand."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES).astype(np.float32)
    level, in_tone = level_dbfs(frames), _in_tone(frames)
    tracker, row = SpeechTracker(1), np.zeros(1, dtype=np.intp)
    spoken: list[Interval] = []
    for i in range(len(frames)):
        frame = np.array([i], dtype=np.int32)
        stopped = tracker.step(row, frame, level[i : i + 1], in_tone[i : i + 1])[1]
        spoken += [(spurt.start * FRAME_S, spurt.end * FRAME_S) for _, spurt in stopped]
    if (start := tracker.start_of_spurt(0)) is not None:
        spoken.append((start * FRAME_S, len(frames) * FRAME_S))
    return Traces(level, tuple(spoken))


def _in_tone(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Frames that are part of a tone: pure, and steady for longer than a vowel is."""
    windows = np.concatenate([np.roll(frames, 1, axis=0), frames], axis=1)
    windows[:1, :FRAME_SAMPLES] = 0.0
    found = ToneBank().measure(windows)
    tonal = found.code != NO_TONE
    breaks = np.abs(np.diff(found.hz, prepend=found.hz[:1])) > GLIDE_HZ
    runs = np.cumsum(breaks | np.diff(tonal, prepend=tonal[:1]))
    in_tone = np.zeros(len(frames), dtype=np.bool_)
    for run in np.unique(runs[tonal]):
        (members,) = np.nonzero(runs == run)
        inner = found.hz[members[1:-1]]  # the windows at its ends are half filled
        if len(members) >= TONE_FRAMES and (inner.std() <= STEADY_HZ or found.code[members[1]] == FSK):
            in_tone[max(0, members[0] - 1) : members[-1] + 2] = True
    return in_tone


def draw(samples: Samples, analysed: Analysed, path: Path, title: str) -> None:
    """
    Write the picture of a recording (PNG).

    Raises OcsdError when matplotlib is not installed.
    """
    try:
        figures, canvases = import_module("matplotlib.figure"), import_module("matplotlib.backends.backend_agg")
    except ImportError:
        raise OcsdError("a picture needs matplotlib: pip install matplotlib") from None
    found = traces(samples)
    verdicts = [
        (float(one["at_s"]), str(one["kind"])) for one in analysed.evidence["verdicts"] if one["kind"] != "beep"
    ]
    length_s = len(samples) / SAMPLE_RATE_HZ
    shown_s = max([length_s, *(at_s + 0.3 for at_s, _ in verdicts)])
    figure = figures.Figure(figsize=(8.0, 3.2), dpi=100, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    hz, seconds, power = (
        spectrogram(
            samples.astype(np.float64) / 32768.0,
            SAMPLE_RATE_HZ,
            window="hann",
            nperseg=WINDOW,
            noverlap=WINDOW - HOP,
            scaling="spectrum",
        )
        if len(samples) >= WINDOW
        else (np.array([0.0, 4000.0]), np.array([0.0]), np.zeros((2, 1)))
    )
    above.pcolormesh(
        seconds,
        hz,
        10 * np.log10(np.maximum(power, 1e-12)),
        vmin=DARKEST_DB,
        vmax=BRIGHTEST_DB,
        cmap="magma",
        shading="nearest",
        rasterized=True,
    )
    above.set_facecolor("black")
    above.set_ylim(0, 4000)
    above.set_ylabel("Hz")
    above.set_title(title, fontsize=10)
    _mark(above, verdicts, analysed, shown_s)
    times = (np.arange(len(found.level_dbfs)) + 0.5) * FRAME_S
    below.plot(times, found.level_dbfs, color="black", linewidth=0.8)
    for start_s, end_s in found.speech:
        below.axvspan(start_s, end_s, color=SPEECH, alpha=0.4, linewidth=0)
    if shown_s > length_s:
        below.axvspan(length_s, shown_s, color="lightgrey", linewidth=0)
    for at_s, _ in verdicts:
        below.axvline(at_s, color="black", linewidth=0.8, linestyle="--")
    below.set_ylim(-82, 0)
    below.set_ylabel("dBFS")
    below.set_xlabel("s (green: speech, or the like of it)")
    below.set_xlim(0, shown_s)
    canvases.FigureCanvasAgg(figure)
    path.write_bytes(_small_png(figure))


def _mark(axes: Any, verdicts: Sequence[tuple[float, str]], analysed: Analysed, shown_s: float) -> None:
    marks = [
        (at_s, f"{kind} at {at_s:.2f} s", VERDICT, "-", 3700.0 - 420.0 * (i % 3))
        for i, (at_s, kind) in enumerate(verdicts)
    ]
    if analysed.speech_end_s is not None:
        marks.append((analysed.speech_end_s, "end of greeting", GREETING, ":", 2350.0))
    if analysed.beep_time_s is not None:
        marks.append((analysed.beep_time_s, f"beep at {analysed.beep_time_s:.2f} s", BEEP, "--", 1900.0))
    for at_s, words, colour, style, height_hz in marks:
        axes.axvline(at_s, color=colour, linewidth=1.2, linestyle=style)
        left = at_s < 0.7 * shown_s
        axes.annotate(
            words,
            (at_s, height_hz),
            xytext=(4 if left else -4, 0),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            va="center",
            ha="left" if left else "right",
            bbox={"facecolor": "black", "alpha": 0.7, "linewidth": 0, "pad": 1},
        )


def _small_png(figure: Any) -> bytes:
    image = import_module("PIL.Image")  # comes with matplotlib
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png", metadata={"Software": None})
    with image.open(whole) as opened:
        opened.convert("RGB").quantize(COLOURS).save(small, format="png", optimize=True)
    return small.getvalue()
