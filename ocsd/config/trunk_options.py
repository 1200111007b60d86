"""Options of caller IDs: who calls, by which number, and whether the called person may see it."""

from typing import Final

from ocsd.config.option import AC, ACGL, Level, Option, TakesEffect

ROTATIONS: Final = ("round-robin", "random", "least-recently-used", "per-callee")

CPN_DIGITS: Final = Option(
    "CPNDigits", "", ACGL, TakesEffect.NEXT_ATTEMPT,
    "Caller number shown to the called person, and attached for desktops as GSW_CPN_DIGITS. Empty: the trunk's "
    "caller_id. A number of caller-id-sets goes before it.",
    digits=True,
)  # fmt: skip
CPN_PRESENTATION: Final = Option(
    "CPNPresentation", "allowed", AC, TakesEffect.NEXT_ATTEMPT,
    "Whether the called person may see the caller number. restricted: From is anonymous and Privacy: id is sent (RFC "
    "3323); the carrier still gets the number by the identity header of its trunk. In the US a telemarketer must "
    "show one (47 CFR 64.1601(e)).",
    choices=("allowed", "restricted"),
)  # fmt: skip
CALLER_ID_SETS: Final = Option(
    "caller-id-sets", "", frozenset({Level.CAMPAIGN_GROUP}), TakesEffect.NEXT_ATTEMPT,
    "Names of caller ID sets, separated by commas: each call shows one of their numbers. The number is attached as "
    "GSW_CPN_DIGITS, the set's name as GSW_CPN_DIGITS_SET. While every number rests, CPNDigits or the trunk's "
    "caller_id is shown.",
    maximum=1000,
)  # fmt: skip
CALLER_ID_ROTATION: Final = Option(
    "caller-id-rotation", "round-robin", frozenset({Level.CAMPAIGN_GROUP}), TakesEffect.NEXT_ATTEMPT,
    "Which number of caller-id-sets is next. round-robin: each in turn; random; least-recently-used: the one that has "
    "been silent longest; per-callee: a called number is shown the same one each time, while that one does not rest.",
    choices=ROTATIONS,
)  # fmt: skip

TRUNK_OPTIONS: Final[tuple[Option[bool] | Option[int] | Option[float] | Option[str], ...]] = (
    CALLER_ID_ROTATION,
    CALLER_ID_SETS,
    CPN_DIGITS,
    CPN_PRESENTATION,
)
