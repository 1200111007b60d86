"""What a far end may do to a call, as steps of one SIPp scenario that branches on the dialed number.

`Seen` is the leg as the daemon hears of it. A step is an element of a SIPp scenario; helpers are those of the carrier
of the end-to-end tests.
"""

from dataclasses import dataclass, field

from telephony.simworld.numbers import number_for
from tests.e2e.sipp_carrier import (
    ACK,
    HANG_UP,
    INVITE_CSEQ,
    OK_IN_DIALOG,
    TERMINATED,
    WAIT_FOR_BYE,
    WAIT_FOR_CANCEL,
    Steps,
    fail,
    raw_response,
    respond,
)

PCMU = ("m=audio [rtpstream_audio_port] RTP/AVP 0", "a=rtpmap:0 PCMU/8000")


def pause(ms: int) -> str:
    return f'<pause milliseconds="{ms}"/>'


def response(status: int, reason: str, *headers: str, tag: str = "", sdp: tuple[str, ...] = ()) -> str:
    """A response to the INVITE with another To tag than usual (a fork), or another description."""
    lines = [
        f"SIP/2.0 {status} {reason}", "Via: [$via]", "From: [$caller]",
        f"To: [$called];tag=[pid]c[call_number]{tag}", "[last_Call-ID:]", INVITE_CSEQ, *headers,
        "Contact: <sip:[local_ip]:[local_port];transport=[transport]>",
    ]  # fmt: skip
    body = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", *sdp] if sdp else []
    lines += [*(("Content-Type: application/sdp",) if sdp else ()), "Content-Length: [len]", "", *body]
    return raw_response("\n" + "\n".join("      " + line for line in lines) + "\n")


def request(method: str, cseq: int, *headers: str, body: tuple[str, ...] = ()) -> str:
    """A request of the far end within the dialog."""
    lines = [
        f"{method} [next_url] SIP/2.0",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
        "Max-Forwards: 70",
        "From: [$called];tag=[pid]c[call_number]",
        "To: [$caller]",
        "[last_Call-ID:]",
        f"CSeq: {cseq} {method}",
        "Contact: <sip:[local_ip]:[local_port];transport=[transport]>",
        *headers,
        "Content-Length: [len]",
        "",
        *body,
    ]
    text = "\n".join("      " + line for line in lines)
    # Never repeated: nothing is lost on the loopback, and SIPp takes nothing in while it may have to repeat.
    return f"<send>\n<![CDATA[\n\n{text}\n\n]]>\n</send>"


def offer(*lines: str) -> tuple[str, ...]:
    return ("v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", *lines)


def given_up(label: str) -> Steps:
    """
    ACK and any number of BYE, in any order, until nothing comes for two seconds.

    The stack gives up a call whose answer it cannot use before it acknowledges that answer, and tells us of the end
    only when its BYE is answered; ours follows it.
    """
    return (
        f'<label id="{label}more"/>',
        f'<recv request="ACK" optional="true" next="{label}more" timeout="2000" ontimeout="{label}end"/>',
        f'<recv request="BYE" timeout="2000" ontimeout="{label}end"/>',
        OK_IN_DIALOG.replace("<send>", f'<send next="{label}more">'),
        f'<label id="{label}end"/>',
        "<nop/>",
    )


SDP_HEADER = "Content-Type: application/sdp"
RINGING = respond(180, "Ringing")
ANSWER = respond(200, "OK", sdp=True)
TALK: Steps = (ANSWER, ACK, *WAIT_FOR_BYE)
HUGE = tuple(f"X-Huge-{number}: {'long ' * 80}" for number in range(7))
"""About 3 KB of headers, which UDP on a real network would carry in fragments."""
TOO_HUGE = (*HUGE, *HUGE)
"""Beyond 4,000 bytes (PJSIP_MAX_PKT_LEN) the stack cuts a datagram."""


@dataclass(frozen=True)
class Seen:
    """
    What the daemon hears: provisional statuses above 100 in order, whether an answer, and the end.

    ``hang_up_after_s``: we hang up so long after the answer. ``no_answer_s``: limit of the call.
    """

    steps: Steps
    status: int
    by: str = "remote"
    progress: tuple[int, ...] = ()
    answered: bool = False
    hang_up_after_s: float = 0.3
    no_answer_s: float = 15.0
    no_answer: bool = False
    q850_cause: int | None = None
    retry_after_s: float = 0.0
    responded: bool = True
    redirect_to: str = ""
    moved: tuple[tuple[str, int], ...] = field(default=())
    """Audio addresses told by progress with status 200: ("127.0.0.1", port)."""


