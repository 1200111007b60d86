import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.objects import FormatField
from ocsd.model.enums import DialMode, GswError, OptimizeBy, RecordType
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import AttemptTimes, CallingRecord
from ocsd.protocols import desktop_events as events
from ocsd.protocols.attached_data import AttachedRecord, record_uri, user_data
from ocsd.protocols.desktop import (
    ATTACHED_KEYS,
    LATER_REQUESTS,
    CampaignStatusRequest,
    RecordProcessed,
    RefusedRequest,
    RequestAgentLogin,
    RequestAgentLogout,
    RequestAgentNotReady,
    RequestAgentReady,
    RequestReleaseCall,
    UpdateCallCompletionStats,
    column_updates,
    parse,
)

UPDATE = {
    "GSW_AGENT_REQ_TYPE": "UpdateCallCompletionStats",
    "GSW_APPLICATION_ID": 101,
    "GSW_RECORD_HANDLE": 15,
    "GSW_CAMPAIGN_NAME": "Camp",
}
PROCESSED = UPDATE | {"GSW_AGENT_REQ_TYPE": "RecordProcessed", "GSW_CALLING_LIST": "List"}
FIELDS = (
    FormatField(name="customer_code", type="int", send_attribute="CUSTOMER_CODE"),
    FormatField(name="balance", type="float", send_attribute="BALANCE"),
    FormatField(name="customer_name", type="varchar", length=8, send_attribute="Customer Name"),
    FormatField(name="grade", type="char", length=1, send_attribute="GRADE"),
    FormatField(name="last_served", type="datetime", send_attribute="DATE_LAST_SERVED"),
    FormatField(name="secret", type="varchar"),
)
RECORD = CallingRecord(
    list_dbid=1,
    record_id=77,
    contact_info="+14155550100",
    contact_info_type=4,
    record_type=RecordType.CAMPAIGN_CALLBACK,
    call_result=28,
    attempt=2,
    dial_sched_time=1_700_000_000,
    call_time=None,
    daily_from_s=28_800,
    daily_till_s=64_800,
    tz_dbid=3,
    chain_id=9,
    chain_n=1,
    agent_id="agent7",
    user_fields={
        "customer_code": 22,
        "balance": 1.5,
        "customer_name": "Zoë",
        "grade": None,
        "last_served": datetime(2008, 10, 30, 13, 0),  # noqa: DTZ001 - the column is naive
        "secret": "hidden",
    },
)


def text(pairs, **more):
    return json.dumps(pairs | more)


def refused(message) -> RefusedRequest:
    with pytest.raises(RefusedRequest) as caught:
        parse(message)
    return caught.value


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"Request": "RequestAgentLogin", "AgentID": "a1", "ReferenceID": 7}, RequestAgentLogin("a1", 7)),
        ({"ReferenceID": "7", "AgentID": "a1", "Request": "RequestAgentReady"}, RequestAgentReady("a1", "7")),
        ({"Request": "RequestAgentReady"}, RequestAgentReady()),
        ({"Request": "RequestAgentNotReady", "Reason": "lunch"}, RequestAgentNotReady(None, "lunch")),
        ({"Request": "RequestAgentLogout", "AgentID": "a1"}, RequestAgentLogout("a1")),
        ({"Request": "RequestReleaseCall", "ConnID": "c9", "AgentID": "a1"}, RequestReleaseCall("c9", "a1")),
        ({"GSW_AGENT_REQ_TYPE": "CampaignStatusRequest"}, CampaignStatusRequest()),
        (
            {"GSW_AGENT_REQ_TYPE": "CampaignStatusRequest", "GSW_APPLICATION_ID": "101", "GSW_REFERENCE_ID": 3},
            CampaignStatusRequest(101, 3),
        ),
        (
            {"GSW_AGENT_REQ_TYPE": "CampaignStatusRequest", "GSW_APPLICATION_ID": [], "GSW_REFERENCE_ID": {}, "x": 1},
            CampaignStatusRequest(0),
        ),
        (UPDATE, UpdateCallCompletionStats(101, 15, "Camp")),
        (
            UPDATE
            | {
                "GSW_RECORD_HANDLE": "15",
                "GSW_CALL_RESULT": "33",
                "GSW_FROM": 0,
                "GSW_UNTIL": 86400,
                "GSW_PHONE": "4155550100",
                "GSW_PHONE_TYPE": 4,
                "GSW_CAMPAIGN_GROUP_NAME": "Camp@Group",
                "GSW_REFERENCE_ID": 12,
                "GSW_CHAIN_ID": 9,
                "CUSTOMER_CODE": 22,
            },
            UpdateCallCompletionStats(
                101,
                15,
                "Camp",
                "Camp@Group",
                None,
                {
                    "call_result": 33,
                    "daily_from": 0,
                    "daily_till": 86400,
                    "contact_info": "4155550100",
                    "contact_info_type": 4,
                },
                {"CUSTOMER_CODE": 22},
                12,
            ),
        ),
        (PROCESSED | {"GSW_CALL_RESULT": 500}, RecordProcessed(101, 15, "Camp", "List", None, {"call_result": 500})),
    ],
)
def test_given_a_valid_message_when_parsed_then_it_is_typed(message, expected):
    assert parse(json.dumps(message)) == expected


