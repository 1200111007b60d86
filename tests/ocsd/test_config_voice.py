"""Voice applications and IVR groups in a configuration: what may be written, and a sentence for each fault."""

import io
import wave

import pytest

from ocsd.config.loader import load_configuration
from ocsd.model.enums import CallResult
from ocsd.model.errors import ConfigError
from telephony.media.prompts import SUFFIXES
from tests.ocsd.test_config_loader import VALID, problems_of, read

STEPS = """
[[voice_applications]]
dbid = 1
name = "reminder"
language = "en"
steps = [
    { do = "play", prompts = ["hello.wav"] },
    { name = "menu", do = "menu", prompts = ["menu.wav"], choices = { 1 = "yes", 2 = "agents" } },
    { do = "hang_up" },
    { name = "yes", do = "record", result = "ok", fields = { customer_name = "x" }, next = "bye" },
    { name = "agents", do = "queue", agent_group = "Sales", attach = { REASON = "asked" }, otherwise = "bye" },
    { name = "bye", do = "play", prompts = ["bye.wav"] },
]
"""
GVP = VALID + 'dial_mode = "progressive_gvp"\noptions = { voice-application = "reminder" }\n'
NO_AGENTS = GVP.replace('agents = ["alice"]', "agents = []", 1)
IVR = VALID.replace('agents = ["alice"]', 'ivr_group = true\nplaces = ["port1"]', 1)
PORT = '[[places]]\ndbid = 1\nname = "port1"\ndn = "sip:port1@127.0.0.1:5090"\n'
VXML = '[[voice_applications]]\ndbid = 1\nname = "reminder"\nurl = "http://web/a.vxml"\n'


def test_given_a_gvp_group_without_agents_when_read_then_its_application_is_there():
    configuration = read(NO_AGENTS + STEPS)

    (application,) = configuration.voice_applications
    assert [step.do for step in application.steps] == ["play", "menu", "hang_up", "record", "queue", "play"]
    assert application.steps[3].result is CallResult.OK
    assert not application.is_vxml


def test_given_an_ivr_group_when_read_then_it_needs_no_application():
    configuration = read(IVR + 'dial_mode = "power_gvp"\n' + PORT)

    assert configuration.agent_group("Sales").places == ("port1",)


def test_given_a_vxml_application_when_read_then_it_holds_its_server():
    configuration = read(NO_AGENTS + VXML + 'media_server = "sip:127.0.0.1:5070"\nparameters = { branch = "7" }\n')

    assert configuration.voice_applications[0].is_vxml


SUFFIX_NAMES = " or ".join(SUFFIXES)
A = 'a.toml: voice_applications[0]{} (of "reminder"): {}.'
G = 'a.toml: campaign_groups[0]{} (of "C@Sales"): {}.'


