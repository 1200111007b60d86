"""WAV files as samples at 8 kHz."""

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.cpa.wavfile import WavError, decode_wav, encode_wav, read_wav
from telephony.media.g711 import linear_to_alaw, linear_to_ulaw

RATE = 8000


def riff(tag, bits, body, channels=1, rate=RATE, extensible=False, size=None, before=b"") -> bytes:
    block = channels * bits // 8
    layout = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * block, block, bits)
    if extensible:
        guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
        layout += struct.pack("<HHI", 22, bits, 0) + guid
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + before
    chunks += b"data" + struct.pack("<I", len(body) if size is None else size) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def sine(hz=440.0, seconds=0.5, rate=RATE, amplitude=8000.0):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def pcm24(samples):
    wide = np.rint(samples * 256).astype("<i4")
    return np.frombuffer(wide.tobytes(), dtype=np.uint8).reshape(-1, 4)[:, :3].tobytes()


WAVE = sine()
ENCODED = {
    "pcm8": (1, 8, (np.rint(WAVE / 256) + 128).astype(np.uint8).tobytes(), 129),
    "pcm16": (1, 16, np.rint(WAVE).astype("<i2").tobytes(), 1),
    "pcm24": (1, 24, pcm24(WAVE), 1),
    "pcm32": (1, 32, np.rint(WAVE * 65536).astype("<i4").tobytes(), 1),
    "float32": (3, 32, (WAVE / 32768).astype("<f4").tobytes(), 1),
    "float64": (3, 64, (WAVE / 32768).astype("<f8").tobytes(), 1),
    "ulaw": (7, 8, linear_to_ulaw(WAVE.astype(np.int16)).tobytes(), 260),
    "alaw": (6, 8, linear_to_alaw(WAVE.astype(np.int16)).tobytes(), 260),
}


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("encoding", ENCODED)
def test_given_each_encoding_when_read_then_the_same_sound(encoding, extensible):
    tag, bits, body, error = ENCODED[encoding]
    found = decode_wav(riff(tag, bits, body, extensible=extensible))

    assert (found.encoding, found.channels, found.rate_hz, found.notes) == (encoding, 1, RATE, ())
    assert np.abs(found.samples - WAVE).max() <= error


def test_given_several_channels_when_one_is_chosen_then_that_one_and_a_note():
    both = np.stack([sine(440.0), sine(1000.0)], axis=1).astype("<i2")
    octets = riff(1, 16, both.tobytes(), channels=2)

    assert np.array_equal(decode_wav(octets, 2).samples, both[:, 1])
    assert decode_wav(octets).notes == ("channel 1 of 2 was taken",)
    with pytest.raises(WavError, match="no channel 3"):
        decode_wav(octets, 3)


@pytest.mark.parametrize("rate", [11025, 16000, 44100, 48000])
def test_given_another_rate_when_read_then_resampled_without_aliases(rate):
    # 5 kHz cannot be told at 8 kHz: it must vanish, not come back as 3 kHz.
    octets = riff(1, 16, np.rint(sine(440.0, rate=rate) + sine(5000.0, rate=rate)).astype("<i2").tobytes(), rate=rate)
    found = decode_wav(octets)

    assert len(found.samples) == RATE // 2
    middle = slice(400, -400)  # the filter's ends
    assert np.abs(found.samples - sine(440.0))[middle].max() < 100
    assert found.notes == (f"resampled from {rate} to 8000 Hz",)


def test_given_a_file_cut_off_or_written_to_a_pipe_when_read_then_what_is_there():
    body = WAVE.astype("<i2").tobytes()

    cut = decode_wav(riff(1, 16, body[:2001], size=len(body)))
    assert len(cut.samples) == 1000
    assert cut.notes == ("it is cut off: 2001 of 8000 bytes of samples are there",)
    for size in (0, 0xFFFFFFFF):
        assert len(decode_wav(riff(1, 16, body, size=size)).samples) == len(WAVE)


def test_given_no_samples_and_chunks_behind_when_read_then_they_are_no_samples():
    named = b"LIST" + struct.pack("<I", 5) + b"INFO\0\0"
    with pytest.raises(WavError, match="no samples"):
        decode_wav(riff(1, 16, b"") + named + named)
    with pytest.raises(WavError, match="longer than 128 MiB"):
        read_wav(Path("/dev/zero"))


def test_given_other_chunks_of_odd_size_when_read_then_skipped():
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert len(decode_wav(riff(1, 16, WAVE.astype("<i2").tobytes(), before=odd)).samples) == len(WAVE)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no RIFF WAVE"),
        (b"ID3\x04" + bytes(40), "no RIFF WAVE"),
        (b"RIFX" + bytes(40), "big-endian"),
        (riff(0x11, 8, bytes(100)), "IMA ADPCM"),
        (riff(0x31, 8, bytes(100)), "GSM 06.10"),
        (riff(0x1234, 8, bytes(100)), "0x1234"),
        (riff(1, 12, bytes(100)), "12 bits"),
        (riff(1, 16, bytes(100), channels=0), "0 channels"),
        (riff(1, 16, bytes(100), rate=100), "100 Hz"),
        (riff(1, 16, b""), "no samples"),
        (riff(1, 16, b"\0"), "no samples"),
        (b"RIFF\x04\0\0\0WAVE", "no format"),
        (b"RIFF\x04\0\0\0WAVEdata\0\0\0\0", "before their format"),
        (b"RIFF\x04\0\0\0WAVEfmt \x02\0\0\0ab", "malformed"),
    ],
)
def test_given_something_else_when_read_then_the_reason(octets, why):
    with pytest.raises(WavError, match=why):
        decode_wav(octets)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_given_a_spoilt_file_when_read_then_samples_or_a_reason(data):
    octets = bytearray(riff(1, 16, WAVE[:200].astype("<i2").tobytes()))
    for _ in range(data.draw(st.integers(1, 6))):
        octets[data.draw(st.integers(0, 60))] = data.draw(st.integers(0, 255))
    with suppress(WavError):  # no other error may come
        found = decode_wav(bytes(octets[: data.draw(st.integers(0, len(octets)))]))
        assert len(found.samples) > 0
        assert found.samples.dtype == np.int16


def test_given_a_written_file_when_read_then_the_same_octets(tmp_path):
    path = tmp_path / "one.wav"
    path.write_bytes(encode_wav(WAVE.astype(np.int16)[:3999]))
    found = read_wav(path)

    assert found.encoding == "ulaw"
    assert len(found.samples) == 3999
    assert encode_wav(found.samples) == path.read_bytes()
    with pytest.raises(OSError, match="No such file"):
        read_wav(tmp_path / "two.wav")
