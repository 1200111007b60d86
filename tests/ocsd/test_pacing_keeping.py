"""What the pacing has learnt outlives the daemon; its journal and live figures follow the session."""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from structlog.testing import capture_logs

from ocsd.lists.pacing_memory import load_learnt, save_learnt
from ocsd.lists.pool import open_database
from ocsd.model.enums import DialMode, GroupCampStatus, OptimizeBy
from ocsd.model.errors import StoreUnavailable
from ocsd.model.services import CampaignRequest
from ocsd.protocols.desktop import RequestAgentReady
from ocsd.sessions.pacing_keeping import SAVE_EVERY_S, PacingKeeping
from ocsd.sessions.roster import AgentState
from pacing.calibration import QUANTITIES
from pacing.journal import Decided, Told
from pacing.journal_codec import read
from pacing.memory import ALL_S, LASTING_S
from pacing.replay import replay
from telephony.fake import CallScript
from tests.ocsd.test_session import CAMPAIGN_GROUP_DBID, world

AGENTS = ("agent1", "agent2", "agent3", "agent4")
PREDICTIVE = {"dial_mode": DialMode.PREDICTIVE, "optimize_by": OptimizeBy.OVERDIAL_RATE, "optimize_goal": 3}
CUSTOMERS = [
    CallScript(ring_s=2.0 + i % 5, talk_s=12.0, verdict_s=0.8)
    if i % 3 == 0
    else CallScript(ring_s=3.0 + i % 7, status=486)
    for i in range(600)
]


@dataclass
class LearntMemory:
    """PacingMemory; ``age_s`` is that of everything that is loaded."""

    available: bool = True
    age_s: float = 30.0
    states: dict[int, str] = field(default_factory=dict)
    saves: int = 0

    async def save(self, dbid: int, state: str) -> None:
        await trio.lowlevel.checkpoint()
        if not self.available:
            raise StoreUnavailable("switched off")
        self.states[dbid] = state
        self.saves += 1

    async def load(self, dbid: int) -> tuple[str, float] | None:
        await trio.lowlevel.checkpoint()
        if not self.available:
            raise StoreUnavailable("switched off")
        return (self.states[dbid], self.age_s) if dbid in self.states else None


async def work(daemon):
    """Agents are ready again a few seconds after each call."""
    while True:
        await trio.sleep(3.0)
        for agent_id, desktop in daemon.desktops.items():
            if daemon.seat(agent_id).state is AgentState.WRAP_UP:
                await daemon.desks.received(desktop, RequestAgentReady())


@asynccontextmanager
async def dialing(here, seconds):
    """A daemon whose group has dialed predictively for so long; a group that was dialing before goes on."""
    async with here.daemon() as daemon, trio.open_nursery() as nursery:
        if daemon.status is GroupCampStatus.NOT_LOADED:
            await daemon.request(CampaignRequest.LOAD)
            for agent_id in AGENTS:
                await daemon.log_in(agent_id)
            await daemon.request(CampaignRequest.START_DIALING, **PREDICTIVE)
        else:
            for agent_id in AGENTS:
                await daemon.log_in(agent_id)
        nursery.start_soon(work, daemon)
        await trio.sleep(seconds)
        yield daemon
        nursery.cancel_scope.cancel()


def journals(folder):
    paths = sorted((folder / str(CAMPAIGN_GROUP_DBID)).glob("*.jsonl.gz"))
    return [list(read(path.read_bytes())) for path in paths]


def reasons(entries):
    return Counter(entry.decision.because for entry in entries if isinstance(entry, Decided))


def outcomes_at_first(entries):
    """How many outcomes were known to the first decision of a recording."""
    return next(entry for entry in entries if isinstance(entry, Decided)).decision.inputs["outcomes"]


