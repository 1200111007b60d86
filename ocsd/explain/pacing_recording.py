"""Recordings of the pacing as files: read, repeated, looked at decision by decision."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ocsd.model.errors import OcsdError
from pacing import DialDecision, PacingTarget
from pacing.journal import Checkpoint, Decided, Entry, Header, Told
from pacing.journal_codec import JournalError, blocks, read
from pacing.replay import Replayed, replay


@dataclass(frozen=True, slots=True)
class Recording:
    """``torn_bytes``: at the end, of a block that was not finished: the file is still written, or its writer died."""

    path: Path
    content: bytes
    torn_bytes: int

    def entries(self) -> Iterator[Entry]:
        """Raises OcsdError when the file is no journal of this version."""
        try:
            yield from read(self.content)
        except JournalError as error:
            raise OcsdError(f"{self.path}: {error}") from error

    def replayed(self) -> Iterator[Replayed]:
        """All decisions repeated; raises OcsdError."""
        return self._repeated(self.entries())

    def _repeated(self, entries: Iterable[Entry]) -> Iterator[Replayed]:
        try:
            yield from replay(entries)
        except ValueError as error:
            raise OcsdError(f"{self.path}: it was recorded by another version: {error}") from error

    def decision(self, number: int | None) -> "Shown":
        """One decision, repeated from the checkpoint before it; None: the last one. Raises OcsdError."""
        about, since = Header({}), list[Entry]()
        found: Decided | None = None
        for entry in self.entries():
            if isinstance(entry, Header):
                about = entry
            if isinstance(entry, Checkpoint) and entry.text is not None:
                since = []
            since.append(entry)
            if isinstance(entry, Decided):
                found = entry
                if entry.number == number:
                    break
        if found is None or number not in (None, found.number):
            last = "none at all" if found is None else f"up to {found.number}"
            raise OcsdError(f"{self.path}: there is no decision {number if number is not None else ''} in it, {last}")
        repeated = [each for each in self._repeated(since) if isinstance(each.entry, Decided)]
        last_one = next(each for each in reversed(repeated) if each.entry is found)
        target = _target(since)
        assert last_one.decision is not None
        return Shown(about, found, last_one.decision, target, last_one.differences)


def _target(since: list[Entry]) -> PacingTarget:
    """What the pacing obeyed after these entries, which begin with a checkpoint."""
    target: PacingTarget | None = None
    for entry in since:
        if isinstance(entry, Checkpoint):
            target = entry.target
        elif isinstance(entry, Told) and entry.method == "set_target":
            (told,) = entry.arguments
            target = told if isinstance(told, PacingTarget) else target
    assert target is not None
    return target


@dataclass(frozen=True, slots=True)
class Shown:
    """A decision out of a recording; ``decision`` is the repeated one, which has all figures."""

    header: Header
    entry: Decided
    decision: DialDecision
    target: PacingTarget
    differences: tuple[str, ...]

    @property
    def at(self) -> datetime | None:
        return time_of(self.header, self.entry.snapshot.now_s)


def time_of(header: Header, now_s: float) -> datetime | None:
    """The time of day of a monotonic instant, by what the file's header says of its beginning."""
    if "utc" not in header.about or "now_s" not in header.about:
        return None
    began = datetime.fromisoformat(str(header.about["utc"]))
    return began + timedelta(seconds=now_s - float(header.about["now_s"]))


def open_recording(path: Path) -> Recording:
    """Raises OSError, and OcsdError when there is nothing whole in the file."""
    content = path.read_bytes()
    end = max((at for at, _ in blocks(content)), default=0)
    if not end:
        raise OcsdError(f"{path}: no whole block of a pacing journal")
    return Recording(path, content, len(content) - end)


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Files as given, folders by their journals in order of time; raises OcsdError for an empty folder."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(path.rglob("*.jsonl.gz"))
        if not inside:
            raise OcsdError(f"{path}: no pacing journal in it")
        found += inside
    return found
