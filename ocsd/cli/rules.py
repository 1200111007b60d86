"""``ocsd rules``: presets of legal calling hours and attempt caps, and when a number may be called."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ocsd.cli.errors import EXIT_CODES
from ocsd.cli.output import JSON_OPTION, out, print_json, print_table
from ocsd.model.errors import ConfigError

if TYPE_CHECKING:
    from ocsd.config.objects import CallingList, Configuration
    from ocsd.model.records import CallingRecord
    from ocsd.rules.presets import AttemptCapPreset, CallingHours, Preset, PresetRule
    from ocsd.rules.windows import Span

app = typer.Typer(
    help="Legal calling hours, attempt caps, and when a number may be called.\n\n\b\n"
    'Example:\n  ocsd rules when --list "Example List" --phone +12025550101 --config /etc/ocsd/ocsd.toml',
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config: TypeAlias = Annotated[
    Path, typer.Option("--config", "-c", envvar="OCSD_CONFIG", help="TOML file, or folder of *.toml files.")
]


@app.command("list", epilog=EXIT_CODES)
def list_(as_json: JSON_OPTION = False) -> None:
    """List the presets that calling_hours and attempt_caps of a calling list may name.

    None of them is legal advice: each says where it comes from, and whether the rule's own wording was read.

    \b
    Example:
      ocsd rules list
    """
    from ocsd.rules.presets import all_attempt_caps, all_calling_hours

    hours, caps = all_calling_hours().values(), all_attempt_caps().values()
    if as_json:
        print_json(
            {
                "calling_hours": [_hours_json(preset) for preset in hours],
                "attempt_caps": [_caps_json(preset) for preset in caps],
            }
        )
        return
    both: list[tuple[str, CallingHours | AttemptCapPreset]] = [
        *(("calling_hours", preset) for preset in hours),
        *(("attempt_caps", preset) for preset in caps),
    ]
    rows = [
        (key, preset.id, preset.title, "; ".join(_rules(preset)), preset.source, _date(preset)) for key, preset in both
    ]
    print_table(("key", "id", "title", "rule", "source", "as of"), rows)


@app.command(epilog=EXIT_CODES)
def show(
    preset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a preset.")], as_json: JSON_OPTION = False
) -> None:
    """Show all that is known about a preset.

    \b
    Example:
      ocsd rules show us-fl
    """
    from ocsd.config.options import did_you_mean
    from ocsd.rules.presets import all_attempt_caps, all_calling_hours, preset_ids

    hours, caps = all_calling_hours().get(preset_id), all_attempt_caps().get(preset_id)
    if hours is None and caps is None:
        raise ConfigError([f'no preset is called "{preset_id}"{did_you_mean(preset_id, preset_ids()) or "."}'])
    if as_json:
        print_json(
            {
                "calling_hours": None if hours is None else _hours_json(hours),
                "attempt_caps": None if caps is None else _caps_json(caps),
            }
        )
        return
    rows: list[tuple[object, ...]] = []
    for key, preset in (("calling_hours", hours), ("attempt_caps", caps)):
        if preset is None:
            continue
        rows += [
            (key, preset.id),
            ("title", preset.title),
            ("jurisdiction", preset.jurisdiction),
            ("applies to", preset.scope),
            *(("rule", rule) for rule in _rules(preset)),
            ("source", preset.source),
            ("read at", preset.url),
            ("as of", preset.as_of),
            ("wording read", f"{'yes' if preset.verified else 'no, only summaries'} ({preset.checked})"),
            ("notes", " ".join(preset.notes.split())),
        ]
    print_table(("", preset_id), rows)


@app.command(epilog=EXIT_CODES)
def when(
    config: Config,
    list_name: Annotated[str, typer.Option("--list", "-l", help="Name of a calling list.")],
    phone: Annotated[str, typer.Option("--phone", "-p", help="Number, as a file to be imported would have it.")],
    at: Annotated[
        str | None,
        typer.Option(help="ISO 8601, e.g. 2026-03-08T09:00; without an offset in the number's zone. Default: now."),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option("--time-zone", help="Time zone object; default: as an import would find it.")
    ] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Say whether a number of a calling list may be called at a time, why not, and when next.

    A record with the list's own daily window is assumed. Do-Not-Call and attempt caps are not looked at.

    \b
    Example:
      ocsd rules when --list "Example List" --phone +12025550101 --at 2026-03-08T07:30
    """
    from ocsd.config.loader import load_configuration
    from ocsd.rules.hours import ListHours
    from ocsd.rules.numbers import number_zones

    configuration = load_configuration(config)
    calling_list = _calling_list(configuration, list_name)
    record = _record(configuration, calling_list, phone, time_zone)
    hours = ListHours(configuration, calling_list)
    zone = hours.zone_of(record)
    moment = datetime.now(UTC)
    if at is not None:
        moment = _instant(at)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone or UTC)
    refusal = hours.closed(record, moment)
    opening = hours.opening(record, moment)
    day_range = hours.day_range(record, moment)
    if as_json:
        print_json(
            {
                "calling_list": list_name,
                "phone": record.contact_info,
                "time_zone": None if zone is None else zone.key,
                "number_zones": list(number_zones(record.contact_info)),
                "at": moment.isoformat(),
                "open": refusal is None,
                "why": None if refusal is None else refusal.why,
                "next_opening": None if opening is None else opening.isoformat(),
                "day_range": None if day_range is None else day_range.value,
            }
        )
        return
    local = moment if zone is None else moment.astimezone(zone)
    where = "an unknown zone" if zone is None else zone.key
    out(f"{record.contact_info} at {local:%A %Y-%m-%d %H:%M} in {where}: {'open' if refusal is None else 'closed'}")
    if refusal is not None:
        out(f"because {refusal.why}")
        out("next opening: " + ("none" if opening is None else f"{opening.astimezone(zone):%A %Y-%m-%d %H:%M} there"))
    if day_range is not None:
        out(f"day range: {day_range.value}")


