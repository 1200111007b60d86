"""Every request of call control is answered once, whatever becomes of the call, the agent or the daemon then."""

import pytest
import trio
import trio.testing

from ocsd.protocols.desktop_calls import CALL_REQUESTS
from ocsd.sessions.call_talk import conn_id
from tests.ocsd.call_world import (
    ALICE,
    BOB,
    CAROL,
    DEAD,
    SCRIPTS,
    conference,
    consulted,
    held_call,
    muted_call,
    supervised,
    supervising,
    talking,
)
from tests.ocsd.desk_world import world

REFERENCE = 77


async def plain(_at, _daemon, _handle):
    await trio.lowlevel.checkpoint()


async def may_supervise(_at, daemon, _handle):
    supervising(daemon, CAROL)
    await trio.lowlevel.checkpoint()


async def adding(at, daemon, handle):
    await daemon.desktops[ALICE].ask(
        Request="RequestSingleStepConference", ConnID=conn_id(handle), OtherDN=DEAD, ReferenceID=1
    )
    await trio.sleep(0.5)


MAIN, SECOND = "main", "second"
REQUESTS = [
    # (request, before it, whose, ConnID, further attributes)
    ("RequestHoldCall", plain, ALICE, MAIN, {}),
    ("RequestRetrieveCall", held_call, ALICE, MAIN, {}),
    ("RequestSetMuteOn", plain, ALICE, MAIN, {}),
    ("RequestSetMuteOff", muted_call, ALICE, MAIN, {}),
    ("RequestSendDTMF", plain, ALICE, MAIN, {"DTMFDigits": "123456789"}),
    ("RequestSendDTMF", consulted, ALICE, SECOND, {"DTMFDigits": "123456789"}),
    ("RequestInitiateTransfer", plain, ALICE, MAIN, {"OtherDN": BOB}),
    ("RequestInitiateConference", plain, ALICE, MAIN, {"OtherDN": DEAD}),
    ("RequestAlternateCall", consulted, ALICE, SECOND, {"PreviousConnID": MAIN}),
    ("RequestReconnectCall", consulted, ALICE, SECOND, {"PreviousConnID": MAIN}),
    ("RequestCompleteTransfer", consulted, ALICE, MAIN, {"TransferConnID": SECOND}),
    ("RequestCompleteConference", consulted, ALICE, MAIN, {"ConferenceConnID": SECOND}),
    ("RequestSingleStepTransfer", plain, ALICE, MAIN, {"OtherDN": BOB}),
    ("RequestSingleStepTransfer", plain, ALICE, MAIN, {"OtherDN": DEAD}),
    ("RequestSingleStepConference", plain, ALICE, MAIN, {"OtherDN": BOB}),
    ("RequestSingleStepConference", plain, ALICE, MAIN, {"OtherDN": DEAD}),
    ("RequestDeleteFromConference", conference, ALICE, MAIN, {"OtherDN": BOB}),
    ("RequestDeleteFromConference", adding, ALICE, MAIN, {"OtherDN": DEAD}),
    ("RequestReleaseCall", plain, ALICE, MAIN, {}),
    ("RequestReleaseCall", consulted, ALICE, SECOND, {}),
    ("RequestReleaseCall", consulted, BOB, SECOND, {}),
    ("RequestReleaseCall", supervised, CAROL, MAIN, {}),
    ("RequestMonitorNextCall", may_supervise, CAROL, "", {"OtherDN": ALICE}),
    ("RequestCancelMonitoring", supervised, CAROL, "", {"OtherDN": ALICE}),
]
BARE = {"RequestReleaseCall", "RequestSingleStepTransfer"}
"""Their EventReleased comes in the same way when nobody has asked, so it has the ConnID alone."""

MOMENTS = ("in peace", "the customer leaves first", "the customer leaves", "the agent leaves", "the daemon stops")


def test_given_the_requests_of_the_protocol_when_listed_then_none_is_missing_here():
    assert {request for request, *_ in REQUESTS} == {*CALL_REQUESTS, "RequestReleaseCall"}


