"""SIPp as the carrier of a whole site: each answer of the network becomes the right result in the calling list.

All calls of the table are made by one campaign run; then each row of the list, and of the attempt journal, is judged.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ocsd.demo.world import CALLING_LIST
from ocsd.model.enums import CallResult, DialMode, GroupCampStatus, RecordStatus
from telephony.simworld.numbers import number_for
from tests.e2e.sipp_carrier import (
    ACK,
    HANG_UP,
    WAIT_FOR_BYE,
    WAIT_FOR_CANCEL,
    Steps,
    fail,
    play,
    respond,
    sipp_carrier,
)
from tests.e2e.site import GROUP, Site, eventually, processes_in, site

pytestmark = pytest.mark.e2e

AUTH_GROUP, PHONELESS_GROUP = 206, 306
DEAD_PHONE = "sip:1005@127.0.0.1:9"
PERSON = "silence:300 clip:human_05 silence:15000"
SECRET = "s3cret"


@dataclass(frozen=True)
class Case:
    """What the carrier does (``sound`` is played after the step SOUND), and what is to become of it."""

    steps: Steps
    result: CallResult
    sip_status: int | None
    q850_cause: int | None = None
    verdict: str | None = None
    sound: str = ""
    campaign: str = "main"
    fails_first: bool = False
    """The trunk's fault, as far as one call can tell: it counts only when the trunk fails the same number again."""


SOUND = "<sound>"
NO_FINAL_RESPONSE = None
"""The tone decided; the 487 that answered our CANCEL came after the result."""

RINGING = respond(180, "Ringing")
ANSWER = respond(200, "OK", sdp=True)
EARLY_MEDIA = respond(183, "Session Progress", sdp=True)
CHALLENGE = respond(
    407, "Proxy Authentication Required",
    'Proxy-Authenticate: Digest realm="carrier.test", nonce="8f2a7c10", algorithm=MD5, qop="auth"',
)  # fmt: skip
INVITE_AGAIN = '<recv request="INVITE" rrs="true"/>'
TALK: Steps = (RINGING, ANSWER, ACK, SOUND, *WAIT_FOR_BYE)
R = CallResult

CASES = {
    "200_person_and_agent": Case(TALK, R.ANSWER, 200, verdict="human", sound=PERSON),
    "200_person_without_agent": Case(TALK, R.DROPPED, 200, verdict="human", sound=PERSON, campaign="phoneless"),
    "200_machine": Case(TALK, R.ANSWERING_MACHINE, 200, verdict="machine", sound="clip:machine_00 silence:9000"),
    "200_silence": Case(TALK, R.SILENCE, 200, verdict="silence", sound="silence:20000"),
    "200_no_rtp_at_all": Case((ANSWER, ACK, *WAIT_FOR_BYE), R.SILENCE, 200, verdict="silence"),
    "200_then_bye_at_once": Case((ANSWER, ACK, *HANG_UP), R.REMOTE_RELEASE, 200, q850_cause=16),
    "180_no_answer": Case((RINGING, *WAIT_FOR_CANCEL), R.NO_ANSWER, 487),
    "183_busy_tone": Case(
        (EARLY_MEDIA, SOUND, *WAIT_FOR_CANCEL), R.BUSY, NO_FINAL_RESPONSE, verdict="busy", sound="tone:busy " * 20
    ),
    "183_sit": Case(
        (EARLY_MEDIA, SOUND, *WAIT_FOR_CANCEL), R.SIT_VACANT_CODE, NO_FINAL_RESPONSE, verdict="sit_vc",
        sound="silence:200 tone:sit_vc clip:sit_vc_00 silence:9000",
    ),
    "183_ringback_then_486": Case(
        (EARLY_MEDIA, SOUND, '<pause milliseconds="3000"/>', *fail(486, "Busy Here")), R.BUSY, 486,
        sound="tone:ringback tone:ringback",
    ),
    "302": Case(fail(302, "Moved Temporarily", "Contact: <sip:+12125552999@127.0.0.1:9>;q=0.9"), R.GENERAL_ERROR, 302),
    "404": Case(fail(404, "Not Found"), R.SIT_INVALID_NUM, 404),
    "407_without_credentials": Case((CHALLENGE, ACK), R.GENERAL_ERROR, 407, fails_first=True),
    "407_with_credentials": Case(
        (CHALLENGE, ACK, INVITE_AGAIN, *TALK), R.ANSWER, 200, verdict="human", sound=PERSON, campaign="auth"
    ),
    "408": Case(fail(408, "Request Timeout"), R.NO_ANSWER, 408),
    "480": Case((RINGING, *fail(480, "Temporarily Unavailable")), R.NO_ANSWER, 480),
    "486": Case((RINGING, *fail(486, "Busy Here")), R.BUSY, 486),
    "503": Case(fail(503, "Service Unavailable"), R.ALL_TRUNKS_BUSY, 503, fails_first=True),
    "503_q850_unallocated": Case(
        fail(503, "Service Unavailable", 'Reason: Q.850;cause=1;text="Unallocated number"'),
        R.SIT_INVALID_NUM, 503, q850_cause=1,
    ),
    "480_q850_no_circuit": Case(
        fail(480, "Temporarily Unavailable", 'Reason: SIP;cause=480, Q.850;cause=34;text="No circuit, channel; here"'),
        R.ALL_TRUNKS_BUSY, 480, q850_cause=34, fails_first=True,
    ),
    "603": Case(fail(603, "Decline"), R.REMOTE_RELEASE, 603),
}  # fmt: skip
NUMBERS = {name: number_for(index, ("212",)) for index, name in enumerate(CASES)}
CALLS = len(CASES) + sum(case.fails_first for case in CASES.values())


