"""Pre-dial validation in sessions, in virtual time: who is asked when, and what becomes of records meanwhile."""

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from ocsd.config.objects import FormatField
from ocsd.lists.memory import MemoryListStore
from ocsd.model.enums import CallResult, DialMode, GroupCampStatus, RecordStatus, RecordType
from ocsd.model.records import CallingRecord, ChainSettlement, Selector, Withdrawal
from ocsd.model.services import CampaignRequest
from ocsd.protocols.desktop import RequestAgentReady
from ocsd.sessions.prevalidation import AHEAD_S, changed_columns
from ocsd.sessions.roster import AgentState
from ocsd.validation import SILENT, Answer, Breaker, Question
from telephony.fake import CallScript
from tests.ocsd.desk_world import Daemon, World, number, world

R, T = RecordStatus, RecordType
URI = "https://rules.example.net/may-dial?token=secret"
LIST = 142
ON = ("pre-dial-validation = true", f'validation-uri = "{URI}"')
BUSY = CallScript(status=486, ring_s=0.5)
CLEARED = Answer(200)


def refusal(**pairs: Any) -> Answer:
    return Answer(409, json.dumps(pairs).encode())


SILENCE = Answer(error="no answer within 5 s")


@dataclass
class FakeValidator:
    """
    Attributes:
        answers: by phone number; others get ``otherwise``.
        delay_s: how long an answer takes; inf: until `release`.
    """

    otherwise: Answer = CLEARED
    delay_s: float = 0.2
    pool_size: int = 20
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)
    cleared_at_s: dict[str, float] = field(default_factory=dict)
    most_at_once: int = 0
    _under_way: int = 0
    _breaker: Breaker = field(default_factory=Breaker)
    released: trio.Event = field(default_factory=trio.Event)

    def away(self, uri: str) -> bool:
        return self._breaker.away(uri)

    def may_ask(self, uri: str) -> bool:
        return self._breaker.may_ask(uri, trio.current_time())

    async def ask(self, question: Question) -> Answer:
        if not self._breaker.admit(question.uri, trio.current_time()):
            return Answer(error="not asked", spared=True)
        self.asked.append(question)
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            if math.isinf(self.delay_s):
                await self.released.wait()
            else:
                await trio.sleep(self.delay_s)
        except trio.Cancelled:
            self._breaker.unasked(question.uri)
            raise
        finally:
            self._under_way -= 1
        phone = str(question.properties["GSW_PHONE"])
        answer = self.answers.get(phone, self.otherwise)
        if answer.status not in (200, 409):
            spared = self._breaker.unanswered(question.uri, trio.current_time())
            return Answer(answer.status, answer.body, answer.error, spared)
        self._breaker.answered(question.uri)
        if answer.status == 200:
            self.cleared_at_s[phone] = trio.current_time()
        return answer

    def phones(self) -> list[str]:
        return [str(question.properties["GSW_PHONE"]) for question in self.asked]


@dataclass
class Site:
    """A world whose INVITEs are held against the answers at the moment at which they leave."""

    world: World
    validator: FakeValidator
    lifetime_s: float = 30.0
    dialed_at_s: dict[str, float] = field(default_factory=dict)
    unvalidated: list[str] = field(default_factory=list)


def watched(w: World, validator: FakeValidator, lifetime_s: float = 30.0) -> Site:
    site = Site(w, validator, lifetime_s)
    w.validator = validator
    script = w.telephony._script

    def placed(command):
        if "-customer" in command.leg_id:
            phone = command.uri.removeprefix("sip:").partition("@")[0]
            site.dialed_at_s[phone] = trio.current_time()
            if trio.current_time() - validator.cleared_at_s.get(phone, -math.inf) > lifetime_s:
                site.unvalidated.append(phone)
        return script(command)

    w.telephony._script = placed
    return site


def busy(count: int) -> dict[str, CallScript]:
    return {number(record_id): BUSY for record_id in range(1, count + 1)}


def add(w: World, count: int, **columns: Any) -> None:
    for record_id in range(1, count + 1):
        w.add(record_id, **columns)


def final(w: World) -> Counter[tuple[str, int]]:
    rows = w.database.rows(LIST).values()
    return Counter((row.record_status.name, int(row.record.call_result)) for row in rows)