async def test_given_a_daemon_that_has_learnt_when_it_is_killed_then_the_next_one_does_not_begin_one_to_one(
    autojump_clock, tmp_path
):
    memory = LearntMemory()
    async with world(tmp_path, CUSTOMERS, agents=4) as here:
        here.keeping = PacingKeeping(memory, tmp_path / "pacing")
        async with dialing(here, 250.0) as daemon:
            assert memory.saves == 4
            memory.available = False  # whatever it still tries
            daemon.kill()
        memory.available = True
        with capture_logs() as logs:
            async with dialing(here, 60.0) as daemon:
                await daemon.request(CampaignRequest.COMPLETE)
                await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)

    first, second = journals(tmp_path / "pacing")
    assert outcomes_at_first(first) == 0.0
    assert outcomes_at_first(second) > 50.0
    assert reasons(second)["learning"] == 0
    assert sum(reasons(second).values()) > 100
    recalled = next(log for log in logs if log["event"] == "pacing.memory_recalled")
    assert recalled["parts"] == "all"
    for entries in (first, second):
        assert not any(each.differences for each in replay(entries))


@pytest.mark.parametrize(
    ("age_s", "parts", "learns"),
    [(60.0, "all", False), (ALL_S + 1.0, "durations", True), (LASTING_S + 1.0, "nothing", True)],
)
async def test_given_an_age_when_the_group_is_loaded_again_then_only_what_is_still_true_is_known(
    autojump_clock, tmp_path, age_s, parts, learns
):
    memory = LearntMemory(age_s=age_s)
    async with world(tmp_path, CUSTOMERS, agents=4) as here:
        here.keeping = PacingKeeping(memory, tmp_path / "pacing")
        async with dialing(here, 150.0) as daemon:
            await daemon.request(CampaignRequest.FORCE_UNLOAD)
            await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
            with capture_logs() as logs:
                await daemon.request(CampaignRequest.LOAD)
                await daemon.request(CampaignRequest.START_DIALING, **PREDICTIVE)
            await trio.sleep(5.0)
            known = daemon.session.decided.inputs["outcomes"]
            assert (known < daemon.session.score.pacer.target.history_length) == learns

    assert next(log["parts"] for log in logs if log["event"] == "pacing.memory_recalled") == parts


@pytest.mark.parametrize("state", ["", "{", '{"version": -1}', "[]"])
async def test_given_a_state_that_cannot_be_read_when_loaded_then_it_is_dropped_with_a_line(
    autojump_clock, tmp_path, state
):
    async with world(tmp_path, CUSTOMERS, agents=4) as here:
        here.keeping = PacingKeeping(LearntMemory(states={CAMPAIGN_GROUP_DBID: state}))
        with capture_logs() as logs:
            async with dialing(here, 10.0) as daemon:
                assert daemon.session.decided is not None

    assert [log["log_level"] for log in logs if log["event"] == "pacing.memory_dropped"] == ["warning"]


async def test_given_a_database_that_is_away_when_dialing_then_it_goes_on_and_is_saved_later(autojump_clock, tmp_path):
    memory = LearntMemory(available=False)
    async with world(tmp_path, CUSTOMERS, agents=4) as here:
        here.keeping = PacingKeeping(memory)
        with capture_logs() as logs:
            async with dialing(here, 2.5 * SAVE_EVERY_S) as daemon:
                assert daemon.session.score.tally.people > 5
                memory.available = True
                await trio.sleep(SAVE_EVERY_S)
                assert memory.saves == 1

    found = Counter(log["event"] for log in logs if log["event"].startswith("pacing.memory"))
    assert found == {"pacing.memory_unread": 1, "pacing.memory_unsaved": 2}
    assert memory.saves == 2  # and when it stopped


