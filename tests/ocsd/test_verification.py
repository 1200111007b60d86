"""Test calls and recordings of the analysis in sessions; what the database keeps of both; recordings that grow old."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from structlog.testing import capture_logs

from ocsd.config.analysis import AnalysisPlan
from ocsd.lists.recordings import RecordingRows
from ocsd.model.enums import CallAction, CallResult, RecordStatus
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import AttemptTimes, CpdRecording
from ocsd.protocols.desktop import UpdateCallCompletionStats
from ocsd.recordings import delete_before, keep_retention
from ocsd.sessions.analysis_recording import AnalysisRecording, attempt_of, path_of
from ocsd.sessions.attempt import AttemptRules, AttemptState, CallPlan
from ocsd.sessions.clock import SystemClock
from ocsd.sessions.roster import AgentSeat, AgentState, Roster
from ocsd.sessions.verification import Verification
from telephony.contract import RecordingFinished, Verdict, VerdictKind
from telephony.contract_audio import continued_path
from telephony.fake import CallScript
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, MemoryWorld, PostgresWorld, result_of
from tests.ocsd.result_worlds import dialed, result_configuration
from tests.ocsd.test_session import CAMPAIGN, world

MACHINE = CallScript(ring_s=4.0, talk_s=30.0, verdict=VerdictKind.MACHINE, verdict_s=2.0)
PERSON = CallScript(ring_s=4.0, talk_s=30.0, verdict_s=1.0)
ALL_VERIFIED = "call-result-feedback = 1000"
RECORDED = 'cpd-recording = "yes"'


def finished(w, record_id=1):
    (attempt,) = [a for a in w.database.attempts.values() if a.open.record_id == record_id]
    assert attempt.finished is not None
    return attempt.finished


async def over(daemon):
    await daemon.until(lambda: daemon.session.score.tally.attempts and not daemon.session.attempts)


# --- test calls -----------------------------------------------------------------------------------------------------


async def test_given_a_machine_among_test_calls_when_an_agent_is_ready_then_the_agent_says_what_it_was(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [MACHINE], options=ALL_VERIFIED) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.WRAP_UP in daemon.states())
        attached = daemon.desktops["agent1"].last("EventEstablished")["UserData"]
        assert attached["GSW_CALL_RESULT_FEEDBACK"] == 1
        assert attached["GSW_CALL_RESULT"] == CallResult.ANSWERING_MACHINE
        (attempt_id,) = daemon.session.attempts

        await daemon.processed("agent1", attempt_id, call_result=int(CallResult.ANSWER))
        await over(daemon)

        ended = finished(w)
        assert (ended.verified, ended.agent_result, ended.cpa_verdict) == (True, CallResult.ANSWER, "machine")
        assert ended.person is None  # the rules about abandoned people do not count it
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        figures = daemon.session.statistics()
        assert (figures["verified_machines_given"], figures["verdict_machine"]) == (1, 1)


@pytest.mark.parametrize("options", ["call-result-feedback = 0", f"{ALL_VERIFIED}, call-result-feedback-machines = 0"])
async def test_given_a_machine_when_it_is_no_test_call_or_the_hour_has_had_its_share_then_no_agent_gets_it(
    autojump_clock, tmp_path, options
):
    async with world(tmp_path, [MACHINE], options=options) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await over(daemon)

        assert finished(w).call_result == CallResult.ANSWERING_MACHINE
        assert "EventRinging" not in daemon.desktops["agent1"].events()
        assert daemon.session.statistics()["verified_machines_given"] == 0


async def test_given_two_machines_when_one_is_allowed_an_hour_then_the_second_is_hung_up(autojump_clock, tmp_path):
    options = f"{ALL_VERIFIED}, call-result-feedback-machines = 1"
    async with world(tmp_path, [MACHINE, MACHINE], options=options) as w, w.daemon() as daemon:
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: sum(a.finished is not None for a in w.database.attempts.values()) == 2)

        figures = daemon.session.statistics()
        assert (figures["verified_machines_given"], figures["verified_machines_spared"]) == (1, 1)
        assert [finished(w, record_id).agent_id is not None for record_id in (1, 2)].count(True) == 1


ONE_AN_HOUR = f"{ALL_VERIFIED}, call-result-feedback-machines = 1"


async def test_given_a_machine_that_was_given_when_the_daemon_starts_anew_then_the_hour_has_had_its_share(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [MACHINE, MACHINE], options=ONE_AN_HOUR) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: any(a.finished is not None for a in w.database.attempts.values()))
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.until(lambda: sum(a.finished is not None for a in w.database.attempts.values()) == 2)

            assert daemon.session.statistics()["verified_machines_given"] == 0
        given = [finished(w, record_id).agent_id is not None for record_id in (1, 2)]
        assert sorted(given) == [False, True]


async def test_given_an_agent_who_hears_a_machine_when_the_daemon_is_killed_twice_then_it_counts_in_every_run(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [MACHINE], options=ONE_AN_HOUR) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.until(lambda: daemon.session.attempts)
            assert not has_room(daemon)
            await daemon.until(lambda: not daemon.session.attempts)
            daemon.kill()
        async with w.daemon() as daemon:
            assert not has_room(daemon)
            daemon.kill()
        await trio.sleep(3600.0)
        async with w.daemon() as daemon:
            assert has_room(daemon)


def has_room(daemon):
    """Whether the group would give another machine to an agent now."""
    one = daemon.session.verification
    call = Call(4711, analysis=AnalysisPlan("positive_am_detection", None, machines_per_hour=1))
    plan = one.plan(call, CallResult.ANSWERING_MACHINE, None, Agents(), daemon.session.clock.now_s())
    one.ended(4711)
    return plan is not None


def test_given_a_journal_that_cannot_be_read_when_a_group_is_loaded_then_no_machine_is_given_for_an_hour():
    one = Verification()
    one.recall(None, 100.0)

    assert one.plan(Call(1), CallResult.ANSWERING_MACHINE, None, Agents(), 3699.0) is None
    one.ended(1)
    assert one.plan(Call(1), CallResult.ANSWERING_MACHINE, None, Agents(), 3701.0) == CallPlan(CallAction.CONNECT)


async def test_given_a_person_in_a_test_call_when_the_agent_says_nothing_then_the_result_stands_unverified(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], options=ALL_VERIFIED) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await over(daemon)

        ended = finished(w)
        assert (ended.verified, ended.agent_result, ended.call_result) == (True, None, CallResult.ANSWER)
        assert ended.person is not None


async def test_given_calls_that_are_not_verified_when_a_desktop_sees_one_then_the_key_is_absent(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await over(daemon)

        assert "GSW_CALL_RESULT_FEEDBACK" not in daemon.desktops["agent1"].last("EventEstablished")["UserData"]
        heard = finished(w).evidence["cpa"]
        assert (heard["decided"], heard["recognition"], heard["tone_plan"]) == ("human", "positive_am_detection", "US")
        assert [verdict["at_s"] for verdict in heard["verdicts"]] == [1.0]
        assert finished(w).times.speech_end_at is not None


async def test_given_no_progress_detection_when_a_machine_answers_then_nobody_listens_and_an_agent_gets_it(
    autojump_clock, tmp_path
):
    options = 'call_answer_type_recognition = "no_progress_detection"'
    early = CallScript(ring_s=4.0, early_media=True, talk_s=30.0, verdict=VerdictKind.MACHINE, verdict_s=2.0)
    async with world(tmp_path, [early], options=options) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert not any(channel.analysing for channel in w.media.channels.values())
        await over(daemon)

        ended = finished(w)
        assert (ended.call_result, ended.cpa_verdict, ended.evidence.get("cpa")) == (CallResult.ANSWER, None, None)


@dataclass(frozen=True)
class Agents:
    """As much of a roster as is asked."""

    waiting: int = 0
    ready: int = 1

    @property
    def people_waiting(self) -> int:
        return self.waiting

    def free(self, _group):
        return ["a"] * self.ready


TWO_AN_HOUR = AnalysisPlan("positive_am_detection", None, machines_per_hour=2)


@dataclass(frozen=True)
class Call:
    """As much of an attempt's context as is asked."""

    attempt_id: int = 1
    verified: bool = True
    analysis: AnalysisPlan = TWO_AN_HOUR


