"""Options: types, ranges, levels, look-up, and the page made from the registry."""

from pathlib import Path

import pytest

from ocsd.config import cpa_options as cpa
from ocsd.config import options as opt
from ocsd.config.objects import Application, CallingList, Campaign, CampaignGroup, Configuration
from ocsd.config.option import Level, Option, OptionValue
from ocsd.config.options import check_option, lookup
from ocsd.config.options_page import page
from ocsd.dnc.schedule import times_of_day

PAGE = Path(__file__).parents[2] / "docs" / "options.md"


def tree(**options: dict[str, OptionValue]) -> tuple[Configuration, CampaignGroup, CallingList]:
    """A tree whose application, campaign, group and calling_list carry the options given."""
    group = CampaignGroup(
        dbid=1, name="C@G", campaign="C", group="G", trunks=("t",), options=options.get("group", {})
    )  # fmt: skip
    calling_list = CallingList(dbid=1, name="L", table_access="A", options=options.get("calling_list", {}))
    configuration = Configuration(
        application=Application(options=options.get("application", {})),
        campaigns=(Campaign(dbid=1, name="C", tenant="T", options=options.get("campaign", {})),),
        campaign_groups=(group,),
        calling_lists=(calling_list,),
    )
    return configuration, group, calling_list


def test_given_an_option_nowhere_when_looked_up_then_the_default_holds():
    configuration, group, calling_list = tree()

    assert lookup(configuration, opt.CPN_DIGITS, group=group, calling_list=calling_list) == ""
    assert lookup(configuration, cpa.CALL_TIMEGUARD_TIMEOUT, group=group) == 8000


def test_given_an_option_on_all_levels_when_levels_are_taken_away_then_the_next_weaker_one_holds():
    levels = ["calling_list", "group", "campaign", "application"]
    for strongest in range(len(levels)):
        carried = {level: {"CPNDigits": str(index)} for index, level in enumerate(levels) if index >= strongest}
        configuration, group, calling_list = tree(**carried)

        found = lookup(configuration, opt.CPN_DIGITS, group=group, calling_list=calling_list)

        assert found == str(strongest)


def test_given_no_group_when_looked_up_then_its_options_do_not_count():
    configuration, group, _ = tree(group={"stale_clean_timeout": 5}, application={"stale_clean_timeout": 7})

    assert lookup(configuration, opt.STALE_CLEAN_TIMEOUT) == 7
    assert lookup(configuration, opt.STALE_CLEAN_TIMEOUT, campaign=configuration.campaigns[0]) == 7
    assert lookup(configuration, opt.STALE_CLEAN_TIMEOUT, group=group) == 5


def test_given_a_name_when_looked_up_then_it_is_the_same_as_the_option_and_an_unknown_one_is_an_error():
    configuration, group, _ = tree(group={"call_wait_in_queue_timeout": "3"})

    assert lookup(configuration, "call_wait_in_queue_timeout", group=group) == 3.0
    with pytest.raises(KeyError):
        lookup(configuration, "no_such_option", group=group)


@pytest.mark.parametrize(
    ("option", "given", "parsed"),
    [
        (opt.RECORD_PROCESSED, True, True),
        (opt.RECORD_PROCESSED, "yes", True),
        (opt.RECORD_PROCESSED, "True", True),
        (opt.RECORD_PROCESSED, "no", False),
        (opt.RECORD_PROCESSED, "false", False),
        (cpa.CALL_TIMEGUARD_TIMEOUT, "500", 500),
        (cpa.CALL_TIMEGUARD_TIMEOUT, 60_000.0, 60_000),
        (opt.DIALING_RATE_LIMIT, 5, 5.0),
        (opt.MAX_OVERDIAL_RATE, "2.5", 2.5),
        (opt.CPN_DIGITS, 12025550100, "12025550100"),
        (opt.CPN_DIGITS, "+12025550100", "+12025550100"),
        (opt.CPN_DISPLAY_NAME, "Müller & Söhne", "Müller & Söhne"),
        (cpa.CALL_ANSWER_TYPE_RECOGNITION, "no_am_detection", "no_am_detection"),
        (opt.AGENT_LOGOUT_PREVIEW_CALL_RESULT, -1, -1),
        (opt.AGENT_LOGOUT_PREVIEW_CALL_RESULT, "53", 53),
        (opt.DNC_REREAD_AT, "", ""),
        (opt.DNC_REREAD_AT, "23:59", "23:59"),
        (opt.DNC_REREAD_AT, " 02:30, 14:30,00:00 ", "02:30, 14:30,00:00"),
    ],
)
def test_given_an_allowed_value_when_parsed_then_it_has_the_type_of_the_option(option, given, parsed):
    found = option.parse(given)

    assert found == parsed
    assert type(found) is type(parsed) is type(option.default)


