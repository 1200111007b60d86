"""Call control of desktops over the in-memory plane: hold, keys, consultation, transfer, conference, supervisors."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from ocsd.config.objects import Phone
from ocsd.demo.world import CAMPAIGN_GROUP_DBID
from ocsd.model.enums import CallResult, RecordStatus
from ocsd.model.services import CampaignRequest
from ocsd.sessions.attempt_events import Heard
from ocsd.sessions.call_control import Talk, conn_id
from ocsd.sessions.roster import AgentState
from telephony.contract import Direction, Role, VerdictKind
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
    with trio.fail_after(120):  # virtual; only catches hangs
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


async def test_given_a_conversation_when_held_and_retrieved_then_the_customer_hears_music_in_between(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        main = conn_id(handle)

        await ask(daemon, ALICE, "RequestHoldCall", main)
        held = await heard_of(daemon, ALICE, "EventHeld")

        assert (held["ConnID"], held["ReferenceID"]) == (main, 7)
        assert customer(at).playing == "music"
        assert not customer(at).bridged_to

        await ask(daemon, ALICE, "RequestRetrieveCall", main)
        await heard_of(daemon, ALICE, "EventRetrieved")

        assert hear_each_other(customer(at), phone_of(at, ALICE))
        assert customer(at).playing == ""


async def test_given_a_mute_when_set_and_lifted_then_only_the_agents_channel_is_muted_meanwhile(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        await ask(daemon, ALICE, "RequestSetMuteOn", conn_id(handle))
        await heard_of(daemon, ALICE, "EventMuteOn")
        assert (phone_of(at, ALICE).muted, customer(at).muted) == (True, False)

        await ask(daemon, ALICE, "RequestSetMuteOff", conn_id(handle))
        await heard_of(daemon, ALICE, "EventMuteOff")
        assert not phone_of(at, ALICE).muted


async def test_given_keys_when_sent_then_the_event_comes_once_they_are_pressed(autojump_clock, tmp_path):
    async with conversation(tmp_path) as (at, daemon, handle):
        before_s = trio.current_time()
        await ask(daemon, ALICE, "RequestSendDTMF", conn_id(handle), DTMFDigits="12#")
        sent = await heard_of(daemon, ALICE, "EventDtmfSent")

        assert (sent["DTMFDigits"], sent["ReferenceID"]) == ("12#", 7)
        assert customer(at).digits_sent == ["12#"]
        assert trio.current_time() - before_s >= 0.48  # three keys and their gaps


async def test_given_a_consultation_when_the_transfer_is_completed_then_the_record_is_on_the_other_desktop(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        main, second = await consulted(at, daemon, handle)
        assert customer(at).playing == "music"
        assert hear_each_other(phone_of(at, ALICE), phone_of(at, BOB))
        rang = daemon.desktops[BOB].last("EventRinging")
        assert (rang["ConnID"], rang["CallType"], rang["UserData"]["GSW_RECORD_HANDLE"]) == (second, 4, handle)

        await ask(daemon, ALICE, "RequestCompleteTransfer", main, TransferConnID=second)
        changed = await heard_of(daemon, BOB, "EventPartyChanged")

        assert (changed["ConnID"], changed["PreviousConnID"], changed["OtherDN"]) == (main, second, number(1))
        assert [m["ConnID"] for m in daemon.desktops[ALICE].all("EventReleased")] == [second, main]
        assert hear_each_other(customer(at), phone_of(at, BOB))
        assert daemon.campaigns.seats[ALICE].state is AgentState.WRAP_UP
        assert daemon.campaigns.seats[BOB].state is AgentState.TALKING
        await daemon.desktops[ALICE].about("UpdateCallCompletionStats", handle, GSW_CALL_RESULT=53)
        assert daemon.desktops[ALICE].errors == [112]  # not hers any more

        await daemon.desktops[BOB].about("RecordProcessed", handle, GSW_CALL_RESULT=33)
        await ask(daemon, BOB, "RequestReleaseCall", main)
        await daemon.until(lambda: at.state(1)[0] is RecordStatus.UPDATED)

        assert at.state(1)[2] == CallResult.ANSWER
        assert at.database.attempts[handle].finished.agent_id == BOB
        assert not at.media.channels
        assert daemon.campaigns.seats[BOB].state is AgentState.NOT_READY  # as before


async def test_given_a_transfer_outside_when_completed_then_the_record_is_stale_and_the_call_goes_on(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        main, second = await consulted(at, daemon, handle, "+44 20 7183 8750")
        placed = at.telephony.placed[-1]
        assert placed.uri.startswith(f"sip:{OUTSIDE}@")
        assert placed.from_uri == next(c.from_uri for c in at.telephony.placed if "-customer" in c.leg_id)

        await ask(daemon, ALICE, "RequestCompleteTransfer", main, TransferConnID=second)
        await daemon.until(lambda: at.state(1)[0] is RecordStatus.STALE)

        assert at.state(1)[2] == CallResult.STALE
        assert "transferred outside" in at.database.attempts[handle].finished.because
        assert hear_each_other(customer(at), outside(at))
        assert daemon.session.trunk_board.calls("Simulated Carrier") == 2

        leg = next(leg for leg_id, leg in at.telephony.legs.items() if "-third-" in leg_id)
        leg.far_end_hangs_up()
        await daemon.until(lambda: not at.media.channels)
        await daemon.until(lambda: daemon.session.trunk_board.calls("Simulated Carrier") == 0)


async def test_given_a_number_outside_when_its_trunk_has_started_a_call_then_the_consultation_waits_for_its_turn(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path, options=['outside-destinations = "+44*"']) as (at, daemon, handle):
        board = daemon.campaigns.trunk_board
        (trunk,) = board.trunks
        board.reconfigure([trunk.model_copy(update={"calls_per_second": 1.0})])
        await trio.sleep(2.0)
        board.take((trunk.name,), daemon.campaigns.clock.now_s(), group=999)
        before, began_s = board.state(trunk.name, trio.current_time()), trio.current_time()
        await ask(daemon, ALICE, "RequestInitiateTransfer", conn_id(handle), OtherDN=OUTSIDE)
        await daemon.until(lambda: "-third-" in at.telephony.placed[-1].leg_id)
        assert trio.current_time() - began_s == pytest.approx(1.0, abs=0.2)
        after = board.state(trunk.name, trio.current_time())
        assert (after.started, after.calls) == (before.started + 1, before.calls + 1)


async def test_given_a_result_already_said_when_transferred_outside_then_it_stands(autojump_clock, tmp_path):
    async with conversation(tmp_path) as (at, daemon, handle):
        await daemon.desktops[ALICE].about("UpdateCallCompletionStats", handle, GSW_CALL_RESULT=53)
        await ask(daemon, ALICE, "RequestSingleStepTransfer", conn_id(handle), OtherDN=OUTSIDE)
        await daemon.until(lambda: at.state(1)[0] is RecordStatus.UPDATED)

        assert at.state(1)[2] == CallResult.WRONG_NUMBER


async def test_given_a_blind_transfer_to_nobody_when_it_fails_then_the_customer_is_back_with_the_agent(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        await ask(daemon, ALICE, "RequestSingleStepTransfer", conn_id(handle), OtherDN=DEAD)
        await daemon.until(lambda: customer(at).playing == "ringback")
        assert not customer(at).bridged_to

        refused = await heard_of(daemon, ALICE, "EventError")

        assert refused["ReferenceID"] == 7
        assert hear_each_other(customer(at), phone_of(at, ALICE))
        assert daemon.session.trunk_board.calls("Simulated Carrier") == 1


async def test_given_an_agent_who_hangs_up_in_a_blind_transfer_when_it_fails_then_the_call_ends_once(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        await ask(daemon, ALICE, "RequestSingleStepTransfer", conn_id(handle), OtherDN=DEAD)
        await ask(daemon, ALICE, "RequestReleaseCall", conn_id(handle))
        await daemon.until(lambda: daemon.campaigns.seats[ALICE].state is AgentState.WRAP_UP)
        await daemon.desktops[ALICE].ask(Request="RequestAgentNotReady")
        await daemon.desktops[ALICE].about("RecordProcessed", handle)
        await daemon.until(lambda: not at.media.channels)

        assert daemon.campaigns.seats[ALICE].state is AgentState.NOT_READY
        assert len(daemon.desktops[ALICE].all("EventReleased")) == 1


async def test_given_a_conference_when_the_agent_leaves_then_the_others_go_on_with_the_record(autojump_clock, tmp_path):
    async with conversation(tmp_path) as (at, daemon, handle):
        main, second = await consulted(at, daemon, handle, request="RequestInitiateConference")
        await ask(daemon, ALICE, "RequestCompleteConference", main, ConferenceConnID=second)
        added = await heard_of(daemon, ALICE, "EventPartyAdded")
        bob = daemon.campaigns.seats[BOB].dn
        assert (added["ThirdPartyDN"], added["ReferenceID"]) == (bob, 7)
        assert customer(at).joined.role is Role.MEMBER or phone_of(at, BOB).joined.role is Role.MEMBER

        await ask(daemon, ALICE, "RequestReleaseCall", main)
        await heard_of(daemon, BOB, "EventPartyDeleted")

        assert daemon.session.attempts[handle].machine.agent_id == BOB
        assert daemon.campaigns.seats[ALICE].state is AgentState.WRAP_UP


async def test_given_a_single_step_conference_when_the_third_party_is_deleted_then_two_are_left(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        main = conn_id(handle)
        await ask(daemon, ALICE, "RequestSingleStepConference", main, OtherDN=BOB)
        await heard_of(daemon, ALICE, "EventPartyAdded")
        await heard_of(daemon, BOB, "EventEstablished")

        await ask(daemon, ALICE, "RequestDeleteFromConference", main, OtherDN=BOB)
        await heard_of(daemon, ALICE, "EventPartyDeleted")
        await heard_of(daemon, BOB, "EventReleased")

        assert daemon.campaigns.seats[BOB].state is AgentState.NOT_READY
        assert len(at.media.channels) == 2


async def test_given_a_consultation_when_alternated_and_reconnected_then_one_hears_music_and_the_other_talks(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        main, second = await consulted(at, daemon, handle)

        await ask(daemon, ALICE, "RequestAlternateCall", second, PreviousConnID=main)
        await daemon.until(lambda: hear_each_other(customer(at), phone_of(at, ALICE)))
        assert phone_of(at, BOB).playing == "music"

        await ask(daemon, ALICE, "RequestAlternateCall", main, PreviousConnID=second)
        await daemon.until(lambda: hear_each_other(phone_of(at, BOB), phone_of(at, ALICE)))
        assert customer(at).playing == "music"

        await ask(daemon, ALICE, "RequestReconnectCall", second, PreviousConnID=main)
        await daemon.until(lambda: hear_each_other(customer(at), phone_of(at, ALICE)))
        assert daemon.campaigns.seats[BOB].state is AgentState.NOT_READY


async def test_given_a_customer_who_hangs_up_in_a_consultation_when_it_happens_then_everybody_is_released(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        await consulted(at, daemon, handle)
        await daemon.desktops[ALICE].about("RecordProcessed", handle)
        next(leg for leg_id, leg in at.telephony.legs.items() if "-customer" in leg_id).far_end_hangs_up()
        await daemon.until(lambda: not at.media.channels)

        assert daemon.campaigns.seats[ALICE].state is AgentState.WRAP_UP
        assert daemon.campaigns.seats[BOB].state is AgentState.NOT_READY
        assert daemon.desktops[BOB].has("EventReleased")
        assert at.state(1)[:3:2] == (RecordStatus.UPDATED, CallResult.ANSWER)


@pytest.mark.parametrize(
    ("request_", "attributes", "why"),
    [
        ("RequestRetrieveCall", {}, "not on hold"),
        ("RequestInitiateTransfer", {"OtherDN": "nobody"}, "neither an agent nor a number"),
        ("RequestInitiateTransfer", {"OtherDN": ALICE}, "talking"),
        ("RequestCompleteTransfer", {"TransferConnID": "0" * 16}, "no consultation"),
        ("RequestDeleteFromConference", {"OtherDN": BOB}, "no conference"),
        ("RequestSingleStepConference", {"OtherDN": "+19005550100"}, "outside-destinations"),
    ],
)
async def test_given_what_cannot_be_when_asked_then_an_error_says_why_and_nothing_changes(
    autojump_clock, tmp_path, request_, attributes, why
):
    async with conversation(tmp_path, options=['outside-destinations = "+44*, 110"']) as (at, daemon, handle):
        await ask(daemon, ALICE, request_, conn_id(handle), **attributes)
        refused = await heard_of(daemon, ALICE, "EventError")

        assert why in refused["ErrorMessage"]
        assert refused["ReferenceID"] == 7
        assert hear_each_other(customer(at), phone_of(at, ALICE))
        assert len(at.media.channels) == 2


async def test_given_hold_signalling_when_held_and_retrieved_then_the_customers_side_is_told(autojump_clock, tmp_path):
    async with conversation(tmp_path, options=["hold-signalling = true"]) as (at, daemon, handle):
        leg = next(leg for leg_id, leg in at.telephony.legs.items() if "-customer" in leg_id)
        await ask(daemon, ALICE, "RequestHoldCall", conn_id(handle))
        await daemon.until(lambda: len(leg.redirects) == 1)
        await ask(daemon, ALICE, "RequestRetrieveCall", conn_id(handle))
        await daemon.until(lambda: len(leg.redirects) == 2)

        assert [each.direction for each in leg.redirects] == [Direction.SENDONLY, Direction.SENDRECV]


async def test_given_a_retrieval_that_is_refused_when_tried_again_then_the_customers_side_sends_again(
    autojump_clock, tmp_path
):
    stubborn = replace(TALKER, reinvite_statuses=(200, 500, 200))
    async with conversation(tmp_path, called=stubborn, options=["hold-signalling = true"]) as (at, daemon, handle):
        leg = next(leg for leg_id, leg in at.telephony.legs.items() if "-customer" in leg_id)
        await ask(daemon, ALICE, "RequestHoldCall", conn_id(handle))
        await daemon.until(lambda: len(leg.redirects) == 1)
        await ask(daemon, ALICE, "RequestRetrieveCall", conn_id(handle))
        await trio.sleep(10.0)

        told = [Direction.SENDONLY, Direction.SENDRECV, Direction.SENDRECV]
        assert [each.direction for each in leg.redirects] == told
        assert hear_each_other(customer(at), phone_of(at, ALICE))


async def test_given_hold_and_retrieval_in_a_hurry_when_signalled_then_the_last_word_is_that_they_talk(
    autojump_clock, tmp_path
):
    slow = replace(TALKER, reinvite_s=3.0)
    async with conversation(tmp_path, called=slow, options=["hold-signalling = true"]) as (at, daemon, handle):
        leg = next(leg for leg_id, leg in at.telephony.legs.items() if "-customer" in leg_id)
        for request in ("RequestHoldCall", "RequestRetrieveCall") * 3:
            await ask(daemon, ALICE, request, conn_id(handle))
        await trio.sleep(20.0)

        assert leg.redirects[-1].direction is Direction.SENDRECV
        assert len(leg.redirects) <= 3, "what was overtaken is not sent"


async def test_given_a_call_on_hold_when_something_else_is_heard_in_it_then_it_stays_with_its_agent(
    autojump_clock, tmp_path
):
    """With the far end on hold its audio breaks off, or is its switch's own: no tone of the called party's."""
    talker = replace(TALKER, after_bridge=((VerdictKind.BUSY, 5.0),))
    async with conversation(tmp_path, called=talker) as (at, daemon, handle):
        task = daemon.session.attempts[handle]
        assert customer(at).analysing, "cpa-after-connect"
        main, _ = await consulted(at, daemon, handle)
        assert not customer(at).analysing
        task.post(Heard(VerdictKind.BUSY, connected=True))  # was on its way
        await trio.sleep(10.0)

        assert task.control.begin().state is Talk.CONSULTING
        assert customer(at).playing == "music"
        assert task.machine.result == CallResult.ANSWER
        assert (await heard_of(daemon, ALICE, "EventDialing"))["PreviousConnID"] == main


@pytest.mark.parametrize(("mode", "role"), [("mute", Role.LISTEN), ("coach", Role.WHISPER), ("connect", Role.BARGE)])
async def test_given_a_supervisor_when_the_agents_call_goes_on_then_the_mode_is_the_role(
    autojump_clock, tmp_path, mode, role
):
    async with conversation(tmp_path) as (at, daemon, handle):
        supervising(daemon, CAROL)
        await daemon.desktops[CAROL].ask(
            Request="RequestMonitorNextCall", OtherDN=ALICE, MonitorMode=mode, ReferenceID=3
        )
        assert daemon.desktops[CAROL].last("EventMonitoringNextCall")["ReferenceID"] == 3
        established = await heard_of(daemon, CAROL, "EventEstablished")

        assert (established["ConnID"], established["MonitorMode"]) == (conn_id(handle), mode)
        joined = phone_of(at, CAROL).joined
        assert (joined.other_channel_id, joined.role) == (phone_of(at, ALICE).channel_id, role)
        assert hear_each_other(customer(at), phone_of(at, ALICE))
        assert daemon.desktops[ALICE].has("EventPartyAdded") == (mode != "mute")

        await ask(daemon, CAROL, "RequestReleaseCall", conn_id(handle))
        await heard_of(daemon, CAROL, "EventReleased")
        assert daemon.campaigns.seats[CAROL].state is AgentState.NOT_READY
        assert len(at.media.channels) == 2


def supervising(daemon, agent_id):
    """The configuration gives the right; the world's has nobody who has it."""
    config = daemon.campaigns.config
    agents = tuple(
        each.model_copy(update={"supervises": ("Demo Agents",)}) if each.login_id == agent_id else each
        for each in config.agents
    )
    daemon.campaigns.config = config.model_copy(update={"agents": agents})