def _calling_list(configuration: "Configuration", name: str) -> "CallingList":
    for calling_list in configuration.calling_lists:
        if calling_list.name == name:
            return calling_list
    known = ", ".join(f'"{calling_list.name}"' for calling_list in configuration.calling_lists) or "none"
    raise ConfigError([f'no calling list is called "{name}"; defined are: {known}.'])


def _record(
    configuration: "Configuration", calling_list: "CallingList", phone: str, time_zone: str | None
) -> "CallingRecord":
    """The record that an import would make of the number."""
    from ocsd.lists.numbers import NumberRefused, normaliser
    from ocsd.lists.rows import RowRefused, ZoneBook
    from ocsd.model.enums import RecordType
    from ocsd.model.records import CallingRecord

    try:
        number = normaliser(calling_list.country)(phone)
    except NumberRefused as error:
        raise typer.BadParameter(str(error), param_hint="--phone") from None
    zones = ZoneBook(configuration, calling_list, datetime.now(UTC))
    try:
        tz_dbid = zones.inferred(number.zones) if time_zone is None else zones.given(time_zone)
    except RowRefused as error:
        if time_zone is not None:
            raise typer.BadParameter(str(error), param_hint="--time-zone") from None
        tz_dbid = (
            0  # such a row is not imported; one that is there all the same is never dialed, and the answer says so
        )
    return CallingRecord(
        list_dbid=calling_list.dbid,
        record_id=0,
        contact_info=number.number,
        contact_info_type=0,
        record_type=RecordType.GENERAL,
        call_result=0,
        attempt=0,
        dial_sched_time=None,
        call_time=None,
        daily_from_s=calling_list.daily_from,
        daily_till_s=calling_list.daily_till,
        tz_dbid=tz_dbid,
        chain_id=0,
        chain_n=0,
    )


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"must be like 2026-03-08T09:00, got {text!r}", param_hint="--at") from None


def _date(preset: "Preset") -> str:
    return f"{preset.as_of}{'' if preset.verified else ' (from summaries)'}"


def _rules(preset: "CallingHours | AttemptCapPreset") -> list[str]:
    from ocsd.rules.presets import CallingHours

    if not isinstance(preset, CallingHours):
        return [_cap(rule) for rule in preset.rules]
    hours = preset.hours
    days = [("Mon-Fri", hours.monday_to_friday), ("Sat", hours.saturday), ("Sun", hours.sunday)]
    if hours.holiday is not None:
        days.append((f"holidays of {preset.holidays}", hours.holiday))
    if hours.holiday_eve is not None:
        days.append(("days before them", hours.holiday_eve))
    if all(spans == days[0][1] for _, spans in days):
        return [f"every day {_spans(days[0][1])}"]
    return [", ".join(f"{name} {_spans(spans)}" for name, spans in days)]


def _cap(rule: "PresetRule") -> str:
    from ocsd.rules.caps import period_in_words

    period = f"{rule.period_days} days" if rule.period_days is not None else period_in_words(rule.period_s)
    about = " about one subject" if rule.subject == "same" else ""
    if rule.after_conversation:
        return f"at most {rule.max_attempts} in {period} per {rule.per}{about}, counting conversations"
    return f"at most {rule.max_attempts} in {period} per {rule.per}{about}"


def _spans(spans: "tuple[Span, ...]") -> str:
    from ocsd.rules.windows import spans_in_words

    return spans_in_words(spans) if spans else "none"


def _hours_json(preset: "CallingHours") -> dict[str, Any]:
    """As in the data file: windows as texts."""
    answer = preset.model_dump(mode="json", exclude={"hours"})
    answer["notes"] = " ".join(preset.notes.split())
    answer["hours"] = {
        kind: None if spans is None else [_spans((span,)) for span in spans] for kind, spans in iter(preset.hours)
    }
    return answer


def _caps_json(preset: "AttemptCapPreset") -> dict[str, Any]:
    answer = preset.model_dump(mode="json")
    answer["notes"] = " ".join(preset.notes.split())
    return answer
