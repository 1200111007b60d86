"""What can be asked of a demo run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """
    Attributes:
        seconds: how long the campaign dials.
        mode: "predictive" or "progressive".
        http_port: control port of the daemon; 0 lets the system choose.
        report: file for the JSON report.
        screenshot: file for a picture (SVG) of the live view, taken when most of the time is over.
        data_dir: keep everything here; None: a temporary folder, removed at the end.
        rehearse: rehearse the same campaign too, and put both side by side.
    """

    seconds: int = 90
    agents: int = 20
    records: int = 2000
    seed: int = 1
    http_port: int = 8080
    report: Path | None = None
    mode: str = "predictive"
    data_dir: Path | None = None
    screenshot: Path | None = None
    rehearse: bool = False
