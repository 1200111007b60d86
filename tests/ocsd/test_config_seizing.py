"""Options of seized agents and agents' phones: what could never work is refused where it stands."""

import pytest

from ocsd.config.loader import load_configuration
from ocsd.config.objects import Phone
from ocsd.model.enums import DialMode
from ocsd.model.errors import ConfigError
from ocsd.sessions.phones import PhonePlan, phone_plan
from ocsd.sessions.planner import Planner
from ocsd.sessions.seizing_plan import SeizingPlan, engaging_plan, seizing_plan
from tests.ocsd.test_config_loader import VALID, problems_of, read
from tests.ocsd.test_config_validation import with_options


def with_phone(phone: str) -> str:
    assert VALID.count('login_id = "alice"') == 1
    return VALID.replace('login_id = "alice"', f'login_id = "alice"\nphone = {{ {phone} }}')


def planner(text: str) -> Planner:
    config = read(text)
    return Planner(config, config.campaign_groups[0])


@pytest.mark.parametrize(
    ("levels", "where", "why"),
    [
        (
            {"group": "assured-connect = true"},
            "campaign_groups[0].options.assured-connect ",
            "needs assured-connect-field",
        ),
        (
            {"group": "assured-connect = true", "calling_list": 'assured-connect-field = "vipp"'},
            "calling_lists[0].options.assured-connect-field",
            'has no user column "vipp"',
        ),
        ({"campaign": 'engaged-prompt = "../x.wav"'}, "campaigns[0].options.engaged-prompt", "must be the name of a"),
        ({"application": 'asm_drop_announcement_data = "x"'}, "application.options.asm_drop", "must be the name of a"),
        (
            {"group": 'merge-method = "refer"'},
            "campaign_groups[0].options.merge-method",
            "must be bridging or transfer",
        ),
        ({"calling_list": "asm_channel_num = 3"}, "calling_lists[0].options.asm_channel_num", "may not stand on"),
    ],
)
def test_given_an_option_that_cannot_work_when_read_then_it_is_refused_where_it_stands(levels, where, why):
    (problem,) = problems_of(with_options(**levels))
    assert where in problem
    assert why in problem


@pytest.mark.parametrize(
    ("phone", "why"),
    [
        ('proxy = "sip:10.0.0.5"', "phone.proxy"),
        ('proxy = "pbx:70000"', "must be host or host:port"),
        ('password = "secret"', "phone.username"),
        ('auto_answer = "beep"', "auto_answer"),
        ("nailed = true", "unknown key; did you mean nailed_up?"),
    ],
)
def test_given_a_phone_that_cannot_be_reached_when_read_then_it_is_refused_and_no_secret_is_told(phone, why):
    (problem,) = problems_of(with_phone(phone))
    assert why in problem
    assert "secret" not in problem


def test_given_phones_when_read_then_each_is_called_as_it_says():
    config = read(with_phone('proxy = "[::1]:5060", username = "u", password = "p", nailed_up = true'))
    (agent,) = [agent for agent in config.agents if agent.login_id == "alice"]
    assert phone_plan(agent, "127.0.0.1") == PhonePlan("[::1]:5060", "u", "p", nailed_up=True)
    assert phone_plan(agent.model_copy(update={"phone": Phone()}), "127.0.0.1") == PhonePlan()


def test_given_options_on_several_levels_when_planned_then_the_most_specific_hold():
    text = with_options(
        application='merge-method = "transfer", asm_drop_announcement_data = "tone", engaged-legs = "keep"',
        campaign='asm_drop_announcement_data = "drop", beep-on-merge = "no"',
        group='asm_channel_num = 3, asm_drop_am_announcement_data = "tone"',
    )
    found = planner(text)
    assert seizing_plan(found, seizes=True) == SeizingPlan(True, False, True, "drop", "tone")
    assert seizing_plan(found, seizes=False) == SeizingPlan(beep=False), "transfers and messages are those of ASM modes"
    assert (engaging_plan(found, 20).bound, engaging_plan(found, 20).kept) == (3, True)
    assert engaging_plan(planner(VALID), 20).bound == 20


def test_given_a_seizing_mode_when_read_then_the_group_has_it(tmp_path):
    text = VALID.replace('trunks = ["carrier"]', 'trunks = ["carrier"]\ndial_mode = "predictive_and_seize"')
    path = tmp_path / "ocsd.toml"
    path.write_text(text)
    assert load_configuration(path).campaign_groups[0].dial_mode is DialMode.PREDICTIVE_AND_SEIZE


@pytest.mark.parametrize("option", ["engaged-prompt", "asm_drop_announcement_data", "asm_drop_am_announcement_data"])
def test_given_a_prompt_that_is_not_there_when_read_then_the_option_that_names_it_is_told(tmp_path, option):
    path = tmp_path / "ocsd.toml"
    path.write_text(with_options(group=f'{option} = "hold.wav"') + '[telephony]\nprompt_dir = "."\n')
    with pytest.raises(ConfigError, match=f"{option}.*hold.wav"):
        load_configuration(path)
    (tmp_path / "hold.ulaw").write_bytes(b"\xff" * 800)
    path.write_text(path.read_text().replace("hold.wav", "hold.ulaw"))
    assert load_configuration(path).campaign_groups[0].options[option] == "hold.ulaw"
