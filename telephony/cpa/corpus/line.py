"""What happens to the called side's audio on its way to us: telephone, codecs, level, noise, lost packets."""

import subprocess
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import signal

from telephony.cpa.corpus import noises
from telephony.cpa.corpus.scene import POST, Scene, chance, db, pick
from telephony.cpa.corpus.speech import FRAME, RATE_HZ, Samples, active
from telephony.media.g711 import alaw_to_linear, linear_to_alaw, linear_to_ulaw, ulaw_to_linear

PACKET: Final = 160  # 20 ms
FULL_SCALE: Final = 32768.0
LONGEST_CUT_S: Final = 0.1
AMR_MODES: Final = (2, 4, 5, 7)  # 5.9, 7.4, 7.95, 12.2 kbit/s


@dataclass(frozen=True, slots=True)
class Impairments:
    """
    What one line does; the manifest keeps it. None or 0 is "nothing of that".

    ``level_dbfs`` is the RMS of what sounds against a full-scale square wave, ``snr_db`` that level over the noise.
    ``loss_ratio`` of packets is lost, in runs of ``loss_run`` on average, and comes out as zeros or, ``repeats``, as
    the packet before. ``late_media_s``: at the answer the path opens late, digital
    silence before. ``dtx`` "zeros" or "comfort": what the far end sends while nobody speaks.
    """

    level_dbfs: float
    snr_db: float | None
    noise: str | None
    codec: str
    law: str
    loss_ratio: float = 0.0
    loss_run: float = 1.0
    repeats: bool = False
    dtx: str | None = None
    low_hz: float = 200.0
    high_hz: float = 3500.0
    tilt_db: float = 0.0
    hum_db: float | None = None
    dc: float = 0.0
    agc: bool = False
    clipped_start_s: float = 0.0
    ringback_s: float = 0.0
    echo_db: float | None = None
    late_media_s: float = 0.0

    def as_json(self) -> dict[str, object]:
        return {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(self).items()}


def draw(rng: np.random.Generator, scene: Scene, *, gentle: bool = False) -> Impairments:
    """What a line does to ``scene``; a quarter of all lines are clean. ``gentle`` (tones): quiet noise, little loss."""
    low_dbfs, high_dbfs, usual_dbfs = (-35.0, -10.0, -21.0) if gentle else (-38.0, -12.0, -22.0)
    level_dbfs = float(rng.triangular(low_dbfs, usual_dbfs, high_dbfs))
    law = pick(rng, ("u-law", "a-law"), (6, 4))
    if scene.keeps_level:
        rms = max(float(np.sqrt(np.mean(np.square(scene.samples)))), 1e-6)
        return Impairments(20 * float(np.log10(rms)), None, None, "g711", law)
    if chance(rng, 0.25):
        return Impairments(level_dbfs, None, None, "g711", law)
    speech = scene.label in ("human", "machine")
    snr_db = None
    if chance(rng, 0.75):
        snr_db = float(rng.triangular(15, 28, 42) if gentle else rng.triangular(5, 25, 42))
    codec = pick(rng, ("g711", "gsm", "amr"), (72, 12, 16) if not gentle else (90, 5, 5))
    mobile = codec != "g711"
    loss_ratio = float(rng.uniform(0.002, 0.05 if not gentle else 0.02)) if chance(rng, 0.3) else 0.0
    return Impairments(
        level_dbfs=level_dbfs,
        snr_db=snr_db,
        noise=pick(rng, ("white", "pink", "room"), (3, 3, 4)) if snr_db is not None else None,
        codec=codec if codec != "amr" else f"amr{pick(rng, AMR_MODES)}",
        law=law,
        loss_ratio=loss_ratio,
        loss_run=float(rng.uniform(1, 1.5 if gentle else 4)),
        repeats=chance(rng, 0.5),
        dtx=pick(rng, ("zeros", "comfort")) if speech and chance(rng, 0.4 if mobile else 0.12) else None,
        low_hz=float(rng.uniform(80, 340)),
        high_hz=float(rng.uniform(2800, 3750)),
        tilt_db=float(rng.uniform(-4, 4)) if speech else 0.0,
        hum_db=float(rng.uniform(-45, -25)) if chance(rng, 0.12) else None,
        dc=float(rng.uniform(-300, 300)) if chance(rng, 0.1) else 0.0,
        agc=speech and chance(rng, 0.12),
        clipped_start_s=float(rng.uniform(0.03, 0.12)) if speech and mobile and chance(rng, 0.25) else 0.0,
        ringback_s=float(rng.uniform(0.05, 0.5)) if scene.phase == POST and speech and chance(rng, 0.08) else 0.0,
        echo_db=float(rng.uniform(-40, -15)) if chance(rng, 0.08) else None,
        late_media_s=float(rng.uniform(0.04, 0.5)) if scene.phase == POST and chance(rng, 0.15) else 0.0,
    )


