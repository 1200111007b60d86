"""The figures of the virtual weeks as plain text, and their dials per hour as a drawing."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ocsd.model.enums import CallResult
from tests.ocsd.weeks_world import SHARES, ZONES

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


WIDTH, HEIGHT, LEFT, TOP = 900, 180, 50, 40
COLOURS = ("#4c72b0", "#dd8452", "#55a868")


def svg(weeks: Sequence[Any]) -> str:
    """Dials per hour, the lists stacked, a row of bars per week; a line where the clocks of New York change."""
    parts = []
    for place, week in enumerate(weeks):
        hours = 1 + max((hour for counts in week.by_hour.values() for hour in counts), default=0)
        most = max((sum(counts[hour] for counts in week.by_hour.values()) for hour in range(hours)), default=1) or 1
        base, step = (place + 1) * (HEIGHT + TOP), (WIDTH - LEFT) / hours
        zone = ZoneInfo(ZONES[0])
        offsets = [(week.start + timedelta(hours=hour)).astimezone(zone).utcoffset() for hour in range(hours + 1)]
        parts.append(
            f'<text x="{LEFT}" y="{base - HEIGHT - 8}">dials per hour from {week.start:%Y-%m-%d %H:%M} UTC</text>'
        )
        parts.append(f'<text x="2" y="{base - HEIGHT + 10}">{most}</text><text x="2" y="{base}">0</text>')
        shapes = dict.fromkeys(COLOURS, "")
        changes = ""
        for hour in range(hours):
            x, y = round(LEFT + hour * step, 1), float(base)
            if hour and offsets[hour] != offsets[hour - 1]:
                changes += f"M{x} {base}V{base - HEIGHT}"
            for colour, counts in zip(COLOURS, week.by_hour.values(), strict=True):
                high = HEIGHT * counts[hour] / most
                y -= high
                if high:
                    shapes[colour] += f"M{x} {y:.1f}h{step:.1f}v{high:.1f}h-{step:.1f}"
        parts += [f'<path d="{shape}" fill="{colour}"/>' for colour, shape in shapes.items()]
        parts.append(f'<path d="{changes}" stroke="#000" stroke-dasharray="4 3"/>')
    legend = "".join(
        f'<text x="{LEFT + 330 + 130 * n}" y="{TOP - 8}" fill="{colour}">list {dbid}, share {share}</text>'
        for n, (colour, (dbid, share)) in enumerate(zip(COLOURS, SHARES.items(), strict=True))
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {len(weeks) * (HEIGHT + TOP) + 10}"'
    style = ' font-family="sans-serif" font-size="12">'
    return "\n".join([head + style, legend, *parts, "</svg>"])
