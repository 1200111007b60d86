import contextlib
import itertools
import math
import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.simworld import g711, idtone, sound
from telephony.simworld.media import MAX_CATCH_UP_TICKS, PACKET_BYTES, MediaEngine, MediaError


def power_dbfs(samples, hz):
    """Level of one frequency, by the plain definition of the DFT."""
    x = np.asarray(samples, np.float64) / 32767
    t = np.arange(len(x)) / 8000
    return 20 * math.log10(2 * abs(np.mean(x * np.exp(-2j * np.pi * hz * t))) + 1e-9)


# --- G.711 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload_type", [g711.PCMU, g711.PCMA])
def test_given_every_code_when_decoded_and_encoded_then_its_value_returns(payload_type):
    codes = np.arange(256, dtype=np.uint8)
    samples = g711.decode(codes, payload_type)
    assert (g711.decode(g711.encode(samples, payload_type), payload_type) == samples).all()


def test_given_known_points_when_decoded_then_they_are_the_recommendations():
    # ITU-T G.711 tables 2a (decision values times 4 on the 16-bit scale) and 1a (times 8).
    assert g711.ULAW_TO_LINEAR[[0x80, 0x00, 0xFF]].tolist() == [32124, -32124, 0]
    assert g711.ALAW_TO_LINEAR[[0xAA, 0x2A, 0xD5, 0x55]].tolist() == [32256, -32256, 8, -8]


@pytest.mark.parametrize("payload_type", [g711.PCMU, g711.PCMA])
def test_given_a_sine_when_coded_then_its_level_stays_and_distortion_is_low(payload_type):
    sine = (10_000 * np.sin(2 * np.pi * 1004 * np.arange(8000) / 8000)).astype(np.int16)
    back = g711.decode(g711.encode(sine, payload_type), payload_type)
    error = back.astype(float) - sine
    assert 10 * np.log10(np.mean(sine.astype(float) ** 2) / np.mean(error**2)) > 35
    assert g711.level_dbfs(back) == pytest.approx(20 * math.log10(10_000 / 32767), abs=0.1)


# --- identifying tones -----------------------------------------------------------------------------------------


def mixed_with_speech(code, clip, noise_dbfs, rng, start=0, gain=1.0):
    speech = sound.render(f"|clip:{clip}").frames.reshape(-1)
    speech = np.resize(speech, 8000 + start)[start:].astype(float)
    tone = np.roll(idtone.tone_pair(code), start) * 32767
    noise = rng.standard_normal(8000) * 10 ** (noise_dbfs / 20) * 32767 / math.sqrt(2)
    total = np.clip(gain * (speech + tone) + noise, -32768, 32767).astype(np.int16)
    return g711.decode(g711.encode(total))


@settings(max_examples=150, deadline=None)
@given(
    code=st.integers(0, idtone.CODES - 1),
    clip=st.sampled_from(sound.clips_of("agent") + sound.clips_of("customer") + sound.clips_of("human")),
    noise_dbfs=st.floats(-70, -40),
    start=st.integers(0, 7999),
    loss=st.sets(st.integers(0, 49), max_size=3),
    seed=st.integers(0, 99),
)
def test_given_a_code_under_speech_noise_and_loss_when_decoded_then_it_is_that_code(
    code, clip, noise_dbfs, start, loss, seed
):
    samples = mixed_with_speech(code, clip, noise_dbfs, np.random.default_rng(seed), start)
    kept = np.concatenate([f for i, f in enumerate(samples.reshape(50, 160)) if i not in loss])
    assert idtone.decode_code(kept) == code


def test_given_a_line_with_ten_db_of_loss_when_decoded_then_the_code_is_still_found():
    rng = np.random.default_rng(3)
    assert idtone.decode_code(mixed_with_speech(77, "agent_01", -60, rng, gain=10 ** (-10 / 20))) == 77


