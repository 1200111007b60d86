import math
import random

import pytest

from telephony.simworld import sound
from telephony.simworld.party import (
    DEAD_AIR_HANG_UP_S,
    DEAD_AIR_HELLO_S,
    LONGEST_RING_S,
    Answer,
    CalledParty,
    HangUp,
    Hum,
    Listen,
    PartyState,
    Refuse,
    Ring,
    Say,
)
from telephony.simworld.plan import Behaviour, NumberClass, Plan, plan_of_class
from telephony.simworld.truth import CANCELLED, class_in_the_end, q850_cause_in_the_end, sip_status_in_the_end

PERSON = Plan(
    NumberClass.HUMAN, 0.2, "", 3.0, 200,
    answer="silence:300 clip:human_00", greeting_end_s=0.77, converses=True, patience_s=6.0, talk_s=20.0,
)  # fmt: skip


def party(plan):
    made = CalledParty(plan, random.Random(1))
    assert made.start(100.0) == ()
    return made


def live(made, from_s, to_s, heard=lambda t: (None, None)):
    """Step every 20 ms; (time, command) of everything that happened."""
    out, ticks = [], round((to_s - from_s) / 0.02)
    for i in range(ticks + 1):
        now_s = from_s + i * 0.02
        out += [(round(now_s - 100.0, 2), c) for c in made.step(now_s, *heard(now_s))]
    return out


def test_given_a_person_whom_nobody_greets_then_hello_is_repeated_and_patience_ends():
    made = party(PERSON)
    out = live(made, 100.0, 115.0)
    assert [(t, type(c)) for t, c in out] == [
        (0.2, Ring), (3.2, Answer), (3.98, Listen), (6.48, Say), (9.98, HangUp),
    ]  # fmt: skip
    assert (made.ended_by, made.why, made.hellos, made.talk_began_at_s) == ("callee", "patience", 1, None)
    assert class_in_the_end(made) == ("human", "cpa")
    assert sip_status_in_the_end(made) == 200


@pytest.mark.parametrize("seed", range(20))
def test_given_a_person_who_says_when_to_look_again_when_looked_at_only_then_then_all_happens_as_at_every_tick(seed):
    chance = random.Random(seed)
    sounds = sorted(chance.uniform(104.0, 150.0) for _ in range(chance.choice((0, 1, 4, 30))))

    def heard(now_s):
        so_far = [at_s for at_s in sounds if at_s <= now_s]
        return (so_far[0], so_far[-1]) if so_far else (None, None)

    every, some = party(PERSON), party(PERSON)
    expected, out, looks = [], [], 0
    for i in range(2500):
        now_s = 100.0 + i * 0.02
        expected += [(i, command) for command in every.step(now_s, *heard(now_s))]
        waits = some.state is PartyState.WAITING and heard(now_s)[0] is None
        if now_s >= some.quiet_until_s or not (waits or some.state is PartyState.TALKING):
            looks += 1
            out += [(i, command) for command in some.step(now_s, *heard(now_s))]

    assert out == expected
    assert (some.ended_at_s, some.why) == (every.ended_at_s, every.why)
    assert looks < 2400


@pytest.mark.parametrize(
    ("number_class", "ring_s", "in_the_end"),
    [
        (NumberClass.NO_ANSWER, math.inf, "no_answer"),
        (NumberClass.HUMAN, 1000.0, "no_answer"),
        (NumberClass.BUSY_INBAND, math.inf, "busy_inband"),
    ],
)
def test_given_a_caller_that_vanished_when_nobody_answers_then_the_network_gives_up(number_class, ring_s, in_the_end):
    made = party(with_(PERSON, number_class=number_class, ring_s=ring_s, status=200))
    out = live(made, 100.0, 100.0 + LONGEST_RING_S + 1.0)

    assert [(t, type(c)) for t, c in out] == [(0.2, Ring), (pytest.approx(LONGEST_RING_S + 0.2, abs=0.03), Refuse)]
    assert made.state is PartyState.ENDED
    assert class_in_the_end(made)[0] == in_the_end
    assert (sip_status_in_the_end(made), q850_cause_in_the_end(made)) == (480, 19)


def test_given_a_person_who_is_spoken_to_then_they_hum_and_talk_until_the_talk_is_over():
    made = party(PERSON)
    live(made, 100.0, 104.0)
    assert made.state is PartyState.WAITING
    out = live(made, 104.0, 130.0, heard=lambda t: (105.0, t) if t >= 105.0 else (None, None))
    kinds = [type(c) for _, c in out]
    assert kinds[0] is Hum
    assert kinds[-1] is HangUp
    assert kinds.count(Say) >= 2
    assert out[-1][0] == pytest.approx(25.0, abs=0.05)
    assert made.why == "talk_over"


def test_given_a_conversation_when_the_line_goes_dead_then_hello_and_hang_up():
    made = party(with_(PERSON, talk_s=math.inf))
    live(made, 100.0, 104.0)
    live(made, 104.0, 110.0, heard=lambda t: (104.0, t))
    out = live(made, 110.02, 130.0, heard=lambda t: (104.0, 110.0))
    says = [t for t, c in out if isinstance(c, Say)]
    assert out[-1] == (pytest.approx(10.0 + DEAD_AIR_HANG_UP_S, abs=0.05), HangUp())
    assert max(says) == pytest.approx(10.0 + DEAD_AIR_HELLO_S, abs=0.05)
    assert made.why == "dead_air"


