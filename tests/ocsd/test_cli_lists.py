"""``ocsd list``: what it prints, its exit codes, and what it does to an embedded server."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from ocsd.cli import app
from ocsd.lists.embedded import EmbeddedPostgres

EXAMPLE = (Path(__file__).parents[2] / "deploy" / "example.toml").read_text()
HANG_LIMIT_S = 120.0

CUSTOMERS = """\
phone,customer_name,segment
+12025550101,Ada,gold
+13125550102,Alan,
123,Bad,
"""


class Site:
    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.config = folder / "ocsd.toml"
        self.config.write_text(EXAMPLE.replace("[database]\n", f'[database]\ndsn = "{database}"\n'))
        self.customers = folder / "customers.csv"
        self.customers.write_text(CUSTOMERS)

    def run(self, *arguments: str | Path, answer: str | None = None) -> Result:
        with capture_logs():  # they go to standard error, once `main` has set them up
            return CliRunner().invoke(
                app, ["list", *map(str, arguments)], input=answer, env={"OCSD_CONFIG": str(self.config)}
            )


@pytest.fixture
def site(tmp_path: Path, database: str) -> Site:
    return Site(tmp_path, database)


@pytest.fixture
def nowhere(tmp_path: Path) -> Site:
    """A site whose database does not exist."""
    return Site(tmp_path, f"host={tmp_path} dbname=nothing")


def test_given_a_csv_file_when_imported_then_good_rows_are_counted_and_bad_ones_have_a_file(site):
    assert site.run("create", "Example List").stdout == 'Example List: table "customers" created\n'

    result = site.run("import", "Example List", site.customers)

    rejected = Path(f"{site.customers}.rejected.csv")
    assert result.exit_code == 0, result.stderr
    assert "Example List: 2 of 3 rows imported in " in result.stdout
    assert f"1 rows rejected: {rejected} says why" in result.stdout
    assert [row["line"] for row in csv.DictReader(rejected.read_text().splitlines())] == ["4"]


def test_given_imported_rows_when_counted_and_exported_then_each_list_has_those_of_its_filter(site):
    site.run("create", "--all")
    imported = site.run("import", "Example List", site.customers, "--json")
    assert {key: json.loads(imported.stdout)[key] for key in ("rows", "imported", "rejected")} == {
        "rows": 3, "imported": 2, "rejected": 1,
    }  # fmt: skip

    plain, as_json = site.run("stats", "Gold List"), site.run("stats", "Gold List", "--json")
    exported = site.run("export", "Gold List", site.folder / "gold.csv", "--json")

    assert "records\t1\n" in plain.stdout
    counts = json.loads(as_json.stdout)
    assert (counts["records"], counts["ready_chains"], counts["by_status"]) == (1, 1, {"ready": 1})
    assert counts["by_call_result"] == {"Unknown Call Result": 1}
    assert counts["held_back"]["excluded by the filter"] == 1
    assert "not dialed now: excluded by the filter\t1\n" in plain.stdout
    assert json.loads(exported.stdout)["rows"] == 1
    lines = (site.folder / "gold.csv").read_text().splitlines()
    assert [row["customer_name"] for row in csv.DictReader(lines)] == ["Ada"]


def test_given_headers_of_another_system_when_mapped_then_they_are_imported(site):
    site.run("create", "--all")
    site.customers.write_text("Mobile,Remark\n+12025550101,x\n")

    unmapped = site.run("import", "Example List", site.customers)
    mapped = site.run("import", "Example List", site.customers, "--map", "Mobile=contact_info", "--map", "Remark=-")

    assert (unmapped.exit_code, mapped.exit_code) == (1, 0), mapped.stderr
    assert "remark" in unmapped.stderr.lower()
    assert "1 of 1 rows imported" in mapped.stdout


def test_given_only_bad_rows_when_imported_then_the_exit_code_is_1(site):
    site.run("create", "--all")
    site.customers.write_text("phone\n123\n")

    result = site.run("import", "Example List", site.customers)

    assert result.exit_code == 1
    assert "0 of 1 rows imported" in result.stdout


def test_given_a_table_that_exists_when_created_again_then_it_is_refused_unless_all_are_asked_for(site):
    site.run("create", "Example List")

    again, rest = site.run("create", "Example List"), site.run("create", "--all", "--json")

    assert (again.exit_code, rest.exit_code) == (1, 0)
    assert "exists already" in again.stderr
    assert json.loads(rest.stdout) == {"created": {}}


def test_given_no_table_or_no_such_list_when_imported_then_it_is_refused(site):
    no_table = site.run("import", "Example List", site.customers)
    no_list = site.run("stats", "Nobody")

    assert (no_table.exit_code, no_list.exit_code) == (1, 1)
    assert "does not exist" in no_table.stderr
    assert no_list.stderr == 'ocsd: no calling list is called "Nobody"; defined are: "Example List", "Gold List".\n'


@pytest.mark.parametrize(
    "arguments",
    [["create"], ["create", "Example List", "--all"], ["import", "Example List", "/no/such.csv"], ["stats"]],
)
def test_given_wrong_arguments_when_run_then_the_exit_code_is_2(nowhere, arguments):
    assert nowhere.run(*arguments).exit_code == 2


@pytest.mark.parametrize("pair", ["Mobile", "=contact_info", "Mobile="])
def test_given_a_mapping_that_is_no_pair_when_imported_then_the_exit_code_is_2(nowhere, pair):
    assert nowhere.run("import", "Example List", nowhere.customers, "--map", pair).exit_code == 2


def test_given_no_server_at_the_dsn_when_counted_then_the_exit_code_is_3(nowhere):
    result = nowhere.run("stats", "Example List")

    assert result.exit_code == 3
    assert result.stderr.startswith("ocsd: the database cannot be reached: ")


def test_given_an_embedded_server_when_a_command_needs_it_then_it_is_started_for_that_and_a_running_one_is_left(
    postgres_folder,
):
    config = postgres_folder / "embedded.toml"
    config.write_text(f'data_dir = "{postgres_folder}/embedded"\n{EXAMPLE}')
    server = EmbeddedPostgres(postgres_folder / "embedded" / "postgres")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "ocsd.cli", "list", *arguments, "--config", str(config), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG_LIMIT_S)
        return done.stdout

    assert json.loads(run("create", "--all")) == {"created": {"Example List": "customers"}}
    assert server.server_pid() is None

    server.start()
    try:
        pid = server.server_pid()
        assert json.loads(run("stats", "Example List"))["records"] == 0
        assert server.server_pid() == pid
    finally:
        server.stop()


# -- duplicates and exact imports on the command line ----------------------------------------------------------------


def test_given_known_numbers_when_imported_by_rule_then_counts_and_both_reports_are_told(site):
    site.run("create", "--all")
    site.run("import", "Example List", site.customers)
    site.customers.write_text("phone,customer_name\n+12025550101,Ada L.\n+12025550103,Eve\n12,bad\n+12025550103,Eve\n")

    planned = site.run("import", "Example List", site.customers, "--duplicates", "update", "--dry-run")
    done = site.run("import", "Example List", site.customers, "--duplicates", "update", "--json")

    report = f"{site.customers}.duplicates.csv"
    assert planned.exit_code == 0, planned.stderr
    assert "1 of 4 rows would be imported" in planned.stdout
    assert f"2 duplicates, 1 of them would update rows of the list: {report} lists them" in planned.stdout
    told = json.loads(done.stdout)
    names = ("rows", "imported", "rejected", "duplicates", "updated", "duplicates_file", "refused", "dry_run")
    assert [told[name] for name in names] == [4, 1, 1, 2, 1, report, False, False]
    for name, expected in (("Example List", ["Alan", "Eve"]), ("Gold List", ["Ada L."])):
        site.run("export", name, site.folder / "all.csv")
        rows = csv.DictReader((site.folder / "all.csv").read_text().splitlines())
        assert sorted(row["customer_name"] for row in rows) == expected


def test_given_duplicates_when_they_are_refused_then_nothing_is_imported_and_the_exit_code_is_1(site):
    site.run("create", "--all")
    site.customers.write_text("phone\n+12025550101\n+12025550101\n")

    refused = site.run("import", "Example List", site.customers, "--duplicates", "refuse", "--by", "contact_info")
    skipped = site.run("import", "Example List", site.customers, "--duplicates", "skip")
    again = site.run("import", "Example List", site.customers, "--duplicates", "skip")

    assert (refused.exit_code, skipped.exit_code, again.exit_code) == (1, 0, 0)
    assert "1 duplicates, nothing is imported because of them" in refused.stdout
    assert "0 of 2 rows imported" in again.stdout


def test_given_a_rule_that_means_nothing_when_imported_then_it_is_refused(site):
    site.run("create", "--all")
    for arguments, code, words in (
        (["--duplicates", "maybe"], 2, "maybe"),
        (["--duplicates", "skip", "--by", "name"], 2, "name"),
        (["--also", "Gold List"], 2, "needs --duplicates"),
        (["--duplicates", "skip", "--also", "Nobody"], 1, 'no calling list is called "Nobody"'),
        (["--duplicates", "skip", "--by", "customer_id"], 1, "has no customer_id_field"),
    ):
        result = site.run("import", "Example List", site.customers, *arguments)
        assert (result.exit_code, words in result.stderr) == (code, True), result.stderr


def test_given_an_export_with_rows_of_a_daemon_when_imported_then_options_decide(site, database):
    site.run("create", "--all")
    site.run("import", "Example List", site.customers)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE customers SET record_status = 2, contact_info = 'ext. 7' WHERE customer_name = 'Alan'")
        site.run("export", "Example List", site.folder / "all.csv")
        conn.execute("TRUNCATE customers")

        plain = site.run("import", "Example List", site.folder / "all.csv", "--json")
        conn.execute("TRUNCATE customers")
        exact = site.run("import", "Example List", site.folder / "all.csv", "--exact", "--retrieved", "ready", "--json")
        rows = conn.execute("SELECT contact_info, record_status FROM customers ORDER BY contact_info").fetchall()

    assert [json.loads(run.stdout)["imported"] for run in (plain, exact)] == [0, 1]
    assert rows == [("ext. 7", 1)]


# -- release ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def stale(site, database):
    """Ada and Alan are Stale; Ada's last call was two hours ago, Alan's two days ago."""
    site.run("create", "--all")
    site.run("import", "Example List", site.customers)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "UPDATE customers SET record_status = 4, attempt = 1, call_time = extract(epoch FROM now())::int -"
            " CASE customer_name WHEN 'Ada' THEN 7200 ELSE 172800 END"
        )
        yield conn


def statuses(conn):
    return dict(conn.execute("SELECT customer_name, record_status FROM customers").fetchall())


def test_given_stale_records_when_released_then_they_are_ready_and_their_history_says_who_did_it(site, stale):
    result = site.run("release", "Example List", "--stale", "--yes", "--json")  # Ada is gold: in the other list
    assert json.loads(result.stdout) == {"calling_list": "Example List", "released": 1}
    assert statuses(stale) == {"Ada": 4, "Alan": 1}
    rows = stale.execute("SELECT record_status, because, owner FROM ocsd.decision").fetchall()
    assert rows == [(1, "an operator has released the record, which was Stale", "ocsd list release")]
    assert site.run("release", "Gold List", "--stale", "--yes").stdout == "Gold List: 1 records are Ready again\n"
    assert stale.execute("SELECT array_agg(attempt) FROM customers").fetchone() == ([1, 1],)


def test_given_an_age_when_released_then_only_records_that_were_not_heard_of_since_are(site, stale):
    for age, released in (("1d", 0), ("3h", 0), ("90min", 1), ("90min", 0)):
        done = site.run("release", "Gold List", "--stale", "--older-than", age, "--yes", "--json")
        assert json.loads(done.stdout)["released"] == released, age


def test_given_a_later_end_of_its_call_when_released_by_age_then_that_counts(site, stale):
    stale.execute(
        "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid,"
        " campaign_group_dbid, phone, leg_id, started_at, finished_at) SELECT 1, '', '', 'customers', 1, record_id,"
        " chain_id, 1, 1, '', '', now() - interval '3 days', now() - interval '1 min' FROM customers"
        " WHERE customer_name = 'Alan'"
    )
    done = site.run("release", "Example List", "--stale", "--older-than", "1h", "--yes", "--json")
    assert json.loads(done.stdout)["released"] == 0


@pytest.mark.parametrize("held_by", ["claim", "attempt", "lock", "type"])
def test_given_a_record_that_is_held_or_never_to_be_called_when_released_then_it_stays(site, stale, database, held_by):
    with psycopg.connect(database) as other:
        if held_by == "claim":
            stale.execute("INSERT INTO ocsd.instance (owner, node) VALUES ('me', 'here')")
            stale.execute(
                "INSERT INTO ocsd.claim (table_name, chain_id, list_dbid, campaign_group_dbid, owner, batch,"
                " lease_until) SELECT 'customers', chain_id, 1, 1, 'me', gen_random_uuid(), now() FROM customers"
            )
        elif held_by == "attempt":
            stale.execute(
                "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id,"
                " campaign_dbid, campaign_group_dbid, phone, leg_id, started_at) SELECT record_id, '', '', 'customers',"
                " 1, record_id, chain_id, 1, 1, '', '', now() FROM customers"
            )
        elif held_by == "type":
            stale.execute("UPDATE customers SET record_type = 7")
        else:
            other.execute("SELECT FROM customers FOR UPDATE")
        done = site.run("release", "Example List", "--stale", "--yes", "--json")
    assert json.loads(done.stdout)["released"] == 0
    assert statuses(stale) == {"Ada": 4, "Alan": 4}


def test_given_nobody_has_said_yes_when_released_then_it_asks_first(site, stale):
    for answer, code, status in (("", 1, 4), ("n\n", 1, 4), ("y\n", 0, 1)):
        result = site.run("release", "Example List", "--stale", answer=answer)
        assert result.exit_code == code
        assert "Example List: 1 Stale record will be dialed again" in result.stderr
        assert statuses(stale)["Alan"] == status


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--stale", "--json"],
        ["--stale", "--older-than", "soon"],
        ["--stale", "--older-than", "-1h"],
        ["--stale", "--older-than", "999999d"],
    ],
)
def test_given_an_unclear_release_when_run_then_the_exit_code_is_2(nowhere, arguments):
    assert nowhere.run("release", "Example List", *arguments).exit_code == 2


def test_given_thousands_of_stale_records_when_released_then_all_portions_are(site, stale, monkeypatch):
    monkeypatch.setattr("ocsd.lists.stale.AT_ONCE", 100)
    stale.execute(
        "INSERT INTO customers (contact_info, record_status) SELECT '+1202555' || n, 4"
        " FROM generate_series(1, 250) AS n"
    )
    done = site.run("release", "Example List", "--stale", "--yes", "--json")
    assert json.loads(done.stdout)["released"] == 251
