"""``ocsd cpa``: call progress analysis of recordings, by the very analyser that listens to calls."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

import typer

from ocsd.cli.errors import EXIT_CODES, EXIT_REFUSED
from ocsd.cli.output import JSON_OPTION, err, out, print_json, print_table
from ocsd.cli.preflight import row_progress

if TYPE_CHECKING:
    from ocsd.cpa.examples import Candidate
    from ocsd.cpa.manifest import Entry
    from ocsd.cpa.results import Analysed
    from telephony.contract import AnalysisSettings
    from telephony.cpa.offline import Call
    from telephony.cpa.wavfile import Recording

T = TypeVar("T")

app = typer.Typer(
    help="Analyse recordings of calls, and measure how often that is right.\n\n\b\nExample:\n"
    "  ocsd cpa analyze greeting.wav --tones DE",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)

BATCH_FILES: Final = 256
"""Files analysed at once: enough to share each frame's array work."""

BATCH_BYTES: Final = 128 * 2**20


class Level(StrEnum):
    """Those of call_answer_type_recognition that listen at all."""

    NO_AM_DETECTION = "no_am_detection"
    POSITIVE_AM_DETECTION = "positive_am_detection"
    FULL_POSITIVE_AM_DETECTION = "full_positive_am_detection"
    ACCURATE_AM_DETECTION = "accurate_am_detection"


LEVEL_OPTION: TypeAlias = Annotated[
    Level, typer.Option("--level", help="How hard machines are looked for (call_answer_type_recognition).")
]
GUARD_OPTION: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--timeguard-ms", min=20, max=60_000, help="Longest analysis after the answer (call_timeguard_timeout)."
    ),
]


class Phase(StrEnum):
    PRE = "pre"
    POST = "post"


@app.command(epilog=EXIT_CODES)
def analyze(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="WAV files; /dev/stdin for a pipe.")],
    tones: Annotated[
        str, typer.Option("--tones", metavar="CC", help="Country whose tones are expected, as two letters.")
    ] = "US",
    phase: Annotated[
        Phase, typer.Option(help="pre: early media of a call that is never answered; post: from the answer on.")
    ] = Phase.POST,
    channel: Annotated[int, typer.Option(min=1, help="Which channel of a file that has several.")] = 1,
    level: LEVEL_OPTION = Level.POSITIVE_AM_DETECTION,
    timeguard_ms: GUARD_OPTION = None,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Also draw each: spectrogram, speech and verdicts (PNG)."),
    ] = None,
) -> None:
    """Say what is heard in recordings: one line of JSON for each file, in their order.

    A result is one of human, machine, fax, modem, busy, reorder, ringback, sit_ic, sit_vc, sit_ro, sit_nc, sit_io,
    sit, crbt, announcement, silence and unknown. Files that cannot be read are named on standard error, and the exit
    code is 1; all others have their lines nevertheless.

    \b
    Example:
      ocsd cpa analyze greeting.wav busy.wav --tones DE
      ocsd cpa analyze --phase pre early/*.wav
      ocsd cpa analyze strange.wav --draw pictures
    """
    use_one_core()
    from ocsd.cpa.results import judged
    from telephony.cpa.offline import Call, analyse_calls

    settings = settings_of(_plan_of(tones), level, timeguard_ms)
    answered_s = None if phase is Phase.PRE else 0.0
    failed = False
    drawn: set[Path] = set()
    for batch in _batches(files, Path):
        read = [(file, recording) for file in batch if (recording := _read(Path(file), channel, file)) is not None]
        failed |= len(read) < len(batch)
        calls = [Call(recording.samples, settings, answered_s) for _, recording in read]
        for (file, _), call, heard in zip(read, calls, analyse_calls(calls), strict=True):
            found = judged(call, heard)
            out(_json_line(found.told(file)))
            if draw is not None:
                _draw(call, found, Path(file), draw, drawn)
        sys.stdout.flush()
    if failed:
        raise typer.Exit(EXIT_REFUSED)


