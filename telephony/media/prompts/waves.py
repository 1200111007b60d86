"""Sound files to samples at 8 kHz: RIFF WAVE as operators have it, and raw G.711.

One channel; PCM of 8, 16, 24 or 32 bits, u-law or A-law; 8 kHz, or a higher rate that is brought down here, once, by
a filter that keeps what a telephone line cannot carry from folding back into what it can.
"""

import struct
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from telephony.media.g711 import SAMPLE_RATE_HZ, Samples, alaw_to_linear, ulaw_to_linear

RATES_HZ: Final = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
PCM: Final = 0x0001
FLOAT: Final = 0x0003
ALAW: Final = 0x0006
ULAW: Final = 0x0007
EXTENSIBLE: Final = 0xFFFE
"""Format tags of RIFF WAVE (RFC 2361); the sub-format of an extensible one begins with the same tags."""

SUFFIXES: Final = (".ulaw", ".alaw", ".wav")
WANTED: Final = "PCM of 8, 16, 24 or 32 bits, u-law or A-law"


class PromptError(Exception):
    """No such prompt, or one that must not be played; the text says which."""


def samples_of(octets: bytes, suffix: str, name: str) -> Samples:
    """int16 samples at 8 kHz of a file's content. Raises PromptError, which names what is wrong."""
    if suffix == ".ulaw":
        return ulaw_to_linear(np.frombuffer(octets, dtype=np.uint8))
    if suffix == ".alaw":
        return alaw_to_linear(np.frombuffer(octets, dtype=np.uint8))
    return wave_samples(octets, name)


def wave_samples(octets: bytes, name: str) -> Samples:
    """int16 samples at 8 kHz of a RIFF WAVE file. Raises PromptError, which names what is wrong."""
    if octets[:4] != b"RIFF" or octets[8:12] != b"WAVE":
        raise PromptError(f"prompt {name!r} is no RIFF WAVE file")
    layout: tuple[int, int, int, int] | None = None
    at = 12
    while at + 8 <= len(octets):
        chunk, size = octets[at : at + 4], int.from_bytes(octets[at + 4 : at + 8], "little")
        body = octets[at + 8 : at + 8 + size]
        if chunk == b"fmt ":
            layout = _layout(body, name)
        elif chunk == b"data":
            if layout is None:
                raise PromptError(f"prompt {name!r} has its samples before their format")
            if len(body) < size:
                raise PromptError(f"prompt {name!r} is cut off: {len(body)} of {size} bytes of samples are there")
            return _at_8_khz(body, layout, name)
        at += 8 + size + size % 2  # chunks begin at even places
    raise PromptError(f"prompt {name!r} has no {'samples' if layout is not None else 'format'}")


def _layout(body: bytes, name: str) -> tuple[int, int, int, int]:
    """Format tag, channels, rate in Hz, bits per sample."""
    if len(body) < 16:
        raise PromptError(f"prompt {name!r} has a malformed format")
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == EXTENSIBLE and len(body) >= 26:
        tag = int.from_bytes(body[24:26], "little")
    return tag, channels, rate_hz, bits


def _at_8_khz(body: bytes, layout: tuple[int, int, int, int], name: str) -> Samples:
    tag, channels, rate_hz, bits = layout
    if channels != 1 or rate_hz not in RATES_HZ:
        raise PromptError(
            f"prompt {name!r} has {channels} channels at {rate_hz} Hz; wanted is one channel at "
            f"{', '.join(map(str, RATES_HZ))} Hz"
        )
    code = np.frombuffer(body, dtype=np.uint8)
    exact: Samples
    if (tag, bits) == (PCM, 16):
        exact = np.frombuffer(body[: len(body) // 2 * 2], dtype="<i2").astype(np.int16)
    elif (tag, bits) == (PCM, 8):  # the only one without a sign
        exact = ((code.astype(np.int16) - 128) << 8).astype(np.int16)
    elif (tag, bits) in ((PCM, 24), (PCM, 32)):
        width = bits // 8
        parts = code[: len(code) // width * width].reshape(-1, width)[:, -2:]
        exact = np.ascontiguousarray(parts).view("<i2").ravel().astype(np.int16)
    elif (tag, bits) == (FLOAT, 32):
        whole = np.frombuffer(body[: len(body) // 4 * 4], dtype="<f4")
        exact = _rounded(np.nan_to_num(whole.astype(np.float64)) * 32767)
    elif (tag, bits) == (ULAW, 8):
        exact = ulaw_to_linear(code)
    elif (tag, bits) == (ALAW, 8):
        exact = alaw_to_linear(code)
    else:
        raise PromptError(f"prompt {name!r} has samples of format {tag:#06x} with {bits} bits; wanted is {WANTED}")
    if rate_hz == SAMPLE_RATE_HZ or not len(exact):
        return exact
    return _rounded(resample_poly(exact.astype(np.float64), SAMPLE_RATE_HZ, rate_hz, window=("kaiser", 8.0)))


def _rounded(samples: npt.NDArray[np.float64]) -> Samples:
    return np.asarray(np.clip(np.round(samples), -32768, 32767)).astype(np.int16)