TREATED = CallPlan(CallAction.PLAY_MESSAGE, message="m.wav")


@pytest.mark.parametrize(
    ("call", "result", "agents", "given"),
    [
        (Call(), CallResult.ANSWERING_MACHINE, Agents(), True),
        (Call(verified=False), CallResult.ANSWERING_MACHINE, Agents(), False),
        (Call(), CallResult.FAX, Agents(), False),
        (Call(), CallResult.ANSWER, Agents(), False),
        (Call(), CallResult.ANSWERING_MACHINE, Agents(waiting=1), False),
        (Call(), CallResult.ANSWERING_MACHINE, Agents(ready=0), False),
    ],
)
def test_given_a_call_when_a_machine_could_be_verified_then_only_where_it_costs_no_person_anything(
    call, result, agents, given
):
    plan = Verification().plan(call, result, TREATED, agents, 0.0)

    assert plan == (CallPlan(CallAction.CONNECT) if given else TREATED)


def test_given_a_machine_that_was_given_when_asked_again_then_it_is_the_same_answer_and_an_hour_later_there_is_room():
    one = Verification()

    def asked(attempt_id, now_s):
        plan = one.plan(Call(attempt_id), CallResult.ANSWERING_MACHINE, None, Agents(), now_s)
        return plan is not None

    assert [asked(1, 0.0), asked(1, 1.0), asked(2, 10.0), asked(3, 20.0), asked(3, 4000.0)] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert (one.given, one.spared) == (2, 1)
    assert asked(4, 3601.0)
    assert not asked(5, 3602.0)
    assert asked(6, 3611.0)


