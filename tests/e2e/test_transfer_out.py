"""The manual's Transfer mode with another switch, over real SIP: a gateway (SIPp) that analyses and takes REFER."""

import json
from pathlib import Path

import pytest

from ocsd.model.enums import CallResult, DialMode
from telephony.simworld.numbers import number_for
from tests.e2e.sipp_carrier import ACK, WAIT_FOR_BYE, Steps, in_dialog, respond, sipp_carrier
from tests.e2e.site import GROUP, eventually, site
from tests.e2e.test_merge_by_transfer import notify
from tests.ladder import Ladder
from tests.sip.cases import request

pytestmark = pytest.mark.e2e

PERSON, MACHINE, REFUSED = (number_for(index, ("212",)) for index in range(3))
QUEUE = "sip:7000@127.0.0.1:5099"
PROMISE = "X-Detect: Response=AMD,CPT"


def finding(cseq: int, kind: str, subtype: str) -> Steps:
    """What the gateway has heard."""
    body = (f"Type= {kind}", f"SubType= {subtype}")
    return (request("INFO", cseq, "Content-Type: application/x-detect", body=body), '<recv response="200"/>')


def table(_folder: Path) -> dict[str, Steps]:
    answered = (respond(180, "Ringing"), respond(200, "OK", PROMISE, sdp=True), ACK, '<pause milliseconds="300"/>')
    voice = finding(1, "AMD", "VOICE")
    refer = '<recv request="REFER"/>'
    taken = (
        refer,
        in_dialog(202, "Accepted"),
        *notify(2, "100 Trying", "active;expires=60"),
        *notify(3, "200 OK", "terminated;reason=noresource"),
        *WAIT_FOR_BYE,
    )
    return {
        PERSON: (*answered, *voice, *taken),
        MACHINE: (*answered, *finding(1, "AMD", "AUTOMATA"), *WAIT_FOR_BYE),
        REFUSED: (*answered, *voice, refer, in_dialog(403, "Forbidden"), *WAIT_FOR_BYE),
    }


def to_the_queue(text: str) -> str:
    options = "record_processed = true, stale_clean_timeout = 5"
    assert options in text
    return text.replace(
        options,
        f'stale_clean_timeout = 5, cpa = "gateway", distribution = "refer", transfer_destination = "{QUEUE}", '
        'transfer-data = "uui", transfer-lines = 3',
    )


def test_given_another_switchs_queue_when_the_gateway_finds_people_then_they_are_sent_there_by_refer(tmp_path):
    """Figure "Transfer Mode - Cisco UCM": dial, call progress detection, REFER; nothing of the call stays here."""
    with sipp_carrier(table(tmp_path), tmp_path) as carrier:
        with site(carrier.port, agents=1, edit=to_the_queue) as here:
            here.add_records([(PERSON, "Person"), (MACHINE, "Machine"), (REFUSED, "Refused")])
            here.start_daemon()
            here.client.load(GROUP)
            here.client.start(GROUP, DialMode.PROGRESSIVE)  # nobody is logged in: the agents are the other switch's
            done = "SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL"
            eventually("all calls are over", lambda: here.query(done)[0][0] == 3)
            found = {
                phone: (result, as_dict(evidence))
                for phone, result, evidence in here.query("SELECT phone, call_result, evidence FROM ocsd.attempt")
            }
            figures = here.statistics()
            log = here.log_text()
            here.client.force_unload(GROUP)
        assert carrier.finish() == 0, carrier.errors
        trace = carrier.trace
    assert found[PERSON][0] == CallResult.ANSWER
    assert found[PERSON][1]["transfer"] == {"method": "refer", "sip_status": 200}
    assert found[PERSON][1]["cpa"]["cause"] == "the gateway: AMD VOICE"
    assert found[MACHINE][0] == CallResult.ANSWERING_MACHINE
    assert found[REFUSED][0] == CallResult.DROPPED
    assert found[REFUSED][1]["transfer"]["sip_status"] == 403
    assert figures["calls_handed_over"] == 1
    assert figures["abandoned"] == 1
    assert "gateway_does_not_analyse" not in log
    assert trace.count("X-Detect: Request=AMD,CPT,FAX,PTT") >= 3
    referred = [line for line in trace.splitlines() if line.lower().startswith("refer-to:")]
    assert referred
    assert all(QUEUE in line and "User-to-User=04" in line for line in referred)
    ladder = Ladder(
        "Transfer mode to another switch's queue",
        source='"Transfer Mode - Cisco UCM"',
        about="The trunk's gateway analyses the call and reports a voice; the customer's side is asked to call the "
        "queue. Once it has, nothing of the call goes through ocsd any more.",
    )
    ladder.sipp(
        next(tmp_path.glob("*messages*")),
        "Gateway",
        show=("X-Detect", "Refer-To"),
        only=lambda message: PERSON.lstrip("+") in message.headers.get("to", "") + message.headers.get("from", ""),
    )
    ladder.assert_order("INVITE", "200 OK (INVITE", "INFO", "REFER", "202 Accepted", "NOTIFY", "BYE")
    ladder.keep("transfer-to-queue")


def as_dict(value: object) -> dict:
    return json.loads(value) if isinstance(value, str) else dict(value)