@pytest.mark.parametrize(
    ("message", "error", "said"),
    [
        ("", 101, "not JSON"),
        ("[1]", 101, "an array"),
        ("{}", 101, "neither Request nor GSW_AGENT_REQ_TYPE"),
        ('{"Request": "RequestAgentReady", "Request": "RequestAgentLogout"}', 101, "twice"),
        ('{"x":' * 50_000, 101, "nested"),
        ({"Request": "RequestAgentReady", "GSW_AGENT_REQ_TYPE": "RecordProcessed"}, 101, "exclude"),
        ({"Request": "RequestRedirectCall"}, 101, "RequestRedirectCall"),
        ({"Request": ["RequestAgentReady"]}, 101, "an array"),
        ({"GSW_AGENT_REQ_TYPE": "recordprocessed"}, 101, "no known request"),
        ({"GSW_AGENT_REQ_TYPE": "ChainedRecordRequest"}, 101, "not supported by this version"),
        ({"Request": "RequestAgentLogin"}, 102, "AgentID"),
        ({"Request": "RequestReleaseCall"}, 102, "ConnID"),
        ({"Request": "RequestAgentLogin", "AgentID": 5}, 103, "AgentID"),
        ({"Request": "RequestAgentLogin", "AgentID": " "}, 103, "AgentID"),
        ({"Request": "RequestAgentLogin", "AgentID": "a" * 256}, 103, "AgentID"),
        ({"Request": "RequestAgentLogin", "AgentID": "a", "ReferenceID": 1.5}, 103, "ReferenceID"),
        ({"Request": "RequestAgentReady", "WorkMode": 3}, 103, "WorkMode"),
        *((UPDATE | {key: None}, 103, key) for key in ("GSW_APPLICATION_ID", "GSW_RECORD_HANDLE", "GSW_CAMPAIGN_NAME")),
        *(
            ({k: v for k, v in PROCESSED.items() if k != key}, 102, key)
            for key in ("GSW_APPLICATION_ID", "GSW_RECORD_HANDLE", "GSW_CAMPAIGN_NAME", "GSW_CALLING_LIST")
        ),
        (UPDATE | {"GSW_RECORD_HANDLE": 0}, 103, "GSW_RECORD_HANDLE"),
        (UPDATE | {"GSW_RECORD_HANDLE": True}, 103, "GSW_RECORD_HANDLE"),
        (UPDATE | {"GSW_RECORD_HANDLE": "١٥"}, 103, "GSW_RECORD_HANDLE"),
        (UPDATE | {"GSW_CALL_RESULT": -1}, 103, "GSW_CALL_RESULT"),
        (UPDATE | {"GSW_CALL_RESULT": 33.0}, 103, "GSW_CALL_RESULT"),
        (UPDATE | {"GSW_CALL_RESULT": 2**31}, 103, "GSW_CALL_RESULT"),
        (UPDATE | {"GSW_FROM": 86401}, 103, "GSW_FROM"),
        (UPDATE | {"GSW_FROM": 100, "GSW_UNTIL": 100}, 103, "GSW_UNTIL"),
        (UPDATE | {"GSW_PHONE": ""}, 103, "GSW_PHONE"),
        (UPDATE | {"GSW_PHONE": 4155550100}, 103, "GSW_PHONE"),
        (UPDATE | {"GSW_PHONE": "1" * 129}, 103, "GSW_PHONE"),
        (UPDATE | {"GSW_PHONE": "1\x002"}, 101, "NUL"),
        (UPDATE | {"GSW_PHONE_TYPE": 12}, 103, "GSW_PHONE_TYPE"),
        (PROCESSED | {"GSW_TREATMENT": "RecordTreatAgent"}, 103, "GSW_TREATMENT"),
        (UPDATE | {"GSW_CALLRESULT": 3}, 103, "GSW_CALLRESULT"),
        (UPDATE | {"GSW_REFERENCE_ID": "x"}, 103, "GSW_REFERENCE_ID"),
    ],
)
def test_given_a_wrong_message_when_parsed_then_number_and_attribute_are_told(message, error, said):
    refusal = refused(message if isinstance(message, str) else json.dumps(message))

    assert (int(refusal.error), said in refusal.description) == (error, True), refusal.description


