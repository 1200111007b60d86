import pytest

from pacing import DialDecision, Goal, LegalRoom, Mode, PacingTarget
from pacing.journal import Decided
from pacing.words import REASONS, reason, told
from tests.pacing.journal_world import recorded

INPUTS = {
    "idle": 2, "talking": 20, "wrapping": 3, "ringing": 14, "people_waiting": 0, "people": 480, "abandoned": 12,
    "risk": 0.03, "next_risk": 0.0412, "theta": 0.036, "expected_people": 4.1, "expected_abandoned": 0.05,
    "expected_freed": 3.24, "horizon_s": 28.0, "hit_ratio": 0.31, "hit_ratio_error": 0.02, "busy_factor": 0.913,
    "agent_wait_s": 4.2, "max_overdial_ratio": 0.03, "ports_free": 40, "records_ready": 500, "starts_allowed": 10**6,
}  # fmt: skip


def test_given_a_decision_when_told_then_every_figure_is_in_the_words():
    target = PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.9)
    words = told(DialDecision(3, "risk", 0.012, INPUTS), target, LegalRoom(0.024, 7.5, because="US TSR, 2.1 % used"))

    assert words == [
        "launched 3: the risk of number 4, 0.0412, is above 0.0360",
        "2 agents idle, 20 talking, 3 in wrap-up, 14 calls ringing",
        "expected of all calls under way within 28 s: 4.1 people, 0.05 of them without an agent (1.2 %); "
        "3.2 busy agents come free; 31.0 % of calls are answered (give or take 2.0)",
        "so far 12 of 480 people abandoned (2.5 %, bound 3.0 %), agents busy 91.3 % (goal 90 %), "
        "they wait 4.2 s for a call",
        "room: 40 ports free, 500 records ready",
        "legal window: at most 2.40 % of people from now on, 7.5 more may be abandoned now (US TSR, 2.1 % used)",
    ]


def test_given_a_wait_time_goal_and_a_stop_when_told_then_they_are_named():
    target = PacingTarget(Mode.PREDICTIVE, Goal.WAIT_TIME, 20.0)
    words = told(DialDecision(0, "legal_stop", 0.0, INPUTS), target, LegalRoom(0.0, 0.0, stop=True))

    assert words[0] == "launched 0: the legal window has no room left: nothing is dialed"
    assert any("they wait 4.2 s for a call (goal 20 s)" in sentence for sentence in words)
    assert words[-1].endswith("nobody may be abandoned now, no call may start")


def test_given_a_reason_nobody_has_words_for_when_told_then_it_is_told_as_it_is_called():
    assert reason(DialDecision(1, "a_new_reason", 0.0)) == "a new reason"
    assert told(DialDecision(1, "a_new_reason", 0.0)) == ["launched 1: a new reason"]
    assert reason(DialDecision(0, "risk", 0.0, {"next_risk": 0.5, "theta": 0.1})).startswith("the risk of a first")


@pytest.mark.parametrize("mode", Mode)
def test_given_real_decisions_when_told_then_each_reason_has_words(mode):
    entries, _ = recorded(10, 120.0, target=PacingTarget(mode))
    decisions = [entry.decision for entry in entries if isinstance(entry, Decided)]

    assert {decision.because for decision in decisions} <= set(REASONS)
    for decision in decisions[::50]:
        words = told(decision)
        assert words[0].startswith(f"launched {decision.launch}: ")
        assert words[1].startswith(f"{decision.inputs['idle']:g} agents idle")
