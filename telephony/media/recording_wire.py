"""What the media server and its recording writer say to each other, over two pipes. Standard library only.

A frame is one byte of kind, four bytes of length (big endian), and a body: JSON for all kinds but audio. An audio body
is the number of the recording (4 bytes), the index of its first 20 ms frame (4 bytes), and samples (16 bits, little
endian, interleaved). Indices that are missing are gaps; the writer fills them with silence.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

START: Final = 1
AUDIO: Final = 2
STOP: Final = 3
FINISHED: Final = 4
REPAIRED: Final = 5
READY: Final = 6

SAMPLE_RATE_HZ: Final = 8000
FRAME_SAMPLES: Final = 160
SAMPLE_BYTES: Final = 2
HEADER: Final = struct.Struct("!BI")
AUDIO_HEAD: Final = struct.Struct("!II")
MAX_BODY_BYTES: Final = 1 << 20
MAX_PATH_CHARACTERS: Final = 400
WAV_HEADER_BYTES: Final = 44


def pack(kind: int, body: Mapping[str, Any]) -> bytes:
    """One frame with a JSON body."""
    octets = json.dumps(body).encode()
    return HEADER.pack(kind, len(octets)) + octets


def pack_audio(number: int, first_frame: int, samples: bytes) -> bytes:
    """One frame of audio."""
    head = AUDIO_HEAD.pack(number, first_frame)
    return HEADER.pack(AUDIO, len(head) + len(samples)) + head + samples


class FrameBuffer:
    """Bytes in, (kind, body) out. Raises ValueError for a frame that is too long."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what was read; the frames that are complete now."""
        self._buffer += data
        frames: list[tuple[int, bytes]] = []
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer, at)
            if length > MAX_BODY_BYTES:
                raise ValueError(f"frame of {length} bytes")
            end = at + HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append((kind, bytes(self._buffer[at + HEADER.size : end])))
            at = end
        del self._buffer[:at]
        return frames


def wav_header(data_bytes: int, channels: int) -> bytes:
    """The 44 bytes before the samples of a PCM file (16 bits, 8 kHz)."""
    width = channels * SAMPLE_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        min(0xFFFFFFFF, 36 + data_bytes),
        b"WAVE",
        b"fmt ",
        16,
        1,
        channels,
        SAMPLE_RATE_HZ,
        SAMPLE_RATE_HZ * width,
        width,
        8 * SAMPLE_BYTES,
        b"data",
        min(0xFFFFFFFF, data_bytes),
    )


def path_problem(path: str) -> str:
    """Why a recording must not be written there; "" when it may. Whether links lead outside only the writer sees."""
    parts = path.split("/")
    if not path.endswith(".wav") or PurePosixPath(path).name == ".wav":
        return "the name of a recording ends in .wav"
    if len(path) > MAX_PATH_CHARACTERS or any(len(part.encode()) > 200 for part in parts):
        return "the path is too long"
    if not path.isprintable() or "\\" in path:
        return "the path holds characters that do not belong there"
    # A leading dot would hide the file; "." and ".." are refused with it.
    if path.startswith("/") or any(not part or part.startswith(".") for part in parts):
        return "the path leads outside the recording folder"
    return ""
