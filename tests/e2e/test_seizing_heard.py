"""
What people and agents hear where agents are seized: the beep at the merge, the announcement of whoever was overdialed,
each other. Also whose phone is called when: before a flagged record, and at login. One campaign group for each.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from ocsd.model.enums import CallResult, DialMode
from telephony.simworld.numbers import number_for
from tests.e2e.far_end import FarCall, FarEnd
from tests.e2e.groups import Group, with_groups
from tests.e2e.site import Site, eventually, site
from tests.e2e.test_voice import tone_file
from tests.e2e.wire import DesktopSocket
from tests.ladder import Ladder

pytestmark = pytest.mark.e2e

BEEP_HZ, CUSTOMER_HZ, AGENT_HZ, ANNOUNCEMENT_HZ = 440.0, 700.0, 1100.0, 1500.0
BEEPS = 0.1
"""Share of the energy of 0.4 s from which on a beep of 0.25 s is in it, beside the other side's voice."""
SAYS = 0.5
AT_ONCE = 'call_answer_type_recognition = "no_progress_detection"'
"""Whoever answers is a person; what analysis finds is shown elsewhere."""

SEIZED = Group(2000, "seized", DialMode.PROGRESSIVE_AND_SEIZE, ["agent1"], options=[AT_ONCE, 'beep-on-merge = "yes"'])
OVERDIALED = Group(
    2010, "overdialed", DialMode.PROGRESSIVE_AND_SEIZE, ["agent2"],
    options=[
        AT_ONCE, "progressive_dial_factor = 2", "beep-on-merge = false",
        'asm_drop_announcement_data = "sorry.wav"',
    ],
)  # fmt: skip
ASSURED = Group(
    2020, "assured", DialMode.PROGRESSIVE, ["agent3"], options=[AT_ONCE],
    list_options=['assured-connect = "yes"', 'assured-connect-field = "customer_name"'],
)  # fmt: skip
NAILED_UP = Group(2030, "nailed up", DialMode.PROGRESSIVE, ["agent4"], options=[AT_ONCE, 'beep-on-merge = "yes"'])
GROUPS = [SEIZED, OVERDIALED, ASSURED, NAILED_UP]
NUMBERS = {
    SEIZED.name: [number_for(0)],
    OVERDIALED.name: [number_for(1), number_for(2)],
    ASSURED.name: [number_for(3)],
    NAILED_UP.name: [number_for(4)],
}


def configured(text: str) -> str:
    text = text.replace("record_processed = true", "record_processed = false")
    name = 'login_id = "agent4"'
    assert name in text
    text = text.replace(name, f'{name}\nphone = {{ nailed_up = true, auto_answer = "call-info" }}')
    return with_groups(text, GROUPS)


def share(call: FarCall, hz: float) -> float:
    """Most of the energy of any 0.4 s heard in the call that was at this frequency."""
    frames = list(call.heard)
    windows = (replace(call, heard=frames[at : at + 20]).level(hz) for at in range(0, max(1, len(frames) - 19), 5))
    return float(np.max([0.0, *windows]))


@dataclass(frozen=True)
class Told:
    """An agent's desktop, and what it was told."""

    socket: DesktopSocket

    def events(self, name: str, call_type: str = "REGULAR") -> list[dict[str, Any]]:
        while self.socket.poll() is not None:
            pass
        return [
            told for _, sent, told in self.socket.stamped
            if not sent and told.get("Event") == name and told["UserData"].get("GSW_CALL_TYPE") == call_type
        ]  # fmt: skip

    def at_s(self, event: dict[str, Any]) -> float:
        return next(at_s for at_s, _, told in self.socket.stamped if told is event)

    def release(self, event: dict[str, Any]) -> None:
        self.socket.send({"Request": "RequestReleaseCall", "ConnID": event["ConnID"], "ReferenceID": 9})


