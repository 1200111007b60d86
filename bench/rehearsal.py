"""How fast rehearsals are, and how near to what then happens.

    python -m bench.rehearsal speed --agents 10 --agents 100 --agents 1000
    python -m bench.rehearsal demo --seeds 1 2 3 4 5 6 --seconds 120 --json demos.json --plot docs/rehearsal-demo.svg
    python -m bench.rehearsal demo --from demos.json --plot docs/rehearsal-demo.svg    # rehearse again, dial no more
    python -m bench.rehearsal picture docs/rehearsal.svg

``speed`` counts CPU seconds of one core, decisions and everything else included, for the reference mix (hit ratio 30 %,
talks of 150 s, wrap-up of 30 s). ``demo`` runs real demos (SIP, RTP, PostgreSQL, desktops) one after the other, each
with its rehearsal; it needs a machine with a core or two to spare, as the real ones run in real time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocsd.config.loader import load_configuration
from ocsd.config.objects import Configuration, Treatment
from ocsd.demo import DemoOptions
from ocsd.demo.rehearsed import rehearse_demo, told_of_rehearsal
from ocsd.demo.world import CAMPAIGN_GROUP, write_configuration
from ocsd.log import configure_logging
from ocsd.model.enums import CallResult, DialMode, OptimizeBy, RecordAction
from ocsd.rehearsal.agents import Breaks, Rota, Shift
from ocsd.rehearsal.compare import Outcome, compare, variants_of
from ocsd.rehearsal.figures import interval
from ocsd.rehearsal.mixes import MadeUpList
from ocsd.rehearsal.plotting import plot
from ocsd.rehearsal.report import table
from ocsd.rehearsal.run import Scene, Variant, group_named, rehearse
from ocsd.rehearsal.staging import enough_chains, made_up_lists, scene_of, settings_of
from ocsd.rehearsal.world import REFERENCE, Mix, Party
from ocsd.sessions.group import DialSettings

START = datetime(2026, 3, 3, 15, 0, tzinfo=UTC)


def configuration(agents: int) -> Configuration:
    """The demo's site with ports for so many agents."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ocsd.toml"
        options = DemoOptions(agents=min(agents, 100))  # a rehearsal makes the others up
        write_configuration(
            path, options, data_dir=Path(folder), http_port=0, desktop_port=0, carrier_port=5060, phones_port=5061
        )
        config = load_configuration(path)
    ports = 6 * agents + 20
    return config.model_copy(
        update={
            "trunks": tuple(trunk.model_copy(update={"max_calls": ports}) for trunk in config.trunks),
            "campaign_groups": tuple(
                group.model_copy(update={"num_of_channels": ports}) for group in config.campaign_groups
            ),
            "telephony": config.telephony.model_copy(update={"max_legs": ports + 2 * agents}),
        }
    )


def measure_speed(agents: int, hours: float) -> dict[str, Any]:
    """One rehearsal of the reference mix."""
    config = configuration(agents)
    group = group_named(config, CAMPAIGN_GROUP)
    lists = made_up_lists(config, group, MadeUpList(enough_chains(REFERENCE, agents, 3600.0 * hours)), 1)
    lists.database(config)  # making records up is not rehearsing
    scene = scene_of(config, group, lists, REFERENCE, START, 3600.0 * hours)
    settings = DialSettings(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 3)
    run = rehearse(scene, Variant("", settings, Rota((Shift(0.0, 3600.0 * hours, agents),))), 1)
    total = run.total
    return {
        "agents": agents,
        "hours": hours,
        "attempts": total.attempts,
        "decisions": run.decisions,
        "cpu_s_per_hour": round(run.cpu_s / hours, 3),
        "times_faster_than_real": round(run.speed),
        "busy_factor": round(total.busy_ratio or 0.0, 4),
        "overdial_rate": round(total.overdial_ratio or 0.0, 5),
    }


def run_demo(seed: int, seconds: int, agents: int) -> dict[str, Any]:
    """A real demo; its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = ("--seconds", seconds, "--agents", agents, "--records", 5000, "--seed", seed, "--http-port", 0)
        command = [sys.executable, "-m", "ocsd.cli", "demo", *map(str, arguments), "--report", str(report)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found


def rehearsed(real: dict[str, Any]) -> dict[str, Any]:
    """The rehearsal of a demo that was run."""
    options = DemoOptions(
        seconds=real["seconds"], agents=real["agents"], records=real["records"], seed=real["seed"], mode=real["mode"]
    )
    return dict(told_of_rehearsal(rehearse_demo(options)))


KEPT = ("mode", "seconds", "agents", "records", "seed", "attempts", "answered", "connected", "abandoned",
        "overdial_rate", "busy_factor", "mean_wait_s")  # fmt: skip
COMPARED = (
    ("busy_factor", 100.0),
    ("overdial_rate", 100.0),
    ("mean_wait_s", 1.0),
    ("attempts", 1.0),
    ("answered", 1.0),
)


def show(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """A Markdown table: rehearsed and real of each demo, and the means."""
    print("| seed | busy factor | overdial rate | mean wait | attempts | people |")
    print("|---|---|---|---|---|---|")
    for real, virtual in pairs:
        cells = [f"{factor * virtual[key]:.4g} / {factor * real[key]:.4g}" for key, factor in COMPARED]
        print(f"| {real['seed']} | {' | '.join(cells)} |")
    for name, place in (("real", 0), ("rehearsed", 1)):
        means = []
        for key, factor in COMPARED:
            found = interval([factor * pair[place][key] for pair in pairs])
            assert found is not None
            means.append(f"{found.mean:.4g} ± {found.half:.2g}")
        print(f"| mean, {name} | {' | '.join(means)} |")
    differences = []
    for key, factor in COMPARED:
        found = interval([factor * (virtual[key] - real[key]) for real, virtual in pairs])
        assert found is not None
        differences.append(f"{found.mean:+.3g} ± {found.half:.2g}")
    print(f"| difference | {' | '.join(differences)} |")


def draw(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], path: Path) -> None:
    """Rehearsed against real, demo by demo."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"svg.hashsalt": "ocsd", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(1, 3, figsize=(11, 3.8))
        for axis, (key, title, factor, band) in zip(
            axes,
            (("busy_factor", "busy factor, %", 100.0, 3.0), ("overdial_rate", "overdial rate, %", 100.0, 1.0),
             ("attempts", "calls started", 1.0, 0.0)),
            strict=True,
        ):  # fmt: skip
            real = [factor * pair[0][key] for pair in pairs]
            virtual = [factor * pair[1][key] for pair in pairs]
            low, high = min(*real, *virtual), max(*real, *virtual)
            margin = 0.1 * (high - low) + max(band, 0.02 * high)
            ends = [low - margin, high + margin]
            axis.plot(ends, ends, color="black", linewidth=0.8)
            if band:
                axis.fill_between(ends, [end - band for end in ends], [end + band for end in ends], alpha=0.12)
            axis.plot(real, virtual, "o", color="#4c72b0")
            for (pair, _), x, y in zip(pairs, real, virtual, strict=True):
                axis.annotate(str(pair["seed"]), (x, y), xytext=(4, 4), textcoords="offset points", fontsize="x-small")
            axis.set_xlabel(f"real: {title}")
            axis.set_ylabel("rehearsed")
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})


