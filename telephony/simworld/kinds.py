"""What there is behind a number: the classes of called numbers, and the fields of a plan. Pure data."""

import math
import random
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class NumberClass(StrEnum):
    """How a number behaves. Values are those of the truth log and of mix files; new ones go to the end."""

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
    """A person whose ringback is music, or an announcement to wait."""
    HUMAN_BUSINESS = "human_business"
    """Names company, person and wish in one long breath."""
    HUMAN_SLOW = "human_slow"
    """Takes one and a half to three seconds to say anything."""
    HUMAN_AGAIN = "human_again"
    """ "Hello? ... hello?" """
    MACHINE_SHORT = "machine_short"
    MACHINE_LONG = "machine_long"
    MACHINE_PAUSE = "machine_pause"
    """Begins as a person does: "Hello?", a pause, and only then what machines say."""
    MACHINE_BEEP = "machine_beep"
    """No greeting, just the beep."""
    MUSIC_MACHINE = "music_machine"
    FAX_V21 = "fax_v21"
    """No answer tone: the flags of V.21 at once."""
    MODEM_ANSAM = "modem_ansam"
    """V.8: 2100 Hz with phase reversals, modulated with 15 Hz."""
    MODEM_BELL = "modem_bell"
    """Bell 103: 2225 Hz."""
    PAGER = "pager"
    REORDER_ANSWERED = "reorder_answered"
    SIT_VC_ANSWERED = "sit_vc_answered"
    SIT_ITU = "sit_itu"
    """Three tones of ITU-T E.180, which tell no cause."""
    NU_INBAND = "nu_inband"
    """Number-unobtainable tone; only where the country has one."""
    NO_RINGBACK = "no_ringback"
    """Early media, and nothing to be heard in it until the caller gives up."""
    ANNOUNCED = "announced"
    """The network says in words why it fails, and then by its status."""


SIGNALLING_CLASSES: Final = frozenset(
    {
        NumberClass.NO_ANSWER, NumberClass.BUSY_SIP, NumberClass.SIP_302, NumberClass.SIP_404, NumberClass.SIP_408,
        NumberClass.SIP_480, NumberClass.SIP_484, NumberClass.SIP_503, NumberClass.SIP_603, NumberClass.SIP_604,
        NumberClass.ANNOUNCED,
    }
)  # fmt: skip
"""Classes that SIP alone tells; all others need call progress analysis."""

PEOPLE: Final = frozenset(
    {
        NumberClass.HUMAN, NumberClass.MUSIC, NumberClass.HANGUP_EARLY, NumberClass.HUMAN_BUSINESS,
        NumberClass.HUMAN_SLOW, NumberClass.HUMAN_AGAIN,
    }
)  # fmt: skip

MACHINES: Final = frozenset(
    {
        NumberClass.MACHINE, NumberClass.MACHINE_SHORT, NumberClass.MACHINE_LONG, NumberClass.MACHINE_PAUSE,
        NumberClass.MACHINE_BEEP, NumberClass.MUSIC_MACHINE,
    }
)  # fmt: skip

IN_BAND: Final = frozenset(
    {
        NumberClass.BUSY_INBAND, NumberClass.REORDER_INBAND, NumberClass.SIT_IC, NumberClass.SIT_VC,
        NumberClass.SIT_RO, NumberClass.SIT_NC, NumberClass.SIT_IO, NumberClass.SIT_ITU, NumberClass.NU_INBAND,
        NumberClass.NO_RINGBACK,
    }
)  # fmt: skip
"""Classes that early media tell, before any answer."""


def decided_by(number_class: NumberClass) -> str:
    """ "signalling" or "cpa"."""
    return "signalling" if number_class in SIGNALLING_CLASSES else "cpa"


COUNTRIES: Final = MappingProxyType({"44": "GB"})
"""Country codes whose networks sound other than North America's."""


def country_of(canonical_number: str) -> str:
    """ISO code of the country whose tones are heard behind a number (`plan.canonical` digits)."""
    return COUNTRIES.get(canonical_number[:2], "US")


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
    impaired: bool = False
    """Lines differ in level, noise and lost packets; else they are quiet, loud and whole."""


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
    beep_s: float | None = None
    """When a machine's beep begins, after the answer."""
    level_db: float = 0.0
    """How much louder (softer, below 0) than the clips and tones are."""
    loss_ratio: float = 0.0
    """Share of the packets that the caller never gets."""
    late_ratio: float = 0.0
    """Share of those that come 20 ms late."""
    country: str = "US"


def lognormal(rng: random.Random, mean: float, cv: float) -> float:
    """A draw with this mean and coefficient of variation (standard deviation / mean)."""
    if mean <= 0:
        return 0.0
    sigma2 = math.log1p(cv * cv)
    return rng.lognormvariate(math.log(mean) - sigma2 / 2, math.sqrt(sigma2))
