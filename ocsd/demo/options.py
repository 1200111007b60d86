"""What can be asked of a demo run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """
    Attributes:
        seconds: how long the campaign dials at most.
        attempts: it ends after so many calls; None: it ends with the time.
        records: in the calling list; each is dialed once.
        mix: what the called numbers are, by a name of `telephony.simworld.plan.MIXES`. With "all" a part of them is
            British, every network sounds as its country's do, and lines differ in level, noise and loss.
        media_servers: how many media server processes carry the calls.
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
    attempts: int | None = None
    mix: str = "demo"
    media_servers: int = 1

    @property
    def of_all_kinds(self) -> bool:
        """Whether the numbers are of more than one country, and lines differ."""
        return self.mix == "all"
