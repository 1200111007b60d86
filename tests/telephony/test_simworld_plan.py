import math
from collections import Counter

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import timezone

from telephony.simworld import sound
from telephony.simworld.numbers import (
    AREAS,
    british_number,
    expected_class,
    first_numbers,
    mixed_numbers,
    number_for,
    zone_for,
)
from telephony.simworld.plan import (
    FORCED_CLASSES,
    IN_BAND,
    MACHINES,
    MIXES,
    PEOPLE,
    SIGNALLING_CLASSES,
    Behaviour,
    NumberClass,
    ScriptError,
    canonical,
    class_of,
    decided_by,
    parse_mix,
    parse_script,
    plan_for,
    plan_of_class,
)

DEMO = MIXES["demo"]
BEHAVIOUR = Behaviour()
EXPECTED_CLASSES = ["machine", "machine", "no_answer", "no_answer", "sip_603", "machine", "human", "no_answer"]
EXPECTED_RING_S = 9.80936821436449


def test_given_known_numbers_when_planned_then_the_plan_never_changes_between_versions_and_runs():
    # Written down once: a change of these breaks every stored seed, so it must be on purpose.
    classes = [class_of(7, number_for(i), DEMO).value for i in range(8)]
    assert classes == EXPECTED_CLASSES
    assert plan_for(7, number_for(0), DEMO, BEHAVIOUR).ring_s == pytest.approx(EXPECTED_RING_S)


@given(st.integers(0, 2**31), st.integers(0, 100_000))
def test_given_a_seed_and_a_number_when_planned_twice_then_the_plans_are_equal(seed, index):
    number = number_for(index)
    plan = plan_for(seed, number, DEMO, BEHAVIOUR)
    assert plan == plan_for(seed, number.removeprefix("+"), DEMO, BEHAVIOUR)
    assert plan == plan_for(seed, number.removeprefix("+1"), DEMO, BEHAVIOUR)
    assert plan.number_class is expected_class(seed, number, DEMO)


def test_given_many_numbers_when_classed_then_their_shares_are_those_of_the_mix():
    n = 20_000
    counts = Counter(class_of(3, number_for(i), DEMO) for i in range(n))
    for number_class, share in DEMO.items():
        share /= math.fsum(DEMO.values())
        assert counts[number_class] == pytest.approx(share * n, abs=5 * math.sqrt(share * n) + 1)
    assert set(counts) == set(DEMO)


def test_given_other_seeds_when_classed_then_numbers_change_their_class():
    same = sum(class_of(1, number_for(i), DEMO) is class_of(2, number_for(i), DEMO) for i in range(2000))
    assert same / 2000 < 0.3


@pytest.mark.parametrize("number_class", list(NumberClass))
def test_given_every_class_when_planned_then_the_plan_is_playable_and_fits_the_class(number_class):
    for i in range(40):
        plan = plan_of_class(number_class, 1, number_for(i), BEHAVIOUR)
        assert plan.number_class is number_class
        for score in (plan.early, plan.answer):
            sound.render(score)
        answered = plan.status == 200
        assert answered == (number_class not in SIGNALLING_CLASSES | IN_BAND)
        if number_class.value.startswith("sip_"):
            assert plan.status == int(number_class.value[4:])
        if number_class in IN_BAND - {NumberClass.NO_RINGBACK, NumberClass.NU_INBAND}:
            assert f"tone:{number_class.value.removesuffix('_inband')}" in plan.early
        if number_class.value.endswith("_answered"):
            assert f"tone:{number_class.value.removesuffix('_answered')}" in plan.answer
        assert plan.converses is (number_class in PEOPLE)
        if plan.converses:
            # At least a word, and no monologue; a business says its name and asks what it can do.
            least_s = 1.5 if number_class is NumberClass.HUMAN_SLOW else 0.5
            assert least_s < plan.greeting_end_s < 6.5
            assert plan.patience_s >= 3.0
        assert (plan.beep_s is not None) is (number_class in MACHINES)
        if plan.beep_s is not None:
            assert 0.5 < plan.beep_s == pytest.approx(sound.length_s(plan.answer.rpartition(" ")[0]), abs=0.04)
            assert plan.greeting_end_s < plan.beep_s < plan.hang_up_s
        assert math.isfinite(plan.ring_s) or number_class is NumberClass.NO_ANSWER or plan.early
        assert decided_by(number_class) == ("signalling" if number_class in SIGNALLING_CLASSES else "cpa")


