"""
The figures of the manual's chapter "Supported Functionality with IP Telephony", one campaign group each, all at once:
SIPp is the gateway before the customers and the switch before the agents' phones, the desktops are played by the test.

What a figure's dialer board and SIP Server do between themselves is inside ocsd; what is left of it on the wire is what
the ladders show. docs/flows/README.md has the whole list.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ocsd.model.enums import CallResult, DialMode
from telephony.simworld.numbers import number_for
from tests.e2e.groups import TRUNK, Group, with_groups
from tests.e2e.sipp_carrier import ACK, WAIT_FOR_BYE, Steps, in_dialog, play, respond, sipp_carrier
from tests.e2e.site import Site, eventually, site
from tests.e2e.test_sipp_carrier import PERSON
from tests.e2e.test_transfer_out import PROMISE, finding
from tests.e2e.wire import DesktopSocket
from tests.ladder import Ladder, SipText
from tests.sip.cases import request
from tests.telephony.sipp_peer import SippPeer

pytestmark = pytest.mark.e2e

TRANSFER, ASM = DialMode.PROGRESSIVE, DialMode.PROGRESSIVE_AND_SEIZE
QUEUE = "7000"
ANALYSES = "Analysing gateway"
GATEWAY, SWITCH = "gateway", "switch"


@dataclass(frozen=True)
class Flow:
    """
    One figure. ``analyses``: the gateway does. ``direct``: in the end customer and agent exchange RTP by themselves.
    ``moves``: what the customer's side answers when it is told the agent's address, one after the other.
    ``phone_at``: whether the agent is at the customers' gateway (one location) or at the switch (two).
    """

    title: str
    source: str
    about: str
    mode: DialMode
    analyses: bool = False
    direct: bool = False
    moves: tuple[int, ...] = (200,)
    phone_at: str = SWITCH
    queue: bool = False
    """No agent of ours: another switch's queue, by a second leg."""

    @property
    def moved(self) -> bool:
        return self.direct and self.moves[-1] == 200


OF_A_BOARD = (
    "The figure has a dialer board that needs a line of its own through a gateway (leg 10) until it has heard the "
    "customer; here the media server hears the customer, and no such leg is needed. "
)
MEDIA_BETWEEN = 'step "All media streams are now between the SIP agent endpoint and the customer" of several figures'
REASONS = {488: "Not Acceptable Here", 491: "Request Pending", 200: "OK"}
FLOWS = {
    "transfer-gateway-cpa": Flow(
        "Transfer mode: the gateway analyses",
        'figure "Transfer-Mode Call Flow (MGW with CPA) with a SIP Agent Endpoint"',
        "The gateway says in its answer that it analyses the call, and in INFO what it has heard. Then the agent's "
        "phone is called, and last both far ends are told each other's address: the media streams are between them.",
        TRANSFER, analyses=True, direct=True,
    ),
    "transfer-two-locations": Flow(
        "Transfer mode: gateway and agent in two locations",
        'figure "Transfer-Mode Call Flow (MGW without CPA) in Two Locations with a SIP Agent Endpoint"',
        OF_A_BOARD + "After the verdict the phone is called at its own location, and the media streams are between "
        "the two locations.",
        TRANSFER, direct=True,
    ),
    "transfer-one-location": Flow(
        "Transfer mode: gateway and agent in one location",
        'figure "Transfer-Mode Call Flow (MGW without CPA) in One Location with a SIP Agent Endpoint"',
        OF_A_BOARD + "The agent's phone is behind the customer's gateway, which gets its own address back: the media "
        "streams do not leave the location.",
        TRANSFER, direct=True, phone_at=GATEWAY,
    ),
    "transfer-media-server-cpa": Flow(
        "Transfer mode: the media server analyses",
        'figure "Transfer-Mode Call Flow (MCP as the CPA Provider) with a SIP Agent Endpoint"',
        "The media server is the far end of both calls all the time; it joins them, and can record and monitor.",
        TRANSFER,
    ),
    "asm-gateway-cpa": Flow(
        "Progressive and Seize: the gateway analyses",
        'section "ASM Mode (MGW with CPA)"',
        "As with analysis by the media server, but the verdict comes by INFO. The agent is engaged before the "
        "customer is dialed.",
        ASM, analyses=True,
    ),
    "asm-two-locations": Flow(
        "Progressive and Seize: gateway and agent in two locations",
        'figure "ASM-Mode Call Flow (MGW without CPA) in Two Locations with a SIP Agent Endpoint"',
        "The engaging call goes to the agent's location, the customer's to the gateway; the media server connects "
        "them, as the dialer board does in the figure.",
        ASM,
    ),
    "asm-one-location": Flow(
        "Progressive and Seize: gateway and agent in one location",
        'figure "ASM-Mode Call Flow (MGW without CPA) in One Location with a SIP Agent Endpoint"',
        "Both calls go to the same gateway, which has the agent's phone behind it; the media server connects them, as "
        "the dialer board does in the figure.",
        ASM, phone_at=GATEWAY,
    ),
    "direct-media-refused": Flow(
        "Direct media: refused",
        MEDIA_BETWEEN,
        "A carrier that does not take another address (488): the phone is not asked, and the two go on through the "
        "media server.",
        TRANSFER, direct=True, moves=(488,),
    ),
    "direct-media-glare": Flow(
        "Direct media: glare",
        MEDIA_BETWEEN,
        "The carrier has a re-INVITE of its own under way (491), and is asked again after 2.1 to 4 s (RFC 3261 14.1).",
        TRANSFER, direct=True, moves=(491, 200),
    ),
    "transfer-to-queue-by-reinvite": Flow(
        "Transfer mode to another switch's queue, without REFER",
        'figure "Transfer Mode - Cisco UCM"',
        "For carriers that take no REFER: the queue is called as a second leg, with the attached data as headers, and "
        "both are told each other's address; no RTP goes through ocsd.",
        TRANSFER, direct=True, queue=True,
    ),
}  # fmt: skip
FIRST_DBID = 2000
NAMES = list(FLOWS)
NUMBERS = {name: number_for(index, ("212",)) for index, name in enumerate(NAMES)}
AGENTS = {name: f"agent{index + 1}" for index, name in enumerate(NAMES) if not FLOWS[name].queue}
PHONES = {name: QUEUE if FLOWS[name].queue else f"77{index + 1:02}" for index, name in enumerate(NAMES)}
GROUPS = {name: FIRST_DBID + 10 * index for index, name in enumerate(NAMES)}


