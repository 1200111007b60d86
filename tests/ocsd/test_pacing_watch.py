"""Live figures of the pacing: last decision, last hour, predicted against actual; and how the port shows them."""

import json
import math
from datetime import UTC, datetime, timedelta

import trio

from ocsd.client import ControlClient
from ocsd.client.control_trio import AsyncControlClient
from ocsd.sessions.pacing_watch import COLUMNS, POINT_EVERY_S, POINTS, PacingWatch
from pacing import DialDecision, GroupSnapshot, LegalRoom, PacingTarget
from pacing.journal import Checkpoint, Decided, Told
from tests.ocsd.http_fakes import http_server, pacing_figures
from tests.ocsd.test_http_server import get
from tests.pacing.journal_world import DEFAULT_TARGET, recorded

NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)


def decided(now_s, number=1, launch=1, legal=None, **inputs):
    snapshot = GroupSnapshot(now_s, (1.0,), (), (), (), (), 0, 9, 9, legal=legal)
    return Decided(number, snapshot, DialDecision(launch, "risk", 0.01, inputs))


def watched(*entries):
    watch = PacingWatch()
    for entry in entries:
        watch.take(entry)
    return watch


def test_given_nothing_yet_when_shown_then_every_member_is_there():
    shown = PacingWatch().shown(DEFAULT_TARGET, 5.0, NOON)

    assert (shown["decision"], shown["legal"]) == (None, None)
    assert shown["recent"] == {name: [] for name in ("at", "launched", "because", *COLUMNS)}
    assert shown["calibration"]["people"] == {
        "samples": 0, "expected": 0.0, "actual": 0, "ratio": None, "ratio_error": None, "covered_ratio": None,
    }  # fmt: skip


def test_given_a_decision_when_shown_then_its_time_of_day_room_and_figures_are_told_and_json_can_hold_them():
    room = LegalRoom(0.02, math.inf, because="a rule")
    watch = watched(
        Checkpoint(0, DEFAULT_TARGET, 2.0, "", "{}"), Told("abandoned", ()),
        decided(100.0, 7, 2, room, idle=1, theta=math.nan, expected_people=2.0),
    )  # fmt: skip
    shown = watch.shown(DEFAULT_TARGET, 101.5, NOON)

    decision = shown["decision"]
    assert (decision["number"], decision["launch"], decision["because"]) == (7, 2, "risk")
    assert datetime.fromisoformat(decision["at"]) == NOON - timedelta(seconds=1.5)
    assert decision["inputs"] == {"idle": 1.0, "theta": None, "expected_people": 2.0}
    assert shown["legal"] == {"pace_ratio": 0.02, "abandoned_allowed": None, "stop": False, "because": "a rule"}
    assert any(sentence.startswith("legal window: ") for sentence in decision["words"])
    json.dumps(shown, allow_nan=False)


def test_given_hours_of_decisions_when_shown_then_the_last_hour_is_there_point_by_point_and_no_launch_is_missing():
    watch = PacingWatch()
    count = int(POINT_EVERY_S * (POINTS + 50))
    for second in range(count):
        watch.take(decided(1000.0 + second, second + 1, launch=second % 3, idle=second))
    recent = watch.shown(DEFAULT_TARGET, 1000.0 + count, NOON)["recent"]

    assert {len(column) for column in recent.values()} == {POINTS}
    assert recent["idle"][-1] - recent["idle"][0] == POINT_EVERY_S * (POINTS - 1)
    assert recent["busy_factor"] == [None] * POINTS
    assert set(recent["launched"]) == {9, 10, 11}
    assert sum(recent["launched"]) == POINTS * POINT_EVERY_S


def test_given_a_run_when_shown_then_predictions_are_held_against_what_happened():
    entries, group = recorded(10, 400.0)
    watch = watched(*entries)
    shown = watch.shown(PacingTarget(DEFAULT_TARGET.mode), group.now_s, NOON)

    people = shown["calibration"]["people"]
    assert people["samples"] >= 9
    assert 0.3 < people["ratio"] < 3.0
    assert 0 < people["actual"] <= group.people


async def test_given_the_port_when_pacing_is_asked_then_loaded_groups_have_it_and_others_are_empty_or_unknown():
    async with http_server() as (_, connect):
        client = await connect()
        loaded, idle, unknown = [await client.ask(get(f"/campaigngroups/{d}?req=Pacing")) for d in (115, 106, 999)]

        def ask():
            with ControlClient(f"http://127.0.0.1:{connect.port}") as control:
                return control.pacing(115)

        from_client = await trio.to_thread.run_sync(ask)
        async with AsyncControlClient(f"http://127.0.0.1:{connect.port}") as control:
            from_trio = await control.pacing(115)

    assert loaded.header("Cache-control") == "no-store"
    assert json.loads(loaded.body) == from_client == from_trio == json.loads(json.dumps(pacing_figures()))
    assert json.loads(idle.body) == {}
    assert (unknown.status, unknown.header("Warning")) == (404, "9")