def test_given_ring_scale_when_planned_then_ring_times_scale_and_greetings_do_not():
    rings, short = [], []
    for i in range(1500):
        slow = plan_of_class(NumberClass.HUMAN, 1, number_for(i), BEHAVIOUR)
        fast = plan_of_class(NumberClass.HUMAN, 1, number_for(i), Behaviour(ring_scale=0.3))
        assert slow.answer == fast.answer
        rings.append(slow.ring_s)
        short.append(fast.ring_s)
    mean = sum(rings) / len(rings)
    cv = math.sqrt(sum((r - mean) ** 2 for r in rings) / len(rings)) / mean
    assert mean == pytest.approx(10.0, rel=0.05)
    assert cv == pytest.approx(0.45, abs=0.05)
    assert sum(short) / len(short) == pytest.approx(3.0, rel=0.06)


def test_given_a_forced_prefix_when_classed_then_seed_and_mix_do_not_matter():
    assert list(FORCED_CLASSES.values()) == list(NumberClass)
    for digits, number_class in FORCED_CLASSES.items():
        assert class_of(5, f"+999{digits}123456", MIXES["humans"]) is number_class
    assert FORCED_CLASSES["04"] is NumberClass.BUSY_SIP


def test_given_dialed_forms_when_made_canonical_then_they_agree():
    assert {canonical(n) for n in ("+1 212-555-2000", "12125552000", "2125552000")} == {"12125552000"}
    assert canonical("+44 20 7946 0000") == "442079460000"


def test_given_numbers_when_checked_then_they_are_valid_different_and_in_their_zone():
    n = 18 * 50
    numbers = [number_for(i) for i in range(n)] + [number_for(18 * 2333 + i) for i in range(36)]
    assert len(set(numbers)) == n + 36
    for number in numbers[::7]:
        parsed = phonenumbers.parse(number)
        assert phonenumbers.is_valid_number(parsed)
        assert timezone.time_zones_for_number(parsed) == (zone_for(number),)
    assert not any(number.endswith("4334") for number in numbers)
    assert {zone_for(number_for(i)) for i in range(6)} >= {"America/New_York", "America/Los_Angeles"}
    with pytest.raises(ValueError, match="index"):
        number_for(10**7)
    assert number_for(0, ("808",)) == "+18085552000"
    last = number_for(7998, ("808",))
    assert last == "+18085559999"
    assert len(AREAS) == len({code for code, _ in AREAS})


def test_given_a_class_when_numbers_are_asked_for_then_all_have_it():
    numbers = first_numbers(5, NumberClass.FAX, 7, DEMO)
    assert len(numbers) == 5
    assert {expected_class(7, n, DEMO) for n in numbers} == {NumberClass.FAX}


def test_given_a_script_when_a_number_fits_then_its_rule_decides():
    script = parse_script(
        {
            "numbers": [
                {"digits": "+12125552000", "class": "human", "ring_s": 2, "talk_s": 5.5, "answer": "clip:human_01"},
                {"digits": "1212*", "class": "busy_sip", "status": 600},
            ]
        }
    )
    plan = script.plan(1, "212-555-2000", BEHAVIOUR)
    assert (plan.number_class, plan.ring_s, plan.talk_s, plan.answer) == ("human", 2.0, 5.5, "clip:human_01")
    assert script.plan(1, "+12125552001", BEHAVIOUR).status == 600
    assert script.plan(1, "+13125552001", BEHAVIOUR) is None


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ([], "numbers"),
        ({"numbers": [{"class": "human"}]}, "digits"),
        ({"numbers": [{"digits": "12*3", "class": "human"}]}, r"\*"),
        ({"numbers": [{"digits": "12", "class": "robot"}]}, "hangup_early"),
        ({"numbers": [{"digits": "12", "class": "human", "colour": 1}]}, "allowed"),
        ({"numbers": [{"digits": "12", "class": "human", "ring_s": "long"}]}, "allowed"),
        ({"numbers": [{"digits": "12", "class": "human", "answer": "clip:x"}]}, "clip:x"),
    ],
)
def test_given_a_wrong_script_when_parsed_then_the_place_and_the_choices_are_named(data, complaint):
    with pytest.raises(ScriptError, match=complaint):
        parse_script(data)


