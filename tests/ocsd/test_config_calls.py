"""Call control in the configuration: music that can be played, numbers that can be called, groups that exist."""

import pytest

from tests.ocsd.test_config_loader import VALID, problems_of, read
from tests.ocsd.test_config_validation import with_options


@pytest.mark.parametrize(
    "options",
    [
        'hold-music = "music"',
        'hold-music = ""',
        'hold-music = "waiting.wav"',
        'outside-destinations = ""',
        'outside-destinations = "*"',
        'outside-destinations = "+49*, +442071838750, 110"',
        'hold-signalling = "yes"',
    ],
)
def test_given_options_of_call_control_when_read_then_they_are_accepted(options):
    assert read(with_options(application=options)).calling_list("L").name == "L"


@pytest.mark.parametrize(
    ("levels", "where", "said"),
    [
        ({"application": 'hold-music = "waiting.mp3"'}, "application.options.hold-music", "prompt folder"),
        ({"calling_list": 'hold-music = "waiting"'}, "calling_lists[0].options.hold-music", "prompt folder"),
        ({"group": 'outside-destinations = "+49*, sip:x@y"'}, "campaign_groups[0].options", "'sip:x@y'"),
        ({"campaign": 'outside-destinations = "+49*0"'}, "campaigns[0].options", "'+49*0'"),
        ({"calling_list": "hold-signalling = true"}, "calling_lists[0].options.hold-signalling", "may not stand"),
    ],
)
def test_given_an_option_that_could_never_work_when_read_then_it_is_refused_where_it_stands(levels, where, said):
    (problem,) = problems_of(with_options(**levels))

    assert where in problem
    assert said in problem


def test_given_a_supervisor_of_a_group_that_is_none_when_read_then_the_name_is_told():
    text = VALID.replace('login_id = "', 'supervises = ["Nobody"]\nlogin_id = "', 1)

    assert text != VALID
    (problem,) = problems_of(text)
    assert "supervises[0]" in problem
    assert '"Nobody"' in problem