async def test_given_a_group_that_was_never_started_when_unloaded_then_nothing_is_saved_or_written(
    autojump_clock, tmp_path
):
    memory = LearntMemory()
    async with world(tmp_path, CUSTOMERS, agents=4) as here:
        here.keeping = PacingKeeping(memory, tmp_path / "pacing")
        async with here.daemon() as daemon:
            await daemon.request(CampaignRequest.LOAD)
            await trio.sleep(200.0)
            shown = daemon.campaigns.pacing(CAMPAIGN_GROUP_DBID)
            await daemon.request(CampaignRequest.UNLOAD)
            await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
            assert daemon.campaigns.pacing(CAMPAIGN_GROUP_DBID) == {}

    assert (memory.saves, memory.states) == (0, {})
    assert not (tmp_path / "pacing").exists()
    assert (shown["decision"], shown["legal"], shown["recent"]["at"]) == (None, None, [])
    assert shown["journal"] == {"file": None, "entries_lost": 0}


async def test_given_a_journal_that_is_switched_off_when_dialing_then_no_file_is_written(autojump_clock, tmp_path):
    async with world(tmp_path, CUSTOMERS, options='pacing-journal = "no"', agents=4) as here:
        here.keeping = PacingKeeping(LearntMemory(), tmp_path / "pacing")
        async with dialing(here, 20.0) as daemon:
            assert daemon.campaigns.pacing(CAMPAIGN_GROUP_DBID)["journal"] is None

    assert not (tmp_path / "pacing").exists()


async def test_given_a_dialing_group_when_its_pacing_is_shown_then_figures_are_those_of_the_session(
    autojump_clock, tmp_path
):
    async with world(tmp_path, CUSTOMERS, agents=4) as here, dialing(here, 200.0) as daemon:
        shown, session = daemon.campaigns.pacing(CAMPAIGN_GROUP_DBID), daemon.session

        decision = shown["decision"]
        assert decision["inputs"] == {name: float(value) for name, value in session.decided.inputs.items()}
        assert (decision["launch"], decision["because"]) == (session.decided.launch, session.decided.because)
        assert decision["words"][0].startswith(f"launched {decision['launch']}: ")
        assert decision["number"] == session.pacing.recorder.decisions
        assert decision["inputs"]["people"] == session.score.tally.connected + session.score.tally.abandoned
        recent = shown["recent"]
        assert len({len(column) for column in recent.values()}) == 1
        assert 16 <= len(recent["at"]) <= 21
        assert recent["at"] == sorted(recent["at"])
        assert sum(recent["launched"]) <= session.score.tally.attempts + len(session.attempts) + 4
        assert set(shown["calibration"]) == set(QUANTITIES)
        assert shown["calibration"]["people"]["samples"] >= 3
        assert shown["target"]["mode"] == "predictive"
        assert shown["journal"] is None


async def test_given_what_a_session_hears_when_recorded_then_every_kind_of_event_is_in_the_journal(
    autojump_clock, tmp_path
):
    async with world(tmp_path, CUSTOMERS, agents=4) as here:
        here.keeping = PacingKeeping(None, tmp_path / "pacing")
        async with dialing(here, 120.0) as daemon:
            await daemon.request(CampaignRequest.SET_DIALING_MODE, dial_mode=DialMode.PROGRESSIVE)
            await trio.sleep(5.0)

    (entries,) = journals(tmp_path / "pacing")
    methods = {entry.method for entry in entries if isinstance(entry, Told)}
    assert methods >= {"answered", "ended", "person", "bridged", "handled", "set_target"}
    assert not any(each.differences for each in replay(entries))


async def test_given_postgresql_when_a_state_is_saved_then_it_comes_back_with_its_age(database):
    text = '{"version":1,"x":[0.1,1e-300]}'
    async with open_database(lambda: database, size=2, statement_timeout_s=10.0) as opened:
        assert await load_learnt(opened, 7) is None
        await save_learnt(opened, 7, "{}")
        await save_learnt(opened, 7, text)
        await save_learnt(opened, 8, "{}")
        found = await load_learnt(opened, 7)

    assert found is not None
    assert found[0] == text
    assert 0.0 <= found[1] < 600.0