async def unload(daemon: Daemon) -> None:
    await daemon.request(CampaignRequest.COMPLETE)
    await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)


# --- verdicts -------------------------------------------------------------------------------------------------------


async def test_given_a_cleared_record_when_dialed_then_it_was_asked_about_before_with_its_properties(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(1), options=ON) as w:
        site = watched(w, FakeValidator())
        w.add(1, customer_no="A-7")
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until(lambda: w.state(1)[0] is R.UPDATED)
            assert w.dialed() == [number(1)]
            assert site.unvalidated == []
            (question,) = site.validator.asked
            asked = question.properties
            assert (question.uri, question.limit_s) == (URI, 5.0)
            assert asked["GSW_CALLING_LIST"] == "Demo List"
            assert asked["GSW_CAMPAIGN_NAME"] == "Demo"
            assert asked["GSW_TENANT_NAME"] == "Environment"
            assert asked["GSW_APPLICATION_ID"] == 101
            assert asked["GSW_ATTEMPTS"] == 0
            assert asked["GSW_TZ_OFFSET"] == -5 * 3600
            assert asked["CUSTOMER_NO"] == "A-7"
            assert not {"GSW_RECORD_HANDLE", "GSW_RECORD_URI", "GSW_CALL_ATTEMPT_GUID"} & asked.keys()
            json.dumps(dict(asked), allow_nan=False)


@pytest.mark.parametrize(
    ("answer", "result", "evidence"),
    [
        (Answer(409), 52, {}),
        (refusal(GSW_CALL_RESULT=51), 51, {}),
        (
            refusal(GSW_CALL_RESULT=28, GSW_BLOCKING_RULE="FL", GSW_BLOCKING_RULE_TYPE=4),
            28,
            {"GSW_BLOCKING_RULE": "FL", "GSW_BLOCKING_RULE_TYPE": 4},
        ),
        (Answer(409, b"garbage"), 52, {}),
        (Answer(409, None), 52, {}),
        (Answer(500), 3, {}),
        (Answer(307), 3, {}),
        (SILENCE, 3, {}),
    ],
)
async def test_given_a_refusal_or_silence_when_asked_then_the_record_has_the_result_and_was_not_dialed(
    autojump_clock, tmp_path, answer, result, evidence
):
    async with world(tmp_path, busy(1), options=ON) as w:
        watched(w, FakeValidator(otherwise=answer))
        add(w, 1)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until(lambda: w.state(1)[0] is R.UPDATED)
            await trio.sleep(60.0)
            assert w.state(1) == (R.UPDATED, T.GENERAL, result)
            assert (w.row(1).record.attempt, w.dialed(), w.database.attempts) == (0, [], {})
            (decision,) = w.database.journal.decisions
            assert decision.settlement.evidence == {"validator": "https://rules.example.net"} | evidence
            assert decision.settlement.because.startswith("pre-dial validation: ")
            assert "secret" not in repr(decision)
            assert w.database.claims == {}
            assert daemon.session.supply.in_memory() == []


async def test_given_options_of_the_list_when_refused_or_unanswered_then_their_results_are_given(
    autojump_clock, tmp_path
):
    options = "options = { validation-refusal-call-result = 44, validation-timeout-call-result = 41 }"
    async with world(tmp_path, options=ON, list_lines=[options]) as w:
        watched(w, FakeValidator(answers={number(1): Answer(409), number(2): SILENCE}))
        add(w, 2)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until(lambda: final(w) == {("UPDATED", 44): 1, ("UPDATED", 41): 1})


REDIAL = """
[[treatments]]
dbid = 301
name = "Again soon"
call_result = 44
record_action = 4
interval = "0:00:02"
number = 1
"""


