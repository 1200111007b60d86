"""
A forecast of a calling list by the rules that dial it: the planner's gates, attempt caps, `settle` and its treatments.

`ocsd.explain.forecast` keeps the time; here is what it asks. A chain is its live rows; nothing is read or written while
it runs. What a forecast leaves out, because nobody can know it: requests not to be called, callbacks that agents agree
on, records added and cancelled meanwhile, SQL and HTTP of treatments, and answers of a pre-dial validation.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import psycopg

from ocsd.config.objects import CallingList, CampaignGroup, Configuration
from ocsd.dnc.contract import DoNotCall
from ocsd.explain.forecast import Fate, Forecast, Loop, Sample, Sampler, Until, Waits, summary
from ocsd.explain.listed import ListedChain, snapshot
from ocsd.explain.preflight import Forbids, forbidden_records
from ocsd.lists.caps import Call, Caps, History, past_calls
from ocsd.lists.gates import used_up
from ocsd.model.enums import CallResult, RecordStatus
from ocsd.model.errors import ConfigError
from ocsd.model.records import CallingRecord, Chain, ChainChange
from ocsd.sessions.planner import Planner
from ocsd.sessions.settling import Ending, settle
from ocsd.treatments.state import turn

OBSERVED_DAYS: Final = 30
OBSERVED_ENOUGH: Final = 500
"""Results of the last days from which a list's own mix is taken; fewer say too little about the rare ones."""

OCCUPANCY: Final = 0.85
"""Part of their time that agents talk or wrap up, when the pace follows from their number."""

SAMPLE_CHAINS: Final = 5000
RUNS: Final = 5

SHORT_S: Final = 3.0
"""A busy tone, an announcement of the network."""
MACHINE_S: Final = 12.0
RING_S: Final = 10.0
"""Until a person answers."""

CONVERSATIONS: Final = frozenset(
    {CallResult.ANSWER, CallResult.OK, CallResult.TRANSFERRED, CallResult.CONFERENCED, CallResult.REMOTE_RELEASE}
)
"""Results that mean that an agent had the call, where nothing else says so."""

_RINGING: Final = frozenset({CallResult.NO_ANSWER, CallResult.NO_ESTABLISHED, CallResult.NO_PROGRESS})
_MACHINES: Final = frozenset({CallResult.ANSWERING_MACHINE, CallResult.FAX, CallResult.SILENCE, CallResult.PAGER})


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    One result in the mix.

    Attributes:
        share: its weight.
        handled: an agent has the call.
        lasts_s: from the dial to the end of the call, wrap-up included.
    """

    call_result: int
    share: float
    handled: bool
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Mix:
    """What calls lead to, each independent of the ones before. ``source``: where that is known from, in words."""

    outcomes: tuple[Outcome, ...]
    source: str

    @property
    def handled_share(self) -> float:
        """Part of the dials that an agent gets."""
        whole = sum(outcome.share for outcome in self.outcomes)
        return sum(outcome.share for outcome in self.outcomes if outcome.handled) / whole


DEFAULT_SHARES: Final[Mapping[CallResult, float]] = {
    CallResult.NO_ANSWER: 45.0,
    CallResult.ANSWERING_MACHINE: 25.0,
    CallResult.ANSWER: 20.0,
    CallResult.BUSY: 5.0,
    CallResult.SIT_INVALID_NUM: 3.0,
    CallResult.ABANDONED: 1.0,
    CallResult.DROPPED: 1.0,
}
"""In a hundred dials, when nothing is known about a list: an assumption of ours, to be replaced by figures of yours."""


def mix_of(shares: Mapping[CallResult, float], no_answer_s: float, handle_s: float, source: str) -> Mix:
    """A mix from shares alone, with usual durations. ValueError: no share is above 0, or one is below."""
    if min(shares.values(), default=0.0) < 0.0 or sum(shares.values()) <= 0.0:
        raise ValueError(f"shares must be 0 or more, and one of them more than 0, got {dict(shares)}")

    def lasts_s(result: CallResult) -> float:
        if result in CONVERSATIONS:
            return RING_S + handle_s
        if result in _RINGING:
            return no_answer_s
        return MACHINE_S if result in _MACHINES else SHORT_S

    return Mix(
        tuple(
            Outcome(int(result), share, result in CONVERSATIONS, lasts_s(result))
            for result, share in shares.items()
            if share > 0.0
        ),
        source,
    )


def observed_mix(conn: psycopg.Connection[Any], list_dbid: int, now: datetime) -> Mix | None:
    """The list's own results of the last `OBSERVED_DAYS`; None: too few."""
    rows = conn.execute(
        """
        SELECT call_result, connected_at IS NOT NULL, count(*)::float8,
          greatest(0, avg(extract(epoch FROM finished_at - started_at)))::float8
        FROM ocsd.attempt
        WHERE list_dbid = %s AND started_at > %s::timestamptz - make_interval(days => %s) AND started_at <= %s
          AND finished_at IS NOT NULL AND call_result IS NOT NULL
          AND counted IS NOT FALSE AND interrupted IS NOT TRUE
        GROUP BY 1, 2 ORDER BY 3 DESC
        """,
        (list_dbid, now, OBSERVED_DAYS, now),
    ).fetchall()
    count = int(sum(row[2] for row in rows))
    if count < OBSERVED_ENOUGH:
        return None
    outcomes = tuple(Outcome(result, share, handled, lasts_s) for result, handled, share, lasts_s in rows)
    return Mix(outcomes, f"{count} results of this list in the last {OBSERVED_DAYS} days")


