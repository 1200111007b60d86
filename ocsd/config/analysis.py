"""How the calls of a campaign group on a trunk are analysed, as the configuration asks for it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec
import phonenumbers

from ocsd.config import cpa_options as opt
from ocsd.config.objects import CampaignGroup, Configuration, Trunk
from ocsd.config.option import Option
from ocsd.config.options import lookup
from telephony.contract import AnalysisSettings
from telephony.cpa import tone_plan
from telephony.cpa.tones import GENERIC_PLAN

DIALED: Final = "dialed"
"""``tone_plan`` of a trunk that reaches many countries."""

_QUICK: Final = AnalysisSettings()

LEVELS: Final = MappingProxyType(
    {
        opt.POSITIVE_AM_DETECTION: _QUICK,
        opt.FULL_POSITIVE_AM_DETECTION: msgspec.structs.replace(
            _QUICK,
            human_silence_ms=_QUICK.human_silence_ms + 200,
            sure_silence_ms=_QUICK.sure_silence_ms + 100,
            undecided_silence_ms=_QUICK.undecided_silence_ms + 300,
            human_probability=_QUICK.human_probability * 0.8,
        ),
        opt.ACCURATE_AM_DETECTION: msgspec.structs.replace(
            _QUICK,
            human_silence_ms=_QUICK.human_silence_ms + 500,
            sure_silence_ms=_QUICK.sure_silence_ms + 300,
            undecided_silence_ms=_QUICK.undecided_silence_ms + 800,
            human_probability=_QUICK.human_probability * 0.5,
            sure_probability=_QUICK.sure_probability * 0.5,
        ),
    }
)
"""What the levels of answering-machine detection mean here: how much silence, and how much certainty, makes a person.
Most machines that sound like people go on speaking after a pause of about a second."""

THRESHOLDS: Final[Mapping[str, Option[int] | Option[float]]] = MappingProxyType(
    {
        "human_silence_ms": opt.CPA_HUMAN_SILENCE,
        "sure_silence_ms": opt.CPA_SURE_SILENCE,
        "undecided_silence_ms": opt.CPA_UNDECIDED_SILENCE,
        "initial_silence_ms": opt.CPA_INITIAL_SILENCE,
        "human_probability": opt.CPA_HUMAN_PROBABILITY,
        "sure_probability": opt.CPA_SURE_PROBABILITY,
        "machine_probability": opt.CPA_MACHINE_PROBABILITY,
        "revise_probability": opt.CPA_REVISE_PROBABILITY,
    }
)
"""Fields of AnalysisSettings that a campaign may set, with their options; -1 leaves what the level has."""


@dataclass(frozen=True, slots=True)
class AnalysisPlan:
    """
    What is done with one call besides calling it.

    Attributes:
        recognition: the value of call_answer_type_recognition in force, never telephony_preset.
        settings: for the media server; None: nobody listens (no_progress_detection).
        recorded_ratio: share of calls whose analysis is recorded.
        verified_ratio: share of calls that agents verify.
        machines_per_hour: most answering machines that agents of the group get for that.
    """

    recognition: str
    settings: AnalysisSettings | None
    recorded_ratio: float = 0.0
    verified_ratio: float = 0.0
    machines_per_hour: int = 0


def recognition(configuration: Configuration, group: CampaignGroup, trunk: Trunk) -> str:
    """call_answer_type_recognition as it is in force for the group's calls on a trunk."""
    found = lookup(configuration, opt.CALL_ANSWER_TYPE_RECOGNITION, group=group, trunk=trunk)
    if found == opt.TELEPHONY_PRESET:
        found = str(trunk.options.get(opt.CALL_ANSWER_TYPE_RECOGNITION.name, opt.POSITIVE_AM_DETECTION))
    return opt.POSITIVE_AM_DETECTION if found == opt.TELEPHONY_PRESET else found


def analysis_plan(configuration: Configuration, group: CampaignGroup, trunk: Trunk, number: str) -> AnalysisPlan:
    """``number``: the dialed one, E.164; only its country counts, and only when the trunk's tone plan is `DIALED`."""
    found = recognition(configuration, group, trunk)
    if found == opt.NO_PROGRESS_DETECTION:
        return AnalysisPlan(found, None)  # nothing is said of the call, so nothing can be recorded or verified
    recorded = lookup(configuration, opt.CPD_RECORDING, group=group, trunk=trunk)
    recorded_percent = lookup(configuration, opt.CPD_RECORDING_SHARE, group=group, trunk=trunk)
    return AnalysisPlan(
        recognition=found,
        settings=analysis_settings(configuration, group, trunk, plan_for(trunk, number)),
        recorded_ratio=recorded_percent / 100.0 if recorded else 0.0,
        verified_ratio=lookup(configuration, opt.CALL_RESULT_FEEDBACK, group=group, trunk=trunk) / 1000.0,
        machines_per_hour=lookup(configuration, opt.CALL_RESULT_FEEDBACK_MACHINES, group=group, trunk=trunk),
    )


def analysis_settings(configuration: Configuration, group: CampaignGroup, trunk: Trunk, plan: str) -> AnalysisSettings:
    """What the media server is told: the level of recognition, and what the options change of it."""
    found = recognition(configuration, group, trunk)
    level = LEVELS.get(found, LEVELS[opt.POSITIVE_AM_DETECTION])
    changed: dict[str, float] = {}
    for name, option in THRESHOLDS.items():
        if (value := lookup(configuration, option, group=group, trunk=trunk)) >= 0:
            changed[name] = value
    if (machine := changed.get("machine_probability", 0.0)) > level.machine_probability:
        # Who wants to be surer of a machine wants that after a long silence too: the doubt left shrinks alike.
        doubt = (1.0 - machine) / (1.0 - level.machine_probability)
        changed["undecided_probability"] = 1.0 - (1.0 - level.undecided_probability) * doubt
    listens_on = lookup(configuration, opt.CPA_AFTER_CONNECT, group=group, trunk=trunk) != "no"
    after_connect_s = lookup(configuration, opt.CPA_AFTER_CONNECT_TIME, group=group, trunk=trunk)
    return msgspec.structs.replace(
        level,
        tone_plan=plan,
        after_bridge_ms=after_connect_s * 1000 if listens_on else 0,
        detect_machine=found != opt.NO_AM_DETECTION,
        detect_tones=True,
        timeguard_ms=lookup(configuration, opt.CALL_TIMEGUARD_TIMEOUT, group=group, trunk=trunk),
        **changed,
    )


def plan_for(trunk: Trunk, number: str) -> str:
    """
    The tone plan of a call: the trunk's, or the dialed country's where the trunk says so.

    A country whose tones are not known has those that ITU-T E.180 recommends; a number of no country (toll-free,
    satellites) those of the trunk's country.
    """
    if trunk.tone_plan != DIALED:
        return trunk.tone_plan
    country = country_of(number)
    if not country:
        return trunk.country
    try:
        return tone_plan(country).name
    except ValueError:
        return GENERIC_PLAN


@lru_cache(maxsize=65_536)
def country_of(number: str) -> str:
    """ISO 3166 code of the country of an E.164 number; empty when its digits do not tell (satellites, toll-free)."""
    try:
        found = phonenumbers.region_code_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return ""
    return found if found is not None and len(found) == 2 and found.isalpha() else ""
