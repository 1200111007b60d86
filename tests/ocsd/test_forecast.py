"""Forecasts: the loop on rules made up here, samples, the production rules, and a forecast beside what then happens."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.explain.forecast import HOUR_S, LEFT, Course, Fate, Loop, Sampler, Until, Waits, summary
from ocsd.explain.listed import ListedChain
from ocsd.lists.caps import Caps
from ocsd.lists.tables import create_table
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import ConfigError
from ocsd.model.records import CallingRecord, Chain, ChainChange
from ocsd.sessions.forecasting import (
    OBSERVED_ENOUGH,
    Mix,
    Outcome,
    ProductionRules,
    Question,
    Running,
    carried_on,
    forecast,
    group_of,
    mix_of,
    observed_mix,
    pace_of_agents,
)
from ocsd.sessions.planner import Planner
from tests.ocsd.forecast_truth import LIST, Truth, compare, configuration, report

HANG_LIMIT_S = 300.0
DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


# --- the loop ---------------------------------------------------------------------------------------------------------


class Toy:
    """A chain that needs so many calls, each ``wait_s`` after the one before, from ``opens_s`` on each day."""

    def __init__(self, calls: int = 1, *, wait_s: float = 0.0, opens_s: float = 0.0, rank: int = 0) -> None:
        self.calls, self.wait_s, self.opens_s, self.rank = calls, wait_s, opens_s, rank
        self.dialed_at: list[float] = []


class ToyRules:
    """A call lasts ten seconds; windows are open from ``opens_s`` to midnight."""

    def gate(self, chain: Toy, at_s: float) -> Until | None:
        opens_s = self.shut_until(chain, at_s)
        return None if opens_s <= at_s else Until(opens_s, Waits.HOURS)

    def order(self, chain: Toy) -> tuple[float, ...]:
        return (float(chain.rank),)

    def dial(self, chain: Toy, at_s: float) -> float:
        chain.dialed_at.append(at_s)
        return at_s + 10.0

    def ended(self, chain: Toy, at_s: float) -> Until | Fate:
        return Fate.DONE if len(chain.dialed_at) >= chain.calls else Until(at_s + chain.wait_s, Waits.SCHEDULE)

    def shut_until(self, chain: Toy, at_s: float) -> float:
        day_s = at_s // DAY_S * DAY_S
        return max(at_s, day_s + chain.opens_s)

    def zone(self, chain: Toy) -> str:
        return "UTC"

    def dialed(self, chain: Toy) -> bool:
        return bool(chain.dialed_at)


def toy_run(chains: list[Toy], dials_per_hour: float = 3600.0, until_s: float = 10 * DAY_S) -> Course:
    return Loop(chains, ToyRules(), dials_per_hour=dials_per_hour, start_s=0.0, until_s=until_s).run()


def test_given_capacity_is_short_when_run_then_every_turn_dials_and_the_best_go_first():
    chains = [Toy(rank=9 - n) for n in range(10)]

    course = toy_run(chains, dials_per_hour=60.0)

    assert sorted(at for chain in chains for at in chain.dialed_at) == [60.0 * n for n in range(10)]
    assert [chain.dialed_at for chain in chains] == [[60.0 * (9 - n)] for n in range(10)]
    assert course.end_s == 550.0
    assert course.fates == {("UTC", Fate.DONE): 10}


def test_given_windows_and_waits_when_capacity_is_free_then_it_idles_for_what_comes_next():
    course = toy_run([Toy(2, wait_s=7200.0, opens_s=6 * HOUR_S)])

    assert course.idle_s[Waits.HOURS] == 6 * HOUR_S
    assert course.idle_s[Waits.SCHEDULE] == pytest.approx(7200.0)
    assert course.dials_by_hour == {6: 1, 8: 1}
    assert course.end_s == 8 * HOUR_S + 20.0


def test_given_the_run_ends_first_when_chains_are_left_then_it_says_which_were_never_dialed():
    course = toy_run([Toy(2, wait_s=DAY_S), Toy(opens_s=20 * HOUR_S)], until_s=12 * HOUR_S)

    assert course.fates == {("UTC", Fate.WAITING): 1, ("UTC", Fate.UNREACHED): 1}
    assert course.end_s is None
    assert course.share_s(0.5) is None


@settings(deadline=None)
@given(
    st.lists(
        st.builds(Toy, st.integers(1, 4), wait_s=st.floats(0, 2e5), opens_s=st.integers(0, 86_000).map(float)),
        max_size=30,
    ),
    st.floats(0.2, 5000),
    st.floats(1.0, 4 * DAY_S),
)  # fmt: skip
def test_given_any_chains_when_run_then_none_is_lost_dialed_early_or_faster_than_the_pace(chains, pace, until_s):
    course = toy_run(chains, pace, until_s)

    assert course.fates.total() == len(chains)
    dials = sorted(at for chain in chains for at in chain.dialed_at)
    assert len(dials) == course.dials
    assert all(later - earlier >= 3600.0 / pace * (1 - 1e-9) for earlier, later in pairwise(dials))
    assert all(at < until_s and at % DAY_S >= chain.opens_s for chain in chains for at in chain.dialed_at)
    done = sum(len(chain.dialed_at) == chain.calls for chain in chains)
    assert done == course.fates["UTC", Fate.DONE] == len(course.finished_s)
    assert course.left == len(chains) - done


# --- samples ----------------------------------------------------------------------------------------------------------


def record(record_id=1, **changes):
    values = {
        "list_dbid": LIST, "record_id": record_id, "contact_info": f"+1{2_000_000_000 + record_id}",
        "contact_info_type": 0, "record_type": RecordType.GENERAL, "call_result": 28, "attempt": 0,
        "dial_sched_time": None, "call_time": None, "daily_from_s": 32_400, "daily_till_s": 61_200, "tz_dbid": 30,
        "chain_id": record_id, "chain_n": 0,
    }  # fmt: skip
    return CallingRecord(**(values | changes))


def listed(*records: CallingRecord) -> ListedChain:
    return ListedChain(Chain(LIST, records[0].chain_id, records), rank=records[0].record_id)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(50, 300))
def test_given_a_large_list_when_sampled_then_every_stratum_has_its_share_and_one_seed_one_sample(seed, size):
    pick = random.Random(seed)
    chains = [listed(record(n, tz_dbid=pick.choices((30, 31, 32), (90, 9, 1))[0])) for n in range(1, 1501)]
    samples = []
    for _ in range(2):
        sampler = Sampler(size, len(chains), seed)
        for chain in chains:
            sampler.add(chain, str(chain.chain.chain_id))
        samples.append(sampler.sample())

    assert samples[0] == samples[1]
    assert samples[0].part == len(samples[0].chains) / 1500
    whole = Counter(chain.chain.record.tz_dbid for chain in chains)
    taken = Counter(chain.chain.record.tz_dbid for chain in samples[0].chains)
    for zone, count in whole.items():
        # Rounded at random; and the oversample may have been short of a small stratum.
        assert taken[zone] <= size * count / 1500 + 1
    assert taken[30] >= 0.9 * size * whole[30] / 1500 - 1
    assert len({chain.chain.chain_id for chain in samples[0].chains}) == len(samples[0].chains)


def test_given_a_small_list_when_sampled_then_it_is_there_as_a_whole():
    sampler = Sampler(10, 3, 1)
    chains = [listed(record(n)) for n in (1, 2, 3)]
    for chain in chains:
        sampler.add(chain, "the same customer")

    sample = sampler.sample()

    assert sorted(chain.chain.chain_id for chain in sample.chains) == [1, 2, 3]
    assert sample.part == 1.0


def test_given_samples_when_summed_up_then_figures_are_of_the_whole_list_and_the_end_is_later_than_a_samples():
    courses = []
    for number in range(5):
        course = Course(0.0, [float(100 * number + n) for n in range(100)], Counter({0: 100}))
        course.fates["UTC", Fate.DONE] = 100
        courses.append(course)

    told = summary("L", courses, chains=500, part=0.2, until_s=1e6, dials_per_hour=10.0, assumptions=())

    assert told.dials.middle == 500
    assert told.total(Fate.DONE) == 500
    assert told.end_s is not None
    assert told.end_s.low <= told.end_s.middle <= told.end_s.high == 499.0
    assert told.end_s.middle == 499.0


# --- the production rules ---------------------------------------------------------------------------------------------


def rules_for(mix: Mix, past=()):
    config = configuration()
    return ProductionRules(Planner(config, config.campaign_groups[0]), Caps(config), past, mix, 1)


def always(result: CallResult, *, handled: bool = False) -> Mix:
    return Mix((Outcome(int(result), 1.0, handled, 30.0),), "a test")


AT_S = datetime(2026, 3, 3, 16, 0, tzinfo=UTC).timestamp()  # 11:00 in New York


def test_given_a_busy_number_when_dialed_again_then_treatment_and_cap_say_when():
    rules, chain = rules_for(always(CallResult.BUSY)), Running(Chain(LIST, 1, (record(),)), 1, "New York")
    assert rules.gate(chain, AT_S) is None

    first = rules.ended(chain, rules.dial(chain, AT_S))
    assert first == Until(AT_S + 30 + 600, Waits.SCHEDULE)
    assert rules.gate(chain, AT_S + 630) is None
    second = rules.ended(chain, rules.dial(chain, AT_S + 630))

    # Two calls in 24 hours: the third waits for the cap, whatever the treatment says.
    assert isinstance(second, Until)
    held = rules.gate(chain, second.at_s)
    assert held == Until(AT_S + 86_400, Waits.CAPS)
    assert chain.chain.record.attempt == 2
    assert chain.chain.record.record_type is RecordType.CAMPAIGN_RESCHEDULED


def test_given_gates_that_never_open_when_asked_then_the_chain_is_done_with_its_reason():
    rules = rules_for(always(CallResult.BUSY))

    def fate(*records, **more):
        chain = Running(Chain(LIST, 1, records), 1, "New York", **more)
        return rules.gate(chain, AT_S)

    assert fate(record(attempt=6)) == Until(None, fate=Fate.USED_UP)
    assert fate(record(daily_from_s=5, daily_till_s=5)) == Until(None, fate=Fate.NEVER_OPENS)
    assert fate(record(record_type=RecordType.PERSONAL_CALLBACK, agent_id="ada")) == Until(None, fate=Fate.FOR_AGENTS)
    at_nine = datetime(2026, 3, 4, 14, 0, tzinfo=UTC).timestamp()
    assert fate(record(dial_sched_time=int(AT_S) + 40_000)) == Until(at_nine, Waits.SCHEDULE)
    assert rules.gate(Running(Chain(LIST, 1, (record(),)), 1, ""), AT_S + 40_000) == Until(at_nine, Waits.HOURS)


def test_given_a_conversation_when_ended_then_the_chain_is_reached():
    rules = rules_for(always(CallResult.ANSWER, handled=True))
    chain = Running(Chain(LIST, 1, (record(1), record(2, chain_id=1, chain_n=1))), 1, "New York")
    assert rules.gate(chain, AT_S) is None

    assert rules.ended(chain, rules.dial(chain, AT_S)) is Fate.REACHED


def test_given_a_change_when_carried_on_then_rows_are_as_the_store_writes_them():
    chain = Chain(LIST, 1, (record(1), record(2, chain_id=1, chain_n=1)))
    change = ChainChange(
        RecordStatus.READY, RecordType.CAMPAIGN_RESCHEDULED, RecordStatus.READY, RecordType.CAMPAIGN_RESCHEDULED,
        dial_sched_time=77, treatments="3@1@1@1",
    )  # fmt: skip

    after = carried_on(chain, change, 7, 2)

    assert after.record.record_id == 2
    assert [row.attempt for row in after.records] == [1, 0]
    assert [row.call_result for row in after.records] == [7, 28]
    assert {(row.record_type, row.dial_sched_time, row.treatments) for row in after.records} == {
        (RecordType.CAMPAIGN_RESCHEDULED, 77, "3@1@1@1")
    }


# --- mixes and paces --------------------------------------------------------------------------------------------------


def test_given_shares_when_made_a_mix_then_people_go_to_agents_and_durations_are_usual():
    mix = mix_of({CallResult.ANSWER: 20, CallResult.NO_ANSWER: 80, CallResult.BUSY: 0}, 25.0, 180.0, "a test")

    assert [(o.call_result, o.handled, o.lasts_s) for o in mix.outcomes] == [(33, True, 190.0), (7, False, 25.0)]
    assert mix.handled_share == 0.2
    assert pace_of_agents(10, mix, 180.0, 0.9) == pytest.approx(900)
    with pytest.raises(ValueError, match="more than 0"):
        mix_of({CallResult.BUSY: 0.0}, 25.0, 180.0, "")
    with pytest.raises(ValueError, match="no agent ever"):
        pace_of_agents(10, always(CallResult.BUSY), 180.0)


def test_given_attempts_in_the_journal_when_there_are_enough_then_the_mix_is_the_lists_own(database):
    now = datetime(2026, 3, 3, 16, 0, tzinfo=UTC)
    with psycopg.connect(database, autocommit=True) as conn:

        def add(count, result, *, list_dbid=LIST, days=1.0, connected=False, counted=True):
            conn.execute(
                "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id,"
                " campaign_dbid, campaign_group_dbid, phone, leg_id, started_at, finished_at, call_result,"
                " connected_at, counted) SELECT nextval('ocsd.attempt_id'), 'g', 'o', 't', %s, n, n, 1, 1, '+1', 'l',"
                " %s, %s, %s, %s, %s FROM generate_series(1, %s) AS n",
                (
                    list_dbid, now - timedelta(days=days), now - timedelta(days=days, seconds=-20), result,
                    now - timedelta(days=days, seconds=-5) if connected else None, counted, count,
                ),
            )  # fmt: skip

        add(OBSERVED_ENOUGH - 100, 7)
        add(1000, 7, days=31)
        add(1000, 7, list_dbid=LIST + 1)
        add(1000, 7, counted=False)
        assert observed_mix(conn, LIST, now) is None
        add(100, 33, connected=True)
        mix = observed_mix(conn, LIST, now)

    assert mix is not None
    assert mix.outcomes == (Outcome(7, OBSERVED_ENOUGH - 100.0, False, 20.0), Outcome(33, 100.0, True, 20.0))
    assert mix.handled_share == 0.2


# --- a list in PostgreSQL ---------------------------------------------------------------------------------------------


def test_given_a_list_in_postgresql_when_forecast_then_past_calls_do_not_call_and_claims_are_seen(database):
    config = configuration()
    calling_list = config.calling_lists[0]
    noon = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
    dnc = MemoryDoNotCall()
    with psycopg.connect(database, autocommit=True) as conn:
        create_table(conn, config, calling_list)
        conn.execute(
            "INSERT INTO customers (contact_info, tz_dbid, daily_from, daily_till, chain_id, chain_n)"
            " SELECT '+1212555' || (1000 + n), 30, 0, 86400, n, 0 FROM generate_series(1, 10) AS n"
        )
        conn.execute(
            "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id,"
            " campaign_dbid, campaign_group_dbid, phone, leg_id, started_at)"
            " SELECT n, 'g', 'o', 'customers', 301, 1, 1, 401, 501, '+12125551001', 'l', %s"
            " FROM generate_series(1, 2) AS n",
            (noon - timedelta(hours=1),),
        )
        conn.execute("INSERT INTO ocsd.instance (owner, node) VALUES ('other', 'other')")
        conn.execute(
            "INSERT INTO ocsd.claim (table_name, chain_id, list_dbid, campaign_group_dbid, owner, batch, lease_until)"
            " VALUES ('customers', 2, 301, 501, 'other', gen_random_uuid(), now())"
        )
        mix = always(CallResult.ANSWER, handled=True)
        question = Question(600.0, mix, noon, noon + timedelta(days=3), runs=2)
        told = forecast(conn, config, calling_list, dnc, question)
        with pytest.raises(ConfigError, match="no campaign group dials"):
            group_of(config.model_copy(update={"campaigns": ()}), calling_list)

    assert told.chains == 9  # somebody holds the tenth
    assert told.total(Fate.REACHED) == 9
    # The number with two calls an hour ago waits for its cap, 23 hours; the others take nine turns of the pace.
    assert told.end_s is not None
    assert told.end_s.low == told.end_s.high == (noon + timedelta(hours=23, seconds=30)).timestamp()
    assert told.milestones[0.5] is not None
    assert told.milestones[0.5].high < (noon + timedelta(minutes=5)).timestamp()
    assert told.idle_h[Waits.CAPS] > 8
    assert told.idle_h[Waits.HOURS] == pytest.approx(11, abs=0.3)  # legal hours: 21 to 8
    assert set(told.zones) == {"America/New_York"}
    assert not any(told.total(fate) for fate in LEFT)


# --- beside the truth -------------------------------------------------------------------------------------------------


def _within(told, truth, part):
    return abs(told - truth) <= part * truth


async def test_given_a_list_when_forecast_by_a_sample_then_what_then_happens_is_within_a_few_percent():
    truth: Truth = await compare(500, sample=350, days=2.0, runs=3, tick_s=300.0)
    told, happened = truth.forecast, truth.happened

    assert told.part < 1
    assert _within(told.dials.middle, happened.dials, 0.06), report(truth)
    assert _within(told.total(Fate.REACHED), happened.fates[Fate.REACHED], 0.06), report(truth)
    for share in (0.5, 0.9):
        spread = told.milestones[share]
        assert spread is not None
        assert _within(spread.middle - told.start_s, happened.share_s(share) - told.start_s, 0.08), report(truth)
    # Whoever has run out of attempts before is never dialed; nothing else is left.
    assert told.total(Fate.USED_UP) + told.total(Fate.DONE) + told.total(Fate.REACHED) + told.total(
        Fate.FORBIDDEN
    ) == pytest.approx(truth.chains)
    assert happened.left == 0