def test_given_speech_tones_noise_or_silence_without_a_code_when_decoded_then_none():
    rng = np.random.default_rng(5)
    scores = [f"|clip:{name} silence:200" for name in sound.clip_index()] + [f"|tone:{name}" for name in sound.TONES]
    for score in scores:
        samples = np.resize(sound.render(score).frames.reshape(-1), 24_000)
        for second in samples.reshape(3, 8000):
            assert idtone.decode_code(second) is None, score
    for level in (-60, -30, -10):
        noise = (rng.standard_normal(8000) * 10 ** (level / 20) * 23000).clip(-32768, 32767).astype(np.int16)
        assert idtone.decode_code(noise) is None
    assert idtone.decode_code(np.zeros(8000, np.int16)) is None
    assert idtone.decode_code(np.zeros(100, np.int16)) is None


def test_given_two_codes_at_once_when_decoded_then_none_is_believed():
    both = (idtone.tone_pair(3) + idtone.tone_pair(3 + 8 * 4 + 2)) * 32767
    assert idtone.decode_code(both.astype(np.int16)) is None


def test_given_agents_and_numbers_when_coded_then_their_codes_are_apart_and_neighbours_differ():
    agents = [idtone.agent_code(str(1001 + i)) for i in range(idtone.AGENT_CODES)]
    assert sorted(agents) == list(range(idtone.AGENT_CODES))
    numbers = {idtone.customer_code(str(12125552000 + i)) for i in range(2000)}
    assert numbers == set(range(idtone.AGENT_CODES, idtone.CODES))


# --- scores ----------------------------------------------------------------------------------------------------


def test_given_a_score_when_rendered_then_parts_follow_each_other_in_time():
    made = sound.render("silence:100 tone:beep silence:60 clip:human_00")
    frames = made.frames
    assert made.loop_from is None
    assert made.length_s == pytest.approx(0.1 + 0.4 + 0.06 + sound.clip_index()["human_00"][1], abs=0.02)
    assert not frames[:5].any()
    assert power_dbfs(frames[5:25].reshape(-1), 1000) == pytest.approx(-12, abs=0.5)
    assert not frames[25:28].any()
    assert g711.level_dbfs(frames[28:48].reshape(-1)) > -30


def test_given_a_repeat_mark_when_rendered_then_the_part_after_it_repeats():
    made = sound.render("silence:200 |tone:busy")
    assert (made.loop_from, len(made.frames)) == (10, 10 + 50)


@pytest.mark.parametrize("score", ["noise:3", "clip:nobody", "tone:bleep", "silence:x", "tone:busy |", "a | b | c"])
def test_given_a_wrong_score_when_rendered_then_the_part_is_named(score):
    with pytest.raises(ValueError, match=r"part|repeat|more than one"):
        sound.render(score)


def segment_figures(score):
    """(Hz, ms) of each of the three segments of a SIT, measured by the strongest frequency every 10 ms."""
    samples = sound.render(score).frames.reshape(-1)
    found = []
    for start in range(0, len(samples) - 80, 80):
        piece = samples[start : start + 160]
        if g711.level_dbfs(piece) < -30:
            continue
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 16000))
        found.append(round(int(spectrum.argmax()) / 2, 1))
    runs = []
    for hz in found:
        if runs and abs(runs[-1][0] - hz) < 30:
            runs[-1][1] += 10
        else:
            runs.append([hz, 10])
    return [tuple(r) for r in runs if r[1] > 50]


@pytest.mark.parametrize(
    ("name", "first", "second", "first_ms", "second_ms"),
    [
        ("sit_ic", 913.8, 1370.6, 275, 275),
        ("sit_vc", 985.2, 1370.6, 380, 275),
        ("sit_ro", 913.8, 1428.5, 275, 380),
        ("sit_nc", 985.2, 1428.5, 380, 380),
        ("sit_io", 913.8, 1428.5, 380, 275),
    ],
)
def test_given_a_special_information_tone_when_measured_then_frequencies_and_lengths_are_right(
    name, first, second, first_ms, second_ms
):
    (hz1, ms1), (hz2, ms2), (hz3, ms3) = segment_figures(f"tone:{name}")
    assert [hz1, hz2, hz3] == pytest.approx([first, second, 1776.7], abs=8)
    assert [ms1, ms2, ms3] == pytest.approx([first_ms, second_ms, 380], abs=25)


