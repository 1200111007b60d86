"""What analysis said of a call, in words and in the history."""

from datetime import UTC, datetime

import psycopg
import pytest

from ocsd.explain.analysis_words import MOST_TOLD, analysis_words
from ocsd.explain.history import Wanted, history, told
from ocsd.lists import recordings
from ocsd.model.records import CpdRecording
from tests.ocsd.result_worlds import result_configuration

NOW = datetime(2026, 3, 6, 12, 0, tzinfo=UTC)
RINGBACK = {"kind": "ringback", "phase": "pre", "at_s": 1.5, "cause": "440+480 Hz", "figures": {"hz": 440.0}}
PERSON = {"kind": "human", "phase": "post", "at_s": 0.8, "cause": "short greeting", "speech_end_s": 0.3, "figures": {}}
MACHINE = {"kind": "machine", "phase": "post", "at_s": 3.0, "cause": "speech goes on", "revises": True, "figures": {}}


def test_given_verdicts_when_told_then_each_has_its_time_its_cause_and_the_silence_before_it():
    assert analysis_words({"cpa": {"verdicts": [RINGBACK, PERSON, MACHINE]}}) == (
        "heard ringback 1.5 s after the dial (440+480 Hz); human 0.8 s after the answer (short greeting), 0.5 s after "
        "speech; then machine 3.0 s after the answer (speech goes on)"
    )


@pytest.mark.parametrize(
    "evidence",
    [None, {}, {"cpa": None}, {"cpa": {"kind": "human"}}, {"cpa": {"verdicts": []}}, {"cpa": {"verdicts": 3}}],
)
def test_given_evidence_without_verdicts_when_told_then_there_are_no_words(evidence):
    assert analysis_words(evidence) == ""


def test_given_a_network_that_says_it_again_and_again_when_told_then_the_rest_is_counted():
    words = analysis_words({"cpa": {"verdicts": [*[RINGBACK] * (MOST_TOLD + 1), PERSON], "left_out": 5}})

    assert "; 7 more; " in words
    assert words.count("ringback") == MOST_TOLD - 1
    assert words.endswith("human 0.8 s after the answer (short greeting), 0.5 s after speech")


def test_given_a_test_call_when_history_is_asked_then_it_says_what_was_heard_said_lost_and_recorded(database):
    config = result_configuration()
    with psycopg.connect(database) as conn:
        conn.execute(
            "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id,"
            " campaign_dbid, campaign_group_dbid, phone, leg_id, started_at, finished_at, call_result, counted,"
            " speech_end_at, lost_waiting_for, verified, agent_result, evidence)"
            " VALUES (1, 'g', 'o', 'customers', 301, 1, 1, 401, 1, '+12125550123', 'l', %s, %s, 9, true, %s,"
            " 'analysis', true, 33, %s::jsonb)",
            (NOW, NOW, NOW, '{"cpa": {"verdicts": [{"kind": "machine", "phase": "post", "at_s": 2.0}]}}'),
        )
        for path, error in (("cpd/a/1-0.wav", "disk full"), ("cpd/a/1-a.wav", "")):
            recordings.note(conn, CpdRecording(1, path, NOW, 1.0, 1, "00ff", error=error))
        conn.commit()
        conn.autocommit = True

        (event,) = [one for one in history(conn, config, Wanted(("+12125550123",)), NOW) if one["event"] == "attempt"]

    assert (event["verified"], event["agent_result"], event["speech_end_at"]) == (True, 33, NOW)
    assert (event["recording"], event["recording_sha256"]) == ("cpd/a/1-a.wav", "00ff")
    line = told(event)
    for words in (
        "heard machine 2.0 s after the answer",
        "lost waiting for the analysis",
        "test call, the agent says Answer",
        "recording cpd/a/1-a.wav",
    ):
        assert words in line
