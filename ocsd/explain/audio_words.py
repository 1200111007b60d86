"""How the legs of a call sounded, in words: from what the journal keeps of it (``evidence``, under ``streams``)."""

from collections.abc import Mapping
from typing import Any


def audio_words(evidence: object) -> str:
    """
    E.g. ``audio of the customer MOS 4.1 (0.2 % lost, jitter 3 ms), of us there MOS 3.9; of the agent MOS 4.4``.

    "Of us there" is what the far end reported of what it heard. Empty when nothing is known of any leg.
    """
    streams = evidence.get("streams") if isinstance(evidence, Mapping) else None
    if not isinstance(streams, list):
        return ""
    told = [_told(stream) for stream in streams if isinstance(stream, Mapping)]
    return f"audio {'; '.join(told)}" if told else ""


def _told(stream: Mapping[str, Any]) -> str:
    words = f"of the {stream.get('leg')} "
    mos = stream.get("mos")
    if isinstance(mos, int | float):
        words += f"MOS {mos:.1f}{_troubles(stream, '')}"
    else:
        words += "never heard" if not stream.get("packets_in") else "heard"
    remote_mos = stream.get("remote_mos")
    if isinstance(remote_mos, int | float):
        words += f", of us there MOS {remote_mos:.1f}{_troubles(stream, 'remote_')}"
    return words


def _troubles(stream: Mapping[str, Any], side: str) -> str:
    loss, jitter_ms = stream.get(f"{side}loss_ratio"), stream.get(f"{side}jitter_ms")
    parts = []
    if isinstance(loss, int | float) and loss >= 0.0005:
        parts.append(f"{100 * loss:.1f} % lost")
    if isinstance(jitter_ms, int | float) and jitter_ms >= 1.0:
        parts.append(f"jitter {jitter_ms:.0f} ms")
    return f" ({', '.join(parts)})" if parts else ""
