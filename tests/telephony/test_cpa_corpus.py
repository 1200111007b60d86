"""The corpus: the same bytes again, truth that is true, lines that do what the manifest says, parts kept apart."""

import json
import shutil
import subprocess
import sys
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.cpa.corpus import asterisk, build, line, machines, people, plan, recorded, speech
from telephony.cpa.corpus.__main__ import main
from telephony.cpa.corpus.beeps import draw_beep
from telephony.cpa.corpus.exchange import SIT_CODES, progress_tone, sit_segments, special_information
from telephony.cpa.corpus.mailboxes import mailbox
from telephony.cpa.corpus.national_tones import NATIONAL_TONES, NationalTone, drawn_tone
from telephony.cpa.corpus.persons import person
from telephony.cpa.corpus.scene import POST, PRE, Scene
from telephony.cpa.corpus.terminals import fax, modem
from telephony.cpa.corpus.wav import read_wav, write_wav

RATE = 8000
needs_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("espeak-ng", "flite", "sox")), reason="espeak-ng, flite or sox missing"
)
LABELS = set(plan.FULL_COUNTS)


def rng(seed=1):
    return np.random.default_rng(seed)


def rms_db(samples):
    return 10 * np.log10(max(np.mean(np.square(samples)), 1e-12))


def strongest_hz(samples):
    padded = np.fft.rfft(samples * np.hanning(len(samples)), 65536)
    return float(np.argmax(np.abs(padded)) * RATE / 65536)


# --- parts ------------------------------------------------------------------------------------------------------


def test_given_voices_when_parts_are_compared_then_none_speaks_in_both():
    trained = {voice.name for voice in speech.TRAIN_VOICES}

    assert trained.isdisjoint(voice.name for voice in speech.TEST_VOICES)


def test_given_recorded_packages_when_parts_are_compared_then_no_speaker_is_in_both():
    of_part = {
        part: {package.speaker for package in recorded.PACKAGES if package.split == part}
        for part in (plan.TRAIN, plan.REAL)
    }

    assert of_part[plan.TRAIN]
    assert of_part[plan.REAL]
    assert of_part[plan.TRAIN].isdisjoint(of_part[plan.REAL])


def test_given_sentences_when_training_draws_then_every_fourth_is_only_for_tests():
    texts = people.GREETINGS["en"]

    kept = build.sentences(texts, plan.TRAIN)

    assert set(texts) - set(kept) == set(texts[3::4])
    assert build.sentences(texts, plan.TEST) == texts


def test_given_all_languages_when_scripts_are_counted_then_there_are_enough_of_them():
    machine = sum(map(len, machines.MAILBOXES.values())) + sum(map(len, machines.MENUS.values()))

    assert sum(map(len, people.GREETINGS.values())) >= 60
    assert machine >= 80
    assert len(people.GREETINGS) >= 8
    for table in (people.NAMES, people.COMPANIES, people.AGAIN, machines.MAILBOXES, machines.MENUS):
        assert table.keys() == people.GREETINGS.keys()


def test_given_both_sizes_when_planned_then_every_class_is_there_and_small_is_a_tenth():
    small, full = list(plan.jobs("small")), list(plan.jobs("full"))

    assert {job.label for job in small} == {
        "human",
        "machine",
        "fax",
        "modem",
        "busy",
        "reorder",
        "ringback",
        "sit_ic",
        "sit_vc",
        "sit_ro",
        "sit_nc",
        "sit_io",
        "sit",
        "crbt",
        "announcement",
        "silence",
        "pager",
        "nu",
    }
    assert len(small) * 9 < len(full) < len(small) * 11
    assert len({job.file for job in full}) == len(full)
    assert {job.split for job in small} == {plan.TRAIN, plan.TEST}


def test_given_a_plan_with_recordings_when_jobs_are_listed_then_the_others_stay_the_same():
    with_recordings = list(plan.jobs("small", recorded=True))

    assert [job for job in with_recordings if not job.recorded] == list(plan.jobs("small"))
    assert {job.split for job in with_recordings if job.recorded} == {plan.TRAIN, plan.REAL}


# --- made files -------------------------------------------------------------------------------------------------


