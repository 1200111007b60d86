"""What each number does when it is called: a pure function of seed, number and mix.

One seed and one number always give the same `Plan`, whenever and however often it is dialed: the truth about a list
can be told before a single call (`class_of`), and a run can be repeated.

A tester can force a class in two ways: a script file (`Script`, patterns of digits), or the prefix ``999`` plus the
two digits of `FORCED_CLASSES`, for example ``99904`` and any further digits for a number that is busy. (+999 is not
assigned to any country, so no real number is caught.)
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

from telephony.simworld import sound


class NumberClass(StrEnum):
    """How a number behaves. Values are those of the truth log and of mix files."""

    HUMAN = "human"
    MACHINE = "machine"
    NO_ANSWER = "no_answer"
    BUSY_SIP = "busy_sip"
    BUSY_INBAND = "busy_inband"
    BUSY_ANSWERED = "busy_answered"
    REORDER_INBAND = "reorder_inband"
    SIT_IC = "sit_ic"
    SIT_VC = "sit_vc"
    SIT_RO = "sit_ro"
    SIT_NC = "sit_nc"
    SIT_IO = "sit_io"
    SIP_302 = "sip_302"
    SIP_404 = "sip_404"
    SIP_408 = "sip_408"
    SIP_480 = "sip_480"
    SIP_484 = "sip_484"
    SIP_503 = "sip_503"
    SIP_603 = "sip_603"
    SIP_604 = "sip_604"
    FAX = "fax"
    SILENT = "silent"
    HANGUP_EARLY = "hangup_early"
    MUSIC = "music"


FORCED_PREFIX: Final = "999"
FORCED_CLASSES: Final = MappingProxyType({f"{i:02d}": c for i, c in enumerate(NumberClass, start=1)})
"""The two digits after `FORCED_PREFIX`: 01 human, 02 machine, 03 no_answer, 04 busy_sip... in the order above."""

SIGNALLING_CLASSES: Final = frozenset(
    {
        NumberClass.NO_ANSWER, NumberClass.BUSY_SIP, NumberClass.SIP_302, NumberClass.SIP_404, NumberClass.SIP_408,
        NumberClass.SIP_480, NumberClass.SIP_484, NumberClass.SIP_503, NumberClass.SIP_603, NumberClass.SIP_604,
    }
)  # fmt: skip
"""Classes that SIP alone tells; all others need call progress analysis."""


def decided_by(number_class: NumberClass) -> str:
    """ "signalling" or "cpa"."""
    return "signalling" if number_class in SIGNALLING_CLASSES else "cpa"


Mix = Mapping[NumberClass, float]

MIXES: Final[Mapping[str, Mix]] = MappingProxyType(
    {
        # A consumer list: a third answer in person, the rest as pacing's reference scenario plus the rare cases.
        "demo": {
            NumberClass.HUMAN: 0.30, NumberClass.MUSIC: 0.01, NumberClass.HANGUP_EARLY: 0.01,
            NumberClass.MACHINE: 0.25, NumberClass.NO_ANSWER: 0.19, NumberClass.BUSY_SIP: 0.05,
            NumberClass.BUSY_INBAND: 0.02, NumberClass.BUSY_ANSWERED: 0.01, NumberClass.REORDER_INBAND: 0.01,
            NumberClass.SIT_IC: 0.01, NumberClass.SIT_VC: 0.015, NumberClass.SIT_RO: 0.005, NumberClass.SIT_NC: 0.005,
            NumberClass.SIT_IO: 0.005, NumberClass.SIP_302: 0.005, NumberClass.SIP_404: 0.03,
            NumberClass.SIP_408: 0.005, NumberClass.SIP_480: 0.015, NumberClass.SIP_484: 0.005,
            NumberClass.SIP_503: 0.005, NumberClass.SIP_603: 0.01, NumberClass.SIP_604: 0.005,
            NumberClass.FAX: 0.015, NumberClass.SILENT: 0.01,
        },
        "humans": {NumberClass.HUMAN: 1.0},
        "signalling": dict.fromkeys(sorted(SIGNALLING_CLASSES), 1.0),
        "even": dict.fromkeys(NumberClass, 1.0),
        # The reference scenario of the pacing simulator: hit rate 30 %.
        "reference": {
            NumberClass.HUMAN: 0.30, NumberClass.MACHINE: 0.315, NumberClass.NO_ANSWER: 0.245,
            NumberClass.BUSY_SIP: 0.07, NumberClass.SIT_VC: 0.07,
        },
    }
)  # fmt: skip
"""Shares by class; they need not add up to one."""

RING_MEAN_S: Final = 10.0
RING_CV: Final = 0.45
MACHINE_RING_MEAN_S: Final = 14.0
BUSY_EARLY_SHARE: Final = 0.6
HANG_SHARE: Final = 0.3
"""Share of in-band failures that go on until the caller gives up, instead of a failure response after a while."""
INBAND_RINGBACK_SHARE: Final = 0.25
"""Share of ringing numbers whose network sends 183 and a ringback tone instead of 180."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What scales the plans; the same for every number of a run. Times in seconds."""

    ring_scale: float = 1.0
    """Multiplies ring times and how long failures take; greetings keep their speed."""
    talk_mean_s: float = 150.0
    talk_cv: float = 0.8
    customer_ends_share: float = 0.15
    """Share of people who end the conversation themselves, after 0.7 of the mean talk time on average."""
    patience_mean_s: float = 7.0
    """How long an answered person who hears nobody stays, from the end of the greeting (mean; cv 0.3)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    The course of a call to one number. Times in seconds; ``math.inf`` means never by the carrier.

    ``early`` is the score of 183 media; empty means 180 without media, and ``ring_s`` 0 no ringing at all.
    ``status`` is the final response; the fields below it matter only for 200.
    """

    number_class: NumberClass
    post_dial_s: float
    early: str
    ring_s: float
    status: int
    q850_cause: int | None = None
    redirect_to: str = ""
    answer: str = ""
    greeting_end_s: float = 0.0
    converses: bool = False
    hello_again_s: float = 2.5
    patience_s: float = math.inf
    talk_s: float = math.inf
    hang_up_s: float = math.inf
    """After the answer, whatever is heard."""
    noise_dbfs: float = -65.0


