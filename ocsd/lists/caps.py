"""Attempt caps over the journal of attempts: who was called how often, across lists, chains and campaigns.

The rules themselves are pure (`ocsd.rules.caps`); here is whose calls each of them counts, and the SQL that finds them.
Counted are attempts under way and those whose INVITE left, of all campaigns of the tenant. Calls of campaigns that are
no longer configured count for every tenant: better one call too few.

What is asked before an attempt and what is written with it must not be torn apart by another daemon: `lock_called`
makes those who dial the same number or customer wait for each other until the end of their transactions.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import psycopg

from ocsd.config.objects import Configuration
from ocsd.model.records import CallingRecord, NewAttempt, Refusal
from ocsd.rules.caps import CapRule, refusal, rules_of

Connection = psycopg.Connection[Any]

LOCK_CLASS: Final = 0x63617073  # "caps"; first key of the advisory locks
LOCK_BUCKETS: Final = 256
"""Numbers and customers share this many locks: a lock each would exhaust the server's table in large batches."""

LONGEST_RING: Final = timedelta(hours=1)
"""A conversation counts from its beginning, its attempt is found by its start: it cannot be further before."""

LAST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Call:
    """An attempt that was made, is under way or is asked for; ``attempt_id`` 0: only asked about."""

    attempt_id: int
    phone: str
    customer_id: str | None
    subject: str | None
    campaign_dbid: int
    list_dbid: int
    started_at: datetime
    connected_at: datetime | None = None


def call_of(attempt: NewAttempt) -> Call:
    return Call(
        attempt.attempt_id, attempt.phone, attempt.customer_id, attempt.subject, attempt.campaign_dbid,
        attempt.list_dbid, attempt.started_at,
    )  # fmt: skip


class Caps:
    """The attempt caps of a configuration."""

    def __init__(self, config: Configuration) -> None:
        self._config = config
        self.rules = cache(self._rules)
        """Rules of a calling list (DBID); none when it has no caps or is unknown."""
        self.foreign = cache(self._foreign)
        """DBIDs of the campaigns of other tenants than that of the campaign (DBID)."""

    def call(self, record: CallingRecord, campaign_dbid: int, now: datetime) -> Call:
        """The call that dialing ``record`` now would be."""
        calling_list = self._config.calling_list_by_dbid(record.list_dbid)
        customer_id, subject = (
            None if not field or (value := record.user_fields.get(field)) in (None, "") else str(value)
            for field in (calling_list.customer_id_field, calling_list.subject_field)
        )
        return Call(0, record.contact_info, customer_id, subject, campaign_dbid, record.list_dbid, now)

    def _rules(self, list_dbid: int) -> tuple[CapRule, ...]:
        found = (entry for entry in self._config.calling_lists if entry.dbid == list_dbid)
        return next((tuple(rules_of(self._config, entry)) for entry in found), ())

    def _foreign(self, campaign_dbid: int) -> frozenset[int]:
        tenants = {campaign.dbid: campaign.tenant for campaign in self._config.campaigns}
        own = tenants.get(campaign_dbid)
        return frozenset(dbid for dbid, tenant in tenants.items() if own is not None and tenant != own)


class History:
    """Calls by number and by customer; grows while a batch is judged."""

    def __init__(self, caps: Caps, past: Iterable[Call]) -> None:
        self._caps = caps
        self._by_phone: dict[str, dict[int, Call]] = defaultdict(dict)
        self._by_customer: dict[str, dict[int, Call]] = defaultdict(dict)
        for call in past:
            self.add(call)

    def add(self, call: Call) -> None:
        self._by_phone[call.phone][call.attempt_id] = call
        if call.customer_id is not None:
            self._by_customer[call.customer_id][call.attempt_id] = call

    def by_rule(self, call: Call) -> list[tuple[CapRule, int, Refusal | None]]:
        """Each rule that holds for the call, how many calls it counts already, and what it says."""
        found = []
        for rule in self._caps.rules(call.list_dbid):
            times = self._times(rule, call)
            since = call.started_at - timedelta(seconds=rule.period_s)
            found.append((rule, sum(at > since for at in times), refusal(rule, times, call.started_at)))
        return found

    def calls(self) -> Iterator[Call]:
        for calls in self._by_phone.values():
            yield from calls.values()

    def refusal(self, call: Call) -> Refusal | None:
        """
        What holds the call back the longest; None: it may be made.

        A row without a customer id is counted by its number where a rule counts by customer.
        """
        found = [
            refused
            for rule in self._caps.rules(call.list_dbid)
            if (refused := refusal(rule, self._times(rule, call), call.started_at)) is not None
        ]
        return max(found, key=lambda refused: refused.until or LAST, default=None)

    def _times(self, rule: CapRule, call: Call) -> list[datetime]:
        """When the calls were made that the rule counts for ``call``."""
        if rule.per == "customer_id" and call.customer_id is not None:
            past = self._by_customer.get(call.customer_id, {})
        else:
            past = self._by_phone.get(call.phone, {})
        foreign = self._caps.foreign(call.campaign_dbid)
        return [
            at
            for other in past.values()
            if other.attempt_id != call.attempt_id
            and other.campaign_dbid not in foreign
            and _same_subject(rule, other, call)
            and (at := other.connected_at if rule.after_conversation else other.started_at) is not None
        ]


