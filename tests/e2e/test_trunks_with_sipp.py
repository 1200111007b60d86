"""
Trunks against SIPp, one campaign group for each thing that docs/trunks.md promises: failover, redirects, limits,
weights, who calls and how, session timers, registrations. Nobody is needed to talk: the groups run in Progressive GVP.
Trunks that fall silent, and how fast traffic moves and comes back, are in test_trunks.py.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ocsd.model.enums import CallResult, DialMode
from telephony.simworld.numbers import number_for
from tests.e2e.groups import Group, with_groups
from tests.e2e.sipp_carrier import ACK, WAIT_FOR_BYE, Steps, fail, respond, sipp_carrier
from tests.e2e.site import Site, eventually, site
from tests.ladder import SipText
from tests.telephony.played_peer import PlayedPeer, Reply, played_peer
from tests.telephony.sipp_peer import SippPeer

pytestmark = pytest.mark.e2e

FIRST, SECOND = "first", "second"
"""The two carriers."""
CALLER, POOL = "+12125550110", "+12125550111"
CALLS_PER_SECOND = 2
INVITE_AGAIN = '<recv request="INVITE" rrs="true"/>'
CHALLENGE = 'WWW-Authenticate: Digest realm="carrier.test", nonce="n1", algorithm=MD5'
BUSY = fail(486, "Busy Here")
WITH_TIMER = ("Session-Expires: 200;refresher=uac", "Require: timer")


@dataclass(frozen=True)
class Case:
    """
    A campaign group. ``trunks``: name -> (carrier, keys), in the order of the group; ``first`` and
    ``second``: what either carrier does with each of the ``calls`` numbers; None: it must not be called.
    """

    trunks: dict[str, tuple[str, str]]
    first: Steps | None = None
    second: Steps | None = None
    calls: int = 1
    numbers_at_first: int = 0
    """How many calls the first carrier gets, where the two share them; 0: all."""
    options: tuple[str, ...] = ()
    campaign_options: tuple[str, ...] = ()


LATER = "priority = 2"
CASES = {
    "refuses": Case(
        {"refuses": (FIRST, ""), "spare of refuses": (SECOND, LATER)},
        fail(503, "Service Unavailable", "Retry-After: 120"), BUSY,
    ),
    "redirects": Case(
        {"redirects": (FIRST, 'redirects = "follow"'), "target": (SECOND, LATER)},
        fail(302, "Moved Temporarily", "Contact: <sip:+12125559901@127.0.0.1:{second}>;q=0.7"), BUSY,
    ),
    "identity": Case(
        {
            "identity": (
                FIRST,
                'number_format = "national"\ndial_prefix = "9"\ncaller_id_format = "national"\n'
                'headers = { X-Campaign = "{campaign}/{record_id}" }',
            )
        },
        BUSY, options=('caller-id-sets = "Pool"',), campaign_options=('CPNPresentation = "restricted"',),
    ),
    "timer": Case(
        {"timer": (FIRST, "session_expires_s = 90")},
        (
            respond(422, "Session Interval Too Small", "Min-SE: 200"), ACK, INVITE_AGAIN,
            respond(200, "OK", *WITH_TIMER, sdp=True), ACK, *WAIT_FOR_BYE,
        ),
    ),
    "one port": Case(
        {"one port": (FIRST, "max_calls = 1")}, (respond(180, "Ringing"), '<pause milliseconds="300"/>', *BUSY), calls=3
    ),
    "rate": Case({"rate": (FIRST, f"calls_per_second = {CALLS_PER_SECOND}")}, BUSY, calls=5),
    "weights": Case(
        {"heavy": (FIRST, "weight = 20"), "light": (SECOND, "weight = 10")}, BUSY, BUSY, calls=6, numbers_at_first=4
    ),
    "registers": Case(
        {"registers": (FIRST, 'registrar = "127.0.0.1:{registrar}"\nregistration_s = 60\nusername = "dialer"\n'
         'password = "s3cret"')}, BUSY,
    ),
}  # fmt: skip
GROUPS = {name: 2000 + 10 * index for index, name in enumerate(CASES)}
_free = iter(range(100))
NUMBERS = {name: [number_for(next(_free), ("212",)) for _ in range(case.calls)] for name, case in CASES.items()}
REDIRECTED = "+12125559901"


def national(number: str) -> str:
    """As the trunk "identity" writes it."""
    return "9" + number.removeprefix("+1")


def tables(ports: dict[str, int]) -> dict[str, dict[str, Steps]]:
    """What the carriers do. The second one comes first: where it listens is in a redirect of the other one."""
    found: dict[str, dict[str, Steps]] = {FIRST: {}, SECOND: {REDIRECTED: BUSY}}
    for name, case in CASES.items():
        for number in NUMBERS[name]:
            written = national(number) if name == "identity" else number
            if case.first is not None:
                steps = tuple(step.replace("{second}", str(ports.get(SECOND, 0))) for step in case.first)
                found[FIRST][written] = steps
            if case.second is not None and name != "redirects":
                found[SECOND][written] = case.second
    return found


def calls_at(place: str) -> int:
    count = 0
    for case in CASES.values():
        if case.numbers_at_first:
            count += case.numbers_at_first if place == FIRST else case.calls - case.numbers_at_first
        else:
            count += case.calls * ((case.first if place == FIRST else case.second) is not None)
    return count


def configured(text: str, ports: dict[str, int]) -> str:
    text = text.replace("record_processed = true", "record_processed = false")
    text += '\n[[voice_applications]]\ndbid = 1\nname = "bye"\nsteps = [{ do = "hang_up" }]\n'
    text += f'\n[[caller_id_sets]]\ndbid = 2\nname = "Pool"\nnumbers = ["{POOL}"]\n'
    dbid = 1000
    for case in CASES.values():
        for trunk, (place, keys) in case.trunks.items():
            dbid += 1
            port = ports[place]
            keys = keys.replace("{registrar}", str(ports["registrar"]))
            text += f"""
                [[trunks]]
                dbid = {dbid}
                name = "{trunk}"
                tenant = "Environment"
                host = "127.0.0.1"
                port = {port}
                caller_id = "{CALLER}"
                {keys}
                """
    voice = ('voice-application = "bye"', 'call_answer_type_recognition = "no_progress_detection"')
    return with_groups(
        text,
        [
            Group(
                GROUPS[name], name, DialMode.PROGRESSIVE_GVP, trunks=list(case.trunks), lines="num_of_channels = 8",
                options=[*voice, *case.options], campaign_options=case.campaign_options,
            )
            for name, case in CASES.items()
        ],
    )  # fmt: skip


@dataclass(frozen=True)
class Run:
    attempts: dict[str, tuple[int, dict[str, Any]]]
    """Result and evidence by number."""
    trunks: dict[str, dict[str, Any]]
    peers: dict[str, SippPeer]
    codes: dict[str, int]
    registrar: PlayedPeer
    site: Site

    def invites(self, place: str, name: str) -> list[SipText]:
        """INVITEs of a group that a carrier has got, in order, repetitions included."""
        wanted = {*NUMBERS[name], *map(national, NUMBERS[name]), *([REDIRECTED] if name == "redirects" else [])}
        return [m for _, sent, m in messages(self.peers[place].message_file) if not sent and _is(m, wanted)]

    def tries(self, name: str) -> list[dict[str, Any]]:
        (number,) = NUMBERS[name]
        return list(self.attempts[number][1].get("tries", []))


def _is(message: SipText, called: set[str]) -> bool:
    return message.start.startswith("INVITE ") and message.called in called


def messages(trace: Path) -> list[tuple[float, bool, SipText]]:
    """(seconds, sent by SIPp?, message) of a trace."""
    text = trace.read_text(errors="replace").replace("\r\n", "\n")
    parts = re.split(r"^-{20,} (\S+[ \t]\S+)\n\w+ message (sent|received) [^\n]*:\s*\n", text, flags=re.MULTILINE)
    found = zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    return [
        (datetime.fromisoformat(at.replace("\t", " ")).timestamp(), way == "sent", SipText.parse(body))
        for at, way, body in found
        if body.strip()
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("trunks")
    with ExitStack() as stack:
        registrar = stack.enter_context(played_peer())
        registrar.will("REGISTER", Reply(423, ("Min-Expires: 120",)), *[Reply(401, (CHALLENGE,)), Reply()] * 5)
        ports = {"registrar": registrar.port}
        peers = {}
        for place in (SECOND, FIRST):
            (folder / place).mkdir()
            table = tables(ports)[place]
            peers[place] = stack.enter_context(sipp_carrier(table, folder / place, calls=calls_at(place)))
            ports[place] = peers[place].port
        here = stack.enter_context(site(ports[FIRST], edit=lambda text: configured(text, ports)))
        here.add_records([(number, name) for name, numbers in NUMBERS.items() for number in numbers])
        here.start_daemon()
        for name in CASES:
            here.client.load(GROUPS[name])
            here.client.start(GROUPS[name], DialMode.PROGRESSIVE_GVP)
        total = sum(case.calls for case in CASES.values())
        done = "SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL"
        eventually("every call is over", lambda: here.query(done)[0][0] == total)
        trunks = {trunk["name"]: trunk for trunk in here.client.trunks()}
        codes = {place: peer.finish() for place, peer in peers.items()}
        for name in CASES:
            here.client.force_unload(GROUPS[name])
        rows = here.query("SELECT phone, call_result, evidence FROM ocsd.attempt")
        yield Run(
            {phone: (int(result), evidence) for phone, result, evidence in rows}, trunks, peers, codes, registrar, here
        )


def test_given_all_calls_when_over_then_each_had_one_attempt_and_the_carriers_saw_each_step(run):
    assert run.codes == {FIRST: 0, SECOND: 0}, {place: peer.errors for place, peer in run.peers.items()}
    answered = NUMBERS["timer"]
    assert {number: result for number, (result, _) in run.attempts.items()} == {
        number: int(CallResult.ANSWER if number in answered else CallResult.BUSY)
        for numbers in NUMBERS.values()
        for number in numbers
    }


def test_given_503_with_retry_after_when_dialed_then_the_same_attempt_is_at_the_next_trunk_and_the_first_rests(run):
    (failed,) = run.tries("refuses")
    assert (failed["trunk"], failed["sip_status"]) == ("refuses", 503)
    assert len(run.invites(FIRST, "refuses")) == len(run.invites(SECOND, "refuses")) == 1
    assert run.trunks["refuses"]["circuit"] == "open"
    assert (run.trunks["refuses"]["failed"], run.trunks["refuses"]["moved"]) == (1, 1)
    assert run.trunks["spare of refuses"]["circuit"] == "closed"


def test_given_302_when_the_trunk_follows_then_the_other_number_is_called_over_the_trunk_it_names(run):
    (moved,) = run.invites(SECOND, "redirects")
    assert moved.called == REDIRECTED
    assert run.tries("redirects")[0]["sip_status"] == 302
    assert run.trunks["redirects"]["failed"] == 0, "no fault of the trunk"


def test_given_a_restricted_caller_of_a_pool_when_dialed_then_only_the_carrier_is_told_who_calls(run):
    (invite,) = run.invites(FIRST, "identity")
    assert invite.called == national(NUMBERS["identity"][0])
    assert "anonymous.invalid" in invite.headers["from"]
    assert f"sip:{POOL.removeprefix('+1')}@" in invite.headers["p-asserted-identity"]
    assert invite.headers["privacy"] == "id"
    assert POOL.removeprefix("+1") not in invite.headers["from"] + invite.headers["contact"]
    assert re.fullmatch(r"identity/\d+", invite.headers["x-campaign"])


def test_given_422_when_a_session_timer_is_too_short_then_it_is_asked_for_longer_in_the_same_call(run):
    first, second = run.invites(FIRST, "timer")
    assert (first.headers["session-expires"], second.headers["session-expires"]) == ("90", "200")
    assert int(second.headers["min-se"]) == 200
    assert first.headers["call-id"] == second.headers["call-id"]


def test_given_a_trunk_of_one_port_when_there_is_more_to_dial_then_no_call_begins_before_the_last_has_ended(run):
    kinds = []
    wanted = set(NUMBERS["one port"])
    for _, sent, message in messages(run.peers[FIRST].message_file):
        if message.called in wanted and (_is(message, wanted) or (sent and message.status == 486)):
            kinds.append(message.status)
    assert kinds == [0, 486] * 3


def test_given_calls_per_second_when_there_is_more_to_dial_then_starts_are_never_closer(run):
    wanted = set(NUMBERS["rate"])
    starts = [at_s for at_s, sent, m in messages(run.peers[FIRST].message_file) if not sent and _is(m, wanted)]
    assert len(starts) == 5
    # A second's worth may start at once.
    assert starts[-1] - starts[0] >= (5 - CALLS_PER_SECOND) / CALLS_PER_SECOND - 0.2


def test_given_weights_when_trunks_have_one_priority_then_calls_are_shared_by_them(run):
    shares = Counter({place: len(run.invites(place, "weights")) for place in (FIRST, SECOND)})
    assert shares == {FIRST: 4, SECOND: 2}


def test_given_423_when_a_trunk_registers_then_it_asks_for_longer_and_is_called_over_once_it_is_registered(run):
    asked = [one.header("expires") for one in run.registrar.requests("REGISTER")]
    assert asked[:3] == ["60", "120", "120"]
    assert 'username="dialer"' in run.registrar.requests("REGISTER")[2].header("authorization")
    assert "s3cret" not in "".join(run.registrar.texts)
    assert len(run.invites(FIRST, "registers")) == 1
    assert run.trunks["registers"]["registered"]
