"""What daemon and media servers say of analysis, ended channels and themselves; part of `telephony.contract`."""

from enum import StrEnum

import msgspec


class AnalysisSettings(msgspec.Struct, frozen=True):
    """How call progress analysis behaves on one channel. Durations in ms."""

    tone_plan: str = "US"
    detect_machine: bool = True
    detect_tones: bool = True
    timeguard_ms: int = 8000
    """Longest analysis after connect; when it runs out the verdict is TIMEGUARD, which counts as answered."""
    human_silence_ms: int = 700
    """Silence after a greeting that is needed to call it a person (see ``human_probability``)."""
    sure_silence_ms: int = 580
    """The same when the model is sure that this is a person (``sure_probability``)."""
    undecided_silence_ms: int = 780
    """After so much silence nobody waits longer: a person. Few persons come so far."""
    undecided_probability: float = 0.965
    """P(machine) from here on after a greeting and ``human_silence_ms``: a machine."""
    human_probability: float = 0.82
    """P(machine) below this after a greeting and ``human_silence_ms``: a person."""
    sure_probability: float = 0.3
    """P(machine) below this: ``sure_silence_ms`` is silence enough."""
    machine_probability: float = 0.99
    """P(machine) from here on: a machine, at once."""
    revise_probability: float = 0.98
    """The same after the verdict was a person: speech that goes on shows a machine. Above 1.0: never revised so."""
    initial_silence_ms: int = 4500
    """Nothing heard for this long after connect: verdict SILENCE."""
    after_bridge_ms: int = 0
    """
    How long the analysis listens on after `Bridge`, where the verdict was HUMAN or TIMEGUARD; 0: it ends with it.

    Only what the called party says is heard, and only a recording tone or a fax or modem revises the verdict: people
    tell an agent long stories too.
    """


class StartAnalysis(msgspec.Struct, frozen=True, tag=True):
    """
    Begin listening. ``connected`` False: early media (tones before answer); call again with True at the answer.

    Asked again while it listens to the answered call, it goes on with what it has heard. It ends with a bridge, or
    some time after it (``after_bridge_ms``), and with a conference or a supervisor (`Join`) in any case.
    """

    channel_id: str
    connected: bool
    settings: AnalysisSettings = AnalysisSettings()


class StopAnalysis(msgspec.Struct, frozen=True, tag=True):
    channel_id: str


class VerdictKind(StrEnum):
    """What call progress analysis heard. Final verdicts come once, later ones revise (see `Verdict.revises`)."""

    HUMAN = "human"
    MACHINE = "machine"
    FAX = "fax"
    MODEM = "modem"
    PAGER = "pager"
    BUSY = "busy"
    REORDER = "reorder"
    SIT_INTERCEPT = "sit_ic"
    SIT_VACANT = "sit_vc"
    SIT_REORDER = "sit_ro"
    SIT_NO_CIRCUIT = "sit_nc"
    SIT_INEFFECTIVE = "sit_io"
    SIT_UNKNOWN = "sit"
    NU_TONE = "nu"  # number unobtainable
    RINGBACK = "ringback"  # information, not final: the network rings
    CRBT = "crbt"  # information: music in place of the ringback
    ANNOUNCEMENT = "announcement"  # information: somebody speaks before the answer; the signalling says why
    BEEP = "beep"  # information, after MACHINE: the recording began
    NO_RINGBACK = "no_ringback"  # nothing heard before the answer; information
    SILENCE = "silence"  # nothing heard after it
    TIMEGUARD = "timeguard"


class Verdict(msgspec.Struct, frozen=True, tag=True):
    """``cause`` says in a few words why; ``evidence`` holds the figures (seconds, dBFS, Hz, probabilities).

    ``speech_end_s`` is the monotonic end of the called person's greeting (start of the legal two seconds), 0 if none.
    """

    channel_id: str
    kind: VerdictKind
    cause: str
    at_s: float
    connected: bool
    speech_end_s: float = 0.0
    revises: bool = False
    evidence: dict[str, float] = {}


class ChannelClosed(msgspec.Struct, frozen=True, tag=True):
    """Totals of a channel's life; packets dropped are counted by reason (``bad_version``, ``unknown_payload``...).

    Quality as received: ``jitter_ms`` (RFC 3550 6.4.1), ``loss_ratio``, ``gaps`` (20 ms frames that had to be
    concealed), ``mos`` (1..4.5 by the E-model, ITU-T G.107). ``remote_*``: the same as the far end reported it by RTCP.
    ``rtt_ms`` round trip by RTCP. 0 for a ``mos`` or ``rtt_ms`` means: not known. ``payload_type``: what was sent last
    (0 PCMU, 8 PCMA). ``at_s``: when it ended.
    """

    channel_id: str
    packets_in: int
    packets_out: int
    lost: int
    bridged_frames_in: int
    dropped: dict[str, int] = {}
    jitter_ms: float = 0.0
    loss_ratio: float = 0.0
    gaps: int = 0
    mos: float = 0.0
    rtt_ms: float = 0.0
    remote_jitter_ms: float = 0.0
    remote_loss_ratio: float = 0.0
    remote_mos: float = 0.0
    payload_type: int = 0
    at_s: float = 0.0


class MediaStats(msgspec.Struct, frozen=True, tag=True):
    """Answer to `GetStats`. Lateness is how long after its due time a 20 ms tick began, over the last 1000 ticks."""

    seq: int
    channels: int
    analysing: int
    bridged: int
    tick_late_p50_ms: float
    tick_late_p99_ms: float
    tick_work_p50_ms: float
    tick_work_p99_ms: float
    cpu_s: float
    recordings: int = 0
    recording_gaps: int = 0
    """Frames that recordings lost since the server started."""
    mos_p50: float = 0.0
    """Median of the channels that are heard now, see `ChannelClosed.mos`; 0 when none is."""
    mos_p5: float = 0.0
