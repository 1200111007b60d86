"""``ocsd dnc``: what it prints, its exit codes, what it changes, and that a running daemon hears of it."""

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import trio
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from ocsd.cli import app
from ocsd.config.loader import load_configuration
from ocsd.dnc.mapped import map_registries
from ocsd.dnc.service import open_dnc
from ocsd.lists.pool import open_database

EXAMPLE = (Path(__file__).parents[2] / "deploy" / "example.toml").read_text()
HANG_LIMIT_S = 60.0
TENANT = 1
ADA, ALAN = "+12125550101", "+12125550102"


class Site:
    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.dsn = database
        self.config = folder / "ocsd.toml"
        text = EXAMPLE.replace("[database]\n", f'[database]\ndsn = "{database}"\n')
        self.config.write_text(f'data_dir = "{folder}/data"\n{text}')

    def run(self, *arguments: str | Path) -> Result:
        with capture_logs():
            return CliRunner().invoke(app, ["dnc", *map(str, arguments)], env={"OCSD_CONFIG": str(self.config)})

    def json(self, *arguments: str | Path):
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def file(self, text: str, name: str = "numbers.txt") -> Path:
        path = self.folder / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    def rows(self):
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(
                "SELECT phone, customer_id, tenant_dbid, dnc_message, is_internal, expires_at FROM gsw_donotcall_list"
                " ORDER BY phone, customer_id"
            ).fetchall()

    def version(self) -> int:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute("SELECT version FROM ocsd.dnc_version").fetchone()[0]


@pytest.fixture
def site(tmp_path: Path, database: str) -> Site:
    return Site(tmp_path, database)


@pytest.fixture
def nowhere(tmp_path: Path) -> Site:
    """A site whose database does not exist."""
    return Site(tmp_path, f"host={tmp_path} dbname=nothing")


def test_given_registry_files_when_imported_then_the_registry_is_in_force_and_bad_lines_are_told(site):
    first = site.file("212,5550101\n212,5550102\nAreaCode,Number\n212,5550101\n", "212.txt.gz")
    second = site.file("213,5550199\n", "213.txt")

    result = site.run("import", first, second, "--registry", "us", "--country", "US", "--expires", "2100-01-02")

    rejected = Path(f"{first}.rejected.csv")
    assert result.exit_code == 0, result.stderr
    assert 'registry "us" of every tenant: 3 numbers from 5 lines in ' in result.stdout
    assert f"1 lines refused: {rejected} says why" in result.stdout
    assert [row["line"] for row in csv.DictReader(rejected.read_text().splitlines())] == ["3"]
    (registry,), _ = map_registries(site.folder / "data")
    assert (registry.tenant_dbid, registry.until) == (None, datetime(2100, 1, 2, tzinfo=UTC).timestamp())
    assert site.version() == 2
    exported = site.run("export", "--registry", "us")
    assert exported.stdout == "+12125550101\n+12125550102\n+12135550199\n"


def test_given_a_registry_of_a_tenant_when_listed_and_checked_then_it_says_where_and_since_when(site):
    site.run("import", site.file(f"{ADA}\n"), "--registry", "mine", "--tenant", "Example Ltd")
    site.run("add", ALAN, "--message", "by letter", "--expires", "2035-01-01", "--customer", "C-17")

    listed = site.json("list", "--verify")
    (ada,) = site.json("check", "(212) 555-0101", "--country", "US", "--tenant", "Example Ltd")
    alan, grace, customer = site.json("check", ALAN, "+12125550103", "--customer", "C-17")

    assert [(r["name"], r["tenant"], r["numbers"], r["in_force"]) for r in listed["registries"]] == [
        ("mine", "Example Ltd", 1, True)
    ]
    assert listed["table"] == [{"tenant": "every tenant", "phones": 1, "customers": 1, "expired": 0}]
    assert (ada["phone"], ada["forbidden"]) == (ADA, True)
    assert [(found["tier"], found["registry"], found["tenant"]) for found in ada["found"]] == [
        ("registry", "mine", "Example Ltd")
    ]
    (found,) = alan["found"]
    assert {key: found[key] for key in ("tier", "tenant", "expires_at", "message", "in_force")} == {
        "tier": "table", "tenant": "every tenant", "expires_at": "2035-01-01T00:00:00+00:00", "message": "by letter",
        "in_force": True,
    }  # fmt: skip
    assert datetime.fromisoformat(found["since"]).year >= 2024
    assert (grace["forbidden"], grace["found"], customer["forbidden"]) == (False, [], True)
    assert 'registry "mine"\tExample Ltd\t1\t-\t0 days old\n' in site.run("list").stdout
    plain = site.run("check", ALAN, "+12125550103").stdout.splitlines()
    assert plain[1].startswith(f"{ALAN}\tforbidden\ttable\tevery tenant\t")
    assert plain[2] == "+12125550103\tmay be called\t-\t-\t-\t-\t-"


