"""What one object cannot know of another: unique names, references, shared tables, ranges that span keys.

Pure: located objects in, sentences out. Treatments, rules of time, attempt caps and pre-dial validation have
modules of their own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ocsd.config import (
    check_analysis,
    check_calls,
    check_media,
    check_pacing,
    check_rules,
    check_seizing,
    check_treatments,
    check_trunks,
    check_validation,
    check_voice,
)
from ocsd.config import objects as o
from ocsd.config.addresses import is_sip_uri
from ocsd.config.located import Located, Objects, names, reference, repeated, valid
from ocsd.model.columns import MANDATORY_NAMES
from ocsd.model.enums import DialMode, OptimizeBy

POSTGRES_SYSTEM_COLUMNS: Final = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""Names that no column may have (PostgreSQL manual, "System Columns")."""

SUPPORTED_DIAL_MODES: Final = (
    DialMode.PREDICTIVE,
    DialMode.PROGRESSIVE,
    DialMode.PROGRESSIVE_AND_SEIZE,
    DialMode.PREDICTIVE_AND_SEIZE,
    DialMode.PROGRESSIVE_GVP,
    DialMode.POWER_GVP,
)
MAX_LOGIN_ID_CHARACTERS: Final = 32
"""Width of the mandatory column ``agent_id``."""
SECONDS_PER_DAY: Final = 86_400
FIRST_APPLICATION_DBID: Final = 101
"""Manual, GSW_APPLICATION_ID: "Valid values begin at 101"."""


def problems(objects: Objects, sections: Mapping[str, Located]) -> list[str]:
    """Every problem between objects, one sentence each."""
    return [
        *_duplicates(objects),
        *_sections(sections),
        *check_trunks.problems(objects),
        *_agents(objects),
        *_formats(objects),
        *_tables(objects),
        *_calling_lists(objects),
        *check_treatments.problems(objects),
        *check_rules.problems(objects),
        *_campaigns(objects),
        *_campaign_groups(objects),
        *check_validation.problems(objects, sections),
        *check_pacing.problems(objects, sections),
        *check_analysis.problems(objects, sections),
        *check_calls.problems(objects, sections),
        *check_seizing.problems(objects, sections),
        *check_media.problems(objects, sections),
        *check_voice.problems(objects, sections),
    ]


def _duplicates(objects: Objects) -> Iterable[str]:
    for kind, rows in objects.items():
        for key in ("dbid", "login_id" if kind == "agents" else "name"):
            first: dict[object, str] = {}
            for located in rows:
                value = located.raw.get(key)
                if not isinstance(value, (int, str)) or isinstance(value, bool):
                    continue  # missing or of the wrong type: reported by the object's own validation
                if value in first:
                    yield located.problem(key, f"{value!r} is taken by {first[value]}; it must be unique")
                else:
                    first[value] = located.where


def _sections(sections: Mapping[str, Located]) -> Iterable[str]:
    http, desktop = sections.get("http"), sections.get("desktop")
    http_value = http.value if http else o.HttpListener()
    desktop_value = desktop.value if desktop else o.DesktopListener()
    if isinstance(http_value, o.HttpListener) and isinstance(desktop_value, o.DesktopListener):
        same = (http_value.host, http_value.port) == (desktop_value.host, desktop_value.port)
        located = desktop or http
        if same and http_value.port and located:
            yield located.problem("port", f"http and desktop both listen on {http_value.host} port {http_value.port}")
    application = sections.get("application")
    if application and isinstance(application.value, o.Application) and application.value.dbid < FIRST_APPLICATION_DBID:
        yield application.problem("dbid", f"must be at least {FIRST_APPLICATION_DBID}, got {application.value.dbid}")
    telephony = sections.get("telephony")
    if telephony and isinstance(telephony.value, o.Telephony):
        yield from _port_range(telephony, telephony.value)