@needs_tools
def test_given_one_job_of_each_class_when_made_twice_then_bytes_and_truth_are_the_same(tmp_path):
    jobs = [plan.Job(label, 3, plan.TEST) for label in sorted(LABELS)]
    first, second = tmp_path / "first", tmp_path / "second"

    build.make(jobs, 7, first, lambda done: None)
    build.make(reversed(jobs), 7, second, lambda done: None)

    entries = [json.loads(row) for row in (first / "manifest.jsonl").read_text().splitlines()]
    again = [json.loads(row) for row in (second / "manifest.jsonl").read_text().splitlines()]
    assert entries == again[::-1]
    assert {entry["label"] for entry in entries} == LABELS
    for entry in entries:
        assert (first / entry["file"]).read_bytes() == (second / entry["file"]).read_bytes()
        samples = read_wav(first / entry["file"])
        assert len(samples) / RATE == pytest.approx(entry["duration_s"], abs=1e-3)
        assert entry["phase"] in (PRE, POST)
        assert (entry["speech_end_s"] is not None) == (entry["label"] == "human")
        if entry["label"] not in ("human", "machine"):
            assert entry["beep_s"] is None


@needs_tools
def test_given_another_seed_when_made_then_the_file_differs(tmp_path):
    job = plan.Job("pager", 0, plan.TRAIN)

    build.make([job], 1, tmp_path / "a", lambda done: None)
    build.make([job], 2, tmp_path / "b", lambda done: None)

    assert (tmp_path / "a" / job.file).read_bytes() != (tmp_path / "b" / job.file).read_bytes()


@pytest.mark.parametrize("ulaw", [False, True])
def test_given_samples_when_written_then_they_read_back_and_the_standard_library_agrees(tmp_path, ulaw):
    samples = np.round(8000 * np.sin(np.arange(801) / 5))
    path = tmp_path / "tone.wav"

    write_wav(path, samples, ulaw=ulaw)

    assert np.max(np.abs(read_wav(path) - samples)) <= (260 if ulaw else 0)
    if not ulaw:
        with wave.open(str(path)) as clip:
            assert (clip.getframerate(), clip.getnchannels(), clip.getnframes()) == (RATE, 1, 801)


def test_given_a_file_that_is_no_wav_when_read_then_it_says_so(tmp_path):
    path = tmp_path / "no.wav"
    path.write_bytes(b"no such thing")

    with pytest.raises(ValueError, match="not a WAV file"):
        read_wav(path)


# --- persons and machines ---------------------------------------------------------------------------------------


@needs_tools
def test_given_persons_when_nobody_answers_then_speech_ends_where_the_truth_says():
    checked = 0
    for seed in range(20):
        scene = person(rng(seed), speech.TEST_VOICES, "en-us", "Hello?|Who is calling, please?")
        if scene.detail["kind"] in ("background", "television", "speakerphone"):
            continue  # something else sounds after the greeting
        end = round(scene.speech_end_s * RATE)
        checked += 1
        assert scene.phase == POST
        assert rms_db(scene.samples[end - 800 : end]) > -30.0
        assert np.all(scene.samples[end : end + 2 * RATE] == 0.0)
    assert checked > 8


@needs_tools
def test_given_mailboxes_when_they_beep_then_the_beep_is_where_the_truth_says():
    checked = 0
    for seed in range(16):
        scene = mailbox(rng(seed), speech.TEST_VOICES, "en-us", "Leave a message.", menu=False)
        if scene.beep_s is None:
            continue
        start, end = round(scene.beep_s * RATE), round(scene.beep_end_s * RATE)
        checked += 1
        assert rms_db(scene.samples[start + 40 : start + 440]) > -12.0
        assert np.all(scene.samples[start - 240 : start] == 0.0)
        assert np.all(scene.samples[end:] == 0.0)
        assert end + RATE < len(scene.samples)
    assert checked > 8


@needs_tools
def test_given_a_menu_when_it_is_read_out_then_no_beep_is_claimed():
    scene = mailbox(rng(4), speech.TEST_VOICES, "de", machines.MENUS["de"][0], menu=True)

    assert (scene.label, scene.beep_s, scene.speech_end_s) == ("machine", None, None)


