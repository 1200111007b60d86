"""What an option is: its type, range, levels, and how a value is read. The options themselves are in `options`."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, Generic, TypeAlias, TypeVar, cast

from ocsd.config.addresses import is_http_url

OptionValue: TypeAlias = bool | int | float | str
T = TypeVar("T", bound=OptionValue)


class Level(Enum):
    """Objects that carry options, weakest first."""

    APPLICATION = "application"
    TRUNK = "trunk"
    CAMPAIGN = "campaign"
    CAMPAIGN_GROUP = "campaign group"
    CALLING_LIST = "calling list"


class TakesEffect(Enum):
    """When a changed value is obeyed, counted from the moment the daemon has read the new configuration."""

    IMMEDIATELY = "at once"
    NEXT_ATTEMPT = "from the next call that is started"
    NEXT_CLAIM = "from the next records that are taken from the lists"
    NEXT_TREATMENT = "from the next record that is treated"
    NEXT_LOAD = "when the campaign group is next loaded"


A: Final = frozenset({Level.APPLICATION})
AC: Final = frozenset({Level.APPLICATION, Level.CAMPAIGN})
ACG: Final = frozenset({Level.APPLICATION, Level.CAMPAIGN, Level.CAMPAIGN_GROUP})
ACGL: Final = ACG | {Level.CALLING_LIST}
AGT: Final = frozenset({Level.APPLICATION, Level.TRUNK, Level.CAMPAIGN_GROUP})
ACGT: Final = ACG | {Level.TRUNK}

_TIMES_OF_DAY: Final = re.compile(r"(([01][0-9]|2[0-3]):[0-5][0-9](, ?(?=[0-9])|$))*")
_BOOLEANS: Final[Mapping[str, bool]] = MappingProxyType({"yes": True, "true": True, "no": False, "false": False})


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """One supported option.

    Attributes:
        default: our default (not the vendor's); its type is the type of the option.
        unit: unit of a number, empty for others.
        minimum, maximum: inclusive range of a number.
        choices: allowed values of a text option; empty: any text of at most ``maximum`` characters.
        digits: a text option that holds a telephone number (digits, with or without a leading +).
        times: a text option that holds times of day, HH:MM, separated by commas.
        web: a text option that holds an http or https address. It may hold secrets, so no message quotes it.
        ours: True for a name that is not the manual's.
    """

    name: str
    default: T
    levels: frozenset[Level]
    takes_effect: TakesEffect
    meaning: str
    unit: str = ""
    minimum: float = -math.inf
    maximum: float = math.inf
    choices: tuple[str, ...] = ()
    digits: bool = False
    times: bool = False
    web: bool = False
    ours: bool = False

    @property
    def allowed(self) -> str:
        """The allowed values in words, e.g. ``a whole number of ms from 500 to 60000``."""
        if isinstance(self.default, bool):
            return "yes, no, true or false"
        if isinstance(self.default, (int, float)):
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            unit = f" of {self.unit}" if self.unit else ""
            return f"{kind}{unit} from {self.minimum:g} to {self.maximum:g}"
        if self.choices:
            return " or ".join(self.choices)
        if self.digits:
            return "at most 30 digits, with or without a leading +"
        if self.times:
            return "times of day as HH:MM, separated by commas, for example 02:30,14:30"
        if self.web:
            return f"an http or https address of at most {self.maximum:g} characters"
        return f"text of at most {self.maximum:g} characters without quotation marks and backslashes"

    def parse(self, value: object) -> T:
        """Return ``value`` in the option's type; ValueError (naming what is allowed) when it does not fit."""
        parsed = self._converted(value)
        if parsed is None:
            raise ValueError(f"must be {self.allowed}" + ("" if self.web else f", got {value!r}"))
        return cast(T, parsed)  # each branch below goes by the type of the default

    def _converted(self, value: object) -> OptionValue | None:
        # A bool is an int to Python, never to an operator; and numbers may be written as text, as vendor exports do.
        if isinstance(self.default, bool):
            return value if isinstance(value, bool) else _BOOLEANS.get(str(value).strip().lower())
        if isinstance(self.default, (int, float)):
            number = self._number(value)
            return number if number is not None and self.minimum <= number <= self.maximum else None
        if isinstance(value, (bool, float)):
            return None
        text = str(value).strip()
        if self.choices:
            return text if text in self.choices else None
        if self.digits:
            return text if re.fullmatch(r"(\+?[0-9]{1,30})?", text) else None
        if self.times:
            return text if _TIMES_OF_DAY.fullmatch(text) else None
        if self.web:
            return text if not text or (len(text) <= self.maximum and is_http_url(text)) else None
        # It goes into a quoted string of a SIP header, where these would need escapes or start a header of their own.
        fits = text.isprintable() and len(text) <= self.maximum and not set(text) & {'"', "\\"}
        return text if fits else None

    def _number(self, value: object) -> int | float | None:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        kind = type(self.default)
        if kind is int and isinstance(value, float):
            return int(value) if value.is_integer() else None
        try:
            return int(value) if kind is int else float(value)
        except ValueError:
            return None
