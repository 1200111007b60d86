"""The pages that say which test shows what: each test is there, each figure is that of its ladder, none is left out."""

import re
from pathlib import Path

import pytest

from tests.ladder import FLOWS

ROOT = Path(__file__).parents[1]
TABLES = [FLOWS / "README.md", ROOT / "docs" / "sip-proof.md"]
ROW = re.compile(r'^\| "(?P<figure>[^"]+)" \| \[[^\]]+\]\((?P<page>[^)]+)\) \| `(?P<test>[^`]+)` \|$', re.MULTILINE)
ROWS = [match.groupdict() for match in ROW.finditer(TABLES[0].read_text())]


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.name)
def test_given_a_table_of_tests_when_read_then_each_of_them_is_there(table):
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", table.read_text())

    assert len(named) > 10
    for path, name in named:
        text = (ROOT / path).read_text()
        assert not name or re.search(rf"def {name}\b", text), f"{path} has no {name}"


def test_given_the_figures_when_their_ladders_are_read_then_each_is_of_its_figure_and_none_is_left_out():
    pages = {path.name: path.read_text() for path in FLOWS.glob("*.md") if path.name != "README.md"}

    assert {row["page"] for row in ROWS} == set(pages)
    for row in ROWS:
        source = next(line for line in pages[row["page"]].splitlines() if line.startswith("Manual: "))
        assert f'"{row["figure"]}"' in source, row
        assert "sequenceDiagram" in pages[row["page"]]


def test_given_a_ladder_when_its_test_is_looked_for_then_that_test_makes_it():
    for row in ROWS:
        text = (ROOT / row["test"]).read_text()
        assert f'"{row["page"].removesuffix(".md")}"' in text, row
