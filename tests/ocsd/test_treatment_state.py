"""The treatment state as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.model.enums import RecordType
from ocsd.treatments.state import TreatmentState, format_state, parse_state, state_of
from tests.ocsd.treatment_worlds import row

POSITIVE = st.integers(1, 2**31 - 1)
STATES = st.builds(TreatmentState, POSITIVE, POSITIVE, st.integers(-(2**31) + 1, 2**31 - 1), POSITIVE) | st.builds(
    TreatmentState, st.just(0), st.just(0), st.integers(0, 99), POSITIVE
)


def test_given_a_state_when_written_then_it_has_the_vendors_form():
    assert format_state(TreatmentState(101, 2, 0, 1)) == "101@2@0@1"
    assert parse_state("101@2@0@1") == TreatmentState(101, 2, 0, 1)
    assert parse_state(" 0@0@3@1 ") == TreatmentState(0, 0, 3, 1)


@given(STATES)
def test_given_any_state_when_written_and_read_then_it_is_the_same(state):
    assert parse_state(format_state(state)) == state


@pytest.mark.parametrize(
    "text",
    [
        None, "", "   ", "1", "1@2@3", "1@2@3@4@5", "1@2@3@x", "-1@1@0@1", "1@-1@0@1", "1@1@0@-1", "1@1@0@0", "1@0@0@1",
        "0@1@0@1", "1.0@1@0@1", "1@1@@1", "²@1@0@1", "٣@1@0@1", "1 @1@0@1", "1@1@0@1\x00", "2147483648@1@0@1",
        "99999999999999999999@1@0@1", "1@1@0@2147483648", "1;2;3;4", "Redial@1@0@1",
    ],
)  # fmt: skip
def test_given_what_is_no_state_when_read_then_there_is_none(text):
    assert parse_state(text) is None


@given(st.text(max_size=40) | st.text("0123456789@- ", max_size=20))
def test_given_any_text_when_read_then_it_is_a_state_or_none_and_never_an_error(text):
    state = parse_state(text)

    assert state is None or parse_state(format_state(state)) == state


@pytest.mark.parametrize(
    ("record_type", "is_read"),
    [
        (RecordType.GENERAL, False),
        (RecordType.CAMPAIGN_RESCHEDULED, True),
        (RecordType.PERSONAL_RESCHEDULED, True),
        (RecordType.PERSONAL_CALLBACK, True),
        (RecordType.CAMPAIGN_CALLBACK, True),
        (RecordType.NO_CALL, False),
        (RecordType.NO_RECORD_TYPE, False),
        (RecordType.UNKNOWN, False),
    ],
)
def test_given_a_record_type_when_its_state_is_asked_for_then_only_scheduled_types_have_one(record_type, is_read):
    record = row(record_type=record_type, treatments="5@1@0@1")

    assert state_of(record) == (TreatmentState(5, 1, 0, 1) if is_read else None)
