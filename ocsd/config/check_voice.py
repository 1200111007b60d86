"""Voice applications and IVR groups: what a step needs, whether it can be reached and left, who runs them."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ocsd.config import objects as o
from ocsd.config import voice_options as opt
from ocsd.config.addresses import is_host, is_http_url, is_sip_uri
from ocsd.config.check_treatments import is_prompt_file
from ocsd.config.dialog_address import MAX_URI_CHARACTERS, dialog_uri
from ocsd.config.located import Located, Objects, names, reference, repeated, valid
from ocsd.config.voice_objects import (
    DIGIT_FILES,
    DIGITS,
    KEYS,
    Place,
    VoiceApplication,
    VoiceStep,
    spoken_column,
)
from ocsd.model.enums import GVP_MODES, SEIZING_MODES
from telephony.media.prompts import MUSIC, SUFFIXES

FIELDS_OF: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "play": frozenset({"prompts", "barge_in", "next"}),
        "menu": frozenset({"prompts", "barge_in", "choices", "timeout_s", "retries", "no_input", "no_match"})
        | {"otherwise"},
        "record": frozenset({"result", "fields", "do_not_call", "next"}),
        "queue": frozenset({"prompts", "agent_group", "attach", "wait_s", "otherwise"}),
        "transfer": frozenset({"destination", "refer", "otherwise"}),
        "hang_up": frozenset(),
    }
)
NEEDS: Final[Mapping[str, str]] = MappingProxyType({"play": "prompts", "menu": "choices", "transfer": "destination"})
TAKES_TIME: Final = frozenset({"play", "menu", "queue", "transfer"})


def problems(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    """A sentence per fault."""
    for located, application in valid(objects, "voice_applications", VoiceApplication):
        yield from _application(located, application, objects)
    yield from _places(objects)
    yield from _groups(objects, sections)


def prompts(configuration: o.Configuration) -> list[tuple[str, str, str]]:
    """Where each prompt of an application stands, its name, and its language."""
    return [
        (f'voice_applications.steps[{index}] (of "{application.name}")', name, application.language)
        for application in configuration.voice_applications
        for index, step in enumerate(application.steps)
        for prompt in dict.fromkeys((*step.prompts, *step.no_input, *step.no_match))
        for name in (DIGIT_FILES if spoken_column(prompt) is not None else (prompt,))
    ]


def _application(located: Located, application: VoiceApplication, objects: Objects) -> Iterable[str]:
    if bool(application.steps) == application.is_vxml:
        yield located.problem("", "needs either steps or url (a VoiceXML document)")
    if application.is_vxml:
        if not is_http_url(application.url):
            yield located.problem("url", "must be an http or https address")
        host, _, port = application.media_server.removeprefix("sip:").rpartition(":")
        if not application.media_server.startswith("sip:") or not is_host(host) or not port.isdigit():
            yield located.problem("media_server", f"must be sip:host:port, got {application.media_server!r}")
        characters = len(dialog_uri(application.media_server, application.url, ()))
        if characters > MAX_URI_CHARACTERS:
            yield located.problem(
                "url",
                f"makes a SIP address of {characters} characters with the media server, {MAX_URI_CHARACTERS} at most "
                "can be dialed",
            )
        for name in application.parameters:
            if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
                yield located.problem(f"parameters.{name}", "must have a name of letters, digits, - and _")
        return
    for key in ("media_server", "parameters"):
        if getattr(application, key):
            yield located.problem(key, "is for VoiceXML applications, which have a url")
    yield from _steps(located, application.steps, objects)


def _steps(located: Located, steps: Sequence[VoiceStep], objects: Objects) -> Iterable[str]:
    known = [step.name for step in steps if step.name]
    yield from repeated(located, "steps", known)
    for index, step in enumerate(steps):
        key = f"steps[{index}]"
        yield from _fields(located, key, step)
        for field, target in targets(step):
            if target not in known:
                yield located.problem(f"{key}.{field}", f'no step of this application is called "{target}"')
        for field in ("prompts", "no_input", "no_match"):
            for prompt in getattr(step, field):
                if prompt != MUSIC and not is_prompt_file(prompt) and not spoken_column(prompt):
                    yield located.problem(
                        f"{key}.{field}",
                        f"must be names of {' or '.join(SUFFIXES)} files, or {DIGITS}COLUMN, got {prompt!r}",
                    )
        for digit in step.choices:
            if len(digit) != 1 or digit not in KEYS:
                yield located.problem(f"{key}.choices", f"must be keys of a telephone, {KEYS}, got {digit!r}")
        if step.agent_group:
            yield from reference(located, f"{key}.agent_group", step.agent_group, "agent_groups", objects)
        where = step.destination
        if where and not is_sip_uri(where) and not where.lstrip("+").isdigit():
            yield located.problem(f"{key}.destination", f"must be a SIP URI or digits, got {where!r}")
        for attached in step.attach:
            if attached.upper().startswith("GSW_"):
                yield located.problem(f"{key}.attach", f'"{attached}" is reserved, as all keys that begin with GSW_')
    yield from _walk(located, steps)


def _fields(located: Located, key: str, step: VoiceStep) -> Iterable[str]:
    given = step.model_fields_set - {"do", "name"}
    for field in sorted(given - FIELDS_OF[step.do]):
        yield located.problem(f"{key}.{field}", f'is not for "{step.do}"')
    needed = NEEDS.get(step.do)
    if needed and not getattr(step, needed):
        yield located.problem(f"{key}.{needed}", f'is required for "{step.do}"')
    if step.do == "record" and step.result is None and not step.fields and not step.do_not_call:
        yield located.problem(key, "records nothing: result, fields or do_not_call is required")


def targets(step: VoiceStep) -> list[tuple[str, str]]:
    """Where a step leads by name, with the key that says so."""
    found = [("next", step.next), ("otherwise", step.otherwise)]
    found += [(f"choices.{digit}", target) for digit, target in step.choices.items()]
    return [(key, target) for key, target in found if target]


def follow(steps: Sequence[VoiceStep], index: int) -> set[int]:
    """Steps that may come after a step; beyond the last one: the end of the call."""
    place = {step.name: number for number, step in enumerate(steps) if step.name}
    step = steps[index]
    found = {place[target] for _, target in targets(step) if target in place}
    goes_on = step.do in ("play", "record") and not step.next
    given_up = step.do in ("menu", "queue", "transfer") and not step.otherwise
    if goes_on or given_up:
        found.add(index + 1)
    return found


def _walk(located: Located, steps: Sequence[VoiceStep]) -> Iterable[str]:
    """Every step can be reached, and no circle of steps takes no time."""
    reached, waiting = {0}, [0]
    while waiting:
        for after in follow(steps, waiting.pop()) - reached:
            if after < len(steps):
                reached.add(after)
                waiting.append(after)
    for index, step in enumerate(steps):
        if index not in reached:
            yield located.problem(f"steps[{index}]", f'"{step.do}" is never reached')
    for index, step in enumerate(steps):
        if step.do not in TAKES_TIME and _circles(steps, index):
            yield located.problem(f"steps[{index}]", "leads back to itself without a step that takes time")
            return


def _circles(steps: Sequence[VoiceStep], start: int) -> bool:
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        for after in follow(steps, waiting.pop()):
            if after == start:
                return True
            if after < len(steps) and after not in seen and steps[after].do not in TAKES_TIME:
                seen.add(after)
                waiting.append(after)
    return False


def _places(objects: Objects) -> Iterable[str]:
    logins = set(names(objects, "agents"))
    for located, place in valid(objects, "places", Place):
        if not is_sip_uri(place.dn):
            yield located.problem("dn", f"must be a SIP URI, sip:user@host or sip:user@host:port, got {place.dn!r}")
        if place.name in logins:
            yield located.problem("name", f'"{place.name}" is the login ID of an agent; it must be another one')
    for located, group in valid(objects, "agent_groups", o.AgentGroup):
        for index, name in enumerate(group.places):
            yield from reference(located, f"places[{index}]", name, "places", objects)
        yield from repeated(located, "places", group.places)
        if group.ivr_group and group.agents:
            yield located.problem("agents", "must be empty: an IVR group (ivr_group) is a group of places")
        if group.ivr_group and not group.places:
            yield located.problem("places", "must name the places of an IVR group (ivr_group)")
        if group.places and not group.ivr_group:
            yield located.problem("ivr_group", "must be true for a group of places: nobody logs in at them")


def _groups(objects: Objects, sections: Mapping[str, Located]) -> Iterable[str]:
    applications = {one.name: one for _, one in valid(objects, "voice_applications", VoiceApplication)}
    groups = {one.name: one for _, one in valid(objects, "agent_groups", o.AgentGroup)}
    campaigns = {one.name: (at, one) for at, one in valid(objects, "campaigns", o.Campaign)}
    application = sections.get("application")
    ours = application.value if application is not None else None
    for located, group in valid(objects, "campaign_groups", o.CampaignGroup):
        holders: list[tuple[Located, o.OptionMap]] = [(located, group.options)]
        if group.campaign in campaigns:
            holders.append((campaigns[group.campaign][0], campaigns[group.campaign][1].options))
        if application is not None and isinstance(ours, o.Application):
            holders.append((application, ours.options))
        option = opt.VOICE_APPLICATION.name
        holder = next((each for each in holders if option in each[1]), None)
        name = str(holder[1][option]) if holder is not None else ""
        agents = groups.get(group.group)
        ivr = agents is not None and agents.ivr_group
        if group.dial_mode in GVP_MODES and not name and not ivr:
            yield located.problem("dial_mode", f'"{group.dial_mode.name.lower()}" needs option {option}')
        if group.dial_mode in SEIZING_MODES and ivr:
            yield located.problem("group", f'"{group.group}" is an IVR group, which seizing (ASM) modes do not support')
        if holder is not None and name and name not in names(objects, "voice_applications"):
            yield from reference(holder[0], f"options.{option}", name, "voice_applications", objects)
        if name in applications and group.campaign in campaigns:
            yield from _columns(located, applications[name], campaigns[group.campaign][1], objects)


def _columns(located: Located, application: VoiceApplication, campaign: o.Campaign, objects: Objects) -> Iterable[str]:
    """User columns that the application names, in every list of the campaign."""
    wanted = {field for step in application.steps for field in step.fields} | {application.language_field} - {""}
    for step in application.steps:
        wanted |= {spoken_column(prompt) or "" for prompt in (*step.prompts, *step.no_input, *step.no_match)} - {""}
    lists = {one.name: one.table_access for _, one in valid(objects, "calling_lists", o.CallingList)}
    formats = {one.name: one.format for _, one in valid(objects, "table_accesses", o.TableAccess)}
    columns = {one.name: {field.name for field in one.fields} for _, one in valid(objects, "formats", o.Format)}
    for entry in campaign.lists:
        known = columns.get(formats.get(lists.get(entry.calling_list, ""), ""))
        missing = ", ".join(f'"{name}"' for name in sorted(wanted - known)) if known is not None else ""
        if missing:
            yield located.problem(
                "options", f'calling list "{entry.calling_list}" lacks {missing}, used by "{application.name}"'
            )
