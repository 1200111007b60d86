# ruff: noqa: E501 - messages of an RFC are as long as they are
"""The messages of RFC 4475, by their names there, for a user agent at 127.0.0.1.

Written after the RFC's text. What is not the point of a message (hosts in Via above all, so that answers find their way
back on one machine) is ours. ``{via}`` is the sender's address, ``{me}`` that of who is tortured.
"""

from dataclasses import dataclass

SDP = (
    "v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n"
    "m=audio 49217 RTP/AVP 0 12\r\na=rtpmap:0 PCMU/8000\r\n"
)


@dataclass(frozen=True)
class Case:
    """
    ``answers``: statuses with which the simulated carrier may answer; empty: nothing may come back.

    A start line that it cannot take apart is dropped: who sent it, and with what, is anybody's guess.
    """

    text: str
    answers: tuple[int, ...]
    section: str


def _lines(*lines: str, body: str = "") -> str:
    return "\r\n".join(lines) + "\r\n\r\n" + body


def _request(
    name: str, start: str = "OPTIONS sip:user@{me} SIP/2.0", *more: str, method: str = "OPTIONS", body: str = "",
    drop: tuple[str, ...] = (), **changed: str,
) -> str:  # fmt: skip
    """A plain request with some headers changed (underscores for hyphens), left out, or added."""
    headers = {
        "Via": f"SIP/2.0/UDP {{via}};branch=z9hG4bK{name}", "Max-Forwards": "70",
        "From": f"sip:caller@example.org;tag={name}", "To": "sip:user@example.com", "Call-ID": f"{name}@example.org",
        "CSeq": f"8 {method}", "Contact": "<sip:caller@{via}>",
    }  # fmt: skip
    headers |= {key.replace("_", "-"): value for key, value in changed.items()}
    rows = [f"{key}: {value}" for key, value in headers.items() if key not in drop]
    length = () if "Content-Length" in headers or "Content-Length" in drop else (f"Content-Length: {len(body)}",)
    kind = ("Content-Type: application/sdp",) if body and "Content-Type" not in drop else ()
    return _lines(start, *rows, *more, *kind, *length, body=body)


_INVITE = "INVITE sip:12125559999@{me} SIP/2.0"
ACCEPTED = (100, 180)
"""The simulated carrier takes the call."""

