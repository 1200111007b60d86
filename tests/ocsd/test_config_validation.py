"""Pre-dial validation in the configuration: what goes together, and that no message quotes an address."""

import pytest

from ocsd.config.options import HTTP_CONNECTION_POOL_SIZE, PRE_DIAL_VALIDATION, VALIDATION_URI, lookup
from ocsd.sessions.planner import Planner, ValidationRules
from tests.ocsd.test_config_loader import VALID, problems_of, read

URI = "https://rules.example.net/may-dial?token=secret"
ON = "pre-dial-validation = true"
WHERE = f'validation-uri = "{URI}"'


def with_options(application: str = "", campaign: str = "", group: str = "", calling_list: str = "") -> str:
    text = VALID
    for anchor, options in (
        ('lists = [{ calling_list = "L" }]', campaign),
        ('trunks = ["carrier"]', group),
        ('time_zone = "Eastern"', calling_list),
    ):
        if options:
            text = text.replace(anchor, f"{anchor}\noptions = {{ {options} }}", 1)
    return text + (f"[application]\noptions = {{ {application} }}\n" if application else "")


@pytest.mark.parametrize(
    "levels",
    [
        {"application": f"{ON}, {WHERE}"},
        {"application": WHERE, "campaign": ON},
        {"campaign": WHERE, "calling_list": ON},
        {"calling_list": f"{ON}, {WHERE}"},
        {"group": f"{ON}, {WHERE}"},
        {"application": ON, "calling_list": "pre-dial-validation = false"},
        {"application": ON, "calling_list": WHERE},
    ],
)
def test_given_an_address_where_the_look_up_finds_it_when_read_then_it_is_accepted(levels):
    assert read(with_options(**levels)).calling_list("L").name == "L"


@pytest.mark.parametrize(
    ("levels", "where"),
    [
        ({"application": ON}, "application.options.pre-dial-validation"),
        ({"calling_list": ON}, "calling_lists[0].options.pre-dial-validation"),
        ({"group": ON, "campaign": 'validation-uri = ""'}, "campaign_groups[0].options.pre-dial-validation"),
        ({"application": WHERE, "calling_list": f'{ON}, validation-uri = ""'}, "calling_lists[0].options"),
    ],
)
def test_given_validation_without_an_address_when_read_then_it_is_refused_where_it_was_turned_on(levels, where):
    (problem,) = problems_of(with_options(**levels))

    assert where in problem
    assert "needs validation-uri" in problem


@pytest.mark.parametrize(
    "uri",
    ["ftp://rules.example.net/secret", "rules.example.net/secret", "http:///secret", "http://a b/secret", "secret"],
)
def test_given_an_address_that_is_none_when_read_then_it_is_refused_and_not_quoted(uri):
    problems = problems_of(with_options(application=f'{ON}, validation-uri = "{uri}"'))

    assert any("must be an http or https address" in problem for problem in problems)
    assert "secret" not in str(problems)


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("http-response-timeout = 0", "from 1 to 120"),
        ("http-connection-pool-size = 0", "from 1 to 1000"),
        ("validation-timeout-call-result = 54", "from 0 to 53"),
        ("validation-answer-lifetime = 1", "from 5 to 3600"),
    ],
)
def test_given_a_number_out_of_range_when_read_then_the_range_is_named(option, allowed):
    assert any(allowed in problem for problem in problems_of(with_options(application=option)))


def test_given_a_variable_in_the_address_when_read_then_it_is_taken_from_the_environment():
    text = with_options(application=f'{ON}, validation-uri = "https://rules.example.net/${{TOKEN}}"')

    assert lookup(read(text, environ={"TOKEN": "t1"}), VALIDATION_URI) == "https://rules.example.net/t1"
    assert any("TOKEN is not set" in problem for problem in problems_of(text))


def test_given_options_on_several_levels_when_planned_then_each_list_has_its_own_rules():
    text = with_options(
        application=f"{WHERE}, http-response-timeout = 7, validation-timeout-call-result = 41",
        campaign=ON,
        calling_list="validation-answer-lifetime = 60, validation-refusal-call-result = 51",
    )
    config = read(text)

    assert Planner(config, config.campaign_groups[0]).validation(1) == ValidationRules(URI, 7.0, 60.0, 51, 41)
    assert lookup(config, HTTP_CONNECTION_POOL_SIZE) == 20
    assert lookup(config, PRE_DIAL_VALIDATION) is False


def test_given_no_validation_when_planned_then_there_are_no_rules():
    config = read(VALID)

    assert Planner(config, config.campaign_groups[0]).validation(1) is None
