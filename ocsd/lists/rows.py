"""One row of a CSV file, checked and turned into one line of COPY: pure, and the inner loop of the import."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.csv_source import EMPTY_TEXT
from ocsd.lists.gates import STATUS_TYPES
from ocsd.lists.numbers import NumberRefused, normaliser
from ocsd.lists.tables import columns_of, time_zone_dbid
from ocsd.model.columns import Column
from ocsd.model.enums import CallResult, ContactInfoType, RecordStatus, RecordType
from ocsd.model.errors import ConfigError

PHONE_HEADERS: Final = frozenset({"phone", "phone_number", "phonenumber", "telephone", "tel", "msisdn", "number"})
"""Headers that mean contact_info when no column of that name is there."""

LEAVE_OUT: Final = "-"
"""As a mapping's target: ignore this CSV column."""

NULL: Final = r"\N"

RULES_HORIZON: Final = timedelta(days=2 * 366)
"""Two zones are the same for us when their clocks agree every hour of this span: two summers and winters."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,10}")
_NEEDS_ESCAPE: Final = re.compile(r"[\\\t\n\r\0]")
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", EMPTY_TEXT: ""})
_NOT_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})  # as PostgreSQL writes them
_NO_VALUE: Final = ("", EMPTY_TEXT)

Convert = Callable[[str], str]


class RowRefused(ValueError):
    """The row is not imported; the message says why."""


def map_header(
    config: Configuration, calling_list: CallingList, header: list[str], mapping: Mapping[str, str]
) -> dict[str, int]:
    """
    Place of each table column in the file; ConfigError lists every header that leads nowhere.

    ``mapping`` (CSV column -> table column) goes first, then equal names without regard to case, then PHONE_HEADERS.
    """
    columns = {column.name for column in columns_of(config, calling_list)}
    wanted = {name.strip().lower(): target.strip().lower() for name, target in mapping.items()}
    names = [name.strip().lower() for name in header]
    problems = [f"mapped column {name!r} is not in the file" for name in wanted if name not in names]
    problems += [
        f"column {name!r} is mapped to {target!r}, which the calling list does not have"
        for name, target in wanted.items()
        if target != LEAVE_OUT and target not in columns
    ]
    places: dict[str, int] = {}
    explicit = "contact_info" in wanted.values() or "contact_info" in names
    for place, name in enumerate(names):
        target = wanted.get(name, name)
        if target not in columns and target != LEAVE_OUT and name in PHONE_HEADERS and not explicit:
            target = "contact_info"
        if target == LEAVE_OUT:
            continue
        if target not in columns:
            if name not in wanted:
                problems.append(
                    f"column {header[place]!r} is no column of the calling list; map it (NAME=column) or leave it out"
                    f" (NAME={LEAVE_OUT})"
                )
        elif target in places:
            problems.append(f"two columns of the file are {target!r}")
        else:
            places[target] = place
    if "contact_info" not in places:
        problems.append("no column holds the phone number (contact_info)")
    if problems:
        raise ConfigError(problems)
    return places


class ZoneBook:
    """Which time zone object a row belongs to."""

    def __init__(self, config: Configuration, calling_list: CallingList, now: datetime) -> None:
        self._now = now
        self._default = time_zone_dbid(config, calling_list)
        self._by_name = {zone.zone: zone.dbid for zone in reversed(config.time_zones)}
        self._by_rules = {self._rules(zone.zone): zone.dbid for zone in reversed(config.time_zones)}
        self._by_text: dict[str, int] = {}
        for zone in config.time_zones:
            self._by_text |= {str(zone.dbid): zone.dbid, zone.name: zone.dbid, zone.zone: zone.dbid}
        self._inferred: dict[tuple[str, ...], int] = {}

    def given(self, text: str) -> int:
        """From a value of the file: DBID, name or IANA name of a configured time zone."""
        try:
            return self._by_text[text]
        except KeyError:
            raise RowRefused(f"tz_dbid {text[:40]!r} is no configured time zone") from None

    def inferred(self, zones: tuple[str, ...]) -> int:
        """
        From the zones of the phone number.

        Several zones with different clocks say nothing certain, and a zone that is not configured cannot be stored:
        then the list's own zone counts.
        """
        if (found := self._inferred.get(zones)) is None:
            found = self._inferred[zones] = self._infer(zones) or self._default
        if not found:
            where = ", ".join(zones[:3]) or "unknown"
            raise RowRefused(f"no time zone: the number's is {where}, none fits, and the list has no default")
        return found

    def _infer(self, zones: tuple[str, ...]) -> int:
        if len(zones) == 1 and zones[0] in self._by_name:
            return self._by_name[zones[0]]
        rules = {self._rules(zone) for zone in zones}
        return self._by_rules.get(rules.pop(), 0) if len(rules) == 1 else 0

    def _rules(self, name: str) -> object:
        try:
            zone = ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            return name
        start = self._now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        offsets: list[tuple[datetime, timedelta | None]] = []
        moment, previous = start, None
        while moment < start + RULES_HORIZON:
            offset = moment.astimezone(zone).utcoffset()
            if offset != previous:  # day by day, then the hour of each change
                hour = moment
                while previous is not None and (hour - timedelta(hours=1)).astimezone(zone).utcoffset() == offset:
                    hour -= timedelta(hours=1)
                offsets.append((hour, offset))
                previous = offset
            moment += timedelta(days=1)
        return tuple(offsets)


class RowBuilder:
    """
    Turns rows into lines of COPY text for `columns`. Of texts, what is empty is NULL and `EMPTY_TEXT` is empty.

    Args:
        places: from `map_header`.
        width: number of columns that every row must have.
        now: see ZoneBook.
        exact: take every value over as it stands, as COPY would: an export comes back as it was, whatever is in it.
        retrieved_as_ready: a row that another daemon held becomes Ready (of type NoCall: Updated), else it is refused.
    """

    def __init__(
        self,
        config: Configuration,
        calling_list: CallingList,
        places: Mapping[str, int],
        width: int,
        now: datetime,
        *,
        exact: bool = False,
        retrieved_as_ready: bool = False,
    ) -> None:
        self._width = width
        self._exact = exact
        self._retrieved_as_ready = retrieved_as_ready
        self._normalise = normaliser(calling_list.country)
        self._zones = ZoneBook(config, calling_list, now)
        self._phone = places["contact_info"]
        self._zone = places.get("tz_dbid")
        self._window = places.get("daily_from"), places.get("daily_till")
        self._default_window = calling_list.daily_from, calling_list.daily_till
        self._window_text = f"{calling_list.daily_from}\t{calling_list.daily_till}"
        self._status, self._type = places.get("record_status"), places.get("record_type")
        own = () if exact else ("contact_info", "tz_dbid", "daily_from", "daily_till")
        given = [column for column in columns_of(config, calling_list) if column.name in places]
        texts = [column for column in given if column.length and column.name not in own]
        others = [column for column in given if not column.length and column.name not in (*own, "record_status")]
        status = [column.name for column in given if column.name == "record_status"]
        self.columns: tuple[str, ...] = (*own, *status, *(column.name for column in (*texts, *others)))
        # Plain tuples: the loops below run for every row.
        self._texts = [(column.name, places[column.name], _text(column), _empty(column, exact)) for column in texts]
        self._others = [
            (column.name, places[column.name], _converter(column, exact), _empty(column, exact)) for column in others
        ]

    def build(self, row: list[str]) -> str:
        """The COPY line of ``row``, with its newline; RowRefused says what is wrong with it."""
        if len(row) != self._width:
            raise RowRefused(f"{len(row)} columns, expected {self._width}")
        values = [] if self._exact else self._own(row)
        if self._status is not None or self._type is not None:
            values += self._checked_status(row)
        for name, place, convert, empty in self._texts:
            value = row[place]
            if value:
                values.append(convert(value))
            elif empty is None:
                raise RowRefused(f"{name} is empty")
            else:
                values.append(empty)
        for name, place, convert, empty in self._others:
            value = row[place]
            if value not in _NO_VALUE and not value.isspace():
                values.append(convert(value))
            elif empty is None:
                raise RowRefused("record_id or chain_id is empty" if name in _NUMBERS else f"{name} is empty")
            else:
                values.append(empty)
        return "\t".join(values) + "\n"

    def _own(self, row: list[str]) -> list[str]:
        """Number, zone and window, found or filled in."""
        text = row[self._phone]
        try:
            phone = self._normalise(text if text != EMPTY_TEXT else "")
        except NumberRefused as refusal:
            raise RowRefused(str(refusal)) from None
        zone_text = _plain(row[self._zone]) if self._zone is not None else ""
        zone = self._zones.given(zone_text) if zone_text not in ("", "0") else self._zones.inferred(phone.zones)
        window = self._window_text if self._window == (None, None) else self._read_window(row)
        return [phone.number, str(zone), window]

    def _read_window(self, row: list[str]) -> str:
        bounds = []
        for name, place, default in zip(("daily_from", "daily_till"), self._window, self._default_window, strict=True):
            text = _plain(row[place]) if place is not None else ""
            value = int(_integer(name, text, 0, 86400)) if text else default
            bounds.append(value)
        if bounds[0] == bounds[1]:
            raise RowRefused(f"daily_from and daily_till are both {bounds[0]}: such a window never opens")
        return f"{bounds[0]}\t{bounds[1]}"

    def _checked_status(self, row: list[str]) -> list[str]:
        """The value of record_status, if the file has that column; RowRefused when it does not go with the type."""
        low, high = INT if self._exact else _RANGES["record_status"]
        kinds = INT if self._exact else _RANGES["record_type"]
        text = _plain(row[self._status]) if self._status is not None else ""
        status = int(_integer("record_status", text, low, high)) if text else int(RecordStatus.READY)
        text = _plain(row[self._type]) if self._type is not None else ""
        kind = int(_integer("record_type", text, *kinds)) if text else int(RecordType.GENERAL)
        if status == RecordStatus.RETRIEVED:
            if not self._retrieved_as_ready:
                raise RowRefused("record_status 2 (Retrieved) belongs to a running daemon; import the row as Ready (1)")
            status = int(RecordStatus.UPDATED if kind == RecordType.NO_CALL else RecordStatus.READY)
        if not self._exact and kind not in STATUS_TYPES.get(status, frozenset()):
            raise RowRefused(f"record_status {status} does not go with record_type {kind}")
        return [str(status)] if self._status is not None else []


INT: Final = (-(2**31), 2**31 - 1)
"""Range of an integer column."""

_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "record_id": (1, 2**31 - 1),
    "chain_id": (1, 2**31 - 1),
    "chain_n": (0, 2**31 - 1),
    "contact_info_type": (0, max(ContactInfoType)),
    "record_type": (0, max(RecordType)),
    "record_status": (0, max(RecordStatus)),
    "call_result": (0, max(CallResult)),
    "attempt": (0, 2**31 - 1),
    "dial_sched_time": (0, 2**31 - 1),
    "call_time": (0, 2**31 - 1),
}

_DEFAULTS: Final = {
    "contact_info_type": 0,
    "record_type": int(RecordType.GENERAL),
    "record_status": int(RecordStatus.READY),
    "call_result": int(CallResult.UNKNOWN),
    "attempt": 0,
    "chain_n": 0,
}
"""What an empty value of a required column means. Numbers of chains and records have no such default."""


_NUMBERS: Final = ("record_id", "chain_id")


def _plain(text: str) -> str:
    """A value of a column that holds no text."""
    return "" if text == EMPTY_TEXT else text.strip()


def _empty(column: Column, exact: bool) -> str | None:
    """What an empty value becomes; None: the column must not be empty."""
    if exact:
        return None if column.required else NULL
    if column.name in _NUMBERS:
        return None
    return str(_DEFAULTS[column.name]) if column.name in _DEFAULTS else NULL


def _text(column: Column) -> Convert:
    name, length = column.name, column.length

    def convert(text: str) -> str:
        if len(text) > length:
            raise RowRefused(f"{name} has {len(text)} characters, at most {length} fit")
        return text.translate(_ESCAPES) if _NEEDS_ESCAPE.search(text) else text

    return convert


def _converter(column: Column, exact: bool) -> Convert:
    name = column.name
    if column.type == "integer":
        low, high = INT if exact else _RANGES.get(name, INT)
        return lambda text: _integer(name, text.strip(), low, high)
    if column.type == "double precision":
        return lambda text: text if exact and text in _NOT_FINITE else _real(name, text.strip())
    assert column.type == "timestamptz", column
    return lambda text: _moment(name, text.strip())


def _integer(name: str, text: str, low: int, high: int) -> str:
    if _INTEGER.fullmatch(text) is None:
        raise RowRefused(f"{name} {text[:40]!r} is no integer")
    value = int(text)
    if not low <= value <= high:
        raise RowRefused(f"{name} {value} is outside {low}..{high}")
    return str(value)


def _real(name: str, text: str) -> str:
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RowRefused(f"{name} {text[:40]!r} is no number")
    return repr(value)


def _moment(name: str, text: str) -> str:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise RowRefused(f"{name} {text[:40]!r} is no date and time (2026-03-01T12:00:00Z)") from None
    try:
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except OverflowError:
        raise RowRefused(f"{name} {text[:40]!r} is before the year 1 or after 9999 (UTC)") from None
