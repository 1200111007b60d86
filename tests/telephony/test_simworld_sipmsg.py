import contextlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.simworld import sdp
from telephony.simworld.sipmsg import Message, SipSyntaxError, name_addr, parse, parse_uri, serialise, split_list

BASE = (
    "INVITE sip:+1212@127.0.0.1:5060;transport=udp SIP/2.0\r\n"
    "v: SIP/2.0/UDP 127.0.0.1:5999;branch=z9hG4bKa, SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKb\r\n"
    'f: "Dialer, \\"x\\" <y>" <sip:d@h;user=phone>;tag=t1\r\n'
    "t: sip:1212@127.0.0.1\r\n"
    "i: abc@h\r\n"
    "CSeq:  7   INVITE\r\n"
    "Subject: folded\r\n over two lines\r\n"
    "l: 3\r\n\r\nabcdef"
)


def test_given_compact_and_folded_headers_when_parsed_then_all_is_read():
    message = parse(BASE.encode())
    assert message.method == "INVITE"
    assert message.call_id == "abc@h"
    assert message.cseq == (7, "INVITE")
    assert message.from_tag == "t1"
    assert message.to_tag == ""
    assert len(message.all("via")) == 2
    assert message.get("subject") == "folded over two lines"
    assert message.body == b"abc"


def test_given_header_values_when_split_then_quotes_and_brackets_hold():
    assert split_list('"a,b" <sip:x,y@h>;q=1, <sip:z@h>') == ['"a,b" <sip:x,y@h>;q=1', "<sip:z@h>"]
    assert name_addr('"Bob" <sip:b@h;lr>;tag=1') == ("sip:b@h;lr", (("tag", "1"),))


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:+1555;npdi@10.0.0.1:5070;user=phone?x=1", "+1555", "10.0.0.1", 5070),
        ("SIP:a%20b@host", "a b", "host", None),
        ("sip:127.0.0.1", "", "127.0.0.1", None),
        ("tel:+1-555;phone-context=x", "+1-555", "", None),
    ],
)
def test_given_a_uri_when_parsed_then_its_parts_are_right(text, user, host, port):
    uri = parse_uri(text)
    assert (uri.user, uri.host, uri.port) == (user, host, port)


@pytest.mark.parametrize("text", ["", "http://x", "sip:@h", "sip:a@h:99999", "sip:a@h:0", "sip:a@", "sip:a b"])
def test_given_a_bad_uri_when_parsed_then_it_is_refused(text):
    with pytest.raises(SipSyntaxError):
        parse_uri(text)


def test_given_a_bare_line_feed_when_parsed_then_it_is_refused_whole():
    with pytest.raises(SipSyntaxError) as caught:
        parse(BASE.replace("Subject: folded", "Subject: x\nVia: forged").encode())
    assert caught.value.partial is None


def test_given_a_line_break_in_a_value_when_serialised_then_it_is_refused():
    with pytest.raises(ValueError, match="line break"):
        serialise(Message(method="BYE", uri="sip:x", headers=(("to", "a\r\nVia: x"),)))


VALUE = st.text(string.ascii_letters + string.digits + "-_.@", min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(call_id=VALUE, tag=VALUE, user=VALUE, number=st.integers(0, 2**31 - 1), body=st.binary(max_size=200))
def test_given_any_request_when_serialised_and_parsed_then_it_is_the_same(call_id, tag, user, number, body):
    message = Message(
        method="BYE",
        uri="sip:x@127.0.0.1",
        headers=(
            ("via", "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx"),
            ("from", f"<sip:{user}@h>;tag={tag}"),
            ("to", "<sip:y@h>"),
            ("call-id", call_id),
            ("cseq", f"{number} BYE"),
        ),
        body=body,
    )
    back = parse(serialise(message))
    assert (back.method, back.uri, back.body) == (message.method, message.uri, message.body)
    assert [h for h in back.headers if h[0] != "content-length"] == list(message.headers)
    assert back.from_tag == tag


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_given_any_bytes_when_parsed_then_a_message_or_a_syntax_error(data):
    with contextlib.suppress(SipSyntaxError):
        parse(data)


SDP = "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\n"


def test_given_an_offer_with_two_streams_when_answered_then_the_other_one_is_refused():
    offer = SDP + "m=video 5000 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 18 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    audio = sdp.parse_audio((offer + "a=sendonly\r\n").encode())
    assert (audio.host, audio.port, audio.payload_type, audio.event_payload_type) == ("1.2.3.4", 4000, 8, 101)
    text = sdp.answer(audio, "127.0.0.1", 30000, 1, 2).decode()
    assert "m=video 0 RTP/AVP 96\r\nm=audio 30000 RTP/AVP 8 101\r\n" in text
    assert "a=recvonly" in text
    assert sdp.parse_audio(text.encode()).port == 30000


def test_given_hold_by_address_when_parsed_then_there_is_no_host():
    assert (
        sdp.parse_audio((SDP.replace("c=IN IP4 1.2.3.4", "c=IN IP4 0.0.0.0") + "m=audio 4 RTP/AVP 0").encode()).host
        == ""
    )


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x=0",
        SDP,
        SDP + "m=audio 0 RTP/AVP 0\r\n",
        SDP + "m=audio 70000 RTP/AVP 0\r\n",
        SDP + "m=audio 4000 RTP/SAVP 0\r\n",
        SDP + "m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 G729/8000\r\n",
        SDP.replace("c=IN IP4 1.2.3.4", "c=IN IP6 ::1") + "m=audio 4000 RTP/AVP 0\r\n",
        SDP.replace("c=IN IP4 1.2.3.4", "c=IN IP4 host.example") + "m=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\nm=audio 4000 RTP/AVP 0\r\n",
    ],
)
def test_given_an_sdp_without_usable_audio_when_parsed_then_it_is_refused(body):
    with pytest.raises(sdp.SdpError):
        sdp.parse_audio(body.encode())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60).map(lambda t: (SDP + t).encode()) | st.binary(max_size=100))
def test_given_any_sdp_when_parsed_then_audio_or_an_sdp_error(body):
    with contextlib.suppress(sdp.SdpError):
        sdp.parse_audio(body)