@pytest.mark.parametrize(
    ("name", "hz", "on_frames", "period_frames"),
    [("busy", (480, 620), 25, 50), ("reorder", (480, 620), 12.5, 25), ("ringback", (440, 480), 100, 300)],
)
def test_given_a_cadence_when_measured_then_on_and_off_times_are_right(name, hz, on_frames, period_frames):
    frames = sound.render(f"|tone:{name}").frames
    loud = [g711.level_dbfs(f) > -40 for f in frames]
    assert len(frames) == period_frames
    assert sum(loud) == pytest.approx(on_frames, abs=1)
    on = frames[: int(on_frames)].reshape(-1)
    assert min(power_dbfs(on, f) for f in hz) > -30


def test_given_all_clips_when_loaded_then_they_are_level_and_not_clipped():
    for name, (_, length_s) in sound.clip_index().items():
        samples = sound.render(f"clip:{name}").frames.reshape(-1)
        assert len(samples) / 8000 == pytest.approx(length_s, abs=0.02)
        assert -27 < g711.level_dbfs(samples) < -18, name
        assert np.abs(samples.astype(int)).max() < 32_200, name
    assert all(0.3 <= sound.clip_index()[c][1] <= 2.8 for c in sound.clips_of("human"))
    assert len(sound.clips_of("human")) >= 25
    assert sum(len(sound.clips_of(k)) for k in ("machine", "machine_short", "machine_long", "machine_rest")) >= 25
    assert all(3.0 <= sound.clip_index()[c][1] <= 8.0 for c in sound.clips_of("machine"))


# --- the engine ------------------------------------------------------------------------------------------------


@pytest.fixture
def engine():
    made = MediaEngine("127.0.0.1", max_legs=8)
    yield made
    made.close()


def pair(engine, payload_type=g711.PCMU):
    a, b = engine.open_leg(), engine.open_leg()
    for leg, other in ((a, b), (b, a)):
        leg.remote, leg.payload_type, leg.sending = ("127.0.0.1", other.port), payload_type, True
    return a, b


def run(engine, seconds, clock):
    """Ticks without waiting: loopback delivers at once, and the clock is ours."""
    for _ in range(round(seconds * 50)):
        clock[0] += 0.02
        engine.receive(clock[0])
        engine.send()
    engine.receive(clock[0] + 0.02)


@pytest.mark.parametrize("payload_type", [g711.PCMU, g711.PCMA])
def test_given_two_legs_when_both_hum_then_each_hears_the_other_code_every_second(engine, payload_type):
    a, b = pair(engine, payload_type)
    a.code, b.code = 5, 70
    a.play(sound.render("|clip:agent_00 silence:800"))
    b.play(sound.render("silence:500 clip:customer_01"))
    run(engine, 3.0, [0.0])
    assert a.heard_codes == {70: 3}
    assert b.heard_codes == {5: 3}
    heard = engine.heard(a)
    assert (heard.packets, heard.lost, a.packets_out) == (150, 0, 150)
    assert (a.port % 2, b.port % 2) == (0, 0)


def test_given_a_tone_when_frames_of_it_are_quiet_or_lost_then_each_pause_is_noted_with_its_length(engine):
    a, b = pair(engine)
    clock = [0.0]
    b.code = 70
    run(engine, 1.0, clock)
    assert engine.heard(a).pauses == (), "before the first sound there is none"
    b.code = None
    run(engine, 0.06, clock)
    b.code = 70
    run(engine, 1.0, clock)
    engine._seq[b.slot] += 2  # two packets that never come
    run(engine, 1.0, clock)
    assert [frames for _, frames in engine.heard(a).pauses] == [3, 2]
    assert [at_s for at_s, _ in engine.heard(a).pauses] == pytest.approx([1.08, 2.08], abs=0.03)
    engine.listen_anew(a)
    b.code = None
    run(engine, 1.0, clock)
    assert engine.heard(a).pauses == ()


def test_given_a_soft_line_when_it_plays_then_the_sound_is_softer_and_the_code_is_not(engine):
    levels = []
    for level_db in (0.0, -9.0):
        a, b = engine.open_leg(), engine.open_leg(noise_dbfs=-90.0, level_db=level_db)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind(("127.0.0.1", 0))
            sink.settimeout(5)
            b.remote, b.sending = sink.getsockname(), True
            b.play(sound.render("|tone:uk_nu"))
            packets = []
            for _ in range(20):
                engine.send()
                packets.append(sink.recv(2000)[12:])
        levels.append(g711.level_dbfs(g711.decode(np.frombuffer(b"".join(packets), np.uint8))))
        b.remote, b.code = ("127.0.0.1", a.port), 66
        run(engine, 1.0, [0.0])
        assert set(a.heard_codes) == {66}
        engine.close_leg(a)
        engine.close_leg(b)
    assert levels[0] - levels[1] == pytest.approx(9.0, abs=0.3)


