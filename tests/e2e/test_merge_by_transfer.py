"""merge-method transfer against SIPp: the customer's side is asked to call the agent's phone, and does or does not."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from ocsd.model.enums import CallResult, DialMode, GroupCampStatus
from telephony.simworld.numbers import number_for
from tests.e2e.sipp_carrier import ACK, HANG_UP, WAIT_FOR_BYE, Steps, play, respond, sipp_carrier
from tests.e2e.site import GROUP, eventually, site
from tests.e2e.test_sipp_carrier import PERSON
from tests.ladder import Ladder, SipText
from tests.sip.cases import request

pytestmark = pytest.mark.e2e

TAKES_IT, REFUSES = number_for(0, ("212",)), number_for(1, ("212",))


def notify(cseq: int, status: str, state: str) -> Steps:
    return (
        request(
            "NOTIFY", cseq, "Event: refer", f"Subscription-State: {state}", "Content-Type: message/sipfrag",
            body=(f"SIP/2.0 {status}",),
        ),
        '<recv response="200"/>',
    )  # fmt: skip


def table(folder: Path) -> dict[str, Steps]:
    found = (respond(180, "Ringing"), respond(200, "OK", sdp=True), ACK, play(PERSON, folder))
    refer = '<recv request="REFER"/>'
    takes = (
        refer,
        respond(202, "Accepted").replace("[last_To:];tag=[pid]c[call_number]", "[last_To:]"),
        *notify(1, "100 Trying", "active;expires=60"),
        *notify(2, "200 OK", "terminated;reason=noresource"),
        *WAIT_FOR_BYE,
    )
    refuses = (
        refer,
        respond(405, "Method Not Allowed", "Allow: INVITE, ACK, BYE, CANCEL").replace(
            "[last_To:];tag=[pid]c[call_number]", "[last_To:]"
        ),
        '<pause milliseconds="2500"/>',
        *HANG_UP,
    )
    return {TAKES_IT: (*found, *takes), REFUSES: (*found, *refuses)}


def transferring(text: str) -> str:
    options = "record_processed = true, stale_clean_timeout = 5"
    assert options in text
    return text.replace(options, 'record_processed = false, stale_clean_timeout = 5, "merge-method" = "transfer"')


def test_given_merge_by_transfer_when_the_customers_side_takes_the_call_or_refuses_then_nobody_is_cut_off(tmp_path):
    """TMergeCall extension ``method`` = transfer; "MCP bridges these legs by either merging them or transferring"."""
    with sipp_carrier(table(tmp_path), tmp_path) as carrier:
        with site(carrier.port, agents=2, edit=transferring) as here:
            here.add_records([(TAKES_IT, "Takes it"), (REFUSES, "Refuses")])
            here.start_daemon()
            wire = tmp_path / "agents-wire.jsonl"
            here.start_agents(2, f"--wire-log={wire}", "--talk-mean-s=60", "--wrap-mean-s=0.2")
            here.client.load(GROUP)
            eventually("the agents are ready", lambda: here.statistics().get("agents_ready") == 2)
            here.client.start(GROUP, DialMode.PROGRESSIVE_AND_SEIZE)
            done = "SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL"
            eventually("both calls are over", lambda: here.query(done)[0][0] == 2)
            rows = {
                phone: (result, agent, evidence, talked)
                for phone, result, agent, evidence, talked in here.query(
                    "SELECT phone, call_result, agent_id, evidence,"
                    " EXTRACT(EPOCH FROM agent_released_at - connected_at) FROM ocsd.attempt"
                )
            }
            here.client.complete(GROUP)
            eventually(
                "the group is unloaded",
                lambda: here.client.status(GROUP)["GSW_CM_AttrGroupCampStatus"] == GroupCampStatus.NOT_LOADED,
            )
        assert carrier.finish() == 0, carrier.errors
        trace = carrier.trace
    assert rows[TAKES_IT][0] == rows[REFUSES][0] == CallResult.ANSWER
    assert evidence(rows[TAKES_IT][2])["merge"] == {"method": "transfer", "sip_status": 200}
    assert evidence(rows[REFUSES][2])["merge"]["sip_status"] == 405
    assert rows[TAKES_IT][3] < rows[REFUSES][3], "refused, they stay bridged until the customer hangs up"
    referred = [line for line in trace.splitlines() if line.lower().startswith("refer-to:")]
    assert len(set(referred)) == 2
    assert all(f"sip:100{digit}@" in "".join(referred) for digit in "12")
    assert all("Replaces=" in line and ";to-tag=" in unquote(line) for line in referred)
    ladder = Ladder(
        "Progressive and Seize: merge by transfer",
        source='"TMergeCall Extensions", method = transfer',
        about="Customer and agent are bridged at once; then the customer's side is asked to call the agent's phone in "
        "place of the engaging call. Here it says that it has.",
    )
    ladder.sipp(
        next(tmp_path.glob("*messages*")),
        "Customer",
        show=("Refer-To",),
        only=lambda message: TAKES_IT.lstrip("+") in message.headers.get("to", "") + message.headers.get("from", ""),
    )
    agent = rows[TAKES_IT][1]
    extension = f"100{agent.removeprefix('agent')}"
    ladder.simworld(wire, {here.phones_port: "Agent's phone"}, only=_one_call(extension), agents=())
    told = [json.loads(line) for line in wire.read_text().splitlines() if '"desktop"' in line]
    told = [entry for entry in told if entry["agent"] == agent and "ConnID" in entry["desktop"]]
    merged = next(entry["desktop"] for entry in told if "PreviousConnID" in entry["desktop"])
    for entry in told:
        if entry["desktop"]["ConnID"] in (merged["ConnID"], merged["PreviousConnID"]):
            ladder.desktop(entry["at_s"], agent, entry["desktop"], entry["at"] == "out", ("GSW_CALL_TYPE",))
    ladder.assert_order("INVITE", "200 OK (INVITE", "REFER", "202 Accepted", "NOTIFY", "BYE")
    ladder.keep("progressive-seize-transfer")


def evidence(value: object) -> dict:
    return json.loads(value) if isinstance(value, str) else dict(value)


def _one_call(extension: str):
    known: list[str] = []

    def chosen(message: SipText) -> bool:
        call_id = message.headers.get("call-id", "")
        if message.called == extension and not known:
            known.append(call_id)
        return call_id in known

    return chosen