async def test_given_a_treatment_of_the_result_when_refused_then_it_is_applied_and_the_record_is_asked_about_again(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(1), options=ON, list_lines=['treatments = ["Again soon"]'], more=REDIAL) as w:
        validator = FakeValidator(answers={number(1): refusal(GSW_CALL_RESULT=44)})
        site = watched(w, validator)
        add(w, 1)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until(lambda: w.row(1).record.treatments)
            assert w.state(1) == (R.RETRIEVED, T.CAMPAIGN_RESCHEDULED, 44)  # held in memory: two minutes are soon
            assert (w.row(1).record.attempt, w.dialed()) == (0, [])
            validator.answers.clear()
            await daemon.until(lambda: w.dialed() == [number(1)])
            assert len(validator.asked) == 2
            assert site.unvalidated == []
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.row(1).record.attempt == 1


async def test_given_changed_fields_when_refused_then_good_ones_are_written_and_others_are_not(
    autojump_clock, tmp_path
):
    async with world(tmp_path, options=ON) as w:
        answer = refusal(
            GSW_CALL_RESULT=51,
            CUSTOMER_NO="new",
            GSW_UNTIL=72_000,
            GSW_PHONE_TYPE="x",
            unheard_of=1,
            GSW_PHONE=number(1),
        )
        watched(w, FakeValidator(otherwise=answer))
        w.add(1, customer_no="old", daily_from=3600)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until(lambda: w.state(1)[0] is R.UPDATED)
            row = w.row(1).record
            assert row.user_fields["customer_no"] == "new"
            assert (row.daily_from_s, row.daily_till_s) == (3600, 72_000)
            assert (row.contact_info_type, row.contact_info, row.call_result) == (0, number(1), 51)


@pytest.mark.parametrize(("phone", "becomes"), [("(212) 555-7777", "+12125557777"), ("anonymous", None)])
async def test_given_another_number_when_refused_then_rows_hold_it_as_do_not_call_reads_it_or_keep_their_own(
    autojump_clock, tmp_path, phone, becomes
):
    async with world(tmp_path, options=ON) as w:
        watched(w, FakeValidator(otherwise=refusal(GSW_PHONE=phone)))
        w.add(1)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until(lambda: w.state(1)[0] is R.UPDATED)
            assert w.row(1).record.contact_info == (becomes or number(1))


async def test_given_a_refusal_that_cannot_be_written_when_asked_then_the_groups_conversations_go_on(
    autojump_clock, tmp_path, monkeypatch
):
    async def fails(self: MemoryListStore, settlement: ChainSettlement) -> bool:
        raise ValueError("no column takes it")

    async with world(tmp_path, options=ON, agents=2) as w:
        site = watched(w, FakeValidator())
        w.add(1)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until_talking("agent1")
            monkeypatch.setattr(MemoryListStore, "settle_chain", fails)
            site.validator.otherwise = refusal()
            w.add(2)
            await daemon.until(lambda: number(2) in site.validator.phones())
            await trio.sleep(5.0)
            assert daemon.status is GroupCampStatus.RUNNING
            assert daemon.campaigns.seats["agent1"].state is AgentState.TALKING


FIELDS = (FormatField(name="code", type="int", send_attribute="CODE"),)
RECORD = CallingRecord(1, 1, "+12125552001", 1, T.GENERAL, 28, 0, None, None, 28_800, 64_800, 0, 1, 0)


@pytest.mark.parametrize(
    ("pairs", "columns", "wrong"),
    [
        ({}, {}, []),
        ({"CODE": 7}, {"code": 7}, []),
        ({"CODE": "x"}, {}, ["CODE"]),
        ({"CODE": 7, "GSW_PHONE": 5}, {"code": 7}, ["GSW_PHONE"]),
        ({"GSW_FROM": 70_000}, {}, ["GSW_FROM"]),
        ({"GSW_FROM": 70_000, "GSW_UNTIL": 72_000}, {"daily_from": 70_000, "daily_till": 72_000}, []),
        ({"GSW_FROM": 9, "GSW_UNTIL": 8}, {}, ["GSW_FROM", "GSW_UNTIL"]),
        ({"GSW_CHAIN_ID": 77, "GSW_NOT_KNOWN": 1}, {}, ["GSW_NOT_KNOWN"]),
        ({"GSW_CALLING_LIST": "L"}, {}, []),  # as it was sent
        ({"GSW_CALLING_LIST": "M"}, {}, ["GSW_CALLING_LIST"]),
    ],
)
def test_given_pairs_of_an_answer_when_checked_then_changes_are_columns_and_the_rest_is_named(pairs, columns, wrong):
    found: Mapping[str, object]
    found, refused = changed_columns(pairs, {"GSW_CALLING_LIST": "L"}, FIELDS, RECORD)

    assert (found, refused) == (columns, wrong)


