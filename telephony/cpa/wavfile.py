"""WAV files as samples at 8 kHz, for analysis of recordings: lenient where nothing is lost, clear where something is.

Read are PCM of 8, 16, 24 and 32 bits, IEEE floats and G.711 in both laws (RIFF WAVE, RFC 2361; also the extensible
form), any number of channels, of which one is taken, and any rate, which is resampled. Whatever was done to the
samples is told in `Recording.notes`; a file that was cut off by a crash or a full disk gives what is there.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from telephony.media.g711 import SAMPLE_RATE_HZ, Samples, alaw_to_linear, linear_to_ulaw, ulaw_to_linear

WAVE_PCM: Final = 0x0001
WAVE_FLOAT: Final = 0x0003
WAVE_ALAW: Final = 0x0006
WAVE_ULAW: Final = 0x0007
WAVE_EXTENSIBLE: Final = 0xFFFE
NAMES: Final = {
    0x0002: "Microsoft ADPCM",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 06.10",
    0x0055: "MP3",
    0x0064: "G.726",
    0x0083: "G.729",
}
"""Formats met in recordings of telephone calls that are not read, by their names (RFC 2361)."""

RATES_HZ: Final = (4000, 384_000)
MAX_BYTES: Final = 2**27
"""128 MiB: more than two hours of 16 bits at 8 kHz. No call is analysed for so long, and analysis needs some 15 times
as much memory."""
STREAMED_SIZES: Final = (0, 0x7FFFFFFF, 0xFFFFFFFF)
"""Sizes in the header of a file that was written to a pipe: the samples go on to its end."""

Floats = npt.NDArray[np.float64]


class WavError(Exception):
    """The file cannot be read as WAV; the text says why, without the file's name."""


@dataclass(frozen=True, slots=True)
class Recording:
    """
    Attributes:
        samples: (n,) int16 at 8 kHz.
        rate_hz, channels, encoding: as in the file, before anything was done to it.
        notes: what was done to the samples, and what the file lacks, one short sentence each.
    """

    samples: Samples
    rate_hz: int
    channels: int
    encoding: str
    notes: tuple[str, ...] = ()

    @property
    def length_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class _Layout:
    tag: int
    channels: int
    rate_hz: int
    block_bytes: int
    bits: int

    @property
    def encoding(self) -> str:
        names = {WAVE_PCM: f"pcm{self.bits}", WAVE_FLOAT: f"float{self.bits}", WAVE_ALAW: "alaw", WAVE_ULAW: "ulaw"}
        return names[self.tag]


def read_wav(path: Path, channel: int = 1) -> Recording:
    """The recording in a file. Raises WavError, and OSError when the file cannot be opened or read."""
    with path.open("rb") as file:
        octets = file.read(MAX_BYTES + 1)  # of a pipe or a device nobody knows beforehand how long it is
    if len(octets) > MAX_BYTES:
        raise WavError(f"longer than {MAX_BYTES // 2**20} MiB")
    return decode_wav(octets, channel)


def decode_wav(octets: bytes, channel: int = 1) -> Recording:
    """
    The recording in the bytes of a WAV file.

    Args:
        channel: which one of several, from 1.

    Raises WavError.
    """
    layout, body, notes = _chunks(octets)
    blocks = len(body) // layout.block_bytes
    if not blocks:
        raise WavError("it has no samples")
    if not 1 <= channel <= layout.channels:
        raise WavError(f"it has {layout.channels} channel(s); there is no channel {channel}")
    width = layout.block_bytes // layout.channels
    whole = np.frombuffer(body, dtype=np.uint8, count=blocks * layout.block_bytes)
    # One channel before it becomes floats: those of the others would need the more memory.
    one = _linear(whole.reshape(blocks, layout.channels, width)[:, channel - 1].tobytes(), layout)
    if layout.channels > 1:
        notes.append(f"channel {channel} of {layout.channels} was taken")
    if layout.rate_hz != SAMPLE_RATE_HZ:
        one = resampled(one, layout.rate_hz)
        notes.append(f"resampled from {layout.rate_hz} to {SAMPLE_RATE_HZ} Hz")
    if not len(one):
        raise WavError("it has no samples")
    clipped = np.clip(np.rint(one), -32768, 32767).astype(np.int16)
    return Recording(clipped, layout.rate_hz, layout.channels, layout.encoding, tuple(notes))


