"""What the calls of a campaign group have taught: how many are answered, when, by whom, and how long agents are busy.

Estimates and the tables made of them; the pacer asks and decides. Time is ``running_s``, seconds of pacing.
"""

from bisect import bisect_left
from typing import Any

import numpy as np

from pacing.estimators import (
    HORIZON_STEPS,
    SLOW_CALLS,
    STEP_S,
    AgeHistogram,
    AnswerAnalysis,
    Floats,
    HandlingTimes,
    HitRatio,
    answer_prior,
    ending_prior,
)
from pacing.predictive import CallTables, HitEstimate, ReleaseTables, ahead_by_age, call_tables, release_tables
from pacing.types import GroupSnapshot

LAG_QUANTILE = 0.97
"""An outcome counts once this share of answers and of other endings would have come, so that whole cohorts count in the
order of their launch; calls that ring on are estimated from their ages."""
STARTING_S, STARTING_LAG_S = 60.0, 30.0
"""So long after a cold start calls are taken to ring longer than was seen."""
STRAGGLERS_RATIO = 0.05
COHORTS_LAST_S = 120.0
TABLES_LAST_S, SURE_TABLES_LAST_S = 0.5, 2.5
"""Tables of distributions are made anew at most this often; the second once much is known."""
CENSORED_LAST_S = 2.0
"""While talks under way tell more than those that have ended, they are looked at this often."""
MIXED_LEAST = 0.05
"""Share of people among the answers under which theirs cannot be told from the machines' by subtraction."""


