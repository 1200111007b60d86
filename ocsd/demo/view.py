"""The live view of a demo: a table that redraws itself on a terminal, plain lines elsewhere."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ocsd.model.enums import CallResult

BAR_WIDTH = 40
AGENT_BAR_WIDTH = 14


def result_counts(figures: Mapping[str, Any]) -> list[tuple[str, int]]:
    """``result_33`` and so on under the manual's names, most frequent first."""
    counts = []
    for key, value in figures.items():
        if key.startswith("result_") and value:
            code = int(key.removeprefix("result_"))
            counts.append((CallResult(code).title if code in set(CallResult) else str(code), int(value)))
    return sorted(counts, key=lambda item: (-item[1], item[0]))


def _bar(count: int, most: int, style: str, full: int = BAR_WIDTH) -> Text:
    width = round(full * count / most) if most else 0
    return Text("█" * max(width, 1 if count else 0), style=style)


def render(figures: Mapping[str, Any], *, title: str, done: float) -> RenderableType:
    """One frame; ``done``: share of the campaign that is over, 0..1."""
    agents = Table.grid(padding=(0, 2))
    total = max(1, int(figures.get("agents_logged_in") or 0))
    for label, key, style in (
        ("ready", "agents_ready", "yellow"),
        ("connecting", "agents_reserved", "cyan"),
        ("talking", "agents_talking", "green"),
        ("wrap-up", "agents_wrap_up", "blue"),
    ):
        count = int(figures.get(key) or 0)
        agents.add_row(label, f"{count:3d}", _bar(count, total, style, AGENT_BAR_WIDTH))
    calls = Table.grid(padding=(0, 2))
    calls.add_row("dialing", str(figures.get("calls_dialing", 0)))
    calls.add_row("analysing", str(figures.get("calls_analysing", 0)))
    calls.add_row("people waiting", str(figures.get("people_waiting", 0)))
    calls.add_row("call starts/s", f"{figures.get('call_starts_per_s') or 0.0:.1f}")
    calls.add_row("in buffer", str(figures.get("records_in_buffer", 0)))
    rates = Table.grid(padding=(0, 2))
    rates.add_row("attempts", str(figures.get("attempts", 0)))
    rates.add_row("people / connected", f"{figures.get('answered', 0)} / {figures.get('connected', 0)}")
    rates.add_row("busy factor", f"{100 * (figures.get('busy_factor') or 0.0):.1f} %")
    overdial = 100 * (figures.get("overdial_rate") or 0.0)
    rates.add_row(
        "overdial rate", Text(f"{overdial:.2f} % ({figures.get('abandoned', 0)})", "red" if overdial > 3 else "green")
    )
    rates.add_row("mean wait", f"{figures.get('mean_wait_s') or 0.0:.2f} s")
    results = Table.grid(padding=(0, 2))
    counts = result_counts(figures)
    for name, count in counts[:10]:
        results.add_row(name, f"{count:5d}", _bar(count, counts[0][1], "magenta"))
    top = Table.grid(expand=True)
    for _ in range(3):
        top.add_column(ratio=1)
    top.add_row(Panel(agents, title="Agents"), Panel(calls, title="Calls"), Panel(rates, title="Rates"))
    progress = Table.grid(expand=True)  # a bare bar ends without a line break
    progress.add_row(ProgressBar(total=1.0, completed=done))
    return Panel(Group(progress, top, Panel(results, title="Results")), title=title)


def plain_line(figures: Mapping[str, Any], elapsed_s: float) -> str:
    """One line for outputs that are no terminal."""
    agents = ", ".join(
        f"{figures.get('agents_' + key, 0)} {key.replace('_', '-')}" for key in ("talking", "ready", "wrap_up")
    )
    calls = ", ".join(f"{figures.get('calls_' + key, 0)} {key}" for key in ("dialing", "analysing"))
    return (
        f"{elapsed_s:6.1f} s  agents {agents}  calls {calls}  {figures.get('call_starts_per_s') or 0.0:.1f}/s  "
        f"attempts {figures.get('attempts', 0)}  connected {figures.get('connected', 0)}  "
        f"busy {100 * (figures.get('busy_factor') or 0.0):.1f} %  "
        f"overdial {100 * (figures.get('overdial_rate') or 0.0):.2f} %"
    )


def save_picture(frame: RenderableType, path: Path) -> None:
    """Write one frame as SVG."""
    console = Console(record=True, width=118, file=io.StringIO())
    console.print(frame)
    svg = console.export_svg(title="ocsd demo")
    # The template loads its font from the network; any monospaced one will do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    path.write_text(svg.replace("Fira Code, monospace", "monospace"), encoding="utf-8")


