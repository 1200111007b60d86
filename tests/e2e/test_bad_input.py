"""Nonsense at every door of a running site: a clear error or a counted drop, nobody dies, and no record is lost.

After every test the same processes still run, the log holds no traceback, and every row of the list and of the journal
is where it belongs.
"""

import json
import os
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocsd.demo.world import CALLING_LIST
from ocsd.http.desktops import MAX_MALFORMED
from ocsd.model.enums import CallResult, CmError, DialMode, GroupCampStatus, GswError, RecordStatus
from telephony.simworld.numbers import number_for
from tests.e2e.sipp_carrier import (
    ACK,
    WAIT_FOR_BYE,
    Steps,
    fail,
    play,
    raw_response,
    respond,
    sipp_carrier,
)
from tests.e2e.site import GROUP, PATIENCE_S, Site, eventually, processes_in, site
from tests.e2e.wire import DesktopSocket, Ended, RawHttp

pytestmark = pytest.mark.e2e

AGENTS = 2
PERSON = "silence:300 clip:human_05 silence:20000"
R = CallResult


def number(index: int) -> str:
    return number_for(index, ("617",))


# --- what the carrier answers -----------------------------------------------------------------------------------------

HEADERS = """      [last_Via:]
      [last_From:]
      [last_To:];tag=[pid]c[call_number]
      [last_Call-ID:]
      [last_CSeq:]"""
CONTACT = "      Contact: <sip:[local_ip]:[local_port];transport=[transport]>"


def response(status_line: str, *lines: str, body: str = "", headers: str = HEADERS) -> str:
    """A response whose parts may be anything."""
    kind = ("      Content-Type: application/sdp",) if body else ()
    return raw_response(
        "\n".join(["", "      " + status_line, headers, *lines, *kind, "      Content-Length: [len]", "", body])
    )


BAD_SDP = "      v=0\n      o=carrier 1 IN\n      m=audio many RTP\n"
VIDEO_SDP = (
    "      v=0\n      o=c 1 1 IN IP4 127.0.0.1\n      s=-\n      c=IN IP4 127.0.0.1\n      t=0 0\n"
    "      m=video 9000 RTP/AVP 96\n      a=rtpmap:96 H264/90000\n"
)
NOWHERE_SDP = (
    "      v=0\n      o=c 1 1 IN IP4 999.1.1.1\n      s=-\n      c=IN IP4 999.1.1.1\n      t=0 0\n"
    "      m=audio 9000 RTP/AVP 0\n      a=rtpmap:0 PCMU/8000\n"
)


@dataclass(frozen=True)
class Nonsense:
    steps: Steps
    result: CallResult | None
    """None: nobody is charged, see `UNHEARD`."""


AFTER_UNUSABLE_ANSWER: Steps = ('<recv request="ACK" optional="true"/>', *WAIT_FOR_BYE)
BUSY = fail(486, "Busy Here")
ADD_VIDEO = """<send retrans="500">
<![CDATA[

      INVITE [next_url] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      Max-Forwards: 70
      From: [$called];tag=[pid]c[call_number]
      To: [$caller]
      [last_Call-ID:]
      CSeq: 1 INVITE
      Contact: <sip:[local_ip]:[local_port];transport=[transport]>
      Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=carrier 53655765 2353687638 IN IP[local_ip_type] [local_ip]
      s=-
      c=IN IP[media_ip_type] [media_ip]
      t=0 0
      m=audio [rtpstream_audio_port] RTP/AVP 0 101
      a=rtpmap:0 PCMU/8000
      a=rtpmap:101 telephone-event/8000
      m=video 9000 RTP/AVP 96
      a=rtpmap:96 H264/90000
]]>
</send>"""
ACKNOWLEDGE = """<send>
<![CDATA[

      ACK [next_url] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      Max-Forwards: 70
      From: [$called];tag=[pid]c[call_number]
      To: [$caller]
      [last_Call-ID:]
      CSeq: 1 ACK
      Content-Length: 0

]]>
</send>"""
PREMIUM = "+19005551234"
REFER = f"""<send retrans="500">
<![CDATA[

      REFER [next_url] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      Max-Forwards: 70
      From: [$called];tag=[pid]c[call_number]
      To: [$caller]
      [last_Call-ID:]
      CSeq: 1 REFER
      Contact: <sip:[local_ip]:[local_port];transport=[transport]>
      Refer-To: <sip:{PREMIUM}@[local_ip]:[local_port]>
      Content-Length: 0

]]>
</send>"""

