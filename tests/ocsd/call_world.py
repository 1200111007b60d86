"""An agent in a conversation over the in-memory plane, and the states that call control brings it to."""

from contextlib import asynccontextmanager

import trio

from ocsd.config.objects import Phone
from ocsd.sessions.call_talk import conn_id
from telephony.fake import CallScript
from tests.ocsd.desk_world import TALKER, number, world

OUTSIDE = "+442071838750"
DEAD = "+442071838751"
"""A number that never answers."""
SCRIPTS = {number(1): TALKER, OUTSIDE: CallScript(ring_s=1.0), DEAD: CallScript(ring_s=100.0)}
ALICE, BOB, CAROL = "agent1", "agent2", "agent3"


@asynccontextmanager
async def conversation(tmp_path, without="", nailed_up="", called=TALKER, **more):
    """
    agent1 talks with customer 1; agent2 and agent3 are logged in and not ready.

    ``without``: who is not of the group; ``nailed_up``: whose phone stays on the line; ``called``: the customer.
    """
    async with world(tmp_path, SCRIPTS | {number(1): called}, **more) as at:
        groups = tuple(
            each.model_copy(update={"agents": tuple(a for a in each.agents if a != without)})
            if each.name == "Demo Agents"
            else each
            for each in at.config.agent_groups
        )
        agents = tuple(
            each.model_copy(update={"phone": Phone(nailed_up=True)}) if each.login_id == nailed_up else each
            for each in at.config.agents
        )
        at.config = at.config.model_copy(update={"agent_groups": groups, "agents": agents})
        async with at.daemon() as daemon, talking(at, daemon) as handle:
            yield at, daemon, handle


@asynccontextmanager
async def talking(at, daemon):
    at.add(1)
    for agent_id in (BOB, CAROL):
        await daemon.log_in(agent_id, ready=False)
    await daemon.log_in(ALICE)
    await daemon.start()
    handle = await daemon.until_talking(ALICE)
    with trio.fail_after(600):  # virtual; only catches hangs
        yield handle


def customer(at):
    return next(c for c in at.media.channels.values() if "-customer" in c.channel_id)


def phone_of(at, agent_id):
    return next(c for c in at.media.channels.values() if f"-{agent_id}-" in c.channel_id)


def outside(at):
    return next(c for c in at.media.channels.values() if "-third-" in c.channel_id and "--" in c.channel_id)


def third_party(at):
    return next(c for c in at.media.channels.values() if "-third-" in c.channel_id)


def hear_each_other(one, other):
    return one.bridged_to == other.channel_id and other.bridged_to == one.channel_id


async def ask(daemon, agent_id, request, conn, **attributes):
    await daemon.desktops[agent_id].ask(Request=request, ConnID=conn, ReferenceID=7, **attributes)


async def heard_of(daemon, agent_id, event):
    desktop = daemon.desktops[agent_id]
    await daemon.until(lambda: desktop.has(event))
    return desktop.last(event)


async def consulted(at, daemon, handle, dn=BOB, request="RequestInitiateTransfer"):
    """agent1 has called somebody for advice; returns the ConnIDs of both calls."""
    main = conn_id(handle)
    await ask(daemon, ALICE, request, main, OtherDN=dn)
    second = (await heard_of(daemon, ALICE, "EventDialing"))["ConnID"]
    await daemon.until(lambda: any(m["ConnID"] == second for m in daemon.desktops[ALICE].all("EventEstablished")))
    return main, second


def supervising(daemon, agent_id):
    """The configuration gives the right; the world's has nobody who has it."""
    config = daemon.campaigns.config
    agents = tuple(
        each.model_copy(update={"supervises": ("Demo Agents",)}) if each.login_id == agent_id else each
        for each in config.agents
    )
    daemon.campaigns.config = config.model_copy(update={"agents": agents})


async def held_call(at, daemon, handle):
    await ask(daemon, ALICE, "RequestHoldCall", conn_id(handle))
    await heard_of(daemon, ALICE, "EventHeld")


async def muted_call(at, daemon, handle):
    await ask(daemon, ALICE, "RequestSetMuteOn", conn_id(handle))
    await heard_of(daemon, ALICE, "EventMuteOn")


async def calling_for_advice(at, daemon, handle):
    await ask(daemon, ALICE, "RequestInitiateTransfer", conn_id(handle), OtherDN=DEAD)
    await heard_of(daemon, ALICE, "EventDialing")
    await daemon.until(lambda: phone_of(at, ALICE).playing == "ringback")


async def alternated(at, daemon, handle):
    main, second = await consulted(at, daemon, handle)
    await ask(daemon, ALICE, "RequestAlternateCall", second, PreviousConnID=main)
    await daemon.until(lambda: hear_each_other(customer(at), phone_of(at, ALICE)))


async def conference(at, daemon, handle):
    await ask(daemon, ALICE, "RequestSingleStepConference", conn_id(handle), OtherDN=BOB)
    await heard_of(daemon, ALICE, "EventPartyAdded")


async def supervised(at, daemon, handle):
    supervising(daemon, CAROL)
    await daemon.desktops[CAROL].ask(Request="RequestMonitorNextCall", OtherDN=ALICE, MonitorMode="coach")
    await heard_of(daemon, ALICE, "EventPartyAdded")