@given(seed=st.integers(0, 2**32 - 1))
def test_given_any_seed_when_a_beep_is_drawn_then_it_is_a_tone_of_the_band_and_short(seed):
    beep, made = draw_beep(rng(seed))

    assert 0.08 <= len(beep) / RATE <= 2.5
    assert all(390.0 <= hz <= 2020.0 for hz in made["beep_hz"])
    assert np.isfinite(beep).all()


# --- tones ------------------------------------------------------------------------------------------------------

SIT_TABLE = {  # cause: first and second segment in Hz and ms, Telcordia SR-2275
    "sit_ic": {((913.8, 276), (1370.6, 276))},
    "sit_vc": {((985.2, 380), (1370.6, 276))},
    "sit_ro": {((913.8, 276), (1428.5, 380)), ((985.2, 276), (1370.6, 380))},
    "sit_nc": {((985.2, 380), (1428.5, 380)), ((913.8, 380), (1370.6, 380))},
    "sit_io": {((913.8, 380), (1428.5, 276))},
}


def nearest(value, choices):
    return min(choices, key=lambda one: abs(one - value))


@pytest.mark.parametrize("label", SIT_TABLE)
def test_given_special_information_tones_when_coded_then_they_are_those_of_the_cause(label):
    seen = set()
    for seed in range(12):
        (first, second, third), gap_s = sit_segments(rng(seed), label)
        seen.add(
            (
                (nearest(first[0], (913.8, 985.2)), nearest(first[1] * 1000, (276, 380))),
                (nearest(second[0], (1370.6, 1428.5)), nearest(second[1] * 1000, (276, 380))),
            )
        )
        assert third[0] == pytest.approx(1776.7, rel=0.02)
        assert third[1] == pytest.approx(0.38, rel=0.06)
        assert gap_s <= 0.01

    assert seen == SIT_TABLE[label]
    assert set(SIT_CODES) == set(SIT_TABLE)


@needs_tools
def test_given_a_special_information_call_when_laid_out_then_its_last_segment_has_the_pitch_of_its_detail():
    scene = special_information(rng(5), speech.TEST_VOICES, "en-us", "sit_nc")
    begin = int(np.argmax(np.abs(scene.samples) > 0.1))
    segments = scene.detail["segments"]
    into_last = round((segments[0][1] + segments[1][1] + 0.1) * RATE)

    heard = strongest_hz(scene.samples[begin + into_last : begin + into_last + 1200])

    assert heard == pytest.approx(segments[2][0], abs=8)


def test_given_ringback_of_germany_when_drawn_then_bursts_and_pauses_keep_the_tolerance():
    tone = drawn_tone(rng(2), NATIONAL_TONES["DE"].ringback, 40.0)
    loud = np.convolve(np.abs(tone), np.ones(80) / 80, "same") > 0.3
    edges = np.flatnonzero(np.diff(loud.astype(int)))
    lengths_s = np.diff(edges)[1:] / RATE

    assert strongest_hz(tone) == pytest.approx(425, rel=0.013)
    for length_s in lengths_s:
        assert length_s == pytest.approx(nearest(length_s, (1.0, 4.0)), rel=0.12)
    assert len(lengths_s) > 10


def test_given_north_american_busy_when_drawn_then_both_frequencies_sound():
    tone = drawn_tone(rng(3), NationalTone((480.0, 620.0), ()), 2.0)
    spectrum = np.abs(np.fft.rfft(tone * np.blackman(len(tone))))
    hz = np.fft.rfftfreq(len(tone), 1 / RATE)

    low = spectrum[(hz > 470) & (hz < 490)].max()
    high = spectrum[(hz > 610) & (hz < 630)].max()

    assert abs(20 * np.log10(low / high)) <= 4.5
    assert min(low, high) > 20 * np.median(spectrum)


@pytest.mark.parametrize("kind", ["ringback", "busy", "reorder", "nu"])
def test_given_a_progress_tone_when_drawn_often_then_many_countries_send_it(kind):
    scenes = [progress_tone(rng(seed), kind) for seed in range(60)]

    assert {scene.label for scene in scenes} == {kind}
    assert len({scene.country for scene in scenes}) >= (4 if kind == "nu" else 15)


