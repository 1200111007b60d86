"""Distribution to a queue of another switch: where it is, and which modes can do it."""

from collections.abc import Iterable, Mapping

from ocsd.config import media_options as opt
from ocsd.config import objects as o
from ocsd.config.addresses import is_sip_uri
from ocsd.config.located import Located, Objects, valid
from ocsd.config.option import OptionValue
from ocsd.model.enums import DialMode

MODES = (DialMode.PREDICTIVE, DialMode.PROGRESSIVE)


def problems(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """A sentence per queue that nobody could be sent to."""
    application = sections.get("application")
    least: Mapping[str, OptionValue] = {}
    if application is not None and isinstance(application.value, o.Application):
        least = application.value.options
    campaigns = {one.name: one.options for _, one in valid(objects, "campaigns", o.Campaign)}
    for located, group in valid(objects, "campaign_groups", o.CampaignGroup):
        options = {**least, **campaigns.get(group.campaign, {}), **group.options}
        how = options.get(opt.DISTRIBUTION.name, opt.AGENTS)
        if how not in (opt.REFER, opt.REINVITE):
            continue
        destination = str(options.get(opt.TRANSFER_DESTINATION.name, ""))
        if not is_sip_uri(destination):
            yield located.problem(
                f"options.{opt.TRANSFER_DESTINATION.name}",
                f"must be the SIP URI of the queue for {opt.DISTRIBUTION.name} {how}, sip:user@host or "
                f"sip:user@host:port, got {destination!r}",
            )
        if group.dial_mode not in MODES:
            yield located.problem(
                "dial_mode",
                f"{opt.DISTRIBUTION.name} {how} is for predictive and progressive mode: the others work with agents, "
                f'or an application, of our own; got "{group.dial_mode.name.lower()}"',
            )
