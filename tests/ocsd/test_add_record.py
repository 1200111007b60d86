"""AddRecord: the manual's table, attribute by attribute."""

import json
from datetime import datetime

import pytest

from ocsd.model.enums import ContactInfoType, GswError, RecordStatus, RecordType
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols import desktop_events as events
from ocsd.protocols.add_record import AddRecord, add_record
from ocsd.protocols.desktop import RefusedRequest, parse
from ocsd.protocols.desktop_pairs import ATTACHED_KEYS, Pairs

ADD = {
    "GSW_APPLICATION_ID": 101,
    "GSW_CALLING_LIST": "List",
    "GSW_CAMPAIGN_NAME": "Camp",
    "GSW_PHONE": "4155670000",
    "GSW_TZ_NAME": "PST",
}
CALLBACK = ADD | {"GSW_RECORD_TYPE": 6, "GSW_DATE_TIME": "12/12/2029 13:00"}
AT = datetime(2029, 12, 12, 13, 0)  # noqa: DTZ001 - a local time


def add(**changes) -> AddRecord:
    return AddRecord(101, "4155670000", "PST", "List", "Camp", **changes)


def parsed(pairs) -> AddRecord:
    taken = Pairs(pairs)
    request = add_record(taken)
    taken.finish()
    return request


def refused(pairs) -> DesktopRequestError:
    with pytest.raises(DesktopRequestError) as caught:
        parsed(pairs)
    return caught.value


def test_given_the_mandatory_attributes_when_parsed_then_all_others_have_the_manuals_defaults():
    request = parsed(ADD)

    assert request == add()
    assert (request.daily_from_s, request.daily_till_s, request.phone_type) == (28_800, 64_800, 2)
    assert (request.record_type, request.record_status) == (RecordType.GENERAL, RecordStatus.READY)
    assert (request.attempts, request.call_time, request.call_result, request.local_time) == (0, None, None, None)
    assert (request.chain_id, request.chain_n, request.agent_id, request.custom) == (None, None, None, {})


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"GSW_CAMPAIGN_GROUP_NAME": "Camp@G"}, {"campaign_group_name": "Camp@G"}),
        ({"GSW_RECORD_HANDLE": "15"}, {"record_handle": 15}),
        ({"GSW_AGENT_ID": "agent1"}, {"agent_id": "agent1"}),
        ({"GSW_AGENT_ID": 7}, {"agent_id": "7"}),
        ({"GSW_AGENT_ID": 0}, {}),
        ({"GSW_AGENT_ID": "0"}, {}),
        ({"GSW_ATTEMPTS": 3}, {"attempts": 3}),
        ({"GSW_CALL_RESULT": 28}, {"call_result": 28}),
        ({"GSW_CALL_RESULT": 0}, {"call_result": 0}),
        ({"GSW_CALL_TIME": "1225360800"}, {"call_time": 1_225_360_800}),
        ({"GSW_CALL_TIME": "0"}, {}),
        ({"GSW_CHAIN_ID": 9}, {"chain_id": 9}),
        ({"GSW_CHAIN_ID": 9, "GSW_CHAIN_N": 0}, {"chain_id": 9}),
        ({"GSW_CHAIN_ID": 9, "GSW_CHAIN_N": "2"}, {"chain_id": 9, "chain_n": 2}),
        ({"GSW_CHAIN_N": 0}, {}),
        ({"GSW_FROM": 0, "GSW_UNTIL": 86_400}, {"daily_from_s": 0, "daily_till_s": 86_400}),
        ({"GSW_FROM": "64799"}, {"daily_from_s": 64_799}),
        ({"GSW_PHONE_TYPE": 0}, {"phone_type": 0}),
        ({"GSW_PHONE_TYPE": int(max(ContactInfoType))}, {"phone_type": 11}),
        ({"GSW_RECORD_STATUS": 1}, {}),
        ({"GSW_RECORD_STATUS": 3}, {"record_status": RecordStatus.UPDATED}),
        ({"GSW_RECORD_STATUS": 5}, {"record_status": RecordStatus.CANCELED}),
        ({"GSW_RECORD_TYPE": 2, "GSW_DATE_TIME": "0"}, {}),
        ({"GSW_DATE_TIME": 0}, {}),
        # A rescheduled record without a date is due at once.
        ({"GSW_RECORD_TYPE": 3}, {"record_type": RecordType.CAMPAIGN_RESCHEDULED}),
        ({"GSW_RECORD_TYPE": 4}, {"record_type": RecordType.PERSONAL_RESCHEDULED}),
        *(
            (
                {"GSW_RECORD_TYPE": number, "GSW_DATE_TIME": "12/12/2029 13:00"},
                {"record_type": RecordType(number), "local_time": AT},
            )
            for number in (3, 4, 5, 6)
        ),
        (
            {"GSW_RECORD_TYPE": 6, "GSW_DATE_TIME": "12/12/29"},
            {"record_type": RecordType.CAMPAIGN_CALLBACK, "local_time": AT.replace(hour=0)},
        ),
        ({"GSW_REFERENCE_ID": "7"}, {"reference_id": "7"}),
        ({"CUSTOMER_CODE": 22, "any": [1]}, {"custom": {"CUSTOMER_CODE": 22, "any": [1]}}),
        ({"GSW_TENANT_NAME": "Attached", "GSW_SWITCH_DBID": 3}, {}),
    ],
)
def test_given_an_attribute_of_the_table_when_parsed_then_it_is_taken(more, expected):
    assert parsed(ADD | more) == add(**expected)


