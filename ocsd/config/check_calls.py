"""Call control: prompts that can be played, numbers that can be dialed, groups that exist."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from ocsd.config import call_options as opt
from ocsd.config import objects as o
from ocsd.config.check_treatments import is_prompt_file
from ocsd.config.located import Located, Objects, reference, repeated, valid
from ocsd.config.option import OptionValue
from telephony.media.prompts import MUSIC, SUFFIXES

DESTINATION: Final = re.compile(r"\+?[0-9]{0,18}\*|\+?[0-9]{2,18}")


def problems(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """A sentence per option or right that could never work."""
    application = sections.get("application")
    if application is not None and isinstance(application.value, o.Application):
        yield from _options(application, application.value.options)
    for kind, model in (
        ("campaigns", o.Campaign),
        ("campaign_groups", o.CampaignGroup),
        ("calling_lists", o.CallingList),
    ):
        for located, one in valid(objects, kind, model):
            yield from _options(located, getattr(one, "options", {}))
    for located, agent in valid(objects, "agents", o.Agent):
        for index, group in enumerate(agent.supervises):
            yield from reference(located, f"supervises[{index}]", group, "agent_groups", objects)
        yield from repeated(located, "supervises", agent.supervises)


def _options(located: Located, options: Mapping[str, OptionValue]) -> Iterable[str]:
    music = options.get(opt.HOLD_MUSIC.name)
    if music and music != MUSIC and not is_prompt_file(str(music)):
        yield located.problem(
            f"options.{opt.HOLD_MUSIC.name}",
            f"must be the name of a {' or '.join(SUFFIXES)} file in the prompt folder, or {MUSIC}, got {music!r}",
        )
    for entry in str(options.get(opt.OUTSIDE_DESTINATIONS.name, "")).split(","):
        if entry.strip() and not DESTINATION.fullmatch(entry.strip()):
            yield located.problem(
                f"options.{opt.OUTSIDE_DESTINATIONS.name}",
                f"must be numbers, or beginnings of numbers with a * behind them, got {entry.strip()!r}",
            )
