"""How often call progress analysis is right, by what agents said of test calls: per campaign and trunk, with intervals.

Agents verify a small part of the calls, and fewer machines than people (`ocsd.sessions.verification`). Each kind of
verdict is therefore counted by itself, and weighed by how many calls had it: of N calls with a verdict of which n were
verified and k were persons, about N k / n were persons. The intervals of the rates follow from the posterior of these
shares (Jeffreys' prior), drawn with a fixed seed, so that the same calls always give the same figures.

What no agent hears cannot be verified: calls that ended as fax, tones or silence are counted and otherwise left alone.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import psycopg

from ocsd.config.objects import Configuration
from ocsd.cpa.scoring import Rate
from ocsd.model.enums import CallResult
from ocsd.model.errors import StoreUnavailable

Connection = psycopg.Connection[Any]

PERSON: Final = "person"
MACHINE: Final = "machine"
OTHER: Final = "other"
UNCLEAR: Final = "unclear"
"""A result that does not say who answered, such as a site's own."""

FOUND: Final = MappingProxyType({"human": PERSON, "timeguard": PERSON, "machine": MACHINE})
"""What a verdict took the call for; all others are OTHER."""

TRUTH: Final = MappingProxyType(
    {
        CallResult.ANSWER: PERSON,
        CallResult.WRONG_PARTY: PERSON,
        CallResult.WRONG_NUMBER: PERSON,
        CallResult.DO_NOT_CALL: PERSON,
        CallResult.ANSWERING_MACHINE: MACHINE,
        CallResult.FAX: OTHER,
        CallResult.PAGER: OTHER,
        CallResult.SILENCE: OTHER,
        CallResult.BUSY: OTHER,
        CallResult.NU_TONE: OTHER,
        CallResult.SIT_DETECTED: OTHER,
        CallResult.SIT_INTERCEPT: OTHER,
        CallResult.SIT_INVALID_NUM: OTHER,
        CallResult.SIT_VACANT_CODE: OTHER,
        CallResult.SIT_UNKNOWN: OTHER,
        CallResult.SIT_NO_CIRCUIT: OTHER,
        CallResult.SIT_REORDER: OTHER,
    }
)
"""What an agent's call result says of who answered."""

DRAWS: Final = 4000
SEED: Final = 20_310_403

_COUNTS: Final = """
    SELECT campaign_dbid, switch_dbid, cpa_verdict, verified IS TRUE, agent_id IS NOT NULL,
           CASE WHEN verified THEN agent_result END, count(*)
    FROM ocsd.attempt
    WHERE finished_at IS NOT NULL AND answered_at IS NOT NULL
      AND (cpd_completed_at IS NOT NULL OR connected_at IS NOT NULL)  -- a daemon that died may have had the former
      AND cpa_verdict IS NOT NULL AND started_at >= %(since)s AND started_at < %(until)s
      AND (%(campaign)s::int IS NULL OR campaign_dbid = %(campaign)s)
      AND (%(trunk)s::int IS NULL OR switch_dbid = %(trunk)s)
    GROUP BY 1, 2, 3, 4, 5, 6
    """


