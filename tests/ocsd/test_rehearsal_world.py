"""The world of rehearsals: calls drawn from a mix, mixes from files, made-up lists, the demo's world."""

import math
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsd.demo import DemoOptions
from ocsd.demo.rehearsed import MEASURED, DemoWorld, rehearse_demo, told_of_rehearsal
from ocsd.model.errors import ConfigError
from ocsd.rehearsal.figures import Sample, by, interval, stretch, worst_window
from ocsd.rehearsal.mixes import MadeUpList, made_up_rows, parse_mix_file, with_hit_ratio
from ocsd.rehearsal.world import REFERENCE, Mix, MixWorld, Party, Spread
from telephony.contract import VerdictKind
from telephony.simworld.numbers import number_for
from telephony.simworld.plan import MIXES, Behaviour, NumberClass, plan_for
from tests.ocsd.rehearsal_worlds import EASTERN, PACIFIC, configuration, row

NOON_S = datetime(2026, 3, 3, 17, 0, tzinfo=UTC).timestamp()
NEW_YORK, LOS_ANGELES = ZoneInfo("America/New_York"), ZoneInfo("America/Los_Angeles")


def people(world: MixWorld, zone: ZoneInfo | None, at_s: float, calls: int = 4000) -> float:
    found = sum(world.course(row(n), zone, at_s).verdict is VerdictKind.HUMAN for n in range(1, calls + 1))
    return found / calls


# --- calls ------------------------------------------------------------------------------------------------------------


def test_given_a_record_when_called_again_later_or_in_another_order_then_the_same_attempt_has_the_same_course():
    world, other = MixWorld(REFERENCE, 3), MixWorld(REFERENCE, 3)

    forwards = [world.course(row(n), None, NOON_S) for n in range(1, 200)]
    backwards = [other.course(row(n), None, NOON_S + 99.0) for n in range(199, 0, -1)]

    assert forwards == backwards[::-1]


def test_given_another_attempt_record_list_or_seed_when_called_then_the_course_is_another():
    def course(seed=3, **columns):
        return MixWorld(REFERENCE, seed).course(row(**({"record_id": 5} | columns)), None, NOON_S)

    found = [course(), course(attempt=1), course(record_id=6), course(list_dbid=143), course(4)]
    assert len({repr(each) for each in found}) == 5


def test_given_many_calls_when_drawn_then_shares_and_times_are_those_of_the_mix():
    world = MixWorld(REFERENCE, 1)
    courses = [world.course(row(n), None, NOON_S) for n in range(1, 8001)]

    persons = [course for course in courses if course.verdict is VerdictKind.HUMAN]
    machines = [course for course in courses if course.verdict is VerdictKind.MACHINE]
    assert len(persons) / 8000 == pytest.approx(0.30, abs=0.02)
    assert len(machines) / 8000 == pytest.approx(0.315, abs=0.02)
    assert sum(course.sip_status == 486 for course in courses) / 8000 == pytest.approx(0.07, abs=0.012)
    ring_s = [course.answered_s - course.rings_s for course in persons]
    assert sum(ring_s) / len(ring_s) == pytest.approx(10.0, rel=0.05)
    talk_s = [course.talk_s for course in persons]
    mean_s = sum(talk_s) / len(talk_s)
    assert mean_s == pytest.approx(150.0, rel=0.06)
    deviation_s = math.sqrt(sum((each - mean_s) ** 2 for each in talk_s) / len(talk_s))
    assert deviation_s / mean_s == pytest.approx(0.8, rel=0.12)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(Party), st.floats(0.0, 10.0), min_size=1).filter(lambda d: sum(d.values()) > 0.01),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
)
def test_given_any_mix_when_drawn_then_a_call_is_either_answered_or_not_and_no_time_is_negative(shares, seed, record):
    course = MixWorld(Mix(shares=shares), seed).course(row(record), None, NOON_S)

    assert math.isinf(course.answered_s) or math.isinf(course.ended_s)
    assert (course.verdict is not None) == math.isfinite(course.answered_s)
    for each in (course.rings_s, course.answered_s, course.ended_s, course.verdict_s, course.gone_s, course.talk_s,
                 course.wrap_up_s, course.speech_end_s, course.connect_s):  # fmt: skip
        assert each >= 0.0
    if course.verdict is VerdictKind.HUMAN:
        assert course.speech_end_s <= course.verdict_s


def test_given_hours_and_zones_when_called_then_people_answer_by_their_own_clock():
    by_hour = tuple(0.5 if hour == 12 else 2.0 if hour == 9 else 1.0 for hour in range(24))
    world = MixWorld(replace(REFERENCE, by_hour=by_hour, by_zone={"Europe/Paris": 0.0}), 1)

    assert people(world, NEW_YORK, NOON_S) == pytest.approx(0.15, abs=0.02)  # noon there
    assert people(world, LOS_ANGELES, NOON_S) == pytest.approx(0.60, abs=0.03)  # nine there
    assert people(world, ZoneInfo("Europe/Paris"), NOON_S) == 0.0
    assert people(world, None, NOON_S) == pytest.approx(0.30, abs=0.03)  # 17:00 UTC


