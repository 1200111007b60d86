"""Requests for records, phones, customer_ids and lists: resource, URI and body to typed requests."""

from dataclasses import fields, replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.model.enums import ChainAttr, RecordType
from ocsd.protocols.add_record import ADDABLE_STATUSES, CALLBACKS, AddRecord
from ocsd.protocols.desktop import RefusedRequest
from ocsd.protocols.desktop_records import (
    CallbackType,
    DoNotCall,
    RecordProcessed,
    RecordReject,
    RecordReschedule,
    RecordTreatment,
    RequestRecordCancel,
    ScheduledRecordReschedule,
    UpdateCallCompletionStats,
)
from ocsd.protocols.desktop_times import written_time
from ocsd.protocols.http_records import (
    KEY_OF,
    REQUESTS,
    HttpRecordRequest,
    Resource,
    TenantName,
    parse_http,
)

OURS = 101
R, P, C, L = Resource.RECORDS, Resource.PHONES, Resource.CUSTOMER_IDS, Resource.LISTS
ADD = {"GSW_CAMPAIGN_NAME": "Camp", "GSW_PHONE": "4155670000", "GSW_TZ_NAME": "PST"}
ALPHA = {"GSW_TENANT_NAME": "Alpha"}
AT = datetime(2029, 10, 12)  # noqa: DTZ001 - a local time


def asked(resource, request, tenant=None) -> HttpRecordRequest:
    return HttpRecordRequest(resource, request, tenant)