def _same_subject(rule: CapRule, other: Call, call: Call) -> bool:
    if rule.subject == "campaign":
        return other.campaign_dbid == call.campaign_dbid
    if rule.subject == "calling_list":
        return other.list_dbid == call.list_dbid
    # A row that does not say what it is about may be about anything.
    return rule.subject == "all" or call.subject is None or other.subject == call.subject


def past_calls(conn: Connection, caps: Caps, calls: Sequence[Call]) -> History:
    """What the caps of ``calls`` must know, by three index scans."""
    capped = [(call, rules) for call in calls if (rules := caps.rules(call.list_dbid))]
    if not capped:
        return History(caps, ())
    since = min(call.started_at - timedelta(seconds=max(rule.period_s for rule in rules)) for call, rules in capped)
    rows = conn.execute(
        """
        SELECT attempt_id, phone, customer_id, subject, campaign_dbid, list_dbid, started_at, connected_at
        FROM ocsd.attempt WHERE phone = ANY(%s::text[]) AND started_at > %s AND counted IS NOT FALSE
        UNION ALL
        SELECT attempt_id, phone, customer_id, subject, campaign_dbid, list_dbid, started_at, connected_at
        FROM ocsd.attempt WHERE customer_id = ANY(%s::text[]) AND started_at > %s AND counted IS NOT FALSE
        UNION ALL
        SELECT attempt_id, redirected_to, customer_id, subject, campaign_dbid, list_dbid, started_at, connected_at
        FROM ocsd.attempt WHERE redirected_to = ANY(%s::text[]) AND started_at > %s AND counted IS NOT FALSE
        """,
        (
            (phones := list({call.phone for call, _ in capped})),
            since - LONGEST_RING,
            list({call.customer_id for call, _ in capped if call.customer_id is not None}),
            since - LONGEST_RING,
            phones,
            since - LONGEST_RING,
        ),
        prepare=False,  # planned for these values: a kept plan would not know how few rows they have
    )
    return History(caps, (Call(*row) for row in rows))


def lock_called(conn: Connection, caps: Caps, calls: Sequence[Call]) -> None:
    """Wait for everybody who is about to dial the same numbers or customers under a cap, and keep others waiting."""
    buckets = {
        zlib.crc32(key.encode()) % LOCK_BUCKETS
        for call in calls
        if caps.rules(call.list_dbid)
        for key in (f"phone {call.phone}", f"customer {call.customer_id}" if call.customer_id is not None else None)
        if key is not None
    }
    if buckets:
        # In ascending order, so that two who meet wait in one direction only.
        conn.execute(
            "SELECT count(pg_advisory_xact_lock(%s, bucket)) FROM"
            " (SELECT bucket FROM unnest(%s::int[]) AS b (bucket) ORDER BY bucket) AS ascending",
            (LOCK_CLASS, sorted(buckets)),
        )


def refused_records(
    conn: Connection, caps: Caps, campaign_dbid: int, records: Sequence[CallingRecord], now: datetime
) -> dict[int, Refusal]:
    """See ListStore.refused_by_caps."""
    calls = {record.record_id: caps.call(record, campaign_dbid, now) for record in records}
    history = past_calls(conn, caps, list(calls.values()))
    return {record_id: refused for record_id, call in calls.items() if (refused := history.refusal(call)) is not None}
