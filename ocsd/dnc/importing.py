"""Imports of number files, and what keeps a bad file from undoing a good registry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ocsd.dnc.forms import Plan
from ocsd.dnc.index import NEVER_ENDS, U64
from ocsd.dnc.mapped import BadRegistryFile, map_registry, write_registry
from ocsd.dnc.registry import Counts, RejectsFile, read_numbers
from ocsd.model.errors import OcsdError

MAX_REJECTED_RATIO: Final = 0.01
"""With more refused lines the file is probably written in a way that we misread."""

REJECTED_ALLOWED: Final = 10
"""Header lines and the like; a small file may have so many refused lines whatever their share is."""

MIN_KEPT_RATIO: Final = 0.5
"""A registry that is replaced by less than this share of its numbers was probably delivered in part."""


class ImportRefused(OcsdError):
    """Nothing was changed; the message says why."""


@dataclass(frozen=True, slots=True)
class Imported:
    """``numbers``: distinct ones in the registry, or rows that are new in the table."""

    lines: int
    rejected: int
    rejects_path: Path | None
    numbers: int


Progress = Callable[[int, int], object]


def _ignore(_done: int, _numbers: int) -> None:
    pass


def read_checked(
    files: Sequence[Path], plan: Plan | None, rejects_path: Path, *, force: bool, progress: Progress = _ignore
) -> tuple[U64, Counts, Path | None]:
    """
    The numbers of files, what was refused, and the file that says why, if any line was.

    Raises ImportRefused when there is no number, or (unless ``force``) too much was refused.
    """
    with RejectsFile(rejects_path) as rejects:
        numbers, counts = read_numbers(files, plan, rejects.write, progress)
        written = rejects_path if rejects.written else None
    why = f"; {written} says why" if written else ""
    if not len(numbers):
        raise ImportRefused(f"no number was found in {counts.lines} lines{why}")
    if not force and counts.rejected > max(REJECTED_ALLOWED, MAX_REJECTED_RATIO * counts.lines):
        raise ImportRefused(
            f"{counts.rejected} of {counts.lines} lines were refused{why}; nothing was changed"
            " (--force imports the rest)"
        )
    return numbers, counts, written


def import_registry(
    files: Sequence[Path],
    path: Path,
    plan: Plan | None,
    rejects_path: Path,
    *,
    until: int = NEVER_ENDS,
    force: bool = False,
    progress: Progress = _ignore,
    writing: Callable[[int], object] = lambda _bytes: None,
) -> Imported:
    """
    Replace the registry file ``path`` with the numbers of ``files``; peak memory is 8 bytes a number and some 200 MB.

    Args:
        plan: how numbers without a country code are read; None: they are refused.
        until: Unix seconds at which the registry ends, or NEVER_ENDS.
        force: import what can be read though much was refused, or far fewer numbers came than there were.
        progress: called with the bytes and numbers read so far.
        writing: called with the bytes written so far.

    Raises ImportRefused.
    """
    numbers, counts, rejects = read_checked(files, plan, rejects_path, force=force, progress=progress)
    before = _count_before(path)
    # Repetitions make this count too large, never too small; it is a guard against half a delivery, not a measurement.
    if not force and len(numbers) < MIN_KEPT_RATIO * before:
        raise ImportRefused(
            f"{len(numbers)} numbers would replace {before}; nothing was changed (--force replaces them all the same)"
        )
    count = write_registry(path, numbers, until=until, progress=writing)
    return Imported(counts.lines, counts.rejected, rejects, count)


def _count_before(path: Path) -> int:
    try:
        return len(map_registry(path, None).index)
    except (FileNotFoundError, BadRegistryFile):
        return 0  # a damaged file is what an import repairs