# --- the far ends -----------------------------------------------------------------------------------------------------


def customer(flow: Flow, folder: Path) -> Steps:
    moved: Steps = ()
    for status in flow.moves if flow.direct else ():
        moved += ('<recv request="INVITE" rrs="true"/>', in_dialog(status, REASONS[status], sdp=status == 200), ACK)
    heard = finding(1, "AMD", "VOICE") if flow.analyses else (play(PERSON, folder),)
    # A customer whose audio has moved hangs up; the others are hung up on by their agents.
    leaves: Steps = (
        ('<pause milliseconds="500"/>', request("BYE", 9), '<recv response="200"/>') if flow.direct else WAIT_FOR_BYE
    )
    promised = (PROMISE,) if flow.analyses else ()
    return (respond(180, "Ringing"), respond(200, "OK", *promised, sdp=True), ACK, *heard, *moved, *leaves)


def phone(flow: Flow) -> Steps:
    moved = ('<recv request="INVITE"/>', in_dialog(200, "OK", sdp=True), ACK) if flow.moved else ()
    rings = (respond(180, "Ringing"), '<pause milliseconds="300"/>')
    return (*rings, respond(200, "OK", sdp=True), ACK, *moved, *WAIT_FOR_BYE)


def tables(folder: Path) -> dict[str, dict[str, Steps]]:
    """What either SIPp does; phones first, as a call to one of them may show a customer's number."""
    phones: dict[str, dict[str, Steps]] = {GATEWAY: {}, SWITCH: {}}
    for name, flow in FLOWS.items():
        phones[flow.phone_at][PHONES[name]] = phone(flow)
    return {
        GATEWAY: phones[GATEWAY] | {NUMBERS[name]: customer(flow, folder) for name, flow in FLOWS.items()},
        SWITCH: phones[SWITCH],
    }


def groups(ports: dict[str, int]) -> list[Group]:
    found = []
    for name, flow in FLOWS.items():
        options = [f"direct-media = {str(flow.direct).lower()}", 'cpa-after-connect = "no"']
        if flow.queue:
            options += [
                'distribution = "reinvite"', f'transfer_destination = "sip:{QUEUE}@127.0.0.1:{ports[SWITCH]}"',
                'transfer-data = "headers"', "transfer-lines = 1",
            ]  # fmt: skip
        agents = [] if flow.queue else [AGENTS[name]]
        trunk = ANALYSES if flow.analyses else TRUNK
        found.append(Group(GROUPS[name], name, flow.mode, agents, [trunk], options))
    return found


def configured(text: str, ports: dict[str, int]) -> str:
    """The demo's site with a campaign group for each figure, and a second trunk to the gateway that analyses."""
    text = text.replace("record_processed = true", "record_processed = false")
    for name, agent_id in AGENTS.items():
        dn = rf'dn = "sip:100{agent_id[-1]}@127.0.0.1:\d+"'
        text, count = re.subn(dn, f'dn = "sip:{PHONES[name]}@127.0.0.1:{ports[FLOWS[name].phone_at]}"', text)
        assert count == 1
    text += f"""
        [[trunks]]
        dbid = {FIRST_DBID - 1}
        name = "{ANALYSES}"
        tenant = "Environment"
        host = "127.0.0.1"
        port = {ports[GATEWAY]}
        options = {{ cpa = "gateway" }}
        """
    return with_groups(text, groups(ports))


