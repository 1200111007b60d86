import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.contract import Direction
from telephony.sdp import LocalAudio, MediaAddress, is_answerable, parse_address, remote_audio, steer
from telephony.sip import Reason, parse_message, parse_reason, tag_of


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        ("Q.850;cause=16", (Reason("Q.850", 16, ""),)),
        ('SIP ;cause=200 ;text="Call completed elsewhere"', (Reason("SIP", 200, "Call completed elsewhere"),)),
        ('q.850 ; cause=34 ; text="a, b; \\"c\\""', (Reason("Q.850", 34, 'a, b; "c"'),)),
        (
            'SIP;cause=486;text="x", Q.850;cause=17',
            (Reason("SIP", 486, "x"), Reason("Q.850", 17, "")),
        ),
        ("Q.850;cause=abc", (Reason("Q.850", None, ""),)),
        ("Q.850;cause=99999999999", (Reason("Q.850", None, ""),)),
        ("", ()),
        (";;;", ()),
    ],
)
def test_given_a_reason_header_when_parsed_then_its_values(value, reasons):
    assert parse_reason(value) == reasons


@given(st.text(max_size=60))
def test_given_any_reason_text_when_parsed_then_no_error(value):
    parse_reason(value)


RESPONSE = (
    "SIP/2.0 503 Service Unavailable\r\nv: SIP/2.0/UDP 192.0.2.1\r\nCSeq: 7 INVITE\r\n"
    'Reason: SIP;cause=503\r\nReason: Q.850\r\n ;cause=34;text="No circuit"\r\n'
    'm: "A <b>" <sip:x@192.0.2.9:5070;transport=udp>;q=0.5\r\nbroken line\r\n\r\nbody'
)


def test_given_a_response_when_parsed_then_status_causes_and_contact():
    message = parse_message(RESPONSE)

    assert (message.method, message.status, message.phrase, message.body) == ("", 503, "Service Unavailable", "body")
    assert (message.cseq_method, message.q850_cause, message.reason_text) == ("INVITE", 34, "No circuit")
    assert message.contact_uri == ("sip:x@192.0.2.9:5070;transport=udp")


def test_given_a_request_when_parsed_then_its_method():
    message = parse_message("BYE sip:a@b SIP/2.0\r\nContact: sip:c@d;x=y\r\n\r\n")

    assert (message.method, message.status, message.q850_cause, message.contact_uri) == ("BYE", 0, None, "sip:c@d")


@pytest.mark.parametrize("text", ["", "HTTP/1.1 200 OK\r\n\r\n", "SIP/2.0 999 x\r\n\r\n", "nonsense"])
def test_given_no_sip_when_parsed_then_value_error(text):
    with pytest.raises(ValueError, match="start line"):
        parse_message(text)


def test_given_session_and_stream_addresses_when_read_then_the_stream_wins_and_video_is_skipped():
    sdp = (
        "v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 5000 RTP/AVP 96\r\nc=IN IP4 192.0.2.5\r\n"
        "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.2/127\r\nm=audio 4100 RTP/AVP 0\r\n"
    )
    assert remote_audio(sdp) == MediaAddress("192.0.2.2", 4000, 0, 0)
    assert remote_audio(sdp.replace("c=IN IP4 192.0.2.2/127\r\n", "")) == MediaAddress("192.0.2.1", 4000, 0, 0)
    assert remote_audio("v=0\nc=IN IP4 192.0.2.1\nm=audio 0 RTP/AVP 0\n") is None
    assert remote_audio("v=0\nm=audio 4000 RTP/AVP 0\n") is None
    assert remote_audio("") is None


@pytest.mark.parametrize(
    ("formats", "attributes", "kinds"),
    [
        ("0 101", "a=rtpmap:101 telephone-event/8000", (0, 101)),
        ("8 0 96", "a=rtpmap:96 Telephone-Event/8000\r\na=fmtp:96 0-16", (8, 96)),
        ("18 8", "", (8, 0)),
        ("0", "a=rtpmap:101 telephone-event/8000", (0, 0)),  # not among the formats
        ("0 98 101", "a=rtpmap:98 telephone-event/16000\r\na=rtpmap:101 telephone-event/8000", (0, 101)),
        ("9", "", (0, 0)),
    ],
)
def test_given_formats_when_read_then_the_law_and_the_events_of_the_far_end_are_known(formats, attributes, kinds):
    sdp = f"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP {formats}\r\n{attributes}\r\nm=video 0 RTP/AVP 101\r\n"

    found = remote_audio(sdp)

    assert (found.payload_type, found.event_payload_type) == kinds


@given(st.text(max_size=80))
def test_given_any_text_when_read_as_sdp_then_no_error(text):
    remote_audio(text)
    parse_address(text)


STACK_SDP = "v=0\r\no=- 1 1 IN IP4 x\r\nm=audio 4000 RTP/AVP 0\r\n"


def test_given_an_answer_that_refuses_video_when_steered_then_its_place_is_kept():
    refused = "m=video 0 RTP/AVP 31\r\na=inactive\r\n"
    head, audio = "v=0\r\no=- 1 1 IN IP4 x\r\n", "m=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n"
    local = LocalAudio("192.0.2.8", 30000)

    for stack_sdp, kinds in ((head + audio + refused, "audio video"), (head + refused + audio, "video audio")):
        media = [line for line in steer(stack_sdp, local).split("\r\n") if line.startswith("m=")]
        assert [line[2:7] for line in media] == kinds.split()
        assert sorted(media) == ["m=audio 30000 RTP/AVP 0 8 101", "m=video 0 RTP/AVP 31"]
    with pytest.raises(ValueError, match="no audio"):
        steer(head + refused, local)


