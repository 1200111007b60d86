"""Voice applications of steps: what is said, what keys do, where a call ends up."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.voice_objects import VoiceApplication, VoiceStep
from ocsd.model.enums import CallResult
from ocsd.voice.machine import CallOut, FindAgent, HangUp, Note, Phase, Say, StopSaying, ToDo, VoiceMachine

MENU = {
    "do": "menu",
    "name": "menu",
    "prompts": ["menu.wav"],
    "choices": {"1": "agents", "2": "confirmed", "9": "stop"},
    "timeout_s": 4.0,
    "retries": 1,
    "no_input": ["please.wav"],
    "no_match": ["wrong.wav"],
}
STEPS = [
    {"do": "play", "prompts": ["hello.wav", "date.wav"]},
    MENU,
    {"do": "hang_up"},
    {"do": "record", "name": "confirmed", "result": "ok", "fields": {"confirmed": 1}, "next": "bye"},
    {"do": "record", "name": "stop", "do_not_call": True},
    {"do": "play", "name": "bye", "prompts": ["bye.wav"]},
    {"do": "hang_up"},
    {"do": "queue", "name": "agents", "attach": {"REASON": "asked"}, "wait_s": 20.0, "otherwise": "bye"},
]


def application(steps: list[dict[str, object]] = STEPS) -> VoiceApplication:
    return VoiceApplication(dbid=1, name="reminder", steps=tuple(VoiceStep.model_validate(step) for step in steps))


def test_given_a_play_step_and_a_menu_when_heard_to_the_end_then_a_key_is_waited_for():
    machine = VoiceMachine(application())

    assert machine.start(10.0) == (Say(("hello.wav", "date.wav")),)
    assert machine.spoken(13.0) == (Say(("menu.wav",)),)
    assert machine.spoken(15.0) == ()
    assert (machine.phase, machine.deadline_s) == (Phase.LISTENING, 19.0)


def test_given_a_menu_when_its_key_is_pressed_then_the_record_is_noted_and_the_call_goes_on_there():
    machine = VoiceMachine(application())
    machine.start(0.0)
    machine.spoken(1.0)

    assert machine.pressed("2", 1.5) == (StopSaying(), Note(CallResult.OK, {"confirmed": 1}, False), Say(("bye.wav",)))
    assert machine.spoken(2.0) == (HangUp(),)
    assert machine.path == ["1", "menu", "confirmed", "bye", "7"]
    assert machine.keys == "2"


def test_given_a_greeting_when_the_menus_key_interrupts_it_then_the_menu_is_not_heard():
    machine = VoiceMachine(application())
    machine.start(0.0)

    assert machine.pressed("1", 0.5) == (StopSaying(), FindAgent("", {"REASON": "asked"}, 20.0, ()))
    assert machine.phase is Phase.AWAY


def test_given_a_greeting_without_barge_in_when_a_key_is_pressed_then_it_is_heard_out():
    machine = VoiceMachine(application([{"do": "play", "prompts": ["law.wav"], "barge_in": False}, MENU, *STEPS[2:]]))
    machine.start(0.0)

    assert machine.pressed("1", 0.5) == ()
    assert machine.spoken(1.0) == (Say(("menu.wav",)),)


def test_given_wrong_keys_and_silence_when_the_retries_are_used_up_then_the_next_step_follows():
    machine = VoiceMachine(application())
    machine.start(0.0)
    machine.spoken(1.0)

    assert machine.pressed("7", 1.5) == (StopSaying(), Say(("wrong.wav", "menu.wav")))
    machine.spoken(3.0)
    assert machine.time_up(6.9) == ()  # 4 s after the end of the prompt, not before
    assert machine.time_up(7.0) == (HangUp(),)


def test_given_a_menu_without_input_when_it_is_asked_again_then_no_input_comes_first():
    machine = VoiceMachine(application())
    machine.start(0.0)
    machine.spoken(1.0)
    machine.spoken(2.0)

    assert machine.time_up(6.0) == (Say(("please.wav", "menu.wav")),)
    assert math.isinf(machine.deadline_s)


def test_given_nobody_in_the_queue_when_the_call_comes_back_then_otherwise_follows():
    machine = VoiceMachine(application())
    machine.start(0.0)
    machine.pressed("1", 0.5)

    assert machine.spoken(1.0) == ()  # whatever was heard meanwhile
    assert machine.came_back(20.5) == (Say(("bye.wav",)),)
    assert machine.came_back(20.6) == ()


def test_given_a_transfer_when_it_is_the_last_step_then_the_call_ends_after_it_has_failed():
    machine = VoiceMachine(application([{"do": "transfer", "destination": "sip:desk@10.0.0.1"}]))

    assert machine.start(0.0) == (CallOut("sip:desk@10.0.0.1"),)
    assert machine.came_back(9.0) == (HangUp(),)


EVENTS = st.lists(st.sampled_from(["spoken", "time_up", "came_back", *"0123456789*#"]), max_size=60)


@given(EVENTS)
def test_given_anything_that_may_happen_in_any_order_when_over_then_nothing_more_is_done(events: list[str]):
    machine = VoiceMachine(application())
    done: list[ToDo] = list(machine.start(0.0))
    now_s = 0.0
    for event in events:
        over = machine.phase is Phase.OVER
        now_s += 5.0
        match event:
            case "spoken":
                step = machine.spoken(now_s)
            case "time_up":
                step = machine.time_up(now_s)
            case "came_back":
                step = machine.came_back(now_s)
            case key:
                step = machine.pressed(key, now_s)
        assert not (over and step)
        done += step
        assert (machine.phase is Phase.LISTENING) == (not math.isinf(machine.deadline_s))
    hang_ups = [entry for entry in done if isinstance(entry, HangUp)]
    assert len(hang_ups) == (machine.phase is Phase.OVER)