def canonical(number: str) -> str:
    """Digits of a dialed number in E.164 without plus; ten digits are taken for a US number."""
    digits = "".join(c for c in number if c.isascii() and c.isdigit())
    return "1" + digits if len(digits) == 10 else digits


def _draws(seed: int, number: str, purpose: str) -> random.Random:
    digest = blake2b(f"{seed}|{number}|{purpose}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))


def class_of(seed: int, number: str, mix: Mix) -> NumberClass:
    """The class of a number, without a script; ``number`` in any form that `canonical` takes."""
    number = canonical(number)
    if number.startswith(FORCED_PREFIX) and number[3:5] in FORCED_CLASSES:
        return FORCED_CLASSES[number[3:5]]
    point = _draws(seed, number, "class").random() * math.fsum(mix.values())
    # In the order of the enumeration, so that the order of a mix file does not matter.
    for number_class in NumberClass:
        point -= mix.get(number_class, 0.0)
        if point < 0:
            return number_class
    return max(mix, key=lambda c: mix[c])


def lognormal(rng: random.Random, mean: float, cv: float) -> float:
    """A draw with this mean and coefficient of variation (standard deviation / mean)."""
    if mean <= 0:
        return 0.0
    sigma2 = math.log1p(cv * cv)
    return rng.lognormvariate(math.log(mean) - sigma2 / 2, math.sqrt(sigma2))


def plan_for(seed: int, number: str, mix: Mix, behaviour: Behaviour) -> Plan:
    """What the number does in a run with this seed and mix."""
    number = canonical(number)
    return plan_of_class(class_of(seed, number, mix), seed, number, behaviour)


def plan_of_class(number_class: NumberClass, seed: int, number: str, behaviour: Behaviour) -> Plan:
    """A plan of the given class with the times and voices that seed and number choose."""
    rng = _draws(seed, canonical(number), "plan")
    noise_dbfs = rng.uniform(-70.0, -55.0)
    post_dial_s = rng.uniform(0.1, 0.6)
    scale = behaviour.ring_scale
    ring_s = max(0.5, scale * lognormal(rng, RING_MEAN_S, RING_CV))
    ringback = "|tone:ringback" if rng.random() < INBAND_RINGBACK_SHARE else ""
    base = Plan(number_class, post_dial_s, ringback, ring_s, 200, noise_dbfs=noise_dbfs)
    match number_class:
        case NumberClass.HUMAN:
            return _person(base, rng, behaviour)
        case NumberClass.MUSIC:
            early = "|tone:music" if rng.random() < 0.7 else "clip:wait_00 silence:1500 clip:wait_00 |tone:ringback"
            return replace(_person(base, rng, behaviour), early=early)
        case NumberClass.HANGUP_EARLY:
            person = _person(base, rng, behaviour)
            return replace(person, hang_up_s=person.greeting_end_s * rng.uniform(0.4, 1.0) + rng.uniform(0.0, 0.8))
        case NumberClass.MACHINE:
            ring_s = max(0.5, scale * lognormal(rng, MACHINE_RING_MEAN_S, 0.3))
            return replace(_machine(base, rng), ring_s=ring_s)
        case NumberClass.FAX:
            answer = f"silence:{rng.randint(200, 1500)} tone:ced silence:80 |tone:v21 silence:3000"
            return replace(base, answer=answer, hang_up_s=35.0)
        case NumberClass.SILENT:
            return replace(base, hang_up_s=rng.uniform(20.0, 40.0), noise_dbfs=-72.0)
        case NumberClass.BUSY_ANSWERED:
            return replace(base, ring_s=rng.uniform(0.2, 1.0), early="", answer="|tone:busy", hang_up_s=30.0)
        case NumberClass.NO_ANSWER:
            return replace(base, ring_s=math.inf, status=480, q850_cause=19)
        case NumberClass.BUSY_INBAND:
            return _inband(base, rng, "|tone:busy", 486, 17)
        case NumberClass.REORDER_INBAND:
            return _inband(base, rng, "|tone:reorder", 503, 42)
    if number_class in _SIT:
        status, cause = _SIT[number_class]
        name = number_class.value
        score = f"silence:{rng.randint(60, 400)} |tone:{name} silence:120 clip:{name}_00 silence:1500"
        return _inband(base, rng, score, status, cause)
    status, q850_cause, rings = _FAILURES[number_class]
    # What the network refuses is refused at once; what the called side refuses rings a little first.
    wait_s = max(0.3, scale * rng.uniform(1.0, 6.0)) if rings else 0.0
    redirect_to = f"sip:1{rng.randint(2000000000, 9999999999)}@127.0.0.1" if status == 302 else ""
    return replace(
        base,
        ring_s=wait_s,
        early=ringback if rings else "",
        status=status,
        q850_cause=q850_cause,
        redirect_to=redirect_to,
    )


_SIT: Final = MappingProxyType(
    {
        NumberClass.SIT_IC: (410, 22),
        NumberClass.SIT_VC: (404, 1),
        NumberClass.SIT_RO: (480, 41),
        NumberClass.SIT_NC: (503, 34),
        NumberClass.SIT_IO: (480, 27),
    }
)
"""SIP status and Q.850 cause (mapping of RFC 3398) that follow the tone and the announcement."""

_FAILURES: Final = MappingProxyType(
    {
        NumberClass.BUSY_SIP: (486, 17, False),
        NumberClass.SIP_302: (302, None, False),
        NumberClass.SIP_404: (404, 1, False),
        NumberClass.SIP_408: (408, 102, True),
        NumberClass.SIP_480: (480, 20, False),
        NumberClass.SIP_484: (484, 28, False),
        NumberClass.SIP_503: (503, 34, False),
        NumberClass.SIP_603: (603, 21, True),
        NumberClass.SIP_604: (604, 1, False),
    }
)
"""SIP status, Q.850 cause, and whether it rings before the refusal."""


def _inband(base: Plan, rng: random.Random, score: str, status: int, cause: int) -> Plan:
    ring_s = math.inf if rng.random() < HANG_SHARE else rng.uniform(6.0, 12.0)
    return replace(base, early=score, ring_s=ring_s, status=status, q850_cause=cause)


def _person(base: Plan, rng: random.Random, behaviour: Behaviour) -> Plan:
    pause_ms = rng.randint(200, 700)
    greeting = f"silence:{pause_ms} clip:{rng.choice(sound.clips_of('human'))}"
    ends = rng.random() < behaviour.customer_ends_share
    talk_s = lognormal(rng, 0.7 * behaviour.talk_mean_s, behaviour.talk_cv)
    return replace(
        base,
        answer=greeting,
        greeting_end_s=sum(_spoken_s(greeting)),
        converses=True,
        patience_s=max(3.0, lognormal(rng, behaviour.patience_mean_s, 0.3)),
        talk_s=talk_s if ends else math.inf,
    )


def _machine(base: Plan, rng: random.Random) -> Plan:
    greeting = f"silence:{rng.randint(200, 900)} clip:{rng.choice(sound.clips_of('machine'))}"
    beep = rng.choice(("beep", "beep", "beep_low", "beep_high"))
    return replace(
        base,
        answer=f"{greeting} silence:{rng.randint(300, 1000)} tone:{beep}",
        greeting_end_s=sum(_spoken_s(greeting)),
        hang_up_s=sum(_spoken_s(greeting)) + rng.uniform(20.0, 40.0),
    )


def _spoken_s(score: str) -> list[float]:
    """Seconds of each part of a score made of silence and clips (without rendering it)."""
    index = sound.clip_index()
    parts = [part.partition(":") for part in score.split()]
    return [int(name) / 1000 if kind == "silence" else index[name][1] for kind, _, name in parts]


# --- explicit scripts ------------------------------------------------------------------------------------------------


class ScriptError(ValueError):
    """A mix or script file is wrong; the message says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class Script:
    """Rules for single numbers: the first whose pattern fits wins. ``*`` at the end of a pattern means any digits."""

    rules: tuple[tuple[str, NumberClass, Mapping[str, float | str]], ...] = ()

    def plan(self, seed: int, number: str, behaviour: Behaviour) -> Plan | None:
        """The plan of a number that a rule names, else None."""
        number = canonical(number)
        for pattern, number_class, changes in self.rules:
            if number == pattern or (pattern.endswith("*") and number.startswith(pattern[:-1])):
                plan = plan_of_class(number_class, seed, number, behaviour)
                return replace(plan, **changes)  # type: ignore[arg-type]
        return None


_CHANGEABLE: Final = MappingProxyType(
    {
        "ring_s": float, "post_dial_s": float, "early": str, "answer": str, "greeting_end_s": float,
        "patience_s": float, "talk_s": float, "hang_up_s": float, "status": int, "q850_cause": int,
    }
)  # fmt: skip


def parse_script(data: object) -> Script:
    """
    ``{"numbers": [{"digits": "12125552000", "class": "human", "ring_s": 2.0}, ...]}`` to a `Script`; ScriptError.

    Beside ``digits`` and ``class`` a rule may set the fields of `Plan` in ``_CHANGEABLE``.
    """
    if not isinstance(data, Mapping) or set(data) - {"numbers"} or not isinstance(data.get("numbers"), list):
        raise ScriptError("a script holds one list, [[numbers]]")
    rules = []
    for i, entry in enumerate(data["numbers"], start=1):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("digits"), str):
            raise ScriptError(f"numbers, entry {i}: digits (a string) is missing")
        pattern = entry["digits"].lstrip("+")
        if not pattern.rstrip("*").isdigit() and pattern != "*":
            raise ScriptError(f"numbers, entry {i}: digits are 0-9, with * at the end only, not {pattern!r}")
        number_class = _class(entry.get("class"), f"numbers, entry {i}")
        changes: dict[str, float | str] = {}
        for key, value in entry.items():
            if key in ("digits", "class"):
                continue
            kind = _CHANGEABLE.get(key)
            good = isinstance(value, (int, float)) if kind is float else isinstance(value, kind or ())
            if kind is None or not good or isinstance(value, bool):
                raise ScriptError(f"numbers, entry {i}: {key}={value!r}; allowed are {', '.join(_CHANGEABLE)}")
            changes[key] = kind(value)
            if kind is str:
                try:
                    sound.render(str(value))
                except ValueError as error:
                    raise ScriptError(f"numbers, entry {i}: {key}: {error}") from error
        rules.append((pattern, number_class, MappingProxyType(changes)))
    return Script(tuple(rules))


def parse_mix(data: object) -> Mix:
    """``{"mix": {"human": 0.3, ...}}`` to shares by class; ScriptError."""
    if not isinstance(data, Mapping) or set(data) != {"mix"} or not isinstance(data["mix"], Mapping):
        raise ScriptError("a mix file holds one table, [mix]")
    shares = {}
    for name, share in data["mix"].items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < math.inf:
            raise ScriptError(f"mix: {name} = {share!r} is no share (a number of at least 0)")
        shares[_class(name, "mix")] = float(share)
    if math.fsum(shares.values()) <= 0:
        raise ScriptError("mix: all shares are 0")
    return MappingProxyType(shares)


def _class(name: object, where: str) -> NumberClass:
    try:
        return NumberClass(str(name))
    except ValueError as error:
        raise ScriptError(f"{where}: class {name!r}; allowed are {', '.join(NumberClass)}") from error
