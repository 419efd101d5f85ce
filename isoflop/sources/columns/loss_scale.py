"""Scales that losses are given on, and what is fitted of each."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from isoflop.errors import IsoflopError
from isoflop.sources.columns.aliases import last_name, scale_of
from isoflop.sources.columns.cell_numbers import Numbers


class LossUnit(StrEnum):
    """What a column of losses is in."""

    NATS = "nats"
    BITS = "bits"
    BITS_PER_BYTE = "bits-per-byte"
    PERPLEXITY = "perplexity"


_WORDS = {
    LossUnit.NATS: "nats per token",
    LossUnit.BITS: "bits per token",
    LossUnit.BITS_PER_BYTE: "bits per byte",
    LossUnit.PERPLEXITY: "nats per token",
}


@dataclass(frozen=True)
class LossScale:
    """What the fitted losses are.

    Attributes:
        what: `loss`, or what of a score is fitted: `1 - accuracy`.
        unit: `nats per token`, `bits per byte`; None where nobody said.
        formula: how it follows from the file's column, where it is not that column.
    """

    what: str = "loss"
    unit: str | None = None
    formula: str | None = None

    @property
    def axis(self) -> str:
        """What stands at an axis: `loss (bits per byte)`."""
        return f"{self.what} ({self.unit})" if self.unit else self.what

    @property
    def short_unit(self) -> str | None:
        """In what differences of losses are told: `bits per byte`; None for nats and where nobody said."""
        if self.unit is None:
            return f"of {self.what}" if self.what != "loss" else None
        return self.unit if not self.unit.startswith("nats") else None


PLAIN = LossScale()


def fitted_losses(
    values: Numbers, errors: Numbers | None, column: str, unit: LossUnit | None, *, higher_is_better: bool
) -> tuple[Numbers, Numbers | None, LossScale]:
    """The losses (n,) to be fitted, their standard errors, and what they are; `column` is the file's name of them.

    A perplexity becomes its logarithm; bits stay bits. Of a score in 0 to 1 the complement is fitted, in 0 to 100 that
    to 100, of any other its negative.

    Raises:
        IsoflopError: a perplexity that is not positive, or a score with a unit of losses.
    """
    told = unit or _told_by(column)
    if higher_is_better:
        if unit is not None:
            raise IsoflopError(
                "--loss-unit cannot be combined with --higher-is-better: a score has no unit of losses.",
                hint="Leave out one of the two.",
            )
        fitted, formula = _complement(values, column)
        return fitted, errors, LossScale(formula, None, formula)
    if told is LossUnit.PERPLEXITY:
        if not (values > 0).all():
            raise IsoflopError(
                f"A perplexity is {float(values.min()):g}; perplexities are positive.",
                hint="Give --loss-unit nats if the column holds losses in nats per token.",
            )
        errors = None if errors is None else errors / values
        return np.log(values), errors, LossScale("loss", _WORDS[told], f"ln {column}")
    return values, errors, LossScale("loss", _WORDS[told]) if told else PLAIN


def _told_by(column: str) -> LossUnit | None:
    scale = scale_of(column)
    return LossUnit(scale) if scale else None


def _complement(values: Numbers, column: str) -> tuple[Numbers, str]:
    name = last_name(column) or "score"
    if values.min() >= 0 and values.max() <= 1:
        return 1 - values, f"1 - {name}"
    if values.min() >= 0 and values.max() <= 100:
        return 100 - values, f"100 - {name}"
    return -values, f"-{name}"
