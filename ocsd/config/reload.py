"""Which parts of a changed configuration a running daemon takes over, and which wait for a restart. Pure.

Taken over: options at every level; everything of trunks but tenant, transport and country; caller ID sets;
ports and buffer sizes of campaign groups; what calling lists may dial and when, and their treatments; shares and lists
of campaigns; descriptions; filters, treatments, statistical days and tables, attempt caps and voice applications, new
and removed ones too, since nothing runs in them. Waiting for a restart: listeners, folders, database and telephony,
and every other object that appears, disappears or changes what it is made of.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from pydantic import BaseModel

from ocsd.config.objects import CallingList, Campaign, CampaignList, Configuration, StatTable

B = TypeVar("B", bound=BaseModel)

FIXED_SECTIONS: Final = ("data_dir", "http", "desktop", "database", "telephony")

LIVE_FIELDS: Final = {
    "application": frozenset({"options"}),
    "tenants": frozenset[str](),
    "trunks": frozenset(
        {
            "host",
            "port",
            "username",
            "password",
            "caller_id",
            "dial_prefix",
            "max_calls",
            "calls_per_second",
            "tone_plan",
            "priority",
            "weight",
            "number_format",
            "caller_id_format",
            "identity",
            "headers",
            "redirects",
            "registrar",
            "registration_s",
            "probe_interval_s",
            "session_expires_s",
            "options",
        }
    ),
    "time_zones": frozenset[str](),
    "agents": frozenset({"name"}),
    "agent_groups": frozenset[str](),
    "places": frozenset[str](),
    "formats": frozenset[str](),
    "table_accesses": frozenset[str](),
    "calling_lists": frozenset(
        {
            "filter",
            "daily_from",
            "daily_till",
            "max_attempts",
            "treatments",
            "disposition_field",
            "customer_id_field",
            "subject_field",
            "calling_hours",
            "attempt_caps",
            "strictest_zone",
            "holiday_table",
            "weekday_table",
            "options",
        }
    ),
    "campaigns": frozenset({"description", "lists", "options"}),
    "campaign_groups": frozenset(
        {"description", "num_of_channels", "min_rec_buff_size", "opt_rec_buff_size", "options"}
    ),
}
"""Fields that may change while the daemon runs, by section."""

PLAIN_SECTIONS: Final = (
    "filters",
    "treatments",
    "stat_days",
    "stat_tables",
    "attempt_caps",
    "voice_applications",
    "caller_id_sets",
)
"""Objects that only others look into; taken over as a whole."""

COLUMN_FIELDS: Final = ("disposition_field", "customer_id_field", "subject_field")
NEED_COLUMNS: Final = frozenset({*COLUMN_FIELDS, "treatments", "attempt_caps"})
"""Fields of a list that name columns, and those that may need such a column: they change together."""


def merge(running: Configuration, read: Configuration) -> tuple[Configuration, list[str]]:
    """
    Return the configuration to run with from now on, and a sentence for each change that needs a restart.

    ``read`` is valid in itself; what cannot be taken over keeps its running value, and so does what that refers to.
    """
    waiting = [
        f"{section}: the change takes effect after a restart"
        for section in FIXED_SECTIONS
        if getattr(running, section) != getattr(read, section)
    ]
    taken: dict[str, object] = {}
    taken["application"] = _take(
        "application", running.application, read.application, LIVE_FIELDS["application"], waiting
    )
    lists = tuple(_merged_lists(running, read, waiting))
    taken["calling_lists"] = lists
    taken["campaigns"] = tuple(_merged_campaigns(running, read, lists, waiting))
    for section, live in LIVE_FIELDS.items():
        if section not in taken:
            taken[section] = _take_all(section, getattr(running, section), getattr(read, section), live, waiting)
    return running.model_copy(update=taken | _plain(running, read, lists, waiting)), waiting


def _merged_lists(running: Configuration, read: Configuration, waiting: list[str]) -> Iterable[CallingList]:
    live = LIVE_FIELDS["calling_lists"]
    for one, new in _pairs("calling_lists", running.calling_lists, read.calling_lists, waiting):
        if new is None:
            yield one
            continue
        columns = {field.name for field in running.format_of_list(one).fields}
        named = {getattr(new, key) for key in COLUMN_FIELDS} - {""}
        fits = named <= columns  # else the table lacks a column until a restart
        yield _take(f"calling_lists {one.dbid}", one, new, live if fits else live - NEED_COLUMNS, waiting)


def _merged_campaigns(
    running: Configuration, read: Configuration, lists: Sequence[CallingList], waiting: list[str]
) -> Iterable[Campaign]:
    name_of = {found.dbid: found.name for found in lists}
    dbid_of = {found.name: found.dbid for found in read.calling_lists}
    for one, new in _pairs("campaigns", running.campaigns, read.campaigns, waiting):
        if new is None:
            yield one
            continue
        entries: list[CampaignList] = []
        for entry in new.lists:
            # A list that has been given another name keeps its old one until a restart.
            name = name_of.get(dbid_of[entry.calling_list])
            if name is None:
                waiting.append(f'campaigns {one.dbid}: calling list "{entry.calling_list}" is used after a restart')
            else:
                entries.append(entry.model_copy(update={"calling_list": name}))
        new = new.model_copy(update={"lists": tuple(entries)})
        yield _take(f"campaigns {one.dbid}", one, new, LIVE_FIELDS["campaigns"], waiting)


def _plain(
    running: Configuration, read: Configuration, lists: Sequence[CallingList], waiting: list[str]
) -> dict[str, object]:
    """The plain sections as read, and what is gone but still needed by lists that stay until a restart."""
    needed = {
        "filters": {found.filter for found in lists},
        "treatments": {name for found in lists for name in found.treatments},
        "stat_tables": {name for found in lists for name in (found.holiday_table, found.weekday_table)},
        "attempt_caps": {name for found in lists for name in found.attempt_caps},
        "voice_applications": set[str](),
        "caller_id_sets": set[str](),
    }
    taken: dict[str, object] = {}
    for section in ("filters", "treatments", "stat_tables", "attempt_caps", "voice_applications", "caller_id_sets"):
        taken[section] = _as_read(section, running, read, needed[section], waiting)
    tables: tuple[StatTable, ...] = taken["stat_tables"]  # type: ignore[assignment]
    taken["stat_days"] = _as_read(
        "stat_days", running, read, {name for table in tables for name in table.days}, waiting
    )
    return taken


def _as_read(
    section: str, running: Configuration, read: Configuration, needed: set[str], waiting: list[str]
) -> tuple[BaseModel, ...]:
    known = {found.name for found in getattr(read, section)}
    kept = [found for found in getattr(running, section) if found.name in needed - known]
    waiting += [f'{section}: "{found.name}" is gone, it is used until a restart' for found in kept]
    return (*getattr(read, section), *kept)


def _take_all(
    section: str, running: Sequence[B], read: Sequence[B], live: frozenset[str], waiting: list[str]
) -> tuple[B, ...]:
    return tuple(
        one if new is None else _take(f"{section} {_dbid(one)}", one, new, live, waiting)
        for one, new in _pairs(section, running, read, waiting)
    )


def _pairs(section: str, running: Sequence[B], read: Sequence[B], waiting: list[str]) -> Iterable[tuple[B, B | None]]:
    """Each running object with what has been read under its DBID; new and gone ones wait for a restart."""
    found = {_dbid(item): item for item in read}
    known = {_dbid(item) for item in running}
    waiting += [f"{section}: DBID {dbid} is new, it is used after a restart" for dbid in found if dbid not in known]
    for item in running:
        if _dbid(item) not in found:
            waiting.append(f"{section}: DBID {_dbid(item)} is gone, it is used until a restart")
        yield item, found.get(_dbid(item))


def _take(where: str, running: B, read: B, live: frozenset[str], waiting: list[str]) -> B:
    changed = [name for name in type(running).model_fields if getattr(running, name) != getattr(read, name)]
    waiting += [f"{where}: {name} takes effect after a restart" for name in changed if name not in live]
    return running.model_copy(update={name: getattr(read, name) for name in changed if name in live})


def _dbid(item: BaseModel) -> int:
    dbid: int = item.dbid  # type: ignore[attr-defined]
    return dbid