@pytest.mark.parametrize(
    ("resource", "identifier", "req", "pairs", "expected"),
    [
        (R, "15", "RecordProcessed", {}, asked(R, RecordProcessed(OURS, 15, None, None))),
        (
            R,
            "15",
            "recordprocessed",
            {"GSW_CAMPAIGN": "Camp", "GSW_CALLING_LIST": "L", "GSW_TREATMENT": "RecordTreatCampaign", "X": 1},
            asked(R, RecordProcessed(OURS, 15, "Camp", "L", None, {}, {"X": 1}, None, RecordTreatment.CAMPAIGN)),
        ),
        (R, "015", "UPDATECALLCOMPLETIONSTATS", {}, asked(R, UpdateCallCompletionStats(OURS, 15, None))),
        (R, "2147483647", "RecordReject", {}, asked(R, RecordReject(OURS, 2**31 - 1, None, None))),
        # The URI stands before the body, whatever the body says.
        (R, "15", "RecordReject", {"GSW_RECORD_HANDLE": [16]}, asked(R, RecordReject(OURS, 15, None, None))),
        (R, None, "RecordReject", {"GSW_RECORD_HANDLE": "16"}, asked(R, RecordReject(OURS, 16, None, None))),
        (R, "15", "RequestRecordCancel", {}, asked(R, RequestRecordCancel(OURS, 15))),
        (
            R,
            "15",
            "RequestRecordCancel",
            {"GSW_CHAIN_ATTR": "RecordOnly", "GSW_PHONE": "1"},
            asked(R, RequestRecordCancel(OURS, 15, "1", None, ChainAttr.RECORD_ONLY)),
        ),
        (R, "15", "DoNotcall", {}, asked(R, DoNotCall(OURS, 15))),
        (
            R,
            "15",
            "RecordReschedule",
            {"GSW_DATE_TIME": "10/12/2029", "GSW_CAMPAIGN": "Camp"},
            asked(R, RecordReschedule(OURS, 15, "Camp", CallbackType.CAMPAIGN, AT)),
        ),
        (
            R,
            "15",
            "RecordReschedule",
            {"GSW_DATE_TIME": "10/12/2029", "GSW_CALLBACK_TYPE": "Personal"},
            asked(R, RecordReschedule(OURS, 15, None, CallbackType.PERSONAL, AT)),
        ),
        (
            R,
            "15",
            "ScheduledRecordReschedule",
            {"GSW_DATE_TIME": "10/12/2029", "GSW_PHONE": "2"},
            asked(R, ScheduledRecordReschedule(OURS, 15, None, None, AT, "2")),
        ),
        (
            R,
            "15",
            "AddRecord",
            {"GSW_PHONE": "2", "GSW_TZ_NAME": "PST", "GSW_CHAIN_ID": 9},
            asked(R, AddRecord(OURS, "2", "PST", record_handle=15, chain_id=9)),
        ),
        (R, None, "AddRecord", ADD, asked(R, AddRecord(OURS, "4155670000", "PST", None, "Camp"))),
        (
            R,
            None,
            "AddRecord",
            ADD | {"GSW_CALLING_LIST": "L", "GSW_RECORD_HANDLE": 15},
            asked(R, AddRecord(OURS, "4155670000", "PST", "L", "Camp", record_handle=15)),
        ),
        (R, "15", "DoNotCall", {"GSW_TENANT_DBID": "9"}, asked(R, DoNotCall(OURS, 15), TenantName(9))),
        (P, "+1415/555", "DoNotCall", ALPHA, asked(P, DoNotCall(OURS, phone="+1415/555"), TenantName(None, "Alpha"))),
        (
            P,
            "4155555555",
            "RequestRecordCancel",
            ALPHA | {"GSW_TENANT_DBID": 9, "GSW_CAMPAIGN_NAME": "Camp", "GSW_CALLING_LIST": "L"},
            asked(
                P,
                RequestRecordCancel(OURS, phone="4155555555", campaign_name="Camp", calling_list="L"),
                TenantName(9, "Alpha"),
            ),
        ),
        # Neither a handle nor a customer ID in the body may decide what the URI has decided.
        (
            P,
            "1",
            "DoNotCall",
            ALPHA | {"GSW_RECORD_HANDLE": 15, "GSW_CUSTOMER_ID": "7", "GSW_PHONE": "2"},
            asked(P, DoNotCall(OURS, phone="1"), TenantName(None, "Alpha")),
        ),
        (
            P,
            None,
            "DoNotCall",
            ALPHA | {"GSW_PHONE": "2"},
            asked(P, DoNotCall(OURS, phone="2"), TenantName(None, "Alpha")),
        ),
        (
            C,
            "Zoë 7",
            "DoNotCall",
            ALPHA | {"GSW_RECORD_HANDLE": 15, "GSW_PHONE": "2", "GSW_DURATION": 60, "GSW_MESSAGE": "on the phone"},
            asked(
                C,
                DoNotCall(OURS, customer_id="Zoë 7", message="on the phone", duration_s=60),
                TenantName(None, "Alpha"),
            ),
        ),
        (
            C,
            "7",
            "RequestRecordCancel",
            {"GSW_TENANT_DBID": 9},
            asked(C, RequestRecordCancel(OURS, customer_id="7"), TenantName(9)),
        ),
        (
            L,
            "Liste für A/B",
            "AddRecord",
            ADD | {"GSW_CALLING_LIST": 5, "GSW_RECORD_HANDLE": 15},
            asked(L, AddRecord(OURS, "4155670000", "PST", "Liste für A/B", "Camp")),
        ),
        (
            L,
            None,
            "AddRecord",
            ADD | {"GSW_CALLING_LIST": "L"},
            asked(L, AddRecord(OURS, "4155670000", "PST", "L", "Camp")),
        ),
        # A desktop's pairs.
        (
            R,
            "15",
            "DoNotCall",
            {"GSW_AGENT_REQ_TYPE": "donotcall", "GSW_APPLICATION_ID": "101", "GSW_REFERENCE_ID": "5"},
            asked(R, DoNotCall(OURS, 15, reference_id="5")),
        ),
        (
            R,
            "15",
            "RecordReject",
            {"GSW_CAMPAIGN": "Camp", "GSW_CAMPAIGN_NAME": "Camp"},
            asked(R, RecordReject(OURS, 15, "Camp", None)),
        ),
    ],
)
def test_given_a_request_when_parsed_then_it_is_the_desktop_protocols(resource, identifier, req, pairs, expected):
    assert parse_http(resource, identifier, req, pairs, OURS) == expected


