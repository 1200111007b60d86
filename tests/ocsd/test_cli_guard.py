"""``ocsd guard``: what it says of each campaign's legal window, from the database alone."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from ocsd.cli import app
from ocsd.config.loader import load_configuration
from ocsd.lists.abandonment import add
from ocsd.lists.migrate import migrate
from ocsd.model.records import PersonFound
from tests.ocsd.test_cli_dnc import EXAMPLE


class Site:
    def __init__(self, folder, database: str, options: str = "") -> None:
        text = EXAMPLE.replace("[database]\n", f'[database]\ndsn = "{database}"\n')
        if options:
            text = text.replace('options = { CPNDigits = "+12025550123" }', f"options = {{ {options} }}")
        self.path = folder / "ocsd.toml"
        self.path.write_text(f'data_dir = "{folder}/data"\n{text}')
        self.campaign = load_configuration(self.path).campaigns[0]
        self.dsn = database

    def count(self, people: int, abandoned: int, late: int = 0, ago: timedelta = timedelta(hours=1)) -> None:
        at = datetime.now(UTC) - ago
        waits = [None] * abandoned + [3.0] * late + [0.5] * (people - abandoned - late)
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            migrate(conn)
            add(conn, "node/1", [(self.campaign.dbid, PersonFound(at, wait_s)) for wait_s in waits])

    def run(self, *arguments: str) -> Result:
        with capture_logs():
            return CliRunner().invoke(app, ["guard", *arguments], env={"OCSD_CONFIG": str(self.path)})

    def json(self, *arguments: str):
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


def test_given_a_campaign_with_room_when_asked_then_figures_and_pace_are_told(tmp_path, database):
    site = Site(tmp_path, database, "legal_rule = 'us-tsr'")
    site.count(2000, 20, late=4, ago=timedelta(days=3))
    site.count(8000, 80)
    (told,) = site.json()
    assert (told["campaign"], told["rule"], told["phase"]) == (site.campaign.name, "us-tsr", "open")
    assert (told["people"], told["abandoned"], told["abandoned_ratio"]) == (10_000, 104, 0.0104)
    assert told["room"] == pytest.approx(300 - 104)
    assert 0 < told["reserve"] < 5
    assert told["abandoned_allowed"] == pytest.approx(told["room"] - told["reserve"])
    assert told["pace_ratio"] == 0.03
    assert told["opens_after_people"] == 0
    begins, ends = (datetime.fromisoformat(told[name]) for name in ("window_begins", "window_ends"))
    assert ends - begins == timedelta(days=30)
    assert told["changes_at"] == told["window_ends"]
    text = site.run()
    assert text.exit_code == 0
    assert text.stdout.startswith(f"{site.campaign.name}: calls ahead of agents\n")
    assert "10000, 104 abandoned: 1.040%" in text.stdout


def test_given_a_spent_window_when_asked_then_it_says_when_it_opens(tmp_path, database):
    site = Site(tmp_path, database)
    site.count(1000, 29)
    (told,) = site.json("--campaign", site.campaign.name)
    assert told["phase"] == "one_to_one"
    # Nobody abandoned among so many people: 1 + reserve - room is earned at 3 % each.
    assert told["opens_after_people"] == pytest.approx((1 + told["reserve"] - told["room"]) / 0.03, abs=1)
    assert "29 of 1000 people abandoned" in told["because"]
    assert "after" in site.run().stdout


def test_given_other_rules_when_asked_then_they_count_in_their_own_window(tmp_path, database):
    site = Site(tmp_path, database, "legal_rule = 'uk', legal_hard_stop = true")
    site.count(500, 1, late=20, ago=timedelta())
    (told,) = site.json()
    # Late agents do not count there, one person without an agent does.
    assert (told["phase"], told["abandoned"], told["pace_ratio"], told["opens_after_people"]) == ("stopped", 1, 0, None)
    site = Site(tmp_path, database, "legal_rule = 'none'")
    assert site.json() == [{"campaign": site.campaign.name, "phase": "off"}]
    assert "no window is watched" in site.run().stdout


def test_given_an_unknown_campaign_or_no_configuration_when_asked_then_it_says_so(tmp_path, database):
    site = Site(tmp_path, database)
    unknown = site.run("--campaign", "Nobody")
    assert unknown.exit_code == 1
    assert site.campaign.name in unknown.stderr
    bare = CliRunner().invoke(app, ["guard"], env={"OCSD_CONFIG": ""})
    assert bare.exit_code == 2


def test_given_the_presets_when_asked_then_each_rule_says_what_it_counts():
    result = CliRunner().invoke(app, ["guard", "presets", "--json"])
    assert result.exit_code == 0
    told = {rule["name"]: rule for rule in json.loads(result.stdout)}
    assert set(told) == {"campaign", "us-tsr", "us-tcpa", "strict-1", "uk", "uk-2010"}
    assert told["us-tsr"]["source"].startswith("16 CFR 310.4(b)")
    text = CliRunner().invoke(app, ["guard", "presets"])
    assert "clock start" in text.stdout
