"""What call control has made of a conversation, after a restart of the daemon; and calls whose record was closed."""

from contextlib import asynccontextmanager

import pytest
import trio

from ocsd.config.objects import Phone
from ocsd.model.enums import RecordStatus
from ocsd.model.services import CampaignRequest
from ocsd.sessions.call_talk import Talk, conn_id
from ocsd.sessions.roster import AgentState
from telephony.contract import Role
from tests.ocsd.call_world import (
    ALICE,
    BOB,
    CAROL,
    OUTSIDE,
    SCRIPTS,
    alternated,
    ask,
    calling_for_advice,
    conference,
    consulted,
    customer,
    hear_each_other,
    heard_of,
    held_call,
    muted_call,
    phone_of,
    supervised,
    talking,
    third_party,
)
from tests.ocsd.desk_world import world


@pytest.mark.parametrize(
    ("what", "state", "channels"),
    [
        (held_call, Talk.HELD, 2),
        (muted_call, Talk.TALKING, 2),
        (calling_for_advice, Talk.HELD, 2),
        (consulted, Talk.CONSULTING, 3),
        (alternated, Talk.ALTERNATED, 3),
        (conference, Talk.CONFERENCE, 3),
        (supervised, Talk.TALKING, 3),
    ],
)
async def test_given_call_control_when_the_daemon_is_killed_then_the_next_one_goes_on_from_there(
    autojump_clock, tmp_path, what, state, channels
):
    async with world(tmp_path, SCRIPTS) as at:
        async with at.daemon() as daemon:
            at.add(1)
            for agent_id in (BOB, CAROL):
                await daemon.log_in(agent_id, ready=False)
            await daemon.log_in(ALICE)
            await daemon.start()
            handle = await daemon.until_talking(ALICE)
            await what(at, daemon, handle)
            at.telephony.restart_daemon()
            at.media.restart_daemon()
        async with at.daemon() as daemon:
            with trio.fail_after(120):
                await trio.sleep(1.0)
                task = daemon.session.attempts[handle]
                control = task.control.begin()
                assert control.state is state
                assert len(at.media.channels) == channels
                assert (phone_of(at, ALICE).muted, control.muted) == ((what is muted_call),) * 2
                assert phone_of(at, ALICE).playing == ""
                on_hold = {Talk.HELD: customer, Talk.CONSULTING: customer, Talk.ALTERNATED: third_party}.get(state)
                if on_hold is not None:
                    assert on_hold(at).playing == "music"
                    assert on_hold(at).prompts == ["music"], "asked for anew: a media server may be restarted later"
                for agent_id in (ALICE, BOB, CAROL):
                    await daemon.log_in(agent_id, ready=False)
                main, second = conn_id(handle), conn_id(handle, 1)
                match state:
                    case Talk.HELD:
                        await ask(daemon, ALICE, "RequestRetrieveCall", main)
                    case Talk.CONSULTING:
                        await ask(daemon, ALICE, "RequestReconnectCall", second, PreviousConnID=main)
                    case Talk.ALTERNATED:
                        await ask(daemon, ALICE, "RequestReleaseCall", second)
                    case Talk.CONFERENCE:
                        await ask(daemon, ALICE, "RequestDeleteFromConference", main, OtherDN=BOB)
                    case _ if what is supervised:
                        await ask(daemon, CAROL, "RequestReleaseCall", main)
                    case _:
                        await ask(daemon, ALICE, "RequestSetMuteOff", main)
                        await heard_of(daemon, ALICE, "EventMuteOff")
                await daemon.until(lambda: len(at.media.channels) == 2)
                await daemon.until(lambda: hear_each_other(customer(at), phone_of(at, ALICE)))
                assert not phone_of(at, ALICE).muted
                for agent_id in (BOB, CAROL):
                    assert daemon.campaigns.seats[agent_id].state is not AgentState.TALKING
                await daemon.desktops[ALICE].about("RecordProcessed", handle)
                await ask(daemon, ALICE, "RequestReleaseCall", main)
                await daemon.until(lambda: at.state(1)[0] is RecordStatus.UPDATED)
                await daemon.until(lambda: not at.media.channels)


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (consulted, Talk.CONSULTING),
        (alternated, Talk.ALTERNATED),
        (conference, Talk.CONFERENCE),
        (supervised, Talk.TALKING),
    ],
)
async def test_given_nailed_up_phones_in_a_call_when_the_daemon_is_killed_then_they_are_still_in_it(
    autojump_clock, tmp_path, what, state
):
    async with world(tmp_path, SCRIPTS) as at:
        agents = tuple(each.model_copy(update={"phone": Phone(nailed_up=True)}) for each in at.config.agents)
        at.config = at.config.model_copy(update={"agents": agents})
        async with at.daemon() as daemon, talking(at, daemon) as handle:
            await trio.sleep(5.0)
            await what(at, daemon, handle)
            at.telephony.restart_daemon()
            at.media.restart_daemon()
        async with at.daemon() as daemon:
            with trio.fail_after(120):
                await trio.sleep(1.0)
                control = daemon.session.attempts[handle].control.begin()
                assert control.state is state
                guest = CAROL if what is supervised else BOB
                assert daemon.campaigns.seats[guest].state is AgentState.TALKING
                assert phone_of(at, guest).playing == ("music" if state is Talk.ALTERNATED else "")
                for agent_id in (ALICE, BOB, CAROL):
                    await daemon.log_in(agent_id, ready=False)
                main, second = conn_id(handle), conn_id(handle, 1)
                match state:
                    case Talk.CONSULTING | Talk.ALTERNATED:
                        await ask(daemon, ALICE, "RequestReleaseCall", second)
                    case Talk.CONFERENCE:
                        await ask(daemon, ALICE, "RequestDeleteFromConference", main, OtherDN=BOB)
                    case _:
                        assert phone_of(at, CAROL).joined.role is Role.WHISPER
                        await ask(daemon, CAROL, "RequestReleaseCall", main)
                await heard_of(daemon, guest, "EventReleased")
                if state is Talk.CONSULTING:
                    await ask(daemon, ALICE, "RequestRetrieveCall", main)
                await daemon.until(lambda: hear_each_other(customer(at), phone_of(at, ALICE)))
                await trio.sleep(5.0)
                assert daemon.campaigns.seats[guest].state is AgentState.NOT_READY
                assert not phone_of(at, guest).bridged_to
                assert sum(f"-{guest}-" in c.leg_id for c in at.telephony.placed) == 1, "nailed up as before"


