"""From TOML to a `Configuration`, or to every fault at once.

A configuration is one file or a folder of ``*.toml``: arrays of tables (``[[agents]]``, ``[[calling_lists]]``, ...) of
all files are joined in the order of the file names, every other table or key may stand in one file only.

Each problem is one sentence: file, key path, what is wrong, what is allowed. Indices in key paths count from 0 within
the file. Secrets (``password``, ``dsn``, ``url``) may be given as ``${NAME}``, an environment variable, so that the
file itself can be shown to anyone; their values never appear in a problem.
"""

import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ocsd.config import check_seizing, check_voice, crosscheck
from ocsd.config.located import Located
from ocsd.config.objects import SQL_NAME, Configuration, StatDay, Treatment
from ocsd.config.option import Level
from ocsd.config.options import OPTIONS, check_option, did_you_mean
from ocsd.model.errors import ConfigError
from telephony.media.prompts import PromptError, PromptLibrary

SECRET_KEYS: Final = frozenset({"password", "dsn", "url"})
"""``url``: the address of a treatment's HTTP request may hold a password or a token."""
MAX_SOCKET_PATH_BYTES: Final = 107
"""sun_path of unix(7) without its final NUL."""
LONGEST_SOCKET_NAME: Final = "worker-999.sock"

_LEVELS: Final[Mapping[str, Level]] = {
    "application": Level.APPLICATION,
    "trunks": Level.TRUNK,
    "campaigns": Level.CAMPAIGN,
    "campaign_groups": Level.CAMPAIGN_GROUP,
    "calling_lists": Level.CALLING_LIST,
}
_ENVIRONMENT_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_INTERVAL: Final = re.compile(r"([0-9]{1,3}):([01]?[0-9]|2[0-3]):([0-5]?[0-9])")
_SYNTAX_POSITION: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Document:
    """One TOML file, as read."""

    file: str
    text: str


def load_configuration(path: str | Path, environ: Mapping[str, str] | None = None) -> Configuration:
    """
    Read, validate and cross-check the configuration in a file or folder.

    Folders that are left out get their defaults: ``data_dir`` is /var/lib/ocsd for root and ~/.local/share/ocsd for
    others, ``telephony.run_dir`` is ``data_dir``/run; a relative ``data_dir``, ``telephony.prompt_dir`` or
    ``telephony.recording_dir`` (default ``data_dir``/recordings) counts from the configuration's folder.

    Raises:
        ConfigError: with every problem found.
    """
    path = Path(path)
    problems: list[str] = []
    documents: list[Document] = []
    for file in _toml_files(path, problems):
        try:
            documents.append(Document(file.name if path.is_dir() else str(path), file.read_text(encoding="utf-8")))
        except OSError as error:
            problems.append(f"{file}: cannot be read: {error.strerror}.")
        except UnicodeDecodeError as error:
            problems.append(f"{file}: is not UTF-8 text (byte {error.start}).")
    if problems:
        raise ConfigError(problems)
    folder = path if path.is_dir() else path.parent
    configuration = configuration_of(documents, folder.absolute(), os.environ if environ is None else environ)
    problems = _prompt_problems(configuration)
    if problems:
        raise ConfigError(problems)
    return configuration


def configuration_of(documents: Sequence[Document], folder: Path, environ: Mapping[str, str]) -> Configuration:
    """`load_configuration` without reading files: ``folder`` is where relative paths count from. Raises ConfigError."""
    merge = _Merge()
    for document in documents:
        merge.add(document)
    objects = {
        kind: [Located(where, raw, _validated(kind, where, raw, environ, merge.problems)) for where, raw in rows]
        for kind, rows in merge.rows.items()
    }
    sections = {
        name: Located(where, raw, _validated(name, where, raw, environ, merge.problems))
        for name, (where, raw) in merge.sections.items()
    }
    problems = [*merge.problems, *crosscheck.problems(objects, sections)]
    values: dict[str, object] = {kind: tuple(row.value for row in rows) for kind, rows in objects.items()}
    values |= {name: section.value for name, section in sections.items()}
    if not problems:
        configuration = _with_folders(Configuration.model_validate(values | merge.scalars), folder)
        problems = _socket_problems(configuration)
        if not problems:
            return configuration
    raise ConfigError(problems)


