"""An agent behind a PBX that asks for a password: engaged through it, by a phone that answers by itself."""

from hashlib import md5

import pytest

from ocsd.model.enums import CallResult, DialMode, GroupCampStatus
from telephony.simworld.numbers import number_for
from tests.e2e.sipp_carrier import ACK, HANG_UP, WAIT_FOR_BYE, play, respond, sipp_carrier
from tests.e2e.site import GROUP, eventually, site
from tests.e2e.test_sipp_carrier import PERSON
from tests.ladder import Ladder, SipText

pytestmark = pytest.mark.e2e

CUSTOMER = number_for(0, ("212",))
EXTENSION, DOMAIN, SECRET = "5001", "ucm.test", "opensesame"
CHALLENGE = 'Proxy-Authenticate: Digest realm="ucm.test", nonce="5d1c", algorithm=MD5, qop="auth"'


def test_given_an_agent_behind_a_pbx_when_engaged_then_its_phone_answers_by_itself(
    tmp_path,
):
    """Figure "ASM-Mode Call Flow - Cisco Unified Communications Manager"."""
    customer = (
        respond(180, "Ringing"), respond(200, "OK", sdp=True), ACK, play(PERSON, tmp_path),
        '<pause milliseconds="4000"/>', *HANG_UP,
    )  # fmt: skip
    phone = (
        respond(407, "Proxy Authentication Required", CHALLENGE), ACK, '<recv request="INVITE" rrs="true"/>',
        respond(200, "OK", sdp=True), ACK, *WAIT_FOR_BYE,
    )  # fmt: skip
    folders = [tmp_path / "customer", tmp_path / "pbx"]
    for folder in folders:
        folder.mkdir()
    with sipp_carrier({CUSTOMER: customer}, folders[0]) as carrier, sipp_carrier({EXTENSION: phone}, folders[1]) as pbx:

        def behind_pbx(text: str) -> str:
            (line,) = (line for line in text.splitlines() if line.startswith("dn ="))
            return text.replace(
                line,
                f'dn = "sip:{EXTENSION}@{DOMAIN}"\n'
                f'phone = {{ proxy = "127.0.0.1:{pbx.port}", username = "ocsd", password = "{SECRET}", '
                'auto_answer = "answer-mode" }',
            )

        with site(carrier.port, agents=1, edit=behind_pbx) as here:
            here.add_records([(CUSTOMER, "Customer")])
            here.start_daemon()
            here.start_agents(1, f"--wire-log={tmp_path / 'desks.jsonl'}", "--talk-mean-s=60", "--wrap-mean-s=0.2")
            here.client.load(GROUP)
            eventually("the agent is ready", lambda: here.statistics().get("agents_ready") == 1)
            here.client.start(GROUP, DialMode.PROGRESSIVE_AND_SEIZE)
            done = "SELECT call_result FROM ocsd.attempt WHERE finished_at IS NOT NULL"
            eventually("the call is over", lambda: here.query(done))
            assert here.query(done) == [(CallResult.ANSWER,)]
            here.client.complete(GROUP)
            eventually(
                "the group is unloaded",
                lambda: here.client.status(GROUP)["GSW_CM_AttrGroupCampStatus"] == GroupCampStatus.NOT_LOADED,
            )
        assert (carrier.finish(), pbx.finish()) == (0, 0), (carrier.errors, pbx.errors)
    invites = [line for line in pbx.received if line.startswith("INVITE ")]
    assert all(f"INVITE sip:{EXTENSION}@{DOMAIN}" in line for line in invites), "its own address, by way of the PBX"
    assert digest_is_right(pbx.trace)
    assert "Answer-Mode: Auto" in pbx.trace
    assert SECRET not in here.log_text() + pbx.trace
    ladder = Ladder(
        "Progressive and Seize: an agent behind a PBX",
        source='figure "ASM-Mode Call Flow - Cisco Unified Communications Manager"',
        about="The engaging call goes through the PBX, which asks for a password, and the phone answers by itself "
        "(Answer-Mode). The customer is dialed then, and bridged to it.",
    )
    ladder.sipp(next(folders[1].glob("*messages*")), "PBX and phone", show=("Answer-Mode",), only=_not_repeated())
    ladder.sipp(next(folders[0].glob("*messages*")), "Customer", only=_not_repeated())
    ladder.simworld(tmp_path / "desks.jsonl", {}, only=lambda message: False, attributes=("GSW_CALL_TYPE",))
    ladder.assert_order("INVITE 5001", "407", "ACK", "INVITE 5001", "200 OK", "INVITE +", "200 OK", "BYE", "BYE")
    ladder.keep("progressive-seize-behind-pbx")


def _not_repeated():
    return lambda message: isinstance(message, SipText)


def digest_is_right(trace: str) -> bool:
    """RFC 2617 3.2.2, with qop auth."""
    (line,) = {line for line in trace.splitlines() if line.lower().startswith("proxy-authorization:")}
    pairs = {
        name.strip().removeprefix("Digest "): value.strip().strip('"')
        for name, _, value in (part.partition("=") for part in line.partition(":")[2].strip().split(","))
    }
    first = md5(f"ocsd:{DOMAIN}:{SECRET}".encode()).hexdigest()
    second = md5(f"INVITE:{pairs['uri']}".encode()).hexdigest()
    wanted = ":".join((first, pairs["nonce"], pairs["nc"], pairs["cnonce"], pairs["qop"], second))
    return md5(wanted.encode()).hexdigest() == pairs["response"]
