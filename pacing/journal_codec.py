"""Journal entries as lines of JSON, exact to the last bit, and blocks of lines as members of a gzip file.

A group of 300 agents has over a thousand ages in a snapshot, and all of them differ from one decision to the next. But
an age is ``now_s - since_s``, and that subtraction is exact while the age is at most half of ``now_s`` (Sterbenz's
lemma), so the same ``since_s`` comes back from every snapshot: a line holds the instants that came and went, and ages
that are no such differences are written out. The encoder checks each age it replaces: nothing depends on the lemma.

=====================================  ================================================================================
{"journal": 1, ...}                    header of a file
{"checkpoint": n, "state": {...}, ..}  the pacer's whole state after decision n; all differences begin anew here
{"state": digest, "checkpoint": n}     a state that was kept elsewhere
{"call": name, "with": [...]}          something the pacer was told
{"decide": n, "now_s": t, ...}         a decision: what changed in the snapshot, and what came out
{"lost": n}                            entries that could not be written
=====================================  ================================================================================

Floats are written by ``repr``, the shortest text that reads back the same. ``zcat FILE | head`` shows the lines.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from typing import Any, Final, TypeAlias, get_type_hints

from pacing.journal import (
    Abridged,
    Checkpoint,
    Decided,
    Entry,
    Header,
    Lost,
    Told,
    decision_digest,
    text_digest,
)
from pacing.pacer import Outcome
from pacing.types import DialDecision, GroupSnapshot, LegalRoom, PacingTarget

FORMAT: Final = 1
FULL_EVERY_S: Final = 5.0
"""A decision is written with all its inputs when so many seconds have passed since the last such one."""
PIECE_BYTES: Final = 16_384
COMPRESSION: Final = 6

Item: TypeAlias = float | str | list[Any]
"""An age in a snapshot as it is written: float: the instant it counts from (or to); str: the age itself; a list: of a
pair, the first number and the item of the second."""

_TO_COME: Final = frozenset({"agents_ready_in_s"})
"""Seconds until, not since."""
_FIELDS: Final = tuple(field.name for field in fields(GroupSnapshot) if field.name != "now_s")
_CONVERTED: Final = {"ended": {1: Outcome}}
METHODS: Final = frozenset({"answered", "ended", "person", "bridged", "abandoned", "handled", "set_target"})


class JournalError(Exception):
    """The text is no journal, or one of another version."""


# Lines -----------------------------------------------------------------------------------------------------------


class Encoder:
    """Entries to lines; each encoder's lines must be read from the first one, or from a whole checkpoint, on."""

    def __init__(self, full_every_s: float = FULL_EVERY_S) -> None:
        self._full_every_s = full_every_s
        self._forget()

    def _forget(self) -> None:
        self._before: dict[str, Any] = {}
        self._full_s: float | None = None

    def line(self, entry: Entry) -> str:
        """One line, without its end. Raises TypeError for values that a pacer does not take."""
        match entry:
            case Header(about):
                return _json({"journal": FORMAT} | about)
            case Lost(count):
                return _json({"lost": count})
            case Told(method, arguments):
                return _json({"call": method, "with": [_plain(argument) for argument in arguments]})
            case Checkpoint(number, target, max_wait_s, digest, text):
                about = {"checkpoint": number, "max_wait_s": max_wait_s, "target": _plain(target)}
                if text is None:
                    return _json(about | {"digest": digest})
                self._forget()
                return f'{_json(about)[:-1]},"state":{text}}}'
            case Decided(number, snapshot, decision):
                return _json(
                    {"decide": number, "now_s": snapshot.now_s}
                    | {"changed": self._changes(snapshot)}
                    | self._outcome(snapshot.now_s, decision)
                )

    def _outcome(self, now_s: float, decision: DialDecision | Abridged) -> dict[str, Any]:
        about: dict[str, Any] = {"launch": decision.launch, "because": decision.because}
        if decision.release:
            about["release"] = [int(place) for place in decision.release]
        if isinstance(decision, Abridged):
            return about | {"digest": decision.digest}
        if self._full_s is not None and now_s - self._full_s < self._full_every_s:
            return about | {"digest": decision_digest(decision)}
        self._full_s = now_s
        inputs = {name: float(value) for name, value in decision.inputs.items()}
        return about | {"ratio": float(decision.predicted_overdial_ratio), "inputs": inputs}

    def _changes(self, snapshot: GroupSnapshot) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(snapshot, name)
            if isinstance(value, tuple):
                items = _items(value, snapshot.now_s, to_come=name in _TO_COME)
                before = self._before.get(name, [])
                if items != before:
                    changed[name] = _edits(before, items)
                    self._before[name] = items
            elif name not in self._before or not _same(self._before[name], value):
                changed[name] = _plain(value)
                self._before[name] = value
        return changed