def test_given_the_table_of_countries_when_busy_and_reorder_are_compared_then_they_differ():
    for code, tones in NATIONAL_TONES.items():
        assert tones.reorder is None or tones.reorder != tones.busy, code
    assert len(NATIONAL_TONES) >= 40


def test_given_answer_tones_when_a_modem_or_a_fax_sends_them_then_only_the_modem_turns_the_phase():
    for seed in range(40):
        for scene in (fax(rng(seed)), modem(rng(seed))):
            if scene.detail["kind"] not in ("ced", "ansam"):
                continue
            begin = int(np.argmax(np.abs(scene.samples) > 0.1))
            tone = scene.samples[begin + 80 : begin + 80 + 2 * RATE]
            # Mixed down, a turn of the phase is a step by half a cycle against the usual drift of the frequency.
            t = np.arange(len(tone)) / RATE
            low = np.convolve(tone * np.exp(-2j * np.pi * 2100 * t), np.ones(160) / 160, "valid")
            turned = low[400:] * np.conj(low[:-400])
            usual = np.median(turned.real) + 1j * np.median(turned.imag)
            steps = np.abs(np.angle(turned * np.conj(usual)))
            assert (steps.max() > 2.5) == (scene.label == "modem")


# --- lines ------------------------------------------------------------------------------------------------------


def tone_scene(seconds=4.0):
    t = np.arange(round(seconds * RATE)) / RATE
    return Scene(np.sqrt(2) * np.sin(2 * np.pi * 1000 * t), "busy", PRE)


def clean(**changes):
    return line.Impairments(
        **({"level_dbfs": -20.0, "snr_db": None, "noise": None, "codec": "g711", "law": "u-law"} | changes)
    )


@pytest.mark.parametrize("law", ["u-law", "a-law"])
@pytest.mark.parametrize("level_dbfs", [-12.0, -24.0, -38.0])
def test_given_a_level_when_transmitted_then_it_arrives_at_that_level(level_dbfs, law):
    heard = line.transmit(rng(), tone_scene(), clean(level_dbfs=level_dbfs, law=law))

    assert rms_db(heard / 32768) == pytest.approx(level_dbfs, abs=0.7)


@pytest.mark.parametrize("snr_db", [5.0, 20.0])
def test_given_noise_when_transmitted_then_the_ratio_is_kept_within_the_band(snr_db):
    quiet = Scene(np.concatenate([tone_scene().samples, np.zeros(4 * RATE)]), "busy", PRE)

    heard = line.transmit(rng(), quiet, clean(snr_db=snr_db, noise="white")) / 32768

    # The band takes a little of the noise away.
    assert rms_db(heard[: 4 * RATE]) - rms_db(heard[5 * RATE :]) == pytest.approx(snr_db + 1.0, abs=1.7)


@pytest.mark.parametrize("repeats", [False, True])
def test_given_losses_when_transmitted_then_about_so_many_packets_are_missing(repeats):
    impairments = clean(loss_ratio=0.05, loss_run=2.0, repeats=repeats)
    whole = line.transmit(rng(), tone_scene(200.0), clean())

    heard = line.transmit(rng(), tone_scene(200.0), impairments)

    changed = np.any((heard != whole).reshape(-1, 160), axis=1)
    assert np.mean(changed) == pytest.approx(0.05, abs=0.02)
    runs = np.sum(np.diff(changed.astype(int)) == 1)
    assert changed.sum() / runs == pytest.approx(2.0, abs=0.5)
    assert np.any(np.all(heard.reshape(-1, 160) == 0, axis=1)) != repeats


