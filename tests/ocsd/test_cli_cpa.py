"""``ocsd cpa``: recordings in, lines of JSON and figures out."""

import json
import os
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.cpa.pictures import traces
from telephony.cpa.wavfile import encode_wav
from tests.telephony.signals import SIT_SEGMENTS, cadence, clip, over_the_line, silence, sit, tone
from tests.telephony.test_cpa_wavfile import riff

KEYS = ["file", "result", "call_result", "decision_time_s", "beep_time_s", "evidence"]
SOUNDS = {
    "human": np.concatenate([silence(0.5), clip("human_hello_f"), silence(3.0)]),
    "machine": np.concatenate([silence(0.5), clip("machine_reached"), silence(0.3), tone(0.4, 1000.0), silence(2.0)]),
    "busy": cadence((480.0, 620.0), (0.5, 0.5), 5.0),
    "sit_vc": np.concatenate([silence(0.2), sit(SIT_SEGMENTS["vc"][1]), silence(1.0)]),
}
BEEP_S = 0.8 + len(clip("machine_reached")) / 8000
HELLO_END_S = 0.5 + len(clip("human_hello_f")) / 8000


def line_of(samples):
    return over_the_line(samples, np.random.default_rng(2), -60.0).reshape(-1)


@pytest.fixture
def folder(tmp_path):
    for name, samples in SOUNDS.items():
        (tmp_path / f"{name}.wav").write_bytes(encode_wav(line_of(samples)))
    return tmp_path


def run(*arguments):
    with capture_logs():
        return CliRunner().invoke(app, ["cpa", *map(str, arguments)])


def test_given_recordings_when_analysed_then_one_line_each_in_order(folder):
    files = [folder / f"{name}.wav" for name in ("machine", "busy", "human", "sit_vc")]
    result = run("analyze", *files)
    told = [json.loads(line) for line in result.stdout.splitlines()]

    assert result.exit_code == 0, result.stderr
    assert [list(one) for one in told] == [KEYS] * 4
    assert [one["file"] for one in told] == [str(path) for path in files]
    assert [one["result"] for one in told] == ["machine", "busy", "human", "sit_vc"]
    assert [one["call_result"] for one in told] == [
        "Answering Machine Detected",
        "Busy",
        "Answer",
        "SIT VC (Vacant Code)",
    ]
    machine, _, human, _ = told
    assert machine["beep_time_s"] == pytest.approx(BEEP_S, abs=0.1)
    assert human["beep_time_s"] is None
    assert HELLO_END_S < human["decision_time_s"] < HELLO_END_S + 0.8
    assert human["evidence"]["tone_plan"] == "US"
    assert human["evidence"]["verdicts"][0]["kind"] == "human"


def test_given_files_that_cannot_be_read_when_analysed_then_named_and_the_others_go_on(folder):
    (folder / "bad.wav").write_text("no sound")
    result = run("analyze", folder / "bad.wav", folder / "busy.wav", folder / "none.wav", folder)

    assert result.exit_code == 1
    assert [json.loads(line)["result"] for line in result.stdout.splitlines()] == ["busy"]
    assert result.stderr.splitlines() == [
        f"{folder}/bad.wav: it is no RIFF WAVE file",
        f"{folder}/none.wav: No such file or directory",
        f"{folder}: Is a directory",
    ]


def test_given_odd_names_when_analysed_then_told_as_they_were_given(folder, monkeypatch):
    monkeypatch.chdir(folder)
    odd = "b\udcffsy.wav"  # an octet that is no UTF-8, as a program is given it
    Path(odd).write_bytes((folder / "busy.wav").read_bytes())
    names = ["./busy.wav", f"..//{folder.name}/busy.wav", odd]
    result = run("analyze", *names)

    assert result.exit_code == 0, result.stderr
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == names
    assert result.stdout_bytes.decode("utf-8").count("\n") == 3


def test_given_a_device_without_end_when_analysed_then_it_is_too_long():
    assert "longer than 128 MiB" in run("analyze", "/dev/zero").stderr


def test_given_a_pipe_when_analysed_then_read_to_its_end(folder):
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_bytes, args=((folder / "busy.wav").read_bytes(),))
    writer.start()
    told = json.loads(run("analyze", pipe).stdout)
    writer.join()

    assert (told["file"], told["result"]) == (str(pipe), "busy")