class Decoder:
    """The opposite of `Encoder`. After a gap it passes over everything up to the next whole checkpoint."""

    def __init__(self) -> None:
        self._before: dict[str, Any] | None = None

    def entry(self, line: str) -> Entry | None:
        """The entry of a line; None while a checkpoint is awaited. Raises JournalError."""
        try:
            found = json.loads(line)
            return self._entry(found)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise JournalError(f"this is no line of a pacing journal: {line[:80]!r} ({error})") from error

    def _entry(self, found: dict[str, Any]) -> Entry | None:
        if "journal" in found:
            if found["journal"] != FORMAT:
                raise JournalError(f"the journal has format {found['journal']!r}, expected {FORMAT}")
            self._before = None
            return Header({name: value for name, value in found.items() if name != "journal"})
        if "lost" in found:
            self._before = None
            return Lost(int(found["lost"]))
        if "state" in found:
            self._before = {}
            text = json.dumps(found["state"], separators=(",", ":"))
            return _checkpoint(found, text_digest(text), text)
        if self._before is None:
            return None
        if "call" in found:
            return _told(found["call"], found["with"])
        if "checkpoint" in found:
            return _checkpoint(found, found["digest"], None)
        return Decided(found["decide"], self._snapshot(found["now_s"], found["changed"], self._before), _made(found))

    @staticmethod
    def _snapshot(now_s: float, changed: dict[str, Any], before: dict[str, Any]) -> GroupSnapshot:
        for name, value in changed.items():
            if isinstance(value, list):
                before[name] = _edited(before.get(name, []), value)
            else:
                before[name] = LegalRoom(**value) if name == "legal" and value is not None else value
        values = {
            name: _ages(value, now_s, to_come=name in _TO_COME) if isinstance(value, list) else value
            for name, value in before.items()
        }
        return GroupSnapshot(now_s=now_s, **(dict.fromkeys(_REQUIRED_TUPLES, ()) | values))


_REQUIRED_TUPLES: Final = (
    "agents_idle_s",
    "agents_talking_s",
    "agents_wrapping_s",
    "attempts_age_s",
    "analysing_age_s",
)
"""Empty at first, and then they are no change."""


def _checkpoint(found: dict[str, Any], digest: str, text: str | None) -> Checkpoint:
    return Checkpoint(found["checkpoint"], _target(found["target"]), found["max_wait_s"], digest, text)


def _made(found: dict[str, Any]) -> DialDecision | Abridged:
    release = tuple(found.get("release", ()))
    if "inputs" in found:
        return DialDecision(found["launch"], found["because"], found["ratio"], found["inputs"], release)
    return Abridged(found["launch"], found["because"], found["digest"], release)


def _told(method: str, arguments: list[Any]) -> Told:
    if method not in METHODS:
        raise ValueError(f"a pacer is not told {method!r}")
    if method == "set_target":
        return Told(method, (_target(arguments[0]),))
    kinds = _CONVERTED.get(method, {})
    return Told(method, tuple(kinds[at](each) if at in kinds else each for at, each in enumerate(arguments)))


def _target(found: dict[str, Any]) -> PacingTarget:
    hints = get_type_hints(PacingTarget)
    enums = {name: kind for name, kind in hints.items() if isinstance(kind, type) and issubclass(kind, Enum)}
    values: dict[str, Any] = {name: enums[name](each) if name in enums else each for name, each in found.items()}
    return PacingTarget(**values)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(each) for name, each in asdict(value).items()}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{value!r} has no place in a pacing journal")


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _same(before: object, value: object) -> bool:
    """Equal, and of one type: a count may not come back as a float, nor 0.0 as -0.0."""
    return type(before) is type(value) and repr(before) == repr(value)


