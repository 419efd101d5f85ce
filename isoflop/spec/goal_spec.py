"""[goal]: how sharp the answer is to be, for a sweep that steers itself there."""

import math

from pydantic import Field

from isoflop.spec.section import Budget, Positive, Section
from isoflop.units import format_flops

# Llama 3 went 3.6 decades beyond its sweep (Dubey et al. 2024, section 3.2.1), and nobody published farther.
MOST_DECADES_BEYOND = 4.0


class GoalSpec(Section):
    """How sharp the answer is to be; nothing here changes what a run of the grid is."""

    target: Budget
    """FLOPs of the training that is to be decided, above every budget of the sweep."""
    within: float = Field(1.25, gt=1, le=1000, allow_inf_nan=False)
    """The goal is met when the ends of the 90 % statistical interval of N_opt at the target differ by at most this
    factor."""
    max_hours: Positive | None = None
    """Device-hours that the sweep may take in all. Default: no limit, but a goal far out of reach is given up."""

    def refuse_target(self, largest: float) -> None:
        """Nothing, where the target lies beyond the `largest` budget and not too far.

        Raises:
            ValueError: it does not.
        """
        if self.target <= largest:
            raise ValueError(
                f"goal.target is {format_flops(self.target)} FLOPs and does not lie above the largest budget, "
                f"{format_flops(largest)}: name a target that the sweep is to foretell, or leave that budget out"
            )
        beyond = math.log10(self.target / largest)
        if beyond > MOST_DECADES_BEYOND:
            raise ValueError(
                f"goal.target is {format_flops(self.target)} FLOPs, {beyond:.1f} decades beyond the largest budget, "
                f"{format_flops(largest)}: nobody has foretold farther than {MOST_DECADES_BEYOND:g}, so add larger "
                "budgets or aim nearer"
            )