def pace_of_agents(agents: int, mix: Mix, handle_s: float, occupancy: float = OCCUPANCY) -> float:
    """Dials per hour that keep ``agents`` busy for ``occupancy`` of their time."""
    if mix.handled_share <= 0.0:
        raise ValueError("in this mix of results no agent ever gets a call, so a number of agents says nothing")
    return agents * occupancy * 3600.0 / handle_s / mix.handled_share


# --- the rules --------------------------------------------------------------------------------------------------------


class Running:
    """A chain during one run: its live rows as they are after each call."""

    __slots__ = ("chain", "due_s", "first", "outcome", "rank", "started_s", "times", "zone")

    def __init__(self, chain: Chain, rank: int, zone: str) -> None:
        self.chain, self.rank, self.zone = chain, rank, zone
        self.times = 0
        self.due_s = chain.record.dial_sched_time or 0
        self.first: Fate | None = None
        self.outcome: Outcome | None = None
        self.started_s = 0.0

    def __repr__(self) -> str:
        return f"<chain {self.chain.chain_id}, dialed {self.times} times>"


class ProductionRules:
    """`ocsd.explain.forecast.Rules` of one list, kept by what dials it."""

    def __init__(self, planner: Planner, caps: Caps, past: Iterable[Call], mix: Mix, seed: int) -> None:
        self._planner = planner
        self._caps, self._history = caps, History(caps, past)
        self._pick = random.Random(seed)
        self._outcomes = mix.outcomes
        self._weights = [outcome.share for outcome in mix.outcomes]
        self._attempt_id = 0

    def gate(self, chain: Running, at_s: float) -> Until | None:
        """As the sift asks (`RecordSupply`): the first candidate that nothing holds back, else the earliest of all."""
        if chain.first is not None:
            return Until(None, fate=chain.first)
        record_type = chain.chain.record.record_type
        if self._planner.is_delivered(record_type):
            return Until(None, fate=Fate.FOR_AGENTS)
        at = datetime.fromtimestamp(at_s, UTC)
        soonest: Until | None = None
        exhausted = False
        places = turn(chain.chain, chain.chain.records, self._planner.goes_with(delivered=False))
        if not places:
            return Until(None, fate=Fate.FOR_AGENTS)
        for place in places:
            until = self._held(chain.chain.records[place], at)
            if until is None:
                if place != chain.chain.position:
                    chain.chain = replace(chain.chain, position=place)
                return None
            exhausted |= until.fate is Fate.USED_UP
            if until.at_s is not None and (soonest is None or soonest.at_s is None or until.at_s < soonest.at_s):
                soonest = until
        return soonest or Until(None, fate=Fate.USED_UP if exhausted else Fate.NEVER_OPENS)

    def _held(self, record: CallingRecord, at: datetime) -> Until | None:
        list_dbid = record.list_dbid
        if used_up(record.record_type, record.attempt, self._planner.max_attempts(list_dbid)):
            return Until(None, fate=Fate.USED_UP)
        if (due_s := record.dial_sched_time or 0) > at.timestamp():
            opens = self._planner.hours(list_dbid).opening(record, datetime.fromtimestamp(due_s, UTC))
            return Until(None) if opens is None else Until(opens.timestamp(), Waits.SCHEDULE)
        opens = self._planner.hours(list_dbid).opening(record, at)
        if opens is None:
            return Until(None)
        if opens.timestamp() >= at.timestamp() + 1:  # openings are whole seconds
            return Until(opens.timestamp(), Waits.HOURS)
        if self._planner.has_caps(list_dbid):
            refusal = self._history.refusal(self._caps.call(record, self._planner.campaign.dbid, at))
            if refusal is not None:
                if refusal.until is None:
                    return Until(None, Waits.CAPS)
                return Until(max(refusal.until.timestamp(), at.timestamp() + 1), Waits.CAPS)
        return None

    def order(self, chain: Running) -> tuple[float, ...]:
        """By priority of the type; General in the order of the filter, the others by schedule, as claims go."""
        record = chain.chain.record
        return (-self._planner.priorities().get(record.record_type, 0), float(record.dial_sched_time or 0), chain.rank)

    def dial(self, chain: Running, at_s: float) -> float:
        record = chain.chain.record
        chain.times += 1
        chain.started_s = at_s
        chain.outcome = self._pick.choices(self._outcomes, self._weights)[0]
        if self._planner.has_caps(record.list_dbid):
            self._attempt_id -= 1  # the journal's are positive
            at = datetime.fromtimestamp(at_s, UTC)
            call = self._caps.call(record, self._planner.campaign.dbid, at)
            connected_at = at if chain.outcome.handled else None
            self._history.add(replace(call, attempt_id=self._attempt_id, connected_at=connected_at))
        return at_s + chain.outcome.lasts_s

    def ended(self, chain: Running, at_s: float) -> Until | Fate:
        outcome, record = chain.outcome, chain.chain.record
        assert outcome is not None
        ending = Ending(
            call_result=outcome.call_result,
            record_status=RecordStatus.UPDATED,
            handled=outcome.handled,
            result_for_all=self._planner.result_for_all(record.list_dbid),
        )
        decision = settle(self._planner, chain.chain, record, ending, {}, datetime.fromtimestamp(at_s, UTC))
        chain.chain = carried_on(chain.chain, decision.change, outcome.call_result, decision.next_record_id)
        if decision.change.goes_on:
            due_s = float(decision.change.dial_sched_time or 0)
            return Until(max(due_s, at_s), Waits.SCHEDULE)
        if outcome.handled:
            return Fate.REACHED
        most = self._planner.max_attempts(record.list_dbid)
        spent = all(used_up(row.record_type, row.attempt, most) for row in chain.chain.records)
        return Fate.USED_UP if spent else Fate.DONE

    def shut_until(self, chain: Running, at_s: float) -> float:
        record = chain.chain.record
        opens = self._planner.hours(record.list_dbid).opening(record, datetime.fromtimestamp(at_s, UTC))
        return at_s if opens is None else opens.timestamp()

    def zone(self, chain: Running) -> str:
        return chain.zone

    def dialed(self, chain: Running) -> bool:
        return chain.times > 0


