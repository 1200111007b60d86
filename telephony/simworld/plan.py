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
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

from telephony.simworld import sound
from telephony.simworld.answers import device, machine, person, spoken_s
from telephony.simworld.kinds import (
    IN_BAND,
    MACHINES,
    PEOPLE,
    SIGNALLING_CLASSES,
    Behaviour,
    NumberClass,
    Plan,
    country_of,
    decided_by,
    lognormal,
)

__all__ = [
    "FORCED_CLASSES",
    "FORCED_PREFIX",
    "IN_BAND",
    "MACHINES",
    "MIXES",
    "PEOPLE",
    "SIGNALLING_CLASSES",
    "Behaviour",
    "Mix",
    "NumberClass",
    "Plan",
    "Script",
    "ScriptError",
    "canonical",
    "class_of",
    "decided_by",
    "lognormal",
    "parse_mix",
    "parse_script",
    "plan_for",
    "plan_of_class",
]


FORCED_PREFIX: Final = "999"
FORCED_CLASSES: Final = MappingProxyType({f"{i:02d}": c for i, c in enumerate(NumberClass, start=1)})
"""The two digits after `FORCED_PREFIX`: 01 human, 02 machine, 03 no_answer, 04 busy_sip... in the order above."""

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
        # Whatever there is, with enough of each for a rate: persons and machines most, as they are mistaken most.
        "all": {
            NumberClass.HUMAN: 0.12, NumberClass.HUMAN_BUSINESS: 0.05, NumberClass.HUMAN_SLOW: 0.03,
            NumberClass.HUMAN_AGAIN: 0.03, NumberClass.MUSIC: 0.03, NumberClass.HANGUP_EARLY: 0.015,
            NumberClass.MACHINE: 0.10, NumberClass.MACHINE_SHORT: 0.03, NumberClass.MACHINE_LONG: 0.03,
            NumberClass.MACHINE_PAUSE: 0.03, NumberClass.MACHINE_BEEP: 0.02, NumberClass.MUSIC_MACHINE: 0.02,
            NumberClass.FAX: 0.02, NumberClass.FAX_V21: 0.015, NumberClass.MODEM_ANSAM: 0.015,
            NumberClass.MODEM_BELL: 0.015, NumberClass.PAGER: 0.015,
            NumberClass.BUSY_SIP: 0.025, NumberClass.BUSY_INBAND: 0.03, NumberClass.BUSY_ANSWERED: 0.02,
            NumberClass.REORDER_INBAND: 0.02, NumberClass.REORDER_ANSWERED: 0.015,
            NumberClass.SIT_IC: 0.015, NumberClass.SIT_VC: 0.015, NumberClass.SIT_RO: 0.015,
            NumberClass.SIT_NC: 0.015, NumberClass.SIT_IO: 0.015, NumberClass.SIT_ITU: 0.015,
            NumberClass.SIT_VC_ANSWERED: 0.01, NumberClass.NU_INBAND: 0.04, NumberClass.NO_RINGBACK: 0.015,
            NumberClass.ANNOUNCED: 0.02, NumberClass.NO_ANSWER: 0.04, NumberClass.SILENT: 0.02,
            NumberClass.SIP_302: 0.01, NumberClass.SIP_404: 0.02, NumberClass.SIP_408: 0.01,
            NumberClass.SIP_480: 0.01, NumberClass.SIP_484: 0.01, NumberClass.SIP_503: 0.01,
            NumberClass.SIP_603: 0.01, NumberClass.SIP_604: 0.01,
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


def canonical(number: str) -> str:
    """Digits of a dialed number in E.164 without plus; ten digits are taken for a US number."""
    digits = "".join(c for c in number if c.isascii() and c.isdigit())
    return "1" + digits if len(digits) == 10 else digits


def _draws(seed: int, number: str, purpose: str) -> random.Random:
    digest = blake2b(f"{seed}|{number}|{purpose}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))


def class_of(seed: int, number: str, mix: Mix) -> NumberClass:
    """
    The class of a number, without a script; ``number`` in any form that `canonical` takes.

    North America has no tone for an unobtainable number: its networks play the tones of a vacant code instead.
    """
    number = canonical(number)
    if number.startswith(FORCED_PREFIX) and number[3:5] in FORCED_CLASSES:
        return FORCED_CLASSES[number[3:5]]
    point = _draws(seed, number, "class").random() * math.fsum(mix.values())
    # In the order of the enumeration, so that the order of a mix file does not matter.
    for number_class in NumberClass:
        point -= mix.get(number_class, 0.0)
        if point < 0:
            unheard_of = number_class is NumberClass.NU_INBAND and country_of(number) == "US"
            return NumberClass.SIT_VC if unheard_of else number_class
    return max(mix, key=lambda c: mix[c])


def plan_for(seed: int, number: str, mix: Mix, behaviour: Behaviour) -> Plan:
    """What the number does in a run with this seed and mix."""
    number = canonical(number)
    return plan_of_class(class_of(seed, number, mix), seed, number, behaviour)


def plan_of_class(number_class: NumberClass, seed: int, number: str, behaviour: Behaviour) -> Plan:
    """A plan of the given class with the times and voices that seed and number choose."""
    number = canonical(number)
    rng = _draws(seed, number, "plan")
    noise_dbfs = rng.uniform(-70.0, -55.0)
    post_dial_s = rng.uniform(0.1, 0.6)
    scale = behaviour.ring_scale
    ring_s = max(0.5, scale * lognormal(rng, RING_MEAN_S, RING_CV))
    country = country_of(number)
    local = LOCAL_TONES.get(country, "")
    ringback = f"|tone:{local}ringback" if rng.random() < INBAND_RINGBACK_SHARE else ""
    base = Plan(number_class, post_dial_s, ringback, ring_s, 200, noise_dbfs=noise_dbfs, country=country)
    plan = _course(base, rng, behaviour, local)
    # Drawn from another source, so that the same call with and without them differs in nothing else.
    return _impaired(plan, _draws(seed, number, "line")) if behaviour.impaired else plan


LOCAL_TONES: Final = MappingProxyType({"GB": "uk_"})
"""What the names of a country's tones begin with (`sound.TONES`)."""


def _impaired(plan: Plan, rng: random.Random) -> Plan:
    level_db = rng.uniform(-9.0, 3.0)
    loss_ratio = rng.uniform(0.002, 0.03) if rng.random() < 0.3 else 0.0
    # Noise of the place stays some 20 dB under the voice; with less nobody could tell a pause from a word.
    noise_dbfs = min(rng.uniform(-70.0, -40.0), level_db - 40.0)
    late_ratio = rng.uniform(0.01, 0.2) if rng.random() < 0.3 else 0.0
    return replace(plan, level_db=level_db, noise_dbfs=noise_dbfs, loss_ratio=loss_ratio, late_ratio=late_ratio)


def _course(base: Plan, rng: random.Random, behaviour: Behaviour, local: str) -> Plan:
    scale, ringback, number_class = behaviour.ring_scale, base.early, base.number_class
    if number_class in (NumberClass.MUSIC, NumberClass.MUSIC_MACHINE):
        early = "|tone:music" if rng.random() < 0.7 else f"clip:wait_00 silence:1500 clip:wait_00 |tone:{local}ringback"
        if number_class is NumberClass.MUSIC_MACHINE and rng.random() < 0.5:
            early = "|tone:music_slow"
        base = replace(base, early=early)
    match number_class:
        case NumberClass.HANGUP_EARLY:
            hasty = person(base, rng, behaviour)
            return replace(hasty, hang_up_s=hasty.greeting_end_s * rng.uniform(0.4, 1.0) + rng.uniform(0.0, 0.8))
        case _ if number_class in PEOPLE:
            return person(base, rng, behaviour)
        case _ if number_class in MACHINES:
            ring_s = max(0.5, scale * lognormal(rng, MACHINE_RING_MEAN_S, 0.3))
            return replace(machine(base, rng), ring_s=ring_s)
        case _ if number_class in _DEVICES:
            return device(base, rng)
        case NumberClass.SILENT:
            return replace(base, hang_up_s=rng.uniform(20.0, 40.0), noise_dbfs=-72.0)
        case NumberClass.BUSY_ANSWERED | NumberClass.REORDER_ANSWERED:
            tone = number_class.value.removesuffix("_answered")
            answer = f"|tone:{local}{tone}"
            return replace(base, ring_s=rng.uniform(0.2, 1.0), early="", answer=answer, hang_up_s=30.0)
        case NumberClass.SIT_VC_ANSWERED:
            answer = f"silence:{rng.randint(100, 400)} |{_sit_score(NumberClass.SIT_VC)}"
            return replace(base, ring_s=rng.uniform(0.2, 1.0), early="", answer=answer, hang_up_s=30.0)
        case NumberClass.NO_ANSWER:
            return replace(base, ring_s=math.inf, status=480, q850_cause=19)
        case NumberClass.NO_RINGBACK:
            return replace(base, early="|silence:1000", ring_s=math.inf, status=480, q850_cause=19)
        case NumberClass.BUSY_INBAND:
            return _inband(base, rng, f"|tone:{local}busy", 486, 17)
        case NumberClass.REORDER_INBAND:
            return _inband(base, rng, f"|tone:{local}reorder", 503, 42)
        case NumberClass.NU_INBAND:
            return _inband(base, rng, "|tone:uk_nu", 404, 1)
        case NumberClass.SIT_ITU:
            clip = rng.choice(sound.clips_of("announcement"))
            return _inband(base, rng, f"|tone:sit_itu silence:150 clip:{clip} silence:1500", 404, 1)
        case NumberClass.ANNOUNCED:
            said = f"silence:{rng.randint(100, 600)} clip:{rng.choice(sound.clips_of('announcement'))}"
            return replace(base, early=said, ring_s=spoken_s(said) + 0.5, status=404, q850_cause=1)
    if number_class in _SIT:
        status, cause = _SIT[number_class]
        return _inband(base, rng, f"silence:{rng.randint(60, 400)} |{_sit_score(number_class)}", status, cause)
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


def _sit_score(number_class: NumberClass) -> str:
    name = number_class.value
    return f"tone:{name} silence:120 clip:{name}_00 silence:1500"


_DEVICES: Final = frozenset(
    {
        NumberClass.FAX, NumberClass.FAX_V21, NumberClass.MODEM_ANSAM, NumberClass.MODEM_BELL, NumberClass.PAGER,
    }
)  # fmt: skip

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
