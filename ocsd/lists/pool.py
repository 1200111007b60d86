"""A pool of synchronous psycopg connections for trio: statements run in threads and are cancelled in the server.

psycopg's asynchronous connection needs asyncio, so each transaction is a plain function that runs in a thread of a
limiter of our own. Errors are sorted by who must act: the database being away, busy or shutting down becomes
StoreUnavailable (its owner retries); everything else (wrong SQL, violated constraint) is our bug and passes as it is.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import outcome
import psycopg
import structlog
import trio
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from ocsd.model.errors import StoreUnavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")
Connection = psycopg.Connection[Any]

CONNECT_LIMIT_S: Final = 5
"""A server that takes longer to greet us is as good as away; the dialer must know soon."""

CANCEL_AGAIN_S: Final = 0.2
CANCEL_LIMIT_S: Final = 5.0
"""For the cancel request itself; the statement's own limit is statement_timeout."""

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_LAST_S: Final = 5.0
"""After a failed connection nobody tries again before this pause, doubling from first to last."""

WATCH_PERIOD_S: Final = 1.0
"""How soon a server that was away is known to be back when nobody else asks it."""

CONFLICT_TRIES: Final = 4
"""A transaction that lost a deadlock or serialisation conflict is run again; more often points to a bug."""

PASSING_ERRORS: Final = (
    errors.OperationalError,  # includes lost connections, shutdown, recovery, statement_timeout, disk full
    errors.ReadOnlySqlTransaction,  # a standby before its promotion
)


class Database:
    """Use `open_database`. Safe to share between tasks of one trio run."""

    def __init__(
        self,
        dsn: Callable[[], str],
        size: int,
        statement_timeout_s: float,
        before_connect: Callable[[], object] | None = None,
    ) -> None:
        self._dsn = dsn
        self._statement_timeout_s = statement_timeout_s
        self._before_connect = before_connect
        self._limiter = trio.CapacityLimiter(size)
        self._cancel_limiter = trio.CapacityLimiter(size)
        self._free = trio.Semaphore(size, max_value=size)
        self._slots = [_Slot() for _ in range(size)]
        """Those that are not in use. The last one used is the next: a session of the server that has just run
        statements has their plans and pages at hand, one that has waited for its turn has not."""
        self._size = size
        self._backoff_s = 0.0
        self._next_try_s = 0.0
        self._generation = 0
        """Counts losses of a connection; connections of an earlier generation are not trusted."""
        self.available = True
        """Whether the server answered when it was last asked; `watch` asks while it does not."""

    async def transaction(self, fn: Callable[[Connection], T], *, read_only: bool = False) -> T:
        """
        Run ``fn(connection)`` in a thread inside one transaction and return its result.

        ``fn`` may be run again after a deadlock, so it must not keep state. Raises StoreUnavailable when the database
        is away; then it is unknown whether a commit under way took place. A cancel is passed on to the server; the
        thread is waited for, and a transaction that was committed all the same stays committed.
        """
        return await self._use(partial(_in_transaction, fn=fn, read_only=read_only), read_only)

    async def look(self, fn: Callable[[Connection], T]) -> T:
        """As `transaction`, for statements that only read and need not see the same instant: half the round trips."""
        return await self._use(fn, read_only=False)

    async def _use(self, fn: Callable[[Connection], T], read_only: bool) -> T:
        await self._free.acquire()
        slot = self._slots.pop()
        try:
            if slot.connection is not None and slot.generation != self._generation:
                slot.connection.close()  # opened before the last loss: most likely dead as well
                slot.connection = None
            if slot.connection is None:
                slot.connection = await self._connect()
                slot.generation = self._generation
            result = await self._run(slot, slot.connection, fn, read_only)
            self.available = True
            return result
        except StoreUnavailable as error:
            lost = slot.connection is None or slot.connection.closed or slot.connection.broken
            if lost or isinstance(error.__cause__, errors.ReadOnlySqlTransaction):
                self.available = False
            raise
        finally:
            if slot.connection is not None and slot.cancelled:
                # The cancel request may reach the server late and would then hit the next statement of this session.
                slot.connection.close()
                slot.connection = None
            slot.cancelled = False
            if slot.connection is not None and slot.connection.info.transaction_status != TransactionStatus.IDLE:
                # Left inside a transaction (a BEGIN or COMMIT that was cancelled) or broken: the next transaction would
                # become a savepoint in it, never be committed, and keep its locks.
                slot.connection.close()
            if slot.connection is not None and (slot.connection.closed or slot.connection.broken):
                slot.connection.close()
                slot.connection = None
                self._generation += slot.generation == self._generation
            self._slots.append(slot)
            self._free.release()

    async def execute(self, query: Any, params: Any = None) -> None:
        """One statement without a result."""

        def run(conn: Connection) -> None:
            conn.execute(query, params)

        await self.transaction(run)

    async def watch(self) -> None:
        """Ask a server that is away every `WATCH_PERIOD_S` whether it is back, for ever."""
        while True:
            await trio.sleep(WATCH_PERIOD_S)
            if not self.available:
                with suppress(StoreUnavailable):
                    await self.execute("SELECT pg_current_xact_id()")  # a standby has none to give

    async def _run(self, slot: "_Slot", conn: Connection, fn: Callable[[Connection], T], read_only: bool) -> T:
        done = trio.Event()

        async def cancel_in_server() -> None:
            try:
                await done.wait()
            except trio.Cancelled:
                slot.cancelled = True
                with trio.CancelScope(shield=True):  # bounded by statement_timeout, which ends the thread
                    while not done.is_set():
                        # Again until the thread is back: the first request may come before the statement begins.
                        with trio.move_on_after(CANCEL_LIMIT_S):
                            await trio.to_thread.run_sync(
                                partial(_cancel, conn), limiter=self._cancel_limiter, abandon_on_cancel=True
                            )
                        with trio.move_on_after(CANCEL_AGAIN_S):
                            await done.wait()
                raise

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_in_server)
            result: outcome.Outcome[T] = await outcome.acapture(
                partial(trio.to_thread.run_sync, fn, conn, limiter=self._limiter)
            )
            done.set()
        # Outside the nursery: callers see the bare error, not a group.
        try:
            return result.unwrap()
        except PASSING_ERRORS as error:
            if read_only and isinstance(error, errors.ReadOnlySqlTransaction):
                raise  # our own wish, so the statement is wrong
            raise StoreUnavailable(f"database: {_one_line(error)}") from error
        except psycopg.InterfaceError as error:
            if conn.closed:
                raise StoreUnavailable(f"database: {_one_line(error)}") from error
            raise

    async def _connect(self) -> Connection:
        if trio.current_time() < self._next_try_s:
            raise StoreUnavailable("database: away; waiting before the next try to connect")
        # Only one task pays for the try; the others fail at once until it is over.
        self._next_try_s = trio.current_time() + CONNECT_LIMIT_S if self._backoff_s else 0.0
        try:
            connection: Connection = await trio.to_thread.run_sync(self._connect_now, limiter=self._limiter)
        except (psycopg.OperationalError, StoreUnavailable) as error:
            if not self._backoff_s:
                log.warning("database.lost", reason=_one_line(error))
            self._backoff_s = min(max(BACKOFF_FIRST_S, self._backoff_s * 2), BACKOFF_LAST_S)
            self._next_try_s = trio.current_time() + self._backoff_s
            raise StoreUnavailable(f"database: {_one_line(error)}") from error
        if self._backoff_s:
            log.info("database.found_again")
        self._backoff_s = self._next_try_s = 0.0
        return connection

    def _connect_now(self) -> Connection:
        if self._before_connect is not None:
            self._before_connect()
        return psycopg.connect(connection_string(self._dsn(), self._statement_timeout_s), autocommit=True)

    async def _close(self) -> None:
        for _ in range(self._size):
            await self._free.acquire()
            slot = self._slots.pop()
            if slot.connection is not None:
                slot.connection.close()
                slot.connection = None