NONSENSE = {
    "200_with_broken_sdp": Nonsense(
        (response("SIP/2.0 200 OK", CONTACT, body=BAD_SDP), *AFTER_UNUSABLE_ANSWER), R.GENERAL_ERROR
    ),
    "200_without_sdp": Nonsense((response("SIP/2.0 200 OK", CONTACT), *AFTER_UNUSABLE_ANSWER), R.GENERAL_ERROR),
    "200_with_video_only": Nonsense(
        (response("SIP/2.0 200 OK", CONTACT, body=VIDEO_SDP), *AFTER_UNUSABLE_ANSWER), R.GENERAL_ERROR
    ),
    "200_with_no_address": Nonsense(
        (response("SIP/2.0 200 OK", CONTACT, body=NOWHERE_SDP), *AFTER_UNUSABLE_ANSWER), R.GENERAL_ERROR
    ),
    "183_with_broken_sdp": Nonsense((response("SIP/2.0 183 Session Progress", CONTACT, body=BAD_SDP), *BUSY), R.BUSY),
    "183_with_no_address": Nonsense(
        (response("SIP/2.0 183 Session Progress", CONTACT, body=NOWHERE_SDP), *BUSY), R.BUSY
    ),
    "status_unknown": Nonsense(fail(699, "Nonsense"), R.GENERAL_ERROR),
    # SIPp refuses to write such a status behind the right version.
    "status_not_a_number": Nonsense((response("sip/2.0 abc Nonsense"), *BUSY), R.BUSY),
    "other_protocol": Nonsense((response("SIP/7.0 999 Nonsense"), *BUSY), R.BUSY),
    "nothing_but_nonsense": Nonsense((response("HTTP/1.1 200 OK"),), None),
    "no_cseq": Nonsense(
        (
            response("SIP/2.0 486 Busy Here", headers=HEADERS.replace("      [last_CSeq:]", "      CSeq: many INVITE")),
            *BUSY,
        ),
        R.BUSY,
    ),
    "no_via": Nonsense(
        (response("SIP/2.0 486 Busy Here", headers=HEADERS.replace("[last_Via:]", "Via: ;;;")), *BUSY), R.BUSY
    ),
    "broken_reasons": Nonsense(
        fail(486, "Busy Here", "Reason: Q.850;cause=abc, Q.850;cause=99999999999999999999, ;;;=", 'Reason: "open'),
        R.BUSY,
    ),
    "refer": Nonsense((respond(200, "OK", sdp=True), ACK, REFER, '<recv response="603"/>', *WAIT_FOR_BYE), R.SILENCE),
    "latin_1_phrase": Nonsense(fail(486, "Besetzt, gr\xfc\xdfe"), R.BUSY),
    "odd_reason_text": Nonsense(fail(503, "No", 'Reason: Q.850;cause=17;text="\x01\xff\x7f\xed\xa0\x80"'), R.BUSY),
    "broken_contact": Nonsense(fail(302, "Moved", "Contact: <sip:%%%@@@>;q=zzz, tel:"), None),
    "broken_challenge": Nonsense(
        fail(407, "Proxy Authentication Required", "Proxy-Authenticate: Digest nonce=,,realm"), None
    ),
    "long_header": Nonsense((response("SIP/2.0 180 Ringing", "      X-Long: " + "x" * 3000), *BUSY), R.BUSY),
}
NUMBERS = {name: number(index) for index, name in enumerate(NONSENSE)}
TALKERS = [number(index) for index in range(100, 104)]
STRANGERS = [number(index) for index in range(200, 203)]


# --- the site ---------------------------------------------------------------------------------------------------------


