"""Call control of desktops over the in-memory plane: hold, keys, consultation, transfer, conference, supervisors."""

from dataclasses import replace

import pytest
import trio

from ocsd.demo.world import CAMPAIGN_GROUP_DBID
from ocsd.model.enums import CallResult, RecordStatus
from ocsd.sessions.attempt_events import Heard
from ocsd.sessions.call_talk import Talk, conn_id
from ocsd.sessions.roster import AgentState
from telephony.contract import Direction, Role, VerdictKind
from tests.ocsd.call_world import (
    ALICE,
    BOB,
    CAROL,
    DEAD,
    OUTSIDE,
    ask,
    consulted,
    conversation,
    customer,
    hear_each_other,
    heard_of,
    outside,
    phone_of,
    supervising,
)
from tests.ocsd.desk_world import TALKER, number


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


async def test_given_nobody_who_may_supervise_when_asked_then_refused(autojump_clock, tmp_path):
    async with conversation(tmp_path) as (at, daemon, _):
        await daemon.desktops[CAROL].ask(Request="RequestMonitorNextCall", OtherDN=ALICE)

        assert "supervises no agent" in daemon.desktops[CAROL].last("EventError")["ErrorMessage"]
        assert len(at.media.channels) == 2
        assert daemon.campaigns.status(CAMPAIGN_GROUP_DBID) is not None


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
