"""``ocsd rules``: what it prints, and what it says about wrong arguments."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from ocsd.cli import app
from ocsd.rules.presets import all_attempt_caps, all_calling_hours

CONFIG = """
[[tenants]]
dbid = 1
name = "Tenant"

[[time_zones]]
dbid = 1
name = "Eastern"
zone = "America/New_York"

[[time_zones]]
dbid = 2
name = "Pacific"
zone = "America/Los_Angeles"

[[formats]]
dbid = 1
name = "Plain"

[[table_accesses]]
dbid = 1
name = "Sales"
table = "sales"
format = "Plain"

[[table_accesses]]
dbid = 2
name = "Office"
table = "office"
format = "Plain"

[[table_accesses]]
dbid = 3
name = "Zoneless"
table = "zoneless"
format = "Plain"

[[stat_days]]
dbid = 1
name = "Monday"
weekday = 0
start_min = 540
end_min = 1020

[[stat_tables]]
dbid = 1
name = "weekdays"
days = ["Monday"]

[[calling_lists]]
dbid = 1
name = "Sales"
table_access = "Sales"
time_zone = "Eastern"
daily_from = 0
daily_till = 86400
calling_hours = ["us-fl"]
strictest_zone = true

[[calling_lists]]
dbid = 2
name = "Office"
table_access = "Office"
time_zone = "Eastern"
daily_from = 28800
daily_till = 72000
weekday_table = "weekdays"

[[calling_lists]]
dbid = 3
name = "Zoneless"
table_access = "Zoneless"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "ocsd.toml"
    file.write_text(CONFIG)
    return file


def rules(*arguments: str | Path) -> Result:
    with capture_logs():
        return CliRunner().invoke(app, ["rules", *map(str, arguments)])


def test_given_the_presets_when_listed_then_each_is_a_line_with_rule_source_and_date():
    result = rules("list")

    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert lines[0] == ["key", "id", "title", "rule", "source", "as of"]
    assert len(lines) == 1 + len(all_calling_hours()) + len(all_attempt_caps())
    france = next(line for line in lines if line[:2] == ["calling_hours", "fr-demarchage"])
    assert france[3] == "Mon-Fri 10:00-13:00 and 14:00-20:00, Sat none, Sun none, holidays of FR none"
    assert france[5] == "2024-10-01"
    reg_f = next(line for line in lines if line[:2] == ["attempt_caps", "us-reg-f"])
    assert reg_f[3] == (
        "at most 7 in 7 days per person about one subject; "
        "at most 1 in 7 days per person about one subject, counting conversations"
    )
    assert next(line for line in lines if line[1] == "gb-practice")[5].endswith("(from summaries)")


def test_given_the_presets_when_listed_as_json_then_windows_are_as_in_the_data_file():
    listed = json.loads(rules("list", "--json").stdout)

    hours = {preset["id"]: preset for preset in listed["calling_hours"]}
    assert hours["us-federal"]["hours"]["sunday"] == ["08:00-21:00"]
    assert hours["us-federal"]["hours"]["holiday"] is None
    assert hours["it-codice"]["hours"]["holiday_eve"] == ["10:00-19:00"]
    assert hours["us-ok"]["verified"] is False
    assert {preset["id"] for preset in listed["attempt_caps"]} == set(all_attempt_caps())


def test_given_an_id_of_hours_and_a_cap_when_shown_then_both_are():
    result = rules("show", "us-fl")

    assert result.exit_code == 0
    assert "rule\tevery day 08:00-20:00\n" in result.stdout
    assert "rule\tat most 3 in 24 h per person about one subject\n" in result.stdout
    assert "source\tFla. Stat. 501.616(6)(a)\n" in result.stdout
    assert set(json.loads(rules("show", "us-fl", "--json").stdout)) == {"calling_hours", "attempt_caps"}


def test_given_an_unknown_id_when_shown_then_it_is_refused_with_a_suggestion():
    result = rules("show", "us-flo")

    assert result.exit_code == 1
    assert result.stderr == 'ocsd: no preset is called "us-flo"; did you mean us-fl?\n'


def test_given_a_number_elsewhere_when_asked_in_the_morning_then_the_law_and_the_next_opening_are_told(config):
    arguments = ("when", "-c", config, "--list", "Sales", "--phone", "(213) 555-0100", "--time-zone", "Eastern")

    result = rules(*arguments, "--at", "2026-03-08T10:30")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "+12135550100 at Sunday 2026-03-08 10:30 in America/New_York: closed",
        "because Sunday 07:30 in America/Los_Angeles, where the number belongs, is outside the legal hours us-fl, "
        "08:00-20:00 that day (Fla. Stat. 501.616(6)(a))",
        "next opening: Sunday 2026-03-08 11:00 there",
    ]


def test_given_business_hours_when_asked_as_json_then_the_answer_has_every_part(config):
    arguments = ("when", "-c", config, "--list", "Office", "--phone", "+12125550100", "--json")

    closed = json.loads(rules(*arguments, "--at", "2026-10-31T12:00:00-04:00").stdout)
    at_work = json.loads(rules(*arguments, "--at", "2026-11-02T14:00:00+00:00").stdout)

    assert closed == {
        "calling_list": "Office",
        "phone": "+12125550100",
        "time_zone": "America/New_York",
        "number_zones": ["America/New_York"],
        "at": "2026-10-31T12:00:00-04:00",
        "open": False,
        "why": "Saturday 12:00 in America/New_York is outside the list's business hours, no time at all (WEND)",
        "next_opening": "2026-11-02T14:00:00+00:00",  # 9:00, after the clock change of the Sunday between
        "day_range": "WEND",
    }
    assert (at_work["open"], at_work["why"], at_work["day_range"]) == (True, None, "BH")
    assert at_work["next_opening"] == at_work["at"]


def test_given_an_open_time_when_asked_then_it_is_said_in_one_line(config):
    result = rules("when", "-c", config, "--list", "Office", "-p", "+12125550100", "--at", "2026-11-02T09:00")

    assert result.stdout == ("+12125550100 at Monday 2026-11-02 09:00 in America/New_York: open\nday range: BH\n")


def test_given_a_number_without_zone_when_asked_then_it_is_never_open(config):
    result = rules("when", "-c", config, "--list", "Zoneless", "-p", "+442079460000", "--at", "2026-11-02T09:00")

    assert result.stdout.splitlines() == [
        "+442079460000 at Monday 2026-11-02 09:00 in an unknown zone: closed",
        "because time zone 0 is unknown and the list has none",
        "next opening: none",
    ]


def test_given_no_time_when_asked_then_it_is_about_now(config):
    answer = json.loads(rules("when", "-c", config, "-l", "Office", "-p", "+12125550100", "--json").stdout)

    assert answer["at"].endswith("+00:00")
    assert answer["next_opening"] >= answer["at"][:19]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--list", "Sale", "--phone", "+12125550100"), 1, 'no calling list is called "Sale"; defined are: "Sales"'),
        (("--list", "Sales", "--phone", "123"), 2, "'123' is no valid number of country US"),
        (
            ("--list", "Sales", "--phone", "+12125550100", "--at", "noon"),
            2,
            "must be like 2026-03-08T09:00, got 'noon'",
        ),
        (("--list", "Sales", "--phone", "+12125550100", "--time-zone", "MST"), 2, "'MST' is no configured time zone"),
    ],
)
def test_given_a_wrong_argument_when_asked_then_the_message_names_it(config, arguments, code, message):
    result = rules("when", "-c", config, *arguments)

    assert result.exit_code == code
    assert message in " ".join(result.stderr.replace("│", " ").split())
