"""Packing: how many runs a GPU trains at once, as many as trials have shown to pay."""

import math
from collections import defaultdict
from collections.abc import Iterable

from isoflop.plan.measurement import Measurement

# Runs at once on a device that trials try out, one after the other as long as more pay.
TRIED = (2, 4, 8)
# Shapes, from the largest to the smallest, that they try it with.
PACKED_TRIALS = 3
# Steps per second together over steps per second alone that packing must have been measured to bring: below, what is
# gained lies within what such measurements scatter, and runs that share a device fail together.
LEAST_GAIN = 1.1


class Packing:
    """What trials alone and together on a device say of runs that share it.

    Of a run it says what was found for the shape whose step has most nearly as many FLOPs. A shape that was tried with
    few at once and not with more, as their memory did not suffice or less was gained, gains nothing from more.

    Args:
        trials: on one kind of device; of equal ones the last counts.
    """

    def __init__(self, trials: Iterable[Measurement]) -> None:
        found = {(one.shape, one.batch_tokens, one.n_packed): one for one in trials}
        self._gains: dict[int, dict[float, float]] = defaultdict(dict)
        for (shape, batch, number), one in found.items():
            alone = found.get((shape, batch, 1))
            if number > 1 and alone is not None:
                gain = number * alone.seconds_per_step / one.seconds_per_step
                self._gains[number][math.log(one.flops_per_step)] = gain
        self._tried = sorted({at for gains in self._gains.values() for at in gains})

    def slowdown(self, number: int, flops_per_step: float) -> float:
        """Time that a step takes with `number` runs at once, over its time alone; `number` where nothing was tried."""
        return number / self._gain(number, flops_per_step)

    def best(self, work: Iterable[tuple[float, float]]) -> int:
        """Runs at once that finish all `work` soonest, FLOPs per step and seconds alone of each; 1 unless that pays."""
        work = [(flops, seconds) for flops, seconds in work if seconds > 0]
        alone = sum(seconds for _, seconds in work)
        gains = {
            number: alone / sum(seconds / self._gain(number, flops) for flops, seconds in work)
            for number in sorted(self._gains)
            if work
        }
        best = max(gains, key=lambda number: gains[number], default=1)
        return best if gains.get(best, 0.0) >= LEAST_GAIN else 1

    def _gain(self, number: int, flops_per_step: float) -> float:
        if not (gains := self._gains.get(number)):
            return 1.0
        at = math.log(flops_per_step)
        return gains.get(min(self._tried, key=lambda tried: abs(tried - at)), 1.0)