def _toml_files(path: Path, problems: list[str]) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.toml") if not file.name.startswith("."))
    if not files:
        problems.append(f"{path}: the folder holds no *.toml file.")
    return files


# --- merging ----------------------------------------------------------------------------------------------------


def _array_models() -> dict[str, type[BaseModel]]:
    """Keys of `Configuration` that are arrays of tables, with the model of their rows."""
    return {
        name: get_args(info.annotation)[0]
        for name, info in Configuration.model_fields.items()
        if get_origin(info.annotation) is tuple
    }


def _section_models() -> dict[str, type[BaseModel]]:
    return {
        name: info.annotation
        for name, info in Configuration.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }


_ARRAYS: Final = _array_models()
_SECTIONS: Final = _section_models()
_MODELS: Final[Mapping[str, type[BaseModel]]] = {**_ARRAYS, **_SECTIONS}
_SCALARS: Final = tuple(name for name in Configuration.model_fields if name not in _MODELS)


@dataclass(slots=True)
class _Merge:
    """Raw tables of all files, each with the place where it stands."""

    rows: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    sections: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    scalars: dict[str, object] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _seen_in: dict[str, str] = field(default_factory=dict)

    def add(self, document: Document) -> None:
        try:
            tables = tomllib.loads(document.text)
        except tomllib.TOMLDecodeError as error:
            self.problems.append(_syntax_problem(document, str(error)))
            return
        for key, value in tables.items():
            where = f"{document.file}: {key}"
            if key in _ARRAYS:
                self._add_rows(key, where, value)
            elif key not in Configuration.model_fields:
                known = tuple(Configuration.model_fields)
                hint = did_you_mean(key, known)
                self.problems.append(f"{where}: unknown key{hint}; allowed are: {', '.join(known)}.")
            elif key in self._seen_in:
                self.problems.append(f"{where}: may stand only once, and stands in {self._seen_in[key]} already.")
            else:
                self._seen_in[key] = document.file
                self._add_single(key, where, value)

    def _add_rows(self, key: str, where: str, value: object) -> None:
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            self.problems.append(f"{where}: must be an array of tables, each headed [[{key}]].")
            return
        self.rows.setdefault(key, []).extend((f"{where}[{index}]", row) for index, row in enumerate(value))

    def _add_single(self, key: str, where: str, value: object) -> None:
        if key in _SCALARS:
            if isinstance(value, str):
                self.scalars[key] = value
            else:
                self.problems.append(f"{where}: must be a text, got {value!r}.")
        elif isinstance(value, dict):
            self.sections[key] = (where, value)
        else:
            self.problems.append(f"{where}: must be a table, headed [{key}].")


def _syntax_problem(document: Document, message: str) -> str:
    """tomllib tells the position in its message only; the end of the document is given as the last line."""
    found = _SYNTAX_POSITION.search(message)
    if found and found[1]:
        line, column = int(found[1]), int(found[2])
    else:
        lines = document.text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    what = message[: found.start()] if found else message
    return f"{document.file}: line {line}, column {column}: is not valid TOML: {what[:1].lower()}{what[1:]}."


# --- one object -------------------------------------------------------------------------------------------------


def _validated(
    kind: str, where: str, raw: Mapping[str, Any], environ: Mapping[str, str], problems: list[str]
) -> BaseModel | None:
    """The object in ``raw``, or None with its problems added."""
    model = _MODELS[kind]
    of = _of(raw)
    faults: list[str] = []
    prepared: dict[str, Any] = {}
    given_up: set[str] = set()
    for key, value in raw.items():
        field_name = key
        try:
            if model is Treatment and key == "interval":
                field_name, value = "interval_min", _interval_min(value)
                if field_name in raw:
                    raise ValueError("may not stand beside interval_min, which says the same in minutes")
            prepared[field_name] = _prepared(model, field_name, value, environ)
        except ValueError as error:
            faults.append(f"{where}.{key}{of}: {error}.")
            given_up.add(field_name)
    if kind in _LEVELS and "options" in prepared:
        prepared["options"] = _options(where, of, prepared["options"], _LEVELS[kind], environ, faults)
    valid: BaseModel | None = None
    try:
        # Through JSON, because strict JSON mode is what TOML needs: arrays become tuples and numbers enums, but
        # nothing else is converted ("8080" is no port, true is no count).
        valid = model.model_validate_json(json.dumps(prepared, default=lambda date: [str(date)]), strict=True)
    except ValidationError as error:
        faults += [
            f"{where}.{_path(detail['loc'])}{of}: {_sentence(model, detail)}."
            for detail in error.errors(include_url=False)
            if detail["loc"][0] not in given_up
        ]
    problems.extend(faults)
    return None if faults else valid


