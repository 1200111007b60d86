"""The "server" behind `memory.MemoryListStore`: tables, claims and attempts that outlive the stores on it.

Rows are values: who wants another row calls `MemoryDatabase.set_status` or `update_row`, which put a new one in its
place and keep the indices right. What a table knows about its rows at any time:

- the rows of every chain, in ascending ``chain_n``;
- its Ready rows in *buckets* of (type, zone, window, attempts), each in the order of dialing, as the ready index of a
  real table has them: a claim looks only into buckets that can be dialed now;
- the rows of every number and, once somebody has asked, of every value of a user column: withdrawals name them.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, NamedTuple

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.gates import DIALED_TYPES, named_chain_n
from ocsd.lists.memory_journal import MemoryJournal
from ocsd.lists.tables import columns_of, table_of, time_zone_dbid
from ocsd.model.columns import MANDATORY_COLUMNS
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import InvariantError
from ocsd.model.records import CallingRecord, FinishedAttempt, NewAttempt, OpenAttempt

_KEPT_OPEN: Final = tuple(name for name in NewAttempt.__dataclass_fields__ if name in OpenAttempt.__dataclass_fields__)

Criteria = Callable[[CallingRecord], bool]
SortKey = Callable[[CallingRecord], Any]

OWN_COLUMNS: Final = ("record_status", "campaign_id", "switch_id")
"""Columns of a row that CallingRecord leaves out."""

RENAMED: Final = {"daily_from": "daily_from_s", "daily_till": "daily_till_s"}
"""Columns whose field of CallingRecord carries its unit."""

_RECORD_FIELDS: Final = frozenset(CallingRecord.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """One row of a table: the record and the columns that CallingRecord leaves out."""

    record: CallingRecord
    record_status: RecordStatus
    campaign_id: int | None = None
    switch_id: int | None = None


@dataclass(slots=True)
class MemoryClaim:
    list_dbid: int
    campaign_group_dbid: int
    owner: str
    lease_until: datetime
    added: list[int] = field(default_factory=list)
    """Rows put into the chain since it was claimed."""


@dataclass(slots=True)
class MemoryAttempt:
    """``new``: as it began, with what attempt caps count by; ``open``: as `ListStore.open_attempts` reports it."""

    table: str
    new: NewAttempt
    open: OpenAttempt
    finished: FinishedAttempt | None = None


class Bucket(NamedTuple):
    """Ready rows that open, close and run out of attempts together."""

    record_type: RecordType
    tz_dbid: int
    daily_from_s: int
    daily_till_s: int
    attempt: int
    held: bool
    """The treatment state names another record of the chain, which is Ready to be dialed."""


class MemoryTable:
    """
    Attributes:
        rows: by record_id; to be read only.
        ready: (due UTC second, record_id) of the Ready rows of each bucket, ascending; to be read only.
    """

    def __init__(self) -> None:
        self.rows: dict[int, MemoryRow] = {}
        self.ready: dict[Bucket, list[tuple[int, int]]] = {}
        self._chains: dict[int, list[tuple[int, int]]] = {}  # (chain_n, record_id), ascending
        self._where: dict[int, tuple[Bucket, tuple[int, int]]] = {}
        self._by_phone: dict[str, set[int]] = {}
        self._by_value: dict[str, dict[str, set[int]]] = {}  # by user column, then by value as text
        self._last_record_id = 0
        self._last_chain_id = 0

    @property
    def next_record_id(self) -> int:
        return self._last_record_id + 1

    @property
    def next_chain_id(self) -> int:
        return self._last_chain_id + 1

    def rows_of_chain(self, chain_id: int) -> list[MemoryRow]:
        """All rows of the chain, in ascending ``chain_n``; none when there is no such chain."""
        return [self.rows[record_id] for _, record_id in self._chains.get(chain_id, ())]

    def with_phone(self, phone: str) -> list[int]:
        """Record ids of the rows with this number, whatever their status, ascending."""
        return sorted(self._by_phone.get(phone, ()))

    def with_value(self, column: str, value: str) -> list[int]:
        """Record ids of the rows whose user column has this value, compared as text, ascending."""
        if column not in self._by_value:
            self._by_value[column] = {}
            for row in self.rows.values():
                _note(self._by_value[column], _text(row.record, column), row.record.record_id)
        return sorted(self._by_value[column].get(value, ()))

    def copy(self) -> "MemoryTable":
        """A table with the same rows, which goes its own way from here on."""
        twin = MemoryTable()
        twin.rows = dict(self.rows)
        twin.ready = {bucket: list(places) for bucket, places in self.ready.items()}
        twin._chains = {chain_id: list(members) for chain_id, members in self._chains.items()}
        twin._where = dict(self._where)
        twin._by_phone = {phone: set(found) for phone, found in self._by_phone.items()}
        twin._by_value = {
            column: {value: set(found) for value, found in by_value.items()}
            for column, by_value in self._by_value.items()
        }
        twin._last_record_id, twin._last_chain_id = self._last_record_id, self._last_chain_id
        return twin

    def insert(self, row: MemoryRow) -> None:
        """ValueError when the record_id, or the place in the chain, is taken."""
        record = row.record
        members = self._chains.get(record.chain_id, ())
        if record.record_id in self.rows or any(chain_n == record.chain_n for chain_n, _ in members):
            raise ValueError(f"record_id {record.record_id} or its place in chain {record.chain_id} is taken")
        self._last_record_id = max(self._last_record_id, record.record_id)
        self._last_chain_id = max(self._last_chain_id, record.chain_id)
        insort(self._chains.setdefault(record.chain_id, []), (record.chain_n, record.record_id))
        self.rows[record.record_id] = row
        _note(self._by_phone, record.contact_info, record.record_id)
        for column, by_value in self._by_value.items():
            _note(by_value, _text(record, column), record.record_id)
        self._index_chain(record.chain_id)

    def put(self, row: MemoryRow) -> None:
        """Put ``row`` in the place of the one with its record_id; KeyError when there is none."""
        record, old = row.record, self.rows[row.record.record_id].record
        if (record.chain_id, record.chain_n) != (old.chain_id, old.chain_n):
            if any(chain_n == record.chain_n for chain_n, _ in self._chains.get(record.chain_id, ())):
                raise ValueError(f"place {record.chain_n} in chain {record.chain_id} is taken")
            self.delete(record.record_id)
            self.insert(row)
            return
        self.rows[record.record_id] = row
        if record.contact_info != old.contact_info:
            _forget(self._by_phone, old.contact_info, record.record_id)
            _note(self._by_phone, record.contact_info, record.record_id)
        for column, by_value in self._by_value.items():
            if (value := _text(record, column)) != (old_value := _text(old, column)):
                _forget(by_value, old_value, record.record_id)
                _note(by_value, value, record.record_id)
        self._index_chain(record.chain_id)

    def set_statuses(self, record_ids: Iterable[int], status: RecordStatus) -> None:
        """Of rows of one chain."""
        chain_id = None
        for record_id in record_ids:
            row = self.rows[record_id]
            chain_id = row.record.chain_id
            self.rows[record_id] = MemoryRow(row.record, status, row.campaign_id, row.switch_id)
        if chain_id is not None:
            self._index_chain(chain_id)

    def delete(self, record_id: int) -> None:
        record = self.rows.pop(record_id).record
        self._unindex(record_id)
        _forget(self._by_phone, record.contact_info, record_id)
        for column, by_value in self._by_value.items():
            _forget(by_value, _text(record, column), record_id)
        members = self._chains[record.chain_id]
        members.remove((record.chain_n, record_id))
        if not members:
            del self._chains[record.chain_id]
        self._index_chain(record.chain_id)

    def _index_chain(self, chain_id: int) -> None:
        """Whether a row is held depends on its siblings, so a chain is looked at as a whole; chains are short."""
        members = self._chains.get(chain_id, ())
        ready: set[int] | None = None
        for chain_n, record_id in members:
            row = self.rows[record_id]
            if row.record_status is not RecordStatus.READY:
                if record_id in self._where:
                    self._unindex(record_id)
                continue
            record, held = row.record, False
            named = named_chain_n(record) if record.treatments is not None else None
            if named is not None and named != chain_n:
                if ready is None:
                    ready = {place for place, other in members if _ready_to_dial(self.rows[other])}
                held = named in ready
            where = (
                Bucket(
                    record.record_type, record.tz_dbid, record.daily_from_s, record.daily_till_s, record.attempt, held
                ),
                (record.dial_sched_time or 0, record_id),
            )
            if self._where.get(record_id) != where:
                self._unindex(record_id)
                self._where[record_id] = where
                insort(self.ready.setdefault(where[0], []), where[1])

    def _unindex(self, record_id: int) -> None:
        if (found := self._where.pop(record_id, None)) is not None:
            bucket, place = found
            places = self.ready[bucket]
            del places[bisect_left(places, place)]
            if not places:
                del self.ready[bucket]


def _text(record: CallingRecord, column: str) -> str | None:
    value = record.user_fields.get(column)
    return None if value is None else str(value)


def _note(index: dict[str, set[int]], value: str | None, record_id: int) -> None:
    if value is not None:
        index.setdefault(value, set()).add(record_id)


def _forget(index: dict[str, set[int]], value: str | None, record_id: int) -> None:
    if value is not None:
        index[value].discard(record_id)
        if not index[value]:
            del index[value]


def _ready_to_dial(row: MemoryRow) -> bool:
    return row.record_status is RecordStatus.READY and row.record.record_type in DIALED_TYPES


@dataclass(slots=True)
class MemoryDatabase:
    """
    Attributes:
        now: the server's clock, for leases.
        available: set it to False and every call raises StoreUnavailable.
        filters: stands for SQL: by name of a filter, which records it admits and, if it has an order, its sort key.
        tables: by name; their rows change only through the methods below.
        attempts: by id; to be changed only through `open_attempt`, `mark_attempt` and `close_attempt`.
    """

    config: Configuration
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    available: bool = True
    filters: dict[str, tuple[Criteria, SortKey | None]] = field(default_factory=dict)
    tables: dict[str, MemoryTable] = field(default_factory=dict)
    claims: dict[tuple[str, int], MemoryClaim] = field(default_factory=dict)
    attempts: dict[int, MemoryAttempt] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    attempt_ids: "count[int]" = field(default_factory=lambda: count(1))
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    _open_attempts: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    _shapes: dict[int, tuple[CallingList, str, int, tuple[str, ...]]] = field(default_factory=dict)
    _shapes_of: Configuration | None = None

    # -- rows --------------------------------------------------------------------------------------------------------

    def table_name(self, list_dbid: int) -> str:
        return self._shape(list_dbid)[1]

    def table(self, name: str) -> MemoryTable:
        """The table, created empty at first use."""
        if (found := self.tables.get(name)) is None:
            found = self.tables[name] = MemoryTable()
        return found

    def rows(self, list_dbid: int) -> Mapping[int, MemoryRow]:
        """The rows of the list's table by record_id, to be read only."""
        return self.table(self.table_name(list_dbid)).rows

    def rows_of_chain(self, table: str, chain_id: int) -> list[MemoryRow]:
        """All rows of the chain, whatever their status, in ascending ``chain_n``."""
        return self.table(table).rows_of_chain(chain_id)

    def live_rows(self, table: str, chain_id: int) -> list[MemoryRow]:
        """The rows of the chain that are Retrieved, in ascending ``chain_n``."""
        return [row for row in self.rows_of_chain(table, chain_id) if row.record_status is RecordStatus.RETRIEVED]

    def set_status(self, table: str, record_id: int, status: RecordStatus) -> MemoryRow:
        """Give the row another record_status and return the new row; KeyError when there is no such row."""
        row = self.table(table).rows[record_id]
        row = MemoryRow(row.record, status, row.campaign_id, row.switch_id)
        self.table(table).put(row)
        return row

    def set_statuses(self, table: str, record_ids: Iterable[int], status: RecordStatus) -> None:
        """Give rows of one chain another record_status; KeyError when there is no such row."""
        self.table(table).set_statuses(record_ids, status)

    def update_row(self, table: str, record_id: int, **columns: Any) -> MemoryRow:
        """
        Change columns of a row by their names in the database (``daily_from``, ``record_status``, user columns...).

        Returns the new row. KeyError when there is no such row, InvariantError for a column that the table does not
        have, ValueError when the place in the chain is taken.
        """
        row = self.table(table).rows[record_id]
        own = {name: columns.pop(name) for name in OWN_COLUMNS if name in columns}
        if "record_status" in own:
            own["record_status"] = RecordStatus(own["record_status"])
        fields: dict[str, Any] = {}
        user_fields: dict[str, object] = {}
        for column, value in columns.items():
            if column in row.record.user_fields:
                user_fields[column] = value
            elif (name := RENAMED.get(column, column)) in _RECORD_FIELDS and name not in ("list_dbid", "user_fields"):
                fields[name] = RecordType(value) if name == "record_type" else value
            else:
                raise InvariantError(f"update of column {column!r}, which the list does not have")
        if user_fields:
            fields["user_fields"] = {**row.record.user_fields, **user_fields}
        row = replace(row, record=replace(row.record, **fields) if fields else row.record, **own)
        self.table(table).put(row)
        return row

    def delete_row(self, table: str, record_id: int) -> None:
        self.table(table).delete(record_id)

    def add_record(self, list_dbid: int, **columns: Any) -> int:
        """Insert a row by column names, with the defaults of a real table; returns its record_id."""
        calling_list, name, tz_dbid, user_names = self._shape(list_dbid)
        table = self.table(name)
        given = {
            "record_id": table.next_record_id,
            "contact_info_type": 0,
            "record_type": RecordType.GENERAL,
            "record_status": RecordStatus.READY,
            "call_result": CallResult.UNKNOWN,
            "attempt": 0,
            "dial_sched_time": None,
            "call_time": None,
            "daily_from": calling_list.daily_from,
            "daily_till": calling_list.daily_till,
            "tz_dbid": tz_dbid,
            "chain_id": table.next_chain_id,
            "chain_n": 0,
            "agent_id": None,
            "treatments": None,
        } | columns
        own = {name: given.pop(name) for name in ("campaign_id", "switch_id") if name in given}
        user_fields = {name: given.pop(name, None) for name in user_names}
        status = RecordStatus(given.pop("record_status"))
        record = CallingRecord(
            list_dbid=list_dbid,
            daily_from_s=given.pop("daily_from"),
            daily_till_s=given.pop("daily_till"),
            record_type=RecordType(given.pop("record_type")),
            user_fields=user_fields,
            **given,
        )
        table.insert(MemoryRow(record, status, **own))
        return record.record_id

    def _shape(self, list_dbid: int) -> tuple[CallingList, str, int, tuple[str, ...]]:
        """The list, its table's name, the zone of rows without one, and its user columns: asked for once per list."""
        if self._shapes_of is not self.config:
            self._shapes_of = self.config
            self._shapes.clear()
        if (found := self._shapes.get(list_dbid)) is None:
            calling_list = self.config.calling_list_by_dbid(list_dbid)
            found = self._shapes[list_dbid] = (
                calling_list,
                table_of(self.config, calling_list),
                time_zone_dbid(self.config, calling_list),
                tuple(column.name for column in columns_of(self.config, calling_list)[len(MANDATORY_COLUMNS) :]),
            )
        return found

    # -- attempts ----------------------------------------------------------------------------------------------------

    def open_attempt(self, table: str, attempt: NewAttempt) -> None:
        """Write an attempt without an end; one that is there already stays as it is (a repeated call)."""
        if attempt.attempt_id in self.attempts:
            return
        values = {name: getattr(attempt, name) for name in _KEPT_OPEN}
        opened = OpenAttempt(**values, answered_at=None, connected_at=None, agent_id=None)
        self.attempts[attempt.attempt_id] = MemoryAttempt(table, attempt, opened)
        self._open_attempts.setdefault((table, attempt.chain_id), set()).add(attempt.attempt_id)

    def mark_attempt(self, attempt_id: int, **changes: Any) -> None:
        """Change fields of an open attempt; nothing happens when it is unknown or finished."""
        attempt = self.attempts.get(attempt_id)
        if attempt is not None and attempt.finished is None:
            attempt.open = replace(attempt.open, **changes)

    def close_attempt(self, finished: FinishedAttempt) -> MemoryAttempt | None:
        """End an open attempt and return it; None: unknown or finished already, nothing is changed."""
        attempt = self.attempts.get(finished.attempt_id)
        if attempt is None or attempt.finished is not None:
            return None
        attempt.finished = finished
        key = attempt.table, attempt.open.chain_id
        self._open_attempts[key].discard(finished.attempt_id)
        if not self._open_attempts[key]:
            del self._open_attempts[key]
        return attempt

    def has_open_attempt(self, table: str, chain_id: int) -> bool:
        return (table, chain_id) in self._open_attempts

    def open_attempts(self) -> Iterator[MemoryAttempt]:
        """Attempts without an end, by id."""
        for attempt_id in sorted(found for ids in self._open_attempts.values() for found in ids):
            yield self.attempts[attempt_id]
