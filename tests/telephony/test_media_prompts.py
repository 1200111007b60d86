"""Prompt files: what is read, what is refused and why, and what a channel plays of them."""

import os
import struct
import wave
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony import contract as wire
from telephony.launcher import ensure_running, stop
from telephony.media.channels import PortPool
from telephony.media.g711 import linear_to_ulaw, ulaw_to_linear
from telephony.media.mixer import Mixer
from telephony.media.plane import MediaPlane
from telephony.media.prompts import BUILT_IN, RINGBACK, PromptError, PromptLibrary, wave_samples
from tests.telephony.media_peer import free_port_range
from tests.telephony.test_launcher import free_ports

SOUND = (8000 * np.sin(np.arange(1600) / 7.0)).astype(np.int16)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WAVE" + body


def layout(tag: int, bits: int, channels: int = 1, rate_hz: int = 8000, more: bytes = b"") -> tuple[bytes, bytes]:
    width = channels * bits // 8
    return b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * width, width, bits) + more


PCM = layout(1, 16)
ULAW = layout(7, 8, more=b"\0\0")
EXTENSIBLE = layout(0xFFFE, 16, more=struct.pack("<HHI", 22, 16, 4) + b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71")


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("pcm.wav", riff(PCM, (b"data", SOUND.tobytes()))),
        ("extensible.wav", riff(EXTENSIBLE, (b"data", SOUND.tobytes()))),
        ("noted.wav", riff((b"LIST", b"odd"), PCM, (b"fact", b"1234"), (b"data", SOUND.tobytes()), (b"id3 ", b"x"))),
    ],
)
def test_given_pcm_of_16_bits_when_read_then_its_samples_are_played_as_they_are(tmp_path, name, octets):
    (tmp_path / name).write_bytes(octets)

    assert np.array_equal(PromptLibrary(tmp_path).samples(name), SOUND)


def test_given_ulaw_when_read_raw_or_in_wave_then_it_is_the_same(tmp_path):
    code = linear_to_ulaw(SOUND).tobytes()
    (tmp_path / "a.wav").write_bytes(riff(ULAW, (b"data", code)))
    (tmp_path / "b.ulaw").write_bytes(code)
    library = PromptLibrary(tmp_path)

    assert np.array_equal(library.samples("a.wav"), ulaw_to_linear(np.frombuffer(code, dtype=np.uint8)))
    assert np.array_equal(library.samples("a.wav"), library.samples("b.ulaw"))


def test_given_a_file_of_the_standard_library_when_read_then_it_fits(tmp_path):
    with wave.open(str(tmp_path / "x.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(SOUND.tobytes())

    assert np.array_equal(PromptLibrary(tmp_path).samples("x.wav"), SOUND)


DATA = (b"data", SOUND.tobytes())


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (riff(layout(1, 16, channels=2), DATA), "2 channels at 8000 Hz; wanted is one channel at 8000 Hz"),
        (riff(layout(1, 16, rate_hz=16000), DATA), "1 channels at 16000 Hz"),
        (riff(layout(1, 8), DATA), "format 0x0001 with 8 bits"),
        (riff(layout(6, 8), DATA), "format 0x0006 with 8 bits; wanted is PCM"),
        (riff(layout(3, 32), DATA), "format 0x0003"),
        (riff(PCM), "no samples"),
        (riff((b"junk", b"")), "no format"),
        (riff(DATA, PCM), "before their format"),
        (riff((b"fmt ", b"short"), DATA), "malformed format"),
        (riff(PCM, (b"data", b"")), "lasts 0.0 s"),
        (riff(PCM, DATA)[:-100], "cut off"),
        (b"ID3\x03 not wave at all", "no RIFF WAVE"),
        (b"RIFF", "no RIFF WAVE"),
        (riff(PCM, (b"data", b"\0\0" * (300 * 8000 + 1))), "lasts 300.0 s"),
    ],
)
def test_given_a_file_that_does_not_fit_when_read_then_the_error_names_it_and_says_what_is_wrong(tmp_path, octets, why):
    (tmp_path / "bad.wav").write_bytes(octets)

    with pytest.raises(PromptError, match=r"'bad\.wav'") as caught:
        PromptLibrary(tmp_path).samples("bad.wav")
    assert why in str(caught.value)


