"""The figures of the virtual weeks as plain text."""

from collections.abc import Sequence
from typing import Any

from ocsd.model.enums import CallResult
from tests.ocsd.weeks_world import SHARES

LATE = (("on time", 60), ("5 min", 300), ("15 min", 900), ("1 h", 3600), ("4 h", 14_400), ("1 day", 86_400))


def report(weeks: Sequence[Any]) -> str:
    """A column per week (`virtual_weeks.Figures`)."""
    lines = [_line("week from", [f"{w.start:%Y-%m-%d %H:%M}" for w in weeks])]
    lines.append(_line("records", [w.records for w in weeks]))
    lines.append(_line("wall time, s", [f"{w.wall_s:.0f}" for w in weeks]))
    lines.append(_line("dials, each checked", [sum(w.dials.values()) for w in weeks]))
    lines += [_line(f"  list {dbid}", [w.dials[dbid] for w in weeks]) for dbid in SHARES]
    lines.append(_line("stretches with all lists waiting", [len(w.shares_seen) for w in weeks]))
    turns = [[sum(column) for column in zip(*w.shares_seen, strict=True)] for w in weeks]
    for place, (dbid, share) in enumerate(SHARES.items()):
        seen = [f"{100 * t[place] / sum(t):.2f} % of {sum(t)}" if t else "-" for t in turns]
        lines.append(_line(f"  turns of list {dbid}, share {share}", seen))
    lines.append(_line("due to dialed or delivered", [len(w.late_s) for w in weeks]))
    from_s = -1.0
    for name, till_s in LATE:
        counts = [sum(from_s <= late < till_s for late in w.late_s) for w in weeks]
        lines.append(_line(f"  {'within' if from_s >= 0 else ''} {name}".replace("  on", " on"), counts))
        from_s = till_s
    lines.append(_line("  later", [sum(late >= from_s for late in w.late_s) for w in weeks]))
    lines += _counters("results", [{CallResult(k).name: n for k, n in w.results.items()} for w in weeks])
    names = [{getattr(k, "name", k): n for k, n in w.treatments.items()} for w in weeks]
    lines += _counters("treatments", names)
    lines += _counters("checked and seen", [w.counts for w in weeks])
    return "\n".join(lines)


def _counters(title: str, counters: Sequence[dict]) -> list[str]:
    names = sorted({name for counter in counters for name in counter})
    return [title, *(_line(f"  {name}", [counter.get(name, 0) for counter in counters]) for name in names)]


def _line(name: str, values: Sequence[object]) -> str:
    return f"{name:<58}" + "".join(f"{value!s:>20}" for value in values)


def svg(weeks: Sequence[Any]) -> str:
    raise NotImplementedError