def three_campaigns(text: str) -> str:
    """The demo's campaign, one on a trunk with credentials, and one whose only agent has a dead phone."""

    def replaced(old: str, new: str) -> None:
        nonlocal text
        assert text.count(old) == 1, old
        text = text.replace(old, new)

    replaced(
        "options = { record_processed = true",
        "options = { call_wait_connected_timeout = 15, progressive_dial_factor = 10, record_processed = true",
    )
    replaced('agents = ["agent1", "agent2", "agent3", "agent4", "agent5"]', 'agents = ["agent1", "agent2", "agent3"]')
    text = re.sub(r'dn = "sip:1005@[^"]*"', f'dn = "{DEAD_PHONE}"', text)
    replaced(f'name = "{CALLING_LIST}"\n', f'name = "{CALLING_LIST}"\nfilter = "main"\n')
    port = re.search(r'host = "127.0.0.1"\nport = (\d+)', text)
    assert port is not None
    text += _filter(401, "main")
    for dbid, name, agent, credentials in (
        (AUTH_GROUP, "auth", "agent4", f'username = "dialer"\npassword = "{SECRET}"'),
        (PHONELESS_GROUP, "phoneless", "agent5", ""),
    ):
        text += _filter(dbid + 1, name)
        text += f"""
            [[trunks]]
            dbid = {dbid + 2}
            name = "{name} carrier"
            tenant = "Environment"
            host = "127.0.0.1"
            port = {port[1]}
            {credentials}

            [[agent_groups]]
            dbid = {dbid + 3}
            name = "{name} agents"
            agents = ["{agent}"]

            [[calling_lists]]
            dbid = {dbid + 4}
            name = "{name} list"
            table_access = "Demo Table"
            filter = "{name}"
            daily_from = 0
            daily_till = 86400

            [[campaigns]]
            dbid = {dbid + 5}
            name = "{name}"
            tenant = "Environment"
            lists = [{{ calling_list = "{name} list" }}]

            [[campaign_groups]]
            dbid = {dbid}
            name = "{name}@{name} agents"
            campaign = "{name}"
            group = "{name} agents"
            trunks = ["{name} carrier"]
            dial_mode = 2
            """
    return text


def _filter(dbid: int, name: str) -> str:
    return f'\n[[filters]]\ndbid = {dbid}\nname = "{name}"\ncriteria = "customer_name = \'{name}\'"\n'


