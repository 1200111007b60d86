"""SIPp as a carrier: one process that treats each dialed number as a table says.

The scenario is written from the table: after the INVITE it branches on the dialed number. Sound is RTP streamed from
raw u-law files, so that the media server hears it over the wire.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np

from telephony import launcher
from telephony.media.g711 import linear_to_ulaw
from telephony.simworld.sound import render
from tests.ports import free_ports
from tests.telephony.sipp_peer import SippPeer, sipp_uas

RTP_PORTS = 400
GUARD_S = 240
"""SIPp ends itself then, so that an aborted test leaves nothing behind."""

Steps = tuple[str, ...]
"""What the carrier does with a call after its INVITE, as elements of a SIPp scenario."""

_HEAD = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE scenario SYSTEM "sipp.dtd">
<scenario name="carrier">
  <recv request="INVITE" rrs="true">
    <action>
      <ereg regexp="[0-9]+" search_in="hdr" header="CSeq:" assign_to="cseq"/>
      <ereg regexp=".*" search_in="hdr" header="Via:" assign_to="via"/>
      <ereg regexp=".*" search_in="hdr" header="From:" assign_to="caller"/>
      <ereg regexp="[^;]*" search_in="hdr" header="To:" assign_to="called"/>
"""

_SDP = """
      v=0
      o=carrier 53655765 2353687637 IN IP[local_ip_type] [local_ip]
      s=-
      c=IN IP[media_ip_type] [media_ip]
      t=0 0
      m=audio [rtpstream_audio_port] RTP/AVP 0 101
      a=rtpmap:0 PCMU/8000
      a=rtpmap:101 telephone-event/8000
      a=fmtp:101 0-15
"""


def raw_response(text: str) -> str:
    """Send this text; SIPp fills in its keywords."""
    return f"<send>\n<![CDATA[\n{text}\n]]>\n</send>"


def respond(status: int, reason: str, *headers: str, sdp: bool = False, cseq: str = "[last_CSeq:]") -> str:
    """A response to the last request (to the INVITE when ``cseq`` is INVITE_CSEQ)."""
    lines = [
        f"SIP/2.0 {status} {reason}",
        "[last_Via:]",
        "[last_From:]",
        "[last_To:];tag=[pid]c[call_number]",
        "[last_Call-ID:]",
        cseq,
        *headers,
        "Contact: <sip:[local_ip]:[local_port];transport=[transport]>",
        *(("Content-Type: application/sdp",) if sdp else ()),
        "Content-Length: [len]",
    ]
    return raw_response("\n" + "\n".join("      " + line for line in lines) + "\n" + (_SDP if sdp else ""))


def in_dialog(status: int, reason: str, *headers: str, sdp: bool = False) -> str:
    """A response to a request within the dialog: its To tag is there already."""
    return respond(status, reason, *headers, sdp=sdp).replace("[last_To:];tag=[pid]c[call_number]", "[last_To:]")


INVITE_CSEQ = "CSeq: [$cseq] INVITE"
ACK = '<recv request="ACK"/>'
OK_IN_DIALOG = raw_response("""
      SIP/2.0 200 OK
      [last_Via:]
      [last_From:]
      [last_To:]
      [last_Call-ID:]
      [last_CSeq:]
      Content-Length: [len]
""")
WAIT_FOR_BYE: Steps = ('<recv request="BYE"/>', OK_IN_DIALOG)
TERMINATED = raw_response("""
      SIP/2.0 487 Request Terminated
      [last_Via:]
      [last_From:]
      [last_To:];tag=[pid]c[call_number]
      [last_Call-ID:]
      CSeq: [$cseq] INVITE
      Content-Length: [len]
""")
WAIT_FOR_CANCEL: Steps = ('<recv request="CANCEL"/>', OK_IN_DIALOG, TERMINATED, ACK)
HANG_UP: Steps = (
    """<send retrans="500">
<![CDATA[

      BYE [next_url] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      Max-Forwards: 70
      From: [$called];tag=[pid]c[call_number]
      To: [$caller]
      [last_Call-ID:]
      CSeq: 1 BYE
      Reason: Q.850;cause=16;text="Normal call clearing"
      Content-Length: 0

]]>
</send>""",
    '<recv response="200"/>',
)


def fail(status: int, reason: str, *headers: str) -> Steps:
    """A final response other than 200."""
    return (respond(status, reason, *headers), ACK)


def play(score: str, folder: Path) -> str:
    """Stream a score of `telephony.simworld.sound` once; it is best followed by silence within the score."""
    # SIPp takes paths of up to 255 characters, and the folders of parallel runs lie deep.
    path = folder / f"{sha256(score.encode()).hexdigest()[:12]}.ulaw"
    path.write_bytes(linear_to_ulaw(np.ravel(render(score).frames)).tobytes())
    return f'<nop><action><exec rtp_stream="{path},1,0"/></action></nop>'


def scenario(table: Mapping[str, Iterable[str]]) -> str:
    """A scenario that branches on the dialed number; a number that is not in the table gets 500."""
    parts = [_HEAD]
    for number in table:
        digits = number.lstrip("+")
        parts.append(f'      <ereg regexp="{digits}@" search_in="msg" assign_to="to{digits}"/>\n')
    names = ",".join(f"to{number.lstrip('+')}" for number in table)
    parts.append(f'    </action>\n  </recv>\n  <Reference variables="cseq,via,caller,called,{names}"/>\n')
    for number in table:
        digits = number.lstrip("+")
        parts.append(f'  <nop next="{digits}" test="to{digits}"/>\n')
    parts += [*fail(500, "Not In The Table"), '\n  <nop next="end"/>\n']
    for number, steps in table.items():
        parts.append(f'  <label id="{number.lstrip("+")}"/>\n')
        parts += [step + "\n" for step in steps]
        parts.append('  <nop next="end"/>\n')
    parts.append('  <label id="end"/>\n  <nop/>\n</scenario>\n')
    return "".join(parts)


@contextmanager
def sipp_carrier(table: Mapping[str, Iterable[str]], folder: Path, calls: int | None = None) -> Iterator[SippPeer]:
    """Run a carrier for so many calls (default: one per number); its files go to ``folder``."""
    file = folder / "carrier.xml"
    file.write_text(scenario(table), encoding="latin-1")
    # SIPp counts its RTP ports up from here.
    ports = ("-mi", "127.0.0.1", "-mp", str(free_ports(RTP_PORTS)[0]))
    with sipp_uas(file, folder, len(table) if calls is None else calls, GUARD_S, ports) as peer:
        launcher.prefer(peer.process.pid, launcher.MEDIA_NICENESS)  # as of `site.outside_world`
        yield peer
