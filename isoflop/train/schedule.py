"""The learning-rate schedule: warm-up, constant, cooldown to zero."""

import math

from isoflop.run_spec import ScheduleSpec


def rate_factor(step: int, n_steps: int, schedule: ScheduleSpec) -> float:
    """Learning rate of step `step` (0-based) of `n_steps`, relative to the peak, in (0, 1].

    Linear warm-up reaches the peak at the end of `warmup_steps`; the cooldown, linear or 1 - sqrt, would
    reach zero one step after the last. Source: Haegele et al. 2024, arXiv 2405.18392, section 3.
    """
    warmup = min(1.0, (step + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1.0
    remaining = n_steps - step
    if remaining > schedule.cooldown_steps:
        return warmup
    done = 1.0 - remaining / (schedule.cooldown_steps + 1)
    cooldown = 1.0 - (done if schedule.cooldown_shape == "linear" else math.sqrt(done))
    return warmup * cooldown
