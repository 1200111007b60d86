"""The search of a claim, in one read-only transaction: synchronous, run in a thread of the pool."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import psycopg
from psycopg.types.numeric import Int4

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.arrays import int_array
from ocsd.lists.gates import DIALED_TYPES, LocalTimes, dialable_position, local_times
from ocsd.lists.merging import Merge, Row
from ocsd.lists.reader import READER
from ocsd.lists.selection import RECORD_COLUMNS, Selection
from ocsd.model.enums import RecordType
from ocsd.model.errors import ConfigError
from ocsd.model.records import CallingRecord, Chain, Portion

ROWS_PER_CHAIN: Final = 2
"""Rows searched at first per chain wanted: room for chains of several rows."""

FIRST_PIECE_ROWS: Final = 4
"""Rows read at least from the front of each bucket at first."""

SEARCH_ROUNDS: Final = 6
"""Looks per portion, each wider than the one before."""

WAITING_ROWS: Final = 60
"""Rows looked at per claim that wait for another record of their chain. A million are gone round in hours; in lists of
the usual size all are seen at each claim."""


BY_INDEX: Final = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off;"
    " SET LOCAL plan_cache_mode = force_generic_plan"
)
"""For statements that read a few rows off an index each. Statistics are minutes old, and whatever they say, reading all
claims or all rows is never cheaper; with this settled, a plan made when the tables were small serves for ever."""

LAST_ID: Final = 2**31 - 1

AS_ESTIMATED: Final = "SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on"
"""For the search in a filter's own order, which may have to read all rows."""


_TYPE_PLACE: Final = RECORD_COLUMNS.index("record_type")
_CHAIN_PLACE: Final = RECORD_COLUMNS.index("chain_id")
_record: Final[Callable[..., CallingRecord]] = CallingRecord
_TYPES: Final = {int(record_type): record_type for record_type in RecordType}


@dataclass(frozen=True, slots=True)
class Candidate:
    """``alone``: its treatment state names a record that is not there to be dialed."""

    record_id: int
    chain_id: int
    portion: int
    alone: bool


@dataclass(frozen=True, slots=True)
class Found:
    """
    Attributes:
        candidates: one per chain, best first.
        member_ids: rows of their chains that the filter admits, in the order of each chain.
        complete: there are no others.
        after: where to go on among the waiting rows.
    """

    candidates: tuple[Candidate, ...]
    member_ids: tuple[int, ...]
    complete: bool
    after: int


def search(
    conn: psycopg.Connection[Any],
    *,
    selection: Selection,
    figures: Mapping[str, Any],
    portions: Sequence[Portion],
    limits: Sequence[int],
    wanted: int,
    skip: Iterable[int],
    after: int,
    as_reader: bool,
) -> Found:
    """
    Up to ``wanted`` chains, at most ``limits`` of each portion.

    Args:
        skip: chain ids to leave out.
        after: `Found.after` of the last search in this table.
    """
    conn.execute(f"{BY_INDEX}; SET LOCAL ROLE {READER}" if as_reader else BY_INDEX, prepare=False)
    skipped = set(skip)
    figures = dict(figures)
    alone, after = _waiting(conn, selection, figures | {"skip": int_array(skipped), "after": after}, portions)
    chosen: dict[int, Candidate] = {}
    complete = True
    for place, (portion, limit) in enumerate(zip(portions, limits, strict=True)):
        need = min(wanted - len(chosen), limit)
        if need <= 0 or portion.record_type not in DIALED_TYPES:
            continue
        asked = figures | {
            "type": int(portion.record_type),
            "agents": None if portion.agents is None else sorted(portion.agents),
            "skip": int_array(skipped | chosen.keys()),
        }
        if portion.record_type is RecordType.GENERAL and selection.search_ordered is not None:
            best, all_found = _ordered(conn, selection.search_ordered, asked, need, chosen.keys())
        else:
            best, all_found = _merged(conn, selection, asked, need, Merge(chosen.keys(), alone.get(place, [])))
        complete = complete and all_found
        for row in best:
            chosen[row.chain_id] = Candidate(row.record_id, row.chain_id, place, row.alone)
    member_ids: tuple[int, ...] = ()
    if chosen:
        rows = conn.execute(selection.members, figures | {"chains": int_array(chosen)}, prepare=False).fetchall()
        member_ids = tuple(row[0] for row in rows)
    return Found(tuple(chosen.values()), member_ids, complete, after)


