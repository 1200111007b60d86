"""
Mixes from files and options. Pure.

    [parties]                    # weights among the dials: person, machine, no_answer, busy, fax, sit, failed
    person = 20
    machine = 25
    no_answer = 45

    [times]                      # seconds: a mean, or mean and cv; setup and connect: least and most
    person_ring = { mean = 10, cv = 0.45 }
    talk = { mean = 240, cv = 0.9 }
    setup = [1, 3]

    [errors]                     # of call progress analysis, 0..1
    person_as_machine = 0.02

    [by_hour]                    # factors on the share of people, by the hour of the called party's day
    9 = 0.8
    18 = 1.3

    [by_zone]
    "America/New_York" = 1.1

    [list]                       # a made-up list, where there is no database
    records = 20000
    numbers_per_chain = [70, 20, 10]      # weights of chains with one, two, three numbers
    zones = { EST = 50, PST = 30 }        # weights of the configuration's time zones, by their names

What is not named stays as it is in the mix that the file changes: the one of the list's own calls where there are
enough, else the reference.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.tables import columns_of, time_zone_dbid
from ocsd.model.columns import MANDATORY_COLUMNS
from ocsd.model.enums import RecordType
from ocsd.model.errors import ConfigError
from ocsd.model.records import CallingRecord
from ocsd.rehearsal.world import Mix, Party, Spread

TIMES: Final = (
    "person_ring", "machine_ring", "greeting", "person_verdict", "machine_verdict", "machine_greeting", "patience",
    "talk", "wrap_up", "mistaken_talk",
)  # fmt: skip
"""Fields of `Mix` that are a `Spread`, by their names in files; ``busy`` and the two ranges have names of their own."""
SPREADS: Final[Mapping[str, str]] = {name: name for name in TIMES} | {"busy": "busy_s"}
RANGES: Final[Mapping[str, str]] = {"setup": "setup_s", "connect": "connect_s"}
ERRORS: Final[Mapping[str, str]] = {
    "person_as_machine": "person_as_machine_ratio",
    "machine_as_person": "machine_as_person_ratio",
}
DEFAULT_RECORDS: Final = 20_000


@dataclass(frozen=True, slots=True)
class MadeUpList:
    """
    A list that nobody has: chains of General records that were never dialed.

    Attributes:
        numbers_per_chain: weights of chains with one number, two...
        zones: weights by name of the configuration's time zones; none: each list's own zone.
    """

    records: int = DEFAULT_RECORDS
    numbers_per_chain: tuple[float, ...] = (1.0,)
    zones: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MixFile:
    """``changes``: fields of `Mix` that the file sets, but for shares, which replace all."""

    changes: Mapping[str, Any]
    made_up: MadeUpList | None = None

    def applied(self, mix: Mix, source: str) -> Mix:
        """``mix`` with what the file says."""
        sources = dict(mix.sources) | dict.fromkeys(self.changes, source)
        return replace(mix, **self.changes, sources=sources)


def parse_mix_file(data: Mapping[str, Any]) -> MixFile:
    """Raises ConfigError with everything that is wrong."""
    problems: list[str] = []
    changes: dict[str, Any] = {}
    made_up: MadeUpList | None = None
    for name, table in data.items():
        if name not in _SECTIONS:
            problems.append(f"[{name}] is no part of a mix; there are: {', '.join(f'[{key}]' for key in _SECTIONS)}")
        elif not isinstance(table, Mapping):
            problems.append(f"[{name}] must be a table")
        else:
            try:
                found = _SECTIONS[name](table)
            except ValueError as error:
                problems.append(f"[{name}] {error}")
                continue
            if isinstance(found, MadeUpList):
                made_up = found
            else:
                changes |= found
    if problems:
        raise ConfigError(problems)
    return MixFile(changes, made_up)


def _number(value: object, what: str, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= most or value == math.inf:
        raise ValueError(f"{what} = {value!r}: it must be a number of 0 or more" + (f", at most {most:g}" * (most < 2)))
    return float(value)


def _parties(table: Mapping[str, Any]) -> dict[str, Any]:
    known = {str(party) for party in Party}
    if unknown := set(table) - known:
        raise ValueError(f"{', '.join(sorted(unknown))}: there are {', '.join(Party)}")
    shares = {Party(name): _number(value, name) for name, value in table.items()}
    if math.fsum(shares.values()) <= 0.0:
        raise ValueError("one of the weights must be more than 0")
    return {"shares": MappingProxyType(shares)}


def _times(table: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name in SPREADS:
            found[SPREADS[name]] = _spread(name, value)
        elif name in RANGES:
            if not isinstance(value, list) or len(value) != 2:
                raise ValueError(f"{name} needs a least and a most time, as in [1, 3]")
            low, high = (_number(entry, name) for entry in value)
            if low > high:
                raise ValueError(f"{name}: the least time is longer than the most")
            found[RANGES[name]] = (low, high)
        else:
            raise ValueError(f"{name}: there are {', '.join((*SPREADS, *RANGES))}")
    return found


def _spread(name: str, value: object) -> Spread:
    if isinstance(value, Mapping):
        if set(value) - {"mean", "cv"} or "mean" not in value:
            raise ValueError(f"{name} needs a mean and may have a cv, as in {{ mean = 10, cv = 0.45 }}")
        return Spread(_number(value["mean"], f"{name}.mean"), _number(value.get("cv", 0.0), f"{name}.cv"))
    return Spread(_number(value, name))


def _errors(table: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := set(table) - set(ERRORS):
        raise ValueError(f"{', '.join(sorted(unknown))}: there are {', '.join(ERRORS)}")
    return {ERRORS[name]: _number(value, name, 1.0) for name, value in table.items()}


def _by_hour(table: Mapping[str, Any]) -> dict[str, Any]:
    factors = [1.0] * 24
    for name, value in table.items():
        if not name.isdigit() or int(name) > 23:
            raise ValueError(f"{name}: hours are 0 to 23")
        factors[int(name)] = _number(value, name)
    return {"by_hour": tuple(factors)}


def _by_zone(table: Mapping[str, Any]) -> dict[str, Any]:
    return {"by_zone": MappingProxyType({name: _number(value, name) for name, value in table.items()})}


def _made_up(table: Mapping[str, Any]) -> MadeUpList:
    if unknown := set(table) - {"records", "numbers_per_chain", "zones"}:
        raise ValueError(f"{', '.join(sorted(unknown))}: there are records, numbers_per_chain, zones")
    records = table.get("records", DEFAULT_RECORDS)
    if isinstance(records, bool) or not isinstance(records, int) or records < 1:
        raise ValueError(f"records = {records!r}: it must be a whole number of 1 or more")
    weights = table.get("numbers_per_chain", [1.0])
    if not isinstance(weights, list) or not weights:
        raise ValueError("numbers_per_chain needs a list of weights, as in [70, 20, 10]")
    numbers = tuple(_number(value, "numbers_per_chain") for value in weights)
    zones = table.get("zones", {})
    if not isinstance(zones, Mapping):
        raise ValueError("zones needs weights by name, as in { EST = 50, PST = 30 }")
    shares = {str(name): _number(value, f"zones.{name}") for name, value in zones.items()}
    if math.fsum(numbers) <= 0.0 or (shares and math.fsum(shares.values()) <= 0.0):
        raise ValueError("one of the weights must be more than 0")
    return MadeUpList(records, numbers, MappingProxyType(shares))


_SECTIONS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any] | MadeUpList]]] = {
    "parties": _parties,
    "times": _times,
    "errors": _errors,
    "by_hour": _by_hour,
    "by_zone": _by_zone,
    "list": _made_up,
}


def with_hit_ratio(mix: Mix, person_share: float, source: str) -> Mix:
    """The same mix with another share of people (0..1); what is no person keeps its proportions."""
    if not 0.0 <= person_share <= 1.0:
        raise ValueError(f"a hit ratio is within 0..1, got {person_share}")
    others = {party: share for party, share in mix.shares.items() if party is not Party.PERSON}
    rest = math.fsum(others.values())
    if rest <= 0.0:
        others, rest = {Party.NO_ANSWER: 1.0}, 1.0
    shares = {Party.PERSON: person_share} | {
        party: share / rest * (1.0 - person_share) for party, share in others.items()
    }
    return replace(mix, shares=MappingProxyType(shares), sources=dict(mix.sources) | {"shares": source})


def made_up_rows(
    config: Configuration, lists: Sequence[CallingList], made_up: MadeUpList, seed: int
) -> Iterator[tuple[CallingList, tuple[CallingRecord, ...]]]:
    """
    Each list with its share of the made-up records, in whole chains.

    Raises ConfigError when a zone is none of the configuration's.
    """
    by_name = {zone.name: zone.dbid for zone in config.time_zones}
    if unknown := set(made_up.zones) - set(by_name):
        raise ConfigError([f"[list] zones: {', '.join(sorted(unknown))}: the configuration has {', '.join(by_name)}"])
    zone_names, zone_weights = list(made_up.zones), list(made_up.zones.values())
    sizes = range(1, len(made_up.numbers_per_chain) + 1)
    pick = random.Random(seed)
    number = 0
    for place, calling_list in enumerate(lists):
        wanted = made_up.records * (place + 1) // len(lists) - made_up.records * place // len(lists)
        fields: Mapping[str, object] = dict.fromkeys(
            column.name for column in columns_of(config, calling_list)[len(MANDATORY_COLUMNS) :]
        )
        own_zone = time_zone_dbid(config, calling_list)
        rows: list[CallingRecord] = []
        while len(rows) < wanted:
            size = min(pick.choices(sizes, made_up.numbers_per_chain)[0], wanted - len(rows))
            zone = by_name[pick.choices(zone_names, zone_weights)[0]] if zone_names else own_zone
            chain_id = number + 1
            for chain_n in range(size):
                number += 1
                rows.append(
                    CallingRecord(
                        list_dbid=calling_list.dbid,
                        record_id=number,
                        contact_info=f"+999{number:09d}",  # no country has this code
                        contact_info_type=1,
                        record_type=RecordType.GENERAL,
                        call_result=28,
                        attempt=0,
                        dial_sched_time=None,
                        call_time=None,
                        daily_from_s=calling_list.daily_from,
                        daily_till_s=calling_list.daily_till,
                        tz_dbid=zone,
                        chain_id=chain_id,
                        chain_n=chain_n,
                        user_fields=fields,
                    )
                )
        yield calling_list, tuple(rows)
