"""``ocsd list``: what it prints, its exit codes, and what it does to an embedded server."""

import csv
import json
import subprocess
import sys
from pathlib import Path

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

    def run(self, *arguments: str | Path) -> Result:
        with capture_logs():  # they go to standard error, once `main` has set them up
            return CliRunner().invoke(app, ["list", *map(str, arguments)], env={"OCSD_CONFIG": str(self.config)})


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
