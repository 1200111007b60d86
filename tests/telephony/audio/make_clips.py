"""Makes the speech clips of the call progress tests (u-law, 8 kHz) with espeak-ng; run by hand, never by a test.

The synthesiser is GPL software; what it says is free to use. Usage: python tests/telephony/audio/make_clips.py
"""

import io
import subprocess
import wave
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from telephony.media.g711 import linear_to_ulaw

LEVEL_DBFS = -22.0  # active speech level of an ordinary telephone call

HUMAN = {
    "human_hello_m": ("en-us", "+m3", 160, "Hello?"),
    "human_hello_f": ("en-gb", "+f2", 170, "Hello?"),
    "human_yes": ("en-gb-scotland", "+m1", 150, "Yes?"),
    "human_name_f": ("en-us", "+f3", 165, "Hello, Anna Smith speaking."),
    "human_name_m": ("en-gb", "+m5", 175, "Miller speaking, good morning."),
    "human_de": ("de", "+f4", 165, "Schneider, guten Tag."),
}
MACHINE = {
    "machine_reached": ("en-us", "+m2", 165, "You have reached Bill and Mary. Please leave a message after the tone."),
    "machine_away": ("en-gb", "+f1", 170, "Hello, this is Anna. I can't come to the phone right now. Leave a message."),
    "machine_short": ("en-us", "+f5", 170, "Please leave your message after the beep."),
    "machine_de": (
        "de",
        "+m4",
        165,
        "Guten Tag, hier ist der Anschluss von Familie Weber. Bitte sprechen Sie nach dem Ton.",
    ),
}
OTHER = {"announcement": ("en-us", "+f2", 160, "We're sorry, the number you have dialed is not in service.")}


def speak(voice: str, variant: str, words_per_minute: int, text: str) -> np.ndarray:
    """int16 samples at 8 kHz, trimmed, at LEVEL_DBFS."""
    command = ["espeak-ng", "-v", voice + variant, "-s", str(words_per_minute), "--stdout", text]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(made)) as wav:
        samples = np.frombuffer(wav.readframes(wav.getnframes()), dtype=np.int16).astype(float)
        samples = resample_poly(samples, 160, wav.getframerate() // 50)
    loud = np.nonzero(np.abs(samples) > 100)[0]
    samples = samples[loud[0] : loud[-1] + 1]
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    rms = np.sqrt((frames**2).mean(axis=1))
    active = rms > rms.max() / 10
    gain = 32768 * 10 ** (LEVEL_DBFS / 20) / np.sqrt((frames[active] ** 2).mean())
    return np.clip(samples * gain, -32000, 32000).astype(np.int16)


def main() -> None:
    folder = Path(__file__).parent
    for name, recipe in {**HUMAN, **MACHINE, **OTHER}.items():
        samples = speak(*recipe)
        (folder / f"{name}.ulaw").write_bytes(linear_to_ulaw(samples).tobytes())
        print(f"{name}: {len(samples) / 8000:.2f} s")


if __name__ == "__main__":
    main()