def fields(plan):
    return {name: getattr(plan, name) for name in plan.__slots__}


def with_(plan, **changes):
    return Plan(**{**fields(plan), **changes})


def test_given_a_person_who_hangs_up_in_the_greeting_then_nothing_is_listened_to():
    made = party(with_(PERSON, hang_up_s=0.5))
    out = live(made, 100.0, 110.0)
    assert [(t, type(c)) for t, c in out] == [(0.2, Ring), (3.2, Answer), (3.7, HangUp)]


def test_given_a_person_who_hangs_up_soon_after_the_greeting_then_patience_is_not_waited_for():
    made = party(with_(PERSON, hang_up_s=1.5))
    out = live(made, 100.0, 110.0)
    assert [(t, type(c)) for t, c in out][-2:] == [(3.98, Listen), (4.7, HangUp)]
    assert made.why == "plan"


def test_given_a_machine_then_it_plays_and_hangs_up_by_itself():
    plan = Plan(NumberClass.MACHINE, 0.2, "", 1.0, 200, answer="clip:machine_00", greeting_end_s=6.15, hang_up_s=20.0)
    made = party(plan)
    out = live(made, 100.0, 130.0, heard=lambda t: (101.0, t))
    assert [(t, type(c)) for t, c in out] == [(0.2, Ring), (1.2, Answer), (21.2, HangUp)]


def test_given_a_refusing_number_then_status_and_cause_come_at_once_or_after_ringing():
    made = party(Plan(NumberClass.BUSY_SIP, 0.2, "", 0.0, 486, 17))
    assert live(made, 100.0, 105.0) == [(0.2, Refuse(486, 17, ""))]
    assert sip_status_in_the_end(made) == 486
    made = party(Plan(NumberClass.SIP_603, 0.2, "", 2.0, 603, 21))
    assert [c for _, c in live(made, 100.0, 105.0)] == [Ring(""), Refuse(603, 21, "")]


SIT = Plan(NumberClass.SIT_VC, 0.2, "tone:sit_vc", 8.0, 404, 1)


@pytest.mark.parametrize(
    ("plan", "cancel_at_s", "expected"),
    [
        (PERSON, 0.1, (CANCELLED, "signalling")),
        (PERSON, 2.0, ("no_answer", "signalling")),
        (SIT, 0.3, (CANCELLED, "signalling")),
        (SIT, 2.0, ("sit_vc", "cpa")),
        (SIT, 20.0, ("sit_vc", "cpa")),
        (PERSON, 3.5, ("human", "cpa")),
    ],
)
def test_given_a_caller_who_gives_up_then_the_truth_is_what_could_be_known(plan, cancel_at_s, expected):
    made = party(plan)
    live(made, 100.0, 100.0 + cancel_at_s)
    made.caller_left(100.0 + cancel_at_s, "bye" if made.answered_at_s else "cancel")
    assert class_in_the_end(made) == expected
    assert live(made, 121.0, 140.0) == []


@pytest.mark.parametrize(("until_s", "command"), [(0.1, Refuse), (1.0, Refuse), (3.5, HangUp), (5.0, HangUp)])
def test_given_the_world_stops_then_every_state_ends_properly(until_s, command):
    made = party(PERSON)
    live(made, 100.0, 100.0 + until_s)
    (only,) = made.stop(100.0 + until_s)
    assert isinstance(only, command)
    assert made.state is PartyState.ENDED
    assert made.stop(200.0) == ()


# --- what the truth log tells ---------------------------------------------------------------------------------------


def test_given_a_machine_when_the_caller_stays_or_leaves_then_its_beep_is_told_only_if_it_sounded():
    plan = plan_of_class(NumberClass.MACHINE_SHORT, 1, "12125552000", Behaviour(ring_scale=0.1))
    for stays_s, told in ((plan.beep_s + 1.0, True), (plan.beep_s - 0.1, False)):
        party = CalledParty(plan, random.Random(1))
        assert party.beep_at_s is None
        party.start(100.0)
        party.step(100.0 + plan.post_dial_s, None, None)
        answered_s = 100.0 + plan.post_dial_s + plan.ring_s
        party.step(answered_s, None, None)
        party.caller_left(answered_s + stays_s, "bye")
        assert party.beep_at_s == (pytest.approx(answered_s + plan.beep_s) if told else None)


def test_given_a_person_who_says_hello_again_when_nobody_speaks_then_the_greeting_is_not_cut_short_by_another_hello():
    plan = plan_of_class(NumberClass.HUMAN_AGAIN, 1, "12125552000", Behaviour())
    first, second = plan.answer.split()[1], plan.answer.split()[3]
    assert first == second
    assert plan.greeting_end_s == pytest.approx(sound.length_s(" ".join(plan.answer.split()[:2])), abs=0.04)
    whole_s = sound.length_s(plan.answer)
    assert plan.greeting_end_s + plan.hello_again_s == pytest.approx(whole_s + 2.5, abs=0.06)
