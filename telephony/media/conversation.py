"""Who hears whom: bridges, conferences, and supervisors who listen, whisper or barge in. Pure; channels are rows.

Theory of operation. Members of a conversation are peers: two are a bridge (`partner`, the cheap common case), three or
more a conference. A supervisor is no member: it is attached to one channel and follows it from conversation to
conversation. From both follows for each listener the set of its talkers:

    member      the other members, supervisors who barge in on any member, supervisors who whisper to this member
    supervisor  all members of the conversation of its channel, the other supervisors there who barge in

Bridges without a supervisor never enter the table of talkers; `plan` holds only the others, flattened for one
`add.reduceat`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.contract import Role

MAX_MEMBERS: Final = 32
"""More people than that on one line are a meeting; the sum of their noise alone would be heard."""

Indices = npt.NDArray[np.intp]


class ConversationError(Exception):
    """Cannot be joined so; the text says why."""


@dataclass(frozen=True, slots=True)
class MixPlan:
    """
    ``listeners`` (k,) ascending; talkers of ``listeners[i]`` are ``talkers[starts[i]:starts[i + 1]]``, at least one.

    ``deaf`` are those who take part and hear nobody. ``several`` (k,) bool: more than one talker.
    """

    listeners: Indices
    starts: Indices
    talkers: Indices
    several: npt.NDArray[np.bool_]
    deaf: Indices


def _rows(values: list[int]) -> Indices:
    return np.array(values, dtype=np.intp)


class Conversations:
    """Bridges, conferences and supervisors of ``capacity`` rows. ``partner[row]``: the other of a bridge, else -1."""

    def __init__(self, capacity: int) -> None:
        self.partner = np.full(capacity, -1, dtype=np.intp)
        self.talks = np.zeros(capacity, dtype=np.bool_)
        """Is a member of a bridge or a conference."""
        self._conference: dict[int, frozenset[int]] = {}
        self._supervises: dict[int, tuple[int, Role]] = {}
        self._supervisors: dict[int, set[int]] = {}
        self._plan: MixPlan | None = None

    # --- change -------------------------------------------------------------------------------------------------

    def bridge(self, row: int, other: int) -> None:
        """Join two rows; both leave what they were in. Supervisors of both stay with them."""
        for one in (row, other):
            self.leave(one)
        self._settle({row, other})

    def join(self, row: int, other: int, role: Role) -> None:
        """``row`` takes part in the conversation of ``other``. Raises ConversationError; then nothing has changed."""
        if row == other:
            raise ConversationError("a channel cannot join itself")
        if other in self._supervises:
            raise ConversationError("the other channel is a supervisor")
        if role is Role.MEMBER:
            members = self.members(other)
            if row in members:
                return
            if len(members) >= MAX_MEMBERS:
                raise ConversationError(f"the conference has {MAX_MEMBERS} members already")
            self.leave(row)
            self._settle({*self.members(other), row})
            return
        if row in self._supervisors and other in self.members(row):
            raise ConversationError("who is supervised cannot supervise in the same conversation")
        self.leave(row)
        self._supervises[row] = other, role
        self._supervisors.setdefault(other, set()).add(row)
        self._plan = None

    def leave(self, row: int) -> frozenset[int]:
        """Leave bridge, conference or supervised channel; returns the members that remain (none: there were none)."""
        supervised = self._supervises.pop(row, None)
        if supervised is not None:
            self._supervisors[supervised[0]].discard(row)
            if not self._supervisors[supervised[0]]:
                del self._supervisors[supervised[0]]
            self._plan = None
        remaining = self.members(row) - {row}
        if remaining:
            self._settle({row})
            self._settle(set(remaining))
        return remaining

    def close(self, row: int) -> None:
        """The row's channel is gone: it leaves, and its supervisors are on their own."""
        self.leave(row)
        for supervisor in self._supervisors.pop(row, set()):
            del self._supervises[supervisor]
            self._plan = None

    def _settle(self, members: set[int]) -> None:
        """These, and nobody else, are one conversation now."""
        together = frozenset(members)
        for row in members:
            self.partner[row] = -1
            self._conference.pop(row, None)
            self.talks[row] = len(members) > 1
            if len(members) > 2:
                self._conference[row] = together
        if len(members) == 2:
            row, other = members
            self.partner[row], self.partner[other] = other, row
        self._plan = None

    # --- what is ------------------------------------------------------------------------------------------------

    def members(self, row: int) -> frozenset[int]:
        """The row and its peers."""
        found = self._conference.get(row)
        if found is not None:
            return found
        other = int(self.partner[row])
        return frozenset({row, other} if other >= 0 else {row})

    def supervised(self, row: int) -> tuple[int, Role] | None:
        """Whom a supervisor is attached to, and how; None for others."""
        return self._supervises.get(row)

    def everybody(self, row: int) -> frozenset[int]:
        """Members and supervisors of a row's conversation, the row included; of a supervisor's: where it takes part."""
        attached = self._supervises.get(row)
        members = self.members(attached[0] if attached is not None else row)
        return members.union({row}, *(self._supervisors.get(one, ()) for one in members))

    def takes_part(self, row: int) -> bool:
        """Whether it is a member with peers, or supervises."""
        return bool(self.talks[row]) or row in self._supervises

    def plan(self) -> MixPlan:
        """The table of talkers of every conversation that is more than a bridge of two."""
        if self._plan is None:
            self._plan = self._make_plan()
        return self._plan

    def _make_plan(self) -> MixPlan:
        hears: dict[int, set[int]] = {}
        conversations = {self.members(target) for target in self._supervisors} | set(self._conference.values())
        for members in conversations:
            attached = [
                (s, target, self._supervises[s][1]) for target in members for s in self._supervisors.get(target, ())
            ]
            aloud = {s for s, _target, role in attached if role is Role.BARGE}
            for member in members:
                whispered = {s for s, target, role in attached if target == member and role is Role.WHISPER}
                hears.setdefault(member, set()).update((members - {member}) | aloud | whispered)
            for supervisor, _target, _role in attached:
                hears.setdefault(supervisor, set()).update((members | aloud) - {supervisor})
        listeners = sorted(row for row, talkers in hears.items() if talkers)
        talkers = [sorted(hears[row]) for row in listeners]
        counts = [len(one) for one in talkers]
        return MixPlan(
            _rows(listeners),
            _rows([0, *np.cumsum(counts).tolist()][: len(listeners)]),
            _rows([row for one in talkers for row in one]),
            np.array([count > 1 for count in counts], dtype=np.bool_),
            _rows(sorted(row for row, heard in hears.items() if not heard)),
        )


_KNEE: Final = 24576.0
_ROOM: Final = 32767.0 - _KNEE


def mix(frames: npt.NDArray[np.int16], plan: MixPlan) -> npt.NDArray[np.int16]:
    """
    What each of ``plan.listeners`` hears, (k, 160) int16.

    One talker arrives bit by bit. A sum above three quarters of full scale bends smoothly towards full scale: it can
    neither wrap round nor crackle, and everything below stays as it is.
    """
    total = np.add.reduceat(frames[plan.talkers].astype(np.float32), plan.starts, axis=0)
    loud = plan.several & (np.abs(total).max(axis=1) > _KNEE)
    if loud.any():
        x = total[loud]
        size = np.abs(x)
        bent = _KNEE + _ROOM * np.tanh((size - _KNEE) / _ROOM)
        total[loud] = np.where(size > _KNEE, np.sign(x) * bent, x)
    return np.asarray(total).astype(np.int16)