def quick(text: str) -> str:
    old = "options = { record_processed = true"
    assert text.count(old) == 1
    return text.replace(
        old, "options = { call_wait_connected_timeout = 15, progressive_dial_factor = 10, record_processed = true"
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose campaign dials whatever a test puts into the list."""
    folder: Path = tmp_path_factory.mktemp("carrier")
    talk = (respond(200, "OK", sdp=True), ACK, play(PERSON, folder), *WAIT_FOR_BYE)
    table = {NUMBERS[name]: nonsense.steps for name, nonsense in NONSENSE.items()}
    table |= dict.fromkeys(TALKERS, talk) | {stranger: fail(404, "Not Found") for stranger in STRANGERS}
    # More calls than numbers: an INVITE that is sent again, because its answer was no SIP, is a new call to SIPp.
    with sipp_carrier(table, folder, calls=100_000) as carrier, site(carrier.port, agents=AGENTS, edit=quick) as here:
        here.start_daemon()
        here.start_agents(AGENTS, "--talk-mean-s=3", "--talk-cv=0.1", "--wrap-mean-s=0.3", "--seed=7")
        here.client.load(GROUP)
        eventually("the agents are ready", lambda: here.client.statistics(GROUP)["agents_ready"] == AGENTS)
        here.client.start(GROUP, DialMode.PROGRESSIVE)
        yield here
        here.client.complete(GROUP)
        eventually("the group is unloaded", lambda: status(here) == GroupCampStatus.NOT_LOADED)
        assert here.query("SELECT count(*) FROM {list} WHERE record_status = 2") == [(0,)]
        assert here.query("SELECT count(*) FROM ocsd.claim") == [(0,)]
        assert here.stop_daemon() == 0
        assert PREMIUM in carrier.trace  # somebody asked for it
        assert f"INVITE sip:{PREMIUM}@" not in carrier.trace


@pytest.fixture
def here(running) -> Iterator[Site]:
    """The site; after the test it must be as whole as before."""
    before = pids(running)
    rows = running.query("SELECT count(*) FROM {list}")[0][0]
    yield running
    assert pids(running) == before
    log = running.log_text()
    assert "Traceback" not in log
    assert '"level": "critical"' not in log
    assert status(running) == GroupCampStatus.RUNNING
    assert running.query("SELECT count(*) FROM {list}")[0][0] >= rows
    # One attempt for each dialed record, each of them ended; the rest waits.
    assert running.query("SELECT count(*) FROM {list} WHERE attempt > 1") == [(0,)]
    assert running.query("SELECT record_id FROM ocsd.attempt GROUP BY record_id HAVING count(*) > 1") == []
    assert running.query("SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NULL") == [(0,)]
    assert running.query("SELECT count(*) FROM {list} WHERE record_status NOT IN (1, 3)") == [(0,)]


def pids(here: Site) -> tuple[int, int, list[int]]:
    assert here.daemon is not None
    assert here.daemon.poll() is None
    return here.daemon.pid, here.media_pid(), here.worker_pids()


def status(here: Site) -> int:
    return int(here.client.status(GROUP)["GSW_CM_AttrGroupCampStatus"])


def dial(here: Site, numbers: list[str]) -> None:
    """Put numbers into the list and wait until all of them have been dialed to an end."""
    here.add_records([(n, "somebody") for n in numbers])
    eventually("all calls are over", lambda: results(here, numbers).keys() == set(numbers), 2 * PATIENCE_S)


def results(here: Site, numbers: list[str]) -> dict[str, tuple[int, int, int]]:
    """Status, call result and attempts of the numbers that are done."""
    rows = here.query(
        "SELECT contact_info, record_status, call_result, attempt FROM {list}"
        " WHERE record_status = 3 AND contact_info = ANY(%s)",
        numbers,
    )
    return {row[0]: row[1:] for row in rows}


def cli(*arguments: str, limit_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ocsd.cli", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, check=False,
    )  # fmt: skip


def udp_ports_of(pid: int) -> list[int]:
    """The UDP ports of 127.0.0.1 that a process has bound (proc(5), net/udp)."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:
            continue
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return sorted(int(row[1].partition(":")[2], 16) for row in rows if row[9] in inodes)


# --- configuration and lists ------------------------------------------------------------------------------------------


BAD_CONFIGURATIONS = {
    "syntax": ("[http\nport = 1", ("ocsd.toml", "line 2")),
    "several": (
        '[http]\nport = "many"\nprot = 1\n\n[[trunks]]\ndbid = 0\nname = "T"\n',
        ("http.port", "http.prot", "dbid", "tenant", "host"),
    ),
    "binary": ("\x00\x01\x02", ("ocsd.toml",)),
    "options": (
        "[application]\noptions = { call_wait_connected_timeout = 3, no_such_option = 1 }\n",
        ("call_wait_connected_timeout", "15", "no_such_option"),
    ),
}


@pytest.mark.parametrize("name", BAD_CONFIGURATIONS)
@pytest.mark.parametrize("command", ["check", "run"])
def test_given_a_broken_configuration_when_it_is_read_then_all_is_said_and_nothing_starts(tmp_path, command, name):
    text, said = BAD_CONFIGURATIONS[name]
    file = tmp_path / "ocsd.toml"
    data_dir = tmp_path / "data"
    file.write_text(f'data_dir = "{data_dir}"\n{text}')

    ended = cli("check", str(file)) if command == "check" else cli("run", "--config", str(file))

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    for part in said:
        assert part in ended.stderr
    assert not data_dir.exists()
    assert processes_in(tmp_path) == []


def test_given_a_file_with_broken_rows_when_imported_then_the_good_ones_are_in_and_each_bad_one_is_explained(
    here, tmp_path
):
    good = STRANGERS[:2]
    file = tmp_path / "customers.csv"
    file.write_bytes(
        b"\xef\xbb\xbfphone,customer_name\r\n"
        + f"{good[0]},good\r\n".encode()
        + b"12,too short\r\n"
        + b"not a number,x\r\n"
        + b"+16175559999\r\n"  # a column is missing
        + b'+16175559998,"never\x00ending"\r\n'
        + b"+16175559997,\xff\xfe\r\n"
        + f"{good[1]},good too\r\n".encode()
        + b'+16175559996,"open quote\r\n'
    )

    ended = cli("list", "import", CALLING_LIST, str(file), "--config", str(here.config_path), "--json")

    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["rows"], report["imported"], report["rejected"]) == (8, 2, 6)
    rejected = Path(report["rejected_file"]).read_text(errors="replace").splitlines()
    assert [line.split(",")[0] for line in rejected[1:]] == ["3", "4", "5", "6", "7", "9"]
    eventually("the good ones are dialed", lambda: results(here, good).keys() == set(good))
    assert set(results(here, good).values()) == {(RecordStatus.UPDATED, R.SIT_INVALID_NUM, 1)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"name,colour\nx,y\n", "contact_info"),
        ("phone\n+16175559999\n".encode("utf-16"), "UTF-16"),
        (random.Random(3).randbytes(50_000), "header"),
        (b"phone,phone\n1,2\n", "two columns"),
    ],
    ids=["empty", "no_phone", "utf16", "random", "twice"],
)
def test_given_a_file_that_is_no_list_when_imported_then_it_is_refused_and_the_table_is_untouched(
    here, tmp_path, content, said
):
    file = tmp_path / "customers.csv"
    file.write_bytes(content)
    before = here.query("SELECT count(*) FROM {list}")

    ended = cli("list", "import", CALLING_LIST, str(file), "--config", str(here.config_path))

    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert here.query("SELECT count(*) FROM {list}") == before


