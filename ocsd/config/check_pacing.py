"""Options of the pacing that must fit the campaign group's goal, wherever they stand."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from ocsd.config import objects as o
from ocsd.config.located import Located, Objects, valid
from ocsd.config.option import Option, OptionValue
from ocsd.config.options import MAX_OVERDIAL_RATE, PREDICTIVE_LEAST_RING, PREDICTIVE_MIN_OVERDIAL_RATE
from ocsd.model.enums import OptimizeBy

LEAST_RING_S: Final = 15
"""16 CFR 310.4(b)(4)(ii): 15 seconds or four rings; in the United Kingdom it is the same."""

Holder: TypeAlias = tuple[Located, Mapping[str, OptionValue]]


def problems(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """A sentence per option that cannot be obeyed, or may not be."""
    yield from _rates(objects, sections)
    yield from _rings(objects, sections)


def _rings(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """Objects whose predictive-least-ring is shorter than a phone must ring."""
    application = sections.get("application")
    holders: list[Holder] = [(at, one.options) for at, one in valid(objects, "campaigns", o.Campaign)]
    holders += [(at, one.options) for at, one in valid(objects, "campaign_groups", o.CampaignGroup)]
    if application is not None and isinstance(application.value, o.Application):
        holders.append((application, application.value.options))
    for holder in holders:
        where, ring_s = _value([holder], PREDICTIVE_LEAST_RING)
        if where is not None and ring_s is not None and 0 < ring_s < LEAST_RING_S:
            yield where.problem(
                f"options.{PREDICTIVE_LEAST_RING.name}", f"must be 0 or at least {LEAST_RING_S} s, got {ring_s:g}"
            )


def _rates(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """Objects whose predictive_min_overdial_rate is above what a group may ever have for a goal."""
    campaigns = {one.name: (located, one.options) for located, one in valid(objects, "campaigns", o.Campaign)}
    application = sections.get("application")
    weakest: list[Holder] = (
        [(application, application.value.options)]
        if application is not None and isinstance(application.value, o.Application)
        else []
    )
    told: set[str] = set()
    for located, group in valid(objects, "campaign_groups", o.CampaignGroup):
        if group.optimize_by is not OptimizeBy.OVERDIAL_RATE or group.campaign not in campaigns:
            continue
        holders = [(located, group.options), campaigns[group.campaign], *weakest]
        where, least = _value(holders, PREDICTIVE_MIN_OVERDIAL_RATE)
        bound = _value(holders, MAX_OVERDIAL_RATE)[1]
        if where is None or least is None or bound is None or where.where in told:
            continue
        most = min(float(group.optimize_goal), bound)
        if least > most:
            told.add(where.where)
            yield where.problem(
                f"options.{PREDICTIVE_MIN_OVERDIAL_RATE.name}",
                f'must be at most {most:g} percent, the overdial rate of campaign group "{group.name}", got {least:g}',
            )


def _value(holders: Iterable[Holder], option: Option[float]) -> tuple[Located | None, float | None]:
    """The most specific object that has the option, and its value; None for one that is reported as wrong anyway."""
    for located, options in holders:
        if option.name in options:
            try:
                return located, option.parse(options[option.name])
            except ValueError:
                return located, None
    return None, option.default
