import json

import pytest

from pacing import DialDecision, Pacer, PacingTarget
from pacing.journal import Decided, Recorder, state_text
from pacing.memory import ALL_S, LASTING, LASTING_S, aged
from tests.pacing.journal_world import DEFAULT_TARGET, Group, recorded


@pytest.fixture(scope="module")
def learnt():
    return recorded(12, 200.0)[1].recorder.state_text()


def reasons(learnt_text, seconds=30.0):
    entries = []
    group = Group(Recorder(DEFAULT_TARGET, learnt=learnt_text, sink=entries.append), 12, seed=9)
    group.run(seconds)
    decisions = [entry.decision for entry in entries if isinstance(entry, Decided)]
    assert all(isinstance(decision, DialDecision) for decision in decisions)
    return {decision.because for decision in decisions}


def test_given_a_state_of_a_moment_ago_when_recalled_then_all_of_it_is_known_and_prediction_goes_on(learnt):
    assert aged(learnt, 60.0, DEFAULT_TARGET) == learnt
    assert aged(learnt, ALL_S, DEFAULT_TARGET) == learnt
    assert "learning" in reasons(None, 4.0)
    assert "learning" not in reasons(learnt)


def test_given_a_state_of_yesterday_when_recalled_then_durations_stay_and_the_hit_ratio_begins_anew(learnt):
    fresh = json.loads(state_text(Pacer(DEFAULT_TARGET)))
    before, after = json.loads(learnt), json.loads(aged(learnt, 20 * 3600.0, DEFAULT_TARGET))

    assert set(LASTING) <= set(before)
    for part, value in after.items():
        assert value == (before[part] if part in LASTING else fresh[part]), part
    assert before["handling"] != fresh["handling"]
    assert "learning" in reasons(json.dumps(after), 4.0)


def test_given_a_state_of_last_month_when_recalled_then_nothing_of_it_is_known(learnt):
    assert aged(learnt, LASTING_S + 1.0, DEFAULT_TARGET) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 0}', "{}"])
@pytest.mark.parametrize("age_s", [1.0, 1e5])
def test_given_a_text_that_is_no_state_of_this_version_when_recalled_then_it_is_refused(text, age_s):
    with pytest.raises(ValueError, match=r"\w"):
        aged(text, age_s, PacingTarget(DEFAULT_TARGET.mode))
