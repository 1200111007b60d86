"""Pre-dial validation: where it is on, the look-up must find an address to ask."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from ocsd.config import objects as o
from ocsd.config.located import Located, Objects, valid
from ocsd.config.option import OptionValue
from ocsd.config.options import PRE_DIAL_VALIDATION, VALIDATION_URI, AnyOption

Holder: TypeAlias = tuple[Located, Mapping[str, OptionValue]]


def problems(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """A sentence per object that turns validation on for a list whose look-up finds no address."""
    lists = {one.name: (located, one.options) for located, one in valid(objects, "calling_lists", o.CallingList)}
    campaigns = {one.name: (located, one) for located, one in valid(objects, "campaigns", o.Campaign)}
    application = sections.get("application")
    weakest: list[Holder] = (
        [(application, application.value.options)]
        if application is not None and isinstance(application.value, o.Application)
        else []
    )
    told: set[str] = set()
    for located, group in valid(objects, "campaign_groups", o.CampaignGroup):
        if group.campaign not in campaigns:
            continue  # reported where it is named
        where, campaign = campaigns[group.campaign]
        for entry in campaign.lists:
            if entry.calling_list not in lists:
                continue
            holders = [lists[entry.calling_list], (located, group.options), (where, campaign.options), *weakest]
            on = _holder(holders, PRE_DIAL_VALIDATION)
            address = _holder(holders, VALIDATION_URI)
            if on is None or not PRE_DIAL_VALIDATION.parse(on[1][PRE_DIAL_VALIDATION.name]):
                continue
            if (address is None or not address[1][VALIDATION_URI.name]) and on[0].where not in told:
                told.add(on[0].where)
                yield on[0].problem(
                    f"options.{PRE_DIAL_VALIDATION.name}",
                    f'needs {VALIDATION_URI.name}, which is not given for calling list "{entry.calling_list}" in '
                    f'campaign group "{group.name}"',
                )


def _holder(holders: Sequence[Holder], option: AnyOption) -> Holder | None:
    """The most specific object that has the option."""
    return next((holder for holder in holders if option.name in holder[1]), None)
