"""
Random daemons on one set of calling lists, killed at any moment: claim, treat and settle in whatever order.

Two campaigns share two lists; each has a daemon that may die between any two steps of any operation, and comes back
later as a start-up does: live calls are adopted or found ended, the rest is interrupted. Beside them records are
cancelled, numbers are put on Do-Not-Call, the database goes away, limits change, time passes. One of the lists is
validated before its records are dialed, by a validator of changing mind.

What must hold, whatever happens: no record is dialed outside its window, before its time, past its attempts, over an
attempt cap, on Do-Not-Call or without the validator's leave; no chain is in two hands; no attempt is dialed twice; and
when everybody has gone home, no row is left Retrieved and every chain that may still be dialed is found by a fresh
daemon.
"""

import logging
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ocsd.config.objects import (
    AgentGroup,
    AttemptCap,
    CallingList,
    Campaign,
    CampaignGroup,
    CampaignList,
    Configuration,
    Format,
    FormatField,
    TableAccess,
    Tenant,
    TimeZoneObject,
    Treatment,
    Trunk,
)
from ocsd.dnc.contract import DncEntry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.lists.store import ClaimLost
from ocsd.model.enums import CallResult, RecordAction, RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import Chain, ChainChange, ChainSettlement, NewRecord, Selector, Withdrawal
from ocsd.sessions.recovery import found_chain
from ocsd.validation import Answer, Question
from tests.ocsd.record_run import Dial, RecordRun, VirtualClock

ZONES = ("America/New_York", "America/Phoenix", "Asia/Kathmandu")
LISTS = (301, 302)
VALIDATED = 302
LEAVE_S = 30
CAP, CAP_H = 3, 24
MAX_ROWS = 40
"""Per list: a run must come to its end."""
MIN_STEPS = 100_000
R, A = CallResult, RecordAction
RESULTS = (R.BUSY, R.NO_ANSWER, R.ANSWERING_MACHINE, R.ANSWER, R.DROPPED, R.SIT_VACANT_CODE)
FINAL = {RecordStatus.UPDATED, RecordStatus.STALE, RecordStatus.CANCELED, RecordStatus.AGENT_ERROR}
FINAL |= {RecordStatus.MISSED_CALLBACK}
START = datetime(2026, 3, 7, 13, 0, tzinfo=UTC)
"""The day before clocks change in New York."""


class Killed(BaseException):
    """The daemon dies here."""


