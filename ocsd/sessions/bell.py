"""When a loop that decides is woken: at once after quiet, in a rhythm when events come thick, now and then anyway."""

import trio


class Bell:
    """
    Wakes one task.

    Args:
        shortest_s: from one return of `wait` to the next at least; rings within it are gathered into one.
        longest_s: `wait` returns after this even if nobody has rung.
    """

    def __init__(self, shortest_s: float, longest_s: float) -> None:
        self._shortest_s = shortest_s
        self._longest_s = longest_s
        self._rung = trio.Event()
        self._woken_s = -float("inf")

    def ring(self) -> None:
        self._rung.set()

    async def wait(self) -> None:
        """Wait for a ring that no earlier return has covered. A cancel loses no ring."""
        with trio.move_on_after(self._longest_s):
            await self._rung.wait()
        await trio.sleep_until(max(trio.current_time(), self._woken_s + self._shortest_s))
        self._woken_s = trio.current_time()
        self._rung = trio.Event()