@pytest.mark.parametrize("name", sorted(LATER_REQUESTS))
def test_given_each_later_request_when_parsed_then_101_and_the_reference_comes_back(name):
    answer = events.refusal(refused(text({"GSW_AGENT_REQ_TYPE": name, "GSW_REFERENCE_ID": "44"})), 101)

    assert answer == {
        "GSW_USER_EVENT": "Error",
        "GSW_APPLICATION_ID": 101,
        "GSW_ERROR": "Invalid Request",
        "GSW_ERROR_NUMBER": 101,
        "GSW_ERROR_DESCRIPTION": f'GSW_AGENT_REQ_TYPE "{name}" is not supported by this version',
        "GSW_REFERENCE_ID": "44",
    }


def test_given_a_refused_agent_request_when_answered_then_it_is_an_event_error():
    refusal = refused(text({"Request": "RequestAgentReady", "AgentID": "a1", "ReferenceID": 5, "X": 1}))

    assert events.refusal(refusal, 101) == {
        "Event": "EventError",
        "AgentID": "a1",
        "ErrorCode": 103,
        "ErrorMessage": 'Invalid Attribute Value: "X" is no attribute of this request',
        "ReferenceID": 5,
    }


@pytest.mark.parametrize(
    ("attribute", "value", "column", "stored"),
    [
        ("CUSTOMER_CODE", 22, "customer_code", 22),
        ("CUSTOMER_CODE", "-22", "customer_code", -22),
        ("BALANCE", 1, "balance", 1.0),
        ("BALANCE", "1.25", "balance", 1.25),
        ("Customer Name", "12345678", "customer_name", "12345678"),
        ("Customer Name", "", "customer_name", ""),
        ("Customer Name", 22, "customer_name", "22"),
        ("DATE_LAST_SERVED", "10/30/2008", "last_served", datetime(2008, 10, 30)),  # noqa: DTZ001
        ("DATE_LAST_SERVED", "10/30/08 13:05", "last_served", datetime(2008, 10, 30, 13, 5)),  # noqa: DTZ001
        ("DATE_LAST_SERVED", "2008-10-30 13:05:07", "last_served", datetime(2008, 10, 30, 13, 5, 7)),  # noqa: DTZ001
        ("DATE_LAST_SERVED", "2008-10-30T13:05+02:00", "last_served", datetime(2008, 10, 30, 11, 5)),  # noqa: DTZ001
    ],
)
def test_given_a_custom_field_when_updated_then_its_column_gets_the_typed_value(attribute, value, column, stored):
    request = parse(text(UPDATE, **{"GSW_CALL_RESULT": 40, attribute: value}))

    updates = column_updates(request, FIELDS, RECORD)

    assert updates == {"call_result": 40, column: stored}
    assert type(updates[column]) is type(stored)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("CUSTOMER_CODE", "many"),
        ("CUSTOMER_CODE", True),
        ("CUSTOMER_CODE", 2**31),
        ("BALANCE", "nan"),
        ("BALANCE", 10**400),
        ("BALANCE", False),
        ("Customer Name", "123456789"),
        ("Customer Name", None),
        ("Customer Name", ["x"]),
        ("GRADE", "AB"),
        ("DATE_LAST_SERVED", "25/45/00"),
        ("DATE_LAST_SERVED", "yesterday"),
        ("DATE_LAST_SERVED", 0),
        ("DATE_LAST_SERVED", "0001-01-01T00:00+14:00"),
        ("secret", "the column's name is not its attribute"),
        ("customer_code", 1),
        ("", "x"),
    ],
)
def test_given_a_wrong_custom_value_when_updated_then_103_names_the_attribute(attribute, value):
    request = parse(text(UPDATE, **{attribute: value}))

    with pytest.raises(DesktopRequestError) as caught:
        column_updates(request, FIELDS)

    assert caught.value.error is GswError.INVALID_ATTRIBUTE_VALUE
    assert attribute in caught.value.description


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({"GSW_FROM": 64_800}, False),
        ({"GSW_UNTIL": 28_800}, False),
        ({"GSW_UNTIL": 28_801}, True),
        ({"GSW_FROM": 70_000, "GSW_UNTIL": 80_000}, True),
    ],
)
def test_given_one_end_of_the_window_when_updated_then_it_is_held_against_the_other(change, valid):
    request = parse(text(UPDATE | change))

    if valid:
        assert len(column_updates(request, FIELDS, RECORD)) == len(change)
    else:
        with pytest.raises(DesktopRequestError, match="GSW_UNTIL"):
            column_updates(request, FIELDS, RECORD)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=4).map(json.dumps))
