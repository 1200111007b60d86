"""The guard over a legal window: rooms, windows, reserves, paces; its invariants under random histories."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacing.guard import (
    BUCKET_S,
    DAY_S,
    PRESETS,
    Count,
    Guard,
    Ledger,
    OneToOneRecord,
    Phase,
    PhaseWatch,
    Rule,
    WindowKind,
    beyond_mean,
    calendar_window,
    lundberg_reserve,
    pace,
    rolling_slack,
    with_changes,
)

MONDAY_S = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
TSR = PRESETS["us-tsr"]
ROLLING = with_changes(TSR, window=WindowKind.ROLLING)
ROLLING = replace(ROLLING, min_people=200)


def ledger(*entries: tuple[float, int, int]) -> Ledger:
    """Of (hours since Monday, people, abandoned)."""
    found = Ledger()
    for hours, people, abandoned in entries:
        found.add(MONDAY_S + hours * 3600, people, abandoned)
    return found


def at(hours: float) -> float:
    return MONDAY_S + hours * 3600


# --- rules -----------------------------------------------------------------------------------------------------------


def test_given_the_presets_when_read_then_each_names_rule_denominator_clock_and_date():
    assert {name: (rule.limit_ratio, rule.window_s // DAY_S, rule.window.value) for name, rule in PRESETS.items()} == {
        "campaign": (0.03, 30, "successive"),
        "us-tsr": (0.03, 30, "successive"),
        "us-tcpa": (0.03, 30, "successive"),
        "strict-1": (0.01, 30, "rolling"),
        "uk": (0.0, 1, "calendar"),
        "uk-2010": (0.03, 1, "calendar"),
    }
    for rule in PRESETS.values():
        assert all((rule.title, rule.denominator, rule.clock_start, rule.source, rule.since))


@pytest.mark.parametrize(
    "changes",
    [{"limit_ratio": 1.0}, {"window_s": 1000}, {"window": WindowKind.CALENDAR, "window_s": DAY_S // 2}],
)
def test_given_a_window_that_does_not_work_when_asked_for_then_it_is_refused(changes):
    with pytest.raises(ValueError, match=r"limit_ratio|window"):
        with_changes(TSR, **changes)


# --- windows ---------------------------------------------------------------------------------------------------------


def test_given_successive_periods_when_one_ends_then_the_next_begins_with_an_empty_count():
    book = ledger((10.0, 1000, 29))
    begins_s, ends_s = Guard(TSR).window(book, at(11.0))
    assert (begins_s, ends_s) == (at(10.0), at(10.0) + 30 * DAY_S)
    assert Guard(TSR).state(book, ends_s - 1).count == Count(1000, 29)
    assert Guard(TSR).state(book, ends_s).count == Count(0, 0)
    assert Guard(TSR).state(book, ends_s).begins_s == ends_s


def test_given_a_calendar_day_in_london_when_clocks_change_then_it_has_23_or_25_hours():
    hours = []
    for month, day in ((3, 29), (10, 25), (6, 1)):
        noon = datetime(2026, month, day, 12, tzinfo=UTC).timestamp()
        begins_s, ends_s = calendar_window(noon, 1, "Europe/London")
        assert begins_s <= noon < ends_s
        hours.append((ends_s - begins_s) / 3600)
    assert hours == [23, 25, 24]


def test_given_calendar_weeks_when_asked_on_any_day_then_they_begin_on_monday():
    for day in range(7):
        begins_s, ends_s = calendar_window(MONDAY_S + day * DAY_S + 3600, 7, "UTC")
        assert (begins_s, ends_s) == (MONDAY_S, MONDAY_S + 7 * DAY_S)


def test_given_a_rolling_window_when_good_days_fall_out_then_what_they_earned_was_never_spent():
    # 10,000 good people have earned 300; spending them all at once on later days would leave those days above 3 %.
    book = ledger((0.0, 10_000, 0), (24.0, 300, 0))
    assert rolling_slack(book, MONDAY_S, ROLLING) == pytest.approx(0.03 * 200)
    book.add(at(48.0), 100, 6)
    assert rolling_slack(book, MONDAY_S, ROLLING) == pytest.approx(0.0)
    later = Guard(ROLLING).state(book, at(24.0) + 30 * DAY_S + BUCKET_S)
    assert later.count.people == 100
    assert later.count.abandoned <= ROLLING.limit_ratio * max(later.count.people, ROLLING.min_people)


def test_given_a_bucket_that_is_half_out_of_the_window_when_summed_then_its_abandoned_count_and_its_people_do_not():
    book = ledger((0.0, 10_000, 6), (1.0, 300, 3))
    assert rolling_slack(book, MONDAY_S, ROLLING) == pytest.approx(0.03 * 300 - 9)


# --- the room --------------------------------------------------------------------------------------------------------


def test_given_nobody_has_answered_when_asked_then_calls_start_one_to_one_and_are_not_stopped():
    state = Guard(TSR).state(Ledger(), at(0.0))
    assert state.phase is Phase.ONE_TO_ONE
    assert state.room.abandoned_allowed < 0.0
    assert state.room.pace_ratio > 0.0
    assert not state.room.stop


def test_given_enough_people_when_nobody_was_abandoned_then_the_guard_opens():
    assert Guard(TSR).state(ledger((0.0, 60, 0)), at(0.1)).phase is Phase.ONE_TO_ONE
    opened = Guard(TSR).state(ledger((0.0, 70, 0)), at(0.1))
    assert opened.phase is Phase.OPEN
    assert opened.room.abandoned_allowed == pytest.approx(0.03 * 70 - opened.reserve)
    assert opened.room.because == ""


def test_given_a_spent_budget_when_asked_then_the_reason_names_rule_figures_and_limit():
    state = Guard(TSR).state(ledger((0.0, 1000, 30)), at(0.1))
    assert state.phase is Phase.ONE_TO_ONE
    assert state.room.because.startswith("us-tsr: 30 of 1000 people abandoned (3.00%), limit 3.00%; room for 0.0 more")


def test_given_several_who_spend_when_asked_then_each_gets_a_part():
    book = ledger((0.0, 5000, 30))
    alone = Guard(TSR).state(book, at(0.1)).room.abandoned_allowed
    assert Guard(TSR).state(book, at(0.1), sharers=4).room.abandoned_allowed == pytest.approx(alone / 4)


def test_given_calls_under_way_when_asked_then_what_they_may_cost_beyond_their_mean_is_kept():
    book = ledger((0.0, 5000, 30))
    quiet, busy = Guard(TSR).state(book, at(0.1)), Guard(TSR).state(book, at(0.1), abandoned_under_way=4.0)
    assert busy.reserve - quiet.reserve == pytest.approx(beyond_mean(4.0, 0.99)) == pytest.approx(5.0)


def test_given_no_allowance_when_asked_then_always_one_to_one_and_with_a_hard_stop_the_first_one_stops():
    uk = PRESETS["uk"]
    state = Guard(uk).state(ledger((0.0, 5000, 0)), at(0.1))
    assert (state.phase, state.room.pace_ratio) == (Phase.ONE_TO_ONE, 0.0)
    assert not Guard(uk, hard_stop=True).state(ledger((0.0, 5000, 0)), at(0.1)).room.stop
    assert Guard(uk, hard_stop=True).state(ledger((0.0, 5000, 1)), at(0.1)).room.stop


def test_given_a_hard_stop_when_one_more_would_pass_the_limit_then_nothing_is_dialed_until_the_window_ends():
    strict = Guard(TSR, hard_stop=True)
    assert not strict.state(ledger((0.0, 900, 27)), at(0.1)).room.stop  # too few people to condemn a month
    assert strict.state(ledger((0.0, 1000, 29)), at(0.1)).phase is Phase.ONE_TO_ONE
    stopped = strict.state(ledger((0.0, 1000, 30)), at(0.1))
    assert stopped.room.stop
    assert "hard stop" in stopped.room.because
    assert not strict.state(ledger((0.0, 1000, 30)), float(stopped.ends_s)).room.stop


def test_given_a_bad_quarter_of_an_hour_when_it_is_over_then_room_for_another_is_kept():
    book = ledger((0.0, 4000, 80), (1.0, 100, 15), (2.0, 4000, 80))
    assert Guard(TSR).state(book, at(3.0)).reserve == pytest.approx(1.5 * (15 - 3))
    outage = ledger((0.0, 4000, 80), (1.0, 3500, 3000), (2.0, 9000, 80))
    state = Guard(TSR).state(outage, at(3.0))
    assert state.reserve == pytest.approx(0.25 * 0.03 * (16_500 + state.expected_people))
    assert state.reserve < 1.5 * (3000 - 105)


# --- reserves and paces ----------------------------------------------------------------------------------------------


def test_given_more_losses_or_larger_bursts_when_one_to_one_then_more_is_kept():
    quiet = lundberg_reserve(0.001, 1.0, 0.03, 0.99)
    assert 0.5 < quiet < 1.5
    assert quiet < lundberg_reserve(0.005, 1.0, 0.03, 0.99) < lundberg_reserve(0.005, 4.0, 0.03, 0.99)
    assert lundberg_reserve(0.001, 1.0, 0.03, 0.9999) > quiet
    assert lundberg_reserve(0.03, 1.0, 0.03, 0.99) == math.inf


def test_given_the_adjustment_equation_when_solved_then_the_reserve_satisfies_it():
    rate, burst, limit, confidence = 0.004, 2.5, 0.03, 0.99
    theta = math.log(1.0 / (1.0 - confidence)) / lundberg_reserve(rate, burst, limit, confidence)
    assert rate / burst * math.expm1(burst * theta) == pytest.approx(limit * theta, rel=1e-6)


def test_given_bursts_when_recorded_then_their_size_biased_mean_grows():
    record = OneToOneRecord()
    for _ in range(50):
        record.add(0.0, abandoned=False)
    assert record.burst == 1.0
    for step in range(6):
        record.add(100.0 + step, abandoned=True)
    record.add(500.0, abandoned=True)
    assert (record.people, record.abandoned) == (57, 7)
    assert record.burst == pytest.approx((1 + 36 + 1) / (1 + 7))
    assert record.loss_ratio == pytest.approx(7.2 / 257)


@pytest.mark.parametrize(("mean", "quantile"), [(0.0, 0.0), (0.5, 3 - 0.5), (2.0, 6 - 2.0), (10.0, 18 - 10.0)])
def test_given_a_mean_when_asked_then_the_poisson_quantile_beyond_it_is_told(mean, quantile):
    assert beyond_mean(mean, 0.99) == pytest.approx(quantile)
    assert beyond_mean(400.0, 0.99) == pytest.approx(46.5, abs=0.1)


def test_given_a_budget_when_paced_then_even_the_upper_quantile_fits():
    people, limit = 20_000.0, 0.03
    chosen = pace(limit, -10.0, people, 0.99)
    assert 0.02 < chosen < limit
    assert chosen * people + 2.3263 * math.sqrt(chosen * people) == pytest.approx(limit * people - 10.0, rel=1e-3)
    assert pace(limit, 200.0, people, 0.99) == limit  # never above it, whatever was saved
    assert pace(limit, -limit * people, people, 0.99) == 0.0


# --- invariants ------------------------------------------------------------------------------------------------------

histories = st.lists(
    st.tuples(st.floats(0.0, 800.0), st.integers(1, 400), st.floats(0.0, 0.2)).map(
        lambda entry: (entry[0], entry[1], int(entry[1] * entry[2]))
    ),
    max_size=40,
)


@given(histories, st.floats(0.0, 900.0), st.sampled_from(sorted(PRESETS)), st.booleans(), st.integers(1, 5))
def test_given_any_history_when_asked_then_the_pace_is_within_the_limit_and_open_means_within_the_limit(
    entries, hours, name, hard_stop, sharers
):
    rule = PRESETS[name]
    guard = Guard(rule, hard_stop=hard_stop)
    state = guard.state(ledger(*entries), at(hours), sharers=sharers)
    assert 0.0 <= state.room.pace_ratio <= rule.limit_ratio
    assert math.isfinite(state.room.abandoned_allowed)
    assert state.begins_s <= at(hours) < state.ends_s
    if state.phase is Phase.OPEN:
        # Whatever each may still spend, together with what was spent: the window is within its limit.
        spent = state.count.abandoned + sharers * state.room.abandoned_allowed
        assert spent <= rule.limit_ratio * state.count.people + 1e-6
    else:
        assert state.room.because
    assert state.room.stop == (state.phase is Phase.STOPPED)
    assert not state.room.stop or hard_stop


@given(histories, st.floats(0.0, 900.0))
def test_given_a_ledger_that_is_written_and_read_when_asked_then_it_says_the_same(entries, hours):
    book = ledger(*entries)
    again = Ledger(book.buckets(), book.started_s)
    for name in ("us-tsr", "strict-1", "uk-2010"):
        assert Guard(PRESETS[name]).state(book, at(hours)) == Guard(PRESETS[name]).state(again, at(hours))


@given(histories, st.tuples(st.floats(0.0, 800.0), st.integers(0, 50), st.integers(0, 20)), st.floats(0.0, 900.0))
def test_given_counts_added_after_a_question_when_asked_again_then_nothing_stale_is_told(entries, more, hours):
    book = ledger(*entries)
    guard = Guard(TSR)
    guard.state(book, at(hours))
    book.add(at(more[0]), more[1] + more[2], more[2])
    assert (
        guard.state(book, at(hours)).count
        == guard.state(ledger(*entries, (more[0], more[1] + more[2], more[2])), at(hours)).count
    )


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), min_size=5, max_size=120),
    st.integers(20, 300),
    st.integers(4, 30),
)
def test_given_a_campaign_that_spends_only_what_a_rolling_guard_leaves_then_no_window_ever_passes_its_limit(
    wanted, min_people, window_buckets
):
    """At every quarter of an hour from then on, also long after the last call, when good people have fallen out."""
    rule = Rule(
        "r", "r", 0.05, WindowKind.ROLLING, window_buckets * BUCKET_S, "d", "c", "s", "s", min_people=min_people
    )
    guard, book, now_s = Guard(rule), Ledger(), MONDAY_S
    for people, asked in wanted:
        book.add(now_s, people, 0)
        room = guard.state(book, float(now_s)).slack
        book.add(now_s, 0, max(0, min(asked, math.floor(room + 1e-9), people)))
        now_s += BUCKET_S
    for step in range(2 * window_buckets + 2):
        end_s = now_s + step * BUCKET_S
        inside = [entry for entry in book.buckets(end_s - rule.window_s) if entry[0] < end_s]
        people, abandoned = sum(e[1] for e in inside), sum(e[2] for e in inside)
        assert abandoned <= rule.limit_ratio * max(people, min_people) + 1e-6


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), min_size=5, max_size=200))
def test_given_a_campaign_that_spends_only_what_is_allowed_when_it_ends_at_any_instant_then_it_is_within_its_limit(
    wanted,
):
    guard, book, now_s = Guard(TSR), Ledger(), MONDAY_S
    for people, asked in wanted:
        book.add(now_s, people, 0)
        allowed = guard.state(book, float(now_s)).room.abandoned_allowed
        book.add(now_s, 0, max(0, min(asked, math.floor(allowed + 1e-9))))
        total = guard.state(book, float(now_s)).count
        assert total.abandoned <= TSR.limit_ratio * total.people + 1e-9
        now_s += 4 * BUCKET_S


def test_given_a_guard_on_the_edge_when_watched_then_it_is_not_told_again_and_again():
    watch = PhaseWatch()
    states = [Guard(TSR).state(ledger((0.0, people, 0)), at(0.1)) for people in (30, 68, 69, 68, 69, 110, 111)]
    told = [phase for state in states if (phase := watch.change(state)) is not None]
    assert told == [Phase.ONE_TO_ONE, Phase.OPEN]
