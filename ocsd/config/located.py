"""Objects with the place where they stand, and what every cross-check asks of them.

An object that failed its own validation (``value`` None) is skipped by the checks, but its name still counts as
defined, so that one fault is not reported twice.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Located:
    """An object and where it stands (``file: kind[index]``); ``value`` is None when it is not valid by itself."""

    where: str
    raw: Mapping[str, Any]
    value: BaseModel | None

    def problem(self, key: str, sentence: str) -> str:
        name = self.raw.get("login_id", self.raw.get("name"))
        of = f' (of "{name}")' if isinstance(name, str) and name else ""
        return f"{self.where}{'.' if key else ''}{key}{of}: {sentence}."


Objects = Mapping[str, Sequence[Located]]
M = TypeVar("M", bound=BaseModel)


def valid(objects: Objects, kind: str, model: type[M]) -> list[tuple[Located, M]]:
    """The objects of a kind that are valid by themselves."""
    return [(located, located.value) for located in objects.get(kind, ()) if isinstance(located.value, model)]


def names(objects: Objects, kind: str) -> list[str]:
    """Names of all objects of a kind, valid or not."""
    key = "login_id" if kind == "agents" else "name"
    return [located.raw[key] for located in objects.get(kind, ()) if isinstance(located.raw.get(key), str)]


def reference(located: Located, key: str, name: str, kind: str, objects: Objects) -> Iterable[str]:
    """A sentence when no object of the kind is called ``name``."""
    defined = names(objects, kind)
    if name not in defined:
        known = ", ".join(f'"{other}"' for other in defined[:10]) + (", ..." if len(defined) > 10 else "")
        yield located.problem(key, f'no [[{kind}]] is called "{name}"; defined are: {known or "none"}')


def repeated(located: Located, key: str, given: Sequence[str]) -> Iterable[str]:
    """A sentence for each name that stands more than once."""
    for name, times in Counter(given).items():
        if times > 1:
            yield located.problem(key, f'"{name}" stands there {times} times; once is enough')
