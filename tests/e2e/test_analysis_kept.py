"""Test calls and recordings of the analysis, with real audio: what agents say, what is kept, what can be measured."""

import json
import wave
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.cpa.manifest import read_manifest
from ocsd.model.enums import CallResult
from tests.e2e.records_world import NAMES, NEVER, Numbers, World, world

pytestmark = pytest.mark.e2e

numbers = Numbers()
PERSON = numbers.person(30.0)
MACHINE = numbers.machine()
OPTIONS = 'options = { cpd-recording = "yes", call-result-feedback = 1000, call-result-feedback-machines = 3600 }\n'


def with_trunk_options(text: str) -> str:
    trunk = 'tone_plan = "US"\n'
    assert text.count(trunk) == 1
    return text.replace(trunk, trunk + OPTIONS)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/", with_trunk_options) as made:
        made.site.start_daemon()
        yield made


def test_given_test_calls_when_agents_say_what_they_were_then_figures_recordings_and_samples_follow(here, tmp_path):
    said = {PERSON: CallResult.ANSWER, MACHINE: CallResult.WRONG_PARTY}  # of the machine: a person after all
    found = {}
    with here.loaded(NEVER):
        here.add(NAMES[NEVER], [PERSON], [MACHINE])
        for agent_id in ("agent1", "agent2"):
            here.log_in(agent_id, ready=True)
        here.start(NEVER)
        for desk in here.desks.values():
            data = desk.established()
            number = str(data["GSW_PHONE"])
            assert "GSW_CALL_RESULT_FEEDBACK" in data
            found[number] = data["GSW_CALL_RESULT"]
            desk.not_ready()
            desk.hang_up()
            desk.record("RecordProcessed", data, GSW_CALL_RESULT=int(said[number]))
        assert found == {PERSON: CallResult.ANSWER, MACHINE: CallResult.ANSWERING_MACHINE}
        here.complete(NEVER)

    (figures,) = here.command("cpa", "feedback")
    assert figures["confusion"]["person"]["person"] == figures["confusion"]["machine"]["person"] == 1
    assert figures["person_taken_for_machine"]["ratio"] == 0.5

    over_http = here.site.client.feedback(NEVER)
    assert (over_http["campaign"], over_http["trunks"]) == (NAMES[NEVER], [figures])

    recordings = here.site.query(
        "SELECT a.phone, r.path, r.sha256, r.duration_s, r.error FROM ocsd.cpd_recording AS r"
        " JOIN ocsd.attempt AS a USING (attempt_id)"
    )
    assert sorted(phone for phone, *_ in recordings) == sorted([PERSON, MACHINE])
    for phone, path, sha256, duration_s, error in recordings:
        file = Path(here.site.config.telephony.recording_dir) / path
        assert error == ""
        with file.open("rb") as opened:
            assert file_digest(opened, "sha256").hexdigest() == sha256
        with wave.open(str(file)) as audio:
            assert (audio.getframerate(), audio.getnchannels()) == (8000, 1)
            assert audio.getnframes() / 8000 == pytest.approx(duration_s, abs=0.05)
        told = here.command("history", "--phone", phone)
        (attempt,) = [event for event in told if event["event"] == "attempt"]
        assert (attempt["recording"], attempt["verified"]) == (path, True)
        assert attempt["evidence"]["cpa"]["verdicts"]

    samples = tmp_path / "samples"
    assert here.command("cpa", "export", str(samples)) == {
        "folder": str(samples), "labels": {"human": 2}, "left_out": {},
    }  # fmt: skip
    entries = read_manifest(samples)
    assert {entry.answered_s is not None for entry in entries} == {True}
    # What was recorded is what was heard: analysed again, each file is what it was in the call.
    told_live = [json.loads(line) for line in (samples / "manifest.jsonl").read_text().splitlines()]
    assert sorted(one["live_verdict"] for one in told_live) == ["human", "machine"]
    analysed = CliRunner().invoke(app, ["cpa", "analyze", *(str(samples / one["file"]) for one in told_live)])
    assert [json.loads(line)["result"] for line in analysed.stdout.splitlines()] == [
        one["live_verdict"] for one in told_live
    ]