def test_given_a_stereo_file_at_another_rate_when_analysed_then_notes_say_what_was_done(folder):
    busy = np.repeat(line_of(SOUNDS["busy"]), 2)
    both = np.stack([np.zeros_like(busy), busy], axis=1).astype("<i2")
    path = folder / "stereo.wav"
    path.write_bytes(riff(1, 16, both.tobytes(), channels=2, rate=16000))
    result = run("analyze", path, "--channel", "2")

    assert json.loads(result.stdout)["result"] == "busy"
    assert result.stderr.splitlines() == [
        f"{path}: note: channel 2 of 2 was taken",
        f"{path}: note: resampled from 16000 to 8000 Hz",
    ]
    assert json.loads(run("analyze", path).stdout)["result"] == "silence"
    assert run("analyze", path, "--channel", "3").exit_code == 1


def test_given_the_tones_of_two_countries_when_analysed_then_each_by_its_plan(folder):
    path = folder / "tones.wav"
    path.write_bytes(encode_wav(line_of(cadence((425.0,), (0.2, 0.2), 6))))

    results = [json.loads(run("analyze", path, "--tones", cc).stdout)["result"] for cc in ("ES", "it")]
    assert results == ["busy", "reorder"]
    assert "no tones of AQ are known" in run("analyze", path, "--tones", "AQ").stderr
    refused = run("analyze", path, "--tones", "Q9")
    assert refused.exit_code == 2
    assert "Q9" in refused.stderr


def test_given_a_recording_of_early_media_when_analysed_then_speech_is_no_person(folder):
    told = [
        json.loads(line)
        for line in run("analyze", "--phase", "pre", folder / "human.wav", folder / "busy.wav").stdout.splitlines()
    ]

    assert [one["evidence"]["phase"] for one in told] == ["pre", "pre"]
    assert told[0]["result"] not in ("human", "machine")
    assert told[1]["result"] == "busy"


def test_given_levels_when_a_machine_speaks_then_only_those_that_look_for_it_find_it(folder):
    results = {
        level: json.loads(run("analyze", folder / "machine.wav", "--level", level).stdout)["result"]
        for level in ("no_am_detection", "positive_am_detection", "accurate_am_detection")
    }

    assert results == {
        "no_am_detection": "human",
        "positive_am_detection": "machine",
        "accurate_am_detection": "machine",
    }
    decided = [
        json.loads(run("analyze", folder / "human.wav", "--level", level).stdout)["decision_time_s"]
        for level in ("positive_am_detection", "full_positive_am_detection", "accurate_am_detection")
    ]
    assert decided == sorted(decided)
    assert decided[0] < decided[2]
    assert run("analyze", folder / "human.wav", "--level", "no_progress_detection").exit_code == 2


def test_given_files_of_one_name_when_drawn_then_a_picture_each(folder):
    (folder / "other").mkdir()
    (folder / "other" / "busy.wav").write_bytes((folder / "busy.wav").read_bytes())
    result = run("analyze", folder / "busy.wav", folder / "other" / "busy.wav", "--draw", folder / "pictures")

    assert result.exit_code == 0, result.stderr
    first, second = (folder / "pictures" / name for name in ("busy.png", "busy-2.png"))
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert picture.size == (800, 320)


def manifest(folder, *labels, **changes):
    lines = [{"file": f"{name}.wav", "label": label, "phase": "post", "country": "US"} for name, label in labels]
    lines = [one | changes.get(one["file"][:-4], {}) for one in lines]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


def test_given_a_folder_with_truth_when_scored_then_figures_for_programs(folder):
    manifest(
        folder,
        *((name, name) for name in SOUNDS),
        human={"speech_end_s": HELLO_END_S, "beep_s": None},
        machine={"beep_s": BEEP_S},
    )
    result = run("score", folder, "--json", "--baseline")
    told = json.loads(result.stdout)

    assert result.exit_code == 0, result.stderr
    assert told["recordings"] == 4
    assert told["unreadable"] == 0
    assert told["confusion"] == {name: {name: 1} for name in ("human", "machine", "busy", "sit_vc")}
    assert told["people"]["human_as_machine"]["count"] == 0
    assert told["after_speech"][0]["end_from"] == "manifest"
    assert told["after_speech"][0]["within"]["ratio"] == 1.0
    assert told["beeps"]["within"]["count"] == 1
    assert told["baseline"]["recordings"] == 2
    assert told["baseline"]["confusion"] == {"human": {"human": 1}, "machine": {"machine": 1}}
    assert "failures" not in told