class _Slot:
    """A place for one connection; empty until it is first used and after it was lost."""

    __slots__ = ("cancelled", "connection", "generation")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.generation = 0
        self.cancelled = False


def connection_string(dsn: str, statement_timeout_s: float) -> str:
    """``dsn`` with our settings added: UTC, UTF-8, time limits, and early notice of a server that went silent."""
    given: dict[str, Any] = conninfo_to_dict(dsn)
    options = f"-c timezone=UTC -c statement_timeout={round(statement_timeout_s * 1000)}"
    ours: dict[str, Any] = {
        "connect_timeout": CONNECT_LIMIT_S,
        "application_name": "ocsd",
        "client_encoding": "UTF8",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    given_options = str(given.pop("options", ""))
    return make_conninfo(**{**ours, **given, "options": f"{options} {given_options}".strip()})


def _cancel(conn: Connection) -> None:
    # A server that cannot be reached for the cancel has no statement of ours to run on with.
    with suppress(psycopg.Error):
        conn.cancel_safe(timeout=CANCEL_LIMIT_S)


def _in_transaction(conn: Connection, fn: Callable[[Connection], T], read_only: bool) -> T:
    wanted = True if read_only else None  # as the server does it otherwise
    if conn.read_only is not wanted:
        conn.read_only = wanted  # goes out with BEGIN
    for tries_left in reversed(range(CONFLICT_TRIES)):
        try:
            with conn.transaction():
                return fn(conn)
        except (errors.DeadlockDetected, errors.SerializationFailure):
            if not tries_left:
                raise
    raise AssertionError("unreachable")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@asynccontextmanager
async def open_database(
    dsn: Callable[[], str],
    *,
    size: int,
    statement_timeout_s: float,
    before_connect: Callable[[], object] | None = None,
) -> AsyncIterator[Database]:
    """
    A pool of up to ``size`` connections, opened at need and closed at the end.

    Args:
        dsn: asked at every connect, as an embedded server's socket may move.
        before_connect: called in a thread before each connect (starts an embedded server that has died).
    """
    database = Database(dsn, size, statement_timeout_s, before_connect)
    try:
        yield database
    finally:
        with trio.CancelScope(shield=True):  # bounded: running statements end by their statement_timeout
            await database._close()


__all__ = ["Connection", "Database", "connection_string", "open_database"]
