"""Printing: plain text and JSON to standard output, messages to standard error, tables with or without a terminal."""

import json
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import typer

JSON_OPTION: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def out(text: str) -> None:
    typer.echo(text)


def err(text: str) -> None:
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table with lines on a terminal; tab-separated, without headings' colours, anywhere else."""
    import sys

    if not sys.stdout.isatty():
        for row in (headings, *rows):
            out("\t".join(_text(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings)
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    Console().print(table, markup=False)


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
