"""Rules about abandoned calls as data: what :mod:`pacing.guard` keeps to. No legal advice."""

from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Final

BUCKET_S: Final = 900
"""Quarters of an hour: every time zone's midnight is the beginning of one."""
DAY_S: Final = 86_400


class WindowKind(Enum):
    SUCCESSIVE = "successive"
    """Periods one after the other from the campaign's first answered person."""
    CALENDAR = "calendar"
    """Periods of whole days from midnight in the rule's zone."""
    ROLLING = "rolling"
    """At any instant, what lies no further back than the window's length."""


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One law, policy or house rule about abandoned calls.

    Attributes:
        limit_ratio: of the people who answer, this share may be abandoned; 0: no allowance at all.
        window_s: length of the window.
        zone: IANA name; where a calendar window's midnight is.
        denominator, clock_start: what counts, in words.
        late_counts: a person whose agent came later than two seconds after the greeting counts as abandoned too.
        since: since when the rule holds (or from when to when it did), in words.
        min_people: of a rolling window: fewer people make no ratio; up to ``limit_ratio * min_people`` of them may be
            abandoned.
    """

    name: str
    title: str
    limit_ratio: float
    window: WindowKind
    window_s: int
    denominator: str
    clock_start: str
    source: str
    since: str
    zone: str = "UTC"
    late_counts: bool = True
    min_people: int = 1_000

    def __post_init__(self) -> None:
        if not 0.0 <= self.limit_ratio < 1.0:
            raise ValueError(f"limit_ratio must be in [0, 1), is {self.limit_ratio}")
        if self.window_s < BUCKET_S or self.window_s % BUCKET_S:
            raise ValueError(f"window_s must be a multiple of {BUCKET_S}, is {self.window_s}")
        if self.window is WindowKind.CALENDAR and self.window_s % DAY_S:
            raise ValueError("a calendar window has whole days")
        if self.min_people < 1:
            raise ValueError(f"min_people must be at least 1, is {self.min_people}")

    @property
    def no_allowance(self) -> bool:
        return self.limit_ratio == 0.0


_ANSWERED: Final = "calls of the campaign that a person answered (no machines, no fax, no calls without an answer)"
_GREETING: Final = "end of the called person's greeting"

PRESETS: Final = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            Rule(
                "campaign", "the campaign's own max_overdial_rate", 0.03, WindowKind.SUCCESSIVE, 30 * DAY_S, _ANSWERED,
                _GREETING, "option max_overdial_rate of the campaign's groups (the lowest)", "whenever it is set",
            ),
            Rule(
                "us-tsr", "United States, Telemarketing Sales Rule", 0.03, WindowKind.SUCCESSIVE, 30 * DAY_S, _ANSWERED,
                _GREETING, "16 CFR 310.4(b)(1)(iv) and (b)(4)(i); 73 FR 51164", "since 1 October 2008",
            ),
            Rule(
                "us-tcpa", "United States, rules under the Telephone Consumer Protection Act", 0.03,
                WindowKind.SUCCESSIVE, 30 * DAY_S, _ANSWERED, _GREETING, "47 CFR 64.1200(a)(7); 77 FR 34233",
                "since November 2012",
            ),
            Rule(
                "strict-1", "1 %, as some regulators and clients ask", 0.01, WindowKind.ROLLING, 30 * DAY_S, _ANSWERED,
                _GREETING, "California Public Utilities Commission, D.02-06-072 under Public Utilities Code 2875.5; "
                "D.03-03-038 went back to 3 %", "in California 1 January to 13 March 2003, since then a house rule",
                min_people=5_000,
            ),
            Rule(
                "uk", "United Kingdom: no allowance", 0.0, WindowKind.CALENDAR, DAY_S, _ANSWERED,
                "the call is picked up; an information message begins within two seconds",
                "Ofcom, Persistent misuse: revised statement of policy, published 20 December 2016",
                "since 1 March 2017", zone="Europe/London", late_counts=False,
            ),
            Rule(
                "uk-2010", "United Kingdom, the former allowance of 3 % in 24 hours", 0.03, WindowKind.CALENDAR, DAY_S,
                "live calls of the campaign (abandoned ones and those passed to an agent)",
                "the call is picked up; an information message begins within two seconds",
                "Ofcom, Revised statement of policy on the persistent misuse of an electronic communications network "
                "or service, 1 October 2010", "until 28 February 2017", zone="Europe/London", late_counts=False,
            ),
        )
    }
)  # fmt: skip
"""Rules by name; no legal advice. `docs/guard.md` says what each leaves open."""


def with_changes(
    rule: Rule,
    *,
    limit_ratio: float | None = None,
    window_s: int | None = None,
    window: WindowKind | None = None,
    zone: str | None = None,
) -> Rule:
    """The rule with a stricter limit or another window; ValueError when they do not fit together."""
    return replace(
        rule,
        limit_ratio=rule.limit_ratio if limit_ratio is None else limit_ratio,
        window_s=rule.window_s if window_s is None else window_s,
        window=rule.window if window is None else window,
        zone=rule.zone if zone is None else zone,
    )
