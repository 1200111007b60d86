"""Options of call progress analysis that must fit each other, wherever they stand."""

from collections.abc import Iterable, Mapping
from typing import Final

from ocsd.config import cpa_options as opt
from ocsd.config import objects as o
from ocsd.config.analysis import LEVELS, THRESHOLDS
from ocsd.config.located import Located, Objects, valid
from ocsd.config.option import OptionValue
from ocsd.config.options import AnyOption
from telephony.contract import AnalysisSettings

RISING: Final = (
    ("sure_silence_ms", "human_silence_ms"),
    ("human_silence_ms", "undecided_silence_ms"),
    ("sure_probability", "human_probability"),
    ("human_probability", "machine_probability"),
)
"""Pairs of thresholds of which the first may not be above the second: it would never be reached."""

Holder = tuple[Located, Mapping[str, OptionValue]]


def problems(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """A sentence per option that contradicts another, for every campaign group and each of its trunks."""
    campaigns = {one.name: (located, one.options) for located, one in valid(objects, "campaigns", o.Campaign)}
    trunks = {one.name: (located, one.options) for located, one in valid(objects, "trunks", o.Trunk)}
    application = sections.get("application")
    weakest: list[Holder] = (
        [(application, application.value.options)]
        if application is not None and isinstance(application.value, o.Application)
        else []
    )
    told: set[tuple[str, str]] = set()
    for located, group in valid(objects, "campaign_groups", o.CampaignGroup):
        strongest: list[Holder] = [(located, group.options)]
        if group.campaign in campaigns:
            strongest.append(campaigns[group.campaign])
        for trunk in group.trunks:
            if trunk not in trunks:
                continue
            for where, option, sentence in _contradictions([*strongest, trunks[trunk], *weakest], trunks[trunk][1]):
                if (where.where, option) not in told:
                    told.add((where.where, option))
                    yield where.problem(f"options.{option}", sentence)


def _contradictions(holders: list[Holder], of_trunk: Mapping[str, OptionValue]) -> Iterable[tuple[Located, str, str]]:
    """Where it stands, the option, and what is wrong with it."""
    level = LEVELS.get(_level(holders, of_trunk), LEVELS[opt.POSITIVE_AM_DETECTION])
    for low, high in RISING:
        low_at, low_value = _threshold(holders, level, low)
        high_at, high_value = _threshold(holders, level, high)
        if low_value > high_value and (where := low_at or high_at) is not None:
            first, second = THRESHOLDS[low].name, THRESHOLDS[high].name
            if where is low_at:
                yield where, first, f"must be at most {second} ({high_value:g}), got {low_value:g}"
            else:
                yield where, second, f"must be at least {first} ({low_value:g}), got {high_value:g}"
    guard_ms = _value(holders, opt.CALL_TIMEGUARD_TIMEOUT)[1]
    silence_at, silence_ms = _threshold(holders, level, "initial_silence_ms")
    if guard_ms is not None and silence_at is not None and silence_ms > float(guard_ms):
        yield (
            silence_at,
            opt.CPA_INITIAL_SILENCE.name,
            f"must be at most call_timeguard_timeout ({guard_ms} ms), got {silence_ms:g}",
        )


def _level(holders: list[Holder], of_trunk: Mapping[str, OptionValue]) -> str:
    _, found = _value(holders, opt.CALL_ANSWER_TYPE_RECOGNITION)
    preset = str(of_trunk.get(opt.CALL_ANSWER_TYPE_RECOGNITION.name, opt.POSITIVE_AM_DETECTION))
    return preset if found == opt.TELEPHONY_PRESET else str(found)


def _threshold(holders: list[Holder], level: AnalysisSettings, name: str) -> tuple[Located | None, float]:
    """The object that sets it and its value; None and the level's own where nobody does."""
    where, value = _value(holders, THRESHOLDS[name])
    if where is None or value is None or float(value) < 0:
        return None, float(getattr(level, name))
    return where, float(value)


def _value(holders: list[Holder], option: AnyOption) -> tuple[Located | None, OptionValue | None]:
    """The most specific object that has the option, and its value; None for one that is reported as wrong anyway."""
    for located, options in holders:
        if option.name in options:
            try:
                return located, option.parse(options[option.name])
            except ValueError:
                return located, None
    return None, option.default
