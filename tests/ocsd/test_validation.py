"""Pre-dial validation: what an answer means, when a validator is away, and questions over real sockets."""

import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from ocsd.validation import (
    FIRST_PROBE_S,
    LAST_PROBE_S,
    MAX_BODY_BYTES,
    SILENT,
    Answer,
    Breaker,
    Cleared,
    Question,
    Refused,
    Unanswered,
    judge,
    open_validator,
)
from tests.ocsd.rules_server import NEVER, OK, Reply, RulesServer, rules_server

HANG_LIMIT_S = 30.0
NOW = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
URI = "http://rules.example.net/may-dial"


def refused(**pairs) -> Refused:
    found = judge(Answer(409, json.dumps(pairs).encode()))
    assert isinstance(found, Refused)
    return found


# --- what an answer means ---------------------------------------------------------------------------------------------


def test_given_200_when_judged_then_it_is_cleared():
    assert judge(Answer(200)) == Cleared()


@pytest.mark.parametrize("body", [b"", b"  \r\n"])
def test_given_409_without_a_body_when_judged_then_it_is_refused_without_a_result(body):
    assert judge(Answer(409, body)) == Refused()


def test_given_409_with_a_body_when_judged_then_result_rule_and_fields_are_told_apart():
    found = refused(
        GSW_CALL_RESULT=51, GSW_BLOCKING_RULE="FL state", GSW_BLOCKING_RULE_TYPE=4, GSW_UNTIL=64800, code="x"
    )

    assert found == Refused(51, "FL state", 4, {"GSW_UNTIL": 64800, "code": "x"})


@pytest.mark.parametrize("result", ["52", 52])
def test_given_a_result_as_digits_when_judged_then_it_is_the_number(result):
    assert refused(GSW_CALL_RESULT=result).call_result == 52


