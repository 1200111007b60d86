"""`ListStore` on PostgreSQL: claims, attempts and results, durable as the store's contract says.

Two writer tasks group-commit: one for attempts about to be dialed (a caller waits for the disk; when the database is
away it gets StoreUnavailable and dials nothing), one for results and marks (kept in memory and tried again until they
are written). A heartbeat renews the leases of our claims and undoes claim calls whose outcome was lost.
"""

import socket
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import psycopg
import structlog
import trio
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists import (
    abandonment,
    caps,
    claiming,
    counting,
    journal,
    reader,
    recordings,
    redirecting,
    releasing,
    verified,
    withdrawing,
)
from ocsd.lists.adding import Answer, until_taken, write_records
from ocsd.lists.batcher import Batcher
from ocsd.lists.caps import Caps
from ocsd.lists.claiming import chains_of
from ocsd.lists.embedded import EmbeddedPostgres, data_folder
from ocsd.lists.journal import Correction, Decided, Item, Mark
from ocsd.lists.migrate import migrate
from ocsd.lists.pool import Connection, Database, open_database
from ocsd.lists.selection import RECORD_COLUMNS, Selection, order_of, parameters, selection_of
from ocsd.lists.store import DEFAULT_PORTIONS, NOTHING, ClaimLost, ListCounts
from ocsd.lists.tables import table_of
from ocsd.model.enums import RecordType
from ocsd.model.errors import StoreUnavailable
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

log = structlog.get_logger(__name__)

MAX_BATCH: Final = 1000
"""Rows per transaction: past this the rate no longer grows, but the last caller's wait does."""

MAX_WAITING: Final = 20_000
"""Items that may wait for the writer. Attempts in progress number hundreds, so reaching it means a bug upstream."""

CLAIM_ROUNDS: Final = 5
"""Searches per claim call, when others took some of the candidates."""

ATTEMPT_ID_BLOCK: Final = 500
"""Ids fetched at once; those unused at the end of the process are skipped for ever, which is harmless."""

LEASE_RENEWALS: Final = 3
"""Renewals per lease time, so that one or two may fail."""

DRAIN_LIMIT_S: Final = 10.0
"""At the end: for results still in memory. What is not written then is settled by the next start."""

CLOSE_LIMIT_S: Final = 5.0
"""At the end: for giving back our remaining claims; the next start does it otherwise."""


