"""``ocsd demo``: the whole product on embedded defaults against a simulated carrier and simulated agents."""

from ocsd.demo.options import DemoOptions
from ocsd.demo.run import run

__all__ = ["DemoOptions", "run"]