def summary(report: Mapping[str, Any]) -> RenderableType:
    """The end of a run, for people."""
    facts = Table(title="Demo summary", show_header=False)
    facts.add_column("what")
    facts.add_column("figure", justify="right")
    for key in ("attempts", "answered", "connected", "abandoned", "double_dialed", "lost"):
        facts.add_row(key.replace("_", " "), str(report[key]))
    facts.add_row("overdial rate", f"{100 * report['overdial_rate']:.2f} %")
    facts.add_row("busy factor", f"{100 * report['busy_factor']:.1f} %")
    facts.add_row("mean wait", f"{report['mean_wait_s']:.2f} s")
    facts.add_row("call starts per second", f"{report['call_starts_per_s']:.2f}")
    facts.add_row("truth match, signalling", f"{report['truth_match']['signalling']:.4f}")
    facts.add_row("truth match, CPA", f"{report['truth_match']['cpa']:.4f}")
    facts.add_row("audio ok", f"{report['audio_ok']:.4f}")
    results = Table(title="Results in the calling list")
    results.add_column("call result")
    results.add_column("records", justify="right")
    for name, count in sorted(report["results"].items(), key=lambda item: -item[1]):
        results.add_row(name, str(count))
    grid = Table.grid(padding=(0, 4))
    grid.add_row(facts, results)
    return grid


def analysis(figures: Mapping[str, Any]) -> RenderableType:
    """What the analysis made of the calls (`ocsd.demo.verdicts.analysis_report`), for people."""
    matrix = Table(title="What numbers were, and the results they got")
    for heading in ("class", "calls", "right", "truth match", "results"):
        matrix.add_column(heading, justify="left" if heading in ("class", "results") else "right")
    for name, row in figures["confusion"].items():
        results = ", ".join(f"{result} {count}" for result, count in row["results"].items())
        share = Text(f"{100 * row['truth_match']:.1f} %", "green" if row["truth_match"] >= 0.99 else "yellow")
        matrix.add_row(name, str(row["calls"]), str(row["right"]), share, results)
    waits = Table(title="When the verdict came (s)")
    waits.add_column("class")
    waits.add_column("after")
    for heading in ("calls", "p50", "p95", "p99"):
        waits.add_column(heading, justify="right")
    rows = [(name, kind, told) for name, kinds in figures["latency"].items() for kind, told in kinds.items()]
    for name, kind, told in [*rows, ("all people", "after_greeting", figures["people_after_greeting"])]:
        cells = [f"{told[key]:.2f}" if key in told else "-" for key in ("p50_s", "p95_s", "p99_s")]
        waits.add_row(name, kind.removeprefix("after_"), str(told["count"]), *cells)
    beeps = figures["beeps"]
    heard = f"Beeps that sounded while the call was up: {beeps['sounded']}, found: {beeps['found']}"
    if beeps["count"]:
        heard += f", beginning off by {1000 * beeps['p50_s']:.0f} ms (p50), {1000 * beeps['p95_s']:.0f} ms (p95)"
    lost = Table(title="People lost", show_header=False)
    lost.add_column("what")
    lost.add_column("calls", justify="right")
    for key, count in figures["lost"].items():
        if key != "taken_for":
            lost.add_row(key.replace("_", " "), str(count))
    for result, count in figures["lost"]["taken_for"].items():
        lost.add_row(f"  taken for: {result}", str(count))
    return Group(matrix, waits, Text(heard), lost)


COMPARED = ("attempts", "answered", "connected", "abandoned")


def side_by_side(report: Mapping[str, Any], rehearsed: Mapping[str, Any]) -> RenderableType:
    """The demo as it went, and as its rehearsal went."""
    table = Table(title="Rehearsed and real")
    for heading in ("figure", "rehearsed", "real", "difference"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for key in COMPARED:
        table.add_row(key, str(rehearsed[key]), str(report[key]), f"{rehearsed[key] - report[key]:+d}")
    for key, name in (("busy_factor", "busy factor"), ("overdial_rate", "overdial rate")):
        both = [100.0 * figures[key] for figures in (rehearsed, report)]
        table.add_row(name, *(f"{value:.2f} %" for value in both), f"{both[0] - both[1]:+.2f} points")
    waits = [figures["mean_wait_s"] for figures in (rehearsed, report)]
    table.add_row("mean wait", *(f"{value:.2f} s" for value in waits), f"{waits[0] - waits[1]:+.2f} s")
    return table