# --- asking ahead -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validated", [True, False])
async def test_given_a_call_when_it_rings_then_its_processing_began_with_the_question_or_else_with_the_attempt(
    autojump_clock, tmp_path, validated
):
    talk = {number(1): CallScript(ring_s=9.0, talk_s=6.0, verdict_s=0.5)}
    async with world(tmp_path, talk, options=ON if validated else ()) as w:
        site = watched(w, FakeValidator(delay_s=4.0))
        w.add(1)
        async with w.daemon() as daemon:
            desktop = await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until_talking("agent1")
            data = desktop.last("EventEstablished")["UserData"]
            (attempt,) = w.database.attempts.values()
            began, dialing = data["GSW_START_PROCESSING"], int(attempt.open.started_at.timestamp())
            if validated:
                (question,) = site.validator.asked
                assert question.properties["GSW_START_PROCESSING"] == began
                assert dialing - began in (4, 5)  # whole seconds of both
            else:
                assert began == dialing
            assert data["GSW_DIALING"] - dialing in (0, 1)


async def test_given_a_slow_validator_when_an_agent_comes_free_then_dialing_does_not_wait_for_it(
    autojump_clock, tmp_path
):
    talk = {number(record_id): CallScript(ring_s=1.0, talk_s=6.0, verdict_s=0.5) for record_id in range(1, 13)}
    async with world(tmp_path, talk, options=ON) as w:
        site = watched(w, FakeValidator(delay_s=2.0))
        add(w, 12)
        async with w.daemon() as daemon:
            desktop = await daemon.log_in("agent1")
            await daemon.start()
            waits = []
            for nth in range(1, 7):
                await daemon.until(lambda nth=nth: len(w.dialed()) == nth)
                await daemon.until(lambda: daemon.campaigns.seats["agent1"].state is AgentState.WRAP_UP)
                handle = desktop.last("EventEstablished")["UserData"]["GSW_RECORD_HANDLE"]
                await desktop.about("RecordProcessed", handle)
                await desktop.ask(Request="RequestAgentReady")
                ready_s = trio.current_time()
                await daemon.until(lambda nth=nth: len(w.dialed()) == nth + 1)
                waits.append(max(site.dialed_at_s.values()) - ready_s)
            assert max(waits) < 0.5  # virtual seconds; an answer takes two
            assert site.unvalidated == []


async def test_given_many_records_when_dialing_then_only_the_next_ones_are_asked_about_and_no_more_than_the_pool(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(60), options=ON, agents=3) as w:
        site = watched(w, FakeValidator(delay_s=0.5, pool_size=4))
        add(w, 60)
        async with w.daemon() as daemon:
            for agent in ("agent1", "agent2", "agent3"):
                await daemon.log_in(agent)
            await daemon.start()
            ahead = 0
            while final(w)[("UPDATED", CallResult.BUSY)] < 60:
                await trio.sleep(0.1)
                ahead = max(ahead, len(site.validator.cleared_at_s) - len(w.dialed()))
            assert site.validator.most_at_once == 4
            assert len(site.validator.asked) == 60
            assert ahead <= math.ceil(3.0 * (AHEAD_S + 0.6)) + 3  # at most about three calls a second
            assert site.unvalidated == []


async def test_given_a_group_that_does_not_dial_when_loaded_then_nobody_is_asked(autojump_clock, tmp_path):
    async with world(tmp_path, options=ON) as w:
        site = watched(w, FakeValidator())
        add(w, 5)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.request(CampaignRequest.LOAD)
            await trio.sleep(60.0)
            assert site.validator.asked == []
            await unload(daemon)
            assert final(w) == {("READY", 28): 5}