@pytest.mark.parametrize(
    ("option", "given"),
    [
        (opt.RECORD_PROCESSED, 1),
        (opt.RECORD_PROCESSED, "on"),
        (cpa.CALL_TIMEGUARD_TIMEOUT, True),
        (cpa.CALL_TIMEGUARD_TIMEOUT, 499),
        (cpa.CALL_TIMEGUARD_TIMEOUT, 60_001),
        (cpa.CALL_TIMEGUARD_TIMEOUT, 1000.5),
        (cpa.CALL_TIMEGUARD_TIMEOUT, "fast"),
        (opt.CALL_WAIT_CONNECTED_TIMEOUT, 14),
        (opt.MAX_OVERDIAL_RATE, 0),
        (opt.MAX_OVERDIAL_RATE, "nan"),
        (opt.MAX_OVERDIAL_RATE, 101),
        (opt.DIALING_RATE_LIMIT, -1),
        (opt.CPN_DIGITS, "+1 202"),
        (opt.CPN_DIGITS, "١٢"),
        (opt.CPN_DIGITS, "1\r\nX: y"),
        (opt.CPN_DISPLAY_NAME, 'a" <sip:x@y>'),
        (opt.CPN_DISPLAY_NAME, "a\r\nX: y"),
        (opt.CPN_DISPLAY_NAME, "x" * 65),
        (cpa.CALL_ANSWER_TYPE_RECOGNITION, "accurate"),
        (cpa.CALL_ANSWER_TYPE_RECOGNITION, "NO_AM_DETECTION"),
        (cpa.CPD_RECORDING_SHARE, 0),
        (cpa.CPD_RECORDING_RETENTION, 0),
        (cpa.CALL_RESULT_FEEDBACK, 1001),
        (cpa.CPA_MACHINE_PROBABILITY, 1.02),
        (cpa.CPA_HUMAN_SILENCE, -2),
        (cpa.CALL_ANSWER_TYPE_RECOGNITION, ["no_am_detection"]),
        (opt.AGENT_LOGOUT_PREVIEW_CALL_RESULT, -2),
        (opt.AGENT_LOGOUT_PREVIEW_CALL_RESULT, 54),
        (opt.DEFAULT_GENERAL_PRIORITY, 101),
        (opt.GENERAL_N_RECORDS, -1),
        (opt.DNC_REREAD_AT, "24:00"),
        (opt.DNC_REREAD_AT, "2:30"),
        (opt.DNC_REREAD_AT, "02:3014:30"),
        (opt.DNC_REREAD_AT, "02:30,"),
        (opt.DNC_REREAD_AT, "02:30 14:30"),
        (opt.DNC_REREAD_AT, "daily"),
        (opt.DNC_REREAD_AT, 230),
    ],
)
def test_given_a_value_out_of_type_or_range_when_parsed_then_the_error_says_what_is_allowed(option, given):
    with pytest.raises(ValueError, match=r"^must be ") as caught:
        option.parse(given)

    assert option.allowed in str(caught.value)


@pytest.mark.parametrize("option", opt.OPTIONS.values(), ids=opt.OPTIONS.keys())
def test_given_each_option_when_its_own_default_is_parsed_then_it_fits(option: Option):
    assert option.parse(option.default) == option.default
    assert option.levels
    assert option.name not in opt.UNSUPPORTED_OPTIONS


@pytest.mark.parametrize("option", opt.OPTIONS.values(), ids=opt.OPTIONS.keys())
@pytest.mark.parametrize("level", Level)
def test_given_each_option_and_level_when_checked_then_only_its_own_levels_pass(option: Option, level):
    wrong = check_option(option.name, option.default, level)

    if level in option.levels:
        assert wrong is None
    else:
        assert wrong is not None
        assert f"may not stand on a {level.value}" in wrong


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cpndigits", "did you mean CPNDigits?"),
        ("cpd_on_connect", "did you mean cpd-on-connect?"),
        ("call_wait_connect_timeout", "did you mean call_wait_connected_timeout"),
        ("agent_assignment", "did you mean agent-assignment"),
        ("zzz", "unknown option"),
        ("call_transfer_type", "this option of the manual is not supported by this version"),
        ("channel_num", "use num_of_channels of the campaign group"),
        ("am-detection-map", "this option of the manual is not supported by this version"),
        ("am-drop-field", "this option of the manual is not supported by this version"),
        ("cpa_human_silence", "did you mean cpa-human-silence or"),
        ("customer_id", "use customer_id_field of the calling list"),
        ("treatment-weekday-stattable", "use weekday_table of the calling list"),
    ],
)
def test_given_a_name_that_is_not_supported_when_checked_then_the_words_say_what_to_do(name, words):
    assert words in (check_option(name, 1, Level.APPLICATION) or "")


@pytest.mark.parametrize("text", ["", "23:59", "02:30, 14:30,00:00"])
def test_given_times_of_day_when_allowed_then_the_schedule_of_do_not_call_understands_them(text):
    assert len(times_of_day(opt.DNC_REREAD_AT.parse(text))) == text.count(":")


def test_given_no_options_when_priorities_are_looked_up_then_callbacks_go_before_rescheduled_before_general():
    configuration, group, _ = tree()

    callback, rescheduled, general = (
        lookup(configuration, f"default_{kind}_priority", group=group)
        for kind in ("campaigncallback", "campaignrescheduled", "general")
    )

    assert callback > rescheduled > general


def test_given_the_registry_when_the_page_is_made_then_the_one_in_docs_is_the_same():
    assert PAGE.read_text() == page(), "docs/options.md is out of date: run `make docs`"