# --- the run ----------------------------------------------------------------------------------------------------------


@dataclass
class Desktop:
    """An agent's desktop, whose agent ends the conversation as soon as it is one, unless the customer will."""

    socket: DesktopSocket
    releases: bool

    def pump(self) -> None:
        while (message := self.socket.poll()) is not None:
            data = message.get("UserData", {})
            if message.get("Event") == "EventEstablished" and data.get("GSW_CALL_TYPE") == "REGULAR" and self.releases:
                self.socket.send({"Request": "RequestReleaseCall", "ConnID": message["ConnID"], "ReferenceID": 3})

    @property
    def calls(self) -> list[tuple[float, bool, dict[str, Any]]]:
        """Call events and requests about calls, as `Ladder.desktop_socket` takes them."""
        return [stamped for stamped in self.socket.stamped if "ConnID" in stamped[2]]

    def event(self, name: str, call_type: str) -> dict[str, Any]:
        (found,) = [
            told for _, _, told in self.calls
            if told.get("Event") == name and told["UserData"].get("GSW_CALL_TYPE") == call_type
        ]  # fmt: skip
        return found


@dataclass(frozen=True)
class Run:
    results: dict[str, tuple[int, dict[str, Any]]]
    desktops: dict[str, Desktop]
    peers: dict[str, SippPeer]
    codes: dict[str, int]
    site: Site

    def trace(self, place: str) -> Path:
        return self.peers[place].message_file

    def messages(self, place: str, user: str) -> Ladder:
        """Everything of the calls to one number or extension."""
        return Ladder(user, source=place).sipp(self.trace(place), place, only=about(user))


def about(user: str) -> Any:
    """Messages of the call that was placed to this user, in either direction."""
    calls: set[str] = set()

    def chosen(message: SipText) -> bool:
        call_id = message.headers.get("call-id", "")
        if message.method == "INVITE" and message.called.lstrip("+") == user.lstrip("+"):
            calls.add(call_id)
        return call_id in calls

    return chosen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("figures")
    with ExitStack() as stack:
        peers, ports = {}, {}
        for place, table in tables(folder).items():
            (folder / place).mkdir()
            peers[place] = stack.enter_context(sipp_carrier(table, folder / place))
            ports[place] = peers[place].port
        here = stack.enter_context(site(ports[GATEWAY], agents=len(AGENTS), edit=lambda text: configured(text, ports)))
        here.add_records([(NUMBERS[name], name) for name in NAMES])
        here.start_daemon()
        desktops = {}
        for name, agent_id in AGENTS.items():
            socket = stack.enter_context(DesktopSocket(here.desktop_port))
            socket.log_in(agent_id, ready=True)
            desktops[name] = Desktop(socket, releases=not FLOWS[name].direct)
        for name, flow in FLOWS.items():
            here.client.load(GROUPS[name])
            here.client.start(GROUPS[name], flow.mode)

        def over() -> bool:
            for desktop in desktops.values():
                desktop.pump()
            return bool(
                here.query("SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL")[0][0] == len(FLOWS)
            )

        eventually("every call is over", over)
        for name in NAMES:
            here.client.force_unload(GROUPS[name])
        codes = {place: peer.finish() for place, peer in peers.items()}
        results = {
            phone_: (int(result), evidence)
            for phone_, result, evidence in here.query("SELECT phone, call_result, evidence FROM ocsd.attempt")
        }
        yield Run(results, desktops, peers, codes, here)


def test_given_all_figures_when_their_calls_are_over_then_every_far_end_saw_each_step_of_its_own(run):
    assert run.codes == {GATEWAY: 0, SWITCH: 0}, {place: peer.errors for place, peer in run.peers.items()}
    assert {name: run.results[NUMBERS[name]][0] for name in NAMES} == dict.fromkeys(NAMES, int(CallResult.ANSWER))