async def test_given_an_answer_that_has_grown_old_when_an_agent_comes_then_it_is_asked_again_before_the_dial(
    autojump_clock, tmp_path
):
    options = (*ON, "validation-answer-lifetime = 5")
    async with world(tmp_path, busy(3), options=options) as w:
        site = watched(w, FakeValidator(), lifetime_s=5.0)
        add(w, 3)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1", ready=False)
            await daemon.start()
            await trio.sleep(31.7)
            assert w.dialed() == []
            assert set(site.validator.phones()) == {number(1)}  # the one that would be dialed first
            await daemon.desks.received(daemon.desktops["agent1"], RequestAgentReady())
            await daemon.until(lambda: final(w) == {("UPDATED", CallResult.BUSY): 3})
            assert site.unvalidated == []


async def test_given_validation_of_one_list_only_when_it_is_off_elsewhere_then_the_others_are_not_asked_about(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(3), options=ON, list_lines=["options = { pre-dial-validation = false }"]) as w:
        site = watched(w, FakeValidator(), lifetime_s=math.inf)
        add(w, 3)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until(lambda: final(w) == {("UPDATED", CallResult.BUSY): 3})
            assert site.validator.asked == []
            assert not any(name.startswith("validat") for name in daemon.session.statistics())


# --- a validator that is away -----------------------------------------------------------------------------------------


async def test_given_a_validator_that_goes_away_when_dialing_then_few_records_suffer_and_the_others_wait_for_it(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(40), options=ON) as w:
        site = watched(w, FakeValidator(otherwise=SILENCE))
        add(w, 40)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await trio.sleep(600.0)
            assert w.dialed() == []
            figures = daemon.session.statistics()
            assert (figures["validators_away"], figures["validation_ahead"]) == (1, 0)
            assert final(w)[("UPDATED", 3)] == SILENT
            waiting = next(iter(daemon.session.supply.waiting()))
            why = daemon.session.prevalidation.why_not(waiting)
            assert why == "pre-dial validation: https://rules.example.net does not answer"
            assert len(site.validator.asked) < 40  # probed, not asked
            assert len(set(site.validator.phones()[SILENT:])) >= 5  # nobody's record is the only probe
            site.validator.otherwise = CLEARED
            await daemon.until(lambda: final(w) == {("UPDATED", CallResult.BUSY): 40 - SILENT, ("UPDATED", 3): SILENT})
            assert site.unvalidated == []


async def test_given_a_daemon_without_a_validator_when_validation_is_on_then_nothing_is_dialed(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(3), options=ON) as w:
        add(w, 3)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await trio.sleep(60.0)
            await unload(daemon)
            assert (w.dialed(), final(w)) == ([], {("READY", 28): 3})


# --- what happens meanwhile -------------------------------------------------------------------------------------------


async def asking(daemon: Daemon, site: Site, count: int = 1) -> None:
    await daemon.until(lambda: len(site.validator.asked) >= count)


@pytest.mark.parametrize("kind", [Withdrawal.CANCEL, Withdrawal.DO_NOT_CALL])
@pytest.mark.parametrize("answer", [CLEARED, refusal(GSW_CALL_RESULT=28)])
async def test_given_a_record_that_is_being_asked_about_when_it_is_withdrawn_then_it_stays_so(
    autojump_clock, tmp_path, kind, answer
):
    async with world(tmp_path, busy(1), options=ON) as w:
        site = watched(w, FakeValidator(otherwise=answer, delay_s=math.inf))
        add(w, 1)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await asking(daemon, site)
            rows = await daemon.campaigns.store.withdraw([LIST], Selector(phone=number(1)), kind)
            await daemon.session.give_back(daemon.session.supply.forget(rows))
            before = w.state(1)
            site.validator.released.set()
            await trio.sleep(60.0)
            assert w.state(1) == before
            assert (w.dialed(), w.database.claims) == ([], {})


@pytest.mark.parametrize("request_", [CampaignRequest.COMPLETE, CampaignRequest.FORCE_UNLOAD])
@pytest.mark.parametrize("answer", [CLEARED, refusal(GSW_CALL_RESULT=28), SILENCE])
async def test_given_records_that_are_being_asked_about_when_the_group_is_unloaded_then_they_are_back_in_their_list(
    autojump_clock, tmp_path, request_, answer
):
    async with world(tmp_path, busy(6), options=ON) as w:
        site = watched(w, FakeValidator(otherwise=answer, delay_s=math.inf))
        add(w, 6)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await asking(daemon, site)
            await daemon.request(request_)
            await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
            site.validator.released.set()
            await trio.sleep(60.0)
            assert (w.dialed(), final(w), w.database.claims) == ([], {("READY", 28): 6}, {})


