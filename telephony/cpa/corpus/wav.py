"""WAV files of the corpus: 8 kHz mono, u-law or 16 bit PCM, written byte by byte the same every time."""

import struct
from pathlib import Path
from typing import Final

import numpy as np

from telephony.cpa.corpus.speech import RATE_HZ, Samples
from telephony.media.g711 import linear_to_ulaw, ulaw_to_linear

PCM: Final = 1
ULAW: Final = 7


def write_wav(path: Path, samples: Samples, *, ulaw: bool) -> None:
    """``samples`` on the int16 scale."""
    pcm = np.clip(np.round(samples), -32768, 32767).astype("<i2")
    data = linear_to_ulaw(pcm.astype(np.int16)).tobytes() if ulaw else pcm.tobytes()
    width = 1 if ulaw else 2
    fmt = struct.pack("<HHIIHHH", ULAW if ulaw else PCM, 1, RATE_HZ, RATE_HZ * width, width, 8 * width, 0)
    chunks = [_chunk(b"fmt ", fmt if ulaw else fmt[:16])]
    if ulaw:  # every format but PCM says how many samples there are
        chunks.append(_chunk(b"fact", struct.pack("<I", len(pcm))))
    body = b"WAVE" + b"".join([*chunks, _chunk(b"data", data)])
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def read_wav(path: Path) -> Samples:
    """Samples on the int16 scale of a file that `write_wav` made. Raises ValueError for any other kind."""
    raw = path.read_bytes()
    if raw[:4] != b"RIFF" or raw[8:12] != b"WAVE":
        raise ValueError(f"{path}: not a WAV file")
    kind, at = 0, 12
    while at + 8 <= len(raw):
        name, size = raw[at : at + 4], struct.unpack_from("<I", raw, at + 4)[0]
        data = raw[at + 8 : at + 8 + size]
        if name == b"fmt ":
            kind, channels, rate_hz = struct.unpack_from("<HHI", data)
            if channels != 1 or rate_hz != RATE_HZ or kind not in (PCM, ULAW):
                raise ValueError(f"{path}: expected 8 kHz mono PCM or u-law")
        elif name == b"data":
            if kind == ULAW:
                return ulaw_to_linear(np.frombuffer(data, dtype=np.uint8)).astype(np.float64)
            return np.frombuffer(data, dtype="<i2").astype(np.float64)
        at += 8 + size + size % 2
    raise ValueError(f"{path}: no data")
