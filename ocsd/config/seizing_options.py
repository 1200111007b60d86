"""Options of seized agents: engaged legs, how a customer's call is merged with one, assured connections."""

from typing import Final

from ocsd.config.option import ACG, ACGL, Level, Option, TakesEffect

_AG: Final = frozenset({Level.APPLICATION, Level.CAMPAIGN_GROUP})

ASM_CHANNEL_NUM: Final = Option(
    "asm_channel_num", 0, _AG, TakesEffect.IMMEDIATELY,
    "Most engaging calls to agents' phones that a campaign group in a seizing mode holds at once, those merged with a "
    "customer's call and nailed-up phones included. 0: as many as there are agents.",
    unit="calls", minimum=0, maximum=100_000,
)  # fmt: skip
MERGE_METHOD: Final = Option(
    "merge-method", "bridging", ACG, TakesEffect.NEXT_ATTEMPT,
    "How a customer's call and an engaging call are joined. bridging: in the media server. transfer: the same, and "
    "then the customer's side is asked (REFER with Replaces) to take the engaging call's place at the agent's phone, "
    "so that both calls leave ocsd; where it refuses, they stay bridged. Nobody sees the end of a call that has left: "
    "its agent is in after-call work at once.",
    choices=("bridging", "transfer"),
)  # fmt: skip
BEEP_ON_MERGE: Final = Option(
    "beep-on-merge", True, ACG, TakesEffect.NEXT_ATTEMPT,
    "yes: an agent whose phone is up already hears a short tone the moment a customer is on the line. The customer "
    "does not hear it, and does not wait for it.",
)  # fmt: skip
ENGAGED_PROMPT: Final = Option(
    "engaged-prompt", "", ACG, TakesEffect.NEXT_ATTEMPT,
    "What agents hear, again and again, while they are engaged without a customer: name of a prompt of the media "
    "server's prompt folder. Empty: quiet comfort noise.",
    maximum=255, ours=True,
)  # fmt: skip
ENGAGED_LEGS: Final = Option(
    "engaged-legs", "release", ACG, TakesEffect.NEXT_ATTEMPT,
    "What becomes of an engaging call after the conversation. release: it ends, and the agent is engaged anew when "
    "ready again; keep: it stays up for the next customer until the agent is not ready or logs out. Nailed-up phones "
    "are always kept.",
    choices=("release", "keep"), ours=True,
)  # fmt: skip
ASM_DROP_ANNOUNCEMENT_DATA: Final = Option(
    "asm_drop_announcement_data", "", ACG, TakesEffect.NEXT_ATTEMPT,
    "Announcement for an answered person whom no engaged agent is free for within call_wait_in_queue_timeout, in a "
    "seizing mode: name of a prompt of the media server's prompt folder. Empty: the built-in drop announcement.",
    maximum=255,
)  # fmt: skip
ASM_DROP_AM_ANNOUNCEMENT_DATA: Final = Option(
    "asm_drop_am_announcement_data", "", ACG, TakesEffect.NEXT_ATTEMPT,
    "Message left on answering machines in a seizing mode where no treatment acts on the call: name of a prompt of the "
    "media server's prompt folder. Empty: a machine is hung up on.",
    maximum=255,
)  # fmt: skip
ASSURED_CONNECT: Final = Option(
    "assured-connect", False, ACGL, TakesEffect.NEXT_ATTEMPT,
    "yes: records flagged by assured-connect-field are dialed only once the phone of an agent of the group has been "
    "answered, in every automatic mode; the engaging call carries GSW_ASSURED_HANDLE.",
)  # fmt: skip
ASSURED_CONNECT_FIELD: Final = Option(
    "assured-connect-field", "", ACGL, TakesEffect.NEXT_ATTEMPT,
    "The user column that flags records for assured-connect: any value but empty, 0, no, n, false and f.",
    maximum=63,
)  # fmt: skip

SEIZING_OPTIONS: Final[tuple[Option[bool] | Option[int] | Option[float] | Option[str], ...]] = (
    ASM_CHANNEL_NUM,
    ASM_DROP_AM_ANNOUNCEMENT_DATA,
    ASM_DROP_ANNOUNCEMENT_DATA,
    ASSURED_CONNECT,
    ASSURED_CONNECT_FIELD,
    BEEP_ON_MERGE,
    ENGAGED_LEGS,
    ENGAGED_PROMPT,
    MERGE_METHOD,
)
