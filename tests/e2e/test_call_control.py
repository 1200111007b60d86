"""Call control over real SIP and RTP: who hears whom is told by the tones that every party sends."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ocsd.model.enums import CallResult, RecordStatus
from telephony.simworld.idtone import agent_code
from tests.e2e.records_world import NAMES, NEVER, Desk, Numbers, World, world
from tests.ladder import Ladder, SipText

pytestmark = pytest.mark.e2e

LIST = NAMES[NEVER]
ALICE, BOB = "agent1", "agent2"
TALKS_ON_S = 120.0
HEARD_S = 2.0
"""Long enough for a tone to be known for sure, also where somebody speaks over it."""

numbers = Numbers()
TRANSFERRED, CONFERENCED, OUTSIDE, KILLED = (numbers.person(TALKS_ON_S) for _ in range(4))
EXPERT = numbers.person(TALKS_ON_S)
"""Somebody outside, reached over the trunk like any customer."""


def supervising(text: str) -> str:
    options = "options = { call_wait_connected_timeout = 60"
    assert 'login_id = "agent2"' in text
    assert options in text
    text = text.replace(options, f"{options}, hold-signalling = true")
    return text.replace('login_id = "agent2"', 'login_id = "agent2"\nsupervises = ["Demo Agents"]')


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/", supervising) as made:
        made.site.start_daemon()
        yield made


def a_while(here: World) -> None:
    """People say something."""
    until_s = time.monotonic() + HEARD_S
    here.until("everybody has been heard", lambda: time.monotonic() > until_s)


def extension(agent_id: str) -> str:
    return f"100{agent_id[-1]}"


def conversation(here: World, number: str) -> tuple[Desk, Desk]:
    """Alice talks with the customer, Bob is logged in and not ready."""
    here.add(LIST, [number])
    bob, alice = here.log_in(BOB), here.log_in(ALICE, ready=True)
    here.start(NEVER)
    alice.established()
    here.site.client.stop(NEVER)
    a_while(here)
    return alice, bob


def consultation(here: World, alice: Desk, other_dn: str) -> str:
    """Alice has somebody on the line while the customer is on hold; the ConnID of that call."""
    second = alice.agent("RequestInitiateTransfer", "EventDialing", ConnID=alice.conn_id, OtherDN=other_dn)["ConnID"]
    alice.expect(Event="EventEstablished", ConnID=second)
    a_while(here)
    return str(second)


def codes(truth: dict[str, Any]) -> set[int]:
    return {int(code) for code in truth["heard_codes"]}


def one_call(here: World, calls: Any) -> dict[str, Any]:
    found = here.until("the call is over for the far end too", calls)
    assert len(found) == 1, found
    return dict(found[0])


def test_given_a_consultation_when_transferred_then_everybody_has_heard_whom_they_should(here):
    before = {each: len(here.calls_of(extension(each))) for each in (ALICE, BOB)}
    begin_s = time.monotonic()
    with here.loaded(NEVER):
        alice, bob = conversation(here, TRANSFERRED)
        second = consultation(here, alice, BOB)
        rang = bob.expect(Event="EventEstablished")
        assert rang["UserData"]["GSW_PHONE"] == TRANSFERRED
        alice.agent("RequestCompleteTransfer", "EventReleased", ConnID=alice.conn_id, TransferConnID=second)
        alice.expect(Event="EventReleased", ConnID=alice.conn_id)
        changed = bob.expect(Event="EventPartyChanged")
        assert (changed["ConnID"], changed["PreviousConnID"]) == (alice.conn_id, second)
        a_while(here)
        bob.conn_id, bob.data = changed["ConnID"], changed["UserData"]
        bob.record("RecordProcessed", bob.data, GSW_CALL_RESULT=int(CallResult.WRONG_PARTY))
        bob.hang_up()
        here.until("the record is closed", lambda: here.row(TRANSFERRED)["record_status"] == RecordStatus.UPDATED)
        assert here.row(TRANSFERRED)["call_result"] == CallResult.WRONG_PARTY

        of_alice = one_call(here, lambda: here.calls_of(extension(ALICE))[before[ALICE] :])
        of_bob = one_call(here, lambda: here.calls_of(extension(BOB))[before[BOB] :])
        of_customer = one_call(here, lambda: here.calls_to(TRANSFERRED))
    ladder = Ladder(
        "Consultation and attended transfer to an agent of the campaign",
        source='chapter "Communication Protocols", which leaves call control to the T-Library',
        about="Agent 1 asks agent 2 for advice while the customer hears music, and passes the customer on. The record "
        "goes along: agent 2 sends RecordProcessed. The media server joins "
        "whoever talks; with hold-signalling the carrier is told of the hold.",
    )
    draw(here, "consultation-transfer", ladder, TRANSFERRED, (alice, bob), begin_s)
    ladder.assert_order(
        "RequestInitiateTransfer", "EventHeld", "EventDialing", "EventEstablished", "RequestCompleteTransfer",
        "EventReleased", "EventReleased", source=None, target=None,
    )  # fmt: skip
    ladder.assert_order("EventRinging", "EventEstablished", "EventPartyChanged", target="Desktop agent2")
    ladder.assert_order("INVITE", "200 OK (INVITE, SDP)", "BYE", source=None)
    print("customer, alice, bob heard", codes(of_customer), codes(of_alice), codes(of_bob))
    customer, a, b = of_customer["own_code"], agent_code(extension(ALICE)), agent_code(extension(BOB))
    assert codes(of_alice) >= {customer, b}
    assert codes(of_bob) >= {a, customer}
    assert codes(of_customer) >= {a, b}


def offers(here: World, number: str) -> list[str]:
    """Directions of the re-INVITEs that the customer's side was sent."""
    found: dict[str, str] = {}
    for line in (here.folder / "carrier-wire.jsonl").read_text().splitlines():
        entry = json.loads(line)
        message = SipText.parse(entry["sip"]) if "sip" in entry and entry["at"] == "in" else None
        if message is None or message.status or message.method != "INVITE" or "tag=" not in message.headers["to"]:
            continue
        if message.called.lstrip("+") == number.lstrip("+"):
            directions = re.findall(r"^a=(sendrecv|sendonly|inactive)\s*$", message.body, re.MULTILINE)
            found[message.headers["cseq"]] = directions[0] if directions else "sendrecv"
    return list(found.values())


