"""Records that leave the lists for good: cancelled, or put on Do-Not-Call. `RecordService` is the way in."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import structlog

from ocsd.config.options import CANCEL_ON_DESKTOP, lookup
from ocsd.dnc.contract import DncEntry
from ocsd.lists.numbers import NumberRefused, normaliser
from ocsd.model.enums import CallResult, ChainAttr, RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import CallingRecord, Chain, ChainChange, Selector, Withdrawal, Withdrawn
from ocsd.sessions import attempt_events as events
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.held import Held, OnDisk, RecordsInHand
from ocsd.sessions.patience import through_outages
from ocsd.sessions.session import Session

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a cancel or Do-Not-Call means: the handle decides before the phone, that before the customer ID."""

    handle: int | None = None
    phone: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """``incomplete``: records on desktops have been left alone (option cancel-on-desktop)."""

    records: int
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """A record in memory that had to be withdrawn, and its customer."""

    row: Withdrawn
    customer_id: str | None

    def meant_by(self, selector: Selector) -> bool:
        if selector.phone is not None:
            return selector.phone == self.row.phone
        return selector.customer_id == self.customer_id


class Withdrawals:
    """
    Attributes:
        on_cancelled: told of each record that somebody else has withdrawn while it is on a desktop.
    """

    def __init__(self, campaigns: Campaigns, in_hand: RecordsInHand) -> None:
        self._campaigns = campaigns
        self._in_hand = in_hand
        self.on_cancelled: Callable[[Held, ChainAttr], None] = lambda held, chain_attr: None

    # --- cancelling ---------------------------------------------------------------------------------------------

    def cancel(
        self,
        target: Target,
        chain_attr: ChainAttr,
        *,
        sessions: Sequence[Session] | None = None,
        lists: Collection[int] | None = None,
    ) -> OnDisk[Cancelled]:
        """
        RequestRecordCancel, CM_ReqCancelRecord.

        Args:
            sessions: whose campaigns' lists are searched for the phone number or customer ID; None: all loaded ones.
            lists: only these of them.
        """
        if target.handle is not None:
            return self._cancel_held(self._in_hand.find(target.handle), chain_attr)
        searched = list(sessions) if sessions is not None else list(self._campaigns.sessions.values())
        selectors = self._selectors(target, chain_attr, searched)
        chosen = [dbid for dbid in _lists_of(searched) if lists is None or dbid in lists]

        async def cancelled() -> Cancelled:
            found = [await self._cancel_selected(selector, chosen, chain_attr) for selector in selectors]
            return Cancelled(sum(each.records for each in found), any(each.incomplete for each in found))

        return cancelled

    def _cancel_held(self, held: Held, chain_attr: ChainAttr) -> OnDisk[Cancelled]:
        all_chain = chain_attr is ChainAttr.ALL_CHAIN
        release = self._close(held, _cancelled(held.record, all_chain=all_chain), "cancelled on the desktop")

        async def cancelled() -> Cancelled:
            selector = Selector(record=(held.chain.list_dbid, held.record.record_id), all_chain=all_chain)
            rows = await self._withdraw([held.chain.list_dbid], selector, Withdrawal.CANCEL)
            await release(events.Cancelled())
            return Cancelled(len(rows))

        return cancelled

    async def _cancel_selected(self, selector: Selector, lists: Sequence[int], chain_attr: ChainAttr) -> Cancelled:
        if lookup(self._campaigns.config, CANCEL_ON_DESKTOP):
            rows = await self._withdraw(lists, selector, Withdrawal.CANCEL)
            await self._let_go(rows, chain_attr, events.Cancelled())
            return Cancelled(len(rows))
        seen = await self._withdraw(lists, selector, Withdrawal.CANCEL, spare_claimed=True)
        cancelled = sum(not row.claimed for row in seen)
        incomplete = False
        for row in seen:
            if not row.claimed:
                continue
            if any(held.on_desktop for held in self._holding(row)):
                incomplete = True
                continue
            one = Selector(record=(row.list_dbid, row.record_id), all_chain=selector.all_chain)
            rows = await self._withdraw([row.list_dbid], one, Withdrawal.CANCEL)
            await self._let_go(rows, chain_attr, events.Cancelled())
            cancelled += len(rows)
        return Cancelled(cancelled, incomplete)

    # --- Do-Not-Call --------------------------------------------------------------------------------------------

    def do_not_call(
        self,
        target: Target,
        chain_attr: ChainAttr,
        *,
        message: str = "",
        duration_s: int | None = None,
        tenant_dbid: int | None = None,
    ) -> OnDisk[int]:
        """
        DoNotCall, CM_ReqDoNotCall; the number of rows that left the lists is what there is to await.

        Args:
            duration_s: how long it holds; None: for ever.
            tenant_dbid: for a phone or customer ID: whose campaigns it holds for; None: every tenant's. A handle names
                its own.
        """
        requested_at = self._campaigns.clock.utc()
        held = self._in_hand.find(target.handle) if target.handle is not None else None
        if held is not None:
            tenant_dbid = held.session.planner.tenant_dbid
        searched = [
            session
            for session in self._campaigns.sessions.values()
            if tenant_dbid is None or session.planner.tenant_dbid == tenant_dbid
        ]
        common = {
            "tenant_dbid": tenant_dbid,
            "requested_at": requested_at,
            "message": message,
            "expires_at": requested_at + timedelta(seconds=duration_s) if duration_s is not None else None,
            "campaign_dbid": held.session.campaign.dbid if held is not None else None,
            "list_dbid": held.chain.list_dbid if held is not None else None,
        }
        all_chain = chain_attr is ChainAttr.ALL_CHAIN
        release: Callable[[events.Event], Awaitable[None]] | None = None
        if held is not None:
            # "it inserts all of the phone numbers in the chain", also one that the agent has just corrected.
            records = held.chain.records if all_chain else (held.record,)
            phones = list(dict.fromkeys([*(r.contact_info for r in records), held.as_corrected.contact_info]))
            selectors = [
                Selector(record=(held.chain.list_dbid, held.record.record_id), all_chain=all_chain),
                *(Selector(phone=phone, all_chain=False) for phone in phones),
            ]
            release = self._close(held, _forbidden(held.record, all_chain=all_chain), "put on Do-Not-Call")
        else:
            selectors = self._selectors(target, chain_attr, searched)
            phones = [selector.phone for selector in selectors if selector.phone is not None]
        entries = [DncEntry(phone=phone, customer_id=None, **common) for phone in phones]  # type: ignore[arg-type]
        if not entries:
            entries = [DncEntry(phone=None, customer_id=target.customer_id, **common)]  # type: ignore[arg-type]

        async def forbidden() -> int:
            if not self._campaigns.store.available:
                await self._hang_up(searched, phones, target.customer_id, held, all_chain=all_chain)
            await self._in_force(entries)
            rows: list[Withdrawn] = []
            lists = _lists_of(searched)
            for selector in selectors:
                where = [selector.record[0]] if selector.record is not None else lists
                rows += await self._withdraw(where, selector, Withdrawal.DO_NOT_CALL)
            if held is not None and (joined := {row.phone: None for row in rows if row.phone not in phones}):
                # Numbers that have joined the chain since it was loaded.
                more = [DncEntry(phone=phone, customer_id=None, **common) for phone in joined]  # type: ignore[arg-type]
                await self._in_force(more)
            if release is not None:
                await release(events.Withdrawn())
            await self._let_go(rows, chain_attr, events.Withdrawn(), phones=phones)
            try:
                await self._campaigns.dnc.note_effect(entries, self._campaigns.clock.utc(), len(rows))
            except StoreUnavailable as error:  # a figure for reports; what it measures is done
                log.warning("dnc.effect_unnoted", error=str(error))
            log.info("dnc.requested", entries=len(entries), rows=len(rows))
            return len(rows)

        return forbidden

    async def forbidden_elsewhere(self, entries: Sequence[DncEntry]) -> list[int]:
        """
        Do-Not-Call has changed without a request of this daemon: what it holds is looked through first, because those
        calls may be ringing; then the rows of ``entries`` leave the lists of the loaded campaigns.

        An entry names a number or a customer and no chain, so the other records of a chain may still be dialed.

        Returns how many rows each entry has withdrawn: 0 for one that no longer holds.
        """
        found = await self._look_through()
        return [await self._withdraw_entry(entry, found) for entry in entries]

    async def _look_through(self) -> list[_Found]:
        """Withdraw the records in buffers, calls and on desktops that are on Do-Not-Call by now."""
        now = self._campaigns.clock.utc()
        found: list[_Found] = []
        for session in list(self._campaigns.running):
            held = [(h.chain, h.record) for h in self._in_hand.all() if h.session is session]
            held = [(chain, record) for chain, record in held if session.supply.forbids(record, now)]
            found += [
                _Found(
                    Withdrawn(chain.list_dbid, record.record_id, chain.chain_id, record.contact_info, claimed=True),
                    session.planner.customer_id(record),
                )
                for chain, record in [*held, *session.supply.forbidden_in_memory()]
            ]
        for row in (each.row for each in found):
            selector = Selector(record=(row.list_dbid, row.record_id), all_chain=False)
            await self._withdraw([row.list_dbid], selector, Withdrawal.DO_NOT_CALL)
        # Another daemon may have withdrawn the rows already; here they are in memory all the same.
        rows = [each.row for each in found]
        for session in list(self._campaigns.running):
            await self._give_back(session.supply.forget(rows))
        await self._let_go(rows, ChainAttr.RECORD_ONLY, events.Withdrawn())
        if rows:
            log.info("dnc.looked_through", records=len(rows))
        return found

    async def _withdraw_entry(self, entry: DncEntry, found: Sequence[_Found]) -> int:
        now, dnc = self._campaigns.clock.utc(), self._campaigns.dnc
        sessions = list(self._campaigns.sessions.values())
        withdrawn: dict[tuple[int, int], Withdrawn] = {}
        for phone, customer_id in ((entry.phone, None), (None, entry.customer_id)):
            # Asked of each tenant; and it may have ended, or been removed again, before we came to it.
            if phone:
                obeying = [s for s in sessions if dnc.forbidden(s.planner.tenant_dbid, [phone], now)[0]]
            elif customer_id:
                obeying = [s for s in sessions if dnc.customers_forbidden(s.planner.tenant_dbid, [customer_id], now)[0]]
            else:
                continue
            lists = _lists_of(obeying)
            for selector in self._selectors(Target(None, phone, customer_id), ChainAttr.RECORD_ONLY, obeying):
                rows = await self._withdraw(lists, selector, Withdrawal.DO_NOT_CALL)
                if any(row.claimed for row in rows):  # claimed since we have looked through what we hold
                    await self._let_go(rows, ChainAttr.RECORD_ONLY, events.Withdrawn())
                rows += [each.row for each in found if each.row.list_dbid in lists and each.meant_by(selector)]
                withdrawn |= {(row.list_dbid, row.record_id): row for row in rows}
        return len(withdrawn)

    async def _hang_up(
        self,
        sessions: Sequence[Session],
        phones: Sequence[str],
        customer_id: str | None,
        named: Held | None,
        *,
        all_chain: bool,
    ) -> None:
        """Before the database is back, people who must not be called would answer: what is no conversation ends."""
        if named is not None and named.task is not None and not named.on_desktop:
            named.task.post(events.Withdrawn())
        for held in self._in_hand.all():
            if held.task is None or held.on_desktop or held.session not in sessions:
                continue
            theirs = held.session.planner.customer_id(held.record)
            if held.record.contact_info in phones or (customer_id is not None and customer_id == theirs):
                change = _forbidden(held.record, all_chain=all_chain)
                await self._close(held, change, "put on Do-Not-Call")(events.Withdrawn())

    async def _in_force(self, entries: Sequence[DncEntry]) -> None:
        await through_outages("dnc.not_on_disk", partial(self._campaigns.dnc.add, entries), entries=len(entries))

    # --- what cancel and Do-Not-Call share --------------------------------------------------------------------------

    def _close(self, held: Held, change: ChainChange, because: str) -> Callable[[events.Event], Awaitable[None]]:
        """Nobody finds the record from now on. Await the returned once its rows are withdrawn."""
        if held.task is not None:
            task = held.task
            task.context.withdrawn = True
            task.context.closing = change  # should the attempt end before its rows are withdrawn
            task.context.closing_unless_answered = False

            async def told(event: events.Event) -> None:
                task.post(event)

            return told
        assert held.desk is not None
        # The record itself is withdrawn by then; what this writes is the end of the claim, and the rest of the chain.
        settlement = replace(self._in_hand.settlement(held.desk, change, because), updates={})
        written = self._in_hand.settle(held.session, held.desk, settlement)

        async def settled(event: events.Event) -> None:
            await written()

        return settled

    async def _withdraw(
        self, lists: Sequence[int], selector: Selector, kind: Withdrawal, *, spare_claimed: bool = False
    ) -> list[Withdrawn]:
        """Rows out of the lists, then out of the buffers: from here on nobody dials them."""
        if not lists:
            return []
        rows = await through_outages(
            "record.withdrawal_waits",
            partial(self._campaigns.store.withdraw, lists, selector, kind, spare_claimed=spare_claimed),
        )
        if not spare_claimed:
            for session in list(self._campaigns.running):
                await self._give_back(session.supply.forget(rows))
        return rows

    async def _give_back(self, chains: Sequence[Chain]) -> None:
        """Chains without a live row: giving them back ends their claims."""
        if chains:
            await through_outages(
                "record.give_back_waits", partial(self._campaigns.store.give_back, chains), chains=len(chains)
            )

    async def _let_go(
        self, rows: Iterable[Withdrawn], chain_attr: ChainAttr, event: events.Event, phones: Sequence[str] = ()
    ) -> None:
        """Calls that are not answered yet are hung up, other desktops get RecordCancel; conversations go on."""
        keys = {(row.list_dbid, row.record_id) for row in rows}
        # Calls first: they are told at once, a record on a desk waits for the disk.
        for held in sorted(self._in_hand.all(), key=lambda held: held.desk is not None):
            if held.desk is not None and held.desk.closing:
                continue  # settled by another request while the one before was written
            record = held.record
            if (held.chain.list_dbid, record.record_id) not in keys and record.contact_info not in phones:
                continue
            if held.on_desktop:
                self.on_cancelled(held, chain_attr)
            all_chain = chain_attr is ChainAttr.ALL_CHAIN
            change = (
                _cancelled(record, all_chain=all_chain)
                if isinstance(event, events.Cancelled)
                else _forbidden(record, all_chain=all_chain)
            )
            await self._close(held, change, "withdrawn by somebody else")(event)

    def _holding(self, row: Withdrawn) -> list[Held]:
        return [held for held in self._in_hand.all() if held.chain.key == (row.list_dbid, row.chain_id)]

    def _selectors(self, target: Target, chain_attr: ChainAttr, sessions: Sequence[Session]) -> list[Selector]:
        all_chain = chain_attr is ChainAttr.ALL_CHAIN
        if target.phone is not None:
            return [Selector(phone=phone, all_chain=all_chain) for phone in self._meanings(target.phone)]
        return [Selector(customer_id=target.customer_id, all_chain=all_chain)]

    def _meanings(self, phone: str) -> list[str]:
        """
        The number as lists hold it (E.164), in each country that lists and trunks are for; as written when there is
        none. A request not to be called that is read in one country only might miss the record it is about.
        """
        found: dict[str, None] = {}
        config = self._campaigns.config
        countries = {trunk.country for trunk in config.trunks} | {entry.country for entry in config.calling_lists}
        for country in sorted(countries):
            try:
                found[normaliser(country)(phone).number] = None
            except NumberRefused:
                continue
        return list(found) or [phone]


def _lists_of(sessions: Iterable[Session]) -> list[int]:
    return sorted({dbid for session in sessions for dbid in session.planner.shares()})


def _cancelled(record: CallingRecord, *, all_chain: bool) -> ChainChange:
    return ChainChange(
        RecordStatus.CANCELED,
        RecordType(record.record_type),
        sibling_status=RecordStatus.CANCELED if all_chain else RecordStatus.UPDATED,
        sibling_result=int(CallResult.CANCEL_RECORD) if all_chain else None,
    )


def _forbidden(record: CallingRecord, *, all_chain: bool) -> ChainChange:
    """Of a chain of which one record became NoCall "all other records in the chain can be considered for dialing"."""
    return ChainChange(
        RecordStatus.UPDATED,
        RecordType.NO_CALL,
        sibling_status=RecordStatus.UPDATED if all_chain else RecordStatus.READY,
        sibling_type=RecordType.NO_CALL if all_chain else None,
        sibling_result=int(CallResult.DO_NOT_CALL) if all_chain else None,
    )
