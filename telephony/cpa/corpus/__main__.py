"""Make a corpus, or judge Asterisk's rule on one: ``python -m telephony.cpa.corpus make|baseline DIR``."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from telephony.cpa.corpus import asterisk, build, plan, recorded, speech

console = Console(stderr=True)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 when the arguments or the machine's programs do not allow what was asked."""
    parser = argparse.ArgumentParser(prog="python -m telephony.cpa.corpus", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write WAV files and manifest.jsonl")
    make.add_argument("folder", type=Path, metavar="DIR")
    make.add_argument("--seed", type=_seed, default=1)
    make.add_argument("--size", choices=("small", "full"), default="small")
    make.add_argument("--only", metavar="CLASS", help="files of this class only, and a manifest of them")
    make.add_argument(
        "--split", choices=("train", "test", "real"), help="files of this part only, the same as in a whole"
    )
    make.add_argument(
        "--recorded",
        type=Path,
        metavar="CACHE",
        help="also use recorded voices: Debian packages of telephone prompts are fetched into this folder",
    )
    make.add_argument(
        "--voices",
        type=Path,
        metavar="FOLDER",
        help="also use recordings of your own for the part real: a sub-folder NAME.LANGUAGE for each speaker",
    )
    baseline = commands.add_parser("baseline", help="Asterisk's rule on persons and machines")
    baseline.add_argument("folder", type=Path, metavar="DIR")
    asked = parser.parse_args(arguments)
    try:
        return _make(asked) if asked.command == "make" else _baseline(asked.folder)
    except (ValueError, OSError, speech.ToolMissing) as error:
        console.print(f"[red]{error}[/red]")
        return 2


def _seed(text: str) -> int:
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _make(asked: argparse.Namespace) -> int:
    made_with = speech.check_tools()
    speakers: tuple[recorded.Speaker, ...] = ()
    if asked.recorded is not None:
        made_with |= recorded.fetch(asked.recorded)
        speakers = recorded.speakers(asked.recorded)
    if asked.voices is not None:
        speakers += recorded.own_speakers(asked.voices)
    for program, version in made_with.items():
        console.print(f"{program}: {version}", style="dim")
    splits = {speaker.split for speaker in speakers}
    todo = [
        job
        for job in plan.jobs(asked.size, asked.only, recorded=True)
        if asked.split in (None, job.split) and (not job.recorded or job.split in splits)
    ]
    if not todo:
        what = " ".join(
            word for word in (asked.only and f"class {asked.only}", asked.split and f"part {asked.split}") if word
        )
        raise ValueError(f"there is no file of {what}; the part real needs --recorded or --voices")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("files", total=len(todo))
        counts = build.make(todo, asked.seed, asked.folder, lambda done: bar.update(task, completed=done), speakers)
    origin = {"seed": asked.seed, "size": asked.size, "only": asked.only, "made_with": made_with, "files": counts}
    (asked.folder / "corpus.json").write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    for label, count in sorted(counts.items()):
        console.print(f"{label:14} {count:5}")
    return 0


def _baseline(folder: Path) -> int:
    table = Table("split", "label", "files", "human", "machine", "not sure", title="Asterisk's rule, sample settings")
    for row in asterisk.judge(folder):
        shares = (f"{count} ({count / row.files:.1%})" for count in (row.human, row.machine, row.not_sure))
        table.add_row(row.split, row.label, str(row.files), *shares)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
