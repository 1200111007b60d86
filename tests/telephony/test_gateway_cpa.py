"""What gateways report in SIP about who has answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.contract import VerdictKind
from telephony.gateway_cpa import CONTENT_TYPE, Finding, findings, promised

K = VerdictKind


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("Type= AMD\r\nSubType= VOICE\r\n", K.HUMAN),
        ("Type= AMD\r\nSubType= AUTOMATA\r\n", K.MACHINE),
        ("Type=AMD\nSubtype=Automata\n", K.MACHINE),
        ("Type= AMD\r\nSubType= SILENT\r\n", K.SILENCE),
        ("Type= AMD\r\nSubType= UNKNOWN\r\n", K.TIMEGUARD),
        ("Type= AMD\r\nSubType= Beep\r\n", K.BEEP),
        ("Type= CPT\r\nSubType=Beep\r\n", K.BEEP),
        ("Type= CPT\r\nSubType= SIT-NC\r\n", K.SIT_NO_CIRCUIT),
        ("Type= CPT\r\nSubType= SIT-IC\r\n", K.SIT_INTERCEPT),
        ("Type= CPT\r\nSubType= SIT-VC\r\n", K.SIT_VACANT),
        ("Type= CPT\r\nSubType= SIT-RO\r\n", K.SIT_REORDER),
        ("Type= CPT\r\nSubType= BUSY\r\n", K.BUSY),
        ("Type= CPT\r\nSubType= REORDER\r\n", K.REORDER),
        ("Type= CPT\r\nSubType= RINGTONE\r\n", K.RINGBACK),
        ("Type= FAX\r\nSubType= CED\r\n", K.FAX),
        ("Type= FAX\r\nSubType= PREAMBLE\r\n", K.FAX),
        ("Type= FAX\r\nSubType= MODEM\r\n", K.MODEM),
        ("Type= PTT\r\nSubType= SPEECH-START\r\n", None),
        ("Type= XYZ\r\nSubType= VOICE\r\n", None),
    ],
)
def test_given_an_info_of_the_gateway_when_read_then_its_verdict_is_ours(body, verdict):
    (finding,) = findings("Application/X-Detect", body)
    assert finding.verdict is verdict


def test_given_several_findings_and_parameters_when_read_then_each_is_found():
    body = "Type= PTT\r\nSubType= SPEECH-END\r\nSpeechPeriod= 900\r\nType= AMD\r\nSubType= VOICE\r\n"
    assert findings(f"{CONTENT_TYPE};charset=utf-8", body) == [Finding("PTT", "SPEECH-END"), Finding("AMD", "VOICE")]
    assert findings(CONTENT_TYPE, body)[0].ends_speech


@pytest.mark.parametrize(
    ("headers", "kinds"),
    [
        ((("X-Detect", "Response=AMD,CPT"),), {"AMD", "CPT"}),
        ((("x-detect", "response= amd , fax"),), {"AMD", "FAX"}),
        ((("X-Detect", "Response="),), set()),
        ((("X-Detect", "Request=AMD"),), None),
        ((("Server", "x"),), None),
        ((), None),
    ],
)
def test_given_a_response_when_read_then_it_is_known_what_the_gateway_promises(headers, kinds):
    assert promised(headers) == kinds


@given(st.text(max_size=200), st.text(max_size=200))
def test_given_any_text_when_read_then_nothing_fails(one, other):
    for finding in findings(CONTENT_TYPE, f"Type={one}\nSubType={other}\n{one}{other}"):
        assert finding.verdict is None or isinstance(finding.verdict, VerdictKind)
    promised(((one, other), ("X-Detect", one)))
    assert findings("application/dtmf-relay", "Signal=5") == []