@pytest.mark.parametrize("name", NAMES)
def test_given_a_figure_when_its_call_was_made_then_its_messages_are_in_the_figures_order(run, name):
    """Each of FLOWS names its figure."""
    flow, number = FLOWS[name], NUMBERS[name]
    at_phone = run.messages(flow.phone_at, PHONES[name])
    at_customer = run.messages(GATEWAY, number)
    answered = ("180 Ringing", "200 OK (INVITE, SDP)", "ACK")
    moved = ("INVITE", "200 OK (INVITE, SDP)", "ACK") if flow.moved else ()
    refused = [part for status in flow.moves if status != 200 for part in ("INVITE", f"{status} ", "ACK")]
    found = ("INFO", "200 OK (INFO)") if flow.analyses else ()
    at_customer.assert_order(f"INVITE {number} (SDP)", *answered, *found, *refused, *moved, "BYE", "200 OK (BYE)")
    at_phone.assert_order(f"INVITE {PHONES[name]} (SDP)", *answered, *moved, "BYE", "200 OK (BYE)")
    dialed_s, found_s = moments(at_customer)
    engaged_s, _ = moments(at_phone)
    assert engaged_s < dialed_s if flow.mode is ASM else found_s < engaged_s, "who is called when"
    if flow.moved:
        offers = [audio_ports(run.messages(*where), "INVITE") for where in ((GATEWAY, number), where_phone(name))]
        answers = [audio_ports(run.messages(*where), "200") for where in ((GATEWAY, number), where_phone(name))]
        assert offers[0][-1] == answers[1][0], "the customer's side was told where the agent hears"
        assert offers[1][-1] == answers[0][0], "and the other way round"
    else:
        assert len(audio_ports(at_phone, "INVITE")) == 1, "the agent's side was not asked"
    if 488 in flow.moves:
        assert "488" in run.results[number][1]["direct_media"]["refused"]
    ladder = Ladder(flow.title, source=flow.source, about=flow.about)
    customers, agents = "Gateway", "PBX and queue" if flow.queue else "Agent's switch"
    if flow.phone_at == GATEWAY:
        customers, agents = "Gateway, customer's line", "Gateway, agent's line"
    ladder.sipp(run.trace(GATEWAY), customers, show=("X-Detect",), only=about(number))
    ladder.sipp(run.trace(flow.phone_at), agents, show=("X-GSW-PHONE",), only=about(PHONES[name]))
    if (desktop := run.desktops.get(name)) is not None:
        ladder.desktop_socket(AGENTS[name], desktop.calls, ("GSW_CALL_TYPE",))
        told(run, name, desktop)
    ladder.keep(name)


def where_phone(name: str) -> tuple[str, str]:
    return FLOWS[name].phone_at, PHONES[name]


def moments(ladder: Ladder) -> tuple[float, float]:
    """When the call began, and the last thing before it was bridged that the far end said by itself, if anything."""
    steps = ladder.steps
    said = [step.at_s for step in steps if step.sip is not None and step.sip.method == "INFO"]
    answered = next(step.at_s for step in steps if step.label.startswith("200 OK (INVITE"))
    return steps[0].at_s, max([answered, *said])


def audio_ports(ladder: Ladder, start: str) -> list[str]:
    """Ports of the audio lines in INVITEs that we sent, or in the answers to them, in order."""
    found = []
    for step in ladder.steps:
        assert step.sip is not None
        if step.sip.method == "INVITE" and step.label.startswith(start) and step.sip.body:
            line = re.search(r"m=audio (\d+)", step.sip.body)
            assert line is not None
            found.append(line[1])
    return found


def told(run: Run, name: str, desktop: Desktop) -> None:
    """Tables "TMakeCall Attached Data" and "TMakePredictiveCall Attached Data", and what the figures say of events."""
    flow = FLOWS[name]
    keys = {"GSW_SESSION_DBID": GROUPS[name], "GSW_QUEUE_DBID": GROUPS[name] + 2}
    regular = desktop.event("EventEstablished", "REGULAR")
    assert regular["UserData"].items() >= keys.items()
    assert regular["UserData"]["GSW_PHONE"] == NUMBERS[name]
    assert regular["UserData"]["customer_name"] == name, "the customer's data, as a screen pop"
    names = [told["Event"] for _, _, told in desktop.calls if "Event" in told]
    if flow.mode is ASM:
        engaging = desktop.event("EventEstablished", "ENGAGING")
        assert engaging["UserData"].items() >= keys.items()
        assert regular["PreviousConnID"] == engaging["ConnID"]
        assert names[:3] == ["EventRinging", "EventEstablished", "EventEstablished"]
    else:
        assert names[:2] == ["EventRinging", "EventEstablished"]
    assert desktop.event("EventReleased", "REGULAR")["ConnID"] == regular["ConnID"]


def test_given_the_queue_of_another_switch_when_called_then_its_invite_has_the_attached_data(run):
    """Figure "Transfer Mode - Cisco UCM", where ISCC carries the data with the call."""
    steps = run.messages(SWITCH, QUEUE).steps
    invite = next(step.sip for step in steps if step.sip is not None and step.sip.start.startswith("INVITE"))
    assert invite.headers["x-gsw-phone"] == NUMBERS["transfer-to-queue-by-reinvite"]
    assert invite.headers["x-call-attempt-guid"]