@dataclass(frozen=True)
class World:
    site: Site
    customers: FarEnd
    phones: FarEnd
    desktops: dict[str, Told]

    def customer(self, number: str) -> FarCall | None:
        return next((call for call in self.customers.calls.values() if call.invite.called == number), None)

    def phone(self, agent_id: str) -> FarCall | None:
        return next((c for c in self.phones.calls.values() if c.invite.called == f"100{agent_id[-1]}"), None)

    def begin(self, group: Group) -> None:
        self.site.client.start(group.dbid, group.mode)

    def both(self, agent_id: str, number: str) -> tuple[dict[str, Any], FarCall, FarCall]:
        """The event with which their conversation began, once either hears the other."""
        told = eventually("a conversation", lambda: self.desktops[agent_id].events("EventEstablished"))[0]
        customer, phone = self.customer(number), self.phone(agent_id)
        assert customer is not None
        assert phone is not None
        eventually("they hear each other", lambda: min(customer.level(AGENT_HZ), phone.level(CUSTOMER_HZ)) > SAYS)
        return told, customer, phone

    def result(self, number: str) -> tuple[int, dict[str, Any]]:
        query = "SELECT call_result, evidence FROM ocsd.attempt WHERE phone = %s AND finished_at IS NOT NULL"
        ((result, evidence),) = eventually("the attempt is over", lambda: self.site.query(query, number))
        return int(result), evidence


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("prompts")
    tone_file(folder / "sorry.wav", ANNOUNCEMENT_HZ, 1.0)
    with ExitStack() as stack:
        customers = stack.enter_context(FarEnd("Customer", tone_hz=CUSTOMER_HZ))
        phones = stack.enter_context(FarEnd("Agent's phone", tone_hz=AGENT_HZ))

        def edit(text: str) -> str:
            assert "[telephony]\n" in text
            return configured(text.replace("[telephony]\n", f'[telephony]\nprompt_dir = "{folder}"\n', 1))

        place = stack.enter_context(site(customers.port, phones.port, agents=4, edit=edit))
        place.add_records([(number, name) for name, numbers in NUMBERS.items() for number in numbers])
        place.start_daemon()
        desktops = {}
        for group in GROUPS:
            (agent_id,) = group.agents
            desktops[agent_id] = Told(stack.enter_context(DesktopSocket(place.desktop_port)))
            desktops[agent_id].socket.log_in(agent_id, ready=True)
        for group in GROUPS:
            place.client.load(group.dbid)
        yield World(place, customers, phones, desktops)
        assert customers.failures == phones.failures == []


def test_given_a_seized_agent_when_merged_then_the_agent_alone_hears_the_beep_and_both_each_other(here):
    """Figure "ASM-Mode Call Flow with a SIP Agent Endpoint": RTP through the dialer; TMakeCall extension ``beep``."""
    here.begin(SEIZED)
    (number,) = NUMBERS[SEIZED.name]
    told, customer, phone = here.both("agent1", number)
    assert share(phone, BEEP_HZ) > BEEPS
    assert share(customer, BEEP_HZ) < BEEPS
    assert "GSW_ASM_OVERDIAL" not in told["UserData"]
    here.desktops["agent1"].release(told)
    assert here.result(number)[0] == CallResult.ANSWER
    eventually("the engaging call is over", lambda: here.desktops["agent1"].events("EventReleased", "ENGAGING"))
    ladder = Ladder(
        "Progressive and Seize: audio through the media server",
        source='figure "ASM-Mode Call Flow with a SIP Agent Endpoint"',
        about="The figure's HMP software is the media server here: the agent's RTP flows to it from the engaging call "
        "on, and it connects agent and customer. The agent hears a beep when it does (beep-on-merge), the customer "
        "does not.",
    )
    here.phones.on(ladder, only=_of(phone))
    here.customers.on(ladder, only=_of(customer))
    calls = [stamped for stamped in here.desktops["agent1"].socket.stamped if "ConnID" in stamped[2]]
    ladder.desktop_socket("agent1", calls, ("GSW_CALL_TYPE",))
    answered = ("180 Ringing", "200 OK (INVITE, SDP)", "ACK")
    ladder.assert_order("INVITE 1001 (SDP)", *answered, f"INVITE {number} (SDP)", *answered, "BYE", "BYE")
    ladder.assert_order(
        "EventRinging<br/>GSW_CALL_TYPE = ENGAGING", "EventEstablished<br/>GSW_CALL_TYPE = ENGAGING",
        "EventEstablished<br/>GSW_CALL_TYPE = REGULAR", "EventReleased<br/>GSW_CALL_TYPE = REGULAR",
        "EventReleased<br/>GSW_CALL_TYPE = ENGAGING", target="Desktop agent1",
    )  # fmt: skip
    ladder.keep("asm-through-the-media-server")