def transmit(rng: np.random.Generator, scene: Scene, line: Impairments) -> Samples:
    """Samples as they arrive, int16 scale (float64), after G.711; as long as the scene's."""
    samples = scene.samples
    n = len(samples)
    mask = np.repeat(active(samples), FRAME)
    mask = np.concatenate([mask, np.zeros(n - len(mask), dtype=bool)])
    samples = _filtered(samples, line)
    if line.echo_db is not None:
        samples = samples + db(line.echo_db) * np.concatenate([np.zeros(n), samples])[n - 640 : 2 * n - 640]
    if line.dtx is not None:
        samples = _discontinuous(rng, samples, mask, line.dtx)
    loudness = float(np.sqrt(np.mean(np.square(samples[mask])))) if mask.any() else 1.0
    samples = samples * (FULL_SCALE if scene.keeps_level else db(line.level_dbfs) * FULL_SCALE / max(loudness, 1e-6))
    if line.clipped_start_s:
        samples[: _may_lose(scene, mask, line.clipped_start_s)] = 0.0
    if line.agc:
        samples = _levelled(samples, db(line.level_dbfs) * FULL_SCALE)
    if line.ringback_s:
        t = np.arange(min(round(line.ringback_s * RATE_HZ), n)) / RATE_HZ
        ring = np.sin(2 * np.pi * 440 * t) + np.sin(2 * np.pi * 480 * t)
        samples[: len(t)] += ring * db(rng.uniform(-30, -18)) * FULL_SCALE
    if line.snr_db is not None:
        slope = 3.0 if line.noise == "pink" else 0.0
        noise = noises.room(rng, n) if line.noise == "room" else noises.coloured(rng, n, slope)
        samples = samples + _filtered(noise, line) * db(line.level_dbfs - line.snr_db) * FULL_SCALE
    if line.hum_db is not None:
        samples = samples + noises.mains(rng, n) * db(line.level_dbfs + line.hum_db) * FULL_SCALE
    if line.late_media_s and not line.clipped_start_s:
        samples[: min(round(line.late_media_s * RATE_HZ), _may_lose(scene, mask, LONGEST_CUT_S))] = 0.0
    samples = np.clip(samples + line.dc, -32768, 32767)
    if line.codec != "g711":
        samples = _through_sox(samples, line.codec)
    samples = _through_g711(samples, line.law)
    return _with_losses(rng, samples, line) if line.loss_ratio else samples


def _may_lose(scene: Scene, mask: npt.NDArray[np.bool_], most_s: float) -> int:
    """
    Samples up to which the beginning may be cut: ``most_s`` into the first sound.

    Of a person's greeting at most a quarter: of a "yes" that never was there is no truth. Of a recording tone that
    nothing comes before, nothing: the truth says when it begins.
    """
    if not mask.any():
        return len(mask)
    first = int(np.argmax(mask))
    if scene.speech_end_s is not None:
        most_s = min(most_s, 0.25 * max(scene.speech_end_s - first / RATE_HZ, 0.0))
    until = first + round(most_s * RATE_HZ)
    return until if scene.beep_s is None else min(until, round(scene.beep_s * RATE_HZ))