@pytest.mark.parametrize(
    ("resource", "identifier", "req", "pairs", "error", "said"),
    [
        *(
            (R, handle, req, {}, 112, "")
            for handle in ("abc", "0", "-1", "1.5", "2147483648", "99999999999999999999", "", " 15", "15x", "١٥", "\0")
            for req in ("RecordReject", "AddRecord")
        ),
        (R, None, "RecordProcessed", {}, 102, "GSW_RECORD_HANDLE"),
        (R, None, "RecordProcessed", {"GSW_RECORD_HANDLE": "abc"}, 103, "GSW_RECORD_HANDLE"),
        (R, "15", "RecordReschedule", {}, 102, "GSW_DATE_TIME"),
        (R, "15", "RecordReschedule", {"GSW_DATE_TIME": "x"}, 111, "GSW_DATE_TIME"),
        (R, "15", "RecordReschedule", {"GSW_CALLBACK_TYPE": "x", "GSW_DATE_TIME": "10/12/2029"}, 103, "CALLBACK"),
        (R, "15", "RecordReject", {"GSW_CALLING_LIST": 7}, 103, "GSW_CALLING_LIST"),
        (R, "15", "RecordReject", {"GSW_CAMPAIGN_NAME": None}, 103, "GSW_CAMPAIGN_NAME"),
        (R, "15", "RecordReject", {"GSW_CAMPAIGN": None}, 103, "GSW_CAMPAIGN must be a string"),
        (R, "15", "RecordReject", {"GSW_CAMPAIGN": "A", "GSW_CAMPAIGN_NAME": "B"}, 103, "GSW_CAMPAIGN"),
        (R, "15", "RecordReject", {"X": 1}, 103, '"X"'),
        (R, "15", "RecordReject", {"GSW_TENANT_DBID": "Alpha"}, 103, "GSW_TENANT_DBID"),
        (R, "15", "RecordReject", {"GSW_TENANT_NAME": 9}, 103, "GSW_TENANT_NAME"),
        (R, "15", "RecordReject", {"GSW_APPLICATION_ID": 102}, 103, "GSW_APPLICATION_ID"),
        (R, "15", "RecordReject", {"GSW_APPLICATION_ID": []}, 103, "GSW_APPLICATION_ID"),
        (R, "15", "RecordReject", {"GSW_AGENT_REQ_TYPE": "DoNotCall"}, 101, "GSW_AGENT_REQ_TYPE"),
        (R, "15", "RecordReject", {"GSW_AGENT_REQ_TYPE": 1}, 101, "GSW_AGENT_REQ_TYPE"),
        (R, "15", "AddRecord", {"GSW_TZ_NAME": "PST"}, 102, "GSW_PHONE"),
        (R, "15", "AddRecord", {"GSW_PHONE": "1"}, 102, "GSW_TZ_NAME"),
        (R, None, "AddRecord", {"GSW_PHONE": "1", "GSW_TZ_NAME": "PST"}, 102, "GSW_CAMPAIGN_NAME"),
        (L, "L", "AddRecord", {"GSW_PHONE": "1", "GSW_TZ_NAME": "PST"}, 102, "GSW_CAMPAIGN_NAME"),
        (L, "", "AddRecord", ADD, 103, "GSW_CALLING_LIST"),
        (L, "L\0", "AddRecord", ADD, 103, "GSW_CALLING_LIST"),
        (P, "1", "DoNotCall", {}, 102, "GSW_TENANT_DBID or GSW_TENANT_NAME"),
        (C, "1", "RequestRecordCancel", {}, 102, "GSW_TENANT_DBID or GSW_TENANT_NAME"),
        (P, None, "DoNotCall", ALPHA | {"GSW_CUSTOMER_ID": "7"}, 102, "GSW_PHONE"),
        (C, None, "DoNotCall", ALPHA | {"GSW_PHONE": "7"}, 102, "GSW_CUSTOMER_ID"),
        (P, "1" * 65, "DoNotCall", ALPHA, 103, "GSW_PHONE"),
        (C, "1" * 65, "DoNotCall", ALPHA, 103, "GSW_CUSTOMER_ID"),
        (P, "1\0", "DoNotCall", ALPHA, 103, "GSW_PHONE"),
        (P, "1", "DoNotCall", ALPHA | {"GSW_CHAIN_ATTR": "Some"}, 103, "GSW_CHAIN_ATTR"),
        (P, "1", "RequestRecordCancel", ALPHA | {"X": 1}, 103, '"X"'),
        (P, "1", "RecordProcessed", ALPHA, 101, "is a request for records;"),
        (P, "1", "AddRecord", ADD, 101, "is a request for records and lists;"),
        (C, "1", "recordreject", ALPHA, 101, "is a request for records; customer_ids knows DoNotCall"),
        (L, "L", "DoNotCall", ADD, 101, "is a request for records and phones and customer_ids; lists knows AddRecord"),
        *((resource, "1", "launch", ALPHA, 101, "is a request for campaigngroups") for resource in Resource),
        *((resource, "1", "Reload", ALPHA, 101, "is no known request") for resource in Resource),
        (R, "1", "", {}, 101, "is no known request"),
    ],
)
def test_given_a_wrong_request_when_parsed_then_number_and_attribute_are_told(
    resource, identifier, req, pairs, error, said
):
    with pytest.raises(RefusedRequest) as caught:
        parse_http(resource, identifier, req, pairs | {"GSW_REFERENCE_ID": 77}, OURS)

    refusal = caught.value
    assert (int(refusal.error), said in refusal.description) == (error, True), refusal.description
    assert refusal.reference_id == 77