def carried_on(chain: Chain, change: ChainChange, call_result: int, next_record_id: int | None) -> Chain:
    """The chain's rows as the store writes them after a call on its record (`ocsd.lists.chains`), all of them live."""
    rows = []
    for row in chain.records:
        if row.record_id == chain.record.record_id:
            row = replace(row, attempt=row.attempt + 1, call_result=call_result, record_type=change.record_type)
        elif change.sibling_type is not None:
            row = replace(row, record_type=change.sibling_type)
        if change.goes_on:
            row = replace(row, dial_sched_time=change.dial_sched_time, treatments=change.treatments)
        rows.append(row)
    place = next((n for n, row in enumerate(rows) if row.record_id == next_record_id), chain.position)
    return replace(chain, records=tuple(rows), position=place)


# --- forecasts --------------------------------------------------------------------------------------------------------


def group_of(config: Configuration, calling_list: CallingList) -> CampaignGroup:
    """The first campaign group that dials the list; ConfigError: none does."""
    active = {
        campaign.name
        for campaign in config.campaigns
        if any(entry.calling_list == calling_list.name and entry.active for entry in campaign.lists)
    }
    for group in config.campaign_groups:
        if group.campaign in active:
            return group
    raise ConfigError([f"no campaign group dials calling list {calling_list.name!r}, so there is nothing to forecast"])


def cluster_key(calling_list: CallingList, rules: Caps) -> Callable[[Chain], str]:
    """What chains are kept together by in a sample: whom the list's attempt caps count calls for."""
    found = rules.rules(calling_list.dbid)
    field = calling_list.customer_id_field
    if field and any(rule.per == "customer_id" for rule in found):
        return lambda chain: str(chain.records[0].user_fields.get(field) or chain.chain_id)
    if found:
        return lambda chain: chain.records[0].contact_info
    return lambda chain: str(chain.chain_id)


