"""
The supply of chains to one campaign group: claimed, sifted by every gate, buffered, held until their time, given back.

    claim -> sift --passes--> buffer -> take (admitted, sifted again) -> dialed
               |                ^
               |-- not yet: held in memory while it is soon (treatment_sched_threshold), else written back with its time
               |-- Do-Not-Call: the record becomes NoCall, the chain goes on with its other records
               '-- withdrawn meanwhile: dropped

The gates are asked when a chain is buffered and again right before it is dialed, because windows close, requests not to
be called arrive and counters run on while it waits. Whatever a gate answers, the chain is somewhere: in the buffer,
held, or back in its list; nothing is dropped on the floor. Chains that pre-dial validation is asked about stay in the
buffer meanwhile (`prevalidation`); only those that it admits are taken.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

import structlog

from ocsd.dnc.contract import DoNotCall
from ocsd.lists.buffer import RecordBuffer
from ocsd.lists.store import ListStore
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.errors import ConfigError, StoreUnavailable
from ocsd.model.records import (
    CallingRecord,
    Chain,
    ChainChange,
    ChainSettlement,
    FinishedAttempt,
    Portion,
    Refusal,
    Selector,
    Withdrawal,
    Withdrawn,
)
from ocsd.sessions.held_chains import HeldChains
from ocsd.sessions.planner import Planner
from ocsd.sessions.supply_gates import capped, forbidden
from ocsd.treatments.contract import Decision
from ocsd.treatments.state import turn

log = structlog.get_logger()

EXHAUSTED_RETRY_S: Final = 5.0
"""A list that had nothing to claim is asked again after this long: windows open, records come due."""

UNKNOWN_OPENING: Final = timedelta(days=1)
"""A record that no rule will ever let through is looked at again a day later: somebody may have changed a rule."""

CALLBACKS_AT_ONCE: Final = 50
"""Callbacks claimed per list and look; the rest follows at the next one."""


class Gate(Enum):
    """What holds chains back after they were claimed."""

    HOURS = "hours"
    """Window, zones, legal hours, statistical tables, schedule, attempts."""
    CAPS = "caps"
    DO_NOT_CALL = "do_not_call"
    TRUNKS = "trunks"
    """Refused by the trunks a moment ago (`Placing`)."""


class RecordSupply:
    """
    Owned by one session (or by a run in virtual time). `refill`, `callbacks`, `take` and `postpone` may overlap, as
    each changes what they share without waiting in between; `reconfigure` must not overlap `refill`.

    Args:
        utc: the wall clock.
    """

    def __init__(self, planner: Planner, *, store: ListStore, dnc: DoNotCall, utc: Callable[[], datetime]) -> None:
        self._planner = planner
        self._store = store
        self._dnc = dnc
        self._utc = utc
        self._buffer = RecordBuffer(planner.shares(), planner.group.min_rec_buff_size, planner.group.opt_rec_buff_size)
        self._exhausted_until: dict[int, datetime] = {}
        self._grown: Counter[int] = Counter()
        """How often each list has got a record: one that came while a claim was under way may have been missed."""
        self._held = HeldChains()
        self._unsifted: list[Chain] = []
        """Claimed, and not yet sifted because the database went away meanwhile."""
        self._returning: list[Chain] = []
        """Through an outage: not to be dialed any more, and not yet back in their list (`reconfigure` tries again)."""
        self._gone: dict[tuple[int, int], datetime] = {}
        """When (list DBID, record_id) was withdrawn while its chain was ours: our copy of the row is old. A claim that
        begins later has read the row anew."""
        self._resting: dict[tuple[int, int], datetime] = {}
        """Records (list DBID, record_id) that are not dialed before then: see `rest`."""
        self._broken: dict[int, list[str]] = {}
        """Lists whose table or filter does not work, and why."""
        self._leaving: dict[tuple[int, int], Chain] = {}
        """Taken out of the buffer without a call, by key; what becomes of them is being written."""
        self.admits: Callable[[Chain], bool] | None = None
        """Which chains of the buffer pre-dial validation lets through; None: all."""
        self.refused: Counter[Gate] = Counter()
        """How often each gate (`Gate`) held a chain back, for statistics."""

    # --- figures ------------------------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    @property
    def held(self) -> int:
        """Chains kept in memory for a time that is soon, or until a decision about them is written."""
        return len(self._held) + len(self._unsifted) + len(self._leaving) + len(self._returning)

    def waiting(self) -> Iterator[Chain]:
        """The buffered chains."""
        return self._buffer.chains()

    def in_memory(self) -> list[Chain]:
        """Every chain that is ours and neither on a call nor on a desktop."""
        return [
            *self._buffer.chains(),
            *self._held.chains(),
            *self._unsifted,
            *self._leaving.values(),
            *self._returning,
        ]

    def front(self, count: int, chosen: Callable[[Chain], bool] | None = None) -> list[Chain]:
        """The next ``count`` of the buffered chains (that are ``chosen``); nothing is changed."""
        return self._buffer.front(count, chosen)

    def held_until(self, key: tuple[int, int]) -> datetime | None:
        """Until when the chain (`Chain.key`) is kept in memory; None: it is not held."""
        return self._held.until(key)

    def all_exhausted(self) -> bool:
        """Every list came back short at its last claim, and nothing is left in memory."""
        now = self._utc()
        known = all(self._exhausted_until.get(dbid, now) > now for dbid in self._planner.shares())
        return known and not self.buffered and not self.held

    def look_again(self, list_dbid: int) -> None:
        """The list has got a new record: it is worth asking before `EXHAUSTED_RETRY_S` is over."""
        self._exhausted_until.pop(list_dbid, None)
        self._grown[list_dbid] += 1

    # --- configuration ------------------------------------------------------------------------------------------

    async def reconfigure(self, planner: Planner) -> None:
        """
        Other options, shares, watermarks and filters. Buffered chains of a list whose filter has changed go back and
        are claimed again through the new one; what is being dialed or on a desktop stays (options file, "Filters").
        Raises StoreUnavailable, to be called again then: nothing is lost.
        """
        before, self._planner = self._planner, planner
        self._buffer.set_marks(planner.group.min_rec_buff_size, planner.group.opt_rec_buff_size)
        shares = planner.shares()
        gone = set(before.shares()) - set(shares)
        changed = {dbid for dbid in shares if before.filter_text(dbid) != planner.filter_text(dbid)}
        for list_dbid in gone | changed:
            self._returning += self._buffer.empty_list(list_dbid)
            self._returning += self._held.take(lambda chain, dbid=list_dbid: chain.list_dbid == dbid)  # type: ignore[misc]
            self._returning += [chain for chain in self._unsifted if chain.list_dbid == list_dbid]
            self._unsifted = [chain for chain in self._unsifted if chain.list_dbid != list_dbid]
            self._exhausted_until.pop(list_dbid, None)
        self._buffer.set_shares(shares)
        if self._returning:
            log.info("buffer.returned", chains=len(self._returning), lists=sorted(gone | changed))
            await self._store.give_back(self._returning)
            self._returning.clear()

    # --- claiming -----------------------------------------------------------------------------------------------

    async def refill(self, agents: int) -> int:
        """
        Release what has come due, then claim what the watermarks ask for; returns how many chains are new in the
        buffer. Raises StoreUnavailable; nothing is lost then.
        """
        now = self._utc()
        before = len(self._buffer)
        self._release_due(now)
        if self._unsifted:
            await self._sift_into_buffer([])
        exhausted = frozenset(dbid for dbid, until in self._exhausted_until.items() if until > now)
        for refill in self._buffer.refills(agents, exhausted):
            grown = self._grown[refill.list_dbid]
            chains = await self._claim(refill.list_dbid, refill.limit, self._planner.portions())
            if len(chains) < refill.limit and self._grown[refill.list_dbid] == grown:
                self._exhausted_until[refill.list_dbid] = self._utc() + timedelta(seconds=EXHAUSTED_RETRY_S)
            await self._sift_into_buffer(chains)
        return len(self._buffer) - before

    async def callbacks(self) -> list[Chain]:
        """Claim the due chains that go to desktops: personal ones, campaign callbacks unless OCS dials them."""
        portions = self._planner.delivered_portions()
        found: list[Chain] = []
        try:
            for list_dbid in self._planner.shares():
                found += await self._sift(await self._claim(list_dbid, CALLBACKS_AT_ONCE, portions), delivered=True)
        except StoreUnavailable:
            self._unsifted += found  # they go back to their lists with the next refill
            raise
        return found

    async def _claim(self, list_dbid: int, limit: int, portions: Sequence[Portion]) -> list[Chain]:
        now = self._utc()
        try:
            chains = await self._store.claim_chains(list_dbid, self._planner.group.dbid, limit, now, portions)
        except ConfigError as error:  # until somebody mends it, the group lives by its other lists
            if self._broken.get(list_dbid) != error.problems:
                log.error("list.refused", list_dbid=list_dbid, problems=error.problems)
            self._broken[list_dbid] = error.problems
            return []
        self._broken.pop(list_dbid, None)
        for chain in chains:
            for record in chain.records:
                key = (list_dbid, record.record_id)
                if key in self._gone and self._gone[key] < now:
                    del self._gone[key]  # somebody has put the row back
        return chains

    async def take(self, count: int, chosen: Callable[[Chain], bool] | None = None) -> list[Chain]:
        """
        Up to ``count`` chains (that are ``chosen``) that may be dialed at this instant; those that may not any more are
        put where they belong. Raises StoreUnavailable; the chains not returned are kept.
        """
        taken: list[Chain] = []
        self._release_due(self._utc())
        admits = _both(self.admits, chosen)
        try:
            while len(taken) < count and (chains := self._buffer.take(count - len(taken), admits)):
                for chain in await self._sift(chains, at_dial=True):
                    if admits is None or admits(chain):
                        taken.append(chain)
                    else:  # another record of the chain is to be dialed, about which nobody was asked
                        self._buffer.put(chain.list_dbid, [chain], self._planner.priorities())
        except StoreUnavailable:
            self._unsifted += taken
            raise
        return taken

    # --- gates --------------------------------------------------------------------------------------------------

    async def _sift_into_buffer(self, chains: Sequence[Chain]) -> None:
        waiting, self._unsifted = [*self._unsifted, *chains], []
        if to_desktops := [chain for chain in waiting if self._planner.is_delivered(_type(chain))]:
            # The database went away while they were claimed to be delivered; here they would be dialed.
            waiting = [chain for chain in waiting if chain not in to_desktops]
            try:
                await self._store.give_back(to_desktops)
            except StoreUnavailable:
                self._unsifted += [*to_desktops, *waiting]
                raise
        by_list: dict[int, list[Chain]] = {}
        for chain in await self._sift(waiting):
            by_list.setdefault(chain.list_dbid, []).append(chain)
        for list_dbid, passed in by_list.items():
            self._buffer.put(list_dbid, passed, self._planner.priorities())

    async def _sift(self, chains: Sequence[Chain], *, at_dial: bool = False, delivered: bool = False) -> list[Chain]:
        """
        The chains that have a record to dial now, with ``position`` on it; the others are dealt with.

        ``delivered``: they were claimed to be delivered to desktops. Chains may hold records of both kinds.
        """
        if not chains:
            return []
        waiting = list(chains)
        types = self._planner.goes_with(delivered=delivered)
        passed: list[Chain] = []
        try:
            # At the dial the insert itself counts.
            held_back = {} if at_dial else await capped(self._planner, self._store, waiting, self._utc())
            on_dnc = self._forbidden(waiting, at_dial=at_dial)
            while waiting:
                chain = waiting[-1]
                sifted = await self._sift_one(chain, held_back, on_dnc, types)
                waiting.pop()
                if sifted is not None:
                    passed.append(sifted)
        except StoreUnavailable:
            self._unsifted += waiting
            if passed:
                self._unsifted += passed
            raise
        passed.reverse()
        return passed

    async def _sift_one(
        self,
        chain: Chain,
        held_back: dict[tuple[int, int], Refusal],
        on_dnc: set[tuple[int, int]],
        types: Collection[RecordType],
    ) -> Chain | None:
        for record in chain.records:
            key = (chain.list_dbid, record.record_id)
            if key in on_dnc and key not in self._gone:
                await self._store.withdraw(
                    [chain.list_dbid], Selector(record=key, all_chain=False), Withdrawal.DO_NOT_CALL
                )
                self._gone[key] = self._utc()
                self.refused[Gate.DO_NOT_CALL] += 1
                log.info("record.forbidden", list_dbid=chain.list_dbid, record_id=record.record_id)
        left = self.live(chain)
        places = turn(chain, left.records, types) if left is not None else ()
        if left is None or not places:  # what is left is for the claim of the other kind
            await self._store.give_back([chain])
            return None
        now = self._utc()
        refusals: list[tuple[int, Refusal, Gate]] = []
        for place in places:
            record = left.records[place]
            if (refusal := self._planner.refusal(record, now)) is not None:
                refusals.append((place, refusal, Gate.HOURS))
            elif (refusal := held_back.get((chain.list_dbid, record.record_id))) is not None:
                refusals.append((place, refusal, Gate.CAPS))
            elif (until := self._resting.get((chain.list_dbid, record.record_id))) is not None and until > now:
                refusals.append((place, Refusal("refused by the trunks a moment ago", until), Gate.TRUNKS))
            else:
                return left if place == left.position else replace(left, position=place)
        place, refusal, gate = min(refusals, key=lambda entry: _when(entry[1], now))
        await self.postpone(replace(left, position=place), refusal, gate)
        return None

    async def postpone(self, chain: Chain, refusal: Refusal, gate: Gate = Gate.CAPS) -> None:
        """
        Hold the chain until ``refusal`` ends, in memory when that is soon, else in its list.

        What goes to desktops waits in its list always: from memory it would go into the buffer, and be dialed.
        """
        now = self._utc()
        due = _when(refusal, now)
        self.refused[gate] += 1
        log.info("record.held_back", record_id=chain.record.record_id, why=refusal.why, until=due.isoformat())
        soon = due - now <= timedelta(seconds=self._planner.threshold_s(chain.list_dbid))
        if soon and not self._planner.is_delivered(_type(chain)):
            self.hold(chain, due)
            return
        record = chain.record
        await self._store.settle_chain(
            ChainSettlement(
                list_dbid=chain.list_dbid,
                chain_id=chain.chain_id,
                record_id=record.record_id,
                change=ChainChange(
                    record_status=RecordStatus.READY,
                    record_type=RecordType(record.record_type),
                    sibling_status=RecordStatus.READY,
                    dial_sched_time=math.ceil(due.timestamp()),
                    treatments=record.treatments,
                ),
                because=refusal.why,
            )
        )

    def _forbidden(self, chains: Sequence[Chain], *, at_dial: bool) -> set[tuple[int, int]]:
        """Records on Do-Not-Call, by number or customer id."""
        checked = [
            (chain.list_dbid, record)
            for chain in chains
            for record in chain.records
            if not at_dial or self._planner.checks_dnc_at_dial(record)
        ]
        return forbidden(self._planner, self._dnc, checked, self._utc())

    def forbidden_in_memory(self) -> list[tuple[Chain, CallingRecord]]:
        """Records of `in_memory` that have come onto Do-Not-Call since they were claimed."""
        chains = self.in_memory()
        on_dnc = self._forbidden(chains, at_dial=False)
        return [
            (chain, record)
            for chain in chains
            for record in chain.records
            if (chain.list_dbid, record.record_id) in on_dnc
        ]

    def forbids(self, record: CallingRecord, now: datetime) -> bool:
        """Whether the record is on Do-Not-Call, by number or customer id."""
        return bool(forbidden(self._planner, self._dnc, [(record.list_dbid, record)], now))

    # --- after a dial ---------------------------------------------------------------------------------------------

    async def conclude(self, chain: Chain, finished: FinishedAttempt, decision: Decision) -> list[Chain]:
        """
        Commit the end of an attempt; a chain whose claim is kept is held until its next dial, with its rows as they are
        now. Returns chains that nothing is left of, to be given back.
        """
        await self._store.finish_attempt(finished)
        return await self._keep(chain, decision)

    async def _keep(self, chain: Chain, decision: Decision) -> list[Chain]:
        if not decision.change.keep_claim:
            return []
        try:
            rows = await self._store.chain(chain.list_dbid, chain.chain_id)
        except StoreUnavailable:
            return [chain]  # the rows say when it is to be dialed
        if not rows or self._is_somebody_else(chain, rows):
            return [chain]
        place = next((i for i, row in enumerate(rows) if row.record_id == decision.next_record_id), 0)
        self.hold(Chain(chain.list_dbid, chain.chain_id, rows, place), _instant(decision.change.dial_sched_time or 0))
        return []

    def _is_somebody_else(self, before: Chain, rows: Iterable[CallingRecord]) -> bool:
        """A number or customer has been corrected: every gate of a claim has yet to be asked about it."""
        known = {(record.contact_info, self._planner.customer_id(record)) for record in before.records}
        return any((row.contact_info, self._planner.customer_id(row)) not in known for row in rows)

    def remove(self, chain: Chain) -> Chain | None:
        """Take a chain out of the buffer for `settle`; None: it has gone, or its next record is not what it was."""
        found: Chain | None = None
        for there in self._buffer.drop({chain.key}):
            if there.record == chain.record:
                found = self._leaving[there.key] = there
            else:
                self._buffer.put(there.list_dbid, [there], self._planner.priorities())
        return found

    async def settle(self, chain: Chain, decision: Decision, write: Callable[[], Awaitable[bool]]) -> list[Chain]:
        """
        What `remove` has returned leaves by a decision without a call, committed by ``write`` (False: it was not ours
        any more); as `conclude` otherwise.
        """
        try:
            return await self._keep(chain, decision) if await write() else []
        except Exception:  # a row that cannot be written: in memory it is seen, and given back at the unload
            self.hold(chain, self._utc() + UNKNOWN_OPENING)
            raise
        finally:
            del self._leaving[chain.key]

    def let_go(self, chain: Chain) -> list[Chain]:
        """Take one chain out of memory, wherever it is; to be given back."""
        return [*self._buffer.drop({chain.key}), *self._held.take(lambda held: held.key == chain.key)]

    # --- holding and letting go -----------------------------------------------------------------------------------

    def hold(self, chain: Chain, due: datetime) -> None:
        """Keep a claimed chain until ``due`` (aware), then buffer it."""
        self._held.hold(chain, due)

    def rest(self, key: tuple[int, int], until: datetime) -> None:
        """Do not dial the record (list DBID, record_id) before then (aware), whoever has its chain meanwhile."""
        now = self._utc()
        self._resting = {one: due for one, due in self._resting.items() if due > now} | {key: until}

    def _release_due(self, now: datetime) -> None:
        for chain in self._held.due(now):
            self._buffer.put(chain.list_dbid, [chain], self._planner.priorities())

    def forget(self, withdrawn: Iterable[Withdrawn]) -> list[Chain]:
        """
        Rows that have left the lists: their records leave memory at once; returns chains that are empty now, to be
        given back by the caller (which ends their claims).
        """
        keys = {(row.list_dbid, row.record_id) for row in withdrawn if row.claimed}
        chains = {(row.list_dbid, row.chain_id) for row in withdrawn if row.claimed}
        if not keys:
            return []
        now = self._utc()
        self._gone |= dict.fromkeys(keys, now)
        empty: list[Chain] = []
        for chain in self._buffer.drop(chains):
            left = self.live(chain)
            if left is None:
                empty.append(chain)
            else:
                self._buffer.put(left.list_dbid, [left], self._planner.priorities())
        return empty + self._held.change(lambda chain: self.live(chain) if chain.key in chains else chain)

    def live(self, chain: Chain) -> Chain | None:
        """A claimed chain without records that were withdrawn; None when none is left."""
        left = tuple(r for r in chain.records if (chain.list_dbid, r.record_id) not in self._gone)
        if len(left) == len(chain.records):
            return chain
        if not left:
            return None
        position = left.index(chain.record) if chain.record in left else 0
        return replace(chain, records=left, position=position)

    def empty(self) -> list[Chain]:
        """Remove and return everything, to be given back to the lists."""
        chains = [*self._buffer.empty(), *self._held.take(lambda _: True), *self._unsifted, *self._returning]
        self._unsifted.clear()
        self._returning.clear()
        return chains


def _both(one: Callable[[Chain], bool] | None, other: Callable[[Chain], bool] | None) -> Callable[[Chain], bool] | None:
    if one is None or other is None:
        return other if one is None else one
    return lambda chain: one(chain) and other(chain)


def _type(chain: Chain) -> RecordType:
    return RecordType(chain.record.record_type)


def _instant(utc_s: float) -> datetime:
    return datetime.fromtimestamp(utc_s, UTC)


def _when(refusal: Refusal, now: datetime) -> datetime:
    return refusal.until if refusal.until is not None else now + UNKNOWN_OPENING