def draw(here: World, name: str, ladder: Ladder, number: str, desks: tuple[Desk, ...], begin_s: float) -> None:
    """Messages of one call: the customer's, those of the two phones since then, the desktops'."""
    ports = json.loads((here.folder / "carrier.json").read_text())
    ladder.simworld(
        here.folder / "carrier-wire.jsonl",
        {ports["carrier_port"]: "Customer"},
        only=lambda message: message.called.lstrip("+") == number.lstrip("+"),
        agents=(),
    )
    calls: set[str] = set()
    for line in (here.folder / "phones-wire.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if "sip" in entry and entry["at_s"] >= begin_s:
            calls.add(SipText.parse(entry["sip"]).headers.get("call-id", ""))
    ladder.simworld(
        here.folder / "phones-wire.jsonl",
        {here.site.phones_port: "Phone {user}"},
        only=lambda message: message.headers.get("call-id", "") in calls,
        agents=(),
    )
    for desk in desks:
        told = (entry for entry in desk.socket.stamped if "ConnID" in entry[2])
        ladder.desktop_socket(desk.agent_id, told, ("CallType", "PreviousConnID"))
    ladder.keep(name)


def test_given_a_hold_and_a_supervisor_when_they_come_and_go_then_each_hears_what_the_mode_allows(here):
    before = {each: len(here.calls_of(extension(each))) for each in (ALICE, BOB)}
    with here.loaded(NEVER):
        alice, bob = conversation(here, CONFERENCED)
        bob.agent("RequestMonitorNextCall", "EventMonitoringNextCall", OtherDN=ALICE, MonitorMode="mute")
        bob.conn_id = bob.expect(Event="EventEstablished")["ConnID"]
        alice.agent("RequestHoldCall", "EventHeld", ConnID=alice.conn_id)
        a_while(here)
        alice.agent("RequestRetrieveCall", "EventRetrieved", ConnID=alice.conn_id)
        alice.agent("RequestSetMuteOn", "EventMuteOn", ConnID=alice.conn_id)
        a_while(here)
        alice.agent("RequestSetMuteOff", "EventMuteOff", ConnID=alice.conn_id)
        bob.hang_up()
        alice.agent("RequestSendDTMF", "EventDtmfSent", ConnID=alice.conn_id, DTMFDigits="5")
        alice.hang_up()
        alice.record("RecordProcessed", alice.data)
        of_alice = one_call(here, lambda: here.calls_of(extension(ALICE))[before[ALICE] :])
        of_bob = one_call(here, lambda: here.calls_of(extension(BOB))[before[BOB] :])
        of_customer = one_call(here, lambda: here.calls_to(CONFERENCED))
    print("customer, alice, bob heard", of_customer["heard_codes"], of_alice["heard_codes"], of_bob["heard_codes"])
    customer, a, b = of_customer["own_code"], agent_code(extension(ALICE)), agent_code(extension(BOB))
    # Two tones at once are none; on hold only the agent was heard, and while she was muted only the customer.
    assert codes(of_bob) == {customer, a}
    assert b not in codes(of_alice) | codes(of_customer), "nobody heard the supervisor"
    assert offers(here, CONFERENCED) == ["sendonly", "sendrecv"], "hold and retrieval were signalled"
    assert codes(of_customer) >= {a}


def test_given_a_call_on_hold_when_the_daemon_is_killed_then_music_and_consultation_go_on(here):
    before = len(here.calls_of(extension(BOB)))
    with here.loaded(NEVER):
        alice, _ = conversation(here, KILLED)
        second = consultation(here, alice, BOB)
        here.kill_and_restart()
        bob = here.log_in(BOB)
        alice = here.log_in_again(alice)
        assert not here.calls_of(extension(BOB))[before:], "Bob is on the line still"
        alice.agent("RequestCompleteTransfer", "EventReleased", ConnID=alice.conn_id, TransferConnID=second)
        changed = bob.expect(Event="EventPartyChanged")
        bob.conn_id, bob.data = changed["ConnID"], changed["UserData"]
        a_while(here)
        bob.hang_up()
        bob.record("RecordProcessed", bob.data)
        of_bob = one_call(here, lambda: here.calls_of(extension(BOB))[before:])
        of_customer = one_call(here, lambda: here.calls_to(KILLED))
    assert of_customer["own_code"] in codes(of_bob)
    assert agent_code(extension(BOB)) in codes(of_customer)


def test_given_an_expert_outside_when_transferred_blindly_then_the_record_is_stale_and_they_talk(here):
    with here.loaded(NEVER):
        alice, _ = conversation(here, OUTSIDE)
        alice.socket.send(
            {"Request": "RequestSingleStepTransfer", "ConnID": alice.conn_id, "OtherDN": EXPERT, "ReferenceID": 99}
        )
        alice.expect(Event="EventReleased", ConnID=alice.conn_id)
        here.until("the record is closed", lambda: here.row(OUTSIDE)["record_status"] == RecordStatus.STALE)
        assert here.row(OUTSIDE)["call_result"] == CallResult.STALE
        a_while(here)
    assert not here.calls_to(OUTSIDE), "the conversation outlives the group"
    assert not here.calls_to(EXPERT)