async def test_given_the_database_is_away_when_a_record_is_refused_then_it_is_written_later_and_known_meanwhile(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(1), options=ON) as w:
        site = watched(w, FakeValidator(otherwise=refusal(GSW_CALL_RESULT=28), delay_s=math.inf))
        add(w, 1)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await asking(daemon, site)
            w.database.available = False
            site.validator.released.set()
            await trio.sleep(30.0)
            assert [chain.record.record_id for chain in daemon.session.supply.in_memory()] == [1]
            assert daemon.session.supply.held == 1
            w.database.available = True
            await daemon.until(lambda: w.state(1) == (R.UPDATED, T.GENERAL, 28))
            await trio.sleep(1.0)
            assert (daemon.session.supply.in_memory(), w.database.claims) == ([], {})
            assert len(w.database.journal.decisions) == 1


async def test_given_another_address_after_a_reload_when_dialing_goes_on_then_earlier_answers_count_for_nothing(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(2), options=ON) as w:
        site = watched(w, FakeValidator())
        add(w, 2)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1", ready=False)
            await daemon.start()
            await asking(daemon, site)
            await trio.sleep(1.0)
            changed = dict(w.config.application.options) | {"validation-uri": "https://other.example.net/"}
            application = w.config.application.model_copy(update={"options": changed})
            daemon.campaigns.reconfigure(w.config.model_copy(update={"application": application}))
            assert daemon.session.prevalidation.why_not(next(iter(daemon.session.supply.waiting()))) is not None
            await asking(daemon, site, 2)
            assert site.validator.asked[-1].uri == "https://other.example.net/"


async def test_given_validation_is_turned_on_by_a_reload_when_dialing_then_from_then_on_nothing_goes_unasked(
    autojump_clock, tmp_path
):
    async with world(tmp_path, busy(20)) as w:
        site = watched(w, FakeValidator(delay_s=1.0))
        add(w, 20)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.start()
            await daemon.until(lambda: len(w.dialed()) == 3)
            changed = dict(w.config.application.options) | {"pre-dial-validation": True, "validation-uri": URI}
            application = w.config.application.model_copy(update={"options": changed})
            daemon.campaigns.reconfigure(w.config.model_copy(update={"application": application}))
            dialed, site.unvalidated = len(w.dialed()), []
            await daemon.until(lambda: final(w) == {("UPDATED", CallResult.BUSY): 20})
            assert site.unvalidated == []
            assert len(site.validator.asked) == 20 - dialed


# --- desktops ---------------------------------------------------------------------------------------------------------


async def test_given_a_record_on_a_desktop_when_its_agent_calls_then_it_is_asked_about_with_its_handle(
    autojump_clock, tmp_path
):
    async with world(tmp_path, options=ON) as w:
        site = watched(w, FakeValidator())
        w.add_callback(1, 10.0, "agent1")
        async with w.daemon() as daemon:
            desktop = await daemon.log_in("agent1", ready=False)
            await daemon.start()
            handle = await daemon.scheduled("agent1")
            assert site.validator.asked == []  # to deliver is not to dial
            await desktop.ask(Request="RequestMakeCall", RecordHandle=handle)
            assert await daemon.until_talking("agent1") == handle
            (question,) = site.validator.asked
            assert question.properties["GSW_RECORD_HANDLE"] == handle
            assert site.unvalidated == []


