"""Accuracy of call progress analysis on a synthetic corpus made on the spot with espeak-ng.

Voices, speeds, levels, lead-in, noise and packet loss are drawn from a seed. Prints verdicts against truth by class,
how long after the end of a greeting the human verdict came, and every miss with --misses.

    python -m bench.cpa [--items 400] [--seed 1] [--misses]
"""

import argparse
import io
import json
import subprocess
import sys
import wave
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.telephony.signals import SIT_SEGMENTS, analyse, cadence, over_the_line, silence, sit, tone

HUMAN = [
    "Hello?", "Hello.", "Yes?", "Hi.", "Yeah, hello?", "Hello, this is Mary.", "Hello, Anna Smith speaking.",
    "Good morning, Bill Jones.", "Miller.", "Hello, who is this?", "Smith residence.", "Jane Miller speaking, hello.",
    "Hello? Hello?", "Good afternoon, Peter speaking.",
]  # fmt: skip
HUMAN_LONG = [
    "Good morning, Smith and Partners, Anna speaking, how may I help you?",
    "Thank you for calling Miller Hardware, this is Bob.",
]
MACHINE = [
    "You have reached Bill and Mary. Please leave a message after the tone.",
    "Hello, this is Anna. I can't come to the phone right now. Please leave a message.",
    "Hi, you've reached the voice mail of Peter Jones. Leave your name and number, and I will call you back.",
    "The person you are calling is not available. Please leave a message after the beep.",
    "Your call has been forwarded to an automatic voice message system. At the tone, please record your message.",
    "Hi! We are not at home. You know what to do.",
    "Sorry I missed your call. Please leave a message after the tone.",
]
VOICES = ["en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp"]
VARIANTS = ["+m1", "+m2", "+m3", "+m5", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5"]


def speak(rng: np.random.Generator, text: str) -> np.ndarray:
    command = ["espeak-ng", "-v", rng.choice(VOICES) + rng.choice(VARIANTS), "-s", str(rng.integers(145, 190))]
    made = subprocess.run([*command, "--stdout", text], check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(made)) as wav:
        samples = np.frombuffer(wav.readframes(wav.getnframes()), dtype=np.int16).astype(float)
        samples = resample_poly(samples, 160, wav.getframerate() // 50)
    loud = np.nonzero(np.abs(samples) > 60)[0]
    samples = samples[loud[0] : loud[-1] + 1]
    active = np.abs(samples) > 300
    return samples * 32768 * 10 ** (rng.uniform(-30, -17) / 20) / np.sqrt((samples[active] ** 2).mean())


def item(rng: np.random.Generator, klass: str) -> tuple[np.ndarray, float]:
    """(samples, end of greeting in s)"""
    lead = silence(rng.uniform(0.15, 1.6))
    if klass in ("human", "human-long"):
        speech = speak(rng, rng.choice(HUMAN if klass == "human" else HUMAN_LONG))
        return np.concatenate([lead, speech, silence(5)]), (len(lead) + len(speech)) / 8000
    if klass == "machine":
        speech = speak(rng, rng.choice(MACHINE))
        beep = tone(rng.uniform(0.2, 0.9), rng.uniform(450, 1700), dbfs=rng.uniform(-30, -12))
        return np.concatenate([lead, speech, silence(rng.uniform(0.1, 1.2)), beep, silence(3)]), 0.0
    if klass == "fax":
        return np.concatenate([lead, tone(3.0, 2100.0 + rng.uniform(-15, 15), dbfs=rng.uniform(-30, -10))]), 0.0
    if klass == "sit":
        raise AssertionError
    if klass == "silence":
        return silence(9), 0.0
    on = rng.uniform(0.97, 1.03)
    spec = {"busy": ((480.0, 620.0), 0.5), "reorder": ((480.0, 620.0), 0.25)}[klass]
    return cadence(spec[0], (spec[1] * on, spec[1] * on), 5, rng.uniform(-32, -12))[rng.integers(0, 4000) :], 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    classes = ["human", "machine", "fax", "sit", "busy", "reorder", "silence", "human-long"]
    shares = [0.35, 0.33, 0.05, 0.12, 0.04, 0.04, 0.04, 0.03]
    truth, notes, audio, ends = [], [], [], []
    for _ in range(options.items):
        klass = str(rng.choice(classes, p=shares))
        noise = rng.choice([None, -58.0, -50.0, -44.0])
        loss = rng.choice([0.0, 0.0, 0.005, 0.02])
        if klass == "sit":
            kind, segments = SIT_SEGMENTS[rng.choice(list(SIT_SEGMENTS))]
            samples, end = np.concatenate([silence(rng.uniform(0, 0.5)), sit(segments), silence(1)]), 0.0
            truth.append(kind.value)
        else:
            samples, end = item(rng, klass)
            truth.append(klass)
        audio.append(over_the_line(samples, rng, noise, loss))
        notes.append(f"noise {noise} loss {loss}")
        ends.append(end)
    results = analyse(audio)

    table, right, waits, first_wrong = Counter(), Counter(), [], 0
    for want, note, end, verdicts in zip(truth, notes, ends, results, strict=True):
        final = [v for v in verdicts if v.kind.value not in ("beep", "ringback")]
        got = final[-1].kind.value if final else "nothing"
        first_wrong += bool(final) and final[0].kind.value != want.removesuffix("-long")
        table[want] += 1
        right[want] += got == want.removesuffix("-long")
        if got == "human":
            waits.append(final[0].at_s - end)
        first = final[0].kind.value if final else "nothing"
        if options.misses and {first, got} != {want.removesuffix("-long")}:
            print(
                f"{want} -> {got} ({note}) {[(v.kind.value, round(v.at_s, 2), v.cause, v.evidence) for v in verdicts]}"
            )
    for want in sorted(table):
        print(f"{want:12s} {right[want]:4d} of {table[want]:4d}  {right[want] / table[want]:.3f}")
    print(
        f"all          {sum(right.values()) / len(truth):.3f}; first verdict right {1 - first_wrong / len(truth):.3f}"
    )
    print("human verdict after end of greeting, s: " + ", ".join(
        f"p{p} {np.percentile(waits, p):.2f}" for p in (10, 50, 90, 99)))  # fmt: skip
    if options.json is not None:
        figures = {
            "items": len(truth),
            "all": round(sum(right.values()) / len(truth), 4),
            "by_class": {want: round(right[want] / table[want], 4) for want in sorted(table)},
            "human_verdict_after_greeting_s": {f"p{p}": round(float(np.percentile(waits, p)), 3) for p in (50, 99)},
        }
        options.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
