"""In which order these tests are shared out among processes (``--dist=loadfile --no-loadscope-reorder``)."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent

LONGEST_FIRST = (
    "test_kill", "test_plane", "test_records", "test_restarts", "test_http_fuzz", "test_bad_input", "test_why",
    "test_demo", "test_http_outages", "test_media_servers", "test_kamailio", "test_http_records", "test_sipp_carrier",
    "test_analysis_kept",
)  # fmt: skip
"""Modules. A long one that begins last is what everybody waits for in the end."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest first; the order within a module stays, as its tests share a site."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    ours = [item for item in items if item.path.parent == HERE]
    others = [item for item in items if item.path.parent != HERE]
    items[:] = [*others, *sorted(ours, key=place)]
