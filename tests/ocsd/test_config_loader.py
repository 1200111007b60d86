"""Every kind of fault in a configuration is named with file, key path and what is allowed."""

import json
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsd.config.loader import Document, configuration_of, load_configuration
from ocsd.config.objects import Configuration
from ocsd.model.enums import DialMode, OptimizeBy
from ocsd.model.errors import ConfigError
from telephony.cpa import TONE_PLANS

EXAMPLE = Path(__file__).parents[2] / "deploy" / "example.toml"

VALID = """
data_dir = "/srv/ocsd"
[[tenants]]
dbid = 1
name = "T"
[[trunks]]
dbid = 1
name = "carrier"
tenant = "T"
host = "127.0.0.1"
[[time_zones]]
dbid = 1
name = "Eastern"
zone = "America/New_York"
[[agents]]
dbid = 1
login_id = "alice"
dn = "sip:alice@127.0.0.1:5090"
[[agent_groups]]
dbid = 1
name = "Sales"
agents = ["alice"]
[[formats]]
dbid = 1
name = "F"
fields = [{ name = "customer_name", send_attribute = "customer_name" }]
[[table_accesses]]
dbid = 1
name = "A"
table = "customers"
format = "F"
[[filters]]
dbid = 1
name = "gold"
criteria = "segment = 'gold'"
[[calling_lists]]
dbid = 1
name = "L"
table_access = "A"
time_zone = "Eastern"
[[campaigns]]
dbid = 1
name = "C"
tenant = "T"
lists = [{ calling_list = "L" }]
[[campaign_groups]]
dbid = 1
name = "C@Sales"
campaign = "C"
group = "Sales"
trunks = ["carrier"]
"""


def read(*texts: str, environ: dict[str, str] | None = None) -> Configuration:
    documents = [Document(f"{chr(ord('a') + index)}.toml", text) for index, text in enumerate(texts)]
    return configuration_of(documents, Path("/etc/ocsd"), environ or {})


def problems_of(*texts: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(*texts, environ=environ)
    return caught.value.problems


def problems_or_none(text: str) -> list[str]:
    try:
        read(text)
    except ConfigError as error:
        return error.problems
    return []


def edited(old: str, new: str) -> str:
    assert VALID.count(old) >= 1, f"{old!r} is not in the valid configuration"
    return VALID.replace(old, new, 1)


def test_given_the_example_configuration_when_loaded_then_it_has_no_problem():
    configuration = load_configuration(EXAMPLE, {})

    assert [group.name for group in configuration.campaign_groups] == ["Example@Example Agents"]
    assert len(configuration.time_zones) >= 2
    assert configuration.campaign_groups[0].dial_mode is DialMode.PREDICTIVE
    assert configuration.campaign_groups[0].optimize_by is OptimizeBy.OVERDIAL_RATE


def test_given_a_valid_text_when_read_then_objects_hold_it():
    configuration = read(VALID)

    assert configuration.data_dir == "/srv/ocsd"
    assert configuration.telephony.run_dir == "/srv/ocsd/run"
    assert configuration.agent_group("Sales").agents == ("alice",)
    assert configuration.format_of_list(configuration.calling_list("L")).fields[0].name == "customer_name"


FAULTS = tomllib.loads((Path(__file__).parent / "config_faults.toml").read_text())["faults"]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault["by"][-30:] for fault in FAULTS])
def test_given_one_fault_when_read_then_it_is_named_with_file_key_and_what_is_allowed(fault):
    found = problems_of(edited(fault["replace"], fault["by"]))

    assert fault["problem"].replace("{tone_plans}", ", ".join(sorted(TONE_PLANS))) in found
    # A fault may have a second sentence (a name that is gone), never a pile of consequences.
    assert len(found) <= 2 or fault["replace"] == "[[tenants]]"


def test_given_an_unknown_table_when_read_then_the_close_one_is_offered():
    (problem,) = problems_of(VALID + "[[calling_list]]\ndbid = 2\n")

    assert problem.startswith("a.toml: calling_list: unknown key; did you mean calling_lists")
    assert "allowed are: data_dir, application," in problem


@pytest.mark.parametrize(
    ("kind", "key", "extra", "value"),
    [
        ("tenants", "dbid", 'name = "U"\ndbid = 1', "1"),
        ("tenants", "name", 'name = "T"\ndbid = 2', "'T'"),
        ("agents", "login_id", 'login_id = "alice"\ndbid = 2\ndn = "sip:b@127.0.0.1"', "'alice'"),
        ("filters", "dbid", 'name = "x"\ndbid = 1', "1"),
    ],
)
def test_given_a_duplicate_over_two_files_when_read_then_both_places_are_named(kind, key, extra, value):
    (problem,) = problems_of(VALID, f"[[{kind}]]\n{extra}\n")

    assert problem.startswith(f"b.toml: {kind}[0].{key} ")
    assert problem.endswith(f": {value} is taken by a.toml: {kind}[0]; it must be unique.")


