import json
import math
import random
import time

import pytest
import trio
from trio_websocket import ConnectionClosed, serve_websocket

from telephony.simworld.desks import Desks
from telephony.simworld.desktop import ANSWER_LIMIT_S, RELEASE_LIMIT_S, RESUME_GRACE_S, Desk, DeskState, Habits
from telephony.simworld.truth import TruthLog

HABITS = Habits(talk_mean_s=10.0, talk_cv=1e-6, wrap_mean_s=4.0, wrap_cv=1e-6)
DATA = {"GSW_RECORD_HANDLE": 17, "GSW_CAMPAIGN_NAME": "Spring", "GSW_CALLING_LIST": "homes", "GSW_PHONE": "1"}


def desk(habits=HABITS):
    return Desk("agent1", habits, random.Random(1))


def names(messages):
    return [m.get("Request") or m.get("GSW_AGENT_REQ_TYPE") for m in messages]


def event(name, **more):
    return {"Event": name, "AgentID": "agent1", **more}


def ready(made, now_s=0.0):
    made.connected(now_s)
    assert names(made.received(event("EventAgentLogin"), now_s)) == ["RequestAgentReady"]
    made.received({"GSW_USER_EVENT": "CampaignStarted", "GSW_APPLICATION_ID": 101, "GSW_CAMPAIGN_NAME": "X"}, now_s)
    assert made.received(event("EventAgentReady"), now_s) == ()
    assert made.state is DeskState.READY
    return made


def talking(made, now_s=0.0, conn_id="c1"):
    ready(made, now_s)
    made.received(event("EventRinging", ConnID=conn_id, UserData=DATA), now_s)
    assert made.state is DeskState.RINGING
    assert made.received(event("EventEstablished", ConnID=conn_id), now_s) == ()
    assert made.state is DeskState.TALKING
    return made


def test_given_a_whole_call_when_played_then_the_requests_come_in_order_and_carry_the_record():
    made = talking(desk())
    assert made.step(9.9) == ()
    assert made.deadline_s == pytest.approx(10.0, abs=0.01)
    (release,) = made.step(10.1)
    assert (release["Request"], release["ConnID"], release["AgentID"]) == ("RequestReleaseCall", "c1", "agent1")
    assert made.step(10.2) == ()
    (stats,) = made.received(event("EventReleased", ConnID="c1"), 10.3)
    assert stats["GSW_AGENT_REQ_TYPE"] == "UpdateCallCompletionStats"
    assert (stats["GSW_APPLICATION_ID"], stats["GSW_RECORD_HANDLE"], stats["GSW_CAMPAIGN_NAME"]) == (101, 17, "Spring")
    assert "GSW_CALL_RESULT" not in stats
    assert made.step(14.2) == ()
    (processed,) = made.step(14.4)
    assert processed["GSW_AGENT_REQ_TYPE"] == "RecordProcessed"
    assert processed["GSW_RECORD_HANDLE"] == 17
    acknowledge = {"GSW_USER_EVENT": "RecordProcessedAcknowledge", "GSW_RECORD_HANDLE": 17, "GSW_APPLICATION_ID": 101}
    assert names(made.received(acknowledge, 14.5)) == ["RequestAgentReady"]
    made.received(event("EventAgentReady"), 14.6)
    assert [s.value for _, s, _ in made.take_changes()] == [
        "logging_in", "not_ready", "ready", "ringing", "talking", "wrapping", "closing", "not_ready", "ready",
    ]  # fmt: skip
    assert made.conn_id == ""


def test_given_a_customer_who_hangs_up_first_then_wrap_up_begins_without_a_release_request():
    made = talking(desk())
    assert names(made.received(event("EventReleased", ConnID="c1"), 3.0)) == ["UpdateCallCompletionStats"]
    assert names(made.step(7.1)) == ["RecordProcessed"]


def test_given_a_release_of_another_call_then_nothing_changes():
    made = talking(desk())
    assert made.received(event("EventReleased", ConnID="other"), 3.0) == ()
    assert made.state is DeskState.TALKING


def test_given_agents_who_correct_results_then_the_wrong_number_is_sent():
    made = talking(desk(Habits(10.0, 1e-6, 4.0, 1e-6, correct_share=1.0)))
    (stats,) = made.received(event("EventReleased", ConnID="c1"), 3.0)
    assert stats["GSW_CALL_RESULT"] == 53


def test_given_no_record_handle_then_there_is_no_paperwork():
    made = ready(desk())
    made.received(event("EventEstablished", ConnID="c9"), 0.0)
    assert made.received(event("EventReleased", ConnID="c9"), 1.0) == ()
    assert names(made.step(5.1)) == ["RequestAgentReady"]


def test_given_a_lost_server_when_it_adopts_the_call_then_the_agent_goes_on_with_the_rest_of_the_talk():
    made = talking(desk())
    made.disconnected(4.0)
    assert made.state is DeskState.TALKING
    assert made.deadline_s == math.inf
    assert names(made.connected(6.0)) == ["RequestAgentLogin"]
    assert made.received(event("EventAgentLogin"), 6.1) == ()
    assert made.step(6.2) == ()
    assert made.received(event("EventEstablished", ConnID="c1", UserData=DATA), 6.5) == ()
    assert (made.resumed, made.conversations) == (1, 1)
    assert made.step(9.9) == ()
    assert names(made.step(10.1)) == ["RequestReleaseCall"]


