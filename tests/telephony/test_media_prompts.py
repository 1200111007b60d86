"""Prompt files: what is read, what is refused and why, and what a channel plays of them."""

import os
import struct
import threading
import wave
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony import contract as wire
from telephony.launcher import ensure_running, stop
from telephony.media.channels import PortPool
from telephony.media.g711 import alaw_to_linear, linear_to_alaw, linear_to_ulaw, ulaw_to_linear
from telephony.media.mixer import Mixer
from telephony.media.plane import MediaPlane
from telephony.media.players import Prompt
from telephony.media.prompts import BUILT_IN, RINGBACK, PromptError, PromptLibrary, wave_samples
from tests.ports import free_ports
from tests.telephony.media_peer import Daemon, free_port_range

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
        (riff(layout(1, 16, channels=2), DATA), "2 channels at 8000 Hz; wanted is one channel at 8000, 11025"),
        (riff(layout(1, 16, rate_hz=6000), DATA), "1 channels at 6000 Hz"),
        (riff(layout(1, 12), DATA), "format 0x0001 with 12 bits"),
        (riff(layout(2, 4), DATA), "format 0x0002 with 4 bits; wanted is PCM"),
        (riff(layout(3, 64), DATA), "format 0x0003"),
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


def three_bytes(samples):
    return (samples.astype("<i4") << 8).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


@pytest.mark.parametrize(
    ("form", "encode", "step"),
    [
        (layout(1, 8), lambda x: ((x >> 8) + 128).astype(np.uint8).tobytes(), 256),
        (layout(1, 24), three_bytes, 1),
        (layout(1, 32), lambda x: (x.astype("<i4") << 16).tobytes(), 1),
        (layout(3, 32), lambda x: (x / 32767).astype("<f4").tobytes(), 1),
        (layout(6, 8), lambda x: linear_to_alaw(x).tobytes(), 512),
    ],
    ids=["8 bits", "24 bits", "32 bits", "float", "A-law"],
)
def test_given_other_widths_when_read_then_it_is_the_same_sound(tmp_path, form, encode, step):
    (tmp_path / "a.wav").write_bytes(riff(form, (b"data", encode(SOUND))))

    samples = PromptLibrary(tmp_path).samples("a.wav")

    assert np.abs(samples.astype(int) - SOUND).max() < step


@pytest.mark.parametrize("rate_hz", [11025, 16000, 22050, 44100, 48000])
def test_given_a_higher_rate_when_read_then_it_sounds_the_same_and_what_the_line_cannot_carry_is_gone(
    tmp_path, rate_hz
):
    t = np.arange(rate_hz) / rate_hz
    low, high = 8000 * np.sin(2 * np.pi * 1000 * t), 8000 * np.sin(2 * np.pi * 5200 * t)
    both = low + (high if rate_hz > 12000 else 0)
    (tmp_path / "a.wav").write_bytes(riff(layout(1, 16, rate_hz=rate_hz), (b"data", both.astype("<i2").tobytes())))

    samples = PromptLibrary(tmp_path).samples("a.wav").astype(float)

    assert len(samples) == 8000
    spectrum = np.abs(np.fft.rfft(samples[1000:7000] * np.hanning(6000)))
    assert spectrum.argmax() * 8000 / 6000 == pytest.approx(1000, abs=2)
    assert spectrum.max() == pytest.approx(8000 / 2 * 3000, rel=0.03)
    spectrum[730:770] = 0
    assert spectrum.max() < 8000 / 2 * 3000 / 300  # folded back, 5200 Hz would be heard at 2800


def test_given_alaw_without_a_header_when_read_then_it_is_decoded(tmp_path):
    (tmp_path / "a.alaw").write_bytes(linear_to_alaw(SOUND).tobytes())

    assert np.array_equal(PromptLibrary(tmp_path).samples("a.alaw"), alaw_to_linear(linear_to_alaw(SOUND)))