@dataclass(frozen=True, slots=True)
class CallsOfOneKind:
    """``count`` calls alike; ``agent_result`` None: no agent has said anything."""

    campaign_dbid: int
    switch_dbid: int | None
    verdict: str
    verified: bool
    with_agent: bool
    agent_result: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of all calls of its kind, weighed; the interval holds it with 95 %."""

    ratio: float
    low: float
    high: float


@dataclass(slots=True)
class Feedback:
    """
    What is known of one campaign on one trunk.

    Attributes:
        calls: answered calls by what the verdict took them for.
        asked: of them, test calls that reached an agent.
        confusion: of those, by verdict and by what the agent said; UNCLEAR for results that do not say.
    """

    campaign: str
    trunk: str
    calls: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    confusion: dict[str, Counter[str]] = field(default_factory=lambda: {PERSON: Counter(), MACHINE: Counter()})

    def add(self, calls: CallsOfOneKind) -> None:
        found = FOUND.get(calls.verdict, OTHER)
        self.calls[found] += calls.count
        if found == OTHER or not calls.verified or not calls.with_agent:
            return
        self.asked[found] += calls.count
        if calls.agent_result is not None:
            self.confusion[found][truth_of(calls.agent_result)] += calls.count

    def said(self, found: str, truth: str) -> Rate:
        """Of the verified calls that were taken for ``found``: how many were ``truth``."""
        return Rate.of_counts(self.confusion[found][truth], self.known(found))

    def known(self, found: str) -> int:
        """Verified calls with this verdict, of which the agent's result says who answered."""
        return sum(count for truth, count in self.confusion[found].items() if truth != UNCLEAR)

    def estimate(self, truth: str, found: str) -> Estimate | None:
        """
        Of all calls that were really ``truth`` and taken for person or machine: the share taken for ``found``.

        None as long as agents have verified no call of a kind of verdict that there are calls of.
        """
        kinds = [kind for kind in (PERSON, MACHINE) if self.calls[kind]]
        if not kinds or any(not self.known(kind) for kind in kinds):
            return None
        generator = np.random.default_rng(SEED)
        weights, shares, middle = [], [], []
        for kind in kinds:
            hits, of = self.confusion[kind][truth], self.known(kind)
            weights.append(self.calls[kind])
            middle.append(hits / of)
            shares.append(generator.beta(hits + 0.5, of - hits + 0.5, DRAWS))
        if not any(middle):
            return None  # nobody like that was verified at all
        calls = np.array(weights, dtype=np.float64)
        drawn = np.stack(shares) * calls[:, None]
        wanted = np.array([kind == found for kind in kinds])
        ratios = drawn[wanted].sum(axis=0) / drawn.sum(axis=0)
        low, high = np.quantile(ratios, (0.025, 0.975))
        expected = np.array(middle) * calls
        ratio = float(expected[wanted].sum() / expected.sum())
        # The middle of few calls may lie outside its own interval: none of three is 0, and the interval knows better.
        return Estimate(round(ratio, 5), round(min(float(low), ratio), 5), round(max(float(high), ratio), 5))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "campaign": self.campaign,
            "trunk": self.trunk,
            "calls": {kind: self.calls[kind] for kind in (PERSON, MACHINE, OTHER)},
            "asked": {kind: self.asked[kind] for kind in (PERSON, MACHINE)},
            "confusion": {
                found: {truth: self.confusion[found][truth] for truth in (PERSON, MACHINE, OTHER, UNCLEAR)}
                for found in (PERSON, MACHINE)
            },
            "of_verdicts": {
                "person_was_machine": _rate(self.said(PERSON, MACHINE)),
                "machine_was_person": _rate(self.said(MACHINE, PERSON)),
            },
            "person_taken_for_machine": _estimate(self.estimate(PERSON, MACHINE)),
            "machine_taken_for_person": _estimate(self.estimate(MACHINE, PERSON)),
            "machine_caught": _estimate(self.estimate(MACHINE, MACHINE)),
        }


def truth_of(agent_result: int) -> str:
    """Who answered, by the call result that an agent sent."""
    try:
        return TRUTH.get(CallResult(agent_result), UNCLEAR)
    except ValueError:
        return UNCLEAR


def _rate(rate: Rate) -> dict[str, float | int] | None:
    if not rate.of:
        return None
    return {"count": rate.count, "of": rate.of, "ratio": rate.ratio, "low": rate.low, "high": rate.high}


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else {"ratio": estimate.ratio, "low": estimate.low, "high": estimate.high}


def counted(
    conn: Connection, since: datetime, until: datetime, campaign_dbid: int | None = None, switch_dbid: int | None = None
) -> list[CallsOfOneKind]:
    """The answered calls of a time (aware, from the first, before the second). Raises StoreUnavailable."""
    try:
        rows = conn.execute(
            _COUNTS, {"since": since, "until": until, "campaign": campaign_dbid, "trunk": switch_dbid}
        ).fetchall()
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"feedback given up: {error}") from error
    return [CallsOfOneKind(*row) for row in rows]


def feedback(configuration: Configuration, calls: Iterable[CallsOfOneKind]) -> list[Feedback]:
    """Per campaign and trunk, in the order of their names; at the end all together, where there are several."""
    campaigns = {one.dbid: one.name for one in configuration.campaigns}
    trunks = {one.dbid: one.name for one in configuration.trunks}
    found: dict[tuple[str, str], Feedback] = {}
    together = Feedback("all", "all")
    for one in calls:
        campaign = campaigns.get(one.campaign_dbid, str(one.campaign_dbid))
        trunk = trunks.get(one.switch_dbid, str(one.switch_dbid)) if one.switch_dbid is not None else "unknown"
        found.setdefault((campaign, trunk), Feedback(campaign, trunk)).add(one)
        together.add(one)
    apart = [found[key] for key in sorted(found)]
    return [*apart, together] if len(apart) > 1 else apart
