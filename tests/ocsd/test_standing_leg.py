"""One standing leg on its own: what is left of it when it is given up amid a move."""

from types import SimpleNamespace

import pytest
import trio

from ocsd.sessions.attempt_events import AgentAnswered, AgentEnded
from ocsd.sessions.standing_leg import Hold, Standing, StandingLeg
from ocsd.sessions.standing_legs import StandingLegs
from telephony.api import NoCapacity


class Line:
    """A channel that can be closed."""

    def __init__(self, channel_id):
        self.channel_id, self.host, self.port = channel_id, "127.0.0.1", 4000
        self.closed = False

    async def close(self):
        self.closed = True


class Apart:
    """Two media servers: every channel is at another one than the customer's."""

    def __init__(self):
        self.opened = []

    def together(self, channel_id, other_id):
        return False

    async def open_channel(self, channel_id, beside=""):
        self.opened.append(Line(channel_id))
        return self.opened[-1]


async def test_given_a_leg_that_is_being_moved_when_its_attempt_ends_then_its_new_port_is_closed_and_it_is_hung_up(
    autojump_clock,
):
    media, told = Apart(), []
    standing = StandingLeg("agent1", "standing-1-agent1-0.0", Hold(group=1))
    standing.state, standing.channel = Standing.HELD, Line("standing-1-agent1-0.0-rtp")

    async def never_agrees(host, port):
        await trio.sleep_forever()

    standing.leg = SimpleNamespace(redirect=never_agrees)
    standing.up.set()
    with trio.move_on_after(1.0):
        await standing.take(told.append, AgentAnswered(), AgentEnded(), media, "customer-rtp")

    (moved_to,) = media.opened
    assert moved_to.closed
    assert standing.scope.cancel_called, "nobody knows where the phone sends its audio now"
    assert told == []


class Full(Apart):
    """No media server has a port left."""

    async def open_channel(self, channel_id, beside=""):
        raise NoCapacity("no port")


async def test_given_no_port_to_move_a_leg_to_when_it_ends_then_its_attempt_hears_whose_fault_it_is():
    told = []
    standing = StandingLeg("agent1", "standing-1-agent1-0.0", Hold(group=1))
    standing.state, standing.channel = Standing.HELD, Line("standing-1-agent1-0.0-rtp")
    standing.leg = SimpleNamespace()
    standing.up.set()
    lost = AgentEnded(ours=True)
    await standing.take(told.append, AgentAnswered(), AgentEnded(), Full(), "customer-rtp", lost=lost)
    assert standing.scope.cancel_called
    standing.over(ours=standing.failed)

    assert told == [lost]


class Held(Line):
    """A channel whose agent hears something."""

    async def unbridge(self):
        pass

    async def stop_playing(self):
        pass

    async def comfort(self, level_dbfs):
        pass


@pytest.mark.parametrize("rings", [True, False])
async def test_given_a_leg_that_another_group_has_taken_when_its_own_group_is_over_then_it_ends_with_that_attempt(
    autojump_clock, rings
):
    """No customer was ever on it: nobody else would hang it up."""
    async with trio.open_nursery() as nursery:
        legs = StandingLegs(nursery, telephony=None, media=None, clock=None, seats={}, from_uri="")
        standing = legs._legs["agent1"] = StandingLeg("agent1", "standing-1-agent1-0.0", Hold(group=1))
        standing.channel = Held("standing-1-agent1-0.0-rtp")
        if not rings:
            standing.state = Standing.HELD
            standing.up.set()
        nursery.start_soon(standing.take, lambda event: None, AgentAnswered(), AgentEnded(), Apart(), "")
        await trio.sleep(1.0)
        legs.release_group(1)
        assert not standing.scope.cancel_called, "somebody counts on it"
        standing.up.set()
        await standing.give_back()

    assert standing.scope.cancel_called
