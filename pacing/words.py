"""A decision in words: what bound it, what was there, what it expects, how the group does. For people; not for parsing.

Figures that a decision does not have are left out, so that recordings of other versions can be told too.
"""

from collections.abc import Mapping
from typing import Final

from pacing.types import DialDecision, Goal, LegalRoom, PacingTarget

REASONS: Final[Mapping[str, str]] = {
    "progressive": "as many as agents are free for",
    "learning": "one call for each free agent until enough results are known to predict",
    "one_to_one": "one call for each free agent",
    "risk": "as many as the goal allows",
    "goal": "as many as the busy factor or wait time asked for needs",
    "overdial_bound": "as many as the overdial bound allows, which is fewer than the goal asks for",
    "hard_limit": "the goal is exceeded and limits are hard: one call for each free agent until it is met again",
    "batch": "the calls before must all have ended first, as in small groups by the option",
    "legal_guard": "the legal window has little room left: one call for each free agent",
    "legal_stop": "the legal window has no room left: nothing is dialed",
    "ports": "no more ports or legs are free",
    "records": "no more records are in the buffer",
    "start_rate": "calls per second are used up",
}
"""By `DialDecision.because`; a reason that is not here is told as it is called."""


def told(decision: DialDecision, target: PacingTarget | None = None, legal: LegalRoom | None = None) -> list[str]:
    """Sentences, the most important first."""
    figures = decision.inputs
    parts = [_launched(decision), _group(figures), _prediction(decision), _measured(figures, target), _bounds(figures)]
    if legal is not None:
        parts.append(_legal(legal))
    return [sentence for sentence in parts if sentence]


def reason(decision: DialDecision) -> str:
    """Why not one call more."""
    figures = decision.inputs
    if decision.because == "risk" and "next_risk" in figures and "theta" in figures:
        which = "a first" if not decision.launch else f"number {decision.launch + 1}"
        over = "is above" if figures["next_risk"] > figures["theta"] else "is within"
        return f"the risk of {which}, {figures['next_risk']:.4f}, {over} {figures['theta']:.4f}"
    return REASONS.get(decision.because, decision.because.replace("_", " "))


def _launched(decision: DialDecision) -> str:
    gave_up = len(decision.release)
    calls = "" if not gave_up else f"; gave up {gave_up} that rang, as nobody would be free"
    return f"launched {decision.launch}: {reason(decision)}{calls}"


def _group(figures: Mapping[str, float]) -> str:
    words = {
        "idle": "agents idle",
        "kept_back": "of them kept for inbound calls",
        "leaving": "of them about to leave",
        "talking": "talking",
        "wrapping": "in wrap-up",
        "ready_soon": "announced to be ready soon",
        "ringing": "calls ringing",
        "analysing": "under analysis",
        "people_waiting": "people waiting",
        "inbound_waiting": "inbound calls waiting",
        "inbound_ringing": "inbound calls about to come",
    }
    always = ("idle", "talking", "wrapping", "ringing")
    return ", ".join(
        f"{figures[name]:g} {text}"
        for name, text in words.items()
        if name in figures and (figures[name] or name in always)
    )


def _prediction(decision: DialDecision) -> str:
    figures = decision.inputs
    if "expected_people" not in figures:
        return ""
    within = f" within {figures['horizon_s']:g} s" if "horizon_s" in figures else ""
    text = f"expected of all calls under way{within}: {figures['expected_people']:.1f} people"
    if "expected_abandoned" in figures:
        text += f", {figures['expected_abandoned']:.2f} of them without an agent"
    text += f" ({100 * decision.predicted_overdial_ratio:.1f} %)"
    if "expected_freed" in figures:
        text += f"; {figures['expected_freed']:.1f} busy agents come free"
    if "hit_ratio" in figures:
        text += f"; {100 * figures['hit_ratio']:.1f} % of calls are answered"
        if figures.get("hit_ratio_error"):
            text += f" (give or take {100 * figures['hit_ratio_error']:.1f})"
    return text


def _measured(figures: Mapping[str, float], target: PacingTarget | None) -> str:
    texts = []
    if "people" in figures and "abandoned" in figures:
        share = 100.0 * figures["abandoned"] / figures["people"] if figures["people"] else 0.0
        bound = f", bound {100 * figures['max_overdial_ratio']:.1f} %" if "max_overdial_ratio" in figures else ""
        texts.append(
            f"so far {figures['abandoned']:g} of {figures['people']:g} people abandoned ({share:.1f} %{bound})"
        )
    if figures.get("window_people"):
        lately = f"{figures['window_abandoned']:g} of {figures['window_people']:g}"
        texts.append(f"in the last quarter of an hour {lately}")
    if "busy_factor" in figures:
        texts.append(f"agents busy {100 * figures['busy_factor']:.1f} %{_goal(target, Goal.BUSY_FACTOR)}")
    if "agent_wait_s" in figures:
        texts.append(f"they wait {figures['agent_wait_s']:.1f} s for a call{_goal(target, Goal.WAIT_TIME)}")
    return ", ".join(texts)


def _goal(target: PacingTarget | None, goal: Goal) -> str:
    if target is None or target.goal is not goal:
        return ""
    return f" (goal {target.value:g} s)" if goal is Goal.WAIT_TIME else f" (goal {100 * target.value:g} %)"


def _bounds(figures: Mapping[str, float]) -> str:
    words = {"ports_free": "ports free", "records_ready": "records ready", "starts_allowed": "starts allowed now"}
    shown = [f"{figures[name]:g} {text}" for name, text in words.items() if name in figures and figures[name] < 1e6]
    return "room: " + ", ".join(shown) if shown else ""


def _legal(legal: LegalRoom) -> str:
    text = f"legal window: at most {100 * legal.pace_ratio:.2f} % of people from now on"
    more = f"{legal.abandoned_allowed:.1f} more" if legal.abandoned_allowed > 0.0 else "nobody"
    text += f", {more} may be abandoned now"
    if legal.stop:
        text += ", no call may start"
    return f"{text} ({legal.because})" if legal.because else text
