"""Make the speech clips beside this file with espeak-ng: ``python -m telephony.simworld.audio.make_clips``.

Run it once when the texts below change; the clips are in the repository, so nobody else needs the synthesiser.
espeak-ng is GPL-3.0-or-later; what it says is not bound by that licence. Output: raw mu-law at 8 kHz, one file a clip,
speech level -20 dBFS, silence at both ends cut off, and ``clips.json`` with kind, voice, text and length of each.
"""

import io
import json
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.simworld.g711 import SAMPLE_RATE_HZ, ulaw_bytes

SPEECH_LEVEL_DBFS: Final = -20.0
TOTAL_LIMIT_BYTES: Final = 1_000_000
FADE_SAMPLES: Final = 40
FOLDER: Final = Path(__file__).parent

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Text:
    kind: str
    voice: str
    words: str
    speed_wpm: int = 165


TEXTS: Final = (
    Text("human", "en-us", "Hello?"),
    Text("human", "en-us+f2", "Hello?"),
    Text("human", "en-us+f3", "Hi."),
    Text("human", "en-us+m3", "Yes?"),
    Text("human", "en-gb-x-rp", "Hello, who is it?"),
    Text("human", "en-gb-x-rp+f4", "Hello, Susan speaking."),
    Text("human", "en-gb-scotland", "Hello, hello?"),
    Text("human", "en-us-nyc", "Yeah, Mike here."),
    Text("human", "en-us+f5", "Good morning."),
    Text("human", "en-gb+f1", "Hello, this is Anna."),
    Text("human", "en-us+m7", "This is John."),
    Text("human", "en-029", "Good day, hello?"),
    Text(
        "machine",
        "en-us",
        "Hi, you have reached the Millers. We can not come to the phone right now. "
        "Please leave a message after the tone.",
        175,
    ),
    Text(
        "machine",
        "en-us+f2",
        "Hello, this is Carol. I am away from my phone, so please leave your name and number and I will call you back.",
        180,
    ),
    Text(
        "machine",
        "en-gb-x-rp+f4",
        "The person you are calling is not available. Please record your message after the beep.",
        165,
    ),
    Text("machine", "en-us-nyc", "Hey, it's Tony, leave a message, and have a good one. Thanks for calling.", 160),
    Text(
        "machine",
        "en-gb-scotland",
        "Thank you for calling. Nobody is here at the moment. When you hear the tone, tell us what we can do for you.",
        170,
    ),
    Text(
        "machine",
        "en-us+m3",
        "Your call has been forwarded to an automatic voice message system. At the tone, please record your message.",
        170,
    ),
    Text("again", "en-us", "Hello? Is anybody there?"),
    Text("again", "en-us+f2", "Hello? Hello?"),
    Text("agent", "en-us+f3", "Good afternoon, I am calling about the appointment that you asked us for.", 170),
    Text("agent", "en-us+m7", "Thank you for taking the call. Would next Tuesday in the morning suit you?", 170),
    Text("agent", "en-gb-x-rp", "May I read back the address that we have for you, to make sure it is right?", 170),
    Text("agent", "en-gb+f1", "Very well, I have noted that. Is there anything else that I can do for you today?", 170),
    Text("customer", "en-us", "Yes, that sounds right to me, I think.", 165),
    Text("customer", "en-us+f2", "Well, let me see, could you say that again please?", 165),
    Text("customer", "en-gb-x-rp", "No, the afternoon would be much better for us.", 165),
    Text("customer", "en-gb-scotland", "All right then, thank you for the reminder.", 165),
    Text("wait", "en-us+f2", "Please wait while we connect your call.", 160),
    Text("sit_ic", "en-us+f5", "The number you have dialed has been changed. The new number is not listed.", 165),
    Text("sit_vc", "en-us+f5", "The number you have dialed is not in service. Please check the number.", 165),
    Text("sit_ro", "en-us", "We are sorry, your call can not be completed at this time. Please try again later.", 165),
    Text("sit_nc", "en-us", "All circuits are busy now. Please try your call again later.", 165),
    Text("sit_io", "en-us+f5", "Your call did not go through. Please hang up and dial again.", 165),
)


def say(text: Text) -> tuple[Samples, int]:
    """Speech as floats in [-1, 1] and its sample rate."""
    command = ["espeak-ng", "-v", text.voice, "-s", str(text.speed_wpm), "--stdout", text.words]
    out = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(out)) as clip:
        rate_hz = clip.getframerate()
        # Written to a pipe, the header's length is a lie: ask for far more frames than there can be.
        raw = clip.readframes(60 * rate_hz)
    return np.frombuffer(raw, dtype="<i2").astype(np.float64) / 32768.0, rate_hz


def to_telephone(samples: Samples, rate_hz: int) -> Samples:
    """Band-limit to 300..3400 Hz and resample to 8 kHz, both in the frequency domain."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / rate_hz)
    spectrum[(hz < 300) | (hz > 3400)] = 0
    wanted = round(len(samples) * SAMPLE_RATE_HZ / rate_hz)
    kept = spectrum[: wanted // 2 + 1]
    resampled: Samples = np.fft.irfft(kept, wanted) * (wanted / len(samples))
    return resampled


def trim_and_level(samples: Samples) -> Samples:
    """Cut silent ends (35 dB under the peak) and set the RMS of what speaks to -20 dBFS."""
    frame = SAMPLE_RATE_HZ // 100
    count = len(samples) // frame
    rms = np.sqrt(np.square(samples[: count * frame].reshape(count, frame)).mean(axis=1))
    loud = np.flatnonzero(rms > rms.max() * 10 ** (-35 / 20))
    samples = samples[loud[0] * frame : (loud[-1] + 1) * frame]
    active = rms[rms > rms.max() * 10 ** (-25 / 20)]
    gain = 10 ** (SPEECH_LEVEL_DBFS / 20) / np.sqrt(2) / np.sqrt(np.square(active).mean())
    out: Samples = np.clip(samples * gain, -0.98, 0.98)
    ramp = np.linspace(0.0, 1.0, FADE_SAMPLES)
    out[:FADE_SAMPLES] *= ramp
    out[-FADE_SAMPLES:] *= ramp[::-1]
    return out


def main() -> int:
    for old in FOLDER.glob("*.ulaw"):
        old.unlink()
    entries, total, numbers = [], 0, dict.fromkeys((t.kind for t in TEXTS), 0)
    for text in TEXTS:
        encoded = ulaw_bytes(trim_and_level(to_telephone(*say(text))))
        name = f"{text.kind}_{numbers[text.kind]:02d}.ulaw"
        numbers[text.kind] += 1
        (FOLDER / name).write_bytes(encoded)
        total += len(encoded)
        length_s = round(len(encoded) / SAMPLE_RATE_HZ, 3)
        entries.append({"file": name, "kind": text.kind, "voice": text.voice, "text": text.words, "length_s": length_s})
    (FOLDER / "clips.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(entries)} clips, {total} bytes\n")
    return 0 if total <= TOTAL_LIMIT_BYTES else 1


if __name__ == "__main__":
    raise SystemExit(main())
