"""How ``ocsd cpa score`` tells its figures."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from ocsd.cli.output import out, print_table

if TYPE_CHECKING:
    from ocsd.cpa.scoring import Percentiles, Rate, Score


def told_of_score(found: "Score", baseline: "Score | None", missing: int, *, failures: bool) -> dict[str, Any]:
    """For programs. Failures only when asked for: they may be thousands."""
    told = {"unreadable": missing, **asdict(found)}
    if not failures:
        del told["failures"]
    if baseline is not None:
        told["baseline"] = {
            "rule": "Asterisk AMD, sample settings",
            "recordings": baseline.recordings,
            "confusion": baseline.confusion,
            "people": asdict(baseline.people),
            "after_speech": [asdict(one) for one in baseline.after_speech],
        }
    return told


class Table(Protocol):
    """Prints headings and rows."""

    def __call__(self, headings: Sequence[str], rows: Sequence[Sequence[object]], /) -> None: ...


def print_markdown(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for a page, with an empty line after it."""
    for cells in (headings, ["---"] * len(headings), *rows):
        out(f"| {' | '.join(str(cell) for cell in cells)} |")
    out("")


def print_score(found: "Score", baseline: "Score | None", table: Table = print_table) -> None:
    names = sorted({name for row in found.confusion.values() for name in row} | set(found.confusion), key=_place(found))
    table(
        ("heard as: ", *names),
        [(label, *(row.get(name) or "" for name in names)) for label, row in found.confusion.items()],
    )
    table(
        ("class", "recordings", "recall", "precision", "decision p50 s", "p95 s", "p99 s"),
        [
            (one.label, one.recall.of, _rate(one.recall), _rate(one.precision), *_three(one.decision))
            for one in found.classes
        ],
    )
    rows: list[tuple[object, ...]] = [("recognised, all classes", _counted(found.right))]
    columns = ["persons and machines", "ocsd"]
    people, other = found.people, baseline.people if baseline is not None else None
    if found.special_information.of:
        words = "special information tone heard, whatever its cause"
        rows.append((words, _counted(found.special_information), *_padding(other)))
    if people.human_missed.of or people.machine_caught.of:
        for words, name in (
            ("person taken for a machine", "human_as_machine"),
            ("person taken for anything else", "human_missed"),
            ("machine caught", "machine_caught"),
            ("machine taken for a person", "machine_as_human"),
            ("person taken for a machine at first", "first_human_as_machine"),
            ("machine taken for a person at first", "first_machine_as_human"),
            ("person or machine, undecided at the time guard", "undecided"),
        ):
            row: list[object] = [words, _counted(getattr(people, name))]
            if other is not None:
                row.append(_counted(getattr(other, name)))
            rows.append(tuple(row))
    for one in found.after_speech:
        words = "" if one.end_from == "manifest" else ", greeting's end as the analyser heard it"
        p50, p95, p99 = _three(one.delay)
        rows.append(
            (f"decision on a person after the greeting, s{words}", f"p50 {p50}, p95 {p95}, p99 {p99}", *_padding(other))
        )
        rows.append(("... within 0.8 s", _counted(one.within), *_padding(other)))
        rows.append(("... before its end, in a pause", _counted(one.early), *_padding(other)))
    if found.beeps.found.of:
        p50, p95, p99 = _three(found.beeps.error)
        rows += [
            ("recording tone heard", _counted(found.beeps.found), *_padding(other)),
            ("... within 100 ms of its beginning", _counted(found.beeps.within), *_padding(other)),
            ("... error, s", f"p50 {p50}, p95 {p95}, p99 {p99}", *_padding(other)),
        ]
    if found.beeps.false.of:
        rows.append(("recording tone heard where none is", _counted(found.beeps.false), *_padding(other)))
    if other is not None:
        columns.append("Asterisk's rule, sample settings")
        rows[0] = (*rows[0], "-")
    table(columns, rows)


def print_failures(found: "Score") -> None:
    print_table(
        ("file", "label", "heard as", "at first", "cause", "decision s", "tones", "source"),
        [
            (one.file, one.label, one.result, one.first, one.cause, one.decision_time_s, one.tone_plan, one.source)
            for one in found.failures
        ],
    )
    out(f"{len(found.failures)} of {found.recordings} went wrong")


def _place(found: "Score") -> Any:
    order = list(found.confusion)
    return lambda name: (order.index(name), "") if name in order else (len(order), name)


def _padding(other: object) -> tuple[str, ...]:
    return ("",) if other is not None else ()


def _rate(rate: "Rate") -> str:
    return f"{100 * rate.ratio:.1f} % ({100 * rate.low:.1f}..{100 * rate.high:.1f})" if rate.of else "-"


def _counted(rate: "Rate") -> str:
    return f"{_rate(rate)}, {rate.count} of {rate.of}"


def _three(found: "Percentiles") -> Sequence[object]:
    return [f"{value:.2f}" if value is not None else "-" for value in (found.p50_s, found.p95_s, found.p99_s)]
