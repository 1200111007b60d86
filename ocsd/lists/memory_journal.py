"""What a MemoryDatabase keeps besides rows, claims and attempts; `memory_results` writes it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from ocsd.config.objects import Configuration
from ocsd.lists.abandonment import bucket_s
from ocsd.lists.caps import Call, Caps
from ocsd.lists.outbox import OutboxItem
from ocsd.model.records import (
    AbandonmentBucket,
    AbandonmentCounts,
    ChainSettlement,
    CpdRecording,
    NewAttempt,
    PersonFound,
    Statement,
)


@dataclass(frozen=True, slots=True)
class MemoryDecision:
    """A row of ``ocsd.decision``."""

    owner: str
    table: str
    settlement: ChainSettlement
    decided_at: datetime


@dataclass(slots=True)
class MemoryItem:
    """A row of ``ocsd.outbox``."""

    item: OutboxItem
    next_try_at: datetime
    last_error: str | None = None
    done_at: datetime | None = None
    given_up_at: datetime | None = None


@dataclass(slots=True)
class MemoryJournal:
    """
    Attributes:
        decisions: in the order in which they were made.
        statements: SQL statements that would have been run, in order.
        outbox: by item id.
        recordings: of the analysis, by path.
        redirected: numbers that attempts (by id) went on to.
    """

    decisions: list[MemoryDecision] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    outbox: dict[int, MemoryItem] = field(default_factory=dict)
    recordings: dict[str, CpdRecording] = field(default_factory=dict)
    redirected: dict[int, str] = field(default_factory=dict)
    _by_phone: dict[str, dict[int, NewAttempt]] = field(default_factory=lambda: defaultdict(dict))
    _by_customer: dict[str, dict[int, NewAttempt]] = field(default_factory=lambda: defaultdict(dict))
    _people: dict[tuple[int, int], AbandonmentBucket] = field(default_factory=dict)
    _caps: tuple[Configuration, Caps] | None = None

    def caps(self, config: Configuration) -> Caps:
        if self._caps is None or self._caps[0] is not config:
            self._caps = config, Caps(config)
        return self._caps[1]

    def note(self, attempt: NewAttempt) -> None:
        """Remember whom an attempt calls, for caps."""
        self._by_phone[attempt.phone].setdefault(attempt.attempt_id, attempt)
        if attempt.customer_id is not None:
            self._by_customer[attempt.customer_id].setdefault(attempt.attempt_id, attempt)

    def redirect(self, attempt_id: int, phone: str, attempt: NewAttempt) -> None:
        """The attempt has gone on to another number, which is called too."""
        self.redirected[attempt_id] = phone
        self._by_phone[phone][attempt_id] = replace(attempt, phone=phone)

    def count_person(self, campaign_dbid: int, person: PersonFound) -> None:
        """The twin of `abandonment.add`."""
        key = campaign_dbid, bucket_s(person)
        found = self._people.get(key, AbandonmentBucket(key[1], 0, 0, 0))
        self._people[key] = AbandonmentBucket(
            key[1], found.people + 1, found.abandoned + person.abandoned, found.late + person.late
        )

    def abandonment(self, campaign_dbid: int, since: datetime, others: int) -> AbandonmentCounts:
        """See ListStore."""
        found = sorted(
            (bucket for (dbid, _), bucket in self._people.items() if dbid == campaign_dbid),
            key=lambda bucket: bucket.start_s,
        )
        recent = tuple(bucket for bucket in found if bucket.start_s >= since.timestamp())
        return AbandonmentCounts(found[0].start_s if found else None, recent, others)

    def attempts_to(self, calls: Iterable[Call]) -> Iterator[NewAttempt]:
        """Every attempt to the number or customer of one of ``calls``."""
        for call in calls:
            yield from self._by_phone.get(call.phone, {}).values()
            if call.customer_id is not None:
                yield from self._by_customer.get(call.customer_id, {}).values()
