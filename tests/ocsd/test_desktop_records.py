"""Requests and events of the desktop protocol about records, table by table of the manual."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ocsd.config.objects import FormatField
from ocsd.model.enums import ChainAttr, GswError, RecordType
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import CallingRecord
from ocsd.protocols import desktop_events as events
from ocsd.protocols.desktop import RefusedRequest, parse
from ocsd.protocols.desktop_records import (
    CallbackType,
    DoNotCall,
    RecordProcessed,
    RecordReject,
    RecordReschedule,
    RecordTreatment,
    RequestMakeCall,
    RequestRecordCancel,
    ScheduledRecordReschedule,
)
from ocsd.protocols.desktop_times import local_text, manual_date_time, scheduled_instant

REJECT = {
    "GSW_AGENT_REQ_TYPE": "RecordReject",
    "GSW_APPLICATION_ID": 101,
    "GSW_CALLING_LIST": "List",
    "GSW_CAMPAIGN_NAME": "Camp",
    "GSW_RECORD_HANDLE": 15,
}
CANCEL = REJECT | {"GSW_AGENT_REQ_TYPE": "RequestRecordCancel"}
CANCEL_PHONE = {"GSW_AGENT_REQ_TYPE": "RequestRecordCancel", "GSW_APPLICATION_ID": 101, "GSW_PHONE": "+12125550100"}
DNC = REJECT | {"GSW_AGENT_REQ_TYPE": "DoNotCall"}
DNC_PHONE = CANCEL_PHONE | {"GSW_AGENT_REQ_TYPE": "DoNotCall"}
RESCHEDULE = {
    "GSW_AGENT_REQ_TYPE": "RecordReschedule",
    "GSW_APPLICATION_ID": 101,
    "GSW_CALLBACK_TYPE": "Personal",
    "GSW_CAMPAIGN_NAME": "Camp",
    "GSW_DATE_TIME": "10/30/2026 13:05",
    "GSW_RECORD_HANDLE": 15,
}
SCHEDULED = RESCHEDULE | {"GSW_AGENT_REQ_TYPE": "ScheduledRecordReschedule"}
PROCESSED = REJECT | {"GSW_AGENT_REQ_TYPE": "RecordProcessed"}
MAKE_CALL = {"Request": "RequestMakeCall", "RecordHandle": 15}

AT = datetime(2026, 10, 30, 13, 5)  # noqa: DTZ001 - a local time
NEW_YORK = ZoneInfo("America/New_York")


def without(pairs, key):
    return {k: v for k, v in pairs.items() if k != key}


def refused(pairs) -> RefusedRequest:
    with pytest.raises(RefusedRequest) as caught:
        parse(json.dumps(pairs))
    return caught.value


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (REJECT, RecordReject(101, 15, "Camp", "List")),
        (
            REJECT | {"GSW_CAMPAIGN_GROUP_NAME": "Camp@G", "GSW_REFERENCE_ID": "7", "GSW_ATTEMPTS": 3},
            RecordReject(101, 15, "Camp", "List", "Camp@G", "7"),
        ),
        (CANCEL, RequestRecordCancel(101, 15, campaign_name="Camp", calling_list="List")),
        (
            # "record handle (highest), phone (middle), and customer ID (lowest)": all are kept, the handle decides.
            CANCEL | {"GSW_PHONE": "+1212", "GSW_CUSTOMER_ID": 77, "GSW_CHAIN_ATTR": "RecordOnly"},
            RequestRecordCancel(101, 15, "+1212", "77", ChainAttr.RECORD_ONLY, "Camp", "List"),
        ),
        (CANCEL_PHONE, RequestRecordCancel(101, phone="+12125550100")),
        (
            without(CANCEL_PHONE, "GSW_PHONE") | {"GSW_CUSTOMER_ID": "C-9", "GSW_CHAIN_ATTR": "AllChain"},
            RequestRecordCancel(101, customer_id="C-9"),
        ),
        (
            CANCEL_PHONE | {"GSW_CAMPAIGN_NAME": "Camp"},
            RequestRecordCancel(101, phone="+12125550100", campaign_name="Camp"),
        ),
        (DNC, DoNotCall(101, 15, campaign_name="Camp", calling_list="List")),
        (
            DNC_PHONE | {"GSW_MESSAGE": "asked on the phone", "GSW_DURATION": "86400", "GSW_REFERENCE_ID": 5},
            DoNotCall(101, phone="+12125550100", message="asked on the phone", duration_s=86400, reference_id=5),
        ),
        (
            without(DNC_PHONE, "GSW_PHONE") | {"GSW_CUSTOMER_ID": "C-9", "GSW_CHAIN_ATTR": "RecordOnly"},
            DoNotCall(101, customer_id="C-9", chain_attr=ChainAttr.RECORD_ONLY),
        ),
        (RESCHEDULE, RecordReschedule(101, 15, "Camp", CallbackType.PERSONAL, AT)),
        (
            # "OCS ignores the status of the GSW_CHAIN_ATTR key when processing ... RescheduleRecord"
            RESCHEDULE | {"GSW_CALLBACK_TYPE": "Campaign", "GSW_CHAIN_ATTR": "no matter", "GSW_CALLING_LIST": "List"},
            RecordReschedule(101, 15, "Camp", CallbackType.CAMPAIGN, AT, "List"),
        ),
        (without(SCHEDULED, "GSW_CALLBACK_TYPE"), ScheduledRecordReschedule(101, 15, "Camp", None, AT)),
        (
            SCHEDULED | {"GSW_PHONE": "+12125550177", "GSW_REFERENCE_ID": 1},
            ScheduledRecordReschedule(101, 15, "Camp", CallbackType.PERSONAL, AT, "+12125550177", reference_id=1),
        ),
        (
            PROCESSED | {"GSW_TREATMENT": "RecordTreatPersonal", "GSW_CHAIN_ATTR": "AllChain"},
            RecordProcessed(101, 15, "Camp", "List", treatment=RecordTreatment.PERSONAL),
        ),
        (
            PROCESSED | {"GSW_TREATMENT": "RecordTreatCampaign", "GSW_CALL_RESULT": 7},
            RecordProcessed(101, 15, "Camp", "List", changes={"call_result": 7}, treatment=RecordTreatment.CAMPAIGN),
        ),
        (MAKE_CALL, RequestMakeCall(15)),
        (
            {
                "Request": "RequestMakeCall",
                "AgentID": "a1",
                "OtherDN": "+1212",
                "UserData": {"GSW_RECORD_HANDLE": "15", "other": [1]},
                "ReferenceID": 3,
            },
            RequestMakeCall(15, "a1", "+1212", 3),
        ),
        (MAKE_CALL | {"UserData": {"GSW_RECORD_HANDLE": 15}}, RequestMakeCall(15)),
    ],
)
def test_given_a_request_as_in_the_manual_when_parsed_then_it_is_typed(message, expected):
    assert parse(json.dumps(message)) == expected


MANDATORY = [
    (REJECT, ("GSW_APPLICATION_ID", "GSW_CALLING_LIST", "GSW_CAMPAIGN_NAME", "GSW_RECORD_HANDLE")),
    (CANCEL, ("GSW_APPLICATION_ID", "GSW_CALLING_LIST", "GSW_CAMPAIGN_NAME")),
    (CANCEL_PHONE, ("GSW_APPLICATION_ID", "GSW_PHONE")),
    (DNC, ("GSW_APPLICATION_ID", "GSW_CALLING_LIST", "GSW_CAMPAIGN_NAME")),
    (DNC_PHONE, ("GSW_APPLICATION_ID", "GSW_PHONE")),
    (
        RESCHEDULE,
        ("GSW_APPLICATION_ID", "GSW_CALLBACK_TYPE", "GSW_CAMPAIGN_NAME", "GSW_DATE_TIME", "GSW_RECORD_HANDLE"),
    ),
    (SCHEDULED, ("GSW_APPLICATION_ID", "GSW_CAMPAIGN_NAME", "GSW_DATE_TIME", "GSW_RECORD_HANDLE")),
    (MAKE_CALL, ("RecordHandle",)),
]


@pytest.mark.parametrize(("message", "key"), [(m, key) for m, keys in MANDATORY for key in keys])
def test_given_a_mandatory_attribute_is_missing_when_parsed_then_102_names_it(message, key):
    refusal = refused(without(message, key) | {"GSW_REFERENCE_ID" if "Request" not in message else "ReferenceID": 9})

    assert refusal.error is GswError.ATTRIBUTE_NOT_FOUND
    assert key in refusal.description
    assert refusal.reference_id == 9


@pytest.mark.parametrize(
    ("message", "error", "said"),
    [
        (REJECT | {"GSW_RECORD_HANDLE": 0}, 103, "GSW_RECORD_HANDLE"),
        (REJECT | {"GSW_CHAIN_ATTR": "AllChain"}, 103, "GSW_CHAIN_ATTR"),
        (REJECT | {"CUSTOMER_CODE": 3}, 103, "CUSTOMER_CODE"),
        (CANCEL_PHONE | {"GSW_CHAIN_ATTR": "allchain"}, 103, "GSW_CHAIN_ATTR"),
        (CANCEL_PHONE | {"GSW_CHAIN_ATTR": None}, 103, "GSW_CHAIN_ATTR"),
        (CANCEL_PHONE | {"GSW_PHONE": 12125550100}, 103, "GSW_PHONE"),
        (CANCEL_PHONE | {"GSW_CUSTOMER_ID": True}, 103, "GSW_CUSTOMER_ID"),
        (CANCEL_PHONE | {"GSW_RECORD_HANDLE": "x", "GSW_CALLING_LIST": "L"}, 103, "GSW_RECORD_HANDLE"),
        (CANCEL_PHONE | {"GSW_MESSAGE": "x"}, 103, "GSW_MESSAGE"),
        (DNC_PHONE | {"GSW_DURATION": 0}, 103, "GSW_DURATION"),
        (DNC_PHONE | {"GSW_DURATION": 1.5}, 103, "GSW_DURATION"),
        (DNC_PHONE | {"GSW_MESSAGE": "m" * 256}, 103, "GSW_MESSAGE"),
        (DNC_PHONE | {"GSW_PHONE": "1" * 65}, 103, "GSW_PHONE"),
        (RESCHEDULE | {"GSW_CALLBACK_TYPE": "personal"}, 103, "GSW_CALLBACK_TYPE"),
        (RESCHEDULE | {"GSW_PHONE": "+1212"}, 103, "GSW_PHONE"),
        (RESCHEDULE | {"GSW_DATE_TIME": 1_800_000_000}, 103, "GSW_DATE_TIME"),
        # "OCS cannot convert the string to a time (for example, 25/45/00)"
        *(
            (RESCHEDULE | {"GSW_DATE_TIME": written}, 111, "GSW_DATE_TIME")
            for written in ("25/45/00", "", "tomorrow", "2026-10-30 13:05", "10/30/2026 25:00", "02/29/2027 10:00")
        ),
        *((SCHEDULED | {"GSW_DATE_TIME": written}, 111, "GSW_DATE_TIME") for written in ("10/30/026 13:05", "10:00")),
        (PROCESSED | {"GSW_TREATMENT": "RecordTreat"}, 103, "GSW_TREATMENT"),
        (PROCESSED | {"GSW_TREATMENT": 1}, 103, "GSW_TREATMENT"),
        (PROCESSED | {"GSW_AGENT_REQ_TYPE": "UpdateCallCompletionStats", "GSW_TREATMENT": "x"}, 103, "GSW_TREATMENT"),
        (MAKE_CALL | {"UserData": []}, 103, "UserData"),
        (MAKE_CALL | {"UserData": {"GSW_RECORD_HANDLE": 16}}, 103, "differ"),
        (MAKE_CALL | {"RecordHandle": -1}, 103, "RecordHandle"),
    ],
)
def test_given_a_wrong_attribute_when_parsed_then_number_and_attribute_are_told(message, error, said):
    refusal = refused(message)

    assert (int(refusal.error), said in refusal.description) == (error, True), refusal.description


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "local", "utc"),
    [
        ("10/30/2026 13:05", AT, datetime(2026, 10, 30, 17, 5, tzinfo=UTC)),
        ("10/30/26 13:05", AT, datetime(2026, 10, 30, 17, 5, tzinfo=UTC)),
        ("1/2/2027 9:05", datetime(2027, 1, 2, 9, 5), datetime(2027, 1, 2, 14, 5, tzinfo=UTC)),  # noqa: DTZ001
        ("12/24/2026", datetime(2026, 12, 24), datetime(2026, 12, 24, 5, 0, tzinfo=UTC)),  # noqa: DTZ001
        # Clocks go from 01:59:59 to 03:00:00 on 2027-03-14: RFC 5545 reads 02:30 with the offset before the gap.
        ("03/14/2027 02:30", datetime(2027, 3, 14, 2, 30), datetime(2027, 3, 14, 7, 30, tzinfo=UTC)),  # noqa: DTZ001
        # 01:30 occurs twice on 2026-11-01: the first, still in daylight saving time.
        ("11/01/2026 01:30", datetime(2026, 11, 1, 1, 30), datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),  # noqa: DTZ001
    ],
)
def test_given_a_local_time_when_scheduled_then_it_is_meant_in_the_records_zone(written, local, utc):
    assert manual_date_time(written) == local
    assert scheduled_instant(local, NEW_YORK, datetime(2026, 6, 1, tzinfo=UTC)) == utc


def test_given_a_skipped_time_when_scheduled_then_its_text_is_the_time_that_clocks_show():
    instant = scheduled_instant(datetime(2027, 3, 14, 2, 30), NEW_YORK, datetime(2026, 6, 1, tzinfo=UTC))  # noqa: DTZ001

    assert local_text(instant, NEW_YORK) == "03/14/2027 03:30"


@pytest.mark.parametrize(
    ("local", "now"),
    [
        (AT, datetime(2026, 10, 30, 17, 5, tzinfo=UTC)),
        (AT, datetime(2026, 10, 31, tzinfo=UTC)),
        (datetime(1, 1, 1), datetime(2026, 10, 31, tzinfo=UTC)),  # noqa: DTZ001
        (datetime(9999, 12, 31, 23, 59), datetime(2026, 10, 31, tzinfo=UTC)),  # noqa: DTZ001
    ],
)
def test_given_a_time_that_has_passed_or_cannot_be_when_scheduled_then_110(local, now):
    with pytest.raises(DesktopRequestError) as caught:
        scheduled_instant(local, NEW_YORK, now)

    assert caught.value.error is GswError.INVALID_TIME


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2037, 12, 31)).map(lambda t: t.replace(second=0, microsecond=0)),  # noqa: DTZ001
    st.sampled_from(["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]),
)
def test_given_any_minute_when_scheduled_and_written_then_it_reads_the_same_unless_clocks_skip_it(local, name):
    zone = ZoneInfo(name)
    instant = scheduled_instant(local, zone, datetime(2020, 1, 1, tzinfo=UTC))
    shown = manual_date_time(local_text(instant, zone))

    exists = instant.astimezone(zone).replace(tzinfo=None) == local
    assert (shown == local) is exists
    if not exists:
        assert timedelta(0) < shown - local <= timedelta(hours=1)
    for minutes in (30, 60, 120):  # of a time that occurs twice, the first
        assert (instant - timedelta(minutes=minutes)).astimezone(zone).replace(tzinfo=None) != local


@given(st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001
def test_given_an_instant_with_seconds_when_written_then_it_never_reads_as_earlier(moment):
    instant = moment.replace(tzinfo=UTC)
    assume((instant + timedelta(minutes=1)).astimezone(NEW_YORK).fold == 0)

    shown = manual_date_time(local_text(instant, NEW_YORK))

    assert timedelta(0) <= shown - instant.astimezone(NEW_YORK).replace(tzinfo=None) < timedelta(hours=1, minutes=1)


# --- answers --------------------------------------------------------------------------------------------------------

RECORD = CallingRecord(
    list_dbid=1,
    record_id=77,
    contact_info="+14155550100",
    contact_info_type=4,
    record_type=RecordType.PERSONAL_CALLBACK,
    call_result=33,
    attempt=2,
    dial_sched_time=1_800_000_000,
    call_time=1_700_000_000,
    daily_from_s=28_800,
    daily_till_s=64_800,
    tz_dbid=3,
    chain_id=9,
    chain_n=1,
    agent_id="agent7",
    user_fields={"customer_code": 22, "customer_name": "Zoë", "secret": "x", "balance": None},
)
FIELDS = (
    FormatField(name="customer_code", type="int", send_attribute="CUSTOMER_CODE"),
    FormatField(name="customer_name", type="varchar", length=8, send_attribute="Customer Name"),
    FormatField(name="balance", type="float", send_attribute="BALANCE"),
    FormatField(name="secret", type="varchar"),
)


def test_given_a_rejected_record_when_acknowledged_then_the_keys_are_the_manuals():
    request = RecordReject(101, 15, "Camp", "List", reference_id=7)

    assert events.acknowledgement(request, 101, "List", "Camp") == {
        "GSW_USER_EVENT": "RecordRejectAcknowledge",
        "GSW_APPLICATION_ID": 101,
        "GSW_CALLING_LIST": "List",
        "GSW_CAMPAIGN_NAME": "Camp",
        "GSW_RECORD_HANDLE": 15,
        "GSW_REFERENCE_ID": 7,
    }


@pytest.mark.parametrize(
    ("request_", "incomplete", "answer"),
    [
        (
            RequestRecordCancel(101, 15, campaign_name="Camp", calling_list="List"),
            False,
            {
                "GSW_USER_EVENT": "RecordCancelAcknowledge",
                "GSW_APPLICATION_ID": 101,
                "GSW_CALLING_LIST": "List",
                "GSW_CAMPAIGN_NAME": "Camp",
                "GSW_CHAIN_ATTR": "AllChain",
                "GSW_RECORD_HANDLE": 15,
            },
        ),
        (
            RequestRecordCancel(101, phone="+1212", chain_attr=ChainAttr.RECORD_ONLY, reference_id="x1"),
            True,
            {
                "GSW_USER_EVENT": "RecordCancelAcknowledge",
                "GSW_APPLICATION_ID": 101,
                "GSW_CHAIN_ATTR": "RecordOnly",
                "GSW_MESSAGE": "Incomplete processing: record(s) on desktop",
                "GSW_PHONE": "+1212",
                "GSW_REFERENCE_ID": "x1",
            },
        ),
        (
            DoNotCall(101, customer_id="C-9", duration_s=60),
            False,
            {
                "GSW_USER_EVENT": "DoNotCallAcknowledge",
                "GSW_APPLICATION_ID": 101,
                "GSW_CHAIN_ATTR": "AllChain",
                "GSW_CUSTOMER_ID": "C-9",
                "GSW_DURATION": 60,
            },
        ),
    ],
)
def test_given_a_withdrawal_when_acknowledged_then_the_keys_are_the_manuals(request_, incomplete, answer):
    assert events.withdrawal_acknowledgement(request_, 101, incomplete=incomplete) == answer


@pytest.mark.parametrize(
    ("request_", "event", "more"),
    [
        (RecordReschedule(101, 15, "Camp", CallbackType.PERSONAL, AT), "RecordRescheduleAcknowledge", {}),
        (
            ScheduledRecordReschedule(101, 15, "Camp", None, AT, "+1212", reference_id=2),
            "ScheduledRecordRescheduleAcknowledge",
            {"GSW_PHONE": "+1212", "GSW_REFERENCE_ID": 2},
        ),
    ],
)
def test_given_a_callback_when_acknowledged_then_the_keys_are_the_manuals(request_, event, more):
    answer = events.reschedule_acknowledgement(
        request_, 101, "List", "Camp", callback_type=CallbackType.PERSONAL, date_time="10/30/2026 13:05"
    )

    assert answer == {
        "GSW_USER_EVENT": event,
        "GSW_APPLICATION_ID": 101,
        "GSW_CALLBACK_TYPE": "Personal",
        "GSW_CALLING_LIST": "List",
        "GSW_CAMPAIGN_NAME": "Camp",
        "GSW_DATE_TIME": "10/30/2026 13:05",
        "GSW_RECORD_HANDLE": 15,
        **more,
    }


@pytest.mark.parametrize(("value", "shown"), [(77, 77), ("C-9", "C-9"), (None, "")])
def test_given_a_record_on_another_desktop_when_cancelled_then_the_keys_are_the_manuals(value, shown):
    notification = events.record_cancel(
        101, "List", "Camp", RECORD, 15, chain_attr=ChainAttr.RECORD_ONLY, customer_id=value
    )

    assert notification == {
        "GSW_USER_EVENT": "RecordCancel",
        "GSW_APPLICATION_ID": 101,
        "GSW_CALLING_LIST": "List",
        "GSW_CAMPAIGN_NAME": "Camp",
        "GSW_RECORD_HANDLE": 15,
        "GSW_CHAIN_ATTR": "RecordOnly",
        "GSW_PHONE": "+14155550100",
        "GSW_CUSTOMER_ID": shown,
    }


def test_given_a_scheduled_call_when_sent_then_the_keys_and_types_are_the_manuals():
    message = events.scheduled_call(
        101, "List", "Camp", RECORD, 15, date_time="01/15/2027 03:00", tz_offset_s=-18000, fields=FIELDS
    )

    assert message == {
        "GSW_USER_EVENT": "ScheduledCall",
        "GSW_APPLICATION_ID": 101,
        "GSW_ATTEMPTS": 2,
        "GSW_CALL_RESULT": 33,
        "GSW_CALL_TIME": "1700000000",
        "GSW_CALLBACK_TYPE": "Personal",
        "GSW_CALLING_LIST": "List",
        "GSW_CAMPAIGN_NAME": "Camp",
        "GSW_CHAIN_ID": 9,
        "GSW_DATE_TIME": "01/15/2027 03:00",
        "GSW_FROM": 28_800,
        "GSW_PHONE": "+14155550100",
        "GSW_PHONE_TYPE": 4,
        "GSW_RECORD_HANDLE": 15,
        "GSW_TZ_OFFSET": -18000,
        "GSW_UNTIL": 64_800,
        "CUSTOMER_CODE": 22,
        "Customer Name": "Zoë",
    }


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (RecordType.PERSONAL_CALLBACK, CallbackType.PERSONAL),
        (RecordType.PERSONAL_RESCHEDULED, CallbackType.PERSONAL),
        (RecordType.CAMPAIGN_CALLBACK, CallbackType.CAMPAIGN),
        (RecordType.CAMPAIGN_RESCHEDULED, CallbackType.CAMPAIGN),
    ],
)
def test_given_a_scheduled_type_when_told_then_personal_is_what_belongs_to_one_agent(kind, told):
    assert events.callback_type_of(kind) is told


@pytest.mark.parametrize("message", [REJECT, CANCEL_PHONE, DNC, RESCHEDULE, SCHEDULED])
def test_given_a_record_request_that_cannot_be_done_when_answered_then_it_is_a_desktop_error(message):
    request = parse(json.dumps(message | {"GSW_REFERENCE_ID": 4}))

    answer = events.refusal_of(request, DesktopRequestError(GswError.NO_CALL_FOUND, "handle 15"), 101)

    assert answer == {
        "GSW_USER_EVENT": "Error",
        "GSW_APPLICATION_ID": 101,
        "GSW_ERROR": "No call found for the record handle",
        "GSW_ERROR_NUMBER": 112,
        "GSW_ERROR_DESCRIPTION": "handle 15",
        "GSW_REFERENCE_ID": 4,
    }
