"""What sessions ask of the calling lists; `postgres` and `memory` both keep it (one test suite runs on both).

Durability (style, "the path of one record"): `claim_chains` returns after the claims are committed,
`begin_attempts` after the attempt rows are, `finish_attempt` after result, record, claim and end of attempt are, in
one transaction that a second call with the same attempt id does not change. Every method raises StoreUnavailable when
the database is away, and may then be called again with the same arguments.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol

from ocsd.model.enums import RecordType
from ocsd.model.errors import OcsdError
from ocsd.model.records import (
    AbandonmentCounts,
    AddedRecord,
    CallingRecord,
    Chain,
    ChainSettlement,
    CpdRecording,
    FinishedAttempt,
    NewAttempt,
    NewRecord,
    OpenAttempt,
    Portion,
    Refusal,
    Selector,
    Withdrawal,
    Withdrawn,
)

NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

DEFAULT_PORTIONS: Final = (
    Portion(RecordType.CAMPAIGN_CALLBACK),
    Portion(RecordType.CAMPAIGN_RESCHEDULED),
    Portion(RecordType.GENERAL),
)
"""The types that any agent may take, the most urgent first."""


class ClaimLost(OcsdError):
    """The chain of an attempt is not claimed by this daemon (any more); dialing it could dial it twice."""


class RecordExists(OcsdError):
    """The list has a record with that chain_id and chain_n."""


class ChainMissing(OcsdError):
    """The list has no chain with that chain_id."""


class AddRefused(OcsdError):
    """The database would not take the row (a type, a length, a constraint or trigger of the operator's)."""


@dataclass(frozen=True, slots=True)
class ListCounts:
    """Rows of one calling list by (record_status, record_type), chains that are ready, and rows by call result."""

    by_status_and_type: Mapping[tuple[int, int], int]
    by_call_result: Mapping[int, int]
    ready_chains: int
    ready_in_window: int
    held_back: Mapping[str, int] = field(default_factory=dict)
    """Rows that are not dialed now, by reason in words: wrong combination of status and type, attempts used up,
    scheduled for later, window closed..."""


class ListStore(Protocol):
    owner: str
    """Name of this daemon's run (unique per start); claims carry it."""

    async def claim_chains(
        self,
        list_dbid: int,
        campaign_group_dbid: int,
        limit: int,
        now: datetime,
        portions: Sequence[Portion] = DEFAULT_PORTIONS,
    ) -> list[Chain]:
        """
        Claim up to ``limit`` chains that have a record to dial at ``now``, portion by portion, best first in each.

        A record may be dialed when its status is Ready, its type is the portion's, it has fewer attempts than the
        list's maximum, its schedule is due and its daily window is open in its zone; in a chain of a rescheduled or
        callback type only the record that the treatment state names, as long as that is Ready. General chains come in
        the filter's order, the others by schedule. The claim takes all Ready rows of the chain that the list's filter
        admits: they become Retrieved, and the claim (owner, lease) is stored in the same statement. ``position`` is
        the first record that may be dialed. Chains locked or claimed by others are skipped.
        """
        ...

    async def give_back(self, chains: Sequence[Chain]) -> None:
        """Make undialed claimed chains Ready again, as they were."""
        ...

    async def release_group(self, campaign_group_dbid: int) -> int:
        """Give back whatever this daemon still claims for the group without an open attempt; returns how many."""
        ...

    async def settle_chain(self, settlement: ChainSettlement) -> bool:
        """Commit a decision about a claimed chain without an open attempt; False: not claimed by us (any more)."""
        ...

    async def refused_by_caps(
        self, list_dbid: int, campaign_dbid: int, records: Sequence[CallingRecord], now: datetime
    ) -> dict[int, Refusal]:
        """Which of the records (by record_id) an attempt cap holds back at ``now``, and until when."""
        ...

    async def begin_attempts(self, attempts: Sequence[NewAttempt]) -> Mapping[int, Refusal]:
        """
        Commit attempt rows (group-committed with those of other callers) before any INVITE leaves.

        Returns, by attempt id, those that an attempt cap refuses, or whose record was withdrawn meanwhile (``until``
        None): they are not written and must not be dialed. Caps are counted in the same transaction, so two daemons
        cannot pass one together.

        Raises ClaimLost when a chain is no longer claimed by this owner (lease taken over, given back): none of this
        call's attempts may be dialed then. After a cancel the rows may exist: call `finish_attempt` or leave them to
        start-up.
        """
        ...

    async def redirect_attempt(
        self, attempt_id: int, record: CallingRecord, campaign_dbid: int, now: datetime
    ) -> Refusal | None:
        """
        An open attempt goes on to another number, that of ``record``: commit it before the INVITE leaves.

        None: it may be called, and is written; else the attempt cap that holds it back. Raises StoreUnavailable.
        """
        ...

    async def mark_answered(self, attempt_id: int, answered_at: datetime) -> None:
        """Queue the answer time; written soon, not waited for."""
        ...

    async def mark_connected(self, attempt_id: int, connected_at: datetime, agent_id: str) -> None:
        """Queue the connection mark (agent and time) that a restart needs; written soon, not waited for."""
        ...

    async def note_correction(
        self,
        attempt_id: int,
        call_result: int | None,
        updates: Mapping[str, object],
        asks: Mapping[str, object] = NOTHING,
    ) -> Callable[[], Awaitable[None]]:
        """
        Queue what the desktop has corrected in an open record, for a restart; ``updates`` add to earlier ones.

        ``asks``: what it wants when the record is closed (see OpenAttempt); adds to earlier ones too. Returns what to
        await for the moment at which it is on disk, however long the database is away.
        """
        ...

    async def finish_attempt(self, finished: FinishedAttempt) -> bool:
        """Commit the result; False when this attempt had already been finished (nothing is changed then)."""
        ...

    async def note_recording(self, recording: CpdRecording) -> None:
        """
        Commit what is known of a recording of the analysis; one that is known already stays as it is.

        Only a note of why there is no file gives way to the file.
        """
        ...

    async def open_attempts(self) -> list[OpenAttempt]:
        """Attempts without an end, of any owner: what start-up must adopt or settle."""
        ...

    async def caller_ids_used(self, since: datetime, most: int) -> dict[str, list[datetime]]:
        """When calls began that showed each number of a caller ID set, oldest first; no more than the last ``most``."""
        ...

    async def records(self, list_dbid: int, record_ids: Sequence[int]) -> dict[int, CallingRecord]:
        """The rows as they are now, by record_id; those that are gone are missing."""
        ...

    async def chain(self, list_dbid: int, chain_id: int) -> tuple[CallingRecord, ...]:
        """The live rows (Retrieved) of a claimed chain as they are now, in the order of the chain."""
        ...

    async def withdraw(
        self, list_dbids: Sequence[int], selector: Selector, withdrawal: Withdrawal, *, spare_claimed: bool = False
    ) -> list[Withdrawn]:
        """
        Take the selected rows with status Ready or Retrieved out of the lists, in one transaction.

        ``spare_claimed``: leave chains alone that a daemon holds; they are only reported.
        """
        ...

    async def add_record(self, record: NewRecord) -> AddedRecord:
        """
        Commit a new row (group-committed with those of other callers).

        A row added to a chain that somebody has claimed is Ready, and is dialed once that claim has ended. Raises
        RecordExists, ChainMissing, AddRefused; then nothing is written.
        """
        ...

    @property
    def available(self) -> bool:
        """
        Whether the database answered when it was last asked. Used to refuse requests that would otherwise have to wait
        for it; costs nothing, and while it is False somebody looks every second or so whether it is back.
        """
        ...

    async def recover_claims(self) -> int:
        """Give back chains claimed by dead owners that have no open attempt; return how many."""
        ...

    async def counts(self, list_dbid: int, now: datetime) -> ListCounts: ...

    async def abandonment(
        self, campaign_dbid: int, since: datetime, group_dbids: Sequence[int] = ()
    ) -> AbandonmentCounts:
        """
        People of the campaign and those who got no agent, of all nodes, from the quarter of an hour ``since`` on.

        A result and its person are committed together (`FinishedAttempt.person`). ``group_dbids``: the campaign's
        groups; which of them others dial is told too.
        """
        ...

    async def machines_given(self, campaign_group_dbid: int, since: datetime) -> list[datetime]:
        """When answering machines went to the group's agents as test calls, since then, of calls that have ended."""
        ...

    async def next_attempt_ids(self, count: int) -> list[int]:
        """Reserve ids (blocks from a sequence; cheap)."""
        ...
