"""What a configuration asks of call progress analysis: levels, thresholds, trunks, tone plans, contradictions."""

import itertools
from pathlib import Path

import pytest

from ocsd.config import cpa_options as opt
from ocsd.config.analysis import LEVELS, THRESHOLDS, analysis_plan, country_of, plan_for, recognition
from ocsd.config.loader import load_configuration
from ocsd.config.objects import Application, CallingList, Campaign, CampaignGroup, Configuration, Trunk
from ocsd.config.option import OptionValue
from ocsd.demo.options import DemoOptions
from ocsd.demo.world import write_configuration
from ocsd.model.errors import ConfigError
from ocsd.sessions.planner import Planner
from telephony.contract import AnalysisSettings

NEW_YORK = "+12125550123"


def tree(**options: dict[str, OptionValue]) -> tuple[Configuration, CampaignGroup, Trunk]:
    """A tree whose application, campaign, group and trunk carry the options given."""
    trunk = Trunk(dbid=1, name="t", tenant="T", host="127.0.0.1", tone_plan="US", options=options.get("trunk", {}))
    group = CampaignGroup(dbid=1, name="C@G", campaign="C", group="G", trunks=("t",), options=options.get("group", {}))
    configuration = Configuration(
        application=Application(options=options.get("application", {})),
        trunks=(trunk,),
        campaigns=(Campaign(dbid=1, name="C", tenant="T", options=options.get("campaign", {})),),
        campaign_groups=(group,),
    )
    return configuration, group, trunk


def settings(**options: dict[str, OptionValue]) -> AnalysisSettings:
    found = analysis_plan(*tree(**options), NEW_YORK).settings
    assert found is not None
    return found


def recognised(level: str) -> dict[str, OptionValue]:
    return {"call_answer_type_recognition": level}


def test_given_no_option_when_a_call_is_planned_then_the_media_server_gets_its_own_defaults():
    found = analysis_plan(*tree(), NEW_YORK)

    assert found.settings == AnalysisSettings(tone_plan="US", after_bridge_ms=12000)
    assert (found.recorded_ratio, found.verified_ratio) == (0.0, 0.0)


def test_given_no_progress_detection_when_a_call_is_planned_then_nobody_listens_records_or_verifies():
    everything = recognised("no_progress_detection") | {"cpd-recording": True, "call-result-feedback": 1000}

    found = analysis_plan(*tree(group=everything), NEW_YORK)

    assert found.settings is None
    assert (found.recorded_ratio, found.verified_ratio) == (0.0, 0.0)


def test_given_no_am_detection_when_a_call_is_planned_then_tones_are_listened_for_and_machines_are_not():
    found = settings(campaign=recognised("no_am_detection"), group={"call_timeguard_timeout": 5000})

    assert (found.detect_machine, found.detect_tones, found.timeguard_ms) == (False, True, 5000)


def test_given_the_levels_of_machine_detection_when_they_rise_then_a_person_takes_more_silence_and_certainty():
    levels = [opt.POSITIVE_AM_DETECTION, opt.FULL_POSITIVE_AM_DETECTION, opt.ACCURATE_AM_DETECTION]

    found = [settings(group=recognised(level)) for level in levels]

    for quick, thorough in itertools.pairwise(found):
        assert quick.human_silence_ms < thorough.human_silence_ms < thorough.undecided_silence_ms
        assert quick.sure_silence_ms < thorough.sure_silence_ms
        assert quick.human_probability > thorough.human_probability
    assert all(one.detect_machine for one in found)


@pytest.mark.parametrize(
    ("group", "trunk", "application", "expected"),
    [
        ("telephony_preset", "accurate_am_detection", None, "accurate_am_detection"),
        ("telephony_preset", None, "no_am_detection", "positive_am_detection"),
        ("telephony_preset", "telephony_preset", None, "positive_am_detection"),
        (None, "no_progress_detection", "accurate_am_detection", "no_progress_detection"),
        ("no_am_detection", "accurate_am_detection", None, "no_am_detection"),
        (None, None, "full_positive_am_detection", "full_positive_am_detection"),
    ],
)
def test_given_recognition_on_several_objects_when_a_call_is_planned_then_the_most_specific_holds(
    group, trunk, application, expected
):
    given = {
        name: recognised(value)
        for name, value in (("group", group), ("trunk", trunk), ("application", application))
        if value is not None
    }

    assert recognition(*tree(**given)) == expected


@pytest.mark.parametrize(("name", "option"), THRESHOLDS.items(), ids=THRESHOLDS)
def test_given_a_threshold_of_a_campaign_when_a_call_is_planned_then_exactly_that_changes(name, option):
    value = type(option.default)(1)

    found = settings(campaign={option.name: value}, application={option.name: 0})

    assert getattr(found, name) == value
    for other in THRESHOLDS:
        if other != name:
            assert getattr(found, other) == getattr(AnalysisSettings(), other)


@pytest.mark.parametrize(("wanted", "undecided"), [(0.9, 1.0), (0.995, 0.5), (1.0, 0.0), (1.01, 0.0)])
def test_given_more_certainty_of_machines_when_a_call_is_planned_then_a_long_silence_needs_more_too(wanted, undecided):
    default = AnalysisSettings()
    doubt = 1.0 - settings(campaign={"cpa-machine-probability": wanted}).undecided_probability

    if wanted > 1.0:
        assert doubt < 0.0  # no probability is that high: only a recording tone makes a machine
    else:
        assert doubt == pytest.approx(undecided * (1.0 - default.undecided_probability))


def test_given_minus_one_on_a_group_when_a_call_is_planned_then_its_level_holds_again():
    strict = recognised("accurate_am_detection") | {"cpa-human-silence": -1}

    found = settings(group=strict, campaign={"cpa-human-silence": 300})

    assert found.human_silence_ms == LEVELS["accurate_am_detection"].human_silence_ms


