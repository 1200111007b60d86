"""
One run of a voice application of steps as a pure machine: keys, ends of prompts and the clock in, things to do out.

Theory of operation
-------------------
    step 1 -> step 2 -> ... -> the end of the call

    play       Say, and on at the end of the prompts, or at a key
    menu       Say -> Listen (timeout_s) -> the step of the key
                 ^          | another key, or none: no_match, no_input, retries times
                 |__________|                       then otherwise, else the next step
    record     Note, and on
    queue      FindAgent: the call is an agent's from then on; back here without one
    transfer   CallOut: the call goes on elsewhere; back here when nobody answers
    hang_up    HangUp

A prompt that cannot be played counts as heard: whoever is on the line can still choose. A key that interrupts the
prompts of a play step counts for a menu right after it, so people who know the menu need not wait for it.
"""

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias

from ocsd.config.voice_objects import VoiceApplication, VoiceStep
from ocsd.model.enums import CallResult

MAX_STEPS: Final = 1000
"""Steps of one call; whoever goes round a menu longer than that is a machine."""


class Phase(Enum):
    """What the step under way waits for."""

    SPEAKING = auto()
    LISTENING = auto()
    AWAY = auto()  # an agent, or another line
    OVER = auto()


# --- what there is to do --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Say:
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopSaying:
    pass


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the record. ``result`` None: as it is. ``fields``: values by user column."""

    result: CallResult | None
    fields: dict[str, str | int | float]
    do_not_call: bool


@dataclass(frozen=True, slots=True)
class FindAgent:
    """``agent_group`` "": of the campaign group's own. ``prompts``: heard meanwhile, again and again."""

    agent_group: str
    attach: dict[str, str]
    wait_s: float
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallOut:
    """``refer``: the far end is asked to do it."""

    destination: str
    refer: bool = False


@dataclass(frozen=True, slots=True)
class HangUp:
    pass


ToDo: TypeAlias = Say | StopSaying | Note | FindAgent | CallOut | HangUp


@dataclass(slots=True)
class VoiceMachine:
    """
    ``deadline_s``: monotonic time at which `time_up` is to be called; math.inf: none.

    ``path``: the steps taken, by name or by number counted from 1, for the journal; ``keys``: those that were pressed.
    """

    application: VoiceApplication
    deadline_s: float = math.inf
    phase: Phase = Phase.OVER
    path: list[str] = field(default_factory=list)
    keys: str = ""
    _index: int = 0
    _left: int = 0
    """Retries left in this menu."""
    _key: str = ""
    """Pressed before its menu."""

    @property
    def step(self) -> VoiceStep | None:
        """The one under way; None: at the end."""
        return self.application.steps[self._index] if self._index < len(self.application.steps) else None

    def start(self, now_s: float) -> tuple[ToDo, ...]:
        return self._enter(0, now_s)

    def spoken(self, now_s: float) -> tuple[ToDo, ...]:
        """The prompts have been heard, or could not be played."""
        step = self.step
        if self.phase is not Phase.SPEAKING or step is None:
            return ()
        if step.do == "play":
            return self._after(step, now_s)
        return self._listen(step, now_s)

    def pressed(self, key: str, now_s: float) -> tuple[ToDo, ...]:
        """A key of the far end."""
        step = self.step
        if step is None or self.phase not in (Phase.SPEAKING, Phase.LISTENING):
            return ()
        self.keys = (self.keys + key)[-64:]
        if self.phase is Phase.SPEAKING and not step.barge_in:
            return ()
        silence: tuple[ToDo, ...] = (StopSaying(),) if self.phase is Phase.SPEAKING else ()
        if step.do == "play":
            self._key = key
            return (*silence, *self._after(step, now_s))
        if key in step.choices:
            return (*silence, *self._go(step.choices[key], now_s))
        return (*silence, *self._again(step, step.no_match, now_s))

    def time_up(self, now_s: float) -> tuple[ToDo, ...]:
        """``deadline_s`` has passed."""
        step = self.step
        if self.phase is not Phase.LISTENING or step is None or now_s < self.deadline_s:
            return ()
        return self._again(step, step.no_input, now_s)

    def came_back(self, now_s: float) -> tuple[ToDo, ...]:
        """No agent was there in time, or nobody answered the transfer."""
        step = self.step
        if self.phase is not Phase.AWAY or step is None:
            return ()
        return self._given_up(step, now_s)

    # --- steps ----------------------------------------------------------------------------------------------------

    def _go(self, name: str, now_s: float) -> tuple[ToDo, ...]:
        steps = self.application.steps
        return self._enter(next(number for number, step in enumerate(steps) if step.name == name), now_s)

    def _after(self, step: VoiceStep, now_s: float) -> tuple[ToDo, ...]:
        return self._go(step.next, now_s) if step.next else self._enter(self._index + 1, now_s)

    def _given_up(self, step: VoiceStep, now_s: float) -> tuple[ToDo, ...]:
        return self._go(step.otherwise, now_s) if step.otherwise else self._enter(self._index + 1, now_s)

    def _enter(self, index: int, now_s: float) -> tuple[ToDo, ...]:
        """Take the step, and those after it that take no time."""
        done: list[ToDo] = []
        while True:
            self._index, self.deadline_s = index, math.inf
            step = self.step
            if step is None or len(self.path) >= MAX_STEPS:
                self.phase = Phase.OVER
                return (*done, HangUp())
            self.path.append(step.name or str(index + 1))
            if step.do != "record":
                return (*done, *self._begin(step, now_s))
            done.append(Note(step.result, dict(step.fields), step.do_not_call))
            index = self._place(step.next) if step.next else index + 1

    def _place(self, name: str) -> int:
        return next(number for number, step in enumerate(self.application.steps) if step.name == name)

    def _begin(self, step: VoiceStep, now_s: float) -> tuple[ToDo, ...]:
        match step.do:
            case "play":
                self.phase, self._key = Phase.SPEAKING, ""
                return (Say(step.prompts),)
            case "menu":
                self._left, key, self._key = step.retries, self._key, ""
                if key in step.choices:
                    return self._go(step.choices[key], now_s)
                return self._ask(step, step.prompts, now_s)
            case "queue":
                self.phase = Phase.AWAY
                return (FindAgent(step.agent_group, dict(step.attach), step.wait_s, step.prompts),)
            case "transfer":
                self.phase = Phase.AWAY
                return (CallOut(step.destination, step.refer),)
            case _:
                self.phase = Phase.OVER
                return (HangUp(),)

    def _ask(self, step: VoiceStep, prompts: tuple[str, ...], now_s: float) -> tuple[ToDo, ...]:
        if not prompts:
            return self._listen(step, now_s)
        self.phase, self.deadline_s = Phase.SPEAKING, math.inf
        return (Say(prompts),)

    def _listen(self, step: VoiceStep, now_s: float) -> tuple[ToDo, ...]:
        self.phase, self.deadline_s = Phase.LISTENING, now_s + step.timeout_s
        return ()

    def _again(self, step: VoiceStep, first: tuple[str, ...], now_s: float) -> tuple[ToDo, ...]:
        """No key that means anything: say so, and ask again."""
        if self._left <= 0:
            return self._given_up(step, now_s)
        self._left -= 1
        return self._ask(step, (*first, *step.prompts), now_s)
