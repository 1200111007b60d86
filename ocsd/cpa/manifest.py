"""``manifest.jsonl`` of a folder of labelled recordings: one JSON object a line, one recording each.

``file`` (relative to the folder), ``label`` and ``phase`` (pre or post) are needed. Used when they are there:
``country`` (two letters; null or missing where no tones are expected), ``speech_end_s`` (end of the greeting),
``beep_s`` (beginning of the recording tone; null: there is none), ``answered_s`` (when the call was answered, of a
recording that begins with early media), ``split`` and ``source``. Other fields are allowed and not read.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ocsd.cpa.countries import plan_name
from ocsd.cpa.results import RESULTS
from ocsd.model.errors import ConfigError
from telephony.contract import VerdictKind

MANIFEST: Final = "manifest.jsonl"
LABELS: Final = (*RESULTS, str(VerdictKind.PAGER), str(VerdictKind.NU_TONE))
"""A recording is labelled by a result, or by a finer kind that has a call result of its own."""

PHASES: Final = ("pre", "post")
DEFAULT_COUNTRY: Final = "US"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One recording and the truth about it. Times are seconds since its beginning.

    Attributes:
        tone_plan: name of the plan of its country; ``country_without_plan`` is that country where it has none.
        beep_known: whether the manifest says when, or that no, recording tone is in it.
    """

    file: str
    path: Path
    label: str
    phase: str
    tone_plan: str
    country_without_plan: str = ""
    speech_end_s: float | None = None
    beep_s: float | None = None
    beep_known: bool = False
    answered_s: float | None = None
    split: str = ""
    source: str = ""

    @property
    def analysed_from_s(self) -> float | None:
        """When the call was answered; None for early media of a call that never was."""
        return None if self.phase == "pre" else self.answered_s or 0.0


def read_manifest(folder: Path) -> list[Entry]:
    """All recordings of a folder. Raises ConfigError, which names every faulty line, and OSError."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ConfigError([f"{folder} has no {MANIFEST}"])
    octets = path.read_bytes()
    try:
        text = octets.decode("utf-8-sig")  # editors on Windows begin a file with a byte order mark
    except UnicodeDecodeError as error:
        number = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{MANIFEST}, line {number}: not UTF-8"]) from None
    # Not splitlines(): it also splits at U+2028 and the like, which a text in JSON may hold.
    return parse_manifest(text.split("\n"), folder)


def parse_manifest(lines: Iterable[str], folder: Path) -> list[Entry]:
    """The recordings of a manifest's lines. Raises ConfigError, which names every faulty line."""
    entries: list[Entry] = []
    problems: list[str] = []
    lines_of: dict[tuple[str, str, str], int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = _entry(line, folder)
            # As another phase or with another country's tones it is another question to the analysis.
            asked = entry.file, entry.phase, entry.tone_plan
            if asked in lines_of:
                raise ValueError(f"{entry.file} is in line {lines_of[asked]} too")
        except ValueError as error:
            problems.append(f"{MANIFEST}, line {number}: {error}")
            continue
        lines_of[asked] = number
        entries.append(entry)
    if not entries and not problems:
        problems.append(f"{MANIFEST} is empty")
    if problems:
        raise ConfigError(problems)
    return entries


def _entry(line: str, folder: Path) -> Entry:
    try:
        fields: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    file, label = _text(fields, "file"), _text(fields, "label")
    if "\0" in file:
        raise ValueError(f"file {file!r} is no name")
    if label not in LABELS:
        raise ValueError(f"label {label!r} is none of {', '.join(LABELS)}")
    phase = _text(fields, "phase")
    if phase not in PHASES:
        raise ValueError(f"phase {phase!r} is neither pre nor post")
    country = fields.get("country")
    if country is not None and not isinstance(country, str):
        raise ValueError(f"country {country!r} is no text")
    plan, own = plan_name(country or DEFAULT_COUNTRY)
    return Entry(
        file=file,
        path=folder / file,
        label=label,
        phase=phase,
        tone_plan=plan,
        country_without_plan="" if own else str(country).upper(),
        speech_end_s=_seconds(fields, "speech_end_s"),
        beep_s=_seconds(fields, "beep_s"),
        beep_known="beep_s" in fields,
        answered_s=_seconds(fields, "answered_s"),
        split=_optional_text(fields, "split"),
        source=_optional_text(fields, "source"),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    if name not in fields:
        raise ValueError(f"{name} is missing")
    value = fields[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {value!r}, expected a text")
    return value


def _optional_text(fields: dict[str, Any], name: str) -> str:
    return _text(fields, name) if fields.get(name) not in (None, "") else ""


def _seconds(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}, expected seconds from 0")
    return float(value)