SECOND_LIST = '[[calling_lists]]\ndbid = 2\nname = "M"\ntable_access = "A"\n'


def test_given_two_lists_on_one_table_without_filters_when_read_then_both_are_named():
    assert problems_of(VALID, SECOND_LIST) == [
        'a.toml: calling_lists[0].filter (of "L"): is required: table customers is shared by 2 lists, so each needs '
        "its own filter.",
        'b.toml: calling_lists[0].filter (of "M"): is required: table customers is shared by 2 lists, so each needs '
        "its own filter.",
    ]


def test_given_two_lists_on_one_table_with_one_filter_when_read_then_the_second_is_named():
    first = edited('time_zone = "Eastern"', 'filter = "gold"')

    assert problems_of(first, SECOND_LIST + 'filter = "gold"\n') == [
        'b.toml: calling_lists[0].filter (of "M"): table customers is shared by 2 lists, and calling list "L" takes '
        "the same rows of it."
    ]


def test_given_a_filter_without_criteria_on_a_shared_table_when_read_then_it_is_named():
    first = edited('time_zone = "Eastern"', 'filter = "gold"')
    second = SECOND_LIST + 'filter = "all"\n[[filters]]\ndbid = 2\nname = "all"\n'

    assert problems_of(first, second) == [
        'b.toml: calling_lists[0].filter (of "M"): table customers is shared by 2 lists, and filter "all" has no '
        "criteria."
    ]


def test_given_two_table_accesses_with_one_table_and_two_formats_when_read_then_the_second_is_named():
    second = '[[formats]]\ndbid = 2\nname = "G"\n'
    second += '[[table_accesses]]\ndbid = 2\nname = "B"\ntable = "customers"\nformat = "G"\n'

    assert problems_of(VALID, second) == [
        'b.toml: table_accesses[0].format (of "B"): table customers has format "F" by table access "A".'
    ]


def test_given_a_trunk_of_another_tenant_when_read_then_the_campaign_group_is_named():
    text = edited('tenant = "T"\nhost', 'tenant = "U"\nhost') + '[[tenants]]\ndbid = 2\nname = "U"\n'

    assert problems_of(text) == [
        'a.toml: campaign_groups[0].trunks[0] (of "C@Sales"): trunk "carrier" belongs to another tenant than campaign '
        '"C".'
    ]


def test_given_many_faults_of_all_kinds_when_read_then_each_is_reported_at_once():
    text = VALID
    for old, new in [
        ('zone = "America/New_York"', 'zone = "Mars/Olympus"'),
        ("dn = ", "dm = "),
        ('format = "F"', 'format = "G"'),
        ('campaign = "C"', 'campaign = "D"'),
        ('trunks = ["carrier"]', 'trunks = ["x", "y"]\nopt_rec_buff_size = 1\noptions = { nonsense = 1 }'),
    ]:
        text = text.replace(old, new, 1)

    found = problems_of(text, "[[tenants]]\ndbid = 1\nname = 'T'\n", "broken = \n")

    for part in (
        "time_zones[0].zone",
        "agents[0].dn ",
        "agents[0].dm",
        "table_accesses[0].format",
        "campaign_groups[0].options.nonsense",
        "b.toml: tenants[0].dbid",
        "b.toml: tenants[0].name",
        "c.toml: line 1, column 10",
    ):
        assert sum(part in problem for problem in found) == 1, part
    # The group failed by itself, so its references wait for the next run; its name is not reported as missing.
    assert not any("[[time_zones]]" in problem or "[[agents]]" in problem for problem in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 1\nb = = 2\n", "a.toml: line 2, column 5: is not valid TOML: invalid value."),
        ('[http]\nhost = "x', "a.toml: line 2, column 10: is not valid TOML: unterminated string."),
        ("[http]\nport = 1\nport = 2\n", "a.toml: line 3, column 9: is not valid TOML: cannot overwrite a value."),
    ],
)
def test_given_broken_toml_when_read_then_line_and_column_are_named(text, problem):
    assert problems_of(text) == [problem]