def _of(raw: Mapping[str, Any]) -> str:
    name = raw.get("login_id", raw.get("name"))
    return f' (of "{name}")' if isinstance(name, str) and name else ""


def _prepared(model: type[BaseModel], key: str, value: Any, environ: Mapping[str, str]) -> Any:
    """``value`` with names of enums and environment variables resolved; ValueError says what is wrong."""
    if _has_odd_number(value):
        raise ValueError("must not hold nan or inf")
    if (model, key) == (Treatment, "date"):
        return _date_time(value)
    if (model, key) == (StatDay, "date") and type(value) is date:
        return value.isoformat()
    if key in SECRET_KEYS:
        return _with_environment(value, environ)
    enum = _enum_of(model, key)
    if enum is not None and isinstance(value, str):
        return next((member.value for member in enum if member.name.lower() == value.lower()), value)
    return value


def _interval_min(value: object) -> int:
    """Minutes of an interval as the vendor's tools write it, days:hours:minutes; ValueError."""
    found = _INTERVAL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(
            'must be "days:hours:minutes" with hours up to 23 and minutes up to 59, for example "0:01:30", or '
            f"interval_min a number of minutes, got {value!r}"
        )
    return (int(found[1]) * 24 + int(found[2])) * 60 + int(found[3])


def _date_time(value: object) -> str:
    """ISO 8601, from TOML's own date-time or from text; ValueError."""
    try:
        # Not pydantic's reading of text: that takes a bare number for seconds since 1970.
        given = (
            value if isinstance(value, datetime) else datetime.fromisoformat(value) if isinstance(value, str) else None
        )
        if given is not None and (isinstance(value, datetime) or len(str(value)) > len("2026-12-24")):
            return given.isoformat()
    except ValueError:
        pass
    raise ValueError(
        "must be a date and time, 2026-12-24T10:00:00 (in the record's time zone) or with an offset, "
        f"2026-12-24T10:00:00Z, got {str(value)!r}"
    )


def _has_odd_number(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    inner: Iterable[object] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_has_odd_number(item) for item in inner)


def _with_environment(value: Any, environ: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return _ENVIRONMENT_REFERENCE.sub(lambda found: _from_environment(found[1], environ), value)


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    try:
        return environ[name]
    except KeyError:
        raise ValueError(f"the environment variable {name} is not set") from None


def _enum_of(model: type[BaseModel], key: str) -> type[IntEnum] | None:
    info = model.model_fields.get(key)
    annotation = info.annotation if info else None
    # ``CallResult | None`` counts as CallResult.
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, IntEnum):
            return candidate
    return None


def _options(
    where: str, of: str, table: object, level: Level, environ: Mapping[str, str], faults: list[str]
) -> dict[str, object]:
    if not isinstance(table, dict):
        faults.append(f"{where}.options{of}: must be a table of options, for example {{ CPNDigits = '15550100' }}.")
        return {}
    prepared: dict[str, object] = {}
    for name, value in table.items():
        wrong: str | None
        try:
            # An address may hold a password or a token.
            prepared[name] = _with_environment(value, environ) if name in OPTIONS and OPTIONS[name].web else value
            wrong = check_option(name, prepared[name], level)
        except ValueError as error:
            wrong = str(error)
        if wrong is not None:
            faults.append(f"{where}.options.{name}{of}: {wrong}.")
    return {name: value for name, value in prepared.items() if isinstance(value, (str, int, float, bool))}


