"""What we write as an array is what PostgreSQL reads."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocsd.lists.arrays import array, int_array
from ocsd.model.enums import CallResult

NOON = datetime(2026, 3, 3, 12, 0, 0, 250, tzinfo=timezone(timedelta(hours=-5)))

text = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


@pytest.fixture
def conn(database):
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


@given(st.lists(st.none() | text | st.sampled_from(["", "NULL", "null", "{}", ",", '"', "\\", 'a"b\\"c', " x ", "\n"])))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_given_any_texts_when_sent_as_an_array_then_they_arrive(conn, values):
    assert conn.execute("SELECT %s::text[]", (array(values),)).fetchone() == (values,)


@pytest.mark.parametrize(
    ("kind", "values", "arrived"),
    [
        ("int", [1, None, -7, CallResult.BUSY], [1, None, -7, int(CallResult.BUSY)]),
        ("bigint", [2**40], [2**40]),
        ("boolean", [True, False, None], [True, False, None]),
        ("timestamptz", [NOON, None], [NOON.astimezone(UTC), None]),
        ("uuid", [uuid.UUID(int=7)], [uuid.UUID(int=7)]),
        ("jsonb", ['{"a": "b\\"c", "d": [1, null]}'], [{"a": 'b"c', "d": [1, None]}]),
        ("int", [], []),
    ],
)
def test_given_values_of_a_type_when_sent_as_an_array_then_they_arrive(conn, kind, values, arrived):
    conn.execute("SET timezone = 'UTC'")
    assert conn.execute(f"SELECT %s::{kind}[]", (array(values),)).fetchone() == (arrived,)


def test_given_numbers_and_truths_when_sent_as_integers_then_they_arrive(conn):
    sent = (int_array([3, -1]), int_array([True, False]), int_array(()))
    assert conn.execute("SELECT %s::int[], %s::bool[], %s::int[]", sent).fetchone() == ([3, -1], [True, False], [])


def test_given_a_value_of_another_type_when_written_then_it_is_refused():
    with pytest.raises(TypeError, match="b'x'"):
        array([b"x"])