# --- control port -----------------------------------------------------------------------------------------------------

LOAD = "POST /campaigngroups/106?req=Load HTTP/1.1\r\nHost: ocs\r\n"
JSON = "Content-type: application/json\r\n"
BAD_HTTP = {
    "noise": (b"\x00\xff\xfe\r\n\r\n", 400),
    "tls": (bytes.fromhex("160301020001000001fc0303") + b"\0" * 64 + b"\r\n\r\n", 400),
    "no_version": (b"GET /health\r\n\r\n", 400),
    "no_host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two_lengths": (f"{LOAD}Content-length: 1\r\nContent-length: 2\r\n\r\n12".encode(), 400),
    "negative_length": (f"{LOAD}Content-length: -1\r\n\r\n".encode(), 400),
    "length_and_chunks": (f"{LOAD}Content-length: 3\r\nTransfer-encoding: gzip\r\n\r\n123".encode(), 501),
    "bad_chunk": (f"{LOAD}{JSON}Transfer-encoding: chunked\r\n\r\nzz\r\n".encode(), 400),
    "long_header": (f"{LOAD}X: {'x' * 20_000}\r\n\r\n".encode(), 431),
    "long_body": (f"{LOAD}{JSON}Content-length: 99999999\r\n\r\n".encode(), 413),
    "not_json": (f"{LOAD}{JSON}Content-length: 5\r\n\r\n{{'a':".encode(), 400),
    "deep_json": (f"{LOAD}{JSON}Content-length: 60000\r\n\r\n{'[' * 60_000}".encode(), 400),
    "other_type": (f"{LOAD}Content-type: text/xml\r\nContent-length: 4\r\n\r\n<a/>".encode(), 400),
    "no_dbid": (b"GET /campaigngroups/106x HTTP/1.1\r\nHost: ocs\r\n\r\n", 400),
    "huge_dbid": (b"GET /campaigngroups/99999999999999999999 HTTP/1.1\r\nHost: ocs\r\n\r\n", 400),
    "bad_percent": (b"GET /campaigngroups/%zz HTTP/1.1\r\nHost: ocs\r\n\r\n", 400),
    "no_req": (f"{LOAD.replace('?req=Load', '')}Content-length: 0\r\n\r\n".encode(), 400),
    "unknown_req": (f"{LOAD.replace('Load', 'Explode')}Content-length: 0\r\n\r\n".encode(), 400),
    "nowhere": (b"GET /etc/passwd HTTP/1.1\r\nHost: ocs\r\n\r\n", 404),
    "method": (b"DELETE /campaigngroups HTTP/1.1\r\nHost: ocs\r\n\r\n", 405),
}


