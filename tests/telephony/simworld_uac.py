"""A caller for tests of the simulated world: builds SIP requests as text, so no code is shared with what is tested."""

import itertools
import re

OFFER = "\r\n".join(
    ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", "m=audio {port} RTP/AVP {types}", ""]
)
_numbers = itertools.count(1)


def offer(port=40000, types="0 8"):
    return OFFER.format(port=port, types=types)


class Caller:
    """One call as its caller sees it; each method returns the bytes of a request."""

    def __init__(self, number="12125552000", host="127.0.0.1", port=5999, target="127.0.0.1:5060", serial=None):
        n = next(_numbers) if serial is None else serial
        self.number, self.host, self.port, self.target = number, host, port, target
        self.call_id, self.tag, self.branch = f"call{n}@test", f"caller{n}", f"z9hG4bKinvite{n}"
        self.to_tag = ""
        self.cseq = 1

    def request(self, method, *, cseq=None, branch=None, body="", headers=(), uri=None, to_tag=None):
        tag = self.to_tag if to_tag is None else to_tag
        lines = [
            f"{method} {uri or f'sip:{self.number}@{self.target}'} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.host}:{self.port};branch={branch or self.branch};rport",
            f"From: <sip:dialer@{self.host}>;tag={self.tag}",
            f"To: <sip:{self.number}@{self.target}>" + (f";tag={tag}" if tag else ""),
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq if cseq is None else cseq} {method}",
            *headers,
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        lines += [f"Content-Length: {len(body)}", "", body]
        return "\r\n".join(lines).encode()

    def invite(self, body=None, headers=(), **more):
        contact = f"Contact: <sip:dialer@{self.host}:{self.port}>"
        return self.request("INVITE", body=offer() if body is None else body, headers=(contact, *headers), **more)

    def ack_2xx(self, body=""):
        return self.request("ACK", branch=f"{self.branch}ack", body=body)

    def ack_failure(self, to_tag):
        return self.request("ACK", to_tag=to_tag)

    def cancel(self):
        return self.request("CANCEL", to_tag="")

    def bye(self, headers=()):
        self.cseq += 1
        return self.request("BYE", branch=f"{self.branch}bye", headers=headers)


def status_of(data):
    return int(data.split(b" ", 2)[1])


def to_tag_of(data):
    return re.search(rb"(?m)^To:.*;tag=([^\r;]+)", data).group(1).decode()


def audio_port_of(data):
    return int(re.search(rb"m=audio (\d+) ", data).group(1))


def header_of(data, name):
    found = re.search(rf"(?mi)^{name}: (.*)\r$", data.decode())
    return found.group(1) if found else None
