"""
One stack, in a process of its own (there can be but one in each): a call is placed in the turn in which another one has
left its place.

Prints the legs that were told as ended, those of `NEXT` last. See `tests.telephony.test_stack_places`.
"""

import os
import re
import socket

from telephony.contract import PlaceCall
from telephony.leg import Answered, Released
from telephony.sdp import LocalAudio
from telephony.worker.pj import SipStack
from tests.telephony.played_peer import SDP

NEXT = "next"
UNREACHABLE = "sip:nowhere@[::1]:9"
"""From a socket of IPv4: the BYE fails at once, and the call is over before `hang_up` returns."""


def answer(invite: str) -> bytes:
    kept = re.findall(r"(?m)^(?:Via|From|Call-ID|CSeq): .*?$", invite)
    to = re.findall(r"(?m)^To: .*?(?=\r?$)", invite)[0] + ";tag=far"
    lines = ["SIP/2.0 200 OK", *(one.strip() for one in kept), to, f"Contact: <{UNREACHABLE}>"]
    return "\r\n".join([*lines, "Content-Type: application/sdp", f"Content-Length: {len(SDP)}", "", SDP]).encode()


def main() -> None:
    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind(("127.0.0.1", 0))
    far.settimeout(20.0)
    stack = SipStack("127.0.0.1")

    def place(leg_id: str) -> None:
        uri = f"sip:callee@127.0.0.1:{far.getsockname()[1]}"
        command = PlaceCall(
            leg_id=leg_id, uri=uri, from_uri="sip:us@x", rtp_host="127.0.0.1", rtp_port=40000, no_answer_s=20.0
        )
        stack.place(command, LocalAudio("127.0.0.1", 40000))

    def told(kind: type, until: str) -> list[str]:
        found: list[str] = []
        while until not in found:
            found += [leg_id for leg_id, event in stack.poll() if isinstance(event, kind)]
        return found

    for number in range(stack.capacity):
        place(f"leg-{number}")
    leaving = f"leg-{stack.capacity - 2}"
    while leaving not in (invite := far.recv(4000).decode()):
        pass
    far.sendto(answer(invite), (stack.host, stack.port))
    told(Answered, leaving)
    stack.hang_up(leaving, "")
    place(NEXT)
    over = told(Released, leaving)
    for _ in range(20):
        over += [leg_id for leg_id, event in stack.poll() if isinstance(event, Released)]
    stack.hang_up(NEXT, "")
    over += [leg_id for leg_id, event in stack.poll() if isinstance(event, Released)]
    print(*over, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