def test_given_folders_of_languages_when_asked_then_the_nearest_one_is_played(tmp_path):
    lengths = {
        "hello.ulaw": 100,
        "pt/hello.ulaw": 200,
        "pt-BR/hello.ulaw": 300,
        "pt/bye.ulaw": 400,
        "de/drop.ulaw": 500,
    }
    for name, length in lengths.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x80" * length)
    library = PromptLibrary(tmp_path)
    asked = [
        ("hello.ulaw", "pt-BR", 300),
        ("hello.ulaw", "pt-PT", 200),
        ("hello.ulaw", "fr", 100),
        ("hello.ulaw", "", 100),
        ("bye.ulaw", "pt-BR", 400),
        ("drop", "de-AT", 500),
        ("drop", "fr", len(PromptLibrary().samples("drop"))),
    ]

    assert [(name, language, len(library.samples(name, language))) for name, language, _ in asked] == asked
    with pytest.raises(PromptError, match="no language"):
        library.samples("hello.ulaw", "../pt")
    with pytest.raises(PromptError, match="cannot be read"):
        library.samples("bye.ulaw", "de")


def test_given_a_broken_file_of_a_language_when_asked_then_it_is_an_error_and_not_another_language(tmp_path):
    (tmp_path / "de").mkdir()
    (tmp_path / "a.wav").write_bytes(riff(PCM, DATA))
    (tmp_path / "de" / "a.wav").write_bytes(b"RIFF")

    with pytest.raises(PromptError, match="no RIFF WAVE"):
        PromptLibrary(tmp_path).samples("a.wav", "de")


def test_given_a_sequence_when_played_then_its_parts_follow_without_a_gap_and_end_once(plane):
    plane.command(wire.Play("c", "short.wav", then=("short.wav", "tone")), 0.0)

    assert ticks(plane, 3 + 3 + 12) == []
    assert ticks(plane, 1) == [wire.PromptFinished("c", "short.wav")]
    assert plane.command(wire.Play("c", "short.wav", then=("none.wav",)), 0.0) == []
    (failed,) = until_told(plane)
    assert "none.wav" in failed.error


def test_given_a_loop_when_played_then_it_goes_on_seamlessly_until_stopped(plane):
    plane.command(wire.Play("c", "short.wav", loop=True), 0.0)

    assert ticks(plane, 50) == []
    assert plane.command(wire.StopPlaying("c"), 1.0) == [wire.PromptFinished("c", "short.wav")]


def test_given_a_loop_of_odd_length_when_it_wraps_then_no_sample_is_missing():
    prompt = Prompt("x", np.arange(250, dtype=np.int16), repeats=True)

    heard = np.concatenate([prompt.piece() for _ in range(10)])

    assert np.array_equal(heard, np.arange(1600) % 250)


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
    library = PromptLibrary(tmp_path)
    assert library.problems() == []  # as the server does: all is in memory
    made = MediaPlane("127.0.0.1", PortPool(first, last), 2, library)
    made.command(wire.OpenChannel("c"), 0.0)
    yield made
    made.close()


def until_told(plane):
    plane.audio._reader.join()
    return ticks(plane, 1)


def ticks(plane, count):
    return [event for index in range(count) for event in plane.tick(0.02 * index)]


def test_given_a_prompt_that_does_not_exist_when_played_then_it_is_finished_with_the_reason_and_another_plays_on(plane):
    assert plane.command(wire.Play("c", "short.wav"), 0.0) == []

    assert plane.command(wire.Play("c", "none.wav"), 0.0) == []
    plane.audio._reader.join()
    (finished,) = ticks(plane, 1)

    assert (finished.channel_id, finished.prompt) == ("c", "none.wav")
    assert "cannot be read" in finished.error
    assert ticks(plane, 2) == [wire.PromptFinished("c", "short.wav")]