@pytest.mark.parametrize("loss_ratio", [0.0, 0.02, 0.2])
def test_given_a_line_that_loses_packets_when_it_sends_then_so_many_are_missing_in_bursts(engine, loss_ratio):
    a, b = engine.open_leg(), engine.open_leg(loss_ratio=loss_ratio)
    b.remote, b.sending = ("127.0.0.1", a.port), True
    run(engine, 200.0, [0.0])
    kept_back = b.packets_lost
    heard = engine.heard(a)
    assert b.packets_out + kept_back == 10_000
    assert heard.packets == b.packets_out
    assert kept_back / 10_000 == pytest.approx(loss_ratio, rel=0.35)
    assert abs(heard.lost - kept_back) <= 5, "the receiver can tell, but for what is lost at the very end"


def test_given_a_line_with_jitter_when_it_sends_then_late_packets_come_with_the_next_and_in_order(engine):
    leg = engine.open_leg(late_ratio=0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.setblocking(False)
        leg.remote, leg.sending = sink.getsockname(), True
        counts, seqs = [], []
        for _ in range(500):
            engine.send()
            before = len(seqs)
            with contextlib.suppress(BlockingIOError):
                while True:
                    seqs.append(int.from_bytes(sink.recv(2000)[2:4], "big"))
            counts.append(len(seqs) - before)
    assert set(counts) == {0, 1, 2}
    assert 60 < counts.count(0) < 140
    assert [(b - a) % 65536 for a, b in itertools.pairwise(seqs)] == [1] * (len(seqs) - 1)
    assert len(seqs) + bool(leg.held) == 500


def spectrum(name: str, begin_s: float, length_s: float) -> dict[int, float]:
    """Lines of a tone within 20 dB of its strongest: Hz, rounded to 5, and dB under full scale."""
    samples = sound.TONES[name]()[round(8000 * begin_s) : round(8000 * (begin_s + length_s))]
    power_db = 20 * np.log10(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) / len(samples) * 4 + 1e-9)
    peaks = [
        i
        for i in range(1, len(power_db) - 1)
        if power_db[i] > power_db.max() - 20 and power_db[i] >= max(power_db[i - 1], power_db[i + 1])
    ]
    return {round(i / length_s / 5) * 5: round(float(power_db[i])) for i in peaks}


@pytest.mark.parametrize(
    ("name", "hz"),
    [
        ("uk_nu", {400}), ("uk_ringback", {400, 450}), ("bell", {2225}), ("v22", {2250, 2850}), ("ced", {2100}),
        ("uk_busy", {400}), ("beep_double", {950}),
    ],
)  # fmt: skip
def test_given_a_tone_when_it_begins_then_these_frequencies_are_in_it(name, hz):
    assert set(spectrum(name, 0.0, 0.2)) == hz


def test_given_the_tones_of_the_itu_when_heard_then_three_of_330_ms():
    for part, hz in enumerate((950, 1400, 1800)):
        assert set(spectrum("sit_itu", 0.33 * part + 0.04, 0.25)) == {hz}


def test_given_an_ansam_when_looked_at_then_its_phase_turns_every_450_ms_and_its_amplitude_swings_at_15_hz():
    wave = sound.TONES["ansam"]()
    t = np.arange(len(wave)) / 8000
    # Mixed down to 0 Hz and smoothed over 10 ms: amplitude and phase of what is at 2100 Hz.
    base = np.convolve(wave * np.exp(-2j * np.pi * 2100 * t), np.ones(80) / 80, "same")
    middles = [base[round(8000 * (0.45 * k + 0.225))] for k in range(8)]
    turns = [np.angle(b / a) for a, b in itertools.pairwise(middles)]
    assert all(abs(abs(turn) - np.pi) < 0.1 for turn in turns)
    swing = np.abs(np.fft.rfft(np.abs(base[800:3400]) - np.abs(base[800:3400]).mean()))
    assert np.argmax(swing) / (2600 / 8000) == pytest.approx(15.0, abs=2.0)


