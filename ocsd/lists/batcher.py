"""Group commit: many tasks hand in items, one writer task writes what has gathered, in the order of arrival.

While a write is under way the next batch gathers, so an idle writer adds no delay and a busy one writes large batches.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import outcome
import trio

from ocsd.model.errors import StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRY_FIRST_S: Final = 0.05
RETRY_LAST_S: Final = 2.0
"""Pauses while the database is away, doubling from first to last."""


class _Entry(Generic[Item, Result]):
    __slots__ = ("done", "item", "outcome", "taken", "withdrawn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = trio.Event()
        self.outcome: outcome.Outcome[Result] | None = None
        self.taken = False
        self.withdrawn = False


class Batcher(Generic[Item, Result]):
    """
    Args:
        write: writes a batch in one transaction and returns one result per item. When it fails with anything but
            StoreUnavailable and the batch held several items, they are written one by one, so that a bad item cannot
            keep others from the disk.
        keep_when_unavailable: True keeps items and tries again until they are written; False hands StoreUnavailable
            to the callers.
        max_waiting: items that may wait; then `submit` and `post` wait themselves (backpressure).
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        keep_when_unavailable: bool,
        max_batch: int,
        max_waiting: int,
    ) -> None:
        self._write = write
        self._keep = keep_when_unavailable
        self._max_batch = max_batch
        self._put, self._take = trio.open_memory_channel[_Entry[Item, Result]](max_waiting)
        self._unwritten = 0
        self._ended = trio.Event()

    @property
    def unwritten(self) -> int:
        """Items handed in and not written yet."""
        return self._unwritten

    async def submit(self, item: Item, *, withdraw_on_cancel: bool) -> Result:
        """
        Hand in an item and wait until it is written.

        A cancel takes the item back when it is still waiting and ``withdraw_on_cancel`` is set; an item whose write
        has begun is waited for (a write is bounded), so that afterwards its fate is known. Without the flag the item
        is written all the same and only the waiting ends.
        """
        entry = await self._hand_in(item)
        try:
            await entry.done.wait()
        except trio.Cancelled:
            if withdraw_on_cancel:
                entry.withdrawn = True
                if entry.taken:
                    with trio.CancelScope(shield=True):
                        await entry.done.wait()
            raise
        assert entry.outcome is not None
        return entry.outcome.unwrap()

    async def post(self, item: Item) -> Callable[[], Awaitable[None]]:
        """Hand in an item without waiting for its write; await what is returned for that. It raises nothing."""
        return (await self._hand_in(item)).done.wait

    async def _hand_in(self, item: Item) -> _Entry[Item, Result]:
        entry: _Entry[Item, Result] = _Entry(item)
        self._unwritten += 1
        try:
            await self._put.send(entry)
        except BaseException:
            self._unwritten -= 1
            raise
        return entry

    async def drain(self) -> None:
        """Accept nothing more (trio.ClosedResourceError) and wait until everything handed in is written."""
        self._put.close()
        await self._ended.wait()

    async def run(self) -> None:
        """The writer task; ends after `drain`."""
        async for first in self._take:
            batch = [first]
            while len(batch) < self._max_batch:
                try:
                    batch.append(self._take.receive_nowait())
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            live = []
            for entry in batch:
                if entry.withdrawn:
                    self._settle(entry, outcome.Error(StoreUnavailable("withdrawn")))
                else:
                    entry.taken = True
                    live.append(entry)
            if live:
                await self._write_batch(live)
        self._ended.set()

    async def _write_batch(self, batch: list[_Entry[Item, Result]]) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            result: outcome.Outcome[Any] = await outcome.acapture(self._write, [entry.item for entry in batch])
            if isinstance(result, outcome.Value):
                for entry, value in zip(batch, result.value, strict=True):
                    self._settle(entry, outcome.Value(value))
                return
            assert isinstance(result, outcome.Error)
            error = result.error
            if not isinstance(error, Exception):  # Cancelled, KeyboardInterrupt
                raise error
            if isinstance(error, StoreUnavailable) and self._keep:
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_LAST_S)
            elif isinstance(error, StoreUnavailable) or len(batch) == 1:
                for entry in batch:
                    own: Exception = error
                    if isinstance(error, StoreUnavailable):
                        # One object per waiter: raising one object in several tasks would mix their tracebacks.
                        own = StoreUnavailable(str(error), said=error.said)
                    self._settle(entry, outcome.Error(own))
                return
            else:
                for entry in batch:
                    await self._write_batch([entry])
                return

    def _settle(self, entry: _Entry[Item, Result], result: outcome.Outcome[Result]) -> None:
        entry.outcome = result
        self._unwritten -= 1
        entry.done.set()