class Evidence:
    """
    Everything learnt from single calls.

    Args:
        max_wait_s: seconds that an answered person may wait for an agent.

    Attributes:
        running_s: seconds that the decisions so far span, since the last restart; whoever decides moves it on.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._patience = int(max_wait_s / STEP_S)
        self.hits = HitRatio()
        self.handling = HandlingTimes()
        self._answers = AgeHistogram(answer_prior())
        self._other_answers = AgeHistogram(answer_prior())
        self._endings = AgeHistogram(ending_prior())
        self._analysis = AnswerAnalysis()
        self._verdicts = 0
        self.running_s = 0.0
        self._earlier_s = 0.0
        """Running seconds before the last restart."""
        self._launches_s: list[float] = []
        """Running seconds of the decisions that launched calls, while these may still ring."""
        self._releases: tuple[ReleaseTables, ReleaseTables] | None = None
        self._calls: CallTables | None = None
        self._releases_at = self._calls_at = (0, 0.0)

    # What happened; ages are seconds from the launch ---------------------------------------------------------------

    def launched(self) -> None:
        """Calls have been launched now."""
        self._launches_s.append(self.running_s)
        del self._launches_s[: bisect_left(self._launches_s, self.running_s - COHORTS_LAST_S)]

    def answered(self, age_s: float) -> None:
        """By whomever."""
        self._answers.add(age_s)
        self._analysis.answered(self.running_s, self._launched_s(age_s))
        self._observe(hit=True, age_s=age_s)

    def ended(self, age_s: float) -> None:
        """Without an answer."""
        self._endings.add(age_s)
        self._observe(hit=False, age_s=age_s)

    def not_a_person(self, age_s: float, after_answer_s: float) -> None:
        """An answered call turned out to be something else, ``after_answer_s`` seconds after the answer."""
        self._analysis.other(after_answer_s, self.running_s, self._launched_s(age_s))
        self._other_answers.add(max(0.0, age_s - after_answer_s))

    def person(self, delay_s: float) -> None:
        """Analysis found a person ``delay_s`` seconds after the answer."""
        self._verdicts += 1
        self._analysis.person(delay_s, self.running_s)

    def person_settled(self) -> None:
        """A person was connected or lost; where nothing is analysed, that is how one gets to know of a person."""
        if not self._verdicts:
            self._analysis.person(0.0, self.running_s)

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        """An agent finished a call."""
        self.handling.add(talk_s, wrap_up_s)

    def gave_up(self, age_s: float) -> None:
        """Learn from a call that was given up, as far as one can: it counts by what it would have come to."""
        ratio, share = self.hits.estimate()[0], self._analysis.person_share()[0]
        answered, ended = self._answers.ahead(age_s), self._endings.ahead(age_s)
        hit = ratio * answered / max(ratio * answered + (1.0 - ratio) * ended, 1e-9)
        machine = hit * min((1.0 - share) * self._other_answers.ahead(age_s) / max(answered, 1e-9), 1.0)
        self._answers.add_censored(age_s, hit)
        self._other_answers.add_censored(age_s, machine)
        self._endings.add_censored(age_s, 1.0 - hit)
        self._observe(hit=hit, age_s=age_s)

    def _observe(self, *, hit: float, age_s: float) -> None:
        self.hits.observe(hit, self._launched_s(age_s))

    def _launched_s(self, age_s: float) -> float:
        """Running seconds of the decision after which a call of this age was launched.

        Between two decisions no time is known to pass: what was launched after one of them counts as one cohort, or
        quick outcomes would seem to belong to earlier launches than slow ones.
        """
        launched_s = self.running_s - age_s
        cohort = bisect_left(self._launches_s, launched_s - 1e-6)
        return self._launches_s[cohort] if cohort < len(self._launches_s) else launched_s

    def _lag_s(self) -> float:
        """How long after its launch an outcome counts. Of the first calls only the quick answers are known at first."""
        lag_s = max(self._answers.quantile_s(LAG_QUANTILE), self._endings.quantile_s(LAG_QUANTILE))
        return lag_s if self._earlier_s + self.running_s > STARTING_S else max(lag_s, STARTING_LAG_S)

    def advance(self, snapshot: GroupSnapshot) -> None:
        """Let the outcomes count whose time has come by now."""
        lag_s = self._lag_s()
        if self._earlier_s + self.running_s <= STARTING_S:
            # The first cohorts count when they are all but whole: their stragglers would seem the latest news.
            overdue = [age_s for age_s in snapshot.attempts_age_s if age_s >= lag_s]
            if len(overdue) > STRAGGLERS_RATIO * self.hits.waiting:
                lag_s = max(overdue) + 0.01
        self.hits.advance(self.running_s - lag_s)
        self._analysis.advance(self.running_s, lag_s)

    # What follows --------------------------------------------------------------------------------------------------

    def hit_estimate(self, snapshot: GroupSnapshot, tables: CallTables) -> HitEstimate:
        """Share of people and machines among the calls under way; those overdue count by what they may still become."""
        person_ratio, person_error = self._analysis.person_share()
        lag_s = self._lag_s()
        overdue = tuple(age_s for age_s in snapshot.attempts_age_s if age_s >= lag_s)
        ratio, error = self.hits.estimate()
        if overdue:
            answered, ended = ahead_by_age(tables, overdue, person_ratio)
            for _ in range(3):  # the estimate is in its own posterior; three rounds settle it to well under one percent
                hits = ratio * answered
                expected = float((hits / np.maximum(hits + (1.0 - ratio) * ended, 1e-9)).sum())
                ratio, error = self.hits.estimate(len(overdue), expected)
        relative = ((error / ratio) ** 2 + (person_error / person_ratio) ** 2) ** 0.5
        return HitEstimate(ratio, person_ratio, relative)

    def releases(self, snapshot: GroupSnapshot) -> tuple[ReleaseTables, ReleaseTables]:
        """When talks and wrap-ups end, as distributions; made anew when enough has changed."""
        censored = self.handling.censored and self.running_s - self._releases_at[1] >= CENSORED_LAST_S
        if self._releases is None or censored or self._stale(self.handling.count, self._releases_at):
            talk, wrap_up = self.handling.tables(snapshot.agents_talking_s, HORIZON_STEPS + self._patience)
            self._releases = (release_tables(talk, self._patience), release_tables(wrap_up, self._patience))
            self._releases_at = (self.handling.count, self.running_s)
        return self._releases

    def calls(self, talk: ReleaseTables) -> CallTables:
        """When calls are answered, end, and are told apart, as distributions; made anew when enough has changed."""
        events = self._answers.count + self._endings.count + self._analysis.count
        if self._calls is None or self._stale(events, self._calls_at):
            self._calls = call_tables(
                self._people_answer(),
                self._other_answers.density(),
                self._endings.density(),
                self._analysis.person_delay.density(),
                self._analysis.other_delay.density(),
                talk.life.released((0.0,))[0],
                self._patience,
            )
            self._calls_at = (events, self.running_s)
        return self._calls

    def _people_answer(self) -> Floats:
        """Ages at which people answer: those of all answers less those of machines."""
        share = self._analysis.person_share()[0]
        people = np.maximum(self._answers.density() - (1.0 - share) * self._other_answers.density(), 0.0)
        whole = float(people.sum())
        return people / whole if whole > MIXED_LEAST else self._answers.density()

    def _stale(self, events: int, built: tuple[int, float]) -> bool:
        """One percent of new evidence changes no decision; while little is known every second one may."""
        apart_s = TABLES_LAST_S if events < SLOW_CALLS else SURE_TABLES_LAST_S
        return events - built[0] > min(events, SLOW_CALLS) // 100 and self.running_s - built[1] >= apart_s

    # Keeping it ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything as a plain dict (fit for JSON), for `load`."""
        self._releases = self._calls = None  # so that this one and its copy rebuild the same tables
        return {
            "ran_s": self._earlier_s + self.running_s,
            "hits": self.hits.state(self.running_s),
            "answers": self._answers.state(),
            "other_answers": self._other_answers.state(),
            "endings": self._endings.state(),
            "analysis": self._analysis.state(self.running_s),
            "handling": self.handling.state(),
            "verdicts": self._verdicts,
            "launches_s": [at_s - self.running_s for at_s in self._launches_s],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on with what ``state`` holds (other keys are others')."""
        self._earlier_s = float(state["ran_s"])
        self.hits.load(state["hits"])
        self._answers.load(state["answers"])
        self._other_answers.load(state["other_answers"])
        self._endings.load(state["endings"])
        self._analysis.load(state["analysis"])
        self.handling.load(state["handling"])
        self._verdicts = int(state["verdicts"])
        self._launches_s = [float(at_s) for at_s in state["launches_s"]]