def resampled(samples: npt.NDArray[np.floating], rate_hz: int) -> Floats:
    """The same sound at 8 kHz, band-limited (polyphase filter, zero delay)."""
    common = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    out: Floats = resample_poly(samples.astype(np.float64), SAMPLE_RATE_HZ // common, rate_hz // common)
    return out


def encode_wav(samples: Samples) -> bytes:
    """A u-law WAV file of one channel at 8 kHz."""
    octets = linear_to_ulaw(samples).tobytes()
    layout = struct.pack("<HHIIHHH", WAVE_ULAW, 1, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 1, 8, 0)
    chunks = [(b"fmt ", layout), (b"fact", struct.pack("<I", len(samples))), (b"data", octets)]
    body = b"".join(name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for name, part in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def _chunks(octets: bytes) -> tuple[_Layout, bytes, list[str]]:
    """Layout and samples of a file, and what is odd about it."""
    if octets[:4] == b"RIFX":
        raise WavError("it is RIFX (big-endian), which is not read")
    if octets[:4] not in (b"RIFF", b"RF64", b"BW64") or octets[8:12] != b"WAVE":
        raise WavError("it is no RIFF WAVE file")
    layout: _Layout | None = None
    at = 12
    while at + 8 <= len(octets):
        name, size = octets[at : at + 4], int.from_bytes(octets[at + 4 : at + 8], "little")
        body = octets[at + 8 : at + 8 + size]
        if name == b"fmt ":
            layout = _layout(body)
        elif name == b"data":
            if layout is None:
                raise WavError("its samples come before their format")
            return _data(layout, octets, at, size)
        at += 8 + size + size % 2  # chunks begin at even places
    raise WavError("it has no samples" if layout is not None else "it has no format")


def _data(layout: _Layout, octets: bytes, at: int, size: int) -> tuple[_Layout, bytes, list[str]]:
    rest = octets[at + 8 :]
    if size == 0 and _are_chunks(rest):
        return layout, b"", []
    if size in STREAMED_SIZES:  # 0 too: written to a pipe, or the writer died before it came back to the header
        return layout, rest, ["its header gives no length; all that follows was taken"] if rest else []
    if len(rest) < size:
        return layout, rest, [f"it is cut off: {len(rest)} of {size} bytes of samples are there"]
    return layout, rest[:size], []


def _are_chunks(rest: bytes) -> bool:
    """Whether this is one or more whole chunks (a list of names behind no samples, for one) and nothing else."""
    at = 0
    while at + 8 <= len(rest) and rest[at : at + 4].isascii() and rest[at : at + 4].decode().isprintable():
        size = int.from_bytes(rest[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return 0 < len(rest) <= at <= len(rest) + 1


def _layout(body: bytes) -> _Layout:
    if len(body) < 16:
        raise WavError("its format is malformed")
    tag, channels, rate_hz, _, block_bytes, bits = struct.unpack_from("<HHIIHH", body)
    if tag == WAVE_EXTENSIBLE and len(body) >= 26:
        tag = int.from_bytes(body[24:26], "little")
    known = {WAVE_PCM: (8, 16, 24, 32), WAVE_FLOAT: (32, 64), WAVE_ALAW: (8,), WAVE_ULAW: (8,)}
    if tag not in known:
        raise WavError(f"its samples are {NAMES.get(tag, f'of format {tag:#06x}')}, which is not read")
    if bits not in known[tag]:
        raise WavError(f"its samples have {bits} bits, which is not read")
    if not 1 <= channels <= 64:
        raise WavError(f"it has {channels} channels")
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise WavError(f"its rate is {rate_hz} Hz; {RATES_HZ[0]}..{RATES_HZ[1]} are read")
    if block_bytes != channels * bits // 8:
        raise WavError(f"a block of {channels} channel(s) of {bits} bits cannot have {block_bytes} bytes")
    return _Layout(tag, channels, rate_hz, block_bytes, bits)


def _linear(body: bytes, layout: _Layout) -> npt.NDArray[np.floating]:
    """Samples, full scale 32768."""
    match layout.tag, layout.bits:
        case (0x0007, _):
            return ulaw_to_linear(np.frombuffer(body, dtype=np.uint8)).astype(np.float32)
        case (0x0006, _):
            return alaw_to_linear(np.frombuffer(body, dtype=np.uint8)).astype(np.float32)
        case (0x0003, 32 | 64):
            wide = np.frombuffer(body, dtype="<f4" if layout.bits == 32 else "<f8").astype(np.float64)
            return np.nan_to_num(wide, nan=0.0, posinf=1.0, neginf=-1.0) * 32768.0
        case (_, 8):
            return (np.frombuffer(body, dtype=np.uint8).astype(np.float32) - 128.0) * 256.0
        case (_, 16):
            return np.frombuffer(body, dtype="<i2").astype(np.float32)
        case (_, 24):
            octets = np.frombuffer(body, dtype=np.uint8).reshape(-1, 3).astype(np.int32)
            value = octets[:, 0] | octets[:, 1] << 8 | octets[:, 2] << 16
            return np.where(value >= 1 << 23, value - (1 << 24), value) / 256.0
        case _:
            return np.frombuffer(body, dtype="<i4") / 65536.0
