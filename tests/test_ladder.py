"""The ladder tool: what is read from traces, shown, and asserted."""

import json

import pytest

from tests.ladder import Ladder, SipText

INVITE = (
    "INVITE sip:+12125550100@127.0.0.1:5080 SIP/2.0\r\nv: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK1\r\n"
    "From: <sip:a@b>;tag=1\r\nt: <sip:+12125550100@x>\r\ni: one\r\nCSeq: 1 INVITE\r\nX-Sort: #a; b\r\n"
    "Content-Type: application/sdp\r\n\r\nv=0\r\na=sendonly\r\n"
)
OK = "SIP/2.0 200 OK\r\nTo: <sip:1001@x>;tag=2\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\n\r\n"
SIPP = """
----------------------------------------------- 2026-11-21 04:47:53.548433
UDP message received [209] bytes :

BYE sip:1@127.0.0.1:10000 SIP/2.0
Call-ID: x
CSeq: 2 BYE


----------------------------------------------- 2026-11-21 04:47:53.548577
UDP message sent (221 bytes):

SIP/2.0 200 OK
Call-ID: x
CSeq: 2 BYE


"""


def wire(tmp_path, *entries):
    log = tmp_path / "wire.jsonl"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return log


def sip(at_s, text, way, port=5080):
    return {"at_s": at_s, "at": way, "port": port, "peer_port": 4000, "sip": text}


def test_given_a_wire_log_when_read_then_arrows_in_order_and_repetitions_once(tmp_path):
    event = {"Event": "EventRinging", "UserData": {"GSW_CALL_TYPE": "ENGAGING"}}
    log = wire(
        tmp_path,
        sip(1.0, INVITE, "in"),
        sip(1.5, INVITE, "in"),
        sip(3.0, OK, "out", 5090),
        {"at_s": 2.0, "at": "in", "agent": "agent1", "desktop": event},
        {"at_s": 2.1, "at": "in", "agent": "agent2", "desktop": event},
    )

    ladder = Ladder("Title", source="Figure 1")
    ladder.simworld(
        log, {5080: "Trunk", 5090: "Phone {user}"}, show=("X-Sort",), attributes=("GSW_CALL_TYPE",), agents=["agent1"]
    )

    assert [(step.source, step.target, step.label) for step in ladder.steps] == [
        ("ocsd", "Trunk", "INVITE +12125550100 (SDP sendonly)<br/>X-Sort: #a; b"),
        ("ocsd", "Desktop agent1", "EventRinging<br/>GSW_CALL_TYPE = ENGAGING"),
        ("Phone 1001", "ocsd", "200 OK (INVITE)"),
    ]
    assert ladder.parties() == ["Desktop agent1", "ocsd", "Trunk", "Phone 1001"]
    assert "p1->>p2: INVITE +12125550100 (SDP sendonly)<br/>X-Sort: #35;a#59; b" in ladder.render()
    assert "p3-->>p1: 200 OK (INVITE)" in ladder.render()


def test_given_a_sipp_trace_when_read_then_both_directions_are_told_apart(tmp_path):
    trace = tmp_path / "trace"
    trace.write_text(SIPP)

    ladder = Ladder("Title", source="Figure 1").sipp(trace, "PBX")

    assert ladder.labels(source="ocsd", target="PBX") == ["BYE"]
    assert ladder.labels(source="PBX", target="ocsd") == ["200 OK (BYE)"]


def test_given_a_ladder_when_its_order_is_asserted_then_a_wrong_order_fails():
    ladder = Ladder("Title", source="Figure 1")
    for index, label in enumerate(("one", "two", "three")):
        ladder.say("a", "b", label, float(index))

    ladder.assert_order("one", "three")
    with pytest.raises(AssertionError, match="no 'one' in its place"):
        ladder.assert_order("two", "one")


@pytest.mark.parametrize(("asked", "written"), [("1", True), ("", False)])
def test_given_a_ladder_when_kept_then_it_is_written_only_where_asked(tmp_path, monkeypatch, asked, written):
    monkeypatch.setattr("tests.ladder.FLOWS", tmp_path / "flows")
    monkeypatch.setenv("OCSD_WRITE_FLOWS", asked)
    ladder = Ladder("Title", source="Figure 1", about="What it is.")
    ladder.say("a", "b", "hello", 0.0)
    ladder.note("b", "done", 1.0)

    ladder.keep("name")

    assert (tmp_path / "flows" / "name.md").exists() is written
    assert "Note over p1: done" in ladder.render()
    assert "What it is." in ladder.render()


def test_given_a_response_when_parsed_then_its_method_is_that_of_cseq():
    message = SipText.parse(OK)

    assert (message.status, message.method, message.called) == (200, "INVITE", "1001")


def test_given_a_header_with_ports_and_tags_when_shown_then_they_are_left_out():
    refer_to = "<sip:7@127.0.0.1:99?Replaces=a%3Bto-tag%3Db>;tag=1"
    refer = f"REFER sip:x@127.0.0.1 SIP/2.0\r\nCSeq: 1 REFER\r\nRefer-To: {refer_to}\r\n\r\n"

    assert SipText.parse(refer).label(("Refer-To",)) == "REFER x<br/>Refer-To: <sip:7@127.0.0.1?Replaces=a>"
