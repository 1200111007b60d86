"""Loss concealment: how far what is played in place of lost packets is from what was said.

Speech with random or bursty loss is played through the jitter buffer; the same losses are filled with silence and with
one fainter repetition of the last frame, as simple servers do. Measured over the lost frames only: log-spectral
distance in dB (0 is perfect) and the share of the lost energy that is kept.

    python -m bench.concealment [FILE ...] [--json FILE]
"""

import argparse
import json
import wave
from pathlib import Path

import numpy as np

from telephony.media.g711 import ulaw_to_linear
from telephony.media.jitter import JitterBuffers

CLIPS = Path(__file__).parent.parent / "tests" / "telephony" / "audio"
DELAY_FRAMES = 3


def samples(path: Path) -> np.ndarray:
    """(frames, 160) int16 of raw u-law, or of a mono WAV file of 16 bits, at 8 kHz."""
    if path.suffix == ".ulaw":
        sound = ulaw_to_linear(np.fromfile(path, dtype=np.uint8))
    else:
        with wave.open(str(path)) as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (8000, 1, 2):
                raise SystemExit(f"{path}: expected 8 kHz, mono, 16 bits")
            sound = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    return sound[: len(sound) // 160 * 160].reshape(-1, 160)


def lost_frames(count: int, ratio: float, burst: float, rng: np.random.Generator) -> np.ndarray:
    """(count,) bool by a two-state chain: ``ratio`` lost in the mean, in bursts of ``burst`` in the mean."""
    leave, enter = 1 / burst, ratio / (burst * (1 - ratio))
    state, out = False, np.zeros(count, dtype=bool)
    for i in range(5, count):  # the first frames are what everybody begins with
        state = rng.random() >= leave if state else rng.random() < enter
        out[i] = state
    return out


def played(speech: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """What our jitter buffer makes of it, frame by frame as it was said."""
    buffers, row, out = JitterBuffers(1), np.array([0]), []
    for i, frame in enumerate(speech):
        if not lost[i]:
            buffers.put(row, np.array([i * 160]), np.array([1]), frame[None, :], np.array([i]))
        out.append(buffers.take(row)[0][0])
    assert buffers.cut[0] == buffers.stretched[0] == 0  # frame by frame as it was said
    shift = next(k for k in range(DELAY_FRAMES + 1) if (out[k] == speech[0]).all())
    return np.stack(out[shift:])


def repeated(speech: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Each hole: the last frame once more, fainter, then silence."""
    out = speech.copy()
    for i in np.nonzero(lost)[0]:
        out[i] = 0 if lost[i - 1] else (speech[i - 1] * 0.7).astype(np.int16)
    return out


def distance_db(said: np.ndarray, heard: np.ndarray) -> float:
    """Root mean square difference of the log spectra of frames, floored 40 dB below speech."""
    window = np.hanning(160)
    spectra = [np.abs(np.fft.rfft(one.astype(float) * window, axis=1)) for one in (said, heard)]
    floor = 0.01 * np.sqrt((spectra[0] ** 2).mean())
    logs = [20 * np.log10(np.maximum(one, floor)) for one in spectra]
    return float(np.sqrt(((logs[0] - logs[1]) ** 2).mean(axis=1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="speech; default: the clips of the tests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    files = options.files or sorted(CLIPS.glob("*.ulaw"))
    speech = np.concatenate([samples(path) for path in files])
    rng = np.random.default_rng(options.seed)
    found = []
    print("loss  burst   silence    repeated   ours   dB from what was lost   energy kept: repeated, ours")
    for ratio, burst in ((0.01, 1.0), (0.03, 1.0), (0.05, 1.0), (0.10, 1.0), (0.05, 2.0), (0.05, 4.0)):
        many = np.concatenate([speech] * 4)
        lost = lost_frames(len(many), ratio, burst, rng)
        ours = played(many, lost)
        many, lost = many[: len(ours)], lost[: len(ours)]
        where = lost & (np.abs(many.astype(int)).max(axis=1) > 300)
        others = {"silence": np.where(lost[:, None], 0, many), "repeated": repeated(many, lost), "ours": ours}
        figures = {name: round(distance_db(many[where], heard[where]), 2) for name, heard in others.items()}
        energy = float((many[where].astype(float) ** 2).sum())
        kept = {name: round(float((h[where].astype(float) ** 2).sum()) / energy, 2) for name, h in others.items()}
        found.append({"loss": ratio, "burst": burst, "distance_db": figures, "energy": kept})
        print(
            f"{ratio:4.0%} {burst:6.1f} {figures['silence']:9.1f} {figures['repeated']:11.1f} {figures['ours']:6.1f}"
            f" {kept['repeated']:38.2f} {kept['ours']:6.2f}"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