def configuration(max_attempts: int = 4) -> Configuration:
    treatments = tuple(
        Treatment(dbid=900 + i, name=f"t{i}", call_result=result, number=number, record_action=action, **more)
        for i, (result, number, action, more) in enumerate(
            (
                (R.BUSY, 1, A.REDIAL, {"cycle_attempts": 2, "interval_min": 1, "increment_min": 2}),
                (R.BUSY, 2, A.NEXT_IN_CHAIN, {"cycle_attempts": 2, "interval_min": 30}),
                (R.NO_ANSWER, 1, A.NEXT_IN_CHAIN_AFTER, {"cycle_attempts": 2, "interval_min": 2}),
                (R.NO_ANSWER, 2, A.RESCHEDULE, {}),
                (R.ANSWERING_MACHINE, 1, A.SEND_HTTP, {"url": "http://127.0.0.1:1/"}),
                (R.ANSWERING_MACHINE, 2, A.RETRY_IN, {"interval_min": 90}),
                (R.DROPPED, 1, A.REDIAL, {"cycle_attempts": 3}),
                (R.SIT_VACANT_CODE, 1, A.UPDATE_ALL, {}),
                (R.AGENT_CALLBACK_ERROR, 1, A.ASSIGN_TO_GROUP, {}),
                (R.GROUP_CALLBACK_ERROR, 1, A.RETRY_IN, {"interval_min": 20}),
            )
        )
    )
    lists = tuple(
        CallingList(
            dbid=dbid,
            name=f"L{dbid}",
            table_access=f"T{dbid}",
            time_zone=ZONES[0],
            max_attempts=max_attempts,
            treatments=tuple(treatment.name for treatment in treatments),
            attempt_caps=("cap",),
            customer_id_field="customer",
            options={"pre-dial-validation": True, "validation-uri": "http://127.0.0.1:1/"} if dbid == VALIDATED else {},
        )
        for dbid in LISTS
    )
    return Configuration(
        tenants=(Tenant(dbid=1, name="T"),),
        trunks=(Trunk(dbid=21, name="trunk", tenant="T", host="127.0.0.1"),),
        time_zones=tuple(TimeZoneObject(dbid=30 + i, name=zone, zone=zone) for i, zone in enumerate(ZONES)),
        agent_groups=(AgentGroup(dbid=51, name="G"), AgentGroup(dbid=52, name="H")),
        formats=(Format(dbid=201, name="F", fields=(FormatField(name="customer"),)),),
        table_accesses=tuple(TableAccess(dbid=d + 100, name=f"T{d}", table=f"list_{d}", format="F") for d in LISTS),
        treatments=treatments,
        attempt_caps=(AttemptCap(dbid=801, name="cap", max_attempts=CAP, period_h=CAP_H),),
        calling_lists=lists,
        campaigns=tuple(
            Campaign(
                dbid=400 + i,
                name=f"C{i}",
                tenant="T",
                lists=tuple(CampaignList(calling_list=f"L{dbid}", share=10 + 20 * i) for dbid in LISTS),
            )
            for i in range(2)
        ),
        campaign_groups=tuple(
            CampaignGroup(
                dbid=500 + i,
                name=f"C{i}@{group}",
                campaign=f"C{i}",
                group=group,
                trunks=("trunk",),
                options={"predictive_callback": i == 0},
            )
            for i, group in enumerate("GH")
        ),
    )


class Mortal:
    """
    Runs coroutines of the records engine, and may kill them at any of their steps.

    In memory nothing waits but checkpoints, one before each step of the store; so a coroutine is run by hand, and
    dies at the step it is told to.
    """

    def __init__(self) -> None:
        self.steps_left: int | None = None

    async def checkpoint(self) -> None:
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise Killed
            self.steps_left -= 1

    def run(self, coroutine, dies_after: int | None = None):
        self.steps_left = dies_after
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
        finally:
            self.steps_left = None
        coroutine.close()
        raise AssertionError("it waits for something that never comes")


class MortalStore(MemoryListStore):
    def __init__(self, database: MemoryDatabase, mortal: Mortal, node: str) -> None:
        super().__init__(database, node=node)
        self._mortal = mortal

    async def _reach(self) -> None:
        await self._mortal.checkpoint()
        if not self.database.available:
            raise StoreUnavailable("away")


class MortalValidator:
    """Answers as the machine wants it; to ask is a step in which the daemon may die."""

    pool_size = 20

    def __init__(self, machine: "RecordsMachine") -> None:
        self._machine = machine

    def away(self, uri: str) -> bool:
        return self._machine.validator_says is None

    def may_ask(self, uri: str) -> bool:
        return True

    async def ask(self, question: Question) -> Answer:
        machine, asked = self._machine, question.properties
        await machine.mortal.checkpoint()
        if machine.validator_says is None:
            return Answer(error="away", spared=True)
        if machine.validator_says == 200:
            key = (VALIDATED, int(asked["GSW_CHAIN_ID"]), int(asked["GSW_CHAIN_N"]))
            machine.leave[key] = (machine.clock.now, str(asked["GSW_PHONE"]), int(asked["GSW_ATTEMPTS"]))
            return Answer(200)
        if machine.validator_says < 0:
            return Answer(500)
        return Answer(409, f'{{"GSW_CALL_RESULT": {machine.validator_says}}}'.encode())


class Daemon:
    """One run of a daemon; what is in here is gone when it dies."""

    def __init__(self, machine: "RecordsMachine", place: int) -> None:
        self.place = place
        self.store = MortalStore(machine.database, machine.mortal, node=f"node{place}")
        self.run = RecordRun(
            machine.config, machine.config.campaign_groups[place], self.store, machine.dnc, machine.clock,
            validator=MortalValidator(machine),
        )  # fmt: skip
        self.dials: dict[int, Dial] = {}
        self.on_desk: list[Chain] = []
        self.withdrawn: set[int] = set()
        """Adopted attempts whose record was withdrawn while nobody was there."""


