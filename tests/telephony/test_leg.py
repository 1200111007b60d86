import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.contract import DialogId, LegAnswered, LegEnded, LegProgress, LegState
from telephony.leg import (
    MAX_ENDED_HEADERS,
    TRANSITIONS,
    Answered,
    AnswerUnusable,
    Failed,
    HangUp,
    LegMachine,
    MediaAgreed,
    MediaMoved,
    NoAnswerLimit,
    Phase,
    Provisional,
    Released,
    RemoteBye,
    SendHangUp,
)
from telephony.sdp import MediaAddress

MEDIA, ELSEWHERE = MediaAddress("192.0.2.1", 4000), MediaAddress("192.0.2.2", 4002)
EVENTS = {
    "provisional": Provisional(2.0, 183, MEDIA),
    "answered": Answered(3.0, MEDIA),
    "unusable": AnswerUnusable(3.0, "bad SDP"),
    "failed": Failed(3.0, 486, 17, "Busy"),
    "moved": MediaMoved(3.5, ELSEWHERE),
    "agreed": MediaAgreed(3.5, ELSEWHERE),
    "hang_up": HangUp(4.0, "agent"),
    "no_answer": NoAnswerLimit(4.0),
    "bye": RemoteBye(5.0, 16, "Normal"),
    "released": Released(5.0, 408, "Request Timeout"),
}
LEG = LegMachine("a", 1.0, 21.0)


def after(*names: str) -> LegMachine:
    leg = LEG
    for name in names:
        leg, _ = leg.on(EVENTS[name])
    return leg


PHASES = {
    Phase.CALLING: after(),
    Phase.EARLY: after("provisional"),
    Phase.CANCELLING: after("provisional", "hang_up"),
    Phase.ANSWERED: after("answered"),
    Phase.HANGING_UP: after("answered", "hang_up"),
    Phase.ENDED: after("failed"),
}

# Per phase: event -> (next phase, what comes out: nothing, order to the stack, or report with ended_by).
EXPECTED = {
    Phase.CALLING: {
        "provisional": (Phase.EARLY, LegProgress),
        "answered": (Phase.ANSWERED, LegAnswered),
        "unusable": (Phase.ENDED, "error"),
        "failed": (Phase.ENDED, "remote"),
        "hang_up": (Phase.CANCELLING, SendHangUp),
        "no_answer": (Phase.CANCELLING, SendHangUp),
        "bye": (Phase.ENDED, "remote"),
        "released": (Phase.ENDED, "error"),
    },
    Phase.EARLY: {
        "provisional": (Phase.EARLY, LegProgress),
        "answered": (Phase.ANSWERED, LegAnswered),
        "unusable": (Phase.ENDED, "error"),
        "failed": (Phase.ENDED, "remote"),
        "moved": (Phase.EARLY, LegProgress),
        "hang_up": (Phase.CANCELLING, SendHangUp),
        "no_answer": (Phase.CANCELLING, SendHangUp),
        "bye": (Phase.ENDED, "remote"),
        "released": (Phase.ENDED, "error"),
    },
    Phase.CANCELLING: {
        "answered": (Phase.HANGING_UP, SendHangUp),
        "unusable": (Phase.ENDED, "local"),
        "failed": (Phase.ENDED, "remote"),  # 486 crossed our CANCEL
        "bye": (Phase.ENDED, "local"),
        "released": (Phase.ENDED, "local"),
    },
    Phase.ANSWERED: {
        "failed": (Phase.ENDED, "remote"),
        "moved": (Phase.ANSWERED, LegProgress),
        "agreed": (Phase.ANSWERED, None),
        "hang_up": (Phase.HANGING_UP, SendHangUp),
        "bye": (Phase.ENDED, "remote"),
        "released": (Phase.ENDED, "error"),
    },
    Phase.HANGING_UP: {
        "failed": (Phase.ENDED, "local"),
        "bye": (Phase.ENDED, "local"),
        "released": (Phase.ENDED, "local"),
    },
    Phase.ENDED: {},
}


@pytest.mark.parametrize(("phase", "name"), list(itertools.product(Phase, EVENTS)))
def test_given_any_phase_when_any_event_then_exactly_the_table_happens(phase, name):
    before = PHASES[phase]
    assert before.phase is phase

    leg, effects = before.on(EVENTS[name])

    if name not in EXPECTED[phase]:
        assert (leg, effects) == (before, ())
        assert (phase, type(EVENTS[name])) not in TRANSITIONS
        return
    next_phase, out = EXPECTED[phase][name]
    assert leg.phase is next_phase
    if out is None:
        assert effects == ()
        assert leg.media == ELSEWHERE
        return
    (effect,) = effects
    if isinstance(out, str):
        assert isinstance(effect, LegEnded)
        assert effect.ended_by == out
        assert effect.was_answered == (phase in (Phase.ANSWERED, Phase.HANGING_UP))
    else:
        assert isinstance(effect, out)


def test_given_an_answered_leg_when_it_ends_then_the_status_is_200_and_the_cause_is_kept():
    _, (ended,) = after("answered").on(EVENTS["bye"])

    assert ended == LegEnded("a", 5.0, 200, "remote", True, q850_cause=16, reason_text="Normal")