@pytest.mark.parametrize("name", BAD_HTTP)
def test_given_bytes_that_are_no_request_when_they_come_then_the_answer_says_so(here, name):
    data, expected = BAD_HTTP[name]
    with RawHttp(here.http_port) as client:
        reply = client.ask(data)

    assert reply.status == expected
    assert reply.body.startswith(str(expected).encode())


@pytest.mark.parametrize(
    "pairs",
    [
        {"GSW_CM_AttrDialMode": "two"},
        {"GSW_CM_AttrDialMode": 99},
        {"GSW_CM_AttrDialMode": 2**40},
        {"GSW_CM_AttrDialMode": 1, "GSW_CM_AttrOptimizeBy": 1, "GSW_CM_AttrOptimizeGoal": 1000},
        {"GSW_CM_AttrDialMode": 1, "GSW_CM_AttrOptimizeBy": 1, "GSW_CM_AttrOptimizeGoal": -1},
        {"GSW_CM_AttrDialMode": True},
        {"GSW_CM_AttrDialMode": {"GSW_CM_AttrDialMode": 1}},
    ],
)
def test_given_wrong_parameters_when_the_mode_is_to_be_set_then_error_10_and_the_mode_stays(here, pairs):
    body = json.dumps(pairs)
    with RawHttp(here.http_port) as client:
        reply = client.ask(f"{LOAD.replace('Load', 'SetDialingMode')}{JSON}Content-length: {len(body)}\r\n\r\n{body}")

    assert (reply.status, reply.warning) == (400, CmError.INVALID_PARAMETER)
    assert here.client.status(GROUP)["GSW_CM_AttrDialMode"] == DialMode.PROGRESSIVE


def test_given_a_hail_of_random_bytes_when_it_hits_the_control_port_then_it_goes_on_answering(here):
    rng = random.Random(11)
    for _ in range(100):
        data = rng.randbytes(rng.randrange(1, 600))
        if rng.random() < 0.5:
            data = LOAD.encode()[: rng.randrange(10, len(LOAD))] + data
        with RawHttp(here.http_port) as client:
            client.send(data)  # and leave, mostly in the middle of a request

    assert here.client.health()["status"] == "ok"


# --- desktops ---------------------------------------------------------------------------------------------------------