def test_given_a_table_in_two_files_when_read_then_the_second_is_refused():
    assert problems_of("[http]\nport = 8080\n", "[http]\nport = 8090\n") == [
        "b.toml: http: may stand only once, and stands in a.toml already."
    ]


def test_given_a_folder_when_loaded_then_its_files_are_joined_in_the_order_of_their_names(tmp_path):
    head, tail = VALID.split("[[formats]]", 1)
    (tmp_path / "20-lists.toml").write_text("[[formats]]" + tail)
    (tmp_path / "10-people.toml").write_text(head.replace("/srv/ocsd", "data"))
    (tmp_path / "notes.txt").write_text("not = toml =")
    (tmp_path / "30-more.toml").write_text('[[agents]]\ndbid = 2\nlogin_id = "bob"\ndn = "sip:bob@127.0.0.1"\n')

    configuration = load_configuration(tmp_path, {})

    assert [agent.login_id for agent in configuration.agents] == ["alice", "bob"]
    assert configuration.data_dir == str(tmp_path / "data")
    assert configuration.campaign("C").lists[0].calling_list == "L"


def test_given_an_empty_folder_a_missing_file_or_binary_when_loaded_then_a_problem_says_so(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe")
    expected = {
        tmp_path: f"{tmp_path}: the folder holds no *.toml file.",
        tmp_path / "none.toml": f"{tmp_path}/none.toml: cannot be read: No such file or directory.",
        tmp_path / "x.bin": f"{tmp_path}/x.bin: is not UTF-8 text (byte 0).",
    }
    for path, problem in expected.items():
        with pytest.raises(ConfigError) as caught:
            load_configuration(path, {})
        assert caught.value.problems == [problem]


def test_given_no_data_dir_when_read_then_it_depends_on_who_runs_it(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert read("").data_dir == "/var/lib/ocsd"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/someone")
    assert read("").data_dir == "/home/someone/.local/share/ocsd"
    assert read("").telephony.run_dir == "/home/someone/.local/share/ocsd/run"


def test_given_secrets_by_environment_when_read_then_they_are_filled_in():
    text = edited('host = "127.0.0.1"', 'host = "127.0.0.1"\nusername = "u"\npassword = "${TRUNK}"')
    text += '[database]\ndsn = "postgresql://ocsd:${DB}@db/ocsd"\n'

    configuration = read(text, environ={"TRUNK": "p$w", "DB": "q"})

    assert configuration.trunk("carrier").password == "p$w"
    assert configuration.database.dsn == "postgresql://ocsd:q@db/ocsd"
    assert problems_of(text, environ={"DB": "q"}) == [
        'a.toml: trunks[0].password (of "carrier"): the environment variable TRUNK is not set.'
    ]


@pytest.mark.parametrize(
    "line",
    [
        'password = ["hush-hush"]',
        'pasword = "hush-hush"',
        'password = "hush-hush"',
        'username = "u"\npassword = "hush-hush"\nhost = 3',
        'password = "hush-hush',
    ],
)
def test_given_a_fault_around_a_secret_when_read_then_the_secret_is_not_in_the_message(line):
    text = edited('name = "carrier"\ntenant = "T"\nhost = "127.0.0.1"', f'name = "carrier"\ntenant = "T"\n{line}')

    assert "hush-hush" not in "\n".join(problems_of(text))


def test_given_a_dsn_of_the_wrong_type_when_read_then_it_is_not_in_the_message():
    assert problems_of('[database]\ndsn = ["hush-hush"]\n') == ["a.toml: database.dsn: must be a valid string."]


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value) if not isinstance(value, float) else repr(value)


PLAIN = st.one_of(st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from(["", "T", "C", "x" * 300]))
KEYS = st.sampled_from(["name", "dbid", "x"])
ODD = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)
TABLES = tomllib.loads(VALID)
PLACES = [(kind, key) for kind, rows in TABLES.items() if isinstance(rows, list) for key in rows[0]]


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(PLACES), odd=ODD)
def test_given_any_value_at_any_key_when_read_then_it_is_accepted_or_named(place, odd):
    kind, key = place
    tables = json.loads(json.dumps(TABLES))
    tables[kind][0][key] = odd
    text = "\n".join(f"{name} = {_toml(value)}" for name, value in tables.items())

    for problem in problems_or_none(text):
        assert f"a.toml: {kind}[0].{key}" in problem or "is called" in problem or "taken by" in problem


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="[]{}=\"'\n.# ab1-", max_size=40))
def test_given_any_text_when_read_then_nothing_but_config_error_is_raised(text):
    for problem in problems_or_none(text):
        assert problem.startswith("a.toml: ")
