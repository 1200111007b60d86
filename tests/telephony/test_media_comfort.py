"""Comfort noise: as loud as the far end's own pauses, as it was told, or as it was asked; and silence for silence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony import contract as wire
from telephony.media import rtp
from telephony.media.channels import PortPool
from telephony.media.comfort import (
    LOUDEST_POWER,
    ComfortNoise,
    parse_noise,
    power_of_dbfs,
    power_of_dbov,
    prediction_filter,
)
from telephony.media.mixer import Mixer
from telephony.media.plane import MediaPlane
from telephony.media.prompts import PromptLibrary
from tests.telephony.media_peer import free_port_range
from tests.telephony.signals import clip

ROW = np.array([1], dtype=np.intp)
RNG = np.random.default_rng(4)


def power(frames):
    return float(np.mean(np.asarray(frames, dtype=float) ** 2))


def db(ratio):
    return 10 * np.log10(ratio)


def noise_frames(count, rms):
    return np.round(RNG.standard_normal((count, 160)) * rms).astype(np.int16)


def observed(*parts):
    comfort = ComfortNoise(3, np.random.default_rng(1))
    for frame in np.concatenate(parts):
        comfort.observe(ROW, frame[None])
    return comfort


def made(comfort, count=50):
    return np.concatenate([comfort.of_far_end(ROW)[0] for _ in range(count)])


@pytest.mark.parametrize("rms", [15, 60, 200])
def test_given_speech_over_noise_when_it_pauses_then_the_noise_is_as_loud_as_the_line_was(rms):
    speech = clip("human_name_f").astype(float)
    line = np.concatenate([np.concatenate([speech, np.zeros(2400)])] * 4)[: 160 * 400].reshape(-1, 160)
    comfort = observed(np.clip(line + noise_frames(400, rms), -32768, 32767).astype(np.int16))

    assert abs(db(power(made(comfort)) / rms**2)) < 3.0


def test_given_digital_silence_when_it_pauses_then_silence_stays_silence():
    assert not made(observed(noise_frames(50, 100), np.zeros((20, 160), dtype=np.int16))).any()
    assert not made(ComfortNoise(3, np.random.default_rng(1))).any()


def test_given_somebody_who_never_pauses_when_he_stops_then_the_noise_is_bounded():
    assert power(made(observed(noise_frames(500, 8000)))) < 1.1 * LOUDEST_POWER


@pytest.mark.parametrize("level", [45, 60, 75])
def test_given_a_noise_packet_when_obeyed_then_its_level_is_heard_until_audio_comes_again(level):
    comfort = observed(noise_frames(100, 300))
    comfort.told(1, bytes([level]))
    assert db(power(made(comfort)) / power_of_dbov(-level)) == pytest.approx(0.0, abs=1.5 if level < 70 else 3.0)

    for frame in noise_frames(100, 100):
        comfort.observe(ROW, frame[None])

    assert db(power(made(comfort)) / 100**2) == pytest.approx(0.0, abs=2.5)


def test_given_reflection_coefficients_when_obeyed_then_the_noise_has_their_colour_and_level():
    comfort = ComfortNoise(3, np.random.default_rng(1))
    comfort.told(1, bytes([45, 127 - 115]))  # k1 = -0.9: a strong low pass
    noise = made(comfort, 200).astype(float)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2

    assert db(power(noise) / power_of_dbov(-45)) == pytest.approx(0.0, abs=1.0)
    assert db(spectrum[: len(spectrum) // 8].sum() / spectrum[-len(spectrum) // 2 :].sum()) > 10


@given(st.binary(max_size=40))
def test_given_any_noise_packet_when_obeyed_then_its_filter_is_stable_and_the_noise_bounded(payload):
    description = parse_noise(payload)
    assert (description is None) == (payload == b"")
    comfort = ComfortNoise(3, np.random.default_rng(1))
    comfort.told(1, payload)
    noise = made(comfort, 5)
    assert np.abs(noise.astype(int)).max() <= 16 * np.sqrt(LOUDEST_POWER) + 1
    if description is not None:
        assert (np.abs(np.roots(prediction_filter(description.reflection))) < 1).all()


def test_given_a_level_when_asked_then_it_is_that_of_a_sine():
    t = np.arange(8000) / 8000
    assert power_of_dbfs(-30.0) == pytest.approx(
        power(32768 * 10 ** (-30 / 20) * np.sin(2 * np.pi * 1000 * t)), rel=0.01
    )


# --- in the mixer -----------------------------------------------------------------------------------------------


class Stream:
    """Far ends whose frames the test decides; None: nothing comes."""

    def __init__(self, count):
        self.next = [None] * count

    def take(self, rows):
        audio = np.array([self.next[r] if self.next[r] is not None else np.zeros(160) for r in rows], dtype=np.int16)
        return audio, np.array([self.next[r] is not None for r in rows])

    def note_other(self, row, seq):
        """The real one keeps its sequence numbers in order with these."""


@pytest.fixture
def mixer():
    made = Mixer(3, np.random.default_rng(2))
    for row in range(3):
        made.open_row(row, 0.0)
        made.sending[row] = True
    made.jitter = Stream(3)
    return made


def hear(mixer, row, count=1):
    heard = []
    for _ in range(count):
        mixer.tick()
        heard.append(mixer.sent[np.searchsorted(mixer.sent_rows, row)].copy())
    return np.concatenate(heard)


def test_given_a_far_end_that_stops_sending_when_bridged_then_the_other_hears_its_noise_and_then_its_voice(mixer):
    mixer.bridge(0, 1)
    for frame in noise_frames(60, 80):
        mixer.jitter.next[0] = frame
        mixer.tick()
    mixer.jitter.next[0] = None

    assert abs(db(power(hear(mixer, 1, 50)) / 80**2)) < 2.5
    mixer.jitter.next[0] = voice = noise_frames(1, 3000)[0]
    assert np.array_equal(hear(mixer, 1), voice)


def test_given_concealment_at_work_when_a_frame_is_lost_then_it_is_left_alone(mixer):
    mixer.bridge(0, 1)
    concealed = noise_frames(1, 500)[0]
    mixer.jitter.take = lambda rows: (np.repeat(concealed[None], 3, axis=0), np.zeros(3, dtype=bool))

    assert np.array_equal(hear(mixer, 1), concealed)


def test_given_a_partner_that_is_gone_when_left_alone_then_the_line_does_not_go_dead(mixer):
    mixer.bridge(0, 1)
    for frame in noise_frames(60, 80):
        mixer.jitter.next[0] = frame
        mixer.tick()
    mixer.close_row(0)

    assert abs(db(power(hear(mixer, 1, 50)) / 80**2)) < 2.5
    assert not hear(mixer, 2, 5).any()


def test_given_a_noise_packet_when_it_comes_over_the_wire_then_the_partner_hears_it(mixer):
    mixer.bridge(0, 1)
    packet = np.zeros((1, 172), dtype=np.uint8)
    one = np.array([9], dtype=np.int64)
    rtp.write_headers(packet, np.array([13], dtype=np.uint8), np.array([False]), one, one, one)
    packet[0, 12] = 50
    assert mixer.accept(np.array([0]), packet, rtp.parse(packet, np.array([13])), 1.0) == []

    assert db(power(hear(mixer, 1, 50)) / power_of_dbov(-50)) == pytest.approx(0.0, abs=1.5)


@pytest.fixture
def plane():
    first, last = (int(port) for port in free_port_range(2).split("-"))
    made = MediaPlane("127.0.0.1", PortPool(first, last), 2, PromptLibrary(), idle_dbfs=-50.0)
    yield made
    made.close()


def test_given_a_person_who_waits_when_noise_is_configured_or_asked_then_the_line_is_not_dead(plane):
    plane.command(wire.OpenChannel("c"), 0.0)
    mixer = plane._mixer
    row = plane._by_id["c"].row
    assert db(power(hear(mixer, row, 50)) / power_of_dbfs(-50.0)) == pytest.approx(0.0, abs=1.5)

    assert plane.command(wire.Comfort("c", -40.0), 1.0) == []
    assert db(power(hear(mixer, row, 50)) / power_of_dbfs(-40.0)) == pytest.approx(0.0, abs=1.0)
    assert plane.snapshot().channels[0].comfort_dbfs == -40.0

    assert plane.command(wire.Comfort("c", 0.0), 1.0) == []
    assert not hear(mixer, row, 5).any()
    (failed,) = plane.command(wire.Comfort("c", -10.0), 1.0)
    assert "-90..-30" in failed.why
