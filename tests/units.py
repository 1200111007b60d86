"""
The systemd units as systemd itself judges them, and their command lines as it would run them.

    python -m tests.units > docs/units.md

writes what ``systemd-analyze verify`` and ``systemd-analyze security`` say of each; no systemd need be running.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
UNITS = sorted((ROOT / "systemd").glob("*.service"))
LIMIT_S = 60.0
PROGRAMS = "/opt/ocsd/venv/bin/"


def lines_of(unit: Path, key: str) -> list[str]:
    """All values of a setting, in their order."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def command_of(unit: Path, instance: str = "", environment: Mapping[str, str] = {}) -> list[str]:
    """
    ExecStart as systemd expands it (systemd.service(5), COMMAND LINES): ``${NAME}`` is one word, ``$NAME`` as many as
    it holds. ``environment`` goes over what the unit sets, as its EnvironmentFile does.
    """
    known = dict(one.split("=", 1) for line in lines_of(unit, "Environment") for one in shlex.split(line))
    known |= environment
    words: list[str] = []
    for word in shlex.split(lines_of(unit, "ExecStart")[-1].replace("%i", instance)):
        if re.fullmatch(r"\$\w+", word):
            words += known[word[1:]].split()
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], word))
    return words


def seconds_of(text: str) -> float:
    """A time span of a unit, as far as ours use them: 5, 100ms."""
    return float(text[:-2]) / 1000.0 if text.endswith("ms") else float(text.removesuffix("s"))


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=LIMIT_S
    )  # fmt: skip


def version() -> str:
    """Of systemd; "" where there is none."""
    if shutil.which("systemd-analyze") is None:
        return ""
    return " ".join(analyze("--version").stdout.split()[:2])


def complaints(units: Sequence[Path]) -> list[str]:
    """What ``verify`` says of the units. The programs are not installed here; everything else is judged as it is."""
    with tempfile.TemporaryDirectory() as folder:
        for unit in units:
            text = re.sub(rf"{PROGRAMS}[a-z-]+", "/bin/true", unit.read_text())
            (Path(folder) / unit.name).write_text(text)
        found = analyze("verify", "--man=no", *(f"{folder}/{unit.name}" for unit in units))
        return [line.replace(f"{folder}/", "") for line in found.stderr.splitlines() if folder in line]


def exposures(unit: Path) -> tuple[str, list[dict[str, Any]]]:
    """The overall figure of ``security``, and what it is made of: every line that counts, the largest first."""
    overall = analyze("security", "--offline=yes", str(unit)).stdout
    figure = re.search(r"Overall exposure level for \S+: (\d+\.\d) (\w+)", overall)
    assert figure is not None, overall
    rows = json.loads(analyze("security", "--offline=yes", "--json=short", str(unit)).stdout)
    counting = [row for row in rows if row["exposure"] is not None and float(row["exposure"]) > 0]
    return f"{figure[1]} {figure[2]}", sorted(counting, key=lambda row: (-float(row["exposure"]), row["name"]))


def page() -> str:
    """The page in Markdown."""
    lines = [
        "# The units as systemd judges them",
        "",
        f"Made by `python -m tests.units > docs/units.md` with {version()}; 0 is no exposure, 10 all of it. What is",
        "left, and why, is in [plane.md](plane.md).",
        "",
        "| unit | `systemd-analyze verify` | `systemd-analyze security` |",
        "|---|---|---|",
    ]
    told = complaints(UNITS)
    by_unit = {unit: exposures(unit) for unit in UNITS}
    for unit, (figure, _) in by_unit.items():
        own = [line for line in told if line.startswith(unit.name)]
        lines.append(f"| `{unit.name}` | {'; '.join(own) or 'no complaint'} | {figure} |")
    names = sorted({row["name"] for _, rows in by_unit.values() for row in rows})
    descriptions = {row["name"]: row["description"] for _, rows in by_unit.values() for row in rows}
    lines += ["", "| what counts | " + " | ".join(f"`{unit.name}`" for unit in UNITS) + " |"]
    lines.append("|---" * (len(UNITS) + 1) + "|")
    for name in names:
        cells = []
        for _, rows in by_unit.values():
            cells.append(next((str(row["exposure"]) for row in rows if row["name"] == name), ""))
        lines.append(
            f"| `{name}`: {descriptions[name]} | ".replace("(INET|INET6)", "INET, INET6") + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """1 without systemd-analyze, or when it complains."""
    if not version():
        sys.stderr.write("systemd-analyze is not installed: apt-get install systemd\n")
        return 1
    sys.stdout.write(page())
    return 1 if complaints(UNITS) else 0


if __name__ == "__main__":
    sys.exit(main())