async def test_given_nobody_who_may_supervise_when_asked_then_refused(autojump_clock, tmp_path):
    async with conversation(tmp_path) as (at, daemon, _):
        await daemon.desktops[CAROL].ask(Request="RequestMonitorNextCall", OtherDN=ALICE)

        assert "supervises no agent" in daemon.desktops[CAROL].last("EventError")["ErrorMessage"]
        assert len(at.media.channels) == 2
        assert daemon.campaigns.status(CAMPAIGN_GROUP_DBID) is not None


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


OTHER_GROUP = """
[[agent_groups]]
dbid = 777
name = "Experts"
agents = ["agent3"]
"""


async def test_given_an_agent_of_another_group_when_transferred_to_then_the_record_stays_behind_and_the_seat_ends_well(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path, more=OTHER_GROUP, without=CAROL) as (at, daemon, handle):
        main = conn_id(handle)
        await ask(daemon, ALICE, "RequestSingleStepTransfer", main, OtherDN=CAROL)
        await daemon.until(lambda: at.state(1)[0] is RecordStatus.STALE)
        assert daemon.campaigns.seats[CAROL].state is AgentState.TALKING
        assert hear_each_other(customer(at), phone_of(at, CAROL))
        await daemon.desktops[CAROL].about("RecordProcessed", handle)
        assert daemon.desktops[CAROL].errors == [112]

        await ask(daemon, ALICE, "RequestReleaseCall", main)
        assert "no call of agent" in daemon.desktops[ALICE].last("EventError")["ErrorMessage"]
        await ask(daemon, CAROL, "RequestReleaseCall", main)
        await heard_of(daemon, CAROL, "EventReleased")
        await daemon.until(lambda: not at.media.channels)
        assert daemon.campaigns.seats[CAROL].state is AgentState.NOT_READY