BAD_MESSAGES = {
    "no_json": "hello",
    "half": '{"Request": "RequestAgentLogin"',
    "array": "[1, 2]",
    "deep": '{"Request":' + "[" * 20_000,
    "nan": '{"Request": "RequestAgentLogin", "AgentID": NaN}',
    "twice": '{"Request": "RequestAgentReady", "Request": "RequestAgentLogout"}',
    "nul": '{"Request": "RequestAgentLogin", "AgentID": "agent1\\u0000"}',
    "surrogate": '{"Request": "RequestAgentLogin", "AgentID": "\\ud800"}',
    "binary": b"\x00\x01\x02",
    "empty": "",
    "unknown": '{"Request": "RequestWorldPeace"}',
    "no_request": '{"Event": "EventAgentLogin"}',
    "no_agent": '{"Request": "RequestAgentLogin"}',
    "agent_of_type": '{"Request": "RequestAgentLogin", "AgentID": {"a": 1}}',
    "not_logged_in": '{"Request": "RequestAgentReady"}',
    "no_such_call": '{"Request": "RequestReleaseCall", "ConnID": "ffff"}',
    "unknown_type": '{"GSW_AGENT_REQ_TYPE": "Nonsense", "GSW_APPLICATION_ID": 101}',
    "huge_handle": '{"GSW_AGENT_REQ_TYPE": "RecordProcessed", "GSW_APPLICATION_ID": 101, "GSW_RECORD_HANDLE": 1e400}',
    "no_record": '{"GSW_AGENT_REQ_TYPE": "RecordProcessed", "GSW_APPLICATION_ID": 101, "GSW_CAMPAIGN_NAME": "Demo",'
    ' "GSW_RECORD_HANDLE": 99999}',
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_given_a_message_that_is_no_request_when_a_desktop_sends_it_then_it_gets_an_error_and_may_go_on(here, name):
    with DesktopSocket(here.desktop_port) as desktop:
        answer = desktop.ask(BAD_MESSAGES[name])
        again = desktop.ask({"Request": "RequestAgentLogin", "AgentID": "nobody", "ReferenceID": 5})

    number_of = answer.get("ErrorCode", answer.get("GSW_ERROR_NUMBER"))
    assert "Error" in (answer.get("Event"), answer.get("GSW_USER_EVENT")) or answer.get("Event") == "EventError"
    assert number_of in set(GswError)
    assert (again["ErrorCode"], again["ReferenceID"]) == (GswError.AGENT_NOT_FOUND, 5)


def test_given_a_stranger_when_it_sends_nothing_but_nonsense_then_it_is_shown_the_door(here):
    with DesktopSocket(here.desktop_port) as desktop:
        for _ in range(MAX_MALFORMED):
            desktop.ask("nonsense")
        with pytest.raises(Ended):
            desktop.receive()
        assert desktop.closed_with == 1008


def test_given_a_message_without_bounds_when_it_comes_then_the_connection_is_closed_as_too_big(here):
    with DesktopSocket(here.desktop_port) as desktop:
        with pytest.raises(Ended):
            desktop.ask("x" * 200_000)
        assert desktop.closed_with == 1009


def test_given_a_hail_of_random_bytes_when_it_hits_the_desktop_port_then_desktops_still_get_in(here):
    rng = random.Random(12)
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", here.desktop_port), PATIENCE_S) as stranger:
            stranger.sendall(rng.randbytes(rng.randrange(1, 600)) + b"\r\n\r\n")
    for _ in range(40):
        with DesktopSocket(here.desktop_port) as desktop:  # frames that are none
            desktop.sock.sendall(rng.randbytes(rng.randrange(2, 200)))

    with DesktopSocket(here.desktop_port) as desktop:
        assert desktop.ask({"Request": "RequestAgentLogin", "AgentID": "nobody"})["Event"] == "EventError"
    assert here.client.statistics(GROUP)["agents_logged_in"] == AGENTS


GIVEN_UP_OR_BUSY = ("183_with_broken_sdp", "183_with_no_address")
"""The stack stumbles over the 183 while the carrier sends its 486: usually the 486 counts, not always."""
UNHEARD = tuple(name for name, nonsense in NONSENSE.items() if nonsense.result is None)
"""The stack cannot read a word of these: for all we know the trunk is silent, which is no called party's fault."""

# --- SIP and RTP ------------------------------------------------------------------------------------------------------


def test_given_a_carrier_that_talks_nonsense_when_it_is_called_then_every_record_gets_a_result(here):
    spoken = [number for name, number in NUMBERS.items() if name not in UNHEARD]
    dial(here, spoken)

    found = results(here, spoken)
    for name in GIVEN_UP_OR_BUSY:
        assert found.pop(NUMBERS[name]) in {
            (RecordStatus.UPDATED, result, 1) for result in (R.BUSY, R.GENERAL_ERROR, R.NO_ANSWER)
        }
    others = {name: nonsense for name, nonsense in NONSENSE.items() if name not in (*GIVEN_UP_OR_BUSY, *UNHEARD)}
    assert {name: found[NUMBERS[name]] for name in others} == {
        name: (RecordStatus.UPDATED, nonsense.result, 1) for name, nonsense in others.items()
    }


def sip_garbage(rng: random.Random, port: int) -> Iterator[bytes]:
    """Datagrams that are no SIP, hardly SIP, or SIP that belongs to nothing."""
    via = f"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{rng.getrandbits(32)}"
    base = [via, "From: <sip:x@127.0.0.1>;tag=1", "To: <sip:y@127.0.0.1>", f"Call-ID: {rng.getrandbits(64)}"]

    def message(first: str, *more: str, body: str = "") -> bytes:
        return ("\r\n".join([first, *base, *more]) + "\r\n\r\n" + body).encode("latin-1")

    yield b"\r\n\r\n"
    yield b"\0" * 1400
    yield rng.randbytes(1200)
    yield b"INVITE"
    yield message("SIP/2.0 200 OK", "CSeq: 1 INVITE", "Content-Length: 0")
    yield message("SIP/2.0 200 OK", "CSeq: 99999999999999 INVITE", "Content-Length: 0")
    yield message("SIP/2.0 486 Busy Here", "CSeq: -1 INVITE", "Content-Length: 99999999")
    yield message("SIP/2.0 -5 Odd", "CSeq: 1 INVITE")
    yield message(
        f"INVITE sip:a@127.0.0.1:{port} SIP/2.0", "CSeq: 1 INVITE", "Contact: <sip:x@127.0.0.1:9>", body="v=0\r\nm="
    )
    yield message(
        f"INVITE sip:a@127.0.0.1:{port} SIP/2.0", "CSeq: 1 INVITE", "Content-Type: application/sdp", body=BAD_SDP
    )
    yield message(f"BYE sip:a@127.0.0.1:{port} SIP/2.0", "CSeq: 1 BYE", "Content-Length: 0")
    yield message(f"CANCEL sip:a@127.0.0.1:{port} SIP/2.0", "CSeq: 1 CANCEL", "Content-Length: 0")
    yield message(f"OPTIONS sip:a@127.0.0.1:{port} SIP/2.0", "CSeq: 1 OPTIONS", "Accept: " + "a/b," * 300)
    yield message("FOO bar SIP/2.0", "CSeq: 1 FOO", "X: " + "\xff" * 500)
    yield message("INVITE sip:%00%ff@[::1 SIP/2.0", "CSeq: 1 INVITE", 'Contact: "<<<>>>', "Via: x", "Via: y")
    yield message("REFER sip:a SIP/2.0", "CSeq: 1 REFER", "Refer-To: <sip:+19005551234@127.0.0.1:9>")
    whole = message("SIP/2.0 180 Ringing", "CSeq: 1 INVITE", "Content-Length: 0")
    for _ in range(20):
        changed = bytearray(whole[: rng.randrange(20, len(whole))])
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        yield bytes(changed)


def test_given_garbage_at_the_workers_sip_ports_when_calls_are_made_then_the_calls_do_not_notice(here):
    rng = random.Random(13)
    ports = [port for pid in here.worker_pids() for port in udp_ports_of(pid)]
    assert len(ports) == len(here.worker_pids())

    def hail() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for port in ports:
                for datagram in sip_garbage(rng, port):
                    stranger.sendto(datagram, ("127.0.0.1", port))

    hail()
    here.add_records([(n, "somebody") for n in TALKERS[:2]])
    eventually("a conversation", lambda: here.client.statistics(GROUP)["agents_talking"] or None)
    hail()
    eventually("the calls are over", lambda: results(here, TALKERS[:2]).keys() == set(TALKERS[:2]))

    assert set(results(here, TALKERS[:2]).values()) == {(RecordStatus.UPDATED, R.ANSWER, 1)}
    assert connected(here, TALKERS[:2]) == 2


def rtp_garbage(rng: random.Random) -> Iterator[bytes]:
    yield b""
    yield b"\x80"
    yield rng.randbytes(11)
    yield struct.pack("!BBHII", 0x40, 0, 1, 1, 1) + bytes(160)  # version 1
    yield struct.pack("!BBHII", 0x80, 96, 1, 1, 1) + bytes(160)  # a payload type nobody agreed on
    yield struct.pack("!BBHII", 0x8F, 0, 1, 1, 1) + bytes(20)  # fifteen sources that are not there
    yield struct.pack("!BBHII", 0x90, 0, 1, 1, 1) + b"\xbe\xde\xff\xff" + bytes(160)  # an extension without end
    yield struct.pack("!BBHII", 0xA0, 0, 1, 1, 1) + bytes(159) + b"\xff"  # more padding than packet
    yield struct.pack("!BBHII", 0x80, 101, 1, 1, 1) + b"\x10"  # a digit cut short
    yield struct.pack("!BBHII", 0x80, 0, 1, 1, 1) + bytes(160)  # valid, from somebody else
    yield rng.randbytes(1400)
    yield bytes(9000)


def test_given_garbage_at_the_media_ports_when_people_talk_then_the_conversation_goes_on_and_the_drops_are_counted(
    here,
):
    rng = random.Random(14)
    here.add_records([(n, "somebody") for n in TALKERS[2:]])
    eventually("a conversation", lambda: here.client.statistics(GROUP)["agents_talking"] or None)
    ports = udp_ports_of(here.media_pid())
    assert len(ports) >= 4  # RTP and RTCP of customer and agent

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(10):
            for port in ports:
                for datagram in rtp_garbage(rng):
                    stranger.sendto(datagram, ("127.0.0.1", port))
    eventually("the calls are over", lambda: results(here, TALKERS[2:]).keys() == set(TALKERS[2:]))

    assert set(results(here, TALKERS[2:]).values()) == {(RecordStatus.UPDATED, R.ANSWER, 1)}
    assert connected(here, TALKERS[2:]) == 2
    counted: dict[str, int] = {}
    for line in here.log_text().splitlines():
        if '"media.packets_dropped"' in line:
            for reason, count in json.loads(line)["dropped"].items():
                counted[reason] = counted.get(reason, 0) + count
    for reason in (
        "short",
        "bad_version",
        "unknown_payload",
        "bad_length",
        "bad_padding",
        "unknown_source",
        "bad_rtcp",
    ):
        assert counted.get(reason, 0) >= 10, counted


def connected(here: Site, numbers: list[str]) -> int:
    """Of these, the attempts on which a customer and an agent talked."""
    found = here.query(
        "SELECT count(*) FROM ocsd.attempt WHERE phone = ANY(%s) AND connected_at IS NOT NULL"
        " AND released_at > connected_at",
        numbers,
    )
    return int(found[0][0])


def test_given_a_carrier_nobody_can_read_when_it_is_called_then_it_is_a_silent_trunk_and_nobody_is_charged(running):
    # The last one: the trunk's circuit is open from then on.
    unheard = [NUMBERS[name] for name in UNHEARD]
    running.add_records([(number, "somebody") for number in unheard])

    def tried() -> bool:
        return running.query(
            "SELECT count(DISTINCT contact_info) FROM {list} JOIN ocsd.attempt USING (record_id)"
            " WHERE contact_info = ANY(%s) AND finished_at IS NOT NULL",
            unheard,
        ) == [(len(unheard),)]

    eventually("all have been tried", tried, 2 * PATIENCE_S)

    charged = "SELECT count(*) FROM {list} WHERE contact_info = ANY(%s) AND (attempt > 0 OR record_status = 3)"
    assert running.query(charged, unheard) == [(0,)]
    assert "no response" in running.log_text()
    assert "Traceback" not in running.log_text()
