"""Printing: plain text and JSON to standard output, messages to standard error, tables with or without a terminal."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Protocol, TypeAlias

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


class Seen(Protocol):
    """Called with the bytes done so far, and a word about it."""

    def __call__(self, done_bytes: int, note: str = "", /) -> None: ...


@contextmanager
def byte_progress(title: str, total_bytes: int | None) -> Iterator[Seen]:
    """A progress bar on standard error where that is a terminal, else nothing."""
    if not sys.stderr.isatty():

        def unseen(_done_bytes: int, _note: str = "", /) -> None:
            pass

        yield unseen
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total_bytes, note="")

        def seen(done_bytes: int, note: str = "", /) -> None:
            bar.update(task, completed=done_bytes, note=note)

        yield seen