async def test_given_a_consultation_outside_when_the_daemon_is_killed_then_the_number_is_remembered(
    autojump_clock, tmp_path
):
    async with world(tmp_path, SCRIPTS) as at:
        async with at.daemon() as daemon, talking(at, daemon) as handle:
            await consulted(at, daemon, handle, OUTSIDE)
            at.telephony.restart_daemon()
            at.media.restart_daemon()
        async with at.daemon() as daemon:
            await trio.sleep(1.0)
            assert daemon.session.attempts[handle].control.begin().third.dn == OUTSIDE


@asynccontextmanager
async def recordless(tmp_path, what, nailed_up=()):
    """A call whose record ForceUnload has closed, after a restart; everybody has logged in again, not ready."""
    async with world(tmp_path, SCRIPTS) as at:
        agents = tuple(
            each.model_copy(update={"phone": Phone(nailed_up=True)}) if each.login_id in nailed_up else each
            for each in at.config.agents
        )
        at.config = at.config.model_copy(update={"agents": agents})
        async with at.daemon() as daemon, talking(at, daemon) as handle:
            await trio.sleep(5.0)
            await what(at, daemon, handle)
            await daemon.request(CampaignRequest.FORCE_UNLOAD)
            await daemon.until(lambda: at.state(1)[0] is RecordStatus.STALE)
            at.telephony.restart_daemon()
            at.media.restart_daemon()
        async with at.daemon() as daemon:
            with trio.fail_after(300):
                await trio.sleep(1.0)
                for agent_id in (ALICE, BOB, CAROL):
                    await daemon.log_in(agent_id, ready=False)
                yield at, daemon


def hangs_up(at, who):
    legs = [leg for leg_id, leg in at.telephony.legs.items() if f"-{who}" in leg_id and leg_id in at.telephony.machines]
    legs[0].far_end_hangs_up()


@pytest.mark.parametrize("nailed_up", [(), (ALICE, BOB)])
@pytest.mark.parametrize("leaves", [ALICE, BOB, "customer"])
async def test_given_a_conference_without_a_record_when_one_leaves_after_a_restart_then_the_others_talk_on(
    autojump_clock, tmp_path, leaves, nailed_up
):
    async with recordless(tmp_path, conference, nailed_up) as (at, daemon):
        seats = daemon.campaigns.seats
        assert [seats[one].state for one in (ALICE, BOB)] == [AgentState.TALKING] * 2, "nobody else is given to them"
        assert len(at.telephony.machines) == 3
        hangs_up(at, leaves)
        await trio.sleep(1.0)
        if leaves != "customer":
            stays = BOB if leaves is ALICE else ALICE
            assert hear_each_other(customer(at), phone_of(at, stays))
            assert seats[leaves].state is AgentState.NOT_READY
            assert seats[stays].state is AgentState.TALKING
            hangs_up(at, stays)
            await trio.sleep(1.0)
        await daemon.until(lambda: not any("-customer" in leg_id for leg_id in at.telephony.machines))
        await trio.sleep(5.0)
        assert [seats[one].state for one in (ALICE, BOB)] == [AgentState.NOT_READY] * 2
        assert all("standing-" in leg_id for leg_id in at.telephony.machines)
        assert not any(channel.bridged_to for channel in at.media.channels.values())


async def test_given_a_consultation_without_a_record_when_the_adviser_leaves_then_the_agent_has_the_customer(
    autojump_clock, tmp_path
):
    async with recordless(tmp_path, consulted) as (at, daemon):
        assert hear_each_other(phone_of(at, ALICE), phone_of(at, BOB))
        assert customer(at).playing == "music"
        hangs_up(at, BOB)
        await daemon.until(lambda: hear_each_other(customer(at), phone_of(at, ALICE)))
        assert customer(at).playing == ""
        hangs_up(at, "customer")
        await daemon.until(lambda: not at.media.channels)


async def test_given_a_call_on_hold_without_a_record_when_restarted_then_they_talk_for_nobody_could_retrieve_it(
    autojump_clock, tmp_path
):
    async with recordless(tmp_path, held_call) as (at, daemon):
        assert hear_each_other(customer(at), phone_of(at, ALICE))
        assert customer(at).playing == ""
        hangs_up(at, ALICE)
        await daemon.until(lambda: not at.media.channels and not at.telephony.machines)


async def test_given_a_supervisor_in_a_call_without_a_record_when_it_ends_then_the_supervisor_is_released(
    autojump_clock, tmp_path
):
    async with recordless(tmp_path, supervised) as (at, daemon):
        assert phone_of(at, CAROL).joined.role is Role.WHISPER
        assert daemon.campaigns.seats[CAROL].state is AgentState.TALKING
        hangs_up(at, "customer")
        await daemon.until(lambda: not at.media.channels and not at.telephony.machines)
        assert daemon.campaigns.seats[CAROL].state is AgentState.NOT_READY