class PostgresListStore:
    """Use `open_store`."""

    def __init__(self, database: Database, config: Configuration, node: str) -> None:
        self.node = node
        self.owner = f"{node}/{uuid.uuid4().hex[:12]}"
        self.database = database
        """For other state of the daemon in the same database."""
        self._config = config
        self._selections: dict[int, Selection] = {}
        self._readable: dict[str, bool] = {}
        """Tables of which we know whether searches can run as the reader."""
        self._after: dict[tuple[int, frozenset[RecordType]], int] = {}
        """By list and types wanted: where to go on among its waiting rows."""
        self._doubtful: set[uuid.UUID] = set()
        self._attempt_ids: deque[int] = deque()
        self._id_lock = trio.Lock()
        self._caps = Caps(config)
        self._begins: Batcher[Sequence[NewAttempt], ClaimLost | dict[int, Refusal]] = Batcher(
            self._write_begins, keep_when_unavailable=False, max_batch=MAX_BATCH, max_waiting=MAX_WAITING
        )
        self._adds: Batcher[NewRecord, Answer] = Batcher(
            self._write_adds, keep_when_unavailable=False, max_batch=MAX_BATCH, max_waiting=MAX_WAITING
        )
        self._results: Batcher[Item, bool] = Batcher(
            self._write_results, keep_when_unavailable=True, max_batch=MAX_BATCH, max_waiting=MAX_WAITING
        )

    @property
    def unwritten_results(self) -> int:
        """Results and marks in memory that are not yet on disk."""
        return self._results.unwritten

    def reconfigure(self, config: Configuration) -> None:
        """Use another configuration from the next call on (reload)."""
        self._config = config
        self._caps = Caps(config)
        self._selections.clear()

    async def claim_chains(
        self,
        list_dbid: int,
        campaign_group_dbid: int,
        limit: int,
        now: datetime,
        portions: Sequence[Portion] = DEFAULT_PORTIONS,
    ) -> list[Chain]:
        """See ListStore. Raises ConfigError when the list's table or filter does not work. A cancel undoes the call."""
        calling_list = self._config.calling_list_by_dbid(list_dbid)
        selection = self._selection(calling_list)
        batch = uuid.uuid4()
        figures = parameters(self._config, calling_list, now) | {
            "list_dbid": list_dbid,
            "campaign_group_dbid": campaign_group_dbid,
            "owner": self.owner,
            "batch": batch,
            "lease": f"{self._config.database.lease_s} seconds",
        }
        await self._undo_doubtful()
        chains: list[Chain] = []
        limits = [limit if portion.limit is None else portion.limit for portion in portions]
        missed: set[int] = set()
        try:
            for _ in range(CLAIM_ROUNDS):
                found = await self._search(
                    calling_list, selection, figures, portions, limits, limit - len(chains), missed
                )
                if not found.candidates:
                    break
                rows = await self.database.transaction(
                    partial(claiming.claim, selection=selection, figures=figures, found=found)
                )
                taken, unfit = claiming.placed(
                    chains_of(list_dbid, rows, selection.user_columns),
                    found,
                    portions,
                    self._config,
                    calling_list,
                    now,
                )
                if unfit:
                    await self.give_back(unfit)
                for chain, place in taken:
                    chains.append(chain)
                    limits[place] -= 1
                missed |= {candidate.chain_id for candidate in found.candidates}
                if len(chains) >= limit or found.complete:
                    break
        except BaseException:
            # Committed or not, nobody will dial these chains: they are given back as soon as the database answers.
            self._doubtful.add(batch)
            raise
        return chains

    async def give_back(self, chains: Sequence[Chain]) -> None:
        by_table: dict[str, list[int]] = defaultdict(list)
        for chain in chains:
            by_table[self._table(chain.list_dbid)].append(chain.chain_id)
        if by_table:
            await self.database.transaction(partial(releasing.give_back, owner=self.owner, chains=by_table))

    async def release_group(self, campaign_group_dbid: int) -> int:
        return await self.database.transaction(
            partial(releasing.give_back_group, owner=self.owner, campaign_group_dbid=campaign_group_dbid)
        )

    async def refused_by_caps(
        self, list_dbid: int, campaign_dbid: int, records: Sequence[CallingRecord], now: datetime
    ) -> dict[int, Refusal]:
        if not records or not self._caps.rules(list_dbid):
            return {}
        query = partial(
            caps.refused_records, caps=self._caps, campaign_dbid=campaign_dbid, records=tuple(records), now=now
        )
        return await self.database.transaction(query, read_only=True)

    async def begin_attempts(self, attempts: Sequence[NewAttempt]) -> Mapping[int, Refusal]:
        if not attempts:
            return {}
        answer = await self._begins.submit(tuple(attempts), withdraw_on_cancel=True)
        if isinstance(answer, ClaimLost):
            raise answer
        return answer

    async def redirect_attempt(
        self, attempt_id: int, record: CallingRecord, campaign_dbid: int, now: datetime
    ) -> Refusal | None:
        call = replace(self._caps.call(record, campaign_dbid, now), attempt_id=attempt_id)
        return await self.database.transaction(partial(redirecting.redirect, caps=self._caps, call=call))

    async def mark_answered(self, attempt_id: int, answered_at: datetime) -> None:
        await self._results.post(Mark(attempt_id, answered_at, None))

    async def mark_connected(self, attempt_id: int, connected_at: datetime, agent_id: str) -> None:
        await self._results.post(Mark(attempt_id, connected_at, agent_id))

    async def note_correction(
        self,
        attempt_id: int,
        call_result: int | None,
        updates: Mapping[str, object],
        asks: Mapping[str, object] = NOTHING,
    ) -> Callable[[], Awaitable[None]]:
        return await self._results.post(Correction(attempt_id, call_result, updates, asks))

    async def note_recording(self, recording: CpdRecording) -> None:
        await self.database.transaction(partial(recordings.note, recording=recording))

    async def finish_attempt(self, finished: FinishedAttempt) -> bool:
        """
        See ListStore; waits through an outage instead of raising StoreUnavailable.

        A cancel only ends the waiting: the result stays queued and is written.
        """
        return await self._results.submit(finished, withdraw_on_cancel=False)

    async def settle_chain(self, settlement: ChainSettlement) -> bool:
        """See ListStore; waits through an outage like `finish_attempt`, and stays in order with it."""
        table = self._table(settlement.list_dbid)
        return await self._results.submit(
            Decided(uuid.uuid4(), table, settlement, datetime.now(UTC)), withdraw_on_cancel=False
        )

    async def withdraw(
        self, list_dbids: Sequence[int], selector: Selector, withdrawal: Withdrawal, *, spare_claimed: bool = False
    ) -> list[Withdrawn]:
        config, lists = self._config, tuple(list_dbids)
        look = partial(withdrawing.is_anything_open, config=config, list_dbids=lists, selector=selector)
        if selector.record is None and not await self.database.look(look):
            return []
        return await self.database.transaction(
            partial(
                withdrawing.withdraw,
                config=config,
                list_dbids=lists,
                selector=selector,
                withdrawal=withdrawal,
                spare_claimed=spare_claimed,
            )
        )

    async def add_record(self, record: NewRecord) -> AddedRecord:
        """See ListStore. A cancel ends only the waiting: the row may be written all the same."""
        return await until_taken(partial(self._adds.submit, record, withdraw_on_cancel=False))

    @property
    def available(self) -> bool:
        return self.database.available

    async def open_attempts(self) -> list[OpenAttempt]:
        return await self.database.transaction(journal.open_attempts, read_only=True)

    async def caller_ids_used(self, since: datetime, most: int) -> dict[str, list[datetime]]:
        query = partial(journal.caller_ids_used, since=since, most=most)
        return await self.database.transaction(query, read_only=True)

    async def records(self, list_dbid: int, record_ids: Sequence[int]) -> dict[int, CallingRecord]:
        selection = self._selection(self._config.calling_list_by_dbid(list_dbid))
        query = sql.SQL("SELECT {} FROM {} WHERE record_id = ANY(%s)").format(
            sql.SQL(", ").join(map(sql.Identifier, (*RECORD_COLUMNS, *selection.user_columns))),
            sql.Identifier(selection.table),
        )
        rows = await self.database.transaction(partial(_fetch, query=query, params=(list(record_ids),)), read_only=True)
        chains = chains_of(list_dbid, rows, selection.user_columns)
        return {record.record_id: record for chain in chains for record in chain.records}

    async def chain(self, list_dbid: int, chain_id: int) -> tuple[CallingRecord, ...]:
        calling_list = self._config.calling_list_by_dbid(list_dbid)
        selection = self._selection(calling_list)
        order = order_of(self._config.filter(calling_list.filter) if calling_list.filter else None)
        query = sql.SQL(
            "SELECT {} FROM {} AS t WHERE t.chain_id = %s AND t.record_status = 2 ORDER BY {} t.chain_n"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, (*RECORD_COLUMNS, *selection.user_columns))),
            sql.Identifier(selection.table),
            order or sql.SQL(""),
        )

        def run(conn: Connection) -> list[tuple[Any, ...]]:
            with reader.reading(conn, selection.table) if order is not None else nullcontext():
                return _fetch(conn, query, (chain_id,))

        rows = await self.database.transaction(run, read_only=True)
        return tuple(record for found in chains_of(list_dbid, rows, selection.user_columns) for record in found.records)

    async def recover_claims(self) -> int:
        lease_s = self._config.database.lease_s
        released = await self.database.transaction(
            partial(releasing.recover, owner=self.owner, node=self.node, lease_s=lease_s)
        )
        if released:
            log.info("claims.recovered", chains=released)
        return released

    async def counts(self, list_dbid: int, now: datetime) -> ListCounts:
        calling_list = self._config.calling_list_by_dbid(list_dbid)
        return await self.database.transaction(
            partial(counting.stats, config=self._config, calling_list=calling_list, now=now), read_only=True
        )

    async def abandonment(
        self, campaign_dbid: int, since: datetime, group_dbids: Sequence[int] = ()
    ) -> AbandonmentCounts:
        query = partial(
            abandonment.counts,
            campaign_dbid=campaign_dbid,
            since=since,
            group_dbids=tuple(group_dbids),
            owner=self.owner,
        )
        return await self.database.transaction(query, read_only=True)

    async def machines_given(self, campaign_group_dbid: int, since: datetime) -> list[datetime]:
        query = partial(verified.machines_given, campaign_group_dbid=campaign_group_dbid, since=since)
        return await self.database.transaction(query, read_only=True)

    async def next_attempt_ids(self, count: int) -> list[int]:
        async with self._id_lock:
            if len(self._attempt_ids) < count:
                rows = await self.database.transaction(
                    partial(
                        _fetch,
                        query="SELECT nextval('ocsd.attempt_id') FROM generate_series(1, %s)",
                        params=(max(count, ATTEMPT_ID_BLOCK),),
                    )
                )
                self._attempt_ids.extend(row[0] for row in rows)
            return [self._attempt_ids.popleft() for _ in range(count)]

    # -- tasks and writes --------------------------------------------------------------------------------------------

    async def _register(self) -> None:
        await self.database.transaction(migrate)
        await self.database.execute(
            "INSERT INTO ocsd.instance (owner, node) VALUES (%s, %s) ON CONFLICT DO NOTHING", (self.owner, self.node)
        )

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._begins.run)
                nursery.start_soon(self._results.run)
                nursery.start_soon(self._adds.run)
                nursery.start_soon(self.database.watch)
                nursery.start_soon(self._heartbeat)

    async def _heartbeat(self) -> None:
        """Renew the leases until cancelled; an outage is waited out, as whoever takes a chain over is fenced."""
        while True:
            lease_s = self._config.database.lease_s
            await trio.sleep(lease_s / LEASE_RENEWALS)
            try:
                await self._undo_doubtful()
                await self.database.transaction(partial(releasing.renew_leases, owner=self.owner, lease_s=lease_s))
            except StoreUnavailable as error:
                log.warning("lease.not_renewed", reason=str(error))

    async def _close(self) -> None:
        with trio.move_on_after(DRAIN_LIMIT_S) as drain:
            await self._begins.drain()
            await self._adds.drain()
            await self._results.drain()
        if drain.cancelled_caught:
            log.error("attempt.result_unsaved", count=self._results.unwritten, limit_s=DRAIN_LIMIT_S)
        with trio.move_on_after(CLOSE_LIMIT_S):
            try:
                await self.database.transaction(partial(releasing.give_back_all, owner=self.owner))
                await self.database.execute(
                    "UPDATE ocsd.instance SET stopped_at = now() WHERE owner = %s", (self.owner,)
                )
            except StoreUnavailable as error:
                log.warning("claims.not_given_back", reason=str(error))

    async def _write_begins(self, groups: Sequence[Sequence[NewAttempt]]) -> Sequence[ClaimLost | dict[int, Refusal]]:
        tables = {attempt.list_dbid: self._table(attempt.list_dbid) for group in groups for attempt in group}
        return await self.database.transaction(
            partial(journal.insert_attempt_groups, owner=self.owner, tables=tables, groups=groups, caps=self._caps)
        )

    async def _write_adds(self, records: Sequence[NewRecord]) -> Sequence[Answer]:
        return await write_records(self.database, self._config, records)

    async def _write_results(self, items: Sequence[Item]) -> Sequence[bool]:
        return await self.database.transaction(partial(journal.write_results, owner=self.owner, items=items))

    async def _undo_doubtful(self) -> None:
        if batches := list(self._doubtful):
            await self.database.transaction(partial(releasing.give_back_batches, owner=self.owner, batches=batches))
            self._doubtful.difference_update(batches)

    async def _search(
        self,
        calling_list: CallingList,
        selection: Selection,
        figures: dict[str, Any],
        portions: Sequence[Portion],
        limits: Sequence[int],
        wanted: int,
        skip: set[int],
    ) -> claiming.Found:
        table, place = selection.table, (calling_list.dbid, frozenset(portion.record_type for portion in portions))
        if table not in self._readable:
            self._readable[table] = await self.database.transaction(partial(reader.let_read, table=table))
        try:
            found = await self.database.transaction(
                partial(
                    claiming.search,
                    selection=selection,
                    figures=figures,
                    portions=portions,
                    limits=limits,
                    wanted=wanted,
                    skip=skip,
                    after=self._after.get(place, 0),
                    as_reader=self._readable[table],
                ),
                read_only=True,
            )
        except (psycopg.ProgrammingError, psycopg.DataError, psycopg.errors.ReadOnlySqlTransaction) as error:
            del self._readable[table]  # somebody may have made the table, or taken a right away
            raise claiming.refused(calling_list, "searched", error) from error
        self._after[place] = found.after
        return found

    def _selection(self, calling_list: CallingList) -> Selection:
        if (found := self._selections.get(calling_list.dbid)) is None:
            found = self._selections[calling_list.dbid] = selection_of(self._config, calling_list)
        return found

    def _table(self, list_dbid: int) -> str:
        return table_of(self._config, self._config.calling_list_by_dbid(list_dbid))