@pytest.mark.parametrize(("sent", "told"), [(5, 5), ("5", "5"), (None, None), ("<b>", None), (True, None), ([], None)])
def test_given_a_reference_when_refused_then_only_an_integer_is_given_back(sent, told):
    with pytest.raises(RefusedRequest) as caught:
        parse_http(R, "abc", "RecordReject", {"GSW_REFERENCE_ID": sent}, OURS)

    assert caught.value.reference_id == told


# --- what is written back is the same request ------------------------------------------------------------------------

KEYS = {
    "application_dbid": "GSW_APPLICATION_ID",
    "record_handle": "GSW_RECORD_HANDLE",
    "phone": "GSW_PHONE",
    "customer_id": "GSW_CUSTOMER_ID",
    "calling_list": "GSW_CALLING_LIST",
    "campaign_name": "GSW_CAMPAIGN_NAME",
    "campaign_group_name": "GSW_CAMPAIGN_GROUP_NAME",
    "chain_attr": "GSW_CHAIN_ATTR",
    "message": "GSW_MESSAGE",
    "duration_s": "GSW_DURATION",
    "treatment": "GSW_TREATMENT",
    "callback_type": "GSW_CALLBACK_TYPE",
    "local_time": "GSW_DATE_TIME",
    "reference_id": "GSW_REFERENCE_ID",
    "tz_name": "GSW_TZ_NAME",
    "chain_id": "GSW_CHAIN_ID",
    "chain_n": "GSW_CHAIN_N",
    "record_type": "GSW_RECORD_TYPE",
    "record_status": "GSW_RECORD_STATUS",
    "phone_type": "GSW_PHONE_TYPE",
    "daily_from_s": "GSW_FROM",
    "daily_till_s": "GSW_UNTIL",
    "call_result": "GSW_CALL_RESULT",
    "attempts": "GSW_ATTEMPTS",
    "call_time": "GSW_CALL_TIME",
    "agent_id": "GSW_AGENT_ID",
}
COLUMNS = {
    "call_result": "GSW_CALL_RESULT",
    "daily_from": "GSW_FROM",
    "daily_till": "GSW_UNTIL",
    "contact_info_type": "GSW_PHONE_TYPE",
    "contact_info": "GSW_PHONE",
}


def written(request: HttpRecordRequest) -> tuple[str | None, str, dict[str, object]]:
    """Identifier, req and pairs of a request."""
    pairs: dict[str, object] = {}
    for field in fields(request.request):
        value = getattr(request.request, field.name)
        if field.name == "custom":
            pairs |= value
        elif field.name == "changes":
            pairs |= {COLUMNS[column]: changed for column, changed in value.items()}
        elif isinstance(value, datetime):
            pairs[KEYS[field.name]] = written_time(value)
        elif value is not None:
            pairs[KEYS[field.name]] = getattr(value, "value", value)
    if request.tenant is not None:
        named = {"GSW_TENANT_DBID": request.tenant.dbid, "GSW_TENANT_NAME": request.tenant.name}
        pairs |= {key: value for key, value in named.items() if value is not None}
    identifier = pairs.pop(KEY_OF[request.resource], None)
    return None if identifier is None else str(identifier), type(request.request).__name__, pairs


