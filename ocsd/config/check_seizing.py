"""Seized agents: options that need each other, prompts that can be played, phones that can be reached."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from ocsd.config import objects as o
from ocsd.config import seizing_options as opt
from ocsd.config.addresses import is_host
from ocsd.config.check_treatments import is_prompt_file
from ocsd.config.located import Located, Objects, valid
from ocsd.config.option import Option, OptionValue
from telephony.media.prompts import DROP, SUFFIXES, TONE

PROMPT_OPTIONS: Final = (opt.ENGAGED_PROMPT, opt.ASM_DROP_ANNOUNCEMENT_DATA, opt.ASM_DROP_AM_ANNOUNCEMENT_DATA)

Holder: TypeAlias = tuple[Located, Mapping[str, OptionValue]]


def problems(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """A sentence per option or phone that could never work."""
    holders = _holders(objects, sections)
    for located, options in holders:
        for option in PROMPT_OPTIONS:
            yield from _prompt(located, options, option)
    yield from _assured(objects, sections)
    for located, agent in valid(objects, "agents", o.Agent):
        yield from _phone(located, agent.phone)


def prompts(configuration: o.Configuration) -> list[tuple[str, str]]:
    """Where each prompt stands that an option names, and its name."""
    levels: list[tuple[str, Mapping[str, OptionValue]]] = [("application", configuration.application.options)]
    levels += [(f'campaigns (of "{one.name}")', one.options) for one in configuration.campaigns]
    levels += [(f'campaign_groups (of "{one.name}")', one.options) for one in configuration.campaign_groups]
    return [
        (f"{where}, option {option.name}", str(options[option.name]))
        for where, options in levels
        for option in PROMPT_OPTIONS
        if options.get(option.name)
    ]


def _holders(objects: Objects, sections: Mapping[str, Located]) -> list[Holder]:
    return [
        *_application(sections),
        *((located, one.options) for located, one in valid(objects, "campaigns", o.Campaign)),
        *((located, one.options) for located, one in valid(objects, "campaign_groups", o.CampaignGroup)),
    ]


def _application(sections: Mapping[str, Located]) -> list[Holder]:
    application = sections.get("application")
    if application is None or not isinstance(application.value, o.Application):
        return []
    return [(application, application.value.options)]


def _prompt(located: Located, options: Mapping[str, OptionValue], option: Option[str]) -> Iterable[str]:
    name = str(options.get(option.name, ""))
    if name and name not in (DROP, TONE) and not is_prompt_file(name):
        yield located.problem(
            f"options.{option.name}",
            f"must be the name of a {' or '.join(SUFFIXES)} file in the prompt folder, or {DROP} or {TONE}, "
            f"got {name!r}",
        )


def _assured(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """Where assured connections are on, every list needs the column that flags its records."""
    lists = {one.name: (located, one) for located, one in valid(objects, "calling_lists", o.CallingList)}
    campaigns = {one.name: (located, one) for located, one in valid(objects, "campaigns", o.Campaign)}
    accesses = {one.name: one.format for _, one in valid(objects, "table_accesses", o.TableAccess)}
    columns = {one.name: {field.name for field in one.fields} for _, one in valid(objects, "formats", o.Format)}
    told: set[tuple[str, str]] = set()
    for located, group in valid(objects, "campaign_groups", o.CampaignGroup):
        if group.campaign not in campaigns:
            continue  # reported where it is named
        where, campaign = campaigns[group.campaign]
        for entry in campaign.lists:
            if entry.calling_list not in lists:
                continue
            at, calling_list = lists[entry.calling_list]
            holders = [
                (at, calling_list.options),
                (located, group.options),
                (where, campaign.options),
                *_application(sections),
            ]
            on = _holder(holders, opt.ASSURED_CONNECT.name)
            if on is None or not opt.ASSURED_CONNECT.parse(on[1][opt.ASSURED_CONNECT.name]):
                continue
            named = _holder(holders, opt.ASSURED_CONNECT_FIELD.name)
            column = str(named[1][opt.ASSURED_CONNECT_FIELD.name]) if named is not None else ""
            known = columns.get(accesses.get(calling_list.table_access, ""))
            if not column:
                fault = on[0], opt.ASSURED_CONNECT.name, f"needs {opt.ASSURED_CONNECT_FIELD.name}"
            elif known is not None and column not in known and named is not None:
                fault = named[0], opt.ASSURED_CONNECT_FIELD.name, f'the table has no user column "{column}"'
            else:
                continue
            holder, option, why = fault
            if (holder.where, option) not in told:
                told.add((holder.where, option))
                yield holder.problem(
                    f"options.{option}", f'{why} (calling list "{calling_list.name}", campaign group "{group.name}")'
                )


def _holder(holders: Sequence[Holder], option: str) -> Holder | None:
    """The most specific object that has the option."""
    return next((holder for holder in holders if option in holder[1]), None)


def _phone(located: Located, phone: o.Phone) -> Iterable[str]:
    if phone.proxy:
        host, colon, port = phone.proxy.rpartition(":") if not phone.proxy.endswith("]") else (phone.proxy, "", "")
        host = host if colon else phone.proxy
        fits = not colon or (port.isdigit() and 0 < int(port) < 65536)
        if not fits or not is_host(host.strip("[]")):
            yield located.problem("phone.proxy", f"must be host or host:port, got {phone.proxy!r}")
    if phone.password and not phone.username:
        yield located.problem("phone.username", "is required with a password")
