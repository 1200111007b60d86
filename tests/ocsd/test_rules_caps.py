"""Attempt caps: which rules hold for a list, and what a history of calls means under one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.objects import AttemptCap, CallingList, Configuration
from ocsd.model.errors import ConfigError
from ocsd.rules.caps import CapRule, period_in_words, refusal, rules_of
from ocsd.rules.checks import preset_problems

DAY_S = 86_400
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
THREE_A_DAY = CapRule("three", 3, DAY_S, "phone", "all")


def ago(hours: float) -> datetime:
    return NOON - timedelta(hours=hours)


def rules(*names: str, caps: tuple[AttemptCap, ...] = (), **fields: str) -> tuple[CapRule, ...]:
    calling_list = CallingList(dbid=1, name="List", table_access="t", attempt_caps=names, **fields)
    return rules_of(Configuration(attempt_caps=caps, calling_lists=(calling_list,)), calling_list)


def cap(name: str = "own", **changes: Any) -> AttemptCap:
    return AttemptCap(**({"dbid": 1, "name": name, "max_attempts": 2, "period_h": 1.5} | changes))


# --- which rules --------------------------------------------------------------------------------------------------


def test_given_an_attempt_cap_object_when_named_then_it_becomes_one_rule():
    assert rules("own", caps=(cap(subject="campaign"),)) == (CapRule("own", 2, 5400, "phone", "campaign"),)


def test_given_an_object_and_a_preset_of_one_name_when_named_then_the_object_counts():
    assert rules("us-fl", caps=(cap("us-fl"),)) == (CapRule("us-fl", 2, 5400, "phone", "all"),)


def test_given_a_preset_when_the_list_names_customer_and_subject_then_it_counts_by_them():
    (rule,) = rules("us-fl", customer_id_field="customer", subject_field="policy")

    assert rule == CapRule("us-fl", 3, DAY_S, "customer_id", "subject_field", source="Fla. Stat. 501.616(6)(b)")


def test_given_a_preset_when_the_list_names_neither_then_every_call_to_the_number_counts():
    (rule,) = rules("us-fl")

    assert (rule.per, rule.subject) == ("phone", "all")


def test_given_regulation_f_when_named_then_calls_and_conversations_are_two_rules_over_calendar_days():
    calls, conversations = rules("us-reg-f", subject_field="debt")

    # Seven calendar days last 169 hours when clocks go back in them.
    assert (calls.max_attempts, calls.period_s, calls.after_conversation) == (7, 169 * 3600, False)
    assert (conversations.max_attempts, conversations.period_s, conversations.after_conversation) == (
        1,
        169 * 3600,
        True,
    )


def test_given_a_name_twice_when_resolved_then_it_counts_once():
    assert len(rules("us-fl", "us-fl")) == 1


def test_given_a_name_that_nobody_has_when_resolved_then_the_problem_is_a_sentence_with_a_suggestion():
    with pytest.raises(ConfigError) as raised:
        rules("us-f", "own", caps=(cap(),))

    assert raised.value.problems == [
        'attempt_caps of calling list "List": there is neither an attempt cap nor a preset called "us-f"; '
        "did you mean us-fl?"
    ]


def test_given_wrong_names_in_several_lists_when_the_configuration_is_checked_then_each_is_reported():
    lists = (
        CallingList(dbid=1, name="A", table_access="t", calling_hours=("us-fl", "nowhere")),
        CallingList(dbid=2, name="B", table_access="t", attempt_caps=("us-fl", "never")),
    )

    assert preset_problems(Configuration(calling_lists=lists)) == [
        'calling_hours of calling list "A": there is no preset called "nowhere"; `ocsd rules list` shows all.',
        'attempt_caps of calling list "B": there is neither an attempt cap nor a preset called "never"; '
        "`ocsd rules list` shows the presets.",
    ]


@pytest.mark.parametrize(
    ("period_s", "words"), [(5400, "1.5 h"), (DAY_S, "24 h"), (7 * DAY_S, "7 days"), (169 * 3600, "7 days and 1 h")]
)
def test_given_a_period_when_put_in_words_then_people_can_read_it(period_s, words):
    assert period_in_words(period_s) == words


# --- what a history means -----------------------------------------------------------------------------------------


def test_given_fewer_calls_than_allowed_when_asked_then_one_more_passes():
    assert refusal(THREE_A_DAY, [ago(1), ago(2)], NOON) is None


def test_given_as_many_calls_as_allowed_when_asked_then_it_is_refused_until_the_oldest_leaves_the_window():
    refused = refusal(THREE_A_DAY, [ago(1), ago(20), ago(2)], NOON)

    assert refused is not None
    assert refused.until == NOON + timedelta(hours=4)
    assert refused.why == "attempt cap three: at most 3 calls to a number in 24 h: 3 already"


def test_given_a_call_exactly_one_period_ago_when_asked_then_it_does_not_count_any_more():
    assert refusal(THREE_A_DAY, [ago(1), ago(2), ago(24)], NOON) is None
    assert refusal(THREE_A_DAY, [ago(1), ago(2), ago(24) + timedelta(microseconds=1)], NOON) is not None


def test_given_more_calls_than_allowed_when_asked_then_the_last_of_them_decide():
    refused = refusal(THREE_A_DAY, [ago(hours) for hours in (1, 2, 3, 20, 21)], NOON)

    assert refused is not None
    assert refused.until == ago(3) + timedelta(days=1)


def test_given_a_call_in_the_future_of_our_clock_when_asked_then_it_counts():
    assert refusal(CapRule("one", 1, DAY_S, "phone", "all"), [NOON + timedelta(seconds=2)], NOON) is not None


def test_given_no_conversation_yet_when_conversations_are_counted_then_calls_pass():
    after_talk = CapRule("quiet", 1, 7 * DAY_S, "phone", "all", after_conversation=True)

    assert refusal(after_talk, [], NOON) is None
    refused = refusal(after_talk, [ago(24)], NOON)
    assert refused is not None
    assert refused.until == NOON + timedelta(days=6)


RULES = st.builds(
    CapRule,
    name=st.just("any"),
    max_attempts=st.integers(1, 5),
    period_s=st.integers(1, 40),
    per=st.just("phone"),
    subject=st.just("all"),
)
# Half seconds, few enough to meet on the edges of windows.
TIMES = st.integers(0, 200).map(lambda half_s: NOON + timedelta(seconds=half_s / 2))


@given(rule=RULES, wanted=st.lists(TIMES, max_size=60))
def test_given_a_cap_that_is_obeyed_when_calls_come_then_no_window_ever_holds_more_than_allowed(rule, wanted):
    made: list[datetime] = []
    for at in sorted(wanted):
        if refusal(rule, made, at) is None:
            made.append(at)

    period = timedelta(seconds=rule.period_s)
    for start in made:
        assert sum(start <= time < start + period for time in made) <= rule.max_attempts
    refused = [at for at in sorted(wanted) if at not in made]
    for at in refused:  # and none was refused without need
        assert sum(at - period < time <= at for time in made) == rule.max_attempts


@given(rule=RULES, history=st.lists(TIMES, max_size=20), at=TIMES)
def test_given_a_refusal_when_its_time_comes_then_it_passes_and_not_a_second_before(rule, history, at):
    refused = refusal(rule, history, at)

    if refused is None:
        return
    assert refused.until is not None
    assert refused.until > at
    assert refused.until.microsecond == 0
    assert refusal(rule, history, refused.until) is None
    assert refusal(rule, history, refused.until - timedelta(seconds=1)) is not None


@given(rule=RULES, history=st.lists(TIMES, max_size=20), at=TIMES, extra=TIMES, later_s=st.integers(0, 60))
def test_given_more_calls_or_less_time_when_asked_then_it_never_becomes_easier(rule, history, at, extra, later_s):
    if refusal(rule, history, at) is not None:
        assert refusal(rule, [*history, extra], at) is not None
    else:
        assert refusal(rule, history, at + timedelta(seconds=later_s)) is None