@given(st.binary(max_size=80))
def test_given_any_octets_when_read_as_wave_then_samples_or_prompt_error(octets):
    for candidate in (octets, b"RIFF\0\0\0\0WAVE" + octets, riff(PCM, (b"data", octets))):
        with suppress(PromptError):  # the only one
            assert wave_samples(candidate, "x").dtype == np.int16


def test_given_a_folder_when_it_is_read_through_then_each_unusable_file_is_named_and_the_rest_serves(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "good.wav").write_bytes(riff(PCM, DATA))
    (tmp_path / "stereo.wav").write_bytes(riff(layout(1, 16, channels=2), DATA))
    (tmp_path / "empty.ulaw").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no prompt")
    library = PromptLibrary(tmp_path)

    problems = library.problems()

    assert [problem.split("'")[1] for problem in problems] == ["empty.ulaw", "stereo.wav"]
    assert len(library.samples("sub/good.wav")) == 1600
    assert PromptLibrary().problems() == []


def test_given_a_changed_file_when_asked_again_then_the_new_one_is_played(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(PCM, DATA))
    library = PromptLibrary(tmp_path)
    assert len(library.samples("a.wav")) == 1600
    path.write_bytes(riff(PCM, (b"data", SOUND[:800].tobytes())))
    os.utime(path, ns=(1, 1))

    assert len(library.samples("a.wav")) == 800


def test_given_the_built_in_prompts_when_asked_then_no_folder_is_needed_and_ringback_is_two_seconds_in_six():
    library = PromptLibrary()
    assert all(len(library.samples(name)) for name in BUILT_IN)
    ringback = library.samples(RINGBACK).astype(float)

    assert len(ringback) == 6 * 8000
    assert not ringback[2 * 8000 :].any()
    spectrum = np.abs(np.fft.rfft(ringback[: 2 * 8000]))
    assert sorted(np.argsort(spectrum)[-2:] / 2.0) == [440.0, 480.0]


def test_given_a_repeating_prompt_when_it_ends_then_it_begins_again_and_is_not_finished():
    mixer = Mixer(2, np.random.default_rng(1))
    for row in range(2):
        mixer.open_row(row, 0.0)
    samples = np.arange(400, dtype=np.int16)
    mixer.start_prompt(0, "again", samples, repeats=True)
    mixer.start_prompt(1, "once", samples)

    finished = [mixer.tick()[1] for _ in range(7)]

    assert finished == [[], [], [(1, "once")], [], [], [], []]
    assert mixer.stop_prompt(0) == "again"


@pytest.fixture
def plane(tmp_path):
    (tmp_path / "short.wav").write_bytes(riff(PCM, (b"data", SOUND[:480].tobytes())))
    first, last = (int(port) for port in free_port_range(2).split("-"))
    made = MediaPlane("127.0.0.1", PortPool(first, last), 2, PromptLibrary(tmp_path))
    made.command(wire.OpenChannel("c"), 0.0)
    yield made
    made.close()


def ticks(plane, count):
    return [event for index in range(count) for event in plane.tick(0.02 * index)]


def test_given_a_prompt_that_does_not_exist_when_played_then_it_is_finished_with_the_reason_and_another_plays_on(plane):
    assert plane.command(wire.Play("c", "short.wav"), 0.0) == []

    (finished,) = plane.command(wire.Play("c", "none.wav"), 0.0)

    assert (finished.channel_id, finished.prompt) == ("c", "none.wav")
    assert "cannot be read" in finished.error
    assert ticks(plane, 3) == [wire.PromptFinished("c", "short.wav")]


def test_given_ringback_when_played_for_long_then_it_goes_on_until_another_prompt_takes_its_place(plane):
    assert plane.command(wire.Play("c", "ringback"), 0.0) == []
    assert ticks(plane, 700) == []  # 14 s of its 6 s period

    assert plane.command(wire.Play("c", "short.wav"), 14.0) == [wire.PromptFinished("c", "ringback")]
    assert ticks(plane, 3) == [wire.PromptFinished("c", "short.wav")]


def test_given_a_prompt_folder_when_the_plane_is_started_then_the_media_server_reads_it(tmp_path):
    run_dir, prompts = tmp_path / "run", tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "stereo.wav").write_bytes(riff(layout(1, 16, channels=2), DATA))
    try:
        ensure_running(run_dir, legs=1, rtp_ports=free_ports(8), prompt_dir=prompts)
        log = (run_dir / "media.log").read_text()
    finally:
        stop(run_dir)

    assert "media.prompt_unusable" in log
    assert "stereo.wav" in log