def test_given_a_wrong_label_when_scored_then_it_is_among_the_failures_and_below_the_least_recall(folder):
    manifest(folder, ("human", "human"), ("busy", "busy"), ("sit_vc", "busy"))
    result = run("score", folder, "--failures", "--min-recall", "0.9")

    assert result.exit_code == 1
    assert "recognised less often than 0.9: busy" in result.stderr
    assert "sit_vc.wav\tbusy\tsit_vc" in result.stdout
    assert "1 of 3 went wrong" in result.stdout
    assert run("score", folder, "--min-recall", "0.5").exit_code == 0


def test_given_a_page_that_wants_figures_when_scored_then_tables_in_markdown(folder):
    manifest(folder, ("human", "human"), ("machine", "machine"))
    lines = run("score", folder, "--markdown", "--baseline").stdout.splitlines()

    assert all(line.startswith("| ") and line.endswith(" |") for line in lines if line)
    assert lines.count("") == 3
    assert [lines[i - 1].count("|") for i, line in enumerate(lines) if line.startswith("| ---")] == [4, 8, 4]
    assert any(line.startswith("| machine caught | 100.0 % (20.7..100.0), 1 of 1 |") for line in lines)


def test_given_a_split_when_scored_then_only_it(folder):
    manifest(folder, ("human", "human"), ("busy", "human"), human={"split": "test"}, busy={"split": "train"})

    assert json.loads(run("score", folder, "--json", "--split", "test").stdout)["confusion"] == {"human": {"human": 1}}
    assert run("score", folder, "--split", "real").exit_code == 2


def test_given_an_answer_after_the_end_when_scored_then_that_recording_is_left_out(folder):
    manifest(folder, ("human", "human"), ("busy", "busy"), busy={"answered_s": 1e12})
    result = run("score", folder, "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["confusion"] == {"human": {"human": 1}}
    assert "busy.wav: answered_s is 1e+12, but it is 5" in result.stderr


def test_given_a_missing_recording_when_scored_then_the_rest_counts_and_the_exit_code_says_so(folder):
    manifest(folder, ("human", "human"), ("gone", "busy"))
    result = run("score", folder, "--json")

    assert result.exit_code == 1
    assert (json.loads(result.stdout)["recordings"], json.loads(result.stdout)["unreadable"]) == (1, 1)
    assert "gone.wav: No such file" in result.stderr
    assert "1 of 2 recordings could not be read" in result.stderr


def test_given_a_faulty_manifest_when_scored_then_every_fault_with_its_line(folder):
    assert "has no manifest.jsonl" in run("score", folder).stderr
    (folder / "manifest.jsonl").write_text('{"file": "a.wav"}\nhello\n')
    result = run("score", folder)

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "ocsd: manifest.jsonl, line 1: label is missing",
        "ocsd: manifest.jsonl, line 2: not JSON: Expecting value at column 1",
    ]


def test_given_recordings_when_examples_are_written_then_one_of_each_kind_with_its_picture_and_analysis(folder):
    manifest(folder, *((name, name) for name in SOUNDS))
    out = folder / "out"
    result = run("examples", out, "--corpus", folder)

    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["README.md", *(f"{name}.{suffix}" for name in SOUNDS for suffix in ("wav", "png", "json"))]
    )
    page = (out / "README.md").read_text()
    for name in SOUNDS:
        again = json.loads(run("analyze", out / f"{name}.wav").stdout)
        kept = json.loads((out / f"{name}.json").read_text())
        assert kept == again | {"file": f"{name}.wav"}
        assert kept["result"] == name
        with Image.open(out / f"{name}.png") as picture:
            assert picture.size == (800, 320)
        assert f"({name}.png)" in page
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    run("examples", out, "--corpus", folder)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


def test_given_a_folder_with_a_page_of_its_own_when_examples_are_to_be_written_there_then_it_is_left_alone(folder):
    manifest(folder, ("human", "human"))
    (folder / "README.md").write_text("# Mine\n")

    result = run("examples", folder, "--corpus", folder)

    assert result.exit_code != 0
    assert "give a folder of its own" in result.stderr
    assert (folder / "README.md").read_text() == "# Mine\n"


def test_given_the_recording_of_a_greeting_when_traced_then_speech_is_where_it_is():
    found = traces(line_of(SOUNDS["human"]))

    assert found.speech[0][0] == pytest.approx(0.5, abs=0.1)
    assert found.speech[-1][1] == pytest.approx(HELLO_END_S, abs=0.2)
    assert len(found.level_dbfs) == len(SOUNDS["human"]) // 160
    assert traces(line_of(SOUNDS["busy"])).speech == ()