DAY = Mix(
    shares={Party.PERSON: 22.0, Party.MACHINE: 28.0, Party.NO_ANSWER: 38.0, Party.BUSY: 7.0, Party.SIT: 5.0},
    by_hour=tuple(1.0 if hour < 9 else 0.75 if hour < 12 else 0.9 if hour < 17 else 1.35 for hour in range(24)),
)
"""People are at home in the evening."""


def day(hours: float = 10.0) -> tuple[Scene, list[Outcome]]:
    """A day of a list in two zones, redialed, with a second shift and breaks, under three goals."""
    config = configuration(40)
    redial = (
        Treatment(dbid=1, name="busy", call_result=CallResult.BUSY, record_action=RecordAction.REDIAL,
                  cycle_attempts=3, interval_min=15),
        Treatment(dbid=2, name="nobody", call_result=CallResult.NO_ANSWER, record_action=RecordAction.RETRY_IN,
                  interval_min=180),
    )  # fmt: skip
    people = config.calling_lists[0].model_copy(
        update={"treatments": ("busy", "nobody"), "daily_from": 9 * 3600, "daily_till": 20 * 3600}
    )
    config = config.model_copy(update={"treatments": redial, "calling_lists": (people,)})
    group = group_named(config, CAMPAIGN_GROUP)
    lists = made_up_lists(config, group, MadeUpList(13_000, zones={"EST": 60.0, "PST": 40.0}), 1)
    start = datetime(2026, 3, 3, 14, 0, tzinfo=UTC)  # 9:00 in New York
    scene = scene_of(config, group, lists, DAY, start, 3600.0 * hours)
    base = settings_of(config, group)

    def rota(agents: int) -> Rota:
        shifts = (Shift(0.0, 18_000.0, agents), Shift(14_400.0, 3600.0 * hours, agents))
        return Rota(shifts, Breaks(600.0, 5400.0), login_spread_s=120.0)

    return scene, compare(scene, variants_of(base, ("overdial=3", "busy=80", "progressive"), (20,), rota), (1,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    speed = parts.add_parser("speed")
    speed.add_argument("--agents", type=int, action="append")
    speed.add_argument("--hours", type=float, default=2.0)
    speed.add_argument("--json", type=Path)
    demo = parts.add_parser("demo")
    demo.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    demo.add_argument("--seconds", type=int, default=120)
    demo.add_argument("--agents", type=int, default=20)
    demo.add_argument("--json", type=Path, help="write the real demos' figures here, after each of them")
    demo.add_argument("--from", type=Path, dest="kept", help="figures of real demos that --json has kept")
    demo.add_argument("--plot", type=Path)
    picture = parts.add_parser("picture")
    picture.add_argument("path", type=Path)
    options = parser.parse_args()
    configure_logging("critical")
    if options.part == "picture":
        scene, outcomes = day()
        plot(outcomes, scene, options.path)
        headings, figures = table(outcomes)
        for cells in (headings, *figures):
            print(f"| {' | '.join(cells)} |")
        return
    if options.part == "speed":
        rows = [measure_speed(agents, options.hours) for agents in options.agents or (10, 30, 100, 300, 1000)]
        print("| agents | attempts per hour | CPU s per hour | times faster than real | busy | overdial |")
        print("|---|---|---|---|---|---|")
        for row in rows:
            print(
                f"| {row['agents']} | {row['attempts'] / row['hours']:.0f} | {row['cpu_s_per_hour']:.2f} |"
                f" {row['times_faster_than_real']} | {100 * row['busy_factor']:.1f} % |"
                f" {100 * row['overdial_rate']:.2f} % |"
            )
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        return
    real: list[dict[str, Any]] = json.loads(options.kept.read_text(encoding="utf-8")) if options.kept else []
    for seed in options.seeds if not options.kept else ():
        found = run_demo(seed, options.seconds, options.agents)
        real.append({key: found[key] for key in KEPT})
        if options.json:
            options.json.write_text(json.dumps(real, indent=2) + "\n", encoding="utf-8")
    pairs = [(each, rehearsed(each)) for each in real]
    show(pairs)
    if options.plot:
        draw(pairs, options.plot)


if __name__ == "__main__":
    main()
