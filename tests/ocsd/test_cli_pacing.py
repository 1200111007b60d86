"""``ocsd pacing`` on recordings, and ``ocsd ctl pacing`` on a running port."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from pacing.journal import Decided, Header, Lost, Told
from pacing.journal_codec import Encoder, block
from tests.ocsd.test_cli import invoke, port  # noqa: F401 - a fixture
from tests.pacing.journal_world import recorded

HEADER = Header({"campaign_group": "Demo", "dbid": 7, "utc": "2026-03-03T17:00:00+00:00", "now_s": 54_321.0})


def write(path, entries):
    encoder = Encoder()
    lines = [encoder.line(entry) for entry in [HEADER, *entries]]
    path.write_bytes(b"".join(block(lines[i : i + 200]) for i in range(0, len(lines), 200)))
    return path


@pytest.fixture(scope="module")
def run():
    return recorded(12, 300.0, checkpoint_every_s=100.0)[0]


@pytest.fixture
def file(tmp_path, run):
    return write(tmp_path / "20260303T170000-001.jsonl.gz", run)


def decisions(entries):
    return [entry for entry in entries if isinstance(entry, Decided)]


def test_given_a_recording_when_replayed_then_every_decision_is_the_same_to_the_last_bit(file, run):
    plain, as_json = invoke("pacing", "replay", file), invoke("pacing", "replay", file, "--json")

    assert (plain.exit_code, as_json.exit_code) == (0, 0)
    count = len(decisions(run))
    assert plain.stdout == f"{count} decisions and 2 checkpoints repeated: the same to the last bit\n"
    assert json.loads(as_json.stdout) == {
        "decisions": count, "checkpoints": 2, "differing": 0, "first_difference": None,
    }  # fmt: skip


def test_given_a_recording_that_was_tampered_with_when_replayed_then_the_first_difference_is_shown(tmp_path, run):
    changed = list(run)
    at = next(i for i, entry in enumerate(changed) if isinstance(entry, Told) and entry.method == "handled")
    changed[at] = Told("handled", (changed[at].arguments[0] + 500.0, changed[at].arguments[1]))
    number = next(entry.number for entry in changed[at:] if isinstance(entry, Decided))
    file = write(tmp_path / "changed.jsonl.gz", changed)

    plain, as_json = invoke("pacing", "replay", file), invoke("pacing", "replay", file, "--json")

    assert (plain.exit_code, as_json.exit_code) == (1, 1)
    found = json.loads(as_json.stdout)
    assert found["differing"] > 0
    assert found["first_difference"]["decision"] >= number
    assert plain.stdout.splitlines()[1] == f"decision {found['first_difference']['decision']}"
    one = next(i for i, entry in enumerate(changed) if isinstance(entry, Decided) and entry.number == number + 400)
    changed[one] = replace(changed[one], decision=replace(changed[one].decision, launch=9))
    shown = invoke("pacing", "replay", write(file, changed), "--decision", number + 400)
    assert shown.exit_code == 1
    assert "repeated, it differs from the recording:\n  launched 9 (" in shown.stdout


def test_given_a_decision_when_shown_then_words_time_and_figures_are_told(file, run):
    wanted = decisions(run)[700]
    plain, as_json = (invoke("pacing", "show", file, "--decision", wanted.number, *more) for more in ((), ("--json",)))

    assert (plain.exit_code, as_json.exit_code) == (0, 0)
    lines = plain.stdout.splitlines()
    assert lines[0].startswith(f"decision {wanted.number}, 2026-03-03 17:0")
    assert lines[1].startswith(f"  launched {wanted.decision.launch}: ")
    assert lines[-1] == "repeated: the same to the last bit"
    found = json.loads(as_json.stdout)
    assert found["inputs"] == wanted.decision.inputs
    assert found["snapshot"]["agents_talking_s"] == list(wanted.snapshot.agents_talking_s)
    assert found["words"] == [line.strip() for line in lines[1:-1]]
    assert found["differences"] == []


def test_given_no_number_when_shown_then_it_is_the_last_decision_of_a_file_that_is_still_written(file, run):
    content = file.read_bytes()
    file.write_bytes(content[:-20])

    result = invoke("pacing", "show", file, "--json")

    assert result.exit_code == 0
    assert "bytes are of a block that is not finished" in result.stderr
    last = json.loads(result.stdout)["decision"]
    assert 0 < decisions(run)[-1].number - last < 200


@pytest.mark.parametrize("command", ["show", "replay"])
def test_given_a_number_that_is_not_there_when_asked_then_a_sentence_says_so(file, run, command):
    result = invoke("pacing", command, file, "--decision", 999_999)

    assert result.exit_code == 1
    assert f"there is no decision 999999 in it, up to {decisions(run)[-1].number}" in result.stderr


@pytest.mark.parametrize("command", ["show", "replay", "calibration"])
def test_given_a_file_that_is_no_journal_when_asked_then_a_sentence_says_so(tmp_path, command):
    text, other = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    text.write_text("no journal\n")
    other.write_bytes(block(['{"journal":99}']))
    for path, said in ((text, "no whole block of a pacing journal"), (other, "format 99, expected 1")):
        result = invoke("pacing", command, path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr
    assert invoke("pacing", command, tmp_path / "none").exit_code == 2


def test_given_a_state_of_another_version_when_replayed_then_a_sentence_says_so(tmp_path):
    line = '{"checkpoint":0,"max_wait_s":2.0,"target":{"mode":"predictive"},"state":{"version":-1}}'
    path = tmp_path / "old.jsonl.gz"
    path.write_bytes(block(['{"journal":1}', line]))

    result = invoke("pacing", "replay", path)

    assert result.exit_code == 1
    assert "recorded by another version" in result.stderr


def test_given_recordings_when_calibrated_then_table_json_and_drawing_have_the_same_figures(tmp_path, file, run):
    write(tmp_path / "20260303T180000-001.jsonl.gz", [*run[:200], Lost(3)])
    drawing = tmp_path / "calibration.svg"

    table = invoke("pacing", "calibration", tmp_path, "--plot", drawing)
    as_json = invoke("pacing", "calibration", file, "--json")

    assert (table.exit_code, as_json.exit_code) == (0, 0)
    rows = [line.split("\t") for line in table.stdout.splitlines()]
    assert rows[0] == ["quantity", "samples", "expected", "happened", "ratio", "its error", "within 90 %"]
    found = json.loads(as_json.stdout)
    assert [row[0] for row in rows[1:]] == [each["quantity"] for each in found] == ["people", "abandoned", "freed"]
    people = found[0]
    assert people["samples"] >= 7
    assert rows[1][:4] == [
        "people",
        str(people["samples"]),
        f"{round(people['expected'], 1):.4g}",
        str(people["actual"]),
    ]
    assert sum(point["samples"] for point in people["points"]) == people["samples"]
    text = " ".join(node.text or "" for node in ElementTree.parse(drawing).iter())
    assert f"{people['ratio']:.2f} ± " in text
    before = drawing.read_bytes()
    invoke("pacing", "calibration", file, "--plot", drawing)
    assert drawing.read_bytes() == before  # the other file had nothing to add


def test_given_a_recording_without_predictions_when_drawn_then_a_sentence_says_so(tmp_path, run):
    path = write(tmp_path / "short.jsonl.gz", run[:20])
    result = invoke("pacing", "calibration", path, "--plot", tmp_path / "x.svg")

    assert result.exit_code == 1
    assert "no predictions to be drawn" in result.stderr
    assert invoke("pacing", "calibration", tmp_path / "empty").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert "no pacing journal in it" in invoke("pacing", "calibration", tmp_path / "empty").stderr


def test_given_a_loaded_group_when_its_pacing_is_asked_then_words_and_figures_are_shown(port):  # noqa: F811
    plain, as_json, idle = port.ctl("pacing", 115), port.ctl("pacing", 115, "--json"), port.ctl("pacing", 106)

    assert (plain.exit_code, as_json.exit_code, idle.exit_code) == (0, 0, 0)
    found = json.loads(as_json.stdout)
    lines = plain.stdout.splitlines()
    assert lines[0] == f"decision {found['decision']['number']}, {found['decision']['at']}"
    assert [line.strip() for line in lines[1 : 1 + len(found["decision"]["words"])]] == found["decision"]["words"]
    assert any(line.startswith("people\t") for line in lines)
    assert idle.stdout == "106: not loaded\n"
