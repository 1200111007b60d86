"""What start-up makes of attempts that cannot be adopted: `recovery.settled`, from snapshots alone."""

import pytest

from ocsd.model.enums import CallResult
from ocsd.sessions.remains import Remains, settled
from telephony.contract import ChannelSnapshot, LegSnapshot, LegState, VerdictKind

ANSWERED_AT_S = 100.0


def leg(state=LegState.ENDED, **changes):
    return LegSnapshot("a1-guid-customer", state, 90.0, **changes)


def answered(**changes):
    return leg(answered_at_s=ANSWERED_AT_S, sip_status=200, **changes)


def heard(verdict, at_s=ANSWERED_AT_S + 2.0):
    return ChannelSnapshot("a1-guid-customer-rtp", 30000, verdict=verdict, verdict_at_s=at_s)


R = CallResult


@pytest.mark.parametrize(
    ("remains", "result"),
    [
        # never answered: what signalling or early media said
        (Remains(leg(sip_status=486)), R.BUSY),
        (Remains(leg(sip_status=404)), R.SIT_INVALID_NUM),
        (Remains(leg(sip_status=487, no_answer=True)), R.NO_ANSWER),
        (Remains(leg(sip_status=487, ended_by="local"), heard(VerdictKind.BUSY, 95.0)), R.BUSY),
        (Remains(leg(sip_status=486), heard(VerdictKind.HUMAN, 95.0)), R.BUSY),
        (Remains(leg(sip_status=480), heard(VerdictKind.SILENCE, 95.0)), R.NO_ANSWER),
        (Remains(leg(sip_status=480), heard(VerdictKind.RINGBACK, 95.0)), R.NO_ANSWER),
        # answered, and nobody was there to act on the verdict
        (Remains(answered(ended_by="remote"), heard(VerdictKind.MACHINE)), R.ANSWERING_MACHINE),
        (Remains(answered(ended_by="remote"), heard(VerdictKind.HUMAN)), R.DROPPED),
        (Remains(answered(ended_by="remote"), heard(VerdictKind.TIMEGUARD)), R.DROPPED),
        (Remains(answered(ended_by="remote")), R.REMOTE_RELEASE),
        (Remains(answered(ended_by="remote"), heard(VerdictKind.BUSY, ANSWERED_AT_S - 1.0)), R.REMOTE_RELEASE),
        (Remains(answered(ended_by="local")), R.DROPPED),
        # what is heard of a dead line
        (Remains(answered(ended_by="remote", ended_at_s=101.0), heard(VerdictKind.MACHINE)), R.REMOTE_RELEASE),
    ],
)
def test_given_a_leg_that_ended_while_nobody_watched_when_settled_then_it_gets_the_result_of_that_ending(
    remains, result
):
    assert settled(False, remains) == (result, False)


@pytest.mark.parametrize("remains", [Remains(), Remains(leg(LegState.EARLY)), Remains(channel=heard(None))])
def test_given_nothing_that_tells_the_end_when_settled_then_the_attempt_is_stale_and_interrupted(remains):
    assert settled(False, remains) == (CallResult.STALE, True)


@pytest.mark.parametrize("remains", [Remains(), Remains(answered(ended_by="remote")), Remains(leg(LegState.ANSWERED))])
def test_given_a_person_who_had_been_connected_when_settled_then_it_counts_as_answered(remains):
    assert settled(True, remains) == (CallResult.ANSWER, False)


@pytest.mark.parametrize(
    ("ended_at_s", "result"), [(101.0, R.ANSWER), (103.0, R.ANSWERING_MACHINE), (None, R.ANSWERING_MACHINE)]
)
def test_given_a_conversation_when_a_machine_was_heard_before_its_end_then_that_is_its_result(ended_at_s, result):
    remains = Remains(answered(ended_by="local", ended_at_s=ended_at_s), heard(VerdictKind.MACHINE))

    assert settled(True, remains) == (result, False)
