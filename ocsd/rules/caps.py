"""Attempt caps: at most so many calls in a stretch of time to one person about one subject.

Who counts them (the calling lists, in SQL) asks here which rules hold for a list, and what the counted times mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from ocsd.config.objects import CallingList, Configuration
from ocsd.config.options import did_you_mean
from ocsd.model.errors import ConfigError
from ocsd.model.records import Refusal
from ocsd.rules.presets import AttemptCapPreset, all_attempt_caps
from ocsd.rules.windows import DAY_S, utc, whole_second_after

Per: TypeAlias = Literal["phone", "customer_id"]
Subject: TypeAlias = Literal["all", "campaign", "calling_list", "subject_field"]


@dataclass(frozen=True, slots=True)
class CapRule:
    """
    One rule, ready to be counted.

    Attributes:
        name: of the attempt cap object or preset; a preset's rules share it.
        max_attempts: calls allowed in any ``period_s`` seconds.
        per: whom calls are counted for.
        subject: which calls count: all of the tenant, those of the campaign or list, those with the same value in the
            list's subject field.
        after_conversation: count only calls in which an agent talked, by the time the agent was connected; else every
            call, by the time it was started.
        source: the law behind a preset; empty for an operator's own rule.
    """

    name: str
    max_attempts: int
    period_s: int
    per: Per
    subject: Subject
    after_conversation: bool = False
    source: str = ""

    def __str__(self) -> str:
        who = "number" if self.per == "phone" else "customer"
        about = {
            "all": "",
            "campaign": " in this campaign",
            "calling_list": " from this list",
            "subject_field": " on this subject",
        }[self.subject]
        what = "conversation" if self.after_conversation else "call"
        source = f" ({self.source})" if self.source else ""
        return (
            f"{self.name}: at most {self.max_attempts} {what}{'s' * (self.max_attempts != 1)} to a {who}{about} "
            f"in {period_in_words(self.period_s)}{source}"
        )


def period_in_words(period_s: int) -> str:
    """``24 h``, ``7 days``, ``7 days and 1 h``."""
    days, rest_s = divmod(period_s, DAY_S) if period_s >= 3 * DAY_S else (0, period_s)
    rest = f"{rest_s / 3600:g} h" if rest_s else ""
    return " and ".join(part for part in (f"{days} days" if days else "", rest) if part)


def rules_of(config: Configuration, calling_list: CallingList) -> tuple[CapRule, ...]:
    """
    The rules that the list names, objects before presets of the same name.

    A preset's person is the customer where the list has a customer_id field, else the number; its subject is the
    list's subject field, and every call where it has none (stricter than asked, never laxer).

    Args:
        config: as the loader has checked it.

    Raises:
        ConfigError: a name is neither that of an object nor of a preset (the loader does not know presets).
    """
    if problems := caps_problems(config, calling_list):
        raise ConfigError(problems)
    own = {cap.name: cap for cap in config.attempt_caps}
    rules: list[CapRule] = []
    for name in dict.fromkeys(calling_list.attempt_caps):
        if (cap := own.get(name)) is None:
            rules.extend(_resolved(all_attempt_caps()[name], calling_list))
        else:
            period_s = max(1, round(cap.period_h * 3600))
            rules.append(CapRule(name, cap.max_attempts, period_s, cap.per, cap.subject, cap.after_conversation))
    return tuple(rules)


def caps_problems(config: Configuration, calling_list: CallingList) -> list[str]:
    """What keeps `rules_of` from finding the list's rules, one sentence each."""
    known = [*(cap.name for cap in config.attempt_caps), *all_attempt_caps()]
    return [
        f'attempt_caps of calling list "{calling_list.name}": there is neither an attempt cap nor a preset called '
        f'"{name}"{did_you_mean(name, tuple(known)) or "; `ocsd rules list` shows the presets."}'
        for name in calling_list.attempt_caps
        if name not in known
    ]


def _resolved(preset: AttemptCapPreset, calling_list: CallingList) -> list[CapRule]:
    return [
        CapRule(
            name=preset.id,
            max_attempts=rule.max_attempts,
            period_s=rule.period_s,
            per="customer_id" if rule.per == "person" and calling_list.customer_id_field else "phone",
            subject="subject_field" if rule.subject == "same" and calling_list.subject_field else "all",
            after_conversation=rule.after_conversation,
            source=preset.source,
        )
        for rule in preset.rules
    ]


def refusal(rule: CapRule, history: Sequence[datetime], at: datetime) -> Refusal | None:
    """
    Whether one more call at ``at`` would break the rule, and from when it would not.

    Counted are the times in (at - period, at], and those after ``at`` as well: another daemon's clock may run ahead.

    Args:
        history: aware times of the calls (or conversations) that count for the rule, in any order; those that are
            older than the period may be left out.
    """
    period = timedelta(seconds=rule.period_s)
    counted = sorted(time for time in history if time > at - period)
    if len(counted) < rule.max_attempts:
        return None
    # One more fits as soon as all but the last max_attempts - 1 have left the window. Whole seconds, as schedules are.
    until = utc(whole_second_after(counted[-rule.max_attempts].astimezone(UTC) + period))
    return Refusal(f"attempt cap {rule}: {len(counted)} already", until)
