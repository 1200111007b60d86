"""The guard over the legal window in a daemon: what counts when, who spends, and what survives a kill."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ocsd.config.legal import guard_of
from ocsd.config.loader import load_configuration
from ocsd.config.objects import Application, Campaign, CampaignGroup, Configuration
from ocsd.explain.group_gates import group_gates
from ocsd.explain.live import Live, LiveGroup
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.model.enums import CallResult
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import PersonFound
from ocsd.rules.checks import preset_problems
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.explaining import legal_window
from ocsd.sessions.guarding import READ_PERIOD_S, CampaignGuard
from ocsd.sessions.people import person_left, person_of
from pacing.guard import Phase, WindowKind
from telephony.contract import VerdictKind
from telephony.fake import CallScript
from tests.ocsd.test_cli_dnc import EXAMPLE
from tests.ocsd.test_session import PERSON, world

NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
CAMPAIGN, GROUP = 401, 501


@dataclass
class Clock:
    passed_s: float = 0.0

    def now_s(self) -> float:
        return 1000.0 + self.passed_s

    def utc(self) -> datetime:
        return NOON + timedelta(seconds=self.passed_s)


@dataclass
class Machine:
    """As much of an AttemptMachine as says what became of a person."""

    person_at_s: float | None = 1000.0
    marks: dict[str, float] = field(default_factory=dict)
    found_person: bool = True
    verdict: VerdictKind | None = None
    designated_agent: str | None = None
    adopted: bool = False
    plan: object = None
    state: AttemptState = AttemptState.TALKING

    @property
    def bridged(self) -> bool:
        return "agent_answered" in self.marks


def bridged(wait_s: float = 0.3, **changes) -> Machine:
    return Machine(marks={"agent_answered": 1000.0 + wait_s}, **changes)


def lost(**changes) -> Machine:
    return Machine(marks={"abandoned": 1002.0}, **changes)


def configuration(options=None, groups=({},), of_application=None) -> Configuration:
    campaign_groups = tuple(
        CampaignGroup(
            dbid=GROUP + number,
            name=f"G{number}",
            campaign="C",
            group="A",
            trunks=("T",),
            options=given,
        )
        for number, given in enumerate(groups)
    )
    return Configuration(
        application=Application(options=of_application or {}),
        campaigns=(Campaign(dbid=CAMPAIGN, name="C", tenant="T", options=options or {}),),
        campaign_groups=campaign_groups,
    )


class SlowStore(MemoryListStore):
    """Reads the ledger at once, and answers when it is told to."""

    answer: trio.Event | None = None
    away = False

    async def abandonment(self, campaign_dbid, since, group_dbids=()):
        if self.away:
            raise StoreUnavailable("away")
        found = await super().abandonment(campaign_dbid, since, group_dbids)
        if self.answer is not None:
            await self.answer.wait()
        return found


class Site:
    def __init__(self, **given) -> None:
        self.config = configuration(**given)
        self.clock = Clock()
        self.database = MemoryDatabase(self.config, now=self.clock.utc)
        self.store = SlowStore(self.database)
        self.guard = self.new_guard()

    def new_guard(self) -> CampaignGuard:
        return CampaignGuard(self.config, CAMPAIGN, self.store, self.clock)

    def write(self, *people: PersonFound) -> None:
        """As a committed result does."""
        for person in people:
            self.database.journal.count_person(CAMPAIGN, person)

    @property
    def count(self) -> tuple[int, int]:
        count = self.guard.state().count
        return count.people, count.abandoned


def people(number: int, wait_s: float | None = 0.1) -> list[PersonFound]:
    return [PersonFound(NOON, wait_s)] * number


# --- who counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (bridged(0.3), 0.3),
        (bridged(2.5), 2.5),
        (bridged(2.5, adopted=True, found_person=False), 0.0),
        (lost(), None),
        (Machine(state=AttemptState.FINISHED), None),  # a person, and then a fault of ours
    ],
)
def test_given_a_person_when_asked_then_the_wait_is_told(machine, expected):
    found = person_of(machine, Clock())
    assert found is not None
    assert found.at == NOON
    assert found.wait_s == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "machine",
    [
        Machine(person_at_s=None),
        bridged(designated_agent="agent1"),
        bridged(found_person=False),  # a call action connects machines
        bridged(found_person=False, verdict=VerdictKind.MACHINE, adopted=True),
        Machine(plan=object(), state=AttemptState.FINISHED),  # heard a message, as a call action asked for
    ],
)
def test_given_nobody_who_waited_for_an_agent_when_asked_then_nobody_counts(machine):
    assert person_of(machine, Clock()) is None


@pytest.mark.parametrize(
    ("result", "connected", "answered", "expected"),
    [
        (CallResult.ANSWER, True, True, PersonFound(NOON, 0.0)),
        (CallResult.DROPPED, False, True, PersonFound(NOON, None)),
        (CallResult.STALE, False, True, PersonFound(NOON, None)),
        (CallResult.STALE, False, False, None),
        (CallResult.ANSWERING_MACHINE, False, True, None),
        (CallResult.ANSWERING_MACHINE, True, True, None),
        (CallResult.NO_ANSWER, False, False, None),
    ],
)
def test_given_an_attempt_that_start_up_settles_when_counted_then_doubt_counts_against_us(
    result, connected, answered, expected
):
    assert person_left(result, connected=connected, answered=answered, at=NOON) == expected


# --- what is known when ---------------------------------------------------------------------------------------------


async def test_given_a_ledger_that_was_not_read_when_asked_then_one_to_one(autojump_clock):
    site = Site()
    room = site.guard.room(GROUP, 0.0)
    assert room is not None
    assert (room.abandoned_allowed, room.stop) == (0.0, False)
    assert site.guard.figures() == {}
    await site.guard.read()
    assert site.count == (0, 0)


async def test_given_a_person_when_settled_then_counts_at_once_and_once_when_written_and_read(autojump_clock):
    site = Site()
    await site.guard.read()
    site.guard.changed(1, lost())
    site.guard.changed(1, lost())
    assert site.count == (1, 1)
    site.guard.writing(1)
    site.write(PersonFound(NOON, None))
    site.guard.written(1)
    assert site.count == (1, 1)
    await site.guard.read()
    assert site.count == (1, 1)
    await site.guard.read()
    assert site.count == (1, 1)


async def test_given_a_reading_around_a_write_when_it_has_the_person_or_not_then_nothing_is_too_lenient(autojump_clock):
    for committed in (False, True):
        site = Site()
        site.write(*people(100))
        await site.guard.read()
        site.guard.changed(1, bridged())
        site.guard.changed(2, lost())
        for attempt_id in (1, 2):
            site.guard.writing(attempt_id)
        if committed:
            site.write(PersonFound(NOON, 0.3), PersonFound(NOON, None))
        await site.guard.read()
        served, abandoned = site.count
        assert abandoned >= 1
        assert 0.03 * served - abandoned <= 0.03 * 102 - 1
        if not committed:
            site.write(PersonFound(NOON, 0.3), PersonFound(NOON, None))
        for attempt_id in (1, 2):
            site.guard.written(attempt_id)
        await site.guard.read()
        assert site.count == (102, 1)


async def test_given_a_result_that_is_written_while_the_ledger_is_read_when_it_answers_then_nothing_is_lost(
    autojump_clock,
):
    site = Site()
    site.guard.changed(1, lost())
    site.store.answer = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.guard.read)
        await trio.testing.wait_all_tasks_blocked()
        site.guard.writing(1)
        site.write(PersonFound(NOON, None))
        site.guard.written(1)
        site.store.answer.set()
    assert site.count[1] == 1
    site.store.answer = None
    await site.guard.read()
    assert site.count == (1, 1)


async def test_given_a_killed_daemon_when_the_next_one_reads_then_it_knows_what_was_written(autojump_clock):
    site = Site()
    site.write(*people(400), *people(10, None), *people(3, 2.5))
    await site.guard.read()
    assert site.count == (413, 13)
    site.guard = site.new_guard()
    await site.guard.read()
    assert site.count == (413, 13)
    assert site.guard.state().phase is Phase.ONE_TO_ONE


async def test_given_a_database_that_is_away_when_read_then_what_is_known_goes_on_and_it_is_told(autojump_clock):
    site = Site()
    site.write(*people(500))
    await site.guard.read()
    site.store.away = True
    site.guard.changed(1, lost())
    with capture_logs() as logs, trio.move_on_after(3 * READ_PERIOD_S):
        site.clock.passed_s = 60.0
        await site.guard.keep_read()
    assert {entry["event"] for entry in logs} == {"guard.not_read"}
    assert site.count == (501, 1)


# --- who spends ------------------------------------------------------------------------------------------------------


async def test_given_two_groups_that_dial_when_they_ask_then_each_gets_half_and_both_see_the_others_losses(
    autojump_clock,
):
    site = Site(groups=({}, {}))
    site.write(*people(5000), *people(50, None))
    await site.guard.read()
    alone = site.guard.room(GROUP, 0.0)
    assert alone is not None
    site.clock.passed_s += 2.0
    site.guard.room(GROUP + 1, 0.0, spends=False)
    assert site.guard.room(GROUP, 0.0).abandoned_allowed == alone.abandoned_allowed
    site.clock.passed_s += 2.0
    site.guard.room(GROUP + 1, 0.0)
    site.clock.passed_s += 2.0
    half = site.guard.room(GROUP, 0.0)
    assert half is not None
    assert half.abandoned_allowed == pytest.approx(alone.abandoned_allowed / 2)
    for attempt_id in range(200):
        site.guard.changed(attempt_id, lost())
    assert site.guard.room(GROUP, 0.0).abandoned_allowed < 0.0


async def test_given_a_guard_that_binds_when_it_lets_go_then_both_are_told_with_the_figures(autojump_clock):
    site = Site()
    site.write(*people(1000), *people(31, None))
    await site.guard.read()
    with capture_logs() as logs:
        site.guard.room(GROUP, 0.0)
        site.clock.passed_s = 1.0
        site.guard.room(GROUP, 0.0)
        site.write(*people(9000))
        await site.guard.read()
        room = site.guard.room(GROUP, 0.0)
    assert [(entry["event"], entry["people"], entry["abandoned"]) for entry in logs] == [
        ("guard.bound", 1031, 31),
        ("guard.opened", 10_031, 31),
    ]
    assert "31 of 1031 people abandoned (3.01%)" in logs[0]["because"]
    assert room is not None
    assert room.because == ""
    assert site.guard.figures()["guard_binds"] == 0


async def test_given_a_guard_that_was_off_when_a_reload_turns_it_on_then_what_was_lost_meanwhile_is_read_first(
    autojump_clock,
):
    site = Site(options={"legal_rule": "us-tsr"})
    site.write(*people(2000))
    await site.guard.read()
    before = site.guard.room(GROUP, 0.0)
    site.guard.reconfigure(configuration({"legal_rule": "none"}))
    site.write(*people(100, wait_s=None))
    site.guard.reconfigure(site.config)

    room = site.guard.room(GROUP, 0.0)

    assert before is not None
    assert before.abandoned_allowed > 10.0
    assert room is not None
    assert room.abandoned_allowed <= 0.0
    await site.guard.read()
    assert site.count == (2100, 100)


def test_given_a_reload_whose_parts_contradict_each_other_when_obeyed_then_the_window_in_force_stays_and_it_is_told():
    site = Site(groups=({"max_overdial_rate": 1},))

    with capture_logs() as logs:
        site.guard.reconfigure(configuration({"legal_limit_rate": 2}, groups=({"max_overdial_rate": 1},)))

    assert [log["event"] for log in logs] == ["guard.not_reconfigured"]
    assert site.guard.guard is not None
    assert site.guard.guard.rule.limit_ratio == pytest.approx(0.01)


async def test_given_losses_while_calls_start_one_to_one_when_they_grow_then_the_reserve_does(autojump_clock):
    site = Site()
    site.write(*people(2000), *people(60, None))
    await site.guard.read()
    site.guard.room(GROUP, 0.0)
    before = site.guard.state().reserve
    site.clock.passed_s = 61.0
    site.guard.room(GROUP, 0.0)
    for attempt_id in range(300):
        site.guard.changed(attempt_id, bridged() if attempt_id % 60 else lost())
    assert site.guard.state().reserve > before + 0.5


# --- options ----------------------------------------------------------------------------------------------------------


def test_given_no_option_when_looked_up_then_the_lowest_overdial_rate_of_the_groups_holds_for_30_days():
    config = configuration(groups=({"max_overdial_rate": 2.5}, {"max_overdial_rate": 5}))
    guard = guard_of(config, config.campaigns[0])
    assert guard is not None
    assert (guard.rule.limit_ratio, guard.rule.window, guard.rule.window_s) == (
        0.025,
        WindowKind.SUCCESSIVE,
        30 * 86_400,
    )
    assert (guard.confidence, guard.hard_stop) == (0.99, False)


def test_given_every_option_when_looked_up_then_it_is_obeyed():
    config = configuration(
        options={
            "legal_rule": "us-tsr",
            "legal_limit_rate": 1.5,
            "legal_window": "calendar",
            "legal_window_days": 7,
            "legal_window_zone": "America/New_York",
            "legal_hard_stop": "yes",
        },
        of_application={"legal_confidence": 95, "legal_rule": "uk"},
    )
    guard = guard_of(config, config.campaigns[0])
    assert guard is not None
    rule = guard.rule
    assert (rule.name, rule.limit_ratio, rule.window, rule.window_s, rule.zone) == (
        "us-tsr",
        0.015,
        WindowKind.CALENDAR,
        7 * 86_400,
        "America/New_York",
    )
    assert (guard.confidence, guard.hard_stop) == (0.95, True)
    none = configuration(options={"legal_rule": "none"})
    assert guard_of(none, none.campaigns[0]) is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"legal_rule": "us-tsr", "legal_limit_rate": 4}, "above the 3 percent"),
        ({"legal_window": "calendar", "legal_window_days": 0.5}, "whole days"),
        ({"legal_window_zone": "Nowhere/Atlantis"}, "no time zone"),
    ],
)
def test_given_options_that_do_not_fit_together_when_checked_then_the_campaign_is_named(options, problem):
    (sentence,) = preset_problems(configuration(options=options))
    assert sentence.startswith('campaign "C": ')
    assert problem in sentence


def test_given_the_example_configuration_when_checked_then_nothing_is_wrong(tmp_path):
    path = tmp_path / "ocsd.toml"
    path.write_text(EXAMPLE)
    assert preset_problems(load_configuration(path)) == []


# --- in a daemon ------------------------------------------------------------------------------------------------------


NOBODY_THERE = CallScript(ring_s=math.inf)
"""An agent's phone that is never answered."""


