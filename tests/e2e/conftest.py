"""How these tests are shared out among processes (``--dist=loadgroup --no-loadscope-reorder``)."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent

LONGEST_FIRST = (
    "test_http_fuzz", "test_records", "test_bad_input", "test_why", "test_http_outages", "test_http_records",
    "test_media_servers", "test_kill", "test_demo", "test_sipp_carrier", "test_analysis_kept",
)  # fmt: skip
"""A long one that begins last is what everybody waits for in the end."""

APART = ("test_kill", "test_demo")
"""Modules whose tests share nothing, and may go to different processes. The others have a site for all their tests."""


@pytest.hookimpl(tryfirst=True)  # xdist looks for the groups next
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest first, and what shares a site to the same process."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    ours = [item for item in items if item.path.parent == HERE]
    others = [item for item in items if item.path.parent != HERE]
    for item in ours:
        if item.path.stem not in APART:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items[:] = [*others, *sorted(ours, key=place)]
