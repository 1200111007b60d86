"""The demo's campaign through Kamailio: trunk and agents' phones behind one proxy that asks for digest credentials.

The proxy is the Debian package with the configuration of ``deploy/kamailio``. Nothing that a direct trunk gives may be
lost on the way: the same results per number, the right people talking to each other, no call twice.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ocsd.demo import report
from ocsd.demo.processes import end, json_file, wait_for
from ocsd.demo.run import attempts_and_statuses
from ocsd.model.enums import CallResult, DialMode, GroupCampStatus, RecordStatus
from telephony.client import open_telephony
from telephony.simworld.numbers import number_for
from tests.e2e.campaign import json_lines
from tests.e2e.kamailio import Proxy, Way, behind, faults_of, kamailio, registered_at, way_of
from tests.e2e.site import GROUP, eventually, outside_world, site
from tests.ladder import Ladder
from tests.telephony.sipp_peer import sipp_uas
from tests.telephony.test_workers_with_sipp import a_call, events_until_end, telephony_pool

pytestmark = pytest.mark.e2e

AGENTS = 3
CALLS = 18
SEED = 37
MIX = {"human": 0.5, "busy_sip": 0.1, "no_answer": 0.1, "sip_404": 0.2, "machine": 0.1}


@dataclass(frozen=True)
class Run:
    """What everybody knows at the end."""

    attempts: list[report.AttemptRow]
    statuses: dict[int, int]
    truths: list[dict[str, Any]]
    phones: list[dict[str, Any]]
    summary: dict[str, Any]
    carrier_wire: Path
    phones_wire: Path
    carrier_port: int
    phones_port: int
    proxy: Proxy


def patient(proxy: Proxy) -> Callable[[str], str]:
    """The site behind the proxy, with rings shorter than usual and a line or two more than agents."""
    edit = behind(proxy, AGENTS)
    options = "options = {{ {}record_processed = true"
    ours = options.format("call_wait_connected_timeout = 15, progressive_dial_factor = 2, ")
    return lambda text: edit(text).replace(options.format(""), ours)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("kamailio")
    with ExitStack() as stack:
        mix_file, truth, ready = folder / "mix.json", folder / "carrier.jsonl", folder / "ready.json"
        mix_file.write_text(json.dumps({"mix": MIX}))
        carrier = stack.enter_context(
            outside_world(
                [
                    "telephony.simworld.main", f"--seed={SEED}", f"--mix={mix_file}", f"--truth={truth}",
                    f"--ready-file={ready}", "--ring-scale=0.1", "--talk-mean-s=4", "--patience-s=15",
                    f"--wire-log={folder / 'carrier-wire.jsonl'}",
                ],
                folder / "carrier.log",
            )
        )  # fmt: skip
        ports = wait_for("the carrier", lambda: json_file(ready), carrier, folder / "carrier.log")
        proxy = stack.enter_context(kamailio(ports["carrier_port"], folder))
        place = stack.enter_context(site(proxy.port, agents=AGENTS, edit=patient(proxy)))
        place.add_records([(number_for(index), f"Customer {index}") for index in range(CALLS)])
        place.start_daemon()
        world = place.start_agents(
            AGENTS, *registered_at(proxy), f"--phones-truth={folder / 'phones.jsonl'}",
            f"--wire-log={folder / 'phones-wire.jsonl'}", f"--seed={SEED}", "--talk-mean-s=4",
            "--wrap-mean-s=1",
        )  # fmt: skip
        place.client.load(GROUP)
        eventually("all agents are ready", lambda: place.statistics().get("agents_ready") == AGENTS)
        place.client.start(GROUP, DialMode.PROGRESSIVE)
        finished = "SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL"
        eventually("every number was dialed", lambda: place.query(finished)[0][0] >= CALLS, limit_s=150.0)
        place.client.complete(GROUP)
        eventually(
            "the group is unloaded",
            lambda: place.client.status(GROUP)["GSW_CM_AttrGroupCampStatus"] == GroupCampStatus.NOT_LOADED,
        )
        end(world)
        end(carrier)
        attempts, statuses, _ = attempts_and_statuses(place.config, place.dsn)
        yield Run(
            attempts=attempts,
            statuses=statuses,
            truths=json_lines(truth),
            phones=json_lines(folder / "phones.jsonl"),
            summary=json.loads((place.folder / "agents.log").read_text().splitlines()[-1]),
            carrier_wire=folder / "carrier-wire.jsonl",
            phones_wire=folder / "phones-wire.jsonl",
            carrier_port=ports["carrier_port"],
            phones_port=place.phones_port,
            proxy=proxy,
        )


def test_given_a_proxy_when_phones_register_with_digest_then_all_are_held(run):
    assert run.summary["registered"] == AGENTS


def test_given_a_proxy_when_a_campaign_ran_through_it_then_every_result_is_what_the_number_did(run):
    truth = report.match_truth(run.attempts, run.truths)

    assert len(run.truths) == CALLS
    assert truth["misses"] == []
    assert truth["signalling"] == 1.0
    assert truth["judged"] >= CALLS - sum(t["class"] == report.CANCELLED for t in run.truths)
    assert report.double_dialed(run.truths) == 0
    assert report.lost(CALLS, run.statuses, run.attempts, run.truths) == 0
    assert int(RecordStatus.RETRIEVED) not in run.statuses


def test_given_a_proxy_when_people_were_connected_then_the_right_two_heard_each_other(run):
    audio = report.audio_verdicts(run.attempts, run.truths, run.phones)

    connected = [attempt for attempt in run.attempts if attempt.connected]
    assert len(connected) >= 3
    assert all(attempt.call_result == CallResult.ANSWER for attempt in connected)
    assert audio["failures"] == []
    assert audio["judged"] >= 3


def test_given_a_proxy_when_it_challenges_then_each_call_carries_credentials_and_none_goes_on_to_the_carrier(run):
    ladder = Ladder("Through a proxy with digest", source="Figure 9, IP telephony")
    number = next(t["number"] for t in run.truths if t["class"] == "human" and t["talk_began_at_s"] is not None)
    guid = [a for a in run.attempts if a.phone.lstrip("+") == number.lstrip("+")]
    assert len(guid) == 1
    ladder.simworld(
        run.carrier_wire, {run.carrier_port: "Carrier", run.proxy.port: "Kamailio"},
        only=lambda message: message.called.lstrip("+") == number.lstrip("+"),
    )  # fmt: skip

    ladder.assert_order("INVITE", "180 Ringing", "200 OK (INVITE, SDP)", "ACK", "BYE", "200 OK (BYE)")
    wire = run.carrier_wire.read_text() + run.phones_wire.read_text()
    assert "Proxy-Authorization" not in wire, "credentials are for the proxy alone"
    assert "Record-Route" in wire
    # Every INVITE came by the proxy: a worker that went straight to a carrier or a phone would be seen here.
    sources = {
        json.loads(line)["peer_port"]
        for log in (run.carrier_wire, run.phones_wire)
        for line in log.read_text().splitlines()
        if '"sip": "INVITE' in line
    }
    assert sources == {run.proxy.port}


async def test_given_a_proxy_when_the_carrier_says_503_then_we_hear_503_and_for_how_long(tmp_path):
    with (
        telephony_pool(tmp_path, 4),
        sipp_uas("unavailable_503_retry_after", tmp_path) as carrier,
        kamailio(carrier.port, tmp_path) as proxy,
    ):
        async with open_telephony(tmp_path) as telephony:
            credentials = {"username": proxy.trunk_user, "password": proxy.trunk_password}
            leg = await telephony.place_call(a_call(f"sip:+12125552000@127.0.0.1:{proxy.port}", **credentials))
            ended = (await events_until_end(leg))[-1]

        assert carrier.finish() == 0, carrier.errors
        assert (ended.sip_status, ended.responded) == (503, True)
        assert ended.retry_after_s == 7.0


async def test_given_a_proxy_when_the_password_is_wrong_then_the_challenge_is_the_end(tmp_path):
    with telephony_pool(tmp_path, 4), kamailio(1, tmp_path) as proxy:
        async with open_telephony(tmp_path) as telephony:
            credentials = {"username": proxy.trunk_user, "password": "guess"}
            leg = await telephony.place_call(a_call(f"sip:+12125552000@127.0.0.1:{proxy.port}", **credentials))
            ended = (await events_until_end(leg))[-1]

    assert (ended.sip_status, ended.was_answered) == (407, False)


def good_report(**changes: Any) -> dict[str, Any]:
    truth = {"judged": 20, "signalling": 1.0, "cpa": 1.0, "misses": []}
    return {"truth_match": truth, "double_dialed": 0, "lost": 0, "audio_ok": 1.0, "audio": {"failures": []}} | changes


@pytest.mark.parametrize(
    ("report_changes", "way"),
    [
        ({"lost": 1}, Way(20, 0, 0)),
        ({"double_dialed": 1}, Way(20, 0, 0)),
        ({"audio_ok": 0.9, "audio": {"failures": ["deaf"]}}, Way(20, 0, 0)),
        ({"truth_match": {"signalling": 0.95, "misses": [{}]}}, Way(20, 0, 0)),
        ({}, Way(0, 0, 0)),
        ({}, Way(20, 1, 0)),
        ({}, Way(20, 0, 1)),
    ],
)
def test_given_a_campaign_by_the_proxy_when_anything_is_wrong_then_it_is_a_fault(report_changes, way):
    assert faults_of(good_report(), good_report(), Way(20, 0, 0)) == []
    assert len(faults_of(good_report(**report_changes), good_report(), way)) == 1


def test_given_what_the_world_received_when_read_then_the_way_of_every_invite_is_told(tmp_path):
    def line(port: int, sip: str) -> str:
        return json.dumps({"peer_port": port, "sip": sip})

    log = tmp_path / "wire.jsonl"
    credentials = "INVITE sip:1 SIP/2.0\r\nProxy-Authorization: Digest"
    log.write_text("\n".join([line(5060, "INVITE sip:1"), line(5061, credentials), line(5061, "BYE sip:1")]))

    assert way_of(log, 5060) == Way(invites=2, past_the_proxy=1, with_credentials=1)