@pytest.mark.parametrize(
    "body",
    [b"no", b"[]", b"{", b"\xff\xfe", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[" * 60_000, b'{"a": "\\u0000"}', None],
)  # fmt: skip
def test_given_409_with_garbage_when_judged_then_it_is_still_a_refusal_and_quotes_nothing(body):
    found = judge(Answer(409, body))

    assert isinstance(found, Refused)
    assert found.fault
    assert replace(found, fault="") == Refused()


@pytest.mark.parametrize("result", [-1, 40_000, True, 1.5, "x", None, [51], {"a": 1}])
def test_given_a_result_that_is_none_when_judged_then_the_rest_of_the_refusal_holds(result):
    found = refused(GSW_CALL_RESULT=result, GSW_BLOCKING_RULE="R")

    assert found.call_result is None
    assert found.rule == "R"
    assert "GSW_CALL_RESULT" in found.fault


@pytest.mark.parametrize("status", [100, 201, 202, 204, 301, 302, 307, 400, 401, 404, 410, 429, 500, 502, 503])
def test_given_another_status_when_judged_then_it_counts_as_no_answer(status):
    assert judge(Answer(status, b'{"GSW_CALL_RESULT": 51}')) == Unanswered(f"answered {status}")


@given(st.binary(max_size=200))
def test_given_any_body_of_a_409_when_judged_then_it_is_a_refusal(body):
    assert isinstance(judge(Answer(409, body)), Refused)


# --- who answers ------------------------------------------------------------------------------------------------------


def away(now_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(SILENT):
        assert not breaker.away(URI)
        assert breaker.admit(URI, now_s)
        assert not breaker.unanswered(URI, now_s)
    return breaker


def test_given_failures_in_a_row_when_counted_then_the_validator_is_away_and_probed_by_one_after_a_pause():
    breaker = away()

    assert breaker.away(URI)
    assert not breaker.admit(URI, FIRST_PROBE_S - 0.1)
    assert breaker.admit(URI, FIRST_PROBE_S)
    assert not breaker.admit(URI, FIRST_PROBE_S)
    assert not breaker.away("http://other.example.net/")


def test_given_probes_that_fail_when_repeated_then_pauses_double_up_to_the_longest_and_no_record_is_blamed():
    breaker, now_s, pauses = away(), FIRST_PROBE_S, []
    for _ in range(10):
        assert breaker.admit(URI, now_s)
        assert breaker.unanswered(URI, now_s)
        begun_s = now_s
        while not breaker.may_ask(URI, now_s):
            now_s += 0.5
        pauses.append(now_s - begun_s)

    assert pauses[:4] == [2.0, 4.0, 8.0, 16.0]
    assert set(pauses[4:]) == {LAST_PROBE_S}


def test_given_questions_under_way_when_the_validator_goes_away_then_their_failures_are_no_probes():
    breaker = Breaker()
    for _ in range(SILENT + 20):
        assert breaker.admit(URI, 0.0)
    blamed = [not breaker.unanswered(URI, 0.0) for _ in range(SILENT + 20)]

    assert sum(blamed) == SILENT
    assert breaker.may_ask(URI, FIRST_PROBE_S)


def test_given_a_probe_when_it_is_answered_then_everything_is_asked_again():
    breaker = away()
    assert breaker.admit(URI, FIRST_PROBE_S)

    assert breaker.answered(URI)
    assert not breaker.away(URI)
    assert not breaker.answered(URI)


def test_given_a_probe_when_it_is_cut_short_then_another_one_may_go():
    breaker = away()
    assert breaker.admit(URI, FIRST_PROBE_S)
    breaker.unasked(URI)

    assert breaker.admit(URI, FIRST_PROBE_S)


def test_given_answers_between_failures_when_counted_then_the_validator_is_not_away():
    breaker = Breaker()
    for _ in range(5 * SILENT):
        breaker.unanswered(URI, 0.0)
        breaker.answered(URI)

    assert not breaker.away(URI)


# --- over real sockets ------------------------------------------------------------------------------------------------


async def asked(reply: Reply, limit_s: float = 5.0) -> tuple[Answer, RulesServer]:
    with trio.fail_after(HANG_LIMIT_S):
        async with rules_server(lambda _: reply) as server, open_validator(5, lambda: NOW) as validator:
            return await validator.ask(Question(server.uri, {"GSW_PHONE": "+12125552001"}, limit_s)), server


async def test_given_a_question_when_asked_then_it_is_a_post_of_the_properties_with_the_time_of_sending():
    answer, server = await asked(OK)

    assert judge(answer) == Cleared()
    ((method, target, headers),) = server.heads
    assert (method, target) == ("POST", "/may-dial?token=secret")
    assert headers["content-type"] == "application/json"
    assert server.requests == [{"GSW_PHONE": "+12125552001", "GSW_START_PROCESSING": int(NOW.timestamp())}]


async def test_given_a_password_in_the_address_when_asked_then_it_is_sent_and_shown_nowhere():
    with structlog.testing.capture_logs() as logs, trio.fail_after(HANG_LIMIT_S):
        async with rules_server(lambda _: Reply(500)) as server, open_validator(5) as validator:
            await validator.ask(Question(server.uri.replace("http://", "http://ocs:p%40ss@"), {}, 5.0))

    assert server.heads[0][2]["authorization"] == "Basic " + b64encode(b"ocs:p@ss").decode()
    assert "ss@" not in str(logs)


@pytest.mark.parametrize("rule", [2**31, -(10**4000)])
def test_given_a_rule_that_no_integer_is_when_judged_then_it_is_not_kept(rule):
    found = refused(GSW_BLOCKING_RULE=rule, GSW_BLOCKING_RULE_TYPE=4)

    assert (found.rule, found.rule_type) == (None, 4)
    assert "GSW_BLOCKING_RULE is neither" in found.fault


async def test_given_many_questions_when_asked_then_each_has_a_connection_of_the_pool_and_those_are_kept():
    with trio.fail_after(HANG_LIMIT_S):
        async with rules_server(lambda _: Reply(delay_s=0.01)) as server, open_validator(4) as validator:
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(validator.ask, Question(server.uri, {"n": number}, 20.0))

    assert len(server.requests) == 40
    assert server.most_at_once == 4
    assert server.connections == 4


async def test_given_a_larger_pool_when_questions_wait_then_more_are_asked_at_once():
    with trio.fail_after(HANG_LIMIT_S):
        async with rules_server(lambda _: Reply(delay_s=0.2)) as server, open_validator(1) as validator:
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(validator.ask, Question(server.uri, {"n": number}, 20.0))
                while not server.requests:  # noqa: ASYNC110
                    await trio.sleep(0.005)
                validator.resize(8)
    assert server.most_at_once > 1


@pytest.mark.parametrize("delay_s", [5.0, NEVER.delay_s])
async def test_given_an_answer_that_takes_too_long_when_asked_then_there_is_none(delay_s):
    answer, _ = await asked(Reply(delay_s=delay_s), limit_s=0.2)

    assert judge(answer) == Unanswered("no answer within 0.2 s")


@pytest.mark.parametrize("raw", [b"", b"\x00\x01garbage\r\n\r\n", b"HTTP/1.1 OK 200\r\n\r\n", b"SSH-2.0-x\r\n"])
async def test_given_no_http_at_all_when_asked_then_there_is_no_answer_and_it_is_not_quoted(raw):
    answer, server = await asked(Reply(raw=raw))

    assert answer.status is None
    assert answer.error == "no answer: RemoteProtocolError"
    assert len(server.requests) == 2  # a kept connection may just have been closed, so once more


async def test_given_nobody_listens_when_asked_then_there_is_no_answer():
    async with open_validator(1) as validator:
        with trio.socket.socket() as unused:
            await unused.bind(("127.0.0.1", 0))
            answer = await validator.ask(Question(f"http://127.0.0.1:{unused.getsockname()[1]}/", {}, 5.0))

    assert answer == Answer(error="no answer: ConnectError")


async def test_given_a_redirect_when_asked_then_it_is_not_followed():
    with trio.fail_after(HANG_LIMIT_S):
        async with rules_server(lambda _: OK) as other:
            answer, server = await asked(Reply(307, headers=(("Location", other.uri),)))

    assert judge(answer) == Unanswered("answered 307")
    assert other.requests == []
    assert len(server.requests) == 1


async def test_given_proxies_in_the_environment_when_asked_then_they_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    answer, _ = await asked(OK)

    assert judge(answer) == Cleared()


async def test_given_a_409_whose_body_is_endless_when_asked_then_it_is_a_refusal():
    answer, _ = await asked(Reply(409, b"[" * (MAX_BODY_BYTES + 1)))

    assert answer == Answer(409, None)
    assert isinstance(judge(answer), Refused)


async def test_given_a_409_whose_body_does_not_come_when_asked_then_it_is_a_refusal():
    head = b'HTTP/1.1 409 Conflict\r\nContent-Length: 90\r\n\r\n{"GSW_CALL'
    answer, _ = await asked(Reply(raw=head))

    assert judge(answer) == Refused(fault="it is too long, or did not end in time")


async def test_given_a_200_with_a_long_body_when_asked_then_it_is_cleared():
    answer, _ = await asked(Reply(200, b"x" * (MAX_BODY_BYTES * 3)))

    assert judge(answer) == Cleared()


async def test_given_a_server_that_closes_after_each_answer_when_asked_then_none_is_lost():
    with trio.fail_after(HANG_LIMIT_S):
        async with rules_server(lambda _: Reply(close_after=True)) as server, open_validator(2) as validator:
            answers = [await validator.ask(Question(server.uri, {"n": n}, 5.0)) for n in range(10)]

    assert {answer.status for answer in answers} == {200}


async def test_given_a_validator_that_fails_when_asked_on_then_it_is_away_probed_and_back_and_logs_hold_no_secret():
    replies = {"reply": Reply(500)}
    with trio.fail_after(HANG_LIMIT_S), structlog.testing.capture_logs() as logs:
        async with rules_server(lambda _: replies["reply"]) as server, open_validator(2) as validator:
            question = Question(server.uri, {}, 5.0)
            answers = [await validator.ask(question) for _ in range(SILENT + 3)]
            assert validator.away(server.uri)
            assert not validator.may_ask(server.uri)
            replies["reply"] = OK
            while not validator.may_ask(server.uri):  # noqa: ASYNC110 - a second of real time
                await trio.sleep(0.05)
            back = await validator.ask(question)

    assert [answer.spared for answer in answers] == [False] * SILENT + [True] * 3
    assert len(server.requests) == SILENT + 1
    assert judge(back) == Cleared()
    assert not validator.away(server.uri)
    assert [entry["event"] for entry in logs if entry["event"] in ("validator.away", "validator.back")] == [
        "validator.away",
        "validator.back",
    ]
    assert "secret" not in repr(logs)


async def test_given_a_question_under_way_when_cancelled_then_its_connection_is_closed_and_a_slot_is_free():
    with trio.fail_after(HANG_LIMIT_S):
        replies = [NEVER, OK]
        async with rules_server(lambda _: replies.pop(0)) as server, open_validator(1) as validator:
            with trio.move_on_after(0.1) as limit:
                await validator.ask(Question(server.uri, {}, 20.0))
            assert limit.cancelled_caught
            answer = await validator.ask(Question(server.uri, {}, 20.0))

    assert judge(answer) == Cleared()
    assert server.connections == 2
