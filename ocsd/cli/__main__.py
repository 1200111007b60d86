"""``python -m ocsd.cli`` is ``ocsd``."""

from ocsd.cli import main

main()