@dataclass(frozen=True)
class Landed:
    """What one call left behind."""

    row: dict[str, Any]
    attempts: list[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """The campaign after its end: what landed, the carrier's own verdict (0: every call went as written), its trace."""

    landed: dict[str, Landed]
    carrier_code: int
    carrier_errors: str
    trace: str
    left_behind: list[str]


def finished_attempts(here: Site) -> int:
    return int(here.query("SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL")[0][0])


def landed(here: Site) -> dict[str, Landed]:
    rows = {
        row[0]: dict(zip(("record_status", "call_result", "attempt", "agent_id", "call_time"), row[1:], strict=True))
        for row in here.query(
            "SELECT contact_info, record_status, call_result, attempt, agent_id, call_time FROM {list}"
        )
    }
    attempts: dict[str, list[dict[str, Any]]] = {number: [] for number in rows}
    names = ("call_result", "sip_status", "q850_cause", "cpa_verdict", "answered_at", "connected_at", "interrupted")
    for phone, *values in here.query(
        "SELECT phone, call_result, sip_status, q850_cause, cpa_verdict, answered_at, connected_at, interrupted"
        " FROM ocsd.attempt ORDER BY attempt_id"
    ):
        attempts[phone].append(dict(zip(names, values, strict=True)))
    return {name: Landed(rows[number], attempts[number]) for name, number in NUMBERS.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Dial the whole table once."""
    folder = tmp_path_factory.mktemp("carrier")
    table = {}
    for name, case in CASES.items():
        sound = play(case.sound, folder) if case.sound else ""
        table[NUMBERS[name]] = tuple(sound if step == SOUND else step for step in case.steps)
    with sipp_carrier(table, folder, calls=CALLS) as carrier:
        with site(carrier.port, agents=5, edit=three_campaigns) as here:
            here.add_records([(NUMBERS[name], case.campaign) for name, case in CASES.items()])
            here.start_daemon()
            here.start_agents(5, "--talk-mean-s=1", "--wrap-mean-s=0.3", "--seed=7")
            for dbid, agents in ((GROUP, 3), (AUTH_GROUP, 1), (PHONELESS_GROUP, 1)):
                here.client.load(dbid)
                eventually("agents", lambda d=dbid, n=agents: here.client.statistics(d)["agents_ready"] == n)
                here.client.start(dbid, DialMode.PROGRESSIVE)
            eventually("all results", lambda: finished_attempts(here) == CALLS, 120)
            for dbid in (GROUP, AUTH_GROUP, PHONELESS_GROUP):
                here.client.complete(dbid)
            eventually(
                "the groups unloaded",
                lambda: all(
                    status["GSW_CM_AttrGroupCampStatus"] == GroupCampStatus.NOT_LOADED
                    for status in here.client.statuses().values()
                ),
            )
            found = landed(here)
            code = carrier.finish()
            assert here.stop_daemon() == 0
            where = here.folder
        yield Run(found, code, carrier.errors, carrier.trace, processes_in(where))


@pytest.mark.parametrize("name", CASES)
def test_given_an_answer_of_the_network_when_the_call_is_over_then_its_result_is_in_the_list(run, name):
    case, found = CASES[name], run.landed[name]

    row = found.row
    assert (row["record_status"], row["call_result"], row["attempt"]) == (RecordStatus.UPDATED, case.result, 1)
    assert row["call_time"] is not None
    assert len(found.attempts) == 1 + case.fails_first
    assert all(before["call_result"] == R.ALL_TRUNKS_BUSY for before in found.attempts[:-1])
    attempt = found.attempts[-1]
    assert (attempt["call_result"], attempt["sip_status"], attempt["q850_cause"], attempt["cpa_verdict"]) == (
        case.result,
        case.sip_status,
        case.q850_cause,
        case.verdict,
    )
    assert not attempt["interrupted"]
    assert (attempt["answered_at"] is not None) == (case.sip_status == 200)
    assert (attempt["connected_at"] is not None) == (case.result is CallResult.ANSWER)
    assert (row["agent_id"] or "").startswith("agent") == (case.result is CallResult.ANSWER)


def test_given_the_scenario_when_all_calls_are_over_then_the_carrier_saw_each_step_of_it(run):
    assert run.carrier_code == 0, run.carrier_errors


def test_given_a_challenge_when_the_trunk_has_credentials_then_the_digest_is_right(run):
    headers = re.findall(r"Proxy-Authorization: Digest ([^\r\n]*)", run.trace)

    assert headers  # only the call on the trunk with credentials was tried again
    numbers = {NUMBERS["407_with_credentials"]}
    for header in headers:
        given = {key: value.strip('"') for key, value in re.findall(r'(\w+)=("[^"]*"|[^,\s]+)', header)}
        assert given["username"] == "dialer"
        assert set(re.findall(r"\+\d+", given["uri"])) == numbers
        ha1, ha2 = _md5(f"dialer:carrier.test:{SECRET}"), _md5(f"INVITE:{given['uri']}")
        expected = _md5(f"{ha1}:8f2a7c10:{given['nc']}:{given['cnonce']}:auth:{ha2}")
        assert given["response"] == expected


def test_given_a_redirect_when_it_is_not_followed_then_nobody_else_is_called(run):
    invited = set(re.findall(r"INVITE sip:([^@]*)@", run.trace))

    assert invited == set(NUMBERS.values())


def test_given_the_site_when_it_was_taken_down_then_no_process_is_left(run):
    assert run.left_behind == []


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