async def test_given_a_record_on_a_desktop_when_validation_refuses_the_call_then_it_stays_there_with_the_result(
    autojump_clock, tmp_path
):
    async with world(tmp_path, options=ON) as w:
        answer = refusal(GSW_CALL_RESULT=51, GSW_BLOCKING_RULE="Holiday", CUSTOMER_NO="n")
        watched(w, FakeValidator(otherwise=answer))
        w.add_callback(1, 10.0, "agent1")
        async with w.daemon() as daemon:
            desktop = await daemon.log_in("agent1", ready=False)
            await daemon.start()
            handle = await daemon.scheduled("agent1")
            await desktop.ask(Request="RequestMakeCall", RecordHandle=handle)
            assert "pre-dial validation: refused by Holiday" in desktop.last("EventError")["ErrorMessage"]
            assert w.dialed() == []
            assert handle in daemon.session.on_desk
            await desktop.about("RecordProcessed", handle)
            await daemon.until(lambda: desktop.has("RecordProcessedAcknowledge"))
            assert w.state(1) == (R.UPDATED, T.PERSONAL_CALLBACK, 51)
            assert w.row(1).record.user_fields["customer_no"] == "n"
            assert w.row(1).record.attempt == 1
            assert w.database.journal.decisions[-1].settlement.evidence["GSW_BLOCKING_RULE"] == "Holiday"


async def test_given_a_call_from_a_desktop_that_is_being_asked_about_when_the_record_is_rejected_then_there_is_no_call(
    autojump_clock, tmp_path
):
    async with world(tmp_path, options=ON) as w:
        site = watched(w, FakeValidator(delay_s=math.inf))
        w.add_callback(1, 10.0, "agent1")
        async with w.daemon() as daemon:
            desktop = await daemon.log_in("agent1", ready=False)
            await daemon.start()
            handle = await daemon.scheduled("agent1")
            async with trio.open_nursery() as nursery:

                async def call() -> None:
                    await desktop.ask(Request="RequestMakeCall", RecordHandle=handle)

                nursery.start_soon(call)
                await asking(daemon, site)
                await desktop.about("RecordReject", handle)
                site.validator.released.set()
            await trio.sleep(10.0)
            assert desktop.errors == [112]
            assert w.dialed() == []


# --- everything at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_given_everything_that_can_happen_when_it_happens_then_nothing_is_lost_dialed_twice_or_unvalidated(
    autojump_clock, tmp_path, seed
):
    dice = random.Random(seed)
    count = 40
    answers = [CLEARED, CLEARED, CLEARED, Answer(409), refusal(GSW_CALL_RESULT=28), SILENCE]
    options = (*ON, "validation-answer-lifetime = 5")
    async with world(tmp_path, busy(count), options=options) as w:
        site = watched(w, FakeValidator(pool_size=dice.choice([1, 4, 20])), lifetime_s=5.0)
        site.validator.answers = {number(n): dice.choice(answers) for n in range(1, count + 1)}
        add(w, count)
        withdrawn: set[int] = set()

        def other_delay() -> None:
            site.validator.delay_s = dice.choice([0.0, 0.2, 3.0])

        def database() -> None:
            w.database.available = not w.database.available

        async with w.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.log_in("agent2")
            await daemon.start()
            for _ in range(30):
                await trio.sleep(dice.uniform(0.0, 3.0))
                event: Callable[[], None] | None = dice.choice([other_delay, database, None, None])
                if event is not None:
                    event()
                elif w.database.available and dice.random() < 0.5:
                    record_id = dice.randint(1, count)
                    rows = await daemon.campaigns.store.withdraw(
                        [LIST], Selector(phone=number(record_id)), Withdrawal.CANCEL
                    )
                    withdrawn |= {row.record_id for row in rows}
                    await daemon.session.give_back(daemon.session.supply.forget(rows))
                elif w.database.available and dice.random() < 0.5:
                    await unload(daemon)
                    await daemon.request(CampaignRequest.LOAD)
                    await daemon.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PROGRESSIVE)
            w.database.available = True
            site.validator.delay_s = 0.2
            await daemon.until(lambda: not final(w)[("READY", 28)] and not w.database.claims)
            await unload(daemon)

        assert site.unvalidated == []
        assert max(Counter(w.dialed()).values(), default=0) <= 1
        assert w.database.claims == {}
        for record_id in range(1, count + 1):
            answer = site.validator.answers[number(record_id)]
            status, _, result = w.state(record_id)
            if record_id in withdrawn:
                assert status in (R.CANCELED, R.UPDATED)
                continue
            expected = {200: {CallResult.BUSY}, 409: {52, 28}, None: {3}}[answer.status]
            assert status is R.UPDATED
            assert result in expected
            assert (number(record_id) in w.dialed()) == (answer.status == 200)