def _merged(
    conn: psycopg.Connection[Any], selection: Selection, figures: dict[str, Any], need: int, merge: Merge
) -> tuple[list[Row], bool]:
    """The best row of each of the ``need`` best chains by schedule and record_id; whether there are no others."""
    rows = conn.execute(
        selection.search, figures | {"wanted": ROWS_PER_CHAIN * need, "piece": FIRST_PIECE_ROWS}, prepare=True
    ).fetchall()
    for _, piece in groupby(rows, key=itemgetter(0)):
        of_bucket = list(piece)
        merge.first(of_bucket[0][5:], [Row(*row[2:5]) for row in of_bucket], of_bucket[0][1])
    for _ in range(SEARCH_ROUNDS):
        if (asked := merge.missing(need)) is None:
            break
        rows = conn.execute(
            selection.search_on,
            figures
            | {
                name: int_array(values)
                for name, values in zip(
                    ("b_zone", "b_from", "b_till", "b_attempt", "b_due", "b_record"),
                    zip(*(bucket.key + bucket.read_to for bucket in asked.buckets), strict=True),
                    strict=True,
                )
            }
            | {
                "size": Int4(asked.size),
                "bound_due": Int4(figures["now_s"] if asked.bound is None else asked.bound[0]),
                "bound_id": Int4(LAST_ID if asked.bound is None else asked.bound[1]),
            },
            prepare=True,
        ).fetchall()
        found = {place: list(piece) for place, piece in groupby(rows, key=itemgetter(0))}
        for place, bucket in enumerate(asked.buckets, start=1):
            merge.further(bucket, [Row(*row[1:]) for row in found.get(place, ())], asked)
    return merge.best(need), merge.exhausted(need)


def _ordered(
    conn: psycopg.Connection[Any], statement: bytes, figures: dict[str, Any], need: int, excluded: Collection[int]
) -> tuple[list[Row], bool]:
    """As `_merged`, in the order of the filter."""
    rows_wanted = ROWS_PER_CHAIN * need
    best: dict[int, Row] = {}
    complete = False
    conn.execute(AS_ESTIMATED, prepare=False)
    for _ in range(SEARCH_ROUNDS):
        # Planned anew every time: a plan kept from when a table was small would be slow for hours.
        rows = conn.execute(statement, figures | {"wanted": rows_wanted}, prepare=False).fetchall()
        best = {}
        for record_id, chain_id in rows:
            if chain_id not in excluded:
                best.setdefault(chain_id, Row(0, record_id, chain_id))
        if len(best) >= need or len(rows) < rows_wanted:
            complete = len(rows) < rows_wanted and len(best) <= need
            break
        rows_wanted *= 2
    conn.execute(BY_INDEX, prepare=False)
    return list(best.values())[:need], complete


def _waiting(
    conn: psycopg.Connection[Any], selection: Selection, figures: Mapping[str, Any], portions: Sequence[Portion]
) -> tuple[dict[int, list[Row]], int]:
    """Rows that wait for nothing, by place of the portion; where to go on."""
    found: dict[int, list[Row]] = {}
    if all(portion.record_type is RecordType.GENERAL for portion in portions):
        return found, figures["after"]
    rows = conn.execute(selection.waiting, dict(figures) | {"look": WAITING_ROWS}, prepare=False).fetchall()
    for _, _, record_id, chain_id, due, record_type, agent_id in rows:
        if record_id is None:
            continue
        for place, portion in enumerate(portions):
            if portion.record_type == record_type and (portion.agents is None or agent_id in portion.agents):
                found.setdefault(place, []).append(Row(due, record_id, chain_id, alone=True))
    last, seen = rows[0][0], rows[0][1]
    return found, last if seen >= WAITING_ROWS else 0


