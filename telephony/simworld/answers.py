"""Who or what picks up: the plans of people, machines and devices from the answer on. Pure: ``rng`` is the caller's."""

import random
from dataclasses import replace
from typing import Final

from telephony.simworld import sound
from telephony.simworld.kinds import Behaviour, NumberClass, Plan, lognormal

BEEPS: Final[tuple[str, ...]] = ("beep", "beep", "beep_low", "beep_high")
ALL_BEEPS: Final[tuple[str, ...]] = (*BEEPS, "beep_short", "beep_double", "beep_chirp")
"""What other makes of machines add to it."""


def spoken_s(score: str) -> float:
    """Seconds of a score made of silence and clips (without rendering it)."""
    index = sound.clip_index()
    parts = [part.partition(":") for part in score.split()]
    return sum(int(name) / 1000 if kind == "silence" else index[name][1] for kind, _, name in parts)


def person(base: Plan, rng: random.Random, behaviour: Behaviour) -> Plan:
    """Somebody who greets, listens and talks, each kind of person in its way."""
    kind = "business" if base.number_class is NumberClass.HUMAN_BUSINESS else "human"
    slow = base.number_class is NumberClass.HUMAN_SLOW
    pause_ms = rng.randint(1500, 2800) if slow else rng.randint(200, 700)
    greeting = f"silence:{pause_ms} clip:{rng.choice(sound.clips_of(kind))}"
    ends = rng.random() < behaviour.customer_ends_share
    talk_s = lognormal(rng, 0.7 * behaviour.talk_mean_s, behaviour.talk_cv)
    plan = replace(
        base,
        answer=greeting,
        greeting_end_s=spoken_s(greeting),
        converses=True,
        patience_s=max(3.0, lognormal(rng, behaviour.patience_mean_s, 0.3)),
        talk_s=talk_s if ends else float("inf"),
    )
    if base.number_class is not NumberClass.HUMAN_AGAIN:
        return plan
    # The greeting is over after the first word: whoever waits for the second has let the caller wait.
    again = f"silence:{rng.randint(900, 1800)} {greeting.split()[1]}"
    return replace(plan, answer=f"{greeting} {again}", hello_again_s=spoken_s(again) + 2.5)


def machine(base: Plan, rng: random.Random) -> Plan:
    """A greeting of the class's kind, a beep, and the silence of a machine that records."""
    pause = f"silence:{rng.randint(200, 900)}"
    beeps = BEEPS
    match base.number_class:
        case NumberClass.MACHINE_SHORT | NumberClass.MACHINE_LONG as kind:
            greeting = f"{pause} clip:{rng.choice(sound.clips_of(kind.value))}"
            beeps = ALL_BEEPS
        case NumberClass.MACHINE_PAUSE:
            hi = rng.choice(sound.clips_of("machine_hi"))
            rest = hi.replace("machine_hi", "machine_rest")  # the same voice
            greeting = f"{pause} clip:{hi} silence:{rng.randint(700, 1300)} clip:{rest}"
            beeps = ALL_BEEPS
        case NumberClass.MACHINE_BEEP:
            greeting = f"silence:{rng.randint(800, 2500)}"
            beeps = ALL_BEEPS
        case _:
            greeting = f"{pause} clip:{rng.choice(sound.clips_of('machine'))}"
    beep = rng.choice(beeps)
    lead = f"{greeting} silence:{rng.randint(300, 1000)}"
    spoken = base.number_class is not NumberClass.MACHINE_BEEP
    return replace(
        base,
        answer=f"{lead} tone:{beep}",
        greeting_end_s=spoken_s(greeting) if spoken else 0.0,
        beep_s=spoken_s(lead),
        hang_up_s=spoken_s(greeting) + rng.uniform(20.0, 40.0),
    )


def device(base: Plan, rng: random.Random) -> Plan:
    """Fax, modem or pager."""
    pause = f"silence:{rng.randint(200, 1500)}"
    match base.number_class:
        case NumberClass.FAX:
            answer = f"{pause} tone:ced silence:80 |tone:v21 silence:3000"
        case NumberClass.FAX_V21:
            answer = f"{pause} |tone:v21 silence:3000"
        case NumberClass.MODEM_ANSAM:
            answer = f"{pause} tone:ansam silence:75 |tone:v22"
        case NumberClass.MODEM_BELL:
            answer = f"{pause} |tone:bell"
        case NumberClass.PAGER:
            answer = f"{pause} |tone:pager silence:9000"
        case other:
            raise ValueError(f"{other} is no device")
    return replace(base, answer=answer, hang_up_s=35.0)
