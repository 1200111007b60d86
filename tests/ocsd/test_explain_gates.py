"""The gates of an explanation, by hand and at random: what they say is what production does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsd.config.objects import Application
from ocsd.dnc.index import NEVER_ENDS
from ocsd.dnc.lookup import Found
from ocsd.explain.choice import choice
from ocsd.explain.contract import Reach
from ocsd.explain.facts import Claim, PastAttempt, PastDecision
from ocsd.explain.live import LastDecision, Live, LiveGroup, Place, TrunkFacts, Whereabouts
from ocsd.explain.walk import next_opening
from ocsd.explain.why import explain, explain_group
from ocsd.lists.gates import DIALED_TYPES, STATUS_TYPES
from ocsd.model.enums import DialMode, GroupCampStatus, RecordStatus, RecordType
from ocsd.sessions.planner import Planner
from tests.ocsd.why_world import (
    CAMPAIGN,
    GROUP,
    HOUR,
    IDLE_LIST,
    LIST,
    LOS_ANGELES,
    NEW_YORK,
    NOON,
    PLAIN_LIST,
    call,
    configuration,
    facts,
    row,
)

S = int(NOON.timestamp())
OWNER = "node/1"
RUNNING = LiveGroup(
    GROUP,
    "Reminders@Agents",
    GroupCampStatus.RUNNING,
    DialMode.PREDICTIVE,
    agents={"ada": "ready", "bob": "logged_out"},
    trunks=(TrunkFacts("carrier", 3, 30),),
    ports_free=7,
    starts_allowed=5,
    in_progress=2,
    buffered=4,
    buffered_by_list={LIST: 4},
    decision=LastDecision(1, "risk"),
    shares={LIST: 7, PLAIN_LIST: 3},
    priorities={RecordType.GENERAL: 1},
)


def live(group=RUNNING, where=None):
    return Live(OWNER, {GROUP: group}, where)


def claim(owner=OWNER, **changes):
    values = {
        "owner": owner, "node": "node", "list_dbid": LIST, "campaign_group_dbid": GROUP, "claimed_at": NOON,
        "lease_until": NOON + timedelta(minutes=1),
    }  # fmt: skip
    return Claim(**(values | changes))


def entry(expires_at=None, **changes):
    values = {"registry": None, "tenant_dbid": None, "since": NOON - timedelta(days=1), "in_force": True}
    return Found(**(values | changes), expires_at=expires_at)


def closed(explanation, reach=Reach.RECORD):
    return [gate.gate for gate in explanation.gates if gate.passed is False and gate.reach is reach]


def gate_of(explanation, name):
    return next(gate for gate in explanation.gates if gate.gate == name)


def test_given_nothing_in_the_way_when_asked_then_every_gate_is_told_and_open():
    explanation = explain(facts(), live())

    assert [gate.gate for gate in explanation.gates] == [
        "row", "status", "type", "claim", "open_attempt", "filter", "attempts", "schedule", "time_zone", "window",
        "legal_hours", "business_hours", "do_not_call", "do_not_call", "attempt_cap", "attempt_cap", "chain",
        "validation", "campaign", "loaded", "running", "agents", "lines", "pacing", "turn",
    ]  # fmt: skip
    assert [gate.passed for gate in explanation.gates] == [True] * len(explanation.gates)
    assert all(gate.why and not gate.remedy for gate in explanation.gates)
    assert (explanation.dialed_now, explanation.next_at) == (True, None)
    assert explanation.summary == "every gate is open: it is dialed in its turn"


@pytest.mark.parametrize(
    ("rows", "changes", "gates"),
    [
        ([row(3)], {}, ["status"]),
        ([row(4)], {}, ["status"]),
        ([row(2)], {}, ["status"]),
        ([row(record_type=RecordType.NO_CALL, status=3)], {}, ["status", "type"]),
        ([row(record_type=RecordType.UNKNOWN)], {}, ["status", "type"]),
        ([row(admitted=False)], {"criteria": "segment = 'overdue'"}, ["filter"]),
        ([row(admitted=None)], {"filter_problem": "no such column"}, ["filter"]),
        ([row(attempt=3)], {}, ["attempts"]),
        ([row(dial_sched_time=S + 60)], {}, ["schedule"]),
        ([row(tz_dbid=99, list_dbid=PLAIN_LIST)], {}, ["time_zone"]),
        ([row(daily_from_s=13 * HOUR)], {}, ["window"]),
        ([row(daily_from_s=10 * HOUR, contact_info="+12135550101")], {}, ["number_zone"]),
        ([row(daily_from_s=0, tz_dbid=LOS_ANGELES)], {"at": NOON - timedelta(hours=2)},
         ["legal_hours", "business_hours"]),
        ([row(daily_till_s=0, daily_from_s=1)], {"at": NOON + timedelta(hours=8, minutes=30)}, ["business_hours"]),
        ([row(forbidden=(("phone", entry()),))], {}, ["do_not_call"]),
        ([row(forbidden=(("customer_id", entry()),))], {}, ["do_not_call"]),
        ([row()], {"calls": (call(NOON - timedelta(minutes=9)), call(NOON - timedelta(minutes=5)))}, ["attempt_cap"]),
        ([row(chain_n=1, record_id=2), row()], {}, ["chain"]),
        ([row(record_type=RecordType.CAMPAIGN_RESCHEDULED, treatments="7@1@1@1"),
          row(record_type=RecordType.CAMPAIGN_RESCHEDULED, chain_n=1, record_id=2, dial_sched_time=S + 60)],
         {}, ["chain"]),
    ],
)  # fmt: skip
def test_given_one_refusal_when_asked_then_that_gate_is_closed_and_says_what_to_do(rows, changes, gates):
    explanation = explain(facts(*rows, **changes), live())

    assert closed(explanation) == gates
    assert not explanation.dialed_now
    assert all(gate.remedy for gate in explanation.gates if gate.passed is False)
    assert next(gate.why for gate in explanation.gates if gate.passed is False) in explanation.summary


def test_given_every_status_and_type_of_the_manual_when_asked_then_only_ready_ones_that_are_dialed_are_open():
    for status in [*RecordStatus, 77]:
        for kind in RecordType:
            explanation = explain(facts(row(int(status), record_type=kind)), None)
            is_open = not {"status", "type"} & set(closed(explanation))
            assert is_open == (status == RecordStatus.READY and kind in DIALED_TYPES)
            wrong = "do not go together" in gate_of(explanation, "status").why
            assert wrong == (kind not in STATUS_TYPES.get(int(status), frozenset()))


def test_given_several_closed_gates_when_asked_then_the_summary_says_when_all_are_open_and_where():
    on_saturday = datetime(2026, 3, 7, 17, 0, tzinfo=UTC)

    explanation = explain(facts(row(dial_sched_time=int(on_saturday.timestamp()) + 60), at=on_saturday), None)

    assert closed(explanation) == ["schedule", "business_hours"]
    assert explanation.next_at == datetime(2026, 3, 9, 13, 0, tzinfo=UTC)
    assert explanation.summary.startswith(
        "not before Mon 2026-03-09 09:00 in America/New_York (13:00 UTC): "
        "Saturday 12:00 in America/New_York is outside the list's business hours, no time at all (WEND)"
    )


WHERE = {
    Place.BUFFER: (Whereabouts(Place.BUFFER, 1, queue_place=3), True, "place 3 of its list"),
    Place.HELD: (Whereabouts(Place.HELD, until=NOON + timedelta(minutes=4)), False, "held in memory"),
    Place.VALIDATING: (Whereabouts(Place.VALIDATING, 1, queue_place=3, state="being asked"), False, "yet: being asked"),
    Place.SIFTING: (Whereabouts(Place.SIFTING), False, "gates are being asked"),
    Place.ATTEMPT: (Whereabouts(Place.ATTEMPT, 1, guid="abc", state="ALERTING"), False, "attempt abc, alerting"),
    Place.DESKTOP: (Whereabouts(Place.DESKTOP, 1, agent_id="ada"), False, "desktop of agent ada"),
    Place.ELSEWHERE: (Whereabouts(Place.ELSEWHERE), None, "on its way"),
}


@pytest.mark.parametrize("place", Place)
def test_given_a_chain_of_this_daemon_when_asked_then_it_says_where_it_is(place):
    where, passed, said = WHERE[place]

    explanation = explain(facts(row(2), claim=claim()), live(where=where))

    gate = gate_of(explanation, "claim")
    assert (gate.passed, said in gate.why) == (passed, True)
    assert explanation.dialed_now is (passed is True)
    assert explanation.next_at == (where.until if place is Place.HELD else None)


def test_given_a_claim_of_another_daemon_when_asked_then_nobody_but_that_daemon_can_tell_more():
    elsewhere = facts(row(2), claim=claim("other/2"))
    gone = facts(row(2), claim=claim("other/2", lease_until=NOON - timedelta(minutes=1)))

    assert gate_of(explain(elsewhere, live()), "claim").passed is False
    assert gate_of(explain(elsewhere, None), "claim").passed is None
    assert "which is gone" in gate_of(explain(gone, None), "claim").why


def test_given_an_attempt_without_a_result_when_asked_then_the_chain_waits_for_it():
    attempt = PastAttempt(9, "abc", 2, OWNER, NOON, None, None, None, None)

    explanation = explain(facts(row(2), claim=claim(), open_attempts=(attempt,)), None)

    assert closed(explanation) == ["open_attempt"]
    assert "record 2's attempt abc" in explanation.summary


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"GSW_BLOCKING_RULE": "FL state", "GSW_BLOCKING_RULE_TYPE": 2}, ', rule "FL state" (type 2): refused by it'),
        ({"GSW_BLOCKING_RULE": 7}, ', rule "7": refused by it'),
        ({"GSW_BLOCKING_RULE_TYPE": "law"}, ", (type law): refused by it"),
        ({}, ": refused by it"),
    ],
)
@pytest.mark.parametrize("still_asked", [True, False])
def test_given_a_refused_validation_when_asked_then_rule_type_and_time_are_told_whatever_came_later(
    evidence, said, still_asked
):
    kept = {"validator": "https://rules.example.net", **evidence}
    refused = PastDecision(1, NOON - timedelta(minutes=5), "refused by it", kept)
    missed = PastDecision(1, NOON, "callback missed")
    options = {"pre-dial-validation": still_asked, "validation-uri": "https://rules.example.net/"}
    config = configuration(application=Application(options=options if still_asked else {}))

    gate = gate_of(explain(facts(config=config, decision=missed, refused=refused), None), "validation")

    assert gate.passed is True
    assert gate.why.endswith(f"; last refusal, 2026-03-03 16:55 UTC{said}")
    assert ("right before the dial" in gate.why) == still_asked
    assert gate.inputs["last_refusal"] == {"at": refused.decided_at, "because": "refused by it", **kept}


def test_given_what_came_of_the_record_before_when_asked_then_the_last_result_and_decision_are_told():
    attempt = PastAttempt(9, "abc", 1, OWNER, NOON, NOON + timedelta(seconds=20), 7, None, "again in 10 min")
    earlier, later = (PastDecision(1, NOON + timedelta(seconds=s), "attempt cap") for s in (-60, 60))

    after_call = gate_of(explain(facts(attempts=(attempt,), decision=earlier), None), "attempts")
    after_decision = gate_of(explain(facts(attempts=(attempt,), decision=later), None), "attempts")

    assert "last result, 2026-03-03 17:00 UTC: No Answer (7) (again in 10 min)" in after_call.why
    assert "last decision, 2026-03-03 17:01 UTC: attempt cap" in after_decision.why
    assert after_call.inputs["last_attempts"][0]["call_result"] == 7


def test_given_a_personal_callback_when_asked_then_it_waits_for_its_agents_desktop_not_for_lines():
    callback = row(record_type=RecordType.PERSONAL_CALLBACK, agent_id="ada", treatments="0@0@0@1")

    explanation = explain(facts(callback), live())

    assert "goes to the desktop of agent ada" in gate_of(explanation, "type").why
    assert {"lines", "pacing"} & {gate.gate for gate in explanation.gates} == set()
    assert explanation.dialed_now
    away = live(
        LiveGroup(GROUP, "Reminders@Agents", GroupCampStatus.RUNNING, DialMode.PREDICTIVE, agents={"bob": "ready"})
    )
    assert closed(explain(facts(callback), away), Reach.GROUP) == ["agents"]


GROUPS = [
    (LiveGroup(GROUP, "G"), ["loaded", "running", "agents", "pacing"]),
    ({"status": GroupCampStatus.ACTIVE}, ["running"]),
    ({"status": GroupCampStatus.WAITING_UNLOAD}, ["loaded", "running"]),
    ({"stopping": True}, ["running"]),
    ({"agents": {"ada": "not_ready"}}, ["agents"]),
    ({"agents": {}}, ["agents"]),
    ({"queue_places": 0}, ["agents"]),
    ({"ports_free": 0}, ["lines"]),
    ({"starts_allowed": 0}, ["lines"]),
    ({"decision": None}, ["pacing"]),
    ({"decision": LastDecision(0, "records"), "in_progress": 0}, ["pacing"]),
]


@pytest.mark.parametrize(("group", "gates"), GROUPS)
def test_given_a_group_that_does_not_dial_when_asked_then_it_is_the_group(group, gates):
    if isinstance(group, dict):
        names = LiveGroup.__dataclass_fields__
        group = LiveGroup(**({name: getattr(RUNNING, name) for name in names} | group))

    explanation = explain(facts(), live(group))
    of_group = explain_group(configuration(), configuration().campaign_groups[0], live(group), NOON)

    assert closed(explanation, Reach.GROUP) == gates
    assert "nothing holds the record back, but its group does" in explanation.summary
    assert explanation.next_at is None
    assert not explanation.dialed_now
    assert not of_group.dials_now
    assert [gate.gate for gate in of_group.gates if gate.passed is False and gate.gate != "records"] == gates


def test_given_no_daemon_when_asked_then_the_groups_gates_are_unknown_and_say_how_to_find_out():
    explanation = explain(facts(), None)

    unknown = [gate for gate in explanation.gates if gate.passed is None]
    assert [gate.gate for gate in unknown] == ["loaded", "running", "agents", "lines", "pacing"]
    assert all("--url" in gate.remedy for gate in unknown)
    assert not explanation.dialed_now
    assert explain_group(configuration(), configuration().campaign_groups[0], None, NOON).dials_now is None


def test_given_a_list_that_no_campaign_dials_when_asked_then_that_is_why():
    idle = explain(facts(row(list_dbid=IDLE_LIST)), live())
    config = configuration()
    off = config.campaigns[0].lists[0].model_copy(update={"active": False})
    inactive = configuration(campaigns=(config.campaigns[0].model_copy(update={"lists": (off,)}),))

    assert closed(idle, Reach.GROUP) == ["campaign"]
    assert "list Idle is in no campaign" in idle.summary
    assert "is not active in campaign Reminders" in explain(facts(config=inactive), live()).summary


# --- at random --------------------------------------------------------------------------------------------------------

PLANNER = Planner(configuration(), configuration().campaign_groups[0])
instants = st.integers(S - 40 * 86_400, S + 40 * 86_400).map(lambda s: datetime.fromtimestamp(s, UTC))


@st.composite
def worlds(draw):
    """A chain of one record under every rule that time alone may change."""
    at = draw(instants)
    ago = draw(st.lists(st.integers(-7200, 90_000), max_size=6, unique=True))
    number = draw(st.sampled_from(["+12125550101", "+12135550101", "+442071838750", "+18005550101"]))
    calls = tuple(call(at - timedelta(seconds=s), number, draw(st.sampled_from(["C-1", "C-2", None]))) for s in ago)
    ends = st.one_of(st.none(), st.integers(-90_000, 400_000).map(lambda s: at + timedelta(seconds=s)))
    forbidden = tuple(
        (kind, entry(end))
        for kind, end in draw(st.lists(st.tuples(st.sampled_from(["phone", "customer_id"]), ends), max_size=2))
    )
    windows = st.sampled_from([(8, 21), (0, 24), (22, 6), (9, 11), (12, 12), (13, 14)])
    begins, ends_at = draw(windows)
    return facts(
        row(
            contact_info=number,
            record_type=draw(st.sampled_from([RecordType.GENERAL, RecordType.CAMPAIGN_CALLBACK])),
            attempt=draw(st.sampled_from([0, 0, 2, 3])),
            dial_sched_time=draw(
                st.one_of(st.none(), st.integers(-90_000, 400_000).map(lambda s: int(at.timestamp()) + s))
            ),
            daily_from_s=begins * HOUR,
            daily_till_s=ends_at * HOUR,
            tz_dbid=draw(st.sampled_from([NEW_YORK, LOS_ANGELES, 13, 99])),
            forbidden=forbidden,
        ),
        at=at,
        calls=calls,
    )


def lets_pass(world, at):
    """What production asks of a claimed record before it dials."""
    record = world.record
    asked = world.caps.call(record, CAMPAIGN, at)
    until = max((e.expires_at.timestamp() if e.expires_at else NEVER_ENDS for _, e in world.row.forbidden), default=0)
    return PLANNER.refusal(record, at) is None and world.history.refusal(asked) is None and until <= at.timestamp()


@given(worlds(), st.lists(st.floats(0, 1, exclude_max=True), max_size=8))
@settings(max_examples=400, deadline=None)
def test_given_any_record_when_it_will_be_open_then_it_is_so_then_and_not_a_moment_before(world, shares):
    found = next_opening(world)

    explanation = explain(world, None)
    assert (not closed(explanation)) == lets_pass(world, world.at) == (found == world.at)
    if found is None:
        later = [world.at + timedelta(days=399 * share) for share in shares]
        assert not any(lets_pass(world, at) for at in later)
        return
    assert lets_pass(world, found)
    assert choice(world, found).chosen == world.record.record_id
    span = found - world.at
    if span:
        assert explanation.next_at == found
        last = found - timedelta(milliseconds=1)
        before = [world.at, last, *(min(last, world.at + span * share) for share in shares)]
        assert not any(lets_pass(world, at) for at in before)


@pytest.mark.parametrize(("places", "gates"), [(3, []), (0, ["agents"])])
def test_given_a_queue_of_another_switch_when_asked_about_agents_then_its_places_count(places, gates):
    group = replace(RUNNING, agents={}, queue_places=places)
    assert closed(explain(facts(), live(group)), Reach.GROUP) == gates


def test_given_trunks_that_take_no_calls_when_asked_then_each_says_why_and_one_that_does_is_enough():
    dead = TrunkFacts("carrier", 0, 30, "503 Service Unavailable")
    none = explain(facts(row()), live(replace(RUNNING, trunks=(dead,), ports_free=0)))
    one = explain(facts(row()), live(replace(RUNNING, trunks=(dead, TrunkFacts("second", 3, 30)))))

    assert gate_of(none, "lines").passed is False
    assert gate_of(none, "lines").why == "no trunk takes calls: carrier 503 Service Unavailable"
    assert gate_of(one, "lines").passed
