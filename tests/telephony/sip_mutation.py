"""Proper SIP messages of every kind, and damage that breaks parsers of text protocols, all from one seed."""

import re
from dataclasses import dataclass

from tests.telephony.media_fuzz import Mutator

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    "a=ptime:20\r\na=sendrecv\r\n"
)
STATUSES = (
    100, 180, 181, 182, 183, 199, 200, 202, 300, 302, 400, 401, 403, 404, 407, 408, 415, 420, 422, 480, 481, 486, 487,
    488, 491, 500, 503, 600, 603, 606, 699,
)  # fmt: skip
METHODS = (
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "SUBSCRIBE", "MESSAGE",
    "REGISTER", "PUBLISH", "FOO",
)  # fmt: skip
EXTRA = (
    "Retry-After: 7 (busy)", 'Reason: Q.850;cause=16;text="x"', "Contact: <sip:x@127.0.0.1:9>;q=0.7", "RSeq: 1",
    "Require: 100rel", "Session-Expires: 90;refresher=uas", "Min-SE: 3600", "Supported: timer, replaces, 100rel",
    'WWW-Authenticate: Digest realm="a", nonce="b", qop="auth,auth-int", algorithm=MD5',
    'Proxy-Authenticate: Digest realm="a", nonce="b", stale=true', "Record-Route: <sip:127.0.0.1:9;lr>",
    "Route: <sip:127.0.0.1:9;lr>", "Event: refer;id=1", "Subscription-State: terminated;reason=noresource",
    "Refer-To: <sip:9@127.0.0.1:9?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>", "Replaces: a;to-tag=b;from-tag=c",
    "RAck: 1 1 INVITE", "Allow: INVITE, ACK", "Content-Encoding: gzip", "Expires: 3600", "Max-Forwards: 0",
    "Accept: application/sdp", "X-Long: " + "a" * 500, "Subject: \u00fcml\u00e4ut", "Warning: 399 x \"y\"",
    "Require: 100rel\r\nRSeq: 1", "Require: 100rel\r\nRSeq: 2", "Contact: <sip:x@127.0.0.1:9;transport=tcp>",
    "Contact: <sips:x@127.0.0.1:9>", "Contact: <tel:+12125550100>", "Contact: <sip:x@host.invalid>",
    "Record-Route: <sip:127.0.0.1:9;transport=tls;lr>", "Session-Expires: 90;refresher=uac\r\nRequire: timer",
    'WWW-Authenticate: Digest realm="a", nonce="c", stale=true', 'Proxy-Authenticate: Digest realm="b", nonce="d"',
    'WWW-Authenticate: Digest realm="a", nonce="YQ==", algorithm=AKAv1-MD5', "Min-SE: 90\r\nRequire: timer",
    "Content-Disposition: session;handling=required", "P-Asserted-Identity: \"A\" <sip:1@x>, <tel:+1>",
)  # fmt: skip
SDP_LINES = (
    "m=audio 0 RTP/AVP 0", "m=audio 4000 RTP/AVP", "m=audio 4000 RTP/AVP 97", "m=audio 99999 RTP/AVP 0",
    "m=video 4000 RTP/AVP 31", "a=rtpmap:97 opus/48000/2", "a=rtpmap:999 x/y", "a=rtpmap:0 PCMU/0", "a=sendonly",
    "a=inactive", "a=ptime:0", "a=ptime:100000", "c=IN IP6 ::1", "c=IN IP4 0.0.0.0", "c=IN IP4 not.a.host.invalid",
    "c=IN IP4 224.0.0.1/127", "a=rtcp:1", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x", "a=fmtp:101",
    "a=candidate:1 1 UDP 1 127.0.0.1 1 typ host", "b=AS:-1", "t=x", "o=", "v=1", "a=setup:active", "m=audio -1 a b",
)  # fmt: skip
NUMBERS = (b"0", b"-1", b"65536", b"2147483648", b"4294967296", b"99999999999999999999", b"1e9", b"0x10", b"+1", b" 1")
PIECES = (
    b"\x00", b"%00", b"\r\n", b"\r\n\r\n", b"\n", b"\t", b" ", b";", b",", b'"', b"<", b">", b"\\", b"@", b":",
    b"[::1]", b"\xff\xfe", b"\xc3\x28", b"=" * 40, b"A" * 300, b"sip:", b"SIP/2.0", b"z9hG4bK", b"tag=", b"%s%n%x",
)  # fmt: skip
MAX_BYTES = 6000


@dataclass(frozen=True, slots=True)
class Dialog:
    """What a message must name to be taken for one of a call; ``invite`` is the request as it came, where one did."""

    call_id: str
    local: str
    """From or To of whoever sends the mutated message, with its tag."""
    remote: str
    target: str
    via: str = "SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKx"
    cseq: int = 1
    rtp_port: int = 40000


