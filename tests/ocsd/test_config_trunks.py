"""What `ocsd check` says of trunks and caller ID sets."""

import pytest

from ocsd.config.loader import load_configuration
from ocsd.demo.options import DemoOptions
from ocsd.demo.world import write_configuration
from ocsd.model.errors import ConfigError

SET = '[[caller_id_sets]]\ndbid = 900\nname = "West"\nnumbers = ["+13105550110", "+13105550111"]\n'


def load(tmp_path, trunk="", group="", more=""):
    path = tmp_path / "ocsd.toml"
    write_configuration(
        path, DemoOptions(agents=1), data_dir=tmp_path, http_port=1, desktop_port=2, carrier_port=5060, phones_port=5070
    )
    text = path.read_text().replace("[[time_zones]]", f"{trunk}\n{more}\n[[time_zones]]", 1)
    path.write_text(text.replace('trunks = ["Simulated Carrier"]', f'trunks = ["Simulated Carrier"]\n{group}'))
    return load_configuration(path)


def test_given_all_keys_of_a_trunk_when_read_then_they_are_taken(tmp_path):
    keys = (
        "priority = 3", "weight = 40", 'number_format = "national"', 'caller_id_format = "e164"', 'identity = "ppi"',
        'headers = { X-Campaign = "{campaign}" }', 'redirects = "follow"', 'registrar = "127.0.0.9:5062"',
        'username = "u"', 'password = "p"', "registration_s = 600", "probe_interval_s = 10", "session_expires_s = 1800",
    )  # fmt: skip

    config = load(
        tmp_path, "\n".join(keys), 'options = { caller-id-sets = "West", caller-id-rotation = "random" }', SET
    )

    trunk = config.trunk("Simulated Carrier")
    assert (trunk.priority, trunk.weight, trunk.session_expires_s) == (3, 40, 1800)
    assert config.caller_id_sets[0].numbers == ("+13105550110", "+13105550111")


@pytest.mark.parametrize(
    ("trunk", "said"),
    [
        ('headers = { Via = "x" }', "is written by ocsd itself"),
        ('headers = { X-A = "{secret}" }', "knows no {secret}"),
        ('registrar = "127.0.0.9"', "username"),
        ('registrar = "a b"\nusername = "u"', "must be host or host:port"),
        ('registrar = "127.0.0.9:99999"\nusername = "u"', "must be host or host:port"),
        ("session_expires_s = 60", "at least 90"),
        ("priority = 0", "priority"),
        ('identity = "rpid"', "identity"),
        ('registrar = "[2001:db8::1]:5060"\nusername = "u"', "SIP over IPv6 is not supported"),
        ('dial_prefix = "+1"\nnumber_format = "e164"', "must be without +"),
    ],
)
def test_given_a_wrong_key_of_a_trunk_when_checked_then_it_is_named(tmp_path, trunk, said):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, trunk)

    assert any(said in problem for problem in error.value.problems)


def test_given_a_trunk_at_an_ipv6_address_when_checked_then_it_is_refused(tmp_path):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, more='[[trunks]]\ndbid = 205\nname = "Six"\ntenant = "Environment"\nhost = "2001:db8::1"')

    assert any("SIP over IPv6 is not supported" in problem for problem in error.value.problems)


@pytest.mark.parametrize(
    ("group", "more", "said"),
    [
        ('options = { caller-id-sets = "West, East" }', SET, 'there is no caller ID set "East"; known: West'),
        ('options = { caller-id-rotation = "clockwise" }', "", "round-robin or random"),
        ('options = { CPNType = "3" }', "", "use caller_id_format of the trunk"),
        ('options = { CPNPlan = "1" }', "", "SIP has no numbering plan"),
        ('options = { CPNScreening = "1" }', "", "the carrier screens numbers"),
        ("", SET.replace("+13105550111", "+13105550110"), "stands there 2 times"),
        ("", SET.replace('"West"', '"West, East"'), "must be without commas"),
        ("", SET.replace("+13105550111", "12"), "numbers"),
    ],
)
def test_given_a_wrong_caller_id_when_checked_then_it_is_named(tmp_path, group, more, said):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, group=group, more=more)

    assert any(said in problem for problem in error.value.problems)