def test_given_a_mix_file_when_parsed_then_wrong_ones_are_refused():
    assert parse_mix({"mix": {"human": 2, "fax": 1.0}}) == {NumberClass.HUMAN: 2.0, NumberClass.FAX: 1.0}
    for bad in ({}, {"mix": {"human": -1}}, {"mix": {"human": 0}}, {"mix": {"x": 1}}, {"mix": {"human": True}}):
        with pytest.raises(ScriptError):
            parse_mix(bad)


# --- whatever there is ----------------------------------------------------------------------------------------------


def test_given_the_mix_of_all_when_classes_are_drawn_then_each_comes_with_enough_for_a_rate():
    drawn = Counter(class_of(3, number, MIXES["all"]) for number in mixed_numbers(2000))

    assert set(drawn) == set(NumberClass)
    assert min(drawn.values()) >= 8
    assert sum(drawn[c] for c in PEOPLE) > 450
    assert sum(drawn[c] for c in MACHINES) > 380


def test_given_a_british_number_when_planned_then_its_network_sounds_british():
    for number_class, tone in ((NumberClass.BUSY_INBAND, "uk_busy"), (NumberClass.REORDER_INBAND, "uk_reorder")):
        plan = plan_of_class(number_class, 1, british_number(0), BEHAVIOUR)
        assert (plan.country, plan.early) == ("GB", f"|tone:{tone}")
        assert plan_of_class(number_class, 1, number_for(0), BEHAVIOUR).early == f"|tone:{tone.removeprefix('uk_')}"
    ringing = (plan_of_class(NumberClass.HUMAN, 1, british_number(i), BEHAVIOUR).early for i in range(100))
    assert set(ringing) == {"", "|tone:uk_ringback"}


def test_given_a_number_unobtainable_when_drawn_in_north_america_then_it_is_a_vacant_code():
    only = {NumberClass.NU_INBAND: 1.0}
    assert class_of(1, number_for(5), only) is NumberClass.SIT_VC
    assert class_of(1, british_number(5), only) is NumberClass.NU_INBAND


def test_given_british_numbers_when_checked_then_they_are_valid_and_different():
    numbers = [british_number(i) for i in range(12_000)]
    assert len(set(numbers)) == 12_000
    for number in numbers[::97]:
        parsed = phonenumbers.parse(number)
        assert phonenumbers.is_valid_number(parsed), number
        assert phonenumbers.region_code_for_number(parsed) == "GB"
        assert "Europe/London" in timezone.time_zones_for_number(parsed)
    with pytest.raises(ValueError, match="11999"):
        british_number(12_000)


def test_given_impaired_lines_when_planned_then_level_noise_and_loss_differ_and_nothing_else():
    plain = [plan_of_class(NumberClass.HUMAN, 1, number_for(i), BEHAVIOUR) for i in range(400)]
    rough = [plan_of_class(NumberClass.HUMAN, 1, number_for(i), Behaviour(impaired=True)) for i in range(400)]

    assert all((plan.level_db, plan.loss_ratio) == (0.0, 0.0) for plan in plain)
    levels, losses = [plan.level_db for plan in rough], [plan.loss_ratio for plan in rough]
    assert -9.0 <= min(levels) < -7.0
    assert 2.0 < max(levels) <= 3.0
    assert 0.2 < sum(loss > 0 for loss in losses) / 400 < 0.4
    assert max(losses) <= 0.03
    assert 0.2 < sum(plan.late_ratio > 0 for plan in rough) / 400 < 0.4
    assert max(plan.late_ratio for plan in rough) <= 0.2
    assert all(plan.level_db - plan.noise_dbfs >= 40.0 for plan in rough)
    same = ("answer", "ring_s", "greeting_end_s", "early", "patience_s", "talk_s", "post_dial_s")
    assert all(getattr(a, name) == getattr(b, name) for a, b in zip(plain, rough, strict=True) for name in same)