def test_given_a_treatment_that_connects_machines_anyway_when_one_is_verified_then_it_is_not_counted():
    one, connects = Verification(), CallPlan(CallAction.CONNECT, treatment_dbid=7)

    assert one.plan(Call(), CallResult.ANSWERING_MACHINE, connects, Agents(ready=0), 0.0) is connects
    assert (one.given, one.spared) == (0, 0)


def test_given_agents_who_leave_or_are_not_given_to_the_group_when_a_machine_is_verified_then_not_by_them():
    roster = Roster([AgentSeat("leaves", "1"), AgentSeat("others", "2"), AgentSeat("ours", "3")])
    for seat in roster.seats.values():
        seat.enter(AgentState.READY, 0.0)
    roster.leave_soon("leaves", 0.0)
    roster.line.ranks = lambda group: lambda agent_id: None if (group, agent_id) == (7, "others") else 0
    one = Verification()

    assert roster.free(7) == ["ours"]
    assert one.plan(Call(1), CallResult.ANSWERING_MACHINE, None, roster, 0.0, 7) == CallPlan(CallAction.CONNECT)
    roster.seats["ours"].enter(AgentState.NOT_READY, 0.0)
    assert one.plan(Call(2), CallResult.ANSWERING_MACHINE, None, roster, 0.0, 7) is None


# --- recordings in sessions -----------------------------------------------------------------------------------------


async def test_given_cpd_recording_when_an_agent_is_connected_then_the_recording_has_ended_and_is_noted(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], options=RECORDED) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert not any(channel.recordings for channel in w.media.channels.values())
        await over(daemon)

        (attempt_id,) = w.database.attempts
        (noted,) = w.database.journal.recordings.values()
        assert noted.attempt_id == attempt_id == attempt_of(noted.path)
        assert noted.error == ""
        # A second of analysis and the agent's phone; nothing of the conversation.
        assert 1.0 <= noted.duration_s < 2.0
        assert noted.began_at == finished(w).times.answered_at


async def test_given_early_media_when_it_is_recorded_then_one_recording_goes_on_through_the_answer(
    autojump_clock, tmp_path
):
    rings = CallScript(ring_s=6.0, early_media=True, early_verdict=VerdictKind.RINGBACK, verdict=VerdictKind.FAX)
    async with world(tmp_path, [rings], options=RECORDED) as w, w.daemon() as daemon:
        await trio.sleep(1.0)  # a monotonic clock is never 0, which means that nothing began
        await daemon.dial("agent1")
        await over(daemon)

        (noted,) = w.database.journal.recordings.values()
        assert noted.duration_s > 6.0
        assert noted.began_at < finished(w).times.answered_at
        w.assert_consistent()