@app.command(epilog=EXIT_CODES)
def score(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Folder with a manifest.jsonl.")
    ],
    split: Annotated[str | None, typer.Option(help="Only recordings of this split.")] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also judge persons and machines by Asterisk's rule, for comparison.")
    ] = False,
    failures: Annotated[bool, typer.Option("--failures", help="Name every recording that went wrong.")] = False,
    min_recall: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, metavar="R", help="Exit with 1 when a class is recognised less often."),
    ] = None,
    level: LEVEL_OPTION = Level.POSITIVE_AM_DETECTION,
    timeguard_ms: GUARD_OPTION = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables for a page.")] = False,
    as_json: JSON_OPTION = False,
) -> None:
    """Measure how often recordings are recognised, and how fast: a folder of WAV files and the truth about them.

    The folder has a manifest.jsonl: one JSON object a line with file, label, phase (pre, post) and country; also used
    are speech_end_s, beep_s, answered_s, split and source. Rates come with confidence intervals of 95 %.

    \b
    Example:
      ocsd cpa score corpus --split test
      ocsd cpa score my-trunk --baseline --failures
    """
    use_one_core()
    from ocsd.cli.cpa_score import print_failures, print_markdown, print_score, told_of_score
    from ocsd.cpa.manifest import read_manifest
    from ocsd.cpa.results import judged
    from ocsd.cpa.scoring import score as scored
    from telephony.cpa.offline import analyse_calls

    entries = [entry for entry in read_manifest(folder) if split in (None, entry.split)]
    if not entries:
        raise typer.BadParameter(f"no recording of split {split!r}", param_hint="--split")
    found: list[tuple[Entry, Analysed]] = []
    ruled: list[tuple[Entry, Analysed]] = []
    done = 0
    with row_progress("analysis") as progress:
        for batch in _batches(entries, lambda entry: entry.path):
            read = [(entry, one) for entry in batch if (one := _read_entry(entry)) is not None]
            calls = [_call(one, settings_of(entry.tone_plan, level, timeguard_ms), entry) for entry, one in read]
            heard = analyse_calls(calls)
            found += [(entry, judged(call, one)) for (entry, _), call, one in zip(read, calls, heard, strict=True)]
            if baseline:
                from ocsd.cpa.baseline import by_asterisk, is_judged

                ruled += [(entry, by_asterisk(one)) for entry, one in read if is_judged(entry)]
            done += len(batch)
            progress(done, len(entries))
    told = scored(found)
    missing = len(entries) - len(found)
    other = scored(ruled) if ruled else None
    if as_json:
        print_json(told_of_score(told, other, missing, failures=failures))
    else:
        print_score(told, other, print_markdown if markdown else print_table)
        if failures:
            print_failures(told)
    low = [one.label for one in told.classes if min_recall is not None and one.recall.ratio < min_recall]
    if strange := sorted({entry.country_without_plan for entry, _ in found} - {""}):
        err(f"note: no tones of {', '.join(strange)} are known; those that ITU-T E.180 recommends were expected there")
    if low:
        err(f"recognised less often than {min_recall:g}: {', '.join(low)}")
    if missing:
        err(f"{missing} of {len(entries)} recordings could not be read; the figures are without them")
    if low or missing:
        raise typer.Exit(EXIT_REFUSED)


@app.command(epilog=EXIT_CODES)
def examples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where the examples go.")],
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Folder with a manifest.jsonl to choose from. Default: a few calls of each kind are made, which needs "
            "espeak-ng, flite and sox.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the calls that are made.")] = 1,
) -> None:
    """Write one call of each kind: recording, spectrogram with the verdict's time, analysis as JSON, and a page.

    \b
    Example:
      ocsd cpa examples docs/cpa
      ocsd cpa examples /tmp/mine --corpus my-trunk
    """
    use_one_core()
    from ocsd.cpa.examples import candidates, check_folder, chosen, write
    from ocsd.cpa.manifest import read_manifest

    check_folder(folder)
    with TemporaryDirectory(prefix="ocsd-cpa-") as made, row_progress("calls") as progress:
        if corpus is None:
            from ocsd.cpa.examples import make_corpus

            make_corpus(Path(made), seed, progress)
        entries = read_manifest(corpus or Path(made))
        found: list[Candidate] = []
        for batch in _batches(entries, lambda entry: entry.path):
            found += candidates([(entry, one) for entry in batch if (one := _read_entry(entry)) is not None])
            progress(len(found), len(entries))
    write(shown := chosen(found), folder)
    out(f"{len(shown)} examples in {folder}")