CASES: dict[str, Seen] = {
    # --- refused ------------------------------------------------------------------------------------------------
    "503": Seen(fail(503, "Service Unavailable"), 503),
    "503_retry_after": Seen(fail(503, "Busy Now", "Retry-After: 12 (soon);duration=5"), 503, retry_after_s=12.0),
    "500": Seen(fail(500, "Server Internal Error"), 500),
    "484": Seen(fail(484, "Address Incomplete"), 484),
    "491": Seen(fail(491, "Request Pending"), 491),
    "600": Seen(fail(600, "Busy Everywhere"), 600),
    "606": Seen(fail(606, "Not Acceptable"), 606),
    "699_unknown": Seen(fail(699, "Never Heard Of"), 699),
    "487_that_nobody_asked_for": Seen(fail(487, "Request Terminated"), 487),
    "reason_twice": Seen(
        fail(480, "Away", 'Reason: SIP;cause=480;text="a, b"', "Reason: Q.850 ;cause = 20"), 480, q850_cause=20
    ),
    "302": Seen(
        fail(302, "Moved", "Contact: <sip:+12125552999@127.0.0.1:9>;q=0.9"), 302,
        redirect_to="sip:+12125552999@127.0.0.1:9",
    ),
    "407_without_credentials": Seen(fail(407, "Who Are You", 'Proxy-Authenticate: Digest realm="x", nonce="1"'), 407),
    "huge_headers": Seen(fail(486, "Busy Here", *HUGE, "Reason: Q.850;cause=17"), 486, q850_cause=17),
    "too_huge_headers": Seen(fail(486, "Busy Here", *TOO_HUGE, "Reason: Q.850;cause=17"), 486),
    # The stack drops a message with a header of its own that it cannot read: as good as silence.
    "503_retry_after_that_is_no_number": Seen(
        (respond(503, "Busy", "Retry-After: soon"), pause(2500)), 487, "local", no_answer_s=2.0, no_answer=True,
        responded=False,
    ),
    "401_with_a_challenge_of_nonsense": Seen(
        (respond(401, "Who Are You", "WWW-Authenticate: Bearer realm=,,,;;"), pause(2500)), 487, "local",
        no_answer_s=2.0, no_answer=True, responded=False,
    ),
    # --- silence ------------------------------------------------------------------------------------------------
    "silence": Seen(
        (pause(3000),), 487, by="local", no_answer_s=2.0, no_answer=True, responded=False
    ),
    "100_and_silence": Seen(
        (respond(100, "Trying"), *WAIT_FOR_CANCEL), 487, by="local", no_answer_s=2.0, no_answer=True
    ),
    "180_and_silence": Seen((RINGING, *WAIT_FOR_CANCEL), 487, "local", (180,), no_answer_s=2.0, no_answer=True),
    "cancel_crosses_answer": Seen(
        (RINGING, '<recv request="CANCEL"/>', OK_IN_DIALOG, response(200, "OK", sdp=PCMU), ACK, *WAIT_FOR_BYE), 487,
        "local", (180,), no_answer_s=2.0, no_answer=True,
    ),
    "cancel_unknown_and_487_later": Seen(
        (
            RINGING, '<recv request="CANCEL"/>',
            raw_response("""
      SIP/2.0 481 Call/Transaction Does Not Exist
      [last_Via:]
      [last_From:]
      [last_To:];tag=[pid]c[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      Content-Length: 0
"""),
            TERMINATED, ACK,
        ), 487, "local", (180,), no_answer_s=2.0, no_answer=True,
    ),
    # --- provisional --------------------------------------------------------------------------------------------
    "183_without_sdp": Seen((respond(183, "Session Progress"), *TALK), 200, "local", (183,), answered=True),
    "183_then_180": Seen(
        (respond(183, "Progress", sdp=True), pause(200), RINGING, pause(200), *TALK), 200, "local", (183, 180),
        answered=True,
    ),
    "180_then_183": Seen(
        (RINGING, pause(200), respond(183, "Progress", sdp=True), pause(200), *TALK), 200, "local", (180, 183),
        answered=True,
    ),
    "181_182_199": Seen(
        (respond(181, "Forwarded"), pause(100), respond(182, "Queued"), pause(100), respond(199, "Early Dialog Over"),
         *TALK), 200, "local", (181, 182, 199), answered=True,
    ),
    "fork_18x_and_answer_of_the_second": Seen(
        (
            response(180, "Ringing", tag="a"), pause(100), response(183, "Session Progress", tag="b", sdp=PCMU),
            pause(100), response(200, "OK", tag="b", sdp=PCMU), ACK, *WAIT_FOR_BYE,
        ), 200, "local", (180, 183), answered=True,
    ),
    "fork_18x_and_answer_of_the_first": Seen(
        (
            response(183, "Session Progress", tag="a", sdp=PCMU), pause(100), response(180, "Ringing", tag="b"),
            pause(100), response(200, "OK", tag="a", sdp=PCMU), ACK, *WAIT_FOR_BYE,
        ), 200, "local", (183, 180), answered=True,
    ),
    # --- answered -----------------------------------------------------------------------------------------------
    "200_at_once": Seen(TALK, 200, "local", answered=True),
    "200_without_sdp": Seen((response(200, "OK"), *given_up("a")), 200, "error"),
    "200_with_refused_audio": Seen(
        (response(200, "OK", sdp=("m=audio 0 RTP/AVP 0",)), *given_up("b")), 200, "error"
    ),
    "200_with_a_codec_we_never_offered": Seen(
        (response(200, "OK", sdp=("m=audio 4000 RTP/AVP 18", "a=rtpmap:18 G729/8000")), *given_up("c")),
        200, "error",
    ),
    "200_with_payload_without_rtpmap": Seen(
        (response(200, "OK", sdp=("m=audio 4000 RTP/AVP 0 97",)), *given_up("d")), 200, "error"
    ),
    "200_with_only_an_unknown_payload": Seen(
        (response(200, "OK", sdp=("m=audio 4000 RTP/AVP 97",)), *given_up("e")), 200, "error"
    ),
    "200_with_a_line_we_never_offered": Seen(
        (response(200, "OK", sdp=(*PCMU, "m=video 4002 RTP/AVP 31")), ACK, *WAIT_FOR_BYE), 200, "local", answered=True
    ),
    "200_with_huge_headers": Seen(
        (response(200, "OK", *HUGE, sdp=PCMU), ACK, *WAIT_FOR_BYE), 200, "local", answered=True
    ),
    "200_then_bye_at_once": Seen((ANSWER, ACK, *HANG_UP), 200, answered=True, hang_up_after_s=9.0, q850_cause=16),
    "bye_glare": Seen(
        (ANSWER, ACK, '<recv request="BYE"/>', OK_IN_DIALOG, request("BYE", 1), '<recv response="200"/>'), 200, "local",
        answered=True,
    ),
    "bye_answered_481": Seen(
        (
            ANSWER, ACK, '<recv request="BYE"/>',
            raw_response("""
      SIP/2.0 481 Gone
      [last_Via:]
      [last_From:]
      [last_To:]
      [last_Call-ID:]
      [last_CSeq:]
      Content-Length: 0
"""),
        ), 200, "local", answered=True,
    ),
    # --- within the call ----------------------------------------------------------------------------------------
    "customer_holds_and_returns": Seen(
        (
            ANSWER, ACK, pause(100),
            request("INVITE", 1, SDP_HEADER, body=offer(*PCMU, "a=sendonly")),
            '<recv response="100" optional="true"/>', '<recv response="200"/>', request("ACK", 1), pause(100),
            request("INVITE", 2, SDP_HEADER, body=offer(*PCMU, "a=sendrecv")),
            '<recv response="100" optional="true"/>', '<recv response="200"/>', request("ACK", 2), *WAIT_FOR_BYE,
        ), 200, "local", answered=True, hang_up_after_s=4.0,
    ),
    "customer_moves_audio": Seen(
        (
            ANSWER, ACK, pause(100),
            request("INVITE", 1, SDP_HEADER, body=offer("m=audio 4444 RTP/AVP 0", "a=rtpmap:0 PCMU/8000")),
            '<recv response="100" optional="true"/>', '<recv response="200"/>', request("ACK", 1), *WAIT_FOR_BYE,
        ), 200, "local", answered=True, hang_up_after_s=4.0, moved=(("127.0.0.1", 4444),),
    ),
    "reinvite_of_another_codec_is_refused": Seen(
        (
            ANSWER, ACK, pause(100),
            request("INVITE", 1, SDP_HEADER, body=offer("m=audio 4444 RTP/AVP 18", "a=rtpmap:18 G729/8000")),
            '<recv response="100" optional="true"/>', '<recv response="488"/>', request("ACK", 1), *WAIT_FOR_BYE,
        ), 200, "local", answered=True, hang_up_after_s=4.0,
    ),
    "refer_of_the_customer_is_declined": Seen(
        (ANSWER, ACK, pause(100), request("REFER", 1, "Refer-To: <sip:9@127.0.0.1:9>"), '<recv response="603"/>',
         *WAIT_FOR_BYE), 200, "local", answered=True, hang_up_after_s=4.0,
    ),
    "unknown_method_in_the_call": Seen(
        (ANSWER, ACK, pause(100), request("FOO", 1), '<recv response="500" optional="true"/>', *WAIT_FOR_BYE), 200,
        "local", answered=True, hang_up_after_s=4.0,
    ),
    "options_in_the_call": Seen(
        (ANSWER, ACK, pause(100), request("OPTIONS", 1), '<recv response="200"/>', *WAIT_FOR_BYE), 200, "local",
        answered=True, hang_up_after_s=4.0,
    ),
}  # fmt: skip
NUMBERS = {name: number_for(index, ("212",)) for index, name in enumerate(CASES)}
TABLE = {NUMBERS[name]: case.steps for name, case in CASES.items()}
