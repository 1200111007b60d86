"""The analysis with real audio: test calls, what agents say, what is kept, and machines that only a beep betrays."""

import json
import wave
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.cpa.manifest import read_manifest
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from tests.e2e.records_world import FILTERED, NAMES, NEVER, Numbers, World, world

pytestmark = pytest.mark.e2e

numbers = Numbers()
PERSON = numbers.person(30.0)
MACHINE = numbers.machine()
PAUSES = numbers.new(
    "machine", ring_s=0.5, greeting_end_s=7.1, hang_up_s=40.0,
    answer="silence:300 clip:machine_hi_00 silence:1500 clip:machine_rest_00 silence:500 tone:beep",
)  # fmt: skip
"""A machine whose "Hello?" sounds like a person who waits for an answer."""
BEEP_S = 7.6
TALKS_ON_S = 14.0
"""Longer than the analysis listens on (cpa-after-connect-time)."""
TALKS_ON = numbers.new(
    "human", ring_s=0.5, greeting_end_s=2.11, talk_s=TALKS_ON_S, patience_s=20.0,
    answer="silence:300 clip:human_05 silence:1500 clip:customer_01 silence:700 clip:customer_00 silence:900"
    " clip:customer_03",
)  # fmt: skip
"""Somebody who, after a pause like that, says as much without being asked."""
OPTIONS = 'options = { cpd-recording = "yes", call-result-feedback = 1000, call-result-feedback-machines = 3600 }\n'


UNVERIFIED = FILTERED
"""The group in which calls are nobody's tests, for those stay with their agents whatever is heard."""


def with_options(text: str) -> str:
    trunk, group = 'tone_plan = "US"\n', f'name = "{NAMES[UNVERIFIED]}@agents"\n'
    assert text.count(trunk) == text.count(group) == 1
    text = text.replace(group, group + 'options = { cpd-recording = "no", call-result-feedback = 0 }\n')
    return text.replace(trunk, trunk + OPTIONS)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/", with_options) as made:
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


def test_given_a_machine_and_a_person_who_both_pause_when_one_beeps_then_its_agent_is_freed_and_the_other_talks_on(
    here,
):
    with here.loaded(UNVERIFIED):
        here.add(NAMES[UNVERIFIED], [PAUSES], [TALKS_ON])
        for agent_id in ("agent1", "agent2"):
            here.log_in(agent_id, ready=True)
        here.start(UNVERIFIED)
        talking = {str(desk.established()["GSW_PHONE"]): desk for desk in here.desks.values()}
        assert {desk.data["GSW_CALL_RESULT"] for desk in talking.values()} == {CallResult.ANSWER}

        freed = talking[PAUSES]  # nobody at this desk does anything about the call
        told = freed.expect(Event="EventAttachedDataChanged", ConnID=freed.conn_id)
        assert told["UserData"]["GSW_CALL_RESULT"] == CallResult.ANSWERING_MACHINE
        freed.expect(Event="EventReleased", ConnID=freed.conn_id)
        freed.record("RecordProcessed", told["UserData"])
        here.await_state(PAUSES, RecordType.GENERAL, RecordStatus.UPDATED, CallResult.ANSWERING_MACHINE)
        freed.ready()
        figures = here.site.client.statistics(UNVERIFIED)
        assert (figures["machines_after_connect"], figures["machines_taken_from_agents"]) == (1, 1)
        assert figures["agents_ready"] == figures["agents_talking"] == 1, "the other one still talks"

        kept = talking[TALKS_ON]
        kept.expect(Event="EventReleased", ConnID=kept.conn_id)
        kept.record("RecordProcessed", kept.data)
        here.await_state(TALKS_ON, RecordType.GENERAL, RecordStatus.UPDATED, CallResult.ANSWER)
        assert [message for message in kept.unread if message.get("Event") == "EventAttachedDataChanged"] == []
        here.complete(UNVERIFIED)

    (machine,), (person,) = here.calls_to(PAUSES), here.calls_to(TALKS_ON)
    assert (machine["ended_by"], person["ended_by"], person["why"]) == ("caller", "callee", "talk_over")
    assert machine["ended_at_s"] - machine["answered_at_s"] > BEEP_S, "the beep took it from the agent, no talk before"
    assert person["ended_at_s"] - person["talk_began_at_s"] >= TALKS_ON_S
    (attempt,) = [event for event in here.command("history", "--phone", PAUSES) if event["event"] == "attempt"]
    verdicts = attempt["evidence"]["cpa"]["verdicts"]
    assert [verdict["kind"] for verdict in verdicts][:2] == ["human", "machine"], verdicts
