"""Options of call control: hold, and whom agents may call out of a conversation."""

from typing import Final

from ocsd.config.option import ACG, ACGL, Option, TakesEffect

HOLD_MUSIC: Final = Option(
    "hold-music", "music", ACGL, TakesEffect.IMMEDIATELY,
    "What people on hold hear, again and again: name of a prompt of the media server's prompt folder, or the built-in "
    "music. Empty: the silence, or comfort noise, of who hears nobody.",
    maximum=255, ours=True,
)  # fmt: skip
HOLD_SIGNALLING: Final = Option(
    "hold-signalling", False, ACG, TakesEffect.IMMEDIATELY,
    "yes: the customer's side is told of hold and retrieval by a re-INVITE (a=sendonly, RFC 3264 8.4), for carriers "
    "and PBXs that want to know. Music comes from the media server either way.",
    ours=True,
)  # fmt: skip
OUTSIDE_DESTINATIONS: Final = Option(
    "outside-destinations", "*", ACGL, TakesEffect.IMMEDIATELY,
    "Numbers outside that agents may consult, transfer calls to and bring into conferences, separated by commas; an "
    "entry that ends in * allows every number that begins so. Empty: none. Those calls are the agent's, not the "
    "campaign's: neither Do-Not-Call nor calling hours apply, and they are logged.",
    maximum=1000, ours=True,
)  # fmt: skip

CALL_OPTIONS: Final[tuple[Option[bool] | Option[int] | Option[float] | Option[str], ...]] = (
    HOLD_MUSIC,
    HOLD_SIGNALLING,
    OUTSIDE_DESTINATIONS,
)