def test_given_any_text_when_parsed_then_it_is_refused_with_an_answer(message):
    answer = events.refusal(refused(message), 101)

    assert answer["GSW_ERROR_NUMBER"] == 101
    json.dumps(answer)


keys = st.sampled_from(
    ["GSW_AGENT_REQ_TYPE", "Request", "AgentID", "ConnID", "Reason", "ReferenceID", "GSW_REFERENCE_ID", *UPDATE]
    + ["GSW_CALLING_LIST", "GSW_CALL_RESULT", "GSW_FROM", "GSW_UNTIL", "GSW_PHONE", "GSW_TREATMENT"]
    + [column.send_attribute for column in FIELDS]
)
names = st.sampled_from(
    ["RecordProcessed", "UpdateCallCompletionStats", "CampaignStatusRequest", "RequestAgentLogin", "RequestReleaseCall"]
)
values = st.recursive(
    names | st.none() | st.booleans() | st.integers() | st.integers(0, 9).map(str) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@given(
    st.dictionaries(keys | st.text(max_size=4), values, max_size=5),
    st.sampled_from([{}, UPDATE, PROCESSED, {"Request": "RequestAgentNotReady"}]),
)
def test_given_any_pairs_when_parsed_then_a_request_or_an_answer_with_its_number(pairs, base):
    answer = None
    try:
        request = parse(json.dumps(pairs | base))
        if isinstance(request, UpdateCallCompletionStats | RecordProcessed):
            updates = column_updates(request, FIELDS, RECORD)
            assert set(updates) <= {column.name for column in FIELDS} | {
                "call_result",
                "daily_from",
                "daily_till",
                "contact_info",
                "contact_info_type",
            }
    except RefusedRequest as refusal:
        answer = events.refusal(refusal, 101)
    except DesktopRequestError as error:
        answer = events.refusal_of(request, error, 101)

    if answer is not None:
        number = answer.get("GSW_ERROR_NUMBER", answer.get("ErrorCode"))
        assert number in (101, 102, 103)
        json.dumps(answer)


# What desktops receive.

NAMES = events.CampaignNames(101, "Camp", "of sales", "Camp@Group", "")
COMMON = {
    "GSW_APPLICATION_ID": 101,
    "GSW_CAMPAIGN_NAME": "Camp",
    "GSW_CAMPAIGN_DESCRIPTION": "of sales",
    "GSW_CAMPAIGN_GROUP_NAME": "Camp@Group",
}
GROUP = {"GSW_CAMPAIGN_GROUP_DESCRIPTION": ""}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            events.campaign_started(NAMES, DialMode.PREDICTIVE_AND_SEIZE, 9),
            COMMON | {"GSW_CAMPAIGN_MODE": "Predictive with Seizing", "GSW_REFERENCE_ID": 9},
        ),
        (events.campaign_loaded(NAMES), COMMON | GROUP),
        (events.campaign_stopped(NAMES), COMMON | GROUP),
        (events.campaign_unloaded(NAMES), COMMON | GROUP),
        (events.campaign_group_assigned(NAMES), COMMON | GROUP),
        (
            events.campaign_mode_changed(NAMES, DialMode.PROGRESSIVE),
            COMMON | GROUP | {"GSW_CAMPAIGN_MODE": "Progressive"},
        ),
    ],
)
def test_given_a_campaign_notification_when_built_then_its_data_is_exactly_the_manuals(message, expected):
    event = message.pop("GSW_USER_EVENT")

    assert message == expected
    assert event in (
        "CampaignStarted",
        "CampaignLoaded",
        "CampaignStopped",
        "CampaignUnloaded",
        "CampaignGroupAssigned",
        "CampaignModeChanged",
    )


