"""Trunks, caller ID sets, and the options that name them. Pure: located objects in, sentences out."""

import re
from collections.abc import Iterable
from typing import Final

from ocsd.config import objects as o
from ocsd.config.addresses import is_host
from ocsd.config.analysis import DIALED
from ocsd.config.header_templates import template_fault
from ocsd.config.located import Located, Objects, names, reference, repeated, valid
from ocsd.config.trunk_options import CALLER_ID_SETS
from telephony.cpa import tone_plan

DIGITS: Final = re.compile(r"(\+?[0-9]{1,30})?")
PREFIX: Final = re.compile(r"\+?[0-9*#]{0,20}")
NO_IPV6: Final = "SIP over IPv6 is not supported"
"""By the workers' transports; a call would fail for each record."""
HOST_PORT: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]+)(:(?P<port>[0-9]{1,5}))?")


def problems(objects: Objects) -> Iterable[str]:
    """Every problem, one sentence each."""
    for located, trunk in valid(objects, "trunks", o.Trunk):
        yield from _trunk(located, trunk, objects)
    known = names(objects, "caller_id_sets")
    for located, one in valid(objects, "caller_id_sets", o.CallerIdSet):
        yield from repeated(located, "numbers", [number.removeprefix("+") for number in one.numbers])
        if "," in one.name:
            yield located.problem("name", f"must be without commas, for caller-id-sets to name it, got {one.name!r}")
    for located, group in valid(objects, "campaign_groups", o.CampaignGroup):
        named = [name.strip() for name in str(group.options.get(CALLER_ID_SETS.name, "")).split(",")]
        for name in named:
            if name and name not in known:
                choices = ", ".join(sorted(known)) or "none is configured"
                yield located.problem(
                    f"options.{CALLER_ID_SETS.name}", f'there is no caller ID set "{name}"; known: {choices}'
                )


def _trunk(located: Located, trunk: o.Trunk, objects: Objects) -> Iterable[str]:
    yield from reference(located, "tenant", trunk.tenant, "tenants", objects)
    if not is_host(trunk.host):
        yield located.problem("host", f"must be a host name or an IP address, got {trunk.host!r}")
    elif ":" in trunk.host:
        yield located.problem("host", f"must be a host name or an IPv4 address: {NO_IPV6}, got {trunk.host!r}")
    if trunk.port == 0:
        yield located.problem("port", "must be a port from 1 to 65535, got 0")
    by_number = trunk.tone_plan == DIALED
    try:
        tone_plan(trunk.country if by_number else trunk.tone_plan)
    except ValueError as error:
        yield located.problem("country" if by_number else "tone_plan", str(error))
    if not DIGITS.fullmatch(trunk.caller_id):
        yield located.problem("caller_id", "must be digits, with or without a leading +")
    if not PREFIX.fullmatch(trunk.dial_prefix):
        yield located.problem("dial_prefix", "must be at most 20 digits, * or #, with or without a leading +")
    if trunk.dial_prefix.startswith("+") and trunk.number_format == "e164":
        yield located.problem("dial_prefix", "must be without +: number_format e164 begins with one")
    if trunk.password and not trunk.username:
        yield located.problem("username", "is required where a password is given")
    if trunk.registrar:
        found = HOST_PORT.fullmatch(trunk.registrar)
        if not found or not is_host(found["host"].strip("[]")) or not 0 < int(found["port"] or 5060) < 65536:
            yield located.problem("registrar", f"must be host or host:port, got {trunk.registrar!r}")
        elif ":" in found["host"]:
            yield located.problem("registrar", f"must be a host name or an IPv4 address: {NO_IPV6}")
        if not trunk.username:
            yield located.problem("username", "is required where a registrar is given")
    for name, template in trunk.headers.items():
        if (fault := template_fault(name, template)) is not None:
            yield located.problem(f"headers.{name}", fault)
