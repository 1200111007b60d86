"""Requests of every kind for the control port, good and bad, as hypothesis makes them."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from ocsd.demo.world import CALLING_LIST, CAMPAIGN_GROUP, ZONES
from ocsd.model.enums import CallResult
from telephony.simworld.numbers import number_for

CAMPAIGN = "Demo"
TENANT = "Environment"
HIGHEST_HANDLE = 90
"""Attempts are numbered from 1 in a new database: of these handles some are alive, some finished, some yet to come."""

RECORD_REQS = (
    "UpdateCallCompletionStats", "RecordProcessed", "RecordReject", "RequestRecordCancel", "DoNotCall",
    "RecordReschedule", "ScheduledRecordReschedule", "AddRecord",
)  # fmt: skip


@dataclass(frozen=True)
class FuzzRequest:
    """
    Attributes:
        resource, identifier, req: what is asked, if it is understood; ``req`` is empty when something else is asked.
        wire: the bytes of the whole request.
        adds: the number of the record that an accepted AddRecord adds.
    """

    resource: str
    identifier: str
    req: str
    wire: bytes
    adds: str = ""


def _mixed_case(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from([text, text, text.lower(), text.upper()])


_junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_dates = st.sampled_from(
    ["12/01/2031 13:00", "10/12/2032", "1/2/33 4:05", "10/12/2009", "25/45/00", "tomorrow", "", "02/30/2031 10:00"]
)
_numbers = st.integers(0, 400).map(number_for) | st.sampled_from(["12", "+", "abc", "", "+1 (201) 555-0188", "0" * 60])
_GOOD: dict[str, st.SearchStrategy[Any]] = {
    "GSW_APPLICATION_ID": st.sampled_from([101, 101, 7]),
    "GSW_CAMPAIGN_NAME": st.sampled_from([CAMPAIGN, CAMPAIGN, "nobody's"]),
    "GSW_CAMPAIGN": st.just(CAMPAIGN),
    "GSW_CAMPAIGN_GROUP_NAME": st.just(CAMPAIGN_GROUP),
    "GSW_CALLING_LIST": st.sampled_from([CALLING_LIST, CALLING_LIST, "none"]),
    "GSW_TENANT_DBID": st.sampled_from([1, 1, 2]),
    "GSW_TENANT_NAME": st.sampled_from([TENANT, "Alpha Tenant"]),
    "GSW_CHAIN_ATTR": st.sampled_from(["AllChain", "RecordOnly", "Some"]),
    "GSW_CALL_RESULT": st.sampled_from([int(result) for result in CallResult]),
    "GSW_FROM": st.integers(-1, 90_000),
    "GSW_UNTIL": st.integers(0, 90_000),
    "GSW_PHONE_TYPE": st.integers(0, 12),
    "GSW_TREATMENT": st.sampled_from(["RecordTreatPersonal", "RecordTreatCampaign", "both"]),
    "GSW_CALLBACK_TYPE": st.sampled_from(["Personal", "Campaign", "Other"]),
    "GSW_DATE_TIME": _dates,
    "GSW_MESSAGE": st.text(max_size=30),
    "GSW_DURATION": st.integers(0, 10**6),
    "GSW_REFERENCE_ID": st.integers(0, 10**6),
    "GSW_RECORD_HANDLE": st.integers(0, HIGHEST_HANDLE),
    "GSW_TZ_NAME": st.sampled_from([name for name, _ in ZONES] + ["Nowhere", "' PST"]),
    "GSW_RECORD_TYPE": st.integers(0, 9),
    "GSW_CHAIN_ID": st.integers(0, 500),
    "GSW_CHAIN_N": st.integers(0, 5),
    "GSW_AGENT_ID": st.sampled_from(["agent1", "agent2", "stranger"]),
    "customer_name": st.text(max_size=70),
    "SURPRISE": st.integers(),
}


@st.composite
def _pairs(draw: st.DrawFn, wanted: dict[str, Any]) -> dict[str, Any]:
    """What such a request needs, some of it left out now and then, with a few others and a few broken ones."""
    pairs = {key: value for key, value in wanted.items() if draw(st.integers(0, 14))}
    for key in draw(st.lists(st.sampled_from(sorted(_GOOD)), max_size=3, unique=True)):
        if draw(st.booleans()):
            pairs.setdefault(key, draw(_GOOD[key]))
    if not draw(st.integers(0, 5)):
        pairs[draw(st.sampled_from(sorted(_GOOD)) | st.text(max_size=12))] = draw(_junk)
    return pairs


@st.composite
def requests(draw: st.DrawFn, added: Any) -> FuzzRequest:
    """
    One request; four of five have a chance to be obeyed.

    Args:
        added: hands out a fresh number at each call, for a record to be added.
    """
    resource = draw(st.sampled_from(["records"] * 6 + ["phones"] * 3 + ["customer_ids", "lists", "lists", "lists"]))
    wanted: dict[str, Any] = {}
    phone = ""
    match resource:
        case "records":
            req = draw(st.sampled_from(RECORD_REQS))
            identifier = str(draw(st.integers(1, HIGHEST_HANDLE)))
            if "Reschedule" in req:
                wanted["GSW_DATE_TIME"] = "12/01/2031 13:00"
        case "lists":
            req, identifier = "AddRecord", CALLING_LIST
        case "phones":
            req, identifier = draw(st.sampled_from(RECORD_REQS[3:5])), draw(_numbers)
            wanted["GSW_TENANT_NAME"] = TENANT
        case _:
            req, identifier = draw(st.sampled_from(RECORD_REQS[3:5])), draw(st.text(min_size=1, max_size=10))
            wanted["GSW_TENANT_DBID"] = 1
    if req == "AddRecord":
        phone = added()
        wanted |= {"GSW_PHONE": phone, "GSW_TZ_NAME": "EST", "GSW_CAMPAIGN_NAME": CAMPAIGN}
    pairs: Any = draw(_pairs(wanted))
    if not draw(st.integers(0, 9)):
        pairs = {"record": pairs}
    # Text with lone surrogates is no text: json escapes it, and the server has to say what it thinks of that.
    body = json.dumps(pairs).encode()
    kind, method = "application/json", "POST"
    target = f"/{resource}/{quote(identifier, safe='')}?req={draw(_mixed_case(req))}"
    if not draw(st.integers(0, 4)):  # damaged
        what = draw(st.sampled_from(["body", "kind", "method", "target", "req", "foreign"]))
        if what == "body":
            body = draw(st.binary(max_size=200) | st.just(body[: len(body) // 2]) | st.just(b"[" * 5_000))
        elif what == "kind":
            kind = draw(st.sampled_from(["text/plain", "", "application/json; charset=utf-16", "multipart/form-data"]))
        elif what == "method":
            method = draw(st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]))
        elif what == "target":
            target = "/" + quote(draw(st.text(max_size=30)), safe="/?=&%+")
            phone = req = ""
        elif what == "req":
            target = target.partition("?")[0] + draw(
                st.sampled_from(["", "?req=", "?req=Load", "?req=A&req=B", "?x=y"])
            )
        else:
            target = draw(
                st.sampled_from(
                    [
                        "/campaigngroups/106?req=Load", "/campaigngroups/106?req=StartDialing", "/campaigngroups/1",
                        "/lists/Demo%20List?req=preflight", "/lists/Demo%20List/1?req=why", "/openapi.json", "/health",
                    ]
                )
            )  # fmt: skip
            method, phone, req = draw(st.sampled_from(["GET", "POST"])), "", ""
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-type: {kind}\r\nContent-length: {len(body)}\r\n\r\n"
    )
    return FuzzRequest(resource, identifier, req, head.encode() + body, phone)