async def test_given_people_with_and_without_agents_when_the_daemon_is_killed_then_the_next_knows_them(
    autojump_clock, tmp_path
):
    customers = [PERSON, PERSON, CallScript(ring_s=4.0, talk_s=30.0, verdict_s=1.0, verdict=VerdictKind.MACHINE)]
    async with world(tmp_path, customers, options="legal_rule = 'us-tsr'") as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1", "agent2")
            await daemon.until(lambda: len(w.dialed()) == 2)
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            guard = daemon.session.guard
            await daemon.until(lambda: guard.figures()["guard_people"] == 2)
            await daemon.until(lambda: not daemon.session.attempts)
            figures = daemon.campaigns.statistics(daemon.session.group.dbid)
            assert (figures["guard_people"], figures["guard_abandoned"]) == (2, 0)
            assert figures["guard_limit"] == 0.03
            assert figures["guard_binds"] == 1
            assert daemon.session.snapshot().legal == guard.state().room
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.until(lambda: daemon.session.guard.figures())
            assert daemon.session.guard.figures()["guard_people"] == 2


async def test_given_a_person_whom_no_agent_takes_when_dropped_then_counts_as_abandoned(autojump_clock, tmp_path):
    async with world(tmp_path, [PERSON], phones=NOBODY_THERE) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: daemon.session.guard.figures().get("guard_abandoned"))
        await daemon.until(lambda: not daemon.session.attempts)
        (bucket,) = w.database.journal.abandonment(daemon.session.campaign.dbid, NOON - timedelta(days=1), 0).buckets
        assert (bucket.people, bucket.abandoned) == (1, 1)


