"""``ocsd list preflight``: what it prints, its exit codes, its forecast."""

import json
import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.cli.forecast import shares_of
from ocsd.model.enums import CallResult
from ocsd.sessions.forecasting import DEFAULT_SHARES
from tests.ocsd.test_cli_lists import Site

ALL_DAY = "phone,daily_from,daily_till\n" + "".join(f"+1202555{n:04d},0,86400\n" for n in range(100, 160))
LIST = "Example List"


@pytest.fixture
def site(tmp_path, database):
    made = Site(tmp_path, database)
    # The hour and the day at which the tests run must not matter.
    text = made.config.read_text()
    for setting in ("calling_hours", "strictest_zone", "holiday_table", "weekday_table"):
        text = re.sub(rf"(?m)^{setting} = .*$", "", text)
    made.config.write_text(text)
    return made


@pytest.fixture
def nowhere(tmp_path):
    """A site whose database does not exist: what is refused here was refused before it was asked for."""
    return Site(tmp_path, f"host={tmp_path} dbname=nothing")


@pytest.fixture
def filled(site):
    site.customers.write_text(ALL_DAY)
    assert site.run("create", LIST).exit_code == 0
    assert site.run("import", LIST, site.customers).exit_code == 0
    return site


def found(site, *more):
    result = site.run("preflight", LIST, "--json", *more)
    assert result.exit_code == 0, result.stderr + result.stdout
    return json.loads(result.stdout)


def test_given_a_list_when_looked_at_then_counts_hours_zones_and_stats_agree(filled):
    told = found(filled)

    stats = json.loads(filled.run("stats", LIST, "--json").stdout)
    assert told["rows"] == stats["records"] == 60
    assert told["ready_now"] == stats["ready_in_window"] == 60
    assert told["held_back"] == stats["held_back"] == {}
    assert len(told["ready_by_hour"]) == 25
    assert {hour["chains"] for hour in told["ready_by_hour"]} == {60}
    assert sum(zone["rows"] for zone in told["zones"]) == 60
    assert "forecast" not in told


def test_given_a_filter_on_a_column_that_claims_have_too_when_looked_at_then_the_lists_is_meant(filled):
    criteria = r'(?m)^criteria = "(.*)"$'
    text, changed = re.subn(criteria, r'criteria = "(\1) AND chain_id <= 20"', filled.config.read_text())
    assert changed == 2
    filled.config.write_text(text)
    assert found(filled)["ready_now"] == 20


def test_given_numbers_on_do_not_call_when_looked_at_then_they_are_counted_and_nothing_is_changed(filled):
    with psycopg.connect(database_of(filled), autocommit=True) as conn:
        conn.execute("INSERT INTO gsw_donotcall_list (phone) VALUES ('+12025550100'), ('+12025550101')")
        before = conn.execute("SELECT * FROM customers ORDER BY 1").fetchall()
        told = found(filled)
        assert conn.execute("SELECT * FROM customers ORDER BY 1").fetchall() == before

    assert told["held_back"] == {"number on Do-Not-Call": 2}
    assert told["on_do_not_call"] == 2
    assert told["ready_now"] == 58


def database_of(site):
    return next(line.split('"')[1] for line in site.config.read_text().splitlines() if line.startswith("dsn = "))


def test_given_a_list_without_rows_when_looked_at_then_the_exit_code_says_that_nothing_could_be_dialed(site):
    site.run("create", LIST)

    result = site.run("preflight", LIST)

    assert result.exit_code == 1
    assert "Nothing waits to be dialed" in result.stdout


def test_given_an_unknown_list_when_looked_at_then_the_known_ones_are_named(site):
    result = CliRunner().invoke(app, ["list", "preflight", "Nope", "--config", str(site.config)])

    assert result.exit_code == 1
    assert 'no calling list is called "Nope"' in result.stderr


def test_given_a_pace_when_forecast_then_end_dials_and_what_is_left_are_told_and_the_same_seed_says_the_same(
    filled, tmp_path
):
    drawing = tmp_path / "forecast.svg"
    pace = ("--dials-per-hour", "60", "--mix", "answer=50,no_answer=50", "--seed", "3", "--runs", "3")

    told = found(filled, *pace, "--plot", drawing)["forecast"]

    assert told["sample_ratio"] == 1.0
    assert told["chains"] == 60
    assert sum(told["chains_by_fate"].values()) == pytest.approx(60, abs=0.1)
    assert told["dials"]["low"] >= 60
    end = datetime.fromisoformat(told["end"]["middle"])
    assert end > datetime.now(UTC) + timedelta(minutes=30)
    assert told["finished"]["50%"]["middle"] < told["end"]["middle"]
    assert "the mix that was given" in " ".join(told["assumptions"])
    assert drawing.read_text().lstrip().startswith("<?xml")
    again = found(filled, *pace)["forecast"]
    assert again["dials"] == told["dials"]
    assert again["chains_by_fate"] == told["chains_by_fate"]


def test_given_agents_when_forecast_then_the_pace_follows_from_their_time_and_the_table_shows_it(filled):
    result = filled.run("preflight", LIST, "--agents", "4", "--handle-s", "120", "--mix", "answer=25,no_answer=75")

    assert result.exit_code == 0, result.stderr
    # 4 agents at 85 % of 3600 s, 120 s a call, every fourth dial answered
    assert "assumed: 408 dials an hour" in result.stdout
    assert "all finished" in result.stdout


def test_given_an_end_before_the_list_is_done_when_forecast_then_the_rest_is_told(filled):
    until = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d")

    told = found(filled, "--dials-per-hour", "0.25", "--until", until)["forecast"]

    assert told["end"] is None
    assert told["chains_by_fate"]["unreached"] > 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mix", "answer=20"), "needs a pace"),
        (("--plot", "x.svg"), "needs a pace"),
        (("--agents", "3", "--dials-per-hour", "3"), "not both"),
        (("--dials-per-hour", "3", "--mix", "busy"), "no RESULT=SHARE"),
        (("--dials-per-hour", "3", "--mix", "purple=3"), "no RESULT=SHARE"),
        (("--dials-per-hour", "3", "--mix", "busy=0"), "more than 0"),
        (("--dials-per-hour", "3", "--mix", "busy=1,busy=2"), "each result once"),
        (("--dials-per-hour", "3", "--until", "2001-01-01"), "in the future"),
    ],
)  # fmt: skip
def test_given_options_that_do_not_go_together_when_called_then_it_is_wrong_usage(nowhere, arguments, words):
    result = nowhere.run("preflight", LIST, *arguments)

    assert result.exit_code == 2, result.stderr
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_given_a_mix_without_conversations_when_agents_are_given_then_it_is_wrong_usage(filled):
    result = filled.run("preflight", LIST, "--agents", "3", "--mix", "busy=1")

    assert result.exit_code == 2
    assert "no agent ever gets a call" in result.stderr


def test_given_the_default_mix_when_helped_then_it_is_the_one_that_is_used():
    with capture_logs():
        text = "".join(CliRunner().invoke(app, ["list", "preflight", "--help"]).stdout.split())

    for result, share in DEFAULT_SHARES.items():
        assert f"{result.name.lower()}={share:g}" in text
    assert sum(DEFAULT_SHARES.values()) == 100


def test_given_results_by_number_or_name_when_read_then_they_are_the_same():
    assert shares_of("33=20, busy = 5") == {CallResult.ANSWER: 20.0, CallResult.BUSY: 5.0}