def _port_range(located: Located, telephony: o.Telephony) -> Iterable[str]:
    pairs = (telephony.rtp_port_last - telephony.rtp_port_first + 1) // 2
    if telephony.rtp_port_last <= telephony.rtp_port_first:
        yield located.problem("rtp_port_last", f"must be above rtp_port_first ({telephony.rtp_port_first})")
    elif pairs < telephony.max_legs:
        yield located.problem(
            "rtp_port_last",
            f"ports {telephony.rtp_port_first} to {telephony.rtp_port_last} serve {pairs} legs (RTP and RTCP each), "
            f"max_legs is {telephony.max_legs}",
        )
    elif telephony.media_servers * min(telephony.media_capacity, pairs // telephony.media_servers) < telephony.max_legs:
        yield located.problem(
            "media_servers",
            f"{telephony.media_servers} of {telephony.media_capacity} channels (media_capacity), within {pairs} pairs "
            f"of RTP ports, are too few for max_legs, {telephony.max_legs}",
        )


def _agents(objects: Objects) -> Iterable[str]:
    for located, agent in valid(objects, "agents", o.Agent):
        if not is_sip_uri(agent.dn):
            yield located.problem("dn", f"must be a SIP URI, sip:user@host or sip:user@host:port, got {agent.dn!r}")
        if len(agent.login_id) > MAX_LOGIN_ID_CHARACTERS:
            yield located.problem(
                "login_id", f"must have at most {MAX_LOGIN_ID_CHARACTERS} characters (column agent_id)"
            )
    for located, group in valid(objects, "agent_groups", o.AgentGroup):
        for index, login_id in enumerate(group.agents):
            yield from reference(located, f"agents[{index}]", login_id, "agents", objects)
        yield from repeated(located, "agents", group.agents)


def _formats(objects: Objects) -> Iterable[str]:
    for located, form in valid(objects, "formats", o.Format):
        yield from repeated(located, "fields", [field.name for field in form.fields])
        yield from repeated(located, "fields", [field.send_attribute for field in form.fields if field.send_attribute])
        for index, field in enumerate(form.fields):
            key = f"fields[{index}]"
            if field.name in MANDATORY_NAMES:
                yield located.problem(
                    f"{key}.name", f'"{field.name}" is one of the 23 mandatory columns, which every list has anyway'
                )
            if field.name in POSTGRES_SYSTEM_COLUMNS:
                yield located.problem(f"{key}.name", f'"{field.name}" is a system column of PostgreSQL')
            if field.send_attribute.upper().startswith("GSW_"):
                yield located.problem(
                    f"{key}.send_attribute",
                    f'"{field.send_attribute}" is reserved: keys that begin with GSW_ belong to the protocol, and the '
                    "mandatory fields are attached under theirs anyway",
                )


def _tables(objects: Objects) -> Iterable[str]:
    format_of: dict[str, tuple[str, str]] = {}
    for located, access in valid(objects, "table_accesses", o.TableAccess):
        yield from reference(located, "format", access.format, "formats", objects)
        other, form = format_of.setdefault(access.table, (access.name, access.format))
        if form != access.format:
            yield located.problem("format", f'table {access.table} has format "{form}" by table access "{other}"')


def _calling_lists(objects: Objects) -> Iterable[str]:
    tables = {access.name: access.table for _, access in valid(objects, "table_accesses", o.TableAccess)}
    criteria = {found.name: found.criteria.strip() for _, found in valid(objects, "filters", o.Filter)}
    lists = valid(objects, "calling_lists", o.CallingList)
    for located, calling_list in lists:
        yield from reference(located, "table_access", calling_list.table_access, "table_accesses", objects)
        if calling_list.filter:
            yield from reference(located, "filter", calling_list.filter, "filters", objects)
        if calling_list.time_zone:
            yield from reference(located, "time_zone", calling_list.time_zone, "time_zones", objects)
        window = calling_list.daily_from, calling_list.daily_till
        if window[0] == window[1] or window == (SECONDS_PER_DAY, 0):
            # A window may pass midnight (22:00 to 06:00); what never opens is a slip of the pen.
            yield located.problem(
                "daily_till", f"must differ from daily_from: a window from {window[0]} s to {window[1]} s never opens"
            )
    yield from _shared_tables(lists, tables, criteria)


def _shared_tables(
    lists: Sequence[tuple[Located, o.CallingList]], tables: Mapping[str, str], criteria: Mapping[str, str]
) -> Iterable[str]:
    """Lists that share a table need filters that tell their rows apart: a row taken by two lists is dialed twice."""
    sharing = Counter(tables.get(calling_list.table_access) for _, calling_list in lists)
    used_by: dict[tuple[str, str], str] = {}
    for located, calling_list in lists:
        table = tables.get(calling_list.table_access)
        if table is None or sharing[table] < 2:
            continue
        shared = f"table {table} is shared by {sharing[table]} lists"
        if not calling_list.filter:
            yield located.problem("filter", f"is required: {shared}, so each needs its own filter")
        elif calling_list.filter in criteria:  # else the reference itself is wrong, and reported
            wanted = criteria[calling_list.filter]
            other = used_by.setdefault((table, wanted), calling_list.name)
            if not wanted:
                yield located.problem("filter", f'{shared}, and filter "{calling_list.filter}" has no criteria')
            elif other != calling_list.name:
                yield located.problem("filter", f'{shared}, and calling list "{other}" takes the same rows of it')


def _campaigns(objects: Objects) -> Iterable[str]:
    for located, campaign in valid(objects, "campaigns", o.Campaign):
        yield from reference(located, "tenant", campaign.tenant, "tenants", objects)
        for index, entry in enumerate(campaign.lists):
            yield from reference(located, f"lists[{index}].calling_list", entry.calling_list, "calling_lists", objects)
        yield from repeated(located, "lists", [entry.calling_list for entry in campaign.lists])


def _campaign_groups(objects: Objects) -> Iterable[str]:
    tenants = set(names(objects, "tenants"))  # others are reported where they are named
    campaigns, trunks = valid(objects, "campaigns", o.Campaign), valid(objects, "trunks", o.Trunk)
    tenant_of_campaign = {found.name: found.tenant for _, found in campaigns if found.tenant in tenants}
    tenant_of_trunk = {found.name: found.tenant for _, found in trunks if found.tenant in tenants}
    pairs: dict[tuple[str, str], str] = {}
    for located, group in valid(objects, "campaign_groups", o.CampaignGroup):
        yield from reference(located, "campaign", group.campaign, "campaigns", objects)
        yield from reference(located, "group", group.group, "agent_groups", objects)
        if not group.trunks:
            yield located.problem("trunks", "must name at least one trunk")
        yield from repeated(located, "trunks", group.trunks)
        for index, trunk in enumerate(group.trunks):
            yield from reference(located, f"trunks[{index}]", trunk, "trunks", objects)
            tenant = tenant_of_campaign.get(group.campaign)
            if tenant and tenant_of_trunk.get(trunk, tenant) != tenant:
                yield located.problem(
                    f"trunks[{index}]", f'trunk "{trunk}" belongs to another tenant than campaign "{group.campaign}"'
                )
        other = pairs.setdefault((group.campaign, group.group), group.name)
        if other != group.name:
            yield located.problem(
                "group", f'campaign "{group.campaign}" and group "{group.group}" are joined by "{other}" already'
            )
        yield from _dialing(located, group)


def _dialing(located: Located, group: o.CampaignGroup) -> Iterable[str]:
    if group.dial_mode not in SUPPORTED_DIAL_MODES:
        known = ", ".join(f'"{mode.name.lower()}" ({mode.value})' for mode in SUPPORTED_DIAL_MODES)
        yield located.problem(
            "dial_mode", f'"{group.dial_mode.name.lower()}" is not supported by this version; supported: {known}'
        )
    if group.optimize_by is OptimizeBy.WAIT_TIME:
        if group.optimize_goal < 1:
            yield located.problem("optimize_goal", "must be at least 1 second for wait_time, got 0")
    elif not 1 <= group.optimize_goal <= 100:
        goal = group.optimize_by.name.lower()
        yield located.problem("optimize_goal", f"must be 1 to 100 percent for {goal}, got {group.optimize_goal}")
    if group.opt_rec_buff_size <= group.min_rec_buff_size:
        yield located.problem(
            "opt_rec_buff_size",
            f"must be greater than min_rec_buff_size ({group.min_rec_buff_size}), got {group.opt_rec_buff_size}",
        )
