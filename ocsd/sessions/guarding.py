"""
The guard over a campaign's legal window, in this daemon: all sessions of the campaign share one.

What is counted
---------------
The database has whoever was written, of all nodes; `CampaignGuard` reads it every few seconds. People of our own calls
are counted at once, when they get their agent or nobody; until their attempt is written *and* the ledger has been read
again, they stand beside what was read. Around the write it cannot be told whether a reading has a person already. Then
an abandoned person counts in any case and a person who was served does not: for some seconds the guard is a little too
careful, never too lenient.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import Final

import structlog
import trio

from ocsd.config.legal import KEPT_OPEN as KEPT_OPEN
from ocsd.config.legal import guard_of, ledger_of
from ocsd.config.objects import Campaign, Configuration
from ocsd.lists.store import ListStore
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import AbandonmentBucket, PersonFound
from ocsd.sessions.attempt import AttemptMachine
from ocsd.sessions.attempt_events import AttemptState
from ocsd.sessions.clock import Clock
from ocsd.sessions.people import person_of
from pacing import LegalRoom
from pacing.guard import Guard, GuardState, Ledger, OneToOneRecord, Phase, PhaseWatch

log = structlog.get_logger()

READ_PERIOD_S: Final = 5.0
"""How often the ledger is read: what other nodes spend is known so late."""

ONE_TO_ONE_AFTER_S: Final = 60.0
"""So long after the guard has closed, the calls that were started ahead of agents are over."""

ASKED_LATELY_S: Final = 10.0
"""A session that has asked for its room within this time spends it."""

UNREAD: Final = LegalRoom(0.0, 0.0, because="what was abandoned before is still being read")


class _Written(Enum):
    NO = auto()
    BEGUN = auto()
    """The write is under way: a reading may have it."""
    YES = auto()


@dataclass(slots=True)
class _Person:
    """``doubtful``: a reading may have the person already."""

    found: PersonFound
    written: _Written = _Written.NO
    doubtful: bool = False


class CampaignGuard:
    """The guard of one campaign; ``config`` must have its campaign, with options that fit together."""

    def __init__(self, config: Configuration, campaign_dbid: int, store: ListStore, clock: Clock) -> None:
        self.campaign_dbid = campaign_dbid
        self._store = store
        self._clock = clock
        self._people: dict[int, _Person] = {}
        self._asked: dict[int, tuple[float, float]] = {}
        """By campaign group: when it asked last, and whom its calls under way were expected to lose."""
        self._one_to_one = OneToOneRecord()
        self._watch = PhaseWatch()
        self._closed_since_s: float | None = None
        self._lock = trio.Lock()
        self._read_s: float | None = None
        self._buckets: tuple[AbandonmentBucket, ...] = ()
        self._started_s: int | None = None
        self._others = 0
        self._ledger = Ledger()
        self._last: tuple[float, GuardState] | None = None
        self.guard: Guard | None = None
        self._obey(config, guard_of(config, self._campaign_in(config)))

    def reconfigure(self, config: Configuration) -> None:
        """Go on with a changed configuration."""
        try:
            guard = guard_of(config, self._campaign_in(config))
        except ValueError as error:
            # The file was right; but of what it removes some stays until a restart, and may not fit the rest.
            log.warning("guard.not_reconfigured", campaign=self.campaign.name, error=str(error))
            guard = self.guard
        self._obey(config, guard)

    def _campaign_in(self, config: Configuration) -> Campaign:
        return next(found for found in config.campaigns if found.dbid == self.campaign_dbid)

    def _obey(self, config: Configuration, guard: Guard | None) -> None:
        self.campaign = self._campaign_in(config)
        self.group_dbids = tuple(g.dbid for g in config.campaign_groups if g.campaign == self.campaign.name)
        before, self.guard = self.guard, guard
        if self.guard is not None and (before is None or self.guard.rule.window_s > before.rule.window_s):
            self._read_s = None  # more is needed than was read: of the past, or since nothing was watched
        self._rebuild()

    # --- the ledger ----------------------------------------------------------------------------------------------

    async def keep_read(self) -> None:
        """Read the ledger again and again, for ever; every session does, and the first in each period reads."""
        while True:
            async with self._lock:
                if self.guard is not None and self._is_old():
                    try:
                        await self.read()
                    except StoreUnavailable as error:
                        log.warning("guard.not_read", campaign=self.campaign.name, error=str(error))
            await trio.sleep(READ_PERIOD_S)

    def _is_old(self) -> bool:
        return self._read_s is None or self._clock.now_s() - self._read_s >= READ_PERIOD_S

    async def read(self) -> None:
        """Read what all nodes have written; raises StoreUnavailable."""
        assert self.guard is not None
        written = [attempt_id for attempt_id, person in self._people.items() if person.written is _Written.YES]
        since = self._clock.utc() - timedelta(seconds=self.guard.rule.window_s) - KEPT_OPEN
        counts = await self._store.abandonment(self.campaign_dbid, since, self.group_dbids)
        for attempt_id in written:
            self._people.pop(attempt_id, None)
        for person in self._people.values():
            person.doubtful = person.written is not _Written.NO
        known = self._buckets, self._started_s
        self._buckets, self._started_s, self._others = counts.buckets, counts.started_s, counts.others
        self._read_s = self._clock.now_s()
        if written or self._people or known != (self._buckets, self._started_s):
            self._rebuild()

    def _rebuild(self) -> None:
        self._last = None
        if self.guard is None:
            return
        self._ledger = ledger_of(self.guard.rule, self._buckets, self._started_s)
        for person in self._people.values():
            self._count(person)

    def _count(self, person: _Person) -> None:
        assert self.guard is not None
        lost = person.found.abandoned or (person.found.late and self.guard.rule.late_counts)
        if lost or not person.doubtful:
            self._ledger.add(person.found.at.timestamp(), 0 if person.doubtful else 1, int(lost))
        self._last = None

    # --- what happens --------------------------------------------------------------------------------------------

    def changed(self, attempt_id: int, machine: AttemptMachine) -> None:
        """An attempt has changed: a person who has got an agent, or none, counts from now on."""
        if (known := self._people.get(attempt_id)) is not None:
            if known.found.abandoned and known.written is _Written.NO and person_of(machine, self._clock) is None:
                del self._people[attempt_id]  # somebody else has taken the call after all
                self._rebuild()
            return
        settled = machine.bridged or "abandoned" in machine.marks or machine.state is AttemptState.FINISHED
        found = person_of(machine, self._clock) if settled else None
        if found is None:
            return
        person = self._people[attempt_id] = _Person(found)
        if self.guard is None:
            return
        self._count(person)
        now_s = self._clock.now_s()
        if self._closed_since_s is not None and now_s - self._closed_since_s >= ONE_TO_ONE_AFTER_S:
            late = found.late and self.guard.rule.late_counts
            self._one_to_one.add(found.at.timestamp(), abandoned=found.abandoned or late)

    def writing(self, attempt_id: int) -> None:
        """The attempt's result is being written: a reading from now on may have its person."""
        if (person := self._people.get(attempt_id)) is not None:
            person.written = _Written.BEGUN

    def written(self, attempt_id: int) -> None:
        """The result is on disk."""
        if (person := self._people.get(attempt_id)) is not None:
            person.written = _Written.YES
            if self.guard is None:
                del self._people[attempt_id]  # nobody reads

    # --- what is left --------------------------------------------------------------------------------------------

    def room(self, campaign_group_dbid: int, expected_abandoned: float, *, spends: bool = True) -> LegalRoom | None:
        """
        What one campaign group may spend now; None: no window is watched.

        Args:
            expected_abandoned: people whom its calls under way are expected to lose.
            spends: the group dials, and shares the room.
        """
        now_s = self._clock.now_s()
        if spends:
            self._asked[campaign_group_dbid] = now_s, max(0.0, expected_abandoned)
        if self.guard is None:
            return None
        if self._read_s is None:
            return UNREAD
        state = self.state()
        if (phase := self._watch.change(state)) is not None:
            self._tell(phase, state)
        if state.phase is Phase.OPEN:
            self._closed_since_s = None
        elif self._closed_since_s is None:
            self._closed_since_s = now_s
        return state.room

    def state(self) -> GuardState:
        """The guard's state now, with all figures; only while a rule is in force."""
        assert self.guard is not None
        now_s = self._clock.now_s()
        if self._last is not None and now_s - self._last[0] < 1.0:
            return self._last[1]
        lately = [lost for at_s, lost in self._asked.values() if now_s - at_s <= ASKED_LATELY_S]
        state = self.guard.state(
            self._ledger,
            self._clock.utc().timestamp(),
            self._one_to_one,
            abandoned_under_way=sum(lately),
            sharers=max(1, len(lately)) + self._others,
        )
        self._last = now_s, state
        return state

    def _tell(self, phase: Phase, state: GuardState) -> None:
        figures = {
            "campaign": self.campaign.name,
            "rule": state.rule.name,
            "people": state.count.people,
            "abandoned": state.count.abandoned,
            "allowed": round(state.room.abandoned_allowed, 2),
            "because": state.room.because,
        }
        match phase:
            case Phase.OPEN:
                log.info("guard.opened", **figures)
            case Phase.ONE_TO_ONE:
                log.warning("guard.bound", **figures)
            case Phase.STOPPED:
                log.error("guard.stopped", **figures)

    def figures(self) -> dict[str, float | int | None]:
        """For the live figures of a session."""
        if self.guard is None or self._read_s is None:
            return {}
        state = self.state()
        return {
            "guard_people": state.count.people,
            "guard_abandoned": state.count.abandoned,
            "guard_rate": state.count.ratio,
            "guard_limit": state.rule.limit_ratio,
            "guard_pace": state.room.pace_ratio,
            "guard_allowed": state.room.abandoned_allowed,
            "guard_reserve": state.reserve,
            "guard_binds": int(state.phase is not Phase.OPEN),
            "guard_stopped": int(state.phase is Phase.STOPPED),
            "guard_window_ends": state.ends_s,
        }