# Ages ------------------------------------------------------------------------------------------------------------


def _items(values: tuple[Any, ...], now_s: float, *, to_come: bool) -> list[Item]:
    if values and isinstance(values[0], tuple):
        return [[first, _item(second, now_s, to_come)] for first, second in values]
    return [_item(value, now_s, to_come) for value in values]


def _item(value: float, now_s: float, to_come: bool) -> float | str:
    if type(value) is float and value != 0.0:  # 0.0 means "just now" at every instant
        instant = now_s + value if to_come else now_s - value
        if _age(instant, now_s, to_come) == value:
            return instant
    return repr(value) if isinstance(value, int) else repr(float(value))


def _age(instant: float, now_s: float, to_come: bool) -> float:
    return instant - now_s if to_come else now_s - instant


def _ages(items: list[Item], now_s: float, *, to_come: bool) -> tuple[Any, ...]:
    return tuple(
        (item[0], _value(item[1], now_s, to_come)) if isinstance(item, list) else _value(item, now_s, to_come)
        for item in items
    )


def _value(item: float | str, now_s: float, to_come: bool) -> float:
    if isinstance(item, str):
        return float(item) if _is_float(item) else int(item)
    return _age(float(item), now_s, to_come)


def _is_float(text: str) -> bool:
    return any(sign in text for sign in ".einf")


def _edits(before: list[Item], after: list[Item]) -> list[Any]:
    """
    How ``before`` becomes ``after``: n keeps the next n items, -n leaves n out, a list puts items in.

    Items come and go but keep their order mostly, so one pass from left to right finds short scripts.
    """
    edits: list[Any] = []
    at, where = 0, None
    for item in after:
        if at < len(before) and before[at] == item:
            _add(edits, 1)
            at += 1
            continue
        if where is None:
            where = {_key(each): index for index, each in enumerate(before)}
        found = where.get(_key(item), -1)
        if found > at:
            edits.append(at - found)
            _add(edits, 1)
            at = found + 1
        elif edits and isinstance(edits[-1], list):
            edits[-1].append(item)
        else:
            edits.append([item])
    return edits


def _add(edits: list[Any], kept: int) -> None:
    if edits and isinstance(edits[-1], int) and edits[-1] > 0:
        edits[-1] += kept
    else:
        edits.append(kept)


def _key(item: Item) -> Any:
    return tuple(item) if isinstance(item, list) else item


def _edited(before: list[Item], edits: list[Any]) -> list[Item]:
    after: list[Item] = []
    at = 0
    for edit in edits:
        if isinstance(edit, list):
            after.extend(edit)
        elif edit < 0:
            at -= edit
        else:
            if at + edit > len(before):
                raise ValueError("a line keeps more than there was")
            after.extend(before[at : at + edit])
            at += edit
    return after


# Blocks ----------------------------------------------------------------------------------------------------------


def block(lines: Iterable[str]) -> bytes:
    """Lines as one gzip member: files made of members are gzip files, and a torn last one spoils no other."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), COMPRESSION, mtime=0)


def blocks(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """
    Lines of each whole member, and where the next begins; a torn or spoilt member ends it.

    A reader that stops with less than ``len(content)`` was given a file that is still written, or whose writer died.
    """
    view, end = memoryview(content), 0
    while end < len(content):
        member, at = zlib.decompressobj(wbits=31), end  # 31: with gzip's header and checksum
        text = bytearray()
        try:
            while not member.eof and at < len(content):
                # In pieces: given all that follows, zlib would copy it for each of thousands of members.
                text += member.decompress(view[at : at + PIECE_BYTES])
                at += len(view[at : at + PIECE_BYTES])
        except zlib.error:
            return
        if not member.eof:
            return
        end = at - len(member.unused_data)
        yield end, text.decode(errors="replace").splitlines()


def read(content: bytes) -> Iterator[Entry]:
    """All entries of a file up to its last whole block; raises JournalError when it is none."""
    decoder, any_entry = Decoder(), False
    for _, lines in blocks(content):
        for line in lines:
            if (entry := decoder.entry(line)) is not None:
                any_entry = True
                yield entry
    if not any_entry:
        raise JournalError("no whole block of a pacing journal")