def _filtered(samples: Samples, line: Impairments) -> Samples:
    """The telephone band: minimum phase, so that times stay true within a millisecond."""
    band = signal.butter(2, [line.low_hz, min(line.high_hz, 3900.0)], "bandpass", fs=RATE_HZ, output="sos")
    out: Samples = np.asarray(signal.sosfilt(band, samples))
    if line.tilt_db:
        # First order shelf: brighter or duller microphones.
        a = db(line.tilt_db) - 1.0
        high = signal.sosfilt(signal.butter(1, 1000.0, "highpass", fs=RATE_HZ, output="sos"), out)
        out = out + a * np.asarray(high)
    return out


def _discontinuous(rng: np.random.Generator, samples: Samples, mask: npt.NDArray[np.bool_], kind: str) -> Samples:
    """Transmission stops 100..240 ms after speech ends: then digital silence or flat comfort noise."""
    hangover = round(rng.uniform(0.1, 0.24) * RATE_HZ)
    kernel = np.ones(hangover)
    sent = np.convolve(mask.astype(float), kernel)[: len(mask)] > 0.5
    out = np.where(sent, samples, 0.0)
    if kind == "comfort":
        out = out + np.where(sent, 0.0, db(rng.uniform(-50, -32)) * rng.standard_normal(len(out)))
    return out


def _levelled(samples: Samples, target: float) -> Samples:
    """An automatic gain control: follows the level within half a second, never by more than 15 dB."""
    frames = samples[: len(samples) // PACKET * PACKET].reshape(-1, PACKET)
    gains = np.ones(len(frames) + 1)
    gain = 1.0
    for i, rms in enumerate(np.sqrt(np.mean(np.square(frames), axis=1))):
        if rms > target / 30:
            gain *= (np.clip(target / rms, 0.18, 5.6) / gain) ** 0.08
        else:
            gain *= (3.0 / gain) ** 0.01  # it opens slowly while nobody speaks: the noise comes up
        gains[i + 1] = gain
    curve = np.interp(np.arange(len(samples)), np.arange(len(gains)) * PACKET, gains)
    out: Samples = samples * curve
    return out


def _through_sox(samples: Samples, codec: str) -> Samples:
    """GSM 06.10 or AMR (``amr<mode>``) and back, by sox."""
    kind = ["-t", "gsm"] if codec == "gsm" else ["-t", "amr-nb", "-C", codec.removeprefix("amr")]
    raw = ["-t", "raw", "-r", "8000", "-e", "signed-integer", "-b", "16", "-c", "1"]
    # -D: no dither, it would be random
    encoded = subprocess.run(
        ["sox", "-D", *raw, "-", *kind, "-"], input=samples.astype("<i2").tobytes(), check=True, capture_output=True
    ).stdout
    decoded = subprocess.run(
        ["sox", "-D", *kind[:2], "-", *raw, "-"], input=encoded, check=True, capture_output=True
    ).stdout
    out = np.frombuffer(decoded[: len(decoded) // 2 * 2], dtype="<i2").astype(np.float64)
    return np.concatenate([out, np.zeros(max(len(samples) - len(out), 0))])[: len(samples)]


def _through_g711(samples: Samples, law: str) -> Samples:
    pcm = np.clip(np.round(samples), -32768, 32767).astype(np.int16)
    linear = ulaw_to_linear(linear_to_ulaw(pcm)) if law == "u-law" else alaw_to_linear(linear_to_alaw(pcm))
    return np.asarray(linear, dtype=np.float64)


def _with_losses(rng: np.random.Generator, samples: Samples, line: Impairments) -> Samples:
    """A two-state (Gilbert) channel over 20 ms packets."""
    out = samples.copy()
    leave = 1.0 / line.loss_run
    enter = leave * line.loss_ratio / (1 - line.loss_ratio)
    lost = False
    for start in range(0, len(out) - PACKET + 1, PACKET):
        lost = rng.random() < (1 - leave if lost else enter)
        if lost:
            repeat = line.repeats and start >= PACKET
            out[start : start + PACKET] = out[start - PACKET : start] * 0.7 if repeat else 0.0
    return out