@pytest.mark.parametrize("written", ["PST", " PST", "' PST", "'PST'", '"PST"', "PST' ", "\tPST"])
def test_given_the_stray_blanks_and_quotes_of_orchestration_when_parsed_then_the_zones_name_is_left(written):
    assert parsed(ADD | {"GSW_TZ_NAME": written}) == add()


@pytest.mark.parametrize("key", ADD)
def test_given_a_mandatory_attribute_is_missing_when_parsed_then_102_names_it(key):
    refusal = refused({k: v for k, v in ADD.items() if k != key})

    assert (refusal.error, key in refusal.description) == (GswError.ATTRIBUTE_NOT_FOUND, True)


@pytest.mark.parametrize(
    ("pairs", "error", "said"),
    [
        (ADD | {"GSW_APPLICATION_ID": "x"}, 103, "GSW_APPLICATION_ID"),
        (ADD | {"GSW_CALLING_LIST": ""}, 103, "GSW_CALLING_LIST"),
        (ADD | {"GSW_PHONE": 4155670000}, 103, "GSW_PHONE"),
        (ADD | {"GSW_PHONE": "1" * 129}, 103, "GSW_PHONE"),
        (ADD | {"GSW_TZ_NAME": "' "}, 103, "GSW_TZ_NAME"),
        (ADD | {"GSW_TZ_NAME": None}, 103, "GSW_TZ_NAME"),
        (ADD | {"GSW_RECORD_HANDLE": 0}, 103, "GSW_RECORD_HANDLE"),
        (ADD | {"GSW_AGENT_ID": "a" * 33}, 103, "GSW_AGENT_ID"),
        (ADD | {"GSW_AGENT_ID": ""}, 103, "GSW_AGENT_ID"),
        (ADD | {"GSW_ATTEMPTS": -1}, 103, "GSW_ATTEMPTS"),
        (ADD | {"GSW_CALL_RESULT": 1.5}, 103, "GSW_CALL_RESULT"),
        (ADD | {"GSW_CALL_TIME": "yesterday"}, 103, "GSW_CALL_TIME"),
        (ADD | {"GSW_CHAIN_ID": 0}, 103, "GSW_CHAIN_ID"),
        (ADD | {"GSW_CHAIN_ID": 2**31}, 103, "GSW_CHAIN_ID"),
        (ADD | {"GSW_CHAIN_ID": 9, "GSW_CHAIN_N": -1}, 103, "GSW_CHAIN_N"),
        # "To assign a specific number ... the agent must include both attributes"
        (ADD | {"GSW_CHAIN_N": 2}, 102, "GSW_CHAIN_ID"),
        (ADD | {"GSW_FROM": 64_800}, 103, "GSW_UNTIL"),
        (ADD | {"GSW_UNTIL": 28_800}, 103, "GSW_FROM"),
        (ADD | {"GSW_FROM": 10, "GSW_UNTIL": 10}, 103, "GSW_UNTIL"),
        (ADD | {"GSW_UNTIL": 86_401}, 103, "GSW_UNTIL"),
        (ADD | {"GSW_PHONE_TYPE": 12}, 103, "GSW_PHONE_TYPE"),
        *((ADD | {"GSW_RECORD_STATUS": number}, 103, "GSW_RECORD_STATUS") for number in (0, 2, 4, 6, 7, 8, 9, 10, "x")),
        *((ADD | {"GSW_RECORD_TYPE": number}, 103, "GSW_RECORD_TYPE") for number in (0, 1, 7, 8, True, "General")),
        (ADD | {"GSW_RECORD_TYPE": 5}, 102, "GSW_DATE_TIME"),
        (ADD | {"GSW_RECORD_TYPE": 6, "GSW_DATE_TIME": "0"}, 102, "GSW_DATE_TIME"),
        (ADD | {"GSW_DATE_TIME": "12/12/2029 13:00"}, 103, "General"),
        (CALLBACK | {"GSW_DATE_TIME": "25/45/00"}, 111, "GSW_DATE_TIME"),
        (CALLBACK | {"GSW_DATE_TIME": ""}, 111, "GSW_DATE_TIME"),
        (CALLBACK | {"GSW_DATE_TIME": False}, 103, "GSW_DATE_TIME"),
        (ADD | {"GSW_REFERENCE_ID": "x"}, 103, "GSW_REFERENCE_ID"),
        (ADD | {"GSW_CHAIN_ATTR": "AllChain"}, 103, "GSW_CHAIN_ATTR"),
        (ADD | {"GSW_SURPRISE": 1}, 103, "GSW_SURPRISE"),
    ],
)
def test_given_a_wrong_attribute_when_parsed_then_number_and_attribute_are_told(pairs, error, said):
    refusal = refused(pairs)

    assert (int(refusal.error), said in refusal.description) == (error, True), refusal.description