def test_given_two_people_for_one_engaged_agent_when_both_answer_then_one_is_overdialed_and_hears_why(here):
    """GSW_ASM_OVERDIAL: "drop announcement" of a seizing mode, within call_wait_in_queue_timeout."""
    here.begin(OVERDIALED)
    told = eventually("a conversation", lambda: here.desktops["agent2"].events("EventEstablished"))[0]
    (other,) = set(NUMBERS[OVERDIALED.name]) - {told["OtherDN"]}
    result, evidence = here.result(other)
    assert (result, evidence["asm_overdial"]) == (CallResult.DROPPED, 1)
    customer = here.customer(other)
    assert customer is not None
    assert share(customer, ANNOUNCEMENT_HZ) > SAYS
    assert share(customer, AGENT_HZ) < SAYS, "nobody talked with this one"
    assert here.site.client.statistics(OVERDIALED.dbid)["calls_asm_overdialed"] == 1
    phone = here.phone("agent2")
    assert phone is not None
    assert share(phone, BEEP_HZ) < BEEPS, "beep-on-merge = false"
    here.desktops["agent2"].release(told)
    assert here.result(told["OtherDN"])[0] == CallResult.ANSWER


def test_given_a_flagged_record_when_dialed_then_its_agent_was_on_the_line_before_and_both_calls_name_it(here):
    """Assured connections: GSW_ASSURED_HANDLE of the engaging call is the record's."""
    here.begin(ASSURED)
    (number,) = NUMBERS[ASSURED.name]
    told, customer, _ = here.both("agent3", number)
    (engaging,) = here.desktops["agent3"].events("EventEstablished", "ENGAGING")
    handles = {event["UserData"]["GSW_ASSURED_HANDLE"] for event in (engaging, told)}
    assert handles == {told["UserData"]["GSW_RECORD_HANDLE"]}
    assert told["PreviousConnID"] == engaging["ConnID"]
    phone_s, customer_s = (
        first_s(far, call) for far, call in ((here.phones, here.phone("agent3")), (here.customers, customer))
    )
    assert phone_s < customer_s
    here.desktops["agent3"].release(told)
    assert here.result(number)[0] == CallResult.ANSWER


def test_given_a_nailed_up_phone_when_a_customer_is_found_then_it_is_on_the_line_already_and_stays(here):
    """A phone called at login, with an auto-answer header; Transfer mode."""
    phone = eventually("the phone is called at login", lambda: here.phone("agent4"))
    assert phone.invite.headers["call-info"].endswith(";answer-after=0")
    here.begin(NAILED_UP)
    (number,) = NUMBERS[NAILED_UP.name]
    told, customer, _ = here.both("agent4", number)
    assert share(phone, BEEP_HZ) > BEEPS
    assert share(customer, BEEP_HZ) < BEEPS
    assert here.desktops["agent4"].events("EventRinging") == [], "nothing rings for a customer"
    here.desktops["agent4"].release(told)
    assert here.result(number)[0] == CallResult.ANSWER
    assert not phone.ended.is_set()
    assert sum(call.invite.called == "1004" for call in here.phones.calls.values()) == 1
    here.desktops["agent4"].socket.send({"Request": "RequestAgentLogout", "ReferenceID": 10})
    eventually("it is hung up at logout", phone.ended.is_set)


def first_s(far: FarEnd, call: FarCall | None) -> float:
    """When the call's INVITE came."""
    assert call is not None
    return next(at_s for at_s, _, _, message in far.messages if message.headers["call-id"] == call.call_id)


def _of(call: FarCall) -> Callable[[Any], bool]:
    return lambda message: message.headers["call-id"] == call.call_id