def _path(location: tuple[int | str, ...]) -> str:
    """``("fields", 0, "name")`` as ``fields[0].name``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")


_PATTERNS: Final[Mapping[str, str]] = {
    SQL_NAME: "must be a name in lower-case letters, digits and _ that starts with no digit (63 characters at most)",
    r"^[A-Z]{2}$": "must be a country code of two capital letters, for example US",
    r"^([A-Z]{2}(-[A-Z0-9]{1,3})?)?$": "must be a country code, with or without that of a part of it: DE or US-CA",
    r"^\+?[0-9]{3,15}$": "must be a telephone number of 3 to 15 digits, with or without a leading +",
    r"^(\d{4}-)?\d{2}-\d{2}$": "must be a date, 2026-12-25, or one of every year, 12-25",
}


def _sentence(model: type[BaseModel], detail: ErrorDetails) -> str:
    """What pydantic found wrong, in words that tell the operator what is allowed."""
    key = str(detail["loc"][-1])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "is required, and missing"
    if kind == "extra_forbidden":  # without the value: a misspelt password is a password
        known = _keys_at(model, detail["loc"][:-1])
        return f"unknown key{did_you_mean(key, known)}; allowed are: {', '.join(known)}"
    enum = _enum_of(model, key)
    if kind == "enum" and enum is not None:
        message = "must be one of " + ", ".join(f'"{member.name.lower()}" ({member.value})' for member in enum)
    elif kind == "string_pattern_mismatch":
        message = _PATTERNS[context["pattern"]]
    elif kind == "value_error":
        return str(context["error"])
    else:
        message = re.sub(r"^(Input|String|Value) should ", "must ", detail["msg"])
    return message if key in SECRET_KEYS else f"{message}, got {detail['input']!r}"


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Keys of the model that ``location`` leads to through arrays of tables."""
    for step in location:
        if isinstance(step, str):
            annotation = model.model_fields[step].annotation
            # Of an array the table in it, of a table the table itself.
            inner: Any = next(iter(get_args(annotation)), annotation)
            model = inner
    return tuple(model.model_fields)


# --- folders ----------------------------------------------------------------------------------------------------


def _with_folders(configuration: Configuration, folder: Path) -> Configuration:
    given = configuration.data_dir
    if given:
        data_dir = folder / Path(given).expanduser()
    else:
        data_dir = Path("/var/lib/ocsd") if os.geteuid() == 0 else Path("~/.local/share/ocsd").expanduser()
    run_dir = data_dir / configuration.telephony.run_dir if configuration.telephony.run_dir else data_dir / "run"
    prompts = configuration.telephony.prompt_dir
    prompt_dir = os.path.normpath(folder / Path(prompts).expanduser()) if prompts else ""
    recordings = configuration.telephony.recording_dir
    recording_dir = folder / Path(recordings).expanduser() if recordings else data_dir / "recordings"
    telephony = configuration.telephony.model_copy(
        update={
            "run_dir": os.path.normpath(run_dir),
            "prompt_dir": prompt_dir,
            "recording_dir": os.path.normpath(recording_dir),
        }
    )
    return configuration.model_copy(update={"data_dir": os.path.normpath(data_dir), "telephony": telephony})


def _socket_problems(configuration: Configuration) -> list[str]:
    longest = os.fsencode(Path(configuration.telephony.run_dir) / LONGEST_SOCKET_NAME)
    if len(longest) <= MAX_SOCKET_PATH_BYTES:
        return []
    most = MAX_SOCKET_PATH_BYTES - len(LONGEST_SOCKET_NAME) - 1
    return [
        f"telephony.run_dir: {configuration.telephony.run_dir} is too long for Unix sockets; "
        f"choose a folder of at most {most} characters (by telephony.run_dir or data_dir)."
    ]


def _prompt_problems(configuration: Configuration) -> list[str]:
    """Announcements that treatments or options name and the media server cannot play. Reads the files."""
    telephony = configuration.telephony
    folder = Path(telephony.prompt_dir) if telephony.prompt_dir else None
    if not telephony.embedded and (folder is None or not folder.is_dir()):
        return []  # the media server may be elsewhere, and be given its folder by its own service
    playing = [
        (f'treatments.message (of "{one.name}")', one.message, "") for one in configuration.treatments if one.message
    ]
    playing += [(where, name, "") for where, name in check_seizing.prompts(configuration)]
    playing += check_voice.prompts(configuration)
    if not playing:
        return []
    library = PromptLibrary(folder)
    found: list[str] = []
    for where, name, language in playing:
        try:
            library.samples(name, language)
        except PromptError as error:
            hint = "" if folder else " (telephony.prompt_dir)"
            found.append(f"{where}: {error}{hint}.")
    return found