@pytest.mark.parametrize(
    ("request_", "event"), [(UPDATE, "UpdateCallCompletionStatsAcknowledge"), (PROCESSED, "RecordProcessedAcknowledge")]
)
def test_given_a_record_request_when_acknowledged_then_data_and_reference_are_the_manuals(request_, event):
    request = parse(text(request_, GSW_REFERENCE_ID=5))

    assert events.acknowledgement(request, 101, "List", "Camp") == {
        "GSW_USER_EVENT": event,
        "GSW_APPLICATION_ID": 101,
        "GSW_CALLING_LIST": "List",
        "GSW_CAMPAIGN_NAME": "Camp",
        "GSW_RECORD_HANDLE": 15,
        "GSW_REFERENCE_ID": 5,
    }


def test_given_requests_when_refused_by_the_sessions_then_each_dialect_gets_its_error():
    error = DesktopRequestError(GswError.RECORD_NOT_FOUND)

    record = events.refusal_of(parse(text(UPDATE, GSW_REFERENCE_ID=1)), error, 101)
    agent = events.refusal_of(RequestAgentReady("a1", 2), error, 101)

    assert (record["GSW_ERROR"], record["GSW_ERROR_NUMBER"], record["GSW_REFERENCE_ID"]) == ("Record Not Found", 109, 1)
    assert (agent["Event"], agent["ErrorCode"], agent["ReferenceID"]) == ("EventError", 109, 2)
    assert events.refusal_of(CampaignStatusRequest(), error, 101) is None


def attached(**changes):
    values = {
        "application_dbid": 101,
        "tenant_name": "Alpha",
        "campaign_name": "Camp",
        "campaign_description": "",
        "campaign_group_dbid": 106,
        "campaign_group_name": "Camp@Group",
        "campaign_group_description": "evening",
        "calling_list": "List",
        "switch_dbid": 105,
        "record": RECORD,
        "record_handle": 15,
        "record_uri": record_uri("127.0.0.1", 8080, 15),
        "attempt_guid": "guid",
        "tz_offset_s": -28_800,
        "fields": FIELDS,
    }
    return AttachedRecord(**(values | changes))


