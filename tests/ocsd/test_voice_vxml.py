"""RFC 5552: the address of a dialog, the record's attributes in it; what comes back with the BYE."""

from urllib.parse import unquote

import pytest

from ocsd.config.dialog_address import MAX_URI_CHARACTERS, dialog_uri
from ocsd.config.objects import FormatField
from ocsd.voice.user_data import correction, user_data_of, wanted_headers
from ocsd.voice.vxml import user_data_headers


def test_given_a_document_when_its_dialog_is_asked_for_then_reserved_characters_are_escaped():
    uri = dialog_uri("sip:10.0.0.7:5060", "http://web/app.vxml?a=1;b=2&c=ü", [("handle", "12"), ("who", "A @ B")])

    assert uri.startswith("sip:dialog@10.0.0.7:5060;voicexml=http://web/app.vxml%3Fa%3D1%3Bb%3D2&c%3D%C3%BC;")
    assert uri.endswith(";handle=12;who=A%20%40%20B")
    found = dict(part.partition("=")[::2] for part in uri.split(";")[1:])
    assert unquote(found["voicexml"]) == "http://web/app.vxml?a=1;b=2&c=ü"


def test_given_more_parameters_than_fit_when_written_then_the_first_ones_are_there():
    given = [("first", "1"), ("long", "x" * 300), ("last", "2")]

    uri = dialog_uri("sip:10.0.0.7:5060", "http://web/app.vxml", given)

    assert uri.endswith(";first=1;last=2")
    assert len(uri) <= MAX_URI_CHARACTERS


def test_given_attributes_when_sent_as_headers_then_only_what_a_header_can_hold_goes():
    headers = user_data_headers({"GSW_RECORD_HANDLE": 7, "name": "Zoë\r\nX: y", "none": None, "bad key": 1, "e": ""})

    assert headers == (("X-Genesys-GSW_RECORD_HANDLE", "7"), ("X-Genesys-name", "Zo%C3%AB%0D%0AX: y"))


FIELDS = (
    FormatField(name="confirmed", type="int", send_attribute="CONFIRMED"),
    FormatField(name="remark", length=5, send_attribute="REMARK"),
    FormatField(name="inside"),
)


def test_given_headers_of_a_bye_when_read_then_result_and_fields_are_corrected():
    assert wanted_headers(FIELDS) == (
        "User-to-User",
        "X-Genesys-GSW_CALL_RESULT",
        "X-Genesys-CONFIRMED",
        "X-Genesys-REMARK",
    )
    data = user_data_of([("x-genesys-confirmed", "1"), ("X-Genesys-GSW_CALL_RESULT", "33"), ("Other", "2")])

    assert correction(data, FIELDS) == (33, {"confirmed": 1}, "")


def test_given_user_to_user_in_hexadecimal_when_read_then_it_is_the_same():
    value = b"CONFIRMED=2&remark=a%20b".hex() + ";encoding=hex"

    assert correction(user_data_of([("User-to-User", value)]), FIELDS) == (None, {"confirmed": 2, "remark": "a b"}, "")
    assert user_data_of([("User-to-User", "zz;encoding=hex")]) == {}


def test_given_values_that_do_not_fit_when_read_then_the_rest_counts():
    result, updates, wrong = correction({"CONFIRMED": "yes", "REMARK": "123456", "GSW_CALL_RESULT": "999"}, FIELDS)

    assert (result, updates) == (None, {})
    assert (
        wrong
        == "GSW_CALL_RESULT is no call result; CONFIRMED is no int, or too long; REMARK is no varchar, or too long"
    )


@pytest.mark.parametrize("said", ["\N{SUPERSCRIPT TWO}", "3" * 5000, "\N{ARABIC-INDIC DIGIT THREE}3", "-1", ""])
def test_given_a_result_that_only_looks_like_a_number_when_read_then_it_is_refused(said):
    assert correction({"GSW_CALL_RESULT": said}, FIELDS) == (None, {}, "GSW_CALL_RESULT is no call result")


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e999"])
def test_given_a_number_that_is_none_when_read_then_it_is_refused(value):
    fields = (FormatField(name="due", type="float", send_attribute="DUE"),)
    assert correction({"DUE": value}, fields) == (None, {}, "DUE is no float, or too long")
