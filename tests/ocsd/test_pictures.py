"""
Pictures of the terminal in the pages: what commands really print, on lists of which little may be dialed.

``OCSD_WRITE_DOCS=1 pytest tests/ocsd/test_pictures.py`` draws them anew. Words are compared, not bytes and numbers: how
rich draws is its own affair, and a forecast may become better.
"""

import csv
import io
import itertools
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import pytest
import typer.main
from rich.console import Console
from rich.text import Text
from structlog.testing import capture_logs

from ocsd.cli import app, preflight
from tests.ocsd import test_cli_lists, test_why

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {"why.svg": ("README.md", "docs/why.md"), "preflight.svg": ("docs/preflight.md",)}
MORNING = datetime(2026, 3, 6, 15, 30, tzinfo=UTC)
"""A Friday: 10:30 in New York and 09:30 in Chicago, but 07:30 in Los Angeles, where it is too early."""
LIST = "Example List"
NPAS = {"212": 700, "312": 450, "213": 650}
"""Numbers for each area code: New York, Chicago, Los Angeles."""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(arguments, width, monkeypatch):
    """What a command prints on a terminal of so many columns, with its colours; and its exit code."""
    terminal = Terminal()
    for name, value in {"COLUMNS": str(width), "TERM": "xterm-256color", "OCSD_URL": test_why.NOBODY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    with monkeypatch.context() as patch, capture_logs():
        patch.setattr(sys, "stdout", terminal)
        code = typer.main.get_command(app).main(arguments, prog_name="ocsd", standalone_mode=False)
    return terminal.getvalue(), code or 0


def drawn(arguments, text, width):
    """An SVG of the command and what it has printed."""
    words = " ".join(f'"{word}"' if " " in word else word for word in arguments)
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(Text(f"$ ocsd {words}", style="bold"))
    console.print(Text.from_ansi(text.rstrip("\n")))
    name = itertools.takewhile(lambda word: word.isalpha(), arguments)
    svg = console.export_svg(title=" ".join(["ocsd", *name]), unique_id="ocsd")
    # As in ocsd.demo.view: the template loads its font from the network; any monospaced one will do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code, monospace", "monospace")


def words_of(svg):
    texts = (element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text"))
    return set(re.findall(r"[^\W\d_]{2,}", " ".join(texts)))


def check(name, svg):
    path = DOCS / name
    if os.environ.get("OCSD_WRITE_DOCS"):
        path.write_text(svg, encoding="utf-8")
    assert path.exists(), f"OCSD_WRITE_DOCS=1 pytest {__file__} draws it"
    stands = path.read_text(encoding="utf-8")
    assert "url(http" not in stands
    assert words_of(stands) == words_of(svg)
    for page in PAGES[name]:
        assert re.search(rf"!\[[^\]]+\]\((docs/)?{re.escape(name)}\)", (ROOT / page).read_text()), page


def test_given_a_refused_record_when_asked_why_then_the_picture_shows_what_a_terminal_does(
    tmp_path, database, monkeypatch
):
    site = test_why.Site(tmp_path, database)
    site.fill()
    arguments = site.command("An attempt cap")

    text, code = printed([*arguments, "--config", str(site.config)], 150, monkeypatch)
    site.conn.close()

    assert code == 1
    assert "closed" in text
    assert "\x1b[1;31mclosed" in text
    check("why.svg", drawn(arguments, text, 150))


@pytest.fixture
def morning(monkeypatch):
    class Morning(datetime):
        @classmethod
        def now(cls, tz=None):
            return MORNING.astimezone(tz)

    monkeypatch.setattr(preflight, "datetime", Morning)


def test_given_a_list_in_the_morning_when_looked_at_before_a_start_then_the_picture_shows_what_a_terminal_does(
    tmp_path, database, monkeypatch, morning
):
    site = test_cli_lists.Site(tmp_path, database)
    with site.customers.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["phone", "customer_name"])
        for npa, count in NPAS.items():
            rows.writerows([f"+1{npa}555{place:04}", f"Customer {place}"] for place in range(100, 100 + count))
    assert site.run("create", LIST).exit_code == 0
    assert site.run("import", LIST, site.customers).exit_code == 0
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO gsw_donotcall_list (phone) SELECT contact_info FROM customers WHERE record_id % 40 = 0"
        )
        conn.execute("UPDATE customers SET record_status = 3, call_result = 33 WHERE record_id % 25 = 1")
        conn.execute("UPDATE customers SET attempt = 5, call_result = 7 WHERE record_id % 60 = 2")
    arguments = ["list", "preflight", LIST, "--agents", "4"]

    text, code = printed([*arguments, "--config", str(site.config)], 118, monkeypatch)

    assert code == 0
    for told in ("number on Do-Not-Call", "America/Los_Angeles", "99 % finished", "capacity idles because"):
        assert told in text
    check("preflight.svg", drawn(arguments, text, 118))