def test_given_a_record_when_attached_then_default_keys_and_custom_fields_are_there():
    assert user_data(attached()) == {
        "GSW_RECORD_HANDLE": 15,
        "GSW_RECORD_URI": "http://127.0.0.1:8080/records/15",
        "GSW_APPLICATION_ID": 101,
        "GSW_TENANT_NAME": "Alpha",
        "GSW_CAMPAIGN_NAME": "Camp",
        "GSW_CAMPAIGN_DESCRIPTION": "",
        "GSW_CAMPAIGN_GROUP_DBID": "106",
        "GSW_CAMPAIGN_GROUP_NAME": "Camp@Group",
        "GSW_CAMPAIGN_GROUP_DESCRIPTION": "evening",
        "GSW_CALLING_LIST": "List",
        "GSW_SWITCH_DBID": 105,
        "GSW_PHONE": "+14155550100",
        "GSW_PHONE_TYPE": 4,
        "GSW_CHAIN_ID": 9,
        "GSW_CHAIN_N": 1,
        "GSW_ATTEMPTS": 2,
        "GSW_CALL_RESULT": 28,
        "GSW_CALL_ATTEMPT_GUID": "guid",
        "GSW_TZ_OFFSET": -28_800,
        "GSW_FROM": 28_800,
        "GSW_UNTIL": 64_800,
        "InteractionType": "Outbound",
        "InteractionSubtype": "OutboundNew",
        "GSW_AGENT_ID": "agent7",
        "GSW_SCHEDULED_TIME": 1_700_000_000,
        "CUSTOMER_CODE": 22,
        "BALANCE": "1.5",
        "Customer Name": "Zoë",
        "DATE_LAST_SERVED": "2008-10-30 13:00:00",
    }


def test_given_a_predictive_attempt_when_attached_then_goal_and_times_are_there_and_a_desktop_may_send_all_back():
    times = AttemptTimes(
        dialing_at=datetime(2024, 1, 1, tzinfo=UTC), agent_answered_at=datetime(2024, 1, 1, 0, 0, 9, 999, tzinfo=UTC)
    )
    data = user_data(
        attached(
            call_result=33,
            dial_mode=DialMode.PREDICTIVE,
            optimize_by=OptimizeBy.OVERDIAL_RATE,
            optimize_goal=3,
            times=times,
            tz_name="PST",
            processing_at=datetime(2023, 12, 31, 23, 59, 58, tzinfo=UTC),
        )
    )

    assert (data["GSW_OPTIMIZE_BY"], data["GSW_OPTIMIZE_GOAL"], data["GSW_CALL_RESULT"]) == (2, 3, 33)
    assert (data["GSW_DIALING"], data["GSW_AGENT_ANSWERED"]) == (1_704_067_200, 1_704_067_209)
    assert data["GSW_START_PROCESSING"] == 1_704_067_198

    echoed = parse(json.dumps(data | {"GSW_AGENT_REQ_TYPE": "RecordProcessed"}))
    assert column_updates(echoed, FIELDS, RECORD)["call_result"] == 33
    assert set(data) > ATTACHED_KEYS - {
        "GSW_ABANDONED",
        "GSW_ACW_COMPLETED",
        "GSW_AGENT_RELEASED",
        "GSW_CPD_COMPLETED",
        "GSW_RELEASED",
    }


def test_given_a_progressive_attempt_when_attached_then_no_goal_is_there():
    data = user_data(attached(dial_mode=DialMode.PROGRESSIVE, optimize_by=OptimizeBy.WAIT_TIME, optimize_goal=3))

    assert "GSW_OPTIMIZE_BY" not in data
    assert "GSW_OPTIMIZE_GOAL" not in data


def test_given_a_call_event_when_built_then_it_carries_call_and_data():
    data = {"GSW_RECORD_HANDLE": 15}
    event = events.call_event(
        events.DesktopEvent.ESTABLISHED,
        agent_id="a1",
        conn_id="c9",
        this_dn="sip:a1@pbx",
        other_dn="+14155550100",
        user_data=data,
    )

    assert event == {
        "Event": "EventEstablished",
        "AgentID": "a1",
        "ConnID": "c9",
        "ThisDN": "sip:a1@pbx",
        "OtherDN": "+14155550100",
        "CallType": 3,
        "UserData": data,
    }
    assert events.agent_event(events.DesktopEvent.AGENT_NOT_READY, "a1", 4, "lunch") == {
        "Event": "EventAgentNotReady",
        "AgentID": "a1",
        "Reason": "lunch",
        "ReferenceID": 4,
    }


def test_given_an_ipv6_host_when_a_record_uri_is_made_then_it_is_bracketed():
    assert record_uri("::1", 8080, 3) == "http://[::1]:8080/records/3"