counts = st.integers(1, 2**31 - 1)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).filter(str.strip)
seconds = st.integers(0, 43_200), st.integers(43_201, 86_400)
times = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(  # noqa: DTZ001 - local times
    lambda moment: moment.replace(second=0, microsecond=0)
)
custom = st.dictionaries(
    texts.filter(lambda key: not key.startswith("GSW_") and key not in ("InteractionType", "InteractionSubtype")),
    texts | counts,
    max_size=3,
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "call_result": st.integers(0, 60),
        "daily_from": seconds[0],
        "daily_till": seconds[1],
        "contact_info_type": st.integers(0, 11),
        "contact_info": texts,
    },
)
common = {"campaign_group_name": st.none() | texts, "reference_id": st.none() | counts}
named = common | {"campaign_name": st.none() | texts, "calling_list": st.none() | texts}
correcting = named | {"changes": changes, "custom": custom}
rescheduling = named | {"local_time": times}
withdrawing = named | {"chain_attr": st.sampled_from(ChainAttr)}
forbidding = withdrawing | {"message": st.just("") | texts, "duration_s": st.none() | counts}
adding = common | {
    "phone": texts,
    "tz_name": texts.map(lambda name: name.strip(" \t'\"`")).filter(str.strip),
    "campaign_name": texts,
    "calling_list": st.none() | texts,
    "chain_id": st.none() | counts,
    "record_type": st.sampled_from(
        [RecordType.CAMPAIGN_RESCHEDULED, RecordType.PERSONAL_RESCHEDULED, *sorted(CALLBACKS)]
    ),
    "record_status": st.sampled_from(sorted(ADDABLE_STATUSES)),
    "phone_type": st.integers(0, 11),
    "daily_from_s": seconds[0],
    "daily_till_s": seconds[1],
    "call_result": st.none() | st.integers(0, 60),
    "attempts": st.integers(0, 99),
    "call_time": st.none() | counts,
    "local_time": times,
    "agent_id": st.none() | texts.filter(lambda name: name != "0"),
    "custom": custom,
}
tenants = st.builds(TenantName, counts, st.none() | texts) | st.builds(TenantName, st.none(), texts)


def of_record(kind, parts):
    built = st.builds(kind, application_dbid=st.just(OURS), record_handle=counts, **parts)
    return st.builds(HttpRecordRequest, st.just(R), built, st.none() | tenants)


def of_somebody(resource, kind, parts, **key):
    return st.builds(
        HttpRecordRequest, st.just(resource), st.builds(kind, application_dbid=st.just(OURS), **parts, **key), tenants
    )


requests = st.one_of(
    of_record(UpdateCallCompletionStats, correcting),
    of_record(RecordProcessed, correcting | {"treatment": st.none() | st.sampled_from(RecordTreatment)}),
    of_record(RecordReject, named),
    of_record(RequestRecordCancel, withdrawing | {"phone": st.none() | texts, "customer_id": st.none() | texts}),
    of_record(DoNotCall, forbidding),
    of_record(RecordReschedule, rescheduling | {"callback_type": st.sampled_from(CallbackType)}),
    of_record(
        ScheduledRecordReschedule,
        rescheduling | {"callback_type": st.none() | st.sampled_from(CallbackType), "phone": st.none() | texts},
    ),
    of_record(AddRecord, adding),
    of_record(AddRecord, adding).map(lambda asked: replace(asked, request=replace(asked.request, record_handle=None))),
    of_somebody(P, RequestRecordCancel, withdrawing, phone=texts),
    of_somebody(P, DoNotCall, forbidding, phone=texts),
    of_somebody(C, RequestRecordCancel, withdrawing, customer_id=texts),
    of_somebody(C, DoNotCall, forbidding, customer_id=texts),
    of_somebody(L, AddRecord, adding | {"calling_list": texts}),
)


@given(requests, st.sampled_from([str, str.lower, str.upper]))
def test_given_any_request_when_written_and_parsed_then_it_is_the_same(request_, case):
    identifier, name, pairs = written(request_)

    assert parse_http(request_.resource, identifier, case(name), pairs, OURS) == request_


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from([*KEYS.values(), "GSW_TENANT_DBID", "GSW_TENANT_NAME", "GSW_CAMPAIGN", "GSW_AGENT_REQ_TYPE"])


@given(
    st.sampled_from([(resource, req) for resource in Resource for req in (*REQUESTS[resource], "Load", "")]),
    st.none() | st.sampled_from(["15", "7"]) | st.text(max_size=5),
    st.dictionaries(keys | st.text(max_size=5), junk | st.sampled_from(["1", "10/12/2029", "PST"]), max_size=8),
)
def test_given_any_pairs_when_parsed_then_a_request_or_a_number_of_the_manual(what, identifier, pairs):
    error = None
    try:
        assert parse_http(what[0], identifier, what[1], pairs, OURS).request.application_dbid == OURS
    except RefusedRequest as refusal:
        error = refusal.error

    assert error in (None, 101, 102, 103, 111, 112)