async def test_given_a_hard_stop_when_asked_why_then_its_gate_is_closed(autojump_clock, tmp_path):
    options = "legal_rule = 'us-tsr', legal_hard_stop = true"
    async with world(tmp_path, [], options=options) as w:
        for wait_s, number in ((0.1, 1000), (None, 40)):
            for _ in range(number):
                w.database.journal.count_person(
                    w.config.campaigns[0].dbid, PersonFound(w.clock.utc() - timedelta(hours=1), wait_s)
                )
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: daemon.session.guard.figures())
            legal = daemon.session.snapshot().legal
            assert legal is not None
            assert legal.stop
            found = legal_window(daemon.session.guard)
            live = Live("owner", {daemon.session.group.dbid: LiveGroup(daemon.session.group.dbid, "G", legal=found)})
            gate = next(g for g in group_gates(w.config, daemon.session.group, live) if g.gate == "legal_window")
            assert gate.passed is False
            assert "40 of 1040 people abandoned (3.85%), limit 3.00%" in gate.why
            assert "legal_hard_stop" in gate.remedy


# --- whatever the order -------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("goes on"), st.integers(0, 5), st.booleans()),
        st.tuples(st.sampled_from(["read", "kill"]), st.integers(0, 1), st.booleans()),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=150, deadline=None)
