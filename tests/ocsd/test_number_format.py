"""Numbers as trunks want them, who calls, and headers that no value can break."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.header_templates import FIELDS, rendered, template_fault
from ocsd.sessions.identity import caller
from ocsd.sessions.number_format import written


@pytest.mark.parametrize(
    ("number", "form", "country", "wanted"),
    [
        ("+12125550100", "as_is", "US", "+12125550100"),
        ("12125550100", "e164", "US", "+12125550100"),
        ("2125550100", "e164", "US", "+12125550100"),
        ("+12125550100", "national", "US", "2125550100"),
        ("+442079460000", "national", "GB", "02079460000"),
        ("+442079460000", "national", "US", "011442079460000"),
        ("+4930123456", "international_prefix", "DE", "004930123456"),
        ("+12125550100", "international_prefix", "US", "01112125550100"),
        ("4930123456", "e164", "US", "+4930123456"),
        ("110", "e164", "DE", "110"),
        ("", "e164", "US", ""),
    ],
)
def test_given_a_number_when_written_for_a_trunk_then_it_is_in_its_form(number, form, country, wanted):
    assert written(number, form, country) == wanted


@given(
    st.sampled_from(["e164", "national", "international_prefix"]),
    st.sampled_from(["US", "GB", "DE", "FR"]),
    st.integers(2_000_000_000, 9_999_999_999),
)
def test_given_any_us_number_when_written_then_nothing_but_digits_and_plus_is_sent(form, country, number):
    assert set(written(f"+1{number}", form, country)) <= set("+0123456789")


def test_given_an_ordinary_call_when_asked_who_calls_then_from_and_asserted_identity_say_so():
    assert caller("12025550100", "192.0.2.1", "Acme", identity="pai", trunk_host="c:5060", restricted=False) == (
        "sip:12025550100@192.0.2.1",
        "Acme",
        (("P-Asserted-Identity", "<sip:12025550100@c:5060>"),),
    )


def test_given_a_restricted_number_when_asked_who_calls_then_only_the_carrier_is_told():
    from_uri, name, headers = caller("1202", "h", "Acme", identity="ppi", trunk_host="c:5060", restricted=True)

    assert (from_uri, name) == ("sip:anonymous@anonymous.invalid", "Anonymous")  # RFC 3323 4.1.1.3
    assert headers == (("P-Preferred-Identity", "<sip:1202@c:5060>"), ("Privacy", "id"))


def test_given_no_identity_when_asked_who_calls_then_from_alone_says_so():
    assert caller("1202", "h", "", identity="none", trunk_host="c:5060", restricted=False)[2] == ()
    assert caller("", "h", "", identity="pai", trunk_host="c:5060", restricted=False) == ("sip:anonymous@h", "", ())


@pytest.mark.parametrize(
    ("name", "template", "said"),
    [
        ("X-Campaign", "{campaign}", None),
        ("X-Id", "c={campaign_group};r={record_id}", None),
        ("Via", "x", "written by ocsd"),
        ("f", "x", "written by ocsd"),
        ("X Campaign", "x", "no name of a header"),
        ("X-A", "{password}", "knows no {password}"),
        ("X-A", "{campaign.__class__}", "knows no"),
        ("X-A", "{campaign!r}", "knows no"),
        ("X-A", "a\r\nVia: b", "printable"),
        ("X-A", "{", "no template"),
    ],
)
def test_given_a_header_template_when_checked_then_only_known_fields_and_free_names_pass(name, template, said):
    fault = template_fault(name, template)

    assert fault is None if said is None else said in fault


@given(st.text(max_size=300))
def test_given_any_value_when_rendered_then_it_stays_one_line_of_ascii(value):
    text = rendered("before {campaign} after", dict.fromkeys(FIELDS, value))

    assert text.isascii()
    assert text.isprintable()
    assert '"' not in text
    assert "<" not in text
    assert len(text) <= 512
