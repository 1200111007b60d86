"""The one table from SIP, Q.850 and CPA to the manual's call results."""

import pytest
from structlog.testing import capture_logs

from ocsd.model.enums import CallResult
from ocsd.sessions.outcome import RESULT_OF_VERDICT, result_of_failure, result_of_verdict
from telephony.contract import VerdictKind
from telephony.cpa.listener import INFORMATION


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (302, CallResult.GENERAL_ERROR),
        (404, CallResult.SIT_INVALID_NUM),
        (407, CallResult.GENERAL_ERROR),
        (408, CallResult.NO_ANSWER),
        (410, CallResult.SIT_INTERCEPT),
        (480, CallResult.NO_ANSWER),
        (484, CallResult.SIT_INVALID_NUM),
        (486, CallResult.BUSY),
        (487, CallResult.GENERAL_ERROR),
        (503, CallResult.ALL_TRUNKS_BUSY),
        (600, CallResult.BUSY),
        (603, CallResult.REMOTE_RELEASE),
        (604, CallResult.SIT_INVALID_NUM),
    ],
)
def test_given_a_final_response_when_nothing_else_is_known_then_the_status_decides(status, result):
    assert result == result_of_failure(status, None, None, no_answer=False)


@pytest.mark.parametrize(
    ("status", "cause", "result"),
    [
        (503, 17, CallResult.BUSY),
        (500, 34, CallResult.ALL_TRUNKS_BUSY),
        (480, 19, CallResult.NO_ANSWER),
        (404, 1, CallResult.SIT_INVALID_NUM),
        (486, 16, CallResult.BUSY),
        (503, 31, CallResult.ALL_TRUNKS_BUSY),
    ],
)
def test_given_a_q850_cause_when_it_says_more_then_it_decides(status, cause, result):
    assert result == result_of_failure(status, cause, None, no_answer=False)


def test_given_a_tone_in_early_media_when_a_status_follows_then_the_tone_decides():
    assert result_of_failure(404, 1, VerdictKind.SIT_VACANT, no_answer=False) == CallResult.SIT_VACANT_CODE


def test_given_our_own_ring_limit_when_it_ran_out_then_no_answer():
    assert result_of_failure(487, None, VerdictKind.RINGBACK, no_answer=True) == CallResult.NO_ANSWER


def test_given_an_unmapped_status_when_it_comes_then_it_is_our_fault_and_loud():
    with capture_logs() as logs:
        result = result_of_failure(699, None, None, no_answer=False)

    assert result == CallResult.GENERAL_ERROR
    assert [entry["event"] for entry in logs] == ["outcome.unmapped"]


def test_given_every_verdict_when_looked_up_then_only_information_has_no_result():
    without = {kind for kind in VerdictKind if result_of_verdict(kind) is None}

    assert without == INFORMATION
    assert set(RESULT_OF_VERDICT) == set(VerdictKind) - without