def test_given_the_no_answer_limit_when_the_far_end_is_busy_at_that_moment_then_busy_wins():
    _, (ended,) = after("provisional", "no_answer").on(EVENTS["failed"])

    assert (ended.ended_by, ended.sip_status, ended.no_answer) == ("remote", 486, False)


def test_given_the_no_answer_limit_when_487_comes_then_no_answer():
    _, (ended,) = after("provisional", "no_answer").on(Failed(5.0, 487))

    assert (ended.ended_by, ended.sip_status, ended.no_answer) == ("local", 487, True)


def test_given_a_cancel_when_the_200_crosses_it_then_bye_and_nobody_is_told_of_an_answer():
    leg, effects = after("provisional", "hang_up").on(EVENTS["answered"])
    assert effects == (SendHangUp("answered after CANCEL"),)
    assert leg.answered_at_s is None

    leg, (ended,) = leg.on(Released(5.0))

    assert (ended.ended_by, ended.was_answered, ended.reason_text) == ("local", False, "agent")


@pytest.mark.parametrize(
    ("status", "cause", "ended_by", "no_answer"),
    [
        (487, None, "local", True),
        (487, 19, "local", True),
        (503, None, "local", True),
        (500, 41, "local", True),
        (408, None, "local", True),
        (480, 34, "local", True),
        (486, None, "remote", False),
        (404, 1, "remote", False),
        (500, 17, "remote", False),
        (480, 16, "remote", False),
        (302, None, "remote", False),
    ],
)
def test_given_a_ring_limit_when_the_cancelled_invite_is_refused_then_only_news_of_the_called_party_count(
    status, cause, ended_by, no_answer
):
    leg, (ended,) = after("provisional", "no_answer").on(Failed(5.0, status, cause))

    assert (ended.sip_status, ended.ended_by, ended.no_answer) == (status, ended_by, no_answer)
    assert leg.snapshot().no_answer == no_answer


def test_given_100_trying_when_received_then_nothing_but_that_somebody_is_there():
    assert LEG.on(Provisional(2.0, 100)) == (replace(LEG, responded=True), ())


@pytest.mark.parametrize(("before", "responded"), [((), False), ((Provisional(2.0, 100),), True)])
def test_given_a_trunk_that_never_ends_a_call_when_it_times_out_then_whether_it_ever_said_anything(before, responded):
    leg = LEG
    for event in before:
        leg, _ = leg.on(event)

    leg, (ended,) = leg.on(EVENTS["released"])

    assert (ended.sip_status, ended.ended_by, ended.responded) == (408, "error", responded)
    assert leg.snapshot().responded == responded


def test_given_what_sessions_asked_for_when_messages_carry_it_then_reports_do():
    wanted = (("x-ucid", "7"),)
    dialog = DialogId("call", "ours", "theirs", "sip:a@b")

    _, (progress,) = LEG.on(Provisional(2.0, 180, None, wanted))
    answered_leg, (answered,) = LEG.on(Answered(3.0, MEDIA, wanted, dialog))
    _, (refused,) = LEG.on(Failed(3.0, 503, retry_after_s=30.0, headers=wanted))
    _, (ended,) = answered_leg.on(RemoteBye(5.0, headers=wanted))

    assert [one.headers for one in (progress, answered, refused, ended)] == [wanted] * 4
    assert (answered.dialog, answered_leg.snapshot().dialog) == (dialog, dialog)
    assert refused.retry_after_s == 30.0
    early_leg, _ = LEG.on(Provisional(2.0, 180, None, wanted))
    later_leg, _ = early_leg.on(Answered(3.0, MEDIA))
    assert later_leg.snapshot().headers == wanted
    gone_leg, _ = answered_leg.on(RemoteBye(5.0, headers=(*wanted, ("x-long", "y" * MAX_ENDED_HEADERS))))
    assert (gone_leg.snapshot().headers, gone_leg.snapshot().ended_headers) == ((), wanted)


def test_given_early_media_when_180_follows_without_sdp_then_the_address_is_kept_and_not_repeated():
    leg, (progress,) = after("provisional").on(Provisional(2.5, 180))

    assert (progress.remote_rtp_host, progress.remote_rtp_port) == ("", 0)
    assert leg.media == MEDIA


def test_given_an_answered_leg_when_media_moves_then_progress_200_and_a_repeat_is_silent():
    leg, (progress,) = after("answered").on(EVENTS["moved"])

    assert (progress.sip_status, progress.remote_rtp_port) == (200, 4002)
    assert leg.on(EVENTS["moved"]) == (leg, ())


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=12))
def test_given_any_history_when_replayed_then_at_most_one_end_and_nothing_after_it(names):
    leg, reports = LEG, []
    for name in names:
        leg, effects = leg.on(EVENTS[name])
        reports += effects
        # A deadline runs exactly while an answer is still wanted.
        assert math.isinf(leg.deadline_s) == (leg.phase not in (Phase.CALLING, Phase.EARLY))

    ends = [index for index, effect in enumerate(reports) if isinstance(effect, LegEnded)]
    assert len(ends) == (leg.state is LegState.ENDED)
    assert not ends or ends == [len(reports) - 1]
    assert sum(isinstance(effect, LegAnswered) for effect in reports) <= 1
    assert leg.snapshot().state is leg.state