def claim(
    conn: psycopg.Connection[Any], *, selection: Selection, figures: Mapping[str, Any], found: Found
) -> list[tuple[Any, ...]]:
    """
    Claim what the search has found; rows for `chains_of`, best chain first.

    The commit does not wait for the disk: a claim that a crash of the server undoes leaves Ready rows and no attempt,
    because the attempt's own commit, which does wait, comes behind it in the log; and without the claim there is none.
    """
    conn.execute("SET LOCAL synchronous_commit = off")
    figures = dict(figures) | {
        "record_ids": int_array(candidate.record_id for candidate in found.candidates),
        "alone": int_array(candidate.alone for candidate in found.candidates),
        "member_ids": int_array(found.member_ids),
    }
    rows = conn.execute(selection.claim, figures, prepare=False).fetchall()
    order = {candidate.chain_id: place for place, candidate in enumerate(found.candidates)}
    rows.sort(key=lambda row: (order[row[_CHAIN_PLACE]], row[-1]))
    return rows


def placed(
    chains: Sequence[Chain],
    found: Found,
    portions: Sequence[Portion],
    config: Configuration,
    calling_list: CallingList,
    now: datetime,
) -> tuple[list[tuple[Chain, int]], list[Chain]]:
    """
    Claimed chains on their record to dial, each with the place of its portion; and those where a row has changed
    between search and claim so that none may be dialed.
    """
    times: LocalTimes = local_times(config, calling_list, now)
    by_chain = {candidate.chain_id: candidate.portion for candidate in found.candidates}
    good: list[tuple[Chain, int]] = []
    bad: list[Chain] = []
    for chain in chains:
        place = by_chain[chain.chain_id]
        portion = portions[place]
        position = dialable_position(
            chain.records, calling_list.max_attempts, times, now, (portion.record_type,), portion.agents
        )
        if position is None:
            bad.append(chain)
        else:
            good.append((Chain(chain.list_dbid, chain.chain_id, chain.records, position), place))
    return good, bad


def chains_of(list_dbid: int, rows: Sequence[tuple[Any, ...]], user_columns: Sequence[str]) -> list[Chain]:
    """Group rows, which come chain by chain; what stands behind the user columns is left out."""
    records: dict[int, list[CallingRecord]] = {}
    first_user, end = len(RECORD_COLUMNS), len(RECORD_COLUMNS) + len(user_columns)
    for row in rows:
        user_fields = dict(zip(user_columns, row[first_user:end], strict=True))
        # RECORD_COLUMNS stand in the order of CallingRecord's fields.
        record = _record(
            list_dbid, *row[:_TYPE_PLACE], _TYPES[row[_TYPE_PLACE]], *row[_TYPE_PLACE + 1 : first_user], user_fields
        )
        records.setdefault(record.chain_id, []).append(record)
    return [Chain(list_dbid, chain_id, tuple(members)) for chain_id, members in records.items()]


def refused(calling_list: CallingList, what: str, error: psycopg.Error) -> ConfigError:
    """What the operator must change when a statement with the filter's text fails."""
    with_filter = f" with filter {calling_list.filter!r}" if calling_list.filter else ""
    hint = ""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        hint = f" (filters run as role {READER}; GRANT SELECT on what it may read besides the list's table)"
    return ConfigError([f"calling list {calling_list.name!r}{with_filter} cannot be {what}: {error}{hint}"])


def preflight(conn: psycopg.Connection[Any], selection: Selection, calling_list: CallingList) -> None:
    """ConfigError when the filter's text does not work as a condition and an order of its own."""
    try:
        conn.execute(selection.check_filter, {"rows": 0}, prepare=False)
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        raise refused(calling_list, "searched", error) from error