CASES: dict[str, Case] = {
    # --- 3.1.1 valid --------------------------------------------------------------------------------------------
    "wsinv": Case(
        _lines(
            "INVITE sip:12125559999@{me};unknownparam SIP/2.0",
            "TO :",
            " sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
            'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>',
            "  ;",
            "  tag = 98asjd8",
            "MaX-fOrWaRdS: 0068",
            "Call-ID: wsinv.ndaksdj@192.0.2.1",
            f"Content-Length   : {len(SDP)}",
            "cseq: 0009",
            "  INVITE",
            "Via  : SIP  /   2.0",
            " /UDP",
            "    {via};branch=390skdjuw",
            "s :",
            "NewFangledHeader:   newfangled value",
            " continued newfangled value",
            "UnknownHeaderWithUnusualValue: ;;,,;;,;",
            "Content-Type: application/sdp",
            "Route:",
            " <sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
            "v:  SIP  / 2.0  / TCP     spindle.example.com   ;",
            "  branch  =   z9hG4bK9ikj8  ,",
            " SIP  /    2.0   / UDP  192.168.255.111   ; branch=",
            " z9hG4bK30239",
            'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =',
            "      newvalue ;",
            "  secondparam ; q = 0.33",
            body=SDP,
        ),
        (481,),
        "3.1.1.1",
    ),
    "intmeth": Case(
        _request(
            "intmeth", "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
            ":&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
            method="!interesting-Method0123456789_*+`.%indeed'~",
            To='"BEL:\x07 NUL: DEL:\x7f" <sip:1_unusual.URI~(to-be!sure)&isn\'t+it$/crazy?,/;;*@example.com>',
            From="token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"\u0440\u0430\";tag=_to",
        ), (405,), "3.1.1.2",
    ),
    "esc01": Case(
        _request(
            "esc01", "INVITE sip:sips%3A121255599%3999@{me} SIP/2.0", method="INVITE", body=SDP,
            Contact="<sip:cal%6Cer@{via};%6C%72;n%61me=v%61lue%25%34%31>",
        ), (100, 180, 404), "3.1.1.3",
    ),
    "escnull": Case(
        _request(
            "escnull", "REGISTER sip:example.com SIP/2.0", method="REGISTER", To="sip:null-%00-null@example.com",
            From="sip:null-%00-null@example.com;tag=839923423", Contact="<sip:%00@host5.example.com>",
        ), (405,), "3.1.1.4",
    ),
    "esc02": Case(
        _request(
            "esc02", "RE%47IST%45R sip:registrar.example.com SIP/2.0", method="RE%47IST%45R",
            To='"%Z%45" <sip:resource@example.com>', From='"%Z%45" <sip:resource@example.com>;tag=f232jadfj23',
        ), (405,), "3.1.1.5",
    ),
    "lwsdisp": Case(_request("lwsdisp", From="caller<sip:caller@example.com>;tag=323"), (200,), "3.1.1.6"),
    "longreq": Case(
        _request(
            "longreq", _INVITE.replace("SIP/2.0", "SIP/2.0"),
            *(f"Unknown-{'Long' * 20}-Name: unknown-{'long' * 20}-value; p = {'x' * 60}" for _ in range(3)),
            *(f"Via: SIP/2.0/UDP sip{n}.example.com;branch=z9hG4bKverylongbranch{'0' * 40}{n}" for n in range(30)),
            method="INVITE", body=SDP, From=f'sip:{"amazinglylong" * 10}@example.net;tag=12',
            Call_ID=f"longreq.one{'really' * 20}longcallid",
            To=f'"I have a user name of {"extreme" * 10} proportion" <sip:user@example.com:6000;u1={"long" * 20}>',
        ), ACCEPTED, "3.1.1.7",
    ),
    "dblreq": Case(
        _request("dblreq", "REGISTER sip:example.com SIP/2.0", method="REGISTER", Content_Length="0")
        + _request("dblreq2", _INVITE, method="INVITE"),
        (405,), "3.1.1.8",
    ),
    "semiuri": Case(_request("semiuri", "OPTIONS sip:user;par=u%40example.net@{me} SIP/2.0"), (200,), "3.1.1.9"),
    "transports": Case(
        _request(
            "transports", "OPTIONS sip:user@{me} SIP/2.0", "Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bK2",
            "Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK3", "Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bK4",
            "Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK5",
        ), (200,), "3.1.1.10",
    ),
    "mpart01": Case(
        _request(
            "mpart01", "MESSAGE sip:kumiko@{me} SIP/2.0", "Content-Type: multipart/mixed;boundary=7a9cbec02ceef655",
            method="MESSAGE", drop=("Content-Type",),
            body="--7a9cbec02ceef655\r\nContent-Type: text/plain\r\n\r\nHello\r\n--7a9cbec02ceef655\r\n"
            "Content-Type: application/octet-stream\r\n\r\n0\x82\x01R\x06\t*\r\n--7a9cbec02ceef655--",
        ), (405,), "3.1.1.11",
    ),
    "unreason": Case(
        _lines(
            "SIP/2.0 200 = 2**3 * 5**2 \u043d\u043e \u0441\u0442\u043e",
            "Via: SIP/2.0/UDP {via};branch=z9hG4bK1324923", "Call-ID: unreason.1234ksdfak3j2erwedfsASdf",
            "CSeq: 35 INVITE", "From: sip:user@example.com;tag=11141343", "To: sip:user@example.edu;tag=2229",
            "Content-Length: 0", "Contact: <sip:user@host198.example.com>",
        ), (), "3.1.1.12",
    ),
    "noreason": Case(
        _lines(
            "SIP/2.0 100 ", "Via: SIP/2.0/UDP {via};branch=z9hG4bK2398ndaoe", "Call-ID: noreason.asndj203insdf99223ndf",
            "CSeq: 35 INVITE", "From: <sip:user@example.com>;tag=39ansfi3", "To: <sip:user@example.edu>;tag=902jndnke3",
            "Content-Length: 0", "Contact: <sip:user@host105.example.com>",
        ), (), "3.1.1.13",
    ),
    # --- 3.1.2 invalid ------------------------------------------------------------------------------------------
    "badinv01": Case(
        _request(
            "badinv01", _INVITE, "Contact: \"Joe\" <sip:joe@example.org>;;;;", method="INVITE", body=SDP,
            Via="SIP/2.0/UDP {via};branch=z9hG4bKbadinv;;,;,,", To='"T. desk" <sip:t.desk@example.com> ;;;;',
        ), (100, 180, 400), "3.1.2.1",
    ),
    "clerr": Case(_request("clerr", _INVITE, method="INVITE", body=SDP, Content_Length="9999"), (400,), "3.1.2.2"),
    "ncl": Case(_request("ncl", _INVITE, method="INVITE", body=SDP, Content_Length="-999"), (400,), "3.1.2.3"),
    "scalar02": Case(
        _request(
            "scalar02", "REGISTER sip:example.com SIP/2.0", "Expires: 10000000000", "Retry-After: 949302838503028349304",
            "Warning: 1812 overture \"In Progress\"", method="REGISTER", CSeq="36893488147419103232 REGISTER",
            Max_Forwards="300",
        ), (400,), "3.1.2.4",
    ),
    "scalarlg": Case(
        _lines(
            "SIP/2.0 503 Service Unavailable", "Via: SIP/2.0/UDP {via};branch=z9hG4bKzzxdiwo34sw",
            "To: <sip:user@example.com>;tag=1", "From: <sip:other@example.net>;tag=2easdjfejw", "CSeq: 9292394834772304 OPTIONS",
            "Call-ID: scalarlg.noase0of0234hn2qofoaf0232aewf2394r", "Retry-After: 949302838503028349304", "Content-Length: 0",
        ), (), "3.1.2.5",
    ),
    "quotbal": Case(
        _request("quotbal", _INVITE, method="INVITE", body=SDP, To='"Mr. J. User <sip:j.user@example.com>'), (400,), "3.1.2.6"
    ),
    "ltgtruri": Case(
        _request("ltgtruri", "INVITE <sip:user@{me}> SIP/2.0", method="INVITE", body=SDP), (416,), "3.1.2.7"
    ),
    "lwsruri": Case(
        _request("lwsruri", "INVITE sip:user@{me}; lr SIP/2.0", method="INVITE", body=SDP), (), "3.1.2.8"
    ),
    "lwsstart": Case(
        _request("lwsstart", "INVITE  sip:user@{me}  SIP/2.0", method="INVITE", body=SDP), (), "3.1.2.9"
    ),
    "trws": Case(_request("trws", "OPTIONS sip:user@{me} SIP/2.0  "), (200, 400, 505), "3.1.2.10"),
    "escruri": Case(
        _request("escruri", "INVITE sip:user@{me}?Route=%3Csip:example.com%3E SIP/2.0", method="INVITE", body=SDP),
        (100, 180, 400, 404), "3.1.2.11",
    ),
    "baddate": Case(
        _request("baddate", _INVITE, "Date: Fri, 01 Jan 2010 16:00:00 EST", method="INVITE", body=SDP), ACCEPTED, "3.1.2.12"
    ),
    "regbadct": Case(
        _request("regbadct", "REGISTER sip:example.com SIP/2.0", method="REGISTER",
                 Contact="sip:user@example.com?Route=%3Csip:sip.example.com%3E"), (405,), "3.1.2.13",
    ),
    "badaspec": Case(
        _request("badaspec", To="\"Watson, Thomas\" < t.watson@example.org >", From='"Bell, Alexander" <sip:a>;tag=43'),
        (200, 400), "3.1.2.14",
    ),
    "baddn": Case(
        _request("baddn", To="<sip:t.watson@example.org>", From="Bell, Alexander <sip:a.g.bell@example.com>;tag=43"),
        (200, 400), "3.1.2.15",
    ),
    "badvers": Case(_request("badvers", "OPTIONS sip:t.watson@{me} SIP/7.0"), (505,), "3.1.2.16"),
    "mismatch01": Case(_request("mismatch01", method="INVITE"), (400,), "3.1.2.17"),
    "mismatch02": Case(
        _request("mismatch02", "NEWMETHOD sip:user@{me} SIP/2.0", method="INVITE", body=SDP), (400,), "3.1.2.18"
    ),
    "bigcode": Case(
        _lines(
            "SIP/2.0 4294967301 better not break the receiver", "Via: SIP/2.0/UDP {via};branch=z9hG4bK1324923",
            "Call-ID: bigcode.asdof3uj203asdnf3429uasdhfas3ehjasdfas9i", "CSeq: 353494 INVITE",
            "From: <sip:user@example.com>;tag=39ansfi3", "To: <sip:user@example.edu>;tag=902jndnke3",
            "Content-Length: 0", "Contact: <sip:user@host105.example.com>",
        ), (), "3.1.2.19",
    ),
    # --- 3.2 transactions, 3.3 application ----------------------------------------------------------------------
    "badbranch": Case(_request("badbranch", Via="SIP/2.0/UDP {via};branch=z9hG4bK"), (200,), "3.2.1"),
    "insuf": Case(
        _lines(_INVITE, "CSeq: 193942 INVITE", "Via: SIP/2.0/UDP {via};branch=z9hG4bKkdj.insuf",
               "Content-Type: application/sdp", f"Content-Length: {len(SDP)}", body=SDP), (), "3.3.1",
    ),
    "unkscm": Case(_request("unkscm", "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"), (200, 416), "3.3.2"),
    "novelsc": Case(_request("novelsc", "OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0"), (200, 416), "3.3.3"),
    "unksm2": Case(
        _request("unksm2", "REGISTER sip:example.com SIP/2.0", method="REGISTER", To="isbn:2983792873",
                 From="<http://www.example.com>;tag=3234233", Contact="<name:John_Smith>"), (405,), "3.3.4",
    ),
    "bext01": Case(
        _request("bext01", _INVITE, "Require: nothingSupportsThis, nothingSupportsThisEither",
                 "Proxy-Require: noProxiesSupportThis", method="INVITE"), (420,), "3.3.5",
    ),
    "invut": Case(
        _request("invut", _INVITE, "Content-Type: application/unknownformat", method="INVITE", drop=("Content-Type",),
                 body="<audio>\r\n <pcmu port=\"443\"/>\r\n</audio>\r\n"), (415,), "3.3.6",
    ),
    "regaut01": Case(
        _request("regaut01", "REGISTER sip:example.com SIP/2.0", "Authorization: NoOneKnowsThisScheme opaque-data=here",
                 method="REGISTER"), (405,), "3.3.7",
    ),
    "multi01": Case(
        _request(
            "multi01", _INVITE, "CSeq: 59 INVITE", "Call-ID: multi01.fishsticks", "To: sip:secondto@example.com",
            "From: sip:secondfrom@example.com;tag=1", "Contact: <sip:other@example.org>", method="INVITE", body=SDP,
        ), (400,), "3.3.8",
    ),
    "mcl01": Case(
        _request("mcl01", "OPTIONS sip:user@{me} SIP/2.0", "Content-Length: 13", body="There's no way to know how many",
                 Content_Length="5"), (200, 400), "3.3.9",
    ),
    "bcast": Case(
        _lines(
            "SIP/2.0 200 OK", "Via: SIP/2.0/UDP {via};branch=z9hG4bKwrong", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23",
            "Call-ID: bcast.0384840201234ksdfak3j2erwedfsASdf", "CSeq: 35 INVITE", "From: sip:user@example.com;tag=11141343",
            "To: sip:user@example.edu;tag=2229", "Content-Length: 0", "Contact: <sip:user@host28.example.com>",
        ), (), "3.3.10",
    ),
    "zeromf": Case(_request("zeromf", Max_Forwards="0"), (200,), "3.3.11"),
    "cparam01": Case(
        _request("cparam01", "REGISTER sip:example.com SIP/2.0", method="REGISTER",
                 Contact="sip:+19725552222@gw1.example.net;unknownparam"), (405,), "3.3.12",
    ),
    "cparam02": Case(
        _request("cparam02", "REGISTER sip:example.com SIP/2.0", method="REGISTER",
                 Contact="<sip:+19725552222@gw1.example.net;unknownparam>"), (405,), "3.3.13",
    ),
    "regescrt": Case(
        _request("regescrt", "REGISTER sip:example.com SIP/2.0", method="REGISTER",
                 Contact="<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"), (405,), "3.3.14",
    ),
    "sdp01": Case(_request("sdp01", _INVITE, "Accept: text/nobodyKnowsThis", method="INVITE", body=SDP), ACCEPTED, "3.3.15"),
    # --- 3.4 RFC 2543 -------------------------------------------------------------------------------------------
    "inv2543": Case(
        _lines(
            "INVITE sip:12125559999@{me} SIP/2.0", "Via: SIP/2.0/UDP {via}", "Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>",
            "To: <sip:UserB@example.com>", "From: BigGuy <sip:UserA@atlanta.com>;tag=1", "Call-ID: inv2543.1717@ia.example.com",
            "CSeq: 8 INVITE", "Contact: <sip:UserA@{via}>", "Content-Type: application/sdp", "", body=SDP,
        ), ACCEPTED, "3.4.1",
    ),
}  # fmt: skip


def message(name: str, via: str, me: str) -> bytes:
    """The datagram, for a sender at ``via`` (host:port) and a receiver at ``me``."""
    return CASES[name].text.replace("{via}", via).replace("{me}", me).encode()
