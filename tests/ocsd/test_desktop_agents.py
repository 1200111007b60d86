"""ReadyTime and LogOut on the wire, table by table of the manual."""

import json

import pytest

from ocsd.protocols import desktop_agents as agents
from ocsd.protocols.desktop import RefusedRequest, parse
from ocsd.protocols.desktop_agents import LogOut, ReadyTime

READY_TIME = {
    "GSW_AGENT_REQ_TYPE": "ReadyTime",
    "GSW_READY_TIME": 20,
    "GSW_APPLICATION_ID": 101,
    "GSW_RECORD_HANDLE": 15,
}
LOG_OUT = {"GSW_AGENT_REQ_TYPE": "LogOut", "GSW_APPLICATION_ID": 101, "GSW_CAMPAIGN_NAME": "Camp"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (READY_TIME, ReadyTime(101, 15, 20)),
        (READY_TIME | {"GSW_READY_TIME": "1", "GSW_REFERENCE_ID": "9"}, ReadyTime(101, 15, 1, "9")),
        (READY_TIME | {"GSW_CAMPAIGN_NAME": 5, "anything": [1]}, ReadyTime(101, 15, 20)),  # "ignored by OCS"
        (LOG_OUT, LogOut(101, "Camp")),
        (
            LOG_OUT | {"GSW_CAMPAIGN_GROUP_NAME": "Camp@G", "GSW_REFERENCE_ID": 3, "GSW_TENANT_NAME": "T"},
            LogOut(101, "Camp", "Camp@G", 3),
        ),
    ],
)
def test_given_a_message_of_the_manual_when_parsed_then_it_is_the_typed_request(message, expected):
    assert parse(json.dumps(message)) == expected


@pytest.mark.parametrize(
    ("message", "number", "attribute"),
    [
        ({k: v for k, v in READY_TIME.items() if k != "GSW_READY_TIME"}, 102, "GSW_READY_TIME"),
        ({k: v for k, v in READY_TIME.items() if k != "GSW_RECORD_HANDLE"}, 102, "GSW_RECORD_HANDLE"),
        ({k: v for k, v in READY_TIME.items() if k != "GSW_APPLICATION_ID"}, 102, "GSW_APPLICATION_ID"),
        (READY_TIME | {"GSW_READY_TIME": 0}, 103, "GSW_READY_TIME"),
        (READY_TIME | {"GSW_READY_TIME": -4}, 103, "GSW_READY_TIME"),
        (READY_TIME | {"GSW_READY_TIME": 1.5}, 103, "GSW_READY_TIME"),
        (READY_TIME | {"GSW_READY_TIME": True}, 103, "GSW_READY_TIME"),
        ({k: v for k, v in LOG_OUT.items() if k != "GSW_CAMPAIGN_NAME"}, 102, "GSW_CAMPAIGN_NAME"),
        ({k: v for k, v in LOG_OUT.items() if k != "GSW_APPLICATION_ID"}, 102, "GSW_APPLICATION_ID"),
        (LOG_OUT | {"GSW_CAMPAIGN_NAME": 7}, 103, "GSW_CAMPAIGN_NAME"),
        (LOG_OUT | {"nonsense": 7}, 103, "nonsense"),
    ],
)
def test_given_a_wrong_message_when_parsed_then_the_manuals_number_and_the_attribute_are_named(
    message, number, attribute
):
    with pytest.raises(RefusedRequest) as refused:
        parse(json.dumps(message | {"GSW_REFERENCE_ID": 8}))

    assert (int(refused.value.error), refused.value.reference_id) == (number, 8)
    assert attribute in refused.value.description


def test_given_requests_when_answered_then_the_messages_are_those_of_the_manuals_tables():
    assert agents.ready_time_acknowledgement(ReadyTime(101, 15, 20, "7"), 101) == {
        "GSW_USER_EVENT": "ReadyTimeAcknowledge",
        "GSW_APPLICATION_ID": 101,
        "GSW_RECORD_HANDLE": 15,
        "GSW_REFERENCE_ID": "7",
    }
    assert agents.log_out_time(LogOut(101, "Camp", reference_id=4), 101, "Camp", 25) == {
        "GSW_USER_EVENT": "LogOut",
        "GSW_APPLICATION_ID": 101,
        "GSW_CAMPAIGN_NAME": "Camp",
        "GSW_LOGOUT_TIME": 25,
        "GSW_REFERENCE_ID": 4,
    }
    assert agents.log_out_acknowledgement(101, "Camp") == {
        "GSW_USER_EVENT": "LogOutAcknowledge",
        "GSW_APPLICATION_ID": 101,
        "GSW_CAMPAIGN_NAME": "Camp",
    }