class RecordsMachine(RuleBasedStateMachine):
    steps = 0
    """Of all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.config = configuration()
        self.clock = VirtualClock(START)
        self.mortal = Mortal()
        self.database = MemoryDatabase(self.config, now=self.clock.utc)
        self.dnc = MemoryDoNotCall()
        self.daemons: list[Daemon | None] = [None, None]
        self.live_calls: dict[int, int] = {}
        """Attempts whose call is up in the telephony plane -> when it began (seconds); it outlives the daemon."""
        self.invites: Counter[int] = Counter()
        """INVITEs by attempt id."""
        self.dialed_at: dict[str, list[datetime]] = defaultdict(list)
        self.dialed: Counter[tuple[int, int]] = Counter()
        self.forbidden: set[str] = set()
        self.withdrawn: set[tuple[int, int]] = set()
        self.interrupted: set[tuple[int, int]] = set()
        """(list, record) of a chain whose call was lost: it may have rung."""
        self.phones: list[str] = []
        self.validator_says: int | None = 200
        """200; a call result: 409 with it; negative: 500; None: it is away."""
        self.leave: dict[tuple[int, int, int], tuple[datetime, str, int]] = {}
        """By (list, chain, number in it): when it was last allowed to dial, which number, after how many attempts."""
        self.zones = {zone.dbid: ZoneInfo(zone.zone) for zone in self.config.time_zones}

    @initialize(seed=st.integers(0, 2**20))
    def lists(self, seed: int) -> None:
        pick = random.Random(seed)
        for list_dbid in LISTS:
            for chain_id in range(1, 7):
                for chain_n in range(pick.choice((1, 1, 2, 3))):
                    self.add(list_dbid, chain_id, chain_n, pick)

    def add(self, list_dbid: int, chain_id: int, chain_n: int, pick: random.Random) -> None:
        phone = f"+1212555{pick.randrange(14):04}"  # some numbers stand in both lists: caps and Do-Not-Call meet them
        self.phones.append(phone)
        window = pick.choice(((0, 86_400), (28_800, 64_800), (28_800, 64_800), (79_200, 14_400)))
        self.database.add_record(
            list_dbid, contact_info=phone, chain_id=chain_id, chain_n=chain_n, tz_dbid=30 + pick.randrange(len(ZONES)),
            daily_from=window[0], daily_till=window[1], customer=f"c{pick.randrange(5)}",
        )  # fmt: skip

    # --- daemons ------------------------------------------------------------------------------------------------

    def start(self, place: int) -> Daemon:
        """As `recovery` does: adopt what is still up, settle the rest, give claims back."""
        daemon = Daemon(self, place)

        async def recover() -> None:
            for attempt in await daemon.store.open_attempts():
                if attempt.campaign_group_dbid != daemon.run.group.dbid:
                    continue
                rows = await daemon.store.chain(attempt.list_dbid, attempt.chain_id)
                found = await daemon.store.records(attempt.list_dbid, [attempt.record_id])
                record = found[attempt.record_id]
                chain, withdrawn = found_chain(record, rows)
                if withdrawn:
                    daemon.withdrawn.add(attempt.attempt_id)
                dial = Dial(attempt.attempt_id, chain, attempt.started_at)
                if attempt.attempt_id in self.live_calls:
                    daemon.dials[attempt.attempt_id] = dial
                else:
                    await daemon.run.end(dial, int(R.STALE), record_status=RecordStatus.STALE, withdrawn=withdrawn)
                    if not withdrawn:
                        self.interrupted |= {(r.list_dbid, r.record_id) for r in dial.chain.records}
            await daemon.store.recover_claims()

        self.mortal.run(recover())
        return daemon

    def up(self, place: int) -> Daemon | None:
        if self.daemons[place] is None and self.database.available:
            self.daemons[place] = self.start(place)
        return self.daemons[place]

    def act(self, place: int, dies_after: int | None, operation) -> None:
        """Let a daemon do something; an outage ends the operation, death ends the daemon."""
        if (daemon := self.up(place)) is None:
            return
        try:
            self.mortal.run(operation(daemon), dies_after)
        except Killed:
            self.daemons[place] = None
        except (StoreUnavailable, ClaimLost):
            # A session tries again for ever; here the daemon gives up instead, which loses no less.
            self.daemons[place] = None

    # --- the world ----------------------------------------------------------------------------------------------

    steps_to_death = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 8))
    places = st.integers(0, 1)

    @rule(seconds=st.sampled_from((1, 20, 61, 600, 3_600, 18_000, 43_200)))
    def time_passes(self, seconds: int) -> None:
        self.clock.pass_s(seconds)
        for daemon in self.daemons:
            if daemon is not None:
                daemon.store.renew_leases()

    @rule(place=places, dies_after=steps_to_death)
    def refill(self, place: int, dies_after: int | None) -> None:
        self.act(place, dies_after, lambda daemon: daemon.run.refill(1))

    @rule(place=places, count=st.integers(1, 4), dies_after=steps_to_death)
    def dial(self, place: int, count: int, dies_after: int | None) -> None:
        async def operation(daemon: Daemon) -> None:
            await daemon.run.refill(1)
            await daemon.run.validate()
            for dial in await daemon.run.dial(count):
                await self.mortal.checkpoint()  # on disk, and not yet dialed
                self.invite(dial)
                daemon.dials[dial.attempt_id] = dial

        self.act(place, dies_after, operation)

    @rule(place=places, says=st.sampled_from((200, 200, None, -1, *map(int, RESULTS))), dies_after=steps_to_death)
    def validator_is_asked(self, place: int, says: int | None, dies_after: int | None) -> None:
        self.validator_says = says
        self.act(place, dies_after, lambda daemon: daemon.run.validate())

    @rule()
    def validator_is_content(self) -> None:
        self.validator_says = 200

    def invite(self, dial: Dial) -> None:
        record, now = dial.record, self.clock.now
        if record.list_dbid == VALIDATED:
            at, phone, attempts = self.leave[VALIDATED, record.chain_id, record.chain_n]
            assert now - at < timedelta(seconds=LEAVE_S), f"allowed too long ago: {record}"
            assert (phone, attempts) == (record.contact_info, record.attempt), f"another one was allowed: {record}"
        row = self.database.rows(record.list_dbid)[record.record_id].record
        local = now.astimezone(self.zones[record.tz_dbid])
        second = local.hour * 3600 + local.minute * 60 + local.second
        low, high = record.daily_from_s, record.daily_till_s
        assert low <= second < high if low <= high else second >= low or second < high, f"outside its window: {row}"
        assert record.contact_info not in self.forbidden, f"on Do-Not-Call: {row}"
        assert (record.list_dbid, record.record_id) not in self.withdrawn, f"withdrawn: {row}"
        assert (record.list_dbid, record.record_id) not in self.interrupted, f"it may have rung before: {row}"
        callback = row.record_type in (RecordType.PERSONAL_CALLBACK, RecordType.CAMPAIGN_CALLBACK)
        assert callback or row.attempt < self.config.calling_lists[0].max_attempts, f"too often: {row}"
        assert (row.dial_sched_time or 0) <= now.timestamp(), f"too early: {row}"
        recent = [at for at in self.dialed_at[record.contact_info] if at > now - timedelta(hours=CAP_H)]
        assert len(recent) < CAP, f"{len(recent)} calls in {CAP_H} h: {row}"
        others = [
            other
            for daemon in self.daemons
            if daemon is not None
            for other in daemon.dials.values()
            if other.chain.key == dial.chain.key
        ]
        assert not others, f"its chain is being dialed: {others}"
        self.dialed_at[record.contact_info].append(now)
        self.dialed[record.list_dbid, record.record_id] += 1
        self.invites[dial.attempt_id] += 1
        assert self.invites[dial.attempt_id] == 1, f"dialed twice: {row}"
        self.live_calls[dial.attempt_id] = int(now.timestamp())

    @precondition(lambda self: any(daemon is not None and daemon.dials for daemon in self.daemons))
    @rule(
        choice=st.integers(0, 10**6),
        result=st.sampled_from(RESULTS),
        how=st.sampled_from(("plain", "plain", "campaign", "personal", "callback", "own callback", "lost")),
        dies_after=steps_to_death,
    )
    def call_ends(self, choice: int, result: CallResult, how: str, dies_after: int | None) -> None:
        place = next(i for i in (choice % 2, 1 - choice % 2) if (d := self.daemons[i]) is not None and d.dials)

        async def operation(daemon: Daemon) -> None:
            attempt_id = sorted(daemon.dials)[choice % len(daemon.dials)]
            dial = daemon.dials[attempt_id]
            self.live_calls.pop(attempt_id, None)
            ending: dict = {"withdrawn": attempt_id in daemon.withdrawn}
            if how == "lost":
                ending["record_status"] = RecordStatus.STALE
            elif result is R.ANSWER:
                ending |= {"handled": True, "agent_id": "ada"}
                if how in ("campaign", "personal"):
                    ending["treatment"] = how
                elif how.endswith("callback"):
                    kind = RecordType.PERSONAL_CALLBACK if how.startswith("own") else RecordType.CAMPAIGN_CALLBACK
                    ending["callback"] = (kind, self.clock.now + timedelta(minutes=choice % 3000))
            del daemon.dials[attempt_id]
            await daemon.run.end(dial, int(R.STALE if how == "lost" else result), **ending)
            if (
                how == "lost"
                and self.database.rows(dial.chain.list_dbid)[dial.record.record_id].record_status is RecordStatus.STALE
            ):
                self.interrupted |= {(r.list_dbid, r.record_id) for r in dial.chain.records}

        self.act(place, dies_after, operation)

    @rule(place=places, present=st.booleans(), dies_after=steps_to_death)
    def callbacks_come_due(self, place: int, present: bool, dies_after: int | None) -> None:
        async def operation(daemon: Daemon) -> None:
            for chain in await daemon.run.supply.callbacks():
                if present:
                    daemon.on_desk.append(chain)
                    continue
                kind = chain.record.record_type
                missed = R.GROUP_CALLBACK_ERROR if kind is RecordType.CAMPAIGN_CALLBACK else R.AGENT_CALLBACK_ERROR
                await daemon.run.miss(chain, int(missed))

        self.act(place, dies_after, operation)

    @precondition(lambda self: any(daemon is not None and daemon.on_desk for daemon in self.daemons))
    @rule(choice=st.integers(0, 1000), dies_after=steps_to_death)
    def desk_is_done(self, choice: int, dies_after: int | None) -> None:
        place = next(i for i in (choice % 2, 1 - choice % 2) if (d := self.daemons[i]) is not None and d.on_desk)

        async def operation(daemon: Daemon) -> None:
            chain = daemon.on_desk.pop(choice % len(daemon.on_desk))
            change = ChainChange(RecordStatus.UPDATED, RecordType(chain.record.record_type))
            if choice % 3 == 0:  # rejected
                change = ChainChange(RecordStatus.READY, RecordType.GENERAL, RecordStatus.READY, RecordType.GENERAL)
            await daemon.store.settle_chain(
                ChainSettlement(*chain.key, chain.record.record_id, change, "the agent is done with it")
            )

        self.act(place, dies_after, operation)

    @rule(
        choice=st.integers(0, 10**6),
        withdrawal=st.sampled_from(Withdrawal),
        by=st.sampled_from(("phone", "customer", "record")),
        all_chain=st.booleans(),
        spare=st.booleans(),
    )
    def someone_asks_not_to_be_called(
        self, choice: int, withdrawal: Withdrawal, by: str, all_chain: bool, spare: bool
    ) -> None:
        if not self.database.available or choice % 3:
            return
        list_dbid = LISTS[choice % 2]
        rows = self.database.rows(list_dbid)
        record = rows[sorted(rows)[choice % len(rows)]].record
        customer = str(record.user_fields["customer"])
        selector = {
            "phone": Selector(phone=record.contact_info, all_chain=all_chain),
            "customer": Selector(customer_id=customer, all_chain=all_chain),
            "record": Selector(record=(list_dbid, record.record_id), all_chain=all_chain),
        }[by]
        if withdrawal is Withdrawal.DO_NOT_CALL and by == "phone":
            self.forbidden.add(record.contact_info)
            entry = DncEntry(1, record.contact_info, None, self.clock.now)
            self.mortal.run(self.dnc.add([entry]))
            if spare:
                return  # somewhere else, so the gates are all that there is
        spare = spare and withdrawal is Withdrawal.CANCEL
        store = MortalStore(self.database, self.mortal, node="desk")
        gone = self.mortal.run(store.withdraw(LISTS, selector, withdrawal, spare_claimed=spare))
        if not spare:
            self.withdrawn |= {(row.list_dbid, row.record_id) for row in gone}
            for daemon in self.daemons:
                if daemon is not None:
                    self.mortal.run(daemon.store.give_back(daemon.run.supply.forget(gone)))
                    daemon.on_desk = [c for c in daemon.on_desk if daemon.run.supply.live(c) is not None]
        else:
            self.withdrawn |= {(row.list_dbid, row.record_id) for row in gone if not row.claimed}

    @rule(choice=st.integers(0, 10**6), joins=st.booleans())
    def somebody_adds_a_record(self, choice: int, joins: bool) -> None:
        """AddRecord: a chain of its own, or one more number of a chain in whatever hands that is."""
        pick, list_dbid = random.Random(choice), LISTS[choice % 2]
        rows = self.database.rows(list_dbid)
        if not self.database.available or len(rows) >= MAX_ROWS:
            return
        phone = f"+1212555{pick.randrange(14):04}"
        new = NewRecord(
            list_dbid, phone, 0, RecordType.GENERAL, RecordStatus.READY, 0, 86_400, 30 + pick.randrange(len(ZONES)),
            chain_id=rows[pick.choice(sorted(rows))].record.chain_id if joins else None,
            user_fields={"customer": f"c{pick.randrange(5)}"},
        )  # fmt: skip
        store = MortalStore(self.database, self.mortal, node="desk")
        added = self.mortal.run(store.add_record(new))
        assert rows[added.record_id].record_status is RecordStatus.READY
        for daemon in self.daemons:
            if daemon is not None:
                daemon.run.supply.look_again(list_dbid)

    @rule(place=places)
    def killed(self, place: int) -> None:
        self.daemons[place] = None

    @rule(place=places)
    def unloaded(self, place: int) -> None:
        daemon = self.daemons[place]
        if daemon is not None and self.database.available and not daemon.on_desk:
            self.mortal.run(daemon.run.unload())

    @rule(away=st.booleans())
    def database_goes_away_or_comes_back(self, away: bool) -> None:
        self.database.available = not away

    @rule(choice=st.integers(0, 1))
    def calls_end_while_nobody_looks(self, choice: int) -> None:
        if self.daemons[choice] is None:
            for attempt_id in list(self.live_calls):
                if not any(daemon is not None and attempt_id in daemon.dials for daemon in self.daemons):
                    del self.live_calls[attempt_id]

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def every_retrieved_row_is_claimed(self) -> None:
        for list_dbid in LISTS:
            for row in self.database.rows(list_dbid).values():
                if row.record_status is RecordStatus.RETRIEVED:
                    assert (f"list_{list_dbid}", row.record.chain_id) in self.database.claims, row
                if row.record.record_type is RecordType.NO_CALL:
                    assert row.record_status is RecordStatus.UPDATED, row

    @invariant()
    def a_chain_lives_as_a_whole(self) -> None:
        """What nobody holds agrees on when and as what it is dialed, whoever has joined it and when."""
        for list_dbid in LISTS:
            ready: dict[int, set[tuple]] = defaultdict(set)
            for row in self.database.rows(list_dbid).values():
                record = row.record
                if row.record_status is RecordStatus.READY:
                    ready[record.chain_id].add((record.record_type, record.dial_sched_time, record.treatments))
            for chain_id, shared in ready.items():
                assert len(shared) == 1 or (f"list_{list_dbid}", chain_id) in self.database.claims, (chain_id, shared)

    @invariant()
    def every_claim_is_in_somebodys_hands(self) -> None:
        """A daemon that lives has each chain that it claims: waiting, held for its time, on a call or on a desktop."""
        for daemon in self.daemons:
            if daemon is None:
                continue
            chains = [*daemon.run.supply.in_memory(), *(d.chain for d in daemon.dials.values()), *daemon.on_desk]
            known = {chain.key for chain in chains}
            for (table, chain_id), claim in self.database.claims.items():
                if claim.owner == daemon.store.owner:
                    assert (int(table.removeprefix("list_")), chain_id) in known, f"forgotten: {table} {chain_id}"

    def check_invariants(self, *arguments, **named) -> None:
        RecordsMachine.steps += 1
        super().check_invariants(*arguments, **named)

    def teardown(self) -> None:
        self.database.available = True
        for place in range(2):
            daemon = self.up(place)
            assert daemon is not None
            for attempt_id, dial in list(daemon.dials.items()):
                self.live_calls.pop(attempt_id, None)
                gone = attempt_id in daemon.withdrawn
                self.mortal.run(daemon.run.end(dial, int(R.SIT_VACANT_CODE), withdrawn=gone))
            self.mortal.run(daemon.run.unload())
        # Claims of runs that never came back, and of those whose lease has ended.
        self.clock.pass_s(3 * 86_400)
        self.mortal.run(self.daemons[0].store.recover_claims())
        self.mortal.run(self.daemons[1].store.recover_claims())
        assert not self.database.claims
        assert all(attempt.finished is not None for attempt in self.database.attempts.values())
        for list_dbid in LISTS:
            for record_id, row in self.database.rows(list_dbid).items():
                assert row.record_status in {RecordStatus.READY, *FINAL}, row
                assert row.record.attempt >= self.dialed[list_dbid, record_id], f"{row}: a dial that was not counted"
        self.nothing_is_lost()

    def nothing_is_lost(self) -> None:
        """Everything that is still Ready is found: a fresh daemon dials or delivers every such chain within days."""
        self.validator_says = 200
        fresh = Daemon(self, 0)
        for _ in range(60):
            self.mortal.run(fresh.run.refill(50))
            self.mortal.run(fresh.run.validate())
            for dial in self.mortal.run(fresh.run.dial(50)):
                self.mortal.run(fresh.run.end(dial, int(R.SIT_VACANT_CODE)))
            for chain in self.mortal.run(fresh.run.supply.callbacks()):
                change = ChainChange(RecordStatus.UPDATED, RecordType(chain.record.record_type))
                self.mortal.run(
                    fresh.store.settle_chain(ChainSettlement(*chain.key, chain.record.record_id, change, "done"))
                )
            self.clock.pass_s(2 * 3_600 + 60)
        self.mortal.run(fresh.run.unload())
        limit = self.config.calling_lists[0].max_attempts
        for list_dbid in LISTS:
            for row in self.database.rows(list_dbid).values():
                if row.record_status is RecordStatus.READY:
                    callback = row.record.record_type in (RecordType.PERSONAL_CALLBACK, RecordType.CAMPAIGN_CALLBACK)
                    used_up = row.record.attempt >= limit and not callback
                    assert used_up or row.record.contact_info in self.forbidden, f"lost: {row}"


RecordsMachine.TestCase.settings = settings(
    max_examples=1250, stateful_step_count=100, deadline=None, suppress_health_check=list(HealthCheck)
)


class TestRecordsMachine(RecordsMachine.TestCase):
    def setUp(self) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    def tearDown(self) -> None:
        structlog.reset_defaults()

    def runTest(self) -> None:
        super().runTest()
        assert RecordsMachine.steps >= MIN_STEPS
