"""Presets of legal calling hours and attempt caps, from the dated and cited data files beside this module.

The files say what each key means. They are part of the program, so a fault in them is an InvariantError.
"""

import tomllib
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ocsd.model.errors import InvariantError
from ocsd.rules.holidays import is_public_holiday, knows_holidays
from ocsd.rules.windows import DAY_S, Span, merged_spans

HOUR_S: Final = 3600
_SATURDAY: Final = 5
_SUNDAY: Final = 6


def _spans(value: object) -> tuple[Span, ...]:
    """``["10:00-13:00", "14:00-20:00"]`` as seconds since midnight."""
    if not isinstance(value, list):
        raise ValueError("must be a list of windows such as 08:00-21:00")
    spans = tuple(_span(text) for text in value)
    if merged_spans(spans) != spans:
        raise ValueError("windows must be in order, and neither overlap nor touch")
    return spans


def _span(text: object) -> Span:
    edges = str(text).split("-")
    try:
        from_s, till_s = (int(edge[:2]) * HOUR_S + int(edge[3:]) * 60 for edge in edges if edge[2] == ":")
    except (ValueError, IndexError):
        raise ValueError(f"{text!r} is no window such as 08:00-21:00") from None
    if not 0 <= from_s < till_s <= DAY_S:
        raise ValueError(f"{text!r} does not lie within one day")
    return from_s, till_s


Spans = Annotated[tuple[Span, ...], BeforeValidator(_spans)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Preset(_Entry):
    """What every preset says about itself; the head of calling_hours.toml explains each."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: Annotated[str, Field(min_length=1)]
    jurisdiction: Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
    scope: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    url: Annotated[str, Field(pattern=r"^https?://")]
    as_of: date
    verified: bool
    checked: date
    notes: str


class WeekHours(_Entry):
    """Windows by kind of day; empty: no calls. ``holiday``, ``holiday_eve`` None: days like others."""

    monday_to_friday: Spans
    saturday: Spans
    sunday: Spans
    holiday: Spans | None = None
    holiday_eve: Spans | None = None


class CallingHours(Preset):
    """Legal calling hours. ``holidays``: whose public holidays count, ``US-FL``; empty: none do."""

    hours: WeekHours
    holidays: str = ""

    @field_validator("holidays")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and not knows_holidays(value):
            raise ValueError(f"the public holidays of {value!r} are not known")
        return value

    @model_validator(mode="after")
    def _holidays_mean_something(self) -> "CallingHours":
        if bool(self.holidays) is not (self.hours.holiday is not None):
            raise ValueError("holidays and hours.holiday need each other")
        if self.hours.holiday_eve is not None and not self.holidays:
            raise ValueError("hours.holiday_eve needs holidays")
        return self

    def spans_on(self, day: date) -> tuple[Span, ...]:
        """The windows of a local date."""
        if self.hours.holiday is not None and is_public_holiday(self.holidays, day):
            return self.hours.holiday
        weekday = day.weekday()
        if weekday == _SUNDAY:
            return self.hours.sunday
        if weekday == _SATURDAY:
            return self.hours.saturday
        eve = self.hours.holiday_eve
        if eve is not None and is_public_holiday(self.holidays, day + timedelta(days=1)):
            return eve
        return self.hours.monday_to_friday


class PresetRule(_Entry):
    """One rule of a cap, before it is applied to a list: `ocsd.rules.caps.rules_of` resolves person and subject."""

    max_attempts: Annotated[int, Field(ge=1, le=1000)]
    period_h: Annotated[int, Field(ge=1)] | None = None
    period_days: Annotated[int, Field(ge=1)] | None = None
    per: Literal["person", "phone"]
    subject: Literal["same", "all"]
    after_conversation: bool = False

    @model_validator(mode="after")
    def _one_period(self) -> "PresetRule":
        if (self.period_h is None) is (self.period_days is None):
            raise ValueError("give period_h or period_days")
        return self

    @property
    def period_s(self) -> int:
        """Calendar days as hours that cover them on the longest occasion, when clocks go back."""
        if self.period_h is not None:
            return self.period_h * HOUR_S
        assert self.period_days is not None
        return self.period_days * DAY_S + HOUR_S


class AttemptCapPreset(Preset):
    rules: Annotated[tuple[PresetRule, ...], Field(min_length=1)]


P = TypeVar("P", bound=Preset)


def calling_hours(preset_id: str) -> CallingHours:
    """Raises KeyError when there is no such preset."""
    return all_calling_hours()[preset_id]


def attempt_cap_preset(preset_id: str) -> AttemptCapPreset:
    """Raises KeyError when there is no such preset."""
    return all_attempt_caps()[preset_id]


def preset_ids() -> tuple[str, ...]:
    """Every id, of calling hours and attempt caps, once."""
    return tuple(sorted({*all_calling_hours(), *all_attempt_caps()}))


@cache
def all_calling_hours() -> Mapping[str, CallingHours]:
    return parsed(CallingHours, "calling_hours", _text("calling_hours.toml"))


@cache
def all_attempt_caps() -> Mapping[str, AttemptCapPreset]:
    return parsed(AttemptCapPreset, "attempt_caps", _text("attempt_caps.toml"))


def _text(file: str) -> str:
    return resources.files(__name__).joinpath(file).read_text(encoding="utf-8")


def parsed(model: type[P], key: str, text: str) -> Mapping[str, P]:
    """The presets of a data file by id, in the order of the file. Raises InvariantError: the file is at fault."""
    try:
        tables = tomllib.loads(text)
        if set(tables) != {key}:
            raise InvariantError(f"presets: only [[{key}]] may stand in {key}.toml, found {sorted(tables)}")
        presets = [model.model_validate(table) for table in tables[key]]
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise InvariantError(f"presets: {key}.toml: {error}") from error
    by_id = {preset.id: preset for preset in presets}
    if len(by_id) != len(presets):
        raise InvariantError(f"presets: an id stands twice in {key}.toml")
    return MappingProxyType(by_id)