def step(old: str, new: str) -> str:
    assert old in STEPS
    return NO_AGENTS + STEPS.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (VALID + 'dial_mode = "power_gvp"\n', G.format(".dial_mode", '"power_gvp" needs option voice-application')),
        (
            GVP,
            G.format(".options.voice-application", 'no [[voice_applications]] is called "reminder"; defined are: none'),
        ),
        (
            step('otherwise = "bye"', 'otherwise = "by"'),
            A.format(".steps[4].otherwise", 'no step of this application is called "by"'),
        ),
        (
            step('1 = "yes"', '1x = "yes"'),
            A.format(".steps[1].choices", "must be keys of a telephone, 0123456789*#, got '1x'"),
        ),
        (step('prompts = ["bye.wav"]', 'destination = "1"'), A.format(".steps[5].destination", 'is not for "play"')),
        (step('prompts = ["bye.wav"]', 'next = "bye"'), A.format(".steps[5].prompts", 'is required for "play"')),
        (
            step('result = "ok", fields = { customer_name = "x" }, ', ""),
            A.format(".steps[3]", "records nothing: result, fields or do_not_call is required"),
        ),
        (
            NO_AGENTS
            + VXML.replace("a.vxml", "a" * 210 + ".vxml?a=b&c=d")
            + 'media_server = "sip:vxml.example.com:5070"\n',
            A.format(
                ".url",
                "makes a SIP address of 282 characters with the media server, 255 at most can be dialed",
            ),
        ),
        (step("customer_name =", "lost ="), G.format(".options", 'calling list "L" lacks "lost", used by "reminder"')),
        (
            step("{ REASON", "{ GSW_X"),
            A.format(".steps[4].attach", '"GSW_X" is reserved, as all keys that begin with GSW_'),
        ),
        (step('1 = "yes", ', ""), A.format(".steps[3]", '"record" is never reached')),
        (
            step('next = "bye"', 'next = "yes"'),
            A.format(".steps[3]", "leads back to itself without a step that takes time"),
        ),
        (
            step("menu.wav", "menu.mp3"),
            A.format(".steps[1].prompts", f"must be names of {SUFFIX_NAMES} files, or digits:COLUMN, got 'menu.mp3'"),
        ),
        (
            step('"menu.wav"', '"digits:age"'),
            G.format(".options", 'calling list "L" lacks "age", used by "reminder"'),
        ),
        (
            step('"Sales", attach', '"Sale", attach'),
            A.format(".steps[4].agent_group", 'no [[agent_groups]] is called "Sale"; defined are: "Sales"'),
        ),
        (
            step('result = "ok"', 'result = "fine"'),
            A.format(
                ".steps[3].result",
                'must be a call result, by number or by name ("answer", "wrong_party"), got \'fine\'',
            ),
        ),
        (
            step('do = "hang_up"', 'do = "hangup"'),
            A.format(
                ".steps[2].do", "must be 'play', 'menu', 'record', 'queue', 'transfer' or 'hang_up', got 'hangup'"
            ),
        ),
        (
            NO_AGENTS + STEPS + 'url = "http://web/a.vxml"\nmedia_server = "sip:h:5060"\n',
            A.format("", "needs either steps or url (a VoiceXML document)"),
        ),
        (NO_AGENTS + VXML, A.format(".media_server", "must be sip:host:port, got ''")),
        (
            NO_AGENTS + VXML.replace("http:", "ftp:") + 'media_server = "sip:h:5060"\n',
            A.format(".url", "must be an http or https address"),
        ),
        (
            IVR + 'dial_mode = "progressive_and_seize"\n' + PORT,
            G.format(".group", '"Sales" is an IVR group, which seizing (ASM) modes do not support'),
        ),
        (IVR, 'a.toml: agent_groups[0].places[0] (of "Sales"): no [[places]] is called "port1"; defined are: none.'),
        (
            IVR.replace('places = ["port1"]', ""),
            'a.toml: agent_groups[0].places (of "Sales"): must name the places of an IVR group (ivr_group).',
        ),
        (
            IVR + PORT.replace('"port1"', '"alice"'),
            'a.toml: places[0].name (of "alice"): "alice" is the login ID of an agent; it must be another one.',
        ),
    ],
)
def test_given_a_fault_when_read_then_it_is_named(text: str, problem: str):
    assert problem in problems_of(text)


def test_given_prompts_that_are_not_there_when_loaded_then_each_is_named(tmp_path):
    path, folder = tmp_path / "ocsd.toml", tmp_path / "prompts"
    (folder / "en").mkdir(parents=True)
    (folder / "hello.wav").write_bytes(wav())
    (folder / "en" / "menu.wav").write_bytes(wav())
    path.write_text(NO_AGENTS + STEPS + '[telephony]\nprompt_dir = "prompts"\n')

    with pytest.raises(ConfigError) as caught:
        load_configuration(path, {})

    (problem,) = caught.value.problems
    assert problem.startswith('voice_applications.steps[5] (of "reminder"): ')
    assert "bye.wav" in problem


def wav() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return content.getvalue()