def hang_up(at, who):
    """Without a checkpoint: nobody knows of it before the request is made, or before it is taken."""
    for leg_id in list(at.telephony.machines):
        if f"-{who}" in leg_id and "-third-" not in leg_id:
            at.telephony.legs[leg_id].far_end_hangs_up()


def answers(messages, request, main):
    """Everything that was sent since the request, and answers it."""
    said = [each["Event"] for each in messages if each.get("ReferenceID") == REFERENCE]
    bare = [each for each in messages if each.get("Event") == "EventReleased" and "ReferenceID" not in each]
    if not said and request in BARE and any(each["ConnID"] == main for each in bare):
        return ["EventReleased"]
    return said


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("request_", "before", "whose", "conn", "more"),
    REQUESTS,
    ids=[f"{request}-{before.__name__}-{more.get('OtherDN', whose)}" for request, before, whose, _, more in REQUESTS],
)
async def test_given_a_request_when_the_call_the_agent_or_the_daemon_ends_then_it_is_answered_once(
    autojump_clock, tmp_path, request_, before, whose, conn, more, moment
):
    async with world(tmp_path, SCRIPTS) as at:
        async with at.daemon() as daemon, talking(at, daemon) as handle:
            await before(at, daemon, handle)
            await trio.testing.wait_all_tasks_blocked()
            ids = {MAIN: conn_id(handle), SECOND: conn_id(handle, 1)}
            desktop = daemon.desktops[whose]
            desktop.messages.clear()
            attributes = {name: ids.get(value, value) for name, value in more.items()}
            if conn:
                attributes["ConnID"] = ids[conn]
            if moment == "the customer leaves first":
                hang_up(at, "customer")
            await desktop.ask(Request=request_, ReferenceID=REFERENCE, **attributes)
            match moment:
                case "the customer leaves":
                    hang_up(at, "customer")
                case "the agent leaves":
                    hang_up(at, ALICE)
                case _:
                    pass
            if moment != "the daemon stops":
                await trio.sleep(60.0 if more.get("OtherDN") == DEAD else 8.0)  # virtual
        assert len(answers(desktop.messages, request_, ids[MAIN])) == 1, desktop.messages


@pytest.mark.parametrize("moment", MOMENTS[1:])
async def test_given_a_third_party_that_rings_when_the_call_ends_then_who_asked_for_it_is_told(
    autojump_clock, tmp_path, moment
):
    """The request was accepted, and waits for the third party's answer."""
    async with world(tmp_path, SCRIPTS) as at:
        async with at.daemon() as daemon, talking(at, daemon) as handle:
            desktop = daemon.desktops[ALICE]
            await desktop.ask(
                Request="RequestSingleStepConference", ConnID=conn_id(handle), OtherDN=DEAD, ReferenceID=REFERENCE
            )
            await trio.sleep(2.0)
            assert not answers(desktop.messages, "", "")
            match moment:
                case "the daemon stops":
                    pass
                case "the agent leaves":
                    hang_up(at, ALICE)
                    await trio.sleep(5.0)
                case _:
                    hang_up(at, "customer")
                    await trio.sleep(5.0)
        assert answers(desktop.messages, "", "") == ["EventError"]


async def test_given_a_third_party_that_rings_when_it_is_deleted_then_both_requests_are_answered(
    autojump_clock, tmp_path
):
    async with world(tmp_path, SCRIPTS) as at, at.daemon() as daemon, talking(at, daemon) as handle:
        await adding(at, daemon, handle)
        desktop = daemon.desktops[ALICE]
        await desktop.ask(
            Request="RequestDeleteFromConference", ConnID=conn_id(handle), OtherDN=DEAD, ReferenceID=REFERENCE
        )
        await trio.sleep(5.0)
        assert answers(desktop.messages, "", "") == ["EventPartyDeleted"]
        assert [m["Event"] for m in desktop.messages if m.get("ReferenceID") == 1] == ["EventError"]
