"""Options of the GVP modes and of IVR groups."""

from typing import Final

from ocsd.config.option import ACG, Option, TakesEffect

VOICE_APPLICATION: Final = Option(
    "voice-application", "", ACG, TakesEffect.NEXT_ATTEMPT,
    "The voice application that answered calls run in Progressive GVP and Power GVP mode: name of one of "
    "[[voice_applications]]. Required in these modes, unless the agent group is an IVR group, to whose ports calls are "
    "connected then.",
    maximum=255, ours=True,
)  # fmt: skip
VOICE_TO_MACHINES: Final = Option(
    "voice-to-machines", False, ACG, TakesEffect.NEXT_ATTEMPT,
    "yes: answering machines run the voice application too, from the recording tone on where am-beep-detection is on. "
    "Without, they do only where a treatment connects them.",
    ours=True,
)  # fmt: skip
VOICE_CHANNEL_NUM: Final = Option(
    "voice_channel_num", 0, ACG, TakesEffect.IMMEDIATELY,
    "Most calls of a campaign group that run its voice application at once. 0: as many as the IVR group has places, "
    "else num_of_channels.",
    unit="calls", minimum=0, maximum=100_000, ours=True,
)  # fmt: skip
POWER_CALLS_PER_MINUTE: Final = Option(
    "power-calls-per-minute", 0.0, ACG, TakesEffect.IMMEDIATELY,
    "Power GVP: starts this many calls a minute, as long as ports are free, in place of what optimize_by and "
    "optimize_goal ask for. 0: by the goal; with optimize_by busy_factor that is port utilization.",
    unit="calls per minute", minimum=0.0, maximum=600_000.0, ours=True,
)  # fmt: skip
IVR_UPDATE_ON_RELEASE: Final = Option(
    "ivr_update_on_release", False, ACG, TakesEffect.NEXT_ATTEMPT,
    "yes: what an IVR port sends with the end of a call (X-Genesys- headers of its BYE, or User-to-User) is written to "
    "the record: GSW_CALL_RESULT, and the fields with that send_attribute.",
)  # fmt: skip

VOICE_OPTIONS: Final[tuple[Option[bool] | Option[int] | Option[float] | Option[str], ...]] = (
    IVR_UPDATE_ON_RELEASE,
    POWER_CALLS_PER_MINUTE,
    VOICE_APPLICATION,
    VOICE_CHANNEL_NUM,
    VOICE_TO_MACHINES,
)
