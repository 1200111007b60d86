"""What agents said of calls: shares with intervals, weighed by what was verified; labelled recordings; the commands."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.config.objects import Campaign, Configuration, Trunk
from ocsd.cpa.export import Labelled, export, labelled
from ocsd.cpa.feedback import (
    MACHINE,
    OTHER,
    PERSON,
    UNCLEAR,
    CallsOfOneKind,
    Feedback,
    counted,
    feedback,
    truth_of,
)
from ocsd.cpa.manifest import read_manifest
from ocsd.demo.options import DemoOptions
from ocsd.demo.world import write_configuration
from ocsd.lists import recordings
from ocsd.model.enums import CallResult
from ocsd.model.records import CpdRecording

NOW = datetime(2026, 3, 6, 12, 0, tzinfo=UTC)
CONFIG = Configuration(
    campaigns=(Campaign(dbid=7, name="Example", tenant="T"),),
    trunks=(Trunk(dbid=8, name="Carrier", tenant="T", host="h"),),
)


def calls(verdict, count, agent_result=None, *, verified=True, with_agent=True, trunk=8):
    return CallsOfOneKind(7, trunk, verdict, verified, with_agent, agent_result, count)


def only(*found):
    (one,) = feedback(CONFIG, found)
    return one


@pytest.mark.parametrize(
    ("result", "truth"),
    [
        (CallResult.ANSWER, PERSON),
        (CallResult.WRONG_NUMBER, PERSON),
        (CallResult.ANSWERING_MACHINE, MACHINE),
        (CallResult.FAX, OTHER),
        (CallResult.STALE, UNCLEAR),
        (999, UNCLEAR),
    ],
)
def test_given_an_agents_result_when_it_is_read_then_it_says_who_answered_or_nothing(result, truth):
    assert truth_of(int(result)) == truth


def test_given_verified_calls_when_counted_then_each_stands_where_verdict_and_agent_put_it():
    found = only(
        calls("human", 900, verified=False),
        calls("timeguard", 10, 33),
        calls("human", 80, 33),
        calls("human", 4, 9),
        calls("human", 3, 999),
        calls("human", 2, None),
        calls("machine", 300, verified=False),
        calls("machine", 20, None, with_agent=False),
        calls("machine", 9, 9),
        calls("machine", 1, 33),
        calls("fax", 40, None),
    )

    document = found.document()

    assert (found.campaign, found.trunk) == ("Example", "Carrier")
    assert document["calls"] == {PERSON: 999, MACHINE: 330, OTHER: 40}
    assert document["asked"] == {PERSON: 99, MACHINE: 10}
    assert document["confusion"][PERSON] == {PERSON: 90, MACHINE: 4, OTHER: 0, UNCLEAR: 3}
    assert document["confusion"][MACHINE] == {PERSON: 1, MACHINE: 9, OTHER: 0, UNCLEAR: 0}
    assert document["of_verdicts"]["machine_was_person"]["of"] == 10


def test_given_few_machines_verified_when_the_share_of_people_is_asked_then_what_was_not_verified_weighs_too():
    # Of 1,000 taken for people 1 in 10 was a machine; of 1,000 taken for machines 1 in 20 was a person.
    found = only(
        calls("human", 900, verified=False),
        calls("human", 90, 33),
        calls("human", 10, 9),
        calls("machine", 980, verified=False),
        calls("machine", 19, 9),
        calls("machine", 1, 33),
    )

    people = found.estimate(PERSON, MACHINE)
    machines = found.estimate(MACHINE, PERSON)

    assert people is not None
    assert machines is not None
    assert people.ratio == pytest.approx(50 / 950, abs=1e-5)  # 1 of 91 by the plain counts
    assert machines.ratio == pytest.approx(100 / 1050, abs=1e-5)
    assert people.low < people.ratio < people.high
    assert found.estimate(MACHINE, MACHINE).ratio == pytest.approx(950 / 1050, abs=1e-5)


def test_given_no_machine_verified_when_the_share_of_people_is_asked_then_it_is_not_known():
    found = only(calls("human", 50, 33), calls("machine", 50, verified=False))

    assert found.estimate(PERSON, MACHINE) is None
    assert found.document()["person_taken_for_machine"] is None


def test_given_only_people_found_when_all_are_verified_then_nobody_was_taken_for_a_machine():
    assert only(calls("human", 50, 33)).estimate(PERSON, MACHINE).ratio == 0.0


def test_given_many_samples_when_intervals_are_made_then_they_hold_the_truth_about_as_often_as_they_say():
    generator = random.Random(4711)
    held, trials = 0, 200
    truth = 2000 * 0.04 / (2000 * 0.04 + 5000 * 0.92)  # people among machines, over all people

    for _ in range(trials):
        people = sum(generator.random() < 0.92 for _ in range(400))
        mistaken = sum(generator.random() < 0.04 for _ in range(60))
        one = Feedback("c", "t")
        for kind in (
            calls("human", 4600, verified=False), calls("human", people, 33), calls("human", 400 - people, 9),
            calls("machine", 1940, verified=False), calls("machine", mistaken, 33), calls("machine", 60 - mistaken, 9),
        ):  # fmt: skip
            one.add(kind)
        estimate = one.estimate(PERSON, MACHINE)
        assert estimate is not None
        held += estimate.low <= truth <= estimate.high

    assert held / trials >= 0.9


def test_given_two_trunks_when_told_then_each_stands_alone_and_all_at_the_end():
    found = feedback(CONFIG, [calls("human", 5, 33), calls("human", 7, 33, trunk=9), calls("fax", 1, trunk=None)])

    assert [(one.campaign, one.trunk) for one in found] == [
        ("Example", "9"), ("Example", "Carrier"), ("Example", "unknown"), ("all", "all"),
    ]  # fmt: skip
    assert found[-1].calls == Counter({PERSON: 12, OTHER: 1})


# --- the database ---------------------------------------------------------------------------------------------------


def attempt(
    conn, attempt_id, *, verdict="human", agent_result=None, verified=True, agent="a1", campaign=7, talked_s=30
):
    answered = NOW + timedelta(seconds=10)
    conn.execute(
        "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid,"
        " campaign_group_dbid, phone, leg_id, started_at, answered_at, cpd_completed_at, finished_at, agent_id,"
        " cpa_verdict, verified, agent_result, switch_dbid, agent_answered_at, agent_released_at, evidence)"
        " VALUES (%s, 'g', 'o', 't', 1, 1, 1, %s, 1, '+1', 'l', %s, %s, %s, %s, %s, %s, %s, %s, 8, %s, %s, %s)",
        (
            attempt_id, campaign, NOW, answered, answered + timedelta(seconds=1), NOW + timedelta(minutes=1), agent,
            verdict, verified, agent_result, answered + timedelta(seconds=2),
            answered + timedelta(seconds=2 + talked_s), json.dumps({"cpa": {"tone_plan": "DE"}}),
        ),
    )  # fmt: skip


def test_given_attempts_in_the_database_when_counted_then_only_answered_and_analysed_calls_of_the_time_are(database):
    with psycopg.connect(database) as conn:
        attempt(conn, 1, agent_result=33)
        attempt(conn, 2, agent_result=9)
        attempt(conn, 3, verdict="machine", agent_result=9)
        attempt(conn, 4, verdict="machine", verified=False, agent=None)
        attempt(conn, 5, agent_result=9, verified=False)  # told without being asked: no sample
        attempt(conn, 6, campaign=99, agent_result=33)
        conn.execute("UPDATE ocsd.attempt SET answered_at = NULL WHERE attempt_id = 2")

        found = counted(conn, NOW - timedelta(days=1), NOW + timedelta(days=1), 7)
        later = counted(conn, NOW + timedelta(seconds=1), NOW + timedelta(days=1))

    (one,) = feedback(CONFIG, found)
    assert one.calls == Counter({PERSON: 2, MACHINE: 2})
    assert one.confusion == {PERSON: Counter({PERSON: 1}), MACHINE: Counter({MACHINE: 1})}
    assert later == []


def recorded(conn, folder: Path, attempt_id: int, content: bytes, *, error="") -> Path:
    path = f"cpd/2026-03-06/{attempt_id}-abcdefab.wav"
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    recordings.note(
        conn, CpdRecording(attempt_id, path, NOW, 12.0, len(content), sha256(content).hexdigest(), error=error)
    )
    return file


def test_given_labelled_recordings_when_exported_then_whole_ones_come_with_the_truth_and_where_the_answer_is(
    database, tmp_path
):
    with psycopg.connect(database) as conn:
        for number, (result, talked_s) in enumerate(
            [(33, 30), (9, 30), (None, 30), (None, 2), (999, 30), (9, 5), (33, 5), (9, 5)], start=1
        ):
            attempt(conn, number, agent_result=result, talked_s=talked_s)
            file = recorded(conn, tmp_path / "rec", number, b"wav" * number, error="disk full" if number == 8 else "")
            if number == 6:
                file.write_bytes(b"not what was recorded")
            if number == 7:
                file.unlink()
        attempt(conn, 9, agent_result=9, agent=None)  # an application's word: nobody has heard the call
        recorded(conn, tmp_path / "rec", 9, b"wav")
        found = labelled(conn, NOW - timedelta(days=1), NOW + timedelta(days=1), 7, 20.0)
        by_agents = labelled(conn, NOW - timedelta(days=1), NOW + timedelta(days=1), 7, None)

    told = export(CONFIG, found, tmp_path / "rec", tmp_path / "out", 20.0)

    assert told.labels == Counter({"human": 2, "machine": 1})
    assert told.left_out == Counter({"no label": 2, "file was changed": 1, "file is gone": 1})
    assert [one.attempt_id for one in by_agents] == [1, 2, 5, 6, 7]
    entries = read_manifest(tmp_path / "out")
    assert [(e.file, e.label, e.phase, e.tone_plan, e.answered_s) for e in entries] == [
        ("1-abcdefab.wav", "human", "post", "DE", 10.0),
        ("2-abcdefab.wav", "machine", "post", "DE", 10.0),
        ("3-abcdefab.wav", "human", "post", "DE", 10.0),
    ]
    assert {entry.path.stat().st_mode & 0o007 for entry in entries} == {0}  # voices: not for everybody
    assert (tmp_path / "out").stat().st_mode & 0o007 == 0
    assert [entry.path.read_bytes() for entry in entries] == [b"wav", b"wavwav", b"wavwavwav"]
    assert "+1" not in (tmp_path / "out" / "manifest.jsonl").read_text()


def test_given_a_conversation_when_the_agent_has_said_otherwise_then_that_goes_before_its_length():
    one = Labelled("p", "", NOW, 1, 7, 8, NOW, None, 9, "human", True, None, 60.0)

    assert one.label(20.0) == ("machine", "agent")


@pytest.mark.parametrize(("verdict", "label"), [("human", ("human", "conversation")), ("machine", None)])
def test_given_a_long_conversation_when_a_machine_was_heard_then_it_is_nobodys_proof_of_a_person(verdict, label):
    one = Labelled("p", "", NOW, 1, 7, 8, NOW, None, None, verdict, True, None, 60.0)

    assert one.label(20.0) == label


def test_given_a_recording_that_begins_in_the_call_when_exported_then_it_is_left_out(tmp_path):
    late = Labelled("cpd/x/1-a~2.wav", "", NOW + timedelta(seconds=1), 1, 7, 8, NOW, None, 9, "human", True, None, 60.0)

    told = export(CONFIG, [late], tmp_path, tmp_path / "out", None)

    assert (told.labels, told.left_out) == (Counter(), Counter({"begins within the call": 1}))


def configured(tmp_path: Path, dsn: str) -> Path:
    path = tmp_path / "ocsd.toml"
    write_configuration(
        path,
        DemoOptions(agents=2, records=2, http_port=0),
        data_dir=tmp_path / "data",
        http_port=0,
        desktop_port=0,
        carrier_port=5999,
        phones_port=5998,
    )
    text = path.read_text()
    text = (
        text.replace("[database]", f'[database]\ndsn = "{dsn}"')
        if "[database]" in text
        else (text + f'\n[database]\ndsn = "{dsn}"\n')
    )
    path.write_text(text)
    return path


def test_given_the_commands_when_run_against_a_database_then_figures_and_samples_come_out(database, tmp_path):
    config = configured(tmp_path, database)
    with psycopg.connect(database) as conn:
        attempt(conn, 1, agent_result=33)
        attempt(conn, 2, verdict="machine", agent_result=33)
        conn.execute("UPDATE ocsd.attempt SET started_at = now()")
        recorded(conn, tmp_path / "data" / "recordings", 2, b"wav")
    run = CliRunner().invoke

    shown = run(app, ["cpa", "feedback", "--config", str(config), "--json"])
    plain = run(app, ["cpa", "feedback", "--config", str(config)])
    wrong = run(app, ["cpa", "feedback", "--config", str(config), "--trunk", "Nobody"])
    out = tmp_path / "samples"
    exported = run(app, ["cpa", "export", str(out), "--config", str(config), "--json"])
    again = run(app, ["cpa", "export", str(out), "--config", str(config)])

    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)[0]["confusion"][MACHINE][PERSON] == 1
    assert "people taken for machines: 50.00 %" in plain.stdout.replace("50.00%", "50.00 %")
    assert (wrong.exit_code, again.exit_code) == (1, 1)
    assert "Nobody" in wrong.output
    assert json.loads(exported.stdout)["labels"] == {"human": 1}
    assert [entry.label for entry in read_manifest(out)] == ["human"]
