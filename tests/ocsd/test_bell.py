"""The bell of the dialing loop, in virtual time."""

import pytest
import trio
import trio.testing

from ocsd.sessions.bell import Bell

SHORTEST_S, LONGEST_S = 0.05, 0.2


@pytest.fixture
def clock(autojump_clock) -> trio.testing.MockClock:
    return autojump_clock


async def woken_at(rings_s: list[float], until_s: float) -> list[float]:
    """When a task that waits again and again is woken, in seconds since the start."""
    bell = Bell(SHORTEST_S, LONGEST_S)
    began_s = trio.current_time()
    found: list[float] = []

    async def loop() -> None:
        while True:
            await bell.wait()
            found.append(round(trio.current_time() - began_s, 6))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop)
        for ring_s in rings_s:
            await trio.sleep_until(began_s + ring_s)
            bell.ring()
        await trio.sleep_until(began_s + until_s)
        nursery.cancel_scope.cancel()
    return found


async def test_given_quiet_when_nobody_rings_then_woken_at_the_longest_period(clock):
    assert await woken_at([], 0.7) == [0.2, 0.4, 0.6]


async def test_given_quiet_when_rung_then_woken_at_once(clock):
    assert await woken_at([0.13], 0.3) == [0.13]


async def test_given_a_hundred_rings_in_a_tenth_of_a_second_then_woken_in_the_shortest_rhythm(clock):
    found = await woken_at([0.001 * i for i in range(1, 101)], 0.2)

    assert found == [0.001, 0.051, 0.101]  # the last covers the ring at 0.1


async def test_given_a_ring_while_the_task_works_when_it_waits_again_then_the_ring_is_not_lost(clock):
    bell = Bell(SHORTEST_S, LONGEST_S)
    await bell.wait()
    before_s = trio.current_time()

    bell.ring()
    await bell.wait()

    assert trio.current_time() - before_s == pytest.approx(SHORTEST_S)


async def test_given_a_ring_when_the_wait_is_cancelled_then_the_next_wait_finds_it(clock):
    bell = Bell(SHORTEST_S, LONGEST_S)
    await bell.wait()
    bell.ring()
    with trio.move_on_after(0.5 * SHORTEST_S):
        await bell.wait()
    before_s = trio.current_time()

    await bell.wait()

    assert trio.current_time() - before_s == pytest.approx(0.5 * SHORTEST_S)
