import json
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from ocsd.explain.contract import Explanation, GateVerdict, Preflight, Reach
from ocsd.explain.documents import document
from ocsd.model.enums import RecordStatus

AT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)


def test_given_an_explanation_when_written_then_every_attribute_is_json_in_its_order():
    opens_at = datetime(2026, 11, 21, 9, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1)))
    gates = (
        GateVerdict("window", False, "closed", inputs={"zone": "Europe/Rome", "from_s": 28_800}, opens_at=opens_at),
        GateVerdict("agents", None, "the daemon is not running", Reach.GROUP, remedy="start it"),
    )
    shown = document(Explanation("Alpha List", 7, 3, AT, False, "closed until tomorrow", gates, ahead=12))

    assert list(shown) == [field.name for field in fields(Explanation)]
    assert shown == {
        "calling_list": "Alpha List",
        "record_id": 7,
        "chain_id": 3,
        "at": "2026-11-20T15:30:00Z",
        "dialed_now": False,
        "summary": "closed until tomorrow",
        "gates": [
            {
                "gate": "window",
                "passed": False,
                "why": "closed",
                "reach": "record",
                "inputs": {"zone": "Europe/Rome", "from_s": 28_800},
                "opens_at": "2026-11-21T08:00:00.250000Z",
                "remedy": "",
            },
            {
                "gate": "agents",
                "passed": None,
                "why": "the daemon is not running",
                "reach": "group",
                "inputs": {},
                "opens_at": None,
                "remedy": "start it",
            },
        ],
        "next_at": None,
        "ahead": 12,
    }


def test_given_a_preflight_when_written_then_counts_stand_by_reason():
    shown = document(Preflight("L", AT, 10, 8, 3, {"do_not_call": 2, "window": 5}, ("no trunk",)))

    assert (shown["held_back"], shown["warnings"]) == ({"do_not_call": 2, "window": 5}, ["no trunk"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (0.5, 0.5),
        (True, True),
        (RecordStatus.READY, 1),
        ({RecordStatus.READY: (1, [AT])}, {"1": [1, ["2026-11-20T15:30:00Z"]]}),
        (frozenset({"b", "a"}), ["a", "b"]),
        (date(2026, 11, 20), "2026-11-20"),
        (GateVerdict("g", True, "w").reach, "record"),
    ],
)
def test_given_any_input_of_a_gate_when_written_then_it_is_json(value, expected):
    gate = GateVerdict("g", True, "w", inputs={"value": value})

    shown = document(Explanation("L", 1, 1, AT, True, "now", (gate,)))

    assert shown["gates"][0]["inputs"] == {"value": expected}
    json.dumps(shown, allow_nan=False)