async def test_given_a_disk_that_is_full_when_a_call_is_to_be_recorded_then_the_call_goes_on_and_the_reason_is_kept(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], options=RECORDED) as w, w.daemon() as daemon:
        w.media.recording_error = "No space left on device"
        await daemon.dial("agent1")
        await over(daemon)

        (noted,) = w.database.journal.recordings.values()
        assert noted.error == "No space left on device"
        assert finished(w).call_result == CallResult.ANSWER


async def test_given_calls_without_cpd_recording_when_they_end_then_nothing_was_recorded(autojump_clock, tmp_path):
    async with world(tmp_path, [PERSON]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await over(daemon)

        assert w.database.journal.recordings == {}


async def test_given_a_recorded_analysis_when_the_daemon_is_killed_in_it_then_the_next_one_ends_and_notes_it(
    autojump_clock, tmp_path
):
    slow = CallScript(ring_s=2.0, talk_s=60.0, verdict_s=5.0)
    async with world(tmp_path, [slow], options=RECORDED) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: any(channel.recordings for channel in w.media.channels.values()))
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.until(lambda: not daemon.session.attempts)

        (noted,) = w.database.journal.recordings.values()
        assert (noted.error, noted.attempt_id) == ("", next(iter(w.database.attempts)))


async def test_given_a_recording_that_ended_without_a_daemon_when_one_starts_then_it_is_noted_once(
    autojump_clock, tmp_path
):
    async with world(tmp_path, []) as w:
        told = [
            RecordingFinished("c", path_of("2026-03-03", 4711, "0123456789ab"), 3.0, "ab", 9, 0, trio.current_time()),
            RecordingFinished("c", "conversations/4711.wav", 3.0, "ab", 9),
        ]
        w.media.take_recorded = lambda: [told.pop() for _ in tuple(told)]
        async with w.daemon():
            pass

        assert [one.attempt_id for one in w.database.journal.recordings.values()] == [4711]


async def test_given_a_media_server_that_dies_when_it_was_recording_then_both_parts_are_noted_and_the_second_ends(
    autojump_clock, tmp_path
):
    slow = CallScript(ring_s=2.0, talk_s=60.0, verdict_s=5.0)
    async with world(tmp_path, [slow], options=RECORDED) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: any(channel.recordings for channel in w.media.channels.values()))
        (channel,) = w.media.channels.values()
        ((path, old),) = channel.recordings.items()
        channel.recordings.clear()
        await channel.start_recording(continued_path(path))
        channel.report(
            RecordingFinished(channel.channel_id, path, error="restarted", continued_in=continued_path(path))
        )
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert channel.recordings == {}
        await over(daemon)

        assert {one.path: one.error for one in w.database.journal.recordings.values()} == {
            path: "restarted", continued_path(path): "",
        }  # fmt: skip
        assert {one.attempt_id for one in w.database.journal.recordings.values()} == set(w.database.attempts)
        assert old.path == path


async def test_given_a_recording_that_goes_on_under_a_name_not_heard_of_yet_when_an_agent_talks_then_it_has_ended(
    autojump_clock, tmp_path
):
    slow = CallScript(ring_s=2.0, talk_s=60.0, verdict_s=5.0)
    async with world(tmp_path, [slow], options=RECORDED) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: any(channel.recordings for channel in w.media.channels.values()))
        (channel,) = w.media.channels.values()
        (path,) = channel.recordings
        channel.recordings.clear()
        await channel.start_recording(continued_path(path))
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())

        assert channel.recordings == {}


@pytest.mark.parametrize("path", ["cpd/x.wav", "other/2026-03-03/1-a.wav", "cpd/2026-03-03/x-1.wav", "1-a.wav", ""])
def test_given_a_path_of_something_else_when_its_attempt_is_asked_then_there_is_none(path):
    assert attempt_of(path) is None


# --- the database ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "postgres"])
def lists(request):
    if request.param == "memory":
        yield MemoryWorld(result_configuration())
        return
    found = PostgresWorld(request.getfixturevalue("database"), result_configuration())
    yield found
    found.conn.close()


RECORDING = CpdRecording(1, "cpd/2026-03-03/1-abcdefab.wav", NOON_UTC, 2.5, 40_044, "00ff", gaps=1)