@pytest.mark.parametrize(
    "changes",
    [
        {"shares": {}},
        {"shares": {Party.PERSON: -1.0}},
        {"by_hour": (1.0,) * 23},
        {"by_zone": {"UTC": -1.0}},
        {"setup_s": (3.0, 1.0)},
        {"person_as_machine_ratio": 1.5},
    ],
)
def test_given_a_mix_that_cannot_be_when_made_then_it_is_refused(changes):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own sentence
        replace(REFERENCE, **changes)


def test_given_a_hit_ratio_when_set_then_the_rest_keeps_its_proportions():
    mix = with_hit_ratio(REFERENCE, 0.1, "--hit")

    assert mix.person_share == pytest.approx(0.1)
    assert mix.shares[Party.MACHINE] / mix.shares[Party.BUSY] == pytest.approx(0.315 / 0.07)
    assert mix.sources["shares"] == "--hit"
    assert with_hit_ratio(Mix(shares={Party.PERSON: 1.0}), 0.4, "").shares[Party.NO_ANSWER] == pytest.approx(0.6)


# --- files ------------------------------------------------------------------------------------------------------------


def test_given_a_mix_file_when_read_then_it_changes_what_it_names_and_nothing_else():
    file = parse_mix_file(
        {
            "parties": {"person": 20, "machine": 80},
            "times": {"talk": {"mean": 240, "cv": 0.9}, "wrap_up": 12, "setup": [0.5, 2]},
            "errors": {"person_as_machine": 0.02},
            "by_hour": {"9": 0.8},
            "by_zone": {"Europe/Paris": 1.2},
            "list": {"records": 500, "numbers_per_chain": [1, 1], "zones": {"EST": 1}},
        }
    )
    mix = file.applied(REFERENCE, "mix.toml")

    assert mix.person_share == pytest.approx(0.2)
    assert mix.talk == Spread(240.0, 0.9)
    assert mix.wrap_up == Spread(12.0)
    assert mix.setup_s == (0.5, 2.0)
    assert (mix.by_hour[9], mix.by_hour[10]) == (0.8, 1.0)
    assert mix.person_ring == REFERENCE.person_ring
    assert mix.sources["talk"] == "mix.toml"
    assert "person_ring" not in mix.sources
    assert file.made_up == MadeUpList(500, (1.0, 1.0), {"EST": 1.0})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"party": {}}, "[party]"),
        ({"parties": 3}, "table"),
        ({"parties": {"human": 1}}, "human"),
        ({"parties": {"person": 0}}, "more than 0"),
        ({"times": {"talk": {"cv": 1}}}, "mean"),
        ({"times": {"speak": 3}}, "speak"),
        ({"times": {"setup": [3, 1]}}, "longer"),
        ({"times": {"talk": -1}}, "talk"),
        ({"errors": {"person_as_machine": 2}}, "person_as_machine"),
        ({"by_hour": {"24": 1}}, "24"),
        ({"list": {"records": 0}}, "records"),
        ({"list": {"size": 1}}, "size"),
        ({"times": {"talk": True}}, "talk"),
    ],
)
def test_given_a_wrong_mix_file_when_read_then_it_says_what_is_wrong(data, words):
    with pytest.raises(ConfigError) as refused:
        parse_mix_file(data)

    assert words in refused.value.problems[0]


def test_given_a_made_up_list_when_made_then_zones_and_chains_have_their_shares():
    config = configuration()
    made_up = MadeUpList(3000, (50.0, 50.0), {"EST": 75.0, "PST": 25.0})

    ((_, rows),) = made_up_rows(config, config.calling_lists, made_up, 1)

    assert len(rows) == 3000
    assert len({each.record_id for each in rows}) == len({each.contact_info for each in rows}) == 3000
    zones = Counter(each.tz_dbid for each in rows)
    assert zones[EASTERN] / 3000 == pytest.approx(0.75, abs=0.04)
    assert set(zones) == {EASTERN, PACIFIC}
    sizes = Counter(Counter(each.chain_id for each in rows).values())
    assert sizes[1] / (sizes[1] + sizes[2]) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ConfigError, match="MST"):
        list(made_up_rows(config, config.calling_lists, replace(made_up, zones={"MST": 1.0}), 1))


