"""
Between the supply and its store, and between the supply and whoever takes from it: every claim, attempt, refusal and
withdrawal is compared with the model, and carried over to it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from math import ceil

from ocsd.lists.store import ListStore
from ocsd.model.records import Chain, Refusal, Selector, Withdrawal, Withdrawn
from ocsd.sessions.supply import RecordSupply
from tests.ocsd.weeks_model import CAMPAIGN_RESCHEDULED, GENERAL, NEVER_S, PRIORITY, ChainModel, Model, utc
from tests.ocsd.weeks_stores import Tables


class Watch:
    """
    Attributes:
        counts: what was checked, by name.
        whole_claims: the next claims are compared with the best that the whole list has.
    """

    def __init__(self, model: Model, tables: Tables, utc: Callable[[], datetime]) -> None:
        self.model, self.tables, self.utc = model, tables, utc
        self.counts: Counter[str] = Counter()
        self.whole_claims = False

    def now_s(self) -> float:
        return self.utc().timestamp()

    def compare(self, chain: ChainModel, why: str) -> None:
        """Every row of the chain with the table, now."""
        found = self.tables.chain(chain.list_dbid, chain.chain_id)
        wanted = {row.record_id: row.values() for row in chain.rows}
        assert found == wanted, f"{why}, at {self.utc()}: chain {chain.list_dbid}/{chain.chain_id}\n{found}\n{wanted}"
        self.counts["rows compared"] += len(wanted)


class WatchedStore:
    """A ListStore; what it does not watch goes straight through."""

    def __init__(self, store: ListStore, watch: Watch) -> None:
        self._store, self._watch = store, watch
        self.gave_back: Counter[int] = Counter()
        """Chains given back, by list."""
        self.refused_until_s: dict[tuple[int, int], float] = {}
        """Of records whose attempt a cap has refused. Others of the same batch may have been dialed since."""
        self.short: set[int] = set()
        """Lists of which a claim has brought less than it asked for."""
        self.full = False
        """A claim has brought all that was asked for: there may be more."""

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def claim_chains(self, list_dbid, campaign_group_dbid, limit, now, portions) -> list[Chain]:
        watch, at_s = self._watch, now.timestamp()
        types = [int(portion.record_type) for portion in portions]
        assert all(portion.limit is None and portion.agents is None for portion in portions)
        best = watch.model.best_claims(list_dbid, types, at_s) if watch.whole_claims else None
        chains = await self._store.claim_chains(list_dbid, campaign_group_dbid, limit, now, portions)
        self.full = self.full or len(chains) >= limit
        if len(chains) < limit:
            self.short.add(list_dbid)
        if best is not None:
            self._compare_with_best(chains, best, limit)
        watch.counts["claims"] += 1
        last: tuple = ()
        for place, chain in enumerate(chains):
            model = watch.model.chains[chain.key]
            what = f"claimed at {now}: {chain}"
            assert not model.claimed, f"twice: {what}"
            model.claimed, model.place = True, (watch.counts["claims"], place)
            live = model.live
            assert [_copy(row) for row in chain.records] == [_copy(row) for row in live], what
            open_ = [row for row in model.candidates() if watch.model.claimable(row, at_s)]
            assert open_, f"no record of it is due and open: {what}"
            assert chain.record.record_id == open_[0].record_id, f"not its first record: {what}"
            rank = min((row.dial_sched_time or 0, row.record_id) for row in open_)
            order = (types.index(open_[0].record_type), *rank)
            assert order > last, f"after {last}: {what}"
            last = order
        return chains

    def _compare_with_best(self, chains: Sequence[Chain], best: Sequence[ChainModel], limit: int) -> None:
        watch, found = self._watch, [chain.key for chain in chains]
        if not watch.tables.finds_all_waiting:
            # Chains that wait for nobody are looked for a piece at a time: they may come at a later claim.
            best = [chain for chain in best if not chain.waits_for_nobody]
            found = [key for key in found if not watch.model.chains[key].waits_for_nobody]
        wanted = [(chain.list_dbid, chain.chain_id) for chain in best]
        complete = wanted if len(chains) < limit else wanted[: len(found)]
        assert found == complete, f"claim of {limit} at {watch.utc()}: {found}\nnot {wanted}"
        assert len(chains) <= limit
        watch.counts["claims compared with the whole list"] += 1
        watch.counts["chains in them"] += len(chains)

    async def give_back(self, chains: Sequence[Chain]) -> None:
        await self._store.give_back(chains)
        for chain in chains:
            model = self._watch.model.chains[chain.key]
            self.gave_back[chain.list_dbid] += 1
            if model.calling is None:
                model.claimed = False
                self._watch.compare(model, "given back")

    async def release_group(self, campaign_group_dbid: int) -> int:
        released = await self._store.release_group(campaign_group_dbid)
        assert released == 0, f"{released} chains were claimed, and the supply did not know of them"
        self._watch.counts["unloads"] += 1
        return released

    async def refused_by_caps(self, list_dbid, campaign_dbid, records, now) -> dict[int, Refusal]:
        found = await self._store.refused_by_caps(list_dbid, campaign_dbid, records, now)
        model = self._watch.model
        for record in records:
            until_s = model.calls.refused_until_s(model.rows[list_dbid, record.record_id], now.timestamp())
            self._cap(found.get(record.record_id), until_s, record)
        return found

    async def begin_attempts(self, attempts) -> dict[int, Refusal]:
        refused = await self._store.begin_attempts(attempts)
        model = self._watch.model
        for attempt in attempts:
            row = model.rows[attempt.list_dbid, attempt.record_id]
            at_s = attempt.started_at.timestamp()
            self._cap(refused.get(attempt.attempt_id), model.calls.refused_until_s(row, at_s), attempt)
            if attempt.attempt_id in refused:
                self.refused_until_s[row.list_dbid, row.record_id] = refused[attempt.attempt_id].until.timestamp()
            else:
                model.calls.began(row, at_s, attempt.attempt_id)
        return refused

    def _cap(self, refusal: Refusal | None, until_s: int | None, what: object) -> None:
        self._watch.counts["cap questions"] += 1
        self._watch.counts["refused by a cap"] += until_s is not None
        assert (refusal is None) == (until_s is None), f"{refusal}, but the calls say {until_s}: {what}"
        if refusal is not None:
            assert refusal.until == utc(until_s), f"{refusal}, but the calls say {utc(until_s)}: {what}"

    async def withdraw(
        self, list_dbids: Sequence[int], selector: Selector, withdrawal: Withdrawal, *, spare_claimed: bool = False
    ) -> list[Withdrawn]:
        watch, model = self._watch, self._watch.model
        if selector.record is not None:
            meant = [model.rows[selector.record]]
        elif selector.phone is not None:
            meant = model.by_phone[selector.phone]
        else:
            meant = model.by_customer[selector.customer_id]
        meant = [row for row in meant if row.list_dbid in list_dbids]
        found = await self._store.withdraw(list_dbids, selector, withdrawal, spare_claimed=spare_claimed)
        cancel = withdrawal is Withdrawal.CANCEL
        changed = model.withdraw(
            meant, by_handle=selector.record is not None, cancel=cancel, all_chain=selector.all_chain,
            now_s=watch.now_s(),
        )  # fmt: skip
        told = {(row.list_dbid, row.record_id): row for row in found}
        assert sorted((row.list_dbid, row.record_id) for row in found) == sorted(changed), f"{selector} {withdrawal}"
        for key, row in told.items():
            mine = model.rows[key]
            assert (row.chain_id, row.phone, row.claimed) == (
                mine.chain.chain_id, mine.contact_info, mine.chain.claimed,
            ), f"{row} of {mine}"  # fmt: skip
            mid_call = mine.chain.calling is not None
            scope = "all of its chain" if selector.all_chain else "alone"
            watch.counts[f"withdrawn {withdrawal.name} {scope}{' during a call' if mid_call else ''}"] += 1
        for chain in {id(row.chain): row.chain for row in meant}.values():
            watch.compare(chain, f"withdrawn ({withdrawal.name})")
        return found


def _copy(row) -> tuple:
    """The fields of a claimed record (or its model) that decide what becomes of it."""
    return (
        row.record_id, row.contact_info, row.record_type, row.call_result, row.attempt, row.dial_sched_time,
        row.treatments, row.agent_id, row.chain_n, row.tz_dbid, row.daily_from_s, row.daily_till_s,
    )  # fmt: skip


class WatchedSupply(RecordSupply):
    """
    Attributes:
        turns: chains that each list has had taken from the buffer, dialed or not.
        asked, got: of the last take.
    """

    watch: Watch
    watched_store: WatchedStore
    threshold_s = 300.0

    def start_watching(self, watch: Watch, store: WatchedStore) -> None:
        self.watch, self.watched_store = watch, store
        self.turns: Counter[int] = Counter()
        self.asked = self.got = 0
        self._taking = self._sifting = False

    async def take(self, count: int) -> list[Chain]:
        self._taking, given_back = True, Counter(self.watched_store.gave_back)
        try:
            taken = await super().take(count)
        finally:
            self._taking = False
        self.turns += Counter(chain.list_dbid for chain in taken)
        self.turns += self.watched_store.gave_back - given_back
        self.asked, self.got = count, len(taken)
        self._check_order(taken)
        return taken

    async def _sift(self, chains: Sequence[Chain], *, at_dial: bool = False, delivered: bool = False) -> list[Chain]:
        self._sifting = True
        try:
            return await super()._sift(chains, at_dial=at_dial, delivered=delivered)
        finally:
            self._sifting = False

    def _check_order(self, taken: Sequence[Chain]) -> None:
        """Nobody was passed over: by priority in each list, then (General) in the order of claims."""
        models = self.watch.model.chains
        lowest: dict[int, int] = {}
        last: dict[int, tuple[int, int]] = {}
        for chain in taken:
            model = models[chain.key]
            priority = self._priority(chain)
            assert priority <= lowest.get(chain.list_dbid, priority), f"behind {lowest[chain.list_dbid]}: {chain}"
            lowest[chain.list_dbid] = priority
            if priority == PRIORITY[GENERAL] and model.place is not None:
                assert model.place > last.get(chain.list_dbid, (0, 0)), (
                    f"claimed before {last[chain.list_dbid]}: {chain}"
                )
                last[chain.list_dbid] = model.place
        for chain in self.waiting():
            model = models[chain.key]
            priority = self._priority(chain)
            assert priority <= lowest.get(chain.list_dbid, priority), f"passed over for {lowest}: {chain}"
            if priority == PRIORITY[GENERAL] and model.place is not None:
                assert model.place > last.get(chain.list_dbid, (0, 0)), (
                    f"passed over for {last[chain.list_dbid]}: {chain}"
                )
            self.watch.counts["waiting chains compared with those taken"] += 1

    @staticmethod
    def _priority(chain: Chain) -> int:
        """Rescheduled records of an agent go as the campaign's do."""
        return PRIORITY.get(int(chain.record.record_type), PRIORITY[CAMPAIGN_RESCHEDULED])

    def forget(self, withdrawn) -> list[Chain]:
        withdrawn = list(withdrawn)
        for row in withdrawn:
            self.watch.model.chains[row.list_dbid, row.chain_id].place = None
        return super().forget(withdrawn)

    async def postpone(self, chain: Chain, refusal: Refusal, *more: object) -> None:
        """The refusal must be true: its time is the first at which a record of the chain may be dialed."""
        watch, now_s = self.watch, self.watch.now_s()
        model = watch.model.chains[chain.key]
        model.place = None
        row = watch.model.rows[chain.list_dbid, chain.record.record_id]
        what = f"{refusal} for {chain} at {self.watch.utc()}"
        if self._sifting:
            reasons = [
                watch.model.why_not(each, now_s, with_caps=not self._taking) for each in model.candidates()
            ]  # fmt: skip
            assert None not in reasons, f"nothing forbids it: {what}"
            due_s = min(now_s + NEVER_S if until_s is None else until_s for _, until_s in reasons)
            self.turns[chain.list_dbid] += self._taking
        else:  # by the cap that the attempt itself met
            due_s = self.watched_store.refused_until_s[chain.list_dbid, row.record_id]
        told_s = refusal.until.timestamp() if refusal.until is not None else now_s + NEVER_S
        assert told_s == due_s, f"{utc(due_s)} is right: {what}"
        why = next((each for each in ("attempts", "schedule", "attempt cap") if refusal.why.startswith(each)), "hours")
        watch.counts[f"put off: {why}"] += 1
        if row.record_type in watch.model.delivered and due_s - now_s <= self.threshold_s:
            watch.counts["put off for a moment, to be delivered"] += 1
        await super().postpone(chain, refusal, *more)
        if due_s - now_s > self.threshold_s or row.record_type in watch.model.delivered:
            for each in model.live:
                each.dial_sched_time = ceil(due_s)
            model.claimed, model.since_s = False, now_s
        watch.compare(model, f"put off: {refusal.why}")