def test_given_a_talk_that_ended_while_offline_when_adopted_then_it_is_released_at_once():
    made = talking(desk())
    made.disconnected(4.0)
    made.connected(20.0)
    made.received(event("EventAgentLogin"), 20.1)
    assert names(made.received(event("EventEstablished", ConnID="c1"), 20.2)) == ["RequestReleaseCall"]


def test_given_a_call_that_the_server_lost_then_wrap_up_begins_after_the_grace():
    made = talking(desk())
    made.disconnected(4.0)
    made.connected(5.0)
    made.received(event("EventAgentLogin"), 5.0)
    assert made.deadline_s == pytest.approx(5.0 + RESUME_GRACE_S)
    assert names(made.step(5.1 + RESUME_GRACE_S)) == ["UpdateCallCompletionStats"]


def test_given_a_release_reported_after_the_restart_then_wrap_up_begins():
    made = talking(desk())
    made.disconnected(4.0)
    made.connected(5.0)
    made.received(event("EventAgentLogin"), 5.0)
    assert names(made.received(event("EventReleased", ConnID="c1"), 5.2)) == ["UpdateCallCompletionStats"]


def test_given_another_call_after_the_restart_then_it_is_a_new_conversation():
    made = talking(desk())
    made.disconnected(4.0)
    made.connected(5.0)
    made.received(event("EventAgentLogin"), 5.0)
    made.received(event("EventEstablished", ConnID="c2", UserData={"GSW_RECORD_HANDLE": 18}), 5.5)
    assert (made.resumed, made.conversations, made.conn_id) == (0, 2, "c2")
    assert made.user_data == {"GSW_RECORD_HANDLE": 18}
    assert made.release_at_s == pytest.approx(15.5, abs=0.01)


def test_given_unfinished_paperwork_when_the_server_returns_then_it_is_sent_again():
    made = talking(desk())
    made.received(event("EventReleased", ConnID="c1"), 3.0)
    assert names(made.step(7.1)) == ["RecordProcessed"]
    made.disconnected(7.2)
    made.connected(9.0)
    assert names(made.received(event("EventAgentLogin"), 9.1)) == ["RecordProcessed"]
    error = {"GSW_USER_EVENT": "Error", "GSW_ERROR": "Record Not Found", "GSW_ERROR_NUMBER": 109}
    assert names(made.received(error, 9.2)) == ["RequestAgentReady"]
    assert made.errors == [error]


def test_given_wrap_up_when_the_server_is_away_then_it_is_finished_afterwards():
    made = talking(desk())
    made.received(event("EventReleased", ConnID="c1"), 3.0)
    made.disconnected(4.0)
    made.connected(20.0)
    assert names(made.received(event("EventAgentLogin"), 20.1)) == ["RecordProcessed"]


def test_given_a_late_error_about_the_statistics_then_the_processing_is_still_awaited():
    made = talking(desk())
    (stats,) = made.received(event("EventReleased", ConnID="c1"), 3.0)
    made.step(7.1)
    late = {"GSW_USER_EVENT": "Error", "GSW_ERROR": "x", "GSW_REFERENCE_ID": stats["GSW_REFERENCE_ID"]}
    assert made.received(late, 7.2) == ()
    assert made.state is DeskState.CLOSING


@pytest.mark.parametrize("minutes", [1, 3])
def test_given_no_answers_then_requests_are_repeated_at_their_limits(minutes):
    made = desk()
    made.connected(0.0)
    assert names(made.step(ANSWER_LIMIT_S)) == ["RequestAgentLogin"]
    made.received(event("EventAgentLogin"), 6.0)
    assert made.step(6.1) == ()
    assert names(made.step(6.0 + ANSWER_LIMIT_S)) == ["RequestAgentReady"]
    made = talking(desk(), 60.0 * minutes)
    start_s = 60.0 * minutes
    assert names(made.step(start_s + 10.1)) == ["RequestReleaseCall"]
    assert names(made.step(start_s + 10.2 + RELEASE_LIMIT_S)) == ["RequestReleaseCall"]


def test_given_refusals_then_login_and_ready_are_tried_again_and_a_refused_release_ends_the_call():
    made = desk()
    made.connected(0.0)
    assert made.received(event("EventError", ErrorCode=5), 0.1) == ()
    assert names(made.step(1.2)) == ["RequestAgentLogin"]
    made.received(event("EventAgentLogin"), 1.3)
    assert made.received(event("EventError"), 1.4) == ()
    assert names(made.step(2.5)) == ["RequestAgentReady"]
    made = talking(desk())
    made.step(10.1)
    assert names(made.received(event("EventError"), 10.2)) == ["UpdateCallCompletionStats"]


