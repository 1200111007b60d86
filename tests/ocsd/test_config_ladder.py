"""The treatments of a list in words."""

from datetime import UTC, datetime

import pytest

from ocsd.config.ladder import in_words, ladder
from ocsd.config.objects import CallingList, Configuration, Treatment
from ocsd.model.enums import CallAction, CallResult, RecordAction


def treatment(action: RecordAction, **fields: object) -> Treatment:
    return Treatment(dbid=1, name="t", record_action=action, **fields)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            treatment(RecordAction.REDIAL, cycle_attempts=3, interval_min=10, increment_min=90),
            "same record again after 10 min and 1 h 30 min more each time, at most 3 times",
        ),
        (treatment(RecordAction.RETRY_IN, interval_min=1501), "same record again after 1 d 1 h 1 min"),
        (
            treatment(RecordAction.RETRY_AT_DATE, date=datetime(2026, 12, 24, 10)),  # noqa: DTZ001
            "same record again at 2026-12-24 10:00 in the record's zone",
        ),
        (
            treatment(
                RecordAction.NEXT_IN_CHAIN_AT_DATE, cycle_attempts=1, date=datetime(2026, 12, 24, 10, tzinfo=UTC)
            ),
            "next record of the chain, and past the end the first again, at 2026-12-24 10:00+00:00, at most 1 cycle",
        ),
        (
            treatment(RecordAction.NEXT_IN_CHAIN, cycle_attempts=2, interval_min=240),
            "next record of the chain at once; past the end the first again after 4 h, at most 2 cycles",
        ),
        (
            treatment(RecordAction.UPDATE_RECORD, call_action=CallAction.PLAY_MESSAGE, message="hello.wav"),
            "the call: play message hello.wav, ends; the record is Updated",
        ),
        (treatment(RecordAction.NONE, call_action=CallAction.DROP), "the call: drop"),
    ],
)
def test_given_a_treatment_when_put_into_words_then_they_say_what_when_and_how_often(found, words):
    assert in_words(found) == words


@pytest.mark.parametrize("action", set(RecordAction) - {RecordAction.NONE})
def test_given_each_action_when_put_into_words_then_there_are_some_and_no_secret(action):
    words = in_words(treatment(action, sql="SELECT secret", url="https://secret/"))

    assert words
    assert "secret" not in words


def test_given_a_list_when_its_ladder_is_made_then_sequences_stand_in_order():
    def one(dbid: int, number: int, **fields: object) -> Treatment:
        return Treatment(dbid=dbid, name=f"t{dbid}", number=number, **fields)

    configuration = Configuration(
        treatments=(
            one(1, 9, call_result=CallResult.BUSY),
            one(2, 1, call_result=CallResult.BUSY, record_action=RecordAction.RESCHEDULE),
            one(3, 1, disposition="x", call_result=CallResult.ANSWER),
            one(4, 1, call_result=CallResult.NO_ANSWER),
        )
    )
    calling_list = CallingList(dbid=1, name="L", table_access="A", treatments=("t1", "t2", "t3"))

    assert list(ladder(configuration, calling_list)) == [
        "Busy (6)",
        '  1. "t2": same record again on its next day',
        '  9. "t1": ends; the record is Updated',
        'disposition "x", Answer (33)',
        '  1. "t3": ends; the record is Updated',
        "any other result: ends; the record is Updated",
    ]