# --- figures ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=80))
def test_given_any_samples_when_cut_into_parts_then_the_parts_add_up_and_the_worst_window_is_no_better(counts):
    samples, people_so_far, abandoned = [Sample(0.0)], 0, 0
    for minute, (connected, lost, calls) in enumerate(counts, 1):
        people_so_far, abandoned = people_so_far + connected + lost, abandoned + lost
        before = samples[-1]
        samples.append(
            Sample(60.0 * minute, before.attempts + calls, people=people_so_far, connected=people_so_far - abandoned,
                   abandoned=abandoned, busy_s=before.busy_s + 60.0)
        )  # fmt: skip

    for length_s in (60.0, 300.0, 900.0):
        parts = by(samples, length_s)
        assert sum(part.people for part in parts) == people_so_far
        assert all(part.until_s - part.from_s <= length_s for part in parts)
        assert [part.until_s for part in parts[:-1]] == [part.from_s for part in parts[1:]]
    worst = worst_window(samples)
    for part in by(samples, 900.0):
        if part.people >= 10 and part.until_s - part.from_s == 900.0:
            assert worst is not None
            assert worst.overdial_ratio >= part.overdial_ratio
    if worst is not None:
        assert worst.people >= 10


def test_given_values_of_seeds_when_averaged_then_the_interval_is_students():
    found = interval([1.0, 2.0, 3.0, None])

    assert (found.mean, found.count) == (2.0, 3)
    assert found.half == pytest.approx(4.303 * 1.0 / math.sqrt(3))
    assert interval([5.0]).half == 0.0
    assert interval([None]) is None


def test_given_nobody_when_measured_then_ratios_are_unknown_rather_than_zero():
    nothing = stretch(Sample(0.0), Sample(60.0))

    assert nothing.busy_ratio is nothing.overdial_ratio is nothing.agent_wait_s is None


# --- the demo ---------------------------------------------------------------------------------------------------------


def test_given_the_demos_numbers_when_rehearsed_then_their_courses_are_the_carriers_plans():
    seen, taken_for_people = Counter(), 0
    for index in range(1500):
        number = number_for(index)
        plan = plan_for(7, number, MIXES["demo"], Behaviour(ring_scale=0.5, talk_mean_s=12.0, talk_cv=0.5))
        course = DemoWorld(7).course(row(index + 1, contact_info=number), None, NOON_S)
        seen[plan.number_class] += 1
        low, high = (plan.post_dial_s + plan.ring_s + each for each in MEASURED.network)
        if plan.status == 200:
            assert low <= course.answered_s <= high
        else:
            assert math.isinf(course.answered_s)
            assert course.sip_status == plan.status
            assert math.isinf(plan.ring_s) or low <= course.ended_s <= high
        if plan.number_class is NumberClass.HUMAN:
            assert course.verdict is VerdictKind.HUMAN
            assert course.verdict_s > plan.greeting_end_s
        if plan.number_class is NumberClass.MACHINE:
            taken_for_people += course.verdict is VerdictKind.HUMAN
            assert course.verdict in (VerdictKind.HUMAN, VerdictKind.MACHINE)
            assert course.verdict_s + course.talk_s > plan.hang_up_s - 0.01
            if course.verdict is VerdictKind.HUMAN:  # until it beeps
                assert plan.greeting_end_s < course.verdict_s < course.revised_s == course.beep_s
                assert course.revised is VerdictKind.MACHINE
                assert course.beep_s - plan.beep_s <= MEASURED.beep[1]
    assert taken_for_people / seen[NumberClass.MACHINE] == pytest.approx(MEASURED.machine_as_person, abs=0.08)
    assert len(seen) == len([share for share in MIXES["demo"].values() if share])


def test_given_an_agent_of_the_demo_when_it_gets_calls_then_they_last_as_long_as_its_desktop_would_let_them():
    from telephony.simworld.desktop import Desk, Habits

    habits = Habits(12.0, 0.5, 3.0, 0.6)
    desk = Desk("agent3", habits, random.Random("desk|7|agent3"))
    world, course = DemoWorld(7), DemoWorld(7).course(row(1, contact_info=number_for(0)), None, NOON_S)
    course.talk_s = math.inf
    for number in range(3):
        desk.connected(0.0)
        desk.received({"Event": "EventAgentLogin"}, 0.0)
        desk.received({"Event": "EventEstablished", "ConnID": str(number)}, 0.0)
        talk_s = desk.release_at_s
        desk.received({"Event": "EventReleased", "ConnID": str(number)}, 0.0)
        assert world.handling(course, "agent3") == pytest.approx((talk_s, desk.wrap_until_s))
        desk.step(desk.wrap_until_s)


def test_given_the_demo_when_rehearsed_then_it_reports_what_a_demo_reports():
    run = rehearse_demo(DemoOptions(seconds=60, agents=10, records=500, seed=3))
    told = told_of_rehearsal(run)

    assert told["attempts"] == sum(run.results.values()) > 30
    assert told["answered"] == told["connected"] + told["abandoned"]
    assert 0.1 < told["busy_factor"] < 0.9
    assert 0.6 < told["mean_wait_s"] < 1.2
    assert run.fingerprint() == rehearse_demo(DemoOptions(seconds=60, agents=10, records=500, seed=3)).fingerprint()
