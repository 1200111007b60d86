"""Options of the pacing that must fit the campaign group's goal, wherever they stand."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ocsd.config import objects as o
from ocsd.config.located import Located, Objects, valid
from ocsd.config.option import Option, OptionValue
from ocsd.config.options import MAX_OVERDIAL_RATE, PREDICTIVE_MIN_OVERDIAL_RATE
from ocsd.model.enums import OptimizeBy

Holder: TypeAlias = tuple[Located, Mapping[str, OptionValue]]


def problems(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """A sentence per object whose predictive_min_overdial_rate is above what a group may ever have for a goal."""
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
