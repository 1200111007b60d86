"""What sessions ask of the calling lists; `postgres` and `memory` both keep it (one test suite runs on both).

Durability (style, "the path of one record"): `claim_chains` returns after the claims are committed,
`begin_attempts` after the attempt rows are, `finish_attempt` after result, record, claim and end of attempt are, in
one transaction that a second call with the same attempt id does not change. Every method raises StoreUnavailable when
the database is away, and may then be called again with the same arguments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ocsd.model.errors import OcsdError
from ocsd.model.records import CallingRecord, Chain, FinishedAttempt, NewAttempt, OpenAttempt


class ClaimLost(OcsdError):
    """The chain of an attempt is not claimed by this daemon (any more); dialing it could dial it twice."""


@dataclass(frozen=True, slots=True)
class ListCounts:
    """Rows of one calling list by (record_status, record_type), chains that are ready, and rows by call result."""

    by_status_and_type: Mapping[tuple[int, int], int]
    by_call_result: Mapping[int, int]
    ready_chains: int
    ready_in_window: int


class ListStore(Protocol):
    owner: str
    """Name of this daemon's run (unique per start); claims carry it."""

    async def claim_chains(self, list_dbid: int, campaign_group_dbid: int, limit: int, now: datetime) -> list[Chain]:
        """
        Claim up to ``limit`` chains whose first dialable record may be dialed at ``now``, best first.

        Only rows with status Ready, an allowed record type, fewer attempts than the list's maximum, a schedule that is
        due and an open daily window in their zone are claimed; the chain's rows become Retrieved and the claim
        (owner, lease) is stored in the same statement. Chains locked or claimed by others are skipped.
        """
        ...

    async def give_back(self, chains: Sequence[Chain]) -> None:
        """Make undialed claimed chains Ready again."""
        ...

    async def begin_attempts(self, attempts: Sequence[NewAttempt]) -> None:
        """
        Commit attempt rows (group-committed with those of other callers) before any INVITE leaves.

        Raises ClaimLost when a chain is no longer claimed by this owner (lease taken over, given back): none of this
        call's attempts may be dialed then. After a cancel the rows may exist: call `finish_attempt` or leave them to
        start-up.
        """
        ...

    async def mark_answered(self, attempt_id: int, answered_at: datetime) -> None:
        """Queue the answer time; written soon, not waited for."""
        ...

    async def mark_connected(self, attempt_id: int, connected_at: datetime, agent_id: str) -> None:
        """Queue the connection mark (agent and time) that a restart needs; written soon, not waited for."""
        ...

    async def note_correction(self, attempt_id: int, call_result: int | None, updates: Mapping[str, object]) -> None:
        """Queue what the desktop has corrected in an open record, for a restart; ``updates`` add to earlier ones."""
        ...

    async def finish_attempt(self, finished: FinishedAttempt) -> bool:
        """Commit the result; False when this attempt had already been finished (nothing is changed then)."""
        ...

    async def open_attempts(self) -> list[OpenAttempt]:
        """Attempts without an end, of any owner: what start-up must adopt or settle."""
        ...

    async def records(self, list_dbid: int, record_ids: Sequence[int]) -> dict[int, CallingRecord]:
        """The rows as they are now, by record_id; those that are gone are missing."""
        ...

    async def recover_claims(self) -> int:
        """Give back chains claimed by dead owners that have no open attempt; return how many."""
        ...

    async def counts(self, list_dbid: int, now: datetime) -> ListCounts: ...

    async def next_attempt_ids(self, count: int) -> list[int]:
        """Reserve ids (blocks from a sequence; cheap)."""
        ...
