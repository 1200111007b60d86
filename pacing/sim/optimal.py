"""How much a cleverer rule than one threshold on the risk could gain: the best policy of a Markov decision process.

With exponential handling and ring times the state of a group is (agents busy, calls under way). The best policy for a
price per abandoned person comes from value iteration; the threshold rule launches while the risk of one more call,
computed as :mod:`pacing.predictive` does, is within theta. Both are followed to their stationary distribution
(Puterman, Markov Decision Processes, 1994, chapters 8 and 11). Takes some minutes.

    python -m pacing.sim.optimal [--agents 3 5 10]
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import spsolve
from scipy.stats import binom

Floats = NDArray[np.float64]

HIT_RATIO = 0.3
RING_S, HANDLING_S, PATIENCE_S = 14.0, 180.0, 2.0
STEP_S, HORIZON_S = 0.5, 28.0
PRICES = np.geomspace(3.0, 300.0, 14)
"""Busy agents that one abandoned person is worth, for a second."""
THETAS = np.geomspace(0.005, 0.3, 16)
AT_RATIOS = (0.01, 0.02, 0.03, 0.05)
MOST_SWEEPS, SURE = 40_000, 1e-7
LAUNCH_RATE = 1e4
"""Calls are started at once; to the chain that is this many a second."""


class Group:
    """``agents`` of one kind; up to ``most`` calls under way."""

    def __init__(self, agents: int) -> None:
        self.agents, self.most = agents, 24 + agents
        self.ring_rate, self.handled_rate = 1.0 / RING_S, 1.0 / HANDLING_S
        busy = np.arange(agents + 1)
        self.served = np.where(busy < agents, 1.0, 1.0 - np.exp(-agents * self.handled_rate * PATIENCE_S))
        """By busy agents: P(a person who answers gets an agent in time)."""

    def stationary(self, upto: list[int]) -> tuple[float, float]:
        """Busy factor and abandoned share when calls are started up to ``upto`` by number of busy agents."""
        width = self.most + 1
        states = (self.agents + 1) * width
        rows, columns, rates = [], [], []
        busy_share, abandoned, answered = np.zeros(states), np.zeros(states), np.zeros(states)
        for busy in range(self.agents + 1):
            for calls in range(width):
                state = busy * width + calls
                busy_share[state] = busy / self.agents
                if calls < upto[busy]:
                    moves = [(busy, upto[busy], LAUNCH_RATE)]
                else:
                    resolved = calls * self.ring_rate
                    answered[state] = resolved * HIT_RATIO
                    abandoned[state] = answered[state] * (1.0 - self.served[busy])
                    moves = [(max(busy - 1, 0), calls, busy * self.handled_rate)]
                    if calls:
                        moves.append((min(busy + 1, self.agents), calls - 1, answered[state]))
                        moves.append((busy, calls - 1, resolved * (1.0 - HIT_RATIO)))
                for to_busy, to_calls, rate in moves:
                    rows += [state, state]
                    columns += [to_busy * width + to_calls, state]
                    rates += [rate, -rate]
        balance = csr_matrix((rates, (rows, columns)), shape=(states, states)).T.tolil()
        balance[0, :] = 1.0
        whole = np.zeros(states)
        whole[0] = 1.0
        share = spsolve(balance.tocsc(), whole)
        return float(share @ busy_share), float(share @ abandoned) / max(float(share @ answered), 1e-12)

    def best(self, price: float) -> list[int]:
        """Calls to have under way by number of busy agents, at a price per abandoned person."""
        agents, calls = self.agents, np.arange(self.most + 1)[None, :]
        busy = np.arange(agents + 1)[:, None]
        served = self.served[:, None]
        uniform = agents * self.handled_rate + self.most * self.ring_rate
        value = np.zeros((agents + 1, self.most + 1))
        for _ in range(MOST_SWEEPS):
            after = np.maximum.accumulate(value[:, ::-1], axis=1)[:, ::-1]  # more calls may be started at any time
            freed = np.vstack([after[:1], after[:-1]])
            taken = np.vstack([after[1:], after[-1:]])
            missed = np.hstack([after[:, :1], after[:, :-1]])
            taken = np.hstack([taken[:, :1], taken[:, :-1]])
            rang = calls * self.ring_rate
            reward = busy / agents - price * rang * HIT_RATIO * (1.0 - served)
            flow = busy * self.handled_rate * freed + rang * (HIT_RATIO * taken + (1.0 - HIT_RATIO) * missed)
            stays = uniform - busy * self.handled_rate - rang
            better = (reward + flow + stays * value) / uniform
            change = better - value
            value = better - better[0, 0]
            if float(change.max() - change.min()) < SURE:
                break
        return [int(np.argmax(value[row])) for row in range(agents + 1)]

    def threshold(self, theta: float) -> list[int]:
        """The same by the rule: one more call while its risk is within ``theta``."""
        horizons_s = np.arange(0.0, HORIZON_S + STEP_S, STEP_S)
        arrival = np.diff(1.0 - np.exp(-self.ring_rate * horizons_s), prepend=0.0)
        arrival /= arrival.sum()
        found = []
        for busy in range(self.agents + 1):
            freed = np.arange(busy + 1)[:, None]
            released = binom.pmf(freed, busy, 1.0 - np.exp(-self.handled_rate * (horizons_s + PATIENCE_S)))
            calls = 0
            while calls < self.most:
                comes = HIT_RATIO * (1.0 - np.exp(-self.ring_rate * horizons_s))
                short = (released * binom.sf(self.agents - busy + freed - 1, calls, comes)).sum(axis=0)
                harm = np.maximum.accumulate(short[::-1])[::-1]
                if float(harm @ arrival) > theta:
                    break
                calls += 1
            found.append(calls)
        return found


def _at(found: list[tuple[float, float]], ratio: float) -> float:
    by_ratio = sorted((abandoned, busy) for busy, abandoned in found)
    return float(np.interp(ratio, [point[0] for point in by_ratio], [point[1] for point in by_ratio]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[3, 5, 10])
    print(f"{'agents':>6} {'abandoned %':>12} {'best policy, busy %':>20} {'threshold, busy %':>18}")  # noqa: T201
    for agents in parser.parse_args().agents:
        group = Group(agents)
        best = [group.stationary(group.best(float(price))) for price in PRICES]
        ruled = [group.stationary(group.threshold(float(theta))) for theta in THETAS]
        for ratio in AT_RATIOS:
            print(  # noqa: T201
                f"{agents:>6} {100 * ratio:>12.0f} {100 * _at(best, ratio):>20.2f} {100 * _at(ruled, ratio):>18.2f}"
            )


if __name__ == "__main__":
    main()