def test_given_an_expired_row_when_checked_then_it_is_told_but_does_not_forbid(site):
    site.run("add", ADA, "--expires", "2020-01-01")

    (ada,) = site.json("check", ADA)

    assert (ada["forbidden"], ada["found"][0]["in_force"]) == (False, False)
    assert "may be called" in site.run("check", ADA).stdout
    assert "1 expired" in site.run("list").stdout


def test_given_numbers_when_imported_into_the_table_then_those_that_are_there_already_are_left(site):
    file = site.file(f"{ADA}\n{ALAN}\n{ADA}\n")
    site.run("add", ADA, "--tenant", "Example Ltd", "--message", "first")
    site.run("add", ALAN, "--tenant", "Example Ltd", "--expires", "2030-01-01")

    imported = site.json("import", file, "--table", "--tenant", "Example Ltd", "--expires", "2031-01-01")
    again = site.json("import", file, "--table", "--tenant", "Example Ltd", "--expires", "2031-01-01")

    until_2030, until_2031 = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2030, 2031))
    assert (imported["numbers"], imported["lines"], again["numbers"]) == (1, 3, 0)
    assert set(site.rows()) == {
        (ADA, None, TENANT, "first", 1, None),
        (ALAN, None, TENANT, None, 1, until_2030),
        (ALAN, None, TENANT, "imported", 0, until_2031),
    }
    exported = site.run("export", "--tenant", "Example Ltd").stdout.splitlines()
    assert exported[0].startswith("phone,customer_id,dnc_message,tenant_dbid")
    assert len(exported) == 4


def test_given_a_table_when_exported_to_a_file_then_it_is_csv(site):
    site.run("add", ADA, "--message", 'said "no", twice')
    result = site.run("export", "--output", site.folder / "out.csv")

    (row,) = csv.DictReader((site.folder / "out.csv").read_text().splitlines())
    assert result.stdout == f"1 rows exported to {site.folder}/out.csv\n"
    assert (row["phone"], row["dnc_message"], row["tenant_dbid"]) == (ADA, 'said "no", twice', "")


def test_given_rows_when_removed_then_what_else_forbids_is_told(site):
    site.run("import", site.file(f"{ADA}\n"), "--registry", "us")
    for arguments in (["--tenant", "Example Ltd"], []):
        site.run("add", ADA, "--customer", "C-17", *arguments)
    with psycopg.connect(site.dsn) as conn:
        conn.execute("INSERT INTO gsw_donotcall_list (phone) VALUES ('(212) 555-0101')")
        conn.execute("INSERT INTO gsw_donotcall_list (phone, customer_id) VALUES (%s, 'C-18')", (ADA,))
    version = site.version()

    result = site.run("remove", ADA, "--customer", "C-17")
    nothing = site.run("remove", ADA)

    assert result.exit_code == 0, result.stderr
    assert result.stdout == "4 removed for every tenant\n"
    assert result.stderr.splitlines() == [
        f"{ADA} is still forbidden: table of Example Ltd",
        f'{ADA} is still forbidden: registry "us" of every tenant',
        "C-17 is still forbidden: table of Example Ltd",
    ]
    assert [row[:3] for row in site.rows()] == [(ADA, None, TENANT), (None, "C-17", TENANT), (None, "C-18", None)]
    assert (nothing.exit_code, nothing.stdout) == (1, "0 removed for every tenant\n")
    assert site.version() == version + 1


def test_given_a_registry_when_removed_then_it_is_gone_and_unknown_ones_are_refused(site):
    site.run("import", site.file(f"{ADA}\n"), "--registry", "us")

    removed, again, export = (
        site.run("remove", "--registry", "us"),
        site.run("remove", "--registry", "us"),
        site.run("export", "--registry", "us"),
    )

    assert (removed.exit_code, again.exit_code, export.exit_code) == (0, 1, 1)
    assert again.stderr == export.stderr == 'ocsd: every tenant has no registry "us"; there are: none.\n'