class SipMutator(Mutator):
    """`Mutator` with a knowledge of lines, numbers and headers."""

    def _body(self, dialog: Dialog) -> str:
        rng, text = self.random, SDP.format(port=dialog.rtp_port)
        if rng.random() < 0.5:
            return text
        lines = text.split("\r\n")[:-1]
        for _ in range(rng.randrange(1, 4)):
            place, line = rng.randrange(len(lines)), rng.choice(SDP_LINES)
            if rng.random() < 0.5:
                lines[place] = line
            else:
                lines.insert(place, line)
        return "\r\n".join(lines) + "\r\n"

    def response(self, dialog: Dialog, status: int | None = None) -> bytes:
        """To the INVITE of a dialog; whole and proper, though perhaps senseless."""
        rng = self.random
        status = rng.choice(STATUSES) if status is None else status
        method = "INVITE" if rng.random() < 0.9 else rng.choice(METHODS)
        body = self._body(dialog) if status in (180, 183, 200, 488) and rng.random() < 0.7 else ""
        lines = [
            f"SIP/2.0 {status} Reason", f"Via: {dialog.via}", f"From: {dialog.remote}", f"To: {dialog.local}",
            f"Call-ID: {dialog.call_id}", f"CSeq: {dialog.cseq} {method}", "Contact: <sip:x@127.0.0.1:9>",
        ]  # fmt: skip
        return self._finished(lines, body)

    def request(self, dialog: Dialog, method: str | None = None) -> bytes:
        rng = self.random
        method = rng.choice(METHODS) if method is None else method
        has_body = method in ("INVITE", "UPDATE", "ACK", "PRACK") and rng.random() < 0.7
        branch = dialog.via.rpartition("branch=")[2] if rng.random() < 0.2 else f"z9hG4bK{rng.getrandbits(64):x}"
        lines = [
            f"{method} {dialog.target} SIP/2.0", f"Via: SIP/2.0/UDP 127.0.0.1:9;branch={branch};rport",
            "Max-Forwards: 70", f"From: {dialog.local}", f"To: {dialog.remote}", f"Call-ID: {dialog.call_id}",
            f"CSeq: {rng.choice((1, 1, 2, 3, dialog.cseq, 2**31 - 1))} {method}", "Contact: <sip:x@127.0.0.1:9>",
        ]  # fmt: skip
        return self._finished(lines, self._body(dialog) if has_body else "")

    def _finished(self, lines: list[str], body: str) -> bytes:
        rng = self.random
        for _ in range(rng.choice((0, 0, 1, 2))):
            lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(EXTRA))
        if body:
            lines.append("Content-Type: application/sdp")
        lines += [f"Content-Length: {len(body)}", "", body]
        return "\r\n".join(lines).encode()

    def damage(self, data: bytes, other: bytes) -> bytes:
        """A few wounds, most of them to the text, some to its bytes."""
        rng = self.random
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            data = rng.choice((self._number, self._line, self._piece, self._case, self._bytes))(data, other)
        return data[:MAX_BYTES]

    def _number(self, data: bytes, _other: bytes) -> bytes:
        found = list(re.finditer(rb"\d+", data))
        if not found:
            return data
        one = self.random.choice(found)
        return data[: one.start()] + self.random.choice(NUMBERS) + data[one.end() :]

    def _line(self, data: bytes, other: bytes) -> bytes:
        rng = self.random
        lines, others = data.split(b"\r\n"), other.split(b"\r\n")
        place = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[place])
            case 2:
                lines.insert(place, rng.choice(others))
            case 3:
                lines[place] = rng.choice(others)
            case _:
                lines[place : place + 1] = [lines[place][: rng.randrange(len(lines[place]) + 1)]]
        return b"\r\n".join(lines)

    def _piece(self, data: bytes, _other: bytes) -> bytes:
        rng = self.random
        at = rng.randrange(len(data) + 1)
        return data[:at] + rng.choice(PIECES) * rng.choice((1, 1, 1, 3, 20)) + data[at + rng.choice((0, 0, 1, 5)) :]

    def _case(self, data: bytes, _other: bytes) -> bytes:
        rng = self.random
        match rng.randrange(4):
            case 0:
                return data.swapcase()
            case 1:
                return data.replace(b"\r\n", b"\n", rng.choice((1, 2, -1)))
            case 2:
                return data.replace(b": ", b":\r\n ", 1)
            case _:
                return data.replace(b"SIP/2.0", b"SIP/7.0", rng.choice((1, -1)))

    def _bytes(self, data: bytes, other: bytes) -> bytes:
        return self.mutate(data, other or b"x")