def test_given_shares_when_a_call_is_planned_then_percent_and_per_mille_become_ratios():
    found = analysis_plan(
        *tree(
            group={"cpd-recording": "yes", "cpd-recording-share": 12.5},
            trunk={"call-result-feedback": 5, "call-result-feedback-machines": 3},
        ),
        NEW_YORK,
    )

    assert (found.recorded_ratio, found.verified_ratio, found.machines_per_hour) == (0.125, 0.005, 3)


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+12125550123", "US"),
        ("+14165550123", "CA"),
        ("+493012345678", "DE"),
        ("+442079460000", "GB"),
        ("+80012345678", ""),
        ("4711", ""),
    ],
)
def test_given_a_number_when_its_country_is_asked_then_its_digits_tell(number, country):
    assert country_of(number) == country


@pytest.mark.parametrize(
    ("number", "plan"),
    [("+493012345678", "DE"), ("+442079460000", "UK"), ("+85021812345", "ITU"), ("4711", "FR")],
)
def test_given_a_trunk_to_many_countries_when_a_number_is_dialed_then_its_country_has_the_plan(number, plan):
    trunk = Trunk(dbid=1, name="t", tenant="T", host="h", tone_plan="dialed", country="FR")

    assert plan_for(trunk, number) == plan


TRUNK = 'name = "Simulated Carrier"\n'


def written(tmp_path: Path, of_trunk: str, *instead: tuple[str, str]) -> Path:
    """The demo's configuration with these lines in its trunk."""
    path = tmp_path / "ocsd.toml"
    write_configuration(
        path,
        DemoOptions(agents=2, records=2, http_port=0),
        data_dir=tmp_path,
        http_port=0,
        desktop_port=0,
        carrier_port=5999,
        phones_port=5998,
    )
    text = path.read_text()
    for old, new in ((TRUNK, TRUNK + of_trunk), *instead):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_configuration(path)
    return "\n".join(caught.value.problems)


def test_given_options_on_a_trunk_when_loaded_then_they_are_kept_and_a_wrong_level_is_refused(tmp_path):
    path = written(tmp_path, 'options = { cpd-on-connect = "yes", call_timeguard_timeout = 4000 }\n')

    assert load_configuration(path).trunks[0].options == {"cpd-on-connect": "yes", "call_timeguard_timeout": 4000}

    path = written(tmp_path, "options = { max_overdial_rate = 2 }\n")
    assert "may not stand on a trunk" in refused(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("cpa-human-silence = 2000", "must be at most cpa-undecided-silence"),
        ("cpa-sure-silence = 400, cpa-human-silence = 300", "must be at most cpa-human-silence (300), got 400"),
        ("cpa-undecided-silence = 100", "must be at least cpa-human-silence"),
        ("cpa-sure-probability = 0.9", "must be at most cpa-human-probability"),
        ("cpa-initial-silence = 9000", "must be at most call_timeguard_timeout (8000 ms), got 9000"),
    ],
)
def test_given_thresholds_that_contradict_each_other_when_loaded_then_the_sentence_says_which(tmp_path, options, words):
    path = written(tmp_path, f"options = {{ {options} }}\n")

    assert words in refused(path)


def test_given_the_dialed_country_when_the_trunks_own_has_no_plan_then_it_is_refused(tmp_path):
    by_number = ('tone_plan = "US"\n', 'tone_plan = "dialed"\n')
    assert load_configuration(written(tmp_path, "", by_number)).trunks[0].tone_plan == "dialed"

    path = written(
        tmp_path, "", by_number, ('tone_plan = "dialed"\ncountry = "US"\n', 'tone_plan = "dialed"\ncountry = "ZZ"\n')
    )
    assert "unknown tone plan 'ZZ'" in refused(path)


@pytest.mark.parametrize(
    ("options", "verdict_s"),
    [
        ({}, AnalysisSettings().human_silence_ms / 1000 + 0.2),
        ({"trunk": recognised("accurate_am_detection")}, AnalysisSettings().human_silence_ms / 1000 + 0.7),
        ({"trunk": {"cpa-human-silence": 900}}, 1.1),
        ({"group": recognised("no_progress_detection")}, 0.0),
    ],
)
def test_given_how_a_group_listens_when_the_pacing_asks_for_what_is_left_of_two_seconds_then_the_silence_counts(
    options, verdict_s
):
    configuration, group, _ = tree(**options)

    assert Planner(configuration, group).verdict_s == pytest.approx(verdict_s)


@pytest.mark.parametrize(
    ("of_trunk", "of_group", "expected"),
    [
        ({}, {}, (8.0, True, True, True)),
        ({"call_timeguard_timeout": 4000, "am-beep-detection": "no"}, {}, (4.0, True, True, False)),
        ({"call_timeguard_timeout": 4000, "cpd-on-connect": True}, {"call_timeguard_timeout": 6000},
         (6.0, False, True, True)),
        (recognised("no_progress_detection"), {}, (8.0, False, False, True)),
    ],
)  # fmt: skip
def test_given_options_on_a_trunk_when_a_call_over_it_is_made_then_its_rules_are_those(of_trunk, of_group, expected):
    configuration, group, _ = tree(trunk=of_trunk, group=of_group)
    configuration = configuration.model_copy(
        update={"calling_lists": (CallingList(dbid=1, name="L", table_access="A"),)}
    )
    planner = Planner(configuration, group)

    rules = planner.rules(1, "t")

    assert (rules.timeguard_s, rules.early_analysis, rules.analysis, rules.waits_for_beep) == expected
    assert planner.rules(1).analysis is True  # over no trunk: a call that nobody has planned yet