def test_given_not_ready_or_logout_by_the_server_then_the_agent_comes_back():
    made = ready(desk())
    made.received(event("EventAgentNotReady"), 1.0)
    assert names(made.step(2.1)) == ["RequestAgentReady"]
    made.received(event("EventAgentReady"), 2.2)
    made.received(event("EventAgentLogout"), 3.0)
    assert names(made.step(4.1)) == ["RequestAgentLogin"]


def test_given_a_ringing_call_that_goes_away_then_the_agent_is_ready_again():
    made = ready(desk())
    made.received(event("EventRinging", ConnID="c1", UserData=DATA), 1.0)
    assert names(made.received(event("EventReleased", ConnID="c1"), 2.0)) == ["RequestAgentReady"]


def test_given_messages_of_no_meaning_then_they_are_ignored():
    made = ready(desk())
    for message in (
        {},
        {"Event": 5},
        {"Event": "EventUnheardOf"},
        {"GSW_USER_EVENT": None},
        {"Event": "EventReleased"},
    ):
        assert made.received(message, 1.0) == ()
    assert made.state is DeskState.READY


def test_given_the_end_of_a_shift_then_the_agent_takes_leave_properly():
    made = talking(desk())
    assert names(made.log_out()) == [
        "RequestReleaseCall", "RecordProcessed", "RequestAgentNotReady", "RequestAgentLogout",
    ]  # fmt: skip
    assert desk().log_out() == ()


class FakeServer:
    """A server that gives each agent one call at a time, loses its connections once, and then adopts the calls."""

    def __init__(self):
        self.requests, self.processed, self.logins = [], [], 0
        self.live = {}
        self.scope = None
        self.restarted = trio.Event()
        self.enough = trio.Event()

    async def handle(self, request):
        socket = await request.accept()
        try:
            while True:
                message = json.loads(await socket.get_message())
                self.requests.append(message)
                for answer in self.answers(message):
                    await socket.send_message(answer if isinstance(answer, str) else json.dumps(answer))
        except ConnectionClosed:
            pass

    def answers(self, message):
        agent = message.get("AgentID")
        match message.get("Request") or message["GSW_AGENT_REQ_TYPE"]:
            case "RequestAgentLogin":
                self.logins += 1
                adopted = [event("EventEstablished", ConnID=self.live[agent])] if agent in self.live else []
                return [
                    event("EventAgentLogin"),
                    {"GSW_USER_EVENT": "CampaignStarted", "GSW_APPLICATION_ID": 101},
                    *adopted,
                ]
            case "RequestAgentReady":
                self.live[agent] = conn_id = f"conn-{agent}-{len(self.requests)}"
                data = {"GSW_RECORD_HANDLE": len(self.requests), "GSW_CAMPAIGN_NAME": agent}
                return [event("EventAgentReady"), "not json", event("EventEstablished", ConnID=conn_id, UserData=data)]
            case "RequestReleaseCall":
                self.live.pop(agent)
                return [event("EventReleased", ConnID=message["ConnID"])]
            case "RecordProcessed":
                self.processed.append(message)
                if len(self.processed) >= 4:
                    self.enough.set()
                handle = message["GSW_RECORD_HANDLE"]
                return [{"GSW_USER_EVENT": "RecordProcessedAcknowledge", "GSW_RECORD_HANDLE": handle}]
        return []

    async def run(self, port, task_status):
        """Serve, go away once as soon as both agents talk, come back on the same port."""
        async with trio.open_nursery() as nursery:
            self.scope = nursery.cancel_scope
            server = await nursery.start(serve_websocket, self.handle, "127.0.0.1", port, None)
            port = server.port
            task_status.started(port)
        self.restarted.set()
        await serve_websocket(self.handle, "127.0.0.1", port, None)


async def test_given_a_server_that_restarts_when_two_agents_work_then_they_return_and_resume_their_calls(tmp_path):
    server = FakeServer()
    log_file = tmp_path / "agents.jsonl"
    with trio.fail_after(60), TruthLog(log_file) as log:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(lambda task_status: server.run(0, task_status))
            habits = Habits(talk_mean_s=0.8, talk_cv=0.01, wrap_mean_s=0.05, wrap_cv=0.1)
            desks = Desks(f"ws://127.0.0.1:{port}/desktop", 2, habits, 1, log)
            nursery.start_soon(desks.run)
            while any(d.state is not DeskState.TALKING for d in desks.desks):  # noqa: ASYNC110 - the desk has no event
                await trio.sleep(0.01)
            server.scope.cancel()
            await server.enough.wait()
            await desks.log_out()
            nursery.cancel_scope.cancel()
    assert server.logins >= 4
    assert sum(d.resumed for d in desks.desks) >= 1
    assert desks.reconnections >= 2
    assert desks.malformed >= 4
    assert {m["GSW_APPLICATION_ID"] for m in server.processed} == {101}
    lines = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert {line["agent"] for line in lines} == {"agent1", "agent2"}
    assert {"talking", "wrapping", "ready"} <= {line["state"] for line in lines}
    assert all(0 < line["at_s"] <= time.monotonic() for line in lines)
