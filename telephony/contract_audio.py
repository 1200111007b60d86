"""What the daemon may ask of a channel's audio beyond plain bridging: the second half of `telephony.contract`.

Prompts, conversations of more than two, key presses, recordings, comfort noise. None of the events is sent unless a
command of this module asked for it, so a daemon that does not know them never meets them.
"""

from enum import StrEnum

import msgspec

# --- conversations ----------------------------------------------------------------------------------------------


class Role(StrEnum):
    """How a channel takes part in somebody else's conversation; see `Join`."""

    MEMBER = "member"
    LISTEN = "listen"
    WHISPER = "whisper"
    BARGE = "barge"


class Join(msgspec.Struct, frozen=True, tag=True):
    """
    Take part in the conversation of another channel. Asked again, the role changes without a gap.

    MEMBER: a conference; everybody hears everybody. It lives on when one leaves, and two who remain are a bridge. Stops
    the prompt of who joins, and of who was alone until now.
    LISTEN, WHISPER and BARGE are a supervisor's: they follow the other channel from conversation to conversation until
    `Unbridge` or until either closes. All three hear whatever is said there; nobody hears the one who LISTENs, only
    the other channel hears WHISPER, everybody hears BARGE. Ends earlier bridges of ``channel_id``, never of the other.
    """

    channel_id: str
    other_channel_id: str
    role: Role = Role.MEMBER


class Mute(msgspec.Struct, frozen=True, tag=True):
    """
    What the far end says is heard by nobody, supervisors and recordings included, and its keys go no further; it goes
    on hearing the others. ``muted`` False ends that. Holds across bridges and conferences, until the channel is closed.
    """

    channel_id: str
    muted: bool


class StandBy(msgspec.Struct, frozen=True, tag=True):
    """
    The far end may have its audio from somebody else (direct media): relay what the other of its bridge still says, and
    send nothing of our own, neither noise nor silence. ``standing_by`` False ends that, and so does the channel's end.
    """

    channel_id: str
    standing_by: bool


class Comfort(msgspec.Struct, frozen=True, tag=True):
    """Send noise of this level (dBFS of a full-scale sine, -90..-30) instead of digital silence; 0: silence."""

    channel_id: str
    level_dbfs: float


# --- prompts --------------------------------------------------------------------------------------------------------


class Play(msgspec.Struct, frozen=True, tag=True):
    """
    Play a prompt: a built-in name ("drop", "tone", "ringback", "music") or the path of a file in the prompt folder
    (``.wav``, ``.ulaw``, ``.alaw``; see docs/media.md). "ringback" goes on until something else is asked for, every
    other one ends with `PromptFinished`.

    A folder of the prompt folder that is named like a language (``de``, ``pt-BR``) holds the prompts of that
    ``language``; what it lacks comes from ``pt``, then from the folder itself. ``then``: prompts that follow without a
    gap; one `PromptFinished` with the first name ends all of them. ``loop``: begins again until stopped. ``mix``: added
    to what the channel hears, instead of in place of it. ``everybody``: the others of its conversation hear it too.
    """

    channel_id: str
    prompt: str
    language: str = ""
    then: tuple[str, ...] = ()
    loop: bool = False
    mix: bool = False
    everybody: bool = False


class StopPlaying(msgspec.Struct, frozen=True, tag=True):
    channel_id: str


# --- key presses ------------------------------------------------------------------------------------------------


class DetectDigits(msgspec.Struct, frozen=True, tag=True):
    """
    Report keys that the far end presses as `DigitPressed`, or stop it (``enabled`` False).

    Telephone events (RFC 4733) are always understood. ``inband``: listen for the tones as well, for a far end that
    negotiated no events; a key that comes both ways is reported once.
    """

    channel_id: str
    enabled: bool = True
    inband: bool = False


class DigitPressed(msgspec.Struct, frozen=True, tag=True):
    """A key (``0123456789*#ABCD``) was let go after ``duration_ms``. ``at_s``: monotonic, when it was pressed."""

    channel_id: str
    digit: str
    duration_ms: int
    at_s: float
    inband: bool = False


class SendDigits(msgspec.Struct, frozen=True, tag=True):
    """
    Press keys towards the far end, each for ``tone_ms`` (40..2000) with ``gap_ms`` (40..2000) after it.

    As telephone events, or as tones when ``inband`` is asked or the far end negotiated no events
    (`SetRemote.event_payload_type` 0). Further ones queue up. Answered by `DigitsSent`.
    """

    channel_id: str
    digits: str
    tone_ms: int = 100
    gap_ms: int = 60
    inband: bool = False


class DigitsSent(msgspec.Struct, frozen=True, tag=True):
    """All keys of one `SendDigits` are sent, or ``error`` says why not."""

    channel_id: str
    digits: str
    error: str = ""


# --- recordings -------------------------------------------------------------------------------------------------


class Layout(StrEnum):
    """STEREO: left what the far end said, right what it was sent. MONO: both added up."""

    STEREO = "stereo"
    MONO = "mono"


class StartRecording(msgspec.Struct, frozen=True, tag=True):
    """
    Record a channel into ``path``, relative to the server's recording folder, ending in ``.wav`` (16 bits, 8 kHz).

    Begins with the next 20 ms. The file appears when it is finished, with ``<path>.json`` beside it (SHA-256,
    duration, gaps). ``consent_tone_s``: a short tone this often, heard by the far end and its partners and recorded; 0:
    none. ``max_s``: ends by itself. Ends with the channel at the latest, always with `RecordingFinished`, which comes
    before `ChannelClosed`. Asked again for a path that this channel is recording, nothing changes.
    """

    channel_id: str
    path: str
    layout: Layout = Layout.STEREO
    consent_tone_s: float = 0.0
    max_s: float = 14400.0


class StopRecording(msgspec.Struct, frozen=True, tag=True):
    """End one recording of a channel, or all of them (``path`` empty)."""

    channel_id: str
    path: str = ""


class RecordingSnapshot(msgspec.Struct, frozen=True):
    """A recording that goes on."""

    path: str
    layout: Layout
    consent_tone_s: float
    max_s: float
    began_at_s: float


class RecordingFinished(msgspec.Struct, frozen=True, tag=True):
    """
    A recording is on disk under its final name; or ``error`` says why it is not (whole).

    ``gaps``: 20 ms frames replaced by silence because the disk did not keep up. ``duration_s`` includes them.
    ``continued_in``: after a crash, the path of the recording that goes on where this one ended.
    """

    channel_id: str
    path: str
    duration_s: float = 0.0
    sha256: str = ""
    size_bytes: int = 0
    gaps: int = 0
    began_at_s: float = 0.0
    error: str = ""
    continued_in: str = ""


def continued_path(path: str) -> str:
    """Where a recording goes on whose writer died: ``calls/a.wav``, ``calls/a~2.wav``, ``calls/a~3.wav``..."""
    stem, dot, suffix = path.rpartition(".")
    name, tilde, number = stem.rpartition("~")
    if tilde and number.isdigit():
        return f"{name}~{int(number) + 1}{dot}{suffix}"
    return f"{stem}~2{dot}{suffix}"