@dataclass(frozen=True, slots=True)
class Question:
    """``until``, ``start``: aware."""

    dials_per_hour: float
    mix: Mix
    start: datetime
    until: datetime
    seed: int = 1
    runs: int = RUNS
    sample: int = SAMPLE_CHAINS


def forecast(
    conn: psycopg.Connection[Any],
    config: Configuration,
    calling_list: CallingList,
    dnc: Forbids | DoNotCall,
    question: Question,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> Forecast:
    """
    Read the list once, in one snapshot, and run its sample several times.

    Args:
        conn: as for `preflight`.
        progress: called with the runs that are done, and all of them.

    Raises ConfigError when no campaign group dials the list, or its filter does not work.
    """
    planner, caps = Planner(config, group_of(config, calling_list)), Caps(config)
    key = cluster_key(calling_list, caps)
    with snapshot(conn, config, calling_list) as reader:
        sampler, total = Sampler(question.sample, reader.chains(), question.seed), 0
        for block in reader.blocks():
            for listed in block:
                if not listed.claimed:
                    sampler.add(listed, key(listed.chain))
                    total += 1
        sample = sampler.sample()
        records = [record for listed in sample.chains for record in listed.chain.records]
        past = past_of(conn, caps, planner, records, question.start)
    forbidden = forbidden_records(config, calling_list, planner.campaign, dnc, question.start, records)
    return run(planner, caps, calling_list, sample, total, forbidden.keys(), past, question, progress=progress)


def past_of(
    conn: psycopg.Connection[Any], caps: Caps, planner: Planner, records: Sequence[CallingRecord], now: datetime
) -> list[Call]:
    """The calls made already that the caps of these records count."""
    if not records or not caps.rules(records[0].list_dbid):
        return []
    history = past_calls(conn, caps, [caps.call(record, planner.campaign.dbid, now) for record in records])
    return list(history.calls())


def run(
    planner: Planner,
    caps: Caps,
    calling_list: CallingList,
    sample: Sample,
    total: int,
    forbidden: Iterable[int],
    past: Sequence[Call],
    question: Question,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> Forecast:
    """``forbidden``: record ids on Do-Not-Call; ``total``: chains of the list."""
    gone = frozenset(forbidden)
    hours = partial(_zone_name, planner)
    courses = []
    for number in range(question.runs):
        rules = ProductionRules(planner, caps, past, question.mix, question.seed * 1009 + number)
        chains = [_running(listed, gone, hours) for listed in sample.chains]
        loop = Loop(
            chains,
            rules,
            dials_per_hour=question.dials_per_hour * sample.part,
            start_s=question.start.timestamp(),
            until_s=question.until.timestamp(),
        )
        courses.append(loop.run())
        if progress is not None:
            progress(number + 1, question.runs)
    return summary(
        calling_list.name,
        courses,
        chains=total,
        part=sample.part,
        until_s=question.until.timestamp(),
        dials_per_hour=question.dials_per_hour,
        assumptions=assumptions(planner, calling_list, sample, question),
    )


def _zone_name(planner: Planner, record: CallingRecord) -> str:
    return str(planner.zone(record))


def _running(listed: ListedChain, forbidden: frozenset[int], zone_of: Callable[[CallingRecord], str]) -> Running:
    """Records on Do-Not-Call leave their chain when it is claimed; the others go on."""
    chain = listed.chain
    zone = zone_of(chain.record)
    left = tuple(record for record in chain.records if record.record_id not in forbidden)
    running = Running(replace(chain, records=left) if left else chain, listed.rank, zone)
    if not left:
        running.first = Fate.FORBIDDEN
    return running


def assumptions(planner: Planner, calling_list: CallingList, sample: Sample, question: Question) -> tuple[str, ...]:
    told = [
        f"{question.dials_per_hour:.0f} dials an hour for this list, whenever there is something to dial",
        f"results as in {question.mix.source}, each independent of those before",
        f"{question.runs} runs of "
        + (
            f"{len(sample.chains)} chains, {100 * sample.part:.1f} % of the list"
            if sample.part < 1
            else "the whole list"
        ),
    ]
    if sample.part * question.runs < 1:
        told.append("the very last chains of so large a list may come later than a sample shows; 99 % are well known")
    if len(planner.shares()) > 1:
        told.append(f"campaign {planner.campaign.name!r} has other lists too; the pace is this list's own")
    if any(treatment.disposition.strip() for treatment in planner.treatments(calling_list.dbid)):
        told.append("treatments by disposition are not used: nobody knows the codes of calls that have not been made")
    told.append("no new records, callbacks, cancellations or requests not to be called")
    return tuple(told)