def settings_of(plan: str, level: Level, timeguard_ms: int | None) -> "AnalysisSettings":
    """What a call would be analysed with, had its options these values."""
    from msgspec.structs import replace

    from ocsd.config.analysis import LEVELS

    changes: dict[str, Any] = {} if timeguard_ms is None else {"timeguard_ms": timeguard_ms}
    return replace(
        LEVELS.get(level.value, LEVELS[Level.POSITIVE_AM_DETECTION.value]),
        tone_plan=plan,
        detect_machine=level is not Level.NO_AM_DETECTION,
        **changes,
    )


def _plan_of(tones: str) -> str:
    """typer.BadParameter for what is no country."""
    from ocsd.cpa.countries import plan_name

    try:
        plan, own = plan_name(tones)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tones") from None
    if not own:
        err(f"note: no tones of {tones} are known; those of {plan} are used, which ITU-T E.180 recommends to all")
    return plan


def use_one_core() -> None:
    """Before numpy is imported: matrices as small as one frame's are six times slower when they are shared out."""
    import_module("telephony.media")


def _batches(things: Sequence[T], path_of: Callable[[T], Path]) -> Iterator[Sequence[T]]:
    """In order; each of at most BATCH_FILES files, and of BATCH_BYTES unless one file alone has more."""
    batch: list[T] = []
    size = 0
    for thing in things:
        try:
            one = path_of(thing).stat().st_size
        except OSError:  # whoever reads it says so
            one = 0
        if batch and (len(batch) == BATCH_FILES or size + one > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(thing)
        size += one
    if batch:
        yield batch


def _call(recording: "Recording", settings: "AnalysisSettings", entry: "Entry") -> "Call":
    from telephony.cpa.offline import Call

    return Call(recording.samples, settings, entry.analysed_from_s)


def _draw(call: "Call", found: "Analysed", path: Path, folder: Path, drawn: set[Path]) -> None:
    """``STEM.png``, or ``STEM-2.png`` where another file of this run is called so."""
    from ocsd.cpa.pictures import draw

    picture, number = folder / f"{path.stem}.png", 1
    while picture in drawn:
        number += 1
        picture = folder / f"{path.stem}-{number}.png"
    drawn.add(picture)
    folder.mkdir(parents=True, exist_ok=True)
    draw(call.samples, found, picture, f"{path.name}: {found.result}")


def _json_line(told: dict[str, Any]) -> str:
    """One line of JSON that is UTF-8 whatever the file is called."""
    line = json.dumps(told, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # a name that is not UTF-8: its odd octets are escaped
        return json.dumps(told)
    return line


def _read(path: Path, channel: int, name: str, *, quiet: bool = False) -> "Recording | None":
    """The recording; None for one that cannot be read, after it was said why."""
    from telephony.cpa.wavfile import WavError, read_wav

    shown = name.encode(errors="replace").decode()
    try:
        recording = read_wav(path, channel)
    except (WavError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        err(f"{shown}: {why}")
        return None
    for note in () if quiet else recording.notes:
        err(f"{shown}: note: {note}")
    return recording


def _read_entry(entry: "Entry") -> "Recording | None":
    """The same for a recording of a manifest, which may also say what cannot be."""
    recording = _read(entry.path, 1, str(entry.path), quiet=True)
    if recording is not None and (entry.analysed_from_s or 0.0) > recording.length_s:
        err(f"{entry.path}: answered_s is {entry.answered_s:g}, but it is {recording.length_s:g} s long")
        return None
    return recording
