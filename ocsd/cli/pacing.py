"""``ocsd pacing``: recordings of the pacing, told, repeated bit for bit, and held against what then happened."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ocsd.cli.errors import EXIT_CODES, EXIT_REFUSED
from ocsd.cli.output import JSON_OPTION, err, out, print_json, print_table

if TYPE_CHECKING:
    from ocsd.explain.pacing_recording import Recording, Shown

app = typer.Typer(
    help="Look into recordings of the pacing: why so many calls, and was the prediction right.\n\n\b\nExample:\n"
    "  ocsd pacing show /var/lib/ocsd/pacing/1/20260306T143000-001.jsonl.gz",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Journal: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A file under pacing/ in the data folder.")
]
Number: TypeAlias = Annotated[int | None, typer.Option("--decision", min=1, help="Its number in the recording.")]


def _open(path: Path) -> "Recording":
    from ocsd.explain.pacing_recording import open_recording

    recording = open_recording(path)
    if recording.torn_bytes:
        err(f"{path}: the last {recording.torn_bytes} bytes are of a block that is not finished; they are passed over")
    return recording


@app.command(epilog=EXIT_CODES)
def show(file: Journal, decision: Number = None, as_json: JSON_OPTION = False) -> None:
    """Tell one decision in words: what bound it, what was there, what it expected.

    \b
    Example:
      ocsd pacing show /var/lib/ocsd/pacing/1/20260306T143000-001.jsonl.gz --decision 4711
    """
    shown = _open(file).decision(decision)
    if as_json:
        print_json(_document(shown))
    else:
        _print(shown)


@app.command(epilog=EXIT_CODES)
def replay(
    file: Journal,
    decision: Annotated[int | None, typer.Option("--decision", min=1, help="Only this one; default: all.")] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Repeat recorded decisions and compare them, to the last bit; the first difference is shown.

    \b
    Example:
      ocsd pacing replay /var/lib/ocsd/pacing/1/20260306T143000-001.jsonl.gz
    """
    recording = _open(file)
    if decision is not None:
        shown = recording.decision(decision)
        if as_json:
            print_json(_document(shown))
        else:
            _print(shown)
        raise typer.Exit(EXIT_REFUSED if shown.differences else 0)
    from pacing.journal import Decided

    decisions = checkpoints = differing = 0
    first: dict[str, Any] | None = None
    for each in recording.replayed():
        decisions += isinstance(each.entry, Decided)
        checkpoints += not isinstance(each.entry, Decided)
        differing += bool(each.differences)
        if each.differences and first is None:
            first = {"decision": each.entry.number, "differences": list(each.differences)}
    if as_json:
        print_json(
            {"decisions": decisions, "checkpoints": checkpoints, "differing": differing, "first_difference": first}
        )
    elif first is None:
        out(f"{decisions} decisions and {checkpoints} checkpoints repeated: the same to the last bit")
    else:
        out(f"{decisions} decisions and {checkpoints} checkpoints repeated, {differing} differ; the first one:")
        out(f"decision {first['decision']}")
        for difference in first["differences"]:
            out(f"  {difference}")
    raise typer.Exit(EXIT_REFUSED if differing else 0)


@app.command(epilog=EXIT_CODES)
def calibration(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", exists=True, help="Recordings, or folders with recordings.")
    ],
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Draw predicted against actual (SVG).")
    ] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Hold predictions against what then happened: people, people without an agent, agents coming free.

    \b
    Example:
      ocsd pacing calibration /var/lib/ocsd/pacing/1 --plot calibration.svg
    """
    from ocsd.explain.calibration_plot import plot as draw
    from ocsd.explain.pacing_recording import files_of
    from pacing.calibration import QUANTITIES
    from pacing.calibration import calibration as calibrated
    from pacing.calibration import samples as samples_of

    samples = [sample for path in files_of(files) for sample in samples_of(_open(path).entries())]
    found = [calibrated(samples, quantity) for quantity in QUANTITIES]
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        print_table(
            ("quantity", "samples", "expected", "happened", "ratio", "its error", "within 90 %"),
            [
                (
                    each.quantity,
                    each.samples,
                    round(each.expected, 1),
                    each.actual,
                    *(None if value is None else f"{value:.3f}" for value in (each.ratio, each.ratio_error)),
                    None if each.covered_ratio is None else f"{100 * each.covered_ratio:.0f} %",
                )
                for each in found
            ],
        )
    if plot is not None:
        draw(found, plot)


def _print(shown: "Shown") -> None:
    from pacing.words import told

    at = f", {shown.at.isoformat(sep=' ', timespec='milliseconds')}" if shown.at is not None else ""
    out(f"decision {shown.entry.number}{at}")
    for sentence in told(shown.decision, shown.target, shown.entry.snapshot.legal):
        out(f"  {sentence}")
    if shown.differences:
        out("repeated, it differs from the recording:")
        for difference in shown.differences:
            out(f"  {difference}")
    else:
        out("repeated: the same to the last bit")


def _document(shown: "Shown") -> dict[str, Any]:
    from pacing.words import told

    return {
        "decision": shown.entry.number,
        "at": shown.at.isoformat() if shown.at is not None else None,
        "launch": shown.decision.launch,
        "because": shown.decision.because,
        "words": told(shown.decision, shown.target, shown.entry.snapshot.legal),
        "predicted_overdial_ratio": shown.decision.predicted_overdial_ratio,
        "inputs": shown.decision.inputs,
        "snapshot": asdict(shown.entry.snapshot),
        "differences": list(shown.differences),
    }