async def test_given_a_recording_when_noted_twice_then_the_first_note_stands(lists):
    async with lists.store() as store:
        await store.note_recording(RECORDING)
        await store.note_recording(CpdRecording(2, RECORDING.path, NOON_UTC, 0.0, 0, "", error="again"))

        if isinstance(lists, MemoryWorld):
            assert list(lists.database.journal.recordings.values()) == [RECORDING]
        else:
            rows = lists.conn.execute(
                "SELECT attempt_id, path, began_at, duration_s, size_bytes, sha256, gaps, error FROM ocsd.cpd_recording"
            ).fetchall()
            assert [CpdRecording(**row) for row in rows] == [RECORDING]


async def test_given_a_note_that_there_is_no_file_when_the_file_is_noted_then_the_file_stands(lists):
    none = CpdRecording(1, RECORDING.path, NOON_UTC - timedelta(hours=1), 0.0, 0, "", error="not on the disk yet")
    async with lists.store() as store:
        for one in (none, RECORDING, none):
            await store.note_recording(one)

        if isinstance(lists, MemoryWorld):
            (found,) = lists.database.journal.recordings.values()
        else:
            found = CpdRecording(**lists.conn.execute("SELECT * FROM ocsd.cpd_recording").fetchone())
        assert found == replace(RECORDING, began_at=none.began_at)


async def test_given_a_test_call_when_it_is_finished_then_what_was_said_of_it_is_on_disk(database):
    lists = PostgresWorld(database, result_configuration())
    lists.add(chain_id=5)
    async with lists.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 9, NOON_UTC)
        attempt = await dialed(store, chain)
        spoke = NOON_UTC + timedelta(seconds=11)
        assert await store.finish_attempt(
            result_of(
                attempt,
                times=AttemptTimes(answered_at=NOON_UTC, speech_end_at=spoke),
                verified=True,
                agent_result=40_000,
                lost_waiting_for="analysis",
            )
        )

    row = lists.conn.execute(
        "SELECT verified, agent_result, lost_waiting_for, speech_end_at FROM ocsd.attempt"
    ).fetchone()
    lists.conn.close()
    assert row == {
        "verified": True, "agent_result": 40_000, "lost_waiting_for": "analysis", "speech_end_at": spoke,
    }  # fmt: skip


CONNECTED = {"call_action": {"action": "CONNECT", "treatment_dbid": 0}}
HEARD_AT = NOON_UTC + timedelta(seconds=9)


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ({"evidence": CONNECTED}, True),
        ({"evidence": {"call_action": {"action": "CONNECT", "treatment_dbid": 7}}}, False),
        ({"evidence": {"call_action": {"action": "PLAY_MESSAGE", "treatment_dbid": 0}}}, False),
        ({"evidence": {"cpa": {}}}, False),  # taken for a person, and shown to be none afterwards
        ({"evidence": CONNECTED, "verified": False}, False),
        ({"evidence": CONNECTED, "cpa_verdict": "human"}, False),
        ({"agent_id": "a1"}, True),  # settled at start-up
        ({}, False),
    ],
)
async def test_given_a_machine_when_the_journal_is_asked_then_it_counts_if_agents_got_it_as_a_test_call(
    lists, more, counts
):
    lists.add(chain_id=5)
    async with lists.store() as store:
        (chain,) = await store.claim_chains(LIST, GROUP, 9, NOON_UTC)
        attempt = await dialed(store, chain)
        if "agent_id" in more:
            await store.mark_connected(attempt.attempt_id, HEARD_AT, more["agent_id"])
        told = {"times": AttemptTimes(cpd_completed_at=HEARD_AT), "verified": True, "cpa_verdict": "machine"} | more
        assert await store.finish_attempt(result_of(attempt, **told))

        given = await store.machines_given(GROUP, HEARD_AT)
        assert given == ([HEARD_AT] if counts else [])
        assert await store.machines_given(GROUP, HEARD_AT + timedelta(seconds=1)) == []
        assert await store.machines_given(GROUP + 1, HEARD_AT) == []


