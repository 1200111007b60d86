"""Synthetic telephone audio for tests and benches: tones, cadences, SIT, clips, noise, packet loss."""

from pathlib import Path

import numpy as np

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa import Analyser
from telephony.media.g711 import linear_to_ulaw, ulaw_to_linear

RATE = 8000
AUDIO = Path(__file__).parent / "audio"
HUMAN_CLIPS = sorted(p.stem for p in AUDIO.glob("human_*.ulaw"))
MACHINE_CLIPS = sorted(p.stem for p in AUDIO.glob("machine_*.ulaw"))
SIT_SEGMENTS = {  # kind: ((Hz, ms), ...), Telcordia SR-2275
    "ic": (VerdictKind.SIT_INTERCEPT, ((913.8, 380), (1370.6, 276), (1776.7, 380))),
    "vc": (VerdictKind.SIT_VACANT, ((985.2, 380), (1370.6, 276), (1776.7, 380))),
    "ro_intra": (VerdictKind.SIT_REORDER, ((913.8, 276), (1428.5, 380), (1776.7, 380))),
    "ro_inter": (VerdictKind.SIT_REORDER, ((985.2, 276), (1370.6, 380), (1776.7, 380))),
    "nc_intra": (VerdictKind.SIT_NO_CIRCUIT, ((985.2, 380), (1428.5, 380), (1776.7, 380))),
    "nc_inter": (VerdictKind.SIT_NO_CIRCUIT, ((913.8, 380), (1370.6, 380), (1776.7, 380))),
    "io": (VerdictKind.SIT_INEFFECTIVE, ((913.8, 380), (1428.5, 276), (1776.7, 380))),
    "itu": (VerdictKind.SIT_UNKNOWN, ((950.0, 330), (1400.0, 330), (1800.0, 330))),
}


def clip(name: str) -> np.ndarray:
    """float64 samples of one of the speech clips."""
    return ulaw_to_linear(np.fromfile(AUDIO / f"{name}.ulaw", dtype=np.uint8)).astype(float)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))


def tone(seconds: float, *hz: float, dbfs: float = -20.0) -> np.ndarray:
    """Sum of sines; ``dbfs`` is the RMS level of the sum."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * f * t) for f in hz)
    return wave * 32768 * 10 ** (dbfs / 20) / np.sqrt(len(hz) / 2)


def cadence(
    hz: tuple[float, ...],
    on_off_s: tuple[float, ...],
    seconds: float,
    dbfs: float = -20.0,
    modulated_hz: float = 0.0,
) -> np.ndarray:
    """A tone in its cadence; without one it goes on. ``modulated_hz``: modulated by so much, to a depth of 90 %."""
    if not on_off_s:
        return tone(seconds, *hz, dbfs=dbfs)
    parts, total, i = [], 0.0, 0
    while total < seconds:
        duration = on_off_s[i % len(on_off_s)]
        parts.append(tone(duration, *hz, dbfs=dbfs) if i % 2 == 0 else silence(duration))
        total += duration
        i += 1
    whole = np.concatenate(parts)[: round(seconds * RATE)]
    if modulated_hz:
        whole *= 1 + 0.9 * np.sin(2 * np.pi * modulated_hz * np.arange(len(whole)) / RATE)
    return whole


def sit(segments: tuple[tuple[float, int], ...], gap_s: float = 0.0, cut_s: float = 0.0) -> np.ndarray:
    whole = np.concatenate([np.concatenate([tone(ms / 1000, hz), silence(gap_s)]) for hz, ms in segments])
    return whole[round(cut_s * RATE) :]


def v21_flags(seconds: float) -> np.ndarray:
    """HDLC flags by V.21 channel 2: 1 is 1650 Hz, 0 is 1850 Hz, 300 bd."""
    bits = np.tile([0, 1, 1, 1, 1, 1, 1, 0], int(seconds * 300 / 8) + 1)
    hz = np.where(bits, 1650.0, 1850.0)
    per_sample = hz[(np.arange(round(seconds * RATE)) * 300 // RATE).astype(int)]
    return 3000 * np.sin(2 * np.pi * np.cumsum(per_sample) / RATE)


def over_the_line(
    samples: np.ndarray, rng: np.random.Generator, noise_dbfs: float | None = None, loss_ratio: float = 0.0
) -> np.ndarray:
    """u-law, white noise, packets lost and concealed by repeating the last frame once, then silence."""
    if noise_dbfs is not None:
        samples = samples + rng.normal(0.0, 32768 * 10 ** (noise_dbfs / 20), len(samples))
    pcm = ulaw_to_linear(linear_to_ulaw(np.clip(samples, -32000, 32000).astype(np.int16)))
    frames = pcm[: len(pcm) // 160 * 160].reshape(-1, 160).copy()
    lost = rng.random(len(frames)) < loss_ratio
    for i in np.nonzero(lost)[0]:
        frames[i] = frames[i - 1] if i > 0 and not lost[i - 1] else 0
    return frames


def pad(frames: np.ndarray, count: int) -> np.ndarray:
    out = np.zeros((count, 160), dtype=np.int16)
    out[: min(count, len(frames))] = frames[:count]
    return out


def analyse(
    calls: list[np.ndarray], settings: AnalysisSettings | list[AnalysisSettings] | None = None, connected: bool = True
) -> list[list]:
    """All verdicts of each call, each call on a channel of its own; frame i arrives at (i + 1) * 20 ms."""
    settings = settings or AnalysisSettings()
    length = max(len(c) for c in calls)
    audio = np.stack([pad(c, length) for c in calls])
    analyser = Analyser(len(calls))
    for i in range(len(calls)):
        analyser.start(i, settings[i] if isinstance(settings, list) else settings, connected)
    verdicts: list[list] = [[] for _ in calls]
    active = np.ones(len(calls), dtype=bool)
    for t in range(length):
        for channel, verdict in analyser.step(audio[:, t], active, (t + 1) * 0.02):
            verdicts[channel].append(verdict)
    return verdicts