def test_given_a_disk_that_hangs_when_prompts_are_played_then_those_in_memory_play_and_no_tick_waits(
    plane, tmp_path, monkeypatch
):
    hangs, read = threading.Event(), PromptLibrary.samples

    def slowly(self, name, language=""):
        assert hangs.wait(20.0)
        return read(self, name, language)

    monkeypatch.setattr(PromptLibrary, "samples", slowly)
    (tmp_path / "new.wav").write_bytes(riff(PCM, (b"data", SOUND[:320].tobytes())))
    plane.command(wire.OpenChannel("d"), 0.0)
    assert plane.command(wire.Play("c", "short.wav"), 0.0) == []
    assert plane.command(wire.Play("d", "new.wav"), 0.0) == []
    assert ticks(plane, 50) == [wire.PromptFinished("c", "short.wav")]
    assert plane.command(wire.Play("c", "new.wav"), 0.0) == []
    assert plane.command(wire.StopPlaying("c"), 0.0) == [wire.PromptFinished("c", "new.wav")]
    hangs.set()
    plane.audio._reader.join()

    assert ticks(plane, 3) == [wire.PromptFinished("d", "new.wav")]


def test_given_a_prompt_that_is_being_read_when_people_are_bridged_then_it_does_not_start_over_their_talk(
    plane, tmp_path
):
    (tmp_path / "new.wav").write_bytes(riff(PCM, (b"data", SOUND[:320].tobytes())))
    plane.command(wire.OpenChannel("d"), 0.0)
    plane.command(wire.Play("d", "new.wav"), 0.0)
    plane.command(wire.Bridge("c", "d"), 0.0)
    plane.audio._reader.join()

    assert ticks(plane, 5) == []


def test_given_a_file_that_changed_when_played_again_later_then_the_new_one_is_heard(plane, tmp_path):
    plane.command(wire.Play("c", "short.wav"), 0.0)
    plane.audio._reader.join()
    (tmp_path / "short.wav").write_bytes(riff(PCM, (b"data", SOUND[:160].tobytes())))
    os.utime(tmp_path / "short.wav", ns=(1, 1))
    plane.command(wire.Play("c", "short.wav"), 10.0)  # still the old one; it is looked at now
    plane.audio._reader.join()
    plane.command(wire.Play("c", "short.wav"), 20.0)

    assert ticks(plane, 1) == [wire.PromptFinished("c", "short.wav")]


def test_given_ringback_when_played_for_long_then_it_goes_on_until_another_prompt_takes_its_place(plane):
    assert plane.command(wire.Play("c", "ringback"), 0.0) == []
    assert ticks(plane, 700) == []  # 14 s of its 6 s period

    assert plane.command(wire.Play("c", "short.wav"), 14.0) == [wire.PromptFinished("c", "ringback")]
    assert ticks(plane, 3) == [wire.PromptFinished("c", "short.wav")]


def test_given_noise_for_who_waits_when_the_plane_is_started_then_its_channels_have_it(tmp_path):
    try:
        ensure_running(tmp_path, legs=1, rtp_ports=free_ports(8), idle_noise_dbfs=-61.5)
        daemon = Daemon(tmp_path / "media-0.sock")
        daemon.open("waits")
        again = Daemon(tmp_path / "media-0.sock")
    finally:
        stop(tmp_path)

    assert [channel.comfort_dbfs for channel in again.snapshot.channels] == [-61.5]
    daemon.close()
    again.close()


def test_given_a_prompt_folder_when_the_plane_is_started_then_the_media_server_reads_it(tmp_path):
    run_dir, prompts = tmp_path / "run", tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "stereo.wav").write_bytes(riff(layout(1, 16, channels=2), DATA))
    try:
        ensure_running(run_dir, legs=1, rtp_ports=free_ports(8), prompt_dir=prompts)
        log = next(run_dir.glob("media*.log")).read_text()
    finally:
        stop(run_dir)

    assert "media.prompt_unusable" in log
    assert "stereo.wav" in log