async def test_given_old_recordings_when_forgotten_then_rows_go_by_age_and_by_path(database):
    lists = PostgresWorld(database, result_configuration())
    async with lists.store() as store:
        for number, days in enumerate((1, 40, 50), start=1):
            await store.note_recording(
                CpdRecording(number, f"cpd/x/{number}-a.wav", NOON_UTC - timedelta(days=days), 1.0, 1, "")
            )
        rows = RecordingRows(store.database)

        assert await rows.forget(NOON_UTC - timedelta(days=45), ["cpd/x/2-a.wav", "cpd/x/9-a.wav"]) == 2

        left = lists.conn.execute("SELECT attempt_id FROM ocsd.cpd_recording").fetchall()
    lists.conn.close()
    assert left == [{"attempt_id": 1}]


# --- growing old ----------------------------------------------------------------------------------------------------

BEFORE = datetime(2026, 3, 3, tzinfo=UTC)


def put(folder, path, *, days_old, content=b"x"):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    at_s = (BEFORE - timedelta(days=days_old)).timestamp()
    os.utime(file, (at_s, at_s))
    return file


def test_given_recordings_of_several_ages_when_deleted_then_only_old_ones_of_our_folder_go(tmp_path):
    old = put(tmp_path, "cpd/2026-02-01/1-a.wav", days_old=3)
    sidecar = put(tmp_path, "cpd/2026-02-01/1-a.wav.json", days_old=3)
    young = put(tmp_path, "cpd/2026-03-04/2-a.wav", days_old=-1)
    mixed = put(tmp_path, "cpd/2026-03-04/3-a.wav", days_old=1)
    foreign = put(tmp_path, "conversations/4-a.wav", days_old=300)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    kept = put(outside, "5-a.wav", days_old=300)
    (tmp_path / "cpd" / "2026-01-01").symlink_to(outside)

    gone = delete_before(tmp_path, BEFORE)

    assert sorted(gone) == ["cpd/2026-02-01/1-a.wav", "cpd/2026-03-04/3-a.wav"]
    assert not any(file.exists() for file in (old, sidecar, mixed))
    assert all(file.exists() for file in (young, foreign, kept))


def test_given_no_folder_when_old_recordings_are_deleted_then_there_are_none(tmp_path):
    assert delete_before(tmp_path / "nowhere", BEFORE) == []


def test_given_a_file_that_cannot_be_deleted_when_old_ones_go_then_the_others_go_all_the_same(tmp_path, monkeypatch):
    stays = put(tmp_path, "cpd/2026-02-01/1-a.wav", days_old=3)
    goes = put(tmp_path, "cpd/2026-02-02/2-a.wav", days_old=3)
    unlink = os.unlink

    def refusing(path):
        if Path(path) == stays:
            raise PermissionError(1, "Operation not permitted")
        unlink(path)

    monkeypatch.setattr("ocsd.recordings.os.unlink", refusing)
    with capture_logs() as logs:
        assert delete_before(tmp_path, BEFORE) == ["cpd/2026-02-02/2-a.wav"]

    assert (stays.exists(), goes.exists()) == (True, False)
    assert [(entry["event"], entry["files"]) for entry in logs] == [("recordings.files_not_deleted", 1)]


async def test_given_the_database_away_when_recordings_grow_old_then_it_is_tried_again(monkeypatch, tmp_path):
    monkeypatch.setattr("ocsd.recordings.RETRY_S", 0.0)
    put(tmp_path, "cpd/2026-02-01/1-a.wav", days_old=40)
    told = []
    with trio.CancelScope() as scope:

        class Rows:
            async def forget(self, before, paths):
                told.append((before, list(paths)))
                if len(told) == 1:
                    raise StoreUnavailable("switched off")
                scope.cancel()
                await trio.lowlevel.checkpoint()
                return 0

        with trio.fail_after(60.0):
            await keep_retention(tmp_path, Rows(), lambda: BEFORE, lambda: timedelta(days=30))

    limit = BEFORE - timedelta(days=30)
    assert told == [(limit, ["cpd/2026-02-01/1-a.wav"]), (limit, [])]


# --- restarts -------------------------------------------------------------------------------------------------------