def test_given_attached_data_sent_back_when_parsed_then_only_what_the_table_has_counts():
    attached = dict.fromkeys(ATTACHED_KEYS, "whatever") | {
        "GSW_ATTEMPTS": 1,
        "GSW_CHAIN_ID": 9,
        "GSW_CHAIN_N": 0,
        "GSW_AGENT_ID": "agent1",
        "GSW_TZ_NAME": "PST",
    }

    assert parsed(ADD | attached) == add(attempts=1, chain_id=9, agent_id="agent1")


def test_given_a_desktop_when_it_adds_a_record_then_the_request_and_its_acknowledgement_are_the_manuals():
    request = parse(json.dumps(ADD | {"GSW_AGENT_REQ_TYPE": "AddRecord", "GSW_REFERENCE_ID": 5}))

    assert request == add(reference_id=5)
    assert list(events.add_record_acknowledgement(request, 101, "List", "Camp").items()) == [
        ("GSW_USER_EVENT", "AddRecordAcknowledge"),
        ("GSW_APPLICATION_ID", 101),
        ("GSW_CALLING_LIST", "List"),
        ("GSW_CAMPAIGN_NAME", "Camp"),
        ("GSW_REFERENCE_ID", 5),
    ]
    error = DesktopRequestError(GswError.ADD_RECORD_ERROR, "why")
    assert events.refusal_of(request, error, 101) == events.gsw_error(101, GswError.ADD_RECORD_ERROR, "why", 5)


@pytest.mark.parametrize("key", ["GSW_APPLICATION_ID", "GSW_CALLING_LIST", "GSW_CAMPAIGN_NAME"])
def test_given_a_desktop_with_a_handle_when_a_name_is_missing_then_102_as_ever(key):
    message = ADD | {"GSW_AGENT_REQ_TYPE": "AddRecord", "GSW_RECORD_HANDLE": 15, "GSW_REFERENCE_ID": 5}
    del message[key]

    with pytest.raises(RefusedRequest) as caught:
        parse(json.dumps(message))

    assert (caught.value.error, caught.value.reference_id) == (GswError.ATTRIBUTE_NOT_FOUND, 5)