async def test_given_a_supervisor_of_all_calls_when_the_call_is_passed_on_then_the_next_agent_is_not_listened_to(
    autojump_clock, tmp_path
):
    async with conversation(tmp_path) as (at, daemon, handle):
        supervising(daemon, CAROL)
        await daemon.desktops[CAROL].ask(
            Request="RequestMonitorNextCall", OtherDN=ALICE, MonitorNextCallType="MonitorAllCalls"
        )
        await heard_of(daemon, CAROL, "EventEstablished")
        [call] = daemon.campaigns.calls(CAMPAIGN_GROUP_DBID)["calls"]
        assert call["supervisors"] == [{"agent_id": CAROL, "mode": "mute"}]
        assert (call["state"], call["number"]) == ("talking", f"...{number(1)[-4:]}")
        await ask(daemon, ALICE, "RequestSingleStepTransfer", conn_id(handle), OtherDN=BOB)
        await heard_of(daemon, CAROL, "EventReleased")

        assert len(at.media.channels) == 2
        assert daemon.campaigns.seats[CAROL].state is AgentState.NOT_READY
        await daemon.desktops[CAROL].ask(Request="RequestCancelMonitoring", OtherDN=ALICE)
        assert daemon.desktops[CAROL].has("EventMonitoringCancelled")


