"""Which rows come first over many buckets that are each read from the front, a piece at a time. Pure.

The ready index keeps rows in the order of dialing only within a bucket (zone, window, attempts), so a search reads a
piece of every bucket and merges them. How the best rows are spread over the buckets is not known before, and in life
they are spread unevenly: most people live in few zones, most due records have been tried once. So the pieces begin
small, and only buckets that might still hold a better row than the last one needed are read further.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

Rank = tuple[int, int]
"""(due, record_id): the order of dialing."""

GROWTH: Final = 4
"""How much larger the next piece of a bucket is: few rounds, and at most so many times too many rows."""


class Row(NamedTuple):
    """A record that may be dialed; ``alone``: its treatment state names a record that is not there to be dialed."""

    due: int
    record_id: int
    chain_id: int
    alone: bool = False

    @property
    def rank(self) -> Rank:
        return self[:2]


@dataclass(slots=True)
class Bucket:
    """
    Attributes:
        key: (tz_dbid, daily_from, daily_till, attempt).
        read_to: nothing up to here is unread.
        more: rows may follow behind.
        size: rows that the last piece was to have.
    """

    key: tuple[int, int, int, int]
    read_to: Rank
    more: bool
    size: int


@dataclass(frozen=True, slots=True)
class Continuation:
    """Read the next ``size`` rows of each bucket, up to ``bound`` (None: without bound)."""

    buckets: tuple[Bucket, ...]
    size: int
    bound: Rank | None


@dataclass(slots=True)
class Merge:
    """
    What has been read of all buckets.

    Attributes:
        excluded: chains that are not wanted.
        rows: read so far, and others that belong to none of the buckets.
    """

    excluded: Collection[int]
    rows: list[Row] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)

    def first(self, key: tuple[int, int, int, int], rows: Sequence[Row], size: int) -> None:
        """The first piece of a bucket; ``rows`` are not empty and in order, fewer than ``size`` when it has no more."""
        self.rows.extend(rows)
        self.buckets.append(Bucket(key, rows[-1].rank, len(rows) >= size, size))

    def further(self, bucket: Bucket, rows: Sequence[Row], asked: Continuation) -> None:
        """The next piece of one of the buckets of ``asked``."""
        self.rows.extend(rows)
        bucket.size = asked.size
        if len(rows) >= asked.size:
            bucket.read_to = rows[-1].rank
        elif asked.bound is None:
            bucket.more = False
        else:
            bucket.read_to = asked.bound

    def best(self, need: int) -> list[Row]:
        """The best row of each of the ``need`` best chains, or of all that are known to be best; best first."""
        end = min((bucket.read_to for bucket in self.buckets if bucket.more), default=None)
        return self._leading(need, end)

    def missing(self, need: int) -> Continuation | None:
        """What must be read before `best` is complete; None: nothing."""
        leading = self._leading(need, None)
        bound = leading[-1].rank if len(leading) >= need else None
        behind = tuple(b for b in self.buckets if b.more and (bound is None or b.read_to < bound))
        return Continuation(behind, GROWTH * max(b.size for b in behind), bound) if behind else None

    def exhausted(self, need: int) -> bool:
        """Whether there are no other chains than the ``need`` best ones."""
        return not any(bucket.more for bucket in self.buckets) and len(self._leading(need + 1, None)) <= need

    def _leading(self, need: int, end: Rank | None) -> list[Row]:
        best: dict[int, Row] = {}
        self.rows.sort()
        for row in self.rows:
            if len(best) >= need or (end is not None and row[:2] > end):
                break
            if row.chain_id not in self.excluded:
                best.setdefault(row.chain_id, row)
        return list(best.values())
