"""``ocsd cpa``: call progress analysis of recordings, by the very analyser that listens to calls."""

import json
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ocsd.cli.errors import EXIT_CODES, EXIT_REFUSED
from ocsd.cli.output import err, out

if TYPE_CHECKING:
    from telephony.contract import AnalysisSettings
    from telephony.cpa.wavfile import Recording

app = typer.Typer(help="Analyse recordings of calls, and measure how often that is right.", no_args_is_help=True)

BATCH_FILES: Final = 256
"""Files analysed at once: enough to share each frame's array work, and little memory."""


class Phase(StrEnum):
    PRE = "pre"
    POST = "post"


@app.command(epilog=EXIT_CODES)
def analyze(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="WAV files.")],
    tones: Annotated[
        str, typer.Option("--tones", metavar="CC", help="Country whose tones are expected, as two letters.")
    ] = "US",
    phase: Annotated[
        Phase, typer.Option(help="pre: early media of a call that is never answered; post: from the answer on.")
    ] = Phase.POST,
    channel: Annotated[int, typer.Option(min=1, help="Which channel of a file that has several.")] = 1,
    timeguard_ms: Annotated[
        int | None, typer.Option(min=20, help="Longest analysis after the answer (call_timeguard_timeout).")
    ] = None,
) -> None:
    """Say what is heard in recordings: one line of JSON for each file, in their order.

    A result is one of human, machine, fax, modem, busy, reorder, ringback, sit_ic, sit_vc, sit_ro, sit_nc, sit_io,
    sit, crbt, announcement, silence and unknown. Files that cannot be read are named on standard error, and the exit
    code is 1.

    \b
    Example:
      ocsd cpa analyze greeting.wav busy.wav --tones DE
      ocsd cpa analyze --phase pre early/*.wav
    """
    from ocsd.cpa.results import judged
    from telephony.cpa.offline import Call, analyse_calls

    settings = settings_of(tones, timeguard_ms)
    answered_s = None if phase is Phase.PRE else 0.0
    failed = False
    for batch in _batches(files):
        read = [(path, recording) for path in batch if (recording := _read(path, channel)) is not None]
        failed |= len(read) < len(batch)
        calls = [Call(recording.samples, settings, answered_s) for _, recording in read]
        for (path, _), call, heard in zip(read, calls, analyse_calls(calls), strict=True):
            out(json.dumps(judged(call, heard).told(str(path)), ensure_ascii=False))
        sys.stdout.flush()
    if failed:
        raise typer.Exit(EXIT_REFUSED)


def settings_of(tones: str, timeguard_ms: int | None) -> "AnalysisSettings":
    """typer.BadParameter for an unknown country."""
    from telephony.contract import AnalysisSettings
    from telephony.cpa import tone_plan

    try:
        plan = tone_plan(tones).name
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tones") from None
    changes: dict[str, Any] = {} if timeguard_ms is None else {"timeguard_ms": timeguard_ms}
    return AnalysisSettings(tone_plan=plan, **changes)


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), BATCH_FILES):
        yield files[start : start + BATCH_FILES]


def _read(path: Path, channel: int) -> "Recording | None":
    from telephony.cpa.wavfile import WavError, read_wav

    try:
        recording = read_wav(path, channel)
    except (WavError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        err(f"{path}: {why}")
        return None
    for note in recording.notes:
        err(f"{path}: note: {note}")
    return recording