def test_given_discontinuous_transmission_when_speech_pauses_then_digital_silence_comes():
    samples = np.concatenate([tone_scene(1.0).samples, 0.001 * rng().standard_normal(RATE), tone_scene(1.0).samples])

    heard = line.transmit(rng(), Scene(samples, "human", POST), clean(dtx="zeros"))

    assert np.all(heard[int(1.3 * RATE) : int(1.95 * RATE)] == 0.0)
    assert rms_db(heard[: RATE // 2] / 32768) > -23.0


def test_given_late_media_when_a_person_says_little_then_most_of_it_still_arrives():
    yes = Scene(np.concatenate([np.zeros(1600), tone_scene(0.3).samples, np.zeros(RATE)]), "human", POST)
    yes.speech_end_s = 0.5

    for changes in ({"late_media_s": 0.45}, {"clipped_start_s": 0.12}):
        heard = line.transmit(rng(), yes, clean(**changes))

        assert np.all(heard[:2100] == 0.0)
        assert rms_db(heard[2240:4000] / 32768) == pytest.approx(-20.0, abs=0.7)


@pytest.mark.parametrize("changes", [{"late_media_s": 0.5}, {"clipped_start_s": 0.12}])
def test_given_a_recording_tone_that_comes_first_when_the_beginning_is_lost_then_the_tone_is_whole(changes):
    scene = Scene(np.concatenate([np.zeros(3600), tone_scene(0.3).samples, np.zeros(RATE)]), "machine", POST)
    scene.beep_s = 0.45

    heard = line.transmit(rng(), scene, clean(**changes))

    assert rms_db(heard[3600:3680] / 32768) == pytest.approx(-20.0, abs=1.5)


@needs_tools
@pytest.mark.parametrize("codec", ["gsm", "amr7", "amr2"])
def test_given_a_mobile_codec_when_transmitted_then_times_stay_and_samples_change(codec):
    scene = Scene(np.concatenate([np.zeros(RATE), tone_scene(1.0).samples, np.zeros(RATE)]), "human", POST)

    heard = line.transmit(rng(), scene, clean(codec=codec))
    loud = np.convolve(np.abs(heard), np.ones(80) / 80, "same") > 600

    assert len(heard) == len(scene.samples)
    assert np.argmax(loud) / RATE == pytest.approx(1.0, abs=0.04)
    assert (len(loud) - np.argmax(loud[::-1])) / RATE == pytest.approx(2.0, abs=0.04)
    assert not np.array_equal(heard, line.transmit(rng(), scene, clean()))


@given(seed=st.integers(0, 2**32 - 1))
def test_given_any_seed_when_a_line_is_drawn_then_it_stays_within_the_promised_ranges(seed):
    drawn = line.draw(rng(seed), Scene(np.ones(RATE), "human", POST))

    assert -38.0 <= drawn.level_dbfs <= -12.0
    assert drawn.snr_db is None or 5.0 <= drawn.snr_db <= 42.0
    assert 0.0 <= drawn.loss_ratio <= 0.05
    assert json.dumps(drawn.as_json())


# --- Asterisk's rule --------------------------------------------------------------------------------------------


def bursts(*parts):
    """Voice (positive) and silence (negative), in seconds."""
    return np.concatenate([np.full(round(abs(s) * RATE), 2000.0 if s > 0 else 0.0) for s in parts])


@pytest.mark.parametrize(
    ("parts", "result", "cause", "time_s"),
    [
        ((-0.5, 0.4, -3.0), "human", "HUMAN", 1.7),
        ((-4.0,), "machine", "INITIALSILENCE", 2.52),
        ((-0.2, 3.0), "machine", "LONGGREETING", 1.72),
        ((-0.2, 0.2, -0.2, 0.2, -0.2, 0.2, -2.0), "machine", "MAXWORDS", 1.1),
        ((-0.2, 0.2, -0.2, 0.2, -2.0), "human", "HUMAN", 1.6),
        (
            (0.2, -0.7, 0.06, -0.7, 0.06, -0.7, 0.06, -0.7, 0.06, -0.7, 0.06, -0.7, 0.06, -0.5),
            "unknown",
            "TOOLONG",
            5.0,
        ),
    ],
)
def test_given_voice_and_silence_when_asterisks_rule_listens_then_it_says_what_is_documented(
    parts, result, cause, time_s
):
    verdict = asterisk.decide(bursts(*parts))

    assert (verdict.result, verdict.cause) == (result, cause)
    assert verdict.decision_time_s == pytest.approx(time_s, abs=0.021)


@given(st.lists(st.floats(-1.5, 1.5).filter(lambda s: abs(s) > 0.01), max_size=12))
def test_given_any_audio_when_asterisks_rule_listens_then_it_answers_within_its_time(parts):
    verdict = asterisk.decide(bursts(*parts) if parts else np.zeros(0))

    assert verdict.result in ("human", "machine", "unknown")
    assert 0.0 < verdict.decision_time_s <= 5.0


# --- command and shells -----------------------------------------------------------------------------------------


@needs_tools
def test_given_the_command_when_one_class_is_made_then_only_it_is_there_and_the_baseline_needs_others(tmp_path, capsys):
    assert main(["make", str(tmp_path), "--seed", "3", "--only", "pager"]) == 0
    assert main(["baseline", str(tmp_path)]) == 0

    entries = [json.loads(row) for row in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert {entry["label"] for entry in entries} == {"pager"}
    assert "Asterisk" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["make", "x", "--only", "parrot"],
        ["make", "x", "--only", "pager", "--split", "real"],
        ["baseline", "no-such-folder"],
    ],
)
def test_given_what_cannot_be_done_when_asked_then_the_command_says_why(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speech, "check_tools", dict)

    assert main(arguments) == 2
    assert arguments[-1] in capsys.readouterr().err.replace("\n", "")


def test_given_no_synthesiser_when_tools_are_checked_then_its_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(speech.ToolMissing, match="apt-get install espeak-ng"):
        speech.check_tools()


def test_given_no_apt_when_recordings_are_fetched_then_it_says_where_they_come_from(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(speech.ToolMissing, match="Debian packages"):
        recorded.fetch(tmp_path)


def test_given_a_folder_of_prompts_when_a_speaker_talks_then_words_are_short_and_sentences_long(tmp_path):
    for name, seconds in (("hello", 0.6), ("sorry", 1.0), ("vm-intro", 4.0), ("beep", 0.5), ("digits/3", 0.5)):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        write_wav(path, 3000 * np.sin(np.arange(round(seconds * RATE)) / 3), ulaw=False)
    write_wav(tmp_path / "empty.wav", np.zeros(0), ulaw=False)
    speaker = recorded.Speaker("somebody", "en", plan.REAL, tmp_path)

    parts, names = speaker.words(rng(1))
    sentences, said = speaker.sentences(rng(2))

    assert speaker.short == ("digits/3", "hello", "sorry")
    assert set(names.split(" | ")) <= set(speaker.short)
    assert sum(map(len, parts)) / RATE < 5.0
    assert "vm-intro" in said
    assert sum(map(len, sentences)) / RATE > 3.5


@needs_tools
def test_given_own_voices_when_a_class_is_made_then_the_real_part_speaks_with_them(tmp_path):
    for name, seconds in (("yes", 0.5), ("sentence", 3.0)):
        path = tmp_path / "voices" / "anna.de" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, 3000 * np.sin(np.arange(round(seconds * RATE)) / 3), ulaw=False)
    speakers = recorded.own_speakers(tmp_path / "voices")

    entries = [
        build.make_file(plan.Job(label, 5000, plan.REAL, recorded=True), 1, tmp_path, speakers)
        for label in ("human", "machine")
    ]

    assert [(entry["label"], entry["source"], entry["language"], entry["split"]) for entry in entries] == [
        ("human", "recorded:anna", "de", "real"),
        ("machine", "recorded:anna", "de", "real"),
    ]


def test_given_a_speaker_without_sentences_when_loaded_then_what_is_missing_is_told(tmp_path):
    path = tmp_path / "anna" / "yes.wav"
    path.parent.mkdir()
    write_wav(path, 3000 * np.sin(np.arange(4000) / 3), ulaw=False)

    with pytest.raises(ValueError, match="has 1 and 0"):
        recorded.own_speakers(tmp_path)
    with pytest.raises(ValueError, match="no speaker"):
        recorded.own_speakers(path.parent)
    path.write_bytes(b"no such thing, at some length, so that it is not taken for an empty recording")
    with pytest.raises(ValueError, match=r"yes\.wav: "):
        recorded.own_speakers(tmp_path)


def test_given_what_runs_in_service_when_imported_then_the_corpus_is_not():
    program = (
        "import sys, telephony.media.server, telephony.cpa, ocsd.daemon;"
        "print([m for m in sys.modules if m.startswith('telephony.cpa.corpus')])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