def _fetch(conn: Connection, query: Any, params: Any) -> list[tuple[Any, ...]]:
    # Planned anew each time: a plan kept from when a table was small would be slow for hours.
    return conn.execute(query, params, prepare=False).fetchall()


def node_name(config: Configuration) -> str:
    """Names this installation on this host, so that a restart knows the claims of its own earlier runs."""
    return f"{socket.gethostname()}:{data_folder(config.data_dir)}"


@asynccontextmanager
async def open_store(
    config: Configuration, embedded: EmbeddedPostgres | None = None, *, node: str | None = None
) -> AsyncIterator[PostgresListStore]:
    """
    Open the store with its tasks, in the database of ``database.dsn``, else in the embedded one.

    Args:
        embedded: a server that the caller has started and will stop; None: our own in ``data_dir``/postgres, stopped at
            the end unless another process uses it. Either is started again when it dies meanwhile.
        node: see `node_name`. Two stores with the same one must not run at once: each would take the other for dead.

    At the end results in memory are written and claims without an open attempt given back. The body runs inside a
    nursery, so its errors arrive in an exception group.
    """
    dsn = config.database.dsn
    own = EmbeddedPostgres(data_folder(config.data_dir) / "postgres") if not dsn and embedded is None else None
    server = None if dsn else (embedded or own)
    try:
        if own is not None:
            await trio.to_thread.run_sync(own.start)
        async with open_database(
            lambda: server.dsn if server is not None else dsn,
            size=config.database.pool_size,
            statement_timeout_s=config.database.statement_timeout_s,
            before_connect=server.ensure_running if server is not None else None,
        ) as database:
            store = PostgresListStore(database, config, node or node_name(config))
            await store._register()
            # The writers must outlive a cancel of the body: its last results are written after it.
            writers = trio.CancelScope(shield=True)
            async with trio.open_nursery() as tasks:
                tasks.start_soon(store._run, writers)
                try:
                    yield store
                finally:
                    with trio.CancelScope(shield=True):  # bounded by the limits inside
                        await store._close()
                    writers.cancel()
    finally:
        if own is not None:
            with trio.CancelScope(shield=True):  # bounded by the server's own stop limit
                await trio.to_thread.run_sync(own.stop)
