"""How good a call sounds, as far as the packets tell: the E-model of ITU-T G.107 for G.711. Pure.

All parameters that a packet network does not touch keep the default values of G.107 (table 2), so the rating of a
perfect path is 93.2. What is left: delay (Id), and loss with its burstiness (Ie,eff). Packets that come too late to be
played count as lost.
"""

import math
from dataclasses import dataclass
from typing import Final

DEFAULT_RATING: Final = 93.2  # Ro - Is with all default values, G.107 (12/2011) and later
TALKER_ECHO_LOUDNESS_DB: Final = 65.0  # TELR
WEIGHTED_ECHO_PATH_LOSS_DB: Final = 110.0  # WEPL
RECEIVE_LOUDNESS_DB: Final = 2.0  # RLR
NOISE_SUM_DBM0P: Final = -61.18  # No with default values
SIGNAL_TO_NOISE: Final = 94.77  # Ro with default values

G711_IMPAIRMENT: Final = 0.0  # Ie of G.711, ITU-T G.113 table I.4
LOSS_ROBUSTNESS_CONCEALED: Final = 25.1  # Bpl of G.711 with concealment as in its appendix I, G.113 table I.4
LOSS_ROBUSTNESS_PLAIN: Final = 4.3  # Bpl without


@dataclass(frozen=True, slots=True)
class Quality:
    """One direction of a call. ``mos`` 1..4.5 by G.107 annex B, ``rating`` R 0..93.2."""

    rating: float
    mos: float


def estimate(one_way_delay_s: float, loss_ratio: float, burst_ratio: float = 1.0, *, concealed: bool = True) -> Quality:
    """
    Args:
        one_way_delay_s: mouth to ear: network, jitter buffer, packets.
        loss_ratio: share of frames that were not there when they were to be played, 0..1.
        burst_ratio: mean length of the holes over that of random loss at this ratio, >= 1.
        concealed: whether the receiver fills holes as G.711 appendix I does.
    """
    loss_percent = 100 * min(1.0, max(0.0, loss_ratio))
    robustness = LOSS_ROBUSTNESS_CONCEALED if concealed else LOSS_ROBUSTNESS_PLAIN
    impairment = G711_IMPAIRMENT
    if loss_percent > 0:
        impairment += (95 - G711_IMPAIRMENT) * loss_percent / (loss_percent / max(1.0, burst_ratio) + robustness)
    rating = max(0.0, DEFAULT_RATING - delay_impairment(1000 * max(0.0, one_way_delay_s)) - impairment)
    return Quality(rating, mos_of_rating(rating))


def delay_impairment(delay_ms: float) -> float:
    """Id of G.107 section 7.4 with both echoes at their default losses; 0 for no delay."""
    return _talker_echo(delay_ms) + _listener_echo(delay_ms) + _delay_alone(delay_ms)


def _talker_echo(delay_ms: float) -> float:
    if delay_ms < 1.0:
        return 0.0
    echo = TALKER_ECHO_LOUDNESS_DB - 40 * math.log10((1 + delay_ms / 10) / (1 + delay_ms / 150))
    echo += 6 * math.exp(-0.3 * delay_ms**2)
    noise = -1.5 * (NOISE_SUM_DBM0P - RECEIVE_LOUDNESS_DB)
    half = (noise - (80 + 2.5 * (echo - 14))) / 2
    return (half + math.sqrt(half**2 + 100) - 1) * (1 - math.exp(-delay_ms))


def _listener_echo(delay_ms: float) -> float:
    loss = 10.5 * (WEIGHTED_ECHO_PATH_LOSS_DB + 7) / math.sqrt(math.sqrt(2 * delay_ms + 1))
    half = (SIGNAL_TO_NOISE - loss) / 2
    listener = half + math.sqrt(half**2 + 169)
    # At no delay the formula leaves a remnant that is already part of the default rating.
    at_once = (SIGNAL_TO_NOISE - 10.5 * (WEIGHTED_ECHO_PATH_LOSS_DB + 7)) / 2
    return listener - (at_once + math.sqrt(at_once**2 + 169))


def _delay_alone(delay_ms: float) -> float:
    if delay_ms <= 100:
        return 0.0
    x = math.log2(delay_ms / 100)
    return 25 * (math.pow(1 + x**6, 1 / 6) - 3 * math.pow(1 + (x / 3) ** 6, 1 / 6) + 2)


def mos_of_rating(rating: float) -> float:
    """The estimated mean opinion score of a rating R (G.107 annex B)."""
    if rating <= 0:
        return 1.0
    if rating >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)
