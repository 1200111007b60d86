"""Which parts of a changed configuration a running daemon takes over, and which wait for a restart. Pure.

Taken over: options at every level; trunks' address, ports, rates, credentials, prefixes and caller IDs; ports and
buffer sizes of campaign groups; windows and attempts of calling lists; filters; descriptions. Waiting for a restart:
listeners, folders, database and telephony, and every object that appears, disappears or changes what it is made of.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from ocsd.config.objects import Configuration

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
        }
    ),
    "time_zones": frozenset[str](),
    "agents": frozenset({"name"}),
    "agent_groups": frozenset[str](),
    "formats": frozenset[str](),
    "table_accesses": frozenset[str](),
    "filters": frozenset({"criteria", "order_by"}),
    "calling_lists": frozenset({"daily_from", "daily_till", "max_attempts", "options"}),
    "campaigns": frozenset({"description", "options"}),
    "campaign_groups": frozenset(
        {"description", "num_of_channels", "min_rec_buff_size", "opt_rec_buff_size", "options"}
    ),
}
"""Fields that may change while the daemon runs, by section."""


def merge(running: Configuration, read: Configuration) -> tuple[Configuration, list[str]]:
    """
    Return the configuration to run with from now on, and a sentence for each change that needs a restart.

    ``read`` is valid in itself; what cannot be taken over keeps its running value.
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
    for section, live in LIVE_FIELDS.items():
        if section != "application":
            taken[section] = _take_all(section, getattr(running, section), getattr(read, section), live, waiting)
    return running.model_copy(update=taken), waiting


def _take_all(
    section: str,
    running: Sequence[BaseModel],
    read: Sequence[BaseModel],
    live: frozenset[str],
    waiting: list[str],
) -> tuple[BaseModel, ...]:
    found = {_dbid(item): item for item in read}
    known = {_dbid(item) for item in running}
    waiting += [f"{section}: DBID {dbid} is new, it is used after a restart" for dbid in found if dbid not in known]
    merged: list[BaseModel] = []
    for item in running:
        new = found.get(_dbid(item))
        if new is None:
            waiting.append(f"{section}: DBID {_dbid(item)} is gone, it is used until a restart")
            merged.append(item)
        else:
            merged.append(_take(f"{section} {_dbid(item)}", item, new, live, waiting))
    return tuple(merged)


def _take(where: str, running: BaseModel, read: BaseModel, live: frozenset[str], waiting: list[str]) -> BaseModel:
    changed = [name for name in type(running).model_fields if getattr(running, name) != getattr(read, name)]
    waiting += [f"{where}: {name} takes effect after a restart" for name in changed if name not in live]
    return running.model_copy(update={name: getattr(read, name) for name in changed if name in live})


def _dbid(item: BaseModel) -> int:
    dbid: int = item.dbid  # type: ignore[attr-defined]
    return dbid