async def test_given_two_nodes_when_people_are_found_written_and_read_in_any_order_then_never_too_lenient(
    steps,
):
    """Persons 0, 2, 4 are of node 0, the others of node 1. Each is settled, then written, as an attempt is."""
    site = Site()
    site.write(*people(200))
    guards = [site.guard, site.new_guard()]
    for guard in guards:
        await guard.read()
    progress: dict[int, str] = {}
    lost_ones: dict[int, bool] = {}
    committed: set[int] = set()
    known: list[set[int]] = [set(), set()]
    order = ["found", "writing", "commit", "written"]
    for what, which, flag in steps:
        if what == "read":
            await guards[which].read()
            known[which] |= committed
        elif what == "kill":
            guards[which] = site.new_guard()
            await guards[which].read()
            known[which] = set(committed)
            for person in range(which, 6, 2):  # what was not written is lost with the daemon
                if person in progress and person not in committed:
                    progress[person] = "gone"
                elif person in committed:
                    progress[person] = "written"
        else:
            node, before = which % 2, progress.get(which)
            if before in ("written", "gone"):
                continue
            what = progress[which] = order[0 if before is None else order.index(before) + 1]
            if what == "found":
                lost_ones[which] = flag
                guards[node].changed(which, lost() if flag else bridged())
                known[node].add(which)
            elif what == "writing":
                guards[node].writing(which)
            elif what == "commit":
                site.write(PersonFound(NOON, None if lost_ones[which] else 0.3))
                committed.add(which)
            else:
                guards[node].written(which)
        for node in (0, 1):
            state = guards[node].state()
            sure = known[node] & (set(lost_ones))
            abandoned = sum(lost_ones[person] for person in sure)
            assert state.count.abandoned >= abandoned
            assert state.slack <= 0.03 * (200 + len(sure)) - abandoned + 1e-9
    for person, step in progress.items():  # everything comes to its end
        node = person % 2
        if step in ("found", "writing"):
            guards[node].writing(person)
            site.write(PersonFound(NOON, None if lost_ones[person] else 0.3))
            committed.add(person)
        if step in ("found", "writing", "commit"):
            guards[node].written(person)
    for guard in guards:
        await guard.read()
        count = guard.state().count
        assert (count.people, count.abandoned) == (200 + len(committed), sum(lost_ones[one] for one in committed))