@pytest.mark.parametrize("transferred", [False, True])
async def test_given_a_nailed_up_phone_when_consulted_then_nothing_rings_and_it_stays_on_the_line(
    autojump_clock, tmp_path, transferred
):
    async with conversation(tmp_path, nailed_up=BOB) as (at, daemon, handle):
        await daemon.until(lambda: any("-agent2-" in c.leg_id for c in at.telephony.placed))
        await trio.sleep(5.0)
        main, second = await consulted(at, daemon, handle)
        assert hear_each_other(phone_of(at, ALICE), phone_of(at, BOB))
        assert (
            not daemon.desktops[BOB].has("EventRinging")
            or daemon.desktops[BOB].last("EventRinging")["ConnID"] != second
        )
        if transferred:
            await ask(daemon, ALICE, "RequestCompleteTransfer", main, TransferConnID=second)
            await heard_of(daemon, BOB, "EventPartyChanged")
            assert hear_each_other(customer(at), phone_of(at, BOB))
            await daemon.desktops[BOB].about("RecordProcessed", handle)
            await ask(daemon, BOB, "RequestReleaseCall", main)
            await daemon.until(lambda: at.state(1)[0] is RecordStatus.UPDATED)
        else:
            await ask(daemon, ALICE, "RequestReconnectCall", second, PreviousConnID=main)
            await daemon.until(lambda: hear_each_other(customer(at), phone_of(at, ALICE)))
        await trio.sleep(5.0)

        assert not phone_of(at, BOB).bridged_to
        assert sum("-agent2-" in c.leg_id for c in at.telephony.placed) == 1
        assert daemon.campaigns.seats[BOB].state is AgentState.NOT_READY