def test_given_a_pager_when_heard_then_four_short_beeps():
    wave = np.abs(sound.TONES["pager"]())
    loud = wave.reshape(-1, 80).max(axis=1) > 0.05
    assert int((np.diff(loud.astype(int)) == 1).sum() + loud[0]) == 4


def test_given_a_short_last_second_when_the_leg_closes_then_its_code_counts(engine):
    a, b = pair(engine)
    b.code = 66
    run(engine, 0.6, [0.0])
    assert not a.heard_codes
    engine.close_leg(a)
    assert a.heard_codes == {66: 1}


def test_given_sound_after_silence_when_listening_then_its_beginning_is_noted(engine):
    a, b = pair(engine)
    clock = [100.0]
    run(engine, 1.0, clock)
    assert engine.heard(a).first_loud_s is None
    b.play(sound.render("silence:400 clip:human_00"))
    began_s = clock[0]
    run(engine, 2.0, clock)
    first_s = engine.heard(a).first_loud_s
    assert began_s + 0.4 <= first_s <= began_s + 0.5
    assert engine.heard(a).last_loud_s < began_s + 1.1
    assert engine.heard(a).loud_s == pytest.approx(0.4, abs=0.15)
    engine.listen_anew(a)
    assert engine.heard(a).first_loud_s is None


def test_given_foreign_packets_when_received_then_they_are_dropped_and_counted(engine):
    leg = engine.open_leg()
    good = bytes([0x80, 0]) + bytes(10) + b"\xff" * 160
    bad = [b"x", b"", bytes([0x40]) + good[1:], bytes([0x80, 96]) + good[2:], good + b"\xff" * 80, b"\x80" * 1400]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in [*bad, good]:
            sender.sendto(packet, ("127.0.0.1", leg.port))
    engine.receive(1.0)
    engine.receive(1.0)
    assert engine.heard(leg).packets == 1
    assert engine.dropped == {"bad_length": 3, "bad_version": 1, "unknown_payload": 1, "not_20_ms": 1}


def test_given_missing_sequence_numbers_when_received_then_they_count_as_lost(engine):
    leg = engine.open_leg()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for seq in (65534, 65535, 2, 3, 40_000):
            packet = bytes([0x80, 0]) + seq.to_bytes(2, "big") + bytes(8) + b"\xff" * 160
            sender.sendto(packet, ("127.0.0.1", leg.port))
            engine.receive(1.0)
    assert engine.heard(leg).lost == 2


def test_given_a_stream_when_captured_then_headers_advance_as_rfc_3550_says(engine):
    leg = engine.open_leg()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(5)
        leg.remote, leg.sending = sink.getsockname(), True
        for _ in range(3):
            engine.send()
        engine.skip(MAX_CATCH_UP_TICKS)
        engine.send()
        packets = [sink.recv(2000) for _ in range(4)]
    assert {len(p) for p in packets} == {PACKET_BYTES}
    assert [p[1] >> 7 for p in packets] == [1, 0, 0, 1]
    seqs = [int.from_bytes(p[2:4], "big") for p in packets]
    stamps = [int.from_bytes(p[4:8], "big") for p in packets]
    assert [(s - seqs[0]) % 65536 for s in seqs] == [0, 1, 2, 3]
    assert [(t - stamps[0]) % 2**32 for t in stamps] == [0, 160, 320, 160 * (3 + MAX_CATCH_UP_TICKS)]
    assert len({p[8:12] for p in packets}) == 1


def test_given_no_room_when_opening_then_an_error_and_closed_legs_are_used_again():
    engine = MediaEngine("127.0.0.1", max_legs=2)
    first, _ = engine.open_leg(), engine.open_leg()
    with pytest.raises(MediaError):
        engine.open_leg()
    engine.close_leg(first)
    engine.close_leg(first)
    again = engine.open_leg()
    assert engine.heard(again).packets == 0
    engine.close()


def test_given_a_closed_far_end_when_sending_then_the_tick_goes_on(engine):
    a, b = pair(engine)
    engine.close_leg(b)
    run(engine, 0.2, [0.0])
    assert a.packets_out == 10