@pytest.mark.parametrize(
    ("media", "answerable"),
    [
        ("m=audio 6000 RTP/AVP 0 101", True),
        ("m=video 6002 RTP/AVP 31\r\nm=audio 6000/2 RTP/AVP 18 8", True),
        ("m=audio 6000 RTP/AVP 0\r\nm=audio 0 RTP/AVP 0", True),
        ("m=audio 6000 RTP/AVP 0\r\nm=audio 6002 RTP/AVP 8", False),
        ("m=audio 6000 RTP/SAVP 0", False),
        ("m=audio 6000 RTP/AVP 18", False),
        ("m=audio 6000 RTP/AVP", False),
        ("m=audio 0 RTP/AVP 0", False),
        ("m=image 6000 udptl t38", False),
        ("", False),
    ],
)
def test_given_an_offer_of_the_far_end_when_judged_then_whether_the_stack_survives_its_answer(media, answerable):
    assert not is_answerable(f"v=0\r\nc=IN IP6 ::1\r\n{media}\r\n")
    assert is_answerable(f"v=0\r\nc=IN IP4 192.0.2.1\r\n{media}\r\n") == answerable


def test_given_the_stacks_sdp_when_steered_then_only_the_origin_line_is_kept():
    sdp = steer(
        "v=0\r\no=- 123 124 IN IP4 10.0.0.1\r\ns=pjmedia\r\nm=audio 4000 RTP/AVP 96\r\n",
        LocalAudio("192.0.2.8", 30000),
    )

    lines = sdp.split("\r\n")
    assert lines[1] == "o=- 123 124 IN IP4 10.0.0.1"
    assert "c=IN IP4 192.0.2.8" in lines
    assert remote_audio(sdp) == MediaAddress("192.0.2.8", 30000)
    (payloads,) = [line.split()[3:] for line in lines if line.startswith("m=")]
    assert all(any(line.startswith(f"a=rtpmap:{payload} ") for line in lines) for payload in payloads)


@pytest.mark.parametrize(
    ("origin", "host", "port"),
    [("o=- 1 1 IN IP4 x", "host.name", 30000), ("o=- 1 1 IN IP4 x", "192.0.2.8", 0), ("o=broken", "192.0.2.8", 30000)],
)
def test_given_what_would_break_the_stack_when_steered_then_value_error(origin, host, port):
    with pytest.raises(ValueError, match=r"RTP port|address|o= line"):
        steer(f"v=0\r\n{origin}\r\nm=audio 4000 RTP/AVP 0\r\n", LocalAudio(host, port))


@pytest.mark.parametrize("kinds", [(1, 101), (9, 101), (0, 5), (0, 128), (-2, 0)])
def test_given_payload_types_that_we_do_not_speak_when_steered_then_value_error(kinds):
    with pytest.raises(ValueError, match="payload type"):
        steer(STACK_SDP, LocalAudio("192.0.2.8", 30000, *kinds))


@pytest.mark.parametrize("law", [0, 8])
@pytest.mark.parametrize("events", [0, 97])
@pytest.mark.parametrize("direction", list(Direction))
def test_given_the_other_party_of_a_direct_conversation_when_steered_then_only_its_formats(law, events, direction):
    sdp = steer(STACK_SDP, LocalAudio("192.0.2.8", 30000, law, events, direction))

    assert remote_audio(sdp) == MediaAddress("192.0.2.8", 30000, law, events)
    assert f"a={direction.value}" in sdp.split("\r\n")
    assert sdp.count("a=rtpmap") == 1 + bool(events)


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("<sip:a@b>;tag=x1", "x1"),
        ('"the ;tag=no one" <sip:a@b;tag=neither>;tag = x-2 ;z=1', "x-2"),
        ("sip:a@b;tag=x3", "x3"),
        ("<sip:a@b;tag=inside>", ""),
        ("", ""),
    ],
)
def test_given_a_from_or_to_value_when_read_then_its_own_tag(value, tag):
    assert tag_of(value) == tag


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        ("120 (I'm in a meeting)", 120.0),
        ("18000;duration=3600", 18000.0),
        ("9999999999", 86400.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("", 0.0),
    ],
)
def test_given_retry_after_when_read_then_seconds_and_at_most_a_day(value, seconds):
    message = parse_message(f"SIP/2.0 503 Busy\r\nRetry-After: {value}\r\n\r\n")
    assert message.retry_after_s == seconds


def test_given_wanted_headers_when_picked_then_bounded_and_called_as_they_were_asked_for():
    lines = "".join(f"x-many: {'v' * 2000}\r\n" for _ in range(20))
    message = parse_message(f"SIP/2.0 200 OK\r\nm: <sip:a@b>\r\n{lines}Other: 1\r\n\r\n")

    picked = message.picked(("X-Many", "Contact"))

    assert picked[0] == ("Contact", "<sip:a@b>")
    assert len(picked) == 16
    assert set(picked[1:]) == {("X-Many", "v" * 1024)}
    assert message.picked(()) == ()


def test_given_a_quoted_text_without_end_when_parsed_then_what_stands_before_it_counts():
    cause, sloppy = parse_reason('Q.850;cause=17, SIP;cause=486;text="Busy, or so; ')
    assert (cause.protocol, cause.cause) == ("Q.850", 17)
    assert (sloppy.protocol, sloppy.cause) == ("SIP", 486)


@pytest.mark.parametrize("value", ["5 INVITE", "5\tinvite", "5  \t INVITE"])
def test_given_any_white_space_in_cseq_when_read_then_number_and_method(value):
    message = parse_message(f"SIP/2.0 200 OK\r\nCSeq: {value}\r\n\r\n")
    assert (message.cseq_number, message.cseq_method) == (5, "INVITE")
