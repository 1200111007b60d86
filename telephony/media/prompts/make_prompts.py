"""Makes ``drop.ulaw`` with espeak-ng; run by hand (``python -m``) when the text changes.

The synthesiser is GPL software; what it says is free to use. Needs the package espeak-ng and scipy.
"""

import io
import subprocess
import wave
from math import gcd
from pathlib import Path
from typing import Final

import numpy as np
from scipy.signal import resample_poly

from telephony.media.g711 import SAMPLE_RATE_HZ, linear_to_ulaw

TEXT: Final = "Hello. We called you, but nobody is free to talk to you right now. We are sorry for the call. Goodbye."
LEVEL_DBFS: Final = -20.0


def main() -> None:
    """Write the announcement beside this file."""
    command = ["espeak-ng", "-v", "en-us+f3", "-s", "165", "--stdout", TEXT]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(made)) as wav:
        rate_hz = wav.getframerate()
        samples = np.frombuffer(wav.readframes(wav.getnframes()), dtype=np.int16).astype(np.float64)
    common = gcd(rate_hz, SAMPLE_RATE_HZ)
    samples = resample_poly(samples, SAMPLE_RATE_HZ // common, rate_hz // common)
    loud = np.abs(samples) > 200
    gain = 32768 * 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.square(samples[loud]).mean())
    octets = linear_to_ulaw(np.clip(samples * gain, -32000, 32000).astype(np.int16))
    (Path(__file__).parent / "drop.ulaw").write_bytes(octets.tobytes())


if __name__ == "__main__":
    main()
