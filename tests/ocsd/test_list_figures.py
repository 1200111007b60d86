"""`ocsd list stats`, `preflight` and `why` about one list: three ways of counting that do not contradict each other."""

from collections import Counter
from datetime import timedelta

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocsd.dnc.contract import DncEntry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.dnc.table import request_of, write
from ocsd.explain import readiness as names
from ocsd.explain.contract import Reach
from ocsd.explain.facts import gather
from ocsd.explain.preflight import preflight
from ocsd.explain.why import explain
from ocsd.lists import counting
from ocsd.lists.counting import stats
from ocsd.lists.gates import DIALED_TYPES
from ocsd.model.enums import RecordStatus
from tests.ocsd.test_preflight import FORBIDDEN, LISTS, NOW, ONE_OF_EACH, PERSONAL, PHONES, SHARES, PostgresSide
from tests.ocsd.why_world import was_called

OWNER = "other/1"
CALLED = st.sets(st.sampled_from(tuple(PHONES.values())), max_size=3)

BOTH_TELL = (counting.CLAIMED, counting.NO_AGENT, counting.USED_UP, counting.LATER, counting.NO_ZONE)
"""Asked of a row alone, in the same order, before anything in which the two look at different things."""

HOURS = (
    counting.SHUT_HOURS, counting.CLOSED, names.LEGAL_HOURS, names.BUSINESS_HOURS,
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def compare(side: PostgresSide, lists, forbidden, called, claim_some: bool) -> Counter[str]:
    """Counts of what has been compared."""
    conn, config, dnc = side.conn, side.config, MemoryDoNotCall()
    side.load(lists)
    conn.execute("TRUNCATE gsw_donotcall_list, ocsd.dnc_request")
    entries = [DncEntry(1, *((key, None) if key[0] != "C" else (None, key)), NOW) for key in sorted(forbidden)]
    dnc.hear(entries)
    write(conn, [request_of(entry, NOW) for entry in entries])
    campaign, group = config.campaigns[0].dbid, config.campaign_groups[0].dbid
    for attempt_id, phone in enumerate(sorted(called), 1):
        was_called(conn, attempt_id, NOW - timedelta(hours=1), phone=phone, campaign_dbid=campaign, chain_id=-1)
    if claim_some:
        for list_dbid in SHARES:
            conn.execute(
                "INSERT INTO ocsd.claim VALUES (%s, 1, %s, %s, %s, gen_random_uuid(), now(), now() + '1h')",
                (f"list_{list_dbid}", list_dbid, group, OWNER),
            )
    seen: Counter[str] = Counter()
    for calling_list in config.calling_lists:
        counted = stats(conn, config, calling_list, NOW)
        looked = preflight(conn, config, calling_list, NOW, dnc)
        waiting = {
            record_id: agent_id
            for record_id, kind, agent_id in conn.execute(
                f"SELECT record_id, record_type, agent_id FROM list_{calling_list.dbid} WHERE record_status = %s"
                " AND record_type = ANY(%s)",
                (int(RecordStatus.READY), [int(kind) for kind in DIALED_TYPES]),
            )
        }
        open_rows = []
        for record_id in waiting:
            facts = gather(conn, config, calling_list, record_id, NOW)
            gates = explain(facts, None).gates
            if all(gate.passed is True for gate in gates if gate.reach is Reach.RECORD):
                open_rows.append(facts.record)

        # rows
        assert looked.rows == sum(counted.by_status_and_type.values())
        assert looked.rows == looked.ready_rows + sum(looked.held_back.values())
        ready_types = [(int(RecordStatus.READY), int(kind)) for kind in DIALED_TYPES]
        assert len(waiting) == sum(counted.by_status_and_type.get(key, 0) for key in ready_types)
        for reason in BOTH_TELL:
            assert looked.held_back.get(reason, 0) == counted.held_back.get(reason, 0), reason
        hours = [sum(found.get(reason, 0) for reason in HOURS) for found in (looked.held_back, counted.held_back)]
        assert hours[0] == hours[1]
        if not forbidden:  # a claim ends the waiting for a record that nobody may call: preflight knows which those are
            assert looked.held_back.get(counting.WAITING, 0) >= counted.held_back.get(counting.WAITING, 0)

        # chains
        taken = [record for record in open_rows if record.record_type not in PERSONAL or record.agent_id]
        for_agents = sum(record.record_type in PERSONAL for record in taken)
        assert len({record.chain_id for record in open_rows}) == len(open_rows)
        assert (looked.ready_now, looked.for_agents) == (len(taken) - for_agents, for_agents)
        assert looked.ready_now <= counted.ready_in_window <= counted.ready_chains
        assert len(taken) <= looked.ready_rows
        seen.update({"rows": looked.rows, "dialed": looked.ready_now, "delivered": for_agents})
        seen.update(looked.held_back)
    return seen


@pytest.fixture
def side(database):
    side = PostgresSide(database)
    side.conn.execute("INSERT INTO ocsd.instance (owner, node) VALUES (%s, 'other')", (OWNER,))
    yield side
    side.conn.close()


@given(LISTS, FORBIDDEN, CALLED, st.booleans())
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_given_any_list_when_counted_in_three_ways_then_none_contradicts_another(
    side, lists, forbidden, called, claim_some
):
    compare(side, lists, forbidden, called, claim_some)


def test_given_a_list_with_one_of_each_when_counted_in_three_ways_then_each_has_been_compared(side):
    seen = compare(side, ONE_OF_EACH, {PHONES["one more"], "C1"}, {PHONES["another"]}, True)

    for figure in ("rows", "dialed", *BOTH_TELL, names.CAPPED, names.FORBIDDEN_NUMBER, names.FORBIDDEN_CUSTOMER):
        assert seen[figure] > 0, figure