def test_given_a_file_that_is_mostly_wrong_when_imported_then_the_old_registry_stays(site):
    good = site.file("".join(f"+1212555{number:04d}\n" for number in range(100)), "good.txt")
    misread = site.file("".join(f"212-555-{number:04d}\n" for number in range(100)) + f"{ADA}\n", "misread.txt")
    part = site.file(f"{ADA}\n", "part.txt")
    nothing = site.file("no numbers here\n", "nothing.txt")
    site.run("import", good, "--registry", "us")

    results = [site.run("import", file, "--registry", "us") for file in (misread, part, nothing)]

    assert [result.exit_code for result in results] == [1, 1, 1]
    assert "100 of 101 lines were refused" in results[0].stderr
    assert "1 numbers would replace 100" in results[1].stderr
    assert "no number was found in 1 lines" in results[2].stderr
    assert site.json("list")["registries"][0]["numbers"] == 100
    forced = site.run("import", part, "--registry", "us", "--force")
    assert forced.exit_code == 0
    assert site.json("list")["registries"][0]["numbers"] == 1


def test_given_a_damaged_registry_when_listed_then_it_is_told_and_an_import_repairs_it(site):
    file = site.file(f"{ADA}\n")
    site.run("import", file, "--registry", "us")
    path = site.folder / "data" / "dnc" / "all" / "us.dnc"
    path.write_bytes(path.read_bytes()[:-1])

    damaged = site.run("list")
    repaired = site.run("import", file, "--registry", "us")

    assert (damaged.exit_code, repaired.exit_code) == (1, 0)
    assert "us.dnc: " in damaged.stderr
    assert site.run("list").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["import", "{file}"], 2),
        (["import", "{file}", "--registry", "us", "--table"], 2),
        (["import", "/no/such", "--table"], 2),
        (["import", "{file}", "--table", "--country", "XX"], 2),
        (["import", "{file}", "--table", "--expires", "soon"], 2),
        (["import", "{file}", "--registry", "../us"], 1),
        (["import", "{file}", "--table", "--tenant", "Nobody"], 1),
        (["check"], 2),
        (["add"], 2),
        (["add", "--customer", " "], 2),
        (["add", ADA, "--expires", "2050-01-01"], 2),
        (["import", "{file}", "--registry", "us", "--expires", "2150-01-01"], 2),
        (["add", "2125550101"], 1),
        (["add", "12", "--country", "US"], 1),
        (["remove"], 2),
        (["remove", ADA, "--registry", "us"], 2),
    ],
)
def test_given_wrong_arguments_when_run_then_nothing_is_changed_and_the_exit_code_says_whose_fault(
    site, arguments, code
):
    file = site.file(f"{ADA}\n")

    result = site.run(*(argument.format(file=file) for argument in arguments))

    assert result.exit_code == code, result.stderr
    assert (site.rows(), site.version()) == ([], 1)
    assert map_registries(site.folder / "data") == ((), [])


def test_given_no_database_when_asked_then_the_exit_code_is_3(nowhere):
    for arguments in (["check", ADA], ["add", ADA], ["reread"], ["list"]):
        result = nowhere.run(*arguments)
        assert result.exit_code == 3, result.stderr
        assert result.stderr.startswith("ocsd: the database cannot be reached: ")


async def test_given_a_running_service_when_the_command_line_changes_something_then_it_obeys_at_its_next_look(site):
    now = datetime.now(UTC)
    folder = site.folder / "data"
    with trio.fail_after(HANG_LIMIT_S):
        async with open_database(lambda: site.dsn, size=2, statement_timeout_s=20) as database:
            async with open_dnc(load_configuration(site.config), database, folder) as dnc:

                async def after(*arguments):
                    result = await trio.to_thread.run_sync(site.run, *arguments)
                    assert result.exit_code == 0, result.stderr
                    await dnc.poll()
                    return dnc.forbidden(TENANT, [ADA, ALAN], now)

                file = site.file(f"{ADA}\n")
                assert await after("add", ADA) == [True, False]
                assert await after("import", file, "--registry", "us") == [True, False]
                assert await after("remove", ADA) == [True, False]
                assert await after("remove", "--registry", "us") == [False, False]
                assert await after("import", site.file(f"{ALAN}\n"), "--table") == [False, True]
                with psycopg.connect(site.dsn) as conn:
                    conn.execute("DELETE FROM gsw_donotcall_list")
                assert await after("list") == [False, True]
                assert await after("reread") == [False, False]