async def killed_after_the_agents_word(w):
    """A daemon dies a second after the agent has said of a person that it was a machine."""
    async with w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (attempt_id,) = daemon.session.attempts
        said = UpdateCallCompletionStats(
            101, attempt_id, CAMPAIGN, changes={"call_result": int(CallResult.ANSWERING_MACHINE)}
        )
        await daemon.desks.received(daemon.desktops["agent1"], said)
        await trio.sleep(1.0)
        daemon.kill()


async def test_given_a_test_call_when_the_daemon_dies_after_the_agents_word_then_the_next_one_keeps_it(
    autojump_clock, tmp_path
):
    talks = CallScript(ring_s=2.0, talk_s=60.0, verdict_s=1.0)
    async with world(tmp_path, [talks], options=ALL_VERIFIED) as w:
        await killed_after_the_agents_word(w)
        async with w.daemon() as daemon:
            await daemon.until(lambda: not daemon.session.attempts)

        ended = finished(w)
        assert (ended.verified, ended.agent_result) == (True, CallResult.ANSWERING_MACHINE)
        assert ended.evidence["cpa"]["decided"] == "human"


async def test_given_no_progress_detection_when_the_daemon_dies_after_the_answer_then_no_verdict_is_made_up(
    autojump_clock, tmp_path
):
    options = 'call_answer_type_recognition = "no_progress_detection"'
    slow = CallScript(ring_s=1.5, talk_s=60.0)
    async with world(tmp_path, [PERSON], phones=slow, options=options) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.CONNECTING in daemon.states())
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.until(lambda: not daemon.session.attempts)

        ended = finished(w)
        assert (ended.call_result, ended.cpa_verdict) == (CallResult.DROPPED, None)
        assert (ended.times.cpd_completed_at, ended.lost_waiting_for) == (None, "agent")
        assert ended.person is not None


async def test_given_a_test_call_that_ends_without_a_daemon_when_one_starts_then_the_agents_word_counts(
    autojump_clock, tmp_path
):
    talks = CallScript(ring_s=2.0, talk_s=10.0, verdict_s=1.0)
    async with world(tmp_path, [talks], options=ALL_VERIFIED) as w:
        await killed_after_the_agents_word(w)
        await trio.sleep(12.0)
        async with w.daemon() as daemon:
            await daemon.until(lambda: not daemon.session.attempts)

        ended = finished(w)
        assert (ended.verified, ended.agent_result, ended.cpa_verdict) == (True, CallResult.ANSWERING_MACHINE, "human")


# --- a call that ends while its recording is being noted -----------------------------------------------------------


async def test_given_a_slow_database_when_the_call_ends_then_its_recording_is_noted_all_the_same(autojump_clock):
    kept = []

    async def keep(recording):
        await trio.sleep(1.0)
        kept.append(recording.path)

    says, events = trio.open_memory_channel(1)
    says.close()
    context = SimpleNamespace(attempt_id=4711, guid="0123456789ab", recorded=True)
    recording = AnalysisRecording(context, AttemptRules(), SystemClock(), keep)
    path = path_of("2026-03-03", 4711, "0123456789ab")
    with trio.move_on_after(0.5):  # the attempt's own tasks are cancelled with its end
        await recording.finished(RecordingFinished("c", path, 3.0, "ab", 9))
    assert kept == []

    await recording.wait(SimpleNamespace(events=events))
    await events.aclose()

    assert kept == [path]


# --- a verdict that comes late --------------------------------------------------------------------------------------


async def test_given_a_verdict_reached_while_the_media_server_was_away_when_it_comes_then_the_wait_began_with_it(
    autojump_clock, tmp_path
):
    slow = CallScript(ring_s=2.0, talk_s=60.0, verdict_s=30.0)
    async with world(tmp_path, [slow]) as w, w.daemon() as daemon:
        await trio.sleep(1.0)
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.ANALYSING in daemon.states())
        await trio.sleep(3.0)
        (channel,) = w.media.channels.values()
        reached_s = w.clock.now_s() - 1.5
        channel.report(Verdict(channel.channel_id, VerdictKind.HUMAN, "reached meanwhile", reached_s, True))
        await daemon.until(lambda: AttemptState.ANALYSING not in daemon.states())
        (task,) = daemon.session.attempts.values()

        assert task.machine.person_at_s == pytest.approx(reached_s)
